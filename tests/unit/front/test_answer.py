"""Errors as HTTP: the status, the Hub's headers, and one shape of body; nothing internal and no secret goes out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headwater.front import answer as answers
from headwater.front.answer import Answer
from headwater.ground import errors
from headwater.ground.errors import TAXONOMY, HeadwaterError


def body_of(answer: Answer) -> Any:
    return json.loads(answer.body)


def of(error: HeadwaterError, *, signed_in: bool = True) -> Answer:
    return answers.of_error(error, "req-1", signed_in=signed_in)


def made(kind: type[HeadwaterError]) -> HeadwaterError:
    if kind in (errors.Stale, errors.Disabled):
        return kind()  # type: ignore[call-arg]
    if kind is errors.DigestMismatch:
        return errors.DigestMismatch("sha256", "a", "b")
    return kind("text")


@pytest.mark.parametrize("kind", TAXONOMY, ids=lambda kind: kind.code)
def test_every_error_has_its_status_its_code_and_the_one_shape_of_body(kind: type[HeadwaterError]) -> None:
    error = made(kind)
    answer = of(error)
    assert (answer.status, answer.headers["X-Error-Code"]) == (kind.status, kind.code)
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    assert {key: body_of(answer)[key] for key in ("error", "code", "request_id")} == {
        "error": error.text, "code": kind.code, "request_id": "req-1",
    }  # fmt: skip


@pytest.mark.parametrize("kind", [errors.RepoMissing, errors.Gated, errors.Forbidden])
def test_T33_nobody_is_asked_who_he_is_where_somebody_is_told_no(kind: type[HeadwaterError]) -> None:
    assert of(kind("x"), signed_in=False).status == 401
    assert "Basic" in of(kind("x"), signed_in=False).headers["WWW-Authenticate"]
    assert "WWW-Authenticate" not in of(kind("x")).headers


@pytest.mark.parametrize("kind", [errors.RevisionMissing, errors.EntryMissing, errors.Conflict, errors.Invalid])
def test_what_does_not_depend_on_who_asks_stays_what_it_is(kind: type[HeadwaterError]) -> None:
    assert of(kind("x"), signed_in=False).status == kind.status


def test_details_and_headers_of_the_error_go_out() -> None:
    answer = of(errors.Conflict("taken", url="https://hub.example/ada/x"))
    assert body_of(answer)["url"] == "https://hub.example/ada/x"
    assert of(errors.EntryMissing("a", "c" * 40)).headers["X-Repo-Commit"] == "c" * 40
    assert of(errors.Unavailable("x")).headers["Retry-After"] == "5"


def test_T45_a_token_in_an_errors_text_does_not_go_out() -> None:
    token = "hf_" + "x" * 40
    answer = of(errors.Invalid(f"token {token} is wrong"))
    assert token not in answer.headers["X-Error-Message"]
    assert token.encode() not in answer.body


def test_T60_a_header_holds_only_printable_ascii_of_bounded_length() -> None:
    answer = of(errors.Invalid("ä\r\nSet-Cookie: x\n" + "y" * 5000))
    message = answer.headers["X-Error-Message"]
    assert message.isascii()
    assert message.isprintable()
    assert len(message) <= 1000
    assert body_of(answer)["error"].startswith("ä")


def test_the_other_kinds_of_answers() -> None:
    assert body_of(answers.json({"a": 1}, 201)) == {"a": 1}
    assert answers.text("é").body == "é".encode()
    assert answers.html("<p>").headers["Content-Type"] == "text/html; charset=utf-8"
    assert (answers.empty(204).status, answers.empty().body) == (204, b"")
    assert answers.redirect("/a", 303, {"X": "y"}).headers == {"Location": "/a", "X": "y"}
