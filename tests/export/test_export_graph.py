"""Small networks as ONNX files, compared with the engine and with values in float64."""

import os
import stat

import jax
import keras
import numpy as np
import pytest
from scipy.special import softmax

needed = "install requirements-export.txt and jax2onnx to export"
onnx = pytest.importorskip("onnx", reason=needed)
pytest.importorskip("onnxruntime", reason=needed)
pytest.importorskip("jax2onnx", reason=needed)

from hiercam_keras.errors import UserError  # noqa: E402
from hiercam_keras.export import (  # noqa: E402
    convert,
    function,
    graph,
    pooling,
    taxonomy_file,
    unpooling,
)
from hiercam_keras.export.session import Session  # noqa: E402
from hiercam_keras.models import chained_heads, xla_layers  # noqa: E402
from hiercam_keras.runs.network import Network  # noqa: E402
from hiercam_keras.taxonomy.labels import HeadLabels, Labels  # noqa: E402
from hiercam_keras.taxonomy.lineage import Lineage  # noqa: E402
from hiercam_keras.taxonomy.tree import Taxonomy  # noqa: E402

L = keras.layers
LAYER = "top_activation"


def trunk(size, pool=L.GlobalAveragePooling2D, activation="swish"):
    """Images and pooled features, with batch normalization and odd strides."""
    image = keras.Input((*size, 3), name="image")
    x = L.Rescaling(1 / 127.5, offset=-1.0)(image)
    x = L.Conv2D(6, 3, strides=2, padding="same", use_bias=False, name="first")(x)
    x = L.BatchNormalization(name="norm")(x)
    x = L.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = L.Activation(activation, name="first_activation")(x)
    x = L.Conv2D(8, 2, name="second")(x)
    x = L.Activation(activation, name=LAYER)(x)
    return image, pool()(x) if pool else x


def randomized(model, seed=3):
    """Weights larger than initial ones, for distinct logits and maps of both signs."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        values = rng.normal(0, 0.5, weight.shape)
        if "variance" in weight.path or "gamma" in weight.path:
            values = rng.uniform(0.5, 2, weight.shape)
        weight.assign(values)
    return model


def flat(tree, photos, head=None):
    image, x = trunk(photos.shape[1:3])
    z = L.Dense(tree.num_labels("species"), name="logits")(x)
    model = randomized(keras.Model(image, head(z) if head else z))
    return Network(model, tree, ("species",), LAYER, 4)


@pytest.fixture(scope="module")
def network(tree, photos):
    found = flat(tree, photos)
    xla_layers.accelerate(found.model, "depthwise+conv1x1+stem+batchnorm+swish")
    return found


@pytest.fixture(scope="module")
def built(network):
    return graph.build(network)


@pytest.fixture(scope="module")
def file(built, tmp_path_factory):
    return graph.write_onnx(built, tmp_path_factory.mktemp("onnx") / "model.onnx")


def agrees(network, photos, tmp_path, left_out=0, **options):
    """The graph and the parity of a network's file, which has everything."""
    made = graph.build(network, **options)
    assert len(made.left_out) == left_out, made.left_out
    assert made.has_maps and made.batch == options.get("batch")
    path = graph.write_onnx(made, tmp_path / "network.onnx")
    parity = graph.compare(network, path, photos)
    assert parity.within(), parity
    return made, parity, Session(path)


def test_the_file_agrees_with_the_program(network, file, photos):
    parity = graph.compare(network, file, photos)
    assert parity.within(1e-5), parity
    assert parity.pictures == parity.paths == 5
    assert min(parity.agreement.values()) == 1
    assert parity.correlation == pytest.approx(1, abs=1e-6)
    assert "5 pictures" in str(parity)
    assert parity.to_json()["maps"] == parity.maps


