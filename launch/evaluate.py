"""Score predictions: a file of predictions and a file of truth in; a table, a JSON, curves and a gallery out.

Examples:
  python -m launch.evaluate --predictions=predicted/predictions.npz --truth=photos/annotations.json
  python -m launch.evaluate --predictions=fits/fits.npz --truth=truth.npz --out=scores --fit_from_2d
  python -m launch.evaluate --out=scores
  python -m launch.evaluate --checkpoint=runs/dhpe --held_out=configs/held_out.py:quick --out=scores

Without --predictions a network (--checkpoint, --weights, or the reference weights) first predicts a held-out set of
synthetic hands; all files are written, and scored. docs/evaluate.md.

With --protocol, files are scored the way of a data set, by rhd, stb, dexter_object, freihand, icvl, nyu, msra:
  python -m launch.evaluate --protocol=rhd --predictions=FILE --groundtruth=FILE --out=DIR
Several --predictions make one table. docs/protocols.md.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from absl import flags

from launch.command_line import ProgressBar, StagedOutput, exit_code_of, parse_flags, require, staged_output

# Heavy imports happen where they are used: --help and a mistyped flag answer at once.
if TYPE_CHECKING:
    import numpy as np

    from handpose_jax.evaluation.held_out import HeldOutOptions
    from handpose_jax.evaluation.scores import HandSet

HELD_OUT_SET = pathlib.Path(__file__).parents[1] / "configs" / "held_out.py"
ALIGNMENTS = ("absolute", "root", "root_scale", "procrustes")


def define_flags(values: flags.FlagValues) -> None:
    """Flags of the command."""
    string = functools.partial(flags.DEFINE_string, flag_values=values)
    integer = functools.partial(flags.DEFINE_integer, flag_values=values)
    several = functools.partial(flags.DEFINE_multi_string, flag_values=values)
    several("predictions", None, "predictions.npz or fits.npz; with --protocol any number of files.")
    string("truth", None, ".npz with joints [N, 21, 3] metres (and vertices, K, mask, image), or an annotations JSON.")
    string("out", None, "Folder for scores.json and pictures; made if missing. Required for a network.")
    string("checkpoint", None, "A --workdir of launch.train: predict the held-out set first.")
    string("weights", None, "NAME.json of launch.export; without it, --checkpoint, --predictions: reference weights.")
    string(
        "held_out", None, "Config of the held-out set (configs/held_out.py); configs/held_out.py:quick has 64 hands."
    )
    integer("count", None, "At most so many hands of the held-out set.", lower_bound=1)
    integer("refine", None, "Steps of test-time refinement (the configuration's, 50); 0 for none.", lower_bound=0)
    flags.DEFINE_bool("fit", None, "Then fit in perspective (or as the configuration says).", flag_values=values)
    flags.DEFINE_bool("true_root_depth", False, "Held-out hands: give the depth of the root.", flag_values=values)
    flags.DEFINE_bool(
        "fit_from_2d",
        None,
        "Also score hands fitted to the true joints as K projects them. On for the held-out set, off for files.",
        flag_values=values,
    )
    integer("batch_size", 16, "Crops at once.", lower_bound=1)
    string("model", None, "Official MANO file in place of the open hand, for mean hand, fits and triangles.")
    string("protocol", None, "Score by the protocol of a data set: rhd, stb, dexter_object, freihand, icvl, nyu, msra.")
    several("groundtruth", None, "With --protocol: the truth, in the layout of the predictions.")
    several("reference", None, "With --protocol: NAME=FILE, a published curve of lines of threshold (mm) and PCK.")
    string("sequences", None, "With --protocol: lengths of the truth's sequences, as 702,894.")
    string("submission", None, "With --protocol=freihand: write the predictions as a pred.json.")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; 0, or 2 after one line on standard error."""
    return exit_code_of(lambda: run(parse_flags(sys.argv[1:] if argv is None else argv, str(__doc__), define_flags)))


