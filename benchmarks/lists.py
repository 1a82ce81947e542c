"""Lists and search over 200,000 repos and 2.5 million tags: every sort with every filter, as three actors see them.

    python benchmarks/lists.py [--repos N] [--rounds N]

Prints p50 and p99 in ms of `catalog.search.search` (the plan, the SQL and the rows as values) and exits with 1 if the
p99 of one cell is over LIMIT_MS. Times are the calling thread's CPU time, reads included: on a shared machine the wall
clock measures the neighbours; the last lines have it too, and what Python's collector takes, which is held off while
lists are timed. The database is made once from a seed, in .cache/bench.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import random
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sqlalchemy import insert

from headwater.accounts.actor import NOBODY, Actor
from headwater.accounts.tables import namespace, user
from headwater.catalog import counts, search, tables
from headwater.catalog.search import Query
from headwater.catalog.tables import POSTING_SHIFT, catalog, catalog_search, posting, standing, tag
from headwater.ground import events, jobs  # noqa: F401 - their tables belong to the schema
from headwater.ground.db import Database, metadata
from headwater.repos.tables import like, repo
from headwater.store import tables as store_tables  # noqa: F401 - its tables belong to the schema

LIMIT_MS = 50.0
ROOT = Path(__file__).resolve().parent.parent
START_MS = 1_600_000_000_000
NOW_MS = 1_770_000_000_000
NAMESPACES = 20_000
WORDS = (
    "llama qwen mistral gemma phi bert base large small tiny instruct chat lora gguf awq gptq merge v1 v2 v3 7b 13b "
    "70b 8b 1b code math vision embed finetuned test demo model reasoning distill coder yi falcon opt bloom t5 whisper "
    "roberta"
)
# Share of the models that have it. The two last are at home in one half of all time, so that a list sorted by time
# walks long before it meets them: the worst case of a plan that believes in independence.
COMMON = {
    "transformers": 0.6, "safetensors": 0.55, "pytorch": 0.3, "license:apache-2.0": 0.35, "en": 0.4,
    "endpoints_compatible": 0.5, "license:mit": 0.15, "conversational": 0.2, "tensorboard": 0.1, "zh": 0.05, "fr": 0.03,
    "onnx": 0.02, "lora": 0.08, "4-bit": 0.04, "de": 0.03, "code": 0.02, "medical": 0.01, "merge": 0.06, "rag": 0.005,
}  # fmt: skip
ERAS = {"old-format": (0.0, 0.5), "new-format": (0.5, 1.0)}
PIPELINES = {"text-generation": 0.4, "text-classification": 0.1, "feature-extraction": 0.05, "robotics": 0.001}
ORG, LONER = 1, 7  # the largest namespace, and a user who has little


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--repos", type=int, default=200_000)
    arguments.add_argument("--rounds", type=int, default=5)
    given = arguments.parse_args()
    db = Database(_built(given.repos))
    gc.freeze()
    gc.disable()
    walls: list[float] = []
    rows = list(_measure(db, given.rounds, walls))
    begun = time.thread_time()
    gc.collect()
    collected_ms = (time.thread_time() - begun) * 1000
    _print(rows)
    worst = max(p99 for *_, p99 in rows)
    print(f"worst p99 {worst:.1f} ms of CPU (limit {LIMIT_MS:.0f} ms)")
    p50, p99 = statistics.median(walls), statistics.quantiles(walls, n=100)[98]
    print(f"one full collection, statements of all these lists in the cache: {collected_ms:.0f} ms of CPU")
    print(f"wall clock over all {len(walls)} lists: p50 {p50:.1f} ms, p99 {p99:.1f} ms")
    db.close()
    return 1 if worst > LIMIT_MS else 0


def _queries() -> dict[str, dict[str, Any]]:
    return {
        "no filter": {},
        "tag 60 %": {"tags": ("transformers",)},
        "tag 10 %": {"tags": ("tensorboard",)},
        "tag 4 %": {"tags": ("4-bit",)},
        "tag 1 %": {"tags": ("medical",)},
        "rare tag": {"tags": ("dataset:some/set-40000",)},
        "unknown tag": {"tags": ("no-such-tag",)},
        "tag of old repos": {"tags": ("old-format",)},
        "tag of new repos": {"tags": ("new-format",)},
        "two common tags": {"tags": ("pytorch", "safetensors")},
        "two that exclude": {"tags": ("old-format", "new-format")},
        "five tags": {"tags": ("transformers", "safetensors", "en", "license:mit", "lora")},
        "big author": {"author": "org1"},
        "small author": {"author": "org15000"},
        "author and tag": {"author": "org1", "tags": ("onnx",)},
        "task 40 %": {"pipeline_tag": "text-generation"},
        "task 0.1 %": {"pipeline_tag": "robotics"},
        "library": {"library": "transformers"},
        "gated": {"gated": True},
        "parameters": {"parameters_min": 6_000_000_000, "parameters_max": 8_000_000_000},
        "few parameters": {"parameters_max": 1_100_000},
        "search, common": {"search": "llama"},
        "search, in all": {"search": "org"},
        "search, two words": {"search": "qwen distill"},
        "search, rare": {"search": "roberta-19999"},
        "search, none": {"search": "zzzzzz"},
        "search, two letters": {"search": "yi"},
        "search, one letter": {"search": "w"},
        "search and tag": {"search": "mistral", "tags": ("4-bit",)},
        "search and parameters": {"search": "coder", "parameters_min": 10**9},
        "liked by": {"liked_by": LONER},
        "data sets": {"type": "dataset"},
        "nearly all private": {"type": "space"},
    }


def _actors() -> dict[str, Actor]:
    return {
        "nobody": NOBODY,
        "member": Actor(LONER, "org7", roles=MappingProxyType({ORG: "read"})),
        "admin": Actor(LONER, "org7", is_admin=True),
    }


def _measure(db: Database, rounds: int, walls: list[float]) -> Iterator[tuple[str, str, int, float, float]]:
    """(filter, sort, rows of a page, p50, p99 in ms) over actors, pages and rounds."""
    for title, conditions in _queries().items():
        for sort in search.SORTS:
            for limit in (100, search.LIMIT_MAX):
                spent: list[float] = []
                for actor in _actors().values():
                    query = Query(**{"type": "model", **conditions}, sort=sort, limit=limit)
                    deep = _deep(db, actor, query)
                    for _ in range(rounds):
                        for one in (query, deep):
                            begun_cpu, begun = time.thread_time(), time.perf_counter()
                            search.search(db, actor, one)
                            spent.append((time.thread_time() - begun_cpu) * 1000)
                            walls.append((time.perf_counter() - begun) * 1000)
                # inclusive: of so few samples the other method makes a figure larger than any of them
                p99 = statistics.quantiles(spent, n=100, method="inclusive")[98]
                yield title, sort, limit, statistics.median(spent), p99


def _deep(db: Database, actor: Actor, query: Query) -> Query:
    """The same list some pages further on."""
    for _ in range(4):
        page = search.search(db, actor, query)
        if page.next is None:
            break
        query = Query(**{name: getattr(query, name) for name in query.__struct_fields__} | {"cursor": page.next})
    return query


def _print(rows: list[tuple[str, str, int, float, float]]) -> None:
    print(f"{'p50 / p99 in ms':24}" + "".join(f"{sort:>22}" for sort in search.SORTS))
    for limit in (100, search.LIMIT_MAX):
        print(f"-- pages of {limit}")
        for title in _queries():
            found = {sort: (p50, p99) for name, sort, size, p50, p99 in rows if (name, size) == (title, limit)}
            cells = (f"{p50:.1f} / {p99:.1f}{'!' if p99 > LIMIT_MS else ''}" for p50, p99 in found.values())
            print(f"{title:24}" + "".join(f"{cell:>22}" for cell in cells))


def _built(repos: int) -> Path:
    """The database file; its name holds what it is made from."""
    parts = b"".join(Path(file).read_bytes() for file in (__file__, tables.__file__))
    name = f"lists-{repos}-{hashlib.sha256(parts).hexdigest()[:12]}.db"
    path = ROOT / ".cache" / "bench" / name
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    for old in path.parent.glob("lists-*"):
        old.unlink()
    begun = time.perf_counter()
    making = path.with_suffix(".making")
    db = Database(making)
    with db.write_soft() as connection:
        metadata.create_all(connection)
        connection.execute(insert(namespace), list(_namespaces()))
        connection.execute(insert(user), [{"id": number} for number in range(1, 100)])
        _fill(connection, repos)
        connection.execute(insert(like), [{"user_id": LONER, "repo_id": n, "at_ms": NOW_MS} for n in range(3, 900, 7)])
    db.copy_to(path)  # also what lies in the write-ahead log
    db.close()
    for file in path.parent.glob("*.making*"):
        file.unlink()
    print(f"made {path.name}: {path.stat().st_size / 1e6:.0f} MB in {time.perf_counter() - begun:.0f} s", flush=True)
    return path


def _namespaces() -> Iterator[dict[str, Any]]:
    for number in range(1, NAMESPACES + 1):
        yield {
            "id": number, "name": f"Org{number}", "key": f"org{number}", "skeleton": f"org{number}",
            "kind": "user" if number < 100 else "org", "created_ms": START_MS,
        }  # fmt: skip


def _fill(connection: Any, repos: int) -> None:
    chance = random.Random(20261121)
    words = WORDS.split()
    tag_ids: dict[tuple[str, str], int] = {}
    used: dict[int, int] = {}
    postings: list[int] = []
    rows: dict[Any, list[dict[str, Any]]] = {repo: [], standing: [], catalog: [], catalog_search: []}
    for number in range(1, repos + 1):
        made = _repo(chance, number, repos, words)
        ids = []
        for key in made.pop("keys"):
            tag_id = tag_ids.setdefault((made["type"], key), len(tag_ids) + 1)
            used[tag_id] = used.get(tag_id, 0) + 1
            ids.append(tag_id)
            postings.append(tag_id << POSTING_SHIFT | number)
        for table, kept in rows.items():
            kept.append(_columns(table, made, ids))
        if number % 20_000 == 0 or number == repos:
            for table, kept in rows.items():
                connection.execute(insert(table), kept)
                kept.clear()
    postings.sort()
    for start in range(0, len(postings), 100_000):
        connection.execute(insert(posting), [{"id": one} for one in postings[start : start + 100_000]])
    connection.execute(
        insert(tag),
        [{"id": n, "type": kind, "key": key, "count": used[n]} for (kind, key), n in tag_ids.items()],
    )
    print(f"{repos} repos, {len(postings)} tags of repos, {len(tag_ids)} tags", flush=True)


def _repo(chance: random.Random, number: int, repos: int, words: list[str]) -> dict[str, Any]:
    kind = chance.choices(("model", "dataset", "space"), (80, 15, 5))[0]
    owner = int(chance.paretovariate(0.5)) % NAMESPACES or 1
    name = "-".join(chance.choice(words) for _ in range(chance.randint(1, 4))) + f"-{number}"
    age = number / repos
    created_ms = START_MS + int((NOW_MS - START_MS) * age)
    private = chance.random() < (0.999 if kind == "space" else 0.2)
    tags = [key for key, share in COMMON.items() if chance.random() < share]
    tags += [key for key, (since, until) in ERAS.items() if since <= age < until and chance.random() < 0.5]
    tags += [f"dataset:some/set-{int(chance.paretovariate(0.4)) % 60_000}" for _ in range(chance.randint(2, 8))]
    tags += [f"arxiv:{chance.randint(1, 30_000):05}"]
    pipeline = next((key for key, share in PIPELINES.items() if chance.random() < share), None)
    library = "transformers" if "transformers" in tags else None
    gated = "auto" if chance.random() < 0.01 else None
    keys = {*tags, search.PRIVATE if private else search.PUBLIC, search.of_namespace(owner)}
    keys |= {search.of_pipeline(pipeline)} if pipeline else set()
    keys |= {search.of_library(library)} if library else set()
    keys |= {search.GATED} if gated else set()
    downloads = int(chance.paretovariate(0.7)) - 1
    likes = int(chance.paretovariate(1.1)) - 1
    happened = [(NOW_MS - int(chance.expovariate(1 / 4e9)), 1.0) for _ in range(min(downloads, 5))]
    return {
        "keys": sorted(keys), "number": number, "type": kind, "owner": owner, "name": name, "private": private,
        "gated": gated, "created_ms": created_ms, "modified_ms": created_ms + int(chance.expovariate(1 / 5e9)),
        "tags": tags, "pipeline": pipeline, "library": library, "downloads": downloads, "likes": likes,
        "trending": counts.trending(happened),
        "parameters": chance.choice((None, 10**9, 7 * 10**9, int(10 ** chance.uniform(6, 11)))),
    }  # fmt: skip


def _columns(table: Any, made: dict[str, Any], tag_ids: list[int]) -> dict[str, Any]:
    number, full = made["number"], f"org{made['owner']}/{made['name']}"
    if table is repo:
        return {
            "id": number, "type": made["type"], "namespace_id": made["owner"], "namespace": f"Org{made['owner']}",
            "name": made["name"], "key": full, "private": made["private"], "gated": made["gated"],
            "disabled": False, "created_ms": made["created_ms"], "updated_ms": made["modified_ms"],
        }  # fmt: skip
    if table is standing:
        same = ("type", "created_ms", "modified_ms", "downloads", "likes", "trending", "parameters")
        return {"repo_id": number, "downloads_all": made["downloads"] * 9, **{name: made[name] for name in same}}
    if table is catalog_search:
        return {"rowid": number, "name": full, "starts": search.word_starts(full)}
    card = {"license": "mit", "language": ["en"], "tags": made["tags"], "text": "x" * (200 + number % 1_500)}
    return {
        "repo_id": number, "sha": f"{number:040x}", "library_name": made["library"], "pipeline_tag": made["pipeline"],
        "used_storage": number * 1_000, "tags": json.dumps(made["tags"]), "tag_ids": json.dumps(tag_ids),
        "card": json.dumps(card),
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
