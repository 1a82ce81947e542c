"""Deleting, bringing back and giving up with the process killed at each step: a repo is live or deleted, and whole."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from fault_hub import Gone, Hub, du, problems, until

Hubs = Callable[..., Hub]

BACK = ("undelete.taken", "undelete.marked", "undelete.live")
UP = ("purge.marked", "expire.marked", "trash.emptied")
UNDELETING = (*BACK, *UP)
"""All checkpoints of deleted repos but that of deleting; `test_crash.py` compares them with those of the package."""

MIB = 1 << 20
LARGE = hashlib.shake_128(b"large").digest(2 * MIB)
NAMED = {"name": "m", "organization": "alice"}


def _filled(hubs: Hubs) -> Hub:
    hub = hubs().start()
    hub.uploaded("alice/m", LARGE)
    hub.committed("alice/m", {"small.txt": b"small"}, large={"large.bin": LARGE})
    hub.good("POST", "/api/models/alice/m/branch/dev", {})
    return hub


def _holding(hub: Hub) -> dict[str, dict[str, bytes]]:
    return {branch: hub.files("alice/m", branch) for branch in ("main", "dev")}


def _is_live(hub: Hub) -> bool:
    return hub.ask("GET", "/api/models/alice/m").status == 200


def _trash(hub: Hub) -> list[Path]:
    trash = hub.data / "git" / "trash"
    return list(trash.iterdir()) if trash.exists() else []


def test_T01_T30_killed_at_any_step_a_repo_is_deleted_or_back_and_comes_back_whole(hubs: Hubs) -> None:
    hub = _filled(hubs)
    held = _holding(hub)
    for at in ("delete.marked", *BACK):
        assert hub.stop() == 0
        hub.start(HEADWATER_CRASH_AT=at)
        with suppress(Gone, OSError):
            hub.good("DELETE", "/api/repos/delete", NAMED)
            hub.good("POST", "/api/repos/undelete", NAMED)
        assert hub.ended() == -9, f"{at} was not passed"

        hub.start()
        assert _is_live(hub) is (at == "undelete.live"), at
        assert len(_trash(hub)) == (at != "undelete.live"), at
        if at != "undelete.live":
            assert [one["id"] for one in hub.good("GET", "/api/deleted").json] == ["alice/m"]
            assert hub.ask("GET", "/alice/m/resolve/main/large.bin").status == 404
            hub.good("POST", "/api/repos/undelete", NAMED)
        assert _holding(hub) == held, at
        hub.fsck("alice/m")
        assert problems(hub.data) == [], at
    hub.committed("alice/m", {"after.txt": b"after"})
    assert _trash(hub) == []


@pytest.mark.parametrize("at", UP)
def test_T01_T30_killed_while_a_repo_is_given_up_the_rest_is_done_later_and_its_space_is_back(
    hubs: Hubs, at: str
) -> None:
    hub = _filled(hubs)
    hub.good("DELETE", "/api/repos/delete", NAMED)
    assert hub.stop() == 0
    if at == "purge.marked":
        done = hub.headwater("admin", "repo", "purge", "alice/m", "--yes", HEADWATER_CRASH_AT=at)
        assert done.returncode == -9, done.stderr
    else:
        hub.launch(HEADWATER_CRASH_AT=at, HEADWATER_UNDELETE_S="0", HEADWATER_UPLOAD_GRACE_S="0")
        assert hub.ended() == -9, f"{at} was not passed"

    hub.start(HEADWATER_UPLOAD_GRACE_S="0")
    until(lambda: not _trash(hub) and du(hub.data / "store") == 0, "collecting after the crash")
    assert hub.good("GET", "/api/deleted").json == []
    assert hub.ask("POST", "/api/repos/undelete", b'{"name": "m"}').status == 404
    assert problems(hub.data) == []


def test_T30_what_the_operator_brings_back_beside_a_running_hub_is_there_at_once(hubs: Hubs) -> None:
    hub = _filled(hubs)
    held = _holding(hub)
    gone = hub.headwater("admin", "repo", "delete", "alice/m", "--yes")
    assert gone.returncode == 0 and "in 7 days" in gone.stdout, gone.stderr
    assert not _is_live(hub)
    back = hub.headwater("admin", "repo", "undelete", "alice/m")
    assert (back.returncode, back.stdout) == (0, "alice/m\n"), back.stderr
    assert _holding(hub) == held
    hub.committed("alice/m", {"after.txt": b"after"})
    until(lambda: hub.good("GET", "/api/models?author=alice").json, "the list", 20)


def test_T09_T30_a_backup_within_the_window_brings_the_repo_back_too(hubs: Hubs, tmp_path: Path) -> None:
    hub = _filled(hubs)
    held, target = _holding(hub), str(tmp_path / "backup")
    assert hub.headwater("backup", target).returncode == 0  # while it is live: its refs lie in their place there
    hub.good("DELETE", "/api/repos/delete", NAMED)
    assert hub.headwater("backup", target).returncode == 0
    copy = tmp_path / "copy"
    assert hub.headwater("restore", target, data=copy).returncode == 0
    assert problems(copy) == []
    other = hubs(copy).start()
    assert not _is_live(other) and len(_trash(other)) == 1
    other.good("POST", "/api/repos/undelete", NAMED)
    assert _holding(other) == held
    other.fsck("alice/m")
    assert problems(copy) == []
