import dataclasses
import pathlib
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hiercam_keras.data import sources, splits
from hiercam_keras.data.records import Record
from hiercam_keras.errors import UserError
from hiercam_keras.taxonomy.lineage import Lineage


def make_records(*sizes):
    """One species for each size."""
    records = []
    for k, size in enumerate(sizes):
        lineage = Lineage(("a", "b", "c", f"o{k % 2}", f"f{k % 4}", f"G{k}", f"s{k}"))
        records += [
            Record(f"{k:05d}_x/{i}.jpg", pathlib.Path(f"/{k}/{i}.jpg"), lineage)
            for i in range(size)
        ]
    return records


def parts(split):
    return [set(split.train), set(split.val), set(split.test)]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=25),
    st.integers(0, 5),
    st.randoms(use_true_random=False),
)
def test_any_listing_gives_one_split_without_overlap(sizes, seed, shuffler):
    records = make_records(*sizes)
    split = splits.split_records(records, seed)
    train, val, test = parts(split)
    assert train | val | test == {r.example_id for r in records}
    assert len(train) + len(val) + len(test) == len(records)
    shuffled = records[:]
    shuffler.shuffle(shuffled)
    assert splits.split_records(shuffled, seed) == split
    # Fractions hold overall, to the whole image (or the one that saves an empty part).
    for part, fraction in zip((train, val, test), (0.78, 0.11, 0.11), strict=True):
        assert abs(len(part) - fraction * len(records)) <= 2


def test_each_species_is_divided_by_the_fractions():
    records = make_records(60, 100, 30)
    split = splits.split_records(records, 3)
    assert split.note == ""
    for k, size in enumerate((60, 100, 30)):
        for part, fraction in zip(parts(split), (0.78, 0.11, 0.11), strict=True):
            mine = sum(name.startswith(f"{k:05d}") for name in part)
            # All but two images of a species are dealt exactly.
            assert int(fraction * size) <= mine <= int(fraction * size) + 2


def test_small_species_are_dealt_out_evenly_and_told():
    # 1,000 species of one image beside one large one: neither is preferred.
    records = make_records(*[1] * 1000, 1009)
    split = splits.split_records(records, 0)
    single = sum(not name.startswith("01000") for name in split.val)
    assert len(split.val) == round(0.11 * 2009)
    assert 100 <= single <= 111
    assert split.note.startswith("1000 of 1001 species")


def test_seed_changes_the_split():
    records = make_records(40, 40)
    assert (
        splits.split_records(records, 0).test != splits.split_records(records, 1).test
    )


def test_labels_of_other_ranks_do_not_matter(tmp_path):
    records = make_records(12, 9, 2, 1)
    # What a run at another rank sees: the same species, other ids of their classes.
    other = [
        dataclasses.replace(
            r, lineage=dataclasses.replace(r.lineage, class_id="9"), width=5
        )
        for r in reversed(records)
    ]
    splits.split_records(records, 0).save(tmp_path / "a")
    splits.split_records(other, 0).save(tmp_path / "b")
    for name in splits.NAMES:
        a = (tmp_path / "a" / f"{name}.txt").read_bytes()
        assert a == (tmp_path / "b" / f"{name}.txt").read_bytes()
        assert a.endswith(b"\n")


def test_known_split_stays_the_same():
    """A split on disk would be worth nothing if a new version dealt otherwise."""
    split = splits.split_records(make_records(5, 3, 2), 0)
    assert (len(split.train), len(split.val), len(split.test)) == (8, 1, 1)
    assert split.val == ("00001_x/0.jpg",)
    assert split.test == ("00002_x/1.jpg",)


def test_official_splits_win():
    records = make_records(50, 50)
    marked = [
        dataclasses.replace(r, split="test" if i % 5 == 0 else "train")
        for i, r in enumerate(records)
    ]
    split = splits.split_records(marked, 0)
    assert set(split.test) == {r.example_id for r in marked if r.split == "test"}
    assert len(split.val) == 11  # 0.11 of all 100, out of the training images
    assert "val carved" in split.note
    marked = [
        dataclasses.replace(r, split=("train", "validation", "test")[i % 3])
        for i, r in enumerate(records)
    ]
    split = splits.split_records(marked, 0)
    assert set(split.val) == {r.example_id for r in marked if r.split == "validation"}


def test_save_load_select(tmp_path):
    records = make_records(10, 10)
    split = splits.split_records(records[:15], 0)
    split.save(tmp_path / "split")
    loaded = splits.load(tmp_path / "split")
    assert parts(loaded) == parts(split)
    found, missing = loaded.select(records[1:], "train")
    wanted = [name for name in split.train if name != records[0].example_id]
    assert [r.example_id for r in found] == wanted
    assert missing == sorted({records[0].example_id} & set(split.train))
    assert loaded.unknown(records) == sorted(r.example_id for r in records[15:])
    with pytest.raises(UserError, match="train, val, test"):
        loaded.select(records, "holdout")


def test_damaged_splits_are_refused(tmp_path):
    split = splits.split_records(make_records(20), 0)
    split.save(tmp_path)
    (tmp_path / "val.txt").write_text(split.train[0] + "\n")
    with pytest.raises(UserError, match="two of train, val and test"):
        splits.load(tmp_path)
    (tmp_path / "test.txt").unlink()
    with pytest.raises(UserError, match=r"test\.txt is missing"):
        splits.load(tmp_path)


@pytest.mark.parametrize("wrong", [(0.8, 0.1), (0.8, 0.1, 0.2), (0, 0.5, 0.5)])
def test_wrong_fractions(wrong):
    with pytest.raises(UserError, match="fractions"):
        splits.split_records(make_records(9), 0, wrong)


def test_nothing_and_twice():
    with pytest.raises(UserError, match="no images"):
        splits.split_records([], 0)
    records = make_records(3)
    with pytest.raises(UserError, match="same example_id"):
        splits.split_records(records + records[:1], 0)


def test_real_photographs(real_data, data_config):
    source = sources.load(data_config, str(real_data / "bird_photos"))
    split = splits.split_records(source.records, 0)
    assert (len(split.train), len(split.val), len(split.test)) == (42, 6, 6)
    assert "of 53 species" in split.note
    shuffled = list(source.records)
    random.Random(1).shuffle(shuffled)
    assert splits.split_records(shuffled, 0) == split
