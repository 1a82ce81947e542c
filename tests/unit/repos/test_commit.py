"""Commits: all of the operations or none, on the head that was meant, and durable when acknowledged."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import select

from headwater.accounts.actor import Actor
from headwater.ground.db import Database
from headwater.ground.errors import EntryMissing, Invalid, RevisionMissing, Stale, TooMuch, Unavailable
from headwater.ground.events import Event
from headwater.ground.names import CommitId, FilePath, Sha256
from headwater.ground.settings import Settings
from headwater.repos import objects, pointers
from headwater.repos.commit import Commits
from headwater.repos.git import Git
from headwater.repos.holds import Holds
from headwater.repos.refs import Refs
from headwater.repos.tables import hold, intent
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
    Repo,
)

Commit = Callable[..., CommitResult]


def P(path: str) -> FilePath:
    return FilePath(path)


def contents(tree: Tree, model: Repo, at: str) -> dict[str, bytes]:
    """Every file of a revision but the first `.gitattributes`."""
    page = tree.listing(model, CommitId(at), "", recursive=True)
    found = list(page.entries)
    while page.next is not None:
        page = tree.listing(model, CommitId(at), "", recursive=True, after=page.next)
        found += page.entries
    return {
        entry.path: tree.read_inline(model, entry)
        for entry in found
        if entry.kind == "file" and entry.path != ".gitattributes"
    }


@pytest.fixture
def untouched(refs: Refs, git: Git, model: Repo, db: Database) -> Iterator[None]:
    """What a refused commit leaves: the same refs, no pack, no intent."""
    before = dict(git.refs(model.id))
    packs = sorted((git.path(model.id) / "objects").rglob("*"))
    yield
    assert git.refs(model.id) == before
    assert sorted((git.path(model.id) / "objects").rglob("*")) == packs
    assert list(git.incoming.iterdir()) == []
    with db.read() as connection:
        assert connection.execute(select(intent)).all() == []


def test_operations_become_one_commit_that_git_finds_whole(
    commit: Commit, refs: Refs, tree: Tree, git: Git, model: Repo
) -> None:
    first = refs.resolve(model, "main")
    commit({"a.txt": b"1", "b/c.txt": b"2", "b/d.txt": b"3", "gone/x": b"4"})
    result = commit(
        [
            AddInline(P("a.txt"), b"new"),
            DeleteFile(P("b/c.txt")),
            DeleteFolder(P("gone")),
            AddInline(P("x/y/z.txt"), b"deep"),
            Copy(P("b/d.txt"), None, P("copied.txt")),
        ],
        text="second",
    )
    assert (result.ref, result.pull, result.changed) == ("refs/heads/main", None, True)
    assert contents(tree, model, result.commit) == {
        "a.txt": b"new", "b/d.txt": b"3", "copied.txt": b"3", "x/y/z.txt": b"deep",
    }  # fmt: skip
    history = refs.commits(model, "main").commits
    assert [made.title for made in history] == ["second", "change", "initial commit"]
    assert history[-1].id == first
    assert git.problems(model.id) == []


def test_one_commit_is_one_pack_however_many_files(commit: Commit, git: Git, model: Repo) -> None:
    commit({f"d{i % 10}/f{i}.txt": b"%d" % i for i in range(300)})
    assert len(list((git.path(model.id) / "objects/pack").glob("*.pack"))) == 2
    assert not [path for path in (git.path(model.id) / "objects").iterdir() if len(path.name) == 2]


def test_operations_hold_in_their_order(commit: Commit, tree: Tree, model: Repo) -> None:
    commit({"a/x": b"1", "a/y": b"2"})
    at = commit([DeleteFolder(P("a")), AddInline(P("a/z"), b"3"), AddInline(P("b"), b"4"), DeleteFile(P("b"))]).commit
    assert contents(tree, model, at) == {"a/z": b"3"}
    at = commit([DeleteFolder(P("a")), AddInline(P("a"), b"now a file")]).commit
    assert contents(tree, model, at) == {"a": b"now a file"}


def test_folders_that_become_empty_vanish(commit: Commit, tree: Tree, git: Git, model: Repo) -> None:
    commit({"a/b/c/x": b"1"})
    at = commit([DeleteFile(P("a/b/c/x")), DeleteFile(P(".gitattributes"))]).commit
    assert tree.listing(model, at, "").entries == []
    assert git.problems(model.id) == []


def test_title_and_message_are_what_was_written(commits: Commits, refs: Refs, ada: Actor, model: Repo) -> None:
    message = Message("  title \ud800", "first\n\nsecond\n")
    at = commits.apply(ada, model, "main", None, message, [AddInline(P("a"), b"1")]).commit
    made = refs.commit(model, at)
    assert (made.title, made.message) == ("title ?", "first\n\nsecond")
    assert (made.author_name, made.author_email) == ("ada", "ada@users.noreply.headwater")


@pytest.mark.parametrize("message", [Message(""), Message(" \n"), Message("a\0b"), Message("a", "x" * 70_000)])
def test_a_message_that_git_cannot_hold_is_invalid(
    commits: Commits, ada: Actor, model: Repo, message: Message, untouched: None
) -> None:
    with pytest.raises(Invalid):
        commits.apply(ada, model, "main", None, message, [AddInline(P("a"), b"1")])


def test_a_commit_that_changes_nothing_makes_none(commit: Commit, git: Git, model: Repo, refs: Refs) -> None:
    head = commit({"a.txt": b"1"}).commit
    packs = len(list((git.path(model.id) / "objects/pack").iterdir()))
    for same in ({"a.txt": b"1"}, []):
        result = commit(same)
        assert (result.commit, result.changed) == (head, False)
    assert len(list((git.path(model.id) / "objects/pack").iterdir())) == packs


def test_an_executable_stays_one(commit: Commit, git: Git, tree: Tree, model: Repo, refs: Refs) -> None:
    pack = git.pack()
    root = pack.add("tree", objects.encode_tree([(objects.EXECUTABLE, b"run", pack.add("blob", b"1"))]))
    made = pack.add("commit", objects.encode_commit(objects.CommitObject(root.hex(), (), "a", "a", 1, "x")))
    git.land(model.id, pack)
    git.move_ref(model.id, "refs/heads/dev", made.hex())
    at = commit({"run": b"2", "new": b"3"}, "dev").commit
    assert {name: item[0] for name, item in git.tree(model.id, git.commit(model.id, at).tree).items()} == {
        b"new": objects.FILE, b"run": objects.EXECUTABLE,
    }  # fmt: skip


# On which head


def test_a_stale_parent_is_refused_and_nothing_moves(commit: Commit, refs: Refs, model: Repo) -> None:
    old = refs.resolve(model, "main")
    head = commit({"a.txt": b"1"}).commit
    for stale in (old, old[:7], "f" * 40):
        with pytest.raises(Stale, match="The branch was updated since you opened this page"):
            commit({"b.txt": b"2"}, parent=stale)
    assert refs.resolve(model, "main") == head
    assert commit({"b.txt": b"2"}, parent=head[:7]).changed


@pytest.mark.parametrize("parent", ["", "abcd", "g" * 40, "a" * 41, "HEAD"])
def test_a_parent_that_is_no_commit_id_is_invalid(commit: Commit, parent: str, untouched: None) -> None:
    with pytest.raises(Invalid, match="parentCommit"):
        commit({"b.txt": b"2"}, parent=parent)


def test_only_branches_and_pull_refs_are_committed_to(commit: Commit, refs: Refs, ada: Actor, model: Repo) -> None:
    head = refs.resolve(model, "main")
    refs.create_tag(ada, model, "v1", "main")
    for revision in ("nope", "v1", "refs/tags/v1", head, head[:7]):
        for create_pr in (False, True):
            with pytest.raises(RevisionMissing):
                commit({"b.txt": b"2"}, revision, create_pr=create_pr)
    refs.create_branch(ada, model, "dev")
    assert commit({"b.txt": b"2"}, "refs/heads/dev").ref == "refs/heads/dev"
    assert refs.resolve(model, "main") == head


def test_a_pull_request_gets_the_next_number_and_main_stays(
    commit: Commit, refs: Refs, tree: Tree, model: Repo
) -> None:
    first = refs.resolve(model, "main")
    head = commit({"a.txt": b"1"}).commit
    one = commit({"b.txt": b"2"}, create_pr=True)
    two = commit({"c.txt": b"3"}, parent=first, create_pr=True)
    empty = commit({"a.txt": b"1"}, create_pr=True)
    assert [(pull.ref, pull.pull) for pull in (one, two, empty)] == [
        ("refs/pr/1", 1),
        ("refs/pr/2", 2),
        ("refs/pr/3", 3),
    ]
    assert refs.commit(model, one.commit).parents == (head,)
    assert refs.commit(model, two.commit).parents == (first,)
    assert (empty.commit, empty.changed) == (head, False)
    assert refs.resolve(model, "main") == head
    more = commit({"d.txt": b"4"}, "refs/pr/1")
    assert (more.ref, more.pull) == ("refs/pr/1", 1)
    assert contents(tree, model, more.commit) == {"a.txt": b"1", "b.txt": b"2", "d.txt": b"4"}


def test_T20_twenty_parallel_commits_land_one_after_the_other(
    commits: Commits, refs: Refs, tree: Tree, git: Git, ada: Actor, model: Repo
) -> None:
    head = refs.resolve(model, "main")

    def make(i: int) -> str | None:
        try:
            parent = head if i % 4 == 0 else None
            return commits.apply(ada, model, "main", parent, Message(f"c{i}"), [AddInline(P(f"f{i}"), b"x")]).commit
        except Stale:
            return None

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(make, range(20)))
    landed = [answer for answer in answers if answer is not None]
    history = refs.commits(model, "main", limit=100).commits
    assert {made.id for made in history} == {*landed, head}
    assert all(answers[i] for i in range(20) if i % 4)
    assert sum(answers[i] is not None for i in range(0, 20, 4)) <= 1  # those that named the first head
    assert all(len(made.parents) == 1 for made in history[:-1])
    assert len(contents(tree, model, refs.resolve(model, "main"))) == len(landed)
    assert git.problems(model.id) == []


def test_T22_running_readers_finish_on_the_commit_they_began_with(
    commit: Commit, refs: Refs, tree: Tree, git: Git, ada: Actor, model: Repo
) -> None:
    refs.create_branch(ada, model, "dev")
    old = commit({"a.txt": b"old"}, "dev").commit
    entry = tree.entry(model, old, P("a.txt"))
    refs.super_squash(ada, model, "dev", "squashed")
    refs.delete_branch(ada, model, "dev")
    for i in range(3):
        commit({"b.txt": b"%d" % i})
    git.maintenance(model.id)
    assert tree.read_inline(model, entry) == b"old"
    assert contents(tree, model, old) == {"a.txt": b"old"}


# What is refused


def test_deleting_what_is_not_there_is_missing(commit: Commit, untouched: None) -> None:
    for operation in (DeleteFile(P("nope")), DeleteFile(P("a/b")), Copy(P("nope"), None, P("x"))):
        with pytest.raises(EntryMissing, match="A file with this name doesn't exist"):
            commit([operation])
    for operation in (DeleteFolder(P("nope")), DeleteFolder(P(".gitattributes"))):
        with pytest.raises(EntryMissing):
            commit([operation])


def test_a_folder_is_not_deleted_nor_copied_as_a_file(commit: Commit) -> None:
    commit({"d/x": b"1"})
    with pytest.raises(EntryMissing):
        commit([DeleteFile(P("d"))])
    with pytest.raises(Invalid, match="only files"):
        commit([Copy(P("d"), None, P("e"))])


def test_a_file_and_a_folder_cannot_have_one_name(commit: Commit, refs: Refs, model: Repo) -> None:
    head = commit({"a": b"1", "d/x": b"1"}).commit
    for bad in ({"a/b": b"2"}, {"d": b"2"}, {"n": b"1", "n/m": b"2"}, {"n/m": b"1", "n": b"2"}):
        with pytest.raises(Invalid) as refused:
            commit(bad)
        assert refused.value.status == 422
    assert refs.resolve(model, "main") == head


@pytest.mark.parametrize(
    "files",
    [
        {"README.md": b"1", "readme.md": b"2"}, {"existing.TXT": b"1"}, {"Folder/y": b"1"}, {"folder/X": b"1"},
        {"straße": b"1", "STRASSE": b"2"}, {"É": b"1", "é": b"2"},
    ],
)  # fmt: skip
def test_T49_names_that_differ_only_in_case_are_refused(
    commit: Commit, refs: Refs, model: Repo, files: dict[str, bytes]
) -> None:
    head = commit({"existing.txt": b"1", "folder/x": b"1"}).commit
    with pytest.raises(Invalid, match="differ only in upper and lower case") as refused:
        commit(files)
    assert refused.value.status == 422
    assert refs.resolve(model, "main") == head


def test_T49_a_file_may_change_its_case_in_one_commit_and_old_twins_stay_editable(
    commit: Commit, git: Git, tree: Tree, model: Repo
) -> None:
    commit({"readme.md": b"1"})
    at = commit([DeleteFile(P("readme.md")), AddInline(P("README.md"), b"1")]).commit
    assert contents(tree, model, at) == {"README.md": b"1"}
    pack = git.pack()
    blob = pack.add("blob", b"1")
    root = pack.add("tree", objects.encode_tree([(objects.FILE, b"a", blob), (objects.FILE, b"A", blob)]))
    made = pack.add("commit", objects.encode_commit(objects.CommitObject(root.hex(), (), "a", "a", 1, "pushed")))
    git.land(model.id, pack)
    git.move_ref(model.id, "refs/heads/old", made.hex())
    at = commit({"a": b"2", "b": b"3"}, "old").commit
    assert contents(tree, model, at) == {"A": b"1", "a": b"2", "b": b"3"}


def test_T16_objects_that_the_repo_does_not_hold_are_refused_and_all_are_named(
    commit: Commit, holds: Holds, model: Repo, a_repo: Callable[..., Repo], ada: Actor, a_blob: Callable[..., Sha256],
    untouched: None,
) -> None:  # fmt: skip
    held, elsewhere, nowhere = a_blob("a"), a_blob("b"), Sha256("c" * 64)
    holds.hold(model.id, [held])
    holds.hold(a_repo(ada, "ada/other").id, [elsewhere])
    with pytest.raises(Invalid) as refused:
        commit([AddPointer(P(sha[:2]), sha, 10) for sha in (held, elsewhere, nowhere)])
    assert refused.value.status == 422
    assert elsewhere in refused.value.text
    assert nowhere in refused.value.text
    assert held not in refused.value.text


def test_T17_a_pointer_sent_as_text_needs_the_bytes_as_well(
    commit: Commit, holds: Holds, model: Repo, tree: Tree, a_blob: Callable[..., Sha256]
) -> None:
    sha256 = a_blob("a", size=77)
    with pytest.raises(Invalid) as refused:
        commit({"stolen.bin": pointers.text(sha256, 77)})
    assert refused.value.status == 422
    holds.hold(model.id, [sha256])
    at = commit({"mine.bin": pointers.text(sha256, 77)}).commit
    assert tree.entry(model, at, P("mine.bin")).sha256 == sha256


def test_a_blob_of_another_size_is_refused_and_a_missing_size_is_filled_in(
    commit: Commit, holds: Holds, model: Repo, tree: Tree, db: Database, a_blob: Callable[..., Sha256]
) -> None:
    sha256 = a_blob("a", size=77)
    holds.hold(model.id, [sha256])
    for bad in (
        [AddPointer(P("m.bin"), sha256, 78)],
        [AddPointer(P("m.bin"), sha256, 77), AddPointer(P("n.bin"), sha256, 78)],
        [AddInline(P("m.bin"), pointers.text(sha256, 76))],
    ):
        with pytest.raises(Invalid) as refused:
            commit(bad)
        assert refused.value.status == 422
    at = commit([AddPointer(P("m.bin"), sha256, None), AddPointer(P("n.bin"), sha256, 77)]).commit
    assert tree.entry(model, at, P("m.bin")).size == 77
    with db.read() as connection:
        row = connection.execute(select(hold.c.committed, hold.c.path)).one()
    assert tuple(row) == (True, "n.bin")


def test_a_hold_that_expires_while_the_commit_is_under_way_refuses_it(
    commit: Commit, holds: Holds, model: Repo, db: Database, a_blob: Callable[..., Sha256], refs: Refs,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    sha256 = a_blob("a")
    head = refs.resolve(model, "main")
    monkeypatch.setattr(holds, "sizes", lambda _repo_id, names: dict.fromkeys(names, 10))
    with pytest.raises(Invalid):
        commit([AddPointer(P("m.bin"), sha256, 10)])
    assert refs.resolve(model, "main") == head


def test_T18_one_bad_file_of_a_thousand_refuses_the_whole_commit_and_uploads_stay_usable(
    commit: Commit, holds: Holds, model: Repo, tree: Tree, a_blob: Callable[..., Sha256], git: Git
) -> None:
    sha256 = a_blob("a", size=5)
    holds.hold(model.id, [sha256])
    operations: list[Operation] = [AddInline(P(f"f{i}.txt"), b"%d" % i) for i in range(999)]
    good: list[Operation] = [*operations, AddPointer(P("m.bin"), sha256, 5)]
    refs_before = dict(git.refs(model.id))
    packs = sorted((git.path(model.id) / "objects/pack").iterdir())
    for bad in (AddPointer(P("f777.bin"), Sha256("b" * 64), 5), DeleteFile(P("nope")), AddInline(P("F776.txt"), b"")):
        with pytest.raises((Invalid, EntryMissing)):
            commit([*good[:777], bad, *good[778:]])
    assert git.refs(model.id) == refs_before
    assert sorted((git.path(model.id) / "objects/pack").iterdir()) == packs
    assert len(contents(tree, model, commit(good).commit)) == 1000


def test_T18_an_operation_that_cannot_be_read_ends_the_commit(
    commits: Commits, ada: Actor, model: Repo, untouched: None
) -> None:
    def operations() -> Iterator[Operation]:
        yield AddInline(P("a"), b"1")
        raise Invalid("line 3: not JSON")

    with pytest.raises(Invalid, match="line 3"):
        commits.apply(ada, model, "main", None, Message("x"), operations())


def test_limits_on_operations_and_inline_bytes(
    commits: Commits, settings: Settings, ada: Actor, model: Repo, untouched: None
) -> None:
    commits._settings = replace_settings(settings, inline_file_max=10, commit_lines_max=2)
    with pytest.raises(TooMuch, match="inline_file_max"):
        commits.apply(ada, model, "main", None, Message("x"), [AddInline(P("a"), b"1" * 11)])
    with pytest.raises(TooMuch, match="commit_lines_max"):
        commits.apply(ada, model, "main", None, Message("x"), [AddInline(P(f"a{i}"), b"1") for i in range(3)])


def test_a_full_disk_refuses_the_commit_and_nothing_is_left(
    commit: Commit, git: Git, monkeypatch: pytest.MonkeyPatch, untouched: None
) -> None:
    def full(_path: object, _data: bytes) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched, pytest.raises(Unavailable) as refused:
        patched.setattr("headwater.repos.objects.write_durably", full)
        commit({"a": b"1"})
    assert refused.value.status == 507


def test_copies_come_from_any_revision_of_the_repo(
    commit: Commit,
    tree: Tree,
    model: Repo,
    holds: Holds,
    a_blob: Callable[..., Sha256],
    happened: Callable[..., list[Event]],
) -> None:
    sha256 = a_blob("a", size=5)
    holds.hold(model.id, [sha256])
    old = commit([AddPointer(P("m.bin"), sha256, 5)]).commit
    commit([DeleteFile(P("m.bin"))])
    at = commit([Copy(P("m.bin"), old, P("again.bin"))]).commit
    assert tree.entry(model, at, P("again.bin")).sha256 == sha256
    with pytest.raises(RevisionMissing):
        commit([Copy(P("m.bin"), "nope", P("x"))])
    assert happened("ref.moved")[-1].data["changed"] == 1


def replace_settings(settings: Settings, **values: int) -> Settings:
    return msgspec.structs.replace(settings, **values)


# Killed


CRASHES = """
import json, os, sys
from pathlib import Path
import headwater.catalog.tables
from headwater.accounts.actor import Actor
from headwater.ground import events, faults
from headwater.ground.clock import FixedClock
from headwater.ground.db import Database
from headwater.ground.names import FilePath, RepoId
from headwater.ground.settings import Settings
from headwater.repos.commit import Commits
from headwater.repos.git import Git
from headwater.repos.holds import Holds
from headwater.repos.moves import Moves
from headwater.repos.refs import Refs
from headwater.repos.tree import Tree
from headwater.repos.values import AddInline, Message, Repo

