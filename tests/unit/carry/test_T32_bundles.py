"""T32: a bundle that is not what was exported is refused, by the hub and by the offline verifier, and both say where.

Whatever is wrong, nothing of it can be seen afterwards, and nothing of it is stored.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bundle_building import (
    LFS,
    MODEL,
    OLD,
    PART,
    VERIFIER,
    Bundle,
    canonical,
    exported,
    flip,
    imported,
    main_of,
    state,
)
from hub_building import Hub
from sqlalchemy import func, select
from xet_building import sha256_of

from headwater.accounts import OPERATOR
from headwater.carry import listings
from headwater.carry.staging import Staging
from headwater.ground.errors import Conflict, HeadwaterError
from headwater.store import tables


def refused(hub: Hub, bundle: Bundle, said: str, *, offline: bool = True, **wish: Any) -> HeadwaterError:
    """By both, each naming what is wrong; and the hub is as it was."""
    before = state(hub)
    with pytest.raises(HeadwaterError, match=said) as caught:
        imported(hub, bundle.folder, **wish)
    assert state(hub) == before
    with hub.rooms.db.read() as connection:
        assert connection.execute(select(func.count()).select_from(tables.blob)).scalar() == 0
    assert not [path for path in (hub.data / "carry").rglob("*") if path.is_file()]
    if offline:
        status, text = bundle.verified()
        assert status == 1, text
        assert re.search(said, text), text
    return caught.value


def git(bundle: Bundle, repo: int = 0) -> dict[str, Any]:
    return dict(bundle.manifest["repos"][repo])


def test_T32_a_bundle_as_it_was_exported_is_all_well(bundle: Bundle) -> None:
    status, text = bundle.verified("--expect", hashlib.sha256(bundle.path.read_bytes()).hexdigest())
    assert status == 0, text
    assert text.startswith("all is well: 5 repos")


# --- flipped ---


@pytest.mark.parametrize("kind", ["pack", "listing", "inline", "large", "empty space"])
def test_T32_a_flipped_bit_in_any_kind_of_file_is_refused_and_the_part_is_named(
    kind: str, target: Hub, bundle: Bundle
) -> None:
    repo = git(bundle)
    lines = [json.loads(line) for line in bundle.file(repo["refs"][0]["listing"]).splitlines()]
    inline = next(sha256 for path, _, sha256, _ in lines if path == "README.md" or path == "a/b.txt")
    last = bundle.manifest["files"][-1]["sha256"]
    sha256 = {
        "pack": repo["pack"],
        "listing": repo["refs"][0]["listing"],
        "inline": inline,
        "large": sha256_of(LFS),
        "empty space": last,
    }[kind]
    found = next(one for one in bundle.manifest["files"] if one["sha256"] == sha256)
    flip(bundle.part(found["part"]), found["offset"])
    refused(target, bundle, rf"part {found['part']:05d}.*file {sha256}|part {found['part']:05d}: expected")
    assert sha256 in bundle.verified()[1]


def test_T32_a_flipped_bit_in_the_manifest_is_refused(target: Hub, bundle: Bundle) -> None:
    text = bundle.path.read_bytes()
    flip(bundle.path, text.index(b'"made":"2') + len(b'"made":"20'))
    refused(target, bundle, r"manifest\.json: its own hash")


@pytest.mark.parametrize("at", range(0, 200, 20))
def test_T32_a_flipped_bit_anywhere_in_the_manifest_is_refused(at: int, target: Hub, bundle: Bundle) -> None:
    flip(bundle.path, at * bundle.path.stat().st_size // 200)
    refused(target, bundle, "manifest.json")


# --- dropped, cut, added, swapped ---


@pytest.mark.parametrize("number", [1, 3])
def test_T32_a_part_that_is_missing_is_named(number: int, target: Hub, bundle: Bundle) -> None:
    bundle.part(number).unlink()
    refused(target, bundle, f"part {number:05d} is missing")


def test_T32_the_last_part_missing_is_named(target: Hub, bundle: Bundle) -> None:
    last = len(bundle.manifest["parts"])
    bundle.part(last).unlink()
    refused(target, bundle, f"part {last:05d} is missing")


@pytest.mark.parametrize("size", [0, 100, PART - 1])
def test_T32_a_part_that_was_cut_is_named(size: int, target: Hub, bundle: Bundle) -> None:
    os.truncate(bundle.part(2), size)
    refused(target, bundle, f"part 00002 has {size} bytes")


def test_T32_a_part_that_is_too_many_is_named(target: Hub, bundle: Bundle) -> None:
    extra = len(bundle.manifest["parts"]) + 1
    bundle.part(extra).write_bytes(b"more")
    refused(target, bundle, f"parts/{extra:05d} is not part of this bundle")


def test_T32_two_parts_that_were_swapped_are_named(target: Hub, bundle: Bundle) -> None:
    one, two = bundle.part(2).read_bytes(), bundle.part(3).read_bytes()
    bundle.part(2).write_bytes(two)
    bundle.part(3).write_bytes(one)
    refused(target, bundle, r"part 00002.*it is part 00003")


def test_T32_parts_in_another_order_are_named(target: Hub, bundle: Bundle) -> None:
    data = [bundle.part(number).read_bytes() for number in (1, 2, 3)]
    for number, one in zip((2, 3, 1), data, strict=True):
        bundle.part(number).write_bytes(one)
    refused(target, bundle, r"part 00001.*it is part 00003")


def test_T32_parts_reordered_in_the_manifest_are_refused(target: Hub, bundle: Bundle) -> None:
    def swap(manifest: dict[str, Any]) -> None:
        parts = manifest["parts"]
        parts[0], parts[1] = parts[1], parts[0]

    bundle.change(swap)
    refused(target, bundle, "part 2 stands where part 1 belongs|part 00001: its number")


def test_T32_parts_of_another_bundle_are_refused(source: Hub, target: Hub, bundle: Bundle, folder: Path) -> None:
    exported(source, folder / "other", MODEL)
    other = Bundle(folder / "other")
    bundle.part(1).write_bytes(other.part(1).read_bytes()[::-1])
    refused(target, bundle, "part 00001")


# --- replayed ---


def test_T32_an_old_manifest_over_new_parts_is_refused(source: Hub, target: Hub, bundle: Bundle, folder: Path) -> None:
    model = source.rooms.repos.open(OPERATOR, MODEL, "read")
    source.commit(model, {"new.txt": b"new\n"}, {"new.bin": source.upload(model, b"new" * 9000)})
    exported(source, folder / "new")
    new = Bundle(folder / "new")
    new.path.write_bytes(bundle.path.read_bytes())
    refused(target, new, r"parts?[ /]\d{5}")


def test_T32_an_old_bundle_after_a_new_one_is_refused_unless_it_is_asked_for_again(
    source: Hub, target: Hub, bundle: Bundle, folder: Path
) -> None:
    model = source.rooms.repos.open(OPERATOR, MODEL, "read")
    source.commit(model, {"new.txt": b"new\n"})
    exported(source, folder / "new")
    imported(target, folder / "new")
    before = state(target)
    with pytest.raises(Conflict, match=r"model ada/m has bundle .* already, and this one is older") as caught:
        imported(target, bundle.folder)
    assert "--again" in caught.value.text
    assert state(target) == before
    landed = imported(target, bundle.folder, again=True)
    assert next(one for one in landed if one.repo == "model ada/m").ahead == ["refs/heads/main"]
    imported(target, bundle.folder, again=True, force=True)
    assert main_of(target) == git(bundle)["refs"][1]["commit"]


def test_T32_a_bundle_between_two_that_brought_nothing_is_old_all_the_same(
    source: Hub, target: Hub, bundle: Bundle, folder: Path
) -> None:
    imported(target, bundle.folder)
    repos, model = source.rooms.repos, source.rooms.repos.open(OPERATOR, MODEL, "read")
    repos.refs.create_branch(source.ada, model, "wrong")
    exported(source, folder / "wrong", MODEL)
    repos.refs.delete_branch(source.ada, model, "wrong")
    exported(source, folder / "right", MODEL)
    imported(target, folder / "right")
    with pytest.raises(Conflict, match="is older"):
        imported(target, folder / "wrong")


def test_T32_a_manifest_that_was_replayed_is_seen_by_who_was_told_the_new_one(
    source: Hub, target: Hub, bundle: Bundle, folder: Path
) -> None:
    told = exported(source, folder / "new").manifest_sha256
    refused(target, bundle, "manifest", offline=False, expect=told)
    assert bundle.verified("--expect", told)[0] == 1


# --- tampered with by someone who makes all hashes right again ---


def test_T32_a_ref_to_another_commit_of_the_repo_is_refused(target: Hub, bundle: Bundle) -> None:
    def move(manifest: dict[str, Any]) -> None:
        refs = {ref["name"]: ref for ref in manifest["repos"][0]["refs"]}
        refs["refs/heads/main"] |= {one: refs["refs/heads/dev"][one] for one in ("target", "commit")}

    bundle.change(move)
    refused(target, bundle, "the listing of refs/heads/main .* is not what its commit holds", offline=False)


def test_T32_a_ref_to_a_commit_that_is_not_there_is_refused(target: Hub, bundle: Bundle) -> None:
    def move(manifest: dict[str, Any]) -> None:
        ref = next(ref for ref in manifest["repos"][0]["refs"] if ref["name"] == "refs/heads/main")
        ref |= {"target": "1" * 40, "commit": "1" * 40}

    bundle.change(move)
    refused(target, bundle, "model ada/m: refs/heads/main leads to 1111", offline=False)


def test_T32_an_annotated_tag_with_another_commit_than_its_own_is_refused(target: Hub, bundle: Bundle) -> None:
    def move(manifest: dict[str, Any]) -> None:
        refs = {ref["name"]: ref for ref in manifest["repos"][0]["refs"]}
        refs["refs/tags/v1"] |= {one: refs["refs/heads/main"][one] for one in ("commit", "listing")}

    bundle.change(move)
    refused(target, bundle, "model ada/m: refs/tags/v1 leads to", offline=False)


def test_T32_a_file_that_no_part_holds_though_a_revision_names_it_is_refused(target: Hub, bundle: Bundle) -> None:
    def drop(manifest: dict[str, Any]) -> None:
        manifest["repos"][0]["large"].remove(sha256_of(OLD))

    bundle.change(drop)
    refused(target, bundle, f"model ada/m, refs/.*does not hold: {sha256_of(OLD)}", offline=False)


def test_T32_a_file_with_other_bytes_under_a_right_hash_is_not_what_the_revision_names(
    target: Hub, bundle: Bundle
) -> None:
    bundle.rewrite({sha256_of(OLD): b"x" * len(OLD)}, _sorted_large)
    refused(target, bundle, f"{sha256_of(OLD)}", offline=False)


def _sorted_large(manifest: dict[str, Any]) -> None:
    for repo in manifest["repos"]:
        repo["large"].sort()


def test_T32_git_objects_that_were_changed_are_refused_by_git(target: Hub, bundle: Bundle) -> None:
    pack = git(bundle)["pack"]
    data = bytearray(bundle.file(pack))
    data[len(data) // 2] ^= 1
    bundle.rewrite({pack: bytes(data)}, _sorted_large)
    refused(target, bundle, "model ada/m: git refuses its objects", offline=False)


@pytest.mark.parametrize(
    "data", [b"P", b"PACK", b"no pack at all, and longer than any head", b"PACK\0\0\0\2\xff\xff\xff\xff" + bytes(20)]
)
def test_T32_what_is_no_pack_is_refused(data: bytes, target: Hub, bundle: Bundle) -> None:
    bundle.rewrite({git(bundle)["pack"]: data}, _sorted_large)
    refused(target, bundle, "model ada/m", offline=False)


def test_T32_another_repos_history_under_this_name_is_refused(target: Hub, bundle: Bundle) -> None:
    def swap(manifest: dict[str, Any]) -> None:
        one, two = manifest["repos"][0], manifest["repos"][2]
        one["pack"], two["pack"] = two["pack"], one["pack"]

    bundle.change(swap)
    refused(target, bundle, "model ada/m: refs/", offline=False)


def test_T32_a_listing_that_names_another_file_is_refused(target: Hub, bundle: Bundle) -> None:
    ref = next(ref for ref in git(bundle)["refs"] if ref["name"] == "refs/heads/main")
    text = bundle.file(ref["listing"]).replace(b'"README.md"', b'"READYOU.md"')
    bundle.rewrite({ref["listing"]: text}, _sorted_large)
    refused(target, bundle, "the listing of refs/", offline=False)


def test_T32_a_file_that_belongs_to_nothing_is_refused(target: Hub, bundle: Bundle) -> None:
    def unname(manifest: dict[str, Any]) -> None:
        manifest["repos"] = manifest["repos"][:1]

    bundle.change(unname)
    refused(target, bundle, r"file [0-9a-f]{64} of the bundle belongs to no repo", offline=False)


def test_T32_a_large_file_that_no_revision_names_is_refused(target: Hub, bundle: Bundle) -> None:
    def name(manifest: dict[str, Any]) -> None:
        manifest["repos"][2]["large"] = [sha256_of(OLD)]

    bundle.change(name)
    refused(target, bundle, f"model gpt2: none of its revisions names its file {sha256_of(OLD)}", offline=False)


def test_T32_folders_that_hold_themselves_without_end_are_refused(
    target: Hub, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listings, "LINES_MAX", 3)
    refused(target, bundle, "has more than 3 files", offline=False)


# --- what nobody exports ---

LIES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "a part of 2 to the 63": (lambda m: m["parts"][0].update(size=1 << 63), r"manifest.json|part 00001"),
    "a file of 2 to the 63": (lambda m: m["files"][0].update(size=1 << 63), "manifest.json|file"),
    "a file of a negative size": (lambda m: m["files"][0].update(size=-1), "manifest.json|file"),
    "a size that is text": (lambda m: m["files"][0].update(size="1"), "manifest.json|file"),
    "parts of no size": (lambda m: m.update(part_size=0), "manifest.json"),
    "an offset behind the part": (lambda m: m["files"][1].update(offset=1 << 40), "manifest.json|file"),
    "a file that lies elsewhere": (lambda m: m["files"][1].update(offset=m["files"][1]["offset"] + 1), "file"),
    "a file twice": (lambda m: m["files"].append(m["files"][-1]), "manifest.json|file"),
    "a part twice": (lambda m: m["parts"].append(m["parts"][-1]), "manifest.json|part"),
    "no parts": (lambda m: m.update(parts=[]), "manifest.json"),
    "another format": (lambda m: m.update(format=2), "format"),
    "a hash that is none": (lambda m: m["parts"][0].update(sha256="../../../etc/passwd"), "manifest.json|part 00001"),
    "a large file that is not there": (lambda m: m["repos"][0]["large"].append("f" * 64), "f{64}"),
}


@pytest.mark.parametrize("lie", LIES)
def test_T32_a_manifest_that_makes_no_sense_is_refused(lie: str, target: Hub, bundle: Bundle) -> None:
    change, said = LIES[lie]
    bundle.change(change)
    refused(target, bundle, said)


HUB_LIES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "a repo twice": (lambda m: m["repos"].append(m["repos"][0]), "model ada/m is named twice"),
    "a repo in two cases": (lambda m: m["repos"].append({**m["repos"][0], "name": "ADA/M"}), "is named twice"),
    "a ref twice": (lambda m: m["repos"][0]["refs"].append(m["repos"][0]["refs"][0]), "is named twice"),
    "a repo whose name leads out": (lambda m: m["repos"][0].update(name="../../etc"), "repo '../../etc'"),
    "a repo with a word of URLs": (lambda m: m["repos"][3].update(name="ada/settings"), "'settings' is reserved"),
    "a ref that leads out": (lambda m: m["repos"][0]["refs"][0].update(name="refs/heads/../../../x"), "not a valid git"),
    "a ref that is none of ours": (lambda m: m["repos"][0]["refs"][0].update(name="HEAD"), "no branch, tag or pull ref"),
    "a type that there is not": (lambda m: m["repos"][0].update(type="kernel"), "manifest.json"),
    "a space of a model's sort": (lambda m: m["repos"][0].update(sdk="gradio"), "does not fit"),
    "a field of its own": (lambda m: m.update(note="x"), "unknown field"),
    "large files out of order": (lambda m: m["repos"][0]["large"].reverse(), "not sorted"),
    "a branch that is a tag object": (
        lambda m: m["repos"][0]["refs"][0].update(target="2" * 40), "is not at its commit"
    ),
}  # fmt: skip


@pytest.mark.parametrize("lie", HUB_LIES)
def test_T32_names_that_the_hub_does_not_take_are_refused(lie: str, target: Hub, bundle: Bundle) -> None:
    change, said = HUB_LIES[lie]
    bundle.change(change)
    refused(target, bundle, said, offline=False)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[" * 100_000,
        b'{"format":' + b"[" * 100_000,
        b'{"format":1,"parts":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b"null",
        b'{"format":1}',
        b"\xff\xfe{}",
    ],
    ids=["empty", "cut", "deep", "deep inside", "deep and whole", "null", "bare", "not UTF-8"],
)
def test_T32_a_manifest_that_is_none_is_refused(text: bytes, target: Hub, bundle: Bundle) -> None:
    bundle.path.write_bytes(text)
    refused(target, bundle, "manifest.json")


def test_T32_a_manifest_of_more_than_64_MiB_is_refused_unread(target: Hub, bundle: Bundle) -> None:
    os.truncate(bundle.path, (64 << 20) + 1)
    refused(target, bundle, "manifest.json .*64 MiB|manifest.json has more than 67108864 bytes")


def test_T32_a_key_that_is_there_twice_is_refused(target: Hub, bundle: Bundle) -> None:
    text = bundle.path.read_bytes()
    bundle.path.write_bytes(text.replace(b'{"files"', b'{"files":[],"files"', 1))
    refused(target, bundle, "manifest.json is not in its canonical form|manifest.json: is not in its canonical form")


def test_T32_another_spelling_of_the_manifest_is_refused(target: Hub, bundle: Bundle) -> None:
    bundle.path.write_bytes(json.dumps(bundle.manifest, indent=1).encode())
    refused(target, bundle, "canonical form")


def test_T32_links_and_pipes_in_the_folder_are_refused(target: Hub, bundle: Bundle, folder: Path) -> None:
    elsewhere = folder / "elsewhere"
    bundle.part(1).rename(elsewhere)
    bundle.part(1).symlink_to(elsewhere)
    refused(target, bundle, "part 00001 is (no plain file|a link)")
    bundle.part(1).unlink()
    os.mkfifo(bundle.part(1))
    refused(target, bundle, "part 00001 is no plain file")
    bundle.part(1).unlink()
    bundle.part(1).mkdir()
    refused(target, bundle, "part 00001 is no plain file")
    bundle.part(1).rmdir()
    elsewhere.rename(bundle.part(1))
    (bundle.folder / "more").symlink_to("/etc/passwd")
    refused(target, bundle, "more is a link")
    (bundle.folder / "more").unlink()
    (bundle.folder / "parts").rename(folder / "parts")
    (bundle.folder / "parts").symlink_to(folder / "parts")
    refused(target, bundle, "parts is a link")


def test_T32_a_folder_without_a_manifest_is_no_bundle(target: Hub, bundle: Bundle, folder: Path) -> None:
    bundle.path.unlink()
    refused(target, bundle, "manifest.json is missing")
    assert Bundle(folder / "nowhere").verified()[0] == 2
    with pytest.raises(HeadwaterError, match="no folder of a bundle"):
        imported(target, folder / "nowhere")


def test_T32_a_bundle_that_changes_while_it_is_read_is_refused_all_the_same(
    target: Hub, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Verified first, and stored from a second reading: that is hashed again."""
    keep = Staging.check
    sha256 = bundle.manifest["repos"][1]["large"][0]
    at = next(one for one in bundle.manifest["files"] if one["sha256"] == sha256)

    def changed(self: Staging) -> Any:
        flip(bundle.part(at["part"]), at["offset"])
        return keep(self)

    monkeypatch.setattr(Staging, "check", changed)
    with pytest.raises(HeadwaterError, match=sha256):
        imported(target, bundle.folder)
    assert state(target) == {}


