"""Protocols of the data sets against float64 references written here from their descriptions, and by hand."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from handpose_jax.evaluation.bootstrap import blocks_of_frames, bootstrap_intervals
from handpose_jax.evaluation.metrics import mean_joint_errors_mm
from handpose_jax.evaluation.protocol_alignment import Errors, aligned_errors
from handpose_jax.evaluation.protocol_files import (
    ScoredHands,
    read_hands,
    read_reference_curve,
    submission_text,
)
from handpose_jax.evaluation.protocol_report import reference_area
from handpose_jax.evaluation.protocol_scores import acceleration, f_scores, figures, score
from handpose_jax.evaluation.protocols import PROTOCOLS, protocol_named
from mano_jax.keypoints import KEYPOINT_NAMES

TIPS = [4, 8, 12, 16, 20]
RGB = ("rhd", "stb", "dexter_object", "freihand")
DEPTH = {"icvl": 16, "nyu": 14, "msra": 21}


def random_files(seed: int, frames: int, joints: int = 21, hide: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Predictions and truth, metres; with joints that the truth lacks, one that it never has, and missing rows."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(frames, joints, 3)) * 0.05 + (0.02, -0.03, 0.6)
    prediction = truth + rng.normal(size=truth.shape) * 0.02 * rng.uniform(size=(frames, 1, 1)) + 0.01
    if hide:
        gone = rng.uniform(size=(frames, joints)) < 0.1
        gone[:, [0, 9, 10][: joints // 7]] = False
        truth[gone] = np.nan
        truth[:, 12] = np.nan  # never visible
        if frames > 5:
            prediction[1] = np.nan
            prediction[3, 7, 1] = np.nan
            truth[4] = np.nan  # nothing known of a whole frame
    return prediction, truth


def reference_errors(protocol: str, prediction: np.ndarray, truth: np.ndarray, alignment: str | None = None):
    """A list of (joint, error in mm or infinity) for every joint with a truth, frame by frame, in plain words."""
    result = []
    for p, t in zip(prediction, truth, strict=True):
        scored = TIPS if protocol == "dexter_object" else list(range(len(t)))
        known = [j for j in scored if np.isfinite(t[j]).all()]
        if not np.isfinite(p).all():
            result.append([(scored.index(j), np.inf) for j in known])
            continue
        if protocol in ("rhd", "stb"):
            scale = np.linalg.norm(t[9] - t[10]) / np.linalg.norm(p[9] - p[10])
            p, t = (p - p[0]) * scale, t - t[0]
        elif alignment == "tip_centroid_scale":
            if len(known) < 2:
                result.append([])
                continue
            pc, tc = p[known].mean(axis=0), t[known].mean(axis=0)
            radius = [np.mean([np.linalg.norm(a[j] - c) for j in known]) for a, c in ((p, pc), (t, tc))]
            p = (p - pc) * radius[1] / radius[0] + tc
        elif protocol == "freihand" and alignment != "unaligned" and known:
            pc, tc = p[known] - p[known].mean(axis=0), t[known] - t[known].mean(axis=0)
            if len(known) > 2:
                rotation = Rotation.align_vectors(tc, pc)[0]
                turned = rotation.apply(pc)
                scale = (turned * tc).sum() / (turned * turned).sum()
                p = scale * rotation.apply(p - p[known].mean(axis=0)) + t[known].mean(axis=0)
        result.append([(scored.index(j), 1000.0 * np.linalg.norm(p[j] - t[j])) for j in known])
    return result


def reference_figures(frames: list, joints: int, pooled: bool) -> dict:
    """hand3d's EvalUtil (of each joint, then the mean over joints), or everything at once; missing ones as infinity."""
    columns = [[e for frame in frames for j, e in frame if j == joint] for joint in range(joints)]
    if pooled:
        columns = [[e for column in columns for e in column]]
    finite = [np.array([e for e in column if np.isfinite(e)]) for column in columns]

    def curve(thresholds):
        return np.mean([np.mean(np.array(c)[:, None] <= thresholds, axis=0) for c in columns if len(c)], axis=0)

    grid = np.linspace(0.0, 50.0, 20)[8:]
    assert grid[0] == pytest.approx(21.0526, abs=1e-4)
    fine = {name: np.linspace(low, 50.0, 10_001) for name, low in (("auc_0_50", 0.0), ("auc_20_50", 20.0))}
    areas = {name: np.trapezoid(curve(points), points) / (points[-1] - points[0]) for name, points in fine.items()}
    worst = [max(e for _, e in frame) for frame in frames if frame]
    return {
        "mean_error_mm": np.mean([c.mean() for c in finite if len(c)]),
        "median_error_mm": np.mean([np.median(c) for c in finite if len(c)]),
        "auc_20_50_grid20": np.trapezoid(curve(grid), grid) / np.trapezoid(np.ones(12), grid),
        **areas,
        "pck": curve(np.arange(51.0)),
        "within": {str(d): np.mean(np.array(worst) <= d) for d in range(10, 90, 10)},
    }


