"""Names and contents made to do harm: refused with a clear error, or stored as the inert bytes that they are."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import lz4.frame
import pytest
from asgi_hub import Body, Hub, copied, deleted, git_sha, inline, lfs_file, ndjson, noise, page, sha
from git_pushes import EXECUTABLE, FILE, FOLDER, SUBMODULE, SYMLINK, Workshop
from xet_files import Xorb, packed, post_xorb

NDJSON = {"content-type": "application/x-ndjson"}
SOON_S = 3.0  # of the processor's time: the machine may be busy with other things


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    made = Workshop(tmp_path / "workshop.git")
    made.init()
    return made


def push(hub: Hub, repo: str, body: bytes, as_: str = "ada") -> str:
    """What the hub reports of each ref."""
    answer = hub.ok("POST", f"/{repo}.git/git-receive-pack", as_, body=body)
    return answer.body.decode(errors="replace")


# --- T47: names of files ---


REFUSED = [
    "..", "../x", "a/../../x", "a/..", "./a", "a/./b", "/etc/passwd", "a//b", "a/", "", "..\\x", "a\\b", "C:\\x",
    ".git", ".git/config", "a/.GIT/hooks/x", ".Git", "git~1", "a/GIT~1/x", "CON", "con.txt", "a/nul", "AUX.json",
    "com1", "LPT9.bin", "a.", "a ", " a", "a/b./c", "x/ y", "a\x00b", "a\nb", "a\x7fb", "\x1b[31m", "a\u202eb",
    "a\u200bb", "\ufeffa", "e\u0301.txt", "x" * 256, "\u00e9" * 128, "/".join("d" * 65), "x/" * 400 + "y", "a\u2028b",
]  # fmt: skip
KEPT = [
    "-rf", "--help", "a b.txt", "100%.txt", "%2e%2e", "%2F", "a?b#c&d=e", "it's \"quoted\".txt", "caf\u00e9.txt",
    "\u65e5\u672c\u8a9e/\u30e2\u30c7\u30eb.bin", "\U0001f917.txt", "...x", "..a", ".hidden", "~", "$HOME", "`id`", "a;b|c",
    "<script>alert(1)</script>.md", "con-fig.txt", "gita", "x" * 255, "/".join("d" * 64), "console", "nullable/aux2",
]  # fmt: skip


@pytest.mark.parametrize("path", REFUSED, ids=lambda path: ascii(path)[:30])
def test_T47_a_path_that_could_leave_or_break_a_checkout_is_refused_everywhere(hub: Hub, path: str) -> None:
    repo = shared(hub)
    before = hub.head_of(repo)
    lines = [
        inline(path, b"x"),
        lfs_file(path, "a" * 64, 1),
        copied("plain.txt", path),
        copied(path, "y"),
        deleted(path),
        {"key": "deletedFolder", "value": {"path": path + "x/.."}},
    ]
    for line in lines:
        answer = hub.commit(repo, [line])
        assert (answer.status, answer.code) == (422, "BadRequest"), line
        assert "path" in answer.error
    asked = {"files": [{"path": path, "size": 1, "sample": ""}]}
    assert hub.post(hub.api(repo, "/preupload/main"), "ada", json=asked).status == 422
    assert hub.head_of(repo) == before
    if path.strip("/"):
        missing(hub, repo, quote(path, safe=""), before)
    asked = {"paths": ["plain.txt", path]}
    found = hub.ok("POST", hub.api(repo, "/paths-info/main"), json=asked).json
    assert [entry["path"] for entry in found] == ["plain.txt"]


def missing(hub: Hub, repo: str, quoted: str, commit: str) -> None:
    """Whoever reads there is told that nothing is there: clients ask so whether a file exists."""
    for place in (f"/{repo}/resolve/main/", f"/{repo}/raw/main/", f"/{repo}/blob/main/", f"/{repo}/tree/main/"):
        for method in ("GET", "HEAD"):
            answer = hub.send(method, place + quoted, "ada")
            assert (answer.status, answer.code) == (404, "EntryNotFound"), place
            assert answer.headers["x-repo-commit"] == commit
    answer = hub.get(hub.api(repo, f"/tree/main/{quoted}"))
    assert (answer.status, answer.code, answer.headers["x-repo-commit"]) == (404, "EntryNotFound", commit)


@pytest.mark.parametrize("path", KEPT, ids=lambda path: ascii(path)[:30])
def test_T47_an_odd_but_harmless_path_is_stored_as_it_is(hub: Hub, path: str) -> None:
    repo, data = shared(hub), path.encode()
    hub.committed(repo, {path: data})
    for address in (quote(path), quote(path, safe="")):
        answer = hub.ok("GET", f"/{repo}/resolve/main/{address}")
        assert (data, f'"{git_sha(data)}"') == (answer.body, answer.headers["etag"])
        disposition = answer.headers["content-disposition"]
        assert disposition.isascii()
        assert quote(path.rpartition("/")[2], safe="") in disposition
        assert "\n" not in disposition
    (entry,) = hub.ok("POST", hub.api(repo, "/paths-info/main"), json={"paths": [path]}).json
    assert (path, git_sha(data)) == (entry["path"], entry["oid"])
    shown = hub.get(f"/{repo}/blob/main/{quote(path)}")
    assert shown.status == 200
    assert "<script>alert" not in shown.text


_SHARED: dict[int, str] = {}


def shared(hub: Hub) -> str:
    if id(hub) not in _SHARED:
        _SHARED[id(hub)] = hub.repo()
        hub.committed(_SHARED[id(hub)], {"plain.txt": b"plain"})
    return _SHARED[id(hub)]


TRICKS = [
    "..%2f..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/etc/passwd", "..%5c..%5cwindows", "%2fetc%2fpasswd", "a%00.txt",
    "%2e%2e%2f", "....//....//etc", "%252e%252e%252f", "..;/x", "%c0%ae%c0%ae/x", "%uff0e", "plain.txt%00.png",
    "plain.txt/x", "plain.txt%20", "PLAIN.TXT", "%", "%zz", "plain.txt?x=/../", "\\..\\..\\x",
]  # fmt: skip


@pytest.mark.parametrize("trick", TRICKS)
def test_T47_percent_encoded_tricks_reach_nothing(hub: Hub, trick: str) -> None:
    repo = shared(hub)
    for prefix in (f"/{repo}/resolve/main/", f"/{repo}/raw/main/", hub.api(repo, "/tree/main/"), f"/{repo}/blob/main/"):
        for method in ("GET", "HEAD"):
            answer = hub.send(method, prefix + trick, "ada")
            if trick.startswith("plain.txt?"):
                continue  # a query is no part of the path
            assert answer.status in (400, 404, 405, 307)
            assert b"root:" not in answer.body
    for kind in ("static", "docs"):
        answer = hub.get(f"/{kind}/{trick}")
        assert answer.status in (400, 404)


def test_T47_a_folders_name_is_no_prefix_of_anothers(hub: Hub) -> None:
    repo = hub.repo()
    hub.committed(repo, {"model/a": b"1", "models/b": b"2", "model.bin.txt": b"3"})
    assert [e["path"] for e in hub.ok("GET", hub.api(repo, "/tree/main/model")).json] == ["model/a"]
    assert [e["path"] for e in hub.ok("GET", hub.api(repo, "/tree/main/model?recursive=1")).json] == ["model/a"]
    for missing in ("mod", "model/", "model/b", "models/a"):
        answer = hub.get(hub.api(repo, f"/tree/main/{missing}"))
        assert answer.status == (200 if missing == "model/" else 404)
    hub.committed(repo, [{"key": "deletedFolder", "value": {"path": "model/"}}])
    left = {e["path"] for e in hub.ok("GET", hub.api(repo, "/tree/main?recursive=1")).json}
    assert left == {".gitattributes", "models", "models/b", "model.bin.txt"}


def test_T47_nfc_and_nfd_twins_cannot_both_be_there(hub: Hub) -> None:
    repo = hub.repo()
    hub.committed(repo, {"caf\u00e9.txt": b"composed"})
    assert hub.commit(repo, {"cafe\u0301.txt": b"decomposed"}).status == 422
    missing(hub, repo, quote("cafe\u0301.txt"), hub.head_of(repo))


def test_T47_a_pushed_tree_with_such_names_is_refused_whole(hub: Hub, workshop: Workshop) -> None:
    blob = workshop.blob(b"x")
    for name in ("..", ".git", ".GIT", "a/b", ".", "git~1", "a\\b"):
        repo = hub.repo()
        head = hub.head_of(repo)
        inner = workshop.tree((FILE, "plain", blob), (FILE, name, blob))
        bad = workshop.commit(workshop.tree((FOLDER, "folder", inner)))
        said = push(hub, repo, workshop.push(bad, ref="refs/heads/new"))
        assert "ng refs/heads/new" in said, name
        assert "unpack ok" not in said
        assert hub.head_of(repo) == head
        assert hub.get(hub.api(repo, "/revision/new")).code == "RevisionNotFound"


# --- T48: symlinks and submodules ---


def test_T48_links_and_submodules_are_shown_as_such_and_never_followed(hub: Hub, workshop: Workshop) -> None:
    repo = hub.repo()
    target = b"../../../../../../etc/passwd"
    inside = workshop.tree((FILE, "real.txt", workshop.blob(b"real")))
    tree = workshop.tree(
        (SYMLINK, "absolute", workshop.blob(b"/etc/passwd")),
        (FOLDER, "folder", inside),
        (SYMLINK, "link", workshop.blob(target)),
        (EXECUTABLE, "run.sh", workshop.blob(b"#!/bin/sh\n")),
        (SUBMODULE, "sub", "1" * 40),
        (SYMLINK, "to-folder", workshop.blob(b"folder")),
    )
    said = push(hub, repo, workshop.push(workshop.commit(tree), ref="refs/heads/links"))
    assert "ok refs/heads/links" in said
    answer = hub.ok("GET", f"/{repo}/resolve/links/link")
    assert answer.body == target
    assert answer.headers["etag"] == f'"{git_sha(target)}"'
    assert hub.ok("GET", f"/{repo}/resolve/links/absolute").body == b"/etc/passwd"
    assert hub.ok("GET", f"/{repo}/resolve/links/sub").body == b"1" * 40
    for through in ("to-folder/real.txt", "link/x", "sub/x"):
        assert hub.get(f"/{repo}/resolve/links/{through}").code == "EntryNotFound"
        assert hub.get(hub.api(repo, f"/tree/links/{through}")).code == "EntryNotFound"
    entries = {e["path"]: e["type"] for e in hub.ok("GET", hub.api(repo, "/tree/links?recursive=1")).json}
    assert entries["folder/real.txt"] == "file"
    assert "to-folder/real.txt" not in entries
    for name, words in (("link", b"Links are not followed"), ("sub", b"Submodules are not followed")):
        assert words in hub.ok("GET", f"/{repo}/blob/links/{name}").body
    assert hub.get(f"/{repo}/resolve/links/run.sh").body == b"#!/bin/sh\n"


def test_T48_a_commit_over_a_link_replaces_the_link_and_not_its_target(hub: Hub, workshop: Workshop) -> None:
    repo = hub.repo()
    tree = workshop.tree((SYMLINK, "link", workshop.blob(b"real.txt")), (FILE, "real.txt", workshop.blob(b"real")))
    push(hub, repo, workshop.push(workshop.commit(tree), ref="refs/heads/links"))
    hub.committed(repo, {"link": b"no link"}, rev="links")
    assert hub.get(f"/{repo}/resolve/links/link").body == b"no link"
    assert hub.get(f"/{repo}/resolve/links/real.txt").body == b"real"
    assert hub.commit(repo, {"link/x": b"through"}, rev="links").status == 422


# --- T49: case ---


@pytest.mark.parametrize(
    "paths",
    [
        ("Model.bin", "model.bin"),
        ("a/B/c", "a/b/d"),
        ("README.md", "readme.MD"),
        ("\u00c9", "\u00e9"),
        ("stra\u00dfe", "strasse"),
    ],
    ids=ascii,
)
def test_T49_paths_that_differ_only_in_case_are_not_both_taken(hub: Hub, paths: tuple[str, str]) -> None:
    repo = hub.repo()
    before = hub.head_of(repo)
    together = hub.commit(repo, dict.fromkeys(paths, b"x"))
    assert (422, before) == (together.status, hub.head_of(repo))
    assert "upper and lower case" in together.error
    hub.committed(repo, {paths[0]: b"first"})
    assert hub.commit(repo, {paths[1]: b"second"}).status == 422
    swapped = hub.commit(repo, [deleted(paths[0]), inline(paths[1], b"second")])
    assert swapped.status == 200


# --- T51: front matter ---


def bombs() -> dict[str, bytes]:
    laughs = ["a0: &a0 [lol]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
    return {
        "alias bomb": "\n".join(laughs).encode(),
        "alias of itself": b"a: &a [*a]",
        "merge bomb": b"a: &a {x: 1}\n" + b"\n".join(b"b%d: {<<: [*a, *a, *a]}" % i for i in range(5000)),
        "10 MB": b"text: " + b"x" * 10_000_000,
        "a million keys": b"\n".join(b"k%d: 1" % i for i in range(300_000)),
        "deep nesting": b"a: " + b"[" * 100_000,
        "deep mapping": b"{a: " * 50_000,
        "python object": b"a: !!python/object/apply:os.system ['touch /tmp/headwater-pwned']",
        "python name": b"a: !!python/name:os.system",
        "binary": b"a: !!binary AAAA",
        "dates": b"date: 2024-02-30\nother: 2024-01-01T00:00:00Z\n",
        "duplicate keys": b"license: mit\nlicense: apache-2.0\n",
        "not a mapping": b"- a\n- b\n",
        "tabs": b"\ta: 1",
        "not UTF-8": b"a: \xff\xfe",
        "zero byte": b"a: \x00",
        "huge number": b"a: " + b"9" * 100_000,
        "sexagesimal": b"a: 1:2:3:4:5:6:7:8:9",
        "infinity": b"a: .inf\nb: .nan\nc: 1e999",
        "unclosed": b"a: 'b",
        "no end": b"a: 1\n",
        "anchors": b"\n".join(b"- &n%d x" % i for i in range(100_000)),
    }


@pytest.mark.parametrize("what", bombs())
def test_T51_front_matter_cannot_hold_the_hub(hub: Hub, what: str) -> None:
    repo = hub.repo()
    text = b"---\n" + bombs()[what] + (b"" if what == "no end" else b"\n---\n# Card\n")
    begun = time.process_time()
    answer = hub.commit(repo, {"README.md": text, "a.txt": b"a"})
    assert answer.status in (200, 400)
    if answer.status == 400:
        assert "README.md" in answer.error
        assert len(answer.body) < 20_000
    # by another way into the repo (git, or a name that is no card) it is stored, and nothing breaks on it
    hub.committed(repo, {"docs/README.md": text})
    checked = hub.post("/api/validate-yaml", json={"content": text.decode("latin-1"), "repoType": "model"})
    assert checked.status in (200, 400, 413)
    assert "error" in checked.text
    assert hub.get(hub.api(repo, "?expand=cardData&expand=tags")).status == 200
    assert hub.get(f"/{repo}").status == 200
    assert time.process_time() - begun < SOON_S
    assert not Path("/tmp/headwater-pwned").exists()


def test_T51_a_pushed_card_that_is_a_bomb_breaks_neither_page_nor_list(hub: Hub, workshop: Workshop) -> None:
    repo = hub.repo()
    laughs = b"---\n" + bombs()["alias bomb"] + b"\n---\n"
    commit = workshop.commit(workshop.tree((FILE, "README.md", workshop.blob(laughs))))
    said = push(hub, repo, workshop.push(commit, ref="refs/heads/bomb"))
    assert ("ok refs/heads/bomb" in said) != ("ng refs/heads/bomb" in said)
    for address in (hub.api(repo, "/revision/bomb"), f"/{repo}/tree/bomb", hub.api(repo)):
        assert hub.get(address).status in (200, 404)


# --- T52: JSON ---


HOSTILE_JSON = {
    "a million levels of lists": b'{"key":"file","value":' + b"[" * 1_000_000,
    "a million levels of objects": b'{"a":' * 1_000_000,
    "closed nesting": b'{"key":"file","value":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "NaN": b'{"key":"file","value":{"path":"a","content":"","size":NaN}}',
    "infinity": b'{"key":"lfsFile","value":{"path":"a","algo":"sha256","oid":"' + b"a" * 64 + b'","size":Infinity}}',
    "an exponent": b'{"key":"lfsFile","value":{"path":"a","algo":"sha256","oid":"' + b"a" * 64 + b'","size":1e999999}}',
    "huge int": b'{"key":"lfsFile","value":{"path":"a","algo":"sha256","oid":"'
    + b"a" * 64
    + b'","size":'
    + b"9" * 5000
    + b"}}",
    "a large int": b'{"key":"lfsFile","value":{"path":"a","algo":"sha256","oid":"'
    + b"a" * 64
    + b'","size":'
    + b"9" * 30
    + b"}}",
    "a negative int": b'{"key":"lfsFile","value":{"path":"a","algo":"sha256","oid":"' + b"a" * 64 + b'","size":-1}}',
    "a true size": b'{"key":"lfsFile","value":{"path":"a","algo":"sha256","oid":"' + b"a" * 64 + b'","size":true}}',
    "duplicate keys": b'{"key":"file","value":{"path":"a","path":"b","content":""}}',
    "duplicate outer keys": b'{"key":"file","key":"deletedFile","value":{"path":"a","content":""}}',
    "not UTF-8": b'{"key":"file","value":{"path":"a\xff","content":""}}',
    "half a surrogate": b'{"key":"file","value":{"path":"a\\ud800","content":""}}',
    "half a surrogate in the content": b'{"key":"file","value":{"path":"a","content":"\\udfff x"}}',
    "a zero byte": b'{"key":"file","value":{"path":"a\\u0000b","content":""}}',
    "a control character": b'{"key":"file","value":{"path":"a\x01","content":""}}',
    "a byte order mark": b'\xef\xbb\xbf{"key":"file","value":{"path":"a","content":""}}',
    "UTF-16": '{"key":"file","value":{"path":"a","content":""}}'.encode("utf-16"),
    "a list": b'["file",{"path":"a"}]',
    "a text": b'"file"',
    "null": b"null",
    "two on a line": b'{"key":"file","value":{"path":"a","content":""}}{"key":"file","value":{}}',
    "cut off": b'{"key":"file","value":{"path":"a","con',
    "a content that is no text": b'{"key":"file","value":{"path":"a","content":["x"]}}',
    "a path that is no text": b'{"key":"file","value":{"path":{"a":1},"content":""}}',
    "an encoding that there is not": b'{"key":"file","value":{"path":"a","content":"","encoding":"rot13"}}',
    "base64 with blanks": b'{"key":"file","value":{"path":"a","content":"YQ =\\n=","encoding":"base64"}}',
}


@pytest.mark.parametrize("what", HOSTILE_JSON)
def test_T52_a_line_that_is_not_plain_json_refuses_the_commit(hub: Hub, what: str) -> None:
    repo = shared(hub)
    before = hub.head_of(repo)
    header = ndjson([{"key": "header", "value": {"summary": "s"}}])
    begun = time.process_time()
    answer = hub.post(hub.api(repo, "/commit/main"), "ada", body=header + HOSTILE_JSON[what] + b"\n", headers=NDJSON)
    assert 400 <= answer.status < 500
    assert answer.error
    assert len(answer.body) < 2000
    assert hub.head_of(repo) == before
    assert time.process_time() - begun < SOON_S


BODIES = {
    "deep": b'{"files":' + b"[" * 1_000_000,
    "NaN": b'{"files":NaN}',
    "not UTF-8": b'{"files":"\xff"}',
    "duplicate keys": b'{"files":[],"files":[]}',
    "a list": b"[]",
    "huge int": b'{"files":' + b"9" * 10_000 + b"}",
    "surrogate": b'{"files":"\\ud800"}',
    "empty object": b"{}",
    "wrong types": b'{"files":{"path":1},"objects":3,"operation":["upload"],"name":{},"deletions":[],"target":1,"paths":{"a":{}}}',
    "nulls": b'{"files":[null],"objects":[null],"operation":null,"name":null,"deletions":{"sha":[null]},"paths":[null]}',
    "nested nulls": b'{"files":[{"path":null,"size":null}],"objects":[{"oid":null}],"operation":"upload","fromRepo":null}',
    "odd sizes": b'{"files":[{"path":"a","size":1e30,"sample":7}],"objects":[{"oid":"a","size":1.5}],"operation":"upload"}',
    "odd texts": b'{"operation":"upload","objects":[],"hash_algo":7,"transfers":7,"name":"","organization":7,"type":7,"content":7,"startingPoint":7,"message":7,"tag":7,"gated":7,"private":"yes","repository":7,"gitIgnore":7,"visibility":[]}',
    "truths": b'{"operation":true,"objects":true,"name":true,"files":true,"paths":true,"content":true,"tag":true}',
}
JSON_DOORS = [
    "API/preupload/main", "API/paths-info/main", "API/lfs-files/batch", "API/lfs-files/duplicate", "API/duplicate",
    "API/branch/odd", "API/tag/main", "API/super-squash/none", "REPO/info/lfs/objects/batch", "/api/repos/create",
    "/api/repos/move", "/api/validate-yaml", "/login", "/login/link", "/new", "/settings/tokens", "/logout",
    "/settings/tokens/revoke",
]  # fmt: skip


@pytest.mark.parametrize("what", BODIES)
def test_T52_no_json_body_makes_any_route_fail(hub: Hub, what: str) -> None:
    """Every route that takes JSON, with JSON that it does not expect: an error of the taxonomy, never a bug."""
    repo = hub.repo()
    token, csrf = hub.xet(repo, "write"), hub.session("ada")
    headers = {"content-type": "application/json"}
    for door in JSON_DOORS:
        address = door.replace("API", hub.api(repo)).replace("REPO", page(repo))
        for method in ("POST", "PUT", "DELETE"):
            answer = hub.send(method, address, "ada", body=BODIES[what], headers=headers)
            assert answer.status < 500, (method, address, answer.body)
        assert hub.post(address, body=BODIES[what], headers={**headers, **csrf}).status < 500
        csrf = hub.session("ada") if address == "/logout" else csrf
    answer = hub.send("PUT", hub.api(repo, "/settings"), "ada", body=BODIES[what], headers=headers)
    assert answer.status < 500
    for address in (f"/xet/v1/xorb-grants/default/{'a' * 64}", "/xet/v1/telemetry"):
        assert hub.post(address, token, body=BODIES[what], headers=headers).status < 500
    upload = hub.batch(repo, [("c" * 64, 5)]).json["objects"][0]["actions"]
    for address in (upload["verify"]["href"], upload["upload"]["href"].replace("?", "/complete?")):
        assert hub.post(hub.local(address), body=BODIES[what], headers=headers).status < 500


def test_T52_a_line_of_a_gigabyte_is_refused_long_before_it_has_come(hub: Hub) -> None:
    repo = hub.repo()

    def line() -> Iterator[bytes]:
        yield ndjson([{"key": "header", "value": {"summary": "s"}}]) + b'{"key":"file","value":{"path":"a","content":"'
        piece = b"A" * (1 << 20)
        for _ in range(1024):
            yield piece
        yield b'"}}\n'

    answer = hub.post(hub.api(repo, "/commit/main"), "ada", body=Body(line(), ""), headers=NDJSON)
    assert (answer.status, answer.code) == (413, "LimitExceeded")
    assert answer.taken < 32 << 20
    assert "inline_file_max" in answer.error


def test_T52_a_header_that_is_wrong_is_refused(hub: Hub) -> None:
    repo = shared(hub)
    for value in ({}, {"summary": ""}, {"summary": " "}, {"summary": 7}, {"summary": "s", "description": 7},
                  {"summary": "s" * 10_001}, {"summary": "s", "description": "d" * 100_001}, {"summary": "a\u0000b"},
                  {"summary": "s", "parentCommit": 7}, {"summary": "s", "parentCommit": "xyz"},
                  {"summary": "s", "parentCommit": "1234"}):  # fmt: skip
        answer = hub.post(
            hub.api(repo, "/commit/main"), "ada", body=ndjson([{"key": "header", "value": value}, inline("a", b"")])
        )
        assert answer.status in (400, 413), value


# --- T56: bombs ---


def test_T56_a_gzip_bomb_for_git_ends_at_its_ratio(hub: Hub) -> None:
    repo = hub.repo()
    want = b"0032want " + b"a" * 40 + b"\n"
    bomb = gzip.compress(want * 2_000_000, 9)  # 100 MB in about 100 KB
    assert len(bomb) < 400_000
    for service in ("git-upload-pack", "git-receive-pack"):
        begun = time.process_time()
        answer = hub.post(f"/{repo}.git/{service}", "ada", body=bomb, headers={"content-encoding": "gzip"})
        assert answer.status in (400, 413)
        assert time.process_time() - begun < SOON_S


@pytest.mark.parametrize("body", [b"", b"\x1f\x8b", b"0000", gzip.compress(b"0014command=ls-refs\n0000", mtime=0)[:-9]])
def test_T56_a_packed_request_that_is_cut_or_not_packed_is_refused(hub: Hub, body: bytes) -> None:
    answer = hub.post(f"/{hub.repo()}.git/git-upload-pack", "ada", body=body, headers={"content-encoding": "gzip"})
    assert (answer.status, answer.code) == (400, "BadRequest")
    assert "gzip" in answer.error or "cut off" in answer.error


@pytest.mark.parametrize("encoding", ["br", "zstd", "deflate", "gzip, gzip"])
def test_T56_an_encoding_that_is_not_offered_is_refused(hub: Hub, encoding: str) -> None:
    answer = hub.post(f"/{hub.repo()}.git/git-upload-pack", body=b"0000", headers={"content-encoding": encoding})
    assert answer.status == 415


def test_T56_packed_negotiation_as_git_sends_it_is_read(hub: Hub) -> None:
    repo = hub.repo()
    command = b"0014command=ls-refs\n0000"
    headers = {"content-encoding": "gzip", "git-protocol": "version=2"}
    answer = hub.ok("POST", f"/{repo}.git/git-upload-pack", body=gzip.compress(command), headers=headers)
    assert hub.head_of(repo).encode() in answer.body


def header(stored: int, scheme: int, raw: int) -> bytes:
    return bytes([0]) + stored.to_bytes(3, "little") + bytes([scheme]) + raw.to_bytes(3, "little")


def lz4_chunk(plain: bytes, claimed: int) -> bytes:
    stored = lz4.frame.compress(plain, block_linked=False, store_size=False)
    return header(len(stored), 1, claimed) + stored


def cut_frame(plain: bytes) -> bytes:
    frame = lz4.frame.compress(plain)[:-20]
    return header(len(frame), 1, len(plain)) + frame


def two_frames(plain: bytes) -> bytes:
    frame = lz4.frame.compress(plain)
    return header(2 * len(frame), 1, 2 * len(plain)) + frame * 2


XORB_BOMBS: dict[str, Callable[[], bytes]] = {
    "more than it claims": lambda: lz4_chunk(bytes(16 << 20), 128 << 10),
    "less than it claims": lambda: lz4_chunk(bytes(1000), 2000),
    "claims 16 MiB": lambda: lz4_chunk(bytes(1000), (1 << 24) - 1),
    "64 MiB of zeros and one more chunk": lambda: packed(bytes(128 << 10), 1) * 513,
    "8193 chunks": lambda: packed(b"x") * 8193,
    "a stored length of 16 MiB": lambda: header((1 << 24) - 1, 1, 1000) + bytes(1000),
    "an unknown scheme": lambda: header(5, 3, 5) + b"aaaaa",
    "an unknown version": lambda: b"\x01" + header(5, 0, 5)[1:] + b"aaaaa",
    "no frame at all": lambda: header(100, 1, 200) + noise("no frame", 100),
    "a frame cut off": lambda: cut_frame(noise("c", 5000)),
    "two frames": lambda: two_frames(bytes(100)),
    "cut off in a header": lambda: packed(b"abc") + b"\x00\x01",
    "cut off in a chunk": lambda: packed(noise("cut", 500))[:-1],
    "empty": lambda: b"",
    "noise": lambda: noise("no xorb", 10_000),
}


@pytest.mark.parametrize("what", XORB_BOMBS)
def test_T56_a_xorb_that_unpacks_to_other_than_it_says_is_refused(hub: Hub, what: str) -> None:
    repo = shared(hub)
    token, body = hub.xet(repo, "write"), XORB_BOMBS[what]()
    begun = time.process_time()
    answer = post_xorb(hub, token, Xorb((b"x",)), Body([body[i : i + 65536] for i in range(0, len(body), 65536)], ""))
    assert answer.status in (400, 413)
    assert answer.error
    assert time.process_time() - begun < SOON_S
    assert list((hub.data / "store" / "incoming").iterdir()) == []


@pytest.mark.parametrize("scheme", [0, 1, 2])
def test_T56_a_xorb_in_each_scheme_that_is_right_is_taken(hub: Hub, scheme: int) -> None:
    xorb = Xorb((noise(f"right {scheme}", 10_001), bytes(7), b"text " * 1000))
    token = hub.xet(shared(hub), "write")
    assert post_xorb(hub, token, xorb, xorb.serialised(scheme)).json == {"was_inserted": True}
    assert post_xorb(hub, token, xorb, xorb.serialised(0)).json == {"was_inserted": False}
    wrong = post_xorb(hub, token, xorb, xorb.serialised(), name="b" * 64)
    assert (wrong.status, wrong.code) == (400, "DigestMismatch")


def test_T52_the_largest_commit_line_that_is_allowed_is_taken(hub: Hub) -> None:
    repo, data = hub.repo(), noise("ten mebibytes", 10 << 20)
    hub.committed(repo, {"large.txt": data})
    assert sha(hub.get(f"/{repo}/resolve/main/large.txt").body) == sha(data)
    assert json.loads(hub.get(hub.api(repo, "?blobs=true")).body)["siblings"][1]["size"] == 10 << 20
