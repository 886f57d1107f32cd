"""How long Eq. 13 takes at the paper's sizes, beside the forward pass and input gradient of F that it repeats."""

import dataclasses
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from handpose_jax.dhpe.configuration import DhpeOptions, NetworkOptions
from handpose_jax.dhpe.refinement import refine
from handpose_jax.dhpe.training import initial_variables, network_of
from mano_jax import HandModel


def time_eq13(
    model: HandModel,
    batch: int,
    iterations: int,
    repeats: int,
    seed: int,
    networks: NetworkOptions | None = None,
) -> dict[str, float]:
    """Milliseconds an image of the refinement, and of as many ResNet forward passes with input gradient.

    Both are run in turn and the fastest of each counts.

    Args:
      model: right hand.
      batch: images at once; random ones, since no value changes a time.
      iterations: of Eq. 13, all terms on.
      repeats: rounds.
      seed: of weights and images.
      networks: sizes; the paper's if not given.
    """
    networks = networks or NetworkOptions()
    options = DhpeOptions(networks=networks)
    options = dataclasses.replace(options, refinement=dataclasses.replace(options.refinement, steps=iterations))
    variables = jax.jit(lambda seed, model: initial_variables(seed, model, options))(np.uint32(seed), model)
    size = networks.image_size
    images = jax.random.uniform(jax.random.key(seed), (batch, size, size, 3))
    network = network_of(options)
    estimate = jax.jit(lambda variables, images, model: network.apply(variables, images, model))(
        variables, images, model
    )

    @jax.jit
    def forward_and_gradient(variables, images):
        def energy(images):
            return jnp.sum(jnp.asarray(network.apply(variables, images, method="features")) ** 2)

        return jax.grad(energy)(images)

    def once(program: Callable[[], object]) -> float:
        begin = time.perf_counter()
        jax.block_until_ready(program())
        return time.perf_counter() - begin

    programs = (
        lambda: refine(variables, model, images, estimate, options),
        lambda: forward_and_gradient(variables, images),
    )
    compile_s = sum(once(program) for program in programs)
    refined, bound = (min(times) for times in zip(*((once(p) for p in programs) for _ in range(repeats)), strict=True))
    return {
        "batch": batch,
        "first_run_s": compile_s,
        "ms_an_image": 1e3 * refined / batch,
        "ms_an_iteration": 1e3 * refined / batch / iterations,
        "images_a_second": batch / refined,
        "bound_ms_an_image": 1e3 * iterations * bound / batch,
    }
