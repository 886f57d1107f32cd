"""What the gap between synthetic images and photographs is made of: the photographs' own hands, drawn again and again.

    python -m benchmarks.gap_to_photographs --photos=FOLDER [--weights=NAME.json] [--draws=8] [--out=DIR]

FOLDER holds annotated photographs (`annotations.json`: file, side, K, joints_camera_m of each). The open hand is fitted
to the true joints of each, and drawn with that pose, shape and camera in the very crop ("twin"), with skin, light and
the rest drawn anew each time as configs/dhpe.py says. Then one thing at a time is changed: laid over the photograph
itself, so that background and border are real; another background; each switch of the synthetic images off; another
pose, view or shape in its place. The network predicts all of them as `launch.evaluate` does. What the photographs'
error is above the twins' is what synthetic images lack; what a twin's error changes with a switch is how far the
network leans on it.

Prints Procrustes-aligned and root-aligned joint errors (mm) and 2D errors (pixels of the crop, of 128) as means over
photographs and draws, with the standard error over draws, and writes them as JSON, and a picture of some twins beside
the photographs (`twins.png`: it shows photographs, so mind their licence).
"""

import argparse
import functools
import json
import pathlib
import sys
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from PIL import Image

import mano_jax
from benchmarks.hardware import hardware_line, write_json
from configs.dhpe import get_config
from handpose_jax.data.cameras import projected_points
from handpose_jax.data.images import load_image
from handpose_jax.dhpe.prediction import crop_around_box, cropped_image
from handpose_jax.dhpe.weights import REFERENCE, Weights, load_weights
from handpose_jax.evaluation.held_out import predicted_hands
from handpose_jax.evaluation.metrics import mean_joint_errors_mm
from handpose_jax.synthesis import SynthesisOptions, synthesis_tables
from handpose_jax.synthesis.sampling import HandSample, sample_bend, sample_pose, sample_shape, sample_view
from handpose_jax.synthesis.scenes import picture_background, quick_scene, sample_scene
from mano_jax import HandModel
from mano_jax.mirror import mirror_points
from mano_jax.rotations import matrix_to_axis_angle
from render_jax import Pinhole

BARE = {"object_share": 0.0, "second_hand_share": 0.0}
OFF: dict[str, dict] = {
    "whole forearm": {"forearm_length": 0.03},
    "sleeves": {"sleeve_share": 0.0},
    "skin tones (all medium)": {"skin_angle": (28.0, 28.0)},
    "1/f detail of the background": {"background_detail": (0.0, 0.0)},
    "1/f detail of the picture": {"detail": (0.0, 0.0)},
    "noise": {"noise": (0.0, 0.0)},
    "blur": {"blur": (0.3, 0.3)},
}
"""What is switched off, one at a time."""
ON: dict[str, dict] = {
    "objects before or in the hand": {"object_share": 1.0},
    "a second hand": {"second_hand_share": 1.0},
}


class Photographs(NamedTuple):
    """Crops as a network of right hands sees them: left ones mirrored, cameras and joints too.

    Attributes:
      images: uint8.
      K: of the crops.
      joints: true ones, metres, camera frame.
    """

    images: np.ndarray
    K: Float[np.ndarray, "photos 3 3"]
    joints: Float[np.ndarray, "photos 21 3"]


def read_photographs(folder: pathlib.Path, size: int) -> Photographs:
    """Crops around the true joints' boxes."""
    photos = json.loads((folder / "annotations.json").read_text())["photos"]
    rows = []
    for photo in photos:
        image, joints = load_image(folder / photo["file"]), np.asarray(photo["joints_camera_m"], np.float64)
        K = np.asarray(photo["K"], np.float64)
        pixels = projected_points(joints[None], K[None])[0]
        low, high = pixels.min(axis=0), pixels.max(axis=0)
        crop = crop_around_box([*low, *(high - low)], photo["side"], size, image.shape[:2])
        camera = crop.camera_to_crop(Pinhole(K[0, 0], K[1, 1], K[0, 2], K[1, 2]))
        picture = (255.0 * cropped_image(image, crop) + 0.5).astype(np.uint8)
        right = np.asarray(mirror_points(jnp.asarray(joints))) if photo["side"] == "left" else joints
        rows.append((picture, np.asarray(camera.matrix()), right))
    return Photographs(*(np.stack(arrays) for arrays in zip(*rows, strict=True)))


@functools.partial(jax.jit, static_argnames=("options", "change"))
def draw_twins(
    keys: PRNGKeyArray,
    model: HandModel,
    hands: HandSample,
    pictures: Float[Array, "hands size size 3"],
    options: SynthesisOptions,
    change: str,
) -> dict[str, Array]:
    """Images, masks, cameras and joints of hands like these.

    Args:
      keys: one a hand.
      model: right hand.
      hands: fitted to the photographs.
      pictures: the photographs' crops, in [0, 1].
      options: static.
      change: "photograph" (the hand is laid over it), "pose", "view" or "shape" (drawn anew), or "".
    """
    tables = synthesis_tables(model, options)
    assert tables is not None

    def draw(inputs: tuple[PRNGKeyArray, HandSample, Array]) -> dict[str, Array]:
        key, hand, picture = inputs
        keys = jax.random.split(key, 9)
        pose = sample_pose(keys[0], model, options) if change == "pose" else hand.pose
        shape = sample_shape(keys[1], model, options) if change == "shape" else hand.shape
        turned = matrix_to_axis_angle(sample_view(keys[2], options).astype(model.dtype))
        rotation = turned if change == "view" else hand.rotation
        # In the place of the old one: the middles of the joints together.
        zeros = jnp.zeros(3, model.dtype)
        old = mano_jax.keypoints(model, hand.pose, hand.shape, hand.rotation, hand.translation)
        new = mano_jax.keypoints(model, pose, shape, rotation, zeros)
        moved = hand.translation if change in ("photograph", "") else old.mean(axis=0) - new.mean(axis=0)
        sample = HandSample(pose, shape, rotation, moved, sample_bend(keys[3], options), hand.camera)
        mesh = mano_jax.forward(model, pose, shape, rotation, moved)
        joints = mano_jax.keypoints_from_mesh(model, mesh)
        scene = sample_scene((keys[4], keys[5], keys[6], keys[7]), model, sample, mesh, joints, options)
        background = picture if change == "photograph" else picture_background(keys[8], None, options)
        drawn = quick_scene(jax.random.fold_in(key, 1), model, hand.camera, scene, background, options, tables)
        return {"image": drawn.image, "mask": drawn.mask, "joints": joints, "K": hand.camera.matrix()}

    return jax.lax.map(draw, (keys, hands, pictures))


