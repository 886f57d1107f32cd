"""The hand function once more: plain NumPy, float64, one hand, one joint and one vertex at a time.

Written from the definition (Romero, Tzionas, Black, "Embodied Hands", SIGGRAPH Asia 2017, Eqs. 1-4, and SMPL's), to be
compared with and for nothing else: slow, and meant to be read beside the equations.
"""

import math

import numpy as np

FINGERTIPS = {"745": (745, 317, 444, 556, 673), "744": (744, 320, 443, 554, 671)}
# The canonical keypoints as (joint of the chain) or (fingertip t): thumb, index, middle, ring, little.
CANONICAL = (*(0, 13, 14, 15, "t0", 1, 2, 3, "t1", 4, 5, 6, "t2", 10, 11, 12, "t3", 7, 8, 9, "t4"),)


def rotation_matrix(axis_angle) -> np.ndarray:
    """R = cos t I + sin t [u]x + (1 - cos t) u u^T, [3, 3]."""
    x, y, z = (float(component) for component in axis_angle)
    angle = math.hypot(x, y, z)
    if angle == 0.0:
        return np.eye(3)
    u = np.array([x / angle, y / angle, z / angle])
    cross = np.array([[0.0, -u[2], u[1]], [u[2], 0.0, -u[0]], [-u[1], u[0], 0.0]])
    versine = 2.0 * math.sin(angle / 2.0) ** 2
    return (1.0 - versine) * np.eye(3) + math.sin(angle) * cross + versine * np.outer(u, u)


def hand(arrays, pose, shape, rotation, translation) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices [778, 3], joints [16, 3] and joint rotations [16, 3, 3] of one hand.

    `arrays` under MANO's names; `parents` is the kinematic tree.
    """
    pose, shape = np.asarray(pose, np.float64), np.asarray(shape, np.float64)
    axis_angles = [np.asarray(rotation, np.float64)] + [pose[3 * j : 3 * j + 3] for j in range(15)]
    local = [rotation_matrix(axis_angle) for axis_angle in axis_angles]

    shaped = np.array(arrays["v_template"], np.float64)
    for component, coefficient in enumerate(shape):
        shaped = shaped + coefficient * arrays["shapedirs"][:, :, component]
    rest_joints = arrays["J_regressor"] @ shaped

    rest = shaped.copy()
    for joint in range(1, 16):
        for row in range(3):
            for column in range(3):
                feature = local[joint][row, column] - (1.0 if row == column else 0.0)
                rest = rest + feature * arrays["posedirs"][:, :, 9 * (joint - 1) + 3 * row + column]

    to_world = []
    for joint, parent in enumerate(arrays["parents"]):
        transform = np.eye(4)
        transform[:3, :3] = local[joint]
        transform[:3, 3] = rest_joints[joint] - (rest_joints[parent] if parent >= 0 else 0.0)
        to_world.append(transform if parent < 0 else to_world[parent] @ transform)

    vertices = np.zeros_like(rest)
    for joint in range(16):
        moved = (rest - rest_joints[joint]) @ to_world[joint][:3, :3].T + to_world[joint][:3, 3]
        vertices = vertices + arrays["weights"][:, joint, None] * moved
    joints = np.array([transform[:3, 3] for transform in to_world])
    turns = np.array([transform[:3, :3] for transform in to_world])
    return vertices + np.asarray(translation), joints + np.asarray(translation), turns


def keypoints(arrays, pose, shape, rotation, translation, tips="745") -> np.ndarray:
    """The 21 canonical keypoints [21, 3]."""
    vertices, joints, _ = hand(arrays, pose, shape, rotation, translation)
    return np.array(
        [vertices[FINGERTIPS[tips][int(entry[1])]] if isinstance(entry, str) else joints[entry] for entry in CANONICAL]
    )
