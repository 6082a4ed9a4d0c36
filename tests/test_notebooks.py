"""The stored notebooks are whole: numbered, run from top to bottom, without errors or leftovers.

Run as a program, it runs them and stores what they show; `pip install ".[notebooks]"` first.
"""

import json
import re
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
BYTES = 400_000
PATH = re.compile(r"(?<![\w:/<.])/\w+/\w|[A-Z]:\\|site-packages")  # absolute: of a machine


def test_notebooks_are_numbered_from_one():
    numbers = [path.name[:3] for path in NOTEBOOKS]
    assert numbers == [f"{k:02d}_" for k in range(1, len(NOTEBOOKS) + 1)]
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_outputs_are_those_of_one_run(path):
    text = path.read_text(encoding="utf-8")
    notebook = json.loads(text)
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    outputs = [output for cell in cells for output in cell["outputs"]]
    shown = [str({**o, "data": {**o.get("data", {}), "image/png": ""}}) for o in outputs]

    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert outputs
    assert not [o for o in outputs if o["output_type"] == "error" or o.get("name") == "stderr"]
    assert not PATH.findall("".join(shown))
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert len(text) < BYTES


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_begins_with_its_number_and_its_question(path):
    first = json.loads(path.read_text(encoding="utf-8"))["cells"][0]
    title, question = "".join(first["source"]).split("\n\n")[:2]
    assert first["cell_type"] == "markdown"
    assert title.startswith(f"# {int(path.name[:2])}. ")
    assert re.fullmatch(r"\*[^*]+\?\*", question)


def run(path):
    """Run a notebook and store its outputs, without times or versions."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, kernel_name="python3", record_timing=False).execute()
    notebook.metadata.language_info = {"name": "python"}
    nbformat.write(notebook, path)


if __name__ == "__main__":
    for path in NOTEBOOKS:
        run(path)
