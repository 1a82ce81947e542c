"""Some eighty small files of every format and of every kind of derivative, the same from the same seed.

Made by arithmetic, with the writers of the other tests; with excerpts of real weights where the machine has some (the
client environment `real`, the corpora of `make bench-store`, a folder in HEADWATER_CORPORA).
"""

from __future__ import annotations

import json
import os
import struct
import sys
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit" / "store"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit" / "tensors"))

from tensor_files import (
    Storage,
    Torch,
    external,
    npy_file,
    old_torch_file,
    onnx_file,
    onnx_tensor,
    safetensors_file,
    tar_file,
    torch_file,
    zip_file,
)
from xet_building import File, Xorb, sha256_of

from headwater.codec.predict.words import FLOATS, nearest, reals
from headwater.ground.names import Sha256
from headwater.store import chunking
from headwater.tensors import gguf
from headwater.tensors.dtypes import GGML_TYPES

REPOSITORY = Path(__file__).resolve().parents[2]
REAL = (
    Path.home() / ".cache/headwater/clients/real",
    REPOSITORY / ".cache/bench/corpora",
    Path(os.environ.get("HEADWATER_CORPORA", "/no such folder")),
)
REAL_FILES_MAX = 40
EXCERPT_BYTES_MAX = 700_000
HEADER_BYTES_MAX = 10_000_000
HIDDEN, INNER, WORDS, LAYERS = 64, 160, 320, 2
XORB_CHUNKS_MAX = 12  # so that files of a family share some of their xorbs, and build on parts of others
Weights = dict[str, np.ndarray]


@dataclass(frozen=True)
class Sample:
    """A file of the corpus. Those of one family are offered to each other as relatives."""

    name: str
    family: str
    data: bytes

    @cached_property
    def sha256(self) -> Sha256:
        return sha256_of(self.data)


# --- a small language model and what people make of it ---


def _model(seed: int) -> Weights:
    chance = np.random.default_rng(seed)
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (WORDS, HIDDEN), "model.norm.weight": (HIDDEN,)}
    for layer in range(LAYERS):
        at = f"model.layers.{layer}"
        shapes |= {f"{at}.self_attn.{one}_proj.weight": (HIDDEN, HIDDEN) for one in "qkvo"}
        shapes |= {f"{at}.mlp.{one}_proj.weight": (INNER, HIDDEN) for one in ("gate", "up")}
        shapes |= {f"{at}.mlp.down_proj.weight": (HIDDEN, INNER), f"{at}.input_layernorm.weight": (HIDDEN,)}
    return {
        name: chance.standard_t(6, shape) * 0.02 * chance.lognormal(0, 0.1, (shape[0],) + (1,) * (len(shape) - 1))
        for name, shape in shapes.items()
    }


def _drifted(base: Weights, drift: float, seed: int, only: str = "") -> Weights:
    chance = np.random.default_rng(seed)
    return {
        name: value + chance.standard_normal(value.shape) * drift * np.abs(value).mean() if only in name else value
        for name, value in base.items()
    }


def _merged(base: Weights, rank: int, seed: int) -> Weights:
    """A LoRA of that rank in every matrix of the layers."""
    chance = np.random.default_rng(seed)
    out = dict(base)
    for name, value in base.items():
        if value.ndim == 2 and "layers" in name:
            up, down = chance.normal(0, 0.01, (value.shape[0], rank)), chance.normal(0, 0.05, (rank, value.shape[1]))
            out[name] = value + up @ down
    return out


def _pruned(base: Weights) -> Weights:
    return {
        name: np.where(np.abs(value) > np.median(np.abs(value)), value, 0.0) if value.ndim == 2 else value
        for name, value in base.items()
    }


def _abliterated(base: Weights) -> Weights:
    way = np.random.default_rng(9).standard_normal(HIDDEN)
    way /= np.linalg.norm(way)
    writes = ("o_proj.weight", "down_proj.weight")
    return {n: v - np.outer(way, way @ v) if n.endswith(writes) else v for n, v in base.items()}


def _longer(base: Weights) -> Weights:
    fresh = np.random.default_rng(5).normal(0, 0.02, (24, HIDDEN))
    return base | {"model.embed_tokens.weight": np.concatenate([base["model.embed_tokens.weight"], fresh])}


