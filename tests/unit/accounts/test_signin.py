"""Ways in: passwords, links, sessions (T46)."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from headwater.accounts import OPERATOR, Accounts, passwords, signin
from headwater.accounts.actor import Actor
from headwater.ground.clock import FixedClock
from headwater.ground.errors import Corrupt, EntryMissing, Forbidden, TooMuch, Unauthenticated, Unavailable
from headwater.ground.settings import DAY_S

PASSWORD = "correct horse"


@pytest.fixture
def alice(accounts: Accounts) -> int:
    return accounts.create_user("alice", password=PASSWORD).id


def test_name_and_password_give_the_user_as_a_browser_session_has_him(accounts: Accounts, alice: int) -> None:
    actor = accounts.actor_by_password("Alice", PASSWORD, "10.0.0.1")
    assert (alice, None) == (actor.user_id, actor.token_role)


def test_a_password_is_the_same_however_the_keyboard_composes_it(accounts: Accounts, alice: int) -> None:
    accounts.set_password(OPERATOR, "alice", "cafe\u0301 noir")
    assert accounts.actor_by_password("alice", "caf\u00e9 noir").user_id == alice


def test_T46_no_cause_of_refusal_is_told_from_another(accounts: Accounts, alice: int) -> None:
    accounts.create_user("by-link-only")
    accounts.create_user("disabled1", password=PASSWORD)
    accounts.disable(OPERATOR, "disabled1")
    accounts.create_user("gone", password=PASSWORD)
    accounts.delete_namespace(OPERATOR, "gone")
    accounts.create_org(OPERATOR, "acme")
    tries = [("alice", "wrong"), ("alice", ""), ("alice", PASSWORD + "\0"), ("alice", "x" * 5000), ("alice", "\ud800")]
    tries += [(name, PASSWORD) for name in ("by-link-only", "disabled1", "gone", "acme", "never-was", "", "x" * 9999)]
    tries += [("never-was", "nobody's password"), ("by-link-only", "nobody's password")]
    texts = set()
    for name, password in tries:
        with pytest.raises(Unauthenticated) as refused:
            accounts.actor_by_password(name, password)
        texts.add((refused.value.text, refused.value.status))
    assert len(texts) == 1


def test_T46_unknown_names_cost_the_same_time(accounts: Accounts, alice: int) -> None:
    def cpu_s(name: str) -> float:
        started = time.thread_time()
        with pytest.raises(Unauthenticated):
            accounts.actor_by_password(name, "wrong")
        return time.thread_time() - started

    cpu_s("alice")
    known = statistics.median(cpu_s("alice") for _ in range(4))
    unknown = statistics.median(cpu_s("never-was") for _ in range(4))
    assert 0.5 < known / unknown < 2


def fail(accounts: Accounts, name: str, address: str = "") -> None:
    with pytest.raises(Unauthenticated):
        accounts.actor_by_password(name, "wrong", address)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes that cost nothing, where a test is about how often they are asked for."""
    monkeypatch.setattr(passwords, "fits", lambda _stored, password: password == PASSWORD)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("name", ["alice", "never-was"])
def test_T46_tries_per_account_are_limited_whether_it_exists_or_not(
    accounts: Accounts, alice: int, clock: FixedClock, name: str
) -> None:
    for number in range(10):
        fail(accounts, name, f"10.0.0.{number}")
    with pytest.raises(TooMuch) as refused:
        accounts.actor_by_password(name.upper(), PASSWORD, "10.1.0.1")
    assert (refused.value.status, refused.value.headers["Retry-After"]) == (429, "600")
    clock.advance(599)
    with pytest.raises(TooMuch):
        accounts.actor_by_password(name, PASSWORD, "10.1.0.1")
    clock.advance(1)
    fail(accounts, name)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("other", ["2001:db8::ffff:0:0:7", "2001:db8::1%eth0"])
def test_T46_tries_per_address_are_limited_and_an_ipv6_network_is_one(
    accounts: Accounts, alice: int, other: str
) -> None:
    for number in range(10):
        fail(accounts, f"name{number}", "2001:db8::1")
    with pytest.raises(TooMuch):
        accounts.actor_by_password("alice", PASSWORD, other)
    assert accounts.actor_by_password("alice", PASSWORD, "2001:db8:0:1::1").user_id == alice


