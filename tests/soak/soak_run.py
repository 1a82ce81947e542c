"""A store that is used by several processes which are killed all the time, for as long as one likes.

    python tests/soak/soak_run.py [--seconds 3600] [--seed N] [--files N] [--audit-every KILLS] [--data FOLDER]

The parent knows what was acknowledged, since each life tells of every step over a pipe before the next. It kills them at
random times (and lets some die at a named checkpoint), starts them again, and compares what is there with what must be.
Every so many kills everything is read back, verified and looked at; some files are restored without Headwater. At the
end all is deleted, and the space has to be free. Ends with 1, and keeps the data folder, when anything was wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # so that nothing runs beside us when we fork
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from soak_corpus import Sample, Shipping, corpus
from soak_lives import CRASHES, DATABASE, Life, line, play

from headwater import codec
from headwater.codec import Form, Limits, Parent
from headwater.ground.db import Database
from headwater.ground.names import Sha256
from headwater.store.objects import LocalObjects

RESTORE = Path(__file__).resolve().parents[2] / "tools" / "restore.py"
MEMORY = Path("/dev/shm")  # a killed process leaves the same there as on a disk, which is not what is tested
RESTORE_S = 120
RESTORED_BYTES_MAX = 700_000  # the plain reader is a thousand times slower
TOGETHER = ("hub", "sealer", "janitor")
LIFE_S = (0.1, 2.0)  # between these lies the mean of the time that a life has
PATIENCE = {"sealer": 3.0, "janitor": 2.0}  # so many times that: one file may take a second
SELF_KILLED_SHARE = 0.3  # of lives: they end at a checkpoint, if they reach it in time
AUDIT_S = 300
STEPS_KEPT = 200
SILENCE_S = 120.0  # of a life: it hangs
LEFT_BYTES_MAX = 4096  # when all was deleted: beginnings of packs
PR_SET_PDEATHSIG = 1
TELL_EVERY_S = 60.0


class Failed(Exception):
    """The soak found something."""


@dataclass
class Running:
    """A life, as its parent sees it."""

    role: str
    pid: int
    pipe: int
    until_s: float
    crash: tuple[str, int] | None
    heard_s: float
    buffer: bytes = b""
    step: tuple[str, str] | None = None  # what is under way, and with which file
    since: int = 0  # the number of the message that began it
    told: list[object] = field(default_factory=list)


class Soak:
    def __init__(self, data: Path, seed: int, samples: Sequence[Sample]) -> None:
        self.data, self.chance = data, random.Random(seed)
        self.samples = {sample.sha256: sample for sample in samples}
        self.shipping = Shipping(list(samples))
        self.present: set[Sha256] = set()
        self.doubtful: set[Sha256] = set()
        self.touched: dict[str, int] = {}  # the last message that told of deleting a file
        self.messages = self.kills = 0
        self.counts: Counter[str] = Counter()
        self.ends: Counter[str] = Counter()
        self.restored: Counter[str] = Counter()
        self.not_restored: list[str] = []
        self.faults: list[str] = []  # of the codec, which cost nobody a byte
        self.history: deque[str] = deque(maxlen=STEPS_KEPT)
        self.running: dict[str, Running] = {}
        self.audits: list[dict[str, int]] = []
        self.begun_s = time.monotonic()
        self._told_s = self.begun_s
        self._log = (data / "lives.log").open("ab")
        shutil.copytree(RESTORE.parent, data / "tools")  # others may be writing a new one

    # --- lives ---

    def begin(self, role: str, mean_s: float | None) -> None:
        """Forks a life that is killed after a time of that mean; none: it may end by itself."""
        crash = None
        if mean_s is not None and self.chance.random() < SELF_KILLED_SHARE:
            crash = (self.chance.choice(CRASHES[role]), self.chance.choice((1, 1, 2, 5)))
            mean_s *= 4
        seed = self.chance.getrandbits(64)
        mine, theirs = os.pipe()
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            self._live(role, seed, theirs, crash)
        os.close(theirs)
        now_s = time.monotonic()
        until_s = now_s + (self.chance.expovariate(1 / mean_s) if mean_s is not None else AUDIT_S)
        self.running[role] = Running(role, pid, mine, until_s, crash, now_s)
        self.note(role, f"begins as {pid}, crash {crash}")

    def _live(self, role: str, seed: int, pipe: int, crash: tuple[str, int] | None) -> None:
        """The child's side; never returns."""
        status = 1
        try:
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            os.dup2(self._log.fileno(), 1)
            os.dup2(self._log.fileno(), 2)

            def say(told: object) -> None:
                os.write(pipe, line(told))

            try:
                play(
                    Life(
                        role, self.data, random.Random(seed), self.samples, self.shipping, set(self.present),
                        set(self.doubtful), say, crash,
                    )
                )  # fmt: skip
                status = 0
            except BaseException:  # noqa: BLE001 - whatever it is, the parent has to be told
                say(["failed", traceback.format_exc()[-3500:]])
        finally:
            os._exit(status)

    def note(self, role: str, text: str) -> None:
        self.history.append(f"{time.monotonic() - self.begun_s:9.3f} {role:8} {text}")

    def hear(self, life: Running) -> bool:
        """Takes what a life has said; False when it has ended."""
        data = os.read(life.pipe, 1 << 16)
        *lines, life.buffer = (life.buffer + data).split(b"\n")
        for one in lines:
            life.heard_s = time.monotonic()
            self.take(life, json.loads(one))
        return bool(data)

    def take(self, life: Running, told: list[object]) -> None:
        self.messages += 1
        self.note(life.role, " ".join(str(part) for part in told))
        match told:
            case ["begin", str(kind), str(name)]:
                life.step, life.since = (kind, name), self.messages
                if kind in ("delete", "purge"):
                    self.touched[name] = self.messages
            case ["end", str(outcome)]:
                self.done(life, outcome)
            case ["settled", str(name), bool(here)]:
                self.doubtful.discard(Sha256(name))
                (self.present.add if here else self.present.discard)(Sha256(name))
                self.counts[f"settled.{'here' if here else 'not'}"] += 1
            case ["failed", str(text)]:
                raise Failed(f"the {life.role} ended with\n{text}")
            case _:
                life.told.append(told)

    def done(self, life: Running, outcome: str) -> None:
        assert life.step is not None
        kind, name = life.step
        life.step = None
        sha256 = Sha256(name)
        self.counts[f"{kind} {outcome.partition(':')[0]}".strip()] += 1
        if kind in ("put", "put.xet") and outcome == "done":
            self.present.add(sha256)
        if kind in ("delete", "purge"):
            self.touched[name] = self.messages
            if outcome in ("gone", "busy"):
                self.present.discard(sha256)
            if outcome == "busy":
                self.doubtful.add(sha256)  # it may have come as far as to delete it
        if outcome.startswith("fault"):
            self.faults.append(f"{kind} of {self.samples[sha256].name}: {outcome}")
        if outcome.startswith("Corrupt") and sha256 in self.present and self.touched.get(name, 0) < life.since:
            raise Failed(f"{kind} of {self.samples[sha256].name} says {outcome}, and nobody deleted it meanwhile")

    def ended(self, life: Running) -> int:
        """All that it said is taken; what was under way has happened or has not."""
        while self.hear(life):
            pass
        os.close(life.pipe)
        _pid, status = os.waitpid(life.pid, 0)
        del self.running[life.role]
        if life.step is not None:
            kind, name = life.step
            sha256 = Sha256(name)
            self.note(life.role, f"was killed during {kind} {name}")
            self.counts[f"{kind} killed"] += 1
            if kind in ("delete", "purge"):
                self.present.discard(sha256)
                self.doubtful.add(sha256)
                self.touched[name] = self.messages
            elif kind in ("put", "put.xet") and sha256 not in self.present:
                self.doubtful.add(sha256)
        return os.waitstatus_to_exitcode(status)

    def kill(self, role: str) -> None:
        life = self.running[role]
        os.kill(life.pid, signal.SIGKILL)
        self.kills += 1
        self.ends["killed"] += 1
        self.ended(life)

    def kill_all(self) -> None:
        for role in list(self.running):
            self.kill(role)

    def wait(self, most_s: float) -> None:
        """Until somebody says something, ends, or has to be killed."""
        now_s = time.monotonic()
        next_s = min(life.until_s for life in self.running.values())
        pipes = {life.pipe: life for life in self.running.values()}
        ready, _, _ = select.select(list(pipes), [], [], max(0.0, min(next_s - now_s, most_s)))
        for pipe in ready:
            life = pipes[pipe]
            if self.hear(life):
                continue
            status = self.ended(life)
            if status == -signal.SIGKILL and life.crash is not None:
                self.kills += 1
                self.ends[life.crash[0]] += 1
            elif status != 0 or life.role in TOGETHER:
                raise Failed(f"the {life.role} ended with status {status}")
        for life in list(self.running.values()):
            if time.monotonic() - life.heard_s > SILENCE_S:
                raise Failed(f"the {life.role} says nothing since {SILENCE_S} s, in {life.step}")
            if time.monotonic() >= life.until_s:
                self.kill(life.role)

    # --- phases ---

    def mean_s(self) -> float:
        low_s, high_s = LIFE_S
        return low_s * (high_s / low_s) ** self.chance.random()

    def together(self, kills: int, until_s: float) -> None:
        """Hub, sealer and now and then the janitor, each killed and started again on its own."""
        goal = self.kills + kills
        roles = TOGETHER if self.chance.random() < 0.6 else TOGETHER[:2]
        while self.kills < goal and time.monotonic() < until_s:
            for role in roles:
                if role not in self.running:
                    self.begin(role, self.mean_s() * PATIENCE.get(role, 1.0))
            self.wait(1.0)
            self.progress()
        self.kill_all()

    def alone(self, role: str, mean_s: float | None) -> list[object]:
        """One life; what it told."""
        self.begin(role, mean_s)
        life = self.running[role]
        while role in self.running:
            self.wait(1.0)
            self.progress()
        return life.told

    def audit(self) -> None:
        told = self.alone("auditor", None)
        match told:
            case [["audited", dict(figures)]]:
                self.audits.append(figures)
            case _:
                raise Failed(f"the auditor did not get to the end within {AUDIT_S} s: {told}")
        if self.doubtful:
            raise Failed(f"{len(self.doubtful)} files are in doubt after all")

    def restore(self, most: int) -> None:
        """By the plain reader, out of the folder as it lies."""
        small = sorted(one for one in self.present if len(self.samples[one].data) <= RESTORED_BYTES_MAX)
        for sha256 in self.chance.sample(small, min(most, len(small))):
            sample, target = self.samples[sha256], self.data / "restored"
            command = [sys.executable, str(self.data / "tools" / RESTORE.name), str(self.data), sha256, str(target)]
            try:
                done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=RESTORE_S)
            except subprocess.TimeoutExpired:
                self.restored["too slow"] += 1
                continue
            if done.returncode == 0 and target.read_bytes() == sample.data:
                self.restored["right"] += 1
            elif "left to the hub" in done.stdout + done.stderr:
                self.restored["left to the hub"] += 1
            else:
                self.restored["wrong"] += 1
                self.not_restored.append(f"{sample.name}: {done.returncode} {(done.stdout + done.stderr)[-1500:]}")

    def leave(self) -> None:
        """All files are deleted, by lives that are killed at first; the space is free then."""
        for _ in range(3):
            self.alone("leaver", 0.2)
        told = self.alone("leaver", None)
        match told:
            case [["left", list(files)]]:
                left = sum(Path(str(file)).stat().st_size for file in files)
            case _:
                raise Failed(f"the leaver did not get to the end: {told}")
        if self.present or left > LEFT_BYTES_MAX:
            raise Failed(f"{left} bytes are left of a store without files: {files[:10]}")
        self.counts["bytes left"] = left

    # --- telling ---

    def progress(self, now: str = "") -> None:
        if not now and time.monotonic() - self._told_s < TELL_EVERY_S:
            return
        self._told_s = time.monotonic()
        sums: Counter[str] = Counter()
        for name, count in self.counts.items():
            sums[name.split(" ")[0]] += count
        last = self.audits[-1] if self.audits else {}
        operations = " ".join(f"{name}={count}" for name, count in sorted(sums.items()))
        print(
            f"{time.monotonic() - self.begun_s:6.0f} s {now or 'goes on'}: {self.kills} kills, {len(self.audits)} audits, "
            f"{len(self.present)} files; {operations}; at the last audit {last}",
            flush=True,
        )

    def read_log(self) -> None:
        """What sealing met and did without: it stores such a tensor as plain bytes."""
        log = (self.data / "lives.log").read_text(errors="replace")
        for part in log.split("tensor not encoded")[1:]:
            lines = part.splitlines()
            end = next((at for at, one in enumerate(lines) if "Error: " in one), len(lines) - 1)
            self.faults.append("\n".join(lines[: end + 1]))

    def summary(self) -> dict[str, object]:
        return {
            "kills": self.kills,
            "ends": dict(sorted(self.ends.items())),
            "operations": sum(count for name, count in self.counts.items() if not name.startswith("settled")),
            "counts": dict(sorted(self.counts.items())),
            "audits": len(self.audits),
            "last_audit": self.audits[-1] if self.audits else {},
            "restored": dict(self.restored),
            "faults": len(self.faults),
            "lived_s": round(time.monotonic() - self.begun_s, 1),
        }


