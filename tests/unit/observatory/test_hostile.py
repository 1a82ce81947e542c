"""Malformed, truncated and hostile input: a report row by row, or a clear error and nothing."""

from __future__ import annotations

import errno
import gzip
import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headwater.ground.errors import DigestMismatch, EntryMissing, HeadwaterError, Invalid, Unavailable
from headwater.observatory.imports.door import Report, import_source
from headwater.observatory.imports.job import Options, Silent
from headwater.observatory.imports.models import circular
from headwater.observatory.schema import TEXT_CHARS_MAX
from headwater.observatory.texts import link, plain
from headwater.observatory.world import World

Take = Callable[..., Report]
Parquet = Callable[..., Path]
Ask = Callable[..., list[dict[str, Any]]]

MADE = "2026-01-01T00:00:00.000Z"
SCRIPT = '"><script>alert(1)</script>{{7*7}}${jndi:ldap://x}'


def hub(parquet: Parquet, **columns: list[Any]) -> Path:
    (count,) = {len(values) for values in columns.values()}
    return parquet("hub.parquet", **{"id": [f"a/m{i}" for i in range(count)], "createdAt": [MADE] * count, **columns})


def problems(report: Report) -> set[tuple[str, str, int, bool]]:
    return {(one.table, one.field, one.count, one.dropped) for one in report.problems}


def nothing_is_left(world: World) -> bool:
    incoming = world.root / "incoming"
    return not world.snapshots() and not (incoming.exists() and list(incoming.iterdir()))


@pytest.mark.parametrize("keep", [0, 3, 4, 100, -20_000, -100, -1])
def test_a_truncated_parquet_file_is_a_clear_error_and_leaves_nothing(
    world: World, take: Take, parquet: Parquet, keep: int
) -> None:
    path = hub(parquet, likes=list(range(5000)), tags=[[f"tag{i}"] for i in range(5000)])
    whole = path.read_bytes()
    path.write_bytes(whole[:keep])
    with pytest.raises(Invalid):
        take(path, name="cut")
    assert nothing_is_left(world)


