"""Shares of downloads: whose models are downloaded, by country, organisation and family, and how choices flip it."""

# ruff: noqa: S608 - the SQL put together here is this package's own; what a user chose was quoted in population.py
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headwater.ground.errors import Invalid
from headwater.observatory import series
from headwater.observatory.choices import MODALITIES, UNTAGGED
from headwater.observatory.questions.over_time import counts, only_listed, ranks
from headwater.observatory.questions.plan import CLASSES, POPULATION, UNMAPPED, Plan, Question, Scope, Share
from headwater.observatory.questions.population import (
    bases,
    day_sql,
    family_countries,
    here,
    knows,
    listed,
    models,
    of_accounts,
    owner,
    roots,
    told,
)
from headwater.observatory.steps import Step

CAVEATS = (
    "Downloads are requests for a model's files as the Hub counts them: no users, no transfers, no deployments.",
    "A country is that of the organisation behind an account; who downloads is not known to anybody.",
)
FAMILIES_GUESSED = "A family is read from a name: a guess that anybody can check."
_ROOTED = "Origin: the root of the declared chain of bases; a model that declares none is its own origin."
_NAMED = ("Origin: this snapshot knows no bases, so the family that the name names stands for them, with its owner's "
          "country; a model that names none counts for its uploader.")  # fmt: skip
_SOURCE_FLIP = (
    "design/observatory.md, section 0; attribution by organisation as in Longpre et al. (arXiv 2512.03073), by base as "
    "in the Hugging Face blog of 2026-01-20"
)


@dataclass(frozen=True, slots=True)
class Grouping:
    """What a model is counted for: by its account {a}, its owner {o} or its id {i}; by its family's name."""

    name: str
    of_model: str
    of_name: str
    unknown: str
    classes: tuple[str, ...]
    named: Step | None = None
    """What `of_name` reads, by the family that a name names."""


def _family_organisations() -> Step:
    """`family_organisation`: the organisation of a family whose owners all are of one."""
    return Step(
        "family_organisation",
        "select f.family, min(coalesce(a.organisation, f.account)) as organisation from family_owner f left join "
        "accounts a on a.account = f.account group by f.family having "
        "count(distinct coalesce(a.organisation, f.account)) = 1",
    )


COUNTRY = Grouping("country", "{a}.country", "family_country.country", UNMAPPED, CLASSES, family_countries())
ORGANISATION = Grouping("organisation", "coalesce({a}.organisation, {o})", "family_organisation.organisation", "", (),
                        _family_organisations())  # fmt: skip
FAMILY = Grouping("family", "family_of({i})", "family_of(m.id)", "other", ("other",))


def origin_kind(scope: Scope) -> str:
    """How the origin is known here: root, named or discovered. Invalid: asked for what the snapshot lacks."""
    chosen = scope.choices.attribution
    if chosen in ("both", "origin"):
        return "root" if scope.has("edge") else "named"
    if chosen == "root" and not scope.has("edge"):
        raise Invalid(f"attribution: root needs edge, which snapshot {scope.snapshot.id} does not have; try named")
    if chosen == "discovered":
        _refuse_undiscovered(scope)
    return chosen


def _refuse_undiscovered(scope: Scope) -> None:
    found = scope.look(f"select count(*) as n from edge where {here(scope)} and source = 'discovered'").to_pylist()
    if found and not found[0]["n"]:
        raise Invalid(
            f"attribution: snapshot {scope.snapshot.id} has no discovered edges: they come from comparing weights, "
            "which a listing does not have; choose uploader or root"
        )


@dataclass(frozen=True, slots=True)
class Sides:
    """What a model of the relation `m` is counted for, as expressions over `m` with the joins; the steps they read."""

    steps: tuple[Step, ...]
    join: str
    uploader: str
    origin: str


