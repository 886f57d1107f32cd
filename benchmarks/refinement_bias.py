"""Which way each term of Eq. 13 pulls a hand that is right: `python -m benchmarks.refinement_bias [--out=FILE]`.

Hands of the open hand are drawn over made-up backgrounds in the network's frame; refinement starts at the truth, with
the true 2D joints as j2D, and runs 50 steps with one term alone, or with several. What then differs from 1 is bias.

  scale   exp(σ) of h over the true one: the number that sets a hand's distance
  size    mean distance of the projected vertices from their mean over the true one: what is seen, shape and pose too
  IoU     of the mask with the true one
  3D      mean distance of the 21 joints from the truth, middle MCP subtracted, in percent of the crop's edge

Without --weights the features are those of a backbone with random weights. Adam gives every number of h the same speed
however small its gradient is, so that a term alone runs as far as it would beside a strong one that does not oppose it.
"""

import argparse
import dataclasses
import functools
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import mano_jax
from benchmarks.hardware import hardware_line, write_json
from handpose_jax.dhpe import losses
from handpose_jax.dhpe.configuration import SMALL_NETWORKS, DhpeOptions, RefinementOptions
from handpose_jax.dhpe.networks import Estimate, HandMeshEstimator
from handpose_jax.dhpe.parameters import HandVector, decode
from handpose_jax.dhpe.refinement import refine
from handpose_jax.dhpe.weights import load_weights
from handpose_jax.evaluation.pictures import rendered
from handpose_jax.projection import project_mask, project_mesh

NAMES = ("joints_2d", "features", "laplacian", "prior")
ROWS = {
    "2D joints alone": ("joints_2d",),
    "features alone": ("features",),
    "Laplacian alone": ("laplacian",),
    "priors alone": ("prior",),
    "2D joints and features": ("joints_2d", "features"),
    "all": NAMES,
}


def true_hands(count: int, model: mano_jax.HandModel, options: DhpeOptions) -> HandVector:
    """h of random hands in the middle of the crop, as large as the box says."""
    rng = np.random.default_rng(0)
    deviations = np.asarray(losses.pose_deviations(model, options.parametrisation.pose))
    quaternion = rng.normal(size=(count, 4))
    quaternion *= np.where(quaternion[:, :1] < 0, -1, 1) / np.linalg.norm(quaternion, axis=1, keepdims=True)
    h = HandVector(
        pose_coefficients=jnp.asarray(0.7 * deviations * rng.normal(size=(count, 45)), jnp.float32),
        shape=jnp.asarray(0.7 * rng.normal(size=(count, 10)), jnp.float32),
        rotation=jnp.asarray(quaternion - np.array([1.0, 0, 0, 0]), jnp.float32),
        scale=jnp.zeros((count, 1)),
        translation=jnp.zeros((count, 3)),
    )
    joints = project_mesh(model, decode(model, h, options.parametrisation)).joints_2d
    low, high = joints.min(axis=1), joints.max(axis=1)
    # The larger side of the box is 2/1.5 NDC by construction of the crop.
    factor = (2.0 / 1.5) / (high - low).max(axis=1)
    middle = -0.5 * (low + high) * factor[:, None]
    return h._replace(scale=jnp.log(factor)[:, None], translation=h.translation.at[:, :2].set(middle))


def photographs(vertices: np.ndarray, faces: np.ndarray, size: int) -> np.ndarray:
    """Lit meshes over smooth random colours, in the crop's frame."""
    rng, far = np.random.default_rng(1), 400.0
    camera = np.array([[far * size / 2, 0, size / 2], [0, far * size / 2, size / 2], [0, 0, 1.0]])
    images = []
    for mesh in vertices:
        coarse = jnp.asarray(rng.uniform(0.1, 0.9, (6, 6, 3)), jnp.float32)
        ground = jnp.clip(jax.image.resize(coarse, (size, size, 3), "cubic"), 0.0, 1.0)
        images.append(rendered(mesh + np.array([0, 0, far]), faces, camera, np.asarray(ground)))
    return np.stack(images)


@functools.partial(jax.jit, static_argnames="options")
def measured(model, h, truth, options):
    """Mean over the hands of scale, size and IoU, the largest change of scale, and the 3D error in percent."""
    now, before = (project_mesh(model, decode(model, one, options.parametrisation)) for one in (h, truth))
    spread = [
        jnp.linalg.norm(mesh.vertices[..., :2] - mesh.vertices[..., :2].mean(axis=1, keepdims=True), axis=-1).mean(
            axis=1
        )
        for mesh in (now, before)
    ]
    masks = [project_mask(model, mesh.vertices, options.losses.mask) > 0.5 for mesh in (now, before)]
    iou = (masks[0] & masks[1]).sum(axis=(1, 2)) / (masks[0] | masks[1]).sum(axis=(1, 2))
    scale = jnp.exp(h.scale - truth.scale)[:, 0]
    error = 100.0 * jnp.linalg.norm(now.joints_3d - before.joints_3d, axis=-1).mean(axis=1)
    return {
        "scale": scale.mean(),
        "scale least": scale.min(),
        "scale most": scale.max(),
        "size": (spread[0] / spread[1]).mean(),
        "iou": iou.mean(),
        "error_percent": error.mean(),
    }


