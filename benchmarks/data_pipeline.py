"""Speed of reading data sets: `python -m benchmarks.data_pipeline [--folder=RHD_published_v2] [--out=FILE]`.

From files in RHD's format (320x320 PNG; made here unless a folder is given, the same few again and again, so they come
from the page cache) to batches of 224x224 crops with masks and annotations, augmented, as arrays on the device. Each
row of the table does one thing more than the one above: what it adds is what that thing costs. "CPU ms" is the
processor time of an image on all cores together: what it costs where others use the machine too.
"""

import argparse
import functools
import os
import pathlib
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from benchmarks.hardware import hardware_line, write_json
from handpose_jax.data.augmentation import AugmentationOptions
from handpose_jax.data.examples import HandExamples
from handpose_jax.data.hand_table import CropOptions, HandTable
from handpose_jax.data.pipeline import Share, TrainingCrops, to_devices
from handpose_jax.data.pixel_graph import pixels_of
from handpose_jax.data.resampling_graph import tensorflow
from handpose_jax.data.sets import READERS
from handpose_jax.dhpe.data_set_batches import batch_of
from handpose_jax.training import batch_sharding, data_mesh

BATCH, SIZE = 32, 224


def decoded(examples: HandExamples, workers: int) -> Iterator[Any]:
    """Files read and decoded, nothing else."""
    tf = tensorflow()
    table = HandTable([examples], CropOptions(SIZE))
    rows = np.arange(len(table))
    places = table.places(rows, table.crops(rows))
    dataset = tf.data.Dataset.from_tensor_slices(
        {name: value.tolist() if value.dtype == object else value for name, value in places.items()}
    )
    kinds = ("images", "masks")
    dataset = dataset.repeat().map(
        lambda row: {kind: pixels_of(row, kind) for kind in kinds}, num_parallel_calls=workers, deterministic=True
    )
    settings = tf.data.Options()
    settings.threading.private_threadpool_size = workers
    return iter(dataset.batch(BATCH).prefetch(2).with_options(settings))


def crops(examples: HandExamples, workers: int, augmentation: AugmentationOptions | None) -> Iterator[Any]:
    share = Share()
    return TrainingCrops([examples], CropOptions(SIZE), BATCH, None, augmentation, 0, share, workers).from_step(0)


def on_device(examples: HandExamples, workers: int) -> Iterator[Any]:
    """Moved and divided by 255 there: what a training step takes."""
    sharding = batch_sharding(data_mesh())
    convert = jax.jit(functools.partial(batch_of, size=SIZE), out_shardings=sharding)
    for batch in crops(examples, workers, AugmentationOptions()):
        yield jax.block_until_ready(convert(to_devices(batch, sharding)))


def measure(make: Callable[[], Iterator[Any]], batches: int) -> tuple[float, float]:
    """Images a second and CPU milliseconds an image, after a few batches that fill the buffers."""
    iterator = make()
    for _ in range(4):
        next(iterator)
    wall, processor = time.perf_counter(), time.process_time()
    for _ in range(batches):
        next(iterator)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    return batches * BATCH / wall, 1e3 * processor / (batches * BATCH)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=pathlib.Path, help="of RHD, or what launch.data synth made")
    parser.add_argument("--out", type=pathlib.Path, help="also write the numbers as JSON")
    parser.add_argument("--images", type=int, default=64, help="made where no folder is given")
    parser.add_argument("--batches", type=int, default=30, help=f"of {BATCH}, timed")
    parser.add_argument("--workers", type=int, default=0, help="0: one a core")
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    print(f"{hardware_line()}\nload of the machine before: {load:.1f}")
    with tempfile.TemporaryDirectory() as made:
        folder = arguments.folder or made
        if not arguments.folder:
            from launch.data import main as data

            assert data(["synth", "--set=rhd", f"--count={arguments.images}", f"--out={made}"]) == 0
        examples = READERS["rhd"](folder, "training")
        assert examples.images is not None
        sizes = [os.path.getsize(path) for path in examples.images.paths[:64]]
        print(f"{len(examples)} pictures of {np.mean(sizes) / 1000:.0f} kB\n")
        workers = arguments.workers or len(os.sched_getaffinity(0))
        rows = {
            "read and decode picture and mask": lambda: decoded(examples, workers),
            "+ crops and annotations": lambda: crops(examples, workers, None),
            "+ turned, coloured, blurred, hidden": lambda: crops(examples, workers, AugmentationOptions()),
            "+ on the device, as floats": lambda: on_device(examples, workers),
        }
        print(f"{'':36} {'images/s':>9} {'CPU ms':>7} {'adds':>6}")
        results, before = [], 0.0
        for name, make in rows.items():
            rate, cost = measure(make, arguments.batches)
            results.append({"what": name, "images_per_second": round(rate, 1), "cpu_ms_per_image": round(cost, 2)})
            print(f"{name:36} {rate:9.1f} {cost:7.2f} {cost - before:6.2f}", flush=True)
            before = cost
    if arguments.out:
        about = {"batch": BATCH, "size": SIZE, "workers": workers, "kilobytes": round(float(np.mean(sizes)) / 1000, 1)}
        write_json(arguments.out, {**about, "load_average_before": round(load, 1), "results": results})


if __name__ == "__main__":
    main()
