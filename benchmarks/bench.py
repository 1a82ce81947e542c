"""Bench: what every row is handed: a folder to work in, and how much to send."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

GB = 10**9


@dataclass(frozen=True, slots=True)
class Bench:
    work: Path
    """Empty at the start, on the disk that data folders would lie on; removed at the end."""
    size_bytes: int
    """Of the large file of downloads and uploads."""
    put_bytes: int
    """Of the file whose upload is watched for memory."""
    heads_s: float
    """How long HEAD requests are sent."""
    files: int
    """Of the large repo."""
    lists_rounds: int

    @property
    def size_gb(self) -> float:
        return self.size_bytes / GB
