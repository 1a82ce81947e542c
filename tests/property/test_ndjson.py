"""The lines of a commit: what was written is read, and any bytes are lines or an error of ours, never a bug (T52)."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headwater.front.hub.commit import _header, _lines, _operations
from headwater.ground.errors import HeadwaterError, Invalid, TooMuch
from headwater.repos import AddInline

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=8,
)
LINES = st.lists(st.tuples(TEXT, st.dictionaries(TEXT, JSON, max_size=4)), max_size=8)
MAX = 1000


def read(data: bytes, lines_max: int = 100) -> list[tuple[str, dict[str, Any]]]:
    return list(_lines(io.BytesIO(data), MAX, lines_max))


@given(LINES, st.sampled_from(["\n", "\r\n", "\n\n", " \n"]), st.booleans())
def test_what_was_written_is_read(lines: list[tuple[str, dict[str, Any]]], end: str, ended: bool) -> None:
    text = end.join(json.dumps({"key": key, "value": value}) for key, value in lines)
    assert read((text + (end if ended else "")).encode()) == lines


@given(st.binary(max_size=300))
@example(b'{"key": "a", "value": {}}\x00')
@example(b'{"key": "a", "key": "b", "value": {}}')
@example(b"[" * 5000)
@example(b'{"key": 1, "value": {}}')
@example(b'{"key": "a", "value": {"x": 1e999}}')
@example("﻿{}".encode())
def test_any_bytes_are_lines_or_an_error_of_ours(data: bytes) -> None:
    try:
        lines = read(data)
    except (Invalid, TooMuch):
        return
    assert all(isinstance(key, str) and isinstance(value, dict) for key, value in lines)


@given(st.lists(st.tuples(st.sampled_from(["header", "file", "lfsFile", "deletedFile", "deletedFolder", "copyFile", "x"]),
                          st.dictionaries(st.sampled_from(["path", "content", "encoding", "oid", "size", "algo", "summary",
                                                           "srcPath", "parentCommit", "description"]), JSON, max_size=5)),
                min_size=1, max_size=4))  # fmt: skip
def test_any_values_are_operations_or_an_error_of_ours(lines: list[tuple[str, dict[str, Any]]]) -> None:
    parsed = iter(lines)
    try:
        _header(next(parsed))
        list(_operations(parsed, "model"))
    except HeadwaterError as error:
        assert error.status in (400, 413, 422)


@given(st.binary(max_size=50))
def test_a_file_in_a_line_is_its_bytes(data: bytes) -> None:
    value = {"path": "a.bin", "content": base64.b64encode(data).decode(), "encoding": "base64"}
    (operation,) = _operations(iter([("file", value)]), "model")
    assert operation == AddInline(operation.path, data)  # type: ignore[union-attr]


def test_more_lines_than_allowed_and_longer_ones_are_refused() -> None:
    with pytest.raises(TooMuch):
        read(b'{"key": "a", "value": {}}\n' * 200)
    with pytest.raises(TooMuch):
        read(b'{"key": "a", "value": {"x": "' + b"y" * 200_000 + b'"}}')
