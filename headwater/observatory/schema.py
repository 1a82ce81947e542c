"""The tables of the Observatory: names, columns, types, as DuckDB writes them and as Arrow carries them.

Every importer fills these tables and every question reads them; nothing here knows where a row came from. All times
are naive UTC, texts are in Unicode normal form C and cut at the limits below, NULL means unknown.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import pyarrow as pa

ID_CHARS_MAX = 400  # the Hub allows 96 + 1 + 96 today, but some speech models of 2021 have 300
TEXT_CHARS_MAX = 500  # of a name, a licence, a task: what is longer is not meant to be read
TAG_CHARS_MAX = 256  # of one tag; also a base model's id with its relation fits
LIST_ITEMS_MAX = 5_000  # of one row; a model that names every language has 2,000 tags
VALUE_CHARS_MAX = 200  # of a value that could not be read, in the report
COUNT_MAX = 10**15  # downloads, likes, parameters: 100,000 times the largest known figure; more is no count
BYTES_MAX = 10**18  # of one repo's storage
FUTURE_GRACE_DAYS = 1  # a date may lie this far behind the snapshot's: clocks and time zones
PAST_YEAR_MIN = 2000  # no model of a hub is older; earlier dates are defaults of broken clocks
NAMED = "name:"  # begins the key of a model whose source has no stable one
WALK_STEPS_MAX = 8  # of a declared chain of bases: a longer walk is a circle or a joke


@dataclass(frozen=True, slots=True)
class Column:
    """One column; `type` is DuckDB's name of it."""

    name: str
    type: str
    note: str


