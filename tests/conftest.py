"""Strict numerics for every test, several fake devices, and the folder of real data."""

import os
import pathlib

# Before JAX is imported anywhere: four CPU devices, so that sharded code can be tested on any machine.
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(autouse=True)
def strict_dtype_promotion(request: pytest.FixtureRequest):
    """The two standalone packages promote no dtype silently; optax does, so the rest is tested under JAX's default."""
    folder = pathlib.Path(str(request.node.path)).parent.name
    with jax.numpy_dtype_promotion("strict" if folder in ("mano_jax", "render_jax") else "standard"):
        yield


@pytest.fixture(scope="session")
def real_data() -> pathlib.Path:
    """The folder that holds real_photos/, tracked_poses/ and rhd_three_frames.json; skips where it is not given."""
    folder = os.environ.get("HANDPOSE_REAL_DATA")
    if not folder:
        pytest.skip(
            "HANDPOSE_REAL_DATA is not set: the folder with real_photos/, tracked_poses/, rhd_three_frames.json"
        )
    path = pathlib.Path(folder)
    assert (path / "real_photos" / "annotations.json").is_file(), f"HANDPOSE_REAL_DATA={folder} holds no real_photos/"
    return path.resolve()
