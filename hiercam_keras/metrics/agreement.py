"""Similarity of two maps of the same picture.

Every function takes two (..., h, w) arrays that broadcast and returns one value per
pair, shape (...). All but `containment` are symmetric. Functions of the energy treat a
map without energy as uniform; correlations with a constant map are 0.
"""

from typing import Any

import numpy as np
import scipy.ndimage
import scipy.sparse

from hiercam_keras.maps import energy, minmax, positive
from hiercam_keras.metrics.concentration import centroid
from hiercam_keras.metrics.maps import top_area

_PAIRS_AT_ONCE = 8  # in one linear program: half the time of one by one


def pearson(a: Any, b: Any) -> np.ndarray:
    """Pearson's correlation of the pixels: -1 .. 1; 0 if a map is constant."""
    a, b = _pair(positive(a), positive(b))
    return _correlation(_flat(a), _flat(b))


def spearman(a: Any, b: Any) -> np.ndarray:
    """Spearman's rank correlation of the pixels: -1 .. 1; 0 if a map is constant.

    Tied pixels share the mean of their ranks.
    """
    from scipy.stats import rankdata  # takes a second to import

    a, b = _pair(positive(a), positive(b))
    ranks = (rankdata(_flat(maps), axis=-1) for maps in (a, b))
    return _correlation(*ranks)


