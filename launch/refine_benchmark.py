"""How fast test-time refinement is, and what it is worth: synthetic problems of known truth, solvers, batches, sizes.

Examples:
  python -m launch.refine_benchmark --out=refinement
  python -m launch.refine_benchmark --case=mask --batch=1,8,64 --image_size=64 --level=hard --out=refinement
  python -m launch.refine_benchmark --case=eq13 --batch=1 --out=refinement

Three cases, never mixed: `keypoints` (21 keypoints alone), `mask` (keypoints and a given mask), and `eq13` (the paper's
refinement complete: 2D joints, feature self-consistency through ResNet-50 at 224 pixels, Laplacian, the 2D refiner run
again; its weights are random, which changes no time). docs/refine_benchmark.md.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from absl import flags

from launch.command_line import StagedOutput, exit_code_of, parse_flags, require, staged_output

if TYPE_CHECKING:
    from handpose_jax.refinement.problems import ProblemOptions
    from mano_jax import HandModel

CASES = ("keypoints", "mask", "eq13")
PAPER_MS_AN_ITERATION = 5.0


def define_flags(values: flags.FlagValues) -> None:
    """Flags of the command."""
    string = functools.partial(flags.DEFINE_string, flag_values=values)
    integer = functools.partial(flags.DEFINE_integer, flag_values=values)
    flags.DEFINE_enum("case", "mask", CASES, "What is refined.", flag_values=values)
    flags.DEFINE_list("batch", None, "Batch sizes (mask: 1,8,32; keypoints: 1,32,1024; eq13: 1).", flag_values=values)
    integer("image_size", 224, "Edge of images and masks, pixels (mask).", lower_bound=32, upper_bound=1024)
    integer("iterations", 50, "Steps of each hand.", lower_bound=1, upper_bound=1000)
    string("level", "medium", "Difficulty: easy, medium, hard, or 'wrong masks'.")
    flags.DEFINE_list(
        "solvers",
        ["gauss_newton", "gradient_descent", "adam", "lbfgs"],
        "Compared on the same problems (mask); empty: none.",
        flag_values=values,
    )
    integer("problems", 32, "Problems of the comparison, and of the errors before and after.", lower_bound=1)
    integer("repeats", 3, "Runs of each program; the fastest counts.", lower_bound=1)
    integer("seed", 0, "Of the problems.", lower_bound=0)
    integer("devices", 1, "Share batches between so many devices (mask).", lower_bound=1)
    string("out", None, "Folder for refine_benchmark.json and plots; without it the figures are only printed.")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; 0, or 2 after one line on standard error."""
    return exit_code_of(lambda: run(parse_flags(sys.argv[1:] if argv is None else argv, str(__doc__), define_flags)))


def run(values: flags.FlagValues) -> None:
    """Measures, prints, writes.

    Raises:
      ValueError, OSError: a flag has no meaning, or the output is unusable.
    """
    if values.out:
        require("matplotlib", "the plots of --out")
        with staged_output(values.out) as out:
            measure(values, out)
            print("wrote", ", ".join(str(path) for path in out.publish()))
    else:
        measure(values, None)


def measure(values: flags.FlagValues, out: StagedOutput | None) -> None:
    """One case."""
    import mano_jax
    from handpose_jax.evaluation.hardware import hardware_line
    from handpose_jax.refinement.problems import LEVELS
    from handpose_jax.refinement.refinement_cases import SOLVERS

    if values.level not in LEVELS:
        raise ValueError(f"--level must be one of {', '.join(LEVELS)}, got {values.level!r}")
    unknown = [name for name in values.solvers if name not in SOLVERS]
    if unknown:
        raise ValueError(f"--solvers are {', '.join(SOLVERS)}, got {unknown[0]!r}")
    batches = read_batches(values)
    problem = dataclasses.replace(LEVELS[values.level], image_size=values.image_size)
    print(hardware_line())
    case = {"keypoints": measure_keypoints, "mask": measure_masks, "eq13": measure_eq13}[values.case]
    report = {
        "hardware": hardware_line(),
        "case": values.case,
        "iterations": values.iterations,
        "level": values.level,
        "problem": dataclasses.asdict(problem),
        "seed": values.seed,
        **case(values, mano_jax.open_hand("right"), batches, problem),
    }
    if out is not None:
        from handpose_jax.evaluation.fit_output import write_json
        from handpose_jax.evaluation.refinement_plots import convergence_picture, throughput_picture

        write_json(out.path("refine_benchmark.json"), report)
        out.path("throughput.png").write_bytes(throughput_picture(report))
        if report.get("convergence"):
            out.path("convergence.png").write_bytes(convergence_picture(report["convergence"]))


