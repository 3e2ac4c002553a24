import dataclasses
import hashlib
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
    # 1,000 species of one image and a large one: neither is preferred.
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


SIZES = {
    "even": (60, 100, 30),
    "few": (5, 3, 2),
    "one each": (1,) * 40,
    "mixed": (1, 2, 3, 17, 40, 9, 1, 6),
    "two": (2,),
    "three": (1, 1, 1),
}
FRACTIONS = {
    "usual": (0.78, 0.11, 0.11),
    "no test": (0.9, 0.1, 0.0),
    "rare": (0.98, 0.01, 0.01),
    "equal": (0.4, 0.3, 0.3),
}
# Digests of the splits before there were groups: of seeds 0 and 7, then
# the same with every fourth image in an official test split.
GOLDEN = {
    ("even", "usual"): "35b6280fa1fb 26deef561901 e7f61d1708cc 39ffa3207154",
    ("even", "no test"): "9ad79033f973 5e861b7e6324 7b7c8daf4f0b 95fd27798dc1",
    ("even", "rare"): "6d00195e8647 c699e3821db3 266ea2a0b459 0bdee0c22274",
    ("even", "equal"): "a023bf410664 0d2cba564579 d34ad01ce5e7 acc6a57257f3",
    ("few", "usual"): "425db08f3f66 8dbc09046e14 e6d557dc0216 3a736a3eead7",
    ("few", "no test"): "18ad5b04ea06 b0fd1924ab97 e6d557dc0216 3a736a3eead7",
    ("few", "rare"): "425db08f3f66 10f5c0bc1965 e6d557dc0216 3a736a3eead7",
    ("few", "equal"): "aa883a21fab2 e72874f6515a ce1f5d1f01e4 f06795e93d6f",
    ("one each", "usual"): "934d4f7d3f06 df3056a0d613 8ef616c8c80e 70dd748b913b",
    ("one each", "no test"): "1e1b58e268f1 05b564350267 8ef616c8c80e 70dd748b913b",
    ("one each", "rare"): "5f825575af62 789d5addfa66 8a4576502e44 ccdb78e351db",
    ("one each", "equal"): "1656cd9f9a05 f01ab49dedeb 4eb104ebd4e6 7902789e48b6",
    ("mixed", "usual"): "4e4af62a5b79 3812f97af810 3758080580a3 d8ee6cd5be42",
    ("mixed", "no test"): "cca31e009ace c49ef762c873 18d81e63ca27 d31298f601f6",
    ("mixed", "rare"): "49f42c4f5e82 724164b0354c 9dc028285720 d14b56528d72",
    ("mixed", "equal"): "27ff0a493fbf 0f2edaf2e314 a9e2428f4d02 548262072130",
    ("two", "usual"): "16de8a907ce0 16de8a907ce0 e7b083e621f5 e7b083e621f5",
    ("two", "no test"): "16de8a907ce0 16de8a907ce0 e7b083e621f5 e7b083e621f5",
    ("two", "rare"): "16de8a907ce0 16de8a907ce0 e7b083e621f5 e7b083e621f5",
    ("two", "equal"): "991640a258c2 991640a258c2 e7b083e621f5 e7b083e621f5",
    ("three", "usual"): "0875a578c9f7 962d9afa8eda cc34c6c8ebb5 cc34c6c8ebb5",
    ("three", "no test"): "1423d385dc82 76303175e17a cc34c6c8ebb5 cc34c6c8ebb5",
    ("three", "rare"): "0875a578c9f7 962d9afa8eda cc34c6c8ebb5 cc34c6c8ebb5",
    ("three", "equal"): "0875a578c9f7 962d9afa8eda ea172cdeda97 644e860767b1",
}


@pytest.mark.parametrize("sizes, fractions", GOLDEN)
def test_splits_without_groups_are_those_of_before(sizes, fractions):
    found = []
    for official in (False, True):
        records = make_records(*SIZES[sizes])
        if official:
            records = [
                dataclasses.replace(r, split="train" if i % 4 else "test")
                for i, r in enumerate(records)
            ]
        for seed in (0, 7):
            split = splits.split_records(records, seed, FRACTIONS[fractions], {})
            text = repr((split.train, split.val, split.test, split.note))
            found.append(hashlib.sha256(text.encode()).hexdigest()[:12])
            # Groups of one image each are no groups.
            alone = {r.example_id: r.example_id for r in records}
            again = splits.split_records(records, seed, FRACTIONS[fractions], alone)
            assert again == split
    assert " ".join(found) == GOLDEN[sizes, fractions]


