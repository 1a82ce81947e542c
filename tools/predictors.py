# ruff: noqa: ANN001, ANN201, ANN202
"""How the words of a tensor follow from those of its parents: the ten predictors.

Part of restore.py, after docs/spec/codec.md; said as shortly as numpy can say it. Each operation on floats rounds as
it does here: the format is made of them, so a reader in another language must round after each as well.
"""

import math

import numpy as np
from words import NAN, SMALL, Form, Parts, layout_of, nearest, reals, unzip


def predicted(number, params, form, parents, start, stop):
    """Elements [start, stop), an array for each plane. A parent has a `form` and gives its `planes(start, stop)`."""
    with np.errstate(all="ignore"):
        return PREDICTORS[number](Parts(params), form, parents, start, stop)


def finite(values):
    return np.where(np.isfinite(values), values, np.float32(0))


def grid(shape):
    columns = shape[-1] if shape else 1
    return math.prod(shape) // columns, columns


def identity(params, form, parents, start, stop):
    return parents[0].planes(start, stop)


def cast(params, form, parents, start, stop):
    (found,), source = parents[0].planes(start, stop), parents[0].form.dtype
    if (source, form.dtype) == ("BF16", "F32"):
        return [found.astype("<u4") << 16]
    values = reals(found, source)
    if params.number("B") == 0:
        return [nearest(values, form.dtype)]
    cut = (values.astype("<f4").view("<u4") >> 16).astype("<u2")
    return [np.where(np.isnan(values), np.uint16(NAN["BF16"]), cut)]


def prefix(params, form, parents, start, stop):
    """Rows that both have; zeros beyond."""
    rows, layout = min(form.shape[0], parents[0].form.shape[0]), layout_of(form.dtype)
    common, reach = Form(form.dtype, (rows, *form.shape[1:])), rows * math.prod(form.shape[1:])
    known = inner(params, common, parents, start, min(stop, reach)) if start < reach else []
    units = (stop - start) // layout.unit_elements
    out = [np.zeros(units * plane.words, f"<u{max(plane.bits // 8, 1)}") for plane in layout.planes]
    for whole, some in zip(out, known, strict=False):
        whole[: len(some)] = some
    return out


def reordered(params, form, parents, start, stop):
    order, head_rows = params.numbers("BI")
    return in_heads(
        lambda first, last: inner(params, form, parents, first, last), form.shape, order, head_rows, start, stop
    )


