"""Closed wrist, normals, parts, two hands, and the skinned GLB read back and skinned by another program."""

import dataclasses
import io
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trimesh

import mano_jax
from mano_jax import (
    PART_NAMES,
    HandModel,
    closed_faces,
    face_parts,
    forward,
    keypoints,
    open_hand,
    skinned_glb,
    two_hands,
    vertex_normals,
    vertex_parts,
    write_skinned_glb,
)
from mano_jax.surface import wrist_loop
from tests.mano_jax.gltf_reader import Gltf
from tests.mano_jax.made_up_model import made_up_hand

jitted_forward = jax.jit(forward)


def without_correctives(model: HandModel) -> HandModel:
    return dataclasses.replace(model, blend_basis=model.blend_basis.at[:135].set(0.0))


@pytest.mark.parametrize("side", ["right", "left"])
def test_lid_closes_the_wrist_facing_outwards(side: str):
    model = open_hand(side)
    assert len(wrist_loop(model)) == 16
    faces = closed_faces(model)
    np.testing.assert_array_equal(faces[: len(model.faces)], model.faces)
    assert len(faces) == len(model.faces) + 14
    closed = trimesh.Trimesh(np.asarray(model.template), faces, process=False)
    assert closed.is_watertight
    assert closed.is_winding_consistent
    assert 2e-4 < closed.volume < 5e-4  # Cubic metres: a hand is a third of a litre.
    lid = trimesh.Trimesh(np.asarray(model.template), faces[-14:], process=False)
    direction = lid.face_normals[lid.area_faces > 1e-8].mean(axis=0)
    fingers = np.asarray(model.joint_template[4] - model.joint_template[0])
    assert direction @ fingers < 0.0  # The lid looks away from the fingers.


def test_meshes_without_one_opening_are_refused():
    model = open_hand()
    with pytest.raises(ValueError, match="one opening"):
        closed_faces(
            dataclasses.replace(model, topology=dataclasses.replace(model.topology, faces=closed_faces(model)))
        )
    torn = dataclasses.replace(
        model, topology=dataclasses.replace(model.topology, faces=np.delete(model.faces, 900, 0))
    )
    with pytest.raises(ValueError, match="one opening"):
        closed_faces(torn)


def test_normals_are_area_weighted_means():
    model = open_hand()
    vertices = np.asarray(model.template, np.float64)
    corners = vertices[model.faces]
    areas = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    expected = np.zeros_like(vertices)
    for face, area in zip(model.faces, areas, strict=True):
        expected[face] += area
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    batch = jnp.stack([model.template, 2.0 * model.template])
    normals = jax.jit(vertex_normals)(batch, model.faces)
    np.testing.assert_allclose(normals, np.stack([expected, expected]), rtol=0.0, atol=1e-5)


def test_normal_of_a_vertex_without_area_is_zero_with_a_finite_derivative():
    vertices = jnp.asarray([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [5, 5, 5], [5, 5, 5]], jnp.float32)
    faces = np.array([[0, 1, 2], [3, 4, 3]])
    normals = vertex_normals(vertices, faces)
    np.testing.assert_allclose(normals[:3], np.broadcast_to([0.0, 0.0, 1.0], (3, 3)), atol=1e-7)
    np.testing.assert_array_equal(normals[3:], np.zeros((2, 3)))
    assert np.isfinite(jax.jacrev(vertex_normals)(vertices, faces)).all()


