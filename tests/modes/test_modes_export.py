"""--mode=export: the folder, its model card, its bounds, and what is refused."""

import hashlib
import json
import runpy
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tiny_birds
from PIL import Image

from hiercam_keras import workdir
from hiercam_keras.data import sources
from hiercam_keras.errors import UserError
from hiercam_keras.export import precision, readme
from hiercam_keras.modes import export
from hiercam_keras.runs import run_folder

onnxruntime = pytest.importorskip("onnxruntime", reason="requirements-export.txt")
pytest.importorskip("jax2onnx", reason="requirements-export.txt")


@pytest.fixture(scope="module", autouse=True)
def one_conversion():
    """The species network is converted once for all tests here."""
    build, made = export.graphs.build, []

    def once(network):
        assert network.ranks == ("species",)
        return made[0] if made else made.append(build(network)) or made[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export.graphs, "build", once)
        yield


@pytest.fixture(scope="module")
def folder(trained, tmp_path_factory):
    """The export of the tiny species network."""
    place = tmp_path_factory.mktemp("export") / "onnx"
    said = tiny_birds.run("export", trained.config, rank=("species",), out=str(place))
    assert said.splitlines()[-1] == f"try it: python {place / 'example.py'} PHOTO"
    return place


def trained_names(trained):
    return run_folder.read(trained.path("species")).taxonomy().names("species")


def read(folder, name):
    return json.loads((folder / name).read_text(encoding="utf-8"))


