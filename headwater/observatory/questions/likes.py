"""Likes: what people like most, from where it is, and how little of it is what they download most."""

# ruff: noqa: S608 - the SQL put together here is this package's own; what a user chose was quoted in population.py
from __future__ import annotations

from headwater.observatory.choices import ROWS_MAX
from headwater.observatory.questions.plan import POPULATION, UNMAPPED, UNWEIGHED, Plan, Question, Scope, Share
from headwater.observatory.questions.population import models
from headwater.observatory.questions.shares import COUNTRY, shown_sides, side_by_side, sides_of
from headwater.observatory.steps import Step

CUTS = (25, 300)
TOP = 100
IDS_SHOWN = 25
LIKES = "A like costs nothing and is seldom taken back: it measures attention at any time in the past."


def _most(scope: Scope) -> Plan:
    limit = scope.choices.top or TOP
    if scope.choices.sort:  # by another column: all of them must be ranked
        limit = ROWS_MAX
    first = Step("foremost", f"select * from m where likes is not null order by likes desc, id limit {limit}")
    select = (
        "select row_number() over (order by likes desc, f.id)::bigint as rank, f.id, likes, d as downloads_30d, "
        f"coalesce(a.country, '{UNMAPPED}') as country, created_at from foremost f "
        "left join accounts a on a.account = f.author"
    )
    return Plan((*models(scope, "likes", "d", "created_at"), first), select, "likes desc, id", TOP, (), (LIKES,))


def _countries(scope: Scope) -> Plan:
    cuts = scope.choices.cuts or CUTS
    sides, shown = sides_of(scope, COUNTRY), shown_sides(scope)
    foremost = Step(
        "foremost", f"select * from m where likes is not null order by likes desc, id limit {int(max(cuts))}"
    )
    ranked = Step(
        "ranked",
        f"select m.id, m.author, likes, {sides.uploader} as uploader, {sides.origin} as origin, row_number() over "
        f"(order by likes desc, m.id) as place from foremost m{sides.join}",
    )
    cut = Step("cut", "select * from (values " + ", ".join(f"({int(one)})" for one in cuts) + ") c(size)")
    unit = Step("unit", "select uploader, origin, author, count(*) as n, 1 as most, min(id) as most_id from ranked "
                f"where place <= {int(max(cuts))} group by all")  # fmt: skip
    of_side = (
        "select 'top' || size as cut, {side} as k, count(*) as n, count(distinct author) as authors, "
        "round(100.0 * count(*) / sum(count(*)) over (partition by size), 1) as pct from ranked join cut "
        "on place <= size group by size, {side}"
    )
    shares = tuple(
        Share(f"countries of the {max(cuts)} most liked, {side}", "unit", side, "n", "most", "most_id", "n")
        for side in shown
    )
    return Plan((*models(scope, "likes"), *sides.steps, foremost, ranked, cut, unit),
                side_by_side(shown, "cut, ", "country", ("n", "authors", "pct"), of_side),
                "length(cut), cut, n desc nulls last, country", None, shares, (LIKES,))  # fmt: skip


def _overlap(scope: Scope) -> Plan:
    cuts = scope.choices.cuts or (10, 25, 100, 300)
    counted = Step("counted", "select id, likes, d from m where likes is not null and d is not null")
    # Ranks of the few distinct counts say the same as ranks of millions of models; equals share the mean of theirs.
    pairs = Step("pairs", "select likes, d, count(*)::double as c from counted group by all")
    ranks = [
        f"select {one}, sum(c) over (order by {one}) - (c - 1) / 2.0 as {one}_rank from "
        f"(select {one}, sum(c) as c from pairs group by {one}) s"
        for one in ("likes", "d")
    ]
    moments = (
        "select sum(c) as n, sum(c * x) as x, sum(c * y) as y, sum(c * x * x) as xx, sum(c * y * y) as yy, "
        "sum(c * x * y) as xy from (select c, likes_rank as x, d_rank as y from pairs "
        f"join ({ranks[0]}) l using (likes) join ({ranks[1]}) r using (d)) ranked"
    )
    correlation = "(n * xy - x * y) / nullif(sqrt(n * xx - x * x) * sqrt(n * yy - y * y), 0)"
    lists = [
        f"select id, row_number() over (order by {one} desc, id) as by_{one} from "
        f"(select id, {one} from counted order by {one} desc, id limit {int(max(cuts))}) s"
        for one in ("likes", "d")
    ]
    on_both = Step("on_both", f"select * from ({lists[0]}) l join ({lists[1]}) r using (id)")
    sizes = ", ".join(f"({int(one)})" for one in cuts)
    select = (
        "select size as cut, count(id) as in_both, round(100.0 * count(id) / size, 1) as pct, "
        f"coalesce(string_agg(id, ', ' order by by_likes) filter (greatest(by_likes, by_d) <= {IDS_SHOWN}), '') as "
        f"ids, any_value(round({correlation}, 3)) as rank_correlation, any_value(n)::bigint as models "
        f"from (values {sizes}) c(size) cross join moments "
        "left join on_both on greatest(by_likes, by_d) <= size group by size"
    )
    steps = (*models(scope, "likes", "d"), counted, pairs, Step("moments", moments), on_both)
    return Plan(steps, select, "cut", None, (), (
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
        "which country. With `attribution=both` the columns without an ending are by uploader, and those that end in "
        "`_origin` by origin.",
        "Hugging Face blog of 2026-01-20: 'top liked no longer majority US'", ("models.likes",),
        (*UNWEIGHED, "cuts", "attribution", "parent", "steps"),
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
