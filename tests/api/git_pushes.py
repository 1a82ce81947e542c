"""A push as git sends it, made of trees that git itself would never write."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

ZERO = "0" * 40
FILE, EXECUTABLE, SYMLINK, SUBMODULE, FOLDER = "100644", "100755", "120000", "160000", "40000"


@dataclass
class Workshop:
    """A bare repository to make objects in."""

    at: Path

    def git(self, *words: str, data: bytes = b"") -> bytes:
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            **{f"GIT_{who}_{what}": "t@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
        }
        command = ["git", f"--git-dir={self.at}", *words]
        return subprocess.run(command, input=data, env=environment, capture_output=True, check=True).stdout

    def init(self) -> None:
        self.git("init", "--quiet", "--bare", str(self.at))

    def object(self, kind: str, content: bytes) -> str:
        """Any object, however malformed."""
        made = self.git("hash-object", "-t", kind, "-w", "--stdin", "--literally", data=content)
        return made.decode().strip()

    def blob(self, content: bytes) -> str:
        return self.object("blob", content)

    def tree(self, *items: tuple[str, str, str]) -> str:
        """(mode, name, object) each, in the order given."""
        raw = b"".join(f"{mode} {name}\0".encode() + bytes.fromhex(oid) for mode, name, oid in items)
        return self.object("tree", raw)

    def commit(self, tree: str, *parents: str) -> str:
        words = [word for parent in parents for word in ("-p", parent)]
        return self.git("commit-tree", tree, *words, "-m", "pushed").decode().strip()

    def push(self, commit: str, old: str = ZERO, ref: str = "refs/heads/main") -> bytes:
        """The body of a POST to git-receive-pack."""
        without = f"^{old}\n" if old != ZERO and self._has(old) else ""
        pack = self.git("pack-objects", "--stdout", "--revs", "-q", data=f"{commit}\n{without}".encode())
        command = f"{old} {commit} {ref}\0 report-status object-format=sha1".encode()
        return b"%04x%s0000" % (len(command) + 4, command) + pack

    def _has(self, oid: str) -> bool:
        try:
            self.git("cat-file", "-e", oid)
        except subprocess.CalledProcessError:
            return False
        return True
