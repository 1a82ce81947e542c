"""Uploads that announce a wrong size for the right bytes (T13), a repo of 100,000 files (T19), signed ranges (T43)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from asgi_hub import Body, Hub, lfs_file, noise, sha
from git_pushes import FILE, FOLDER, Workshop
from xet_files import XetFile, post_shard, post_xorb, unpacked, with_xet, xet_file

from headwater.ground.names import Sha256

PART = 4096


@pytest.fixture(scope="module")
def hub(new_hub: Callable[..., Hub]) -> Hub:
    return new_hub(lfs_part_size=PART)


# --- T13 ---


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "not declared"])
@pytest.mark.parametrize("more", [1, -1, 100])
def test_T13_the_right_bytes_under_a_wrong_size_are_refused(hub: Hub, more: int, declared: bool) -> None:
    """Their SHA-256 fits, and still the hub must not believe the size that came with it."""
    repo, data = hub.repo(), noise(f"right bytes {more} {declared}", 3000)
    asked = hub.batch(repo, [(sha(data), len(data) + more)]).json["objects"][0]
    address = hub.local(asked["actions"]["upload"]["href"])
    answer = hub.send("PUT", address, body=Body([data[:1000], data[1000:]], len(data) if declared else ""))
    assert answer.status == 400
    assert "Nothing was stored" in answer.error
    assert hub.rooms.store.find(Sha256(sha(data))) is None
    hub.with_lfs(repo, "m.bin", data)
    assert hub.get(f"/{repo}/resolve/main/m.bin").body == data
    assert hub.head(f"/{repo}/resolve/main/m.bin").headers["x-linked-size"] == "3000"


def test_T13_parts_that_are_right_under_a_wrong_size_are_refused(hub: Hub) -> None:
    repo, data = hub.repo(), noise("right parts", 2 * PART + 7)
    for size in (len(data) + 1, len(data) - 1):
        asked = hub.batch(repo, [(sha(data), size)], transfers=["multipart"]).json["objects"][0]
        upload = asked["actions"]["upload"]
        statuses = [
            hub.send("PUT", hub.local(upload["header"][str(n + 1)]), body=data[n * PART : (n + 1) * PART]).status
            for n in range(3)
        ]
        assert statuses == [200, 200, 400]  # the last part gives the lie away
        assert hub.post(hub.local(upload["href"]), json={"oid": sha(data), "parts": []}).status == 400
    assert hub.rooms.store.find(Sha256(sha(data))) is None


def test_T13_a_body_that_goes_on_beyond_what_was_announced_is_not_read_to_its_end(hub: Hub) -> None:
    """Whoever announced 3,000 bytes does not fill the disk: refused with the first piece too many."""

    def endless() -> Iterator[bytes]:
        while True:
            yield bytes(1 << 20)

    address = hub.upload_address(hub.repo(), noise("a few bytes", 3000))
    answer = hub.send("PUT", address, body=Body(endless(), ""))
    assert (answer.status, answer.taken <= 8 << 20) == (400, True)
    assert not list((hub.data / "store" / "incoming").iterdir())


# --- T19 ---


def test_T19_a_repo_of_100_000_files_in_folders_of_10_000_is_listed_in_pages_and_takes_commits(
    hub: Hub, tmp_path: Path
) -> None:
    workshop = Workshop(tmp_path / "workshop.git")
    workshop.init()
    note = workshop.blob(b"note")
    folder = workshop.tree(*((FILE, f"f{number:05d}", note) for number in range(10_000)))
    top = workshop.tree(*((FOLDER, f"d{number}", folder) for number in range(10)))
    repo = hub.repo()
    pushed = hub.ok(
        "POST", f"/{repo}.git/git-receive-pack", "ada", body=workshop.push(workshop.commit(top), ref="refs/heads/big")
    )
    assert "ok refs/heads/big" in pushed.text

    def pages(address: str) -> list[str]:
        seen: list[str] = []
        while address:
            answer = hub.ok("GET", address)
            assert len(answer.json) <= 1000
            seen += [entry["path"] for entry in answer.json if entry["type"] == "file"]
            address = hub.local(answer.headers["link"][1:].partition(">")[0]) if "link" in answer.headers else ""
        return seen

    assert pages(hub.api(repo, "/tree/big/d3")) == [f"d3/f{number:05d}" for number in range(10_000)]
    first = hub.ok("GET", hub.api(repo, "/tree/big?recursive=true"))
    assert len(first.json) == 1000
    assert "link" in first.headers
    made = hub.committed(repo, {"d3/f10000": b"one more", "d10/a": b"another folder"}, rev="big")
    assert hub.get(f"/{repo}/resolve/{made}/d3/f10000").body == b"one more"
    assert hub.get(f"/{repo}/resolve/{made}/d9/f09999").body == b"note"
    assert len(pages(hub.api(repo, "/tree/big/d3"))) == 10_001
    assert hub.ok("GET", f"/{repo}/tree/big/d3", headers={"accept": "text/html"}).status == 200


# --- T43 ---


def test_T43_a_signed_range_reads_that_run_of_the_xorb_and_no_byte_beside_it(hub: Hub) -> None:
    """Of one xorb two repos have different chunks: an address for the one must not read the other."""
    repo, other = hub.repo("ada", private=True), hub.repo("ada", private=True)
    whole = xet_file(noise("a shared xorb", 6 * 9000), 9000)
    (xorb,) = whole.xorbs
    shown, hidden = XetFile(((xorb, 2, 4),)), XetFile(((xorb, 0, 2),))
    token = hub.xet(repo, "write")
    assert post_xorb(hub, token, xorb).status == 200
    assert post_shard(hub, token, shown).status == 200
    hub.committed(repo, [lfs_file("x.bin", shown.sha256, len(shown.data))])
    with_xet(hub, other, "x.bin", hidden)
    plan = hub.ok("GET", f"/xet/v1/reconstructions/{shown.name}", hub.xet(repo)).json
    ((entry,),) = plan["fetch_info"].values()
    first, last = entry["url_range"]["start"], entry["url_range"]["end"]
    address = hub.local(entry["url"])
    assert first > 0
    assert unpacked(hub.get(address).body) == shown.data
    assert unpacked(hub.get(address, headers={"range": f"bytes={first}-{last}"}).body) == shown.data
    beside = [
        f"0-{last}",
        f"{first - 1}-{last}",
        f"{first}-{last + 1}",
        f"0-{first - 1}",
        f"{last + 1}-{last + 9}",
        "0-0",
    ]
    beside += [f"{last + 1}-", "0-", f"{first}-{last},0-9", "-999999"]
    for asked in beside:
        answer = hub.get(address, headers={"range": f"bytes={asked}"})
        if answer.status == 206:
            # an end beyond the run, or a start before it, may be cut to it
            start, stop = answer.headers["content-range"].removeprefix("bytes ").partition("/")[0].split("-")
            assert first <= int(start) <= int(stop) <= last, asked
        else:
            assert answer.status in (403, 416), asked
        assert xorb.chunks[0][:64] not in answer.body
        assert xorb.chunks[1][-64:] not in answer.body
        assert xorb.chunks[4][:64] not in answer.body
