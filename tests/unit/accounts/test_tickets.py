"""Signed tickets, and the key they are signed with."""

from __future__ import annotations

import base64
import os
import stat
import threading
import time
from pathlib import Path

import pytest

from headwater.accounts.tickets import Tickets, load_secret
from headwater.ground.clock import FixedClock
from headwater.ground.errors import Corrupt, Unauthenticated

DAY_S = 86_400
FIELDS: dict[str, str | int] = {"repo": 7, "oid": "a" * 64, "size": 1 << 40}


@pytest.fixture
def tickets(clock: FixedClock) -> Tickets:
    return Tickets(b"s" * 32, clock)


def test_what_was_signed_is_read(tickets: Tickets) -> None:
    text = tickets.sign("lfs-put", FIELDS, 60)
    assert tickets.read("lfs-put", text) == FIELDS
    assert text.isascii()
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    assert len(text) < 220


def test_T43_a_ticket_altered_in_any_character_is_refused(tickets: Tickets) -> None:
    text = tickets.sign("lfs-put", FIELDS, 60)
    for position in range(len(text)):
        for other in ("A", "B", "-"):
            if text[position] != other:
                with pytest.raises(Unauthenticated, match="not valid"):
                    tickets.read("lfs-put", text[:position] + other + text[position + 1 :])


@pytest.mark.parametrize("text", ["", "x", "x" * 24, "x" * 25, "=" * 60, "é" * 60, "\ud800" * 60, "A" * 1_000_000])
def test_T43_what_is_no_ticket_is_refused(tickets: Tickets, text: str) -> None:
    with pytest.raises(Unauthenticated, match="not valid"):
        tickets.read("lfs-put", text)


def test_T43_another_spelling_of_a_ticket_is_refused(tickets: Tickets) -> None:
    text = tickets.sign("p", FIELDS, 60)
    for spelling in (
        text + "=",
        text[:-24] + "=" + text[-24:],
        text + "\n",
        " " + text,
        text[:-24] + "\n" + text[-24:],
    ):
        with pytest.raises(Unauthenticated):
            tickets.read("p", spelling)


def test_T43_a_ticket_is_good_for_one_purpose(tickets: Tickets) -> None:
    text = tickets.sign("xet-read", FIELDS, 60)
    for purpose in ("xet-write", "", "xet-read\0", "xet-rea"):
        with pytest.raises(Unauthenticated):
            tickets.read(purpose, text)


def test_T43_a_ticket_of_another_hub_is_refused(tickets: Tickets, clock: FixedClock) -> None:
    with pytest.raises(Unauthenticated):
        tickets.read("p", Tickets(b"t" * 32, clock).sign("p", FIELDS, 60))


def test_a_ticket_ends_at_its_time(tickets: Tickets, clock: FixedClock) -> None:
    text = tickets.sign("p", FIELDS, 60)
    clock.advance(59.9)
    tickets.read("p", text)
    clock.advance(0.1)
    with pytest.raises(Unauthenticated, match="expired"):
        tickets.read("p", text)


@pytest.mark.parametrize("jump_s", [DAY_S, -DAY_S, -1])
def test_T11_clock_jumps_neither_lengthen_nor_end_a_ticket(tickets: Tickets, clock: FixedClock, jump_s: int) -> None:
    before = tickets.sign("p", FIELDS, 60)
    clock.at_ms += jump_s * 1000
    after = tickets.sign("p", FIELDS, 60)
    clock.ticked_s += 59
    tickets.read("p", before)
    tickets.read("p", after)
    clock.ticked_s += 1
    for text in (before, after):
        with pytest.raises(Unauthenticated, match="expired"):
            tickets.read("p", text)


def test_a_ticket_outlives_a_restart(tickets: Tickets, clock: FixedClock) -> None:
    text = tickets.sign("p", FIELDS, 60)
    clock.ticked_s = 0
    later = Tickets(b"s" * 32, clock)
    clock.at_ms += 59_999
    assert later.read("p", text) == FIELDS
    clock.at_ms += 1
    with pytest.raises(Unauthenticated, match="expired"):
        later.read("p", text)


def test_T11_a_ticket_from_before_the_clock_was_set_back_gains_nothing_by_a_restart(
    tickets: Tickets, clock: FixedClock
) -> None:
    text = tickets.sign("p", FIELDS, 60)
    clock.at_ms -= DAY_S * 1000
    with pytest.raises(Unauthenticated, match="expired"):
        Tickets(b"s" * 32, clock).read("p", text)
    clock.at_ms += DAY_S * 1000 - 1000  # a second back is no jump
    assert Tickets(b"s" * 32, clock).read("p", text) == FIELDS


def test_T45_the_key_is_not_in_a_ticket(clock: FixedClock) -> None:
    secret = b"0123456789abcdef0123456789abcdef"
    text = Tickets(secret, clock).sign("p", FIELDS, 60)
    assert secret not in base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_reading_costs_under_twenty_microseconds(tickets: Tickets) -> None:
    text = tickets.sign("p", FIELDS, 60)
    best_s = min(_cpu_s(tickets, text) for _ in range(20))
    assert best_s < 20e-6


def _cpu_s(tickets: Tickets, text: str) -> float:
    started = time.thread_time()
    for _ in range(100):
        tickets.read("p", text)
    return (time.thread_time() - started) / 100


def test_the_key_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    secret = load_secret(tmp_path)
    assert len(secret) >= 32
    assert secret == load_secret(tmp_path)
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


def test_two_who_make_the_key_at_once_get_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.urandom
    theirs: list[bytes] = []

    def overtaken(size: int) -> bytes:
        if not theirs:
            theirs.append(b"")
            monkeypatch.setattr(os, "getpid", lambda: -1)
            theirs[0] = load_secret(tmp_path)
        return real(size)

    monkeypatch.setattr(os, "urandom", overtaken)
    assert theirs == [] and load_secret(tmp_path) == theirs[0]
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


def test_a_key_that_is_cut_short_is_named(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"x" * 31)
    with pytest.raises(Corrupt, match="secret"):
        load_secret(tmp_path)


def test_tickets_are_safe_to_share_between_threads(tickets: Tickets) -> None:
    failures: list[BaseException] = []

    def run(number: int) -> None:
        try:
            for _ in range(200):
                assert tickets.read("p", tickets.sign("p", {"n": number}, 60)) == {"n": number}
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