def _rounded(weights: Weights, dtype: str) -> Weights:
    """What a file of that type gives back: derivatives are made of released weights."""
    kind = FLOATS[dtype]
    return {name: reals(nearest(value.reshape(-1), kind), kind).reshape(value.shape) for name, value in weights.items()}


def _tensors(weights: Weights, dtype: str) -> dict[str, tuple[str, list[int], bytes]]:
    return {
        name: (dtype, list(value.shape), nearest(np.ascontiguousarray(value).reshape(-1), FLOATS[dtype]).tobytes())
        for name, value in weights.items()
    }


def _eights(weights: Weights) -> dict[str, tuple[str, list[int], bytes]]:
    """Rows of int8 with a scale each."""
    out: dict[str, tuple[str, list[int], bytes]] = {}
    for name, value in weights.items():
        if value.ndim < 2:
            out |= _tensors({name: value}, "F16")
            continue
        scale = np.abs(value).max(1, keepdims=True) / 127
        codes = np.clip(np.rint(value / scale), -127, 127).astype("i1")
        out[name] = ("I8", list(value.shape), codes.tobytes())
        out |= _tensors({f"{name}_scale": scale}, "F16")
    return out


def _fours(weights: Weights) -> dict[str, tuple[str, list[int], bytes]]:
    """Two codes of four bits to a byte, as GPTQ and its like keep them."""
    out: dict[str, tuple[str, list[int], bytes]] = {}
    for name, value in weights.items():
        if value.ndim < 2:
            out |= _tensors({name: value}, "F16")
            continue
        scale = np.abs(value).max(1, keepdims=True) / 7
        codes = (np.clip(np.rint(value / scale), -7, 7) + 8).astype("u1")
        out[f"{name}.qweight"] = (
            "U8",
            [value.shape[0], value.shape[1] // 2],
            (codes[:, ::2] | codes[:, 1::2] << 4).tobytes(),
        )
        out |= _tensors({f"{name}.scales": scale}, "F16")
    return out


def _shards(weights: Weights, count: int, stem: str) -> dict[str, bytes]:
    names = sorted(weights)
    parts = [names[number::count] for number in range(count)] if count == 2 else [
        list(part) for part in np.array_split(np.array(names), count)
    ]  # fmt: skip
    return {
        f"{stem}-{number + 1:05d}-of-{count:05d}.safetensors": safetensors_file(
            _tensors({name: weights[name] for name in part}, "BF16")
        )
        for number, part in enumerate(parts)
    }


def _language_models() -> Iterator[Sample]:
    base = _rounded(_model(1), "BF16")
    usual, other = _drifted(base, 5e-3, 2), _drifted(base, 5e-3, 3)
    kinds: dict[str, Weights] = {
        "base": base,
        "light": _drifted(base, 2e-4, 4),
        "usual": usual,
        "other": other,
        "heavy": _drifted(base, 0.1, 5),
        "second": _drifted(_rounded(usual, "BF16"), 1e-3, 6),
        "frozen": _drifted(base, 5e-3, 7, "layers.1"),
        "lora": _merged(base, 4, 8),
        "soup": {name: (_rounded(usual, "BF16")[name] + _rounded(other, "BF16")[name]) / 2 for name in base},
        "pruned": _pruned(_rounded(usual, "BF16")),
        "abliterated": _abliterated(base),
        "vocabulary": _longer(usual),
        "stranger": _model(99),
        "renamed": {name.replace("model.layers", "transformer.h"): value for name, value in usual.items()},
        "again": {name: usual[name] for name in sorted(usual, reverse=True)},
    }
    for name, weights in kinds.items():
        yield Sample(f"{name}/model.safetensors", "lm", safetensors_file(_tensors(weights, "BF16")))
    for dtype in ("F16", "F32", "F64", "F8_E4M3", "F8_E5M2"):
        for name in ("base", "usual"):
            if (dtype, name) != ("F64", "usual"):
                data = safetensors_file(_tensors(kinds[name], dtype))
                yield Sample(f"{name}-{dtype.lower()}/model.safetensors", "lm", data)
    for name in ("base", "usual"):
        yield Sample(f"{name}-int8/model.safetensors", "lm", safetensors_file(_eights(kinds[name])))
        yield Sample(f"{name}-int4/model.safetensors", "lm", safetensors_file(_fours(kinds[name])))
    for name, count in (("base", 2), ("usual", 3)):
        for path, data in _shards(kinds[name], count, "model").items():
            yield Sample(f"{name}-sharded/{path}", "lm", data)
    yield from _ggufs(kinds)
    yield from _torches(kinds)
    yield from _onnxes(kinds)
    yield from _arrays(kinds)


# --- GGUF ---


def _gguf(tensors: Mapping[str, tuple[int, list[int], bytes]], version: int = 3) -> bytes:
    """With shapes as people write them: the outermost dimension first."""
    pairs = b"".join(
        _text(key) + struct.pack("<I", 8) + _text(value)
        for key, value in (("general.architecture", "llama"), ("general.name", "soak"))
    )
    table, data = b"", b""
    for name, (kind, shape, raw) in tensors.items():
        table += _text(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape[::-1])
        table += struct.pack("<IQ", kind, len(data))
        data += raw + bytes(-len(raw) % 32)
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), 2) + pairs + table
    return head + bytes(-len(head) % 32) + data


