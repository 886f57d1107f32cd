"""The texture of a mesh from an image of it: the colour of every texel that the camera sees, the others filled in.

The atlas is rasterized, so each texel knows its place on the surface; that place is projected into the image and
compared with a hard pass from the camera. A texel is looked up bilinearly among those of the four pixels around it that
show the same piece of surface: their depth must be what the plane of the texel's face has there. The tolerance is a
number of pixels' footprints (metres a pixel spans at that depth) and grows with the slope of the face.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from render_jax.cameras import Pinhole, WeakPerspective
from render_jax.planes import at_pixels
from render_jax.rasterization import Fragments, interpolate, rasterize
from render_jax.texture_filling import fill_texture
from render_jax.texture_visibility import SeenSurface, away_from_outlines, continues_plane, seen_surface


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ExtractedTexture:
    """What an image shows of a surface.

    Attributes:
      texture: RGB, every texel filled; row 0 is v = 1, as `UVTexture` takes it.
      visible: texels whose colour is the image's.
      weight: how squarely each of them is seen, the cosine between surface and ray; 0 where not visible. For means of
        several images.
    """

    texture: Float[Array, "*batch size size 3"]
    visible: Bool[Array, "*batch size size"]
    weight: Float[Array, "*batch size size"]


def rasterize_atlas(
    uv: Float[Array | np.ndarray, "T 2"], uv_faces: Int[Array | np.ndarray, "faces 3"], size: int
) -> Fragments:
    """Face and barycentric coordinates of every texel's centre in a square atlas; where charts overlap, the first face.

    `interpolate` then brings anything on the mesh to the texels: positions, normals, colours. Row 0 is v = 1.
    """
    uv = jnp.asarray(uv)
    if uv.ndim != 2 or uv.shape[1] != 2:
        raise ValueError(f"expected texture coordinates of shape (T, 2), not {uv.shape}")
    places = jnp.stack([uv[:, 0] * size, (1 - uv[:, 1]) * size, jnp.ones_like(uv[:, 0])], axis=-1)
    return rasterize(places, uv_faces, (size, size), perspective=False)


def extract_texture(
    image: Float[Array, "height width 3"],
    vertices: Float[Array, "vertices 3"],
    faces: Int[Array | np.ndarray, "faces 3"],
    camera: Pinhole | WeakPerspective,
    uv: Float[Array | np.ndarray, "T 2"],
    uv_faces: Int[Array | np.ndarray, "faces 3"],
    size: int,
    *,
    trusted: Bool[Array, "height width"] | None = None,
    outline_margin: int = 1,
    depth_tolerance: float = 2.0,
    minimum_cosine: float = 0.2,
) -> ExtractedTexture:
    """The texture that, drawn on the mesh without shading, gives the image back where it shows the mesh.

    The image's light stays in the texture: draw it with `ambient_light()`, or divide the image by a picture of the
    white mesh under known lights first. Differentiable with respect to the image (which texels are visible is not), and
    by the look-up to the vertices and the camera. `vmap` for several images.

    Args:
      image: RGB in [0, 1].
      vertices: metres in the camera frame, at depths > 0.
      faces: vertex indices of the mesh.
      camera: of the image.
      uv, uv_faces: texture coordinates (v up), and their rows for each corner of the faces.
      size: edge of the square texture in texels.
      trusted: pixels to read; by default all. False where a hand is hidden by something that is not in the mesh.
      outline_margin: pixels that are not read along outlines and where a near part hides a far one: photographs mix
        colours there. 0 for pictures with hard edges.
      depth_tolerance: footprints of a pixel by which a depth may differ from its face's plane.
      minimum_cosine: texels seen at a flatter angle (78 degrees from the normal, by default) are not taken.

    Raises:
      ValueError: as `rasterize` does; texture coordinates or image of another shape.
    """
    if image.ndim != 3 or image.shape[2] != 3 or not jnp.issubdtype(image.dtype, jnp.floating):
        raise ValueError(f"expected a float image (height, width, 3), not {image.dtype} {image.shape}; vmap a batch")
    if uv_faces.shape != faces.shape:
        raise ValueError(f"expected uv_faces of the faces' shape {faces.shape}, not {uv_faces.shape}: one row a face")
    if trusted is not None and trusted.shape != image.shape[:2]:
        raise ValueError(f"expected trusted of shape {image.shape[:2]}, not {trusted.shape}")
    atlas = rasterize_atlas(uv, uv_faces, size)
    places = interpolate(atlas, vertices[faces])
    surface = seen_surface(vertices, faces, camera, (image.shape[0], image.shape[1]))
    readable = away_from_outlines(surface, outline_margin, depth_tolerance)
    readable = readable if trusted is None else readable & trusted

    texel = camera.to_screen(jnp.where(atlas.mask[..., None], places, jnp.asarray([0, 0, 1], places.dtype)))
    share, colours = _look_up(image, surface, readable, atlas.face_index, texel, depth_tolerance)
    cosine = jax.lax.stop_gradient(_cosine(vertices, faces, camera, atlas.face_index, texel))
    visible = atlas.mask & (share > 0.5) & (cosine >= minimum_cosine)
    weight = jnp.where(visible, cosine, 0)
    texture = jnp.stack([jnp.where(visible, plane, 0) for plane in colours], axis=-1)
    texture = fill_texture(texture, weight, atlas, faces, vertices.shape[0])
    return ExtractedTexture(texture=texture, visible=visible, weight=weight)


def _look_up(
    image: Array, surface: SeenSurface, readable: Array, face_index: Array, texel: Array, tolerance: float
) -> tuple[Array, list[Array]]:
    """Share of the four pixels around each texel that show it, and their mean colour by bilinear weights."""
    height, width = readable.shape
    u, v, depth = jnp.unstack(texel, axis=-1)
    left, top = (jnp.floor(place - 0.5) for place in (u, v))
    planes = [plane.reshape(-1) for plane in jnp.unstack(image, axis=-1)]
    total, sums = jnp.zeros_like(u), [jnp.zeros_like(u)] * 3
    for across, down in ((0, 0), (1, 0), (0, 1), (1, 1)):
        column, row = left + across, top + down
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        place = jnp.where(inside, row * width + column, 0).astype(jnp.int32)
        step_u, step_v = column + 0.5 - u, row + 0.5 - v
        seen_depth = at_pixels(surface.fragments.depth.reshape(-1), place)
        good = inside & at_pixels(readable.reshape(-1), place)
        good &= continues_plane(surface, face_index, depth, (step_u, step_v), seen_depth, tolerance)
        share = jnp.where(good, (1 - jnp.abs(step_u)) * (1 - jnp.abs(step_v)), 0)
        total = total + share
        sums = [so_far + share * at_pixels(plane, place) for so_far, plane in zip(sums, planes, strict=True)]
    divisor = jnp.where(total > 0, total, 1)
    return total, [one / divisor for one in sums]


def _cosine(vertices, faces, camera, face_index, texel) -> Float[Array, "size size"]:
    """Of the angle between the face of each texel and the ray that sees it, 0 to 1."""
    corners = vertices[faces]
    normals = jnp.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normal = [at_pixels(component, face_index) for component in jnp.unstack(normals, axis=-1)]
    near, far = (camera.unproject(texel[..., :2], texel[..., 2] * times) for times in (1, 2))
    ray = jnp.unstack(far - near, axis=-1)
    squares = _dot(normal, normal) * _dot(ray, ray)
    usable = squares > 0
    return jnp.where(usable, jnp.abs(_dot(normal, ray)) / jnp.sqrt(jnp.where(usable, squares, 1)), 0)


def _dot(one: Sequence[Array], two: Sequence[Array]) -> Array:
    return one[0] * two[0] + one[1] * two[1] + one[2] * two[2]
