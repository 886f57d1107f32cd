"""Training examples made on the accelerator: crops of synthetic hands with all that DHPE's losses compare with."""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float, PRNGKeyArray

import mano_jax
from handpose_jax.dhpe.normalisation import focal_length, normalise
from handpose_jax.projection import ROOT
from handpose_jax.synthesis import SynthesisOptions, SyntheticHand, synthetic_hand
from handpose_jax.synthesis.images import synthesis_tables
from handpose_jax.training.sharding import AXIS
from mano_jax import HandModel
from render_jax import Pinhole

WIDEST_BORDER = 0.3
"""Share of the crop's edge: twice the free margin around the hand's box, so that fingers may be cut off."""
_BORDER = 0x424F5244
"""Folded into an example's key for its border, so that hands do not depend on whether borders are drawn."""


class Batch(NamedTuple):
    """What a step of DHPE's training takes, from whatever source. Right hands: left ones are mirrored on the way in.

    Attributes:
      images: crops in [0, 1].
      masks: share of each pixel that the hand's mesh covers, whatever lies before it: what f_Ren gives of the true
        hand, and what Eq. 13 cuts out at test.
      joints_2d: NDC.
      joints_3d: `norm` of Eq. 8: edges of the crop, from the middle MCP.
      joint_weights: 1 where a joint has a truth, 0 where not.
      mask_weight: 1 if the mask is known, 0 if not.
      metres_per_edge: size of the crop at the middle MCP's depth, w z / f: turns `joints_3d` into metres (to weak
        perspective). For metrics only.
    """

    images: Float[Array, "batch size size 3"]
    masks: Float[Array, "batch size size"]
    joints_2d: Float[Array, "batch 21 2"]
    joints_3d: Float[Array, "batch 21 3"]
    joint_weights: Float[Array, "batch 21"]
    mask_weight: Float[Array, "batch"]
    metres_per_edge: Float[Array, "batch"]


@dataclasses.dataclass(frozen=True)
class SyntheticDataOptions:
    """Synthetic examples. All [ours].

    Attributes:
      batch_size: images a step, of all devices together.
      images_at_once: drawn in parallel by each device. A few suit a CPU, whose cache holds no more; accelerators want
        many.
      border_share: share of the crops that reach over the border of their photograph, with black beyond it.
      synthesis: ranges. `image_size` is the crop's edge, and `fill` plays the part of the box's margin: a crop of 1.5
        boxes [paper] has a fill of 2/3.
    """

    batch_size: int = 32
    images_at_once: int = 4
    border_share: float = 0.3
    # The range about 2/3, and the place of the box, which wanders over four fifths of the free margin, stand for boxes
    # that a detector puts and sizes a little wrongly.
    synthesis: SynthesisOptions = dataclasses.field(
        default_factory=lambda: SynthesisOptions(image_size=128, quality="quick", fill=(0.60, 0.74))
    )

    def __post_init__(self):
        if self.batch_size < 1 or self.images_at_once < 1:
            raise ValueError(
                f"batch_size and images_at_once must be at least 1, got {self.batch_size} and {self.images_at_once}"
            )
        if not 0.0 <= self.border_share <= 1.0:
            raise ValueError(f"border_share must be a share within [0, 1], got {self.border_share}")


@functools.partial(jax.jit, static_argnames=("options", "devices"))
def synthetic_batch(
    key: PRNGKeyArray, model: HandModel, options: SyntheticDataOptions, devices: Mesh | None = None
) -> Batch:
    """Random examples; each image is the crop itself, so nothing is resampled.

    Hands are right ones: the synthetic left hand of a key is the right one's mirror image, which networks see mirrored
    back, so drawing left hands would change nothing.

    Args:
      key: decides everything. The examples do not depend on how many devices make them.
      model: of a right hand.
      options: static.
      devices: if given, their mesh: each makes its share, and the batch lies on them in shares.
    """
    keys = jax.random.split(key, options.batch_size)

    def share(keys: PRNGKeyArray, model: HandModel) -> Batch:
        at_once = min(options.images_at_once, keys.shape[0])
        tables = synthesis_tables(model, options.synthesis)

        def make(key: PRNGKeyArray) -> Batch:
            example = example_of(synthetic_hand(key, model, False, options.synthesis, tables), model)
            border_key = jax.random.fold_in(key, _BORDER)
            return example._replace(images=cut_by_border(border_key, example.images, options.border_share))

        return jax.lax.map(make, keys, batch_size=at_once if at_once > 1 else None)

    if devices is None:
        return share(keys, model)
    # Under plain `jit` every device would run the loop over the whole batch. The renderer's loops start from constants,
    # which the check of what varies between devices does not accept.
    shares, whole = PartitionSpec(AXIS), PartitionSpec()
    return jax.shard_map(share, mesh=devices, in_specs=(shares, whole), out_specs=shares, check_vma=False)(keys, model)


def cut_by_border(
    key: PRNGKeyArray, image: Float[Array, "rows columns 3"], share: float
) -> Float[Array, "rows columns 3"]:
    """The crop with black beyond one vertical and one horizontal border, each up to `WIDEST_BORDER` of the edge wide.

    Args:
      key: decides where, and whether.
      image: of the crop.
      share: of the crops that have such borders.
    """
    widths, sides, drawn = jax.random.split(key, 3)
    width = WIDEST_BORDER * jax.random.uniform(widths, (2,))
    far = jax.random.bernoulli(sides, 0.5, (2,))
    keep = jax.random.uniform(drawn) >= share

    def inside(count: int, axis: int) -> Array:
        place = (jnp.arange(count, dtype=image.dtype) + 0.5) / count
        return keep | jnp.where(far[axis], place < 1.0 - width[axis], place > width[axis])

    rows, columns = image.shape[:2]
    visible = inside(rows, 0)[:, None] & inside(columns, 1)[None]
    return jnp.where(visible[..., None], image, 0.0)


def example_of(hand: SyntheticHand, model: HandModel) -> Batch:
    """One example, without batch axis, of a right hand whose image is the crop.

    Joints are those of the network's own skeleton regressor, linear in the mesh, so that the hand that was drawn has
    loss zero.
    """
    size = hand.image.shape[0]
    camera = Pinhole(fx=hand.K[0, 0], fy=hand.K[1, 1], cx=hand.K[0, 2], cy=hand.K[1, 2])
    joints = mano_jax.regress_keypoints(model, hand.vertices)
    edge = jnp.asarray(float(size), hand.vertices.dtype)
    return Batch(
        images=hand.image,
        masks=hand.full_mask,
        joints_2d=camera.project(joints) * np.float32(2.0 / size) - 1.0,
        joints_3d=normalise(joints, camera, edge),
        joint_weights=jnp.ones(21),
        mask_weight=jnp.ones(()),
        metres_per_edge=edge * joints[ROOT, 2] / focal_length(camera),
    )
