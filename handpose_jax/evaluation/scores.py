"""All scores of a file of predictions against a file of truth, beside those of other hands for the same images."""

import functools
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

import render_jax
from handpose_jax.data.cameras import projected_points
from handpose_jax.data.keypoint_files import load_json, read_truth
from handpose_jax.data.keypoint_formats.numpy_batch import load_arrays
from handpose_jax.evaluation.baselines import mean_hands, mean_vertex_errors_mm
from handpose_jax.evaluation.curves import AUC_RANGE_MM, area_under_curve, percentage_of_correct_keypoints
from handpose_jax.evaluation.metrics import METRICS, joint_errors, mean_joint_errors_mm
from handpose_jax.evaluation.segmentation import segmentation_criteria
from mano_jax import HandModel

THRESHOLDS_MM = (5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0)
LABELS = {
    "predicted": "predicted",
    "no_refinement": "no refinement",
    "fit_from_true_2d": "fit from true 2D",
    "mean_hand": "mean hand",
}
"""What sets of hands are called before people."""
DEFINITIONS = {
    "alignments": "absolute; root: wrist subtracted; root_scale: also scaled by the true / predicted wrist to middle "
    "MCP length; procrustes: rotation, translation and scale",
    "joints_mm, vertices_mm": "mean over the points of a frame, then over frames that were predicted",
    "pck": "share of all joints with a truth whose error is at most so many mm; joints of frames without a prediction "
    "count as wrong",
    "auc": f"mean of the PCK over {AUC_RANGE_MM[0]:g}-{AUC_RANGE_MM[1]:g} mm (exact area)",
    "joints_px": "mean distance of the projected joints, pixels of the full image",
    "segmentation": "means over images; masks at pixel centres, mean_* over hand and background; hand_iou is the mask "
    "IoU",
    "no_refinement": "what the network said, before test-time refinement",
    "fit_from_true_2d": "hands fitted, as launch.fit does, to the true joints as K projects them, without noise; side "
    "and K given",
    "mean_hand": "mean pose and shape, wrist placed and turned as predicted",
}


class HandSet(NamedTuple):
    """Hands that are scored against one truth; NaN rows where there is none. Metres, camera frame."""

    joints: Float[np.ndarray, "hands 21 3"]
    vertices: Float[np.ndarray, "hands vertices 3"] | None
    sides: np.ndarray
    cameras: Float[np.ndarray, "hands 3 3"] | None


def read_predictions(path: str | pathlib.Path) -> dict[str, np.ndarray]:
    """Arrays of a `predictions.npz` or `fits.npz`, rows that are not valid as NaN.

    Raises:
      OSError: the file is missing or unreadable.
      ValueError: it has no joints [N, 21, 3].
    """
    arrays = dict(load_arrays(pathlib.Path(path)))
    joints = arrays.get("joints")
    if joints is None or joints.ndim != 3 or joints.shape[1:] != (21, 3) or not len(joints):
        found = "none" if joints is None else list(joints.shape)
        raise ValueError(f"{path}: predictions need joints [N, 21, 3] in metres, got {found}")
    if "valid" in arrays:
        bad = ~np.asarray(arrays["valid"], bool)
        for name in ("joints", "vertices"):
            if name in arrays:
                arrays[name] = np.where(bad[:, None, None], np.nan, arrays[name])
    return arrays


