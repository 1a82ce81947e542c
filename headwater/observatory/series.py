"""Automated series: models that one account made by machine, told by name, base and time.

Sweeps over seeds, steps, folds and checkpoints, course exercises and mining keys fill a hub with thousands of models
that are one act each. A series is at least MEMBERS_MIN models of one account with the same first declared base (or
none), with ids that are equal up to numbers and hashes, made in one burst: while the account went on uploading such
models on that base without a pause of GAP_HOURS. Sizes (`7b`, `0.6b`, `350m`) are no such numbers: a family in several
sizes is no series. Refuses to judge: a series may be good work; it should only be counted once.

Measured against hand-made labels of the radar sample: tests/unit/observatory/test_series.py.
"""

# ruff: noqa: S608 - the SQL put together here is this package's own
from __future__ import annotations

from headwater.observatory.steps import Step

MEMBERS_MIN = 3  # two are a pair; sizes, which often come in threes, are told apart already
GAP_HOURS = 12  # a machine that rests over night goes on in the morning; a person with one model a day does not

_VARYING = "[0-9a-f]{8,}|[a-z]*[0-9]+[a-z]+[0-9]+[a-z0-9]*|[0-9]+"
"""Hexadecimal digests, keys that mix letters and digits, numbers."""
_SIZE = "(?:^|[-_.a-z])([0-9]+(?:[.p][0-9]+)?[bm])(?:[-_.]|$)"
"""Sizes in parameters, also `a3b` and `e4b`."""
_STEM = f"regexp_replace(name, '{_VARYING}', '#', 'g')"


def _key(one: str, other: str) -> str:
    """A number for two texts; a text that is NULL is like an empty one."""
    return f"md5_number_lower(concat({one}, ' ', {other}))"


def steps(models: str, edges: str) -> tuple[Step, ...]:
    """Steps up to `series`: (id, author, series, place, members, created_at, base).

    `models` is a relation with the columns id, author, created_at; `edges` a SELECT of id and base, a row for each
    declared base. series: id of the first member; place: from 1, in the order of time. Only names of busy accounts are
    looked at, and bases only of names that recur: three million models take seconds.
    """
    busy = f"select author from {models} group by author having count(*) >= {MEMBERS_MIN}"
    name = "lower(case when contains(id, '/') then split_part(id, '/', 2) else id end)"
    named = (
        f"select id, author, created_at, {name} as name from {models} "
        "where created_at is not null and author in (select author from series_busy)"
    )
    # Keys of 64 bits: grouping and sorting numbers is much quicker than texts. Cut from MD5: DuckDB's own hash() gives
    # texts of one pattern, which is what series are, the same number far too often.
    stemmed = (
        f"select id, author, created_at, name, {_key('author', _STEM)} as stem "
        "from series_named where regexp_matches(name, '[0-9]')"
    )
    sizes = f"array_to_string(regexp_extract_all(name, '{_SIZE}', 1), ' ')"
    sized = (
        f"select id, author, created_at, case when regexp_matches(name, '[0-9][bm]') then {_key('stem', sizes)} else "
        f"stem end as stem from series_stemmed where stem in (select stem from series_stemmed group by stem having "
        f"count(*) >= {MEMBERS_MIN})"
    )
    recurrent = (
        "select * from series_sized where stem in (select stem from series_sized group by stem having "
        f"count(*) >= {MEMBERS_MIN})"
    )
    based = (
        f"select id, min(base) as base from ({edges}) edges where id in (select id from series_recurrent) group by id"
    )
    recurring = (
        f"select r.id, r.author, r.created_at, b.base, {_key('r.stem', 'b.base')} as key, "
        f"{_key('r.author', 'b.base')} as work "
        "from series_recurrent r left join series_based b on b.id = r.id"
    )
    # The burst is one of the account and the base, not of one stem: a sweep takes its seeds in turns with others.
    bursts = (
        "select *, sum(begins) over (partition by work order by created_at, id) as burst from (select *, case when "
        f"created_at - lag(created_at) over (partition by work order by created_at, id) <= interval {GAP_HOURS} hour "
        "then 0 else 1 end as begins from series_recurring) gaps"
    )
    series = (
        "select id, author, first_value(id) over w as series, row_number() over w as place, "
        "count(*) over (partition by key, burst) as members, created_at, base from series_bursts "
        f"window w as (partition by key, burst order by created_at, id) qualify members >= {MEMBERS_MIN}"
    )
    return (
        Step("series_busy", busy), Step("series_named", named), Step("series_stemmed", stemmed),
        Step("series_sized", sized), Step("series_recurrent", recurrent), Step("series_based", based),
        Step("series_recurring", recurring), Step("series_bursts", bursts), Step("series", series, lasting=True),
    )  # fmt: skip
