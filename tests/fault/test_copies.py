"""T09 backup and restore while writers run, T21 a push is stored or refused, T25 flipped bits, T26 a lying proxy."""

from __future__ import annotations

import hashlib
import re
import socket
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
from conftest import Hubs
from fault_hub import Hub, git, problems, until, verified

from headwater.store.objects import blob_key

MIB = 1 << 20
WRITERS = 4


def noise(seed: object, size: int) -> bytes:
    return hashlib.shake_128(str(seed).encode()).digest(size)


# --- T09 ---------------------------------------------------------------------------------------------------------


def _write(hub: Hub, number: int, stop: threading.Event, acknowledged: list[tuple[str, str]]) -> None:
    """Commits, branches and pushes until told to stop; each is noted when it was acknowledged."""
    repo = f"alice/w{number}"
    for turn in range(10_000):
        if stop.is_set():
            return
        large = noise((number, turn), 50_000)
        hub.uploaded(repo, large)
        commit = hub.committed(repo, {f"{turn}.txt": b"%d" % turn}, large={f"{turn}.bin": large})
        acknowledged.append((repo, commit))
        if turn % 3 == 0:
            hub.good("POST", f"/api/models/{repo}/branch/b{turn}", {})
        if turn % 3 == 2:
            hub.good("DELETE", f"/api/models/{repo}/branch/b{turn - 2}")


def test_T09_a_backup_made_while_4_writers_run_holds_all_that_was_acknowledged_before_and_verifies(
    hubs: Hubs, tmp_path: Path
) -> None:
    hub, stop = hubs().start(), threading.Event()
    for number in range(WRITERS):
        hub.create(f"alice/w{number}")
    acknowledged: list[tuple[str, str]] = []
    with ThreadPoolExecutor(WRITERS) as threads:
        writers = [threads.submit(_write, hub, number, stop, acknowledged) for number in range(WRITERS)]
        try:
            first = hub.headwater("backup", str(tmp_path / "backup"))
            before = list(acknowledged)
            again = hub.headwater("backup", str(tmp_path / "backup"))
        finally:
            stop.set()
        for writer in writers:
            writer.result()
    assert (first.returncode, again.returncode) == (0, 0), first.stderr + again.stderr
    assert len(acknowledged) > len(before) >= WRITERS, "the writers were not at work"
    assert hub.stop() == 0
    assert problems(hub.data) == []

    copy = tmp_path / "copy"
    restored = hub.headwater("restore", str(tmp_path / "backup"), data=copy)
    assert restored.returncode == 0, restored.stderr
    assert problems(copy) == []
    other = hubs(copy).start()
    for number in range(WRITERS):
        repo = f"alice/w{number}"
        have = {one["id"] for one in other.good("GET", f"/api/models/{repo}/commits/main?limit=1000").json}
        assert have >= {commit for where, commit in before if where == repo}, repo
        other.fsck(repo)
        for path, data in other.files(repo).items():
            turn, kind = path.split(".")
            assert data == (noise((number, int(turn)), 50_000) if kind == "bin" else turn.encode())
        other.committed(repo, {"after.txt": b"after the restore"})


def test_T09_a_backup_that_did_not_end_is_not_restored_and_a_folder_in_use_is_not_written_over(
    hubs: Hubs, tmp_path: Path
) -> None:
    hub = hubs()
    assert hub.headwater("backup", str(tmp_path / "backup")).returncode == 0
    assert hub.headwater("restore", str(tmp_path / "backup")).returncode == 17
    (tmp_path / "backup" / "backup.json").unlink()
    assert hub.headwater("restore", str(tmp_path / "backup"), data=tmp_path / "new").returncode == 2
    assert not (tmp_path / "new").exists() or not list((tmp_path / "new").iterdir())


# --- T21 ---------------------------------------------------------------------------------------------------------


def _clone(hub: Hub, repo: str, place: Path) -> Path:
    git("clone", "-q", f"{hub.with_login()}/{repo}", str(place), cwd=place.parent, GIT_LFS_SKIP_SMUDGE="1")
    return place


