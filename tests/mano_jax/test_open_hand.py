"""The open hand: a manifold mesh of MANO's topology with a real hand's measures, which bends without collapsing."""

import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

import mano_jax
from mano_jax.open_hand_model import flesh, measures, poses
from mano_jax.open_hand_model.shape_components import COMPONENTS, rest_points
from tests.mano_jax import mesh_measures

# Adult hands, millimetres: wrist to first joint, then the three bones, the last to the finger's tip. See the page
# docs/open_hand.md.
BONE_RANGES = {
    "thumb": ((32, 44), (32, 41), (29, 34), (27, 30)),
    "index": ((81, 92), (38, 44), (23, 27), (20, 24)),
    "middle": ((79, 89), (39, 49), (27, 31), (21, 24)),
    "ring": ((75, 86), (32, 47), (25, 30), (19, 24)),
    "little": ((71, 86), (25, 36), (18, 22), (17, 21)),
}


@pytest.fixture(scope="module")
def hand() -> mano_jax.HandModel:
    return mano_jax.open_hand("right")


def vertices_of(model, pose=None, shape=None) -> np.ndarray:
    pose = np.zeros(45) if pose is None else pose
    shape = np.zeros(10) if shape is None else shape
    mesh = mano_jax.forward(
        model, jnp.asarray(pose, jnp.float32), jnp.asarray(shape, jnp.float32), jnp.zeros(3), jnp.zeros(3)
    )
    return np.asarray(mesh.vertices, np.float64)


def keypoints_of(model, shape=None) -> np.ndarray:
    """[21, 3] millimetres at rest."""
    shape = jnp.zeros(10) if shape is None else jnp.asarray(shape, jnp.float32)
    return np.asarray(mano_jax.keypoints(model, jnp.zeros(45), shape, jnp.zeros(3), jnp.zeros(3)), np.float64) * 1000


def bone_lengths(keypoints: np.ndarray) -> dict[str, np.ndarray]:
    chains = {name: [0, *range(1 + 4 * i, 5 + 4 * i)] for i, name in enumerate(measures.FINGER_NAMES)}
    return {name: np.linalg.norm(np.diff(keypoints[chain], axis=0), axis=-1) for name, chain in chains.items()}


def test_topology_is_manos(hand):
    faces = hand.faces
    assert hand.template.shape == (778, 3)
    assert faces.shape == (1538, 3)
    counts = mesh_measures.edge_counts(faces)
    assert set(counts.values()) == {1, 2}
    assert 778 - len(counts) + 1538 == 1  # a disc
    (loop,) = mesh_measures.border_loops(faces)
    assert len(loop) == 16
    assert all(mesh_measures.fans(faces, vertex) == 1 for vertex in range(778))


def test_wrist_loop_is_at_the_wrist_and_flat(hand):
    (loop,) = mesh_measures.border_loops(hand.faces)
    ring = np.asarray(hand.template)[loop]
    assert np.ptp(ring[:, 0]) < 1e-6
    assert ring[0, 0] == pytest.approx(np.asarray(hand.template)[:, 0].max(), abs=1e-6)
    assert 0.015 < ring[0, 0] - float(hand.joint_template[0, 0]) < 0.035


def test_faces_are_outward_and_well_shaped(hand):
    corners = np.asarray(hand.template, np.float64)[hand.faces]
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(cross, axis=-1) / 2
    sides = np.sum((corners - np.roll(corners, 1, axis=1)) ** 2, (1, 2))
    quality = 4 * np.sqrt(3) * area / sides  # 1 for an equilateral triangle
    assert quality.min() > 0.4
    assert 0.27e-3 < mesh_measures.volume(hand.template, hand.faces) < 0.42e-3  # cubic metres, wrist stub included


def test_bones_and_ratios_are_those_of_hands(hand):
    keypoints = keypoints_of(hand)
    lengths = bone_lengths(keypoints)
    for name, ranges in BONE_RANGES.items():
        for length, (low, high) in zip(lengths[name], ranges, strict=True):
            assert low <= length <= high, (name, lengths[name])
    palm = lengths["middle"][0]
    ranges = ((0.35, 0.62), (0.29, 0.36), (0.21, 0.31))
    for ratio, (low, high) in zip(lengths["middle"][1:] / palm, ranges, strict=True):
        assert low <= ratio <= high
    assert 0.93 <= lengths["index"][0] / palm <= 1.09
    assert 0.93 <= lengths["ring"][0] / palm <= 1.09
    assert 0.86 <= lengths["little"][0] / palm <= 1.0
    assert 180 <= np.linalg.norm(keypoints[12] - keypoints[0]) <= 190
    np.testing.assert_allclose(keypoints[[0, 5, 9, 13, 17]] / 1000, measures.rest_joints()[[0, 1, 4, 10, 7]], atol=1e-5)