@functools.partial(jax.jit, static_argnames=("options",))
def absolute_laplacian(model, truth, options):
    """The same descent on the Laplacian of the NDC vertices, which the equation's words allow too."""
    matrix = losses.laplacian_matrix(model.faces, model.template.shape[0])
    chosen = options.refinement
    rule = (optax.adam if chosen.optimizer == "adam" else optax.sgd)(chosen.step_size)

    def loss(flat):
        mesh = project_mesh(model, decode(model, HandVector.unflatten(flat), options.parametrisation))
        return (
            chosen.laplacian * jax.vmap(lambda vertices: losses.laplacian_loss(vertices, matrix))(mesh.vertices).sum()
        )

    def step(_, carry):
        flat, state = carry
        update, state = rule.update(jax.grad(loss)(flat), state)
        return optax.apply_updates(flat, update), state

    start = truth.flatten()
    return HandVector.unflatten(jax.lax.fori_loop(0, chosen.steps, step, (start, rule.init(start)))[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, help="also write the numbers as JSON")
    parser.add_argument("--weights", help="JSON of trained weights; random ones of the small networks without")
    parser.add_argument("--hands", type=int, default=8)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--optimizers", default="adam,plain")
    arguments = parser.parse_args()
    model = mano_jax.open_hand("right")
    if arguments.weights:
        loaded = load_weights(arguments.weights)
        options, variables = loaded.options, loaded.variables
    else:
        options = DhpeOptions(networks=SMALL_NETWORKS)
        network, size = HandMeshEstimator(options.networks, options.parametrisation), options.networks.image_size
        init = jax.jit(lambda key, model: network.init(key, jnp.zeros((1, size, size, 3)), model))
        variables = dict(init(jax.random.key(0, impl="rbg"), model))
    network = HandMeshEstimator(options.networks, options.parametrisation)
    truth = true_hands(arguments.hands, model, options)
    mesh = project_mesh(model, decode(model, truth, options.parametrisation))
    images = photographs(np.asarray(mesh.vertices), model.faces, options.networks.image_size)
    features = jax.jit(lambda variables, images: network.apply(variables, images, method="features"))(variables, images)
    joints = jnp.stack([mesh.joints_2d, mesh.joints_2d], axis=1)
    estimate = Estimate(
        features=jnp.asarray(features),
        foreground_features=None,
        score_maps=jnp.zeros((arguments.hands, 1, 1, 1, 21)),
        h=jax.tree.map(lambda leaf: leaf[:, None], truth),
        joints_2d=joints,
        projected_2d=joints[:, 1:],
        joints_3d=mesh.joints_3d[:, None],
    )
    print(hardware_line())
    print(f"features of {arguments.weights or 'random weights'}, {arguments.hands} hands, {arguments.steps} steps")
    print(f"{'':8s}{'':24s}{'scale':>8}{'(least':>9}{'most)':>8}{'size':>8}{'IoU':>7}{'3D %':>7}")
    results = []
    for optimizer in arguments.optimizers.split(","):
        for name, terms in [*ROWS.items(), ("NDC Laplacian alone", None)]:
            weights: dict[str, Any] = {one: 0.0 for one in NAMES if terms is not None and one not in terms}
            chosen = RefinementOptions(steps=arguments.steps, optimizer=optimizer, refine_2d=False, **weights)
            used = dataclasses.replace(options, refinement=chosen)
            if terms is None:
                h = absolute_laplacian(model, truth, used)
            else:
                h = refine(variables, model, images, estimate, used).h
            row = {key: float(value) for key, value in measured(model, h, truth, options).items()}
            results.append({"optimizer": optimizer, "terms": name, **row})
            print(
                f"{optimizer:8s}{name:24s}{row['scale']:8.3f}{row['scale least']:9.3f}{row['scale most']:8.3f}"
                f"{row['size']:8.3f}{row['iou']:7.3f}{row['error_percent']:7.2f}",
                flush=True,
            )
    if arguments.out:
        write_json(arguments.out, {"weights": arguments.weights or "random", "results": results})


if __name__ == "__main__":
    main()
