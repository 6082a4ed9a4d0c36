"""Test that matplotlib is only needed to plot."""

import subprocess
import sys

import pytest

from skorch_logreg import displays


def test_importing_the_room_leaves_matplotlib_out():
    code = "import sys, skorch_logreg.displays; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "draw",
    [
        lambda: displays.CoefficientDisplay([1.0]).plot(),
        lambda: displays.CoefficientPathDisplay([1.0, 2.0], [[1.0], [2.0]]).plot(),
        lambda: displays.ConvergenceDisplay([1], [1.0]).plot(),
        lambda: displays.CVScoresDisplay([1.0], [[[1.0]]]).plot(),
        lambda: displays.ThresholdDisplay.from_predictions([0, 1], [0.1, 0.9]),
        lambda: displays.ReliabilityDisplay([0.5], [0.5], [0.5]).plot(),
    ],
)
def test_without_it_the_error_says_how_to_install(draw, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r'Display.plot needs .*"skorch-logreg\[plots\]"'):
        draw()
