"""One self-contained page that poses a hand model in the browser: no server, no network, nothing to install."""

import base64
import contextlib
import gzip
import html
import importlib.resources
import json
import os
import pathlib
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike, Float

from mano_jax.model import HandModel
from mano_jax.surface import PART_NAMES, face_parts
from mano_jax.viewer.appearance import PART_COLOURS, PLAIN_COLOUR, TEXTURE_SIZE, atlas_of, lid_of, skin_jpeg
from mano_jax.viewer.sliders import Sliders, named_angles

SIDES_SHOWN = ("right", "left", "both")
_SCRIPTS = ("hand.js", "renderer.js", "camera.js", "controls.js", "copying.js", "page.js")


def hand_page(
    model: HandModel,
    side: str | None = None,
    file_name: str | None = None,
    skin: str | None = "medium",
    random_poses: Float[ArrayLike, "poses 45"] | None = None,
    skin_size: int = TEXTURE_SIZE,
) -> str:
    """The page, as HTML. It holds the model: a page of an official MANO file is subject to that file's licence.

    Args:
      model: the hand, left or right. The page shows the other side as its exact mirror image.
      side: shown first, "right", "left" or "both"; the model's own if not given.
      file_name: what the Python that the page writes loads; None for the open hand.
      skin: tone of the open hand's skin, None for no texture. Models with other triangles have none in any case.
      random_poses: what the page's button for random poses draws from, axis-angle from the flat hand; no button if not
        given. `mano_jax.sample_poses` makes plausible ones.
      skin_size: edge of the skin's image, texels.

    Raises:
      ValueError: an unknown side or tone; a model of some vertices only; or Pillow is missing and a skin is wanted.
    """
    side = model.side if side is None else side
    if side not in SIDES_SHOWN:
        raise ValueError(f"side must be one of {', '.join(SIDES_SHOWN)}, got {side!r}")
    if not len(model.faces):
        raise ValueError("expected a hand with triangles, got a model of some vertices only; show the whole hand")
    sliders, atlas = Sliders(model), atlas_of(model)
    arrays = _arrays(sliders, random_poses)
    picture = skin_jpeg(skin, skin_size) if atlas is not None and skin is not None else b""
    if atlas is not None and picture:
        arrays |= {
            "uv": atlas.coordinates.astype(np.float32),
            "uvFaces": atlas.faces.astype(np.int32),
            "skin": np.frombuffer(picture, np.uint8),
        }
    layout, content = _packed(arrays)
    settings: dict[str, Any] = {
        "side": model.side,
        "shownSide": side,
        "fileName": file_name,
        "parents": model.parents,
        "fingertips": model.fingertips(),
        "sliders": [slider._asdict() for slider in sliders.table],
        "namedAngles": {name: np.round(angles, 6).ravel().tolist() for name, angles in named_angles().items()},
        "partColours": [PART_COLOURS[name] for name in PART_NAMES],
        "plainColour": PLAIN_COLOUR,
        "startPose": sliders.start.pose.tolist(),
        "arrays": layout,
    }
    title = "Hand viewer" if file_name is None else f"Hand viewer: {file_name}"
    parts = {
        "TITLE": html.escape(title),
        "MODEL": "the open hand" if file_name is None else html.escape(file_name),
        "STYLE": _part("page.css"),
        "SCRIPT": "\n".join(_part(name) for name in _SCRIPTS),
        # "</script>" inside a string would end the element that holds it.
        "SETTINGS": json.dumps(settings, separators=(",", ":")).replace("<", "\\u003c"),
        "DATA": base64.b64encode(gzip.compress(content, 9, mtime=0)).decode(),
    }
    page = _part("page.html")
    for name, text in parts.items():
        page = page.replace(f"@{name}@", text, 1)
    return page


def write_hand_page(path: str | os.PathLike, model: HandModel, **settings: Any) -> None:
    """Write `hand_page(model, **settings)` to a file, which appears whole or not at all.

    Raises:
      ValueError: as `hand_page`.
      OSError: the file cannot be written; nothing is left behind.
    """
    path = pathlib.Path(path)
    content = hand_page(model, **settings).encode()
    beside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        beside.write_bytes(content)
        os.replace(beside, path)
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()


def _part(name: str) -> str:
    return importlib.resources.files("mano_jax.viewer").joinpath(name).read_text("utf-8")


def _arrays(sliders: Sliders, random_poses: Float[ArrayLike, "poses 45"] | None) -> dict[str, np.ndarray]:
    """What the page computes with, under the names that its scripts know."""
    model = sliders.model
    arrays = {
        "template": model.template,
        # In planes, [blends, 3, vertices]: what each number moves lies together.
        "blendBasis": np.concatenate([model.pose_correctives, model.shape_basis], axis=2).transpose(2, 1, 0),
        "jointTemplate": model.joint_template,
        "jointShapeBasis": model.joint_shape_basis,
        "skinningWeights": model.skinning_weights,
        "poseMean": sliders.mean,
        "poseBasis": sliders.basis,
        "inversePoseBasis": sliders.inverse_basis,
        "axes": sliders.axes,
        "randomPoses": np.zeros((0, 45)) if random_poses is None else np.asarray(random_poses).reshape(-1, 45),
    }
    arrays = {name: np.asarray(jnp.asarray(array), np.float32) for name, array in arrays.items()}
    integers = {"faces": model.faces, "lid": lid_of(model), "faceParts": face_parts(model)}
    return arrays | {name: np.asarray(array, np.int32) for name, array in integers.items()}


def _packed(arrays: dict[str, np.ndarray]) -> tuple[dict[str, Any], bytes]:
    """All arrays in one block, little-endian, each at a multiple of four bytes, and where each is."""
    layout, content = {}, bytearray()
    for name, array in arrays.items():
        little = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<")))
        layout[name] = {"type": array.dtype.name, "offset": len(content), "shape": array.shape}
        content += little.tobytes()
        content += bytes(-len(content) % 4)
    return layout, bytes(content)
