"""Vertices to corners of faces, with a gradient that is a gather too.

The transpose of `vertices[faces]` is a scatter-add: slow on a CPU, and on a GPU its sums have another order in every
run. Where the faces are known when the function is traced, the corners of each vertex are listed beforehand and their
gradients are gathered and added in a fixed order.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jaxtyping import Array, Float, Int

# Corners added in one step. A vertex with more is served in several rows, which another table then adds; 8 holds nearly
# every vertex of a mesh of triangles (6 on average) without much padding.
TABLE_WIDTH = 8


def gather_tables(owner: Int[np.ndarray, "entries"], vertices: int) -> list[Int[np.ndarray, "rows width"]]:
    """Tables T with: summing x[T[0]] over its second axis, then [T[1]] and so on adds up the entries of each vertex.

    x [entries + 1] ends with a 0 that all padding points to; after each step a 0 is appended again. The last table has
    one row for each vertex. `sum_by_tables` does it.
    """
    owner = np.asarray(owner)
    tables = []
    while True:
        order = np.argsort(owner, kind="stable")
        count = np.bincount(owner, minlength=vertices)
        rows_of = np.maximum(-(-count // TABLE_WIDTH), 1)
        row_start = np.cumsum(rows_of) - rows_of
        rank = np.arange(owner.size) - np.repeat(np.cumsum(count) - count, count)
        table = np.full((rows_of.sum(), min(TABLE_WIDTH, max(count.max(initial=0), 1))), owner.size, np.int32)
        table[row_start[owner[order]] + rank // TABLE_WIDTH, rank % TABLE_WIDTH] = order
        tables.append(table)
        if (rows_of == 1).all():
            return tables
        owner = np.repeat(np.arange(vertices), rows_of)


def sum_by_tables(
    values: Float[Array, "entries width"], tables: list[Int[np.ndarray, "rows width"]]
) -> Float[Array, "vertices width"]:
    """Sum of the entries of each vertex, for `gather_tables`."""
    zero = jnp.zeros((1, values.shape[1]), values.dtype)
    for table in tables:
        values = functools.reduce(jnp.add, jnp.unstack(jnp.concatenate([values, zero])[table], axis=1))
    return values


def add_runs(
    total: Float[Array, "entries width"], entry: Int[Array, "items"], values: Float[Array, "items width"]
) -> Float[Array, "entries width"]:
    """total[entry] += values for sorted entries, added in the order of the items on every device."""

    def join(left, right):
        starts_left, sum_left = left
        starts_right, sum_right = right
        return starts_left | starts_right, jnp.where(starts_right, sum_right, sum_left + sum_right)

    starts = jnp.concatenate([jnp.ones(1, bool), entry[1:] != entry[:-1]])
    _, sums = lax.associative_scan(join, (jnp.broadcast_to(starts[:, None], values.shape), values))
    # Only the last item of a run writes, so no two add to the same place.
    is_last = jnp.concatenate([starts[1:], jnp.ones(1, bool)])
    return total.at[jnp.where(is_last, entry, total.shape[0])].add(sums, mode="drop")


def add_rows(
    total: Float[Array, "entries width"],
    entry: Int[Array, "items"],
    values: Float[Array, "items width"],
    in_order: bool,
) -> Float[Array, "entries width"]:
    """total[entry] += values; `in_order`: in the same order in every run, on a GPU too, by sorting."""
    if not in_order:
        return total.at[entry].add(values)
    order = jnp.argsort(entry, stable=True)
    return add_runs(total, entry[order], values[order])


def corners_of(
    vertices: Float[Array, "vertices width"],
    faces: Int[Array | np.ndarray, "faces corners"],
    deterministic: bool = False,
) -> Float[Array, "faces corners width"]:
    """`vertices[faces]` with a fast, and on request reproducible, gradient.

    Args:
      vertices: any attribute of the vertices.
      faces: vertex indices of faces, or of edges. Known ones (NumPy, or JAX outside of `jit`) get a static table;
        traced ones a scatter-add.
      deterministic: for traced faces, add in a fixed order on every device: sorts, slower.
    """
    count = vertices.shape[0]
    known = not isinstance(faces, Tracer)
    tables = gather_tables(np.asarray(faces).reshape(-1), count) if known else None

    @jax.custom_vjp
    def gather(vertices, faces):
        return vertices[faces]

    def forward(vertices, faces):
        return vertices[faces], faces

    def backward(faces, gradient):
        flat = gradient.reshape(-1, gradient.shape[-1])
        if tables is not None:
            flat = sum_by_tables(flat, tables)
        else:
            zero = jnp.zeros((count, flat.shape[1]), flat.dtype)
            flat = add_rows(zero, faces.reshape(-1), flat, in_order=deterministic)
        return flat, np.zeros(faces.shape, jax.dtypes.float0)

    gather.defvjp(forward, backward)
    return gather(vertices, jnp.asarray(faces, jnp.int32))
