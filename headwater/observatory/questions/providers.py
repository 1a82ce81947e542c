"""Providers: who lists which open models, since when and until when, as catalogues saw it."""

# ruff: noqa: S608 - the SQL put together here is this package's own; what a user chose goes in as quoted literals
from __future__ import annotations

from headwater.ground.errors import Invalid
from headwater.observatory.families import Families, quoted
from headwater.observatory.questions.over_time import listings
from headwater.observatory.questions.periods import period
from headwater.observatory.questions.plan import Plan, Question, Scope
from headwater.observatory.questions.population import day_sql, listed
from headwater.observatory.steps import Step

LAG = (
    "Listed by, never available from: first seen is the day on which a catalogue learnt of it, which may be days to a "
    "year after the provider began."
)
VARIANTS: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "DeepSeek": (("R1-Distill", ("distill",)), ("R1", ("r1", "reasoner")), ("V4", ("v4",)), ("V3", ("v3", "chat"))),
}
"""Versions of a family by texts in the key, the first that fits; DeepSeek's `chat` and `reasoner` are names of a
service whose model changed: V3 since 2024-12, R1 since 2025-01."""
NUMBERED = "[-_ .]?v?([a-z]?[0-9]+([.p][0-9]+)?b?)"
"""Versions of every other family: the number after its name."""
COLUMNS_MAX = 12  # versions shown beside each other
CATALOGUES = ("providers",)  # go before a hub's own list, which names those that serve its models that day
_HONOURS = ("population", "part", "family", "variant", "account", "since", "until")


def _listings(scope: Scope) -> tuple[Step, Step]:
    """`catalogued`: LISTING over all snapshots of the source. `listed`: (catalogue, provider, key, family, variant,
    first_seen, last_seen, at_end), one row per family."""
    choices = scope.choices
    conditions = ["key is not null"]
    if choices.part:
        conditions.append(f"catalogue in ({listed(choices.part)})")
    if choices.account:
        conditions.append(f"provider in ({listed(choices.account)})")
    if choices.since:
        conditions.append(f"first_seen >= {day_sql(choices.since)}")
    if choices.until:
        conditions.append(f"first_seen < {day_sql(choices.until)}")
    known = {family.name for family in Families.load().rules}
    if unknown := set(choices.family) - known:
        raise Invalid(f"family: {min(unknown)[:40]!r} is not one of {', '.join(sorted(known))}")
    named = f" and p.family in ({listed(choices.family)})" if choices.family else ""
    seen = (
        "select l.catalogue, l.provider, l.key, p.family, min(p.pattern) as pattern, l.first_seen, l.last_seen, "
        f"l.listed_at_end from catalogued l join family_pattern p on contains(lower(l.key), p.pattern){named} "
        f"where {' and '.join(f'l.{one}' for one in conditions)} group by all"
    )
    listed_keys = Step("listed", f"select *, {_variant()} as variant from ({seen}) seen")
    return Step("catalogued", listings(scope)), listed_keys


def _variant() -> str:
    cases = []
    for family, rules in VARIANTS.items():
        whens = " ".join(
            f"when {' or '.join(f'contains(lower(key), {quoted(text)})' for text in texts)} then {quoted(name)}"
            for name, texts in rules
        )
        cases.append(f"when family = {quoted(family)} then case {whens} else 'other' end")
    number = f"regexp_extract(lower(key), replace(pattern, '-', '[-]') || '{NUMBERED}', 1)"
    return f"case {' '.join(cases)} else coalesce(nullif(replace(upper({number}), 'P', '.'), ''), 'other') end"


def _chosen(scope: Scope) -> str:
    """Rows of the versions chosen."""
    return f"variant in ({listed(scope.choices.variant)})" if scope.choices.variant else "true"


def _first_seen(scope: Scope) -> Plan:
    """A row per provider, a column per version."""
    steps = _listings(scope)
    found = scope.look(
        f"with catalogued as ({steps[0].sql}), listed as ({steps[1].sql}) select variant, "
        f"count(distinct provider) as n, bool_or(family in ({listed(VARIANTS)})) as ruled from listed "
        "where variant <> 'other' group by variant order by n desc, variant limit 200"
    ).to_pylist()
    ruled = [row["variant"] for row in found if row["ruled"]]
    rest = [row["variant"] for row in found if not row["ruled"]]
    names = list(dict.fromkeys((*scope.choices.variant, *ruled, *rest)))[:COLUMNS_MAX]
    cells = "".join(f", min(first_seen) filter (variant = {quoted(one)}) as {_column(one)}" for one in names)
    wanted = _chosen(scope)
    select = (
        f"select catalogue, provider, min(first_seen) filter ({wanted}) as first_seen{cells}, "
        f"max(last_seen) filter ({wanted}) as last_seen, "
        f"coalesce(bool_or(listed_at_end) filter ({wanted}), false) as listed_at_end, "
        f"count(distinct key) filter ({wanted}) as keys from listed group by catalogue, provider "
        f"having count(*) filter ({wanted}) > 0"
    )
    return Plan(steps, select, "first_seen, provider, catalogue", None, (), (LAG,))


def _column(variant: str) -> str:
    return '"' + variant.lower().replace("-", "_").replace('"', "") + '"'


def _diffusion(scope: Scope) -> Plan:
    begun = (
        f"select catalogue, family, provider, min(first_seen) as first_seen from listed where {_chosen(scope)} "
        "and first_seen is not null group by all"
    )
    when = period(scope, "first_seen", "month")
    select = (
        f"select catalogue, family, {when} as month, count(*) as new_providers, sum(count(*)) over "
        f"(partition by catalogue, family order by {when})::bigint as cumulative, "
        "string_agg(provider, ', ' order by first_seen, provider) as providers from begun group by catalogue, "
        "family, month"
    )
    return Plan((*_listings(scope), Step("begun", begun)), select, "catalogue, family, month", None, (), (LAG,))


