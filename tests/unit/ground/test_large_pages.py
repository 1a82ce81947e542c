"""Large pages: the memory stays what it was, and lies in large pages where the kernel can."""

from __future__ import annotations

import subprocess
import sys

import pytest

from headwater.ground import large_pages

PROBE = """
import re, sys
from pathlib import Path
from headwater.ground import large_pages
held = [bytearray(bytes([i]) * (4 << 20)) for i in range(1, 5)]
large = lambda: int(re.search(r"AnonHugePages: +(\\d+)", Path("/proc/self/smaps_rollup").read_text())[1]) << 10
before, moved = large(), large_pages.gather()
print(moved, large() - before, all(piece == bytes([i]) * (4 << 20) for i, piece in enumerate(held, 1)))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="large pages are asked of Linux alone")
def test_what_is_held_is_moved_and_stays_what_it_is() -> None:
    said = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True).stdout.split()
    moved, more, same = int(said[0]), int(said[1]), said[2]
    assert same == "True"
    if not moved:
        pytest.skip("this kernel gathers no pages: it is older than 6.1, or set to 'never'")
    assert moved % large_pages.SIZE == 0
    assert 8 << 20 <= more <= moved  # half of what is held, at least


def test_places_lie_whole_within_memory_of_ones_own() -> None:
    mappings = (
        "00400000-00a01000 rw-p 00000000 00:00 0                          [heap]\n"
        "01000000-01100000 rw-p 00000000 00:00 0 \n"  # too small
        "01fff000-02400000 rw-p 00000000 00:00 0 \n"
        "03000000-03800000 r--p 00000000 00:00 0 \n"
        "04000000-04800000 rw-p 00000000 08:01 77                         /usr/lib/libc.so\n"
        "05000000-05800000 rw-p 00000000 00:00 0                          [stack]\n"
    )
    assert list(large_pages._places(mappings)) == [0x400000, 0x600000, 0x800000, 0x2000000, 0x2200000]


def test_a_machine_that_has_none_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert large_pages.gather() == 0
