"""T26 with the real client: what a proxy spoils on the way, huggingface_hub keeps, and `verify-download` finds."""

from __future__ import annotations

import hashlib
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

import pytest
from client_running import REPOSITORY, Clients, Hub, client_home, plain_environment

MARK = b"SPOILED ON THE WAY"
UPLOAD = """
from huggingface_hub import CommitOperationAdd, HfApi
HfApi().create_repo("alice/spoiled")
files = {"bad.bin": b"MARK" + bytes(200_000), "good.bin": bytes(100_000), "bad.txt": b"MARK", "good.txt": b"good"}
add = [CommitOperationAdd(name, data) for name, data in files.items()]
HfApi().create_commit("alice/spoiled", add, commit_message="files")
""".replace("MARK", MARK.decode())
DOWNLOAD = """
from huggingface_hub import snapshot_download
snapshot_download("alice/spoiled")
snapshot_download("alice/spoiled", local_dir="local")
"""


def _relay(source: socket.socket, target: socket.socket, spoiled: bytes) -> None:
    with suppress(OSError):
        while piece := source.recv(65536):
            target.sendall(piece.replace(MARK, spoiled))
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@contextmanager
def _spoiling_proxy(hub: Hub) -> Iterator[str]:
    """Hands everything on, but flips a bit in every MARK that comes from the hub; its address."""
    address = urlsplit(hub.url)
    bad = bytes([MARK[0] ^ 1]) + MARK[1:]
    ends: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    client, _ = server.accept()
                    there = socket.create_connection((address.hostname, address.port))
                    ends.extend((client, there))
                    threading.Thread(target=_relay, args=(client, there, MARK), daemon=True).start()
                    threading.Thread(target=_relay, args=(there, client, bad), daemon=True).start()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join(10)
        for end in ends:
            end.close()


@pytest.mark.timeout(120)
def test_T26_what_a_proxy_spoils_for_a_client_is_named_in_its_cache_and_in_a_local_folder(
    hub: Hub, clients: Clients
) -> None:
    python = str(client_home("hub-2.4") / "bin" / "python")
    env = clients.environment("one", xet=False)
    done = clients.run([python, "-c", UPLOAD], env)
    assert done.code == 0, done.out
    with _spoiling_proxy(hub) as url:
        done = clients.run([python, "-c", DOWNLOAD], {**env, "HF_ENDPOINT": url})
    assert done.code == 0, done.out  # it counts on nobody having touched the bytes

    for folder in (f"{env['HF_HOME']}/hub", f"{env['HOME']}/local"):
        words = [sys.executable, "-m", "headwater", "verify-download", folder]
        found = subprocess.run(
            words, cwd=REPOSITORY, env=plain_environment(clients.folder), capture_output=True, text=True, check=False
        )
        assert found.returncode == 22, found.stdout + found.stderr
        assert hashlib.sha256(MARK + bytes(200_000)).hexdigest() in found.stdout
        assert hashlib.sha256(bytes(100_000)).hexdigest() not in found.stdout
        assert re.search(r"\b5 files checked, 2 wrong\b", found.stdout), found.stdout
