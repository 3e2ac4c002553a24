"""--mode=calibrate, and the believed names of eval and predict."""

import shutil

import numpy as np
import pytest
import tiny_birds

from hiercam_keras import tables, workdir
from hiercam_keras.data import splits
from hiercam_keras.errors import UserError
from hiercam_keras.modes import belief as rules
from hiercam_keras.modes import calibrate
from hiercam_keras.runs import run_folder
from hiercam_keras.taxonomy.lineage import Lineage
from hiercam_keras.taxonomy.tree import Taxonomy

SPECIES = {"rank": ("species",)}


@pytest.fixture(scope="module")
def run(trained, tmp_path_factory):
    """A copy of the species run, with thresholds that were set by hand."""
    folder = tmp_path_factory.mktemp("calibrated") / "run"
    shutil.copytree(trained.path("species"), folder)
    return folder


def set_thresholds(run, **values):
    ranks = [
        {"rank": rank, "threshold": value, "pictures": 9, "named": 9, "right": 9}
        for rank, value in values.items()
    ]
    about = {
        "schema_version": rules.SCHEMA_VERSION,
        "accuracy": 0.9,
        "confidence_level": 0.9,
        "ranks": ranks,
    }
    workdir.write_json(run / "belief.json", about)


def boxes_of(birds, folder):
    """A file of detections with a box in each image."""
    images = [
        {
            "file": path.relative_to(birds / "images").as_posix(),
            "detections": [
                {"category": "1", "conf": 0.9, "bbox": [0.2, 0.2, 0.6, 0.6]}
            ],
        }
        for path in sorted((birds / "images").rglob("*.jpg"))
    ]
    kinds = {"1": "animal"}
    content = {"info": {"format_version": "1.4"}, "detection_categories": kinds}
    workdir.write_json(folder / "md.json", {**content, "images": images})
    return str(folder / "md.json")


def test_training_keeps_a_calibration_part_apart(config, birds, tmp_path):
    said = {"train.epochs": 1, "believe.calibration": 0.5}
    tiny_birds.run("train", config, rank=("species",), fields=said)
    config.update_from_flattened_dict(said)
    (folder,) = (tmp_path / "runs").rglob("split")
    apart = splits.load(folder)
    config.believe.calibration = 0.0
    whole_val = {*apart.val, *apart.calibration}
    assert apart.val and apart.calibration
    assert len(whole_val) == len(apart.val) + len(apart.calibration)
    assert abs(len(apart.val) - len(apart.calibration)) <= 1
    found = tiny_birds.run("calibrate", config, **SPECIES)
    run = folder.parent
    about = workdir.read_json(run / "belief.json")
    assert f"{len(apart.calibration)} images kept apart from val" == about["pictures"]
    # The same where the images were moved, and of crops of their animals.
    again = tiny_birds.run(
        "calibrate", config, data_dir=str(birds / "images"), workdir=str(run), **SPECIES
    )
    assert again.splitlines()[0] == about["pictures"]
    fields = {"detections.file": boxes_of(birds, tmp_path)}
    crops = tiny_birds.run(
        "calibrate", config, workdir=str(run), fields=fields, **SPECIES
    )
    assert crops.splitlines()[0].startswith(about["pictures"])
    with pytest.raises(UserError, match="the val images of .* were used by its train"):
        tiny_birds.run("calibrate", config, split="val", chosen_split=True, **SPECIES)
    # Four pictures cannot promise anything.
    assert {row["threshold"] for row in about["ranks"]} == {None}
    assert "No name is believed, and nothing is promised" in found
    assert "ask for less with a lower --config.believe.accuracy (now 0.9)" in found
    assert {row["pictures"] for row in about["ranks"]} == {len(apart.calibration)}