@pytest.mark.parametrize("side", ["right", "left"])
def test_parts_are_where_the_fingers_are(side: str):
    model = open_hand(side)
    parts = vertex_parts(model)
    points = np.asarray(mano_jax.keypoints(model, np.zeros(45), np.zeros(10), np.zeros(3), np.zeros(3)))
    for finger, name in enumerate(PART_NAMES[1:]):
        tip, base = points[4 + 4 * finger], points[2 + 4 * finger]
        own = np.asarray(model.template)[parts == 1 + finger]
        assert parts[model.fingertips()[finger]] == PART_NAMES.index(name)
        # Vertices of a finger are nearer to its own outer bones than 25 mm.
        along = np.clip(((own - base) @ (tip - base)) / ((tip - base) @ (tip - base)), 0.0, 1.0)
        distance = np.linalg.norm(own - (base + along[:, None] * (tip - base)), axis=1)
        assert np.median(distance) < 0.015
    assert (np.bincount(parts, minlength=6) > 60).all()
    by_face = face_parts(model)
    agree = parts[model.faces] == by_face[:, None]
    assert agree.any(axis=1).all()
    assert (agree.sum(axis=1) >= 2).mean() > 0.99


@pytest.mark.slow
def test_two_hands_are_both_hands():
    left, right = open_hand("left"), open_hand("right")
    hands = two_hands(left, right)
    random = np.random.default_rng(0)
    parameters = [random.normal(size=(2, 5, n)).astype(np.float32) for n in (45, 10, 3, 3)]
    mesh = jax.jit(jax.vmap(forward))(hands, *parameters)
    points = jax.jit(jax.vmap(keypoints))(hands, *parameters)
    assert mesh.vertices.shape == (2, 5, 778, 3)
    for row, model in enumerate((left, right)):
        alone = [array[row] for array in parameters]
        np.testing.assert_allclose(mesh.vertices[row], jitted_forward(model, *alone).vertices, rtol=0.0, atol=1e-6)
        np.testing.assert_allclose(points[row], keypoints(model, *alone), rtol=0.0, atol=1e-6)
    rest = trimesh.Trimesh(np.asarray(hands.template).reshape(1556, 3), hands.faces, process=False)
    for row, model in enumerate((left, right)):
        alone = trimesh.Trimesh(np.asarray(model.template), model.faces, process=False)
        np.testing.assert_allclose(rest.face_normals[1538 * row : 1538 * (row + 1)], alone.face_normals, atol=1e-6)


def test_what_has_one_side_refuses_two_hands():
    hands = two_hands(open_hand("left"), open_hand("right"))
    with pytest.raises(ValueError, match="anatomy is that of one hand, left or right, got a model of both hands"):
        mano_jax.joint_axes(hands)
    with pytest.raises(ValueError, match="expected one hand, left or right, to mirror"):
        mano_jax.mirror_model(hands)
    with pytest.raises(ValueError, match="expected a left and a right hand, in this order, got 'right' and 'left'"):
        two_hands(open_hand("right"), open_hand("left"))
    with pytest.raises(ValueError, match="arrays of the same shapes"):
        two_hands(made_up_hand(side="left", components=5), made_up_hand())


def motion(seed: int, frames: int) -> tuple:
    """A smooth path through random poses, rotations beyond half a turn among them."""
    random = np.random.default_rng(seed)
    time = np.linspace(0.0, 1.0, frames)[:, None]
    pose = 0.5 * random.normal(size=45) + time * random.normal(size=45)
    rotation = random.normal(size=3) + 5.0 * time * np.array([0.6, 0.0, 0.8])
    return pose, random.normal(size=10), rotation, 0.3 * random.normal(size=3) + 0.1 * time


@pytest.mark.parametrize("name", ["open right", "open left", "made up"])
def test_skinned_file_read_back_is_forward_without_correctives(name: str):
    """The mesh of another program's skinning: within 0.1 mm; made-up weights need more than four joints a vertex."""
    model = made_up_hand() if name == "made up" else open_hand(name.split()[1])
    pose, shape, rotation, translation = motion(1, 12)
    content = skinned_glb(model, pose, shape, rotation, translation, frames_per_second=24.0, closed=name != "made up")
    expected = np.asarray(jitted_forward(without_correctives(model), pose, shape, rotation, translation).vertices)
    gltf = Gltf(content)
    for frame in range(12):
        np.testing.assert_allclose(gltf.skinned(frame / 24.0), expected[frame], rtol=0.0, atol=1e-5)
    np.testing.assert_allclose(gltf.skinned(), expected[0], rtol=0.0, atol=1e-5)
    # Between two frames engines take the short way round: near the middle of each vertex's step.
    for frame in range(11):
        middle, step = 0.5 * (expected[frame] + expected[frame + 1]), expected[frame + 1] - expected[frame]
        assert np.abs(gltf.skinned((frame + 0.5) / 24.0) - middle).max() < 0.2 * np.abs(step).max()


