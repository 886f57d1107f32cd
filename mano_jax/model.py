"""`HandModel`: the arrays and the topology of a MANO-shaped hand, as one frozen pytree."""

import dataclasses
import functools
import hashlib
from collections.abc import Mapping, Sequence
from typing import Self

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, Float, Int

from mano_jax.keypoints import FINGERTIP_VERTICES, MODEL_PARENTS

SIDES = ("left", "right")
POSE_SIZE = 45
CORRECTIVE_SIZE = 135


@dataclasses.dataclass(frozen=True, eq=False)
class Topology:
    """What never changes under differentiation: triangles, kinematic tree, side. Hashed and compared by content.

    Attributes:
      faces: [faces, 3] int32 vertex indices, counter-clockwise seen from outside. Read-only.
      parents: parent of each of the 16 joints, -1 for the root.
      side: "left" or "right".
      fingertip_vertices: five vertex indices (thumb to little) for each named convention.
      left_shape_corrected: for a left hand read from an official file, whether the x sign of its shape basis was
        corrected; None where the question does not arise.
    """

    faces: Int[np.ndarray, "faces 3"]
    parents: tuple[int, ...]
    side: str
    fingertip_vertices: tuple[tuple[str, tuple[int, ...]], ...]
    left_shape_corrected: bool | None = None

    def __post_init__(self):
        self.faces.setflags(write=False)

    @functools.cached_property
    def _content(self) -> tuple:
        digest = hashlib.sha256(np.ascontiguousarray(self.faces).tobytes()).digest()
        return digest, self.faces.shape, self.parents, self.side, self.fingertip_vertices, self.left_shape_corrected

    def __hash__(self) -> int:
        return hash(self._content)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Topology) and self._content == other._content


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=(
        "template",
        "blend_basis",
        "joint_regressor",
        "joint_template",
        "joint_shape_basis",
        "skinning_weights",
        "pose_mean",
        "pose_basis",
        "pose_standard_deviations",
    ),
    meta_fields=("topology",),
)
@dataclasses.dataclass(frozen=True)
class HandModel:
    """A hand model of MANO's form; make it by `mano_jax.open_hand`, `mano_jax.load` or `HandModel.create`.

    The arrays are leaves, so a model is passed to `jit` as an argument and moves between devices as any pytree; the
    topology is static. Lengths are metres, in the model's own frame: for the right hand the fingers point to -x, the
    back of the hand to +y, the thumb's side to +z. `S` is the number of shape components, 10 as a rule.

    Attributes:
      template: vertices at zero pose and shape.
      blend_basis: one row for each of 135 pose correctives and S shape components, coordinates in planes
        [3, vertices]: the layout in which one matrix product blends a batch of hands.
      joint_regressor: joints from shaped rest vertices; used to derive the two fields below, and by regressors.
      joint_template: joint_regressor @ template.
      joint_shape_basis: joint_regressor @ each shape component.
      skinning_weights: rows sum to 1.
      pose_mean: mean pose as axis-angle from the flat hand.
      pose_basis: rows are the components of `pose_coefficients`, measured from `pose_mean`.
      pose_standard_deviations: of each coefficient over plausible poses.
    """

    template: Float[Array, "vertices 3"]
    blend_basis: Float[Array, "blends 3 vertices"]
    joint_regressor: Float[Array, "16 vertices"]
    joint_template: Float[Array, "16 3"]
    joint_shape_basis: Float[Array, "shapes 16 3"]
    skinning_weights: Float[Array, "vertices 16"]
    pose_mean: Float[Array, "45"]
    pose_basis: Float[Array, "45 45"]
    pose_standard_deviations: Float[Array, "45"]
    topology: Topology

    @classmethod
    def create(
        cls,
        *,
        template: Float[ArrayLike, "vertices 3"],
        shape_basis: Float[ArrayLike, "vertices 3 shapes"],
        pose_correctives: Float[ArrayLike, "vertices 3 135"],
        joint_regressor: Float[ArrayLike, "16 vertices"],
        skinning_weights: Float[ArrayLike, "vertices 16"],
        pose_mean: Float[ArrayLike, "45"],
        pose_basis: Float[ArrayLike, "45 45"],
        pose_standard_deviations: Float[ArrayLike, "45"],
        faces: Int[ArrayLike, "faces 3"],
        side: str,
        parents: tuple[int, ...] = MODEL_PARENTS,
        fingertip_vertices: Mapping[str, tuple[int, ...]] = FINGERTIP_VERTICES,
        left_shape_corrected: bool | None = None,
        dtype: DTypeLike = jnp.float32,
    ) -> Self:
        """Build a model from arrays in MANO's layout. Derived arrays are computed in float64, then cast to `dtype`.

        Raises:
          ValueError: `side` is neither "left" nor "right".
        """
        if side not in SIDES:
            raise ValueError(f"side must be 'left' or 'right', got {side!r}")
        template, shape_basis, pose_correctives, joint_regressor = (
            np.asarray(array, np.float64) for array in (template, shape_basis, pose_correctives, joint_regressor)
        )
        arrays = {
            "template": template,
            "blend_basis": np.concatenate([pose_correctives, shape_basis], axis=2).transpose(2, 1, 0),
            "joint_regressor": joint_regressor,
            "joint_template": joint_regressor @ template,
            "joint_shape_basis": np.einsum("jv,vcs->sjc", joint_regressor, shape_basis),
            "skinning_weights": skinning_weights,
            "pose_mean": pose_mean,
            "pose_basis": pose_basis,
            "pose_standard_deviations": pose_standard_deviations,
        }
        topology = Topology(
            faces=np.array(faces, np.int32),
            parents=tuple(int(parent) for parent in parents),
            side=side,
            fingertip_vertices=tuple((name, tuple(tips)) for name, tips in fingertip_vertices.items()),
            left_shape_corrected=left_shape_corrected,
        )
        return cls(**{name: jnp.asarray(array, dtype) for name, array in arrays.items()}, topology=topology)

    @property
    def faces(self) -> Int[np.ndarray, "faces 3"]:
        return self.topology.faces

    @property
    def parents(self) -> tuple[int, ...]:
        return self.topology.parents

    @property
    def side(self) -> str:
        return self.topology.side

    @property
    def dtype(self) -> jnp.dtype:
        return self.template.dtype

    @property
    def shape_size(self) -> int:
        """Number of shape components."""
        return self.blend_basis.shape[0] - CORRECTIVE_SIZE

    @property
    def shape_basis(self) -> Float[Array, "vertices 3 shapes"]:
        """Shape components in MANO's layout (`shapedirs`), metres per unit."""
        return self.blend_basis[CORRECTIVE_SIZE:].transpose(2, 1, 0)

    @property
    def pose_correctives(self) -> Float[Array, "vertices 3 135"]:
        """Pose correctives in MANO's layout (`posedirs`), metres per unit of R - I."""
        return self.blend_basis[:CORRECTIVE_SIZE].transpose(2, 1, 0)

    def fingertips(self, tips: str = "745") -> tuple[int, ...]:
        """Fingertip vertices, thumb to little, in the named convention.

        Raises:
          ValueError: the model has no convention of that name.
        """
        conventions = dict(self.topology.fingertip_vertices)
        if tips not in conventions:
            raise ValueError(f"fingertip convention must be one of {sorted(conventions)}, got {tips!r}")
        return conventions[tips]

    def at_vertices(self, vertices: Sequence[int]) -> Self:
        """A model of these vertices alone, in this order: same parameters, same joints, no triangles.

        `forward` of it costs what these vertices cost. Fingertip conventions whose vertices are all kept are kept.

        Raises:
          ValueError: an index that is none of this model's vertices.
        """
        index = np.asarray(vertices, np.int32)
        count = self.template.shape[0]
        if index.size and not 0 <= index.min() <= index.max() < count:
            raise ValueError(f"vertices must be indices in 0 ... {count - 1}, got {index.min()} ... {index.max()}")
        position = {int(vertex): place for place, vertex in enumerate(index)}
        tips = tuple(
            (name, tuple(position[vertex] for vertex in indices))
            for name, indices in self.topology.fingertip_vertices
            if set(indices) <= set(position)
        )
        return dataclasses.replace(
            self,
            template=_taken(self.template, index, 0),
            blend_basis=_taken(self.blend_basis, index, 2),
            joint_regressor=_taken(self.joint_regressor, index, 1),
            skinning_weights=_taken(self.skinning_weights, index, 0),
            topology=dataclasses.replace(self.topology, faces=np.zeros((0, 3), np.int32), fingertip_vertices=tips),
        )

    def shaped(self, shape: Float[ArrayLike, "shapes"]) -> Self:
        """A model whose template is the hand of one shape, without shape components: `forward` it with `shape=[]`.

        `forward` does this by itself where one shape is shared by a batch; keep the shaped model to do it once for
        many calls.

        Raises:
          ValueError: `shape` is not one vector of at most `shape_size` coefficients.
        """
        shape = jnp.asarray(shape, self.dtype)
        if shape.ndim != 1 or shape.shape[0] > self.shape_size:
            raise ValueError(f"shape must be one vector of at most {self.shape_size} numbers, got {list(shape.shape)}")
        basis = self.blend_basis[CORRECTIVE_SIZE : CORRECTIVE_SIZE + shape.shape[0]].astype(self.dtype)
        joint_basis = self.joint_shape_basis[: shape.shape[0]]
        highest = jax.lax.Precision.HIGHEST
        return dataclasses.replace(
            self,
            template=self.template + jnp.einsum("k,kcv->vc", shape, basis, precision=highest),
            blend_basis=self.blend_basis[:CORRECTIVE_SIZE],
            joint_template=self.joint_template + jnp.einsum("k,kjc->jc", shape, joint_basis, precision=highest),
            joint_shape_basis=self.joint_shape_basis[:0],
        )

    def with_bases(self, dtype: DTypeLike) -> Self:
        """The same model with pose correctives and shape components of another precision, everything else as it is.

        `forward` then multiplies them with features (R - I, shape) rounded to `dtype`, and sums in the model's own
        precision. With bfloat16 vertices of the open hand move by less than 0.2 mm, 0.01 mm on average, for joint
        angles within the limits and shapes within 3 standard deviations, and joints not at all.
        """
        return dataclasses.replace(self, blend_basis=self.blend_basis.astype(dtype))

    def astype(self, dtype: DTypeLike) -> Self:
        """The same model with every array cast to `dtype`, which `forward` then computes in."""
        return jax.tree.map(lambda leaf: leaf.astype(dtype), self)


def _taken(array: Float[Array, "..."], index: Int[np.ndarray, "some"], axis: int) -> Float[Array, "..."]:
    """Entries along an axis; a few of them by slices, which on a CPU cost a quarter of a gather."""
    if not 0 < len(index) <= 16:
        return jnp.take(array, index, axis=axis)
    return jnp.concatenate([jax.lax.slice_in_dim(array, int(i), int(i) + 1, axis=axis) for i in index], axis=axis)
