"""The convolutional pose machine that finds 21 keypoints in a hand's crop, as 2D score maps refined twice.

Source: Wei et al., "Convolutional Pose Machines", CVPR 2016, in the form of Zimmermann and Brox, "Learning to Estimate
3D Hand Pose from Single RGB Images", ICCV 2017 (PoseNet): layer sizes and names are that network's, so that its
published weights fit (`read_pose_machine_weights`).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

KEYPOINTS = 21
STRIDE = 8
"""Pixels of the image per cell of a score map."""
NEGATIVE_SLOPE = 0.01
MIDDLE_GREY = 0.5
"""Subtracted from images in [0, 1]: what the published weights expect."""

_BLOCKS = ((64, 64), (128, 128), (256, 256, 256, 256), (512, 512, 256, 256, 256, 256, 128))
"""Channels of the 3x3 convolutions, by block; the first three blocks end in a 2x2 max-pool."""
_HEAD = 512
_REFINING = (128, 128, 128, 128, 128)
"""Channels of the 7x7 convolutions of each refining stage."""

# [ours] Without normalisation layers, Glorot's rule would halve the signal's variance at each of some 25 layers; and
# first score maps near zero are near most of their target.
_KERNEL = nn.initializers.variance_scaling(2.0, "fan_in", "normal")
_SCORE_KERNEL = nn.initializers.variance_scaling(0.01, "fan_in", "normal")


class PoseMachine(nn.Module):
    """Three score maps of 21 keypoints, each stage seeing the one before.

    Attributes:
      width: multiplies the channels of every hidden layer (rounded, at least 4). 1 is the published network, with
        17,518,847 parameters.
      stages: score maps in all, of which all but the first are refinements.
      dtype: of the computation. Parameters and score maps stay float32.
    """

    width: float = 1.0
    stages: int = 3
    dtype: DTypeLike = jnp.float32

    def channels(self, published: int) -> int:
        """Channels of a hidden layer that has `published` of them at width 1."""
        return max(4, round(self.width * published))

    @nn.compact
    def __call__(
        self,
        images: Float[Array, "batch height width 3"],
        encoding: Float[Array, "batch rows columns channels"] | None = None,
    ) -> Float[Array, "batch stages rows columns 21"]:
        """Score maps of crops in [0, 1]; 32x32 cells of 256x256 pixels. Their targets: `render_heat_maps`.

        Args:
          images: crops.
          encoding: [ours] what another network made of the crops, in place of the first four blocks. The score maps
            have its size, and the images are not looked at.

        Raises:
          ValueError: not a batch of images of three channels, with sides that 8 divides.
        """
        encoding = self._encode(images) if encoding is None else encoding.astype(self.dtype)
        x = self._hidden(encoding, _HEAD, 1, "conv5_1")
        scores = [self._scores(x, "conv5_2")]
        for stage in range(6, 5 + self.stages):
            x = jnp.concatenate([scores[-1].astype(self.dtype), encoding], axis=-1)
            for layer, published in enumerate(_REFINING, 1):
                x = self._hidden(x, published, 7, f"conv{stage}_{layer}")
            x = self._hidden(x, _REFINING[-1], 1, f"conv{stage}_6")
            scores.append(self._scores(x, f"conv{stage}_7"))
        return jnp.stack(scores, axis=1)

    def _encode(self, images: Array) -> Array:
        if images.ndim != 4 or images.shape[-1] != 3 or images.shape[1] % STRIDE or images.shape[2] % STRIDE:
            raise ValueError(f"expected images of shape (batch, 8 n, 8 m, 3), got {images.shape}; resize the crop")
        x = (images - MIDDLE_GREY).astype(self.dtype)
        for block, layers in enumerate(_BLOCKS, 1):
            for layer, published in enumerate(layers, 1):
                x = self._hidden(x, published, 3, f"conv{block}_{layer}")
            if block < len(_BLOCKS):
                x = nn.max_pool(x, (2, 2), (2, 2))
        return x

    def _hidden(self, x: Array, published: int, kernel: int, name: str) -> Array:
        size = self.channels(published)
        x = nn.Conv(size, (kernel, kernel), dtype=self.dtype, kernel_init=_KERNEL, name=name)(x)
        return jax.nn.leaky_relu(x, NEGATIVE_SLOPE)

    def _scores(self, x: Array, name: str) -> Array:
        scores = nn.Conv(KEYPOINTS, (1, 1), dtype=self.dtype, kernel_init=_SCORE_KERNEL, name=name)(x)
        return scores.astype(jnp.float32)
