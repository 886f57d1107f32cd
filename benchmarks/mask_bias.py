"""What fitting a mask does to the size of a hand: `python -m benchmarks.mask_bias [--out=FILE]`.

The open hand is drawn as a binary mask (pixel centres covered). Then one number, its scale about its middle, is fitted
to that mask by the sum of squared differences, with the soft silhouette of each mode: "softras" and "outline" against
the binary mask itself, "outline, softened" against `render_jax.soften_mask` of it (the way to fit masks that the
documentation gives). 1.000 is right. Sigma in px², "square" for 1e-4 of the [-1, 1] square. Printed beside the scale:
the area of the soft mask over the area of the true one, and how far its 0.5 level lies outside the true outline (area
between the two over the length of the outline), in pixels. Repeated over shifts of a fraction of a pixel.
"""

import argparse
import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

import render_jax
from benchmarks.hardware import write_json
from benchmarks.render_hard_pass import scene

SHIFTS = np.array([[0.0, 0.0], [0.37, 0.11], [0.13, 0.71], [0.59, 0.43]], np.float32)


@functools.partial(jax.jit, static_argnames=("sigma", "size", "mode"))
def _measure(screen, faces, shift, *, sigma: float, size: int, mode: str):
    """(scale, area ratio, growth in pixels) for the hand moved by `shift` pixels."""
    middle = (screen.min(axis=0) + screen.max(axis=0)) / 2

    def placed(scale):
        plane = (screen - middle)[:, :2] * scale + middle[:2] + shift
        return jnp.concatenate([plane, screen[:, 2:]], axis=1)

    mask = render_jax.rasterize(placed(1.0), faces, (size, size)).mask.astype(jnp.float32)

    target = render_jax.soften_mask(mask, sigma) if mode.endswith("softened") else mask

    def soft(scale):
        return render_jax.soft_silhouette(placed(scale), faces, (size, size), sigma, mode=mode.split(",")[0])

    def loss(scale):
        return ((soft(scale) - target) ** 2).sum()

    # A search that needs no gradient and no start: thrice a grid around the best of the grid before.
    scale, width = jnp.float32(0.97), 0.09
    for _ in range(3):
        grid = scale + jnp.linspace(-width, width, 25)
        scale, width = grid[jnp.argmin(jax.lax.map(loss, grid))], width / 8
    alpha = soft(1.0)
    # A thin ring just outside the true outline would be right to count; half the change of neighbours is its length.
    length = jnp.abs(jnp.diff(mask, axis=0)).sum() + jnp.abs(jnp.diff(mask, axis=1)).sum()
    length = length * (jnp.pi / 4)  # of edges of pixels, over those of a line in any direction
    return scale, alpha.sum() / mask.sum(), ((alpha > 0.5).sum() - mask.sum()) / length


def measure(size: int, sigma: float, mode: str) -> dict:
    """Means over the shifts."""
    vertices, faces, camera = scene(size)
    screen = camera.to_screen(vertices)
    values = [_measure(screen, faces, jnp.asarray(s), sigma=sigma, size=size, mode=mode) for s in SHIFTS]
    scale, area, growth = np.array(values).mean(axis=0)
    spread = float(np.std([value[0] for value in values]))
    return {
        "size": size,
        "mode": mode,
        "sigma": sigma,
        "scale": float(scale),
        "scale spread": spread,
        "area ratio": float(area),
        "growth of the 0.5 level, px": float(growth),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, help="also write the numbers as JSON")
    parser.add_argument("--sizes", default="64,224")
    parser.add_argument(
        "--sigmas", default="square,1.25", help='pixels squared; "square" is 1e-4 of the [-1, 1] square'
    )
    arguments = parser.parse_args()
    print(f"{'size':>5} {'sigma':>6} {'mode':17} {'scale':>7} {'(spread)':>9} {'area':>7} {'0.5 level':>10}")
    results = []
    for size in map(int, arguments.sizes.split(",")):
        in_square = float(render_jax.square_sigma((size, size), 1e-4))
        named = [in_square if name == "square" else float(name) for name in arguments.sigmas.split(",")]
        for sigma in sorted({round(sigma, 2) for sigma in named}):  # at 224 px the two defaults are one
            for mode in ("softras", "outline", "outline, softened"):
                row = measure(size, sigma, mode)
                results.append(row)
                print(
                    f"{size:5} {sigma:6.4g} {mode:17} {row['scale']:7.4f} ({row['scale spread']:.4f}) "
                    f"{row['area ratio'] - 1:+7.1%} {row['growth of the 0.5 level, px']:+7.2f} px"
                )
    if arguments.out:
        write_json(arguments.out, {"results": results})


if __name__ == "__main__":
    main()
