"""The alignments of `protocols`, on many frames at once, and the errors that remain."""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float

from handpose_jax.evaluation.metrics import similarity_alignment
from handpose_jax.evaluation.protocol_files import ScoredHands
from handpose_jax.evaluation.protocols import ALIGNMENTS, Protocol

_FRAMES_AT_ONCE = 256
"""One compiled program for files of any length."""


class Errors(NamedTuple):
    """Errors of the joints that a protocol scores.

    Attributes:
      millimetres: NaN where there is no truth, or no prediction.
      known: whether there is a truth (that the alignment can use).
      missing: frames without a prediction, or with one that cannot be aligned (a bone of length zero).
    """

    millimetres: Float[np.ndarray, "frames joints"]
    known: Bool[np.ndarray, "frames joints"]
    missing: Bool[np.ndarray, "frames"]


def aligned_errors(prediction: ScoredHands, truth: ScoredHands, protocol: Protocol, alignment: str) -> Errors:
    """Errors of the scored joints under one of `ALIGNMENTS`.

    A joint that is NaN in the truth, or that its `visible` denies, is not known. A frame is missing if any joint is NaN
    in the prediction; joints that are not scored and NaN in every frame of the file do not count.

    Raises:
      ValueError: the numbers of frames differ, or there is no such alignment.
    """
    points, target = prediction.joints, truth.joints
    if len(points) != len(target):
        raise ValueError(f"{len(points)} frames of predictions for {len(target)} of truth; expected one for each")
    scored = list(protocol.joints)
    absent = np.asarray(~np.isfinite(points).all(axis=2))
    ignored = np.asarray(absent.all(axis=0))
    ignored[scored] = False
    missing = np.asarray((absent & ~ignored).any(axis=1))
    known = np.asarray(np.isfinite(target).all(axis=2))
    if truth.visible is not None:
        known &= truth.visible
    points = np.where(missing[:, None, None], np.nan, points)
    chosen = np.zeros(protocol.file_joints, bool)
    chosen[scored] = True
    aligned, reference, usable = align(points, target, known & chosen, protocol, alignment)
    known = (known & usable[:, None])[:, scored]
    distances = 1000.0 * np.linalg.norm((aligned - reference)[:, scored], axis=2)
    distances = np.where(known & np.isfinite(distances), distances, np.nan)
    missing |= (known & ~np.isfinite(distances)).any(axis=1)
    distances[missing] = np.nan
    return Errors(distances, known, missing)


def align(
    points: Float[np.ndarray, "frames joints 3"],
    target: Float[np.ndarray, "frames joints 3"],
    known: Bool[np.ndarray, "frames joints"],
    protocol: Protocol,
    alignment: str,
) -> tuple[Float[np.ndarray, "frames joints 3"], Float[np.ndarray, "frames joints 3"], Bool[np.ndarray, "frames"]]:
    """Aligned predictions, what they are compared with, and the frames whose truth is enough to align with.

    Args:
      points: predictions, NaN where there are none.
      target: truth, NaN where there is none.
      known: truth that takes part in `tip_centroid_scale` and `procrustes`.
      protocol: whose root and bone `root_bone_scale` uses, seen or not, as long as the truth has them.
      alignment: one of `ALIGNMENTS`.

    Raises:
      ValueError: there is no such alignment.
    """
    if alignment not in ALIGNMENTS:
        raise ValueError(f"no alignment {alignment!r}; there are {', '.join(ALIGNMENTS)}")
    root, (base, end) = protocol.root, protocol.bone
    if alignment == "root":
        usable = np.asarray(np.isfinite(target[:, root]).all(axis=1))
        return points - points[:, root : root + 1], target - target[:, root : root + 1], usable
    if alignment == "root_bone_scale":
        true_length, length = (np.linalg.norm(array[:, end] - array[:, base], axis=1) for array in (target, points))
        usable = np.asarray(np.isfinite(target[:, root]).all(axis=1)) & np.isfinite(true_length)
        scale = np.divide(true_length, length, out=np.full(len(points), np.nan), where=length > 0)
        centred = (points - points[:, root : root + 1]) * scale[:, None, None]
        return centred, target - target[:, root : root + 1], usable
    if alignment == "tip_centroid_scale":
        weights = known[..., None].astype(np.float64)
        count = np.maximum(known.sum(axis=1), 1)[:, None]
        centres, radii = [], []
        for array in (points, target):
            array = np.where(known[..., None], array, 0.0)
            centre = array.sum(axis=1) / count
            centres.append(centre[:, None])
            distances = np.linalg.norm((array - centre[:, None]) * weights, axis=2)
            radii.append(distances.sum(axis=1) / count[:, 0])
        scale = np.divide(radii[1], radii[0], out=np.full(len(points), np.nan), where=radii[0] > 0)
        return (points - centres[0]) * scale[:, None, None] + centres[1], target, np.asarray(known.sum(axis=1) >= 2)
    if alignment == "procrustes":
        return similarity_aligned(points, points, target, known), target, np.full(len(points), True)
    return points, target, np.full(len(points), True)


def similarity_aligned(
    moved: Float[np.ndarray, "frames points 3"],
    source: Float[np.ndarray, "frames joints 3"],
    target: Float[np.ndarray, "frames joints 3"],
    used: Bool[np.ndarray, "frames joints"],
) -> Float[np.ndarray, "frames points 3"]:
    """`moved` by the similarity transform that brings the used part of `source` closest to `target`'s; else NaN.

    Computed in float64 by `metrics.similarity_alignment`.
    """
    result = np.full(moved.shape, np.nan)
    finite = np.flatnonzero(np.isfinite(np.where(used[..., None], source, 0.0)).all(axis=(1, 2)))
    with jax.enable_x64(True):
        for start in range(0, len(finite), _FRAMES_AT_ONCE):
            rows = finite[start : start + _FRAMES_AT_ONCE]
            padded = np.resize(rows, _FRAMES_AT_ONCE)
            scale, rotation, translation = (
                np.asarray(part)[: len(rows)] for part in _alignments(source[padded], target[padded], used[padded])
            )
            turned = np.einsum("nab,npb->npa", rotation, moved[rows])
            result[rows] = scale[:, None, None] * turned + translation[:, None]
    return result


_alignments = jax.jit(jax.vmap(similarity_alignment))
