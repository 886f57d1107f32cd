"""Where a fit starts: rigid placements of the mean hand, in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from handpose_jax.refinement.terms import ImagePoints, SpacePoints
from mano_jax.keypoint_model import ANGLES, HandParameters, KeypointModel
from mano_jax.pose_prior import PosePrior
from mano_jax.rotations import PRECISION, matrix_to_axis_angle

# Right hand, fingers up in the image: columns say where the model's x, y, z axes go in the camera frame.
_BACK_TO_CAMERA = ((0.0, 0.0, -1.0), (1.0, 0.0, 0.0), (0.0, -1.0, 0.0))
_PALM_TO_CAMERA = ((0.0, 0.0, 1.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
_PALM_POINTS = (0, 1, 5, 9, 13, 17)
_FINGER_WEIGHT = 0.2
"""Weight of finger keypoints beside those of the palm, which is rigid and tells the hand's orientation."""


def image_starts(
    hand: KeypointModel, prior: PosePrior, seen: ImagePoints, shape: Float[Array, "shapes"]
) -> HandParameters:
    """Two starts [2, ...] from image keypoints: the mean hand, palm and back to the camera, turned in the image plane.

    Each is laid over the keypoints by a similarity of the image plane; its scale gives the depth.
    """
    dtype = seen.pixels.dtype
    observed = (seen.pixels - seen.principal[None]) / seen.focal[None]
    weights = _palm_weights(seen.weights)
    rest = _mean_hand(hand, prior, shape)

    def place(facing: Float[Array, "3 3"]) -> HandParameters:
        turned = jnp.einsum("ab,kb->ka", facing, rest, precision=PRECISION)
        flat_mean, observed_mean = _mean(turned[:, :2], weights), _mean(observed, weights)
        flat, target = turned[:, :2] - flat_mean[None], observed - observed_mean[None]
        # The rotation that maximises the correlation of two planar point sets.
        cosine = jnp.sum(weights[:, None] * flat * target)
        sine = jnp.sum(weights * (flat[:, 0] * target[:, 1] - flat[:, 1] * target[:, 0]))
        norm = jnp.sqrt(cosine * cosine + sine * sine)
        safe = jnp.where(norm > 0.0, norm, 1.0)
        c, s = jnp.where(norm > 0.0, cosine / safe, 1.0), sine / safe
        zero, one = jnp.zeros((), dtype), jnp.ones((), dtype)
        in_plane = jnp.stack([jnp.stack([c, -s, zero]), jnp.stack([s, c, zero]), jnp.stack([zero, zero, one])])
        rotation = jnp.einsum("ab,bc->ac", in_plane, facing, precision=PRECISION)
        # Ratio of spreads, not the least-squares scale, which collapses where the layouts differ.
        spread = jnp.sqrt(jnp.sum(weights[:, None] * flat * flat))
        target_spread = jnp.sqrt(jnp.sum(weights[:, None] * target * target))
        depth = jnp.clip(spread / jnp.maximum(target_spread, 1e-6), 0.1, 20.0)
        centre = jnp.concatenate([observed_mean * depth, depth[None]])
        return _placed(rotation, centre, rest, weights, hand, prior, shape)

    return jax.vmap(place)(jnp.asarray(np.array([_PALM_TO_CAMERA, _BACK_TO_CAMERA]), dtype))


def space_starts(
    hand: KeypointModel, prior: PosePrior, seen: SpacePoints, shape: Float[Array, "shapes"]
) -> HandParameters:
    """Two starts [2, ...] from 3D keypoints: the mean hand and the flat hand, each laid over them rigidly (Kabsch)."""
    weights = _palm_weights(seen.weights)

    def place(angles: Float[Array, "45"]) -> HandParameters:
        start_prior = prior._replace(mean=angles)
        rest = _mean_hand(hand, start_prior, shape)
        centre = _mean(seen.points, weights)
        source = (rest - _mean(rest, weights)[None]) * weights[:, None]
        correlation = jnp.einsum("ka,kb->ab", seen.points - centre[None], source, precision=PRECISION)
        left, _, right = jnp.linalg.svd(correlation)
        handedness = jnp.linalg.det(left) * jnp.linalg.det(right)
        left = left.at[:, 2].multiply(jnp.where(handedness < 0.0, -1.0, 1.0).astype(left.dtype))
        rotation = jnp.einsum("ab,bc->ac", left, right, precision=PRECISION)
        return _placed(rotation, centre, rest, weights, hand, start_prior, shape)

    return jax.vmap(place)(jnp.stack([prior.mean, jnp.zeros(ANGLES, prior.mean.dtype)]))


def _palm_weights(weights: Float[Array, "21"]) -> Float[Array, "21"]:
    importance = np.full(21, _FINGER_WEIGHT)
    importance[list(_PALM_POINTS)] = 1.0
    weights = weights * jnp.asarray(importance, weights.dtype)
    total = jnp.sum(weights)
    return weights / jnp.where(total > 0.0, total, 1.0)


def _mean(points: Float[Array, "21 dimensions"], weights: Float[Array, "21"]) -> Float[Array, "dimensions"]:
    return jnp.sum(weights[:, None] * points, axis=0)


def _mean_hand(hand: KeypointModel, prior: PosePrior, shape: Float[Array, "shapes"]) -> Float[Array, "21 3"]:
    zeros = jnp.zeros(3, prior.mean.dtype)
    return hand.points(HandParameters(zeros, zeros, shape, prior.mean))


def _placed(
    rotation: Float[Array, "3 3"],
    centre: Float[Array, "3"],
    rest: Float[Array, "21 3"],
    weights: Float[Array, "21"],
    hand: KeypointModel,
    prior: PosePrior,
    shape: Float[Array, "shapes"],
) -> HandParameters:
    """Parameters that turn the hand by `rotation` and put its weighted centre at `centre`."""
    # The model turns about its wrist joint (keypoint 0), not about the origin.
    wrist = rest[0]
    turned_centre = wrist + jnp.einsum("ab,b->a", rotation, _mean(rest, weights) - wrist, precision=PRECISION)
    return HandParameters(matrix_to_axis_angle(rotation), centre - turned_centre, shape, prior.mean)
