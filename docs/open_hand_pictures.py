"""Makes the pictures of open_hand.md: `python docs/open_hand_pictures.py` from the repository's root (needs Pillow)."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image, ImageDraw

import mano_jax
import render_jax
from mano_jax.open_hand_model import poses, shape_components
from mano_jax.open_hand_model.skin import TONES
from mano_jax.open_hand_model.texture import skin_texture

IMAGES = pathlib.Path(__file__).parent / "images"
SIZE = 240
# Where the camera stands, seen from the hand, and what is up on the picture; model frame.
VIEWS = {
    "back": ((0.0, 1.0, 0.0), (-1.0, 0.0, 0.0)),
    "palm": ((0.0, -1.0, 0.0), (-1.0, 0.0, 0.0)),
    "thumb side": ((0.0, 0.0, 1.0), (-1.0, 0.0, 0.0)),
    "little side": ((0.0, 0.0, -1.0), (-1.0, 0.0, 0.0)),
    "fingertips": ((-1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),
    "oblique": ((-0.25, 0.65, 0.75), (-1.0, 0.2, 0.0)),
}
SAMPLES = 2  # along each side of a pixel of a textured picture
TARGET, DISTANCE = (0.005, -0.01, 0.005), 1.0
CAMERA = render_jax.Pinhole(fx=4.2 * SIZE, fy=4.2 * SIZE, cx=SIZE / 2, cy=SIZE / 2)


def picture(vertices: jax.Array, faces: np.ndarray, view: str, target=TARGET) -> np.ndarray:
    """[SIZE, SIZE, 3] uint8 from one of `VIEWS`."""
    side, up = (jnp.asarray(vector, jnp.float32) for vector in VIEWS[view])
    target = jnp.asarray(target, jnp.float32)
    rotation, translation = render_jax.look_at(target + DISTANCE * side / jnp.linalg.norm(side), target, up)
    image = drawn(vertices @ rotation.T + translation, faces)
    return np.asarray(jnp.clip(image, 0, 1) * 255).astype(np.uint8)


@jax.jit
def drawn(vertices: jax.Array, faces: np.ndarray) -> jax.Array:
    return render_jax.render(vertices, faces, CAMERA, (SIZE, SIZE)).image


def textured(vertices: jax.Array, hand: mano_jax.HandModel, texture: np.ndarray, view: str) -> np.ndarray:
    """[SIZE, SIZE, 3] uint8: the texture looked up at the nearest texel, lit from over the viewer's left shoulder."""
    side, up = (jnp.asarray(vector, jnp.float32) for vector in VIEWS[view])
    target = (vertices.max(0) + vertices.min(0)) / 2
    rotation, translation = render_jax.look_at(target + DISTANCE * side / jnp.linalg.norm(side), target, up)
    seen = vertices @ rotation.T + translation
    finer = CAMERA.resized(SAMPLES)
    fragments = render_jax.rasterize(finer.to_screen(seen), hand.faces, (SIZE * SAMPLES, SIZE * SAMPLES))
    face, weights = np.asarray(fragments.face_index), np.asarray(fragments.barycentric)[..., None]
    atlas = mano_jax.open_hand_uv(hand.side)
    u, v = np.moveaxis(np.sum(atlas.coordinates[atlas.faces[face]] * weights, -2), -1, 0) * len(texture)
    last = len(texture) - 1
    colours = texture[np.clip(last + 1 - v, 0, last).astype(int), np.clip(u, 0, last).astype(int)] / 255.0
    normals = np.sum(np.asarray(render_jax.vertex_normals(seen, hand.faces))[hand.faces[face]] * weights, -2)
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-9)
    light = np.array([-0.5, -0.7, -0.75]) / np.linalg.norm([-0.5, -0.7, -0.75])
    lit = (colours**2.2 * (0.35 + 0.75 * np.maximum(normals @ light, 0.0))[..., None]) ** (1 / 2.2)
    image = np.where(np.asarray(fragments.mask)[..., None], np.clip(lit, 0, 1), 1.0)
    return (image.reshape(SIZE, SAMPLES, SIZE, SAMPLES, 3).mean((1, 3)) * 255).astype(np.uint8)


def sheet(rows: list[tuple[str, list[np.ndarray]]], columns: list[str]) -> Image.Image:
    """Rows of pictures under column titles, each row with its own title."""
    grid = Image.fromarray(np.concatenate([np.concatenate(row, 1) for _, row in rows]))
    page = Image.new("RGB", (grid.width, grid.height + 18), "white")
    page.paste(grid, (0, 18))
    draw = ImageDraw.Draw(page)
    for number, title in enumerate(columns):
        draw.text((number * SIZE + 6, 3), title, fill="black")
    for number, (title, _) in enumerate(rows):
        draw.text((6, number * SIZE + 22), title, fill="black")
    return page


def main() -> None:
    hand = mano_jax.open_hand()
    zero = jnp.zeros(3)
    rows = []
    for name in poses.ANGLES:
        pose = jnp.asarray(poses.named_pose(name), jnp.float32)
        vertices = mano_jax.forward(hand, pose, jnp.zeros(10), zero, zero).vertices
        middle = (vertices.max(0) + vertices.min(0)) / 2
        rows.append((name.replace("_", " "), [picture(vertices, hand.faces, view, middle) for view in VIEWS]))
    IMAGES.mkdir(exist_ok=True)
    sheet(rows, list(VIEWS)).save(IMAGES / "open_hand_poses.png", optimize=True)

    rows = []
    for number, component in enumerate(shape_components.COMPONENTS):
        shapes = [amount * jnp.eye(10)[number] for amount in (-3.0, 0.0, 3.0)]
        meshes = [mano_jax.forward(hand, jnp.zeros(45), shape, zero, zero).vertices for shape in shapes]
        row = [picture(vertices, hand.faces, view) for view in ("palm", "thumb side") for vertices in meshes]
        rows.append((component.name, row))
    sheet(rows, ["-3", "0", "+3"] * 2).save(IMAGES / "open_hand_shapes.png", optimize=True)

    sampled = mano_jax.sample_poses(hand, jax.random.key(0), 24)
    meshes = mano_jax.forward(hand, sampled, jnp.zeros(10), zero, zero).vertices
    rows = []
    for first in range(0, 24, 4):
        row = []
        for vertices in meshes[first : first + 4]:
            middle = (vertices.max(0) + vertices.min(0)) / 2
            row += [picture(vertices, hand.faces, view, middle) for view in ("palm", "oblique")]
        rows.append((f"{first} to {first + 3}", row))
    sheet(rows, ["palm", "oblique"] * 4).save(IMAGES / "open_hand_samples.png", optimize=True)

    rows = []
    meshes = [
        mano_jax.forward(hand, jnp.asarray(poses.named_pose(name), jnp.float32), jnp.zeros(10), zero, zero).vertices
        for name in ("open", "relaxed", "fist")
    ]
    for tone in TONES:
        texture = skin_texture(1024, tone)
        views = ((0, "back"), (0, "palm"), (1, "oblique"), (2, "palm"))
        atlas = np.asarray(Image.fromarray(texture).resize((SIZE, SIZE), Image.Resampling.LANCZOS))
        row = [textured(meshes[number], hand, texture, view) for number, view in views]
        rows.append((tone.replace("_", " "), [*row, atlas]))
    columns = ["open, back", "open, palm", "relaxed", "fist", "atlas"]
    sheet(rows, columns).save(IMAGES / "open_hand_skin.png", optimize=True)


if __name__ == "__main__":
    main()