def test_the_folder_is_whole(folder):
    assert {file.name for file in folder.iterdir()} == set(export.FILES)
    card = read(folder, "card.json")
    data = (folder / "model.onnx").read_bytes()
    assert card["files"]["model.onnx"] == {
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    assert [one.name for one in folder.parent.iterdir()] == ["onnx"]
    assert (folder / "model.onnx").stat().st_mode & 0o444 == 0o444


def test_the_card_says_what_is_known(folder, trained):
    card, page = read(folder, "card.json"), (folder / "README.md").read_text()
    parity = card["parity"]
    assert parity["pictures"] == 9 and parity["bound"] == 1e-4  # all of the split
    assert max(readme.differences(parity).values()) < 1e-4
    assert card["data"]["split"]["test"] == 9
    assert card["network"]["backbone"] == "tiny"
    assert page.startswith("# mini: a network for bird species\n")
    assert card["licence"]["weights"] == "not stated"
    assert card["versions"]["onnxruntime"] == onnxruntime.__version__
    tiny_birds.run("eval", trained.config, rank=("species",))
    path = trained.path("species") / "eval" / "test" / "accuracy.csv"
    rows = [line.split(",") for line in path.read_text().splitlines()[1:]]
    assert len(rows) == len(card["accuracy"]["ranks"]) == 4
    for row, mine in zip(rows, card["accuracy"]["ranks"], strict=True):
        assert row[0] == mine["rank"] and int(row[2]) == mine["pictures"]
        assert float(row[3]) == pytest.approx(mine["accuracy"])
        if row[4] not in ("", "nan"):
            assert float(row[4]) == pytest.approx(mine["low"])
    for words in ("## Accuracy", "## Limits", "not calibrated", "| species |"):
        assert words in page
    assert str(trained.runs) not in page and str(trained.runs) not in json.dumps(card)


def test_the_outputs_are_those_of_predict(folder, trained, tmp_path):
    """Through example.py's own functions, on the pictures of the split."""
    about = read(folder, "taxonomy.json")
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
    out = tmp_path / "p.csv"
    tiny_birds.run("predict", trained.config, rank=("species",), out=str(out), top_k=1)
    rows = [line.split(",") for line in out.read_text().splitlines()[1:]]
    records = {
        one.example_id: one
        for one in sources.load(trained.config.data, name="mini").records
    }
    program = runpy.run_path(str(folder / "example.py"))
    for example_id, rank, _, taxon, lineage, share, _ in rows:
        photo, full = program["open_photo"](records[example_id].path)
        pixels, _ = program["square"](photo, full, None, about["image"])
        answer = program["ask"](session, pixels, about)
        shares = answer[f"probabilities_{rank}"]
        best = about["taxa"][rank][shares.argmax()]
        assert best["name"] == taxon and "/".join(best["lineage"]) == lineage
        assert shares.max() == pytest.approx(float(share), abs=1e-5)
    assert answer["maps"].shape == answer["steps"].shape == (7, 6, 6)
    assert len(about["ranks"]) == len(answer["path"]) == 7
    assert about["outputs"].keys() == answer.keys()


def test_the_example_runs(folder, trained, tmp_path, monkeypatch, capsys):
    record = sources.load(trained.config.data, name="mini").records[0]
    argv = ["example.py", str(record.path), "--rank=family", f"--out={tmp_path}"]
    monkeypatch.setattr(sys, "argv", argv)
    runpy.run_path(str(folder / "example.py"), run_name="__main__")
    said = capsys.readouterr().out.splitlines()
    assert said[0] == str(record.path)
    ranks = [line.split()[0] for line in said[1:5]]
    assert ranks == ["order", "family", "genus", "species"]
    assert said[5] == "  believed:  unknown, as the run was not calibrated"
    (saved,) = tmp_path.glob("*-family.png")
    assert said[6].startswith(f"  {saved}: ")
    with Image.open(saved) as shown:
        assert shown.mode == "RGB"


def test_float16_weights(trained, tmp_path):
    """With the comparison in the card; this network is too small to lose an answer."""
    said = tiny_birds.run(
        "export",
        trained.config,
        rank=("species",),
        out=str(tmp_path / "half"),
        weights_dtype="float16",
    )
    assert "float16 against float32 on 9 pictures" in said
    card = read(tmp_path / "half", "card.json")
    changed = card["precision"]
    assert changed["pictures"] == 9
    assert set(changed["top1_agreement"]) == {"order", "family", "genus", "species"}
    assert min(changed["map_correlation"]["maps"]["mean"].values()) > 0.999
    assert changed["accuracy_before"][0]["pictures"] == 9
    assert read(tmp_path / "half", "taxonomy.json")["weights_dtype"] == "float16"
    assert "| rank | same answer |" in (tmp_path / "half" / "README.md").read_text()


def test_a_file_above_the_bound_is_not_kept(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "FLOAT32_BOUND", 1e-12)
    place = tmp_path / "x" / "onnx"
    with pytest.raises(UserError, match="was not kept: .*bound 1e-12.*cam.layer"):
        tiny_birds.run("export", trained.config, rank=("species",), out=str(place))
    assert list(tmp_path.iterdir()) == []


def test_another_file_in_the_folder_is_not_deleted(folder, trained):
    (folder / "mine.png").write_text("x")
    try:
        with pytest.raises(UserError, match="holds mine.png, which would be deleted"):
            tiny_birds.run("export", trained.config, rank=("species",), out=str(folder))
    finally:
        (folder / "mine.png").unlink()
    assert {file.name for file in folder.iterdir()} == set(export.FILES)


def test_thresholds_are_in_the_file(trained, tmp_path):
    path = trained.path("species") / "belief.json"
    rows = [{"rank": "order", "threshold": 0.4}, {"rank": "family", "threshold": None}]
    about = {"schema_version": 1, "accuracy": 0.9, "confidence_level": 0.9}
    workdir.write_json(path, about | {"ranks": rows})
    try:
        tiny_birds.run(
            "export", trained.config, rank=("species",), out=str(tmp_path / "x")
        )
    finally:
        path.unlink()
    found = read(tmp_path / "x", "taxonomy.json")
    rest = dict.fromkeys(("family", "genus", "species"))
    assert found["believed"] == {"order": 0.4} | rest
    page = (tmp_path / "x" / "README.md").read_text()
    assert "calibrated (accuracy 0.9 at level 0.9)" in page
    assert "The run was not calibrated" not in page


def test_pictures_of_the_training_are_said_to_be_so(trained, tmp_path):
    """And common names of the images' data are in the file, where the run has none."""
    species = trained_names(trained)[0]
    names = tmp_path / "names.csv"
    names.write_text(f"scientific_name,common_name\n{species},little drawn bird\n")
    for split, words in (
        (
            "train",
            "the train split of mini (62 pictures, which the network was trained",
        ),
        ("val", "the val split of mini (9 pictures, which may have chosen the epoch)"),
    ):
        said = tiny_birds.run(
            "export",
            trained.config,
            rank=("species",),
            split=split,
            out=str(tmp_path / split),
            fields={"data.common_names": str(names)},
        )
        page = (tmp_path / split / "README.md").read_text()
        assert words in said and words in page
    found = read(tmp_path / "val", "taxonomy.json")["taxa"]["species"]
    assert [one.get("common_name") for one in found[:2]] == ["little drawn bird", None]


def test_photographs_without_labels(trained, image_folder, tmp_path):
    """The check is made on them, and nothing is said of the accuracy."""
    photos = sorted(image_folder.rglob("*.jpg"))[:3]
    for number, photo in enumerate(photos):
        Image.open(photo).save(tmp_path / f"{number}.png")
    out = tmp_path / "out"
    flags = {"image": str(tmp_path / "*.png"), "out": str(out)}
    said = tiny_birds.run("export", trained.config, rank=("species",), **flags)
    card = read(out, "card.json")
    assert card["accuracy"] is None and card["parity"]["pictures"] == 3
    assert "intervals" not in said and "3 pictures" in said
    assert "Not measured" in (out / "README.md").read_text()


@pytest.mark.slow  # installs three packages
def test_the_example_in_an_environment_of_its_own(folder, trained, tmp_path):
    """Of a photograph, and of the boxes of a detector."""
    shutil.copytree(folder, tmp_path / "export")
    records = sources.load(trained.config.data, name="mini").records[:2]
    rows = [{"category": "1", "conf": 0.9, "bbox": [0.2, 0.1, 0.5, 0.6]}]
    images = [{"file": one.example_id, "detections": rows} for one in records]
    detections = tmp_path / "md.json"
    detections.write_text(
        json.dumps({"detection_categories": {"1": "animal"}, "images": images})
    )
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    install = [python, "-m", "pip", "install", "--quiet", "onnxruntime", "numpy"]
    subprocess.run([*install, "pillow"], check=True)
    photos = f"--folder={str(records[0].path).removesuffix(records[0].example_id)}"
    for flags in (
        [records[0].path, "--step=family"],
        [f"--detections={detections}", photos, "--rank=order"],
    ):
        done = subprocess.run(
            [python, tmp_path / "export" / "example.py", *flags],
            cwd=tmp_path,
            env={},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0 and not done.stderr, done.stderr
        assert done.stdout.count("believed:") == done.stdout.count(".png: ") > 0
    assert f"{records[1].path}#1 (" in done.stdout
    assert len(list(tmp_path.glob("*.png"))) == 3


def maps(*values):
    return np.array(values, np.float32).reshape(len(values), 1, 2, 2)


def test_what_narrower_weights_change():
    """One of four answers differs; correlations of the three others, by hand."""
    shares = np.eye(2)[[0, 1, 0, 1]].astype(np.float32)
    other = np.eye(2)[[0, 1, 0, 0]].astype(np.float32)
    one = {
        "probabilities_family": shares,
        "path": shares.argmax(1)[:, None],
        "maps": maps([0, 1, 2, 3], [1, 1, 1, 1], [1, -1, 1, -1], [0, 0, 0, 1]),
    }
    two = {
        "probabilities_family": other,
        "path": other.argmax(1)[:, None],
        "maps": maps([1, 3, 5, 7], [1, 2, 1, 1], [1, 1, -1, -1], [5, 1, 0, 0]),
    }
    halves = [
        tuple({name: a[cut] for name, a in file.items()} for file in (one, two))
        for cut in (slice(0, 1), slice(1, 4))
    ]
    found = precision.change(halves, ["family"], ["family"])
    assert found.pictures == 4 and found.agreement == {"family": 0.75}
    # 1 and 0; the second map is constant, the fourth of another taxon.
    assert found.correlation["maps"]["family"] == pytest.approx(0.5)
    assert found.lowest["maps"] == pytest.approx(0.0, abs=1e-12)
    faults = " ".join(found.faults())
    assert "another one for 25.0% of 4 pictures" in faults and "0.50000" in faults


def test_too_much_change_keeps_nothing(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(precision, "LEAST_CORRELATION", 1.1)
    with pytest.raises(UserError, match="float16 weights change too much.*float32"):
        tiny_birds.run(
            "export",
            trained.config,
            rank=("species",),
            out=str(tmp_path / "x" / "onnx"),
            weights_dtype="float16",
        )
    assert list(tmp_path.iterdir()) == []
