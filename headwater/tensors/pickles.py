"""The tensors that a PyTorch pickle describes, found without running it.

The pickle is walked opcode by opcode on inert values: a global is a name and is never imported, a call makes a note
that there was a call. Only what `torch.save` and TorchScript write is understood; opcodes that neither writes are
`Malformed`. Refuses to know where the storages lie. Sources: `pickletools` for the opcodes of protocols 2 to 5;
`torch/serialization.py` and `torch/_utils.py` of PyTorch 2.9 for the calls that rebuild tensors.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from headwater.tensors import TENSORS_MAX, Malformed
from headwater.tensors.dtypes import SAFETENSORS_BITS

OPCODES_MAX = 600_000  # about 30 a tensor; half a second, and at most some 200 bytes of memory each
TEXT_BYTES_MAX = 1 << 10  # of what may be a name or a key; longer text is not looked at
NAME_CHARS_MAX = 256
DIMENSIONS_MAX = 64
DEPTH_MAX = 32  # of containers in containers that names are looked for in

_STORAGES = {
    "DoubleStorage": "F64", "FloatStorage": "F32", "HalfStorage": "F16", "BFloat16Storage": "BF16",
    "LongStorage": "I64", "IntStorage": "I32", "ShortStorage": "I16", "CharStorage": "I8", "ByteStorage": "U8",
    "BoolStorage": "BOOL", "ComplexFloatStorage": "C64", "QInt8Storage": "I8", "QUInt8Storage": "U8",
    "QInt32Storage": "I32",
}  # fmt: skip
_DTYPES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64", "int32": "I32",
    "int16": "I16", "int8": "I8", "uint8": "U8", "uint16": "U16", "uint32": "U32", "uint64": "U64", "bool": "BOOL",
    "complex64": "C64", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2", "float8_e4m3fnuz": "F8_E4M3FNUZ",
    "float8_e5m2fnuz": "F8_E5M2FNUZ", "float8_e8m0fnu": "F8_E8M0",
}  # fmt: skip
BYTES = "BYTES"
_UNTYPED = "UntypedStorage"


@dataclass(frozen=True, slots=True)
class View:
    """A tensor as the pickle describes it: a part of a storage, in elements."""

    name: str
    storage: str
    dtype: str
    storage_elements: int
    offset: int
    shape: tuple[int, ...]
    contiguous: bool


@dataclass(frozen=True, slots=True)
class Stream:
    """The pickles that the older format begins with: tensors, storages in the order of the file, and where they end.

    A storage is its key, its dtype (`BYTES` for one without a type, "" for one of a class that is not known) and its
    number of elements.
    """

    views: tuple[View, ...]
    storages: tuple[tuple[str, str, int], ...]
    stop: int


def read_views(raw: bytes) -> tuple[View, ...]:
    """All tensors of a pickle, in the order in which they are met from its top. Raises `Malformed`; runs nothing."""
    walker = _Walker(raw, 0)
    top = walker.walk()
    return tuple(_views(top, walker.rebuilt))


def read_stream(raw: bytes) -> Stream:
    """What the older format begins with: magic number, version, system, the object, the keys. Raises `Malformed`."""
    at = 0
    for _ in range(3):
        before = _Walker(raw, at)
        before.walk()
        at = before.at
    walker = _Walker(raw, at)
    views = tuple(_views(walker.walk(), walker.rebuilt))
    last = _Walker(raw, walker.at)
    keys = last.walk()
    if not isinstance(keys, list) or not all(isinstance(key, str) and key in walker.storages for key in keys):
        raise Malformed("pickle: the last one must be a list of the storages' keys")
    if len(set(keys)) != len(keys):
        raise Malformed("pickle: a storage is there twice")
    storages = (walker.storages[key] for key in keys)
    described = tuple((s.key, BYTES if s.kind == _UNTYPED else _STORAGES.get(s.kind, ""), s.elements) for s in storages)
    return Stream(views, described, last.at)


# What pickles are made of here: None, bool, int, float, str, tuple, list, and these.


@dataclass(frozen=True, slots=True)
class _Global:
    name: str


@dataclass(slots=True, eq=False)
class _Map:
    """A dictionary; as pairs, because a key may be anything (as may a pair that a file gives itself)."""

    pairs: list[Any] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class _Thing:
    """What came out of a call or a class that is not known: the parts that it was made of."""

    parts: list[Any]


@dataclass(frozen=True, slots=True, eq=False)
class _Storage:
    kind: str
    key: str
    elements: int


@dataclass(frozen=True, slots=True, eq=False)
class _Rebuilt:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: str | None


_OPAQUE = _Thing([])  # a value that cannot matter: long text, bytes, huge numbers


class _Walker:
    """A pickle's stack, memo and position. One method per opcode of `_TABLE`."""

    def __init__(self, raw: bytes, start: int) -> None:
        self._raw = raw
        self.at = start
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.rebuilt: list[_Rebuilt] = []
        self.storages: dict[str, _Storage] = {}

    def walk(self) -> Any:
        raw, table = self._raw, _TABLE
        try:
            for _ in range(OPCODES_MAX):
                opcode = raw[self.at]
                self.at += 1
                if opcode == _STOP:
                    return self.stack.pop()
                table[opcode](self)
        except KeyError:
            raise Malformed(f"pickle: what stands at byte {self.at - 1} of the pickle is not understood") from None
        except (IndexError, struct.error):
            raise Malformed(f"pickle: the pickle breaks off or its stack is empty at byte {self.at}") from None
        raise Malformed(f"pickle: the pickle has over {OPCODES_MAX} opcodes")

    def _take(self, count: int) -> bytes:
        piece = self._raw[self.at : self.at + count]
        if len(piece) != count:
            raise Malformed(f"pickle: {count} bytes are needed at byte {self.at}, the pickle has {len(self._raw)}")
        self.at += count
        return piece

    def _number(self, width: int) -> int:
        return int.from_bytes(self._take(width), "little")

    def marked(self) -> list[Any]:
        items = self.stack
        self.stack = self.below.pop()
        return items

    def push(self, value: Any) -> None:
        self.stack.append(value)

    # Values

    def number_1(self) -> None:
        self.push(self._take(1)[0])

    def number_2(self) -> None:
        self.push(self._number(2))

    def number_4(self) -> None:
        self.push(int.from_bytes(self._take(4), "little", signed=True))

    def long(self, width: int) -> None:
        count = self._number(width)
        digits = self._take(count)
        self.push(int.from_bytes(digits, "little", signed=True) if count <= 8 else _OPAQUE)

    def float(self) -> None:
        self.push(struct.unpack(">d", self._take(8))[0])

    def text(self, width: int) -> None:
        count = self._number(width)
        if count > TEXT_BYTES_MAX:
            self.step_over(count)
            self.push(_OPAQUE)
        else:
            self.push(self._take(count).decode(errors="replace"))

    def octets(self, width: int) -> None:
        self.step_over(self._number(width))
        self.push(_OPAQUE)

    def step_over(self, count: int) -> None:
        if count > len(self._raw) - self.at:
            raise Malformed(f"pickle: {count} bytes are needed at byte {self.at}, the pickle has {len(self._raw)}")
        self.at += count

    # Containers

    def mark(self) -> None:
        self.below.append(self.stack)
        self.stack = []

    def pop(self) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.marked()

    def drop_marked(self) -> None:
        self.marked()

    def tuple_of(self, count: int) -> None:
        if len(self.stack) < count:
            raise IndexError
        self.stack[-count:] = [tuple(self.stack[-count:])]

    def append(self) -> None:
        value = self.stack.pop()
        self._added([value])

    def _added(self, values: list[Any]) -> None:
        """To a list, a set, or a thing that pretends to be one."""
        target = self.stack[-1]
        if isinstance(target, list):
            target += values
        else:
            self._noted(target, values)

    def mapped(self, target: Any, items: list[Any]) -> None:
        if isinstance(target, _Map):
            target.pairs += zip(items[::2], items[1::2], strict=False)
        else:
            self._noted(target, items)

    def _noted(self, target: Any, parts: list[Any]) -> None:
        """Parts given to something that is not known; to what cannot take parts they are lost."""
        if isinstance(target, _Thing) and target is not _OPAQUE:
            target.parts += parts

    def appends(self) -> None:
        self._added(self.marked())

    def set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.mapped(self.stack[-1], [key, value])

    def set_items(self) -> None:
        items = self.marked()
        self.mapped(self.stack[-1], items)

    def new_map(self) -> None:
        made = _Map()
        self.mapped(made, self.marked())
        self.push(made)

    # The memo

    def get(self, width: int) -> None:
        key = self._number(width)
        if key not in self.memo:
            raise Malformed(f"pickle: the pickle's memo has no {key}")
        self.push(self.memo[key])

    def put(self, width: int) -> None:
        self.memo[self._number(width)] = self.stack[-1]

    def memoize(self) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    # Names, calls, storages: nothing is imported, nothing is called

    def named(self) -> None:
        module, name = self._line(), self._line()
        self.push(_Global(f"{module}.{name}"))

    def _line(self) -> str:
        stop = self._raw.find(b"\n", self.at, self.at + TEXT_BYTES_MAX)
        if stop < 0:
            raise Malformed(f"pickle: a name at byte {self.at} of the pickle does not end")
        return self._take(stop + 1 - self.at)[:-1].decode(errors="replace")

    def named_on_stack(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise Malformed(f"pickle: the name before byte {self.at} of the pickle is no text")
        self.push(_Global(f"{module}.{name}"))

    def called(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        self.push(self._result(function, arguments))

    def _result(self, function: Any, arguments: Any) -> Any:
        name = function.name if isinstance(function, _Global) else ""
        if not isinstance(arguments, tuple):
            return _Thing([arguments])
        if name == _FROM_TYPE and len(arguments) == 4 and arguments[0] != function:
            # A subclass of Tensor: the function that rebuilds it, its class, that function's arguments, its state.
            return self._result(arguments[0], arguments[2])
        if name in {"torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"} and arguments:
            return arguments[0]
        if name == "collections.OrderedDict" and (not arguments or isinstance(arguments[0], list)):
            # Python 2 gave all pairs to the call; no copy, for the reason below.
            return _Map(arguments[0]) if arguments else _Map()
        if name in _REBUILDERS and (made := _rebuilt(name, arguments)):
            self.rebuilt.append(made)
            if len(self.rebuilt) > TENSORS_MAX:
                raise Malformed(f"pickle: the pickle has over {TENSORS_MAX} tensors")
            return made
        # Not a copy: the same long tuple may be the argument of a million calls.
        return _Thing([arguments])

    def new_object(self) -> None:
        arguments = self.stack.pop()
        self.stack.pop()
        self.push(_Thing([arguments]))

    def new_object_with_names(self) -> None:
        names, arguments = self.stack.pop(), self.stack.pop()
        self.stack.pop()
        self.push(_Thing([arguments, names]))

    def state(self) -> None:
        given = self.stack.pop()
        self._noted(self.stack[-1], [given])

    def persistent(self) -> None:
        """The one thing that torch.save keeps outside of the pickle: a storage."""
        match self.stack.pop():
            case ("storage", _Global(name), str(key), _, int(count), *_) if count >= 0:
                storage = self.storages.setdefault(key, _Storage(name.rpartition(".")[2], key, count))
                same = (storage.kind, storage.elements) == (name.rpartition(".")[2], count)
                self.push(storage if same else _Thing([]))
            case _:
                self.push(_Thing([]))


_FROM_TYPE = "torch._tensor._rebuild_from_type_v2"
# Where the dtype stands among the arguments, after storage, offset, shape and strides; None: the storage's class says.
_REBUILDERS: dict[str, int | None] = {
    "torch._utils._rebuild_tensor": None,
    "torch._utils._rebuild_tensor_v2": None,
    "torch._utils._rebuild_tensor_v3": 6,
    "torch._utils._rebuild_qtensor": None,
}


def _rebuilt(name: str, arguments: tuple[Any, ...]) -> _Rebuilt | None:
    match arguments:
        case (_Storage() as storage, int(offset), tuple(shape), tuple(strides), *_):
            pass
        case _:
            return None
    if len(shape) != len(strides) or len(shape) > DIMENSIONS_MAX:
        return None
    if not all(type(count) is int and count >= 0 for count in (offset, *shape, *strides)):
        return None
    place = _REBUILDERS[name]
    if place is None:
        dtype = _STORAGES.get(storage.kind)
    else:
        said = arguments[place] if place < len(arguments) else None
        dtype = _DTYPES.get(said.name.removeprefix("torch.")) if isinstance(said, _Global) else None
    return _Rebuilt(storage, offset, shape, strides, dtype)


_STOP = ord(".")
_TABLE: dict[int, Callable[[_Walker], None]] = {
    ord("("): _Walker.mark,
    ord("0"): _Walker.pop,
    ord("1"): _Walker.drop_marked,
    ord("2"): lambda w: w.push(w.stack[-1]),
    ord("N"): lambda w: w.push(None),
    0x88: lambda w: w.push(True),
    0x89: lambda w: w.push(False),
    ord("K"): _Walker.number_1,
    ord("M"): _Walker.number_2,
    ord("J"): _Walker.number_4,
    0x8A: lambda w: w.long(1),
    0x8B: lambda w: w.long(4),
    ord("G"): _Walker.float,
    ord("X"): lambda w: w.text(4),
    0x8C: lambda w: w.text(1),
    0x8D: lambda w: w.text(8),
    ord("T"): lambda w: w.text(4),
    ord("U"): lambda w: w.text(1),
    ord("B"): lambda w: w.octets(4),
    ord("C"): lambda w: w.octets(1),
    0x8E: lambda w: w.octets(8),
    0x96: lambda w: w.octets(8),
    ord(")"): lambda w: w.push(()),
    ord("t"): lambda w: w.push(tuple(w.marked())),
    0x85: lambda w: w.tuple_of(1),
    0x86: lambda w: w.tuple_of(2),
    0x87: lambda w: w.tuple_of(3),
    ord("]"): lambda w: w.push([]),
    ord("l"): lambda w: w.push(w.marked()),
    ord("a"): _Walker.append,
    ord("e"): _Walker.appends,
    0x8F: lambda w: w.push([]),
    0x90: _Walker.appends,
    0x91: lambda w: w.push(w.marked()),
    ord("}"): lambda w: w.push(_Map()),
    ord("d"): _Walker.new_map,
    ord("s"): _Walker.set_item,
    ord("u"): _Walker.set_items,
    ord("c"): _Walker.named,
    0x93: _Walker.named_on_stack,
    ord("R"): _Walker.called,
    0x81: _Walker.new_object,
    0x92: _Walker.new_object_with_names,
    ord("b"): _Walker.state,
    ord("Q"): _Walker.persistent,
    ord("h"): lambda w: w.get(1),
    ord("j"): lambda w: w.get(4),
    ord("q"): lambda w: w.put(1),
    ord("r"): lambda w: w.put(4),
    0x94: _Walker.memoize,
    0x80: lambda w: w.step_over(1),  # protocol
    0x95: lambda w: w.step_over(8),  # a frame's length
}


def _views(top: Any, rebuilt: Iterable[_Rebuilt]) -> Iterable[View]:
    """Names are the ways to the tensors: dictionary keys and places in lists, joined by dots; the first way counts.

    What no way leads to (an argument of an unknown call that was dropped) has no name.
    """
    seen: set[int] = set()
    keys: list[Any] = []
    ways: list[Iterator[tuple[Any, Any]]] = [iter([("", top)])]
    while ways:
        key, value = next(ways[-1], (None, None))
        if key is None:
            ways.pop()
            if keys:
                keys.pop()
        elif isinstance(value, _CONTAINERS) and id(value) not in seen:
            seen.add(id(value))
            if isinstance(value, _Rebuilt):
                yield _view(value, _name([*keys, key]))
            elif len(ways) < DEPTH_MAX:
                keys.append(key)
                ways.append(_parts(value))
    for value in rebuilt:
        if id(value) not in seen:
            yield _view(value, "")


_CONTAINERS = (_Map, _Thing, list, tuple, _Rebuilt)


def _parts(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, _Map):
        pairs = (pair for pair in value.pairs if isinstance(pair, tuple | list) and len(pair) == 2)
        return iter((key if isinstance(key, str | int) else "?", part) for key, part in pairs)
    if isinstance(value, _Thing):
        return iter(("", part) for part in value.parts)
    return iter(enumerate(value))


def _name(keys: Iterable[Any]) -> str:
    return ".".join(str(key) for key in keys if key != "")[:NAME_CHARS_MAX]


def _view(value: _Rebuilt, name: str) -> View:
    storage = value.storage
    expected = 1
    contiguous = True
    for dimension, stride in zip(reversed(value.shape), reversed(value.strides), strict=True):
        contiguous = contiguous and (dimension == 1 or stride == expected)
        expected *= dimension
    dtype = value.dtype or BYTES
    untyped_bytes = SAFETENSORS_BITS[dtype] // 8 if storage.kind == _UNTYPED and value.dtype else 1
    count, over = divmod(storage.elements, untyped_bytes)
    return View(name, storage.key, dtype if not over else BYTES, count, value.offset, value.shape, contiguous)
