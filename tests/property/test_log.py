"""A planted secret never reaches a log line, whatever stands around it and wherever a long text is cut (T45)."""

from __future__ import annotations

import string

from hypothesis import example, given
from hypothesis import strategies as st

from headwater.ground.log import TEXT_MAX, _redact_all, redact

TEXT = st.text(max_size=200)
SECRET = st.text(string.ascii_letters + string.digits, min_size=20, max_size=60)
LONG = st.integers(0, 3 * TEXT_MAX)

# How secrets come: before, after. What follows must end them, as it does where they really occur.
SHAPES = st.sampled_from(
    [
        ("hf_", " "),
        ("Authorization: Bearer ", "\r\n"),
        ("authorization: basic ", "'"),
        ("/lfs/x?ticket=", "&size=1"),
        ("?a=b&sig=", '"'),
        ("?token=", " "),
        ("/xet/fetch/", "?x"),
        ("/login/link/", " HTTP/1.1"),
        ("Cookie: headwater_session=", "; a=b"),
        ("https://user:", "@hub.example/x"),
        ("https://", "@hub.example/x"),
    ]
)


@given(TEXT, SHAPES, SECRET, TEXT, LONG)
@example("", ("https://user:", "@hub.example/x"), "S" * 30, "", TEXT_MAX // 2 - 20)
@example("", ("hf_", " "), "S" * 30, "y" * 100, TEXT_MAX - 10)
def test_a_secret_is_gone_wherever_it_stands(
    before: str, shape: tuple[str, str], secret: str, after: str, padding: int
) -> None:
    # a blank, so that what stands before does not become part of another shape
    shown = redact(f"{before} {'.' * padding} {shape[0]}{secret}{shape[1]}{after}")
    for start in range(len(secret) - 8):
        # not even a part of it, that somebody could go on guessing from
        assert secret[start : start + 9] not in shown.replace(before, "").replace(after, "") or secret[
            start : start + 9
        ] in (before + after)
    assert len(shown) <= (TEXT_MAX + 100) * 10  # control characters are spelled out


@given(TEXT)
def test_redacting_twice_is_redacting_once(text: str) -> None:
    once = redact(text)
    assert redact(once) == once or "\\" in once


@given(TEXT)
def test_what_is_shown_can_be_printed(text: str) -> None:
    assert all(c.isprintable() or c == "\n" for c in redact(text))


@given(SHAPES, SECRET, st.sampled_from([str, lambda text: [text], lambda text: {"k": text}, ValueError, str.encode]))
def test_a_secret_in_any_value_of_a_line_is_gone(shape: tuple[str, str], secret: str, wrap: object) -> None:
    line = _redact_all(None, "info", {"event": "x", "value": wrap(f"{shape[0]}{secret}{shape[1]}")})  # type: ignore[operator]
    assert secret not in repr(line)
