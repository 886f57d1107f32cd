"""What is drawn at random for each crop: box, turn, colours, blur, a patch that hides. All [ours].

Every number is a function of seed, the example's name and the epoch: the same on any machine and in any order.
"""

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt64

_DRAWS = 16


@dataclasses.dataclass(frozen=True)
class AugmentationOptions:
    """Ranges; pairs are those of a uniform draw.

    Attributes:
      shift: the box's centre moves by up to this share of its edge, along each axis.
      scale: factor on the box's edge.
      rotation: the image turns by up to this, degrees.
      brightness: added, as a share of white.
      contrast: factor about mid grey.
      saturation: factor on the distance from grey.
      hue: turn of the colours, degrees.
      blur_share: of the crops that are blurred.
      blur: standard deviation, pixels of the crop.
      cut_out_share: of the crops in which a rectangle of one colour hides something. Masks and keypoints stay.
      cut_out: edges of the rectangle, as a share of the crop's.
    """

    shift: float = 0.08
    scale: tuple[float, float] = (0.90, 1.12)
    rotation: float = 30.0
    brightness: float = 0.12
    contrast: tuple[float, float] = (0.75, 1.25)
    saturation: tuple[float, float] = (0.6, 1.3)
    hue: float = 10.0
    blur_share: float = 0.3
    blur: tuple[float, float] = (0.4, 1.5)
    cut_out_share: float = 0.2
    cut_out: tuple[float, float] = (0.10, 0.30)

    def __post_init__(self):
        if not 0.0 <= self.shift < 0.5:
            raise ValueError(f"shift must be a share within [0, 0.5), got {self.shift}")
        if self.rotation < 0.0 or self.hue < 0.0 or self.brightness < 0.0:
            raise ValueError(
                f"rotation, hue and brightness must be >= 0, got {self.rotation}, {self.hue}, {self.brightness}"
            )
        for name in ("scale", "contrast", "saturation", "blur", "cut_out"):
            low, high = getattr(self, name)
            if not 0.0 <= low <= high:
                raise ValueError(f"{name} must be a range of numbers >= 0, got {(low, high)}")
        if self.scale[0] <= 0.0:
            raise ValueError(f"scale must be a range above 0, got {self.scale}")
        if not (0.0 <= self.blur_share <= 1.0 and 0.0 <= self.cut_out_share <= 1.0):
            raise ValueError(
                f"blur_share and cut_out_share must be shares within [0, 1], got {self.blur_share}, "
                f"{self.cut_out_share}"
            )


NO_AUGMENTATION = AugmentationOptions(
    shift=0.0,
    scale=(1.0, 1.0),
    rotation=0.0,
    brightness=0.0,
    contrast=(1.0, 1.0),
    saturation=(1.0, 1.0),
    hue=0.0,
    blur_share=0.0,
    cut_out_share=0.0,
)


class Augmentation(NamedTuple):
    """What was drawn, one a row.

    Attributes:
      shift: of the centre, edges of the box, in the frame of the right hand.
      scale: of the edge.
      angle: radians.
      colour: display values in [0, 255] as (r, g, b, 1) -> changed (r, g, b).
      blur: standard deviation, crop pixels; 0 for none.
      cut_out: left, top, right, bottom as shares of the crop's edge; empty where nothing is hidden.
      cut_out_colour: its display values.
    """

    shift: Float[np.ndarray, "hands 2"]
    scale: Float[np.ndarray, "hands"]
    angle: Float[np.ndarray, "hands"]
    colour: Float[np.ndarray, "hands 3 4"]
    blur: Float[np.ndarray, "hands"]
    cut_out: Float[np.ndarray, "hands 4"]
    cut_out_colour: Float[np.ndarray, "hands 3"]


def keys_of_names(names: Sequence[str]) -> UInt64[np.ndarray, "hands"]:
    """A number for each name, the same everywhere (Python's own hash is not)."""
    return np.array([int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little") for name in names], np.uint64)


def draw_augmentations(
    seed: int,
    epochs: np.ndarray,
    keys: UInt64[np.ndarray, "hands"],
    options: AugmentationOptions,
) -> Augmentation:
    """What happens to each of some examples.

    Args:
      seed: of the run.
      epochs: of each example's set: how often it has been seen.
      keys: `keys_of_names` of the examples.
      options: ranges.
    """
    u = np.stack(
        [
            np.random.Generator(np.random.Philox(key=[int(key), seed], counter=[0, 0, 0, int(epoch)])).random(_DRAWS)
            for key, epoch in zip(keys, epochs, strict=True)
        ]
    ).reshape(-1, _DRAWS)

    def within(column: int, limits: tuple[float, float]) -> Float[np.ndarray, "hands"]:
        return limits[0] + (limits[1] - limits[0]) * u[:, column]

    def both_ways(column: int, limit: float) -> Float[np.ndarray, "hands"]:
        return limit * (2.0 * u[:, column] - 1.0)

    edges = np.stack([within(8, options.cut_out), within(9, options.cut_out)], axis=-1)
    corner = u[:, 10:12] * (1.0 - edges)
    hidden = u[:, 12] < options.cut_out_share
    return Augmentation(
        shift=options.shift * (2.0 * u[:, 0:2] - 1.0),
        scale=within(2, options.scale),
        angle=np.radians(both_ways(3, options.rotation)),
        colour=_colour_change(
            255.0 * both_ways(4, options.brightness),
            within(5, options.contrast),
            within(6, options.saturation),
            np.radians(both_ways(7, options.hue)),
        ),
        blur=np.where(u[:, 13] < options.blur_share, within(14, options.blur), 0.0),
        cut_out=np.where(hidden[:, None], np.concatenate([corner, corner + edges], axis=-1), 0.0),
        cut_out_colour=255.0 * np.stack([u[:, 15], (7.0 * u[:, 15]) % 1.0, (31.0 * u[:, 15]) % 1.0], axis=-1),
    )


_GREY = np.full((3, 3), 1.0 / 3.0)
_GREY_AXIS_CROSS = np.array([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / np.sqrt(3.0)


def _colour_change(
    brightness: Float[np.ndarray, "hands"],
    contrast: Float[np.ndarray, "hands"],
    saturation: Float[np.ndarray, "hands"],
    hue: Float[np.ndarray, "hands"],
) -> Float[np.ndarray, "hands 3 4"]:
    """Affine: a turn of the colours about the grey axis, stretched away from it, then contrast and brightness."""
    away = np.eye(3) - _GREY
    cosine, sine = np.cos(hue)[:, None, None], np.sin(hue)[:, None, None]
    matrix = _GREY + saturation[:, None, None] * (cosine * away + sine * _GREY_AXIS_CROSS)
    matrix = contrast[:, None, None] * matrix
    offset = np.broadcast_to((127.5 * (1.0 - contrast) + brightness)[:, None, None], (len(hue), 3, 1))
    return np.concatenate([matrix, offset], axis=-1)
