"""Several views of one hand: the term against NumPy, recovery, depth, the world's frame, views that are not there."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from handpose_jax.refinement import FitOptions, KeypointBatch, batch, fit_hands, terms
from handpose_jax.refinement.views import triangulated
from mano_jax import forward, mirror_points, mirror_rotations
from tests.handpose_jax.random_hands import CAMERA, keypoints, models, random_hands, seen

CHUNK, VIEWS = 16, 3
OPTIONS = FitOptions(pixel_sigma_share=0.01)
"""One program for all fits of this file: three views, of which some may not be there."""


@pytest.fixture(autouse=True)
def one_chunk_size(monkeypatch):
    monkeypatch.setattr(batch, "CHUNK_SIZES", (CHUNK,))


def rig(joints: np.ndarray) -> np.ndarray:
    """[hands, VIEWS, 4, 4]: the world's own camera, one aside, one below, all equally far from each hand."""
    transforms = np.tile(np.eye(4), (len(joints), VIEWS, 1, 1))
    centre = joints.mean(1).astype(np.float64)
    for view, turn in enumerate(([0.0, 0.0, 0.0], [0.0, 1.4, 0.0], [-1.2, 0.0, 0.3])):
        matrix = Rotation.from_rotvec(turn).as_matrix()
        transforms[:, view, :3, :3] = matrix
        transforms[:, view, :3, 3] = np.array([0.0, 0.0, 1.0]) * centre[:, 2:] - centre @ matrix.T
    transforms[:, 0] = np.eye(4)
    return transforms


def viewed(joints: np.ndarray, transforms: np.ndarray, noise: float = 0.0, seed: int = 0) -> np.ndarray:
    """Image keypoints [hands, VIEWS, 21, 3]; noise is a share of the box around each hand."""
    points = np.stack([seen(in_view(joints, transforms[:, view])) for view in range(VIEWS)], axis=1)
    box = (points[..., :2].max(2) - points[..., :2].min(2)).max(-1)[..., None, None]
    points[..., :2] += noise * box * np.random.default_rng(seed).normal(size=points[..., :2].shape)
    return points


def in_view(joints: np.ndarray, transform: np.ndarray) -> np.ndarray:
    return np.einsum("nab,nkb->nka", transform[:, :3, :3], joints) + transform[:, None, :3, 3]


def fit(points, transforms, valid=None, side="right", K=CAMERA) -> batch.HandFits:
    cameras = np.tile(K, (*points.shape[:2], 1, 1)) if K.ndim == 2 else K
    views = KeypointBatch(points, None, cameras, (side,) * len(points), world_to_camera=transforms, view_valid=valid)
    return fit_hands(models(), views, OPTIONS)


def only(*views: int) -> np.ndarray:
    return np.tile(np.isin(np.arange(VIEWS), views), (CHUNK, 1))


@pytest.fixture(scope="module")
def problem() -> tuple[np.ndarray, np.ndarray]:
    """True joints in the world and the cameras around them."""
    joints = random_hands(CHUNK, 21).joints
    return joints, rig(joints)


# The term


@pytest.fixture
def double_precision():
    with jax.enable_x64(True):
        yield


def view_points(random: np.random.Generator) -> terms.ViewPoints:
    weights = random.uniform(size=(VIEWS, 21))
    weights[1] = 0.0
    points = terms.ImagePoints(
        pixels=jnp.asarray(random.uniform(100.0, 500.0, (VIEWS, 21, 2))),
        weights=jnp.asarray(weights),
        focal=jnp.asarray(random.uniform(400.0, 700.0, (VIEWS, 2))),
        principal=jnp.asarray(random.uniform(200.0, 300.0, (VIEWS, 2))),
        sigma=jnp.asarray(random.uniform(20.0, 40.0, VIEWS)),
    )
    transforms = np.tile(np.eye(4), (VIEWS, 1, 1))
    transforms[:, :3, :3] = Rotation.from_rotvec(random.normal(size=(VIEWS, 3)) * 0.3).as_matrix()
    transforms[:, :3, 3] = random.normal(size=(VIEWS, 3)) * 0.05
    return terms.ViewPoints(points, jnp.asarray(transforms))


def cost_in_numpy(points: np.ndarray, views: terms.ViewPoints, threshold: float) -> float:
    total, image = 0.0, views.points
    for view in range(VIEWS):
        for keypoint in range(21):
            x, y, z, _ = np.asarray(views.world_to_camera)[view] @ np.append(points[keypoint], 1.0)
            pixel = np.array([x, y]) / z * np.asarray(image.focal)[view] + np.asarray(image.principal)[view]
            offset = (pixel - np.asarray(image.pixels)[view, keypoint]) / float(image.sigma[view])
            huber = threshold**2 * (np.sqrt(1.0 + offset @ offset / threshold**2) - 1.0)
            total += float(image.weights[view, keypoint]) * huber
    return total


