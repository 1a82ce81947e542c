"""Settings: any file and any environment give settings within their limits, or one error that names the setting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headwater.ground.errors import Invalid
from headwater.ground.settings import Settings, load

NAMES = st.sampled_from(Settings.__struct_fields__)
WORDS = st.text(max_size=10) | st.integers().map(str) | st.sampled_from(["true", "0", "1.5", "", "info", "public"])


@given(st.dictionaries(NAMES, WORDS, max_size=5))
@example({"port": "8411"})
@example({"seal": "null"})
def test_an_environment_gives_settings_or_an_error_that_names_one(words: dict[str, str]) -> None:
    environ = {f"HEADWATER_{name.upper()}": text for name, text in words.items()}
    try:
        found = load(None, environ, {})
    except Invalid as refused:
        assert any(name in refused.text for name in words)
        return
    # within every limit, and as typed
    assert msgspec.convert(msgspec.to_builtins(found), Settings) == found
    assert all(getattr(found, name) == getattr(Settings(), name) for name in set(found.__struct_fields__) - set(words))


VALUES: st.SearchStrategy[Any] = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)


@given(st.dictionaries(NAMES | st.text(max_size=5), VALUES, max_size=3))
def test_anything_on_the_command_line_gives_settings_or_an_error(given_values: dict[str, Any]) -> None:
    try:
        found = load(None, {}, given_values)
    except Invalid:
        return
    assert 0 <= found.port <= 65535
    assert 0 <= found.token_cache_s <= 5


@given(st.binary(max_size=60))
@example(b"\xff")
@example(b"port = 99999999999999999999999999")
@example(b"[port]\nx = 1")
@example(b"port = 1979-05-27T07:32:00Z")
def test_any_file_gives_settings_or_an_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "headwater.toml"
    file.write_bytes(data)
    try:
        found = load(Path(file), {}, {})
    except Invalid as refused:
        assert "settings" in refused.text
        return
    assert isinstance(found, Settings)
