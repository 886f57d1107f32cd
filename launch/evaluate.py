"""Score predictions: a file of predictions and a file of truth in; a table and a JSON out.

Examples:
  python -m launch.evaluate --predictions=predicted/predictions.npz --truth=photos/annotations.json
  python -m launch.evaluate --predictions=fits/fits.npz --truth=truth.npz --out=scores
  python -m launch.evaluate --checkpoint=runs/dhpe --count=256 --out=scores

--checkpoint and --weights first predict held-out synthetic hands, write both files, and score those. docs/evaluate.md.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from absl import flags

from launch.command_line import ProgressBar, StagedOutput, exit_code_of, parse_flags, staged_output


def define_flags(values: flags.FlagValues) -> None:
    """Flags of the command."""
    string = functools.partial(flags.DEFINE_string, flag_values=values)
    integer = functools.partial(flags.DEFINE_integer, flag_values=values)
    string("predictions", None, "predictions.npz or fits.npz.")
    string("truth", None, ".npz with joints [N, 21, 3] metres (and vertices, K, mask), or an annotations JSON.")
    string("out", None, "Folder for scores.json; made if missing. Required with --checkpoint and --weights.")
    string("checkpoint", None, "A --workdir of launch.train: predict held-out synthetic hands first.")
    string("weights", None, "The same with weights, NAME.json.")
    integer("count", 256, "Held-out hands.", lower_bound=1)
    integer("refine", None, "Steps of test-time refinement (the configuration's, 50); 0 for none.", lower_bound=0)
    flags.DEFINE_bool("true_root_depth", False, "Held-out hands: give the depth of the root.", flag_values=values)
    integer("batch_size", 16, "Crops at once.", lower_bound=1)
    string("model", None, "Official MANO file in place of the open hand, for the mean hand and triangles.")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; 0, or 2 after one line on standard error."""
    return exit_code_of(lambda: run(parse_flags(sys.argv[1:] if argv is None else argv, str(__doc__), define_flags)))


def run(values: flags.FlagValues) -> None:
    """Predicts if asked to, reads, scores, prints, writes.

    Raises:
      ValueError, OSError: input or output is unusable; nothing is written then.
    """
    network = bool(values.checkpoint) + bool(values.weights)
    if network + bool(values.predictions) != 1:
        raise ValueError("give one of --predictions (with --truth), --checkpoint and --weights; see --help")
    if values.predictions and not values.truth:
        raise ValueError("--predictions needs --truth, see --help")
    if network and not values.out:
        raise ValueError("--out is required with --checkpoint and --weights: predictions are written there first")
    if network and values.truth:
        raise ValueError("--truth belongs to --predictions; held-out hands bring their own")
    with staged_output(values.out) if values.out else contextlib.nullcontext() as out:
        predictions, truth = values.predictions, values.truth
        about: dict[str, Any] = {}
        if network:
            assert out is not None
            predictions, truth, about = predict_held_out(out, values)
        content = scored(predictions, truth, values.model)
        print_table(content)
        if out is not None:
            from handpose_jax.evaluation.fit_output import write_json

            files = {"predictions": pathlib.Path(predictions).name, "truth": pathlib.Path(truth).name}
            write_json(out.path("scores.json"), _finite({**files, **about, **content}))
            print("wrote", ", ".join(str(path) for path in out.publish()))


def predict_held_out(out: StagedOutput, values: flags.FlagValues) -> tuple[str, str, dict[str, Any]]:
    """Writes `predictions.npz` and `truth.npz` of held-out hands; their paths, and what is to be said of them."""
    import numpy as np

    import mano_jax
    from handpose_jax.dhpe.weights import load_checkpoint, load_weights
    from handpose_jax.evaluation.held_out import held_out_hands, predicted_hands, training_of

    weights = load_weights(values.weights) if values.weights else load_checkpoint(values.checkpoint)
    training = training_of(weights)
    if values.refine is not None:
        refinement = dataclasses.replace(weights.options.refinement, steps=values.refine)
        weights = weights._replace(options=dataclasses.replace(weights.options, refinement=refinement))
    model = mano_jax.load(values.model) if values.model else mano_jax.open_hand("right")
    model = model if model.side == "right" else mano_jax.mirror_model(model)
    hands = held_out_hands(training, model, values.count, ProgressBar("held-out hands", long_from=64))
    progress = ProgressBar("predicting", long_from=64)
    arrays = predicted_hands(weights, model, hands, values.true_root_depth, values.batch_size, progress)
    names = ("joints", "vertices", "K", "mask", "pose", "shape", "rotation", "translation")
    for name, content in (("predictions", arrays), ("truth", {name: getattr(hands, name) for name in names})):
        with out.path(f"{name}.npz").open("wb") as file:
            np.savez_compressed(file, **content)  # pyright: ignore[reportArgumentType]
    about = {
        "network": weights.source,
        "refinement_steps": weights.options.refinement.steps,
        "root_depth": "given" if values.true_root_depth else "estimate",
        "held_out": {"seed": training.seed, "hands": values.count},
        "refinement_loss": {
            "start": float(arrays["losses"][:, 0].mean()),
            "end": float(arrays["losses"][:, -1].mean()),
        },
    }
    print(f"{values.count} held-out synthetic hands predicted with {weights.source}")
    return str(out.path("predictions.npz")), str(out.path("truth.npz")), about


def scored(predictions: str, truth: str, model: str | None) -> dict[str, Any]:
    """Scores and their definitions."""
    from handpose_jax.evaluation.scores import DEFINITIONS, THRESHOLDS_MM, all_scores, read_predictions, read_true_hands
    from launch.fit import load_models

    arrays = read_predictions(predictions)
    scores = all_scores(arrays, read_true_hands(truth, arrays), load_models(model))
    return {**scores, "pck_thresholds_mm": list(THRESHOLDS_MM), "definitions": DEFINITIONS}


def print_table(content: dict[str, Any]) -> None:
    """What matters, on standard output."""
    labels = {"predicted": "predicted", "mean_hand": "mean hand*"}
    kinds = [(label, content[name]) for name, label in labels.items() if name in content]
    left_out = content["hands_without_prediction"]
    print(f"{content['hands']} hands" + (f", {left_out} without a prediction" if left_out else ""))
    alignments = ("absolute", "root", "root_scale", "procrustes")
    print(f"{'':30s}" + "".join(f"{name:>12s}" for name in alignments))
    for label, scores in kinds:
        rows = [("joints, mm", scores["joints_mm"], ".1f"), ("AUC 20-50 mm", scores["auc"], ".3f")]
        if scores["vertices_mm"]:
            rows.insert(1, ("vertices, mm", scores["vertices_mm"], ".1f"))
        for what, numbers, form in rows:
            print(f"{label + ', ' + what:30s}" + "".join(f"{numbers[name]:12{form}}" for name in alignments))
    for label, scores in kinds:
        parts = [f"2D error {scores['joints_px']:.1f} px"] if scores["joints_px"] is not None else []
        if scores["segmentation"]:
            parts += [f"{name.replace('_', ' ')} {value:.3f}" for name, value in scores["segmentation"].items()]
        if parts:
            print(f"{label}: {', '.join(parts)}")
    if len(kinds) > 1:
        print("* mean pose and shape, wrist placed and turned as predicted: what knowing the fingers is worth")


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
