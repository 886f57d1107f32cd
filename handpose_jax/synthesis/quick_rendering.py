"""Pictures of the quick quality: one pass over the samples, all in planes, light at the vertices where it is smooth.

See `render_jax.planes` for why planes and loops: on a CPU the same arithmetic takes several times as long without.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from handpose_jax.synthesis.colour import encoded
from handpose_jax.synthesis.lighting import Illumination, shadow_map
from handpose_jax.synthesis.quick_surface import QuickSurface, details_at
from handpose_jax.synthesis.skin import DARK_SHARES, NAIL_BED, NAIL_END
from render_jax import Pinhole
from render_jax.planes import at_pixels, in_chunks, interpolate_planes
from render_jax.rasterization import MINIMUM_DOUBLED_AREA, nearest_surface
from render_jax.shading import unit_planes

_SHADOW_CELLS = 96
# Edge of the squares of samples that are lit, or not at all: most of a picture is background. And how many at a time.
_TILE, _TILES_TOGETHER = 16, 16


class QuickPicture(NamedTuple):
    """Display values before the background, that are multiplied by `covered`, as planes; and what was drawn.

    Attributes:
      planes: RGB, times the share of the pixel that is covered.
      covered: share of each pixel that anything covers.
      face_index: of the samples, -1 where nothing is.
    """

    planes: list[Float[Array, "height width"]]
    covered: Float[Array, "height width"]
    face_index: Int[Array, "large_height large_width"]


def draw_quick(
    surface: QuickSurface,
    faces: Int[np.ndarray, "faces 3"],
    detail_index: Int[np.ndarray, "faces"],
    details: Float[Array, "3 all_texels"],
    camera: Pinhole,
    size: int,
    light: Illumination,
    supersample: int,
    cull: str | None = None,
) -> QuickPicture:
    """Draw a surface.

    Args:
      surface: of everything in the picture.
      faces: of it.
      detail_index: of which face of the `details` each has the look.
      details: see `QuickTables`.
      camera: of the picture.
      size: its edge, pixels.
      light: of the scene.
      supersample: samples along each side of a pixel.
      cull: as for `rasterize`: "back" is faster where all surfaces are closed and none is mirrored.
    """
    large = (size * supersample, size * supersample)
    camera = camera.resized(supersample)
    screen = camera.to_screen(surface.vertices)
    face_index = nearest_surface(screen, faces, large, cull, True)[0]
    planes_of_faces = _weights_on_faces(screen[faces, :2])
    shadows = shadow_map(surface.vertices, faces, light.key_direction, _SHADOW_CELLS, cull)
    # What dims light, from the vertices: sky and fill by occlusion, the key light by shadows too.
    lit = shadows.lit(surface.vertices)
    at_vertices = jnp.concatenate([surface.normals, surface.openness[:, None], lit[:, None]], axis=1)
    corners = jnp.concatenate([at_vertices[faces], surface.corner_colours], axis=-1)

    def light_up(index: Array, u: Array, v: Array) -> list[Array]:
        """Linear light that reaches the camera."""
        weights = _weights(planes_of_faces, index, u, v)
        seen = interpolate_planes(index, weights, corners)
        detailed = jnp.take(jnp.asarray(detail_index), jnp.maximum(index, 0))
        dark, nail, pale = details_at(details, detailed, weights)
        colours = [_with_details(seen[5 + c], dark, nail, pale, c) for c in range(3)]
        towards = [-(u - camera.cx) / camera.fx, -(v - camera.cy) / camera.fy, -jnp.ones_like(u)]
        shaded = _lit(unit_planes(seen[:3]), unit_planes(towards), colours, seen[3], seen[4], light)
        return [jnp.where(index >= 0, plane, 0.0) for plane in shaded]

    planes = in_covered_tiles(light_up, face_index, 3)
    covered = mean_of_squares((face_index >= 0).astype(screen.dtype), supersample)
    # Sensors add up light, not display values, so samples are averaged first.
    means = [mean_of_squares(plane, supersample) for plane in planes]
    return QuickPicture(in_chunks(_premultiplied, [covered, *means]), covered, face_index)


def in_covered_tiles(
    function: Callable[..., Sequence[Array]], face_index: Int[Array, "height width"], count: int
) -> list[Float[Array, "height width"]]:
    """`function(face_index, u, v)` of samples, in those squares only in which something is; 0 elsewhere.

    Args:
      function: of some thousand samples that do not see each other, as arrays of one axis; returns `count` of them.
      face_index: -1 where nothing is.
      count: of planes.
    """
    height, width = face_index.shape
    rows, columns = -(-height // _TILE), -(-width // _TILE)
    total, samples = rows * columns, _TILE**2
    padding = ((0, rows * _TILE - height), (0, columns * _TILE - width))
    tiles = jnp.pad(face_index, padding, constant_values=-1).reshape(rows, _TILE, columns, _TILE)
    # Behind them as many empty ones as a group has places: what an unused place points at.
    tiles = tiles.transpose(0, 2, 1, 3).reshape(total, samples)
    tiles = jnp.pad(tiles, ((0, _TILES_TOGETHER), (0, 0)), constant_values=-1)
    occupied = (tiles >= 0).any(axis=1)
    rank = jnp.cumsum(occupied, dtype=jnp.int32) - 1
    order = jnp.nonzero(occupied, size=total + _TILES_TOGETHER, fill_value=total)[0].astype(jnp.int32)
    down, right = (offset.reshape(1, -1) + 0.5 for offset in np.mgrid[:_TILE, :_TILE].astype(np.float32))

    def body(state: tuple[Array, tuple[Array, ...]]) -> tuple[Array, tuple[Array, ...]]:
        start, compact = state
        chosen = jax.lax.dynamic_slice(order, (start,), (_TILES_TOGETHER,))
        v = (_TILE * jax.lax.div(chosen, jnp.int32(columns))).astype(jnp.float32)[:, None] + down
        u = (_TILE * jax.lax.rem(chosen, jnp.int32(columns))).astype(jnp.float32)[:, None] + right
        values = function(tiles[chosen].reshape(-1), u.reshape(-1), v.reshape(-1))
        # One after another, not where they belong: that would be a loop over the tiles.
        return start + _TILES_TOGETHER, tuple(
            jax.lax.dynamic_update_slice(rows, value.reshape(-1, samples), (start, jnp.int32(0)))
            for rows, value in zip(compact, values, strict=True)
        )

    begin = (jnp.int32(0), (jnp.zeros((total + _TILES_TOGETHER, samples)),) * count)
    compact = jax.lax.while_loop(lambda state: state[0] <= rank[-1], body, begin)[1]

    def plane_of(compact: Array) -> Array:
        # The last row is never reached by a tile in use, so it is all 0.
        drawn = compact[jnp.where(occupied, rank, -1)[:total]].reshape(rows, columns, _TILE, _TILE)
        return drawn.transpose(0, 2, 1, 3).reshape(rows * _TILE, columns * _TILE)[:height, :width]

    return [plane_of(part) for part in compact]


def _weights_on_faces(corners: Float[Array, "faces 3 2"]) -> Float[Array, "faces 6"]:
    """First corner, and the slopes along u and v of the weights of the second and the third."""
    one, two = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0]
    # Faces seen edge on cover nothing.
    scale = jnp.where(jnp.abs(area) > MINIMUM_DOUBLED_AREA, 1.0, 0.0) / jnp.where(area == 0, 1.0, area)
    slopes = jnp.stack([two[:, 1], -two[:, 0], -one[:, 1], one[:, 0]], axis=1) * scale[:, None]
    return jnp.concatenate([corners[:, 0], slopes], axis=1)


def _weights(planes: Float[Array, "faces 6"], index: Array, u: Array, v: Array) -> list[Array]:
    """Weights of a face's corners. Affine on the picture: over a few millimetres, perspective does not show."""
    first_u, first_v, *slopes = (at_pixels(planes[:, channel], index) for channel in range(6))
    u, v = u - first_u, v - first_v
    second = jnp.clip(slopes[0] * u + slopes[1] * v, 0.0, 1.0)
    third = jnp.clip(slopes[2] * u + slopes[3] * v, 0.0, 1.0 - second)
    return [1.0 - second - third, second, third]


