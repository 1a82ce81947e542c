"""What a MANIFEST.json says of the files beside it: licence, attribution, biases, dates, checksums.

The form is that of the project's shared data: file name -> {origin, licence, ship, columns, biases, sha256}. NAMES are
the short names under which our documents and claims speak of those files; any other file is named after itself.
"""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Any

import msgspec

from headwater.ground.errors import Invalid
from headwater.observatory.imports.job import Options
from headwater.observatory.schema import TEXT_CHARS_MAX
from headwater.observatory.texts import plain

MANIFEST = "MANIFEST.json"
MANIFEST_BYTES_MAX = 4 << 20
MID_MONTH = 15  # where only a month is known

NAMES = {
    "hub_models_2026-08": "radar",
    "hub_snapshots_2026-08": "radar-history",
    "hub_models_2022-02": "hub-2022-02",
    "hub_models_2022-07": "hub-2022-07",
    "hub_stats_sample_2026-06": "hub-stats",
    "hub_models_llmfit_2026-10": "llmfit",
    "hub_llm_history_2026": "llmfit-history",
    "hub_top_daily_2026-08": "head",
    "hub_top30_daily_2026": "top30",
    "hub_trending_2026-05": "trending",
    "hub_transformersjs_daily_2024-2026": "transformersjs",
    "hub_kblab_monthly_2022-2026": "kblab",
    "lineage_edges_textgen_2025-06": "textgen-2025",
    "provider_catalogue": "providers",
    "ecosystem_support": "support",
    "org_releases_weekly_2022-2026": "releases",
    "hub_new_models_monthly_by_task": "growth-models",
    "hub_new_datasets_monthly_by_task": "growth-datasets",
    "downloads_2025_top100_by_country": "top100-2025",
    "hub_top100_new_models_2025-07": "new100-2025",
    "epoch_models_2025-04": "epoch",
    "openrouter_market_share_daily_2026": "openrouter",
    "org_country": "org-country",
    "licence_families": "licence-families",
}

_DAY = re.compile(r"(\d{4}-\d{2}-\d{2})(?: (\d{2}:\d{2}) UTC)?(?!\d|\.\.)")
_MONTH = re.compile(r"(\d{4})-(\d{2})(?![-\d])")
_DATES = re.compile(r"[-_.]?(?<!\d)\d{4}-\d{2}(-\d{2}(?!\d|\.\.)|(?![-\d]))")
_NOT_IN_NAMES = re.compile(r"[^a-z0-9._-]+")


def manifest_of(folder: Path) -> dict[str, dict[str, Any]]:
    """File name -> what is said of it; empty without a manifest."""
    file = folder / MANIFEST
    if not file.is_file():
        return {}
    if file.stat().st_size > MANIFEST_BYTES_MAX:
        raise Invalid(f"{file}: more than {MANIFEST_BYTES_MAX} bytes")
    try:
        found = msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise Invalid(f"{file}: is no JSON object ({str(error)[:200]})") from error
    return {name: facts for name, facts in found.items() if isinstance(facts, dict)}


def options_of(file: Path, facts: dict[str, Any], given: Options) -> Options:
    """What the operator gave, else what the manifest says, else what the file's name says."""

    def said(name: str) -> str:
        value = facts.get(name)
        return plain(value, TEXT_CHARS_MAX * 4) if isinstance(value, str) else ""

    licence, _, attribution = said("licence").partition(" - attribution: ")
    return Options(
        kind=given.kind,
        name=given.name or name_of(file),
        date=given.date or day_of(said("origin")),
        licence=given.licence or licence,
        attribution=given.attribution or attribution or said("origin"),
        url=given.url,
        ship=given.ship or ("yes" if said("ship") == "yes" else "facts-only" if said("ship") else ""),
        biases=given.biases or said("biases"),
        note=given.note or said("columns"),
    )


def name_of(file: Path) -> str:
    """A source's name after its file, without the day or month in it: files of several days are one source. A file
    that is named by its day alone has its folder's name."""
    stem = _stem(file)
    return NAMES.get(stem) or _named(_DATES.sub("", stem)) or _named(_DATES.sub("", file.parent.name)) or "import"


def dated_name_of(file: Path) -> str:
    """The name that a source had while dates were kept in it: what was imported then is not imported again."""
    stem = _stem(file)
    return NAMES.get(stem) or _named(stem) or "import"


def _stem(file: Path) -> str:
    return file.name.removesuffix(".gz").rsplit(".", 1)[0] if file.is_file() else file.name


def _named(text: str) -> str:
    return _NOT_IN_NAMES.sub("-", text.lower()).strip("-._")


def day_of(text: str) -> str:
    """The newest day that a text names by itself (not as the beginning of a range), or nothing."""
    found = [f"{match[1]}T{match[2]}:00" if match[2] else match[1] for match in _DAY.finditer(text)]
    return max((one for one in found if _is_day(one[:10])), default="")


def day_in_name(file: Path) -> str:
    """The day in a file's name; the middle of a month where only that is known."""
    exact = day_of(file.name)
    if exact:
        return exact
    months = [f"{match[1]}-{match[2]}-{MID_MONTH}" for match in _MONTH.finditer(file.name)]
    return next((one for one in months if _is_day(one)), "")


def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True
