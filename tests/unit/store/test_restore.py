"""The reader that does not know Headwater restores what the store has sealed, bit for bit."""

from __future__ import annotations

import importlib
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sealing import only_sealed, seal, tensor_rows
from sqlalchemy import insert
from store_cas import Cas
from tensor_cases import (
    ALL_DTYPES,
    NUMBERS,
    WITHOUT_TYPE,
    Made,
    best,
    cases,
    entries,
    files,
    made,
    requantized,
    several_blocks,
    weights,
)
from xet_building import Xorb, a_file, all_of, sha256_of

from headwater.codec.coders import Coder, encode_words, suits
from headwater.codec.form import Form
from headwater.codec.layout import Plane, layout_of
from headwater.codec.predict import Predictor, from_params
from headwater.codec.predict.source import predicted
from headwater.codec.predict.words import FLOATS, nearest, reals
from headwater.store import tables
from headwater.store.evict import evict
from headwater.store.seal import Relative

TOOLS = Path(__file__).resolve().parents[3] / "tools"
LINES_MAX = 200  # of each file, blank ones left out
CASES = {one.name: one for one in cases()}

sys.path.append(str(TOOLS))
reader: Any = importlib.import_module("restore")
coders: Any = importlib.import_module("coders")
predictors: Any = importlib.import_module("predictors")
words: Any = importlib.import_module("words")


def test_the_reader_fits_on_a_few_pages_and_imports_nothing_of_ours() -> None:
    for module in (reader, coders, predictors, words):
        path = Path(module.__file__)
        lines = [line for line in path.read_text().splitlines() if line.strip()]
        assert len(lines) <= LINES_MAX, path
        assert not [line for line in lines if "import headwater" in line or "from headwater" in line]


# ---------------------------------------------------------------- words
@pytest.mark.parametrize("dtype", [*ALL_DTYPES, *WITHOUT_TYPE])
def test_every_dtype_falls_into_the_same_planes_and_back(dtype: str) -> None:
    ours, raw = layout_of(dtype), np.random.default_rng(1).bytes(77 * layout_of(dtype).unit_bytes)
    layout = words.layout_of(dtype)
    assert (layout.unit_bytes, layout.unit_elements) == (ours.unit_bytes, ours.unit_elements)
    told = [(plane.bits, plane.exponent, plane.words) for plane in layout.planes]
    assert told == [(plane.bits, plane.exponent_bits, plane.words) for plane in ours.planes]
    planes = words.split(raw, layout)
    assert all(map(_equal, planes, ours.split(raw)))
    assert words.join(planes, layout) == raw


@pytest.mark.parametrize("dtype", sorted(FLOATS))
def test_floats_mean_and_round_the_same(dtype: str) -> None:
    kind, chance = FLOATS[dtype], np.random.default_rng(1)
    found = np.frombuffer(chance.bytes(1 << 16), kind.word)
    if kind.bits <= 16:
        found = np.arange(1 << kind.bits, dtype=kind.word)
    around = reals(np.sort(found), kind)
    anything = np.frombuffer(chance.bytes(1 << 16), "<f8")
    with np.errstate(all="ignore"):
        middles = (around[1:] + around[:-1]) / 2  # where ties go, and what lies just beside them
        singles = np.frombuffer(chance.bytes(1 << 16), "<f4").astype("<f8")
        assert _equal(words.reals(found, dtype).view("<u8"), reals(found, kind).view("<u8"))
        for values in (around, middles, np.nextafter(middles, 0), np.nextafter(middles, 1e9), anything, singles):
            assert _equal(words.nearest(values, dtype), nearest(values, kind))


def _equal(one: np.ndarray, other: np.ndarray) -> bool:
    return one.dtype == other.dtype and np.array_equal(one, other)


# ---------------------------------------------------------------- coders
PLANES = {
    f"{dtype} {number}": plane
    for dtype in ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2", "I64", "I32", "I16", "I8", "Q4_K", "Q3_K", "Q6_K")
    for number, plane in enumerate(layout_of(dtype).planes)
}


def _targets(plane: Plane, base: np.ndarray) -> list[np.ndarray]:
    """Words that are near the predicted ones, or far from them, or nothing like them."""
    chance, top = np.random.default_rng(2), (1 << plane.bits) - 1
    near = base.astype(np.uint64) + chance.integers(-3, 4, base.size).astype(np.uint64)
    apart = base.astype(np.uint64) ^ (np.uint64(1) << chance.integers(0, plane.bits, base.size).astype(np.uint64))
    still = np.where(np.arange(base.size) % 300 < 200, base.astype(np.uint64), near)
    lone = chance.integers(0, top, base.size, np.uint64, endpoint=True)
    return [(found & np.uint64(top)).astype(base.dtype) for found in (base.astype(np.uint64), near, apart, still, lone)]