def test_damaged_pages_are_a_clear_error_and_leave_nothing(world: World, take: Take, parquet: Parquet) -> None:
    path = hub(parquet, likes=list(range(5000)), tags=[[f"tag{i}"] for i in range(5000)])
    raw = bytearray(path.read_bytes())
    raw[100 : len(raw) // 2] = bytes(len(raw) // 2 - 100)
    path.write_bytes(raw)
    with pytest.raises(Invalid):
        take(path, name="cut", date="2026-01-01")
    assert nothing_is_left(world)


def test_counts_that_are_none_are_reported_and_unknown(world: World, take: Take, parquet: Parquet, ask: Ask) -> None:
    bad = [float("nan"), float("inf"), -1.0, 1e300, 7.0]
    report = take(hub(parquet, downloads=bad, likes=["x", "-3", "", None, "12"], trendingScore=bad), date="2026-08-22")
    assert ask("select downloads_30d as d, likes as l, trending as t from model order by id") == [
        {"d": None, "l": None, "t": None},
        {"d": None, "l": None, "t": None},
        {"d": None, "l": None, "t": None},
        {"d": None, "l": None, "t": None},
        {"d": 7, "l": 12, "t": 7.0},
    ]
    assert problems(report) == {
        ("model", "downloads_30d", 4, False),
        ("model", "likes", 2, False),
        ("model", "trending", 4, False),
    }
    assert (report.unread, report.rows_dropped) == (10, 0)


def test_the_account_of_a_snapshot_names_row_field_value_and_reason(take: Take, parquet: Parquet, ask: Ask) -> None:
    take(hub(parquet, likes=[1, -5]), date="2026-08-22")
    (row,) = ask("select * exclude (snapshot) from unread")
    assert row["why"].startswith("must be a whole number from 0")
    del row["why"]
    assert row == {"table": "model", "row": 2, "id": "a/m1", "field": "likes", "value": "-5", "dropped": False}


def test_dates_of_the_future_and_of_the_stone_age_are_unknown(take: Take, parquet: Parquet, ask: Ask) -> None:
    dates = [
        "2026-08-23T00:00:00Z",
        "2026-08-24T00:00:01Z",
        "9999-12-31",
        "1970-01-01",
        "soon",
        "2026-08-22T03:00+02:00",
    ]
    report = take(hub(parquet, createdAt=dates), date="2026-08-22")
    assert [row["c"] for row in ask("select created_at as c from model order by id")] == [
        datetime.fromisoformat("2026-08-23"), None, None, None, None, datetime.fromisoformat("2026-08-22T01:00"),
    ]  # fmt: skip
    assert problems(report) == {("model", "created_at", 4, False)}


def test_a_date_of_the_future_does_not_date_the_snapshot(take: Take, parquet: Parquet) -> None:
    report = take(hub(parquet, lastModified=["2026-05-05T10:00:00Z", "2999-01-01T00:00:00Z"]), name="hub")
    assert (report.date, report.dated_by) == ("2026-05-05T10:00:00", "the newest lastModified")


def test_ten_megabytes_in_a_cell_are_cut_and_reported(take: Take, parquet: Parquet, ask: Ask) -> None:
    long = "x" * (10 << 20)
    report = take(
        hub(parquet, pipeline_tag=[long, "text-generation"], tags=[[long], ["a"]], cardData=[f'"{long}"', None]),
        date="2026-08-22",
    )
    found = ask("select length(pipeline_tag) as p, length(tags[1]) as t from model order by id")
    assert found == [{"p": TEXT_CHARS_MAX, "t": 256}, {"p": 15, "t": 1}]
    assert {(one.field, one.why[:3]) for one in report.problems} == {
        ("pipeline_tag", "cut"),
        ("tags", "cut"),
        ("tags", "is "),
    }
    assert all(len(row["value"]) <= 200 for row in ask("select value from unread where value is not null"))


def test_hidden_characters_are_taken_out_and_reported(take: Take, parquet: Parquet, ask: Ask) -> None:
    report = take(
        hub(
            parquet,
            library_name=["tra\x00ns\u202eformers\u200b", "e\u0301te\u0301"],
            tags=[["a\x07b", "\u200b"], ["ok"]],
        ),
        date="2026-08-22",
    )
    assert ask("select library as l, tags as t from model order by id") == [
        {"l": "transformers", "t": ["ab"]},
        {"l": "été", "t": ["ok"]},
    ]
    assert problems(report) == {("model", "library", 1, False), ("model", "tags", 1, False)}


def test_markup_and_templates_stay_text_and_are_never_evaluated(take: Take, parquet: Parquet, ask: Ask) -> None:
    take(
        hub(parquet, pipeline_tag=[SCRIPT], tags=[["javascript:alert(1)"]], cardData=[json.dumps({"license": SCRIPT})]),
        date="2026-08-22",
    )
    assert ask("select pipeline_tag as p, license as l, tags[1] as t from model") == [
        {"p": SCRIPT, "l": SCRIPT, "t": "javascript:alert(1)"}
    ]


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "a/b/c",
        "a b",
        "../../etc/passwd",
        "a/<script>",
        "a/b\u200b",
        "x" * 401,
        "a/b\n",
        None,
        "a'; drop table model; --",
    ],
)
def test_a_row_without_an_id_is_left_out_and_reported(take: Take, parquet: Parquet, ask: Ask, bad: str | None) -> None:
    report = take(hub(parquet, id=["a/good", bad]), date="2026-08-22")
    assert ask("select id from model") == [{"id": "a/good"}]
    assert (report.rows_dropped, problems(report)) == (1, {("model", "id", 1, True)})


def test_of_rows_with_one_id_the_one_modified_last_stays(take: Take, parquet: Parquet, ask: Ask) -> None:
    report = take(
        hub(
            parquet,
            id=["a/x", "a/x", "a/x", "a/y", "a/y"],
            lastModified=["2026-03-01", "2026-05-01", "2026-04-01", "2026-01-01", "2026-01-01"],
            likes=[1, 2, 3, 4, 5],
        ),
        date="2026-08-22",
    )
    assert ask("select id, likes from model order by id") == [{"id": "a/x", "likes": 2}, {"id": "a/y", "likes": 5}]
    assert ask("select row from unread order by row") == [{"row": 1}, {"row": 3}, {"row": 4}]
    assert report.rows_dropped == 3


