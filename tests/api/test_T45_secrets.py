"""No token, ticket, cookie or password ends up where somebody else could read it (T45).

A canary of each kind is sent through every door, right ones and wrong ones; then all that the hub wrote is searched:
its log, its answers to errors, its events and its whole database.
"""

from __future__ import annotations

import io
import sqlite3
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import structlog
from asgi_hub import Answer, Hub, noise, sha
from conftest import PASSWORD
from xet_files import with_xet, xet_file

from headwater.ground import log as ground_log


@dataclass
class Written:
    """What the hub wrote while it was asked."""

    log: io.StringIO
    secrets: dict[str, str]
    errors: list[tuple[str, Answer]] = field(default_factory=list)
    headers: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def log_lines() -> Iterator[io.StringIO]:
    """The hub's log as `serve` writes it, with everything that is done to a line on the way."""
    before = structlog.get_config()
    ground_log.configure("debug", as_json=True)
    processors = structlog.get_config()["processors"]
    structlog.configure(**before)
    text = io.StringIO()
    logger = structlog.wrap_logger(
        structlog.WriteLogger(text),
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(0),
        cache_logger_on_first_use=False,
    )
    with pytest.MonkeyPatch.context() as patched:
        for module in [m for name, m in sys.modules.items() if name.startswith("headwater.")]:
            if getattr(module, "log", None) is ground_log.log and module is not ground_log:
                patched.setattr(module, "log", logger)
        yield text


def canaries(hub: Hub, repo: str) -> dict[str, str]:
    data = noise("announced", 300)
    upload = hub.upload_address(repo, data).partition("ticket=")[2]
    file = xet_file(noise("fetched", 20_000))
    with_xet(hub, repo, "x.bin", file)
    read, write = hub.xet(repo), hub.xet(repo, "write")
    plan = hub.ok("GET", f"/xet/v1/reconstructions/{file.name}", read).json
    browser = hub.session("ada")
    return {
        "token": hub.token("ada"),
        "read-only token": hub.token("ada", "read"),
        "revoked token": hub.revoked_token("ada"),
        "expired token": hub.expired_token("ada"),
        "mistyped token": "hf_" + "mistypedByItsOwner" * 2,
        "upload ticket": upload,
        "xet read token": read,
        "xet write token": write,
        "range ticket": next(iter(plan["fetch_info"].values()))[0]["url"].rpartition("/")[2],
        "cookie": browser["cookie"].partition("=")[2],
        "csrf": browser["x-csrf-token"],
        "link": hub.rooms.accounts.make_signin_link(hub.actor("ada").user_id or 0),
        "password": PASSWORD,
    }