def _text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def _q8_0(value: np.ndarray) -> bytes:
    blocks = value.astype("<f4").reshape(-1, 32)
    scale = np.abs(blocks).max(1, keepdims=True) / np.float32(127)
    codes = np.rint(blocks * np.where(scale, 1 / np.where(scale, scale, 1), 0)).astype("i1")
    return np.concatenate([scale.astype("<f2").view("u1"), codes.view("u1")], 1).tobytes()


def _q4_0(value: np.ndarray) -> bytes:
    blocks = value.astype("<f4").reshape(-1, 32)
    extreme = np.take_along_axis(blocks, np.abs(blocks).argmax(1)[:, None], 1)
    scale = extreme / np.float32(-8)
    codes = np.clip(blocks * np.where(scale, 1 / np.where(scale, scale, 1), 0) + 8.5, 0, 15).astype("u1")
    return np.concatenate([scale.astype("<f2").view("u1"), codes[:, :16] | codes[:, 16:] << 4], 1).tobytes()


def _blocks(kind: int, rows: int, columns: int, seed: int, changed: float = 0.0) -> bytes:
    """Blocks of any type: scales that look like scales, codes without a pattern; a share of the codes `changed`."""
    one = GGML_TYPES[kind]
    chance = np.random.default_rng(seed * 1000 + kind)
    blocks = np.minimum(chance.integers(0, 256, (rows * columns // one.block_elements, one.block_bytes), "u1"), 0xEF)
    if one.block_bytes > one.block_elements // 8 + 1 > 1:
        blocks[:, :2] = chance.normal(0.01, 0.001, (len(blocks), 1)).astype("<f2").view("u1")
    tuning = np.random.default_rng(seed + 7)
    at = tuning.random(blocks.shape) < changed
    blocks[at] ^= tuning.integers(1, 8, int(at.sum()), "u1")
    return blocks.tobytes()


def _ggufs(kinds: Mapping[str, Weights]) -> Iterator[Sample]:
    matrices = {of: {n: v for n, v in kinds[of].items() if v.ndim == 2} for of in ("base", "usual")}
    for of, weights in matrices.items():
        plain = {n: (0, list(v.shape), v.astype("<f4").tobytes()) for n, v in kinds[of].items() if v.ndim == 1}
        for name, kind, quantize in (("Q8_0", 8, _q8_0), ("Q4_0", 2, _q4_0)):
            tensors = plain | {n: (kind, list(v.shape), quantize(v)) for n, v in weights.items()}
            yield Sample(f"{of}.{name}.gguf", "lm", _gguf(tensors, 3 if of == "usual" else 2))
    halves = {n: (1, list(v.shape), v.astype("<f2").tobytes()) for n, v in kinds["usual"].items()}
    yield Sample("usual.F16.gguf", "lm", _gguf(halves))
    for stem, numbers in (("classic", (2, 3, 6, 7, 8, 9)), ("k", range(10, 16)), ("i", (*range(16, 24), 29))):
        for of, changed in (("base", 0.0), ("tuned", 0.02)):
            tensors = {f"blk.{n}.weight": (n, [96, 256], _blocks(n, 96, 256, 3, changed)) for n in numbers}
            yield Sample(f"{of}.{stem}-quants.gguf", stem, _gguf(tensors))
    every = {f"t{n}": (n, [16, 256], _blocks(n, 16, 256, 4)) for n in GGML_TYPES}
    yield Sample("every-type.gguf", "k", _gguf(every, 2))


# --- PyTorch, ONNX, arrays, archives ---


def _state(weights: Weights, kind: str, dtype: str) -> dict[str, Torch]:
    out = {}
    for name, (_dtype, shape, raw) in _tensors(weights, dtype).items():
        count = int(np.prod(shape))
        out[name] = Torch(Storage(kind, raw, count), tuple(shape))
    return out


def _torches(kinds: Mapping[str, Weights]) -> Iterator[Sample]:
    for of in ("base", "usual"):
        yield Sample(f"{of}/pytorch_model.bin", "lm", torch_file(_state(kinds[of], "FloatStorage", "F32")))
    yield Sample("usual/pytorch_model.bf16.pth", "lm", torch_file(_state(kinds["usual"], "BFloat16Storage", "BF16")))
    yield Sample("usual/legacy.pt", "lm", old_torch_file(_state(kinds["usual"], "HalfStorage", "F16")))


def _onnxes(kinds: Mapping[str, Weights]) -> Iterator[Sample]:
    usual = _tensors(kinds["usual"], "F32")
    inside = [onnx_tensor(name, 1, shape, raw) for name, (_d, shape, raw) in usual.items()]
    yield Sample("onnx/model.onnx", "lm", onnx_file(inside))
    halves = _tensors(kinds["base"], "F16")
    yield Sample(
        "onnx/model_fp16.onnx", "lm", onnx_file([onnx_tensor(n, 10, s, r) for n, (_d, s, r) in halves.items()])
    )
    outside, data = [], b""
    for name, (_dtype, shape, raw) in usual.items():
        more = external("model.onnx_data", offset=len(data), length=len(raw))
        outside.append(onnx_tensor(name, 1, shape, more=more))
        data += raw
    yield Sample("external/model.onnx", "lm", onnx_file(outside))
    yield Sample("external/model.onnx_data", "lm", data)


def _arrays(kinds: Mapping[str, Weights]) -> Iterator[Sample]:
    embedding = kinds["usual"]["model.embed_tokens.weight"]
    plain = npy_file("'<f4'", embedding.shape, embedding.astype("<f4").tobytes())
    turned = npy_file("'<f4'", embedding.shape, embedding.astype("<f4").tobytes(), fortran=True)
    whole = safetensors_file(_tensors(kinds["light"], "BF16"))
    members = [("a/embedding.npy", plain), ("a/config.json", b'{"hidden_size": 64}'), ("a/model.safetensors", whole)]
    yield Sample("embedding.npy", "lm", plain)
    yield Sample("embedding-fortran.npy", "lm", turned)
    yield Sample("arrays.npz", "lm", zip_file([("embedding.npy", plain), ("turned.npy", turned)]))
    yield Sample("packed.npz", "lm", zip_file([("embedding.npy", plain)], zipfile.ZIP_DEFLATED))
    yield Sample("package.zip", "lm", zip_file(members))
    yield Sample("package.tar", "lm", tar_file(members))
    yield Sample(
        "archive.nemo", "lm", tar_file([("weights.bin", torch_file(_state(kinds["light"], "FloatStorage", "F32")))])
    )


# --- what is no model, and what nobody expects ---


def _plain_files() -> Iterator[Sample]:
    chance = np.random.default_rng(11)
    words = [f"token{number}" for number in range(6000)]
    vocabulary = json.dumps({"model": {"vocab": {word: at for at, word in enumerate(words)}}}, indent=1).encode()
    yield Sample("tokenizer.json", "text", vocabulary)
    yield Sample("tokenizer-2.json", "text", vocabulary.replace(b"token500", b"another!"))
    text = " ".join(words[number] for number in chance.integers(0, 6000, 60_000)).encode()
    yield Sample("corpus.txt", "text", text)
    yield Sample("corpus-2.txt", "text", text + b"\nand one line more\n" * 200)
    yield Sample("corpus-3.txt", "text", text[:200_000] + b"edited in the middle" + text[200_100:])
    yield Sample("noise.bin", "plain", chance.bytes(700_001))
    yield Sample("zeros.bin", "plain", bytes(1_500_000))
    yield Sample("pattern.bin", "plain", bytes(range(256)) * 3000)
    yield Sample("empty", "plain", b"")
    yield Sample("one-byte", "plain", b"\x80")
    large = chance.normal(0, 0.02, (1100, 1200)).astype("<f4")
    words16 = (large.view("<u4") >> 16).astype("<u2")
    yield Sample("large/model.safetensors", "large", safetensors_file({"w": ("BF16", [1100, 1200], words16.tobytes())}))
    words16[::7, ::5] += 1
    yield Sample(
        "large-2/model.safetensors", "large", safetensors_file({"w": ("BF16", [1100, 1200], words16.tobytes())})
    )


def _odd_files() -> Iterator[Sample]:
    every = np.arange(1 << 16, dtype="<u2")
    shuffled = np.random.default_rng(12).permutation(every)
    for name, words in (("patterns", every), ("patterns-shuffled", shuffled), ("patterns-signs", every ^ 0x8000)):
        both = {kind: (kind.upper(), [256, 256], words.tobytes()) for kind in ("bf16", "f16")}
        yield Sample(f"{name}.safetensors", "patterns", safetensors_file(both))
    singles = np.tile(
        np.array([0x80000000, 0x7FC00001, 0xFFFFFFFF, 1, 0x807FFFFF, 0x7F800000, 0xFF800000, 0], "<u4"), 4000
    )
    doubles = np.tile(np.array([1 << 63, 0x7FF8000000000001, 1, 0xFFF0000000000000], "<u8"), 2000)
    odd = {
        "f32": ("F32", [32_000], singles.tobytes()),
        "f64": ("F64", [8000], doubles.tobytes()),
        "bytes": ("U8", [4099], bytes(range(255)) * 16 + bytes(19)),
        "none": ("F32", [0, 5], b""),
        "scalar": ("I64", [], struct.pack("<q", -1)),
        "flags": ("BOOL", [2001], bytes([1, 0, 1]) * 667),
    }
    yield Sample("specials.safetensors", "patterns", safetensors_file(odd))
    sound = safetensors_file({"w": ("F16", [101, 103], shuffled[: 101 * 103].tobytes())})
    yield Sample("odd-length.safetensors", "patterns", sound)
    small = (np.random.default_rng(14).normal(0, 0.02, 400_000).astype("<f4").view("<u4") >> 16).astype("<u2")
    many = {}
    for number in range(300):
        at, size = 1000 * number, 900 + number % 7
        many[f"t{number:04d}"] = ("BF16", [size], small[at : at + size].tobytes())
    yield Sample("many.safetensors", "patterns", safetensors_file(many))
    yield from _hostile_files(sound)


def _hostile_files(sound: bytes) -> Iterator[Sample]:
    fill = np.random.default_rng(13).integers(0, 30, 40_000, "u1").tobytes()
    yield Sample("hostile-length.safetensors", "hostile", struct.pack("<Q", 1 << 63) + b"{" + fill)
    lapping = {
        name: {"dtype": "U8", "shape": [20_000], "data_offsets": [at, at + 20_000]}
        for name, at in (("a", 0), ("b", 9000))
    }
    yield Sample("overlap.safetensors", "hostile", _with_header(lapping, fill))
    wrong = {"a": {"dtype": "F32", "shape": [3, 3], "data_offsets": [0, 40_000]}}
    yield Sample("wrong-shape.safetensors", "hostile", _with_header(wrong, fill))
    yield Sample("truncated.safetensors", "hostile", sound[: len(sound) // 2])
    yield Sample("trailing.safetensors", "hostile", sound + fill[:3333])
    yield Sample("hostile.gguf", "hostile", b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 1 << 60) + fill)
    yield Sample("hostile.bin", "hostile", b"\x80\x02cos\nsystem\nq\x00X\x04\x00\x00\x00true\x85R." + fill)
    yield Sample("truncated.zip", "hostile", zip_file([("a.npy", fill), ("b.npy", fill[::-1])])[:-40])
    yield Sample("hostile.onnx", "hostile", b"\x3a\xff\xff\xff\xff\x0f" + fill)


def _with_header(header: Mapping[str, object], data: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


# --- real weights, where there are some ---


def _real_files() -> Iterator[Sample]:
    found = sorted(file for folder in REAL if folder.is_dir() for file in folder.rglob("*") if file.is_file())
    for file in found:
        label = f"real/{file.parent.name}/{file.name}"
        if file.suffix == ".safetensors":
            yield from (Sample(label, "real", data) for data in _excerpt(file))
        elif file.name in ("vocab.txt", "tokenizer.json"):
            yield Sample(label, "text", file.read_bytes()[:EXCERPT_BYTES_MAX])
        elif file.suffix == ".gguf":
            yield from (Sample(label, "real", data) for data in _gguf_excerpt(file))


def _gguf_excerpt(file: Path) -> Iterator[bytes]:
    """The first matrices of a GGUF file that are no larger than an excerpt may be."""
    numbers = {one.name: number for number, one in GGML_TYPES.items()}
    kept: dict[str, tuple[int, list[int], bytes]] = {}
    total = 0
    with file.open("rb") as opened:

        def read(start: int, stop: int) -> bytes:
            opened.seek(start)
            return opened.read(stop - start)

        for one in gguf.read_header(read, file.stat().st_size).tensors:
            if len(one.shape) == 2 and one.stop - one.start <= EXCERPT_BYTES_MAX - total:
                kept[one.name] = (numbers[one.dtype], list(one.shape), read(one.start, one.stop))
                total += one.stop - one.start
    if kept:
        yield _gguf(kept)


def _excerpt(file: Path) -> Iterator[bytes]:
    """The first matrices of a file of safetensors."""
    with file.open("rb") as opened:
        size = int.from_bytes(opened.read(8), "little")
        if size > HEADER_BYTES_MAX:
            return
        header = json.loads(opened.read(size))
        kept: dict[str, tuple[str, list[int], bytes]] = {}
        total = 0
        for name, told in sorted(header.items()):
            start, stop = told.get("data_offsets", (0, 0))
            if len(told.get("shape", ())) == 2 and 0 < stop - start <= EXCERPT_BYTES_MAX - total:
                opened.seek(8 + size + start)
                kept[name] = (told["dtype"], told["shape"], opened.read(stop - start))
                total += stop - start
    if kept:
        yield safetensors_file(kept)


def corpus() -> list[Sample]:
    """All of it; no two with the same bytes."""
    real = [sample for _number, sample in zip(range(REAL_FILES_MAX), _real_files(), strict=False)]
    made = [*_language_models(), *_plain_files(), *_odd_files(), *real]
    return list({sample.sha256: sample for sample in made}.values())


# --- the same by Xet ---


class Shipping:
    """How clients of Xet would send each file: new chunks in xorbs of its own, known ones where they lie already."""

    def __init__(self, samples: list[Sample]) -> None:
        self.xorbs: dict[str, Xorb] = {}
        self.files: dict[Sha256, File] = {}
        known: dict[bytes, tuple[Xorb, int]] = {}
        for sample in samples:
            if sample.data:
                self.files[sample.sha256] = self._file(list(chunking.chunks([sample.data])), known)

    def _file(self, chunks: list[bytes], known: dict[bytes, tuple[Xorb, int]]) -> File:
        fresh = list(dict.fromkeys(chunk for chunk in chunks if chunk not in known))
        for at in range(0, len(fresh), XORB_CHUNKS_MAX):
            xorb = Xorb(tuple(fresh[at : at + XORB_CHUNKS_MAX]))
            self.xorbs[xorb.name] = xorb
            known |= {chunk: (xorb, number) for number, chunk in enumerate(xorb.chunks)}
        spans: list[tuple[Xorb, int, int]] = []
        for chunk in chunks:
            xorb, number = known[chunk]
            if spans and spans[-1][0] is xorb and spans[-1][2] == number:
                spans[-1] = (xorb, spans[-1][1], number + 1)
            else:
                spans.append((xorb, number, number + 1))
        return File(tuple(spans))

    def needed(self, sha256: Sha256) -> list[Xorb]:
        return list({xorb.name: xorb for xorb, _start, _stop in self.files[sha256].spans}.values())
