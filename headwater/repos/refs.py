"""Branches, tags and pull refs: what a revision's name means, and making and deleting the names.

Every change goes through `Moves`. Refuses to know who may do it (the repo was opened for it) and what commits hold.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from typing import NamedTuple

from headwater.accounts.actor import Actor
from headwater.ground import names
from headwater.ground.clock import Clock
from headwater.ground.errors import Conflict, Forbidden, Invalid, RevisionMissing
from headwater.ground.names import CommitId, RefName
from headwater.repos import objects
from headwater.repos.git import Change, Git, signature
from headwater.repos.lru import Lru
from headwater.repos.moves import MAIN, Moves
from headwater.repos.objects import CommitObject
from headwater.repos.values import Commit, Message, RefInfo, RefMove, RefsList, Repo

MESSAGE_BYTES_MAX = 65_536  # of a commit or tag: lists show many of them
COMMITS_PAGE_MAX = 1_000  # of one page of history
PAGE_BYTES_MAX = 4 << 20  # of one page's commits, as long as pushed ones may be; it is cut short behind them
TITLE_CHARS_MAX = 500  # of a commit: lists of files repeat it with each; and of its author's name and address
COUNTS_MAX = 4096  # lengths of histories kept, by their immutable tips
WALK_MAX = 100_000  # commits that one page of history may pass over
DIFF_BYTES_MAX = 2 << 20  # of one comparison, as text
DIFF_FILE_BYTES_MAX = 1 << 20  # a larger file is named as different and not shown: diffs cost more than their size
DIFF_FILES_MAX = 3_000
DIFF_READ_BYTES_MAX = 64 << 20  # compared in all: a second or two of work, however little of it differs

_SHORT_ID = re.compile(r"[0-9a-f]{7,39}\Z")
_COMMIT_LIKE = re.compile(r"[0-9a-f]{40}\Z")
_PULL = re.compile(r"refs/pr/([1-9][0-9]{0,8})\Z")


class Page(NamedTuple):
    """`next`: what to hand in as `after` for the next page; None at the end."""

    commits: list[Commit]
    next: CommitId | None


class Refs:
    def __init__(self, git: Git, moves: Moves, clock: Clock) -> None:
        self._git = git
        self._moves = moves
        self._clock = clock
        self._counts: Lru[tuple[int, str], int] = Lru(COUNTS_MAX)

    # Reading

    def resolve(self, repo: Repo, revision: str) -> CommitId:
        """The commit that a branch, tag, `refs/...`, `pr/N`, full or short (7 digits or more) commit id names.

        RevisionMissing, also for a commit that is in another repo only.
        """
        refs = self._git.refs(repo.id)
        branch = refs.get(MAIN if revision == "HEAD" else f"refs/heads/{revision}")
        if branch is not None and not _COMMIT_LIKE.match(revision):
            return CommitId(branch)
        found = self._find(repo.id, refs, revision)
        if found is None:
            raise RevisionMissing(revision[:200])
        return found

    def branch(self, repo: Repo, revision: str) -> tuple[RefName, CommitId]:
        """The ref that commits to `revision` move, and its head. RevisionMissing also for tags and commit ids."""
        refs = self._git.refs(repo.id)
        for ref in (f"refs/heads/{revision}", revision):
            if ref in refs and ref.startswith(("refs/heads/", "refs/pr/", "refs/convert/")):
                return RefName(ref), CommitId(refs[ref])
        raise RevisionMissing(revision[:200], f"Invalid rev id: {revision[:200]} is not a branch of this repo")

    def refs(self, repo: Repo) -> RefsList:
        refs = self._git.refs(repo.id)
        return RefsList(
            branches=self._infos(repo.id, refs, "refs/heads/"),
            converts=self._infos(repo.id, refs, "refs/convert/"),
            tags=self._infos(repo.id, refs, "refs/tags/"),
            pulls=tuple(sorted(self._infos(repo.id, refs, "refs/pr/"), key=lambda pull: (len(pull.name), pull.name))),
        )

    def commit(self, repo: Repo, commit_id: CommitId) -> Commit:
        """A commit of this repo, as `resolve` gave it."""
        return as_commit(commit_id, self._git.commit(repo.id, commit_id))

    def commits(self, repo: Repo, revision: str, after: str | None = None, limit: int = 50) -> Page:
        """History from `revision` backwards in time, starting behind `after`, which an earlier page gave."""
        walk = itertools.islice(self._git.walk(repo.id, self.resolve(repo, revision)), WALK_MAX)
        if after is not None:
            if not _COMMIT_LIKE.match(after) or self._git.find_commit(repo.id, after) is None:
                raise Invalid("cursor: not one that this list gave; start again from the first page")
            for commit_id in walk:
                if commit_id == after:
                    break
        wanted = max(1, min(limit, COMMITS_PAGE_MAX))
        found: list[Commit] = []
        left_bytes = PAGE_BYTES_MAX
        for commit_id in walk:
            if len(found) == wanted or left_bytes < 0:
                return Page(found, found[-1].id)
            made = self._git.commit(repo.id, commit_id)
            left_bytes -= made.weight_bytes
            found.append(as_commit(commit_id, made))
        return Page(found, None)

    def count(self, repo: Repo, revision: str) -> int:
        """How many commits lead to a revision; counted up to WALK_MAX."""
        tip = self.resolve(repo, revision)
        known = self._counts.get((repo.id, tip))
        if known is None:
            known = sum(1 for _ in itertools.islice(self._git.walk(repo.id, tip), WALK_MAX))
            self._counts.put((repo.id, tip), known)
        return known

    def compare(self, repo: Repo, old: str, new: str) -> str:
        """A unified diff from `old` to `new`. Large files are named and not shown; a large diff ends with a line that
        says so."""
        trees = [self._git.commit(repo.id, self.resolve(repo, revision)).tree for revision in (old, new)]
        parts: list[bytes] = []
        left_bytes, left_reading = DIFF_BYTES_MAX, DIFF_READ_BYTES_MAX
        for i, change in enumerate(self._git.changes(repo.id, trees[0], trees[1])):
            part = _shown(change)
            left_bytes -= len(part)
            left_reading -= change.old_size + change.new_size if _is_small(change) else 0
            if i >= DIFF_FILES_MAX or left_bytes < 0 or left_reading < 0:
                parts.append(b"... more files differ; the comparison was cut here\n")
                break
            parts.append(part)
        return b"".join(parts).decode("utf-8", "replace")

    # Changing

    def create_branch(
        self,
        actor: Actor,
        repo: Repo,
        name: str,
        start: str = "main",
        *,
        empty: bool = False,
        overwrite: bool = False,
    ) -> RefName:
        """At `start`; or `empty`, with a history of its own whose one commit has no files.

        An existing branch is a Conflict unless it may be overwritten.
        """
        ref = RefName(f"refs/heads/{_new_name(name, 'branch')}")
        with self._moves.turn(repo.id):
            old = self._git.refs(repo.id).get(ref)
            if old is not None and not overwrite:
                raise Conflict(f"Reference {ref} already exists")
            if empty:
                target = self._root_commit(actor, repo, objects.EMPTY_TREE, "initial commit")
            else:
                target = self.resolve(repo, start)
            if old != target:
                self._moves.apply(actor, repo, [RefMove(ref, old, target)], "branch")
        return ref

    def delete_branch(self, actor: Actor, repo: Repo, name: str) -> None:
        ref = RefName(f"refs/heads/{name}")
        if ref == MAIN:
            raise Forbidden(f"Cannot delete {MAIN}")
        self._delete(actor, repo, ref, name)

    def create_tag(self, actor: Actor, repo: Repo, name: str, revision: str, text: str | None = None) -> RefName:
        """Annotated if there is a `text`, else a plain name for the commit."""
        ref = RefName(f"refs/tags/{_new_name(name, 'tag')}")
        target = self.resolve(repo, revision)
        with self._moves.turn(repo.id):
            if ref in self._git.refs(repo.id):
                raise Conflict(f"Reference {ref} already exists")
            aim = self._tag_object(actor, repo, target, name, text) if text else str(target)
            self._moves.apply(actor, repo, [RefMove(ref, None, aim)], "tag")
        return ref

    def delete_tag(self, actor: Actor, repo: Repo, name: str) -> None:
        self._delete(actor, repo, RefName(f"refs/tags/{name}"), name)

    def super_squash(self, actor: Actor, repo: Repo, revision: str, text: str) -> CommitId:
        """The branch becomes one commit with the files it has now; its old commits stay readable by their ids."""
        with self._moves.turn(repo.id):
            ref, head = self.branch(repo, revision)
            made = self._root_commit(actor, repo, self._git.commit(repo.id, head).tree, text)
            self._moves.apply(actor, repo, [RefMove(ref, head, made)], "squash")
        return made

    # Helpers

    def _find(self, repo_id: int, refs: Mapping[str, str], revision: str) -> CommitId | None:
        if _COMMIT_LIKE.match(revision):
            return self._git.find_commit(repo_id, revision)
        for ref in (f"refs/tags/{revision}", revision, f"refs/{revision}"):
            if ref in refs:
                return self._git.find_commit(repo_id, refs[ref])
        return self._git.expand(repo_id, revision) if _SHORT_ID.match(revision) else None

    def _infos(self, repo_id: int, refs: Mapping[str, str], prefix: str) -> tuple[RefInfo, ...]:
        infos = []
        for ref, aim in sorted((ref, aim) for ref, aim in refs.items() if ref.startswith(prefix)):
            # Only a tag can aim at something else than a commit: a tag object, or (pushed) a tree or a blob.
            target = self._git.find_commit(repo_id, aim) if prefix == "refs/tags/" else CommitId(aim)
            if target is not None:
                infos.append(RefInfo(ref.removeprefix(prefix), RefName(ref), target))
        return tuple(infos)

    def _delete(self, actor: Actor, repo: Repo, ref: RefName, name: str) -> None:
        with self._moves.turn(repo.id):
            old = self._git.refs(repo.id).get(ref)
            if old is None:
                raise RevisionMissing(name[:200])
            self._moves.apply(actor, repo, [RefMove(ref, old, None)], "delete")

    def _root_commit(self, actor: Actor, repo: Repo, tree: str, text: str) -> CommitId:
        made = new_commit(actor, self._clock, tree, (), commit_text(Message(text)))
        pack = self._git.pack()
        try:
            if tree == objects.EMPTY_TREE:
                pack.add("tree", b"")
            name = pack.add("commit", objects.encode_commit(made))
            self._git.land(repo.id, pack)
        finally:
            pack.abandon()
        return CommitId(name.hex())

    def _tag_object(self, actor: Actor, repo: Repo, target: CommitId, name: str, text: str) -> str:
        author, mail = signature(actor.name)
        body = commit_text(Message(text))
        pack = self._git.pack()
        try:
            at_s = self._clock.now_ms() // 1000
            made = pack.add("tag", objects.encode_tag(target, name, f"{author} <{mail}>", at_s, body))
            self._git.land(repo.id, pack)
        finally:
            pack.abandon()
        return made.hex()


def pull_number(ref: str) -> int | None:
    """N of `refs/pr/N`."""
    found = _PULL.match(ref)
    return int(found[1]) if found else None


def commit_text(message: Message) -> str:
    """Summary, an empty line, description; what clients wrote, bounded and free of what git cannot hold."""
    summary, description = message.summary.strip(), message.description.strip()
    text = f"{summary}\n\n{description}" if description else summary
    if not summary:
        raise Invalid("summary: a commit needs one")
    if "\0" in text or len(text.encode("utf-8", "replace")) > MESSAGE_BYTES_MAX:
        raise Invalid(f"message: at most {MESSAGE_BYTES_MAX} bytes, none of them zero")
    return text


def new_commit(actor: Actor, clock: Clock, tree: str, parents: tuple[CommitId, ...], text: str) -> CommitObject:
    name, mail = signature(actor.name)
    return CommitObject(tree, parents, name, mail, clock.now_ms() // 1000, text)


def as_commit(commit_id: CommitId, made: CommitObject) -> Commit:
    """A first line that is no title but a text is cut, and stands whole in the message."""
    text = made.text.strip()
    line, _, rest = text.partition("\n")
    title = line.rstrip()
    if len(title) > TITLE_CHARS_MAX:
        title, rest = f"{title[:TITLE_CHARS_MAX]}…", text
    name, mail = made.author_name[:TITLE_CHARS_MAX], made.author_email[:TITLE_CHARS_MAX]
    return Commit(commit_id, title, rest.strip(), made.at_s * 1000, name, mail, made.parents)


def misread(name: str) -> str | None:
    """Why no new branch or tag may have a name that git allows: it means something else, or is not what it shows."""
    if _COMMIT_LIKE.match(name) or name.startswith("refs/") or name == "HEAD":
        return "would be taken for a commit id or a full ref"
    if not name.isprintable():
        return "has characters that are not shown, or are no UTF-8"
    return None


def _new_name(name: str, what: str) -> str:
    names.ref_part(name, what)
    why = misread(name)
    if why is not None:
        raise Invalid(f"{what}: {name!r} {why}")
    return name


def _is_small(change: Change) -> bool:
    return max(change.old_size, change.new_size) <= DIFF_FILE_BYTES_MAX


def _shown(change: Change) -> bytes:
    if _is_small(change):
        return change.patch()
    head = f"diff --git a/{change.old_path} b/{change.new_path}\n"
    sizes = f"File of {change.old_size} -> {change.new_size} bytes differs; too large to be shown\n"
    return (head + sizes).encode("utf-8", "replace")
