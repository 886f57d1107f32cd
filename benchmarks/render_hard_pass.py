"""Time of the hard pass and of a lit picture of the open hand: `python -m benchmarks.render_hard_pass [--out=FILE]`.

The hand (1,538 faces) covers about a third of the picture. Times are milliseconds an image after compilation: the
median and, in brackets, the fastest of the repetitions. "index" is the face index alone, "surface" with depth and
barycentric coordinates, "clipped" the same with a near plane, "gradient" the value and vertex gradient of the depth's
sum. Pictures are lit: with vertex colours, with a texture of 512 x 512 texels looked up bilinearly, with soft edges;
their gradients are of the sum of squares. "extraction" takes a texture of 512 x 512 texels from a picture.
"""

import argparse
import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np

import mano_jax
import render_jax
from benchmarks.hardware import hardware_line, write_json


def milliseconds(function, *arguments, repetitions: int) -> dict[str, float]:
    jax.block_until_ready(function(*arguments))
    times = []
    for _ in range(repetitions):
        start = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        times.append(1e3 * (time.perf_counter() - start))
    return {"median": float(np.median(times)), "fastest": min(times)}


def scene(size: int, covered: float = 0.34) -> tuple[jax.Array, np.ndarray, render_jax.Pinhole]:
    """The open hand seen from its back, in the camera frame, and a camera to which it covers that share."""
    model = mano_jax.open_hand()
    vertices, faces = np.asarray(model.template), np.asarray(model.faces)
    # The fingers (-x) point up the picture (-y), the back of the hand (+y) faces the camera (-z).
    vertices = (vertices - (vertices.min(axis=0) + vertices.max(axis=0)) / 2)[:, [2, 0, 1]] * [-1, 1, -1] + [0, 0, 0.5]
    vertices = jnp.asarray(vertices, jnp.float32)
    share = jax.jit(
        lambda focal: render_jax.rasterize(
            render_jax.Pinhole(focal, focal, size / 2, size / 2).to_screen(vertices), faces, (size, size)
        ).mask.mean()
    )
    low, high = float(size), 10.0 * size
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if share(middle) < covered else (low, middle)
    return vertices, faces, render_jax.Pinhole(low, low, size / 2, size / 2)


def measure(size: int, batch: int, repetitions: int) -> dict:
    vertices, faces, camera = scene(size)
    colours = jnp.full(vertices.shape, 0.7)
    image_size = (size, size)

    def surface(vertices):
        return render_jax.rasterize(camera.to_screen(vertices), faces, image_size)

    atlas = mano_jax.open_hand_uv("right")
    uv = jnp.asarray(atlas.coordinates)
    texture = jax.random.uniform(jax.random.key(0), (512, 512, 3))

    def picture(vertices, paint, supersample=1, **options):
        return render_jax.render(
            vertices, faces, camera, image_size, colours=paint, supersample=supersample, **options
        ).image

    def textured(vertices, texture, supersample=1):
        return picture(vertices, render_jax.UVTexture(texture, uv, atlas.faces), supersample)

    def brightness(supersample):
        return lambda vertices: (picture(vertices, colours, supersample) ** 2).sum()

    def textured_brightness(supersample):
        return lambda vertices, texture: (textured(vertices, texture, supersample) ** 2).sum()

    def clipped(vertices):
        return render_jax.rasterize_clipped(vertices, faces, camera, image_size)

    def extraction(vertices):
        # The picture of another hand will do: what matters is how much of it is looked up.
        return render_jax.extract_texture(texture[:size, :size], vertices, faces, camera, uv, atlas.faces, 512).texture

    functions = {
        "index": lambda vertices: surface(vertices).face_index,
        "surface": surface,
        "surface, clipped": clipped,
        "gradient": jax.value_and_grad(lambda vertices: surface(vertices).depth.sum()),
        "picture": lambda vertices: picture(vertices, colours),
        "picture, textured": lambda vertices: textured(vertices, texture),
        "picture, soft edges": lambda vertices: picture(vertices, colours, soft_edges=1.25),
        "picture, supersampled 2x": lambda vertices: picture(vertices, colours, 2),
        "picture, textured, 2x": lambda vertices: textured(vertices, texture, 2),
        "gradient of picture": jax.grad(brightness(1)),
        "gradient of picture, 2x": jax.grad(brightness(2)),
        "to vertices and texture": lambda vertices: jax.grad(textured_brightness(1), (0, 1))(vertices, texture),
        "to vertices and texture, 2x": lambda vertices: jax.grad(textured_brightness(2), (0, 1))(vertices, texture),
        "extraction": extraction,
    }
    shifts = jnp.linspace(-0.01, 0.01, batch)[:, None, None] * jnp.array([1.0, 0.5, 0.2])
    result = {"size": size, "faces": len(faces), "covered": float(surface(vertices).mask.mean()), "batch": batch}
    for name, function in functions.items():
        one = milliseconds(jax.jit(function), vertices, repetitions=repetitions)
        many = milliseconds(jax.jit(jax.vmap(function)), vertices[None] + shifts, repetitions=max(3, repetitions // 5))
        result[name] = {"one": one, "batch, an image": {key: value / batch for key, value in many.items()}}
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, help="also write the numbers as JSON")
    parser.add_argument("--sizes", default="64,128,224")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repetitions", type=int, default=50)
    arguments = parser.parse_args()
    print(hardware_line())
    results = []
    for size in map(int, arguments.sizes.split(",")):
        result = measure(size, arguments.batch, arguments.repetitions)
        results.append(result)
        print(
            f"\n{size}x{size}, {result['faces']} faces, {result['covered']:.0%} covered: ms an image, median (fastest)"
        )
        for name, times in result.items():
            if isinstance(times, dict):
                one, many = times["one"], times["batch, an image"]
                print(
                    f"  {name:28} one {one['median']:7.2f} ({one['fastest']:6.2f})"
                    f"   batch of {arguments.batch} {many['median']:7.2f} ({many['fastest']:6.2f})"
                )
    if arguments.out:
        write_json(arguments.out, {"unit": "ms an image", "results": results})


if __name__ == "__main__":
    main()
