"""The yardstick: BitX as ZipLLM's paper describes it (arXiv 2505.06252, section 4): XOR with the base, planes, zstd-3.

The XOR of two words falls apart into a plane with the exponent and planes with sign and mantissa, a byte each; every
plane is a zstd frame of level 3. Written from the description; knows nothing of Headwater.
"""

from __future__ import annotations

import numpy as np
import zstandard


def bitx_bytes(target: np.ndarray, base: np.ndarray, mantissa_bits: int) -> int:
    """What is left of `target` given `base`: unsigned words of 2 or 4 bytes that are floats."""
    changed = target ^ base
    width = changed.itemsize
    # The sign takes the place of the exponent's lowest bit in the byte below it, as in the paper for BF16.
    if mantissa_bits in {7, 23}:
        sign = changed >> (8 * width - 1) << (8 * width - 9)
        exponent = (changed << 1) >> (8 * width - 8)
        rest = changed & changed.dtype.type((1 << (8 * width - 9)) - 1) | sign
    else:
        exponent, rest = changed >> 8, changed & 0xFF
    planes = [exponent.astype(np.uint8)]
    planes += [(rest >> (8 * at) & 0xFF).astype(np.uint8) for at in range(width - 1)]
    return sum(len(zstandard.ZstdCompressor(level=3).compress(plane.tobytes())) for plane in planes)
