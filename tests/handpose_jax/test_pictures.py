"""Overlays, contact sheets, GIFs and mesh files: what is drawn where, and files that other programs read."""

import io
import json

import numpy as np
import pytest
import trimesh
from PIL import Image, ImageSequence

from handpose_jax.evaluation.drawing import (
    CAPTION_HEIGHT,
    FINGER_COLOURS,
    contact_sheet,
    draw_skeleton,
    gif_bytes,
    to_image,
    with_caption,
)
from handpose_jax.evaluation.pictures import PANEL_SIZE, PicturedHand, overlay, turntable_gif
from mano_jax.export import MESH_FORMATS, mesh_bytes, write_mesh

CAMERA = np.array([[500.0, 0.0, 128.0], [0.0, 500.0, 128.0], [0.0, 0.0, 1.0]])
BALL = trimesh.creation.icosphere(subdivisions=2)


def ball(x: float, y: float, z: float, radius: float) -> np.ndarray:
    return BALL.vertices * radius + (x, y, z)


def panels(picture: Image.Image) -> list[np.ndarray]:
    array = np.asarray(picture)
    assert array.shape == (PANEL_SIZE + CAPTION_HEIGHT, 4 * PANEL_SIZE + 9, 3)
    return [array[:PANEL_SIZE, i * (PANEL_SIZE + 3) : i * (PANEL_SIZE + 3) + PANEL_SIZE] for i in range(4)]


def centre_of(mask: np.ndarray) -> np.ndarray:
    """Mean (u, v) of the pixels of a mask."""
    v, u = np.nonzero(mask)
    return np.array([u.mean() + 0.5, v.mean() + 0.5])


def test_the_mesh_lies_where_the_camera_sees_it():
    """A ball of 55 mm at half a metre, over a blue image of 256x256 that the panel shows whole."""
    image = np.full((256, 256, 3), (0, 0, 255), np.uint8)
    hand = PicturedHand(None, ball(0.04, -0.02, 0.5, 0.055), BALL.faces)
    plain, keypoints, mesh, side = panels(overlay(image, [hand], CAMERA))
    np.testing.assert_array_equal(plain, keypoints)
    covered = np.abs(mesh.astype(int) - (0, 0, 255)).max(axis=2) > 10
    expected = (500 * np.array([0.04, -0.02]) / 0.5 + 128) * PANEL_SIZE / 256
    np.testing.assert_allclose(centre_of(covered), expected, atol=2.0)
    assert covered.sum() == pytest.approx(np.pi * (500 * 0.055 / 0.5 * PANEL_SIZE / 256) ** 2, rel=0.05)
    # From the side a ball is as large, in the middle of the panel.
    beside = np.abs(side.astype(int) - side[0, 0]).max(axis=2) > 10
    np.testing.assert_allclose(centre_of(beside), PANEL_SIZE / 2, atol=3.0)
    assert beside.sum() == pytest.approx(covered.sum(), rel=0.1)


def test_the_side_view_turns_depth_to_the_right():
    """A large ball near the camera and a small one behind it: from the viewer's right, the near one is on the left."""
    image = np.zeros((256, 256, 3), np.uint8)
    rod = np.concatenate([ball(0, 0, 0.45, 0.02), ball(0, 0, 0.55, 0.005)])
    faces = np.concatenate([BALL.faces, BALL.faces + len(BALL.vertices)])
    side = panels(overlay(image, [PicturedHand(None, rod, faces)], CAMERA))[3]
    columns = np.flatnonzero((side[..., 2] < 200).any(axis=0))
    heights = (side[..., 2] < 200).sum(axis=0)
    assert columns.min() > 0
    assert columns.max() < PANEL_SIZE - 1
    # 125 mm long, 40 mm high, and the small ball a quarter of that.
    assert (columns.max() - columns.min()) / heights.max() == pytest.approx(125 / 40, rel=0.1)
    middle = (columns.max() + columns.min()) // 2
    assert heights[:middle].max() == pytest.approx(4 * heights[middle:].max(), rel=0.15)


def test_large_photographs_are_cropped_to_the_hand_and_framed():
    image = np.zeros((1000, 2000, 3), np.uint8)
    camera = np.array([[2000.0, 0.0, 1000.0], [0.0, 2000.0, 500.0], [0.0, 0.0, 1.0]])
    hand = PicturedHand(None, ball(0.2, 0.1, 1.0, 0.04), BALL.faces)
    plain, _, mesh, _ = panels(overlay(image, [hand], camera))
    assert (plain == 255).any()  # the frame
    covered = mesh.max(axis=2) > 60
    np.testing.assert_allclose(centre_of(covered & (mesh[..., 0] > mesh[..., 2])), PANEL_SIZE / 2, atol=4.0)
    assert 0.2 < covered.mean() < 0.6


def test_a_hand_outside_the_image_and_one_that_was_not_fitted_are_drawn_without_harm():
    image = np.zeros((64, 48, 3), np.uint8)
    keypoints = np.full((21, 3), np.nan)
    hands = [PicturedHand(keypoints, None, BALL.faces, "not fitted"), PicturedHand(None, ball(9, 9, 1, 1), BALL.faces)]
    panels(overlay(image, hands, CAMERA, "a.jpg"))


