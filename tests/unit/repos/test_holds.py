"""Holds: whoever merely names bytes gets nothing; whoever has them keeps them; what nobody needs can be found."""

from __future__ import annotations

import pytest
from sqlalchemy import delete, insert, update
from sqlalchemy.exc import IntegrityError

from headwater.accounts.actor import NOBODY
from headwater.accounts.actors import OPERATOR
from headwater.ground.errors import Invalid
from headwater.ground.names import Sha256, repo_id
from headwater.repos.holds import NAMED_MAX, LfsFile
from headwater.repos.tables import repo
from headwater.store.tables import blob, blob_xorb, xorb


def committed(db, holds, to, *names):
    holds.hold(to.id, names)
    with db.write() as connection:
        holds.commit(connection, to.id, dict.fromkeys(names, "weights.bin"))


@pytest.fixture
def a_xorb(db):
    def make(name, offered_ms=0, builds=None):
        with db.write() as connection:
            connection.execute(
                insert(xorb).values(hash=name, raw_bytes=1, hashes=b"", lengths=b"", offered_ms=offered_ms)
            )
            if builds:
                connection.execute(insert(blob_xorb).values(sha256=builds, xorb=name))
        return name

    return make


def test_a_repo_holds_what_was_uploaded_to_it_and_nothing_else(people, a_repo, a_blob, holds):
    mine = a_repo(people.user("ann"), "ann/x")
    other = a_repo(people.user("ann"), "ann/y")
    a, b = a_blob("a", size=7), a_blob("b")
    holds.hold(mine.id, [a])
    assert holds.has(mine.id, a)
    assert not holds.has(mine.id, b)
    assert not holds.has(other.id, a)
    assert holds.sizes(mine.id, [a, b, Sha256("f" * 64)]) == {a: 7}


def test_bytes_that_are_not_stored_cannot_be_held(people, a_repo, a_blob, holds):
    mine = a_repo(people.user("ann"), "ann/x")
    a = a_blob("a")
    with pytest.raises(Invalid, match="f" * 64) as caught:
        holds.hold(mine.id, [a, Sha256("f" * 64)])
    assert caught.value.status == 422
    assert not holds.has(mine.id, a)


def test_a_deleted_repo_takes_no_more_holds(people, a_repo, a_blob, holds, registry):
    ann = people.user("ann")
    mine = a_repo(ann, "ann/x")
    registry.delete(ann, repo_id("model", "ann/x"))
    holds.hold(mine.id, [a_blob("a")])
    assert not holds.has(mine.id, Sha256("a" * 64))


def test_T16_committing_what_the_repo_does_not_hold_is_refused_with_every_oid(people, a_repo, a_blob, holds, db):
    mine, theirs = a_repo(people.user("ann"), "ann/x"), a_repo(people.user("bob"), "bob/x")
    a, b = a_blob("a"), a_blob("b")
    holds.hold(mine.id, [a])
    committed(db, holds, theirs, b)
    never = Sha256("f" * 64)
    with pytest.raises(Invalid) as caught, db.write() as connection:
        holds.commit(connection, mine.id, {a: "1", b: "2", never: "3"})
    assert caught.value.status == 422
    assert caught.value.details["missing"] == [b, never]
    assert b in caught.value.text
    assert holds.lfs_files(mine.id) == []  # not even the one that was there


def test_the_list_of_missing_objects_is_bounded(people, a_repo, holds, db):
    mine = a_repo(people.user("ann"), "ann/x")
    with pytest.raises(Invalid, match="and 5 more") as caught, db.write() as connection:
        holds.commit(connection, mine.id, {Sha256(f"{i:064x}"): "p" for i in range(NAMED_MAX + 5)})
    assert len(caught.value.details["missing"]) == NAMED_MAX


def test_T17_naming_a_sha256_gives_nobody_the_bytes_of_a_private_repo(people, a_repo, a_blob, holds, db):
    secret, mine = a_repo(people.user("ann"), "ann/x", private=True), a_repo(people.user("bob"), "bob/x")
    a, never = a_blob("a"), Sha256("f" * 64)
    committed(db, holds, secret, a)
    bob = people.user("bob")
    for name in (a, never):  # the answers are the same
        assert not holds.readable(bob, name)
        assert not holds.readable(NOBODY, name)
        assert holds.hold_if_readable(bob, mine, [name]) == set()
        assert not holds.has(mine.id, name)
    assert holds.readable(people.user("ann"), a)
    assert holds.readable(OPERATOR, a)


