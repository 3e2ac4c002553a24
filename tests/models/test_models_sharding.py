"""The fast layers under data parallelism on eight virtual devices."""

import json
import os
import subprocess
import sys

STEP = """
import json, re, sys
import jax, keras, numpy as np
from hiercam_keras.models.xla_layers import CPU_KINDS, accelerate

distribution = keras.distribution.DataParallel(auto_shard_dataset=False)
L = keras.layers
rng = np.random.default_rng(0)
images = rng.standard_normal((16, 12, 12, 3)).astype("float32")

def build():
    image = keras.Input((12, 12, 3))
    x = L.Conv2D(4, 3, 2, "same")(image)
    x = L.DepthwiseConv2D(3, padding="same")(x)
    x = L.BatchNormalization()(x)
    x = L.Activation("swish")(x)
    x = L.DepthwiseConv2D(5, 2, padding="same")(x)
    x = L.Conv2D(5, 1)(x)
    return keras.Model(image, L.GlobalAveragePooling2D()(x))

def compiled(model, images):
    @jax.jit
    def step(trainable, state, images):
        def loss(trainable):
            out, new = model.stateless_call(trainable, state, images, training=True)
            return (out ** 2).sum(), new
        return jax.grad(loss, has_aux=True)(trainable)
    state = [v.value for v in model.non_trainable_variables]
    arguments = [v.value for v in model.trainable_variables], state, images
    program = step.lower(*arguments).compile()
    return program.as_text(), jax.tree.leaves(program(*arguments))

def seeded(kinds):
    keras.utils.set_random_seed(0)
    return accelerate(build(), kinds)

_, expected = compiled(seeded("none"), images)
keras.distribution.set_distribution(distribution)
shards = jax.device_put(
    images, distribution.get_data_layout(images.shape).backend_layout
)
text, got = compiled(seeded(CPU_KINDS), shards)
lean_text, lean = compiled(seeded("lean"), shards)
off = max(
    float(np.abs(np.asarray(a) - np.asarray(b)).max() / (1 + np.abs(b).max()))
    for a, b in zip([*got, *lean], [*expected, *expected])
)
moves = ("all-gather", "all-to-all", "collective-permute")
gathers = [
    line.strip()[:200]
    for line in (text + lean_text).splitlines()
    if any(move in line for move in moves)
]
print(json.dumps({
    "devices": len(jax.devices()), "off": off, "gathers": gathers,
    "reduces": text.count("all-reduce("), "loops": text.count(" while("),
}))
"""


def test_step_gathers_no_activations():
    flags = "--xla_force_host_platform_device_count=8"
    environment = {**os.environ, "XLA_FLAGS": flags}
    done = subprocess.run(
        [sys.executable, "-c", STEP], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["devices"] == 8
    assert report["gathers"] == []
    assert report["reduces"] > 0
    assert report["loops"] >= 2  # the weight gradients' own loops were compiled
    assert report["off"] < 1e-4
