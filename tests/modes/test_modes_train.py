"""Training at several ranks, the run folder it leaves, and going on after a stop."""

import contextlib
import json
import logging
import shutil

import keras
import numpy as np
import pytest
import tiny_birds
from absl import logging as absl_logging

from hiercam_keras import tables
from hiercam_keras.errors import UserError
from hiercam_keras.modes import resuming, splitting, train
from hiercam_keras.training import fit


def weights(path):
    return keras.saving.load_model(path / "model.keras", compile=False).get_weights()


def test_run_folder_is_complete(trained):
    path = trained.path("family")
    names = {entry.name for entry in path.iterdir()}
    assert {
        "config.json",
        "split",
        "taxonomy.json",
        "model.keras",
        "checkpoints",
        "log.csv",
        "curves.png",
    } <= names
    record = json.loads((path / "config.json").read_text())
    assert record["state"] == "finished"
    assert record["ranks"] == ["family"]
    assert record["data_dir"] is None
    assert record["config"]["data"]["image_size"] == tiny_birds.SIZE
    parts = {"study", "curves", "sweep", "causes", "pretrain"}
    assert not parts & record["config"].keys()
    assert record["versions"]["keras"] == keras.__version__
    log = tables.read_log(path / "log.csv")
    assert log["epoch"] == [1, 2]
    assert np.isfinite(log["loss"]).all() and np.isfinite(log["val_accuracy"]).all()
    assert not [name for name in names if name.startswith(".")]


def test_every_rank_has_the_same_split_to_the_byte(trained):
    first, *others = (
        [(path / "split" / f"{part}.txt").read_bytes() for part in parts]
        for parts in [("train", "val", "test")]
        for path in (
            trained.path("family"),
            trained.path("species"),
            trained.path("order", "species"),
        )
    )
    assert others == [first, first]
    ids = [content.decode().split() for content in first]
    assert [len(part) for part in ids] == [62, 9, 9]
    assert len(set(sum(ids, []))) == 80


@pytest.mark.parametrize("split_seed", [-1, 0])
def test_seeds_share_a_split_where_that_is_asked_for(config, split_seed):
    records = train.load_source(config, None).records
    splits = []
    for config.seed in (0, 1):
        config.data.split_seed = split_seed
        splits.append(splitting.make_split(records, config))
    assert (splits[0].test == splits[1].test) == (split_seed == 0)


def test_a_multi_rank_run_logs_every_head(trained):
    log = tables.read_log(trained.path("order", "species") / "log.csv")
    heads = np.array(log["val_order_loss"]) + np.array(log["val_species_loss"])
    np.testing.assert_allclose(log["val_loss"], heads, rtol=1e-6)
    assert {"order_accuracy", "species_accuracy", "val_species_accuracy"} <= set(log)


def test_a_second_training_is_refused(trained):
    with pytest.raises(UserError, match="holds a finished run.*--resume.*--overwrite"):
        tiny_birds.run("train", trained.config, rank=("family",))


def test_resume_with_other_settings_is_refused_and_names_them(trained):
    fields = {"train.learning_rate": 0.5, "seed": 0}
    with pytest.raises(UserError, match=r"config\.train\.learning_rate differ"):
        tiny_birds.run(
            "train", trained.config, rank=("family",), resume=True, fields=fields
        )
    folder = str(trained.path("family"))
    with pytest.raises(UserError, match=r"--rank \(was family\)"):
        tiny_birds.run(
            "train", trained.config, rank=("order",), resume=True, workdir=folder
        )


