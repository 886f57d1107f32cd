"""Inverses of symmetric positive definite matrices, in matrix products alone."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mano_jax.rotations import PRECISION


def inverse_factor(matrix: Float[Array, "size size"]) -> Float[Array, "size size"]:
    """Lower triangular W with W' W = matrix^-1: the inverse of the Cholesky factor. NaN where it is not definite.

    Only the lower half of the matrix is read. W is built from blocks of double size again and again,
    inv [[A, 0], [B, C]] = [[inv A, 0], [-inv C B inv A, inv C]], and not by a solver: on a CPU the LAPACK that JAX
    calls starts threads for every small system with many right-hand sides; measured, they can cost a thousand times
    the solution.
    """
    size = matrix.shape[-1]
    padded = 1 << (size - 1).bit_length()
    factor = jnp.linalg.cholesky(matrix, symmetrize_input=False)
    ones = jnp.asarray(np.arange(padded) >= size, matrix.dtype)
    factor = jnp.pad(factor, (0, padded - size)) + jnp.diag(ones)
    blocks = (1.0 / jnp.diagonal(factor))[:, None, None]
    while blocks.shape[0] > 1:
        count, side = blocks.shape[0] // 2, blocks.shape[1]
        # The block below the diagonal of each block of double size.
        tiles = factor.reshape(count, 2 * side, count, 2 * side)[np.arange(count), :, np.arange(count)]
        upper, lower = blocks[0::2], blocks[1::2]
        below = jnp.einsum("kab,kbc->kac", lower, tiles[:, side:, :side], precision=PRECISION)
        below = -jnp.einsum("kab,kbc->kac", below, upper, precision=PRECISION)
        top = jnp.concatenate([upper, jnp.zeros_like(upper)], axis=2)
        blocks = jnp.concatenate([top, jnp.concatenate([below, lower], axis=2)], axis=1)
    return blocks[0, :size, :size]
