"""PyTorch's files: a zip whose stored members are storages, or, before 1.6, pickles followed by the storages.

Types, shapes and names come from the pickle. In a zip, storages of a pickle that is not understood are bytes without a
type; in the older format nothing says where they lie then. Refuses to know the values and how to run a pickle. Source:
PyTorch's notes on serialization semantics, `torch/serialization.py` 2.9.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from headwater.tensors import TENSORS_MAX, Malformed, Read, Tensor, zips
from headwater.tensors.dtypes import SAFETENSORS_BITS, elements
from headwater.tensors.pickles import BYTES, View, read_stream, read_views
from headwater.tensors.reading import exactly

PICKLE_BYTES_MAX = 1 << 25  # 25,000 tensors of an optimizer's checkpoint take 8 MB
OLD_HEAD_BYTES = 1 << 20  # tried first: a few thousand tensors
PICKLES_MAX = 4  # torch.save writes one, TorchScript two
_COUNT_BYTES = 8


@dataclass(frozen=True, slots=True)
class PytorchFile:
    """Every storage of the file, in the order of their bytes; one that is cut into tensors comes as these tensors.

    A tensor of dtype `BYTES` has its number of bytes as shape. `misunderstood` says why types are missing, or is None.
    """

    tensors: tuple[Tensor, ...]
    misunderstood: str | None


def is_pytorch(directory: zips.Directory) -> bool:
    """Whether a zip has the pickle that `torch.save` and TorchScript write."""
    return any(member.name.endswith("/data.pkl") for member in directory.members)


def read_tensors(read: Read, directory: zips.Directory) -> PytorchFile:
    """The storages of a zip by `torch.save` or TorchScript. Raises `Malformed` where the zip itself is broken."""
    members = {member.name: member for member in directory.members if member.stored}
    pickles = {name.removesuffix(".pkl"): member for name, member in members.items() if name.endswith(".pkl")}
    if len(pickles) > PICKLES_MAX:
        raise Malformed(f"pytorch: {len(pickles)} pickles are over the limit of {PICKLES_MAX}")
    storages = [m for m in members.values() if m.name.rpartition("/")[0] in pickles and m.size]
    aside = [m for m in members.values() if m.name.rpartition("/")[2] == "byteorder"]
    places = zips.places(read, directory, [*storages, *pickles.values(), *aside])
    misunderstood: list[str] = []
    views: dict[str, list[View]] = {}
    big_endian = any(exactly(read, *_few(places[m.name]), "pytorch") == b"big" for m in aside)
    for folder, member in pickles.items():
        try:
            if big_endian:
                raise Malformed("pytorch: big-endian numbers have no type here")
            if member.size > PICKLE_BYTES_MAX:
                raise Malformed(f"pytorch: a pickle of {member.size} bytes is over the limit of {PICKLE_BYTES_MAX}")
            for view in read_views(exactly(read, *places[member.name], "pytorch")):
                views.setdefault(f"{folder}/{view.storage}", []).append(view)
        except Malformed as error:
            misunderstood.append(error.text)
    tensors: list[Tensor] = []
    for storage in sorted(storages, key=lambda m: places[m.name]):
        tensors += _tensors(storage.name, views.get(storage.name, ()), *places[storage.name])
    if len(tensors) > TENSORS_MAX:
        raise Malformed(f"pytorch: {len(tensors)} tensors are over the limit of {TENSORS_MAX}")
    return PytorchFile(tuple(tensors), misunderstood[0] if misunderstood else None)


def looks_old(head: bytes) -> bool:
    """Whether a file begins with the magic number of the format before 1.6, as a pickle of protocol 2 or 3."""
    return head[:1] == b"\x80" and head[2:15] == b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


def read_old(read: Read, size: int) -> PytorchFile:
    """The storages of a file in the format before 1.6. Raises `Malformed`, also where a pickle is not understood."""
    try:
        stream = read_stream(exactly(read, 0, min(size, OLD_HEAD_BYTES), "pytorch"))
    except Malformed:
        stream = read_stream(exactly(read, 0, min(size, PICKLE_BYTES_MAX), "pytorch"))
    views: dict[str, list[View]] = {}
    for view in stream.views:
        views.setdefault(view.storage, []).append(view)
    tensors: list[Tensor] = []
    at = stream.stop
    for key, dtype, count in stream.storages:
        start = at + _COUNT_BYTES
        said = int.from_bytes(exactly(read, at, start, "pytorch"), "little")
        if not dtype or said != count:
            raise Malformed(f"pytorch: storage {key[:80]!r} at byte {at} has {said} elements, not {count} of its type")
        at = start + count * (SAFETENSORS_BITS[dtype] // 8 if dtype != BYTES else 1)
        if at > size:
            raise Malformed(f"pytorch: storage {key[:80]!r} ends beyond the file ({at} > {size})")
        if count:
            tensors += _tensors(key, views.get(key, ()), start, at)
    return PytorchFile(tuple(tensors), None)


def _few(place: tuple[int, int]) -> tuple[int, int]:
    return place[0], min(place[1], place[0] + 16)


def _tensors(member: str, views: Iterable[View], start: int, stop: int) -> list[Tensor]:
    """A storage, cut into the tensors that lie in it one after the other; what lies between them is without shape."""
    views = list(views)
    kinds = {(view.dtype, view.storage_elements) for view in views}
    if len(kinds) != 1 or BYTES in (kind := kinds.pop()):
        return [Tensor(member, BYTES, (stop - start,), start, stop)]
    dtype, count = kind
    width = SAFETENSORS_BITS[str(dtype)] // 8
    if int(count) * width != stop - start:
        return [Tensor(member, BYTES, (stop - start,), start, stop)]
    tensors: list[Tensor] = []
    reached = start
    # Of views that begin together the longest counts: the others are parts of it.
    for view in sorted(views, key=lambda v: (v.offset, -elements(v.shape))):
        first, last = start + view.offset * width, start + (view.offset + elements(view.shape)) * width
        if view.contiguous and reached <= first < last <= stop:
            if reached < first:
                tensors.append(_flat(member, str(dtype), reached, first, width))
            tensors.append(Tensor(view.name or member, str(dtype), view.shape, first, last))
            reached = last
    if reached < stop:
        tensors.append(_flat(member if tensors else views[0].name or member, str(dtype), reached, stop, width))
    return tensors


def _flat(name: str, dtype: str, start: int, stop: int, width: int) -> Tensor:
    return Tensor(name, dtype, ((stop - start) // width,), start, stop)
