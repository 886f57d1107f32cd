"""Hand models of MANO's form with made-up numbers, and files of them in every official spelling.

The numbers have the sizes of a hand's (decimetres, correctives of millimetres); the surface is no hand.
"""

import pickle
import sys
import types
from typing import Any

import jax
import numpy as np
import scipy.sparse

from mano_jax import HandModel

PARENTS = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14)


def made_up_fields(seed: int = 0, components: int = 10) -> dict[str, Any]:
    """MANO's fields, dense, float64; `parents` beside kintree_table."""
    random = np.random.default_rng(seed)
    template = random.uniform([-0.18, -0.02, -0.05], [0.01, 0.02, 0.05], (778, 3))
    weights = random.uniform(size=(778, 16)) * (random.uniform(size=(778, 16)) < 0.2)
    weights[np.arange(778), random.integers(16, size=778)] += 0.5
    regressor = random.uniform(size=(16, 778)) * (random.uniform(size=(16, 778)) < 0.05)
    kintree = np.array([PARENTS, range(16)], np.int64)
    kintree[0, 0] = 2**32 - 1
    return {
        "v_template": template,
        "f": np.stack([random.permutation(778)[:3] for _ in range(1538)]).astype(np.uint32),
        "J_regressor": regressor / regressor.sum(axis=1, keepdims=True),
        "weights": weights / weights.sum(axis=1, keepdims=True),
        "shapedirs": 0.003 * random.normal(size=(778, 3, components)),
        "posedirs": 0.001 * random.normal(size=(778, 3, 135)),
        "hands_components": np.linalg.qr(random.normal(size=(45, 45)))[0],
        "hands_mean": 0.2 * random.normal(size=45),
        "hands_coeffs": random.normal(size=(60, 45)) * np.linspace(2.0, 0.1, 45),
        "kintree_table": kintree,
        "parents": PARENTS,
    }


def made_up_hand(seed: int = 0, side: str = "right", components: int = 10, dtype="float32") -> HandModel:
    """The same numbers as a model."""
    fields = made_up_fields(seed, components)
    return HandModel.create(
        template=fields["v_template"],
        shape_basis=fields["shapedirs"],
        pose_correctives=fields["posedirs"],
        joint_regressor=fields["J_regressor"],
        skinning_weights=fields["weights"],
        pose_mean=fields["hands_mean"],
        pose_basis=fields["hands_components"],
        pose_standard_deviations=fields["hands_coeffs"].std(axis=0),
        faces=fields["f"],
        side=side,
        dtype=dtype,
    )


def npz_fields(fields: dict) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name != "parents"}


def assert_same(one: HandModel, other: HandModel) -> None:
    """Equal to the last bit, dtypes and topology included."""
    assert one.topology == other.topology
    for left, right in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert left.dtype == right.dtype
        np.testing.assert_array_equal(np.asarray(left), np.asarray(right))


