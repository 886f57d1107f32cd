"""`forward` and `keypoints` against the plain NumPy implementation and themselves: batches, jit, derivatives."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mano_jax import HandModel, forward, keypoints, keypoints_from_mesh, mirror_model
from tests.mano_jax import reference
from tests.mano_jax.made_up_model import made_up_fields, made_up_hand

TOLERANCE = {"float32": 1e-6, "float64": 1e-12}  # metres
FIELDS = made_up_fields()
jitted_forward = jax.jit(forward)
jitted_keypoints = jax.jit(keypoints, static_argnames="tips")


@functools.cache
def hand(dtype: str = "float32") -> HandModel:
    return made_up_hand(dtype=dtype)


@pytest.fixture(params=["float32", "float64"])
def dtype(request: pytest.FixtureRequest):
    with jax.enable_x64(request.param == "float64"):
        yield request.param


def random_parameters(seed: int, batch: tuple[int, ...], dtype: str = "float32", shapes: int = 10) -> tuple:
    """Pose, shape, rotation, translation, each exact in `dtype`."""
    random = np.random.default_rng(seed)
    pose, shape, rotation, translation = (random.normal(size=(*batch, n)) for n in (45, shapes, 3, 3))
    return tuple(array.astype(dtype) for array in (0.6 * pose, shape, rotation, 0.5 * translation))


def of_angle(seed: int, angle: float, dtype: str) -> tuple:
    """Every joint turned by `angle` about a random axis."""
    random = np.random.default_rng(seed)
    axes = random.normal(size=(16, 3))
    vectors = (angle * axes / np.linalg.norm(axes, axis=1, keepdims=True)).astype(dtype)
    return vectors[1:].ravel(), random.normal(size=10).astype(dtype), vectors[0], np.array([0.1, -0.2, 0.6], dtype)


def assert_equals_reference(model: HandModel, fields: dict, parameters: tuple, tolerance: float) -> None:
    mesh = jitted_forward(model, *parameters)
    vertices, joints, joint_rotations = reference.hand(fields, *parameters)
    np.testing.assert_allclose(mesh.vertices, vertices, rtol=0.0, atol=tolerance)
    np.testing.assert_allclose(mesh.joints, joints, rtol=0.0, atol=tolerance)
    np.testing.assert_allclose(mesh.joint_rotations, joint_rotations, rtol=0.0, atol=10.0 * tolerance)


def test_zero_pose_is_the_template(dtype: str):
    zeros = tuple(np.zeros(n, dtype) for n in (45, 10, 3, 3))
    mesh = jitted_forward(hand(dtype), *zeros)
    tolerance = 0.1 * TOLERANCE[dtype]
    np.testing.assert_allclose(mesh.vertices, FIELDS["v_template"], rtol=0.0, atol=tolerance)
    np.testing.assert_allclose(mesh.joints, FIELDS["J_regressor"] @ FIELDS["v_template"], rtol=0.0, atol=tolerance)
    assert_equals_reference(hand(dtype), FIELDS, zeros, tolerance)


def test_random_hands_equal_reference(dtype: str):
    for seed in range(4):
        assert_equals_reference(hand(dtype), FIELDS, random_parameters(seed, (), dtype), TOLERANCE[dtype])


def test_mirrored_left_hand_equals_reference_of_mirrored_fields(dtype: str):
    signs = np.array([-1.0, 1.0, 1.0])
    feature_signs = np.tile(np.outer(signs, signs).ravel(), 15)
    fields = dict(FIELDS)
    fields["v_template"] = FIELDS["v_template"] * signs
    fields["shapedirs"] = FIELDS["shapedirs"] * signs[:, None]
    fields["posedirs"] = FIELDS["posedirs"] * signs[:, None] * feature_signs
    left = mirror_model(hand(dtype))
    assert left.side == "left"
    for seed in range(5, 9):
        assert_equals_reference(left, fields, random_parameters(seed, (), dtype), TOLERANCE[dtype])


@pytest.mark.parametrize(
    "angle",
    [1e-12, 1e-8, 1e-4, 0.1, 0.2236, 0.2237, 1.0, np.pi - 1e-9, np.pi, np.pi + 1e-9, 2.0 * np.pi, 3.0 * np.pi],
)
def test_angles_from_tiny_to_three_pi(dtype: str, angle: float):
    assert_equals_reference(hand(dtype), FIELDS, of_angle(1, angle, dtype), TOLERANCE[dtype])


@pytest.mark.parametrize("tips", ["745", "744"])
def test_keypoints_equal_reference_and_mesh(dtype: str, tips: str):
    parameters = random_parameters(7, (), dtype)
    points = jitted_keypoints(hand(dtype), *parameters, tips=tips)
    expected = reference.keypoints(FIELDS, *parameters, tips=tips)
    np.testing.assert_allclose(points, expected, rtol=0.0, atol=TOLERANCE[dtype])
    from_mesh = keypoints_from_mesh(hand(dtype), jitted_forward(hand(dtype), *parameters), tips)
    np.testing.assert_allclose(from_mesh, expected, rtol=0.0, atol=TOLERANCE[dtype])


@pytest.mark.parametrize("batch", [(1,), (128,), (129,), (300,), (2, 3), (0,), (2, 0)])
def test_batches_equal_single_hands(batch: tuple[int, ...]):
    parameters = random_parameters(11, batch)
    mesh = jitted_forward(hand(), *parameters)
    assert mesh.vertices.shape == (*batch, 778, 3)
    assert mesh.joints.shape == (*batch, 16, 3)
    flat = [array.reshape(-1, array.shape[-1]) for array in parameters]
    vertices, joints = (np.asarray(array).reshape(-1, array.shape[-2], 3) for array in (mesh.vertices, mesh.joints))
    # The ends of the batch and of the chunks.
    for row in sorted({0, 1, 127, 128, 255, 256, len(flat[0]) - 1} & set(range(len(flat[0])))):
        expected = reference.hand(FIELDS, *(array[row] for array in flat))
        np.testing.assert_allclose(vertices[row], expected[0], rtol=0.0, atol=1e-6)
        np.testing.assert_allclose(joints[row], expected[1], rtol=0.0, atol=1e-6)


def test_batch_axes_broadcast():
    pose, _, _, translation = random_parameters(13, (4, 1))
    _, shape, rotation, _ = random_parameters(14, (3,))
    mesh = jitted_forward(hand(), pose, shape[0], rotation, translation[:, 0][:, None])
    points = jitted_keypoints(hand(), pose, shape[0], rotation, translation[:, 0][:, None])
    assert mesh.vertices.shape == (4, 3, 778, 3)
    assert points.shape == (4, 3, 21, 3)
    for row, column in ((0, 0), (3, 2), (1, 2)):
        expected = reference.hand(FIELDS, pose[row, 0], shape[0], rotation[column], translation[row, 0])
        np.testing.assert_allclose(mesh.vertices[row, column], expected[0], rtol=0.0, atol=1e-6)


def test_fewer_shape_components_leave_the_rest_at_zero():
    pose, shape, rotation, translation = random_parameters(17, ())
    for count in (0, 3):  # None at all is a template hand.
        mesh = jitted_forward(hand(), pose, shape[:count], rotation, translation)
        expected = reference.hand(FIELDS, pose, shape[:count], rotation, translation)
        np.testing.assert_allclose(mesh.vertices, expected[0], rtol=0.0, atol=1e-6)
        np.testing.assert_allclose(mesh.joints, expected[1], rtol=0.0, atol=1e-6)


@pytest.mark.parametrize("vertices", [(-1, 0), (0, 778)])
def test_vertices_that_a_model_does_not_have_are_refused(vertices):
    with pytest.raises(ValueError, match=r"indices in 0 \.\.\. 777"):
        hand().at_vertices(vertices)


def test_model_of_some_vertices_gives_those_rows_in_that_order():
    parameters = random_parameters(19, (2,))
    subset = (777, 0, 31, 31)
    some = jitted_forward(hand().at_vertices(subset), *parameters)
    everything = jitted_forward(hand(), *parameters)
    np.testing.assert_allclose(some.vertices, everything.vertices[:, np.array(subset)], rtol=0.0, atol=1e-7)
    np.testing.assert_allclose(some.joints, everything.joints, rtol=0.0, atol=1e-7)


def test_eager_equals_jit_and_vmap_equals_batch_axes():
    parameters = random_parameters(23, (3,))
    compiled = jitted_forward(hand(), *parameters)
    for other in (forward(hand(), *parameters), jax.jit(jax.vmap(forward, (None, 0, 0, 0, 0)))(hand(), *parameters)):
        np.testing.assert_allclose(other.vertices, compiled.vertices, rtol=0.0, atol=2e-7)
        np.testing.assert_allclose(other.joints, compiled.joints, rtol=0.0, atol=2e-7)


@pytest.mark.parametrize("inner", [2, 300])
def test_vmap_over_batches_compiles_and_agrees(inner: int):
    """Batched 3x3 products under `jit(vmap(...))` once broke XLA's CPU compiler; 300 hands go through the chunks."""
    pose, shape, rotation, translation = random_parameters(29, (2, inner))
    mapped = jax.jit(jax.vmap(forward, (None, 0, 0, 0, 0)))(hand(), pose, shape, rotation, translation)
    for row in range(2):
        alone = jitted_forward(hand(), pose[row], shape[row], rotation[row], translation[row])
        np.testing.assert_allclose(mapped.vertices[row], alone.vertices, rtol=0.0, atol=3e-7)


