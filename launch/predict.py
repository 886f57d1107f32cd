"""Predict hands from photographs: image files or folders in; meshes, joints, parameters and pictures out.

Examples:
  python -m launch.predict photo.jpg --box=120,80,200,260 --side=right --out=predicted
  python -m launch.predict photos/ --annotations=photos/annotations.json --checkpoint=runs/dhpe --out=predicted
  python -m launch.predict crop.png --K=480,480,128,128 --hand_length_mm=185 --refine=0 --out=predicted

Without --weights and --checkpoint the reference weights are used: small networks that saw synthetic hands only.
All flags, fields, units and frames: docs/predict.md.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import pathlib
import sys
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from absl import flags

from launch.command_line import ProgressBar, StagedOutput, exit_code_of, one_line, parse_arguments, staged_output, warn

# Heavy imports happen where they are used: --help and a mistyped flag answer at once.
if TYPE_CHECKING:
    import numpy as np

    from handpose_jax.dhpe.prediction import CropPredictions
    from handpose_jax.dhpe.prediction_input import HandToPredict
    from handpose_jax.dhpe.weights import Weights
    from mano_jax import HandModel

MOST_PROBLEMS_SHOWN = 20


def define_flags(values: flags.FlagValues) -> None:
    """Flags of the command; images are given beside them."""
    string = functools.partial(flags.DEFINE_string, flag_values=values)
    integer = functools.partial(flags.DEFINE_integer, flag_values=values)
    string("out", None, "Folder for the results; made if missing. Required.")
    string("weights", None, "NAME.json of launch.export; without it and --checkpoint the reference weights.")
    string("checkpoint", None, "A --workdir of launch.train: its newest averaged weights.")
    string("box", None, "x,y,w,h of the tight box around the hand, pixels; without, the whole image shows one hand.")
    flags.DEFINE_enum(
        "side",
        None,
        ["left", "right", "auto"],
        "Overrides the annotations; auto, also if unknown: as it looks.",
        values,
    )
    string("K", None, "Camera fx,fy,cx,cy in pixels for all images; overrides the file's.")
    flags.DEFINE_float(
        "fov", None, "Field of view across the longer side, degrees (60), where no K and no EXIF.", flag_values=values
    )
    string("annotations", None, "JSON with K, side and box (or keypoints) of many images.")
    string("field", None, "Keypoints of the annotations around which boxes are put.")
    integer("refine", None, "Steps of test-time refinement (the configuration's, 50); 0 for none.", lower_bound=0)
    flags.DEFINE_bool("fit", None, "Then fit in perspective (or as the configuration says).", flag_values=values)
    string("root_depth", None, "Depth of the middle finger's MCP: metres, or 'truth' from the annotations.")
    flags.DEFINE_float(
        "hand_length_mm", None, "Wrist to middle fingertip of the flat hand, mm: fixes the size.", flag_values=values
    )
    string("model", None, "Official MANO file in place of the open hand; a left one is mirrored.")
    flags.DEFINE_enum("mesh", None, ["glb", "obj", "ply"], "Also write a mesh file for every hand.", values)
    flags.DEFINE_bool("overlays", True, "Draw a picture for every image.", flag_values=values)
    integer("panels", 60, "Evidence panels and refinement strips of so many hands at most.", lower_bound=0)
    integer("batch_size", 16, "Crops at once.", lower_bound=1)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; 0 if any hand was predicted, 2 after one line on standard error if not."""
    argv = list(sys.argv[1:] if argv is None else argv)
    return exit_code_of(lambda: run(*parsed(argv)))