@pytest.mark.parametrize(
    ("name", "coder"), [(name, one) for name in PLANES for one in Coder if suits(one, PLANES[name])]
)
def test_every_coder_is_understood_for_every_kind_of_word(name: str, coder: Coder) -> None:
    plane = PLANES[name]
    theirs = SimpleNamespace(bits=plane.bits, exponent=plane.exponent_bits)
    skewed = (np.random.default_rng(1).random(1501) ** 3 * ((1 << plane.bits) - 1)).astype(plane.dtype)
    for target in _targets(plane, skewed):
        base = target if coder is Coder.EXACT else skewed
        data = encode_words(coder, plane, target, base, (100, 37))
        assert _equal(coders.decode(data, theirs, target.size, lambda base=base: base), target)


def test_bytes_apart_may_be_raw_squeezed_or_in_tokens() -> None:
    plane, chance = layout_of("F32").planes[0], np.random.default_rng(1)
    columns = [chance.integers(0, 256, 4096), np.arange(4096) // 64, chance.integers(0, 9, 4096), np.zeros(4096)]
    found = np.stack([each.astype(np.uint8) for each in columns], axis=1).copy().view("<u4").reshape(-1)
    target = (found >> np.uint32(1)) | (found << np.uint32(31))  # the codec rotates floats by one bit
    data = encode_words(Coder.ALONE, plane, target, None)
    theirs = SimpleNamespace(bits=32, exponent=8)
    assert _equal(coders.decode(data, theirs, target.size, None), target)
    assert data[1] in (1, 2)


# ---------------------------------------------------------------- predictors
def _as_the_reader_sees_it(tensor: Made) -> Any:
    layout = words.layout_of(tensor.form.dtype)

    def planes(start: int, stop: int) -> list[np.ndarray]:
        first, last = start // layout.unit_elements, -(-stop // layout.unit_elements)
        split: list[np.ndarray] = words.split(tensor.raw[first * layout.unit_bytes : last * layout.unit_bytes], layout)
        return split

    return SimpleNamespace(form=words.Form(tensor.form.dtype, tensor.form.shape), planes=planes)


def _agree(predictor: Predictor, child: Made, parents: list[Made]) -> None:
    """Whole, and in ranges that begin and end wherever they may."""
    total, unit = child.source.elements, layout_of(child.form.dtype).unit_elements
    form = words.Form(child.form.dtype, child.form.shape)
    theirs = [_as_the_reader_sees_it(parent) for parent in parents]
    step = max(total // 5 // unit, 1) * unit + unit
    for start, stop in [(0, total), *((at, min(at + step, total)) for at in range(0, total, step))]:
        with np.errstate(all="ignore"):
            expected = predicted(predictor, (start, stop), [parent.source for parent in parents])
        found = predictors.predicted(predictor.id, predictor.params(), form, theirs, start, stop)
        assert all(map(_equal, found, expected))
        assert len(found) == len(expected)


@pytest.mark.parametrize("name", CASES)
def test_every_predictor_says_the_same(name: str) -> None:
    one = CASES[name]
    candidate = best(one.child, one.parents)
    assert candidate.predictor.id == one.predictor
    _agree(candidate.predictor, one.child, [one.parents[place] for place in candidate.parents])


@pytest.mark.parametrize("name", [name for name in CASES if not name.startswith("identity")])
def test_every_predictor_says_the_same_of_parents_with_any_bits(name: str) -> None:
    """NaNs, infinities, subnormals: what nobody trains is predicted from as well."""
    one = CASES[name]
    candidate = best(one.child, one.parents)
    chance = np.random.default_rng(3)
    strange = [Made(parent.form, chance.bytes(len(parent.raw))) for parent in one.parents]
    _agree(candidate.predictor, one.child, [strange[place] for place in candidate.parents])


@pytest.mark.parametrize("dtype", ["Q4_0", "Q4_1", "Q5_0", "Q5_1"])
def test_sums_that_are_rounded_once_are_understood(dtype: str) -> None:
    parent = made("F32", weights(64, 64, 5))
    child = requantized(dtype, parent, 1)
    _agree(from_params(5, b"\1", child.form, [parent.form]), child, [parent])


@pytest.mark.parametrize("way", [0, 1, 2])
@pytest.mark.parametrize("steps", [0, 1, 2])
@pytest.mark.parametrize("dtype", sorted(FLOATS))
def test_every_way_to_sum_is_understood(dtype: str, way: int, steps: int) -> None:
    parents = [made(kind, weights(8, 96, seed)) for seed, kind in enumerate((dtype, "F32", "F16"))]
    params = struct.pack("<BB3d", way, steps, 0.3, 0.45, 1 / 3)
    child = made(dtype, parents[0].values)
    _agree(from_params(8, params, child.form, [parent.form for parent in parents]), child, parents)


@pytest.mark.parametrize(("target", "source"), [(a, b) for a in FLOATS for b in FLOATS if a != b])
def test_every_cast_is_understood(target: str, source: str) -> None:
    parent = Made(Form(source, (3, 500)), np.random.default_rng(1).bytes(1500 * FLOATS[source].bits // 8))
    child = made(target, np.zeros((3, 500)))
    _agree(from_params(2, b"\0", child.form, [parent.form]), child, [parent])


# ---------------------------------------------------------------- files
def _folder(cas: Cas) -> Path:
    folder = cas.root / "data"
    shutil.copytree(cas.store.objects.root, folder / "store")
    cas.db.copy_to(folder / "headwater.sqlite")
    return folder


def _restored(folder: Path, sha256: str) -> bytes:
    return b"".join(reader.Store(folder).pieces(sha256))


def test_every_kind_of_entry_is_restored_without_headwater(cas: Cas) -> None:
    levels = files([*CASES.values(), several_blocks()])
    parents = [(name, data) for name, (*above, _child) in levels.items() for data in above]
    relatives = []
    for name, data in parents:
        only_sealed(cas, data, name=name, margin=-1.0)
        relatives.append(Relative(sha256_of(data), "a parent", name))
    for name, (*_above, child) in levels.items():
        only_sealed(cas, child, *relatives, name=name)
    stored = [entry for of in levels.values() for data in of for entry in entries(cas.store, sha256_of(data))]
    assert {predictor for _dtype, predictor, _coders in stored} == {0, *NUMBERS.values()}
    assert set().union(*(coders for _dtype, _predictor, coders in stored)) == set(Coder) - {Coder.RAW}
    assert {dtype for dtype, predictor, _coders in stored if predictor} >= set(ALL_DTYPES)

    folder = _folder(cas)
    for data in (data for files_ in levels.values() for data in files_):
        assert _restored(folder, sha256_of(data)) == data


WITHOUT_HEADWATER = """
import runpy, sys
tool, *sys.argv[1:] = sys.argv[1:]
sys.path.insert(0, tool.rpartition("/")[0])
runpy.run_path(tool, run_name="__main__")
assert not [name for name in sys.modules if name.startswith(("headwater", "numba", "blake3"))]
"""


def _run(*words_: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-c", WITHOUT_HEADWATER, TOOLS / "restore.py", *map(str, words_)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_command_lists_and_restores_with_nothing_of_ours(cas: Cas) -> None:
    text = b"lines that look alike, one after the other\n" * 9000
    sha256 = only_sealed(cas, text, name="notes.txt")
    empty = cas.put(b"").sha256
    folder = _folder(cas)
    assert _run(folder).stdout.splitlines() == sorted([f"{sha256} {len(text)}", f"{empty} 0"])
    done = _run(folder, sha256, folder / "restored")
    assert done.returncode == 0, done.stderr
    assert (folder / "restored").read_bytes() == text
    assert _run(folder, empty, folder / "restored").returncode == 0
    assert (folder / "restored").read_bytes() == b""


def test_what_is_not_right_is_told(cas: Cas) -> None:
    sha256 = cas.put(b"as it came").sha256
    cas.path(sha256).write_bytes(b"as it went")
    done = _run(_folder(cas), sha256, cas.root / "restored")
    assert done.returncode == 1
    assert "is not right: its SHA-256 is" in done.stderr


def test_files_of_xorbs_are_restored_be_they_here_or_made_of_sealed_files(cas: Cas) -> None:
    lines = tuple(b"%d lines of text " % number * 900 for number in range(4))
    whole, later = Xorb(lines), Xorb((b"its own" * 2000,))
    cas.land(whole, later)
    (first,) = cas.register(all_of(whole))
    assert seal(cas, first.sha256, name="text").sealed
    assert evict(cas.store, cas.xets, cas.clock.now_ms() + 1, 0, 0, {}).leaving == 1
    assert evict(cas.store, cas.xets, 0, 0, 0, {}).freed_bytes == len(whole.plain)
    assert not cas.xorb_path(whole).exists()
    mixed = a_file((whole, 2, 4), (later, 0, 1), (whole, 0, 1))
    cas.register(mixed)
    folder = _folder(cas)
    assert _restored(folder, first.sha256) == whole.plain
    assert _restored(folder, mixed.real_sha256) == mixed.data


def test_a_second_copy_serves_where_the_first_ones_pack_is_gone(cas: Cas) -> None:
    data = b"lines that look alike, one after the other\n" * 900
    sha256 = only_sealed(cas, data, name="notes.txt")
    rows = tensor_rows(cas)
    path = cas.store.packs.path(rows[0].pack)
    with cas.db.write_soft() as connection:
        (number,) = connection.execute(insert(tables.pack).values(size_bytes=0, created_ms=0)).inserted_primary_key
        places = [{"tensor": row.id, "pack": number, "start": row.start} for row in rows]
        connection.execute(insert(tables.tensor_copy), places)
    shutil.move(path, cas.store.packs.path(number))
    assert _restored(_folder(cas), sha256) == data
