"""Normals, lights and pictures: Lambert shading with a little gloss, composed over a background.

Colours are display values in [0, 1], lights factors on them; both are multiplied and added without gamma correction.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from render_jax.cameras import Pinhole, Scalar, WeakPerspective
from render_jax.planes import in_chunks, interpolate_planes, pixel_centres
from render_jax.rasterization import check_mesh, front_facing, nearest_surface

DEFAULT_COLOUR = (0.82, 0.67, 0.58)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Lights:
    """Ambient light, L lights from far away and P lamps, in the camera frame (x right, y down, z forward).

    Attributes:
      ambient: [3] RGB.
      directions: [L, 3] unit vectors *towards* each light; from behind the camera z is negative.
      colours: [L, 3] RGB.
      positions: [P, 3] metres; a lamp's light does not fall off with distance.
      lamp_colours: [P, 3] RGB.
      specular: strength of the Blinn-Phong highlight, 0 for none.
      shininess: its exponent, >= 1.
    """

    ambient: Any
    directions: Any
    colours: Any
    positions: Any
    lamp_colours: Any
    specular: Scalar = 0.0
    shininess: Scalar = 24.0


def three_lights(specular: float = 0.12, dtype: Any = jnp.float32) -> Lights:
    """A warm key light over the viewer's left shoulder, a cool fill from the right, a rim from above and behind."""
    directions = np.array([[-0.45, -0.65, -0.75], [0.8, -0.05, -0.6], [0.15, -0.8, 0.45]])
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return Lights(
        ambient=jnp.asarray([0.30, 0.30, 0.32], dtype),
        directions=jnp.asarray(directions, dtype),
        colours=jnp.asarray([[0.66, 0.64, 0.60], [0.20, 0.22, 0.25], [0.22, 0.22, 0.22]], dtype),
        positions=jnp.zeros((0, 3), dtype),
        lamp_colours=jnp.zeros((0, 3), dtype),
        specular=jnp.asarray(specular, dtype),
        shininess=jnp.asarray(24.0, dtype),
    )


def normalize(vectors: Float[Array, "*batch 3"]) -> Float[Array, "*batch 3"]:
    """Unit vectors; a zero vector stays zero, with gradient 0. Safe from under- and overflow of the squares."""
    largest = lax.stop_gradient(jnp.abs(vectors).max(axis=-1, keepdims=True))
    usable = largest > 0
    scaled = jnp.where(usable, vectors / jnp.where(usable, largest, 1), 1)
    return jnp.where(usable, scaled / jnp.sqrt((scaled * scaled).sum(axis=-1, keepdims=True)), 0)


def vertex_normals(
    vertices: Float[Array, "vertices 3"], faces: Int[Array | np.ndarray, "faces 3"]
) -> Float[Array, "vertices 3"]:
    """Unit normals, each the mean of the adjacent faces' weighted by area; outwards for counter-clockwise faces.

    Zero, with gradient 0, where they cancel or a vertex has no face. Faces with a coordinate that is not finite are
    left out.
    """
    corners = vertices[faces]
    corners = jnp.where(jnp.isfinite(corners).all(axis=(1, 2), keepdims=True), corners, 0)
    normals = jnp.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    # The three corners after one another: a fixed order of summation.
    index = faces.T.reshape(-1)
    return normalize(jnp.zeros_like(vertices).at[index].add(jnp.concatenate([normals] * 3)))


def shade(
    normals: Float[Array, "*pixels 3"],
    positions: Float[Array, "*pixels 3"],
    colours: Float[Array, "*pixels 3"],
    lights: Lights,
) -> Float[Array, "*pixels 3"]:
    """Light that reaches the camera from surface points; not clipped.

    Args:
      normals: unit, towards the viewer's side of the surface.
      positions: metres in the camera frame, the camera at 0.
      colours: RGB reflectance.
      lights: in the same dtype.
    """
    planes = [jnp.atleast_2d(plane) for array in (normals, positions, colours) for plane in jnp.unstack(array, axis=-1)]
    shaded = in_chunks(lambda *parts: _shade(parts[:3], parts[3:6], parts[6:], lights), planes)
    return jnp.stack(shaded, axis=-1).reshape(normals.shape)


def _shade(normal: Sequence[Array], position: Sequence[Array], colour: Sequence[Array], lights: Lights) -> list[Array]:
    """`shade` component by component: on a CPU, sums over a last axis of three cost several times the rest."""
    dtype = normal[0].dtype
    lights = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), lights)
    view = _unit([-component for component in position])
    far = [(jnp.unstack(direction), light) for direction, light in zip(lights.directions, lights.colours, strict=True)]
    lamps = [
        (_unit([place - component for place, component in zip(jnp.unstack(lamp), position, strict=True)]), light)
        for lamp, light in zip(lights.positions, lights.lamp_colours, strict=True)
    ]
    diffuse, gloss = list(lights.ambient), [jnp.zeros((), dtype)] * 3
    for direction, light in [*far, *lamps]:
        facing = _dot(normal, direction)
        lit = facing > 0
        middle = _dot(normal, _unit([a + b for a, b in zip(direction, view, strict=True)]))
        # A power of a number <= 0 has no gradient, and it is not needed: the highlight lies where this is positive.
        shining = lit & (middle > 0)
        highlight = jnp.where(shining, jnp.exp(lights.shininess * jnp.log(jnp.where(shining, middle, 1))), 0)
        facing = jnp.where(lit, facing, 0)
        diffuse = [total + strength * facing for total, strength in zip(diffuse, light, strict=True)]
        gloss = [total + strength * highlight for total, strength in zip(gloss, light, strict=True)]
    return [base * soft + lights.specular * hard for base, soft, hard in zip(colour, diffuse, gloss, strict=True)]


