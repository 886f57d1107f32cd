"""Make photographs of hands, recover the hands from them, and show how well: the whole way in minutes, from nothing.

Synthetic photographs of the open hand, which no training has seen, go through the same code as `python -m
launch.predict` with the reference weights: from pixels, a box and the camera to meshes. Beside it the same hands from
keypoints as noisy as a detector's, by `python -m launch.fit`. The truth is known, so the errors are printed.

Example:
  python -m launch.demo --out=outputs/demo

What is shown and what lies where afterwards: docs/demo.md.
"""

from __future__ import annotations

import functools
import io
import json
import pathlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from absl import flags

from launch import fit, predict
from launch.command_line import ProgressBar, StagedOutput, exit_code_of, parse_flags, staged_output

if TYPE_CHECKING:
    import numpy as np

    from handpose_jax.evaluation.showcase import ShownHand
    from mano_jax import HandModel

_AT_ONCE = 4
"""Images made by one call: few enough that the bar moves."""
_MOST_SHOWN = 12


def define_flags(values: flags.FlagValues) -> None:
    """Flags of the command."""
    integer = functools.partial(flags.DEFINE_integer, flag_values=values)
    flags.DEFINE_string("out", "outputs/demo", "Folder for the results; made if missing.", flag_values=values)
    integer("count", 32, "Hands to make and recover, half of them left.", lower_bound=1, upper_bound=1000)
    integer("seed", 0, "Everything random comes from it.", lower_bound=0, upper_bound=2**31 - 1)
    integer("size", 256, "Edge of the photographs, pixels.", lower_bound=32, upper_bound=1024)
    integer("turntable_size", 360, "Edge of the turntable's pictures, pixels.", lower_bound=64, upper_bound=720)
    integer("turntable_views", 72, "Pictures in one turn.", lower_bound=4, upper_bound=180)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; 0, or 2 after one line on standard error."""
    return exit_code_of(lambda: run(parse_flags(sys.argv[1:] if argv is None else argv, str(__doc__), define_flags)))


def run(values: flags.FlagValues) -> None:
    """Makes, predicts, fits, measures, draws.

    Raises:
      ValueError, OSError: the output folder cannot be written; nothing is left then.
    """
    with staged_output(values.out) as out:
        print(f"1/4  making {values.count} photographs of hands, {values.size}x{values.size} pixels", flush=True)
        truth = make_photographs(out, values)

        print("2/4  finding the hands in their pixels", flush=True)
        predicted = predict_photographs(out)

        print("3/4  for comparison: fitting the hand model to noisy keypoints, without the pixels", flush=True)
        fitted, models = fit_keypoints(out)

        print("4/4  drawing", flush=True)
        draw(out, values, truth, predicted, fitted, models)
        print_errors(truth, predicted, fitted, models)
        out.publish()
    print_places(out.folder)


def predict_photographs(out: StagedOutput) -> dict[str, np.ndarray]:
    """As `launch.predict` does: `predictions.npz`, `predictions.json`, meshes, and a few hands' evidence."""
    annotations = out.path("input/keypoints.json")
    settings, images = predict.parsed(
        [f"--annotations={annotations}", "--mesh=glb", "--nooverlays", f"--panels={_MOST_SHOWN}", "--out=unused"]
    )
    hands = predict.read_hands(settings, images)
    arrays, _ = predict.predict(out, settings, hands, predict.read_weights(settings), predict.depth_of(settings, hands))
    return arrays


def fit_keypoints(out: StagedOutput) -> tuple[dict[str, np.ndarray], dict[str, HandModel]]:
    """As `launch.fit` does: `fits.npz`, `fits.json`."""
    settings = parse_flags(
        [f"--keypoints={out.path('input/keypoints.json')}", "--out=unused", "--nooverlays"], "", fit.define_flags
    )
    keypoints, images = fit.read_input(settings)
    hands, models = fit.located(settings, keypoints, images), fit.load_models(None)
    arrays, problems = fit.fit(settings, hands, models)
    fit.write_results(out, settings, keypoints, hands, models, arrays, problems, None)
    return arrays, models


