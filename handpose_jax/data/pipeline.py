"""From annotated hands in files to batches of crops: decoded, cropped, mirrored and augmented in parallel by tf.data.

The generic part of all systems' data. Every process makes its share of each batch, and `to_devices` joins the shares to
arrays over all devices. A batch is a function of options, data and its number alone (`ExampleOrder`,
`draw_augmentations`). So a resumed run begins at its step without skipping over anything, and the batches do not depend
on how many processes make them.

A batch is a dictionary of arrays with one row a hand. Left hands are mirrored, so all are right hands; pixels are the
crop's, metres are in the frame of the crop's camera (mirrored and turned with the image, see `CropBatch`):

  images      uint8 [size, size, 3]
  masks       uint8 [size, size], 255 where the hand is; between at its outline
  depth       float32 [size, size], metres along z; 0 outside the cube and where nothing was measured
  images_known, masks_known, depth_known      bool: false where the set has none, and zeros stand for them
  keypoints   float32 [21, 2], pixels; annotated_2d [21] says which are known, the others are NaN
  joints      float32 [21, 3], metres; annotated_3d [21] likewise
  visible     bool [21]
  native      float32 [native, 3], metres: the sets' own joints, where all sets annotate the same
  K           float32 [3, 3], of the crop: projects joints to keypoints
  row         int32, of `HandTable`: which hand it is
  valid       bool: false where a row only fills the last batch of an evaluation
  centre, side, angle, mirrored               of the crop in the image, see `CropBatch`
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import os
import weakref
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Sharding

from handpose_jax.data.augmentation import NO_AUGMENTATION, AugmentationOptions, draw_augmentations
from handpose_jax.data.contents import pixels_of_row
from handpose_jax.data.examples import HandExamples, PixelFiles
from handpose_jax.data.hand_table import Arrays, CropOptions, HandTable
from handpose_jax.data.order import ExampleOrder
from handpose_jax.data.pixel_graph import crop_dataset


@dataclasses.dataclass(frozen=True)
class Share:
    """Which part of each batch this process makes: the `index`-th of `count` equal slices."""

    index: int = 0
    count: int = 1

    @classmethod
    def of_this_process(cls) -> Share:
        return cls(jax.process_index(), jax.process_count())

    def of(self, positions: np.ndarray) -> np.ndarray:
        """The slice of a batch's positions.

        Raises:
          ValueError: the slices would not be equal.
        """
        if len(positions) % self.count:
            raise ValueError(f"a batch of {len(positions)} cannot be shared evenly by {self.count} processes")
        return np.split(positions, self.count)[self.index]


class TrainingCrops:
    """Endless batches of one or several sets, mixed, shuffled and augmented."""

    def __init__(
        self,
        sets: Sequence[HandExamples],
        options: CropOptions,
        batch_size: int,
        weights: Sequence[float] | None = None,
        augmentation: AugmentationOptions | None = None,
        seed: int = 0,
        share: Share | None = None,
        workers: int = 0,
    ):
        """Args:
          sets: where examples come from.
          options: of the crops.
          batch_size: of all processes together.
          weights: how often examples come of each set; by default each example is as frequent as any other.
          augmentation: none by default.
          seed: of order and augmentation.
          share: of this process; by default as JAX knows it.
          workers: crops made in parallel; 0: one a core.

        Raises:
          ValueError: as `HandTable`, `ExampleOrder` and `Share`.
        """
        self.table = HandTable(sets, options)
        counts = [len(one) for one in sets]
        self._order = ExampleOrder(counts, counts if weights is None else weights, seed)
        self._share = Share.of_this_process() if share is None else share
        self._share.of(np.arange(batch_size))  # complains at once
        self._batch_size, self._seed, self._workers = batch_size, seed, workers
        self._augmentation = None if augmentation == NO_AUGMENTATION else augmentation

    def from_step(self, first_step: int = 0) -> Iterator[Arrays]:
        """This process's share of the batches from a step on, on the host: those of an iterator that began at 0.

        Raises:
          ValueError: while iterating, a file that cannot be read.
        """
        return _batches(self.table, self._plan, first_step, None, self._augmentation is not None, self._workers)

    def _plan(self, step: int) -> tuple[Arrays, Arrays]:
        table, drawn = self.table, None
        positions = self._share.of(np.arange(self._batch_size) + step * self._batch_size)
        chosen, index, epochs = self._order.at(positions)
        rows = table.first_rows[chosen] + index
        if self._augmentation is not None:
            drawn = draw_augmentations(self._seed, epochs, table.keys[rows], self._augmentation)
        crops = table.crops(rows, drawn)
        places = table.places(rows, crops)
        if drawn is not None:
            colours = {name: getattr(drawn, name) for name in ("colour", "blur", "cut_out", "cut_out_colour")}
            places |= {name: value.astype(np.float32) for name, value in colours.items()}
        return {**table.annotations(rows, crops), "valid": np.ones(len(rows), bool)}, places


def evaluation_batches(
    examples: HandExamples,
    options: CropOptions,
    batch_size: int,
    share: Share | None = None,
    workers: int = 0,
) -> Iterator[Arrays]:
    """Every hand once, in order, without augmentation; `valid` is False in the rows that fill the last batch.

    Arguments, results, errors: as `TrainingCrops`. All processes get equally many batches.
    """
    table = HandTable([examples], options)
    share = Share.of_this_process() if share is None else share
    share.of(np.arange(batch_size))

    def plan(step: int) -> tuple[Arrays, Arrays]:
        positions = share.of(np.arange(batch_size) + step * batch_size)
        rows = np.minimum(positions, len(table) - 1)
        crops = table.crops(rows)
        return {**table.annotations(rows, crops), "valid": positions < len(table)}, table.places(rows, crops)

    return _batches(table, plan, 0, -(-len(table) // batch_size), False, workers)


def to_devices(batch: Arrays, sharding: Sharding) -> dict[str, jax.Array]:
    """Each process's share -> one array over all devices for each field, cut along the first axis."""
    return {name: jax.make_array_from_process_local_data(sharding, value) for name, value in batch.items()}


