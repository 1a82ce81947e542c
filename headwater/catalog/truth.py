"""The truth as the index reads it: six questions, answered by `repos` and `store`, asked for nobody in particular."""

from __future__ import annotations

from collections.abc import Iterator

from headwater.ground.errors import EntryMissing, RepoMissing, RevisionMissing
from headwater.ground.names import CommitId, FilePath
from headwater.repos import Entry, Repo, Repos
from headwater.store import Store
from headwater.tensors import Read


class Truth:
    def __init__(self, repos: Repos, store: Store) -> None:
        self._repos = repos
        self._store = store

    def repo(self, repo_id: int) -> Repo | None:
        try:
            return self._repos.registry.by_id(repo_id)
        except RepoMissing:
            return None

    def head(self, repo_id: int) -> CommitId | None:
        found = self.repo(repo_id)
        if found is None:
            return None
        try:
            return self._repos.refs.resolve(found, "main")
        except RevisionMissing:
            return None

    def files(self, repo_id: int, commit: CommitId) -> Iterator[Entry]:
        found = self._repos.registry.by_id(repo_id)
        after: str | None = None
        while True:
            page = self._repos.tree.listing(found, commit, "", recursive=True, after=after)
            yield from page.entries
            after = page.next
            if after is None:
                return

    def changes(self, repo_id: int, old: CommitId, new: CommitId) -> Iterator[tuple[Entry | None, Entry | None]]:
        return self._repos.tree.changes(repo_id, old, new)

    def text(self, repo_id: int, commit: CommitId, path: str, bytes_max: int) -> bytes | None:
        try:
            entry = self._entry(repo_id, commit, path)
        except EntryMissing:
            return None
        return self._reader(repo_id, entry)(0, min(entry.size, bytes_max))

    def open(self, repo_id: int, commit: CommitId, path: str) -> Read:
        return self._reader(repo_id, self._entry(repo_id, commit, path))

    def _entry(self, repo_id: int, commit: CommitId, path: str) -> Entry:
        entry = self._repos.tree.entry(self._repos.registry.by_id(repo_id), commit, FilePath(path))
        if entry.kind != "file":
            raise EntryMissing(path, commit)
        return entry

    def _reader(self, repo_id: int, entry: Entry) -> Read:
        sha256 = entry.sha256
        if sha256 is not None:
            return lambda start, stop: b"".join(self._store.read(sha256, start, stop))
        data = self._repos.tree.read_inline(self._repos.registry.by_id(repo_id), entry)
        return lambda start, stop: data[start:stop]
