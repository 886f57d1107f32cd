"""Time and memory of soft silhouettes: `python -m benchmarks.silhouette [--out=FILE] [--plot=FILE]`.

The open hand (1,538 faces) over a third of 224x224 pixels, sigma 1.25 px². Milliseconds an image, forward and forward +
gradient of the sum, one image and a batch of 8: the fastest of interleaved rounds, in brackets the median, then the
least time of all threads together, which other programs on the machine change less. Temporaries are what the compiled
program says it allocates besides its arguments and results. Beside them "C++" is a loop that this benchmark compiles
with g++ (benchmarks/silhouette_peer.cpp: blur-dilated clipped boxes, closed-form gradient, -O3 -march=native
-ffast-math -fopenmp, two threads); its pictures and gradients are compared with ours first.

`--plot` draws time against pixels, faces and batch.
"""

import argparse
import ctypes
import functools
import os
import pathlib
import shutil
import subprocess
import tempfile
import time

# Read by the OpenMP runtime when it starts; waiting threads that spin would slow down whoever is measured next.
os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import jax
import jax.numpy as jnp
import numpy as np

import render_jax
from benchmarks.hardware import hardware_line, write_json
from benchmarks.render_hard_pass import scene

SIZE, SIGMA, BATCH = 224, 1.25, 8


class Peer:
    """The C++ loop, compiled for this machine."""

    def __init__(self, folder: str):
        library = pathlib.Path(folder) / "libsilhouette_peer.so"
        source = pathlib.Path(__file__).with_name("silhouette_peer.cpp")
        flags = ["-O3", "-march=native", "-ffast-math", "-fopenmp", "-shared", "-fPIC"]
        subprocess.run(["g++", *flags, str(source), "-o", str(library)], check=True)
        self._library = ctypes.CDLL(str(library))

    def function(self, vertices: np.ndarray, faces: np.ndarray, size: int, backward: bool):
        """A function without arguments -> (alpha, gradient or None)."""
        vertices = np.ascontiguousarray(vertices, np.float32)
        faces = np.ascontiguousarray(faces, np.int32)
        batch, count, _ = vertices.shape
        alpha = np.zeros((batch, size, size), np.float32)
        ones, gradient = np.ones_like(alpha), np.zeros_like(vertices)

        def pointer(array):
            return array.ctypes.data_as(ctypes.c_void_p)

        arguments = (pointer(vertices), pointer(faces), batch, count, len(faces), size, size, ctypes.c_float(SIGMA))

        def run():
            self._library.silhouette_forward(*arguments, pointer(alpha))
            if backward:
                self._library.silhouette_backward(*arguments, pointer(alpha), pointer(ones), pointer(gradient))
            return alpha, gradient

        return run


def interleaved(functions: dict, rounds: int, patience: float = 4.0) -> dict[str, dict[str, float]]:
    """Fastest and median milliseconds of each function, measured in turns so that all see the same machine.

    "processor" is the least time of all its threads together: other programs on the machine hardly change it.
    """
    times: dict[str, list[float]] = {name: [] for name in functions}
    processor = dict.fromkeys(functions, float("inf"))
    for function in functions.values():
        jax.block_until_ready(function())
    for _ in range(rounds):
        for name, function in functions.items():
            if len(times[name]) >= 3 and sum(times[name]) > 1e3 * patience:
                continue
            # The first call after another program's finds cold caches: not counted.
            jax.block_until_ready(function())
            start, start_of_threads = time.perf_counter(), time.process_time()
            jax.block_until_ready(function())
            times[name].append(1e3 * (time.perf_counter() - start))
            processor[name] = min(processor[name], 1e3 * (time.process_time() - start_of_threads))
    return {
        name: {"fastest": min(values), "median": float(np.median(values)), "processor": processor[name]}
        for name, values in times.items()
    }


def hands(size: int, batch: int) -> tuple[jax.Array, np.ndarray]:
    """Screen vertices of the open hand, moved a little from image to image, and faces."""
    vertices, faces, camera = scene(size)
    shift = jnp.linspace(0, 3, batch)[:, None, None] * jnp.array([[[1.0, 1.0, 0.0]]])
    return camera.to_screen(vertices)[None] + shift, faces


def programs(vertices: jax.Array, faces: np.ndarray, size: int, **options) -> tuple:
    """Compiled forward and forward + gradient; of one image without `vmap`, of more with."""

    def draw(vertices):
        return render_jax.soft_silhouette(vertices, faces, (size, size), SIGMA, **options)

    def value(vertices):
        alpha = draw(vertices)
        return alpha.sum(), alpha

    both = jax.value_and_grad(value, has_aux=True)
    functions = (draw, both) if len(vertices) == 1 else (jax.vmap(draw), jax.vmap(both))
    argument = vertices[0] if len(vertices) == 1 else vertices
    compiled = [jax.jit(function).lower(argument).compile() for function in functions]
    return argument, *compiled