def _dot(left: Sequence[Array], right: Sequence[Array]) -> Array:
    return left[0] * right[0] + left[1] * right[1] + left[2] * right[2]


def _unit(vector: Sequence[Array]) -> list[Array]:
    """Unit vector of three components kept apart, whose squares must be representable; zero stays zero."""
    squares = _dot(vector, vector)
    usable = squares > 0
    factor = jnp.where(usable, lax.rsqrt(jnp.where(usable, squares, 1)), 0)
    return [component * factor for component in vector]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Rendering:
    """A picture: RGB in [0, 1], and the share of each pixel that the mesh covers."""

    image: Float[Array, "*batch height width 3"]
    mask: Float[Array, "*batch height width"]


def render(
    vertices: Float[Array, "vertices 3"],
    faces: Int[Array | np.ndarray, "faces 3"],
    camera: Pinhole | WeakPerspective,
    image_size: tuple[int, int],
    *,
    colours: Float[Array, "vertices 3"] | Float[Array, "3"] | None = None,
    lights: Lights | None = None,
    background: Any = 1.0,
    normals: Float[Array, "vertices 3"] | None = None,
    supersample: int = 2,
    cull: str | None = None,
) -> Rendering:
    """A lit picture of a mesh with smooth normals, over a background.

    Surfaces seen from behind are lit as if their normals pointed to the viewer, so open and mirrored meshes look right.

    Args:
      vertices: metres in the camera frame.
      faces: vertex indices; concrete or traced.
      camera: of the picture.
      image_size: (height, width).
      colours: RGB in [0, 1] a vertex, or one for all; by default a neutral skin tone.
      lights: `three_lights()` by default.
      background: a grey value, an RGB colour [3] or an image [height, width, 3].
      normals: unit vertex normals; by default `vertex_normals`.
      supersample: pictures are drawn this many times larger and averaged over squares: 1 is fastest and has hard edges.
      cull: as for `rasterize`.

    Differentiable with respect to vertices, colours, lights, camera and background, but for which face is seen
    (`rasterize`). Raises ValueError as `rasterize` does, and for a background or colours of another shape.
    """
    check_mesh(vertices, faces, image_size)
    if supersample < 1:
        raise ValueError(f"expected supersample >= 1, not {supersample}")
    dtype = vertices.dtype
    colours = jnp.asarray(DEFAULT_COLOUR if colours is None else colours, dtype)
    if colours.shape not in ((3,), vertices.shape):
        raise ValueError(f"expected colours of shape (3,) or {vertices.shape}, not {colours.shape}")
    background = jnp.asarray(background, dtype)
    if background.shape not in ((), (3,), (*image_size, 3)):
        raise ValueError(f"expected a background of shape (), (3,) or {(*image_size, 3)}, not {background.shape}")
    lights = three_lights(dtype=dtype) if lights is None else lights
    normals = vertex_normals(vertices, faces) if normals is None else normals
    # At depth 0 a vertex takes its faces out of the picture, as NaN would, but lets no NaN into the camera's gradient.
    vertices = jnp.where(jnp.isfinite(vertices).all(axis=1, keepdims=True), vertices, 0)

    height, width = image_size[0] * supersample, image_size[1] * supersample
    camera = camera.resized(supersample)
    screen = camera.to_screen(vertices)
    face_index, depth, weights = nearest_surface(
        screen, faces, (height, width), cull=cull, perspective=not isinstance(camera, WeakPerspective)
    )
    facing = jnp.where(front_facing(screen, faces), 1, -1).astype(dtype)[:, None, None]
    attributes = normals[faces] * facing
    if colours.ndim == 2:
        attributes = jnp.concatenate([attributes, colours[faces]], axis=-1)
    planes = in_chunks(lambda index, *weights: interpolate_planes(index, weights, attributes), [face_index, *weights])

    def light_up(seen, depth, u, v, *planes):
        position = jnp.unstack(camera.unproject(jnp.stack([u, v], axis=-1), depth), axis=-1)
        colour = planes[3:] if colours.ndim == 2 else list(colours)
        light = _shade(_unit(planes[:3]), position, colour, lights)
        return [jnp.clip(plane, 0, 1) * seen for plane in light]

    mask = (face_index >= 0).astype(dtype)
    light = in_chunks(light_up, [mask, depth, *pixel_centres((height, width), dtype), *planes])
    light, mask = [_mean_of_squares(plane, supersample) for plane in light], _mean_of_squares(mask, supersample)
    behind = (1 - mask[..., None]) * jnp.broadcast_to(background, (*image_size, 3))
    return Rendering(image=jnp.stack(light, axis=-1) + behind, mask=mask)


def _mean_of_squares(plane: Float[Array, "large_height large_width"], edge: int) -> Float[Array, "height width"]:
    parts = [plane[row::edge, column::edge] for row in range(edge) for column in range(edge)]
    return sum(parts[1:], start=parts[0]) / edge**2
