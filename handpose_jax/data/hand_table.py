"""Annotations of one or several data sets as rows, and what a batch of crops takes of them. No pixels are read here."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence

import numpy as np

from handpose_jax.data.augmentation import Augmentation, keys_of_names
from handpose_jax.data.crops import CropBatch, around_cubes, around_joint, tight_boxes
from handpose_jax.data.examples import HandExamples, PixelFiles
from handpose_jax.data.pixel_graph import reader_of

Arrays = dict[str, np.ndarray]
RULES = ("tight_box", "middle_mcp", "cube")
PIXEL_FIELDS = ("images", "masks", "depth")


@dataclasses.dataclass(frozen=True)
class CropOptions:
    """What is cut out of the images.

    Attributes:
      size: edge of the crops, pixels.
      rule: where. "tight_box": `margin` times the longer edge of the box around the annotated keypoints, DHPE's;
        "middle_mcp": around the middle MCP, `margin` times the farthest visible keypoint's distance, 50 to 500 pixels,
        hand3d's and the cross-modal VAE's (whose margin is 2); "cube": the square of a cube of `cube` metres around
        `cube_joint`, for depth.
      margin: see there.
      cube: edge, metres; of every rule, when depth is read: what lies outside becomes 0.
      cube_joint: keypoint in the cube's middle; -1: the mean of the joints that the set annotates, its own (`native`)
        where it has some.
      pixels: which of "images", "masks", "depth" are read.
    """

    size: int = 224
    rule: str = "tight_box"
    margin: float = 1.5
    cube: float = 0.25
    cube_joint: int = 9
    pixels: tuple[str, ...] = ("images", "masks")

    def __post_init__(self):
        if self.rule not in RULES:
            raise ValueError(f"rule must be one of {', '.join(RULES)}, got {self.rule!r}")
        if self.size < 1 or self.margin <= 0.0 or self.cube <= 0.0:
            raise ValueError(f"size, margin and cube must be above 0, got {self.size}, {self.margin}, {self.cube}")
        if not self.pixels or set(self.pixels) - set(PIXEL_FIELDS):
            raise ValueError(f"pixels must be some of {', '.join(PIXEL_FIELDS)}, got {self.pixels}")


class HandTable:
    """Annotations of one or several sets, one row a hand, and what a batch takes of them."""

    def __init__(self, sets: Sequence[HandExamples], options: CropOptions):
        """Raises:
        ValueError: no hands, a set lacks pixels that are asked for, or a hand cannot be cropped.
        """
        if not sets or not all(len(one) for one in sets):
            raise ValueError(f"expected sets of hands that are not empty, got {[len(one) for one in sets]} hands")
        self.options, self.sets = options, tuple(sets)
        self.first_rows = np.cumsum([0, *(len(one) for one in sets)])[:-1]
        self.names = tuple(f"{one.name}/{name}" for one in sets for name in one.ids)
        self.keys = keys_of_names(self.names)

        def joined(field: str) -> np.ndarray:
            return np.concatenate([np.asarray(getattr(one, field)) for one in sets])

        self.K, self.joints, self.keypoints = (joined(name).astype(np.float64) for name in ("K", "joints", "keypoints"))
        self.left, self.visible = joined("side") == "left", joined("visible")
        self.annotated = np.asarray(np.isfinite(self.keypoints).all(axis=-1))
        names = {one.native_names for one in sets}
        self.native = joined("native").astype(np.float64) if len(names) == 1 and sets[0].native is not None else None
        self.centre, self.side = self._boxes()
        self._check()
        self.files: dict[str, _Files] = {name: _Files(sets, name) for name in options.pixels}
        labels = [np.tile([[128, 255]], (len(one), 1)) if one.mask_labels is None else one.mask_labels for one in sets]
        self.mask_labels = np.concatenate(labels).astype(np.int32)

    def __len__(self) -> int:
        return len(self.names)

    def crops(self, rows: np.ndarray, drawn: Augmentation | None = None) -> CropBatch:
        """Where the crops of some rows lie; right hands, or left ones mirrored."""
        centre, side, left = self.centre[rows], self.side[rows], self.left[rows]
        if drawn is None:
            return CropBatch.make(centre, side, self.options.size, left)
        shift = drawn.shift * side[:, None] * np.stack([np.where(left, -1.0, 1.0), np.ones(len(rows))], axis=-1)
        return CropBatch.make(centre + shift, side * drawn.scale, self.options.size, left, drawn.angle, self.K[rows])

    def annotations(self, rows: np.ndarray, crops: CropBatch) -> Arrays:
        """The fields of a batch that are not pixels; see `handpose_jax.data.pipeline`."""
        joints = crops.points_3d(self.joints[rows])
        return {
            "keypoints": crops.points(self.keypoints[rows]).astype(np.float32),
            "joints": joints.astype(np.float32),
            "K": crops.camera(self.K[rows]).astype(np.float32),
            "visible": self.visible[rows],
            "annotated_2d": self.annotated[rows],
            "annotated_3d": np.asarray(np.isfinite(joints).all(axis=-1)),
            "row": rows.astype(np.int32),
            "centre": crops.centre.astype(np.float32),
            "side": crops.side.astype(np.float32),
            "angle": crops.angle.astype(np.float32),
            "mirrored": crops.mirrored,
            **({} if self.native is None else {"native": crops.points_3d(self.native[rows]).astype(np.float32)}),
            **{f"{name}_known": files.known[rows] for name, files in self.files.items()},
        }

    def places(self, rows: np.ndarray, crops: CropBatch) -> Arrays:
        """What the operations on pixels need of each row."""
        result: Arrays = {
            "centre": crops.centre.astype(np.float32),
            "to_image": crops.to_image().astype(np.float32),
            "step": (1.0 / crops.pixels_per_pixel).astype(np.float32),
            "mirrored": crops.mirrored,
            "upright": crops.angle == 0.0,
        }
        for name, files in self.files.items():
            result[f"{name}_path"], result[f"{name}_encoding"] = files.paths[rows], files.encodings[rows]
            result[f"{name}_reader"] = files.readers[rows]
        if "masks" in self.files:
            result["mask_labels"] = self.mask_labels[rows]
        if "depth" in self.files:
            middle = self._cube_middles(rows)[:, 2]
            result["depth_limits"] = (middle[:, None] + 0.5 * self.options.cube * np.array([-1, 1])).astype(np.float32)
        return result

    def _cube_middles(self, rows: np.ndarray | slice) -> np.ndarray:
        if self.options.cube_joint >= 0:
            return self.joints[rows, self.options.cube_joint]
        joints = (self.joints if self.native is None else self.native)[rows]
        known = np.asarray(np.isfinite(joints).all(axis=-1, keepdims=True))
        middle = np.where(known, joints, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
        return np.where(known.any(axis=1), middle, np.nan)

    def _boxes(self) -> tuple[np.ndarray, np.ndarray]:
        options = self.options
        if options.rule == "cube":
            return around_cubes(self._cube_middles(slice(None)), self.K, options.cube)
        if options.rule == "middle_mcp":
            seen = self.annotated & self.visible
            seen = np.where(seen.any(axis=1, keepdims=True), seen, self.annotated)
            return around_joint(self.keypoints, seen, factor=options.margin)
        return tight_boxes(self.keypoints, self.annotated, options.margin)

    def _check(self) -> None:
        bad = np.flatnonzero(~(np.isfinite(self.centre).all(axis=-1) & np.isfinite(self.side)))
        if len(bad):
            needs = "the cube's middle in 3D" if self.options.rule == "cube" else "2D keypoints"
            raise ValueError(
                f"{len(bad)} of {len(self)} hands cannot be cropped by the rule '{self.options.rule}', which needs "
                f"{needs}; the first is {self.names[bad[0]]}: leave them out (`examples.chosen`)"
            )


class _Files:
    """Paths and encodings of one kind of pixels over all sets; empty where a set has none."""

    def __init__(self, sets: Sequence[HandExamples], kind: str):
        paths, encodings, readers = [], [], []
        for one in sets:
            found: PixelFiles | None = getattr(one, kind)
            if found is None and kind != "masks":
                raise ValueError(f"the set {one.name} has no {kind}, which are asked for")
            encoding = found.encoding if found is not None else ""
            of_set = found.paths if found is not None else ("",) * len(one)
            paths += [os.fsencode(path) for path in of_set]
            encodings += [encoding.encode()] * len(one)
            readers += [reader_of(path, encoding) for path in of_set]
        self.paths, self.encodings = np.array(paths, object), np.array(encodings, object)
        self.readers = np.array(readers, np.int32)
        self.known = self.paths != b""
