"""L_Lap: how far the vertices of a mesh lie from the means of their neighbours."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from mano_jax.rotations import PRECISION


def laplacian_matrix(faces: Int[np.ndarray, "faces 3"], vertices: int) -> Float[np.ndarray, "vertices vertices"]:
    """The graph Laplacian: row i gives the mean of vertex i's neighbours less vertex i; zero for a lone vertex. Static.

    Uniform weights [ours].
    """
    faces = np.asarray(faces)
    adjacent = np.zeros((vertices, vertices), np.float32)
    for first, second in ((0, 1), (1, 2), (2, 0)):
        adjacent[faces[:, first], faces[:, second]] = 1.0
        adjacent[faces[:, second], faces[:, first]] = 1.0
    degree = adjacent.sum(axis=1, keepdims=True)
    return adjacent / np.maximum(degree, 1.0) - np.diag((degree[:, 0] > 0.0).astype(np.float32))


def laplacian_loss(
    vertices: Float[Array, "vertices 3"], laplacian: Float[Array | np.ndarray, "vertices vertices"]
) -> Float[Array, ""]:
    """L_Lap (no equation number known) [derived]: mean over the vertices of the norm of the Laplacian.

    After Kanazawa et al. (CMR, ECCV 2018). In the vertices' unit. It shrinks what it is given: of NDC vertices the
    scale, of the model's own (`NdcMesh.model_vertices` times a constant) the hand's shape. Gradient zero at a vertex
    that lies in the mean of its neighbours.

    Args:
      vertices: a mesh.
      laplacian: `laplacian_matrix` of its triangles.
    """
    differences = jnp.einsum("ij,jc->ic", jnp.asarray(laplacian, vertices.dtype), vertices, precision=PRECISION)
    squared = jnp.sum(differences * differences, axis=-1)
    flat = squared == 0.0
    return jnp.mean(jnp.where(flat, 0.0, jnp.sqrt(jnp.where(flat, 1.0, squared))))
