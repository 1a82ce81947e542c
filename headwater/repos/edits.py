"""A tree being edited: only the folders that change are read, and only they are written again.

No index of the whole repo is ever made, so a one-file commit costs the same in a repo of ten files and of 100,000.
Knows nothing of what files hold: it is told paths, modes and object names.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Mapping, Sequence

from headwater.ground.errors import EntryMissing, Invalid
from headwater.repos import objects
from headwater.repos.git import Git, Item, Items
from headwater.repos.objects import PackWriter

NO_SUCH_FILE = "A file with this name doesn't exist"  # huggingface_hub's own tests look for it


class _Folder:
    """A folder as it was, and over it what has changed; None: gone."""

    __slots__ = ("added", "before", "changes")

    def __init__(self, before: Items) -> None:
        self.before = before
        self.changes: dict[bytes, Item | _Folder | None] = {}
        self.added: set[bytes] = set()

    def get(self, name: bytes) -> Item | _Folder | None:
        return self.changes[name] if name in self.changes else self.before.get(name)


class Editor:
    """Edits in the order in which they are made; an error leaves the tree as far as it came, so drop the editor."""

    def __init__(self, git: Git, repo_id: int, root: str) -> None:
        self._git = git
        self._repo_id = repo_id
        self._root = self._opened(root)
        self._written: dict[str, Items] = {}

    @property
    def written(self) -> Mapping[str, Items]:
        """The trees that `write` put into the pack, by their names."""
        return self._written

    def put_file(self, path: str, oid: bytes, mode: bytes = objects.FILE) -> None:
        """A new file, or new contents: an executable one stays executable. 422 where a folder stands in its way."""
        folder, name = self._folder(path, make=True)
        old = folder.get(name)
        if isinstance(old, _Folder) or (old is not None and old[0] == objects.FOLDER):
            raise Invalid(f"path: {path!r} is a folder, so it can't be a file; delete the folder first", status=422)
        if old is None:
            folder.added.add(name)
        folder.changes[name] = (objects.EXECUTABLE if old is not None and old[0] == objects.EXECUTABLE else mode, oid)

    def remove_file(self, path: str) -> None:
        folder, name = self._folder(path)
        old = folder.get(name)
        if old is None or isinstance(old, _Folder) or old[0] == objects.FOLDER:
            raise EntryMissing(path, text=f"{NO_SUCH_FILE}: {path}")
        folder.changes[name] = None

    def remove_folder(self, path: str) -> None:
        folder, name = self._folder(path)
        old = folder.get(name)
        if old is None or not (isinstance(old, _Folder) or old[0] == objects.FOLDER):
            raise EntryMissing(path, text=f"A folder with this name doesn't exist: {path}")
        folder.changes[name] = None

    def write(self, pack: PackWriter) -> str:
        """The name of the edited root; trees that changed are in the pack. 422 for names that only differ in case."""
        item = self._write(self._root, (), pack)
        return item[1].hex() if item is not None else pack.add("tree", b"").hex()

    def _write(self, folder: _Folder, above: Sequence[str], pack: PackWriter) -> Item | None:
        """None: nothing is left in it, and git has no empty folders."""
        changes = {
            name: self._write(item, (*above, name.decode("utf-8", "replace")), pack)
            if isinstance(item, _Folder)
            else item
            for name, item in folder.changes.items()
        }
        after = folder.before.spliced(changes)
        if folder.added:
            _check_case(list(after), folder.added, above)
        if not after:
            return None
        oid = pack.add("tree", after.encoded())
        self._written[oid.hex()] = after
        return objects.FOLDER, oid

    def _folder(self, path: str, *, make: bool = False) -> tuple[_Folder, bytes]:
        """The folder that holds `path`, opened for editing, and the last part of the path."""
        *above, last = path.encode().split(b"/")
        folder = self._root
        for part in above:
            inner = folder.get(part)
            if inner is None:
                if not make:
                    raise EntryMissing(path, text=f"{NO_SUCH_FILE}: {path}")
                inner = _Folder(Items())
                folder.added.add(part)
            elif not isinstance(inner, _Folder):
                if inner[0] != objects.FOLDER:
                    raise Invalid(f"path: {path!r} goes through {part.decode()!r}, which is a file", status=422)
                inner = self._opened(inner[1].hex())
            folder.changes[part] = inner
            folder = inner
        return folder, last

    def _opened(self, tree: str) -> _Folder:
        return _Folder(self._git.tree(self._repo_id, tree))


def folded(name: bytes) -> bytes:
    """The form under which names are one and the same on Windows and macOS."""
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFC", name.decode("utf-8", "replace").casefold()).encode()


def _check_case(names: Collection[bytes], added: Collection[bytes], above: Sequence[str]) -> None:
    """Only of names that this commit adds: what is there already (from a mirror, from before) stays editable (T49)."""
    joined = b"/".join(names)  # which no name has in it
    if joined.isascii() and len(set(joined.lower().split(b"/"))) == len(names):
        return  # the usual case in a fifth of the time that the loop takes
    seen: dict[bytes, bytes] = {}
    for name in names:
        other = seen.setdefault(folded(name), name)
        if other != name and (name in added or other in added):
            pair = " and ".join(repr("/".join((*above, each.decode("utf-8", "replace")))) for each in (other, name))
            raise Invalid(
                f"path: {pair} differ only in upper and lower case; clients on Windows and macOS can't hold both",
                status=422,
            )
