"""Flags and overrides that cannot take effect are refused."""

import importlib
import os
import pathlib
import re

import pytest
import tiny_birds
from ml_collections import FrozenConfigDict

from hiercam_keras import multihost
from hiercam_keras.errors import UserError
from hiercam_keras.modes import usage
from hiercam_keras.modes.settings import Settings
from hiercam_keras.runs import recorded_config, run_folder
from hiercam_keras.taxonomy.lineage import parse_class_name
from hiercam_keras.taxonomy.tree import Taxonomy

ROOT = pathlib.Path(__file__).parent.parent.parent
RUN_MODES = [mode for mode in usage.MODES if usage.USAGE[mode].takes_run]


def test_every_flag_is_in_the_table():
    text = (ROOT / "hiercam_keras" / "cli.py").read_text("utf-8")
    defined = set(re.findall(r"DEFINE_\w+\(\s*\"(\w+)\"", text))
    assert {"mode", "config", "rank", "multihost"} < defined
    assert usage.FLAGS == defined - {"mode", "config", "version"}


def test_every_mode_is_a_module_and_says_what_a_stop_leaves():
    for mode in usage.MODES:
        settings = Settings(mode=mode, config=FrozenConfigDict())
        path = ROOT / (settings.module.replace(".", "/") + ".py")
        assert path.is_file() and usage.USAGE[mode].after_stop.endswith(".")
    assert usage.EXPERIMENTS == ("study", "curves", "granularity", "causes")
    several = {mode for mode in usage.MODES if "multihost" in usage.USAGE[mode].flags}
    assert several == set(multihost.MODES)


def fields_of(config, path=""):
    for name in config:
        inner = f"{path}.{name}".lstrip(".")
        if hasattr(config[name], "to_dict"):
            yield from fields_of(config[name], inner)
        else:
            yield inner


FIELDS = sorted(
    fields_of(importlib.import_module("configs.synthetic_birds").get_config())
)


def test_every_field_has_a_reader_and_no_name_is_stale():
    sweeps = ("study.", "curves.", "sweep.", "causes.")
    for field in FIELDS:
        others = set(usage.users_of(field).split(", ")) - set(usage.EXPERIMENTS)
        assert bool(others) != field.startswith(sweeps), field
    table = usage.USAGE.values()
    for name in {name for one in table for name in one.fields + one.but} - {""}:
        assert any(f"{field}.".startswith(f"{name}.") for field in FIELDS), name


@pytest.mark.parametrize("mode", RUN_MODES)
def test_no_mode_with_a_run_reads_what_only_a_training_does(mode):
    for field in FIELDS:
        if field.startswith(("train.", "augment.", "model.", "study.", "pretrain.")):
            loading = field in ("model.fast_layers", "model.modules")
            assert usage.USAGE[mode].reads(field) == loading
    assert usage.USAGE[mode].reads("data.root")
    assert not usage.USAGE[mode].reads("data.fractions")


FILES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs").glob("*.ipynb")),
    *sorted((ROOT / "configs").glob("*.py")),
    ROOT / "benchmarks" / "README.md",
    ROOT / "Makefile",
]
IMPORTED = ("data.fractions", "data.split_seed")
COMMAND = re.compile(r"(?:main\.py|\$\(RUN\))((?:\s+(?:--[^\s`|)]+|'--[^']+'))+)")


def commands(path):
    """Text and names of the flags of each command in a file."""
    text = path.read_text("utf-8").replace("\\\n", " ").replace('\\"', '"')
    for found in COMMAND.finditer(text):
        yield found[0], re.findall(r"(?<=--)[\w.]+", found[1])


def test_the_commands_of_the_documents_pass():
    seen = 0
    for path in FILES:
        for text, flags in commands(path):
            seen += 1
            mode = re.search(r"--mode=(\w+)", text)
            mode = mode[1] if mode else "train"
            if mode not in usage.MODES:  # `--mode=...`
                continue
            usage.check_flags(mode, flags)
            fields = [name[7:] for name in flags if name.startswith("config.")]
            usage.check_fields(mode, fields)
            # An imported network's images are dealt out by the command.
            dealt = () if mode == "train" or "workdir" not in flags else IMPORTED
            unread = [
                one
                for one in fields
                if not usage.USAGE[mode].reads(one) and one not in dealt
            ]
            assert not unread, f"{path.name}: {text}"
    assert seen > 40


@pytest.mark.parametrize(
    ("mode", "given", "words"),
    [
        ("eval", {"top_k"}, "--top_k has no effect with --mode=eval: .* of predict. "),
        (
            "eval",
            {"method"},
            "--method .* flag of cam, localize, compare, guide, study",
        ),
        ("compare", {"rank"}, "compare takes .*--ranks"),
        ("train", {"image"}, "--image has no effect with --mode=train"),
        ("causes", {"method"}, "--method has no effect with --mode=causes"),
        ("study", {"resume"}, "--resume .* flag of pretrain, train"),
        ("guide", {"num_overlays"}, "--num_overlays .* flag of cam"),
        ("cam", {"image", "split"}, "--split has no effect with --image"),
        ("compare", {"runs", "ranks"}, "--ranks has no effect with --runs"),
    ],
)
def test_a_flag_that_the_mode_does_not_use(mode, given, words):
    with pytest.raises(UserError, match=words) as error:
        usage.check_flags(mode, given)
    assert "\n" not in str(error.value)
    usage.check_flags(mode, {"data_dir", "config", "mode"})


def run_settings(mode, tmp_path, fields):
    config = tiny_birds.make_config(tmp_path, tmp_path / "birds")
    return config, Settings(
        mode=mode, config=FrozenConfigDict(config), overrides=fields
    )