def test_T21_a_push_that_is_acknowledged_is_stored_whole(hub: Hub, tmp_path: Path) -> None:
    hub.create("alice/t21")
    place = _clone(hub, "alice/t21", tmp_path / "one")
    for number in range(20):
        (place / f"folder{number % 3}").mkdir(exist_ok=True)
        (place / f"folder{number % 3}" / f"{number}.txt").write_text(noise(number, 10_000).hex())
        git("add", "-A", cwd=place)
        git("commit", "-qm", f"change {number}", cwd=place)
    git("tag", "v1", cwd=place)
    git("tag", "-a", "-m", "annotated", "v2", cwd=place)
    git("push", "-q", "origin", "main", "main:refs/heads/other", "v1", "v2", cwd=place)

    back = _clone(hub, "alice/t21", tmp_path / "back")
    assert git("show-ref", cwd=back).count("\n") >= 5
    for ref in ("main", "v1^{}", "v2^{}", "v2"):
        assert git("rev-parse", ref, cwd=back) == git("rev-parse", ref, cwd=place), ref
    git("fsck", "--full", "--strict", cwd=back)
    hub.fsck("alice/t21")
    assert git("log", "--format=%H", cwd=back) == git("log", "--format=%H", cwd=place)
    assert hub.files("alice/t21")["folder1/19.txt"] == noise(19, 10_000).hex().encode()


def _huge(place: Path) -> None:
    (place / "huge.txt").write_bytes(b"x" * (10 * MIB + 1))


def _pointer_to_nothing(place: Path) -> None:
    (place / "lost.bin").write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'ab' * 32}\nsize 5\n")


def _bad_card(place: Path) -> None:
    (place / "README.md").write_text("---\nlicense: [unclosed\n---\n")


@pytest.mark.parametrize("harm", [_huge, _pointer_to_nothing, _bad_card])
def test_T21_a_push_that_is_refused_is_refused_before_it_is_acknowledged_and_leaves_nothing(
    hub: Hub, tmp_path: Path, harm: object
) -> None:
    name = f"alice/t21{harm.__name__.replace('_', '-')}"  # type: ignore[attr-defined]
    hub.create(name)
    head = hub.head(name)
    place = _clone(hub, name, tmp_path / "one")
    (place / "good.txt").write_text("good")
    git("add", "-A", cwd=place)
    git("commit", "-qm", "good", cwd=place)
    harm(place)  # type: ignore[operator]
    git(
        "-c",
        "filter.lfs.clean=cat",
        "-c",
        "filter.lfs.process=",
        "-c",
        "filter.lfs.required=false",
        "add",
        "-A",
        cwd=place,
    )
    git("commit", "-qm", "bad", cwd=place)
    before = {file.name for file in (hub.git_folder(name) / "objects").rglob("*")}

    said = git("push", "origin", "main", "main:refs/heads/other", cwd=place, wants=1)

    assert "rejected" in said and "-> main" in said.replace("main -> main", "-> main"), said
    assert hub.head(name) == head and hub.head(name, "other") is None
    assert {file.name for file in (hub.git_folder(name) / "objects").rglob("*")} == before
    assert list((hub.data / "git" / "incoming").iterdir()) == []
    hub.fsck(name)


# --- T25 ---------------------------------------------------------------------------------------------------------


def _flip(file: Path, at: int) -> None:
    with file.open("r+b") as out:
        out.seek(at)
        (old,) = out.read(1)
        out.seek(at)
        out.write(bytes([old ^ 1]))


def test_T25_a_flipped_bit_in_a_stored_file_is_named_with_its_repos_and_then_never_served(hubs: Hubs) -> None:
    hub, data = hubs().start(), noise("t25", MIB)
    hub.uploaded("alice/m", data)
    hub.committed("alice/m", {}, large={"large.bin": data})
    oid = hashlib.sha256(data).hexdigest()
    _flip(hub.data / "store" / blob_key(oid), 700_000)

    found = hub.headwater("verify", "--read-data", "100")

    assert found.returncode == 22
    assert oid in found.stdout and "model alice/m" in found.stdout
    until(lambda: hub.ask("GET", "/alice/m/resolve/main/large.bin").code == "Corrupt", "word of it to the hub", 10)
    hub.uploaded("alice/m", data)
    assert hub.files("alice/m")["large.bin"] == data


