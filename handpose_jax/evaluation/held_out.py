"""The held-out set: synthetic hands that no training draws, with their truth; and what a network predicts of them."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from handpose_jax.data.cameras import Camera
from handpose_jax.data.keypoint_set import HandKeypoints
from handpose_jax.data.located_hands import LocatedHand
from handpose_jax.dhpe.normalisation import ESTIMATE, GIVEN
from handpose_jax.dhpe.perspective_fit import located_hands
from handpose_jax.dhpe.prediction import place_hands, predict_crops, whole_image_crop
from handpose_jax.dhpe.prediction_input import HandToPredict
from handpose_jax.dhpe.weights import Weights
from handpose_jax.evaluation.prediction_output import prediction_arrays
from handpose_jax.projection import ROOT
from handpose_jax.synthesis import SynthesisOptions, SyntheticHand, synthesis_tables, synthetic_batch
from mano_jax import HandModel

KEYS_OF_THE_SET = 0x53455453
"""Folded into the seed for the set's keys. Training folds in its steps, and another constant for the hands that it is
evaluated on while it runs, so no seed of a run leads to these keys."""
OCCLUDED = 0.10
"""A hand is occluded if objects and other hands hide more than this share of its pixels. Its own forearm hides less."""
_AT_ONCE = 64


@dataclasses.dataclass(frozen=True)
class HeldOutOptions:
    """Which hands the set consists of.

    Attributes:
      seed: of their keys.
      images: how many.
      synthesis: ranges; `image_size` is replaced by the network's.
    """

    seed: int = 0
    images: int = 2048
    synthesis: SynthesisOptions = dataclasses.field(default_factory=lambda: SynthesisOptions(quality="quick"))

    def __post_init__(self):
        if self.seed < 0 or self.images < 1:
            raise ValueError(f"expected seed >= 0 and images >= 1, got {self.seed} and {self.images}")


def held_out_keys(options: HeldOutOptions) -> PRNGKeyArray:
    """One key a hand of the set; the first of a larger set are a smaller's."""
    base = jax.random.fold_in(jax.random.key(options.seed), KEYS_OF_THE_SET)
    return jax.vmap(lambda row: jax.random.fold_in(base, row))(np.arange(options.images))


def held_out_hands(
    options: HeldOutOptions, model: HandModel, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> dict[str, np.ndarray]:
    """Right hands with all their truth: arrays of `truth.npz`, N rows. The first hands of a larger set are a smaller's.

    Args:
      options: of the set.
      model: right hand.
      on_progress: told (done, total).

    Returns:
      `image` uint8 [N, size, size, 3]; `mask` bool: pixels that the hand's mesh covers by half or more, whatever lies
      before it; `visible_mask` bool: of the hand as it is seen; `hidden`: share of its covered area that is not seen;
      `joints`, `vertices`, `pose`, `shape`, `rotation`, `translation` (metres, radians, camera frame); `keypoints`
      pixels; `visible` joints; `K`; `side`.
    """
    keys, count = held_out_keys(options), options.images
    tables = synthesis_tables(model, options.synthesis)
    size = min(_AT_ONCE, count)
    # A CPU's cache holds one image; accelerators want many.
    together = 1 if jax.default_backend() == "cpu" else size
    parts = []
    for begin in range(0, count, size):
        rows = np.minimum(np.arange(begin, begin + size), count - 1)  # One program, however many are left over.
        made = synthetic_batch(
            keys[rows], model, np.zeros(size, bool), options.synthesis, tables, None, together=together
        )
        parts.append(_truth_arrays(jax.device_get(made)))
        on_progress(min(begin + size, count), count)
    truth = {name: np.concatenate([part[name] for part in parts])[:count] for name in parts[0]}
    return truth | {"side": np.full(count, "right", dtype="<U5")}


def _truth_arrays(hands: SyntheticHand) -> dict[str, np.ndarray]:
    whole, seen = hands.full_mask.sum(axis=(1, 2)), hands.mask.sum(axis=(1, 2))
    same = ("joints", "vertices", "pose", "shape", "rotation", "translation", "keypoints", "visible", "K")
    return {
        "image": np.round(255.0 * np.clip(hands.image, 0.0, 1.0)).astype(np.uint8),
        "mask": np.asarray(hands.full_mask) > 0.5,
        "visible_mask": np.asarray(hands.mask) > 0.5,
        "hidden": np.clip(1.0 - seen / np.maximum(whole, 1e-6), 0.0, 1.0),
        **{name: np.asarray(getattr(hands, name)) for name in same},
    }


def about_the_set(options: HeldOutOptions, truth: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """What `scores.json` says of the set: its options, and how much of its hands is hidden."""
    return {
        **dataclasses.asdict(options),
        "occluded_share": float(np.mean(truth["hidden"] > OCCLUDED)),
        "occluded": f"objects or another hand hide more than {OCCLUDED:.0%} of the hand's pixels",
        "visible_joints_share": float(np.mean(truth["visible"])),
    }


def predicted_hands(
    weights: Weights,
    model: HandModel,
    truth: Mapping[str, np.ndarray],
    true_root_depth: bool,
    batch_size: int,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray] | None]:
    """Arrays of `predictions.npz` for hands whose images are the crops; and of the same hands before refinement.

    Both come of one pass of the network. The second are joints, vertices and what is needed to score them; None where
    no step of refinement is taken.

    Args:
      weights: networks and options.
      model: right hand.
      truth: of `held_out_hands`, at the network's image size.
      true_root_depth: give the depth of the middle MCP (the paper's protocol), or estimate it.
      batch_size: crops at once.
      on_progress: told (done, total).
    """
    images, masks, K = truth["image"], truth["mask"], truth["K"]
    count, size = len(images), images.shape[1]
    crops = [whole_image_crop("right", size, (size, size)) for _ in range(count)]
    found = predict_crops(
        weights,
        model,
        lambda row: images[row].astype(np.float32) / 255.0,
        count,
        min(batch_size, count),
        lambda row: masks[row].astype(np.float32),
        on_progress,
    )
    source, depths = (GIVEN, truth["joints"][:, ROOT, 2]) if true_root_depth else (ESTIMATE, None)
    placed = located_hands(weights, model, found, crops, K, source, depths)
    rows = list(range(count))
    listed = [
        HandToPredict(
            LocatedHand(
                HandKeypoints(image=f"held_out_{row:05d}", side="right"),
                None,
                (size, size),
                Camera(K[row], "file", "synthetic"),
            ),
            None,
        )
        for row in rows
    ]
    arrays = prediction_arrays(placed, found, listed, rows, crops, K, ["right"] * count)
    arrays |= {"losses": found.losses, "iou": found.iou, "iterations": np.array(found.steps)}
    if weights.options.refinement.steps == 0:
        return arrays, None
    start = place_hands(model, found._replace(h=found.history[:, 0]), crops, K, weights.options, source, depths)
    unrefined = {name: np.asarray(getattr(start, name)) for name in ("joints", "vertices", "rotation")}
    return arrays, unrefined | {name: arrays[name] for name in ("K", "side", "valid", "image")}