def test_a_finished_run_resumed_is_the_same_run(trained, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(trained.path("family"), copy)
    # Runs of earlier versions recorded the sections of experiments, too.
    record = json.loads((copy / "config.json").read_text())
    record["config"]["study"] = {"seeds": [5]}
    (copy / "config.json").write_text(json.dumps(record))
    tiny_birds.run(
        "train", trained.config, rank=("family",), resume=True, workdir=str(copy)
    )
    for one, other in zip(weights(copy), weights(trained.path("family")), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_finished_run_goes_on_to_more_epochs(trained, tmp_path):
    copy = tmp_path / "run"
    without = shutil.ignore_patterns(
        *resuming.RESULTS
    )  # other tests may have made some
    shutil.copytree(trained.path("family"), copy, ignore=without)
    (copy / "eval").mkdir()
    three = {"rank": ("family",), "fields": {"train.epochs": 3}}
    with capture() as lines:
        tiny_birds.run("train", trained.config, resume=True, workdir=str(copy), **three)
    text = "\n".join(lines)
    assert "was started for 2 epochs and is extended to 3" in text
    assert "eval in " in text and "of the model of 2 epochs" in text
    # The cosine of two epochs is at its end, that of three is not.
    assert "the schedule (cosine) is that of 3 epochs" in text
    assert "where that of 2 epochs has 0." in text
    record = json.loads((copy / "config.json").read_text())
    assert record["state"] == "finished" and record["epochs_before"] == [2]
    assert record["config"]["train"]["epochs"] == 3
    assert tables.read_log(copy / "log.csv")["epoch"] == [1, 2, 3]
    with pytest.raises(UserError, match=r"config\.train\.epochs differ.*may be larger"):
        tiny_birds.run(
            "train", trained.config, rank=("family",), resume=True, workdir=str(copy)
        )


@contextlib.contextmanager
def capture():
    """The lines of the log."""
    lines = []

    class Keep(logging.Handler):
        def emit(self, record):
            lines.append(record.getMessage())

    handler, logger = Keep(), absl_logging.get_absl_logger()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, trained, birds):
    """A family run like the finished one, interrupted in its second epoch."""
    config = tiny_birds.make_config(tmp_path_factory.mktemp("stopped"), birds)
    batches = fit._training_batches

    def interrupted(loader, counts, epoch, *args):
        for number, batch in enumerate(batches(loader, counts, epoch, *args), 1):
            if epoch == 1 and number == loader.num_batches:
                raise KeyboardInterrupt
            yield batch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "_training_batches", interrupted)
        with pytest.raises(KeyboardInterrupt):
            tiny_birds.run("train", config, rank=("family",))
    path = tmp_path_factory.mktemp("kept") / "run"
    shutil.copytree(trained._replace(runs=_runs(config)).path("family"), path)
    return config, path


def _runs(config):
    from pathlib import Path

    return Path(config.runs_dir)


def test_a_stopped_run_has_no_model_and_says_how_to_go_on(stopped):
    config, path = stopped
    assert json.loads((path / "config.json").read_text())["state"] == "training"
    assert tables.read_log(path / "log.csv")["epoch"] == [1]
    with pytest.raises(UserError, match="without a finished model.*--resume"):
        tiny_birds.run("eval", config, rank=("family",))
    with pytest.raises(UserError, match="holds a stopped run.*--resume"):
        tiny_birds.run("train", config, rank=("family",))


def test_a_resumed_run_equals_an_undisturbed_one(stopped, trained):
    config, path = stopped
    tiny_birds.run("train", config, rank=("family",), resume=True)
    resumed = _runs(config) / "mini" / "family" / "seed0"
    undisturbed = trained.path("family")
    assert (resumed / "log.csv").read_bytes() == (undisturbed / "log.csv").read_bytes()
    for one, other in zip(weights(resumed), weights(undisturbed), strict=True):
        np.testing.assert_array_equal(one, other)


def test_damaged_checkpoints_are_told(stopped, tmp_path):
    config, path = stopped
    copy = tmp_path / "run"
    shutil.copytree(path, copy)
    for one in (copy / "checkpoints").rglob("metadata"):
        one.write_bytes(b"")
    with pytest.raises(
        UserError, match=r"every checkpoint in .*run/checkpoints.*--over"
    ):
        tiny_birds.run(
            "train", config, rank=("family",), resume=True, workdir=str(copy)
        )


def test_what_changes_no_result_may_change_on_the_way(stopped, tmp_path):
    config, path = stopped
    copy = tmp_path / "run"
    shutil.copytree(path, copy)
    fields = {"train.checkpoint_minutes": 1.0, "data.workers": 2}
    flags = {"resume": True, "workdir": str(copy), "fields": fields}
    tiny_birds.run("train", config, rank=("family",), **flags)
    assert (copy / "model.keras").is_file()