def make_photographs(out: StagedOutput, values: flags.FlagValues) -> dict[str, np.ndarray]:
    """Writes `input/`: photographs, keypoints.json and truth.npz; returns what is in the last, and the photographs."""
    import jax
    import numpy as np
    from PIL import Image

    import mano_jax
    from handpose_jax.synthesis import SynthesisOptions, keys_of, synthetic_batch

    options, model = SynthesisOptions(image_size=values.size), mano_jax.open_hand("right")
    rounds = -(-values.count // _AT_ONCE)
    keys, left = keys_of(values.seed, rounds * _AT_ONCE), np.arange(rounds * _AT_ONCE) % 2 == 1
    progress, parts = ProgressBar("photographs"), []
    for begin in range(0, rounds * _AT_ONCE, _AT_ONCE):
        chosen = slice(begin, begin + _AT_ONCE)
        parts.append(jax.device_get(synthetic_batch(keys[chosen], model, left[chosen], options)))
        progress(min(begin + _AT_ONCE, values.count), values.count)
    made = jax.tree.map(lambda *leaves: np.concatenate(leaves)[: values.count], *parts)

    images, side = np.round(255.0 * made.image).astype(np.uint8), np.where(made.left, "left", "right")
    photos = []
    for row in range(values.count):
        name = f"hand_{row:03d}.png"
        Image.fromarray(images[row]).save(out.path(f"input/{name}"))
        K, keypoints = made.K[row].astype(float).round(4), made.detected[row].astype(float).round(3)
        low, high = made.keypoints[row].min(axis=0).astype(float), made.keypoints[row].max(axis=0).astype(float)
        box = np.concatenate([low, high - low]).round(2)
        photo = {"file": name, "side": side[row], "K": K.tolist(), "box": box.tolist()}
        photos.append(photo | {"keypoints_px": keypoints.tolist()})
    content = {"image_size": values.size, "photos": photos}
    out.path("input/keypoints.json").write_text(json.dumps(content), encoding="utf-8")
    names = ("joints", "vertices", "pose", "shape", "rotation", "translation", "K", "keypoints")
    truth = {name: getattr(made, name) for name in names} | {"side": side}
    buffer = io.BytesIO()
    np.savez(buffer, **truth)  # pyright: ignore[reportArgumentType]
    out.path("input/truth.npz").write_bytes(buffer.getvalue())
    return truth | {"images": images, "detected": made.detected}


def draw(
    out: StagedOutput,
    values: flags.FlagValues,
    truth: dict[str, np.ndarray],
    predicted: dict[str, np.ndarray],
    fitted: dict[str, np.ndarray],
    models: dict[str, HandModel],
) -> None:
    """`contact_sheet.png`, `keypoint_fits.png`, and `turntable.gif` of the predicted hand that is spread widest."""
    import numpy as np

    from handpose_jax.evaluation.drawing import gif_bytes
    from handpose_jax.evaluation.showcase import fit_sheet, painted_turntable

    found = np.concatenate([predicted["joints_2d_px"], predicted["confidence"][..., None]], axis=-1)
    for name, arrays, keypoints, seen in (
        ("contact_sheet.png", predicted, found, "image, joints found in it"),
        ("keypoint_fits.png", fitted, truth["detected"], "image, noisy keypoints"),
    ):
        rows = np.flatnonzero(predicted["valid"] & fitted["valid"])[:_MOST_SHOWN]
        shown = [shown_hand(truth, arrays, keypoints, row) for row in rows]
        fit_sheet(models["right"], shown, seen).save(out.path(name), optimize=True)
    reach = np.linalg.norm(predicted["joints"][:, 4::4] - predicted["joints"][:, :1], axis=2).sum(axis=1)
    row = int(np.nanargmax(reach))
    frames = painted_turntable(
        models["right"],
        str(predicted["side"][row]),
        *(predicted[name][row] for name in ("vertices", "joints", "rotation")),
        views=values.turntable_views,
        size=values.turntable_size,
    )
    out.path("turntable.gif").write_bytes(gif_bytes(frames, frames_per_second=len(frames) / 3.6))


def shown_hand(
    truth: dict[str, np.ndarray], arrays: dict[str, np.ndarray], keypoints: np.ndarray, row: int
) -> ShownHand:
    """One row as the sheet shows it."""
    from handpose_jax.evaluation.metrics import mean_joint_errors_mm
    from handpose_jax.evaluation.showcase import ShownHand

    error = mean_joint_errors_mm(arrays["joints"][row : row + 1], truth["joints"][row : row + 1])["procrustes"]
    side = str(arrays["side"][row])
    return ShownHand(
        image=truth["images"][row],
        keypoints=keypoints[row],
        K=truth["K"][row],
        side=side,
        **{name: arrays[name][row] for name in ("vertices", "joints", "rotation")},
        **{f"true_{name}": truth[name][row] for name in ("vertices", "joints", "rotation")},
        label=f"{side} hand: mean joint error {error:.1f} mm (aligned)",
    )


def print_errors(
    truth: dict[str, np.ndarray],
    predicted: dict[str, np.ndarray],
    fitted: dict[str, np.ndarray],
    models: dict[str, HandModel],
) -> None:
    """Mean errors of joints and vertices, beside those of a mean hand."""
    from handpose_jax.evaluation.baselines import mean_hands, mean_vertex_errors_mm
    from handpose_jax.evaluation.metrics import METRICS, mean_joint_errors_mm

    guess = mean_hands(models, truth["side"], predicted["rotation"], predicted["joints"][:, 0])
    rows = (
        ("from pixels", (predicted["joints"], predicted["vertices"])),
        ("mean hand*", guess),
        ("from keypoints", (fitted["joints"], fitted["vertices"])),
    )
    print(f"\nmean error in mm over {int(predicted['valid'].sum())} of {len(truth['side'])} hands")
    print(f"{'':26s}" + "".join(f"{name:>12s}" for name in METRICS))
    for name, (joints, vertices) in rows:
        for part, errors in (
            ("joints", mean_joint_errors_mm(joints, truth["joints"])),
            ("vertices", mean_vertex_errors_mm(joints, vertices, truth["joints"], truth["vertices"])),
        ):
            print(f"{name + ', ' + part:26s}" + "".join(f"{errors[metric]:12.1f}" for metric in METRICS))
    print("* mean pose and shape, wrist placed and turned as found in the pixels: what knowing the fingers is worth")
    print("absolute and root carry what one image cannot tell: the size of the hand, hence its distance\n")


def print_places(folder: pathlib.Path) -> None:
    """What lies where."""
    for name, what in (
        ("contact_sheet.png", "photographs, joints found, hands recovered, truth: look here first"),
        ("keypoint_fits.png", "the same hands from noisy keypoints alone"),
        ("turntable.gif", "one of the recovered hands, painted, from all sides"),
        ("evidence/, refinement/", "what the network saw, and how refinement went"),
        ("meshes/", "every recovered hand as .glb, for Blender and any viewer"),
        ("predictions.npz, predictions.json", "vertices, joints, pose, shape of all hands (docs/predict.md)"),
        ("fits.npz, fits.json", "the same of the fits, with covariance (docs/fit.md)"),
        ("input/", "the photographs, their boxes, keypoints and the truth"),
    ):
        print(f"{folder / name.split(', ')[0]!s:38s}{what}")
    print(f"\nthe same by hand: python -m launch.predict --annotations={folder}/input/keypoints.json --out=predicted")
    print("your own photographs: docs/predict.md, docs/fit.md")


if __name__ == "__main__":
    sys.exit(main())
