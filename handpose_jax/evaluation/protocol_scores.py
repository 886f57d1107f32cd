"""Figures of a protocol: means, medians, curves and their areas, frames, meshes, acceleration."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.spatial import KDTree

from handpose_jax.evaluation.curves import area_under_curve, percentage_of_correct_keypoints
from handpose_jax.evaluation.metrics import MIDDLE_MCP, WRIST
from handpose_jax.evaluation.protocol_alignment import Errors, aligned_errors, similarity_aligned
from handpose_jax.evaluation.protocol_files import ScoredHands
from handpose_jax.evaluation.protocols import FRAME_THRESHOLDS_MM, GRIDS_MM, PCK_THRESHOLDS_MM, Protocol

TIE_MM = 1e-9
"""Errors so much above a threshold are at it: what rounding makes of 50 mm is within 50 mm."""
EXACT_AREAS_MM = {"auc_20_50": (20.0, 50.0), "auc_0_50": (0.0, 50.0)}
F_SCORES_MM = (5, 15)
TABLE = ("mean_error_mm", "median_error_mm", "auc_20_50", "auc_20_50_grid20", "auc_0_50")


def figures(errors: Errors, mean_over: str = "joints") -> dict[str, Any]:
    """All figures of one alignment; NaN where nothing was measured.

    Args:
      errors: of `protocol_alignment.aligned_errors`.
      mean_over: "joints": of each joint, then the mean over joints (hand3d's EvalUtil); "all": of all joints of all
        frames at once. A joint without any truth, for errors without any prediction of it, is left out.
    """
    known, missing = errors.known, errors.missing
    measured = known & ~missing[:, None]
    columns = [errors.millimetres[measured[:, joint], joint] for joint in range(known.shape[1])]
    per_joint = [float(column.mean()) if len(column) else float("nan") for column in columns]
    medians = [float(np.median(column)) if len(column) else float("nan") for column in columns]
    together = np.concatenate(columns)
    if mean_over == "joints":
        mean, median = _mean(per_joint), _mean(medians)
    else:
        mean, median = (float(of(together)) if len(together) else float("nan") for of in (np.mean, np.median))
    result: dict[str, Any] = {"mean_error_mm": mean, "median_error_mm": median}
    for name, (low, high) in EXACT_AREAS_MM.items():
        result[name] = exact_area(errors, low, high, mean_over)
    for name, grid in GRIDS_MM.items():
        width = grid[-1] - grid[0]
        result[name] = float(np.trapezoid(pck_curve(errors, grid, mean_over), grid) / width)
    frames = known.any(axis=1)
    distances = np.where(measured, errors.millimetres, np.inf)
    worst = np.max(np.where(known, distances, 0.0), axis=1, initial=0.0)[frames]
    middle = np.array([row[seen].mean() for row, seen in zip(distances[frames], known[frames], strict=True)])
    thresholds = np.array(FRAME_THRESHOLDS_MM, np.float64)
    tens = [t for t in FRAME_THRESHOLDS_MM if t >= 10 and t % 10 == 0]
    for name, values in (("max", worst), ("mean", middle)):
        curve = [float(np.mean(values <= t + TIE_MM)) if len(values) else float("nan") for t in thresholds]
        result[f"frames_{name}_error_within_mm"] = {str(t): curve[t] for t in tens}
        result[f"frames_{name}_error_curve"] = curve
    result |= {"per_joint_mean_mm": per_joint, "per_joint_median_mm": medians}
    result["pck"] = pck_curve(errors, np.array(PCK_THRESHOLDS_MM, np.float64), mean_over).tolist()
    counts = {"frames": len(known), "frames_with_truth": int(frames.sum()), "missing_frames": int(missing.sum())}
    return result | counts


def pck_curve(
    errors: Errors, thresholds: Float[np.ndarray, "thresholds"], mean_over: str
) -> Float[np.ndarray, "thresholds"]:
    """Share of known joints at or below each threshold (mm), of each joint and then averaged, or of all at once."""
    curves = [
        percentage_of_correct_keypoints(millimetres, known, np.asarray(thresholds) + TIE_MM)
        for millimetres, known in _parts(errors, mean_over)
    ]
    return np.mean(curves, axis=0) if curves else np.full(len(thresholds), np.nan)


def exact_area(errors: Errors, low: float, high: float, mean_over: str) -> float:
    """Area under `pck_curve` between two thresholds (mm) over its width, exactly."""
    return _mean([area_under_curve(millimetres, known, low, high) for millimetres, known in _parts(errors, mean_over)])


def score(prediction: ScoredHands, truth: ScoredHands, protocol: Protocol) -> tuple[dict[str, Any], Errors]:
    """Everything that a protocol says of one file, and the errors of its first-named alignment.

    Raises:
      ValueError: the numbers of frames differ, or no joint that is scored has a truth.
    """
    top: dict[str, Any] = {"protocol": protocol.name, "alignment": protocol.alignment}
    errors = aligned_errors(prediction, truth, protocol, protocol.alignment)
    if not np.isfinite(truth.joints[:, list(protocol.joints)]).all(axis=2).any():
        raise ValueError("no joint has a truth")
    top |= figures(errors, protocol.mean_over)
    if protocol.alignment == "procrustes":
        top["frames_better_mirrored"] = _better_mirrored(errors, prediction, truth, protocol)
    for alignment in protocol.beside:
        top[alignment] = figures(aligned_errors(prediction, truth, protocol, alignment), protocol.mean_over)
    if protocol.camera is None:
        top["mean_over_frames_mm"] = means_over_frames(prediction, truth, protocol)
    if protocol.vertices and prediction.vertices is not None and truth.vertices is not None:
        top["vertices"] = vertex_figures(prediction, truth, errors, "procrustes")
        if "unaligned" in protocol.beside:
            top["unaligned"]["vertices"] = vertex_figures(prediction, truth, errors, "unaligned")
    if truth.sequence is not None:
        top["acceleration"] = acceleration(prediction, truth, errors, protocol)
    return top, errors


def means_over_frames(prediction: ScoredHands, truth: ScoredHands, protocol: Protocol) -> dict[str, float]:
    """This project's own means, as `metrics.mean_joint_errors_mm`: over the joints of a frame, then over frames.

    Of the joints that the protocol scores; root_scale scales by the distance from wrist to middle MCP.
    """
    result = {}
    kinds = {"absolute": "absolute", "root": "root", "root_scale": "root_bone_scale", "procrustes": "procrustes"}
    wrist_to_middle = dataclasses.replace(protocol, root=WRIST, bone=(WRIST, MIDDLE_MCP))
    for name, alignment in kinds.items():
        errors = aligned_errors(prediction, truth, wrist_to_middle, alignment)
        rows = errors.known.any(axis=1) & ~errors.missing
        result[name] = _mean(np.array([np.nanmean(row) for row in errors.millimetres[rows]]))
    return result


def vertex_figures(prediction: ScoredHands, truth: ScoredHands, errors: Errors, alignment: str) -> dict[str, Any]:
    """Errors of meshes and F-scores, after FreiHAND's `eval.py`.

    A mesh of the truth's own topology is aligned by its vertices; another one by the joints' transform, and only its
    F-scores are defined. F-score: harmonic mean of the shares of predicted and of true vertices that have one of the
    other mesh closer than so many mm. A missing frame counts as above every threshold, in F-scores as 0.

    Args:
      prediction, truth: with vertices.
      errors: whose `missing` frames are left out.
      alignment: "procrustes" or "unaligned".
    """
    assert prediction.vertices is not None
    assert truth.vertices is not None
    mesh, target = prediction.vertices, truth.vertices
    same = mesh.shape == target.shape
    has_truth = np.asarray(np.isfinite(target).all(axis=(1, 2)))
    missing = errors.missing | ~np.isfinite(mesh).all(axis=(1, 2))
    if alignment == "procrustes":
        everything = np.asarray(np.isfinite(target).all(axis=2))
        source, goal = (mesh, target) if same else (prediction.joints, truth.joints)
        used = everything if same else np.asarray(np.isfinite(truth.joints).all(axis=2))
        mesh = similarity_aligned(mesh, source, goal, used)
    result: dict[str, Any] = {"missing_frames": int(missing.sum())}
    if same:
        distances = 1000.0 * np.linalg.norm(mesh - target, axis=2)
        known = np.repeat(has_truth[:, None], target.shape[1], axis=1)
        all_figures = figures(Errors(distances, known, missing))
        kept = ("mean_error_mm", "median_error_mm", "auc_20_50", "auc_0_50", "auc_0_50_grid100")
        result |= {name: all_figures[name] for name in kept}
    scores = np.zeros((len(mesh), len(F_SCORES_MM)))
    for row in np.flatnonzero(has_truth & ~missing):
        scores[row] = f_scores(mesh[row], target[row])
    for column, millimetres in enumerate(F_SCORES_MM):
        result[f"f_at_{millimetres}_mm"] = _mean(scores[has_truth, column])
    return result


def f_scores(mesh: Float[np.ndarray, "vertices 3"], target: Float[np.ndarray, "others 3"]) -> list[float]:
    """Harmonic mean of precision and recall of two sets of points (metres), for each of `F_SCORES_MM`."""
    forth, back = (1000.0 * KDTree(one).query(other)[0] for one, other in ((target, mesh), (mesh, target)))
    result = []
    for millimetres in F_SCORES_MM:
        precision, recall = np.mean(forth < millimetres), np.mean(back < millimetres)
        total = precision + recall
        result.append(float(2.0 * precision * recall / total) if total > 0 else 0.0)
    return result


def acceleration(prediction: ScoredHands, truth: ScoredHands, errors: Errors, protocol: Protocol) -> dict[str, Any]:
    """Second differences over three successive frames of a sequence, mean over joints and frames, mm per frame².

    Of coordinates as they are where the protocol's first alignment leaves them so, else of those from the root on;
    joints without a truth and frames without a prediction are left out with their neighbours.

    Returns:
      "error_mm" (of the difference of predicted and true acceleration), "predicted_mm", "true_mm", "frames".
    """
    assert truth.sequence is not None
    points, target = prediction.joints, truth.joints
    if protocol.alignment not in ("none", "absolute"):
        root = protocol.root
        points, target = points - points[:, root : root + 1], target - target[:, root : root + 1]
    scored = list(protocol.joints)
    usable = errors.known & ~errors.missing[:, None]
    points, target = (1000.0 * np.where(usable[..., None], array[:, scored], np.nan) for array in (points, target))
    same = truth.sequence[2:] == truth.sequence[:-2]
    same &= truth.sequence[1:-1] == truth.sequence[:-2]
    predicted, true = (array[2:] - 2.0 * array[1:-1] + array[:-2] for array in (points, target))
    measured = same[:, None] & np.isfinite(predicted - true).all(axis=2)
    values = {"error_mm": predicted - true, "predicted_mm": predicted, "true_mm": true}
    means = {name: _mean(np.linalg.norm(array, axis=2)[measured]) for name, array in values.items()}
    return {**means, "frames": int(measured.any(axis=1).sum())}


def _better_mirrored(errors: Errors, prediction: ScoredHands, truth: ScoredHands, protocol: Protocol) -> int:
    """Frames whose mirror image fits the truth better: other hands, or the wrong side."""
    mirrored = prediction._replace(joints=prediction.joints * (-1.0, 1.0, 1.0))
    others = aligned_errors(mirrored, truth, protocol, "procrustes")
    first, second = (np.nansum(one.millimetres**2, axis=1) for one in (errors, others))
    return int((second < first - TIE_MM)[~errors.missing].sum())


def _parts(errors: Errors, mean_over: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Errors and what is known of each joint that has any truth, or of all together."""
    millimetres = np.where(errors.missing[:, None], np.nan, errors.millimetres)
    if mean_over == "all":
        return [(millimetres, errors.known)] if errors.known.any() else []
    columns = np.flatnonzero(errors.known.any(axis=0))
    return [(millimetres[:, [column]], errors.known[:, [column]]) for column in columns]


def _mean(values: Sequence[float] | np.ndarray) -> float:
    """Of the numbers among them; NaN if there are none."""
    finite = np.asarray(values, np.float64)
    finite = finite[np.isfinite(finite)]
    return float(finite.mean()) if len(finite) else float("nan")
