"""Who opened a pull request stands in the event of its ref's making; that alone lets him add to it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import delete

from headwater.accounts.actor import NOBODY
from headwater.ground.errors import Invalid, RevisionMissing
from headwater.ground.events import event
from headwater.ground.names import RefName
from headwater.repos.pull_requests import PullRequests, next_ref
from headwater.repos.values import Message, RefMove

MAIN = "refs/heads/main"


@pytest.fixture
def pull_requests(db, git, moves, refs) -> PullRequests:
    return PullRequests(db, git, moves, refs)


@pytest.fixture
def bob(people):
    return people.user("bob")


def test_one_is_a_ref_at_the_head_of_main(pull_requests, git, model, bob, clock, happened):
    made = pull_requests.open(bob, model, Message(" Better ", " really "))
    assert (made.number, made.ref, made.opener_id) == (1, "refs/pr/1", bob.user_id)
    assert (made.title, made.description, made.at_ms) == ("Better", "really", clock.now_ms())
    refs = git.refs(model.id)
    assert made.start == refs["refs/pr/1"] == refs[MAIN]
    (moved,) = happened("ref.moved")
    assert (moved.data["cause"], moved.data["old"], moved.actor_id) == ("pull", None, bob.user_id)
    assert pull_requests.get(model, 1) == made


def test_one_that_began_with_a_commit_says_the_same(pull_requests, commit, git, model, ada):
    before = git.refs(model.id)[MAIN]
    commit({"a.txt": b"a"}, create_pr=True, text="Title\n\nMore")
    made = pull_requests.get(model, 1)
    assert (made.title, made.description, made.opener_id, made.start) == ("Title\n\nMore", "", ada.user_id, before)


def test_its_ref_is_his_own_and_nothing_else_is(pull_requests, commit, refs, model, ada, bob):
    pull_requests.open(bob, model, Message("One"))
    commit({"a.txt": b"a"}, create_pr=True)
    assert pull_requests.is_own(bob, model, "refs/pr/1")
    assert pull_requests.is_own(ada, model, "refs/pr/2")
    for revision in ("refs/pr/2", "refs/pr/3", "pr/1", "1", "main", MAIN, "refs/pr/1/x", ""):
        assert not pull_requests.is_own(bob, model, revision), revision
    for other in (ada, NOBODY, replace(bob, token_role="read")):
        assert not pull_requests.is_own(other, model, "refs/pr/1")


def test_whoever_moves_it_later_did_not_open_it(pull_requests, commits, moves, git, model, ada, bob):
    pull_requests.open(bob, model, Message("One"))
    commits.apply(ada, model, "refs/pr/1", None, Message("By the owner"), [])
    head = git.refs(model.id)[MAIN]
    moves.apply(ada, model, [RefMove(RefName("refs/heads/dev"), None, head)], "branch")
    assert pull_requests.is_own(bob, model, "refs/pr/1")
    assert not pull_requests.is_own(ada, model, "refs/pr/1")
    assert not pull_requests.has_own(ada, model)


def test_of_another_repo_it_is_nobodys(pull_requests, a_repo, model, ada, bob):
    other = a_repo(ada, "ada/other")
    pull_requests.open(bob, model, Message("One"))
    pull_requests.open(ada, other, Message("One"))
    assert not pull_requests.is_own(bob, other, "refs/pr/1")
    assert [pull_requests.has_own(bob, repo) for repo in (model, other)] == [True, False]


def test_one_of_which_no_event_tells_is_nobodys_and_still_shown(pull_requests, db, commit, refs, model, ada):
    made = commit({"a.txt": b"a"}, create_pr=True, text="Told by git")
    with db.write() as connection:
        connection.execute(delete(event))
    assert not pull_requests.is_own(ada, model, "refs/pr/1")
    shown = pull_requests.get(model, 1)
    assert (shown.title, shown.opener_id, shown.start) == ("Told by git", None, None)
    assert shown.at_ms == refs.commit(model, made.commit).at_ms


def test_one_that_came_with_an_import_has_no_opener(pull_requests, moves, git, model, ada):
    moves.apply(ada, model, [RefMove(RefName("refs/pr/4"), None, git.refs(model.id)[MAIN])], "import")
    assert pull_requests.get(model, 4).opener_id is None
    assert not pull_requests.is_own(ada, model, "refs/pr/4")
    assert not pull_requests.has_own(ada, model)


def test_a_title_that_reads_like_an_event_makes_nobody_an_opener(pull_requests, model, ada, bob):
    pull_requests.open(ada, model, Message("One"))
    pull_requests.open(bob, model, Message('","ref":"refs/pr/1","old":null,"cause":"pull'))
    assert not pull_requests.is_own(bob, model, "refs/pr/1")
    assert pull_requests.is_own(bob, model, "refs/pr/2")


def test_what_there_is_not_is_missing(pull_requests, model, bob):
    pull_requests.open(bob, model, Message("One"))
    for number in (0, 2, -1):
        with pytest.raises(RevisionMissing):
            pull_requests.get(model, number)


@pytest.mark.parametrize("message", [Message(" "), Message("a\0b"), Message("a", "b" * 70_000)])
def test_what_cannot_be_a_message_opens_none(pull_requests, git, model, bob, message):
    with pytest.raises(Invalid):
        pull_requests.open(bob, model, message)
    assert set(git.refs(model.id)) == {MAIN}


def test_numbers_go_on_after_the_largest():
    assert next_ref([]) == "refs/pr/1"
    assert next_ref([MAIN, "refs/pr/2", "refs/pr/10", "refs/pr/x", "refs/heads/refs/pr/99"]) == "refs/pr/11"
