"""A square crop of an image, resized and perhaps mirrored: the same numbers move points, cameras and pictures."""

import dataclasses
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from render_jax.cameras import Pinhole, Scalar, WeakPerspective

Camera = TypeVar("Camera", Pinhole, WeakPerspective)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Crop:
    """The square of edge `side` around `centre`, as an image of `size` x `size` pixels.

    Attributes:
      centre: (u, v) in the full image, pixels.
      side: edge of the square in the full image, pixels, > 0.
      mirrored: whether left and right are swapped after cropping; a bool or a scalar bool array, so that it may differ
        within a batch.
      size: edge of the crop in its own pixels, static.
    """

    centre: Any
    side: Scalar
    mirrored: Any = False
    size: int = dataclasses.field(default=224, metadata={"static": True})

    @classmethod
    def around(cls, points: Float[Array, "points 2"], size: int, margin: Scalar = 1.5, mirrored: Any = False) -> "Crop":
        """The square around the points' bounding box: `margin` times its longer edge, at least one pixel."""
        low, high = points.min(axis=0), points.max(axis=0)
        side = jnp.maximum(margin * (high - low).max(), 1)
        return cls(centre=(low + high) / 2, side=side, mirrored=mirrored, size=size)

    def points_to_crop(self, pixels: Float[Array, "*batch 2"]) -> Float[Array, "*batch 2"]:
        """Full image -> crop, pixels."""
        left, top, factor = self._values(pixels.dtype)
        u, v = (pixels[..., 0] - left) * factor, (pixels[..., 1] - top) * factor
        return jnp.stack([jnp.where(self.mirrored, self.size - u, u), v], axis=-1)

    def points_to_full(self, pixels: Float[Array, "*batch 2"]) -> Float[Array, "*batch 2"]:
        """Crop -> full image, pixels."""
        left, top, factor = self._values(pixels.dtype)
        u = jnp.where(self.mirrored, self.size - pixels[..., 0], pixels[..., 0])
        return jnp.stack([u / factor + left, pixels[..., 1] / factor + top], axis=-1)

    def camera_to_crop(self, camera: Camera) -> Camera:
        """The full image's camera -> the crop's; for a mirrored crop it takes mirrored points (x negated)."""
        left, top, factor = self._values(None)
        cropped = camera.shifted(left, top).resized(factor)
        return self._mirrored_if_asked(cropped)

    def camera_to_full(self, camera: Camera) -> Camera:
        """The crop's camera -> the full image's; takes unmirrored points again."""
        left, top, factor = self._values(None)
        return self._mirrored_if_asked(camera).resized(1 / factor).shifted(-left, -top)

    def image_to_crop(
        self, image: Float[Array, "height width *channels"], fill: Scalar = 0.0
    ) -> Float[Array, "size size *channels"]:
        """Resamples the full image: bilinear, widened to a triangle of one crop pixel where the crop is coarser.

        Outside the image it sees the value `fill` (a scalar). A crop that is not resized, at whole pixels, is exact.
        Differentiable with respect to the image, centre and side. Costs two matrix products, no gather.
        """
        _check_image(image)
        left, top, factor = self._values(image.dtype)
        centres = (jnp.arange(self.size, dtype=image.dtype) + 0.5) / factor
        columns = _triangle_weights(centres + left, 1 / factor, image.shape[1])
        rows = _triangle_weights(centres + top, 1 / factor, image.shape[0])
        columns = jnp.where(self.mirrored, columns[::-1], columns)
        return _resample(image, rows, columns, jnp.asarray(fill, image.dtype))

    def image_to_full(
        self,
        image: Float[Array, "size size *channels"],
        image_size: tuple[int, int],
        background: Scalar | Float[Array, "height width *channels"] = 0.0,
    ) -> Float[Array, "height width *channels"]:
        """Resamples a crop back to its place in the full image of (height, width), over a background."""
        _check_image(image)
        if image.shape[:2] != (self.size, self.size):
            raise ValueError(f"expected a crop of {self.size}x{self.size} pixels, not {image.shape[:2]}")
        left, top, factor = self._values(image.dtype)
        height, width = image_size
        columns = _triangle_weights((jnp.arange(width, dtype=image.dtype) + 0.5 - left) * factor, factor, self.size)
        rows = _triangle_weights((jnp.arange(height, dtype=image.dtype) + 0.5 - top) * factor, factor, self.size)
        columns = jnp.where(self.mirrored, columns[:, ::-1], columns)
        return _resample(image, rows, columns, jnp.asarray(background, image.dtype))

    def _values(self, dtype) -> tuple[Array, Array, Array]:
        """Left and top edge in the full image, and crop pixels per full pixel."""
        centre, side = jnp.asarray(self.centre, dtype), jnp.asarray(self.side, dtype)
        return centre[0] - side / 2, centre[1] - side / 2, self.size / side

    def _mirrored_if_asked(self, camera: Camera) -> Camera:
        return jax.tree.map(
            lambda swapped, plain: jnp.where(self.mirrored, swapped, plain), camera.mirrored(self.size), camera
        )


def _check_image(image: Array) -> None:
    if image.ndim < 2 or not jnp.issubdtype(image.dtype, jnp.floating):
        raise ValueError(
            f"expected a float image of shape (height, width, ...), not {image.dtype} {image.shape}; "
            "divide uint8 images by 255 first"
        )


def _triangle_weights(centres: Float[Array, "outputs"], step: Array, inputs: int) -> Float[Array, "outputs inputs"]:
    """Weights of input pixels in each output pixel, whose centre lies at `centres` and which is `step` inputs wide.

    They are normalised over an unbounded row of inputs, so near the border they sum to the share the image has there.
    """
    dtype = centres.dtype
    radius = jnp.maximum(step, 1).astype(dtype)
    position = centres - 0.5
    distance = jnp.abs(position[:, None] - jnp.arange(inputs, dtype=dtype)[None, :])
    # Of the integers k <= x and k > x within the radius, the sums of 1 - |x - k| / radius are arithmetic series.
    low, middle, high = jnp.ceil(position - radius), jnp.floor(position), jnp.floor(position + radius)
    below, above = middle - low + 1, high - middle
    total = below - below * (position - (low + middle) / 2) / radius
    total += above - above * ((middle + 1 + high) / 2 - position) / radius
    return jnp.maximum(0, 1 - distance / radius) / total[:, None]


def _resample(image: Array, rows: Array, columns: Array, fill: Array) -> Array:
    """Separable resampling; what lies outside the image is `fill`."""
    highest = jax.lax.Precision.HIGHEST
    result = jnp.einsum("rh,hw...,cw->rc...", rows, image, columns, precision=highest)
    covered = rows.sum(axis=1)[:, None] * columns.sum(axis=1)[None, :]
    covered = covered.reshape(*covered.shape, *(1,) * (result.ndim - 2))
    return result + fill * (1 - covered)