def sides_of(scope: Scope, grouping: Grouping) -> Sides:
    """Both sides of a grouping; where only the uploader was chosen, both are the uploader."""
    kind = origin_kind(scope) if scope.choices.attribution != "uploader" else "uploader"
    up = grouping.of_model.format(a="a", o="m.author", i="m.id")
    uploader = f"coalesce({up}, '{grouping.unknown}')"
    join = " left join accounts a on a.account = m.author" if "a." in up else ""
    if kind in ("root", "discovered"):
        join += " left join rooted on rooted.id = m.id"
        origin = f"coalesce(rooted.of_root, {up}, '{grouping.unknown}')"
        return Sides((*roots(scope), _rooted(grouping)), join, uploader, origin)
    if kind == "named" and grouping.named:
        table = grouping.named.name
        join += f" left join {table} on {table}.family = family_of(m.id)"
        return Sides((grouping.named,), join, uploader, f"coalesce({grouping.of_name}, {up}, '{grouping.unknown}')")
    return Sides((), join, uploader, uploader)


def _rooted(grouping: Grouping) -> Step:
    """`rooted`: what the root of a model counts for. Before the models are joined: only roots that count for somebody,
    and no names of theirs."""
    of_root = grouping.of_model.format(a="ra", o=owner("root.root"), i="root.root")
    if "ra." in of_root:
        return Step("rooted", f"select root.id, {of_root} as of_root from root left join accounts ra on ra.account = "
                    f"{owner('root.root')} where {of_root} is not null")  # fmt: skip
    # A family is looked for in each root once: there are many texts to look for.
    roots_once = f"select root, {of_root} as of_root from (select distinct root from root) root"
    return Step("rooted", f"select root.id, o.of_root from root join ({roots_once}) o using (root) where "
                "o.of_root is not null")  # fmt: skip


def shown_sides(scope: Scope) -> tuple[str, ...]:
    """The sides that the attribution chosen shows."""
    return {"both": ("uploader", "origin"), "uploader": ("uploader",)}.get(scope.choices.attribution, ("origin",))


def attributed(scope: Scope, grouping: Grouping, extra: str = "") -> tuple[Step, ...]:
    """The steps up to `unit`: one row per uploader's group, origin's group and author, with sums and their largest.

    `extra`: more columns of `m` to group by.
    """
    columns = [name for name in ("d", "young", *extra.split()) if name]
    sides = sides_of(scope, grouping)
    more = "".join(f", m.{name}" for name in extra.split())
    unit = (
        f"select uploader, origin, author{more.replace('m.', '')}, count(*) as n, count(*) filter (young) as n_young, "
        "sum(d)::bigint as d, sum(d) filter (young)::bigint as d_young, max(d) as most, arg_max(id, d) as most_id, "
        "max(d) filter (young) as most_young, arg_max(id, d) filter (young) as most_young_id from ("
        f"select m.id, m.author, m.d, m.young{more}, {sides.uploader} as uploader, "
        f"{sides.origin} as origin from m{sides.join}) attributed group by all"
    )
    return (*models(scope, *columns), *sides.steps, Step("unit", unit))


def shares_of(scope: Scope, grouping: Grouping) -> tuple[Share, ...]:
    """What stands behind the shares: for each attribution, all models and the young ones."""
    ages = [("all ages", "d", "most", "most_id", "n")]
    if knows(scope, "young") and grouping.classes:  # of countries: a million organisations take too long
        ages.append((f"younger than {scope.choices.young_days} days", "d_young", "most_young", "most_young_id",
                     "n_young"))  # fmt: skip
    return tuple(
        Share(f"{side}, {age}", "unit", side, weight, most, most_id, rows, grouping.classes, grouping.unknown)
        for side in shown_sides(scope)
        for age, weight, most, most_id, rows in ages
    )


