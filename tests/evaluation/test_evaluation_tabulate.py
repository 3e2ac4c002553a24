"""What is left out of tables: questions that were not asked about a picture."""

import numpy as np

from hiercam_keras.evaluation import tabulate
from hiercam_keras.metrics import agreement, belief
from hiercam_keras.taxonomy.lineage import Lineage
from hiercam_keras.taxonomy.tree import Taxonomy


def test_maps_are_compared_where_both_questions_were_asked():
    rng = np.random.default_rng(0)
    maps = rng.uniform(size=(3, 4, 6, 6))
    maps /= maps.sum((2, 3), keepdims=True)
    trivial = np.array([[0, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0]], bool)
    found = tabulate._pairs("abc", list(zip(maps, trivial, strict=True)))
    assert list(found) == [("a", "b"), ("a", "c"), ("b", "c")]
    expected = agreement.agreement_measures(maps[1], maps[2])
    for name, values in found["b", "c"].items():
        assert np.isnan(values).tolist() == [True, True, False, False]
        if name in expected:
            np.testing.assert_array_equal(values[2:], expected[name][2:])
    assert np.isnan(found["a", "c"]["pearson"]).tolist() == [False, True, False, False]


def test_no_answer_is_surer_than_one():
    """Sums of rounded probabilities may be, and a threshold is compared with them."""
    ranks = ("genus", "species")
    tree = Taxonomy(Lineage(one, ranks) for one in ("Aa", "Ab", "Ac", "Bd"))
    shares = np.array([[0.5, 0.3, 0.2 + 3e-7, 0.0], [1.0, 1e-12, 0.0, 0.0]])
    found = belief.paths(shares, tree, "species")
    np.testing.assert_allclose(found.probabilities, [[1, 0.5], [1, 1]], atol=1e-9)
    assert found.probabilities.max() == 1
