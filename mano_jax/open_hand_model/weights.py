"""Skinning weights: how much of each joint's motion a vertex follows, from its distance to the joints' planes."""

import numpy as np

from mano_jax.open_hand_model import flesh, surface
from mano_jax.open_hand_model import measures as anatomy
from mano_jax.open_hand_model.measures import FINGER_NAMES, FINGERS, FIRST_JOINT
from mano_jax.open_hand_model.mesh import HandMesh
from mano_jax.open_hand_model.topology import neighbour_matrix

# Half the width, in millimetres, of the band across which a joint's motion sets in: its three joints, base to tip.
BANDS = {
    "thumb": (16.0, 9.0, 7.5),
    "index": (10.0, 7.0, 6.0),
    "middle": (10.0, 7.0, 6.0),
    "ring": (10.0, 7.0, 6.0),
    "little": (9.0, 6.0, 5.0),
}
MCP_SHIFT = 3.0  # the knuckles' band lies a little distal of the joint: the skin over it belongs to the palm


def smoothstep(value: np.ndarray) -> np.ndarray:
    value = np.clip(value, 0.0, 1.0)
    return value * value * (3.0 - 2.0 * value)


def joint_shares(points: np.ndarray, name: str) -> np.ndarray:
    """[N, 3]: how far each of the finger's joints has taken hold at points [N, 3], 0 before it to 1 beyond it."""
    finger = FINGERS[name]
    frames, joints = anatomy.bone_frames(finger), anatomy.finger_points(finger)
    shares = []
    for joint in range(3):
        normal = frames[joint, 0] + (frames[joint - 1, 0] if joint else 0.0)
        normal = normal / np.linalg.norm(normal)
        shift = MCP_SHIFT if joint == 0 and name != "thumb" else 0.0
        along = (points - joints[joint]) @ normal - shift
        shares.append(smoothstep(along / (2 * BANDS[name][joint]) + 0.5))
    return np.stack(shares, -1)


def skinning_weights(mesh: HandMesh, groups: list) -> np.ndarray:
    """[778, 16]: at most four joints a vertex, rows sum to 1."""
    points = mesh.vertices
    distances = np.stack([surface.blend(group, points) for group in groups[1:]], -1)
    metacarpals = np.min([surface.distance(limb, points) for limb in flesh.metacarpal_bodies(flesh.Measures())], 0)
    # The palm near the webs follows the fingers it is near to.
    member = np.exp(-(distances - distances[:, 1:].min(1, keepdims=True)) / 2.5)
    member[:, 1:] /= member[:, 1:].sum(1, keepdims=True)
    # The thumb's metacarpal has no border with the palm: its hold fades with the distance to it and to the others.
    member[:, 0] = smoothstep((metacarpals - distances[:, 0] + 12.0) / 26.0)
    weights = np.zeros((len(points), 16))
    for number, name in enumerate(FINGER_NAMES):
        share = joint_shares(points, name)
        own = np.where(mesh.part == 0, member[:, number], mesh.part == number + 1)
        if name != "thumb":
            own = own * np.where(mesh.part == 0, 1.0 - weights[:, 13:16].sum(1), 1.0)
        hold = own * share[:, 0]
        first = FIRST_JOINT[name]
        weights[:, first] = hold * (1 - share[:, 1])
        weights[:, first + 1] = hold * share[:, 1] * (1 - share[:, 2])
        weights[:, first + 2] = hold * share[:, 1] * share[:, 2]
    weights[:, 0] = np.maximum(1.0 - weights[:, 1:].sum(1), 0.0)
    weights /= weights.sum(1, keepdims=True)

    joined = neighbour_matrix(mesh.faces, len(points))
    degree = np.asarray(joined.sum(1)).ravel()[:, None]
    for _ in range(2):  # smooth where the palm and several fingers meet; rings on the fingers are right as they are
        smooth = 0.5 * weights + 0.5 * (joined @ weights) / degree
        weights = np.where((weights[:, :1] > 0.02) & (mesh.part == 0)[:, None], smooth, weights)
    smallest_kept = np.sort(weights, 1)[:, -4][:, None]
    weights = np.where((weights >= smallest_kept) & (weights > 1e-4), weights, 0.0)
    return weights / weights.sum(1, keepdims=True)
