"""Pictures of fitted hands: overlays of four panels, and turntables."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, UInt8

import render_jax
from handpose_jax.evaluation.drawing import draw_skeleton, gif_bytes, side_by_side, to_image, with_caption

if TYPE_CHECKING:
    from PIL.Image import Image

PANEL_SIZE = 384
SKIN = (0.90, 0.72, 0.61)
_SIDE_BACKGROUND = 0.93
_OUTSIDE = (58, 60, 64)
_MARGIN = 1.6
"""Edge of the square shown, in units of the larger side of the box around hands and keypoints."""
_WHOLE_IMAGE_SHARE = 0.6
"""A square that takes more of the image's longer side than this is widened to the whole image."""


@dataclasses.dataclass(frozen=True)
class PicturedHand:
    """What an overlay shows of one hand.

    Attributes:
      keypoints: input, u px, v px, confidence; None where there are none.
      vertices: metres, camera frame; None where the hand could not be fitted.
      faces: of the model of the hand's side.
      label: a few words, such as "left, 2.3 px".
    """

    keypoints: Float[np.ndarray, "21 3"] | None
    vertices: Float[np.ndarray, "vertices 3"] | None
    faces: Int[np.ndarray, "faces 3"]
    label: str = ""


def overlay(
    image: UInt8[np.ndarray, "height width 3"],
    hands: Sequence[PicturedHand],
    camera: Float[np.ndarray, "3 3"],
    name: str = "",
    panel_size: int = PANEL_SIZE,
) -> Image:
    """Four panels: the image, keypoints over it, meshes over it, and each mesh from the side.

    Large photographs are cropped to a square around the hands; the first panel then shows the whole and frames the
    square. The side view is what one would see from the viewer's right: the mesh turned a quarter about the vertical
    axis through its centre, at the same distance and scale (smaller where it would leave the panel); several hands get
    a cell each, and fill it.

    Args:
      image: upright RGB.
      hands: of this image.
      camera: K of the image.
      name: caption of the first panel.
      panel_size: edge of a panel, pixels.
    """
    left, top, edge = _square_around(image.shape[:2], hands, camera)
    shown = _cut(image, left, top, edge, panel_size)
    factor = panel_size / edge
    whole_edge = float(max(image.shape[:2]))
    whole_left, whole_top = (image.shape[1] - whole_edge) / 2, (image.shape[0] - whole_edge) / 2
    whole = _cut(image, whole_left, whole_top, whole_edge, panel_size)
    if edge < 0.99 * whole_edge:
        whole = _framed(whole, left - whole_left, top - whole_top, edge, panel_size / whole_edge)

    skeletons = shown
    for hand in hands:
        if hand.keypoints is not None:
            seen = np.isfinite(hand.keypoints).all(axis=1) & (hand.keypoints[:, 2] > 0)
            skeletons = draw_skeleton(skeletons, (hand.keypoints[:, :2] - (left, top)) * factor, seen.tolist())

    panel_camera = np.asarray(camera, np.float64).copy()
    panel_camera[:2, 2] -= (left, top)
    panel_camera[:2] *= factor
    fitted = [hand for hand in hands if hand.vertices is not None]
    meshes = np.asarray(shown, np.float32) / 255.0
    # Far hands first: a nearer one covers them.
    for hand in sorted(fitted, key=lambda hand: -float(np.mean(np.asarray(hand.vertices)[:, 2]))):
        meshes = rendered(hand.vertices, hand.faces, panel_camera, meshes)
    sides = [_side_view(hand, panel_camera, panel_size, fill=len(fitted) > 1) for hand in fitted]

    labels = "; ".join(hand.label for hand in hands if hand.label)
    return side_by_side(
        [
            with_caption(whole, name),
            with_caption(skeletons, "keypoints"),
            with_caption(to_image(meshes), f"mesh: {labels}" if labels else "mesh"),
            with_caption(_tiled(sides, panel_size), "from the side"),
        ]
    )


def turntable(
    vertices: Float[np.ndarray, "vertices 3"],
    faces: Int[np.ndarray, "faces 3"],
    up: Sequence[float] = (0.0, -1.0, 0.0),
    start: Sequence[float] = (0.0, 0.0, -1.0),
    views: int = 36,
    size: int = 320,
    colour: Sequence[float] = SKIN,
) -> list[Image]:
    """Pictures of a mesh from all sides, on a circle around its centre.

    Args:
      vertices: metres, any frame.
      faces: counter-clockwise from outside.
      up: of that frame; the default is the camera frame's.
      start: from the centre towards the first viewpoint.
      views: how many.
      size: edge of a picture, pixels.
      colour: RGB of the skin.
    """
    points = np.asarray(vertices, np.float32)
    centre = 0.5 * (points.min(axis=0) + points.max(axis=0))
    radius = float(np.linalg.norm(points - centre, axis=1).max())
    distance = 6.0 * radius
    rotations, translations = render_jax.turntable(
        jnp.asarray(centre),
        distance,
        views,
        jnp.asarray(up, jnp.float32),
        jnp.asarray(start, jnp.float32),
        elevation=0.25,
    )
    focal = 0.46 * size * distance / radius
    camera = np.array([[focal, 0.0, 0.5 * size], [0.0, focal, 0.5 * size], [0.0, 0.0, 1.0]])
    background = np.full((size, size, 3), _SIDE_BACKGROUND, np.float32)
    frames = []
    for rotation, translation in zip(np.asarray(rotations), np.asarray(translations), strict=True):
        frames.append(to_image(rendered(points @ rotation.T + translation, faces, camera, background, colour)))
    return frames