def test_frame_is_manos(hand):
    keypoints = keypoints_of(hand)
    assert np.argmin(keypoints[12] - keypoints[0]) == 0  # fingers to -x
    assert (keypoints[4] - keypoints[0])[2] > 50  # thumb's side +z
    flexed = np.zeros(45)
    flexed[[2, 11, 29]] = 1.0  # +z of the index, middle and ring MCP
    bent = np.asarray(
        mano_jax.keypoints(hand, jnp.asarray(flexed, jnp.float32), jnp.zeros(10), jnp.zeros(3), jnp.zeros(3))
    )
    assert all(bent[tip, 1] < keypoints[tip, 1] / 1000 - 0.04 for tip in (8, 12, 16))  # to the palm, -y


def test_sections_are_those_of_hands(hand):
    vertices = np.asarray(hand.template, np.float64) * 1000
    origin = np.asarray(measures.WRIST_POSITION) * 1000
    errors = []
    for name in measures.FINGER_NAMES:
        finger = measures.FINGERS[name]
        frames, points = measures.bone_frames(finger), measures.finger_points(finger)
        for station, (bone, part) in enumerate(flesh.STATIONS):
            if name == "thumb" and station < 2:  # inside the ball of the thumb: no table says
                continue
            centre = points[bone] + part * finger.bones[bone] * frames[bone, 0]
            axes = measures.rotate_to_model_frame(frames[bone])
            cut = mesh_measures.section(
                vertices, hand.faces, measures.rotate_to_model_frame(centre) + origin, axes[0]
            ) - (measures.rotate_to_model_frame(centre) + origin)
            across = (cut @ axes[1:].T)[np.linalg.norm(cut, axis=-1) < 14.5]
            errors += (np.ptp(across, axis=0) - flesh.SECTIONS[name][station]).tolist()
    assert np.mean(np.abs(errors) <= 2.0) >= 0.9, np.round(errors, 1)


def test_tips_are_tips(hand):
    keypoints = keypoints_of(hand) / 1000
    template, main = np.asarray(hand.template), np.asarray(hand.skinning_weights).argmax(1)
    normals = np.zeros_like(template)
    corners = template[hand.faces]
    np.add.at(normals, hand.faces, np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])[:, None])
    for number, name in enumerate(measures.FINGER_NAMES):
        last = measures.FIRST_JOINT[name] + 2
        tip, pad = hand.fingertips("745")[number], hand.fingertips("744")[number]
        direction = keypoints[4 + 4 * number] - keypoints[3 + 4 * number]
        assert main[tip] == main[pad] == last
        assert np.argmax(np.where(main == last, template @ direction, -np.inf)) == tip
        assert np.linalg.norm(template[tip] - template[pad]) < 0.008
        palmar = -measures.rotate_to_model_frame(measures.bone_frames(measures.FINGERS[name])[2, 2])
        assert normals[pad] @ palmar > 0


def test_left_is_the_exact_mirror(hand):
    left = mano_jax.open_hand("left")
    pose = np.random.default_rng(1).normal(size=45) * 0.4
    shape = np.random.default_rng(2).normal(size=10)
    mirrored = vertices_of(left, pose * np.tile([1, -1, -1], 15), shape)
    np.testing.assert_array_equal(np.asarray(left.template), np.asarray(hand.template) * [-1, 1, 1])
    np.testing.assert_allclose(mirrored, vertices_of(hand, pose, shape) * [-1, 1, 1], atol=1e-7)
    assert left.side == "left"
    assert mesh_measures.volume(left.template, left.faces) > 0


def test_unknown_side_is_refused():
    with pytest.raises(ValueError, match="side must be 'left' or 'right'"):
        mano_jax.open_hand("both")


def test_weights_are_sparse_shares(hand):
    weights = np.asarray(hand.skinning_weights)
    assert weights.shape == (778, 16)
    assert weights.min() >= 0
    assert (weights > 0).sum(1).max() <= 4
    np.testing.assert_allclose(weights.sum(1), 1.0, atol=1e-6)
    assert len(np.unique(weights.argmax(1))) == 16


