"""Xet's hashes equal xet-core's reference values, however the tree is fed."""

from __future__ import annotations

import hashlib
from itertools import pairwise

import numpy as np
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.ground.errors import Invalid
from headwater.store import hashes
from headwater.store.hashes import ZERO

# From xet-core's aggregated_hashes.rs, test_correctness: node k has the hash NODES[k] and the length 100 * k.
NODES = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "cfc5d07f6f03c29bbf424132963fe08d19a37d5757aaf520bf08119f05cd56d6",
    "c3e67584b5c4fc2a89837ec39e40f2c8a6bb0b2987ac94cd4b31e5fbdd210a72",
    "0d2beb91b9196929a5ddec9f6e306924ddf4a24268e3e59fd8464738d525af37",
    "adf8773496a9b7319b2e50dc98093f344053b17d8ad37100b9c07d9805988784",
    "4ac202caf347fc1e9c874b1ef6a1c5e619141eb775a6f43f0f0124ccd0060d9e",
    "b3b28636f65c149ea52eb1f94669466f70f033b54cea792824c696ba6ef3c389",
    "0e2c1a002aae913d2c0fc8ddfa4e9e14b7b311b3b0d458726d5d9f6a6318013c",
]
ROOTS = [
    (
        [0],
        "0000000000000000000000000000000000000000000000000000000000000000",
        "f4aa7219b7bc6145df344b930c1cf63680037e13236f4b3b8f439aba1520d443",
        "3e44e4a200e05a69afc979eb2e0507817e4f0ddff128a97e563c0e05fed3bd25",
    ),
    (
        [1],
        "cfc5d07f6f03c29bbf424132963fe08d19a37d5757aaf520bf08119f05cd56d6",
        "285371a6a3c8c4e561469c97766c46f0b9799bd8ea51a4ad27a082df8c28b7da",
        "6c18994ed5e6a223aeff68a6e386dbba7b3c25de076245dc77892b4ad49ac978",
    ),
    (
        [1, 2, 3],
        "71ec1275fca074724e2dd666921b3277c7cee603e4d025bcab2d4050015be2bc",
        "b286606709ef32a1cfede1e603a39f83fef56772d8234c0e35d8920071d80b69",
        "337f1f046e4cfc1057f0f3edbd87cf977fdfaf3c2b0c0031ca2d1d2a34aa2270",
    ),
    (
        [1, 1, 1, 1],
        "89f2ada89ff8c96763c6b25010e6dd76a4c05b1466207633ea559acf2093211b",
        "705cc0697edd49c5258951922f5df72e16deaa58f85e78c381a574c4e3c9ad94",
        "a3da5ccdbea87eafe6400ad30e45df94bcad053d72c246ff94a7934a5a35abdd",
    ),
    (
        [1, 2, 1, 2],
        "90f8313ef12df385d237a067aded02562c35ded12116e32eba401dbc86c38031",
        "d08d1b24938b34a558972c6fe99f6153ef502f064b74d8ca890cdfb8eb4f953c",
        "6812247dc5740215154ace7e4ffe271914da445524492677d36bdb6ec1282142",
    ),
    (
        [1, 2, 1, 2, 3, 4],
        "52c826f99507aa05d0b45e9837fa1709e0485425cfbcb1e80db3905cf98b3ee9",
        "fceabc1f6c6aaaa176bc53b2d6899a3ab99eaebd13b5f0cf36080e6f894bbbf5",
        "b70b051189a20b58d0c832111e0470396094518b6af8bd8c813c9ccb764ab602",
    ),
    (
        [0, 1, 0, 1],
        "e1755c85be07fd6b7a8d7becc85e6d8c5f507f2a3d38b316bcb6f97855e72188",
        "031f44db2e13e20c068a83d67c607b5134ddd0e627c2a4f9a6335feb0340625f",
        "5d343ba4d940ae1a7039774456702e1e45400d47f2a04ae987046984a440b2b5",
    ),
    (
        [0, 1, 0, 1, 0],
        "f36c6a6374a567efd36ed087aeb680b57e3af4e0b5b8e7be2593df4cb647a2de",
        "80d0b5a2922c67f61ffdc2b9f6e9272a92542a3ab319ed0e6bfc40224b0e033f",
        "82505151e4e8ad313359150eaa7c13cff3130458e52cdc33c49a6199e47896d5",
    ),
    (
        [1, 0],
        "e8660f81494ca836a58e395c1395ef97870ed71e2b113eec1fab6b3361f46dd6",
        "b0fd0f1d42902c9e8156968aff956ace74cc286d5f4ad84b98865069175e3d1e",
        "1472e0ec0085c508d31759d0d2df6656e00080d83340130e28772d231bf5a8d7",
    ),
    (
        [3, 4, 5, 3],
        "73b9dc802ab03a0855c66823a18d95c2a785af594535756abf405038b6270cb8",
        "d255e7a939311ec686dc825070a5e603147539a80035999a4dcaa698afd4aa7f",
        "7c58c7b4130ac526c98fff562bb4317581846a04e6ba4f08fa8a829e1c033c78",
    ),
    (
        [3, 4, 5, 5, 5],
        "2c1fd1eca47e284512fcb40fcf45a1874939f9b91c774d46aeba5d004d9d263d",
        "498ba54b410ea8f05c4b92aa5a6f01165615f6a8d1ec1d7cee76a85fd800ba28",
        "c98a2a18e6df96f4d6dc5da396e17a2c22867b49b977ab6860de5b3241776baf",
    ),
    (
        [0, 1, 2, 3, 4, 5, 6, 7],
        "f62abe77e3fb9c954fe52b0028027ddc90c064c45951a4fd2211d87e5c0011db",
        "6fb1cc393b130809e39c8073f96d9726364080a345a5af4978ab491e7d25faac",
        "eebe56be63552edcc6da65ff79f79262f83866236dd869f08a900674fc936ad3",
    ),
    (
        list(range(8)) * 8,
        "6554007c9b5d0a5e7918f79596a1b68815c1407535585435f5735db761f21b88",
        "0c33b4f4788ad18fb7c5fbec8fa2ce3c3208e2737d8d0fd7c4a1ff97b2c0d866",
        "3e819808396e8c1960a11be2b952b3b824ab1f4c44a46ba7f753d54127fc1987",
    ),
    (
        [1] * 32,
        "0a0123c1617921883b7e13902095fcb86676e77c49120c33b233003b0af0e0a6",
        "058034313dd012e3cdb618509708dda40488f573cefd0794b97926a431b60b86",
        "1b4aa28be3856b3c7a435622ddbcc4c4f81ef19702864a63ceb28653e52deeda",
    ),
    (
        [0, 1, 2, 3, 4, 5, 6, 7, 1, 1, 1, 1],
        "e7fc30b73ec9930593f80fe777b334e9d3bb73e45e6a79fa5784b2603446158b",
        "0d3ba68f70ce4c1f642b12ff526fefe28db27becb0bbf2ea181193f70f6c3f09",
        "fe45928c54aa340354af57c83cf6eb8056a2d2e623a1f73afdc3e777babe7ba1",
    ),
    (
        [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7],
        "636c65db520ec16e8166f9ec7a0cf9f74b26369077ac60160ec0221c86bc9f77",
        "9cf26338dd0a43d6b8ae238d197a558db083f42918b6abebe9c6008a982459fe",
        "7f14769cb2a682654aa7aa6b08845643b6973adb313b975fd319d34456bb9159",
    ),
]


