"""A generated hub: three million models with their edges, blown up from the radar sample, as one hub-stats Parquet.

Every row of the sample comes back some 190 times under other names: a known organisation keeps its account, anybody
else becomes another account, all uploads of one account move together in time (so that bursts stay bursts), and counts
are drawn anew with a heavy tail. Half of the bases that are in the sample move along, so that chains are as deep as
theirs; the rest goes on naming the well-known bases. The same seed gives the same file with the same DuckDB.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import duckdb

MODELS = 3_000_000
EDGES = 1_500_000
SEED = 4
MEMORY = "2GB"
OLDEST = "timestamp '2022-03-03'"
YOUNGEST_DAYS = 1_600  # from the sample's August 2026 back to the spring of 2022
ACCOUNT_COPIES = 2  # copies of the sample that share their accounts: as many models per account as on the Hub
CHAT = "{% for message in messages %}<|" + "im_start|>{{ message.role }} {{ message.content }}" * 6 + "{% endfor %}"
SHAPES = (
    "qwen3", "qwen3_5", "qwen3_5_moe", "qwen3_moe", "qwen2", "qwen2_vl", "llama", "mistral", "gemma", "gemma2",
    "gemma3", "gemma4", "phi3", "bert", "roberta", "distilbert", "xlm-roberta", "t5", "gpt2", "whisper", "wav2vec2",
    "vit", "clip", "deepseek_v3", "glm4_moe", "gpt_oss", "lfm2", "granite", "stablelm", "modernbert",
)  # fmt: skip
"""Tags that are model types: config.json, which the sample lacks, says them again."""
VERSION = 1
"""Grows when the same numbers and seed give another file."""


def make(sample: Path, place: Path, models: int = MODELS, edges: int = EDGES) -> Path:
    """The file of a generated hub below `place`; made once, then kept."""
    path = place / f"hub-{models}-{edges}-{SEED}-v{VERSION}.parquet"
    if path.exists():
        return path
    place.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    accounts = resources.files("headwater.observatory").joinpath("data/accounts.csv")
    with duckdb.connect(
        ":memory:", config={"threads": 2, "memory_limit": MEMORY, "temp_directory": str(place)}
    ) as duck:
        duck.execute("set preserve_insertion_order = false")
        for statement in _MACROS:
            duck.execute(statement)
        duck.execute(f"create table known as select distinct account from read_csv('{accounts}')")
        duck.execute(_SAMPLE.format(sample=sample, shapes=", ".join(f"'{shape}'" for shape in SHAPES)))
        rows, declared = duck.execute("select count(*), sum(len(bases)) from s").fetchall()[0]
        duck.execute(f"create macro kept_share() as {edges / (models * declared / rows)}")
        copies = -(-models // rows)
        duck.execute(
            f"copy ({_HUB.format(models=models, rows=rows, copies=copies)}) to '{draft}' "
            "(format parquet, compression zstd, row_group_size 100000)"
        )
    draft.replace(path)
    return path


_MACROS = (
    # A number from 0 to 1 for each text; never 0.
    f"create macro chance(x, salt) as ((hash(x, salt, {SEED}) >> 11) + 1)::double / 9007199254740993.0",
    "create macro word(k) as chr((97 + k // 26)::integer) || chr((97 + k % 26)::integer)",
    f"""create macro owner_of(account, known, r) as
    case when r = 0 or known then account else account || '-' || word(r // {ACCOUNT_COPIES}) end""",
    """create macro id_of(account, known, name, r) as
    owner_of(account, known, r) || '/' || name || case when r = 0 then '' else '-' || word(r) end""",
)

_SAMPLE = """
create table s as
with part as (
  select row_number() over (order by id) - 1 as n, *, split_part(id, '/', 2) as name,
    author in (select account from known) as known
  from '{sample}'
), base as (
  select n, list({{
    'id': b, 'account': split_part(b, '/', 1), 'name': split_part(b, '/', 2),
    'known': split_part(b, '/', 1) in (select account from known), 'moves': b in (select id from part)
  }} order by place) as bases
  from (select n, unnest(base_models) as b, generate_subscripts(base_models, 1) as place from part) u
  where contains(b, '/') group by n
)
select part.* exclude (tags), list_filter(tags, lambda t: not starts_with(t, 'base_model:')) as tags,
  list_filter(tags, lambda t: t in ({shapes}))[1] as shape,
  coalesce(base.bases, []) as bases
from part left join base using (n)
"""

_HUB = (
    """
with copy as (
  select s.*, r::integer as r, owner_of(author, known, r) as owner, id_of(author, known, name, r) as new_id,
    case when chance(id, r) <= kept_share() then bases else [] end as kept
  from s cross join range({copies}) range(r) where r * {rows} + n < {models}
), moved as (
  select *, case when r = 0 then created_at else created_at - to_days(floor(
      least({youngest}, greatest(0, date_diff('day', {oldest}, created_at))) * chance(owner, -r - 1) ** 2)::integer)
    end as born,
    list_transform(kept, lambda b: case when b.moves and chance(b.id, r) < 0.5
      then id_of(b.account, b.known, b.name, r) else b.id end) as base_ids,
    case when r = 0 then downloads_30d else least(300000000, floor(
      downloads_30d * 0.004 * chance(new_id, 1) ** (-1 / 1.1) - 6 * ln(chance(new_id, 2)))) end::bigint as d,
    case when r = 0 then likes else least(20000, floor((likes + 0.25) * chance(new_id, 3) ** (-1 / 1.6)))
      end::bigint as liked
  from copy
)
select left(md5(new_id), 24) as _id, new_id as id, owner as author, born as "createdAt",
  least(timestamp '2026-08-22 20:00:00', born + (last_modified - created_at)) as "lastModified",
  d as downloads, (d * (1 + chance(new_id, 4) * date_diff('day', born, timestamp '2026-08-22') / 30))::bigint
    as "downloadsAllTime",
  liked as likes, case when r = 0 then trending_score else 0 end::double as "trendingScore",
  list_concat(tags,
    case when license is null then [] else ['license:' || license] end,
    case when len(kept) = 0 then [] else list_transform(base_ids, lambda b: 'base_model:' ||
      coalesce(base_relations[1] || ':', '') || b) end,
    list_transform(coalesce(datasets, []), lambda a: 'dataset:' || a), ['region:us']) as tags,
  to_json({{'license': license, 'license_name': license_name, 'language': languages,
    'base_model': base_ids}})::varchar as "cardData",
  case when parameters is null then null else {{'parameters': {{'BF16': parameters}}, 'total': parameters}} end
    as safetensors,
  case when list_contains(formats, 'gguf') then to_json({{'total': parameters, 'architecture': shape,
    'context_length': 32768, 'chat_template': '{chat}'}})::varchar end as gguf,
  case when shape is not null then to_json({{'architectures': [
    upper(left(shape, 1)) || shape[2:] || 'ForCausalLM'], 'model_type': shape}})::varchar end as config,
  case when len(kept) = 0 then null else {{'relation': base_relations[1], 'models': list_transform(base_ids,
    lambda b: {{'_id': left(md5(b), 24), 'id': b}})}} end as "baseModels",
  pipeline_tag, library as library_name,
  case when gated then 'manual' else 'false' end as gated, false as private,
  (storage_bytes * (0.5 + chance(new_id, 5)))::bigint as "usedStorage"
from moved order by born, new_id
""".replace("{youngest}", str(YOUNGEST_DAYS))
    .replace("{oldest}", OLDEST)
    .replace("{chat}", CHAT.replace("{", "{{").replace("}", "}}"))
)
