"""What a repo's files say of it: library, formats, task, and how many parameters its weights have.

Pure but for the reads it is handed. Files are hostile: whatever can't be read in bounded time and memory, or breaks
its format, says nothing. Refuses to know cards, rows, and what a revision is.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from headwater.ground.errors import Corrupt, EntryMissing
from headwater.tensors import Malformed, Read, gguf, safetensors

FILES_SEEN_MAX = 1_000_000  # of one revision; what comes later in its tree is not looked at
ROOT_FILES_MAX = 2_000  # of those at the root whose names tell something
WEIGHTS_MAX = 2_000  # files of one format; the largest model seen has 500 shards
README = "README.md"
CONFIG = "config.json"
TOKENIZER = "tokenizer_config.json"
CONFIG_BYTES_MAX = 1 << 20  # of either
SHARD_INDEX_BYTES_MAX = 32 << 20  # a million tensors
ARCHITECTURES_MAX = 16
WORD_CHARS_MAX = 128
CHAT_TEMPLATE_CHARS_MAX = 65_536


class FileRow(Protocol):
    """An entry of a revision, as `repos` gives them."""

    @property
    def path(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def oid(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def sha256(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Contents:
    """A revision's files, as far as they tell something. `weights` and `ggufs` are in the order of their paths."""

    root: dict[str, FileRow]  # only files whose names tell something
    formats: frozenset[str]
    data_formats: frozenset[str]
    weights: tuple[FileRow, ...]
    ggufs: tuple[FileRow, ...]
    regular_bytes: int  # of files that are no LFS or Xet files


@dataclass(frozen=True, slots=True)
class Config:
    """The part of a model's config.json that the Hub shows and that tells what the model is for.

    `tokens`: its tokenizer's special ones by their names, which the Hub shows beside it.
    """

    architectures: tuple[str, ...] = ()
    model_type: str | None = None
    quantization: str | None = None
    sees_images: bool = False
    tokens: tuple[tuple[str, str], ...] = ()

    def as_json(self) -> str | None:
        shown: dict[str, Any] = {}
        if self.architectures:
            shown["architectures"] = list(self.architectures)
        if self.model_type:
            shown["model_type"] = self.model_type
        if self.quantization:
            shown["quantization_config"] = {"quant_method": self.quantization}
        if self.tokens:
            shown["tokenizer_config"] = dict(self.tokens)
        return msgspec.json.encode(shown).decode() if shown else None


@dataclass(frozen=True, slots=True)
class Weights:
    """Summaries as JSON text. `read_from` names exactly the files they were made of."""

    read_from: str
    safetensors: str | None = None
    gguf: str | None = None
    parameters: int | None = None


class Tally:
    """What a revision's files come to, so that it can be brought up to the next one by what changed between the two.

    The memory it takes does not grow with the number of files: of the telling ones each sort has a bound. Where one
    was reached, what was left out is forgotten, and `is_whole` says that only a new survey can tell.
    """

    def __init__(self) -> None:
        self.is_whole = True
        self._seen = 0
        self._root: dict[str, FileRow] = {}
        self._formats: Counter[str] = Counter()
        self._data_formats: Counter[str] = Counter()
        self._weights: dict[str, FileRow] = {}
        self._ggufs: dict[str, FileRow] = {}
        self._regular_bytes = 0

    @property
    def weight(self) -> int:
        """Rows kept."""
        return 1 + len(self._root) + len(self._weights) + len(self._ggufs)

    def add(self, file: FileRow) -> None:
        self._seen += 1
        self.is_whole &= self._seen <= FILES_SEEN_MAX
        if file.kind != "file":
            return
        self._count(file, 1)
        for kept, rows_max in self._kept_in(file):
            # Names that are no UTF-8 may be shown alike; which of them a later change means could not be told.
            self.is_whole &= file.path not in kept and len(kept) < rows_max
            if len(kept) < rows_max:
                kept[file.path] = file

    def remove(self, file: FileRow) -> None:
        """One that was added before."""
        self._seen -= 1
        if file.kind != "file":
            return
        self._count(file, -1)
        for kept, _ in self._kept_in(file):
            kept.pop(file.path, None)

    def contents(self) -> Contents:
        return Contents(
            dict(self._root),
            frozenset(+self._formats),
            frozenset(+self._data_formats),
            tuple(sorted(self._weights.values(), key=_path)),
            tuple(sorted(self._ggufs.values(), key=_path)),
            self._regular_bytes,
        )

    def _count(self, file: FileRow, times: int) -> None:
        folder, _, name = file.path.rpartition("/")
        if file.sha256 is None:
            self._regular_bytes += times * file.size
        for found in set(_formats(file.path, name)):
            self._formats[found] += times
        if folder or name not in _NO_DATA:
            for found in _data_formats(name):
                self._data_formats[found] += times

    def _kept_in(self, file: FileRow) -> Iterator[tuple[dict[str, FileRow], int]]:
        """Where the file belongs, and how many may be there."""
        if file.path in _TELLING or (file.path.endswith(_SHARD_INDEX) and "/" not in file.path):
            yield self._root, ROOT_FILES_MAX
        if file.path.endswith(".safetensors"):
            yield self._weights, WEIGHTS_MAX
        elif file.path.endswith(".gguf"):
            yield self._ggufs, WEIGHTS_MAX


