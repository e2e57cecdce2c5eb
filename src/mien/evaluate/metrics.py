"""The field's metrics by name: scikit-learn's and torchmetrics' where they have them, else ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mien.core.decades import decades as decades
from mien.evaluate import clustering
from mien.evaluate.retrieval import map_at_r, precision_at_1, r_precision
from mien.evaluate.verification import accept_rate, equal_error_rate

Numbers = npt.NDArray[Any]


@dataclass(frozen=True)
class Metric:
    """A number that tells how good predictions are.

    Attributes:
        name: as results quote it.
        compute: of (targets, predictions); what both are is in the function's docstring.
        takes: whether predictions are classes (n,), or the numbers themselves.
        higher_is_better: the direction.
    """

    name: str
    compute: Callable[[Numbers, Numbers], float]
    takes: Literal["classes", "numbers"] = "numbers"
    higher_is_better: bool = True

    def read(self, predictions: Numbers) -> Numbers:
        """Return predictions as this metric takes them: of (n, c) scores the best class, where needed."""
        if self.takes == "classes" and predictions.ndim == 2:
            return np.asarray(predictions.argmax(axis=1))
        return predictions


def accuracy(targets: Numbers, predictions: Numbers) -> float:
    """Return the share of (n,) predicted classes that are right."""
    from sklearn.metrics import accuracy_score

    return float(accuracy_score(targets, predictions))


def balanced_accuracy(targets: Numbers, predictions: Numbers) -> float:
    """Return the mean over the classes of the share of their items that are found; (n,) classes."""
    from sklearn.metrics import balanced_accuracy_score

    return float(balanced_accuracy_score(targets, predictions))


def macro_f1(targets: Numbers, predictions: Numbers) -> float:
    """Return the mean over the classes of the harmonic mean of precision and recall; (n,) classes."""
    from sklearn.metrics import f1_score

    return float(f1_score(targets, predictions, average="macro", zero_division=0))


def f1(targets: Numbers, predictions: Numbers) -> float:
    """Return the harmonic mean of precision and recall of the class 1; (n,) 0 or 1, 0 where none is found."""
    from sklearn.metrics import f1_score

    return float(f1_score(targets, predictions, zero_division=0))


def precision(targets: Numbers, predictions: Numbers) -> float:
    """Return the share of what is called 1 that is 1; (n,) 0 or 1, 0 where nothing is."""
    from sklearn.metrics import precision_score

    return float(precision_score(targets, predictions, zero_division=0))


def recall(targets: Numbers, predictions: Numbers) -> float:
    """Return the share of what is 1 that is called 1; (n,) 0 or 1."""
    from sklearn.metrics import recall_score

    return float(recall_score(targets, predictions, zero_division=0))


def cohen_kappa(targets: Numbers, predictions: Numbers) -> float:
    """Return agreement beyond chance of (n,) classes (Cohen 1960)."""
    from sklearn.metrics import cohen_kappa_score

    return float(cohen_kappa_score(targets, predictions))


def roc_auc(targets: Numbers, scores: Numbers) -> float:
    """Return the area under the ROC curve: (n,) 0 or 1 and scores; (n,) classes and (n, c) probabilities.

    Several classes are each judged against the rest, and averaged without weights.
    """
    from sklearn.metrics import roc_auc_score

    if scores.ndim == 1:
        return float(roc_auc_score(targets, scores))
    return float(np.mean([roc_auc_score(targets == c, scores[:, c]) for c in _present(targets, scores)]))


def average_precision(targets: Numbers, scores: Numbers) -> float:
    """Return the area under the precision-recall curve as average precision; arguments as `roc_auc`."""
    from sklearn.metrics import average_precision_score

    if scores.ndim == 1:
        return float(average_precision_score(targets, scores))
    return float(
        np.mean([average_precision_score(targets == c, scores[:, c]) for c in _present(targets, scores)])
    )


def mean_average_precision(targets: Numbers, scores: Numbers) -> float:
    """Return the mean over k attributes of their average precision; both are (n, k), targets 0 or 1.

    Attributes that all items have, or none, are left out. All at once: a verdict draws thousands of times.
    """
    order = np.argsort(-scores, axis=0, kind="stable")
    right = np.take_along_axis(np.asarray(targets, np.float64), order, axis=0)
    ranked = np.take_along_axis(scores, order, axis=0)
    # Of equal scores all are taken together: each item counts as far as the last of its equals.
    count = len(ranked)
    ends = np.concatenate([ranked[1:] != ranked[:-1], np.ones((1, ranked.shape[1]), bool)])
    reach = np.where(ends, np.arange(count)[:, None], count)
    reach = np.minimum.accumulate(reach[::-1], axis=0)[::-1]
    precision = np.take_along_axis(right.cumsum(axis=0), reach, axis=0) / (reach + 1)
    total = right.sum(axis=0)
    told = (total > 0) & (total < count)
    return float(np.mean((precision * right).sum(axis=0)[told] / total[told]))


def _present(targets: Numbers, scores: Numbers) -> list[int]:
    """Return the classes that some items have and some have not: only of these can a curve be drawn."""
    return [c for c in range(scores.shape[1]) if 0 < int((targets == c).sum()) < len(targets)]


def mae(targets: Numbers, predictions: Numbers) -> float:
    """Return the mean absolute error of (n,) values, in their unit."""
    from sklearn.metrics import mean_absolute_error

    return float(mean_absolute_error(targets, predictions))


def mae_over_decades(targets: Numbers, predictions: Numbers) -> float:
    """Return the mean over the decades of (n,) ages of their mean absolute error, in years."""
    decade = decades(targets)
    return float(np.mean([mae(targets[decade == d], predictions[decade == d]) for d in np.unique(decade)]))


def rmse(targets: Numbers, predictions: Numbers) -> float:
    """Return the root of the mean squared error of (n,) values, in their unit."""
    from sklearn.metrics import root_mean_squared_error

    return float(root_mean_squared_error(targets, predictions))


def correlation(targets: Numbers, predictions: Numbers) -> float:
    """Return Pearson's correlation of (n,) values; 0 when either is constant."""
    if np.ptp(targets) == 0 or np.ptp(predictions) == 0:
        return 0.0
    return float(np.corrcoef(targets, predictions)[0, 1])


