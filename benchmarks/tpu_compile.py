"""What a TPU would have to do for a silhouette: `python -m benchmarks.tpu_compile [--out=FILE]`. Needs no TPU.

The "tiles" backend, forward and forward + gradient, is compiled ahead of time for a TPU v5e with libtpu (`pip install
libtpu` of the version that JAX names, `handpose-jax[tpu-compile]`; or TPU_LIBRARY_PATH=.../libtpu.so). The open hand of
benchmarks/silhouette.py: 1,538 faces over a third of 224x224 pixels, sigma 1.25 px².

A compiler counts the body of a loop once, however often it runs. So the steps of the loops are compiled apart too: a
chunk of faces for a group of tiles, and a group with one chunk. Work of the whole = what is outside the loops + groups
of tiles x a group + chunks x a chunk; how many chunks there are is counted for this hand. Temporaries are the compiled
program's own. The time of it is not measured: that needs a TPU.
"""

import argparse
import importlib.util
import os
import pathlib

# A machine without a TPU is not asked what TPU it is.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-4")
os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding

import render_jax
from benchmarks.hardware import write_json
from benchmarks.silhouette import BATCH, SIGMA, SIZE, hands
from render_jax import silhouette_tiles
from render_jax.screen_faces import countable
from render_jax.silhouette_faces import pack_image

TOPOLOGY = "v5e:2x2"


def libtpu_is_installed() -> bool:
    return "TPU_LIBRARY_PATH" in os.environ or importlib.util.find_spec("libtpu") is not None


def device_of(topology: str) -> SingleDeviceSharding:
    """One chip of a topology that is not there."""
    return SingleDeviceSharding(topologies.get_topology_desc(platform="tpu", topology_name=topology).devices[0])


def compile_for(device: SingleDeviceSharding, function, *arguments) -> jax.stages.Compiled:
    shapes = jax.tree.map(lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=device), arguments)
    return jax.jit(function, out_shardings=device).lower(*shapes).compile()


def _work(compiled: jax.stages.Compiled) -> np.ndarray:
    """Operations and bytes read and written, each loop's body once."""
    cost = compiled.cost_analysis()
    assert cost is not None, "the TPU compiler states no cost"
    return np.array([cost["flops"], cost["bytes accessed"]])


def whole(vertices: jax.Array, faces: np.ndarray, size: int, backward: bool):
    """The program that a user would run, and its argument."""

    def draw(vertices):
        return render_jax.soft_silhouette(vertices, faces, (size, size), SIGMA, backend="tiles")

    def value(vertices):
        alpha = draw(vertices)
        return alpha.sum(), alpha

    one = jax.value_and_grad(value, has_aux=True) if backward else draw
    return (one, vertices[0]) if len(vertices) == 1 else (jax.vmap(one), vertices)


def _mesh(screen: jax.Array, faces: np.ndarray) -> tuple[jax.Array, jax.Array, jax.Array]:
    triangles = screen[faces]
    return triangles[:, :, :2], countable(triangles), jnp.asarray(SIGMA, screen.dtype)


def steps(screen: jax.Array, faces: np.ndarray, size: int) -> dict:
    """By name: a step of each loop of one image and its arguments."""
    mesh = _mesh(screen, faces)
    table, tiles = pack_image(*mesh), silhouette_tiles.sort_tiles(*mesh, image_size=(size, size))
    shape = silhouette_tiles.tile_layout((size, size))[:2]
    pixels = jnp.ones((silhouette_tiles.TILES_TOGETHER, *shape))
    entries = jnp.zeros(silhouette_tiles.TILES_TOGETHER * silhouette_tiles.FACES_TOGETHER, jnp.int32)
    sums, group = jnp.zeros((table.shape[0], 9)), jnp.int32(0)

    def forward_group(table, tiles, group):
        return silhouette_tiles.group_transparency(table, tiles, group, shape)

    def backward_chunk(table, entries, rows, columns, weights, total):
        return silhouette_tiles.add_gradients(table, entries, rows, columns, weights, total, False)

    def backward_group(table, tiles, group, weights, total):
        return silhouette_tiles.group_gradient(table, tiles, group, weights, total, False)

    return {
        "forward chunk": (silhouette_tiles.multiply_faces, table, entries, entries, entries, pixels),
        "forward group": (forward_group, table, tiles, group),
        "backward chunk": (backward_chunk, table, entries, entries, entries, pixels, sums),
        "backward group": (backward_group, table, tiles, group, pixels, sums),
    }


