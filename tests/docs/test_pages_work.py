"""What the documentation tells people to type works as it stands."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import doc_running as docs
import pytest

from headwater.ground.settings import load
from headwater.observatory import Choices, World, ask
from headwater.observatory.imports.door import import_source
from headwater.observatory.imports.job import Options, Silent

NGINX_WORDS = {
    "listen 443 ssl;": "listen 127.0.0.1:65001;",
    "/srv/headwater/store/": "DATA/store/",
}


@pytest.mark.timeout(300)
def test_the_tutorial_works_from_its_first_to_its_last_line(tmp_path: Path) -> None:
    client = docs.client_home("hub-2.4")
    env = docs.environment(tmp_path, client / "bin")
    text = (docs.ROOT / "docs" / "tutorial.md").read_text()
    assert len(docs.steps(text)) > 20
    with docs.served(tmp_path, env) as address:
        assert docs.play(text, tmp_path, env, address, limit_s=270) == []


OBSERVATORY = docs.ROOT / "docs" / "tutorial-observatory.md"
SHARED = docs.ROOT.parent / "shared" / "data" / "hub_models_2026-08.parquet"


@pytest.mark.timeout(300)
def test_the_tutorial_of_the_observatory_works_from_its_first_to_its_last_line(tmp_path: Path) -> None:
    env = docs.environment(tmp_path)
    text = OBSERVATORY.read_text()
    for name, language in (("listing.jsonl", "json"), ("mine.toml", "toml")):
        assert f"Save it as `{name}`" in text
        (tmp_path / name).write_text("".join(docs.blocks(text, language)))
    with docs.served(tmp_path, env) as address:
        publish_the_model_of_the_first_tutorial(tmp_path, env, address)
        assert docs.play(text, tmp_path, env, address, limit_s=200) == []
    assert (tmp_path / "shares.svg").read_text().startswith("<svg")
    assert (tmp_path / "flip.png").read_bytes().startswith(b"\x89PNG")


def test_what_the_page_on_python_says_is_printed(tmp_path: Path) -> None:
    env = docs.environment(tmp_path)
    (tmp_path / "listing.jsonl").write_text("".join(docs.blocks(OBSERVATORY.read_text(), "json")))
    shown = next(one for one in docs.blocks(OBSERVATORY.read_text(), "console") if "observatory import" in one)
    imported = next(step.command for step in docs.steps(f"```console\n{shown}```\n"))
    assert docs.shell(imported, tmp_path, env, limit_s=60).returncode == 0
    text = (docs.ROOT / "docs" / "how-to" / "observatory-python.md").read_text()
    (program,), (expected,) = docs.blocks(text, "python"), docs.blocks(text, "text")
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert docs.missing_lines(expected.splitlines(), done.stdout) == [], done.stdout


def publish_the_model_of_the_first_tutorial(folder: Path, env: dict[str, str], address: str) -> None:
    """Without the client library that the first tutorial uploads with."""
    weights = base64.b64encode(b"weights" * 1000).decode()
    lines = [
        {"key": "header", "value": {"summary": "weights"}},
        {"key": "file", "value": {"path": "model.safetensors", "content": weights, "encoding": "base64"}},
    ]
    (folder / "commit").write_text("\n".join(json.dumps(line) for line in lines))
    steps = f"""
        headwater admin user create ada
        token=$(headwater admin token create ada laptop --role write)
        auth="Authorization: Bearer $token"
        curl -sf -H "$auth" -H 'Content-Type: application/json' -d '{{"name": "first-model"}}' {address}/api/repos/create
        curl -sf -H "$auth" -H 'Content-Type: application/x-ndjson' --data-binary @commit \\
            {address}/api/models/ada/first-model/commit/main
    """
    done = docs.shell(steps, folder, env, limit_s=60)
    assert done.returncode == 0, done.stdout


@pytest.mark.timeout(300)
def test_the_commands_for_real_data_work_where_there_is_some(tmp_path: Path) -> None:
    if not SHARED.is_file():
        pytest.skip(f"no real data beside the checkout ({SHARED}): the made listing of the page is all there is")
    env = docs.environment(tmp_path)
    (tmp_path / "models.parquet").symlink_to(SHARED)
    (tmp_path / "shares.svg").touch()  # from the page's earlier steps
    (commands,) = docs.blocks(OBSERVATORY.read_text(), "sh")
    kept = [line for line in commands.splitlines() if "https://" not in line]
    assert len(kept) == len(commands.splitlines()) - 1, "only the import from huggingface.co needs a network"
    done = docs.shell("\n".join(line for line in kept if " report " not in line), tmp_path, env, limit_s=200)
    assert done.returncode == 0, done.stdout
    assert "15,904 model" in done.stdout
    assert (tmp_path / "shares.svg").read_text().startswith("<svg")


def figures_of_tables(text: str) -> list[dict[str, str]]:
    """The rows of the tables whose first column is `population`, by their column's name."""
    rows: list[dict[str, str]] = []
    head: list[str] = []
    for line in text.splitlines():
        cells = [cell.strip().strip("`") for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|"):
            head = []
        elif cells[0] == "population":
            head = cells
        elif head and not cells[0].startswith("---"):
            rows.append(dict(zip(head, cells, strict=True)))
    return rows


@pytest.mark.timeout(300)
def test_the_figures_of_why_shares_flip_are_what_headwater_computes(tmp_path: Path) -> None:
    if not SHARED.is_file():
        pytest.skip(f"the data that the page names is not beside the checkout ({SHARED.parent})")
    text = (docs.ROOT / "docs" / "explanation" / "why-shares-flip.md").read_text()
    world = World(tmp_path)
    for file in ("hub_top_daily_2026-08", "hub_models_2026-08", "hub_stats_sample_2026-06", "org_country"):
        (found,) = SHARED.parent.glob(f"{file}.*")
        import_source(world, str(found), Options(), Silent())
    assert f"(version `{world.registry().version}`)" in text
    rows = figures_of_tables(text)
    assert len(rows) == 16
    for row in rows:
        told = {"population": row["population"], "attribution": row["attribution"], "exclude": row["left out"]}
        told |= {"modality": "llm" if row["models"] == "llm" else "", "window": row.get("window", "")}
        answer = ask(world, "downloads-by-country", Choices.parse((k, v) for k, v in told.items() if v))
        column = "pct_downloads_young" if row["ages"] == "young" else "pct_downloads"
        shares = {one["country"]: one[column] for one in answer.rows()}
        for country in row.keys() & {"US", "CN", "DE"}:
            assert float(row[country]) == pytest.approx(shares[country], abs=0.051), (row, country)


@pytest.mark.timeout(300)
def test_the_first_screen_of_the_readme_works(tmp_path: Path) -> None:
    libraries, real = docs.client_home("libs"), docs.client_home("real")
    env = docs.environment(tmp_path, libraries / "bin")
    text = (docs.ROOT / "README.md").read_text()
    with docs.served(tmp_path, env) as address:
        (tmp_path / "models").symlink_to(real)  # where the page's pip install puts the same packages
        (tmp_path / ".venv" / "bin").mkdir(parents=True)
        (tmp_path / ".venv" / "bin" / "headwater").symlink_to(tmp_path / "bin" / "headwater")
        commands = docs.blocks(text, "sh")[1].replace(docs.ADDRESS, address)
        assert "hf upload" in commands
        installs = re.compile(r"^.*\bpip install\b.*$|^.*-m venv\b.*$", re.MULTILINE)
        assert len(installs.findall(commands)) == 2, "what is installed is in the client environments instead"
        first = docs.shell(installs.sub("", commands), tmp_path, env, limit_s=120)
        assert first.returncode == 0, first.stdout
        env["HF_ENDPOINT"] = address
        program = docs.blocks(text, "python")[0]
        done = subprocess.run(
            [str(libraries / "bin" / "python"), "-c", program],
            cwd=tmp_path, env=env, capture_output=True, text=True, timeout=200, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    expected = docs.blocks(text, "text")[0].splitlines()
    assert docs.missing_lines(expected, done.stdout) == [], done.stdout + done.stderr


def test_the_nginx_settings_are_what_nginx_takes(tmp_path: Path) -> None:
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if nginx is None:
        pytest.skip("nginx is not on this machine: install the system package nginx-light")
    text = (docs.ROOT / "docs" / "how-to" / "behind-nginx.md").read_text()
    (server,) = docs.blocks(text, "nginx")
    for said, here in NGINX_WORDS.items():
        assert said in server
        server = server.replace(said, here.replace("DATA", str(tmp_path)))
    server = re.sub(r"^\s*ssl_\w+ .*$", "", server, flags=re.MULTILINE)
    config = tmp_path / "nginx.conf"
    config.write_text(
        f"pid {tmp_path}/nginx.pid;\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n{server}\n}}\n"
    )
    command = [nginx, "-t", "-c", str(config), "-p", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr


def test_the_settings_of_the_nginx_page_are_settings() -> None:
    text = (docs.ROOT / "docs" / "how-to" / "behind-nginx.md").read_text()
    (written,) = docs.blocks(text, "toml")
    settings = load(None, {}, tomllib.loads(written))
    assert settings.base_url == "https://hub.example.org"
    assert settings.accel_redirect_prefix == "/_blobs/"


def test_the_seed_file_of_its_page_is_one(tmp_path: Path) -> None:
    text = (docs.ROOT / "docs" / "how-to" / "seed.md").read_text()
    (written,) = docs.blocks(text, "json")
    (tmp_path / "people.json").write_text(written)
    env = docs.environment(tmp_path)
    for expected in ("2 users created", "Everything held already."):
        done = docs.shell("headwater admin seed people.json --data data", tmp_path, env, limit_s=60)
        assert done.returncode == 0, done.stdout
        assert expected in done.stdout
        assert "warning" not in done.stdout


# --- the comparing itself ---


def test_a_line_that_does_not_come_is_found() -> None:
    output = "\x1b[32m one\x1b[0m\ntwo 2 three\nfour\n"
    assert docs.missing_lines([" one", "two ... three", "...", "four"], output) == []
    assert docs.missing_lines(["two"], output) == ["two"]
    assert docs.missing_lines(["four", "one"], output) == ["one"]


def test_steps_are_read_from_console_blocks_only() -> None:
    text = "```sh\nmake serve\n```\n```console\n$ echo a\na\n$ true\n```\n"
    assert docs.steps(text) == [docs.Step("echo a", ("a",)), docs.Step("true", ())]


def test_a_step_that_fails_or_says_something_else_is_found(tmp_path: Path) -> None:
    env = docs.environment(tmp_path)
    good = "```console\n$ x=5\n$ echo at http://127.0.0.1:8411 $x\nat http://127.0.0.1:8411 5\n```\n"
    assert docs.play(good, tmp_path, env, "http://127.0.0.1:9", limit_s=20) == []
    bad = good + "```console\n$ echo six\nseven\n$ false\n```\n"
    assert len(docs.play(bad, tmp_path, env, "http://127.0.0.1:9", limit_s=20)) == 2
