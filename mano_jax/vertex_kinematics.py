"""Inverse kinematics from a whole mesh: a hand's parameters from its vertices."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from mano_jax.forward import forward
from mano_jax.inverse_kinematics import HandSolution, over_batch, spread
from mano_jax.kinematic_start import kabsch
from mano_jax.least_squares import from_residuals, levenberg_marquardt
from mano_jax.model import HandModel
from mano_jax.rotations import PRECISION, matrix_to_axis_angle

CHUNK_SIZE = 16
"""Hands solved at once: the Jacobian of 778 vertices by 61 parameters is large."""
RELATIVE_TOLERANCE = 1e-3
MAX_ITERATIONS = 10


def solve_vertices(
    model: HandModel,
    vertices: Float[ArrayLike, "*batch vertices 3"],
    *,
    shape: Float[ArrayLike, "*#batch shapes"] | None = None,
    sigma: Float[ArrayLike, ""] = 1e-4,
) -> HandSolution:
    """Parameters whose mesh is this one: `forward(model, *solution[:4])` gives it back.

    Each part of the hand is first laid over its vertices rigidly (Kabsch), then all parameters are fitted by
    Levenberg-Marquardt. Not differentiable in reverse mode.

    Args:
      model: of the hand's side; `model.at_vertices(...)` for meshes of some vertices only.
      vertices: metres, in any frame, in the model's order; those that are not finite are left out.
      shape: coefficients, if they are known; otherwise they are solved for.
      sigma: standard deviation of the vertices, metres, beside which weak priors (standard normal shapes, joint angles
        of one radian) are weighed.

    Returns:
      One solution for each mesh; NaN and not converged with fewer than four vertices.

    Raises:
      ValueError: wrong shapes.
    """
    vertices = jnp.asarray(vertices, model.dtype)
    count = model.template.shape[0]
    if vertices.shape[-2:] != (count, 3):
        raise ValueError(f"vertices must have shape [..., {count}, 3], got {list(vertices.shape)}")
    batch = vertices.shape[:-2]
    if shape is not None:
        shape = spread(jnp.asarray(shape, model.dtype), batch)
    return over_batch(
        lambda vertices, shape: _solve(model, vertices, shape, sigma), batch, (vertices, shape), CHUNK_SIZE
    )


class _Unknowns(NamedTuple):
    pose: Float[Array, "45"]
    rotation: Float[Array, "3"]
    translation: Float[Array, "3"]
    shape: Float[Array, "shapes"]


def _solve(
    model: HandModel,
    vertices: Float[Array, "vertices 3"],
    shape: Float[Array, "shapes"] | None,
    sigma: Float[ArrayLike, ""],
) -> HandSolution:
    usable = jnp.all(jnp.isfinite(vertices), axis=-1)
    enough = jnp.sum(jnp.where(usable, 1, 0)) >= 4
    weights = jnp.where(usable, 1.0, 0.0).astype(model.dtype)
    total = jnp.maximum(jnp.sum(weights), 1.0)
    vertices = jnp.where(usable[:, None], vertices, 0.0)
    # Measured from their mean: a hand far from the origin would lose digits.
    centre = jnp.sum(vertices, axis=0) / total
    vertices = jnp.where(usable[:, None], vertices - centre[None], 0.0)

    def unknowns(flat: Float[Array, "parameters"]) -> _Unknowns:
        pose, rotation, translation = flat[:45], flat[45:48], flat[48:51]
        return _Unknowns(pose, rotation, translation, flat[51:] if shape is None else shape)

    def residuals(flat: Float[Array, "parameters"]) -> Float[Array, "residuals"]:
        hand = unknowns(flat)
        reached = forward(model, hand.pose, hand.shape, hand.rotation, hand.translation).vertices
        distances = weights[:, None] * (reached - vertices) / sigma
        # A trace of curvature for rotation and translation, which only the vertices hold.
        return jnp.concatenate([distances.reshape(-1), flat[:45], 1e-3 * flat[45:51], flat[51:]])

    start = _start(model, vertices, weights, jnp.zeros(model.shape_size, model.dtype) if shape is None else shape)
    flat = jnp.concatenate(start[:3] if shape is not None else start)
    solution = levenberg_marquardt(
        from_residuals(residuals), flat, max_iterations=MAX_ITERATIONS, relative_tolerance=RELATIVE_TOLERANCE
    )
    found = unknowns(solution.parameters)
    reached = forward(model, found.pose, found.shape, found.rotation, found.translation).vertices
    residual = jnp.sqrt(jnp.sum(weights[:, None] * (reached - vertices) ** 2) / total)
    fields = (found.pose, found.shape, found.rotation, found.translation + centre, residual)
    fields = tuple(jnp.where(enough, field, jnp.nan) for field in fields)
    return HandSolution(*fields, iterations=solution.iterations, converged=solution.converged & enough)


def _start(
    model: HandModel,
    vertices: Float[Array, "vertices 3"],
    weights: Float[Array, "vertices"],
    shape: Float[Array, "shapes"],
) -> _Unknowns:
    """The rotation of each part by its own vertices, the translation by all of the wrist's; shape as given."""
    shaped = model.shaped(shape)
    # Squared: vertices that one joint moves alone tell its rotation best.
    shares = (weights[:, None] * model.skinning_weights**2).T
    world = jax.vmap(kabsch, in_axes=(None, None, 0))(shaped.template, vertices, shares)
    parents = world[np.asarray(model.parents[1:])]
    local = jnp.einsum("jba,jbc->jac", parents, world[1:], precision=PRECISION)
    wrist = (shares[0] / jnp.maximum(jnp.sum(shares[0]), 1e-6))[:, None]
    joint = shaped.joint_template[0]
    turned = jnp.einsum("ab,vb->va", world[0], shaped.template - joint[None], precision=PRECISION) + joint[None]
    return _Unknowns(
        pose=matrix_to_axis_angle(local).reshape(45),
        rotation=matrix_to_axis_angle(world[0]),
        translation=jnp.sum(wrist * (vertices - turned), axis=0),
        shape=shape,
    )
