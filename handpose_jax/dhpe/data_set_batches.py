"""Training examples of data sets for DHPE, alone or mixed with synthetic ones."""

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array

from handpose_jax.data.examples import HandExamples
from handpose_jax.data.hand_table import Arrays, CropOptions
from handpose_jax.data.pipeline import TrainingCrops, to_devices
from handpose_jax.data.sources import RealDataOptions
from handpose_jax.dhpe.normalisation import focal_length, normalise
from handpose_jax.dhpe.synthetic_batches import Batch, SyntheticDataOptions, synthetic_batch
from handpose_jax.projection import ROOT
from handpose_jax.training.sharding import AXIS, batch_sharding
from mano_jax import HandModel
from render_jax import Pinhole


def batch_of(fields: Mapping[str, Array], size: int) -> Batch:
    """What DHPE trains on, of crops as `handpose_jax.data.pipeline` makes them; to be jitted.

    A joint counts where its place in the image, its place in space and that of the middle MCP are known; whether it is
    seen does not matter. A hand without mask has a mask of ones, weight 0: then the cut-out image is the image.

    Args:
      fields: on the devices.
      size: edge of the crops, pixels.
    """
    known = fields["annotated_2d"] & fields["annotated_3d"] & fields["annotated_3d"][:, ROOT, None]
    # Unknown joints are put to the root, or before the camera if that is unknown: all numbers stay finite.
    root = jnp.where(known[:, ROOT, None], fields["joints"][:, ROOT], jnp.asarray([0.0, 0.0, 1.0]))
    joints = jnp.where(known[..., None], fields["joints"], root[:, None])
    keypoints = jnp.where(known[..., None], fields["keypoints"], 0.5 * size)
    camera = jax.vmap(lambda K: Pinhole(fx=K[0, 0], fy=K[1, 1], cx=K[0, 2], cy=K[1, 2]))(fields["K"])
    edge = jnp.asarray(float(size))
    masked = fields["masks_known"]
    return Batch(
        images=fields["images"].astype(jnp.float32) / 255.0,
        masks=jnp.where(masked[:, None, None], fields["masks"].astype(jnp.float32) / 255.0, 1.0),
        joints_2d=keypoints * (2.0 / size) - 1.0,
        joints_3d=jax.vmap(lambda one, by: normalise(one, by, edge))(joints, camera),
        joint_weights=known.astype(jnp.float32),
        mask_weight=masked.astype(jnp.float32),
        metres_per_edge=edge * root[:, 2] / focal_length(camera),
    )


class DataSetSource:
    """(step, key) -> a batch of read and synthetic examples, on the devices.

    A function of its arguments: called for a step that does not follow the last one, it begins anew there.
    """

    def __init__(
        self,
        examples: Sequence[HandExamples],
        weights: Sequence[float],
        real: RealDataOptions,
        synthetic: SyntheticDataOptions,
        seed: int,
        model: HandModel,
        mesh: Mesh,
    ):
        """Args:
          examples, weights: see `handpose_jax.data.sources.read_sets`.
          real: how they are cropped and mixed.
          synthetic: size of batch and crops, and the synthetic share's images.
          seed: of order and augmentation.
          model: right hand, replicated on the mesh.
          mesh: of the devices.

        Raises:
          ValueError: the devices cannot share the parts evenly, or the examples cannot be used.
        """
        for one in examples:
            if not np.isfinite(one.joints[:, ROOT]).all(axis=-1).any():
                raise ValueError(
                    f"{one.name} {one.split} does not annotate the middle finger's MCP in 3D, from which DHPE "
                    "measures: it can be scored on, not trained on"
                )
        made, read = shares_of(synthetic.batch_size, real.synthetic_share, mesh.size)
        size = synthetic.synthesis.image_size
        options = CropOptions(size=size, margin=real.margin)
        self._crops = TrainingCrops(
            examples, options, read, weights, real.chosen_augmentation, seed, workers=real.workers
        )
        self._sharding = batch_sharding(mesh)
        self._model, self._devices = model, mesh if mesh.size > 1 else None
        self._synthetic = dataclasses.replace(synthetic, batch_size=made) if made else None
        self._convert = jax.jit(functools.partial(batch_of, size=size), out_shardings=self._sharding)
        self._join = jax.jit(functools.partial(joined, devices=self._devices), out_shardings=self._sharding)
        self._iterator: Iterator[Arrays] | None = None
        self._next = 0

    def __call__(self, step: int, key: Array) -> Batch:
        if self._iterator is None or step != self._next:
            self._iterator, self._next = self._crops.from_step(step), step
        batch = self._convert(to_devices(next(self._iterator), self._sharding))
        self._next += 1
        if self._synthetic is None:
            return batch
        return self._join(batch, synthetic_batch(key, self._model, self._synthetic, self._devices))


def shares_of(batch_size: int, synthetic_share: float, devices: int) -> tuple[int, int]:
    """How many images of a batch are made and how many read: whole ones on each device, at least one of each kind.

    Raises:
      ValueError: a device has too few images for both kinds.
    """
    each = batch_size // devices
    made = min(max(round(synthetic_share * each), 1), each) if synthetic_share > 0.0 else 0
    if made == each:
        raise ValueError(
            f"real.synthetic_share={synthetic_share} leaves no image to be read of the {each} that each device has of "
            f"a batch of {batch_size}"
        )
    return made * devices, (each - made) * devices


def joined(real: Batch, synthetic: Batch, devices: Mesh | None) -> Batch:
    """One batch of two, on each device its own shares of both."""

    def both(one: Batch, other: Batch) -> Batch:
        return jax.tree.map(lambda first, second: jnp.concatenate([first, second]), one, other)

    if devices is None:
        return both(real, synthetic)
    shares = PartitionSpec(AXIS)
    return jax.shard_map(both, mesh=devices, in_specs=(shares, shares), out_specs=shares)(real, synthetic)
