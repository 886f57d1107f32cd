"""Scores as pictures: curves of PCK, and a gallery of the worst, the middling and the best hands."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from handpose_jax.evaluation.curves import AUC_RANGE_MM, area_under_curve, percentage_of_correct_keypoints
from handpose_jax.evaluation.drawing import to_image, with_caption
from handpose_jax.evaluation.metrics import joint_errors
from handpose_jax.evaluation.pictures import rendered
from handpose_jax.evaluation.scores import LABELS, HandSet
from mano_jax import HandModel

if TYPE_CHECKING:
    from PIL.Image import Image

# Told apart without colours too, by line: Okabe and Ito's palette, which most colour-blind people can tell apart.
_LINES = {
    "predicted": ("#0072B2", "-"),
    "no_refinement": ("#56B4E9", "--"),
    "fit_from_true_2d": ("#009E73", "-."),
    "mean_hand": ("#7F7F7F", ":"),
}
_SHOWN = {"root": "wrist aligned", "procrustes": "Procrustes-aligned"}
_LARGEST_MM = 50.0
_PAPER, _INK = (250, 250, 248), (28, 30, 33)


def pck_picture(hands: Mapping[str, HandSet], truth: Float[np.ndarray, "hands 21 3"]) -> bytes:
    """A PNG: share of joints within 0 to 50 mm, wrist and Procrustes-aligned, a line for each set of hands.

    Args:
      hands: of `scores.hands_to_score`.
      truth: joints, metres.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    known = np.asarray(np.isfinite(truth).all(axis=2))
    thresholds = np.linspace(0.0, _LARGEST_MM, 501)
    figure = Figure(figsize=(11.0, 5.4), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    errors = {name: joint_errors(one.joints, truth) for name, one in hands.items()}
    for axes, (alignment, title) in zip(figure.subplots(1, 2, sharey=True), _SHOWN.items(), strict=True):
        axes.axvspan(*AUC_RANGE_MM, color="#F1EEE6", zorder=0)
        for name in hands:
            millimetres = 1000.0 * errors[name][alignment]
            colour, line = _LINES[name]
            axes.plot(
                thresholds,
                percentage_of_correct_keypoints(millimetres, known, thresholds),
                line,
                color=colour,
                linewidth=2.0,
                label=f"{LABELS[name]}: {area_under_curve(millimetres, known):.3f}",
            )
        axes.set(title=title, xlabel="error threshold, mm", xlim=(0.0, _LARGEST_MM), ylim=(0.0, 1.0))
        axes.set_xticks(range(0, 51, 10))
        axes.set_yticks([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
        axes.grid(color="#D9D9D9", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        low, high = AUC_RANGE_MM
        # Below: curves may run anywhere.
        title = f"AUC {low:g}-{high:g} mm (shaded)"
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, title=title, frameon=False)
        axes.tick_params(labelleft=True)
    figure.axes[0].set_ylabel("share of joints within the threshold (PCK)")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def gallery(
    hands: HandSet, truth: Mapping[str, np.ndarray], models: Mapping[str, HandModel], most: int = 6, panel: int = 224
) -> Image:
    """The worst, the middling and the best hands by Procrustes-aligned error: each image, and the mesh over it.

    Args:
      hands: predictions; hands without one are not shown.
      truth: with `image` [N, height, width, 3] and, beside `joints`, `K` unless the hands have cameras.
      models: of both sides, for the triangles.
      most: hands in a row; fewer where there are not so many that the rows would differ.
      panel: edge of a picture, pixels.

    Raises:
      ValueError: there are no images, meshes or cameras, or no hand has both a prediction and a truth.
    """
    from PIL import Image, ImageDraw, ImageFont

    cameras = truth.get("K", hands.cameras)
    if "image" not in truth or hands.vertices is None or cameras is None:
        raise ValueError("a gallery needs images in the truth, vertices of the predictions, and cameras")
    errors = 1000.0 * joint_errors(hands.joints, truth["joints"])["procrustes"]
    rows = np.flatnonzero(np.isfinite(errors).any(axis=1) & np.isfinite(hands.vertices).all(axis=(1, 2)))
    if not len(rows):
        raise ValueError("no hand has both a prediction and a truth")
    means = {row: float(np.nanmean(errors[row])) for row in rows.tolist()}
    order = sorted(means, key=lambda row: means[row])
    count = min(most, max(1, len(order) // 3))
    middle = (len(order) - count) // 2
    chosen = {"worst": order[::-1][:count], "median": order[middle : middle + count], "best": order[:count]}

    gap, header = 6, 34
    columns = [
        [_hand_shown(hands, truth, models, cameras, row, means[row], panel) for row in some] for some in chosen.values()
    ]
    height = columns[0][0].height
    sheet = Image.new("RGB", (count * (panel + gap) + gap, 3 * (height + header) + gap), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=18)
    for place, (name, cells) in enumerate(zip(chosen, columns, strict=True)):
        top = place * (height + header)
        draw.text((gap, top + header / 2), f"{name} of {len(order)}", fill=_INK, font=font, anchor="lm")
        for column, cell in enumerate(cells):
            sheet.paste(cell, (gap + column * (panel + gap), top + header))
    return sheet


def _hand_shown(hands: HandSet, truth, models, cameras, row: int, error_mm: float, panel: int) -> Image:
    """The image over the same image with the mesh, and a caption."""
    from PIL import Image

    image = truth["image"][row]
    factor = panel / max(image.shape[:2])
    size = max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor))
    picture = Image.new("RGB", (panel, panel), _PAPER)
    picture.paste(to_image(image).resize(size, Image.Resampling.BICUBIC))
    camera = np.array(cameras[row], np.float64)
    camera[:2] *= factor
    assert hands.vertices is not None
    faces = models[str(hands.sides[row])].faces
    mesh = to_image(rendered(hands.vertices[row], faces, camera, np.asarray(picture, np.float32) / 255.0))
    both = Image.new("RGB", (panel, 2 * panel))
    both.paste(picture, (0, 0))
    both.paste(mesh, (0, panel))
    hidden = f", {truth['hidden'][row]:.0%} hidden" if "hidden" in truth else ""
    return with_caption(both, f"{row}: {error_mm:.1f} mm{hidden}")