def test_of_rows_with_one_stable_key_the_later_stays(take: Take, parquet: Parquet, ask: Ask) -> None:
    take(
        hub(
            parquet,
            _id=["k1", "k1", "k2"],
            id=["old/x", "new/x", "a/y"],
            lastModified=["2026-01-01", "2026-02-01", None],
        ),
        date="2026-08-22",
    )
    assert ask("select key, id from model order by key") == [{"key": "k1", "id": "new/x"}, {"key": "k2", "id": "a/y"}]


def test_ids_that_differ_in_case_are_two_models(take: Take, parquet: Parquet, ask: Ask) -> None:
    take(hub(parquet, id=["a/X", "a/x"]), date="2026-08-22")
    assert ask("select count(*) as n, count(distinct key) as k from model") == [{"n": 2, "k": 2}]


def test_self_loops_and_circles_are_kept_and_flagged(take: Take, parquet: Parquet, ask: Ask) -> None:
    pairs = [
        ("a/1", "a/2"),
        ("a/2", "a/3"),
        ("a/3", "A/1"),
        ("a/4", "a/1"),
        ("a/5", "a/5"),
        ("a/6", "a/4"),
        ("a/6", "a/7"),
    ]
    take(
        parquet("edges.parquet", derivative=[a for a, _ in pairs], base=[b for _, b in pairs]),
        name="edges",
        date="2026-01-01",
    )
    found = ask("select child, base, self_loop as s, cyclic as c from edge order by all")
    assert [(row["child"], row["base"]) for row in found if row["c"]] == [
        ("a/1", "a/2"), ("a/2", "a/3"), ("a/3", "A/1"), ("a/5", "a/5"),
    ]  # fmt: skip
    assert [row["child"] for row in found if row["s"]] == ["a/5"]
    assert len(found) == len(pairs)


def test_a_very_long_chain_is_no_circle_and_does_not_overflow() -> None:
    assert circular((i, i + 1) for i in range(200_000)) == {}
    assert len(circular((i, (i + 1) % 50_000) for i in range(50_000))) == 50_000


def test_bases_that_are_none_are_reported(take: Take, parquet: Parquet, ask: Ask) -> None:
    tags = [["base_model:finetune:x/y", "base_model:x/y"], ["base_model:x/z"], ["base_model:evil:x/q"], ["base_model:"]]
    report = take(hub(parquet, tags=tags), date="2026-08-22")
    assert ask("select base, relation, position from edge order by all") == [
        {"base": "evil:x/q", "relation": None, "position": 1},
        {"base": "x/y", "relation": "finetune", "position": 1},
        {"base": "x/z", "relation": None, "position": 1},
    ]
    assert ("edge", "base", 1, True) in problems(report)


def test_json_in_cells_is_read_within_bounds(take: Take, parquet: Parquet, ask: Ask) -> None:
    deep = '{"license":' + "[" * 100_000 + "]" * 100_000 + "}"
    cards = [
        '{"license":"mit","language":["en","de"]}',
        "{broken",
        deep,
        '{"license":{"a":1}}',
        "[]",
        '{"license":["mit","x"]}',
        "null",
    ]
    report = take(hub(parquet, cardData=cards), date="2026-08-22")
    found = ask("select license, languages from model order by id")
    assert found[0] == {"license": "mit", "languages": ["en", "de"]}
    assert found[1]["license"] is None
    assert found[5]["license"] == "mit"
    assert ("model", "tags", 1, False) in problems(report)


