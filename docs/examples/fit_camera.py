"""Where a camera stood and how long its lens was: `python -m docs.examples.fit_camera --out=DIR`.

Rotation, translation and focal length from the mask of a hand whose mesh is known and from its 21 keypoints, found with
an error of a pixel or so. Keypoints bring the camera near from far away, the mask makes it exact; for comparison, from
keypoints alone. Prints the errors and writes fit_camera.gif; half a minute.
"""

import argparse
import functools
import pathlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from PIL import ImageDraw

import mano_jax
import render_jax
from docs.examples import animation
from docs.examples.descent import descend
from docs.examples.fit_silhouette import wide_to_narrow
from docs.examples.hands import hand_keypoints, hand_vertices, true_hand
from mano_jax.rotations import axis_angle_to_matrix

# Of rotation (radians), centre (share of the image's width), scale and focal length (logarithms).
STEP_SIZES = (0.02, 0.01, 0.01, 0.02)
NOISE = 0.01  # of the keypoints, as a share of the image's width
KEYPOINTS = 0.001  # their weight: enough to lead from far away, too little to spoil what the mask says


class View(NamedTuple):
    """A camera and where it stands, in numbers that gradient descent can change independently of each other.

    A longer lens makes the hand larger, a larger distance smaller, so the two are not fitted side by side: the size on
    the image is one number, and the focal length, given the size, is about perspective only.

    Attributes:
      rotation: axis-angle, radians.
      centre: where the hand's middle is seen, as a share of the image's width.
      scale: log of the pixels that a metre spans at the hand's middle, over the image's width.
      focal: log of the focal length over the image's width.
    """

    rotation: Float[Array, "3"]
    centre: Float[Array, "2"]
    scale: Float[Array, ""]
    focal: Float[Array, ""]


def true_view() -> View:
    """At 25 cm, with a focal length of the image's width."""
    return View(jnp.array([0.3, -0.5, 0.2]), jnp.array([0.55, 0.50]), jnp.log(1 / 0.25), jnp.log(1.0))


def start_view() -> View:
    """Turned by 35 degrees, off to the side, half as large, with a lens twice as long."""
    return View(jnp.zeros(3), jnp.array([0.65, 0.60]), jnp.log(2.0), jnp.log(2.0))


def camera_and_place(view: View, size: int) -> tuple[render_jax.Pinhole, Float[Array, "3 3"], Float[Array, "3"]]:
    """The camera, and rotation and translation of what stands before it."""
    focal = size * jnp.exp(view.focal)
    camera = render_jax.Pinhole(focal, focal, size / 2, size / 2)
    weak = render_jax.WeakPerspective(scale=size * jnp.exp(view.scale), translation=size * view.centre)
    return camera, axis_angle_to_matrix(view.rotation), weak.placement(camera)


def seen_from(view: View, points: Float[Array, "points 3"], size: int) -> Float[Array, "points 3"]:
    """(u px, v px, depth metres) of points around the hand's middle."""
    camera, rotation, translation = camera_and_place(view, size)
    return camera.to_screen(jnp.matmul(points, rotation.T, precision="highest") + translation[None])


@functools.partial(jax.jit, static_argnames=("with_mask", "steps"))
def recover(
    vertices: Float[Array, "vertices 3"],
    faces: Int[np.ndarray, "faces 3"],
    joints: Float[Array, "21 3"],
    keypoints: Float[Array, "21 2"],
    mask: Bool[Array, "size size"],
    with_mask: bool = True,
    steps: int = 500,
) -> tuple[View, View]:
    """The view found, and those on the way to it."""
    size = mask.shape[0]
    sigmas, targets = wide_to_narrow(mask)

    def loss(view, step):
        errors = (seen_from(view, joints, size)[:, :2] - keypoints) / (NOISE * size)
        total = KEYPOINTS * (errors**2).mean()
        if with_mask:
            stage = step * len(sigmas) // steps
            screen = seen_from(view, vertices, size)
            alpha = render_jax.soft_silhouette(screen, faces, (size, size), jnp.array(sigmas)[stage], mode="outline")
            total += ((alpha - targets[stage]) ** 2).sum() / mask.sum()
        return total

    return descend(loss, start_view(), STEP_SIZES, steps)


def errors(view: View, truth: View) -> dict[str, float]:
    """Rotation in degrees, translation in mm, focal length in percent."""
    camera, rotation, translation = camera_and_place(view, 1)
    true_camera, true_rotation, true_translation = camera_and_place(truth, 1)
    # |R - S| = 2 sqrt(2) sin(angle / 2), right for small angles too.
    turn = 2 * jnp.arcsin(jnp.linalg.norm(rotation - true_rotation) / 8**0.5)
    return {
        "rotation, degrees": float(jnp.degrees(turn)),
        "translation, mm": 1000 * float(jnp.linalg.norm(translation - true_translation)),
        "focal length, %": 100 * float(jnp.abs(camera.fx / true_camera.fx - 1)),
    }


def main(out: pathlib.Path, size: int = 128, shown_size: int = 240, draws: int = 5) -> None:
    model = mano_jax.open_hand()
    hand, truth = true_hand(model), true_view()
    vertices, joints = hand_vertices(model, hand), hand_keypoints(model, hand)
    middle = (vertices.max(axis=0) + vertices.min(axis=0)) / 2
    vertices, joints = vertices - middle[None], joints - middle[None]
    mask = render_jax.rasterize(seen_from(truth, vertices, size), model.faces, (size, size)).mask
    true_keypoints = seen_from(truth, joints, size)[:, :2]
    print(f"start: {errors(start_view(), truth)}")

    # The first draw of the keypoints' errors is shown, the mean of several printed.
    noise = NOISE * size * jax.random.normal(jax.random.key(0), (draws, 21, 2))
    for with_mask in (False, True):
        ways = [
            recover(vertices, model.faces, joints, true_keypoints + one, mask, with_mask=with_mask) for one in noise
        ]
        each = [errors(found, truth) for found, _ in ways]
        means = {name: round(sum(one[name] for one in each) / draws, 2) for name in each[0]}
        print(f"{'mask and keypoints' if with_mask else 'keypoints alone'}, mean of {draws}: {means}")

    found, path = ways[0]
    _, target = drawn(truth, vertices, model.faces, shown_size)
    frames = []
    for step, view in animation.some_of(path, found):
        picture, _ = drawn(view, vertices, model.faces, shown_size)
        picture = animation.outlined(picture, target)
        for u, v in (true_keypoints + noise[0]).tolist():
            u, v = u * shown_size / size, v * shown_size / size
            ImageDraw.Draw(picture).ellipse((u - 2, v - 2, u + 2, v + 2), fill=(30, 90, 200))
        error = errors(view, truth)
        title = f"{step}: {error['rotation, degrees']:.1f}°, {error['translation, mm']:.0f} mm, focal length "
        frames.append(animation.frame([(f"{title}{error['focal length, %']:.1f} % off", picture)]))
    animation.write_gif(out / "fit_camera.gif", frames)


def drawn(view: View, vertices: Float[Array, "vertices 3"], faces: Int[np.ndarray, "faces 3"], size: int):
    """The hand as the view sees it, and its mask."""
    camera, rotation, translation = camera_and_place(view, size)
    return animation.shaded(vertices @ rotation.T + translation[None], faces, camera, size)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    main(parser.parse_args().out)
