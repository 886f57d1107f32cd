"""Weights of a run as files to pass on: its newest averaged parameters, with config, origin and scores beside them.

Example:
  python -m launch.export --checkpoint=runs/dhpe --scores=scores/scores.json --out=weights/dhpe.json

Writes NAME.json and NAME.safetensors, which --weights of the other commands takes. docs/training.md.
"""

from __future__ import annotations

import functools
import json
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from absl import flags

from launch.command_line import exit_code_of, parse_flags


def define_flags(values: flags.FlagValues) -> None:
    """Flags of the command."""
    string = functools.partial(flags.DEFINE_string, flag_values=values)
    string("checkpoint", None, "A --workdir of launch.train. Required.")
    string("out", None, "NAME.json; its folder is made if missing. Required.")
    string("scores", None, "scores.json of launch.evaluate, to be kept with the weights.")
    flags.DEFINE_bool("half", True, "Store 16-bit floats: half the size.", flag_values=values)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; 0, or 2 after one line on standard error."""
    return exit_code_of(lambda: run(parse_flags(sys.argv[1:] if argv is None else argv, str(__doc__), define_flags)))


def run(values: flags.FlagValues) -> None:
    """Reads the run, writes the files.

    Raises:
      ValueError, OSError: the run cannot be read, or the files not be written.
    """
    if not values.checkpoint or not values.out:
        raise ValueError("--checkpoint and --out are required, see --help")
    scores = None
    if values.scores:
        scores = json.loads(pathlib.Path(values.scores).read_text(encoding="utf-8"))
        if not isinstance(scores, dict):
            raise ValueError(f"{values.scores}: expected scores.json of launch.evaluate")
    from handpose_jax.dhpe.weights import load_checkpoint, save_weights

    weights = load_checkpoint(values.checkpoint)
    notes = {**weights.notes, "runs": runs_of(pathlib.Path(values.checkpoint)), "scores": scores}
    files = save_weights(values.out, weights.variables, weights.options, notes, values.half)
    print(f"step {notes['step']} of {values.checkpoint}: wrote {', '.join(map(str, files))}")


def runs_of(workdir: pathlib.Path) -> list[dict[str, Any]]:
    """Commands, git revisions, versions and devices, as `launch.train` recorded them; none if it did not."""
    try:
        lines = (workdir / "runs.jsonl").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines if line.strip()]


if __name__ == "__main__":
    sys.exit(main())