def test_columns_of_the_wrong_shape_are_unread_and_stop_nothing(take: Take, parquet: Parquet, ask: Ask) -> None:
    report = take(
        hub(
            parquet,
            likes=[{"a": 1}, {"a": 2}],
            tags=["one", None],
            downloads=[[1], [2]],
            lastModified=[True, False],
            pipeline_tag=[b"raw", None],
            gguf=[1, 2],
            safetensors=[[1], [2]],
            baseModels=["[", "{}"],
        ),
        date="2026-08-22",
    )
    assert ask("select likes, downloads_30d as d, tags from model order by id") == [
        {"likes": None, "d": None, "tags": ["one"]},
        {"likes": None, "d": None, "tags": None},
    ]
    assert {("model", "likes", 2, False), ("model", "downloads_30d", 2, False)} <= problems(report)


def test_text_that_is_not_utf8_is_read_with_marks_in_its_place(
    world: World, take: Take, tmp_path: Path, ask: Ask
) -> None:
    raw = pa.array([b"ok", b"\xff\xfe bad"], type=pa.binary()).view(pa.binary())
    text = pa.StringArray.from_buffers(2, raw.buffers()[1], raw.buffers()[2])
    path = tmp_path / "latin.parquet"
    pq.write_table(
        pa.table(
            {
                "id": ["a/x", "a/y"],
                "createdAt": [MADE, MADE],
                "pipeline_tag": text,
                "tags": pa.ListArray.from_arrays([0, 1, 2], text),
            }
        ),
        path,
    )
    report = take(path, name="latin", date="2026-08-22")
    assert [row["id"] for row in ask("select id from model order by id")] == ["a/x", "a/y"]
    assert any("UTF-8" in note for note in report.notes)


def test_lines_that_are_no_json_are_left_out_and_reported(take: Take, tmp_path: Path, ask: Ask) -> None:
    good = json.dumps({"id": "a/x", "createdAt": MADE, "tags": ["b"], "likes": 3})
    lines = [
        good,
        "{broken",
        "[1,2]",
        '{"id": "a/y", "likes": NaN}',
        "[" * 100_000,
        '{"id": "a/\\ud800", "createdAt": 1}',
        '"' + "x" * (17 << 20) + '"',
        "",
    ]
    path = tmp_path / "models.jsonl"
    path.write_text("\n".join(lines))
    report = take(path, name="lines", date="2026-08-22")
    assert ask("select id, likes from model") == [{"id": "a/x", "likes": 3}]
    assert report.rows_dropped == 6
    assert {row["row"] for row in ask("select row from unread where dropped")} == {2, 3, 4, 5, 6, 7}


