"""What packaging and citation files say of the project."""

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_citation_agrees_with_the_project():
    lines = (ROOT / "CITATION.cff").read_text().splitlines()
    (author,) = PROJECT["authors"]
    assert f"license: {PROJECT['license']}" in lines
    assert f"  - name: {author['name']}" in lines
    (title,) = [line for line in lines if line.startswith("title: ")]
    assert PROJECT["name"].replace("-", "_") in title
    # nothing of this is known, and an invented one would be cited
    assert not [line for line in lines if line.startswith(("doi", "url", "version", "date"))]
    assert author.keys() == {"name"}


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_versions_of_python(version):
    assert f"Programming Language :: Python :: {version}" in PROJECT["classifiers"]
    assert PROJECT["requires-python"] == ">=3.11"