def trips(screen: jax.Array, faces: np.ndarray, size: int) -> tuple[int, int]:
    """Groups of tiles of the image and chunks of faces over all of them."""
    tiles = silhouette_tiles.sort_tiles(*_mesh(screen, faces), image_size=(size, size))
    row, column, first, last = (np.asarray(array) for array in (tiles.row, tiles.column, tiles.first, tiles.last))
    place = np.stack([row, column], axis=1)[:, None]
    lengths = ((place >= first) & (place <= last)).all(axis=2).sum(axis=1)
    longest = lengths.reshape(-1, silhouette_tiles.TILES_TOGETHER).max(axis=1)
    return len(longest), int((-(-longest // silhouette_tiles.FACES_TOGETHER)).sum())


def measure(topology: str = TOPOLOGY, size: int = SIZE, batches: tuple[int, ...] = (1, BATCH)) -> dict:
    """Work and memory of each pass and batch."""
    device = device_of(topology)
    vertices, faces = hands(size, max(batches))
    work = {name: _work(compile_for(device, *step)) for name, step in steps(vertices[0], faces, size).items()}
    groups, chunks = trips(vertices[0], faces, size)
    results: dict = {"topology": topology, "groups of tiles": groups, "chunks of faces": chunks}
    results["loop bodies"] = {
        name: dict(zip(("operations", "bytes"), values, strict=True)) for name, values in work.items()
    }
    for batch in batches:
        for name, passes in (("forward", ["forward"]), ("forward + gradient", ["forward", "backward"])):
            program = compile_for(device, *whole(vertices[:batch], faces, size, backward=len(passes) == 2))
            once = _work(program)
            # What is outside the loops: the program less one run through each of them.
            image = once - sum(work[f"{part} group"] for part in passes)
            for part in passes:
                chunk = work[f"{part} chunk"]
                image = image + groups * (work[f"{part} group"] - chunk) + chunks * chunk
            operations, moved = image
            memory = program.memory_analysis()
            assert memory is not None, "the TPU compiler states no memory"
            results[f"{name}, batch {batch}"] = {
                "operations an image": float(operations),
                "bytes an image": float(moved),
                "operations, loop bodies once": float(once[0]),
                "temporaries MiB": memory.temp_size_in_bytes / 2**20,
                "code MiB": memory.generated_code_size_in_bytes / 2**20,
            }
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, help="also write the numbers as JSON")
    parser.add_argument("--topology", default=TOPOLOGY)
    arguments = parser.parse_args()
    if not libtpu_is_installed():
        raise SystemExit("libtpu is not installed: pip install 'handpose-jax[tpu-compile]', or set TPU_LIBRARY_PATH")
    results = measure(arguments.topology)
    print(f"TPU {results['topology']}, JAX {jax.__version__}; compiled, not run")
    print(f"{results['groups of tiles']} groups of tiles and {results['chunks of faces']} chunks of faces an image")
    for name, values in results["loop bodies"].items():
        print(f"one {name:15} {values['operations'] / 1e6:8.2f} MFLOP {values['bytes'] / 2**20:8.2f} MiB moved")
    for name, row in results.items():
        if isinstance(row, dict) and "temporaries MiB" in row:
            print(
                f"{name:28} {row['operations an image'] / 1e6:8.1f} MFLOP an image "
                f"({row['operations, loop bodies once'] / 1e6:.1f} with each loop body once), "
                f"{row['bytes an image'] / 2**20:7.1f} MiB moved, temporaries {row['temporaries MiB']:.1f} MiB"
            )
    if arguments.out:
        write_json(arguments.out, results)


if __name__ == "__main__":
    main()