def check(found: dict, expected: dict, fine: float = 1e-4):
    for name in ("mean_error_mm", "median_error_mm", "auc_20_50_grid20"):
        assert found[name] == pytest.approx(expected[name], abs=1e-7), name
    for name in ("auc_0_50", "auc_20_50"):  # the reference sums over a grid, the figure is exact
        assert found[name] == pytest.approx(expected[name], abs=fine), name
    np.testing.assert_allclose(found["pck"], expected["pck"], atol=1e-12)
    assert found["frames_max_error_within_mm"] == pytest.approx(expected["within"], abs=1e-12)


@pytest.mark.parametrize("frames", [1, 60])
@pytest.mark.parametrize("name", RGB)
def test_rgb_protocols_equal_the_reference(name, frames):
    prediction, truth = random_files(len(name) + frames, frames)
    found, _ = score(ScoredHands(prediction), ScoredHands(truth), PROTOCOLS[name])
    joints = 5 if name == "dexter_object" else 21
    check(found, reference_figures(reference_errors(name, prediction, truth), joints, pooled=False))
    for beside in PROTOCOLS[name].beside:
        expected = reference_figures(reference_errors(name, prediction, truth, beside), joints, pooled=False)
        check(found[beside], expected)
    assert found["missing_frames"] == (2 if frames > 5 else 0)
    # Joint 12, a tip, is never known: left out of the means, and no zero.
    assert len(found["per_joint_mean_mm"]) == joints
    if frames > 1:
        assert np.flatnonzero(np.isnan(found["per_joint_mean_mm"])).tolist() == [TIPS.index(12) if joints == 5 else 12]


@pytest.mark.parametrize("frames", [1, 60])
@pytest.mark.parametrize("name", DEPTH)
def test_depth_protocols_equal_the_reference(name, frames):
    prediction, truth = random_files(len(name) + frames, frames, joints=DEPTH[name])
    found, _ = score(ScoredHands(prediction), ScoredHands(truth), PROTOCOLS[name])
    check(found, reference_figures(reference_errors(name, prediction, truth), DEPTH[name], pooled=True))
    assert found["alignment"] == "none"


def test_means_over_joints_and_over_all_differ():
    """Joint 0 is seen twice, joint 1 once: 10, 20 and 60 mm."""
    errors = Errors(
        np.array([[10.0, 60.0], [20.0, np.nan]]), np.array([[True, True], [True, False]]), np.zeros(2, bool)
    )
    assert figures(errors, "joints")["mean_error_mm"] == pytest.approx((15 + 60) / 2)
    assert figures(errors, "all")["mean_error_mm"] == pytest.approx(30)
    assert figures(errors, "all")["median_error_mm"] == pytest.approx(20)
    assert figures(errors, "joints")["median_error_mm"] == pytest.approx((15 + 60) / 2)
    assert figures(errors, "joints")["pck"][20] == pytest.approx((1 + 0) / 2)
    assert figures(errors, "all")["pck"][20] == pytest.approx(2 / 3)


