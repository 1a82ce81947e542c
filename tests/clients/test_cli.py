"""The `hf` command, as a person types it: sign in, create, upload, download, branches, tags, verify, delete."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import pytest
from client_running import ALICE, BOB, Clients, Done, client_home


@dataclass(frozen=True)
class Shell:
    """One person's terminal: commands of one client generation, signed in by `hf auth login` and not by HF_TOKEN."""

    clients: Clients
    home: Path
    env: dict[str, str]
    work: Path

    def hf(self, *words: str, tool: str = "hf", fails: bool = False) -> Done:
        """Run one command and assert that it ends well (or, with `fails`, that it does not)."""
        done = self.clients.run([str(self.home / "bin" / tool), *words], self.env, cwd=self.work)
        assert (done.code != 0) == fails, f"{tool} {' '.join(words)} ended with {done.code}\n{done.out}"
        return done


def signed_in(clients: Clients, version: str) -> Shell:
    home = client_home(f"hub-{version}")
    env = clients.environment("cli", token="")
    shell = Shell(clients, home, env, Path(env["WORK_DIR"]))
    shell.hf("auth", "whoami", fails=version != "0.34")  # 0.34 says "Not logged in" and ends with 0
    shell.hf("auth", "login", "--token", ALICE)
    assert "alice" in shell.hf("auth", "whoami").out
    return shell


def make_folder(root: Path) -> dict[str, bytes]:
    """Write a model-like folder of 5 files, one of 3 MB; return path -> content."""
    files = {
        "README.md": b"---\nlicense: mit\n---\n# A model\n",
        "config.json": b'{"a": 1}\n',
        "model.bin": os.urandom(3_000_000),
        "sub dir/tok enizer.json": b"{}\n",
        "empty.txt": b"",
    }
    for path, data in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    return files


def assert_same(folder: Path, files: dict[str, bytes]) -> None:
    for path, data in files.items():
        found = (folder / path).read_bytes()
        assert hashlib.sha256(found).digest() == hashlib.sha256(data).digest(), path


@pytest.mark.timeout(240)
@pytest.mark.parametrize("version", ["1.28", "2.4"])
def test_the_hf_command_does_a_whole_day_of_work(clients: Clients, version: str) -> None:
    shell = signed_in(clients, version)
    repo = f"alice/cli-{version}"
    files = make_folder(shell.work / "model")

    shell.hf("repos", "create", repo)
    shell.hf("repos", "create", repo, fails=True)
    shell.hf("repos", "create", repo, "--exist-ok")
    assert f"/{repo}" in shell.hf("upload", repo, "model", ".", "--commit-message", "All of it").out
    shell.hf("upload", repo, "model/config.json", "copies/config 2.json")

    shell.hf("repos", "branch", "create", repo, "dev")
    shell.hf("upload", repo, "model/config.json", "dev.json", "--revision", "dev")
    shell.hf("repos", "tag", "create", repo, "v1", "-m", "first")
    assert "v1" in shell.hf("repos", "tag", "list", repo).out

    where = shell.hf("download", repo, "--local-dir", "back")
    assert_same(shell.work / "back", files)
    assert (shell.work / "back" / "copies" / "config 2.json").read_bytes() == files["config.json"], where.out
    cached = shell.hf("download", repo, "model.bin", "--quiet").out
    assert hashlib.sha256(files["model.bin"]).hexdigest() in {
        p.name for p in Path(shell.env["HF_HOME"]).rglob("blobs/*")
    }, cached
    shell.hf("download", repo, "dev.json", "--revision", "dev")
    shell.hf("download", repo, "--revision", "v1")
    shell.hf("download", repo, "never-was.json", fails=True)
    shell.hf("download", repo + "-not", fails=True)

    shell.hf("upload", repo, "model/config.json", "proposed.json", "--create-pr")
    shell.hf("download", repo, "proposed.json", "--revision", "refs/pr/1")
    shell.hf("cache", "verify", repo, "--revision", "v1", "--fail-on-missing-files", "--fail-on-extra-files")
    shell.hf("cache", "verify", repo, "--local-dir", "back", "--fail-on-missing-files")
    (shell.work / "back" / "config.json").write_bytes(b'{"a": 2}\n')
    shell.hf("cache", "verify", repo, "--local-dir", "back", fails=True)

    assert repo in shell.hf("models", "list", "--author", "alice", "--limit", "1000", "-q").out
    assert json.loads(shell.hf("models", "info", repo, "--format", "json").out)["id"] == repo
    shell.hf("repos", "delete-files", repo, "copies/*")
    assert "copies" not in shell.hf("models", "list", repo, "-R").out
    shell.hf("repos", "settings", repo, "--private")
    shell.hf("download", repo, "config.json", "--token", BOB, "--local-dir", "stolen", fails=True)
    shell.hf("repos", "tag", "delete", repo, "v1", "-y")
    shell.hf("repos", "branch", "delete", repo, "dev")
    shell.hf("repos", "move", repo, f"acme/cli-{version}")
    shell.hf("repos", "delete", f"acme/cli-{version}", "-y")
    shell.hf("models", "info", f"acme/cli-{version}", fails=True)
    shell.hf("auth", "logout")


@pytest.mark.timeout(240)
@pytest.mark.parametrize("version", ["0.34", "1.28"])
def test_a_large_folder_goes_up_in_resumable_parts(clients: Clients, version: str) -> None:
    shell = signed_in(clients, version)
    repo = f"alice/large-{version}"
    files = make_folder(shell.work / "model")
    shell.hf(
        "upload-large-folder", repo, "model", "--repo-type", "model", "--num-workers", "2", "--no-report", "--no-bars"
    )
    shell.hf("download", repo, "--local-dir", "back")
    assert_same(shell.work / "back", files)


@pytest.mark.timeout(240)
def test_the_command_of_2025_still_works(clients: Clients) -> None:
    shell = signed_in(clients, "0.34")
    repo = "alice/cli-0.34"
    files = make_folder(shell.work / "model")
    assert "alice" in shell.hf("whoami", tool="huggingface-cli").out
    shell.hf("repo", "create", repo)
    shell.hf("upload", repo, "model", ".", tool="huggingface-cli")
    shell.hf("repo", "tag", "create", repo, "v1")
    assert "v1" in shell.hf("repo", "tag", "list", repo).out
    shell.hf("download", repo, "--revision", "v1", "--local-dir", "back", tool="huggingface-cli")
    assert_same(shell.work / "back", files)
    shell.hf("repo-files", "delete", repo, "config.json")
    shell.hf("download", repo, "config.json", "--force-download", fails=True)
