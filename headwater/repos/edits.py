"""A tree being edited: only the folders that change are read, and only they are written again.

No index of the whole repo is ever made, so a one-file commit costs the same in a repo of ten files and of 100,000.
Knows nothing of what files hold: it is told paths, modes and object names.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from headwater.ground.errors import EntryMissing, Invalid
from headwater.repos import objects
from headwater.repos.git import Git, Item
from headwater.repos.objects import PackWriter

NO_SUCH_FILE = "A file with this name doesn't exist"  # huggingface_hub's own tests look for it


class _Folder:
    __slots__ = ("added", "items")

    def __init__(self, items: dict[bytes, Item | _Folder]) -> None:
        self.items = items
        self.added: set[bytes] = set()


class Editor:
    """Edits in the order in which they are made; an error leaves the tree as far as it came, so drop the editor."""

    def __init__(self, git: Git, repo_id: int, root: str) -> None:
        self._git = git
        self._repo_id = repo_id
        self._root = self._opened(root)

    def put_file(self, path: str, oid: bytes, mode: bytes = objects.FILE) -> None:
        """A new file, or new contents: an executable one stays executable. 422 where a folder stands in its way."""
        folder, name = self._folder(path, make=True)
        old = folder.items.get(name)
        if isinstance(old, _Folder) or (old is not None and old[0] == objects.FOLDER):
            raise Invalid(f"path: {path!r} is a folder, so it can't be a file; delete the folder first", status=422)
        if old is None:
            folder.added.add(name)
        folder.items[name] = (objects.EXECUTABLE if old is not None and old[0] == objects.EXECUTABLE else mode, oid)

    def remove_file(self, path: str) -> None:
        folder, name = self._folder(path)
        old = folder.items.get(name)
        if old is None or isinstance(old, _Folder) or old[0] == objects.FOLDER:
            raise EntryMissing(path, text=f"{NO_SUCH_FILE}: {path}")
        del folder.items[name]

    def remove_folder(self, path: str) -> None:
        folder, name = self._folder(path)
        old = folder.items.get(name)
        if old is None or not (isinstance(old, _Folder) or old[0] == objects.FOLDER):
            raise EntryMissing(path, text=f"A folder with this name doesn't exist: {path}")
        del folder.items[name]

    def write(self, pack: PackWriter) -> str:
        """The name of the edited root; trees that changed are in the pack. 422 for names that only differ in case."""
        item = self._write(self._root, (), pack)
        return item[1].hex() if item is not None else pack.add("tree", b"").hex()

    def _write(self, folder: _Folder, above: Sequence[str], pack: PackWriter) -> Item | None:
        """None: nothing is left in it, and git has no empty folders."""
        items: list[tuple[bytes, bytes, bytes]] = []
        for name, item in folder.items.items():
            done = (
                self._write(item, (*above, name.decode("utf-8", "replace")), pack)
                if isinstance(item, _Folder)
                else item
            )
            if done is not None:
                items.append((done[0], name, done[1]))
        if folder.added:
            _check_case(items, folder.added, above)
        return (objects.FOLDER, pack.add("tree", objects.encode_tree(items))) if items else None

    def _folder(self, path: str, *, make: bool = False) -> tuple[_Folder, bytes]:
        """The folder that holds `path`, opened for editing, and the last part of the path."""
        *above, last = path.encode().split(b"/")
        folder = self._root
        for part in above:
            inner = folder.items.get(part)
            if inner is None:
                if not make:
                    raise EntryMissing(path, text=f"{NO_SUCH_FILE}: {path}")
                inner = _Folder({})
                folder.added.add(part)
            elif not isinstance(inner, _Folder):
                if inner[0] != objects.FOLDER:
                    raise Invalid(f"path: {path!r} goes through {part.decode()!r}, which is a file", status=422)
                inner = self._opened(inner[1].hex())
            folder.items[part] = inner
            folder = inner
        return folder, last

    def _opened(self, tree: str) -> _Folder:
        return _Folder(dict(self._git.tree(self._repo_id, tree)))


def folded(name: bytes) -> bytes:
    """The form under which names are one and the same on Windows and macOS."""
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFC", name.decode("utf-8", "replace").casefold()).encode()


def _check_case(items: Sequence[tuple[bytes, bytes, bytes]], added: set[bytes], above: Sequence[str]) -> None:
    """Only of names that this commit adds: what is there already (from a mirror, from before) stays editable (T49)."""
    seen: dict[bytes, bytes] = {}
    for _, name, _ in items:
        other = seen.setdefault(folded(name), name)
        if other != name and (name in added or other in added):
            pair = " and ".join(repr("/".join((*above, each.decode("utf-8", "replace")))) for each in (other, name))
            raise Invalid(
                f"path: {pair} differ only in upper and lower case; clients on Windows and macOS can't hold both",
                status=422,
            )