def _reach(scope: Scope) -> Plan:
    """How many providers of a catalogue list a family on a day."""
    by = scope.by(("family", "variant"))
    ends = "select catalogue, max(last_seen) as ended from catalogued group by catalogue"
    at = day_sql(scope.choices.day) if scope.choices.day else "ended"
    # On its last day a catalogue says itself what it lists; before, a key counts from its first to its last sighting.
    held = f"(first_seen <= {at} and last_seen >= {at} and ({at} < ended or listed_at_end))"
    keys = "family" if by == "family" else "family, variant"
    every = Step(
        "total",
        f"select catalogue, ended, count(distinct provider) as providers_all from catalogued join ({ends}) e using "
        f"(catalogue) where {held} group by all",
    )
    select = (
        f"select catalogue, {at} as day, {keys}, count(distinct provider) as providers, any_value(providers_all) as "
        "providers_all, round(100.0 * count(distinct provider) / any_value(providers_all), 1) as pct, "
        f"count(distinct key) as keys from listed join total using (catalogue) where {held} and {_chosen(scope)} "
        f"group by all"
    )
    return Plan((*_listings(scope), every), select, f"catalogue, providers desc, {keys}", None, (), (LAG,))


def _prices(scope: Scope) -> Plan:
    priced = (
        "select l.catalogue, p.family, l.provider, l.key, l.usd_per_mtok_in_first as in_first, "
        "l.usd_per_mtok_out_first as out_first, l.usd_per_mtok_in_last as in_last, l.usd_per_mtok_out_last as out_last "
        "from catalogued l join listed p using (catalogue, provider, key) "
        f"where l.usd_per_mtok_out_last > 0 and {_chosen(scope)}"
    )
    cells = ", ".join(f"round(median({one}), 4) as usd_per_mtok_{one}" for one in ("in_first", "out_first", "in_last",
                                                                                    "out_last"))  # fmt: skip
    select = (
        f"select catalogue, family, count(*) as keys, count(distinct provider) as providers, {cells}, "
        "round(min(out_last), 4) as usd_per_mtok_out_lowest from priced group by all"
    )
    return Plan(
        (*_listings(scope), Step("priced", priced)), select, "catalogue, providers desc, family", None, (), (LAG,)
    )


_SOURCE = "design/observatory.md, section 3: litellm's price map and models.dev, read through their history"
QUESTIONS = (
    Question(
        "provider-first-seen", "providers", "First sighting of a family per provider",
        "Per catalogue and provider: the first day on which any key of the family was listed, of the versions chosen "
        "by `variant` (all if none), and a column per version. A key belongs to a family if one of its texts in "
        "families.toml occurs in it. DeepSeek's versions: " + "; ".join(
            f"{name}: {', '.join(texts)}" for name, texts in VARIANTS["DeepSeek"]
        ) + ", the first that occurs; of other families the number after the name.",
        _SOURCE, ("listing",), _HONOURS,
        (("catalogue", "litellm or models.dev"), ("provider", "as the catalogue names it"),
         ("first_seen", "of the versions chosen"), ("r1, v3, ...", "of each version"), ("last_seen",
                                                                                        "of those versions"),
         ("listed_at_end", "still listed when the catalogue was last read"), ("keys", "of the versions chosen")),
        _first_seen, suits=CATALOGUES, chart="gantt", paged=True,
    ),
    Question(
        "provider-diffusion", "providers", "Diffusion of a family over providers",
        "Per catalogue, family and month: providers that list a key of it (of the versions chosen) for the first time, "
        "and how many have so far. With `since`, keys first seen earlier are left out.",
        _SOURCE, ("listing",), (*_HONOURS, "grain"),
        (("catalogue", "litellm or models.dev"), ("family", "of families.toml"), ("month", "or another grain"),
         ("new_providers", "first sighting in the month"), ("cumulative", "so far"), ("providers", "the new ones")),
        _diffusion, suits=CATALOGUES, chart="steps", paged=True,
    ),
    Question(
        "provider-reach", "providers", "Providers that list a family on a day",
        "Per catalogue and family: providers with a key of it between its first and its last sighting on the day (by "
        "default the catalogue's last), and all providers with any key on that day.",
        _SOURCE, ("listing",), (*_HONOURS, "day", "by"),
        (("catalogue", "litellm or models.dev"), ("day", "looked at"), ("family", "of families.toml"),
         ("variant", "with by=variant"), ("providers", "that list it"), ("providers_all", "of the catalogue"),
         ("pct", "of all"), ("keys", "listed")),
        _reach, suits=CATALOGUES, by=("family", "variant"),
    ),
    Question(
        "provider-prices", "providers", "Prices of a family over providers",
        "Median over keys of the first and the last price seen, in US dollars per million tokens, of keys with a "
        "price.",
        _SOURCE, ("listing",), _HONOURS,
        (("catalogue", "litellm or models.dev"), ("family", "of families.toml"), ("keys", "with a price"),
         ("providers", "distinct"), ("usd_per_mtok_in_first", "median"), ("usd_per_mtok_out_first", "median"),
         ("usd_per_mtok_in_last", "median"), ("usd_per_mtok_out_last", "median"),
         ("usd_per_mtok_out_lowest", "lowest of the last prices")),
        _prices, suits=CATALOGUES, chart="table",
    ),
)  # fmt: skip