def _side(side: str) -> str:
    """The shares of one attribution; of a million organisations only those that have most are looked at closely."""
    largest = f"select {side} from unit group by {side} order by sum(d) desc nulls last, {side} limit {GROUPS_MAX}"
    return (
        f"select {side} as k, sum(n)::bigint as models, count(distinct author) as authors, "
        "sum(d)::bigint as downloads, round(100.0 * sum(d) / nullif((select sum(d) from unit), 0), 2) as "
        "pct_downloads, sum(n_young)::bigint as models_young, round(100.0 * coalesce(sum(d_young), 0) / "
        "nullif((select sum(d_young) from unit), 0), 2) as pct_downloads_young "
        f"from unit where {side} in ({largest}) group by {side}"
    )


def _shares(scope: Scope, grouping: Grouping, top: int | None = None) -> Plan:
    name = grouping.name
    steps = attributed(scope, grouping)
    caveats = [*CAVEATS, *((FAMILIES_GUESSED,) if grouping is FAMILY else ())]
    if scope.choices.attribution != "uploader":
        caveats.append(_NAMED if origin_kind(scope) == "named" else _ROOTED)
    if not knows(scope, "young"):
        caveats.append("The snapshot knows no dates of creation: columns that say young are empty.")
    young = (
        ("models_young", "pct_downloads_young")
        if knows(scope, "young")
        else ("null::bigint as models_young", "null::double as pct_downloads_young")
    )
    if scope.choices.attribution == "both":
        cells = []
        for side, table in (("uploader", "u"), ("origin", "o")):
            cells += [f"coalesce({table}.models, 0) as models_{side}", f"{table}.authors as authors_{side}",
                      f"coalesce({table}.pct_downloads, 0) as pct_{side}"]  # fmt: skip
            if knows(scope, "young"):
                cells += [f"coalesce({table}.models_young, 0) as models_young_{side}",
                          f"coalesce({table}.pct_downloads_young, 0) as pct_young_{side}"]  # fmt: skip
            else:
                cells += [f"null::bigint as models_young_{side}", f"null::double as pct_young_{side}"]
        steps = (*steps, Step("u", _side("uploader")), Step("o", _side("origin")))
        select = f"select coalesce(u.k, o.k) as {name}, {', '.join(cells)} from u full join o on u.k = o.k"
        order = f"pct_uploader desc, pct_origin desc, models_uploader desc, {name}"
    else:
        side = "uploader" if scope.choices.attribution == "uploader" else "origin"
        select = (
            f"select k as {name}, models, authors, downloads, pct_downloads, {', '.join(young)} from ({_side(side)}) s"
        )
        order = f"downloads desc nulls last, models desc, {name}"
    return Plan(steps, select, order, top, shares_of(scope, grouping), tuple(caveats))


def side_by_side(shown: Sequence[str], keys: str, group: str, cells: Sequence[str], select: str) -> str:
    """A SELECT of the first side's cells under their names, and beside them those of a second side as `*_origin`.

    `select`: what gives `keys`, `k` and the cells for the side {side}.
    """
    first = select.format(side=shown[0])
    if len(shown) == 1:
        return f"select {keys}k as {group}, {', '.join(cells)} from ({first}) s"
    more = ", ".join(f"o.{cell} as {cell}_origin" for cell in cells)
    using = ", ".join((*(key.strip() for key in keys.split(",") if key.strip()), "k"))
    return (
        f"select {keys}k as {group}, {', '.join(f'u.{cell}' for cell in cells)}, {more} from ({first}) u "
        f"full join ({select.format(side=shown[1])}) o using ({using})"
    )


