"""Soft silhouettes: a differentiable mask of a mesh.

Two modes. "softras" is Soft Rasterizer's: alpha = 1 - prod over faces of (1 - sigmoid(±d² / sigma)), with every face's
own blurred border; it is what papers use, and it is larger than the mesh. "outline" blurs the true outline only: it is
right for masks of photographs, see `silhouette_outline`.

Three backends, the same numbers to rounding: "windows" for CPU and GPU, "tiles" for TPU, "dense" as their oracle.
"""

import functools
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int

from render_jax import silhouette_dense, silhouette_outline, silhouette_tiles, silhouette_windows
from render_jax.mesh_corners import corners_of
from render_jax.native_batching import natively_batched
from render_jax.rasterization import check_mesh
from render_jax.screen_faces import countable

_BACKENDS: dict[str, ModuleType] = {
    "windows": silhouette_windows,
    "tiles": silhouette_tiles,
    "dense": silhouette_dense,
}


def _check(vertices: Array, faces: Array | np.ndarray, image_size: tuple[int, int], sigma, mode: str, backend: str):
    check_mesh(vertices, faces, image_size)
    if mode not in ("softras", "outline"):
        raise ValueError(f"expected mode='softras' or 'outline', not {mode!r}")
    if backend not in _BACKENDS:
        raise ValueError(f"expected backend='windows', 'tiles' or 'dense', not {backend!r}")
    if jnp.ndim(sigma) != 0:
        raise ValueError(f"expected one sigma for the image, not shape {jnp.shape(sigma)}; use jax.vmap for a batch")
    if not isinstance(sigma, Tracer) and not (0 < float(sigma) < float("inf")):
        raise ValueError(f"expected sigma > 0 in pixels squared, not {sigma}; 1 is a blur of about a pixel")


def _prepare(vertices: Array, faces: Array | np.ndarray, sigma, deterministic: bool) -> tuple[Array, Array, Array]:
    """Triangles (zeros where not valid), valid, sigma: what the backends take, without their batch axis."""
    if faces.shape[0] == 0:
        faces = np.zeros((1, 3), np.int32)  # one degenerate face: nothing to see, and nothing empty to index
    triangles = corners_of(vertices, faces, deterministic)
    valid = countable(jax.lax.stop_gradient(triangles))
    corners = jnp.where(valid[:, None, None], triangles[:, :, :2], 0)
    return corners, valid, jax.lax.stop_gradient(jnp.asarray(sigma, vertices.dtype))


def _differentiable_alpha(backend: str, image_size: tuple[int, int], deterministic: bool):
    """alpha [height, width] of (triangles, valid, sigma), with its gradient to the triangles; natively batched."""
    module, options = _BACKENDS[backend], {"image_size": image_size, "deterministic": deterministic}
    transparency = natively_batched(functools.partial(module.transparency, **options))
    gradient = natively_batched(functools.partial(module.gradient, **options))

    def forward(triangles, valid, sigma):
        shining_through = transparency(triangles[None], valid[None], sigma[None])[0]
        return 1 - shining_through, (triangles, valid, sigma, shining_through)

    @jax.custom_vjp
    def alpha(triangles, valid, sigma):
        return forward(triangles, valid, sigma)[0]

    def backward(residuals, cotangent):
        triangles, valid, sigma, shining_through = residuals
        weight = cotangent * shining_through
        to_triangles = gradient(triangles[None], valid[None], sigma[None], weight[None])[0]
        return to_triangles, np.zeros(valid.shape, jax.dtypes.float0), jnp.zeros_like(sigma)

    alpha.defvjp(forward, backward)
    return alpha


