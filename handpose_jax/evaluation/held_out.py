"""Synthetic hands that training never draws, and what a network predicts of them, as files that can be scored."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from handpose_jax.data.cameras import Camera
from handpose_jax.data.keypoint_set import HandKeypoints
from handpose_jax.data.located_hands import LocatedHand
from handpose_jax.dhpe.normalisation import ESTIMATE, GIVEN
from handpose_jax.dhpe.prediction import place_hands, predict_crops, whole_image_crop
from handpose_jax.dhpe.prediction_input import HandToPredict
from handpose_jax.dhpe.synthetic_batches import SyntheticDataOptions
from handpose_jax.dhpe.training import DhpeTraining
from handpose_jax.dhpe.training_system import HELD_OUT
from handpose_jax.dhpe.weights import Weights
from handpose_jax.evaluation.prediction_output import prediction_arrays
from handpose_jax.projection import ROOT
from handpose_jax.synthesis import SyntheticHand, synthetic_batch
from handpose_jax.training.config_options import options_from
from mano_jax import HandModel

_AT_ONCE = 16


def training_of(weights: Weights) -> DhpeTraining:
    """The run that the weights are of; with weights that do not say, the defaults at their image size."""
    config = weights.notes.get("config")
    if isinstance(config, dict):
        chosen = {name: value for name, value in config.items() if name not in ("system", "model")}
        return options_from(DhpeTraining, chosen)
    data = SyntheticDataOptions()
    drawn = dataclasses.replace(data.synthesis, image_size=weights.options.networks.image_size)
    return DhpeTraining(dhpe=weights.options, data=dataclasses.replace(data, synthesis=drawn))


def held_out_hands(
    training: DhpeTraining, model: HandModel, count: int, on_progress: Callable[[int, int], None]
) -> SyntheticHand:
    """The first hands of those that training is evaluated on, right ones, with all their truth, on the host."""
    base = jax.random.fold_in(jax.random.key(training.seed), HELD_OUT)
    batch_size = training.data.batch_size
    keys = [jax.random.split(jax.random.fold_in(base, n), batch_size) for n in range(-(-count // batch_size))]
    data = np.concatenate([np.asarray(jax.random.key_data(part)) for part in keys])
    size = min(_AT_ONCE, count)
    parts = []
    for begin in range(0, count, size):
        rows = np.minimum(np.arange(begin, begin + size), len(data) - 1)  # One program, however many are left over.
        chosen = jax.random.wrap_key_data(jnp.asarray(data[rows]))
        made = synthetic_batch(chosen, model, np.zeros(size, bool), training.data.synthesis)
        parts.append(jax.device_get(made))
        on_progress(min(begin + size, count), count)
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:count], *parts)


def predicted_hands(
    weights: Weights,
    model: HandModel,
    hands: SyntheticHand,
    true_root_depth: bool,
    batch_size: int,
    on_progress: Callable[[int, int], None],
) -> dict[str, np.ndarray]:
    """Arrays of `predictions.npz` for hands whose images are the crops.

    Args:
      weights: networks and options.
      model: right hand.
      hands: of `held_out_hands`.
      true_root_depth: give the depth of the middle MCP (the paper's protocol), or estimate it.
      batch_size: crops at once.
      on_progress: told (done, total).
    """
    images, masks, K = (np.asarray(array) for array in (hands.image, hands.mask, hands.K))
    count, size = len(images), images.shape[1]
    crops = [whole_image_crop("right", size, (size, size)) for _ in range(count)]
    found = predict_crops(
        weights, model, images.__getitem__, count, min(batch_size, count), masks.__getitem__, on_progress
    )
    source, depths = (GIVEN, np.asarray(hands.joints)[:, ROOT, 2]) if true_root_depth else (ESTIMATE, None)
    placed = place_hands(model, found, crops, K, weights.options, source, depths)
    rows = list(range(count))
    names = [f"held_out_{row:05d}" for row in rows]
    listed = [
        HandToPredict(
            LocatedHand(HandKeypoints(image=name, side="right"), None, (size, size), Camera(K, "file", "synthetic")),
            None,
        )
        for name, K in zip(names, hands.K, strict=True)
    ]
    arrays = prediction_arrays(placed, found, listed, rows, crops, K, ["right"] * count)
    return arrays | {"losses": found.losses, "iou": found.iou, "iterations": np.array(found.steps)}
