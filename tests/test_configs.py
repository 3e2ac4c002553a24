"""Configs that start from another one, by name after a colon."""

import importlib

import pytest

OVERRIDES = ("multi_rank", "resnet50", "interpretable")
BASES = ("synthetic_birds", "inat2021_birds", "inatloc500", "cub200_2011")


@pytest.mark.parametrize("name", OVERRIDES)
@pytest.mark.parametrize("base", BASES)
def test_an_override_changes_its_fields_only(name, base):
    plain = importlib.import_module(f"configs.{base}").get_config()
    changed = importlib.import_module(f"configs.{name}").get_config(base)
    assert changed.name == f"{base}_{name}"  # so that runs do not meet in one folder
    fields = {
        "multi_rank": {"model.head_features", "model.head_chain", "train.consistency"},
        "resnet50": {
            "model.backbone",
            "model.weights",
            "train.optimizer",
            "train.learning_rate",
            "train.weight_decay",
            "train.backbone_rate",
        },
        "interpretable": {"train.filter_loss"},
    }[name]
    for part in plain:
        if part in ("name", "model", "train"):
            continue
        assert changed[part] == plain[part]
    for part in ("model", "train"):
        for field in plain[part]:
            if changed[part][field] != plain[part][field]:
                assert f"{part}.{field}" in fields
    assert (changed.model, changed.train) != (plain.model, plain.train)


def test_the_variants_of_curves_share_the_runs_of_their_base():
    for base in BASES:
        plain = importlib.import_module(f"configs.{base}").get_config()
        changed = importlib.import_module("configs.curves").get_config(base)
        assert len(changed.curves.multi_overrides) == 4
        changed.curves.multi_overrides = ()
        assert changed == plain


def test_an_override_alone_starts_from_the_synthetic_birds():
    from configs import multi_rank, synthetic_birds

    config = multi_rank.get_config()
    assert config.data == synthetic_birds.get_config().data


@pytest.mark.parametrize("name", ["gpu", "tpu"])
def test_configs_of_accelerators(name):
    """They load, change another experiment alike, and save within epochs on hosts."""
    from configs import synthetic_birds

    module = importlib.import_module(f"configs.{name}")
    config = module.get_config()
    assert config.name == name and config.model.dtype == "mixed_bfloat16"
    assert config.train.checkpoint_steps > 0  # several hosts do not go by minutes
    other = module.apply(synthetic_birds.get_config())
    assert other.data.batch_size == config.data.batch_size
    assert other.data.source == "synthetic_birds"
