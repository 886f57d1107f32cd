"""`norm` of Eq. 8, its inverse, and the three ways to know the depth that the inverse needs.

All pixel quantities may be the full image's or the crop's, as long as camera, positions and `side` are of one image:
f / w is the same in both. In the crop's own image (`render_jax.Crop.camera_to_crop`) mirrored hands need no care.
"""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

import mano_jax
from handpose_jax.projection import ROOT
from mano_jax import HandModel
from render_jax import Crop, Pinhole
from render_jax.cameras import MINIMUM_DEPTH, Scalar

GIVEN, HAND_LENGTH, ESTIMATE = "given", "hand length", "estimate"
"""Names of where a root's depth came from: ground truth or a sensor; a known hand's length; the model's own size."""

MIDDLE_FINGER = (0, 9, 10, 11, 12)
"""Wrist to tip among the 21 keypoints; the sum of these bones is the hand's length, however it bends."""


def hand_length(model: HandModel, shapes: Float[ArrayLike, "*batch shapes"]) -> Float[Array, "*batch"]:
    """Wrist to middle fingertip along the bones of flat hands, metres; a mirrored hand is as long."""
    zeros = jnp.zeros(3, model.dtype)
    flat = mano_jax.keypoints(model, jnp.zeros(45, model.dtype), shapes, zeros, zeros)
    bones = jnp.diff(flat[..., jnp.asarray(MIDDLE_FINGER), :], axis=-2)
    return jnp.linalg.norm(bones, axis=-1).sum(axis=-1)


def focal_length(camera: Pinhole) -> Float[Array, "*batch"]:
    """The f of Eq. 8, pixels: the geometric mean of fx and fy [ours], which are equal for square pixels."""
    return jnp.sqrt(jnp.asarray(camera.fx) * jnp.asarray(camera.fy))


def normalise(joints: Float[Array, "21 3"], camera: Pinhole, side: Scalar) -> Float[Array, "21 3"]:
    """norm(j3D*) of Eq. 8 [paper in words]: ((u - u_m) / w, (v - v_m) / w, (z - z_m) f / (w z_m)), m the middle MCP.

    Every axis is in edges of the crop: half NDC units, so that j3D = (J - J_m) / 2 of the projected hand compares.

    Args:
      joints: camera frame, metres, in front of the camera.
      camera: of the image that `side` is measured in.
      side: w, edge of the crop, pixels.
    """
    pixels = camera.project(joints)
    root_depth = joints[ROOT, 2]
    safe_depth = jnp.where(root_depth < MINIMUM_DEPTH, MINIMUM_DEPTH, root_depth)
    flat = (pixels - pixels[ROOT : ROOT + 1]) / side
    depth = (joints[:, 2] - root_depth) * (focal_length(camera) / (side * safe_depth))
    return jnp.concatenate([flat, depth[:, None]], axis=-1)


def denormalise(
    normalised: Float[Array, "21 3"],
    root_pixels: Float[Array, "2"],
    root_depth: Float[Array, ""],
    camera: Pinhole,
    side: Scalar,
) -> Float[Array, "21 3"]:
    """Inverse of `normalise` [derived]: z = z_m + z̄ w z_m / f, u = u_m + w x̄, X = (u - cx) z / fx. Metres.

    Proportional to `root_depth`: one number sets the size of the whole hand.

    Args:
      normalised: edges of the crop, from the middle MCP.
      root_pixels: where the middle MCP is in the image.
      root_depth: its depth, metres.
    """
    depth = root_depth * (1.0 + normalised[:, 2] * (side / focal_length(camera)))
    return camera.unproject(root_pixels[None] + side * normalised[:, :2], depth)


def root_depth_from_hand_length(
    normalised: Float[Array, "21 3"],
    root_pixels: Float[Array, "2"],
    length: Scalar,
    camera: Pinhole,
    side: Scalar,
) -> Float[Array, ""]:
    """Depth of the middle MCP of a hand of known length [ours], metres.

    Args:
      length: wrist to tip of the middle finger along the bones (of the flat hand: its length), metres.
      others: as `denormalise`.
    """
    at_one_metre = denormalise(normalised, root_pixels, jnp.ones(()), camera, side)[jnp.asarray(MIDDLE_FINGER)]
    bones = at_one_metre[1:] - at_one_metre[:-1]
    squared = jnp.sum(bones * bones, axis=-1)
    degenerate = squared == 0.0
    lengths = jnp.where(degenerate, 0.0, jnp.sqrt(jnp.where(degenerate, 1.0, squared)))
    return length / jnp.maximum(jnp.sum(lengths), 1e-6)


def root_depth_from_scale(scale: Float[Array, "*batch"], camera: Pinhole, side: Scalar) -> Float[Array, "*batch"]:
    """Depth at which a hand of the model's own size (at its shape) has this scale [ours]: 2 f / (w scale), metres.

    Inverse of `scale_at_depth`. It trusts the predicted shape with the hand's true size, which one image does not show.

    Args:
      scale: NDC units per metre, > 0.
    """
    return 2.0 * focal_length(camera) / (side * scale)


def scale_at_depth(root_depth: Float[Array, "*batch"], camera: Pinhole, side: Scalar) -> Float[Array, "*batch"]:
    """NDC units per metre of a hand at a depth, in a crop of edge w: 2 f / (w z). The scale that projects alike."""
    return 2.0 * focal_length(camera) / (side * root_depth)


def pixels_to_ndc(pixels: Float[Array, "*batch 2"], crop: Crop) -> Float[Array, "*batch 2"]:
    """Full image, pixels -> the crop's [-1, 1] square: x = 2 (u - left) / w - 1 (mirrored if the crop is)."""
    return crop.points_to_crop(pixels) * (2.0 / crop.size) - 1.0


def ndc_to_pixels(ndc: Float[Array, "*batch 2"], crop: Crop) -> Float[Array, "*batch 2"]:
    """Inverse of `pixels_to_ndc`."""
    return crop.points_to_full((ndc + 1.0) * (0.5 * crop.size))


def root_depth(
    source: str,
    normalised: Float[Array, "21 3"],
    root_pixels: Float[Array, "2"],
    scale: Float[Array, ""],
    camera: Pinhole,
    side: Scalar,
    value: Scalar | None = None,
) -> Float[Array, ""]:
    """Depth of the middle MCP by the named source, metres; say which beside the result.

    Args:
      source: "given" (`value` is the depth, metres), "hand length" (`value` is the length, metres) or "estimate".
      scale: of the projected hand, NDC units per metre.
      others: as `denormalise`.

    Raises:
      ValueError: no such source, or it needs a value that is missing.
    """
    if source not in (GIVEN, HAND_LENGTH, ESTIMATE):
        raise ValueError(f"source of the depth must be '{GIVEN}', '{HAND_LENGTH}' or '{ESTIMATE}', got {source!r}")
    if source == ESTIMATE:
        return root_depth_from_scale(scale, camera, side)
    if value is None:
        what = "the depth of the middle MCP" if source == GIVEN else "the hand's length"
        raise ValueError(f"depth from source '{source}' needs {what} in metres as value; or use '{ESTIMATE}'")
    if source == GIVEN:
        return jnp.asarray(value, normalised.dtype)
    return root_depth_from_hand_length(normalised, root_pixels, value, camera, side)