def requests(hub: Hub, repo: str, secret: str, *accepts: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Each place of a request in which a secret may come, rightly or by mistake."""
    oid = sha(noise("announced", 300))
    bearer = {"authorization": f"Bearer {secret}"}
    for how in (
        bearer,
        {"authorization": f"Basic {secret}"},
        {"authorization": f"Token {secret}"},
        {"authorization": secret},
        {"cookie": f"headwater_session={secret}"},
        {"cookie": f"headwater_session={secret}; other={secret}", "x-csrf-token": secret},
    ):
        for accept in accepts:
            headers = {**how, "accept": accept, "referer": f"http://hub.test/login/link/{secret}"}
            yield "GET", f"/{repo}/resolve/main/no-such", {"headers": headers}
            yield "GET", "/api/whoami-v2", {"headers": headers}
            yield "POST", "/api/repos/create", {"headers": headers, "json": {"name": "a b"}}
            yield "POST", hub.api(repo, "/commit/main"), {"headers": headers, "body": b"{"}
            yield "GET", f"/xet/v1/reconstructions/{'a' * 64}", {"headers": headers}
            yield "POST", "/xet/v2/shards", {"headers": headers, "body": b"no shard"}
    for accept in accepts:
        headers = {"accept": accept}
        yield "PUT", f"/lfs/{oid}?ticket={secret}", {"headers": headers, "body": b"wrong"}
        yield "GET", f"/lfs/{oid}?ticket={secret}", {"headers": headers}
        yield "GET", f"/xet/fetch/{secret}", {"headers": {**headers, "range": "bytes=9999999-"}}
        yield "PUT", f"/xet/v1/xorb-puts/{oid}?ticket={secret}", {"headers": headers, "body": b"wrong"}
        yield "POST", "/login/link", {"headers": headers, "json": {"secret": secret + "x"}}
        yield "POST", "/login", {"headers": headers, "json": {"name": "sam", "password": secret}}
        yield "GET", "/no/such/page?token=" + secret, {"headers": headers}
        yield "GET", "/api/models?sig=" + secret + "&sort=wrong", {"headers": headers}


@pytest.fixture(scope="module")
def hub(new_hub: Callable[..., Hub]) -> Hub:
    return new_hub(signin_tries_max=10_000)


@pytest.fixture(scope="module")
def written(hub: Hub, log_lines: io.StringIO) -> Written:
    repo = hub.repo("ada", private=True)
    made = Written(log_lines, canaries(hub, repo))
    for what, secret in made.secrets.items():
        if what == "password":
            continue
        for method, path, more in requests(hub, repo, secret, "*/*", "text/html"):
            answer = hub.send(method, path, **more)
            made.headers += answer.headers.values()
            if answer.status >= 400:
                made.errors.append((f"{method} {path} {more}", answer))
    hub.post("/login", json={"name": "ada", "password": PASSWORD + "!"})
    hub.post("/login", json={"name": "ada", "password": PASSWORD})
    return made


def broken(hub: Hub, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Every read of a repo fails from now on, with an error whose text has a secret in it."""

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(type(hub.rooms.repos.registry), "open", fail)
    monkeypatch.setattr(type(hub.rooms.accounts), "actor_by_token", fail)
    monkeypatch.setattr(type(hub.rooms.accounts), "actor_by_session", fail)
    monkeypatch.setattr(type(hub.rooms.accounts), "use_signin_link", fail)


def test_T45_no_secret_stands_in_an_answer_to_an_error(hub: Hub, written: Written) -> None:
    assert len(written.errors) > 300
    leaks = [
        (what, request[:160])
        for request, answer in written.errors
        for what, secret in written.secrets.items()
        if secret in answer.text or any(secret in value for value in answer.headers.values())
    ]
    # a page carries the CSRF secret of its own browser in its forms; nothing else does
    assert [leak for leak in leaks if leak[0] != "csrf"] == []


def test_T45_no_secret_stands_in_a_redirect_or_another_header(hub: Hub, written: Written) -> None:
    assert [what for what, secret in written.secrets.items() for value in written.headers if secret in value] == []


def test_T45_no_secret_stands_in_the_log(hub: Hub, written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    for what in ("token", "upload ticket", "xet write token", "range ticket", "cookie", "link"):
        secret = written.secrets[what]
        by_url = f"could not ask http://user:{secret}@db/?token={secret}"
        with monkeypatch.context() as patched:
            broken(hub, patched, RuntimeError(f"{by_url} with {secret}" if what == "token" else by_url))
            for method, path, more in requests(hub, "ada/any", secret, "*/*"):
                assert hub.send(method, path, **more).status != 200
    said = written.log.getvalue()
    assert said.count('"event": "bug"') > 50  # what was broken was logged
    assert [what for what, secret in written.secrets.items() if secret in said] == []


def test_T45_no_secret_is_kept_in_the_database(hub: Hub, written: Written) -> None:
    with sqlite3.connect(hub.data / "headwater.sqlite") as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        dump = "\n".join(connection.iterdump())
    connection.close()
    assert "hint" in dump  # it is the right database
    kept = [what for what, secret in written.secrets.items() if secret in dump]
    assert kept == ["csrf"]  # which is worth nothing without its cookie


def test_T45_events_name_people_and_tokens_by_number_and_name(hub: Hub, written: Written) -> None:
    with sqlite3.connect(hub.data / "headwater.sqlite") as connection:
        rows = " ".join(row[0] for row in connection.execute("SELECT data FROM event"))
    connection.close()
    assert '"name":"made' in rows
    assert [what for what, secret in written.secrets.items() if secret in rows] == []
    assert "example.org" not in rows


def test_T45_a_new_token_is_shown_once(hub: Hub) -> None:
    browser = hub.session("ada")
    form = {**browser, "content-type": "application/x-www-form-urlencoded"}
    made = hub.post("/settings/tokens", headers=form, body=b"name=shown&role=write&days=")
    secret = made.text[made.text.index("hf_") :][:43]
    assert hub.get("/api/whoami-v2", secret).status == 200
    assert made.headers["cache-control"] == "private, no-store"
    assert secret not in hub.get("/settings/tokens", headers=browser).text


def test_T45_addresses_with_secrets_send_no_referrer(hub: Hub) -> None:
    link = hub.rooms.accounts.make_signin_link(hub.actor("ada").user_id or 0)
    assert hub.get(f"/login/link/{link}").headers["referrer-policy"] in ("no-referrer", "strict-origin")
    assert hub.get("/api/models").headers["referrer-policy"] == "no-referrer"
    repo = hub.repo("ada", private=True)
    assert hub.get(hub.api(repo, "/xet-read-token/main"), "ada").headers["cache-control"] == "no-store"


def test_T45_a_bug_is_told_by_its_number_alone(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    broken(hub, monkeypatch, RuntimeError("/secret/path and SELECT secret"))
    answer = hub.get("/api/models/ada/any")
    assert (answer.status, answer.code) == (500, "InternalError")
    assert (
        answer.error
        == f"The hub made a mistake; its log names it under the request id {answer.headers['x-request-id']}"
    )
    page = hub.get("/ada/any", headers={"accept": "text/html"})
    assert page.status == 500
    assert "secret" not in page.text
    assert page.headers["x-request-id"] in page.text
