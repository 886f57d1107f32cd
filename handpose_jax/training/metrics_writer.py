"""Metrics as lines of JSON, always, and as TensorBoard events where tensorboardX is installed."""

import json
import math
import os
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any, Self

FILE = "metrics.jsonl"
EVENTS = "tensorboard"


class MetricsWriter:
    """Appends to `metrics.jsonl`, one line a call: step, seconds since the epoch, metrics (null if not finite).

    Lines after the step that a run is resumed from are taken out first: they are about to be written again.

    Args:
      folder: exists.
      step: that the run starts or is resumed from.
      echo: also gets each line, shortened for a reader.
    """

    def __init__(self, folder: pathlib.Path, step: int = 0, echo: Callable[[str], object] | None = None):
        self._echo = echo
        self._path = folder / FILE
        drop_lines_after(self._path, step)
        self._file = self._path.open("a", encoding="utf-8")
        self._events = _event_writer(folder / EVENTS, step)

    def write(self, step: int, metrics: Mapping[str, float | int]) -> None:
        """One line, flushed: a program that reads along sees it at once."""
        values = {name: _json_number(value) for name, value in metrics.items()}
        self._file.write(json.dumps({"step": step, "time": round(time.time(), 3), **values}) + "\n")
        self._file.flush()
        if self._echo is not None:
            shown = (f"{name} {value:.4g}" for name, value in values.items() if value is not None)
            self._echo(f"step {step}: {', '.join(shown)}")
        if self._events is not None:
            for name, value in values.items():
                if value is not None:
                    self._events.add_scalar(name, value, step)

    def close(self) -> None:
        self._file.close()
        if self._events is not None:
            self._events.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def read_metrics(path: pathlib.Path) -> list[dict[str, Any]]:
    """The lines of a `metrics.jsonl`, in order; a last line cut short by a crash is left out."""
    if not path.exists():
        return []
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            continue
    return lines


def drop_lines_after(path: pathlib.Path, step: int) -> None:
    """Rewrites a `metrics.jsonl` without lines of later steps; written beside, then renamed."""
    if not path.exists():
        return
    kept = [line for line in read_metrics(path) if line["step"] <= step]
    beside = path.with_suffix(".unfinished")
    beside.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
    os.replace(beside, path)


def _json_number(value: float | int) -> float | int | None:
    """JSON has no NaN."""
    return value if isinstance(value, int) else float(value) if math.isfinite(value) else None


def _event_writer(folder: pathlib.Path, step: int) -> Any:
    """TensorBoard's writer, or None where the library is missing: JSON lines hold the same."""
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=step)