def test_translation_is_added_last_and_rotation_is_about_the_wrist():
    pose, shape, rotation, translation = random_parameters(29, ())
    still = jitted_forward(hand(), pose, shape, 0.0 * rotation, 0.0 * translation)
    moved = jitted_forward(hand(), pose, shape, rotation, translation)
    wrist = np.asarray(still.joints[0], np.float64)
    turned = (np.asarray(still.vertices) - wrist) @ reference.rotation_matrix(rotation).T + wrist + translation
    np.testing.assert_allclose(moved.vertices, turned, rtol=0.0, atol=1e-6)
    np.testing.assert_allclose(moved.joints[0], wrist + translation, rtol=0.0, atol=1e-6)


def flat_parameters(name: str) -> np.ndarray:
    """61 numbers: pose, shape, rotation, translation."""
    random = np.random.default_rng(31)
    shape, translation = random.normal(size=10), random.normal(size=3)
    vectors = random.normal(size=(16, 3))
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    angles = {"zero": 0.0, "tiny": 1e-12, "pi": np.pi, "random": 0.5 * lengths}[name]
    vectors = vectors / lengths * angles
    if name == "zero":
        shape, translation = 0.0 * shape, 0.0 * translation
    return np.concatenate([vectors[1:].ravel(), shape, vectors[0], translation])


