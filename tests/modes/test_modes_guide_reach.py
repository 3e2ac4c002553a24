"""The guide of networks that know some taxa of a picture's lineage and not all."""

import numpy as np
import pytest
from ml_collections import FrozenConfigDict
from tiny_networks import asked, imported, network

from hiercam_keras import tables
from hiercam_keras.cam import targets
from hiercam_keras.errors import UserError
from hiercam_keras.modes import guide_evidence
from hiercam_keras.modes.load import open_run
from hiercam_keras.modes.settings import Settings
from hiercam_keras.runs import network as networks
from hiercam_keras.runs import run_folder

RANKS = ("order", "family", "genus", "species")


def known_rows(species: list[dict[str, str]], all_orders: bool = True) -> list[dict]:
    """Outputs for two species of the first family, the second family as a whole, and
    the second order as a whole: 20 pictures each of the families, 40 of the order."""
    orders = list(dict.fromkeys(row["order"] for row in species))
    first = [row for row in species if row["order"] == orders[0]]
    family, other = dict.fromkeys(row["family"] for row in first)
    rows = [row for row in first if row["family"] == family]
    rows.append({"order": orders[0], "family": other})
    return [*rows, {"order": orders[1]}] if all_orders else rows


@pytest.fixture
def run(config, tmp_path, species):
    rows = known_rows(species)
    return imported(config, tmp_path / "a", network(len(rows)), rows)


def pictures(run, rank: str) -> dict[str, int]:
    """Name of a taxon -> pictures on its page, for a rank."""
    rows = tables.read_csv(run / "guide" / "taxa.csv")
    columns = zip(rows["rank"], rows["taxon"], rows["pictures"], strict=True)
    return {
        taxon.rsplit("/", 1)[-1]: int(count)
        for at, taxon, count in columns
        if at == rank
    }


def test_a_picture_counts_down_to_its_finest_known_taxon(config, run, species, drawn):
    said = asked("guide", config, run, drawn)
    rows = known_rows(species)
    assert pictures(run, "order") == {rows[0]["order"]: 40, rows[3]["order"]: 40}
    assert pictures(run, "family") == {rows[0]["family"]: 20, rows[2]["family"]: 20}
    assert pictures(run, "genus") == {rows[0]["genus"]: 20}
    assert set(pictures(run, "species").values()) == {10}
    assert (
        "Of 80 pictures, the network knows the order of 80, the family of 40, the "
        "genus of 20 and the species of 20: a picture counts down to the finest of "
        "its taxa that the network knows." in said
    )
    assert "left out" not in said and "Made of 80 pictures" in said
    shares = tables.read_csv(run / "guide" / "taxa.csv")
    assert all(0 <= float(one) <= 1 for one in shares["sure"] + shares["right"])


def test_the_steps_are_those_that_the_explainer_gives(config, run, drawn):
    """Of each picture by itself, asked about its own path by names and labels."""
    flags = FrozenConfigDict(config)
    settings = Settings(mode="guide", config=flags, data_dir=str(drawn))
    data = open_run(settings, run_folder.read(run))
    net = networks.load(data.run, data.config)
    found = guide_evidence.collect(net, data, "test", RANKS, 0.3)
    assert len(found.records) == 80
    labels = {rank: found.labels(rank) for rank in RANKS}
    depth = sum((labels[rank] >= 0).astype(int) for rank in RANKS)
    assert np.bincount(depth).tolist() == [0, 40, 20, 0, 20]
    explain = net.explainer(data.config.cam.layer, data.config.cam.method)
    with data.loader("test") as loader:
        image_of = {
            one: image
            for batch in loader.epoch(0)
            for one, image in zip(batch.example_ids, batch.images, strict=True)
        }
    for row in (int(np.flatnonzero(depth == d)[0]) for d in (1, 2, 4)):
        record = found.records[row]
        entry = found.maps.get(record.example_id)
        for k, rank in enumerate(RANKS):
            label = int(labels[rank][row])
            assert entry.label[k] == label
            if label < 0:
                assert entry.trivial[k] and not entry.cam[k].any()
                assert found.blank(rank)[row] and np.isnan(found.sure(rank)[row])
                assert not found.right(rank)[row] and not found.chosen(rank)[row]
                continue
            image = image_of[record.example_id][None]
            alone = explain(image, targets.step(rank, label))
            np.testing.assert_allclose(entry.cam[k], alone.cams[0, 0], atol=1e-6)
            assert found.sure(rank)[row] == pytest.approx(
                np.exp(alone.scores[0, 0]), abs=1e-5
            )


def test_pictures_of_no_known_taxon_are_left_out(config, tmp_path, species, drawn):
    rows = known_rows(species, all_orders=False)
    run = imported(config, tmp_path / "a", network(len(rows)), rows)
    said = asked("guide", config, run, drawn)
    assert "the network knows the family of 40, the genus of 20 and the" in said
    assert "40 of no known taxon are left out." in said
    assert pictures(run, "family") == {rows[0]["family"]: 20, rows[2]["family"]: 20}


def test_a_network_that_knows_none_of_the_pictures(config, tmp_path, drawn):
    rows = [{"order": "Squamata", "family": name} for name in ("Boidae", "Gekkonidae")]
    run = imported(config, tmp_path / "a", network(2), rows)
    with pytest.raises(UserError, match="knows the taxon of none of 80 images"):
        asked("guide", config, run, drawn)
    assert not (run / "guide").exists()


def test_sigmoids_have_no_steps_and_no_guide(config, tmp_path, species, drawn):
    run = imported(
        config, tmp_path / "a", network(len(species), "sigmoid"), species,
        **{"model.activation": "sigmoid"},
    )  # fmt: skip
    with pytest.raises(UserError, match="independent.*--mode=cam.*--mode=compare"):
        asked("guide", config, run, drawn)
    assert not (run / "guide").exists()