def _premultiplied(covered: Array, *means: Array) -> list[Array]:
    share = jnp.maximum(covered, 1e-6)
    return [encoded(mean / share) * covered for mean in means]


def _with_details(skin: Array, dark: Array, nail: Array, pale: Array, channel: int) -> Array:
    skin = skin * (1.0 - DARK_SHARES[channel] * dark)
    bed = 0.62 * skin + 0.38 * NAIL_BED[channel]
    bed = bed + 0.5 * pale * (NAIL_END[channel] - bed)
    return skin + nail * (bed - skin)


def _lit(
    normal: list[Array], view: list[Array], colours: list[Array], openness: Array, lit: Array, light: Illumination
) -> list[Array]:
    """As in the full quality, but for the fill's gloss and the exact powers by which bounced light is redder."""
    key, fill = jnp.unstack(light.key_direction), jnp.unstack(light.fill_direction)
    facing_key, facing_fill = (
        jnp.maximum(functools.reduce(jnp.add, [n * d for n, d in zip(normal, direction, strict=True)]), 0.0)
        for direction in (key, fill)
    )
    half = unit_planes([one + two for one, two in zip(key, view, strict=True)])
    middle = functools.reduce(jnp.add, [n * h for n, h in zip(normal, half, strict=True)])
    highlight = jnp.exp(light.shininess * jnp.log(jnp.maximum(middle, 1e-3)))
    gloss = jnp.where(facing_key > 0, light.specular * highlight, 0.0)
    free = jnp.clip(openness, 0.0, 1.0)
    redder = jnp.sqrt(free) * jnp.sqrt(jnp.sqrt(free))
    shaded = []
    for channel, dimmed in enumerate((redder, free, free)):
        soft = (light.sky[channel] + light.fill_colour[channel] * facing_fill) * dimmed * colours[channel]
        direct = light.key_colour[channel] * (colours[channel] * facing_key + gloss)
        shaded.append(soft + direct * lit * (0.4 + 0.6 * dimmed))
    return shaded


def mean_of_squares(plane: Float[Array, "large_height large_width"], edge: int) -> Float[Array, "height width"]:
    """Means over squares of `edge` samples: those of a pixel."""
    parts = [plane[row::edge, column::edge] for row in range(edge) for column in range(edge)]
    return sum(parts[1:], start=parts[0]) / edge**2
