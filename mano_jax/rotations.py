"""Rotations: axis-angle vectors, matrices, unit quaternions (w, x, y, z) and 6D, exact at angles 0 and pi.

Every function takes leading batch axes. The singular points are guarded on the *input* (a "double where"): the branch
that is not taken must not see the singular value, or its derivative, infinite or NaN, would leak through the selection.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

PRECISION = jax.lax.Precision.HIGHEST

# R - I, row by row, of the terms a x, a y, a z, b xx, b yy, b zz, b xy, b xz, b yz.
_RODRIGUES_SIGNS = np.array(
    [
        [0, 0, 0, 0, -1, -1, 0, 0, 0],
        [0, 0, -1, 0, 0, 0, 1, 0, 0],
        [0, 1, 0, 0, 0, 0, 0, 1, 0],
        [0, 0, 1, 0, 0, 0, 1, 0, 0],
        [0, 0, 0, -1, 0, -1, 0, 0, 0],
        [-1, 0, 0, 0, 0, 0, 0, 0, 1],
        [0, -1, 0, 0, 0, 0, 0, 1, 0],
        [1, 0, 0, 0, 0, 0, 0, 0, 1],
        [0, 0, 0, -1, -1, 0, 0, 0, 0],
    ]
)


def _sinc_terms(squared_angle: Float[Array, "*batch"]) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
    """sin(t) / t and (1 - cos(t)) / t^2 as smooth functions of t^2, with derivatives of all orders at 0."""
    # Below the threshold the series is exact to rounding: the first dropped term is t^12 / 13! < 3e-18.
    small = squared_angle < 0.05
    safe = jnp.where(small, 1.0, squared_angle)
    angle = jnp.sqrt(safe)
    half_sine = jnp.sin(0.5 * angle)
    sine_series = _alternating_series(squared_angle, 1)
    cosine_series = _alternating_series(squared_angle, 2)
    # 2 sin^2(t / 2) instead of 1 - cos(t), which cancels for small angles.
    return (
        jnp.where(small, sine_series, jnp.sin(angle) / angle),
        jnp.where(small, cosine_series, 2.0 * half_sine * half_sine / safe),
    )


def _alternating_series(squared_angle: Float[Array, "*batch"], first: int) -> Float[Array, "*batch"]:
    """Sum over k < 6 of (-t^2)^k / (2 k + first)!, by Horner's rule."""
    total = jnp.full_like(squared_angle, -1.0 / math.factorial(10 + first))
    for k in range(4, -1, -1):
        total = (-1) ** k / math.factorial(2 * k + first) + squared_angle * total
    return total


def axis_angle_to_matrix(axis_angle: Float[Array, "*batch 3"]) -> Float[Array, "*batch 3 3"]:
    """Rodrigues' formula R = I + a [v]x + b [v]x^2, a = sin(t)/t, b = (1 - cos t)/t^2, t = |v| (radians).

    Smooth everywhere, the zero vector included: written in t^2, so no square root of zero is differentiated.
    """
    turn = rotation_minus_identity(jnp.moveaxis(axis_angle, -1, 0)[None])[0]
    identity = jnp.eye(3, dtype=axis_angle.dtype).reshape((1,) * (axis_angle.ndim - 1) + (3, 3))
    return identity + jnp.moveaxis(turn, (0, 1), (-2, -1))


def rotation_minus_identity(axis_angle: Float[Array, "joints 3 *hands"]) -> Float[Array, "joints 3 3 *hands"]:
    """`axis_angle_to_matrix` less the identity, a [v]x + b (v v' - t^2 I), without cancellation for small angles.

    Vectors along axis 1: on a CPU, long last axes are what is fast.
    """
    x, y, z = axis_angle[:, 0], axis_angle[:, 1], axis_angle[:, 2]
    a, b = _sinc_terms(x * x + y * y + z * z)
    once, twice = a[:, None] * axis_angle, b[:, None] * axis_angle
    squares, mixed = twice * axis_angle, (twice[:, :1] * axis_angle[:, 1:], twice[:, 1:2] * axis_angle[:, 2:])
    terms = jnp.concatenate([once, squares, *mixed], axis=1)
    # A product with constants, not a stack of nine sums: what is fused into a concatenation is slow on a CPU.
    signs = jnp.broadcast_to(_RODRIGUES_SIGNS.astype(terms.dtype), (x.shape[0], 9, 9))
    return jnp.einsum("jrk,jk...->jr...", signs, terms, precision=PRECISION).reshape(x.shape[0], 3, 3, *x.shape[1:])


