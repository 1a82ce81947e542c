"""PyTorch files: what torch.save writes is understood without being run, and nothing that a pickle says is done."""

from __future__ import annotations

import builtins
import importlib
import io
import os
import pickle
import pickletools
import struct
import subprocess
import time
import tracemalloc
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
from tensor_files import Storage, Torch, floats, noise, old_torch_file, reader, torch_file, torch_pickle, zip_file

from headwater.tensors import TENSORS_MAX, Malformed, Tensor, pickles, pytorch, zips


def opened(content: bytes) -> pytorch.PytorchFile:
    read = reader(content)
    return pytorch.read_tensors(read, zips.read_directory(read, len(content)))


def described(content: bytes) -> list[tuple[str, str, tuple[int, ...]]]:
    return [(tensor.name, tensor.dtype, tensor.shape) for tensor in opened(content).tensors]


def refused(raw: bytes) -> str:
    with pytest.raises(Malformed) as caught:
        pickles.read_views(raw)
    return caught.value.text


STATE = OrderedDict(
    [
        ("embed.weight", floats(32, 8, kind="BFloat16Storage", width=2)),
        ("norm.weight", floats(8, seed=2)),
        ("steps", floats(seed=3, kind="LongStorage", width=8)),
        ("mask", floats(4, 4, seed=4, kind="BoolStorage", width=1)),
    ]
)
DESCRIBED = [
    ("embed.weight", "BF16", (32, 8)),
    ("norm.weight", "F32", (8,)),
    ("steps", "I64", ()),
    ("mask", "BOOL", (4, 4)),
]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_state_dict_gives_names_types_shapes_and_places(protocol: int) -> None:
    content = torch_file(STATE, protocol)
    found = opened(content)
    assert found.misunderstood is None
    assert [(t.name, t.dtype, t.shape) for t in found.tensors] == DESCRIBED
    assert [content[t.start : t.stop] for t in found.tensors] == [tensor.storage.raw for tensor in STATE.values()]


def test_a_checkpoint_names_tensors_by_the_way_to_them() -> None:
    checkpoint = {
        "epoch": 3,
        "rate": 1e-4,
        "big": 1 << 400,
        "note": "ü" * 5_000,
        "blob": b"raw" * 500,
        "state_dict": STATE,
        "optimizer": {
            "state": {0: {"exp_avg": floats(8, seed=5)}},
            "groups": [{"params": [0, 1]}, floats(2, 3, seed=6)],
        },
        "flags": {frozenset([1]), "x"},
    }
    assert described(torch_file(checkpoint)) == [
        *((f"state_dict.{name}", dtype, shape) for name, dtype, shape in DESCRIBED),
        ("optimizer.state.0.exp_avg", "F32", (8,)),
        ("optimizer.groups.1", "F32", (2, 3)),
    ]


def test_parameters_and_types_that_only_the_tensor_knows_are_understood() -> None:
    parameter = floats(4, 2)
    parameter.parameter = True
    eight = Torch(Storage("UntypedStorage", noise(12), 12), (3, 4), dtype="float8_e4m3fn")
    wide = Torch(Storage("UntypedStorage", noise(12), 12), (3, 2), dtype="uint16")
    assert described(torch_file({"p": parameter, "q": eight, "w": wide})) == [
        ("p", "F32", (4, 2)),
        ("q", "F8_E4M3", (3, 4)),
        ("w", "U16", (3, 2)),
    ]


def test_a_storage_that_holds_several_tensors_is_cut_into_them() -> None:
    flat = Storage("FloatStorage", noise(4 * 100), 100)
    views = {
        "a": Torch(flat, (3, 4), 10),
        "all of a, flat": Torch(flat, (12,), 10),
        "b": Torch(flat, (2, 5), 22),
        "a row of b": Torch(flat, (5,), 27),
        "turned": Torch(flat, (5, 4), 40, (1, 5)),
    }
    assert described(torch_file(views)) == [
        ("archive/data/0", "F32", (10,)),
        ("a", "F32", (3, 4)),
        ("b", "F32", (2, 5)),
        ("archive/data/0", "F32", (68,)),
    ]


def test_a_turned_tensor_has_the_type_and_no_shape() -> None:
    assert described(torch_file({"w": Torch(Storage("FloatStorage", noise(48), 12), (3, 4), 0, (1, 3))})) == [
        ("w", "F32", (12,))
    ]


def test_tied_weights_are_one_tensor_under_their_first_name() -> None:
    shared = Storage("HalfStorage", noise(40), 20)
    assert described(torch_file({"embed": Torch(shared, (4, 5)), "head": Torch(shared, (4, 5))})) == [
        ("embed", "F16", (4, 5))
    ]


