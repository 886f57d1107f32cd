"""Mean and covariance of plausible poses of the open hand, derived from tracked hand motion.

`python -m mano_jax.open_hand_model.pose_statistics --poses=animbank.pose` writes `pose_statistics.npz`, which is
committed; the tracked poses themselves are not. They come from IntelRealSense/hand_tracking_samples (`datasets`,
Apache License 2.0, see NOTICE in this folder): 2,336 poses of a right hand, one a line, 17 bones (wrist, palm, then
three of each finger from the thumb to the little one) as position and quaternion (x, y, z, w).

In that rig each bone has its own frame: x radial (the fingers' flexion axis), y dorsal, z distal; the thumb flexes
about -y. Bones turn about fixed pivots, which are found here by least squares; so the positions of all joints are
known in each frame, and a pose of the open hand is the one whose bones point the same way, seen from the palm.
"""

import argparse
import itertools
import pathlib

import numpy as np
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from mano_jax.open_hand_model import measures

BONES = {"thumb": (2, 3, 4), "index": (5, 6, 7), "middle": (8, 9, 10), "ring": (11, 12, 13), "little": (14, 15, 16)}
PALM = 1
STATISTICS_PATH = pathlib.Path(__file__).parent / "pose_statistics.npz"

# Standard deviations (radians) added to the tracked ones, as (flexion, abduction, twist) of the first, second and third
# joint of a finger. [guess] The rig holds its hinges exactly and drives each DIP from its PIP, at most to 0.79; real
# hands do neither, and a prior that is certain of a direction forbids it.
ADDED_DEVIATIONS = ((0.10, 0.08, 0.08), (0.10, 0.03, 0.03), (0.20, 0.03, 0.03))
ADDED_THUMB_DEVIATIONS = ((0.15, 0.15, 0.12), (0.15, 0.08, 0.08), (0.20, 0.03, 0.05))


