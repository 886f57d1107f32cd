"""The one schema that every data set is read into: annotations of all hands as arrays, pixels as places in files."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

PIXELS = ("rgb", "labels", "depth")
"""What a file's pixels may be turned into: colours, whole numbers of a label image, or metres."""


@dataclasses.dataclass(frozen=True)
class PixelFiles:
    """Image files of a set, one a row, and how their bytes are to be understood.

    Attributes:
      paths: one a row, absolute or relative to the working folder; rows of one picture (two hands) repeat it.
      encoding: key of `handpose_jax.data.pixels.DECODERS`: which bytes mean what. Byte orders of depth differ between
        sets, and each has its own name there.
      size: (height, width) of all files, pixels; None where they differ.
    """

    paths: tuple[str, ...]
    encoding: str
    size: tuple[int, int] | None = None

    def __len__(self) -> int:
        return len(self.paths)


@dataclasses.dataclass(frozen=True)
class HandExamples:
    """N annotated hands. What a set does not annotate is NaN (numbers), False (`visible`) or None (files).

    Frames: OpenCV camera axes, metres, of the camera that took `images` (of `depth` for sets without colour). Pixels
    are the set's own numbers; none of the sets says whether a pixel's centre is at a whole or a half, and half a pixel
    is below their annotations' error. Left hands are left here; pipelines mirror them.

    Attributes:
      name: of the set, as its protocol is named: "rhd", "stb", "dexter_object", "freihand", "icvl", "msra", "nyu", ...
      split: "training", "evaluation", or the set's own word.
      ids: unique within the set and the same on every machine ("training/00012-left"): seeds and records use them.
      sequence: what video each belongs to; frames of one are in the order of time. Empty where there are none.
      images, depth, masks: files, or None.
      mask_labels: per row, which labels of `masks` are this hand ([N, 2], first to last, both counted); None: all
        above 127 (a mask that was saved as a picture).
      K: camera matrices.
      side: "left" or "right".
      joints: the 21 keypoints in canonical order.
      keypoints: the same in pixels.
      visible: whether a keypoint is seen; where a set does not say, whether it is annotated.
      native_names, native: the joints that the set itself annotates and its protocol scores, where these are not the
        21 (16 of ICVL, 14 of NYU, STB's with its palm); metres.
      vertices: of MANO's mesh.
      bone_length: metres from the middle finger's MCP to its PIP (keypoints 9 and 10), where a set gives it even
        without the joints.
      skipped: a line for each entry that was left out (`skip_bad`).
      notes: what the reader found out by itself or the user should know, a line each.
    """

    name: str
    split: str
    ids: tuple[str, ...]
    K: Float[np.ndarray, "hands 3 3"]
    side: np.ndarray
    joints: Float[np.ndarray, "hands 21 3"]
    keypoints: Float[np.ndarray, "hands 21 2"]
    visible: Bool[np.ndarray, "hands 21"]
    images: PixelFiles | None = None
    depth: PixelFiles | None = None
    masks: PixelFiles | None = None
    mask_labels: np.ndarray | None = None
    sequence: tuple[str, ...] = ()
    native_names: tuple[str, ...] = ()
    native: Float[np.ndarray, "hands native 3"] | None = None
    vertices: Float[np.ndarray, "hands 778 3"] | None = None
    bone_length: Float[np.ndarray, " hands"] | None = None
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self):
        count = len(self.ids)
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            per_row = isinstance(value, (np.ndarray, PixelFiles)) or (field.name == "sequence" and value)
            if per_row and len(value) != count:
                raise ValueError(f"{self.name} {self.split}: {count} ids, but {len(value)} rows of {field.name}")

    def __len__(self) -> int:
        return len(self.ids)


Reader = Callable[..., HandExamples]
"""`read(folder, split, *, skip_bad=False, **options of the set)`; raises ValueError naming the file and what to do."""


def chosen(examples: HandExamples, rows: Sequence[int] | np.ndarray) -> HandExamples:
    """The hands of some rows, in the order given."""
    rows = np.asarray(rows, np.int64).reshape(-1)

    def pick(value):
        if isinstance(value, np.ndarray):
            return value[rows]
        if isinstance(value, PixelFiles):
            return dataclasses.replace(value, paths=tuple(value.paths[row] for row in rows))
        return value

    fields: dict[str, Any] = {field.name: pick(getattr(examples, field.name)) for field in dataclasses.fields(examples)}
    fields["ids"] = tuple(examples.ids[row] for row in rows)
    fields["sequence"] = tuple(examples.sequence[row] for row in rows) if examples.sequence else ()
    return HandExamples(**fields)
