"""The rule that sorts maps, by hand and by its properties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hiercam_keras.metrics import coherence
from hiercam_keras.metrics.coherence import Thresholds

RULE = Thresholds(min_excess=0.25, max_stray=0.0, min_gain=0.1, max_loss=-0.05)
# energy, chance, gain of deletion and of insertion -> verdict, basis
CASES = [
    ((0.6, 0.2, 0.3, 0.1), "coherent", "place+faithfulness"),
    ((0.6, 0.2, -0.3, -0.1), "undecided", "place+faithfulness"),  # they disagree
    ((0.1, 0.2, 0.3, 0.3), "undecided", "place+faithfulness"),
    ((0.1, 0.2, -0.3, 0.0), "incoherent", "place+faithfulness"),
    ((0.3, 0.2, 0.3, 0.3), "coherent", "place+faithfulness"),  # excess 0.125: neither
    ((0.3, 0.2, 0.0, 0.0), "undecided", "place+faithfulness"),
    ((0.3, 0.2, -0.2, 0.0), "incoherent", "place+faithfulness"),
    ((0.625, 0.5, None, None), "coherent", "place"),  # excess 0.25, just enough
    ((0.2, 0.2, None, None), "incoherent", "place"),  # as a uniform map
    ((None, None, 0.15, 0.06), "coherent", "faithfulness"),
    ((None, None, None, 0.12), "coherent", "faithfulness"),
    ((None, None, -0.2, 0.1), "incoherent", "faithfulness"),
    ((0.9, None, None, None), "undecided", "nothing"),
    ((1.0, 1.0, None, None), "undecided", "nothing"),  # the object is everywhere
]


@pytest.mark.parametrize("values,verdict,basis", CASES)
def test_verdicts_by_hand(values, verdict, basis):
    arrays = [np.array([np.nan if v is None else v]) for v in values]
    found = coherence.coherence([False], *arrays, thresholds=RULE)
    assert (found.verdict[0], found.basis[0]) == (verdict, basis)


def test_a_map_that_shows_nothing_is_incoherent_whatever_else():
    found = coherence.coherence([True, False], [0.9, 0.9], [0.1, 0.1])
    assert found.verdict.tolist() == ["incoherent", "coherent"]
    assert found.basis.tolist() == ["degenerate", "place"]
    assert found.counts() == {"coherent": 1, "incoherent": 1, "undecided": 0}


def test_excess_does_not_depend_on_the_size_of_the_object():
    """0 at chance, 1 on the object only, the mean of both half way."""
    chance = np.array([0.05, 0.3, 0.8])
    none = [False] * 3
    assert coherence.coherence(none, chance, chance).excess == pytest.approx([0] * 3)
    assert coherence.coherence(none, np.ones(3), chance).excess == pytest.approx(1)
    half = coherence.coherence(none, (1 + chance) / 2, chance)
    assert half.excess == pytest.approx([0.5] * 3)


values = st.floats(-1, 1)


@settings(max_examples=60, deadline=None)
@given(st.floats(0, 1), st.floats(0.01, 0.99), values, values, st.floats(0, 0.5))
def test_a_better_map_is_never_sorted_lower(energy, chance, down, up, more):
    order = {"incoherent": 0, "undecided": 1, "coherent": 2}

    def verdict(energy, down, up):
        arrays = [np.array([v]) for v in (energy, chance, down, up)]
        return order[coherence.coherence([False], *arrays).verdict[0]]

    base = verdict(energy, down, up)
    assert verdict(min(energy + more, 1), down, up) >= base
    assert verdict(energy, down + more, up) >= base
    assert verdict(energy, down, up + more) >= base


def test_thresholds_that_contradict_and_arrays_that_do_not_fit():
    with pytest.raises(ValueError, match="coherence.max_stray=0.3 and .*min_excess"):
        Thresholds(max_stray=0.3)
    with pytest.raises(ValueError, match="max_loss"):
        Thresholds(min_gain=-1)
    with pytest.raises(ValueError, match=r"values \(2,\) for maps \(1,\)"):
        coherence.coherence([False], [0.1, 0.2])
