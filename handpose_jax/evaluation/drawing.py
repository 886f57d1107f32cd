"""Drawing on pictures: skeletons in finger colours, captions, contact sheets, GIFs. Pillow, imported where used."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, UInt8

from mano_jax.keypoints import KEYPOINT_PARENTS

if TYPE_CHECKING:
    from PIL.Image import Image

FINGER_COLOURS = ((255, 89, 94), (255, 178, 44), (112, 204, 74), (44, 168, 255), (178, 112, 255))
"""Thumb, index, middle, ring, little."""
WRIST_COLOUR = (240, 240, 240)
CAPTION_HEIGHT = 26
_SMOOTHING = 3
_CAPTION_BACKGROUND, _CAPTION_COLOUR = (32, 33, 36), (232, 234, 237)
_SHEET_BACKGROUND = (245, 245, 245)


def draw_skeleton(picture: Image, keypoints: Float[np.ndarray, "21 2"], seen: Sequence[bool]) -> Image:
    """The picture with bones and joints of the keypoints that are seen, antialiased; pixel centres are at + 0.5."""
    from PIL import Image, ImageDraw

    width, height = picture.size
    layer = Image.new("RGBA", (width * _SMOOTHING, height * _SMOOTHING), (0, 0, 0, 0))
    draw = ImageDraw.Draw(layer)
    thickness = max(width, height) / 160.0
    points = [tuple(float(c) * _SMOOTHING for c in point) for point in np.nan_to_num(keypoints)]

    def colour(joint: int) -> tuple[int, int, int]:
        return WRIST_COLOUR if joint == 0 else FINGER_COLOURS[(joint - 1) // 4]

    for extra, shade in ((0.9, (0, 0, 0, 150)), (0.0, None)):  # a dark rim first, so that lines show on any ground
        for joint, parent in enumerate(KEYPOINT_PARENTS):
            if parent >= 0 and seen[joint] and seen[parent]:
                line_width = round((thickness + 2 * extra) * _SMOOTHING)
                draw.line([points[parent], points[joint]], fill=shade or (*colour(joint), 255), width=line_width)
        for joint, (u, v) in enumerate(points):
            if seen[joint]:
                radius = (1.25 * thickness + extra) * _SMOOTHING
                draw.ellipse((u - radius, v - radius, u + radius, v + radius), fill=shade or (*colour(joint), 255))
    layer = layer.resize((width, height), Image.Resampling.BOX)
    return Image.alpha_composite(picture.convert("RGBA"), layer).convert("RGB")


def with_caption(picture: Image, text: str) -> Image:
    """The picture with a line of text below it; a text that is too long is cut."""
    from PIL import Image, ImageDraw, ImageFont

    width, height = picture.size
    result = Image.new("RGB", (width, height + CAPTION_HEIGHT), _CAPTION_BACKGROUND)
    result.paste(picture, (0, 0))
    font = ImageFont.load_default(size=15)
    draw = ImageDraw.Draw(result)
    if draw.textlength(text, font=font) > width - 16:
        while text and draw.textlength(text + "…", font=font) > width - 16:
            text = text[:-1]
        text += "…"
    draw.text((8, height + CAPTION_HEIGHT / 2), text, fill=_CAPTION_COLOUR, font=font, anchor="lm")
    return result


def side_by_side(pictures: Sequence[Image], gap: int = 3) -> Image:
    """Pictures of one height in a row."""
    from PIL import Image

    width = sum(picture.width for picture in pictures) + gap * (len(pictures) - 1)
    result = Image.new("RGB", (width, max(picture.height for picture in pictures)), _CAPTION_BACKGROUND)
    left = 0
    for picture in pictures:
        result.paste(picture, (left, 0))
        left += picture.width + gap
    return result


def contact_sheet(
    pictures: Sequence[Image], labels: Sequence[str] | None = None, columns: int = 4, cell_width: int = 480
) -> Image:
    """All pictures on one, row by row, each scaled to one width and labelled.

    Raises:
      ValueError: there is no picture, or the labels are not as many.
    """
    from PIL import Image

    labels = [""] * len(pictures) if labels is None else labels
    if not pictures or len(labels) != len(pictures):
        raise ValueError(f"a contact sheet needs as many labels as pictures, got {len(labels)} and {len(pictures)}")
    cells = []
    for picture, label in zip(pictures, labels, strict=True):
        height = max(1, round(picture.height * cell_width / picture.width))
        small = picture.resize((cell_width, height), Image.Resampling.LANCZOS)
        cells.append(with_caption(small, label) if label else small)
    columns = max(1, min(columns, len(cells)))
    gap = 8
    cell_height = max(cell.height for cell in cells)
    rows = math.ceil(len(cells) / columns)
    size = (columns * (cell_width + gap) + gap, rows * (cell_height + gap) + gap)
    sheet = Image.new("RGB", size, _SHEET_BACKGROUND)
    for index, cell in enumerate(cells):
        row, column = divmod(index, columns)
        sheet.paste(cell, (gap + column * (cell_width + gap), gap + row * (cell_height + gap)))
    return sheet


def to_image(picture: Float[np.ndarray, "height width 3"] | UInt8[np.ndarray, "height width 3"]) -> Image:
    """A Pillow image of an array: uint8, or float in [0, 1]."""
    from PIL import Image

    array = np.asarray(picture)
    if array.dtype != np.uint8:
        array = np.clip(np.round(array * 255.0), 0, 255).astype(np.uint8)
    return Image.fromarray(array)


def gif_bytes(frames: Sequence[Image], frames_per_second: float = 25.0) -> bytes:
    """An endless GIF. One palette, taken from all frames, so that colours do not flicker.

    Raises:
      ValueError: there is no frame.
    """
    from PIL import Image

    if not frames:
        raise ValueError("a GIF needs at least one frame, got none")
    sample = Image.new("RGB", (frames[0].width * len(frames), frames[0].height))
    for index, frame in enumerate(frames):
        sample.paste(frame, (index * frame.width, 0))
    palette = sample.quantize(255, method=Image.Quantize.MEDIANCUT)
    indexed = [frame.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG) for frame in frames]
    buffer = io.BytesIO()
    # GIF counts in hundredths of a second.
    duration = 10 * max(2, round(100.0 / frames_per_second))
    indexed[0].save(buffer, "GIF", save_all=True, append_images=indexed[1:], duration=duration, loop=0, optimize=False)
    return buffer.getvalue()
