"""What a question leaves open, said out loud: population, attribution, window, ages, kinds of model, exclusions.

Shares of the open-model ecosystem flip with choices that are seldom stated. Here each has a name, a default and one
way to be written, the same in a URL, on the command line and in Python. Refuses to know what a question does with them:
each question names the choices that it honours, and one that it doesn't honour is an error, never ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import date, datetime
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta

from headwater.ground.errors import Invalid
from headwater.observatory.world import moment

Attribution = Literal["both", "uploader", "origin", "root", "named", "discovered"]
Parent = Literal["alphabetical", "first"]

ITEMS_MAX = 200  # of one choice: a list that a person writes
ITEM_CHARS_MAX = 200  # of one item: an id has at most 193
PAIRS_MAX = 100  # name=value pairs of one request
STEPS_MAX = 64  # of a walk along declared bases; the longest honest chain seen has 12
DAYS_MAX = 36_500
ROWS_MAX = 100_000  # of an answer: more is a table to import, not an answer to read
CUT_MAX = 1_000_000
PARAMETERS_B_MAX = 1e6

MODALITIES: dict[str, tuple[str, ...]] = {
    "llm": ("text-generation", "image-text-to-text", "any-to-any"),
    "text": (
        "text-generation", "text2text-generation", "text-classification", "token-classification", "fill-mask",
        "question-answering", "summarization", "translation", "zero-shot-classification", "table-question-answering",
        "conversational",
    ),
    "embedding": ("feature-extraction", "sentence-similarity", "text-ranking", "image-feature-extraction"),
    "multimodal": (
        "image-text-to-text", "any-to-any", "visual-question-answering", "document-question-answering",
        "video-text-to-text", "audio-text-to-text", "image-to-text", "visual-document-retrieval",
    ),
    "image-generation": (
        "text-to-image", "image-to-image", "unconditional-image-generation", "image-text-to-image",
    ),
    "video-generation": ("text-to-video", "image-to-video", "video-to-video", "image-text-to-video"),
    "vision": (
        "image-classification", "object-detection", "image-segmentation", "depth-estimation", "mask-generation",
        "zero-shot-image-classification", "zero-shot-object-detection", "video-classification", "keypoint-detection",
    ),
    "audio": (
        "automatic-speech-recognition", "text-to-speech", "text-to-audio", "audio-to-audio", "audio-classification",
        "voice-activity-detection",
    ),
    "3d": ("text-to-3d", "image-to-3d"),
    "robotics": ("robotics", "reinforcement-learning"),
    "tabular": ("tabular-classification", "tabular-regression", "time-series-forecasting"),
}  # fmt: skip
"""Groups of the Hub's task tags that may be written as one modality; `none` is what has no tag."""
UNTAGGED = "none"

EXCLUSIONS = {
    "mirrors": "accounts that the registry calls mirrors",
    "tests": "accounts and models made for tests (registry type test, names with -testing, tiny-random)",
    "series": "automated series, but for their first member",
    "removed": "models that were withdrawn",
    "private": "models that are private",
    "restricted": "models that are gated",
}
"""Classes of models that may be left out; beside them `account:NAME` and `id:NAMESPACE/NAME`."""

