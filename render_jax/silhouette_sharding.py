"""Silhouettes of a batch that is spread over devices, each device drawing its own share."""

import jax
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float, Int

from render_jax.silhouette import soft_silhouette


def sharded_soft_silhouettes(
    vertices: Float[Array, "batch vertices 3"],
    faces: Int[Array | np.ndarray, "faces 3"],
    image_size: tuple[int, int],
    sigma: float,
    *,
    mesh: Mesh,
    axis: str,
    **options,
) -> Float[Array, "batch height width"]:
    """`soft_silhouette` of a batch whose first axis is sharded along an axis of a device mesh; so is the result.

    Under plain `jit`, a loop over all images of a sharded batch is silently run by every device for all of them. Here
    each device runs a loop over its own. Differentiable like `soft_silhouette`.

    Args:
      vertices: as for `soft_silhouette`, a batch of as many images as the axis has devices, or a multiple.
      faces: known ones.
      image_size: (height, width).
      sigma: pixels squared.
      mesh: device mesh (`jax.make_mesh(..., axis_types=...)`).
      axis: its axis.
      options: `mode`, `backend`, `deterministic`.

    Raises:
      ValueError: vertices without a batch axis, an unknown axis, or a batch that its devices cannot share evenly.
    """
    if vertices.ndim != 3:
        raise ValueError(f"expected vertices of shape (batch, vertices, 3), not {vertices.shape}")
    if axis not in mesh.shape:
        raise ValueError(f"expected an axis of the mesh, one of {tuple(mesh.shape)}, not {axis!r}")
    if vertices.shape[0] % mesh.shape[axis]:
        raise ValueError(
            f"expected a batch that {mesh.shape[axis]} devices can share evenly, not {vertices.shape[0]} images; pad it"
        )

    def share(vertices):
        return jax.vmap(lambda one: soft_silhouette(one, faces, image_size, sigma, **options))(vertices)

    spec = PartitionSpec(axis)
    return jax.shard_map(share, mesh=mesh, in_specs=spec, out_specs=spec)(vertices)
