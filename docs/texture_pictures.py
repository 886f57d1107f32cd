"""Makes the picture of textures.md: `python docs/texture_pictures.py` from the repository's root (needs Pillow)."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image, ImageDraw

import mano_jax
import render_jax
from mano_jax.open_hand_model.poses import named_pose
from mano_jax.open_hand_model.texture import skin_texture

SIZE = 256
CAMERA = render_jax.Pinhole(fx=2.35 * SIZE, fy=2.35 * SIZE, cx=SIZE / 2, cy=SIZE / 2)


def views(vertices: jax.Array, degrees: list[float]) -> list[jax.Array]:
    """The hand turned about the vertical axis of the picture: 0 shows its palm, 180 its back. Camera frame, metres."""
    # The fingers (-x) point up the picture, the palm (-y) faces the camera.
    upright = (vertices - (vertices.min(axis=0) + vertices.max(axis=0))[None] / 2)[:, jnp.array([2, 0, 1])]
    turned = []
    for angle in np.radians(degrees):
        turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
        turned.append(upright @ jnp.asarray(turn.T, jnp.float32) + jnp.array([[0, 0, 0.5]]))
    return turned


def main() -> None:
    hand, atlas = mano_jax.open_hand(), mano_jax.open_hand_uv("right")
    uv, faces = jnp.asarray(atlas.coordinates), hand.faces
    pose = jnp.asarray(named_pose("relaxed"), jnp.float32)
    mesh = mano_jax.forward(hand, pose, jnp.zeros(10), jnp.zeros(3), jnp.zeros(3)).vertices
    skin = jnp.asarray(skin_texture(1024, "light") / 255.0, jnp.float32)

    @jax.jit
    def draw(vertices, texture, lights):
        paint = render_jax.UVTexture(texture, uv, atlas.faces)
        return render_jax.render(vertices, faces, CAMERA, (SIZE, SIZE), colours=paint, lights=lights).image

    unlit = render_jax.ambient_light()
    front, side, back = views(mesh, [0.0, 65.0, 180.0])
    photograph = draw(front, skin, render_jax.three_lights())
    found = render_jax.extract_texture(photograph, front, faces, CAMERA, uv, atlas.faces, 512)
    seen = jnp.where(found.visible[..., None], found.texture, 0.15)
    panels = {
        "image": photograph,
        "texels that it shows": seen,
        "filled": found.texture,
        "drawn again": draw(front, found.texture, unlit),
        "from the side": draw(side, found.texture, unlit),
        "from the back": draw(back, found.texture, unlit),
    }
    page = Image.new("RGB", (3 * SIZE, 2 * (SIZE + 16)), "white")
    writer = ImageDraw.Draw(page)
    for number, (title, panel) in enumerate(panels.items()):
        left, top = number % 3 * SIZE, number // 3 * (SIZE + 16)
        image = Image.fromarray(np.asarray(jnp.round(jnp.clip(panel, 0, 1) * 255)).astype(np.uint8))
        page.paste(image.resize((SIZE, SIZE), Image.Resampling.LANCZOS), (left, top + 16))
        writer.text((left + 6, top + 2), title, fill="black")
    folder = pathlib.Path(__file__).parent / "images"
    folder.mkdir(exist_ok=True)
    page.save(folder / "textures.png", optimize=True)


if __name__ == "__main__":
    with jax.default_matmul_precision("highest"):
        main()