def _windows(scope: Scope) -> Plan:
    """30-day beside all-time downloads of the same models."""
    sides, shown = sides_of(scope, COUNTRY), shown_sides(scope)
    unit = Step(
        "unit",
        f"select {sides.uploader} as uploader, {sides.origin} as origin, m.author, count(*) as n, "
        "sum(downloads_30d)::bigint as d, "
        "sum(downloads_all)::bigint as d_all, max(downloads_30d) as most, arg_max(m.id, downloads_30d) as most_id, "
        "max(downloads_all) as most_all, arg_max(m.id, downloads_all) as most_all_id, "
        f"sum(downloads_30d) filter (young)::bigint as d_young, count(*) filter (young) as n_young from m{sides.join} "
        "group by all",
    )
    of_side = (
        "select {side} as k, sum(n)::bigint as models, round(100.0 * sum(d) / nullif(sum(sum(d)) over (), 0), 2) as "
        "pct_30d, round(100.0 * sum(d_all) / nullif(sum(sum(d_all)) over (), 0), 2) as pct_all_time, "
        "round(100.0 * coalesce(sum(d_young), 0) / nullif(sum(sum(d_young)) over (), 0), 2) as pct_30d_young "
        "from unit group by {side}"
    )
    select = side_by_side(shown, "", "country", ("models", "pct_30d", "pct_all_time", "pct_30d_young"), of_side)
    shares = tuple(
        Share(f"{side}, {of}", "unit", side, weight, most, f"{most}_id", "n")
        for side in shown
        for of, weight, most in (("30 days", "d", "most"), ("all time", "d_all", "most_all"))
    )
    steps = (*models(scope, "downloads_30d", "downloads_all", "young"), *sides.steps, unit)
    return Plan(steps, select, "pct_30d desc nulls last, models desc nulls last, country", None, shares, CAVEATS)


GROUPS_MAX = 1_000  # of a table of shares: more than any has countries
FLIP_COUNTRIES = 6  # shown beside each other; the rest is `other`


def _flip(scope: Scope) -> Plan:
    """The same share under every combination of the choices that decide it."""
    steps = attributed(scope, COUNTRY, "pipeline_tag" if knows(scope, "pipeline_tag") else "")
    kinds = ["all"]
    if knows(scope, "pipeline_tag"):
        kinds.append("llm")
    ages = ["all"] + (["young"] if knows(scope, "young") else [])
    sides = ("uploader", "origin") if scope.choices.attribution == "both" else (
        ("uploader",) if scope.choices.attribution == "uploader" else ("origin",)
    )  # fmt: skip
    parts = []
    for side in sides:
        for age in ages:
            weight, most, most_id = (
                ("d", "most", "most_id") if age == "all" else ("d_young", "most_young", "most_young_id")
            )
            for modality in kinds:
                where = f"where pipeline_tag in ({listed(MODALITIES['llm'])})" if modality == "llm" else ""
                parts.append(
                    f"select '{side}' as attribution, '{age}' as ages, '{modality}' as modality, {side} as country, "
                    f"{weight} as d, {most} as most, {most_id} as most_id from pooled {where}"
                )
    tag = ", pipeline_tag" if len(kinds) > 1 else ""
    pooled = (  # accounts do not matter here: countries and tasks make a table of some thousand rows
        f"select uploader, origin{tag}, sum(d)::double as d, sum(d_young)::double as d_young, max(most) as most, "
        "arg_max(most_id, most) as most_id, max(most_young) as most_young, arg_max(most_young_id, most_young) as "
        "most_young_id from unit group by all"
    )
    steps = (
        *steps,
        Step("pooled", pooled),
        Step("cell", " union all ".join(parts)),
        Step("heaviest", "select attribution, ages, modality, max(most) as most, arg_max(most_id, most) as most_id, "
             "arg_max(country, most) as country from cell group by all"),
        Step("summed", "select attribution, ages, modality, country, sum(d)::double as d from cell group by all"),
        Step("leaned", "select s.attribution, s.ages, s.modality, s.country, w.without, "
             "s.d - case when w.without <> '' and h.country = s.country then h.most else 0 end as d from summed s "
             "join heaviest h using (attribution, ages, modality) join (select attribution, ages, modality, '' as "
             "without from heaviest union all select attribution, ages, modality, most_id from heaviest) w "
             "using (attribution, ages, modality)"),
    )  # fmt: skip
    select = (
        "select attribution, ages, modality, without, country, pct, "
        f"country = first_value(country) over (partition by attribution, ages, modality, without order by "
        f"(country in ({listed(CLASSES)})), pct desc) as leads from ("
        "select attribution, ages, modality, without, country, round(100.0 * d / nullif(sum(d) over (partition by "
        "attribution, ages, modality, without), 0), 2) as pct from leaned) shared qualify row_number() over "
        f"(partition by attribution, ages, modality, without order by pct desc, country) <= {FLIP_COUNTRIES}"
    )
    order = "attribution desc, ages, modality, without, pct desc, country"
    return Plan(steps, select, order, None, shares_of(scope, COUNTRY), CAVEATS)