def in_heads(planes, shape, order, head_rows, start, stop):
    """The rows of each head in another order: of halves as pairs (0), or of pairs as halves (1)."""
    columns = math.prod(shape[1:])
    head = head_rows * columns
    first, last = start // head * head, -(-stop // head) * head
    rows = np.arange(head_rows).reshape((2, -1) if order == 0 else (-1, 2)).T.reshape(-1)
    out = []
    for found in planes(first, last):
        width = len(found) * columns // (last - first)  # words of a row
        moved = found.reshape(-1, head_rows, width)[:, rows].reshape(-1)
        out.append(moved[(start - first) * width // columns : (stop - first) * width // columns])
    return out


def requantized(params, form, parents, start, stop):
    """Scales and codes of blocks of 32, by the closed formulas of GGML's reference, in float32."""
    contracted, bits = params.number("B"), int(form.dtype[1])
    values = finite(reals(parents[0].planes(start, stop)[0], parents[0].form.dtype).astype("<f4")).reshape(-1, 32)
    largest = np.argmax(np.abs(values), axis=1)[:, None]
    low, high = 0, (1 << bits) - 1
    if form.dtype == "Q8_0":
        low, high, lows, steps = -128, 127, [], np.abs(np.take_along_axis(values, largest, 1)) / np.float32(127)
    elif form.dtype.endswith("_0"):
        offset, lows, steps = high / 2 + 1, [], np.take_along_axis(values, largest, 1) / np.float32(-(high + 1) / 2)
    else:
        offset, lows = 0.5, [values.min(axis=1, keepdims=True)]
        steps = (values.max(axis=1, keepdims=True) - lows[0]) / np.float32(high)
        values = values - lows[0]
    factor = np.where(steps == 0, np.float32(0), np.float32(1) / steps)
    if form.dtype == "Q8_0":
        moved = values * factor
        away = np.where(np.abs(moved - np.trunc(moved)) >= 0.5, np.copysign(np.float32(1), moved), np.float32(0))
        whole = np.trunc(moved) + away
    elif contracted:  # as compilers that round product and sum together
        whole = np.trunc((values.astype("<f8") * factor.astype("<f8") + offset).astype("<f4"))
    else:
        whole = np.trunc(values * factor + np.float32(offset))
    held = np.clip(np.where(np.isnan(whole), np.float32(0), whole), low, high)
    floats = [found.reshape(-1).astype("<f2").view("<u2") for found in (steps, *lows)]
    return [*floats, held.astype(np.int16).astype(np.uint8).reshape(-1)]


def scaled(params, form, parents, start, stop):
    """round(value / scale) + zero: one scale for each cell of rows and columns."""
    cell_rows, cell_columns, has_zeros = params.numbers("QQB")
    columns, at = grid(form.shape)[1], np.arange(start, stop)
    cells = at // columns // cell_rows * -(-columns // cell_columns) + at % columns // cell_columns
    scales = np.frombuffer(unzip(params.part()), np.uint8).reshape(4, -1).T.copy().view("<f4").reshape(-1)
    zeros = np.frombuffer(unzip(params.part()), "<i2")[cells] if has_zeros else np.int16(0)
    values = reals(parents[0].planes(start, stop)[0], parents[0].form.dtype)
    quotient = (values / scales[cells].astype("<f8")).astype("<f4")
    if form.dtype in SMALL:
        most = SMALL[form.dtype][0][SMALL[form.dtype][1] - 1]
        return [nearest(np.clip(quotient, -most, most).astype("<f8"), form.dtype)]
    low, high = (-128, 127) if form.dtype == "I8" else (0, 255)
    moved = np.where(np.isnan(quotient), np.float32(0), np.rint(quotient)) + zeros
    return [np.clip(moved, low, high).astype(np.int16).astype(np.uint8)]


def mask(params, form, parents, start, stop):
    """The parent, or zero: up to a threshold (0 one, 1 one for each row), or but for the largest of neighbours (2)."""
    rule, keeps_sign, kept, group = params.numbers("BBBB")
    group = group or 1
    first, last = start // group * group, -(-stop // group) * group
    found = parents[0].planes(first, last)[0]
    top = found.dtype.type(1 << (found.itemsize * 8 - 1))
    sizes = found & (top - found.dtype.type(1))
    if rule == 2:
        # Places in the order of size; and where in that order each is.
        order = np.argsort(-sizes.reshape(-1, group).astype(np.int64), axis=1, kind="stable")
        gone = (np.argsort(order, axis=1) >= kept).reshape(-1)
    else:
        limits = np.frombuffer(unzip(params.part()), found.dtype)
        gone = sizes <= limits[np.arange(first, last) // grid(form.shape)[1] if rule == 1 else 0]
    zeros = found & top if keeps_sign else np.zeros_like(found)
    return [np.where(gone, zeros, found)[start - first : stop - first]]


def linear(params, form, parents, start, stop):
    """A sum of products (0), a base and scaled differences (1), or a mean (2); rounded after each operation."""
    way, steps = params.numbers("BB")
    shares = params.numbers(f"{len(parents)}d")
    values = [reals(parent.planes(start, stop)[0], parent.form.dtype) for parent in parents]

    def step(found):
        if steps == 0:
            return found
        return found.astype("<f4").astype("<f8") if steps == 1 else reals(nearest(found, form.dtype), form.dtype)

    total = step(values[0] * shares[0]) if way == 0 else values[0]
    for value, share in zip(values[1:], shares[1:], strict=True):
        if way == 0:
            total = step(total + step(value * share))
        elif way == 1:
            total = step(total + step(step(value - values[0]) * share))
        else:
            total = step(total + value)
    return [nearest(step(total / len(values)) if way == 2 else total, form.dtype)]


def lowrank(params, form, parents, start, stop):
    """The parent plus a product of integer factors, over a power of two: no sum in it is rounded."""
    rank, power = params.numbers("Hh")
    rows, columns = grid(form.shape)
    widths, count = params.take(rank), rows + columns
    factors = np.frombuffer(unzip(params.part()), np.int8).reshape(rank, count).astype(np.int64)
    for row, width in enumerate(widths):
        bits = np.unpackbits(np.frombuffer(params.take(-(-count * width // 8)), np.uint8), count=count * width)
        factors[row] = factors[row] << width | bits.reshape(count, width) @ (np.int64(1) << np.arange(width))
    first, last = start // columns, -(-stop // columns)
    product = (factors[:, first:last].T @ factors[:, rows:]).reshape(-1)[
        start - first * columns : stop - first * columns
    ]
    values = reals(parents[0].planes(start, stop)[0], parents[0].form.dtype)
    return [nearest(values + product.astype("<f8") * 2.0**-power, form.dtype)]


def graded(params, form, parents, start, stop):
    """Stored scales of all blocks, and the codes nearest to the parent's values in them, in float32."""
    order, head_rows = params.numbers("BI")
    layout, read = layout_of(form.dtype), parents[0].planes
    found = read(start, stop) if order == 255 else in_heads(read, form.shape, order, head_rows, start, stop)
    units, width = math.prod(form.shape) // layout.unit_elements, layout.unit_elements
    field = lambda: np.frombuffer(unzip(params.part()), np.uint8).reshape(units, -1)[start // width : stop // width]  # noqa: E731
    floats = [field().astype("<u2") | field().astype("<u2") << 8 for plane in layout.planes if plane.bits == 16]
    packed, steps, lows = small_scales(form.dtype, [each.view("<f2").astype("<f4") for each in floats], field)
    values = finite(reals(found[0], parents[0].form.dtype).astype("<f4")).reshape(*steps.shape, -1)
    places = finite((values if lows is None else values + lows[:, :, None]) / steps[:, :, None]).reshape(-1)
    bits = layout.planes[-1].bits
    low = 0 if lows is not None else -(1 << (bits - 1))
    codes = np.clip(np.rint(places), low, low + (1 << bits) - 1).astype(np.int16) - (low if bits < 8 else 0)
    if form.dtype == "IQ4_NL":
        uneven = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], "<f4")
        codes = np.searchsorted((uneven[1:] + uneven[:-1]) / 2, places, "right")
    return [*(each.reshape(-1) for each in (*floats, *packed)), codes.astype(np.uint8)]


def small_scales(dtype, floats, field):
    """The plane of small scales, if there is one; of each group of a block its step, and what is added to values."""
    if not dtype.endswith("_K"):
        return [], floats[0], -floats[1] if len(floats) > 1 else None
    small = [field() & {"Q2_K": 15, "Q6_K": 255}.get(dtype, 63) for _ in floats]
    if dtype == "Q6_K":
        return small, floats[0] * small[0].view(np.int8).astype("<f4"), None
    if dtype == "Q3_K":
        highs = np.bitwise_or.reduce(
            (small[0] >> 4).reshape(-1, 4, 4) << np.array([[0], [2], [4], [6]], np.uint8), axis=1
        )
        packed = np.concatenate([small[0][:, :8] & 15 | small[0][:, 8:] << 4, highs], axis=1)
        return [packed], floats[0] * (small[0].astype("<f4") - np.float32(32)), None
    steps, lows = (each * few.astype("<f4") for each, few in zip(floats, small, strict=True))
    if dtype == "Q2_K":
        return [small[0] | small[1] << 4], steps, lows
    first, second = (few[:, :4] | few[:, 4:] >> 4 << 6 for few in small)
    return [np.concatenate([first, second, small[0][:, 4:] & 15 | small[1][:, 4:] << 4], axis=1)], steps, lows


def inner(params, form, parents, start, stop):
    """The predictor that another one moves the rows of: its number comes first."""
    return PREDICTORS[params.number("B")](params, form, parents, start, stop)


PREDICTORS = dict(
    enumerate((identity, cast, prefix, reordered, requantized, scaled, mask, linear, lowrank, graded), start=1)
)