def test_names_and_shapes(built):
    assert built.inputs == {"photos": ("N", 20, 18, 3), "taxa": ("T", 7)}
    assert built.outputs == {
        "logits": ("N", 7),
        "probabilities_order": ("N", 2),
        "probabilities_family": ("N", 3),
        "probabilities_genus": ("N", 4),
        "probabilities_species": ("N", 7),
        "path": ("N", 4),
        "maps": ("N", 4, 9, 8),
        "steps": ("N", 4, 9, 8),
        "maps_of_taxa": ("N", "T", 9, 8),
    }
    assert (built.layer, built.batch, built.left_out) == (LAYER, None, ())
    assert built.has_maps and built.heads == ("species",)
    assert not [node for node in built.model.graph.node if node.domain]
    onnx.checker.check_model(built.model, full_check=True)


def test_batch_normalization_is_in_the_convolutions(built):
    kinds = [node.op_type for node in built.model.graph.node]
    assert kinds.count("Conv") == 3
    assert not {"BatchNormalization", "Sqrt", "Reciprocal"} & set(kinds)


def test_values_worked_in_float64(network, file, tree, photos):
    """Maps of a linear head are products of the last activations."""
    found = Session(file)(photos, np.eye(7)[[2]])
    model = network.model
    layer = keras.Model(model.input, model.get_layer(LAYER).output)
    a = np.asarray(layer(photos.astype("float32")), np.float64)
    kernel, bias = (
        np.asarray(w, np.float64) for w in model.get_layer("logits").weights
    )
    z = a.mean((1, 2)) @ kernel + bias
    shares = softmax(z, 1)
    cells = np.einsum("bhwk,kc->bchw", a, kernel) / (a.shape[1] * a.shape[2])
    leaf = z.argmax(1)
    before = shares
    for place, rank in enumerate(tree.ranks):
        below = tree.rollup("species", rank)[:, tree.parents("species", rank)[leaf]].T
        weights = shares * below
        weights /= weights.sum(1, keepdims=True)
        maps = np.einsum("bc,bchw->bhw", weights, cells)
        np.testing.assert_allclose(found["maps"][:, place], maps, atol=2e-6)
        step = np.einsum("bc,bchw->bhw", weights - before, cells)
        np.testing.assert_allclose(found["steps"][:, place], step, atol=2e-6)
        before = weights
        marginal = shares @ tree.rollup("species", rank)
        np.testing.assert_allclose(found[f"probabilities_{rank}"], marginal, atol=1e-6)
    np.testing.assert_allclose(found["maps_of_taxa"][:, 0], cells[:, 2], atol=2e-6)
    np.testing.assert_allclose(found["logits"], z, atol=5e-6)


def test_any_number_of_pictures_and_taxa(file, photos):
    session = Session(file)
    taxa = np.array([[1, 1, 1, 1, 1, 0, 0], [0, 0, 0, 0, 0, 1, 1]], np.float32)
    whole = session(photos, taxa)
    for count in (1, 3):
        part = session(photos[:count], taxa[:count])
        np.testing.assert_allclose(part["maps"], whole["maps"][:count], atol=1e-6)
        assert part["maps_of_taxa"].shape == (count, min(count, 2), 9, 8)
    # The map of an order on the path is that of the order as a taxon.
    order = whole["path"][:, 0]
    own = whole["maps_of_taxa"][np.arange(5), order]
    np.testing.assert_allclose(own, whole["maps"][:, 0], atol=1e-6)


@pytest.mark.slow
def test_the_step_into_an_only_child_is_zero(network, tree, photos, tmp_path):
    """With a bias that puts every picture into the order B with its only family."""
    _, bias = network.model.get_layer("logits").weights
    before = np.asarray(bias)
    bias.assign(np.where(tree.parents("species", "order") == 1, 50.0, before))
    made = graph.build(network)
    bias.assign(before)
    path = graph.write_onnx(made, tmp_path / "model.onnx")
    found = Session(path)(photos, np.ones((1, 7)))
    assert (found["path"][:, :3] == [1, 2, 3]).all()
    assert (found["steps"][:, 1:3] == 0).all()
    assert np.abs(found["steps"][:, 3]).max() > 0


def test_fast_layers_are_back_after_the_export(network, built):
    counts = xla_layers.accelerated_layers(network.model)
    assert counts["depthwise"] == counts["batchnorm"] == 1 and counts["swish"] == 2


