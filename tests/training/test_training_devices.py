"""Eight devices that share each batch give what one gives: steps, metrics, maps."""

import eight_devices
import pytest

# Everything twice in one process: on the first of eight virtual devices, and on all.
CODE = """
import json, sys
from pathlib import Path
import jax, keras, numpy as np
from hiercam_keras import runtime
from hiercam_keras.cam import Explainer
from hiercam_keras.errors import Stopped
from hiercam_keras.models import batchnorm
from hiercam_keras.models.xla_layers import CPU_KINDS, accelerate, shards
from hiercam_keras.training import fit
from hiercam_keras.training.predict import predict_logits
from hiercam_keras.training.saving import Saving
from array_loader import ArrayLoader, make_images
from configs import default

folder = Path(sys.argv[1])
L = keras.layers
config = default.get_config()
config.train.update(optimizer="sgd", learning_rate=0.05, epochs=5, keep_best=False)
training = ArrayLoader(*make_images(0, 70), 16, True)  # 4 batches, 6 images left over
uneven = ArrayLoader(*make_images(1, 21), 6, False)

def build():
    image = keras.Input((8, 8, 3), name="image")
    x = L.Rescaling(1 / 255)(image)
    x = L.Conv2D(6, 3, 2, use_bias=False)(x)
    x = L.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    x = L.BatchNormalization(momentum=0.5)(x)
    x = L.Activation("relu", name="top")(x)
    x = L.GlobalAveragePooling2D()(x)
    x = L.Dropout(0.25)(x)
    model = keras.Model(image, L.Dense(3)(x))
    model = accelerate(model, CPU_KINDS)
    fit.compile_model(model, {"species": 3}, config.train, 4)
    return model

def start(devices):
    runtime.start(0, "float32", devices)
    return build()

def gradients(model):
    batch = next(training.epoch(0))
    images, labels = shards.place((batch.images, batch.labels["species"]))
    def loss(trainable):
        state = [v.value for v in model.non_trainable_variables]
        out, _ = model.stateless_call(trainable, state, images, training=True)
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True)(labels, out)
    trainable = [v.value for v in model.trainable_variables]
    return [np.asarray(g) for g in jax.jit(jax.grad(loss))(trainable)]

def run(devices, name, resume=False):
    model = start(devices)
    rows = fit.train(
        model, training, uneven, {"species": 3}, config, folder / name, resume
    )
    return model, [row["loss"] for row in rows], rows[-1]["val_accuracy"]

def explained(model):
    images, _ = make_images(2, 11)
    return Explainer(model, "top", batch_size=6)(images).cams

found = {}
begin = Saving.on_train_batch_begin
for devices, name in ((1, "one"), (8, "all")):
    grads = gradients(start(devices))
    model, losses, accuracy = run(devices, name)
    logits = predict_logits(model, uneven, ("species",))
    found[name] = grads, losses, accuracy, logits, explained(model)
    last = model

def stopping(self, batch, logs=None):
    begin(self, batch, logs)
    if self.epoch == 2 and batch == 2:
        raise Stopped("SIGTERM", 75)
Saving.on_train_batch_begin = stopping
try:
    run(8, "moved")
except Stopped:
    pass
Saving.on_train_batch_begin = begin
_, moved, _ = run(1, "moved", resume=True)

# Statistics of batch norm, over batches of 16 on all devices.
statistics = []
for devices in (1, 8):
    model = start(devices)
    seen = batchnorm.reestimate(model, (b.images for b in training.epoch(0)))
    norm = next(x for x in model.layers if isinstance(x, L.BatchNormalization))
    values = [norm.moving_mean, norm.moving_variance]
    statistics.append([seen, *np.concatenate([np.asarray(v) for v in values]).tolist()])

# The weights that eight devices learned, asked on one.
weights = last.get_weights()
one = start(1)
one.set_weights(weights)
same_logits = predict_logits(one, uneven, ("species",))
same_maps = explained(one)

a, b = found["one"], found["all"]
off = [float(np.abs(x - y).max() / np.abs(x).max()) for x, y in zip(a[0], b[0])]
print(json.dumps({
    "devices": jax.device_count(),
    "gradients": max(off),
    "losses": [a[1], b[1], moved],
    "accuracy": [a[2], b[2]],
    "ids": [b[3].example_ids, same_logits.example_ids],
    "logits": float(np.abs(
        b[3].logits["species"] - same_logits.logits["species"]).max()),
    "rows": b[3].logits["species"].shape[0],
    "statistics": statistics,
    "maps": float(np.abs(b[4] - same_maps).max() / np.abs(same_maps).max()),
    "num_maps": len(b[4]),
}))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    found = eight_devices.run(CODE, tmp_path_factory.mktemp("devices"))
    assert found["devices"] == 8
    return found


def test_gradients_of_one_step(found):
    assert found["gradients"] < 1e-5


def test_loss_over_twenty_steps(found):
    one, every, _ = found["losses"]
    assert len(one) == 5 and one == pytest.approx(every, rel=1e-5)
    assert found["accuracy"][0] == found["accuracy"][1]


def test_a_training_goes_on_with_another_number_of_devices(found):
    one, _, moved = found["losses"]
    assert len(moved) == 5 and one == pytest.approx(moved, rel=1e-5)


def test_every_image_of_an_uneven_split_has_its_answer(found):
    """21 images in batches of 6, which 8 devices cannot share without padding."""
    every, one = found["ids"]
    assert every == one == [str(number) for number in range(21)]
    assert found["rows"] == 21 and found["logits"] < 1e-5


def test_statistics_are_those_of_whole_batches(found):
    one, every = found["statistics"]
    assert one[0] == every[0] == 64  # images, not those of one device
    assert every == pytest.approx(one, rel=1e-4, abs=1e-6)
    assert max(one[7:]) != 1.0  # no more what they began with


def test_every_image_has_its_map(found):
    assert found["num_maps"] == 11 and found["maps"] < 1e-5
