"""What is resampled where images are in groups, and that its intervals hold."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import burst_coverage
from hiercam_keras.metrics import clusters
from hiercam_keras.metrics.resampling import MIN_GROUPS


def labels(pairs):
    taxa, groups = zip(*pairs, strict=True)
    return clusters.independent(np.array(taxa), np.array(groups)).tolist()


def test_without_groups_it_is_the_taxa():
    taxa = np.array(["b", "a", "b"])
    assert clusters.independent(taxa) is taxa
    assert clusters.independent(taxa, np.array(["", "", ""])) is taxa


def test_groups_within_a_species_are_resampled_with_it():
    pairs = [(f"s{k:02d}", f"g{k}{j}") for k in range(12) for j in range(3)]
    assert labels(pairs) == [taxon for taxon, _ in pairs]


def test_species_that_share_a_group_are_one_set():
    pairs = [(f"s{k:02d}", f"g{k}") for k in range(14)]
    pairs += [("s03", "shared"), ("s01", "shared"), ("s07", "")]
    found = labels(pairs)
    assert found[1] == found[3] == found[-3] == found[-2] == "s01"
    assert found[-1] == found[7] == "s07"
    assert len(set(found)) == 13


def test_few_species_are_conditioned_on_and_groups_resampled():
    pairs = [(f"s{k}", f"g{k}-{j}") for k in range(3) for j in range(4)] + [("s0", "")]
    found = labels(pairs)
    assert found[:-1] == [group for _, group in pairs[:-1]]
    assert found[-1] == "image 12"
    # Deployments that see all species.
    visits = [(f"s{k:02d}", f"v{j}") for k in range(30) for j in range(MIN_GROUPS)]
    assert labels(visits) == [visit for _, visit in visits]
    # With too few of both there is one set: no interval.
    few = [(f"s{k:02d}", f"v{j}") for k in range(30) for j in range(4)]
    assert set(labels(few)) == {"s00"}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(10, 60), st.sampled_from(["", *map(str, range(99))])),
        min_size=1,
        max_size=60,
    )
)
def test_sets_share_neither_species_nor_groups(pairs):
    found = labels([(f"s{taxon}", group and f"g{group}") for taxon, group in pairs])
    if any(label.startswith(("g", "image")) for label in found):
        return  # groups alone
    for i, (taxon, group) in enumerate(pairs):
        for j, (other, same) in enumerate(pairs):
            if taxon == other or (group and group == same):
                assert found[i] == found[j]


def test_shapes():
    with pytest.raises(ValueError, match=r"expected \(N,\)"):
        clusters.independent(np.array(["a"]), np.array(["a", "b"]))


@pytest.mark.parametrize(
    ("name", "narrow"),
    [
        ("5 species, 20 bursts each, same species", ["images"]),
        ("30 species, 6 bursts each, other species", ["images", "groups"]),
        ("20 species, 25 visits of 4 species, same species", ["images", "species"]),
    ],
)
def test_intervals_of_bursts_hold(name, narrow):
    """Of 150 data sets; the standard error of a coverage of 95 % is 1.8 %."""
    found = burst_coverage.coverage(name, 150, seed=1, draws=300)
    assert found["program"][0] >= 0.92
    assert found["images"][0] < 0.8
    for method in narrow:
        assert found[method][0] < 0.9
        assert found[method][1] < found["program"][1]
