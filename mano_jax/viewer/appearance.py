"""What the viewer colours a hand with: parts, the open hand's skin, a lid on the wrist."""

import io

import numpy as np
from jaxtyping import Int

from mano_jax.model import HandModel
from mano_jax.open_hand_model import OpenHandUV, open_hand, open_hand_uv
from mano_jax.surface import PART_NAMES, closed_faces

PART_COLOURS = dict(
    zip(
        PART_NAMES,
        ((205, 200, 192), (226, 112, 88), (236, 176, 82), (116, 178, 116), (88, 152, 206), (158, 122, 196)),
        strict=True,
    )
)
"""sRGB of each part."""
PLAIN_COLOUR = (200, 160, 138)
TEXTURE_SIZE = 1024


def atlas_of(model: HandModel) -> OpenHandUV | None:
    """Texture coordinates of a model that has the open hand's triangles, None for any other."""
    own = np.array_equal(model.faces, open_hand(model.side).faces)
    return open_hand_uv(model.side) if own else None


def lid_of(model: HandModel) -> Int[np.ndarray, "lid 3"]:
    """Triangles that close the wrist; none for a surface without a single opening there."""
    try:
        return closed_faces(model)[len(model.faces) :]
    except ValueError:
        return np.zeros((0, 3), np.int32)


def skin_jpeg(tone: str, size: int = TEXTURE_SIZE) -> bytes:
    """The open hand's skin as a JPEG file.

    Raises:
      ValueError: Pillow is not installed, or there is no tone of that name.
    """
    try:
        from PIL import Image
    except ImportError:
        raise ValueError("a skin texture needs Pillow: pip install pillow, or --skin=none") from None
    from mano_jax.open_hand_model.texture import skin_texture

    file = io.BytesIO()
    Image.fromarray(skin_texture(size, tone)).save(file, format="JPEG", quality=90, subsampling=0)
    return file.getvalue()
