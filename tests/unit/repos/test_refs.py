"""Revisions and refs: what a name means, and making and deleting names."""

from __future__ import annotations

import itertools
import subprocess
import threading
from collections.abc import Callable

import pytest
from sqlalchemy import insert, select

from headwater.accounts.actor import Actor
from headwater.ground.clock import FixedClock
from headwater.ground.db import Database
from headwater.ground.errors import Conflict, Forbidden, Invalid, RevisionMissing, Stale, TooMuch, Unavailable
from headwater.ground.events import Event
from headwater.ground.names import RefName
from headwater.repos import moves as moves_module
from headwater.repos import refs as refs_module
from headwater.repos.git import Git, child_environment
from headwater.repos.moves import Moves
from headwater.repos.refs import Refs
from headwater.repos.tables import intent
from headwater.repos.tables import repo as repo_table
from headwater.repos.values import CommitResult, RefMove, Repo

Commits = Callable[..., CommitResult]
Happened = Callable[..., list[Event]]


def test_a_revision_is_named_in_every_way_the_clients_use(refs: Refs, model: Repo, ada: Actor, commit: Commits) -> None:
    head = commit({"a.txt": b"1"}).commit
    refs.create_tag(ada, model, "v1", "main", "noted")
    refs.create_branch(ada, model, "deep/er")
    pull = commit({"b.txt": b"1"}, create_pr=True)
    for revision in ("main", "refs/heads/main", "heads/main", head, head[:7], "v1", "refs/tags/v1", "deep/er"):
        assert refs.resolve(model, revision) == head, revision
    for revision in ("refs/pr/1", "pr/1"):
        assert refs.resolve(model, revision) == pull.commit


@pytest.mark.parametrize(
    "revision", ["nope", "", "refs", "refs/heads", "a" * 40, "abcdefa", "abc", "../main", "é", "main^", "\0"]
)
def test_what_names_no_commit_is_a_missing_revision(refs: Refs, model: Repo, revision: str) -> None:
    with pytest.raises(RevisionMissing):
        refs.resolve(model, revision)


def test_a_commit_of_another_repo_is_missing_here(
    refs: Refs, a_repo: Callable[..., Repo], ada: Actor, model: Repo, commit: Commits
) -> None:
    head = commit({"a.txt": b"1"}).commit
    other = a_repo(ada, "ada/other")
    for revision in (head, head[:7]):
        with pytest.raises(RevisionMissing):
            refs.resolve(other, revision)


def test_a_file_s_object_name_is_no_revision(refs: Refs, git: Git, model: Repo, commit: Commits) -> None:
    head = commit({"a.txt": b"1"}).commit
    tree = git.commit(model.id, head).tree
    blob = git.tree(model.id, tree)[b"a.txt"][1].hex()
    for oid in (tree, blob, blob[:8]):
        with pytest.raises(RevisionMissing):
            refs.resolve(model, oid)


def test_refs_are_listed_by_what_they_are(refs: Refs, model: Repo, ada: Actor, commit: Commits) -> None:
    first = refs.resolve(model, "main")
    for _ in range(11):
        pull = commit({"b.txt": b"1"}, create_pr=True)
    refs.create_tag(ada, model, "v1", "main")
    refs.create_tag(ada, model, "v2", "main", "noted")
    refs.create_branch(ada, model, "dev", "refs/pr/11")
    shown = refs.refs(model)
    assert [(ref.name, ref.ref, ref.target) for ref in shown.branches] == [
        ("dev", "refs/heads/dev", pull.commit),
        ("main", "refs/heads/main", first),
    ]
    assert [(ref.name, ref.target) for ref in shown.tags] == [("v1", first), ("v2", first)]
    assert [ref.name for ref in shown.pulls] == [str(i) for i in range(1, 12)]
    assert shown.converts == ()


