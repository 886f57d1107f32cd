"""The open hand: a hand model of MANO's form made by code from anatomy, free of MANO's licence.

`open_hand()` reads the shipped file; `python -m mano_jax.open_hand_model` makes that file again. The modules are read
best in this order: measures (bones, axes, limits), flesh on surface (the skin as an implicit surface), rings,
palm_division and mesh (778 vertices), weights, correctives, shape_components, regressor, uv, build; skin and texture
colour it.
"""

import importlib.resources
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from mano_jax.mirror import mirror_model
from mano_jax.model import SIDES, HandModel

FILE_NAME = "open_hand.npz"


def open_hand(side: str = "right", dtype: DTypeLike | None = None) -> HandModel:
    """The licence-free hand: 778 vertices, 1,538 triangles, 16 joints, 10 documented shape components.

    Right by construction, left by exact mirror. Units, frame, joint order, fingertip vertices and the meaning of every
    array are MANO's, see `HandModel`; the components are named in `shape_components.COMPONENTS`. `dtype` is float32
    unless given.

    Raises:
      ValueError: `side` is neither "left" nor "right".
    """
    if side not in SIDES:
        raise ValueError(f"side must be 'left' or 'right', got {side!r}")
    with importlib.resources.files(__name__).joinpath(FILE_NAME).open("rb") as file, np.load(file) as arrays:
        model = model_from_arrays(dict(arrays), jnp.float32 if dtype is None else dtype)
    return model if side == "right" else mirror_model(model)


class OpenHandUV(NamedTuple):
    """Texture coordinates of the open hand: an atlas of five fingers, back and palm.

    Attributes:
      coordinates: [T, 2] (u right, v up) in [0, 1]; vertices along the charts' borders have several of them.
      faces: [1538, 3] int32, for each corner of the model's triangles its row in `coordinates`.
    """

    coordinates: np.ndarray
    faces: np.ndarray


def open_hand_uv(side: str = "right") -> OpenHandUV:
    """Texture coordinates that go with `open_hand(side).faces`; both sides share one image.

    Raises:
      ValueError: `side` is neither "left" nor "right".
    """
    if side not in SIDES:
        raise ValueError(f"side must be 'left' or 'right', got {side!r}")
    with importlib.resources.files(__name__).joinpath(FILE_NAME).open("rb") as file, np.load(file) as arrays:
        coordinates, faces = arrays["uv"], arrays["uv_faces"]
    # The mirrored model's triangles are turned round, and its corners with them.
    return OpenHandUV(coordinates, faces if side == "right" else np.ascontiguousarray(faces[:, ::-1]))


def model_from_arrays(arrays: dict[str, np.ndarray], dtype: DTypeLike = jnp.float32) -> HandModel:
    """The right hand's `HandModel` of the arrays that `build.build` makes and the shipped file holds."""
    others = ("faces", "uv", "uv_faces")
    full: dict[str, Any] = {name: array.astype(np.float64) for name, array in arrays.items() if name not in others}
    # Stored in half precision, the weights would sum to 1 within 1e-3 only.
    full["skinning_weights"] /= full["skinning_weights"].sum(1, keepdims=True)
    full["joint_regressor"] /= full["joint_regressor"].sum(1, keepdims=True)
    return HandModel.create(**full, faces=arrays["faces"], side="right", dtype=dtype)
