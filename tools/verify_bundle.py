# ruff: noqa: ANN001, ANN201, PTH208, T201
"""Checks a Headwater bundle without Headwater: `verify_bundle.py FOLDER [--expect SHA256] [--extract DIR]`.

Needs Python 3.8 and nothing else. The manifest, all parts and files are hashed; git's packs are hashed and not opened.
--extract writes the files of each repo (of `main`, or of its first ref) below DIR. Exit status: 0 all is well; 1 the
bundle is wrong, and where is said; 2 it can't be read, or DIR not written to. Format: docs/spec/bundle.md.
"""

import argparse
import hashlib
import json
import os
import re
import sys
from pathlib import Path

STEP, LARGEST, EMPTY = 1 << 20, 1 << 53, hashlib.sha256().hexdigest()
HEX64, DEVICES = re.compile(r"[0-9a-f]{64}\Z"), re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|\Z)", re.IGNORECASE)


class Wrong(Exception):  # its text says what, and where
    pass


def need(is_so, what):
    if not is_so:
        raise Wrong(what)


def plain(path, what):
    need(os.path.lexists(path), what + " is missing")
    need(path.is_file() and not path.is_symlink(), what + " is no plain file; bundles hold no links")
    return path


def canonical(value):
    return (json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n").encode()


def read_manifest(folder, expect):
    for item in folder.iterdir():
        need(not item.is_symlink(), item.name + " is a link; bundles hold none")
    with plain(folder / "manifest.json", "manifest.json").open("rb") as file:
        text = file.read((64 << 20) + 1)
    need(len(text) <= 64 << 20, "manifest.json is larger than 64 MiB")
    got = hashlib.sha256(text).hexdigest()
    need(expect in (None, got), f"manifest.json: expected {expect}, got {got}")
    manifest = json.loads(text)
    need(manifest["format"] == 1, f"manifest.json: format {manifest['format']} is not 1, which is all this reads")
    root = hashlib.sha256(canonical(dict(manifest, root=""))).hexdigest()
    need(manifest["root"] == root, f"manifest.json: its own hash is {root}, it says {manifest['root']}")
    need(canonical(manifest) == text, "manifest.json is not in its canonical form")
    return manifest, got


def check_shape(folder, manifest):
    """Sizes and places fit, every name is one file, and the folder has exactly the parts of the manifest."""
    parts, files, full = manifest["parts"], manifest["files"], manifest["part_size"]
    need(parts and 0 < full <= LARGEST, "manifest.json: no parts, or no size of them")
    need(not (folder / "parts").is_symlink(), "parts is a link; bundles hold none")
    extra = set(os.listdir(folder / "parts")) - {f"{i:05d}" for i in range(1, len(parts) + 1)}
    need(not extra, f"parts/{min(extra, default='')} is not part of this bundle")
    for i, part in enumerate(parts, start=1):
        fits = part["number"] == i and (part["size"] == full or (i == len(parts) and 0 < part["size"] < full))
        need(fits and HEX64.match(part["sha256"]), f"part {i:05d}: its number, size or hash makes no sense")
        got = plain(folder / "parts" / f"{i:05d}", f"part {i:05d}").stat().st_size
        need(got == part["size"], f"part {i:05d} has {got} bytes, expected {part['size']}")
    at, known = 0, {file["sha256"]: file for file in files}
    for file in files:
        fits = (file["part"] - 1) * full + file["offset"] == at and 0 <= file["offset"] < full
        fits = (
            fits and HEX64.match(file["sha256"]) and (file["size"] > 0 or (file["size"], file["sha256"]) == (0, EMPTY))
        )
        need(fits, f"file {file['sha256']}: its size or place makes no sense")
        at += file["size"]
    fits = at == sum(part["size"] for part in parts) and len(known) == len(files)
    need(fits, "manifest.json: a file is named twice, or the files are not as long as the parts")
    for repo in manifest["repos"]:
        for sha256 in [repo["pack"], *repo["large"], *(ref["listing"] for ref in repo["refs"])]:
            need(sha256 in known, f"{repo['type']} {repo['name']}: its file {sha256} is not in the bundle")
    return known


def check_bytes(folder, manifest):
    hashes, files = [part["sha256"] for part in manifest["parts"]], (file for file in manifest["files"] if file["size"])
    file, left, digest, wrong = None, 0, None, ""
    for i, expected in enumerate(hashes, start=1):
        whole = hashlib.sha256()
        with (folder / "parts" / f"{i:05d}").open("rb") as part:
            while data := part.read(STEP):
                whole.update(data)
                while data:
                    if not left:
                        file, digest = next(files), hashlib.sha256()
                        left = file["size"]
                    digest.update(data[:left])
                    data, left = data[left:], max(0, left - len(data))
                    if not left and digest.hexdigest() != file["sha256"]:
                        wrong = wrong or file["sha256"]
        got = whole.hexdigest()
        what = f"it is part {hashes.index(got) + 1:05d}" if got in hashes else f"in it: file {wrong or file['sha256']}"
        need(got == expected, f"part {i:05d}: expected {expected}, got {got} ({what})")
        need(not wrong, f"file {wrong}: its bytes hash to something else")


def pieces(folder, file):
    """The bytes of a file, whichever parts they lie in."""
    i, offset, left = file["part"], file["offset"], file["size"]
    while left:
        with (folder / "parts" / f"{i:05d}").open("rb") as part:
            part.seek(offset)
            while left and (data := part.read(min(STEP, left))):
                left -= len(data)
                yield data
        i, offset = i + 1, 0


def lines(folder, known, ref):
    """(path, mode, SHA-256) of each file that a ref has; all of them must be in the bundle."""
    for path, mode, sha256, size in map(json.loads, b"".join(pieces(folder, known[ref["listing"]])).splitlines()):
        fits = mode == "160000" or (sha256 in known and known[sha256]["size"] == size)
        need(fits, f"{ref['name']}: {path!r} is not in the bundle")
        yield path, mode, sha256


def extract(folder, repo, known, target):
    ref = next((one for one in repo["refs"] if one["name"] == "refs/heads/main"), repo["refs"][0])
    for path, mode, sha256 in lines(folder, known, ref):
        where = [repo["type"] + "s", *repo["name"].split("/"), *path.split("/")]
        bad = any(p in ("", ".", "..") or set(p) & set("\\:\0") or DEVICES.match(p) for p in where)
        need(not bad, f"{repo['name']}: {path!r} is no path to write to")
        place = target.joinpath(*where)
        place.parent.mkdir(parents=True, exist_ok=True)
        need(target.resolve() in place.parent.resolve().parents, f"{path!r} leads out of {target}")
        if mode in ("100644", "100755"):  # links and submodules are left out
            with place.open("xb") as file:
                file.writelines(pieces(folder, known[sha256]))


def main():
    parser = argparse.ArgumentParser(description="Checks a Headwater bundle without Headwater.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--expect", metavar="SHA256", help="of manifest.json, as `headwater export` printed it")
    parser.add_argument("--extract", metavar="DIR", type=Path, help="write the files of each repo's main branch there")
    asked = parser.parse_args()
    try:
        manifest, got = read_manifest(asked.folder, asked.expect)
        known = check_shape(asked.folder, manifest)
        check_bytes(asked.folder, manifest)
        for ref in (ref for repo in manifest["repos"] for ref in repo["refs"]):
            list(lines(asked.folder, known, ref))
        for repo in manifest["repos"] if asked.extract else ():
            extract(asked.folder, repo, known, asked.extract)
    except (Wrong, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        print(f"wrong: {error if isinstance(error, Wrong) else f'manifest.json or a listing: {error!r}'}")
        return 1
    except OSError as error:
        print(f"can't be read or written: {error}")
        return 2
    print(f"all is well: {len(manifest['repos'])} repos, {len(known)} files\nmanifest SHA-256 {got}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
