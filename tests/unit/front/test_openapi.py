"""The OpenAPI document: every route is in it, with every parameter, and its form is OpenAPI's."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from headwater.front.openapi import describe
from headwater.front.router import Route
from headwater.front.routes import ROUTES
from headwater.ground.errors import TAXONOMY

DOCUMENT = describe(ROUTES, "https://hub.example/prefix")
VERBS = {"get", "put", "post", "delete", "patch", "head", "options"}


def plain(pattern: str) -> str:
    return re.sub(r"\{(\w+)\*?\}", r"{\1}", pattern)


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    return [(path, verb, operation) for path, item in DOCUMENT["paths"].items() for verb, operation in item.items()]


def test_every_route_is_named_and_nothing_else() -> None:
    assert sorted((path, verb) for path, verb, _ in operations()) == sorted(
        (plain(route.pattern), route.method.lower()) for route in ROUTES
    )


def test_the_document_is_json_of_version_3_1_with_the_configured_address() -> None:
    assert json.loads(json.dumps(DOCUMENT)) == DOCUMENT
    assert DOCUMENT["openapi"] == "3.1.0"
    assert DOCUMENT["servers"] == [{"url": "https://hub.example/prefix"}]
    assert {"title", "version"} <= set(DOCUMENT["info"])


@pytest.mark.parametrize(("path", "verb", "operation"), operations(), ids=lambda value: str(value)[:60])
def test_an_operation_has_the_form_that_openapi_asks_for(path: str, verb: str, operation: dict[str, Any]) -> None:
    assert verb in VERBS
    assert path.startswith("/")
    assert operation["summary"]
    parameters = operation["parameters"]
    assert [(one["in"], one["required"], one["schema"]) for one in parameters] == [
        ("path", True, {"type": "string"})
    ] * len(parameters)
    assert [one["name"] for one in parameters] == re.findall(r"\{(\w+)\}", path)
    assert len({one["name"] for one in parameters}) == len(parameters)
    assert operation["responses"]
    assert all(answer["description"] for answer in operation["responses"].values())
    for need in operation.get("security", []):
        assert set(need) <= set(DOCUMENT["components"]["securitySchemes"])
    if "requestBody" in operation:
        assert operation["requestBody"]["content"]
    assert ("security" in operation) == any(
        route.auth == "actor" for route in ROUTES if (plain(route.pattern), route.method.lower()) == (path, verb)
    )


def test_no_two_paths_differ_only_in_the_names_of_their_parameters() -> None:
    shapes = [re.sub(r"\{\w+\}", "{}", path) for path in DOCUMENT["paths"]]
    assert sorted(shapes) == sorted(set(shapes))


def test_every_reference_leads_somewhere() -> None:
    for found in re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(DOCUMENT)):
        at: Any = DOCUMENT
        for part in found.split("/"):
            at = at[part]
        assert at


def test_every_code_of_the_taxonomy_is_among_the_codes_of_an_error() -> None:
    error = DOCUMENT["components"]["schemas"]["Error"]
    assert {kind.code for kind in TAXONOMY} <= set(error["properties"]["code"]["enum"])
    assert error["required"] == ["error", "code", "request_id"]


def test_who_must_sign_in_is_told() -> None:
    routes = [
        Route("GET", "/open", print, "A.", auth="open"),
        Route("GET", "/read", print, "A.", needs="read"),
        Route("POST", "/write/{path*}", print, "A.", needs="write", body="json"),
    ]
    paths = describe(routes, "https://hub.example")["paths"]
    assert "security" not in paths["/open"]["get"]
    assert paths["/read"]["get"]["security"] == [{}, {"token": []}]
    assert paths["/write/{path}"]["post"]["security"] == [{"token": []}]
    assert paths["/write/{path}"]["post"]["requestBody"] == {"content": {"application/json": {}}}
