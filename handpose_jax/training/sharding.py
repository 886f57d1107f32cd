"""Where arrays lie: batches in equal shares on all devices, everything else whole on each."""

from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

AXIS = "data"
"""The mesh's one axis, along which batches are cut."""


def data_mesh(devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh of one axis over devices, all by default. Its axis is Auto: the compiler derives what follows from inputs.

    Under `jit` a sum over a sharded batch is the whole batch's, so gradients, batch statistics and metrics are global.
    """
    devices = jax.devices() if devices is None else devices
    return jax.make_mesh((len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """First axis cut into equal shares."""
    return NamedSharding(mesh, PartitionSpec(AXIS))


def replicated_sharding(mesh: Mesh) -> NamedSharding:
    """A whole copy on every device: parameters, optimiser, hand model."""
    return NamedSharding(mesh, PartitionSpec())


def check_batch_size(batch_size: int, mesh: Mesh) -> None:
    """Raises:
    ValueError: the devices cannot share the batch evenly.
    """
    if batch_size < 1 or batch_size % mesh.size:
        raise ValueError(
            f"expected a batch that {mesh.size} devices can share evenly, got {batch_size} images; "
            f"{max(1, round(batch_size / mesh.size)) * mesh.size} would do"
        )
