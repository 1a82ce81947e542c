"""Starts, stops and crowds: T06 SIGTERM, T10 two processes, T12 a locked database, T22 and T24 long transfers."""

from __future__ import annotations

import hashlib
import http.client
import ipaddress
import re
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from conftest import Hubs
from fault_hub import Answer, Download, Hub, clone_of, free_port, git, problems, until

LONG = 24 << 20  # bytes: more than the buffers of a connection hold
MIB = 1 << 20


def noise(seed: object, size: int) -> bytes:
    return hashlib.shake_128(str(seed).encode()).digest(size)


class Upload:
    """An upload that sends half and waits."""

    def __init__(self, hub: Hub, repo: str, data: bytes) -> None:
        self.data = data
        path = hub.upload_path(repo, hashlib.sha256(data).hexdigest(), len(data))
        assert path is not None
        self._connection = http.client.HTTPConnection("127.0.0.1", hub.port, timeout=60)
        self._connection.putrequest("PUT", path)
        self._connection.putheader("Content-Length", str(len(data)))
        self._connection.endheaders(data[: len(data) // 2])

    def rest(self) -> int:
        with closing(self._connection):
            self._connection.send(self.data[len(self.data) // 2 :])
            return self._connection.getresponse().status


# --- T06 ---------------------------------------------------------------------------------------------------------


def test_T06_sigterm_lets_20_transfers_finish_loses_nothing_and_the_next_start_takes_under_2_s(hubs: Hubs) -> None:
    hub, data = hubs().start(), noise("long", LONG)
    hub.uploaded("alice/m", data)
    hub.committed("alice/m", {}, large={"long.bin": data})
    uploads = [Upload(hub, "alice/m", noise(number, 4 * MIB)) for number in range(10)]
    downloads = [Download(hub, "/alice/m/resolve/main/long.bin") for _ in range(10)]
    incoming = hub.data / "store" / "incoming"
    until(lambda: len(list(incoming.iterdir())) == 10, "the uploads' arrival")
    process = hub.process
    assert process is not None

    process.terminate()
    until(lambda: _refuses(hub), "closing the port")
    assert process.poll() is None
    with ThreadPoolExecutor(20) as threads:
        put = [threads.submit(upload.rest) for upload in uploads]
        got = [threads.submit(download.rest) for download in downloads]
        assert [one.result() for one in put] == [200] * 10
        assert [one.result() == data for one in got] == [True] * 10
    assert hub.ended() == 0, hub.said()

    hub.forks = None  # with all that a start takes
    hub.start()
    # CPU and not wall time: what else the machine does is not the hub's fault
    assert psutil.Process(hub.process.pid).cpu_times().user < 2.0  # type: ignore[union-attr]
    large = {f"{number}.bin": upload.data for number, upload in enumerate(uploads)}
    hub.committed("alice/m", {}, large=large)
    assert hub.files("alice/m").items() >= large.items()
    assert problems(hub.data) == []


def _refuses(hub: Hub) -> bool:
    try:
        socket.create_connection(("127.0.0.1", hub.port), timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


def test_T06_transfers_that_do_not_finish_are_cut_after_the_grace_and_leave_nothing(hubs: Hubs) -> None:
    hub = hubs(HEADWATER_STOP_GRACE_S="0.5").start()
    upload = Upload(hub, "alice/m", noise("half", 4 * MIB))
    until(lambda: list((hub.data / "store" / "incoming").iterdir()), "the upload's arrival")

    assert hub.stop() == 0, hub.said()

    with pytest.raises(OSError):
        upload.rest()
        raise BrokenPipeError
    assert list((hub.data / "store" / "incoming").iterdir()) == []
    hub.start()
    assert hub.upload_path("alice/m", hashlib.sha256(upload.data).hexdigest(), len(upload.data)) is not None


# --- T10 ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [("serve", "--port", "0"), ("collect",)], ids=["serve", "collect"])
def test_T10_a_second_process_on_the_same_data_refuses_and_does_no_damage(hub: Hub, words: tuple[str, ...]) -> None:
    before = hub.files("alice/m")
    assert hub.process is not None

    done = hub.headwater(*words)

    assert done.returncode == 21
    assert str(hub.process.pid) in done.stderr and str(hub.data) in done.stderr
    assert hub.files("alice/m") == before
    assert problems(hub.data) == []


def test_T10_a_port_that_is_taken_is_said_before_anything_is_opened(hub: Hub, tmp_path: Path) -> None:
    done = hub.headwater("serve", "--port", str(hub.port), data=tmp_path / "other")

    assert done.returncode == 21
    assert str(hub.port) in done.stderr
    assert not (tmp_path / "other").exists()


# --- where a hub is reached -------------------------------------------------------------------------------------


def test_a_link_made_beside_a_hub_leads_to_it_whatever_its_port_and_however_it_ended(hubs: Hubs) -> None:
    hub = hubs().start()
    assert hub.headwater("admin", "user", "link", "alice").stdout.startswith(f"{hub.url}/login/link/")
    hub.kill()
    assert hub.headwater("admin", "user", "link", "alice").stdout.startswith(f"{hub.url}/login/link/")
    hub.port = free_port()
    hub.start()
    assert hub.headwater("admin", "user", "link", "alice").stdout.startswith(f"{hub.url}/login/link/")
    assert hub.stop() == 0


def test_a_hub_on_every_address_names_one_that_clients_can_use_and_says_that_it_guessed(hubs: Hubs) -> None:
    hub = hubs().start(HEADWATER_HOST="0.0.0.0")
    (said,) = re.findall(r"^Headwater serves (http://(\S+):\d+)$", hub.said(), re.MULTILINE)
    assert [line for line in hub.said().splitlines() if "--public-url" in line]
    assert ipaddress.ip_address(said[1]).is_unspecified is False
    with socket.create_connection((said[1], hub.port), timeout=20):
        pass
    token = hub.good("GET", "/api/models/alice/m/xet-read-token/main").json
    assert token["casUrl"].startswith(f"{said[0]}/")
    assert hub.headwater("admin", "user", "link", "alice").stdout.startswith(f"{said[0]}/login/link/")
    assert hub.stop() == 0


# --- T12 ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def impatient(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub that waits a second for its database."""
    folder = tmp_path_factory.mktemp("impatient")
    running = Hub(folder, clone_of(template, folder / "data"), {"HEADWATER_BUSY_WAIT_S": "1"}).start()
    yield running
    running.kill()


def _locked(hub: Hub) -> sqlite3.Connection:
    """Another process's write transaction."""
    other = sqlite3.connect(hub.data / "headwater.sqlite", isolation_level=None, check_same_thread=False, timeout=30)
    other.execute("BEGIN IMMEDIATE")
    return other


def test_T12_while_the_database_is_locked_writes_wait_then_503_and_nothing_of_them_happens(impatient: Hub) -> None:
    hub = impatient
    before, head = hub.files("alice/m"), hub.head("alice/m")
    with closing(_locked(hub)):
        began = time.monotonic()
        with ThreadPoolExecutor(4) as threads:
            answers = list(threads.map(lambda n: hub.commit("alice/m", {f"{n}.txt": b"n"}), range(4)))
        waited = time.monotonic() - began
        for answer in [*answers, hub.ask("POST", "/api/models/alice/m/branch/two", b"{}")]:
            assert (answer.status, answer.code) == (503, "Unavailable"), answer
            assert int(answer.headers["retry-after"]) > 0
        assert waited > 0.9
        assert (hub.files("alice/m"), hub.head("alice/m")) == (before, head)

    for number in range(4):
        hub.committed("alice/m", {f"{number}.txt": b"n"})
    assert hub.files("alice/m").keys() == before.keys() | {f"{number}.txt" for number in range(4)}
    assert problems(hub.data) == []


def test_T12_a_lock_that_ends_in_time_costs_a_write_the_wait_and_no_more(hubs: Hubs) -> None:
    hub = hubs(HEADWATER_BUSY_WAIT_S="30").start()
    packs = hub.git_folder("alice/m") / "objects" / "pack"
    before = len(list(packs.iterdir()))
    other = _locked(hub)
    answers: list[Answer] = []
    waiting = threading.Thread(target=lambda: answers.append(hub.commit("alice/m", {"waited.txt": b"w"})))
    waiting.start()
    until(lambda: len(list(packs.iterdir())) > before, "the commit's objects")
    waiting.join(0.3)
    assert waiting.is_alive()  # at its intent, which needs the database

    other.close()

    waiting.join()
    assert answers[0].status == 200
    assert hub.files("alice/m")["waited.txt"] == b"w"


# --- T22 ---------------------------------------------------------------------------------------------------------


def test_T22_downloads_end_on_the_old_commit_after_a_force_push_and_a_deleted_branch(hub: Hub, tmp_path: Path) -> None:
    hub.create("alice/t22")
    large, inline = noise("t22", LONG), noise("inline", 9 * MIB).hex().encode()[: 9 * MIB]
    hub.uploaded("alice/t22", large)
    hub.committed("alice/t22", {"inline.txt": inline}, large={"large.bin": large})
    hub.good("POST", "/api/models/alice/t22/branch/gone", {})
    place = tmp_path / "clone"
    git("clone", "-q", f"{hub.url}/alice/t22", str(place), cwd=tmp_path, GIT_LFS_SKIP_SMUDGE="1")
    git("reset", "-q", "--hard", "HEAD~1", cwd=place, GIT_LFS_SKIP_SMUDGE="1")
    downloads = {
        path: Download(hub, path)
        for branch in ("main", "gone")
        for path in (f"/alice/t22/resolve/{branch}/large.bin", f"/alice/t22/resolve/{branch}/inline.txt")
    }

    git("push", "-q", "--force", f"{hub.with_login()}/alice/t22", "main", cwd=place)
    hub.good("DELETE", "/api/models/alice/t22/branch/gone")

    for path, download in downloads.items():
        assert download.rest() == (large if path.endswith("bin") else inline), path
        assert hub.ask("GET", path).status == 404


# --- T24 ---------------------------------------------------------------------------------------------------------


def _put_of_zeros(hub: Hub, size: int) -> tuple[int, int]:
    """The answer's status, and by how many bytes the hub grew at most while it took the file."""
    piece, digest = bytes(MIB), hashlib.sha256()
    for _ in range(size // MIB):
        digest.update(piece)
    path = hub.upload_path("alice/m", digest.hexdigest(), size)
    assert path is not None
    before = most = hub.rss_bytes
    connection = http.client.HTTPConnection("127.0.0.1", hub.port, timeout=120)
    with closing(connection):
        connection.putrequest("PUT", path)
        connection.putheader("Content-Length", str(size))
        connection.endheaders()
        for number in range(size // MIB):
            connection.send(piece)
            if number % 16 == 0:
                most = max(most, hub.rss_bytes)
        status = connection.getresponse().status
    return status, max(most, hub.rss_bytes) - before


def test_T24_memory_stays_flat_during_a_put_of_1_gb(hubs: Hubs) -> None:
    hub = hubs().start()

    status, grown = _put_of_zeros(hub, 1024 * MIB)

    assert status == 200
    assert grown < 100 * MIB


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_T24_memory_stays_flat_during_a_put_of_20_gb(hubs: Hubs) -> None:
    hub = hubs().start()

    status, grown = _put_of_zeros(hub, 20 * 1024 * MIB)

    assert status == 200
    assert grown < 100 * MIB
