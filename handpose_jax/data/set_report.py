"""What a folder holds of a data set: parts, hands, how well 3D and 2D agree, pictures that cannot be read; a sheet."""

from __future__ import annotations

import concurrent.futures
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from handpose_jax.data.contents import pixels_of_row
from handpose_jax.data.examples import HandExamples, chosen
from handpose_jax.data.pixels import hand_pixels
from handpose_jax.data.sets import READERS, SPLITS, RecognisedSet

if TYPE_CHECKING:
    from PIL.Image import Image

_KINDS = ("images", "depth", "masks")


def splits_to_read(found: RecognisedSet, split: str | None) -> list[str]:
    """The splits that are there, or the one that is asked for.

    Raises:
      ValueError: there is no split of that name, or none lies in the folder.
    """
    known = SPLITS[found.name]
    if split is not None:
        if split not in known:
            raise ValueError(f"--split={split}: {found.title} has {', '.join(known)}")
        return [split]
    there = [name for name, pictures in found.pictures.items() if pictures and name in known]
    if not there:
        raise ValueError(f"{found.root}: no pictures of {found.title} in it; missing: {', '.join(found.missing[:6])}")
    return there


def read_split(found: RecognisedSet, split: str, options: Mapping[str, Any], skip_bad: bool) -> HandExamples:
    """One split by the set's reader.

    Raises:
      ValueError: as the reader; an option that it has not.
    """
    try:
        return READERS[found.name](found.root, split, skip_bad=skip_bad, **options)
    except TypeError as error:
        if "unexpected keyword" not in str(error):
            raise
        raise ValueError(f"--option: the reader of {found.title} has no such option ({error})") from None


def without_unreadable(
    examples: HandExamples, skip_bad: bool, progress: Callable[[int, int], None] = lambda done, total: None
) -> HandExamples:
    """Decodes every picture once; the hands whose pictures could be read, a line in `skipped` for each other.

    Raises:
      ValueError: a picture cannot be read, and `skip_bad` is not set; names the file.
    """
    files = [one for one in (getattr(examples, kind) for kind in _KINDS) if one is not None]

    def problem(row: int) -> str | None:
        try:
            for one in files:
                pixels_of_row(one, row)
        except ValueError as error:
            return str(error)
        return None

    good, lines = [], list(examples.skipped)
    # Pillow decodes without holding the interpreter's lock.
    with concurrent.futures.ThreadPoolExecutor() as threads:
        for row, found in enumerate(threads.map(problem, range(len(examples)))):
            if found is None:
                good.append(row)
            elif skip_bad:
                lines.append(found)
            else:
                threads.shutdown(wait=False, cancel_futures=True)
                raise ValueError(f"{found}; or go on without such pictures: --skip_bad")
            progress(row + 1, len(examples))
    return dataclasses.replace(chosen(examples, good), skipped=tuple(lines))


def summary(examples: HandExamples) -> list[str]:
    """Lines on one split's hands."""
    count = len(examples)
    left = int((examples.side == "left").sum())
    kinds = [f"{kind} ({getattr(examples, kind).encoding})" for kind in _KINDS if getattr(examples, kind) is not None]
    known = np.isfinite(examples.joints).all(axis=-1)
    lines = [
        f"{examples.split}: {count:,} hands, {left:,} left and {count - left:,} right; {', '.join(kinds)}",
        f"  keypoints known {known.sum(axis=1).mean() if count else 0.0:.1f} of 21, "
        f"seen {examples.visible.sum(axis=1).mean() if count else 0.0:.1f}",
    ]
    images = np.einsum("nij,npj->npi", examples.K, examples.joints)
    with np.errstate(invalid="ignore", divide="ignore"):
        distances = np.linalg.norm(images[..., :2] / images[..., 2:] - examples.keypoints, axis=-1)
    distances = distances[np.isfinite(distances)]
    if distances.size:
        lines.append(
            f"  3D projects onto 2D within {np.median(distances):.2f} px (median), {distances.max():.2f} (most)"
        )
    if examples.native is not None:
        annotated = np.isfinite(examples.native).all(axis=-1).sum(axis=1).mean()
        lines.append(f"  the set's own joints: {annotated:.1f} of {len(examples.native_names)}")
    lines += [f"  note: {note}" for note in examples.notes]
    if examples.skipped:
        lines.append(f"  left out {len(examples.skipped):,}; the first: {examples.skipped[0]}")
    return lines


def contact_sheet_of(examples: HandExamples, count: int = 12) -> Image:
    """Some hands, evenly spaced: pictures with masks (tinted) and keypoints over them."""
    from handpose_jax.evaluation.drawing import contact_sheet

    rows = np.unique(np.linspace(0, len(examples) - 1, min(count, len(examples))).round().astype(int))
    labels = [f"{examples.ids[row]}, {examples.side[row]}" for row in rows]
    return contact_sheet([_drawn(examples, int(row)) for row in rows], labels, columns=4, cell_width=320)


def _drawn(examples: HandExamples, row: int) -> Image:
    from handpose_jax.evaluation.drawing import draw_skeleton, to_image

    pixels = _picture(examples, row).astype(np.float64)
    if examples.masks is not None:
        labels = pixels_of_row(examples.masks, row)
        mask = hand_pixels(labels, examples.mask_labels, row)[..., None]
        pixels = np.where(mask, 0.6 * pixels + 0.4 * np.array([60.0, 220.0, 90.0]), pixels)
    keypoints, known = examples.keypoints[row], np.isfinite(examples.keypoints[row]).all(axis=-1)
    K, scale = examples.K[row], max(1, round(480 / pixels.shape[1]))
    picture = to_image(pixels.clip(0, 255).astype(np.uint8))
    picture = picture.resize((picture.width * scale, picture.height * scale))
    native = None if examples.native is None else examples.native[row]
    if native is None or np.isfinite(native).all(axis=-1).sum() <= known.sum():
        return draw_skeleton(picture, keypoints * scale, [bool(one) for one in known])
    points = native @ K.T
    return _with_dots(picture, scale * points[:, :2] / points[:, 2:])


def _with_dots(picture: Image, points: np.ndarray) -> Image:
    from PIL import ImageDraw

    draw, radius = ImageDraw.Draw(picture), max(2.0, picture.width / 160.0)
    for u, v in points[np.isfinite(points).all(axis=-1)]:
        draw.ellipse((u - radius, v - radius, u + radius, v + radius), fill=(255, 178, 44), outline=(0, 0, 0))
    return picture


def _picture(examples: HandExamples, row: int) -> np.ndarray:
    """Colours; of depth near white and far black, over the range of the hand."""
    if examples.images is not None:
        return pixels_of_row(examples.images, row)
    assert examples.depth is not None
    depth = pixels_of_row(examples.depth, row)
    joints = [one[row, :, 2] for one in (examples.joints, examples.native) if one is not None]
    distances = np.concatenate(joints)
    distances = distances[np.isfinite(distances)]
    middle = float(distances.mean()) if distances.size else float(np.nanmedian(depth))
    grey = 255.0 * np.clip(0.5 + (middle - depth) / 0.3, 0.0, 1.0)
    return np.repeat(np.nan_to_num(grey)[..., None], 3, axis=-1)


def options_of(texts: Sequence[str]) -> dict[str, Any]:
    """Options of a reader from NAME=VALUE: true, false, numbers and lists by commas are understood.

    Raises:
      ValueError: a text without '='.
    """
    result = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"--option={text}: expected NAME=VALUE")
        result[name] = [_value(part) for part in value.split(",")] if "," in value else _value(value)
    return result


def _value(text: str) -> Any:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text
