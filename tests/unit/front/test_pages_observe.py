"""The Observatory's pages: choices are the address, answers are escaped, and what can't be answered says why."""

from __future__ import annotations

import json
import re
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headwater.accounts.actor import NOBODY
from headwater.front import asking
from headwater.front.answer import Answer
from headwater.front.observe import answers
from headwater.front.pages import observe
from headwater.front.request import Request
from headwater.ground.clock import FixedClock
from headwater.ground.errors import Corrupt, EntryMissing, NotOffered, Unavailable
from headwater.ground.settings import Settings
from headwater.observatory.imports.door import import_source
from headwater.observatory.imports.job import Options, Silent
from headwater.observatory.world import World

EVIL = "<script>alert(1)</script>"
CLAIM = """
id = "mine"
sentence = "Qwen is downloaded more."
question = "downloads-by-organisation"
holds = "(select arg_max(organisation, pct_downloads) = 'Alibaba' from answer)"
[source]
title = "A blog"
date = "2026-01-02"
[[case]]
name = "first"
choices = { population = "tiny", attribution = "uploader" }
[[case]]
name = "second"
choices = { population = "tiny", attribution = "uploader", exclude = ["id:meta-llama/b"] }
"""


def settled() -> None:
    """Waits until the claims that a page has begun are checked."""
    for one in threading.enumerate():
        if one.name == "claims":
            one.join()


@pytest.fixture
def rooms(tmp_path: Path) -> Any:
    columns: dict[str, list[Any]] = {
        "id": ["Qwen/a", "meta-llama/b"], "author": ["Qwen", "meta-llama"], "likes": [9, 5], "downloads": [3, 7],
        "downloadsAllTime": [10, 70], "createdAt": ["2026-01-01T00:00:00", "2020-01-01T00:00:00"],
        "tags": [[f"license:{EVIL}"], ["license:mit"]],
    }  # fmt: skip
    pq.write_table(pa.table(columns), tmp_path / "hub.parquet")
    options = Options(kind="hub-stats", name="tiny", date="2026-06-05", attribution=EVIL, biases=f"few {EVIL}")
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


def test_the_claims_page_shows_query_data_and_biases_of_every_case(get: Callable[..., Answer], rooms: Any) -> None:
    folder = Path(rooms.settings.data) / "observatory/claims"
    folder.mkdir()
    (folder / "mine.toml").write_text(CLAIM)
    get(observe.claims)
    settled()
    whole = get(observe.claims).body.decode()
    (section,) = re.findall(r'<section class="claim" id="mine">.*?</section>', whole, re.DOTALL)
    assert "depends on" in section
    assert "A blog, 2026-01-02" in section
    assert "tiny@2026-06-05</b>, as of 2026-06-05. Licence: unknown" in section
    assert "Biases: few &lt;script&gt;" in section
    query = "population=tiny&amp;attribution=uploader&amp;exclude=id%3Ameta-llama%2Fb"
    assert f"/base/observatory/questions/downloads-by-organisation?{query}" in section
    assert section.count("<pre") == 3  # the rule, and the SQL of both cases
    assert EVIL not in whole


def test_claims_over_http_carry_query_data_and_biases(get: Callable[..., Answer], rooms: Any) -> None:
    folder = Path(rooms.settings.data) / "observatory/claims"
    folder.mkdir()
    (folder / "mine.toml").write_text(CLAIM)
    (mine,) = (one for one in json.loads(get(answers.claims).body)["claims"] if one["claim"]["id"] == "mine")
    for case in mine["cases"]:
        assert case["sql"].startswith("with ")
        (data,) = case["data"]
        assert (data["id"], data["date"], data["biases"]) == ("tiny@2026-06-05", "2026-06-05", f"few {EVIL}")
        assert {"licence", "attribution", "url"} <= set(data)


def test_a_question_shows_its_choices_chart_table_sql_and_data(get: Callable[..., Answer]) -> None:
    answer = get(observe.one_question, "population=tiny&attribution=uploader", question="downloads-by-country")
    page = answer.body.decode()
    assert answer.status == 200
    assert '<option value="uploader" selected>' in page
    query = "population=tiny&amp;attribution=uploader"
    assert f"/base/observatory/charts/dark-narrow/downloads-by-country.svg?{query}" in page
    assert f"/base/api/observatory/answers/downloads-by-country?{query}&amp;format=parquet" in page
    assert "select" in page


def test_the_chart_is_in_the_page_as_data_that_no_text_of_it_can_leave(get: Callable[..., Answer]) -> None:
    page = get(observe.one_question, "population=tiny", question="licences").body.decode()
    (island,) = re.findall(r'<script type="application/json">(.*?)</script>', page, re.DOTALL)
    assert "<" not in island
    chart = json.loads(island)
    assert EVIL in str(chart["spec"])  # it is the data, and stays text
    assert set(chart["config"]) == {"light", "dark"}
    assert "http" not in island.replace(chart["spec"]["$schema"], "")


def test_a_world_without_data_says_what_to_import(get: Callable[..., Answer]) -> None:
    answer = get(observe.one_question, question="own-downloads")
    assert answer.status == 200
    assert "Import one: headwater observatory import" in answer.body.decode()