@dataclass(frozen=True, slots=True)
class Table:
    name: str
    note: str
    columns: tuple[Column, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    def type_of(self, name: str) -> str:
        return next(column.type for column in self.columns if column.name == name)


def _table(name: str, note: str, columns: str) -> Table:
    """Lines of `name TYPE note`, so that the tables below read as tables."""
    parts = (line.split(None, 2) for line in columns.strip().splitlines())
    return Table(name, note, tuple(Column(part[0], part[1], part[2] if len(part) > 2 else "") for part in parts))


MODEL = _table(
    "model",
    "One model as it stood at the snapshot's date.",
    """
    key              VARCHAR    the Hub's stable _id where the source has it, else 'name:' and the id
    id               VARCHAR    namespace/name, or name alone
    author           VARCHAR    what stands before the slash; without one the id is its own owner
    created_at       TIMESTAMP
    modified_at      TIMESTAMP
    downloads_30d    BIGINT     rolling window as the Hub publishes it; never to be summed over time
    downloads_all    BIGINT     cumulative
    likes            BIGINT
    trending         DOUBLE
    pipeline_tag     VARCHAR
    library          VARCHAR
    license          VARCHAR    as declared: the tag, else the card
    license_name     VARCHAR    the card's own name for a licence without a tag
    tags             VARCHAR[]
    languages        VARCHAR[]
    datasets         VARCHAR[]
    arxiv            VARCHAR[]
    parameters       BIGINT     from the headers of safetensors or GGUF files
    storage_bytes    BIGINT
    architecture     VARCHAR    class name of config.json, or what the source calls architecture
    model_type       VARCHAR
    layers           BIGINT
    hidden_size      BIGINT
    vocab_size       BIGINT
    experts          BIGINT
    context_length   BIGINT
    quantization     VARCHAR    method: of config.json, else of the first tag that names one
    formats          VARCHAR[]
    gated            VARCHAR    no, yes, auto or manual
    private          BOOLEAN
    removed          BOOLEAN
    removed_at       TIMESTAMP
    first_seen       TIMESTAMP  by the source's crawler
    """,
)
EDGE = _table(
    "edge",
    "A base model that a model declares; circles and self-loops are kept and flagged.",
    """
    child       VARCHAR    id of the derivative
    child_key   VARCHAR
    base        VARCHAR    id as declared: it may name a model that is in no snapshot
    base_key    VARCHAR    the base's _id where the source resolves it
    relation    VARCHAR    finetune, adapter, merge, quantized; NULL: untyped
    position    INTEGER    order in the card, from 1
    source      VARCHAR    declared
    declared_at TIMESTAMP  the child's created_at
    self_loop   BOOLEAN    the model names itself
    cyclic      BOOLEAN    lies on a circle of the first WALK_STEPS_MAX steps; a walk must stop by itself
    """,
)
COUNT = _table(
    "count",
    "Counts over time; where change_only, the last value holds until the next row of the id.",
    """
    id              VARCHAR
    counted_at      TIMESTAMP
    downloads_30d   BIGINT
    downloads_all   BIGINT
    likes           BIGINT
    trending        DOUBLE
    removed         BOOLEAN
    change_only     BOOLEAN
    """,
)
RANK = _table(
    "rank",
    "Who stood on a list on which day.",
    """
    list            VARCHAR
    day             DATE
    rank            INTEGER    from 1; NULL where the list has members but no order
    id              VARCHAR
    downloads_30d   BIGINT
    likes           BIGINT
    trending        DOUBLE
    pipeline_tag    VARCHAR
    library         VARCHAR
    created_at      TIMESTAMP
    """,
)
RELEASE = _table(
    "release",
    "New repos of an organisation per week or day.",
    """
    org         VARCHAR
    day         DATE       first day of the grain
    grain       VARCHAR    week or day
    variant     VARCHAR    which of the source's tables
    filter      VARCHAR
    repos       BIGINT
    models      BIGINT
    datasets    BIGINT
    spaces      BIGINT
    likes       BIGINT
    downloads   BIGINT
    """,
)
GROWTH = _table(
    "growth",
    "New repos of the whole hub per month and task, as a source counted them.",
    """
    month       DATE       first day of it
    kind        VARCHAR    model or dataset
    task        VARCHAR
    repos       BIGINT
    filter      VARCHAR    all, likes or downloads: the source's own threshold
    """,
)
LISTING = _table(
    "listing",
    "A model on a provider's list, as a catalogue saw it.",
    """
    catalogue      VARCHAR
    provider       VARCHAR
    key            VARCHAR    the provider's name of the model
    family         VARCHAR    the catalogue's own word
    first_seen     DATE       by the catalogue, which lags: listed by, never available from
    last_seen      DATE
    listed_at_end  BOOLEAN
    open_weights   BOOLEAN
    release_date   VARCHAR
    mode           VARCHAR
    context        BIGINT     tokens
    reasoning      BOOLEAN
    usd_per_mtok_in_first    DOUBLE
    usd_per_mtok_out_first   DOUBLE
    usd_per_mtok_in_last     DOUBLE
    usd_per_mtok_out_last    DOUBLE
    """,
)
SUPPORT = _table(
    "support",
    "What runtimes, libraries and apps learnt when.",
    """
    kind          VARCHAR    runtime_architecture, hub_library, hub_local_app, hf_inference_provider
    source        VARCHAR
    name          VARCHAR
    label         VARCHAR
    first_seen    DATE       first commit on the main line
    commit        VARCHAR
    source_until  DATE       the source was read up to this day
    """,
)
TOKENS = _table(
    "tokens",
    "Tokens served per author.",
    """
    day           DATE
    rank          INTEGER
    author        VARCHAR
    tokens_week   BIGINT
    share_pct     DOUBLE
    """,
)
PUBLISHED = _table(
    "published",
    "Somebody else's published table, kept as published, errors included.",
    """
    list            VARCHAR
    id              VARCHAR
    downloads       BIGINT
    downloads_30d   BIGINT
    downloads_all   BIGINT
    likes           BIGINT
    pct_of_total    DOUBLE
    country         VARCHAR
    org             VARCHAR
    author          VARCHAR
    modality        VARCHAR
    created_at      TIMESTAMP
    """,
)
NOTABLE = _table(
    "notable",
    "Hand-made catalogues of notable models.",
    """
    list                    VARCHAR
    model                   VARCHAR
    organisation            VARCHAR
    country                 VARCHAR
    category                VARCHAR
    published               VARCHAR
    domain                  VARCHAR
    accessibility           VARCHAR
    parameters              DOUBLE
    training_compute_flop   DOUBLE
    base_model              VARCHAR
    finetune_compute_flop   DOUBLE
    """,
)
EVENT_DAY = _table(
    "event_day",
    "A day of one repo on this hub.",
    """
    day             DATE
    repo_key        VARCHAR
    id              VARCHAR
    downloads_hub   BIGINT     by the Hub's own rules: requests for query files
    pulls           BIGINT     distinct (client, model, commit) in five minutes that got bytes of weights, without CI
    pulls_ci        BIGINT     the same by agents of CI systems
    heads           BIGINT     HEAD requests for files, all of them
    clients         BIGINT     distinct ones that asked for a file that day, without CI; days can't be added up
    bytes           BIGINT     of weights, in answers that were begun; CI included
    """,
)
RENAME = _table(
    "rename",
    "A model that had another id in an older snapshot of the same source.",
    """
    key        VARCHAR
    old_id     VARCHAR
    new_id     VARCHAR
    snapshot   VARCHAR    the one that first had the new id
    """,
)
UNREAD = _table(
    "unread",
    "What could not be read, row by row.",
    """
    table      VARCHAR    the table that the row was meant for
    row        BIGINT     of the input, from 1; for folders of files, of the files in the order of their names
    id         VARCHAR
    field      VARCHAR
    value      VARCHAR    cut to VALUE_CHARS_MAX
    why        VARCHAR
    dropped    BOOLEAN    the whole row is left out; else only the field is, or was cleaned
    """,
)

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        MODEL, EDGE, COUNT, RANK, RELEASE, GROWTH, LISTING, SUPPORT, TOKENS, PUBLISHED, NOTABLE, EVENT_DAY,
        UNREAD,
    )
}  # fmt: skip
"""What a snapshot may hold, one Parquet file each."""

