"""The route table: one line a URL. The reference, the OpenAPI document and the access matrix are made from it.

`{t}` in a repo's address is spelled out for each type; repos may lack a namespace. Where two patterns fit, the one with
the literal segment wins (`router.py`).
"""

from __future__ import annotations

from headwater.front import grants, health, lfs, observe, openapi, visitors
from headwater.front.git import info_refs, may_push, receive_pack, upload_pack
from headwater.front.hub import (
    commit,
    discussions,
    info,
    lists,
    manage,
    people,
    preupload,
    refs,
    resolve,
    storage,
    tree,
)
from headwater.front.pages.table import PAGES
from headwater.front.router import Auth, BodyKind, Handler, Route
from headwater.front.xet import cas

PREFIXES = {"model": "", "dataset": "datasets/", "space": "spaces/"}


def _one(
    method: str,
    pattern: str,
    handler: Handler,
    does: str,
    *,
    needs: str = "",
    body: BodyKind = "none",
    auth: Auth = "actor",
    body_max: str = "",
) -> list[Route]:
    return [Route(method, pattern, handler, does, body, auth, needs, body_max)]


def _api(
    method: str,
    rest: str,
    handler: Handler,
    does: str,
    *,
    needs: str = "read",
    body: BodyKind = "none",
    body_max: str = "",
    admits: Handler | None = None,
    lines: bool = False,
) -> list[Route]:
    """A route below /api/{type}s/{repo}."""
    return [
        Route(method, f"/api/{{type}}/{repo}{rest}", handler, does, body, "actor", needs, body_max, admits, lines)
        for repo in ("{ns}/{name}", "{name}")
    ]


def _repo(
    method: str,
    rest: str,
    handler: Handler,
    does: str,
    *,
    needs: str = "read",
    body: BodyKind = "none",
    body_max: str = "",
    admits: Handler | None = None,
    quick: bool = False,
    first: Handler | None = None,
) -> list[Route]:
    """A route below a repo's own address: /{repo}, /datasets/{repo}, /spaces/{repo}."""
    return [
        Route(
            method,
            f"/{prefix}{repo}{rest}",
            _typed(handler, kind),
            does,
            body,
            "actor",
            needs,
            body_max,
            admits and _typed(admits, kind),
            quick=quick,
            first=first and _typed(first, kind),
        )
        for kind, prefix in PREFIXES.items()
        for repo in ("{ns}/{name}", "{name}")
    ]


def _typed(handler: Handler, kind: str) -> Handler:
    """The handler, told which type the address stands for."""

    def typed(rooms: object, request: object) -> object:
        request.params["type"] = kind  # type: ignore[attr-defined]
        return handler(rooms, request)

    typed.__name__ = getattr(handler, "__name__", "handler")
    typed.__module__ = getattr(handler, "__module__", __name__)
    return typed


_SHARD = ("shard_max", cas.may_write)


def _xet() -> list[Route]:
    """The Xet CAS, with the addresses of older clients (xet.md, 1.3)."""
    rows: list[tuple[str, str, Handler, str, BodyKind]] = [
        ("POST", "/v1/xorb-grants/{prefix}/{hash}", cas.grant_xorb, "Ask where to send a xorb", "json"),
        ("PUT", "/v1/xorb-puts/{hash}", cas.put_xorb, "A xorb, by a signed address", "sink"),
        ("POST", "/v1/xorb-commits/{prefix}/{hash}/grant/{id}", cas.commit_grant, "A granted xorb has landed", "json"),
        ("GET", "/v1/xorbs/{prefix}/{hash}", cas.head_xorb, "Whether a xorb is here", "none"),
        ("POST", "/v2/shards", cas.post_shard_v2, "A shard, with progress", "spool"),
        ("PUT", "/shard/{prefix}/{hash}", cas.post_shard, "A shard", "spool"),
        ("GET", "/v2/reconstructions/{file}", cas.reconstruct_v2, "How to rebuild a file", "none"),
        ("GET", "/fetch/{ticket}", cas.fetch, "Bytes of a xorb, by a signed address", "none"),
        ("GET", "/v1/files/{file}", cas.head_file, "Whether a file is here, and its size", "none"),
        ("POST", "/v1/telemetry", cas.telemetry, "Taken from clients and not kept", "json"),
    ]
    older: list[tuple[tuple[str, ...], tuple[str, str, Handler, str, BodyKind]]] = [
        (("/v1/xorbs", "/xorbs", "/xorb"), ("POST", "/{prefix}/{hash}", cas.post_xorb, "A xorb", "sink")),
        (("/v1/shards", "/shards", "/shard/{prefix}/{hash}"), ("POST", "", cas.post_shard, "A shard", "spool")),
        (("/v1/chunks", "/chunks", "/chunk"), ("GET", "/{prefix}/{hash}", cas.dedup, "Where a chunk lies", "none")),
        (
            ("/v1/reconstructions", "/reconstructions", "/reconstruction"),
            ("GET", "/{file}", cas.reconstruct_v1, "How to rebuild a file", "none"),
        ),
    ]
    rows += [(method, f"{start}{rest}", *more) for starts, (method, rest, *more) in older for start in starts]  # type: ignore[misc]
    return [
        Route(method, f"/xet{path}", handler, does, body, "ticket", "", *(_SHARD if body == "spool" else ()))
        for method, path, handler, does, body in rows
    ]