def test_ties_at_the_threshold_are_within():
    """Errors of exactly 20 and 50 mm, which float64 may make a little more of."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(1, 21, 3)) * 0.05 + (0.1, 0.2, 0.7)
    moved = truth.copy()
    moved[0, 4] += (0.03, 0.04, 0.0)
    moved[0, 20, 2] += 0.02
    for name in ("rhd", "dexter_object"):
        found, _ = score(ScoredHands(moved), ScoredHands(truth), PROTOCOLS[name])
        count = len(found["per_joint_mean_mm"])
        assert found["pck"][19] == pytest.approx((count - 2) / count)
        assert found["pck"][20] == pytest.approx((count - 1) / count)
        assert (found["pck"][49], found["pck"][50]) == (pytest.approx((count - 1) / count), 1.0)
        assert found["frames_max_error_within_mm"]["40"] == 0.0
        assert found["frames_max_error_within_mm"]["50"] == 1.0
        # Of the joint at 50 mm the grid counts half of its last step.
        grid = np.linspace(0, 50, 20)[8:]
        joint_at_50 = 0.5 * (grid[-1] - grid[-2]) / (grid[-1] - grid[0])
        assert found["auc_20_50_grid20"] == pytest.approx((count - 1 + joint_at_50) / count, abs=1e-12)
        assert found["auc_20_50"] == pytest.approx((count - 1) / count)


def test_a_prediction_that_is_nowhere_right():
    prediction, truth = np.full((3, 21, 3), np.nan), random_files(0, 3, hide=False)[1]
    found, _ = score(ScoredHands(prediction), ScoredHands(truth), PROTOCOLS["stb"])
    assert np.isnan(found["mean_error_mm"])
    assert (found["missing_frames"], found["auc_0_50"], found["auc_20_50_grid20"]) == (3, 0.0, 0.0)
    assert set(found["frames_max_error_within_mm"].values()) == {0.0}
    with pytest.raises(ValueError, match="no joint has a truth"):
        score(ScoredHands(truth), ScoredHands(prediction), PROTOCOLS["stb"])


def test_what_cannot_be_aligned():
    """Truth without a root leaves the frame out; a prediction without length is a miss."""
    prediction, truth = random_files(1, 4, hide=False)
    truth[0, 0] = np.nan
    truth[1, 10] = np.nan
    prediction[2] = 0.0
    found, errors = score(ScoredHands(prediction), ScoredHands(truth), PROTOCOLS["rhd"])
    assert errors.known.sum(axis=1).tolist() == [0, 0, 21, 21]
    assert (found["missing_frames"], found["frames_with_truth"]) == (1, 2)
    assert found["frames_max_error_curve"][-1] <= 0.5
    check(
        found,
        reference_figures(reference_errors("rhd", prediction[3:], truth[3:]), 21, False) | halved(prediction, truth),
    )


def halved(prediction: np.ndarray, truth: np.ndarray) -> dict:
    """Every curve at half its height: one of two frames is missing."""
    one = reference_figures(reference_errors("rhd", prediction[3:], truth[3:]), 21, False)
    half = {name: one[name] / 2 for name in ("auc_20_50_grid20", "auc_0_50", "auc_20_50", "pck")}
    return half | {"within": {name: share / 2 for name, share in one["within"].items()}}


def test_visible_leaves_out_but_aligns():
    """A hidden wrist is still what the others are measured from."""
    prediction, truth = random_files(2, 3, hide=False)
    visible = np.ones((3, 21), bool)
    visible[:, [0, 9, 17]] = False
    found = aligned_errors(
        ScoredHands(prediction), ScoredHands(truth, visible=visible), PROTOCOLS["stb"], "root_bone_scale"
    )
    whole = aligned_errors(ScoredHands(prediction), ScoredHands(truth), PROTOCOLS["stb"], "root_bone_scale")
    np.testing.assert_array_equal(found.millimetres[visible], whole.millimetres[visible])
    assert np.isnan(found.millimetres[~visible]).all()


def test_predictions_of_tips_alone_are_enough_for_dexter():
    prediction, truth = random_files(3, 4, hide=False)
    others = np.setdiff1d(np.arange(21), TIPS)
    expected, _ = score(ScoredHands(prediction), ScoredHands(truth), PROTOCOLS["dexter_object"])
    prediction[:, others], truth[:, others] = np.nan, np.nan
    found, _ = score(ScoredHands(prediction), ScoredHands(truth), PROTOCOLS["dexter_object"])
    assert found["tip_centroid_scale"]["mean_error_mm"] == expected["tip_centroid_scale"]["mean_error_mm"]
    assert (found["mean_error_mm"], found["missing_frames"]) == (expected["mean_error_mm"], 0)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10**6), st.floats(0.3, 3.0))
def test_what_alignments_undo(seed, scale):
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(2, 21, 3)) * 0.05 + (0.0, 0.0, 0.5)
    moved = ScoredHands(scale * truth + rng.normal(size=(2, 1, 3)))
    turned = ScoredHands(scale * truth @ Rotation.from_quat(rng.normal(size=4)).as_matrix().T + 0.2)
    for name, alignment, hands in (
        ("rhd", "root_bone_scale", moved),
        ("dexter_object", "tip_centroid_scale", moved),
        ("freihand", "procrustes", turned),
    ):
        errors = aligned_errors(hands, ScoredHands(truth), PROTOCOLS[name], alignment)
        assert errors.millimetres.max() < 1e-9, alignment


def test_left_hands_are_noticed():
    prediction, truth = random_files(4, 3, hide=False)
    prediction[1:] = truth[1:] * (-1.0, 1.0, 1.0)
    found, _ = score(ScoredHands(prediction), ScoredHands(truth), PROTOCOLS["freihand"])
    assert found["frames_better_mirrored"] == 2


def test_own_means_are_those_of_metrics():
    prediction, truth = random_files(5, 8)
    found, _ = score(ScoredHands(prediction), ScoredHands(truth), PROTOCOLS["rhd"])
    prediction[[1, 3]] = np.nan
    expected = mean_joint_errors_mm(prediction, truth)
    for name, value in found["mean_over_frames_mm"].items():
        assert value == pytest.approx(expected[name], abs=1e-7), name


def test_meshes_and_f_scores_by_hand():
    truth, mesh = np.zeros((4, 3)), np.zeros((4, 3))
    truth[:, 0] = mesh[:, 0] = np.arange(4.0)
    mesh[:, 1] = (0.004, 0.005, 0.010, 0.1)  # 5 mm is not closer than 5 mm
    assert f_scores(mesh, truth) == pytest.approx([1 / 4, 3 / 4])
    prediction, joints = random_files(6, 3, hide=False)
    rng = np.random.default_rng(6)
    vertices = rng.normal(size=(3, 40, 3)) * 0.05
    wrong = vertices + rng.normal(size=vertices.shape) * 0.01
    prediction[2] = np.nan
    found, _ = score(ScoredHands(prediction, wrong), ScoredHands(joints, vertices), PROTOCOLS["freihand"])
    plain = 1000 * np.linalg.norm(wrong - vertices, axis=2)[:2]
    assert found["unaligned"]["vertices"]["mean_error_mm"] == pytest.approx(plain.mean(), abs=1e-9)
    assert found["vertices"]["mean_error_mm"] < plain.mean()
    scores = [f_scores(wrong[row], vertices[row]) for row in range(2)]
    assert found["unaligned"]["vertices"]["f_at_5_mm"] == pytest.approx(sum(s[0] for s in scores) / 3)
    # Another topology: by the joints' transform, F-scores only.
    other, _ = score(ScoredHands(joints, vertices[:, :30]), ScoredHands(joints, vertices), PROTOCOLS["freihand"])
    assert sorted(other["vertices"]) == ["f_at_15_mm", "f_at_5_mm", "missing_frames"]
    assert other["vertices"]["f_at_5_mm"] == pytest.approx(other["unaligned"]["vertices"]["f_at_5_mm"])


def test_acceleration_by_hand():
    """x = t² mm has acceleration 2; the prediction stands still; sequences are not crossed."""
    time = np.array([0.0, 1, 2, 3, 0, 1, 2])
    truth = np.zeros((7, 21, 3))
    truth[:, :, 0] = (time**2)[:, None] / 1000.0
    hands = ScoredHands(truth, sequence=np.array([0, 0, 0, 0, 1, 1, 1]))
    still = ScoredHands(np.zeros_like(truth))
    protocol = PROTOCOLS["dexter_object"]
    found = acceleration(still, hands, aligned_errors(still, hands, protocol, "absolute"), protocol)
    assert found == {"error_mm": pytest.approx(2), "predicted_mm": 0.0, "true_mm": pytest.approx(2), "frames": 3}
    # With the root subtracted nothing moves.
    stb = PROTOCOLS["stb"]
    whole = Errors(np.zeros((7, 21)), np.ones((7, 21), bool), np.zeros(7, bool))
    assert acceleration(still, hands, whole, stb)["true_mm"] == pytest.approx(0, abs=1e-12)


def test_bootstrap_intervals():
    """Of independent frames the mean's interval is that of its standard error; of copies it is wider."""
    rng = np.random.default_rng(7)
    values = rng.gamma(4.0, 5.0, size=(400, 1))
    errors = Errors(values, np.ones((400, 1), bool), np.zeros(400, bool))
    blocks, kind = blocks_of_frames(400, 1)
    assert kind == "single frames"
    found = bootstrap_intervals(errors, blocks)
    low, high = found["mean_error_mm"]
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)
    assert low < values.mean() < high
    exact = figures(errors)
    for name, (low, high) in found.items():
        assert low < exact[name] < high, name
    copies = Errors(np.repeat(values[:20], 20, axis=0), errors.known, errors.missing)
    blocks, kind = blocks_of_frames(400, 20)
    assert kind == "runs of 20 frames"
    wide, narrow = (np.diff(bootstrap_intervals(copies, b)["median_error_mm"])[0] for b in (blocks, np.arange(400)))
    assert wide > 2 * narrow
    # Drawing every block once gives the figures themselves.
    pooled = bootstrap_intervals(errors, np.repeat([0, 1], 200), "all", replicates=1, seed=1)
    drawn = np.random.default_rng(1).multinomial(2, [0.5, 0.5])
    part = np.concatenate([values[:200]] * drawn[0] + [values[200:]] * drawn[1])
    again = figures(Errors(part, np.ones((400, 1), bool), np.zeros(400, bool)), "all")
    for name, (low, high) in pooled.items():
        assert low == high == pytest.approx(again[name], abs=1e-12), name


