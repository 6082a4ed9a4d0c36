"""What the right answer of a problem of many_problems.py is; many_models.py judges by it.

A search is solved by Newton's method in NumPy, which shares no line with any contestant. Labels
start from a tight fit of our own, but what is said of it rests on a bound that trusts no solver.
The objective is scikit-learn's: ``C sum_i loss(y_i, x_i w + b) + ||w||^2 / 2``, b not penalised.
"""

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from scipy.special import expit, logsumexp, softmax
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold

LARGEST_HESSIAN = 6000


def search_scores(problem):
    """Work out the mean held-out log-loss, negative, of every C; shape (n_cs,)."""
    X = _rotated(problem.X)
    n_logits = problem.n_logits
    if sp.issparse(X) or X.shape[1] * n_logits > LARGEST_HESSIAN:
        raise ValueError(f"{problem.name} is too large for the reference of a search")
    intercept = np.full((len(X), 1), float(problem.fit_intercept))
    design = np.hstack([X, intercept])
    classes = np.unique(problem.y)
    scores = np.empty((problem.n_folds, len(problem.Cs)))
    folds = StratifiedKFold(problem.n_folds).split(X, problem.y)
    for fold, (train, test) in enumerate(folds):
        coef = np.zeros((n_logits, design.shape[1]))
        code = np.searchsorted(classes, problem.y[train])
        target = np.eye(len(classes))[code] if n_logits > 1 else code[:, None].astype(float)
        for place in np.argsort(problem.Cs):  # each starts from the next smaller strength
            coef = _newton(design[train], target, problem.Cs[place], coef)
            p = _probability(design[test] @ coef.T)
            p = np.hstack([1 - p, p]) if n_logits == 1 else p
            scores[fold, place] = -log_loss(problem.y[test], p, labels=classes)
    return scores.mean(axis=0)


def _rotated(X):
    """Turn columns so that there are no more of them than rows; an L2 penalty does not see it."""
    X = X if sp.issparse(X) else np.asarray(X, dtype=np.float64)
    if sp.issparse(X) or X.shape[1] <= X.shape[0]:
        return X
    return scipy.linalg.qr(X.T, mode="r")[0][: X.shape[0]].T


def _probability(z):
    return expit(z) if z.shape[1] == 1 else softmax(z, axis=1)


def _newton(X, target, C, coef, max_iter=200):
    """Coefficients of shape (n_logits, n_features + 1), the intercept's last."""
    K, p = coef.shape
    penalised = np.append(np.ones(p - 1), 0.0)

    def value(coef):
        z = X @ coef.T
        loss = np.logaddexp(0, z[:, 0]) if K == 1 else logsumexp(z, axis=1)
        # the square of the intercepts' sum, which is free, settles it and moves nothing else
        free = coef[:, -1].sum() ** 2 / 2 if K > 1 else 0.0
        return C * (loss - (target * z).sum(axis=1)).sum() + (coef**2 @ penalised).sum() / 2 + free

    best = value(coef)
    for _ in range(max_iter):
        P = _probability(X @ coef.T)
        gradient = C * (P - target).T @ X + coef * penalised
        H = np.zeros((K, p, K, p))
        for k in range(K):
            for m in range(k, K):
                weight = P[:, k] * ((k == m) - P[:, m]) if K > 1 else P[:, 0] * (1 - P[:, 0])
                H[k, :, m] = C * (X.T @ (X * weight[:, None]))
                H[m, :, k] = H[k, :, m].T
            H[k, range(p), k, range(p)] += penalised
        if K > 1:
            gradient[:, -1] += coef[:, -1].sum()
            H[:, -1, :, -1] += 1
        H = H.reshape(K * p, K * p)
        H[range(K * p), range(K * p)] += 1e-14 * np.trace(H)  # a column of zeros has none
        step = -scipy.linalg.solve(H, gradient.ravel(), assume_a="pos").reshape(K, p)
        slope = (gradient * step).sum()
        size = 1.0
        while (moved := value(coef + size * step)) > best + 1e-4 * size * slope and size > 1e-8:
            size /= 2
        if moved > best:
            break
        coef, best = coef + size * step, moved
        if -slope <= 1e-14 * best:
            break
    return coef


def label_objectives(problem, coef, intercept):
    """Work out every label's objective at given coefficients in float64; shape (n_labels,)."""
    return np.concatenate([value for value, _ in _by_labels(problem, coef, intercept, False)])


def label_minima(problem):
    """Certify the minima of all labels: (values at a tight fit, bounds of their errors)."""
    from skorch_logreg import MultiLabel, TorchLogisticClassifier

    single = TorchLogisticClassifier(
        C=problem.C, fit_intercept=problem.fit_intercept, tol=1e-7, max_iter=1000
    )
    model = MultiLabel(single).fit(problem.X.astype(np.float64, copy=False), problem.y)
    parts = list(_by_labels(problem, model.coef_, model.intercept_, True))
    return tuple(np.concatenate(part) for part in zip(*parts, strict=True))


def _by_labels(problem, coef, intercept, certify):
    """Yield (values, bounds) of labels, a block at a time.

    The bound: with b at its best for w, ``F - min F <= ||gradient_w||^2 / 2``, since the
    objective less ``||w||^2 / 2`` is convex, also after minimising over b.
    """
    X = problem.X.astype(np.float64, copy=False)
    coef = np.asarray(coef, dtype=np.float64)
    intercept = np.broadcast_to(np.asarray(intercept, dtype=np.float64).ravel(), (len(coef),))
    width = max(1, int(1e7) // X.shape[0])
    for start in range(0, len(coef), width):
        some = slice(start, start + width)
        W, b = coef[some], intercept[some]
        Y = problem.y[:, some]
        Y = Y.toarray() if sp.issparse(Y) else np.asarray(Y)
        z = X @ W.T
        for _ in range(30 if certify and problem.fit_intercept else 0):
            p = expit(z + b)
            b = b - (p - Y).sum(axis=0) / (p * (1 - p)).sum(axis=0)
        z += b
        value = problem.C * (np.logaddexp(0, z) - Y * z).sum(axis=0) + (W * W).sum(axis=1) / 2
        bound = np.zeros(len(W))
        if certify:
            gradient = problem.C * (X.T @ (expit(z) - Y)).T + W
            bound = (gradient * gradient).sum(axis=1) / 2
        yield value, bound