def some_outputs(model: HandModel, flat: jax.Array) -> jax.Array:
    """A few vertices and all joints: what the derivatives are taken of."""
    parts = flat[:45], flat[45:55], flat[55:58], flat[58:]
    mesh = forward(model.at_vertices((0, 100, 317, 777)), *parts)
    return jnp.concatenate([mesh.vertices.ravel(), mesh.joints.ravel()])


@pytest.mark.parametrize("name", ["zero", "tiny", "pi", "random"])
def test_derivatives_forward_equal_reverse_equal_differences(name: str):
    with jax.enable_x64(True):
        model = hand("float64")
        point = jnp.asarray(flat_parameters(name))
        along = np.asarray(forward_jacobian(model, point))
        back = np.asarray(reverse_jacobian(model, point))
        np.testing.assert_allclose(along, back, rtol=0.0, atol=1e-13)
        step = 1e-6
        steps = step * jnp.eye(61)
        differences = (outputs_of_rows(model, point[None] + steps) - outputs_of_rows(model, point[None] - steps)) / (
            2.0 * step
        )
        np.testing.assert_allclose(along, differences.T, rtol=0.0, atol=1e-9)


forward_jacobian = jax.jit(jax.jacfwd(some_outputs, argnums=1))
reverse_jacobian = jax.jit(jax.jacrev(some_outputs, argnums=1))
outputs_of_rows = jax.jit(jax.vmap(some_outputs, (None, 0)))


