"""A widely used hand detector judges the quick synthetic images that training draws: two steps, two environments.

    python -m benchmarks.synthetic_referee --out=DIR
    DETECTOR_PYTHON -m benchmarks.detector_referee judge --images=DIR [--out=FILE]

The first step draws quick images without objects and second hands, every other one of a left hand: with the options of
configs/dhpe.py ("training"), with those but less `detail` and `noise` ("less grain"), and with the defaults of
`SynthesisOptions` ("defaults"); over the whole band of views ("sphere") and from palm or back within 60 degrees
("palm or back"). All at 128 pixels, as training draws them, enlarged three times (bicubic); and drawn at 256 pixels.

An image is shown with a margin that repeats its border: the detector, made for whole photographs, finds fewer hands in
crops that end at the fingertips, and fewer in a plain frame, which is a picture in a picture (`--margin`, `--frame`).

The second step is that of `benchmarks.detector_referee`; see there for what it prints.
"""

import argparse
import itertools
import json
import pathlib
import sys

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

import mano_jax
from configs.dhpe import get_config
from handpose_jax.synthesis import SynthesisOptions, keys_of, synthesis_tables, synthetic_batch

VIEWS = {"sphere": {"view_within": None}, "palm or back": {"view_within": 60.0}}
ENLARGED = {128: 3, 256: 1}
MARGIN = 0.25
"""On each side, as a share of the image's edge."""
LESS_GRAIN = {"detail": (0.0, 0.05), "noise": (0.003, 0.015)}


def kinds() -> dict[str, dict]:
    """Options of the three kinds of images, without what may hide the hand."""
    bare = {"object_share": 0.0, "second_hand_share": 0.0}
    training = {**get_config().to_dict()["data"]["synthesis"], **bare}
    return {
        "training": training,
        "less grain": {**training, **LESS_GRAIN},
        "defaults": {"quality": "quick", **bare},
    }


def with_margin(
    image: UInt8[np.ndarray, "size size 3"],
    keypoints: Float[np.ndarray, "21 2"],
    margin: float,
    enlarged: int,
    frame: bool = False,
) -> tuple[Image.Image, Float[np.ndarray, "21 2"]]:
    """The image with a margin, enlarged (bicubic), and its keypoints there.

    Args:
      image: square.
      keypoints: pixels.
      margin: on each side, as a share of the edge.
      enlarged: times.
      frame: a margin of the image's mean colour; else its border is repeated.
    """
    added = round(margin * image.shape[0])
    around = ((added, added), (added, added), (0, 0))
    whole = np.pad(image, around, mode="edge")
    if frame:
        inside = np.pad(np.ones_like(image, bool), around)
        whole = np.where(inside, whole, image.mean(axis=(0, 1)).astype(np.uint8))
    edge = enlarged * len(whole)
    return Image.fromarray(whole).resize((edge, edge), Image.Resampling.BICUBIC), enlarged * (keypoints + added)


def draw(out: pathlib.Path, count: int, seed: int, margin: float, frame: bool) -> None:
    """Write `*.png` and `cases.json`.

    Args:
      out: folder; made if it is not there.
      count: images of each group.
      seed: of all; a group's are the first of a larger group's.
      margin: see `with_margin`.
      frame: see there.
    """
    hand = mano_jax.open_hand("right")
    out.mkdir(parents=True, exist_ok=True)
    left = np.arange(count) % 2 == 1
    cases, described = [], {}
    for (kind, options), (view, where), size in itertools.product(kinds().items(), VIEWS.items(), ENLARGED):
        group = f"{kind}, {view}, {size}"
        chosen = SynthesisOptions(**{**options, **where, "image_size": size})
        described[group] = repr(chosen)
        made = synthetic_batch(keys_of(seed, count), hand, left, chosen, synthesis_tables(hand, chosen))
        images = (255.0 * np.asarray(made.image) + 0.5).astype(np.uint8)
        for number, (image, keypoints) in enumerate(zip(images, np.asarray(made.keypoints), strict=True)):
            picture, points = with_margin(image, keypoints, margin, ENLARGED[size], frame)
            name = f"{group.replace(', ', '_').replace(' ', '_')}_{number:03d}.png"
            picture.save(out / name, compress_level=1)
            side = "left" if left[number] else "right"
            cases.append({"file": name, "group": group, "side": side, "keypoints": points.tolist()})
        print(f"{group}: {count}", flush=True)
    about = {"seed": seed, "margin": margin, "frame": frame, "options": described}
    (out / "cases.json").write_text(json.dumps({**about, "cases": cases}))
    print(f"{len(cases)} images -> {out}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--count", type=int, default=300, help="images of each group")
    parser.add_argument("--seed", type=int, default=91_000, help="not that of any training")
    parser.add_argument("--margin", type=float, default=MARGIN, help="on each side, as a share of the image's edge")
    parser.add_argument("--frame", action="store_true", help="a margin of the mean colour, not the border repeated")
    arguments = parser.parse_args()
    draw(arguments.out, arguments.count, arguments.seed, arguments.margin, arguments.frame)
    return 0


if __name__ == "__main__":
    sys.exit(main())
