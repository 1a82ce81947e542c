"""Tensors with their parents: something of every predictor, and of every dtype that has a layout. Small, seeds fixed.

What the tests of the plain reader restore, and what the stores that are kept as fixtures are made of.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "codec"))  # importlib mode leaves them out
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tensors"))

from predicted import Made, best, made, of_words, weights
from tensor_files import gguf_file, safetensors_file
from test_predict_graded import DTYPES as GRADED
from test_predict_graded import quantized

from headwater.codec.form import Form
from headwater.codec.layout import layout_of
from headwater.codec.predict.ggml import Requantized
from headwater.codec.predict.words import FLOATS, nearest_of_singles
from headwater.codec.streams import Parts
from headwater.codec.tensor import PLANES_BLOCK, cut_of
from headwater.ground.names import Sha256
from headwater.store import Store
from headwater.tensors.dtypes import GGML_TYPES, SAFETENSORS_BITS

NUMBERS = {
    "identity": 1, "cast": 2, "prefix": 3, "reordered": 4, "requant": 5,
    "scaled": 6, "mask": 7, "linear": 8, "lowrank": 9, "graded": 10,
}  # fmt: skip
WITHOUT_TYPE = ("BYTES", "NO_SUCH_DTYPE")
ALL_DTYPES = (*SAFETENSORS_BITS, *(kind.name for kind in GGML_TYPES.values() if kind.name not in SAFETENSORS_BITS))
single = np.float32

__all__ = [
    "ALL_DTYPES", "NUMBERS", "WITHOUT_TYPE", "Case", "Made", "best", "cases", "entries", "files", "made",
    "requantized", "several_blocks", "touched", "weights",
]  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A tensor whose best predictor is known (0: it is stored alone)."""

    name: str
    predictor: int
    child: Made
    parents: tuple[Made, ...]


def case(name: str, child: Made, *parents: Made) -> Case:
    return Case(name, NUMBERS[name.split(maxsplit=1)[0]], child, parents)


