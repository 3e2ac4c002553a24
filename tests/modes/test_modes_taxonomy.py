"""data.taxonomy and --taxonomy: names of another taxonomy in the modes."""

import csv
import shutil
from dataclasses import replace

import keras
import numpy as np
import pytest
import tiny_birds
from ml_collections import ConfigDict

from hiercam_keras import api, tables, workdir
from hiercam_keras.cam import store
from hiercam_keras.data import sources
from hiercam_keras.data.records import Record
from hiercam_keras.errors import UserError
from hiercam_keras.models import files
from hiercam_keras.modes import find_runs, taxonomies, usage
from hiercam_keras.runs import run_folder
from hiercam_keras.runs.network import Network
from hiercam_keras.taxonomy import name_table, translation
from hiercam_keras.taxonomy.lineage import Lineage, parse_class_name
from hiercam_keras.taxonomy.tree import Taxonomy
from hiercam_keras.training import forward

RANKS = ("order", "family", "genus", "species")


@pytest.fixture(scope="module")
def whole(trained) -> Taxonomy:
    """Of the run at species: two orders of two families of one genus of two species."""
    return run_folder.read(trained.path("species")).whole_taxonomy()


@pytest.fixture(scope="module")
def table(whole, tmp_path_factory):
    """The first family is in an order of its own and its genus is divided; the third
    and the fourth species are one."""
    path = tmp_path_factory.mktemp("table") / "list2030.csv"
    with open(path, "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("name", *RANKS))
        for number, name in enumerate(whole.names("species")):
            taxa = list(whole.lineages[number].taxa[3:])
            if number < 2:
                taxa[0], taxa[2] = "Novaformes", f"Novus{number}"
            if number == 3:
                taxa[3] = whole.lineages[2].taxa[-1]
            rows.writerow((name, *taxa))
    workdir.write_json(
        path.with_suffix(".json"), {"name": "List", "version": "v3", "year": 2030}
    )
    return path


@pytest.fixture(scope="module")
def predicted(trained, table, tmp_path_factory):
    """Shares by image, rank and taxon, under both taxonomies."""
    folder, found = tmp_path_factory.mktemp("predicted"), []
    for number, asked in enumerate((None, str(table))):
        path = folder / f"{number}.csv"
        said = tiny_birds.run(
            "predict",
            trained.config,
            rank=("species",),
            taxonomy=asked,
            top_k=8,
            out=str(path),
        )
        assert ("taxonomy: List v3 (2030)" in said) == (number == 1)
        rows = tables.read_csv(path)
        assert ("taxonomy" in rows) == (number == 1)
        keys = zip(rows["example_id"], rows["rank"], rows["taxon"], strict=True)
        found.append(dict(zip(keys, map(float, rows["probability"]), strict=True)))
    return found


def test_marginals_follow_the_new_tree(predicted, whole):
    was, now = predicted
    names, images = whole.names("species"), {image for image, *_ in was}
    for image in images:
        shares = [was[image, "species", name] for name in names]
        assert now[image, "species", names[2]] == pytest.approx(
            shares[2] + shares[3], abs=1e-5
        )
        for i in (0, 1):  # the genus that was divided answers as its parts
            epithet = whole.lineages[i].taxa[-1]
            share = now[image, "species", f"Novus{i} {epithet}"]
            assert share == pytest.approx(shares[i], abs=1e-5)
            assert now[image, "genus", f"Novus{i}"] == pytest.approx(share, abs=1e-5)
        new = now[image, "order", "Novaformes"]
        assert new == pytest.approx(shares[0] + shares[1], abs=1e-5)
        family = whole.names("family")[0]
        assert now[image, "family", family] == pytest.approx(new, abs=1e-5)
    assert not any(rank == "class" for _, rank, _ in now)  # no rank of the table


def test_eval_under_another_taxonomy(trained, table, whole):
    config = trained.config
    said = tiny_birds.run("eval", config, rank=("species",), taxonomy=str(table))
    assert "taxonomy: List v3 (2030)" in said
    folder = trained.path("species") / "taxonomy-list2030" / "eval" / "test"
    about = workdir.read_json(folder / "hierarchy.json")
    assert about["taxonomy"] == {"name": "List", "version": "v3", "year": 2030}
    changes = tables.read_csv(folder / "taxonomy_changes.csv")
    expected = ["other order, other genus"] * 2 + ["lumped"] * 2
    assert list(changes["change"]) == expected
    rows = tables.read_csv(folder / "predictions.csv")
    tiny_birds.run("eval", config, rank=("species",))
    plain = trained.path("species") / "eval" / "test"
    assert "taxonomy" not in workdir.read_json(plain / "hierarchy.json")
    before = tables.read_csv(plain / "predictions.csv")
    assert set(rows["true_order"]) == {"Novaformes", *whole.names("order")}
    names = whole.names("species")
    same = dict(zip(names, names, strict=True)) | {names[3]: names[2]}
    for i in (0, 1):
        same[names[i]] = f"Novus{i} {whole.lineages[i].taxa[-1]}"
    assert [same[name] for name in before["true_species"]] == list(rows["true_species"])
    certain = np.array(before["probability_species"], float) > 0.5
    was = np.array([same[name] for name in before["predicted_species"]])
    assert np.array_equal(np.array(rows["predicted_species"])[certain], was[certain])


def test_maps_under_another_taxonomy(trained, table, whole):
    """A species that is itself keeps its map; a new taxon can be asked for."""
    name = whole.names("species")[5]
    folders = []
    for asked in (None, str(table)):
        said = tiny_birds.run(
            "cam",
            trained.config,
            rank=("species",),
            taxonomy=asked,
            target=name,
            fields={"cam.num_overlays": 0},
        )
        folders.append(said.rsplit(": ", 1)[1])
    assert folders[0] != folders[1]
    one, other = (
        np.stack([entry.cam for entry in store.open(folder)]) for folder in folders
    )
    np.testing.assert_allclose(one, other, atol=1e-5)
    said = tiny_birds.run(
        "cam",
        trained.config,
        rank=("species",),
        taxonomy=str(table),
        target="Novaformes",
        target_rank="order",
        fields={"cam.num_overlays": 0},
    )
    assert "maps of the test split" in said
    with pytest.raises(UserError, match="unknown taxon 'Novaformes'"):
        tiny_birds.run(
            "cam",
            trained.config,
            rank=("species",),
            target="Novaformes",
            target_rank="order",
        )


def test_a_head_that_is_divided_is_read_off_the_finest(trained, table, caplog):
    config, ranks = trained.config, ("order", "species")
    caplog.set_level("INFO", logger="absl")
    tiny_birds.run("eval", config, rank=ranks, taxonomy=str(table))
    assert "taxa of the head order are divided in List v3" in caplog.text
    folder = trained.path(*ranks) / "taxonomy-list2030" / "eval" / "test"
    rows = tables.read_csv(folder / "accuracy.csv")
    assert list(rows["rank"]) == list(RANKS) and list(map(int, rows["taxa"])) == [
        3,
        4,
        5,
        7,
    ]


def test_allowed_taxa_are_those_of_the_new_tree(trained, table, tmp_path):
    tiny_birds.run(
        "predict",
        trained.config,
        rank=("species",),
        taxonomy=str(table),
        allowed_taxa="Novaformes",
        out=str(tmp_path / "out.csv"),
    )
    rows = tables.read_csv(tmp_path / "out.csv")
    assert {name.split()[0] for name in rows["taxon"]} >= {"Novus0", "Novus1"}
    assert set(rows["rank"]) == {"genus", "species"}


def test_allowed_taxa_by_their_former_names(trained, table, whole, tmp_path, caplog):
    """A list of a region often has the names that the network was trained with."""
    names = whole.names("species")
    with caplog.at_level("INFO", logger="absl"):
        tiny_birds.run(
            "predict",
            trained.config,
            rank=("species",),
            taxonomy=str(table),
            allowed_taxa=f"{names[0]},{names[3]}",
            out=str(tmp_path / "out.csv"),
        )
    rows = tables.read_csv(tmp_path / "out.csv")
    found = set(np.array(rows["taxon"])[np.array(rows["rank"]) == "species"])
    epithet = whole.lineages[0].taxa[-1]
    assert found == {f"Novus0 {epithet}", names[2]}  # the fourth is the third now
    said = (
        f"2 of 2 taxa have other names in List v3 (2030): {names[0]} (Novus0 {epithet})"
    )
    assert said in caplog.text


def test_compare_names_the_taxonomy(trained, table):
    config = trained.config
    said = tiny_birds.run("compare", config, taxonomy=str(table))
    assert "compare-species-family-taxonomy-list2030" in said
    folder = trained.runs / "mini" / "compare-species-family-taxonomy-list2030"
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert "List v3 (2030)" in page


def test_from_python(trained, table, whole):
    run = api.load_run(trained.path("species"), taxonomy=table)
    assert str(run.taxonomy.source) == "List v3 (2030)"
    assert {one.lineage.ranks for one in run.records("test")} == {RANKS}
    plain = api.load_run(trained.path("species"))
    assert plain.taxonomy == whole and plain.taxonomy.source is None


def test_thresholds_of_another_content_of_the_table_are_not_used(
    trained, table, tmp_path, caplog
):
    """Its name is the same, so results are in the same folder."""
    copy = shutil.copytree(trained.path("species"), tmp_path / "run")
    again = shutil.copy(table, tmp_path)
    config = trained.config
    asked = {"taxonomy": str(again), "workdir": str(copy), "rank": ("species",)}
    tiny_birds.run("calibrate", config, split="test", chosen_split=True, **asked)
    out = {"out": str(tmp_path / "answers.csv")}
    tiny_birds.run("predict", config, **asked, **out)
    believed = tmp_path / "answers_believed.csv"
    assert believed.is_file() and "is not used" not in caplog.text
    believed.unlink()
    with open(again, "a") as file:
        file.write("Avis nova,Novaformes,Avidae,Avis,nova\n")
    tiny_birds.run("predict", config, **asked, **out)
    assert not believed.exists()
    assert "belief.json is not used: it is of another content of" in caplog.text


def test_a_table_of_other_names_is_no_taxonomy_of_these(trained, tmp_path):
    """All would keep their lineages, and results would be said to be of the table."""
    path = tmp_path / "list2030.csv"
    path.write_text("name,order,family,genus,species\nAvis nova,A,B,Avis,nova\n")
    with pytest.raises(UserError, match="has none of the 8 names of the network: "):
        tiny_birds.run("predict", trained.config, rank=("species",), taxonomy=str(path))
    fields = {"data.taxonomy": str(path)}
    with pytest.raises(UserError, match="has none of the 8 names of .*: "):
        tiny_birds.run("prepare", trained.config, fields=fields)


@pytest.mark.slow
def test_the_other_modes(trained, birds, table, whole):
    config, asked = trained.config, {"rank": ("species",), "taxonomy": str(table)}
    said = tiny_birds.run("calibrate", config, split="test", chosen_split=True, **asked)
    folder = trained.path("species") / "taxonomy-list2030"
    assert (folder / "belief.json").is_file() and said
    assert not (trained.path("species") / "belief.json").exists()
    assert "taxonomy-list2030" in tiny_birds.run("localize", config, **asked)
    name = "_".join(whole.lineages[0].taxa[-2:])
    photo = min((birds / "images").glob(f"*_{name}/*.jpg"))
    said = tiny_birds.run("cam", config, image=str(photo), **asked)
    assert "Novus0" in said and "taxonomy-list2030" in said
    said = tiny_birds.run("cam", config, image=str(photo), target="Novus1", **asked)
    assert "asked for Novus1" in said


@pytest.mark.slow
def test_guide_names_the_taxonomy(trained, table):
    config = trained.config
    tiny_birds.run("guide", config, rank=("species",), taxonomy=str(table))
    pages = trained.path("species") / "taxonomy-list2030" / "guide"
    texts = [one.read_text(encoding="utf-8") for one in pages.rglob("*.html")]
    assert any("List v3 (2030)" in text for text in texts)


def test_names_that_the_table_lacks_keep_their_lineages(
    trained, table, whole, tmp_path, caplog
):
    lines = table.read_text().splitlines()
    text = "\n".join(line for line in lines if whole.names("species")[5] not in line)
    path = tmp_path / "some.csv"
    lines = [line.split(",") for line in text.splitlines()]
    rows = [[one[0], "x", *one[1:]] for one in lines]
    rows[0][1] = "superorder"  # a rank that the network does not have
    path.write_text("\n".join(map(",".join, rows)))
    run = run_folder.read(trained.path("species"))
    tree = taxonomies.asked_under(run, str(path)).other_tree
    assert tree.table.ranks == RANKS
    assert f"does not have 1 of 8 taxa: {whole.names('species')[5]}" in caplog.text
    kept = tree.labels.taxonomy.lineages[tree.labels.heads[None].columns[5]]
    assert kept.taxa == whole.lineages[5].taxa[3:]


def test_a_finest_head_that_is_divided_is_refused(trained, table, tmp_path):
    text = table.read_text().splitlines()
    first, family = text[1].split(","), text[1].split(",")[2]
    path = tmp_path / "other.csv"
    first[2] = "Novidae"
    path.write_text("\n".join([text[0], ",".join(first), *text[2:]]))
    error = rf"1 family is no single family in other: {family}"
    with pytest.raises(UserError, match=error):
        tiny_birds.run("eval", trained.config, rank=("family",), taxonomy=str(path))


def test_training_under_a_table(config, table, whole, tmp_path, caplog):
    caplog.set_level("INFO", logger="absl")
    for one in (table, table.with_suffix(".json")):
        shutil.copy(one, tmp_path)
    table = tmp_path / table.name
    fields = {"data.taxonomy": str(table), "train.epochs": 1}
    tiny_birds.run("train", config, rank=("species",), fields=fields)
    assert "8 taxa as List v3 (2030) has them" in caplog.text
    (folder,) = (run.path for run in run_folder.list_runs(config.runs_dir))
    run = run_folder.read(folder)
    taxonomy = run.taxonomy()
    assert taxonomy.ranks == RANKS and taxonomy.num_labels("species") == 7
    assert str(taxonomy.source) == "List v3 (2030)"
    names = whole.names("species")
    called = f"{names[0]},{names[3]}"  # by the images
    (some,) = find_runs.allow(called, [run])
    assert some.taxonomy().num_labels("species") == 2
    metadata = files.read_metadata(run.model_path)
    assert metadata["taxonomy"]["source"]["year"] == 2030
    changes = tables.read_csv(folder / "taxonomy_changes.csv")
    assert len(changes["name"]) == 4
    config.data.taxonomy = str(table)
    said = tiny_birds.run("prepare", config)
    assert "4 at family, 5 at genus, 7 at species" in said
    assert "2 lumped to 1 taxon" in said
    table.unlink()
    table.with_suffix(".json").unlink()
    assert "List v3 (2030)" in tiny_birds.run("eval", config, rank=("species",))
    again = {**fields, "train.epochs": 2}
    tiny_birds.run("train", config, rank=("species",), fields=again, resume=True)
    (some,) = find_runs.allow(called, [run_folder.read(folder)])
    assert some.taxonomy().num_labels("species") == 2


def test_a_table_that_was_changed_does_not_go_on_with_other_labels(
    trained, whole, tmp_path
):
    """The flags and the split are those of before, the taxa are not."""
    copy = shutil.copytree(trained.path("family"), tmp_path / "run")
    record = workdir.read_json(copy / "config.json")
    order = whole.names("order")[0]
    renamed = [
        replace(one, taxa=tuple("Oldiformes" if t == order else t for t in one.taxa))
        for one in whole.lineages
    ]
    fewer = [replace(one, taxa=one.taxa[3:], ranks=RANKS) for one in whole.lineages]
    flags = {"rank": ("family",), "workdir": str(copy), "resume": True}
    for before, message in (
        (renamed, f"such as .*{order}/.*there now"),
        (fewer, "ranks kingdom, .* for order, family, genus, species"),
    ):
        workdir.write_json(copy / "taxonomy.json", Taxonomy(before).to_json())
        with pytest.raises(UserError, match=f"other taxa of the same .*{message}"):
            tiny_birds.run("train", trained.config, **flags)
    assert workdir.read_json(copy / "config.json") == record


def test_plain_folders_and_a_checklist_with_a_gap(config, drawn, whole, tmp_path):
    """Names alone get a tree; a subfamily that one family has is a rank with a gap."""
    rows = [("taxon", "parent", "rank")]
    for number, lineage in enumerate(whole.lineages):
        order, family, genus, _ = lineage.taxa[3:]
        name = whole.names("species")[number]
        rows += [
            (order, "", "order"),
            (family, order, "family"),
            (name, genus, "species"),
        ]
        above = family
        if family == whole.names("family")[0]:
            above = "Novinae"
            rows.append((above, family, "subfamily"))
        rows.append((genus, above, "genus"))
    with open(tmp_path / "checklist2031.csv", "w", newline="") as file:
        csv.writer(file).writerows(dict.fromkeys(rows))
    data = tmp_path / "plain"
    for path in sorted(drawn.iterdir()):
        genus, epithet = path.name.split("_")[-2:]
        shutil.copytree(path, data / f"{genus} {epithet}")
    config.data.source = "image_folder"
    fields = {"data.taxonomy": str(tmp_path / "checklist2031.csv"), "train.epochs": 1}
    place = {"data_dir": str(data), "rank": ("species",)}
    tiny_birds.run("train", config, fields=fields, **place)
    (run,) = run_folder.list_runs(config.runs_dir)
    taxonomy = run.taxonomy()
    assert taxonomy.ranks == ("order", "family", "subfamily", "genus", "species")
    assert taxonomy.num_labels("subfamily") == 1
    assert (taxonomy.parents("species", "subfamily") < 0).sum() == 6
    said = tiny_birds.run("eval", config, **place)
    assert "taxonomy: checklist2031" in said
    # Images without the subfamily have the ranks of the network, too.
    some = tmp_path / "plain of some"
    for path in sorted(data.iterdir())[4:]:
        shutil.copytree(path, some / path.name)
    place |= {"data_dir": str(some), "workdir": str(run.path)}
    said = tiny_birds.run("eval", config, **place)
    assert "taxonomy: checklist2031" in said and "4 have no subfamily" in said


def test_names_that_are_coarser_in_the_table(tmp_path, caplog):
    """A row that ends at a genus: the images are kept, or left out by data.partial."""
    path = tmp_path / "table.csv"
    path.write_text("name,genus,species\nAus bus,Aus,bus\nAus cus,Aus,\n")
    lineages = [Lineage((name,), ("label",)) for name in ("Aus bus", "Aus cus", "Dus")]
    records = tuple(
        Record(f"{i}.jpg", tmp_path / f"{i}.jpg", one) for i, one in enumerate(lineages)
    )
    source = sources.Source("x", tmp_path, records, None, None)
    kept = {}
    for choice in ("keep", "drop"):
        config = ConfigDict({"data": {"taxonomy": str(path), "partial": choice}})
        found = taxonomies.of_source(source, config)
        kept[choice] = [(one.example_id, one.lineage.path) for one in found.records]
    assert kept["keep"] == [("0.jpg", "Aus/bus"), ("1.jpg", "Aus")]
    assert kept["drop"] == [("0.jpg", "Aus/bus")]
    assert "does not have 1 of 3 taxa: Dus" in caplog.text
    # A photograph is shown, whether its name can be translated or not.
    lacking = taxonomies.of_records(records, found.translation)[2]
    assert lacking.example_id == "2.jpg" and lacking.lineage is None
    path.write_text("name,genus,species\nAus bus,Aus,\n")
    with pytest.raises(UserError, match="no image of .* a taxon at species"):
        taxonomies.of_source(source, config)


def test_a_fresh_network_of_the_birds_of_inat2021(real_data):
    """1,486 outputs, asked under both: the same species, other orders for 39."""
    text = (real_data / "inat2021_aves_class_names.txt").read_text()
    whole = Taxonomy(map(parse_class_name, text.split()))
    table = name_table.read(name_table.AVILIST)
    labels = translation.own_labels(whole, ("species",))
    tree = translation.other_tree(labels, table)
    image = keras.Input((32, 32, 3))
    keras.utils.set_random_seed(0)
    logits = keras.layers.Dense(1486)(keras.layers.Flatten()(image))
    model = keras.Model(image, logits)
    plain = Network(model, whole, ("species",), "", 8)
    asked = replace(plain, taxonomy=tree.labels.taxonomy, labels=tree.labels)
    rng = np.random.default_rng(0)
    # Far from uniform, as the probabilities of outputs that were lumped add up.
    images = 50 * rng.normal(size=(400, 32, 32, 3)).astype(np.float32)
    was = forward.predict_batch(model, images)
    (now,) = forward.predict_batch(model, images, asked._forward).values()
    swifts = {old for old, _ in tree.translation.moved("order")}
    assert len(swifts) == 39
    answers = np.asarray(was).argmax(-1), np.asarray(now).argmax(-1)
    assert len(set(answers[0])) > 50
    moved = 0
    for old, new in zip(*answers, strict=True):
        before = whole.lineages[old]
        lineage = tree.translation.lineages[before]
        assert asked.taxonomy.lineages[new].taxa == lineage.taxa
        differ = before.prefix("order")[-1] != lineage.prefix("order")[-1]
        assert differ == (before in swifts)
        moved += differ
    assert moved
    scores = asked.scores({"species": np.asarray(now)})
    np.testing.assert_allclose(
        asked.probabilities("class", scores["order"]).sum(-1), 1, atol=1e-5
    )


@pytest.mark.parametrize("mode", ["train", "prepare", "study", "import"])
def test_only_modes_that_take_a_run_take_the_flag(mode):
    with pytest.raises(UserError, match="has no effect with --mode"):
        usage.check_flags(mode, {"taxonomy"})