def parsed(argv: Sequence[str]) -> tuple[flags.FlagValues, list[str]]:
    """Flags, and the images that stand between them.

    Raises:
      ValueError: a flag is mistyped, or one that is needed is missing.
    """
    values, images = parse_arguments(argv, str(__doc__), define_flags)
    if not values.out:
        raise ValueError("--out is required, see --help")
    if not images and not values.annotations:
        raise ValueError("name an image, a folder of images, or --annotations=FILE; see --help")
    if values.box and values.annotations:
        raise ValueError("--box is for one image, --annotations brings its own boxes: give one of the two")
    if values.field and not values.annotations:
        raise ValueError("--field names keypoints of --annotations, which is missing")
    if values.hand_length_mm is not None and not 50.0 <= values.hand_length_mm <= 400.0:
        raise ValueError(f"--hand_length_mm must be millimetres between 50 and 400, got {values.hand_length_mm:g}")
    if values.hand_length_mm is not None and values.root_depth:
        raise ValueError("--root_depth and --hand_length_mm both fix the distance: give one of the two")
    return values, images


def run(values: flags.FlagValues, images: Sequence[str]) -> None:
    """Reads, predicts, refines, writes.

    Raises:
      ValueError, OSError: no hand could be predicted, or input or output is unusable; nothing is written then.
    """
    with staged_output(values.out) as out:
        hands = read_hands(values, images)
        depth = depth_of(values, hands)
        weights = read_weights(values)
        arrays, predictions = predict(out, values, hands, weights, depth)
        print_summary(arrays, hands, weights, depth[0], predictions)
        published = out.publish()
    kinds = Counter(path.relative_to(out.folder).parts[0] for path in published)
    print("wrote", ", ".join(f"{out.folder / name}" + (f"/ ({n} files)" if n > 1 else "") for name, n in kinds.items()))


def read_hands(values: flags.FlagValues, images: Sequence[str]) -> list[HandToPredict]:
    """All hands; what is wrong with one of several is its problem, with the only one an error."""
    from handpose_jax.data.cameras import camera_from_field_of_view, camera_from_text
    from handpose_jax.dhpe.prediction_input import checked_box, hands_of_annotations, hands_of_images, image_files

    if values.fov is not None:
        camera_from_field_of_view((1, 1), values.fov)  # checks the angle, used or not
    camera = camera_from_text(values.K) if values.K else None
    files = image_files(images)
    if values.annotations:
        path = pathlib.Path(values.annotations)
        folder = files[0].parent if files else path.parent
        hands = hands_of_annotations(path, files, folder, values.field, camera, values.fov)
    else:
        box = checked_box(values.box.split(","), "--box") if values.box else None
        if box is not None and len(files) > 1:
            raise ValueError(f"--box is of one image, got {len(files)}; name the boxes of many in --annotations")
        hands = hands_of_images(files, box, camera, values.fov)
    if values.side:
        hands = [_with_side(hand, values.side) for hand in hands]
    return hands


def _with_side(hand: HandToPredict, side: str) -> HandToPredict:
    located = hand.located
    return dataclasses.replace(
        hand, located=dataclasses.replace(located, hand=dataclasses.replace(located.hand, side=side))
    )


def depth_of(values: flags.FlagValues, hands: Sequence[HandToPredict]) -> tuple[str, np.ndarray | None]:
    """Source of the depth, and its value for each hand."""
    import numpy as np

    from handpose_jax.dhpe.normalisation import ESTIMATE, GIVEN, HAND_LENGTH

    if values.hand_length_mm is not None:
        return HAND_LENGTH, np.full(len(hands), values.hand_length_mm / 1000.0)
    if not values.root_depth:
        return ESTIMATE, None
    if values.root_depth == "truth":
        if any(hand.true_root_depth is None for hand in hands):
            raise ValueError("--root_depth=truth needs --annotations with joints_camera_m of every photo")
        return GIVEN, np.array([hand.true_root_depth for hand in hands], np.float64)
    try:
        depth = float(values.root_depth)
    except ValueError:
        depth = math.nan
    if not 0.01 <= depth <= 100.0:
        raise ValueError(f"--root_depth must be metres between 0.01 and 100, or 'truth', got {values.root_depth!r}")
    return GIVEN, np.full(len(hands), depth)


