"""T59 to T62: what an open port has to stand: slow peers, smuggled requests, endless headers, and lies about the host.

Raw sockets, since no client library would send these. Sockets are closed by their tests, and every wait is bounded.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import selectors
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from fault_hub import ALICE, Hub, clone_of, free_port, until

SLOW = 500  # sockets that do not get on
PATIENCE_S = 4  # of the hub with each of them
MIB = 1 << 20
AUTH = f"Authorization: Bearer {ALICE}\r\n".encode()
HOST = b"Host: hub.test\r\n"


@pytest.fixture(scope="module")
def quick(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub with little patience."""
    folder = tmp_path_factory.mktemp("quick")
    limits = {
        "HEADWATER_HEADER_TIMEOUT_S": str(PATIENCE_S),
        "HEADWATER_IDLE_TIMEOUT_S": str(PATIENCE_S),
        "HEADWATER_KEEP_ALIVE_S": str(PATIENCE_S),
        "HEADWATER_CONNECTIONS_MAX": "700",
    }
    hub = Hub(folder, clone_of(template, folder / "data"), limits).start()
    hub.uploaded("alice/m", LARGE)
    hub.committed("alice/m", {}, large={"large.bin": LARGE})
    yield hub
    assert hub.stop() == 0, hub.said()


LARGE = hashlib.shake_128(b"large").digest(16 * MIB)


def opened(port: int, sent: bytes = b"", *, buffer: int = 0) -> socket.socket:
    """A connection; with a `buffer` of so many bytes the system takes in little that is not read."""
    sock = socket.socket()
    sock.settimeout(20)
    if buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    sock.connect(("127.0.0.1", port))
    if sent:
        sock.sendall(sent)
    return sock


def heard(sock: socket.socket) -> bytes:
    """Everything until the other side closes."""
    found = b""
    with contextlib.suppress(ConnectionError):
        while piece := sock.recv(65536):
            found += piece
    return found


def said(port: int, sent: bytes) -> bytes:
    """What is answered to these bytes until the connection ends or nothing more comes for a second."""
    with opened(port) as sock:
        found = b""
        with contextlib.suppress(ConnectionError, TimeoutError):
            sock.sendall(sent)
            sock.settimeout(1.5)
            while piece := sock.recv(65536):
                found += piece
        return found


def statuses(answer: bytes) -> list[int]:
    return [int(one) for one in re.findall(rb"HTTP/1\.[01] (\d{3}) ", answer)]


def refusal(answer: bytes) -> int:
    """The status of a refusal from below the app, which says what every error says (hub-contract 1)."""
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines[1:])
    told = json.loads(body)
    assert set(told) == {"error", "code", "request_id"}, answer
    assert headers["x-request-id"] == told["request_id"] != ""
    assert headers["x-error-code"] == told["code"].lower()
    assert headers["x-error-message"] == told["error"].lower()
    return int(lines[0].split()[1])


