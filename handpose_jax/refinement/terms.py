"""The cost of a fit, term by term. Each term returns its normal equations; a fit is their sum."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mano_jax.anatomy import joint_limits
from mano_jax.keypoint_model import ANGLES, GLOBAL, HandParameters
from mano_jax.least_squares import NormalEquations
from mano_jax.pose_prior import PosePrior
from mano_jax.rotations import PRECISION

NEAREST_DEPTH = 0.02
"""Metres. Points nearer to the camera than this project as if they were at it, so that no step divides by zero."""


class ImagePoints(NamedTuple):
    """21 keypoints seen by one camera. Pixels; weight 0 marks a point not seen, whose position must be finite."""

    pixels: Float[Array, "21 2"]
    weights: Float[Array, "21"]
    focal: Float[Array, "2"]
    principal: Float[Array, "2"]
    sigma: Float[Array, ""]


class ViewPoints(NamedTuple):
    """21 keypoints seen by several cameras: every field of `points` has a leading axis of views.

    `world_to_camera` is None for one camera whose frame is the world; nothing is spent on transforms then.
    """

    points: ImagePoints
    world_to_camera: Float[Array, "views 4 4"] | None


class SpacePoints(NamedTuple):
    """21 keypoints in the camera frame, metres; weights and sigma as in `ImagePoints`."""

    points: Float[Array, "21 3"]
    weights: Float[Array, "21"]
    sigma: Float[Array, ""]


def project(
    points: Float[Array, "21 3"], focal: Float[Array, "2"], principal: Float[Array, "2"]
) -> Float[Array, "21 2"]:
    """Pixels of camera-frame points."""
    depth = jnp.maximum(points[:, 2:], NEAREST_DEPTH)
    return points[:, :2] / depth * focal[None] + principal[None]


def image_keypoints(
    points: Float[Array, "21 3"],
    jacobian: Float[Array, "21 3 parameters"],
    seen: ImagePoints,
    robust_threshold: float,
) -> NormalEquations:
    """Reprojection error in units of its standard deviation, robust per keypoint."""
    residuals, rows = _reprojection(points, jacobian, seen)
    return _robust(residuals, rows, seen.weights, robust_threshold)


def view_keypoints(
    points: Float[Array, "21 3"],
    jacobian: Float[Array, "21 3 parameters"],
    seen: ViewPoints,
    robust_threshold: float,
) -> NormalEquations:
    """The sum of `image_keypoints` over all views; points and Jacobian are in the world's frame."""
    if seen.world_to_camera is None:
        return image_keypoints(points, jacobian, jax.tree.map(lambda leaf: leaf[0], seen.points), robust_threshold)
    turn, origin = seen.world_to_camera[:, :3, :3], seen.world_to_camera[:, :3, 3]
    in_view = jnp.einsum("vab,kb->vka", turn, points, precision=PRECISION) + origin[:, None]
    turned = jnp.broadcast_to(turn[:, None], (*in_view.shape[:2], 3, 3))
    # Rows by the point's own coordinates first, a 2x3 matrix a point, and by the parameters in one product after.
    per_view = jax.vmap(_reprojection)(in_view, turned, seen.points)
    residuals, by_point = (part.reshape(-1, *part.shape[2:]) for part in per_view)
    every = jnp.tile(jacobian, (turn.shape[0], 1, 1))
    rows = jnp.einsum("kia,kap->kip", by_point, every, precision=PRECISION)
    return _robust(residuals, rows, seen.points.weights.reshape(-1), robust_threshold)


def _reprojection(
    points: Float[Array, "21 3"], jacobian: Float[Array, "21 3 parameters"], seen: ImagePoints
) -> tuple[Float[Array, "21 2"], Float[Array, "21 2 parameters"]]:
    """Residuals in units of their standard deviation, and their derivatives."""
    depth = jnp.maximum(points[:, 2], NEAREST_DEPTH)
    residuals = (project(points, seen.focal, seen.principal) - seen.pixels) / seen.sigma
    scale = seen.focal[None] / depth[:, None] / seen.sigma
    slope = jnp.where(points[:, 2] > NEAREST_DEPTH, 1.0, 0.0)[:, None] * points[:, :2] / depth[:, None]
    return residuals, scale[..., None] * (jacobian[:, :2] - slope[..., None] * jacobian[:, 2:])


def space_keypoints(
    points: Float[Array, "21 3"],
    jacobian: Float[Array, "21 3 parameters"],
    seen: SpacePoints,
    robust_threshold: float,
) -> NormalEquations:
    """Distance to 3D keypoints in units of its standard deviation, robust per keypoint."""
    return _robust((points - seen.points) / seen.sigma, jacobian / seen.sigma, seen.weights, robust_threshold)


