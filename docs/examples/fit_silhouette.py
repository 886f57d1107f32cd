"""A hand fitted to its mask by gradient descent: `python -m docs.examples.fit_silhouette --out=DIR`.

Pose, rotation and translation from a binary mask and a known camera, with the outline silhouette and, for comparison,
with SoftRas's. Prints the errors and writes fit_silhouette.gif; half a minute.
"""

import argparse
import functools
import pathlib

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

import mano_jax
import render_jax
from docs.examples import animation
from docs.examples.descent import descend
from docs.examples.hands import Hand, camera_of, distance_mm, hand_vertices, start_hand, true_hand

# Of pose (standard deviations), rotation (radians), translation (metres).
STEP_SIZES = (0.04, 0.02, 0.002)
PRIOR = 1e-4


def wide_to_narrow(mask: Bool[Array, "height width"]) -> tuple[list[float], Float[Array, "stages height width"]]:
    """Sigmas (px²) for the stages of a fit with the outline silhouette, and the mask blurred by each of them."""
    width = mask.shape[1]
    sigmas = [max((width / part) ** 2, 1.25) for part in (16, 32, 64)] + [1.25]
    return sigmas, jnp.stack([render_jax.soften_mask(mask, sigma) for sigma in sigmas])


@functools.partial(jax.jit, static_argnames=("mode", "steps"))
def fit_mask(
    model: mano_jax.HandModel, mask: Bool[Array, "height width"], mode: str = "outline", steps: int = 400
) -> tuple[Hand, Hand]:
    """The hand found in the mask, and the hands on the way to it."""
    height, width = mask.shape
    camera = camera_of((height, width))
    if mode == "outline":
        sigmas, targets = wide_to_narrow(mask)
    else:  # wider ones would only enlarge the hand more; against the binary mask, as is usual
        sigmas, targets = [1.25], mask.astype(jnp.float32)[None]

    def loss(hand, step):
        stage = step * len(sigmas) // steps
        # For the first quarter the hand moves as one piece; then the fingers bend too.
        pose = jnp.where(step < steps // 4, jax.lax.stop_gradient(hand.pose), hand.pose)
        vertices = camera.to_screen(hand_vertices(model, hand._replace(pose=pose)))
        alpha = render_jax.soft_silhouette(vertices, model.faces, (height, width), jnp.array(sigmas)[stage], mode=mode)
        return ((alpha - targets[stage]) ** 2).sum() / mask.sum() + PRIOR * (pose**2).sum()

    return descend(loss, start_hand(model), STEP_SIZES, steps)


def main(out: pathlib.Path, size: int = 128, shown_size: int = 200) -> None:
    model = mano_jax.open_hand()
    vertices_of = jax.jit(lambda hand: hand_vertices(model, hand))
    truth = vertices_of(true_hand(model))
    mask = render_jax.rasterize(camera_of((size, size)).to_screen(truth), model.faces, (size, size)).mask
    print(f"start: {distance_mm(vertices_of(start_hand(model)), truth):.1f} mm from the truth")

    camera = camera_of((shown_size, shown_size))
    _, target = animation.shaded(truth, model.faces, camera, shown_size)
    pictures = []
    for mode in ("outline", "softras"):
        found, path = fit_mask(model, mask, mode)
        vertices = vertices_of(found)
        farther = 1000 * float((vertices - truth)[:, 2].mean())
        print(f"{mode}: {distance_mm(vertices, truth):.1f} mm from the truth, {farther:+.1f} mm in depth")
        pictures.append([])
        for step, hand in animation.some_of(path, found):
            vertices = vertices_of(hand)
            image, _ = animation.shaded(vertices, model.faces, camera, shown_size)
            title = f"{mode}, {step}: {distance_mm(vertices, truth):.1f} mm"
            pictures[-1].append((title, animation.outlined(image, target)))
    animation.write_gif(out / "fit_silhouette.gif", [animation.frame(row) for row in zip(*pictures, strict=True)])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    main(parser.parse_args().out)
