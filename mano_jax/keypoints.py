"""Named joint orders and fingertip vertices: the tables that turn a mesh and its chain into 21 keypoints.

The canonical order of the 21 keypoints (FreiHAND, OpenPose): 0 wrist, then thumb, index, middle, ring, little, each
from base to tip. The model's own 16 joints come in MANO's order.
"""

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
