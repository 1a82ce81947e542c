"""Series: models made by machine, and what counts look like without them."""

# ruff: noqa: S608 - the SQL put together here is this package's own; what a user chose was quoted in population.py
from __future__ import annotations

from headwater.observatory import series
from headwater.observatory.families import quoted
from headwater.observatory.questions.plan import OF_LISTINGS, UNMAPPED, UNWEIGHED, Plan, Question, Scope
from headwater.observatory.questions.population import bases, models
from headwater.observatory.steps import Step

METHOD = (
    "A series is a guess from names, bases and times: sweeps whose names differ in words are not found (of the "
    "labelled radar sample four in five that differ in numbers are, and hardly anything else)."
)


def _steps(scope: Scope, *columns: str) -> tuple[Step, ...]:
    """The steps up to `series`, and `m`. The detector has a listing of its own: the same for every question."""
    everything = scope.without("exclude")
    *_, listing = models(everything, "created_at")
    return (Step("listed", listing.sql), *series.steps("listed", bases(scope)), *models(everything, *columns))


def _list(scope: Scope) -> Plan:
    select = (
        "select series, any_value(author) as author, count(*) as members, min(created_at) as first, "
        "max(created_at) as last, round(date_diff('second', min(created_at), max(created_at)) / 3600.0, 2) as hours, "
        "any_value(base) as base, list(id order by place)[1:3] as examples from series group by series"
    )
    return Plan(_steps(scope), select, "members desc, series", 200, (), (METHOD,))


def _effect(scope: Scope) -> Plan:
    """Counts of everything and of everything with each series as one."""
    marked = (
        "select m.id, m.author, m.d, coalesce(s.place, 1) = 1 as kept, s.id is not null as in_series, "
        "b.id is not null as derived from m left join series s on s.id = m.id "
        f"left join (select distinct id from ({bases(scope)}) edges) b on b.id = m.id"
    )
    cells = {
        "models": ("count(*)", "count(*) filter (kept)", "count(*) filter (in_series)"),
        "derivatives": ("count(*) filter (derived)", "count(*) filter (derived and kept)",
                        "count(*) filter (derived and in_series)"),
        "accounts": ("count(distinct author)", "count(distinct author) filter (kept)",
                     "count(distinct author) filter (in_series)"),
        "downloads": ("coalesce(sum(d), 0)", "coalesce(sum(d) filter (kept), 0)",
                      "coalesce(sum(d) filter (in_series), 0)"),
    }  # fmt: skip
    rows = " union all ".join(
        f"select '{name}' as measure, ({every})::bigint as every, ({kept})::bigint as series_as_one, "
        f"({within})::bigint as in_series from marked"
        for name, (every, kept, within) in cells.items()
    )
    select = (
        "select measure, every, series_as_one, in_series, "
        f"round(100.0 * (every - series_as_one) / nullif(every, 0), 2) as pct_machine from ({rows}) counted"
    )
    order = f"list_position([{', '.join(quoted(name) for name in cells)}], measure)"
    return Plan((*_steps(scope, "d"), Step("marked", marked)), select, order, None, (), (METHOD,))


def _accounts(scope: Scope) -> Plan:
    select = (
        f"select s.author, coalesce(any_value(a.country), '{UNMAPPED}') as country, count(distinct s.series) as "
        "series, "
        "count(*) as members, any_value(t.n) as models, round(100.0 * count(*) / any_value(t.n), 1) as pct_in_series "
        "from series s join (select author, count(*) as n from m group by author) t on t.author = s.author "
        "left join accounts a on a.account = s.author group by s.author"
    )
    return Plan(_steps(scope), select, "members desc, author", 100, (), (METHOD,))


_HONOURS = tuple(name for name in UNWEIGHED if name not in ("exclude", *OF_LISTINGS))
_DEFINITION = (
    f"A series: at least {series.MEMBERS_MIN} models of one account with the same first declared base (or none) and "
    "ids "
    "that are equal up to numbers and hashes, while the account went on uploading such models on that base without a "
    f"pause of more than {series.GAP_HOURS} hours. Sizes (7b, 350m) are no such numbers."
)
QUESTIONS = (
    Question(
        "automated-series", "series", "Automated series", _DEFINITION, "issue 4, point 5", ("model.created_at",),
        _HONOURS,
        (("series", "id of its first member"), ("author", "account"), ("members", "models"), ("first", "created"),
         ("last", "created"), ("hours", "between the two"), ("base", "declared by all"), ("examples",
                                                                                          "the first three")),
        _list, wants=("edge",), suits=("radar",), chart="table",
    ),
    Question(
        "series-accounts", "series", "Accounts with automated series", f"Accounts by models in series. {_DEFINITION}",
        "issue 4, point 5", ("model.created_at",), _HONOURS,
        (("author", "account"), ("country", "of the registry"), ("series", "of the account"), ("members",
                                                                                               "of them all"),
         ("models", "of the account"), ("pct_in_series", "members of models")),
        _accounts, wants=("edge",), suits=("radar",), chart="ranking",
    ),
    Question(
        "series-effect", "series", "Counts with and without automated series",
        f"Models, derivatives, accounts and downloads: of all, and with every series counted as its first member. "
        f"{_DEFINITION}",
        "issue 4, point 5; design/observatory.md, section 5.5", ("model.created_at",),
        (*_HONOURS, "window"),
        (("measure", "what is counted"), ("every", "all models"), ("series_as_one", "each series once"),
         ("in_series", "models in series"), ("pct_machine", "what the count loses")),
        _effect, wants=("edge", "model.downloads_30d"), suits=("radar",), chart="table",
    ),
)  # fmt: skip
