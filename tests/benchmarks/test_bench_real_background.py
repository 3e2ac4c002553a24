"""What a network uses of background and bird, by hand-made networks and figures."""

import numpy as np
import pytest
from scipy.special import logsumexp
from small_tree import tree

from benchmarks.real import background, background_page, page, removal
from hiercam_keras import tables
from hiercam_keras.cam.score_space import ScoreSpace

TREE = tree()
SPACE = ScoreSpace({"species": 7}, TREE)
SIZE, BOX, MARGIN = 16, (4, 5, 10, 12), 2
RNG = np.random.default_rng(0)
PICTURE = RNG.uniform(0, 255, (SIZE, SIZE, 3)).astype(np.float32)
OTHERS = [RNG.uniform(0, 255, PICTURE.shape).astype(np.float32) for _ in range(3)]


def labels_of(leaf):
    ranks = ("order", "family", "genus", "species")
    return {rank: int(TREE.labels([TREE.lineages[leaf]], rank)[0]) for rank in ranks}


def changes(margin=MARGIN):
    return removal.changed(PICTURE, BOX, OTHERS, np.random.default_rng(1), margin)


def reader(mask):
    """A network of the mean color of a mask, and of the contrast in it."""
    weights = np.random.default_rng(2).normal(size=(4, 7)) / 20

    def network(pictures):
        seen = pictures.astype(np.float64)[:, mask]  # (B, pixels, 3)
        read = np.concatenate([seen.mean(1), seen.std(1).mean(1, keepdims=True)], 1)
        return read @ weights

    return network


def test_masks_leave_out_the_margin():
    outside, inside = removal.masks(BOX, SIZE, MARGIN)
    assert inside.sum() == 6 * 7
    assert inside[5:12, 4:10].all()
    assert (~outside).sum() == (6 + 4) * (7 + 4)
    assert not (outside & inside).any()
    # A box beyond the picture: no background below and on the right.
    outside, inside = removal.masks((4, 4, 99, 99), SIZE, 0)
    assert inside[4:, 4:].all()
    assert (outside == ~inside).all()
    assert outside.sum() == SIZE**2 - 12**2


@pytest.mark.parametrize("part", ["background", "bird"])
def test_a_network_that_reads_one_part_has_all_its_effects_there(part):
    outside, inside = removal.masks(BOX, SIZE, MARGIN)
    read, not_read = (
        ("background", "bird") if part == "background" else ("bird", "background")
    )
    network = reader(outside if part == "background" else inside)
    for asked in (0, 3, 6):
        (found,) = removal.falls(network, SPACE, PICTURE, changes(), [labels_of(asked)])
        for name, numbers in found.items():
            if name[0] == "step" and np.isnan(numbers["value"]):
                continue  # an only child
            for how in removal.PARTS[not_read]:
                assert numbers[f"{not_read}_{how}"] == 0.0
            for how in removal.PARTS[read]:
                assert abs(numbers[f"{read}_{how}"]) > 1e-4
                moved = "elsewhere" if read == "background" else "elsewhere_bird"
                assert abs(numbers[f"{moved}_{how}"]) > 1e-4
            # Of the whole picture this part is all that counts.
            both = [numbers[f"{one}_mean"] for one in (read, "all")]
            assert both[0] == pytest.approx(both[1], rel=1e-5, abs=1e-6)


def test_what_is_not_replaced_keeps_its_bytes():
    outside, inside = removal.masks(BOX, SIZE, MARGIN)
    found = changes()
    assert tuple(found) == removal.CHANGES
    for (part, how), pictures in found.items():
        one = part in ("background", "bird", "all") and how != "other"
        assert pictures.shape == (1 if one else 3, SIZE, SIZE, 3)
        assert pictures.dtype == np.float32
        differs = (pictures != PICTURE).any(-1)
        if part in ("background", "bird"):
            mask = outside if part == "background" else inside
            np.testing.assert_array_equal(differs, np.broadcast_to(mask, differs.shape))
        if part.startswith("elsewhere"):
            mask = inside if part == "elsewhere_bird" else outside
            assert (differs.sum((1, 2)) == mask.sum()).all()  # the same area
    for place, other in enumerate(OTHERS):
        np.testing.assert_array_equal(found["all", "other"][place], other)
        np.testing.assert_array_equal(
            found["background", "other"][place][outside], other[outside]
        )


