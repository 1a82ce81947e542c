"""The Observatory over a generated hub of three million models: `python -m benchmarks.observatory`, or

    python -m benchmarks.observatory [--models N] [--keep] [--only QUESTION,...] [--no-peers] [--tries N]

Generates the hub (once), imports it with the real command, asks every question in a process of its own, and plain
pandas the same of some. Seconds are wall less the wait for cores that other programs had, which the scheduler tells:
on an idle machine they are the same. Prints a line per question, each figure beside its bar and its peer, writes
benchmarks/results/observatory.json, and exits with 1 if a bar is missed. Needs ../shared/data; pandas is installed into
a folder of its own below .cache/bench.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, table
from benchmarks.observatory import hub
from benchmarks.processes import ROOT, environment

SHARED = ROOT.parent / "shared" / "data"
SAMPLE = SHARED / "hub_models_2026-08.parquet"
PLACE = ROOT / ".cache" / "bench" / "observatory"
RESULTS = ROOT / "benchmarks" / "results" / "observatory.json"
NAME = "hub"  # of the generated source

IMPORT_MOST_S, IMPORT_MOST_MB = 180.0, 4_096.0
COLD_MOST_S, WARM_MOST_S, KEPT_MOST_S, RSS_MOST_MB = 5.0, 1.0, 0.3, 6_144.0
CHILD_MOST_S = 600
PEERS = ("downloads-by-country", "derivatives-by-family", "licence-families", "concentration", "most-liked",
         "release-calendar")  # fmt: skip
Told = dict[str, Any]
_PREPARE = """
import sys
from pathlib import Path
from headwater.observatory.ask import prepare
from headwater.observatory.world import World
world = World(Path(sys.argv[1]))
prepare(world, world.snapshot(sys.argv[2]))
"""


@dataclass(frozen=True, slots=True)
class Ended:
    """A child that has ended: seconds of its wall and CPU, the peak of its memory, what it printed."""

    wall_s: float
    cpu_s: float
    rss_mb: float
    out: str


def main() -> int:
    given = _arguments()
    if not SAMPLE.exists():
        print(f"skipped: {SAMPLE} is not here")
        return 0
    figures = list(_imported(given))
    world = _data(given) / "observatory"
    told = _asked(world, given)
    figures += _judged(told)
    if given.peers:
        figures += _beside(world, told)
    print(f"\n{table(figures)}")
    _write(figures, told, given)
    missed = [one.what for one in figures if one.verdict == "MISSED"]
    failed = [one["question"] for one in told if "failed" in one]
    print(f"\n{len(missed)} bars missed" + (f": {'; '.join(missed)}" if missed else ""))
    return 1 if missed or failed else 0


def _arguments() -> argparse.Namespace:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--models", type=int, default=hub.MODELS, help="of the generated hub (3,000,000)")
    arguments.add_argument("--keep", action="store_true", help="ask the world that the last run imported")
    arguments.add_argument("--only", default="", help="questions, comma-separated")
    arguments.add_argument("--no-peers", dest="peers", action="store_false", help="without pandas")
    arguments.add_argument("--tries", type=int, default=1, help="processes per question; the best counts")
    return arguments.parse_args()


def _data(given: argparse.Namespace) -> Path:
    return PLACE / f"data-{given.models}"


def _run(command: list[str], paths: str = "") -> Ended:
    """A child's cost by the system's own account of it."""
    env = environment() | {"PYTHONPATH": f"{paths}{os.pathsep}{ROOT}" if paths else str(ROOT)}
    begun_s = time.perf_counter()
    with subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as one:
        out, error = one.communicate(timeout=CHILD_MOST_S)
    wall_s = time.perf_counter() - begun_s
    if one.returncode:
        raise RuntimeError(f"{' '.join(command[1:6])}: {error[-2000:]}")
    return Ended(wall_s, 0.0, 0.0, out)  # a question's own account is better


def _costed(command: list[str]) -> Ended:
    """As `_run`, with CPU and peak memory; what it prints goes to this program's own output."""
    begun_s = time.perf_counter()
    with subprocess.Popen(command, cwd=ROOT, env=environment()) as one:
        _, status, used = os.wait4(one.pid, 0)
        one.returncode = os.waitstatus_to_exitcode(status)
    if one.returncode:
        raise RuntimeError(f"{' '.join(command[1:6])} ended with {one.returncode}")
    return Ended(time.perf_counter() - begun_s, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, "")


