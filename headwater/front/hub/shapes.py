"""A repo as JSON: the fields that clients read, and which of them `expand` may ask for (hub-contract 3.1 and 3.4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from headwater.catalog import cards, counts, prose
from headwater.catalog.cards import Card, Relation
from headwater.catalog.search import Extra, Known
from headwater.front.request import Request
from headwater.ground.clock import iso
from headwater.ground.errors import Invalid
from headwater.ground.names import RepoType

EXPANDABLE: dict[RepoType, tuple[str, ...]] = {
    "model": tuple(
        "author baseModels cardData childrenModelCount config createdAt disabled downloads downloadsAllTime "
        "evalResults gated gguf inference inferenceProviderMapping lastModified library_name likes mask_token "
        "model-index pipeline_tag private resourceGroup safetensors sha siblings spaces tags transformersInfo "
        "trendingScore usedStorage widgetData gitalyUid xetEnabled".split()
    ),
    "dataset": tuple(
        "author cardData citation createdAt description disabled downloads downloadsAllTime gated lastModified likes "
        "mainSize paperswithcode_id private resourceGroup sha siblings tags trendingScore usedStorage gitalyUid "
        "xetEnabled".split()
    ),
    "space": tuple(
        "author cardData createdAt datasets disabled lastModified likes models private region resourceGroup runtime "
        "sdk sha siblings subdomain tags trendingScore usedStorage gitalyUid xetEnabled".split()
    ),
}
# What a repo shows when nothing was asked for in particular.
USUAL: dict[RepoType, frozenset[str]] = {
    "model": frozenset(
        "author cardData config createdAt disabled downloads gated gguf lastModified library_name likes mask_token "
        "model-index pipeline_tag private safetensors sha siblings spaces tags transformersInfo usedStorage "
        "widgetData".split()
    ),
    "dataset": frozenset(
        "author cardData citation createdAt description disabled downloads gated lastModified likes paperswithcode_id "
        "private sha siblings tags usedStorage".split()
    ),
    "space": frozenset(
        "author cardData createdAt datasets disabled lastModified likes models private runtime sdk sha siblings "
        "subdomain tags usedStorage".split()
    ),
}
LISTED = frozenset(
    "author createdAt disabled downloads gated lastModified library_name likes pipeline_tag private sdk sha tags "
    "trendingScore".split()
)
# What `full` adds. Clients say of models that their cards come apart, and of the others that they come along.
FULL: dict[RepoType, frozenset[str]] = {
    "model": frozenset({"siblings"}),
    "dataset": frozenset({"siblings", "cardData", "citation", "description", "paperswithcode_id"}),
    "space": frozenset({"siblings", "cardData", "datasets", "models", "runtime", "subdomain"}),
}


@dataclass(frozen=True, slots=True)
class Shown:
    """All that may be shown of a repo; what costs is a function, called only if its field is asked for."""

    known: Known
    sha: str
    extra: Callable[[], Extra | None]
    siblings: Callable[[], list[dict[str, Any]] | None]
    """None: the repo was deleted this very moment."""
    readme: Callable[[], Card]
    spaces: Callable[[], list[str]]
    """Those that use the model, as far as the caller may see them."""
    children: Callable[[], dict[Relation, int]]
    """How many models were made from this one, likewise."""
    now_ms: int
    older: bool = False
    """Another revision than the one the catalog knows."""


def expanded(request: Request, kind: RepoType) -> frozenset[str]:
    """What `expand` asks for; empty: nothing in particular."""
    asked = frozenset(request.args("expand"))
    if unknown := sorted(asked - set(EXPANDABLE[kind])):
        raise Invalid(f'"expand" must be one of [{", ".join(EXPANDABLE[kind])}]; got {unknown[0][:60]!r}')
    return asked


def repo_json(shown: Shown, fields: frozenset[str]) -> dict[str, Any]:
    """The repo with exactly these fields, and its id."""
    known = shown.known
    name = known.full_name
    answer: dict[str, Any] = {"_id": f"{known.id:024x}", "id": name}
    if known.type == "model":
        answer["modelId"] = name
    made = _MADE
    for field in fields:
        value = made[field](shown)
        if value is not None or field in _MAY_BE_NULL:
            answer[field] = value
    return answer


_MAY_BE_NULL = frozenset({"evalResults", "resourceGroup", "region", "mainSize"})


def _card(shown: Shown) -> dict[str, Any]:
    if shown.older:
        return shown.readme().front
    extra = shown.extra()
    found: dict[str, Any] = msgspec.json.decode(extra.card) if extra is not None and extra.card else {}
    return found


def _decoded(text: str | None) -> Any:
    return None if not text else msgspec.json.decode(text)


def _base_models(shown: Shown) -> dict[str, Any] | None:
    ids = cards.base_models(card := _card(shown))
    if not ids:
        return None
    return {"relation": cards.base_model_relation(card), "models": [{"id": one} for one in ids]}


def _mask_token(shown: Shown) -> str | None:
    config = _decoded(shown.known.config) or {}
    found: str | None = config.get("tokenizer_config", {}).get("mask_token")
    return found


_AUTO = (
    ("ForCausalLM", "AutoModelForCausalLM", "AutoTokenizer"),
    ("ForSequenceClassification", "AutoModelForSequenceClassification", "AutoTokenizer"),
    ("ForTokenClassification", "AutoModelForTokenClassification", "AutoTokenizer"),
    ("ForQuestionAnswering", "AutoModelForQuestionAnswering", "AutoTokenizer"),
    ("ForMaskedLM", "AutoModelForMaskedLM", "AutoTokenizer"),
    ("ForConditionalGeneration", "AutoModelForSeq2SeqLM", "AutoTokenizer"),
    ("ForImageClassification", "AutoModelForImageClassification", "AutoImageProcessor"),
)


def _transformers_info(shown: Shown) -> dict[str, Any] | None:
    config = _decoded(shown.known.config)
    if shown.known.library_name not in ("transformers", "sentence-transformers") or not isinstance(config, dict):
        return None
    named = config.get("architectures")
    architecture = named[0] if isinstance(named, list) and named and isinstance(named[0], str) else ""
    for ending, auto, processor in _AUTO:
        if architecture.endswith(ending):
            return {"auto_model": auto, "pipeline_tag": shown.known.pipeline_tag, "processor": processor}
    return {"auto_model": "AutoModel", "pipeline_tag": shown.known.pipeline_tag, "processor": "AutoTokenizer"}


def _text_of_card(name: str) -> Callable[[Shown], Any]:
    return lambda shown: value if isinstance(value := _card(shown).get(name), str) else None


def _list_of_card(name: str) -> Callable[[Shown], Any]:
    return lambda shown: value if isinstance(value := _card(shown).get(name), list) else []


def _of_card_or_prose(name: str, told: Callable[[str], str | None]) -> Callable[[Shown], str | None]:
    """What the front matter has, else what the card's text says."""

    def made(shown: Shown) -> str | None:
        declared = _card(shown).get(name)
        return declared[: prose.CHARS_MAX[name]] if isinstance(declared, str) else told(shown.readme().body)

    return made


