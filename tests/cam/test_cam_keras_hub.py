"""The transformers of keras-hub, small and with random weights, without downloads."""

import importlib.metadata
import pathlib

import jax
import keras
import numpy as np
import pytest
from packaging.requirements import Requirement

from hiercam_keras import cam
from hiercam_keras.cam import graph
from hiercam_keras.errors import UserError

keras_hub = pytest.importorskip(
    "keras_hub", reason="install requirements-keras-hub.txt to explain its models"
)
hub = keras_hub.models

from hub_networks import (  # noqa: E402
    CASES,
    CLASSES,
    PATCH,
    POOLED,
    built,
    dinov2,
    mit,
    pictures,
    swin,
)

# Swin's layers hand a mask to one that says that it knows none.
pytestmark = pytest.mark.filterwarnings("ignore:.*destroy the mask information")
ROOT = pathlib.Path(__file__).parent.parent.parent


@pytest.fixture(scope="module", params=CASES)
def case(request):
    """Name, model and explainer."""
    name = request.param
    model = built(name)
    return name, model, cam.Explainer(model)


def test_layer_grid_and_special_tokens(case):
    name, model, explain = case
    _, (height, width), special, layer = CASES[name]
    assert layer in explain.layers[0]
    found = explain(pictures(name), np.tile([0, 1], (2, 1))).cams
    assert found.shape == (2, 2, height // PATCH, width // PATCH)
    assert np.abs(found).max((2, 3)).all()
    spec = jax.ShapeDtypeStruct((2, height, width, 3), "float32")
    given = spec if len(model.inputs) == 1 else None
    if isinstance(model.input, dict):
        given = dict.fromkeys(model.input, spec)
    call = graph.find_call(graph.record(model, given).calls, explain.layers[0])
    cells = (height // PATCH) * (width // PATCH)
    assert call.shape[1] == special + cells


def test_a_mark_is_where_it_was_planted(case):
    """Far from the middle; one of two opposite classes is for it.

    Normalized tokens without content are as large as those with it: where they are
    explained, what the mark adds is looked at. MiT's overlapping patches are centered
    where other networks' cells begin.
    """
    name, _, explain = case
    height, width = (side // PATCH for side in CASES[name][1])
    row, column = height // 4, width - 2
    top, left = row * PATCH, column * PATCH
    if name == "mit":
        top, left = top - PATCH // 2, left - PATCH // 2
    images = np.zeros((2, *CASES[name][1], 3), "float32")
    if name in POOLED:
        images[:] = pictures(name, count=1)
    mark = np.random.default_rng(1).uniform(2, 3, (PATCH, PATCH, 3))
    images[1, top : top + PATCH, left : left + PATCH] = mark
    without, found = explain(images, np.tile([0, 1], (2, 1))).cams
    if name in POOLED:
        found = found - without
    above = found[:, row, column] - np.median(found, (1, 2))
    pro = found[above.argmax()]
    assert np.unravel_index(pro.argmax(), pro.shape) == (row, column)


def test_a_batch_and_many_targets_are_one_pass(case, monkeypatch):
    name, _, explain = case
    passes, real = [], graph.apply_with_deltas
    monkeypatch.setattr(
        graph, "apply_with_deltas", lambda *a: passes.append(1) or real(*a)
    )
    images = pictures(name, count=3)
    together = explain(images, np.tile([0, 1, 2], (3, 1))).cams
    assert len(passes) == 1
    for i in range(3):
        alone = explain(images[i : i + 1], [2 - i]).cams[0, 0]
        scale = np.abs(alone).max()
        np.testing.assert_allclose(together[i, 2 - i], alone, atol=1e-4 * scale)


def loop(name, model):
    """(what comes before the last block, the rest), by a loop over the blocks."""
    head = model.layers[-1]
    backbone = next(x for x in model.layers if isinstance(x, hub.Backbone))
    if name.startswith(("vit", "deit")):
        kind = name.rstrip("0")
        embed = backbone.get_layer(f"{kind}_patching_and_embedding")
        encoder = backbone.get_layer(f"{kind}_encoder")
        blocks, norm = encoder.encoder_layers, encoder.layer_norm
    else:
        embed, blocks = backbone.embeddings, backbone.encoder.layers
        norm = backbone.layernorm

    def block(layer, x, images):
        if name != "dinov3":
            found = layer(x)
            return found[0] if isinstance(found, tuple) else found
        positions = backbone.rope_embedding(images)
        return layer(x, position_embeddings=positions, num_prefix_tokens=5)

    def before(images):
        x = embed(images)
        for layer in blocks[:-1]:
            x = block(layer, x, images)
        return x

    def rest(x, images):
        return head(norm(block(blocks[-1], x, images))[:, 0])

    return before, rest


def slow_gradcam(activations, grads):
    """sum_k mean_ij(g_k) A_k in float64, cell by cell."""
    height, width, channels = activations.shape
    found = np.zeros((height, width))
    for k in range(channels):
        alpha = sum(grads[i, j, k] for i in range(height) for j in range(width)) / (
            height * width
        )
        found += alpha * activations[:, :, k]
    return found


def test_gradcam_is_its_formula(case):
    name, model, explain = case
    _, (height, width), special, _ = CASES[name]
    grid = (height // PATCH, width // PATCH)
    images, label = pictures(name, 5, 1), 2
    found = explain(images, [label])
    if name in POOLED:
        # The head averages the tokens, so that the gradient is that of the average.
        backbone = next(x for x in model.layers if isinstance(x, hub.Backbone))
        last = explain.layers[0].split("/")[-1]
        before = keras.Model(backbone.input, backbone.get_layer(last).output)
        tokens = jax.jit(lambda x: before(x))(images)
        kernel, bias = (np.float64(w) for w in model.layers[-1].weights)
        grads = np.broadcast_to(kernel[:, label] / np.prod(grid), tokens.shape[1:])
        logits = np.float64(tokens[0]).mean(0) @ kernel + bias
        np.testing.assert_allclose(found.logits[0], logits, atol=1e-4)
    else:
        before, rest = loop(name, model)
        tokens = jax.jit(before)(images)

        def score(x):
            logits = rest(x, images)
            return logits[0, label], logits

        grads, logits = jax.jit(jax.grad(score, has_aux=True))(tokens)
        np.testing.assert_allclose(logits, found.logits, atol=1e-5)
        grads = grads[0]
    activations = np.float64(tokens[0])[special:].reshape(*grid, -1)
    grads = np.float64(grads)[special:].reshape(*grid, -1)
    expected = slow_gradcam(activations, grads)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found.cams[0, 0], expected, atol=1e-4 * scale)


def test_layers_of_a_backbone_that_is_not_nested():
    backbone = hub.ViTBackbone((64, 96, 3), 16, 2, 2, 16, 32)
    outputs = keras.layers.Dense(CLASSES)(backbone.output[:, 0])
    explain = cam.Explainer(keras.Model(backbone.input, outputs))
    assert explain.layers == ("vit_encoder/transformer_block_2:input",)
    images = pictures("vit")
    assert explain(images, [0, 1]).cams.shape == (2, 1, 4, 6)


def test_stages_of_a_pyramid_have_grids_of_their_own():
    model = swin((64, 96))
    last = f"{model.backbone.name}/norm"
    explain = cam.Explainer(model, ["stage_0/blocks_0", last])
    found = explain.explain_many(pictures("swin"), [0, 1], ["layercam"])
    shapes = {layer: one.cams.shape[2:] for (_, layer), one in found.items()}
    assert sorted(shapes.values()) == [(4, 6), (8, 12)]


def test_oblong_pictures_that_an_architecture_cannot_take():
    with pytest.raises(ValueError, match="height and width to be the same"):
        dinov2((64, 96))  # keras-hub's own words
    with pytest.raises(UserError, match="MiT.*square root.*4 x 16: give square"):
        cam.Explainer(mit((64, 256)))  # 8 x 32 cells: it would fold 16 x 16


def is_met(requirement):
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return requirement.specifier.contains(version, prereleases=True)


def test_the_requirements_lack_what_is_left_out_and_nothing_else():
    """pip does not look at the requirements of what it installs with --no-deps."""
    lines = (ROOT / "requirements-keras-hub.txt").read_text().splitlines()
    texts = [line.split("#")[0].strip() for line in lines]
    listed = [Requirement(text) for text in texts if text]
    needed = [
        Requirement(text)
        for one in listed
        for text in importlib.metadata.requires(one.name) or ()
    ]
    needed = [x for x in needed if not x.marker or x.marker.evaluate({"extra": ""})]
    unmet = {x.name for x in [*listed, *needed] if not is_met(x)}
    assert unmet <= {"tensorflow-text", "huggingface-hub"}
