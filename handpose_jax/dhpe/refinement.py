"""Test-time refinement, Eq. 13: h descends on what one image tells about itself, without any truth.

    h <- h - γ ∂/∂h ( ||[f_Proj(h)]_XY - j2D||² + λ ||F(x) - F(x ⊙ M(h))||² + L_Lap )

[paper] The three terms, 50 iterations, and that j2D is the refiner's output, refined again as h improves. [derived]
The squares; that no gradient passes j2D. [ours] γ, Adam, all weights (λ of Eq. 12 needs a truth: here the constant
`RefinementOptions.features` replaces it), the priors that training pulls with (or, by `prior_of`, such of the
distance from the network's estimate), and L_Lap on the mesh in its own frame, so that it leaves the scale alone. The
last iterate is the result, as the equation has it, not the one of least loss: j2D moves with h, so losses of
different steps compare h with different targets. An instance whose loss or gradient is not finite stays where it is.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Bool, Float

from handpose_jax.dhpe import losses
from handpose_jax.dhpe.configuration import DhpeOptions
from handpose_jax.dhpe.networks import Estimate, HandMeshEstimator, cut_out
from handpose_jax.dhpe.parameters import HandVector, decode
from handpose_jax.projection import MaskOptions, NdcMesh, project_mask, project_mesh
from mano_jax import HandModel

SHOWN_STEPS = (0, 1, 2, 5, 10, 50)
"""Iterations that the refinement strip shows."""
ROTATION_DEVIATION = 0.22
"""[ours] Of the numbers of the quaternion, where the prior is of the network's estimate: some 25 degrees."""


class RefinementTerms(NamedTuple):
    """Terms of Eq. 13 and the priors, unweighted; one that is switched off is 0 (it is not computed)."""

    joints_2d: Float[Array, "*batch"]
    features: Float[Array, "*batch"]
    laplacian: Float[Array, "*batch"]
    prior: Float[Array, "*batch"]


class Refinement(NamedTuple):
    """What became of a batch; histories have entries before the first step and after each.

    Attributes:
      h: refined.
      joints_2d: j2D at the end, NDC.
      history: h.
      losses: weighted sums.
      terms: unweighted.
      iou: of mask and true mask, both above one half; NaN where no true masks were given.
    """

    h: HandVector
    joints_2d: Float[Array, "batch 21 2"]
    history: HandVector
    losses: Float[Array, "batch steps+1"]
    terms: RefinementTerms
    iou: Float[Array, "batch steps+1"]


def refinement_mask(options: DhpeOptions) -> MaskOptions:
    """How M(h) is drawn: as in training, at `refinement.mask_size`, blurred as widely in the image."""
    trained, size = options.losses.mask, options.refinement.mask_size
    return dataclasses.replace(trained, size=size, sigma=trained.sigma * (size / trained.size) ** 2)


def refine(
    variables: dict[str, Any],
    model: HandModel,
    images: Float[ArrayLike, "batch height width 3"],
    estimate: Estimate,
    options: DhpeOptions,
    true_masks: Float[ArrayLike, "batch rows columns"] | None = None,
) -> Refinement:
    """Eq. 13 on a batch of crops; every instance on its own, whatever else is in the batch.

    The refiner is run on h of each step and on the j2D that its last run in the network saw, not on its own last output
    [ours]: j2D is then a function of h alone, equal to the network's at the start, and 50 runs cannot carry it away.

    A compiled step, called once an iteration: in the body of a compiled loop XLA's CPU backend (jaxlib 0.10) leaves the
    kernels of convolutions as they are and runs the gradient by their input, which the features need, ten times slower.

    Args:
      variables: of the network, "params" and "batch_stats".
      model: right hand.
      images: crops in [0, 1], right hands.
      estimate: of these images; its last h is where the descent starts.
      options: static; `options.refinement` switches terms by their weights and sets steps and step rule.
      true_masks: only to state the IoU in the history.
    """
    size = refinement_mask(options).size
    images, truth = jnp.asarray(images), None if true_masks is None else _resized(jnp.asarray(true_masks), size)
    flat = estimate.prediction.flatten()
    state, rounds = _step_rule(options).init(flat), []
    # One round more than there are steps: it states the loss of the result, and moves nothing.
    for number in range(options.refinement.steps + 1):
        last = jnp.asarray(number == options.refinement.steps)
        moved, state, said = _step(variables, model, images, estimate, truth, flat, state, last, options)
        rounds.append((flat, *said))
        flat = moved
    steps, loss, terms, iou, joints_2d = jax.tree.map(lambda *leaves: jnp.stack(leaves, axis=1), *rounds)
    h = HandVector.unflatten(steps[:, -1])
    return Refinement(h, joints_2d[:, -1], HandVector.unflatten(steps), loss, terms, iou)


def _step_rule(options: DhpeOptions) -> optax.GradientTransformation:
    chosen = options.refinement
    return optax.adam(chosen.step_size) if chosen.optimizer == "adam" else optax.sgd(chosen.step_size)


