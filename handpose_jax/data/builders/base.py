"""What all builders share: a reader's examples as TFDS features."""

from __future__ import annotations

import io
import pathlib
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from handpose_jax.data.examples import HandExamples
from handpose_jax.data.pixels import read_mask, read_pixels
from handpose_jax.data.sets import READERS, recognise

DEPTH_UNITS = 10_000
"""A metre in depth images: tenths of a millimetre, with which 16 bits reach 6.5 m. 0: nothing measured."""
_INSTRUCTIONS = "Unpack the set as its makers publish it, and give the folder as manual_dir; see docs/data_sets.md."


class HandBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A set of `handpose_jax.data.sets`. Metres, OpenCV camera axes, pixels, 21 keypoints in canonical order.

    Attributes:
      READER: key of `READERS`.
      TEXT, CITATION, HOMEPAGE: of the set.
      PARTS: TFDS's names of splits and the reader's.
      PIXELS: which of "image", "mask" and "depth" there are.
      NATIVE: how many joints of its own the set annotates.
    """

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = _INSTRUCTIONS
    READER: ClassVar[str]
    TEXT: ClassVar[str]
    CITATION: ClassVar[str]
    HOMEPAGE: ClassVar[str]
    PARTS: ClassVar[tuple[tuple[str, str], ...]] = (("train", "training"), ("test", "evaluation"))
    PIXELS: ClassVar[tuple[str, ...]] = ("image",)
    NATIVE: ClassVar[int] = 0

    def _info(self) -> tfds.core.DatasetInfo:
        features: dict[str, Any] = {
            "id": tfds.features.Text(),
            "sequence": tfds.features.Text(),
            "side": tfds.features.ClassLabel(names=["right", "left"]),
            "K": tfds.features.Tensor(shape=(3, 3), dtype=np.float32),
            "joints": tfds.features.Tensor(shape=(21, 3), dtype=np.float32),
            "keypoints": tfds.features.Tensor(shape=(21, 2), dtype=np.float32),
            "visible": tfds.features.Tensor(shape=(21,), dtype=np.bool_),
        }
        if self.NATIVE:
            features["native"] = tfds.features.Tensor(shape=(self.NATIVE, 3), dtype=np.float32)
        pictures = {
            "image": tfds.features.Image(shape=(None, None, 3), dtype=np.uint8),
            "mask": tfds.features.Image(shape=(None, None, 1), dtype=np.uint8, encoding_format="png"),
            # Not as a 16-bit PNG, which TFDS cannot decode without TensorFlow or OpenCV.
            "depth": tfds.features.Tensor(shape=(None, None), dtype=np.uint16, encoding=tfds.features.Encoding.ZLIB),
        }
        features |= {name: pictures[name] for name in self.PIXELS}
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.TEXT,
            features=tfds.features.FeaturesDict(features),
            homepage=self.HOMEPAGE,
            citation=self.CITATION,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        folder = pathlib.Path(dl_manager.manual_dir)
        there = recognise(folder).pictures
        return {name: self._generate_examples(folder, split) for name, split in self.PARTS if split in there}

    def _generate_examples(self, folder: pathlib.Path, split: str) -> Iterator[tuple[str, dict[str, Any]]]:
        examples = READERS[self.READER](folder, split)
        for row, name in enumerate(examples.ids):
            yield name, self._features(examples, row)

    def _features(self, examples: HandExamples, row: int) -> dict[str, Any]:
        result: dict[str, Any] = {
            "id": examples.ids[row],
            "sequence": examples.sequence[row] if examples.sequence else "",
            "side": str(examples.side[row]),
            "visible": examples.visible[row],
        }
        for name in ("K", "joints", "keypoints", *(["native"] if self.NATIVE else [])):
            result[name] = getattr(examples, name)[row].astype(np.float32)
        if "image" in self.PIXELS:
            result["image"] = _picture_file(examples, row)
        if "mask" in self.PIXELS:
            result["mask"] = _png(_mask(examples, row))
        if "depth" in self.PIXELS:
            assert examples.depth is not None
            metres = np.nan_to_num(read_pixels(examples.depth, row))
            result["depth"] = np.clip(np.rint(DEPTH_UNITS * metres), 0, 65535).astype(np.uint16)
        return result


def _mask(examples: HandExamples, row: int) -> np.ndarray:
    """255 where the hand is; all 0 in a split without masks."""
    if examples.masks is not None:
        return np.where(read_mask(examples, row), 255, 0).astype(np.uint8)
    assert examples.images is not None
    return np.zeros(read_pixels(examples.images, row).shape[:2], np.uint8)


def _picture_file(examples: HandExamples, row: int) -> Any:
    """The file itself where TFDS takes its format, so that nothing is encoded anew; others as PNG."""
    assert examples.images is not None
    path = examples.images.paths[row]
    if path.lower().endswith((".png", ".jpg", ".jpeg")):
        return path
    return _png(read_pixels(examples.images, row))


def _png(pixels: np.ndarray) -> io.BytesIO:
    # Encoded bytes, not arrays: those TFDS would give to TensorFlow, which preparing then needs not.
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG", compress_level=1)
    content.seek(0)
    return content
