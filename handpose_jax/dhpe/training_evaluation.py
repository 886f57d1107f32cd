"""How good a network is while it trains: errors on held-out synthetic hands, and pictures of some of them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from handpose_jax.dhpe.configuration import DhpeOptions, LossOptions
from handpose_jax.dhpe.losses import CROP_SIZE
from handpose_jax.dhpe.networks import Estimate
from handpose_jax.dhpe.parameters import HandVector, decode
from handpose_jax.dhpe.synthetic_batches import Batch
from handpose_jax.dhpe.training import network_of, resized_masks
from handpose_jax.evaluation.metrics import procrustes_errors
from handpose_jax.projection import project_mask, project_mesh
from mano_jax import HandModel


def evaluate_batch(
    variables: dict[str, PyTree], batch: Batch, model: HandModel, options: DhpeOptions
) -> tuple[dict[str, Float[Array, ""]], Estimate, Float[Array, "batch rows columns"]]:
    """Mean errors of a batch, the estimate, and its masks; to be jitted. Without test-time refinement.

    error_px, refined_px and score_map_px are mean 2D distances in pixels of a 224 crop: of what h projects to, of the
    refined j2D and of the score maps' j2D. root_mm and procrustes_mm are mean 3D distances, aligned at the middle MCP
    and by similarity, in millimetres at the true size of the crop; mean_hand_procrustes_mm is what not looking at the
    image gives. mask_iou is of masks above one half.
    """
    estimate = network_of(options).apply(variables, batch.images, model)
    assert isinstance(estimate, Estimate)
    mesh = project_mesh(model, decode(model, estimate.prediction, options.parametrisation))
    masks = project_mask(model, mesh.vertices, options.losses.mask)
    truth, joints = batch.joints_3d, estimate.joints_3d[:, -1]
    to_mm = 1000.0 * batch.metres_per_edge[:, None, None]
    covered, true_masks = masks > 0.5, resized_masks(batch.masks, masks.shape[-1]) > 0.5
    mean_hand = project_mesh(model, decode(model, HandVector.zeros((len(truth),)), options.parametrisation))
    union = jnp.sum(covered | true_masks, axis=(1, 2))
    metrics = {
        "error_px": _pixels(estimate.projected_2d[:, -1], batch),
        "refined_px": _pixels(estimate.joints_2d[:, -1], batch),
        "score_map_px": _pixels(estimate.joints_2d[:, 0], batch),
        "root_mm": jnp.linalg.norm(to_mm * (joints - truth), axis=-1).mean(),
        "procrustes_mm": jax.vmap(procrustes_errors)(to_mm * joints, to_mm * truth).mean(),
        "mean_hand_procrustes_mm": jax.vmap(procrustes_errors)(to_mm * mean_hand.joints_3d, to_mm * truth).mean(),
        "mask_iou": (jnp.sum(covered & true_masks, axis=(1, 2)) / jnp.maximum(union, 1)).mean(),
    }
    return metrics, estimate, masks


def _pixels(joints: Float[Array, "batch 21 2"], batch: Batch) -> Float[Array, ""]:
    return 0.5 * CROP_SIZE * jnp.linalg.norm(joints - batch.joints_2d, axis=-1).mean()


def panel(
    batch: Batch, estimate: Estimate, masks: Float[Array, "batch rows columns"], losses: LossOptions, rows: int = 4
) -> Any:
    """A Pillow image, one example a row: input; true joints; heat maps; refined j2D; projected joints; mask over truth.

    In the last cell the true mask is green, the predicted one red, where they agree yellow.

    Args:
      batch, estimate, masks: on the host.
      losses: that the score maps were trained by.
      rows: at most.
    """
    from PIL import Image

    from handpose_jax.evaluation.drawing import contact_sheet, draw_skeleton, to_image

    edge = 2 * CROP_SIZE
    heat_maps = np.asarray(estimate.heat_maps(losses))
    cells, labels = [], []
    for row in range(min(rows, len(batch.images))):
        picture = to_image(np.asarray(batch.images[row])).resize((edge, edge), Image.Resampling.BICUBIC)

        def skeleton(joints: Any, picture: Any = picture) -> Any:
            return draw_skeleton(picture, (np.asarray(joints) + 1.0) * (0.5 * edge), [True] * 21)

        maps = np.clip(heat_maps[row].max(axis=-1), 0.0, 1.0)
        heat = to_image(np.repeat(maps[..., None], 3, axis=-1)).resize((edge, edge), Image.Resampling.NEAREST)
        true_mask = to_image(np.repeat(np.asarray(batch.masks[row])[..., None], 3, axis=-1))
        true_mask = np.asarray(true_mask.resize((edge, edge)))[..., 0]
        found = np.asarray(to_image(np.repeat(np.asarray(masks[row])[..., None], 3, axis=-1)).resize((edge, edge)))
        both = np.stack([found[..., 0], true_mask, np.zeros_like(true_mask)], axis=-1)
        cells += [
            picture,
            skeleton(batch.joints_2d[row]),
            Image.blend(picture, heat, 0.65),
            skeleton(estimate.joints_2d[row, -1]),
            skeleton(estimate.projected_2d[row, -1]),
            Image.blend(picture, to_image(both), 0.55),
        ]
        labels += ["input", "truth", "heat maps", "refined 2D joints", "projected hand", "mask: red, true: green"]
    return contact_sheet(cells, labels, columns=6, cell_width=224)
