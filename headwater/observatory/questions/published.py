"""Published by others: leaderboards, token shares and catalogues of notable models, kept as they were published."""

# ruff: noqa: S608 - the SQL put together here is this package's own; what a user chose goes in as quoted literals
from __future__ import annotations

from headwater.observatory.families import quoted
from headwater.observatory.questions.periods import period
from headwater.observatory.questions.plan import UNMAPPED, Plan, Question, Scope, Share
from headwater.observatory.questions.population import day_sql, here, listed, of_accounts, owner
from headwater.observatory.steps import Step

KEPT = "Kept as published, errors included: countries are the publisher's, not the registry's."
TOKEN_ACCOUNTS = {
    "anthropic": "Anthropic", "google": "google", "openai": "openai", "x-ai": "xai-org", "meta-llama": "meta-llama",
    "nvidia": "nvidia", "mistralai": "mistralai", "amazon": "amazon", "microsoft": "microsoft",
    "deepseek": "deepseek-ai", "qwen": "Qwen", "moonshotai": "moonshotai", "minimax": "MiniMaxAI", "z-ai": "zai-org",
    "tencent": "tencent", "stepfun": "stepfun-ai", "xiaomi": "XiaomiMiMo", "bytedance": "ByteDance", "baidu": "baidu",
}  # fmt: skip
"""OpenRouter's names of authors -> accounts of the registry."""
TOKENS = "Tokens of one service: a small part of all inference, and only of the authors that its list names."
OPENROUTER = "OpenRouter is heavy on cheap and reasoning models; its list has the first nine authors."


def _country(scope: Scope) -> Plan:
    by = scope.by(("country", "org", "modality", "registry"))
    conditions = [here(scope)] + ([f"list in ({listed(scope.choices.part)})"] if scope.choices.part else [])
    chosen = of_accounts(scope)
    where = f" where {' and '.join(chosen)}" if chosen else ""
    key = f"coalesce(a.country, '{UNMAPPED}')" if by == "registry" else f"coalesce(p.{by}, 'unknown')"
    listing = Step("published_rows", f"select * replace (coalesce(author, {owner('id')}) as author) from published "
                   f"where {' and '.join(conditions)}")  # fmt: skip
    rows = Step("rows", f"select id, author, {key} as k, pct_of_total, "
                "coalesce(p.downloads, p.downloads_all, p.downloads_30d) as d, p.likes from (select * from "
                f"published_rows{where}) p left join accounts a on a.account = p.author")  # fmt: skip
    unit = Step("unit",
                "select k, author, count(*) as n, sum(d)::bigint as d, max(d) as most, arg_max(id, d) as most_id "
                "from rows group by all")  # fmt: skip
    select = (
        f"select k as {'country' if by == 'registry' else by}, count(*) as models, "
        "round(sum(pct_of_total), 2) as pct_of_total, sum(d)::bigint as downloads, "
        "round(100.0 * sum(d) / nullif(sum(sum(d)) over (), 0), 2) as pct_of_list, sum(likes)::bigint as likes "
        "from rows group by k"
    )
    share = Share(f"published, by {by}", "unit", "k", "d", "most", "most_id", "n",
                  (UNMAPPED, "USER", "INT", "user", "International/Online", "unknown"),
                  UNMAPPED if by == "registry" else "unknown")  # fmt: skip
    order = "pct_of_total desc nulls last, downloads desc, models desc, 1"
    return Plan((listing, rows, unit), select, order, None, (share,), (KEPT,))


def _token_rows(scope: Scope) -> Step:
    choices = scope.choices
    conditions = [here(scope)]
    if choices.day:
        conditions.append(f"day = {day_sql(choices.day)}")
    if choices.since:
        conditions.append(f"day >= {day_sql(choices.since)}")
    if choices.until:
        conditions.append(f"day < {day_sql(choices.until)}")
    if choices.account:
        conditions.append(f"author in ({listed(choices.account)})")
    return Step(
        "served", f"select day, rank, author, tokens_week, share_pct from tokens where {' and '.join(conditions)}"
    )


def _tokens_said(scope: Scope) -> tuple[str, ...]:
    return (TOKENS, OPENROUTER) if "openrouter" in scope.snapshot.name else (TOKENS,)


def _tokens(scope: Scope) -> Plan:
    select = (
        "select day, rank, author, tokens_week, share_pct, string_agg(author || ' ' || cast(share_pct as varchar), "
        "', ' "
        "order by rank) over (partition by day rows between unbounded preceding and unbounded following) as shares "
        "from served"
    )
    return Plan((_token_rows(scope),), select, "day, rank, author", None, (), _tokens_said(scope))


