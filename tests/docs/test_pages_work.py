"""What the documentation tells people to type works as it stands."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import doc_running as docs
import pytest

from headwater.ground.settings import load

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