data, names = Path(sys.argv[1]), sys.argv[2:]
model, ada = Repo(1, RepoId("model", "ada", "x"), 1, False, None, False, None, 1, 0, 0), Actor(1, "ada")

def room():
    db, clock, settings = Database(data / "hub.db"), FixedClock(), Settings(data=str(data))
    git = Git(data / "git")
    moves = Moves(db, git, clock)
    refs, tree = Refs(git, moves, clock), Tree(git, settings)
    commits = Commits(git, moves, refs, tree, holds=Holds(db, clock), clock=clock, settings=settings)
    return db, git, moves, refs, tree, commits

def commit(commits, name):
    return commits.apply(ada, model, "main", None, Message(name), [AddInline(FilePath("f"), name.encode())]).commit

Git(data / "git").create(1, {FilePath(".gitattributes"): b""}, "ada", 0, "initial commit")
for name in names:
    db, git, moves, refs, tree, commits = room()
    old, before = refs.resolve(model, "main"), commit(commits, "before " + name)
    child = os.fork()
    if child == 0:
        faults._AT, faults._left = name, 1
        commit(room()[-1], "during " + name)
        os._exit(7)  # acknowledged: the checkpoint was not passed
    died = os.waitpid(child, 0)[1]
    db, git, moves, refs, tree, commits = room()
    git.empty_incoming()
    settled = moves.settle_all()
    head = refs.resolve(model, "main")
    with db.read() as connection:
        told = [e.data["new"] for e in events.since(connection, 0, 1000)]
        left = connection.exec_driver_sql("select count(*) from intent").scalar_one()
    print(json.dumps({
        "name": name, "signal": died, "moved": head != before, "parents": refs.commit(model, head).parents[0] == before,
        "text": tree.read_inline(model, tree.entry(model, head, FilePath("f"))).decode(), "told": told.count(head),
        "events": len(told) == len(set(told)), "left": left, "settled": settled, "problems": git.problems(1),
        "works": commit(commits, "after " + name) == refs.resolve(model, "main"),
    }))
"""
BEFORE_THE_MOVE = [
    "commit.spooled", "commit.written", "pack.written", "pack.visible", "move.begun", "move.intended", "ref.staged",
]  # fmt: skip
AFTER_THE_MOVE = ["ref.renamed", "move.moved", "move.settled"]


def test_T01_a_commit_killed_at_any_step_is_there_or_not_and_never_between(db: Database, tmp_path: Path) -> None:
    names = BEFORE_THE_MOVE + AFTER_THE_MOVE
    done = subprocess.run(
        [sys.executable, "-c", CRASHES, str(tmp_path), *names], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    shown = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["name"] for one in shown] == names
    for one in shown:
        moved = one["name"] in AFTER_THE_MOVE
        assert one["signal"] == signal.SIGKILL, one
        assert one["moved"] is moved, one
        assert one["text"] == ("during " if moved else "before ") + one["name"]
        assert (one["told"], one["events"], one["left"]) == (1, True, 0), one
        assert one["settled"] == (moved and one["name"] != "move.settled"), one
        assert one["problems"] == []
        assert one["works"]
