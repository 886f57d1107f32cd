"""Errors of estimated joints: absolute, root-aligned, root-and-scale-aligned and Procrustes-aligned.

Functions of one frame, [21, 3] and [21, 3] in metres to [21] errors in metres; batch them with `jax.vmap`. A joint
whose truth is not finite gets the error NaN and takes no part in the alignment.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

PRECISION = jax.lax.Precision.HIGHEST
WRIST, MIDDLE_MCP = 0, 9


def absolute_errors(prediction: Float[Array, "joints 3"], truth: Float[Array, "joints 3"]) -> Float[Array, "joints"]:
    """Distances in the camera frame, nothing aligned."""
    return _distances(prediction, truth, _known(truth))


def root_errors(
    prediction: Float[Array, "joints 3"], truth: Float[Array, "joints 3"], root: int = WRIST
) -> Float[Array, "joints"]:
    """Distances after the root joint is subtracted from both; all NaN where the root's truth is unknown."""
    return _distances(prediction - prediction[root][None], truth - truth[root][None], _known(truth))


def root_scale_errors(
    prediction: Float[Array, "joints 3"],
    truth: Float[Array, "joints 3"],
    root: int = WRIST,
    end: int = MIDDLE_MCP,
) -> Float[Array, "joints"]:
    """As `root_errors`, the prediction multiplied by the ratio of the true to the predicted distance root - end.

    NaN where one of the two joints has no truth, or the predicted distance is zero.
    """
    centred, true_centred = prediction - prediction[root][None], truth - truth[root][None]
    length, true_length = _norm(centred[end]), _norm(true_centred[end])
    usable = length > 0
    scale = jnp.where(usable, true_length / jnp.where(usable, length, 1.0), jnp.nan)
    return _distances(centred * scale, true_centred, _known(truth))


def procrustes_errors(prediction: Float[Array, "joints 3"], truth: Float[Array, "joints 3"]) -> Float[Array, "joints"]:
    """Distances after the similarity transform of the prediction that fits the truth best (`similarity_alignment`)."""
    known = _known(truth)
    alignment = similarity_alignment(prediction, truth, known)
    return _distances(alignment.apply(prediction), truth, known)


class Similarity(NamedTuple):
    """x -> scale * rotation @ x + translation."""

    scale: Float[Array, ""]
    rotation: Float[Array, "3 3"]
    translation: Float[Array, "3"]

    def apply(self, points: Float[Array, "points 3"]) -> Float[Array, "points 3"]:
        return self.scale * jnp.matmul(points, self.rotation.T, precision=PRECISION) + self.translation[None]


def similarity_alignment(
    source: Float[Array, "points 3"], target: Float[Array, "points 3"], used: Bool[Array, "points"] | None = None
) -> Similarity:
    """Rotation (no reflection), scale >= 0 and translation that bring `source` closest to `target` in least squares.

    Degenerate sets have a right answer too: points on a plane or a line leave a rotation free and any one that is best
    is returned; if all source points coincide, scale is 0 and they go to the target's centre. Points that `used` leaves
    out play no part. Meant for evaluation: gradients through the singular vectors are not defined where singular
    values coincide.

    Source: Umeyama, "Least-squares estimation of transformation parameters between two point patterns", PAMI 1991,
    Eqs. 40-42.
    """
    used = _known(target) if used is None else used
    weights = used.astype(source.dtype)[:, None]
    count = jnp.maximum(weights.sum(), 1.0)
    source = jnp.where(used[:, None], source, 0.0)
    target = jnp.where(used[:, None], target, 0.0)
    source_mean, target_mean = source.sum(axis=0) / count, target.sum(axis=0) / count
    source_centred = (source - source_mean[None]) * weights
    target_centred = (target - target_mean[None]) * weights
    # Scaled to order one, so that neither a product underflows nor the singular values lose digits.
    source_size, target_size = jnp.abs(source_centred).max(), jnp.abs(target_centred).max()
    source_unit = source_centred / jnp.where(source_size > 0, source_size, 1.0)
    target_unit = target_centred / jnp.where(target_size > 0, target_size, 1.0)
    covariance = jnp.matmul(target_unit.T, source_unit, precision=PRECISION)
    # A prediction of NaN or infinity must stay that, not become a hang or an arbitrary rotation.
    left, values, right = jnp.linalg.svd(jnp.where(jnp.isfinite(covariance), covariance, 0.0))
    orientation = jnp.where(jnp.linalg.det(left) * jnp.linalg.det(right) < 0, -1.0, 1.0).astype(source.dtype)
    signs = jnp.stack([jnp.ones_like(orientation), jnp.ones_like(orientation), orientation])
    rotation = jnp.matmul(left * signs[None], right, precision=PRECISION)
    variance = (source_unit * source_unit).sum()
    unit_scale = (values * signs).sum() / jnp.where(variance > 0, variance, 1.0)
    scale = jnp.maximum(unit_scale, 0.0) * target_size / jnp.where(source_size > 0, source_size, 1.0)
    translation = target_mean - scale * jnp.matmul(rotation, source_mean, precision=PRECISION)
    return Similarity(scale, rotation, translation)