def ssim(a: Any, b: Any, sigma: float = 1.5, radius: int = 5) -> np.ndarray:
    """Mean structural similarity of the min-max maps: -1 .. 1; 1 if they are equal.

    Wang et al. 2004 (IEEE TIP 13, 600-612) with its constants: a Gaussian window of
    sigma 1.5 and 11 x 11 pixels, K1 = 0.01, K2 = 0.03, dynamic range 1, biased
    moments, averaged where the window fits. On maps too small for one window, edges
    are mirrored and all pixels averaged. A constant map becomes zeros first.
    """
    a, b = _pair(minmax(a), minmax(b))

    def smooth(values):
        return scipy.ndimage.gaussian_filter(
            values, sigma, radius=radius, mode="reflect", axes=(-2, -1)
        )

    mean_a, mean_b = smooth(a), smooth(b)
    var_a = smooth(a * a) - mean_a**2
    var_b = smooth(b * b) - mean_b**2
    covariance = smooth(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    index = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    index /= (mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)
    if min(a.shape[-2:]) > 2 * radius:
        index = index[..., radius:-radius, radius:-radius]
    return index.mean(axis=(-2, -1))


def iou_at_equal_area(a: Any, b: Any, share: float = 0.2) -> np.ndarray:
    """Intersection over union of the two regions of the highest values: 0 .. 1.

    Both regions have `share` of the area exactly, so a large map gains nothing. Ties
    at the cutoff count as if each map broke them at random: the zeros that fill up
    the region of a small map agree by chance only. A map that is positive on less
    than `share` of the area scores below 1 against itself, and a constant map scores
    the chance level share/(2 - share) against any map.
    """
    a, b = _pair(top_area(a, share), top_area(b, share))
    both = (a * b).sum(axis=(-2, -1))
    return both / (a.sum(axis=(-2, -1)) + b.sum(axis=(-2, -1)) - both)


def containment(fine: Any, coarse: Any, share: float = 0.2) -> np.ndarray:
    """Share of the fine map's energy in the coarse map's top region: 0 .. 1.

    The region is `share` of the area, which is what a uniform fine map scores, and
    what any map scores against a uniform coarse one: the chance level.

    Args:
      fine, coarse: (..., h, w), maps at a finer and a coarser rank.
      share: 0 < share <= 1, of the pixels.
    """
    values, region = _pair(energy(fine), top_area(coarse, share))
    return (values * region).sum(axis=(-2, -1))


def centroid_shift(a: Any, b: Any) -> np.ndarray:
    """Distance between the centers of energy: 0 .. sqrt 2, in image sides."""
    first, second = centroid(a), centroid(b)
    return np.linalg.norm(first - second, axis=-1)


def earth_movers_distance(a: Any, b: Any, cells: int = 8) -> np.ndarray:
    """Exact earth mover's distance of the energies with city-block ground distance.

    Maps are averaged down to at most `cells` x `cells`. For the city-block distance
    optimal transport is a least-cost flow between neighboring cells (Ling and Okada
    2007, IEEE TPAMI 29, 840-853): a linear program with some 4 cells^2 unknowns
    instead of cells^4, solved by HiGHS, a few pairs in one program.

    Args:
      a, b: (..., h, w).
      cells: largest number of cells along each axis.

    Returns:
      (...): work per energy in image sides; 0 .. 2. Equal maps give 0.

    Raises:
      RuntimeError: the solver finds no solution.
    """
    from scipy.optimize import linprog  # slow to import

    a, b = _pair(_coarsen(energy(a), cells), _coarsen(energy(b), cells))
    height, width = a.shape[-2:]
    balance, costs = _grid_flow(height, width)
    excess = (a - b).reshape(-1, height * width)
    # Without the mean, round-off would make the program infeasible.
    excess -= excess.mean(axis=1, keepdims=True)
    work = np.zeros(len(excess))
    todo = np.flatnonzero(np.abs(excess).max(axis=1) >= 1e-12)
    for start in range(0, len(todo), _PAIRS_AT_ONCE):
        rows = todo[start : start + _PAIRS_AT_ONCE]
        # One equation is redundant, because the flow is conserved.
        answer = linprog(
            np.tile(costs, len(rows)),
            A_eq=scipy.sparse.block_diag([balance[:-1]] * len(rows), format="csr"),
            b_eq=excess[rows, :-1].ravel(),
            method="highs",
        )
        if answer.status != 0:
            raise RuntimeError(f"no transport found: {answer.message}")
        work[rows] = answer.x.reshape(len(rows), -1) @ costs
    return work.reshape(a.shape[:-2])


def agreement_measures(
    fine: Any, coarse: Any, share: float = 0.2
) -> dict[str, np.ndarray]:
    """All measures but the earth mover's distance, by name, one value per pair.

    Names: pearson, spearman, ssim, iou, containment, centroid_shift.

    Args:
      fine, coarse: (..., h, w).
      share: of the pixels, for iou and containment.
    """
    return {
        "pearson": pearson(fine, coarse),
        "spearman": spearman(fine, coarse),
        "ssim": ssim(fine, coarse),
        "iou": iou_at_equal_area(fine, coarse, share),
        "containment": containment(fine, coarse, share),
        "centroid_shift": centroid_shift(fine, coarse),
    }


def _pair(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, ...]:
    if a.shape[-2:] != b.shape[-2:]:
        raise ValueError(
            f"maps have shapes {a.shape} and {b.shape}, expected the same h and w: "
            "resize both to the model input"
        )
    return np.broadcast_arrays(a, b)


def _flat(maps: np.ndarray) -> np.ndarray:
    return maps.reshape(*maps.shape[:-2], -1)


def _correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pearson's r along the last axis; 0 where a side is constant."""
    constant = (np.ptp(a, axis=-1) == 0) | (np.ptp(b, axis=-1) == 0)
    a = a - a.mean(axis=-1, keepdims=True)
    b = b - b.mean(axis=-1, keepdims=True)
    # Scaled before squaring, so that tiny values do not underflow.
    a, b = (
        np.divide(v, top, out=np.zeros_like(v), where=top > 0)
        for v in (a, b)
        for top in [np.abs(v).max(axis=-1, keepdims=True)]
    )
    norm = np.sqrt((a * a).sum(axis=-1) * (b * b).sum(axis=-1))
    r = np.divide(
        (a * b).sum(axis=-1),
        norm,
        out=np.zeros_like(norm),
        where=~constant & (norm > 0),
    )
    return np.clip(r, -1.0, 1.0)


def _coarsen(maps: np.ndarray, cells: int) -> np.ndarray:
    """Sums of energy over at most cells x cells equal cells; exact at any size."""
    rows = _pooling(maps.shape[-2], min(cells, maps.shape[-2]))
    columns = _pooling(maps.shape[-1], min(cells, maps.shape[-1]))
    return rows @ maps @ columns.T


def _pooling(size: int, cells: int) -> np.ndarray:
    """(cells, size): the share of each pixel that is in each cell."""
    edges = np.arange(cells + 1) * size / cells
    pixel = np.arange(size)
    over = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    return np.clip(over, 0, 1)


def _grid_flow(height: int, width: int):
    """Flows between neighboring cells: (cells, flows) of outflow, and their costs."""
    cell = np.arange(height * width).reshape(height, width)
    pairs = [
        (cell[:, :-1].ravel(), cell[:, 1:].ravel(), 1 / width),
        (cell[:-1].ravel(), cell[1:].ravel(), 1 / height),
    ]
    source = np.concatenate([p for a, b, _ in pairs for p in (a, b)])
    target = np.concatenate([p for a, b, _ in pairs for p in (b, a)])
    costs = np.concatenate([np.full(2 * len(a), cost) for a, _, cost in pairs])
    flow = np.arange(len(costs))
    values = np.concatenate([np.ones(len(flow)), -np.ones(len(flow))])
    places = (np.concatenate([source, target]), np.concatenate([flow, flow]))
    balance = scipy.sparse.csr_array(
        (values, places), shape=(height * width, len(flow))
    )
    return balance, costs