def test_regressor_is_exact_and_follows_shape(hand):
    regressor = np.asarray(hand.joint_regressor, np.float64)
    assert regressor.min() >= 0
    assert (regressor > 0).sum(1).max() <= 48
    np.testing.assert_allclose(regressor.sum(1), 1.0, atol=1e-6)
    joints = regressor @ np.asarray(hand.template, np.float64)
    np.testing.assert_allclose(joints, measures.rest_joints()[:16], atol=1e-5)
    moved = np.einsum("jv,vcs->sjc", regressor, np.asarray(hand.shape_basis, np.float64))
    for component, found in zip(COMPONENTS, moved, strict=True):
        plus, minus = (rest_points(component.change(flesh.Measures(), s * component.sigma)) for s in (1, -1))
        wanted = measures.rotate_to_model_frame((plus - minus) / 2) / 1000
        np.testing.assert_allclose(found, wanted, atol=2e-4, err_msg=component.name)


def test_shape_components_do_what_their_names_say(hand):
    assert [component.name for component in COMPONENTS] == [
        "hand length",
        "palm breadth",
        "finger length against palm",
        "flesh",
        "thumb length",
        "index against ring",
        "little finger length",
        "proximal against other bones",
        "middle against distal bones",
        "thumb base",
    ]
    mean = bone_lengths(keypoints_of(hand))
    change, breadth, volumes = [], [], []
    for number in range(10):
        both = [keypoints_of(hand, sign * np.eye(10)[number]) for sign in (1.0, -1.0)]
        lengths = [bone_lengths(keypoints) for keypoints in both]
        change.append({name: (lengths[0][name] - lengths[1][name]) / (2 * mean[name]) for name in mean})
        knuckles = [np.linalg.norm(keypoints[5] - keypoints[17]) for keypoints in both]
        breadth.append((knuckles[0] - knuckles[1]) / 2 / np.linalg.norm(keypoints_of(hand)[5] - keypoints_of(hand)[17]))
        sizes = [mesh_measures.volume(vertices_of(hand, None, s * np.eye(10)[number]), hand.faces) for s in (1.0, -1.0)]
        volumes.append((sizes[0] - sizes[1]) / 2 / mesh_measures.volume(hand.template, hand.faces))
    for name in mean:
        np.testing.assert_allclose(change[0][name], 0.049, atol=1e-4)  # all lengths alike
    assert volumes[0] == pytest.approx(3 * 0.049, abs=0.003)
    assert breadth[1] == pytest.approx(0.04, abs=0.005)
    assert np.abs(change[1]["middle"][1:]).max() < 0.005
    assert change[2]["middle"][1:].mean() > 0.035
    assert change[2]["middle"][0] < -0.015
    assert volumes[3] > 0.05
    assert max(np.abs(change[3][name]).max() for name in mean) < 0.02
    assert change[4]["thumb"][1:].min() > 0.03
    assert np.abs(change[4]["index"]).max() < 0.005
    assert change[5]["index"][1:].min() > 0.015
    assert change[5]["ring"][1:].max() < -0.015
    assert change[6]["little"][1:].min() > 0.04
    assert change[7]["middle"][1] > 0.04
    assert change[7]["middle"][2:].max() < -0.03
    assert change[8]["middle"][2] > 0.04
    assert change[8]["middle"][3] < -0.03
    assert np.abs(change[9]["thumb"][1:]).max() < 0.02
    rest = keypoints_of(hand)
    assert np.linalg.norm(keypoints_of(hand, np.eye(10)[9])[1] - rest[1]) > 2.5


def test_shaped_hands_stay_whole(hand):
    shapes = np.clip(np.random.default_rng(3).normal(size=(20, 10)) * 1.5, -3, 3)
    rest = mesh_measures.volume(hand.template, hand.faces)
    parents, weights = hand.parents, np.asarray(hand.skinning_weights)
    for shape in shapes:
        vertices = vertices_of(hand, None, shape)
        assert 0.4 < mesh_measures.volume(vertices, hand.faces) / rest < 2.2
    assert mesh_measures.penetration(vertices_of(hand, None, shapes[0]), hand.faces, weights, parents) < 0.002