def read_weights(values: flags.FlagValues) -> Weights:
    """Weights with the number of refinement steps that was asked for."""
    if values.weights and values.checkpoint:
        raise ValueError("--weights and --checkpoint both name a network: give one of the two")
    from handpose_jax.dhpe.weights import REFERENCE, load_checkpoint, load_weights, refined_as

    weights = load_checkpoint(values.checkpoint) if values.checkpoint else load_weights(values.weights or REFERENCE)
    return refined_as(weights, values.refine, values.fit)


def predict(
    out: StagedOutput,
    values: flags.FlagValues,
    hands: Sequence[HandToPredict],
    weights: Weights,
    depth: tuple[str, np.ndarray | None],
) -> tuple[dict[str, np.ndarray], CropPredictions]:
    """All files; returns the arrays of `predictions.npz`, and the predictions of the hands that are valid there."""
    import numpy as np

    import mano_jax
    from handpose_jax.dhpe.perspective_fit import located_hands
    from handpose_jax.dhpe.photograph_prediction import predict_photographs
    from handpose_jax.evaluation.prediction_output import prediction_arrays, prediction_report

    right = right_model(values.model)
    models = {"right": right, "left": mano_jax.mirror_model(right)}
    progress, batch_size = ProgressBar("predicting", long_from=100), min(values.batch_size, len(hands))
    found = predict_photographs(weights, right, hands, batch_size, values.panels, progress)
    predictions, rows, chosen_sides, crops, panels, errors = found
    problems = {row: one_line(error) for row, error in errors.items()}
    sides = ["left" if hand.located.hand.side == "left" else "right" for hand in hands]
    for row, side in zip(rows, chosen_sides, strict=True):
        sides[row] = side
    cameras = np.stack([_camera(hands[row]) for row in rows])
    source, given = depth
    chosen = None if given is None else given[rows]
    placed = located_hands(weights, right, predictions, crops, cameras, source, chosen)
    arrays = prediction_arrays(placed, predictions, hands, rows, crops, cameras, sides)

    steps = predictions.steps
    refinement: dict[int, dict[str, Any]] = {
        row: {"iterations": list(steps), "loss": [float(f"{loss:.6g}") for loss in predictions.losses[index]]}
        for index, row in enumerate(rows)
        if np.isfinite(predictions.losses[index]).all()
    }
    about = {
        "weights": weights.source,
        "model": "open hand" if not values.model else pathlib.Path(values.model).name,
        "refinement_steps": weights.options.refinement.steps,
    }
    sources = [source if given is None or np.isfinite(given[row]) else "estimate" for row in range(len(hands))]
    content = prediction_report(arrays, hands, problems, about, sources, refinement)
    write_results(out, values, hands, arrays, content, models)
    draw_panels(out, values, predictions, rows, crops, panels, hands, weights, models)
    for row in sorted(problems)[:MOST_PROBLEMS_SHOWN]:
        warn(f"hand {row} not predicted: {problems[row]}")
    if len(problems) > MOST_PROBLEMS_SHOWN:
        warn(f"and {len(problems) - MOST_PROBLEMS_SHOWN} more hands not predicted")
    return arrays, predictions


def right_model(path: str | None) -> HandModel:
    """The open hand, or an official file, mirrored if it is a left one."""
    import mano_jax

    if not path:
        return mano_jax.open_hand("right")
    model = mano_jax.load(path)
    return model if model.side == "right" else mano_jax.mirror_model(model)


def _camera(hand: HandToPredict) -> np.ndarray:
    assert hand.located.camera is not None
    return hand.located.camera.matrix


