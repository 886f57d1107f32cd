"""Plots of `launch.refine_benchmark`: throughput against batch, cost against steps and time."""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np

COLOURS = {"gauss_newton": "#0B6E4F", "gradient_descent": "#B3541E", "adam": "#3B5BA5", "lbfgs": "#7A4E9E"}
NAMES = {
    "gauss_newton": "Gauss-Newton (Levenberg-Marquardt)",
    "gradient_descent": "gradient descent (the paper's rule)",
    "adam": "Adam",
    "lbfgs": "L-BFGS",
}


def throughput_picture(report: Mapping[str, Any]) -> bytes:
    """A PNG: images (or hands) a second against the batch size, both logarithmic."""
    figure, (axes,) = _figure(1)
    field = "hands_a_second" if report["case"] == "keypoints" else "images_a_second"
    batches, rates = zip(*((row["batch"], row[field]) for row in report["batches"]), strict=True)
    axes.loglog(batches, rates, "o-", color=COLOURS["gauss_newton"], linewidth=2.0)
    for batch, rate in zip(batches, rates, strict=True):
        axes.annotate(f"{rate:.3g}", (batch, rate), textcoords="offset points", xytext=(0, 8), ha="center")
    axes.set_xticks(batches, [str(batch) for batch in batches])
    axes.minorticks_off()
    axes.set(xlabel="batch", ylabel=field.replace("_", " "), title=f"{report['case']}: {report['hardware']}")
    axes.margins(0.15)
    axes.title.set_fontsize(8)
    return _png(figure)


def convergence_picture(found: Mapping[str, Mapping[str, Any]]) -> bytes:
    """A PNG: mean cost of each solver against steps, and against milliseconds a hand."""
    figure, (by_step, by_time) = _figure(2)
    for name, path in found.items():
        cost = np.asarray(path["mean_cost"])
        steps = np.arange(len(cost))
        size = f", step {path['step_size']:g}" if path["step_size"] else ""
        look = {"color": COLOURS[name], "linewidth": 2.0, "label": NAMES[name] + size}
        by_step.plot(steps, cost, **look)
        # The first point of a time in logarithms is the first step's.
        by_time.plot(steps[1:] * path["ms_a_step"], cost[1:], **look)
    by_step.set(xlabel="steps", ylabel="mean cost")
    by_time.set(xlabel="milliseconds a hand", xscale="log")
    by_step.set_yscale("log")
    by_time.set_yscale("log")
    by_step.legend(frameon=False)
    return _png(figure)


def _figure(panels: int):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6 * panels, 4.4), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, panels, squeeze=False)[0]
    for one in axes:
        one.grid(color="#D9D9D9", linewidth=0.6, which="both")
        one.set_axisbelow(True)
        one.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _png(figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
