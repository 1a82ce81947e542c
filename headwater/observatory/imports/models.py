"""What all sources of models share: the key, the owner, duplicates, declared edges and the circles among them.

An importer hands in a `Value` for each column of `model` that its source has, and one expression for the bases that a
row declares.
"""

# ruff: noqa: S608 - the SQL put together here is this package's own; column names are quoted
from __future__ import annotations

from collections.abc import Iterable, Mapping

from headwater.observatory.families import quoted
from headwater.observatory.imports.fields import Expr, Fields, Value
from headwater.observatory.imports.job import ROW, Job
from headwater.observatory.schema import EDGE, ID_CHARS_MAX

RELATIONS = ("finetune", "adapter", "merge", "quantized")
BASES_MAX = 100  # of one model; the largest honest merge names some thirty
PEEL_ROUNDS_MAX = 40  # then what is left is walked in memory; honest chains have a dozen steps
KEY_PATTERN = "[A-Za-z0-9:_-]{1,64}"

_FORMAT_TAGS = (
    "safetensors", "gguf", "onnx", "pytorch", "tf", "jax", "mlx", "openvino", "coreml", "tflite", "keras", "rust",
    "diffusers", "paddlepaddle",
)  # fmt: skip
_QUANTIZATION_TAGS = (
    "gguf", "gptq", "awq", "exl2", "exl3", "bitsandbytes", "compressed-tensors", "fp8", "nvfp4", "mxfp4", "aqlm",
    "hqq", "quanto", "auto-round", "eetq", "torchao", "modelopt", "mlx-4bit", "4-bit", "8-bit",
)  # fmt: skip


def key_sql(fields: Fields, model_id: Value) -> str:
    """The Hub's `_id` where it is one, else the id itself: two ids that differ in case are two models here."""
    stable = fields.column("_id")
    named = f"'name:' || ({model_id.sql})"
    if stable is None:
        return named
    raw = f"cast({stable.sql} as varchar)"
    return f"case when regexp_full_match({raw}, '{KEY_PATTERN}') then {raw} else {named} end"


def from_tags(tags: str, prefix: str) -> Expr:
    """What follows a prefix among the tags, as a list."""
    kept = f"list_filter({tags}, lambda t: starts_with(t, {quoted(prefix)}))"
    return Expr(f"list_transform({kept}, lambda t: t[{len(prefix) + 1}:])", "VARCHAR[]")


def formats_sql(tags: str) -> Expr:
    return Expr(f"list_filter({tags}, lambda t: t in ({', '.join(map(quoted, _FORMAT_TAGS))}))", "VARCHAR[]")


def quantization_sql(tags: str) -> Expr:
    """The first tag that names a method."""
    return Expr(f"list_filter({tags}, lambda t: t in ({', '.join(map(quoted, _QUANTIZATION_TAGS))}))[1]")


def bases_of_tags(tags: str) -> str:
    """`base_model:RELATION:ID` tags; where no tag has a relation, the plain `base_model:ID` ones."""
    typed = "|".join(RELATIONS)
    part = f"regexp_extract(t, '^base_model:({typed}):(.+)$'"
    with_relation = (
        f"list_transform(list_filter({tags}, lambda t: regexp_matches(t, '^base_model:({typed}):.')), "
        f"lambda t: {{'base': {part}, 2), 'base_key': null::varchar, 'relation': {part}, 1)}})"
    )
    plain = (
        f"list_transform(list_filter({tags}, lambda t: starts_with(t, 'base_model:')), "
        "lambda t: {'base': t[12:], 'base_key': null::varchar, 'relation': null::varchar})"
    )
    return f"case when len({with_relation}) > 0 then {with_relation} else {plain} end"


def bases_of_lists(bases: str, relations: str) -> str:
    """Two lists side by side: ids, and their relations."""
    return (
        f"list_transform(range(1, len({bases}) + 1), lambda i: {{'base': {bases}[i], 'base_key': null::varchar, "
        f"'relation': {relations}[i]}})"
    )


def write_models(job: Job, values: Mapping[str, Value], bases: str | None, where: str = "true") -> None:
    """The tables model and edge."""
    fields = job.fields
    model_id = values["id"]
    key = key_sql(fields, model_id)
    full = {
        **values,
        "key": Value(key),
        "author": Value(f"split_part({model_id.sql}, '/', 1)"),
    }
    shown = f"cast({model_id.faults[0].given} as varchar)"
    keep = f"({where}) and {_losers(job, full, key, where)}"
    job.fill("model", full, where=keep, shown=shown)
    if bases is not None:
        job.progress.stage("edge: reading bases")
        declared = full.get("created_at", Value("null")).sql
        job.engine.run(
            "create or replace temp table edge_raw as select child, child_key, declared_at, "
            f"{ROW}, b.base as base, b.base_key as base_key, b.relation as relation, position from "
            f"(select {model_id.sql} as child, {key} as child_key, "
            f"cast({declared} as timestamp) as declared_at, {ROW}, "
            f"unnest(bases[1:{BASES_MAX}]) as b, generate_subscripts(bases[1:{BASES_MAX}], 1) as position from "
            f"(select *, {bases} as bases from {job.relation} where ({keep}) and ({model_id.sql}) is not null) "
            "where len(bases) > 0)"
        )
        write_edges(job)


