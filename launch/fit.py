"""Fit hands to 21 keypoints each: keypoints and a camera in, meshes, joints, parameters and pictures out.

Examples:
  python -m launch.fit --keypoints=batch.npz --out=fits
  python -m launch.fit --image=photo.jpg --keypoints=photo.json --out=fits --mesh=glb
  python -m launch.fit --keypoints=folder --out=fits --side=auto
  python -m launch.fit --keypoints=folder_of_frames --out=fits --sequence

All formats, fields, units and frames: docs/fit.md.
"""

from __future__ import annotations

import functools
import pathlib
import sys
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from absl import flags

from launch.command_line import (
    ProgressBar,
    StagedOutput,
    exit_code_of,
    parse_flags,
    staged_output,
    warn,
)

# Heavy imports (JAX, Pillow, trimesh) happen where they are used: --help and a mistyped flag answer at once.
if TYPE_CHECKING:
    import numpy as np

    from handpose_jax.data.keypoint_set import KeypointSet
    from handpose_jax.data.located_hands import ImageSource, LocatedHand
    from mano_jax import HandModel

MOST_PROBLEMS_SHOWN = 20


def define_flags(values: flags.FlagValues) -> None:
    """Flags of the command."""
    string = functools.partial(flags.DEFINE_string, flag_values=values)
    choice = functools.partial(flags.DEFINE_enum, flag_values=values)
    string("keypoints", None, "An .npz batch, a keypoint JSON, or a folder of them. Required.")
    string("out", None, "Folder for the results; made if missing. Required.")
    string("truth", None, ".npz with joints [N, 21, 3] in metres, or a JSON with joints_camera_m: prints the errors.")
    choice("side", None, ["left", "right", "auto"], "Overrides the file; auto tries both and keeps the cheaper fit.")
    choice("format", "auto", ["auto", "handpose", "mediapipe", "openpose", "coco_wholebody"], "Of a keypoint JSON.")
    string("field", None, "Keypoints to read in this project's files; a name ending in _m or _3d means 3D, metres.")
    flags.DEFINE_bool("project", False, "Project 3D keypoints through K and fit the image points.", flag_values=values)
    choice(
        "mediapipe_labels",
        "auto",
        ["auto", "mirrored", "subject"],
        "What MediaPipe's Left and Right mean: mirrored (selfie images; swapped), subject (taken as they are); auto: "
        "swapped in legacy results, both sides tried for others.",
    )
    string("image", None, "The one image to which the keypoints belong.")
    string("images", None, "Folder of the images that the keypoint file names; by default where that file lies.")
    string("K", None, "Camera fx,fy,cx,cy in pixels for all hands; overrides the file's.")
    flags.DEFINE_float(
        "fov",
        None,
        "Field of view across the image's longer side, degrees (60 by default), where no K and no EXIF data are found; "
        "the absolute scale is unknown then.",
        flag_values=values,
    )
    flags.DEFINE_float(
        "hand_length_mm",
        None,
        "Wrist to middle fingertip of the flat hand, mm, if known: fixes the size.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "sequence",
        False,
        "The hands are frames of one hand, in order: one shape, a temporal prior, gaps bridged; writes sequence.glb.",
        flag_values=values,
    )
    flags.DEFINE_float("frames_per_second", 30.0, "Of the sequence.", flag_values=values)
    string("model", None, "Official MANO file in place of the open hand; two, comma-separated, for both sides.")
    choice("mesh", None, ["glb", "obj", "ply"], "Also write a mesh file for every fitted hand.")
    flags.DEFINE_bool("overlays", True, "Draw a picture for every image that is found.", flag_values=values)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; 0 if any hand was fitted, 2 after one line on standard error if not."""
    return exit_code_of(lambda: run(parse_flags(sys.argv[1:] if argv is None else argv, str(__doc__), define_flags)))


def run(values: flags.FlagValues) -> None:
    """Reads, fits, writes.

    Raises:
      ValueError, OSError: no hand could be fitted, or the input or output is unusable; nothing is written then.
    """
    for name in ("keypoints", "out"):
        if not values[name].value:
            raise ValueError(f"--{name} is required, see --help")
    if values.hand_length_mm is not None and not 50.0 <= values.hand_length_mm <= 400.0:
        raise ValueError(f"--hand_length_mm must be millimetres between 50 and 400, got {values.hand_length_mm:g}")
    if not 0.1 <= values.frames_per_second <= 10_000.0:
        raise ValueError(f"--frames_per_second must be between 0.1 and 10000, got {values.frames_per_second:g}")
    with staged_output(values.out) as out:
        keypoints, images = read_input(values)
        hands = located(values, keypoints, images)
        truth = read_true_joints(values, hands)
        models = load_models(values.model)
        motion = None
        if values.sequence:
            arrays, problems, motion = fit_as_sequence(values, hands, models)
        else:
            arrays, problems = fit(values, hands, models)
        print_notes(values, keypoints, images, hands)
        metrics = None if truth is None else measured(arrays, truth)
        write_results(out, values, keypoints, hands, models, arrays, problems, metrics, motion)
        print_summary(values, keypoints, hands, arrays, metrics, motion)
        published = out.publish()
    kinds = Counter(path.relative_to(out.folder).parts[0] for path in published)
    print("wrote", ", ".join(f"{out.folder / name}" + (f"/ ({n} files)" if n > 1 else "") for name, n in kinds.items()))


def read_input(values: flags.FlagValues) -> tuple[KeypointSet, ImageSource]:
    """Keypoints of all hands, and where their images are to be found."""
    from handpose_jax.data.frames import frames_of_one_hand
    from handpose_jax.data.images import image_size
    from handpose_jax.data.keypoint_files import read_keypoints
    from handpose_jax.data.located_hands import ImageSource, hands_of_image

    path = pathlib.Path(values.keypoints)
    if values.image and values.images:
        raise ValueError("--image names one image, --images a folder of them: give one of the two")
    if values.images and not pathlib.Path(values.images).is_dir():
        raise ValueError(f"--images={values.images} is not a folder")
    image = pathlib.Path(values.image) if values.image else None
    if image is not None:
        image_size(image)  # a missing file, or one that is no image, ends the command before anything is computed
    folder = pathlib.Path(values.images) if values.images else path if path.is_dir() else path.parent
    images = ImageSource(image, folder)
    keypoints = read_keypoints(
        path, values.format, values.field, images.size_finder(), values.mediapipe_labels, keep_empty=values.sequence
    )
    if image is not None:
        keypoints = hands_of_image(keypoints, image, str(path))
    if values.project and not keypoints.is_3d:
        raise ValueError(
            f"{path}: --project needs 3D keypoints (--field=joints_camera_m, or keypoints_3d); these are 2D"
        )
    if values.K and any(hand.views is not None for hand in keypoints.hands):
        raise ValueError(f"{path}: --K is one camera for all, but these hands were seen by several; give K in the file")
    if values.sequence:
        keypoints = frames_of_one_hand(keypoints, values.side, str(path), project=values.project)
    return keypoints, images


def located(values: flags.FlagValues, keypoints: KeypointSet, images: ImageSource) -> list[LocatedHand]:
    """Every hand with its image, camera and side."""
    from handpose_jax.data.cameras import camera_from_field_of_view, camera_from_text
    from handpose_jax.data.located_hands import locate_hands

    if values.fov is not None:
        camera_from_field_of_view((1, 1), values.fov)  # checks the angle, used or not
    flag_camera = camera_from_text(values.K) if values.K else None
    return locate_hands(
        keypoints, images, values.keypoints, flag_camera, values.fov, values.side, project=values.project
    )


def print_notes(
    values: flags.FlagValues, keypoints: KeypointSet, images: ImageSource, hands: Sequence[LocatedHand]
) -> None:
    """What a user may not expect, on standard error; said once the fit has succeeded, so that an error stands alone."""
    names = keypoints.files_without_hand
    if names:
        warn(f"note: {len(names)} files hold no hand: {', '.join(names[:5])}{' ...' if len(names) > 5 else ''}")
    missing = sorted({str(hand.hand.image) for hand in hands if hand.hand.image and hand.image is None})
    if missing and values.overlays:
        warn(f"note: {len(missing)} images not found in {images.folder}, no overlay for them: {', '.join(missing[:5])}")
    if values.fov is not None and not any(hand.camera is not None and hand.camera.source == "fov" for hand in hands):
        warn("note: --fov was not used: every hand has a camera from --K, its file or EXIF data")


def read_true_joints(values: flags.FlagValues, hands: Sequence[LocatedHand]) -> np.ndarray | None:
    """True joints of every hand, if asked for."""
    from handpose_jax.data.keypoint_files import read_truth
    from handpose_jax.data.located_hands import truth_of_hands

    if not values.truth:
        return None
    names, joints = read_truth(values.truth)
    return truth_of_hands(hands, names, joints, values.truth)


def load_models(paths: str | None) -> dict[str, HandModel]:
    """Both sides: the open hand, or official files, the side that is not given being the mirror of the other."""
    import mano_jax

    if not paths:
        return {side: mano_jax.open_hand(side) for side in ("left", "right")}
    models: dict[str, HandModel] = {}
    for path in paths.split(","):
        model = mano_jax.load(path.strip())
        if model.side in models:
            raise ValueError(f"--model={paths}: both files are {model.side} hands; give one of each side, or one file")
        models[model.side] = model
    for side, other in (("left", "right"), ("right", "left")):
        if side not in models:
            models[side] = mano_jax.mirror_model(models[other])
    return models


def fit(
    values: flags.FlagValues, hands: Sequence[LocatedHand], models: dict[str, HandModel]
) -> tuple[dict[str, np.ndarray], dict[int, str]]:
    """Arrays of `fits.npz`, and why each row that is not valid could not be fitted.

    Raises:
      ValueError: none could.
    """
    problems = _known_problems(hands)
    from handpose_jax.evaluation.fit_report import scattered
    from handpose_jax.refinement import FitOptions, fit_hands
    from handpose_jax.refinement.located_batches import batch_of_hands

    rows = [row for row in range(len(hands)) if row not in problems]
    options = FitOptions(hand_length_mm=values.hand_length_mm)
    batch = batch_of_hands([hands[row] for row in rows])
    fits = fit_hands(models, batch, options=options, on_progress=ProgressBar("fitting"))
    problems.update({rows[row]: text for row, text in fits.problems.items()})
    arrays = scattered(fits, rows, len(hands), [hand.hand.side for hand in hands])
    _warn_of_problems(arrays, problems)
    return arrays, problems


def fit_as_sequence(
    values: flags.FlagValues, hands: Sequence[LocatedHand], models: dict[str, HandModel]
) -> tuple[dict[str, np.ndarray], dict[int, str], dict[str, Any]]:
    """As `fit`, of the frames of one hand, `bridged` among the arrays; and what `fits.json` says of the sequence.

    Raises:
      ValueError: no frame could be fitted.
    """
    problems = _known_problems(hands)
    from handpose_jax.evaluation.fit_report import scattered, sequence_report
    from handpose_jax.refinement import FitOptions, fit_sequence
    from handpose_jax.refinement.located_batches import batch_of_frames

    options = FitOptions(hand_length_mm=values.hand_length_mm)
    result = fit_sequence(models, batch_of_frames(hands), options, on_progress=ProgressBar("fitting"))
    fits = result.fits
    problems = fits.problems | {row: text for row, text in problems.items() if not fits.valid[row]}
    arrays = scattered(fits, range(len(hands)), len(hands), fits.side.tolist())
    arrays["bridged"] = result.bridged
    _warn_of_problems(arrays, problems)
    return arrays, problems, sequence_report(result, values.frames_per_second)


def _known_problems(hands: Sequence[LocatedHand]) -> dict[int, str]:
    """Rows that were read with a problem; a ValueError where all were."""
    problems = {row: hand.hand.problem for row, hand in enumerate(hands) if hand.hand.problem is not None}
    if len(problems) == len(hands):
        raise ValueError(_nothing_fitted(problems, len(hands)))
    return problems


def _warn_of_problems(arrays: dict[str, np.ndarray], problems: dict[int, str]) -> None:
    if not arrays["valid"].any():
        raise ValueError(_nothing_fitted(problems, len(arrays["valid"])))
    for row in sorted(problems)[:MOST_PROBLEMS_SHOWN]:
        warn(f"hand {row} not fitted: {problems[row]}")
    if len(problems) > MOST_PROBLEMS_SHOWN:
        warn(f"and {len(problems) - MOST_PROBLEMS_SHOWN} more hands not fitted")


def measured(arrays: dict[str, np.ndarray], truth: np.ndarray) -> dict[str, Any]:
    """Content of `metrics.json`."""
    from handpose_jax.evaluation.metrics import mean_joint_errors_mm

    errors = mean_joint_errors_mm(arrays["joints"], truth)
    return {
        "unit": "millimetres",
        "definition": "mean over the 21 joints of a frame, then over frames; root: wrist subtracted; root_scale: also "
        "scaled by the true / predicted wrist to middle MCP length; procrustes: rotation, translation and scale",
        **errors,
    }


def write_results(
    out: StagedOutput,
    values: flags.FlagValues,
    keypoints: KeypointSet,
    hands: Sequence[LocatedHand],
    models: dict[str, HandModel],
    arrays: dict[str, np.ndarray],
    problems: dict[int, str],
    metrics: dict[str, Any] | None,
    motion: dict[str, Any] | None = None,
) -> None:
    """All files."""
    from handpose_jax.evaluation.fit_output import write_animation, write_meshes, write_numbers, write_overlays
    from handpose_jax.evaluation.fit_report import report

    source = {
        "file": pathlib.Path(values.keypoints).name,
        "format": keypoints.format,
        "field": values.field,
        "projected": values.project,
    }
    model = "open hand" if not values.model else ", ".join(pathlib.Path(p).name for p in values.model.split(","))
    content = report(arrays, hands, problems, model, source, values.hand_length_mm)
    if motion is not None:
        content["sequence"] = motion
        write_animation(out.path, arrays, models, values.frames_per_second)
    write_numbers(out.path, arrays, content, metrics)
    if values.mesh:
        write_meshes(out.path, values.mesh, hands, arrays, models, ProgressBar("meshes", long_from=500))
    if values.overlays:
        write_overlays(out.path, hands, arrays, models, ProgressBar("overlays", long_from=100), warn)


def print_summary(
    values: flags.FlagValues,
    keypoints: KeypointSet,
    hands: Sequence[LocatedHand],
    arrays: dict[str, np.ndarray],
    metrics: dict[str, Any] | None,
    motion: dict[str, Any] | None,
) -> None:
    """What was found, on standard output."""
    import numpy as np

    valid = arrays["valid"]
    residuals = arrays["residual_px"][valid]
    residuals = residuals[np.isfinite(residuals)]
    median = f", median residual {np.median(residuals):.2f} px" if len(residuals) else ""
    print(f"{int(valid.sum())} of {len(hands)} hands fitted ({keypoints.format} keypoints){median}")
    tried = np.array([hand.hand.side == "auto" for hand in hands]) & valid
    if tried.any():
        found = {side: int(np.sum(arrays["side"][tried] == side)) for side in ("left", "right")}
        print(f"side found by trying both: {found['left']} left, {found['right']} right")
    if motion is not None:
        print(
            f"one sequence: {motion['bridged']} frames bridged, jitter {motion['jitter_before_mm']} -> "
            f"{motion['jitter_after_mm']} mm/frame^2 (mean acceleration of the joints)"
        )
    views = Counter(int(hand.hand.views.valid.sum()) for hand in hands if hand.hand.views is not None)
    for count, seen in sorted(views.items()):
        print(f"{seen} hands seen by {count} cameras")
    sources = Counter(hand.camera.description for hand in hands if hand.camera is not None)
    for description, count in sources.items():
        print(f"camera of {count} hands: {description}")
    guessed = [hand.camera for hand in hands if hand.camera is not None and not hand.camera.absolute_scale_known]
    if guessed:
        print(f"absolute scale unknown: {len(guessed)} focal lengths are guesses, and depth is in proportion to them")
    if metrics is not None:
        for name in ("absolute", "root", "root_scale", "procrustes"):
            print(f"{name:12s}{metrics[name]:8.2f} mm")
        left_out = metrics["frames_without_prediction"]
        print(f"over {metrics['frames']} hands" + (f"; {left_out} with truth were not fitted" if left_out else ""))


def _nothing_fitted(problems: dict[int, str], count: int) -> str:
    first = problems[min(problems)] if problems else "no reason known"
    return first if count == 1 else f"none of {count} hands can be fitted; the first: {first}"


if __name__ == "__main__":
    sys.exit(main())
