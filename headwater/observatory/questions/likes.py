"""Likes: what people like most, from where it is, and how little of it is what they download most."""

# ruff: noqa: S608 - the SQL put together here is this package's own; what a user chose was quoted in population.py
from __future__ import annotations

from headwater.observatory.questions.plan import POPULATION, UNMAPPED, Plan, Question, Scope, Share
from headwater.observatory.questions.population import family_countries, models, owner, roots
from headwater.observatory.questions.shares import origin_kind
from headwater.observatory.steps import Step

CUTS = (25, 300)
TOP = 100
LIKES = "A like costs nothing and is seldom taken back: it measures attention at any time in the past."


def _most(scope: Scope) -> Plan:
    select = (
        "select row_number() over (order by likes desc, m.id)::bigint as rank, m.id, likes, d as downloads_30d, "
        f"coalesce(a.country, '{UNMAPPED}') as country, created_at from m left join accounts a on a.account = m.author "
        "where likes is not null"
    )
    return Plan(models(scope, "likes", "d", "created_at"), select, "likes desc, id", TOP, (), (LIKES,))


def _country(scope: Scope) -> tuple[tuple[Step, ...], str, str]:
    """Steps, join and expression of the country by the attribution chosen; both means the uploader here."""
    join, up = "left join accounts a on a.account = m.author", "a.country"
    if scope.choices.attribution in ("both", "uploader"):
        return (), join, f"coalesce({up}, '{UNMAPPED}')"
    if origin_kind(scope) == "named":
        named = " left join family_country on family_country.family = family_of(m.id)"
        return (family_countries(),), join + named, f"coalesce(family_country.country, {up}, '{UNMAPPED}')"
    rooted = f" left join root on root.id = m.id left join accounts ra on ra.account = {owner('root.root')}"
    return roots(scope), join + rooted, f"coalesce(ra.country, {up}, '{UNMAPPED}')"


def _countries(scope: Scope) -> Plan:
    cuts = scope.choices.cuts or CUTS
    more, join, country = _country(scope)
    ranked = Step(
        "ranked",
        f"select m.id, m.author, likes, {country} as country, row_number() over (order by likes desc, m.id) as place "
        f"from m {join} where likes is not null",
    )
    cut = Step("cut", "select * from (values " + ", ".join(f"({int(one)})" for one in cuts) + ") c(size)")
    unit = Step("unit", "select country as k, author, count(*) as n, 1 as most, min(id) as most_id from ranked "
                f"where place <= {int(max(cuts))} group by all")  # fmt: skip
    select = (
        "select 'top' || size as cut, country, count(*) as n, count(distinct author) as authors, "
        "round(100.0 * count(*) / sum(count(*)) over (partition by size), 1) as pct, size from ranked join cut "
        "on place <= size group by size, country"
    )
    share = Share(f"countries of the {max(cuts)} most liked", "unit", "k", "n", "most", "most_id", "n")
    return Plan((*models(scope, "likes"), *more, ranked, cut, unit),
                f"select cut, country, n, authors, pct from ({select}) s",
                "length(cut), cut, n desc, country", None, (share,), (LIKES,))  # fmt: skip


def _overlap(scope: Scope) -> Plan:
    cuts = scope.choices.cuts or (10, 25, 100, 300)
    ranked = Step(
        "ranked",
        "select id, author, likes, d, row_number() over (order by likes desc nulls last, id) as by_likes, "
        "row_number() over (order by d desc nulls last, id) as by_downloads, "
        "rank() over (order by likes) + (count(*) over (partition by likes) - 1) / 2.0 as likes_rank, "
        "rank() over (order by d) + (count(*) over (partition by d) - 1) / 2.0 as downloads_rank from m "
        "where likes is not null and d is not null",
    )
    cut = Step("cut", "select * from (values " + ", ".join(f"({int(one)})" for one in cuts) + ") c(size)")
    select = (
        "select size as cut, count(*) filter (by_likes <= size and by_downloads <= size) as in_both, "
        "round(100.0 * count(*) filter (by_likes <= size and by_downloads <= size) / size, 1) as pct, "
        "coalesce(string_agg(id, ', ' order by by_likes) filter "
        "(by_likes <= least(size, 25) and by_downloads <= least(size, 25)), '') as ids, "
        "(select round(corr(likes_rank, downloads_rank), 3) from ranked) as rank_correlation, "
        "(select count(*) from ranked) as models from ranked cross join cut "
        f"where by_likes <= {int(max(cuts))} group by size"
    )
    return Plan((*models(scope, "likes", "d"), ranked, cut), select, "cut", None, (), (
        LIKES,
        "Inside a head that is the union of two top lists the correlation is negative by construction.",
    ))  # fmt: skip


QUESTIONS = (
    Question(
        "most-liked", "likes", "Most liked models",
        "Models by their number of likes.", "the Hub's own counter", ("models.likes",), POPULATION,
        (("rank", "by likes"), ("id", "model"), ("likes", "so far"), ("downloads_30d", "downloads in the window"),
         ("country", "of the uploader"), ("created_at", "of the repo")),
        _most, wants=("models.downloads_30d",), suits=("head",), chart="ranking", paged=True,
    ),
    Question(
        "liked-countries", "likes", "Countries of the most liked models",
        "Of the `cuts` most liked models (by default 25 and 300; equal likes in the order of ids): how many are from "
        "which country, by uploader unless another attribution is chosen.",
        "Hugging Face blog of 2026-01-20: 'top liked no longer majority US'", ("models.likes",),
        (*POPULATION, "cuts", "attribution", "parent", "steps"),
        (("cut", "top25, top300"), ("country", "ISO-2, USER, INT or ??"), ("n", "models"), ("authors", "accounts"),
         ("pct", "of the cut")),
        _countries, suits=("head",), paged=True,
    ),
    Question(
        "liked-and-downloaded", "likes", "Overlap of most liked and most downloaded",
        "For each cut: models that are among the most liked and among the most downloaded; and over all models with "
        "both counts Spearman's rank correlation (equal counts share the mean of their ranks).",
        "Hugging Face blog of 2026-08-14: the two top 25 share one repo", ("models.likes", "models.d"),
        (*POPULATION, "cuts"),
        (("cut", "size of both lists"), ("in_both", "models on both"), ("pct", "of the cut"),
         ("ids", "of those among the first 25 of both"), ("rank_correlation", "over the population"),
         ("models", "with both counts")),
        _overlap, suits=("head",), chart="table",
    ),
)  # fmt: skip
