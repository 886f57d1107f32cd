"""Several cameras that see one hand at one moment: what they saw, and where a fit starts from."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from handpose_jax.refinement import terms
from handpose_jax.refinement.options import FitOptions
from handpose_jax.refinement.starts import image_starts, space_starts
from mano_jax.keypoint_model import HandParameters, KeypointModel
from mano_jax.pose_prior import PosePrior
from mano_jax.rotations import PRECISION, axis_angle_to_matrix, matrix_to_axis_angle

_BASE_KEYPOINTS = (0, 1)


class CameraViews(NamedTuple):
    """One hand in V cameras. A view that is not valid counts nothing, whatever its arrays hold.

    Attributes:
      keypoints: u px, v px, confidence of each view; not finite, or confidence 0: not seen.
      K: camera matrices without skew.
      world_to_camera: rigid transforms, metres, into each camera's frame (OpenCV axes).
      valid: whether there is such a view. The number of views is a shape, this is data: hands that are seen by fewer
        cameras need no program of their own.
    """

    keypoints: Float[Array, "views 21 3"]
    K: Float[Array, "views 3 3"]
    world_to_camera: Float[Array, "views 4 4"]
    valid: Bool[Array, "views"]


def one_view(keypoints: Float[Array, "21 3"], K: Float[Array, "3 3"], options: FitOptions) -> terms.ViewPoints:
    """One camera, whose frame is the world."""
    seen = image_points(keypoints, K, options)
    return terms.ViewPoints(jax.tree.map(lambda leaf: leaf[None], seen), None)


def several_views(views: CameraViews, options: FitOptions) -> terms.ViewPoints:
    """What the fit needs of several cameras; whatever an invalid view holds is replaced."""
    valid = views.valid[:, None, None]
    eye = jnp.eye(4, dtype=views.K.dtype)[None]
    keypoints = jnp.where(valid, views.keypoints, 0.0)
    K = jnp.where(valid, views.K, eye[:, :3, :3])
    seen = jax.vmap(lambda points, camera: image_points(points, camera, options))(keypoints, K)
    return terms.ViewPoints(seen, jnp.where(valid, views.world_to_camera, eye))


def image_points(keypoints: Float[Array, "21 3"], K: Float[Array, "3 3"], options: FitOptions) -> terms.ImagePoints:
    """Keypoints with the weights and the standard deviation that the options give them."""
    weights = keypoint_weights(keypoints, options)
    pixels = jnp.where((weights > 0.0)[:, None], keypoints[:, :2], 0.0)
    focal = jnp.stack([K[0, 0], K[1, 1]])
    return terms.ImagePoints(
        pixels=pixels,
        weights=weights,
        focal=focal,
        principal=jnp.stack([K[0, 2], K[1, 2]]),
        sigma=jnp.maximum(options.pixel_sigma_share * box_side(pixels, weights), 2e-4 * jnp.max(focal)),
    )


def view_starts(
    hand: KeypointModel, prior: PosePrior, seen: terms.ViewPoints, shape: Float[Array, "shapes"]
) -> HandParameters:
    """Two starts from every view, in the world: [2 V, ...]; of several views two more, from where their rays meet."""
    starts = jax.vmap(lambda points: image_starts(hand, prior, points, shape))(seen.points)
    if seen.world_to_camera is not None:
        in_world = lambda start, transform: _in_world(hand, start, transform)  # noqa: E731
        starts = jax.vmap(jax.vmap(in_world, (0, None)))(starts, seen.world_to_camera)
    starts = jax.tree.map(lambda leaf: leaf.reshape(-1, leaf.shape[-1]), starts)
    if seen.world_to_camera is None or seen.world_to_camera.shape[0] == 1:
        return starts
    met = space_starts(hand, prior, triangulated(seen.points, seen.world_to_camera), shape)
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), met, starts)


def triangulated(seen: terms.ImagePoints, world_to_camera: Float[Array, "views 4 4"]) -> terms.SpacePoints:
    """Points nearest to the rays of all views, in the world, metres; weight 0 where fewer than two rays cross.

    The point X of a keypoint solves the sum over views of w (I - d d') (X - c) = 0: d a ray's direction, c its camera.
    """
    turn, origin = world_to_camera[:, :3, :3], world_to_camera[:, :3, 3]
    plane = (seen.pixels - seen.principal[:, None]) / seen.focal[:, None]
    rays = jnp.concatenate([plane, jnp.ones_like(plane[..., :1])], axis=-1)
    rays = jnp.einsum("vba,vkb->vka", turn, rays, precision=PRECISION)
    rays = rays / jnp.sqrt(jnp.sum(rays * rays, axis=-1, keepdims=True))
    centres = -jnp.einsum("vba,vb->va", turn, origin, precision=PRECISION)
    eye = jnp.eye(3, dtype=rays.dtype)
    across = seen.weights[..., None, None] * (eye[None, None] - rays[..., :, None] * rays[..., None, :])
    matrix = jnp.sum(across, axis=0)
    right = jnp.einsum("vkab,vb->ka", across, centres, precision=PRECISION)
    # The inverse of a symmetric 3x3 matrix: the cross products of its rows, over its determinant.
    a, b, c = matrix[:, 0], matrix[:, 1], matrix[:, 2]
    adjugate = jnp.stack([jnp.cross(b, c), jnp.cross(c, a), jnp.cross(a, b)], axis=-1)
    determinant = jnp.sum(a * adjugate[..., 0], axis=-1)
    crossing = determinant > 1e-4 * (jnp.trace(matrix, axis1=-2, axis2=-1) / 3.0) ** 3
    safe = jnp.where(crossing, determinant, 1.0)
    points = jnp.einsum("kab,kb->ka", adjugate, right, precision=PRECISION) / safe[:, None]
    weights = jnp.where(crossing, jnp.sum(seen.weights, axis=0), 0.0)
    points = jnp.where(crossing[:, None], points, 0.0)
    return terms.SpacePoints(points, weights, jnp.ones((), points.dtype))


def keypoint_weights(keypoints: Float[Array, "21 channels"], options: FitOptions) -> Float[Array, "21"]:
    """Inverse variances relative to a certain keypoint's: the last channel is a confidence, 0 where nothing is seen."""
    finite = jnp.all(jnp.isfinite(keypoints), axis=-1)
    confidence = jnp.where(finite, jnp.clip(keypoints[:, -1], 0.0, 1.0), 0.0)
    weights = confidence * confidence
    return weights.at[np.asarray(_BASE_KEYPOINTS)].multiply(options.base_weight)


def box_side(pixels: Float[Array, "21 2"], weights: Float[Array, "21"]) -> Float[Array, ""]:
    """Larger side of the box around the keypoints seen."""
    seen = (weights > 0.0)[:, None]
    extent = jnp.max(jnp.where(seen, pixels, -jnp.inf), axis=0) - jnp.min(jnp.where(seen, pixels, jnp.inf), axis=0)
    return jnp.max(jnp.where(jnp.isfinite(extent), extent, 0.0))


def _in_world(hand: KeypointModel, start: HandParameters, transform: Float[Array, "4 4"]) -> HandParameters:
    """The parameters, in the world, of a hand given in a camera's frame."""
    turn, origin = transform[:3, :3], transform[:3, 3]
    rotation = jnp.einsum("ba,bc->ac", turn, axis_angle_to_matrix(start.rotation), precision=PRECISION)
    # The model turns about its wrist joint, keypoint 0, and not about the origin.
    wrist = hand.points(start._replace(rotation=jnp.zeros_like(origin), translation=jnp.zeros_like(origin)))[0]
    moved = jnp.einsum("ba,b->a", turn, wrist + start.translation - origin, precision=PRECISION) - wrist
    return start._replace(rotation=matrix_to_axis_angle(rotation), translation=moved)