def survey(files: Iterable[FileRow]) -> Tally:
    """One pass over a revision's files."""
    tally, left = Tally(), iter(files)
    for file in itertools.islice(left, FILES_SEEN_MAX):
        tally.add(file)
    tally.is_whole &= next(left, None) is None
    return tally


def _path(file: FileRow) -> str:
    return file.path


_BY_SUFFIX = {
    ".safetensors": "safetensors",
    ".gguf": "gguf",
    ".onnx": "onnx",
    ".tflite": "tflite",
    ".mlmodel": "coreml",
    ".keras": "keras",
    ".nemo": "nemo",
    ".skops": "skops",
}
_BY_NAME = {
    "tf_model.h5": "tf",
    "flax_model.msgpack": "jax",
    "rust_model.ot": "rust",
    "openvino_model.xml": "openvino",
    "adapter_model.bin": "pytorch",
}
_TORCH = re.compile(r"(?:diffusion_)?pytorch_model(?:-\d{5}-of-\d{5})?\.bin\Z")


def _formats(path: str, name: str) -> Iterable[str]:
    _, dot, suffix = name.rpartition(".")
    if dot + suffix in _BY_SUFFIX:
        yield _BY_SUFFIX[dot + suffix]
    if name in _BY_NAME:
        yield _BY_NAME[name]
    if _TORCH.match(name):
        yield "pytorch"
    if ".mlpackage/" in path:
        yield "coreml"
    if "tfevents" in name:
        yield "tensorboard"


_DATA_BY_SUFFIX = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".arrow": "arrow",
    ".txt": "text",
    ".lance": "lance",
}
_NO_DATA = frozenset(("dataset_infos.json", "dataset_dict.json", "state.json", "config.json", "requirements.txt"))


def _data_formats(name: str) -> Iterable[str]:
    for packed in (".gz", ".zst", ".bz2", ".xz"):
        name = name.removesuffix(packed)
    _, dot, suffix = name.rpartition(".")
    if dot + suffix in _DATA_BY_SUFFIX:
        yield _DATA_BY_SUFFIX[dot + suffix]


# A file at the root that is there if and only if this library made the model; the first that applies.
_LIBRARY_BY_FILE = (
    ("modules.json", "sentence-transformers"),
    ("model_index.json", "diffusers"),
    ("adapter_config.json", "peft"),
    ("open_clip_config.json", "open_clip"),
    ("config_setfit.json", "setfit"),
    ("hyperparams.yaml", "speechbrain"),
)
_TELLING = frozenset((README, CONFIG, TOKENIZER, "meta.json", "config.cfg", *(name for name, _ in _LIBRARY_BY_FILE)))
_LIBRARY_BY_FORMAT = ("gguf", "nemo", "keras", "skops", "onnx", "tflite", "coreml")
_TRANSFORMERS_FORMATS = frozenset(("safetensors", "pytorch", "tf", "jax"))


