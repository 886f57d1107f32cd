"""What an estimate is worth beside the hand that knows nothing; and errors of whole meshes."""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.spatial.transform import Rotation

from handpose_jax.evaluation.metrics import METRICS, joint_errors
from mano_jax import HandModel
from mano_jax.forward import forward, keypoints_from_mesh


def mean_hands(
    models: Mapping[str, HandModel],
    sides: Sequence[str] | np.ndarray,
    rotations: Float[np.ndarray, "hands 3"],
    wrists: Float[np.ndarray, "hands 3"],
) -> tuple[Float[np.ndarray, "hands 21 3"], Float[np.ndarray, "hands vertices 3"]]:
    """Joints and vertices of the mean pose and shape, put at given wrists and turned by given rotations.

    With a fit's wrists and rotations, the difference to the fit is what its fingers and proportions are worth.

    Args:
      models: of each side that occurs.
      sides: of the hands.
      rotations: axis-angle of the wrist, camera frame.
      wrists: positions, metres. A hand whose rotation or wrist is NaN comes out as NaN.
    """
    count = len(rotations)
    some = next(iter(models.values()))
    joints, vertices = np.full((count, 21, 3), np.nan), np.full((count, len(some.template), 3), np.nan)
    for side, model in models.items():
        rows = np.flatnonzero(np.asarray(sides) == side)
        if len(rows):
            # Posed at rest and turned here: one program a side, however many hands.
            points, mesh = (np.asarray(array, np.float64) for array in _mean_hand(model))
            turns = Rotation.from_rotvec(np.asarray(rotations, np.float64)[rows]).as_matrix()
            for result, at_rest in ((joints, points), (vertices, mesh)):
                turned = np.einsum("nab,vb->nva", turns, at_rest - points[0])
                result[rows] = turned + np.asarray(wrists, np.float64)[rows][:, None]
    return joints, vertices


@jax.jit
def _mean_hand(model: HandModel) -> tuple[Float[Array, "21 3"], Float[Array, "vertices 3"]]:
    nothing = jnp.zeros(3, model.dtype)
    mesh = forward(model, model.pose_mean, jnp.zeros(model.shape_size, model.dtype), nothing, nothing)
    return keypoints_from_mesh(model, mesh), mesh.vertices


def mean_vertex_errors_mm(
    joints: Float[np.ndarray, "hands 21 3"],
    vertices: Float[np.ndarray, "hands vertices 3"],
    true_joints: Float[np.ndarray, "hands 21 3"],
    true_vertices: Float[np.ndarray, "hands vertices 3"],
) -> dict[str, float]:
    """Mean distance of corresponding vertices, millimetres, under each alignment of `metrics`.

    root and root_scale are aligned by the joints (wrist, middle MCP), procrustes by joints and vertices together. Hands
    that are not finite are left out.
    """
    prediction = np.concatenate([joints, vertices], axis=1)
    truth = np.concatenate([true_joints, true_vertices], axis=1)
    finite = np.isfinite(prediction).all(axis=(1, 2))
    if not finite.any():
        return dict.fromkeys(METRICS, float("nan"))
    errors = joint_errors(prediction[finite], truth[finite])
    return {name: float(1000.0 * error[:, joints.shape[1] :].mean()) for name, error in errors.items()}