def test_big_endian_files_have_no_types() -> None:
    found = opened(torch_file({"w": floats(4)}, byteorder=b"big"))
    assert [tensor.dtype for tensor in found.tensors] == ["BYTES"]
    assert found.misunderstood is not None
    assert "big-endian" in found.misunderstood


@pytest.mark.parametrize(
    "tensor",
    [
        Torch(Storage("FloatStorage", noise(44), 12), (12,)),
        Torch(Storage("FloatStorage", noise(48), 1 << 60), (12,)),
        Torch(Storage("StrangeStorage", noise(48), 12), (12,)),
        Torch(Storage("UntypedStorage", noise(48), 48), (12,)),
        Torch(Storage("UntypedStorage", noise(47), 47), (23,), dtype="uint16"),
        Torch(Storage("UntypedStorage", noise(48), 48), (12,), dtype="quint4x2"),
    ],
)
def test_storages_whose_size_or_type_does_not_fit_are_bytes(tensor: Torch) -> None:
    size = len(tensor.storage.raw)
    assert described(torch_file({"w": tensor})) == [("archive/data/0", "BYTES", (size,))]


@pytest.mark.parametrize(("shape", "offset"), [((1 << 62, 1 << 62), 0), ((13,), 0), ((12,), 1), ((4,), 1 << 62)])
def test_views_beyond_their_storage_do_not_count(shape: tuple[int, ...], offset: int) -> None:
    found = described(torch_file({"w": Torch(Storage("FloatStorage", noise(48), 12), shape, offset)}))
    assert found == [("w", "F32", (12,))]


def test_ordered_dictionaries_of_python_2_are_understood() -> None:
    raw, storages = torch_pickle([["w", floats(12)], ["b", floats(4)], "no pair"])
    ordered = b"\x80\x02ccollections\nOrderedDict\n" + raw[2:-1] + b"\x85R."
    members = [(f"a/data/{number}", storage.raw) for number, storage in enumerate(storages)]
    assert described(zip_file([("a/data.pkl", ordered), *members])) == [("w", "F32", (12,)), ("b", "F32", (4,))]


def test_what_a_pickle_says_first_of_a_storage_counts() -> None:
    raw, _ = torch_pickle([floats(12), floats(24, kind="HalfStorage", width=2)])
    key_1, key_0 = b"X\x01\x00\x00\x001", b"X\x01\x00\x00\x000"
    assert raw.count(key_1) == 1
    content = zip_file([("a/data.pkl", raw.replace(key_1, key_0)), ("a/data/0", noise(48))])
    assert described(content) == [("0", "F32", (12,))]


def test_two_types_of_one_untyped_storage_are_none() -> None:
    storage = Storage("UntypedStorage", noise(48), 48)
    views = [Torch(storage, (24,), dtype="uint16"), Torch(storage, (48,), dtype="float8_e4m3fn")]
    assert described(torch_file(views)) == [("archive/data/0", "BYTES", (48,))]


# The format before 1.6


def opened_old(content: bytes) -> pytorch.PytorchFile:
    return pytorch.read_old(reader(content), len(content))


def test_the_older_format_gives_the_same_tensors() -> None:
    content = old_torch_file(STATE)
    found = opened_old(content).tensors
    assert pytorch.looks_old(content[:512])
    assert [(t.name, t.dtype, t.shape) for t in found] == DESCRIBED
    assert [content[t.start : t.stop] for t in found] == [tensor.storage.raw for tensor in STATE.values()]


def test_storages_of_the_older_format_that_lie_are_refused() -> None:
    content = old_torch_file({"w": floats(12)})
    at = len(content) - 56
    for damaged, text in [
        (content[:at] + struct.pack("<q", 13) + content[at + 8 :], "has 13 elements, not 12"),
        (content[:at] + struct.pack("<q", -12) + content[at + 8 :], "elements, not 12"),
        (content[:-1], "ends beyond the file"),
        (content[: at + 7], "the file ends at byte"),
        (old_torch_file({"w": Torch(Storage("StrangeStorage", noise(48), 12), (12,))}), "of its type"),
        (content.replace(pickle.dumps(["0"], 2), pickle.dumps(["1"], 2)), "list of the storages' keys"),
        (content.replace(pickle.dumps(["0"], 2), pickle.dumps({"0": 1}, 2)), "list of the storages' keys"),
        (content.replace(pickle.dumps(["0"], 2), pickle.dumps(["0", "0"], 2)), "is there twice"),
        (content[:40], "the pickle has 40"),
    ]:
        with pytest.raises(Malformed) as caught:
            opened_old(damaged)
        assert text in caught.value.text


def test_pickles_longer_than_the_first_read_are_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pytorch, "OLD_HEAD_BYTES", 50)
    assert len(opened_old(old_torch_file(STATE)).tensors) == len(STATE)


# What a pickle could do if it were run