def test_gradient_in_single_precision_at_the_exact_zero_pose():
    """The commonest start of a fit; other JAX hand models return NaN here."""
    zeros = jnp.zeros(61, jnp.float32)
    single = np.asarray(reverse_jacobian(hand(), zeros))
    with jax.enable_x64(True):
        double = np.asarray(reverse_jacobian(hand("float64"), jnp.zeros(61)))
    assert np.isfinite(single).all()
    np.testing.assert_allclose(single, double, rtol=0.0, atol=1e-6)
    assert np.abs(double[:, :45]).max() > 0.01


def test_gradient_through_chunks_equals_gradient_of_each_hand():
    parameters = random_parameters(37, (130,))
    targets = np.random.default_rng(0).normal(size=(130, 778, 3)).astype(np.float32)

    def loss(pose, shape, rotation, translation, targets):
        return jnp.sum((forward(hand(), pose, shape, rotation, translation).vertices - targets) ** 2)

    whole = jax.jit(jax.grad(loss, argnums=(0, 1, 2, 3)))(*parameters, targets)
    ends = np.array([0, 127, 128, 129])
    each = jax.jit(jax.vmap(jax.grad(loss, argnums=(0, 1, 2, 3))))(
        *(array[ends] for array in parameters), targets[ends]
    )
    for chunked, single in zip(whole, each, strict=True):
        np.testing.assert_allclose(chunked[ends], single, rtol=1e-4, atol=1e-3)


def test_computes_in_the_dtype_of_the_model():
    parameters = random_parameters(41, ())
    assert jitted_forward(hand(), *parameters).vertices.dtype == jnp.float32
    # Lists and integers are welcome: they are converted, not promoted.
    mesh = jitted_forward(hand(), np.zeros(45, np.int32), np.zeros(10), np.zeros(3), np.zeros(3))
    assert mesh.vertices.dtype == jnp.float32
    low = jitted_forward(hand().astype(jnp.bfloat16), *parameters)
    assert low.vertices.dtype == jnp.bfloat16
    np.testing.assert_allclose(
        np.asarray(low.joints, np.float32), jitted_forward(hand(), *parameters).joints, rtol=0.0, atol=0.02
    )


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((44, 10, 3, 3), r"pose must have shape \[\.\.\., 45\], got \[44\]"),
        ((45, 11, 3, 3), "the model has 10 shape components, got shape with 11"),
        ((45, 10, 4, 3), r"rotation must have shape \[\.\.\., 3\], got \[4\]"),
        ((45, 10, 3, 2), r"translation must have shape \[\.\.\., 3\], got \[2\]"),
    ],
)
def test_wrong_sizes_are_named(sizes: tuple[int, ...], message: str):
    with pytest.raises(ValueError, match=message):
        forward(hand(), *(np.zeros(n, np.float32) for n in sizes))


def test_wrong_batches_and_names_are_refused():
    zeros = tuple(np.zeros(n, np.float32) for n in (45, 10, 3, 3))
    with pytest.raises(ValueError, match=r"(?i)broadcast"):
        forward(hand(), np.zeros((2, 45)), np.zeros((3, 10)), np.zeros(3), np.zeros(3))
    with pytest.raises(ValueError, match="pose must have shape"):
        forward(hand(), np.float32(0.0), *zeros[1:])
    with pytest.raises(ValueError, match=r"fingertip convention must be one of \['744', '745'\], got '746'"):
        keypoints(hand(), *zeros, tips="746")
    with pytest.raises(ValueError, match="side must be 'left' or 'right', got 'both'"):
        made_up_hand(side="both")