def table(rounds: int) -> dict:
    """Everything of the table, by name, batch and pass."""
    results: dict = {}
    with tempfile.TemporaryDirectory() as folder:
        peer = Peer(folder) if shutil.which("g++") else None
        for batch in (1, BATCH):
            vertices, faces = hands(SIZE, batch)
            functions, memory = {}, {}
            variants = {"windows": {}, "outline": {"mode": "outline"}}
            if batch == 1:
                variants |= {"tiles": {"backend": "tiles"}, "dense": {"backend": "dense"}}
            for name, options in variants.items():
                argument, forward, both = programs(vertices, faces, SIZE, **options)
                functions[f"{name} forward"] = functools.partial(forward, argument)
                functions[f"{name} gradient"] = functools.partial(both, argument)
                for kind, program in (("forward", forward), ("gradient", both)):
                    memory[f"{name} {kind}"] = program.memory_analysis().temp_size_in_bytes / 2**20
            if peer is not None:
                functions["C++ forward"] = peer.function(np.asarray(vertices), faces, SIZE, backward=False)
                functions["C++ gradient"] = peer.function(np.asarray(vertices), faces, SIZE, backward=True)
                alpha, gradient = functions["C++ gradient"]()
                (_, ours), our_gradient = functions["windows gradient"]()
                assert np.abs(alpha - np.asarray(ours)).max() < 1e-4, "the C++ loop draws something else"
                error = np.abs(gradient - np.asarray(our_gradient)).max()
                assert error < 1e-3 * np.abs(gradient).max(), "the C++ loop has another gradient"
            for name, times in interleaved(functions, rounds).items():
                each = {key: value / batch for key, value in times.items()}
                results[f"{name}, batch {batch}"] = each | {"temporaries MiB": memory.get(name)}
    return results


def curves() -> dict:
    """Forward + gradient milliseconds against pixels, faces and batch."""
    result: dict = {"pixels": {}, "faces": {}, "batch": {}}
    for mode in ("softras", "outline"):
        for kind, values in (("pixels", (64, 128, 224, 448)), ("batch", (1, 2, 4, 8)), ("faces", range(3))):
            result[kind][mode] = []
            for value in values:
                size = value if kind == "pixels" else SIZE
                vertices, faces = hands(size, value if kind == "batch" else 1)
                for _ in range(value if kind == "faces" else 0):
                    vertices, faces = split(vertices, faces)
                argument, _, both = programs(vertices, faces, size, mode=mode)
                fastest = interleaved({"": functools.partial(both, argument)}, 12)[""]["fastest"]
                x = {"pixels": size**2, "faces": len(faces), "batch": len(vertices)}[kind]
                result[kind][mode].append((x, fastest))
    return result


def split(vertices: jax.Array, faces: np.ndarray) -> tuple[jax.Array, np.ndarray]:
    """Each face cut into four at the middles of its sides."""
    sides = np.sort(np.stack([faces, np.roll(faces, -1, axis=1)], axis=2), axis=2)
    edges, number = np.unique(sides.reshape(-1, 2), axis=0, return_inverse=True)
    middle = vertices.shape[1] + number.reshape(-1, 3)
    corners = [np.stack([faces[:, k], middle[:, k], middle[:, k - 1]], axis=1) for k in range(3)]
    vertices = jnp.concatenate([vertices, vertices[:, edges].mean(axis=2)], axis=1)
    return vertices, np.concatenate([*corners, middle]).astype(np.int32)


def plot(result: dict, path: pathlib.Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt
    from matplotlib import ticker

    figure, axes = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
    for axis, (kind, modes) in zip(axes, result.items(), strict=True):
        for mode, points in modes.items():
            axis.loglog(*zip(*points, strict=True), marker="o", label=mode)
        axis.set(xlabel=kind, ylabel="forward + gradient, ms")
        axis.set_xticks([x for x, _ in next(iter(modes.values()))], [str(x) for x, _ in next(iter(modes.values()))])
        axis.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
        axis.minorticks_off()
        axis.grid(alpha=0.3)
        axis.legend()
    figure.suptitle(f"Soft silhouettes of the open hand, sigma {SIGMA} px²; {hardware_line()}", fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def compare(results: dict, batch: int, one: str, other: str) -> None:
    """Prints how much longer one takes than the other, where both were measured."""
    first, second = (results.get(f"{name}, batch {batch}") for name in (one, other))
    if first and second:
        ratio, of_threads = (first[key] / second[key] for key in ("fastest", "processor"))
        print(f"{one}, batch {batch}: {ratio:.2f} times {other}, {of_threads:.2f} in time of all threads")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, help="also write the numbers as JSON")
    parser.add_argument("--plot", type=pathlib.Path, help="draw time against pixels, faces and batch into this file")
    parser.add_argument("--rounds", type=int, default=40)
    arguments = parser.parse_args()
    print(hardware_line())
    print(f"load average {os.getloadavg()[0]:.1f} at the start")
    results = table(arguments.rounds)
    print(f"{'':28} {'fastest':>8} {'(median)':>10} {'threads':>8}   ms an image; temporaries")
    for name, row in results.items():
        memory = f"{row['temporaries MiB']:8.1f} MiB" if row["temporaries MiB"] is not None else ""
        print(f"{name:28} {row['fastest']:8.2f} ({row['median']:8.2f}) {row['processor']:8.2f} {memory}")
    for batch in (1, BATCH):
        compare(results, batch, "windows gradient", "C++ gradient")
        compare(results, batch, "outline forward", "windows forward")
    report = {"load average": os.getloadavg(), "size": SIZE, "sigma": SIGMA, "table": results}
    if arguments.out:
        write_json(arguments.out, report)
    if arguments.plot:
        report["curves"] = curves()
        plot(report["curves"], arguments.plot)
        if arguments.out:
            write_json(arguments.out, report)


if __name__ == "__main__":
    main()