def test_one_file_with_ordinary_permissions_never_appended(built, file, tmp_path):
    before = os.umask(0o022)
    try:
        for _ in range(2):
            path = graph.write_onnx(built, tmp_path / "model.onnx")
    finally:
        os.umask(before)
    assert path.stat().st_size == file.stat().st_size
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert [one.name for one in tmp_path.iterdir()] == ["model.onnx"]


def test_ranks_that_some_taxa_skip_or_all(tree, photos, tmp_path):
    """A subfamily of one family, and a class that no taxon has."""
    ranks = ("class", "order", "family", "subfamily", *tree.ranks[2:])
    lineages = []
    for one in tree.lineages:
        order, family, *rest = one.taxa
        taxa = ("", order, family, "a1" if rest[0] == "g1" else "", *rest)
        lineages.append(Lineage(taxa, ranks))
    gaps = Taxonomy(lineages)
    made, parity, file = agrees(flat(gaps, photos), photos, tmp_path)
    assert made.ranks == ranks and set(parity.agreement) >= set(tree.ranks)
    found = file(photos)
    genus = gaps.parents("genus", "subfamily")[found["path"][:, 4]]
    assert (found["path"][:, 0] == -1).all()
    assert (found["path"][:, 3] == genus).all() and {-1, 0} >= set(genus.tolist())
    for name in ("maps", "steps"):
        assert not found[name][:, 0].any() and not found[name][genus < 0, 3].any()
    about = taxonomy_file.document(gaps, made.ranks, made.heads, {})
    assert about["taxa"]["class"] == [] and len(about["taxa"]["subfamily"]) == 1


@pytest.mark.slow
def test_a_wrong_file_does_not_pass(network, tree, photos, tmp_path):
    other = flat(tree, photos)
    kernel, _ = other.model.get_layer("logits").weights
    kernel.assign(np.asarray(kernel) * 1.01)
    path = graph.write_onnx(graph.build(other), tmp_path / "other.onnx")
    parity = graph.compare(network, path, photos)
    assert not parity.within(1e-3) and parity.largest > 1e-3


@pytest.mark.slow
def test_float16_weights_take_half_the_room(tree, photos, tmp_path):
    image, x = trunk(photos.shape[1:3])
    x = L.Dense(2000, name="wide")(x)
    model = randomized(keras.Model(image, L.Dense(7)(x)))
    network = Network(model, tree, ("species",), LAYER, 4)
    made = graph.build(network)
    sizes = {}
    for dtype in graph.WEIGHTS:
        path = graph.write_onnx(made, tmp_path / f"{dtype}.onnx", dtype)
        sizes[dtype] = path.stat().st_size
    parity = graph.compare(network, path, photos)
    assert parity.agrees() and 1e-5 < parity.logits < 5e-3
    saved = sizes["float32"] - sizes["float16"]
    assert saved == pytest.approx(2 * 2000 * (8 + 1 + 7), rel=0.05)
    with pytest.raises(UserError, match="float32 or float16, found 'int8'"):
        graph.write_onnx(made, tmp_path / "no.onnx", "int8")


def test_tables_of_whole_numbers_are_not_halved():
    """Above 2048 float16 would name another leaf."""
    assert not convert._halves(np.arange(5000, dtype=np.float32))
    assert convert._halves(np.arange(5000, dtype=np.float32) / 7)
    assert not convert._halves(np.full(5000, 1e6 / 7, np.float32))


@pytest.mark.parametrize(
    "settings, linear",
    [
        pytest.param({}, True, marks=pytest.mark.slow),
        pytest.param({"head_chain": "on"}, True, marks=pytest.mark.slow),
        ({"head_chain": "on", "head_features": 6}, False),
    ],
)
def test_several_heads(tree, photos, tmp_path, settings, linear):
    """At order, which has its own head, the map is that of its own logit."""
    image, x = trunk(photos.shape[1:3])
    sizes = {rank: tree.num_labels(rank) for rank in ("order", "species")}
    model = randomized(
        keras.Model(image, chained_heads.rank_logits(x, sizes, **settings)), 11
    )
    network = Network(model, tree, ("order", "species"), LAYER, 4)
    traced = network.explainer().network()
    variables = model.trainable_variables, model.non_trainable_variables
    values = tuple([v.value for v in group] for group in variables)
    assert function.make(traced, values).linear is linear
    made, _, session = agrees(network, photos, tmp_path)
    assert made.heads == ("order", "species")
    assert made.outputs["logits_order"] == ("N", 2)
    found = session(photos, np.ones((1, 7)))
    own = softmax(found["logits_order"], 1)
    np.testing.assert_allclose(found["probabilities_order"], own, atol=1e-6)


