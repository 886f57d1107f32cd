"""What a sequence is worth: `python -m benchmarks.sequences [--out=FILE]`.

Synthetic sequences of known truth: poses drift smoothly through the open model's own statistics (up to 1.2 Hz at 30
frames a second), the wrist turns and moves; one shape a sequence; keypoints noisy by 2 % of the hand's box, each frame
anew. A sixth of the keypoints and one gap of eight frames are missing. Errors in millimetres, mean over frames in which
a hand was seen, joints and sequences; jitter is the mean length of the joints' second differences.
"""

import argparse
import pathlib
import time

import numpy as np

import mano_jax
from benchmarks.hardware import hardware_line, write_json
from handpose_jax.evaluation.metrics import mean_joint_errors_mm
from handpose_jax.refinement import FitOptions, KeypointBatch, SequenceOptions, fit_hands, fit_sequence
from handpose_jax.refinement.sequences import mean_accelerations
from mano_jax import anatomy

CAMERA = np.array([[600.0, 0.0, 320.0], [0.0, 600.0, 240.0], [0.0, 0.0, 1.0]])
FRAMES, RATE, HIGHEST = 64, 30.0, 1.2
GAP = slice(30, 38)


def drift(random: np.random.Generator, columns: int, scale: np.ndarray | float) -> np.ndarray:
    """[FRAMES, columns]: smooth, of about the standard deviation `scale`."""
    frequency = random.uniform(0.1, HIGHEST, (6, 1, columns))
    phase = random.uniform(0.0, 2.0 * np.pi, (6, 1, columns))
    waves = np.sin(2.0 * np.pi * frequency * np.arange(FRAMES)[:, None] / RATE + phase)
    return waves.sum(0) / np.sqrt(3.0) * scale


def sequence(model: mano_jax.HandModel, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """True joints [FRAMES, 21, 3] and keypoints [FRAMES, 21, 3] (u px, v px, confidence)."""
    random = np.random.default_rng(seed)
    coefficients = drift(random, 45, np.asarray(model.pose_standard_deviations))
    pose = anatomy.clip_to_limits(model, mano_jax.pose_from_coefficients(model, coefficients.astype(np.float32)))
    shape = np.tile(np.clip(random.normal(size=10), -2.0, 2.0), (FRAMES, 1))
    axis = random.normal(size=3)
    rotation = axis / np.linalg.norm(axis) * random.uniform(0.0, np.pi) + drift(random, 3, 0.3)
    translation = random.uniform([-0.05, -0.05, 0.45], [0.05, 0.05, 0.7]) + drift(random, 3, 0.04)
    joints = np.asarray(mano_jax.keypoints(model, pose, shape, rotation, translation))
    image = joints @ CAMERA.T
    pixels = image[..., :2] / image[..., 2:]
    box = (pixels.max(1) - pixels.min(1)).max(1)
    pixels = pixels + 0.02 * box[:, None, None] * random.normal(size=pixels.shape)
    confidence = (random.random((FRAMES, 21, 1)) > 1.0 / 6.0).astype(np.float64)
    confidence[GAP] = 0.0
    return joints, np.concatenate([pixels, confidence], axis=-1).astype(np.float32)


def scores(tracks: list[np.ndarray], truths: list[np.ndarray], rows: np.ndarray) -> dict[str, float]:
    """Mean errors of some frames of all sequences, and jitter of those in a row."""
    errors = [mean_joint_errors_mm(track[rows], truth[rows]) for track, truth in zip(tracks, truths, strict=True)]
    mean = {name: float(np.mean([error[name] for error in errors])) for name in ("absolute", "root", "procrustes")}
    return mean | {"jitter": 1e3 * float(np.mean([mean_accelerations(track[: GAP.start])[0] for track in tracks]))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, help="also write the numbers as JSON")
    parser.add_argument("--sequences", type=int, default=6)
    arguments = parser.parse_args()
    print(hardware_line())
    model = mano_jax.open_hand("right")
    truths, points = zip(*(sequence(model, seed) for seed in range(arguments.sequences)), strict=True)
    batches = [KeypointBatch(p, None, np.tile(CAMERA, (FRAMES, 1, 1)), ("right",) * FRAMES) for p in points]
    gap = np.arange(FRAMES)[GAP]
    seen = np.setdiff1d(np.arange(FRAMES), gap)
    results = {"the truth": {"jitter": scores(list(truths), list(truths), seen)["jitter"]}}
    alone = [fit_hands({"right": model}, batch, FitOptions()).joints for batch in batches]
    results["frame by frame"] = scores(alone, list(truths), seen)
    cases = {
        "one shape, no temporal prior": SequenceOptions(motion_sigma=1.0),
        "one shape, position prior": SequenceOptions(prior="position"),
        "one shape, velocity prior": SequenceOptions(prior="velocity"),
    }
    for name, options in cases.items():
        fits = [fit_sequence({"right": model}, batch, FitOptions(), options) for batch in batches]
        results[name] = scores([fit.fits.joints for fit in fits], list(truths), seen)
        results[name]["gap, absolute"] = scores([fit.fits.joints for fit in fits], list(truths), gap)["absolute"]
        results[name]["motion sigma"] = float(np.mean([fit.motion_sigma for fit in fits]))
        begin = time.perf_counter()
        fit_sequence({"right": model}, batches[0], FitOptions(), options)
        results[name]["ms a frame"] = 1e3 * (time.perf_counter() - begin) / FRAMES
    for name, row in results.items():
        print(f"{name:32}" + "".join(f"{key} {value:8.3g}  " for key, value in row.items()))
    if arguments.out:
        write_json(arguments.out, {"unit": "mm, mm/frame^2", "sequences": arguments.sequences, "results": results})


if __name__ == "__main__":
    main()
