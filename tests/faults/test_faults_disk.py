"""A disk that fills up while a checkpoint or a shard of maps is written."""

import numpy as np
import pytest
import tiny_birds
from array_loader import ArrayLoader, make_images

from hiercam_keras import workdir
from hiercam_keras.errors import UserError


@pytest.fixture
def train(tmp_path):
    """Trains a small network for three epochs of four batches."""
    import keras

    from configs import default
    from hiercam_keras.models.initializers import numpy_initializers
    from hiercam_keras.training import fit

    def train(folder, resume=False, before_step=None):
        config = default.get_config()
        config.train.update(
            epochs=3, learning_rate=0.02, checkpoint_steps=1, keep_best=False
        )
        keras.utils.set_random_seed(0)
        with numpy_initializers():
            image = keras.Input((8, 8, 3))
            x = keras.layers.Rescaling(1 / 255)(image)
            x = keras.layers.Dense(32, "relu")(keras.layers.Flatten()(x))
            model = keras.Model(image, keras.layers.Dense(2)(x))
        training = ArrayLoader(*make_images(0, 34), 8, True)
        fit.compile_model(model, {"family": 2}, config.train, 4)
        with pytest.MonkeyPatch.context() as patch:
            if before_step:
                step, act = before_step
                batches = fit._training_batches

                def acting(loader, counts, epoch, *args):
                    for number, batch in enumerate(
                        batches(loader, counts, epoch, *args)
                    ):
                        if 4 * epoch + number == step:
                            act()
                        yield batch

                patch.setattr(fit, "_training_batches", acting)
            fit.train(model, training, None, {"family": 2}, config, folder, resume)
        return model.get_weights()

    return train


# Orbax leaves the event loop of a failed write to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_full_while_a_checkpoint_is_written(train, small_disk, tmp_path):
    expected = train(tmp_path / "whole")
    run = small_disk.path / "run"
    with pytest.raises(UserError, match=r"cannot write a checkpoint in .*--resume"):
        train(run, before_step=(6, lambda: small_disk.fill(3000)))
    small_disk.free()
    for one, other in zip(train(run, resume=True), expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert not list((run / "checkpoints").glob("*tmp*"))


# Checkpoints of 300 more arrays, as a large network has, of which most are under way
# when the disk, full from the second epoch on, refuses the first.
MANY_ARRAYS = """
import os, resource
import numpy as np
from pathlib import Path
from hiercam_keras.training import checkpoint
from hiercam_keras.training.saving import Saving
copy, begin = checkpoint.host_copy, Saving.on_epoch_begin
def host_copy(model):
    arrays = copy(model)
    more = np.random.default_rng(0).random((300, 1024), np.float32)
    arrays["metrics"] |= {f"more{i:05d}": one for i, one in enumerate(more)}
    return arrays
def on_epoch_begin(self, epoch, logs=None):
    if epoch == 1 and os.environ["MOUNTED"] == "True":
        status = os.statvfs(os.environ["DISK"])
        size = status.f_bavail * status.f_frsize - 400_000
        Path(os.environ["DISK"], "ballast").write_bytes(bytes(size))
    elif epoch == 1:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, resource.RLIM_INFINITY))
    begin(self, epoch, logs)
checkpoint.host_copy, Saving.on_epoch_begin = host_copy, on_epoch_begin
"""


def test_a_full_disk_is_told_in_one_line(start, birds, small_disk):
    """And not once more by each write that was under way."""
    flags = [*tiny_birds.command_line(birds), f"--workdir={small_disk.path}/run"]
    where = {"DISK": str(small_disk.path), "MOUNTED": str(small_disk.mounted)}
    process = start("--mode=train", *flags, hook=MANY_ARRAYS, env=where)
    said, told = process.communicate(timeout=300)
    assert process.returncode == 1 and said == "", told[-3000:]
    before, _, after = told.partition("an incomplete last batch, drawn again\n")
    assert "training tiny" in before
    lines = [one for one in after.splitlines() if not one.startswith("epoch ")]
    assert len(lines) == 1, told[:3000]
    assert lines[0].startswith("error: cannot write a checkpoint in ")


def test_full_while_maps_are_written(birds, small_disk, tmp_path):
    config = tiny_birds.make_config(tmp_path, birds)
    config.train.epochs = 1
    run = small_disk.path / "run"
    flags = {"rank": ("family",), "workdir": str(run)}
    tiny_birds.run("train", config, **flags)
    asked = {**flags, "split": "train", "fields": {"cam.num_overlays": 0}}
    real = workdir.atomic_path
    seen = []

    def filling(path, **options):
        seen.append(path)
        if len([one for one in seen if one.name.startswith("shard-")]) == 1:
            small_disk.fill(2000)
        return real(path, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workdir, "atomic_path", filling)
        with pytest.raises(UserError, match=r"cannot write .*shard-\d+\.npz: "):
            tiny_birds.run("cam", config, **asked)
    assert not list((run / "maps").rglob("shard-*"))
    assert not list((run / "maps").rglob(".*.tmp*"))
    small_disk.free()
    said = tiny_birds.run("cam", config, **asked)
    assert said.startswith("62 maps of the train split, 62 of them made now")
