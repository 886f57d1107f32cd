"""Named poses of the open hand as anatomical angles, free of deep contact: for pictures, tests and first steps."""

import numpy as np

from mano_jax.open_hand_model import measures

# Per finger and joint (flexion, abduction, twist) in radians, see `measures.joint_axes`; a number alone is a flexion.
_STRAIGHT = (0.0, 0.0, 0.0)
_FIST = {
    "index": ((1.21, 0.04, -0.01), 1.63, 0.95),
    "middle": ((1.39, 0.05, -0.03), 1.76, 0.99),
    "ring": ((1.41, -0.02, -0.02), 1.63, 0.94),
    "little": ((1.37, -0.01, -0.02), 1.52, 0.85),
    "thumb": ((0.23, 0.94, -0.31), 0.67, 1.30),
}
ANGLES: dict[str, dict[str, tuple]] = {
    "open": {},
    "half_closed": {
        "index": (0.60, 0.80, 0.50),
        "middle": (0.65, 0.85, 0.50),
        "ring": (0.65, 0.90, 0.50),
        "little": (0.65, 0.80, 0.50),
        "thumb": ((0.10, 0.30, 0.0), 0.20, 0.30),
    },
    "fist": _FIST,
    "point": {
        "index": (0.05, 0.05, 0.05),
        "middle": ((1.37, 0.05, -0.02), 1.78, 0.99),
        "ring": ((1.42, -0.02, 0.0), 1.63, 0.93),
        "little": ((1.37, 0.0, -0.02), 1.52, 0.86),
        "thumb": ((0.22, 1.0, -0.38), 0.65, 1.31),
    },
    "pinch": {
        "index": ((0.93, -0.01, 0.08), 0.81, 0.41),
        "middle": (0.50, 0.50, 0.30),
        "ring": (0.35, 0.40, 0.20),
        "little": (0.30, 0.30, 0.20),
        "thumb": ((0.25, 0.65, -0.13), 0.24, 0.39),
    },
    "spread": {
        "index": ((0.0, 0.22, 0.0), 0.0, 0.0),
        "middle": ((0.0, 0.03, 0.0), 0.0, 0.0),
        "ring": ((0.0, -0.15, 0.0), 0.0, 0.0),
        "little": ((0.0, -0.30, 0.0), 0.0, 0.0),
        "thumb": ((-0.30, 0.10, 0.0), -0.10, -0.20),
    },
    "relaxed": {
        "index": (0.25, 0.40, 0.15),
        "middle": (0.35, 0.50, 0.20),
        "ring": (0.42, 0.55, 0.22),
        "little": (0.45, 0.50, 0.22),
        "thumb": ((0.05, 0.20, 0.0), 0.15, 0.20),
    },
    "victory": {
        "index": ((-0.07, 0.21, -0.01), -0.05, 0.01),
        "middle": ((-0.07, -0.10, -0.01), -0.05, 0.01),
        "ring": ((1.34, -0.02, 0.0), 1.53, 0.89),
        "little": ((1.29, -0.02, -0.02), 1.44, 0.82),
        "thumb": ((0.44, 0.94, -0.38), 0.63, 0.79),
    },
    "hook": {
        "index": (0.10, 1.45, 0.90),
        "middle": (0.10, 1.50, 0.90),
        "ring": (0.10, 1.50, 0.90),
        "little": (0.10, 1.40, 0.85),
        "thumb": ((-0.10, 0.10, 0.0), 0.0, 0.10),
    },
    "thumbs_up": {
        "index": ((1.32, 0.01, -0.01), 1.70, 0.96),
        "middle": ((1.43, -0.01, 0.0), 1.71, 0.94),
        "ring": ((1.43, -0.01, -0.01), 1.63, 0.93),
        "little": ((1.37, 0.0, -0.02), 1.52, 0.86),
        "thumb": ((-0.40, -0.30, 0.0), -0.20, -0.30),
    },
}


def named_pose(name: str) -> np.ndarray:
    """[45] axis-angle from the flat hand, right side, of one of `ANGLES`.

    Raises:
      ValueError: there is no pose of that name.
    """
    if name not in ANGLES:
        raise ValueError(f"pose must be one of {sorted(ANGLES)}, got {name!r}")
    angles = np.zeros((16, 3))
    for finger, first in measures.FIRST_JOINT.items():
        for joint, value in enumerate(ANGLES[name].get(finger, _STRAIGHT)):
            angles[first + joint] = value if isinstance(value, tuple) else (value, 0.0, 0.0)
    return np.einsum("ja,jac->jc", angles, measures.joint_axes())[1:].reshape(45)