def read_batches(values: flags.FlagValues) -> list[int]:
    """Batch sizes of the flag, or those that suit the case.

    Raises:
      ValueError: one is not a whole number above 0.
    """
    default = {"keypoints": [1, 32, 1024], "mask": [1, 8, 32], "eq13": [1]}[values.case]
    try:
        batches = [int(text) for text in values.batch] if values.batch else default
    except ValueError:
        batches = [0]
    if min(batches) < 1:
        raise ValueError(f"--batch must be whole numbers above 0, as 1,8,64; got {','.join(values.batch)}")
    return batches


def measure_keypoints(
    values: flags.FlagValues, model: HandModel, batches: Sequence[int], problem: ProblemOptions
) -> dict[str, Any]:
    """`fit_hands`, from arrays to arrays, as `launch.fit` calls it; hands stop by themselves."""
    import numpy as np

    from handpose_jax.refinement import KeypointBatch, fit_hands
    from handpose_jax.refinement.refinement_cases import random_problems

    rows = []
    for batch in batches:
        problems = random_problems(values.seed, model, batch, problem)
        given = KeypointBatch(np.asarray(problems.keypoints), None, np.asarray(problems.K), ("right",) * batch)
        begin = time.perf_counter()
        fits = fit_hands({"right": model}, given)
        first_s, best = time.perf_counter() - begin, float("inf")
        for _ in range(values.repeats):
            begin = time.perf_counter()
            fits = fit_hands({"right": model}, given)
            best = min(best, time.perf_counter() - begin)
        off = fits.joints - fits.joints[:, :1] - np.asarray(problems.joints - problems.joints[:, :1])
        row = {
            "batch": batch,
            "compile_s": first_s - best,
            "ms_a_hand": 1e3 * best / batch,
            "hands_a_second": batch / best,
            "root_joint_mm": 1e3 * float(np.nanmean(np.linalg.norm(off, axis=-1))),
        }
        rows.append(row)
        print(
            f"batch {batch}: {row['hands_a_second']:.0f} hands a second, {row['ms_a_hand']:.2f} ms a hand; compiled in "
            f"{row['compile_s']:.1f} s; {row['root_joint_mm']:.1f} mm (joints, root-aligned)",
            flush=True,
        )
    return {"batches": rows}


