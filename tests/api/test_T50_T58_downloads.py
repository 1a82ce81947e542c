"""What a download carries so that a browser runs nothing of it (T50), and parts of files to the byte (T58)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from asgi_hub import Answer, Hub, git_sha, lfs_file, links, noise, sha
from xet_files import XetFile, Xorb, chunks_of, fetch, unpacked, with_xet, xet_file

from headwater.front.hub.resolve import AT_ONCE_BYTES

TEXT = "text/plain; charset=utf-8"
BYTES = "application/octet-stream"
DRAWING = "image/svg+xml"


# --- T50 ---


ACTIVE = [
    "html",
    "htm",
    "HTML",
    "hTmL",
    "svg",
    "SVG",
    "xhtml",
    "xml",
    "js",
    "css",
    "mjs",
    "xht",
    "shtml",
    "swf",
    "pdf",
    "mhtml",
    "htc",
    "xsl",
    "wasm",
    "hta",
    "jar",
]


@pytest.mark.parametrize("suffix", ACTIVE)
@pytest.mark.parametrize("by", ["commit", "LFS"])
def test_T50_what_a_browser_would_run_comes_as_text_or_as_a_download(hub: Hub, suffix: str, by: str) -> None:
    repo, name = shared(hub), f"{hub.name('page')}.{suffix}"
    data = b"<script>alert(document.cookie)</script>" + name.encode()
    if by == "commit":
        hub.committed(repo, {name: data})
    else:
        hub.with_lfs(repo, name, data)
    for prefix in ("resolve", "raw"):
        for method in ("GET", "HEAD"):
            answer = hub.send(method, f"/{repo}/{prefix}/main/{name}", headers={"accept": "text/html"})
            kind = answer.headers["content-type"]
            assert kind in ((DRAWING,) if suffix.lower() == "svg" else (TEXT, BYTES))
            assert kind == TEXT or answer.headers["content-disposition"].startswith("attachment;")
            assert answer.headers["x-content-type-options"] == "nosniff"
            policy = answer.headers["content-security-policy"]
            assert "sandbox" in policy
            assert "default-src 'none'" in policy
            assert "allow-scripts" not in policy


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.png", "image/png"), ("a.JPG", "image/jpeg"), ("a.json", "application/json"), ("a.md", TEXT), ("a.txt", TEXT),
        ("a.safetensors", BYTES), ("a.bin", BYTES), ("Makefile", BYTES), ("html", BYTES), (".html", TEXT), ("a.html.bin", BYTES),
        ("a.png.html", TEXT), ("a.", BYTES), ("a.gguf", BYTES),
    ],
)  # fmt: skip
def test_T50_types_are_made_from_the_name_and_never_from_the_bytes(hub: Hub, name: str, kind: str) -> None:
    repo = shared(hub)
    if hub.commit(repo, {name: b"<!DOCTYPE html><html>"}).status == 422:
        assert name == "a."
        return
    assert hub.get(f"/{repo}/resolve/main/{name}").headers["content-type"] == kind


def test_T50_a_parquet_or_image_asked_for_as_a_page_is_still_itself(hub: Hub) -> None:
    repo = shared(hub)
    hub.committed(repo, {"p.png": b"<html>"})
    assert (
        hub.get(f"/{repo}/resolve/main/p.png", headers={"accept": "text/html"}).headers["content-type"] == "image/png"
    )


@pytest.mark.parametrize("path", ["lfs", "xet"])
def test_T50_signed_addresses_serve_bytes_and_nothing_else(hub: Hub, path: str) -> None:
    repo, file = shared(hub), xet_file(b"<html><script>alert(1)</script>" * 400, 1000)
    with_xet(hub, repo, "page.html", file)
    if path == "lfs":
        listed = hub.batch(repo, [(file.sha256, len(file.data))], operation="download").json["objects"][0]
        address = hub.local(listed["actions"]["download"]["href"])
    else:
        plan = hub.ok("GET", f"/xet/v1/reconstructions/{file.name}", hub.xet(repo)).json
        address = hub.local(next(iter(plan["fetch_info"].values()))[0]["url"])
    answer = hub.get(address, headers={"accept": "text/html"})
    assert (
        answer.status, answer.headers["content-type"], answer.headers["x-content-type-options"],
    ) == (200, BYTES, "nosniff")  # fmt: skip


CARD = b"""---
license: mit
---
# Title <script>alert(1)</script>
<img src=x onerror=alert(1)><iframe src="https://evil.example"></iframe><svg onload=alert(1)></svg>
[click](javascript:alert(1)) [data](data:text/html,<script>alert(1)</script>) ![x](http://evil.example/pixel.png)
<style>body{background:url(https://evil.example)}</style><form action="https://evil.example"><input></form>
<a href="vbscript:x" style="position:fixed">x</a><base href="https://evil.example"><meta http-equiv=refresh content=0>
"""


def test_T50_a_card_runs_loads_and_sends_nothing(hub: Hub) -> None:
    repo = hub.repo()
    hub.committed(repo, {"README.md": CARD})
    answer = hub.ok("GET", f"/{repo}")
    card = re.search(r"<(article|div)[^>]*card.*?</main>", answer.text, re.DOTALL)
    shown = (card.group(0) if card else answer.text).lower()
    for trace in ("<script>alert", "onerror", "onload", "<iframe", "<style>body", '="javascript:', '="vbscript:', '="data:text',
                  "<base", "http-equiv", 'src="http://evil', "position:fixed", 'action="https://evil'):  # fmt: skip
        assert trace not in shown, trace
    policy = answer.headers["content-security-policy"]
    assert "script-src 'self'" in policy
    assert "img-src 'self'" in policy


# --- T58: parts of files ---


SIZE = 10_000


@dataclass(frozen=True)
class Place:
    """One way to the same bytes: an address, and what it needs."""

    address: str
    data: bytes
    etag: str


@pytest.fixture(scope="module")
def places(hub: Hub) -> dict[str, Place]:
    repo = hub.repo()
    plain, lfs, xet = noise("plain", SIZE), noise("lfs", SIZE), xet_file(noise("xet", SIZE), 1024)
    larger = noise("larger", 3 * AT_ONCE_BYTES + 1)
    hub.committed(repo, {"plain.bin.txt": plain, "larger.txt": larger})
    hub.with_lfs(repo, "lfs.bin", lfs)
    parts = Xorb(tuple(chunks_of(xet.data, 1024)))
    mixed = XetFile(((parts, 3, 7), (parts, 0, 2), (parts, 9, 10)))
    with_xet(hub, repo, "xet.bin", xet)
    with_xet(hub, repo, "mixed.bin", mixed)
    listed = hub.batch(repo, [(sha(lfs), SIZE)], operation="download").json["objects"][0]
    return {
        "inline": Place(f"/{repo}/resolve/main/plain.bin.txt", plain, git_sha(plain)),
        "inline, read later": Place(f"/{repo}/resolve/main/larger.txt", larger, git_sha(larger)),
        "lfs": Place(f"/{repo}/resolve/main/lfs.bin", lfs, sha(lfs)),
        "xet": Place(f"/{repo}/resolve/main/xet.bin", xet.data, xet.sha256),
        "xet of several terms": Place(f"/{repo}/resolve/main/mixed.bin", mixed.data, mixed.sha256),
        "lfs address": Place(hub.local(listed["actions"]["download"]["href"]), lfs, sha(lfs)),
    }


NAMES = ("inline", "inline, read later", "lfs", "xet", "xet of several terms", "lfs address")


def meant(asked: str, size: int) -> tuple[int, int] | int | None:
    """RFC 9110, 14.1.2, for one range: what is sent (half-open), None for all of it, 416."""
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", asked)
    if not found or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if first == "":
        return (max(0, size - int(last)), size) if int(last) else 416
    if last and int(last) < int(first):
        return None
    return (int(first), min(size, int(last) + 1) if last else size) if int(first) < size else 416


SINGLE = [
    "bytes=0-0", "bytes=0-", "bytes=-1", "bytes=-0", "bytes=-99999999", "bytes=0-99999999", "bytes=9999-", "bytes=10000-",
    "bytes=9999-9999", "bytes=10000-10000", "bytes=1023-1024", "bytes=1024-2047", "bytes=500-499", "bytes=5-2", "bytes=-",
    "bytes=", "bytes=a-b", "bytes=1-2-3", "bytes=0x0-0x1", "bytes=--1", "bytes=1.5-2", "lines=0-1", "bytes", "0-1",
    "bytes=9" + "9" * 17 + "-", "bytes=0-" + "9" * 18, "bytes=" + "9" * 30 + "-", "BYTES=0-0", "bytes = 0-0", "bytes=\xb2-\xb3",
    "bytes=0-100000", "bytes=8-4095", "bytes=-10000", "bytes=-9999", "bytes=7000-7999",
]  # fmt: skip


@pytest.mark.parametrize("asked", SINGLE, ids=ascii)
@pytest.mark.parametrize("name", NAMES)
def test_T58_one_range_is_answered_as_the_rfc_has_it(hub: Hub, places: dict[str, Place], name: str, asked: str) -> None:
    place = places[name]
    size = len(place.data)
    answer = hub.get(place.address, headers={"range": asked})
    wanted = meant(asked.lower().replace(" ", ""), size) if len(asked) < 27 else None
    if wanted == 416:
        assert (416, f"bytes */{size}") == (answer.status, answer.headers["content-range"])
        assert str(size) in answer.error
    elif wanted is None:
        assert (200, place.data) == (answer.status, answer.body)
        assert "content-range" not in answer.headers
    else:
        assert not isinstance(wanted, int)
        start, stop = wanted
        assert (206, place.data[start:stop]) == (answer.status, answer.body)
        assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{size}"
    assert answer.headers["accept-ranges"] == "bytes"
    assert int(answer.headers["content-length"]) == len(answer.body)
    if answer.status != 416:
        assert answer.headers["etag"] == f'"{place.etag}"'


@pytest.mark.parametrize("name", NAMES)
def test_T58_several_ranges_come_in_parts(hub: Hub, places: dict[str, Place], name: str) -> None:
    place = places[name]
    size = len(place.data)
    answer = hub.get(place.address, headers={"range": f"bytes=0-0, 100-199,  -5,{size + 5}-"})
    assert answer.status == 206
    assert answer.headers["content-type"].startswith("multipart/byteranges; boundary=")
    boundary = answer.headers["content-type"].partition("boundary=")[2].encode()
    assert boundary not in place.data
    found = []
    for part in answer.body.split(b"\r\n--" + boundary)[1:-1]:
        head, _, body = part.partition(b"\r\n\r\n")
        first, last, of = re.search(rb"Content-Range: bytes (\d+)-(\d+)/(\d+)", head).groups()
        assert int(of) == size
        assert body == place.data[int(first) : int(last) + 1]
        found.append((int(first), int(last)))
    assert found == [(0, 0), (100, 199), (size - 5, size - 1)]
    assert answer.body.endswith(b"\r\n--" + boundary + b"--\r\n")
    assert int(answer.headers["content-length"]) == len(answer.body)


MANY = {
    "17 ranges": "bytes=" + ",".join(f"{i * 10}-{i * 10}" for i in range(17)),
    "10,000 ranges": "bytes=" + ",".join(f"{i}-{i}" for i in range(10_000)),
    "the whole, many times": "bytes=" + ",".join(["0-"] * 10),
    "overlapping": "bytes=0-99,50-150",
    "nested suffixes": "bytes=-1,-2,-3",
    "all beyond the end": "bytes=99999-,88888-",
}


@pytest.mark.parametrize("asked", MANY.values(), ids=list(MANY))
@pytest.mark.parametrize("name", NAMES)
def test_T58_no_header_makes_the_hub_send_more_than_the_file(
    hub: Hub, places: dict[str, Place], name: str, asked: str
) -> None:
    answer = hub.get(places[name].address, headers={"range": asked})
    assert (416, f"bytes */{len(places[name].data)}") == (answer.status, answer.headers["content-range"])
    assert len(answer.body) < 1000


@pytest.mark.parametrize("name", NAMES)
def test_T58_a_resumed_download_is_checked_against_what_it_began_with(
    hub: Hub, places: dict[str, Place], name: str
) -> None:
    place = places[name]

    def resumed(condition: str) -> Answer:
        return hub.get(place.address, headers={"range": "bytes=100-", "if-range": condition})

    assert (206, place.data[100:]) == (resumed(f'"{place.etag}"').status, resumed(f'"{place.etag}"').body)
    for other in ('"' + "0" * 64 + '"', f'W/"{place.etag}"', place.etag, "Wed, 21 Oct 2026 07:28:00 GMT"):
        assert (200, place.data) == (resumed(other).status, resumed(other).body)


@pytest.mark.parametrize("name", NAMES)
def test_an_etag_that_is_known_already_is_answered_with_304(hub: Hub, places: dict[str, Place], name: str) -> None:
    place = places[name]
    for known in (f'"{place.etag}"', f'W/"{place.etag}"', f'"x", "{place.etag}"', "*"):
        for method in ("GET", "HEAD"):
            answer = hub.send(method, place.address, headers={"if-none-match": known, "range": "bytes=0-1"})
            assert (answer.status, answer.body) == (304, b""), known
            assert answer.headers["etag"] == f'"{place.etag}"'
            assert "content-length" not in answer.headers
    assert hub.get(place.address, headers={"if-none-match": '"other"'}).status == 200


@pytest.mark.parametrize("name", NAMES)
def test_T58_head_tells_what_get_would_send(hub: Hub, places: dict[str, Place], name: str) -> None:
    place = places[name]
    for headers in ({}, {"range": "bytes=5-9"}, {"range": "bytes=99999-"}, {"range": "bytes=0-0,5-9"}):
        head, got = hub.head(place.address, headers=headers), hub.get(place.address, headers=headers)
        hidden = {"x-request-id", "content-type"} if "," in headers.get("range", "") else {"x-request-id"}
        assert head.body == b""
        assert head.status == got.status

        def told(answer: Answer, hidden: set[str] = hidden) -> dict[str, str]:
            return {k: v for k, v in answer.headers.items() if k not in hidden}

        if got.status != 416:  # whose body names the request
            assert told(head) == told(got)


def test_T58_an_empty_file_has_no_range(hub: Hub) -> None:
    repo = hub.repo()
    empty_lfs = hub.upload(repo, b"")
    hub.committed(repo, {"empty.txt": b""})
    hub.committed(repo, [lfs_file("empty.bin", empty_lfs, 0)])
    for name in ("empty.txt", "empty.bin"):
        whole = hub.get(f"/{repo}/resolve/main/{name}")
        assert (whole.status, whole.body, whole.headers["content-length"]) == (200, b"", "0")
        for asked in ("bytes=0-0", "bytes=0-", "bytes=-1"):
            answer = hub.get(f"/{repo}/resolve/main/{name}", headers={"range": asked})
            assert (answer.status, answer.headers["content-range"]) == (416, "bytes */0")


# --- T58: ranges of xorbs ---


@pytest.fixture(scope="module")
def signed(hub: Hub) -> tuple[str, bytes, int, int]:
    """The address of chunks 2 to 5 of a xorb: its bytes, and where they lie in the container."""
    repo = hub.repo()
    xorb = Xorb(tuple(chunks_of(noise("signed", 8 * 1000), 1000)))
    with_xet(hub, repo, "x.bin", XetFile(((xorb, 2, 5),)))
    name = XetFile(((xorb, 2, 5),)).name
    plan = hub.ok("GET", f"/xet/v1/reconstructions/{name}", hub.xet(repo)).json
    ((entry,),) = plan["fetch_info"].values()
    assert entry["range"] == {"start": 2, "end": 5}
    assert entry["url_range"] == {"start": 2 * 1008, "end": 5 * 1008 - 1}
    return hub.local(entry["url"]), b"".join(xorb.chunks[2:5]), 2 * 1008, 5 * 1008


def test_T58_a_signed_range_is_served_whole_and_in_parts(hub: Hub, signed: tuple[str, bytes, int, int]) -> None:
    address, data, low, high = signed
    whole = hub.get(address)
    assert (200, data) == (whole.status, unpacked(whole.body))
    assert unpacked(fetch(hub, "http://hub.test" + address, low, high - 1)) == data
    for first, last in ((low, low), (low + 5, low + 20), (high - 1, high - 1), (low + 1008, low + 2015)):
        answer = hub.get(address, headers={"range": f"bytes={first}-{last}"})
        assert (206, whole.body[first - low : last - low + 1]) == (answer.status, answer.body)
        assert answer.headers["content-range"].startswith(f"bytes {first}-{last}/")


@pytest.mark.parametrize(
    "asked",
    [
        "bytes=0-0",
        "bytes=0-",
        "bytes=0-5039",
        "bytes=2015-2016",
        "bytes=5040-",
        "bytes=5040-6000",
        "bytes=-99999",
        "bytes=2016-2016,2018-2018",
    ],
)
def test_T58_nothing_outside_of_a_signed_range_is_served(
    hub: Hub, signed: tuple[str, bytes, int, int], asked: str
) -> None:
    answer = hub.get(signed[0], headers={"range": asked})
    assert answer.status == 416


def test_T58_a_signed_range_read_beyond_its_end_stops_there(hub: Hub, signed: tuple[str, bytes, int, int]) -> None:
    address, _, low, high = signed
    answer = hub.get(address, headers={"range": f"bytes={low}-{high + 5000}"})
    assert (206, high - low) == (answer.status, len(answer.body))


@pytest.mark.parametrize(
    "asked", ["bytes=0-0", "bytes=5-2000", "bytes=9999-9999", "bytes=1000-", "bytes=-1500", "bytes=0-999999"]
)
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_T58_a_reconstruction_of_a_range_covers_it(
    hub: Hub, places: dict[str, Place], asked: str, version: str
) -> None:
    place = places["xet"]
    repo = place.address[1:].partition("/resolve")[0]
    name = hub.head(place.address).headers["x-xet-hash"]
    plan = hub.ok("GET", f"/xet/{version}/reconstructions/{name}", hub.xet(repo), headers={"range": asked}).json
    wanted = meant(asked, SIZE)
    assert isinstance(wanted, tuple)
    covered = sum(term["unpacked_length"] for term in plan["terms"])
    assert plan["offset_into_first_range"] < 1024
    assert covered >= plan["offset_into_first_range"] + wanted[1] - wanted[0]
    assert covered <= wanted[1] - wanted[0] + 2 * 1024


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_T58_a_reconstruction_beyond_the_end_is_416(hub: Hub, places: dict[str, Place], version: str) -> None:
    place = places["xet"]
    repo = place.address[1:].partition("/resolve")[0]
    name = hub.head(place.address).headers["x-xet-hash"]
    for asked in ("bytes=10000-", "bytes=99999-100000", "bytes=-0"):
        answer = hub.get(f"/xet/{version}/reconstructions/{name}", hub.xet(repo), headers={"range": asked})
        assert (answer.status, answer.headers["content-range"]) == (416, "bytes */10000")


_SHARED: dict[int, str] = {}


def shared(hub: Hub) -> str:
    if id(hub) not in _SHARED:
        _SHARED[id(hub)] = hub.repo()
    return _SHARED[id(hub)]


def test_links_of_a_download_lead_to_its_xet_token(
    hub: Hub, places: dict[str, Place], new_hub: Callable[..., Hub]
) -> None:
    answer = hub.head(places["lfs"].address)
    found = links(answer)
    assert found["xet-auth"] == answer.headers["x-xet-refresh-route"]
    assert hub.get(hub.local(found["xet-auth"])).status == 200
    reconstruction = hub.get(
        hub.local(found["xet-reconstruction-info"]), hub.get(hub.local(found["xet-auth"])).json["accessToken"]
    )
    assert reconstruction.status == 200
