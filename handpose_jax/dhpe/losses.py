"""DHPE's losses, one function an equation. Each is of one training instance; `vmap` them over a batch.

The text that survives has the words and sizes of the equations, not their typeset form: every norm, square and sum is
[derived] unless its line says otherwise. Eqs. 10 and 11 are unknown.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from handpose_jax.dhpe.configuration import LossOptions
from handpose_jax.dhpe.parameters import HandVector
from handpose_jax.refinement.laplacian import laplacian_loss as laplacian_loss
from handpose_jax.refinement.laplacian import laplacian_matrix as laplacian_matrix
from mano_jax import HandModel

CROP_SIZE = 224
"""Pixels of the crop in which Eq. 12's threshold is given, whatever size the network sees."""


class LossTerms(NamedTuple):
    """The terms of Eq. 7, unweighted, and the squares that this project adds."""

    articulation: Float[Array, "*batch"]
    shape: Float[Array, "*batch"]
    laplacian: Float[Array, "*batch"]
    features: Float[Array, "*batch"]
    refiner: Float[Array, "*batch"]
    joints_2d: Float[Array, "*batch"]
    projected_2d: Float[Array, "*batch"]
    unused_depth: Float[Array, "*batch"]
    shape_prior: Float[Array, "*batch"]
    pose_prior: Float[Array, "*batch"]


def feature_loss(whole: Float[Array, "features"], foreground: Float[Array, "features"]) -> Float[Array, ""]:
    """Eq. 2 [derived]: L_Feat = ||F(x) - F(x ⊙ m)||².

    A mask of ones makes it exactly 0: it punishes only what a mask cuts away that F looks at.

    Args:
      whole: F(x), of the image.
      foreground: F(x ⊙ m), of the image with the background black.
    """
    return jnp.sum((whole - foreground) ** 2)


def heat_map_loss(
    scores: Float[Array, "stages rows columns 21"],
    target: Float[Array, "rows columns 21"],
    weights: Float[Array, "21"] | None = None,
) -> Float[Array, ""]:
    """Eq. 3 [derived]: L_J2D = ||f_J2D(x) - heat(j2D*)||² over 21 maps, summed over the network's stages.

    The only loss that trains f_J2D: no gradient passes the arg max through which the others see it.

    Args:
      scores: of the pose machine, every stage.
      target: `render_heat_maps` of the true keypoints.
      weights: of the keypoints, 0 where there is no truth; ones if None.
    """
    squares = (scores - target[None]) ** 2
    return jnp.sum(squares if weights is None else squares * weights[None, None, None])


def heat_map_divergence(
    scores: Float[Array, "stages rows columns 21"],
    target: Float[Array, "rows columns 21"],
    weights: Float[Array, "21"] | None = None,
) -> Float[Array, ""]:
    """[ours] In place of Eq. 3: divergence (Kullback-Leibler) of softmax(scores) over the cells from the target bump.

    Summed over maps and stages, nats; zero where the probabilities are the bump, scaled to the sum one. It asks where a
    keypoint is, not how high its map is, and learns that from fewer images than the squares of Eq. 3, most of whose
    cells are empty.

    Args:
      as `heat_map_loss`. A keypoint so far outside that its target vanishes has divergence zero.
    """
    total = jnp.sum(target, axis=(0, 1))
    seen = total > 1e-6
    bump = target / jnp.where(seen, total, 1.0)[None, None]
    # p log p is 0 at 0.
    own = jnp.sum(bump * jnp.log(jnp.where(bump > 0.0, bump, 1.0)), axis=(0, 1))
    cross = jnp.sum(bump[None] * jax.nn.log_softmax(scores, axis=(1, 2)), axis=(1, 2))
    divergence = jnp.where(seen[None], own[None] - cross, 0.0)
    return jnp.sum(divergence if weights is None else divergence * weights[None])


def refiner_loss(
    joints: Float[Array, "21 2"], truth: Float[Array, "21 2"], weights: Float[Array, "21"] | None = None
) -> Float[Array, ""]:
    """Eq. 6's training loss [derived]: ||j2D(t+1) - j2D*||², NDC."""
    return _squared_distance(joints, truth, weights)