def left_jacobian(axis_angle: Float[Array, "*batch 3"]) -> Float[Array, "*batch 3 3"]:
    """J with d(exp v) exp(v)' = [J dv]x: how a change of an axis-angle vector turns the rotated body, world axes.

    J = I + b [v]x + c [v]x^2, b = (1 - cos t)/t^2, c = (t - sin t)/t^3. Source: Sola et al. 2018, Eq. 145.
    """
    x, y, z = axis_angle[..., 0], axis_angle[..., 1], axis_angle[..., 2]
    t = x * x + y * y + z * z
    a, b = _sinc_terms(t)
    small = t < 0.05
    series = 1.0 / 6.0 * (1.0 - t / 20.0 * (1.0 - t / 42.0 * (1.0 - t / 72.0 * (1.0 - t / 110.0 * (1.0 - t / 156.0)))))
    c = jnp.where(small, series, (1.0 - a) / jnp.where(small, 1.0, t))
    cxy, cxz, cyz = c * x * y, c * x * z, c * y * z
    rows = (
        jnp.stack([1.0 - c * (y * y + z * z), cxy - b * z, cxz + b * y], axis=-1),
        jnp.stack([cxy + b * z, 1.0 - c * (x * x + z * z), cyz - b * x], axis=-1),
        jnp.stack([cxz - b * y, cyz + b * x, 1.0 - c * (x * x + y * y)], axis=-1),
    )
    return jnp.stack(rows, axis=-2)


def unit_quaternion(quaternion: Float[Array, "*batch 4"]) -> Float[Array, "*batch 4"]:
    """A quaternion over its length, whatever that is; the identity, with derivative zero, for the zero quaternion."""
    return _direction(quaternion, np.array([1.0, 0.0, 0.0, 0.0]))


def quaternion_to_matrix(quaternion: Float[Array, "*batch 4"]) -> Float[Array, "*batch 3 3"]:
    """Matrix of a unit quaternion (w, x, y, z). The quaternion is not normalised here."""
    w, x, y, z = (quaternion[..., i] for i in range(4))
    rows = (
        jnp.stack([1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - w * z), 2.0 * (x * z + w * y)], axis=-1),
        jnp.stack([2.0 * (x * y + w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z - w * x)], axis=-1),
        jnp.stack([2.0 * (x * z - w * y), 2.0 * (y * z + w * x), 1.0 - 2.0 * (x * x + y * y)], axis=-1),
    )
    return jnp.stack(rows, axis=-2)


def axis_angle_to_quaternion(axis_angle: Float[Array, "*batch 3"]) -> Float[Array, "*batch 4"]:
    """Unit quaternion (w, x, y, z) of an axis-angle vector (radians); smooth at the zero vector."""
    squared_half = 0.25 * jnp.sum(axis_angle * axis_angle, axis=-1)
    sine_over_angle, one_minus_cosine = _sinc_terms(squared_half)
    w = 1.0 - squared_half * one_minus_cosine
    return jnp.concatenate([w[..., None], 0.5 * sine_over_angle[..., None] * axis_angle], axis=-1)


def matrix_to_quaternion(matrix: Float[Array, "*batch 3 3"]) -> Float[Array, "*batch 4"]:
    """Unit quaternion (w, x, y, z), w >= 0, of a rotation matrix; accurate at every angle, pi included.

    Shepperd's method: of the four components the largest is found from the diagonal (it is at least 1/2, so the
    division is safe) and the others from sums and differences of off-diagonal elements. At angle pi, where w = 0 and
    both signs are right, the sign is that of the largest component's branch.
    """
    m = [[matrix[..., i, j] for j in range(3)] for i in range(3)]
    trace = m[0][0] + m[1][1] + m[2][2]
    # Four times the square of each component.
    squares = jnp.stack([1.0 + trace] + [1.0 + 2.0 * m[i][i] - trace for i in range(3)], axis=-1)
    largest = jnp.argmax(squares, axis=-1)
    # Row k: 4 q_k q, the quaternion scaled by four times its k-th component.
    wx, wy, wz = m[2][1] - m[1][2], m[0][2] - m[2][0], m[1][0] - m[0][1]
    xy, xz, yz = m[0][1] + m[1][0], m[0][2] + m[2][0], m[1][2] + m[2][1]
    candidates = jnp.stack(
        [
            jnp.stack([squares[..., 0], wx, wy, wz], axis=-1),
            jnp.stack([wx, squares[..., 1], xy, xz], axis=-1),
            jnp.stack([wy, xy, squares[..., 2], yz], axis=-1),
            jnp.stack([wz, xz, yz, squares[..., 3]], axis=-1),
        ],
        axis=-2,
    )
    chosen = jnp.take_along_axis(candidates, largest[..., None, None], axis=-2)[..., 0, :]
    unit = chosen / jnp.sqrt(jnp.sum(chosen * chosen, axis=-1, keepdims=True))
    return jnp.where(unit[..., :1] < 0.0, -unit, unit)


