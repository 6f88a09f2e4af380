"""The arrows between the sub-packages, read from the source."""

import ast
import os
import pathlib
import re
import subprocess
import sys

import pytest

import keras_derivs
from keras_derivs import backend

ROOT = pathlib.Path(keras_derivs.__file__).parent
FRAMEWORKS = {"tensorflow", "jax", "torch"}
# what a sub-package may import of the others
BELOW = {
    "backend": {"graph"},
    "graph": {"limits", "reloading"},
    "engine": {"backend", "graph", "limits", "reloading"},
    "audit": {"backend", "engine", "graph"},
    "layers": {"audit", "backend", "engine", "graph", "limits", "reloading"},
    "export": {"backend", "engine", "graph", "layers"},
    "symbolic": {"engine", "graph", "layers", "limits", "reloading"},
    "verify": {"backend", "engine", "graph", "layers", "symbolic"},
    "features": {"graph"},
    "plotting": {"features", "layers"},
    "tables": set(),
    "training": {"backend", "limits"},
    "timing": {"backend", "engine"},
    "cli": {
        "demo",
        "export",
        "features",
        "graph",
        "layers",
        "plotting",
        "symbolic",
        "tables",
        "verify",
    },
    "demo": set(),  # the public names alone
}


def imported(file):
    """The full names of what a file imports."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_only_the_backend_imports_a_framework():
    found = {
        str(file.relative_to(ROOT))
        for file in ROOT.rglob("*.py")
        if FRAMEWORKS & {name.split(".")[0] for name in imported(file)}
    }
    assert found and all(path.startswith("backend/") for path in found), found


def test_tests_that_need_tensorflow_are_in_a_folder_that_says_so():
    """All others run on every backend."""
    tests = pathlib.Path(__file__).parent
    needing = {
        file.parent.name
        for file in tests.rglob("test_*.py")
        if "tensorflow" in {name.split(".")[0] for name in imported(file)}
    }
    assert needing == {"tensorflow_only"}


def test_only_one_file_touches_private_keras():
    words = r"keras\.src|\._(keras_(history|mask)|(in|out)bound_nodes|flatten_layers|functional|nodes_by_depth|(in|out)puts_struct)\b"
    found = {
        str(f.relative_to(ROOT)) for f in ROOT.rglob("*.py") if re.search(words, f.read_text())
    }
    assert found == {"graph/private.py"}


def files_of(package):
    folder = ROOT / package
    return folder.rglob("*.py") if folder.is_dir() else [folder.with_suffix(".py")]


@pytest.mark.parametrize("package", BELOW)
def test_imports_run_one_way(package):
    parts = [name.split(".") for f in files_of(package) for name in imported(f)]
    others = {part[1] for part in parts if part[0] == "keras_derivs" and len(part) > 1} - {
        package,
        "typing",
    }
    assert others <= BELOW[package], others - BELOW[package]


def test_the_map_of_the_package_is_true():
    """CONTRIBUTING names every sub-package, and no file that is not there."""
    text = (pathlib.Path(__file__).parent.parent / "CONTRIBUTING.md").read_text()
    folders = {f.name for f in ROOT.iterdir() if f.is_dir() and (f / "__init__.py").exists()}
    assert {name for name in folders if f"`{name}/" not in text} == set()
    table = "\n".join(line for line in text.splitlines() if line.startswith("|"))
    there = {file.name for file in ROOT.rglob("*.py")}
    named = {name for name in re.findall(r"`(?:[a-z_]+/)*([a-z_]+\.py)`", table)}
    assert named and named <= there, named - there


def test_only_what_every_framework_defines_is_asked_of_the_backend():
    asked = {
        node.attr
        for file in ROOT.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "backend"
    }
    assert asked and asked <= set(backend.CONTRACT), asked - set(backend.CONTRACT)


def test_the_other_backends_load_no_tensorflow():
    pytest.importorskip("jax")
    code = "import sys, keras_derivs; sys.exit('tensorflow' in sys.modules)"
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    assert (
        subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
    )
