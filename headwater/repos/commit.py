"""Operations -> one commit: spooled, checked against the branch, written as one pack, and moved to as one step.

Contents are spooled to the disk before the repo's turn is taken, so that slow uploads don't wait for each other and
memory holds paths only. Refuses to know who may commit (the repo was opened for it) and how bodies are parsed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from sqlalchemy import Connection

from headwater.accounts.actor import Actor
from headwater.ground.clock import Clock
from headwater.ground.errors import EntryMissing, Invalid, Stale, TooMuch
from headwater.ground.faults import checkpoint
from headwater.ground.names import CommitId, FilePath, RefName, Sha256
from headwater.ground.settings import Settings
from headwater.repos import objects, pointers
from headwater.repos.edits import NO_SUCH_FILE, Editor
from headwater.repos.git import Git
from headwater.repos.holds import Holds, missing_objects
from headwater.repos.moves import Moves
from headwater.repos.objects import PackWriter
from headwater.repos.pull_requests import next_ref, opened
from headwater.repos.refs import Refs, commit_text, new_commit, pull_number
from headwater.repos.tree import Tree
from headwater.repos.values import (
    AddInline,
    AddPointer,
    CommitResult,
    Copy,
    DeleteFile,
    DeleteFolder,
    Message,
    Operation,
    RefMove,
    Repo,
)

_PARENT = re.compile(r"[0-9a-f]{5,40}\Z")


class _Put(NamedTuple):
    path: FilePath
    oid: bytes


_Step = _Put | DeleteFile | DeleteFolder | Copy | AddPointer


class _Spooled:
    """What the operations come to: steps with object names in place of contents, and the blobs they claim."""

    def __init__(self, pack: PackWriter) -> None:
        self.pack = pack
        self.steps: list[_Step] = []
        self.claims: dict[Sha256, FilePath] = {}
        self.sizes: dict[Sha256, int] = {}

    def claim(self, path: FilePath, sha256: Sha256, size: int | None) -> None:
        self.claims[sha256] = path
        if size is not None and self.sizes.setdefault(sha256, size) != size:
            raise Invalid(
                f"size: {path!r} gives {size} bytes for {sha256}, and another file gives more or less", status=422
            )


class Commits:
    def __init__(
        self, git: Git, moves: Moves, refs: Refs, tree: Tree, *, holds: Holds, clock: Clock, settings: Settings
    ) -> None:
        self._git = git
        self._moves = moves
        self._refs = refs
        self._tree = tree
        self._holds = holds
        self._clock = clock
        self._settings = settings

    def apply(  # six, as habits.md allows: each is a noun of the request
        self,
        actor: Actor,
        repo: Repo,
        revision: str,
        parent: str | None,
        message: Message,
        operations: Iterable[Operation],
        *,
        create_pr: bool = False,
    ) -> CommitResult:
        """One commit on the branch `revision`, durable when this returns; or an error, and nothing has changed.

        `parent` (5 to 40 digits) must be the head, else Stale; without one the commit goes onto whatever the head is
        by then. With `create_pr` the commit starts from `parent`, else from the head, and a new `refs/pr/N` names it.
        Errors: RevisionMissing (no such branch), Invalid 422 (paths, objects that the repo does not hold: all of them
        are named), EntryMissing (deleting or copying what is not there), TooMuch (number or size of operations).
        """
        text = commit_text(message)
        if parent is not None and not _PARENT.match(parent):
            raise Invalid(f"parentCommit: {parent[:60]!r} is not 5 to 40 hexadecimal digits")
        # Before a byte is spooled: most stale commits are stale already.
        self._base(repo, revision, parent, create_pr=create_pr)
        pack = self._git.pack()
        try:
            spooled = self._spool(actor, repo, operations, pack)
            checkpoint("commit.spooled")
            with self._moves.turn(repo.id):
                ref, base = self._base(repo, revision, parent, create_pr=create_pr)
                made = self._write(actor, repo, base, text, spooled)
                data = {"changed": len(spooled.steps)} | (opened(base, message) if create_pr else {})
                return self._move(actor, repo, RefMove(ref, None if create_pr else base, made), base, spooled, data)
        finally:
            pack.abandon()

    def _base(self, repo: Repo, revision: str, parent: str | None, *, create_pr: bool) -> tuple[RefName, CommitId]:
        """The ref that is to move, and the commit that the new one follows."""
        ref, head = self._refs.branch(repo, revision)
        if create_pr:
            ref = next_ref(self._git.refs(repo.id))
            return ref, self._refs.resolve(repo, parent) if parent else head
        if parent is not None and not head.startswith(parent):
            raise Stale
        return ref, head

    def _write(self, actor: Actor, repo: Repo, base: CommitId, text: str, spooled: _Spooled) -> CommitId:
        """The new commit, durable in the repo and named by no ref yet; `base` itself if the files stay as they are."""
        old_tree = self._git.commit(repo.id, base).tree
        editor = Editor(self._git, repo.id, old_tree)
        for step in spooled.steps:
            self._edit(repo, base, editor, step)
        tree = editor.write(spooled.pack)
        if tree == old_tree:
            return base
        commit = new_commit(actor, self._clock, tree, (base,), text)
        made = CommitId(spooled.pack.add("commit", objects.encode_commit(commit)).hex())
        checkpoint("commit.written")
        self._git.land(repo.id, spooled.pack)
        for oid, items in editor.written.items():
            self._git.remember_tree(repo.id, oid, items)
        return made

    def _move(
        self, actor: Actor, repo: Repo, move: RefMove, base: CommitId, spooled: _Spooled, data: Mapping[str, Any]
    ) -> CommitResult:
        assert move.new is not None
        result = CommitResult(CommitId(move.new), move.ref, pull_number(move.ref), changed=move.new != base)

        def hold(connection: Connection) -> None:
            self._holds.commit(connection, repo.id, spooled.claims)

        if move.old != move.new:
            self._moves.apply(actor, repo, [move], "commit", data=data, with_intent=hold)
        return result

    # Operations

    def _spool(self, actor: Actor, repo: Repo, operations: Iterable[Operation], pack: PackWriter) -> _Spooled:
        spooled = _Spooled(pack)
        for operation in operations:
            if len(spooled.steps) >= self._settings.commit_lines_max:
                raise TooMuch(f"At most {self._settings.commit_lines_max} operations in a commit (commit_lines_max).")
            if isinstance(operation, AddInline):
                spooled.steps.append(self._spool_inline(repo, operation, spooled))
            else:
                if isinstance(operation, AddPointer):
                    spooled.claim(operation.path, operation.sha256, operation.size)
                spooled.steps.append(operation)
        held = self._holds.nameable(actor, repo, spooled.claims) if spooled.claims else {}
        missing = [sha256 for sha256 in spooled.claims if sha256 not in held]
        if missing:
            raise missing_objects(missing)
        for sha256, size in spooled.sizes.items():
            if held[sha256] != size:
                raise Invalid(f"size: {spooled.claims[sha256]!r} has {held[sha256]} bytes, not {size}", status=422)
        spooled.steps = [
            _Put(step.path, pack.add("blob", pointers.text(step.sha256, held[step.sha256])))
            if isinstance(step, AddPointer)
            else step
            for step in spooled.steps
        ]
        return spooled

    def _spool_inline(self, repo: Repo, operation: AddInline, spooled: _Spooled) -> _Put:
        most = self._settings.inline_file_max
        if len(operation.data) > most:
            raise TooMuch(
                f"{operation.path}: {len(operation.data)} bytes are too many for a file in the commit itself, which "
                f"may have {most} (inline_file_max). Send it by LFS or Xet."
            )
        pointer = pointers.parse(operation.data)
        if pointer is not None:
            # Text that reads as a pointer is one: it must not lead to bytes that this repo does not hold (T17).
            spooled.claim(operation.path, pointer.sha256, pointer.size)
        oid = spooled.pack.add("blob", operation.data)
        self._git.remember_blob(repo.id, oid.hex(), operation.data)  # what is published is asked for next
        return _Put(operation.path, oid)

    def _edit(self, repo: Repo, base: CommitId, editor: Editor, step: _Step) -> None:
        match step:
            case _Put(path, oid):
                editor.put_file(path, oid)
            case DeleteFile(path):
                editor.remove_file(path)
            case DeleteFolder(path):
                editor.remove_folder(path)
            case Copy(source_path, source_revision, path):
                at = base if source_revision is None else self._refs.resolve(repo, source_revision)
                source = self._tree.find(repo, at, source_path)
                if source is None:
                    raise EntryMissing(source_path, at, text=f"{NO_SUCH_FILE}: {source_path}")
                if source.mode in (objects.FOLDER, objects.SUBMODULE):
                    raise Invalid(f"path: {source_path!r} is a folder; only files can be copied", status=422)
                editor.put_file(path, source.oid, source.mode)
            case AddPointer():
                raise AssertionError(step)  # every one was replaced when its blob was found held
