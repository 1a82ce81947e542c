"""One question asked in a process of its own: `python -m benchmarks.observatory.child WORLD QUESTION HUB`.

Prints one line of JSON, seconds of wall, of wall less the wait for cores that other programs had, and of CPU of: the
first ask in the process, with the snapshots' files dropped from the page cache (cold); the same again without the kept
answer (warm); the same with another modality, where the question honours one (other); and the kept answer (kept).
Beside them the rows of the answer and the peak of the memory.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROUNDS = 3  # of what can be repeated; the best counts: the machine is shared
Spent = tuple[float, float, float]


def forget(folder: Path) -> None:
    """Asks the system to drop a snapshot's files from its page cache."""
    for path in folder.rglob("*.parquet"):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(handle)


def waits() -> dict[str, float]:
    """Seconds that each thread was ready to run and had no core, by the scheduler's account."""
    found = {}
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError, ValueError, IndexError):
            found[task.name] = int((task / "schedstat").read_text().split()[1]) / 1e9
    return found


def spent(work: Callable[[], object]) -> Spent:
    """(wall less waits, wall, CPU). The wait is that of the thread that waited longest."""
    before, wall, cpu = waits(), time.perf_counter(), time.process_time()
    work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    waited = max((ended - before.get(task, 0.0) for task, ended in waits().items()), default=0.0)
    return max(wall - waited, cpu / (os.cpu_count() or 1)), wall, cpu


def told(root: str, name: str, hub: str) -> dict[str, object]:
    from headwater.observatory.ask import QUESTIONS, ask, can_answer  # noqa: PLC0415 - imports are part of the peak
    from headwater.observatory.choices import Choices  # noqa: PLC0415
    from headwater.observatory.world import World  # noqa: PLC0415

    world, asked = World(Path(root)), QUESTIONS[name]
    able = [one.name for one in can_answer(world, name)]
    if not able:
        return {"question": name, "skipped": "no snapshot has what it needs"}
    population = hub if hub in able else able[0]
    choices = Choices(population=(population,))
    rows: list[int] = []
    forget(world.root / "snapshots")
    figures = {
        "cold": spent(lambda: rows.append(ask(world, name, choices, fresh=True).table.num_rows)),
        "warm": min(spent(lambda: ask(world, name, choices, fresh=True)) for _ in range(ROUNDS)),
        "kept": min(spent(lambda: ask(world, name, choices)) for _ in range(ROUNDS)),
    }
    if "modality" in asked.choices and population == hub:
        other = Choices(population=(population,), modality=("llm",))
        figures["other"] = spent(lambda: ask(world, name, other, fresh=True))
    return {
        "question": name, "of": population, "paged": asked.paged, "rows": rows[0],
        **{f"{label}_s": own for label, (own, _, _) in figures.items()},
        **{f"{label}_wall_s": wall for label, (_, wall, _) in figures.items()},
        **{f"{label}_cpu_s": cpu for label, (_, _, cpu) in figures.items()},
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(told(*sys.argv[1:4])))
