"""Score maps of keypoints: the targets a network is trained on, and where a map says that its keypoint is.

Positions are in the crop's [-1, 1] square (NDC): x right, y down. The centre of cell (row i, column j) of a map of n
cells a side is (2 (j + 0.5) / n - 1, 2 (i + 0.5) / n - 1).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def decode_score_maps(
    scores: Float[Array, "*batch rows columns keypoints"], subcell: bool = False
) -> Float[Array, "*batch keypoints 2"]:
    """Position of each map's largest score, NDC; the first such cell where several share it. No gradient.

    Args:
      scores: as the pose machine returns them.
      subcell: [ours] moves off the cell's centre, by at most half a cell, to the top of the parabola through the
        largest score and its two neighbours, in each direction apart. Cells at the border are not moved in the
        direction that leaves the map.

    A keypoint half a cell off costs 1/32 NDC at 32 cells: 3.5 px of a 224-pixel crop.
    """
    rows, columns = scores.shape[-3], scores.shape[-2]
    maps = jnp.moveaxis(scores, -1, -3)
    best = jnp.argmax(maps.reshape(*maps.shape[:-2], rows * columns), axis=-1)
    i, j = best // columns, best % columns
    x, y = j.astype(scores.dtype), i.astype(scores.dtype)
    if subcell:
        flat = maps.reshape(*maps.shape[:-2], rows * columns)
        x = x + _top(flat, best, 1, (j > 0) & (j < columns - 1))
        y = y + _top(flat, best, columns, (i > 0) & (i < rows - 1))
    return jnp.stack([(x + 0.5) * (2.0 / columns) - 1.0, (y + 0.5) * (2.0 / rows) - 1.0], axis=-1)


def _top(flat: Array, best: Array, step: int, inside: Array) -> Array:
    """Offset in cells of the top of the parabola through three scores around the largest; 0 where they are level."""
    before, here, after = (
        jnp.take_along_axis(flat, jnp.where(inside, best + offset, best)[..., None], axis=-1)[..., 0]
        for offset in (-step, 0, step)
    )
    bend = 2.0 * here - before - after
    level = ~(bend > 0.0) | ~inside
    return jnp.where(level, 0.0, 0.5 * (after - before) / jnp.where(level, 1.0, bend))


def heat_maps_of_logits(
    scores: Float[Array, "*batch rows columns keypoints"], deviation: float
) -> Float[Array, "*batch rows columns keypoints"]:
    """Scores that are logarithms of unscaled probabilities, as heat maps: 1 where a bump is as sharp as its target.

    Args:
      scores: of a network trained by cross entropy (`dhpe.losses.heat_map_divergence`).
      deviation: of the target's bump, cells.
    """
    probabilities = jax.nn.softmax(scores, axis=(-3, -2))
    return 2.0 * jnp.pi * deviation**2 * probabilities


def render_heat_maps(
    keypoints: Float[Array, "*batch keypoints 2"], size: int, deviation: float
) -> Float[Array, "*batch rows columns keypoints"]:
    """Targets: exp(-d² / (2 deviation²)) with d the distance in cells from a cell's centre to the keypoint.

    A keypoint outside the crop shows by what of its bump reaches inside.

    Args:
      keypoints: NDC.
      size: cells a side.
      deviation: standard deviation of the bump, cells. Programs that write exp(-d² / sigma²) mean sigma / sqrt(2) here.
    """
    cells = (keypoints + 1.0) * (0.5 * size) - 0.5
    grid = jnp.arange(size, dtype=keypoints.dtype).reshape((1,) * (keypoints.ndim - 2) + (size, 1))
    # The bump is a product of one in x and one in y: 2 n exponentials a keypoint, not n².
    along_x, along_y = (jnp.exp(-((grid - cells[..., None, :, axis]) ** 2) / (2.0 * deviation**2)) for axis in (0, 1))
    return along_y[..., :, None, :] * along_x[..., None, :, :]
