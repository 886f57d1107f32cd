"""Checkpoints by Orbax: written beside and renamed, the newest kept, restored onto any number of devices."""

import contextlib
import logging
import pathlib
from collections.abc import Iterator
from typing import Any, Self

import jax
import jax.numpy as jnp

from handpose_jax.training.state import TrainState


class Checkpoints:
    """A folder of states, one subfolder a step.

    Args:
      folder: made if missing.
      keep: how many of the newest stay.
    """

    def __init__(self, folder: pathlib.Path, keep: int = 3):
        # Imported here: it takes half a second, and a dry run needs none of it.
        from orbax.checkpoint import v1 as ocp

        self.folder = folder.resolve()
        newest: Any = ocp.training.preservation_policies.LatestN(keep)
        self._checkpointer = ocp.training.Checkpointer(
            str(self.folder),
            preservation_policy=newest,
            # What a killed run was writing.
            cleanup_tmp_directories=True,
        )

    @property
    def latest_step(self) -> int | None:
        """Of the newest checkpoint, or None."""
        latest = self._checkpointer.latest
        return None if latest is None else latest.step

    def save(self, step: int, state: TrainState) -> None:
        """Starts to write a state in the background, after the one before; a step that is there already is left.

        Raises:
          OSError, ValueError: the one before could not be written.
        """
        self.wait()
        if self.latest_step == step:
            return
        # A copy: the state is donated to the next step while its numbers are still on the way to the file.
        self._checkpointer.save_async(step, jax.tree.map(jnp.copy, state), force=True)

    def wait(self) -> None:
        """Until what was saved is in its place."""
        self._checkpointer.wait()

    def restore(self, abstract: TrainState) -> TrainState:
        """The newest state.

        Args:
          abstract: shapes, types and shardings it is to have (`jax.ShapeDtypeStruct`); the devices may be others than
            those it was saved from.

        Raises:
          FileNotFoundError: there is none.
          ValueError: it cannot be read, or is of another network. Nothing is deleted.
        """
        self.wait()
        step = self.latest_step
        if step is None:
            raise FileNotFoundError(f"{self.folder} holds no checkpoint")
        try:
            with _without_logs():
                saved = self._checkpointer.metadata(step).metadata
                # None: the metadata is damaged, and loading says how.
                problem = None if saved is None else _difference(saved, abstract)
                state: Any = None if problem else self._checkpointer.load(step, abstract)
        except Exception as error:  # Orbax raises what its parts raise: of the file system, of JSON, of TensorStore.
            what = f"cannot be read, its files are damaged or missing ({type(error).__name__})"
            raise ValueError(self._unreadable(step, what)) from error
        if problem:
            raise ValueError(self._unreadable(step, f"is of another network: {problem}"))
        return state

    def _unreadable(self, step: int, what: str) -> str:
        others = sorted(one.step for one in self._checkpointer.checkpoints if one.step < step)
        advice = f"move it away to go on from step {others[-1]}" if others else "it is the only one"
        return f"checkpoint {self.folder / str(step)} {what}; {advice}"

    def close(self) -> None:
        self._checkpointer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


@contextlib.contextmanager
def _without_logs() -> Iterator[None]:
    """Orbax and asyncio log pages about a damaged file before they raise; the exception has it all."""
    loggers = [logging.getLogger(name) for name in ("absl", "asyncio")]
    before = [logger.disabled for logger in loggers]
    for logger in loggers:
        logger.disabled = True
    try:
        yield
    finally:
        for logger, disabled in zip(loggers, before, strict=True):
            logger.disabled = disabled


def _difference(saved: Any, abstract: TrainState) -> str | None:
    """The first leaf that is missing or of another shape, in words."""
    theirs = {_name(path): tuple(leaf.shape) for path, leaf in jax.tree_util.tree_flatten_with_path(saved)[0]}
    ours = {_name(path): tuple(leaf.shape) for path, leaf in jax.tree_util.tree_flatten_with_path(abstract)[0]}
    for name in sorted(theirs.keys() | ours.keys()):
        if theirs.get(name) != ours.get(name):
            return f"{name} has shape {theirs.get(name, 'none')} in the file and {ours.get(name, 'none')} in the config"
    return None


def _name(path: Any) -> str:
    """Orbax gives sequences and dataclasses back as dicts or lists: only the names count."""
    parts = (str(getattr(key, "key", getattr(key, "idx", getattr(key, "name", key)))) for key in path)
    return "/".join(parts)
