"""The "outline" silhouette: the mesh's true outline, blurred. Its 0.5 level is the outline itself.

alpha = sigmoid(s d² / sigma), s = +1 where the mesh covers the pixel centre and -1 elsewhere, d the distance to the
nearest visible piece of the outline. Where d² exceeds the cutoff of "softras", alpha is exactly 0 or 1. The gradient
reaches the vertices of the outline only, each pixel's the two ends of the nearest edge.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int

from render_jax import outline_dense, outline_windows
from render_jax.contour_edges import contour_weights, mesh_edges
from render_jax.mesh_corners import corners_of
from render_jax.native_batching import natively_batched
from render_jax.outline_coverage import count_faces
from render_jax.screen_faces import countable
from render_jax.silhouette_faces import CUTOFF, probability

# Pixels around the image in which coverage is known too, where sigma is traced; else as many as the blur reaches.
MARGIN_OF_TRACED_SIGMA = 16


def margin_of(sigma: float | Array, image_size: tuple[int, int]) -> int:
    """Pixels around the image whose coverage decides what outline the image's own pixels see."""
    if isinstance(sigma, Tracer):
        reach = MARGIN_OF_TRACED_SIGMA
    else:
        reach = min(math.ceil(math.sqrt(CUTOFF * float(sigma))) + 2, 256)
    return max(reach, outline_windows.least_margin(image_size))


def _outline_alpha(backend: str, image_size: tuple[int, int], margin: int, deterministic: bool):
    """alpha [height, width] of (segments, weight, sigma), with its gradient to the segments; natively batched."""
    module = outline_dense if backend == "dense" else outline_windows

    @natively_batched
    def draw(segments, weight, sigma):
        covered = count_faces(segments, weight, image_size, margin) > 0
        found = module.nearest_outline(segments, weight, sigma, covered, image_size=image_size, margin=margin)
        return *found, covered[:, margin : margin + image_size[0], margin : margin + image_size[1]]

    @natively_batched
    def gradient(segments, weight, sigma, index, cotangent):
        return module.outline_gradient(
            segments, weight, sigma, index, cotangent, image_size=image_size, deterministic=deterministic
        )

    def forward(segments, weight, sigma):
        squared, index, covered = (image[0] for image in draw(segments[None], weight[None], sigma[None]))
        sign = jnp.where(covered, 1, -1).astype(squared.dtype)
        value = probability(sign * squared / sigma)
        return value, (segments, weight, sigma, index, value, sign)

    @jax.custom_vjp
    def alpha(segments, weight, sigma):
        return forward(segments, weight, sigma)[0]

    def backward(residuals, cotangent):
        segments, weight, sigma, index, value, sign = residuals
        slope = cotangent * value * (1 - value) * sign / sigma
        to_segments = gradient(segments[None], weight[None], sigma[None], index[None], slope[None])[0]
        return to_segments, np.zeros(weight.shape, jax.dtypes.float0), jnp.zeros_like(sigma)

    alpha.defvjp(forward, backward)
    return alpha


def outline_silhouette(
    vertices: Float[Array, "vertices 3"],
    faces: Int[Array | np.ndarray, "faces 3"],
    image_size: tuple[int, int],
    sigma: float | Float[Array, ""],
    backend: str = "windows",
    deterministic: bool = False,
) -> Float[Array, "height width"]:
    """`soft_silhouette(..., mode="outline")`, without its checks. ("tiles" runs the windows.)"""
    if faces.shape[0] == 0:
        faces = np.zeros((1, 3), np.int32)
    edges = mesh_edges(faces)
    pinned = jax.lax.stop_gradient(vertices)
    triangles = pinned[jnp.asarray(faces, jnp.int32)]
    valid = countable(triangles)
    corners = jnp.where(valid[:, None, None], triangles[:, :, :2], 0)
    weight = contour_weights(edges, corners, valid)
    segments = corners_of(vertices, edges.vertices, deterministic)[:, :, :2]
    segments = jnp.where((weight != 0)[:, None, None], segments, 0)
    margin = margin_of(sigma, image_size)
    sigma = jax.lax.stop_gradient(jnp.asarray(sigma, vertices.dtype))
    return _outline_alpha(backend, image_size, margin, deterministic)(segments, weight, sigma)