def labelled(tree, columns, source="a table"):
    return Labels(
        tree, {None: HeadLabels("species", np.array(columns, np.int32))}, source
    )


@pytest.mark.parametrize("end", [pytest.param(None, marks=pytest.mark.slow), "softmax"])
def test_merged_reordered_and_left_out_outputs(tree, photos, tmp_path, end):
    image, x = trunk(photos.shape[1:3])
    # Label 3 has no output, label 1 has three, and two outputs are left out.
    columns = [6, 1, -1, 0, 1, 5, 2, 1, 4, -1]
    z = L.Dense(10, activation=end, name="logits")(x)
    model = randomized(keras.Model(image, z), 5)
    labels = labelled(tree, columns)
    network = Network(model, tree, ("species",), LAYER, 4, labels)
    made, _, session = agrees(network, photos, tmp_path)
    found = session(photos, np.ones((1, 7)))
    assert np.isneginf(found["logits"][:, 3]).all()
    assert (found["probabilities_species"][:, 3] == 0).all()


@pytest.mark.slow
def test_one_logit_is_two_classes(photos, tmp_path):
    from hiercam_keras.taxonomy.lineage import Lineage
    from hiercam_keras.taxonomy.tree import Taxonomy

    pair = Taxonomy(
        [
            Lineage(("A", "x"), ("genus", "species")),
            Lineage(("A", "y"), ("genus", "species")),
        ]
    )
    image, x = trunk(photos.shape[1:3])
    model = randomized(keras.Model(image, L.Dense(1, name="logits")(x)), 2)
    network = Network(model, pair, ("species",), LAYER, 4, labelled(pair, [0, 1]))
    agrees(network, photos, tmp_path)


def test_independent_labels_have_maps_and_no_steps(tree, photos, tmp_path):
    image, x = trunk(photos.shape[1:3])
    z = L.Dense(7, activation="sigmoid", name="logits")(x)
    network = Network(
        randomized(keras.Model(image, z)),
        tree,
        ("species",),
        LAYER,
        4,
        labelled(tree, range(7)),
        "sigmoid",
    )
    made, _, _ = agrees(network, photos, tmp_path, left_out=1)
    assert set(made.inputs) == {"photos"} and "steps" not in made.outputs
    assert made.ranks == ("species",)
    assert "independent of one another" in made.left_out[0]


@pytest.mark.parametrize(
    "pool",
    [
        L.MaxPooling2D(3, 2, "same"),
        pytest.param(L.AveragePooling2D(2), marks=pytest.mark.slow),
        pytest.param(L.AveragePooling2D(3, 1, "same"), marks=pytest.mark.slow),
    ],
)
def test_pooling_between_convolutions_runs(tree, photos, tmp_path, pool):
    image = keras.Input((*photos.shape[1:3], 3))
    x = L.Conv2D(6, 3, activation="tanh")(image / 255)
    x = pool(x)
    x = L.Conv2D(8, 2, activation="tanh", name=LAYER)(x)
    z = L.Dense(7)(L.GlobalAveragePooling2D()(x))
    network = Network(randomized(keras.Model(image, z)), tree, ("species",), LAYER, 4)
    agrees(network, photos, tmp_path)