@pytest.mark.parametrize("kind", ["pack", "idx", "ref"])
def test_T25_a_flipped_bit_in_a_git_repository_is_named_and_no_wrong_byte_is_served(hubs: Hubs, kind: str) -> None:
    hub = hubs().start()
    text = noise("text", 20_000).hex().encode()
    hub.committed("alice/m", {"text.txt": text})
    place = hub.git_folder("alice/m")
    assert hub.stop() == 0
    packs = sorted((place / "objects" / "pack").glob(f"*.{kind}"), key=lambda file: file.stat().st_size)
    file = place / "refs" / "heads" / "main" if kind == "ref" else packs[-1]
    file.chmod(0o600)
    _flip(file, file.stat().st_size // 2)

    found = verified(hub.data)

    assert found and all("alice/m" in problem for problem in found)
    hub.start()
    answer = hub.ask("GET", "/alice/m/resolve/main/text.txt")
    assert answer.status >= 400 or answer.body == text


def test_T25_a_damaged_page_of_the_database_is_named(hubs: Hubs) -> None:
    hub = hubs()
    with closing(sqlite3.connect(hub.data / "headwater.sqlite")) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (root_page,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'event'").fetchone()
        (size,) = db.execute("PRAGMA page_size").fetchone()
    with (hub.data / "headwater.sqlite").open("r+b") as out:
        out.seek((root_page - 1) * size)
        out.write(b"\xff" * size)

    found = hub.headwater("verify")

    assert found.returncode == 22, found.stdout + found.stderr
    assert "database" in found.stdout + found.stderr


# --- T26 ---------------------------------------------------------------------------------------------------------


@contextmanager
def _corrupting_proxy(port: int, mark: bytes) -> Iterator[int]:
    """Hands everything on, but flips a bit in the first `mark` that comes from the hub."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    client, _ = server.accept()
                    with client, socket.create_connection(("127.0.0.1", port)) as hub:
                        hub.sendall(client.recv(65536))
                        while piece := hub.recv(65536):
                            bad = bytes([mark[0] ^ 1]) + mark[1:]
                            client.sendall(piece.replace(mark, bad))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
    thread.join(10)


def test_T26_a_file_that_a_proxy_spoiled_is_found_by_verify_download(hub: Hub, tmp_path: Path) -> None:
    good, bad, small = noise("good", 200_000), b"MARK" + noise("bad", 200_000), b"small text\n"
    hub.create("alice/t26")
    hub.uploaded("alice/t26", good)
    hub.uploaded("alice/t26", bad)
    hub.committed("alice/t26", {"small.txt": small}, large={"good.bin": good, "bad.bin": bad})
    blobs = tmp_path / "cache" / "models--alice--t26" / "blobs"
    blobs.mkdir(parents=True)
    with _corrupting_proxy(hub.port, b"MARK") as port:
        through = Hub(tmp_path, hub.data, port=port)
        for name in ("good.bin", "bad.bin", "small.txt"):
            # as a client's cache does it: the file is called by the ETag, and nothing is compared
            got = through.ask("GET", f"/alice/t26/resolve/main/{name}", headers={"Connection": "close"})
            assert got.status == 200
            (blobs / re.sub(r'W/|"', "", got.headers["etag"])).write_bytes(got.body)

    found = hub.headwater_alone("verify-download", str(tmp_path / "cache"))

    assert found.returncode == 22, found.stdout
    assert hashlib.sha256(bad).hexdigest() in found.stdout
    assert hashlib.sha256(good).hexdigest() not in found.stdout
    assert "3 files checked, 1 wrong" in found.stdout
    (blobs / hashlib.sha256(bad).hexdigest()).write_bytes(bad)
    assert hub.headwater_alone("verify-download", str(tmp_path / "cache")).returncode == 0
