"""The whole of the open hand: measures -> surface -> mesh -> weights -> shapes -> regressor -> correctives -> atlas."""

import pathlib

import numpy as np

from mano_jax.open_hand_model import correctives, flesh, mesh, regressor, shape_components, surface, uv
from mano_jax.open_hand_model import measures as anatomy
from mano_jax.open_hand_model.weights import skinning_weights

STATISTICS_PATH = pathlib.Path(__file__).parent / "pose_statistics.npz"


def build() -> dict[str, np.ndarray]:
    """The arrays of `HandModel.create` for the right hand, metres, the model's frame, and the atlas. Half a minute."""
    corrections = flesh.calibrated_corrections()
    groups = flesh.hand_bodies(flesh.Measures(), corrections)
    fingers = [lambda points, group=group: surface.blend(group, points) for group in groups[1:]]
    hand = mesh.build(flesh.rest_field(groups), fingers)
    weights = skinning_weights(hand, groups)
    opening = hand.vertices[:, 0] < mesh.WRIST_PLANE + 1e-6

    basis, joint_basis = shape_components.shape_basis(hand.vertices, weights, opening, corrections)
    joints = shape_components.rest_points(flesh.Measures())
    rows = regressor.joint_regressor(hand.vertices, joints, basis, joint_basis)
    pose_basis = correctives.pose_correctives(hand.vertices, hand.faces, hand.part, weights, groups)

    mean, covariance = pose_statistics()
    values, vectors = np.linalg.eigh(covariance)
    components = vectors.T[::-1]
    components *= np.sign(components[np.arange(45), np.argmax(np.abs(components), 1)])[:, None]
    template = anatomy.to_model_frame(hand.vertices).astype(np.float32)
    return {
        "template": template,
        "faces": hand.faces.astype(np.int32),
        "shape_basis": _vectors_to_model(basis).astype(np.float32),
        "pose_correctives": _correctives_to_model(pose_basis).astype(np.float16),
        "joint_regressor": rows.astype(np.float32),
        "skinning_weights": weights.astype(np.float32),
        "pose_mean": mean.astype(np.float32),
        "pose_basis": components.astype(np.float32),
        "pose_standard_deviations": np.sqrt(values[::-1]).astype(np.float32),
        **uv.atlas(template.astype(np.float64), hand.faces),
    }


def pose_statistics() -> tuple[np.ndarray, np.ndarray]:
    """Mean [45] and covariance [45, 45] of plausible poses, from tracked hands (see pose_statistics.py)."""
    with np.load(STATISTICS_PATH) as file:
        return file["mean"].astype(np.float64), file["covariance"].astype(np.float64)


def _vectors_to_model(basis: np.ndarray) -> np.ndarray:
    """Displacements [V, 3, N] from millimetres in the anatomical frame to metres in the model's."""
    return np.moveaxis(anatomy.rotate_to_model_frame(np.moveaxis(basis, 1, -1)), -1, 1) / 1000.0


def _correctives_to_model(basis: np.ndarray) -> np.ndarray:
    """The same for correctives [V, 3, 135], whose features R - I turn with the frame too."""
    change = anatomy.rotate_to_model_frame(np.eye(3)).T  # columns: the model's axes of the anatomical unit vectors
    features = basis.reshape(len(basis), 3, 15, 3, 3)
    return np.einsum("ab,vbjcd,ec,fd->vajef", change, features, change, change).reshape(basis.shape) / 1000.0


def write(path: str | pathlib.Path, arrays: dict[str, np.ndarray]) -> None:
    """Write the file beside its place first, then rename: no half-written model is left."""
    path = pathlib.Path(path)
    beside = path.with_name(path.name + ".part")
    try:
        with beside.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