def test_the_sum_over_views(double_precision):
    random = np.random.default_rng(0)
    views = view_points(random)
    jacobian = jnp.asarray(random.normal(size=(21, 3, 4)))
    middle = jnp.asarray(random.normal(size=(21, 3)) * 0.05 + [0.0, 0.0, 0.5])

    def term(x):
        return terms.view_keypoints(middle + 0.05 * jacobian @ x, 0.05 * jacobian, views, 2.0)

    flat = jnp.asarray([0.3, -0.2, 0.1, 0.4])
    equations, gradient = jax.jit(lambda x: (term(x), jax.grad(lambda y: term(y).cost)(x)))(flat)
    points = np.asarray(middle + 0.05 * jacobian @ flat)
    np.testing.assert_allclose(equations.cost, cost_in_numpy(points, views, 2.0), rtol=1e-10)
    np.testing.assert_allclose(equations.gradient, gradient, rtol=0.0, atol=1e-9 * float(jnp.abs(gradient).max()))
    # One camera at the world's origin is the one-view term.
    first = jax.tree.map(lambda leaf: leaf[:1], views)
    alone = terms.image_keypoints(jnp.asarray(points), jacobian, jax.tree.map(lambda leaf: leaf[0], first.points), 2.0)
    here = terms.ViewPoints(first.points, jnp.eye(4)[None])
    for several in (here, here._replace(world_to_camera=None)):
        together = terms.view_keypoints(jnp.asarray(points), jacobian, several, 2.0)
        for a, b in zip(alone, together, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


def test_rays_meet_where_the_points_are(double_precision):
    """Exactly, from two views or more; keypoints that one view sees alone have no place."""
    joints = random_hands(1, 22).joints.astype(np.float64)
    transforms = rig(joints)
    points = viewed(joints, transforms)[0].astype(np.float64)
    weights = np.ones((VIEWS, 21))
    weights[1:, 5] = 0.0
    weights[0, 7] = 0.0
    K = np.tile(np.diag(CAMERA.astype(np.float64))[:2], (VIEWS, 1))
    image = terms.ImagePoints(
        *(jnp.asarray(a) for a in (points[..., :2], weights, K, np.tile(CAMERA[:2, 2], (VIEWS, 1)), np.ones(VIEWS)))
    )
    met = triangulated(image, jnp.asarray(transforms[0]))
    np.testing.assert_array_equal(np.asarray(met.weights) > 0.0, np.arange(21) != 5)
    others = np.arange(21) != 5
    np.testing.assert_allclose(np.asarray(met.points)[others], joints[0, others], rtol=0.0, atol=1e-5)


# The fit


def test_exact_keypoints_of_several_views(problem):
    """Millimetres of what is left are the prior's pull, one camera alone leaves centimetres."""
    joints, transforms = problem
    fits = fit(viewed(joints, transforms), transforms)
    assert fits.valid.all()
    distances = 1e3 * np.linalg.norm(fits.joints - joints, axis=-1)
    assert distances.mean() < 1.5
    assert fits.residual_px.max() < 2.0
    mesh = forward(models()["right"], fits.pose, fits.shape, fits.rotation, fits.translation)
    np.testing.assert_allclose(fits.vertices, mesh.vertices, rtol=0.0, atol=1e-5)
    again = keypoints(models()["right"], fits.pose, fits.shape, fits.rotation, fits.translation)
    np.testing.assert_allclose(fits.joints, again, rtol=0.0, atol=1e-5)


def test_two_views_halve_the_depth_error_of_one(problem):
    joints, transforms = problem
    points = viewed(joints, transforms, noise=OPTIONS.pixel_sigma_share, seed=3)
    one, two = (fit(points, transforms, only(*views)) for views in ((0,), (0, 1)))
    root_depth = [np.abs(fits.joints[:, 0, 2] - joints[:, 0, 2]).mean() for fits in (one, two)]
    assert root_depth[1] < 0.5 * root_depth[0]
    # Of the joints about the wrist, too: which way each finger bends is seen.
    relative = [(fits.joints - fits.joints[:, :1])[..., 2] - (joints - joints[:, :1])[..., 2] for fits in (one, two)]
    assert np.abs(relative[1]).mean() < 0.5 * np.abs(relative[0]).mean()
    # And the fit knows it.
    assert np.median(two.joint_std_m) < 0.5 * np.median(one.joint_std_m)


@pytest.mark.slow
def test_one_view_of_many_is_the_fit_to_one_view(problem):
    """From the same starts among others; elsewhere than in another minimum the results agree."""
    joints, transforms = problem
    points = viewed(joints, transforms)
    several = fit(points, transforms, only(0))
    one = fit_hands(
        models(), KeypointBatch(points[:, 0], None, np.tile(CAMERA, (CHUNK, 1, 1)), ("right",) * CHUNK), OPTIONS
    )
    distances = 1e3 * np.linalg.norm(several.joints - one.joints, axis=-1).mean(1)
    assert np.median(distances) < 0.5
    same = distances < 0.5
    np.testing.assert_allclose(several.joint_std_m[same], one.joint_std_m[same], rtol=0.1)


def test_what_a_missing_view_holds_does_not_matter(problem):
    joints, transforms = problem
    points = viewed(joints, transforms)
    expected = fit(points, transforms, only(0, 2))
    spoilt, elsewhere, cameras = points.copy(), transforms.copy(), np.tile(CAMERA, (CHUNK, VIEWS, 1, 1))
    spoilt[:, 1], elsewhere[:, 1], cameras[:, 1] = np.nan, np.nan, np.nan
    fits = fit(spoilt, elsewhere, only(0, 2), K=cameras)
    np.testing.assert_array_equal(fits.joints, expected.joints)
    np.testing.assert_array_equal(fits.residual_px, expected.residual_px)


def test_results_are_in_the_worlds_frame(problem):
    """Move the world, and the hands move with it."""
    joints, transforms = problem
    points = viewed(joints, transforms)
    move = np.eye(4)
    move[:3, :3], move[:3, 3] = Rotation.from_rotvec([0.4, -1.0, 0.7]).as_matrix(), [0.3, -1.0, 2.0]
    here, there = fit(points, transforms), fit(points, transforms @ np.linalg.inv(move))
    expected = here.joints @ move[:3, :3].T + move[:3, 3]
    assert 1e3 * np.median(np.linalg.norm(there.joints - expected, axis=-1)) < 0.2
    np.testing.assert_allclose(there.residual_px, here.residual_px, rtol=0.0, atol=0.2)


def test_left_hands_are_mirror_images(problem):
    joints, transforms = problem
    points = viewed(joints, transforms, noise=0.01, seed=4)
    right = fit(points, transforms)
    signs = np.array([-1.0, 1.0, 1.0, 1.0])
    camera = CAMERA * np.array([[1.0, 1.0, -1.0], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]], np.float32)
    mirrored = points * np.array([-1.0, 1.0, 1.0], np.float32)
    left = fit(mirrored, signs[:, None] * transforms * signs, side="left", K=camera)
    np.testing.assert_allclose(left.joints, mirror_points(jnp.asarray(right.joints)), rtol=0.0, atol=1e-5)
    np.testing.assert_allclose(left.rotation, mirror_rotations(jnp.asarray(right.rotation)), rtol=0.0, atol=1e-5)
    np.testing.assert_allclose(left.joint_std_m, right.joint_std_m, rtol=1e-3)