def noise(dtype: str, size_bytes: int = 2048, seed: int = 1) -> Made:
    """Any bits, low ones more often: NaNs, infinities and codes that no quantizer writes are among them."""
    layout = layout_of(dtype)
    units = -(-size_bytes // layout.unit_bytes)
    raw = 256 * np.random.default_rng(seed).random(units * layout.unit_bytes) ** 5
    return Made(Form(dtype, (units * layout.unit_elements,)), raw.astype(np.uint8).tobytes())


def touched(tensor: Made, seed: int = 2, share: float = 0.03) -> Made:
    """The same with some bits turned."""
    chance, raw = np.random.default_rng(seed), np.frombuffer(tensor.raw, np.uint8).copy()
    at = chance.integers(0, raw.size, max(int(raw.size * share), 1))
    raw[at] ^= (1 << chance.integers(0, 8, at.size)).astype(np.uint8)
    return Made(tensor.form, raw.tobytes())


def cases() -> Iterator[Case]:
    yield from _of_one_parent()
    yield from _quantizations()
    yield from _merges()
    yield from _near_a_base()
    for dtype in (*ALL_DTYPES, *WITHOUT_TYPE):
        base = noise(dtype)
        yield case(f"identity {dtype}", touched(base), base)


def _near_a_base() -> Iterator[Case]:
    """One for each coder of what a prediction leaves."""
    chance, base = np.random.default_rng(11), made("BF16", weights(200, 64, 12))
    rows = np.where(np.arange(200) % 3 == 0, 2e-3, np.where(np.arange(200) % 3 == 1, 3e-5, 0.0))[:, None]
    yield case("identity by rows", made("BF16", base.values + chance.normal(0, 1, base.values.shape) * rows), base)
    for dtype in ("BF16", "F16", "F8_E4M3"):
        turned = made(dtype, base.values * 8)
        yield case(f"identity negated {dtype}", made(dtype, -turned.values), turned)
    blocks = noise("Q4_0", 8192)
    codes = touched(blocks).planes[1]
    half = Made(blocks.form, layout_of("Q4_0").join([blocks.planes[0], codes]))
    yield case("identity in scales", half, blocks)


def several_blocks() -> Case:
    """More than 2 MiB, which are coded each by itself; nearly all of it is alike."""
    chance = np.random.default_rng(13)
    counts = np.repeat(chance.integers(0, 1 << 40, 330), 1000).reshape(330, 1000)
    child = counts.copy()
    child[::7, ::31] += chance.integers(1, 1 << 33, child[::7, ::31].shape)
    return case("identity in blocks", of_words("I64", child), of_words("I64", counts))


def _of_one_parent() -> Iterator[Case]:
    base, single_base = made("BF16", weights(96, 64, 1)), made("F32", weights(96, 64, 2))
    for target in ("F16", "BF16", "F64", "F8_E5M2"):
        yield case(f"cast F32 to {target}", made(target, single_base.values), single_base)
    yield case("cast BF16 to F32", made("F32", base.values), base)
    cut = (single_base.planes[0] >> 16).astype("<u2").reshape(96, 64)
    yield case("cast cut off", of_words("BF16", cut), single_base)
    yield case("prefix", made("BF16", np.concatenate([base.values, weights(10, 64, 3)])), base)
    yield case("prefix cast", made("F16", single_base.values[:80]), single_base)
    original = made("BF16", weights(128, 64, 4))
    yield case("reordered", made("BF16", _to_pairs(original.values, 4)), original)
    yield case("reordered back", original, made("BF16", _to_pairs(original.values, 4)))
    yield case("reordered cast", made("F16", _to_pairs(single_base.values, 3)), single_base)
    size = np.abs(base.values)
    rules = {
        "tensor": size <= np.median(size),
        "rows": size <= np.median(size, axis=1, keepdims=True),
        "neighbours": np.argsort(np.argsort(-size.reshape(-1, 4), axis=1, kind="stable"), axis=1).reshape(96, 64) >= 2,
    }
    for rule, gone in rules.items():
        words = base.planes[0].reshape(96, 64)
        yield case(f"mask {rule}", of_words("BF16", np.where(gone, np.uint16(0), words)), base)
        yield case(f"mask {rule} signed", of_words("BF16", np.where(gone, words & np.uint16(1 << 15), words)), base)


def _to_pairs(matrix: np.ndarray, heads: int) -> np.ndarray:
    rows, columns = matrix.shape
    return np.ascontiguousarray(matrix.reshape(heads, 2, -1, columns).swapaxes(1, 2)).reshape(rows, columns)


def requantized(dtype: str, parent: Made, sums: int = 0) -> Made:
    total = parent.source.elements
    planes = Requantized(dtype, FLOATS[parent.form.dtype], sums).predict(0, total, [parent.planes])
    return Made(Form(dtype, parent.form.shape), layout_of(dtype).join(planes))


def _quantizations() -> Iterator[Case]:
    base = made("F32", weights(64, 64, 5))
    for dtype in ("Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"):
        yield case(f"requant {dtype}", requantized(dtype, base), base)
    paired = made("F32", _to_pairs(base.values, 2))
    yield case("reordered requant", requantized("Q8_0", paired), base)
    for dtype in GRADED:
        child, values = quantized(dtype, (16, 256))
        yield case(f"graded {dtype}", child, made("F32", values))
    child, values = quantized("Q4_K", (64, 256))
    halves = values.reshape(2, 16, 2, 256).swapaxes(1, 2).reshape(64, 256)
    yield case("graded in pairs", child, made("F32", halves))
    whole = made("BF16", weights(128, 256, 6))
    for axis in (None, 0, 1):
        scale = np.abs(whole.values.astype(single)).max(axis=axis, keepdims=True) / single(127)
        codes = np.clip(np.rint(whole.values.astype(single) / scale), -127, 127).astype(np.int8)
        yield case(f"scaled I8 {axis}", of_words("I8", codes), whole)
    moved = made("F16", weights(64, 256, 7) + 0.01)
    values = moved.values.astype(single)
    low, high = values.min(axis=1, keepdims=True), values.max(axis=1, keepdims=True)
    scale = (high - low) / single(255)
    centred = np.clip(np.rint(values / scale) + np.rint(-low / scale), 0, 255).astype(np.uint8)
    yield case("scaled U8", of_words("U8", centred), moved)
    for dtype, most in (("F8_E4M3", 448), ("F8_E5M2", 57344)):
        cells = whole.values.astype(single).reshape(1, 128, 2, 128)
        scale = np.abs(cells).max(axis=(1, 3), keepdims=True) / single(most)
        words = nearest_of_singles((cells / scale).reshape(-1), FLOATS[dtype])
        yield case(f"scaled {dtype}", of_words(dtype, words.reshape(128, 256)), whole)


def _merges() -> Iterator[Case]:
    shape, chance = (48, 128), np.random.default_rng(8)
    base = made("BF16", weights(*shape, 9))
    a, b = (made("BF16", base.values + chance.normal(0, 2e-4, shape)) for _ in range(2))
    total = single(0.3) * a.values.astype(single) + single(0.7) * b.values.astype(single)
    yield case("linear sum", made("BF16", total), a, b)
    wide = [made("F32", tensor.values + chance.normal(0, 1e-5, shape)) for tensor in (base, a, b)]
    mean = (wide[0].values.astype(single) + wide[1].values.astype(single) + wide[2].values.astype(single)) / single(3)
    yield case("linear mean", made("F32", mean), *wide)
    around = base.values
    for parent, share in ((a, 0.5), (b, 0.75)):
        away = made("BF16", parent.values - base.values).values
        around = made("BF16", around + made("BF16", away * share).values).values
    yield case("linear around a base", made("BF16", around), base, a, b)
    square = made("BF16", weights(256, 192, 10))
    direction = chance.normal(size=256)
    direction /= np.linalg.norm(direction)
    ablated = square.values - np.outer(direction, direction @ square.values)
    yield case("lowrank", made("BF16", ablated), square)


# ---------------------------------------------------------------- as files
def files(chosen: list[Case]) -> dict[str, list[bytes]]:
    """By format: the files of the first, second, ... parents, and last the file of the children.

    A tensor has its case's name in each. Parents and child of a case may be in files of either format.
    """
    depth = max(len(one.parents) for one in chosen)
    levels: list[dict[str, Made]] = [{} for _ in range(depth + 1)]
    for one in chosen:
        for level, tensor in enumerate(one.parents):
            levels[level][one.name] = tensor
        levels[depth][one.name] = one.child
    return {
        "model.safetensors": [data for tensors in levels if (data := _safetensors(tensors))],
        "model.gguf": [data for tensors in levels if (data := _gguf(tensors))],
    }


def _safetensors(tensors: dict[str, Made]) -> bytes:
    fits = {name: one for name, one in tensors.items() if one.form.dtype in SAFETENSORS_BITS}
    named = {name: (one.form.dtype, list(one.form.shape), one.raw) for name, one in fits.items()}
    return safetensors_file(named) if named else b""


def _gguf(tensors: dict[str, Made]) -> bytes:
    numbers = {kind.name: number for number, kind in GGML_TYPES.items() if kind.name not in SAFETENSORS_BITS}
    fits = {name: one for name, one in tensors.items() if one.form.dtype in numbers}
    named = {name: (numbers[one.form.dtype], list(one.form.shape)[::-1], one.raw) for name, one in fits.items()}
    return gguf_file(named) if named else b""


# ---------------------------------------------------------------- as they are stored
def entries(store: Store, sha256: Sha256) -> list[tuple[str, int, set[int]]]:
    """What a sealed file stands on: the dtype, the predictor and the coders of each of its entries."""
    found = []
    for key in sorted(store.sealed_recipe(store.blob(sha256)).keys):
        known, index = store.tensors.find(key), store.tensors.index(key)
        assert known is not None
        at, coders = known.place.start, set()
        for length in index.stored:
            block = Parts(store.packs.read(known.place.pack, at, at + length))
            block.bytes(8)
            if block.byte() == PLANES_BLOCK:
                coders |= {int(block.part()[0]) for _plane in cut_of(known.form, known.size).layout.planes}
            at += length
        found.append((index.dtype, index.head[9], coders))
    return found