def library(contents: Contents, config: Config) -> str | None:
    """Which library loads the model, where its card does not say."""
    for name, made_by in _LIBRARY_BY_FILE:
        if name in contents.root:
            return made_by
    if CONFIG in contents.root and "meta.json" not in contents.root:
        knows = config.model_type or config.architectures
        if knows and contents.formats & _TRANSFORMERS_FORMATS:
            return "transformers"
    if {"meta.json", "config.cfg"} <= contents.root.keys():
        return "spacy"
    return next((made_by for made_by in _LIBRARY_BY_FORMAT if made_by in contents.formats), None)


# The end of an architecture's name, as transformers names its classes -> the Hub's task.
_TASKS = (
    ("WhisperForConditionalGeneration", "automatic-speech-recognition"),
    ("ForCausalLM", "text-generation"),
    ("LMHeadModel", "text-generation"),
    ("ForMaskedLM", "fill-mask"),
    ("ForSequenceClassification", "text-classification"),
    ("ForTokenClassification", "token-classification"),
    ("ForQuestionAnswering", "question-answering"),
    ("ForMultipleChoice", "multiple-choice"),
    ("ForImageClassification", "image-classification"),
    ("ForObjectDetection", "object-detection"),
    ("ForSemanticSegmentation", "image-segmentation"),
    ("ForDepthEstimation", "depth-estimation"),
    ("ForSpeechSeq2Seq", "automatic-speech-recognition"),
    ("ForCTC", "automatic-speech-recognition"),
    ("ForAudioClassification", "audio-classification"),
    ("ForVideoClassification", "video-classification"),
)


def task(made_by: str | None, config: Config) -> str | None:
    """What the model is for, where its card does not say and its files leave no doubt."""
    if made_by == "sentence-transformers":
        return "sentence-similarity"
    for architecture in config.architectures:
        for ending, meant in _TASKS:
            if architecture.endswith(ending):
                return meant
        if architecture.endswith("ForConditionalGeneration"):
            return "image-text-to-text" if config.sees_images else "text2text-generation"
        if architecture.endswith("Model"):
            return "feature-extraction"
    return None


def config(raw: bytes | None, tokenizer: bytes | None = None) -> Config:
    """config.json and tokenizer_config.json -> what we use of them; anything else they may be is taken for empty."""
    found = _object(raw)
    listed = found.get("architectures")
    architectures = [_word(one) for one in listed[:ARCHITECTURES_MAX]] if isinstance(listed, list) else []
    quantization = found.get("quantization_config")
    return Config(
        architectures=tuple(one for one in architectures if one),
        model_type=_word(found.get("model_type")),
        quantization=_word(quantization.get("quant_method")) if isinstance(quantization, dict) else None,
        sees_images=isinstance(found.get("vision_config"), dict),
        tokens=tuple(_tokens(_object(tokenizer))),
    )


def _object(raw: bytes | None) -> dict[str, Any]:
    if raw is None or len(raw) > CONFIG_BYTES_MAX:
        return {}
    try:
        found = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


_TOKENS = ("bos_token", "cls_token", "eos_token", "mask_token", "pad_token", "sep_token", "unk_token")


