"""A hub worth carrying, its bundle, and hands that change a bundle in any detail."""

from __future__ import annotations

import contextlib
import hashlib
import json
import runpy
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from hub_building import Hub
from sealing import safetensors, weights
from sqlalchemy import select, update
from xet_building import a_xorb, all_of, noise

from headwater import app as root
from headwater.accounts import OPERATOR
from headwater.carry.export import Exported, Rooms, Wanted, export
from headwater.carry.importing import Owning, Steps, Wish, receive
from headwater.carry.landing import Landed
from headwater.ground import names
from headwater.ground.names import FilePath, RepoId
from headwater.repos import AddInline, Message, Repo
from headwater.repos.tables import repo as repo_table
from headwater.store import tables
from headwater.store.objects import blob_key

PART = 20_000  # bytes: every larger file goes over several parts
LFS, XET = noise("lfs", 50_000), a_xorb("x", 3000, 5000)
OLD = noise("old", 7000)
SEALED = safetensors({"a": weights(1), "b": weights(2)})
VERIFIER = Path(__file__).resolve().parents[3] / "tools" / "verify_bundle.py"
MODEL, DATASET, BARE, EMPTY, SEALED_REPO = (
    RepoId("model", "ada", "m"),
    RepoId("dataset", "ada", "d"),
    RepoId("model", None, "gpt2"),
    RepoId("model", "ada", "empty"),
    RepoId("model", "ada", "sealed"),
)
ALL = (MODEL, DATASET, BARE, EMPTY, SEALED_REPO)


def nothing(_done: int, _total: int) -> None:
    pass


def fill(hub: Hub) -> None:
    """LFS, Xet and inline files, files that only history has, tags, branches, a pull ref; a private repo; sealed ones."""
    repos = hub.rooms.repos
    model = hub.repo("ada/m")
    hub.commit(
        model, {"README.md": b"---\nlicense: mit\n---\n# m\n", "a/b.txt": b"b\n"}, {"w.bin": hub.upload(model, OLD)}
    )
    repos.refs.create_tag(hub.ada, model, "v1", "main", "the first")
    hub.commit(
        model, {"empty.txt": b""}, {"w.bin": hub.upload(model, LFS), "x.bin": hub.upload_xet(model, all_of(XET))}
    )
    repos.refs.create_tag(hub.ada, model, "v2", "main")
    repos.refs.create_branch(hub.ada, model, "dev")
    hub.commit(model, {"dev.txt": "ä dev\n".encode()}, revision="dev")
    pull(hub, model)
    dataset = hub.repo("ada/d", "dataset", private=True)
    hub.commit(dataset, {"rows.csv": b"1,2\n"}, {"rows.bin": hub.upload(dataset, LFS)})
    bare = repos.registry.create(OPERATOR, BARE, False).repo
    hub.commit(bare, {"config.json": b"{}\n"})
    hub.repo("ada/empty")
    sealed = hub.repo("ada/sealed")
    hub.commit(sealed, {}, {"model.safetensors": seal(hub, sealed)})


def pull(hub: Hub, repo: Repo) -> None:
    hub.rooms.repos.commit.apply(
        hub.ada,
        repo,
        "main",
        None,
        Message("a pull"),
        iter([AddInline(FilePath("pull.txt"), b"pull\n")]),
        create_pr=True,
    )


def seal(hub: Hub, repo: Repo) -> names.Sha256:
    """A file whose raw bytes are gone: it is made anew whenever it is read."""
    sha256 = hub.upload(repo, SEALED)
    report = root.sealing_of(hub.rooms, lambda: True, nothing).sealer.seal(sha256, "model.safetensors", [])
    assert report.sealed, report
    with hub.rooms.db.write() as connection:
        connection.execute(update(tables.blob).where(tables.blob.c.sha256 == sha256).values(raw="gone"))
    hub.rooms.store.objects.delete(blob_key(sha256))
    hub.rooms.store.forget(sha256)
    return sha256


# --- carrying ---


def rooms_of(hub: Hub) -> Rooms:
    rooms = hub.rooms
    return Rooms(hub.data.resolve(), rooms.settings, rooms.clock, rooms.db, rooms.repos, rooms.store)


def exported(hub: Hub, folder: Path, *rids: RepoId, part: int = PART, pulls: bool = True, **wanted: Any) -> Exported:
    return export(rooms_of(hub), Wanted(rids or ALL, pulls=pulls, **wanted), folder, part, nothing)


def imported(hub: Hub, folder: Path, *, owning: Owning = contextlib.nullcontext, **wish: Any) -> list[Landed]:
    steps = Steps(nothing, nothing)
    return list(receive(rooms_of(hub), hub.rooms.accounts, folder, Wish(**wish), owning=owning, steps=steps))