def _losers(job: Job, values: Mapping[str, Value], key: str, where: str) -> str:
    """Reports rows of a model that another row describes later, and says how to leave them out."""
    engine = job.engine
    modified = values.get("modified_at", Value("null::timestamp")).sql
    rows = (
        f"select {ROW}, {values['id'].sql} as id, {key} as key, {modified} as modified "
        f"from {job.relation} where {where}"
    )
    job.progress.stage("model: looking for duplicates")
    engine.run("create or replace temp table loser (loser bigint, id varchar, why varchar)")
    stable = job.fields.column("_id") is not None
    for name, why in (
        ("id", "another row has the same id"),
        *((("key", "another row has the same _id"),) if stable else ()),
    ):
        # First by hashes, which are small; the few candidates are then looked at in full.
        engine.run(
            "insert into loser "
            f"with given as ({rows}), twice as (select hash({name}) as h from given where id is not null "
            "group by 1 having count(*) > 1) "
            f"select {ROW}, id, {quoted(why)} from (select *, row_number() over (partition by {name} "
            f"order by modified desc nulls last, {ROW} desc) as place from given "
            f"where id is not null and hash({name}) in (select h from twice)) where place > 1"
        )
    job.refuse(
        "select 'model' as \"table\", loser as row, any_value(id) as id, 'id' as field, any_value(id) as value, "
        "any_value(why) || ' and is later' as why, true as dropped from loser group by loser"
    )
    if not engine.value("select count(*) from loser"):
        return "true"
    return f"{ROW} not in (select loser from loser)"


def write_edges(job: Job) -> None:
    """The table edge out of `edge_raw` (child, child_key, declared_at, ROW, base, base_key, relation, position)."""
    fields = job.fields_of("edge_raw")
    values = {
        "child": Value("child"),
        "child_key": Value("child_key"),
        "base": fields.text("base", chars_max=ID_CHARS_MAX, needed=True),
        "base_key": fields.text("base_key", chars_max=64),
        "relation": fields.choice("relation", RELATIONS),
        "position": Value("position"),
        "source": Value("'declared'"),
        "declared_at": Value("declared_at"),
        "self_loop": Value("coalesce(lower(child) = lower(base), false)"),
    }
    job.account("edge", values, "edge_raw", "true", "child")
    job.progress.stage("edge: looking for circles")
    mark_circles(job)
    values["cyclic"] = Value("coalesce(lower(child) = lower(base) or c.component = b.component, false)")
    columns = ", ".join(f'cast({values[c.name].sql} as {c.type}) as "{c.name}"' for c in EDGE.columns)
    job.progress.stage("edge: writing rows")
    job.write(
        "edge",
        f"select {columns} from edge_raw left join circle c on {node('child')} = c.node "
        f"left join circle b on {node('base')} = b.node where ({values['base'].sql}) is not null",
    )


def node(column: str) -> str:
    """SQL of a model's number among the edges. DuckDB's own `hash` gives hundreds of ids in three million the same."""
    return f"md5_number_lower(lower({column}))"


def mark_circles(job: Job) -> None:
    """The table `circle` of nodes that lie on a circle of declarations.

    Nodes that nothing is derived from, and bases that declare none, are peeled off until only circles and what lies
    between them is left; that is little, and is walked in memory.
    """
    engine = job.engine
    engine.run(
        f"create or replace temp table peeled as select distinct {node('child')} as a, {node('base')} as b "
        "from edge_raw where base is not null"
    )
    engine.run("create or replace temp table circle (node ubigint, component ubigint)")
    engine.run("delete from peeled where a = b")
    left = int(engine.value("select count(*) from peeled"))
    for _ in range(PEEL_ROUNDS_MAX):
        engine.run(
            "create or replace temp table peeled as select * from peeled "
            "where b in (select a from peeled) and a in (select b from peeled)"
        )
        before, left = left, int(engine.value("select count(*) from peeled"))
        if left in (0, before):
            break
    pairs = engine.rows("select a, b from peeled") if left else []
    found = sorted(circular(pairs).items())
    for start in range(0, len(found), 1000):
        engine.run(f"insert into circle values {', '.join(map(str, found[start : start + 1000]))}")


def circular(pairs: Iterable[tuple[int, int]]) -> dict[int, int]:
    """Node -> circle, for nodes on one: strongly connected components of two or more (Tarjan 1972, no recursion)."""
    following: dict[int, list[int]] = {}
    for start, stop in pairs:
        following.setdefault(start, []).append(stop)
    order: dict[int, int] = {}
    low: dict[int, int] = {}
    trail: list[int] = []
    on_trail: set[int] = set()
    found: dict[int, int] = {}
    for first, steps in following.items():
        if first in order:
            continue
        walk = [(first, iter(steps))]
        order[first] = low[first] = len(order)
        trail.append(first)
        on_trail.add(first)
        while walk:
            node, rest = walk[-1]
            step = next(rest, None)
            if step is None:
                walk.pop()
                if walk:
                    low[walk[-1][0]] = min(low[walk[-1][0]], low[node])
                if low[node] == order[node]:
                    _close(node, trail, on_trail, found)
            elif step not in order:
                order[step] = low[step] = len(order)
                trail.append(step)
                on_trail.add(step)
                walk.append((step, iter(following.get(step, ()))))
            elif step in on_trail:
                low[node] = min(low[node], order[step])
    return found


def _close(node: int, trail: list[int], on_trail: set[int], found: dict[int, int]) -> None:
    """Takes the component that `node` began from the trail; one node alone is no circle."""
    component: set[int] = set()
    while node not in component:
        component.add(trail.pop())
    on_trail -= component
    if len(component) > 1:
        found.update(dict.fromkeys(component, node))
