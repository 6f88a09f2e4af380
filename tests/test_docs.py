"""Every example in a docstring and in the README runs."""

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import keras
import pytest

import keras_derivs

OTHERS = tuple({"tensorflow", "jax", "torch"} - {keras.backend.backend()})
MODULES = [
    module.name
    for module in pkgutil.walk_packages(keras_derivs.__path__, "keras_derivs.")
    if not module.name.endswith("__main__")
    and not any(part.startswith(OTHERS) for part in module.name.split("."))
]
README = Path(__file__).parents[1] / "README.md"


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name):
    module = importlib.import_module(name)
    assert doctest.testmod(module, optionflags=doctest.ELLIPSIS).failed == 0


def test_public_names_are_documented():
    for name in keras_derivs.__all__:
        assert getattr(keras_derivs, name).__doc__, name


@pytest.mark.parametrize("number", range(README.read_text().count("```python")))
def test_readme(number, capsys):
    code = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)[number]
    exec(compile(code, "README", "exec"), {})
