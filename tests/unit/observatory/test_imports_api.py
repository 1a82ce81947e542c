"""The list API over the real HTTP client: a hub made here that misbehaves on order, and Headwater itself."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import uvicorn
from sqlalchemy import insert, update

from headwater.app import make_app, open_rooms, prepare
from headwater.catalog.tables import catalog, download, standing
from headwater.front.protocol import uvicorn_options
from headwater.front.rooms import Rooms
from headwater.ground import names
from headwater.ground.clock import FixedClock
from headwater.ground.errors import Conflict, Invalid, UpstreamFailed
from headwater.ground.settings import Settings
from headwater.observatory.imports import listing_api
from headwater.observatory.imports.door import Report, import_source, snapshot_own
from headwater.observatory.imports.job import Options, Silent
from headwater.observatory.run import run
from headwater.observatory.world import World

Reply = tuple[int, dict[str, str], Any]
Rows = list[dict[str, Any]]


class FixedPace:
    """Time that passes only by waiting."""

    def __init__(self) -> None:
        self.at = datetime.fromisoformat("2026-11-21T12:00:00")
        self.waited: list[float] = []

    def now(self) -> datetime:
        return self.at

    def wait(self, seconds: float) -> None:
        self.waited.append(seconds)
        self.at += timedelta(seconds=seconds)


class FakeHub:
    """Serves numbered pages of models; `plan` answers instead where it has something to say."""

    def __init__(self, pages: list[Rows]) -> None:
        self.pages = pages
        self.asked: list[dict[str, list[str]]] = []
        self.plan: Callable[[int, dict[str, list[str]]], Reply | None] = lambda _count, _query: None
        self.url = ""

    def answer(self, target: str) -> Reply:
        query = parse_qs(urlsplit(target).query)
        self.asked.append(query)
        planned = self.plan(len(self.asked), query)
        if planned is not None:
            return planned
        number = int(query.get("cursor", ["0"])[0])
        following = f'<{self.url}/api/models?cursor={number + 1}>; rel="next"'
        return 200, {"Link": following} if number + 1 < len(self.pages) else {}, self.pages[number]


@contextmanager
def serving(hub: FakeHub) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, headers, value = hub.answer(self.path)
            body = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            for name, text in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, text)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub.url
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def model(number: int) -> dict[str, Any]:
    return {"id": f"a/m{number}", "createdAt": "2026-01-01T00:00:00.000Z", "likes": number}


@pytest.fixture
def pace(monkeypatch: pytest.MonkeyPatch) -> FixedPace:
    made = FixedPace()
    monkeypatch.setattr(listing_api, "RealPace", lambda: made)
    return made


@pytest.fixture
def hub(pace: FixedPace) -> Iterator[FakeHub]:
    made = FakeHub([[model(0), model(1)], [model(2)], [model(3)]])
    with serving(made):
        yield made


def read(world: World, url: str) -> Report:
    (report,) = import_source(world, url, Options(), Silent())
    return report


def test_all_pages_become_one_snapshot_of_the_day(world: World, hub: FakeHub) -> None:
    report = read(world, hub.url)
    assert (report.rows, report.date) == ({"model": 4}, "2026-11-21")
    assert report.name == hub.url.removeprefix("http://").replace(":", "-")
    assert world.snapshots()[0].manifest.url == hub.url
    assert {"baseModels", "downloadsAllTime", "safetensors"} <= set(hub.asked[0]["expand"])
    assert not list((world.root / "fetch").iterdir())


def test_the_same_list_on_the_same_day_is_one_snapshot(world: World, hub: FakeHub) -> None:
    assert not read(world, hub.url).already
    assert read(world, hub.url).already


def test_filters_of_the_address_are_kept_and_name_another_source(world: World, hub: FakeHub) -> None:
    report = read(world, f"{hub.url}/api/models?author=Qwen&limit=5&cursor=2")
    assert hub.asked[0]["author"] == ["Qwen"]
    assert hub.asked[0]["limit"] == ["1000"]
    assert report.name != read(world, hub.url).name


def test_a_fetch_that_was_cut_off_goes_on_where_it_was(world: World, hub: FakeHub) -> None:
    hub.plan = lambda _count, query: (404, {}, b"") if query.get("cursor") == ["2"] else None
    with pytest.raises(UpstreamFailed, match="404"):
        read(world, hub.url)
    assert world.snapshots() == []
    before = len(hub.asked)
    hub.plan = lambda _count, _query: None
    assert read(world, hub.url).rows == {"model": 4}
    assert [query.get("cursor") for query in hub.asked[before:]] == [["2"]]


def test_an_old_beginning_is_not_gone_on_with(world: World, hub: FakeHub, pace: FixedPace) -> None:
    hub.plan = lambda _count, query: (404, {}, b"") if query.get("cursor") == ["2"] else None
    with pytest.raises(UpstreamFailed):
        read(world, hub.url)
    pace.at += timedelta(days=4)
    hub.plan = lambda _count, _query: None
    before = len(hub.asked)
    assert read(world, hub.url).date == "2026-11-25"
    assert len(hub.asked) - before == 3


def test_a_lost_cursor_begins_anew(world: World, hub: FakeHub) -> None:
    hub.plan = lambda count, query: (400, {}, b"bad cursor") if count == 3 else None
    assert read(world, hub.url).rows == {"model": 4}
    assert [query.get("cursor") for query in hub.asked] == [None, ["1"], ["2"], None, ["1"], ["2"]]


def test_a_hub_that_knows_fewer_fields_is_asked_for_fewer(world: World, hub: FakeHub) -> None:
    hub.plan = lambda _count, query: (400, {}, b"unknown expand") if "baseModels" in query.get("expand", []) else None
    assert read(world, hub.url).rows == {"model": 4}
    assert "baseModels" not in hub.asked[1]["expand"]


@pytest.mark.parametrize(
    ("headers", "waited"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "Sat, 21 Nov 2026 12:00:30 GMT"}, 30.0),
        ({"RateLimit": '"api";r=0;t=55'}, 55.0),
        ({}, listing_api.BACKOFF_S),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_a_hub_that_asks_for_patience_gets_it(
    world: World, hub: FakeHub, pace: FixedPace, headers: dict[str, str], waited: float, status: int
) -> None:
    hub.plan = lambda count, _query: (status, headers, b"") if count == 2 else None
    assert read(world, hub.url).rows == {"model": 4}
    assert pace.waited == [waited]


def test_a_limit_that_is_used_up_is_waited_for_before_the_next_page(
    world: World, hub: FakeHub, pace: FixedPace
) -> None:
    link = {"Link": "<?cursor=1>; rel=next", "RateLimit": '"api";r=0;t=12', "RateLimit-Policy": '"fixed window";q=500'}
    hub.plan = lambda count, _query: (200, link, [model(9)]) if count == 1 else None
    assert read(world, hub.url).rows == {"model": 3}
    assert pace.waited == [12.0]


def test_a_hub_that_asks_for_an_hour_is_left_for_later(world: World, hub: FakeHub, pace: FixedPace) -> None:
    hub.plan = lambda _count, _query: (429, {"Retry-After": "3600"}, b"")
    with pytest.raises(UpstreamFailed, match=r"3600 s.*goes on"):
        read(world, hub.url)
    assert pace.waited == []


def test_a_hub_that_never_answers_well_is_given_up(world: World, hub: FakeHub, pace: FixedPace) -> None:
    hub.plan = lambda _count, _query: (500, {}, b"")
    with pytest.raises(UpstreamFailed, match="run the import again"):
        read(world, hub.url)
    assert len(pace.waited) == listing_api.TRIES_MAX


@pytest.mark.parametrize(
    "reply",
    [
        (200, {}, b"<html>"),
        (200, {}, {"error": "x"}),
        (200, {}, b"[" * 100_000),
        (302, {"Location": "https://elsewhere.example/api/models"}, b""),
        (200, {"Link": '<https://elsewhere.example/?cursor=1>; rel="next"'}, [model(1)]),
        (200, {"Link": '<file:///etc/passwd>; rel="next"'}, [model(1)]),
        (200, {"Link": '<?cursor=1>; rel="next"'}, [model(1)]),
        (302, {"Location": "/api/models"}, b""),
        (401, {}, b""),
    ],
    ids=["html", "object", "deep", "redirect", "link", "file", "circle", "redirects", "denied"],
)
def test_nonsense_from_a_hub_is_a_clear_error(world: World, hub: FakeHub, reply: Reply) -> None:
    hub.plan = lambda _count, _query: reply
    with pytest.raises(UpstreamFailed):
        read(world, hub.url)
    assert world.snapshots() == []


def test_a_page_beyond_all_bounds_is_refused(world: World, hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing_api, "PAGE_BYTES_MAX", 10)
    with pytest.raises(UpstreamFailed, match="more than 10 bytes"):
        read(world, hub.url)


def test_an_empty_list_is_no_snapshot(world: World, hub: FakeHub) -> None:
    hub.pages = [[]]
    with pytest.raises(Invalid, match="no models"):
        read(world, hub.url)


def test_nobody_at_the_address_is_a_clear_error(world: World, pace: FixedPace) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(UpstreamFailed):
            read(world, address)


@pytest.mark.parametrize("address", ["https://", "http://user:secret@hub.example", "http://[", "http://x:99999999"])
def test_an_address_that_is_none_is_refused(world: World, address: str) -> None:
    with pytest.raises(Invalid):
        read(world, address)


def test_two_processes_do_not_read_one_list(world: World, hub: FakeHub) -> None:
    with (
        listing_api.fetched(world, hub.url, Silent()),
        pytest.raises(Conflict, match="another process"),
        listing_api.fetched(world, hub.url, Silent()),
    ):
        pass


# --- Headwater itself ---


@pytest.fixture(scope="module")
def listening() -> Iterator[socket.socket]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()  # from here on a client is only kept waiting
        yield sock


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory, listening: socket.socket) -> Iterator[Rooms]:
    """A hub with two public models, one of them derived from the other, and a private one."""
    data = tmp_path_factory.mktemp("hub") / "data"
    opened = open_rooms(
        Settings(data=str(data), public_url=f"http://127.0.0.1:{listening.getsockname()[1]}"),
        FixedClock(1_795_262_400_000),
    )
    prepare(opened)
    opened.accounts.create_user("ada", "Ada", "", None)
    actor = opened.accounts.actor_again(opened.accounts.namespace("ada").id, None)
    ids = {
        name: opened.repos.registry.create(actor, names.repo_id("model", f"ada/{name}"), private).repo.id
        for name, private in (("base", False), ("tuned", False), ("secret", True))
    }
    opened.index.rebuild(lambda *_: None)
    with opened.db.write() as connection:
        card = json.dumps({"license": "mit", "base_model": "ada/base", "base_model_relation": "finetune"})
        tags = json.dumps(["license:mit", "base_model:ada/base", "base_model:finetune:ada/base"])
        shown = {"card": card, "tags": tags, "pipeline_tag": "text-generation", "used_storage": 77}
        connection.execute(update(catalog).where(catalog.c.repo_id == ids["tuned"]).values(shown))
        counted = {"downloads": 30, "downloads_all": 42}
        connection.execute(update(standing).where(standing.c.repo_id == ids["tuned"]).values(counted))
        today = opened.clock.now_ms() // 86_400_000
        for name, day, count, clients in (
            ("tuned", 0, 12, 0),
            ("tuned", today - 1, 20, 3),
            ("tuned", today, 10, 2),
            ("secret", today, 99, 9),
        ):
            row = {"repo_id": ids[name], "day": day, "count": count, "clients": clients}
            connection.execute(insert(download), row)
    yield opened
    opened.db.close()


@pytest.fixture(scope="module")
def served(rooms: Rooms, listening: socket.socket) -> Iterator[str]:
    """Headwater on a socket, in a thread."""
    app = make_app(rooms)
    server = uvicorn.Server(uvicorn.Config(app, **uvicorn_options(rooms.settings)))
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    yield rooms.settings.base_url
    server.should_exit = True
    thread.join()
    app.close()


def models_of(world: World) -> Rows:
    sql = (
        "select id, author, downloads_30d as d, downloads_all as a, license, pipeline_tag as p, storage_bytes as s, "
        "gated, private from model order by id"
    )
    rows: Rows = run(world, sql, (), world.snapshots()).to_pylist()
    return rows


def edges_of(world: World) -> Rows:
    rows: Rows = run(world, "select child, base, relation from edge", (), world.snapshots()).to_pylist()
    return rows


def test_headwaters_own_list_is_read_like_any_other_hubs(world: World, served: str) -> None:
    report = read(world, served)
    assert report.rows == {"model": 2, "edge": 1}
    base, tuned = models_of(world)
    assert (base["id"], base["private"]) == ("ada/base", False)
    assert (tuned["d"], tuned["a"], tuned["license"], tuned["p"], tuned["s"]) == (30, 42, "mit", "text-generation", 77)
    assert edges_of(world) == [{"child": "ada/tuned", "base": "ada/base", "relation": "finetune"}]


def test_pages_of_headwaters_list_are_followed(world: World, served: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing_api, "PAGE_MODELS", 1)
    assert read(world, served).rows["model"] == 2


def test_a_snapshot_of_this_hub_says_the_same_and_has_its_days(world: World, rooms: Rooms) -> None:
    report = snapshot_own(world, rooms.db, rooms.clock.now_ms(), Options(), Silent())
    assert (report.name, report.date) == ("own", "2026-11-21T12:00:00")
    assert report.rows == {"model": 2, "edge": 1, "count": 2, "event_day": 2}
    assert [(row["id"], row["d"], row["a"]) for row in models_of(world)][1] == ("ada/tuned", 30, 42)
    assert edges_of(world) == [{"child": "ada/tuned", "base": "ada/base", "relation": "finetune"}]
    days = run(world, "select id, downloads_hub as d, clients from event_day order by day", (), world.snapshots())
    assert days.to_pylist() == [{"id": "ada/tuned", "d": 20, "clients": 3}, {"id": "ada/tuned", "d": 10, "clients": 2}]
    counts = run(
        world, "select downloads_all as a, change_only as c from count order by counted_at", (), world.snapshots()
    )
    assert counts.to_pylist() == [{"a": 32, "c": True}, {"a": 42, "c": True}]


def test_nothing_private_is_in_a_snapshot_of_this_hub(world: World, rooms: Rooms) -> None:
    snapshot_own(world, rooms.db, rooms.clock.now_ms(), Options(), Silent())
    for file in world.snapshots()[0].folder.iterdir():
        assert b"secret" not in file.read_bytes()
    for table in ("model", "event_day", "count", "edge"):
        assert "secret" not in str(run(world, f"select * from {table}", (), world.snapshots()).to_pylist())


def test_a_snapshot_of_an_unchanged_hub_in_the_same_minute_is_the_same(world: World, rooms: Rooms) -> None:
    first = snapshot_own(world, rooms.db, rooms.clock.now_ms(), Options(), Silent())
    again = snapshot_own(world, rooms.db, rooms.clock.now_ms(), Options(), Silent())
    assert (first.snapshot, again.already) == (again.snapshot, True)
