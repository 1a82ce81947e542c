"""Kin: the stored tensors that may be parents of a file's, as whoever knows of relations offers them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from headwater.ground.errors import Conflict, HeadwaterError
from headwater.ground.names import Sha256
from headwater.store.blobs import Blob, Store
from headwater.store.objects import read_pieces
from headwater.store.splitting import split


@dataclass(frozen=True, slots=True)
class Relative:
    """A stored file some of whose tensors may be parents of another file's.

    It has to be sealed to be of use. `name` is its file name, which tells its format; `why` a short phrase for people;
    `pairs` maps a tensor's name in the other file to one or more of this file's (None: names are the same).
    """

    sha256: Sha256
    why: str
    name: str = ""
    pairs: Mapping[str, str | tuple[str, ...]] | None = None


def reader_of(store: Store, blob: Blob) -> Callable[[int, int], bytes]:
    """`read(start, stop)` of a stored file, however it is stored."""
    return lambda start, stop: b"".join(read_pieces(store.runs(blob, start, min(stop, blob.size))))


class Kin:
    """The stored tensors that may be parents, by the names of the tensors that may stand on them."""

    def __init__(self, store: Store, relatives: Sequence[Relative], unused: list[str]) -> None:
        self._store = store
        self._relatives: list[tuple[Relative, dict[str, bytes]]] = []
        for relative in relatives:
            try:
                self._relatives.append((relative, self._keys(relative)))
            except HeadwaterError as error:
                unused.append(f"{relative.sha256}: {error.text}")

    def _keys(self, relative: Relative) -> dict[str, bytes]:
        """The key of each tensor of a relative that is stored as one."""
        blob = self._store.blob(relative.sha256)
        if not blob.sealed or blob.damaged:
            raise Conflict("it is not sealed")
        found = self._store.sealed_recipe(blob)
        keys: dict[str, bytes] = {}
        for tensor in split(relative.name, blob.size, reader_of(self._store, blob)):
            pieces = list(found.segments(tensor.start, tensor.stop))
            if len(pieces) == 1 and pieces[0].key and pieces[0].start == 0:
                keys[tensor.name] = pieces[0].key
        return keys

    @property
    def keys(self) -> set[bytes]:
        """Of all of them."""
        return {key for _relative, keys in self._relatives for key in keys.values()}

    def of(self, name: str) -> list[tuple[bytes, str]]:
        """Keys of possible parents, the best first, each with the reason why."""
        found: list[tuple[bytes, str]] = []
        for relative, keys in self._relatives:
            named = name if relative.pairs is None else relative.pairs.get(name, ())
            for other in (named,) if isinstance(named, str) else named:
                if other in keys and keys[other] not in [key for key, _why in found]:
                    found.append((keys[other], relative.why))
        return found
