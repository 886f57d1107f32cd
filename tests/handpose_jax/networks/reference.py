"""Convolution and pooling in plain NumPy, float64: what the networks are compared with."""

import numpy as np


def convolve(x: np.ndarray, kernel: np.ndarray, stride: int = 1, bias: np.ndarray | None = None) -> np.ndarray:
    """Cross-correlation of [batch, h, w, in] with [k, k, in, out], k odd, padded by k // 2 zeros on every side."""
    pad = kernel.shape[0] // 2
    x = np.pad(x.astype(np.float64), ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[:2], axis=(1, 2))[:, ::stride, ::stride]
    result = np.einsum("bhwcij,ijco->bhwo", windows, kernel.astype(np.float64), optimize=True)
    return result if bias is None else result + bias


def max_pool(x: np.ndarray, size: int, stride: int, pad: int) -> np.ndarray:
    """Maximum over windows, padded by -inf."""
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)), constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))[:, ::stride, ::stride]
    return windows.max(axis=(-1, -2))