REFUSED = [
    ("cam", {"model.weights": "imagenet"}),
    ("eval", {"model.backbone": "resnet50"}),
    ("cam", {"data.batch_size": 4}),
    ("localize", {"train.epochs": 9}),
    ("compare", {"data.fractions": (0.5, 0.25, 0.25)}),
    ("guide", {"augment.hue": 0.5}),
    ("predict", {"cam.method": "layercam"}),
    ("guide", {"cam.num_overlays": 7}),
    ("cam", {"model.dtype": "mixed_bfloat16"}),
]


@pytest.mark.parametrize(("mode", "fields"), REFUSED)
def test_an_override_that_cannot_take_effect(mode, fields, tmp_path):
    config, settings = run_settings(mode, tmp_path, fields)
    ((name, value),) = fields.items()
    with pytest.raises(UserError, match=rf"--config.{name}=.* no effect") as error:
        settings.config_of(config.to_dict())
    assert "Leave it out, or train another run." in str(error.value)
    assert "\n" not in str(error.value)


def test_a_field_of_an_experiment_is_in_no_run(tmp_path):
    config, settings = run_settings("eval", tmp_path, {"study.seeds": (5,)})
    record = recorded_config.of_training(config.to_dict())
    with pytest.raises(UserError, match="study.seeds has no effect .* read by study"):
        settings.config_of(record)
    _, settings = run_settings("eval", tmp_path, {"data.batch_size": 4})
    assert settings.config_of(record).data.batch_size == 4


@pytest.mark.parametrize(("mode", "fields"), REFUSED)
def test_what_the_run_was_trained_with_may_be_given_again(mode, fields, tmp_path):
    """As scripts do that give the same overrides to every mode."""
    config, settings = run_settings(mode, tmp_path, fields)
    config.update_from_flattened_dict(fields)
    record = config.to_dict()
    record["data"]["fractions"] = list(config.data.fractions)  # as JSON has it
    found = settings.config_of(record)
    ((name, value),) = fields.items()
    assert found.to_dict()[name.split(".")[0]][name.split(".")[1]] == value


@pytest.mark.parametrize(
    ("mode", "fields"),
    [
        ("eval", {"data.batch_size": 4}),  # as the message on little memory says
        ("cam", {"cam.method": "layercam", "cam.batch_size": 2}),
        ("cam", {"coherence.min_gain": 0.2, "sanity.order": "cascading"}),
        ("compare", {"compare.num_images": 2, "faithfulness.steps": 4}),
        ("compare", {"report.scale": "row"}),
        ("localize", {"localize.size": 64}),
        ("guide", {"guide.patch": 0.5, "model.fast_layers": "none"}),
        ("predict", {"data.root": "/elsewhere", "data.workers": 2}),
    ],
)
def test_an_override_that_takes_effect(mode, fields, tmp_path):
    config, settings = run_settings(mode, tmp_path, fields)
    found = settings.config_of(config.to_dict())
    for name, value in fields.items():
        section, field = name.split(".")
        assert found[section][field] == value


def test_an_override_of_another_mode_without_a_run():
    with pytest.raises(UserError, match="pretrain.num_trees has no effect .*pretrain"):
        usage.check_fields("train", ["train.epochs", "pretrain.num_trees"])
    with pytest.raises(UserError, match="train.epochs has no effect with --mode=prep"):
        usage.check_fields("prepare", ["data.root", "train.epochs"])
    usage.check_fields("train", ["cam.method", "localize.size"])  # the run keeps them
    trained = [field for field in FIELDS if usage.users_of(field) != "import"]
    for mode in usage.EXPERIMENTS:
        whole = [field for field in trained if not field.startswith("detections.")]
        if mode == "causes":  # which compares methods and layers of its own section
            whole = [one for one in whole if one not in ("cam.method", "cam.layer")]
            with pytest.raises(UserError, match="cam.method has no effect"):
                usage.check_fields(mode, ["cam.method"])
        usage.check_fields(mode, whole)
        with pytest.raises(UserError, match="detections.margin has no effect"):
            usage.check_fields(mode, ["detections.margin"])
    with pytest.raises(UserError, match="model.other has no effect .*read by import"):
        usage.check_fields("train", ["model.other"])


def test_the_run_that_was_trained_last_is_named(tmp_path, monkeypatch):
    """In the first line, with the reason and the others."""
    told = []
    monkeypatch.setattr(
        run_folder.logging, "info", lambda text, *args: told.append(text % args)
    )
    lineage = parse_class_name("00001_Animalia_Chordata_Aves_Ao_Af_Ag_ae")
    record = {"ranks": ["family"], "config": {}, "data_dir": None}
    for name in ("old", "new"):
        path = tmp_path / name / "family" / "seed0"
        run = run_folder.create(
            path, {**record, "data_name": name}, Taxonomy([lineage])
        )
        run.model_path.touch()
        run.finish()
        seconds = {"old": 1, "new": 2}[name]
        os.utime(path / "config.json", (seconds, seconds))
    (found,) = run_folder.find(str(tmp_path), [("family",)], 0)
    assert found.data_name == "new"
    assert told == [
        f"using {tmp_path}/new/family/seed0, the last trained of 2 data sets with such "
        f"runs (also: {tmp_path}/old/family/seed0). --workdir, --data_dir or --config "
        "choose another"
    ]
    told.clear()
    (found,) = run_folder.find(str(tmp_path), [("family",)], 0, "old")
    assert found.data_name == "old" and told == []
