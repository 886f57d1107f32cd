"""Skin textures for the open hand's atlas: `python -m mano_jax.open_hand_model.texture --out=DIR` writes PNG files.

Each texel is coloured by `skin.skin_colour` at the place on the resting hand that it belongs to, so seams do not show
and any resolution has the same features. Deterministic NumPy; PNG files need Pillow.
"""

import argparse
import pathlib
import sys
from typing import NamedTuple

import numpy as np

from mano_jax.anatomy import joint_axes
from mano_jax.model import HandModel
from mano_jax.open_hand_model import open_hand, open_hand_uv
from mano_jax.open_hand_model.skin import TONES, skin_colour

SIZES = (256, 512, 1024)
MARGIN = 8
"""Texels that colours are carried beyond the charts, so that filtered look-ups find skin there."""


class TexelMap(NamedTuple):
    """What each texel of an atlas shows. Rows from the top of the image.

    Attributes:
      face: index of its triangle, -1 where there is none.
      barycentric: its place in the triangle.
    """

    face: np.ndarray  # [size, size] int
    barycentric: np.ndarray  # [size, size, 3]


def texel_map(uv: np.ndarray, uv_faces: np.ndarray, size: int) -> TexelMap:
    """Triangles drawn into the atlas; a texel belongs to the one that its centre lies in."""
    face = np.full((size, size), -1)
    barycentric = np.zeros((size, size, 3))
    places = np.stack([uv[:, 0], 1.0 - uv[:, 1]], -1) * size - 0.5  # in columns and rows of texel centres
    for number, corners in enumerate(places[uv_faces]):
        low, high = np.ceil(corners.min(0)).astype(int), np.floor(corners.max(0)).astype(int)
        columns, rows = np.meshgrid(np.arange(low[0], high[0] + 1), np.arange(low[1], high[1] + 1))
        (a, b, c), point = corners, np.stack([columns, rows], -1)
        area = _cross(b - a, c - a)
        weights = np.stack([_cross(c - b, point - b), _cross(a - c, point - c), _cross(b - a, point - a)], -1) / area
        inside = (weights >= -1e-9).all(-1)
        face[rows[inside], columns[inside]] = number
        barycentric[rows[inside], columns[inside]] = weights[inside]
    return TexelMap(face, barycentric)


def _cross(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    return one[..., 0] * two[..., 1] - one[..., 1] * two[..., 0]


def skin_texture(size: int = 512, tone: str | float = "medium", seed: int = 0) -> np.ndarray:
    """[size, size, 3] uint8 sRGB skin for `open_hand_uv`; the same image serves both hands.

    Args:
      size: edge in texels.
      tone: one of `skin.TONES`, or an individual typology angle in degrees (-60 dark to 60 very light).
      seed: of mottling and of the veins' courses.

    Raises:
      ValueError: `size` is below 16, or there is no tone of that name.
    """
    if size < 16:
        raise ValueError(f"size must be 16 or more texels, got {size}")
    if isinstance(tone, str) and tone not in TONES:
        raise ValueError(f"tone must be one of {', '.join(TONES)} or an angle in degrees, got {tone!r}")
    model, atlas = open_hand("right"), open_hand_uv("right")
    texels = texel_map(np.asarray(atlas.coordinates, np.float64), atlas.faces, size)
    covered = texels.face >= 0
    corners, weights = model.faces[texels.face[covered]], texels.barycentric[covered][..., None]
    rest = np.sum(np.asarray(model.template, np.float64)[corners] * weights, 1)
    palmar = np.sum(palmar_side(model)[corners] * weights[..., 0], 1)
    angle = TONES[tone] if isinstance(tone, str) else float(tone)
    image = np.zeros((size, size, 3))
    image[covered] = skin_colour(model, rest, palmar, angle, seed)
    return np.round(255 * _spread(image, covered)).astype(np.uint8)


def palmar_side(model: HandModel) -> np.ndarray:
    """[778] from -1 (back) to 1 (palm): how much each vertex of a right hand faces the palmar side of its own bone."""
    vertices, faces = np.asarray(model.template, np.float64), model.faces
    corners = vertices[faces]
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros_like(vertices)
    for corner in range(3):
        np.add.at(normals, faces[:, corner], cross)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    dorsal = np.concatenate([[(0.0, 1.0, 0.0)], np.asarray(joint_axes(model), np.float64)[:, 1]])
    return -np.sum(normals * (np.asarray(model.skinning_weights, np.float64) @ dorsal), 1)


def _spread(image: np.ndarray, covered: np.ndarray) -> np.ndarray:
    """Colours carried `MARGIN` texels outwards, the mean colour beyond."""
    image, known = image.copy(), covered.copy()
    mean = image[covered].mean(0)
    for _ in range(MARGIN):
        total, number = np.zeros_like(image), np.zeros(known.shape)
        for axis in (0, 1):
            for step in (1, -1):
                beside = np.roll(known, step, axis)
                total += np.roll(image * known[..., None], step, axis)
                number += beside
        grown = ~known & (number > 0)
        image[grown] = total[grown] / number[grown][:, None]
        known |= grown
    image[~known] = mean
    return image


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m mano_jax.open_hand_model.texture", description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder, made if it is missing")
    parser.add_argument("--size", type=int, action="append", help=f"texels; may be repeated; default {SIZES}")
    parser.add_argument("--tone", action="append", choices=list(TONES), help="may be repeated; default: all")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    try:
        from PIL import Image
    except ImportError:
        print("writing PNG files needs Pillow: pip install pillow", file=sys.stderr)
        return 2
    try:
        arguments.out.mkdir(parents=True, exist_ok=True)
        for size in arguments.size or SIZES:
            for tone in arguments.tone or TONES:
                path = arguments.out / f"skin_{tone}_{size}.png"
                beside = path.with_name(path.name + ".part")
                Image.fromarray(skin_texture(size, tone, arguments.seed)).save(beside, format="PNG", optimize=True)
                beside.replace(path)
                print(path)
    except (OSError, ValueError) as error:
        print(f"cannot write textures to {arguments.out}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
