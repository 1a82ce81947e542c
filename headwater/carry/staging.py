"""Staging: a bundle's git objects in scratch repositories, where git itself and the hub's rules look at each of them.

Nothing in here is part of the hub; the folder goes when the import ends. Refuses to know the hub's own repos.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from headwater.carry.landing import GIT, LOCK, PLAN, clean, locked, pack_folder
from headwater.carry.listings import Lister
from headwater.carry.manifest import Carried, Manifest, sizes
from headwater.carry.parts import PartsReader, Progress
from headwater.ground.errors import Invalid, TooMuch
from headwater.ground.names import Sha256
from headwater.repos import child
from headwater.repos.git import Git
from headwater.repos.inspection import EXTENTS_KEPT, Extents, Findings, Inspection, Limits, Tip
from headwater.repos.lru import Lru
from headwater.repos.objects import disk_errors, write_durably
from headwater.repos.wire import OBJECTS_MAX

END_WAIT_S = 60.0  # from the end of git's output to git's own
NAMED_MAX = 5  # things that one refusal names
HASH_BYTES = 20  # of git's SHA-1, at the end of a pack


class Staging:
    """The scratch folder of one import; repos are numbered as in the manifest, from 0."""

    def __init__(self, folder: Path, manifest: Manifest, inline_file_max: int) -> None:
        self.folder = folder
        self.git = Git(folder / GIT)
        self._manifest = manifest
        self._sizes = sizes(manifest)
        self._limits = Limits(inline_file_max)
        self.packs: dict[int, str] = {}
        """number -> the name of its pack, without suffix."""

    def take(self, reader: PartsReader, progress: Progress) -> None:
        """Reads the whole bundle, hashing; keeps the git objects."""
        with ExitStack() as stack, disk_errors():
            opened: dict[Sha256, IO[bytes]] = {}
            for number, repo in enumerate(self._manifest.repos):
                self.git.create(number, {}, "import", 0, "scratch")
                if Sha256(repo.pack) not in opened:
                    opened[Sha256(repo.pack)] = stack.enter_context(self._spool(repo.pack).open("xb"))
            reader.verify({sha256: file.write for sha256, file in opened.items()}, progress)

    def check(self) -> Iterator[dict[Sha256, str]]:
        """For each repo: its large files, each with a path. Invalid says what is wrong with which."""
        named: set[str] = set()
        for number, repo in enumerate(self._manifest.repos):
            self._index(number, repo)
            held = self._inspect(number, repo)
            named |= self._compare(number, repo) | {repo.pack, *repo.large, *(ref.listing for ref in repo.refs)}
            yield held
        for file in self._manifest.files:
            if file.sha256 not in named:
                raise Invalid(f"file {file.sha256} of the bundle belongs to no repo in it")

    def keep(self, plan: bytes) -> None:
        with disk_errors():
            write_durably(self.folder / PLAN, plan)

    def _spool(self, pack: str) -> Path:
        return self.folder / f"{pack}.pack"

    def _index(self, number: int, repo: Carried) -> None:
        """Git's own look at every object and at what each leads to."""
        spool, folder = self._spool(repo.pack), pack_folder(self.git, number)
        with spool.open("rb") as file:
            head = file.read(12)
            if head[:4] != b"PACK":
                raise Invalid(f"{repo.shown}: file {repo.pack} holds no git objects")
            if int.from_bytes(head[8:], "big") > OBJECTS_MAX:
                raise TooMuch(f"{repo.shown}: it has more than {OBJECTS_MAX} git objects")
            file.seek(-min(HASH_BYTES, self._sizes[Sha256(repo.pack)]), 2)
            self.packs[number] = f"pack-{file.read().hex()}"
        path = folder / f"{self.packs[number]}.pack"
        path.hardlink_to(spool)  # the same objects may be of several repos
        with child.running(["index-pack", "--strict", "--threads=1", str(path)], self.git.path(number)) as running:
            running.stdout.read()
            if not (running.done(END_WAIT_S) and running.process.returncode == 0):
                why = child.reason(running, folder)
                raise Invalid(f"{repo.shown}: git refuses its objects (file {repo.pack}): {why}")
        self.git.forget(number)

    def _inspect(self, number: int, repo: Carried) -> dict[Sha256, str]:
        """The hub's own rules, as for every push; cards are not asked: the hub it comes from took them."""
        for ref in repo.refs:
            if self.git.find_commit(number, ref.target) != ref.commit:
                raise Invalid(f"{repo.shown}: {ref.name} leads to {ref.target}, which its git objects do not hold so")
        large = {Sha256(sha256) for sha256 in repo.large}

        def known(asked: Collection[Sha256]) -> Mapping[Sha256, int]:
            return {sha256: self._sizes[sha256] for sha256 in asked if sha256 in large}

        extents: Extents = Lru(EXTENTS_KEPT)
        inspection = Inspection(self.git.path(number), {}, self._limits, known, lambda _card: [], extents=extents)
        tips = [Tip(ref.name, None, ref.target, ref.name.startswith("refs/tags/")) for ref in repo.refs]
        for _ in inspection.steps(sorted(tips, key=lambda tip: tip.is_tag)):
            pass
        self._judge(repo, inspection.findings)
        held = inspection.held_paths()
        for sha256 in repo.large:
            if Sha256(sha256) not in held:
                raise Invalid(f"{repo.shown}: none of its revisions names its file {sha256}")
        return held

    def _judge(self, repo: Carried, findings: Iterable[Findings]) -> None:
        for found in findings:
            if found.missing.count:
                raise Invalid(
                    f"{repo.shown}, {found.ref}: it names {found.missing.count} files that the bundle does not hold: "
                    + ", ".join(found.missing.named[:NAMED_MAX])
                )
            if found.reason() is not None:
                told = [line.strip() for line in found.text(self._limits) if line.startswith("  - ")]
                raise Invalid(f"{repo.shown}, {found.ref}: {found.reason()}: {' '.join(told[:NAMED_MAX])}")

    def _compare(self, number: int, repo: Carried) -> set[str]:
        """Whether the listings say what the commits hold, and the bundle has every file of them; those in git."""
        lister = Lister(self.git, number, repo.shown)
        for ref in repo.refs:
            if lister.listing(ref.commit) != ref.listing:
                raise Invalid(f"{repo.shown}: the listing of {ref.name} ({ref.listing}) is not what its commit holds")
        for sha256 in lister.inline:
            if sha256 not in self._sizes:
                raise Invalid(f"{repo.shown}: file {sha256} of a listing is not in the bundle")
        return set(lister.inline)


@contextmanager
def staged(root: Path, name: str, manifest: Manifest, inline_file_max: int) -> Iterator[Staging]:
    """A folder of its own below `root`; first goes what killed imports left there."""
    with disk_errors():
        root.mkdir(exist_ok=True)
        clean(root)
        folder = root / name
        folder.mkdir()
        (folder / LOCK).touch()
    with locked(folder):
        try:
            yield Staging(folder, manifest, inline_file_max)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
