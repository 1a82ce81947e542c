"""The taxonomy: one place says the code, the status, the header and the exit status of everything that can go wrong."""

from __future__ import annotations

import pytest

from headwater.ground import errors
from headwater.ground.errors import TAXONOMY, HeadwaterError

# As design/habits.md has them: code, HTTP status, exit status.
TABLE = [
    ("RepoNotFound", 404, 10), ("RevisionNotFound", 404, 11), ("EntryNotFound", 404, 12), ("GatedRepo", 403, 13),
    ("Disabled", 403, 14), ("Forbidden", 403, 15), ("InvalidCredentials", 401, 16), ("BadRequest", 400, 2),
    ("NotOffered", 404, 2), ("Conflict", 409, 17), ("Stale", 412, 17), ("LimitExceeded", 413, 18),
    ("DigestMismatch", 400, 19), ("Upstream", 502, 20), ("Unavailable", 503, 21), ("Corrupt", 500, 22),
]  # fmt: skip


def test_every_error_has_its_code_its_status_and_its_exit_status() -> None:
    assert [(kind.code, kind.status, kind.exit_status) for kind in TAXONOMY] == TABLE


def test_the_list_has_every_class_there_is() -> None:
    defined = [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, HeadwaterError) and value is not HeadwaterError
    ]
    assert sorted(defined, key=lambda kind: kind.code) == sorted(TAXONOMY, key=lambda kind: kind.code)
    assert all(kind.meaning for kind in TAXONOMY)


def test_T33_an_absent_repo_and_a_hidden_one_have_the_same_text() -> None:
    assert errors.RepoMissing("ada/hidden").text == errors.RepoMissing("no/such").text == "Repository not found"


def test_texts_that_clients_compare_are_the_hubs() -> None:
    assert errors.Stale().text == "The branch was updated since you opened this page. Please refresh and try again."
    assert errors.Disabled().text == "Access to this resource is disabled."
    assert errors.Unauthenticated().text == "Invalid credentials in Authorization header"
    assert errors.RevisionMissing("v9").text == "Invalid rev id: v9"


def test_an_absent_entry_names_the_commit_at_which_it_is_absent() -> None:
    assert errors.EntryMissing("a", "c" * 40).headers == {"X-Repo-Commit": "c" * 40}
    assert errors.EntryMissing("a").headers == {}


def test_what_may_pass_says_when_to_come_again() -> None:
    assert errors.Unavailable("x").headers == {"Retry-After": "5"}
    assert errors.Unavailable("x", status=507, retry_after_s=60).headers == {"Retry-After": "60"}


def test_a_wrong_digest_names_both() -> None:
    text = errors.DigestMismatch("sha256", "aa", "bb").text
    assert "aa" in text
    assert "bb" in text


@pytest.mark.parametrize("kind", [errors.Invalid, errors.NotOffered, errors.TooMuch])
def test_a_status_of_its_own_leaves_the_others_alone(kind: type[HeadwaterError]) -> None:
    assert kind("x", status=418).status == 418  # type: ignore[call-arg]
    assert kind("x").status == kind.status


def test_details_go_along() -> None:
    assert errors.Conflict("x", url="/a").details == {"url": "/a"}