def ccc(targets: Numbers, predictions: Numbers) -> float:
    """Return Lin's concordance correlation coefficient (1989) of (n,) values, by moments over n.

    2 s_xy / (s_x^2 + s_y^2 + (m_x - m_y)^2). torchmetrics divides its moments by n - 1, the challenges on
    affect (AVEC, ABAW) by n; 0 when both are the same constant.
    """
    x, y = np.asarray(targets, np.float64), np.asarray(predictions, np.float64)
    together = float(((x - x.mean()) * (y - y.mean())).mean())
    apart = float(x.var() + y.var() + (x.mean() - y.mean()) ** 2)
    return 2 * together / apart if apart > 0 else 0.0


def sagr(targets: Numbers, predictions: Numbers) -> float:
    """Return the share of (n,) values of the right sign (Nicolaou et al. 2011; AffectNet, Eq. 5); 0 is +."""
    return float(np.mean((np.asarray(targets) >= 0) == (np.asarray(predictions) >= 0)))


def icc31(targets: Numbers, predictions: Numbers) -> float:
    """Return the intraclass correlation ICC(3,1) of (n,) values (Shrout and Fleiss 1979): two fixed raters.

    (BMS - EMS) / (BMS + (k - 1) EMS) with k = 2; a constant offset between both does not count.
    """
    ratings = np.stack([targets, predictions], axis=1).astype(np.float64)
    items, raters = ratings.shape
    grand = ratings.mean()
    between = raters * float(((ratings.mean(axis=1) - grand) ** 2).sum()) / (items - 1)
    rest = ratings - ratings.mean(axis=1, keepdims=True) - ratings.mean(axis=0, keepdims=True) + grand
    error = float((rest**2).sum()) / ((items - 1) * (raters - 1))
    total = between + (raters - 1) * error
    return (between - error) / total if total > 0 else 0.0


def krippendorff_alpha(ratings: Numbers, *, interval: bool = False) -> float:
    """Return Krippendorff's alpha (2011, "Computing Krippendorff's alpha-reliability") by coincidences.

    Args:
        ratings: (raters, items); NaN where a rater gave none.
        interval: values differ by their squared distance instead of by being other classes (nominal).

    Returns:
        1 for full agreement, 0 for chance; 1 when only one value was ever given.
    """
    table = np.asarray(ratings, np.float64)
    values = np.unique(table[~np.isnan(table)])
    counts = np.stack([(table == value).sum(axis=0) for value in values], axis=1).astype(np.float64)
    counts = counts[counts.sum(axis=1) >= 2]
    each = counts.sum(axis=1)
    pairs = np.einsum("uc,uk->uck", counts, counts)
    pairs[:, range(len(values)), range(len(values))] -= counts
    coincidences = (pairs / (each - 1)[:, None, None]).sum(axis=0)
    marginal = coincidences.sum(axis=1)
    total = marginal.sum()
    distance = (values[:, None] - values[None]) ** 2 if interval else 1.0 - np.eye(len(values))
    observed = float((coincidences * distance).sum())
    expected = float((np.outer(marginal, marginal) * distance).sum()) / max(total - 1, 1)
    return 1 - observed / expected if expected > 0 else 1.0


