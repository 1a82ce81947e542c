"""A repo of 100,000 files: every page of its tree, and commits of one file. Beside it git, which lists all at once.

In folders of 1,000, and, without a bar, all in one: ten times what the Hub advises for a folder, the worst there is.
"""

from __future__ import annotations

import http.client
import re
import statistics
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import calls
from benchmarks.bench import Bench
from benchmarks.figures import Figure
from benchmarks.processes import TOKEN, Hub

PAGE_MOST_MS = 100.0
COMMIT_MOST_MS = 250.0
FOLDER_FILES = 1000
COMMITS = 10
_NEXT = re.compile(r'<[^>]*?(/api/[^>]*)>; rel="next"')


@dataclass(frozen=True, slots=True)
class Layout:
    name: str
    says: str
    folder_files: int


def measure(bench: Bench) -> Iterator[Figure]:
    layouts = (
        Layout("nested", f"folders of {FOLDER_FILES}", FOLDER_FILES),
        Layout("flat", "one folder", bench.files),
    )
    data = bench.work / "tree-hub"
    for layout in layouts:
        with Hub(data) as hub:
            repo = calls.create_repo(hub, layout.name)
            with hub.cost() as cost:
                calls.commit(hub, repo, [calls.inline(path, path.encode()) for path in _paths(bench.files, layout)])
        what = f"{bench.files:,} files in {layout.says}"
        yield Figure(f"{what}: the commit that makes them", cost.wall_s, "s", note=f"{cost.cpu_s:.1f} CPU-s")
        with Hub(data) as hub:  # started anew: nothing is remembered
            with hub.cost() as pages_cost:
                cold_ms = _pages(hub, repo)
            warm_ms = _pages(hub, repo)
            pages = f"{what}: slowest of {len(cold_ms)} tree pages"
            beside = _git_lists(data)
            note = f"all {sum(cold_ms) / 1000:.1f} s, {pages_cost.cpu_s:.1f} CPU-s"
            yield Figure(f"{pages}, cold", max(cold_ms), "ms", PAGE_MOST_MS, note=note)
            yield Figure(
                f"{what}: all tree pages, warm", sum(warm_ms), "ms", peer="git ls-tree", peer_value=beside,
                note=f"slowest {max(warm_ms):.0f} ms",
            )  # fmt: skip
            with hub.cost() as commits_cost:
                spent_ms = _commits(hub, repo, layout)
            cpu_ms = 1000 * commits_cost.cpu_s / COMMITS
            note = (
                f"slowest of {COMMITS}; median {statistics.median(spent_ms):.0f} ms, {cpu_ms:.0f} CPU-ms with the index"
            )
            yield Figure(f"{what}: one-file commit", max(spent_ms), "ms", COMMIT_MOST_MS, note=note)


def _paths(files: int, layout: Layout) -> Iterator[str]:
    for number in range(files):
        folder, _ = divmod(number, layout.folder_files)
        yield f"part-{folder:04}/file-{number:06}.txt"


def _pages(hub: Hub, repo: str) -> list[float]:
    """ms of each page of the recursive listing, over one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", hub.port, timeout=60)
    path, spent_ms = f"/api/models/{repo}/tree/main?recursive=true", []
    while path:
        begun_s = time.perf_counter()
        connection.request("GET", path, headers={"Authorization": f"Bearer {TOKEN}"})
        answer = connection.getresponse()
        answer.read()
        spent_ms.append(1000 * (time.perf_counter() - begun_s))
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status}")
        following = _NEXT.search(answer.headers.get("Link", ""))
        path = following[1] if following else ""
    connection.close()
    return spent_ms


def _commits(hub: Hub, repo: str, layout: Layout) -> list[float]:
    spent_ms = []
    for number in range(COMMITS):
        path = f"part-{number % 3:04}/new-{number}.txt" if layout.name == "nested" else f"part-0000/new-{number}.txt"
        begun_s = time.perf_counter()
        calls.commit(hub, repo, [calls.inline(path, b"one file more")])
        spent_ms.append(1000 * (time.perf_counter() - begun_s))
    return spent_ms


def _git_lists(data: Path) -> float:
    """ms that git takes for the newest repo's whole tree."""
    repository = max(data.glob("git/*/*.git"), key=lambda path: int(path.stem))
    begun_s = time.perf_counter()
    command = ["git", "-C", str(repository), "ls-tree", "-r", "-l", "main"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return 1000 * (time.perf_counter() - begun_s)
