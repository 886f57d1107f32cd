"""DHPE as the common loop takes it: compiled functions on a device mesh, held-out errors, pictures."""

import functools
import os
import pathlib

import jax
import numpy as np
from jax.sharding import Mesh

from handpose_jax.data.sources import read_sets
from handpose_jax.dhpe.data_set_batches import DataSetSource
from handpose_jax.dhpe.synthetic_batches import Batch, synthetic_batch
from handpose_jax.dhpe.training import DhpeTraining, initial_variables, train_step
from handpose_jax.dhpe.training_evaluation import evaluate_batch, panel
from handpose_jax.training import Hook, System, TrainState, batch_sharding, make_optimizer, new_state
from handpose_jax.training import replicated_sharding as whole
from handpose_jax.training.sharding import check_batch_size
from mano_jax import HandModel

HELD_OUT = 0x48454C44
"""Folded into the seed for held-out keys, which training, folding in its steps, never draws."""
PICTURES = "pictures"


def dhpe_system(training: DhpeTraining, model: HandModel, mesh: Mesh, workdir: pathlib.Path) -> System:
    """A run on a mesh of devices.

    Args:
      training: the config.
      model: right hand.
      mesh: `training.data_mesh()`.
      workdir: pictures go to `pictures/` in it.

    Raises:
      ValueError: the batch cannot be shared evenly, the model is a left hand, or a data set cannot be read.
    """
    check_batch_size(training.data.batch_size, mesh)
    if model.side != "right":
        raise ValueError(f"DHPE trains on right hands and mirrors left ones, got a {model.side} hand's model")
    optimizer, options = make_optimizer(training.optimizer), training.dhpe
    replicated, shared = whole(mesh), batch_sharding(mesh)
    model = jax.device_put(model, replicated)
    # On one device there is nothing to share, and what the loops over images need for it only slows compiling down.
    devices = mesh if mesh.size > 1 else None

    def init(seed: jax.Array, model: HandModel) -> TrainState:
        variables = initial_variables(seed, model, options)
        return new_state(variables["params"], variables["batch_stats"], optimizer, seed)

    jitted_init = jax.jit(init, out_shardings=replicated)
    seed = np.uint32(training.seed)

    def abstract_state() -> TrainState:
        shapes = jax.eval_shape(init, seed, model)
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=replicated), shapes)

    step = jax.jit(
        functools.partial(
            train_step,
            options=options,
            optimizer=optimizer,
            average_decay=training.optimizer.average_decay,
            devices=devices,
        ),
        in_shardings=(replicated, shared, replicated),
        out_shardings=(replicated, replicated),
        donate_argnums=0,
    )

    def abstract_batch() -> Batch:
        shapes = jax.eval_shape(lambda key, model: synthetic_batch(key, model, training.data), jax.random.key(0), model)
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=shared), shapes)

    def synthetic(number: int, key: jax.Array) -> Batch:
        return synthetic_batch(key, model, training.data, devices)

    real = training.real
    source = (
        DataSetSource(*read_sets(real.used), real, training.data, training.seed, model, mesh) if real.used else None
    )
    held_out = HeldOut(training, model, devices, workdir)
    return System(
        abstract_state=abstract_state,
        abstract_batch=abstract_batch,
        initial_state=lambda: jitted_init(seed, model),
        source=source or synthetic,
        train_step=lambda state, batch: step(state, batch, model),
        lower=lambda: step.lower(abstract_state(), abstract_batch(), model),
        hooks=(
            Hook(training.loop.evaluate_every, held_out.evaluate),
            Hook(training.loop.picture_every, held_out.draw),
        ),
        images_per_step=training.data.batch_size,
    )


class HeldOut:
    """Synthetic hands that training never sees, made once, on which the averaged parameters are evaluated."""

    def __init__(self, training: DhpeTraining, model: HandModel, devices: Mesh | None, workdir: pathlib.Path):
        self._training, self._model, self._devices, self._workdir = training, model, devices, workdir
        self._batches: list[Batch] = []
        self._evaluate = jax.jit(functools.partial(evaluate_batch, options=training.dhpe))

    def batches(self) -> list[Batch]:
        """Made at the first call, kept on the host."""
        if not self._batches:
            base = jax.random.fold_in(jax.random.key(self._training.seed), HELD_OUT)
            for number in range(-(-self._training.evaluation_images // self._training.data.batch_size)):
                key = jax.random.fold_in(base, number)
                made = synthetic_batch(key, self._model, self._training.data, self._devices)
                self._batches.append(jax.device_get(made))
        return self._batches

    def evaluate(self, state: TrainState, step: int) -> dict[str, float]:
        """Means over all batches, their names prefixed with held_out_."""
        found = [jax.device_get(self._evaluate(state.averaged, batch, self._model)[0]) for batch in self.batches()]
        return {f"held_out_{name}": float(np.mean([one[name] for one in found])) for name in found[0]}

    def draw(self, state: TrainState, step: int) -> None:
        """Writes `pictures/step_NNNNNNN.png`."""
        batch = self.batches()[0]
        _, estimate, masks = jax.device_get(self._evaluate(state.averaged, batch, self._model))
        folder = self._workdir / PICTURES
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"step_{step:07d}.png"
        beside = path.with_suffix(".unfinished")
        panel(batch, estimate, masks, self._training.dhpe.losses).save(beside, format="PNG", optimize=True)
        os.replace(beside, path)
