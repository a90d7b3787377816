"""Tensors to the bytes that loads expect."""

import numpy as np

from deltamoe.golden.config import ModelConfig
from deltamoe.golden.numerics import PIXEL_ZERO, PLANE
from deltamoe.rtl.config import HwConfig


def columns_of(count: int, hw: HwConfig) -> int:
    """Columns rounded up to whole words."""
    return -(-count // hw.word) * hw.word


def even(words: int) -> int:
    """Words rounded up to whole beats of references."""
    return words + words % 2


def weight_tiles(weight: np.ndarray, hw: HwConfig, gang: int = 1, split: int = 0,
                 reads: int = 1) -> np.ndarray:
    """Bytes of int8 weights (N, K): pass by pass, part by part, tile by tile of ``lanes`` columns.

    Part ``p = q * reads + b`` has rows for elements ``q * n`` to ``(q + 1) * n - 1`` of the
    ``b``-th of every ``reads`` words of operands, ``n = reads * word / 2**split``; a pass has
    ``gang`` tiles.
    """
    count, depth = weight.shape
    inner = (1 << split) // reads
    padded = np.pad(weight.astype(np.int8), ((0, -count % (hw.lanes * gang)),
                                             (0, -depth % (reads * hw.word))))
    tiles = padded.reshape(-1, gang, hw.lanes, padded.shape[1] // (reads * hw.word), reads, inner,
                           hw.word // inner)
    return np.ascontiguousarray(tiles.transpose(0, 5, 4, 1, 3, 6, 2)).view(np.uint8).reshape(-1)


def planes(weight: np.ndarray) -> np.ndarray:
    """Int8 rows (2E, K) of int16 weights (E, K): of each the high and the low plane."""
    half = 1 << (PLANE - 1)
    low = (weight.astype(np.int64) + half) % (2 * half) - half
    return np.stack([(weight - low) >> PLANE, low], axis=1).reshape(-1, weight.shape[1])


def joined(rows: np.ndarray) -> np.ndarray:
    """Weights (E, K) of which these (2E, K) are the planes."""
    return (rows[0::2].astype(np.int64) << PLANE) + rows[1::2]


def parameter_words(bias: np.ndarray, multiplier: np.ndarray) -> np.ndarray:
    """Bytes of biases and multipliers, eight for each column."""
    entries = np.zeros(len(bias), np.dtype([("bias", "<i4"), ("multiplier", "<u2"),
                                            ("spare", "<u2")]))
    entries["bias"], entries["multiplier"] = bias, multiplier
    return entries.view(np.uint8)


def norm_words(gain: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Bytes of gains and biases, eight for each channel."""
    return parameter_words(bias, gain.astype(np.int16).view(np.uint16))


def residual_rows(rows: np.ndarray) -> np.ndarray:
    """Bytes of int16 rows (T, D)."""
    return np.ascontiguousarray(rows.astype("<i2")).view(np.uint8).reshape(-1)


def image_stride(config: ModelConfig, hw: HwConfig) -> int:
    """Words of one patch."""
    return -(-config.patch_dim // hw.word)


def image_rows(pixels: np.ndarray, config: ModelConfig, hw: HwConfig) -> np.ndarray:
    """Bytes of uint8 ``pixels`` (C, height, width): codes, patch by patch, in whole beats."""
    size = config.patch_size
    channels, height, width = pixels.shape
    tiles = pixels.reshape(channels, height // size, size, width // size, size)
    patches = tiles.transpose(1, 3, 0, 2, 4).reshape(-1, config.patch_dim)
    codes = (patches.astype(np.int16) - PIXEL_ZERO).astype(np.int8)
    padded = np.pad(codes, ((0, 0), (0, image_stride(config, hw) * hw.word - config.patch_dim)))
    flat = padded.view(np.uint8).reshape(-1)
    return np.pad(flat, (0, -len(flat) % hw.bus_bytes))
