"""Tags: what sort of tag one is, and which there are, for the filter lists of clients and pages.

Lists of tags name only what a public repo has: a tag that private repos alone have would tell of them (T34).
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from sqlalchemy import bindparam, exists, select
from sqlalchemy.sql import literal

from headwater.catalog.tables import MARK, POSTING_SHIFT, posting, tag
from headwater.ground.clock import Clock
from headwater.ground.db import Database
from headwater.ground.names import RepoType
from headwater.repos.tables import repo

KEPT_S = 60.0  # how old a list may be
CONSIDERED_MAX = 20_000  # the most used ones
LISTED_MAX = 1_000  # of each type

# fmt: off
TASKS = frozenset((
    "any-to-any", "audio-classification", "audio-text-to-text", "audio-to-audio", "automatic-speech-recognition",
    "depth-estimation", "document-question-answering", "feature-extraction", "fill-mask", "graph-ml",
    "image-classification", "image-feature-extraction", "image-segmentation", "image-text-to-image",
    "image-text-to-text", "image-text-to-video", "image-to-3d", "image-to-image", "image-to-text", "image-to-video",
    "keypoint-detection", "mask-generation", "multiple-choice", "object-detection", "question-answering",
    "reinforcement-learning", "robotics", "sentence-similarity", "summarization", "table-question-answering",
    "table-to-text", "tabular-classification", "tabular-regression", "tabular-to-text", "text-classification",
    "text-generation", "text-ranking", "text-retrieval", "text-to-3d", "text-to-audio", "text-to-image",
    "text-to-speech", "text-to-video", "text2text-generation", "time-series-forecasting", "token-classification",
    "translation", "unconditional-image-generation", "video-classification", "video-text-to-text",
    "video-to-video", "visual-document-retrieval", "visual-question-answering", "voice-activity-detection",
    "zero-shot-classification", "zero-shot-image-classification", "zero-shot-object-detection",
))
LIBRARIES = frozenset((
    "adapter-transformers", "allennlp", "asteroid", "bertopic", "colbert", "coreml", "diffusers", "ctranslate2",
    "espnet", "fairseq", "fastai", "fasttext", "flair", "gguf", "jax", "joblib", "keras", "keras-hub", "llamafile",
    "mlx", "model2vec", "nemo", "onnx", "open_clip", "openvino", "paddlenlp", "peft", "pyannote-audio", "pytorch",
    "rust", "safetensors", "sentence-transformers", "setfit", "sklearn", "skops", "spacy", "span-marker",
    "speechbrain", "stable-baselines3", "stanza", "tensorboard", "tf", "tf-keras", "tflite", "timm", "transformers",
    "transformers.js", "ultralytics", "unity-sentis", "vllm",
))
# fmt: on
# ISO 639-1, and the two words that the Hub takes for languages.
_LANGUAGES = """
aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee el en eo es
et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is it iu ja jv ka kg ki kj
kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne ng nl nn no nr nv
ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg sh si sk sl sm sn so sq sr ss st su sv sw ta te tg th
ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu multilingual code
"""
LANGUAGES = frozenset(_LANGUAGES.split())
# The part before the colon that is a sort of its own; any other colon is just a character.
_PREFIXES = """
arxiv base_model benchmark dataset format language library license modality region size_categories task_categories
task_ids annotations_creators language_creators multilinguality source_datasets
"""
PREFIXES = frozenset(_PREFIXES.split())


@dataclass(frozen=True, slots=True)
class TagName:
    """`id` is what a filter takes, `label` what people read."""

    id: str
    label: str
    type: str


def named(key: str, kind: RepoType) -> TagName:
    """A tag and its sort, by its text alone."""
    prefix, colon, rest = key.partition(":")
    if colon and prefix in PREFIXES and rest:
        return TagName(key, rest, prefix)
    if kind == "model" and key in TASKS:
        return TagName(key, key.replace("-", " ").capitalize(), "pipeline_tag")
    if kind == "model" and key in LIBRARIES:
        return TagName(key, key, "library")
    if kind == "model" and key in LANGUAGES:
        return TagName(key, key, "language")
    return TagName(key, key, "other")


_FIRST = tag.c.id.op("<<")(literal(POSTING_SHIFT))
_PUBLIC = (
    select(tag.c.key)
    .where(
        tag.c.type == bindparam("of_type"),
        tag.c.count > 0,
        ~tag.c.key.startswith(MARK),
        # `count` knows private repos as well: the truth is asked whether a public one is among them.
        exists()
        .where(posting.c.id >= _FIRST)
        .where(posting.c.id < (tag.c.id + 1).op("<<")(literal(POSTING_SHIFT)))
        .where(repo.c.id == posting.c.id - _FIRST, repo.c.state == "live")
        .where(repo.c.private.is_(False), repo.c.disabled.is_(False)),
    )
    .order_by(tag.c.count.desc(), tag.c.key)
    .limit(CONSIDERED_MAX)
)


class TagLists:
    """The answers of `models-tags-by-type` and its like, at most KEPT_S old. Thread-safe."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: dict[RepoType, tuple[float, dict[str, list[TagName]]]] = {}

    def by_type(self, kind: RepoType) -> dict[str, list[TagName]]:
        """Sort of tag -> tags that public repos have, the most used first. The same for everybody."""
        with self._lock:
            kept = self._kept.get(kind)
            if kept is None or self._clock.tick_s() - kept[0] >= KEPT_S:
                kept = (self._clock.tick_s(), self._read(kind))
                self._kept[kind] = kept
            return kept[1]

    def _read(self, kind: RepoType) -> dict[str, list[TagName]]:
        found: dict[str, list[TagName]] = {}
        with self._db.read() as connection:
            for key in connection.execute(_PUBLIC, {"of_type": kind}).scalars():
                name = named(key, kind)
                listed = found.setdefault(name.type, [])
                if len(listed) < LISTED_MAX:
                    listed.append(name)
        return found
