"""The "tiles" backend compiles for a TPU that is not there (libtpu's compiler; skipped where it is not installed)."""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.slow
def test_tiles_compile_ahead_of_time_for_a_v5e(tmp_path):
    if "TPU_LIBRARY_PATH" not in os.environ and importlib.util.find_spec("libtpu") is None:
        pytest.skip("libtpu is not installed: pip install 'handpose-jax[tpu-compile]', or set TPU_LIBRARY_PATH")
    out = tmp_path / "tpu.json"
    # In a process of its own: libtpu installs signal handlers and logs to the terminal.
    command = [sys.executable, "-m", "benchmarks.tpu_compile", f"--out={out}"]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr[-2000:]
    found = json.loads(out.read_text())
    chunks, chunk = found["chunks of faces"], found["loop bodies"]["forward chunk"]["operations"]
    # 4 tiles x 32 faces x 8 x 112 pixels, each some tens of operations.
    assert 10 < chunk / (4 * 32 * 8 * 112) < 100
    for batch in (1, 8):
        forward, both = (found[f"{name}, batch {batch}"] for name in ("forward", "forward + gradient"))
        assert forward["operations an image"] > 0.9 * chunks * chunk > forward["operations, loop bodies once"]
        assert both["operations an image"] > forward["operations an image"]
        assert both["temporaries MiB"] < 16