def _token_countries(scope: Scope) -> Plan:
    slugs = ", ".join(f"({quoted(slug)}, {quoted(account)})" for slug, account in TOKEN_ACCOUNTS.items())
    select = (
        f"select day, coalesce(a.country, '{UNMAPPED}') as country, round(sum(share_pct), 2) as share_pct, "
        "count(*) as authors, sum(tokens_week)::bigint as tokens_week, "
        "round(100.0 * sum(share_pct) / nullif(sum(sum(share_pct)) over (partition by day), 0), 2) as pct_of_shown "
        f"from served s left join (values {slugs}) slug(author, account) on slug.author = s.author "
        "left join accounts a on a.account = coalesce(slug.account, s.author) group by day, country"
    )
    unit = (
        f"select coalesce(a.country, '{UNMAPPED}') as k, s.author, sum(tokens_week)::bigint as d, count(*) as n, "
        "max(tokens_week) as most, s.author as most_id from served s left join "
        f"(values {slugs}) slug(author, account) on slug.author = s.author left join accounts a on "
        "a.account = coalesce(slug.account, s.author) where day = (select max(day) from served) group by all"
    )
    share = Share("tokens of the last day's authors", "unit", "k", "d", "most", "most_id", "n")
    steps = (_token_rows(scope), Step("unit", unit))
    return Plan(steps, select, "day, share_pct desc, country", None, (share,), _tokens_said(scope))


def _notable(scope: Scope) -> Plan:
    by = scope.by(("country", "organisation", "accessibility", "domain", "category"))
    published = "try_cast(published as date)"
    conditions = [here(scope)]
    if scope.choices.since:
        conditions.append(f"{published} >= {day_sql(scope.choices.since)}")
    if scope.choices.until:
        conditions.append(f"{published} < {day_sql(scope.choices.until)}")
    when = period(scope, published, "year") if scope.choices.grain else "'all'"
    select = (
        f"select {when} as period, trim(unnest(string_split(coalesce({by}, 'unknown'), ','))) as {by}, "
        f"model, parameters, training_compute_flop from notable where {' and '.join(conditions)}"
    )
    counted = (
        f"select period, {by}, count(distinct model) as models, round(median(parameters) / 1e9, 3) as median_b, "
        "max(training_compute_flop) as most_flop from named where period is not null group by all"
    )
    return Plan(
        (Step("named", select),),
        counted,
        f"period, models desc, {by}",
        None,
        (),
        ("A hand-made catalogue: what its makers found notable. A model of several countries counts in each.",),
    )


QUESTIONS = (
    Question(
        "published-shares", "published", "Shares as somebody else published them",
        "A published list of models, added up by the publisher's country, organisation or modality, or by the "
        "registry's country of the account (by=registry). `pct_of_total` adds the publisher's own percentages.",
        "aiWorld / HF Open Model leaderboard 2025-12, from Longpre et al. (arXiv 2512.03073)",
        ("published.pct_of_total|published.downloads|published.downloads_30d",), ("population", "part", "account",
                                                                                   "country", "id", "exclude", "by"),
        (("country", "or what `by` says"), ("models", "on the list"), ("pct_of_total",
                                                                       "sum of the publisher's percentages"),
         ("downloads", "of these models"), ("pct_of_list", "of the list's downloads"), ("likes", "of these models")),
        _country, wants=("published.country",), suits=("top100-2025",), by=("country", "org", "modality", "registry"),
    ),
    Question(
        "token-shares", "published", "Share of served tokens per author and day",
        "As OpenRouter showed it: rank, tokens of a week and share of all tokens; `shares` has the whole day in one "
        "text.",
        "OpenRouter rankings; design/observatory.md, section 1.7", ("tokens",),
        ("population", "day", "since", "until", "account"),
        (("day", "of the ranking"), ("rank", "from 1"), ("author", "OpenRouter's name"), ("tokens_week", "tokens"),
         ("share_pct", "of all tokens"), ("shares", "of the day, in words")),
        _tokens, chart="lines",
    ),
    Question(
        "token-countries", "published", "Share of served tokens per country and day",
        "The same, by the registry's country of the author's account. The shares of a day do not add up to 100: only "
        "the first nine authors are known; `pct_of_shown` divides by their sum.",
        "OpenRouter and a16z, State of AI, December 2025", ("tokens",), ("population", "day", "since", "until",
                                                                         "account"),
        (("day", "of the ranking"), ("country", "ISO-2 or ??"), ("share_pct", "of all tokens"), ("authors", "distinct"),
         ("tokens_week", "tokens"), ("pct_of_shown", "of the authors shown")),
        _token_countries, chart="lines",
    ),
    Question(
        "notable-models", "published", "Notable models by country, organisation or access",
        "Models of a catalogue per `by`, with a grain per period of publication.",
        "Epoch AI, Data on AI models (CC-BY-4.0)", ("notable",), ("population", "since", "until", "grain", "by"),
        (("period", "of publication, or all"), ("country", "or what `by` says"), ("models", "distinct"),
         ("median_b", "median parameters, thousand million"), ("most_flop", "largest training compute")),
        _notable, by=("country", "organisation", "accessibility", "domain", "category"),
    ),
)  # fmt: skip