def test_blocks():
    names = np.repeat([f"s{i}" for i in range(12)], 5)
    blocks, kind = blocks_of_frames(60, 50, names)
    assert kind == "sequences"
    assert len(np.unique(blocks)) == 12
    blocks, kind = blocks_of_frames(100, 50, np.repeat([0, 1], 50))
    assert kind == "runs of 5 frames"
    assert len(np.unique(blocks)) == 20
    assert not set(blocks[:50]) & set(blocks[50:])
    one = Errors(np.ones((1, 1)), np.ones((1, 1), bool), np.zeros(1, bool))
    assert np.isnan(bootstrap_intervals(one, blocks_of_frames(1, 50)[0])["mean_error_mm"]).all()


def test_text_lines_by_hand(tmp_path):
    """The point (30, 40, 500) mm of each set's camera: y is up in NYU."""
    pixels = {
        "icvl": (160 + 240.99 * 30 / 500, 120 + 240.96 * 40 / 500),
        "nyu": (320 + 588.03 * 30 / 500, 240 - 587.07 * 40 / 500),
        "msra": (160 + 241.42 * 30 / 500, 120 + 241.42 * 40 / 500),
    }
    assert pixels["icvl"] == pytest.approx((174.4594, 139.2768))
    assert pixels["nyu"] == pytest.approx((355.2818, 193.0344))
    assert pixels["msra"] == pytest.approx((174.4852, 139.3136))
    for name, joints in DEPTH.items():
        u, v = pixels[name]
        first = " ".join([f"{u:.9f} {v:.9f} 500.0"] * joints)
        second = "\t".join(["320.0,240.0, 500" if name == "nyu" else "160.0,120.0, 500"] * joints)
        text = f"seq_1/image_0000.png {first} \r\n\n# a note\nseq_2/image_0001.png\t{second}\t\n\n"
        (tmp_path / "labels.txt").write_text(text)
        hands = read_hands(tmp_path / "labels.txt", PROTOCOLS[name])
        expected = np.array([[[0.03, 0.04, 0.5]] * joints, [[0.0, 0.0, 0.5]] * joints])
        np.testing.assert_allclose(hands.joints, expected, atol=1e-10)
        assert hands.sequence is not None
        assert hands.sequence.tolist() == ["seq_1", "seq_2"]
        # The same numbers without names, and the second file 10 mm deeper: u, v move the points too.
        (tmp_path / "plain.txt").write_text(f"{first}\n{second}")
        plain = read_hands(tmp_path / "plain.txt", PROTOCOLS[name])
        np.testing.assert_array_equal(plain.joints, hands.joints)
        assert plain.sequence is None
        deeper = read_hands(write(tmp_path, f"{first}\n{second}".replace("500", "510")), PROTOCOLS[name])
        found, _ = score(deeper, plain, PROTOCOLS[name])
        expected_mean = 0.5 * (10.0 + 10.0 * np.linalg.norm((0.06, 0.08, 1.0)))
        assert found["mean_error_mm"] == pytest.approx(expected_mean, abs=1e-6)


