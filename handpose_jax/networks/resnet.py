"""ResNets as torchvision and timm define them, so that their weights fit; smaller ones for small machines.

Source: He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016; the bottleneck as in torchvision
("v1.5"): the stride is in its 3x3 convolution, not in the first 1x1.
"""

import difflib
import functools
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
"""Of red, green and blue in [0, 1]: what torchvision's and timm's ResNet weights expect images to be normalised by."""

EPSILON = 1e-5
MOMENTUM = 0.9
"""Of batch normalisation; torch writes this momentum as 0.1, the share of the new value.

One difference stays: torch's running variance is that of a sample (n - 1), Flax's of the batch (n).
"""
EXPANSION = 4
"""Channels that leave a bottleneck, per channel of its 3x3 convolution."""

_KERNEL = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class ResNetFeatures(NamedTuple):
    """What a ResNet makes of images.

    Attributes:
      pooled: mean of the last stage's map over the image, float32 whatever the network computes in.
      stages: the map after each stage, at 1/4, 1/8, 1/16 and 1/32 of the image's size (rounded up).
    """

    pooled: Float[Array, "batch features"]
    stages: tuple[Float[Array, "batch height width channels"], ...]


class Block(nn.Module):
    """A residual block: two 3x3 convolutions, or with `bottleneck` 1x1, 3x3 and 1x1 to four times the width."""

    width: int
    bottleneck: bool
    stride: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, inputs: Float[Array, "batch height width channels"], train: bool) -> Any:
        kernels, strides = ((1, 3, 1), (1, self.stride, 1)) if self.bottleneck else ((3, 3), (self.stride, 1))
        channels = self.width * (EXPANSION if self.bottleneck else 1)
        norm = functools.partial(batch_norm, train=train, dtype=self.dtype)
        outputs = inputs
        for number, (kernel, stride) in enumerate(zip(kernels, strides, strict=True), 1):
            last = number == len(kernels)
            width = channels if last else self.width
            outputs = convolution(width, kernel, stride, self.dtype, f"convolution{number}")(outputs)
            # The last scale starts at zero: an untrained block passes its input on. (Goyal et al., arXiv 1706.02677.)
            scale = nn.initializers.zeros if last else nn.initializers.ones
            outputs = norm(name=f"norm{number}", scale_init=scale)(outputs)
            outputs = outputs if last else nn.relu(outputs)
        if self.stride != 1 or inputs.shape[-1] != channels:
            inputs = convolution(channels, 1, self.stride, self.dtype, "shortcut")(inputs)
            inputs = norm(name="shortcut_norm")(inputs)
        return nn.relu(outputs + inputs)


class ResNet(nn.Module):
    """A residual network without the classifier.

    Attributes:
      stages: residual blocks in each stage.
      bottleneck: which kind of block.
      width: channels of the first stage's 3x3 convolutions; each stage doubles them.
      patches: [ours] the first layer is one 3x3 convolution over patches of 4x4 pixels taken as channels, in place of a
        strided 7x7 convolution and a max-pool: on a CPU those two cost as much as two stages of a small network.
      mean, deviation: of the three colours, subtracted from and divided into images in [0, 1] before the first layer.
        This is the one place where images are normalised, so a mask multiplies images before it: masked pixels are
        black.
      dtype: of the computation, e.g. bfloat16. Parameters, statistics and pooled features stay float32.
    """

    stages: tuple[int, ...]
    bottleneck: bool
    width: int = 64
    patches: bool = False
    mean: tuple[float, ...] = IMAGENET_MEAN
    deviation: tuple[float, ...] = IMAGENET_DEVIATION
    dtype: DTypeLike = jnp.float32

    @property
    def feature_size(self) -> int:
        """Length of the pooled features: 2048 for ResNet-50."""
        return self.width * 2 ** (len(self.stages) - 1) * (EXPANSION if self.bottleneck else 1)

    @nn.compact
    def __call__(self, images: Float[Array, "batch height width 3"], train: bool = False) -> ResNetFeatures:
        """Features of images in [0, 1].

        Args:
          images: at least 32 pixels a side make sense; any size runs.
          train: whether batch normalisation uses the batch's own statistics and updates the running ones (then
            `apply` needs `mutable=["batch_stats"]`). Under `jit` they are the whole batch's, also where it is sharded.

        Raises:
          ValueError: not a batch of images of three channels.
        """
        if images.ndim != 4 or images.shape[-1] != 3:
            raise ValueError(f"expected images of shape (batch, height, width, 3), got {images.shape}")
        mean, deviation = (jnp.asarray(rgb, jnp.float32)[None, None, None] for rgb in (self.mean, self.deviation))
        x = ((images - mean) / deviation).astype(self.dtype)
        x = patches_as_channels(x) if self.patches else x
        kernel, stride = (3, 1) if self.patches else (7, 2)
        x = convolution(self.width, kernel, stride, self.dtype, "stem")(x)
        x = nn.relu(batch_norm(train=train, dtype=self.dtype, name="stem_norm")(x))
        if not self.patches:
            both_sides: Any = ((1, 1), (1, 1))  # Of -inf, as torch pads.
            x = nn.max_pool(x, (3, 3), (2, 2), both_sides)
        maps = []
        for stage, blocks in enumerate(self.stages):
            for block in range(blocks):
                x = Block(
                    width=self.width * 2**stage,
                    bottleneck=self.bottleneck,
                    stride=2 if stage > 0 and block == 0 else 1,
                    dtype=self.dtype,
                    name=f"stage{stage + 1}_block{block}",
                )(x, train)
            maps.append(x)
        return ResNetFeatures(pooled=x.astype(jnp.float32).mean(axis=(1, 2)), stages=tuple(maps))


