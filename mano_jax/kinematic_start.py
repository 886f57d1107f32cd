"""Where inverse kinematics starts: a hand laid over its 21 keypoints bone by bone, in closed form."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mano_jax.anatomy import joint_limits
from mano_jax.keypoint_model import HandParameters, KeypointModel
from mano_jax.keypoints import CANONICAL_FROM_MODEL_AND_TIPS, KEYPOINT_PARENTS
from mano_jax.rotations import PRECISION, axis_angle_to_matrix, matrix_to_axis_angle

PALM = (0, 1, 5, 9, 13, 17)
# Lengths that do not change with the pose: the bones, and the gaps between the fingers' bases.
_ENDS = np.array([*tuple(enumerate(KEYPOINT_PARENTS))[1:], (1, 5), (5, 9), (9, 13), (13, 17)])
_LENGTH_SIGMA = 1e-3
_BASE_JOINTS = np.array([12, 0, 3, 9, 6])
"""First joint of each finger, thumb first, among the 15 finger joints."""


def keypoint_start(
    hand: KeypointModel,
    points: Float[Array, "21 3"],
    weights: Float[Array, "21"],
    shape: Float[Array, "shapes"] | None,
) -> HandParameters:
    """Shape by the bones' lengths, wrist by the palm (Kabsch), each finger bone by the shortest turn to its place.

    A finger's first joint is also twisted so that the next one bends about its own flexion axis, within limits. Bones
    with an end that is not seen stay as they are at rest. Exact but for the fingertips, which move a few tenths of a
    millimetre against their bones.
    """
    template, basis = _rest(hand)
    if shape is None:
        shape = _shape_of_lengths(template, basis, points, weights)
    rest = template + jnp.einsum("kcs,s->kc", basis, shape, precision=PRECISION)
    rotation = kabsch(rest[np.array(PALM)], points[np.array(PALM)], weights[np.array(PALM)])
    placed = jnp.einsum("ab,kb->ka", rotation, rest, precision=PRECISION)
    share = weights * jnp.asarray(np.isin(np.arange(21), PALM) + 1e-3, weights.dtype)
    share = share / jnp.maximum(jnp.sum(share), 1e-6)
    shift = jnp.sum(share[:, None] * (points - placed), axis=0)
    # The model turns about the wrist joint: R (x - J) + J + t = R x + shift.
    translation = shift + placed[0] - rest[0]
    angles = _finger_angles(hand, rest, points, weights, rotation)
    return HandParameters(matrix_to_axis_angle(rotation), translation, shape, angles)


def _rest(hand: KeypointModel) -> tuple[Float[Array, "21 3"], Float[Array, "21 3 shapes"]]:
    """Keypoints of the resting hand, and their derivative by the shape."""
    model, order = hand.tips_model, np.array(CANONICAL_FROM_MODEL_AND_TIPS)
    tips = np.array(model.fingertips(hand.tips))
    template = jnp.concatenate([model.joint_template, model.template[tips]])[order]
    basis = jnp.concatenate([model.joint_shape_basis.transpose(1, 2, 0), model.shape_basis[tips]])[order]
    return template, basis


def _shape_of_lengths(
    template: Float[Array, "21 3"],
    basis: Float[Array, "21 3 shapes"],
    points: Float[Array, "21 3"],
    weights: Float[Array, "21"],
) -> Float[Array, "shapes"]:
    """Most probable shape of a standard normal, given the lengths of the bones; linearised at the mean shape."""
    one, other = _ENDS[:, 0], _ENDS[:, 1]
    bones, seen = template[one] - template[other], points[one] - points[other]
    lengths = jnp.sqrt(jnp.sum(bones * bones, axis=-1))
    slopes = jnp.einsum("bc,bcs->bs", bones / lengths[:, None], basis[one] - basis[other], precision=PRECISION)
    trust = jnp.sqrt(weights[one] * weights[other]) / _LENGTH_SIGMA
    rows, errors = trust[:, None] * slopes, trust * (jnp.sqrt(jnp.sum(seen * seen, axis=-1)) - lengths)
    curvature = jnp.einsum("bs,bt->st", rows, rows, precision=PRECISION) + jnp.eye(basis.shape[-1], dtype=points.dtype)
    return jnp.linalg.solve(curvature, jnp.einsum("bs,b->s", rows, errors, precision=PRECISION))


def kabsch(
    source: Float[Array, "points 3"], target: Float[Array, "points 3"], weights: Float[Array, "points"]
) -> Float[Array, "3 3"]:
    """The rotation that takes centred `source` closest to centred `target`. Source: Kabsch 1976, 1978."""
    share = (weights / jnp.maximum(jnp.sum(weights), 1e-6))[:, None]
    source = source - jnp.sum(share * source, axis=0)[None]
    target = target - jnp.sum(share * target, axis=0)[None]
    left, _, right = jnp.linalg.svd(jnp.einsum("ka,kb->ab", share * target, source, precision=PRECISION))
    sign = jnp.where(jnp.linalg.det(left) * jnp.linalg.det(right) < 0.0, -1.0, 1.0).astype(left.dtype)
    left = left * jnp.stack([jnp.ones_like(sign), jnp.ones_like(sign), sign])[None]
    return jnp.einsum("ab,bc->ac", left, right, precision=PRECISION)


def _finger_angles(
    hand: KeypointModel,
    rest: Float[Array, "21 3"],
    points: Float[Array, "21 3"],
    weights: Float[Array, "21"],
    rotation: Float[Array, "3 3"],
) -> Float[Array, "45"]:
    """Anatomical angles that turn the bones of all five fingers, level by level, onto the observed ones."""
    rest_bones = _unit(jnp.diff(rest[1:].reshape(5, 4, 3), axis=1))
    bones = _unit(jnp.diff(points[1:].reshape(5, 4, 3), axis=1))
    seen = (weights > 0.0)[1:].reshape(5, 4)
    seen = seen[:, 1:] & seen[:, :-1]
    frames = jnp.broadcast_to(rotation[None], (5, 3, 3))
    angles = jnp.zeros((15, 3), points.dtype)
    for level in range(3):
        joints = _BASE_JOINTS + level
        wanted = jnp.where(seen[:, level, None], _turned_back(frames, bones[:, level]), rest_bones[:, level])
        turn = shortest_turn(rest_bones[:, level], wanted, hand.axes[joints, 0])
        if level == 0:
            following = _turned_back(_product(frames, turn), bones[:, 1])
            twist = _twist(hand, rest_bones, jnp.where(seen[:, 1, None], following, rest_bones[:, 1]))
            turn = _product(turn, axis_angle_to_matrix(twist[:, None] * rest_bones[:, 0]))
        frames = _product(frames, turn)
        vectors = matrix_to_axis_angle(turn)
        angles = angles.at[joints].set(jnp.einsum("jab,jb->ja", hand.axes[joints], vectors, precision=PRECISION))
    return angles.reshape(45)


def shortest_turn(
    source: Float[Array, "turns 3"], target: Float[Array, "turns 3"], spare: Float[Array, "turns 3"]
) -> Float[Array, "turns 3 3"]:
    """The rotation about source x target that takes one unit vector to the other; about `spare` for opposite ones."""
    axis = jnp.cross(source, target)
    sine = jnp.sqrt(jnp.sum(axis * axis, axis=-1))
    angle = jnp.arctan2(sine, jnp.sum(source * target, axis=-1))
    clear = sine > 1e-6
    axis = jnp.where(clear[:, None], axis / jnp.where(clear, sine, 1.0)[:, None], spare)
    return axis_angle_to_matrix(angle[:, None] * axis)


def _twist(hand: KeypointModel, rest_bones: Float[Array, "5 3 3"], following: Float[Array, "5 3"]) -> Float[Array, "5"]:
    """Turn of each finger's first bone about itself that brings the second into the plane it bends in, radians.

    The less the second joint is bent, the less that plane is known, and the smaller the turn.
    """
    along, flexion = rest_bones[:, 0], hand.axes[_BASE_JOINTS + 1, 0]
    palmar = jnp.cross(flexion, along)
    sideways, bent = jnp.sum(following * flexion, axis=-1), jnp.sum(following * palmar, axis=-1)
    angle = -jnp.arctan2(sideways, jnp.maximum(bent, 0.2))
    limits = joint_limits()[_BASE_JOINTS, 2].astype(following.dtype)
    return jnp.clip(jnp.where(bent > 0.0, angle, 0.0), limits[:, 0], limits[:, 1])


def _unit(vectors: Float[Array, "*batch 3"]) -> Float[Array, "*batch 3"]:
    length = jnp.sqrt(jnp.sum(vectors * vectors, axis=-1, keepdims=True))
    fallback = jnp.asarray(np.array([1.0, 0.0, 0.0]), vectors.dtype).reshape((1,) * (vectors.ndim - 1) + (3,))
    return jnp.where(length > 0.0, vectors / jnp.where(length > 0.0, length, 1.0), fallback)


def _product(left: Float[Array, "n 3 3"], right: Float[Array, "n 3 3"]) -> Float[Array, "n 3 3"]:
    return jnp.einsum("nab,nbc->nac", left, right, precision=PRECISION)


def _turned_back(frames: Float[Array, "n 3 3"], vectors: Float[Array, "n 3"]) -> Float[Array, "n 3"]:
    return jnp.einsum("nba,nb->na", frames, vectors, precision=PRECISION)