def write(folder, text):
    (folder / "deeper.txt").write_text(text)
    return folder / "deeper.txt"


def test_arrays_and_json_say_the_same(tmp_path):
    prediction, _ = random_files(8, 7)
    valid = np.array([1, 1, 0, 1, 1, 1, 1], bool)
    np.savez(tmp_path / "a.npz", joints=prediction, valid=valid)
    rows = [
        [None if np.isnan(j).all() else [None if np.isnan(c) else c for c in j] for j in r] for r in prediction.tolist()
    ]
    rows = [rows[0], None, *rows[2:]]
    (tmp_path / "a.json").write_text(json.dumps({"joints": rows, "valid": valid.tolist()}))
    (tmp_path / "nan.json").write_text(json.dumps({"joints": prediction.tolist(), "valid": valid.tolist()}))
    found = [read_hands(tmp_path / name, PROTOCOLS["rhd"]).joints for name in ("a.npz", "a.json", "nan.json")]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
    assert np.isnan(found[0]).all(axis=(1, 2)).tolist() == [False, True, True, False, False, False, False]
    tips = tmp_path / "tips.npz"
    np.savez(tips, joints=prediction[:, TIPS])
    np.testing.assert_array_equal(read_hands(tips, PROTOCOLS["dexter_object"]).joints[:, TIPS], prediction[:, TIPS])


