"""Cameras, crops, rasterization and shading of triangle meshes in JAX; knows nothing of hands.

A lit triangle, its mask and its depth:

>>> import jax.numpy as jnp
>>> import render_jax
>>> vertices = jnp.array([[-0.1, -0.1, 0.5], [0.1, -0.1, 0.5], [0.0, 0.1, 0.6]])  # metres, camera frame
>>> faces = jnp.array([[0, 2, 1]])
>>> camera = render_jax.Pinhole(fx=80.0, fy=80.0, cx=32.0, cy=24.0)
>>> picture = render_jax.render(vertices, faces, camera, image_size=(48, 64))
>>> picture.image.shape, picture.mask.shape
((48, 64, 3), (48, 64))
>>> fragments = render_jax.rasterize(camera.to_screen(vertices), faces, (48, 64))
>>> print(f"{float(fragments.depth[24, 32]):.2f}")
0.55
"""

from render_jax.cameras import Pinhole, WeakPerspective
from render_jax.clipping import rasterize_clipped
from render_jax.crop import Crop
from render_jax.hole_filling import fill_holes
from render_jax.mask_softening import soften_mask
from render_jax.opengl import opengl_projection, opengl_view, pinhole_from_opengl, pose_from_opengl
from render_jax.rasterization import Fragments, front_facing, interpolate, rasterize
from render_jax.rendering import Rendering, render
from render_jax.shading import Lights, ambient_light, normalize, shade, three_lights, vertex_normals
from render_jax.silhouette import soft_silhouette, soft_silhouette_in_square, soft_silhouette_jvp, square_sigma
from render_jax.silhouette_sharding import sharded_soft_silhouettes
from render_jax.texture import FaceTexture, UVTexture, sample_texture
from render_jax.texture_extraction import ExtractedTexture, extract_texture, rasterize_atlas
from render_jax.texture_filling import fill_texture
from render_jax.viewpoints import look_at, turntable

__all__ = [
    "Crop",
    "ExtractedTexture",
    "FaceTexture",
    "Fragments",
    "Lights",
    "Pinhole",
    "Rendering",
    "UVTexture",
    "WeakPerspective",
    "ambient_light",
    "extract_texture",
    "fill_holes",
    "fill_texture",
    "front_facing",
    "interpolate",
    "look_at",
    "normalize",
    "opengl_projection",
    "opengl_view",
    "pinhole_from_opengl",
    "pose_from_opengl",
    "rasterize",
    "rasterize_atlas",
    "rasterize_clipped",
    "render",
    "sample_texture",
    "shade",
    "sharded_soft_silhouettes",
    "soft_silhouette",
    "soft_silhouette_in_square",
    "soft_silhouette_jvp",
    "soften_mask",
    "square_sigma",
    "three_lights",
    "turntable",
    "vertex_normals",
]
