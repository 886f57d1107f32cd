"""One synthetic photograph of a hand, with its whole truth, as a function of a key."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, PRNGKeyArray

from handpose_jax.synthesis.options import SynthesisOptions
from handpose_jax.synthesis.quick_rendering import mean_of_squares
from handpose_jax.synthesis.quick_surface import QuickTables, quick_tables
from handpose_jax.synthesis.sampling import sample_hand
from handpose_jax.synthesis.scenes import full_scene, picture_background, quick_scene, sample_scene
from handpose_jax.synthesis.sensor import detected
from mano_jax.forward import forward, keypoints_from_mesh
from mano_jax.mirror import mirror_points, mirror_rotations
from mano_jax.model import HandModel
from render_jax import rasterize


class SyntheticHand(NamedTuple):
    """An image and everything that is known of it. Metres and radians, camera frame (OpenCV); pixels as everywhere.

    Attributes:
      image: display values in [0, 1].
      mask: share of each pixel in which the hand, without forearm, is seen: nothing hides it.
      keypoints: true projections of the 21 joints, u px, v px.
      detected: what a detector might say: u px, v px, confidence (0: missing).
      joints: the 21 joints.
      vertices: of the mesh.
      pose, shape, rotation, translation: parameters of the model of the hand's side.
      K: camera matrix.
      left: whether it is a left hand.
      full_mask: share of each pixel that the mesh covers, whatever lies before it: what `f_Ren` of a true hand gives.
      visible: joints before which nothing lies but the hand's own flesh, see `visible_joints`.
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
    full_mask: Float[Array, "size size"]
    visible: Bool[Array, "21"]


def synthetic_hand(
    key: PRNGKeyArray,
    model: HandModel,
    left: Bool[ArrayLike, ""],
    options: SynthesisOptions,
    tables: QuickTables | None = None,
    backgrounds: Array | np.ndarray | None = None,
) -> SyntheticHand:
    """A random image of a random hand.

    A left hand is the exact mirror image of the right hand of the same key, with mirrored camera and parameters, so
    one program serves both sides. `vmap` over keys and sides for a batch, or `synthetic_batch`.

    Args:
      key: decides everything but the side.
      model: of a right hand, whatever the side.
      left: whether to mirror.
      options: ranges; static.
      tables: `synthesis_tables(model, options)`. Made anew if not given, which costs the quick quality as much as
        some images: make them once for a loop.
      backgrounds: pictures [pictures, height, width, 3] to cut backgrounds from, at least as large as the image;
        floats in [0, 1] or uint8.

    Raises:
      ValueError: the model is not a right hand, its mesh has not one hole, or the backgrounds do not fit.
    """
    if model.side != "right":
        raise ValueError(f"synthetic hands are made with a right hand's model and mirrored, got a {model.side} one")
    if tables is None:
        tables = synthesis_tables(model, options)
    hand_key, skin_key, light_key, background_key, sensor_key, detector_key = jax.random.split(key, 6)
    sample = sample_hand(hand_key, model, options)
    mesh = forward(model, sample.pose, sample.shape, sample.rotation, sample.translation)
    joints = keypoints_from_mesh(model, mesh)
    # Folded in, so that switching things on leaves the rest of an image as it was.
    scene = sample_scene(
        (skin_key, light_key, jax.random.fold_in(key, 1), jax.random.fold_in(key, 2)),
        model,
        sample,
        mesh,
        joints,
        options,
    )
    background = picture_background(background_key, backgrounds, options)
    if tables is None:
        picture = full_scene(sensor_key, model, sample.camera, scene, background, options)
    else:
        picture = quick_scene(sensor_key, model, sample.camera, scene, background, options, tables)
    large = options.image_size * options.supersample
    whole = rasterize(
        sample.camera.resized(options.supersample).to_screen(mesh.vertices), np.asarray(model.faces), (large, large)
    ).mask
    keypoints = sample.camera.project(joints)
    right = SyntheticHand(
        image=picture.image,
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
        full_mask=mean_of_squares(whole.astype(mesh.vertices.dtype), options.supersample),
        visible=picture.visible,
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
        full_mask=hand.full_mask[:, ::-1],
        keypoints=flipped(hand.keypoints),
        detected=flipped(hand.detected),
        joints=mirror_points(hand.joints),
        vertices=mirror_points(hand.vertices),
        pose=mirror_rotations(hand.pose),
        rotation=mirror_rotations(hand.rotation),
        translation=mirror_points(hand.translation),
        K=K,
    )


def synthesis_tables(model: HandModel, options: SynthesisOptions) -> QuickTables | None:
    """What all images of one model and one kind share, or None where there is no such thing."""
    return _jitted_tables(model, options.forearm_length) if options.quality == "quick" else None


_jitted_tables = jax.jit(quick_tables, static_argnames="forearm_length")


@functools.partial(jax.jit, static_argnames=("options", "together"))
def synthetic_batch(
    keys: PRNGKeyArray,
    model: HandModel,
    left: Bool[ArrayLike, "hands"],
    options: SynthesisOptions,
    tables: QuickTables | None = None,
    backgrounds: Array | np.ndarray | None = None,
    together: int = 1,
) -> SyntheticHand:
    """`synthetic_hand` for a batch of keys and sides.

    Args:
      keys: one an image.
      model: see `synthetic_hand`, as for `options`, `tables` and `backgrounds`.
      left: one an image.
      options: static.
      tables: see there.
      backgrounds: see there.
      together: images drawn in parallel; the images are the same to rounding. 1 suits a CPU, whose cache holds one
        image; accelerators want many.
    """
    if tables is None:
        tables = synthesis_tables(model, options)

    def make(pair: tuple[PRNGKeyArray, Array]) -> SyntheticHand:
        return synthetic_hand(pair[0], model, pair[1], options, tables, backgrounds)

    together = min(together, keys.shape[0])
    return jax.lax.map(make, (keys, jnp.asarray(left)), batch_size=together if together > 1 else None)


def keys_of(seed: int, count: int) -> PRNGKeyArray:
    """One key a hand; the first hands of a larger batch are those of a smaller one."""
    base = jax.random.key(seed)
    return jax.vmap(lambda index: jax.random.fold_in(base, index))(np.arange(count))