def read_true_hands(path: str | pathlib.Path, predictions: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """`joints` and, where there, `vertices`, `K`, `mask`, `image` and `hidden` of the truth, in the predictions' order.

    Rows belong together one for one; where their numbers differ, by the names of the images.

    Raises:
      OSError, ValueError: the file is unusable, or rows cannot be matched.
    """
    path = pathlib.Path(path)
    names, joints = read_truth(path)
    truth: dict[str, np.ndarray] = {"joints": joints}
    if names is None:
        arrays = load_arrays(path)
        truth |= {name: arrays[name] for name in ("vertices", "K", "mask", "hidden") if name in arrays}
        # Pixels, not the names of the images, which files of predictions call by the same name.
        if "image" in arrays and arrays["image"].ndim == 4 and arrays["image"].dtype == np.uint8:
            truth["image"] = arrays["image"]
    else:
        cameras = [photo.get("K") for photo in load_json(path)["photos"]]
        if all(camera is not None for camera in cameras):
            truth["K"] = np.asarray(cameras, np.float64)
    count = len(predictions["joints"])
    if len(joints) == count:
        order = np.arange(count)
    elif names is not None and "image" in predictions and len(set(names)) == len(names):
        rows = {pathlib.PurePath(str(name)).name: row for row, name in enumerate(names)}
        missing = [str(name) for name in predictions["image"] if str(name) not in rows]
        if missing:
            raise ValueError(
                f"{path}: no truth for {missing[0]}" + (f" and {len(missing) - 1} more" * (len(missing) > 1))
            )
        order = np.array([rows[str(name)] for name in predictions["image"]])
    else:
        raise ValueError(f"{path}: {len(joints)} true hands for {count} predictions; expected one for each, in order")
    K = truth.get("K")
    if K is not None and K.shape == (3, 3):
        truth["K"] = np.broadcast_to(K, (len(joints), 3, 3))
    return {name: np.asarray(values)[order] for name, values in truth.items()}


def hands_to_score(
    predictions: Mapping[str, np.ndarray],
    truth: Mapping[str, np.ndarray],
    models: Mapping[str, HandModel],
    others: Mapping[str, Mapping[str, np.ndarray]],
) -> dict[str, HandSet]:
    """What stands side by side in the table: `predicted`, the others, and `mean_hand` if predictions have rotations.

    Hands without a prediction are left out of all of them, so that every score is of the same hands.

    Args:
      predictions: of `read_predictions`.
      truth: of `read_true_hands`.
      models: of both sides.
      others: name -> arrays as of predictions, in the same order.

    Raises:
      ValueError: no hand has both a prediction and a truth.
    """
    joints = np.asarray(predictions["joints"], np.float64)
    predicted = np.asarray(np.isfinite(joints).all(axis=(1, 2)))
    if not (predicted & _has_truth(truth)).any():
        raise ValueError("no hand has both a prediction and a truth")
    sides, cameras = predictions.get("side", np.full(len(joints), "right")), predictions.get("K")
    result = {"predicted": HandSet(joints, predictions.get("vertices"), sides, cameras)}
    for name, arrays in others.items():
        points, mesh = (np.where(predicted[:, None, None], arrays[part], np.nan) for part in ("joints", "vertices"))
        result[name] = HandSet(points, mesh, sides, cameras)
    if "rotation" in predictions:
        guess = mean_hands(models, sides, predictions["rotation"], joints[:, 0])
        result["mean_hand"] = HandSet(*guess, sides, cameras)
    return result


def all_scores(
    hands: Mapping[str, HandSet], truth: Mapping[str, np.ndarray], models: Mapping[str, HandModel]
) -> dict[str, Any]:
    """Counts, and the scores of each set of hands; None where files lack what one needs.

    Args:
      hands: of `hands_to_score`.
      truth: of `read_true_hands`.
      models: of both sides, for the triangles of meshes.
    """
    has_truth, predicted = _has_truth(truth), np.isfinite(hands["predicted"].joints).all(axis=(1, 2))
    return {
        "hands": int(has_truth.sum()),
        "hands_without_prediction": int((has_truth & ~predicted).sum()),
        **{name: scores_of(one, truth, models) for name, one in hands.items()},
    }


def _has_truth(truth: Mapping[str, np.ndarray]) -> Bool[np.ndarray, "hands"]:
    known = np.asarray(np.isfinite(truth["joints"]).all(axis=2))
    return np.asarray(known.any(axis=1))


def scores_of(hands: HandSet, truth: Mapping[str, np.ndarray], models: Mapping[str, HandModel]) -> dict[str, Any]:
    """Scores of one set of hands."""
    joints, vertices, sides, cameras = hands
    known = np.asarray(np.isfinite(truth["joints"]).all(axis=2))
    errors = {name: 1000.0 * error for name, error in joint_errors(joints, truth["joints"]).items()}
    means = mean_joint_errors_mm(joints, truth["joints"])
    result: dict[str, Any] = {
        "joints_mm": {name: means[name] for name in METRICS},
        "auc": {name: area_under_curve(errors[name], known) for name in METRICS},
        "pck": {
            name: percentage_of_correct_keypoints(errors[name], known, np.array(THRESHOLDS_MM)).tolist()
            for name in METRICS
        },
        "vertices_mm": None,
        "joints_px": None,
        "segmentation": None,
    }
    true_vertices = truth.get("vertices")
    if vertices is not None and true_vertices is not None and vertices.shape == true_vertices.shape:
        result["vertices_mm"] = mean_vertex_errors_mm(joints, vertices, truth["joints"], true_vertices)
    K = truth.get("K", cameras)
    if K is not None:
        off = projected_points(joints, K) - projected_points(truth["joints"], K)
        distance = np.linalg.norm(off, axis=-1)
        frames = [row[np.isfinite(row)].mean() for row in distance if np.isfinite(row).any()]
        result["joints_px"] = float(np.mean(frames)) if frames else None
    if K is not None and vertices is not None and "mask" in truth:
        masks = mesh_masks(vertices, sides, K, truth["mask"].shape[1:], models)
        rows = np.isfinite(vertices).all(axis=(1, 2))
        if rows.any():
            criteria = segmentation_criteria(masks[rows], truth["mask"][rows] > 0.5)
            result["segmentation"] = {name: float(values.mean()) for name, values in criteria.items()}
    return result


def mesh_masks(
    vertices: Float[np.ndarray, "hands vertices 3"],
    sides: np.ndarray,
    cameras: Float[np.ndarray, "hands 3 3"],
    image_size: tuple[int, ...],
    models: Mapping[str, HandModel],
) -> np.ndarray:
    """[hands, height, width] bool: pixel centres that each mesh covers in its image; none for a mesh of NaN."""
    size = (int(image_size[0]), int(image_size[1]))
    masks = []
    for mesh, side, K in zip(vertices, sides, cameras, strict=True):
        masks.append(np.asarray(_mask(np.asarray(mesh, np.float32), models[str(side)].faces, np.float32(K), size)))
    return np.stack(masks)


@functools.partial(jax.jit, static_argnames="size")
def _mask(vertices, faces, K, size):
    camera = render_jax.Pinhole(K[0, 0], K[1, 1], K[0, 2], K[1, 2])
    return render_jax.rasterize(camera.to_screen(vertices), jnp.asarray(faces), size).mask