def test_joints_of_the_file_are_named_and_where_the_chain_has_them():
    model = open_hand("right")
    pose, shape, rotation, translation = motion(2, 3)
    gltf = Gltf(skinned_glb(model, pose, shape, rotation, translation))
    mesh = jitted_forward(model, pose, shape, rotation, translation)
    names = [gltf.tree["nodes"][joint]["name"] for joint in gltf.tree["skins"][0]["joints"]]
    assert tuple(names) == mano_jax.MODEL_JOINT_NAMES
    worlds = gltf.worlds(1.0 / 30.0)[gltf.tree["skins"][0]["joints"]]
    np.testing.assert_allclose(worlds[:, :3, 3], mesh.joints[1], rtol=0.0, atol=1e-6)
    np.testing.assert_allclose(worlds[:, :3, :3], mesh.joint_rotations[1], rtol=0.0, atol=1e-6)


def test_camera_frame_is_turned_upright_and_a_still_hand_has_no_animation():
    model = open_hand("left")
    pose, shape, rotation, translation = (array[0] if array.ndim == 2 else array for array in motion(3, 2))
    gltf = Gltf(skinned_glb(model, pose, shape, rotation, translation, camera_frame=True, closed=False))
    assert "animations" not in gltf.tree
    mesh = jitted_forward(without_correctives(model), pose, shape, rotation, translation)
    np.testing.assert_allclose(gltf.skinned(), np.asarray(mesh.vertices) * [1.0, -1.0, -1.0], rtol=0.0, atol=1e-5)


def test_other_libraries_read_the_file(tmp_path: pathlib.Path):
    model = open_hand("right")
    path = tmp_path / "hand.glb"
    write_skinned_glb(path, model, *motion(4, 5))
    assert [file.name for file in tmp_path.iterdir()] == ["hand.glb"]
    scene = trimesh.load_scene(io.BytesIO(path.read_bytes()), file_type="glb", process=False)
    (mesh,) = scene.geometry.values()
    assert mesh.vertices.shape == (778, 3)
    assert mesh.is_watertight
    shape = motion(4, 5)[1]
    np.testing.assert_allclose(mesh.vertices, model.shaped(shape).template, rtol=0.0, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(mesh.vertex_normals, axis=1), 1.0, atol=1e-5)


def test_what_cannot_be_written_is_refused(tmp_path: pathlib.Path):
    model, zeros = open_hand("right"), (np.zeros(45), np.zeros(10), np.zeros(3), np.zeros(3))
    with pytest.raises(ValueError, match=r"hand.gltf: a skinned hand is written as .glb only"):
        write_skinned_glb(tmp_path / "hand.gltf", model, *zeros)
    with pytest.raises(ValueError, match=r"shape must be one vector of at most 10 numbers, got \[2, 10\]"):
        skinned_glb(model, zeros[0], np.zeros((2, 10)), *zeros[2:])
    with pytest.raises(ValueError, match=r"pose must have shape \[45\] or \[frames, 45\], got \[44\]"):
        skinned_glb(model, np.zeros(44), *zeros[1:])
    with pytest.raises(ValueError, match="not finite"):
        skinned_glb(model, np.full(45, np.nan), *zeros[1:])
    with pytest.raises(ValueError, match="frames_per_second must be positive, got 0"):
        skinned_glb(model, *zeros, frames_per_second=0.0)
    assert not list(tmp_path.iterdir())
