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


def walk(edges: str, parent: Parent, steps_max: int) -> tuple[Step, Step]:
    """Steps `par(id, base)` and `root(id, root, depth, ended)` over a relation with the columns id, base, position.

    One row per id of `edges`. depth: steps walked, from 1 to `steps_max`. Terminates on any input: each turn of the
    recursion walks every open chain one step, and there are at most `steps_max` turns.
    """
    par = f"select id, {PARENTS[parent]} as base from {edges} group by id"
    root = (
        "with recursive walk(id, here, depth) as ("
        "select id, base, 1 from par union all "
        "select walk.id, par.base, walk.depth + 1 from walk join par on walk.here = par.id "
        f"where walk.depth < {int(steps_max)} and par.base <> walk.here and par.base <> walk.id) "
        "select id, arg_max(here, depth) as root, max(depth)::integer as depth, "
        f"max(depth) < {int(steps_max)} as ended from walk group by id"
    )
    return Step("par", par), Step("root", root)
