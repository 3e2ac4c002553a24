"""The tables of the two measurements of bursts."""

import numpy as np

from benchmarks import burst_coverage, burst_leak


def test_the_table_of_the_leak_has_means_over_the_seeds():
    found = {
        (0, "bursts divided"): burst_leak.Accuracy(80, 0.9, 0.8, 0.95, 0.5),
        (0, "bursts together"): burst_leak.Accuracy(80, 0.55, 0.4, 0.7, 0.5),
        (1, "bursts divided"): burst_leak.Accuracy(80, 0.8, 0.7, 0.9, 0.6),
        (1, "bursts together"): burst_leak.Accuracy(75, 0.55, 0.4, 0.7, 0.6),
    }
    rows = burst_leak.rows(found)
    assert rows[0] == [
        *("0", "bursts divided", "80", "0.900", "0.800 to 0.950", "0.500", "+0.400")
    ]
    assert rows[-2] == [
        *("mean", "bursts divided", "160", "0.850", "", "0.550", "+0.300")
    ]
    assert rows[-1] == [
        *("mean", "bursts together", "155", "0.550", "", "0.550", "+0.000")
    ]


def test_populations_have_the_accuracy_that_their_formula_says():
    """The mean over many data sets is the truth, within four standard errors."""
    rng = np.random.default_rng(0)
    for name, draw in burst_coverage.SCENARIOS.items():
        samples = [draw(rng) for _ in range(200)]
        gaps = np.array([one.hits.mean() - one.truth for one in samples])
        error = gaps.std(ddof=1) / np.sqrt(len(gaps))
        assert abs(gaps.mean()) < 4 * error, name
        for one in samples[:3]:
            assert one.hits.shape == one.taxa.shape == one.groups.shape
