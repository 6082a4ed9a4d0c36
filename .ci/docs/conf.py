"""Configuration of Sphinx; `build` copies README, guides and notebooks to its side."""

import os

import skorch_logreg

project = "skorch_logreg"
author = copyright = "the skorch_logreg developers"
version = release = skorch_logreg.__version__

extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
]
exclude_patterns = ["doctrees", "README.md", "templates"]
templates_path = ["templates"]

# single backticks link to what is documented here, and are code where it is not
default_role = "py:obj"
add_module_names = False
autodoc_typehints = "none"
autosummary_generate = True
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"

intersphinx_mapping = {
    "matplotlib": ("https://matplotlib.org/stable/", None),
    "numpy": ("https://numpy.org/doc/stable/", None),
    "python": ("https://docs.python.org/3/", None),
    "scipy": ("https://docs.scipy.org/doc/scipy/", None),
    "sklearn": ("https://scikit-learn.org/stable/", None),
    "torch": ("https://docs.pytorch.org/docs/stable/", None),
}
if not os.environ.get("INTERSPHINX"):
    intersphinx_mapping = {}

html_theme = "pydata_sphinx_theme"
html_title = "skorch_logreg"
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "navbar_align": "left",
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_sidebars = {"index": []}


def show_text_only(app, env, node, contnode):
    """Show the text of references to scikit-learn's guides, which inherited docstrings have."""
    return contnode if node.get("reftype") in {"ref", "term"} else None


def setup(app):
    """Register what this configuration adds to Sphinx."""
    app.connect("missing-reference", show_text_only, priority=900)
