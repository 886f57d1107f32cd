"""DHPE's joint training by Eq. 7: one step, its state, its evaluation, and the system for the common loop."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Float, PyTree

from handpose_jax.data.sources import RealDataOptions
from handpose_jax.dhpe import losses
from handpose_jax.dhpe.configuration import SMALL_NETWORKS, DhpeOptions, LossOptions
from handpose_jax.dhpe.losses import CROP_SIZE, LossTerms
from handpose_jax.dhpe.networks import Estimate, HandMeshEstimator
from handpose_jax.dhpe.parameters import decode
from handpose_jax.dhpe.synthetic_batches import Batch, SyntheticDataOptions
from handpose_jax.networks import render_heat_maps
from handpose_jax.projection import mask_target, project_mask, project_mesh
from handpose_jax.training import LoopOptions, OptimizerOptions, TrainState, apply_gradients
from mano_jax import HandModel


@dataclasses.dataclass(frozen=True)
class DhpeTraining:
    """A whole run.

    Attributes:
      seed: of initialisation and data.
      dhpe: networks, losses, refinement.
      optimizer: see there.
      data: batch, and synthetic examples.
      real: data sets to read, in place of synthetic examples or mixed with them; none by default.
      loop: how long, what how often.
      evaluation_images: held out, from keys that training never draws; rounded up to whole batches.
    """

    seed: int = 0
    dhpe: DhpeOptions = dataclasses.field(
        default_factory=lambda: DhpeOptions(networks=SMALL_NETWORKS, losses=LossOptions(heat_map_deviation=1.5))
    )
    optimizer: OptimizerOptions = dataclasses.field(default_factory=OptimizerOptions)
    data: SyntheticDataOptions = dataclasses.field(default_factory=SyntheticDataOptions)
    real: RealDataOptions = dataclasses.field(default_factory=RealDataOptions)
    loop: LoopOptions = dataclasses.field(default_factory=LoopOptions)
    evaluation_images: int = 256

    def __post_init__(self):
        drawn, seen = self.data.synthesis.image_size, self.dhpe.networks.image_size
        if drawn != seen:
            raise ValueError(
                f"data.synthesis.image_size and dhpe.networks.image_size must be equal, got {drawn} and {seen}"
            )
        if self.data.batch_size % self.dhpe.losses.features_every:
            raise ValueError(
                "dhpe.losses.features_every must be a divisor of data.batch_size, got "
                f"{self.dhpe.losses.features_every} and {self.data.batch_size}"
            )
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed must be at least 0 and below 2**32, got {self.seed}")
        if self.evaluation_images < 1:
            raise ValueError(f"evaluation_images must be at least 1, got {self.evaluation_images}")


def network_of(options: DhpeOptions) -> HandMeshEstimator:
    """f_HME of these options."""
    return HandMeshEstimator(options.networks, options.parametrisation)


def initial_variables(seed: Array, model: HandModel, options: DhpeOptions) -> dict[str, PyTree]:
    """Random "params" and "batch_stats"; to be jitted."""
    size = options.networks.image_size
    # The default generator makes initialising compile several times longer.
    key = jax.random.key(seed, impl="rbg")
    variables = network_of(options).init(key, jnp.zeros((1, size, size, 3)), model)
    return {"params": variables["params"], "batch_stats": variables.get("batch_stats", {})}


def loss_terms(
    estimate: Estimate, batch: Batch, model: HandModel, options: DhpeOptions, devices: Mesh | None = None
) -> tuple[LossTerms, Float[Array, "batch"]]:
    """The terms of Eq. 7 of each instance, unweighted, and its λ (Eq. 12).

    Mask, Laplacian, λ and the squares are of the last step's hand [derived]; L_Art, projected joints and the refiner's
    loss are means over the steps if `options.losses.every_iteration` [ours], else of the last.

    Args:
      estimate: with the features of the foreground.
      batch: the truth.
      model: right hand.
      options: static.
      devices: mesh of the devices the batch is spread over, if it is.
    """
    chosen = options.losses
    hand = decode(model, estimate.prediction, options.parametrisation)
    mesh = project_mesh(model, hand)
    masks = project_mask(model, mesh.vertices, chosen.mask, devices)
    targets = mask_target(resized_masks(batch.masks, chosen.mask.size), chosen.mask)
    cells = estimate.score_maps.shape[2]
    heat_maps = render_heat_maps(batch.joints_2d, cells, chosen.heat_map_deviation)
    laplacian = losses.laplacian_matrix(model.faces, model.template.shape[0])
    surface = options.parametrisation.initial_scale * mesh.model_vertices
    deviations = losses.pose_deviations(model, options.parametrisation.pose)
    assert estimate.foreground_features is not None
    squared = chosen.heat_map_loss == "squared"
    score_map_loss = losses.heat_map_loss if squared else losses.heat_map_divergence
    weight, every = batch.joint_weights, chosen.features_every
    features = jax.vmap(losses.feature_loss)(estimate.features[::every], estimate.foreground_features)
    features = jnp.repeat(batch.mask_weight[::every] * features, every)

    def over_steps(loss: Any, steps: Array, truth: Array) -> Array:
        steps = steps if chosen.every_iteration else steps[:, -1:]
        return jax.vmap(lambda s, t, w: jax.vmap(lambda one: loss(one, t, w))(s).mean())(steps, truth, weight)

    terms = LossTerms(
        articulation=over_steps(losses.articulation_loss, estimate.joints_3d, batch.joints_3d),
        shape=batch.mask_weight * jax.vmap(losses.shape_loss)(masks, targets),
        laplacian=jax.vmap(lambda vertices: losses.laplacian_loss(vertices, laplacian))(surface),
        features=features,
        refiner=over_steps(losses.refiner_loss, estimate.joints_2d[:, 1:], batch.joints_2d),
        joints_2d=jax.vmap(score_map_loss)(estimate.score_maps, heat_maps, weight),
        projected_2d=over_steps(losses.projection_loss, estimate.projected_2d, batch.joints_2d),
        unused_depth=jax.vmap(losses.unused_depth_loss)(estimate.prediction),
        shape_prior=jax.vmap(losses.shape_prior)(estimate.prediction),
        pose_prior=jax.vmap(lambda h: losses.pose_prior(h, deviations))(estimate.prediction),
    )
    if not (options.networks.refine_2d and options.networks.use_2d):
        terms = terms._replace(refiner=jnp.zeros_like(terms.refiner))
    schedule = functools.partial(_shape_weight, options=chosen)
    return terms, jax.vmap(schedule)(mesh.joints_2d, batch.joints_2d, weight)


def _shape_weight(joints: Array, truth: Array, weights: Array, options: LossOptions) -> Array:
    return losses.shape_schedule(joints, truth, options, weights)


def resized_masks(masks: Float[Array, "batch rows columns"], size: int) -> Float[Array, "batch size size"]:
    """Masks at the resolution at which the predicted ones are drawn, averaged where that is coarser."""
    return jax.image.resize(masks, (masks.shape[0], size, size), "linear")


def train_step(
    state: TrainState,
    batch: Batch,
    model: HandModel,
    options: DhpeOptions,
    optimizer: optax.GradientTransformation,
    average_decay: float,
    devices: Mesh | None = None,
) -> tuple[TrainState, dict[str, Float[Array, ""]]]:
    """One step of Eq. 7 on a batch: all networks at once; gradients through projection and mask, none through arg max.

    Returns:
      The state after, and metrics: loss, the unweighted terms, shape_weight (share of instances with λ = 1), and the
      mean 2D errors in pixels of a 224 crop of what h projects to (error_px) and of the refined j2D (refined_px).
    """
    network = network_of(options)

    def loss_of(params: PyTree) -> tuple[Array, Any]:
        estimate, changed = network.apply(
            {"params": params, "batch_stats": state.batch_stats},
            batch.images,
            model,
            True,
            batch.masks,
            options.losses.features_every,
            mutable=["batch_stats"],
        )
        terms, weight = loss_terms(estimate, batch, model, options, devices)
        loss = losses.total_loss(terms, weight, options.losses).mean()
        return loss, (estimate, terms, weight, changed["batch_stats"])

    (loss, (estimate, terms, weight, batch_stats)), gradients = jax.value_and_grad(loss_of, has_aux=True)(state.params)
    after, metrics = apply_gradients(state, gradients, loss, batch_stats, optimizer, average_decay)
    metrics |= {"loss": loss, "shape_weight": weight.mean()}
    metrics |= {f"loss_{name}": values.mean() for name, values in terms._asdict().items()}
    metrics |= {
        "error_px": _mean_pixels(estimate.projected_2d[:, -1], batch),
        "refined_px": _mean_pixels(estimate.joints_2d[:, -1], batch),
    }
    return after, metrics


def _mean_pixels(joints: Float[Array, "batch 21 2"], batch: Batch) -> Float[Array, ""]:
    """Mean distance from the truth over joints that have one, pixels of a crop of 224."""
    # No gradient is taken here, so the root needs no guard.
    distances = 0.5 * CROP_SIZE * jnp.linalg.norm(joints - batch.joints_2d, axis=-1)
    return jnp.sum(distances * batch.joint_weights) / jnp.maximum(batch.joint_weights.sum(), 1.0)