def _tokens(tokenizer: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """A token is written as itself, or as an object with its options beside it."""
    for name in _TOKENS:
        written = tokenizer.get(name)
        token = _word(written.get("content") if isinstance(written, dict) else written)
        if token:
            yield name, token


def _word(value: Any) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= WORD_CHARS_MAX and value.isprintable() else None


Open = Callable[[str], Read]
"""A path of the revision -> random access to its bytes."""

_SHARD = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.(?:safetensors|gguf)\Z")
_SHARD_INDEX = ".safetensors.index.json"
_INDEX = f"model{_SHARD_INDEX}"


def weights(contents: Contents, open_: Open, before: Weights | None) -> Weights:
    """Summaries of the revision's weights; `before` is given back if it was made of the same files."""
    tensors = _main_safetensors(contents, open_)
    ggufs = _main_gguf(contents)
    read_from = _named([*tensors, *ggufs])
    if before is not None and before.read_from == read_from:
        return before
    counts = _parameters(tensors, open_)
    summary = _gguf_summary(ggufs, open_)
    total = sum(counts.values()) if counts else None
    return Weights(
        read_from,
        _json({"parameters": counts, "total": total}) if counts else None,
        _json(summary) if summary else None,
        total if total is not None else (summary or {}).get("total"),
    )


def _named(files: Sequence[FileRow]) -> str:
    lines = "".join(f"{file.path} {file.sha256 or file.oid}\n" for file in files)
    return hashlib.sha256(lines.encode(errors="replace")).hexdigest()


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _main_safetensors(contents: Contents, open_: Open) -> list[FileRow]:
    """The files that together are the model: what the shard index names, or the one file, or one complete series."""
    root = {file.path: file for file in contents.weights if "/" not in file.path}
    indexes = sorted(name for name in contents.root if name.endswith(_SHARD_INDEX))
    if indexes:
        chosen = contents.root[_INDEX if _INDEX in indexes else indexes[0]]
        named = _shards_of(chosen, open_)
        if named and named <= root.keys():
            return [root[name] for name in sorted(named)]
    for name in ("model.safetensors", "adapter_model.safetensors"):
        if name in root:
            return [root[name]]
    if len(root) == 1:
        return list(root.values())
    return _series(list(root.values()))


def _shards_of(index: FileRow, open_: Open) -> set[str]:
    raw = _whole(index, open_, SHARD_INDEX_BYTES_MAX)
    try:
        found = msgspec.json.decode(raw or b"", type=_ShardIndex)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return set()
    return set(found.weight_map.values())


class _ShardIndex(msgspec.Struct):
    weight_map: dict[str, str]


def _whole(file: FileRow, open_: Open, bytes_max: int) -> bytes | None:
    if file.size > bytes_max:
        return None
    try:
        return open_(file.path)(0, file.size)
    except (Corrupt, EntryMissing):
        return None


def _series(files: Sequence[FileRow]) -> list[FileRow]:
    """The first complete `name-00001-of-0000N` among these, in order."""
    parts: dict[tuple[str, int], dict[int, FileRow]] = {}
    for file in files:
        match = _SHARD.match(file.path)
        if match:
            parts.setdefault((match[1], int(match[3])), {})[int(match[2])] = file
    for (_, count), found in sorted(parts.items()):
        if set(found) == set(range(1, count + 1)):
            return [found[number] for number in range(1, count + 1)]
    return []


def _parameters(files: Sequence[FileRow], open_: Open) -> dict[str, int]:
    """Elements by dtype over all files; empty if one of them can't be read: half a sum would be a wrong one."""
    counts: dict[str, int] = {}
    for file in files:
        try:
            header = safetensors.read_header(open_(file.path), file.size)
        except (Malformed, Corrupt, EntryMissing):
            return {}
        for dtype, count in header.parameters.items():
            counts[dtype] = counts.get(dtype, 0) + count
    return counts if sum(counts.values()) < 1 << 62 else {}


def _main_gguf(contents: Contents) -> list[FileRow]:
    """The first file that holds a model, or all its parts; vision projectors and importance matrices are neither."""
    models = [file for file in contents.ggufs if not re.search(r"mmproj|imatrix", file.path, re.IGNORECASE)]
    if not models:
        return []
    split = _SHARD.match(models[0].path)
    return _series([file for file in models if file.path.startswith(split[1])]) if split else models[:1]


def _gguf_summary(files: Sequence[FileRow], open_: Open) -> dict[str, Any] | None:
    total = 0
    summary: dict[str, Any] = {}
    for file in files:
        try:
            header = gguf.read_header(open_(file.path), file.size)
        except (Malformed, Corrupt, EntryMissing):
            return None
        total += header.total
        if not summary:
            template = header.metadata.get("tokenizer.chat_template")
            summary = {
                "total": 0,
                "architecture": header.architecture,
                "context_length": header.context_length,
                "chat_template": template
                if isinstance(template, str) and len(template) <= CHAT_TEMPLATE_CHARS_MAX
                else None,
            }
    if not files or total >= 1 << 62:
        return None
    shown = {name: value for name, value in summary.items() if value is not None}
    return {**shown, "total": total}