def prepare(data: Path) -> None:
    db = Database(data / DATABASE)
    db.migrate()
    db.close()
    (data / "store").mkdir()
    LocalObjects(data / "store").prepare()


def warm() -> None:
    """What a first use compiles or loads is paid once, before the first fork."""
    codec.warm()
    chance = random.Random(1)
    for dtype, width in (("F64", 8), ("F32", 4), ("F16", 2), ("BF16", 2), ("U8", 1), ("BYTES", 1)):
        raw = bytes(chance.choices(range(40), k=4096 * width))
        other = bytes(byte ^ (number % 97 == 0) for number, byte in enumerate(raw))
        form = Form(dtype, (4096 * width,)) if dtype == "BYTES" else Form(dtype, (64, 64))
        parent = Parent(form, len(raw), lambda start, stop, raw=raw: raw[start:stop])
        encoded = codec.encode(form, len(other), lambda start, stop, other=other: other[start:stop], [parent], Limits())
        list(encoded.blocks)


@contextlib.contextmanager
def folder(given: Path | None) -> Iterator[tuple[Path, list[bool]]]:
    """A data folder that goes at the end, unless the list is told to keep it."""
    keep: list[bool] = []
    data = Path(tempfile.mkdtemp(prefix="headwater-soak-", dir=given))
    try:
        yield data, keep
    finally:
        if not keep:
            shutil.rmtree(data)


