"""Pictures of what a network saw and how refinement went: the evidence panel and the refinement strip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from handpose_jax.evaluation.drawing import side_by_side, to_image, with_caption
from handpose_jax.evaluation.pictures import rendered

if TYPE_CHECKING:
    from PIL.Image import Image

_FAR = 400.0
"""Distance in NDC units at which perspective is as good as parallel: 0.25 % a unit of depth."""


def evidence_panel(
    crop: Float[np.ndarray, "size size 3"],
    heat_map: Float[np.ndarray, "rows columns"],
    mask: Float[np.ndarray, "edge edge"],
    name: str = "",
    panel_size: int = 288,
) -> Image:
    """Four panels: the crop as the network sees it, its largest scores over it, the predicted mask, the cut-out.

    Args:
      crop: in [0, 1]; of a left hand it is mirrored.
      heat_map: largest score over the 21 maps.
      mask: of the predicted hand, in [0, 1].
      name: caption of the first panel.
      panel_size: edge of a panel, pixels.
    """
    from PIL import Image

    shown = _enlarged(crop, panel_size)
    heat = np.clip(heat_map, 0.0, 1.0)
    # Black, red, yellow, white.
    coloured = np.clip(np.stack([3.0 * heat, 3.0 * heat - 1.0, 3.0 * heat - 2.0], axis=-1), 0.0, 1.0)
    warm = to_image(coloured).resize((panel_size, panel_size), Image.Resampling.NEAREST)
    cover = np.asarray(_enlarged(np.repeat(mask[..., None], 3, axis=-1), panel_size), np.float32) / 255.0
    return side_by_side(
        [
            with_caption(shown, name),
            with_caption(Image.blend(shown, warm, 0.6), f"2D joint scores, largest {float(heat_map.max()):.2f}"),
            with_caption(to_image(cover), "predicted mask"),
            with_caption(to_image(np.asarray(shown, np.float32) / 255.0 * cover), "cut-out"),
        ]
    )


def refinement_strip(
    crop: Float[np.ndarray, "size size 3"],
    meshes: Float[np.ndarray, "shown vertices 3"],
    faces: Int[np.ndarray, "faces 3"],
    steps: Sequence[int],
    losses: Sequence[float],
    iou: Sequence[float],
    panel_size: int = 224,
) -> list[Image]:
    """One panel an iteration: the mesh over the crop, the loss of Eq. 13, and the mask's IoU where it is known.

    Args:
      crop: in [0, 1].
      meshes: NDC of the crop, after each of the steps.
      faces: of the model.
      steps: iterations.
      losses, iou: at those.
      panel_size: edge of a panel, pixels.
    """
    ground = np.asarray(_enlarged(crop, panel_size), np.float32) / 255.0
    half = 0.5 * panel_size
    camera = np.array([[_FAR * half, 0.0, half], [0.0, _FAR * half, half], [0.0, 0.0, 1.0]])
    panels = []
    for step, mesh, loss, overlap in zip(steps, meshes, losses, iou, strict=True):
        picture = to_image(rendered(mesh + np.array([0.0, 0.0, _FAR]), faces, camera, ground))
        known = f", IoU {overlap:.2f}" if np.isfinite(overlap) else ""
        panels.append(with_caption(picture, f"{step}: loss {loss:.3g}{known}"))
    return panels


def _enlarged(picture: Float[np.ndarray, "rows columns 3"], size: int) -> Image:
    from PIL import Image

    return to_image(np.asarray(picture)).resize((size, size), Image.Resampling.BICUBIC)