def test_a_blur_is_made_of_its_own_pixels():
    """A white bird before a black background: no gray on either side of the edge."""
    _, inside = removal.masks(BOX, SIZE, 0)
    picture = np.where(inside[..., None], 255.0, 0.0) * np.ones(3)
    for mask in (inside, ~inside):
        np.testing.assert_allclose(
            removal.blurred(picture, mask, 0.2), picture, atol=1e-3
        )
    noise = removal.blurred(PICTURE, ~inside, 0.2)
    assert noise[~inside].std() < PICTURE[~inside].std() / 3


def test_scores_are_log_odds_among_the_rank_and_among_the_siblings():
    logits = np.random.default_rng(3).normal(size=(5, 7)) * 2
    shares = np.exp(logits - logsumexp(logits, axis=1, keepdims=True))
    for leaf in range(7):
        labels = labels_of(leaf)
        found = removal.scores(SPACE, logits, labels)
        for rank, label in labels.items():
            below = np.asarray(TREE.parents("species", rank)) == label
            p = shares[:, below].sum(1)
            np.testing.assert_allclose(found["log_odds", rank], np.log(p / (1 - p)))
            np.testing.assert_allclose(
                found["marginal", rank], logsumexp(logits[:, below], axis=1)
            )
            for step, name in ((False, "log_odds"), (True, "step")):
                mine, rest = background.columns_of(SPACE, rank, [label] * 5, step)
                if not rest.any():
                    assert np.isnan(found["step", rank]).all()
                    continue
                by_columns = logsumexp(np.where(mine, logits, -np.inf), axis=1)
                by_columns -= logsumexp(np.where(rest, logits, -np.inf), axis=1)
                np.testing.assert_allclose(found[name, rank], by_columns)


NUMBERS = np.random.default_rng(4)
SPECIES = np.array([f"s{number}" for number in range(12)])


def test_shares_are_quotients_of_means():
    """Falls of 1 of 2, 3 of 6 and 0 of 4: 4 of 12, no mean of quotients."""
    part = np.array([1.0, 3, 0] * 4)
    whole = np.array([2.0, 6, 4] * 4)
    found = background_page.share(part, whole, SPECIES)
    assert found.value == pytest.approx(16 / 48)
    assert found.low < 1 / 3 < found.high
    assert np.isnan(background_page.share(part, -whole, SPECIES).value)


def test_a_score_in_other_units_has_the_same_share():
    whole = NUMBERS.uniform(2, 6, 12)
    part = whole * NUMBERS.uniform(0, 0.4, 12)
    same = background_page.difference((part, whole), (4 * part, 4 * whole), SPECIES)
    assert same.value == pytest.approx(0, abs=1e-12)
    assert same.low == pytest.approx(0, abs=1e-12)
    assert same.p == 1.0
    more = background_page.difference((part + 2, whole), (part, whole), SPECIES)
    assert more.value == pytest.approx(24 / whole.sum())
    assert more.low > 0
    assert more.p == pytest.approx(2 / 2**12)  # all signs alike, or all turned


def _table(photographs, score, rank, value):
    """Rows of background_<network>.csv with one fall everywhere."""
    names = ["_".join(change) for change in removal.CHANGES]
    return [
        {
            "photograph": photograph,
            "species": photograph,
            "asked": "predicted",
            "score": score,
            "rank": rank,
            **dict.fromkeys(names, value),
        }
        for photograph in photographs
    ]


def test_pairs_are_of_the_photographs_that_have_both(tmp_path):
    rows = _table("abcd", "step", "family", 1.0) + _table("dbx", "step", "genus", 2.0)
    path = tables.write_csv(tmp_path / "t.csv", list(rows[0]), rows)
    found = background_page.read(tables.read_csv(path), "predicted")
    family, genus = found["step", "family"].both(found["step", "genus"])
    assert family.photographs.tolist() == genus.photographs.tolist() == ["b", "d"]
    assert family.of["all_blur"].tolist() == [1, 1]
    assert genus.of["all_blur"].tolist() == [2, 2]
    assert background_page.read(tables.read_csv(path), "true") == {}  # nobody asked


def test_the_tables_of_the_page_have_the_documented_columns():
    found = tables.read_csv(page.DOCS / "real" / "background_lite0.csv")
    assert list(found) == background.columns()
    maps = tables.read_csv(page.DOCS / "real" / "background_maps.csv")
    assert list(maps) == background.map_columns()
    assert set(maps["map"]) == set(background.ASKED)
