"""The Observatory's pages: choices are the address, answers are escaped, and what can't be answered says why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headwater.front.answer import Answer
from headwater.front.pages import observe
from headwater.front.request import Request
from headwater.ground.clock import FixedClock
from headwater.ground.errors import EntryMissing, NotOffered
from headwater.ground.settings import Settings
from headwater.observatory.imports.door import import_source
from headwater.observatory.imports.job import Options, Silent
from headwater.observatory.world import World

EVIL = "<script>alert(1)</script>"


@pytest.fixture
def rooms(tmp_path: Path) -> Any:
    columns: dict[str, list[Any]] = {
        "id": ["Qwen/a", "meta-llama/b"], "author": ["Qwen", "meta-llama"], "likes": [9, 5], "downloads": [3, 7],
        "downloadsAllTime": [10, 70], "createdAt": ["2026-01-01T00:00:00", "2020-01-01T00:00:00"],
        "tags": [[f"license:{EVIL}"], ["license:mit"]],
    }  # fmt: skip
    pq.write_table(pa.table(columns), tmp_path / "hub.parquet")
    options = Options(kind="hub-stats", name="tiny", date="2026-06-05", attribution=EVIL)
    import_source(World(tmp_path / "observatory"), str(tmp_path / "hub.parquet"), options, Silent())
    settings = Settings(data=str(tmp_path), public_url="http://hub.example/base")
    return SimpleNamespace(settings=settings, clock=FixedClock(0))


@pytest.fixture
def get(rooms: Any) -> Callable[..., Answer]:
    def got(handler: Callable[..., Answer], query: str = "", **params: str) -> Answer:
        return handler(rooms, Request("GET", "/observatory", query.encode(), {}, "r", params=params))

    return got


def test_the_index_lists_claims_questions_and_data(get: Callable[..., Answer]) -> None:
    page = get(observe.index).body.decode()
    assert "DeepSeek-R1 is the most liked model" in page
    assert "/base/observatory/questions/downloads-by-country" in page
    assert "tiny@2026-06-05" in page
    assert EVIL not in page


def test_the_claims_page_shows_computed_verdicts_and_their_sql(get: Callable[..., Answer]) -> None:
    page = get(observe.claims).body.decode()
    assert "undecidable" in page
    assert "-- holds" in page


def test_a_question_shows_its_choices_chart_table_sql_and_data(get: Callable[..., Answer]) -> None:
    answer = get(observe.one_question, "population=tiny&attribution=uploader", name="downloads-by-country")
    page = answer.body.decode()
    assert answer.status == 200
    assert '<option value="uploader" selected>' in page
    assert (
        "/base/observatory/charts/dark-narrow/downloads-by-country.svg?population=tiny&amp;attribution=uploader" in page
    )
    assert "/base/observatory/data/downloads-by-country.parquet?population=tiny&amp;attribution=uploader" in page
    assert "select" in page


def test_hostile_texts_are_escaped_wherever_they_come_from(get: Callable[..., Answer]) -> None:
    page = get(observe.one_question, "licence=%3Cscript%3Ealert(1)%3C%2Fscript%3E", name="licences").body.decode()
    assert EVIL not in page


def test_empty_fields_of_the_form_leave_the_address(get: Callable[..., Answer]) -> None:
    answer = get(observe.one_question, "population=&attribution=uploader&window=", name="downloads-by-country")
    assert (answer.status, answer.headers["Location"]) == (
        303,
        "/base/observatory/questions/downloads-by-country?attribution=uploader",
    )


@pytest.mark.parametrize("query", ["nope=1", "population=nobody", "window=forever", "age_days_max=-1", "by=%00"])
def test_a_choice_that_can_not_be_made_says_why_beside_the_form(get: Callable[..., Answer], query: str) -> None:
    answer = get(observe.one_question, query, name="downloads-by-country")
    page = answer.body.decode()
    assert answer.status == 400
    assert 'role="alert"' in page
    assert '<form class="choices"' in page


def test_an_unknown_question_is_not_found(get: Callable[..., Answer]) -> None:
    with pytest.raises(EntryMissing):
        get(observe.one_question, name="nope")


def test_a_picture_can_run_nothing(get: Callable[..., Answer]) -> None:
    pytest.importorskip("vl_convert")
    answer = get(observe.picture, "population=tiny", look="dark-narrow", file="downloads-by-country.svg")
    assert answer.body.startswith(b"<svg")
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert b'"mark"' in get(observe.picture, look="light-wide", file="downloads-by-country.json").body


@pytest.mark.parametrize(("kind", "begins"), [("csv", b"country,"), ("json", b'[{"country"'), ("parquet", b"PAR1")])
def test_the_data_behind_a_chart_is_one_click_away(get: Callable[..., Answer], kind: str, begins: bytes) -> None:
    answer = get(observe.data, "population=tiny", file=f"downloads-by-country.{kind}")
    assert answer.body.startswith(begins)
    assert answer.headers["Content-Disposition"] == f'attachment; filename="downloads-by-country.{kind}"'


@pytest.mark.parametrize(("look", "file"), [("pink-wide", "a.svg"), ("dark-wide", "a.exe"), ("dark", "a.svg")])
def test_no_other_pictures_are_offered(get: Callable[..., Answer], look: str, file: str) -> None:
    with pytest.raises(NotOffered):
        get(observe.picture, look=look, file=file)