def read_tracked_poses(path: str | pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    """Positions [poses, 17, 3] in metres and rotations [poses, 17, 3, 3] of the bones of a `.pose` file."""
    table = np.loadtxt(path).reshape(-1, 17, 7)
    matrices = Rotation.from_quat(table[..., 3:].reshape(-1, 4)).as_matrix()
    return table[..., :3], matrices.reshape(-1, 17, 3, 3)


def pivot(positions: np.ndarray, rotations: np.ndarray, parent: int, child: int) -> np.ndarray:
    """The point, in the parent's frame, that both bones agree on in all poses: p_a + R_a x = p_b + R_b y.

    Along a hinge's axis the point is not determined; the least-norm solution puts it nearest to both bones' centres.
    """
    lhs = np.concatenate([rotations[:, parent], -rotations[:, child]], -1).reshape(-1, 6)
    rhs = (positions[:, child] - positions[:, parent]).reshape(-1)
    return np.linalg.lstsq(lhs, rhs, rcond=1e-3)[0][:3]


def palm_frame(positions: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """[3, 3]: the rotation from the rig's palm frame to the anatomical frame that lays MCPs on MCPs, wrist on wrist."""
    wrist = pivot(positions, rotations, PALM, 0)
    names = measures.FINGER_NAMES[1:]
    tracked = np.stack([pivot(positions, rotations, PALM, BONES[name][0]) - wrist for name in names])
    ours = np.stack([measures.FINGERS[name].base for name in names])
    return Rotation.align_vectors(ours, tracked)[0].as_matrix()


def bone_frames_in_palm(positions: np.ndarray, rotations: np.ndarray) -> dict[str, np.ndarray]:
    """For each finger [poses, 3, 3, 3]: columns (distal direction, flexion axis, dorsal) of its bones, anatomical
    frame."""
    to_anatomical = palm_frame(positions, rotations)
    frames = {}
    for name, bones in BONES.items():
        flexion = np.array([0.0, -1.0, 0.0]) if name == "thumb" else np.array([1.0, 0.0, 0.0])
        starts = [pivot(positions, rotations, PALM, bones[0])] + [
            pivot(positions, rotations, parent, child) for parent, child in itertools.pairwise(bones)
        ]
        per_bone = []
        for index, bone in enumerate(bones):
            if index == 2:
                direction = np.array([0.0, 0.0, 1.0])
            else:
                parent = PALM if index == 0 else bones[index - 1]
                ends = positions[:, bone, :] + rotations[:, bone] @ starts[index + 1]
                begins = positions[:, parent] + rotations[:, parent] @ starts[index]
                direction = np.mean(np.einsum("nij,ni->nj", rotations[:, bone], ends - begins), 0)
            if name != "thumb":
                direction = direction * np.array([0.0, 1.0, 1.0])  # along the hinge the pivots are not determined
            direction = direction / np.linalg.norm(direction)
            axis = flexion - (flexion @ direction) * direction
            axis /= np.linalg.norm(axis)
            local = np.stack([direction, axis, np.cross(direction, axis)], -1)
            palm_from_bone = np.swapaxes(rotations[:, PALM], -1, -2) @ rotations[:, bone]
            per_bone.append(to_anatomical @ palm_from_bone @ local)
        frames[name] = np.stack(per_bone, 1)
    return frames


def finger_rotations(frames: np.ndarray, finger: measures.Finger) -> np.ndarray:
    """[poses, 3, 3, 3] rotations of a finger's joints that turn its rest frames into `frames`, anatomical frame."""
    rest = np.swapaxes(measures.bone_frames(finger), -1, -2)  # columns (direction, flexion, dorsal)
    world = frames @ np.swapaxes(rest, -1, -2)
    parents = np.concatenate([np.broadcast_to(np.eye(3), world[:, :1].shape), world[:, :-1]], 1)
    return np.swapaxes(parents, -1, -2) @ world


def thumb_rotations(frames: np.ndarray, finger: measures.Finger) -> np.ndarray:
    """Like `finger_rotations`, but only the bones' directions count.

    The rig's metacarpal lies 19 degrees out of the plane in which the thumb flexes, a quirk that would come out as a
    constant sideways bend of the MCP. Instead the joint angles nearest to hinges are found that point the bones the
    same way.
    """
    rest = measures.bone_frames(finger)
    weights = np.array([[0.05, 0.05, 0.15], [0.05, 0.4, 0.4], [0.05, 1.0, 1.0]])

    def chain(angles: np.ndarray) -> np.ndarray:
        world, rotations = np.eye(3), []
        for joint in range(3):
            world = world @ Rotation.from_rotvec(_axes(rest[joint]).T @ angles[joint]).as_matrix()
            rotations.append(world)
        return np.stack(rotations)

    def residuals(flat: np.ndarray, target: np.ndarray) -> np.ndarray:
        angles = flat.reshape(3, 3)
        directions = np.einsum("jab,jb->ja", chain(angles), rest[:, 0])
        return np.concatenate([3.0 * (directions - target).ravel(), (weights * angles).ravel()])

    results, start = [], np.zeros(9)
    for target in frames[..., 0]:
        start = least_squares(residuals, start, args=(target,), method="lm").x
        results.append([Rotation.from_rotvec(_axes(rest[j]).T @ start.reshape(3, 3)[j]).as_matrix() for j in range(3)])
    return np.array(results)


def _axes(frame: np.ndarray) -> np.ndarray:
    """Rows (flexion, abduction, twist) of a bone frame (direction, flexion, dorsal)."""
    return frame[[1, 2, 0]]


def open_hand_poses(path: str | pathlib.Path) -> np.ndarray:
    """[poses, 45]: tracked poses as poses of the open right hand, axis-angle from the flat hand, model frame."""
    frames = bone_frames_in_palm(*read_tracked_poses(path))
    poses = np.zeros((len(frames["index"]), 15, 3))
    for name, first in measures.FIRST_JOINT.items():
        convert = thumb_rotations if name == "thumb" else finger_rotations
        rotations = convert(frames[name], measures.FINGERS[name])
        vectors = Rotation.from_matrix(rotations.reshape(-1, 3, 3)).as_rotvec().reshape(-1, 3, 3)
        poses[:, first - 1 : first + 2] = measures.rotate_to_model_frame(vectors)
    return poses.reshape(-1, 45)


def added_covariance() -> np.ndarray:
    """[45, 45]: what `ADDED_DEVIATIONS` say, turned from anatomical axes into the model's."""
    axes = measures.joint_axes()
    covariance = np.zeros((45, 45))
    for name, first in measures.FIRST_JOINT.items():
        deviations = ADDED_THUMB_DEVIATIONS if name == "thumb" else ADDED_DEVIATIONS
        for offset in range(3):
            joint = first + offset
            block = axes[joint].T @ np.diag(np.square(deviations[offset])) @ axes[joint]
            covariance[3 * (joint - 1) : 3 * joint, 3 * (joint - 1) : 3 * joint] = block
    return covariance


def main() -> None:
    parser = argparse.ArgumentParser(description="Derive the pose statistics of the open hand.")
    parser.add_argument("--poses", required=True, help="animbank.pose of IntelRealSense/hand_tracking_samples")
    parser.add_argument("--out", type=pathlib.Path, default=STATISTICS_PATH)
    arguments = parser.parse_args()
    poses = open_hand_poses(arguments.poses)
    covariance = np.cov(poses, rowvar=False) + added_covariance()
    np.savez(arguments.out, mean=poses.mean(0).astype(np.float32), covariance=covariance.astype(np.float32))
    print(f"{len(poses)} poses -> {arguments.out}")


if __name__ == "__main__":
    main()
