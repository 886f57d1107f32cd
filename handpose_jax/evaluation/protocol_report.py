"""What a protocol leaves behind: `metrics.json`, a table, and curves beside published ones."""

import io
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from handpose_jax.evaluation.protocol_scores import TABLE
from handpose_jax.evaluation.protocols import (
    ALIGNMENTS,
    FRAME_THRESHOLDS_MM,
    PCK_THRESHOLDS_MM,
    Protocol,
)

Curve = tuple[Float[np.ndarray, "points"], Float[np.ndarray, "points"]]
"""Thresholds in mm and shares in [0, 1]."""

DEFINITIONS = {
    "missing_frames": "rows that are not valid or NaN in the predictions, or cannot be aligned: left out of errors, "
    "above every threshold in curves, areas and frames",
    "truth": "joints that are NaN (or not visible) in the truth are left out of everything",
    "auc_20_50, auc_0_50": "exact area under the PCK curve over the range's width; PCK counts errors <= threshold",
    "auc_20_50_grid20": "trapezoid over the 12 thresholds linspace(0, 50, 20)[8:], 21.05 to 50 mm, over the trapezoid "
    "of ones: what hand3d prints as 20-50",
    "auc_0_50_grid20, auc_20_50_grid15, auc_0_50_grid100": "trapezoid over linspace(0, 50, 20), linspace(20, 50, 15), "
    "linspace(0, 50, 100): hand3d, Minimal-Hand-pytorch, FreiHAND",
    "frames_max_error_within_mm": "share of frames with a truth whose largest joint error is <= so many mm; "
    "frames_mean_error_within_mm: whose mean is; *_curve: at 0, 1, ... 80 mm",
    "pck": "at 0, 1, ... 50 mm",
    "intervals_95": "percentiles 2.5 and 97.5 of a block bootstrap",
    "mean_over_frames_mm": "over the scored joints of a frame, then over frames: absolute; root: wrist subtracted; "
    "root_scale: also scaled by the true / predicted wrist to middle MCP length; procrustes",
    "vertices": "figures over vertices, each vertex first; f_at_5_mm, f_at_15_mm: F-scores of meshes, missing frames "
    "as 0",
    "acceleration": "second differences over three successive frames of a sequence, mm per frame squared; of RGB "
    "protocols but dexter_object with the root subtracted",
    "frames_better_mirrored": "frames that fit the truth better after a reflection, which is not allowed here",
}
AGGREGATION = {
    "joints": "mean over joints of each joint's mean (median) over frames; curves likewise; joints never seen left out",
    "all": "over all joints of all frames at once",
}
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_SHORT = {
    "mean_error_mm": "mean, mm",
    "median_error_mm": "median, mm",
    "auc_20_50": "AUC 20-50",
    "auc_20_50_grid20": "on 20 points",
    "auc_0_50": "AUC 0-50",
}


def metrics_content(
    scores: Mapping[str, Mapping[str, Any]],
    protocol: Protocol,
    references: Mapping[str, Curve],
    files: Mapping[str, str],
) -> dict[str, Any]:
    """Content of `metrics.json`: the first file's figures at the top, every file's in `methods` if there are several.

    Args:
      scores: name of the method -> of `protocol_scores.score`, in the order of the table.
      protocol: of all of them.
      references: published curves.
      files: what else to say of the input, first.
    """
    first = next(iter(scores.values()))
    content = {**files, **first}
    if len(scores) > 1:
        content["methods"] = {name: dict(one) for name, one in scores.items()}
    if references:
        content["references"] = {name: {"auc_20_50": reference_area(curve)} for name, curve in references.items()}
    aligned = (protocol.alignment, *protocol.beside)
    content["joint_names"] = list(protocol.joint_names)
    content["aggregation"] = AGGREGATION[protocol.mean_over]
    content["definitions"] = {**{name: ALIGNMENTS[name] for name in aligned}, **DEFINITIONS}
    return without_nan(content)


