"""Two cameras, points in metres to pixels and back, and what resizing, cropping and mirroring do to them.

Frame: x right, y down, z forward (OpenCV). Pixels: u right, v down, the centre of pixel (row i, column j) at
(j + 0.5, i + 0.5), so resizing an image by a factor multiplies u and v by it, with no half-pixel terms.

Mirroring an image of width w sends u to w - u. A mirrored camera is one that gives these pixels for *mirrored points*:
`camera.mirrored(w).project(points * (-1, 1, 1)) = (w - u, v)`. This keeps focal lengths positive.

A camera is one pytree of scalars; `vmap` for a batch of cameras. Points may have any leading axes.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

# A leaf is a scalar array, a Python number, or anything JAX puts in its place while it transforms a pytree.
Scalar = Any

# Depths closer to 0 (metres) than this project as if they were this far, in front or behind: everything stays finite.
MINIMUM_DEPTH = 1e-6


def _check_last_axis(array: Array, size: int, name: str) -> None:
    if array.ndim == 0 or array.shape[-1] != size:
        raise ValueError(
            f"expected {name} of shape (..., {size}), not {array.shape}; put the coordinates on the last axis"
        )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Pinhole:
    """u = fx X / Z + cx, v = fy Y / Z + cy, everything in pixels; no skew, no distortion."""

    fx: Scalar
    fy: Scalar
    cx: Scalar
    cy: Scalar

    @classmethod
    def from_matrix(cls, matrix: Float[Array | np.ndarray, "3 3"]) -> "Pinhole":
        """From K = [[fx, 0, cx], [0, fy, cy], [0, 0, 1]].

        Raises:
          ValueError: not 3x3; for a concrete K also: not finite, fx or fy <= 0, or not of that form.
        """
        if matrix.shape != (3, 3):
            raise ValueError(f"expected a 3x3 camera matrix K, not shape {matrix.shape}; use jax.vmap for a batch")
        if not isinstance(matrix, Tracer):
            values = np.asarray(matrix)
            rest = [values[0, 1], values[1, 0], values[2, 0], values[2, 1], values[2, 2] - 1]
            if not np.isfinite(values).all() or values[0, 0] <= 0 or values[1, 1] <= 0:
                raise ValueError(f"expected a finite K with fx, fy > 0, not {values.tolist()}; is it K, row by row?")
            if np.abs(rest).max() > 1e-6 * max(values[0, 0], values[1, 1]) or abs(values[2, 2] - 1) > 1e-6:
                raise ValueError(f"expected K = [[fx, 0, cx], [0, fy, cy], [0, 0, 1]], not {values.tolist()}: no skew")
        return cls(fx=matrix[0, 0], fy=matrix[1, 1], cx=matrix[0, 2], cy=matrix[1, 2])

    @classmethod
    def from_field_of_view(cls, image_size: tuple[int, int], degrees: float) -> "Pinhole":
        """Square pixels, principal point in the middle; the angle is seen across the longer side of (height, width)."""
        if not 0 < degrees < 180:
            raise ValueError(f"expected a field of view between 0 and 180 degrees, not {degrees}")
        height, width = image_size
        focal = 0.5 * max(height, width) / float(np.tan(np.radians(degrees) / 2))
        return cls(fx=focal, fy=focal, cx=width / 2, cy=height / 2)

    def matrix(self) -> Float[Array, "3 3"]:
        """K."""
        fx, fy, cx, cy = (jnp.asarray(value) for value in (self.fx, self.fy, self.cx, self.cy))
        zero, one = jnp.zeros_like(fx), jnp.ones_like(fx)
        return jnp.stack([jnp.stack([fx, zero, cx]), jnp.stack([zero, fy, cy]), jnp.stack([zero, zero, one])])

    def project(self, points: Float[Array, "*batch 3"]) -> Float[Array, "*batch 2"]:
        """Metres in the camera frame -> pixels.

        Points behind the camera project through its centre to the other side: check the depth. Depths within 1e-6 m of
        0 project as if at 1e-6 m (0 counts as in front), so values and gradients are finite.
        """
        _check_last_axis(points, 3, "points")
        x, y, z = points[..., 0], points[..., 1], points[..., 2]
        divisor = jnp.where(jnp.abs(z) < MINIMUM_DEPTH, jnp.where(z < 0, -MINIMUM_DEPTH, MINIMUM_DEPTH), z)
        fx, fy, cx, cy = self._values(points.dtype)
        return jnp.stack([fx * (x / divisor) + cx, fy * (y / divisor) + cy], axis=-1)

    def to_screen(self, points: Float[Array, "*batch 3"]) -> Float[Array, "*batch 3"]:
        """Metres in the camera frame -> (u px, v px, depth metres), what `rasterize` takes."""
        return jnp.concatenate([self.project(points), points[..., 2:]], axis=-1)

    def to_homogeneous(self, points: Float[Array, "*batch 3"]) -> Float[Array, "*batch 3"]:
        """K times the points, (u w, v w, w) with w the depth: no division, so right on both sides of the camera."""
        _check_last_axis(points, 3, "points")
        x, y, z = points[..., 0], points[..., 1], points[..., 2]
        fx, fy, cx, cy = self._values(points.dtype)
        return jnp.stack([fx * x + cx * z, fy * y + cy * z, z], axis=-1)

    def unproject(self, pixels: Float[Array, "*batch 2"], depth: Float[Array, "*batch"]) -> Float[Array, "*batch 3"]:
        """Pixels and depth (metres) -> metres in the camera frame."""
        _check_last_axis(pixels, 2, "pixels")
        fx, fy, cx, cy = self._values(pixels.dtype)
        return jnp.stack([(pixels[..., 0] - cx) / fx * depth, (pixels[..., 1] - cy) / fy * depth, depth], axis=-1)

    def resized(self, factor_u: Scalar, factor_v: Scalar | None = None) -> "Pinhole":
        """The camera of the image made this many times wider and (by default as many times) higher."""
        factor_v = factor_u if factor_v is None else factor_v
        return Pinhole(self.fx * factor_u, self.fy * factor_v, self.cx * factor_u, self.cy * factor_v)

    def shifted(self, left: Scalar, top: Scalar) -> "Pinhole":
        """The camera of the image whose upper left corner is at pixel coordinates (left, top) of this one."""
        return Pinhole(self.fx, self.fy, self.cx - left, self.cy - top)

    def mirrored(self, width: Scalar) -> "Pinhole":
        """The camera of the mirrored image, for mirrored points (x negated)."""
        return Pinhole(self.fx, self.fy, width - self.cx, self.cy)

    def _values(self, dtype) -> tuple[Array, Array, Array, Array]:
        fx, fy, cx, cy = (jnp.asarray(value, dtype) for value in (self.fx, self.fy, self.cx, self.cy))
        return fx, fy, cx, cy


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class WeakPerspective:
    """(u, v) = scale (X, aspect Y) + translation: the picture of something much farther away than it is deep.

    Attributes:
      scale: pixels per metre.
      translation: pixels, shape (2,).
      aspect: height of the picture of a square over its width; fy / fx of a pinhole, 1 for square pixels.
    """

    scale: Scalar
    translation: Any
    aspect: Scalar = 1.0

    @classmethod
    def from_pinhole(cls, pinhole: Pinhole, depth: Scalar) -> "WeakPerspective":
        """Agrees with the pinhole for all points at this depth (metres, > 0; choose the root's): scale = fx / depth."""
        return cls(
            scale=pinhole.fx / depth,
            translation=jnp.stack([jnp.asarray(pinhole.cx), jnp.asarray(pinhole.cy)]),
            aspect=pinhole.fy / pinhole.fx,
        )

    @classmethod
    def from_normalized(cls, scale: Scalar, shift: Float[Array, "2"], image_size: tuple[int, int]) -> "WeakPerspective":
        """From (s, t) of x_square = s (X + t), the camera of networks that see a crop as the [-1, 1] square (HMR).

        The square is centred on the image and as large as its shorter edge; x to the right and y down.
        """
        height, width = image_size
        half = min(height, width) / 2
        middle = jnp.asarray([width / 2, height / 2], jnp.result_type(shift))
        return cls(scale=scale * half, translation=scale * half * shift + middle)

    def to_pinhole(self, depth: Scalar) -> Pinhole:
        """The pinhole that agrees with this camera for all points at this depth (metres, > 0): fx = scale * depth."""
        focal = self.scale * depth
        return Pinhole(fx=focal, fy=focal * self.aspect, cx=self.translation[0], cy=self.translation[1])

    def placement(self, pinhole: Pinhole) -> Float[Array, "3"]:
        """Where to move points whose origin is their root so that the pinhole sees them as this camera does.

        `pinhole.project(points + t)` equals `project(points)` for points of depth 0 and nearly so for small depths:
        t_z = fx / scale is the depth at which the size is right. This is how full perspective and metric depth follow
        from a weak-perspective estimate once the focal length is known. Exact if both cameras have the same aspect;
        else the horizontal scale decides.
        """
        depth = jnp.asarray(pinhole.fx / self.scale)
        left, top = (self.translation[0] - pinhole.cx) / pinhole.fx, (self.translation[1] - pinhole.cy) / pinhole.fy
        return jnp.stack([left * depth, top * depth, depth])

    @classmethod
    def from_placement(cls, pinhole: Pinhole, translation: Float[Array, "3"]) -> "WeakPerspective":
        """The camera that sees points around their root as the pinhole sees them moved by t; undoes `placement`."""
        return cls(
            scale=pinhole.fx / translation[2],
            translation=pinhole.project(translation),
            aspect=pinhole.fy / pinhole.fx,
        )

    def project(self, points: Float[Array, "*batch 3"]) -> Float[Array, "*batch 2"]:
        """Metres -> pixels; the third coordinate plays no part."""
        _check_last_axis(points, 3, "points")
        scale_u, scale_v, left, top = self._values(points.dtype)
        return jnp.stack([scale_u * points[..., 0] + left, scale_v * points[..., 1] + top], axis=-1)

    def to_screen(self, points: Float[Array, "*batch 3"]) -> Float[Array, "*batch 3"]:
        """Metres -> (u px, v px, depth metres), for `rasterize(..., perspective=False)`; faces need depths > 0."""
        return jnp.concatenate([self.project(points), points[..., 2:]], axis=-1)

    def to_homogeneous(self, points: Float[Array, "*batch 3"]) -> Float[Array, "*batch 3"]:
        """(u, v, 1): what `Pinhole.to_homogeneous` is to a pinhole."""
        pixels = self.project(points)
        return jnp.concatenate([pixels, jnp.ones_like(pixels[..., :1])], axis=-1)

    def unproject(self, pixels: Float[Array, "*batch 2"], depth: Float[Array, "*batch"]) -> Float[Array, "*batch 3"]:
        """Pixels and depth (metres) -> metres."""
        _check_last_axis(pixels, 2, "pixels")
        scale_u, scale_v, left, top = self._values(pixels.dtype)
        return jnp.stack([(pixels[..., 0] - left) / scale_u, (pixels[..., 1] - top) / scale_v, depth], axis=-1)

    def resized(self, factor_u: Scalar, factor_v: Scalar | None = None) -> "WeakPerspective":
        """The camera of the image made this many times wider and (by default as many times) higher."""
        factor_v = factor_u if factor_v is None else factor_v
        left, top = self.translation[0], self.translation[1]
        return WeakPerspective(
            scale=self.scale * factor_u,
            translation=jnp.stack([left * factor_u, top * factor_v]),
            aspect=self.aspect * (factor_v / factor_u),
        )

    def shifted(self, left: Scalar, top: Scalar) -> "WeakPerspective":
        """The camera of the image whose upper left corner is at pixel coordinates (left, top) of this one."""
        translation = jnp.stack([self.translation[0] - left, self.translation[1] - top])
        return WeakPerspective(self.scale, translation, self.aspect)

    def mirrored(self, width: Scalar) -> "WeakPerspective":
        """The camera of the mirrored image, for mirrored points (x negated)."""
        translation = jnp.stack([width - self.translation[0], jnp.asarray(self.translation[1])])
        return WeakPerspective(self.scale, translation, self.aspect)

    def _values(self, dtype) -> tuple[Array, Array, Array, Array]:
        scale, aspect, left, top = (
            jnp.asarray(value, dtype) for value in (self.scale, self.aspect, self.translation[0], self.translation[1])
        )
        return scale, scale * aspect, left, top