Texts = tuple[str, ...]
_WINDOW = re.compile(r"30d|all|\d{4}-\d{2}-\d{2}\.\.\d{4}-\d{2}-\d{2}")
_ABOUT = {
    "population": "Snapshots to ask, by id or name; `all`: every one that can. Default: the one that suits best.",
    "day": "Of a list that is kept daily: its members and counts on this day.",
    "head": "Only the union of the first N by likes and the first N by downloads.",
    "attribution": "Whose country or organisation counts: uploader; origin, which is the root of the declared chain of "
    "bases (root) or, where no bases are known, the owner of the family that the name names (named); both, side by "
    "side; or the root that was discovered in the weights (discovered).",
    "parent": "Which of several declared bases a walk follows: alphabetical, or the first of the card.",
    "steps": "How far a chain of bases is walked.",
    "window": "Downloads of the last 30 days (30d), of all time (all), or between two days (2026-07-01..2026-08-01).",
    "age_days_max": "Only models younger than this.",
    "young_days": "What counts as young in columns that say young.",
    "as_of": "The moment from which ages are counted, and the day of the registry. Default: the snapshot's.",
    "modality": "Task tags of the Hub, or groups of them: " + ", ".join(MODALITIES) + ", none.",
    "exclude": "Left out: " + ", ".join(EXCLUSIONS) + ", account:NAME, id:NAMESPACE/NAME.",
    "account": "Only these accounts, or organisations.",
    "country": "Only uploads from these countries.",
    "family": "Only these model families: of a model, by its name; of a derivative, that of its base or root.",
    "variant": "Versions within the family, as the question lists them.",
    "id": "Only these models.",
    "relation": "Only these relations: finetune, adapter, merge, quantized, untyped.",
    "licence": "Only these licences, as declared.",
    "part": "Which part of a source: a catalogue, a list, a variant, a kind.",
    "known": "Snapshots that may tell what the population does not know of a model (a base's licence, a date).",
    "over": "What shares are taken over: models, owners, organisations, countries or families.",
    "by": "What rows are grouped by; the question lists what it can do.",
    "grain": "day, week, month, quarter, half, year, or snapshot.",
    "since": "From this day on: of models and derivatives the day of creation, of lists and counts their own.",
    "until": "Up to and without this day, likewise.",
    "downloads_min": "Only models with at least this many downloads, or with likes_min likes.",
    "likes_min": "Only models with at least this many likes, or with downloads_min downloads.",
    "parameters_b_min": "Only models with at least so many parameters, in thousand million.",
    "parameters_b_max": "Only models with fewer parameters, in thousand million.",
    "cuts": "How many of the first are taken, one or several: 10 or 25,300.",
    "sizes_b": "Bounds of size classes, in thousand million parameters.",
    "ages_days": "Ages of a model at which it is looked at, in days.",
    "top": "At most so many rows.",
    "sort": "A column of the answer to sort by, the largest first; with a minus before it, the smallest first.",
}
_Count = Annotated[int, Meta(ge=1, le=CUT_MAX)]
_ParametersB = Annotated[float, Meta(gt=0, le=PARAMETERS_B_MAX)]
_Days = Annotated[int, Meta(ge=1, le=DAYS_MAX)]
Over = Literal["models", "owners", "organisations", "countries", "families"]
Grain = Literal["day", "week", "month", "quarter", "half", "year", "snapshot"]


