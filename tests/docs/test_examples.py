"""Every Python example of the README and of the docs runs, top to bottom, in a folder of its own."""

import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PYTHON_BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


# What everybody reads first runs in `make test`, the other pages in `make test-slow`.
QUICK_PAGES = {"README.md", "mano_jax.md"}
MARKED_PAGES = [
    pytest.param(page, marks=() if page.name in QUICK_PAGES else pytest.mark.slow, id=page.name) for page in PAGES
]


@pytest.mark.parametrize("page", MARKED_PAGES)
def test_python_examples_run(page: pathlib.Path, tmp_path: pathlib.Path):
    blocks = PYTHON_BLOCK.findall(page.read_text())
    if not blocks:
        pytest.skip("no Python example on this page")
    script = tmp_path / "example.py"
    script.write_text("\n".join(blocks))
    command = [sys.executable, str(script)]
    environment = {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "PATH": "", "HOME": str(tmp_path)}
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: pathlib.Path):
    targets = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text())
    missing = [t for t in targets if not t.startswith("http") and not (page.parent / t).exists()]
    assert not missing, f"{page.name} links to {missing}"
