"""Train a system: a config file and a folder in; checkpoints, metrics and pictures out. Run it again to resume.

Examples:
  python -m launch.train --config=configs/dhpe.py --workdir=runs/dhpe
  python -m launch.train --config=configs/dhpe.py:runlocal --workdir=runs/try --config.optimizer.learning_rate=3e-4
  python -m launch.train --config=configs/dhpe.py --workdir=runs/mine --init=reference --config.seed=2
  python -m launch.train --config=configs/dhpe_paper.py --dry_run

Ctrl-C or SIGTERM saves and exits with 0. Fields, files, resuming: docs/training.md.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from absl import flags

from launch.command_line import exit_code_of, parse_flags, warn

# Heavy imports happen where they are used: --help and a mistyped flag answer at once.
if TYPE_CHECKING:
    from jax.sharding import Mesh

    from handpose_jax.training import System
    from mano_jax import HandModel

FREE = ("loop", "dhpe.refinement", "real.workers")
"""Sections of the config that may change when a run is resumed: how long, and what is done at test time only. Where
data sets lie, too."""


def define_flags(values: flags.FlagValues, argv: Sequence[str]) -> None:
    """Flags of the command; `argv` is searched for --config.FIELD=VALUE."""
    from ml_collections import config_flags

    config_flags.DEFINE_config_file(
        "config",
        help_string="Python file with get_config(), e.g. configs/dhpe.py or configs/dhpe.py:runlocal. Required.",
        flag_values=values,
        sys_argv=["command", *argv],
        # Every field of the dataclasses can be set, also those that the file leaves at their defaults; names are
        # checked when the dataclasses are made.
        accept_new_attributes=True,
        lock_config=False,
    )
    flags.DEFINE_string("workdir", None, "Folder of the run; made if missing, resumed if not.", flag_values=values)
    flags.DEFINE_string(
        "init", None, "Start from these weights: NAME.json of launch.export, or 'reference'.", flag_values=values
    )
    flags.DEFINE_string("model", None, "Official right-hand MANO file in place of the open hand.", flag_values=values)
    flags.DEFINE_bool(
        "dry_run", False, "Print shapes, parameters, FLOPs and memory; train nothing.", flag_values=values
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; 0 when trained or stopped by a signal, 2 after one line on standard error."""
    argv = sys.argv[1:] if argv is None else argv
    return exit_code_of(lambda: run(parsed(argv), argv))


def parsed(argv: Sequence[str]) -> flags.FlagValues:
    """Flags and config.

    Raises:
      ValueError: one line for everything that a user may have mistyped.
    """
    for argument in argv:
        if argument.startswith(("--config=", "-config=")):
            path = argument.split("=", 1)[1].split(":")[0]
            if not pathlib.Path(path).is_file():
                raise ValueError(f"--config={path}: no such file; there are configs/dhpe.py and configs/dhpe_paper.py")
    try:
        values = parse_flags(argv, str(__doc__), functools.partial(define_flags, argv=argv))
    except (AttributeError, KeyError, TypeError) as error:
        # Of ml_collections, where a section of an override is missing.
        found = re.search(r'Did you mean "(\w+)" instead of "(\w+)"', str(error))
        if found:
            raise ValueError(f"config.{found[2]} is no field; did you mean config.{found[1]}?") from None
        if "get_config" in str(error):
            raise ValueError("--config: the file must define get_config(variant), as configs/dhpe.py does") from None
        raise ValueError(f"--config: the file has no section {error}") from None
    except ValueError as error:
        # ml_collections hands on the traceback of a config file that fails; its last line says why.
        lines = [line for line in str(error).splitlines() if line.strip()]
        raise ValueError(f"{lines[0]} {lines[-1]}" if "Traceback" in str(error) else str(error)) from None
    if values.config is None:
        raise ValueError("--config is required, e.g. --config=configs/dhpe.py; see --help")
    if not values.dry_run and not values.workdir:
        raise ValueError("--workdir is required (but for --dry_run), see --help")
    return values