DAYS_MAX = 1_500  # of a series that is read day by day: four years
OVER_DAYS_BY = ("country", "organisation", "family", "author", "modality", "id")


def _over_days(scope: Scope) -> Plan:
    by = scope.by(OVER_DAYS_BY)
    grouping = {one.name: one for one in (COUNTRY, ORGANISATION, FAMILY)}.get(by)
    if grouping:
        sides, shown = sides_of(scope, grouping), shown_sides(scope)
    else:
        plain = {"author": "m.author", "modality": f"coalesce(pipeline_tag, '{UNTAGGED}')", "id": "m.id"}[by]
        sides, shown = Sides((), "", plain, plain), ("uploader",)
    unit = (
        f"select day, {sides.uploader} as uploader, {sides.origin} as origin, m.author, count(*) as n, "
        "sum(d)::bigint as d, sum(d) filter (young)::bigint as d_young, max(d) as most, arg_max(m.id, d) as most_id "
        f"from m{sides.join} group by all"
    )
    last = "select uploader, origin, author, n, d, most, most_id from unit where day = (select max(day) from unit)"
    of_side = (
        "select day, {side} as k, sum(n)::bigint as models, sum(d)::bigint as downloads, "
        "round(100.0 * sum(d) / nullif(sum(sum(d)) over (partition by day), 0), 2) as pct_downloads, "
        "round(100.0 * coalesce(sum(d_young), 0) / nullif(sum(sum(d_young)) over (partition by day), 0), 2) "
        "as pct_downloads_young from unit group by day, {side}"
    )
    cells = ("models", "downloads", "pct_downloads", "pct_downloads_young")
    select = side_by_side(shown, "day, ", by, cells, of_side)
    classes, unknown = (grouping.classes, grouping.unknown) if grouping else ((), "")
    shares = tuple(
        Share(f"{by}, {side}, the last day" if grouping else f"{by}, the last day", "last", side, "d", "most",
              "most_id", "n", classes, unknown)
        for side in shown
    )  # fmt: skip
    steps = (*_daily(scope), *sides.steps, Step("unit", unit), Step("last", last))
    return Plan(steps, select, f"day, downloads desc nulls last, {by}", None, shares,
                (*CAVEATS, "Downloads of 30 days overlap from day to day: they must not be added up."))  # fmt: skip


def _daily(scope: Scope) -> tuple[Step, ...]:
    """The steps up to `m`: (day, id, author, d, pipeline_tag, created_at, young) of every day and member of it."""
    choices = scope.choices
    bounds = (f" and day >= {day_sql(choices.since)}" if choices.since else "") + (
        f" and day < {day_sql(choices.until)}" if choices.until else ""
    )
    table = "rank" if scope.has("rank") else "count"
    lists = f" and list in ({listed(choices.part)})" if choices.part and table == "rank" else ""
    facts = {name: table == "rank" and scope.has(f"rank.{name}") for name in ("created_at", "pipeline_tag")}
    if table == "rank":
        own = "".join(f", max({name}) as {name}" for name, here_told in facts.items() if here_told)
        rows = f"({ranks(scope)}) listed_days where true{bounds}{lists}"
        days = f"select day, id, max(downloads_30d) as d{own} from {rows} group by all"
    else:
        days = _counted_days(scope, bounds)
    ids = f"select id from ({ranks(scope) if table == 'rank' else counts(scope)}) every"
    once: list[Step] = []
    if scope.past:  # several snapshots are read once
        once, days, ids = [Step("daily", days)], "select * from daily", "select id from daily"
    told_by = [told(scope, name, name, ids) for name, here_told in facts.items() if not here_told]
    joins = "".join(f" left join {step.name} using (id)" for step in told_by)
    drawn = f"select day, id, {owner('id')} as author, d, created_at, pipeline_tag from ({days}) days{joins}"
    steps = [*once, *told_by, Step("drawn", drawn)]
    conditions = [*of_accounts(scope), *_of_days(scope)]
    if "series" in choices.exclude:
        listing = "select id, any_value(author) as author, min(created_at) as created_at from drawn group by id"
        steps += [Step("listed", listing), *series.steps("listed", bases(scope))]
        conditions.append("id not in (select id from series where place > 1)")
    where = f" where {' and '.join(conditions)}" if conditions else ""
    young = f"created_at > day + interval 1 day - interval {int(choices.young_days)} day as young"
    return (*steps, Step("m", f"select *, {young} from drawn{where}"))