@functools.partial(jax.jit, static_argnames="size")
def _resized(masks: Float[Array, "batch rows columns"], size: int) -> Bool[Array, "batch size size"]:
    return jax.image.resize(masks, (masks.shape[0], size, size), "linear") > 0.5


@functools.partial(jax.jit, static_argnames="options")
def _step(
    variables: dict[str, Any],
    model: HandModel,
    images: Float[Array, "batch height width 3"],
    estimate: Estimate,
    truth: Bool[Array, "batch size size"] | None,
    flat: Float[Array, "batch 63"],
    state: Any,
    last: Bool[Array, ""],
    options: DhpeOptions,
) -> tuple[Float[Array, "batch 63"], Any, tuple[Array, RefinementTerms, Array, Array]]:
    """One step from `flat`, none if it is the last round; and loss, terms, IoU and j2D at `flat`."""
    chosen = options.refinement
    network = HandMeshEstimator(options.networks, options.parametrisation)
    found = chosen.target == "score_maps"
    refiner_runs = options.networks.use_2d and options.networks.refine_2d and chosen.refine_2d and not found
    weights = estimate.confidence(options.losses) ** 2 if found else jnp.ones_like(estimate.joints_2d[:, 0, :, 0])
    deviations = losses.pose_deviations(model, options.parametrisation.pose)
    laplacian = losses.laplacian_matrix(model.faces, model.template.shape[0])
    centre = estimate.prediction if chosen.prior_of == "estimate" else None
    zeros = jnp.zeros(flat.shape[0], flat.dtype)

    def target(h: HandVector, mesh: NdcMesh) -> Float[Array, "batch 21 2"]:
        if not refiner_runs:
            return estimate.joints_2d[:, 0 if found else -1]
        seen = estimate.joints_2d[:, -2]
        refined = network.apply(variables, estimate.features, h, mesh.joints_3d, seen, method="refine_step")
        return jax.lax.stop_gradient(jnp.asarray(refined))

    def objective(flat: Float[Array, "batch 63"]) -> tuple[Array, Any]:
        h = HandVector.unflatten(flat)
        mesh = project_mesh(model, decode(model, h, options.parametrisation))
        joints_2d = target(h, mesh)
        terms = RefinementTerms(zeros, zeros, zeros, zeros)
        # Without 2D joints the network has no j2D to compare with.
        if chosen.joints_2d and options.networks.use_2d:
            terms = terms._replace(joints_2d=jax.vmap(losses.projection_loss)(mesh.joints_2d, joints_2d, weights))
        iou = jnp.full_like(zeros, jnp.nan)
        if chosen.features or truth is not None:
            masks = project_mask(model, mesh.vertices, refinement_mask(options))
            if truth is not None:
                iou = _iou(masks > 0.5, truth)
        if chosen.features:
            features = network.apply(variables, cut_out(images, masks), method="features")
            terms = terms._replace(features=jax.vmap(losses.feature_loss)(estimate.features, jnp.asarray(features)))
        if chosen.laplacian:
            surface = options.parametrisation.initial_scale * mesh.model_vertices
            smoothness = jax.vmap(lambda vertices: losses.laplacian_loss(vertices, laplacian))(surface)
            terms = terms._replace(laplacian=smoothness)
        if chosen.prior:
            terms = terms._replace(prior=jax.vmap(functools.partial(_prior, deviations=deviations))(h, centre))
        loss = sum((getattr(chosen, name) * value for name, value in terms._asdict().items()), zeros)
        return loss.sum(), (loss, terms, iou, joints_2d)

    (_, (loss, terms, iou, joints_2d)), gradient = jax.value_and_grad(objective, has_aux=True)(flat)
    usable = (jnp.isfinite(loss) & jnp.isfinite(gradient).all(axis=1))[:, None]
    # NaN times zero is NaN: replaced before the step rule sees it.
    update, state = _step_rule(options).update(jnp.where(usable, gradient, 0.0), state)
    moved = jnp.where(usable & ~last, flat + jnp.asarray(update), flat)
    return moved, state, (loss, terms, iou, joints_2d)


def _prior(h: HandVector, centre: HandVector | None, deviations: Float[Array, "45"]) -> Float[Array, ""]:
    """Squares of pose and shape in standard deviations, from the mean hand; or from `centre`, with the rotation's."""
    if centre is None:
        return losses.shape_prior(h) + losses.pose_prior(h, deviations)
    off = jax.tree.map(jnp.subtract, h, centre)
    turned = jnp.sum((off.rotation / ROTATION_DEVIATION) ** 2)
    return losses.shape_prior(off) + losses.pose_prior(off, deviations) + turned


def shown_steps(steps: int) -> tuple[int, ...]:
    """Which iterations to show of a run of so many: those of SHOWN_STEPS that there are, and the last."""
    return tuple(sorted({step for step in SHOWN_STEPS if step <= steps} | {steps}))


def _iou(masks: Array, truth: Array) -> Float[Array, "batch"]:
    union = jnp.sum(masks | truth, axis=(1, 2))
    return jnp.sum(masks & truth, axis=(1, 2)) / jnp.maximum(union, 1)