def quaternion_to_axis_angle(quaternion: Float[Array, "*batch 4"]) -> Float[Array, "*batch 3"]:
    """Axis-angle vector (radians, angle in [0, pi]) of a unit quaternion (w, x, y, z); smooth at the identity."""
    quaternion = jnp.where(quaternion[..., :1] < 0.0, -quaternion, quaternion)
    w, vector = quaternion[..., 0], quaternion[..., 1:]
    squared_sine = jnp.sum(vector * vector, axis=-1)
    small = squared_sine < 1e-4
    safe_sine = jnp.sqrt(jnp.where(small, 1.0, squared_sine))
    safe_w = jnp.where(small, w, 1.0)
    # angle / sin(angle / 2) = 2 atan(s / w) / s = (2 / w) (1 - r/3 + r^2/5 - ...), r = (s / w)^2
    r = squared_sine / (safe_w * safe_w)
    series = 2.0 / safe_w * (1.0 - r * (1.0 / 3.0 - r * (1.0 / 5.0 - r * (1.0 / 7.0 - r / 9.0))))
    factor = jnp.where(small, series, 2.0 * jnp.arctan2(safe_sine, jnp.where(small, 1.0, w)) / safe_sine)
    return factor[..., None] * vector


def matrix_to_axis_angle(matrix: Float[Array, "*batch 3 3"]) -> Float[Array, "*batch 3"]:
    """Axis-angle vector (radians, angle in [0, pi]) of a rotation matrix; accurate at 0 and at pi."""
    return quaternion_to_axis_angle(matrix_to_quaternion(matrix))


def matrix_to_6d(matrix: Float[Array, "*batch 3 3"]) -> Float[Array, "*batch 6"]:
    """The first two columns of a rotation matrix, one after the other.

    Source: Zhou et al., "On the Continuity of Rotation Representations in Neural Networks", CVPR 2019, Eq. 14. Programs
    differ in the layout: some take rows, or the two columns interleaved.
    """
    return jnp.concatenate([matrix[..., :, 0], matrix[..., :, 1]], axis=-1)


def matrix_from_6d(six: Float[Array, "*batch 6"]) -> Float[Array, "*batch 3 3"]:
    """The rotation whose first column is along the first vector and whose second is in the plane of both.

    Any two vectors that are not parallel do, at any scale: Gram-Schmidt (Zhou et al. 2019, Eq. 15). Where that fails a
    rotation is chosen, with derivative zero by what failed: x in place of a first vector of zero, and in place of a
    second one that is parallel to the first the coordinate axis that is least so.
    """
    first, second = _direction(six[..., :3], np.array([1.0, 0.0, 0.0])), _scaled(six[..., 3:])
    across = second - jnp.sum(first * second, axis=-1, keepdims=True) * first
    epsilon = jnp.finfo(six.dtype).eps
    parallel = jnp.sum(across * across, axis=-1, keepdims=True) <= (8.0 * epsilon) ** 2
    least = jax.nn.one_hot(jnp.argmin(jnp.abs(first), axis=-1), 3, dtype=six.dtype)
    spare = least - jnp.sum(first * least, axis=-1, keepdims=True) * first
    across = jnp.where(parallel, spare, across)
    across = across / jnp.sqrt(jnp.sum(across * across, axis=-1, keepdims=True))
    # Once more: the first pass leaves the rounding of `second`, which is large beside a small `across`.
    across = across - jnp.sum(first * across, axis=-1, keepdims=True) * first
    across = across / jnp.sqrt(jnp.sum(across * across, axis=-1, keepdims=True))
    return jnp.stack([first, across, jnp.cross(first, across)], axis=-1)


def _scaled(vector: Float[Array, "*batch n"]) -> Float[Array, "*batch n"]:
    """The vector over its largest component, so that squares neither overflow nor vanish. Zero stays zero.

    The scale counts as a constant: exact for whatever depends on the direction alone.
    """
    size = jax.lax.stop_gradient(jnp.max(jnp.abs(vector), axis=-1, keepdims=True))
    return vector / jnp.where(size > 0.0, size, 1.0)


def _direction(vector: Float[Array, "*batch n"], spare: Float[np.ndarray, " n"]) -> Float[Array, "*batch n"]:
    scaled = _scaled(vector)
    zero = jnp.all(scaled == 0.0, axis=-1, keepdims=True)
    safe = jnp.where(zero, jnp.broadcast_to(jnp.asarray(spare, vector.dtype), vector.shape), scaled)
    return safe / jnp.sqrt(jnp.sum(safe * safe, axis=-1, keepdims=True))