def estimated_points(
    points: Float[Array, "21 3"],
    jacobian: Float[Array, "21 3 parameters"],
    estimate: SpacePoints,
    robust_threshold: float,
) -> NormalEquations:
    """Distance to estimated 3D joints, both from their own mean: where the hand is does not count."""
    centred, slope = points - jnp.mean(points, axis=0)[None], jacobian - jnp.mean(jacobian, axis=0)[None]
    target = estimate.points - jnp.mean(estimate.points, axis=0)[None]
    return space_keypoints(centred, slope, estimate._replace(points=target), robust_threshold)


def _robust(
    residuals: Float[Array, "points dimensions"],
    rows: Float[Array, "points dimensions parameters"],
    weights: Float[Array, "points"],
    threshold: float,
) -> NormalEquations:
    """Pseudo-Huber on each keypoint's squared distance s: c^2 (sqrt(1 + s / c^2) - 1), curvature by its weight only."""
    ratio = jnp.sqrt(1.0 + jnp.sum(residuals * residuals, axis=-1) / threshold**2)
    # sqrt(1 + x) - 1 as x / (sqrt(1 + x) + 1): no cancellation near a perfect fit.
    cost = jnp.sum(weights * jnp.sum(residuals * residuals, axis=-1) / (ratio + 1.0))
    root = jnp.sqrt(weights / ratio)[:, None]
    residuals = (root * residuals).reshape(-1)
    rows = (root[..., None] * rows).reshape(residuals.shape[0], -1)
    return NormalEquations(
        cost=cost,
        gradient=jnp.einsum("rp,r->p", rows, residuals, precision=PRECISION),
        curvature=jnp.einsum("rp,rq->pq", rows, rows, precision=PRECISION),
    )


def pose_prior(parameters: HandParameters, prior: PosePrior, weight: float) -> NormalEquations:
    """Half the squared Mahalanobis distance of the joint angles."""
    offset = parameters.angles - prior.mean
    gradient = weight * jnp.einsum("ab,b->a", prior.precision, offset, precision=PRECISION)
    return _on_angles(0.5 * jnp.sum(offset * gradient), gradient, weight * prior.precision, parameters)


def angle_limits(parameters: HandParameters, sigma: float) -> NormalEquations:
    """Angles beyond their limits, in units of sigma; nothing inside."""
    limits = joint_limits().reshape(ANGLES, 2).astype(parameters.angles.dtype)
    excess = parameters.angles - jnp.clip(parameters.angles, limits[:, 0], limits[:, 1])
    active = jnp.where(excess == 0.0, 0.0, 1.0) / sigma**2
    return _on_angles(0.5 * jnp.sum(active * excess * excess), active * excess, jnp.diag(active), parameters)


def _on_angles(cost, gradient, curvature, parameters: HandParameters) -> NormalEquations:
    others = GLOBAL + parameters.shape.shape[-1]
    return NormalEquations(cost, jnp.pad(gradient, (others, 0)), jnp.pad(curvature, ((others, 0), (others, 0))))


def shape_prior(parameters: HandParameters, weight: float, limit: float, limit_sigma: float) -> NormalEquations:
    """Half the squared norm of the shape, and a wall at `limit` standard deviations."""
    shape = parameters.shape
    excess = shape - jnp.clip(shape, -limit, limit)
    active = jnp.where(excess == 0.0, 0.0, 1.0) / limit_sigma**2
    cost = 0.5 * jnp.sum(weight * shape * shape + active * excess * excess)
    pad = (GLOBAL, ANGLES)
    return NormalEquations(
        cost, jnp.pad(weight * shape + active * excess, pad), jnp.diag(jnp.pad(weight + active, pad))
    )


def hand_length(
    parameters: HandParameters, length: Float[Array, ""], by_shape: Float[Array, "shapes"], target: float, sigma: float
) -> NormalEquations:
    """Difference of the flat hand's length, linear in the shape, from a known one, in units of sigma. Metres."""
    residual = (length + jnp.sum(by_shape * parameters.shape) - target) / sigma
    row = jnp.pad(by_shape / sigma, (GLOBAL, ANGLES))
    return NormalEquations(0.5 * residual * residual, residual * row, row[:, None] * row[None, :])


def total(*terms: NormalEquations) -> NormalEquations:
    """The sum of terms."""
    return jax.tree.map(lambda *leaves: sum(leaves[1:], leaves[0]), *terms)


def free_damping(parameters: HandParameters) -> NormalEquations:
    """A curvature of almost nothing on rotation and translation, so that no diagonal element is zero."""
    size = parameters.flatten().shape[-1]
    diagonal = jnp.asarray(np.pad(np.full(GLOBAL, 1e-6), (0, size - GLOBAL)), parameters.angles.dtype)
    return NormalEquations(jnp.zeros((), diagonal.dtype), jnp.zeros_like(diagonal), jnp.diag(diagonal))