_running: weakref.WeakSet[Generator[Arrays, None, None]] = weakref.WeakSet()


@atexit.register
def _stop() -> None:
    """Lets go of tf.data while Python still runs: it calls back into it, and complains when it cannot."""
    for generator in list(_running):
        with contextlib.suppress(ValueError):  # It is at work in another thread.
            generator.close()


def _batches(*arguments: Any) -> Iterator[Arrays]:
    generator = _run_plans(*arguments)
    _running.add(generator)
    return generator


def _run_plans(
    table: HandTable,
    plan: Callable[[int], tuple[Arrays, Arrays]],
    first_step: int,
    steps: int | None,
    colour: bool,
    workers: int,
) -> Generator[Arrays, None, None]:
    """Runs the plans: annotations as they are, pixels through tf.data."""
    # Annotations of the batches that tf.data is at work on: it plans ahead, in a thread of its own.
    ahead: dict[int, Arrays] = {}

    def places_of(step: int) -> Arrays:
        ahead[step], places = plan(step)
        return places

    pixels = iter(crop_dataset(places_of, first_step, steps, table.options, colour, workers))
    step = first_step
    while steps is None or step < first_step + steps:
        try:
            found = next(pixels)
        except Exception as error:
            _raise_for_unreadable_file(table, plan(step)[1])
            raise ValueError(f"crops of step {step} could not be made: {' '.join(str(error).split())}") from error
        yield {**ahead.pop(step), **{name: value.numpy() for name, value in found.items()}}
        step += 1


def _raise_for_unreadable_file(table: HandTable, places: Arrays) -> None:
    """TensorFlow does not say which file it was; reading those of the batch again in Python does."""
    for kind in table.files:
        for path, encoding in zip(places[f"{kind}_path"], places[f"{kind}_encoding"], strict=True):
            if path:
                pixels_of_row(PixelFiles((os.fsdecode(path),), encoding.decode()), 0)
