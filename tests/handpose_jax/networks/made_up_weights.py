"""Made-up weights that depend on their names alone: the same in torch and in JAX, so golden files need outputs only."""

import zlib

import numpy as np


def made_up(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A float32 tensor for a name of torch's, such that activations stay of the order 1 through fifty layers."""
    random = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith("num_batches_tracked"):
        return np.asarray(7, np.int64)
    if name.endswith("running_var"):
        return random.uniform(0.5, 1.5, shape).astype(np.float32)
    if len(shape) == 1 and name.endswith("weight"):  # Scale of a batch normalisation.
        return random.uniform(0.3, 0.7, shape).astype(np.float32)
    if len(shape) == 1:
        return (0.1 * random.normal(size=shape)).astype(np.float32)
    fan_in = int(np.prod(shape[1:]))
    return (random.normal(size=shape) / np.sqrt(fan_in)).astype(np.float32)


def made_up_images(count: int, size: int) -> np.ndarray:
    """Float32 images [count, size, size, 3] in [0, 1]: noise over a gradient, no symmetry."""
    random = np.random.default_rng(5)
    ramp = np.linspace(0.0, 0.5, size)[:, None, None] * np.linspace(0.2, 1.0, size)[None, :, None] * [1.0, 0.7, 0.4]
    return (ramp[None] + 0.5 * random.uniform(size=(count, size, size, 3))).astype(np.float32)