def naive_root(nodes: list[tuple[bytes, int]]) -> bytes:
    """The rule as draft-denis-xet states it, one family after the other."""
    while len(nodes) > 1:
        parents = []
        while nodes:
            count = len(nodes)
            if count > 2:
                ends = (k + 1 for k in range(2, min(9, count)) if int.from_bytes(nodes[k][0][24:], "little") % 4 == 0)
                count = next(ends, min(9, count))
            text = "".join(f"{hashes.to_text(name)} : {size}\n" for name, size in nodes[:count])
            parents.append((blake3(text.encode(), key=hashes.NODE_KEY).digest(), sum(s for _, s in nodes[:count])))
            nodes = nodes[count:]
        nodes = parents
    return nodes[0][0] if nodes else ZERO


def some_hashes(count: int, seed: bytes = b"") -> bytes:
    return hashlib.shake_128(b"nodes" + seed).digest(32 * count)


@pytest.mark.parametrize(("numbers", "root", "salt", "salted"), ROOTS)
def test_roots_and_salted_file_hashes_are_those_of_xet_core(
    numbers: list[int], root: str, salt: str, salted: str
) -> None:
    raw = b"".join(hashes.from_text(NODES[k]) for k in numbers)
    lengths = [100 * k for k in numbers]
    assert root == hashes.to_text(hashes.merkle_root(raw, lengths))
    assert salted == hashes.to_text(hashes.keyed(hashes.from_text(salt), hashes.merkle_root(raw, lengths)))


