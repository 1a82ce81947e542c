"""The same questions by plain pandas, over the same Parquet: `python -m benchmarks.observatory.peers FOLDER QUESTION`.

As one would write them in a notebook: only the columns needed are read, nothing is precomputed. Prints one line of JSON
with the seconds and a figure of the answer, which must agree with the Observatory's.
"""

from __future__ import annotations

import json
import resource
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from headwater.observatory.licences import Licences
from headwater.observatory.registry import Registry

STEPS = 8
DATA = Path(__file__).resolve().parents[2] / "headwater" / "observatory" / "data"


def models(folder: Path, *columns: str) -> Any:
    return pd.read_parquet(folder / "model.parquet", columns=["id", "author", *columns])


def countries(folder: Path) -> dict[str, str]:
    rows = Registry.load(folder.parents[1] / "registry").account_rows(pd.Timestamp("2026-08-22").date())
    return {row[0]: row[1] for row in rows}


def roots(folder: Path) -> Any:
    """Each derivative's root: one merge per step."""
    edges = pd.read_parquet(folder / "edge.parquet", columns=["child", "base"])
    parent = edges.groupby("child")["base"].min()
    here = parent.copy()
    for _ in range(STEPS - 1):
        above = here.map(parent)
        moves = above.notna() & (above != here) & (above != here.index)
        if not moves.any():
            break
        here = above.where(moves, here)
    return here


def downloads_by_country(folder: Path) -> object:
    country = countries(folder)
    found = models(folder, "downloads_30d", "created_at")
    found["uploader"] = found["author"].map(country).fillna("??")
    of_root = found["id"].map(roots(folder)).str.split("/").str[0].map(country)
    found["origin"] = of_root.fillna(found["uploader"])
    young = found["created_at"] > pd.Timestamp("2025-08-22")
    tables = []
    for side in ("uploader", "origin"):
        for part in (found, found[young]):
            shares = part.groupby(side).agg(
                models=("id", "size"), authors=("author", "nunique"), d=("downloads_30d", "sum")
            )
            tables.append(100 * shares["d"] / shares["d"].sum())
    return [round(float(tables[0]["CN"]), 1), round(float(tables[2]["CN"]), 1)]


def derivatives_by_family(folder: Path) -> object:
    root = roots(folder)
    rules = tomllib.loads((DATA / "families.toml").read_text())["family"]
    names = pd.Series(root.unique())
    lower, family = names.str.lower(), pd.Series("other", index=names.index)
    for rule in reversed(rules):
        for pattern in rule["patterns"]:
            family[lower.str.contains(pattern, regex=False)] = rule["name"]
    found = pd.DataFrame({"family": root.map(dict(zip(names, family, strict=True)))})
    found["author"] = root.index.str.split("/").str[0]
    table = found.groupby("family").agg(n=("author", "size"), authors=("author", "nunique"))
    return [int(table.loc["Qwen", "n"]), int(table.loc["Qwen", "authors"])]


def licence_families(folder: Path) -> object:
    family = {row[0]: row[1] for row in Licences.load(folder.parents[1] / "registry").licence_rows()}
    found = models(folder, "license", "license_name", "downloads_30d")
    declared = found["license"].fillna(found["license_name"])
    found["family"] = declared.map(family).where(declared.notna(), "none declared").fillna("unclassified")
    table = found.groupby("family").agg(n=("id", "size"), authors=("author", "nunique"), d=("downloads_30d", "sum"))
    return [int(table.loc["permissive", "n"]), int(table.loc["permissive", "authors"])]


def concentration(folder: Path) -> object:
    d = np.sort(models(folder, "downloads_30d")["downloads_30d"].dropna().to_numpy(dtype=float))
    n, total = len(d), d.sum()
    hhi = 1e4 * ((d / total) ** 2).sum()
    gini = 2 * (d * np.arange(1, n + 1)).sum() / (n * total) - (n + 1) / n
    tops = [100 * d[-k:].sum() / total for k in (10, -(-n // 1000), -(-n // 100))]
    return [round(hhi, 1), round(gini, 3), round(tops[0], 1)]


def most_liked(folder: Path) -> object:
    found = models(folder, "likes", "downloads_30d", "created_at")
    first = found.sort_values(["likes", "id"], ascending=[False, True]).head(100)
    first["country"] = first["author"].map(countries(folder)).fillna("??")
    return [first["id"].iloc[0], first["id"].iloc[99]]


def release_calendar(folder: Path) -> object:
    registry = Registry.load(folder.parents[1] / "registry").account_rows(pd.Timestamp("2026-08-22").date())
    organisation = {row[0]: row[4] for row in registry if row[4]}
    found = models(folder, "created_at", "likes", "downloads_30d").dropna(subset="created_at")
    found["org"] = found["author"].map(organisation).fillna(found["author"])
    largest = found["org"].value_counts().head(40).index
    found = found[found["org"].isin(largest)]
    month = found["created_at"].dt.strftime("%Y-%m")
    table = found.groupby(["org", month]).agg(n=("id", "size"), likes=("likes", "sum"), d=("downloads_30d", "sum"))
    return [int(table["n"].max())]


PEERS: dict[str, Callable[[Path], object]] = {
    "downloads-by-country": downloads_by_country,
    "derivatives-by-family": derivatives_by_family,
    "licence-families": licence_families,
    "concentration": concentration,
    "most-liked": most_liked,
    "release-calendar": release_calendar,
}


if __name__ == "__main__":
    wall, cpu = time.perf_counter(), time.process_time()
    answer = PEERS[sys.argv[2]](Path(sys.argv[1]))
    told = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu, "answer": answer}
    print(json.dumps(told | {"rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
