"""Which pixels of an image show a surface, and whether two places on the image show the same piece of it.

Depth goes on over the image as the plane of a face says. What differs from that by more than a few of a pixel's
footprints (metres that a pixel spans at that depth) lies on another piece. The tolerance grows with the face's slope.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from render_jax.cameras import Pinhole, WeakPerspective
from render_jax.planes import at_pixels
from render_jax.rasterization import Fragments, rasterize


class SeenSurface(NamedTuple):
    """The hard pass from a camera with, for each face, how its depth goes on over the image. No gradients.

    Attributes:
      camera: of the image.
      fragments: what it sees.
      slopes: along u and v a pixel, of one over the depth (pinhole) or of the depth (weak perspective), which are
        affine over the image.
    """

    camera: Pinhole | WeakPerspective
    fragments: Fragments
    slopes: tuple[Float[Array, "faces"], Float[Array, "faces"]]

    @property
    def perspective(self) -> bool:
        return not isinstance(self.camera, WeakPerspective)


def seen_surface(
    vertices: Float[Array, "vertices 3"],
    faces: Int[Array | np.ndarray, "faces 3"],
    camera: Pinhole | WeakPerspective,
    image_size: tuple[int, int],
) -> SeenSurface:
    """Of a mesh in the camera frame, metres."""
    vertices, camera = jax.lax.stop_gradient((vertices, camera))
    perspective = not isinstance(camera, WeakPerspective)
    screen = camera.to_screen(vertices)
    fragments = rasterize(screen, faces, image_size, perspective=perspective)
    corners = screen[faces]
    corners = jnp.where((corners[:, :, 2] > 0).all(axis=1)[:, None, None], corners, 1)
    affine = 1 / corners[:, :, 2] if perspective else corners[:, :, 2]
    one, two = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    rise = affine[:, 1:] - affine[:, :1]
    area = one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0]
    area = jnp.where(area == 0, 1, area)
    slope_u = (rise[:, 0] * two[:, 1] - rise[:, 1] * one[:, 1]) / area
    slope_v = (rise[:, 1] * one[:, 0] - rise[:, 0] * two[:, 0]) / area
    return SeenSurface(camera, fragments, (slope_u, slope_v))


def continues_plane(
    surface: SeenSurface,
    face_index: Int[Array, "*places"],
    depth: Float[Array, "*places"],
    step: tuple[Array | int, Array | int],
    other_depth: Float[Array, "*places"],
    tolerance: float,
) -> Bool[Array, "*places"]:
    """Whether `other_depth`, a step (u, v) away on the image, is what the plane of the face has there.

    Args:
      surface: seen by the camera.
      face_index: at each place; of any face where -1.
      depth: of that face there, metres.
      step: pixels.
      other_depth: metres.
      tolerance: footprints of a pixel for a face seen squarely; more for a steeper one.
    """
    depth, *steps = (jax.lax.stop_gradient(jnp.asarray(value, depth.dtype)) for value in (depth, *step))
    depth = jnp.where(depth > 0, depth, 1)
    slopes = [at_pixels(slope, face_index) for slope in surface.slopes]
    change = slopes[0] * steps[0] + slopes[1] * steps[1]
    steepness = jnp.sqrt(slopes[0] ** 2 + slopes[1] ** 2)  # of the depth a pixel, after the next lines
    if surface.perspective:
        expected = 1 / depth + change
        expected = jnp.where(expected > 0, 1 / jnp.where(expected > 0, expected, 1), 0)
        steepness = steepness * depth**2
    else:
        expected = depth + change
    return jnp.abs(expected - other_depth) <= tolerance * (_footprint(surface.camera, depth) + steepness)


def _footprint(camera: Pinhole | WeakPerspective, depth: Float[Array, "*places"]) -> Float[Array, "*places"]:
    """Metres that a pixel spans at a depth."""
    corners = (jnp.broadcast_to(jnp.asarray(corner, depth.dtype), (*depth.shape, 2)) for corner in (0, 1))
    one, other = (camera.unproject(corner, depth) for corner in corners)
    across = other - one
    return jnp.sqrt(jnp.abs(across[..., 0] * across[..., 1]))


def away_from_outlines(surface: SeenSurface, margin: int, tolerance: float) -> Bool[Array, "height width"]:
    """Pixels that show the surface and have no outline or jump in depth within `margin` pixels."""
    index, depth, good = surface.fragments.face_index, surface.fragments.depth, surface.fragments.mask
    mask = good
    if margin > 0:
        for axis, step in ((0, (0, 1)), (1, (1, 0))):
            index_a, index_b = _neighbours(index, axis)
            depth_a, depth_b = _neighbours(depth, axis)
            mask_a, mask_b = _neighbours(mask, axis)
            joined = continues_plane(surface, index_a, depth_a, step, depth_b, tolerance)
            joined |= continues_plane(surface, index_b, depth_b, (-step[0], -step[1]), depth_a, tolerance)
            good &= _at_both(joined & mask_a & mask_b, axis)
    for _ in range(margin - 1):
        for axis in (0, 1):
            one, other = _neighbours(good, axis)
            good &= _at_both(one & other, axis)
    return good


def _neighbours(plane: Array, axis: int) -> tuple[Array, Array]:
    """Of all pairs of neighbours along an axis, the first ones and the second ones."""
    return (plane[:-1], plane[1:]) if axis == 0 else (plane[:, :-1], plane[:, 1:])


def _at_both(pairs: Bool[Array, "pairs_down pairs_across"], axis: int) -> Bool[Array, "height width"]:
    """Pixels for which both pairs along an axis hold; beyond the image's border nothing speaks against one."""
    after, before = (
        jnp.pad(pairs, [edge if one == axis else (0, 0) for one in range(2)], constant_values=True)
        for edge in ((0, 1), (1, 0))
    )
    return after & before
