"""The index: the same truth gives the same rows, however often and in whatever order it is read."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from sqlalchemy import delete, select

from headwater.accounts.actor import NOBODY
from headwater.catalog import index as index_file
from headwater.catalog import search
from headwater.catalog.index import JOB, Index
from headwater.catalog.tables import POSTING_SHIFT, catalog, catalog_search, posting, standing, tag
from headwater.ground import events, jobs
from headwater.ground.errors import Corrupt, EntryMissing, RepoMissing, Unavailable
from headwater.repos.tables import repo

from .conftest import a_gguf, a_safetensors

CARD = """---
license: apache-2.0
language: [en, no]
tags: [Chatty]
datasets: [org/set]
base_model: org/base
---
# A model
See https://arxiv.org/abs/2401.00001.
"""
LLAMA = json.dumps({"architectures": ["LlamaForCausalLM"], "model_type": "llama"})


def one(known: Any, repo_id: int) -> Any:
    found = known.index.known(repo_id)
    assert found is not None
    return found


def extra(db: Any, repo_id: int) -> search.Extra:
    with db.read() as connection:
        return search.extras(connection, [repo_id])[repo_id]


def everything(db: Any) -> dict[str, Any]:
    """All derived rows, but for the numbers of tags, which mean nothing outside."""
    with db.read() as connection:
        keys = {row.id: (row.type, row.key, row.count) for row in connection.execute(select(tag))}
        rows = {table.name: connection.execute(select(table)).all() for table in (standing, catalog_search)}
        shown = [
            {**row._mapping, "tag_ids": sorted(keys[number] for number in json.loads(row.tag_ids))}
            for row in connection.execute(select(catalog))
        ]
        postings = connection.execute(select(posting.c.id)).scalars().all()
    return {
        "tags": sorted(keys.values()),
        "catalog": sorted(shown, key=lambda row: row["repo_id"]),
        "posting": sorted((keys[one >> POSTING_SHIFT], one & 0xFFFFFFFF) for one in postings),
        **{name: sorted(map(tuple, found)) for name, found in rows.items()},
    }


def test_a_model_is_known_by_its_card_and_its_files(hub, known, db) -> None:
    made = hub.repo("Org/Llama-Chat", {
        "README.md": CARD, "config.json": LLAMA, "model.safetensors": a_safetensors(w=("BF16", [3, 4]), b=("F32", [4])),
    })  # fmt: skip
    known.catch_up()
    row = one(known, made)
    assert row.sha == hub.heads[made]
    assert (row.library_name, row.pipeline_tag) == ("transformers", "text-generation")
    assert json.loads(row.tags) == [
        "transformers", "safetensors", "llama", "text-generation", "Chatty", "en", "no", "dataset:org/set",
        "base_model:org/base", "base_model:finetune:org/base", "arxiv:2401.00001", "license:apache-2.0",
    ]  # fmt: skip
    assert json.loads(row.config) == {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
    assert json.loads(row.safetensors) == {"parameters": {"BF16": 12, "F32": 4}, "total": 16}
    assert row.parameters == 16
    assert json.loads(extra(db, made).card)["license"] == "apache-2.0"


def test_what_the_card_says_counts_before_what_the_files_say(hub, known) -> None:
    made = hub.repo("o/m", {
        "README.md": "---\nlibrary_name: mlx\npipeline_tag: robotics\n---\n", "config.json": LLAMA,
        "model.safetensors": a_safetensors(w=("F32", [1])),
    })  # fmt: skip
    known.catch_up()
    assert (one(known, made).library_name, one(known, made).pipeline_tag) == ("mlx", "robotics")


def test_a_sharded_model_has_the_sum_of_its_shards(hub, known) -> None:
    shards = {f"model-0000{n}-of-00002.safetensors": a_safetensors(w=("F32", [n, 10])) for n in (1, 2)}
    weight_map = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    index = json.dumps({"metadata": {}, "weight_map": weight_map})
    made = hub.repo("o/m", {**shards, "model.safetensors.index.json": index, "other.safetensors": b"x"})
    known.catch_up()
    assert json.loads(one(known, made).safetensors) == {"parameters": {"F32": 30}, "total": 30}


def test_a_gguf_model_shows_its_architecture_and_context_length(hub, known, db) -> None:
    made = hub.repo("o/m-GGUF", {"m.Q4_K_M.gguf": a_gguf(elements=64), "mmproj-m.gguf": b"no model"})
    known.catch_up()
    assert json.loads(extra(db, made).gguf) == {
        "total": 64, "architecture": "llama", "context_length": 4096, "chat_template": "{{ messages }}",
    }  # fmt: skip
    assert (one(known, made).library_name, one(known, made).parameters) == ("gguf", 64)


@pytest.mark.parametrize(
    "files",
    [
        {"model.safetensors": b"\xff" * 8 + b"{}"},
        {"model.safetensors": b""},
        {"m.gguf": b"GGUF" + b"\xff" * 60},
        {"model.safetensors.index.json": '{"weight_map": {"a": 5}}'},
        {"model.safetensors.index.json": '{"weight_map": {"a": "../../etc/passwd"}}'},
        {"config.json": "[" * 100_000},
        {"config.json": '{"architectures": [7, null, "\\ud800"], "model_type": {}}'},
        {"README.md": "---\n? [\n---\n"},
        {"README.md": b"\xff\xfe---\n"},
        {"README.md": "---\ntags: ['\x01namespace:1', '" + "x" * 5000 + "']\n---\n"},
    ],
)
def test_T53_hostile_files_say_nothing_and_break_nothing(hub, known, files) -> None:
    made = hub.repo("o/m", files)
    known.catch_up()
    assert one(known, made).sha == hub.heads[made]
    assert one(known, made).safetensors is None
    assert not any(text.startswith("\x01") for text in json.loads(one(known, made).tags))


def test_a_damaged_blob_leaves_out_the_summary_and_not_the_repo(hub, known) -> None:
    hub.broken.add("model.safetensors")
    made = hub.repo("o/m", {"README.md": CARD, "model.safetensors": a_safetensors(w=("F32", [1]))})
    known.catch_up()
    assert one(known, made).safetensors is None
    assert "license:apache-2.0" in one(known, made).tags


def test_weights_that_did_not_change_are_not_read_again(hub, known) -> None:
    weights = a_safetensors(w=("F32", [5]))
    made = hub.repo("o/m", {"model.safetensors": weights})
    known.catch_up()
    hub.reads.clear()
    hub.commit(made, {"model.safetensors": weights, "README.md": CARD})
    known.catch_up()
    assert "model.safetensors" not in hub.reads
    assert one(known, made).parameters == 5
    hub.commit(made, {"model.safetensors": a_safetensors(w=("F32", [6]))})
    known.catch_up()
    assert one(known, made).parameters == 6


def test_a_dataset_and_a_space_are_known_by_their_own_signs(hub, known) -> None:
    data = hub.repo(
        "o/d", {"README.md": "---\ntask_categories: [robotics]\n---\n", "data/a.parquet": b"PAR1"}, "dataset"
    )
    space = hub.repo("o/s", {"README.md": "---\nmodels: [o/m, X/Y]\n---\n"}, "space", sdk="gradio")
    known.catch_up()
    assert json.loads(one(known, data).tags) == ["task_categories:robotics", "format:parquet"]
    assert json.loads(one(known, space).tags) == ["gradio"]
    assert known.list(NOBODY, "space", models=("x/y",)) == ["o/s"]
    assert known.list(NOBODY, "space", models=("x/z",)) == []


def test_used_storage_is_what_commits_hold_and_what_git_holds(hub, known) -> None:
    made = hub.repo("o/m")
    hub.hold(made, 1000)
    hub.hold(made, 50, committed=False)
    hub.commit(made, {"README.md": "12345"})
    known.catch_up()
    assert one(known, made).used_storage == 1005


def test_used_storage_counts_large_files_that_a_branch_beside_main_brings(hub, known) -> None:
    made = hub.repo("o/m", {"README.md": "12345"})
    known.catch_up()
    hub.hold(made, 1000)
    hub.change(made, "ref.moved", ref="refs/heads/dev")
    known.catch_up()
    assert one(known, made).used_storage == 1005


def test_a_repo_without_main_is_listed_as_empty(hub, known) -> None:
    made = hub.repo("o/m")
    del hub.heads[made]
    known.catch_up()
    assert one(known, made).sha == ""
    assert known.list(NOBODY) == ["o/m"]


def test_moving_renaming_and_hiding_a_repo_reaches_lists(hub, known) -> None:
    made = hub.repo("old/name-one", {"README.md": CARD})
    known.catch_up()
    hub.change(made, "repo.moved", namespace="new", namespace_id=hub.namespace("new"), name="Other", key="new/other")
    known.catch_up()
    assert known.list(NOBODY, search="other") == ["new/Other"]
    assert known.list(NOBODY, author="new") == ["new/Other"]
    assert known.list(NOBODY, search="name-one") == []
    assert known.list(NOBODY, author="old") == []
    hub.change(made, "repo.changed", private=True)
    known.catch_up()
    assert known.list(NOBODY) == []


def test_a_deleted_repo_leaves_nothing_behind(hub, known, db) -> None:
    made = hub.repo("o/m", {"README.md": CARD})
    hub.repo("o/stays")
    known.catch_up()
    before = everything(db)
    made = hub.repo("o/goes", {"README.md": CARD.replace("Chatty", "unique")})
    known.catch_up()
    assert everything(db) != before
    hub.change(made, "repo.deleted", state="deleted", key="#gone")
    known.catch_up()
    assert everything(db) == before


def test_of_a_repo_without_large_files_only_moves_of_main_are_read(hub, known) -> None:
    made = hub.repo("o/m")
    known.catch_up()
    hub.change(made, "ref.moved", ref="refs/heads/other")
    hub.change(made, "ref.moved", ref="refs/pr/1")
    assert known.catch_up() == 0
    hub.change(made, "ref.moved", ref="refs/heads/main")
    assert known.catch_up() == 1


def test_following_twice_follows_nothing_twice_and_many_events_are_one_job(hub, known, index) -> None:
    made = hub.repo("o/m")
    for _ in range(5):
        hub.commit(made, {"README.md": CARD})
    assert index.follow() == 7
    assert index.follow() == 0
    assert known.runner.drain() == 1


def test_position_and_jobs_are_one_step(hub, known, index, db, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.repo("o/m")

    def dies(*_arguments: object, **_more: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(jobs, "enqueue", dies)
        with pytest.raises(KeyboardInterrupt):
            index.follow()
    assert index.follow() == 2
    assert known.runner.drain() == 1


def test_likes_are_counted_without_reading_the_repo(hub, known) -> None:
    made = hub.repo("o/m")
    known.catch_up()
    hub.reads.clear()
    hub.like("ann", made)
    hub.like("bob", made)
    assert known.catch_up() == 0
    assert one(known, made).likes == 2
    assert one(known, made).trending > 0
    assert hub.reads == []


def test_a_reader_that_fails_for_a_while_is_asked_again(hub, known, clock, monkeypatch: pytest.MonkeyPatch) -> None:
    made = hub.repo("o/m")
    with monkeypatch.context() as patched:
        patched.setattr(hub, "head", lambda repo_id: (_ for _ in ()).throw(Unavailable("the disk is away")))
        known.index._read.head = hub.head
        known.catch_up()
    known.index._read.head = hub.head
    assert known.index.known(made) is None
    clock.advance(10)
    known.runner.drain()
    assert known.index.known(made) is not None


def test_fresh_waits_for_who_reads_the_repo_already_and_not_for_ever(hub, known, index, monkeypatch) -> None:
    made = hub.repo("org/read", {"README.md": CARD})
    known.catch_up()
    old, head = hub.heads[made], hub.commit(made, {"README.md": "# Another"})
    reads: list[int] = []
    true = Index._find
    monkeypatch.setattr(Index, "_find", lambda self, row, before: reads.append(row.id) or true(self, row, before))
    threads = [threading.Thread(target=index.fresh, args=(made, head)) for _ in range(8)]
    with index._locks[made % index_file.LOCKS]:
        monkeypatch.setattr(index_file, "FRESH_WAIT_S", 0.01)
        assert index.fresh(made, head).sha == old
        monkeypatch.setattr(index_file, "FRESH_WAIT_S", 60.0)
        for thread in threads:
            thread.start()
        assert reads == []
    for thread in threads:
        thread.join()
    assert reads == [made]  # by the first; the others found it done
    assert one(known, made).sha == head


def test_fresh_reads_what_lists_have_not_caught_up_with(hub, known, index) -> None:
    made = hub.repo("o/m")
    known.catch_up()
    head = hub.commit(made, {"README.md": CARD})
    assert index.known(made).sha != head
    assert index.fresh(made, head).sha == head
    hub.reads.clear()
    assert index.fresh(made, head).sha == head
    assert hub.reads == []
    assert index.fresh(999, head) is None


def test_rows_of_a_repo_deleted_while_it_was_read_do_not_stay(hub, known, index, db, monkeypatch) -> None:
    made = hub.repo("o/m", {"README.md": CARD})
    real = index._find

    def slowly(*arguments: Any) -> Any:
        found = real(*arguments)
        hub.change(made, "repo.deleted", state="deleted", key="#gone")
        return found

    monkeypatch.setattr(index, "_find", slowly)
    index.index(made)
    assert everything(db)["catalog"] == []
    assert everything(db)["posting"] == []


@pytest.mark.parametrize("change", ["commit", "hide"])
def test_an_older_reading_is_not_written_over_the_newer_one_of_another_process(
    hub, known, index, db, clock, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    made = hub.repo("o/m", {"README.md": CARD})
    other, real, left = Index(db, clock, index._read), index._find, [change]

    def slowly(*arguments: Any) -> Any:
        found = real(*arguments)
        if left:
            left.pop()
            clock.advance(1)
            if change == "commit":
                hub.commit(made, {"README.md": CARD.replace("Chatty", "newer")})
            else:
                hub.change(made, "repo.changed", private=True)
            other.index(made)
        return found

    monkeypatch.setattr(index, "_find", slowly)
    index.index(made)
    written = everything(db)
    other.index(made)
    assert everything(db) == written
    assert one(known, made).sha == hub.heads[made]


def test_a_repo_that_is_gone_in_the_middle_of_reading_is_no_error_and_leaves_nothing(
    hub, known, index, db, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = hub.repo("o/m", {"README.md": CARD})

    def too_late(*_: Any) -> Any:
        hub.change(made, "repo.deleted", state="deleted", key="#gone")
        raise RepoMissing("#1")

    monkeypatch.setattr(index, "_find", too_late)
    index.index(made)
    assert everything(db)["catalog"] == []


@pytest.mark.parametrize("error", [EntryMissing("model.safetensors"), Corrupt("an object is missing")])
def test_what_is_missing_since_the_repo_went_meanwhile_is_no_error_and_of_a_live_repo_it_is_one(
    hub, known, index, db, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    made = hub.repo("o/m", {"README.md": CARD})
    going = [False]

    def missing(*_: Any) -> Any:
        if going[0]:
            hub.change(made, "repo.deleted", state="deleted", key="#gone")
        raise error

    monkeypatch.setattr(index, "_find", missing)
    with pytest.raises(type(error)):
        index.index(made)
    going[0] = True
    index.index(made)
    assert everything(db)["catalog"] == []


def test_a_rebuild_makes_the_same_rows_again(hub, known, index, db, clock, counts) -> None:
    for number in range(12):
        files = {"README.md": CARD.replace("Chatty", f"tag-{number % 3}"), "config.json": LLAMA}
        if number % 2:
            files["model.safetensors"] = a_safetensors(w=("F32", [number, 7]))
        made = hub.repo(
            f"org{number % 4}/model-{number}", files, ("model", "dataset")[number % 5 == 0], private=number % 3 == 0
        )
        clock.advance(1000)
        if number % 4 == 0:
            hub.like("ann", made)
            known.catch_up()
            counts.note(made, f"client {number}")
            counts.flush()
        if number == 7:
            hub.change(made, "repo.deleted", state="deleted", key="#gone")
    known.catch_up()
    before = everything(db)
    assert len(before["catalog"]) == 11
    seen: list[tuple[int, int]] = []
    assert index.rebuild(lambda done, total: seen.append((done, total))) == 11
    assert everything(db) == before
    assert seen[-1] == (11, 11)
    assert index.follow() == 0


def test_a_rebuild_goes_on_past_a_repo_that_cannot_be_read(hub, known, index, db, clock, monkeypatch) -> None:
    bad = hub.repo("o/bad")
    hub.repo("o/good")
    known.catch_up()
    real = hub.head
    index._read.head = lambda repo_id: real(repo_id) if repo_id != bad else (_ for _ in ()).throw(Unavailable("away"))
    index.rebuild()
    assert known.list(NOBODY) == ["o/good"]
    index._read.head = real
    assert known.runner.drain() == 1
    assert len(known.list(NOBODY)) == 2


def test_tag_counts_are_exact_after_any_changes(hub, known, db) -> None:
    first = hub.repo("o/a", {"README.md": CARD})
    hub.repo("o/b", {"README.md": CARD}, private=True)
    known.catch_up()
    hub.commit(first, {"README.md": CARD.replace("Chatty", "quiet")})
    known.catch_up()
    with db.read() as connection:
        counted = {row.key: row.count for row in connection.execute(select(tag))}
        postings = connection.execute(select(posting.c.id)).scalars().all()
        ids = {row.id: row.key for row in connection.execute(select(tag))}
    real: dict[str, int] = {}
    for one_posting in postings:
        key = ids[one_posting >> POSTING_SHIFT]
        real[key] = real.get(key, 0) + 1
    assert counted == real
    assert (counted["chatty"], counted["quiet"]) == (1, 1)


def test_events_of_other_rooms_are_stepped_over(hub, index, db) -> None:
    with db.write() as connection:
        events.append(connection, "user.created", 0, actor_id=1)
    assert index.follow() == 1
    with db.read() as connection:
        assert connection.execute(select(jobs.job).where(jobs.job.c.kind == JOB)).first() is None
        assert connection.execute(select(repo.c.id)).first() is None


def test_after_the_first_reading_only_what_differs_is_read(known: Any, hub: Any, db: Any) -> None:
    model = hub.repo("ada/m", {"README.md": CARD, "config.json": LLAMA, "model.onnx": b"x", "big.txt": "12345"})
    known.catch_up()
    hub.commit(model, {"README.md": CARD, "model.gguf": a_gguf(), "big.txt": "1"})
    known.catch_up()
    assert hub.surveyed == [model]
    found = everything(db)
    known.index.rebuild()
    assert hub.surveyed == [model, model]
    assert everything(db) == found


def test_a_damaged_older_revision_does_not_keep_the_newer_from_being_read(known: Any, hub: Any) -> None:
    model = hub.repo("ada/m", {"bad.onnx": b"x"})
    known.catch_up()
    hub.broken.add("bad.onnx")
    hub.commit(model, {"good.tflite": b"x"})
    known.catch_up()
    assert hub.surveyed == [model, model]
    assert json.loads(one(known, model).tags) == ["tflite"]


def test_rows_that_an_older_version_wrote_are_made_anew_once(hub, known, db, clock) -> None:
    repo_id = hub.repo("ann/space", {"README.md": "---\nmodels: [org/base]\n---\n"}, "space", sdk="gradio")
    known.catch_up()
    with db.write() as connection:
        connection.execute(delete(posting))
        connection.execute(delete(events.position).where(events.position.c.follower != index_file.FOLLOWER))
    assert known.list(NOBODY, "space", linked=True) == []
    assert known.catch_up() == 0  # this process has looked already; the next one begins anew
    newer = Index(db, clock, known.index._read)
    assert newer.follow() > 0
    assert known.runner.drain() == 1
    with db.write() as connection:
        connection.execute(delete(posting))
    assert Index(db, clock, known.index._read).follow() == 0
    assert newer.known(repo_id) is not None
