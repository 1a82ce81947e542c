"""The low-rank predictor: merged adapters and ablated directions, within the store's bars; and what it must refuse."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))  # importlib mode leaves it out

from predicted import Made, best, found, guess, left, made, weights

from headwater.codec.form import Form, Limits, Undecodable
from headwater.codec.predict import from_params
from headwater.codec.predict.contract import Params
from headwater.codec.predict.factors import factors_packed, factors_unpacked
from headwater.codec.predict.lowrank import LowRank

single = np.float32


def adapted(base: Made, rank: int, drift: float, dtype: str | None = None) -> Made:
    """An adapter merged as programs do it: in float32, then rounded."""
    rows, columns = base.form.shape
    rng = np.random.default_rng(5)
    factors = rng.normal(size=(rows, rank)), rng.normal(size=(rank, columns)) * np.geomspace(1, 0.1, rank)[:, None]
    update = factors[0] @ factors[1]
    update *= drift * base.values.std() / update.std()
    return made(dtype or base.form.dtype, base.values.astype(single) + update.astype(single))


def ablated(base: Made) -> Made:
    direction = np.random.default_rng(6).normal(size=base.form.shape[0])
    direction /= np.linalg.norm(direction)
    return made("BF16", base.values - np.outer(direction, direction @ base.values))


def test_a_merged_adapter_of_rank_16_leaves_less_than_6_percent() -> None:
    base = made("BF16", weights(576, 768, 1, spread=0.19))
    child = adapted(base, 16, 0.0037)
    candidate = best(child, [base])
    assert candidate.predictor.name == "lowrank"
    assert left(candidate, child, [base]) < 0.06


def test_an_ablated_direction_leaves_less_than_1_percent() -> None:
    base = made("BF16", weights(768, 512, 1))
    child = ablated(base)
    candidate = best(child, [base])
    assert candidate.predictor.name == "lowrank"
    assert left(candidate, child, [base]) < 0.01


@pytest.mark.parametrize(
    ("source", "target", "bar"), [("F16", "F16", 0.07), ("BF16", "F16", 0.07), ("F32", "F32", 0.15)]
)
def test_other_types_leave_little_too(source: str, target: str, bar: float) -> None:
    base = made(source, weights(512, 512, 1))
    child = adapted(base, 8, 0.01, target)
    candidate = best(child, [base])
    assert candidate.predictor.name == "lowrank"
    assert left(candidate, child, [base]) < bar


def test_a_plain_fine_tune_is_not_of_low_rank() -> None:
    base = made("BF16", weights(256, 512, 1))
    child = made("BF16", base.values + np.random.default_rng(2).normal(0, 2e-4, base.form.shape))
    assert {"identity"} == {candidate.predictor.name for candidate in found(child, [base])}


def test_a_tensor_that_does_not_fit_into_memory_is_fitted_as_well_in_passes() -> None:
    base = made("BF16", weights(512, 512, 1))
    child = ablated(base)
    roomy = best(child, [base])
    tight = best(child, [base], Limits(memory_bytes=1 << 10))
    assert tight.predictor.name == "lowrank"
    assert left(tight, child, [base]) == pytest.approx(left(roomy, child, [base]), rel=0.01)


def test_without_time_the_dear_search_is_not_made() -> None:
    base = made("BF16", weights(512, 512, 1))
    assert {"identity"} == {each.predictor.name for each in found(ablated(base), [base], Limits(cpu_s=0.0))}


def test_values_that_are_not_finite_do_not_spoil_the_factors() -> None:
    base = made("BF16", weights(512, 512, 1))
    values = ablated(base).values
    values[3, :40], values[:, 7] = np.nan, np.inf
    child = made("BF16", values)
    assert left(best(child, [base]), child, [base]) < 0.015


def test_the_prediction_is_that_of_exact_integers() -> None:
    base = made("BF16", np.zeros((6, 9)))
    rng = np.random.default_rng(1)
    sides = rng.integers(-(2**20), 2**20, (3, 15)).astype(np.int32)
    params = struct.pack("<Hh", 3, 30) + factors_packed(sides)
    predictor = from_params(LowRank.id, params, base.form, [base.form])
    exact = [[sum(int(sides[k, i]) * int(sides[k, 6 + j]) for k in range(3)) for j in range(9)] for i in range(6)]
    expected = made("BF16", np.array(exact, object).astype(np.float64) / 2**30).planes[0]
    assert np.array_equal(expected, predictor.predict(0, 54, [base.planes])[0])


@pytest.mark.parametrize("spread", [0, 1, 30, 3000, 10**8])
def test_factors_come_back_from_their_bytes(spread: int) -> None:
    rng = np.random.default_rng(1)
    factors = np.rint(rng.standard_normal((3, 50)) * spread).astype(np.int32)
    factors[0, 0] = -spread * 6
    packed = factors_packed(factors)
    assert np.array_equal(factors, factors_unpacked(Params(packed, "test"), 3, 50))


FORM = Form("BF16", (8, 12))


def params_of(rank: int, scale: int, size: int = 5) -> bytes:
    return struct.pack("<Hh", rank, scale) + factors_packed(np.full((rank, 20), size, np.int32))


@pytest.mark.parametrize(
    ("params", "why"),
    [
        (params_of(9, 4), "rank 9 of 8 x 12"),
        (struct.pack("<Hh", 0, 4), "rank 0"),
        (struct.pack("<Hh", 65535, 4), "rank 65535"),
        (params_of(2, 201), "scale 201"),
        (params_of(2, -32768), "scale -32768"),
        (params_of(2, 4, 2**27), "not exact"),
        (params_of(2, 4)[:-1], "cut short|another size|damaged"),
        (params_of(2, 4) + b"\0", "tail"),
        (b"", "cut short"),
    ],
)
def test_absurd_factors_are_refused(params: bytes, why: str) -> None:
    with pytest.raises(Undecodable, match=why):
        from_params(LowRank.id, params, FORM, [FORM])


def test_any_range_is_predicted_from_the_same_range_of_the_parent() -> None:
    base = made("BF16", weights(70, 130, 1))
    child = ablated(base)
    candidate = best(child, [base])
    assert candidate.predictor.name == "lowrank"
    whole = guess(candidate, child, [base])[0]
    assert candidate.predictor.needs(100, 1000) == [(0, 100, 1000)]
    for steps in (1, 7, 129, 130, 131, 1000):
        assert np.array_equal(whole, guess(candidate, child, [base], steps)[0])
