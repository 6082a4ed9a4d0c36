"""Output of the command line: lines of text, and an HTML page with the same text and figures."""

from __future__ import annotations

import base64
import html
import io
import sys
from pathlib import Path
from typing import Any

from skorch_logreg.command.comparison import Problem, coefficients
from skorch_logreg.command.errors import CommandError, describe_error

PAGE = Path(__file__).with_name("page.html")


class Report:
    """Results of a job, kept for the page and printed, on stderr if stdout has predictions."""

    def __init__(self, to_stderr: bool) -> None:
        self.stream = sys.stderr if to_stderr else sys.stdout
        self.parts: list[str] = []

    def add(self, text: str, heading: str = "") -> None:
        """Print some lines, with a heading and an empty line before them if they have one."""
        print(f"\n{heading}\n{text}" if heading else text, file=self.stream)
        self._add_section(heading, f"<pre>{html.escape(text)}</pre>")

    def add_figure(self, heading: str, display: Any) -> None:
        """Add the figure of a plotted display to the page, and close it."""
        from matplotlib import pyplot as plt

        file, width = io.BytesIO(), display.figure_.get_figwidth() * 100
        display.figure_.savefig(file, format="png", dpi=150, bbox_inches="tight")
        plt.close(display.figure_)
        data = base64.b64encode(file.getvalue()).decode()
        name = html.escape(heading)
        image = f'<img alt="{name}" width="{width:.0f}" src="data:image/png;base64,{data}">'
        self._add_section(heading, image)

    def _add_section(self, heading: str, content: str) -> None:
        head = f"<h2>{html.escape(heading)}</h2>\n" if heading else ""
        self.parts.append(head + content)

    def write(self, path: Path, title: str) -> None:
        """Write the page."""
        page = PAGE.read_text(encoding="utf-8").replace("<!--title-->", html.escape(title))
        try:
            path.write_text(page.replace("<!--body-->", "\n".join(self.parts)), encoding="utf-8")
        except OSError as error:
            raise CommandError(f"Cannot write {path}: {describe_error(error)}") from error
        self.add(f"\nReport written to {path}")


def add_figures(
    report: Report, model: Any, problem: Problem, inference: Any = None, choice: Any = None
) -> None:
    """Add the figures of a model, with the intervals of `inference` and the scores of `choice`."""
    from skorch_logreg import displays

    coef, classes = coefficients(model, problem.positive)
    is_binary, names = len(model.classes_) == 2, list(problem.names)
    intervals = inference.interval[: len(names)] if inference is not None and is_binary else None
    shown = displays.CoefficientDisplay(
        coef, intervals=intervals, feature_names=names, classes=classes
    )
    of_class = f", for class {classes[0]}" if is_binary else ""
    report.add_figure(f"Largest coefficients{of_class}", shown.plot())
    if choice is not None:
        scores = displays.CVScoresDisplay.from_estimator(choice)
        report.add_figure("Cross-validated score by C", scores)
    y, weights = problem.y_test, {"sample_weight": problem.weight_test}
    if is_binary and (y == classes[0]).any():
        proba = model.predict_proba(problem.X_test)[:, model.classes_ == classes[0]].ravel()
        threshold = displays.ThresholdDisplay.from_predictions(
            y, proba, pos_label=classes[0], threshold=0.5, name=str(classes[0]), **weights
        )
        report.add_figure("Precision and recall by threshold, held-out rows", threshold)
        if problem.weight_test is None:
            bins = {"n_bins": 10, "strategy": "quantile", "name": "held-out rows"}
            reliability = displays.ReliabilityDisplay.from_predictions(
                y, proba, pos_label=classes[0], **bins
            )
            report.add_figure("Reliability of the probabilities, held-out rows", reliability)
