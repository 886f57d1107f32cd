"""Speed of synthetic images: `python -m benchmarks.synthesis [--out=FILE]`.

Batches are started one after another without waiting, as a training loop does; tables are made once, compilation is not
counted. "images/s" is the median over repetitions by the wall clock, "CPU ms" the processor time of an image on all
cores together: what it costs where others use the machine too. "occluded" is quick with objects and second hands in
30 % of the images each, whose triangles are there, without area, in the others as well.
"""

import argparse
import os
import pathlib
import time

import jax
import numpy as np

import mano_jax
from benchmarks.hardware import hardware_line, write_json
from handpose_jax.synthesis import SynthesisOptions, keys_of, synthesis_tables, synthetic_batch

KINDS = {
    "quick": {"quality": "quick"},
    "quick, 1 sample": {"quality": "quick", "supersample": 1},
    "occluded": {"quality": "quick", "object_share": 0.3, "second_hand_share": 0.3},
    "full, at vertices": {"texture_per_pixel": False},
    "full": {},
}


def measure(options: SynthesisOptions, batch: int, in_flight: int, repetitions: int, together: int) -> dict:
    """Medians over repetitions."""
    model = mano_jax.open_hand()
    tables, left = synthesis_tables(model, options), np.zeros(batch, bool)
    keys = [keys_of(seed, batch) for seed in range(in_flight)]

    def run() -> None:
        jax.block_until_ready([synthetic_batch(k, model, left, options, tables, together=together).image for k in keys])

    start = time.perf_counter()
    run()
    result: dict = {"first_call_s": round(time.perf_counter() - start, 2)}
    walls, processors = [], []
    for _ in range(repetitions):
        wall, processor = time.perf_counter(), time.process_time()
        run()
        walls.append(time.perf_counter() - wall)
        processors.append(time.process_time() - processor)
    images = batch * in_flight
    result["images_per_second"] = round(images / float(np.median(walls)), 1)
    result["cpu_ms_per_image"] = round(1e3 * float(np.median(processors)) / images, 2)
    result["fastest_cpu_ms_per_image"] = round(1e3 * min(processors) / images, 2)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, help="also write the numbers as JSON")
    parser.add_argument("--sizes", default="64,128,256")
    parser.add_argument("--kinds", default=";".join(KINDS), help="separated by semicolons")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--in-flight", type=int, default=2, help="batches started before one is waited for")
    parser.add_argument("--together", type=int, default=1, help="images drawn in parallel; many on an accelerator")
    parser.add_argument("--repetitions", type=int, default=3)
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    print(f"{hardware_line()}\nload of the machine before: {load:.1f}\n")
    print(f"{'pixels':>6}  {'kind':18} {'images/s':>9} {'CPU ms':>8} {'fastest':>8}")
    results = []
    for size in map(int, arguments.sizes.split(",")):
        for kind in arguments.kinds.split(";"):
            options = SynthesisOptions(image_size=size, **KINDS[kind])
            row = measure(options, arguments.batch, arguments.in_flight, arguments.repetitions, arguments.together)
            results.append({"size": size, "kind": kind, **row})
            print(
                f"{size:6d}  {kind:18} {row['images_per_second']:9.1f} {row['cpu_ms_per_image']:8.2f} "
                f"{row['fastest_cpu_ms_per_image']:8.2f}",
                flush=True,
            )
    if arguments.out:
        described = {"batch": arguments.batch, "in_flight": arguments.in_flight, "together": arguments.together}
        write_json(arguments.out, {**described, "load_average_before": round(load, 1), "results": results})


if __name__ == "__main__":
    main()
