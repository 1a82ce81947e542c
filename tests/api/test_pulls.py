"""What requests come to: downloads by the Hub's rules, and pulls beside them, through the whole application."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from asgi_hub import Hub, noise, page, sha
from sqlalchemy import select
from xet_files import rebuilt, with_xet, xet_file

from headwater.catalog.pulls import Used
from headwater.catalog.tables import pull_day
from headwater.ground.clock import FixedClock

WEIGHTS = noise("weights", 300_000)
FILES = {"config.json": b'{"model_type": "llama"}', "README.md": b"# A model\n"}
CLIENT = {"user-agent": "unknown/None; hf_hub/1.28.0; python/3.11.2", "x-hf-download-counter": "1"}
ROBOT = {"user-agent": "transformers/4.57.0; torch/2.9.0; is_ci/true; hf_hub/1.28.0"}
MIDNIGHT_MS = 1_767_225_600_000


@pytest.fixture(scope="module")
def clock() -> FixedClock:
    return FixedClock(MIDNIGHT_MS + 3_600_000)


@pytest.fixture(scope="module")
def hub(new_hub: Callable[..., Hub], clock: FixedClock) -> Hub:
    return new_hub(clock)


@pytest.fixture
def repo(hub: Hub) -> str:
    made = hub.repo()
    hub.committed(made, FILES)
    hub.with_lfs(made, "model.safetensors", WEIGHTS)
    return made


def used(hub: Hub, repo: str, kind: str = "model") -> Used:
    """All days added up."""
    hub.rooms.counts.flush()
    with hub.rooms.db.read() as connection:
        rows = connection.execute(select(pull_day).where(pull_day.c.repo_id == hub.row(repo, kind).id)).all()
    total = Used()
    for row in rows:
        total.add(Used(*row[2:]))
    return total


def file(repo: str, path: str, rev: str = "main", kind: str = "model") -> str:
    return f"{page(repo, kind)}/resolve/{rev}/{path}"


def test_head_and_get_of_the_hubs_client_are_two_downloads_as_on_the_hub_and_one_pull(hub: Hub, repo: str) -> None:
    for path in ("config.json", "model.safetensors"):
        hub.head(file(repo, path), headers=CLIENT)
        hub.ok("GET", file(repo, path), headers=CLIENT)
    assert used(hub, repo) == Used(downloads=2, pulls=1, heads=2, clients=1, bytes=len(WEIGHTS))


def test_a_client_with_a_warm_cache_is_a_client_and_a_download_but_no_pull(hub: Hub, repo: str) -> None:
    etag = hub.head(file(repo, "config.json"), client="192.0.2.5").headers["etag"]
    weights = hub.head(file(repo, "model.safetensors")).headers["etag"]
    assert hub.get(file(repo, "config.json"), headers={"if-none-match": etag}).status == 304
    assert hub.get(file(repo, "model.safetensors"), headers={"if-none-match": weights}).status == 304
    assert used(hub, repo) == Used(downloads=2, heads=2, clients=2)


def test_an_agent_of_ci_is_counted_apart(hub: Hub, repo: str) -> None:
    hub.ok("GET", file(repo, "model.safetensors"), headers=ROBOT, client="192.0.2.6")
    assert used(hub, repo) == Used(pulls_ci=1, bytes=len(WEIGHTS))


def test_ranges_of_one_file_are_one_pull_with_the_bytes_that_were_sent(hub: Hub, repo: str) -> None:
    for start in range(0, 300_000, 50_000):
        hub.ok("GET", file(repo, "model.safetensors"), headers={"range": f"bytes={start}-{start + 49_999}"})
    assert hub.get(file(repo, "model.safetensors"), headers={"range": "bytes=400000-"}).status == 416
    assert used(hub, repo) == Used(pulls=1, clients=1, bytes=300_000)


def test_two_commits_are_two_pulls_and_two_clients_too(hub: Hub, repo: str) -> None:
    first = hub.head_of(repo)
    hub.committed(repo, {"README.md": b"# Another\n"})
    for rev in (first, "main"):
        hub.ok("GET", file(repo, "model.safetensors", rev))
    hub.ok("GET", file(repo, "model.safetensors"), client="192.0.2.7")
    assert used(hub, repo) == Used(pulls=3, clients=2, bytes=3 * len(WEIGHTS))


def test_small_weights_in_git_are_weights_and_a_card_is_none(hub: Hub, repo: str) -> None:
    hub.committed(repo, {"tiny.onnx": b"\x08\x07" * 50})
    hub.ok("GET", file(repo, "tiny.onnx"))
    hub.ok("GET", file(repo, "README.md"))
    assert used(hub, repo) == Used(pulls=1, clients=1, bytes=100)


def xet_fetch(hub: Hub, repo: str, name: str, headers: dict[str, str]) -> bytes:
    """As huggingface_hub does it: HEAD and the token by its agent, the rest by hf_xet, which has its own."""
    hub.head(file(repo, "big.safetensors"), headers=headers)
    token = hub.ok("GET", hub.api(repo, "/xet-read-token/main"), headers=headers).json["accessToken"]
    return rebuilt(hub, token, name)


@pytest.mark.parametrize(("headers", "expected"), [(CLIENT, {"pulls": 1, "clients": 1}), (ROBOT, {"pulls_ci": 1})])
def test_bytes_by_xet_count_to_the_pull_and_know_their_commit_and_agent(
    hub: Hub, headers: dict[str, str], expected: dict[str, int]
) -> None:
    repo, data = hub.repo(), noise(f"by xet {expected}", 400_000)
    made = xet_file(data)
    with_xet(hub, repo, "big.safetensors", made)
    assert xet_fetch(hub, repo, made.name, headers) == data
    found = used(hub, repo)
    assert found.bytes >= len(data)
    assert found == Used(downloads=int(headers is CLIENT), heads=1, bytes=found.bytes, **expected)
    # the same commit by its address in the same window is the same pull
    hub.ok("GET", file(repo, "big.safetensors"), headers=headers)
    assert used(hub, repo).pulls + used(hub, repo).pulls_ci == 1


def test_a_large_file_whose_name_says_that_it_is_no_weights_is_none_by_xet(hub: Hub) -> None:
    repo, data = hub.repo(), noise("a tokenizer", 200_000)
    made = xet_file(data)
    with_xet(hub, repo, "tokenizer.json", made)
    hub.head(file(repo, "tokenizer.json"))
    assert rebuilt(hub, hub.xet(repo), made.name) == data
    assert used(hub, repo) == Used(heads=1, clients=1)


def test_a_client_that_learns_of_files_from_the_list_pulls_only_the_weights_among_them(hub: Hub) -> None:
    """As snapshot_download of huggingface_hub 1.28 and 2.4: no HEAD, hashes from the list of files."""
    repo, files = hub.repo(), {name: xet_file(noise(name, 150_000)) for name in ("model.gguf", "tokenizer.json")}
    for name, made in files.items():
        with_xet(hub, repo, name, made)
    listed = hub.ok("GET", hub.api(repo, "/tree/main?recursive=true")).json
    token = hub.xet(repo)
    for one in listed:
        if "xetHash" in one:
            assert len(rebuilt(hub, token, one["xetHash"])) == 150_000
    found = used(hub, repo)
    assert (found.pulls, found.heads) == (1, 0)
    assert 150_000 <= found.bytes < 200_000


def test_bytes_by_lfs_count_to_a_pull(hub: Hub, repo: str) -> None:
    answer = hub.batch(repo, [(sha(WEIGHTS), len(WEIGHTS))], "", operation="download").json
    address = hub.local(answer["objects"][0]["actions"]["download"]["href"])
    for headers in ({}, {"range": "bytes=0-9"}):
        hub.ok("GET", address, headers={"user-agent": "git-lfs/3.4.1 (GitHub; linux amd64)", **headers})
    assert used(hub, repo) == Used(pulls=1, clients=1, bytes=len(WEIGHTS) + 10)


def test_a_file_that_may_not_be_read_counts_for_nothing(hub: Hub) -> None:
    repo = hub.repo(private=True)
    hub.committed(repo, FILES)
    hub.with_lfs(repo, "model.safetensors", WEIGHTS)
    for path in ("config.json", "model.safetensors", "missing.safetensors"):
        assert hub.get(file(repo, path)).status == 401
    assert hub.get(file(repo, "missing.safetensors"), "ada").status == 404
    assert used(hub, repo) == Used()


def test_data_of_a_data_set_is_pulled_too(hub: Hub) -> None:
    repo = hub.repo(kind="dataset")
    hub.with_lfs(repo, "train.parquet", WEIGHTS, kind="dataset")
    hub.ok("GET", file(repo, "train.parquet", kind="dataset"))
    assert used(hub, repo, "dataset") == Used(downloads=1, pulls=1, clients=1, bytes=len(WEIGHTS))


def test_a_request_by_nginx_counts_the_bytes_that_it_was_told_to_send(new_hub: Callable[..., Hub]) -> None:
    hub = new_hub(accel_redirect_prefix="/_blobs/")
    repo = hub.repo()
    hub.with_lfs(repo, "model.safetensors", WEIGHTS)
    asked: list[dict[str, Any]] = [{}, {"range": "bytes=0-99"}, {"range": "bytes=900000-"}]
    for headers in asked:
        assert "x-accel-redirect" in hub.get(file(repo, "model.safetensors"), headers=headers).headers
    assert used(hub, repo) == Used(pulls=1, clients=1, bytes=len(WEIGHTS) + 100)


def test_midnight_begins_a_new_day_with_new_clients(hub: Hub, repo: str, clock: FixedClock) -> None:
    clock.advance(23 * 3_600 - (clock.now_ms() - MIDNIGHT_MS - 3_600_000) // 1000 % 86_400 - 1)
    hub.ok("GET", file(repo, "model.safetensors"))
    salt = hub.rooms.counts.pulls._day_salt
    clock.advance(600)
    hub.ok("GET", file(repo, "model.safetensors"))
    assert used(hub, repo) == Used(pulls=2, clients=2, bytes=2 * len(WEIGHTS))
    assert hub.rooms.counts.pulls._day_salt != salt
    with hub.rooms.db.read() as connection:
        found = connection.execute(select(pull_day.c.day).where(pull_day.c.repo_id == hub.row(repo).id))
        assert len(set(found.scalars())) == 2


def test_no_address_is_in_the_data_folder(hub: Hub, repo: str) -> None:
    hub.ok("GET", file(repo, "model.safetensors"), client="198.51.100.23")
    assert used(hub, repo).pulls == 1
    for path in hub.data.rglob("*"):
        assert not path.is_file() or b"198.51.100.23" not in path.read_bytes()
