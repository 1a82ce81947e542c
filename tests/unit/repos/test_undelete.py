"""Deleted repos: until their time is over they come back as they were, and meanwhile they are nobody's."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import func, insert, select, update

from headwater.accounts.actor import NOBODY
from headwater.accounts.people import Namespace
from headwater.accounts.tables import namespace
from headwater.ground import names
from headwater.ground.errors import Conflict, Disabled, Forbidden, HeadwaterError, Invalid, RepoMissing
from headwater.ground.settings import Settings
from headwater.repos.copies import Copies
from headwater.repos.moves import Moves
from headwater.repos.registry import Moved, Registry
from headwater.repos.tables import hold, intent, like, repo, xorb_hold
from headwater.store.tables import blob_xorb, xorb

WEEK_S = 7 * 86_400


def rid(text, kind="model"):
    return names.repo_id(kind, text)


@pytest.fixture
def ann(people):
    return people.user("ann")


@pytest.fixture
def root(people):
    return people.user("root", is_admin=True)


@pytest.fixture
def gone(registry, ann, a_repo, a_blob, holds, db):
    """ann/x, deleted; it held a committed file and a xorb."""
    made = a_repo(ann, "ann/x")
    holds.hold(made.id, [a_blob("a")])
    with db.write() as connection:
        holds.commit(connection, made.id, {a_blob_name("a"): "model.bin"})
        connection.execute(insert(xorb).values(hash="h", raw_bytes=1, hashes=b"", lengths=b"", offered_ms=0))
        connection.execute(insert(blob_xorb).values(sha256=a_blob_name("a"), xorb="h"))
    holds.hold_xorbs(made.id, ["h"])
    registry.delete(ann, rid("ann/x"))
    return made


def a_blob_name(letter):
    return letter * 64


def rows(db, table):
    with db.read() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


# Bringing back


def test_T30_an_undeleted_repo_is_what_it_was(registry, ann, gone, git, holds, happened, tmp_path):
    back = registry.undelete(ann, gone.id)
    assert back == gone == registry.open(NOBODY, rid("ann/x"), "read")
    assert git.refs(gone.id)["refs/heads/main"] == happened("repo.created")[0].data["commit"]
    assert not (tmp_path / "git" / "trash" / f"{gone.id}.git").exists()
    assert holds.sizes(gone.id, [a_blob_name("a")]) == {a_blob_name("a"): 10}
    assert holds.may_use_xorb(ann, gone, "h")
    (event,) = happened("repo.undeleted")
    assert (event.repo_id, event.actor_id) == (gone.id, ann.user_id)
    assert event.data == {"type": "model", "name": "ann/x"}


def test_an_undeleted_repo_is_no_longer_among_the_deleted_and_cannot_be_undeleted_again(registry, ann, gone):
    (listed,) = registry.deleted(ann)
    assert (listed.repo, listed.until_ms - listed.deleted_ms) == (gone, WEEK_S * 1000)
    assert registry.find_deleted(ann, rid("ANN/x")) == listed
    registry.undelete(ann, gone.id)
    assert registry.deleted(ann) == []
    for ask in (lambda: registry.find_deleted(ann, rid("ann/x")), lambda: registry.undelete(ann, gone.id)):
        with pytest.raises(RepoMissing):
            ask()


def test_of_several_with_one_name_the_last_one_is_found_and_each_comes_back_by_its_number(registry, ann, a_repo, clock):
    deleted = []
    for _ in range(3):
        clock.advance(10)
        deleted.append(a_repo(ann, "ann/x").id)
        registry.delete(ann, rid("ann/x"))
    assert registry.find_deleted(ann, rid("ann/x")).repo.id == deleted[-1]
    assert [one.repo.id for one in registry.deleted(ann)] == deleted[::-1]
    assert registry.undelete(ann, deleted[0]).rid == rid("ann/x")
    with pytest.raises(Conflict, match="already exists; name another one"):
        registry.undelete(ann, deleted[1])
    assert registry.undelete(ann, deleted[1], rid("ann/y")).rid == rid("ann/y")
    assert [one.repo.id for one in registry.deleted(ann)] == [deleted[2]]


def test_T41_a_taken_name_stays_whose_it_is(registry, ann, gone, a_repo):
    other = a_repo(ann, "ann/x")
    with pytest.raises(Conflict):
        registry.undelete(ann, gone.id)
    back = registry.undelete(ann, gone.id, rid("ann/z"))
    assert (back.id, back.rid.full) == (gone.id, "ann/z")
    assert registry.open(NOBODY, rid("ann/x"), "read").id == other.id


def test_T41_an_old_name_that_nobody_took_leads_to_the_repo_that_came_back_under_another(registry, ann, gone):
    registry.undelete(ann, gone.id, rid("z"))
    with pytest.raises(Moved) as moved:
        registry.open(NOBODY, rid("ann/x"), "read")
    assert moved.value.new == rid("ann/z")


def test_old_names_of_an_undeleted_repo_lead_to_it_again(registry, ann, a_repo):
    made = a_repo(ann, "ann/first")
    registry.move(ann, rid("ann/first"), rid("ann/second"))
    registry.delete(ann, rid("ann/second"))
    registry.undelete(ann, made.id)
    with pytest.raises(Moved) as moved:
        registry.open(NOBODY, rid("ann/first"), "read")
    assert moved.value.new == rid("ann/second")


@pytest.mark.parametrize("to", ["bob/x", "ann/..", "ann/a b"])
def test_another_name_must_be_one_in_the_same_namespace(registry, people, ann, gone, to):
    people.user("bob")
    with pytest.raises(Invalid):
        registry.undelete(ann, gone.id, names.RepoId("model", *to.split("/")))
    with pytest.raises(Invalid):
        registry.undelete(ann, gone.id, rid("ann/y", "dataset"))
    assert [one.repo.id for one in registry.deleted(ann)] == [gone.id]


# Who may


def test_only_administrators_of_the_namespace_bring_back_and_strangers_learn_nothing(registry, people, a_repo, root):
    people.org("acme", boss="admin", wim="write", cyd="contributor", rea="read")
    made = a_repo(people.actor("cyd"), "acme/x")
    registry.delete(people.actor("cyd"), rid("acme/x"))
    for name in ("wim", "cyd", "rea"):
        assert registry.deleted(people.actor(name)) == []
        with pytest.raises(Forbidden):
            registry.undelete(people.actor(name), made.id)
    for stranger in (people.user("bob"), NOBODY):
        assert registry.deleted(stranger) == []
        missing = [
            refusal(registry.undelete, stranger, made.id),
            refusal(registry.find_deleted, stranger, rid("acme/x")),
            refusal(registry.purge, stranger, made.id),
        ]
        never = [
            refusal(registry.undelete, stranger, made.id + 1),
            refusal(registry.find_deleted, stranger, rid("acme/n")),
            refusal(registry.purge, stranger, made.id + 1),
        ]
        assert [text.replace(str(made.id + 1), str(made.id)).replace("/n", "/x") for text in never] == missing
    assert [one.repo.id for one in registry.deleted(root)] == [made.id]
    assert registry.undelete(people.actor("boss"), made.id).rid == rid("acme/x")


def refusal(ask, *words):
    with pytest.raises(RepoMissing) as missing:
        ask(*words)
    return f"{missing.value.status} {missing.value.text}"


def test_T36_a_read_token_brings_nothing_back(registry, people, ann, gone):
    with pytest.raises(Forbidden, match="role 'read'"):
        registry.undelete(people.actor("ann", token_role="read"), gone.id)
    with pytest.raises(Forbidden):
        registry.purge(people.actor("ann", token_role="read"), gone.id)


def test_a_repo_that_policy_refuses_is_brought_back_by_administrators_of_the_hub_alone(registry, ann, root, gone, db):
    with db.write() as connection:
        connection.execute(update(repo).where(repo.c.id == gone.id).values(disabled=True))
    with pytest.raises(Disabled):
        registry.undelete(ann, gone.id)
    assert registry.undelete(root, gone.id).disabled


def test_a_repo_without_a_namespace_is_its_hubs(registry, ann, root, a_repo):
    made = a_repo(root, "gpt2")
    registry.delete(root, rid("gpt2"))
    assert registry.deleted(ann) == []
    with pytest.raises(RepoMissing):
        registry.undelete(ann, made.id)
    with pytest.raises(Invalid):
        registry.undelete(root, made.id, rid("ann/gpt2"))
    assert registry.undelete(root, made.id, rid("gpt3")).rid == rid("gpt3")


# Meanwhile


def test_T17_holds_of_a_deleted_repo_let_nobody_read_or_name_anything(
    registry, people, ann, root, gone, a_repo, holds, db
):
    name, mine = a_blob_name("a"), a_repo(ann, "ann/mine")
    assert not holds.has(gone.id, name)
    assert holds.sizes(gone.id, [name]) == {}
    assert holds.shown(gone.id, name) is None
    assert holds.lfs_files(gone.id) == []
    assert not holds.may_use_xorb(ann, gone, "h")
    for actor in (ann, root, NOBODY, people.user("bob")):
        assert not holds.readable(actor, name)
        assert holds.xorbs_readable(actor, ["h"]) == set()
    assert holds.hold_if_readable(ann, mine, [name]) == set()
    with pytest.raises(HeadwaterError, match="does not exist in this repo"), db.write() as connection:
        holds.commit(connection, gone.id, {name: "other.bin"})
    holds.hold(gone.id, [name])  # of an upload that outlived its repo
    holds.hold_xorbs(gone.id, ["h"])
    assert not holds.has(gone.id, name)
    assert holds.unheld_blobs(1) == []  # and yet the bytes stay


def test_likes_come_back_with_their_repo(registry, people, ann, a_repo, likes):
    made, bob = a_repo(ann, "ann/x"), people.user("bob")
    likes.like(bob, made)
    registry.delete(ann, rid("ann/x"))
    assert likes.likes_of(bob, bob.user_id) == []
    registry.undelete(ann, made.id)
    assert [one.repo.id for one in likes.likes_of(bob, bob.user_id)] == [made.id]


def test_T41_a_renamed_namespaces_deleted_repos_follow_it(registry, people, ann, gone, db):
    people.user("bob")
    before = Namespace(ann.user_id, "ann", "user", "live", "", "public")
    with db.write() as connection:
        connection.execute(update(namespace).where(namespace.c.id == ann.user_id).values(name="eve", key="eve"))
        registry.follow_namespace(connection, before, replace(before, name="eve"))
    with pytest.raises(RepoMissing):
        registry.find_deleted(ann, rid("ann/x"))
    assert registry.find_deleted(ann, rid("eve/x")).repo.id == gone.id
    assert registry.undelete(ann, gone.id).rid == rid("eve/x")
    assert registry.open(NOBODY, rid("eve/x"), "read").id == gone.id


def test_a_deleted_namespaces_deleted_repos_are_gone_for_good(registry, ann, root, gone, db, happened, tmp_path):
    before = Namespace(ann.user_id, "ann", "user", "live", "", "public")
    with db.write() as connection:
        registry.follow_namespace(connection, before, replace(before, state="dead"))
    with pytest.raises(RepoMissing):
        registry.undelete(root, gone.id)
    assert rows(db, hold) == rows(db, xorb_hold) == 0
    assert [event.repo_id for event in happened("repo.purged")] == [gone.id]
    registry.expire()
    assert list((tmp_path / "git" / "trash").iterdir()) == []


# Its time is over


def test_T30_when_its_time_is_over_nothing_of_a_repo_is_left(
    registry, people, ann, gone, likes, db, clock, happened, tmp_path
):
    bob = people.user("bob")
    with db.write() as connection:
        connection.execute(insert(like).values(user_id=bob.user_id, repo_id=gone.id, at_ms=1))
        connection.execute(insert(intent).values(repo_id=gone.id, ref="r", kind="k", data="{}", at_ms=1))
    clock.advance(WEEK_S - 1)
    assert registry.expire() == 0
    assert registry.deleted(ann) and rows(db, hold) == 1
    clock.advance(1)
    assert registry.deleted(ann) == []
    with pytest.raises(RepoMissing):
        registry.undelete(ann, gone.id)
    with pytest.raises(RepoMissing):
        registry.find_deleted(ann, rid("ann/x"))
    assert registry.expire() == 1
    assert [rows(db, table) for table in (hold, xorb_hold, like, intent)] == [0, 0, 0, 0]
    assert list((tmp_path / "git" / "trash").iterdir()) == []
    assert [(event.repo_id, event.actor_id) for event in happened("repo.purged")] == [(gone.id, None)]
    assert registry.expire() == 0


def test_many_repos_are_given_up_in_one_call(registry, ann, a_repo, clock, tmp_path):
    for number in range(25):
        a_repo(ann, f"ann/n{number}")
        registry.delete(ann, rid(f"ann/n{number}"))
    clock.advance(WEEK_S)
    assert registry.expire() == 25
    assert list((tmp_path / "git" / "trash").iterdir()) == []


def test_what_else_lies_in_the_trash_stays(registry, ann, gone, clock, tmp_path):
    for name in ("notes", "x.git", "99.git"):
        (tmp_path / "git" / "trash" / name).mkdir()
    clock.advance(WEEK_S)
    registry.expire()
    assert {one.name for one in (tmp_path / "git" / "trash").iterdir()} == {"notes", "x.git", "99.git"}


def test_purged_at_once_it_does_not_come_back(registry, ann, gone, db, happened, tmp_path):
    registry.purge(ann, gone.id)
    assert list((tmp_path / "git" / "trash").iterdir()) == []
    assert rows(db, hold) == 0
    assert [event.actor_id for event in happened("repo.purged")] == [ann.user_id]
    with pytest.raises(RepoMissing):
        registry.undelete(ann, gone.id)


def test_without_a_window_a_deleted_repo_is_gone_at_once(db, git, moves, clock, people, ann, holds, a_blob, tmp_path):
    registry = Registry(db, git, moves, clock, Settings(data=str(tmp_path), undelete_s=0))
    made = registry.create(ann, rid("ann/x"), False).repo
    holds.hold(made.id, [a_blob("a")])
    registry.delete(ann, rid("ann/x"))
    assert rows(db, hold) == 0
    assert list((tmp_path / "git" / "trash").iterdir()) == []
    assert not git.path(made.id).exists()
    assert registry.deleted(ann) == []
    with pytest.raises(RepoMissing):
        registry.undelete(ann, made.id)


def test_a_file_that_must_go_takes_the_deleted_repos_that_hold_it_with_it(
    registry, ann, gone, a_repo, a_blob, holds, db
):
    other, live = a_repo(ann, "ann/other"), a_repo(ann, "ann/live")
    holds.hold(other.id, [a_blob("b")])
    holds.hold(live.id, [a_blob_name("b")])
    registry.delete(ann, rid("ann/other"))
    assert registry.purge_holders([a_blob_name("b")]) == []  # a live repo holds it: it does not go
    assert registry.purge_holders([a_blob_name("a"), a_blob_name("b"), a_blob("c")]) == [rid("ann/x")]
    assert [one.repo.id for one in registry.deleted(ann)] == [other.id]
    assert holds.unheld_blobs(1) == [a_blob_name("a"), a_blob_name("c")]


# Crashes


def test_a_crash_between_the_directory_and_the_row_leaves_a_deleted_repo_that_comes_back(
    registry, ann, gone, git, tmp_path
):
    trashed = tmp_path / "git" / "trash" / f"{gone.id}.git"
    git.restore(gone.id, trashed)  # as `undelete` does first
    with pytest.raises(RepoMissing):
        registry.open(ann, rid("ann/x"), "read")
    assert registry.undelete(ann, gone.id).id == gone.id  # without a start between
    registry.delete(ann, rid("ann/x"))
    git.restore(gone.id, trashed)
    registry.finish()
    assert trashed.exists() and not git.path(gone.id).exists()
    assert registry.undelete(ann, gone.id).id == gone.id


def test_a_start_does_not_take_a_live_repos_directory_away(registry, ann, gone, git):
    registry.undelete(ann, gone.id)
    registry.finish()
    assert git.path(gone.id).exists()


def test_a_repo_whose_directory_is_lost_stays_deleted(registry, ann, gone, tmp_path):
    (tmp_path / "git" / "trash" / f"{gone.id}.git").rename(tmp_path / "lost")
    with pytest.raises(RepoMissing):
        registry.undelete(ann, gone.id)
    assert [one.repo.id for one in registry.deleted(ann)] == [gone.id]


def test_T01_a_move_that_a_crash_left_open_is_settled_when_the_repo_comes_back(
    db, registry, git, clock, ann, a_repo, refs, happened
):
    made = a_repo(ann, "ann/x")
    head = git.refs(made.id)["refs/heads/main"]
    with db.write() as connection:  # what is there when the process ends between the ref and the event
        values = {"repo_id": made.id, "ref": "refs/heads/dev", "new": head, "kind": "branch", "data": "{}", "at_ms": 5}
        connection.execute(insert(intent).values(values))
    git.move_ref(made.id, "refs/heads/dev", head)
    registry.delete(ann, rid("ann/x"))
    assert Moves(db, git, clock).settle_all() == 0
    assert rows(db, intent) == 1
    registry.undelete(ann, made.id)
    assert rows(db, intent) == 0
    assert [event.data["ref"] for event in happened("ref.moved")] == ["refs/heads/dev"]


def test_T01_a_move_under_which_a_command_deleted_the_repo_is_told_of_when_it_comes_back(
    registry, ann, a_repo, git, refs, happened, monkeypatch
):
    made = a_repo(ann, "ann/x")
    moving = git.move_ref

    def move(*what):
        moving(*what)
        registry.delete(ann, made.rid)
        raise RepoMissing("its folder is gone")

    monkeypatch.setattr(git, "move_ref", move)
    with pytest.raises(RepoMissing):
        refs.create_branch(ann, made, "dev")
    registry.undelete(ann, made.id)
    assert "refs/heads/dev" in git.refs(made.id)
    assert [event.data["ref"] for event in happened("ref.moved")] == ["refs/heads/dev"]


def test_a_repo_that_came_back_takes_commits_and_copies(db, git, moves, registry, ann, gone, commits, clock, refs):
    back = registry.undelete(ann, gone.id)
    refs.create_branch(ann, back, "dev")
    copy = Copies(db, git, moves, registry).duplicate(ann, back, rid("ann/copy"), False)
    assert git.refs(copy.id).keys() == {"refs/heads/main", "refs/heads/dev"}