METRICS = {
    "absolute": absolute_errors,
    "root": root_errors,
    "root_scale": root_scale_errors,
    "procrustes": procrustes_errors,
}


def joint_errors(
    prediction: Float[np.ndarray, "frames joints 3"], truth: Float[np.ndarray, "frames joints 3"]
) -> dict[str, Float[np.ndarray, "frames joints"]]:
    """All four errors of many frames, metres, computed in float64. NaN where truth or prediction is.

    Raises:
      ValueError: the shapes differ or are not [frames, joints, 3].
    """
    prediction, truth = np.asarray(prediction, np.float64), np.asarray(truth, np.float64)
    if prediction.shape != truth.shape or prediction.ndim != 3 or prediction.shape[-1] != 3:
        raise ValueError(
            f"prediction and truth must both be [frames, joints, 3], got {prediction.shape} and {truth.shape}"
        )
    # In float64: a hand half a metre away would lose digits before it is centred.
    with jax.enable_x64(True):
        return {name: np.asarray(errors) for name, errors in _all_errors(prediction, truth).items()}


@jax.jit
@jax.vmap
def _all_errors(prediction: Float[Array, "joints 3"], truth: Float[Array, "joints 3"]) -> dict[str, Array]:
    return {name: metric(prediction, truth) for name, metric in METRICS.items()}


def mean_joint_errors_mm(
    prediction: Float[np.ndarray, "frames joints 3"], truth: Float[np.ndarray, "frames joints 3"]
) -> dict[str, float | int]:
    """Mean errors in millimetres: over the joints of a frame, then over frames.

    Joints without truth are left out; so are frames without any truth or without a prediction, which are counted.

    Returns:
      "absolute", "root", "root_scale", "procrustes" (mm; NaN where no frame has it), "frames" (evaluated) and
      "frames_without_prediction".

    Raises:
      ValueError: the shapes differ or are not [frames, joints, 3].
    """
    errors = joint_errors(prediction, truth)
    has_truth = np.any(np.isfinite(truth).all(axis=2), axis=1)
    predicted = np.isfinite(prediction).all(axis=(1, 2))
    used = has_truth & predicted
    result: dict[str, float | int] = {}
    for name, error in errors.items():
        frames = [row[np.isfinite(row)].mean() for row in error[used] if np.isfinite(row).any()]
        result[name] = float(1000.0 * np.mean(frames)) if frames else float("nan")
    result["frames"] = int(used.sum())
    result["frames_without_prediction"] = int((has_truth & ~predicted).sum())
    return result


def _known(truth: Float[Array, "joints 3"]) -> Bool[Array, "joints"]:
    return jnp.isfinite(truth).all(axis=-1)


def _norm(vectors: Float[Array, "*batch 3"]) -> Float[Array, "*batch"]:
    squares = (vectors * vectors).sum(axis=-1)
    zero = squares == 0
    return jnp.where(zero, 0.0, jnp.sqrt(jnp.where(zero, 1.0, squares)))


def _distances(
    prediction: Float[Array, "joints 3"], truth: Float[Array, "joints 3"], known: Bool[Array, "joints"]
) -> Float[Array, "joints"]:
    difference = jnp.where(known[:, None], prediction - truth, 0.0)
    return jnp.where(known, _norm(difference), jnp.nan)