def test_T17_a_pending_hold_is_for_who_sent_it_and_for_the_repos_writers(people, a_repo, a_blob, holds, db):
    mine, ann, bob = a_repo(people.user("ann"), "ann/x"), people.user("ann"), people.user("bob")
    a, b, c = a_blob("a", size=1), a_blob("b", size=2), a_blob("c", size=3)
    holds.hold(mine.id, [a], ann.user_id)
    holds.hold(mine.id, [b], bob.user_id)
    committed(db, holds, mine, c)
    assert holds.nameable(ann, mine, [a, b, c]) == {a: 1, b: 2, c: 3}
    assert holds.nameable(bob, mine, [a, b, c]) == {b: 2, c: 3}
    assert holds.nameable(people.user("eve"), mine, [a, b, c]) == {c: 3}
    assert holds.nameable(NOBODY, mine, [a, b, c]) == {c: 3}
    assert holds.hold_if_readable(bob, mine, [a, b, c]) == {b, c}
    holds.hold(mine.id, [a], bob.user_id)  # he has it as well
    assert holds.nameable(bob, mine, [a]) == holds.nameable(ann, mine, [a]) == {a: 1}


def test_what_one_reads_anyway_need_not_be_sent_again(people, a_repo, a_blob, holds, db):
    public, mine = a_repo(people.user("ann"), "ann/x"), a_repo(people.user("bob"), "bob/x")
    a, b = a_blob("a", size=3), a_blob("b")
    committed(db, holds, public, a)
    assert holds.readable(NOBODY, a)
    assert holds.hold_if_readable(people.user("bob"), mine, [a, b]) == {a}
    assert holds.sizes(mine.id, [a, b]) == {a: 3}
    assert holds.hold_if_readable(people.user("bob"), mine, [a, b]) == {a}


def test_T17_an_upload_that_no_commit_has_named_is_readable_by_nobody(people, a_repo, a_blob, holds):
    public = a_repo(people.user("ann"), "ann/x")
    a = a_blob("a")
    holds.hold(public.id, [a])
    assert not holds.readable(NOBODY, a)
    assert not holds.readable(people.user("ann"), a)


def test_T17_a_gated_or_disabled_repos_bytes_are_not_readable_through_their_names(people, a_repo, a_blob, holds, db):
    gated = a_repo(people.user("ann"), "ann/x", gated="manual")
    disabled = a_repo(people.user("ann"), "ann/y")
    a, b = a_blob("a"), a_blob("b")
    committed(db, holds, gated, a)
    committed(db, holds, disabled, b)
    with db.write() as connection:
        connection.execute(update(repo).where(repo.c.id == disabled.id).values(disabled=True))
    bob, ann = people.user("bob"), people.user("ann")
    assert [holds.readable(actor, a) for actor in (NOBODY, bob, ann)] == [False, False, True]
    assert [holds.readable(actor, b) for actor in (NOBODY, bob, ann)] == [False, False, False]


def test_T37_a_member_who_left_reads_the_bytes_no_longer(people, a_repo, a_blob, holds, db):
    people.org("acme", boss="admin", mia="read")
    committed(db, holds, a_repo(people.actor("boss"), "acme/x", private=True), a_blob("a"))
    assert holds.readable(people.actor("mia"), Sha256("a" * 64))
    people.roles["mia"] = {}
    assert not holds.readable(people.actor("mia"), Sha256("a" * 64))


def test_committed_files_are_listed_in_pages_under_their_last_path(people, a_repo, a_blob, holds, db, clock):
    mine = a_repo(people.user("ann"), "ann/x")
    shas = [a_blob(digit, size=int(digit)) for digit in "123"]
    committed(db, holds, mine, *shas)
    with db.write() as connection:
        holds.commit(connection, mine.id, {shas[1]: "moved.bin"})
    first = holds.lfs_files(mine.id, limit=2)
    assert first[1] == LfsFile(shas[1], "moved.bin", 2, clock.now_ms())
    assert [f.sha256 for f in first + holds.lfs_files(mine.id, after=first[-1].sha256)] == shas