class Python2Pickle:
    """Writes protocol 2 as Python 2 did: strings as bytes, the official GLOBALs, a memo shared by names and dtypes."""

    def __init__(self):
        self.out = bytearray(b"\x80\x02")
        self.memo: dict[object, int] = {}

    def finished(self, value) -> bytes:
        self.write(value)
        return bytes(self.out) + b"."

    def remember(self, key: object) -> None:
        self.memo[key] = len(self.memo)
        self.out += b"r" + self.memo[key].to_bytes(4, "little")

    def recall(self, key: object) -> bool:
        if key in self.memo:
            self.out += b"j" + self.memo[key].to_bytes(4, "little")
        return key in self.memo

    def name(self, module: str, attribute: str) -> None:
        if not self.recall((module, attribute)):
            self.out += f"c{module}\n{attribute}\n".encode()
            self.remember((module, attribute))

    def write(self, value) -> None:
        match value:
            case None:
                self.out += b"N"
            case bool():
                self.out += b"\x88" if value else b"\x89"
            case int():
                self.out += b"J" + value.to_bytes(4, "little", signed=True)
            case str() | bytes():
                raw = value.encode("latin1") if isinstance(value, str) else value
                small = len(raw) < 256
                self.out += b"U" + bytes([len(raw)]) if small else b"T" + len(raw).to_bytes(4, "little")
                self.out += raw
            case tuple():
                self.out += b"("
                for item in value:
                    self.write(item)
                self.out += b"t"
            case dict():
                self.out += b"}("
                for key, item in value.items():
                    self.write(key)
                    self.write(item)
                self.out += b"u"
            case set():
                self.name("__builtin__", "set")
                self.out += b"]("
                for item in value:
                    self.write(item)
                self.out += b"e\x85R"
            case np.ndarray():
                self.array(value)
            case scipy.sparse.csc_matrix():
                attributes = {"_shape": value.shape, "maxprint": 50, "format": "csc"}
                attributes |= {"indptr": value.indptr, "indices": value.indices, "data": value.data}
                self.object("scipy.sparse.csc", "csc_matrix", attributes)
            case types.SimpleNamespace(module=module, name=name, attributes=attributes):
                self.object(module, name, attributes)
            case _:
                raise TypeError(type(value))

    def object(self, module: str, name: str, attributes: dict) -> None:
        self.name(module, name)
        self.out += b")\x81"
        self.write(attributes)
        self.out += b"b"

    def array(self, array: np.ndarray) -> None:
        fortran = array.flags.f_contiguous and not array.flags.c_contiguous
        self.name("numpy.core.multiarray", "_reconstruct")
        self.name("numpy", "ndarray")
        self.out += b"K\x00\x85"
        self.write("b")
        self.out += b"\x87R(K\x01"
        self.write(array.shape)
        if not self.recall(array.dtype):
            self.name("numpy", "dtype")
            self.write(array.dtype.str[1:])
            self.out += b"K\x00K\x01\x87R"
            self.remember(array.dtype)
            self.out += b"("
            for item in (3, array.dtype.str[0], None, None, None, -1, -1, 0):
                self.write(item)
            self.out += b"tb"
        self.write(fortran)
        self.write(array.tobytes("F" if fortran else "C"))
        self.out += b"tb"


def official_content(fields: dict, all_shapes: np.ndarray | None = None) -> dict[str, Any]:
    """The dictionary an official file holds: sparse regressor, and `shapedirs` a Select of the first ten of twenty."""
    content: dict[str, Any] = npz_fields(fields)
    content["J_regressor"] = scipy.sparse.csc_matrix(fields["J_regressor"])
    content["kintree_table"] = fields["kintree_table"].astype(np.uint32)
    content |= {"bs_style": "lbs", "bs_type": "lrotmin"}
    if all_shapes is not None:
        count = fields["shapedirs"].shape[2]
        indices = np.arange(all_shapes.size).reshape(all_shapes.shape)[:, :, :count].ravel()
        everything = types.SimpleNamespace(
            module="chumpy.ch", name="Ch", attributes={"x": all_shapes, "_dirty_vars": {"x"}, "_itr": None}
        )
        content["shapedirs"] = types.SimpleNamespace(
            module="chumpy.reordering",
            name="Select",
            attributes={"a": everything, "idxs": indices, "preferred_shape": (778, 3, count), "_dirty_vars": set()},
        )
    return content


def python2_pickle(content: dict[str, Any]) -> bytes:
    return Python2Pickle().finished(content)


def python3_pickle(content: dict[str, Any], protocol: int) -> bytes:
    """The same, saved again by this Python with the installed NumPy and scipy, and classes named as chumpy's."""
    modules = {name: types.ModuleType(name) for name in ("chumpy", "chumpy.ch", "chumpy.reordering")}
    for module, name in (("chumpy.ch", "Ch"), ("chumpy.reordering", "Select")):
        setattr(modules[module], name, type(name, (), {"__module__": module}))

    def real(value):
        if not isinstance(value, types.SimpleNamespace):
            return value
        instance = getattr(modules[value.module], value.name)()
        instance.__dict__.update({name: real(item) for name, item in value.attributes.items()})
        return instance

    assert not set(modules) & set(sys.modules), "a real chumpy is installed"
    sys.modules.update(modules)
    try:
        return pickle.dumps({name: real(value) for name, value in content.items()}, protocol)
    finally:
        for name in modules:
            del sys.modules[name]
