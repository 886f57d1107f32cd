"""The open hand's atlas covers it without overlap at one scale; skin textures have what skin has."""

import sys

import numpy as np
import pytest
from PIL import Image

import mano_jax
from mano_jax.open_hand_model import texture, uv
from mano_jax.open_hand_model.skin import TONES


@pytest.fixture(scope="module")
def hand() -> mano_jax.HandModel:
    return mano_jax.open_hand("right")


@pytest.fixture(scope="module")
def atlas() -> mano_jax.OpenHandUV:
    return mano_jax.open_hand_uv("right")


@pytest.fixture(scope="module")
def medium() -> np.ndarray:
    return texture.skin_texture(256, "medium")


def signed_areas(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    one, two = (points[faces[:, corner]] - points[faces[:, 0]] for corner in (1, 2))
    return 0.5 * (one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0])


def solid_areas(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    one, two = (vertices[faces[:, corner]] - vertices[faces[:, 0]] for corner in (1, 2))
    return 0.5 * np.linalg.norm(np.cross(one, two), axis=1)


def at_vertex(image: np.ndarray, atlas, hand, vertices: np.ndarray) -> np.ndarray:
    """Colours [N, 3] of the image where vertices lie."""
    places = np.full((778, 2), np.nan)
    places[hand.faces] = np.asarray(atlas.coordinates)[atlas.faces]
    u, v = places[vertices].T * len(image)
    return image[np.clip(len(image) - v, 0, len(image) - 1).astype(int), u.astype(int)].astype(float)


def test_coordinates_belong_to_one_vertex_each(hand, atlas):
    assert atlas.faces.shape == (1538, 3)
    assert atlas.coordinates.min() >= 0
    assert atlas.coordinates.max() <= 1
    assert len(np.unique(atlas.faces)) == len(atlas.coordinates)
    pairs = np.unique(np.stack([atlas.faces.ravel(), hand.faces.ravel()], 1), axis=0)
    assert len(pairs) == len(atlas.coordinates)


def test_charts_keep_orientation_and_size(hand, atlas):
    areas = signed_areas(np.asarray(atlas.coordinates, np.float64), atlas.faces)
    assert areas.min() > 0
    scale = areas / solid_areas(np.asarray(hand.template, np.float64), hand.faces)
    scale /= np.median(scale)
    assert scale.min() > 0.5
    assert scale.max() < 3.5  # at the fingertips, where rings close
    assert np.quantile(scale, 0.05) > 0.8
    assert np.quantile(scale, 0.9) < 1.6


def test_charts_do_not_overlap(atlas):
    """As many texel centres are inside of triangles as the triangles have area, and each inside of one only."""
    size = 512
    places = np.stack([atlas.coordinates[:, 0], atlas.coordinates[:, 1]], -1).astype(np.float64) * size
    count = np.zeros((size, size), int)
    for a, b, c in places[atlas.faces]:
        low, high = np.floor(np.minimum(np.minimum(a, b), c)).astype(int), np.ceil(np.maximum(np.maximum(a, b), c))
        columns, rows = np.meshgrid(np.arange(low[0], int(high[0])), np.arange(low[1], int(high[1])))
        points = np.stack([columns, rows], -1) + 0.5
        inside = np.ones(columns.shape, bool)
        for one, two in ((a, b), (b, c), (c, a)):
            edge, offset = two - one, points - one
            inside &= edge[0] * offset[..., 1] - edge[1] * offset[..., 0] > 1e-6
        count[rows[inside], columns[inside]] += 1
    assert count.max() == 1
    area = signed_areas(places, atlas.faces).sum()
    assert count.sum() == pytest.approx(area, rel=0.01)


def test_left_atlas_shows_the_mirrored_hand(atlas):
    left_atlas, left = mano_jax.open_hand_uv("left"), mano_jax.open_hand("left")
    right = mano_jax.open_hand("right")
    np.testing.assert_array_equal(left_atlas.coordinates, atlas.coordinates)

    def places(model, atlas):
        found = {}
        for corner, vertex in zip(atlas.faces.ravel(), model.faces.ravel(), strict=True):
            found[int(corner)] = int(vertex)
        return found

    assert places(left, left_atlas) == places(right, atlas)
    with pytest.raises(ValueError, match="side must be"):
        mano_jax.open_hand_uv("both")


def test_shipped_atlas_is_what_the_code_makes(hand, atlas):
    made = uv.atlas(np.asarray(hand.template, np.float64), hand.faces)
    np.testing.assert_array_equal(made["uv_faces"], atlas.faces)
    np.testing.assert_allclose(made["uv"], atlas.coordinates, atol=1e-5)


def test_texture_is_deterministic_and_scales(medium):
    assert medium.shape == (256, 256, 3)
    assert medium.dtype == np.uint8
    np.testing.assert_array_equal(texture.skin_texture(256, "medium"), medium)
    assert (texture.skin_texture(256, "medium", seed=1) != medium).any()
    larger = texture.skin_texture(512, "medium").reshape(256, 2, 256, 2, 3).mean((1, 3))
    assert np.abs(larger - medium).mean() < 2.0


def test_skin_has_what_skin_has(hand, atlas, medium):
    tips, joints = np.asarray(hand.fingertips()), np.asarray(hand.joint_template)
    palmar = texture.palmar_side(hand)
    template = np.asarray(hand.template)
    metacarpal = np.linalg.norm(template - joints[4], axis=1) < 0.045
    wrist = template[:, 0] > joints[0, 0]
    palm = at_vertex(medium, atlas, hand, np.flatnonzero((palmar > 0.8) & metacarpal)).mean(0)
    back = at_vertex(medium, atlas, hand, np.flatnonzero((palmar < -0.8) & wrist)).mean(0)
    assert palm[0] / palm[1] > 1.05 * back[0] / back[1]  # redder
    distal = [np.argmin(np.abs(template - template[tip]).sum(1) + (palmar < 0.5)) for tip in tips]
    pads = at_vertex(medium, atlas, hand, np.array(distal)).mean(0)
    assert pads[0] / pads[1] > palm[0] / palm[1]
    dark = texture.skin_texture(256, "dark")
    contrast = [
        at_vertex(image, atlas, hand, np.flatnonzero(palmar > 0.7)).mean()
        / at_vertex(image, atlas, hand, np.flatnonzero(palmar < -0.7)).mean()
        for image in (medium, dark)
    ]
    assert contrast[1] > contrast[0] + 0.3  # palms of dark hands are much lighter than the backs


def test_tones_go_from_light_to_dark():
    means = [texture.skin_texture(64, tone).mean() for tone in TONES]
    assert (np.diff(means) < -5).all()
    between = texture.skin_texture(64, 20.0).mean()
    assert means[3] < between < means[2]


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match=r"tone must be one of very_light, .* got 'green'"):
        texture.skin_texture(64, "green")
    with pytest.raises(ValueError, match="size must be 16 or more texels, got 4"):
        texture.skin_texture(4)


def test_command_writes_png_files(tmp_path, monkeypatch, capsys):
    out = tmp_path / "skins"
    monkeypatch.setattr(sys, "argv", ["texture", f"--out={out}", "--size=64", "--tone=tan"])
    assert texture.main() == 0
    assert [path.name for path in out.iterdir()] == ["skin_tan_64.png"]
    np.testing.assert_array_equal(np.asarray(Image.open(out / "skin_tan_64.png")), texture.skin_texture(64, "tan"))
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    monkeypatch.setattr(sys, "argv", ["texture", f"--out={blocked}", "--size=64", "--tone=tan"])
    assert texture.main() == 2
    assert "cannot write textures" in capsys.readouterr().err