def run(values: flags.FlagValues, argv: Sequence[str]) -> None:
    """Trains, resumes, or describes.

    Raises:
      ValueError, OSError: what a user can put right; checkpoints that exist stay.
    """
    training, make_system = system_of(values.config.to_dict())
    import jax

    import mano_jax
    from handpose_jax.training import data_mesh

    model = mano_jax.load(values.model) if values.model else mano_jax.open_hand("right")
    workdir = pathlib.Path(values.workdir or ".")
    system = make_system(training, model, data_mesh(), workdir)
    if values.dry_run:
        from handpose_jax.training.dry_run import report

        print("\n".join(report(system)))
        return

    from handpose_jax.training import Checkpoints, MetricsWriter, starting_from, stop_on_signals, train
    from handpose_jax.training.workdir import claim_workdir, record_run

    name = pathlib.Path(values.model).name if values.model else "open hand"
    config = {"system": values.config.system, "model": name, **dataclasses.asdict(training)}
    if not training.real.used:
        del config["real"]  # It decides nothing then.
    variables = None
    if values.init:
        variables, config["init"] = initial_weights(values.init, training)
    folders = [f"real.sets.{name}.folder" for name in training.real.used]
    claim_workdir(workdir, config, (*FREE, *folders))
    with stop_on_signals() as stop, Checkpoints(workdir / "checkpoints", training.loop.keep_checkpoints) as checkpoints:
        resumed = checkpoints.latest_step
        if resumed is None:
            warn(f"training in {workdir} on {jax.device_count()} {jax.devices()[0].platform} device(s)")
            state = system.initial_state()
            if variables is not None:
                state = starting_from(state, variables)
        else:
            warn(f"resuming {workdir} from step {resumed} of {training.loop.steps}")
            state = checkpoints.restore(system.abstract_state())
        record_run(workdir, shlex.join(["python", "-m", "launch.train", *argv]), resumed or 0)
        with MetricsWriter(workdir, resumed or 0, echo=lambda line: print(line, flush=True)) as writer:
            state = train(
                state,
                system.train_step,
                system.source,
                training.loop,
                checkpoints,
                writer,
                system.images_per_step,
                system.hooks,
                stop,
            )
    step = int(state.step)
    if step < training.loop.steps:
        warn(f"stopped and saved at step {step} of {training.loop.steps}; the same command goes on from there")
    else:
        print(f"trained {step} steps; checkpoints, metrics and pictures are in {workdir}")


def initial_weights(path: str, training: Any) -> tuple[dict[str, Any], str]:
    """Parameters and statistics to start from, and how the run's config names them.

    Raises:
      ValueError, OSError: no such weights, or of other networks than the config's.
    """
    from handpose_jax.dhpe.weights import load_weights
    from handpose_jax.training.workdir import differences

    weights = load_weights(path)
    networks = [dataclasses.asdict(options) for options in (weights.options.networks, training.dhpe.networks)]
    found = differences(*networks)
    if found:
        raise ValueError(f"--init={path} is of other networks than the config's: {'; '.join(found)}")
    step = weights.notes.get("step")
    return weights.variables, f"{pathlib.Path(path).name}" + ("" if step is None else f", step {step}")


def system_of(config: Mapping[str, Any]) -> tuple[Any, Callable[[Any, HandModel, Mesh, pathlib.Path], System]]:
    """Options of the system that the config names, and what makes it ready to train.

    Raises:
      ValueError: no such system, or a field that it has not.
    """
    from handpose_jax.training.config_options import options_from

    chosen = dict(config)
    name = chosen.pop("system", None)
    if name == "dhpe":
        from handpose_jax.dhpe.training import DhpeTraining
        from handpose_jax.dhpe.training_system import dhpe_system

        return options_from(DhpeTraining, chosen), dhpe_system
    raise ValueError(f"config.system must be 'dhpe', got {name!r}")


if __name__ == "__main__":
    sys.exit(main())