class Choices(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Every choice that some question honours. None or empty: the question's own default."""

    population: Texts = ()
    day: date | None = None
    head: _Count | None = None
    attribution: Attribution = "both"
    parent: Parent = "alphabetical"
    steps: Annotated[int, Meta(ge=1, le=STEPS_MAX)] = 8
    window: str = "30d"
    age_days_max: _Days | None = None
    young_days: _Days = 365
    as_of: datetime | None = None
    modality: Texts = ()
    exclude: Texts = ()
    account: Texts = ()
    country: Texts = ()
    family: Texts = ()
    variant: Texts = ()
    id: Texts = ()
    relation: Texts = ()
    licence: Texts = ()
    part: Texts = ()
    known: Texts = ()
    over: Over | None = None
    by: str | None = None
    grain: Grain | None = None
    since: date | None = None
    until: date | None = None
    downloads_min: Annotated[int, Meta(ge=0)] | None = None
    likes_min: Annotated[int, Meta(ge=0)] | None = None
    parameters_b_min: _ParametersB | None = None
    parameters_b_max: _ParametersB | None = None
    cuts: tuple[_Count, ...] = ()
    sizes_b: tuple[_ParametersB, ...] = ()
    ages_days: tuple[_Days, ...] = ()
    top: Annotated[int, Meta(ge=1, le=ROWS_MAX)] | None = None
    sort: str | None = None

    def __post_init__(self) -> None:
        """Raises Invalid: a list that is too long, a text that can't be meant, bounds that do not ascend."""
        for name in _LISTS:
            _check_list(self, name)
        if not _WINDOW.fullmatch(self.window):
            raise Invalid(f"window: {self.window[:40]!r} must be 30d, all or FROM..TO, two days")
        for item in self.exclude:
            kind, colon, name = item.partition(":")
            if not (item in EXCLUSIONS or (colon and kind in ("account", "id") and name)):
                raise Invalid(f"exclude: {item[:60]!r} must be one of {', '.join(EXCLUSIONS)}, account:NAME or id:NAME")
        for name in ("sizes_b", "ages_days", "cuts"):
            if list(getattr(self, name)) != sorted(set(getattr(self, name))):
                raise Invalid(f"{name}: must ascend")
        if self.since and self.until and self.since >= self.until:
            raise Invalid("since: must lie before until")
        if self.parameters_b_min and self.parameters_b_max and self.parameters_b_min >= self.parameters_b_max:
            raise Invalid("parameters_b_min: must be less than parameters_b_max")
        if self.window_days and self.window_days[0] >= self.window_days[1]:
            raise Invalid(f"window: {self.window} must begin before it ends")

    @property
    def window_days(self) -> tuple[date, date] | None:
        """Start and stop of a window between two days; the stop is outside. None: 30d or all."""
        if ".." not in self.window:
            return None
        start, _, stop = self.window.partition("..")
        return moment(start).date(), moment(stop).date()

    @property
    def tags(self) -> Texts:
        """The task tags of `modality`, its groups resolved; UNTAGGED stays as it is."""
        every = [tag for item in self.modality for tag in MODALITIES.get(item, (item,))]
        return tuple(dict.fromkeys(every))

    @property
    def excluded_accounts(self) -> Texts:
        return tuple(item.removeprefix("account:") for item in self.exclude if item.startswith("account:"))

    @property
    def excluded_ids(self) -> Texts:
        return tuple(item.removeprefix("id:") for item in self.exclude if item.startswith("id:"))

    def made(self) -> dict[str, str]:
        """The choices that differ from the defaults, as text, in the order of the fields."""
        return {name: text for name, text in self.written().items() if text != _DEFAULTS[name]}

    def written(self) -> dict[str, str]:
        """Every choice as text: what `parse` reads back."""
        return {name: _text(getattr(self, name)) for name in self.__struct_fields__}

    def text(self) -> str:
        """The choices made, on one line."""
        return " ".join(f"{name}={value}" for name, value in self.made().items()) or "(defaults)"

    @classmethod
    def parse(cls, pairs: Iterable[tuple[str, str]]) -> Choices:
        """From `name=value` pairs of a URL or a command line. Lists are separated by commas, or given repeatedly."""
        given: dict[str, str] = {}
        for count, (name, value) in enumerate(pairs):
            if count >= PAIRS_MAX:
                raise Invalid(f"choices: more than {PAIRS_MAX}")
            if name not in _DEFAULTS:
                raise Invalid(f"choice: {name[:40]!r} is not one of {', '.join(_DEFAULTS)}")
            if name in given and name not in _LISTS:
                raise Invalid(f"{name}: given twice")
            given[name] = f"{given[name]},{value}" if name in given else value
        raw: dict[str, Any] = {name: _value(name, value) for name, value in given.items() if value != ""}
        try:
            return msgspec.convert(raw, cls, strict=False)
        except msgspec.ValidationError as error:
            raise Invalid(f"choices: {error}") from error


def _check_list(choices: Choices, name: str) -> None:
    items = getattr(choices, name)
    if isinstance(items, str):  # Choices(modality="llm") in Python: what else could be meant
        items = tuple(item.strip() for item in items.split(",") if item.strip())
        msgspec.structs.force_setattr(choices, name, items)
    if len(items) > ITEMS_MAX:
        raise Invalid(f"{name}: has {len(items)} items; {ITEMS_MAX} are allowed")
    for item in items:
        if isinstance(item, str) and not (0 < len(item) <= ITEM_CHARS_MAX):
            raise Invalid(f"{name}: {item[:60]!r} must have 1 to {ITEM_CHARS_MAX} characters")


def _value(name: str, value: str) -> Any:
    if name in _LISTS:
        return list(dict.fromkeys(item.strip() for item in value.split(",") if item.strip()))
    if name == "as_of":
        return moment(value)
    return value.strip()


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, tuple):
        return ",".join(f"{item:g}" if isinstance(item, float) else str(item) for item in value)
    return value.isoformat() if isinstance(value, date) else str(value)


_LISTS = frozenset(field.name for field in msgspec.structs.fields(Choices) if field.default == ())
_DEFAULTS = Choices().written()


def described() -> Iterator[tuple[str, str, str]]:
    """(name, default, meaning) of every choice."""
    for name, default in _DEFAULTS.items():
        yield name, default, _ABOUT[name]


def allowed(name: str) -> Texts:
    """The values of a choice that has only so many; empty: any."""
    literals = {"attribution": Attribution, "parent": Parent, "over": Over, "grain": Grain}
    if name in literals:
        return tuple(get_args(literals[name]))
    return {"modality": (*MODALITIES, UNTAGGED), "exclude": tuple(EXCLUSIONS)}.get(name, ())