def _of_days(scope: Scope) -> list[str]:
    """Conditions beside those on accounts, on the columns of `drawn`."""
    choices = scope.choices
    found = []
    if choices.modality:
        found.append(f"coalesce(pipeline_tag, '{UNTAGGED}') in ({listed(choices.tags)})")
    if choices.family:
        found.append(f"coalesce(family_of(id), 'other') in ({listed(choices.family)})")
    if "removed" in choices.exclude and scope.has("count.removed"):
        found.append(f"id not in (select id from ({counts(scope)}) every where removed)")
    return found


def _counted_days(scope: Scope, bounds: str) -> str:
    """The counts of every day on which anything was counted; change-only counts hold until the next one."""
    if only_listed(scope):
        listed_on = f"select counted_at::date as day, id, downloads_30d from ({counts(scope)}) every"
        return f"select day, id, max(downloads_30d) as d from ({listed_on}) listed_on where true{bounds} group by all"
    return (
        "with seen as (select id, counted_at, counted_at::date as day, downloads_30d, change_only, removed from "
        f"({counts(scope)}) every), days as (select distinct day from seen), "
        "kept as (select days.day, ids.id from days cross join (select distinct id from seen where change_only) ids) "
        f"select day, id, max(downloads_30d) as d from seen where not change_only{bounds} group by day, id union all "
        "select kept.day, kept.id, s.downloads_30d from kept asof join "
        "(select * from seen where change_only and downloads_30d is not null) s "
        "on kept.id = s.id and kept.day + interval 1 day > s.counted_at "
        f"where true{bounds.replace(' day ', ' kept.day ')}"
    )


_SHARE_COLUMNS = (
    ("models", "models in the group"),
    ("authors", "distinct accounts that uploaded them"),
    ("downloads", "their downloads in the window"),
    ("pct_downloads", "share of all downloads of the population, unmapped ones included, in percent"),
    ("models_young", "models younger than `young_days`"),
    ("pct_downloads_young", "share of the downloads of young models alone, in percent"),
)
_BOTH = (
    "With `attribution=both` the columns come twice, as `models_uploader`, `pct_uploader`, `pct_young_uploader` and "
    "`models_origin`, `pct_origin`, `pct_young_origin`, side by side."
)
_BESIDE = (
    "With `attribution=both` the columns without an ending are by uploader, and those that end in `_origin` by origin."
)
_HONOURS = (*POPULATION, "attribution", "young_days", "parent", "steps")

