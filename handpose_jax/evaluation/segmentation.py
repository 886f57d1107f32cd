"""The four segmentation criteria of two classes, hand and background, and the hand's IoU.

The paper compares masks by "4 segmentation criteria" without naming them; these are the usual four [derived], after
Long, Shelhamer, Darrell, "Fully convolutional networks for semantic segmentation", CVPR 2015, Sec. 5.
"""

import numpy as np
from jaxtyping import Bool, Float

CRITERIA = ("pixel_accuracy", "mean_accuracy", "mean_iou", "frequency_weighted_iou", "hand_iou")


def segmentation_criteria(
    prediction: Bool[np.ndarray, "frames height width"], truth: Bool[np.ndarray, "frames height width"]
) -> dict[str, Float[np.ndarray, "frames"]]:
    """Each criterion of each image, in [0, 1]; means over classes leave out a class that the truth has not.

    hand_iou is 1 where neither mask holds a pixel.

    Raises:
      ValueError: the shapes differ or are not [frames, height, width].
    """
    prediction, truth = np.asarray(prediction, bool), np.asarray(truth, bool)
    if prediction.shape != truth.shape or truth.ndim != 3:
        raise ValueError(f"masks must both be [frames, height, width], got {prediction.shape} and {truth.shape}")
    # Class 0 is the hand, class 1 the background.
    right = np.stack([(prediction & truth).sum(axis=(1, 2)), (~prediction & ~truth).sum(axis=(1, 2))])
    total = np.stack([truth.sum(axis=(1, 2)), (~truth).sum(axis=(1, 2))])
    union = total + np.stack([(prediction & ~truth).sum(axis=(1, 2)), (~prediction & truth).sum(axis=(1, 2))])
    present, pixels = total > 0, total.sum(axis=0)
    accuracy = right / np.maximum(total, 1)
    iou = np.where(union > 0, right / np.maximum(union, 1), 1.0)
    return {
        "pixel_accuracy": right.sum(axis=0) / pixels,
        "mean_accuracy": (accuracy * present).sum(axis=0) / present.sum(axis=0),
        "mean_iou": (iou * present).sum(axis=0) / present.sum(axis=0),
        "frequency_weighted_iou": (iou * total).sum(axis=0) / pixels,
        "hand_iou": iou[0],
    }