def test_skeleton_colours_and_unseen_points():
    picture = Image.new("RGB", (200, 200))
    keypoints = np.stack([np.linspace(10, 190, 21), np.full(21, 100.0)], axis=1)
    drawn = np.asarray(draw_skeleton(picture, keypoints, [True] * 21))
    for finger, colour in enumerate(FINGER_COLOURS):
        u, v = keypoints[4 * finger + 2].astype(int)
        np.testing.assert_allclose(drawn[v, u], colour, atol=3)
    assert not np.asarray(draw_skeleton(picture, keypoints, [False] * 21)).any()


def test_contact_sheet_and_captions():
    pictures = [Image.new("RGB", (100, 50), (255, 0, 0)) for _ in range(5)]
    sheet = contact_sheet(pictures, ["a"] * 5, columns=2, cell_width=80)
    assert sheet.size == (2 * 88 + 8, 3 * (40 + CAPTION_HEIGHT + 8) + 8)
    assert with_caption(pictures[0], "much too long a caption for this width").size == (100, 50 + CAPTION_HEIGHT)
    with pytest.raises(ValueError, match="as many labels"):
        contact_sheet(pictures, ["a"])
    with pytest.raises(ValueError, match="as many labels"):
        contact_sheet([])


def test_gif_keeps_all_frames_and_their_colours():
    frames = [to_image(np.full((20, 20, 3), value)) for value in (0.0, 0.5, 1.0)]
    with Image.open(io.BytesIO(gif_bytes(frames, 25.0))) as gif:
        assert len(ImageSequence.all_frames(gif)) == 3
        assert (gif.info["loop"], gif.info["duration"]) == (0, 40)
        gif.seek(1)
        np.testing.assert_allclose(np.asarray(gif.convert("RGB")), 128, atol=2)
    with pytest.raises(ValueError, match="at least one frame"):
        gif_bytes([])


@pytest.mark.slow
def test_turntable_turns_once():
    """A ball off the centre of its mesh goes round: front, right, behind (hidden by none, smaller), left."""
    body = np.concatenate([ball(0, 0, 0, 0.01), ball(0.05, 0, 0, 0.01)])
    faces = np.concatenate([BALL.faces, BALL.faces + len(BALL.vertices)])
    with Image.open(io.BytesIO(turntable_gif(body, faces, views=4, size=64))) as gif:
        widths = []
        for frame in range(4):
            gif.seek(frame)
            columns = np.flatnonzero((np.asarray(gif.convert("RGB"))[..., 2] < 200).any(axis=0))
            widths.append(columns.max() - columns.min())
    assert widths[0] == pytest.approx(widths[2], abs=2)
    assert widths[1] == pytest.approx(widths[3], abs=2)
    assert widths[0] > 2 * widths[1]


@pytest.mark.parametrize("kind", MESH_FORMATS)
def test_mesh_files_are_read_back(tmp_path, kind):
    vertices = ball(0.01, 0.02, 0.5, 0.05)
    path = tmp_path / f"hand.{kind}"
    write_mesh(path, vertices, BALL.faces, "left hand")
    mesh = trimesh.load_mesh(path, process=False)
    assert isinstance(mesh, trimesh.Trimesh)
    expected = vertices * (1, -1, -1) if kind == "glb" else vertices
    np.testing.assert_allclose(mesh.vertices, expected, atol=1e-7)
    np.testing.assert_array_equal(mesh.faces, BALL.faces)
    assert mesh.volume > 0  # still facing outwards
    outwards = mesh.vertices - mesh.vertices.mean(axis=0)
    cosines = (mesh.vertex_normals * outwards).sum(axis=1) / np.linalg.norm(outwards, axis=1)
    assert cosines.min() > 0.99
    assert [file.name for file in tmp_path.iterdir()] == [f"hand.{kind}"]


def test_mesh_files_say_their_frame():
    vertices = ball(0, 0, 0.5, 0.05)
    for kind in ("obj", "ply"):
        head = mesh_bytes(kind, vertices, BALL.faces, "a hand")[:300].decode(errors="replace")
        assert "a hand: metres, camera frame of OpenCV" in head
    content = mesh_bytes("glb", vertices, BALL.faces, "a hand")
    length = int.from_bytes(content[12:16], "little")
    tree = json.loads(content[20 : 20 + length])
    assert "y up" in tree["asset"]["extras"]["frame"]
    assert tree["meshes"][0]["name"] == "a hand"
    assert set(tree["meshes"][0]["primitives"][0]["attributes"]) >= {"POSITION", "NORMAL"}


def test_meshes_that_cannot_be_written(tmp_path):
    with pytest.raises(ValueError, match=r"\.stl: .* must end in \.glb"):
        write_mesh(tmp_path / "a.stl", ball(0, 0, 1, 1), BALL.faces)
    with pytest.raises(ValueError, match="not finite"):
        write_mesh(tmp_path / "a.glb", ball(0, 0, np.nan, 1), BALL.faces)
    with pytest.raises(ValueError, match=r"vertices \[V, 3\]"):
        write_mesh(tmp_path / "a.glb", np.zeros((4, 2)), BALL.faces)
    assert not list(tmp_path.iterdir())