def test_git_reads_an_annotated_tag(refs: Refs, git: Git, model: Repo, ada: Actor) -> None:
    refs.create_tag(ada, model, "v1", "main", "all of it\nand more")
    shown = subprocess.run(
        ["git", "for-each-ref", "refs/tags", "--format=%(objecttype)|%(taggername)|%(contents)"],
        env=child_environment(git.path(model.id)), capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert shown.strip() == "tag|ada|all of it\nand more"
    assert git.problems(model.id) == []


def test_existing_names_are_conflicts_with_the_hub_s_texts(refs: Refs, model: Repo, ada: Actor) -> None:
    refs.create_branch(ada, model, "dev")
    refs.create_tag(ada, model, "dev", "main")  # a branch may share a tag's name
    with pytest.raises(Conflict, match=r"^Reference refs/heads/dev already exists$"):
        refs.create_branch(ada, model, "dev")
    with pytest.raises(Conflict, match=r"^Reference refs/tags/dev already exists$"):
        refs.create_tag(ada, model, "dev", "main")


def test_a_branch_can_be_overwritten_when_asked(refs: Refs, model: Repo, ada: Actor, commit: Commits) -> None:
    refs.create_branch(ada, model, "dev")
    head = commit({"a.txt": b"1"}).commit
    refs.create_branch(ada, model, "dev", "main", overwrite=True)
    assert refs.resolve(model, "dev") == head
    refs.create_branch(ada, model, "dev", "main", overwrite=True)


def test_an_empty_branch_has_a_history_of_its_own(refs: Refs, git: Git, model: Repo, ada: Actor) -> None:
    refs.create_branch(ada, model, "void", empty=True)
    page = refs.commits(model, "void")
    assert [(commit.title, commit.parents) for commit in page.commits] == [("initial commit", ())]
    assert git.tree(model.id, git.commit(model.id, page.commits[0].id).tree) == {}
    assert git.problems(model.id) == []


@pytest.mark.parametrize(
    "name",
    ["a b", "", "-x", "x..y", "x.lock", "refs/heads/x", "a" * 40, "é~", "x" * 250, "HEAD", "v1\u202e", "\u200bmain"],
)
def test_names_that_git_or_revisions_could_misread_are_refused(refs: Refs, model: Repo, ada: Actor, name: str) -> None:
    for make in (lambda: refs.create_branch(ada, model, name), lambda: refs.create_tag(ada, model, name, "main")):
        with pytest.raises(Invalid):
            make()


def test_a_ref_cannot_be_a_folder_of_another(refs: Refs, model: Repo, ada: Actor) -> None:
    refs.create_branch(ada, model, "x/y")
    for name in ("x", "x/y/z"):
        with pytest.raises(Conflict, match="folder"):
            refs.create_branch(ada, model, name)
    refs.delete_branch(ada, model, "x/y")
    refs.create_branch(ada, model, "x")


def test_branches_start_only_where_there_is_a_commit(refs: Refs, model: Repo, ada: Actor) -> None:
    with pytest.raises(RevisionMissing):
        refs.create_branch(ada, model, "dev", "nope")
    with pytest.raises(RevisionMissing):
        refs.create_tag(ada, model, "v1", "nope")
    assert [ref.name for ref in refs.refs(model).branches] == ["main"]


def test_deleting_refs_says_what_the_hub_says(refs: Refs, model: Repo, ada: Actor) -> None:
    refs.create_tag(ada, model, "v1", "main")
    with pytest.raises(Forbidden, match=r"^Cannot delete refs/heads/main$"):
        refs.delete_branch(ada, model, "main")
    for delete in (lambda: refs.delete_branch(ada, model, "v1"), lambda: refs.delete_tag(ada, model, "nope")):
        with pytest.raises(RevisionMissing, match="Invalid rev id"):
            delete()
    refs.delete_tag(ada, model, "v1")
    assert refs.refs(model).tags == ()


def test_every_move_of_a_ref_is_one_event_and_leaves_no_intent(
    refs: Refs, model: Repo, ada: Actor, commit: Commits, happened: Happened, db: Database, clock: FixedClock
) -> None:
    first = refs.resolve(model, "main")
    clock.advance(60)
    head = commit({"a.txt": b"1", "b.txt": b"2"}).commit
    refs.create_branch(ada, model, "dev")
    refs.delete_branch(ada, model, "dev")
    told = [
        (event.data["ref"], event.data["old"], event.data["new"], event.data["cause"])
        for event in happened("ref.moved")
    ]
    assert told == [
        ("refs/heads/main", first, head, "commit"),
        ("refs/heads/dev", None, head, "branch"),
        ("refs/heads/dev", head, None, "delete"),
    ]
    event = happened("ref.moved")[0]
    assert (event.data["changed"], event.actor_id, event.repo_id) == (2, ada.user_id, model.id)
    with db.read() as connection:
        assert connection.execute(select(intent)).all() == []
        assert (
            connection.execute(select(repo_table.c.updated_ms).where(repo_table.c.id == model.id)).scalar()
            == clock.now_ms()
        )


def test_history_is_paged_and_each_page_goes_on_where_the_last_ended(
    refs: Refs, model: Repo, commit: Commits, clock: FixedClock
) -> None:
    ids = [refs.resolve(model, "main")]
    for i in range(6):
        clock.advance(-5 if i == 3 else 5)  # clocks may jump (T11)
        ids.append(commit({"a.txt": b"%d" % i}, text=f"change {i}\n\nwhy {i}").commit)
    ids.reverse()
    first = refs.commits(model, "main", limit=3)
    assert [c.id for c in first.commits] == ids[:3]
    assert (first.commits[0].title, first.commits[0].message, first.commits[0].author_name) == (
        "change 5",
        "why 5",
        "ada",
    )
    second = refs.commits(model, "main", first.next, 3)
    third = refs.commits(model, "main", second.next, 3)
    assert [c.id for c in second.commits + third.commits] == ids[3:]
    assert third.next is None
    for bad in ("f" * 40, "nope", ids[0][:7]):
        with pytest.raises(Invalid, match="cursor"):
            refs.commits(model, "main", bad)


def test_a_page_of_long_commits_is_cut_short_and_none_is_left_out(
    refs: Refs, model: Repo, commit: Commits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refs_module, "PAGE_BYTES_MAX", 2500)
    ids = [refs.resolve(model, "main")]
    ids += [commit({"a.txt": b"%d" % i}, text=f"{i}\n\n{'why ' * 250}").commit for i in range(6)]
    pages = [refs.commits(model, "main")]
    while (after := pages[-1].next) is not None:
        pages.append(refs.commits(model, "main", after))
    assert [len(page.commits) for page in pages] == [3, 3, 1]
    assert [one.id for page in pages for one in page.commits] == ids[::-1]


def test_a_first_line_as_long_as_a_text_is_no_title_for_every_list(refs: Refs, model: Repo, commit: Commits) -> None:
    made = refs.commit(model, commit({"a.txt": b"a"}, text=f"{'x' * 30_000}\n\nwhy").commit)
    assert made.title == "x" * 500 + "…"
    assert made.message == f"{'x' * 30_000}\n\nwhy"
    made = refs.commit(model, commit({"a.txt": b"b"}, text=f"{'x' * 500}\r\n\r\nwhy").commit)
    assert (made.title, made.message) == ("x" * 500, "why")


def test_a_squashed_branch_has_one_commit_and_the_old_ones_stay_readable(
    refs: Refs, model: Repo, ada: Actor, commit: Commits, git: Git
) -> None:
    old = commit({"a.txt": b"1"}).commit
    made = refs.super_squash(ada, model, "main", "squashed")
    page = refs.commits(model, "main")
    assert [(c.id, c.title, c.parents) for c in page.commits] == [(made, "squashed", ())]
    assert git.commit(model.id, made).tree == git.commit(model.id, old).tree
    assert refs.resolve(model, old) == old
    with pytest.raises(RevisionMissing):
        refs.super_squash(ada, model, old, "no branch")


def test_two_revisions_are_compared_as_text(
    refs: Refs, model: Repo, commit: Commits, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = commit({"a.txt": b"one\n", "gone.txt": b"x\n"}).commit
    large = b"".join(b"line %d\n" % i for i in range(2000))
    new = commit({"a.txt": b"two\n", "new é.txt": b"n\n", "big.txt": large, "bin": b"\0\1"}).commit
    text = refs.compare(model, old, new)
    assert "-one\n+two\n" in text
    assert "+++ b/big.txt" in text
    assert "Binary files" in text
    monkeypatch.setattr(refs_module, "DIFF_FILE_BYTES_MAX", 100)
    assert f"File of 0 -> {len(large)} bytes differs" in refs.compare(model, old, new)
    with monkeypatch.context() as patched:
        patched.setattr(refs_module, "DIFF_READ_BYTES_MAX", 3)
        assert refs.compare(model, old, new).endswith("the comparison was cut here\n")
    monkeypatch.setattr(refs_module, "DIFF_BYTES_MAX", 200)
    assert refs.compare(model, old, new).endswith("the comparison was cut here\n")
    assert refs.compare(model, old, old) == ""


# The moves themselves


def a_move(refs: Refs, model: Repo, name: str) -> RefMove:
    return RefMove(RefName(f"refs/heads/{name}"), None, refs.resolve(model, "main"))


def test_moves_compare_the_old_value_before_anything_happens(
    moves: Moves, refs: Refs, model: Repo, ada: Actor, commit: Commits, happened: Happened
) -> None:
    first = refs.resolve(model, "main")
    head = commit({"a.txt": b"1"}).commit
    before = len(happened("ref.moved"))
    fine = a_move(refs, model, "fine")
    for bad, error in (
        (RefMove(RefName("refs/heads/main"), first, first), Stale),
        (RefMove(RefName("refs/heads/main"), None, head), Conflict),
        (RefMove(RefName("refs/heads/gone"), head, None), Stale),
        (RefMove(RefName("HEAD"), None, head), Invalid),
        (RefMove(RefName("refs/remotes/x"), None, head), Invalid),
        (fine, Invalid),
        (RefMove(RefName("refs/heads/fine/x"), None, head), Conflict),
        (RefMove(RefName(f"refs/heads/{'n' * 201}"), None, head), Invalid),
    ):
        with pytest.raises(error):
            moves.apply(ada, model, [fine, bad], "push")
    assert sorted(moves.refs(model.id)) == ["refs/heads/main"]
    assert len(happened("ref.moved")) == before


def test_a_repo_has_room_for_so_many_refs_only(
    moves: Moves, refs: Refs, model: Repo, ada: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moves_module, "REFS_MAX", 3)
    with pytest.raises(TooMuch):
        moves.apply(ada, model, [a_move(refs, model, name) for name in "abc"], "push")
    moves.apply(ada, model, [a_move(refs, model, "a"), a_move(refs, model, "b")], "push")
    with pytest.raises(TooMuch):
        refs.create_branch(ada, model, "c")


def an_intent(db: Database, model: Repo, old: str | None, new: str | None, ref: str = "refs/heads/main") -> None:
    row = {
        "repo_id": model.id,
        "ref": ref,
        "old": old,
        "new": new,
        "kind": "commit",
        "data": '{"cause":"commit"}',
        "at_ms": 1,
    }
    with db.write() as connection:
        connection.execute(insert(intent).values(row))


def test_T01_after_a_crash_git_alone_says_which_moves_happened(
    moves: Moves, refs: Refs, db: Database, model: Repo, commit: Commits, happened: Happened, git: Git
) -> None:
    first = refs.resolve(model, "main")
    second = commit({"a.txt": b"1"}).commit
    third = commit({"a.txt": b"2"}).commit
    known = len(happened("ref.moved"))
    an_intent(db, model, first, second)  # settled softly and lost in a power cut: a later move started from it
    an_intent(db, model, second, third)
    an_intent(db, model, third, "ab" * 20)  # intended, never moved
    an_intent(db, model, None, first, "refs/heads/never")
    an_intent(db, model, first, None, "refs/heads/deleted")
    an_intent(db, Repo(99, *([None] * 9)), None, first)  # type: ignore[arg-type]
    assert moves.settle_all() == 3
    told = [(event.data["ref"], event.data["new"]) for event in happened("ref.moved")[known:]]
    assert told == [("refs/heads/main", second), ("refs/heads/main", third), ("refs/heads/deleted", None)]
    with db.read() as connection:
        assert connection.execute(select(intent)).all() == []
    assert moves.settle_all() == 0


def test_an_intent_that_git_is_already_past_is_settled(
    moves: Moves, refs: Refs, db: Database, model: Repo, commit: Commits
) -> None:
    first = refs.resolve(model, "main")
    second = commit({"a.txt": b"1"}).commit
    commit({"a.txt": b"2"})
    an_intent(db, model, first, second)  # a backup took git later than the database
    assert moves.settle_all() == 1


def test_a_move_whose_event_cannot_be_written_yet_is_acknowledged_and_told_later(
    moves: Moves, refs: Refs, ada: Actor, model: Repo, db: Database, happened: Happened, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = len(happened("ref.moved"))

    def full() -> None:
        raise Unavailable("The disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(db, "write_soft", full)
        refs.create_branch(ada, model, "a")
    assert len(happened("ref.moved")) == known
    refs.create_branch(ada, model, "b")
    assert [event.data["ref"] for event in happened("ref.moved")[known:]] == ["refs/heads/a", "refs/heads/b"]


def test_a_ref_that_cannot_be_written_is_an_error_and_no_event(
    moves: Moves,
    refs: Refs,
    git: Git,
    ada: Actor,
    model: Repo,
    db: Database,
    happened: Happened,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = len(happened("ref.moved"))
    move_ref = git.move_ref
    calls = itertools.count()

    def second_fails(repo_id: int, ref: str, new: str | None) -> None:
        if next(calls) == 1:
            raise Unavailable("The disk is full", status=507)
        move_ref(repo_id, ref, new)

    monkeypatch.setattr(git, "move_ref", second_fails)
    with pytest.raises(Unavailable):
        moves.apply(ada, model, [a_move(refs, model, "a"), a_move(refs, model, "b")], "push")
    assert [event.data["ref"] for event in happened("ref.moved")[known:]] == ["refs/heads/a"]
    with db.read() as connection:
        assert connection.execute(select(intent)).all() == []


def test_turns_are_taken_one_at_a_time_and_leave_nothing_behind(moves: Moves, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moves_module, "TURN_WAIT_S", 0.01)
    refused: list[Exception] = []

    def wait() -> None:
        try:
            with moves.turn(1):
                raise AssertionError("two at once")
        except Unavailable as error:
            refused.append(error)

    with moves.turn(1), moves.turn(1), moves.turn(2):
        other = threading.Thread(target=wait)
        other.start()
        other.join()
    assert len(refused) == 1
    assert moves._turns == {}


def test_pull_numbers_are_read_from_refs() -> None:
    assert refs_module.pull_number("refs/pr/12") == 12
    for ref in ("refs/pr/0", "refs/pr/x", "refs/heads/1", "refs/pr/1/merge"):
        assert refs_module.pull_number(ref) is None