def test_overwrite_replaces_the_run_but_not_for_a_wrong_flag(trained, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(trained.path("family"), copy)
    (copy / "eval" / "test").mkdir(parents=True, exist_ok=True)
    before = (copy / "model.keras").read_bytes()
    again = {"rank": ("family",), "workdir": str(copy), "overwrite": True}
    for fields in (
        {"train.optimizer": "adan"},
        {"train.epochs": 0},
        {"train.freeze_through": "conv9"},
        {"data.batch_size": 0},
        {"data.image_size": 8},  # maps of one cell
    ):
        with pytest.raises(UserError):
            tiny_birds.run("train", trained.config, fields=fields, **again)
        assert (copy / "model.keras").read_bytes() == before
        assert (copy / "eval" / "test").is_dir()
    fields = {"train.epochs": 1, "train.reestimate_batches": 2}
    said = tiny_birds.run("train", trained.config, fields=fields, **again)
    assert said.splitlines()[0] == f"wrote {copy / 'model.keras'}"
    assert said.splitlines()[1].startswith("best of 1 epoch is 1: accuracy")
    assert not (copy / "eval").exists()
    assert tables.read_log(copy / "log.csv")["epoch"] == [1]
    # Added to the command that was refused, it starts over, with the new settings.
    fields |= {"model.weights": "none", "data.batch_size": 4}
    with pytest.raises(UserError, match="differ"):
        tiny_birds.run(
            "train", trained.config, fields=fields, **{**again, "overwrite": False},
            resume=True,
        )  # fmt: skip
    tiny_birds.run("train", trained.config, fields=fields, **again, resume=True)
    config = json.loads((copy / "config.json").read_text())["config"]
    assert config["data"]["batch_size"] == 4


@pytest.mark.parametrize(
    ("rank", "words"),
    [
        ("famly", r"unknown rank 'famly'.*Did you mean 'family'"),
        ("kingdom", "kingdom"),
        ("class", "class"),
    ],
)
def test_a_rank_that_cannot_be_trained(trained, config, rank, words):
    with pytest.raises(UserError, match=words) as error:
        tiny_birds.run("train", config, rank=(rank,))
    assert "\n" not in str(error.value)
    assert not _runs(config).exists()  # nothing is left behind


def test_a_training_without_train_images_is_refused(config):
    config.data.fractions = (0, 0.5, 0.5)
    with pytest.raises(UserError, match="leaves no image for the training: its first"):
        tiny_birds.run("train", config, rank=("family",))


def test_a_misspelt_rank_shows_before_birds_are_drawn(tmp_path):
    config = tiny_birds.make_config(tmp_path, tmp_path / "birds")
    with pytest.raises(UserError, match="Did you mean 'family'"):
        tiny_birds.run("train", config, rank=("famly",))
    assert not list(tmp_path.iterdir())


def test_a_workdir_below_a_file(trained, config, tmp_path):
    (tmp_path / "file").write_text("")
    for mode in ("train", "pretrain"):
        with pytest.raises(UserError, match=r"cannot make the folder .*file/run"):
            tiny_birds.run(mode, config, workdir=str(tmp_path / "file" / "run"))


def test_augmentation_cannot_hide_a_trait(trained, birds):
    """The largest erased area is smaller than the smallest part that marks a taxon."""
    from importlib import import_module

    from PIL import Image

    from hiercam_keras.data import augment, sources

    shipped = import_module("configs.synthetic_birds").get_config()
    source = sources.load(trained.config.data)
    labels = {label for _, label in source.evidence.values()}
    smallest = 1.0
    for record in source.records:
        parts = np.asarray(Image.open(record.parts_path))
        smallest = min(smallest, *((parts == label).mean() for label in labels))
    assert smallest > 0
    size = shipped.data.image_size
    drawn = augment.draw(shipped.augment, 0, 0, np.arange(4000), size)
    top, left, bottom, right = drawn.erase.T
    areas = (bottom - top) * (right - left) / size**2
    assert 0 < areas.max() <= shipped.augment.erasing_area[1] + 1e-9
    assert areas.max() < smallest
    assert 0.15 < np.mean(areas > 0) < 0.25


def test_maps_of_one_cell_are_refused_before_the_run_is_begun(config):
    """The tiny network strides by 8: at 8 px its map is one cell."""
    with pytest.raises(UserError, match=r"image_size=8.*one cell.*image_size=64"):
        tiny_birds.run("train", config, rank=("order",), fields={"data.image_size": 8})
    assert not _runs(config).exists()


def test_a_batch_larger_than_the_data_becomes_the_largest_that_fits(config, caplog):
    """62 of the 80 birds are trained on."""
    config.train.epochs = 1
    fields = {"data.batch_size": 500}
    with caplog.at_level(logging.INFO, logger="absl"):
        said = tiny_birds.run("train", config, rank=("family",), fields=fields)
    assert "wrote" in said
    assert "data.batch_size 500 becomes 62: the training split has 62" in caplog.text


@pytest.mark.parametrize("name", ["data.batch_size", "cam.batch_size"])
@pytest.mark.parametrize("mode", ["train", "cam"])
def test_a_batch_of_no_images_names_its_field(config, mode, name):
    with pytest.raises(UserError, match=rf"--config\.{name} is 0, expected 1 or more"):
        tiny_birds.run(mode, config, rank=("family",), fields={name: 0})


def test_a_run_of_an_earlier_version_goes_on_with_what_it_did(trained, tmp_path):
    """It kept untrained taxa, and every validation chose the epoch."""
    copy = tmp_path / "run"
    shutil.copytree(trained.path("family"), copy)
    record = json.loads((copy / "config.json").read_text())
    del record["config"]["data"]["untrained_taxa"]
    del record["config"]["train"]["keep_best_images"]
    del record["config"]["cam"]["score"]  # another field that was new once
    (copy / "config.json").write_text(json.dumps(record))
    flags = {"rank": ("family",), "resume": True, "workdir": str(copy)}
    with pytest.raises(UserError, match="config.data.untrained_taxa differ"):
        tiny_birds.run("train", trained.config, **flags)
    fields = {"data.untrained_taxa": "keep"}
    said = tiny_birds.run("train", trained.config, fields=fields, **flags)
    assert said.startswith(f"wrote {copy}")