@pytest.mark.usefixtures("quick")
def test_successes_do_not_count_and_do_not_wash_failures_away(accounts: Accounts, alice: int) -> None:
    for _ in range(9):
        fail(accounts, "alice", "10.0.0.1")
    for _ in range(20):
        accounts.actor_by_password("alice", PASSWORD, "10.0.0.1")
    fail(accounts, "alice", "10.0.0.1")
    with pytest.raises(TooMuch):
        accounts.actor_by_password("alice", PASSWORD, "10.0.0.1")


@pytest.mark.usefixtures("quick")
def test_T11_tries_are_counted_by_the_clock_that_does_not_jump(
    accounts: Accounts, alice: int, clock: FixedClock
) -> None:
    for _ in range(10):
        fail(accounts, "alice")
    clock.at_ms += DAY_S * 1000
    with pytest.raises(TooMuch):
        accounts.actor_by_password("alice", PASSWORD)
    clock.at_ms -= 2 * DAY_S * 1000
    clock.ticked_s += 600
    assert accounts.actor_by_password("alice", PASSWORD).user_id == alice


def test_tries_at_once_count_before_they_are_decided(
    accounts: Accounts, alice: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, arrived = threading.Event(), threading.Semaphore(0)
    refusals: list[type[Exception]] = []

    def slow(_stored: str | None, _password: str) -> bool:
        arrived.release()
        assert gate.wait(10)
        return False

    def run() -> None:
        try:
            accounts.actor_by_password("alice", "wrong")
        except (TooMuch, Unauthenticated) as error:
            refusals.append(type(error))

    monkeypatch.setattr(passwords, "fits", slow)
    threads = [threading.Thread(target=run) for _ in range(15)]
    for thread in threads:
        thread.start()
    for _ in range(10):
        assert arrived.acquire(timeout=10)
    gate.set()
    for thread in threads:
        thread.join(10)
    assert (refusals.count(Unauthenticated), refusals.count(TooMuch)) == (10, 5)


def test_counted_names_are_bounded(clock: FixedClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "KEYS_MAX", 5)
    tries = passwords.Tries(clock, 3)
    for number in range(50):
        tries.take(f"name {number}", f"address {number}")
    assert len(tries._at) <= 5


def test_sign_ins_never_take_every_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "_turns", threading.BoundedSemaphore(1))
    monkeypatch.setattr(passwords, "WAIT_S", 0.01)
    passwords._turns.acquire()
    with pytest.raises(Unavailable):
        passwords.hashed("correct horse")


def test_a_damaged_hash_is_named_as_such(accounts: Accounts) -> None:
    with pytest.raises(Corrupt):
        passwords.fits("no hash", PASSWORD)


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.7", "address 192.0.2.7"),
        ("::ffff:192.0.2.7", "address 192.0.2.7"),
        ("2001:db8:1:2:3::", "address 20010db800010002::/64"),
        ("unix", "address unix"),
    ],
)
def test_what_counts_as_one_address(address: str, key: str) -> None:
    assert key == passwords.address_key(address)


def test_T46_every_sign_in_is_a_session_of_its_own(accounts: Accounts, alice: int) -> None:
    first, second = accounts.sign_in(alice), accounts.sign_in(alice)
    assert first != second
    (actor, csrf), (again, other_csrf) = accounts.actor_by_session(first), accounts.actor_by_session(second)
    assert actor.session_hash != again.session_hash
    assert csrf != other_csrf
    with pytest.raises(Unauthenticated):
        accounts.actor_by_session("a session that was planted")


def test_signing_out_ends_this_session_and_no_other(accounts: Accounts, alice: int) -> None:
    first, second = accounts.sign_in(alice), accounts.sign_in(alice)
    accounts.sign_out(accounts.actor_by_session(first)[0])
    with pytest.raises(Unauthenticated):
        accounts.actor_by_session(first)
    assert accounts.actor_by_session(second)[0].user_id == alice


