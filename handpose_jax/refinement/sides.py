"""Left or right: which side's fit to keep when the side is not known.

Seen from far away, a left hand and the right hand that is its mirror image in depth project to the same points: a left
palm and a right back of the hand, fingers bent towards and away from the camera. Keypoints tell them apart only by
perspective, a few pixels, which a detector's noise can outweigh. One hand alone goes to the cheaper fit. In a batch
the share of left hands is unknown but common: it is estimated with the sides themselves, so that in frames of one
person clear ones help the unclear, while a mixed batch is decided hand by hand.
"""

import numpy as np
from jaxtyping import Float

_ITERATIONS = 200
_TEMPERATURE = 2.0
"""Divides differences of costs. They add up over keypoints as if each erred on its own; those of one hand err together
(all of a finger, all by a detector's habit), so that the costs claim to know more than they do."""


def choose_sides(left_costs: Float[np.ndarray, "hands"], right_costs: Float[np.ndarray, "hands"]) -> np.ndarray:
    """Side ("left" or "right") of each hand, from the costs (negative log posteriors) of both fits.

    Expectation-maximisation of a two-component mixture whose only unknown is the share of left hands, with Jeffreys'
    prior on it. For one hand the estimate falls on the cheaper side. Hands without both finite costs do not take part
    in the estimate.
    """
    with np.errstate(invalid="ignore"):
        margins = (np.asarray(right_costs, np.float64) - np.asarray(left_costs, np.float64)) / _TEMPERATURE
    compared = margins[np.isfinite(margins)]
    log_odds = 0.0
    for _ in range(_ITERATIONS):
        left = (_logistic(compared + log_odds).sum() + 0.5) / (len(compared) + 1.0)
        log_odds = np.log(left) - np.log1p(-left)
    # Infinite margins, where one fit failed, keep their sign.
    return np.where(np.nan_to_num(margins, nan=0.0) + log_odds > 0.0, "left", "right")


def _logistic(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1.0 + np.tanh(0.5 * x))
