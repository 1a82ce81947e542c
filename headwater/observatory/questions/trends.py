"""What models are like over time: their size, modality, quantization, architecture, library, format and gate."""

# ruff: noqa: S608 - the SQL put together here is this package's own; what a user chose was quoted in population.py
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from headwater.observatory.choices import MODALITIES, UNTAGGED
from headwater.observatory.families import quoted
from headwater.observatory.questions.periods import period
from headwater.observatory.questions.plan import OF_LISTINGS, POPULATION, Plan, Question, Scope, Share
from headwater.observatory.questions.population import here, knows, listed, models
from headwater.observatory.steps import Step

SIZES_B = (1.0, 10.0, 100.0)
GROUPS_MAX = 12  # shown by name; the rest is `other`
UNKNOWN = "unknown"
OTHER = "other"
CREATED = "Per period of creation, of models that still existed: older periods have lost what was deleted since."
_HONOURS = (*POPULATION, "grain")
_LISTED = tuple(name for name in _HONOURS if name not in OF_LISTINGS)
_COLUMNS = (
    ("period", "of creation, or the snapshot's date"), ("models", "models"), ("pct_models", "of the period's models"),
    ("downloads", "in the window"), ("pct_downloads", "of the period's downloads"), ("authors", "distinct accounts"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Trait:
    """A property that models share: its column of the answer and how it is read off a model."""

    name: str
    columns: tuple[str, ...]
    expression: str
    unknown: str = ""
    """What it is called where nobody knows; nothing where that can't be told from having none."""


def size_class(sizes_b: Sequence[float]) -> str:
    """The size class of `parameters` as a text that sorts by size."""
    bounds = [f"{size:g}B" for size in sizes_b]
    names = [f"under {bounds[0]}", *(f"{low}-{high}" for low, high in pairwise(bounds)),
             f"{bounds[-1]} and more"]  # fmt: skip
    cases = " ".join(
        f"when parameters < {size * 1e9:.0f} then {quoted(f'{place} {name}')}"
        for place, (size, name) in enumerate(zip(sizes_b, names, strict=False))
    )
    last = quoted(f"{len(sizes_b)} {names[-1]}")
    return f"case when parameters is null then '{UNKNOWN}' {cases} else {last} end"


def modality_class() -> str:
    """The group of a task tag; a tag in several groups falls into the first that is not `llm` or `text`."""
    order = [name for name in MODALITIES if name not in ("llm", "text")] + ["text"]
    cases = " ".join(f"when pipeline_tag in ({listed(MODALITIES[name])}) then {quoted(name)}" for name in order)
    return f"case when pipeline_tag is null then '{UNTAGGED}' {cases} else '{OTHER}' end"


TRAITS = {
    "tag": Trait("modality", ("pipeline_tag",), f"coalesce(pipeline_tag, '{UNTAGGED}')", UNTAGGED),
    "group": Trait("modality", ("pipeline_tag",), modality_class(), UNTAGGED),
    "method": Trait("quantization", ("quantization",), "coalesce(quantization, 'none named')"),
    "architecture": Trait("architecture", ("architecture",), f"coalesce(architecture, '{UNKNOWN}')", UNKNOWN),
    "model_type": Trait("architecture", ("model_type",), f"coalesce(model_type, '{UNKNOWN}')", UNKNOWN),
    "experts": Trait("architecture", ("experts", "layers"), "case when experts > 1 then 'mixture of experts' "
                     f"when layers is not null then 'dense' else '{UNKNOWN}' end", UNKNOWN),
    "library": Trait("library", ("library",), "coalesce(library, 'none named')", "none named"),
    "gate": Trait("gate", ("gated",), f"coalesce(gated, '{UNKNOWN}')", UNKNOWN),
    "family": Trait("family", (), "coalesce(family_of(id), 'other')"),
}  # fmt: skip


def _over_time(scope: Scope, trait: Trait, rows: str = "m") -> Plan:
    dated = knows(scope, "created_at")
    when = period(scope, "created_at", "month" if dated else "snapshot")
    steps = models(scope, "created_at", "d", *trait.columns)
    if rows != "m":
        steps = (*steps, Step("opened", rows))
    source = "m" if rows == "m" else "opened"
    marked = Step("marked", f"select {when} as period, {trait.expression} as k, id, author, d from {source}")
    named = Step("named", f"select k from marked group by k order by count(*) desc, k limit {GROUPS_MAX}")
    unit = Step(
        "unit",
        f"select period, case when k in (select k from named) then k else '{OTHER}' end as k, author, "
        "count(*) as n, sum(d)::bigint as d from marked where period is not null group by all",
    )
    select = (
        f"select period, k as {trait.name}, sum(n)::bigint as models, "
        "round(100.0 * sum(n) / sum(sum(n)) over (partition by period), 2) as pct_models, sum(d)::bigint as downloads, "
        "round(100.0 * sum(d) / nullif(sum(sum(d)) over (partition by period), 0), 2) as pct_downloads, "
        "count(distinct author) as authors from unit group by period, k"
    )
    said = (CREATED,) if dated else ("The snapshot knows no dates of creation: one period, its own date.",)
    foremost = _foremost(f"case when k in (select k from named) then k else '{OTHER}' end", "marked")
    return Plan((*steps, marked, named, unit, foremost), select, f"period, models desc, {trait.name}", None,
                (_share(scope, trait.name, trait.unknown),), said)  # fmt: skip


def _foremost(key: str, rows: str) -> Step:
    """The model with most downloads of each group; apart, for ids of millions of small groups take long."""
    return Step("foremost", f"select {key} as k, max(d) as most, arg_max(id, d) as most_id, 1 as one, any_value(id) as "
                f"one_id from {rows} group by 1")  # fmt: skip


def _share(scope: Scope, name: str, unknown: str) -> Share:
    """Of all periods together; of models where no downloads are known."""
    units, classes = "unit join foremost using (k)", (OTHER, *((unknown,) if unknown else ()))
    if knows(scope, "d"):
        return Share(f"{name} by downloads, all periods", units, "k", "d", "most", "most_id", "n", classes, unknown)
    return Share(f"{name} by models, all periods", units, "k", "n", "one", "one_id", "n", classes, unknown)


def _sizes(scope: Scope) -> Plan:
    return _over_time(scope, Trait("size", ("parameters",), size_class(scope.choices.sizes_b or SIZES_B), UNKNOWN))


def _formats(scope: Scope) -> Plan:
    named = "case when len(formats) > 0 then formats else ['none named'] end"
    opened = f"select id, author, created_at, d, unnest({named}) as format from m"
    return _over_time(scope, Trait("format", ("formats",), "format"), opened)


def _relations(scope: Scope) -> Plan:
    declared = (
        "select m.id, m.author, m.created_at, m.d, coalesce(f.relation, 'no declared base') as relation from m left "
        "join (select child, arg_min(coalesce(relation, 'untyped'), coalesce(position, 1000000)) as relation from edge "
        f"where {here(scope)} group by child) f on f.child = m.id"
    )
    return _over_time(scope, Trait("relation", (), "relation"), declared)


def _mean_size(scope: Scope) -> Plan:
    dated = knows(scope, "created_at")
    when = period(scope, "created_at", "month" if dated else "snapshot")
    marked = Step("marked", f"select {when} as period, parameters / 1e9 as size_b, d, author from m "
                  "where parameters > 0")  # fmt: skip
    size = size_class(SIZES_B)
    unit = Step("unit", f"select {size} as k, author, count(*) as n, sum(d)::bigint as d from m group by all")
    select = (
        "select period, count(*) as models, round(avg(size_b), 3) as mean_b, round(median(size_b), 3) as median_b, "
        "round(sum(size_b * d) / nullif(sum(d) filter (d is not null), 0), 3) as mean_b_by_downloads, "
        "count(distinct author) as authors from marked where period is not null group by period"
    )
    steps = (*models(scope, "created_at", "parameters", "d"), marked, unit, _foremost(size, "m"))
    return Plan(steps, select, "period", None, (_share(scope, "size", UNKNOWN),), (
        "Only models whose number of parameters is known: most uploads of adapters and old formats say nothing.",
        CREATED))  # fmt: skip


def _question(
    name: str,
    title: str,
    definition: str,
    need: str,
    traits: tuple[str, ...],
    *,
    paged: bool = False,
    honours: tuple[str, ...] = _HONOURS,
) -> Question:
    first = TRAITS[traits[0]]

    def build(scope: Scope) -> Plan:
        return _over_time(scope, TRAITS[scope.by(traits)] if len(traits) > 1 else first)

    return Question(
        name, "trends", title, f"{definition} The {GROUPS_MAX} most frequent are named, the rest is `{OTHER}`.",
        "Longpre et al. (arXiv 2512.03073): shares of attributes over time", (need,),
        (*honours, "by") if len(traits) > 1 else honours,
        (_COLUMNS[0], (first.name, "what is counted"), *_COLUMNS[1:]), build,
        wants=("models.created_at", "models.downloads_30d"), chart="stacked", by=traits if len(traits) > 1 else (),
        paged=paged,
    )  # fmt: skip


QUESTIONS = (
    Question(
        "size-over-time", "trends", "Model size over time",
        "Models and downloads per size class and period of creation. Classes are bounded by `sizes_b`, by default "
        "under 1, 1 to 10, 10 to 100 and over 100 thousand million parameters; the digit in front keeps their order.",
        "Longpre et al. (arXiv 2512.03073); Hugging Face blog of 2026-08-14", ("models.parameters",),
        (*_HONOURS, "sizes_b"), (_COLUMNS[0], ("size", "class, or unknown"), *_COLUMNS[1:]), _sizes,
        wants=("models.created_at", "models.downloads_30d"), chart="stacked", paged=True,
    ),
    Question(
        "mean-size-over-time", "trends", "Mean model size over time",
        "Mean and median number of parameters of the models created in a period, and the mean weighted by downloads.",
        "Longpre et al. (arXiv 2512.03073): average size of what is downloaded, x17", ("models.parameters",), _HONOURS,
        (_COLUMNS[0], ("models", "of known size"), ("mean_b", "thousand million parameters"), ("median_b", "the same"),
         ("mean_b_by_downloads", "mean weighted by downloads in the window"), ("authors", "distinct accounts")),
        _mean_size, wants=("models.created_at", "models.downloads_30d"), chart="lines",
    ),
    _question("modality-over-time", "Modality over time",
              "Models and downloads by task and period of creation: by groups of the Hub's task tags, or by tag.",
              "models.pipeline_tag", ("group", "tag"), paged=True),
    _question("quantization-over-time", "Quantization over time",
              "Models and downloads by the method of quantization that the files or tags name.", "models.quantization",
              ("method",)),
    _question("architecture-over-time", "Architecture over time",
              "Models and downloads by architecture, by model type, or by whether there is a mixture of experts.",
              "models.architecture|models.model_type", ("architecture", "model_type", "experts")),
    _question("library-over-time", "Library over time", "Models and downloads by library.", "models.library",
              ("library",)),
    _question("gate-over-time", "Gated models over time", "Models and downloads by whether access must be asked for.",
              "models.gated", ("gate",), honours=_LISTED),
    _question("family-over-time", "Model families over time",
              "Models and downloads by the family that the name names.", "models.id", ("family",)),
    Question(
        "format-over-time", "trends", "File formats over time",
        "Models and downloads by file format; a model with several formats counts in each.",
        "design/observatory.md, section 1.2", ("models.formats",), _LISTED,
        (_COLUMNS[0], ("format", "of its files"), *_COLUMNS[1:]), _formats,
        wants=("models.created_at", "models.downloads_30d"), chart="stacked",
    ),
    Question(
        "relation-over-time", "trends", "Relations over time",
        "Models and downloads by the relation of the first declared base, per period of creation.",
        "Laufer, Oderinwale, Kleinberg (arXiv 2508.06811)", ("models", "edge"), _HONOURS,
        (_COLUMNS[0], ("relation", "or no declared base"), *_COLUMNS[1:]), _relations,
        wants=("models.created_at", "models.downloads_30d"), chart="stacked",
    ),
)  # fmt: skip
