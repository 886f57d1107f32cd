"""Normals and lights: Lambert shading with Blinn-Phong gloss.

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

from render_jax.cameras import Scalar
from render_jax.planes import in_chunks


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


def ambient_light(level: Any = 1.0, dtype: Any = jnp.float32) -> Lights:
    """Light that comes evenly from everywhere, a grey value or RGB: at 1 a picture shows colours as they are, unlit."""
    none = jnp.zeros((0, 3), dtype)
    return Lights(
        ambient=jnp.broadcast_to(jnp.asarray(level, dtype), (3,)),
        directions=none,
        colours=none,
        positions=none,
        lamp_colours=none,
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
    shaded = in_chunks(lambda *parts: shade_planes(parts[:3], parts[3:6], parts[6:], lights), planes)
    return jnp.stack(shaded, axis=-1).reshape(normals.shape)


def shade_planes(
    normal: Sequence[Array], position: Sequence[Array], colour: Sequence[Array], lights: Lights
) -> list[Array]:
    """`shade` component by component: on a CPU, sums over a last axis of three cost several times the rest."""
    dtype = normal[0].dtype
    lights = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), lights)
    view = unit_planes([-component for component in position])
    far = [(jnp.unstack(direction), light) for direction, light in zip(lights.directions, lights.colours, strict=True)]
    lamps = [
        (unit_planes([place - component for place, component in zip(jnp.unstack(lamp), position, strict=True)]), light)
        for lamp, light in zip(lights.positions, lights.lamp_colours, strict=True)
    ]
    diffuse, gloss = list(lights.ambient), [jnp.zeros((), dtype)] * 3
    for direction, light in [*far, *lamps]:
        facing = _dot(normal, direction)
        lit = facing > 0
        middle = _dot(normal, unit_planes([a + b for a, b in zip(direction, view, strict=True)]))
        # A power of a number <= 0 has no gradient, and it is not needed: the highlight lies where this is positive.
        shining = lit & (middle > 0)
        highlight = jnp.where(shining, jnp.exp(lights.shininess * jnp.log(jnp.where(shining, middle, 1))), 0)
        facing = jnp.where(lit, facing, 0)
        diffuse = [total + strength * facing for total, strength in zip(diffuse, light, strict=True)]
        gloss = [total + strength * highlight for total, strength in zip(gloss, light, strict=True)]
    return [base * soft + lights.specular * hard for base, soft, hard in zip(colour, diffuse, gloss, strict=True)]


def _dot(left: Sequence[Array], right: Sequence[Array]) -> Array:
    return left[0] * right[0] + left[1] * right[1] + left[2] * right[2]


def unit_planes(vector: Sequence[Array]) -> list[Array]:
    """Unit vector of three components kept apart, whose squares must be representable; zero stays zero."""
    squares = _dot(vector, vector)
    usable = squares > 0
    factor = jnp.where(usable, lax.rsqrt(jnp.where(usable, squares, 1)), 0)
    return [component * factor for component in vector]