ACCOUNTS = _table(
    "accounts",
    "The registry of organisations in force: one row per account.",
    """
    account        VARCHAR
    country        VARCHAR    ISO-2, INT (several countries, mirrors) or USER (a person); overrides applied
    country_listed VARCHAR    before overrides
    type           VARCHAR
    organisation   VARCHAR    several accounts may belong to one
    parent         VARCHAR
    valid_from     DATE
    valid_to       DATE       first day on which the row no longer holds
    evidence       VARCHAR
    conflict       VARCHAR    what other evidence says
    source         VARCHAR    the file that the row is from
    """,
)
LICENCE_FAMILY = _table(
    "licence_family",
    "Licences and how much they restrict.",
    """
    license   VARCHAR    the Hub's tag
    family    VARCHAR
    rank      INTEGER    0 permissive to 4 non-commercial
    """,
)
FAMILY_PATTERN = _table(
    "family_pattern",
    "Rules that name a model family: the first whose text occurs in the lower-cased name.",
    """
    position   INTEGER
    family     VARCHAR
    pattern    VARCHAR
    """,
)
FAMILY_OWNER = _table(
    "family_owner",
    "Accounts that publish a family themselves.",
    """
    family     VARCHAR
    account    VARCHAR
    """,
)
REFERENCE: dict[str, Table] = {
    table.name: table for table in (ACCOUNTS, LICENCE_FAMILY, FAMILY_PATTERN, FAMILY_OWNER, RENAME)
}
"""Views that every run has beside the snapshots' tables."""

_ARROW: dict[str, pa.DataType] = {
    "VARCHAR": pa.string(),
    "VARCHAR[]": pa.list_(pa.string()),
    "BIGINT": pa.int64(),
    "INTEGER": pa.int32(),
    "DOUBLE": pa.float64(),
    "BOOLEAN": pa.bool_(),
    "TIMESTAMP": pa.timestamp("us"),
    "DATE": pa.date32(),
}


@cache
def arrow_schema(table: Table) -> pa.Schema:
    """The table as Arrow carries it; the notes go along as metadata of the fields."""
    return pa.schema([pa.field(c.name, _ARROW[c.type], metadata={"note": c.note}) for c in table.columns])