def _imported(given: argparse.Namespace) -> Iterator[Figure]:
    """The generated hub, and beside it the small real sources, which answer what a listing of models can't."""
    data = _data(given)
    if given.keep and data.exists():
        return
    begun_s = time.perf_counter()
    file = hub.make(SAMPLE, PLACE, given.models, given.models * hub.EDGES // hub.MODELS)
    print(f"generated: {file.name}, {file.stat().st_size / 1e6:.0f} MB, {time.perf_counter() - begun_s:.0f} s")
    shutil.rmtree(data, ignore_errors=True)
    command = [sys.executable, "-m", "headwater", "observatory", "import", "--data", str(data)]
    done = _costed([*command, "--name", NAME, str(file)])
    what = f"import of {given.models:,} models"
    yield Figure(f"{what}: wall", done.wall_s, "s", IMPORT_MOST_S, note=f"{done.cpu_s:.0f} CPU-s")
    yield Figure(f"{what}: peak memory", done.rss_mb, "MB", IMPORT_MOST_MB)
    _costed([*command, str(SHARED)])
    done = _run([sys.executable, "-c", _PREPARE, str(data / "observatory"), NAME])
    yield Figure("roots and series, made once", done.wall_s, "s", note="by the import, or by the first question")


def _asked(world: Path, given: argparse.Namespace) -> list[Told]:
    from headwater.observatory.ask import QUESTIONS  # noqa: PLC0415 - after the import, which needs the memory

    chosen = given.only.split(",") if given.only else list(QUESTIONS)
    unknown = [name for name in chosen if name not in QUESTIONS]
    if unknown:
        raise SystemExit(f"no such question: {', '.join(unknown)}")
    print(f"\n{'question':30} {'of':15}   cold s   CPU-s |  warm s   CPU-s | other s   CPU-s | kept s | peak MB")
    told = []
    for name in chosen:
        tries = [_one(world, name) for _ in range(given.tries)]
        found = min(tries, key=lambda one: one.get("cold_s", 0.0))
        found |= {key: min(one[key] for one in tries) for key in ("warm_s", "kept_s", "other_s") if key in found}
        told.append(found)
        if "cold_s" not in found:
            print(f"{name:30} {found.get('skipped') or found.get('failed')}", flush=True)
            continue
        cells = [
            f"{found[f'{label}_s']:7.2f} {found[f'{label}_cpu_s']:7.2f}" if f"{label}_s" in found else " " * 15
            for label in ("cold", "warm", "other")
        ]
        page = "*" if found["paged"] else " "
        ends = f"{found['kept_s']:6.3f} | {found['rss_mb']:7.0f}"
        print(f"{name:30} {found['of']:15} {page} {' | '.join(cells)} | {ends}", flush=True)
    return told


def _one(world: Path, name: str) -> Told:
    try:
        done = _run([sys.executable, "-m", "benchmarks.observatory.child", str(world), name, NAME])
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        return {"question": name, "failed": str(error)}
    told: Told = json.loads(done.out)
    return told


def _judged(told: list[Told]) -> Iterator[Figure]:
    asked = [one for one in told if "cold_s" in one]
    for one in asked:
        note = f"wall {one['cold_wall_s']:.2f} s, {one['cold_cpu_s']:.2f} CPU-s; of {one['of']}"
        yield Figure(f"{one['question']}: cold", one["cold_s"], "s", COLD_MOST_S, note=note)
        if one["paged"]:
            note = f"wall {one['warm_wall_s']:.2f} s, {one['warm_cpu_s']:.2f} CPU-s"
            if "other_s" in one:
                note += f"; then modality=llm {one['other_s']:.2f} s, {one['other_cpu_s']:.2f} CPU-s"
            yield Figure(f"{one['question']}: warm", one["warm_s"], "s", WARM_MOST_S, note=note)
    if asked:
        slowest = max(asked, key=lambda one: one["kept_s"])
        note = f"the slowest: {slowest['question']}"
        yield Figure("kept answers", slowest["kept_s"], "s", KEPT_MOST_S, note=note)
        largest = max(asked, key=lambda one: one["rss_mb"])
        note = f"the largest: {largest['question']}"
        yield Figure("peak memory of a question", largest["rss_mb"], "MB", RSS_MOST_MB, note=note)


def _beside(world: Path, told: list[Told]) -> Iterator[Figure]:
    """CPU of the cold answer, with all its evidence, beside pandas, which reads its columns too and gives none."""
    pandas = PLACE / "pandas"
    if not (pandas / "pandas").exists():
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", "install", "--target"]
        subprocess.run([*command, str(pandas), "pandas"], check=True)
    (folder,) = (world / "snapshots").glob(f"{NAME}@*")
    ours = {one["question"]: one for one in told if one.get("of") == NAME}
    for name in PEERS:
        if name not in ours:
            continue
        done = _run([sys.executable, "-m", "benchmarks.observatory.peers", str(folder), name], str(pandas))
        peer = json.loads(done.out)
        one = ours[name]
        note = f"wall {one['cold_wall_s']:.2f} s beside {peer['wall_s']:.2f} s"
        yield Figure(f"{name}: CPU", one["cold_cpu_s"], "CPU-s", peer="pandas", peer_value=peer["cpu_s"], note=note)


def _write(figures: list[Figure], told: list[Told], given: argparse.Namespace) -> None:
    found = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "load": os.getloadavg(),
        "given": vars(given),
        "figures": [one.as_json() for one in figures],
        "questions": told,
    }
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
