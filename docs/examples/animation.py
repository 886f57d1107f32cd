"""Pictures of a fit under way, and the GIF that they make. Needs Pillow."""

import functools
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from PIL import Image, ImageDraw

import render_jax

ORANGE = (235, 95, 20)


@functools.partial(jax.jit, static_argnames="size")
def shaded(vertices: Float[Array, "vertices 3"], faces: Int[Array, "faces 3"], camera: render_jax.Pinhole, size: int):
    """Grey mesh over white, [size, size, 3] in [0, 1], and the pixels that it covers."""
    picture = render_jax.render(vertices, faces, camera, (size, size), colours=jnp.array([0.7, 0.7, 0.72]))
    return picture.image, picture.mask > 0.5


def panel(image: Float[Array, "height width 3"]) -> Image.Image:
    """A picture of colours in [0, 1]."""
    return Image.fromarray(np.asarray(jnp.clip(image, 0, 1) * 255).astype(np.uint8))


def outlined(image: Float[Array, "height width 3"], mask: Bool[Array, "height width"]) -> Image.Image:
    """The picture with the border of a mask drawn over it, two pixels wide."""
    covered, picture = np.asarray(mask), np.array(panel(image))
    border = np.zeros_like(covered)
    for axis in (0, 1):
        border |= (covered != np.roll(covered, 1, axis)) | (covered != np.roll(covered, -1, axis))
    picture[border] = ORANGE
    return Image.fromarray(picture)


def frame(panels: Sequence[tuple[str, Image.Image]]) -> Image.Image:
    """Pictures side by side, each under its title."""
    width, height = panels[0][1].size
    page = Image.new("RGB", (len(panels) * (width + 4) - 4, height + 16), "white")
    for number, (title, picture) in enumerate(panels):
        page.paste(picture, (number * (width + 4), 16))
        ImageDraw.Draw(page).text((number * (width + 4) + 3, 2), title, fill="black")
    return page


def some_of(path: Any, found: Any, frames: int = 40) -> list[tuple[int, Any]]:
    """(step, parameters) to show, dense at first, when most happens; the last are those found.

    Args:
      path: the parameters before each step, stacked, as `descend` returns them.
      found: those after the last.
      frames: about how many.
    """
    steps = len(jax.tree.leaves(path)[0])
    shown = sorted({int(steps * (number / frames) ** 1.5) for number in range(frames)})

    def at(step: int) -> Any:
        return jax.tree.map(lambda leaf: leaf[step], path)

    return [(step, at(step)) for step in shown] + [(steps, found)]


def write_gif(path: pathlib.Path, frames: Sequence[Image.Image], colours: int = 48) -> None:
    """An endless GIF of one palette, ten pictures a second, the last one held for two seconds."""
    together = Image.new("RGB", (frames[0].width * len(frames), frames[0].height))
    for number, picture in enumerate(frames):
        together.paste(picture, (number * picture.width, 0))
    palette = together.quantize(colours, method=Image.Quantize.MEDIANCUT)
    # Without dithering: its grain moves from picture to picture and does not compress.
    indexed = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in frames]
    durations = [100] * (len(frames) - 1) + [2000]
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    indexed[0].save(unfinished, "GIF", save_all=True, append_images=indexed[1:], duration=durations, loop=0)
    os.replace(unfinished, path)
    print(f"{path}: {len(frames)} frames, {path.stat().st_size // 1000} kB")
