"""The room as a whole: composed, started after a crash, and asked through its parts."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import insert, select

from headwater.accounts.actor import Actor
from headwater.ground import names
from headwater.ground.clock import FixedClock
from headwater.ground.db import Database
from headwater.ground.settings import Settings
from headwater.repos import AddInline, Message, Repos
from headwater.repos.tables import intent
from headwater.store import Store


def test_a_start_clears_what_a_crash_left_and_the_parts_work_together(
    db: Database, tmp_path: Path, clock: FixedClock, settings: Settings, ada: Actor
) -> None:
    store = Store(db, tmp_path / "store", clock, 10**9)
    first = Repos(db, tmp_path / "git", store, clock, settings)
    repo = first.registry.create(ada, names.repo_id("model", "ada/falcon"), private=False).repo
    result = first.commit.apply(ada, repo, "main", None, Message("x"), [AddInline(names.FilePath("a"), b"1")])
    (first.git.incoming / "own-9.pack").write_bytes(b"half")
    (first.git.incoming / "push-1").mkdir()
    row = {"repo_id": repo.id, "ref": "refs/heads/x", "new": "a" * 40, "kind": "commit", "data": "{}", "at_ms": 1}
    with db.write() as connection:
        connection.execute(insert(intent).values(row))

    again = Repos(db, tmp_path / "git", store, clock, settings)
    again.prepare()
    assert list(again.git.incoming.iterdir()) == []
    with db.read() as connection:
        assert connection.execute(select(intent)).all() == []
    opened = again.open(ada, repo.rid, "read")
    commit = again.refs.resolve(opened, "main")
    assert commit == result.commit
    assert again.tree.read_inline(opened, again.tree.entry(opened, commit, names.FilePath("a"))) == b"1"