def test_a_split_that_can_be_read():
    """As it was before there were groups."""
    split = splits.split_records(make_records(4, 3, 2), 1, (0.5, 0.25, 0.25))
    assert split.train == (
        *("00000_x/0.jpg", "00000_x/1.jpg"),
        *("00001_x/0.jpg", "00001_x/2.jpg"),
        "00002_x/1.jpg",
    )
    assert split.val == ("00000_x/3.jpg", "00002_x/0.jpg")
    assert split.test == ("00000_x/2.jpg", "00001_x/1.jpg")


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=12),
    st.integers(0, 3),
    st.randoms(use_true_random=False),
    st.integers(1, 12),
)
def test_no_group_is_divided(sizes, seed, shuffler, largest):
    """For any groups, also across species."""
    records = make_records(*sizes)
    ids = [record.example_id for record in records]
    shuffler.shuffle(ids)
    groups = {}
    while ids:
        many = shuffler.randint(1, largest)
        if many > 1:
            groups |= dict.fromkeys(ids[:many], f"g{len(ids)}")
        ids = ids[many:]
    split = splits.split_records(records, seed, groups=groups)
    assert split.divided(groups) == {}
    train, val, test = parts(split)
    assert train | val | test == {r.example_id for r in records}
    assert len(train) + len(val) + len(test) == len(records)
    again = splits.split_records(records[::-1], seed, groups=groups)
    assert again == split
    units = len(records) - len(groups) + len(set(groups.values()))
    if units >= 3 and groups:
        assert train and val and test
    # A part may lack what no group fits into, or have one group too many.
    for part, share in ((val, 0.11), (test, 0.11)):
        assert abs(len(part) - share * len(records)) <= largest + 1


def test_large_groups_are_dealt_by_their_size():
    """20 visits of 50 photographs: 15.6, 2.2 and 2.2 of them are wanted."""
    records = make_records(1000)
    groups = {r.example_id: str(i // 50) for i, r in enumerate(records)}
    split = splits.split_records(records, 0, groups=groups)
    assert [len(part) for part in parts(split)] == [800, 100, 100]
    # And where no visit fits into val or test, each has the smallest there is.
    sizes = [300, 280, 260, 90, 70]
    groups, done = {}, 0
    for size in sizes:
        chosen = [r.example_id for r in records[done : done + size]]
        groups |= dict.fromkeys(chosen, str(size))
        done += size
    split = splits.split_records(records, 0, (0.94, 0.03, 0.03), groups)
    assert [len(part) for part in parts(split)] == [840, 70, 90]


def test_official_splits_win_over_groups():
    records = make_records(50, 50)
    marked = [
        dataclasses.replace(r, split="test" if i % 5 == 0 else "train")
        for i, r in enumerate(records)
    ]
    ids = [r.example_id for r in marked]
    # 0 is in test and 1 in train; 2 to 4 are in train.
    groups = {ids[0]: "a", ids[1]: "a", ids[2]: "b", ids[3]: "b", ids[4]: "b"}
    split = splits.split_records(marked, 0, groups=groups)
    assert set(split.test) == {r.example_id for r in marked if r.split == "test"}
    where = {one: name for name in ("train", "val") for one in getattr(split, name)}
    assert split.divided(groups) == {"a": {ids[0]: "test", ids[1]: where[ids[1]]}}
    assert where[ids[2]] == where[ids[3]] == where[ids[4]]


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


@pytest.mark.parametrize("wrong", [(0.8, 0.1), (0.8, 0.1, 0.2), (-0.5, 1, 0.5)])
def test_wrong_fractions(wrong):
    with pytest.raises(UserError, match="fractions"):
        splits.split_records(make_records(9), 0, wrong)


def test_a_split_without_train():
    """For a network that is not trained here."""
    split = splits.split_records(make_records(9), 0, (0, 1, 0))
    assert (len(split.train), len(split.val), len(split.test)) == (0, 9, 0)
    split = splits.split_records(make_records(10), 0, (0, 0.5, 0.5))
    assert (len(split.train), len(split.val), len(split.test)) == (0, 5, 5)


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
