"""Hands of many photographs, read, cropped and predicted batch by batch; a hand of unknown side is seen as both."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, UInt8

from handpose_jax.data.images import load_image
from handpose_jax.dhpe.prediction import (
    CropPredictions,
    crop_around_box,
    cropped_image,
    predict_crops,
    whole_image_crop,
)
from handpose_jax.dhpe.prediction_input import HandToPredict
from handpose_jax.dhpe.weights import Weights
from handpose_jax.refinement.sides import choose_sides
from mano_jax import HandModel
from render_jax import Crop

_AT_ONCE = 256
"""Photographs held in memory."""


class PhotographPredictions(NamedTuple):
    """Predictions of those hands that could be predicted, and what is wrong with the others.

    Attributes:
      predictions: of the predicted hands, in the order of `rows`.
      rows: of these among all hands.
      sides: "left" or "right": given, or chosen.
      crops: of each.
      pictures: the crops' images, of the first hands only.
      problems: row -> what is wrong.
    """

    predictions: CropPredictions
    rows: list[int]
    sides: list[str]
    crops: list[Crop]
    pictures: list[np.ndarray]
    problems: dict[int, ValueError | OSError]


def predict_photographs(
    weights: Weights,
    model: HandModel,
    hands: Sequence[HandToPredict],
    batch_size: int = 16,
    keep_pictures: int = 0,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> PhotographPredictions:
    """Network and refinement on every hand.

    A hand whose side is not known is predicted from its crop and from the mirrored one, and the side of the more
    confident score maps is kept (`side_costs`, `choose_sides`).

    Args:
      weights: networks and options.
      model: right hand.
      hands: where they are.
      batch_size: crops at once.
      keep_pictures: so many crops' images are returned.
      on_progress: told (done, total), in photographs.

    Raises:
      ValueError, OSError: nothing could be predicted, or the network's output is not finite.
    """
    size = weights.options.networks.image_size
    problems: dict[int, ValueError | OSError] = {}
    rows: list[int] = []
    sides: list[str] = []
    crops: list[Crop] = []
    kept: list[np.ndarray] = []
    parts: list[CropPredictions] = []
    for begin in range(0, len(hands), _AT_ONCE):
        pictures: list[np.ndarray] = []
        for row in range(begin, min(begin + _AT_ONCE, len(hands))):
            side = hands[row].located.hand.side
            possible = [side] if side in ("left", "right") else ["right", "left"]
            try:
                image = _image(hands[row])
                found = [_crop(hands[row], one, size, image.shape[:2]) for one in possible]
            except (ValueError, OSError) as problem:
                problems[row] = problem
                continue
            for one, crop in zip(possible, found, strict=True):
                rows.append(row)
                sides.append(one)
                crops.append(crop)
                pictures.append(cropped_image(image, crop))
        if pictures:
            done = _progress_of_part(on_progress, begin, min(begin + _AT_ONCE, len(hands)), len(hands))
            parts.append(predict_crops(weights, model, pictures.__getitem__, len(pictures), batch_size, None, done))
            kept += pictures[: max(0, 2 * keep_pictures - len(kept))]
    if not parts:
        first = problems[min(problems)]
        if len(hands) == 1:
            raise first
        raise ValueError(f"none of {len(hands)} hands can be predicted; the first: {first}") from first
    steps = parts[0].steps
    joined = jax.tree.map(lambda *leaves: np.concatenate(leaves), *(part._replace(steps=()) for part in parts))
    if not np.isfinite(joined.h).all():
        raise ValueError("the network's output is not finite; the weights are damaged or were saved after a NaN")
    chosen = _chosen(rows, sides, side_costs(joined))
    return PhotographPredictions(
        predictions=jax.tree.map(lambda leaf: leaf[chosen], joined)._replace(steps=steps),
        rows=[rows[index] for index in chosen],
        sides=[sides[index] for index in chosen],
        crops=[crops[index] for index in chosen],
        pictures=[kept[index] for index in chosen if index < len(kept)][:keep_pictures],
        problems=problems,
    )


def side_costs(predictions: CropPredictions) -> Float[np.ndarray, "hands"]:
    """How ill a crop fits a right hand: minus the logarithms of the 21 confidences, summed [ours].

    The network has only seen right hands. Of a left hand that was not mirrored its score maps are wide: thumb and nails
    are where no right hand has them.
    """
    return -np.log(np.maximum(np.asarray(predictions.confidence, np.float64), 1e-3)).sum(axis=1)


def _chosen(rows: Sequence[int], sides: Sequence[str], costs: Float[np.ndarray, "candidates"]) -> np.ndarray:
    """Indices of the candidates that are kept, one for each row."""
    both = [index for index in range(1, len(rows)) if rows[index] == rows[index - 1]]  # The left one of each pair.
    left = np.array(both, int)
    found = choose_sides(costs[left], costs[left - 1]) if both else np.array([])
    dropped = {index if side == "right" else index - 1 for index, side in zip(both, found, strict=True)}
    return np.array([index for index in range(len(rows)) if index not in dropped])


def _image(hand: HandToPredict) -> UInt8[np.ndarray, "height width 3"]:
    if hand.located.hand.problem is not None or hand.located.image is None:
        raise ValueError(hand.located.hand.problem or "no image")
    return load_image(hand.located.image)


def _crop(hand: HandToPredict, side: str, size: int, image_size: tuple[int, int]) -> Crop:
    if hand.box is None:
        return whole_image_crop(side, size, image_size)
    try:
        return crop_around_box(hand.box, side, size, image_size)
    except ValueError as error:
        raise ValueError(f"{hand.located.image}: {error}") from None


def _progress_of_part(
    on_progress: Callable[[int, int], None], begin: int, end: int, total: int
) -> Callable[[int, int], None]:
    return lambda done, count: on_progress(begin + (end - begin) * done // count, total)
