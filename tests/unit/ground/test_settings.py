"""Settings: where they come from, in which order, and what is said when one is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headwater.ground import settings
from headwater.ground.errors import Invalid
from headwater.ground.settings import Settings, from_environment, load


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "headwater.toml"
    path.write_text('host = "file"\ndata = "file"\nport = 1\nlog_level = "error"\n')
    return path


def test_without_anything_given_the_defaults_serve_this_machine_alone() -> None:
    found = load(None, {}, {})
    assert found == Settings()
    assert (found.host, found.port, found.base_url) == ("127.0.0.1", 8411, "http://127.0.0.1:8411")


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(file: Path) -> None:
    found = load(file, {"HEADWATER_HOST": "environment", "HEADWATER_DATA": "environment"}, {"host": "line"})
    assert (found.host, found.data, found.port, found.log_level) == ("line", "environment", 1, "error")


def test_what_the_command_line_leaves_out_overrides_nothing(file: Path) -> None:
    assert load(file, {}, {"host": None, "port": None}).host == "file"


@pytest.mark.parametrize(
    ("text", "expected"), [("1", True), ("true", True), ("TRUE", True), ("0", False), ("false", False)]
)
def test_switches_and_numbers_are_read_out_of_the_environments_text(text: str, expected: bool) -> None:
    found = load(None, {"HEADWATER_SEAL": text, "HEADWATER_THREADS": "3", "HEADWATER_TOKEN_CACHE_S": "0.5"}, {})
    assert (found.seal, found.threads, found.token_cache_s) == (expected, 3, 0.5)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"port": 70_000}, "port"),
        ({"port": "many"}, "port"),
        ({"threads": 0}, "threads"),
        ({"token_cache_s": 6}, "token_cache_s"),
        ({"default_visibility": "secret"}, "default_visibility"),
        ({"log_level": "loud"}, "log_level"),
        ({"seal": "perhaps"}, "seal"),
        ({"prot": 1}, "prot"),
    ],
)
def test_a_wrong_setting_is_named_and_the_hub_does_not_start(given: dict[str, Any], named: str) -> None:
    with pytest.raises(Invalid, match=named):
        load(None, {}, given)


@pytest.mark.parametrize("text", [b"host = ", b"\xff\xfe", b'colour = "blue"\n', b"port = [1]\n"])
def test_a_broken_file_is_refused_with_a_reason(file: Path, text: bytes) -> None:
    file.write_bytes(text)
    with pytest.raises(Invalid, match="settings"):
        load(file, {}, {})


def test_a_file_that_is_not_there_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"absent\.toml"):
        load(tmp_path / "absent.toml", {}, {})


@pytest.mark.parametrize(
    "url", ["nonsense", "ftp://x", "http://", "http:///x", "http://x/?q=1", "http://x/#y", "http://x y/", "//x"]
)
def test_a_public_address_that_no_link_can_begin_with_is_refused(url: str) -> None:
    with pytest.raises(Invalid, match=r"public_url: .* is no address"):
        load(None, {"HEADWATER_PUBLIC_URL": url}, {})


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"public_url": "https://hub.example/models/"}, "https://hub.example/models"),
        ({"public_url": "https://hub.example"}, "https://hub.example"),
        ({"host": "::1", "port": 80}, "http://[::1]:80"),
        ({"host": "0.0.0.0", "port": 80}, "http://0.0.0.0:80"),
    ],
)
def test_the_base_url_has_no_slash_at_its_end(given: dict[str, Any], expected: str) -> None:
    assert load(None, {}, given).base_url == expected


def test_a_command_reads_the_file_that_the_environment_names(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADWATER_CONFIG", str(file))
    monkeypatch.setenv("HEADWATER_PORT", "2")
    assert (from_environment(host="line").host, from_environment().host, from_environment().port) == ("line", "file", 2)


def test_every_setting_says_what_it_is_for() -> None:
    described = {
        name: hint.__metadata__[0].description
        for name, hint in settings.get_type_hints(Settings, include_extras=True).items()
    }
    assert set(described) == set(Settings.__struct_fields__)
    assert all(text.endswith((".", "?")) for text in described.values())
