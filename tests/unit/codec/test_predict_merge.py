"""Predictors of merged and pruned tensors: coefficients, ways of rounding, thresholds are found."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))  # importlib mode leaves it out

from predicted import Made, best, found, left, made, missed, of_words, weights

SHAPE = (96, 512)
single = np.float32


def family(dtype: str, count: int = 3) -> list[Made]:
    """A base and fine-tunes of it."""
    base = made(dtype, weights(*SHAPE, seed=1))
    rng = np.random.default_rng(2)
    return [base, *(made(dtype, base.values + rng.normal(0, 2e-4, SHAPE)) for _ in range(count - 1))]


def rounded(dtype: str, values: np.ndarray) -> np.ndarray:
    return made(dtype, values).values


# ---------------------------------------------------------------- sums
@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
def test_a_soup_of_two_is_predicted_and_the_base_not_needed(dtype: str) -> None:
    base, a, b = family(dtype)
    child = made(dtype, (a.values.astype(single) + b.values.astype(single)) / single(2))
    candidate = best(child, [base, a, b])
    assert (candidate.predictor.name, candidate.parents) == ("linear", (1, 2))
    assert missed(candidate, child, [base, a, b]) == 0.0


@pytest.mark.parametrize("dtype", ["BF16", "F32"])
@pytest.mark.parametrize("shares", [(0.3, 0.7), (1 / 3, 1 / 3, 1 / 3), (0.123, 0.5, 0.377), (0.15, 0.35, 0.2, 0.3)])
def test_round_coefficients_are_found_as_they_were_chosen(dtype: str, shares: tuple[float, ...]) -> None:
    parents = family(dtype, len(shares) + 1)[1:]
    total = np.zeros(SHAPE, single)
    for share, parent in zip(shares, parents, strict=True):
        total += single(share) * parent.values.astype(single)
    child = made(dtype, total)
    candidate = best(child, parents)
    assert candidate.predictor.name == "linear"
    assert missed(candidate, child, parents) < (0.001 if dtype == "BF16" else 0.2)
    assert left(candidate, child, parents) < (0.002 if dtype == "BF16" else 0.03)


def test_a_mean_is_rounded_as_a_sum_that_is_divided() -> None:
    parents = family("F32", 4)[1:]
    a, b, c = (parent.values.astype(single) for parent in parents)
    child = made("F32", (a + b + c) / single(3))
    assert missed(best(child, parents), child, parents) == 0.0


def test_task_arithmetic_in_the_type_itself_rounds_after_every_step() -> None:
    base, a, b = family("BF16")
    total = base.values
    for parent, share in ((a, 0.5), (b, 0.75)):
        away = rounded("BF16", parent.values - base.values)
        total = rounded("BF16", total + rounded("BF16", away * share))
    child = made("BF16", total)
    candidate = best(child, [a, base, b])
    assert candidate.parents[0] == 1  # the base comes first
    assert missed(candidate, child, [a, base, b]) == 0.0


def test_spherical_interpolation_is_a_sum_whose_shares_come_from_the_angle() -> None:
    a, b = made("BF16", weights(*SHAPE, seed=1)), made("BF16", weights(*SHAPE, seed=2))
    x, y = a.values, b.values
    angle = np.arccos((x * y).sum() / np.sqrt((x * x).sum() * (y * y).sum()))
    for share in (0.35, 0.5, 0.618):
        total = (np.sin((1 - share) * angle) * x + np.sin(share * angle) * y) / np.sin(angle)
        child = made("BF16", total)
        assert missed(best(child, [a, b]), child, [a, b]) < 1e-4


def test_parents_of_other_types_may_be_summed() -> None:
    a, b = family("F32", 3)[1:]
    child = made("BF16", (a.values.astype(single) + b.values.astype(single)) / single(2))
    assert missed(best(child, [a, b]), child, [a, b]) == 0.0


@pytest.mark.parametrize("seed", range(12))
def test_parents_of_any_types_in_any_order_may_be_offered(seed: int) -> None:
    chance = np.random.default_rng(seed)
    base = weights(64, 64, seed)
    other = base + chance.normal(0, 10 ** chance.uniform(-5, -2), base.shape)
    first, second, own = ("F32", "BF16", "F16") if seed % 2 else ("BF16", "F32", "BF16")
    a, b = made(first, base), made(second, other)
    share = chance.uniform(-0.5, 1.5)
    mixed = b.values + share * (a.values - b.values) + chance.normal(0, 10 ** chance.uniform(-7, -4), base.shape)
    child = made(own, mixed)
    for candidate in found(child, [a, b]):
        assert 0.0 <= missed(candidate, child, [a, b]) <= 1.0


def test_a_fine_tune_is_no_sum_of_its_base_and_a_sibling() -> None:
    base, a, b = family("BF16")
    assert {"identity"} == {candidate.predictor.name for candidate in found(b, [base, a])}


def test_equal_parents_do_not_confuse_the_sum() -> None:
    base, a, b = family("BF16")
    child = made("BF16", (a.values.astype(single) + b.values.astype(single)) / single(2))
    parents = [a, a, b, base, base]
    assert missed(best(child, parents), child, parents) < 1e-3


# ---------------------------------------------------------------- masks
def pruned(base: Made, gone: np.ndarray, sign: bool) -> Made:
    words = base.planes[0].reshape(SHAPE)
    zero = words & words.dtype.type(1 << (8 * words.itemsize - 1)) if sign else words.dtype.type(0)
    return of_words(base.form.dtype, np.where(gone, zero, words).astype(words.dtype))


@pytest.mark.parametrize("sign", [False, True])
@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
@pytest.mark.parametrize("rule", ["tensor", "rows", "2:4", "4:8"])
def test_a_pruned_tensor_follows_from_its_rule(rule: str, dtype: str, sign: bool) -> None:
    base = made(dtype, weights(*SHAPE, seed=3))
    size = np.abs(base.values)
    if rule == "tensor":
        gone = size <= np.median(size)
    elif rule == "rows":
        gone = size <= np.median(size, axis=1, keepdims=True)
    else:
        kept, group = map(int, rule.split(":"))
        groups = size.reshape(-1, group)
        order = np.argsort(-groups, axis=1, kind="stable")
        mask = np.zeros(groups.shape, bool)
        np.put_along_axis(mask, order[:, kept:], True, axis=1)
        gone = mask.reshape(SHAPE)
    child = pruned(base, gone, sign)
    candidate = best(child, [base])
    assert candidate.predictor.name == "mask"
    assert missed(candidate, child, [base]) == 0.0
    assert left(candidate, child, [base]) < (0.001 if rule != "rows" else 0.005)


def test_zeros_at_random_are_no_mask() -> None:
    base = made("BF16", weights(*SHAPE, seed=3))
    child = pruned(base, np.random.default_rng(1).random(SHAPE) < 0.5, sign=False)
    assert "mask" not in {candidate.predictor.name for candidate in found(child, [base])}
