"""The choices as parameters of a URL: for whoever asks over HTTP, and for the OpenAPI document.

Made from `Choices` itself, so that a new choice is described by being there. Refuses to know what a choice does.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import msgspec

from headwater.observatory.ask import QUESTIONS
from headwater.observatory.choices import Choices, allowed, described

QUESTION = "/api/observatory/questions/{question}"
ANSWER = "/api/observatory/answers/{question}"
FORMATS = {
    "json": "application/json; charset=utf-8",
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
}
"""Format -> media type; the first is what comes unless another is asked for."""


def choices_of(names: Sequence[str]) -> list[dict[str, Any]]:
    """Choices by name: what each means, its default, and the values of those that have only so many."""
    return [
        {"name": name, "default": default, "meaning": meaning, "values": allowed(name)}
        for name, default, meaning in described()
        if name in names
    ]


def operations() -> dict[str, dict[str, Any]]:
    """Path -> what its GET says in the OpenAPI document beyond the route table."""
    named = {"name": "question", "in": "path", "required": True, "schema": {"type": "string", "enum": list(QUESTIONS)}}
    shown = {"name": "format", "in": "query", "required": False, "description": "What the answer is written as.",
             "schema": {"type": "string", "enum": list(FORMATS), "default": "json"}}  # fmt: skip
    return {
        QUESTION: {"parameters": [named]},
        ANSWER: {
            "description": "A question honours some of the choices; one that it does not honour is refused (400), "
            f"never ignored. Which ones: `{QUESTION}`.",
            "parameters": [named, shown, *_queries()],
            "responses": {
                "200": {"description": "The answer, its snapshots with licence and attribution",
                        "content": {media.partition(";")[0]: {} for media in FORMATS.values()}},
                "400": _refusal("A choice that can't be made; the text says why"),
                "404": _refusal("No such question, or no data for it"),
                "503": _refusal("Others ask just now; Retry-After says when to come back"),
            },
        },
    }  # fmt: skip


def _refusal(words: str) -> dict[str, Any]:
    return {"description": words, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}}


@cache
def _queries() -> tuple[dict[str, Any], ...]:
    fields = msgspec.json.schema(Choices)["$defs"]["Choices"]["properties"]
    return tuple(
        {"name": name, "in": "query", "required": False, "description": meaning, "schema": _schema(fields[name], name),
         "explode": False}
        for name, _, meaning in described()
    )  # fmt: skip


def _schema(field: dict[str, Any], name: str) -> dict[str, Any]:
    """A field's JSON schema without null, which a URL does not have; lists are separated by commas."""
    kinds = [one for one in field.get("anyOf", [field]) if one.get("type") != "null"]
    kept = {key: value for key, value in kinds[0].items() if key != "default"}
    if field.get("default"):
        kept["default"] = field["default"]
    if name == "by":
        kept["enum"] = sorted({one for question in QUESTIONS.values() for one in question.by})
    return kept
