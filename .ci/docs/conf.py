"""Configuration of Sphinx; `build` copies README, guides and notebooks to its side."""

import base64
import json
import os
import re
from pathlib import Path

from docutils import nodes
from sphinx.util.nodes import make_refnode

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
toc_object_entries_show_parents = "hide"
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
html_static_path = ["static"]
html_css_files = ["style.css"]
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


def link_names_in_guides(app, doctree, docname):
    """Link code that is the name or a call of something public to its page."""
    if not docname.startswith(("index", "notebooks/")):
        return
    documented = {
        name.rpartition(".")[2]: (name, entry)
        for name, entry in app.env.get_domain("py").objects.items()
        if entry.objtype in {"class", "function", "exception"}
    }
    for node in list(doctree.findall(nodes.literal)):
        code = re.fullmatch(r"(?:\w+\.)*(\w+)(\(.*\))?", node.astext())
        if code and code[1] in documented and not isinstance(node.parent, nodes.reference):
            name, entry = documented[code[1]]
            place = (docname, entry.docname, entry.node_id)
            node.replace_self(make_refnode(app.builder, *place, node.deepcopy(), name))


def write_gallery():
    """Write the page of the notebooks: their questions, and the last figure of each."""
    folder = Path(__file__).parent
    lines = ["# Notebooks", "", "| | |", "| --- | --- |"]
    for path in sorted((folder / "notebooks").glob("[01]*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        title, question = "".join(cells[0]["source"]).split("\n\n")[:2]
        outputs = [output for cell in cells for output in cell.get("outputs", [])]
        figures = [o["data"]["image/png"] for o in outputs if "image/png" in o.get("data", {})]
        path.with_suffix(".png").write_bytes(base64.b64decode(figures[-1]))
        link, picture = f"notebooks/{path.name}", f"![figure](notebooks/{path.stem}.png)"
        lines.append(f"| [{title.lstrip('# ')}]({link})<br>{question} | [{picture}]({link}) |")
    lines += ["", "```{toctree}", ":glob:", ":hidden:", "", "notebooks/[01]*", "```", ""]
    (folder / "examples.md").write_text("\n".join(lines), encoding="utf-8")


def setup(app):
    """Register what this configuration adds to Sphinx."""
    write_gallery()
    app.connect("doctree-resolved", link_names_in_guides)
    app.connect("missing-reference", show_text_only, priority=900)
