"""The programs under measurement: the hub and nginx, each in a process of its own, and what they cost.

Cost is CPU-seconds (user and system) of the process and its children, which a busy machine distorts far less than
wall time. Everything listens on 127.0.0.1 and is ended by the process id that was started here.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from benchmarks.figures import Skipped

ROOT = Path(__file__).resolve().parent.parent
TOKEN = "hf_benchBenchBenchBenchBenchBench00"
USER = "bench"
SEED = {
    "users": [
        {"name": USER, "fullname": "Bench", "email": "bench@example.org", "token": TOKEN, "token_role": "write"},
    ],
    "orgs": [],
}
UNSEALED = {"HEADWATER_SEAL": "false"}
"""For rows about moving bytes: what came is sealed by another process, later and for hours if need be (bench-store)."""
READY_WAIT_S = 60.0
SETTLE_S = 1.0  # after the answer: what the hub does because of a request is part of its cost
RSS_STEP_S = 0.05


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def environment() -> dict[str, str]:
    """Nothing of the developer's own settings, tokens or proxies."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HEADWATER_", "HF_"))}
    return {name: value for name, value in kept.items() if not name.lower().endswith("_proxy")}


def cpu_s(pid: int) -> float:
    """User and system time of a process, its ended children and its living ones."""
    process = psutil.Process(pid)
    spent = process.cpu_times()
    total = spent.user + spent.system + spent.children_user + spent.children_system
    for child in process.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = child.cpu_times()
            total += times.user + times.system
    return float(total)


@dataclass(slots=True)
class Cost:
    cpu_s: float = 0.0
    wall_s: float = 0.0


class Server:
    """A program that is ended at the end of the `with`."""

    def __init__(self, command: list[str], port: int, log: Path, settings: dict[str, str] | None = None) -> None:
        self.port = port
        self.log = log
        self._out = log.open("ab")
        self.begun_s = time.perf_counter()
        self._process = subprocess.Popen(
            command, stdout=self._out, stderr=subprocess.STDOUT, cwd=ROOT, env=environment() | (settings or {})
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._out.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def rss_bytes(self) -> int:
        return int(psutil.Process(self.pid).memory_info().rss)

    def await_answer(self, path: str) -> float:
        """Seconds from the start of the program to the first 200 at `path`."""
        while time.perf_counter() - self.begun_s < READY_WAIT_S:
            if self._process.poll() is not None:
                raise RuntimeError(f"it ended at its start; see {self.log}:\n{self.log.read_text()[-2000:]}")
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
            try:
                connection.request("GET", path)
                if connection.getresponse().status == 200:
                    return time.perf_counter() - self.begun_s
            except OSError:
                time.sleep(0.005)
            finally:
                connection.close()
        raise RuntimeError(f"not ready after {READY_WAIT_S} s; see {self.log}")

    @contextlib.contextmanager
    def cost(self) -> Iterator[Cost]:
        """What the block costs this server; the wall time does not include the wait for what follows."""
        cost, begun_s, before_s = Cost(), time.perf_counter(), cpu_s(self.pid)
        yield cost
        cost.wall_s = time.perf_counter() - begun_s
        time.sleep(SETTLE_S)
        cost.cpu_s = cpu_s(self.pid) - before_s

    @contextlib.contextmanager
    def peak_rss(self) -> Iterator[list[int]]:
        """The largest resident size seen during the block, as the list's one number, once it has ended."""
        peak, ended = [0], threading.Event()

        def watch() -> None:
            while not ended.wait(RSS_STEP_S):
                peak[0] = max(peak[0], self.rss_bytes())

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield peak
        finally:
            ended.set()
            thread.join()


class Hub(Server):
    """The hub over a data folder of its own, with one user whose token may write."""

    def __init__(
        self, data: Path, *, port: int = 0, public_url: str = "", settings: dict[str, str] | None = None
    ) -> None:
        data.mkdir(parents=True, exist_ok=True)
        self.data = data
        port = port or free_port()
        command = [sys.executable, "-m", "headwater", "serve", "--port", str(port), "--data", str(data)]
        if public_url:
            command += ["--public-url", public_url]
        super().__init__(command, port, data.with_suffix(".log"), settings)

    def __enter__(self) -> Self:
        self.await_answer("/health/ready")
        seed = self.data.with_suffix(".seed.json")
        seed.write_text(json.dumps(SEED))
        command = [sys.executable, "-m", "headwater", "admin", "seed", str(seed), "--data", str(self.data)]
        subprocess.run(command, cwd=ROOT, env=environment(), check=True, capture_output=True)
        return self


_NGINX = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000; types {{ }}
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port};
    location /files/ {{ alias {files}/; }}
    location /puts/ {{ alias {folder}/; dav_methods PUT; client_max_body_size 0; }}
    location /_blobs/ {{ internal; alias {store}/; }}
    location / {{ proxy_pass http://127.0.0.1:{hub}; proxy_set_header Host $http_host; client_max_body_size 0; }}
  }}
}}
"""


class Nginx(Server):
    """/files/ is sent from a folder, /puts/ is taken as it is, the rest goes to a hub whose store is at /_blobs/."""

    def __init__(
        self, folder: Path, files: Path, *, port: int = 0, hub_port: int = 9, store: Path | None = None
    ) -> None:
        found = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if found is None:
            raise Skipped("nginx is not installed")
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        port = port or free_port()
        words = {"folder": folder, "port": port, "files": files, "hub": hub_port, "store": store or folder}
        config = folder / "nginx.conf"
        config.write_text(_NGINX.format(**words))
        super().__init__([found, "-p", str(folder), "-c", str(config)], port, folder / "nginx.log")

    def await_listening(self) -> Self:
        while time.perf_counter() - self.begun_s < READY_WAIT_S:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return self
            time.sleep(0.01)
        raise RuntimeError(f"nginx does not listen; see {self.log}: {self.log.read_text()[-1000:]}")
