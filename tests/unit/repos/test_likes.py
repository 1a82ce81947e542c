"""Likes: everybody counts once, and nobody learns of a private repo by what somebody likes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from headwater.accounts.actor import NOBODY
from headwater.accounts.actors import OPERATOR
from headwater.ground.errors import Forbidden, Unauthenticated
from headwater.ground.names import repo_id


def test_liking_twice_is_liking_once_and_one_event(people, a_repo, likes, happened):
    ann, bob = people.user("ann"), people.user("bob")
    made = a_repo(ann, "ann/x")
    for actor in (ann, bob, bob):
        likes.like(actor, made)
    assert likes.count(made.id) == 2
    assert [liker.name for liker in likes.likers(made)] == ["ann", "bob"]
    assert [event.actor_id for event in happened("repo.liked")] == [ann.user_id, bob.user_id]


def test_a_like_is_taken_back_once(people, a_repo, likes, happened):
    ann = people.user("ann")
    made = a_repo(ann, "ann/x")
    likes.like(ann, made)
    likes.unlike(ann, made)
    likes.unlike(ann, made)
    assert likes.count(made.id) == 0
    assert len(happened("repo.unliked")) == 1


def test_a_like_is_known_as_its_givers_own(people, a_repo, likes):
    ann, bob = people.user("ann"), people.user("bob")
    liked, other = a_repo(ann, "ann/x"), a_repo(ann, "ann/y")
    likes.like(bob, liked)
    assert [likes.likes(one.user_id, made.id) for one in (ann, bob) for made in (liked, other)] == [
        False, False, True, False
    ]  # fmt: skip
    likes.unlike(bob, liked)
    assert not likes.likes(bob.user_id, liked.id)


def test_likers_come_in_pages(people, a_repo, likes):
    made = a_repo(people.user("ann"), "ann/x")
    for name in ("ann", "bob", "eve"):
        likes.like(people.user(name), made)
    first = likes.likers(made, limit=2)
    assert [liker.name for liker in first] == ["ann", "bob"]
    assert [liker.name for liker in likes.likers(made, after_user_id=first[-1].user_id)] == ["eve"]


def test_T34_what_somebody_likes_never_shows_private_repos_of_others(people, a_repo, likes, registry):
    ann, bob = people.user("ann"), people.user("bob")
    shown, hidden, gone = (a_repo(ann, f"ann/{n}", private=n == "hidden") for n in ("shown", "hidden", "gone"))
    for made in (shown, hidden, gone):
        likes.like(ann, made)
    registry.delete(ann, repo_id("model", "ann/gone"))
    assert [liked.repo for liked in likes.likes_of(ann, ann.user_id)] == [shown, hidden]
    for viewer in (NOBODY, bob):
        assert [liked.repo for liked in likes.likes_of(viewer, ann.user_id)] == [shown]
    assert [liked.repo for liked in likes.likes_of(ann, ann.user_id, after_repo_id=shown.id)] == [hidden]


def test_a_deleted_repo_is_liked_no_more(people, a_repo, likes, registry, happened):
    ann = people.user("ann")
    made = a_repo(ann, "ann/x")
    registry.delete(ann, repo_id("model", "ann/x"))
    likes.like(ann, made)
    assert happened("repo.liked") == []


def test_T36_nobody_and_read_tokens_like_nothing(people, a_repo, likes):
    ann = people.user("ann")
    made = a_repo(ann, "ann/x")
    for change in (likes.like, likes.unlike):
        for nobody in (NOBODY, OPERATOR):
            with pytest.raises(Unauthenticated):
                change(nobody, made)
        with pytest.raises(Forbidden, match="'write'"):
            change(replace(ann, token_role="read"), made)