def without_nan(content: Any) -> Any:
    """The same with null where a number is not finite, which JSON cannot say. No digit is dropped."""
    if isinstance(content, Mapping):
        return {name: without_nan(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [without_nan(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def table(scores: Mapping[str, Mapping[str, Any]], protocol: Protocol) -> str:
    """A line for each file and alignment."""
    rows = []
    for name, one in scores.items():
        rows.append((name, one))
        rows += [(f"{name}, {beside}", one[beside]) for beside in protocol.beside]
    width = max(len(protocol.name), *(len(name) for name, _ in rows)) + 2
    header = [*_SHORT.values(), "max <= 20", "missing"]
    lines = [f"{protocol.name:<{width}}" + "".join(f"{title:>14}" for title in header)]
    for name, one in rows:
        cells = [_cell(one[figure], 3) for figure in TABLE]
        cells += [_cell(one["frames_max_error_within_mm"]["20"], 3), str(one["missing_frames"])]
        lines.append(f"{name:<{width}}" + "".join(f"{cell:>14}" for cell in cells))
    return "\n".join(lines)


def reference_area(curve: Curve) -> float:
    """Area under a published curve over 20-50 mm, between its points on straight lines; NaN if it does not reach."""
    thresholds, shares = curve
    low, high = 20.0, 50.0
    # Published grids begin a millimetre late: 21.05 mm.
    if thresholds[0] > low + 2.0 or thresholds[-1] < high - 1e-6:
        return float("nan")
    low = max(low, float(thresholds[0]))
    inside = thresholds[(thresholds > low) & (thresholds < high)]
    points = np.concatenate([[low], inside, [high]])
    return float(np.trapezoid(np.interp(points, thresholds, shares), points) / (high - low))


def protocol_picture(
    scores: Mapping[str, Mapping[str, Any]], protocol: Protocol, references: Mapping[str, Curve]
) -> bytes:
    """A PNG: PCK, frames by their largest error, and each joint's mean, a colour for each file.

    Published curves are drawn dashed where their kind is: beside the PCK, of depth sets beside the frames.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.5, 8.4), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, 2, height_ratios=(1.5, 1.0))
    curves, frames, bars = (figure.add_subplot(cell) for cell in (grid[0, 0], grid[0, 1], grid[1, :]))
    published = frames if protocol.mean_over == "all" else curves
    curves.axvspan(20.0, 50.0, color="#F1EEE6", zorder=0)
    names = list(scores)
    for place, (name, one) in enumerate(scores.items()):
        colour = _COLOURS[place % len(_COLOURS)]
        mean, area, within = one["mean_error_mm"], one["auc_20_50"], one["frames_max_error_within_mm"]["40"]
        label = f"{name}: {_cell(area, 3)} (mean {_cell(mean, 2)} mm)"
        curves.plot(PCK_THRESHOLDS_MM, one["pck"], color=colour, linewidth=2.0, label=label)
        label = f"{name}: {_cell(within, 3)}"
        frames.plot(FRAME_THRESHOLDS_MM, one["frames_max_error_curve"], color=colour, linewidth=2.0, label=label)
        width = 0.8 / len(names)
        places = np.arange(len(protocol.joint_names)) + (place - 0.5 * (len(names) - 1)) * width
        bars.bar(places, one["per_joint_mean_mm"], width, color=colour)
    for place, (name, (thresholds, shares)) in enumerate(references.items()):
        colour = _COLOURS[(len(names) + place) % len(_COLOURS)]
        label = f"{name} (published)"
        if published is curves:
            label += f": {_cell(reference_area((thresholds, shares)), 3)}"
        published.plot(thresholds, shares, "--", color=colour, linewidth=1.6, label=label)
    how = "mean over joints" if protocol.mean_over == "joints" else "all joints"
    curves.set(xlim=(0.0, 50.0), xlabel="threshold, mm", ylabel="PCK", title=f"joints within the threshold ({how})")
    frames.set(xlim=(0.0, 80.0), xlabel="threshold, mm", title="frames whose largest error is within the threshold")
    bars.set(ylabel="mean error, mm", title=f"{protocol.name}, alignment: {protocol.alignment.replace('_', ' ')}")
    bars.set_xticks(range(len(protocol.joint_names)), [name.replace("_", " ") for name in protocol.joint_names])
    bars.tick_params(axis="x", rotation=45)
    for axes, title in ((curves, "AUC 20-50 mm (shaded)"), (frames, "within 40 mm"), (bars, "")):
        axes.grid(color="#D9D9D9", linewidth=0.6, axis="y" if axes is bars else "both")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        if axes is not bars:
            axes.set_ylim(0.0, 1.0)
            columns = 1 if len(names) + len(references) <= 4 else 2
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=columns, title=title, frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _cell(value: float, digits: int) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"
