"""Makes the picture of silhouettes.md: `python docs/silhouette_pictures.py` from the root (needs Pillow)."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

import mano_jax
import render_jax

SIZE, SIGMA, ENLARGED = 96, 1.25, 3


def main() -> None:
    model = mano_jax.open_hand()
    pose = np.zeros(45)
    pose[[2, 5, 29, 11, 14]] = [0.9, 0.8, 0.4, 0.3, 0.4]  # a finger bent before the palm
    vertices = mano_jax.forward(model, jnp.asarray(pose, jnp.float32), *(jnp.zeros(n) for n in (10, 3, 3))).vertices
    centred = vertices - (vertices.min(axis=0) + vertices.max(axis=0))[None] / 2
    # The fingers (-x) point up the picture, the palm (-y) faces the camera.
    points = centred[:, jnp.array([2, 0, 1])] + jnp.array([[0.0, 0.0, 0.5]])
    screen = render_jax.Pinhole(fx=2.2 * SIZE, fy=2.2 * SIZE, cx=SIZE / 2, cy=SIZE / 2).to_screen(points)
    faces = np.asarray(model.faces)
    mask = render_jax.rasterize(screen, faces, (SIZE, SIZE)).mask
    panels = [mask.astype(jnp.float32)]
    for mode in ("softras", "outline"):

        def draw(vertices, mode=mode):
            return render_jax.soft_silhouette(vertices, faces, (SIZE, SIZE), SIGMA, mode=mode)

        panels.append(draw(screen))
    colours = []
    for panel in panels:
        grey = np.asarray(jnp.repeat(jnp.repeat(panel, ENLARGED, 0), ENLARGED, 1))
        picture = np.repeat(grey[..., None], 3, axis=2)
        covered = np.kron(np.asarray(mask), np.ones((ENLARGED, ENLARGED), bool))
        border = np.zeros_like(covered)
        border[:-1] |= covered[1:] != covered[:-1]
        border[:, :-1] |= covered[:, 1:] != covered[:, :-1]
        picture[border] = [1.0, 0.35, 0.1]
        colours.append(np.pad(picture, ((0, 0), (0, 6), (0, 0)), constant_values=1))
    image = Image.fromarray((255 * np.concatenate(colours, axis=1)).astype(np.uint8))
    folder = pathlib.Path(__file__).parent / "images"
    folder.mkdir(exist_ok=True)
    image.save(folder / "silhouettes.png", optimize=True)


if __name__ == "__main__":
    with jax.default_matmul_precision("highest"):
        main()
