"""Tiny models made of seeded numbers: weights, their derivatives, and the files that they lie in."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping

import numpy as np

Model = dict[str, np.ndarray]

LAYERS, WIDTH, INNER, WORDS = 3, 128, 192, 512
HEADS, KEY_HEADS = 4, 2


def base(seed: int, layers: int = LAYERS, words: int = WORDS, width: int = WIDTH) -> Model:
    """A model with the names and shapes of a Llama, rows of differing scale as real ones have."""
    rng = np.random.default_rng(seed)

    def weight(rows: int, columns: int) -> np.ndarray:
        return (rng.standard_normal((rows, columns)) * np.exp(rng.normal(-4, 0.4, (rows, 1)))).astype(np.float32)

    model: Model = {"model.embed_tokens.weight": weight(words, width)}
    for layer in range(layers):
        at = f"model.layers.{layer}."
        model[at + "input_layernorm.weight"] = np.ones(width, np.float32)
        model[at + "self_attn.q_proj.weight"] = weight(width, width)
        model[at + "self_attn.k_proj.weight"] = weight(width // 2, width)
        model[at + "self_attn.v_proj.weight"] = weight(width // 2, width)
        model[at + "self_attn.o_proj.weight"] = weight(width, width)
        model[at + "mlp.gate_proj.weight"] = weight(INNER, width)
        model[at + "mlp.up_proj.weight"] = weight(INNER, width)
        model[at + "mlp.down_proj.weight"] = weight(width, INNER)
    model["lm_head.weight"] = weight(words, width)
    return model


def tuned(model: Model, seed: int, step: float = 2e-4, only: Callable[[str], bool] = lambda _name: True) -> Model:
    """Every weight moves by about `step`, as an optimiser's does; `only` says in which tensors."""
    rng = np.random.default_rng(seed)
    return {
        name: (array + rng.standard_normal(array.shape).astype(np.float32) * step) if only(name) else array.copy()
        for name, array in model.items()
    }


def pruned(model: Model, share: float = 0.5) -> Model:
    """The smallest weights of each matrix set to zero."""
    return {
        name: np.where(np.abs(array) < np.quantile(np.abs(array), share), 0, array).astype(np.float32)
        if array.ndim > 1
        else array
        for name, array in model.items()
    }


def bf16(array: np.ndarray) -> bytes:
    whole = np.ascontiguousarray(array, np.float32).view(np.uint32).astype(np.uint64)
    return ((whole + 0x7FFF + ((whole >> 16) & 1)) >> 16).astype("<u2").tobytes()


_ENCODINGS: dict[str, Callable[[np.ndarray], bytes]] = {
    "BF16": bf16,
    "F32": lambda array: array.astype("<f4").tobytes(),
    "F16": lambda array: array.astype("<f2").tobytes(),
    "F64": lambda array: array.astype("<f8").tobytes(),
    "I8": lambda array: np.clip(np.rint(array * 2000), -127, 127).astype("i1").tobytes(),
}


def safetensors(model: Model, dtype: str = "BF16") -> bytes:
    return _written({name: (dtype, array.shape, _ENCODINGS[dtype](array)) for name, array in model.items()})


def eight_bits(model: Model, dtype: str) -> bytes:
    """As libraries write it: I8 with a scale for each row, or U8 with a zero point too, in tensors of their own."""
    tensors: dict[str, tuple[str, tuple[int, ...], bytes]] = {}
    for name, array in model.items():
        if array.ndim == 1:
            tensors[name] = ("F32", array.shape, _ENCODINGS["F32"](array))
            continue
        if dtype == "I8":
            scale = np.abs(array).max(axis=1, keepdims=True) / 127
            zero = np.zeros_like(scale)
        else:
            low, high = (array.min(axis=1, keepdims=True), array.max(axis=1, keepdims=True))
            scale = (high - low) / 255
            zero = np.rint(-low / scale)
            tensors[name + "_zero"] = ("F32", zero.shape, _ENCODINGS["F32"](zero))
        codes = np.clip(np.rint(array / scale) + zero, -127 if dtype == "I8" else 0, 255)
        tensors[name] = (dtype, array.shape, codes.astype("i1" if dtype == "I8" else "u1").tobytes())
        tensors[name + "_scale"] = ("F32", scale.shape, _ENCODINGS["F32"](scale))
    return _written(tensors)


def _written(tensors: Mapping[str, tuple[str, tuple[int, ...], bytes]]) -> bytes:
    header: dict[str, object] = {}
    at = 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + b"".join(data for _dtype, _shape, data in tensors.values())


