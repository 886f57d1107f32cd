"""A feature pyramid: one fine map that knows what the coarse maps of a ResNet know.

Source: Lin et al., "Feature Pyramid Networks for Object Detection", CVPR 2017; the finest level alone is used. [ours]
Each level is convolved and normalised on the way down, so that the sum may be trained from scratch.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from handpose_jax.networks.resnet import batch_norm, convolution


class FeaturePyramid(nn.Module):
    """Maps of 1/4 to 1/32 of an image -> one of 1/4.

    Attributes:
      channels: of every level.
      dtype: of the computation; parameters and statistics stay float32.
    """

    channels: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, stages: Sequence[Float[Array, "batch height width channels"]], train: bool = False
    ) -> Float[Array, "batch rows columns features"]:
        """From the coarsest of `ResNetFeatures.stages` to the finest.

        Args:
          stages: maps, each half as high and wide as the one before, rounded up.
          train: as of `ResNet`.
        """
        finer = None
        for level in reversed(range(len(stages))):
            x = convolution(self.channels, 1, 1, self.dtype, f"lateral{level + 1}")(stages[level])
            if finer is not None:
                doubled = jnp.repeat(jnp.repeat(finer, 2, axis=1), 2, axis=2)
                x = x + doubled[:, : x.shape[1], : x.shape[2]]
            x = convolution(self.channels, 3, 1, self.dtype, f"level{level + 1}")(x)
            finer = nn.relu(batch_norm(train=train, dtype=self.dtype, name=f"level{level + 1}_norm")(x))
        assert finer is not None
        return finer
