"""The folder of a run: which config it was made with, and who ran what when."""

import datetime
import json
import os
import pathlib
import platform
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax

CONFIG = "config.json"
RUNS = "runs.jsonl"


def claim_workdir(folder: pathlib.Path, config: Mapping[str, Any], free: Sequence[str]) -> None:
    """Makes the folder and records the config in it; of a folder that has one, checks that it is the same.

    Args:
      folder: of the run.
      config: nested, of JSON's types.
      free: sections ("loop", "dhpe.refinement") and fields that may differ from what is recorded; the newest is
        recorded then.

    Raises:
      ValueError: the folder's config differs in what is not free: each difference is named. Nothing is changed.
      OSError: the folder cannot be made or written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / CONFIG
    config = json.loads(json.dumps(config))
    if path.exists():
        try:
            recorded = json.loads(path.read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise ValueError(f"{path} is not JSON ({error}); restore it, or use another --workdir") from None
        freely = tuple(f"{name}{end}" for name in free for end in ".:")
        found = [line for line in differences(recorded, config) if not line.startswith(freely)]
        if found:
            raise ValueError(
                f"{folder} holds a run of another config: {'; '.join(found)}; use that config or another --workdir"
            )
        if recorded == config:
            return
    beside = path.with_suffix(".unfinished")
    beside.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    os.replace(beside, path)


def differences(recorded: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """'section.name: recorded -> now', for every field that differs."""
    before, after = dict(_flat(recorded)), dict(_flat(config))
    absent = "absent"
    return [
        f"{name}: {before.get(name, absent)} -> {after.get(name, absent)}"
        for name in sorted(before.keys() | after.keys())
        if before.get(name, absent) != after.get(name, absent)
    ]


def record_run(folder: pathlib.Path, command: str, step: int) -> None:
    """Adds a line to `runs.jsonl`: when, the command, the step it starts from, revision, versions, devices."""
    import flax
    import jaxlib
    import optax

    device = jax.devices()[0]
    line = {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": command,
        "from_step": step,
        "git_revision": git_revision(),
        "versions": {
            "python": platform.python_version(),
            **{module.__name__: module.__version__ for module in (jax, jaxlib, flax, optax)},
        },
        "devices": f"{jax.device_count()} x {device.device_kind} ({device.platform})",
        "processor": f"{os.cpu_count()} cores, {platform.machine()}",
    }
    with (folder / RUNS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def git_revision() -> str | None:
    """Of the checkout that this file lies in, with '+' if tracked files were changed; None outside of one."""
    root = pathlib.Path(__file__).parents[2]
    try:
        run = [
            subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, timeout=10, check=True).stdout
            for words in (("rev-parse", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
        ]
    except (OSError, subprocess.SubprocessError):
        return None
    return run[0].strip() + ("+" if run[1].strip() else "")


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