def test_a_carved_part_takes_from_val_alone():
    split = splits.Split(
        train=tuple("ab"), val=tuple(f"v{i:02}" for i in range(20)), test=("t",)
    )
    found = splits.calibration_apart(split, 0.5, seed=3)
    assert (found.train, found.test) == (split.train, split.test)
    assert len(found.calibration) == 10
    assert sorted(found.val + found.calibration) == list(split.val)
    # Another image in val moves none of the others but at the border.
    more = splits.Split(split.train, (*split.val, "x"), split.test)
    again = splits.calibration_apart(more, 0.5, seed=3).calibration
    assert len(set(found.calibration) - set(again)) <= 1
    pairs = {name: f"pair{i // 2}" for i, name in enumerate(split.val)}
    grouped = splits.calibration_apart(split, 0.5, seed=3, groups=pairs)
    assert not grouped.divided(pairs)
    assert len(grouped.calibration) == 10
    assert splits.calibration_apart(split, 0, seed=3) is split
    with pytest.raises(UserError, match=r"believe.calibration is 1\b"):
        splits.calibration_apart(split, 1, seed=3)
    one = {name: "one" for name in split.val}
    with pytest.raises(UserError, match="20 val images in 1 group leaves one part"):
        splits.calibration_apart(split, 0.5, seed=3, groups=one)


def test_a_run_without_images_of_its_own_says_what_to_do(trained):
    with pytest.raises(UserError, match="has no images to calibrate on") as error:
        tiny_birds.run("calibrate", trained.config, **SPECIES)
    for way in ("--config.believe.calibration=0.5", "--data_dir", "--split=test"):
        assert way in str(error.value)


def test_images_of_the_training_are_refused(trained, image_folder):
    with pytest.raises(UserError, match="were used by the training"):
        tiny_birds.run(
            "calibrate", trained.config, data_dir=str(image_folder), **SPECIES
        )


def test_crops_of_images_of_the_training_are_refused(trained, birds, tmp_path):
    fields = {"detections.file": boxes_of(birds, tmp_path)}
    with pytest.raises(UserError, match="were used by the training"):
        tiny_birds.run(
            "calibrate",
            trained.config,
            data_dir=str(birds / "images"),
            fields=fields,
            **SPECIES,
        )


