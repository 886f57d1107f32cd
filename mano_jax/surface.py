"""The hand's surface: closed at the wrist, smooth normals, parts by finger; all of it static but the normals."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int

from mano_jax.keypoints import MODEL_JOINT_NAMES
from mano_jax.model import HandModel

PART_NAMES = ("palm", "thumb", "index", "middle", "ring", "little")


def wrist_loop(model: HandModel) -> Int[np.ndarray, " loop"]:
    """Vertices around the wrist's opening in order, as the triangles beside them run.

    Raises:
      ValueError: the model's triangles have no single opening.
    """
    faces = np.asarray(model.faces, np.int64)
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    directed = {(int(a), int(b)) for a, b in edges}
    following = {a: b for a, b in directed if (b, a) not in directed}
    loop = [min(following, default=-1)]
    while loop[-1] in following and following[loop[-1]] != loop[0] and len(loop) < len(following):
        loop.append(following[loop[-1]])
    if len(loop) != len(following) or following.get(loop[-1]) != loop[0]:
        raise ValueError(
            f"expected triangles with one opening, at the wrist, got {len(following)} open edges in several"
        )
    return np.array(loop)


def closed_faces(model: HandModel) -> Int[np.ndarray, "faces 3"]:
    """The triangles and a lid on the wrist: a closed surface that encloses a volume.

    The lid is a strip over the opening, its triangles between vertices that are there: none is added, and the mesh
    keeps the model's 778. Facing outwards like the rest.

    Raises:
      ValueError: the model's triangles have no single opening.
    """
    loop = wrist_loop(model)[::-1]  # The lid uses the opening's edges the other way round.
    lid, low, high = [], 0, len(loop) - 1
    while high - low >= 2:
        lid.append((loop[low], loop[low + 1], loop[high]))
        low += 1
        if high - low >= 2:
            lid.append((loop[low], loop[high - 1], loop[high]))
            high -= 1
    return np.concatenate([np.asarray(model.faces), np.array(lid)]).astype(np.int32)


def vertex_normals(
    vertices: Float[ArrayLike, "*batch vertices 3"], faces: Int[ArrayLike, "faces 3"]
) -> Float[Array, "*batch vertices 3"]:
    """Unit outward normals of the vertices, each the mean of its triangles' weighted by their area.

    Zero, with derivative zero, where a vertex has no triangle of any area. With `closed_faces` the rim of the wrist
    leans towards the lid; with `model.faces` it does not.
    """
    vertices, faces = jnp.asarray(vertices), jnp.asarray(faces)
    corners = vertices[..., faces, :]
    first, second = corners[..., 1, :] - corners[..., 0, :], corners[..., 2, :] - corners[..., 0, :]
    areas = jnp.cross(first, second)
    sums = jnp.zeros_like(vertices)
    for corner in range(3):
        sums = sums.at[..., faces[:, corner], :].add(areas)
    squared = jnp.sum(sums * sums, axis=-1, keepdims=True)
    clear = squared > 0.0
    return jnp.where(clear, sums / jnp.sqrt(jnp.where(clear, squared, 1.0)), 0.0)


def vertex_joints(model: HandModel) -> Int[np.ndarray, " vertices"]:
    """The joint that moves each vertex most, 0 to 15 in the model's order. Not under `jit`: a table, not a number."""
    return np.argmax(np.asarray(model.skinning_weights), axis=1)


def vertex_parts(model: HandModel) -> Int[np.ndarray, " vertices"]:
    """Index into `PART_NAMES` of each vertex: the palm (with the back of the hand), or one of the fingers."""
    return _PART_OF_JOINT[vertex_joints(model)]


def face_parts(model: HandModel) -> Int[np.ndarray, " faces"]:
    """Index into `PART_NAMES` of each triangle: the part of most of its vertices, of its first where all differ."""
    parts = vertex_parts(model)[np.asarray(model.faces)]
    return np.where(parts[:, 1] == parts[:, 2], parts[:, 1], parts[:, 0])


_PART_OF_JOINT = np.array(
    [PART_NAMES.index(name.split("_")[0]) if name != "wrist" else 0 for name in MODEL_JOINT_NAMES], np.int64
)
