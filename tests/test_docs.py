"""Every example in a docstring, in the README and in the pages of `docs` runs."""

import doctest
import importlib
import inspect
import re
import runpy
from pathlib import Path

import keras
import pytest

import keras_derivs

OTHERS = tuple({"tensorflow", "jax", "torch"} - {keras.backend.backend()})
ROOT = Path(__file__).parents[1]
PARTS = [  # of the names of all modules; to ask Python for them would import those of others, too
    file.relative_to(ROOT).with_suffix("").parts for file in ROOT.glob("keras_derivs/**/*.py")
]
MODULES = sorted(
    ".".join(parts).removesuffix(".__init__")
    for parts in PARTS
    if parts[-1] != "__main__" and not any(part.startswith(OTHERS) for part in parts)
)
README = ROOT / "README.md"
PAGES = [ROOT / "docs" / f"{name}.md" for name in ("start", "coming-from")]
GUIDES = sorted((ROOT / "docs" / "guides").glob("*.md"))


def examples(page):
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name):
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for test in doctest.DocTestFinder().find(importlib.import_module(name)):
        sources = [example.source for example in test.examples]
        if not any(f"import {other}" in source for source in sources for other in OTHERS):
            runner.run(test)
    assert runner.failures == 0


def test_public_names_are_documented():
    for name in keras_derivs.__all__:
        assert getattr(keras_derivs, name).__doc__, name


def documented():
    modules = keras_derivs, keras_derivs.plotting
    return {n: getattr(m, n) for m in modules for n in m.__all__ if callable(getattr(m, n))}


@pytest.mark.parametrize("name", documented())
def test_sections_of_public_docstrings(name):
    public = documented()[name]
    text = inspect.getdoc(public)
    is_layer = isinstance(public, type)
    sections = ["Input shape", "Output shape"] if is_layer else ["Returns"]
    missing = [s for s in ("Args", *sections, "Raises", "Example") if f"\n{s}:\n" not in text]
    assert not missing
    if is_layer:
        assert "strategy: `" in text or "As for `Jacobian`" in text


def test_every_notebook_has_a_card_with_a_picture():
    conf = runpy.run_path(str(ROOT / "docs" / "conf.py"))
    notebooks = list((ROOT / "notebooks").glob("*.ipynb"))
    cards = conf["gallery"](notebooks)
    for notebook in notebooks:
        assert f"](notebooks/{notebook.stem}.png)" in cards
        assert conf["picture"](notebook).startswith(b"\x89PNG")
        assert all(conf["headline"](notebook))


@pytest.mark.parametrize("number", range(len(examples(README))))
def test_readme(number, capsys):
    exec(compile(examples(README)[number], "README", "exec"), {})


@pytest.mark.parametrize(
    "page",
    PAGES + [pytest.param(page, marks=pytest.mark.slow) for page in GUIDES],
    ids=lambda page: page.stem,
)
def test_pages(page, capsys):
    """The examples of a page follow on each other."""
    names = {"__name__": page.stem}
    assert examples(page)
    for code in examples(page):
        exec(compile(code, page.name, "exec"), names)
