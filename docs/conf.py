"""Sphinx: `make docs` builds the pages into `docs/_build/html`; warnings are errors."""

import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
HERE = pathlib.Path(__file__).parent

sys.path.insert(0, str(HERE.parent))

import keras_derivs  # noqa: E402

project = "keras_derivs"
author = "the keras_derivs developers"
copyright = author
release = keras_derivs.__version__
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]
nb_execution_mode = "off"  # the notebooks hold their outputs; the tests run them
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the sections `Args` and `Returns` say it in words
napoleon_custom_sections = ["Input shape", "Output shape"]
suppress_warnings = ["mystnb.unknown_mime_type"]
html_theme = "furo"
html_title = "keras_derivs"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_js_files = ["sort.js"]
html_theme_options = {"navigation_with_keys": True}


def copy_notebooks(app):
    """The notebooks lie beside `docs`; Sphinx reads what lies inside."""
    target = HERE / "notebooks"
    target.mkdir(exist_ok=True)
    for notebook in sorted((HERE.parent / "notebooks").glob("*.ipynb")):
        text = notebook.read_text().replace("../docs/", "../")  # links, as they are from there
        (target / notebook.name).write_text(text)


def setup(app):
    app.connect("builder-inited", copy_notebooks)
