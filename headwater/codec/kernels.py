"""The loops of the coders, compiled: tokens of differences, static rANS, and back. `reference` has the same in Python.

They know arrays and nothing else. None allocates; all run without the GIL. Whoever calls them has checked the
lengths (`rans` and `coders` do, and nobody else calls them); what comes from stored bytes (words of the rANS stream,
raw bits) is bounded in here, because only the loop knows how much it takes. Inputs are read-only contiguous arrays,
outputs writable ones: one compiled version for each width of word.

Importing this module takes about a second, so `rans` does it at the first use. Compiled code is kept beside this file
or in numba's cache folder; the first process on a machine pays some seconds for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
from numba import float64, int64, types, uint8, uint32, uint64
from numba.extending import intrinsic

F = TypeVar("F", bound=Callable[..., Any])


def _compiled(loop: F) -> F:
    try:
        return cast("F", numba.njit(nogil=True, cache=True, boundscheck=False)(loop))
    except RuntimeError:  # no folder that a cache can be written to: compile for this process alone
        return cast("F", numba.njit(nogil=True, boundscheck=False)(loop))


def _leading_zeros_code(typingctx: Any, value: Any) -> Any:
    """Of a 64-bit word; 64 for zero."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctlz(args[0], context.get_constant(types.boolean, False))

    return types.uint64(types.uint64), code