def turntable_gif(vertices: Float[np.ndarray, "vertices 3"], faces: Int[np.ndarray, "faces 3"], **options) -> bytes:
    """`turntable` as an endless GIF, one turn in about three seconds."""
    frames = turntable(vertices, faces, **options)
    return gif_bytes(frames, frames_per_second=len(frames) / 3.0)


@functools.partial(jax.jit, static_argnames=("image_size",))
def _render(vertices, faces, camera, background, colour, image_size):
    pinhole = render_jax.Pinhole(camera[0, 0], camera[1, 1], camera[0, 2], camera[1, 2])
    return render_jax.render(
        vertices, faces, pinhole, image_size, colours=colour, background=background, supersample=2
    ).image


def rendered(vertices, faces, camera, background, colour: Sequence[float] = SKIN) -> Float[np.ndarray, "h w 3"]:
    """The lit mesh over a background; faces are traced, so both sides and every picture share one program."""
    float32 = (np.asarray(array, np.float32) for array in (vertices, camera, background, colour))
    points, matrix, ground, tone = float32
    return np.asarray(_render(points, np.asarray(faces, np.int32), matrix, ground, tone, ground.shape[:2]))


def _side_view(hand: PicturedHand, camera: Float[np.ndarray, "3 3"], size: int, fill: bool) -> Image:
    """A quarter turn, at the panel's scale or, with `fill`, as large as the panel."""
    points = np.asarray(hand.vertices, np.float64)
    centre = 0.5 * (points.min(axis=0) + points.max(axis=0))
    x, y, z = (points - centre).T
    turned = np.stack([z, y, centre[2] - x], axis=1)
    camera = camera.copy()
    camera[:2, 2] = 0.0
    # A hand that points at the camera is longer from the side than from the front: shrink it into the panel.
    projected = turned @ camera.T
    reach = np.abs(projected[:, :2] / np.maximum(projected[:, 2:], 1e-3)).max()
    zoom = 0.47 * size / reach
    camera[:2] *= zoom if fill else min(1.0, zoom)
    camera[:2, 2] = 0.5 * size
    background = np.full((size, size, 3), _SIDE_BACKGROUND, np.float32)
    return to_image(rendered(turned, hand.faces, camera, background))


def _square_around(
    image_size: tuple[int, ...], hands: Sequence[PicturedHand], camera: Float[np.ndarray, "3 3"]
) -> tuple[float, float, float]:
    """Left, top and edge of the square to show, in pixels of the image."""
    height, width = image_size
    points = []
    for hand in hands:
        if hand.keypoints is not None:
            seen = np.isfinite(hand.keypoints).all(axis=1) & (hand.keypoints[:, 2] > 0)
            points.append(hand.keypoints[seen, :2])
        if hand.vertices is not None:
            pixels = np.asarray(hand.vertices, np.float64) @ np.asarray(camera, np.float64).T
            points.append(pixels[:, :2] / np.maximum(pixels[:, 2:], 1e-3))
    everything = np.concatenate([np.zeros((0, 2)), *points])
    # Keypoints or meshes far outside would shrink the picture to nothing.
    everything = np.clip(everything, (-0.5 * width, -0.5 * height), (1.5 * width, 1.5 * height))
    longer = float(max(height, width))
    if len(everything):
        low, high = everything.min(axis=0), everything.max(axis=0)
        edge = _MARGIN * max(float((high - low).max()), 16.0)
        if edge < _WHOLE_IMAGE_SHARE * longer:
            centre = 0.5 * (low + high)
            return float(centre[0] - edge / 2), float(centre[1] - edge / 2), edge
    return (width - longer) / 2, (height - longer) / 2, longer


def _cut(image: UInt8[np.ndarray, "height width 3"], left: float, top: float, edge: float, size: int) -> Image:
    """The square of an image, resampled to `size`; grey outside the image."""
    from PIL import Image

    height, width = image.shape[:2]
    picture = Image.new("RGB", (size, size), _OUTSIDE)
    # Only what lies inside is resampled: Pillow's box may not leave the image.
    x0, y0, x1, y1 = max(left, 0.0), max(top, 0.0), min(left + edge, float(width)), min(top + edge, float(height))
    if x1 <= x0 or y1 <= y0:
        return picture
    factor = size / edge
    corner = round((x0 - left) * factor), round((y0 - top) * factor)
    extent = max(1, round((x1 - x0) * factor)), max(1, round((y1 - y0) * factor))
    part = Image.fromarray(image).resize(extent, Image.Resampling.BICUBIC, box=(x0, y0, x1, y1))
    picture.paste(part, corner)
    return picture


def _framed(picture: Image, left: float, top: float, edge: float, factor: float) -> Image:
    from PIL import ImageDraw

    picture = picture.copy()
    box = tuple(factor * value for value in (left, top, left + edge, top + edge))
    ImageDraw.Draw(picture).rectangle(box, outline=(255, 255, 255), width=2)
    return picture


def _tiled(pictures: Sequence[Image], size: int) -> Image:
    """Up to n x n pictures in one square, the rows in its middle."""
    from PIL import Image

    per_row = max(1, int(np.ceil(np.sqrt(len(pictures)))))
    grey = (round(255 * _SIDE_BACKGROUND),) * 3
    result = Image.new("RGB", (size, size), grey)
    cell = size // per_row
    top = (size - cell * int(np.ceil(len(pictures) / per_row))) // 2
    for index, picture in enumerate(pictures):
        row, column = divmod(index, per_row)
        small = picture if per_row == 1 else picture.resize((cell, cell), Image.Resampling.LANCZOS)
        result.paste(small, (column * cell, top + row * cell))
    return result
