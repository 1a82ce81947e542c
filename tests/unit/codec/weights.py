"""Weights as training leaves them: normal values, rows and columns of different scale, drift like Adam's. Seeds fixed."""

from __future__ import annotations

import numpy as np


def bf16(values: np.ndarray) -> np.ndarray:
    """Rounded to nearest, ties to even."""
    bits = values.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def f16(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float16).view(np.uint16)


def f32(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32).view(np.uint32)


def weights(rows: int, columns: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((rows, columns)) * 0.02 * rng.lognormal(0, 0.1, (rows, 1))


def drifted(base: np.ndarray, drift: float, seed: int) -> np.ndarray:
    """`drift` is the root mean square of the change relative to that of the weights. Adam's steps are alike everywhere."""
    rng = np.random.default_rng(seed)
    step = rng.standard_normal(base.shape) + 0.3 * rng.standard_t(4, base.shape)
    return base + step * (drift * np.sqrt((base**2).mean()) / np.sqrt((step**2).mean()))