def test_a_session_ends_by_itself_and_its_row_goes(accounts: Accounts, alice: int, clock: FixedClock) -> None:
    cookie = accounts.sign_in(alice)
    clock.advance(accounts.settings.session_s - 1)
    accounts.actor_by_session(cookie)
    clock.advance(1)
    with pytest.raises(Unauthenticated):
        accounts.actor_by_session(cookie)
    accounts.sign_in(alice)
    with accounts.db.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM session").scalar() == 1


def test_a_new_password_ends_the_sessions_and_links_of_the_old(accounts: Accounts, alice: int) -> None:
    cookie, link = accounts.sign_in(alice), accounts.make_signin_link(alice)
    accounts.set_password(accounts.actor_by_session(cookie)[0], "alice", "battery staple")
    with pytest.raises(Unauthenticated):
        accounts.actor_by_session(cookie)
    with pytest.raises(Unauthenticated):
        accounts.use_signin_link(link)
    with pytest.raises(Unauthenticated):
        accounts.actor_by_password("alice", PASSWORD)
    assert accounts.actor_by_password("alice", "battery staple").user_id == alice


def test_the_oldest_of_too_many_sessions_ends(
    accounts: Accounts, alice: int, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signin, "SESSIONS_PER_USER_MAX", 2)
    cookies = []
    for _ in range(3):
        clock.advance(1)
        cookies.append(accounts.sign_in(alice))
    clock.advance(5)
    with pytest.raises(Unauthenticated):
        accounts.actor_by_session(cookies[0])
    for cookie in cookies[1:]:
        accounts.actor_by_session(cookie)


def test_T46_a_link_signs_in_once(accounts: Accounts, alice: int) -> None:
    link = accounts.make_signin_link(alice)
    assert accounts.use_signin_link(link) == alice
    with pytest.raises(Unauthenticated):
        accounts.use_signin_link(link)


def test_T46_of_two_who_follow_a_link_at_once_one_gets_in(accounts: Accounts, alice: int) -> None:
    link = accounts.make_signin_link(alice)
    together, results = threading.Barrier(4), []

    def follow() -> None:
        together.wait(10)
        try:
            results.append(accounts.use_signin_link(link))
        except Unauthenticated:
            results.append(0)

    threads = [threading.Thread(target=follow) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(results) == [0, 0, 0, alice]


def test_a_link_that_is_late_or_wrong_or_of_a_disabled_user_is_refused_alike(
    accounts: Accounts, alice: int, clock: FixedClock
) -> None:
    late = accounts.make_signin_link(alice)
    clock.advance(accounts.settings.signin_link_s)
    accounts.create_user("bob")
    disabled = accounts.make_signin_link(accounts.user("bob").id)
    accounts.disable(OPERATOR, "bob")
    texts = set()
    for link in (late, disabled, "wrong", "", "x" * 100_000, "\ud800"):
        with pytest.raises(Unauthenticated) as refused:
            accounts.use_signin_link(link)
        texts.add(refused.value.text)
    assert len(texts) == 1


def test_only_administrators_make_links_and_only_for_users(
    accounts: Accounts, acme: Actor, somebody: Callable[..., Actor]
) -> None:
    boss = somebody("boss", is_admin=True)
    with pytest.raises(Forbidden):
        accounts.make_signin_link(boss.user_id or 0, by=acme)
    assert accounts.use_signin_link(accounts.make_signin_link(acme.user_id or 0, by=boss)) == acme.user_id
    for nobody in (accounts.namespace("acme").id, 999):
        with pytest.raises(EntryMissing):
            accounts.make_signin_link(nobody)


def test_T45_no_cookie_link_or_password_is_anywhere_in_the_data(accounts: Accounts, alice: int) -> None:
    cookie, link = accounts.sign_in(alice), accounts.make_signin_link(alice)
    for path in Path(accounts.db.path).parent.iterdir():
        for secret in (cookie, link, PASSWORD):
            assert secret.encode() not in path.read_bytes()


def test_a_csrf_secret_fits_only_whole() -> None:
    assert signin.csrf_fits("ab12", "ab12")
    for given in ("", "ab1", "ab123", "AB12", "\ud800", "é"):
        assert not signin.csrf_fits("ab12", given)