def rater_alpha(targets: Numbers, predictions: Numbers) -> float:
    """Return Krippendorff's nominal alpha of (n,) classes; the network is a rater (AffectNet, 5.2)."""
    return krippendorff_alpha(np.stack([targets, predictions]))


def cumulative_score(targets: Numbers, predictions: Numbers, within: float = 5.0) -> float:
    """Return CS@k: the share of (n,) values whose absolute error is at most `within` (Geng et al. 2007)."""
    return float(np.mean(np.abs(np.asarray(targets) - np.asarray(predictions)) <= within))


def interval_coverage(targets: Numbers, intervals: Numbers) -> float:
    """Return the share of (n,) values that lie in their (n, 2) intervals, both ends included."""
    inside = (targets >= intervals[:, 0]) & (targets <= intervals[:, 1])
    return float(np.mean(inside))


def similarity_of_one(targets: Numbers, similar: Numbers) -> float:
    """Return the mean of (n,) similarities over pairs of one person, whose targets are 1.

    What VGGFace2 reports of templates across pose and age (Cao et al. 2018, Section V). It says little
    without the similarity of two people, which rises with it where embeddings crowd together.
    """
    return float(np.mean(similar[np.asarray(targets).astype(bool)]))


def ece(targets: Numbers, probabilities: Numbers, bins: int = 15) -> float:
    """Return the expected calibration error of (n,) classes and (n, c) probabilities (Naeini et al. 2015).

    The confidence of the predicted class in equal bins: the mean of |accuracy - confidence| by their sizes.
    """
    import torch
    from torchmetrics.functional.classification import multiclass_calibration_error

    value = multiclass_calibration_error(
        torch.as_tensor(np.asarray(probabilities, np.float32)),
        torch.as_tensor(np.asarray(targets, np.int64)),
        num_classes=probabilities.shape[1],
        n_bins=bins,
        norm="l1",
    )
    return float(value)


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        metric.name: metric
        for metric in (
            Metric("accuracy", accuracy, takes="classes"),
            Metric("balanced accuracy", balanced_accuracy, takes="classes"),
            Metric("macro F1", macro_f1, takes="classes"),
            Metric("F1", f1, takes="classes"),
            Metric("precision", precision, takes="classes"),
            Metric("recall", recall, takes="classes"),
            Metric("Cohen's kappa", cohen_kappa, takes="classes"),
            Metric("Krippendorff's alpha", rater_alpha, takes="classes"),
            Metric("ROC AUC", roc_auc),
            Metric("AUC-PR", average_precision),
            Metric("mean AP", mean_average_precision),
            Metric("MAE", mae, higher_is_better=False),
            Metric("MAE over decades", mae_over_decades, higher_is_better=False),
            Metric("RMSE", rmse, higher_is_better=False),
            Metric("CORR", correlation),
            Metric("CCC", ccc),
            Metric("SAGR", sagr),
            Metric("ICC(3,1)", icc31),
            Metric("CS@5", cumulative_score),
            Metric("ECE", ece, higher_is_better=False),
            Metric("TAR at FAR 1 %", partial(accept_rate, false_accepts=0.01)),
            Metric("TAR at FAR 0.1 %", partial(accept_rate, false_accepts=0.001)),
            Metric("EER", equal_error_rate, higher_is_better=False),
            Metric("similarity of one person", similarity_of_one),
            # Of groups: a part of the people drawn anew has copies of their faces, which are in one group.
            Metric("pairwise F", clustering.pairwise_f),
            Metric("pairwise precision", clustering.pairwise_precision),
            Metric("pairwise recall", clustering.pairwise_recall),
            Metric("B-cubed F", clustering.bcubed_f),
            Metric("B-cubed precision", clustering.bcubed_precision),
            Metric("B-cubed recall", clustering.bcubed_recall),
            Metric("NMI", clustering.mutual_information),
            Metric("P@1", precision_at_1),
            Metric("R-precision", r_precision),
            Metric("MAP@R", map_at_r),
        )
    }
)
"""Every metric by the name that claims and results use."""
