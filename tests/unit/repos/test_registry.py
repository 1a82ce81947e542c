"""The registry: who gets a repo, what names lead to, and what becomes of names that were given up."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
from sqlalchemy import insert, select, update

from headwater.accounts.actor import NOBODY
from headwater.accounts.actors import OPERATOR
from headwater.accounts.people import Namespace
from headwater.accounts.tables import namespace
from headwater.ground import names
from headwater.ground.db import Database
from headwater.ground.errors import (
    Conflict,
    Disabled,
    Forbidden,
    Gated,
    Invalid,
    RepoMissing,
    Unauthenticated,
    Unavailable,
)
from headwater.ground.names import RepoId, repo_id
from headwater.repos.registry import Moved
from headwater.repos.tables import hold, repo, xorb_hold
from headwater.store.tables import xorb


def rid(text: str, kind: names.RepoType = "model") -> RepoId:
    return repo_id(kind, text)


def refusal(call, *args, **more):
    with pytest.raises(Exception) as caught:
        call(*args, **more)
    error = caught.value
    return type(error), str(error), getattr(error, "status", None), getattr(error, "details", None), error.headers


# Opening


def test_a_repo_is_opened_under_its_name_in_any_case_and_answers_as_it_was_written(registry, people, a_repo):
    ann = people.user("Ann")
    made = a_repo(ann, "Ann/My-Model")
    assert registry.open(NOBODY, rid("ann/my-model"), "read") == made
    assert registry.open(NOBODY, rid("ANN/MY-MODEL"), "read").rid.full == "Ann/My-Model"


def test_types_have_names_of_their_own(registry, people, a_repo):
    ann = people.user("ann")
    model, dataset = a_repo(ann, "ann/x"), a_repo(ann, "ann/x", "dataset")
    assert registry.open(ann, rid("ann/x"), "read").id == model.id
    assert registry.open(ann, rid("ann/x", "dataset"), "read").id == dataset.id
    with pytest.raises(RepoMissing):
        registry.open(ann, rid("ann/x", "space"), "read")


@pytest.mark.parametrize("want", ["read", "write", "admin"])
def test_T33_a_private_repo_and_a_missing_one_are_refused_with_the_very_same_answer(registry, people, a_repo, want):
    ann, bob = people.user("ann"), people.user("bob")
    a_repo(ann, "ann/secret", private=True)
    for actor in (NOBODY, bob, replace(bob, token_role="read")):
        assert refusal(registry.open, actor, rid("ann/secret"), want) == refusal(
            registry.open, actor, rid("ann/nothing"), want
        )
        assert refusal(registry.open, actor, rid("ann/secret"), want)[0] is RepoMissing


def test_T33_the_old_name_of_a_private_repo_is_as_unknown_as_any(registry, people, a_repo):
    ann, bob = people.user("ann"), people.user("bob")
    a_repo(ann, "ann/secret", private=True)
    registry.move(ann, rid("ann/secret"), rid("ann/hidden"))
    assert refusal(registry.open, bob, rid("ann/secret"), "read")[0] is RepoMissing
    with pytest.raises(Moved):
        registry.open(ann, rid("ann/secret"), "read")


def test_T33_absent_and_forbidden_take_the_same_number_of_questions(registry, people, a_repo, db, monkeypatch):
    ann, bob = people.user("ann"), people.user("bob")
    a_repo(ann, "ann/secret", private=True)
    asked = []
    read = db.read

    @contextlib.contextmanager
    def counted():
        asked.append(1)
        with read() as connection:
            yield connection

    monkeypatch.setattr(db, "read", counted)
    registry.open(ann, rid("ann/secret"), "read")  # remembered, for ann
    counts = []
    for name in ("ann/secret", "ann/nothing"):
        asked.clear()
        refusal(registry.open, bob, rid(name), "read")
        counts.append(len(asked))
    assert counts == [2, 2]


def test_opening_what_is_there_asks_the_database_once(registry, people, a_repo, db, monkeypatch):
    ann = people.user("ann")
    a_repo(ann, "ann/x")
    asked = []
    read = db.read

    @contextlib.contextmanager
    def counted():
        asked.append(1)
        with read() as connection:
            yield connection

    monkeypatch.setattr(db, "read", counted)
    registry.open(ann, rid("ann/x"), "write")
    assert asked == [1]
    registry.open(ann, rid("ann/x"), "write")
    assert asked == [1]  # and not again while nobody wrote anything


def test_what_another_process_changed_is_seen_by_the_very_next_request(registry, people, a_repo, db):
    ann, bob = people.user("ann"), people.user("bob")
    a_repo(ann, "ann/x")
    assert registry.open(bob, rid("ann/x"), "read").private is False
    other = Database(db.path)
    with other.write() as connection:
        connection.execute(update(repo).values(private=True))
    with pytest.raises(RepoMissing):
        registry.open(bob, rid("ann/x"), "read")
    with other.write() as connection:
        connection.execute(update(repo).values(private=False))
    other.close()
    assert registry.open(bob, rid("ann/x"), "read").private is False


@pytest.mark.parametrize(
    ("role", "own", "wants"),
    [
        ("admin", False, {"read", "write", "admin"}),
        ("write", False, {"read", "write"}),
        ("write", True, {"read", "write", "admin"}),
        ("contributor", False, {"read"}),
        ("contributor", True, {"read", "write", "admin"}),
        ("read", False, {"read"}),
    ],
)
def test_members_of_an_organization_may_do_what_their_role_says(registry, people, a_repo, role, own, wants):
    people.org("acme", boss="admin", mia=role)
    boss, mia = people.actor("boss"), people.actor("mia")
    a_repo(mia if own else boss, "acme/x", private=True)
    allowed = set()
    for want in ("read", "write", "admin"):
        with contextlib.suppress(Forbidden):
            registry.open(mia, rid("acme/x"), want)
            allowed.add(want)
    assert allowed == wants


def test_somebody_else_sees_a_public_repo_and_is_told_which_grant_is_missing(registry, people, a_repo):
    a_repo(people.user("ann"), "ann/x")
    bob = people.user("bob")
    assert registry.open(bob, rid("ann/x"), "read").rid.full == "ann/x"
    with pytest.raises(Forbidden, match="rights to write to the model ann/x"):
        registry.open(bob, rid("ann/x"), "write")
    with pytest.raises(Forbidden, match="rights to administer"):
        registry.open(bob, rid("ann/x"), "admin")
    with pytest.raises(Unauthenticated, match="sign in"):
        registry.open(NOBODY, rid("ann/x"), "write")


def test_T36_a_read_token_of_the_owner_reads_and_does_nothing_else(registry, people, a_repo):
    ann = people.user("ann")
    a_repo(ann, "ann/x", private=True)
    token = replace(ann, token_role="read")
    assert registry.open(token, rid("ann/x"), "read").private
    with pytest.raises(Forbidden, match="only the role 'read'"):
        registry.open(token, rid("ann/x"), "write")
    with pytest.raises(Forbidden):
        registry.create(token, rid("ann/y"), False)
    with pytest.raises(Forbidden):
        registry.move(token, rid("ann/x"), rid("ann/y"))
    with pytest.raises(Forbidden):
        registry.update(token, registry.open(ann, rid("ann/x"), "read"), private=False)
    with pytest.raises(Forbidden):
        registry.delete(token, rid("ann/x"))


def test_T37_a_member_who_was_removed_is_refused_at_his_next_request_even_with_the_repo_in_hand(
    registry, people, a_repo
):
    people.org("acme", boss="admin")
    boss = people.actor("boss")
    opened = a_repo(boss, "acme/x", private=True)
    people.roles["boss"] = {}
    with pytest.raises(RepoMissing):
        registry.open(people.actor("boss"), rid("acme/x"), "read")
    with pytest.raises(Forbidden):
        registry.update(people.actor("boss"), opened, private=False)


def test_a_disabled_repo_is_refused_to_all_but_the_hubs_administrators(registry, people, a_repo, db):
    ann = people.user("ann")
    made = a_repo(ann, "ann/x")
    with db.write() as connection:
        connection.execute(update(repo).where(repo.c.id == made.id).values(disabled=True))
    with pytest.raises(Disabled):
        registry.open(ann, rid("ann/x"), "read")
    assert registry.open(OPERATOR, rid("ann/x"), "admin").disabled


def test_a_gated_repos_files_are_for_those_who_belong_to_it(registry, people, a_repo):
    people.org("acme", boss="admin", reader="read")
    gated = a_repo(people.actor("boss"), "acme/x", gated="manual")
    for actor in (people.actor("boss"), people.actor("reader"), OPERATOR):
        registry.admit_content(actor, gated)
    for actor in (NOBODY, people.user("bob")):
        assert registry.open(actor, rid("acme/x"), "read").gated == "manual"
        with pytest.raises(Gated):
            registry.admit_content(actor, gated)


def test_a_repo_is_found_by_its_number_until_it_is_deleted(registry, people, a_repo):
    ann = people.user("ann")
    made = a_repo(ann, "ann/x")
    assert registry.by_id(made.id) == made
    registry.delete(ann, rid("ann/x"))
    with pytest.raises(RepoMissing):
        registry.by_id(made.id)


# Making


def files_of(git, made):
    head = git.commit(made.id, git.refs(made.id)["refs/heads/main"])
    return {
        name.decode(): git.blob(made.id, oid.hex()).decode() for name, (_, oid) in git.tree(made.id, head.tree).items()
    }


def test_a_new_repo_has_its_first_commit_and_one_event(registry, people, git, happened, clock):
    ann = people.user("ann")
    created = registry.create(ann, rid("ann/x"), None)
    assert list(git.refs(created.repo.id).items()) == [("refs/heads/main", created.commit)]
    commit = git.commit(created.repo.id, created.commit)
    assert (commit.author_name, commit.text, commit.parents) == ("ann", "initial commit\n", ())
    files = files_of(git, created.repo)
    assert list(files) == [".gitattributes"]
    attributes = files[".gitattributes"].splitlines()
    endings = ("safetensors", "bin", "pkl", "arrow", "parquet")
    assert {f"*.{ending} filter=lfs diff=lfs merge=lfs -text" for ending in endings} <= set(attributes)
    assert not any("mp4" in line for line in attributes)
    assert created.repo.private is False
    assert created.repo.creator_id == ann.user_id
    assert created.repo.created_ms == clock.now_ms()
    (event,) = happened("repo.created")
    assert (event.repo_id, event.actor_id) == (created.repo.id, ann.user_id)
    assert event.data == {"type": "model", "name": "ann/x", "private": False, "commit": created.commit}


def test_a_dataset_keeps_media_out_of_git_and_a_static_space_has_a_page(registry, people, git):
    ann = people.user("ann")
    dataset = registry.create(ann, rid("ann/d", "dataset"), None).repo
    assert "*.mp4 filter=lfs" in files_of(git, dataset)[".gitattributes"]
    static = registry.create(ann, rid("ann/s", "space"), None, "static").repo
    assert list(files_of(git, static)) == [".gitattributes", "README.md", "index.html", "style.css"]
    assert files_of(git, static)["README.md"].startswith('---\ntitle: "s"\nsdk: static\n')
    docker = registry.create(ann, rid("ann/t", "space"), None, "docker").repo
    assert list(files_of(git, docker)) == [".gitattributes"]
    assert docker.sdk == "docker"


@pytest.mark.parametrize(("kind", "sdk"), [("space", None), ("space", "cobol"), ("model", "static")])
def test_an_sdk_is_a_spaces_and_one_that_exists(registry, people, kind, sdk):
    with pytest.raises(Invalid, match="sdk"):
        registry.create(people.user("ann"), rid("ann/x", kind), None, sdk)


@pytest.mark.parametrize(("default", "private"), [("public", False), ("private", True)])
def test_an_organizations_default_visibility_holds_for_repos_whose_creator_did_not_say(
    registry, people, default, private
):
    people.org("acme", default_visibility=default, boss="admin")
    boss = people.actor("boss")
    assert registry.create(boss, rid("acme/x"), None).repo.private is private
    assert registry.create(boss, rid("acme/y"), not private).repo.private is not private


@pytest.mark.parametrize("name", ["resolve", "CON", "tree", "settings"])
def test_T42_reserved_words_name_no_repo(registry, people, name):
    with pytest.raises(Invalid, match="reserved"):
        registry.create(people.user("ann"), RepoId("model", "ann", name), None)


def test_T42_a_look_alike_in_the_same_namespace_is_warned_of(registry, people):
    ann = people.user("ann")
    assert registry.create(ann, rid("ann/My-Model"), None).warnings == ()
    assert registry.create(ann, rid("ann/my.-_model"), None).warnings == (
        "ann/my.-_model looks like My-Model, which exists already",
    )
    assert registry.create(ann, rid("ann/my-model", "dataset"), None).warnings == ()
    assert registry.create(people.user("bob"), rid("bob/my-model"), None).warnings == ()


def test_T42_the_same_name_in_another_case_is_the_same_name(registry, people, a_repo):
    ann = people.user("ann")
    a_repo(ann, "ann/Tiny")
    with pytest.raises(Conflict, match="You already created this model repo") as caught:
        registry.create(ann, rid("ANN/tINY"), None)
    assert caught.value.details["url"] == "https://hub.test/ann/Tiny"


def test_what_is_refused_leaves_no_folder_and_no_event(registry, people, a_repo, tmp_path, happened):
    ann = people.user("ann")
    a_repo(ann, "ann/x")
    for actor, text in ((ann, "ann/x"), (people.user("bob"), "ann/y"), (ann, "nowhere/x"), (ann, "bare")):
        with pytest.raises((Conflict, Forbidden)):
            registry.create(actor, rid(text), None)
    with pytest.raises(Unauthenticated):
        registry.create(NOBODY, rid("ann/y"), None)
    assert len(list((tmp_path / "git").rglob("*.git"))) == 1
    assert len(happened("repo.created")) == 1


def test_a_name_without_a_namespace_is_given_by_the_hubs_administrators_only(registry, people):
    ann = people.user("ann")
    with pytest.raises(Forbidden, match="without a namespace"):
        registry.create(ann, rid("gpt2"), None)
    created = registry.create(OPERATOR, rid("GPT2"), None)
    assert registry.open(ann, rid("gpt2"), "read") == created.repo
    assert created.repo.creator_id is None
    with pytest.raises(Conflict, match="a user or an organization"):
        registry.create(OPERATOR, rid("Ann"), None)


def test_a_creation_that_fails_half_way_leaves_no_name_and_no_event(registry, people, git, monkeypatch, happened):
    ann = people.user("ann")

    def full(*_args):
        raise Unavailable("The disk is full", status=507)

    with monkeypatch.context() as patched:
        patched.setattr(git, "create", full)
        with pytest.raises(Unavailable):
            registry.create(ann, rid("ann/x"), None)
    with pytest.raises(RepoMissing):
        registry.open(ann, rid("ann/x"), "read")
    assert happened("repo.created") == []
    assert files_of(git, registry.create(ann, rid("ann/x"), None).repo)


def test_a_git_folder_left_by_a_transaction_that_never_happened_gives_way(registry, people, git, a_repo):
    ann = people.user("ann")
    made = a_repo(ann, "ann/x")
    stray = git.create(made.id + 1, {names.FilePath("left"): b"by a crash"}, "ann", 0, "stray")
    second = a_repo(ann, "ann/y")
    assert git.refs(second.id)["refs/heads/main"] != stray
    assert list(files_of(git, second)) == [".gitattributes"]


# Moving


def test_a_moved_repos_old_names_lead_to_where_it_is_now(registry, people, a_repo, happened):
    people.org("acme", ann="admin")
    ann = people.actor("ann")
    made = a_repo(ann, "ann/one")
    registry.move(ann, rid("ann/one"), rid("ann/two"))
    moved = registry.move(ann, rid("ann/two"), rid("acme/Three"))
    assert (moved.id, moved.rid.full, moved.namespace_id) == (made.id, "acme/Three", people.orgs["acme"])
    for old in ("ann/one", "Ann/ONE", "ann/two"):
        with pytest.raises(Moved) as caught:
            registry.open(NOBODY, rid(old), "read")
        assert caught.value.new == rid("acme/Three")
        assert caught.value.status == 307
    assert [(e.data["old"], e.data["new"]) for e in happened("repo.moved")] == [
        ("ann/one", "ann/two"),
        ("ann/two", "acme/Three"),
    ]


def test_a_repo_moves_back_and_only_its_case_changes(registry, people, a_repo):
    ann = people.user("ann")
    a_repo(ann, "ann/one")
    registry.move(ann, rid("ann/one"), rid("ann/two"))
    registry.move(ann, rid("ann/two"), rid("ann/one"))
    assert registry.open(NOBODY, rid("ann/one"), "read").rid.full == "ann/one"
    registry.move(ann, rid("ann/one"), rid("ann/ONE"))
    assert registry.open(NOBODY, rid("ann/one"), "read").rid.full == "ann/ONE"
    with pytest.raises(Moved):
        registry.open(NOBODY, rid("ann/two"), "read")


def test_a_move_is_refused_without_both_rights_or_onto_a_name_that_is_taken(registry, people, a_repo, happened):
    people.org("acme", boss="admin", mia="write")
    boss, mia, ann = people.actor("boss"), people.actor("mia"), people.user("ann")
    a_repo(boss, "acme/x")
    a_repo(ann, "ann/x")
    with pytest.raises(Forbidden, match="administer"):
        registry.move(mia, rid("acme/x"), rid("acme/y"))
    with pytest.raises(Forbidden, match="under the namespace"):
        registry.move(ann, rid("ann/x"), rid("acme/z"))
    a_repo(ann, "ann/y")
    with pytest.raises(Conflict, match="A model repository called ann/y already exists"):
        registry.move(ann, rid("ann/x"), rid("ann/Y"))
    with pytest.raises(Invalid, match="type"):
        registry.move(ann, rid("ann/x"), rid("ann/x", "dataset"))
    with pytest.raises(RepoMissing):
        registry.move(ann, rid("ann/nothing"), rid("ann/z"))
    assert happened("repo.moved") == []


def test_T41_a_name_that_was_moved_away_or_deleted_is_used_again_by_its_namespaces_administrators_only(
    registry, people, a_repo
):
    people.org("acme", boss="admin", mia="write")
    boss, mia = people.actor("boss"), people.actor("mia")
    a_repo(boss, "acme/moved")
    a_repo(boss, "acme/deleted")
    registry.move(boss, rid("acme/moved"), rid("acme/elsewhere"))
    registry.delete(boss, rid("acme/deleted"))
    for name in ("acme/moved", "acme/deleted"):
        with pytest.raises(Conflict, match="moved or deleted"):
            registry.create(mia, rid(name), None)
    a_repo(mia, "acme/mine")
    with pytest.raises(Conflict, match="moved or deleted"):
        registry.move(mia, rid("acme/mine"), rid("acme/moved"))
    again = a_repo(boss, "acme/moved")
    assert registry.open(NOBODY, rid("acme/moved"), "read") == again
    a_repo(boss, "acme/deleted")
    registry.move(boss, rid("acme/deleted"), rid("acme/third"))
    with pytest.raises(Moved):
        registry.open(NOBODY, rid("acme/deleted"), "read")


def renamed(db, registry, user_id, old, new):
    """As accounts renames: the row keeps its number, and the repos follow in the same transaction."""
    before, after = (Namespace(user_id, name, "user", "live", "", "public") for name in (old, new))
    with db.write() as connection:
        connection.execute(update(namespace).where(namespace.c.id == user_id).values(name=new, key=names.key(new)))
        registry.follow_namespace(connection, before, after)


def test_T41_a_renamed_namespaces_repos_follow_it_and_the_old_names_lead_to_them(
    registry, people, a_repo, db, happened
):
    ann = people.user("ann")
    first, second = a_repo(ann, "ann/x"), a_repo(ann, "ann/y", "dataset", private=True)
    other = a_repo(people.user("annette"), "annette/x")
    renamed(db, registry, ann.user_id, "ann", "Eve")
    assert registry.by_id(first.id).rid.full == "Eve/x"
    assert registry.open(ann, rid("eve/y", "dataset"), "read").id == second.id
    assert registry.open(NOBODY, rid("annette/x"), "read") == other
    with pytest.raises(Moved) as caught:
        registry.open(NOBODY, rid("ann/x"), "read")
    assert caught.value.new == rid("Eve/x")
    assert refusal(registry.open, NOBODY, rid("ann/y", "dataset"), "read")[0] is RepoMissing
    for anyone in (ann, people.user("bob"), OPERATOR):
        with pytest.raises(Forbidden, match="namespace"):
            registry.create(anyone, rid("ann/x"), None)
    assert len(happened("repo.moved")) == 2


def test_T41_a_namespace_renamed_there_and_back_finds_its_repos_under_their_own_names(registry, people, a_repo, db):
    ann = people.user("ann")
    made = a_repo(ann, "ann/x")
    renamed(db, registry, ann.user_id, "ann", "eve")
    renamed(db, registry, ann.user_id, "eve", "ann")
    assert registry.open(NOBODY, rid("ann/x"), "read").id == made.id
    with pytest.raises(Moved):
        registry.open(NOBODY, rid("eve/x"), "read")
    renamed(db, registry, ann.user_id, "ann", "ANN")
    assert registry.open(NOBODY, rid("ann/x"), "read").rid.full == "ANN/x"


def test_a_namespace_with_repos_is_not_deleted(registry, people, a_repo, db):
    ann = people.user("ann")
    a_repo(ann, "ann/x")
    live = Namespace(ann.user_id, "ann", "user", "live", "", "public")
    with pytest.raises(Conflict, match="still has repos"), db.write() as connection:
        registry.follow_namespace(connection, live, replace(live, state="dead"))
    registry.delete(ann, rid("ann/x"))
    with db.write() as connection:
        registry.follow_namespace(connection, live, replace(live, state="dead"))


# Settings


def test_settings_change_with_one_event_that_says_what_changed(registry, people, a_repo, happened):
    ann = people.user("ann")
    made = a_repo(ann, "ann/x")
    assert registry.update(ann, made, private=True).private
    assert registry.update(ann, made, gated="auto").gated == "auto"
    assert registry.update(ann, made, private=True, gated="auto") == registry.open(ann, rid("ann/x"), "read")
    assert registry.update(ann, made, gated=None).gated is None
    assert [event.data for event in happened("repo.changed")] == [
        {"private": True},
        {"gated": "auto"},
        {"gated": None},
    ]
    with pytest.raises(Invalid, match="gated"):
        registry.update(ann, made, gated="wide-open")


def test_settings_of_a_deleted_repo_do_not_change(registry, people, a_repo):
    ann = people.user("ann")
    made = a_repo(ann, "ann/x")
    registry.delete(ann, rid("ann/x"))
    with pytest.raises(RepoMissing):
        registry.update(ann, made, private=True)


# Deleting


def test_a_deleted_repo_is_gone_its_folder_is_in_the_trash_and_its_holds_keep_its_bytes(
    registry, people, a_repo, a_blob, holds, git, db, tmp_path, happened
):
    ann = people.user("ann")
    made = a_repo(ann, "ann/x")
    holds.hold(made.id, [a_blob("a")])
    with db.write() as connection:
        connection.execute(insert(xorb).values(hash="h", raw_bytes=1, hashes=b"", lengths=b"", offered_ms=0))
    holds.hold_xorbs(made.id, ["h"])
    registry.delete(ann, rid("ANN/x"))
    assert refusal(registry.open, ann, rid("ann/x"), "read") == refusal(registry.open, ann, rid("ann/n"), "read")
    assert not git.path(made.id).exists()
    assert (tmp_path / "git" / "trash" / f"{made.id}.git" / "refs/heads/main").exists()
    with db.read() as connection:
        assert len(connection.execute(select(hold)).all()) == len(connection.execute(select(xorb_hold)).all()) == 1
    (event,) = happened("repo.deleted")
    assert event.data == {"type": "model", "name": "ann/x"}
    with pytest.raises(RepoMissing):
        registry.delete(ann, rid("ann/x"))


def test_old_names_of_a_deleted_repo_lead_nowhere(registry, people, a_repo):
    ann = people.user("ann")
    a_repo(ann, "ann/x")
    registry.move(ann, rid("ann/x"), rid("ann/y"))
    registry.delete(ann, rid("ann/y"))
    for name in ("ann/x", "ann/y"):
        with pytest.raises(RepoMissing):
            registry.open(ann, rid(name), "read")


def test_only_who_administers_a_repo_deletes_it(registry, people, a_repo):
    people.org("acme", boss="admin", mia="write")
    a_repo(people.actor("boss"), "acme/x")
    for actor in (people.actor("mia"), people.user("bob")):
        with pytest.raises(Forbidden):
            registry.delete(actor, rid("acme/x"))
    with pytest.raises(Unauthenticated):
        registry.delete(NOBODY, rid("acme/x"))


def test_a_crash_between_the_mark_and_the_trash_is_made_good_at_the_next_start(registry, people, a_repo, git, tmp_path):
    ann = people.user("ann")
    made, kept = a_repo(ann, "ann/x"), a_repo(ann, "ann/y")
    registry.delete(ann, rid("ann/x"))
    trashed = tmp_path / "git" / "trash" / f"{made.id}.git"
    trashed.rename(git.path(made.id))  # as if it had not got there
    registry.finish()
    registry.finish()
    assert trashed.exists()
    assert not git.path(made.id).exists()
    assert git.path(kept.id).exists()


def test_T35_an_actor_of_another_organization_reaches_nothing_by_number_of_namespace(registry, people, a_repo):
    people.org("acme", boss="admin")
    people.org("other", spy="admin")
    a_repo(people.actor("boss"), "acme/x", private=True)
    for want in ("read", "write", "admin"):
        with pytest.raises(RepoMissing):
            registry.open(people.actor("spy"), rid("acme/x"), want)
