"""Git smart HTTP without the HTTP: what `git clone`, `git fetch` and `git push` say, as bytes in and bytes out.

Fetching is git's own `upload-pack` in a child process. Pushing is done here, since git alone would say "ok" before the
hub's rules were asked and the database knows: the pack goes into quarantine, every new object is looked at, then it is
made durable, then all refs move by the same intent, ref, settle as any commit's, and only then is it acknowledged
(T21). If one ref is refused, none moves.

Source: git's gitprotocol-http, gitprotocol-pack and gitprotocol-v2. Refuses to know URLs, headers, encodings and who
may see the repo: it was opened by whoever calls.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from headwater import __version__
from headwater.accounts.actor import Actor
from headwater.ground import names
from headwater.ground.clock import Clock
from headwater.ground.errors import HeadwaterError, Invalid, RepoMissing, Stale, TooMuch
from headwater.ground.faults import checkpoint
from headwater.ground.log import log
from headwater.ground.names import RefName
from headwater.ground.settings import Settings
from headwater.repos import child, pktline
from headwater.repos.git import Git, missing_if_gone
from headwater.repos.holds import Holds
from headwater.repos.inspection import EXTENTS_KEPT, Check, Extents, Findings, Inspection, Limits, Tip
from headwater.repos.lru import Lru
from headwater.repos.moves import MAIN, Moves
from headwater.repos.objects import disk_errors, fsync_folder
from headwater.repos.pull_requests import PullRequests
from headwater.repos.refs import misread, pull_number
from headwater.repos.registry import require
from headwater.repos.values import RefMove, Repo

UPLOAD_PACK, RECEIVE_PACK = "git-upload-pack", "git-receive-pack"
REFS_MAX = 1000  # of one push: each is checked by processes of its own
OBJECTS_MAX = 5_000_000  # of one push: an index of it is held in memory while it is made
FETCHED_AT_ONCE = 64  # clones and fetches: two processes each and some 20 MB, for as long as the client takes
FETCH_WAIT_S = 120.0  # for the end of one of them
LOOK_S = 0.05  # for a turn, at a time: those who wait share their threads with those who have one
CHECKED_AT_ONCE = 4  # pushes: each takes a processor, and for a moment perhaps as much memory as a child may have
INDEX_CPU_S = 120  # to unpack a push of any size, and a second more for each INDEX_BYTES_A_S of it: large histories
INDEX_BYTES_A_S = 1 << 20  # take a quarter of that, while a few hundred bytes can be made to unfold to terabytes
FETCH_BYTES_MAX = 16 << 20  # of one fetch request: a hundred thousand wants and haves
KEEPALIVE_S = (
    5.0  # silence after which clients and proxies are shown that we live; git's own receive-pack does the same
)
REASON_LENGTH_MAX = 300  # of one ref's status line

_NONE = "0" * 40
_MOVED = "stale info: the ref is not where you think it is; fetch first"
_COMMAND = re.compile(rb"([0-9a-f]{40}) ([0-9a-f]{40}) ([^\0\n]+)(?:\0([^\n]*))?\n?\Z")
_VERSION = re.compile(r"(?:^|:)version=([12])(?:\Z|:)")
_CAPABILITIES = (
    f"report-status delete-refs side-band-64k quiet atomic ofs-delta object-format=sha1 agent=headwater/{__version__}"
)


class Stream:
    """Bytes on their way out. The first step was made before this is returned, so that a refusal is an error instead.

    Whoever stops early calls `close`: child processes end and the quarantine is dropped.
    """

    def __init__(self, steps: Generator[bytes, None, None]) -> None:
        self._steps = steps
        self._first = next(steps, None)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        return next(self._steps)

    def close(self) -> None:
        self._steps.close()


@dataclass(frozen=True, slots=True)
class Command:
    """`old` and `new` None: the ref is created, deleted."""

    ref: str
    old: str | None
    new: str | None


@dataclass(frozen=True, slots=True)
class _Push:
    actor: Actor
    repo: Repo
    commands: tuple[Command, ...]
    capabilities: frozenset[str]
    check_card: Check


class Wire:
    def __init__(
        self, git: Git, moves: Moves, holds: Holds, pull_requests: PullRequests, clock: Clock, settings: Settings
    ) -> None:
        self._git = git
        self._moves = moves
        self._holds = holds
        self._pull_requests = pull_requests
        self._clock = clock
        self._push_max = settings.push_max
        self._limits = Limits(settings.inline_file_max, text_only=True)
        self._fetching = threading.Semaphore(FETCHED_AT_ONCE)
        self._checking = threading.Semaphore(CHECKED_AT_ONCE)
        self._extents: Extents = Lru(EXTENTS_KEPT)

    # Asking

    def advertise(self, repo: Repo, service: str, protocol: str | None) -> Stream:
        """The answer to `info/refs?service=`; `protocol` is the Git-Protocol header. Invalid: no such service."""
        if service == UPLOAD_PACK:
            return Stream(self._advertise_fetch(repo, _version(protocol)))
        if service == RECEIVE_PACK:
            return Stream(self._advertise_push(repo))
        raise Invalid(f"service: {service[:40]!r} is not one of {UPLOAD_PACK}, {RECEIVE_PACK}")

    def _advertise_fetch(self, repo: Repo, version: str | None) -> Generator[bytes, None, None]:
        if version != "2":
            yield _announcement(UPLOAD_PACK)
        yield from self._upload_pack(repo, ["--http-backend-info-refs"], subprocess.DEVNULL, version)

    def _advertise_push(self, repo: Repo) -> Generator[bytes, None, None]:
        yield _announcement(RECEIVE_PACK)
        refs = sorted(self._moves.refs(repo.id).items()) or [("capabilities^{}", _NONE)]
        said = f"\0{_CAPABILITIES}"
        for name, target in refs:
            yield pktline.line(f"{target} {name}{said}\n".encode())
            said = ""
        yield pktline.FLUSH

    # Fetching

    def upload_pack(self, repo: Repo, body: Iterable[bytes], protocol: str | None) -> Stream:
        """The answer to one POST of a fetch; `body` is read whole first, as git's clients wait for its end anyway."""
        return Stream(self._fetch(repo, body, _version(protocol)))

    def _fetch(self, repo: Repo, body: Iterable[bytes], version: str | None) -> Generator[bytes, None, None]:
        # Not on the hub's own disk: a clone is a read, and goes on when that disk is full or read-only (T05).
        with disk_errors():
            spooled = tempfile.TemporaryFile()  # noqa: SIM115 - closed by the block below
        with spooled as request:
            size_bytes = 0
            for step in body:
                size_bytes += len(step)
                if size_bytes > FETCH_BYTES_MAX:
                    raise TooMuch(f"A git fetch request may have {FETCH_BYTES_MAX} bytes.")
                with disk_errors():
                    request.write(step)
            request.seek(0)
            if not (yield from self._turn_to_fetch()):
                yield pktline.line(b"ERR This hub serves as many clones as it can; try again in a few minutes.\n")
                return
            try:
                yield from self._upload_pack(repo, [], request.fileno(), version)
            finally:
                self._fetching.release()

    def _turn_to_fetch(self) -> Generator[bytes, None, bool]:
        """False: there was none in all that time. Empty steps show whoever sends them whether the client is there."""
        if self._fetching.acquire(blocking=False):
            return True
        since_s = self._clock.tick_s()
        while self._clock.tick_s() - since_s < FETCH_WAIT_S:
            yield b""
            if self._fetching.acquire(timeout=LOOK_S):
                return True
        return False

    def _upload_pack(
        self, repo: Repo, options: Sequence[str], source: int, version: str | None
    ) -> Generator[bytes, None, None]:
        git_dir = self._git.path(repo.id)
        environment = {"GIT_PROTOCOL": f"version={version}"} if version else {}
        arguments = ["upload-pack", "--strict", "--stateless-rpc", *options, str(git_dir)]
        with child.running(arguments, git_dir, source, environment) as running:
            said = False
            while step := running.stdout.read1(child.STEP_BYTES):
                said = True
                yield step
            ended = running.done(child.END_WAIT_S)
            if ended and running.process.returncode == 0:
                return
            why = child.reason(running, git_dir)
            if not said:
                raise Invalid(f"git upload-pack refused the request: {why}")
            # What went wrong stands in the bytes that were sent, as the protocol has it.
            log.info("upload-pack ended early", repo_id=repo.id, why=why)

    # Pushing

    def admit_push(self, actor: Actor, repo: Repo) -> None:
        """Whoever may write to the repo may push, and whoever opened a pull request: to that one's ref alone."""
        if not (_may_write(actor, repo) or self._pull_requests.has_own(actor, repo)):
            require(actor, repo, "write")

    def receive_pack(self, actor: Actor, repo: Repo, body: Iterable[bytes], check_card: Check) -> Stream:
        """The answer to one POST of a push. `check_card` says what is wrong with a README.md's front matter.

        Forbidden, Invalid or TooMuch for what is asked; what is wrong with the pack stands in the answer, one reason a
        ref, as git shows them. The first step of the answer comes at once, and is empty where the rest takes its time.
        """
        self.admit_push(actor, repo)
        return Stream(self._receive(actor, repo, pktline.Body(body, self._push_max), check_card))

    def _receive(self, actor: Actor, repo: Repo, body: pktline.Body, check_card: Check) -> Generator[bytes, None, None]:
        commands, capabilities = _commands(body)
        if not commands:
            return  # a client that tries whether it is let in sends a flush and nothing else
        push = _Push(actor, repo, commands, capabilities, check_card)
        refused = self._refused(push)
        if refused:
            for _ in body.rest():  # the client listens only after it has sent everything
                pass
            yield from _report(push, _none_moves(push, refused))
            return
        if all(command.new is None for command in commands):
            yield from self._acknowledge(push, None, {})
            return
        yield b""
        seen_s = self._clock.tick_s()
        while not self._checking.acquire(timeout=LOOK_S):
            is_long = self._clock.tick_s() - seen_s > KEEPALIVE_S
            seen_s = self._clock.tick_s() if is_long else seen_s
            yield _sign_of_life(push) if is_long else b""
        try:
            with self._quarantine() as folder:
                yield from self._receive_pack(push, body, folder)
        except HeadwaterError as error:
            _note(error, push)
            yield from _report(push, {command.ref: error.text for command in push.commands})
        finally:
            self._checking.release()

    def _receive_pack(self, push: _Push, body: pktline.Body, folder: Path) -> Generator[bytes, None, None]:
        failure = yield from self._index(push, body, folder)
        checkpoint("push.received")
        if failure is not None:
            yield from _report(push, {command.ref: failure for command in push.commands})
            return
        inspection = self._inspection(push, folder)
        seen_s = self._clock.tick_s()
        for _ in inspection.steps(_tips(push.commands)):
            if self._clock.tick_s() - seen_s > KEEPALIVE_S:
                seen_s = self._clock.tick_s()
                yield _sign_of_life(push)
        refused, told = _verdict(inspection.findings, self._limits)
        checkpoint("push.checked")
        if refused:
            yield from _report(push, _none_moves(push, refused), told)
            return
        yield from self._acknowledge(push, folder, inspection.held_paths())

    def _refused(self, push: _Push) -> dict[str, str]:
        """Refs that may not be moved like that, whatever they would lead to."""
        now = self._moves.refs(push.repo.id)
        writes = _may_write(push.actor, push.repo)
        refused: dict[str, str] = {}
        for command in push.commands:
            why = _against(command, now)
            if why is None and not writes and not self._pull_requests.is_own(push.actor, push.repo, command.ref):
                why = "you may push to the pull requests that you opened, and to nothing else here"
            if why is not None:
                refused[command.ref] = why
        if len({command.ref for command in push.commands}) < len(push.commands):
            refused[push.commands[-1].ref] = "a ref is named twice"
        return refused

    @contextlib.contextmanager
    def _quarantine(self) -> Iterator[Path]:
        folder = self._git.incoming / f"push-{self._git.stem()}"
        with disk_errors():
            (folder / "pack").mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _environment(self, repo: Repo, folder: Path) -> dict[str, str]:
        """Git writes into the quarantine and sees the repo's own objects behind it."""
        own = str(self._git.path(repo.id).resolve() / "objects").replace("\\", "\\\\").replace('"', '\\"')
        return {
            "GIT_OBJECT_DIRECTORY": str(folder.resolve()),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": f'"{own}"',
            "GIT_QUARANTINE_PATH": str(folder.resolve()),
        }

    def _index(self, push: _Push, body: pktline.Body, folder: Path) -> Generator[bytes, None, str | None]:
        """The pack as it comes, checked object by object by `index-pack`. What was wrong with it; None: nothing."""
        arguments = ["index-pack", "--stdin", "--fix-thin", "--strict", "--threads=1"]
        git_dir, environment = self._git.path(push.repo.id), self._environment(push.repo, folder)
        with child.running(arguments, git_dir, subprocess.PIPE, environment) as running:
            head = b""
            reads = True
            seen_s = self._clock.tick_s()
            for step in body.rest():
                if len(head) < 12:
                    head += step[: 12 - len(head)]
                    if head[:4] == b"PACK" and int.from_bytes(head[8:12], "big") > OBJECTS_MAX:
                        raise TooMuch(f"A push may have {OBJECTS_MAX} objects; push the history in parts.")
                running.allow_cpu(INDEX_CPU_S + body.read_bytes // INDEX_BYTES_A_S)
                # If it has stopped reading, the rest is read for nothing: it will say why.
                reads = reads and running.feed(step)
                if self._clock.tick_s() - seen_s > KEEPALIVE_S:
                    seen_s = self._clock.tick_s()
                    yield _sign_of_life(push)
            running.end_input()
            while not running.done(KEEPALIVE_S):
                yield _sign_of_life(push)
            if running.process.returncode == 0:
                return None
            return f"the pack was refused: {child.reason(running, folder)}"

    def _inspection(self, push: _Push, folder: Path) -> Inspection:
        return Inspection(
            self._git.path(push.repo.id),
            self._environment(push.repo, folder),
            self._limits,
            lambda shas: self._holds.nameable(push.actor, push.repo, shas),
            push.check_card,
            extents=self._extents,
        )

    def _acknowledge(
        self, push: _Push, folder: Path | None, held: Mapping[names.Sha256, str]
    ) -> Generator[bytes, None, None]:
        """Objects, then intents, then refs; each durable before the next, and the answer after all of them."""
        moves = [RefMove(RefName(c.ref), c.old, c.new) for c in push.commands if c.old != c.new]
        error: HeadwaterError | None = None
        try:
            with self._moves.turn(push.repo.id):
                # The repo may be gone since, and the refs elsewhere: then the pack is not taken for nothing.
                self._moves.check(push.repo.id, moves)
                if folder is not None:
                    self._land(push.repo, folder)
                checkpoint("push.landed")
                self._moves.apply(
                    push.actor,
                    push.repo,
                    moves,
                    "push",
                    with_intent=lambda connection: self._holds.commit(connection, push.repo.id, held),
                )
        except HeadwaterError as caught:
            error = caught
            _note(error, push)
        refused: dict[str, str] = {}
        if error is not None:
            # After a failing disk some may have moved nevertheless: said as it is.
            now = {} if isinstance(error, RepoMissing) else self._moves.refs(push.repo.id)
            why = _MOVED if isinstance(error, Stale) else error.text
            refused = {c.ref: why for c in push.commands if now.get(c.ref) != c.new}
        yield from _report(push, refused)

    def _land(self, repo: Repo, folder: Path) -> None:
        """The quarantined pack becomes the repo's, durably."""
        root = self._git.path(repo.id)
        target = root / "objects" / "pack"
        if not any(_objects_in(pack) for pack in (folder / "pack").glob("*.pack")):
            return  # refs to commits that were here before come with an empty pack
        with missing_if_gone(root), disk_errors():
            # The index last: git looks for indexes and expects the pack beside them.
            for suffix in (".pack", ".idx"):
                for file in sorted((folder / "pack").glob(f"pack-*{suffix}")):
                    _fsync(file)
                    file.rename(target / file.name)
            fsync_folder(target)
        self._git.forget(repo.id)


def _may_write(actor: Actor, repo: Repo) -> bool:
    return actor.may_write(namespace_id=repo.namespace_id, creator_id=repo.creator_id)


def _version(protocol: str | None) -> str | None:
    """Of a Git-Protocol header only the version is handed on; nothing of it as it came."""
    found = _VERSION.search(protocol or "")
    return found[1] if found else None


def _announcement(service: str) -> bytes:
    return pktline.line(f"# service={service}\n".encode()) + pktline.FLUSH


def _commands(body: pktline.Body) -> tuple[tuple[Command, ...], frozenset[str]]:
    commands: list[Command] = []
    capabilities: frozenset[str] = frozenset()
    for line in body.lines(REFS_MAX):
        if line.startswith(b"shallow "):
            continue  # whether the history is whole is seen when the objects are looked at
        found = _COMMAND.match(line)
        if found is None:
            raise Invalid(f"git request: {line[:100]!r} is not a command")
        if found[4] is not None and not commands:
            capabilities = frozenset(found[4].decode("utf-8", "replace").split())
        old, new = (None if oid == _NONE else oid for oid in (found[1].decode(), found[2].decode()))
        commands.append(Command(found[3].decode("utf-8", "surrogateescape"), old, new))
    return tuple(commands), capabilities


def _against(command: Command, now: Mapping[str, str]) -> str | None:
    """Why this ref may not be moved like that; None: it may."""
    form = _against_name(command.ref, is_new=command.ref not in now)
    if form is not None:
        return form
    if command.new is None and command.ref == MAIN:
        return f"Cannot delete {MAIN}"
    if pull_number(command.ref) is not None and (command.new is None or command.ref not in now):
        return "pull refs are made by opening a pull request, and stay"
    if command.old != now.get(command.ref):
        return _MOVED
    return "no such ref" if command.old is command.new is None else None


def _against_name(ref: str, *, is_new: bool) -> str | None:
    if pull_number(ref) is not None:
        return None
    for prefix in ("refs/heads/", "refs/tags/"):
        name = ref.removeprefix(prefix)
        if name != ref:
            try:
                names.ref_part(name)
            except Invalid:
                return "not a valid ref name"
            why = misread(name) if is_new else None
            return why and f"the name {why}"
    return "only refs/heads/*, refs/tags/* and refs/pr/N can be pushed"


def _tips(commands: Sequence[Command]) -> list[Tip]:
    """Branches first: tags mostly name what branches bring."""
    tips = [Tip(c.ref, c.old, c.new, c.ref.startswith("refs/tags/")) for c in commands if c.new is not None]
    return sorted(tips, key=lambda tip: tip.is_tag)


def _verdict(findings: Sequence[Findings], limits: Limits) -> tuple[dict[str, str], list[str]]:
    refused: dict[str, str] = {}
    told: list[str] = []
    for found in findings:
        why = found.reason()
        if why is not None:
            refused[found.ref] = why
            told += found.text(limits)
    return refused, told


def _sign_of_life(push: _Push) -> bytes:
    """Empty where the protocol has none: even then it is seen, by whoever sends it, that the client has left."""
    return pktline.KEEPALIVE if "side-band-64k" in push.capabilities else b""


def _note(error: HeadwaterError, push: _Push) -> None:
    """What is the hub's own trouble is for its log, too: HTTP says 200 however the push ends."""
    if error.status >= 500:
        log.warning("push failed", repo_id=push.repo.id, code=error.code, text=error.text)


def _report(push: _Push, refused: Mapping[str, str], told: Sequence[str] = ()) -> Iterator[bytes]:
    """What became of each ref, and what there is to say about it."""
    lines = [b"unpack ok\n" if len(refused) < len(push.commands) else b"unpack push refused\n"]
    for command in push.commands:
        ref = command.ref.encode("utf-8", "surrogateescape")
        why = refused.get(command.ref)
        lines.append(b"ok %s\n" % ref if why is None else b"ng %s %s\n" % (ref, _one_line(why)))
    report = b"".join(pktline.line(line) for line in lines) + pktline.FLUSH
    if "side-band-64k" not in push.capabilities:
        yield report
        return
    yield from pktline.band(pktline.PROGRESS, "".join(f"{text}\n" for text in told).encode())
    yield from pktline.band(pktline.REPORT, report)
    yield pktline.FLUSH


def _none_moves(push: _Push, refused: Mapping[str, str]) -> dict[str, str]:
    """All or nothing: the refs with which nothing is wrong are refused as well."""
    return {c.ref: refused.get(c.ref, "another ref of this push was refused, so none was moved") for c in push.commands}


def _one_line(text: str) -> bytes:
    return " ".join(text.split())[:REASON_LENGTH_MAX].encode("utf-8", "replace")


def _objects_in(pack: Path) -> int:
    with pack.open("rb") as file:
        return int.from_bytes(file.read(12)[8:], "big")


def _fsync(file: Path) -> None:
    handle = os.open(file, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
