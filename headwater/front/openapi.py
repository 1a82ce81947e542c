"""The route table as an OpenAPI 3.1 document: paths, parameters, who may call, errors."""

from __future__ import annotations

import re
from typing import Any

from headwater import __version__
from headwater.front.answer import Answer, json
from headwater.front.request import Request
from headwater.front.rooms import Rooms
from headwater.front.router import Route
from headwater.ground.errors import TAXONOMY

_NAME = re.compile(r"\{(\w+)\*?\}")
_MEDIA = {"json": "application/json", "spool": "application/octet-stream", "sink": "application/octet-stream"}


def document(rooms: Rooms, request: Request) -> Answer:
    from headwater.front.observe import parameters  # noqa: PLC0415 - brings DuckDB, which no other request needs
    from headwater.front.routes import ROUTES  # noqa: PLC0415 - the table names this handler

    made = describe(ROUTES, rooms.settings.base_url)
    for path, more in parameters.operations().items():
        operation = made["paths"][path]["get"]
        operation.update(more | {"responses": operation["responses"] | more.get("responses", {})})
    return json(made)


def describe(routes: list[Route], base_url: str) -> dict[str, Any]:
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path = _NAME.sub(r"{\1}", route.pattern)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Headwater", "version": __version__, "license": {"name": "Apache-2.0"}},
        "servers": [{"url": base_url}],
        "paths": dict(sorted(paths.items())),
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {
                "Error": {
                    "type": "object",
                    "required": ["error", "code", "request_id"],
                    "properties": {
                        "error": {"type": "string"},
                        "code": {"type": "string", "enum": sorted({kind.code for kind in TAXONOMY})},
                        "request_id": {"type": "string"},
                    },
                }
            },
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": route.does,
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in _NAME.findall(route.pattern)
        ],
        "responses": {
            "default": {
                "description": "An error of the taxonomy",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
            },
            "200": {"description": "Done"},
        },
    }
    if route.needs:
        operation["x-needs"] = route.needs
    if route.auth == "actor":
        operation["security"] = [{"token": []}] if route.needs not in ("", "read") else [{}, {"token": []}]
    if route.body != "none":
        operation["requestBody"] = {"content": {_MEDIA[route.body]: {}}}
    return operation
