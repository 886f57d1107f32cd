"""Colours that live on a surface: images laid over it by texture coordinates, and small textures of single faces.

Texture coordinates are those of OBJ files: u to the right, v up, the image covering [0, 1] x [0, 1]. The centre of the
texel at (row i, column j) of a height x width image is at u = (j + 0.5) / width, v = 1 - (i + 0.5) / height, so corners
of the image are borders of texels, not centres. There are no coarser copies of the image (mipmaps): where a texture is
drawn at less than half its resolution, supersample the picture.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from render_jax.planes import at_pixels, in_chunks

WRAPS = ("clamp", "repeat", "mirror")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class UVTexture:
    """An image laid over a mesh.

    Attributes:
      image: [height, width, 3] RGB.
      uv: [T, 2] texture coordinates, v up.
      uv_faces: [faces, 3] rows of `uv` for each corner of the mesh's faces. A vertex at a seam has several rows.
      wrap: beyond [0, 1]: "clamp" (the border's colour), "repeat" or "mirror".
    """

    image: Any
    uv: Any
    uv_faces: Any
    wrap: str = dataclasses.field(default="clamp", metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class FaceTexture:
    """Colours of single faces, which share nothing with their neighbours.

    Attributes:
      texels: [faces, 3], one RGB a face, or [faces, R, R, 3] with R >= 2: texels[f, i, j] is the colour of face f at
        barycentric coordinates (1 - (i + j) / (R - 1), j / (R - 1), i / (R - 1)), linear between these points. So
        [0, 0], [0, -1] and [-1, 0] are its three corners, R = 2 is a colour a corner, the outer rows are the edges, and
        texels with i + j >= R are never read.
    """

    texels: Any


def sample_texture(
    texture: Float[Array, "height width *channels"], uv: Float[Array, "*points 2"], wrap: str = "clamp"
) -> Float[Array, "*points_and_channels"]:
    """Bilinear look-up at texture coordinates (u right, v up, in [0, 1]).

    Differentiable with respect to the texture (a scatter-add, also over a batch of look-ups in one texture) and to uv
    (piecewise constant, with jumps at texel centres). Coordinates that are not finite count as 0.

    Args:
      texture: any floating values, row 0 at the top (v = 1).
      uv: see the module's docstring.
      wrap: "clamp", "repeat" or "mirror" beyond [0, 1].

    Raises:
      ValueError: a texture without rows and columns or not floating, uv of another last axis, an unknown `wrap`.
    """
    if texture.ndim < 2 or not jnp.issubdtype(texture.dtype, jnp.floating) or 0 in texture.shape[:2]:
        raise ValueError(
            f"expected a float texture of shape (height, width, ...), not {texture.dtype} {texture.shape}; "
            "divide uint8 images by 255 first"
        )
    if uv.ndim == 0 or uv.shape[-1] != 2:
        raise ValueError(f"expected texture coordinates of shape (..., 2), not {uv.shape}")
    points, channels = uv.shape[:-1], texture.shape[2:]
    if math.prod(points) == 0 or math.prod(channels) == 0:
        return jnp.zeros((*points, *channels), texture.dtype)
    u, v = (uv[..., axis].reshape(1, -1) for axis in range(2))
    taps = in_chunks(lambda u, v: texel_taps(u, v, texture.shape[:2], wrap), [u, v])
    colours = weighted_texels(texture.reshape(*texture.shape[:2], -1), taps)
    return jnp.stack(colours, axis=-1).reshape(*points, *channels)


def texel_taps(u: Float[Array, "*points"], v: Float[Array, "*points"], size: tuple[int, ...], wrap: str) -> list[Array]:
    """The four texels around each point, as indices into the flattened texture, then the share of each."""
    height, width = size
    left, right, share_right = _taps(u, width, wrap)
    upper, lower, share_lower = _taps(1 - v, height, wrap)
    places = [row * width + column for row in (upper, lower) for column in (left, right)]
    shares = [row * column for row in (1 - share_lower, share_lower) for column in (1 - share_right, share_right)]
    return places + shares


def weighted_texels(
    texture: Float[Array, "height width channels"], taps: Sequence[Array]
) -> list[Float[Array, "*points"]]:
    """The means that `texel_taps` describes, one plane a channel.

    Not to be used within `in_chunks`: the texture's gradient would be added up anew for every chunk.
    """
    planes = jnp.unstack(texture.reshape(-1, texture.shape[2]), axis=-1)
    places, shares = taps[:4], taps[4:]
    products = [
        [share.astype(texture.dtype) * at_pixels(plane, place) for place, share in zip(places, shares, strict=True)]
        for plane in planes
    ]
    return [one + two + three + four for one, two, three, four in products]


def _taps(
    coordinate: Float[Array, "*points"], texels: int, wrap: str
) -> tuple[Int[Array, "*points"], Int[Array, "*points"], Float[Array, "*points"]]:
    """The two neighbouring texels along an axis and the share of the second; the axis is [0, 1] long."""
    if wrap not in WRAPS:
        raise ValueError(f"expected wrap='clamp', 'repeat' or 'mirror', not {wrap!r}")
    coordinate = jnp.where(jnp.isfinite(coordinate), coordinate, 0)
    if wrap == "repeat":
        coordinate = coordinate - jnp.floor(coordinate)
    elif wrap == "mirror":
        # Folded at the image's borders, so what follows clamps: the border's texel is its own mirror image.
        coordinate = 1 - jnp.abs(coordinate - 2 * jnp.floor(coordinate / 2) - 1)
    place = coordinate * texels - 0.5
    if wrap != "repeat":
        place = jnp.clip(place, 0, texels - 1)
    first = jnp.floor(place)
    share = place - first
    first = first.astype(jnp.int32)
    if wrap == "repeat":
        return first % texels, (first + 1) % texels, share
    return first, jnp.minimum(first + 1, texels - 1), share


def face_texture_planes(
    texels: Float[Array, "faces 3"] | Float[Array, "faces R R 3"],
    face_index: Int[Array, "*pixels"],
    weights: Sequence[Float[Array, "*pixels"]],
) -> list[Float[Array, "*pixels"]]:
    """RGB planes of a `FaceTexture` at barycentric coordinates; any colours where the index is -1."""
    if texels.ndim == 2:
        return [at_pixels(texels[:, channel], face_index) for channel in range(3)]
    cells = texels.shape[1] - 1
    across, down = jnp.clip(weights[1], 0, 1) * cells, jnp.clip(weights[2], 0, 1) * cells
    column, row = (jnp.clip(jnp.floor(place), 0, cells - 1) for place in (across, down))
    # On the slanted edge rounding may point at a cell outside the triangle; the one before it has the same border.
    column = jnp.maximum(jnp.minimum(column, cells - 1 - row), 0)
    across, down = across - column, down - row
    column, row = column.astype(jnp.int32), row.astype(jnp.int32)
    # Each cell is two triangles; the farther one is read from its outer corner backwards.
    farther = (across + down > 1) & (row + column < cells - 1)
    start = jnp.maximum(face_index, 0) * (cells + 1) ** 2 + row * (cells + 1) + column
    inner = start + jnp.where(farther, cells + 2, 0)
    sideways, downwards = start + jnp.where(farther, cells + 1, 1), start + jnp.where(farther, 1, cells + 1)
    across, down = jnp.where(farther, 1 - across, across), jnp.where(farther, 1 - down, down)
    flat = texels.reshape(-1, 3)
    return [
        (1 - across - down) * at_pixels(flat[:, channel], inner)
        + across * at_pixels(flat[:, channel], sideways)
        + down * at_pixels(flat[:, channel], downwards)
        for channel in range(3)
    ]


def check_colours(
    colours: Array | UVTexture | FaceTexture, vertices: Array, faces: Array | np.ndarray
) -> Array | UVTexture | FaceTexture:
    """The colours in the vertices' dtype. Raises ValueError if they do not fit the mesh."""
    dtype, count = vertices.dtype, faces.shape[0]
    if isinstance(colours, UVTexture):
        image, uv = jnp.asarray(colours.image, dtype), jnp.asarray(colours.uv, dtype)
        if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise ValueError(f"expected a texture of shape (height, width, 3), not {image.shape}")
        if not jnp.issubdtype(jnp.asarray(colours.image).dtype, jnp.floating):
            raise ValueError("expected a texture in [0, 1], not integers; divide uint8 images by 255")
        if uv.ndim != 2 or uv.shape[1] != 2 or colours.uv_faces.shape != (count, 3):
            raise ValueError(
                f"expected uv of shape (T, 2) and uv_faces of shape {(count, 3)}, one row a face of the mesh, "
                f"not {uv.shape} and {colours.uv_faces.shape}"
            )
        return UVTexture(image, uv, colours.uv_faces, colours.wrap)
    if isinstance(colours, FaceTexture):
        texels = jnp.asarray(colours.texels, dtype)
        square = texels.ndim == 4 and texels.shape[1] == texels.shape[2] >= 2
        if texels.shape[0] != count or texels.shape[-1] != 3 or not (texels.ndim == 2 or square):
            raise ValueError(
                f"expected texels of shape {(count, 3)} or ({count}, R, R, 3) with R >= 2, not {texels.shape}"
            )
        return FaceTexture(texels)
    colours = jnp.asarray(colours, dtype)
    if colours.shape not in ((3,), vertices.shape):
        raise ValueError(
            f"expected colours of shape (3,) or {vertices.shape}, a UVTexture or a FaceTexture, not {colours.shape}"
        )
    return colours
