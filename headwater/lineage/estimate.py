"""Estimates out of samples: bits an element takes alone, and given a parent; and how near two tensors are at a glance.

The model is the codec's: the difference of two floats as ordered integers, in contexts of the parent's exponent, since
the spacing of floats depends on the exponent alone and an optimiser's step does not. What a mask has set to zero is
counted as a mask, so that a pruned model is near its base. Entropies of small samples come out too low; they are
raised by half a bit of information for each cell that was seen (Miller, 1955). Never raises, whatever the words are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headwater.lineage.samples import Form, Samples, Words, cast_to

WHOLE_TOKENS = 16  # smaller differences are tokens themselves; of larger ones the length and two bits are
TOKENS = WHOLE_TOKENS + 4 * 64
GROUP = 16  # neighbours that share a scale in every block type that has one
FAR_BITS = 12.0  # of difference: what elements count that have nothing to do with each other
CODE_MIN = 8  # the largest of some eight-bit codes is larger; ones and zeros are a mask's or a norm's
CONDITIONAL_MIN = 1024  # samples; fewer are learnt by heart
SCALES_ALONE = 0.9  # of their bits, what the scales of blocks take when stored alone (measured on GGUF files)

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bits of one element, its share of the scales included: stored alone, and given the parent."""

    alone: float
    given: float

    @property
    def pays(self) -> bool:
        """The codec's own rule: a parent is taken if it saves a tenth."""
        return self.given < 0.9 * self.alone


def estimate(target: Samples, parent: Samples) -> Estimate:
    """Of samples of the same places. Where nothing can be compared, the parent is worth nothing."""
    alone = alone_bits(target)
    return Estimate(alone, float(min(alone, _given(target, parent))))


def alone_bits(samples: Samples) -> float:
    form, words = samples.form, samples.words
    if form.kind != "float":
        return min(_entropy(words), float(form.bits)) + SCALES_ALONE * (form.size_bits - form.bits)
    sign_and_exponent = words >> form.word.type(form.mantissa)
    nonzero = np.count_nonzero(_size(form, words)) / len(words)
    return float(min(_entropy(sign_and_exponent) + nonzero * form.mantissa, form.bits))


def _given(target: Samples, parent: Samples) -> float:
    form = target.form
    if form.kind == "float":
        if parent.form.kind == "bytes":
            return float(form.bits)
        same = parent.form.dtype == form.dtype
        words = parent.words if same else cast_to(form, parent.numbers())
        return min(_float_bits(form, target.words, words), _conditional_bits(form, target.words, words))
    if parent.form.dtype == form.dtype:
        codes = _equal_bits(target.words, parent.words)
        if form.kind == "code":
            codes = min(codes, _code_bits(target.words, parent.words))
    elif form.valued and parent.form.kind == "float":
        codes = _quantized_bits(target, parent)
    elif form.kind == "code" and parent.form.kind == "float":
        codes = _scaled_bits(target, parent)
    else:
        return form.size_bits
    # scales move as much as the codes do
    return codes + (form.size_bits - form.bits) * min(1.0, codes / max(alone_bits(target), 1e-9) + 0.05)


def _float_bits(form: Form, target: Words, parent: Words) -> float:
    """Bits of the target's words given the parent's, of one form."""
    sizes, base = _size(form, target), _size(form, parent)
    context = (base >> form.word.type(form.mantissa)).astype(np.int64)
    zeroed = (sizes == 0) & (base != 0)
    bits = _entropy_in(context, zeroed.astype(np.int64), 2) * len(target)
    kept = ~zeroed
    if kept.any():
        tokens, raw = _tokens(_differences(form, target[kept], parent[kept]))
        bits += _entropy_in(context[kept], tokens, TOKENS) * len(tokens) + raw.sum()
    return float(bits) / len(target)


def _conditional_bits(form: Form, target: Words, parent: Words) -> float:
    """For weakly related weights: sign and exponent in contexts of the parent's, the mantissa as it is."""
    if len(target) < CONDITIONAL_MIN:
        return float(form.bits)
    shift = form.word.type(form.mantissa)
    context, symbols = ((words >> shift).astype(np.int64) for words in (parent, target))
    return _entropy_in(context, symbols, 1 << (form.bits - form.mantissa)) + form.mantissa


