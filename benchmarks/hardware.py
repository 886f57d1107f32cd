"""How benchmarks write what they measured, the hardware line before the numbers."""

import json
import pathlib

from handpose_jax.evaluation.hardware import hardware_line as hardware_line


def write_json(path: pathlib.Path, numbers: dict) -> None:
    """The numbers with the hardware line before them; written beside, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(path.suffix + ".part")
    beside.write_text(json.dumps({"hardware": hardware_line(), **numbers}, indent=1) + "\n")
    beside.replace(path)