def soft_silhouette(
    vertices: Float[Array, "vertices 3"],
    faces: Int[Array | np.ndarray, "faces 3"],
    image_size: tuple[int, int],
    sigma: float | Float[Array, ""],
    *,
    mode: str = "softras",
    backend: str = "windows",
    deterministic: bool = False,
) -> Float[Array, "height width"]:
    """How much each pixel is covered, in [0, 1], differentiable with respect to the vertices.

    Pixel centres are at (column + 0.5, row + 0.5). Both orientations of a face count. A face with a coordinate that is
    not finite (or, in float32, above 2e18 px), a vertex depth <= 0 or a doubled area <= 1e-9 px² counts nowhere and
    gets gradient 0; there is no clipping at the near plane. No limit on faces, faces per pixel or their size.

    * "softras": 1 - prod(1 - sigmoid(s d² / sigma)) over the faces, s = +1 inside a face and -1 outside, d the distance
      in pixels to its nearest edge; a face is seen from outside only while d² <= sigma ln(1/1e-4 - 1). The 0.5 level
      lies outside the mesh (by 1.45 px for a hand at sigma 1.25).
    * "outline": sigmoid(s d² / sigma) with s = +1 where the mesh covers the pixel's centre and d the distance to the
      visible outline; exactly 0 and 1 where d² is beyond the same limit. The 0.5 level is the outline.

    Gradients: reverse mode (`jax.grad`, `jax.vjp`) to the vertices' u and v; the depth only decides which faces count.
    For forward mode see `soft_silhouette_jvp`. sigma is a setting and gets gradient 0; it may be traced, and may differ
    within a batch. `vmap` (also of `grad`) runs one loop over all that there is to draw in the batch.

    Args:
      vertices: u and v in pixels, depth in any unit (`Pinhole.to_screen` makes them).
      faces: vertex indices; known ones (NumPy, or JAX outside of `jit`) give a faster gradient than traced ones.
      image_size: (height, width).
      sigma: pixels squared, > 0. SoftRas's 1e-4 in the [-1, 1] square is 1.25 at 224 pixels, see `square_sigma`.
      mode: "softras" or "outline".
      backend: "windows" (CPU, GPU), "tiles" (TPU) or "dense" (all pixels times all faces: slow, the oracle).
      deterministic: the same bits in every run on devices that add in no fixed order (GPU), image and gradient; a CPU's
        always are.

    Raises:
      ValueError: wrong shapes or dtypes, sigma <= 0, known faces that index no vertex, unknown mode or backend.
    """
    _check(vertices, faces, image_size, sigma, mode, backend)
    image_size = (int(image_size[0]), int(image_size[1]))
    if mode == "outline":
        return silhouette_outline.outline_silhouette(vertices, faces, image_size, sigma, backend, deterministic)
    return _differentiable_alpha(backend, image_size, deterministic)(*_prepare(vertices, faces, sigma, deterministic))


def soft_silhouette_jvp(
    vertices: Float[Array, "vertices 3"],
    tangents: Float[Array, "vertices 3"],
    faces: Int[Array | np.ndarray, "faces 3"],
    image_size: tuple[int, int],
    sigma: float | Float[Array, ""],
    *,
    backend: str = "windows",
) -> tuple[Float[Array, "height width"], Float[Array, "height width"]]:
    """The "softras" silhouette and its motion as the vertices move by `tangents`: one column of a Jacobian.

    What Gauss-Newton needs: `vmap` it over tangents. `soft_silhouette` itself has no forward mode. The result is not to
    be differentiated again.

    Args: as `soft_silhouette`; tangents like vertices (what they say of the depth plays no part).
    """
    _check(vertices, faces, image_size, sigma, "softras", backend)
    if tangents.shape != vertices.shape:
        raise ValueError(f"expected tangents of the vertices' shape {vertices.shape}, not {tangents.shape}")
    image_size = (int(image_size[0]), int(image_size[1]))
    triangles, valid, sigma = _prepare(vertices, faces, sigma, False)
    moves = corners_of(tangents, faces if faces.shape[0] else np.zeros((1, 3), np.int32))[:, :, :2]
    moves = jnp.where(valid[:, None, None], moves, 0)
    transparency = natively_batched(functools.partial(_BACKENDS[backend].transparency, image_size=image_size))
    tangent = natively_batched(functools.partial(_BACKENDS[backend].tangent, image_size=image_size))
    mesh = triangles[None], valid[None], sigma[None]
    shining_through = transparency(*mesh)[0]
    return 1 - shining_through, shining_through * tangent(*mesh, moves[None])[0]


def square_sigma(image_size: tuple[int, int], sigma: float | Array) -> float | Array:
    """sigma of the [-1, 1] square (SoftRas, PyTorch3D) in pixels squared; 2 units are the shorter edge of the image."""
    return sigma * (min(image_size) / 2) ** 2


def soft_silhouette_in_square(
    vertices: Float[Array, "vertices 3"],
    faces: Int[Array | np.ndarray, "faces 3"],
    image_size: tuple[int, int],
    sigma: float | Float[Array, ""] = 1e-4,
    *,
    mode: str = "softras",
    backend: str = "windows",
    deterministic: bool = False,
) -> Float[Array, "height width"]:
    """`soft_silhouette` of (x, y, depth) with x (right) and y (down) in the [-1, 1] square, and sigma in its units.

    The square is centred on the image and as large as its shorter edge. PyTorch3D's axes point left and up: negate x
    and y. SoftRas's y points up.
    """
    height, width = image_size
    half = min(height, width) / 2
    scale = jnp.asarray([half, half, 1], vertices.dtype)
    shift = jnp.asarray([width / 2, height / 2, 0], vertices.dtype)
    return soft_silhouette(
        vertices * scale[None] + shift[None],
        faces,
        image_size,
        square_sigma(image_size, sigma),
        mode=mode,
        backend=backend,
        deterministic=deterministic,
    )


__all__ = ["soft_silhouette", "soft_silhouette_in_square", "soft_silhouette_jvp", "square_sigma"]