QUESTIONS = (
    Question(
        "downloads-by-country", "shares", "Downloads by country",
        "The population's downloads in the window, added up per country and divided by the sum over all models. "
        "By uploader: the country that the registry has for the account. By origin: that of the account of the root of "
        "the declared chain of bases, or the uploader's where no base is declared or the root's account is unknown. "
        f"`{UNMAPPED}` are accounts that the registry does not know, USER persons, INT organisations of several "
        f"countries. Young models (younger than `young_days`) are added up apart. {_BOTH}",
        _SOURCE_FLIP, ("models.d",), _HONOURS, (("country", "ISO-2, USER, INT or ??"), *_SHARE_COLUMNS),
        lambda scope: _shares(scope, COUNTRY), wants=("edge", "models.created_at"), chart="shares", paged=True,
    ),
    Question(
        "downloads-by-organisation", "shares", "Downloads by organisation",
        "As downloads-by-country, per organisation: the registry's name of the organisation, several accounts as one; "
        f"an account that the registry does not name stands for itself. {_BOTH}",
        _SOURCE_FLIP, ("models.d",), _HONOURS, (("organisation", "or the account"), *_SHARE_COLUMNS),
        lambda scope: _shares(scope, ORGANISATION, 50), wants=("edge", "models.created_at"), chart="shares",
    ),
    Question(
        "downloads-by-family", "shares", "Downloads by model family",
        "Downloads per family. A family is the first rule of families.toml whose text occurs in a name. By uploader, "
        "and where the family in the name stands for the origin: in the model's own. By origin: in that of the root of "
        f"the declared chain, else in the model's own. {_BOTH}",
        "design/observatory.md, section 3", ("models.d",), _HONOURS, (("family", "or other"), *_SHARE_COLUMNS),
        lambda scope: _shares(scope, FAMILY), wants=("edge", "models.created_at"), chart="shares",
    ),
    Question(
        "downloads-by-country-windows", "shares", "30-day beside all-time downloads by country",
        "The same models: their share of the downloads of the last 30 days, of all time, and of the last 30 days among "
        f"young models. {_BESIDE}",
        "design/observatory.md, section 3 (answer A5)", ("models.downloads_30d", "models.downloads_all"),
        tuple(name for name in _HONOURS if name not in ("window", "part")),
        (("country", "ISO-2, USER, INT or ??"), ("models", "models in the group"),
         ("pct_30d", "share of 30-day downloads"), ("pct_all_time", "share of all-time downloads"),
         ("pct_30d_young", "share of 30-day downloads of models younger than `young_days`")),
        _windows, wants=("models.created_at",),
    ),
    Question(
        "country-flip", "shares", "The share of countries over the choices that decide it",
        "The share of downloads per country for every combination of attribution (uploader, origin), ages (all, "
        "young), "
        "modality (all; llm: text-generation, image-text-to-text, any-to-any) and with or without the one model with "
        f"most downloads in that combination. The {FLIP_COUNTRIES} largest groups of each are shown; `leads` marks the "
        "largest that is a country.",
        _SOURCE_FLIP, ("models.d",), _HONOURS,
        (("attribution", "uploader or origin"), ("ages", "all or young"), ("modality", "all or llm"),
         ("without", "id of the model left out, or empty"), ("country", "ISO-2, USER, INT or ??"),
         ("pct", "share of downloads"), ("leads", "the largest share of a country")),
        _flip, wants=("edge", "models.created_at", "models.pipeline_tag"), chart="flip", paged=True,
    ),
    Question(
        "shares-over-days", "shares", "Shares of downloads day by day",
        "For each day of a list or a series of counts: 30-day downloads per group divided by those of all members of "
        f"that day. {_BESIDE} Young: younger than `young_days` at the end of the day. Counts that were only written "
        "down when they changed hold until the next.",
        "design/observatory.md, section 0", ("count.downloads_30d",),
        ("population", "attribution", "parent", "steps", "young_days", "modality", "exclude", "account", "country",
         "family", "id", "part", "known", "since", "until", "as_of", "by"),
        (("day", "of the list"), ("country", "or what `by` says"), ("models", "members"),
         ("downloads", "30-day downloads on that day"), ("pct_downloads", "share of the day"),
         ("pct_downloads_young", "share of young models' downloads of the day")),
        _over_days, suits=("head",), wants=("rank.created_at",), chart="lines", by=OVER_DAYS_BY,
    ),
)  # fmt: skip