class _Canary:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return open, (str(self.path), "w")


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_T55_a_call_in_a_pickle_is_never_made(protocol: int, tmp_path: Path) -> None:
    raw = pickle.dumps({"w": _Canary(tmp_path / "canary")}, protocol)
    opened(zip_file([("archive/data.pkl", raw), ("archive/data/0", b"1234")]))
    assert not (tmp_path / "canary").exists()
    pickle.loads(raw)["w"].close()
    assert (tmp_path / "canary").exists(), "the same pickle does something where it is run"


DANGEROUS = {
    "GLOBAL and REDUCE": b"cos\nsystem\n(X\x05\x00\x00\x00touchtR.",
    "STACK_GLOBAL": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x01x\x85R.",
    "NEWOBJ": b"\x80\x02csubprocess\nPopen\nX\x01\x00\x00\x00x\x85\x81.",
    "NEWOBJ_EX": b"\x80\x04csubprocess\nPopen\n)}\x92.",
    "BUILD": b"\x80\x02cbuiltins\nobject\n)\x81}X\x0c\x00\x00\x00__setstate__cos\nsystem\nsbX\x01\x00\x00\x00xb.",
    "FROM_TYPE": b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\n(cos\nsystem\ncos\nx\n)NtR.",
}


@pytest.mark.parametrize("raw", DANGEROUS.values(), ids=DANGEROUS.keys())
def test_T55_dangerous_opcodes_are_walked_over(raw: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    with monkeypatch.context() as patch:
        for module, name in (
            (os, "system"),
            (subprocess, "Popen"),
            (importlib, "import_module"),
            (builtins, "__import__"),
        ):
            patch.setattr(module, name, lambda *arguments, **named: calls.append(arguments))
        found = pickles.read_views(raw)
    assert calls == []
    assert found == ()


@pytest.mark.parametrize(
    "raw",
    [
        b"(ios\nsystem\n.", b"(cos\nsystem\no.", b"\x82\x01.", b"\x83\x01\x00.", b"\x84\x01\x00\x00\x00.", b"P0\n.",
        b"I1\n.", b"L1L\n.", b"F1\n.", b"S'x'\n.", b"Vx\n.", b"g0\n.", b"p0\n.", b"\x97.", b"\x98.", b"\xff.", b"\x00.",
    ],
)  # fmt: skip
def test_T55_opcodes_that_torch_never_writes_are_not_understood(raw: bytes) -> None:
    assert "not understood" in refused(raw)


def test_every_opcode_of_python_is_known_or_refused() -> None:
    for opcode in pickletools.opcodes:
        raw = opcode.code.encode("latin-1")
        try:
            pickles.read_views(raw + bytes(40))
        except Malformed:
            continue
        assert raw == b"."


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"", "breaks off"),
        (b".", "stack is empty"),
        (b"K", "are needed at byte 1"),
        (b"\x80\x02", "breaks off"),
        (b"X\xff\xff\xff\xff.", "are needed at byte 5"),
        (b"X\x10\x00\x00\x00.", "are needed at byte 5"),
        (b"\x8d" + b"\xff" * 8 + b".", "are needed at byte 9"),
        (b"\x8e" + b"\xff" * 8 + b".", "are needed at byte 9"),
        (b"\x96" + b"\xff" * 8 + b".", "are needed at byte 9"),
        (b"\x8b\xff\xff\xff\xff.", "are needed at byte 5"),
        (b"h\x07.", "memo has no 7"),
        (b"j\x07\x00\x00\x00.", "memo has no 7"),
        (b"q\x00.", "stack is empty"),
        (b"\x94.", "stack is empty"),
        (b"t.", "stack is empty"),
        (b"K\x01\x86.", "stack is empty"),
        (b"R.", "stack is empty"),
        (b"0.", "stack is empty"),
        (b"u.", "stack is empty"),
        (b"(u.", "stack is empty"),
        (b"KaKb\x93.", "is no text"),
        (b"c" + b"x" * 2_000, "does not end"),
        (b"cos", "does not end"),
    ],
)
def test_broken_pickles_are_refused(raw: bytes, text: str) -> None:
    assert text in refused(raw)


def test_every_cut_and_thousands_of_damages_of_a_pickle_are_refused_or_harmless() -> None:
    raw, _ = torch_pickle({"state": STATE, "list": [1, 2.5, None, (True, "x")]}, 4)
    for size in range(len(raw)):
        refused(raw[:size])
    for at in range(len(raw)):
        for value in (0, 1, 0x28, 0x2E, 0x52, 0x68, 0x80, 0x86, 0xFF):
            try:
                views = pickles.read_views(raw[:at] + bytes([value]) + raw[at + 1 :])
            except Malformed:
                continue
            assert len(views) <= len(STATE)