_MADE: dict[str, Callable[[Shown], Any]] = {
    "author": lambda shown: shown.known.namespace,
    "baseModels": _base_models,
    "cardData": _card,
    "childrenModelCount": lambda shown: shown.children(),
    "citation": _of_card_or_prose("citation", prose.citation),
    "config": lambda shown: _decoded(shown.known.config),
    "createdAt": lambda shown: iso(shown.known.created_ms),
    "datasets": _list_of_card("datasets"),
    "description": _of_card_or_prose("description", prose.description),
    "disabled": lambda shown: shown.known.disabled,
    "downloads": lambda shown: shown.known.downloads,
    "downloadsAllTime": lambda shown: shown.known.downloads_all,
    "evalResults": lambda shown: [],
    "gated": lambda shown: shown.known.gated or False,
    "gguf": lambda shown: _decoded(extra.gguf) if (extra := shown.extra()) is not None else None,
    "gitalyUid": lambda shown: f"{shown.known.id:064x}",
    "inference": lambda shown: None,
    "inferenceProviderMapping": lambda shown: [],
    "lastModified": lambda shown: iso(shown.known.modified_ms),
    "library_name": lambda shown: shown.known.library_name,
    "likes": lambda shown: shown.known.likes,
    "mainSize": lambda shown: shown.known.used_storage,
    "mask_token": _mask_token,
    "model-index": lambda shown: _card(shown).get("model-index"),
    "models": _list_of_card("models"),
    "paperswithcode_id": _text_of_card("paperswithcode_id"),
    "pipeline_tag": lambda shown: shown.known.pipeline_tag,
    "private": lambda shown: shown.known.private,
    "region": lambda shown: None,
    "resourceGroup": lambda shown: None,
    "runtime": lambda shown: {"stage": "NO_APP_FILE", "hardware": {"current": None, "requested": None}},
    "safetensors": lambda shown: _decoded(shown.known.safetensors),
    "sdk": lambda shown: shown.known.sdk,
    "sha": lambda shown: shown.sha or None,
    "siblings": lambda shown: shown.siblings(),
    "spaces": lambda shown: shown.spaces(),
    "subdomain": lambda shown: shown.known.full_name.lower().replace("/", "-").replace("_", "-").replace(".", "-"),
    # JSON already: in a list of a thousand, reading it and writing it again took a tenth of the answer's time.
    "tags": lambda shown: msgspec.Raw(shown.known.tags or "[]"),
    "transformersInfo": _transformers_info,
    "trendingScore": lambda shown: counts.trending_score(shown.known.trending, shown.now_ms),
    "usedStorage": lambda shown: shown.known.used_storage,
    "widgetData": lambda shown: _card(shown).get("widget"),
    "xetEnabled": lambda shown: True,
}