def patches_as_channels(
    images: Float[Array, "batch height width channels"], size: int = 4
) -> Float[Array, "batch rows columns features"]:
    """Each patch of size x size pixels as one pixel of as many times more channels; zeros fill up the last patches."""
    batch, height, width, channels = images.shape
    rows, columns = -(-height // size), -(-width // size)
    padding = ((0, 0), (0, rows * size - height), (0, columns * size - width), (0, 0))
    patches = jnp.pad(images, padding).reshape(batch, rows, size, columns, size, channels)
    return jnp.swapaxes(patches, 2, 3).reshape(batch, rows, columns, size * size * channels)


def convolution(features: int, kernel: int, stride: int, dtype: DTypeLike, name: str) -> nn.Conv:
    """A convolution padded as torch pads, on both sides alike ("SAME" pads strided ones on one side only)."""
    padding = (kernel // 2, kernel // 2)
    return nn.Conv(
        features,
        (kernel, kernel),
        (stride, stride),
        padding=(padding, padding),
        use_bias=False,
        dtype=dtype,
        kernel_init=_KERNEL,
        name=name,
    )


def batch_norm(train: bool, dtype: DTypeLike, name: str, scale_init=nn.initializers.ones) -> nn.BatchNorm:
    """Batch normalisation with torch's constants; statistics are computed and kept in float32."""
    return nn.BatchNorm(
        use_running_average=not train,
        momentum=MOMENTUM,
        epsilon=EPSILON,
        dtype=dtype,
        scale_init=scale_init,
        name=name,
    )


RESNETS: dict[str, dict[str, Any]] = {
    "resnet50": {"stages": (3, 4, 6, 3), "bottleneck": True, "width": 64},
    "resnet34": {"stages": (3, 4, 6, 3), "bottleneck": False, "width": 64},
    "resnet18": {"stages": (2, 2, 2, 2), "bottleneck": False, "width": 64},
    "small": {"stages": (2, 2, 2, 2), "bottleneck": False, "width": 32, "patches": True},
    "tiny": {"stages": (1, 1, 1, 1), "bottleneck": False, "width": 8},
}
"""Parameters without the classifier: 23,508,032; 21,284,672; 11,176,512; 2,808,000; 78,312.

"small" (11 MB, 256 features) trains on a CPU or a small GPU; "tiny" (64 features) is for tests and dry runs.
"""


def resnet(name: str, dtype: DTypeLike = jnp.float32, **settings: Any) -> ResNet:
    """A network of `RESNETS` by its name; `settings` replaces further fields of `ResNet`.

    Raises:
      ValueError: no network of that name; the message gives the nearest one.
    """
    if name not in RESNETS:
        nearest = difflib.get_close_matches(name, RESNETS, 1, 0.0)[0]
        raise ValueError(f"no ResNet is named {name!r}; did you mean {nearest!r}? There are {', '.join(RESNETS)}")
    fields: dict[str, Any] = {**RESNETS[name], "dtype": dtype, **settings}
    return ResNet(**fields)
