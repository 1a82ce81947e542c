"""A hub's list of models over HTTP: page after page, resumable, no faster than the hub allows.

Asks `/api/models` with `expand`, follows `Link: rel="next"` on the same origin, waits as `Retry-After` and `RateLimit`
say. Every page is on the disk before the next is asked for, and `state.json` says where to go on: an import that was
cut off continues there. Asks as nobody: no token is sent, so nothing private comes into a snapshot.

Sources: the Hub's list API and its paging as huggingface_hub uses them; draft-ietf-httpapi-ratelimit-headers.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Protocol
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

import httpx2
import msgspec

from headwater.ground.errors import Conflict, Invalid, UpstreamFailed
from headwater.observatory.imports.job import Progress
from headwater.observatory.world import World

PAGE_MODELS = 1_000  # the Hub's own maximum
PAGE_BYTES_MAX = 256 << 20  # a thousand models with all their tags have some 5 MB
PAGES_MAX = 100_000  # a hundred million models
TRIES_MAX = 6
WAIT_S_MAX = 900.0  # what asks for more is told to the operator, who can go on later
BACKOFF_S = 2.0
CONNECT_S = 15.0
READ_S = 120.0
REDIRECTS_MAX = 3
RESTARTS_MAX = 4  # for fewer fields, or after a lost cursor
STATE_DAYS_MAX = 3  # a list that took longer to read is not of one date
_LINK_NEXT = re.compile(r'<([^<>]*)>\s*;[^,]*\brel="?next"?')
_RATE = re.compile(r"\br=(\d+)\b.*?\bt=(\d+)\b")

# What the Hub's API calls the fields that hub_stats.py reads; the second choice is for hubs that know fewer.
EXPANDS: tuple[tuple[str, ...], ...] = (
    ("author", "baseModels", "cardData", "config", "createdAt", "disabled", "downloads", "downloadsAllTime", "gated",
     "gguf", "inferenceProviderMapping", "lastModified", "library_name", "likes", "pipeline_tag", "private",
     "safetensors", "tags", "trendingScore", "usedStorage"),
    ("author", "cardData", "config", "createdAt", "downloads", "gated", "lastModified", "library_name", "likes",
     "pipeline_tag", "private", "safetensors", "tags"),
    (),
)  # fmt: skip


class Pace(Protocol):
    """Time, handed in, so that tests own it."""

    def now(self) -> datetime:
        """Naive UTC."""

    def wait(self, seconds: float) -> None:
        """Lets time pass."""


class RealPace:
    def now(self) -> datetime:
        return datetime.now(UTC).replace(tzinfo=None)

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)


class State(msgspec.Struct, frozen=True):
    """Where a fetch stands. `next` empty: all pages are here."""

    url: str
    next: str
    pages: int
    models: int
    began: str
    expand: int = 0


@dataclass(frozen=True, slots=True)
class Fetch:
    """All pages of a list, in order; each a JSON array of models."""

    files: tuple[Path, ...]
    name: str
    date: str


class _RefusedError(Exception):
    """The hub does not understand the question (400)."""


@contextlib.contextmanager
def fetched(world: World, source: str, progress: Progress, pace: Pace | None = None) -> Iterator[Fetch]:
    """The hub's whole list; the pages are deleted once the block has ended well.

    Raises UpstreamFailed when the hub can't be reached or answers with nonsense; what was read is kept.
    """
    pace = pace or RealPace()
    url, name = _address(source)
    folder = world.root / "fetch" / hashlib.sha256(url.encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder, url):
        with httpx2.Client(
            timeout=httpx2.Timeout(READ_S, connect=CONNECT_S),
            follow_redirects=False,
            headers={"User-Agent": "headwater-observatory", "Accept": "application/json"},
        ) as client:
            state = _Fetching(client, folder, url, progress, pace).all_pages()
        if not state.models:
            raise Invalid(f"import: {url} lists no models")
        yield Fetch(tuple(_page(folder, number) for number in range(state.pages)), name, state.began)
    shutil.rmtree(folder, ignore_errors=True)


def _address(source: str) -> tuple[str, str]:
    """(address of the list with the operator's filters, name of the source)"""
    try:
        parts = urlsplit(source)
        host = parts.hostname or ""
        port = parts.port
    except ValueError as error:
        raise Invalid(f"import: {source[:200]!r} is no address ({error})") from error
    if parts.scheme not in ("http", "https") or not host or parts.username or parts.password:
        raise Invalid(f"import: {source[:200]!r} must be http(s)://HOST/..., without a name or a password in it")
    path = parts.path.rstrip("/")
    if not path.endswith("/api/models"):
        path = f"{path}/api/models"
    filters = [
        (key, value) for key, value in parse_qsl(parts.query) if key not in ("expand", "expand[]", "limit", "cursor")
    ]
    query = urlencode(filters)
    name = host.lower() + (f"-{port}" if port else "")
    if query:
        name += f"-{hashlib.sha256(query.encode()).hexdigest()[:8]}"
    clean = re.sub(r"[^a-z0-9._-]+", "-", name).strip("-._")
    return f"{parts.scheme}://{parts.netloc}{path}" + (f"?{query}" if query else ""), clean


@contextlib.contextmanager
def _alone(folder: Path, url: str) -> Iterator[None]:
    handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Conflict(f"import: {url} is being read by another process") from error
        yield
    finally:
        os.close(handle)


def _page(folder: Path, number: int) -> Path:
    return folder / f"page-{number:06d}.json"


class _Fetching:
    """One fetch, from its state on the disk to the last page."""

    def __init__(self, client: httpx2.Client, folder: Path, url: str, progress: Progress, pace: Pace) -> None:
        self._client = client
        self._folder = folder
        self._url = url
        self._origin = _origin(url)
        self._progress = progress
        self._pace = pace

    def all_pages(self) -> State:
        state = self._resumed()
        self._progress.stage(f"asking {self._url}" + (f", from page {state.pages + 1} on" if state.pages else ""))
        asked: set[str] = set()
        restarts = 0
        while state.next:
            if state.next in asked or state.pages >= PAGES_MAX:
                raise UpstreamFailed(f"import: {self._origin} goes in a circle at page {state.pages + 1}")
            asked.add(state.next)
            try:
                body, following = self._get(state.next)
            except _RefusedError as error:
                restarts += 1
                if restarts > RESTARTS_MAX:
                    raise UpstreamFailed(f"import: {self._origin} refuses the question: {error}") from error
                state = self._asked_otherwise(state, error)
                asked.clear()
                continue
            count = self._keep(body, state.pages)
            state = msgspec.structs.replace(state, next=following, pages=state.pages + 1, models=state.models + count)
            self._save(state)
            self._progress.done(state.models, None, "models")
        return state

    def _resumed(self) -> State:
        file = self._folder / "state.json"
        try:
            state = msgspec.json.decode(file.read_bytes(), type=State)
            age = self._pace.now() - datetime.fromisoformat(state.began)
        except (OSError, msgspec.MsgspecError, ValueError):
            return self._begun(0)
        whole = all(_page(self._folder, number).is_file() for number in range(state.pages))
        if state.url != self._url or age.days >= STATE_DAYS_MAX or not whole:
            return self._begun(0)
        return state

    def _begun(self, expand: int) -> State:
        began = self._pace.now().date().isoformat()
        asked = [("limit", str(PAGE_MODELS)), ("sort", "createdAt"), ("direction", "-1")]
        # Newest first: what is made while we read would else push models over a page's end.
        asked += [("expand", one) for one in EXPANDS[expand]] or [
            ("full", "true"),
            ("cardData", "true"),
            ("config", "true"),
        ]
        glue = "&" if "?" in self._url else "?"
        return State(self._url, f"{self._url}{glue}{urlencode(asked)}", 0, 0, began, expand)

    def _asked_otherwise(self, state: State, error: _RefusedError) -> State:
        """A hub that refuses the first page knows fewer fields; one that refuses a later page has lost the cursor."""
        expand = state.expand if state.pages else state.expand + 1
        if expand >= len(EXPANDS):
            raise UpstreamFailed(f"import: {self._origin} refuses the question: {error}") from error
        return self._begun(expand)

    def _keep(self, body: bytes, number: int) -> int:
        try:
            count = len(msgspec.json.decode(body, type=list[msgspec.Raw]))
        except (msgspec.MsgspecError, RecursionError) as error:
            raise UpstreamFailed(
                f"import: page {number + 1} of {self._url} is no JSON list ({str(error)[:100]})"
            ) from error
        _write(_page(self._folder, number), body)
        return count

    def _save(self, state: State) -> None:
        _write(self._folder / "state.json", msgspec.json.encode(state))

    def _get(self, url: str) -> tuple[bytes, str]:
        """(body, address of the next page or nothing)"""
        for attempt in range(TRIES_MAX):
            try:
                answer = self._answer(url)
            except (httpx2.HTTPError, httpx2.InvalidURL) as error:
                self._wait(BACKOFF_S * 2**attempt, f"{type(error).__name__}: {str(error)[:100]}")
                continue
            if isinstance(answer, tuple):
                return answer
            self._wait(answer if answer >= 0 else BACKOFF_S * 2**attempt, "it asks for patience")
        raise UpstreamFailed(f"import: {self._origin} gave no page in {TRIES_MAX} tries; run the import again to go on")

    def _answer(self, url: str) -> tuple[bytes, str] | float:
        """A page, or how long to wait (below 0: as the client thinks right)."""
        for _ in range(REDIRECTS_MAX + 1):
            with self._client.stream("GET", url) as answer:
                if answer.is_redirect:
                    url = self._same_origin(urljoin(url, answer.headers.get("Location", "")))
                    continue
                return self._read(answer, url)
        raise UpstreamFailed(f"import: {self._origin} redirects more than {REDIRECTS_MAX} times")

    def _read(self, answer: httpx2.Response, url: str) -> tuple[bytes, str] | float:
        status = answer.status_code
        if status == 429 or status >= 500:
            return _retry_after(answer.headers.get("Retry-After", ""), answer.headers.get("RateLimit", ""), self._pace)
        body = bytearray()
        for part in answer.iter_bytes():
            body += part
            if len(body) > PAGE_BYTES_MAX:
                raise UpstreamFailed(f"import: {self._origin} sends a page of more than {PAGE_BYTES_MAX} bytes")
        if status == 400:
            raise _RefusedError(bytes(body[:200]).decode(errors="replace"))
        if status != 200:
            raise UpstreamFailed(f"import: {self._origin} answers {status} to {self._url}")
        following = _LINK_NEXT.search(answer.headers.get("Link", ""))
        rate = _RATE.search(answer.headers.get("RateLimit", ""))
        if following and rate and rate[1] == "0":
            self._wait(float(rate[2]), "its limit of requests is reached")
        return bytes(body), self._same_origin(urljoin(url, following[1])) if following else ""

    def _same_origin(self, url: str) -> str:
        """Where a hub sends us must be itself: an answer must not choose whom we ask."""
        if _origin(url) != self._origin:
            raise UpstreamFailed(f"import: {self._origin} points to another place, {url[:100]!r}")
        return url

    def _wait(self, seconds: float, why: str) -> None:
        if seconds > WAIT_S_MAX:
            raise UpstreamFailed(
                f"import: {self._origin} asks to wait {seconds:.0f} s; run the import again later, it goes on from here"
            )
        self._progress.stage(f"waiting {seconds:.0f} s for {self._origin}: {why}")
        self._pace.wait(seconds)


def _origin(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
    except ValueError:
        return ""
    return f"{parts.scheme}://{(parts.hostname or '').lower()}:{port}"


def _retry_after(after: str, rate: str, pace: Pace) -> float:
    """Seconds, from Retry-After (seconds or a date) or RateLimit (t=); below 0: not said."""
    if after.strip().isdecimal():
        return float(after)
    with contextlib.suppress(ValueError):
        when = parsedate_to_datetime(after)
        naive = when.astimezone(UTC).replace(tzinfo=None) if when.tzinfo else when
        return max(0.0, (naive - pace.now()).total_seconds())
    found = _RATE.search(rate)
    return float(found[2]) if found else -1.0


def _write(file: Path, content: bytes) -> None:
    fresh = file.with_suffix(".part")
    fresh.write_bytes(content)
    fresh.replace(file)
