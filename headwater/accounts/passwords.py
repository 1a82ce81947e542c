"""Passwords: argon2id, and how many guesses are heard. Refuses to know who has which.

Hashing is the one deliberately slow and large thing that a stranger may ask for, so only a few run at a time and the
rest are turned away: sign-ins must never take the machine from downloads.
"""

from __future__ import annotations

import contextlib
import math
import threading
import unicodedata
from collections import OrderedDict
from collections.abc import Iterator
from ipaddress import IPv6Address, ip_address

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from headwater.ground.clock import Clock
from headwater.ground.errors import Corrupt, Invalid, TooMuch, Unavailable

LENGTH_MIN = 8  # characters; NIST SP 800-63B section 5.1.1
BYTES_MAX = 1024
MEMORY_KIB = 19_456  # with two passes: the second choice of OWASP's password storage sheet, about 25 ms of one core
PASSES = 2
AT_ONCE = 2  # hashes computed at a time: 40 MB and two cores at most
WAIT_S = 3.0  # for a turn to hash; longer waits would hold the worker threads that serve downloads

WINDOW_S = 600.0
KEYS_MAX = 20_000  # accounts and addresses whose tries are counted, the least recently seen go first

_hasher = PasswordHasher(time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=1)
_turns = threading.BoundedSemaphore(AT_ONCE)
_nobodys: list[str] = []


def check_new(password: str) -> None:
    """Refuses what is too short to be chosen by a person; length is the only rule that helps."""
    check_length(password)
    if len(password) < LENGTH_MIN:
        raise Invalid(f"password: must have at least {LENGTH_MIN} characters")


def check_length(password: str) -> None:
    """Refuses what cannot be a password at all."""
    if not password or len(_bytes(password)) > BYTES_MAX:
        raise Invalid(f"password: must have 1 to {BYTES_MAX} bytes")


def hashed(password: str) -> str:
    """The text to store: argon2id with its parameters and salt (RFC 9106)."""
    with _turn():
        return _hasher.hash(_bytes(password))


def fits(stored: str | None, password: str) -> bool:
    """Whether `password` is the one stored. Costs the same time when there is none stored (T46)."""
    if not _nobodys:
        # Made at the first question of the process, whoever it is about: no account differs from another by it.
        _nobodys.append(hashed("nobody's password"))
    raw = _bytes(password)
    if len(raw) > BYTES_MAX:
        stored, raw = None, b""
    with _turn():
        try:
            _hasher.verify(stored or _nobodys[0], raw)
        except InvalidHashError as error:
            raise Corrupt("A stored password hash is damaged; set a new password.") from error
        except VerificationError:
            return False
    return stored is not None


def _bytes(password: str) -> bytes:
    # The same keys give other code points on other keyboards and systems (NIST SP 800-63B section 5.1.1.2).
    return unicodedata.normalize("NFKC", password[: BYTES_MAX + 1]).encode("utf-8", "surrogatepass")


@contextlib.contextmanager
def _turn() -> Iterator[None]:
    if not _turns.acquire(timeout=WAIT_S):
        raise Unavailable("Too many people are signing in just now. Try again in a moment.")
    try:
        yield
    finally:
        _turns.release()


def address_key(address: str) -> str:
    """What counts as one address: an IPv6 customer has 2^64 of them, so a /64 does."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return f"address {address[:100]}"
    if isinstance(parsed, IPv6Address):
        mapped = parsed.ipv4_mapped
        return f"address {mapped}" if mapped else f"address {int(parsed) >> 64:x}::/64"
    return f"address {parsed}"


class Tries:
    """Failed tries per key in the last ten minutes. A try counts from its start, so that 100 at once are not free."""

    def __init__(self, clock: Clock, most: int) -> None:
        self._clock = clock
        self._most = most
        self._lock = threading.Lock()
        self._at: OrderedDict[str, list[float]] = OrderedDict()

    def take(self, *keys: str) -> None:
        """Counts one try against every key; TooMuch (429, Retry-After in seconds) if any has none left."""
        tick_s = self._clock.tick_s()
        with self._lock:
            for key in keys:
                recent = [at_s for at_s in self._at.get(key, ()) if tick_s - at_s < WINDOW_S]
                if len(recent) >= self._most:
                    wait_s = max(1, math.ceil(recent[0] + WINDOW_S - tick_s))
                    raise TooMuch(
                        f"Too many sign-ins failed (setting signin_tries_max = {self._most} in ten minutes). "
                        f"Try again in {math.ceil(wait_s / 60)} minutes.",
                        status=429,
                        headers={"Retry-After": str(wait_s)},
                    )
                self._at[key] = recent
                self._at.move_to_end(key)
            for key in keys:
                self._at[key].append(tick_s)
            while len(self._at) > KEYS_MAX:
                self._at.popitem(last=False)

    def give_back(self, *keys: str) -> None:
        """The try succeeded: it does not count."""
        with self._lock:
            for key in keys:
                if self._at.get(key):
                    self._at[key].pop()
