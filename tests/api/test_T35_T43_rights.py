"""Rights that are too small, too old or for something else: refused by every door, at the next request."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from asgi_hub import URL, Answer, Hub, copied, inline, lfs_file, noise, sha
from sqlalchemy import update
from xet_files import post_shard, post_xorb, with_xet, xet_file

from headwater.accounts import Accounts
from headwater.accounts.tables import token as token_table
from headwater.accounts.tickets import load_secret
from headwater.front.routes import ROUTES
from headwater.ground.clock import FixedClock
from headwater.ground.db import Database

PART = 1024


@pytest.fixture(scope="module")
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture(scope="module")
def hub(new_hub: Callable[..., Hub], clock: FixedClock) -> Hub:
    return new_hub(clock, lfs_part_size=PART)


@pytest.fixture(scope="module")
def elsewhere(hub: Hub) -> Iterator[Accounts]:
    """`headwater admin` beside the running hub: another process, which tells it nothing."""
    db = Database(hub.data / "headwater.sqlite")
    yield Accounts(db, hub.rooms.clock, hub.rooms.settings, load_secret(hub.data))
    db.close()


# --- T35: objects belong to the repo of the address ---


def test_T35_a_commit_of_another_repo_is_no_revision_of_this_one(hub: Hub) -> None:
    mine, theirs = hub.repo("sam"), hub.repo("ada", private=True)
    foreign = hub.committed(theirs, {"secret.txt": b"secret"})
    for revision in (foreign, foreign[:12]):
        for address in (
            f"/{mine}/resolve/{revision}/secret.txt",
            hub.api(mine, f"/revision/{revision}"),
            hub.api(mine, f"/tree/{revision}"),
            hub.api(mine, f"/commits/{revision}"),
            hub.api(mine, f"/compare/main..{revision}"),
            hub.api(mine, f"/xet-read-token/{revision}"),
            f"/{mine}/blob/{revision}/secret.txt",
        ):
            assert (hub.get(address, "sam").status, hub.get(address, "sam").code) == (404, "RevisionNotFound")
        for address, body in (
            (f"/branch/b{revision}", {"startingPoint": revision}),
            (f"/tag/{revision}", {"tag": "t"}),
        ):
            assert hub.post(hub.api(mine, address), "sam", json=body).code == "RevisionNotFound"
    assert hub.commit(mine, [copied("secret.txt", "s", foreign)], "sam").code == "RevisionNotFound"
    assert hub.get(hub.api(mine, f"/commits/main?cursor={foreign}"), "sam").status == 400
    assert hub.commit(mine, {"a": b""}, "sam", parentCommit=foreign).status == 412


def test_T35_a_token_is_revoked_by_its_owner_alone(hub: Hub) -> None:
    number, secret = hub.new_token("ada")
    answer = hub.post("/settings/tokens/revoke", headers=hub.session("sam"), json={"id": str(number)})
    assert answer.status == 404
    assert hub.get("/api/whoami-v2", secret).status == 200
    assert hub.post("/settings/tokens/revoke", headers=hub.session("ada"), json={"id": str(number)}).status == 303
    assert hub.get("/api/whoami-v2", secret).status == 401


def test_T35_large_files_are_deleted_in_the_repo_of_the_address(hub: Hub) -> None:
    mine, theirs, data = hub.repo("sam"), hub.repo("ada"), noise("not yours", 3000)
    hub.with_lfs(theirs, "m.bin", data)
    asked = {"deletions": {"sha": [sha(data)], "rewriteHistory": True}}
    hub.post(hub.api(mine, "/lfs-files/batch"), "sam", json=asked)
    assert hub.get(f"/{theirs}/resolve/main/m.bin").body == data


def test_T35_a_xet_token_of_one_repo_reads_nothing_of_another(hub: Hub) -> None:
    mine, theirs = hub.repo("ada"), hub.repo("ada", private=True)
    file = xet_file(noise("of one repo", 40_000))
    with_xet(hub, theirs, "x.bin", file)
    token = hub.xet(mine)
    assert hub.get(f"/xet/v1/reconstructions/{file.name}", token).status == 404
    assert hub.get(f"/xet/v1/reconstructions/{file.name}", hub.xet(theirs)).status == 200


# --- T36: a read token cannot write through any door (the matrix tries every route; here, by way of others) ---


def test_T36_a_read_token_opens_no_pull_request(hub: Hub) -> None:
    repo, only_read = hub.repo("ada"), hub.token("ada", "read")
    assert hub.commit(repo, {"a": b""}, only_read, query="?create_pr=1").status == 403
    assert hub.get(hub.api(repo, "/xet-write-token/main?create_pr=1"), only_read).status == 403
    assert hub.ok("GET", hub.api(repo, "/refs?include_prs=1")).json["pullRequests"] == []


def test_T36_a_read_token_gets_no_upload_address(hub: Hub) -> None:
    repo, only_read = hub.repo("ada"), hub.token("ada", "read")
    assert hub.batch(repo, [("a" * 64, 5)], only_read).status == 403
    assert hub.get(f"/{repo}.git/info/refs?service=git-receive-pack", only_read).status == 403
    basic = {"authorization": "Basic " + base64.b64encode(f"hf_user:{only_read}".encode()).decode()}
    assert hub.post(f"/{repo}.git/git-receive-pack", headers=basic, body=b"0000").status == 403


def test_T36_a_token_that_became_a_read_token_writes_no_more_by_what_it_had_got(hub: Hub) -> None:
    repo, file, data = hub.repo("ada"), xet_file(noise("granted", 30_000)), noise("announced", 100)
    number, secret = hub.new_token("ada")
    xet, address = hub.xet(repo, "write", secret), hub.upload_address(repo, data, secret)
    asked = {"length": len(file.data)}
    grant = hub.ok("POST", f"/xet/v1/xorb-grants/default/{file.xorbs[0].name}", xet, json=asked).json
    with hub.rooms.db.write() as connection:
        connection.execute(update(token_table).where(token_table.c.id == number).values(role="read"))
    assert hub.send("PUT", address, body=data).status == 403
    assert hub.send("PUT", hub.local(grant["url"]), body=file.xorbs[0].serialised()).status == 403
    assert post_xorb(hub, xet, file.xorbs[0]).status == 403
    assert post_shard(hub, xet, file).status == 403
    assert hub.get(f"/xet/v1/reconstructions/{file.name}", xet).status == 404  # reading it still may


def test_T36_a_token_makes_no_token(hub: Hub) -> None:
    answer = hub.post("/settings/tokens", "ada", json={"name": "more", "role": "write"})
    assert answer.status == 403
    assert b"hf_" not in answer.body


# --- T37, T38: rights that went ---


class Held:
    """All that a member of acme got while he was one, for a private repo of it."""

    def __init__(self, hub: Hub, who: str) -> None:
        self.hub, self.who = hub, who
        self.repo = hub.repo("ada", owner="acme", private=True)
        self.data, self.file = noise(self.repo, 3000), xet_file(noise(self.repo + "x", 30_000))
        hub.with_lfs(self.repo, "m.bin", self.data)
        with_xet(hub, self.repo, "x.bin", self.file)
        self.token = hub.token(who)
        self.session = hub.session(who)
        self.read, self.write = hub.xet(self.repo, "read", self.token), hub.xet(self.repo, "write", self.token)
        plan = hub.ok("GET", f"/xet/v1/reconstructions/{self.file.name}", self.read).json
        self.fetch = hub.local(next(iter(plan["fetch_info"].values()))[0]["url"])
        listed = hub.batch(self.repo, [(sha(self.data), 3000)], self.token, operation="download").json["objects"][0]
        self.download = hub.local(listed["actions"]["download"]["href"])
        self.new = noise(self.repo + "new", 3 * PART)
        asked = hub.batch(self.repo, [(sha(self.new), len(self.new))], self.token, transfers=["multipart"]).json
        self.upload: dict[str, Any] = asked["objects"][0]["actions"]
        grant = hub.ok("POST", f"/xet/v1/xorb-grants/default/{'b' * 64}", self.write, json={"length": 9}).json
        self.grant = hub.local(grant["url"])

    def tried(self, *, by_token: bool = True) -> dict[str, Answer]:
        hub, repo = self.hub, self.repo
        part = self.upload["upload"]["header"]["1"]
        found = {
            "read token": hub.get(f"/xet/v1/reconstructions/{self.file.name}", self.read),
            "write token": post_xorb(hub, self.write, self.file.xorbs[0]),
            "shard": post_shard(hub, self.write, self.file),
            "range": hub.get(self.fetch),
            "download": hub.get(self.download),
            "part": hub.send("PUT", hub.local(part), body=self.new[:PART]),
            "complete": hub.post(hub.local(self.upload["upload"]["href"]), json={"parts": []}),
            "verify": hub.post(hub.local(self.upload["verify"]["href"]), json={"oid": sha(self.new), "size": 1}),
            "grant": hub.send("PUT", self.grant, body=b"x"),
        }
        if by_token:
            found |= {
                "resolve": hub.get(f"/{repo}/resolve/main/m.bin", self.token),
                "commit": hub.commit(repo, {"a": b""}, self.token),
                "git": hub.get(f"/{repo}.git/info/refs?service=git-upload-pack", self.token),
                "new xet token": hub.get(hub.api(repo, "/xet-read-token/main"), self.token),
            }
        return found

    def let_in(self) -> list[str]:
        """Which of them still work; what gets as far as to a question about the bytes does."""
        return [
            name
            for name, answer in self.tried().items()
            if answer.status not in (401, 403, 404) or answer.code == "EntryNotFound"
        ]


def test_T37_everything_works_while_he_is_a_member(hub: Hub) -> None:
    held = Held(hub, "wim")
    tried = {name: answer.status for name, answer in held.tried().items()}
    assert {name: tried.pop(name) for name in ("verify", "complete", "grant")} == {
        "verify": 404,
        "complete": 400,
        "grant": 400,
    }
    assert set(tried.values()) == {200}


def test_T38_leaving_the_organization_ends_every_grant_at_the_next_request(hub: Hub) -> None:
    held = Held(hub, "wim")
    hub.rooms.accounts.remove_member(hub.actor("ada"), "acme", "wim")
    try:
        assert held.let_in() == []
        assert hub.get(f"/{held.repo}/resolve/main/m.bin", headers=held.session).code == "RepoNotFound"
    finally:
        hub.rooms.accounts.set_member(hub.actor("ada"), "acme", "wim", "write")


def test_T37_a_revoked_token_ends_with_all_that_came_of_it(hub: Hub) -> None:
    held = Held(hub, "wim")
    number = next(one.id for one in hub.rooms.accounts.list_tokens(hub.actor("wim").user_id or 0))
    hub.rooms.accounts.revoke_token(hub.actor("wim"), number)
    assert held.let_in() == []
    assert hub.get(f"/{held.repo}/resolve/main/m.bin", headers=held.session).status == 200


def test_T37_a_disabled_user_is_out_everywhere(hub: Hub) -> None:
    held = Held(hub, "wim")
    hub.rooms.accounts.disable(hub.actor("root"), "wim")
    try:
        assert held.let_in() == []
        assert hub.get(f"/{held.repo}/resolve/main/m.bin", headers=held.session).status == 401
    finally:
        hub.rooms.accounts.enable(hub.actor("root"), "wim")


def test_T37_a_smaller_role_writes_no_more_and_reads_on(hub: Hub) -> None:
    held = Held(hub, "wim")
    hub.rooms.accounts.set_member(hub.actor("ada"), "acme", "wim", "read")
    try:
        tried = held.tried()
        refused = {name for name, answer in tried.items() if answer.status in (401, 403)}
        assert refused == {"commit"}  # bytes may be sent, by Xet or LFS: he may open a pull request with them
        assert {tried[name].status for name in ("resolve", "range", "download", "read token", "git")} == {200}
    finally:
        hub.rooms.accounts.set_member(hub.actor("ada"), "acme", "wim", "write")


def test_T37_a_repo_that_becomes_private_closes_for_whoever_held_addresses(hub: Hub) -> None:
    repo, file = hub.repo("ada"), xet_file(noise("was public", 30_000))
    with_xet(hub, repo, "x.bin", file)
    read = hub.xet(repo, as_="")
    plan = hub.ok("GET", f"/xet/v1/reconstructions/{file.name}", read).json
    fetch = hub.local(next(iter(plan["fetch_info"].values()))[0]["url"])
    listed = hub.batch(repo, [(file.sha256, len(file.data))], "", operation="download").json["objects"][0]
    download = hub.local(listed["actions"]["download"]["href"])
    assert (hub.get(fetch).status, hub.get(download).status) == (200, 200)
    hub.ok("PUT", hub.api(repo, "/settings"), "ada", json={"private": True})
    assert (hub.get(fetch).status, hub.get(download).status) == (403, 403)
    assert hub.get(f"/xet/v1/reconstructions/{file.name}", read).status in (401, 404)
    hub.ok("PUT", hub.api(repo, "/settings"), "ada", json={"private": False, "gated": "manual"})
    for address in (fetch, download):
        assert (hub.get(address).status, hub.get(address).code) == (403, "GatedRepo")


def test_T37_what_another_process_took_away_is_gone_within_five_seconds(
    hub: Hub, elsewhere: Accounts, clock: FixedClock
) -> None:
    held = Held(hub, "wim")
    assert held.let_in()
    elsewhere.remove_member(hub.actor("ada"), "acme", "wim")
    clock.advance(5.01)
    assert held.let_in() == []
    elsewhere.set_member(hub.actor("ada"), "acme", "wim", "write")
    clock.advance(5.01)
    assert "resolve" in held.let_in()
    number = next(one.id for one in hub.rooms.accounts.list_tokens(hub.actor("wim").user_id or 0))
    elsewhere.revoke_token(hub.actor("wim"), number)
    clock.advance(5.01)
    assert held.let_in() == []


def test_T37_a_token_expires_to_the_second_whatever_is_remembered(hub: Hub, clock: FixedClock) -> None:
    _, secret = hub.new_token("ada", expires_ms=clock.now_ms() + 1000)
    assert hub.get("/api/whoami-v2", secret).status == 200
    clock.advance(1)
    assert hub.get("/api/whoami-v2", secret).status == 401


# --- T43: tickets ---


def test_T43_an_upload_address_is_for_one_file_of_one_size_in_one_repo(hub: Hub) -> None:
    repo, data, other = hub.repo("ada"), noise("for this", 500), noise("for another", 500)
    address = hub.upload_address(repo, data)
    moved = address.replace(sha(data), sha(other))
    assert hub.send("PUT", moved, body=other).status == 403
    assert hub.send("PUT", address, body=other).status == 400
    assert hub.send("PUT", address, body=data + b"!").status == 400
    assert hub.get(address).status == 403  # an address to write to reads nothing
    ticket = address.partition("ticket=")[2]
    assert hub.send("PUT", f"/xet/v1/xorb-puts/{sha(data)}?ticket={ticket}", body=data).status == 403
    assert hub.get(f"/xet/fetch/{ticket}").status == 403
    assert hub.get(f"/xet/v1/reconstructions/{sha(data)}", ticket).status == 401
    assert hub.get("/api/whoami-v2", ticket).status == 401
    hub.ok("PUT", address, body=data)
    assert hub.commit(hub.repo("ada"), [lfs_file("m", sha(data), 500)]).status == 422  # held by the first repo only


def test_T43_a_download_address_writes_nothing_and_reads_one_file(hub: Hub) -> None:
    repo, data, other = hub.repo("ada", private=True), noise("read this", 500), noise("and not this", 500)
    for name, content in (("a", data), ("b", other)):
        hub.with_lfs(repo, name, content)
    listed = hub.batch(repo, [(sha(data), 500)], operation="download").json["objects"][0]
    address = hub.local(listed["actions"]["download"]["href"])
    assert hub.get(address).body == data
    assert hub.get(address.replace(sha(data), sha(other))).status == 403
    assert hub.send("PUT", address, body=data).status == 403
    assert hub.post(address.replace("?", "/complete?"), json={}).status == 403
    assert hub.post(address.replace("?", "/verify?"), json={"oid": sha(data), "size": 500}).status == 403


@pytest.mark.parametrize("where", range(0, 300, 23))
def test_T43_a_ticket_changed_in_any_place_is_refused(hub: Hub, where: int) -> None:
    repo, data = hub.repo("ada"), noise("forged", 500)
    address = hub.upload_address(repo, data)
    path, _, ticket = address.partition("ticket=")
    where %= len(ticket)
    forged = ticket[:where] + ("A" if ticket[where] != "A" else "B") + ticket[where + 1 :]
    assert hub.send("PUT", f"{path}ticket={forged}", body=data).status == 403
    for wrong in ("", ticket[:-1], ticket + "A", ticket * 40, "%00", "\N{DIGIT ONE}" * 50):
        assert hub.send("PUT", f"{path}ticket={wrong}", body=data).status in (400, 403)


def test_T43_a_ticket_ends_with_its_time(hub: Hub, clock: FixedClock) -> None:
    repo, data, file = hub.repo("ada"), noise("late", 500), xet_file(noise("late xet", 20_000))
    with_xet(hub, repo, "x.bin", file)
    address, xet = hub.upload_address(repo, data), hub.xet(repo)
    plan = hub.ok("GET", f"/xet/v1/reconstructions/{file.name}", xet).json
    fetch = hub.local(next(iter(plan["fetch_info"].values()))[0]["url"])
    clock.advance(hub.rooms.settings.xet_token_s)
    assert hub.get(f"/xet/v1/reconstructions/{file.name}", xet).status == 401
    assert hub.get(fetch).status == 200
    clock.advance(hub.rooms.settings.signed_url_s)
    assert hub.get(fetch).status == 403  # and not 401: a client asks for the plan again
    assert hub.send("PUT", address, body=data).status == 403


def test_T43_a_xet_token_is_no_token_of_the_hub(hub: Hub) -> None:
    repo = hub.repo("ada", private=True)
    token = hub.xet(repo, "write")
    for address in (hub.api(repo), "/api/whoami-v2", f"/{repo}/resolve/main/.gitattributes"):
        assert hub.get(address, token).status == 401
    for hub_token in ("ada", "root"):
        assert hub.get(f"/xet/v1/reconstructions/{'a' * 64}", hub_token).status == 401


def test_T43_signed_addresses_lead_to_the_public_url_whatever_the_host_header_says(hub: Hub) -> None:
    repo, data = hub.repo("ada"), noise("host", 100)
    spoofed = {"host": "evil.example", "x-forwarded-host": "evil.example", "x-forwarded-proto": "https"}
    asked = {"operation": "upload", "objects": [{"oid": sha(data), "size": 100}]}
    answer = hub.post(f"/{repo}/info/lfs/objects/batch", "ada", json=asked, headers=spoofed)
    assert answer.json["objects"][0]["actions"]["upload"]["href"].startswith(f"{URL}/lfs/")
    assert "evil" not in answer.text
    token = hub.get(hub.api(repo, "/xet-read-token/main"), "ada", headers=spoofed)
    assert token.json["casUrl"] == f"{URL}/xet"


def test_T38_a_moved_repo_cuts_the_grants_of_its_old_owners(hub: Hub) -> None:
    held = Held(hub, "wim")
    moved = {"fromRepo": held.repo, "toRepo": f"ada/{held.repo.split('/')[1]}", "type": "model"}
    hub.ok("POST", "/api/repos/move", "ada", json=moved)
    assert held.let_in() == []
    assert hub.get(hub.api(held.repo), "wim").code == "RepoNotFound"
    assert hub.get(hub.api(held.repo), "ada").status == 307


def test_T39_a_member_raises_nobody_by_any_route_there_is(hub: Hub) -> None:
    """No route changes members or roles; the command line alone does."""
    changing = [
        r.pattern for r in ROUTES if r.method != "GET" and ("member" in r.pattern or "organizations" in r.pattern)
    ]
    assert changing == []


def test_T36_reading_is_all_a_read_token_needs(hub: Hub) -> None:
    repo, only_read = hub.repo("ada", private=True), hub.token("ada", "read")
    hub.committed(repo, [inline("a.txt", b"a")])
    for address in (hub.api(repo), f"/{repo}/resolve/main/a.txt", hub.api(repo, "/xet-read-token/main")):
        assert hub.get(address, only_read).status == 200
