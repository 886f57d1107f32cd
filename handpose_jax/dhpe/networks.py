"""DHPE's networks: features, 2D joints, the mesh estimator applied again and again, and the 2D refiner (f_HME).

Sizes are the paper's with ResNet-50's 2,048 features: the estimator sees 2048 + 42 + 63 = 2,153 numbers and the refiner
2048 + 63 + 63 + 42 = 2,216. With a smaller backbone both shrink alike.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from handpose_jax.dhpe.configuration import LossOptions, NetworkOptions, Parametrisation
from handpose_jax.dhpe.parameters import SIZE, HandVector, decode
from handpose_jax.networks import (
    FeaturePyramid,
    PoseMachine,
    ResNetFeatures,
    decode_score_maps,
    heat_maps_of_logits,
    resnet,
)
from handpose_jax.projection import project_mesh
from mano_jax import HandModel

JOINTS_2D = 42
JOINTS_3D = 63


class Estimate(NamedTuple):
    """What the networks say of a batch of crops, at every step t; `steps` is the number of iterations.

    Attributes:
      features: F(x).
      foreground_features: F(x ⊙ m) of the first of every `foreground_every` crops; None where no masks were given.
      score_maps: of the 2D joint network, every stage.
      h: after each step; the last is the prediction.
      joints_2d: j2D(t) in NDC, before the first step (read off the score maps) and after each (refined). The last is
        what test-time refinement fits.
      projected_2d: joints of h after each step, NDC.
      joints_3d: the same as crop edges from the middle MCP: what Eq. 8 compares.
    """

    features: Float[Array, "batch features"]
    foreground_features: Float[Array, "some features"] | None
    score_maps: Float[Array, "batch stages rows columns 21"]
    h: HandVector
    joints_2d: Float[Array, "batch steps+1 21 2"]
    projected_2d: Float[Array, "batch steps 21 2"]
    joints_3d: Float[Array, "batch steps 21 3"]

    def heat_maps(self, losses: LossOptions) -> Float[Array, "batch rows columns 21"]:
        """Of the last stage: near 1 at a keypoint that is found, by whichever loss the score maps were trained."""
        scores = self.score_maps[:, -1]
        return scores if losses.heat_map_loss == "squared" else heat_maps_of_logits(scores, losses.heat_map_deviation)

    def confidence(self, losses: LossOptions) -> Float[Array, "batch 21"]:
        """Top of each heat map, within [0, 1]."""
        return jnp.clip(self.heat_maps(losses).max(axis=(1, 2)), 0.0, 1.0)

    @property
    def prediction(self) -> HandVector:
        """h after the last step."""
        return jax.tree.map(lambda leaf: leaf[:, -1], self.h)


def cut_out(
    images: Float[Array, "batch height width 3"], masks: Float[Array, "batch rows columns"]
) -> Float[Array, "batch height width 3"]:
    """x ⊙ m: images in [0, 1] with everything black that the masks do not show; masks are enlarged bilinearly."""
    if masks.shape[1:] != images.shape[1:3]:
        masks = jax.image.resize(masks, images.shape[:3], "bilinear")
    return images * masks[..., None]


def _identity_of_last(size: int) -> nn.initializers.Initializer:
    """A kernel that passes the last `size` inputs on, and adds almost nothing of the others."""
    small = nn.initializers.variance_scaling(1e-4, "fan_avg", "uniform")

    def init(key: Any, shape: tuple[int, ...], dtype: Any = jnp.float32, **_: Any) -> Array:
        return small(key, shape, dtype).at[-size:].add(jnp.eye(size, dtype=dtype))

    return init


class HandMeshEstimator(nn.Module):
    """f_HME of Eq. 1: crops -> h, in `iterations` steps of Eqs. 5 and 6.

    Attributes:
      options: sizes.
      parametrisation: how h stands for a hand.
    """

    options: NetworkOptions
    parametrisation: Parametrisation

    def setup(self):
        dtype = jnp.dtype(self.options.dtype)
        self.backbone = resnet(self.options.backbone, dtype)
        self.pose_machine = PoseMachine(self.options.pose_machine_width, self.options.pose_machine_stages, dtype)
        if self.options.shared_features:
            self.pyramid = FeaturePyramid(self.options.shared_features, dtype)
        if self.options.estimator_width:
            self.estimator_hidden = [nn.Dense(self.options.estimator_width) for _ in range(2)]
        # ONE fully connected layer each [paper]. [ours] The estimator starts near zero, so that the first h is the mean
        # hand (HMR's gain of 0.01), and the refiner as the identity, so that a step keeps j2D.
        small = nn.initializers.variance_scaling(1e-4, "fan_avg", "uniform")
        self.estimator = nn.Dense(SIZE, kernel_init=small)
        self.refiner = nn.Dense(JOINTS_2D, kernel_init=_identity_of_last(JOINTS_2D))

    def features(
        self, images: Float[Array, "batch height width 3"], train: bool = False
    ) -> Float[Array, "batch features"]:
        """F(x) of crops in [0, 1]; mask them before (`cut_out`)."""
        return self.backbone(images, train).pooled

    def score_maps(
        self, images: Float[Array, "batch height width 3"], seen: ResNetFeatures, train: bool = False
    ) -> Float[Array, "batch stages rows columns 21"]:
        """f_J2D(x) of crops of any size, resized to what the 2D joint network takes; `seen` is what F makes of them."""
        if self.options.shared_features:
            return self.pose_machine(images, self.pyramid(seen.stages, train))
        size = self.options.pose_machine_size
        if images.shape[1:3] != (size, size):
            images = jax.image.resize(images, (images.shape[0], size, size, 3), "bilinear")
        return self.pose_machine(images)

    def estimate_step(
        self, features: Float[Array, "batch features"], joints_2d: Float[Array, "batch 21 2"], h: HandVector
    ) -> HandVector:
        """Eq. 5: h(t+1) = h(t) + f_E3D(F(x), j2D(t), h(t)) [paper in words]."""
        flat = h.flatten()
        seen = jnp.concatenate([features, joints_2d.reshape(-1, JOINTS_2D), flat], axis=-1)
        if self.options.estimator_width:
            for layer in self.estimator_hidden:
                seen = nn.relu(layer(seen))
        return HandVector.unflatten(flat + self.estimator(seen))

    def refine_step(
        self,
        features: Float[Array, "batch features"],
        h: HandVector,
        joints_3d: Float[Array, "batch 21 3"],
        joints_2d: Float[Array, "batch 21 2"],
    ) -> Float[Array, "batch 21 2"]:
        """Eq. 6: j2D(t+1) = f_Ref(F(x), h, j3D(t), j2D(t)) [paper in words]; NDC."""
        seen = [features, h.flatten(), joints_3d.reshape(-1, JOINTS_3D), joints_2d.reshape(-1, JOINTS_2D)]
        return self.refiner(jnp.concatenate(seen, axis=-1)).reshape(-1, 21, 2)

    def __call__(
        self,
        images: Float[Array, "batch height width 3"],
        model: HandModel,
        train: bool = False,
        masks: Float[Array, "batch rows columns"] | None = None,
        foreground_every: int = 1,
    ) -> Estimate:
        """All of it.

        Each step estimates h(t+1), projects it, and refines j2D by what was projected: j3D in Eq. 6 is that of the
        newest h [derived; the surviving text does not say of which]. No gradient reaches the 2D joint network through
        j2D(0), an arg max.

        Args:
          images: crops in [0, 1], right hands.
          model: a right hand; an argument, never a constant of the compiled program.
          train: whether batch statistics are used and updated (`mutable=["batch_stats"]`).
          masks: of the foreground, in [0, 1], for Eq. 2. Both kinds of image go through F as one batch [ours], so that
            batch normalisation treats them alike, and its running statistics suit both, as Eq. 13 needs.
          foreground_every: F(x ⊙ m) is computed of the first of every so many crops, which divide the batch.
        """
        foreground_features = None
        if masks is None:
            seen = self.backbone(images, train)
        else:
            # Behind each group, not behind the batch: where that is spread over devices, nothing has to move.
            groups = images.reshape(-1, foreground_every, *images.shape[1:])
            cut = cut_out(groups[:, 0], masks[::foreground_every])[:, None]
            both = jnp.concatenate([groups, cut], axis=1)
            both = self.backbone(both.reshape(-1, *images.shape[1:]), train)
            both = jax.tree.map(
                lambda leaf: leaf.reshape(*groups.shape[:1], foreground_every + 1, *leaf.shape[1:]), both
            )
            seen = jax.tree.map(lambda leaf: leaf[:, :-1].reshape(-1, *leaf.shape[2:]), both)
            foreground_features = both.pooled[:, -1]
        features, score_maps = seen.pooled, self.score_maps(images, seen, train)
        joints_2d = jax.lax.stop_gradient(decode_score_maps(score_maps[:, -1], self.options.subcell))
        if not self.options.use_2d:
            joints_2d = jnp.zeros_like(joints_2d)
        h = HandVector.zeros((images.shape[0],))
        steps, joints = [], [joints_2d]
        for _ in range(self.options.iterations):
            h = self.estimate_step(features, joints_2d, h)
            mesh = project_mesh(model, decode(model, h, self.parametrisation))
            if self.options.refine_2d and self.options.use_2d:
                joints_2d = self.refine_step(features, h, mesh.joints_3d, joints_2d)
            joints.append(joints_2d)
            steps.append((h, mesh.joints_2d, mesh.joints_3d))
        h, projected_2d, joints_3d = jax.tree.map(lambda *leaves: jnp.stack(leaves, axis=1), *steps)
        return Estimate(
            features=features,
            foreground_features=foreground_features,
            score_maps=score_maps,
            h=h,
            joints_2d=jnp.stack(joints, axis=1),
            projected_2d=projected_2d,
            joints_3d=joints_3d,
        )