def run(values: flags.FlagValues) -> None:
    """Predicts if asked to, reads, scores, prints, writes.

    Raises:
      ValueError, OSError: input or output is unusable; nothing is written then.
    """
    if values.out:
        require("matplotlib", "the plots of --out")
    if values.protocol is not None:
        from launch.evaluate_protocol import run_protocol

        return run_protocol(values)
    for name in ("groundtruth", "reference", "sequences", "submission"):
        if getattr(values, name) is not None:
            raise ValueError(f"--{name} belongs to --protocol, see docs/protocols.md")
    if values.predictions and len(values.predictions) > 1:
        raise ValueError("give one --predictions; several are compared under a --protocol, see docs/protocols.md")
    given = bool(values.predictions) + bool(values.checkpoint) + bool(values.weights)
    if given > 1:
        raise ValueError("give one of --predictions (with --truth), --checkpoint and --weights; see --help")
    network = not values.predictions
    if values.predictions and not values.truth:
        raise ValueError("--predictions needs --truth, see --help")
    if network and not values.out:
        raise ValueError("--out is required unless --predictions are given: a network's are written there first")
    if network and values.truth:
        raise ValueError("--truth belongs to --predictions; held-out hands bring their own")
    if values.predictions and (values.held_out or values.count):
        raise ValueError("--held_out and --count belong to a network's scores; --predictions are scored whole")
    with staged_output(values.out) if values.out else contextlib.nullcontext() as out:
        files = {"predictions": values.predictions[0] if values.predictions else None, "truth": values.truth}
        about: dict[str, Any] = {}
        if network:
            assert out is not None
            files, about = predict_held_out(out, values)
        print_and_write(files, about, values, out)
        if out is not None:
            print("wrote", ", ".join(str(path) for path in out.publish()))


def read_held_out(text: str | None) -> tuple[str, HeldOutOptions]:
    """Name and options of the set in a config file, FILE or FILE:VARIANT; of the project's own if there is no text.

    Raises:
      ValueError: no such file, one without get_config, or fields that do not exist.
    """
    import runpy

    from handpose_jax.evaluation.held_out import HeldOutOptions
    from handpose_jax.training.config_options import options_from

    text = text or str(HELD_OUT_SET)
    path, _, variant = text.partition(".py:")
    path = pathlib.Path(f"{path}.py" if variant else text)
    if not path.is_file():
        raise ValueError(f"--held_out={text}: no such file; there is configs/held_out.py, also as ...:quick")
    try:
        get_config = runpy.run_path(str(path)).get("get_config")
    except Exception as error:  # Whatever is wrong in a user's file, a line says it better than a traceback from here.
        raise ValueError(f"--held_out={text}: cannot be run ({type(error).__name__}: {error})") from error
    if get_config is None:
        raise ValueError(f"--held_out={text}: the file must define get_config(variant), as configs/held_out.py does")
    name = path.name + (f":{variant}" if variant else "")
    return name, options_from(HeldOutOptions, get_config(variant).to_dict(), name)


def predict_held_out(out: StagedOutput, values: flags.FlagValues) -> tuple[dict[str, str], dict[str, Any]]:
    """Writes truth and predictions of the held-out set; the files, and what is to be said of them."""
    import mano_jax
    from handpose_jax.dhpe.weights import REFERENCE, load_checkpoint, load_weights, refined_as
    from handpose_jax.evaluation.held_out import about_the_set, held_out_hands, predicted_hands

    config, options = read_held_out(values.held_out)
    weights = load_checkpoint(values.checkpoint) if values.checkpoint else load_weights(values.weights or REFERENCE)
    weights = refined_as(weights, values.refine, values.fit)
    size = weights.options.networks.image_size
    synthesis = dataclasses.replace(options.synthesis, image_size=size)
    count = min(options.images, values.count or options.images)
    options = dataclasses.replace(options, images=count, synthesis=synthesis)
    model = mano_jax.load(values.model) if values.model else mano_jax.open_hand("right")
    model = model if model.side == "right" else mano_jax.mirror_model(model)
    truth = held_out_hands(options, model, ProgressBar("held-out hands", long_from=64))
    progress = ProgressBar("predicting", long_from=64)
    found, unrefined = predicted_hands(weights, model, truth, values.true_root_depth, values.batch_size, progress)
    arrays = {"predictions": found, "truth": truth}
    if unrefined is not None:
        arrays["no_refinement"] = unrefined
    files = {name: _save(out, f"{name}.npz", content) for name, content in arrays.items()}
    about = {
        "network": weights.source,
        "refinement_steps": weights.options.refinement.steps,
        "fit_in_perspective": weights.options.refinement.fit and weights.options.refinement.steps > 0,
        "root_depth": "given" if values.true_root_depth else "estimate",
        "held_out": {"config": config, **about_the_set(options, truth)},
        "refinement_loss": {
            "start": float(found["losses"][:, 0].mean()),
            "end": float(found["losses"][:, -1].mean()),
        },
    }
    occluded = about["held_out"]["occluded_share"]
    print(f"held-out set {config}: {count} hands at {size} px, the network's size; {occluded:.0%} of them occluded")
    print(f"predicted with {weights.source}")
    return files, about


