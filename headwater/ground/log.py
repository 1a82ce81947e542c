"""Structured lines with the request's id and no secrets.

Redaction is by shape, at the last moment, over every value of every line: a token that some library puts into its
error text is caught as well as one of our own (T45).
"""

from __future__ import annotations

import contextlib
import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO, cast

import structlog

_SECRETS = re.compile(
    r"(hf_[A-Za-z0-9]{8,})"
    r"|((?i:(?<=Bearer )|(?<=Basic ))[^\s\"']+)"
    r"|((?<=[?&]sig=)[^&\s\"']+|(?<=[?&]token=)[^&\s\"']+|(?<=[?&]key=)[^&\s\"']+|(?<=[?&]ticket=)[^&\s\"']+)"
    r"|((?<=/xet/fetch/)[^/?\s\"']+)"
    r"|((?<=headwater_session=)[^;\s\"']+)"
    r"|((?<=/login/link/)[^/?\s\"']+)"
    r"|((?<=://)[^/@\s\"']+(?=@))"
)
REDACTED = "***"
TEXT_MAX = 4000  # of one value; a hostile name must not fill the disk


def redact(text: str) -> str:
    """`text` without tokens, signatures, cookies and credentials in URLs; control characters made visible."""
    # Whole, then cut: half a secret at the cut would not be known for one. The end of a long text tells most.
    shown = _SECRETS.sub(REDACTED, text)
    if len(shown) > TEXT_MAX:
        shown = f"{shown[: TEXT_MAX // 2]} [...] {shown[-TEXT_MAX // 2 :]}"
    return (
        shown if shown.isprintable() else "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in shown)
    )


def _redact_all(_logger: object, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name, value in line.items():
        if isinstance(value, str):
            line[name] = redact(value)
        elif not isinstance(value, int | float | bool | None):
            line[name] = redact(repr(value))
    return line


class _Stderr:
    """Standard error as it is at the time, never failing: a log on a full disk must not turn an answer into another."""

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()


def configure(level: str, as_json: bool) -> None:
    """Which lines are written from now on, and how; without a call, those of every command but `serve`."""
    renderer: Any = structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=False)
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _redact_all,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=cast(TextIO, _Stderr())),
    )


# From the first line on: stdout belongs to what commands print, and no line goes out unredacted.
configure("info", as_json=False)
log: structlog.typing.FilteringBoundLogger = structlog.get_logger()
