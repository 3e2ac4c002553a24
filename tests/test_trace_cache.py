"""Traced programs in the user's cache: when they are read, and when they are not."""

import contextlib
import functools
import math
import pathlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
from absl import logging

from hiercam_keras import config_files, runtime, trace_cache
from hiercam_keras.cam import Explainer, targets
from hiercam_keras.models import model_digest, xla_layers
from hiercam_keras.training import compiling

# What jax.export writes files with; it comes with TensorFlow.
pytest.importorskip("flatbuffers", reason="TensorFlow is not installed")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The folder of the programs."""
    monkeypatch.setattr(trace_cache, "folder", lambda: tmp_path / "traced")
    monkeypatch.setattr(trace_cache, "_STARTED", math.inf)  # sources may be edited now
    return tmp_path / "traced"


@pytest.fixture
def warnings(monkeypatch):
    lines = []
    monkeypatch.setattr(
        logging, "warning", lambda text, *fields: lines.append(text % fields)
    )
    return lines


class Traced:
    """A function that counts its traces; each one is a process of its own."""

    def __init__(self, factor=2.0):
        self.times, self.factor = 0, factor

    def __call__(self, pair, x):
        self.times += 1
        return {"m": {("a", "b"): pair[0] * x}, "c": [(x.sum() * self.factor, None)]}

    def run(self, key="k", x=None, **options):
        x = np.arange(3, dtype=np.float32) if x is None else x
        call = trace_cache.jit(self, lambda: key, **options)
        return call((jnp.float32(2), None), x)


def test_a_later_process_reads_what_one_has_traced(cache):
    first, second = Traced(), Traced()
    found = first.run()
    again = second.run()
    assert (first.times, second.times) == (1, 0)
    assert len(list(cache.iterdir())) == 1
    for result in (found, again):
        np.testing.assert_array_equal(result["m"]["a", "b"], [0, 2, 4])
        assert float(result["c"][0][0]) == 6 and result["c"][0][1] is None
        assert type(result["c"]) is list and type(result["c"][0]) is tuple


def test_a_program_that_may_only_be_read_is_read(cache, monkeypatch, warnings):
    Traced().run()

    def refuse(place):
        raise PermissionError(f"{place} belongs to another user")

    monkeypatch.setattr(trace_cache.os, "utime", refuse)
    later = Traced()
    later.run()
    assert later.times == 0 and warnings == []


@pytest.mark.parametrize(
    "change",
    ["key", "shape", "type", "source", "version", "setting", "policy", "device"],
)
def test_whatever_changes_a_program_is_in_the_key(cache, monkeypatch, change):
    Traced().run()
    options, context = {}, contextlib.nullcontext()
    if change == "key":
        options["key"] = "other"
    elif change == "shape":
        options["x"] = np.arange(4, dtype=np.float32)
    elif change == "type":
        options["x"] = np.arange(3, dtype=np.int32)
    elif change == "source":
        monkeypatch.setattr(trace_cache, "source", lambda: "other")
    elif change == "version":
        monkeypatch.setattr(jax, "__version__", "0")
    elif change == "setting":
        context = jax.default_matmul_precision("high")
    elif change == "policy":
        policy = keras.config.dtype_policy()
        keras.config.set_dtype_policy("mixed_bfloat16")
    else:
        real = trace_cache._surroundings
        monkeypatch.setattr(trace_cache, "_surroundings", lambda: [*real(), "tpu"])
    other = Traced()
    try:
        with context:
            other.run(**options)
    finally:
        if change == "policy":
            keras.config.set_dtype_policy(policy)
    assert other.times == 1 and len(list(cache.iterdir())) == 2


@pytest.mark.parametrize("damage", ["cut", "changed", "foreign", "empty"])
def test_a_damaged_file_is_written_again(cache, warnings, damage):
    Traced().run()
    (place,) = cache.iterdir()
    whole = place.read_bytes()
    changed = bytearray(whole)
    changed[-9] ^= 1
    content = {"cut": whole[:-5], "changed": changed, "foreign": b"x" * 999}
    place.write_bytes(content.get(damage, b""))
    second, third = Traced(), Traced()
    np.testing.assert_array_equal(second.run()["m"]["a", "b"], [0, 2, 4])
    assert second.times == 1 and "traced again: damaged" in warnings[0]
    third.run()
    assert third.times == 0  # JAX 0.8 does not always give the same bytes


def test_without_a_key_or_a_folder_functions_are_traced(cache, monkeypatch):
    function = Traced()
    function.run(key=None)
    function.run(key=None)
    assert function.times == 2 and not cache.exists()
    monkeypatch.setattr(trace_cache, "folder", lambda: None)
    function.run()
    assert function.times == 3


def test_programs_are_next_to_compiled_ones(monkeypatch):
    folder = trace_cache.folder.__wrapped__
    place = jax.config.jax_compilation_cache_dir
    assert folder() == pathlib.Path(place) / "traced"
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        assert folder() is None
    finally:
        jax.config.update("jax_enable_compilation_cache", True)
    for other in (None, "gs://bucket/cache"):
        jax.config.update("jax_compilation_cache_dir", other)
        try:
            assert folder() is None
        finally:
            jax.config.update("jax_compilation_cache_dir", place)
    monkeypatch.setattr(jax, "device_count", lambda: 2)
    assert folder() is None


def test_a_change_of_the_source_is_traced(cache, monkeypatch):
    """The process may run the code of before."""
    monkeypatch.setattr(trace_cache, "_STARTED", 0.0)
    function = Traced()
    function.run()
    function.run()
    assert function.times == 2 and not cache.exists()


def setting_of_keras(name, value):
    @contextlib.contextmanager
    def changed():
        before = getattr(keras.config, name)()
        change = getattr(keras.config, f"set_{name}")
        change(value)
        yield
        change(before)

    return changed


@contextlib.contextmanager
def no_flash_attention():
    keras.config.disable_flash_attention()
    yield
    keras.config.enable_flash_attention()


@pytest.mark.parametrize(
    "changed",
    [
        setting_of_keras("floatx", "float16"),
        setting_of_keras("epsilon", 1e-5),
        setting_of_keras("image_data_format", "channels_first"),
        setting_of_keras("dtype_policy", "mixed_bfloat16"),
        no_flash_attention,
        functools.partial(jax.enable_x64, True),
        functools.partial(jax.default_matmul_precision, "highest"),
        functools.partial(jax.numpy_dtype_promotion, "strict"),
        functools.partial(jax.default_prng_impl, "rbg"),
        functools.partial(jax.threefry_partitionable, False),
    ],
)
def test_settings_of_keras_and_jax_are_in_the_key(changed):
    def found():
        return trace_cache.digest(trace_cache._surroundings())

    before = found()
    with changed():
        other = found()
    assert found() == before != other


class Point(NamedTuple):
    x: float


def test_what_cannot_be_kept_is_computed(cache):
    named = trace_cache.jit(lambda x: Point(x + 1), lambda: "k")
    assert named(1.0) == Point(2) and not cache.exists()
    cache.write_text("a file in place of the folder")
    function = Traced()
    np.testing.assert_array_equal(function.run()["m"]["a", "b"], [0, 2, 4])


def test_the_programs_that_were_used_last_are_kept(cache, monkeypatch):
    monkeypatch.setattr(trace_cache, "_MOST", 2)
    for key in ("a", "b", "c"):
        Traced().run(key=key)
    assert len(list(cache.iterdir())) == 2
    last = Traced()
    last.run(key="c")
    assert last.times == 0


def test_arguments_are_donated(cache):
    function = trace_cache.jit(lambda x: x + 1, lambda: "k", donate_argnums=(0,))
    x = jnp.ones(4)
    np.testing.assert_array_equal(function(x), 2)
    assert x.is_deleted()


def test_digests_are_of_values():
    digest = trace_cache.digest
    array = np.arange(6, dtype=np.float32)
    assert digest(1, "a", (2, None), {"x": array}) == digest(
        1, "a", [2, None], {"x": array.copy()}
    )
    different = [array, array.reshape(2, 3), array.astype(int), array + 1, 1, 1.5, "1"]
    # A number of NumPy has a type in a trace, and labels are numbered in order.
    different += [np.float32(1), 1.0, True, {1: 2}, {"1": 2}, [[1, 2]]]
    different += [{"a": 1, "b": 2}, {"b": 2, "a": 1}]
    assert len({digest(one) for one in different}) == len(different)
    with pytest.raises(TypeError, match="object has no digest"):
        digest(object())


def network(units=3, activation="relu", rate=0.0, name="n"):
    pixels = keras.Input((8, 8, 3), name="pixels")
    x = keras.layers.Conv2D(4, 3, activation=activation, name="conv")(pixels)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    x = keras.layers.Dropout(rate, name="dropout")(x)
    return keras.Model(pixels, keras.layers.Dense(units, name="d")(x), name=name)


def test_the_digest_of_a_model():
    of_model = model_digest.of_model
    first, second = of_model(network()), of_model(network())
    assert first and first == second
    frozen = network()
    frozen.get_layer("conv").trainable = False
    others = [network(units=4), network(activation="swish"), network(rate=0.5), frozen]
    assert len({first, *map(of_model, others)}) == 5


def test_every_form_of_fast_layers_has_a_digest_of_its_own():
    pixels = keras.Input((8, 8, 3), name="pixels")
    x = keras.layers.Conv2D(4, 3, name="stem")(pixels)
    x = keras.layers.Conv2D(4, 1, name="conv")(x)
    x = keras.layers.DepthwiseConv2D(3, name="depthwise")(x)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.Activation("swish", name="swish")(x)
    means = keras.layers.GlobalAveragePooling2D(keepdims=True, name="pool")(x)
    model = keras.Model(pixels, keras.layers.Multiply(name="scale")([x, means]))
    forms = ["none", *((kind,) for kind in xla_layers.KINDS)]
    found = [model_digest.of_model(xla_layers.accelerate(model, one)) for one in forms]
    assert None not in found and len({*found}) == len(forms)


def test_a_model_with_code_of_others_has_none():
    class Mine(keras.layers.Layer):
        def call(self, x):
            return 2 * x

    def relu(x):  # the config has the name alone
        return 3 * x

    pixels = keras.Input((4,))
    layers = [
        keras.layers.Activation(relu),
        keras.layers.Dense(2, activation=relu),
        Mine(),
        keras.layers.Lambda(lambda x: 2 * x),
        keras.layers.Activation(lambda x: 2 * x),
    ]
    for layer in layers:
        assert model_digest.of_model(keras.Model(pixels, layer(pixels))) is None

    class Subclassed(keras.Model):
        def call(self, x):
            return x

    assert model_digest.of_model(Subclassed()) is None


def normalizing(mean):
    """A network with constants that are no weights of its config or variables."""
    pixels = keras.Input((4,), name="pixels")
    scaled = keras.layers.Normalization(name="scale")
    outputs = keras.layers.Dense(2, name="d")(scaled(pixels))
    model = keras.Model(pixels, outputs, name="n")
    scaled.adapt(np.full((2, 4), mean, np.float32))
    return model


def test_what_a_layer_was_adapted_to_is_in_the_digest():
    first, again, other = map(model_digest.of_model, map(normalizing, (0, 0, 9)))
    assert first and first == again and other != first


@pytest.mark.parametrize("value", [True, 3, 0.5, "taps", (1, 2), np.ones(2), [None]])
def test_attributes_of_layers_are_in_the_digest(value):
    """The config has those alone that the constructor takes."""
    model = network()
    before = model_digest.of_model(model)
    object.__setattr__(model.get_layer("conv"), "form", value)
    assert model_digest.of_model(model) not in (None, before)


def test_a_replaced_method_is_code_of_others(monkeypatch):
    model = network()
    assert model_digest.of_model(model)

    @functools.wraps(keras.layers.Dense.call)
    def call(self, inputs, training=None):
        return 2 * inputs

    layer = model.get_layer("d")
    with monkeypatch.context() as patched:
        patched.setattr(keras.layers.Dense, "call", call)
        assert model_digest.of_model(model) is None
    for replaced in (call.__get__(layer), functools.partial(call, layer)):
        object.__setattr__(layer, "call", replaced)
        assert model_digest.of_model(model) is None
        object.__delattr__(layer, "call")
    assert model_digest.of_model(model)


@pytest.mark.parametrize("function", [jax.nn.relu, functools.partial(jnp.clip, max=1)])
def test_an_activation_of_others_has_no_digest(function):
    pixels = keras.Input((4,))
    layer = keras.layers.Dense(2, activation=function)
    assert model_digest.of_model(keras.Model(pixels, layer(pixels))) is None


def test_maps_of_a_program_from_the_cache_are_the_same(cache):
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 1, (2, 8, 8, 3)).astype(np.float32)
    model = network()
    asked = [targets.predicted(), targets.label(1)]
    found = []
    for keep in (False, True, True):
        explain = Explainer(model, layer="conv")
        if keep:
            explain.keep_traces("three classes")
        found.append(explain(images, asked, "gradcam"))
    assert len(list(cache.iterdir())) == 1
    plain, traced, read = found
    for one in (traced, read):
        np.testing.assert_array_equal(one.cams, plain.cams)
        np.testing.assert_array_equal(one.scores, plain.scores)
        assert one.titles == plain.titles and one.layer == plain.layer
    # Another method, layer or meaning is another program.
    for layer, about, method in (
        ("conv", "three classes", "hirescam"),
        ("conv:input", "three classes", "gradcam"),
        ("conv", "others", "gradcam"),
    ):
        explain = Explainer(model, layer=layer)
        explain.keep_traces(about)
        explain(images, asked, method)
    assert len(list(cache.iterdir())) == 4


def train(cached=True, steps=5, rate=1e-3):
    """Six steps of a small network: the losses, and all variables after them."""
    options = config_files.load("synthetic_birds").train
    options.learning_rate = rate
    keras.utils.clear_session()
    runtime.set_seed(3)
    model = network(units=4, rate=0.3)
    compiling.compile_model(model, {"species": 4}, options, steps)
    if not cached:
        model.train_function = None
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, 4, 8, 8, 3)).astype(np.float32)
    labels = rng.integers(0, 4, (6, 4)).astype(np.int32)
    batches = (pair for pair in zip(images, labels, strict=True))
    past = model.fit(batches, steps_per_epoch=6, shuffle=False, verbose=0)
    variables = [*model.variables, *model.optimizer.variables]
    return past.history["loss"], [np.asarray(one) for one in variables]


def test_a_train_step_from_the_cache_is_the_same(cache, monkeypatch):
    losses, variables = train(cached=False)
    assert not cache.exists()
    for _ in range(2):
        found, others = train()
        assert found == losses
        for one, other in zip(others, variables, strict=True):
            np.testing.assert_array_equal(one, other)
        assert len(list(cache.iterdir())) == 1
        monkeypatch.setattr(trace_cache, "_export", None)  # then it is read


def test_what_the_optimizer_is_made_of_is_in_the_key(cache, monkeypatch):
    keys = []
    monkeypatch.setattr(
        trace_cache, "jit", lambda function, key, **_: keys.append(key()) or len
    )
    for changes in ({}, {"steps": 6}, {"rate": 1e-2}, {}):
        with contextlib.suppress(TypeError):  # `len` is no step
            train(**changes)
    first, *others, again = keys
    assert first and first == again and len({first, *others}) == 3


def test_what_a_step_was_made_of_is_in_the_key(monkeypatch):
    """Losses are made when the model is compiled, and an optimizer can be changed."""
    keys = []
    monkeypatch.setattr(trace_cache, "jit", lambda function, key, **_: keys.append(key))
    model = network(units=4)
    model.compile("adam", "mse")
    options = config_files.load("synthetic_birds").train
    tree = {"family": np.arange(4) // 2, "species": np.arange(4)}

    def kept(*about):
        compiling.keep_step(model, *about)
        return keys[-1]

    first = kept(options, [("species", 4)], tree)
    digest = first()
    changed = np.array([0, 0, 0, 1])
    others = [
        kept(options, [("family", 4)], tree),
        kept(options, [("species", 4)], tree | {"family": changed}),
        kept(options, [("species", 4)], dict(reversed(tree.items()))),
    ]
    for name, value in options.items():
        if type(value) in (int, float):
            options[name] = value + 1
            others.append(kept(options, [("species", 4)], tree))
            options[name] = value
    options.label_smoothing += 0.1  # after it was compiled
    assert first() == digest
    found = [one() for one in others]
    for name, value in {"clipnorm": 1.0, "weight_decay": 0.1, "epsilon": 1e-3}.items():
        before = getattr(model.optimizer, name)
        setattr(model.optimizer, name, value)
        found.append(first())
        setattr(model.optimizer, name, before)
    model.get_layer("conv").trainable = False
    found.append(first())
    assert len({digest, *found}) == 1 + len(found) > 20
    count = len(keys)
    compiling.keep_step(model, object())  # which has no digest
    assert len(keys) == count


def test_steps_of_several_devices_are_left_to_keras(monkeypatch):
    """It states the sharding of the results, which depends on the mesh."""
    model = network(units=4, rate=0.3)
    model.compile("adam", "mse")
    monkeypatch.setattr(keras.distribution, "distribution", object)
    compiling.keep_step(model)
    assert model.train_function is None
    monkeypatch.setattr(keras.distribution, "distribution", lambda: None)
    compiling.keep_step(model)
    assert model.train_function is not None
