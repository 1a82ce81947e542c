"""Kin: the stored tensors that may be parents of a file's, as whoever knows of relations offers them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from headwater.ground.errors import Conflict, HeadwaterError
from headwater.ground.names import Sha256
from headwater.store.blobs import Blob, Store
from headwater.store.objects import read_pieces
from headwater.store.splitting import Beside, Named, siblings, split


@dataclass(frozen=True, slots=True)
class Relative:
    """A stored file some of whose tensors may be parents of another file's.

    It has to be sealed to be of use. `name` is its file name, which tells its format; `why` a short phrase for people;
    `pairs` maps a tensor's name in the other file to one or more of this file's (None: names are the same); `beside`
    are files that may say what this one holds.
    """

    sha256: Sha256
    why: str
    name: str = ""
    pairs: Mapping[str, str | tuple[str, ...]] | None = None
    beside: tuple[Beside, ...] = ()


May = Callable[[bytes], bool]
"""Whether a stored tensor, by its key, may be a parent although no relative has it: a relative's own stands on it."""


def no_other(_key: bytes) -> bool:
    """For whoever can't tell who may read what."""
    return False


def reader_of(store: Store, blob: Blob) -> Callable[[int, int], bytes]:
    """`read(start, stop)` of a stored file, however it is stored."""
    return lambda start, stop: b"".join(read_pieces(store.runs(blob, start, min(stop, blob.size))))


def tensors_of(store: Store, blob: Blob, name: str, beside: Sequence[Beside] = ()) -> tuple[Named, ...]:
    """The tensors of a stored file, as far as it or the files beside it tell; `name` is its path."""
    return split(name, blob.size, reader_of(store, blob), siblings(beside, store.read))


class Kin:
    """The stored tensors that may be parents, by the names of the tensors that may stand on them.

    A relative vouches for its own tensors only, and not for what these stand on: that may be somebody's secret. `may`
    is asked for it.
    """

    def __init__(self, store: Store, relatives: Sequence[Relative], unused: list[str], may: May = no_other) -> None:
        self._store, self._may = store, may
        self._relatives: list[tuple[Relative, dict[str, bytes]]] = []
        for relative in relatives:
            try:
                self._relatives.append((relative, self._keys(relative)))
            except HeadwaterError as error:
                unused.append(f"{relative.sha256}: {error.text}")
        self._keys_of_all = {key for _relative, keys in self._relatives for key in keys.values()}

    def _keys(self, relative: Relative) -> dict[str, bytes]:
        """The key of each tensor of a relative that is stored as one."""
        blob = self._store.blob(relative.sha256)
        if not blob.sealed or blob.damaged:
            raise Conflict("it is not sealed")
        found = self._store.sealed_recipe(blob)
        keys: dict[str, bytes] = {}
        for tensor in tensors_of(self._store, blob, relative.name, relative.beside):
            pieces = list(found.segments(tensor.start, tensor.stop))
            if len(pieces) == 1 and pieces[0].key and pieces[0].start == 0:
                keys[tensor.name] = pieces[0].key
        return keys

    def allows(self, key: bytes) -> bool:
        """Whether this tensor may be a parent."""
        return key in self._keys_of_all or self._may(key)

    def of(self, name: str) -> list[tuple[bytes, str]]:
        """Keys of possible parents, the best first, each with the reason why."""
        found: list[tuple[bytes, str]] = []
        for relative, keys in self._relatives:
            named = name if relative.pairs is None else relative.pairs.get(name, ())
            for other in (named,) if isinstance(named, str) else named:
                if other in keys and keys[other] not in [key for key, _why in found]:
                    found.append((keys[other], relative.why))
        return found
