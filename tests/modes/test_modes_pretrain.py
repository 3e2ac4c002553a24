"""--mode=pretrain in two small phases, and a run that starts from its weights."""

import json

import numpy as np
import pytest
import tiny_birds

from hiercam_keras.errors import UserError
from hiercam_keras.models import backbones, weights


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory, birds):
    """Its config and folder, and what it said."""
    folder = tmp_path_factory.mktemp("pretrained")
    config = tiny_birds.make_config(folder, birds)
    config.pretrain.update(
        {"num_trees": 2, "phases": ((32, 3), (48, 2)), "batch_size": 4}
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hiercam_keras.modes.pretrain._MEASURED_BATCHES", 2)
        said = tiny_birds.run("pretrain", config)
        yield config, folder / "runs" / "pretrain", said


def test_it_writes_weights_and_a_record(pretrained):
    _, folder, said = pretrained
    assert said.startswith(f"wrote {folder / 'pretrained.npz'}")
    record = json.loads((folder / "record.json").read_text())
    assert record["images"] == (3 + 2) * 4
    assert record["measured_on_new_pictures"] == 8
    assert [row["step"] for row in record["log"]] == [3, 5]
    assert len(record["accuracy_per_rank"]) == 4
    assert all(0 < chance < 1 for chance in record["chance_per_rank"])
    arrays, metadata = weights.read_npz(folder / "pretrained.npz")
    assert metadata["backbone"] == "tiny"
    assert arrays["conv1/kernel"].dtype == np.float16
    assert arrays["bn1/moving_variance"].dtype == np.float32


def test_a_backbone_starts_from_the_weights(pretrained):
    _, folder, _ = pretrained
    path = str(folder / "pretrained.npz")
    model = backbones.build_backbone("tiny", 48, path)
    arrays, _ = weights.read_npz(path)
    kernel = np.asarray(model.get_layer("conv2").kernel)
    np.testing.assert_array_equal(kernel, arrays["conv2/kernel"].astype(np.float32))


def test_a_second_one_is_refused_and_a_finished_one_resumes(pretrained):
    config, folder, _ = pretrained
    with pytest.raises(UserError, match="holds a pretraining.*--resume.*--overwrite"):
        tiny_birds.run("pretrain", config)
    before, _ = weights.read_npz(folder / "pretrained.npz")
    tiny_birds.run("pretrain", config, resume=True)
    after, _ = weights.read_npz(folder / "pretrained.npz")
    for name, values in before.items():
        np.testing.assert_array_equal(after[name], values)
