"""Who serves what: catalogues of hosted models (litellm's price map, models.dev, and their joined history).

A catalogue learns of a listing after the provider: dates mean "listed by", never "available from". A file that is one
day's state gives that day as first and last sight; over several snapshots the first one counts.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

from headwater.ground.errors import Invalid
from headwater.observatory.imports.importer import Importer, has
from headwater.observatory.imports.job import Job

PRICE_MAX = 1e6  # US dollars per million tokens
TOML_BYTES_MAX = 1 << 20  # of one model; honest files have some hundred bytes
FILES_MAX = 200_000
TEXTS = (
    "source", "provider", "key", "first_seen", "last_seen", "listed_at_end", "open_weights", "release_date", "family",
    "mode", "context", "reasoning", "usd_per_mtok_in_last", "usd_per_mtok_out_last",
)  # fmt: skip


def _fill(job: Job) -> None:
    fields = job.fields
    prices = ("usd_per_mtok_in_first", "usd_per_mtok_out_first", "usd_per_mtok_in_last", "usd_per_mtok_out_last")
    values = {
        "catalogue": fields.text("source", "catalogue", needed=True),
        "provider": fields.text("provider", needed=True),
        "key": fields.text("key", needed=True),
        "family": fields.text("family"),
        "first_seen": fields.day("first_seen"),
        "last_seen": fields.day("last_seen"),
        "listed_at_end": fields.truth("listed_at_end"),
        "open_weights": fields.truth("open_weights"),
        "release_date": fields.text("release_date"),
        "mode": fields.text("mode"),
        "context": fields.whole("context"),
        "reasoning": fields.truth("reasoning"),
        **{name: fields.real(name, top=PRICE_MAX) for name in prices},
    }
    job.fill("listing", values, shown="cast(key as varchar)")


def is_litellm(value: Any) -> bool:
    """A price map: most entries name their provider."""
    if not isinstance(value, dict) or not value:
        return False
    entries = [one for one in value.values() if isinstance(one, dict)]
    return bool(entries) and sum("litellm_provider" in one for one in entries) * 2 > len(entries)


def is_models_dev(value: Any) -> bool:
    """models.dev's api.json: providers, each with its models."""
    if not isinstance(value, dict) or not value:
        return False
    entries = [one for one in value.values() if isinstance(one, dict)]
    return bool(entries) and sum(isinstance(one.get("models"), dict) for one in entries) * 2 > len(entries)


def litellm_rows(prices: Mapping[str, Any], day: date) -> Iterator[dict[str, Any]]:
    """One row per listing of litellm's price map."""
    for key, entry in prices.items():
        if not isinstance(entry, dict) or key == "sample_spec":
            continue
        yield {
            "source": "litellm",
            "provider": entry.get("litellm_provider"),
            "key": key,
            **_seen(day),
            "mode": entry.get("mode"),
            "context": entry.get("max_input_tokens") or entry.get("max_tokens"),
            "reasoning": entry.get("supports_reasoning"),
            "usd_per_mtok_in_last": _per_million(entry.get("input_cost_per_token")),
            "usd_per_mtok_out_last": _per_million(entry.get("output_cost_per_token")),
        }


def models_dev_rows(providers: Mapping[str, Any], day: date) -> Iterator[dict[str, Any]]:
    """One row per listing of models.dev's api.json."""
    for provider, entry in providers.items():
        models = entry.get("models") if isinstance(entry, dict) else None
        for key, model in models.items() if isinstance(models, dict) else ():
            if isinstance(model, dict):
                yield _models_dev_row(str(provider), str(key), model, day)


def models_dev_folder_rows(root: Path, day: date) -> Iterator[dict[str, Any]]:
    """One row per `providers/PROVIDER/models/**/*.toml` of a checkout of models.dev."""
    inside = root.resolve()
    for count, file in enumerate(sorted(root.glob("providers/*/models/**/*.toml"))):
        if count >= FILES_MAX:
            raise Invalid(f"{root.name}: more than {FILES_MAX} files")
        # Entries are shared by links; one that leads out of the folder is somebody else's file.
        if not file.resolve().is_relative_to(inside) or not file.is_file() or file.stat().st_size > TOML_BYTES_MAX:
            continue
        provider = file.relative_to(root).parts[1]
        key = file.relative_to(root / "providers" / provider / "models").with_suffix("").as_posix()
        try:
            model: dict[str, Any] = tomllib.loads(file.read_text("utf-8", errors="replace"))
        except (tomllib.TOMLDecodeError, RecursionError):
            model = {"unreadable": True}
        yield {} if "unreadable" in model else _models_dev_row(provider, key, model, day)


def _models_dev_row(provider: str, key: str, model: Mapping[str, Any], day: date) -> dict[str, Any]:
    limit, cost = model.get("limit"), model.get("cost")
    limits = limit if isinstance(limit, dict) else {}
    costs = cost if isinstance(cost, dict) else {}
    return {
        "source": "models.dev",
        "provider": provider,
        "key": key,
        **_seen(day),
        "family": model.get("family"),
        "open_weights": model.get("open_weights"),
        "release_date": str(model["release_date"]) if model.get("release_date") else None,
        "context": limits.get("context"),
        "reasoning": model.get("reasoning"),
        "usd_per_mtok_in_last": costs.get("input"),
        "usd_per_mtok_out_last": costs.get("output"),
    }


def _seen(day: date) -> dict[str, str]:
    return {"first_seen": day.isoformat(), "last_seen": day.isoformat(), "listed_at_end": "true"}


def _per_million(price: Any) -> float | None:
    if isinstance(price, bool) or not isinstance(price, int | float) or not math.isfinite(price):
        return None
    return round(price * 1e6, 6)


IMPORTER = Importer(
    kind="providers", note="catalogues of hosted models: litellm, models.dev, their history", fill=_fill,
    knows=has("provider", "key", "first_seen", "last_seen"), dated_by=("last_seen",),
)  # fmt: skip