def test_bad_rows_are_named(problem):
    joints, transforms = problem
    points, cameras = viewed(joints, transforms), np.tile(CAMERA, (CHUNK, VIEWS, 1, 1))
    transforms = transforms.copy()
    transforms[1, 2, :3, :3] *= 1.1  # not a rotation
    transforms[2, 1, :3, 2] *= -1.0  # a reflection
    cameras[3, 1] = np.nan
    points[4, :, 3:, 2] = 0.0
    valid = np.ones((CHUNK, VIEWS), bool)
    valid[5] = False
    fits = fit(points, transforms, valid, K=cameras)
    np.testing.assert_array_equal(np.flatnonzero(~fits.valid), [1, 2, 3, 4, 5])
    assert "world_to_camera of view 2" in fits.problems[1]
    assert "world_to_camera of view 1" in fits.problems[2]
    assert "K of view 1" in fits.problems[3]
    assert "3 keypoints are seen" in fits.problems[4]
    assert "0 keypoints are seen" in fits.problems[5]
    assert np.isnan(fits.residual_px[1:6]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"world_to_camera": None}, "need world_to_camera"),
        ({"world_to_camera": np.zeros((2, 4, 4))}, r"world_to_camera must have shape \[2, 3, 4, 4\]"),
        ({"K": np.zeros((2, 3, 3))}, r"K must have shape \[2, 3, 3, 3\]"),
        ({"K": None}, "need camera matrices"),
        ({"view_valid": np.ones(2, bool)}, r"view_valid must have shape \[2, 3\]"),
        ({"keypoints": np.zeros((2, 3, 20, 3))}, r"\[hands, views, 21, 3\], got \(2, 3, 20, 3\)"),
        ({"keypoints": np.zeros((2, 21, 3))}, "go with keypoints"),
        ({"estimate": np.zeros((2, 21, 3))}, "got several views"),
    ],
)
def test_views_that_make_no_sense(change, message):
    fields = {
        "keypoints": np.zeros((2, 3, 21, 3)),
        "keypoints_3d": None,
        "K": np.zeros((2, 3, 3, 3)),
        "side": ("left", "right"),
        "world_to_camera": np.zeros((2, 3, 4, 4)),
    }
    with pytest.raises(ValueError, match=message):
        KeypointBatch(**{**fields, **change})
