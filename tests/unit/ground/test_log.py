"""Log lines carry no secret, whatever text it comes in, and no line may forge another (T45)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from headwater.ground.log import REDACTED, TEXT_MAX, _redact_all, redact

TOKEN = "hf_" + "aB3" * 13 + "x"
SECRET = "s3cr3t-Canary_value"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (f"token {TOKEN} is bad", "token *** is bad"),
        (f"Authorization: Bearer {SECRET}", "Authorization: Bearer ***"),
        (f"authorization: bearer {SECRET}", "authorization: bearer ***"),
        (f"AUTHORIZATION: BASIC {SECRET}", "AUTHORIZATION: BASIC ***"),
        (f"GET /lfs/ab?ticket={SECRET}&x=1", "GET /lfs/ab?ticket=***&x=1"),
        (f"GET /a?x=1&sig={SECRET}", "GET /a?x=1&sig=***"),
        (f"GET /a?token={SECRET}", "GET /a?token=***"),
        (f"GET /xet/fetch/{SECRET}", "GET /xet/fetch/***"),
        (f"GET /login/link/{SECRET}", "GET /login/link/***"),
        (f"Cookie: a=b; headwater_session={SECRET}; c=d", "Cookie: a=b; headwater_session=***; c=d"),
        (f"from https://ada:{SECRET}@hub.example/x", "from https://***@hub.example/x"),
        (f"from https://{SECRET}@hub.example/x", "from https://***@hub.example/x"),
    ],
)
def test_T45_a_secret_is_known_by_its_shape(text: str, kept: str) -> None:
    assert redact(text) == kept


def test_what_is_no_secret_stays() -> None:
    text = "repo ada/hf_model at https://hub.example/ada/x?sort=likes&key2=a, 3 files; bearer of news"
    assert redact(text) == text.replace("bearer of", f"bearer {REDACTED}")


@pytest.mark.parametrize("before", [TEXT_MAX - 40, TEXT_MAX - 10, TEXT_MAX // 2 - 3, 3 * TEXT_MAX])
def test_T45_a_secret_at_the_place_where_a_long_text_is_cut_is_not_half_told(before: int) -> None:
    text = "x" * before + f" https://ada:{SECRET}@hub.example {TOKEN} " + "y" * TEXT_MAX
    shown = redact(text)
    assert len(shown) < TEXT_MAX + 100
    assert "s3cr3t" not in shown
    assert "ada:" not in shown
    assert TOKEN[:8] not in shown


def test_of_a_long_text_both_ends_are_kept() -> None:
    shown = redact("beginning " + "." * 10 * TEXT_MAX + " ValueError: the end")
    assert shown.startswith("beginning")
    assert shown.endswith("ValueError: the end")


@pytest.mark.parametrize(("hostile", "shown"), [("\x1b[31m", r"\x1b[31m"), ("\r", r"\r"), ("\u202e", r"\u202e")])
def test_control_characters_are_made_visible(hostile: str, shown: str) -> None:
    assert redact(f"a{hostile}b") == f"a{shown}b"


def test_T45_every_value_of_a_line_is_looked_at_whatever_its_type() -> None:
    line: dict[str, Any] = {
        "event": f"refused {TOKEN}",
        "error": ValueError(f"Bearer {SECRET}"),
        "headers": {"authorization": f"Bearer {SECRET}"},
        "body": f"token={TOKEN}".encode(),
        "status": 401,
        "ok": True,
        "nothing": None,
    }
    shown = _redact_all(None, "info", line)
    assert SECRET not in repr(shown)
    assert TOKEN not in repr(shown)
    assert (shown["status"], shown["ok"], shown["nothing"]) == (401, True, None)


@pytest.mark.parametrize("as_json", [True, False])
def test_T45_the_configured_log_keeps_a_secret_out_of_messages_and_tracebacks(as_json: bool) -> None:
    program = (
        "from headwater.ground.log import configure, log\n"
        f"configure('info', {as_json})\n"
        "log.debug('below the level')\n"
        "try:\n"
        f"    raise ValueError('Bearer {SECRET}')\n"
        "except ValueError as error:\n"
        f"    log.error('bug {TOKEN}', exc_info=error)\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env={**os.environ}
    ).stderr
    assert SECRET not in said
    assert TOKEN not in said
    assert "below the level" not in said
    assert "ValueError: Bearer ***" in said
    if as_json:
        line = json.loads(said)
        assert (line["level"], line["event"]) == ("error", "bug ***")
