"""--rank=all: one model with a head at every rank, in every mode."""

import numpy as np
import pytest
import tiny_birds

from hiercam_keras import tables
from hiercam_keras.cam import Explainer, graph, store, targets
from hiercam_keras.errors import UserError
from hiercam_keras.models import files
from hiercam_keras.modes.multi_rank import tree_arrays, write_paths
from hiercam_keras.runs import run_folder
from hiercam_keras.taxonomy.lineage import parse_class_name
from hiercam_keras.taxonomy.tree import Taxonomy

RANKS = ("order", "family", "genus", "species")
FIELDS = {
    "train.epochs": 1,
    "train.hierarchical": "hxe",
    "train.consistency": 1.0,
    "train.filter_loss": 1.0,
    "train.loss_weights": (0.25, 0.5, 0.5, 1.0),
    "train.ema_momentum": 0.5,
    "train.mixup": 0.2,
    "train.backbone_rate": 0.5,
    "model.head_features": 8,
    "model.head_chain": "stop_gradient",
}


@pytest.fixture(scope="module")
def everything(tmp_path_factory, birds):
    """The config of a run at all ranks, and its folder."""
    config = tiny_birds.make_config(tmp_path_factory.mktemp("all"), birds)
    tiny_birds.run("train", config, rank=("all",), fields=FIELDS)
    (this,) = run_folder.find(config.runs_dir, [("all",)], 0)
    return config, this


def test_all_means_every_rank_with_more_than_one_taxon(everything):
    _, this = everything
    assert this.ranks == RANKS  # kingdom, phylum and class are one taxon each
    assert this.path.parent.name == "order+family+genus+species"
    log = tables.read_log(this.path / "log.csv")
    assert {"consistency", "filter_loss", "val_genus_accuracy"} <= set(log)
    weighted = sum(
        weight * log[f"{rank}_loss"][0]
        for rank, weight in zip(RANKS, FIELDS["train.loss_weights"], strict=True)
    )
    terms = log["consistency"][0] + log["filter_loss"][0]
    assert log["loss"][0] == pytest.approx(weighted + terms, rel=1e-4)


def test_eval_tells_every_rank_and_the_paths(everything):
    config, this = everything
    said = tiny_birds.run("eval", config, rank=("all",))
    folder = this.path / "eval" / "test"
    assert tables.read_csv(folder / "accuracy.csv")["rank"] == list(RANKS)
    paths = tables.read_csv(folder / "paths.csv")
    assert paths["head"] == ["order", "family", "genus", "all"]
    predicted = tables.read_csv(folder / "predictions.csv")
    taxonomy = this.taxonomy()
    names = {rank: taxonomy.names(rank) for rank in RANKS}
    answers = {
        r: [names[r].index(x) for x in predicted[f"predicted_{r}"]] for r in RANKS
    }
    together = np.ones(9, bool)
    for row, rank in enumerate(RANKS[:-1]):
        up = taxonomy.parents("species", rank)[answers["species"]]
        agree = up == np.array(answers[rank])
        together &= agree
        assert float(paths["consistent"][row]) == pytest.approx(agree.mean())
    assert float(paths["consistent"][3]) == pytest.approx(together.mean())
    assert f"on one path of the tree: {together.mean():.3f}" in said


def test_paths_by_hand(tmp_path):
    """Two families of two species; the heads disagree on the second of three images."""
    names = [f"{i:05d}_A_B_C_O_{f}_G{i}_s" for i, f in enumerate(("F", "F", "H", "H"))]
    taxonomy = Taxonomy(parse_class_name(name) for name in names)
    logits = {
        "family": np.eye(2)[[0, 0, 1]],
        "species": np.eye(4)[[1, 2, 3]],
    }
    labels = {"family": np.array([0, 1, 1]), "species": np.array([1, 2, 2])}
    write_paths(tmp_path / "paths.csv", logits, labels, taxonomy)
    rows = tables.read_csv(tmp_path / "paths.csv")
    assert rows["head"] == ["family", "all"]
    assert [float(x) for x in rows["consistent"]] == pytest.approx([2 / 3, 2 / 3])
    assert [float(x) for x in rows["right_path"]] == pytest.approx([1 / 3, 1 / 3])
    write_paths(tmp_path / "x.csv", {"family": logits["family"]}, labels, taxonomy)
    assert not (tmp_path / "x.csv").exists()
    arrays = tree_arrays(taxonomy, ("species", "family"))
    assert list(arrays)[-3:] == ["family", "genus", "species"]
    np.testing.assert_array_equal(arrays["family"], [0, 0, 1, 1])


def test_maps_of_all_ranks_come_from_one_forward_pass(everything, monkeypatch):
    _, this = everything
    model, metadata = files.load_model(this.model_path)
    passes = []
    real = graph.apply_with_deltas
    monkeypatch.setattr(
        graph, "apply_with_deltas", lambda *a: passes.append(1) or real(*a)
    )
    explain = Explainer(model, metadata["cam_layer"], taxonomy=this.taxonomy())
    images = np.random.default_rng(0).integers(0, 256, (2, 48, 48, 3), "uint8")
    result = explain(images, [targets.predicted(rank) for rank in RANKS])
    assert result.cams.shape == (2, 4, 6, 6) and len(passes) == 1
    # Each map is that of its own head: those of two heads differ.
    assert not np.allclose(result.cams[:, 0], result.cams[:, 3])


def test_cam_and_predict_answer_at_each_rank(everything, birds):
    config, this = everything
    said = tiny_birds.run("predict", config, rank=("all",))
    assert "genus" in said
    for rank in ("family", "species"):
        tiny_birds.run("cam", config, rank=("all",), target_rank=rank)
    stores = [path.parent for path in this.path.glob("maps/*/*.json")]
    assert (
        len({store.open(folder).meta["info"]["question"] for folder in set(stores)})
        == 2
    )
    photo = str(next((birds / "images").rglob("*.jpg")))
    said = tiny_birds.run("cam", config, rank=("all",), image=photo)
    assert all(rank in said for rank in RANKS)
    assert list((this.path / "cam").glob("*.png"))


@pytest.mark.slow
def test_compare_sets_its_heads_side_by_side(everything, tmp_path):
    config, this = everything
    tiny_birds.run(
        "compare", config, runs=(str(this.path),), out=str(tmp_path / "page")
    )
    assert (tmp_path / "page" / "index.html").is_file()


def test_heads_are_built_coarse_to_fine_in_whatever_order_they_are_named(
    everything, tmp_path, monkeypatch
):
    """Chained heads hang on it where two ranks have as many taxa."""
    from hiercam_keras.modes import train

    config = everything[0].copy_and_resolve_references()
    config.runs_dir = str(tmp_path)

    def build(config, num_labels, **_):
        raise UserError(",".join(num_labels))

    monkeypatch.setattr(train, "build", build)
    with pytest.raises(UserError, match="^order,genus,species$"):
        tiny_birds.run("train", config, rank=("species", "order", "genus"))


def test_all_is_not_mixed_with_other_ranks(everything):
    config, _ = everything
    with pytest.raises(UserError, match="names all and other ranks"):
        tiny_birds.run("train", config, rank=("all", "family"))
