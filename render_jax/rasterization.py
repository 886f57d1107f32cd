"""The hard pass: the nearest face at each pixel, its depth and its perspective-correct barycentric coordinates.

The face index is piecewise constant and has no gradient. Everything else is interpolated afterwards, pixel by pixel, in
ordinary JAX ("deferred"), so values and gradients with respect to the vertices are those of the visible surface. What a
hard pass cannot give is a gradient of *which* face is seen: moving an outline changes no pixel's value infinitesimally.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int

from render_jax.planes import at_pixels, in_chunks, interpolate_planes, pixel_centres
from render_jax.window_pass import nearest_faces

# Faces of a smaller doubled area (pixels squared) cover nothing, as in the soft silhouette.
MINIMUM_DOUBLED_AREA = 1e-9


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Fragments:
    """What is seen at each pixel centre.

    Attributes:
      face_index: int32, -1 where no face is.
      depth: in the unit of the vertices' depth, 0 where no face is.
      barycentric: weights of the face's three corners, perspective-correct, summing to 1; 0 where no face is.
    """

    face_index: Int[Array, "*batch height width"]
    depth: Float[Array, "*batch height width"]
    barycentric: Float[Array, "*batch height width 3"]

    @property
    def mask(self) -> Bool[Array, "*batch height width"]:
        """True where a face covers the pixel centre."""
        return self.face_index >= 0


def representable_range(dtype: np.dtype) -> tuple[float, float]:
    """Numbers whose squares, and a few such products together, are neither 0 nor infinite."""
    limits = jnp.finfo(dtype)
    return 8 * float(limits.tiny) ** 0.5, 0.125 * float(limits.max) ** 0.5


def doubled_area(triangles: Float[Array, "faces 3 3"]) -> Float[Array, "faces"]:
    one, two = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    return one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0]


def front_facing(
    vertices: Float[Array, "vertices 3"], faces: Int[Array | np.ndarray, "faces 3"]
) -> Bool[Array, "faces"]:
    """Faces seen from their front: counter-clockwise from outside the body, as in OBJ and MANO files.

    With v pointing down, such a face runs counter-clockwise on the picture too: its doubled area
    (u1 - u0)(v2 - v0) - (v1 - v0)(u2 - u0) is negative. A mirrored mesh with the same faces has fronts and backs
    swapped.

    Args:
      vertices: (u px, v px, depth).
      faces: vertex indices.
    """
    return doubled_area(vertices[faces]) < 0


def check_mesh(vertices: Array, faces: Array | np.ndarray, image_size: tuple[int, int]) -> None:
    """Raises ValueError for shapes, dtypes and concrete indices that cannot be rasterized."""
    if vertices.ndim != 2 or vertices.shape[-1] != 3 or vertices.shape[0] == 0:
        raise ValueError(
            f"expected vertices of shape (vertices, 3), one image, not {vertices.shape}; use jax.vmap for a batch"
        )
    if not jnp.issubdtype(vertices.dtype, jnp.floating):
        raise ValueError(f"expected vertices of a floating dtype, not {vertices.dtype}; convert them to float32")
    if faces.ndim != 2 or faces.shape[-1] != 3 or not jnp.issubdtype(faces.dtype, jnp.integer):
        raise ValueError(
            f"expected integer faces of shape (faces, 3), not {faces.dtype} {faces.shape}; triangulate first"
        )
    if len(image_size) != 2 or min(image_size) < 1:
        raise ValueError(f"expected image_size=(height, width) of positive integers, not {image_size}")
    # Faces that are known, NumPy's or JAX's, can be checked to index vertices; a gather would clamp them silently.
    if isinstance(faces, Tracer) or faces.size == 0:
        return
    known = np.asarray(faces)
    if known.min() < 0 or known.max() >= vertices.shape[0]:
        raise ValueError(
            f"expected face indices in 0 ... {vertices.shape[0] - 1}, not {known.min()} ... {known.max()}; "
            "were faces and vertices taken from the same mesh?"
        )


def rasterize(
    vertices: Float[Array, "vertices 3"],
    faces: Int[Array | np.ndarray, "faces 3"],
    image_size: tuple[int, int],
    *,
    cull: str | None = None,
    perspective: bool = True,
) -> Fragments:
    """The nearest face at each pixel centre, and where on it.

    A pixel belongs to a face if its centre (column + 0.5, row + 0.5) lies in it or within rounding (about 1e-6 of the
    face's size) of its border: a mesh has no hole along shared edges and vertices. Where faces are equally near, the
    lowest index is kept. Both orientations are drawn. A face with a coordinate that is not finite, a vertex depth <= 0
    or a doubled area <= 1e-9 px² covers nothing and gets gradient 0 (so does, in float32, one with a coordinate above
    2e18 or a depth below 1e-18, whose products would overflow). There is no clipping at the near plane: a face partly
    behind the camera is left out whole; `rasterize_clipped` draws what is before it.

    Gradients of `depth` and `barycentric` reach the vertices of the visible faces; `face_index` has none.

    Args:
      vertices: u and v in pixels, depth along the optical axis in any unit (`Pinhole.to_screen` makes them).
      faces: vertex indices; concrete or traced.
      image_size: (height, width).
      cull: None, "back" or "front": faces to leave out (`front_facing`).
      perspective: False for a parallel projection (`WeakPerspective`), where attributes are affine over the image.

    Raises:
      ValueError: wrong shapes or dtypes, NumPy faces that index no vertex, an unknown `cull`.
    """
    face_index, depth, weights = nearest_surface(vertices, faces, image_size, cull, perspective)
    return Fragments(face_index=face_index, depth=depth, barycentric=jnp.stack(weights, axis=-1))


def nearest_surface(
    vertices: Float[Array, "vertices 3"],
    faces: Int[Array | np.ndarray, "faces 3"],
    image_size: tuple[int, int],
    cull: str | None,
    perspective: bool,
) -> tuple[Array, Array, list[Array]]:
    """`rasterize` with the barycentric coordinates as three planes."""
    check_mesh(vertices, faces, image_size)
    if cull not in (None, "back", "front"):
        raise ValueError(f"expected cull=None, 'back' or 'front', not {cull!r}")
    if faces.shape[0] == 0:
        faces = np.zeros((1, 3), np.int32)  # one degenerate face: nothing to see, and nothing empty to index
    triangles = vertices[faces.astype(jnp.int32)]

    # Every face that is not drawn becomes zeros before any arithmetic, so neither values nor gradients can be NaN.
    smallest, largest = representable_range(vertices.dtype)
    within_range = (jnp.abs(triangles) < largest).all(axis=(1, 2)) & (triangles[:, :, 2] > smallest).all(axis=1)
    triangles = jnp.where(within_range[:, None, None], triangles, 0)
    area = jax.lax.stop_gradient(doubled_area(triangles))
    drawn = jnp.abs(area) > MINIMUM_DOUBLED_AREA
    if cull is not None:
        drawn &= area < 0 if cull == "back" else area > 0
    corners = jnp.where(drawn[:, None, None], triangles[:, :, :2], 0)
    depth = jnp.where(drawn[:, None], triangles[:, :, 2], 1)
    # One over the depth is affine over a perspective image, the depth itself over a parallel one.
    affine = 1 / depth if perspective else -depth
    table = jnp.concatenate([corners, affine[:, :, None]], axis=-1)
    pinned = jax.lax.stop_gradient(jnp.where(drawn[:, None, None], table, 0))
    face_index = nearest_faces(pinned, drawn, image_size)
    return face_index, *_locate(face_index, table, perspective)


def _locate(
    face_index: Int[Array, "height width"], table: Float[Array, "faces 3 3"], perspective: bool
) -> tuple[Array, list[Array]]:
    """Depth and barycentric coordinates, as planes, from corners (u, v, 1 / depth or -depth) of the faces seen."""
    dtype = table.dtype

    def locate(index, column, row):
        seen = index >= 0
        u = [column - at_pixels(table[:, corner, 0], index) for corner in range(3)]
        v = [row - at_pixels(table[:, corner, 1], index) for corner in range(3)]
        affine = [at_pixels(table[:, corner, 2], index) for corner in range(3)]
        # Twice the areas that the pixel centre spans with the two other corners, positive inside.
        areas = [u[a] * v[b] - v[a] * u[b] for a, b in ((1, 2), (2, 0), (0, 1))]
        orientation = jnp.where(areas[0] + areas[1] + areas[2] < 0, -1, 1).astype(dtype)
        areas = [area * orientation for area in areas]
        # A centre on the border may be outside by rounding: the value is clipped, the gradient is that of the inside.
        areas = [area + jax.lax.stop_gradient(jnp.maximum(area, 0) - area) for area in areas]
        weights = [area * scale for area, scale in zip(areas, affine, strict=True)] if perspective else areas
        depths = [1 / jnp.where(seen, value, 1) if perspective else -value for value in affine]
        return weighted_depth(weights, depths, seen)

    depth, *barycentric = in_chunks(locate, [face_index, *pixel_centres(face_index.shape, dtype)])
    return depth, barycentric


def weighted_depth(
    weights: Sequence[Float[Array, "*pixels"]], depths: Sequence[Float[Array, "*pixels"]], seen: Bool[Array, "*pixels"]
) -> tuple[Array, Array, Array, Array]:
    """Depth and barycentric coordinates of weights >= 0 of three corners, whatever their sum; 0 where not seen."""
    total = weights[0] + weights[1] + weights[2]
    # The areas of a sliver thinner than rounding can all be zero; its middle is then as good as any point of it.
    usable = seen & (total > representable_range(total.dtype)[0])
    safe_total = jnp.where(usable, total, 1)
    one, two, three = (jnp.where(seen, jnp.where(usable, weight / safe_total, 1 / 3), 0) for weight in weights)
    depth = one * depths[0] + two * depths[1] + three * depths[2]
    return jnp.where(seen, depth, 0), one, two, three


def interpolate(
    fragments: Fragments, corner_attributes: Float[Array, "faces 3 *channels"]
) -> Float[Array, "height width *channels"]:
    """Any attribute at each pixel, interpolated over the visible face; 0 where there is none.

    Args:
      fragments: of one image (`vmap` for more).
      corner_attributes: a value for each corner of each face: `attributes[faces]` for vertex attributes such as
        colours, normals or positions; corners of one vertex may differ, as they do at the seams of a texture.

    Differentiable with respect to the attributes and, through the barycentric coordinates, to the vertices.
    """
    if corner_attributes.ndim < 2 or corner_attributes.shape[1] != 3:
        raise ValueError(
            f"expected attributes of shape (faces, 3, ...), one a corner, not {corner_attributes.shape}; "
            "index vertex attributes by the faces: attributes[faces]"
        )
    if corner_attributes.shape[0] == 0:
        return jnp.zeros((*fragments.face_index.shape, *corner_attributes.shape[2:]), corner_attributes.dtype)
    channels = corner_attributes.reshape(corner_attributes.shape[0], 3, -1)
    planes = in_chunks(
        lambda index, *weights: interpolate_planes(index, weights, channels),
        [fragments.face_index, *jnp.unstack(fragments.barycentric, axis=-1)],
    )
    return jnp.stack(planes, axis=-1).reshape(*fragments.face_index.shape, *corner_attributes.shape[2:])
