"""A hierarchy that is no taxonomy of animals goes through every mode."""

import numpy as np
import pytest
import tiny_birds
from PIL import Image

from hiercam_keras.errors import UserError

FINDINGS = {  # organ, finding -> color
    ("lung", "nodule"): (200, 30, 30),
    ("lung", "effusion"): (30, 200, 30),
    ("heart", "enlarged"): (30, 30, 200),
    ("heart", "normal"): (200, 200, 30),
}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A table of 40 scans at the ranks organ and finding, with boxes and masks."""
    root = tmp_path_factory.mktemp("study")
    lines = ["path,organ,finding,x0,y0,x1,y1,mask"]
    rng = np.random.default_rng(0)
    for (organ, finding), color in FINDINGS.items():
        for number in range(10):
            pixels = rng.integers(90, 110, (56, 64, 3)).astype(np.uint8)
            pixels[20:40, 16:48] = color
            mask = np.zeros((56, 64), np.uint8)
            mask[20:40, 16:48] = 255
            name = f"{finding}{number}.png"
            Image.fromarray(pixels).save(root / name)
            Image.fromarray(mask).save(root / f"mask_{name}")
            lines.append(f"{name},{organ},{finding},16,20,48,40,mask_{name}")
    (root / "table.csv").write_text("\n".join(lines) + "\n")
    return root / "table.csv"


@pytest.fixture(scope="module")
def config(tmp_path_factory, study):
    """The table in a small experiment."""
    folder = tmp_path_factory.mktemp("csv")
    config = tiny_birds.make_config(folder, study.parent)
    config.data.source = "csv_table"
    config.data.cache_dir = str(folder / "cache")
    config.train.epochs = 1
    config.compare.faithfulness_images = 0  # compiles for long
    config.coherence.faithfulness_images = 0
    tiny_birds.run("train", config, rank=("organ", "finding"))
    return config


def test_prepare_tells_what_there_is(config):
    text = tiny_birds.run("prepare", config)
    assert "40 images" in text and "40 with a box, 40 with a mask" in text
    assert "2 at organ, 4 at finding" in text


def test_ranks_that_are_not_there_are_told(config):
    with pytest.raises(UserError, match="'family', expected one of organ, finding"):
        tiny_birds.run("train", config)  # the default rank


def test_eval_asks_every_rank_of_the_table(config):
    text = tiny_birds.run("eval", config, rank=("finding",), chosen_rank=True)
    assert "organ" in text and "finding" in text


def test_cam_and_photos(config, study, tmp_path):
    text = tiny_birds.run("cam", config, rank=("finding",), target_rank="organ")
    assert "4 maps of the test split" in text
    photo = str(study.parent / "nodule0.png")
    out = tmp_path / "photo"
    text = tiny_birds.run("cam", config, rank=("finding",), image=photo, out=str(out))
    assert "organ" in text and len(list(out.glob("*.png"))) == 1


def test_compare_sets_the_ranks_side_by_side(config, tmp_path):
    out = tmp_path / "page"
    text = tiny_birds.run("compare", config, ranks=("finding", "organ"), out=str(out))
    assert "organ" in text and (out / "index.html").is_file()


@pytest.mark.slow
def test_localize_scores_the_boxes_of_the_table(config):
    text = tiny_birds.run("localize", config, rank=("finding",))
    assert "MaxBoxAcc" in text


@pytest.mark.slow
def test_guide_at_another_rank(config, tmp_path):
    out = tmp_path / "guide"
    tiny_birds.run("guide", config, rank=("finding",), out=str(out))
    assert list(out.glob("*.html"))
