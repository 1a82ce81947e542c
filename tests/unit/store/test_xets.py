"""Files by chunks: xorbs land verified, a shard makes blobs of what its sender may use, and all can be had back."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import select
from store_cas import Cas
from xet_building import File, Xorb, a_file, a_shard, a_xorb, all_of, noise, sha256_of, unpacked

from headwater.ground.errors import Corrupt, DigestMismatch, HeadwaterError, Invalid, TooMuch
from headwater.store import Blob, Source, XetHash, hashes, shard, sweep, tables
from headwater.store import xets as module
from headwater.store.xorb import CHUNK_RAW_BYTES_MAX

X, Y, Z = a_xorb("x", 1000, 2000, 3000), a_xorb("y", 500, 700), a_xorb("z", 900)
KEY = bytes(range(1, 33))


def anything(_name: XetHash) -> bool:
    return True


# --- xorbs ---


def test_a_xorb_lies_as_the_plain_bytes_of_its_chunks(cas: Cas) -> None:
    assert cas.land(X) == [True]
    assert cas.xorb_path(X).read_bytes() == X.plain
    index = cas.xets.index(X.name)
    assert index is not None
    assert (index.hashes, index.lengths.tolist(), index.raw_bytes) == (X.index.hashes, [1000, 2000, 3000], 6000)
    assert cas.incoming == []


def test_a_xorb_is_not_known_before_all_of_it_was_checked(cas: Cas) -> None:
    sink = cas.xets.sink(X.name)
    sink.write(X.wire)
    assert (cas.xets.index(X.name), cas.objects) == (None, [])
    sink.land()
    assert cas.xets.index(X.name) is not None


def test_a_xorb_with_another_hash_is_refused_and_leaves_nothing(cas: Cas) -> None:
    sink = cas.xets.sink(Y.name)
    sink.write(X.wire)
    with pytest.raises(DigestMismatch):
        sink.land()
    assert (cas.objects, cas.incoming) == ([], [])
    assert [cas.xets.index(xorb.name) for xorb in (X, Y)] == [None, None]


@pytest.mark.parametrize("harm", ["cut", "header", "flipped", "empty"])
def test_a_xorb_that_is_damaged_on_its_way_is_refused_and_leaves_nothing(cas: Cas, harm: str) -> None:
    wire = {
        "cut": X.wire[:-1],
        "header": b"\x07" + X.wire[1:],
        "flipped": X.wire[:50] + bytes([X.wire[50] ^ 1]) + X.wire[51:],
        "empty": b"",
    }[harm]
    sink = cas.xets.sink(X.name)
    with pytest.raises((Invalid, DigestMismatch)):
        try:
            sink.write(wire)
            sink.land()
        finally:
            sink.abort()
    assert (cas.objects, cas.incoming) == ([], [])


def test_a_xorbs_name_is_64_hex_digits(cas: Cas) -> None:
    with pytest.raises(Invalid):
        cas.xets.sink(XetHash("../" * 20))


def test_the_same_xorb_twice_is_told_and_kept_once(cas: Cas) -> None:
    assert cas.land(X, X, Y) == [True, False, True]
    assert len(cas.objects) == 2


def test_a_xorb_whose_object_is_gone_is_taken_again(cas: Cas) -> None:
    cas.land(X)
    cas.xorb_path(X).unlink()
    assert cas.land(X) == [True]
    assert cas.xorb_path(X).read_bytes() == X.plain


# --- shards ---


def test_a_shard_makes_blobs_of_xorbs_that_are_here(cas: Cas) -> None:
    cas.land(X, Y)
    files = [all_of(X, Y), a_file((Y, 1, 2), (X, 0, 2), (Y, 0, 2)), all_of(Y)]
    blobs = cas.register(*files)
    assert [(blob.sha256, blob.size, blob.xet_hash) for blob in blobs] == [
        (file.real_sha256, len(file.data), file.xet_hash) for file in files
    ]
    assert [cas.read(blob.sha256) for blob in blobs] == [file.data for file in files]


def test_the_empty_file_comes_without_terms(cas: Cas) -> None:
    (blob,) = cas.register(File((), proven=True, hashed=True))
    assert (blob.sha256, blob.size) == (sha256_of(b""), 0)
    assert cas.read(blob.sha256) == b""
    assert cas.xets.layout(blob, 0, 0).parts == []


def test_progress_is_told_in_bytes_up_to_the_end(cas: Cas) -> None:
    cas.land(X, Y)
    steps: list[tuple[int, int]] = []
    cas.xets.register(a_shard(all_of(X), all_of(Y)), anything, lambda done, total: steps.append((done, total)))
    assert steps == sorted(steps)
    assert steps[-1] == (7200, 7200)
    assert {total for _, total in steps} == {7200}


def test_a_file_whose_bytes_do_not_have_the_sha256_that_is_claimed_does_not_exist(cas: Cas) -> None:
    cas.land(X)
    claimed = sha256_of(b"a file that somebody would like to replace")
    with pytest.raises(DigestMismatch):
        cas.register(a_file((X, 0, 3), sha256=claimed))
    assert cas.store.find(claimed) is None
    assert cas.store.find(all_of(X).real_sha256) is None


@pytest.mark.parametrize("details", [{"proven": False}, {"hashed": False}])
def test_a_file_without_a_proof_or_without_a_sha256_is_refused(cas: Cas, details: dict[str, bool]) -> None:
    cas.land(X)
    with pytest.raises(Invalid):
        cas.register(a_file((X, 0, 3), **details))
    assert cas.store.find(all_of(X).real_sha256) is None


def refusal(cas: Cas, file: File, may_use: object = anything) -> tuple[type, int, str, dict[str, object]]:
    with pytest.raises(HeadwaterError) as refused:
        cas.register(file, may_use=may_use)  # type: ignore[arg-type]
    error = refused.value
    return type(error), error.status, error.text, error.details


def test_T17_a_xorb_that_the_sender_may_not_use_is_refused_exactly_like_a_missing_one(cas: Cas) -> None:
    file = all_of(X, Y)
    cas.land(X)
    missing = refusal(cas, file)
    cas.land(Y)
    forbidden = refusal(cas, file, lambda name: name != Y.name)
    assert forbidden == missing
    assert "shard-cache" in missing[2]
    assert cas.store.find(file.real_sha256) is None


def test_T18_one_bad_file_refuses_the_shard_and_what_was_good_is_reusable(cas: Cas) -> None:
    cas.land(X, Y)
    with pytest.raises(HeadwaterError):
        cas.register(all_of(X), a_file((Y, 0, 2), sha256="ab" * 32))
    assert cas.register(all_of(X), all_of(Y))[1].size == 1200


def test_T19_a_file_that_is_too_large_is_refused_before_its_bytes_are_read(
    cas: Cas, monkeypatch: pytest.MonkeyPatch
) -> None:
    cas.land(X)
    monkeypatch.setattr(cas.store, "_file_max", 5999)
    with pytest.raises(TooMuch):
        cas.register(all_of(X))
    assert cas.store.find(all_of(X).real_sha256) is None


def test_the_same_file_again_reads_nothing_and_starts_the_grace_period_anew(cas: Cas) -> None:
    cas.land(X)
    (blob,) = cas.register(all_of(X))
    cas.clock.advance(1000)
    steps: list[int] = []
    cas.xets.register(a_shard(all_of(X)), anything, lambda done, total: steps.append(done))
    assert steps == [6000]
    assert created(cas, blob) == cas.clock.now_ms()


def created(cas: Cas, blob: Blob) -> int:
    with cas.db.read() as connection:
        return connection.execute(
            select(tables.blob.c.created_ms).where(tables.blob.c.sha256 == blob.sha256)
        ).scalar_one()


def test_a_plain_file_keeps_the_way_it_is_stored_and_pins_no_xorbs(cas: Cas) -> None:
    plain = cas.put(X.plain)
    cas.land(X)
    assert cas.register(all_of(X)) == [plain]
    with cas.db.read() as connection:
        assert connection.execute(select(tables.blob_xorb)).all() == []
    # and the other way round
    cas.land(Y)
    (xet,) = cas.register(all_of(Y))
    assert cas.put(Y.plain) == xet
    assert not cas.path(xet.sha256).exists()


def test_the_same_bytes_in_other_chunks_are_the_same_file(cas: Cas) -> None:
    file = all_of(X)
    finer = a_xorb("finer", 1)
    object.__setattr__(finer, "chunks", tuple(X.plain[i : i + 500] for i in range(0, 6000, 500)))
    cas.land(X, finer)
    (first,) = cas.register(file)
    assert cas.register(all_of(finer)) == [first]


def test_a_xorb_whose_object_vanished_counts_as_missing_so_that_the_client_sends_it_again(cas: Cas) -> None:
    cas.land(X)
    cas.xorb_path(X).unlink()
    assert "not stored here" in refusal(cas, all_of(X))[2]
    assert cas.xets.index(X.name) is None
    cas.land(X)
    cas.register(all_of(X))


def test_T28_a_xorb_that_is_swept_while_a_shard_is_checked_is_refused_and_no_file_is_left_without_bytes(
    cas: Cas, monkeypatch: pytest.MonkeyPatch
) -> None:
    cas.land(X)
    real = cas.xets._verify

    def verify_and_sweep(*given: object) -> None:
        real(*given)  # type: ignore[arg-type]
        cas.clock.advance(10)
        assert sweep.xorbs(cas.xets, [X.name], cas.clock.now_ms()).xorbs == 1

    monkeypatch.setattr(cas.xets, "_verify", verify_and_sweep)
    assert "not stored here" in refusal(cas, all_of(X))[2]
    assert cas.store.find(all_of(X).real_sha256) is None


# --- out ---


def reconstructed(cas: Cas, blob: Blob, start: int, stop: int) -> bytes:
    """What a Xet client makes of a layout: fetches each part, unpacks its chunks, skips, and cuts."""
    layout = cas.xets.layout(blob, start, stop)
    out = b""
    for part in layout.parts:
        chunks = unpacked(b"".join(cas.xets.fetch(part.source, part.start, part.stop)))
        assert (len(chunks), sum(map(len, chunks))) == (part.chunk_stop - part.chunk_start, part.size)
        out += b"".join(chunks)
    return out[layout.skip : layout.skip + stop - start]


@pytest.mark.parametrize(
    ("start", "stop"), [(0, 7400), (0, 1), (999, 1001), (1000, 3000), (2999, 3500), (6999, 7400), (7399, 7400)]
)
def test_a_xet_client_gets_the_bytes_that_it_asks_for(cas: Cas, start: int, stop: int) -> None:
    file = a_file((X, 0, 2), (Y, 0, 2), (X, 2, 3), (X, 0, 1), (Z, 0, 1))
    cas.land(X, Y, Z)
    (blob,) = cas.register(file)
    assert reconstructed(cas, blob, start, stop) == file.data[start:stop]


def test_only_the_parts_that_are_asked_for_are_laid_out(cas: Cas) -> None:
    cas.land(X, Y)
    (blob,) = cas.register(all_of(X, Y))
    (part,) = cas.xets.layout(blob, 1500, 2500).parts
    assert (part.xorb, part.chunk_start, part.chunk_stop, part.size) == (X.name, 1, 2, 2000)
    assert (part.start, part.stop) == (1008, 1008 + 2008)


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> int:
    """Pseudo-xorbs of a size that tests can fill."""
    monkeypatch.setattr(module, "PIECE_BYTES", 3 * CHUNK_RAW_BYTES_MAX)
    return 3 * CHUNK_RAW_BYTES_MAX


def test_a_plain_file_is_shown_to_xet_clients_as_pseudo_xorbs(cas: Cas, small_pieces: int) -> None:
    data = noise("plain", 2 * small_pieces + 1000)
    blob = cas.put(data)
    layout = cas.xets.layout(blob, 0, blob.size)
    assert [part.size for part in layout.parts] == [small_pieces, small_pieces, 1000]
    expected = hashlib.sha256(f"headwater pseudo-xorb 1:{blob.sha256}:1".encode()).digest()
    assert layout.parts[1].xorb == hashes.to_text(expected)
    for start, stop in [(0, len(data)), (small_pieces - 1, small_pieces + 1), (len(data) - 1, len(data)), (5, 9)]:
        assert reconstructed(cas, blob, start, stop) == data[start:stop]


def test_a_plain_file_ends_with_its_last_whole_piece(cas: Cas, small_pieces: int) -> None:
    blob = cas.put(noise("even", 2 * small_pieces))
    assert len(cas.xets.layout(blob, 0, blob.size).parts) == 2


def test_a_part_of_a_file_of_500_gb_is_laid_out_without_walking_all_of_it(
    cas: Cas, monkeypatch: pytest.MonkeyPatch
) -> None:
    cas.put(b"x")
    cas.change(sha256_of(b"x"), size=500 * 10**9)
    asked: list[Source] = []
    real = cas.xets.lengths
    monkeypatch.setattr(cas.xets, "lengths", lambda source: asked.append(source) or real(source))  # type: ignore[func-returns-value]
    layout = cas.xets.layout(cas.store.blob(sha256_of(b"x")), 400 * 10**9, 400 * 10**9 + 10)
    assert len(layout.parts) == len(asked) == 1
    assert layout.parts[0].source.number == 400 * 10**9 // (64 << 20)


def test_a_pseudo_xorb_that_the_file_does_not_have_is_refused(cas: Cas) -> None:
    blob = cas.put(b"x")
    with pytest.raises(Invalid):
        cas.xets.lengths(Source("piece", blob.sha256, 1))


def test_a_xorb_that_is_gone_is_corrupt_for_the_files_that_need_it(cas: Cas) -> None:
    cas.land(X)
    (blob,) = cas.register(all_of(X))
    cas.store.flag_xorb(X.name, "test")
    with pytest.raises(Corrupt):
        cas.xets.layout(blob, 0, 1)


def test_T04_a_fetch_from_an_object_that_ends_too_early_breaks_off(cas: Cas) -> None:
    cas.land(X)
    cas.xorb_path(X).write_bytes(X.plain[:-1])
    with pytest.raises(Corrupt):
        b"".join(cas.xets.fetch(Source("xorb", X.name), 0, 6024))


def test_the_more_is_fetched_at_once_the_smaller_are_the_steps(cas: Cas, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FETCHES_BYTES", 8000)
    monkeypatch.setattr(module, "FETCH_STEP_MIN", 1000)
    large = a_xorb("many chunks", *[500] * 60)
    cas.land(large)

    def fetching() -> Iterator[bytes]:
        return cas.xets.fetch(Source("xorb", large.name), 0, 60 * 508)

    alone = [len(piece) for piece in fetching()]
    others = [fetching() for _ in range(7)]
    begun = [next(other) for other in others]
    among_others = [len(piece) for piece in fetching()]
    assert (max(alone), max(among_others)) == (16 * 508, 2 * 508)
    for head, rest in zip(begun, others, strict=True):
        assert b"".join(unpacked(head + b"".join(rest))) == large.plain
    assert alone == [len(piece) for piece in fetching()]  # they are over, and not counted any more


# --- dedup ---


def answered(cas: Cas, chunk: XetHash, may_use: Callable[[XetHash], bool]) -> bytes | None:
    return cas.xets.dedup(chunk, lambda names: {name for name in names if may_use(name)}, KEY, 2_000_000_000)


def offered(cas: Cas, chunk: XetHash, may_use: Callable[[XetHash], bool] = anything) -> set[XetHash] | None:
    """The xorbs that a dedup answer names; None: there is none."""
    data = answered(cas, chunk, may_use)
    if data is None:
        return None
    answer = shard.parse(data)
    assert answer.footer is not None
    assert (answer.footer.key, answer.footer.expiry_s) == (KEY, 2_000_000_000)
    for found in answer.xorbs:
        plain = {X.name: X, Y.name: Y, Z.name: Z}[found.hash].index.hashes
        assert found.chunk_hashes == b"".join(hashes.keyed(KEY, plain[i : i + 32]) for i in range(0, len(plain), 32))
    return {found.hash for found in answer.xorbs}


def test_the_first_chunk_of_a_file_leads_to_all_xorbs_of_the_files_that_hold_it(cas: Cas) -> None:
    cas.land(X, Y, Z)
    cas.register(all_of(X, Y), all_of(Z))
    assert offered(cas, X.chunk_name(0)) == {X.name, Y.name}
    assert offered(cas, Z.chunk_name(0)) == {Z.name}
    assert offered(cas, X.chunk_name(1)) is None
    assert offered(cas, Y.chunk_name(0)) is None


def test_T34_a_dedup_answer_names_only_what_the_caller_may_use(cas: Cas) -> None:
    cas.land(X, Y)
    cas.register(all_of(X, Y))
    assert offered(cas, X.chunk_name(0), lambda name: name == X.name) == {X.name}
    # without the xorb that has the chunk, its siblings would tell that it is here
    assert offered(cas, X.chunk_name(0), lambda name: name == Y.name) is None
    assert offered(cas, X.chunk_name(0), lambda _name: False) is None


def in_order(cas: Cas, chunk: XetHash, may_use: Callable[[XetHash], bool] = anything) -> list[XetHash] | None:
    data = answered(cas, chunk, may_use)
    return None if data is None else [xorb.hash for xorb in shard.parse(data).xorbs]


@pytest.fixture
def row_of_ten(cas: Cas) -> list[Xorb]:
    """The xorbs of one file. Each begins a file of its own as well, so that each is asked for."""
    row = [a_xorb(f"row {number}", 500, 300) for number in range(10)]
    cas.land(*row)
    cas.register(all_of(*row), *map(all_of, row))
    return row


@pytest.mark.parametrize("at", range(10))
def test_of_a_large_file_the_matching_xorb_is_told_and_those_nearest_to_it(
    cas: Cas, monkeypatch: pytest.MonkeyPatch, row_of_ten: list[Xorb], at: int
) -> None:
    monkeypatch.setattr(module, "DEDUP_XORBS_MAX", 4)
    names = [xorb.name for xorb in row_of_ten]
    expected = [*names[at : at + 4], *reversed(names[max(0, at - 4) : at])][:4]
    assert expected == in_order(cas, row_of_ten[at].chunk_name(0))
    assert [names[at]] == in_order(cas, row_of_ten[at].chunk_name(0), lambda name: name == names[at])


def test_an_answer_has_no_more_chunks_than_it_may(
    cas: Cas, monkeypatch: pytest.MonkeyPatch, row_of_ten: list[Xorb]
) -> None:
    monkeypatch.setattr(module, "DEDUP_CHUNKS_MAX", 7)
    assert [xorb.name for xorb in row_of_ten[:3]] == in_order(cas, row_of_ten[0].chunk_name(0))


def test_strangers_with_the_same_head_do_not_hide_the_callers_own(cas: Cas, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DEDUP_HITS_MAX", 2)
    head = a_xorb("the head of a popular model", 900).chunks
    models = [Xorb((*head, *a_xorb(f"model {number}", 400).chunks)) for number in range(6)]
    cas.land(*models)
    cas.register(*map(all_of, models))
    for model in models:
        assert [model.name] == in_order(cas, model.chunk_name(0), lambda name, own=model.name: name == own)


def test_what_was_offered_stays_for_as_long_as_clients_remember(cas: Cas) -> None:
    cas.land(X)
    cas.register(all_of(X))
    cas.clock.advance(1000)
    assert offered(cas, X.chunk_name(0)) == {X.name}
    with cas.db.read() as connection:
        assert connection.execute(select(tables.xorb.c.offered_ms)).scalar_one() == cas.clock.now_ms()


def test_a_damaged_xorb_is_not_offered(cas: Cas) -> None:
    cas.land(X, Y)
    cas.register(all_of(X, Y))
    cas.store.flag_xorb(Y.name, "test")
    assert offered(cas, X.chunk_name(0)) == {X.name}
    cas.store.flag_xorb(X.name, "test")
    assert offered(cas, X.chunk_name(0)) is None


def test_building_on_a_xorb_keeps_it_from_the_sweep(cas: Cas) -> None:
    cas.land(X)
    cas.clock.advance(1000)
    cas.register(all_of(X))
    with cas.db.read() as connection:
        assert connection.execute(select(tables.xorb.c.offered_ms)).scalar_one() == cas.clock.now_ms()


def test_indexes_are_remembered_up_to_a_number(cas: Cas, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INDEXES_CACHED", 2)
    cas.land(X, Y, Z)
    for xorb in (X, Y, Z, X):
        assert cas.xets.index(xorb.name) is not None
    assert list(cas.xets._indexes) == [Z.name, X.name]


def test_many_shards_with_the_same_file_at_once_are_one_blob(cas: Cas) -> None:
    cas.land(X, Y)
    failures: list[BaseException] = []
    together = threading.Barrier(4)

    def register() -> None:
        try:
            together.wait(10)
            cas.register(all_of(X, Y), all_of(Y))
        except BaseException as error:  # noqa: BLE001 - told below
            failures.append(error)

    threads = [threading.Thread(target=register) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert cas.read(all_of(X, Y).real_sha256) == X.plain + Y.plain


def test_a_wire_cut_anywhere_lands_the_same_xorb(cas: Cas) -> None:
    def pieces(step: int) -> Iterator[bytes]:
        for start in range(0, len(X.wire), step):
            yield X.wire[start : start + step]

    for step in (1, 7, 1009, 1 << 20):
        cas.xorb_path(X).unlink(missing_ok=True)
        sink = cas.xets.sink(X.name)
        for piece in pieces(step):
            sink.write(piece)
        assert sink.land() is True
        assert cas.xorb_path(X).read_bytes() == X.plain