def test_T23_pending_holds_expire_unless_a_commit_or_a_second_upload_comes_first(
    people, a_repo, a_blob, holds, db, clock
):
    mine = a_repo(people.user("ann"), "ann/x")
    old, again, used = a_blob("a"), a_blob("b"), a_blob("c")
    holds.hold(mine.id, [old, again, used])
    clock.advance(100)
    cut = clock.now_ms()
    found = holds.pending(cut)
    assert {p.sha256 for p in found} == {old, again, used}
    holds.hold(mine.id, [again])
    with db.write() as connection:
        holds.commit(connection, mine.id, {used: "p"})
    assert holds.release(found) == 1
    assert set(holds.sizes(mine.id, [old, again, used])) == {again, used}
    assert holds.pending(cut) == []


def test_a_second_upload_leaves_a_committed_hold_as_it_was(people, a_repo, a_blob, holds, db, clock):
    mine = a_repo(people.user("ann"), "ann/x")
    a = a_blob("a")
    committed(db, holds, mine, a)
    clock.advance(5)
    holds.hold(mine.id, [a])
    (file,) = holds.lfs_files(mine.id)
    assert file.held_ms == clock.now_ms() - 5000


def test_blobs_that_no_repo_holds_are_found_and_held_ones_cannot_be_deleted(people, a_repo, a_blob, holds, db):
    mine = a_repo(people.user("ann"), "ann/x")
    held, loose, young = a_blob("1", created_ms=5), a_blob("2", created_ms=5), a_blob("3", created_ms=50)
    holds.hold(mine.id, [held])
    assert holds.unheld_blobs(10) == [loose]
    assert holds.unheld_blobs(100) == [loose, young]
    assert holds.unheld_blobs(100, after=loose) == [young]
    with pytest.raises(IntegrityError), db.write() as connection:
        connection.execute(delete(blob).where(blob.c.sha256 == held))


def test_xorbs_belong_to_the_repos_they_were_sent_to(people, a_repo, a_xorb, holds):
    mine, secret = a_repo(people.user("ann"), "ann/x"), a_repo(people.user("ann"), "ann/y", private=True)
    holds.hold_xorbs(mine.id, [a_xorb("open")])
    holds.hold_xorbs(secret.id, [a_xorb("shut")])
    ann, bob = people.user("ann"), people.user("bob")
    for actor in (NOBODY, ann, bob):
        assert holds.xorbs_readable(actor, ["open", "shut", "none"]) == set()  # of no file yet
    assert holds.may_use_xorb(ann, mine, "open")
    assert not holds.may_use_xorb(ann, mine, "shut")
    assert not holds.may_use_xorb(bob, mine, "open")
    assert not holds.may_use_xorb(NOBODY, mine, "open")
    holds.hold_xorbs(mine.id, ["open"], bob.user_id)  # twice is once, and he has shown that he has it
    assert holds.may_use_xorb(bob, mine, "open")
    assert holds.may_use_xorb(ann, mine, "open")


def test_xorbs_of_a_held_blob_are_readable_with_it(people, a_repo, a_blob, a_xorb, holds, db):
    mine = a_repo(people.user("ann"), "ann/x")
    a = a_blob("a")
    a_xorb("part", builds=a)
    holds.hold(mine.id, [a])
    assert holds.may_use_xorb(people.user("ann"), mine, "part")
    assert not holds.may_use_xorb(people.user("bob"), mine, "part")
    assert not holds.xorb_readable(NOBODY, "part")
    committed(db, holds, mine, a)
    assert holds.xorb_readable(NOBODY, "part")


def test_xorbs_that_build_nothing_are_found_when_they_are_old(people, a_repo, a_blob, a_xorb, holds):
    a_xorb("used", builds=a_blob("a"))
    a_xorb("idle", offered_ms=5)
    a_xorb("new", offered_ms=50)
    holds.hold_xorbs(a_repo(people.user("ann"), "ann/x").id, ["idle"])
    assert holds.unheld_xorbs(10) == ["idle"]


def test_more_names_than_one_statement_takes_are_asked_in_batches(people, a_repo, holds, db):
    mine = a_repo(people.user("ann"), "ann/x")
    shas = [Sha256(f"{i:064x}") for i in range(1201)]
    with db.write() as connection:
        connection.execute(insert(blob), [{"sha256": sha, "size": i, "created_ms": 0} for i, sha in enumerate(shas)])
    holds.hold(mine.id, iter(shas))
    assert holds.sizes(mine.id, iter(shas)) == {sha: i for i, sha in enumerate(shas)}
    assert holds.hold_if_readable(people.user("ann"), mine, iter(shas)) == set(shas)