@pytest.mark.parametrize("name", list(poses.ANGLES))
def test_posed_hands_keep_their_volume_and_do_not_enter_themselves(hand, name):
    vertices = vertices_of(hand, poses.named_pose(name))
    rest = mesh_measures.volume(hand.template, hand.faces)
    assert mesh_measures.volume(vertices, hand.faces) / rest == pytest.approx(1.0, abs=0.08)
    depth = mesh_measures.penetration(vertices, hand.faces, np.asarray(hand.skinning_weights), hand.parents)
    assert depth <= 0.002


def test_correctives_keep_bent_knuckles_from_collapsing(hand):
    """The dorsal skin over the index's PIP stays as far from the joint as at rest when it bends by 1.6."""
    angles = np.zeros((16, 3))
    angles[2, 0] = 1.6
    pose = np.einsum("ja,jac->jc", angles, measures.joint_axes())[1:].reshape(45)
    joint, weights = np.asarray(hand.joint_template)[2], np.asarray(hand.skinning_weights)
    frame = measures.joint_axes()[2]
    place = np.asarray(hand.template) - joint
    dorsal = (np.abs(place @ frame[2]) < 0.009) & (place @ frame[1] > 0.004) & (weights[:, 1:4].sum(1) > 0.99)

    def depth(model, pose):
        return np.linalg.norm(vertices_of(model, pose)[dorsal] - joint, axis=-1).min()

    bare = mano_jax.HandModel.create(
        template=hand.template,
        shape_basis=hand.shape_basis,
        pose_correctives=jnp.zeros((778, 3, 135)),
        joint_regressor=hand.joint_regressor,
        skinning_weights=hand.skinning_weights,
        pose_mean=hand.pose_mean,
        pose_basis=hand.pose_basis,
        pose_standard_deviations=hand.pose_standard_deviations,
        faces=hand.faces,
        side="right",
    )
    rest = depth(hand, np.zeros(45))
    assert depth(bare, pose) < 0.85 * rest  # what skinning alone does: this is what the correctives are for
    assert depth(hand, pose) > 0.9 * rest


def test_unknown_pose_is_refused():
    with pytest.raises(ValueError, match="pose must be one of"):
        poses.named_pose("wave")


def test_named_poses_are_within_the_limits():
    limits = measures.joint_limits()[1:]
    for name in poses.ANGLES:
        angles = np.einsum("jc,jac->ja", poses.named_pose(name).reshape(15, 3), measures.joint_axes()[1:])
        assert (angles >= limits[..., 0] - 1e-9).all(), name
        assert (angles <= limits[..., 1] + 1e-9).all(), name


def test_pose_space_is_orthonormal_and_ordered(hand):
    basis, deviations = np.asarray(hand.pose_basis), np.asarray(hand.pose_standard_deviations)
    np.testing.assert_allclose(basis @ basis.T, np.eye(45), atol=1e-5)
    assert (np.diff(deviations) <= 1e-7).all()
    assert deviations.min() > 0.01


def test_reading_needs_no_scientific_stack():
    """jax itself may load parts of scipy; what only the making of the model needs must not come."""
    code = "import sys, mano_jax; mano_jax.open_hand(); print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(result.stdout.split())
    assert "mano_jax.open_hand_model" in loaded
    assert not {"skimage", "trimesh", "mano_jax.open_hand_model.build", "scipy.interpolate"} & loaded


@pytest.mark.slow
def test_rebuilding_gives_the_shipped_file(hand):
    from mano_jax.open_hand_model import build, model_from_arrays

    rebuilt = model_from_arrays(build.build())
    np.testing.assert_array_equal(rebuilt.faces, hand.faces)
    for name in ("template", "blend_basis", "joint_template", "skinning_weights", "pose_mean"):
        np.testing.assert_allclose(np.asarray(getattr(rebuilt, name)), np.asarray(getattr(hand, name)), atol=2e-6)
    # Directions of nearly equal variance may turn among themselves: what counts is the covariance.
    covariances = [
        np.einsum("kp,k,kq->pq", model.pose_basis, np.square(model.pose_standard_deviations), model.pose_basis)
        for model in (rebuilt, hand)
    ]
    np.testing.assert_allclose(*covariances, atol=1e-5)


def test_command_reports_a_folder_it_cannot_write(tmp_path, monkeypatch, capsys):
    from mano_jax.open_hand_model import __main__, build

    monkeypatch.setattr(build, "build", lambda: {"template": np.zeros(3)})
    monkeypatch.setattr(sys, "argv", ["open_hand_model", "--out", str(tmp_path / "missing" / "hand.npz")])
    assert __main__.main() == 2
    assert "cannot write" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
