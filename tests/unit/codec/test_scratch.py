"""Memory that is used again: nobody sees what another wrote as their own, and what does not fit is no fault."""

from __future__ import annotations

import numpy as np
import pytest

from headwater.codec import scratch
from headwater.codec.scratch import Scratch, lent


def test_arrays_of_one_piece_do_not_overlap_and_are_aligned() -> None:
    piece = Scratch(1 << 12)
    arrays = [piece.array(count, dtype) for count, dtype in [(3, np.uint8), (5, np.uint64), (0, np.uint16), (7, "<u4")]]
    for number, array in enumerate(arrays):
        array.fill(number)
    assert [array.tolist() for array in arrays] == [[0] * 3, [1] * 5, [], [3] * 7]
    assert all(array.flags.aligned and array.flags.c_contiguous for array in arrays)


def test_what_does_not_fit_is_allocated() -> None:
    piece = Scratch(100)
    large, small = piece.zeros(1000, np.uint64), piece.zeros(9, np.uint8)
    assert not np.shares_memory(large, small)
    assert not large.any()


def test_zeros_are_zero_where_others_have_written() -> None:
    with lent() as piece:
        piece.array(1000, np.uint8).fill(7)
    with lent() as piece:
        assert not piece.zeros(1000, np.uint8).any()


def test_two_at_a_time_have_each_their_own_and_few_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "_kept", [])
    pieces = [lent() for _ in range(scratch.KEPT_MAX + 2)]
    arrays = [piece.__enter__().zeros(10, np.uint8) for piece in pieces]
    arrays[0].fill(1)
    assert not any(array.any() for array in arrays[1:])
    for piece in pieces:
        piece.__exit__(None, None, None)
    assert len(scratch._kept) == scratch.KEPT_MAX


def test_a_piece_comes_back_when_its_user_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "_kept", [])
    with pytest.raises(ZeroDivisionError), lent():
        raise ZeroDivisionError
    assert len(scratch._kept) == 1
