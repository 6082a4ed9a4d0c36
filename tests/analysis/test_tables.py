"""Results print as tables with the names of features, in text, HTML and data frames."""

import sys
from html import escape

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skorch_logreg import (
    MultiLabel,
    TorchLogisticClassifier,
    bootstrap,
    firth,
    influence,
    likelihood_ratio_test,
    marginal_effects,
    prediction_intervals,
    profile_intervals,
    regularization_path,
    summary,
    tune_threshold,
)
from skorch_logreg.analysis.table import Table

NAMES = ["age <years>", "income"]
ALL = [*NAMES, "intercept"]


def rows(n=90):
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(n, 2)), columns=NAMES)
    return X, np.where(X[NAMES[0]] + rng.logistic(size=n) > 0, "yes", "no")


def free(X, y):
    return make_pipeline(StandardScaler(), TorchLogisticClassifier(C=np.inf)).fit(X, y)


def compared(X, y):
    models = [summary(free(X[some], y), X[some], y) for some in (NAMES, NAMES[:1])]
    return likelihood_ratio_test(*models)


def labelled(X, y):
    Y = pd.DataFrame({"sick": y == "yes", "well": y == "no"}).astype(int)
    return tune_threshold(MultiLabel(), X, Y, cv=2)


RESULTS = {
    "summary": (lambda X, y: summary(free(X, y), X, y), ALL, "odds ratio", "odds_ratio"),
    "effects": (lambda X, y: marginal_effects(free(X, y), X, y), NAMES, "effect", "effect"),
    "influence": (
        lambda X, y: influence(free(X, y), X, y),
        *([*range(50)], "Cook's distance", "cooks_distance"),
    ),
    "firth": (firth, ALL, "chi2", "statistic"),
    "bootstrap": (
        lambda X, y: bootstrap(free(X, y), X, y, n_resamples=9, random_state=0),
        *(ALL, None, None),
    ),
    "likelihood ratio": (compared, ["likelihood ratio"], "p", "p_value"),
    "profile": (lambda X, y: profile_intervals(free(X, y), X, y), ALL, "coef", "coef"),
    "threshold": (
        lambda X, y: tune_threshold(free(X, y), X, y, cv="prefit"),
        *(["yes"], "threshold", "threshold"),
    ),
    "thresholds": (labelled, ["sick", "well"], "threshold", "threshold"),
    "path": (lambda X, y: regularization_path(X, y, Cs=[0.5, 1.5]), [0.5, 1.5], "features", None),
}


@pytest.mark.parametrize("kind", RESULTS)
def test_every_result_is_a_table(kind):
    make, names, head, attribute = RESULTS[kind]
    found = make(*rows(n=50))
    assert isinstance(found, Table)
    frame, text, html = found.to_frame(), str(found), found._repr_html_()
    assert frame.index.tolist() == names
    assert repr(found) == text
    for name in [*names, *frame.columns]:
        assert str(name) in text
        assert escape(str(name)) in html
    assert html.count("<tr>") == 1 + len(names)
    if attribute is not None:
        np.testing.assert_array_equal(frame[head], np.atleast_1d(getattr(found, attribute)))


def test_a_summary_names_the_classes_of_its_odds():
    X, y = rows()
    assert "log-odds of class yes against class no\n" in str(summary(free(X, y), X, y))
    three = np.array(["high", "low", "middle"])[np.arange(len(X)) % 3]
    assert "log-odds of each class against class high\n" in str(summary(free(X, three), X, three))


@pytest.mark.parametrize(
    ("level", "text"), [(0.95, "95%"), (0.975, "97.5%"), (0.999, "99.9%"), (0.29, "29%")]
)
def test_levels_are_not_rounded(level, text):
    X, y = rows()
    model, many = free(X, y), pd.DataFrame({"yes": y == "yes", "no": y == "no"}).astype(int)
    for found in (
        summary(model, X, y, level=level),
        profile_intervals(model, X, y, level=level),
        prediction_intervals(model, X, y, X[:2], level=level),
        firth(X, y, level=level, intervals="wald"),
        firth(X, many, level=level, intervals="wald"),
    ):
        assert f"intervals of {text}" in str(found)


def test_a_data_frame_needs_pandas(monkeypatch):
    found = firth(*rows())
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r'to_frame needs pandas: pip install "skorch-logreg\['):
        found.to_frame()


def test_a_bootstrap_shows_all_classes_and_its_intervals():
    X, y = rows()
    y = np.where(X["income"] > 0.5, "more", y)
    found = bootstrap(TorchLogisticClassifier().fit(X, y), X, y, n_resamples=9, random_state=0)
    table, classes = found.to_frame(), ["more", "no", "yes"]
    assert table.index.tolist() == [f"{label}: {name}" for label in classes for name in ALL]
    limits = table[["lower", "upper"]].to_numpy().reshape(3, 3, 2)
    np.testing.assert_allclose(limits[:, :2], found.interval())
    np.testing.assert_allclose(limits[:, 2], np.quantile(found.intercepts, [0.025, 0.975], 0).T)


def test_the_score_of_a_threshold_is_that_of_its_place():
    tuned = labelled(*rows())
    scores = tuned.to_frame()["score"]
    assert scores.tolist() == [own.max() for own in tuned.scores]
    assert f"score {tuned.score:.4g}" in str(tuned)


def test_long_names_and_long_tables():
    X, y = rows()
    long = [f"{'segment_' * 9}{end}" for end in ("north", "south")]
    text = str(summary(free(X.set_axis(long, axis=1), y), X.set_axis(long, axis=1), y))
    assert max(len(line.split("  ")[0]) for line in text.splitlines()[:4]) == 40
    inner = [f"segment_of_{end}_customers_{'and_others_' * 9}" for end in ("north", "south")]
    text = str(firth(X.set_axis(inner, axis=1), y))
    shown = [line.split("  ")[0] for line in text.splitlines()[1:3]]
    assert all(end in name for end, name in zip(("nor", "sou"), shown, strict=True))
    assert max(map(len, shown)) <= 40
    path = regularization_path(X, y, Cs=100)
    (gap,) = [line for line in str(path).splitlines() if line.startswith("…")]
    assert gap.split() == ["…", "40", "more", *5 * ["…"]]
    assert len(path.to_frame()) == 100


def test_influence_shows_the_message_of_its_fit():
    X, y = rows()
    with pytest.warns(ConvergenceWarning):
        found = influence(TorchLogisticClassifier(C=np.inf, max_iter=0).fit(X, y), X, y)
    assert str(found).splitlines()[-1] == found.convergence_message
    assert len(str(found).splitlines()) == 63  # heads, 30 rows, an ellipsis, 30 rows, the message
    assert str(found).splitlines()[-2].startswith("89 ")