def test_freihand_files(tmp_path):
    """pred.json there and back; the official truth as two bare lists, of as few as two frames."""
    joints, _ = random_files(9, 2, hide=False)
    vertices = np.random.default_rng(9).normal(size=(2, 778, 3))
    joints[1] = np.nan
    (tmp_path / "pred.json").write_text(submission_text(ScoredHands(joints, vertices)))
    content = json.loads((tmp_path / "pred.json").read_text())
    assert [len(part) for part in content] == [2, 2]
    assert (len(content[0][0]), len(content[1][0])) == (21, 778)
    found = read_hands(tmp_path / "pred.json", PROTOCOLS["freihand"])
    np.testing.assert_allclose(found.joints, np.nan_to_num(joints), atol=1e-7)
    assert found.vertices is not None
    np.testing.assert_allclose(found.vertices, vertices, atol=1e-7)
    (tmp_path / "evaluation_xyz.json").write_text(json.dumps(content[0]))
    (tmp_path / "evaluation_verts.json").write_text(json.dumps(content[1]))
    names = [tmp_path / "evaluation_xyz.json", tmp_path / "evaluation_verts.json"]
    both = read_hands(names, PROTOCOLS["freihand"])
    np.testing.assert_array_equal(both.joints, found.joints)
    np.testing.assert_array_equal(both.vertices, found.vertices)
    assert np.count_nonzero(json.loads(submission_text(ScoredHands(joints)))[1]) == 0


def test_reference_curves(tmp_path):
    path = tmp_path / "curve.txt"
    path.write_text("# threshold PCK\n20 50\n\n30, 100\n50\t100\n")
    thresholds, shares = curve = read_reference_curve(path)
    assert (thresholds.tolist(), shares.tolist()) == ([20, 30, 50], [0.5, 1, 1])
    assert reference_area(curve) == pytest.approx((0.75 * 10 + 20) / 30)
    assert np.isnan(reference_area((np.array([0.0, 40.0]), np.array([0.0, 1.0]))))
    for text, words in (
        ("20 0.5\n", "at least two lines"),
        ("a b\n", "line 1: expected"),
        ("0 -1\n1 1\n", "between 0"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=words):
            read_reference_curve(path)


def test_names_and_tables():
    assert PROTOCOLS["msra"].joint_names[17:] == KEYPOINT_NAMES[1:5]
    assert PROTOCOLS["nyu"].joint_names[13] == PROTOCOLS["icvl"].joint_names[0] == "palm"
    for protocol in PROTOCOLS.values():
        assert len(protocol.joints) == len(protocol.joint_names)
    assert PROTOCOLS["dexter_object"].joints == tuple(TIPS)
    with pytest.raises(ValueError, match="no protocol 'sdb'; there are rhd, stb"):
        protocol_named("sdb")
