"""One synthetic photograph of a hand, with its whole truth, as a function of a key."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, PRNGKeyArray

from handpose_jax.synthesis.backgrounds import sample_background
from handpose_jax.synthesis.lighting import sample_light
from handpose_jax.synthesis.options import SynthesisOptions
from handpose_jax.synthesis.rendering import draw_surface
from handpose_jax.synthesis.sampling import sample_hand
from handpose_jax.synthesis.sensor import detected, photograph
from handpose_jax.synthesis.skin import sample_skin, skin_colour, skin_map
from handpose_jax.synthesis.surface import hand_surface, surface_topology
from mano_jax.forward import forward, keypoints_from_mesh
from mano_jax.mirror import mirror_points, mirror_rotations
from mano_jax.model import HandModel

_SLEEVE_THICKNESS = 0.004


class SyntheticHand(NamedTuple):
    """An image and everything that is known of it. Metres and radians, camera frame (OpenCV); pixels as everywhere.

    Attributes:
      image: display values in [0, 1].
      mask: share of each pixel that the hand, without forearm, covers and nothing hides.
      keypoints: true projections of the 21 joints, u px, v px.
      detected: what a detector might say: u px, v px, confidence (0: missing).
      joints: the 21 joints.
      vertices: of the mesh.
      pose, shape, rotation, translation: parameters of the model of the hand's side.
      K: camera matrix.
      left: whether it is a left hand.
    """

    image: Float[Array, "size size 3"]
    mask: Float[Array, "size size"]
    keypoints: Float[Array, "21 2"]
    detected: Float[Array, "21 3"]
    joints: Float[Array, "21 3"]
    vertices: Float[Array, "vertices 3"]
    pose: Float[Array, "45"]
    shape: Float[Array, "shapes"]
    rotation: Float[Array, "3"]
    translation: Float[Array, "3"]
    K: Float[Array, "3 3"]
    left: Bool[Array, ""]


def synthetic_hand(
    key: PRNGKeyArray, model: HandModel, left: Bool[ArrayLike, ""], options: SynthesisOptions
) -> SyntheticHand:
    """A random image of a random hand.

    A left hand is the exact mirror image of the right hand of the same key, with mirrored camera and parameters, so
    one program serves both sides. `vmap` over keys and sides for a batch.

    Args:
      key: decides everything but the side.
      model: of a right hand, whatever the side.
      left: whether to mirror.
      options: ranges; static.

    Raises:
      ValueError: the model is not a right hand, or its mesh has not one hole.
    """
    if model.side != "right":
        raise ValueError(f"synthetic hands are made with a right hand's model and mirrored, got a {model.side} one")
    hand_key, skin_key, light_key, background_key, sensor_key, detector_key = jax.random.split(key, 6)
    sample = sample_hand(hand_key, model, options)
    mesh = forward(model, sample.pose, sample.shape, sample.rotation, sample.translation)
    joints = keypoints_from_mesh(model, mesh)
    tone, places = sample_skin(skin_key, options), skin_map(model)
    surface = hand_surface(
        model,
        mesh.vertices,
        mesh.joints[0],
        mesh.joint_rotations[0],
        sample.wrist_bend,
        _SLEEVE_THICKNESS * tone.sleeved,
    )
    tables = surface_topology(model.topology)
    picture = draw_surface(
        surface,
        tables.faces,
        tables.hand_faces,
        sample.camera,
        sample_background(background_key, options.image_size),
        sample_light(light_key),
        functools.partial(skin_colour, tone, places),
        options.supersample,
        options.texture_per_pixel,
    )
    keypoints = sample.camera.project(joints)
    right = SyntheticHand(
        image=photograph(sensor_key, picture.image, options),
        mask=picture.mask,
        keypoints=keypoints,
        detected=detected(detector_key, keypoints, options),
        joints=joints,
        vertices=mesh.vertices,
        pose=sample.pose,
        shape=sample.shape,
        rotation=sample.rotation,
        translation=sample.translation,
        K=sample.camera.matrix(),
        left=jnp.asarray(left),
    )
    mirrored = mirror(right, sample.camera.mirrored(options.image_size).matrix())
    return jax.tree.map(lambda one, other: jnp.where(right.left, one, other), mirrored, right)


def mirror(hand: SyntheticHand, K: Float[Array, "3 3"]) -> SyntheticHand:
    """The same hand in a mirror; `K` is that of the mirrored camera."""
    width = hand.image.shape[1]

    def flipped(points: Float[Array, "21 channels"]) -> Float[Array, "21 channels"]:
        return points.at[:, 0].set(width - points[:, 0])

    return hand._replace(
        image=hand.image[:, ::-1],
        mask=hand.mask[:, ::-1],
        keypoints=flipped(hand.keypoints),
        detected=flipped(hand.detected),
        joints=mirror_points(hand.joints),
        vertices=mirror_points(hand.vertices),
        pose=mirror_rotations(hand.pose),
        rotation=mirror_rotations(hand.rotation),
        translation=mirror_points(hand.translation),
        K=K,
    )


@functools.partial(jax.jit, static_argnames="options")
def synthetic_batch(
    keys: PRNGKeyArray, model: HandModel, left: Bool[ArrayLike, "hands"], options: SynthesisOptions
) -> SyntheticHand:
    """`synthetic_hand` for a batch of keys and sides, one after the other: large images fit a cache, batches do not."""
    return jax.lax.map(lambda pair: synthetic_hand(pair[0], model, pair[1], options), (keys, jnp.asarray(left)))


def keys_of(seed: int, count: int) -> PRNGKeyArray:
    """One key a hand; the first hands of a larger batch are those of a smaller one."""
    base = jax.random.key(seed)
    return jax.vmap(lambda index: jax.random.fold_in(base, index))(np.arange(count))