def test_images_of_the_user(run, trained, birds, tmp_path, caplog):
    """Pictures in other folders, which are matched by name; those of the training are
    left out under any name."""
    split = splits.load(trained.path("species") / "split")
    for example_id in (*split.test, *split.train[:2], *split.val[:1]):
        name = example_id.replace("/", "/new_")
        (tmp_path / "new" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(birds / "images" / example_id, tmp_path / "new" / name)
    said = tiny_birds.run(
        "calibrate",
        trained.config,
        workdir=str(run),
        data_dir=str(tmp_path / "new"),
        fields={"believe.accuracy": 0.3, "believe.confidence_level": 0.5},
        **SPECIES,
    )
    assert "3 images were left out that have the pixels of images of the" in caplog.text
    about = workdir.read_json(run / "belief.json")
    assert about["accuracy"] == 0.3
    assert [row["pictures"] for row in about["ranks"]] == [len(split.test)] * 4
    assert "With 50 % confidence" in said
    # The same answers as eval's, counted at the threshold.
    order = about["ranks"][0]
    assert order["threshold"] is not None and order["right"] >= 0.3 * order["named"]


def test_images_of_unknown_taxa_alone_are_refused(run, trained, birds, tmp_path):
    set_thresholds(run, order=0.5)
    before = (run / "belief.json").read_text()
    name = "00000_Plantae_Tracheophyta_Rosopsida_Fagales_Fagaceae_Quercus_ilex"
    folder = tmp_path / name
    folder.mkdir()
    tested = splits.load(trained.path("species") / "split").test[:2]
    for number, example_id in enumerate(tested):
        shutil.copy(birds / "images" / example_id, folder / f"new{number}.jpg")
    with pytest.raises(UserError, match="knows the taxon of none of 2 images of"):
        tiny_birds.run(
            "calibrate",
            trained.config,
            workdir=str(run),
            data_dir=str(tmp_path),
            **SPECIES,
        )
    assert (run / "belief.json").read_text() == before


def test_eval_writes_believed_names(run, trained):
    set_thresholds(run, order=0.0, family=0.0, genus=0.0, species=None)
    said = tiny_birds.run("eval", trained.config, workdir=str(run), **SPECIES)
    folder = run / "eval" / "test"
    believed = tables.read_csv(folder / "believed.csv")
    assert set(believed["believed_rank"]) == {"genus"}
    assert set(believed["next_rank"]) == {"species"}
    columns = tables.read_csv(folder / "believed_ranks.csv")
    cells = zip(*columns.values(), strict=True)
    rows = [dict(zip(columns, one, strict=True)) for one in cells]
    own = {row["rank"]: row for row in rows if row["rule"] == "calibrated"}
    assert own["species"]["named"] == "0" and own["genus"]["named"] == "9"
    names = {row["rule"] for row in rows}
    assert {"calibrated", "rollup", "top-1 order", "top-1 species"} <= names
    accuracy = tables.read_csv(folder / "accuracy.csv")
    top = [r for r in rows if r["rule"] == "top-1 order" and r["rank"] == "order"][0]
    assert float(top["accuracy"]) == pytest.approx(float(accuracy["accuracy"][0]))
    assert (folder / "risk_coverage.png").is_file()
    assert "believed names, calibrated (accuracy 0.9 at level 0.9)" in said


def test_eval_says_that_its_images_are_those_of_the_calibration(run, trained):
    asked = {"workdir": str(run), **SPECIES}
    tiny_birds.run(
        "calibrate", trained.config, split="test", chosen_split=True, **asked
    )
    words = "These are the images of the calibration"
    assert words in tiny_birds.run("eval", trained.config, split="test", **asked)
    assert words not in tiny_birds.run("eval", trained.config, split="val", **asked)


def test_a_taxon_without_a_name_is_believed_as_the_one_above():
    tree = Taxonomy(
        Lineage(taxa, ("order", "family", "species"))
        for taxa in [
            ("Anseriformes", "Anatidae", "Anatidae sp."),
            ("Anseriformes", "Anatidae", "Anas acuta"),
            ("Anseriformes", "Anhimidae", "Anhimidae sp."),
            ("Gruiformes", "Gruidae", "Grus grus"),
        ]
    )
    labels = [tree.find(n)[1] for n in ("Anatidae sp.", "Anas acuta", "Anhimidae sp.")]
    shares = np.full((3, 4), 0.01)
    shares[np.arange(3), labels] = 0.97
    found = rules.judged(rules.FIXED, shares, tree, "species")
    assert [found.paths.ranks[at] for at in found.depth] == [
        "family",
        "species",
        "family",
    ]


def test_predict_says_where_belief_ends(run, trained, tmp_path):
    set_thresholds(run, order=0.0, family=2.0, genus=2.0, species=2.0)
    path = tmp_path / "found.csv"
    said = tiny_birds.run(
        "predict", trained.config, workdir=str(run), out=str(path), top_k=9, **SPECIES
    )
    rows = tables.read_csv(tmp_path / "found_believed.csv")
    assert set(rows["believed_rank"]) == {"order"}
    best = tables.read_csv(path)
    shares = {
        key: float(share)
        for *key_, share in zip(
            best["example_id"],
            best["rank"],
            best["taxon"],
            best["probability"],
            strict=True,
        )
        for key in [tuple(key_)]
    }
    for values in zip(*rows.values(), strict=True):
        row = dict(zip(rows, values, strict=True))
        image, rank = row["example_id"], row["next_rank"]
        for name in ("next", "second"):
            if row[f"{name}_taxon"]:
                share = shares[image, rank, row[f"{name}_taxon"]]
                assert float(row[f"{name}_probability"]) == pytest.approx(share)
    assert "believed: " in said and " sp., " in said


def test_the_report_has_the_believed_names(run, trained, tmp_path):
    set_thresholds(run, order=0.0, family=0.0, genus=0.0, species=2.0)
    flags = {"runs": (str(run), str(trained.path("family"))), "out": str(tmp_path)}
    tiny_birds.run("compare", trained.config, **flags)
    rows = tables.read_csv(tmp_path / "believed.csv")
    assert set(rows["model"]) == {"species"} and len(rows["model"]) == 9
    assert set(rows["believed_rank"]) == {"genus"}
    page = (tmp_path / "index.html").read_text()
    assert "believed: " in page and " sp., " in page
    (run / "belief.json").unlink()
    again = tmp_path / "again"
    tiny_birds.run("compare", trained.config, **{**flags, "out": str(again)})
    assert not (again / "believed.csv").exists()
    assert "believed: " not in (again / "index.html").read_text()


def test_figure_of_a_photo_says_where_belief_ends(run, trained, birds, tmp_path):
    photo = sorted((birds / "images").rglob("*.jpg"))[0]
    ways = {"workdir": str(run), "image": str(photo), "out": str(tmp_path)}
    figures = []
    for species in (2.0, 0.0):
        set_thresholds(run, order=0.0, family=0.0, genus=0.0, species=species)
        said = tiny_birds.run("cam", trained.config, **ways, **SPECIES)
        (line,) = [line for line in said.splitlines() if line.startswith("believed")]
        assert (" sp." in line) == (species == 2.0)
        figures.append((tmp_path / f"{photo.stem}.png").read_bytes())
    assert figures[0] != figures[1]


def test_sheet_of_a_photo(trained, birds):
    """The two children are the likeliest below the believed taxon, on one scale."""
    from hiercam_keras.cam import targets
    from hiercam_keras.data.records import Record
    from hiercam_keras.modes import belief_sheet
    from hiercam_keras.runs import network as networks

    this = run_folder.read(trained.path("species"))
    network = networks.load(this, trained.config)
    explain = network.explainer()
    image = np.random.default_rng(0).integers(0, 256, (48, 48, 3)).astype(np.uint8)
    result = explain(image[None], [targets.predicted()])
    rule = rules.Rule(rules.CALIBRATED, "by hand", {"order": 0.0, "family": 2.0})
    record = Record("a.jpg", None, network.taxonomy.lineages[0])
    found = belief_sheet.sheet(
        explain, image, result, "gradcam", rule, record, network.taxonomy
    )
    order = result.rank_probabilities("order")[0]
    best = int(order.argmax())
    assert found.name == f"{network.taxonomy.names('order')[best]} sp."
    assert found.probability == pytest.approx(order[best], abs=1e-6)
    assert found.shown.right == (best == 0)
    families = result.rank_probabilities("family")[0]
    below = network.taxonomy.descendants("order", best, "family")
    names = [network.taxonomy.names("family")[i] for i in below]
    order_ = np.argsort(-families[below])
    assert [child.name for child in found.shown.children] == [names[i] for i in order_]
    one, other = found.shown.children
    assert max(one.heatmap.max(), other.heatmap.max()) > 0.9
    # The two maps are the two signs of one difference.
    assert not np.any((one.heatmap > 0.2) & (other.heatmap > 0.2))
    nothing = rules.Rule(rules.CALIBRATED, "by hand", {"order": 2.0})
    found = belief_sheet.sheet(
        explain, image, result, "gradcam", nothing, record, network.taxonomy
    )
    assert found.name == "No name is believed"
    assert len(found.shown.children) == 2


def test_the_fixed_rule_needs_no_calibration(trained):
    said = tiny_birds.run(
        "eval", trained.config, fields={"believe.rule": "rollup"}, **SPECIES
    )
    assert "believed names, rollup: label above 0.8" in said
    with pytest.raises(UserError, match="believe.rule is 'sure'"):
        tiny_birds.run(
            "eval", trained.config, fields={"believe.rule": "sure"}, **SPECIES
        )


def test_thresholds_of_all_taxa_are_said_to_be_so(run, trained, caplog):
    set_thresholds(run, order=0.0, family=0.0, genus=0.0, species=0.0)
    taxonomy = run_folder.read(run).whole_taxonomy()
    names = ",".join(taxonomy.names("family")[:2])
    tiny_birds.run(
        "predict", trained.config, workdir=str(run), allowed_taxa=names, **SPECIES
    )
    assert "are of all taxa" in caplog.text


def test_more_epochs_drop_the_thresholds(run):
    this = run_folder.read(run)
    set_thresholds(run, order=0.0)
    run_folder.extend(this, 9)
    assert not (run / "belief.json").exists()


def test_one_picture_of_each_group():
    class Record:
        def __init__(self, example_id, group):
            self.example_id, self.group = example_id, group

    records = [Record(f"{i}", f"g{i % 3}") for i in range(9)]
    records += [Record("g0", None), Record("10", None)]
    chosen = calibrate.one_of_each_group(records, seed=0)
    assert len(chosen) == 5
    assert {record.group for record in chosen} == {"g0", "g1", "g2", None}
    others = [calibrate.one_of_each_group(records, seed) for seed in range(20)]
    picks = {tuple(record.example_id for record in one) for one in others}
    assert len(picks) > 1


def test_true_labels_of_partial_identifications(trained):
    from hiercam_keras.data.records import Record
    from hiercam_keras.metrics.belief import UNLABELLED
    from hiercam_keras.runs.truth import Truth
    from hiercam_keras.taxonomy.lineage import Lineage

    taxonomy = run_folder.read(trained.path("species")).whole_taxonomy()
    full = taxonomy.lineages[0]
    depth = len(full.ranks)
    genus = Lineage(full.taxa[: depth - 1], full.ranks[: depth - 1])
    other = Lineage((*full.taxa[: depth - 1], "nova"), full.ranks)
    records = [Record(str(i), None, one) for i, one in enumerate([full, genus, other])]
    found = rules.true_labels(records, Truth(taxonomy), ("genus", "species"))
    label = taxonomy.label(full, "genus")
    assert found["genus"].tolist() == [label] * 3
    assert found["species"].tolist() == [0, UNLABELLED, -1]
    assert np.all(found["genus"] >= 0)


def test_files_of_other_programs_name_the_believed_taxon(run, trained):
    from hiercam_keras.modes import answering
    from hiercam_keras.modes.settings import Settings
    from hiercam_keras.runs import network as networks
    from hiercam_keras.training.predict import Predictions

    this = run_folder.read(run)
    network = networks.load(this, trained.config)
    logits = np.zeros((3, 8), np.float32)
    logits[0, 5] = 9  # sure
    logits[1, 4:6] = 6  # of one family, or of one order at least
    found = Predictions(["a", "b", "c"], {"species": logits}, {})
    set_thresholds(run, order=0.9, family=0.9, genus=0.9, species=0.9)
    settings = Settings(mode="predict", config=trained.config)
    asked = (settings, this, trained.config, network, found)
    said, images = answering.named(*asked, 3)
    assert said == "the believed rank (calibrated (accuracy 0.9 at level 0.9))"
    assert images[0][0][:2] == ("species", 5) and len(images[0]) == 1
    rank, label, share = images[1][0]
    assert rank != "species" and share > 0.9
    assert 4 in network.taxonomy.descendants(rank, label, "species")
    assert images[2] == []
    (run / "belief.json").unlink()
    said, images = answering.named(*asked, 3)
    assert said == "species"
    assert [len(one) for one in images] == [3, 3, 3]
    assert images[0][0][:2] == ("species", 5)