def measure_masks(
    values: flags.FlagValues, model: HandModel, batches: Sequence[int], problem: ProblemOptions
) -> dict[str, Any]:
    """Time a batch, solvers side by side, and errors with true and wrong masks."""
    import jax

    from handpose_jax.refinement.image_batches import keypoint_starts
    from handpose_jax.refinement.problems import LEVELS
    from handpose_jax.refinement.refinement_cases import (
        before_and_after,
        convergence,
        mask_timing,
        options_of,
        random_problems,
        time_to_reach,
    )
    from handpose_jax.training.sharding import data_mesh

    options, rows = options_of(problem), []
    devices = data_mesh(jax.devices()[: values.devices]) if values.devices > 1 else None
    for batch in batches:
        problems = random_problems(values.seed, model, batch, problem)
        starts = keypoint_starts(model, problems.keypoints, problems.K, options)
        timing = mask_timing(model, problems, starts, options, values.iterations, values.repeats, devices=devices)
        row = timing_row(batch, timing, values.iterations)
        rows.append(row)
        print(
            f"batch {batch}: {row['ms_an_image']:.1f} ms an image for {values.iterations} iterations "
            f"({row['ms_an_iteration']:.2f} ms each), {row['images_a_second']:.1f} images a second; compiled in "
            f"{row['compile_s']:.1f} s; {row['temporaries_mib']:.1f} MiB of temporaries",
            flush=True,
        )
    errors = {}
    for level in dict.fromkeys((values.level, "wrong masks")):
        level_problem = dataclasses.replace(LEVELS[level], image_size=values.image_size)
        problems = random_problems(values.seed, model, values.problems, level_problem)
        errors[level] = before_and_after(model, problems, options)
        print_errors(level, errors[level])
    report: dict[str, Any] = {"batches": rows, "errors": errors}
    if values.solvers:
        problems = random_problems(values.seed, model, values.problems, problem)
        starts = keypoint_starts(model, problems.keypoints, problems.K, options)
        found = convergence(model, problems, starts, options, values.iterations, tuple(values.solvers), values.repeats)
        report["convergence"] = found
        for name, path in found.items():
            size = f", step size {path['step_size']:g}" if path["step_size"] else ""
            print(
                f"{name}{size}: mean cost {path['mean_cost'][0]:.2f} -> {path['mean_cost'][-1]:.2f} in "
                f"{values.iterations} steps of {path['ms_a_step']:.2f} ms a hand"
            )
        if "gradient_descent" in found:
            target = found["gradient_descent"]["mean_cost"][-1]
            whole = values.iterations * found["gradient_descent"]["ms_a_step"]
            for name in found:
                steps, needed = time_to_reach(found[name], target)
                if name != "gradient_descent" and needed is not None:
                    print(
                        f"{name} is at gradient descent's cost of {target:.2f} after {steps} steps: {needed:.1f} ms a "
                        f"hand, {needed / whole:.2f} of its {whole:.1f} ms"
                    )
    return report


def timing_row(batch: int, timing: Any, iterations: int) -> dict[str, float]:
    """Figures of one batch."""
    return {
        "batch": batch,
        "compile_s": timing.compile_s,
        "ms_an_image": 1e3 * timing.run_s / batch,
        "ms_an_iteration": 1e3 * timing.run_s / batch / iterations,
        "images_a_second": batch / timing.run_s,
        "temporaries_mib": timing.temporaries_mib,
    }


def print_errors(level: str, errors: dict[str, dict[str, float]]) -> None:
    """Two lines."""
    before, after = errors["keypoints"], errors["keypoints and masks"]
    change = 100.0 * (after["root_vertex_mm"] / before["root_vertex_mm"] - 1.0)
    print(
        f"{level} (masks of IoU {errors['masks']['iou_given_true']:.3f} with the truth): vertices, root-aligned, "
        f"{before['root_vertex_mm']:.2f} -> {after['root_vertex_mm']:.2f} mm ({change:+.0f} %), IoU "
        f"{before['iou']:.3f} -> {after['iou']:.3f}",
        flush=True,
    )


def measure_eq13(
    values: flags.FlagValues, model: HandModel, batches: Sequence[int], problem: ProblemOptions
) -> dict[str, Any]:
    """The paper's refinement beside what it cannot do without: F forward and its gradient by the input."""
    from handpose_jax.dhpe.refinement_timing import time_eq13

    rows = []
    for batch in batches:
        row = time_eq13(model, batch, values.iterations, values.repeats, values.seed)
        rows.append(row)
        print(
            f"batch {batch}: {row['ms_an_image']:.0f} ms an image for {values.iterations} iterations "
            f"({row['ms_an_iteration']:.1f} ms each; the paper states {PAPER_MS_AN_ITERATION:g} ms on its GPU, for "
            f"whatever it counts); {values.iterations} times ResNet-50 forward and input gradient alone take "
            f"{row['bound_ms_an_image']:.0f} ms: {row['ms_an_image'] / row['bound_ms_an_image']:.2f} times that",
            flush=True,
        )
    return {"batches": rows}


if __name__ == "__main__":
    sys.exit(main())