def _size(form: Form, words: Words) -> Words:
    """Without the sign."""
    sizes: Words = words & form.word.type((1 << (form.bits - 1)) - 1)
    return sizes


def _ordered(form: Form, words: Words) -> Array:
    """Floats as integers in the order of their values; both zeros are neighbours."""
    top = np.uint64(1 << (form.bits - 1))
    mask = np.uint64((1 << form.bits) - 1)
    wide = words.astype(np.uint64)
    return np.where(wide & top, mask ^ wide, wide | top)


def _differences(form: Form, target: Words, parent: Words) -> Array:
    """Of ordered integers, signs folded in: 0, -1, 1, -2 ... -> 0, 1, 2, 3 ..."""
    step = (_ordered(form, target) - _ordered(form, parent)).view(np.int64)
    return ((step << 1) ^ (step >> 63)).view(np.uint64)


def _lengths(values: Array) -> Array:
    """How many binary digits; float64 may round the largest up by one, which an estimate can bear."""
    return np.frexp(values.astype(np.float64))[1].astype(np.int64)


def _tokens(values: Array) -> tuple[Array, Array]:
    """Tokens, and how many bits beside each are kept raw."""
    length = np.maximum(_lengths(values), 5)
    raw = np.where(values < WHOLE_TOKENS, 0, length - 3)
    high = (values >> raw.astype(np.uint64)) & np.uint64(3)
    large = WHOLE_TOKENS + 4 * (length - 5) + high.astype(np.int64)
    return np.where(values < WHOLE_TOKENS, values.astype(np.int64), np.minimum(large, TOKENS - 1)), raw