ROUTES: list[Route] = [
    # --- 3.1 repos, files, commits ---
    *_api("GET", "", info.get, "One repo: what it is and which files it has"),
    *_api("GET", "/revision/{rev}", info.get, "The same at a revision"),
    *_repo(
        "GET",
        "/resolve/{rev}/{path*}",
        resolve.get,
        "A file by name; HEAD for its metadata, ranges for parts",
        quick=True,
        first=resolve.first,
    ),
    *_repo("GET", "/raw/{rev}/{path*}", resolve.raw, "What git holds there: the file, or an LFS pointer"),
    *_one("POST", "/api/repos/create", manage.create, "Make a repo", needs="signed-in", body="json"),
    *_one("DELETE", "/api/repos/delete", manage.delete, "Delete a repo", needs="signed-in", body="json"),
    *_one("GET", "/api/deleted", manage.deleted, "Deleted repos that can be brought back", needs="signed-in"),
    *_one("POST", "/api/repos/undelete", manage.undelete, "Bring back a deleted repo", needs="signed-in", body="json"),
    *_one("POST", "/api/repos/move", manage.move, "Give a repo another name or owner", needs="signed-in", body="json"),
    *_api("PUT", "/settings", manage.settings, "Change a repo's visibility or gate", needs="admin", body="json"),
    *_api("POST", "/duplicate", manage.duplicate, "Copy a repo with its history", needs="signed-in", body="json"),
    *_api(
        "POST", "/preupload/{rev}", preupload.ask, "Which files go through LFS or Xet", needs="signed-in", body="json"
    ),
    *_api(
        "POST",
        "/commit/{rev}",
        commit.make,
        "One commit out of NDJSON operations",
        needs="signed-in",
        body="spool",
        body_max="commit_body_max",
        admits=commit.admit,
        lines=True,
    ),
    *_one("POST", "/api/validate-yaml", preupload.validate_yaml, "Check a card's front matter", body="json"),
    *_one("GET", "/api/whoami-v2", people.whoami, "Whose token this is"),
    *_api("GET", "/auth-check", manage.auth_check, "Whether the caller may read the repo's files"),
    *_api("GET", "/auth-check/write", manage.auth_check_write, "Whether the caller may write", needs="write"),
    *_api("GET", "/tree/{rev}", tree.listing, "The entries of a revision"),
    *_api("GET", "/tree/{rev}/{path*}", tree.listing, "The entries of a folder"),
    *_api("POST", "/paths-info/{rev}", tree.paths_info, "Some entries by path", body="json"),
    *_api("GET", "/storage", storage.get, "What the files of main cost the hub, and on what they stand"),
    *_api("GET", "/storage/{rev}", storage.get, "The same at a revision"),
    *_api("GET", "/safetensors-metadata/{path*}", tree.safetensors_metadata, "Headers of safetensors files"),
    *_one("GET", "/api/models-tags-by-type", lists.model_tags, "Tags of models, by type"),
    *_one("GET", "/api/datasets-tags-by-type", lists.dataset_tags, "Tags of datasets, by type"),
    *_one("GET", "/api/telemetry/{topic*}", health.telemetry, "Taken from clients and not kept", auth="open"),
    *_one("GET", "/api/agent-harnesses", health.agent_harnesses, "Asked for by the hf CLI", auth="open"),
    # --- 3.2 LFS and Xet ---
    *_repo("POST", "/info/lfs/objects/batch", lfs.batch, "Git LFS batch", body="json"),
    *_one("PUT", "/lfs/{oid}", lfs.put, "One whole file, by a signed address", auth="ticket", body="sink"),
    *_one("GET", "/lfs/{oid}", lfs.get, "A file, by a signed address", auth="ticket"),
    *_one("PUT", "/lfs/{oid}/part/{number}", lfs.put_part, "One part of a file", auth="ticket", body="sink"),
    *_one("POST", "/lfs/{oid}/verify", lfs.verify, "Whether a file has arrived", auth="ticket", body="json"),
    *_one("POST", "/lfs/{oid}/complete", lfs.complete, "Join the parts", auth="ticket", body="json"),
    *_api("GET", "/lfs-files", manage.lfs_files, "The large files a repo holds", needs="write"),
    *_api("POST", "/lfs-files/batch", manage.lfs_files_delete, "Remove large files", needs="admin", body="json"),
    *_api(
        "POST",
        "/lfs-files/duplicate",
        manage.lfs_files_duplicate,
        "Let another repo hold them",
        needs="signed-in",
        body="json",
    ),
    *_api("GET", "/xet-read-token/{rev}", grants.read_token, "A Xet token to read"),
    *_api("GET", "/xet-write-token/{rev}", grants.write_token, "A Xet token to write", needs="signed-in"),
    # --- 3.3 refs, history ---
    *_api("GET", "/refs", refs.listing, "Branches, tags and pull refs"),
    *_api("POST", "/branch/{branch*}", refs.create_branch, "Make a branch", needs="write", body="json"),
    *_api("DELETE", "/branch/{branch*}", refs.delete_branch, "Delete a branch", needs="write"),
    *_api("POST", "/tag/{rev*}", refs.create_tag, "Make a tag", needs="write", body="json"),
    *_api("DELETE", "/tag/{rev*}", refs.delete_tag, "Delete a tag", needs="write"),
    *_api("GET", "/commits/{rev}", tree.commits, "The commits that lead to a revision"),
    *_api(
        "POST",
        "/super-squash/{branch*}",
        refs.super_squash,
        "One commit out of a branch's history",
        needs="write",
        body="json",
    ),
    *_api("GET", "/compare/{range*}", tree.compare, "A unified diff of two revisions"),
    # --- 3.4 lists ---
    *_one("GET", "/api/{type}", lists.listing, "Search and list models, datasets or spaces"),
    *_one("GET", "/api/spaces/templates", lists.space_templates, "Always empty: the hub has no templates of its own"),
    *_one("GET", "/api/spaces/semantic-search", lists.semantic_search, "Not offered: answers 501"),
    *_one("GET", "/api/spaces/hardware", lists.no_hardware, "Not offered: answers 501"),
    # --- of 3.5: pull requests ---
    *_api("GET", "/discussions", discussions.listing, "The pull requests of a repo"),
    *_api("POST", "/discussions", discussions.create, "Open a pull request", needs="signed-in", body="json"),
    *_api("GET", "/discussions/{num}", discussions.get, "A pull request: its title, its commits, its diff"),
    # --- of 3.5: people ---
    *_api("POST", "/like", manage.like, "Like a repo (in a browser)", needs="signed-in"),
    *_api("DELETE", "/like", manage.unlike, "Take a like back", needs="signed-in"),
    *_api("GET", "/likers", manage.likers, "Who likes a repo"),
    *_one("GET", "/api/users/{user}/likes", manage.likes_of, "What a user likes"),
    *_one("GET", "/api/users/{user}/overview", people.user_overview, "A user"),
    *_one("GET", "/api/users/{user}/followers", people.nobody_follows, "Always empty: followers are not kept"),
    *_one("GET", "/api/users/{user}/following", people.nobody_follows, "Always empty: followers are not kept"),
    *_one("GET", "/api/organizations/{org}/overview", people.org_overview, "An organization"),
    *_one("GET", "/api/organizations/{org}/members", people.org_members, "Its members"),
    *_one("GET", "/api/organizations/{org}/followers", people.nobody_follows, "Always empty: followers are not kept"),
    *_one(
        "GET",
        "/api/settings/repositories",
        people.own_repositories,
        "One's own repos and what they weigh",
        needs="signed-in",
    ),
    *_one(
        "GET",
        "/api/organizations/{org}/settings/repositories",
        people.org_repositories,
        "An organization's repos and what they weigh",
        needs="signed-in",
    ),
    *_one("GET", "/api/settings/store", storage.totals, "How the store stands; for administrators", needs="signed-in"),
    # --- 4 git ---
    *_repo("GET", "/info/refs", info_refs, "git: which refs there are"),
    *_repo("POST", "/git-upload-pack", upload_pack, "git clone and fetch", body="spool", body_max="json_body_max"),
    *_repo(
        "POST",
        "/git-receive-pack",
        receive_pack,
        "git push",
        needs="write",
        body="spool",
        body_max="push_max",
        admits=may_push,
    ),
    *_xet(),
    # --- the Observatory ---
    *_one("GET", "/api/observatory", observe.index, "The Observatory: its questions, choices and snapshots"),
    *_one("GET", "/api/observatory/questions/{question}", observe.one_question, "A question, and who can answer it"),
    *_one("GET", "/api/observatory/answers/{question}", observe.answer, "A question's answer: JSON, CSV or Parquet"),
    *_one("GET", "/api/observatory/claims", observe.claims, "Every public claim with its computed verdict"),
    # --- the hub itself ---
    *_one("GET", "/health/live", health.live, "The process answers", auth="open"),
    *_one("GET", "/health/ready", health.ready, "The hub can read and write", auth="open"),
    *_one("GET", "/api/openapi.json", openapi.document, "This table as an OpenAPI document", auth="open"),
    *_one("GET", "/robots.txt", visitors.robots, "What crawlers may fetch", auth="open"),
    *_one("GET", "/favicon.ico", visitors.favicon, "The hub's icon", auth="open"),
    *PAGES,
]
