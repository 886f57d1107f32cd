"""The hard pass with clipping at the near plane: a face that reaches past the camera is drawn up to that plane.

What is cut are copies, for the index pass only: a triangle leaves at most two. Depth and barycentric coordinates are
those of the *original* face, from edge functions in homogeneous coordinates (Olano & Greer, "Triangle scan conversion
using 2D homogeneous coordinates", 1997): with h = (u w, v w, w) of each corner, w the depth, the weight of a corner at
pixel p is the determinant of (p, 1) and the h of the other two. It divides by no depth, so corners may lie at the
camera's depth or behind it, and values and gradients are right there too.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int

from render_jax.cameras import Pinhole, WeakPerspective
from render_jax.planes import at_pixels, in_chunks, pixel_centres
from render_jax.rasterization import (
    MINIMUM_DOUBLED_AREA,
    Fragments,
    check_mesh,
    doubled_area,
    representable_range,
    weighted_depth,
)
from render_jax.window_pass import nearest_faces


def rasterize_clipped(
    points: Float[Array, "vertices 3"],
    faces: Int[Array | np.ndarray, "faces 3"],
    camera: Pinhole | WeakPerspective,
    image_size: tuple[int, int],
    *,
    near: float | Float[Array, ""] = 0.01,
    cull: str | None = None,
) -> Fragments:
    """`rasterize` of points in the camera frame, with every face cut at depth `near` instead of left out.

    Costs about a seventh more. What is farther than `near` is seen without holes; `barycentric` and its gradients are
    those of the whole faces, so `interpolate` needs nothing new. Choose `near` no smaller than needed: cut corners lie
    at x / near focal lengths from the middle of the image, and which of two faces is nearer is decided to rounding of
    1 / near.

    Args:
      points: metres in the camera frame.
      faces: vertex indices; concrete or traced.
      camera: of the image.
      image_size: (height, width).
      near: depth of the plane, metres, > 0. It has no gradient.
      cull: None, "back" or "front", as for `rasterize`.

    Raises:
      ValueError: as `rasterize` does, and for a concrete `near` <= 0.
    """
    face_index, depth, weights = nearest_clipped_surface(points, faces, camera, image_size, near, cull)
    return Fragments(face_index=face_index, depth=depth, barycentric=jnp.stack(weights, axis=-1))


def nearest_clipped_surface(
    points: Float[Array, "vertices 3"],
    faces: Int[Array | np.ndarray, "faces 3"],
    camera: Pinhole | WeakPerspective,
    image_size: tuple[int, int],
    near: float | Float[Array, ""],
    cull: str | None,
) -> tuple[Array, Array, list[Array]]:
    """`rasterize_clipped` with the barycentric coordinates as three planes."""
    check_mesh(points, faces, image_size)
    if cull not in (None, "back", "front"):
        raise ValueError(f"expected cull=None, 'back' or 'front', not {cull!r}")
    if not isinstance(near, Tracer) and not float(near) > 0:
        raise ValueError(f"expected near > 0, a depth in metres, not {near}; near=0.01 is one centimetre")
    if faces.shape[0] == 0:
        faces = np.zeros((1, 3), np.int32)  # one degenerate face: nothing to see, and nothing empty to index
    dtype = points.dtype
    near = jax.lax.stop_gradient(jnp.asarray(near, dtype))
    # What is not finite must not reach the camera's gradient; a point at the camera itself takes its faces along below.
    usable = jnp.isfinite(points).all(axis=1)
    points = jnp.where(usable[:, None], points, 0)
    coordinates = jnp.concatenate([camera.to_homogeneous(points), points[:, 2:]], axis=1)
    corners, kept = coordinates[faces.astype(jnp.int32)], usable[faces.astype(jnp.int32)].all(axis=1)
    # Products of four coordinates occur, in the derivatives of the weights.
    largest = 0.125 * float(jnp.finfo(dtype).max) ** 0.25
    kept &= (jnp.abs(corners) < largest).all(axis=(1, 2))
    corners = jnp.where(kept[:, None, None], corners, 0)

    perspective = not isinstance(camera, WeakPerspective)
    pieces, present = _cut(jax.lax.stop_gradient(corners), near)
    triangles, drawn = _projected(pieces, present & kept[:, None], perspective)
    area = doubled_area(triangles)
    drawn &= jnp.abs(area) > jnp.maximum(_area_of_rounding(triangles, pieces, near), MINIMUM_DOUBLED_AREA)
    if cull is not None:
        drawn &= area < 0 if cull == "back" else area > 0
    # Pieces lie next to each other, so that of equally near faces the lowest index is kept here too.
    piece = nearest_faces(jnp.where(drawn[:, None, None], triangles, 0), drawn, image_size)
    face_index = jnp.where(piece >= 0, piece // 2, -1)
    return face_index, *_locate(face_index, corners)


def front_facing_points(
    points: Float[Array, "vertices 3"], faces: Int[Array | np.ndarray, "faces 3"], camera: Pinhole | WeakPerspective
) -> Bool[Array, "faces"]:
    """`front_facing` for points in the camera frame, right for faces that reach behind the camera as well."""
    one, two, three = (camera.to_homogeneous(points)[faces[:, corner]] for corner in range(3))
    return (one * jnp.cross(two - one, three - one)).sum(axis=-1) < 0


def _cut(corners: Float[Array, "faces 3 4"], near: Array) -> tuple[Array, Array]:
    """The part of each face at depths >= near as two triangles [faces, 2, 3, 4], and which of them there are."""
    inside = corners[:, :, 3] >= near
    count = inside.sum(axis=1)
    # The corner that is alone on its side comes first; the order round the face stays.
    first = jnp.where(count == 1, jnp.argmax(inside, axis=1), jnp.where(count == 2, jnp.argmin(inside, axis=1), 0))
    order = (first[:, None] + jnp.arange(3)[None]) % 3
    a, b, c = jnp.unstack(jnp.take_along_axis(corners, order[:, :, None], axis=1), axis=1)

    def towards(seen, hidden):
        """Where the edge meets the plane, always from its visible end: the same bits for both faces of the edge."""
        rise = seen[:, 3] - hidden[:, 3]
        shares = jnp.stack([near - hidden[:, 3], seen[:, 3] - near]) / jnp.where(rise > 0, rise, 1)[None]
        # Not one end plus a part of the edge: the visible one may be so far away that its rounding is all there is.
        return (shares[0, :, None] * seen + shares[1, :, None] * hidden).at[:, 3].set(near)

    whole = jnp.stack([a, b, c], axis=1)
    tip = jnp.stack([a, towards(a, b), towards(a, c)], axis=1)
    # Without its tip the face is a quadrilateral b, c, ca, ab, cut along b - ca.
    ca, ab = towards(c, a), towards(b, a)
    one_half, other_half = jnp.stack([b, c, ca], axis=1), jnp.stack([b, ca, ab], axis=1)
    count = count[:, None, None]
    first_piece = jnp.where(count == 3, whole, jnp.where(count == 1, tip, one_half))
    return jnp.stack([first_piece, other_half], axis=1), jnp.concatenate([count > 0, count == 2], axis=1)[:, :, 0]


def _projected(pieces: Array, present: Array, perspective: bool) -> tuple[Array, Array]:
    """Triangles (u, v, closeness) [2 * faces, 3, 3] for the index pass, and which of them can be drawn."""
    pieces, present = pieces.reshape(-1, 3, 4), present.reshape(-1)
    smallest, largest = representable_range(pieces.dtype)
    # A parallel projection has w = 1 and a depth of its own.
    width, depth = jnp.where(perspective, pieces[:, :, 3], pieces[:, :, 2]), pieces[:, :, 3]
    present &= (depth > smallest).all(axis=1)
    width, depth = (jnp.where(present[:, None], value, 1) for value in (width, depth))
    screen = pieces[:, :, :2] / width[:, :, None]
    present &= (jnp.abs(screen) < largest).all(axis=(1, 2))
    closeness = 1 / depth if perspective else -depth
    return jnp.concatenate([screen, closeness[:, :, None]], axis=-1), present


def _area_of_rounding(triangles: Float[Array, "pieces 3 3"], pieces: Array, near: Array) -> Float[Array, "pieces"]:
    """Doubled area that a piece with a cut may have though its face is seen edge-on; 0 for faces that are not cut."""
    cut = (pieces[:, :, :, 3] == near).any(axis=2).reshape(-1)
    corners = jnp.minimum(jnp.abs(triangles[:, :, :2]).max(axis=(1, 2)), 1e18)
    edges = jnp.minimum(jnp.ptp(triangles[:, :, :2], axis=1).max(axis=1), 1e18)
    return jnp.where(cut, 8 * float(jnp.finfo(triangles.dtype).eps) * corners * edges, 0)


def _locate(face_index: Int[Array, "height width"], corners: Float[Array, "faces 3 4"]) -> tuple[Array, list[Array]]:
    """Depth and barycentric coordinates, as planes, from corners (u w, v w, w, depth) of the whole faces seen."""
    dtype = corners.dtype
    # A common factor of a face's three corners changes no barycentric coordinate; products stay representable.
    size = jax.lax.stop_gradient(jnp.abs(corners[:, :, :3]).max(axis=(1, 2)))
    scaled = corners[:, :, :3] / jnp.where(size > 0, size, 1)[:, None, None]

    def locate(index, column, row):
        seen = index >= 0
        across, down = [], []
        for corner in range(3):
            width = at_pixels(scaled[:, corner, 2], index)
            # Subtracting the pixel first leaves the determinant as it is and rounds it as little as possible.
            across.append(at_pixels(scaled[:, corner, 0], index) - column * width)
            down.append(at_pixels(scaled[:, corner, 1], index) - row * width)
        weights = [across[a] * down[b] - down[a] * across[b] for a, b in ((1, 2), (2, 0), (0, 1))]
        orientation = jnp.where(weights[0] + weights[1] + weights[2] < 0, -1, 1).astype(dtype)
        weights = [weight * orientation for weight in weights]
        # As in `rasterize`: a centre on the border has the value of the border and the gradient of the inside.
        weights = [weight + jax.lax.stop_gradient(jnp.maximum(weight, 0) - weight) for weight in weights]
        # Their size at each pixel changes nothing either, and its square need not be representable.
        largest = jax.lax.stop_gradient(jnp.maximum(jnp.maximum(weights[0], weights[1]), weights[2]))
        factor = 1 / jnp.where(largest > representable_range(dtype)[0], largest, 1)
        weights = [weight * factor for weight in weights]
        return weighted_depth(weights, [at_pixels(corners[:, corner, 3], index) for corner in range(3)], seen)

    depth, *barycentric = in_chunks(locate, [face_index, *pixel_centres(face_index.shape, dtype)])
    return depth, barycentric
