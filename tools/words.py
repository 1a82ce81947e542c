# ruff: noqa: ANN001, ANN002, ANN201, ANN204, PYI024
"""The planes of words that a tensor of each dtype is made of, and the floats that words mean.

Part of restore.py, after docs/spec/codec.md. A unit is an element or a block of quantized ones; a plane is one of its
fields: the scales of all units, or their codes. Every bit of a unit is in exactly one plane.
"""

import collections
import struct

import numpy as np
import zstandard

Plane = collections.namedtuple("Plane", "bits exponent words parts")  # of a word; words to a unit; where they lie in it
Form = collections.namedtuple("Form", "dtype shape")
Layout = collections.namedtuple("Layout", "unit_bytes unit_elements planes")


class Parts:
    """Pieces of a block, a head or a recipe, front to back."""

    def __init__(self, data):
        self.data, self.at = bytes(data), 0

    def take(self, count):
        self.at += count
        return self.data[self.at - count : self.at]

    def numbers(self, form):
        return struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))

    def number(self, form):
        return self.numbers(form)[0]

    def part(self):
        return self.take(self.number("I"))

    def rest(self):
        return self.data[self.at :]


def unzip(frame):
    return zstandard.ZstdDecompressor().decompressobj().decompress(frame)


# ---------------------------------------------------------------- layouts
def field(start, bits, exponent=0, count=1):
    """A plane of whole words, from byte `start` of each unit on."""
    return Plane(bits, exponent, count, [(start, start + count * bits // 8, 0, bits, 0)])


def codes(bits, count, *parts):
    """A plane of codes. Each part: first byte, byte after the last, lanes, bits of each code, the lowest of them."""
    return Plane(bits, 0, count, parts)


def scale(start):
    return field(start, 16, 5)


# bits of a word, of its exponent, words in a unit, elements in a unit
PLAIN = {
    "F64": (64, 11, 1, 1),
    "F32": (32, 8, 1, 1),
    "F16": (16, 5, 1, 1),
    "BF16": (16, 8, 1, 1),
    "C64": (32, 8, 2, 1),
    **dict.fromkeys(("F8_E4M3", "F8_E4M3FNUZ"), (8, 4, 1, 1)),
    **dict.fromkeys(("F8_E5M2", "F8_E5M2FNUZ"), (8, 5, 1, 1)),
    **{sign + str(bits): (bits, 0, 1, 1) for sign in "IU" for bits in (8, 16, 32, 64)},
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), (8, 0, 3, 4)),
    "F4": (8, 0, 1, 2),
}
QUANTIZED = {
    "Q4_0": Layout(18, 32, [scale(0), codes(4, 32, (2, 18, 16, 4, 0))]),
    "Q4_1": Layout(20, 32, [scale(0), scale(2), codes(4, 32, (4, 20, 16, 4, 0))]),
    "Q5_0": Layout(22, 32, [scale(0), codes(5, 32, (6, 22, 16, 4, 0), (2, 6, 1, 1, 4))]),
    "Q5_1": Layout(24, 32, [scale(0), scale(2), codes(5, 32, (8, 24, 16, 4, 0), (4, 8, 1, 1, 4))]),
    "Q8_0": Layout(34, 32, [scale(0), field(2, 8, 0, 32)]),
    "Q2_K": Layout(84, 256, [scale(80), scale(82), field(0, 8, 0, 16), codes(2, 256, (16, 80, 32, 2, 0))]),
    "Q3_K": Layout(110, 256, [scale(108), field(96, 8, 0, 12), codes(3, 256, (32, 96, 32, 2, 0), (0, 32, 32, 1, 2))]),
    "Q4_K": Layout(144, 256, [scale(0), scale(2), field(4, 8, 0, 12), codes(4, 256, (16, 144, 32, 4, 0))]),
    "Q5_K": Layout(
        176, 256, [scale(0), scale(2), field(4, 8, 0, 12), codes(5, 256, (48, 176, 32, 4, 0), (16, 48, 32, 1, 4))]
    ),
    "Q6_K": Layout(
        210, 256, [scale(208), field(192, 8, 0, 16), codes(6, 256, (0, 128, 64, 4, 0), (128, 192, 32, 2, 4))]
    ),
    "IQ4_NL": Layout(18, 32, [scale(0), codes(4, 32, (2, 18, 16, 4, 0))]),
    "MXFP4": Layout(17, 32, [field(0, 8), codes(4, 32, (1, 17, 16, 4, 0))]),
}
# Of other blocks only the size is known: name, elements, bytes.
WHOLE = """Q8_1 32 36, Q8_K 256 292, IQ2_XXS 256 66, IQ2_XS 256 74, IQ3_XXS 256 98, IQ1_S 256 50, IQ3_S 256 110,
IQ2_S 256 82, IQ4_XS 256 136, IQ1_M 256 56, Q4_0_4_4 32 18, Q4_0_4_8 32 18, Q4_0_8_8 32 18, TQ1_0 256 54, TQ2_0 256 66,
IQ4_NL_4_4 32 18, IQ4_NL_4_8 32 18, IQ4_NL_8_8 32 18, NVFP4 64 36, Q1_0 128 18, Q2_0 64 18"""
BLOCKS = {name: (8, 0, int(size), int(elements)) for name, elements, size in map(str.split, WHOLE.split(","))}


def layout_of(dtype):
    """Of any other name, BOOL, F8_E8M0 and BYTES among them, a unit is one byte."""
    if dtype in QUANTIZED:
        return QUANTIZED[dtype]
    bits, exponent, count, elements = {**PLAIN, **BLOCKS}.get(dtype, (8, 0, 1, 1))
    return Layout(bits // 8 * count, elements, [field(0, bits, exponent, count)])


def split(raw, layout):
    """Whole units as one array for each plane."""
    units = np.frombuffer(raw, np.uint8).reshape(-1, layout.unit_bytes)
    return [taken(units, plane) for plane in layout.planes]


def taken(units, plane):
    out = np.zeros((len(units), plane.words), np.uint8)
    for start, stop, lanes, bits, low in plane.parts:
        place = units[:, start:stop]
        if not lanes:
            return np.ascontiguousarray(place).reshape(-1).view(f"<u{plane.bits // 8}")
        # Of each group of `lanes` bytes the lowest bits are the first codes', the next bits the codes' after these.
        steps = np.arange(0, 8, bits, dtype=np.uint8)[:, None]
        out |= (place.reshape(len(units), -1, 1, lanes) >> steps & (1 << bits) - 1).reshape(out.shape) << low
    return out.reshape(-1)


def join(planes, layout):
    """The inverse of `split`."""
    units = np.zeros((len(planes[0]) // layout.planes[0].words, layout.unit_bytes), np.uint8)
    for found, plane in zip(planes, layout.planes, strict=True):
        for start, stop, lanes, bits, low in plane.parts:
            place = units[:, start:stop]
            if not lanes:
                place[:] = found.view(np.uint8).reshape(place.shape)
                continue
            steps = np.arange(0, 8, bits, dtype=np.uint8)[:, None]
            spread = found.reshape(len(units), -1, 8 // bits, lanes) >> low & (1 << bits) - 1
            place[:] = np.bitwise_or.reduce(spread << steps, axis=2).reshape(place.shape)
    return units.tobytes()


# ---------------------------------------------------------------- floats
def small_values(exponent, mantissa):
    """What the words 0 to 127 of an 8-bit float would mean if none were an infinity or a NaN."""
    power, rest = np.divmod(np.arange(128), 1 << mantissa)
    lead = np.where(power > 0, 1 << mantissa, 0)
    return (lead + rest) * 2.0 ** (np.maximum(power, 1) - (1 << (exponent - 1)) + 1 - mantissa)


SMALL = {"F8_E4M3": (small_values(4, 3), 127), "F8_E5M2": (small_values(5, 2), 124)}  # and the first that is not finite
NAN = {"F64": 0x7FF8 << 48, "F32": 0x7FC0 << 16, "F16": 0x7E00, "BF16": 0x7FC0, "F8_E4M3": 0x7F, "F8_E5M2": 0x7F}


def reals(found, dtype):
    """The values of words as float64: exact."""
    if dtype == "BF16":
        return (found.astype("<u4") << 16).view("<f4").astype("<f8")
    if dtype not in SMALL:
        return found.view(f"<f{found.itemsize}").astype("<f8")
    values, over = SMALL[dtype]
    values = np.where(np.arange(128) < over, values, np.nan)
    if dtype == "F8_E5M2":
        values[over] = np.inf
    return np.concatenate([values, -values])[found]


def nearest(values, dtype):
    """The words nearest to float64 values, by way of float32 but for F64; ties to even; all NaNs are one word."""
    singles = values.astype("<f4")
    if dtype == "F64":
        found = values.view("<u8")
    elif dtype == "BF16":
        bits = singles.view("<u4")
        found = ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2")
    elif dtype in SMALL:
        steps = SMALL[dtype][0][: SMALL[dtype][1] + 1]
        middles, sizes = (steps[1:] + steps[:-1]) / 2, np.abs(singles).astype("<f8")
        below, upto = np.searchsorted(middles, sizes, "left"), np.searchsorted(middles, sizes, "right")
        found = (np.where(below % 2, upto, below) | np.signbit(singles) * 128).astype(np.uint8)
    else:
        found = singles.astype("<f2").view("<u2") if dtype == "F16" else singles.view("<u4")
    return np.where(np.isnan(values), found.dtype.type(NAN[dtype]), found)
