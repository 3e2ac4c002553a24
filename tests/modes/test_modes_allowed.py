"""--allowed_taxa in the modes that take a run."""

import numpy as np
import pytest
import tiny_birds

from hiercam_keras import tables, workdir
from hiercam_keras.errors import UserError
from hiercam_keras.modes import usage
from hiercam_keras.report import photo_figure, style
from hiercam_keras.runs import run_folder


@pytest.fixture(scope="module")
def region(trained):
    """Two families of four, by name; and the taxonomy of the run."""
    taxonomy = run_folder.read(trained.path("species")).whole_taxonomy()
    return ",".join(taxonomy.names("family")[1:3]), taxonomy


@pytest.fixture(scope="module")
def predicted(trained, region, tmp_path_factory):
    folder = tmp_path_factory.mktemp("allowed")
    found = {}
    for name, asked in (("all", None), ("some", region[0])):
        path = folder / f"{name}.csv"
        said = tiny_birds.run(
            "predict",
            trained.config,
            rank=("species",),
            allowed_taxa=asked,
            top_k=8,
            out=str(path),
        )
        found[name] = tables.read_csv(path), said
    return found


def test_predict_renormalizes_over_the_allowed_taxa(predicted, region):
    allowed = set(region[0].split(","))
    shares = {}
    for name in ("all", "some"):
        rows = zip(*predicted[name][0].values(), strict=True)
        shares[name] = {
            (row[0], row[4]): (float(row[5]), *row[7:])
            for row in rows
            if row[1] == "species"
        }
    kept = {
        key: share
        for key, (share,) in shares["all"].items()
        if key[1].split("/")[4] in allowed
    }
    assert shares["some"].keys() == kept.keys()
    for image in {image for image, _ in kept}:
        total = sum(share for (one, _), share in kept.items() if one == image)
        for (one, lineage), (share, masked) in shares["some"].items():
            if one == image:
                assert share == pytest.approx(kept[one, lineage] / total, abs=1e-5)
                assert float(masked) == pytest.approx(1 - total, abs=1e-5)


def test_a_large_masked_probability_is_said(predicted):
    masked = {}
    columns = predicted["some"][0]
    for image, share in zip(
        columns["example_id"], columns["masked_probability"], strict=True
    ):
        masked[image] = float(share)
    rather = sum(share > 0.5 for share in masked.values())
    said = predicted["some"][1]
    assert (f"{rather} had more than half" in said) == (rather > 0)
    assert "masked_probability" not in predicted["all"][0]


def test_the_figure_of_a_photo_says_what_the_others_had(
    trained, birds, predicted, region, tmp_path, monkeypatch
):
    """Shares among few taxa look sure: the network may be sure of another one."""
    columns = predicted["some"][0]
    shares = dict(
        zip(columns["example_id"], columns["masked_probability"], strict=True)
    )
    drawn = {}
    monkeypatch.setattr(
        photo_figure, "save_single", lambda *_, **given: drawn.update(given)
    )
    for asked in (region[0], None):
        for example_id in (max(shares, key=shares.get), min(shares, key=shares.get)):
            said = tiny_birds.run(
                "cam",
                trained.config,
                rank=("species",),
                image=str(birds / "images" / example_id),
                allowed_taxa=asked,
                out=str(tmp_path),
            )
            share = float(shares[example_id])
            if asked is None:
                assert drawn["remark"] == "" and "allowed taxa" not in said
                continue
            assert drawn["remark"] in said
            assert f"the network gave {style.percent(share)} to" in drawn["remark"]
            assert ("far from right" in drawn["remark"]) == (share > 0.5)


def test_files_of_other_programs_do_not_hide_it(trained, birds, region, tmp_path):
    box = {"category": "1", "conf": 0.9, "bbox": [0.2, 0.2, 0.6, 0.6]}
    images = [
        {"file": path.relative_to(birds / "images").as_posix(), "detections": [box]}
        for path in sorted((birds / "images").rglob("*.jpg"))
    ]
    kinds = {"1": "animal"}
    about = {"info": {"format_version": "1.4"}, "detection_categories": kinds}
    workdir.write_json(tmp_path / "md.json", {**about, "images": images})
    fields = {
        "detections.file": str(tmp_path / "md.json"),
        "predict.format": "megadetector",
    }
    said = tiny_birds.run(
        "predict",
        trained.config,
        rank=("species",),
        allowed_taxa=region[1].names("family")[1],
        out=str(tmp_path / "out.json"),
        fields=fields,
    )
    assert "had more than half of the probability at taxa that are not allowed" in said
    assert "masked_probability" not in said


def test_eval_counts_images_of_allowed_taxa_only(trained, region):
    names, taxonomy = region
    said = tiny_birds.run("eval", trained.config, rank=("species",), allowed_taxa=names)
    folder = run_folder.read(trained.path("species")).path
    (folder,) = folder.glob("allowed-*")
    rows = tables.read_csv(folder / "eval" / "test" / "accuracy.csv")
    assert rows["rank"][-1] == "species" and int(rows["taxa"][-1]) < 8
    assert int(rows["images"][-1]) < 9
    assert "--allowed_taxa leaves out" in said
    columns = tables.read_csv(folder / "eval" / "test" / "predictions.csv")
    assert set(columns["predicted_family"]) <= set(names.split(","))
    assert np.all(np.array(columns["masked_probability"], float) >= 0)


def test_maps_of_allowed_taxa_are_other_maps(trained, region):
    stores = []
    for asked in (None, region[0]):
        said = tiny_birds.run(
            "cam",
            trained.config,
            rank=("species",),
            allowed_taxa=asked,
            fields={"cam.num_overlays": 0},
        )
        stores.append(said.rsplit(": ", 1)[1])
    assert stores[0] != stores[1]


def test_compare_of_allowed_taxa(trained, region):
    said = tiny_birds.run(
        "compare", trained.config, ranks=("species", "family"), allowed_taxa=region[0]
    )
    assert "compare-species-family-allowed" in said


def test_unknown_names_are_an_error(trained):
    with pytest.raises(UserError, match="knows none of 1 taxon: Felidae"):
        tiny_birds.run(
            "eval", trained.config, rank=("species",), allowed_taxa="Felidae"
        )


def test_only_modes_that_take_a_run_take_the_flag():
    with pytest.raises(UserError, match="has no effect with --mode=train"):
        usage.check_flags("train", {"allowed_taxa"})


@pytest.mark.parametrize("mode", ["train", "prepare"])
def test_modes_without_a_run_name_the_field_for_the_taxonomy(mode):
    said = f"eval, .*Use --config.data.taxonomy=... with {mode}"
    with pytest.raises(UserError, match=said):
        usage.check_flags(mode, {"taxonomy"})
    usage.check_flags("export", {"taxonomy"})


def test_one_allowed_label_is_refused_before_the_images_are_read(trained):
    whole = run_folder.read(trained.path("species")).whole_taxonomy()
    one = whole.names("species")[0]
    with pytest.raises(UserError, match="leaves one label of the network"):
        tiny_birds.run(
            "predict",
            trained.config,
            rank=("species",),
            allowed_taxa=one,
            fields={"detections.file": "/no/such/file.json"},
        )


def test_guide_says_that_taxa_were_left_out_by_the_list(trained, region, caplog):
    order = region[1].names("order")[0]
    said = tiny_birds.run(
        "guide", trained.config, rank=("species",), allowed_taxa=order
    )
    assert f"with --allowed_taxa={order} the network knows" in said
    assert "left out: --allowed_taxa leaves out, or the network" in caplog.text
