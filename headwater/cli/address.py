"""Where people reach the hub, if nobody said it: found for a host that stands for all addresses of the machine, and
left in the data folder, for commands that print links.
"""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from headwater.ground.settings import Settings

FILE = "address"
URL_CHARS_MAX = 2000
LOOPBACK = "127.0.0.1"
# Somewhere else: addresses for documentation (RFC 5737, RFC 3849), which nobody has.
_ELSEWHERE = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}
_SIOCGIFADDR = 0x8915  # Linux: the IPv4 address of an interface
_NAME_BYTES, _REQUEST_BYTES = 15, 40  # of `struct ifreq`; the address stands in bytes 20 to 24


def stands_for_all(host: str) -> bool:
    """Whether to listen there is to listen on every address of the machine: for clients it is none."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return host in ("", "0")


def reachable(settings: Settings, own: Callable[[str], str] | None = None) -> Settings:
    """The settings with a public URL that others can use, where the host is none and nobody gave one."""
    if settings.public_url or not stands_for_all(settings.host):
        return settings
    found = (own or own_address)(settings.host)
    shown = f"[{found}]" if ":" in found else found
    return msgspec.structs.replace(settings, public_url=f"http://{shown}:{settings.port}")


def own_address(host: str) -> str:
    """An address of this machine that others may know. No packet is sent and no name looked up: it needs no network."""
    families = (socket.AF_INET6, socket.AF_INET) if ":" in host else (socket.AF_INET,)
    candidates = [*_on_the_way_out(families), *_of_interfaces()]
    return next((one for one in candidates if _others_may_know(one)), LOOPBACK)


def _on_the_way_out(families: tuple[socket.AddressFamily, ...]) -> Iterator[str]:
    for family in families:
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((_ELSEWHERE[family], 9))  # of a datagram socket: it only chooses the way
            yield sock.getsockname()[0]


def _of_interfaces() -> Iterator[str]:
    """For a machine on a network that leads nowhere else."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _, name in socket.if_nameindex():
            with contextlib.suppress(OSError):  # it has none, or this system is not Linux
                asked = struct.pack(f"{_REQUEST_BYTES}s", name.encode()[:_NAME_BYTES])
                yield socket.inet_ntoa(fcntl.ioctl(sock, _SIOCGIFADDR, asked)[20:24])


def _others_may_know(written: str) -> bool:
    found = ipaddress.ip_address(written.partition("%")[0])
    return not (found.is_loopback or found.is_unspecified or found.is_link_local)


def leave(data: Path, url: str) -> None:
    """Says in the data folder where the hub that serves it now is reached."""
    place = data / FILE
    place.unlink(missing_ok=True)  # an old one is worse than none
    with contextlib.suppress(OSError):  # a full disk keeps no hub from serving
        place.write_text(f"{url}\n")


def as_served(settings: Settings) -> Settings:
    """The settings with the URL of the hub that serves this data folder, or served it last.

    What was given to this command itself goes before it: a public URL, or the port of another hub.
    """
    left = _left(Path(settings.data))
    port_given = settings.port != Settings().port and not left.endswith(f":{settings.port}")
    if settings.public_url or port_given or not left:
        return reachable(settings)
    return msgspec.structs.replace(settings, public_url=left)


def _left(data: Path) -> str:
    """'' where there is none, or half a one."""
    try:
        written = (data / FILE).read_text()
    except (OSError, ValueError):
        return ""
    url = written.removesuffix("\n")
    whole = written.endswith("\n") and len(url) <= URL_CHARS_MAX and url.isprintable() and " " not in url
    return url if whole and url.startswith(("http://", "https://")) else ""
