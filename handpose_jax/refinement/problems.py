"""Synthetic problems of known truth: a hand before a camera, noisy keypoints, a mask that may be wrong."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

import mano_jax
import render_jax
from handpose_jax.synthesis import SynthesisOptions
from handpose_jax.synthesis.backgrounds import clouds
from handpose_jax.synthesis.sampling import sample_hand
from mano_jax import HandModel


@dataclasses.dataclass(frozen=True)
class ProblemOptions:
    """How hard a problem is. Static.

    Attributes:
      image_size: edge of the image and of its mask, pixels.
      noise: standard deviation of each keypoint coordinate, pixels of a 224-pixel image.
      missing: share of the keypoints that are not seen.
      outliers: share of the keypoints that are off by 100 pixels of a 224-pixel image.
      mask_shift: how far a wrong mask is moved, pixels of a 224-pixel image.
      mask_blobs: share of the pixels near the outline that blobs add or take; 0: the true mask.
    """

    image_size: int = 224
    noise: float = 5.0
    missing: float = 0.0
    outliers: float = 0.0
    mask_shift: float = 0.0
    mask_blobs: float = 0.0


LEVELS = {
    "easy": ProblemOptions(noise=2.0),
    "medium": ProblemOptions(noise=5.0, missing=0.1),
    "hard": ProblemOptions(noise=8.0, missing=0.25, outliers=0.05),
    # About IoU 0.90 with the true mask.
    "wrong masks": ProblemOptions(noise=5.0, mask_shift=1.5, mask_blobs=0.16),
}


class Problem(NamedTuple):
    """What is given, and the truth. Right hands; camera frame, metres.

    Attributes:
      keypoints: u px, v px, confidence (0: not seen).
      K: camera matrix of image and mask.
      mask: given, 0 or 1.
      true_mask: 0 or 1.
      vertices, joints: true.
      pose, shape, rotation, translation: true.
    """

    keypoints: Float[Array, "21 3"]
    K: Float[Array, "3 3"]
    mask: Float[Array, "size size"]
    true_mask: Float[Array, "size size"]
    vertices: Float[Array, "vertices 3"]
    joints: Float[Array, "21 3"]
    pose: Float[Array, "45"]
    shape: Float[Array, "shapes"]
    rotation: Float[Array, "3"]
    translation: Float[Array, "3"]


def random_problem(key: PRNGKeyArray, model: HandModel, options: ProblemOptions) -> Problem:
    """A hand as synthetic images have them (`SynthesisOptions`' ranges), and what a detector might say of it.

    Args:
      key: decides everything.
      model: right hand.
      options: static.
    """
    hand_key, noise_key, missing_key, outlier_key, mask_key = jax.random.split(key, 5)
    unit = options.image_size / 224.0
    sample = sample_hand(hand_key, model, SynthesisOptions(image_size=options.image_size))
    mesh = mano_jax.forward(model, sample.pose, sample.shape, sample.rotation, sample.translation)
    joints = mano_jax.keypoints_from_mesh(model, mesh)
    size = (options.image_size, options.image_size)
    true_mask = render_jax.rasterize(sample.camera.to_screen(mesh.vertices), np.asarray(model.faces), size).mask
    true_mask = true_mask.astype(model.dtype)
    pixels = sample.camera.project(joints) + options.noise * unit * jax.random.normal(noise_key, (21, 2))
    off = jax.random.normal(outlier_key, (21, 2))
    off = 100.0 * unit * off / jnp.linalg.norm(off, axis=-1, keepdims=True)
    is_off = jax.random.uniform(jax.random.fold_in(outlier_key, 1), (21, 1)) < options.outliers
    pixels = pixels + jnp.where(is_off, off, 0.0)
    # At least half of them are seen.
    order = jnp.argsort(jax.random.uniform(missing_key, (21,)))
    drawn = jax.random.uniform(jax.random.fold_in(missing_key, 1), (21,)) < options.missing
    seen = jnp.where(drawn & (order < 10), 0.0, 1.0)
    return Problem(
        keypoints=jnp.concatenate([pixels, seen[:, None]], axis=-1),
        K=sample.camera.matrix(),
        mask=wrong_mask(mask_key, true_mask, options),
        true_mask=true_mask,
        vertices=mesh.vertices,
        joints=joints,
        pose=sample.pose,
        shape=sample.shape,
        rotation=sample.rotation,
        translation=sample.translation,
    )


def wrong_mask(
    key: PRNGKeyArray, mask: Float[Array, "size size"], options: ProblemOptions
) -> Float[Array, "size size"]:
    """The mask moved, and its outline displaced to and fro by smooth noise: what segmentation networks get wrong."""
    if options.mask_shift == 0.0 and options.mask_blobs == 0.0:
        return mask
    size, unit = options.image_size, options.image_size / 224.0
    shift_key, blob_key = jax.random.split(key)
    angle = 2.0 * np.pi * jax.random.uniform(shift_key)
    shift = options.mask_shift * unit * jnp.stack([jnp.sin(angle), jnp.cos(angle)])
    moved = jax.image.scale_and_translate(mask, (size, size), (0, 1), jnp.ones(2), shift, "linear")
    blurred = _blurred(moved, 4.0 * unit)
    level = 0.5 + options.mask_blobs * clouds(blob_key, size, 2.0)[..., 0]
    return (blurred > jnp.clip(level, 0.05, 0.95)).astype(mask.dtype)


def _blurred(image: Float[Array, "size size"], deviation: float) -> Float[Array, "size size"]:
    reach = int(np.ceil(3.0 * deviation))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    weights = jnp.asarray(weights / weights.sum(), image.dtype)
    for axis in (0, 1):
        image = jnp.apply_along_axis(lambda line: jnp.convolve(line, weights, mode="same"), axis, image)
    return image