def run(soak: Soak, seconds: float, audit_every: int, kills_min: int) -> None:
    until_s = soak.begun_s + seconds
    while time.monotonic() < until_s or soak.kills < kills_min:
        soak.together(audit_every, max(until_s, time.monotonic() + 1))
        if soak.chance.random() < 0.4:
            soak.alone("purger", soak.mean_s())
        soak.audit()
        soak.restore(2)
    soak.restore(10)
    soak.leave()
    soak.read_log()
    if soak.not_restored:
        raise Failed("not restored without Headwater:\n" + "\n".join(soak.not_restored[:5]))
    if soak.faults:
        raise Failed(
            f"the codec made {len(soak.faults)} mistakes that cost no byte, first\n" + "\n".join(soak.faults[:3])
        )


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--seconds", type=float, default=float(os.environ.get("HEADWATER_SOAK_S", "3600")))
    asked.add_argument("--seed", type=int, default=int(time.time()))
    asked.add_argument("--files", type=int, help="so many of the corpus; all if not said")
    asked.add_argument("--audit-every", type=int, default=50, help="kills")
    asked.add_argument("--kills-min", type=int, default=0)
    asked.add_argument(
        "--data", type=Path, default=MEMORY if MEMORY.is_dir() else None, help="where its folder is made"
    )
    told = asked.parse_args()
    samples = corpus()
    if told.files is not None:
        samples = random.Random(told.seed).sample(samples, told.files)
    print(f"soak: seed {told.seed}, {told.seconds:.0f} s, {len(samples)} files", flush=True)
    warm()
    with folder(told.data) as (data, keep):
        prepare(data)
        soak = Soak(data, told.seed, samples)
        try:
            run(soak, told.seconds, told.audit_every, told.kills_min)
        except BaseException as error:
            keep.append(True)
            for life in soak.running.values():
                os.kill(life.pid, signal.SIGKILL)
            print("\n".join(soak.history))
            print(
                f"FAILED with seed {told.seed}; the data folder is {data}\n{type(error).__name__}: {error}", flush=True
            )
            if not isinstance(error, Failed):
                raise
            return 1
        finally:
            print("soak: " + json.dumps(soak.summary()), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