def _trailing_zeros_code(typingctx: Any, value: Any) -> Any:
    """Of a 64-bit word; 64 for zero."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], context.get_constant(types.boolean, False))

    return types.uint64(types.uint64), code


_leading_zeros: Any = intrinsic(_leading_zeros_code)
_trailing_zeros: Any = intrinsic(_trailing_zeros_code)


@_compiled
def keys(words: Any, shift: int, mask: int, out: Any) -> None:
    """out = (words >> shift) & mask: the field of a word that contexts are made of."""
    s = uint64(shift)
    m = uint64(mask)
    for i in range(words.size):
        out[i] = uint8((uint64(words[i]) >> s) & m)


@_compiled
def remap_rows(key: Any, luts: Any, classes: Any, skip: int, columns: int, out: Any) -> None:
    """out = luts[256 * class + key], each row having a class. The first row lacks `skip` elements."""
    i = uint64(0)
    n = uint64(key.size)
    for row in range(classes.size):
        base = uint64(classes[row]) << uint64(8)
        stop = min(n, uint64(row + 1) * uint64(columns) - uint64(skip))
        while i < stop:
            out[i] = luts[base | uint64(key[i])]
            i += uint64(1)


@_compiled
def row_scales(target: Any, predicted: Any, steps: Any, shift: int, stops: Any, out: Any) -> None:
    """The mean change of each row, for floats of at most 8 exponent bits: the difference times the step.

    steps[exponent] is the spacing of floats with that exponent, `shift` their bits of mantissa; `stops` say where each
    row ends.
    """
    word = target.dtype.type
    low = word(word(0xFFFFFFFFFFFFFFFF) >> word(1))
    top = word(~low)
    s = uint64(shift)
    most = uint64(2) << s  # two octaves: a sign that turned at a tiny value is not a large change
    i = uint64(0)
    for row in range(out.size):
        total = 0.0
        begin = i
        while i < stops[row]:
            x = target[i]
            y = predicted[i]
            step = steps[uint64(y & low) >> s]
            x = word(x ^ (word(word(0) - word(x > low)) | top))
            y = word(y ^ (word(word(0) - word(y > low)) | top))
            size = uint64(x - y) if x > y else uint64(y - x)
            total += float64(min(size, most)) * step
            i += uint64(1)
        out[row] = total / float64(max(i - begin, uint64(1)))


@_compiled
def count(key: Any, token: Any, counts: Any) -> None:
    """counts[256 * key + token] += 1, for each."""
    for i in range(key.size):
        counts[(uint64(key[i]) << uint64(8)) | uint64(token[i])] += uint32(1)


@_compiled
def tokenise(target: Any, predicted: Any, ordered: bool, token: Any, eights: Any, raw: Any) -> Any:
    """The differences as tokens, and their low bits in `raw` (64-bit words, low bits first). Gives the count of bits.

    `ordered`: the words are floats, sign and magnitude, and are mapped to integers in the order of their values.
    `token` is padded with zeros to whole `eights`, which are the same bytes seen as 64-bit words. `raw` has room for as
    many bits as the words have, and one word more.
    """
    word = target.dtype.type
    low = word(word(0xFFFFFFFFFFFFFFFF) >> word(1))
    top = word(~low)
    flip = word(0xFFFFFFFFFFFFFFFF) if ordered else word(0)
    whole = word(255) if target.itemsize == 1 else word(128)
    for i in range(target.size):  # without a branch, so that it becomes vector instructions
        x = target[i]
        y = predicted[i]
        x = word(x ^ ((word(word(0) - word(x > low)) | top) & flip))
        y = word(y ^ ((word(word(0) - word(y > low)) | top) & flip))
        e = word(x - y)
        v = word(word(e << word(1)) ^ word(word(0) - word(e > low)))
        token[i] = uint8(min(v, whole))
    if target.itemsize == 1:
        return int64(0)
    keep = uint64(1) if target.itemsize == 8 else uint64(2)
    tail = (uint64(1) << keep) - uint64(1)
    held = uint64(0)  # bits that wait for their word to be full
    n_held = uint64(0)
    p = uint64(0)
    for eight in range(eights.size):
        if eights[eight] & uint64(0x8080808080808080):
            for i in range(uint64(eight) * uint64(8), uint64(eight) * uint64(8) + uint64(8)):
                if token[i] >= uint8(128):
                    x = target[i]
                    y = predicted[i]
                    x = word(x ^ ((word(word(0) - word(x > low)) | top) & flip))
                    y = word(y ^ ((word(word(0) - word(y > low)) | top) & flip))
                    e = word(x - y)
                    v = uint64(word(word(e << word(1)) ^ word(word(0) - word(e > low))))
                    n = uint64(64) - uint64(_leading_zeros(v))
                    k = n - uint64(1) - keep
                    token[i] = uint8(uint64(128) + ((n - uint64(8)) << keep) + ((v >> k) & tail))
                    bits = v & ((uint64(1) << k) - uint64(1))
                    held |= bits << n_held
                    n_held += k
                    if n_held >= uint64(64):
                        raw[p] = held
                        p += uint64(1)
                        n_held -= uint64(64)
                        held = bits >> (k - n_held)
    raw[p] = held
    return int64(p * uint64(64) + n_held)


@_compiled
def _fields(words: Any, at: Any, shift: int, mask: int, cells: Any) -> None:
    """cells = the fields of the words from `at` on that contexts are made of, as many as there are cells or words."""
    a = uint64(at)
    n = min(uint64(cells.size), uint64(words.size) - a)
    if words.itemsize == 2 and shift == 7:  # with numbers that the compiler knows it makes vector instructions
        for i in range(n):
            cells[i] = uint8(words[a + i] >> uint64(7)) & uint8(mask)
        return
    s = uint64(shift)
    m = uint64(mask)
    for i in range(n):
        cells[i] = uint8((uint64(words[a + i]) >> s) & m)


@_compiled
def _apply(predicted: Any, at: Any, cells: Any, ordered: bool, out: Any) -> None:
    """Adds the differences of words from `at` on whose tokens are whole. Words with an escape come out wrong."""
    word = predicted.dtype.type
    low = word(word(0xFFFFFFFFFFFFFFFF) >> word(1))
    top = word(~low)
    high = word(uint64(64) - _leading_zeros(uint64(low)))  # a number that the compiler knows, as the item's size is not
    flip = word(0xFFFFFFFFFFFFFFFF) if ordered else word(0)
    a = uint64(at)
    for i in range(min(uint64(cells.size), uint64(out.size) - a)):
        x = predicted[a + i]
        t = word(cells[i])
        y = word(x ^ ((word(word(0) - word(x > low)) | top) & flip))
        y = word(y + (word(t >> word(1)) ^ word(word(0) - word(t & word(1)))))
        out[a + i] = word(y ^ ((word(word(y >> high) - word(1)) | top) & flip))


@_compiled
def _patch(predicted: Any, span: Any, eights: Any, ordered: bool, raw: Any, out: Any) -> Any:
    """Does words with an escape (the top bit of their token) again. Gives where their bits end, or -1: too few.

    span = (at, bit): the words from `at` on have the tokens `eights`, eight of them in a word, and low bits from `bit`
    on in `raw`, which has one word more than they need.
    """
    word = predicted.dtype.type
    low = word(word(0xFFFFFFFFFFFFFFFF) >> word(1))
    top = word(~low)
    flip = word(0xFFFFFFFFFFFFFFFF) if ordered else word(0)
    keep = uint64(1) if predicted.itemsize == 8 else uint64(2)
    lead = uint64(1) << keep
    total = uint64(raw.size - 1) * uint64(64)
    n = uint64(out.size)
    bit = uint64(span[1])
    for eight in range(eights.size):
        escapes = eights[eight] & uint64(0x8080808080808080)
        while escapes:
            place = _trailing_zeros(escapes) - uint64(7)
            escapes &= escapes - uint64(1)
            j = uint64(span[0]) + uint64(eight) * uint64(8) + (place >> uint64(3))
            if j >= n:  # what a piece before has left here
                return int64(bit)
            t = (eights[eight] >> place) & uint64(127)
            k = (t >> keep) + uint64(7) - keep
            if bit + k > total:
                return int64(-1)
            p = bit >> uint64(6)
            s = bit & uint64(63)
            bits = (raw[p] >> s) | ((raw[p + uint64(1)] << uint64(1)) << (uint64(63) - s))
            bit += k
            v = ((lead | (t & (lead - uint64(1)))) << k) | (bits & ((uint64(1) << k) - uint64(1)))
            x = predicted[j]
            y = word(x ^ ((word(word(0) - word(x > low)) | top) & flip))
            y = word(uint64(y) + ((v >> uint64(1)) ^ (uint64(0) - (v & uint64(1)))))
            out[j] = word(y ^ ((word(word(0) - word(y <= low)) | top) & flip))
    return int64(bit)


@_compiled
def pack_bits(words: Any, bits: int, out: Any) -> None:
    """The low `bits` (1 to 63) of each word, one after the other, low bits first. Fills all of `out`, 64-bit words."""
    width = uint64(bits)
    mask = (uint64(1) << width) - uint64(1)
    held = uint64(0)
    n_held = uint64(0)
    p = uint64(0)
    for i in range(words.size):
        low = uint64(words[i]) & mask
        held |= low << n_held
        n_held += width
        if n_held >= uint64(64):
            out[p] = held
            p += uint64(1)
            n_held -= uint64(64)
            held = low >> (width - n_held)
    while p < uint64(out.size):
        out[p] = held
        held = uint64(0)
        p += uint64(1)


@_compiled
def unpack_bits(raw: Any, bits: int, out: Any) -> None:
    """The inverse. `raw` has the bits and one word more."""
    word = out.dtype.type
    width = uint64(bits)
    mask = (uint64(1) << width) - uint64(1)
    for i in range(out.size):
        at = uint64(i) * width
        p = at >> uint64(6)
        s = at & uint64(63)
        low = (raw[p] >> s) | ((raw[p + uint64(1)] << uint64(1)) << (uint64(63) - s))
        out[i] = word(low & mask)


@_compiled
def _taken(state: Any, step: Any) -> Any:
    """A state that has room, after it took a token in."""
    f = step & uint64(0xFFFF)
    q = state // f
    return (q << uint64(11)) + (state - q * f) + (step >> uint64(16))


@_compiled
def encode_tokens(key: Any, token: Any, steps: Any, out: Any) -> Any:
    """Static rANS, backwards, four states of 64 bits. Fills `out` from its end; gives where the stream begins.

    steps[256 * key + token] = frequency | first slot << 16. `out` has half a word for each token and 16 more: a
    token takes 11 bits at most.
    """
    m = uint64(0xFFFF)
    renorm = uint64(52)  # a state is below f << 52 before it takes a token of frequency f, so below 2^63 after
    s0 = uint64(1) << uint64(31)
    s1 = s0
    s2 = s0
    s3 = s0
    p = uint64(out.size)
    i = uint64(token.size)
    while i & uint64(3):  # the last tokens: of states 2, 1, 0 at most, and each has still room
        i -= uint64(1)
        step = uint64(steps[(uint64(key[i]) << uint64(8)) | uint64(token[i])])
        if i & uint64(3) == uint64(0):
            s0 = _taken(s0, step)
        elif i & uint64(3) == uint64(1):
            s1 = _taken(s1, step)
        else:
            s2 = _taken(s2, step)
    while i > uint64(0):
        i -= uint64(4)
        e0 = uint64(steps[(uint64(key[i]) << uint64(8)) | uint64(token[i])])
        e1 = uint64(steps[(uint64(key[i + uint64(1)]) << uint64(8)) | uint64(token[i + uint64(1)])])
        e2 = uint64(steps[(uint64(key[i + uint64(2)]) << uint64(8)) | uint64(token[i + uint64(2)])])
        e3 = uint64(steps[(uint64(key[i + uint64(3)]) << uint64(8)) | uint64(token[i + uint64(3)])])
        if s3 >= (e3 & m) << renorm:
            p -= uint64(1)
            out[p] = uint32(s3)
            s3 >>= uint64(32)
        if s2 >= (e2 & m) << renorm:
            p -= uint64(1)
            out[p] = uint32(s2)
            s2 >>= uint64(32)
        if s1 >= (e1 & m) << renorm:
            p -= uint64(1)
            out[p] = uint32(s1)
            s1 >>= uint64(32)
        if s0 >= (e0 & m) << renorm:
            p -= uint64(1)
            out[p] = uint32(s0)
            s0 >>= uint64(32)
        s0 = _taken(s0, e0)
        s1 = _taken(s1, e1)
        s2 = _taken(s2, e2)
        s3 = _taken(s3, e3)
    for x in (s3, s2, s1, s0):
        p -= uint64(2)
        out[p] = uint32(x >> uint64(32))
        out[p + uint64(1)] = uint32(x)
    return int64(p)


@_compiled
def _lanes(cells: Any, span: Any, starts: Any, slots: Any, words: Any, state: Any) -> Any:
    """Makes tokens of keys, in their place. False if the words run out.

    span = (at, stop, base): the cells [at, stop), with contexts whose slots begin at starts[base + key]. `state` has
    the four states, that of the next token first, and how many words are taken. `words` has four more than the stream.
    """
    low = uint64(1) << uint64(31)
    b = uint64(4095)
    m = uint64(2047)
    i, n, base = uint64(span[0]), uint64(span[1]), uint64(span[2])
    end = uint64(words.size) - uint64(4)
    s0, s1, s2, s3, p = state[0], state[1], state[2], state[3], state[4]
    # What counts is how many instructions there are, and that no state waits for the others': so the words are taken
    # in branches, which are seldom gone, and slots are found with 32 bits.
    while i + uint64(4) <= n and p <= end:
        e0 = slots[uint64(starts[base + uint64(cells[i])] | uint32(s0 & m))]
        e1 = slots[uint64(starts[base + uint64(cells[i + uint64(1)])] | uint32(s1 & m))]
        e2 = slots[uint64(starts[base + uint64(cells[i + uint64(2)])] | uint32(s2 & m))]
        e3 = slots[uint64(starts[base + uint64(cells[i + uint64(3)])] | uint32(s3 & m))]
        cells[i] = uint8(e0)
        cells[i + uint64(1)] = uint8(e1)
        cells[i + uint64(2)] = uint8(e2)
        cells[i + uint64(3)] = uint8(e3)
        s0 = uint64(e0 >> uint32(20)) * (s0 >> uint64(11)) + (uint64(e0 >> uint32(8)) & b)
        s1 = uint64(e1 >> uint32(20)) * (s1 >> uint64(11)) + (uint64(e1 >> uint32(8)) & b)
        s2 = uint64(e2 >> uint32(20)) * (s2 >> uint64(11)) + (uint64(e2 >> uint32(8)) & b)
        s3 = uint64(e3 >> uint32(20)) * (s3 >> uint64(11)) + (uint64(e3 >> uint32(8)) & b)
        if s0 < low:
            s0 = (s0 << uint64(32)) | uint64(words[p])
            p += uint64(1)
        if s1 < low:
            s1 = (s1 << uint64(32)) | uint64(words[p])
            p += uint64(1)
        if s2 < low:
            s2 = (s2 << uint64(32)) | uint64(words[p])
            p += uint64(1)
        if s3 < low:
            s3 = (s3 << uint64(32)) | uint64(words[p])
            p += uint64(1)
        i += uint64(4)
    while i < n:  # what is left, one at a time; the states take turns
        e0 = slots[uint64(starts[base + uint64(cells[i])] | uint32(s0 & m))]
        cells[i] = uint8(e0)
        s = uint64(e0 >> uint32(20)) * (s0 >> uint64(11)) + (uint64(e0 >> uint32(8)) & b)
        if s < low:
            if p >= end:
                return False
            s = (s << uint64(32)) | uint64(words[p])
            p += uint64(1)
        s0, s1, s2, s3 = s1, s2, s3, s
        i += uint64(1)
    state[0], state[1], state[2], state[3], state[4] = s0, s1, s2, s3, p
    return True


@_compiled
def _begun(words: Any, state: Any) -> None:
    for lane in range(4):
        state[lane] = (uint64(words[2 * lane]) << uint64(32)) | uint64(words[2 * lane + 1])
    state[4] = uint64(8)


@_compiled
def _ended(words: Any, state: Any) -> Any:
    """Whether the words are used up and the states are back where they began."""
    low = uint64(1) << uint64(31)
    back = state[0] == low and state[1] == low and state[2] == low and state[3] == low
    return back and state[4] == uint64(words.size) - uint64(4)


@_compiled
def decode_tokens(starts: Any, slots: Any, words: Any, state: Any, cells: Any) -> Any:
    """The inverse: keys become tokens. False if words run out, are left over, or states do not end where they began.

    slots[starts[key] + slot] = token | slot - first slot << 8 | frequency << 20; `starts` has 256 multiples of 2048.
    `words` has the stream (8 words at least) and four more, which spare the loop a check for each word. `state` is room
    for five numbers.
    """
    _begun(words, state)
    return _lanes(cells, (0, cells.size, 0), starts, slots, words, state) and _ended(words, state)


@_compiled
def undelta(predicted: Any, contexts: Any, stream: Any, room: Any, out: Any) -> Any:
    """The words of which `tokenise` took the differences. Gives how many of the raw bits were taken; -1 if damaged.

    contexts = (shift, mask, ordered, columns, skip, classes, starts): a word's key is (word >> shift) & mask, each row
    has a class, and starts[256 * class + key] is where the slots of a context begin; the first row lacks `skip`
    elements. stream = (slots, words, raw): as for `decode_tokens`, then the raw bits and one word more. room = (state,
    cells, eights): five numbers; bytes, and the same bytes as 64-bit words. As many words as there are cells are done
    at once, so that all steps find them in the nearest cache.
    """
    shift, mask, ordered, columns, skip, classes, starts = contexts
    slots, words, raw = stream
    state, cells, eights = room
    _begun(words, state)
    n = uint64(out.size)
    row = uint64(0)
    row_stop = uint64(columns) - uint64(skip)
    at = uint64(0)
    bit = int64(0)
    while at < n:
        begin = at
        stop = min(begin + uint64(cells.size), n)
        _fields(predicted, begin, shift, mask, cells)
        while at < stop:
            last = min(stop, row_stop)
            span = (at - begin, last - begin, uint64(classes[row]) << uint64(8))
            if not _lanes(cells, span, starts, slots, words, state):
                return int64(-1)
            at = last
            if at == row_stop:
                row += uint64(1)
                row_stop += uint64(columns)
        _apply(predicted, begin, cells, ordered, out)
        if out.itemsize > 1:
            bit = _patch(predicted, (begin, bit), eights, ordered, raw, out)
            if bit < int64(0):
                return bit
    return bit if _ended(words, state) else int64(-1)


@_compiled
def fill_slots(frequencies: Any, alphabet: int, slots: Any) -> None:
    """The table of `decode_tokens`. Every row of `alphabet` frequencies adds up to 2048, so `slots` is just filled."""
    at = uint64(0)
    a = uint64(alphabet)
    for i in range(frequencies.size):
        f = uint64(frequencies[i])
        sure = (uint64(i) % a) | (f << uint64(20))
        for slot in range(f):
            slots[at] = uint32(sure | (uint64(slot) << uint64(8)))
            at += uint64(1)
