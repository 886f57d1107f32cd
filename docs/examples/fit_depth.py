"""A hand fitted to a depth map by gradient descent: `python -m docs.examples.fit_depth --out=DIR`.

Where hand and map overlap, depths are compared under a robust loss; the outline silhouette pulls the hand over what it
does not cover yet. The map has a sensor's noise of 2 mm. Prints the error and writes fit_depth.gif; half a minute.
"""

import argparse
import functools
import pathlib

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

import mano_jax
import render_jax
from docs.examples import animation
from docs.examples.descent import descend
from docs.examples.fit_silhouette import PRIOR, STEP_SIZES, wide_to_narrow
from docs.examples.hands import Hand, camera_of, distance_mm, hand_vertices, start_hand, true_hand

NOISE = 0.002
ROBUST = 0.01  # metres, from which on differences count linearly: a finger before the palm must not pull too hard


@functools.partial(jax.jit, static_argnames="steps")
def fit_depth(model: mano_jax.HandModel, depth: Float[Array, "height width"], steps: int = 400) -> tuple[Hand, Hand]:
    """The hand found in the depth map (metres, 0 where nothing is), and the hands on the way to it."""
    height, width = depth.shape
    camera, mask = camera_of((height, width)), depth > 0
    sigmas, targets = wide_to_narrow(mask)

    def loss(hand, step):
        stage = step * len(sigmas) // steps
        # For the first quarter the hand moves as one piece; then the fingers bend too.
        pose = jnp.where(step < steps // 4, jax.lax.stop_gradient(hand.pose), hand.pose)
        vertices = camera.to_screen(hand_vertices(model, hand._replace(pose=pose)))
        seen = render_jax.rasterize(vertices, model.faces, (height, width))
        differences = jnp.where(seen.mask & mask, seen.depth - depth, 0)
        surface = optax.huber_loss(differences / ROBUST).sum() / mask.sum()
        alpha = render_jax.soft_silhouette(
            vertices, model.faces, (height, width), jnp.array(sigmas)[stage], mode="outline"
        )
        outline = ((alpha - targets[stage]) ** 2).sum() / mask.sum()
        return surface + outline + PRIOR * (pose**2).sum()

    return descend(loss, start_hand(model), STEP_SIZES, steps)


@functools.partial(jax.jit, static_argnames="size")
def observed_depth(vertices: Float[Array, "vertices 3"], faces, size: int, noise: float) -> Float[Array, "size size"]:
    """What a depth camera sees of the mesh, metres; 0 where nothing is."""
    seen = render_jax.rasterize(camera_of((size, size)).to_screen(vertices), faces, (size, size))
    noisy = seen.depth + noise * jax.random.normal(jax.random.key(0), seen.depth.shape)
    return jnp.where(seen.mask, noisy, 0)


def main(out: pathlib.Path, size: int = 128, shown_size: int = 200) -> None:
    model = mano_jax.open_hand()
    vertices_of = jax.jit(lambda hand: hand_vertices(model, hand))
    truth = vertices_of(true_hand(model))
    depth = observed_depth(truth, model.faces, size, NOISE)
    print(f"start: {distance_mm(vertices_of(start_hand(model)), truth):.1f} mm from the truth")
    found, path = fit_depth(model, depth)
    print(f"found: {distance_mm(vertices_of(found), truth):.1f} mm from the truth")

    camera = camera_of((shown_size, shown_size))
    _, target = animation.shaded(truth, model.faces, camera, shown_size)
    true_depth = observed_depth(truth, model.faces, shown_size, noise=0.0)
    pictures = []
    for step, hand in animation.some_of(path, found):
        vertices = vertices_of(hand)
        image, _ = animation.shaded(vertices, model.faces, camera, shown_size)
        errors = difference_colours(observed_depth(vertices, model.faces, shown_size, noise=0.0), true_depth)
        titles = f"step {step}: {distance_mm(vertices, truth):.1f} mm", "red: 2 cm too near, blue: too far"
        panels = animation.outlined(image, target), animation.outlined(errors, target)
        pictures.append(animation.frame(list(zip(titles, panels, strict=True))))
    animation.write_gif(out / "fit_depth.gif", pictures)


@jax.jit
def difference_colours(depth: Float[Array, "height width"], truth: Float[Array, "height width"]):
    """White where the depths agree, red where one is 2 cm too near, blue where too far; grey where only one is."""
    share = jnp.clip((depth - truth) / 0.02, -1, 1)[..., None]
    red, blue = jnp.array([0.8, 0.1, 0.1]), jnp.array([0.1, 0.2, 0.8])
    colours = 1 - jnp.abs(share) * (1 - jnp.where(share < 0, red[None, None], blue[None, None]))
    only_one = (depth > 0) != (truth > 0)
    return jnp.where(only_one[..., None], 0.75, colours)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    main(parser.parse_args().out)
