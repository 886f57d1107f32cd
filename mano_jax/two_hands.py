"""A left and a right hand as one model with a leading axis."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from mano_jax.model import SIDES, HandModel

BOTH = "both"


def two_hands(left: HandModel, right: HandModel) -> HandModel:
    """One pytree of both hands: every array has a leading axis of two, left then right.

    `jax.vmap(forward)(hands, pose, shape, rotation, translation)`, each argument with that axis too, poses both in one
    program. `faces` are those of the two meshes as one, of vertices [2, 778, 3] taken as [1556, 3]. Fingertip
    conventions in which the two differ are left out. What has a side (anatomy, mirroring, files) refuses the pair.

    Raises:
      ValueError: not a left and a right hand, or models of different sizes, dtypes or kinematic trees.
    """
    if (left.side, right.side) != SIDES:
        raise ValueError(f"expected a left and a right hand, in this order, got {left.side!r} and {right.side!r}")
    kinds = [[(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(model)] for model in (left, right)]
    if kinds[0] != kinds[1] or left.parents != right.parents:
        raise ValueError("the two hands must have arrays of the same shapes and dtypes, and the same kinematic tree")
    topology = dataclasses.replace(
        right.topology,
        faces=np.concatenate([left.faces, right.faces + left.template.shape[0]]),
        side=BOTH,
        fingertip_vertices=tuple(
            convention
            for convention in right.topology.fingertip_vertices
            if convention in left.topology.fingertip_vertices
        ),
        left_shape_corrected=left.topology.left_shape_corrected,
    )
    left, right = (dataclasses.replace(model, topology=topology) for model in (left, right))
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), left, right)
