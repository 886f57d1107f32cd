"""Pictures: a mesh, its colours and lights through a camera, composed over a background.

Colours are display values in [0, 1], lights factors on them; both are multiplied and added without gamma correction.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from render_jax.cameras import Pinhole, Scalar, WeakPerspective
from render_jax.clipping import front_facing_points, nearest_clipped_surface
from render_jax.hole_filling import fill_planes
from render_jax.planes import in_chunks, interleaved, interpolate_planes, pixel_centres
from render_jax.rasterization import check_mesh, front_facing, nearest_surface
from render_jax.shading import Lights, shade_planes, three_lights, unit_planes, vertex_normals
from render_jax.silhouette import soft_silhouette
from render_jax.texture import FaceTexture, UVTexture, check_colours, face_texture_planes, texel_taps, weighted_texels

DEFAULT_COLOUR = (0.82, 0.67, 0.58)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Rendering:
    """A picture: RGB in [0, 1], and the share of each pixel that the mesh covers (with soft edges: alpha)."""

    image: Float[Array, "*batch height width 3"]
    mask: Float[Array, "*batch height width"]


def render(
    vertices: Float[Array, "vertices 3"],
    faces: Int[Array | np.ndarray, "faces 3"],
    camera: Pinhole | WeakPerspective,
    image_size: tuple[int, int],
    *,
    colours: Float[Array, "vertices 3"] | Float[Array, "3"] | UVTexture | FaceTexture | None = None,
    lights: Lights | None = None,
    background: Any = 1.0,
    normals: Float[Array, "vertices 3"] | None = None,
    supersample: int = 2,
    cull: str | None = None,
    near: float | Float[Array, ""] | None = None,
    soft_edges: Scalar | None = None,
    soft_mode: str = "outline",
) -> Rendering:
    """A lit picture of a mesh with smooth normals, over a background.

    Surfaces seen from behind are lit as if their normals pointed to the viewer, so open and mirrored meshes look right.

    Args:
      vertices: metres in the camera frame.
      faces: vertex indices; concrete or traced.
      camera: of the picture.
      image_size: (height, width).
      colours: RGB in [0, 1] a vertex, or one for all, or a `UVTexture`, or a `FaceTexture`; by default a neutral skin
        tone.
      lights: `three_lights()` by default; `ambient_light()` shows colours as they are.
      background: a grey value, an RGB colour [3] or an image [height, width, 3].
      normals: unit vertex normals; by default `vertex_normals`.
      supersample: pictures are drawn this many times larger and averaged over squares: 1 is fastest and has hard edges.
      cull: as for `rasterize`.
      near: depth (metres) at which faces are cut, as for `rasterize_clipped`. By default a face that reaches behind
        the camera is left out whole.
      soft_edges: sigma in pixels squared. image = alpha * colour + (1 - alpha) * background then, with alpha from
        `soft_silhouette`, which is also the mask: outlines have a gradient. Beyond the outline the colour is that of
        the surface nearby.
      soft_mode: "outline" or "softras", what kind of alpha.

    Differentiable with respect to vertices, colours, lights, camera and background, but for which face is seen
    (`rasterize`; with soft edges, also for the outline against the background, reverse mode only).

    Raises:
      ValueError: as `rasterize` does; a background or colours of another shape; `near` and `soft_edges` together.
    """
    check_mesh(vertices, faces, image_size)
    if supersample < 1:
        raise ValueError(f"expected supersample >= 1, not {supersample}")
    if near is not None and soft_edges is not None:
        raise ValueError("expected near or soft_edges, not both: soft silhouettes are not clipped at a near plane")
    dtype = vertices.dtype
    paint = check_colours(DEFAULT_COLOUR if colours is None else colours, vertices, faces)  # pyright: ignore
    background = jnp.asarray(background, dtype)
    if background.shape not in ((), (3,), (*image_size, 3)):
        raise ValueError(f"expected a background of shape (), (3,) or {(*image_size, 3)}, not {background.shape}")
    lights = three_lights(dtype=dtype) if lights is None else lights
    normals = vertex_normals(vertices, faces) if normals is None else normals
    # At depth 0 a vertex takes its faces out of the picture, as NaN would, but lets no NaN into the camera's gradient.
    points = jnp.where(jnp.isfinite(vertices).all(axis=1, keepdims=True), vertices, 0)
    large_size = image_size[0] * supersample, image_size[1] * supersample
    large_camera = camera.resized(supersample)
    if near is None:
        screen = large_camera.to_screen(points)
        perspective = not isinstance(camera, WeakPerspective)
        face_index, depth, weights = nearest_surface(screen, faces, large_size, cull=cull, perspective=perspective)
        front = front_facing(screen, faces)
    else:
        face_index, depth, weights = nearest_clipped_surface(vertices, faces, large_camera, large_size, near, cull)
        front = front_facing_points(points, faces, large_camera)

    light, mask = _lit_planes(paint, normals, lights, faces, front, large_camera, face_index, depth, weights)
    light, mask = [_mean_of_squares(plane, supersample) for plane in light], _mean_of_squares(mask, supersample)
    if soft_edges is None:
        premultiplied = jnp.stack(light, axis=-1)
    else:
        shown = interleaved(fill_planes(jnp.stack(light), mask))
        mask = soft_silhouette(camera.to_screen(points), faces, image_size, soft_edges, mode=soft_mode)
        premultiplied = mask[..., None] * shown
    behind = (1 - mask[..., None]) * jnp.broadcast_to(background, (*image_size, 3))
    return Rendering(image=premultiplied + behind, mask=mask)


def _lit_planes(paint, normals, lights, faces, front, camera, face_index, depth, weights) -> tuple[list[Array], Array]:
    """RGB planes of the visible surface in [0, 1], 0 where there is none, and 1 where there is one."""
    dtype = normals.dtype
    facing = jnp.where(front, 1, -1).astype(dtype)[:, None, None]
    attributes = [normals[faces] * facing]
    if isinstance(paint, UVTexture):
        attributes.append(paint.uv[paint.uv_faces])
    elif not isinstance(paint, FaceTexture) and paint.ndim == 2:
        attributes.append(paint[faces])
    attributes = jnp.concatenate(attributes, axis=-1)

    def look_up(index, *weights):
        planes = interpolate_planes(index, weights, attributes)
        if isinstance(paint, UVTexture):
            return planes[:3] + texel_taps(planes[3], planes[4], paint.image.shape[:2], paint.wrap)
        return planes + (face_texture_planes(paint.texels, index, weights) if isinstance(paint, FaceTexture) else [])

    planes = in_chunks(look_up, [face_index, *weights])
    normal, colour = planes[:3], planes[3:]
    if isinstance(paint, UVTexture):
        colour = weighted_texels(paint.image, colour)
    everywhere = list(paint) if isinstance(paint, jax.Array) and paint.ndim == 1 else []

    def light_up(seen, depth, u, v, *planes):
        position = jnp.unstack(camera.unproject(jnp.stack([u, v], axis=-1), depth), axis=-1)
        light = shade_planes(unit_planes(planes[:3]), position, planes[3:] or everywhere, lights)
        return [jnp.clip(plane, 0, 1) * seen for plane in light]

    mask = (face_index >= 0).astype(dtype)
    return in_chunks(light_up, [mask, depth, *pixel_centres(mask.shape, dtype), *normal, *colour]), mask


def _mean_of_squares(plane: Float[Array, "large_height large_width"], edge: int) -> Float[Array, "height width"]:
    parts = [plane[row::edge, column::edge] for row in range(edge) for column in range(edge)]
    return sum(parts[1:], start=parts[0]) / edge**2
