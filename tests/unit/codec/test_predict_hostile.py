"""All predictors together: any bits, any shape, any parameters; and the same words however a tensor is cut."""

from __future__ import annotations

import struct
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))  # importlib mode leaves it out

from predicted import Made, best, found, guess, made, of_words, rebuilt, weights

from headwater.codec.form import Form, Limits, Parent, Undecodable
from headwater.codec.layout import layout_of
from headwater.codec.predict import candidates, from_params
from headwater.codec.predict.contract import pack
from headwater.codec.predict.words import FLOATS
from headwater.tensors.dtypes import elements

PLAIN = ["BF16", "F16", "F32", "F64", "F8_E4M3", "F8_E5M2", "I8", "U8", "I32", "BOOL", "C64"]
QUANTIZED = ["Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K"]
IDS = range(1, 11)


def noise(dtype: str, shape: tuple[int, ...], seed: int) -> Made:
    """Any bits: NaN payloads, infinities, subnormals and both zeros among them."""
    layout = layout_of(dtype)
    size = elements(shape) // layout.unit_elements * layout.unit_bytes
    raw = bytearray(np.random.default_rng(seed).bytes(size))
    raw[: size // 4] = bytes(size // 4)
    return Made(Form(dtype, shape), bytes(raw))


def every_kind() -> Iterator[tuple[str, Made, list[Made]]]:
    """(name, child, parents): for each family a tensor that it predicts."""
    base = made("BF16", weights(66, 128, 1))
    rng = np.random.default_rng(2)
    a, b = (made("BF16", base.values + rng.normal(0, 2e-4, base.values.shape)) for _ in range(2))
    size = np.abs(base.values)
    direction = rng.normal(size=(66, 1)) / 8
    scale = np.abs(base.values).max(axis=1, keepdims=True) / 127
    groups = np.argsort(np.argsort(-size.reshape(-1, 4), axis=1, kind="stable"), axis=1, kind="stable")
    yield "identity", a, [base]
    yield "cast", made("F16", base.values), [base]
    yield "prefix", made("BF16", np.concatenate([a.values, weights(30, 128, 9)])), [base]
    moved = weights(96, 128, 1)
    pairs = moved.reshape(3, 2, 16, 128).swapaxes(1, 2).reshape(96, 128)
    yield "reordered", made("BF16", pairs), [made("BF16", moved)]
    yield "mask", made("BF16", np.where(size > np.median(size, axis=1, keepdims=True), base.values, 0)), [base]
    yield "mask", made("BF16", np.where(groups.reshape(size.shape) < 2, base.values, 0)), [base]
    yield "linear", made("BF16", (a.values + b.values) / 2), [base, a, b]
    yield "lowrank", made("BF16", base.values - direction @ (direction.T @ base.values)), [base]
    yield "scaled", of_words("I8", np.rint(base.values / scale).astype(np.int8)), [base]
    yield "requant", Made(Form("Q8_0", (66, 128)), q8_0(base.values)), [base]


def q8_0(values: np.ndarray) -> bytes:
    rows = values.astype(np.float32).reshape(-1, 32)
    scale = np.abs(rows).max(axis=1) / np.float32(127)
    codes = np.rint(rows / scale[:, None]).astype(np.int8).view(np.uint8)
    return layout_of("Q8_0").join([scale.astype(np.float16).view("<u2"), codes.reshape(-1)])


KINDS = list(every_kind())


@pytest.mark.parametrize(("name", "child", "parents"), KINDS, ids=[f"{i}-{kind[0]}" for i, kind in enumerate(KINDS)])
def test_any_cut_gives_the_same_words(name: str, child: Made, parents: list[Made]) -> None:
    candidate = best(child, parents)
    assert candidate.predictor.name == name
    whole = guess(candidate, child, parents)
    for steps in (32, 96, 160, 128 * 5, 128 * 66 - 32):
        pieces = guess(candidate, child, parents, steps)
        assert all(np.array_equal(*pair) for pair in zip(whole, pieces, strict=True))


@pytest.mark.parametrize(("name", "child", "parents"), KINDS, ids=[f"{i}-{kind[0]}" for i, kind in enumerate(KINDS)])
def test_parents_of_any_bits_are_predicted_from_alike(name: str, child: Made, parents: list[Made]) -> None:
    candidate = best(child, parents)
    strange = [noise(parent.form.dtype, parent.form.shape, seed) for seed, parent in enumerate(parents)]
    whole = guess(candidate, child, strange)
    assert [words.dtype for words in whole] == [plane.dtype for plane in layout_of(child.form.dtype).planes]
    pieces = guess(candidate, child, strange, 32)
    assert all(np.array_equal(*pair) for pair in zip(whole, pieces, strict=True))


@pytest.mark.parametrize(("name", "child", "parents"), KINDS, ids=[f"{i}-{kind[0]}" for i, kind in enumerate(KINDS)])
def test_cut_or_changed_parameters_are_refused_or_harmless(name: str, child: Made, parents: list[Made]) -> None:
    candidate = best(child, parents)
    rebuilt(candidate, child, parents)
    data = candidate.predictor.params()
    forms = [parents[place].form for place in candidate.parents]
    for stop in {*range(min(len(data), 40)), len(data) - 1} if data else ():
        with pytest.raises(Undecodable):
            from_params(candidate.predictor.id, data[:stop], child.form, forms)
    with pytest.raises(Undecodable):
        from_params(candidate.predictor.id, data + b"\0", child.form, forms)
    rng = np.random.default_rng(1)
    for _ in range(100 if data else 0):
        harmed = bytearray(data)
        harmed[rng.integers(min(len(data), 64))] ^= 1 << rng.integers(8)
        tried(candidate.predictor.id, bytes(harmed), child.form, [parents[place] for place in candidate.parents])


def tried(number: int, data: bytes, form: Form, parents: list[Made]) -> bool:
    """Whether parameters are taken. If they are, they must predict any range without another error."""
    try:
        predictor = from_params(number, data, form, [parent.form for parent in parents])
    except Undecodable:
        return False
    for start, stop in ((0, 32), (32, elements(form.shape) // 32 * 32)):
        needs = predictor.needs(start, stop)
        assert all(0 <= first <= last for _, first, last in needs)
        planes = [parents[number].source.planes(first, last) for number, first, last in needs]
        assert len(predictor.predict(start, stop, planes)) == len(layout_of(form.dtype).planes)
    return True


@pytest.mark.parametrize("number", [0, *IDS, 11, 255])
def test_random_parameters_are_refused_or_harmless(number: int) -> None:
    rng = np.random.default_rng(number)
    forms = [("BF16", "BF16"), ("Q4_0", "F32"), ("I8", "BF16"), ("F16", "BF16")]
    for _ in range(60):
        for target, source in forms:
            data = bytes(rng.integers(0, rng.choice([3, 256]), rng.integers(0, 40), np.uint8))
            shapes = [(64, 64), (rng.choice([32, 64, 96]), 64)]
            parents = [noise(source, tuple(map(int, shape)), 1) for shape in shapes[: rng.integers(1, 3)]]
            tried(number, data, Form(target, (64, 64)), parents)


@pytest.mark.parametrize("number", IDS)
def test_forms_that_do_not_belong_together_are_refused(number: int) -> None:
    form = Form("BF16", (8, 32))
    for parents in ([], [Form("I64", (8, 32))], [Form("BF16", (9, 33))], [Form("BYTES", (3,))], [form] * 300):
        for data in (b"", b"\0", bytes(3), bytes(40)):
            with pytest.raises(Undecodable):
                from_params(number, data, form, parents)


def test_wrappers_do_not_nest() -> None:
    form, parent = Form("BF16", (64, 32)), Form("BF16", (32, 32))
    for number in (3, 4, 7, 8, 9):
        with pytest.raises(Undecodable):
            from_params(3, bytes([number]) * 2000, form, [parent])
        with pytest.raises(Undecodable):
            from_params(4, struct.pack("<BIB", 0, 32, number) * 300, form, [form])


def test_parameters_that_promise_gigabytes_take_no_memory() -> None:
    bomb = pack(bytes(1 << 24))  # 16 MiB of zeros in half a kilobyte
    huge = Form("BF16", (1 << 20, 1 << 20))
    tracemalloc.start()
    for form in (huge, Form("BF16", (1 << 40, 8)), Form("BF16", (64, 64)), Form("I8", (1 << 20, 1 << 20))):
        for head in (b"", bytes([1, 0, 0, 0]), struct.pack("<Hh", 64, 3) + bytes(64), struct.pack("<QQB", 1, 1, 0)):
            for number in IDS:
                with pytest.raises(Undecodable):
                    from_params(number, head + bomb, form, [Form("BF16", form.shape)])
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


def test_one_endless_row_costs_no_more_than_the_range_that_is_asked_for() -> None:
    form = Form("I8", (2, 1 << 40))
    data = struct.pack("<QQB", 1, 1 << 40, 0) + pack(bytes.fromhex("000000008080 3f3f"))  # twice 1.0
    predictor = from_params(6, data, form, [Form("BF16", form.shape)])
    words = np.arange(64, dtype="<u2")
    assert predictor.predict((1 << 40) - 32, (1 << 40) + 32, [[words]])[0].size == 64
    mask = from_params(7, bytes(4) + pack(bytes(2)), Form("BF16", form.shape), [Form("BF16", form.shape)])
    assert mask.predict((1 << 40) - 32, (1 << 40) + 32, [[words]])[0].size == 64


@pytest.mark.parametrize("dtype", [*PLAIN, *QUANTIZED])
def test_any_bits_may_have_any_bits_as_parents(dtype: str) -> None:
    shape = (64, 256)
    parents = [noise(other, shape, seed) for seed, other in enumerate([dtype, "BF16", "F32", "F16", dtype])]
    target = noise(dtype, shape, 9)
    for candidate in found(target, parents):
        guess(candidate, target, parents, 1024)


@pytest.mark.parametrize("dtype", ["BF16", "F32", "I8", "F8_E4M3", "C64"])
@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (0, 3), (1,), (7,), (5, 1), (1, 5), (3, 5, 7), (2, 2, 2, 2, 2)])
def test_small_and_empty_shapes_have_their_copies_as_parents(dtype: str, shape: tuple[int, ...]) -> None:
    target = noise(dtype, shape, 1)
    parents = [target, noise("BF16", shape, 2), noise("F32", shape, 3), noise(dtype, (*shape[:-1], 9), 4)]
    for candidate in found(target, parents):
        words = guess(candidate, target, parents)
        assert [w.size for w in words] == [w.size for w in target.planes]


def test_a_size_that_is_not_the_forms_has_no_predictor() -> None:
    target = made("BF16", weights(64, 64, 1))
    longer = Parent(target.form, len(target.raw) + 2, target.read)
    assert list(candidates(target.form, len(target.raw), target.read, [longer], Limits())) == []
    assert list(candidates(target.form, len(target.raw) - 2, target.read, [target.parent], Limits())) == []
    both = list(candidates(target.form, len(target.raw), target.read, [longer, target.parent], Limits()))
    assert [candidate.parents for candidate in both] == [(1,)]


@pytest.mark.parametrize("dtype", sorted(FLOATS))
def test_tensors_of_one_value_divide_by_nothing(dtype: str) -> None:
    for value in (0.0, 1.0, -0.5, np.inf, np.nan):
        target = made(dtype, np.full((64, 128), value))
        parents = [made(other, np.full((64, 128), each)) for other in sorted(FLOATS) for each in (0.0, value, 2.0)]
        for candidate in found(target, parents[:12]):
            guess(candidate, target, parents)
