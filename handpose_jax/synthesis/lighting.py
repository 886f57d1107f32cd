"""Light for synthetic hands: a key light that casts shadows, a fill, and the sky; in linear light."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from mano_jax.rotations import PRECISION
from render_jax import Lights, normalize, rasterize

_SHADOW_SIZE = 160
_SHADOW_BIAS = 0.0035
"""Metres, for maps of _SHADOW_SIZE cells; in proportion to the cells for others."""


class Illumination(NamedTuple):
    """Directions are unit vectors towards the lights, camera frame; colours are linear RGB factors."""

    key_direction: Float[Array, "3"]
    key_colour: Float[Array, "3"]
    fill_direction: Float[Array, "3"]
    fill_colour: Float[Array, "3"]
    sky: Float[Array, "3"]
    specular: Float[Array, ""]
    shininess: Float[Array, ""]

    def key_light(self) -> Lights:
        """The key light alone."""
        return self._lights(jnp.zeros_like(self.sky), self.key_direction, self.key_colour)

    def soft_light(self) -> Lights:
        """Sky and fill."""
        return self._lights(self.sky, self.fill_direction, self.fill_colour)

    def _lights(self, ambient: Array, direction: Array, colour: Array) -> Lights:
        none = jnp.zeros((0, 3), ambient.dtype)
        return Lights(ambient, direction[None], colour[None], none, none, self.specular, self.shininess)


def studio_light() -> Illumination:
    """A fixed, friendly light for pictures of results: key over the left shoulder, cool fill from the right."""
    directions = np.array([[-0.50, -0.70, -0.75], [0.80, 0.10, -0.55]])
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    values = [directions[0], [0.78, 0.76, 0.72], directions[1], [0.13, 0.15, 0.18], [0.27, 0.28, 0.30], 0.05, 22.0]
    return Illumination(*(jnp.asarray(np.asarray(value, np.float32)) for value in values))


def sample_light(key: PRNGKeyArray) -> Illumination:
    """A random room: key light from above the horizon on the camera's side mostly, warm to cool."""
    draws = jax.random.uniform(key, (12,))
    around, height = 3.8 * draws[0] - 1.9, 0.1 + 0.85 * draws[1]
    level = jnp.sqrt(1.0 - height * height)
    warmth = 0.32 * draws[2:4] - 0.16
    tints = 1.0 + warmth[:, None] * jnp.asarray([[1.0, 0.1, -1.0]])
    return Illumination(
        key_direction=jnp.stack([level * jnp.sin(around), -height, -level * jnp.cos(around)]),
        key_colour=(0.45 + 0.65 * draws[4]) * tints[0],
        fill_direction=normalize(2.0 * draws[5:8] - jnp.asarray([1.0, 1.0, 1.8])),
        fill_colour=(0.05 + 0.20 * draws[8]) * tints[1],
        sky=(0.22 + 0.30 * draws[9]) * tints[1],
        specular=0.02 + 0.06 * draws[10],
        shininess=12.0 + 24.0 * draws[11],
    )


class ShadowMap(NamedTuple):
    """A surface seen from a light far away: rows of `frame` are the map's u and v and the way of the light.

    What lies less than `bias` metres behind the first surface counts as lit, or surfaces would shadow themselves.
    """

    frame: Float[Array, "3 3"]
    origin: Float[Array, "3"]
    scale: Float[Array, ""]
    depth: Float[Array, "map map"]
    bias: float | Float[Array, ""] = _SHADOW_BIAS

    def lit(self, points: Float[Array, "n 3"]) -> Float[Array, "n"]:
        """Share of the light that reaches points, softened over about two cells of the map."""
        local = jnp.einsum("ab,nb->na", self.frame, points - self.origin[None], precision=PRECISION)
        last = self.depth.shape[0] - 1
        u, v = local[:, 0] * self.scale - 0.5, local[:, 1] * self.scale - 0.5
        left, top = jnp.floor(u), jnp.floor(v)
        total = jnp.zeros_like(u)
        # Bilinear over comparisons, not over depths ("percentage closer"); weights of a tent two cells wide.
        for row in (-1, 0, 1, 2):
            for column in (-1, 0, 1, 2):
                weight = _tent(u - left - column) * _tent(v - top - row)
                at = [jnp.clip(x, 0, last).astype(jnp.int32) for x in (top + row, left + column)]
                free = local[:, 2] < self.depth[at[0], at[1]] + self.bias
                total = total + weight * jnp.where(free, 1.0, 0.0)
        return total


def shadow_map(
    vertices: Float[Array, "surface 3"],
    faces: Int[np.ndarray, "faces 3"],
    direction: Float[Array, "3"],
    size: int = _SHADOW_SIZE,
    cull: str | None = None,
) -> ShadowMap:
    """The depth of a surface seen from a light in `direction`, on a map of `size` cells along each side.

    `cull` as for `rasterize`: "back" is faster where surfaces are closed.
    """
    down = -direction
    helper = jnp.where(jnp.abs(down[1]) < 0.9, 1.0, 0.0) * jnp.asarray([0.0, 1.0, 0.0])
    helper = helper + jnp.where(jnp.abs(down[1]) < 0.9, 0.0, 1.0) * jnp.asarray([1.0, 0.0, 0.0])
    sideways = normalize(jnp.cross(helper, down))
    frame = jnp.stack([sideways, jnp.cross(down, sideways), down])
    local = jnp.einsum("ab,nb->na", frame, vertices, precision=PRECISION)
    low, high = local.min(axis=0), local.max(axis=0)
    scale = size / (1.02 * jnp.maximum((high - low)[:2].max(), 1e-3))
    # Depths must be positive; a metre is added and taken off again.
    shifted = local - low[None]
    screen = jnp.concatenate([shifted[:, :2] * scale, shifted[:, 2:] + 1.0], axis=1)
    fragments = rasterize(screen, faces, (size, size), cull=cull, perspective=False)
    depth = jnp.where(fragments.mask, fragments.depth - 1.0, jnp.inf)
    origin = jnp.einsum("ab,a->b", frame, low, precision=PRECISION)
    return ShadowMap(frame, origin, scale, depth, _SHADOW_BIAS * _SHADOW_SIZE / size)


def _tent(offset: Float[Array, "n"]) -> Float[Array, "n"]:
    """Weights at distances from a sample, two cells to each side; they sum to 1 over the four nearest cells."""
    return 0.5 * jnp.maximum(1.0 - 0.5 * jnp.abs(offset), 0.0)
