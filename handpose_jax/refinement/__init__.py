"""Everything fitted through a camera. First: hands from 21 keypoints, thousands at once."""

from handpose_jax.refinement.batch import AUTO, HandFits, KeypointBatch, fit_hands
from handpose_jax.refinement.keypoint_fit import (
    FittedHand,
    fit_image_keypoints,
    fit_space_keypoints,
    fit_view_keypoints,
)
from handpose_jax.refinement.options import FitOptions
from handpose_jax.refinement.sequence_fit import SequenceOptions
from handpose_jax.refinement.sequences import SequenceFits, fit_sequence
from handpose_jax.refinement.views import CameraViews

__all__ = [
    "AUTO",
    "CameraViews",
    "FitOptions",
    "FittedHand",
    "HandFits",
    "KeypointBatch",
    "SequenceFits",
    "SequenceOptions",
    "fit_hands",
    "fit_image_keypoints",
    "fit_sequence",
    "fit_space_keypoints",
    "fit_view_keypoints",
]
