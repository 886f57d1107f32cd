"""Data sets: what a folder holds, records for training from it, and synthetic images in a set's own format.

Examples:
  python -m launch.data check RHD_published_v2 --out=checked
  python -m launch.data check STB --split=evaluation --option=view=SK_color
  python -m launch.data prepare RHD_published_v2 --out=records/rhd --skip_bad
  python -m launch.data synth --set=rhd --count=64 --out=made

check reads all annotations and decodes all pictures; with --out it draws a contact sheet of each split. prepare writes
one file of annotations and some of pictures a split, which launch.train reads as it does the set's own folder.
docs/data_command.md.
"""

from __future__ import annotations

import functools
import pathlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from absl import flags

from launch.command_line import ProgressBar, exit_code_of, parse_arguments, staged_output, warn

# Heavy imports happen where they are used: --help and a mistyped flag answer at once.
if TYPE_CHECKING:
    from handpose_jax.data.examples import HandExamples

COMMANDS = ("check", "prepare", "synth")


def define_flags(values: flags.FlagValues) -> None:
    """Flags of the command."""
    string = functools.partial(flags.DEFINE_string, flag_values=values)
    boolean = functools.partial(flags.DEFINE_bool, flag_values=values)
    integer = functools.partial(flags.DEFINE_integer, flag_values=values)
    string("out", None, "Folder that is written to; made if missing. Required but for check.")
    string("split", None, "check, prepare: only this split. synth: 'training' or 'evaluation'.")
    flags.DEFINE_multi_string(
        "option", [], "NAME=VALUE of the set's reader, see docs/data_sets.md.", flag_values=values
    )
    boolean("skip_bad", False, "Leave out what cannot be read, and count it, in place of stopping there.")
    boolean("pictures", True, "check: decode every picture.")
    integer("sheet", 12, "check: hands on a contact sheet.", lower_bound=1)
    string("set", "rhd", "synth: whose format, 'rhd' or 'freihand'.")
    integer("count", 16, "synth: how many pictures.", lower_bound=1)
    integer("seed", 0, "synth: decides everything.", lower_bound=0)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; 0, or 2 after one line on standard error."""
    return exit_code_of(
        lambda: run(*parse_arguments(sys.argv[1:] if argv is None else argv, str(__doc__), define_flags))
    )


def run(values: flags.FlagValues, arguments: Sequence[str]) -> None:
    """Does what the first argument says.

    Raises:
      ValueError, OSError: what a user can put right; nothing is written then.
    """
    if not arguments or arguments[0] not in COMMANDS:
        given = f", not {arguments[0]!r}" if arguments else ""
        raise ValueError(f"say what to do: {', '.join(COMMANDS)}{given}; see --help")
    command, *paths = arguments
    if command != "check" and not values.out:
        raise ValueError(f"{command} needs --out, a folder to write to")
    if command == "synth":
        if paths:
            raise ValueError(f"unexpected argument {paths[0]!r}: synth reads nothing, see --help")
        return synthesise(values)
    if len(paths) != 1:
        raise ValueError(f"{command} takes one folder, got {len(paths)}; see --help")
    return (check if command == "check" else prepare)(values, paths[0])


def check(values: flags.FlagValues, folder: str) -> None:
    """Says what a folder holds; draws contact sheets if there is a place for them."""
    from handpose_jax.data.set_report import contact_sheet_of, summary, without_unreadable

    sheets = {}
    for examples in _splits(values, folder):
        if values.pictures:
            examples = without_unreadable(examples, values.skip_bad, ProgressBar(f"reading {examples.split}"))
        print("\n".join(summary(examples)), flush=True)
        if values.out and len(examples):
            sheets[f"{examples.name}_{examples.split}.png"] = contact_sheet_of(examples, values.sheet)
    if sheets:
        with staged_output(values.out) as out:
            for name, sheet in sheets.items():
                sheet.save(out.path(name))
            print("wrote", ", ".join(str(path) for path in out.publish()))


def prepare(values: flags.FlagValues, folder: str) -> None:
    """Writes records of each split."""
    from handpose_jax.data.contents import checked_content
    from handpose_jax.data.records import write_records

    with staged_output(values.out) as out:
        counts = []
        for examples in _splits(values, folder):
            left = write_records(
                examples,
                out.path(examples.split).parent,
                checked_content,
                values.skip_bad,
                ProgressBar(f"writing {examples.split}"),
            )
            skipped = f", {len(left.skipped):,} left out" if left.skipped else ""
            counts.append(f"{examples.split}: {len(left):,} hands{skipped}")
            for line in left.skipped[:3]:
                warn(f"left out: {line}")
        out.publish()
    print(f"wrote {'; '.join(counts)} to {values.out}")


def synthesise(values: flags.FlagValues) -> None:
    """Writes synthetic images in a set's format."""
    from handpose_jax.data.synthetic_sets import WRITERS

    split = values.split or "training"
    if values.set not in WRITERS:
        raise ValueError(f"--set must be one of {', '.join(WRITERS)}, got {values.set!r}")
    if split not in ("training", "evaluation"):
        raise ValueError(f"--split must be 'training' or 'evaluation', got {split!r}")
    import mano_jax

    with staged_output(values.out) as out:
        WRITERS[values.set](out.path, mano_jax.open_hand("right"), values.count, values.seed, split)
        written = out.publish()
    print(f"wrote {values.count} pictures of {split} in {len(written)} files to {values.out}")


def _splits(values: flags.FlagValues, folder: str) -> list[HandExamples]:
    """The splits in a folder, as its set's reader or `prepare` left them; says what the folder is."""
    from handpose_jax.data.records import read_records, splits_of_records
    from handpose_jax.data.set_report import options_of, read_split, splits_to_read
    from handpose_jax.data.sets import recognise

    options = options_of(values.option)
    recorded = splits_of_records(folder)
    if recorded:
        if options:
            raise ValueError("--option: records were prepared with the reader's options, and have none")
        chosen = recorded if values.split is None else [values.split]
        print(f"{folder}: records of {', '.join(recorded)}")
        return [read_records(folder, split) for split in chosen]
    found = recognise(pathlib.Path(folder))
    print(f"{found.root}: {found.title}")
    print(f"  there: {_few(found.present)}")
    if found.missing:
        print(f"  missing: {_few(found.missing)}")
    for archive in found.archives:
        print(f"  an archive: {archive}")
    return [read_split(found, split, options, values.skip_bad) for split in splits_to_read(found, values.split)]


def _few(names: Sequence[str], most: int = 12) -> str:
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown or "nothing"


if __name__ == "__main__":
    sys.exit(main())
