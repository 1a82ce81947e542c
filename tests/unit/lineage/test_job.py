"""The work after an event: every file looked at once, the largest first, offered parents, sealed, and stored anew."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pytest
from conftest import Hub
from model_building import base, gguf, safetensors, tuned
from sqlalchemy import delete, insert, select, update

from headwater.ground import events
from headwater.ground.errors import Conflict, Corrupt, EntryMissing, Unavailable
from headwater.ground.jobs import Runner, given_up, job
from headwater.ground.names import Sha256
from headwater.lineage.following import FOLLOWER, RESEAL, REVIEW, SEAL, SETTLE_MS, SURVEY, follow
from headwater.lineage.job import CHANGED_MAX, CHANGED_MS, PARENT_MS, PAUSED_MS, WAITS_MAX, Work
from headwater.repos.tables import hold
from headwater.store.kin import Relative
from headwater.store.seal import Stopped
from headwater.store.tables import blob, blob_tensor, pack, tensor, tensor_parent

ROOT = base(1)


@dataclass
class Bench:
    """A hub, its work, and what the sealer was asked to do."""

    hub: Hub
    stored: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, Sha256, str, list[Relative]]] = field(default_factory=list)
    trouble: Exception | None = None
    going: bool = True
    numbers: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.work = Work(
            self.hub.db, self.hub.clock, self.read, self._sealer("seal"), self._sealer("reseal"), lambda: self.going
        )
        self.runner = Runner(self.hub.db, self.hub.clock, self.work.handlers)

    def _sealer(self, how: str):
        def seal(sha256: Sha256, name: str, relatives: Sequence[Relative], *_more: object) -> None:
            if self.trouble is not None:
                raise self.trouble
            self.asked.append((how, sha256, name, list(relatives)))
            self.store(sha256, relatives[0].sha256 if relatives else None)

        return seal

    def store(self, sha256: Sha256, parent: Sha256 | None) -> None:
        """As one tensor, on the first of its relatives."""
        with self.hub.db.write_soft() as connection:
            if not self.numbers:
                connection.execute(insert(pack).values(id=1, size_bytes=0, created_ms=0))
            if sha256 not in self.numbers:
                number = self.numbers[sha256] = len(self.numbers) + 1
                connection.execute(
                    insert(tensor).values(
                        id=number, key=bytes([number]) * 32, size=1, dtype="U8", shape="1", pack=1, start=0, length=1,
                        index_bytes=1, depth=0, kind="alone", why="", alone_bytes=1, created_ms=0,
                    )
                )  # fmt: skip
                connection.execute(insert(blob_tensor).values(sha256=sha256, tensor=number))
            number = self.numbers[sha256]
            connection.execute(update(blob).where(blob.c.sha256 == sha256).values(sealed=b"sealed", seal_ms=1))
            connection.execute(delete(tensor_parent).where(tensor_parent.c.tensor == number))
            if parent is not None:
                connection.execute(insert(tensor_parent).values(tensor=number, parent=self.numbers[parent]))

    def read(self, sha256: Sha256, start: int, stop: int) -> Iterator[bytes]:
        data = self.stored[sha256]
        if not data:
            raise Corrupt("it is damaged")
        yield data[start:stop]

    def upload(self, full: str, data: bytes, path: str = "model.safetensors", **more: object) -> Sha256:
        """As a commit does it: the blob, its hold, and the event."""
        sha256 = Sha256(hashlib.sha256(data).hexdigest())
        self.stored[sha256] = data
        with self.hub.db.write_soft() as connection:
            connection.execute(insert(blob).values(sha256=sha256, size=len(data), created_ms=0))
        self.hub.hold(full, sha256, path, **more)
        self.happen("ref.moved", full)
        return sha256

    def happen(self, kind: str, full: str) -> None:
        with self.hub.db.write_soft() as connection:
            events.append(connection, kind, 0, repo_id=self.hub.repos[full])

    def run(self) -> list[tuple[str, Sha256]]:
        """All that is due now and a little later; what the sealer was asked, in order."""
        before = len(self.asked)
        self.follow()
        self.hub.clock.advance(SETTLE_MS / 1000)
        self.runner.drain()
        return [(how, sha256) for how, sha256, _, _ in self.asked[before:]]

    def follow(self) -> int:
        return follow(self.hub.db, self.hub.clock)

    def waiting(self) -> list[tuple[str, str]]:
        with self.hub.db.read() as connection:
            return [(row.kind, row.key) for row in connection.execute(select(job.c.kind, job.c.key))]

    def errors(self) -> list[str]:
        """What the log was told of as failed."""
        with self.hub.db.read() as connection:
            return list(connection.execute(select(job.c.error).where(job.c.error.is_not(None))).scalars())


@pytest.fixture
def bench(hub: Hub) -> Bench:
    return Bench(hub)


def test_an_upload_is_looked_at_and_sealed_on_its_parent(bench: Bench) -> None:
    root = bench.upload("ada/base", safetensors(ROOT))
    assert bench.run() == [("seal", root)]
    child = bench.upload("eve/child", safetensors(tuned(ROOT, 5)), "sub/child.safetensors", base_model="ada/base")
    assert bench.run() == [("seal", child)]
    _, _, name, relatives = bench.asked[-1]
    assert name == "sub/child.safetensors"
    assert [(one.sha256, one.why, one.name) for one in relatives] == [
        (root, "declared base model", "model.safetensors")
    ]
    assert relatives[0].pairs is not None
    assert relatives[0].pairs["lm_head.weight"] == "lm_head.weight"
    assert bench.waiting() == []


def test_an_event_is_followed_once_and_a_file_sealed_once(bench: Bench) -> None:
    bench.upload("ada/base", safetensors(ROOT))
    assert len(bench.run()) == 1
    assert bench.follow() == 0
    bench.happen("ref.moved", "ada/base")
    assert bench.run() == []


def test_many_commits_in_a_row_are_one_survey(bench: Bench) -> None:
    bench.upload("ada/base", safetensors(ROOT))
    for _ in range(5):
        bench.happen("ref.moved", "ada/base")
    bench.follow()
    assert bench.waiting() == [(SURVEY, str(bench.hub.repos["ada/base"]))]


def test_of_one_upload_the_largest_arrives_first_so_that_others_can_stand_on_it(bench: Bench) -> None:
    small = bench.upload("ada/model", gguf(ROOT, "Q4_0"), "model-q4.gguf")
    middle = bench.upload("ada/model", gguf(ROOT, "Q8_0"), "model-q8.gguf")
    large = bench.upload("ada/model", safetensors(ROOT), "model.safetensors")
    assert bench.run() == [("seal", large), ("seal", middle), ("seal", small)]
    assert bench.asked[-1][3][0].sha256 == large
    assert bench.asked[-1][3][0].why == "from the same repo"


def test_what_is_no_tensor_file_is_sealed_without_parents(bench: Bench) -> None:
    other = bench.upload("ada/data", b"rows and rows" * 1000, "data.parquet")
    assert bench.run() == [("seal", other)]
    assert bench.asked[0][3] == []


def test_a_damaged_file_does_not_keep_the_others_waiting(bench: Bench) -> None:
    broken = bench.upload("ada/model", safetensors(tuned(ROOT, 3), "F32"), "a.safetensors")
    bench.stored[broken] = b""
    whole = bench.upload("ada/model", safetensors(ROOT), "b.safetensors")
    assert bench.run() == [("seal", whole)]


def test_while_sealing_is_paused_files_wait_and_nothing_is_given_up(bench: Bench) -> None:
    bench.going = False
    root = bench.upload("ada/base", safetensors(ROOT))
    for _ in range(20):
        assert bench.run() == []
        bench.hub.clock.advance(PAUSED_MS / 1000)
    assert bench.waiting() == [(SEAL, root)]
    bench.going = True
    assert bench.run() == [("seal", root)]


def test_a_sealer_that_is_stopped_half_way_is_asked_again(bench: Bench) -> None:
    bench.trouble = Stopped("Sealing was told to stop")
    root = bench.upload("ada/base", safetensors(ROOT))
    assert bench.run() == []
    bench.trouble = None
    bench.hub.clock.advance(PAUSED_MS / 1000)
    assert bench.run() == [("seal", root)]


def test_a_sealer_that_fails_is_asked_again(bench: Bench) -> None:
    bench.trouble = Unavailable("Another process seals")
    root = bench.upload("ada/base", safetensors(ROOT))
    assert bench.run() == []
    bench.trouble = None
    bench.hub.clock.advance(60)
    assert bench.run() == [("seal", root)]
    with bench.hub.db.read() as connection:
        assert given_up(connection) == []


def test_a_child_waits_until_its_parent_is_sealed(bench: Bench) -> None:
    root = bench.upload("ada/base", safetensors(ROOT))
    bench.trouble = Unavailable("Another process seals")
    assert bench.run() == []
    bench.trouble = None
    child = bench.upload("eve/child", safetensors(tuned(ROOT, 5)))
    with bench.hub.db.write_soft() as connection:  # the parent's turn comes late
        connection.execute(update(job).where(job.c.key == root).values(until_ms=bench.hub.clock.now_ms() + 60_000))
    assert bench.run() == []
    bench.hub.clock.advance(60)
    bench.run()
    bench.hub.clock.advance(PARENT_MS / 1000)
    bench.run()
    assert [sha256 for _, sha256, _, _ in bench.asked] == [root, child]
    assert [one.sha256 for one in bench.asked[-1][3]] == [root]


def test_a_child_does_not_wait_for_ever(bench: Bench) -> None:
    bench.upload("ada/base", safetensors(ROOT))
    bench.run()
    with bench.hub.db.write_soft() as connection:
        connection.execute(update(blob).values(sealed=None, seal_ms=None))
    child = bench.upload("eve/child", safetensors(tuned(ROOT, 5)))
    for _ in range(WAITS_MAX):
        assert bench.run() == []
        bench.hub.clock.advance(PARENT_MS / 1000)
    assert bench.run() == [("seal", child)]


def test_a_file_that_went_meanwhile_is_no_longer_sealed(bench: Bench) -> None:
    bench.trouble = EntryMissing("it went")
    bench.upload("ada/base", safetensors(ROOT))
    assert bench.run() == []
    assert bench.waiting() == []


def test_a_file_whose_relatives_change_under_the_sealers_hands_has_its_turn_again_and_that_is_no_error(
    bench: Bench,
) -> None:
    bench.trouble = Conflict("The tensor went while a file was sealed on it")
    root = bench.upload("ada/base", safetensors(ROOT))
    assert bench.run() == []
    assert bench.errors() == []
    bench.trouble = None
    bench.hub.clock.advance(CHANGED_MS / 1000)
    assert bench.run() == [("seal", root)]
    assert bench.waiting() == []


def test_what_never_stops_changing_is_an_error_in_the_end(bench: Bench) -> None:
    bench.trouble = Conflict("The tensor would stand on itself")
    bench.upload("ada/base", safetensors(ROOT))
    for _ in range(CHANGED_MAX + 1):
        assert bench.errors() == []
        bench.run()
    assert bench.errors() == ["Conflict: The tensor would stand on itself"]


@pytest.mark.parametrize("again", [False, True])
def test_a_file_that_is_swept_or_sent_again_while_it_is_read_is_not_damaged(bench: Bench, again: bool) -> None:
    root = bench.upload("ada/base", safetensors(ROOT))

    def seal(*_: object) -> None:
        with bench.hub.db.write_soft() as connection:
            if again:
                connection.execute(update(blob).where(blob.c.sha256 == root).values(created_ms=7))
            else:
                connection.execute(delete(hold).where(hold.c.sha256 == root))
                connection.execute(delete(blob).where(blob.c.sha256 == root))
        raise Corrupt("its object is gone")

    bench.work._seal = seal
    bench.run()
    assert bench.errors() == []
    assert bench.waiting() == ([(SEAL, root)] if again else [])


def test_a_file_that_is_damaged_and_did_not_change_is_an_error(bench: Bench) -> None:
    bench.trouble = Corrupt("it is damaged")
    bench.upload("ada/base", safetensors(ROOT))
    bench.run()
    assert bench.errors() == ["Corrupt: it is damaged"]


def test_a_deleted_repos_files_are_not_looked_at(bench: Bench) -> None:
    bench.upload("ada/base", safetensors(ROOT))
    bench.hub.change("ada/base", state="deleted")
    assert bench.run() == []


def test_a_base_that_comes_late_has_its_children_stored_anew(bench: Bench) -> None:
    child = bench.upload("eve/child", safetensors(tuned(ROOT, 5)), base_model="ada/base")
    assert bench.run() == [("seal", child)]
    root = bench.upload("ada/base", safetensors(ROOT))
    assert bench.run() == [("seal", root), ("reseal", child)]
    assert bench.asked[1][3] == []
    assert [one.sha256 for one in bench.asked[2][3]] == [root]
    bench.happen("ref.moved", "ada/base")
    assert bench.run() == []


def test_T34_what_stands_on_a_repo_that_became_private_is_stored_anew_without_it(bench: Bench) -> None:
    root = bench.upload("ada/base", safetensors(ROOT))
    child = bench.upload("eve/child", safetensors(tuned(ROOT, 5)))
    assert bench.run() == [("seal", root), ("seal", child)]
    bench.happen("repo.changed", "ada/base")
    assert bench.run() == []
    bench.hub.change("ada/base", private=True)
    bench.happen("repo.changed", "ada/base")
    assert bench.run() == [("reseal", child)]
    assert bench.asked[-1][3] == []


def test_T34_a_private_file_that_is_copied_to_an_open_repo_is_stored_anew(bench: Bench) -> None:
    root = bench.upload("ada/base", safetensors(ROOT), private=True)
    child = bench.upload("ada/child", safetensors(tuned(ROOT, 5)), private=True)
    assert bench.run() == [("seal", root), ("seal", child)]
    bench.hub.hold("ada/published", child)
    bench.happen("ref.moved", "ada/published")
    assert bench.run() == [("reseal", child)]
    assert bench.asked[-1][3] == []


def test_T34_a_private_child_that_is_published_is_stored_anew(bench: Bench) -> None:
    root = bench.upload("ada/base", safetensors(ROOT), private=True)
    child = bench.upload("ada/child", safetensors(tuned(ROOT, 5)), private=True)
    assert bench.run() == [("seal", root), ("seal", child)]
    bench.hub.change("ada/child", private=False)
    bench.happen("repo.changed", "ada/child")
    assert bench.run() == [("reseal", child)]


def test_T34_a_tensor_may_be_a_parent_only_if_a_file_that_has_it_may(bench: Bench) -> None:
    models = {
        full: safetensors(base(seed, layers=1)) for seed, full in enumerate(("ada/hidden", "ada/shown", "bob/own"))
    }
    files = {full: bench.upload(full, data, private=full == "ada/hidden") for full, data in models.items()}
    bench.run()
    keys = {full: bytes([bench.numbers[sha256]]) * 32 for full, sha256 in files.items()}

    def may(of: str) -> list[str]:
        ask = bench.work.parents.may(files[of])
        return [full for full in keys if ask(keys[full])]

    assert may("bob/own") == ["ada/shown", "bob/own"]
    assert may("ada/hidden") == ["ada/hidden", "ada/shown", "bob/own"]
    bench.hub.change("ada/shown", private=True)
    assert may("bob/own") == ["bob/own"]
    assert may("ada/hidden") == ["ada/hidden", "ada/shown", "bob/own"]
    bench.hub.change("ada/shown", state="deleted")
    assert may("ada/hidden") == ["ada/hidden", "bob/own"]
    assert not bench.work.parents.may(files["bob/own"])(b"?" * 32)


def test_a_repo_of_text_alone_gives_no_work(bench: Bench) -> None:
    bench.hub.repo("ada/prose")
    bench.upload("ada/base", safetensors(ROOT))
    bench.happen("ref.moved", "ada/prose")
    bench.happen("repo.moved", "ada/prose")
    assert bench.follow() == 3
    assert bench.waiting() == [(SURVEY, str(bench.hub.repos["ada/base"]))]


def test_events_of_no_repo_and_of_other_kinds_are_passed_over(bench: Bench) -> None:
    bench.upload("ada/base", safetensors(ROOT))
    bench.run()
    with bench.hub.db.write_soft() as connection:
        events.append(connection, "user.created", 0)
        events.append(connection, "repo.liked", 0, repo_id=bench.hub.repos["ada/base"])
    assert bench.follow() == 2
    assert bench.waiting() == []
    bench.happen("repo.moved", "ada/base")
    bench.follow()
    assert [kind for kind, _ in bench.waiting()] == [REVIEW]


def test_the_serving_process_sees_by_their_kind_that_there_are_jobs(bench: Bench) -> None:
    assert all(kind.startswith(f"{FOLLOWER}.") for kind in bench.work.handlers)


def test_the_handlers_are_named_for_the_runner(bench: Bench) -> None:
    assert set(bench.work.handlers) == {SURVEY, SEAL, REVIEW, RESEAL}