def _code_bits(target: Words, parent: Words) -> float:
    """Differences of codes, in contexts of the parent's sixteenth: cells enough to learn, too few to learn by heart."""
    steps = target.astype(np.int64) - parent + 256
    span = max(1, (int(parent.max()) + 1) // 16)
    return _entropy_in(parent.astype(np.int64) // span, steps, 512)


def _equal_bits(target: Words, parent: Words) -> float:
    """Which are equal, and the others as they are."""
    differ = target != parent
    share = float(differ.mean())
    return _entropy(differ) + (share * min(8.0, _entropy(target[differ])) if share else 0.0)


def _quantized_bits(target: Samples, parent: Samples) -> float:
    """Codes against what the parent's numbers would be quantized to, with the scales that the target's blocks have.

    Scale and offset of a group follow from its own codes and values: they lie on a line.
    """
    groups = len(target.words) // GROUP
    if not groups:
        return float(target.form.bits)
    codes = target.words[: groups * GROUP].reshape(groups, GROUP).astype(np.float64)
    values = target.numbers()[: groups * GROUP].reshape(groups, GROUP).astype(np.float64)
    wanted = parent.numbers()[: groups * GROUP].reshape(groups, GROUP).astype(np.float64)
    row = np.arange(groups)
    low, high = codes.argmin(axis=1), codes.argmax(axis=1)
    with np.errstate(all="ignore"):
        slope = (values[row, high] - values[row, low]) / (codes[row, high] - codes[row, low])
        expected = (wanted - values[row, low][:, None]) / slope[:, None] + codes[row, low][:, None]
        missed = codes - np.clip(np.rint(expected), 0, 2**target.form.bits - 1)
    told = np.isfinite(missed)
    if not told.any():
        return float(target.form.bits)
    share = float(told.mean())
    return share * _entropy(missed[told].astype(np.int64)) + (1 - share) * target.form.bits


def _scaled_bits(target: Samples, parent: Samples) -> float:
    """Codes without scales, which lie in another tensor, against the parent's numbers: by groups they lie on a line.

    Signed codes on one through zero. What is missed is told beside what was expected, by its sixteenth: codes that are
    scaled by columns follow roughly.
    """
    groups = len(target.words) // GROUP
    if not groups:
        return float(target.form.bits)
    codes = target.words[: groups * GROUP].reshape(groups, GROUP).astype(np.float64)
    with np.errstate(all="ignore"):
        wanted = parent.numbers()[: groups * GROUP].reshape(groups, GROUP).astype(np.float64)
        zero = np.full(groups, 128.0) if target.form.dtype == "I8" else codes.mean(axis=1)
        middle = np.zeros(groups) if target.form.dtype == "I8" else wanted.mean(axis=1)
        off = wanted - middle[:, None]
        slope = (off * (codes - zero[:, None])).sum(axis=1) / (off * off).sum(axis=1)
        expected = np.clip(np.rint(off * slope[:, None] + zero[:, None]), 0, 255)
    told = np.isfinite(expected)
    if not told.any():
        return float(target.form.bits)
    missed = (codes[told] - expected[told]).astype(np.int64)
    by = expected[told].astype(np.int64) // GROUP
    share = float(told.mean())
    bits = min(_entropy(missed), _entropy_in(by, missed + 256, 512))
    return share * bits + (1 - share) * target.form.bits


def _entropy(symbols: Array) -> float:
    """Bits a symbol."""
    if not len(symbols):
        return 0.0
    counts = np.unique(symbols, return_counts=True)[1]
    return float((_bits(counts) + (len(counts) - 1) / (2 * np.log(2))) / len(symbols))


def _entropy_in(context: Array, symbols: Array, symbol_count: int) -> float:
    """Bits a symbol, each context having a table of its own."""
    cells = np.unique(context * symbol_count + symbols, return_counts=True)[1]
    tables = np.unique(context, return_counts=True)[1]
    seen = (len(cells) - len(tables)) / (2 * np.log(2))
    return float((_bits(cells) - _bits(tables) + seen) / len(symbols))


def _bits(counts: Array) -> float:
    """n log n of the whole less that of the parts."""
    total = counts.sum()
    return float(total * np.log2(total) - (counts * np.log2(counts)).sum())


def nearness(one: Array, other: Array) -> tuple[Array, Array]:
    """Of BF16 words (..., n) and (..., n): mean bits of their difference, and of how many places.

    Places where either is zero do not count: a mask says nothing about who is whose. Where one has codes without their
    scale, and the other has not, what counts is how near they are to a line.
    """
    wide, far = np.broadcast_arrays(one.astype(np.int32), other.astype(np.int32))
    valid = ((wide & 0x7FFF) != 0) & ((far & 0x7FFF) != 0)
    step = np.abs(_signed(wide) - _signed(far))
    bits = np.minimum(np.log2(1 + step, dtype=np.float32), FAR_BITS)
    count = valid.sum(axis=-1)
    mean: Array = np.where(valid, bits, 0).sum(axis=-1, dtype=np.float32) / np.maximum(count, 1)
    scaled = _are_codes(wide) != _are_codes(far)
    if scaled.any():
        mean[scaled] = _off_a_line(wide[scaled], far[scaled], valid[scaled])
    return mean, count


def _values(words: Array) -> Array:
    values: Array = (words.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return values


def _are_codes(words: Array) -> Array:
    """Whether each row is of whole numbers up to 255, as eight-bit codes are and weights are not."""
    found: Array = _are_whole(words[..., :1])[..., 0]  # of hardly any weight, which saves a look at all others
    if found.any():
        some = words[found]
        found[found] = _are_whole(some).all(axis=-1) & (np.abs(_values(some)).max(axis=-1) >= CODE_MIN)
    return found


def _are_whole(words: Array) -> Array:
    values = np.abs(_values(words))
    with np.errstate(all="ignore"):
        whole: Array = (values <= 255) & (values == np.rint(values))
    return whole


def _off_a_line(one: Array, other: Array, valid: Array) -> Array:
    """Which share of the places' spread a rising line leaves, in bits: 0 is on it, FAR_BITS anywhere."""
    count = np.maximum(valid.sum(axis=-1, keepdims=True), 1)
    with np.errstate(all="ignore"):
        ours, theirs = (np.where(valid, _values(words).astype(np.float64), 0) for words in (one, other))
        ours, theirs = (np.where(valid, row - row.sum(axis=-1, keepdims=True) / count, 0) for row in (ours, theirs))
        along = (ours * theirs).sum(axis=-1)
        alike = along / np.sqrt((ours * ours).sum(axis=-1) * (theirs * theirs).sum(axis=-1))
        left: Array = np.nan_to_num(FAR_BITS * np.sqrt(1 - np.clip(alike, 0, 1) ** 2), nan=FAR_BITS)
    return left


def _signed(words: Array) -> Array:
    """BF16 words as integers in the order of their values, zero at zero."""
    size = words & 0x7FFF
    return np.where(words & 0x8000, -size, size)
