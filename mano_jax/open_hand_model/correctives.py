"""Pose correctives: what skinning does wrong, learnt from the surface that the posed skeleton carries.

Skinned vertices are projected onto the bodies of their own bone and its neighbours in the tree, posed; the difference,
turned back to rest, is regressed on R - I of the joints nearby, the feature that MANO's function uses.
"""

from collections.abc import Callable

import numpy as np

from mano_jax.open_hand_model import flesh, posing, surface
from mano_jax.open_hand_model import measures as anatomy
from mano_jax.open_hand_model.measures import FINGER_NAMES, FIRST_JOINT
from mano_jax.open_hand_model.topology import neighbour_matrix

POSES = 200
FURTHEST = 9.0  # millimetres a vertex may be corrected
RIDGE = 0.05  # in units of the features' mean square, times the number of poses
FLESH_BULGE = 0.15  # how much deeper the palmar side of a bone gets when the joint at its base or end is bent by 1.5


def training_poses(seed: int = 0) -> np.ndarray:
    """[POSES, 16, 3] axis-angle, anatomical frame: flexion over its whole range, the rest within half of its range."""
    generator = np.random.default_rng(seed)
    axes, limits = anatomy.joint_axes(), anatomy.joint_limits()
    middle, half = limits.mean(-1), np.ptp(limits, axis=-1) / 2
    unit = generator.uniform(-1, 1, (POSES, 16, 3)) * (1.0, 0.6, 0.3)
    # A finger's joints bend together more often than not; and a tenth of the poses are near the flat hand.
    curl = generator.uniform(-1, 1, (POSES, 5))
    for number, name in enumerate(FINGER_NAMES[1:], 1):
        first = FIRST_JOINT[name]
        own = unit[:, first : first + 3, 0]
        unit[:, first : first + 3, 0] = np.clip(0.7 * curl[:, number, None] + 0.5 * own, -1, 1)
    angles = middle + half * unit
    angles[: POSES // 10] *= 0.15
    angles[:, 0] = 0.0
    return anatomy.rotate_from_model_frame(np.einsum("pja,jac->pjc", angles, axes))


def _carried(parts, count: int, turned: np.ndarray, moved: np.ndarray, bulge: Callable) -> Callable:
    """A field of points [P * count, 3] for bodies posed by (turned, moved): evaluated where the points were at rest."""

    def field(points: np.ndarray) -> np.ndarray:
        points = points.reshape(len(turned), count, 3)
        total = np.full(points.shape[:2], np.inf)
        for number, (limb, radius) in enumerate(parts):
            rotation, shift = turned[:, limb.joint], moved[:, limb.joint]
            at_rest = np.einsum("pba,pvb->pva", rotation, points - shift[:, None])
            if limb.share < 1.0:  # bodies that follow half of a rotation: halfway between their joint and the palm
                at_rest = limb.share * at_rest + (1 - limb.share) * points
            here = surface.distance(limb, at_rest.reshape(-1, 3)).reshape(len(turned), count)
            here = here - bulge(limb, at_rest)
            total = surface.smooth_minimum(total, here, radius) if number else here
        return total.ravel()

    return field


def _flesh_bulge(flexion: np.ndarray):
    """Millimetres by which bent flesh stands out on a bone's palmar side, for `_carried`."""

    def bulge(limb: surface.Body, at_rest: np.ndarray) -> np.ndarray:
        bent = flexion[:, limb.joint] if limb.joint else np.zeros(len(flexion))
        if limb.joint % 3:  # not the last bone: the joint at its end counts too
            bent = bent + flexion[:, limb.joint + 1]
        amount = FLESH_BULGE * np.clip(bent / 1.5, 0.0, 1.3)
        height = (at_rest - limb.origin) @ limb.frame[2]
        below = np.clip(-height / limb.palmar.mean(), 0.0, 1.0)
        return amount[:, None] * limb.palmar.mean() * below

    return bulge


def pose_correctives(vertices: np.ndarray, faces: np.ndarray, part: np.ndarray, weights: np.ndarray, groups: list):
    """[778, 3, 135] millimetres per unit of R - I (15 finger joints, row-major), anatomical frame in and out."""
    joints = np.zeros((16, 3))
    for name, first in FIRST_JOINT.items():
        joints[first : first + 3] = anatomy.finger_points(anatomy.FINGERS[name])[:3]
    poses = training_poses()
    poses[0] = 0.0  # the flat hand, whose residual is subtracted
    rotations = posing.rotation_matrices(poses)
    turned, moved = posing.joint_transforms(rotations, joints)
    skinned, blended = posing.skin(vertices, weights, turned, moved)
    flexion = np.einsum("pjc,jc->pj", poses, anatomy.rotate_from_model_frame(anatomy.joint_axes()[:, 0]))
    bulge = _flesh_bulge(flexion)

    corrected = skinned.copy()
    for chosen, bodies in _territories(part, weights, groups):
        field = _carried(bodies, len(chosen), turned, moved, bulge)
        start = skinned[:, chosen].reshape(-1, 3)
        corrected[:, chosen] = surface.project(field, start, 8, FURTHEST).reshape(len(poses), -1, 3)
    back_to_rest = np.linalg.inv(blended)
    wanted = np.einsum("pvab,pvb->pva", back_to_rest, corrected - skinned)
    wanted = wanted - wanted[:1]
    return _regress(wanted, rotations, vertices, faces, weights, joints)


def _territories(part: np.ndarray, weights: np.ndarray, groups: list):
    """Yield (vertices, the bodies they are to lie on): of their own bone, the one before and the one after."""
    palm = groups[0]
    fingers: dict[str, list] = dict(zip(FINGER_NAMES, groups[1:], strict=True))
    main = np.argmax(weights, 1)
    for name, first in FIRST_JOINT.items():
        own, melt = fingers[name], flesh.BLEND_WITH_PALM[name]
        on_finger = part == FINGER_NAMES.index(name) + 1
        for bone in range(3):
            chosen = np.flatnonzero(on_finger & (np.where(main == 0, 0, main - first) == bone))
            bodies = own[max(bone - 1, 0) : bone + 2]
            if bone == 0 or (name == "thumb" and bone == 1):
                bodies = [*palm, (bodies[0][0], melt), *bodies[1:]]
            if len(chosen):
                yield chosen, bodies
    # The palm meets every finger's first bone (of the thumb, two).
    first_bones = [(fingers[name][0][0], flesh.BLEND_WITH_PALM[name]) for name in FINGER_NAMES]
    yield np.flatnonzero(part == 0), [*palm, first_bones[0], fingers["thumb"][1], *first_bones[1:]]


def _regress(wanted, rotations, vertices, faces, weights, joints):
    """Ridge regression of [P, V, 3] on R - I of the joints that hold a vertex or are close to it."""
    features = (rotations[:, 1:] - np.eye(3)).reshape(len(rotations), 15, 9)
    near = (weights[:, 1:] > 0.02) | (np.linalg.norm(vertices[:, None] - joints[None, 1:], axis=-1) < 16.0)
    basis = np.zeros((len(vertices), 3, 15, 9))
    patterns, which = np.unique(near, axis=0, return_inverse=True)
    for number, pattern in enumerate(patterns):
        if not pattern.any():
            continue
        chosen = np.flatnonzero(which.ravel() == number)
        table = features[:, pattern].reshape(len(rotations), -1)
        gram = table.T @ table
        gram += RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
        solved = np.linalg.solve(gram, table.T @ wanted[:, chosen].reshape(len(rotations), -1))
        basis[np.ix_(chosen, np.arange(3), np.flatnonzero(pattern), np.arange(9))] = solved.reshape(
            pattern.sum(), 9, len(chosen), 3
        ).transpose(2, 3, 0, 1)
    # A light smoothing over the mesh: neighbours that were projected onto different bodies agree again.
    joined = neighbour_matrix(faces, len(vertices))
    degree = np.asarray(joined.sum(1)).ravel()[:, None]
    flat = basis.reshape(len(vertices), -1)
    flat = 0.75 * flat + 0.25 * (joined @ flat) / degree
    return flat.reshape(len(vertices), 3, 135)