def test_maps_before_a_max_pooling(tree, photos, tmp_path):
    """As in VGG16. After the ReLU most windows have several maxima, all 0; of 19 and 17
    rows and columns the last ones are in no window."""
    image = keras.Input((*photos.shape[1:3], 3))
    x = L.Conv2D(6, 2, activation="relu", name=LAYER)(image / 255 - 0.5)
    x = L.MaxPooling2D(2)(x)
    z = L.Dense(7)(L.Dense(5, activation="relu")(L.Flatten()(x)))
    network = Network(randomized(keras.Model(image, z)), tree, ("species",), LAYER, 4)
    made, _, session = agrees(network, photos, tmp_path)
    assert made.outputs["maps"] == ("N", 4, 19, 17)
    assert np.abs(session(photos)["maps"]).max() > 0


def test_the_gradient_of_a_max_pooling_goes_to_the_first_maximum():
    x = np.array([[1, 5, 2, 2, 9], [5, 0, 2, 2, 9]], np.float32)
    found = unpooling.unpooled(np.array([[3.0, 4.0]]), x, (2, 2))
    np.testing.assert_array_equal(found, [[0, 3, 4, 0, 0], [0, 0, 0, 0, 0]])


@pytest.mark.parametrize("window", [(1, 2, 2, 1), (1, 3, 1, 1), (1, 2, 5, 1)])
def test_the_gradient_of_a_max_pooling_is_that_of_jax(window):
    rng = np.random.default_rng(1)
    x = rng.integers(-2, 3, (2, 7, 11, 3)).astype(np.float32)  # with equal values

    def pool(x):
        return jax.lax.reduce_window(x, -np.inf, jax.lax.max, window, window, "VALID")

    y, pull_back = jax.vjp(pool, x)
    source = rng.normal(size=y.shape).astype(np.float32)
    found = unpooling.unpooled(source, x, window)
    np.testing.assert_array_equal(found, pull_back(source)[0])
    traced = jax.make_jaxpr(lambda x: jax.vjp(pool, x)[1](source))(x)
    (eqn,) = (e for e in traced.eqns if e.primitive.name == "select_and_scatter_add")
    assert unpooling.fits(eqn.params)


@pytest.mark.slow
def test_a_network_of_mixed_precision_is_exported_in_float32(tree, photos, tmp_path):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        network = flat(tree, photos)
    finally:
        keras.config.set_dtype_policy(before)
    agrees(network, photos, tmp_path)
    assert network.model.get_layer("second").compute_dtype == "bfloat16"


@pytest.mark.slow
def test_a_flattened_linear_head_needs_no_gradient(tree, photos, tmp_path):
    image, x = trunk(photos.shape[1:3], L.Flatten)
    model = randomized(keras.Model(image, L.Dense(7)(x)))
    network = Network(model, tree, ("species",), LAYER, 4)
    agrees(network, photos, tmp_path)


def test_maps_that_cannot_be_exported_are_named_and_the_rest_is_written(
    tree, photos, tmp_path
):
    """Gradients of convolutions are not converted."""
    image, x = trunk(photos.shape[1:3])
    model = randomized(keras.Model(image, L.Dense(7, name="logits")(x)))
    network = Network(model, tree, ("species",), "first_activation", 4)
    made = graph.build(network)
    path = graph.write_onnx(made, tmp_path / "model.onnx")
    parity = graph.compare(network, path, photos)
    if made.has_maps:  # a newer converter
        pytest.skip("this jax2onnx converts gradients of convolutions")
    assert parity.within() and parity.maps is None and parity.correlation is None
    assert made.left_out[0].startswith("maps: ") and made.layer == ""
    assert set(made.outputs) == {
        "logits",
        *(f"probabilities_{rank}" for rank in tree.ranks),
        "path",
    }


@pytest.mark.slow
def test_openvino_reads_the_file(built, file, photos):
    """With the hint: else it computes in bfloat16 where the processor can."""
    openvino = pytest.importorskip("openvino", reason="openvino is not installed")
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    read = openvino.Core().compile_model(str(file), "CPU", settings)
    taxa = np.eye(7, dtype=np.float32)[:2]
    found = read({"photos": photos.astype(np.float32), "taxa": taxa})
    for name, expected in Session(file)(photos, taxa).items():
        largest = max(np.abs(expected).max(), 1)
        np.testing.assert_allclose(found[name], expected, atol=1e-5 * largest)