def test_a_damaged_gzip_file_is_a_clear_error(world: World, take: Take, tmp_path: Path) -> None:
    path = tmp_path / "models.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"id": "a/x", "createdAt": "2026-01-01"}\n' * 10_000)[:-20])
    with pytest.raises(Invalid, match="gzip"):
        take(path, name="cut")
    assert nothing_is_left(world)


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00" * 1000, b"PAR1", b"\xff\xfe\x00", b"{", b"[", b"[1, 2]", b"null", b'{"a": 1}', b"hello, world"],
)
@pytest.mark.parametrize("ending", ["parquet", "json", "jsonl", "csv", "bin"])
def test_rubbish_is_a_clear_error_and_leaves_nothing(
    world: World, take: Take, tmp_path: Path, content: bytes, ending: str
) -> None:
    path = tmp_path / f"rubbish.{ending}"
    path.write_bytes(content)
    with pytest.raises(HeadwaterError):
        take(path)
    assert nothing_is_left(world)


def test_csv_with_broken_lines_is_read_but_for_them(take: Take, tmp_path: Path, ask: Ask) -> None:
    path = tmp_path / "edges.csv"
    long = b'"' + b"y" * 200_000 + b'",a/3,x'
    lines = [
        b"x/b,a/1,finetune",
        b"x/b",
        b"x/b,a/2,finetune,more",
        long,
        b"x/b,a/\xff4,merge",
        b"x/b,a/5,EVIL",
        b"",
        b"x/b,a/6,Merge",
    ]
    path.write_bytes(b"\n".join([b"base,derivative,relation", *lines]))
    report = take(path, name="edges", date="2026-01-01")
    assert ask("select child, relation from edge order by child") == [
        {"child": "a/1", "relation": "finetune"},
        {"child": "a/5", "relation": None},
        {"child": "a/6", "relation": "merge"},
    ]
    assert report.rows_dropped >= 4


def test_a_file_that_is_not_there_is_said_to_be_missing(take: Take) -> None:
    with pytest.raises(EntryMissing):
        take("/nowhere/at/all.parquet")


def test_a_full_disk_is_said_to_be_so_and_leaves_nothing(
    world: World, take: Take, parquet: Parquet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("headwater.observatory.world._sync", full)
    with pytest.raises(Unavailable, match="disk is full"):
        take(hub(parquet, likes=[1]), date="2026-08-22")
    assert nothing_is_left(world)


def test_columns_of_no_known_kind_name_the_kinds(take: Take, parquet: Parquet) -> None:
    with pytest.raises(Invalid, match=r"of no known kind.*hub-stats"):
        take(parquet("x.parquet", foo=[1], bar=[2]))
    with pytest.raises(Invalid, match="is not one of"):
        take(parquet("x.parquet", foo=[1]), kind="nonsense")


def test_a_kind_that_does_not_fit_leaves_nothing(world: World, take: Take, parquet: Parquet) -> None:
    with pytest.raises(Invalid):
        take(parquet("x.parquet", foo=[1], bar=[2]), kind="radar", date="2026-01-01")
    assert nothing_is_left(world)


def test_a_file_with_thousands_of_columns_is_refused(world: World, take: Take, parquet: Parquet) -> None:
    with pytest.raises(Invalid, match="columns"):
        take(parquet("wide.parquet", **{f"c{i}": [1] for i in range(1200)}))


def test_hostile_names_of_columns_are_only_names(take: Take, parquet: Parquet, ask: Ask) -> None:
    path = hub(parquet, **{'x"; drop table model; --': [1], "source_row_": [2], "ID ": ["q"], "{{7*7}}": [3]})  # type: ignore[arg-type]
    take(path, date="2026-08-22")
    assert ask("select id from model") == [{"id": "a/m0"}]


@pytest.mark.parametrize("column", ["source_row", "bases", "loser", "card_parts"])
def test_columns_that_are_called_as_ours_do_no_harm(take: Take, parquet: Parquet, ask: Ask, column: str) -> None:
    path = hub(parquet, **{column: [9, 9]}, tags=[["base_model:x/y"], None], likes=[1, 2])
    take(path, date="2026-08-22")
    assert ask("select count(*) as n from model") == [{"n": 2}]


def test_a_file_that_is_not_what_its_manifest_says_is_refused(world: World, parquet: Parquet, tmp_path: Path) -> None:
    path = hub(parquet, likes=[1])
    (tmp_path / "MANIFEST.json").write_text(json.dumps({path.name: {"sha256": "0" * 64}}))
    with pytest.raises(DigestMismatch):
        import_source(world, str(path), Options(), Silent())
    assert nothing_is_left(world)


def test_one_bad_file_of_a_folder_does_not_keep_the_others_out(world: World, parquet: Parquet, tmp_path: Path) -> None:
    hub(parquet, likes=[1])
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 nothing PAR1")
    reports = import_source(world, str(tmp_path), Options(), Silent())
    assert [bool(one.error) for one in sorted(reports, key=lambda one: one.source)] == [True, False]
    assert len(world.snapshots()) == 1


def test_a_link_is_shown_only_if_it_leads_to_the_web() -> None:
    assert link("https://example.org/a?b=c") == "https://example.org/a?b=c"
    for bad in (
        "javascript:alert(1)",
        "JaVaScRiPt:x",
        " data:text/html,x",
        "//evil",
        "http://",
        "https://a b",
        "file:///etc/passwd",
        "http://[",
        "ja\nvascript:x",
    ):
        assert link(bad) == ""


def test_plain_text_is_short_normal_and_visible() -> None:
    assert plain("a\x00b\u202ec\U000e0041d\n\te", 100) == "abcd e"
    assert plain("e\u0301", 10) == "é"
    assert plain("x" * 100, 7) == "x" * 7
    assert plain("\ud800x", 10) == "x"
