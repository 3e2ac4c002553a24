"""Outputs that are named after data: each has a file of its own."""

import dataclasses
import shutil

import pytest
import tiny_birds

from hiercam_keras.cam import store
from hiercam_keras.data import index
from hiercam_keras.evaluation.question import Question
from hiercam_keras.modes.localize_question import folder_of
from hiercam_keras.runs import run_folder


@pytest.fixture(scope="module")
def same_stems(birds, tmp_path_factory):
    """Class folders with x.jpg, x.png and x.v2.jpg each: equal but for the suffix."""
    from PIL import Image

    root = tmp_path_factory.mktemp("same") / "images"
    for folder in sorted((birds / "images").iterdir()):
        (root / folder.name).mkdir(parents=True)
        photos = sorted(folder.glob("*.jpg"))
        for number, photo in enumerate(photos):
            stem = f"x{number // 3}"
            if number % 3 == 0:
                shutil.copy(photo, root / folder.name / f"{stem}.jpg")
            elif number % 3 == 1:
                shutil.copy(photo, root / folder.name / f"{stem}.v2.jpg")
            else:
                with Image.open(photo) as image:
                    image.save(root / folder.name / f"{stem}.png")
    return root


def test_equal_stems_have_a_map_and_an_overlay_each(trained, same_stems, tmp_path):
    """Of a run whose split has x.jpg and x.png of one folder."""
    run = tmp_path / "run"
    shutil.copytree(trained.path("family"), run, ignore=shutil.ignore_patterns("maps"))
    ids = sorted(
        path.relative_to(same_stems).as_posix()
        for path in same_stems.rglob("x0*")
        if path.is_file()
    )
    (run / "split" / "test.txt").write_text("".join(f"{one}\n" for one in ids))
    for name in ("train", "val"):
        (run / "split" / f"{name}.txt").write_text("")
    flags = {"rank": ("family",), "workdir": str(run), "data_dir": str(same_stems)}
    fields = {"cam.num_overlays": -1, "data.source": "image_folder"}
    said = tiny_birds.run("cam", trained.config, fields=fields, **flags)
    folder = store.open(said.rsplit(" ", 1)[1]).folder
    found = ["/".join(one.parts[-2:]) for one in folder.glob("overlays/*/*/*.jpg")]
    assert len(found) == len(set(found)) == len(ids) >= 6
    for example_id in ids:
        kept = example_id.removesuffix(".jpg") + ".jpg"
        assert kept in found, (example_id, found)


def test_photos_of_equal_names_have_a_figure_each(trained, birds, tmp_path):
    sources = sorted((birds / "images").rglob("*.jpg"))
    names = ["a/b.jpg", "a__b.jpg", "a/b.v1.jpg", "a/b.v2.jpg"]
    for name, source in zip(names, sources, strict=False):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, tmp_path / "photos" / name)
    out = tmp_path / "out"
    flags = {"rank": ("family",), "image": str(tmp_path / "photos"), "out": str(out)}
    said = tiny_birds.run("cam", trained.config, **flags)
    assert said.count("figure: ") == len(list(out.iterdir())) == 4
    assert {"a__b.png", "a__b.v1.png", "a__b.v2.png"} <= {p.name for p in out.iterdir()}


def test_a_taxon_may_hold_a_slash_and_be_long(trained, birds, tmp_path, monkeypatch):
    """Its figure has a name that a disk takes."""
    from hiercam_keras.taxonomy.tree import Taxonomy

    run, photo = tmp_path / "run", next((birds / "images").rglob("*.jpg"))
    shutil.copytree(trained.path("family"), run, ignore=shutil.ignore_patterns("maps"))
    old = run_folder.read(run).taxonomy()
    first, second = sorted(set(old.names("family")))[:2]
    long = "Very " * 60 + "long"
    text = (run / "taxonomy.json").read_text()
    text = text.replace(f'"{first}"', '"Crows/Jays"').replace(
        f'"{second}"', f'"{long}"'
    )
    (run / "taxonomy.json").write_text(text)
    assert isinstance(run_folder.read(run).taxonomy(), Taxonomy)
    flags = {"rank": ("family",), "workdir": str(run), "image": str(photo)}
    for number, name in enumerate(("Crows/Jays", long)):
        out = tmp_path / str(number)
        said = tiny_birds.run("cam", trained.config, target=name, out=str(out), **flags)
        (figure,) = [one for one in out.iterdir() if one.name != f"{photo.stem}.png"]
        assert f"asked for {name} " in said and str(figure) in said
        assert figure.name.startswith(f"{photo.stem}__{name[:5].replace(' ', '_')}")
        assert len(figure.name) <= 200


def test_ranks_and_data_sets_name_one_folder_each(tmp_path):
    path = run_folder.path_for("runs", "birds", ("family", "species"), 3)
    assert path.as_posix() == "runs/birds/family+species/seed3"
    for name, ranks in (("a/b", ("x",)), ("n" * 300, ("r" * 200, "s" * 200))):
        path = run_folder.path_for("runs", name, ranks, 0)
        assert len(path.parts) == 4  # as `list_runs` searches
        (tmp_path / path).mkdir(parents=True)


def test_a_folder_with_the_longest_name_has_an_index(tmp_path):
    deep = tmp_path / ("ü" * 127)
    deep.mkdir()
    key = index.folder_key(deep)
    assert key.startswith("üüü") and len(key.encode()) <= 127
    assert index.folder_key(tmp_path / "birds").startswith("birds-")


def test_questions_have_a_folder_each():
    plain = Question("family", method="gradcam++")
    asked = Question("family", target="a/b", method="gradcam", layer="block4c_add")
    assert folder_of(plain, "predicted", "family") == "gradcam++"
    name = folder_of(asked, "Accipiter nisus", "family")
    assert name == "gradcam-Accipiter_nisus-block4c_add"
    marginal = dataclasses.replace(plain, score="marginal")
    name = folder_of(marginal, "true", "species")
    assert name == "gradcam++-family-true-marginal"
    targets = ["Crows/Jays", "Crows Jays", "Crows_Jays", "Crows-Jays", "J" * 300]
    folders = {folder_of(plain, one, "family") for one in targets}
    assert len(folders) == 5
    assert not any("/" in one or len(one) > 200 for one in folders)
