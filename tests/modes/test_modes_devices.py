"""A run that goes on with another number of devices keeps the batches it began with."""

import eight_devices
import pytest

# On eight virtual devices: trainings that stop before a step, and go on with others.
CODE = """
import json, sys
from pathlib import Path
from hiercam_keras import runtime
runtime.prepare_process()
import tiny_birds
tiny_birds.register()
from hiercam_keras.runs import run_folder
from hiercam_keras.errors import Stopped, UserError
from hiercam_keras import tables
from hiercam_keras.training.saving import Saving

place, begin = Path(sys.argv[1]), Saving.on_train_batch_begin
config = tiny_birds.make_config(place, place / "birds")
config.data.batch_size = 6  # of 62 images

def train(name, devices, stop=None, resume=False):
    def stopping(self, batch, logs=None):
        begin(self, batch, logs)
        if self.epoch == 1 and batch == stop:
            raise Stopped("SIGTERM", 75)
    Saving.on_train_batch_begin = stopping
    fields = {"distribution.devices": devices}
    run = str(place / name)
    flags = {"rank": ("family",), "workdir": run, "resume": resume}
    try:
        tiny_birds.run("train", config, fields=fields, **flags)
    except UserError as error:
        return str(error)
    except Stopped as stopped:
        return str(stopped)
    log = {k: list(map(float, v)) for k, v in tables.read_log(f"{run}/log.csv").items()}
    return [run_folder.read(run).record["batch_size"], log]

print(json.dumps({
    "one": train("one", 1),
    "eight": train("eight", 8),
    "up": [train("up", 1, 4), train("up", 8, None, True), train("up", 3, None, True)],
    "down": [train("down", 8, 4), train("down", 1, None, True)],
}))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return eight_devices.run(CODE, tmp_path_factory.mktemp("devices"))


def same(found, expected):
    """The same batch size, and logs to round-off."""
    (size, log), (same_size, other) = found, expected
    assert size == same_size and log.keys() == other.keys()
    for name, values in log.items():
        assert values == pytest.approx(other[name], rel=1e-4), name


def test_from_one_to_eight_is_refused_and_to_three_goes_on(found):
    """Ten batches of 6 an epoch; eight devices would make it seven of 8."""
    stopped, refused, ended = found["up"]
    assert "step 4 of epoch 2" in stopped
    assert "batches of 6 images, which 8 devices cannot share" in refused
    assert ended[0] == 6
    same(ended, found["one"])


def test_from_eight_to_one_keeps_the_rounded_batch(found):
    stopped, ended = found["down"]
    assert "step 4 of epoch 2" in stopped
    assert ended[0] == 8
    same(ended, found["eight"])
