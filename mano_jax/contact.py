"""Self-contact: spheres inside the hand's flesh, how deep they enter each other, and poses moved until they do not.

The spheres are found in the model's own mesh, so any `HandModel` has them: at each vertex the largest ball that touches
the skin there and nowhere crosses it, and of these as few as leave no vertex far outside their union. They follow the
pose as vertices do. Two spheres may meet where the definition of penetration in docs/open_hand.md says that flesh may
not: on parts (what one joint moves most) that are neither the same nor neighbours in the tree of joints.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from mano_jax.anatomy import joint_angles, joint_limits, pose_from_angles
from mano_jax.forward import forward
from mano_jax.model import CORRECTIVE_SIZE, HandModel
from mano_jax.rotations import PRECISION

SPHERES = 320
TOLERANCE = 0.001
"""Metres."""
_LARGEST_RADIUS = 0.018
_NEIGHBOURHOOD = 0.003
"""Metres. Spheres this near at rest, in the webs between fingers, are the same soft flesh and may press together."""
_DEEPEST_PAIRS = 48
"""Contacts that one step of `separate` looks at."""
_AIM = 0.0002
"""Metres farther than needed that `separate` aims, since it comes near from the side of contact."""
_LONGEST_STEP = 0.3
_IN_CONTACT = 1e3
"""Score of a pose in contact, more than of any without."""
_DUAL_STEPS = 150
_BATCH = 16


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=("points", "radii", "radius_basis", "may_meet"), meta_fields=()
)
@dataclasses.dataclass(frozen=True)
class ContactSpheres:
    """Spheres that fill a hand; make them by `contact_spheres`.

    Attributes:
      points: the centres as the vertices of a model without triangles, so that `forward` poses them.
      radii: metres, for shape zero.
      radius_basis: what one unit of each shape component adds to them.
      may_meet: whether the spheres belong to parts that could enter each other, and are apart at rest.
    """

    points: HandModel
    radii: Float[Array, "spheres"]
    radius_basis: Float[Array, "spheres shapes"]
    may_meet: Bool[Array, "spheres spheres"]


def contact_spheres(model: HandModel, count: int = SPHERES) -> ContactSpheres:
    """`count` spheres inside the template of a hand; 320 leave no vertex of the open hand 1.2 mm outside.

    Raises:
      ValueError: the model has no triangles, or fewer vertices than `count`.
    """
    if len(model.faces) == 0 or not 2 <= count <= model.template.shape[0]:
        raise ValueError(
            f"expected a model with triangles and 2 <= count <= its {model.template.shape[0]} vertices, "
            f"got {len(model.faces)} triangles and count {count}"
        )
    centres, radii, inwards, opposite = _touching_balls(model)
    # At the wrist's opening normals are those of half a surface, and balls may leave the hand.
    border = jnp.asarray(_border(model.faces, model.template.shape[0]))
    chosen = _cover(model.template, centres, radii, border, count)
    other = opposite[chosen]

    def mean(array: Float[Array, "..."], axis: int) -> Float[Array, "..."]:
        """Of the two places where a sphere touches the skin: its centre goes with both."""
        return 0.5 * (jnp.take(array, chosen, axis) + jnp.take(array, other, axis))

    points = dataclasses.replace(
        model,
        template=centres[chosen],
        blend_basis=mean(model.blend_basis, 2),
        joint_regressor=jnp.zeros((16, count), model.dtype),
        skinning_weights=mean(model.skinning_weights, 0),
        topology=dataclasses.replace(model.topology, faces=np.zeros((0, 3), np.int32), fingertip_vertices=()),
    )
    shape_basis = model.blend_basis[CORRECTIVE_SIZE:].astype(model.dtype)
    apart = 0.5 * (shape_basis[:, :, other] - shape_basis[:, :, chosen])
    radius_basis = jnp.einsum("kcs,sc->sk", apart, inwards[chosen], precision=PRECISION)
    part = jnp.argmax(points.skinning_weights, axis=1)
    may_meet = _parts_may_meet(model.parents)[part[:, None], part[None]]
    may_meet &= _distances(points.template) > radii[chosen][:, None] + radii[chosen][None] + _NEIGHBOURHOOD
    return ContactSpheres(points, radii[chosen], radius_basis, may_meet)


def _parts_may_meet(parents: tuple[int, ...]) -> Bool[Array, "16 16"]:
    count = len(parents)
    neighbours = np.eye(count, dtype=bool)
    for joint, parent in enumerate(parents):
        if parent >= 0:
            neighbours[joint, parent] = neighbours[parent, joint] = True
    return jnp.asarray(~neighbours)


def _touching_balls(model: HandModel) -> tuple[Array, Array, Array, Array]:
    """For each vertex the largest ball that touches it from inside and holds no other vertex.

    A ball of radius r at v + r n passes through u where r = |u - v|² / (2 n·(u - v)). Returns centres [V, 3], radii
    [V], inward normals [V, 3] and the other vertex touched [V].
    """
    vertices = model.template
    corners = vertices[model.faces]
    across = jnp.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    outwards = jnp.zeros_like(vertices)
    for corner in range(3):
        outwards = outwards.at[model.faces[:, corner]].add(across)
    squares = jnp.sum(outwards * outwards, axis=1, keepdims=True)
    inwards = -outwards / jnp.sqrt(jnp.where(squares > 0, squares, 1.0))
    offsets = vertices[None] - vertices[:, None]
    height = jnp.einsum("vuc,vc->vu", offsets, inwards, precision=PRECISION)
    far = jnp.sum(offsets * offsets, axis=-1)
    inside = height > 1e-6
    through = jnp.where(inside, far / (2.0 * jnp.where(inside, height, 1.0)), jnp.inf)
    opposite = jnp.argmin(through, axis=1)
    radii = jnp.minimum(through.min(axis=1), _LARGEST_RADIUS)
    return vertices + radii[:, None] * inwards, radii, inwards, opposite


def _border(faces: Int[np.ndarray, "faces 3"], count: int) -> Bool[np.ndarray, "vertices"]:
    """Whether a vertex is on an edge of one triangle only."""
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    edges, times = np.unique(edges, axis=0, return_counts=True)
    border = np.zeros(count, bool)
    border[edges[times == 1]] = True
    return border


def _cover(vertices: Array, centres: Array, radii: Array, never: Array, count: int) -> Array:
    """[count] of the balls: again and again that of the vertex which lies farthest outside of those chosen."""

    def choose(number: int, state: tuple[Array, Array]) -> tuple[Array, Array]:
        chosen, gap = state
        pick = jnp.argmax(jnp.where(never, -jnp.inf, jnp.where(number == 0, radii, gap)))
        offsets = vertices - centres[pick][None]
        gap = jnp.minimum(gap, jnp.sqrt(jnp.sum(offsets * offsets, axis=1)) - radii[pick])
        return chosen.at[number].set(pick.astype(jnp.int32)), gap.at[pick].set(-jnp.inf)

    start = jnp.zeros(count, jnp.int32), jnp.full(len(vertices), jnp.inf, vertices.dtype)
    return jax.lax.fori_loop(0, count, choose, start)[0]


def contact_depths(
    spheres: ContactSpheres, pose: Float[ArrayLike, "*batch 45"], shape: Float[ArrayLike, "*#batch shapes"]
) -> Float[Array, "*batch spheres spheres"]:
    """How deep each sphere enters each other one, metres; negative: the gap between them; symmetric.

    Pairs that may not meet have -inf.
    Differentiable where finite. An array of 400 kB a hand: for many hands reduce it under `jax.lax.map`.
    """
    dtype = spheres.points.dtype
    shape = jnp.asarray(shape, dtype)
    zero = jnp.zeros(3, dtype)
    centres = forward(spheres.points, pose, shape, zero, zero).vertices
    return _depths(spheres, centres, _reach(spheres, shape))


def _reach(spheres: ContactSpheres, shape: Float[Array, "*batch shapes"]) -> Float[Array, "*batch s s"]:
    """The distance at which two spheres touch."""
    radii = jnp.einsum("...k,sk->...s", shape, spheres.radius_basis[:, : shape.shape[-1]], precision=PRECISION)
    radii = radii + spheres.radii.reshape((1,) * (radii.ndim - 1) + (-1,))
    return radii[..., :, None] + radii[..., None, :]


def _distances(centres: Float[Array, "*batch s 3"]) -> Float[Array, "*batch s s"]:
    offsets = centres[..., :, None, :] - centres[..., None, :, :]
    squares = jnp.sum(offsets * offsets, axis=-1)
    # A sphere and itself, or two that coincide: distance 0 with gradient 0.
    apart = squares > 1e-12
    return jnp.where(apart, jnp.sqrt(jnp.where(apart, squares, 1.0)), 0.0)


def _depths(spheres: ContactSpheres, centres: Array, reach: Array) -> Array:
    distances = _distances(centres)
    depths = reach.reshape((1,) * (distances.ndim - reach.ndim) + reach.shape) - distances
    may_meet = spheres.may_meet.reshape((1,) * (depths.ndim - 2) + spheres.may_meet.shape)
    return jnp.where(may_meet, depths, -jnp.inf)


def contact_energy(
    spheres: ContactSpheres, pose: Float[ArrayLike, "*batch 45"], shape: Float[ArrayLike, "*#batch shapes"]
) -> Float[Array, "*batch"]:
    """Sum of squared depths over pairs, square metres; zero, with gradient zero, for a hand that is free of contact."""
    depths = contact_depths(spheres, pose, shape)
    inside = depths > 0
    return 0.5 * jnp.sum(jnp.square(jnp.where(inside, depths, 0.0)), axis=(-2, -1))


def separate(
    model: HandModel,
    spheres: ContactSpheres,
    pose: Float[ArrayLike, "*batch 45"],
    shape: Float[ArrayLike, "*#batch shapes"],
    iterations: int = 24,
    tolerance: float = TOLERANCE,
) -> Float[Array, "*batch 45"]:
    """The nearest poses in which no sphere enters another deeper than `tolerance` metres, as far as they are found.

    Nearest by the Mahalanobis distance of the model's pose space: fingers spread or uncurl together, as hands do.
    Sequential quadratic programming: contacts are linearised, the nearest pose to the one given that opens them is
    found, within the joint limits, and a step is taken towards it. A pose that is free of contact is returned as it
    came, with angles beyond their limits if it has such.

    Args:
      model: the hand model that `spheres` were made of.
      spheres: see `contact_spheres`.
      pose: axis-angle from the flat hand.
      shape: shape coefficients.
      iterations: steps.
      tolerance: metres. Spheres stand out of flattened flesh a little and flesh yields, so touching is not 0.

    Returns:
      Of the poses on the way that with the least contact, and of those free of it the nearest.
    """
    pose, shape = jnp.asarray(pose, model.dtype), jnp.asarray(shape, model.dtype)
    batch = jnp.broadcast_shapes(pose.shape[:-1], shape.shape[:-1])

    def rows(array: Array) -> Array:
        full = array.reshape((1,) * (len(batch) + 1 - array.ndim) + array.shape)
        return jnp.broadcast_to(full, (*batch, array.shape[-1])).reshape(-1, array.shape[-1])

    metric = _angle_covariance(model)

    def one(pair: tuple[Array, Array]) -> Array:
        return _separate_one(model, spheres, metric, *pair, iterations, tolerance)

    flat = rows(pose), rows(shape)
    return jax.lax.map(one, flat, batch_size=min(_BATCH, max(1, len(flat[0])))).reshape(*batch, 45)


def _angle_covariance(model: HandModel) -> Float[Array, "45 45"]:
    """Covariance of the joint angles over plausible poses."""
    directions = joint_angles(model, model.pose_basis).reshape(-1, 45) * model.pose_standard_deviations[:, None]
    return jnp.einsum("ka,kb->ab", directions, directions, precision=PRECISION)


def _separate_one(
    model: HandModel,
    spheres: ContactSpheres,
    metric: Float[Array, "45 45"],
    pose: Float[Array, "45"],
    shape: Float[Array, "shapes"],
    iterations: int,
    tolerance: float,
) -> Float[Array, "45"]:
    limits = jnp.asarray(joint_limits(), model.dtype).reshape(45, 2)
    low, high = limits[:, 0], limits[:, 1]
    zero = jnp.zeros(3, model.dtype)
    reach = _reach(spheres, shape) - tolerance
    may_meet = jnp.triu(spheres.may_meet)  # each pair once
    given = joint_angles(model, pose).reshape(45)
    start = jnp.clip(given, low, high)
    deviations = jnp.sqrt(jnp.diagonal(metric))

    def centres_of(angles: Float[Array, "45"]) -> Float[Array, "spheres 3"]:
        pose = pose_from_angles(model, angles.reshape(15, 3))
        return forward(spheres.points, pose, shape, zero, zero).vertices

    def deepest(centres: Array) -> tuple[Array, Array, Array]:
        depths = jnp.where(may_meet, reach - _distances(centres), -1.0)
        # Of each sphere the deepest contact, then the deepest of these: less to sort, and more different contacts.
        depth, one = jax.lax.top_k(depths.max(axis=1), _DEEPEST_PAIRS)
        return depth, one, jnp.argmax(depths, axis=1)[one]

    def score(angles: Array, depth: Array) -> Array:
        """Depth first; among poses free of contact, the change."""
        change = jnp.max(jnp.abs(angles - start) / deviations)
        return jnp.where(depth > 0, _IN_CONTACT * (1.0 + depth), change)

    def improve(number: int, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        angles, best, best_score = state
        centres, derivative = centres_of(angles), jax.jacfwd(centres_of)(angles)
        depth, one, other = deepest(centres)
        best, best_score = _better(best, best_score, angles, score(angles, depth[0]))
        # Where the nearest pose is not found in half of the time, any near one will do: step from where we are.
        anchor = jnp.where((2 * number >= iterations) & (best_score >= _IN_CONTACT), angles, start)
        offsets = centres[one] - centres[other]
        normals = offsets / jnp.sqrt(jnp.maximum(jnp.sum(offsets * offsets, axis=1, keepdims=True), 1e-12))
        # How fast each contact opens with each angle.
        opening = jnp.einsum("pc,pca->pa", normals, derivative[one] - derivative[other], precision=PRECISION)
        wanted = depth + _AIM
        held, held_at = jnp.zeros(45, bool), anchor
        goal = angles
        for _ in range(3):  # angles that would leave their limits are held there, the others take over
            free = jnp.where(held, 0.0, 1.0).astype(model.dtype)
            # Opened already by leaving the anchor, and by what is held.
            already = jnp.einsum("pa,a->p", opening, angles - jnp.where(held, held_at, anchor), precision=PRECISION)
            goal = jnp.where(held, held_at, anchor + _nearest(opening * free[None], metric, wanted + already) * free)
            outside = (goal > high) | (goal < low)
            held, held_at = held | outside, jnp.clip(goal, low, high)
        step = jnp.clip(goal, low, high) - angles
        # Longer steps leave the range in which the contacts are what they were.
        step = step * jnp.minimum(1.0, _LONGEST_STEP / jnp.maximum(jnp.max(jnp.abs(step)), 1e-12))
        return angles + step, best, best_score

    first = deepest(centres_of(given))[0][0]
    begin = start, start, jnp.asarray(jnp.inf, model.dtype)
    angles, best, best_score = jax.lax.fori_loop(0, iterations, improve, begin)
    best, _ = _better(best, best_score, angles, score(angles, deepest(centres_of(angles))[0][0]))
    return jnp.where(first > 0, pose_from_angles(model, best.reshape(15, 3)), pose)


def _better(best: Array, best_score: Array, angles: Array, score: Array) -> tuple[Array, Array]:
    return jnp.where(score < best_score, angles, best), jnp.minimum(score, best_score)


def _nearest(
    opening: Float[Array, "pairs 45"], metric: Float[Array, "45 45"], wanted: Float[Array, "pairs"]
) -> Float[Array, "45"]:
    """argmin x' metric⁻¹ x subject to opening x >= wanted: the dual, by accelerated projected gradients."""
    spread = jnp.einsum("pa,ab->pb", opening, metric, precision=PRECISION)
    gram = jnp.einsum("pb,qb->pq", spread, opening, precision=PRECISION)
    gram = gram + 1e-3 * jnp.trace(gram) / len(gram) * jnp.eye(len(gram), dtype=gram.dtype)
    rate = 1.0 / jnp.maximum(jnp.max(jnp.sum(jnp.abs(gram), axis=1)), 1e-12)

    def climb(number: int, state: tuple[Array, Array]) -> tuple[Array, Array]:
        forces, ahead = state
        slope = wanted - jnp.einsum("pq,q->p", gram, ahead, precision=PRECISION)
        after = jnp.maximum(ahead + rate * slope, 0.0)
        step = jnp.asarray(number, gram.dtype)
        momentum = step / (step + 3.0)
        return after, after + momentum * (after - forces)

    none = jnp.zeros_like(wanted)
    forces, _ = jax.lax.fori_loop(0, _DUAL_STEPS, climb, (none, none))
    return jnp.einsum("pb,p->b", spread, forces, precision=PRECISION)