def test_a_damaged_pickle_leaves_the_storages_as_bytes() -> None:
    raw, _ = torch_pickle({"w": floats(12)})
    found = opened(zip_file([("archive/data.pkl", raw[:-1]), ("archive/data/0", noise(48))]))
    assert [(tensor.name, tensor.dtype, tensor.shape) for tensor in found.tensors] == [
        ("archive/data/0", "BYTES", (48,))
    ]
    assert found.misunderstood is not None
    assert "breaks off" in found.misunderstood


BOMBS = {
    "empty lists": b"]" * 300_000,
    "marks": b"(" * 300_000,
    "dictionaries": b"}" * 300_000,
    "nested tuples": b")" + b"\x85" * 300_000,
    "a long tuple in many calls": b"(" + b"N" * 25_000 + b"tq\x00cx\ny\nq\x01" + b"h\x01h\x00R" * 10_000 + b".",
    "a long shape in many tensors": (
        b"(" + b"K\x01" * 20_000 + b"tq\x000ctorch._utils\n_rebuild_tensor_v2\nq\x010"
        b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000NK\x01tQq\x020"
        + b"h\x01(h\x02K\x00h\x00h\x00tR" * 4_000 + b"."
    ),
    "a list in itself": b"]q\x00" + b"h\x00a" * 20_000 + b".",
    "a long list in many lists": b"(" + b"]" * 10_000 + b"lq\x00" + b"]h\x00a" * 10_000 + b"(h\x00h\x00l.",
    "deep lists": b"]" * 20_000 + b"a" * 19_999 + b".",
    "long names": b"(" + b"X\xff\x03\x00\x00" + b"n" * 1023 + b"Nd.",
}  # fmt: skip


@pytest.mark.parametrize("raw", BOMBS.values(), ids=BOMBS.keys())
def test_T55_pickle_bombs_take_bounded_time_and_memory(raw: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a tenth of the limit: a tenth of the memory, and of a time that is linear in the opcodes."""
    monkeypatch.setattr(pickles, "OPCODES_MAX", pickles.OPCODES_MAX // 10)
    tracemalloc.start()
    started = time.thread_time()
    try:
        pickles.read_views(raw)
    except Malformed:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 15 << 20
    assert time.thread_time() - started < 2, "tracing makes it many times slower"


def test_more_tensors_than_the_limit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pickles.TENSORS_MAX == TENSORS_MAX
    raw, _ = torch_pickle([floats(1, seed=number) for number in range(20)])
    monkeypatch.setattr(pickles, "TENSORS_MAX", 19)
    assert "over 19 tensors" in refused(raw)


def test_a_zip_with_many_pickles_is_refused() -> None:
    content = zip_file([(f"a{number}/data.pkl", b"N.") for number in range(5)])
    with pytest.raises(Malformed, match="5 pickles are over the limit of 4"):
        opened(content)


def test_a_pickle_over_the_limit_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pytorch, "PICKLE_BYTES_MAX", 10)
    found = opened(torch_file({"w": floats(4)}))
    assert found.misunderstood is not None
    assert "over the limit of 10" in found.misunderstood
    assert [tensor.dtype for tensor in found.tensors] == ["BYTES"]


def test_torchscript_objects_name_their_tensors_by_attribute() -> None:
    """As TorchScript's own pickler writes a module: a class of the archive, no arguments, a dictionary of attributes."""
    raw, storages = torch_pickle({"weight": floats(3, 4), "training": False})
    body = raw[2:-1]  # without protocol and stop
    module = b"\x80\x02c__torch__.model\nNet\n)\x81" + body + b"b."
    found = opened(
        zip_file([("m/data.pkl", module), ("m/constants.pkl", b"\x80\x02)."), ("m/data/0", storages[0].raw)])
    )
    assert [(tensor.name, tensor.dtype, tensor.shape) for tensor in found.tensors] == [("weight", "F32", (3, 4))]
    assert found.misunderstood is None


def test_ten_thousand_tensors_are_read_in_a_second() -> None:
    state = OrderedDict((f"layers.{number}.weight", floats(2, 2, seed=number)) for number in range(10_000))
    content = torch_file(state)
    started = time.thread_time()
    found = opened(content)
    assert time.thread_time() - started < 3, "a third of that where the machine is not shared"
    assert found.misunderstood is None
    assert len(found.tensors) == 10_000
    assert found.tensors[-1] == Tensor(
        "layers.9999.weight", "F32", (2, 2), found.tensors[-1].start, found.tensors[-1].start + 16
    )


def test_the_pickles_of_these_tests_are_what_the_standard_library_reads() -> None:
    raw, _ = torch_pickle(STATE)
    out = io.StringIO()
    pickletools.dis(raw, out)
    assert "_rebuild_tensor_v2" in out.getvalue()
    assert struct.unpack_from("BB", raw) == (0x80, 2)
