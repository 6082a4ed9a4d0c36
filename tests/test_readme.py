"""The README tells the truth: its examples run, and its commands are CI's."""

import re
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
TEXT = README.read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize("source", EXAMPLES)
def test_examples_run(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # some write files
    exec(compile(source, str(README), "exec"), {})


def test_first_example_is_eight_lines_and_changes_one_import():
    ours = EXAMPLES[0].replace("C=0.5", "C=0.5, tol=1e-8")
    theirs = ours.replace(
        "from skorch_logreg import TorchLogisticClassifier as LogisticRegression",
        "from sklearn.linear_model import LogisticRegression",
    ).replace(", model[-1].optimality_", "")
    assert len(ours.strip().splitlines()) == 8
    proba = []
    for source in (ours, theirs):
        names = {}
        exec(source, names)
        proba.append(names["model"].predict_proba(names["X"]))
    np.testing.assert_allclose(*proba, atol=1e-5)


def test_commands_are_those_that_ci_runs():
    """The README's two commands stand in .ci/run, part by part."""
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    commands = ["pip install -e .", "python -m skorch_logreg", 'pip install -e ".[test]"', "pytest"]
    for command in commands:
        assert command in TEXT
        assert re.search(rf"^\s*{re.escape(command)}$", script, re.MULTILINE), command


def test_its_links_lead_to_files():
    links = re.findall(r"\]\((?!https?:)([^)#]+)", TEXT)
    assert [link for link in links if not (ROOT / link).exists()] == []
    assert links


def test_its_promises_are_those_of_the_guide():
    """Word for word, so that none is made twice."""
    promises = (ROOT / "notebooks" / "promises.md").read_text(encoding="utf-8")
    short = re.findall(r"^- \*\*(.*?)\*\*", TEXT.split("## What it promises")[1], re.MULTILINE)
    assert len(short) >= 5
    assert [promise for promise in short if f"**{promise}**" not in promises] == []