def state(hub: Hub) -> dict[str, Any]:
    """All that can be seen of a hub's repos: refs, and every file of every branch and tag."""
    found: dict[str, Any] = {}
    with hub.rooms.db.read() as connection:
        rows = connection.execute(select(repo_table).where(repo_table.c.state == "live")).all()
    for row in rows:
        rid = RepoId(row.type, row.namespace, row.name)
        refs = dict(hub.rooms.repos.git.refs(row.id))
        files = {ref: files_of(hub, rid, target) for ref, target in refs.items()}
        found[f"{row.type} {rid.full}"] = {"refs": refs, "files": files, "private": row.private, "sdk": row.sdk}
    return found


def files_of(hub: Hub, rid: RepoId, revision: str) -> dict[str, bytes]:
    repos = hub.rooms.repos
    repo = repos.open(OPERATOR, rid, "read")
    commit = repos.git.find_commit(repo.id, revision)
    assert commit is not None
    entries = repos.tree.listing(repo, commit, "", recursive=True).entries
    found = {}
    for one in entries:
        if one.kind == "file":
            found[one.path] = hub.read(one.sha256) if one.sha256 else repos.tree.read_inline(repo, one)
            if one.sha256:
                assert repos.holds.shown(repo.id, one.sha256) == one.size
    return found


def main_of(hub: Hub, rid: RepoId = MODEL) -> str:
    return hub.rooms.repos.git.refs(hub.rooms.repos.open(OPERATOR, rid, "read").id)["refs/heads/main"]


# --- changing bundles ---


@dataclass
class Bundle:
    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / "manifest.json"

    @property
    def manifest(self) -> dict[str, Any]:
        return dict(json.loads(self.path.read_bytes()))

    def part(self, number: int) -> Path:
        return self.folder / "parts" / f"{number:05d}"

    def write(self, manifest: Mapping[str, Any], *, signed: bool = True) -> None:
        """A manifest that someone who knows the format would have changed: its own hash is right if `signed`."""
        whole = {**manifest}
        if signed:
            whole["root"] = hashlib.sha256(canonical({**manifest, "root": ""})).hexdigest()
        self.path.write_bytes(canonical(whole))

    def change(self, change: Callable[[dict[str, Any]], object]) -> None:
        manifest = self.manifest
        change(manifest)
        self.write(manifest)

    def stream(self) -> bytes:
        return b"".join(path.read_bytes() for path in sorted((self.folder / "parts").iterdir()))

    def file(self, sha256: str) -> bytes:
        found = next(one for one in self.manifest["files"] if one["sha256"] == sha256)
        start = (found["part"] - 1) * self.manifest["part_size"] + found["offset"]
        return self.stream()[start : start + found["size"]]

    def rewrite(self, files: Mapping[str, bytes], change: Callable[[dict[str, Any]], object]) -> None:
        """The bundle with other bytes for some files (by the SHA-256 that they had), all hashes made right again."""
        manifest, stream, listed = self.manifest, b"", []
        old = {one["sha256"]: self.file(one["sha256"]) for one in manifest["files"]}
        renamed = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
        text = json.dumps(manifest)
        for before, after in renamed.items():
            text = text.replace(before, after)
        manifest = json.loads(text)
        size = manifest["part_size"]
        for name, before in old.items():
            data = files.get(name, before)
            at = len(stream)
            listed.append(
                {"sha256": renamed.get(name, name), "size": len(data), "part": at // size + 1, "offset": at % size}
            )
            stream += data
        for path in (self.folder / "parts").iterdir():
            path.unlink()
        cut = [stream[at : at + size] for at in range(0, len(stream), size)]
        parts = []
        for number, data in enumerate(cut, start=1):
            self.part(number).write_bytes(data)
            parts.append({"number": number, "sha256": hashlib.sha256(data).hexdigest(), "size": len(data)})
        manifest |= {"files": listed, "parts": parts}
        change(manifest)
        self.write(manifest)

    def verified(self, *words: object) -> tuple[int, str]:
        """Exit status and output of the offline verifier, which knows nothing of Headwater."""
        said = []
        with mock.patch.object(sys, "argv", ["verify_bundle.py", str(self.folder), *map(str, words)]):
            try:
                runpy.run_path(
                    str(VERIFIER), {"print": lambda *text, **_: said.append(" ".join(map(str, text)))}, "__main__"
                )
            except SystemExit as ended:
                return int(ended.code or 0), "\n".join(said)
        raise AssertionError("the verifier did not end by itself")


def canonical(value: Any) -> bytes:
    return (json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n").encode()


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(bytes(data))