def test_the_file_hash_is_the_root_salted_with_zeros() -> None:
    one = hashes.from_text(NODES[1])
    expected = "8e16257caa3fe079d484d872a8975264b2ff683b0d6db9028cc7c0f968a45661"  # also from xet-core
    assert expected == hashes.to_text(hashes.file_hash(one, [100]))


def test_a_single_chunk_is_its_own_root_and_no_chunk_is_zero() -> None:
    one = some_hashes(1)
    assert hashes.merkle_root(one, [5]) == one
    assert hashes.merkle_root(b"", []) == ZERO
    assert hashes.file_hash(b"", []) == ZERO


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 400), st.lists(st.integers(0, 400), max_size=5), st.binary(max_size=2))
def test_the_tree_is_the_rules_however_it_is_fed(count: int, ends: list[int], seed: bytes) -> None:
    raw = some_hashes(count, seed)
    lengths = np.arange(count, dtype=np.uint32) * 7 + 1
    expected = naive_root([(raw[32 * i : 32 * i + 32], int(lengths[i])) for i in range(count)])
    assert expected == hashes.merkle_root(raw, lengths)
    tree = hashes.Tree()
    cuts = [0, *sorted(min(end, count) for end in ends), count]
    for start, stop in pairwise(cuts):
        tree.add(raw[32 * start : 32 * stop], lengths[start:stop])
    assert expected == tree.root()


@pytest.mark.parametrize("count", [99, 100, 101, 1000])
def test_windows_do_not_change_the_tree(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    raw, lengths = some_hashes(count), list(range(1, count + 1))
    expected = naive_root([(raw[32 * i : 32 * i + 32], lengths[i]) for i in range(count)])
    for window in (9, 10, 16, 100):
        monkeypatch.setattr(hashes, "TREE_WINDOW", window)
        assert expected == hashes.merkle_root(raw, lengths)


def test_families_without_a_closing_child_have_nine_children() -> None:
    # No hash here is a multiple of four, so each of the lower families is as long as can be.
    raw = (b"\1" * 32) * 100
    assert naive_root([(b"\1" * 32, 1)] * 100) == hashes.merkle_root(raw, [1] * 100)


def test_hashes_and_lengths_that_do_not_match_are_refused() -> None:
    with pytest.raises(Invalid, match="31 bytes for 1 lengths"):
        hashes.merkle_root(bytes(31), [1])


def test_the_text_form_turns_every_eight_bytes_round() -> None:
    raw = bytes(range(32))
    text = "07060504030201000f0e0d0c0b0a090817161514131211101f1e1d1c1b1a1918"
    assert text == hashes.to_text(raw)
    assert raw == hashes.from_text(text)


@given(st.binary(min_size=32, max_size=32))
def test_text_and_bytes_of_a_hash_say_the_same(raw: bytes) -> None:
    assert raw == hashes.from_text(hashes.to_text(raw))


@given(st.text("0123456789abcdefgF- ", max_size=63))
def test_what_is_no_hash_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="64 lower-case hex digits"):
        hashes.from_text(text)


@pytest.mark.parametrize("text", ["A" * 64, "0" * 63, "0" * 65, "0" * 64 + "\n", "\u0660" * 64])
def test_near_misses_of_a_hash_are_refused(text: str) -> None:
    with pytest.raises(Invalid):
        hashes.from_text(text)


def test_a_raw_hash_of_another_length_is_refused() -> None:
    with pytest.raises(Invalid):
        hashes.to_text(bytes(31))


def test_the_chunk_hash_is_that_of_the_ietf_draft() -> None:
    expected = "d8d408e608fb9ca213b9909a65d86d725f2de4d8d540324be8a363e7a6e228cb"
    assert expected == hashes.to_text(hashes.chunk_hash(b"Hello World!"))
    assert hashes.chunk_hash(b"Hello World!") == hashes.chunk_hash(memoryview(b"Hello World!"))


def test_keys_separate_what_is_hashed() -> None:
    raw = some_hashes(2)
    digests = {hashes.chunk_hash(raw), hashes.range_hash(raw), hashes.keyed(ZERO, raw), hashes.keyed(b"\1" * 32, raw)}
    assert len(digests) == 4
