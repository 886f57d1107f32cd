"""A picture of a hand's surface: texture, shadows and occlusion at every sample, averaged to pixels."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from handpose_jax.synthesis.colour import encoded
from handpose_jax.synthesis.lighting import Illumination, ShadowMap, shadow_map
from handpose_jax.synthesis.occluders import Occluder, solids
from handpose_jax.synthesis.surface import Surface
from mano_jax.rotations import PRECISION
from render_jax import Pinhole, normalize, rasterize, shade

Texture = Callable[[Float[Array, "points 3"], Float[Array, "points"]], Float[Array, "points 3"]]
"""Linear RGB of points, from their place on the template (metres) and their palmar side."""

# Samples lit at once: their textures fit a cache.
_CHUNK = 4096
# Light that has bounced between parts of a hand is redder: how fast each channel falls where the sky is hidden.
_OCCLUSION_POWER = (0.75, 1.05, 1.10)


class Picture(NamedTuple):
    """Display values over the background, and the share of each pixel that the hand (without forearm) covers.

    `face_index` is that of the samples, -1 where nothing is; `vertices` and `faces` are of all that was drawn.
    """

    image: Float[Array, "height width 3"]
    mask: Float[Array, "height width"]
    face_index: Int[Array, "large_height large_width"]
    vertices: Float[Array, "all_vertices 3"]
    faces: Int[np.ndarray, "all_faces 3"]


def draw_surface(
    surface: Surface,
    faces: Int[np.ndarray, "faces 3"],
    hand_faces: int,
    camera: Pinhole,
    background: Float[Array, "height width 3"],
    light: Illumination,
    texture: Texture,
    supersample: int = 2,
    texture_per_pixel: bool = True,
    solid: Occluder | None = None,
) -> Picture:
    """Draw a surface.

    Args:
      surface: of one hand.
      faces: of the surface; the first `hand_faces` are the hand's, the others the forearm's.
      hand_faces: see there.
      camera: of the picture.
      background: display values in [0, 1]; its size is the picture's.
      light: of the scene.
      texture: the surface's colour.
      supersample: samples along each side of a pixel.
      texture_per_pixel: evaluate the texture at every sample, or at the vertices only (faster, blurred).
      solid: an object beside the surface; its faces come after the surface's.
    """
    height, width = background.shape[:2]
    size = (height * supersample, width * supersample)
    camera = camera.resized(supersample)
    painted = texture(surface.rest, surface.palmar) if not texture_per_pixel else None
    attributes = [surface.normals, surface.openness[:, None]]
    attributes += [painted] if painted is not None else [surface.rest, surface.palmar[:, None]]
    vertices, attributes = surface.vertices, jnp.concatenate(attributes, axis=1)
    if solid is not None:
        faces = np.concatenate([faces, solids().faces + len(vertices)])
        count = len(solid.vertices)
        plain = [solid.normals, jnp.ones((count, 1)), jnp.broadcast_to(solid.colour, (count, 3))]
        if painted is None:
            # The colour stands where others have their place on the template; the last channel says so.
            attributes = jnp.pad(attributes, ((0, 0), (0, 1)))
            plain.append(jnp.ones((count, 2)))
        own = jnp.concatenate(plain, axis=1)
        vertices, attributes = jnp.concatenate([vertices, solid.vertices]), jnp.concatenate([attributes, own])
    fragments = rasterize(camera.to_screen(vertices), faces, size)
    shadows = shadow_map(vertices, faces, light.key_direction)
    corners = attributes[faces]
    flat = jax.tree.map(lambda plane: plane.reshape(size[0] * size[1], *plane.shape[2:]), fragments)

    def light_up(sample: Array) -> Array:
        """Display values of samples that see the surface."""
        weights = flat.barycentric[sample]
        seen = jnp.einsum("nc,ncd->nd", weights, corners[flat.face_index[sample]], precision=PRECISION)
        colours = seen[:, 4:7] if painted is not None else texture(seen[:, 4:7], seen[:, 7])
        if painted is None and solid is not None:
            colours = jnp.where(seen[:, 8:] > 0.5, seen[:, 4:7], colours)
        u, v = (sample % size[1]).astype(seen.dtype) + 0.5, (sample // size[1]).astype(seen.dtype) + 0.5
        positions = camera.unproject(jnp.stack([u, v], axis=-1), flat.depth[sample])
        return _lit(normalize(seen[:, :3]), positions, colours, seen[:, 3], light, shadows)

    values = _at_covered(light_up, flat.mask).reshape(*size, 3)
    hand = fragments.mask & (fragments.face_index < hand_faces)
    values, covered, hand = (
        _mean_of_squares(plane.astype(values.dtype), supersample) for plane in (values, fragments.mask, hand)
    )
    image = values + (1.0 - covered[..., None]) * background
    return Picture(image, hand, fragments.face_index, vertices, faces)


def _lit(
    normals: Float[Array, "n 3"],
    positions: Float[Array, "n 3"],
    colours: Float[Array, "n 3"],
    openness: Float[Array, "n"],
    light: Illumination,
    shadows: ShadowMap,
) -> Float[Array, "n 3"]:
    """Display values: sky and fill dimmed by occlusion, the key light by shadows and a little by occlusion."""
    free = jnp.maximum(openness, 1e-3)[:, None] ** jnp.asarray(_OCCLUSION_POWER, normals.dtype)[None]
    soft = shade(normals, positions, colours, light.soft_light()) * free
    key = shade(normals, positions, colours, light.key_light()) * shadows.lit(positions)[:, None]
    return encoded(soft + key * (0.4 + 0.6 * free))


def _at_covered(light_up: Callable[[Array], Array], mask: Bool[Array, "samples"]) -> Float[Array, "samples 3"]:
    """`light_up` of the samples that see something, 0 elsewhere: most of a picture is background and costs nothing."""
    total = mask.shape[0]
    chunk = min(_CHUNK, total)
    # Past the last sample come indices outside the picture, at which nothing is written.
    samples = jnp.nonzero(mask, size=total + chunk, fill_value=total)[0].astype(jnp.int32)

    def body(state: tuple[Array, Array]) -> tuple[Array, Array]:
        start, values = state
        chosen = jax.lax.dynamic_slice(samples, (start,), (chunk,))
        lit = light_up(jnp.minimum(chosen, total - 1))
        return start + chunk, values.at[chosen].set(lit, mode="drop", unique_indices=False)

    begin = (jnp.int32(0), jnp.zeros((total, 3)))
    count = mask.sum(dtype=jnp.int32)
    return jax.lax.while_loop(lambda state: state[0] < count, body, begin)[1]


def _mean_of_squares(plane: Float[Array, "large_height large_width *channels"], edge: int) -> Array:
    height, width = plane.shape[0] // edge, plane.shape[1] // edge
    return plane.reshape(height, edge, width, edge, *plane.shape[2:]).mean(axis=(1, 3))
