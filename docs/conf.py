"""Sphinx: `make docs` builds the pages into `docs/_build/html`; warnings are errors."""

import base64
import json
import os
import pathlib
import re
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
html_math_renderer = "mathml"
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
    notebooks = sorted((HERE.parent / "notebooks").glob("*.ipynb"), key=number)
    for notebook in notebooks:
        text = notebook.read_text().replace("../docs/", "../")  # links, as they are from there
        (target / notebook.name).write_text(text)
        (target / f"{notebook.stem}.png").write_bytes(picture(notebook))
    (target / "cards.txt").write_text(gallery(notebooks))


def number(notebook):
    return int(notebook.stem.split("-")[0])


def gallery(notebooks):
    """A card for each notebook: its first picture, title and sentence."""
    cards = "".join(map(card, notebooks))
    pages = "".join(f"notebooks/{notebook.stem}\n" for notebook in notebooks)
    toctree = f"```{{toctree}}\n:hidden:\n\n{pages}```\n"
    return f"::::{{container}} cards\n{cards}::::\n\n{toctree}"


def card(notebook):
    title, words = headline(notebook)
    link = f"notebooks/{notebook.name}"
    image = f"![{title}](notebooks/{notebook.stem}.png)"
    return f":::{{container}} card\n[{image}]({link})\n\n[{title}]({link})\n\n{words}\n:::\n"


def headline(notebook):
    """The title of a notebook and its first sentence."""
    lines = "".join(json.loads(notebook.read_text())["cells"][0]["source"]).splitlines()
    first = next(line for line in lines[1:] if line.strip())
    return lines[0].lstrip("# "), first.split(". ")[0].rstrip(".,:") + "."


def picture(notebook):
    """The first picture that a notebook draws."""
    cells = json.loads(notebook.read_text())["cells"]
    shown = (output.get("data", {}) for cell in cells for output in cell.get("outputs", []))
    image = next(data["image/png"] for data in shown if "image/png" in data)
    return base64.b64decode("".join(image))


def formula(display):
    """Writes formulas as MathML, which browsers show by themselves: no script, no network."""

    def visit(translator, node):
        from docutils.nodes import SkipNode
        from latex2mathml.converter import convert

        spaced = r'<mo lspace="0.17em" rspace="0.17em">\1</mo>'  # tanh, log, …
        written = convert(node.astext(), display=display)
        translator.body.append(re.sub("<mi>([a-z]{2,})</mi>", spaced, written))
        raise SkipNode

    return visit, None


def setup(app):
    app.connect("builder-inited", copy_notebooks)
    app.add_html_math_renderer("mathml", formula("inline"), formula("block"))
