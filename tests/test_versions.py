"""`show_versions` shows what a report of a problem needs."""

import numpy
import pytest
import scipy
import sklearn
import torch

import skorch_logreg
from skorch_logreg.kernels import library


def test_it_shows_versions_threads_blas_and_kernels(capsys):
    assert skorch_logreg.show_versions() is None
    lines = {line.strip() for line in capsys.readouterr().out.splitlines()}
    for module in (numpy, scipy, sklearn, torch):
        assert f"{module.__name__}: {module.__version__}" in lines
    assert f"version: {skorch_logreg.__version__}" in lines
    assert f"kernels: {library.status()}" in lines
    assert f"at::get_num_threads() : {torch.get_num_threads()}" in lines
    assert "user_api: blas" in lines


@pytest.mark.parametrize("status", ["x86-64-v4", "off, because SKORCH_LOGREG_KERNELS=0"])
def test_it_says_why_kernels_are_not_in_use(status, monkeypatch, capsys):
    monkeypatch.setattr(library, "status", lambda: status)
    skorch_logreg.show_versions()
    assert f"kernels: {status}\n" in capsys.readouterr().out