def test_claims_that_there_is_no_time_for_are_said_to_be_unchecked(
    get: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "CLAIMS_S", -1.0)
    assert len(json.loads(get(answers.claims).body)["pending"]) >= 20
    monkeypatch.undo()
    assert json.loads(get(answers.claims).body)["pending"] == []


@pytest.mark.parametrize("handler", [observe.index, observe.claims])
def test_a_page_waits_for_no_verdict_and_the_next_one_has_them(
    get: Callable[..., Answer], rooms: Any, handler: Callable[..., Answer]
) -> None:
    with asking.desk(rooms, NOBODY).turns.mine():
        page = get(handler).body.decode()
    assert "claims are still to be checked" in page
    assert page.count('<span class="verdict">to be checked</span>') >= 20
    assert "DeepSeek-R1 is the most liked model" in page  # unchecked, but named
    settled()
    page = get(handler).body.decode()
    assert "still to be checked" not in page
    assert "to be checked</span>" not in page


def test_what_ends_the_checking_of_claims_is_told_once_and_tried_again(
    get: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(*_: object, **__: object) -> None:
        raise Corrupt("torn")

    monkeypatch.setattr(asking, "check", damaged)
    get(observe.claims)
    settled()
    monkeypatch.undo()
    with pytest.raises(Corrupt, match="torn"):
        get(observe.claims)
    get(observe.claims)
    settled()
    assert "still to be checked" not in get(observe.claims).body.decode()


def test_work_that_nobody_waits_for_lets_those_who_wait_go_first() -> None:
    turns, order = asking.Turns(waiting_max=1), []

    def asks() -> None:
        with turns.mine():
            order.append("asked")

    def works() -> None:
        with turns.spare():
            order.append("worked")

    first, second = threading.Thread(target=asks), threading.Thread(target=works)
    with turns.mine():
        first.start()
        while not turns.waiting:
            pass
        second.start()
    first.join()
    second.join()
    assert order == ["asked", "worked"]


def test_whoever_finds_others_asking_is_told_to_come_back(get: Callable[..., Answer], rooms: Any) -> None:
    turns = asking.desk(rooms, NOBODY).turns
    turns.wait_s = 0.01
    get(observe.one_question, "population=tiny", question="licences")
    with turns.mine():
        assert get(observe.one_question, "population=tiny", question="licences").status == 200  # known: no turn
        busy = get(observe.one_question, "population=tiny&top=3", question="licences")
        assert (busy.status, busy.headers["Retry-After"]) == (503, "10")
        assert "ask again in a moment" in busy.body.decode()
        assert "still to be checked" in get(observe.index).body.decode()
    assert get(observe.one_question, "population=tiny&top=3", question="licences").status == 200


def test_no_more_wait_for_their_turn_than_may() -> None:
    with pytest.raises(Unavailable), asking.Turns(waiting_max=0).mine():
        pass


def test_an_answer_that_left_the_cache_is_asked_again(get: Callable[..., Answer], rooms: Any) -> None:
    first = get(observe.one_question, "population=tiny", question="licences").body
    shutil.rmtree(asking.desk(rooms, NOBODY).world.cache)
    assert get(observe.one_question, "population=tiny", question="licences").body == first


def test_hostile_texts_are_escaped_wherever_they_come_from(get: Callable[..., Answer]) -> None:
    page = get(observe.one_question, "licence=%3Cscript%3Ealert(1)%3C%2Fscript%3E", question="licences").body.decode()
    assert EVIL not in page


def test_empty_fields_of_the_form_leave_the_address(get: Callable[..., Answer]) -> None:
    answer = get(observe.one_question, "population=&attribution=uploader&window=", question="downloads-by-country")
    assert (answer.status, answer.headers["Location"]) == (
        303,
        "/base/observatory/questions/downloads-by-country?attribution=uploader",
    )


@pytest.mark.parametrize("query", ["nope=1", "population=nobody", "window=forever", "age_days_max=-1", "by=%00"])
def test_a_choice_that_can_not_be_made_says_why_beside_the_form(get: Callable[..., Answer], query: str) -> None:
    answer = get(observe.one_question, query, question="downloads-by-country")
    page = answer.body.decode()
    assert answer.status == 400
    assert 'role="alert"' in page
    assert '<form class="choices"' in page


def test_an_unknown_question_is_not_found(get: Callable[..., Answer]) -> None:
    with pytest.raises(EntryMissing):
        get(observe.one_question, question="nope")


def test_a_picture_can_run_nothing(get: Callable[..., Answer]) -> None:
    pytest.importorskip("vl_convert")
    answer = get(observe.picture, "population=tiny", look="dark-narrow", file="downloads-by-country.svg")
    assert answer.body.startswith(b"<svg")
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert b'"mark"' in get(observe.picture, look="light-wide", file="downloads-by-country.json").body


@pytest.mark.parametrize(("look", "file"), [("pink-wide", "a.svg"), ("dark-wide", "a.exe"), ("dark", "a.svg")])
def test_no_other_pictures_are_offered(get: Callable[..., Answer], look: str, file: str) -> None:
    with pytest.raises(NotOffered):
        get(observe.picture, look=look, file=file)