def errors(weights: Weights, model: HandModel, truth: Mapping[str, np.ndarray], draws: int) -> dict[str, float]:
    """Means over all, and the standard error of the Procrustes error's mean over draws."""
    found = predicted_hands(weights, model, truth, False, 32)[0]
    of_draws = [
        mean_joint_errors_mm(part, true)["procrustes"]
        for part, true in zip(np.split(found["joints"], draws), np.split(truth["joints"], draws), strict=True)
    ]
    means = mean_joint_errors_mm(found["joints"], truth["joints"])
    off = projected_points(found["joints"], truth["K"]) - projected_points(truth["joints"], truth["K"])
    deviation = float(np.std(of_draws, ddof=1) / np.sqrt(draws)) if draws > 1 else float("nan")
    return {
        "procrustes_mm": float(means["procrustes"]),
        "standard_error_mm": deviation,
        "root_mm": float(means["root"]),
        "joints_px": float(np.nanmean(np.linalg.norm(off, axis=-1))),
    }


def cases(options: dict) -> dict[str, tuple[dict, str]]:
    """Name -> options, and what is changed."""
    twin = {**options, **BARE}
    return {
        "twins over the photographs": (twin, "photograph"),
        "twins": (twin, ""),
        **{f"twins without {name}": ({**twin, **off}, "") for name, off in OFF.items()},
        "twins without any of these": (functools.reduce(lambda all_off, off: all_off | off, OFF.values(), twin), ""),
        **{f"twins with {name}": ({**twin, **on}, "") for name, on in ON.items()},
        **{f"twins of another {what}": (twin, what) for what in ("pose", "view", "shape")},
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=pathlib.Path, required=True, help="folder with annotations.json")
    parser.add_argument("--weights", default=REFERENCE, help="NAME.json of launch.export")
    parser.add_argument("--draws", type=int, default=8, help="of each photograph's hand, in each case")
    parser.add_argument("--seed", type=int, default=24_000)
    parser.add_argument("--out", type=pathlib.Path, help="folder for gap_to_photographs.json and twins.png")
    arguments = parser.parse_args()
    weights, model = load_weights(arguments.weights), mano_jax.open_hand("right")
    size = weights.options.networks.image_size
    photos = read_photographs(arguments.photos, size)
    count, draws = len(photos.images), arguments.draws
    fitted = mano_jax.solve_keypoints(model, photos.joints.astype(np.float32), sigma=2e-3)
    camera = Pinhole(*(photos.K[:, row, column].astype(np.float32) for row, column in ((0, 0), (1, 1), (0, 2), (1, 2))))
    hands = HandSample(*fitted[:4], jnp.zeros((count, 2)), camera)
    repeated = jax.tree.map(lambda leaf: np.concatenate([np.asarray(leaf)] * draws), hands)
    pictures = np.concatenate([photos.images.astype(np.float32) / 255.0] * draws)
    keys = jax.vmap(lambda row: jax.random.fold_in(jax.random.key(arguments.seed), row))(np.arange(count * draws))
    report = {"weights": weights.source, "photographs": count, "draws": draws, "cases": {}}
    masks = np.zeros(photos.images.shape[:3], bool)  # Only to state an IoU, which is not used here.
    print(hardware_line())
    residual = 1000.0 * float(np.mean(np.asarray(fitted.residual)))
    print(f"{count} photographs; the open hand meets their true joints to {residual:.1f} mm (rms)")
    truths = {"photographs": {"image": photos.images, "mask": masks, "K": photos.K, "joints": photos.joints}}
    shown = [photos.images[:8]]
    synthesis = get_config().to_dict()["data"]["synthesis"] | {"image_size": size}
    for name, (options, change) in ({"photographs": ({}, "")} | cases(synthesis)).items():
        if name not in truths:
            drawn = draw_twins(keys, model, repeated, pictures, SynthesisOptions(**options), change)
            truth = {field: np.asarray(array) for field, array in drawn.items()}
            truth["image"] = (255.0 * truth["image"] + 0.5).astype(np.uint8)
            truth["mask"] = truth["mask"] > 0.5
            shown += [truth["image"][:8]] if not name.startswith("twins without") else []
        else:
            truth = truths[name]
        row = errors(weights, model, truth, 1 if name in truths else draws)
        report["cases"][name] = {field: round(value, 3) for field, value in row.items()}
        print(
            f"{name:<48}{row['procrustes_mm']:6.1f} ± {row['standard_error_mm']:.1f} mm  root {row['root_mm']:5.1f} mm"
            f"  2D {row['joints_px']:5.1f} px",
            flush=True,
        )
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        write_json(arguments.out / "gap_to_photographs.json", report)
        Image.fromarray(np.concatenate([np.concatenate(list(row), axis=1) for row in shown])).save(
            arguments.out / "twins.png"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