# GGUF

_TO_GGUF = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
}  # fmt: skip


def gguf_name(name: str) -> str:
    name = name.replace("model.embed_tokens", "token_embd").replace("lm_head", "output")
    name = name.replace("model.layers.", "blk.")
    for ours, theirs in _TO_GGUF.items():
        name = name.replace(ours, theirs)
    return name


def permuted(array: np.ndarray, heads: int) -> np.ndarray:
    """The order of rows that llama.cpp's converter gives to queries and keys."""
    rows = array.shape[0]
    return array.reshape(heads, 2, rows // heads // 2, array.shape[1]).swapaxes(1, 2).reshape(array.shape)


def q8_0(array: np.ndarray) -> bytes:
    blocks = array.reshape(-1, 32).astype(np.float32)
    scale = (np.abs(blocks).max(axis=1, keepdims=True) / 127).astype(np.float16)
    with np.errstate(all="ignore"):
        codes = np.nan_to_num(np.rint(blocks / scale.astype(np.float32)))
    return np.concatenate((scale.view(np.uint8), codes.astype(np.int8).view(np.uint8)), axis=1).tobytes()


def q4_0(array: np.ndarray) -> bytes:
    blocks = array.reshape(-1, 32).astype(np.float32)
    largest = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=1)[:, None], axis=1)
    scale = (largest / -8).astype(np.float16)
    with np.errstate(all="ignore"):
        codes = np.clip(np.nan_to_num(np.floor(blocks / scale.astype(np.float32) + 8.5)), 0, 15).astype(np.uint8)
    return np.concatenate((scale.view(np.uint8), codes[:, :16] | (codes[:, 16:] << 4)), axis=1).tobytes()


_GGML = {"F32": (0, lambda a: a.astype("<f4").tobytes()), "Q4_0": (2, q4_0), "Q8_0": (8, q8_0), "BF16": (30, bf16)}


def _text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def gguf(model: Model, kind: str = "Q8_0", architecture: str = "llama") -> bytes:
    """As llama.cpp's converter writes it: other names, queries and keys in another order, norms in F32."""
    entries: list[tuple[str, tuple[int, ...], int, bytes]] = []
    for name, ordered in model.items():
        heads = HEADS if "q_proj" in name else KEY_HEADS if "k_proj" in name else 0
        array = permuted(ordered, heads) if heads else ordered
        number, encode = _GGML["F32" if array.ndim == 1 else kind]
        entries.append((gguf_name(name), array.shape, number, encode(array)))
    values = [
        (_text("general.architecture") + struct.pack("<I", 8) + _text(architecture)),
        (_text(f"{architecture}.attention.head_count") + struct.pack("<II", 4, HEADS)),
        (_text(f"{architecture}.attention.head_count_kv") + struct.pack("<II", 4, KEY_HEADS)),
    ]
    head = b"GGUF" + struct.pack("<IQQ", 3, len(entries), len(values)) + b"".join(values)
    data = b""
    for name, shape, number, raw in entries:
        head += _text(name) + struct.pack("<I", len(shape)) + b"".join(struct.pack("<Q", n) for n in reversed(shape))
        head += struct.pack("<IQ", number, len(data))
        data += raw + b"\0" * (-len(raw) % 32)
    return head + b"\0" * (-len(head) % 32) + data


# ONNX


def _span(field: int, raw: bytes) -> bytes:
    return _number(field << 3 | 2) + _number(len(raw)) + raw


def _number(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def onnx(model: Model, location: str) -> tuple[bytes, bytes]:
    """A graph in F32, and the weights that it says lie in the file `location` beside it."""
    tensors, data = [], b""
    for name, array in model.items():
        told = {"location": location, "offset": str(len(data)), "length": str(array.size * 4)}
        dims = b"".join(b"\x08" + _number(size) for size in array.shape)
        places = b"".join(_span(13, _span(1, key.encode()) + _span(2, text.encode())) for key, text in told.items())
        tensors.append(_span(5, dims + b"\x10\x01" + _span(8, name.encode()) + places + b"\x70\x01"))
        data += _ENCODINGS["F32"](array)
    return b"\x08\x08" + _span(2, b"writer") + _span(7, b"".join(tensors)), data


def reader(data: bytes) -> Callable[[int, int], bytes]:
    return lambda start, stop: data[start:stop]


def renamed(model: Model, names: Mapping[str, str] | Callable[[str], str]) -> Model:
    change = names if callable(names) else lambda name: names.get(name, name)
    return {change(name): array for name, array in model.items()}
