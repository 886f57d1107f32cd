"""Time of the hand function: `python -m benchmarks.hand_model [--rounds=N] [--out=FILE]`.

Microseconds a hand of `mano_jax.forward`, alone and with the gradient of the sum of squared coordinates by pose, shape,
rotation and translation, float32, after compilation; beside smplx where it is installed (extra `peers`), on the same
model, poses and machine. Rounds of all programs are interleaved and the fastest round counts. `keypoints` is the path
that skips the mesh. `temporaries` is what the compiled program with the gradient needs beside its arguments and
results, as the compiler states it.
"""

import argparse
import importlib.util
import pathlib
import tempfile
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

import mano_jax
from benchmarks.hardware import hardware_line, write_json

BATCHES = (1, 32, 256, 2048)
SIZES = (45, 10, 3, 3)


def parameters(batch: int) -> tuple[np.ndarray, ...]:
    """Pose, shape, rotation, translation of random hands."""
    random = np.random.default_rng(0)
    return tuple((0.3 * random.normal(size=(batch, size))).astype(np.float32) for size in SIZES)


def squared_vertices(model, *arguments) -> jax.Array:
    return jnp.sum(mano_jax.forward(model, *arguments).vertices ** 2)


def squared_keypoints(model, *arguments) -> jax.Array:
    return jnp.sum(mano_jax.keypoints(model, *arguments) ** 2)


def own_programs(model: mano_jax.HandModel, batch: int) -> dict[str, Callable[[], object]]:
    arguments = tuple(jnp.asarray(array) for array in parameters(batch))
    functions = {
        "forward": mano_jax.forward,
        "forward + gradient": jax.value_and_grad(squared_vertices, argnums=(1, 2, 3, 4)),
        "keypoints": mano_jax.keypoints,
        "keypoints + gradient": jax.value_and_grad(squared_keypoints, argnums=(1, 2, 3, 4)),
    }

    def program(function) -> Callable[[], object]:
        compiled = jax.jit(function)
        return lambda: jax.block_until_ready(compiled(model, *arguments))

    return {name: program(function) for name, function in functions.items()}


def temporaries(model: mano_jax.HandModel, batch: int) -> float:
    """MiB that the gradient's program needs for itself."""
    gradient = jax.jit(jax.value_and_grad(squared_vertices, argnums=(1, 2, 3, 4)))
    analysis = gradient.lower(model, *parameters(batch)).compile().memory_analysis()
    return analysis.temp_size_in_bytes / 2**20 if analysis else float("nan")


def peer_programs(model: mano_jax.HandModel, batch: int) -> dict[str, Callable[[], object]]:
    """The same of smplx, on a file of the same model."""
    import smplx  # pyright: ignore[reportMissingImports]
    import torch  # pyright: ignore[reportMissingImports]

    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "MANO_RIGHT.pkl"
        mano_jax.save_mano(model, path)
        layer = smplx.MANO(str(path), is_rhand=True, use_pca=False, flat_hand_mean=True, batch_size=batch)
    names = ("hand_pose", "betas", "global_orient", "transl")
    arguments = {name: torch.tensor(array) for name, array in zip(names, parameters(batch), strict=True)}
    leaves = {name: array.clone().requires_grad_() for name, array in arguments.items()}

    def forward() -> None:
        with torch.no_grad():
            layer(**arguments)

    def gradient() -> None:
        for leaf in leaves.values():
            leaf.grad = None
        (layer(**leaves).vertices ** 2).sum().backward()

    return {"smplx forward": forward, "smplx forward + gradient": gradient}


def fastest(programs: dict[str, Callable[[], object]], rounds: int, budget: float) -> dict[str, float]:
    """Seconds a call, the least over interleaved rounds; a round lasts `budget` seconds or one call."""
    calls, best = {}, {}
    for name, program in programs.items():
        program()
        start = time.perf_counter()
        program()
        calls[name] = max(1, int(budget / (time.perf_counter() - start)))
        best[name] = float("inf")
    for _ in range(rounds):
        for name, program in programs.items():
            start = time.perf_counter()
            for _ in range(calls[name]):
                program()
            best[name] = min(best[name], (time.perf_counter() - start) / calls[name])
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="rounds of every program, interleaved")
    parser.add_argument("--budget", type=float, default=0.05, help="seconds of one program in one round")
    parser.add_argument("--batches", type=lambda text: tuple(map(int, text.split(","))), default=BATCHES)
    parser.add_argument("--out", type=pathlib.Path, help="JSON file for the numbers")
    options = parser.parse_args()
    model = mano_jax.open_hand("right")
    peers = all(importlib.util.find_spec(name) for name in ("smplx", "torch"))
    report: dict = {"unit": "microseconds a hand, fastest round", "batches": {}}
    print(hardware_line(), "" if peers else "(smplx is not installed: extra `peers`)", sep="\n")
    for batch in options.batches:
        programs = own_programs(model, batch) | (peer_programs(model, batch) if peers else {})
        seconds = fastest(programs, options.rounds, options.budget)
        row = {name: round(1e6 * value / batch, 2) for name, value in seconds.items()}
        row["temporaries with gradient, MiB"] = round(temporaries(model, batch), 1)
        report["batches"][str(batch)] = row
        print(f"\nbatch {batch}")
        for name, value in row.items():
            ratio = f"   smplx / this {row[f'smplx {name}'] / value:.1f}" if f"smplx {name}" in row else ""
            print(f"  {name:<32}{value:>10.2f}{ratio}")
    if options.out:
        write_json(options.out, report)


if __name__ == "__main__":
    main()
