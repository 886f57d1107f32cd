"""Named joint orders and fingertip vertices: the tables that turn a mesh and its chain into 21 keypoints.

The canonical order of the 21 keypoints (FreiHAND, OpenPose): 0 wrist, then thumb, index, middle, ring, little, each
from base to tip. The model's own 16 joints come in MANO's order.
"""

import numpy as np

MODEL_JOINT_NAMES = (
    "wrist",
    *("index_mcp", "index_pip", "index_dip"),
    *("middle_mcp", "middle_pip", "middle_dip"),
    *("little_mcp", "little_pip", "little_dip"),
    *("ring_mcp", "ring_pip", "ring_dip"),
    *("thumb_cmc", "thumb_mcp", "thumb_ip"),
)
"""The 16 joints of the kinematic tree, in MANO's order."""

MODEL_PARENTS = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14)
"""Parent of each of the 16 joints; -1 for the root."""

KEYPOINT_NAMES = (
    "wrist",
    *("thumb_cmc", "thumb_mcp", "thumb_ip", "thumb_tip"),
    *("index_mcp", "index_pip", "index_dip", "index_tip"),
    *("middle_mcp", "middle_pip", "middle_dip", "middle_tip"),
    *("ring_mcp", "ring_pip", "ring_dip", "ring_tip"),
    *("little_mcp", "little_pip", "little_dip", "little_tip"),
)
"""The 21 keypoints in canonical order."""

KEYPOINT_PARENTS = (-1, 0, 1, 2, 3, 0, 5, 6, 7, 0, 9, 10, 11, 0, 13, 14, 15, 0, 17, 18, 19)
"""Parent of each of the 21 keypoints; drawing a line to it draws the skeleton."""

FINGERTIP_NAMES = ("thumb_tip", "index_tip", "middle_tip", "ring_tip", "little_tip")

FINGERTIP_VERTICES = {"745": (745, 317, 444, 556, 673), "744": (744, 320, 443, 554, 671)}
"""Two conventions in use for the fingertip vertices (thumb to little), named by the thumb's vertex.

Official left-hand files are not an exact mirror of the right: there the middle fingertip of "745" is vertex 445.
"""

CANONICAL_FROM_MODEL_AND_TIPS = (0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20)
"""Index into [16 model joints, 5 fingertips] of each of the 21 canonical keypoints."""

_RHD = (0, 4, 3, 2, 1, 8, 7, 6, 5, 12, 11, 10, 9, 16, 15, 14, 13, 20, 19, 18, 17)
_INTERHAND = (20, 3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12, 19, 18, 17, 16)
_STB = (0, 17, 18, 19, 20, 13, 14, 15, 16, 9, 10, 11, 12, 5, 6, 7, 8, 1, 2, 3, 4)
_MSRA = (0, 17, 18, 19, 20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16)
_BIGHAND = (0, 1, 6, 7, 8, 2, 9, 10, 11, 3, 12, 13, 14, 4, 15, 16, 17, 5, 18, 19, 20)

CANONICAL_FROM_ORDER = {
    **{name: tuple(range(21)) for name in ("canonical", "freihand", "openpose", "mediapipe", "coco_wholebody")},
    **{name: CANONICAL_FROM_MODEL_AND_TIPS for name in ("mano", "ho3d")},
    "rhd": _RHD,
    "interhand": _INTERHAND,
    "stb": _STB,
    "msra": _MSRA,
    "bighand": _BIGHAND,
}
"""For each named order of one hand's 21 keypoints, where in it each of the canonical 21 is.

Sources: the data sets' own readers. `mano` is the model's 16 joints, then the tips thumb to little, as smplx puts them;
`rhd` and `interhand` are one of the 21-row halves of these sets' 42 rows (InterHand2.6M: the right hand comes first, in
RHD the left); `bighand` is that of HANDS 2017 and FPHA too. In `stb` the keypoint in the wrist's place is the centre of
the palm.
"""


def reorder_keypoints(points, source: str, target: str = "canonical"):
    """Keypoints of one named order in another; units and frame stay.

    Args:
      points: [*batch, 21, channels], a NumPy or JAX array, which the result is then too.
      source: the order they are in, one of `CANONICAL_FROM_ORDER`.
      target: the order wanted.

    Raises:
      ValueError: no order of that name, or not 21 keypoints.
    """
    for name in (source, target):
        if name not in CANONICAL_FROM_ORDER:
            raise ValueError(f"keypoint order must be one of {', '.join(CANONICAL_FROM_ORDER)}, got {name!r}")
    if points.ndim < 2 or points.shape[-2] != 21:
        raise ValueError(f"points must have shape [..., 21, channels], got {list(points.shape)}")
    place_in_source = CANONICAL_FROM_ORDER[source]
    target_order = [CANONICAL_FROM_ORDER[target].index(place) for place in range(21)]
    return points[..., np.array([place_in_source[keypoint] for keypoint in target_order]), :]
