"""Everything fitted through a camera. First: hands from 21 keypoints, thousands at once."""

from handpose_jax.refinement.batch import AUTO, HandFits, KeypointBatch, fit_hands
from handpose_jax.refinement.keypoint_fit import FittedHand, fit_image_keypoints, fit_space_keypoints
from handpose_jax.refinement.options import FitOptions

__all__ = [
    "AUTO",
    "FitOptions",
    "FittedHand",
    "HandFits",
    "KeypointBatch",
    "fit_hands",
    "fit_image_keypoints",
    "fit_space_keypoints",
]