@contextlib.contextmanager
def crowd(port: int, sent: bytes, count: int = SLOW) -> Iterator[list[socket.socket]]:
    """So many connections, each with these bytes sent, and none that reads."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(opened(port, sent, buffer=4096)) for _ in range(count)]


def serves_others(hub: Hub) -> None:
    """Requests of others are answered, and before the time limit of the slow ones has ended any of them."""
    began = time.monotonic()
    for _ in range(5):
        assert hub.good("GET", "/alice/m/resolve/main/first.txt").body == b"first\n"
    assert time.monotonic() - began < 0.9 * PATIENCE_S


def all_closed(socks: list[socket.socket]) -> None:
    """The server ends every one of these connections by itself."""
    with selectors.DefaultSelector() as selector:
        for sock in socks:
            sock.setblocking(False)
            selector.register(sock, selectors.EVENT_READ)
        end = time.monotonic() + 20
        while selector.get_map():
            assert time.monotonic() < end, f"{len(selector.get_map())} connections are still open"
            for key, _ in selector.select(1):
                try:
                    over = not key.fileobj.recv(65536)  # type: ignore[union-attr]
                except ConnectionError:
                    over = True
                if over:
                    selector.unregister(key.fileobj)


# --- T59 ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /alice/m HTTP/1.1\r\nHost: hub.te",
        b"GET /health/live HTTP/1.1\r\nHost: h\r\n\r\nGET / HTTP/1.1\r\nX: ",
    ],
    ids=["silence", "half a header", "half a second request"],
)
def test_T59_500_sockets_that_do_not_finish_their_headers_stop_nobody_and_are_closed(quick: Hub, sent: bytes) -> None:
    with crowd(quick.port, sent) as socks:
        serves_others(quick)
        all_closed(socks)


def test_T59_headers_that_drip_are_cut_by_the_total_time_whatever_the_pauses(quick: Hub) -> None:
    with opened(quick.port, b"GET / HTTP/1.1\r\n") as sock:
        began = time.monotonic()
        sock.settimeout(0.2)
        answer = b""
        while time.monotonic() - began < 10:
            try:
                answer = sock.recv(65536)
                break
            except TimeoutError:
                with contextlib.suppress(ConnectionError):
                    sock.sendall(b"X-Drip: 1\r\n")
        assert refusal(answer) == 408
        assert time.monotonic() - began < 5


def test_T59_500_bodies_that_stand_still_stop_nobody_are_closed_and_leave_nothing(quick: Hub) -> None:
    data = b"slow" * MIB
    path = quick.upload_path("alice/m", hashlib.sha256(data).hexdigest(), len(data))
    head = f"PUT {path} HTTP/1.1\r\nHost: hub.test\r\nContent-Length: {len(data)}\r\n\r\n".encode()
    grown = quick.rss_bytes
    with crowd(quick.port, head + data[:1000]) as socks:
        serves_others(quick)
        assert quick.rss_bytes - grown < 100 * MIB
        all_closed(socks)
    until(lambda: not list((quick.data / "store" / "incoming").iterdir()), "dropping the halves")
    assert quick.upload_path("alice/m", hashlib.sha256(data).hexdigest(), len(data)) is not None


def test_T59_500_readers_that_stand_still_stop_nobody_are_closed_and_cost_little_memory(quick: Hub) -> None:
    sent = b"GET /alice/m/resolve/main/large.bin HTTP/1.1\r\n" + HOST + b"\r\n"
    grown = quick.rss_bytes
    with crowd(quick.port, sent) as socks:
        for sock in socks:
            assert sock.recv(100)
        serves_others(quick)
        # each: a step on its way and one ahead, of 128 KiB, but of 1 MiB for the first 48; and as much again for luck
        assert quick.rss_bytes - grown < 400 * MIB
        # closed on the server's side: what lies in our own buffers can still be read
        until(lambda: _connections(quick) < 20, "closing the connections", 30)
        assert len(socks) == SLOW


def _connections(hub: Hub) -> int:
    assert hub.process is not None
    found = psutil.Process(hub.process.pid).net_connections("tcp")
    return sum(one.status == psutil.CONN_ESTABLISHED for one in found)


def test_T59_a_reader_that_is_slow_but_moves_gets_all_of_it(quick: Hub) -> None:
    """At 0.2 MB/s one step of the server takes longer than its patience with a reader that takes nothing."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        sock.connect(("127.0.0.1", quick.port))
        sock.sendall(b"GET /alice/m/resolve/main/large.bin HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
        sock.settimeout(20)
        found, began = bytearray(), time.monotonic()
        while piece := sock.recv(65536):
            found += piece
            since = time.monotonic() - began
            if since < 2 * PATIENCE_S and (ahead := len(found) / (0.2 * MIB) - since) > 0:
                time.sleep(ahead)  # this client is slow on purpose
    assert bytes(found).endswith(LARGE)


def test_T59_more_connections_than_allowed_are_refused_with_503_and_the_port_recovers(quick: Hub) -> None:
    with crowd(quick.port, b"", 720) as socks:
        assert [refusal(heard(sock)) for sock in socks[-15:]] == [503] * 15
    until(quick.answers, "recovering")
    serves_others(quick)


# --- T60 ---------------------------------------------------------------------------------------------------------

SECOND = b"GET /health/live?smuggled HTTP/1.1\r\n" + HOST + b"\r\n"
POST = b"POST /api/models/alice/m/paths-info/main HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"

# What one request may look like to one reader and two to another. Each must be refused, or be one and the same to both.
SMUGGLING = {
    "content-length and chunked": POST + b"Content-Length: 6\r\n" + CHUNKED + b"\r\n0\r\n\r\n" + SECOND,
    "chunked and content-length": POST + CHUNKED + b"Content-Length: 6\r\n\r\n0\r\n\r\n" + SECOND,
    "two content-lengths": POST + b"Content-Length: 2\r\nContent-Length: 60\r\n\r\n{}" + SECOND,
    "a list of content-lengths": POST + b"Content-Length: 2, 60\r\n\r\n{}" + SECOND,
    "content-length with a sign": POST + b"Content-Length: +2\r\n\r\n{}" + SECOND,
    "content-length in hex": POST + b"Content-Length: 0x2\r\n\r\n{}" + SECOND,
    "negative content-length": POST + b"Content-Length: -2\r\n\r\n{}" + SECOND,
    "huge content-length": POST + b"Content-Length: 99999999999999999999999\r\n\r\n{}" + SECOND,
    "folded header": POST + b"X-A: b\r\n Content-Length: 2\r\n\r\n" + SECOND,
    "folded transfer-encoding": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + SECOND,
    "bare line feeds": POST.replace(b"\r\n", b"\n") + b"Content-Length: 2\n\n{}" + SECOND,
    "one bare line feed": POST + b"X-A: b\nContent-Length: 2\r\n\r\n{}" + SECOND,
    "carriage return in a value": POST + b"X-A: b\rContent-Length: 2\r\n\r\n{}" + SECOND,
    "space before the colon": POST + b"Content-Length : 2\r\n\r\n{}" + SECOND,
    "space before the name": POST + b" Content-Length: 2\r\n\r\n{}" + SECOND,
    "xchunked": POST + b"Transfer-Encoding: xchunked\r\nContent-Length: 2\r\n\r\n{}" + SECOND,
    "chunked, identity": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + SECOND,
    "chunked twice": POST + CHUNKED + CHUNKED + b"\r\n0\r\n\r\n" + SECOND,
    "chunked with a vertical tab": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n" + SECOND,
    "chunk size beyond 64 bits": POST + CHUNKED + b"\r\n" + b"1" + b"0" * 17 + b"2\r\n{}\r\n0\r\n\r\n" + SECOND,
    "chunk size with a sign": POST + CHUNKED + b"\r\n+2\r\n{}\r\n0\r\n\r\n" + SECOND,
    "chunk size in 0x": POST + CHUNKED + b"\r\n0x2\r\n{}\r\n0\r\n\r\n" + SECOND,
    "chunk without an end": POST + CHUNKED + b"\r\n2\r\n{}XX0\r\n\r\n" + SECOND,
    "chunk ended by a line feed": POST + CHUNKED + b"\r\n2\n{}\n0\n\n" + SECOND,
    "nul in a header": POST + b"X-A: b\x00c\r\nContent-Length: 2\r\n\r\n{}" + SECOND,
    "http/1.0 and chunked": POST.replace(b"1.1", b"1.0") + CHUNKED + b"\r\n0\r\n\r\n" + SECOND,
    "http/0.9": b"GET /health/live\r\n\r\n" + SECOND,
    "http/2 in the line": b"GET /health/live HTTP/2.0\r\n" + HOST + b"\r\n" + SECOND,
}
# These are well-formed, if rare, and one request each.
PLAIN = {
    "chunk extensions": POST + CHUNKED + b'\r\n2;a=b;c="d"\r\n{}\r\n0\r\n\r\n',
    "trailers": POST + CHUNKED + b"\r\n2\r\n{}\r\n0\r\nX-Trailer: 1\r\n\r\n",
    "one byte a chunk": POST + CHUNKED + b"\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
    "upper case": POST + b"TRANSFER-ENCODING: CHUNKED\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("name", SMUGGLING)
def test_T60_an_ambiguous_request_is_refused_and_nothing_after_it_is_read(hub: Hub, name: str) -> None:
    answer = said(hub.port, SMUGGLING[name])

    assert len(statuses(answer)) == 1, answer[:400]
    assert refusal(answer) in (400, 505)


@pytest.mark.parametrize("name", PLAIN)
def test_T60_rare_but_clear_requests_are_one_request(hub: Hub, name: str) -> None:
    answer = said(hub.port, PLAIN[name] + SECOND)

    assert statuses(answer) == [200, 200], answer[:400]


@pytest.fixture(scope="module")
def nginx(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """nginx before the hub; its port, and the log of the requests that it saw."""
    if shutil.which("nginx") is None:
        pytest.skip("nginx is not on this machine: install the system package nginx-light")
    folder = tmp_path_factory.mktemp("nginx")
    port, log = free_port(), folder / "access.log"
    (folder / "nginx.conf").write_text(
        f"""
        daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
        events {{ worker_connections 200; }}
        http {{
            log_format seen '$request $status $upstream_status'; access_log {log} seen;
            client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
            uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
            server {{
                listen 127.0.0.1:{port};
                location / {{
                    proxy_pass http://127.0.0.1:{hub.port}; proxy_http_version 1.1; proxy_set_header Connection "";
                    proxy_request_buffering off;
                }}
            }}
        }}
        """
    )
    with (folder / "said").open("wb") as out:
        command = ["nginx", "-c", str(folder / "nginx.conf"), "-p", str(folder)]
        process = subprocess.Popen(command, stdout=out, stderr=out)
    until(lambda: _listens(port), f"the start of nginx ({(folder / 'said').read_text()})", 20)
    yield port, log
    process.terminate()
    process.wait(20)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        return True
    return False


@pytest.mark.parametrize("name", [*(name for name in SMUGGLING if name != "http/0.9"), *PLAIN])
def test_T60_nginx_and_the_hub_agree_on_how_many_requests_there_are(
    hub: Hub, nginx: tuple[int, Path], name: str
) -> None:
    port, log = nginx
    before = len(log.read_text().splitlines())

    answer = said(port, SMUGGLING.get(name) or PLAIN[name] + SECOND)

    found = statuses(answer)
    until(lambda: len(log.read_text().splitlines()) >= before + max(1, len(found)), "nginx's account of it")
    seen = log.read_text().splitlines()[before:]
    # every answer is one to a request that nginx knows of, and it is the hub's own or nginx's refusal
    assert len(found) == len(seen) <= 2, (found, seen)
    assert [str(status) for status in found] == [line.split()[-2] for line in seen], (found, seen)
    assert hub.good("GET", "/alice/m/resolve/main/first.txt").body == b"first\n"


# --- T61 ---------------------------------------------------------------------------------------------------------

ENDLESS = {
    "a header of 1 MB": (b"GET / HTTP/1.1\r\n" + HOST + b"X-Long: " + b"a" * MIB + b"\r\n\r\n", 431),
    "a header name of 1 MB": (b"GET / HTTP/1.1\r\n" + HOST + b"a" * MIB + b": 1\r\n\r\n", 431),
    "10,000 headers": (
        b"GET / HTTP/1.1\r\n" + HOST + b"".join(b"X-%d: 1\r\n" % n for n in range(10_000)) + b"\r\n", 431
    ),
    "an address of 64 KB": (b"GET /" + b"a" * 65_536 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
    "an address of 1 MB": (b"GET /" + b"a" * MIB + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
    "a method of 1 MB": (b"G" * MIB + b" / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
}  # fmt: skip


@pytest.mark.parametrize("name", ENDLESS)
def test_T61_endless_headers_and_addresses_are_refused_with_their_code_and_memory_stays(hub: Hub, name: str) -> None:
    sent, status = ENDLESS[name]
    before = hub.rss_bytes

    for _ in range(5):
        with opened(hub.port) as sock:
            sock.settimeout(5)
            with contextlib.suppress(ConnectionError):
                sock.sendall(sent)
            answer = heard(sock)
            assert refusal(answer) == status

    assert hub.rss_bytes - before < 20 * MIB


def test_T61_what_real_clients_send_is_far_below_the_limits(hub: Hub) -> None:
    headers = {f"X-{number}": "a" * 200 for number in range(60)}
    query = "&".join(f"expand={'a' * 50}{number}" for number in range(200))

    assert hub.ask("GET", f"/alice/m/resolve/main/first.txt?{query}", headers=headers).body == b"first\n"


def test_T61_a_flood_of_requests_on_one_connection_is_answered_in_order_and_memory_stays(hub: Hub) -> None:
    one = b"GET /alice/m/resolve/main/first.txt HTTP/1.1\r\n" + HOST + b"\r\n"
    before = hub.rss_bytes
    with opened(hub.port) as sock:
        sock.settimeout(60)
        for _ in range(4):
            sock.sendall(one * 250)
            found = b""
            while found.count(b"first\n") < 250:
                piece = sock.recv(65536)
                assert piece, found[-300:]
                found += piece
            assert statuses(found) == [200] * 250
    assert hub.rss_bytes - before < 20 * MIB


# --- T62 ---------------------------------------------------------------------------------------------------------

LIES = {
    "Host": "evil.example",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Proto": "gopher",
    "X-Forwarded-Prefix": "/evil.example",
    "X-Forwarded-For": "evil.example",
    "Forwarded": "host=evil.example;proto=gopher",
    "X-Original-URL": "//evil.example/",
    "X-Rewrite-URL": "//evil.example/",
}


def test_T62_no_link_header_or_body_is_made_from_what_a_request_says_of_the_host(hub: Hub) -> None:
    large = b"t62" * 1000
    hub.create("alice/t62")
    hub.uploaded("alice/t62", large)
    hub.committed("alice/t62", {"README.md": b"# card\n"}, large={"large.bin": large})
    hub.good("POST", "/api/repos/move", {"fromRepo": "alice/t62", "toRepo": "alice/t62new"})
    batch = {"operation": "upload", "transfers": ["basic"], "objects": [{"oid": "ab" * 32, "size": 5}]}
    asked: list[tuple[str, str, bytes | None]] = [
        ("GET", "/", None),
        ("GET", "/alice/t62new", None),
        ("GET", "/alice/t62", None),
        ("GET", "/login", None),
        ("GET", "/api/models/alice/t62new", None),
        ("GET", "/api/models?limit=1", None),
        ("GET", "/alice/t62/resolve/main/large.bin", None),
        ("GET", "/alice/t62new/resolve/main/large.bin", None),
        ("GET", "/api/models/alice/t62new/xet-write-token/main", None),
        ("POST", "/alice/t62new.git/info/lfs/objects/batch", json.dumps(batch).encode()),
        ("POST", "/api/repos/create", b'{"name": "t62new"}'),
        ("GET", "/nowhere", None),
    ]
    for method, path, body in asked:
        answer = hub.ask(method, path, body, headers=LIES)
        told = repr(answer.headers).encode() + answer.body
        assert b"evil.example" not in told and b"gopher" not in told, f"{method} {path}"
        if "location" in answer.headers:
            assert answer.headers["location"].startswith(("/", hub.url)), path
    action = json.loads(hub.ask(*asked[9], headers=LIES).body)["objects"][0]["actions"]["upload"]["href"]
    assert action.startswith(f"{hub.url}/lfs/")


@pytest.mark.parametrize(
    "line",
    [b"GET http://evil.example/alice/nowhere HTTP/1.1", b"GET //evil.example/%2f.. HTTP/1.1"],
    ids=["absolute", "two slashes"],
)
def test_T62_an_address_with_a_host_in_it_leads_nowhere_else(hub: Hub, line: bytes) -> None:
    answer = said(hub.port, line + b"\r\n" + HOST + b"Connection: close\r\n\r\n")

    head = answer.split(b"\r\n\r\n")[0]
    assert statuses(answer)[0] in (400, 401, 404)
    assert b"evil.example" not in head
