"""What a training step would cost: counted from shapes and from the compiled program, without running it."""

from typing import Any

import jax
import numpy as np

from handpose_jax.training.state import TrainState
from handpose_jax.training.system import System


def parameter_counts(params: Any) -> dict[str, int]:
    """Numbers in each top-level part of the parameters."""
    return {name: sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(part)) for name, part in params.items()}


def shape_lines(tree: Any) -> list[str]:
    """'path: type[shape]' of every array."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return [
        f"{jax.tree_util.keystr(path, simple=True, separator='/')}: {leaf.dtype}[{', '.join(map(str, leaf.shape))}]"
        for path, leaf in leaves
    ]


def report(system: System) -> list[str]:
    """Lines for the terminal: shapes, parameters, FLOPs and memory of one step. Compiles the step."""
    state: TrainState = system.abstract_state()
    counts = parameter_counts(state.params)
    lines = ["batch", *(f"  {line}" for line in shape_lines(system.abstract_batch()))]
    lines += ["parameters"]
    lines += [f"  {line}" for line in shape_lines(state.params)]
    lines += [f"  {name}: {count:,}" for name, count in counts.items()]
    lines += [f"  in all: {sum(counts.values()):,} ({_bytes(state.params)} of {_bytes(state)} of state)"]
    compiled = system.lower().compile()
    cost: Any = compiled.cost_analysis() or {}
    cost = cost[0] if isinstance(cost, list) else cost
    memory = compiled.memory_analysis()
    devices = jax.device_count()
    lines += [f"one step of {system.images_per_step} images on {devices} {jax.devices()[0].platform} device(s)"]
    lines += [f"  FLOPs a device: {_count(cost.get('flops'))} (loops of the mask's rasterizer counted once)"]
    if memory is not None:
        for name in ("argument", "output", "temp", "alias"):
            lines.append(f"  {name} memory a device: {getattr(memory, f'{name}_size_in_bytes') / 2**20:,.1f} MiB")
    return lines


def _count(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3e}"


def _bytes(tree: Any) -> str:
    total = sum(int(np.prod(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
    return f"{total / 2**20:,.1f} MiB"
