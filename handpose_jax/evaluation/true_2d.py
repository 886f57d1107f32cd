"""What perfect 2D joints alone would give: hands fitted to the true joints as the camera sees them."""

from collections.abc import Callable, Mapping

import numpy as np

from handpose_jax.data.cameras import projected_points
from handpose_jax.evaluation.fit_report import scattered
from handpose_jax.refinement import KeypointBatch, fit_hands
from mano_jax import HandModel


def fits_from_true_2d(
    models: Mapping[str, HandModel],
    truth: Mapping[str, np.ndarray],
    predictions: Mapping[str, np.ndarray],
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[str, np.ndarray]:
    """Arrays of `fits.npz`: what `launch.fit` makes of the true joints, projected, without noise; rows as in the truth.

    Sides are those of the predictions (right where they have none), cameras the truth's, else the predictions'. A joint
    without truth is not seen; a hand with fewer than four is a row of NaN.

    Args:
      models: of both sides.
      truth: of `scores.read_true_hands`.
      predictions: of `scores.read_predictions`.
      on_progress: told (done, total).

    Raises:
      ValueError: neither file has a camera.
    """
    K = truth.get("K", predictions.get("K"))
    if K is None:
        raise ValueError("a fit from true 2D joints needs cameras: K [N, 3, 3] in the truth or in the predictions")
    joints = np.asarray(truth["joints"], np.float64)
    pixels = projected_points(joints, K)
    seen = np.isfinite(pixels).all(axis=-1, keepdims=True)
    keypoints = np.concatenate([np.where(seen, pixels, np.nan), seen], axis=-1)
    sides = tuple(str(side) for side in predictions.get("side", np.full(len(joints), "right")))
    batch = KeypointBatch(keypoints=keypoints, keypoints_3d=None, K=np.asarray(K, np.float64), side=sides)
    fits = fit_hands(models, batch, on_progress=on_progress)
    return scattered(fits, range(len(joints)), len(joints), sides) | {"K": np.asarray(K, np.float64)}
