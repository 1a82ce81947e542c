"""Whole-repo operations: a copy of a repo with its history, and large files taken out of a history.

Both end in the one way by which refs move. Packs never change, so a copy links them instead of writing them again.
Refuses to know: who asks by which protocol, how bytes are stored.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from sqlalchemy import Connection, bindparam, delete, insert, literal, select

from headwater.accounts.actor import Actor
from headwater.ground.db import Database
from headwater.ground.errors import RepoMissing, TooMuch, Unavailable
from headwater.ground.names import CommitId, RefName, RepoId, Sha256
from headwater.repos import objects
from headwater.repos.git import Git
from headwater.repos.moves import Moves
from headwater.repos.objects import PackWriter, disk_errors, fsync_folder
from headwater.repos.pointers import POINTER_BYTES_MAX, parse
from headwater.repos.registry import Created, Registry
from headwater.repos.tables import hold, repo
from headwater.repos.values import RefMove, Repo

COMMITS_MAX = 50_000  # of one history that is rewritten in one request; longer ones are rewritten with git
TRIES = 5  # to link the packs of a repo while they are being joined
_COPIED = ("refs/heads/", "refs/tags/", "refs/convert/")
_IS_LIVE = select(repo.c.id).where(repo.c.id == bindparam("of_repo"), repo.c.state == "live")


class Copies:
    def __init__(self, db: Database, git: Git, moves: Moves, registry: Registry) -> None:
        self._db = db
        self._git = git
        self._moves = moves
        self._registry = registry

    def duplicate(self, actor: Actor, source: Repo, target: RepoId, private: bool) -> Repo:
        """A new repo with the source's branches and tags, and the right to its large files; no pull refs.

        Who calls this has opened the source for this actor, its contents too. RepoMissing if it was deleted since.
        """
        # In the source's turn: nobody deletes it meanwhile, or takes a file out of its history.
        with self._moves.turn(source.id):
            refs = {ref: oid for ref, oid in self._git.refs(source.id).items() if ref.startswith(_COPIED)}
            made = self._registry.create(actor, target, private, source.sdk, gated=None)
            self._link_packs(source.id, made.repo.id)
            self._move_in(actor, source, made, refs)
        return made.repo

    def _move_in(self, actor: Actor, source: Repo, made: Created, refs: Mapping[str, str]) -> None:
        moves = [
            RefMove(RefName(ref), made.commit if ref == "refs/heads/main" else None, oid)
            for ref, oid in sorted(refs.items())
            if not (ref == "refs/heads/main" and oid == made.commit)
        ]

        def hold_all(connection: Connection) -> None:
            if connection.execute(_IS_LIVE, {"of_repo": source.id}).first() is None:
                raise RepoMissing(source.rid.full)  # by a command beside the hub, which does not know our turns
            columns = ["repo_id", "sha256", "path", "committed", "held_ms"]
            rows = select(literal(made.repo.id), hold.c.sha256, hold.c.path, hold.c.committed, hold.c.held_ms)
            connection.execute(
                insert(hold).from_select(columns, rows.where(hold.c.repo_id == source.id, hold.c.committed))
            )

        self._moves.apply(actor, made.repo, moves, "duplicate", data={"of": source.rid.full}, with_intent=hold_all)

    def _link_packs(self, source_id: int, target_id: int) -> None:
        """The refs were read before: whatever they name lies in the packs that are linked now.

        RepoMissing: the source was moved away meanwhile. Unavailable: its packs are joined all the time.
        """
        here, there = (self._git.path(repo_id) / "objects/pack" for repo_id in (source_id, target_id))
        linked: set[str] = set()
        with disk_errors():
            for _ in range(TRIES):
                packs = {pack.name for pack in here.glob("*.pack")}
                if packs and packs <= linked:  # a second look: the first may have missed one that came just then
                    fsync_folder(there)
                    self._git.forget(target_id)
                    return
                # Packs may be joined under our hands: what they held is in the joined one, so look again.
                with contextlib.suppress(FileNotFoundError):
                    for name in sorted(packs - linked):
                        _link(here / name, there)
                        linked.add(name)
        if not here.is_dir():
            raise RepoMissing(str(source_id))
        raise Unavailable("The packs of the repo are being joined; nothing was copied. Try again in a moment.")

    def forget_files(self, actor: Actor, repo: Repo, files: Collection[Sha256], *, rewrite_history: bool) -> None:
        """The files vanish from the heads of all branches, or from the whole history; then the repo lets go of them.

        Without `rewrite_history` old commits still name them, and the repo keeps its hold on them.
        """
        wanted = frozenset(files)
        with self._moves.turn(repo.id):
            pack = self._git.pack()
            try:
                rewriter = _Rewriter(self._git, repo.id, wanted, pack)
                moves = []
                for ref, oid in sorted(self._git.refs(repo.id).items()):
                    commit = self._git.find_commit(repo.id, oid)
                    if commit is None or (not rewrite_history and not ref.startswith("refs/heads/")):
                        continue
                    new = rewriter.history(commit) if rewrite_history else rewriter.head(commit, actor)
                    if new != commit:
                        moves.append(RefMove(RefName(ref), oid, new))
                if moves:
                    self._git.land(repo.id, pack)
            finally:
                pack.abandon()

            def let_go(connection: Connection) -> None:
                if rewrite_history:
                    connection.execute(delete(hold).where(hold.c.repo_id == repo.id, hold.c.sha256.in_(wanted)))

            if moves:
                self._moves.apply(actor, repo, moves, "forget", data={"files": len(wanted)}, with_intent=let_go)
            else:
                with self._db.write() as connection:
                    let_go(connection)


def _link(pack: Path, there: Path) -> None:
    """The pack before its index: an index alone would be looked for in vain."""
    for file in (pack, pack.with_suffix(".idx")):
        if not (there / file.name).exists():
            os.link(file, there / file.name)


class _Rewriter:
    """Makes trees and commits without some files; each tree and commit once, however many refs lead to it."""

    def __init__(self, git: Git, repo_id: int, files: frozenset[Sha256], pack: PackWriter) -> None:
        self._git, self._repo_id, self._files, self._pack = git, repo_id, files, pack
        self._trees: dict[bytes, bytes | None] = {}
        self._pointers: dict[bytes, bool] = {}
        self._commits: dict[str, CommitId] = {}

    def head(self, commit: CommitId, actor: Actor) -> CommitId:
        """One more commit behind `commit`, without the files; `commit` itself if it has none of them."""
        old = self._git.commit(self._repo_id, commit)
        tree = self._tree_of(old.tree)
        if tree == old.tree:
            return commit
        name = actor.name or old.author_name
        made = replace(old, tree=tree, parents=(commit,), author_name=name, text="Delete LFS files\n")
        return CommitId(self._pack.add("commit", objects.encode_commit(made)).hex())

    def history(self, tip: CommitId) -> CommitId:
        """`tip` with all its ancestors, without the files; commits that have none before them stay what they are."""
        for commit_id in self._oldest_first(tip):
            old = self._git.commit(self._repo_id, commit_id)
            tree = self._tree_of(old.tree)
            parents = tuple(self._commits[parent] for parent in old.parents)
            if tree == old.tree and parents == old.parents:
                self._commits[commit_id] = commit_id
                continue
            made = replace(old, tree=tree, parents=parents)
            self._commits[commit_id] = CommitId(self._pack.add("commit", objects.encode_commit(made)).hex())
        return self._commits[tip]

    def _oldest_first(self, tip: CommitId) -> list[CommitId]:
        """Ancestors that were not rewritten yet, each behind its parents; without recursion, history is long."""
        order: list[CommitId] = []
        stack: list[tuple[CommitId, bool]] = [(tip, False)]
        seen: set[str] = set()
        while stack:
            commit_id, expanded = stack.pop()
            if expanded:
                order.append(commit_id)
                continue
            if commit_id in seen or commit_id in self._commits:
                continue
            seen.add(commit_id)
            if len(seen) > COMMITS_MAX:
                raise TooMuch(f"The history has more than {COMMITS_MAX} commits; rewrite it with git and push it")
            stack.append((commit_id, True))
            stack.extend((parent, False) for parent in self._git.commit(self._repo_id, commit_id).parents)
        return order

    def _tree_of(self, tree: str) -> str:
        made = self._filtered(bytes.fromhex(tree))
        if made is None:
            return self._pack.add("tree", b"").hex()
        return made.hex()

    def _filtered(self, tree: bytes) -> bytes | None:
        """The tree without the files; None if nothing is left of it. Depth is bounded by what paths may be."""
        if tree in self._trees:
            return self._trees[tree]
        items: Mapping[bytes, tuple[bytes, bytes]] = self._git.tree(self._repo_id, tree.hex())
        kept: list[tuple[bytes, bytes, bytes]] = []
        changed = False
        for name, (mode, oid) in items.items():
            new: bytes | None = oid
            if mode == objects.FOLDER:
                new = self._filtered(oid)
            elif mode in (objects.FILE, objects.EXECUTABLE) and self._names_one(oid):
                new = None
            changed |= new != oid
            if new is not None:
                kept.append((mode, name, new))
        made = tree if not changed else self._pack.add("tree", objects.encode_tree(kept)) if kept else None
        self._trees[tree] = made
        return made

    def _names_one(self, oid: bytes) -> bool:
        known = self._pointers.get(oid)
        if known is None:
            found = self._git.kind_and_size(self._repo_id, oid.hex())
            small = found is not None and found[1] <= POINTER_BYTES_MAX
            pointer = parse(self._git.blob(self._repo_id, oid.hex())) if small else None
            known = self._pointers[oid] = pointer is not None and pointer.sha256 in self._files
        return known