def articulation_loss(
    joints: Float[Array, "21 3"], truth: Float[Array, "21 3"], weights: Float[Array, "21"] | None = None
) -> Float[Array, ""]:
    """Eq. 8 [derived]: L_Art = ||[f_DHPE(x)]_J3D - norm(j3D*)||².

    Args:
      joints: of the projected hand, `NdcMesh.joints_3d`: crop edges from the middle MCP.
      truth: `normalisation.normalise` of the true joints.
      weights: of the keypoints, 0 where there is no truth; ones if None.
    """
    return _squared_distance(joints, truth, weights)


def projection_loss(
    joints: Float[Array, "21 2"], target: Float[Array, "21 2"], weights: Float[Array, "21"] | None = None
) -> Float[Array, ""]:
    """||[f_Proj(h)]_XY - j2D||², NDC: the first term of Eq. 13 [paper in words], where j2D is the refiner's.

    [ours] In training too, with the true j2D*. Eq. 8 is blind to where the hand is, and Eq. 9, which is not, waits for
    projected joints near the truth (Eq. 12): without this term nothing trains the translation, and λ stays 0.

    Args:
      joints: of the projected hand, `NdcMesh.joints_2d`.
      target: NDC.
      weights: of the keypoints, 0 where there is no target; ones if None.
    """
    return _squared_distance(joints, target, weights)


def shape_loss(mask: Float[Array, "height width"], truth: Float[Array, "height width"]) -> Float[Array, ""]:
    """Eq. 9: L_Sh = ||M - m||² [derived], as a mean over pixels [ours], so that no weight hangs on the resolution."""
    return jnp.mean((mask - truth) ** 2)


def shape_schedule(
    joints: Float[Array, "21 2"],
    truth: Float[Array, "21 2"],
    options: LossOptions,
    weights: Float[Array, "21"] | None = None,
) -> Float[Array, ""]:
    """Eq. 12: λ = 1 for an instance whose projected joints are within τ pixels of the truth, else 0 [paper].

    [ours] Within: the mean distance over the joints that have a truth, in pixels of a crop of 224. An instance without
    any joint of known position gets 0. No gradient. `options.schedule` "constant" and "none" give 1 and 0 for all.

    Args:
      joints: of the projected hand, NDC.
      truth: NDC.
    """
    if options.schedule != "scheduled":
        return jnp.asarray(1.0 if options.schedule == "constant" else 0.0, joints.dtype)
    distances = jnp.linalg.norm(jax.lax.stop_gradient(joints - truth), axis=-1) * (0.5 * CROP_SIZE)
    weights = jnp.ones_like(distances) if weights is None else weights
    total = jnp.sum(weights)
    near = jnp.sum(weights * distances) <= options.tau * total
    return jnp.where(near & (total > 0.0), 1.0, 0.0).astype(joints.dtype)


def unused_depth_loss(h: HandVector) -> Float[Array, ""]:
    """[ours] t_z²: the third number of the translation has no effect and is kept from drifting."""
    return h.translation[2] ** 2


def shape_prior(h: HandVector) -> Float[Array, ""]:
    """[ours] Squared norm of the shape coefficients, which are in standard deviations."""
    return jnp.sum(h.shape**2)


def pose_prior(h: HandVector, deviations: Float[Array, "45"]) -> Float[Array, ""]:
    """[ours] Squared norm of the pose numbers over their standard deviations (`pose_deviations`)."""
    return jnp.sum((h.pose_coefficients / deviations) ** 2)


def pose_deviations(model: HandModel, pose: str) -> Float[Array, "45"]:
    """Standard deviation of each of the 45 pose numbers over plausible poses, by `Parametrisation.pose`."""
    if pose == "coefficients":
        return model.pose_standard_deviations
    spread = model.pose_standard_deviations[:, None] * model.pose_basis
    return jnp.sqrt(jnp.sum(spread * spread, axis=0))


def total_loss(terms: LossTerms, shape_weight: Float[Array, "*batch"], options: LossOptions) -> Float[Array, "*batch"]:
    """Eq. 7: L = L_Art + λ L_Sh + L_Lap + L_Feat + L_Ref + L_J2D [paper], weights but λ [ours], and the squares [ours].

    Args:
      terms: of an instance, or of a batch.
      shape_weight: λ of Eq. 12, of each instance.
    """
    terms = terms._replace(shape=shape_weight * terms.shape)
    return sum((getattr(options, name) * value for name, value in terms._asdict().items()), jnp.zeros(()))


def _squared_distance(joints: Array, truth: Array, weights: Array | None) -> Array:
    squares = (joints - truth) ** 2
    return jnp.sum(squares if weights is None else squares * weights[:, None])
