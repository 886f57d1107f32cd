"""Shares of joints within a distance (PCK), and the area under that curve."""

import numpy as np
from jaxtyping import Bool, Float

AUC_RANGE_MM = (20.0, 50.0)
"""The range in which the field reports the area."""


def percentage_of_correct_keypoints(
    errors: Float[np.ndarray, "frames joints"], known: Bool[np.ndarray, "frames joints"], thresholds: np.ndarray
) -> Float[np.ndarray, "thresholds"]:
    """Share of the known joints whose error is at most each threshold; NaN where no joint is known.

    A known joint without a finite error (nothing was predicted) counts as wrong at every threshold.

    Args:
      errors: in the thresholds' unit.
      known: whether there is a truth.
      thresholds: in increasing order or not.
    """
    chosen = _sorted(errors, known)
    if not len(chosen):
        return np.full(len(thresholds), np.nan)
    return np.searchsorted(chosen, np.asarray(thresholds, np.float64), side="right") / len(chosen)


def area_under_curve(
    errors: Float[np.ndarray, "frames joints"],
    known: Bool[np.ndarray, "frames joints"],
    low: float = AUC_RANGE_MM[0],
    high: float = AUC_RANGE_MM[1],
) -> float:
    """Mean of the PCK between two thresholds: the exact area under the step curve over its width, in [0, 1].

    Programs that sum over a grid of thresholds differ from it by the grid.

    Args:
      errors: millimetres.
      known: whether there is a truth.
      low, high: millimetres.

    Raises:
      ValueError: low is not below high.
    """
    if not low < high:
        raise ValueError(f"the area under a curve needs low < high, got {low:g} and {high:g}")
    chosen = _sorted(errors, known)
    if not len(chosen):
        return float("nan")
    # A joint with error e is counted from e on: (high - e) / (high - low) of the range.
    return float(np.mean(np.clip((high - chosen) / (high - low), 0.0, 1.0)))


def _sorted(errors: np.ndarray, known: np.ndarray) -> np.ndarray:
    chosen = np.asarray(errors, np.float64)[np.asarray(known, bool)]
    return np.sort(np.where(np.isfinite(chosen), chosen, np.inf))