@pytest.mark.slow
def test_a_stated_number_of_pictures(network, photos, tmp_path):
    made, _, session = agrees(network, photos, tmp_path, batch=2, taxa=False)
    assert made.batch == session.batch == 2
    assert made.inputs == {"photos": (2, 20, 18, 3)} and not session.taxa


@pytest.mark.slow
def test_a_network_that_resizes_takes_any_number_of_pictures(tree, photos, tmp_path):
    """Keras' own export refuses a batch of unknown size there."""
    image = keras.Input((*photos.shape[1:3], 3))
    x = L.Resizing(16, 16)(image / 255)
    x = L.Conv2D(6, 3, activation="tanh", name=LAYER)(x)
    z = L.Dense(7)(L.GlobalAveragePooling2D()(x))
    network = Network(randomized(keras.Model(image, z)), tree, ("species",), LAYER, 4)
    agrees(network, photos, tmp_path)


def test_networks_that_have_no_file(tree, photos):
    image = keras.Input((None, None, 3))
    x = L.Conv2D(4, 3, name=LAYER)(image)
    model = keras.Model(image, L.Dense(7)(L.GlobalAveragePooling2D()(x)))
    with pytest.raises(UserError):
        graph.build(Network(model, tree, ("species",), LAYER, 4))


def test_a_missing_converter_is_named_with_what_to_do(network, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "jax2onnx", None)
    with pytest.raises(UserError, match="--no-deps jax2onnx==0.17.1"):
        graph.build(network)


def test_a_file_of_another_program_is_refused(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"no graph")
    with pytest.raises(UserError, match="cannot be read by ONNX Runtime"):
        Session(path)


def pooled(kind, windows, **settings):
    """A graph as jax2onnx writes a pooling of (N, H, W, C)."""
    h, v = onnx.helper, onnx.numpy_helper
    nodes = [
        h.make_node("Unsqueeze", ["x", "axis0"], ["u"]),
        h.make_node("Unsqueeze", ["u", "axis1"], ["v"]),
        h.make_node(
            kind,
            ["v"] if kind == "MaxPool" else ["v", "ones"],
            ["p"],
            **({"kernel_shape": windows} if kind == "MaxPool" else {}),
            **settings,
        ),
        h.make_node("Squeeze", ["p", "both"], ["y"]),
    ]
    constants = {
        "axis0": np.array([0]),
        "axis1": np.array([1]),
        "both": np.array([0, 1]),
        "ones": np.ones((1, 1, *windows), np.float32),
    }
    real = onnx.TensorProto.FLOAT
    whole = h.make_graph(
        nodes,
        "g",
        [h.make_tensor_value_info("x", real, ["N", 6, 5, 2])],
        [h.make_tensor_value_info("y", real, ["N", None, None, 2])],
        [v.from_array(array, name) for name, array in constants.items()],
    )
    opset = [h.make_opsetid("", 21)]
    return h.make_model(whole, opset_imports=opset, ir_version=10)


@pytest.mark.parametrize("kind", ["MaxPool", "Conv"])
def test_a_pooling_of_four_axes_is_put_over_the_picture(kind):
    settings = {
        "strides": [1, 2, 1, 1],
        "pads": [0, 1, 0, 0, 0, 0, 1, 0],
    }
    model = pooled(kind, [1, 2, 3, 1], **settings)
    assert pooling.over_the_picture(model) == 1
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString())
    x = np.random.default_rng(0).normal(size=(2, 6, 5, 2)).astype(np.float32)
    (found,) = session.run(None, {"x": x})
    empty = -np.inf if kind == "MaxPool" else 0
    wide = np.pad(x, ((0, 0), (1, 0), (0, 1), (0, 0)), constant_values=empty)
    reduce = np.max if kind == "MaxPool" else np.sum
    rows = range(0, 6, 2)
    expected = [
        [reduce(wide[:, i : i + 2, j : j + 3], (1, 2)) for j in range(4)] for i in rows
    ]
    expected = np.array(expected).transpose(2, 0, 1, 3)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_pooling_over_the_batch_is_left_alone():
    assert pooling.over_the_picture(pooled("MaxPool", [2, 2, 1, 1])) == 0