def print_and_write(
    files: Mapping[str, str], about: Mapping[str, Any], values: flags.FlagValues, out: StagedOutput | None
) -> None:
    """Reads the files, fits if asked to, scores, prints; with a folder, writes scores and pictures."""
    from handpose_jax.evaluation.scores import (
        DEFINITIONS,
        LABELS,
        THRESHOLDS_MM,
        all_scores,
        hands_to_score,
        read_predictions,
        read_true_hands,
    )
    from launch.fit import load_models

    predictions, models = read_predictions(files["predictions"]), load_models(values.model)
    truth = read_true_hands(files["truth"], predictions)
    others = {name: read_predictions(files[name]) for name in ("no_refinement",) if name in files}
    # On where there is a network, as the flag says.
    if values.fit_from_2d or (values.fit_from_2d is None and not values.predictions):
        from handpose_jax.evaluation.true_2d import fits_from_true_2d

        others["fit_from_true_2d"] = fits_from_true_2d(models, truth, predictions, ProgressBar("fitting"))
        if out is not None:
            _save(out, "fit_from_true_2d.npz", others["fit_from_true_2d"])
    hands = hands_to_score(predictions, truth, models, others)
    scores = all_scores(hands, truth, models)
    print_table(scores)
    if out is not None:
        from handpose_jax.evaluation.fit_output import write_json

        used = {name: pathlib.Path(files[name]).name for name in ("predictions", "truth")}
        known = {name: text for name, text in DEFINITIONS.items() if name in hands or name not in LABELS}
        content = {**used, **about, **scores, "pck_thresholds_mm": list(THRESHOLDS_MM), "definitions": known}
        write_json(out.path("scores.json"), _finite(content))
        write_pictures(out, hands, truth, models)


def write_pictures(out: StagedOutput, hands: Mapping[str, HandSet], truth: Mapping[str, Any], models: Any) -> None:
    """`pck.png`, and `gallery.png` if there are images."""
    from handpose_jax.evaluation.score_pictures import gallery, pck_picture

    out.path("pck.png").write_bytes(pck_picture(hands, truth["joints"]))
    shown = hands["predicted"]
    if "image" in truth and shown.vertices is not None and truth.get("K", shown.cameras) is not None:
        gallery(shown, truth, models).save(out.path("gallery.png"), optimize=True)


NOTES = {"fit_from_true_2d": "*", "mean_hand": "**"}
"""Marks of the columns that are explained below the table."""


def print_table(content: Mapping[str, Any]) -> None:
    """What matters, on standard output: a column for each set of hands."""
    from handpose_jax.evaluation.scores import LABELS

    kinds = {label + NOTES.get(name, ""): content[name] for name, label in LABELS.items() if name in content}
    left_out = content["hands_without_prediction"]
    print(f"{content['hands']} hands" + (f", {left_out} without a prediction" if left_out else ""))
    print(f"{'':26s}" + "".join(f"{label:>19s}" for label in kinds))
    for section, title, form in (
        ("joints_mm", "joints, mm", ".1f"),
        ("vertices_mm", "vertices, mm", ".1f"),
        ("auc", "AUC 20-50 mm", ".3f"),
    ):
        for name in ALIGNMENTS:
            print_row(f"{title}, {name}", [(scores[section] or {}).get(name) for scores in kinds.values()], form)
    print_row("2D error, px", [scores["joints_px"] for scores in kinds.values()], ".1f")
    criteria = [scores["segmentation"] or {} for scores in kinds.values()]
    for name in next((one for one in criteria if one), {}):
        print_row(name.replace("_", " "), [one.get(name) for one in criteria], ".3f")
    if "fit_from_true_2d" in content:
        print("* fitted to the true joints as the camera sees them, without noise: what perfect 2D joints would give")
    if "mean_hand" in content:
        print("** mean pose and shape, wrist placed and turned as predicted: what knowing the fingers is worth")


def print_row(title: str, numbers: Sequence[float | None], form: str) -> None:
    """One line of the table; none where no column has the number."""
    if any(number is not None for number in numbers):
        cells = ("-" if number is None else format(number, form) for number in numbers)
        print(f"{title:26s}" + "".join(f"{cell:>19s}" for cell in cells))


def _save(out: StagedOutput, name: str, arrays: Mapping[str, np.ndarray]) -> str:
    """The path of the new file."""
    import numpy as np

    with out.path(name).open("wb") as file:
        np.savez_compressed(file, **arrays)  # pyright: ignore[reportArgumentType]
    return str(out.path(name))


def _finite(content: Any) -> Any:
    """NaN, which JSON cannot say, as null."""
    from handpose_jax.evaluation.fit_report import number

    if isinstance(content, dict):
        return {name: _finite(value) for name, value in content.items()}
    if isinstance(content, list):
        return [_finite(value) for value in content]
    return number(content) if isinstance(content, float) else content


if __name__ == "__main__":
    sys.exit(main())