# --- the verifier itself ---


def test_T32_the_verifier_is_one_file_of_the_standard_library_and_short() -> None:
    text = VERIFIER.read_text()
    imports = set(re.findall(r"^(?:import|from) (\w+)", text, re.MULTILINE))
    assert imports <= {"argparse", "hashlib", "json", "os", "re", "stat", "sys", "pathlib"}
    assert len(text.splitlines()) <= 200


def test_T32_leaving_needs_nothing_but_python(source: Hub, bundle: Bundle, folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(VERIFIER), str(bundle.folder), "--extract", str(folder / "out")],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    for name, seen in state(source).items():
        kind, full = name.split(" ")
        place = folder / "out" / f"{kind}s" / full
        files = {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}
        assert files == seen["files"]["refs/heads/main"], name


@pytest.mark.parametrize("path", ["../x", "/x", "a/../../x", "C:x", "a\\b", ".", "a//b", "CON", "nul.txt", "x\0"])
def test_T32_the_verifier_writes_nowhere_else(path: str, bundle: Bundle, folder: Path) -> None:
    ref = next(ref for ref in git(bundle)["refs"] if ref["name"] == "refs/heads/main")
    lines = [json.loads(line) for line in bundle.file(ref["listing"]).splitlines()]
    lines[0][0] = path
    bundle.rewrite({ref["listing"]: b"".join(canonical(line) for line in lines)}, _sorted_large)
    status, text = bundle.verified("--extract", folder / "out" / "inner")
    assert status == 1, text
    assert "is no path to write to" in text
    assert not [one for one in folder.rglob("x*") if one.is_file()]


def test_T32_the_verifier_writes_over_nothing_and_follows_no_link(bundle: Bundle, folder: Path) -> None:
    out = folder / "out"
    out.mkdir()
    (folder / "outside").mkdir()
    (out / "models").symlink_to(folder / "outside")
    assert bundle.verified("--extract", out)[0] == 1
    assert not list((folder / "outside").rglob("*.md"))
    (out / "models").unlink()
    assert bundle.verified("--extract", out)[0] == 0
    assert bundle.verified("--extract", out)[0] == 2
