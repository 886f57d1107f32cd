"""Make photographs of hands, fit them, and show how well: the whole way in a minute, from nothing.

Synthetic photographs of the open hand and keypoints as noisy as a detector's go through the same code as
`python -m launch.fit`; the truth is known, so the errors are printed. No data, no weights, no network.

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

from launch import fit
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
    integer("count", 32, "Hands to make and fit, half of them left.", lower_bound=1, upper_bound=1000)
    integer("seed", 0, "Everything random comes from it.", lower_bound=0, upper_bound=2**31 - 1)
    integer("size", 256, "Edge of the photographs, pixels.", lower_bound=32, upper_bound=1024)
    integer("turntable_size", 360, "Edge of the turntable's pictures, pixels.", lower_bound=64, upper_bound=720)
    integer("turntable_views", 72, "Pictures in one turn.", lower_bound=4, upper_bound=180)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; 0, or 2 after one line on standard error."""
    return exit_code_of(lambda: run(parse_flags(sys.argv[1:] if argv is None else argv, str(__doc__), define_flags)))


def run(values: flags.FlagValues) -> None:
    """Makes, fits, measures, draws.

    Raises:
      ValueError, OSError: the output folder cannot be written; nothing is left then.
    """
    with staged_output(values.out) as out:
        print(f"1/3  making {values.count} photographs of hands, {values.size}x{values.size} pixels", flush=True)
        truth = make_photographs(out, values)

        print("2/3  fitting a hand model to their noisy keypoints", flush=True)
        settings = parse_flags(
            [f"--keypoints={out.path('input/keypoints.json')}", "--out=unused", "--mesh=glb", "--nooverlays"],
            "",
            fit.define_flags,
        )
        keypoints, images = fit.read_input(settings)
        hands, models = fit.located(settings, keypoints, images), fit.load_models(None)
        arrays, problems = fit.fit(settings, hands, models)
        metrics = fit.measured(arrays, truth["joints"])
        fit.write_results(out, settings, keypoints, hands, models, arrays, problems, metrics)

        print("3/3  drawing", flush=True)
        draw(out, values, truth, arrays, models)
        print_errors(truth, arrays, models)
        out.publish()
    print_places(out.folder)


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
        photos.append({"file": name, "side": side[row], "K": K.tolist(), "keypoints_px": keypoints.tolist()})
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
    arrays: dict[str, np.ndarray],
    models: dict[str, HandModel],
) -> None:
    """`contact_sheet.png` of the first hands and `turntable.gif` of the one that is spread widest."""
    import numpy as np

    from handpose_jax.evaluation.drawing import gif_bytes
    from handpose_jax.evaluation.showcase import fit_sheet, painted_turntable

    shown = [shown_hand(truth, arrays, row) for row in np.flatnonzero(arrays["valid"])[:_MOST_SHOWN]]
    fit_sheet(models["right"], shown).save(out.path("contact_sheet.png"), optimize=True)
    reach = np.linalg.norm(arrays["joints"][:, 4::4] - arrays["joints"][:, :1], axis=2).sum(axis=1)
    row = int(np.nanargmax(reach))
    frames = painted_turntable(
        models["right"],
        str(arrays["side"][row]),
        *(arrays[name][row] for name in ("vertices", "joints", "rotation")),
        views=values.turntable_views,
        size=values.turntable_size,
    )
    out.path("turntable.gif").write_bytes(gif_bytes(frames, frames_per_second=len(frames) / 3.6))


def shown_hand(truth: dict[str, np.ndarray], arrays: dict[str, np.ndarray], row: int) -> ShownHand:
    """One row as the sheet shows it."""
    from handpose_jax.evaluation.metrics import mean_joint_errors_mm
    from handpose_jax.evaluation.showcase import ShownHand

    error = mean_joint_errors_mm(arrays["joints"][row : row + 1], truth["joints"][row : row + 1])["procrustes"]
    side = str(arrays["side"][row])
    return ShownHand(
        image=truth["images"][row],
        keypoints=truth["detected"][row],
        K=truth["K"][row],
        side=side,
        **{name: arrays[name][row] for name in ("vertices", "joints", "rotation")},
        **{f"true_{name}": truth[name][row] for name in ("vertices", "joints", "rotation")},
        label=f"{side} hand: mean joint error {error:.1f} mm (aligned)",
    )


def print_errors(truth: dict[str, np.ndarray], arrays: dict[str, np.ndarray], models: dict[str, HandModel]) -> None:
    """Mean errors of joints and vertices, beside those of a mean hand."""
    from handpose_jax.evaluation.baselines import mean_hands, mean_vertex_errors_mm
    from handpose_jax.evaluation.metrics import METRICS, mean_joint_errors_mm

    guess = mean_hands(models, truth["side"], arrays["rotation"], arrays["joints"][:, 0])
    found = arrays["joints"], arrays["vertices"]
    print(f"\nmean error in mm over {int(arrays['valid'].sum())} of {len(truth['side'])} hands")
    print(f"{'':20s}" + "".join(f"{name:>12s}" for name in METRICS))
    for name, (joints, vertices) in (("fitted", found), ("mean hand*", guess)):
        for part, errors in (
            ("joints", mean_joint_errors_mm(joints, truth["joints"])),
            ("vertices", mean_vertex_errors_mm(joints, vertices, truth["joints"], truth["vertices"])),
        ):
            print(f"{name + ', ' + part:20s}" + "".join(f"{errors[metric]:12.1f}" for metric in METRICS))
    print("* mean pose and shape, wrist placed and turned as in the fit: what knowing the fingers is worth")
    print("absolute and root carry what one image cannot tell: the size of the hand, hence its distance\n")


def print_places(folder: pathlib.Path) -> None:
    """What lies where."""
    for name, what in (
        ("contact_sheet.png", "photographs, keypoints, fitted meshes, truth: look here first"),
        ("turntable.gif", "one of the fitted hands, painted, from all sides"),
        ("meshes/", "every fitted hand as .glb, for Blender and any viewer"),
        ("fits.npz, fits.json", "vertices, joints, pose, shape, covariance of all hands (docs/fit.md)"),
        ("metrics.json", "the errors of the joints"),
        ("input/", "the photographs, their keypoints and the truth"),
    ):
        print(f"{folder / name.split(', ')[0]!s:38s}{what}")
    print(f"\nthe same fit by hand: python -m launch.fit --keypoints={folder}/input/keypoints.json --out=fits")
    print("your own photographs: docs/fit.md")


if __name__ == "__main__":
    sys.exit(main())
