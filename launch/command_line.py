"""What every command shares: flags, one-line errors with exit code 2, outputs that appear whole, progress bars."""

from __future__ import annotations

import contextlib
import importlib
import os
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence

from absl import flags

EXIT_FAILURE = 2
EXIT_INTERRUPTED = 130


def parse_flags(argv: Sequence[str], description: str, define: Callable[[flags.FlagValues], None]) -> flags.FlagValues:
    """`parse_arguments` of a command that is given everything by flags."""
    values, rest = parse_arguments(argv, description, define)
    if rest:
        raise ValueError(f"unexpected argument {rest[0]!r}; everything is given by flags, see --help")
    return values


def parse_arguments(
    argv: Sequence[str], description: str, define: Callable[[flags.FlagValues], None]
) -> tuple[flags.FlagValues, list[str]]:
    """Flags of one command, in a set of their own, so that commands can be called as functions, again and again.

    `--help` prints the description and every flag and exits with 0. An unknown flag, a bad value or a missing required
    flag raises a ValueError.

    Args:
      argv: the arguments, without the program's name.
      description: what the command does.
      define: defines the flags in the set it is given.

    Returns:
      The flags, and what stands between them, in order.
    """
    values = flags.FlagValues()
    values.set_gnu_getopt()
    define(values)
    if any(argument in ("--help", "-h", "-help", "--helpfull") for argument in argv):
        print(description.strip() + "\n\nFlags:" + values.get_help())
        raise SystemExit(0)
    try:
        rest = values(["command", *argv])
    except flags.Error as error:
        raise ValueError(str(error).replace("FATAL Flags parsing error: ", "")) from None
    return values, rest[1:]


def exit_code_of(command: Callable[[], None]) -> int:
    """Runs a command: 0, or 2 after one line on standard error for what a user can put right.

    Those are ValueError and OSError; anything else is a fault of the program and leaves its traceback.
    """
    try:
        command()
    except (ValueError, OSError) as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return EXIT_FAILURE
    except KeyboardInterrupt:
        print("interrupted: nothing was written", file=sys.stderr)
        return EXIT_INTERRUPTED
    return 0


def one_line(error: BaseException) -> str:
    """An exception's message on one line; an OSError as 'path: what'."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def require(module: str, purpose: str) -> None:
    """Called before any work, so that nobody waits for an hour to be told that a package is missing.

    Raises:
      ValueError: the module cannot be imported; it says how to install it.
    """
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise ValueError(f"{purpose} need {module} ({error}): pip install {module}") from None


def warn(text: str) -> None:
    """One line on standard error."""
    print(" ".join(text.split()), file=sys.stderr, flush=True)


class StagedOutput:
    """Files on their way to a folder: written beside, then moved into place together by `publish`."""

    def __init__(self, folder: pathlib.Path, staging: pathlib.Path):
        self.folder = folder
        self._staging = staging

    def path(self, name: str) -> pathlib.Path:
        """Where to write the file that will be `folder / name`."""
        path = self._staging / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def publish(self) -> list[pathlib.Path]:
        """Move everything into the folder; files of the same names are replaced, others left. Their final paths."""
        published = []
        for source in sorted(path for path in self._staging.rglob("*") if path.is_file()):
            target = self.folder / source.relative_to(self._staging)
            target.parent.mkdir(parents=True, exist_ok=True)
            source.replace(target)
            published.append(target)
        return published


@contextlib.contextmanager
def staged_output(folder: str | pathlib.Path) -> Iterator[StagedOutput]:
    """An output folder, made if missing; if the block fails nothing is left in it, nor the folder if it was made here.

    Raises:
      OSError: the folder cannot be made or written, before the block begins.
    """
    folder = pathlib.Path(folder)
    missing = next((parent for parent in reversed([folder, *folder.parents]) if not parent.exists()), None)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        staging = pathlib.Path(tempfile.mkdtemp(prefix=".unfinished-", dir=folder))
    except OSError as error:
        if missing is not None:
            _remove_empty_folders(missing)
        raise OSError(f"--out={folder} cannot be written ({error.strerror or error})") from None
    done = False
    try:
        yield StagedOutput(folder, staging)
        done = True
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        if not done and missing is not None:
            _remove_empty_folders(missing)


def _remove_empty_folders(root: pathlib.Path) -> None:
    """Remove a tree of folders that hold no file; stops where one does."""
    for folder, _, _ in os.walk(root, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(folder)


class ProgressBar:
    """A bar on standard error, on a terminal only; elsewhere, for long work, a line at every tenth."""

    def __init__(self, label: str, long_from: int = 2000):
        self._label = label
        self._long_from = long_from
        self._terminal = sys.stderr.isatty()
        self._shown = -1

    def __call__(self, done: int, total: int) -> None:
        if total <= 0:
            return
        if self._terminal:
            share = int(100 * done / total)
            if share != self._shown:
                bar = "█" * (share * 30 // 100)
                end = "\n" if done >= total else ""
                print(f"\r{self._label} {bar:<30} {done}/{total}", end=end, file=sys.stderr, flush=True)
                self._shown = share
        elif total >= self._long_from:
            share = int(10 * done / total)
            if share > self._shown:
                warn(f"{self._label}: {done}/{total}")
                self._shown = share
