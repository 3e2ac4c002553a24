"""The page of a tiny study, and its reuse of finished work."""

import csv
import json
import re
from pathlib import Path

import pytest
from PIL import Image
from tiny_study import make_settings

from hiercam_keras.errors import UserError
from hiercam_keras.experiments import map_settings, runs, study


def read(path: Path) -> list[dict]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_the_page_has_every_table_and_figure(studied):
    _, out = studied
    page = (out / "STUDY.md").read_text()
    names = [
        "original",
        "accuracy",
        "gaps",
        "own-rank",
        "parts",
        "specificity",
        "views",
        "background",
        "transfer",
        "agreement",
        "parts-close",
        "specificity-close",
        "background-close",
    ]
    for name in names:
        rows = read(out / "study" / f"{name}.csv")
        about = json.loads((out / "study" / f"{name}.json").read_text())
        assert len(rows) == len(about["rows"]) > 0
        assert about["answer"] in page and about["claim"] in page
        assert f"`study/{name}.csv`" in page
    shown = re.findall(r"!\[.*?\]\((.*?)\)", page)
    assert len(shown) >= 6 and len(set(shown)) == len(shown)
    for name in shown:
        with Image.open(out / name) as image:
            assert min(image.size) > 200
    assert "## In short" in page and "hirescam at activation2" in page
    assert "seeds 0, 1" in page and "2 seeds do not show" in page
    command = f"python main.py --mode=study --out={out}"
    assert page.count(command) == 1 + len(names)  # at the top, and below every table
    assert "## Not confirmed" in page
    assert page.count("*The original study, in our words:*") == 4
    assert page.count("*Our question:*") == len(names) - 4
    assert not re.search("^> ", page, re.M)  # a quotation is word by word, or none


def test_accuracy_is_that_of_eval(studied):
    """The table has the accuracy of --mode=eval."""
    from hiercam_keras.modes import eval as eval_mode

    config, out = studied
    found = []
    for seed in (0, 1):
        run = Path(config.runs_dir) / f"mini-h0/species/seed{seed}"
        settings = make_settings(config, "eval", workdir=str(run))
        eval_mode.run(settings)
        found.append(read(run / "eval/test/accuracy.csv"))
    row = next(
        row
        for row in read(out / "study/accuracy.csv")
        if (row["model"], row["data"]) == ("species", "habitat 0")
        and row["asked for"] == "species"
    )
    each = [float(table[-1]["accuracy"]) for table in found]
    assert row["each seed"] == ", ".join(f"{value:.3f}" for value in each)
    assert float(row["accuracy"]) == pytest.approx(sum(each) / 2, abs=1e-5)


def test_a_second_call_trains_and_measures_nothing(studied, monkeypatch):
    from hiercam_keras.experiments import measurements

    config, out = studied
    before = (out / "STUDY.md").read_text()

    def refuse(*_, **__):
        raise AssertionError("work is repeated")

    monkeypatch.setattr(runs, "in_own_process", refuse)
    monkeypatch.setattr(measurements, "measure", refuse)
    study.run(make_settings(config, out=str(out)))
    assert (out / "STUDY.md").read_text() == before


def test_images_of_a_data_set_are_read_once(studied, monkeypatch):
    """By all ranks and seeds of one habitat together."""
    config, out = studied
    asked = []

    def read_images(data_dir, run, config):
        asked.append(str(run.path))
        return load_images(data_dir, run, config)

    load_images = map_settings.load_images
    monkeypatch.setattr(map_settings, "load_images", read_images)
    monkeypatch.setattr(map_settings, "_latest", {})
    study.run(make_settings(config, out=str(out)))
    names = [Path(path).parts[-3] for path in asked]
    assert len(config.study.seeds) > 1 and sorted(names) == ["mini-h0", "mini-h1"]


def test_images_without_evidence_are_refused(studied, tmp_path):
    config, _ = studied
    images = Path(config.data.root + "-h0") / "images"
    plain = tmp_path / "plain"
    plain.symlink_to(images)
    with pytest.raises(UserError, match=r"study.habitats .*not procedural"):
        study.run(make_settings(config, data_dir=str(plain)))