def write_results(
    out: StagedOutput,
    values: flags.FlagValues,
    hands: Sequence[HandToPredict],
    arrays: dict[str, np.ndarray],
    content: dict[str, Any],
    models: dict[str, HandModel],
) -> None:
    """Numbers, meshes and overlays; in the overlays the keypoints are the network's 2D joints."""
    import numpy as np

    from handpose_jax.evaluation.fit_output import write_json, write_meshes, write_overlays

    with out.path("predictions.npz").open("wb") as file:
        np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]
    write_json(out.path("predictions.json"), content)
    shown = []
    for row, hand in enumerate(hands):
        seen = np.full((21, 3), np.nan)
        if arrays["valid"][row]:
            seen = np.concatenate([arrays["joints_2d_px"][row], np.ones((21, 1))], axis=1)
        keypoints = dataclasses.replace(hand.located.hand, keypoints=seen, keypoints_3d=None)
        shown.append(dataclasses.replace(hand.located, hand=keypoints))
    if values.mesh:
        write_meshes(out.path, values.mesh, shown, arrays, models, ProgressBar("meshes", long_from=500))
    if values.overlays:
        write_overlays(out.path, shown, arrays, models, ProgressBar("overlays", long_from=100), warn)


def draw_panels(
    out: StagedOutput,
    values: flags.FlagValues,
    predictions: CropPredictions,
    rows: Sequence[int],
    crops: Sequence[Any],
    panels: Sequence[np.ndarray],
    hands: Sequence[HandToPredict],
    weights: Weights,
    models: dict[str, HandModel],
) -> None:
    """`evidence/` and `refinement/` of the first hands."""
    if not panels:
        return
    import numpy as np

    from handpose_jax.dhpe.prediction import ndc_vertices
    from handpose_jax.evaluation.fit_output import file_names
    from handpose_jax.evaluation.prediction_output import write_evidence

    names = file_names([hand.located for hand in hands])
    meshes = np.asarray(ndc_vertices(models["right"], predictions.history[: len(panels)], weights.options))

    def save(name: str, picture: Any) -> None:
        if isinstance(picture, bytes):
            out.path(name).write_bytes(picture)
        else:
            picture.save(out.path(name), optimize=True)

    progress = ProgressBar("panels", long_from=100)
    for index, crop in enumerate(panels):
        mirrored = bool(crops[index].mirrored)
        name, faces = names[rows[index]], models["right"].faces
        write_evidence(save, name, crop, predictions, index, meshes[index], faces, mirrored)
        progress(index + 1, len(panels))


def print_summary(
    arrays: dict[str, np.ndarray],
    hands: Sequence[HandToPredict],
    weights: Weights,
    depth_source: str,
    predictions: CropPredictions,
) -> None:
    """What was found, on standard output."""
    import numpy as np

    valid = arrays["valid"]
    print(f"{int(valid.sum())} of {len(hands)} hands predicted with {weights.source}")
    used = [hand for hand, good in zip(hands, valid, strict=True) if good]
    for description, count in Counter(str(h.located.camera and h.located.camera.description) for h in used).items():
        print(f"camera of {count} hands: {description}")
    whole = sum(hand.box is None for hand in used)
    if whole:
        print(f"no box for {whole} hands: the whole image is taken as the crop around one hand")
    what = {
        "given": "as given",
        "hand length": "from the hand's length",
        "estimate": "estimated from the model's own size: one image does not show how large a hand is",
    }[depth_source]
    print(f"depth {what}; median {np.median(arrays['root_depth'][valid]):.3f} m to the middle finger's MCP")
    steps = weights.options.refinement.steps
    if steps:
        before, after = np.median(predictions.losses[:, 0]), np.median(predictions.losses[:, -1])
        fell = int(np.sum(predictions.losses[:, -1] < predictions.losses[:, 0]))
        print(f"refined {steps} steps: median loss {before:.4g} -> {after:.4g}, lower for {fell} of {len(used)} hands")
    print(f"median distance of the mesh's joints from the 2D ones {np.median(arrays['residual_px'][valid]):.1f} px")
    unknown = arrays["side"][valid][[hand.located.hand.side == "auto" for hand in used]]
    if len(unknown):
        left = int(np.sum(unknown == "left"))
        print(f"side of {len(unknown)} hands not known: seen as {left} left and {len(unknown) - left} right")


if __name__ == "__main__":
    sys.exit(main())
