"""Block bootstrap: how far figures would scatter over other recordings of the same kind.

Frames of a video resemble their neighbours, so that single frames drawn anew would promise too much; blocks of frames
that belong together are drawn instead. Source: Künsch, "The jackknife and the bootstrap for general stationary
observations", Annals of Statistics 1989; percentile intervals.
"""

import numpy as np
from jaxtyping import Float, Int

from handpose_jax.evaluation.protocol_alignment import Errors
from handpose_jax.evaluation.protocol_scores import EXACT_AREAS_MM, TIE_MM
from handpose_jax.evaluation.protocols import GRIDS_MM

FEWEST_SEQUENCES = 10
"""Fewer are too few to be drawn as wholes: they are cut into runs."""
FEWEST_BLOCKS = 20
REPLICATES = 1000
_MOST_SORTED = 400_000_000
"""Errors that all replicates of the median may look at together; of large files there are fewer replicates."""
_FEWEST_MEDIANS = 100


def blocks_of_frames(count: int, run: int, sequence: np.ndarray | None = None) -> tuple[Int[np.ndarray, "frames"], str]:
    """The block of each frame, and what the blocks are in words.

    Sequences are blocks where at least FEWEST_SEQUENCES are named. Otherwise blocks are runs of `run` frames, within a
    sequence; shorter ones where these would be fewer than FEWEST_BLOCKS.

    Args:
      count: frames.
      run: frames a block.
      sequence: the name of each frame's sequence, if known.
    """
    names = np.zeros(count, np.int64) if sequence is None else np.unique(sequence, return_inverse=True)[1]
    if count and names.max() + 1 >= FEWEST_SEQUENCES:
        return names, "sequences"
    run = max(1, min(run, count // FEWEST_BLOCKS))
    place = np.zeros(count, np.int64)
    for name in np.unique(names):
        rows = np.flatnonzero(names == name)
        place[rows] = np.arange(len(rows)) // run
    pairs = np.unique(np.stack([names, place]), axis=1, return_inverse=True)[1]
    return pairs.reshape(-1), "single frames" if run == 1 else f"runs of {run} frames"


def bootstrap_intervals(
    errors: Errors,
    blocks: Int[np.ndarray, "frames"],
    mean_over: str = "joints",
    replicates: int = REPLICATES,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """95 % intervals (percentiles 2.5 and 97.5) of the mean, the median and the areas; NaN with fewer than two blocks.

    Args:
      errors: of `protocol_alignment.aligned_errors`.
      blocks: of `blocks_of_frames`.
      mean_over: as in `protocol_scores.figures`.
      replicates: draws of as many blocks as there are, with replacement.
      seed: of the draws.
    """
    measured = errors.known & ~errors.missing[:, None]
    count = int(blocks.max()) + 1 if len(blocks) else 0
    names = ("mean_error_mm", "median_error_mm", *EXACT_AREAS_MM, *GRIDS_MM)
    if count < 2:
        return dict.fromkeys(names, (float("nan"), float("nan")))
    rng = np.random.default_rng(seed)
    times = rng.multinomial(count, np.full(count, 1.0 / count), size=replicates)
    millimetres = np.where(measured, errors.millimetres, np.inf)

    def share(counted: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Replicates of the mean of the values that are counted; both [frames, joints]."""
        sums = [times @ _sums(blocks, count, np.where(counted, part, 0.0)) for part in (values, counted.astype(float))]
        if mean_over == "all":
            sums = [part.sum(axis=1, keepdims=True) for part in sums]
        return _row_means(np.divide(sums[0], sums[1], out=np.full(sums[0].shape, np.nan), where=sums[1] > 0))

    replicated = {"mean_error_mm": share(measured, errors.millimetres)}
    replicated["median_error_mm"] = _medians(millimetres, measured, blocks, times, mean_over)
    for name, (low, high) in EXACT_AREAS_MM.items():
        replicated[name] = share(errors.known, np.clip((high - millimetres) / (high - low), 0.0, 1.0))
    for name, grid in GRIDS_MM.items():
        # The trapezoid rule is a weighted sum over thresholds; an error gains the weights of those at or above it.
        weights = np.diff(grid, prepend=grid[0]) / 2.0 + np.diff(grid, append=grid[-1]) / 2.0
        above = np.append(np.cumsum(weights[::-1])[::-1], 0.0) / weights.sum()
        replicated[name] = share(errors.known, above[np.searchsorted(grid + TIE_MM, millimetres, side="left")])
    return {name: _interval(replicated[name]) for name in names}


def _medians(
    millimetres: np.ndarray, measured: np.ndarray, blocks: np.ndarray, times: np.ndarray, mean_over: str
) -> Float[np.ndarray, "replicates"]:
    """Of errors that are counted as often as their block was drawn."""
    columns = [slice(None)] if mean_over == "all" else list(range(millimetres.shape[1]))
    replicates = min(len(times), max(_FEWEST_MEDIANS, _MOST_SORTED // max(1, measured.sum())))
    result = []
    for column in columns:
        chosen = measured[:, column]
        values = millimetres[:, column][chosen]
        order = np.argsort(values)
        values, block = values[order], np.nonzero(chosen)[0][order]
        block = blocks[block]
        medians = np.full(replicates, np.nan)
        for replicate in range(replicates):
            reached = np.cumsum(times[replicate, block])
            total = reached[-1] if len(reached) else 0
            if total:
                low, high = np.searchsorted(reached, ((total - 1) // 2, total // 2), side="right")
                medians[replicate] = 0.5 * (values[low] + values[high])
        result.append(medians)
    return _row_means(np.stack(result, axis=1))


def _sums(blocks: np.ndarray, count: int, values: np.ndarray) -> np.ndarray:
    result = np.zeros((count, values.shape[1]))
    np.add.at(result, blocks, values)
    return result


def _row_means(values: np.ndarray) -> np.ndarray:
    finite = np.isfinite(values)
    total = finite.sum(axis=1)
    sums = np.where(finite, values, 0.0).sum(axis=1)
    return np.divide(sums, total, out=np.full(len(values), np.nan), where=total > 0)


def _interval(values: np.ndarray) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    if not len(finite):
        return float("nan"), float("nan")
    low, high = np.percentile(finite, (2.5, 97.5))
    return float(low), float(high)
