"""A hand's outline against a given mask: exact cost and gradient, Gauss-Newton curvature of the outline."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

import render_jax
from handpose_jax.refinement.terms import NEAREST_DEPTH, project
from handpose_jax.refinement.vertex_motion import screen_jacobian, vertex_jacobian
from mano_jax.forward import HandMesh, forward
from mano_jax.keypoint_model import HandParameters, KeypointModel
from mano_jax.least_squares import NormalEquations
from mano_jax.model import HandModel
from mano_jax.rotations import PRECISION
from mano_jax.surface import vertex_normals

_STEEPNESS = 0.28727
"""Integral of the squared slope of sigmoid(±d²) over d: what one pixel of outline, moved by δ, adds to the squared
difference of two masks of softness sigma is this times δ² / sqrt(sigma)."""
_CONTOUR = 0.5
"""A vertex belongs to the outline as far as the sine between its normal and the image plane is below this."""


class MaskView(NamedTuple):
    """A given mask and its camera; pixels are the mask's own.

    Attributes:
      target: soft: `render_jax.soften_mask` of a 0/1 mask, with the softness of the options.
      focal, principal: fx, fy and cx, cy.
      weight: of the squared differences, see `outline_weight`; 0: there is no mask.
    """

    target: Float[Array, "rows columns"]
    focal: Float[Array, "2"]
    principal: Float[Array, "2"]
    weight: Float[Array, ""]


def outline_weight(sigma: float, deviation: Float[Array, ""], run: Float[Array, ""]) -> Float[Array, ""]:
    """Weight of squared mask differences for which `run` pixels of outline, off by `deviation` pixels, cost 1/2.

    Args:
      sigma: softness of the mask, px².
      deviation: how far the mask's outline is off, pixels.
      run: over which length such errors are alike; longer stretches err independently.
    """
    return np.sqrt(sigma) / (_STEEPNESS * run * deviation * deviation)


def mask_cost(
    vertices: Float[Array, "vertices 3"], model: HandModel, view: MaskView, sigma: float
) -> tuple[Float[Array, ""], Float[Array, "rows columns"]]:
    """Half the weighted sum of squared differences, and the mask of the mesh (camera frame, metres)."""
    pixels = project(vertices, view.focal, view.principal)
    screen = jnp.concatenate([pixels, vertices[:, 2:]], axis=-1)
    rows, columns = view.target.shape
    drawn = render_jax.soft_silhouette(screen, model.faces, (rows, columns), sigma, mode="outline")
    return 0.5 * view.weight * jnp.sum((drawn - view.target) ** 2), drawn


def mask_term(
    hand: KeypointModel, model: HandModel, parameters: HandParameters, view: MaskView, sigma: float
) -> NormalEquations:
    """Value and gradient of `mask_cost` by the flat parameters, and what the outline's motion makes of its curvature.

    The curvature is that of a perfect match: each vertex on the outline stands for a stretch of it, which the
    parameters move along its normal. It is positive semidefinite, and 0 in directions that leave the outline alone.
    """

    def cost(flat: Float[Array, "parameters"]) -> tuple[Array, tuple[HandMesh, Array]]:
        mesh = posed(hand, model, HandParameters.unflatten(flat))
        value, drawn = mask_cost(mesh.vertices, model, view, sigma)
        return value, (mesh, drawn)

    (value, (mesh, drawn)), gradient = jax.value_and_grad(cost, has_aux=True)(parameters.flatten())
    rows = outline_rows(hand, model, parameters, mesh, drawn, view)
    scale = view.weight * _STEEPNESS / np.sqrt(sigma)
    return NormalEquations(value, gradient, scale * jnp.einsum("vp,vq->pq", rows, rows, precision=PRECISION))


def posed(hand: KeypointModel, model: HandModel, parameters: HandParameters) -> HandMesh:
    """The mesh of fit parameters, camera frame."""
    pose = hand.pose(parameters.angles)
    return forward(model, pose, parameters.shape, parameters.rotation, parameters.translation)


def outline_rows(
    hand: KeypointModel,
    model: HandModel,
    parameters: HandParameters,
    mesh: HandMesh,
    drawn: Float[Array, "rows columns"],
    view: MaskView,
) -> Float[Array, "vertices parameters"]:
    """Motion of the outline along its normal, pixels, times the root of the length of outline a vertex stands for.

    A vertex is on the outline where its normal lies in the image plane, and the drawn mask is neither 0 nor 1.
    """
    normals = vertex_normals(mesh.vertices, np.asarray(model.faces))
    depth = jnp.maximum(mesh.vertices[:, 2], NEAREST_DEPTH)
    sights = mesh.vertices / depth[:, None]
    sights = sights / jnp.sqrt(jnp.sum(sights * sights, axis=-1, keepdims=True))
    facing = jnp.sum(normals * sights, axis=-1) / _CONTOUR
    contour = jnp.maximum(1.0 - facing * facing, 0.0)
    pixels = project(mesh.vertices, view.focal, view.principal)
    rows, columns = drawn.shape
    column = jnp.clip(jnp.nan_to_num(pixels[:, 0]), 0, columns - 1).astype(jnp.int32)
    row = jnp.clip(jnp.nan_to_num(pixels[:, 1]), 0, rows - 1).astype(jnp.int32)
    edge = 4.0 * drawn[row, column] * (1.0 - drawn[row, column])
    # The rest length of a vertex's surroundings; a band of `contour` is some two vertices wide.
    spacing = 0.5 * vertex_spacing(model) * jnp.sqrt(view.focal[0] * view.focal[1]) / depth
    across = normals[:, :2] / jnp.sqrt(jnp.sum(normals[:, :2] ** 2, axis=-1, keepdims=True) + 1e-12)
    moved = screen_jacobian(mesh.vertices, vertex_jacobian(hand, model, parameters, mesh), view.focal, NEAREST_DEPTH)
    along = jnp.einsum("va,vap->vp", across, moved, precision=PRECISION)
    return jnp.sqrt(contour * edge * spacing)[:, None] * along


def vertex_spacing(model: HandModel) -> Float[Array, "vertices"]:
    """Mean length of the edges at each vertex of the template, metres."""
    faces = np.asarray(model.faces)
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    count = np.maximum(np.bincount(edges.reshape(-1), minlength=model.template.shape[0]), 1)
    lengths = jnp.linalg.norm(model.template[edges[:, 0]] - model.template[edges[:, 1]], axis=-1)
    sums = jnp.zeros(model.template.shape[0], model.dtype).at[edges.reshape(-1)].add(jnp.repeat(lengths, 2))
    return sums / count
