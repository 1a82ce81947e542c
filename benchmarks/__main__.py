"""Every row of the project's speed table, measured against this checkout: `make bench`, or

    python -m benchmarks [--only ROW,...] [--size-gb GB] [--install] [--full]

Prints each figure beside its bar and its peer, writes benchmarks/results/latest.json, and exits with 1 if a bar is
missed. Costs are CPU-seconds of the server's process, since wall time says little on a busy machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks import download, heads, install, large_repo, lists, small_files, start, upload, xet
from benchmarks.bench import GB, Bench
from benchmarks.figures import Figure, Skipped, table
from benchmarks.processes import ROOT, environment

RESULTS = ROOT / "benchmarks" / "results" / "latest.json"
PUT_GB, PUT_FULL_GB = 4.0, 20.0
QUICK_GB = 0.5  # below this size, the other rows are cut short too
_WORST = re.compile(r"worst p99 ([\d.]+) ms")


def _lists(bench: Bench) -> Iterator[Figure]:
    command = [sys.executable, str(ROOT / "benchmarks" / "lists.py"), "--rounds", str(bench.lists_rounds)]
    paths = {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment() | paths, capture_output=True, text=True, check=False)
    found = _WORST.search(done.stdout)
    if found is None:
        raise RuntimeError(f"lists.py: {done.stdout[-500:]}{done.stderr[-1000:]}")
    note = "every sort and filter, three actors"
    yield Figure("lists over 200,000 repos: worst p99", float(found[1]), "ms", lists.LIMIT_MS, note=note)


ROWS: dict[str, Callable[[Bench], Iterator[Figure]]] = {
    "install": install.measure,
    "start": start.measure,
    "download": download.measure,
    "upload": upload.measure,
    "xet": xet.measure,
    "small-files": small_files.measure,
    "heads": heads.measure,
    "lists": _lists,
    "large-repo": large_repo.measure,
    "memory": upload.measure_memory,
}


def main() -> int:
    given = _arguments()
    chosen = given.only.split(",") if given.only else [name for name in ROWS if name != "install" or given.install]
    unknown = [name for name in chosen if name not in ROWS]
    if unknown:
        print(f"no such row: {', '.join(unknown)}; there are {', '.join(ROWS)}", file=sys.stderr)
        return 2
    quick = given.size_gb < QUICK_GB
    put_gb = given.put_gb or (PUT_FULL_GB if given.full else min(PUT_GB, 4 * given.size_gb))
    bench = Bench(
        work=Path(),
        size_bytes=int(given.size_gb * GB),
        put_bytes=int(put_gb * GB),
        heads_s=3 if quick else 10,
        files=100_000,
        lists_rounds=1 if quick else 12,
    )
    figures, skipped, failed = _run(chosen, bench)
    print(f"\n{table(figures)}")
    for name, why in skipped.items():
        print(f"{name}: skipped, {why}")
    for name, why in failed.items():
        print(f"{name}: FAILED, {why}")
    _write(figures, skipped, failed, given)
    missed = [one.what for one in figures if one.verdict == "MISSED"]
    print(f"\n{len(missed)} bars missed" + (f": {'; '.join(missed)}" if missed else ""))
    return 1 if missed or failed else 0


def _arguments() -> argparse.Namespace:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--only", default="", help=f"rows, comma-separated: {', '.join(ROWS)}")
    arguments.add_argument("--size-gb", type=float, default=1.0, help="of the large files (1); 0.25 is a quick run")
    arguments.add_argument("--put-gb", type=float, default=0.0, help=f"of the PUT watched for memory ({PUT_GB:g})")
    arguments.add_argument("--full", action="store_true", help=f"watch a PUT of {PUT_FULL_GB:g} GB")
    arguments.add_argument("--install", action="store_true", help="also time pip install; needs a package index")
    return arguments.parse_args()


def _run(chosen: list[str], bench: Bench) -> tuple[list[Figure], dict[str, str], dict[str, str]]:
    """A row that breaks does not take the others with it; it counts as failed."""
    figures: list[Figure] = []
    skipped: dict[str, str] = {}
    failed: dict[str, str] = {}
    place = ROOT / ".cache" / "bench"
    place.mkdir(parents=True, exist_ok=True)
    for name in chosen:
        begun_s = time.perf_counter()
        print(f"{name} ...", end="", flush=True)
        work = Path(tempfile.mkdtemp(prefix="run-", dir=place))
        try:
            for figure in ROWS[name](replace(bench, work=work)):
                print(f"\n  {figure.what}: {figure.value:.3f} {figure.unit} {figure.verdict}", end="", flush=True)
                figures.append(figure)
        except Skipped as why:
            skipped[name] = str(why)
        except (RuntimeError, OSError, subprocess.SubprocessError) as error:
            failed[name] = f"{type(error).__name__}: {error}"
        finally:
            shutil.rmtree(work, ignore_errors=True)
        print(f"\n  {time.perf_counter() - begun_s:.0f} s", flush=True)
    return figures, skipped, failed


def _write(figures: list[Figure], skipped: dict[str, str], failed: dict[str, str], given: argparse.Namespace) -> None:
    told = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": {"cores": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()},
        "load": os.getloadavg(),
        "given": vars(given),
        "figures": [one.as_json() for one in figures],
        "skipped": skipped,
        "failed": failed,
    }
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(told, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
