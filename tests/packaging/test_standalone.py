"""The two standalone packages need jax, numpy and jaxtyping alone; the wheel holds what it should."""

import pathlib
import subprocess
import sys
import zipfile

import pytest

ROOT = pathlib.Path(__file__).parents[2]

USE_BOTH = """
import importlib.util, sys
import numpy as np
for name in ("flax", "optax", "scipy", "PIL", "trimesh", "tensorflow", "matplotlib", "viser", "absl"):
    present = importlib.util.find_spec(name) is not None
    assert not present or name in ALLOWED, f"{name} is installed here: this environment proves nothing"
import jax.numpy as jnp
import mano_jax, render_jax
hand = mano_jax.open_hand("left")
vertices = mano_jax.forward(hand, jnp.zeros(45), jnp.zeros(10), jnp.zeros(3), jnp.array([0.0, 0.0, 0.5])).vertices
picture = render_jax.render(vertices, hand.faces, render_jax.Pinhole(fx=200.0, fy=200.0, cx=32.0, cy=32.0), (64, 64))
assert float(picture.mask.sum()) > 100
print("works")
"""


def run(*command: str | pathlib.Path, cwd: pathlib.Path) -> str:
    result = subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True, timeout=900)
    assert result.returncode == 0, result.stderr[-2000:]
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("wheel")
    # Built from a copy: setuptools leaves build/ and *.egg-info where it builds.
    source = folder / "source"
    run("git", "clone", "--quiet", ROOT, source, cwd=folder)
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, source, cwd=folder)
    return next(folder.glob("*.whl"))


@pytest.mark.slow
def test_wheel_holds_the_three_packages_and_nothing_else(wheel: pathlib.Path):
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert top == {"mano_jax", "render_jax", "handpose_jax"}
    assert "mano_jax/open_hand_model/open_hand.npz" in names
    assert any(name.endswith("NOTICE") for name in names)


@pytest.mark.slow
def test_base_installation_runs_both_standalone_packages(wheel: pathlib.Path, tmp_path: pathlib.Path):
    environment = tmp_path / "environment"
    run(sys.executable, "-m", "venv", environment, cwd=tmp_path)
    python = environment / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", wheel, cwd=tmp_path)
    # jax itself brings scipy.
    script = f"ALLOWED = {{'scipy'}}\n{USE_BOTH}"
    assert run(python, "-c", script, cwd=tmp_path).strip() == "works"
