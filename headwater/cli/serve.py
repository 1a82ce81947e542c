"""`headwater serve`: one hub, in one process, until SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import os
import shutil
import signal
import socket
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from headwater.accounts import people
from headwater.cli import address
from headwater.ground import large_pages, log
from headwater.ground.errors import Unavailable
from headwater.ground.settings import DAY_S, Settings, from_environment

PREFIX = "HEADWATER_"
OTHER_NAMES = {"HEADWATER_CONFIG", "HEADWATER_CRASH_AT", "HEADWATER_TEMPLATES_RELOAD"}  # the last two: of tests
GC_THRESHOLDS = (20_000, 20, 50)  # requests leave few cycles behind; the usual 700 collects all the time


@click.command()
@click.option("--host", help="Address to listen on (127.0.0.1).")
@click.option("--port", type=int, help="Port to listen on (8411); 0 takes a free one.")
@click.option("--data", type=click.Path(file_okay=False), help="Folder that holds everything (./headwater-data).")
@click.option("--public-url", help="URL under which clients reach the hub, if not http://HOST:PORT.")
def serve(host: str | None, port: int | None, data: str | None, public_url: str | None) -> None:
    """Serve the hub. Makes the data folder at the first start and prints a one-time sign-in link."""
    settings = from_environment(host=host, port=port, data=data, public_url=public_url)
    log.configure(settings.log_level, settings.log_json)
    # worker threads hold the GIL for microseconds; the default 5 ms switch would be the latency of every request
    sys.setswitchinterval(0.0005)
    with listening(settings) as sock:
        if settings.port == 0:
            settings = from_environment(host=host, port=sock.getsockname()[1], data=data, public_url=public_url)
        run(settings, sock)


@contextlib.contextmanager
def listening(settings: Settings) -> Any:
    """The socket, before anything is opened: a taken port is told at once."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6 and address.stands_for_all(settings.host):
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)  # all means IPv4 too, whatever the system's way
        try:
            sock.bind((settings.host, settings.port))
        except OSError as error:
            option = "--host" if error.errno == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror) else "--port"
            raise Unavailable(
                f"Can't listen on {settings.host}:{settings.port}: {error.strerror}. Choose another with {option}."
            ) from error
        yield sock


def run(given: Settings, sock: socket.socket) -> None:
    import uvicorn

    from headwater import app as root
    from headwater.front.protocol import uvicorn_options

    settings = address.reachable(given)
    make_private(Path(settings.data))
    with root.owning(Path(settings.data)):
        rooms = root.open_rooms(settings)
        root.prepare(rooms)
        app = root.make_app(rooms)
        root.start_work(rooms)
        config = uvicorn.Config(app, **uvicorn_options(settings))
        server = uvicorn.Server(config)
        server.config.load()
        # Whoever reads the announcement may connect at once: the first moments' requests wait and are not refused.
        sock.listen(server.config.backlog)
        address.leave(Path(settings.data), settings.base_url)
        announce(rooms, given)
        # What stands now stands for good: a full collection over it would stop every request for 50 ms.
        gc.collect()
        gc.freeze()
        large_pages.gather()
        gc.set_threshold(*GC_THRESHOLDS)
        try:
            _serve(server, sock)
        finally:
            root.stop_work(rooms)
            app.close()
            rooms.db.close()


def make_private(data: Path) -> None:
    """A new data folder is its owner's alone, for private repos lie in it. One that is there keeps its mode."""
    with contextlib.suppress(OSError):  # `owning` tells it, and what to do
        data.mkdir(mode=0o700, parents=True, exist_ok=True)


def _serve(server: Any, sock: socket.socket) -> None:
    with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
        # uvicorn raises a caught signal again once it has stopped; it was obeyed, and the exit status is 0
        signal.signal(signal.SIGTERM, lambda *_: None)
        signal.signal(signal.SIGINT, lambda *_: None)
        runner.run(server.serve(sockets=[sock]))


def announce(rooms: Any, given: Settings) -> None:
    """Where it is and, while nobody can administer it, a way in: a new link at every start until somebody came in.

    To stderr, and never into the log.
    """
    settings: Settings = rooms.settings
    lines = [f"warning: {name} is in the environment and no setting" for name in _unknown(os.environ)]
    if shutil.which("git") is None:
        lines.append("warning: git is not installed: whoever clones, fetches or pushes by git is refused")
    lines.append(f"Headwater serves {settings.base_url}")
    if settings.public_url != given.public_url:
        lines.append("            (a guess: every address of this machine is listened on; set --public-url to another)")
    lines.append(f"  data      {Path(settings.data).resolve()}")
    if not rooms.accounts.has_admin():
        first = rooms.accounts.first_admin()
        lines.append(f"  sign in   {settings.base_url}/login/link/{rooms.accounts.make_signin_link(first.id)}")
        whom = "the administrator" if first.name == people.FIRST_ADMIN else f"the administrator {first.name}"
        lines.append(f"            (once, within {_span(settings.signin_link_s)}; it makes you {whom})")
    lines.append(f"  clients   export HF_ENDPOINT={settings.base_url}")
    click.echo("\n".join(lines), err=True)
    sys.stderr.flush()


def _unknown(environ: Iterable[str]) -> list[str]:
    """A mistyped setting would be the default, and nobody would know. Names alone: a value may be a secret."""
    known = {f"{PREFIX}{field.upper()}" for field in Settings.__struct_fields__} | OTHER_NAMES
    return sorted(name for name in environ if name.startswith(PREFIX) and name not in known)


def _span(length_s: int) -> str:
    """In the largest unit that it is a whole number of."""
    for unit, unit_s in (("day", DAY_S), ("hour", 3600), ("minute", 60)):
        if length_s and length_s % unit_s == 0:
            count = length_s // unit_s
            return f"{count} {unit}s" if count > 1 else f"{'an' if unit == 'hour' else 'a'} {unit}"
    return f"{length_s} seconds"
