"""Batches of hands fitted to keypoints and masks, over any number of devices."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float, Int

from handpose_jax.refinement.image_fit import ImageFitOptions, fit_image, image_evidence
from handpose_jax.refinement.keypoint_fit import fit_image_keypoints
from mano_jax import anatomy
from mano_jax.keypoint_model import HandParameters
from mano_jax.model import HandModel

HANDS_AT_ONCE = 8
"""Hands in parallel on a CPU, whose cache holds the masks of no more; accelerators want many."""


class ImageFits(NamedTuple):
    """Right hands, camera frame; flat `HandParameters`.

    Attributes:
      parameters: where the solver stopped.
      cost: there; never above that of the start.
      iterations: trial steps.
    """

    parameters: Float[Array, "hands parameters"]
    cost: Float[Array, "hands"]
    iterations: Int[Array, "hands"]


@functools.partial(jax.jit, static_argnames=("options",))
def keypoint_starts(
    model: HandModel,
    keypoints: Float[Array, "hands 21 3"],
    K: Float[Array, "hands 3 3"],
    options: ImageFitOptions,
) -> Float[Array, "hands parameters"]:
    """Fits to the keypoints alone, as flat `HandParameters`."""

    def start(points: Float[Array, "21 3"], camera: Float[Array, "3 3"]) -> Float[Array, "parameters"]:
        fitted = fit_image_keypoints(model, points, camera, options.fit)
        angles = anatomy.joint_angles(model, fitted.pose).reshape(45)
        return HandParameters(fitted.rotation, fitted.translation, fitted.shape, angles).flatten()

    return jax.vmap(start)(keypoints, K)


@functools.partial(jax.jit, static_argnames=("options", "at_once", "devices"))
def fit_images(
    model: HandModel,
    keypoints: Float[Array, "hands 21 3"],
    K: Float[Array, "hands 3 3"],
    masks: Float[Array, "hands rows columns"],
    starts: Float[Array, "hands parameters"],
    options: ImageFitOptions,
    max_iterations: int | Array = 30,
    at_once: int = HANDS_AT_ONCE,
    devices: Mesh | None = None,
) -> ImageFits:
    """`image_fit.fit_image` for a batch.

    Args:
      model: right hand.
      keypoints: u px, v px, confidence.
      K: camera matrices of images and masks.
      masks: 0 or 1, as large as the images.
      starts: `keypoint_starts`, or a network's.
      options: static.
      max_iterations: trial steps of each hand.
      at_once: hands in parallel on each device.
      devices: their mesh of one axis, which shares the batch evenly; None: one device.
    """

    def share(whole: tuple[HandModel, Array], batch: tuple[Array, Array, Array, Array]) -> ImageFits:
        hand_model, steps = whole

        def fit(hand: tuple[Array, Array, Array, Array]) -> ImageFits:
            points, camera, mask, start = hand
            seen = image_evidence(points, camera, mask, options)
            found = fit_image(hand_model, HandParameters.unflatten(start), seen, options, steps)
            return ImageFits(found.parameters, found.cost, found.iterations)

        return in_groups(fit, batch, at_once)

    return over_devices(share, (model, jnp.asarray(max_iterations)), (keypoints, K, masks, starts), devices)


def in_groups(function: Callable, batch: tuple[Array, ...], at_once: int):
    """`function` of each row, so many at a time."""
    at_once = min(at_once, batch[0].shape[0])
    return jax.lax.map(function, batch, batch_size=at_once if at_once > 1 else None)


def over_devices(function: Callable, whole: tuple, batch: tuple[Array, ...], devices: Mesh | None):
    """`function(whole, batch)`, of whose batch each device of a mesh of one axis takes its share.

    Raises:
      ValueError: the batch cannot be shared evenly.
    """
    if devices is None:
        return function(whole, batch)
    if batch[0].shape[0] % devices.size:
        raise ValueError(f"{batch[0].shape[0]} hands cannot be shared evenly by {devices.size} devices; pad the batch")
    shares = PartitionSpec(devices.axis_names[0])
    # The renderer's loops start from constants, which the check of what varies between devices does not accept.
    sharded = jax.shard_map(
        function, mesh=devices, in_specs=(PartitionSpec(), shares), out_specs=shares, check_vma=False
    )
    return sharded(whole, batch)
