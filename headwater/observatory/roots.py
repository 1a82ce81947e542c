"""The walk from a model along its declared bases to the root of its chain, as one recursive query.

A model may declare several bases; the walk follows one of them (`parent`), so that every derivative has one root and
shares add up to 100 %. Declared edges are what people wrote: they may run in circles, name what does not exist, or go
on without end. A walk ends at a model that declares nothing, at one that names itself, at one that it would come back
to after one step, or after `steps_max` steps; where it stands then is the root, and `ended` says whether it was one of
the first kind. Refuses to know countries and families: that is for whoever joins the roots.

Method: the declared chain of Laufer et al. (arXiv 2508.06811), with one parent per model instead of a graph.
"""

# ruff: noqa: S608 - the SQL put together here is this package's own
from __future__ import annotations

from headwater.observatory.choices import Parent
from headwater.observatory.steps import Step

PARENTS: dict[Parent, str] = {
    "alphabetical": "min(base)",
    # arg_min of two keys: the card's order, and for cards without one the alphabet, so that runs agree
    "first": "arg_min(base, (coalesce(position, 1000000), base))",
}


def walk(edges: str, parent: Parent, steps_max: int) -> tuple[Step, Step, Step]:
    """Steps up to `par(id, base)` and `root(id, base, root, depth, ended)` over a relation with the columns id, base,
    position.

    One row per id of `edges`. depth: steps walked, from 1 to `steps_max`. Terminates on any input: each turn of a
    recursion walks every open chain one step, and there are at most `steps_max` turns.

    Only bases are walked, which are few: a model that is nobody's base can't be come back to, so it ends where its base
    does. The others (`high`: bases that declare a base) are walked by themselves.
    """
    last = int(steps_max)
    par = f"select id, {PARENTS[parent]} as base from {edges} group by id"
    high = "select par.id, par.base from par where id in (select base from par)"
    root = (
        f"with recursive up(id, here, depth) as ("
        f"select id, base, 2 from high where base <> id and {last} > 1 union all "
        "select up.id, high.base, up.depth + 1 from up join high on up.here = high.id "
        f"where up.depth < {last} and high.base <> up.here), "
        "own(id, here, depth) as (select id, base, 1 from high union all "
        "select own.id, high.base, own.depth + 1 from own join high on own.here = high.id "
        f"where own.depth < {last} and high.base <> own.here and high.base <> own.id), "
        "above as (select id, arg_max(here, depth) as root, max(depth) as depth from up group by id), "
        "walked as (select par.id, par.base, coalesce(above.root, par.base) as root, coalesce(above.depth, 1) as depth "
        "from par left join above on above.id = par.base where par.id not in (select id from high) union all "
        "select id, arg_min(here, depth), arg_max(here, depth), max(depth) from own group by id) "
        f"select id, base, root, depth::integer as depth, depth < {last} as ended from walked"
    )
    return Step("par", par), Step("high", high), Step("root", root, lasting=True)
