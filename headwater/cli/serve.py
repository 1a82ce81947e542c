"""`headwater serve`: one hub, in one process, until SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import click

from headwater.cli import address
from headwater.ground import log
from headwater.ground.errors import Unavailable
from headwater.ground.settings import Settings, from_environment

FIRST_ADMIN = "admin"
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
            raise Unavailable(
                f"Can't listen on {settings.host}:{settings.port}: {error.strerror}. Choose another with --port."
            ) from error
        yield sock


def run(given: Settings, sock: socket.socket) -> None:
    import uvicorn

    from headwater import app as root
    from headwater.front.protocol import uvicorn_options

    settings = address.reachable(given)
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
        gc.set_threshold(*GC_THRESHOLDS)
        try:
            _serve(server, sock)
        finally:
            root.stop_work(rooms)
            app.close()
            rooms.db.close()


def _serve(server: Any, sock: socket.socket) -> None:
    with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
        # uvicorn raises a caught signal again once it has stopped; it was obeyed, and the exit status is 0
        signal.signal(signal.SIGTERM, lambda *_: None)
        signal.signal(signal.SIGINT, lambda *_: None)
        runner.run(server.serve(sockets=[sock]))


def announce(rooms: Any, given: Settings) -> None:
    """Where it is and, while nobody can administer it, a way in. To stderr, and never into the log."""
    settings: Settings = rooms.settings
    lines = [f"Headwater serves {settings.base_url}"]
    if settings.public_url != given.public_url:
        lines.append("            (a guess: every address of this machine is listened on; set --public-url to another)")
    lines.append(f"  data      {Path(settings.data).resolve()}")
    if not rooms.accounts.has_admin():
        lines.append(f"  sign in   {first_link(rooms, settings)}")
        lines.append("            (once, within a day; it makes you the administrator)")
    lines.append(f"  clients   export HF_ENDPOINT={settings.base_url}")
    click.echo("\n".join(lines), err=True)
    sys.stderr.flush()


def first_link(rooms: Any, settings: Settings) -> str:
    """A one-time link for the first administrator; made anew at every start until one has a password or a session."""
    from headwater.ground.errors import HeadwaterError

    try:
        user = rooms.accounts.user(FIRST_ADMIN)
    except HeadwaterError:
        user = rooms.accounts.create_user(FIRST_ADMIN, "Administrator", "", None, is_admin=True)
    return f"{settings.base_url}/login/link/{rooms.accounts.make_signin_link(user.id)}"
