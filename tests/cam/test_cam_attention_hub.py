"""Methods of attention on keras-hub's transformers, against our own forward pass.

That pass is written out in float64 from the weights, with a perturbation of 0 added to
each block's attention: `jax.grad` in it gives dy/dA.
"""

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

from hiercam_keras import cam
from hiercam_keras.cam import graph, methods, targets
from hiercam_keras.errors import UserError
from hiercam_keras.taxonomy.lineage import Lineage
from hiercam_keras.taxonomy.tree import Taxonomy

pytest.importorskip(
    "keras_hub", reason="install requirements-keras-hub.txt to explain its models"
)

from hub_networks import (  # noqa: E402
    CASES,
    CLASSES,
    PATCH,
    built,
    hub,
    pictures,
    vit,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*destroy the mask information")
FAMILIES = ("vit", "deit", "dinov2", "dinov3")
NAMES = ("rollout", "legrad", "gradient_x_attention")
HEADS, WIDTH = 2, 16


@pytest.fixture(scope="module", params=FAMILIES)
def case(request):
    """Name, model and explainer. Larger weights than initial ones, so that attention is
    far from uniform, and a small head, so that no step is sure."""
    model = built(request.param)
    rng = np.random.default_rng(5)
    for weight in model.weights:
        path = weight.path
        if "block" in path or "layers_" in path or "encoder" in path:
            value = rng.normal(0, 0.4, weight.shape)
            ones = path.endswith(("gamma", "lambda1"))
            weight.assign(value + ones)
    kernel = model.layers[-1].kernel
    kernel.assign(0.2 * np.asarray(kernel))
    return request.param, model, cam.Explainer(model, taxonomy=TREE)


def parts(name, block):
    """The layers of a block: norm, query, key, value, output, scale, norm, two dense
    ones, scale."""
    if name == "vit":
        mha, dense = block.mha, (block.mlp.dense_1, block.mlp.dense_2)
    elif name == "deit":
        mha, dense = block.mha, (block.mlp.dense, block.output_layer.dense)
    elif name == "dinov2":
        mha, dense = block.attention.attention, (block.mlp.fc1, block.mlp.fc2)
    else:
        mha, dense = block.attention, (block.mlp.up_proj, block.mlp.down_proj)
    hidden = ("query", "key", "value", "output")
    own = "_{}_dense" if name != "dinov3" else "{}_dense"
    projections = [getattr(mha, own.format(one)) for one in hidden]
    if name in ("vit", "deit"):
        norms, scales = (block.layer_norm_1, block.layer_norm_2), (None, None)
    else:
        norms = block.norm1, block.norm2
        scales = block.layer_scale1, block.layer_scale2
    return norms[0], *projections, scales[0], norms[1], *dense, scales[1]


def norm(layer, x):
    x = (x - x.mean(-1, keepdims=True)) / jnp.sqrt(
        x.var(-1, keepdims=True) + layer.epsilon
    )
    return x * np.float64(layer.gamma) + np.float64(layer.beta)


def dense(layer, x, outputs=WIDTH):
    kernel = np.float64(layer.kernel).reshape(x.shape[-1], outputs)
    return x @ kernel + np.float64(layer.bias).reshape(outputs)


def scaled(layer, x):
    return x if layer is None else x * np.float64(layer.lambda1)


def rotated(x, cells, special):
    """Rotary positions of DINOv3: the two coordinates of a patch's center in -1 .. 1,
    each times powers of 1 / 100, turn pairs of channels that are half apart."""
    half = x.shape[-1] // 2
    freqs = 100.0 ** -(np.arange(0, 1, 4 / x.shape[-1]))
    rows, columns = ((np.arange(n) + 0.5) / n * 2 - 1 for n in cells)
    angles = [
        2 * np.pi * np.concatenate([y * freqs, z * freqs])
        for y in rows
        for z in columns
    ]
    angles = np.concatenate([np.zeros((special, half)), angles])[:, None]
    one, two = x[..., :half], x[..., half:]
    return jnp.concatenate(
        [
            one * np.cos(angles) - two * np.sin(angles),
            two * np.cos(angles) + one * np.sin(angles),
        ],
        -1,
    )


def embedded(name, model, images):
    """Tokens (B, T, C) before the first block; the blocks; the norm after the last."""
    backbone = next(x for x in model.layers if isinstance(x, hub.Backbone))
    if name in ("vit", "deit"):
        encoder = backbone.get_layer(f"{name}_encoder")
        embed = backbone.get_layer(f"{name}_patching_and_embedding")
        return embed(images), encoder.encoder_layers, encoder.layer_norm
    return backbone.embeddings(images), backbone.encoder.layers, backbone.layernorm


def slow(name, blocks, last, head, x, deltas):
    """Logits of one image's tokens, and the attention (heads, T, T) of each block."""
    attention = []
    for block, delta in zip(blocks, deltas, strict=True):
        n1, q, k, v, o, s1, n2, d1, d2, s2 = parts(name, block)
        h = norm(n1, x)
        query, key, value = (
            dense(one, h).reshape(len(x), HEADS, WIDTH // HEADS) for one in (q, k, v)
        )
        if name == "dinov3":
            _, size, special, _ = CASES[name]
            cells = size[0] // PATCH, size[1] // PATCH
            query, key = (rotated(one, cells, special) for one in (query, key))
        scores = jnp.einsum("qnc,knc->nqk", query, key) / np.sqrt(WIDTH // HEADS)
        attention.append(jax.nn.softmax(scores) + delta)
        mixed = jnp.einsum("nqk,knc->qnc", attention[-1], value).reshape(len(x), -1)
        x = x + scaled(s1, dense(o, mixed))
        hidden = jax.nn.gelu(dense(d1, norm(n2, x), 2 * WIDTH), approximate=False)
        x = x + scaled(s2, dense(d2, hidden))
    return dense(head, norm(last, x)[0], CLASSES), attention


TREE = Taxonomy([Lineage(taxa, ("genus", "species")) for taxa in ("ax", "ay", "bz")])
# Of species 0 and 1 in a genus, and 2: a species, a step into a genus, a contrast.
ASKED = {
    targets.label(2): lambda z: z[2],
    targets.step("genus", "a"): lambda z: (
        jnp.logaddexp(z[0], z[1]) - jax.nn.logsumexp(z)
    ),
    targets.contrast(taxon=0, against=1): lambda z: z[0] - z[1],
}


def test_maps_are_their_formulas_in_float64(case):
    """And the recomputed attention gives the model's own logits, to float32 rounding.

    All targets, methods and images in one pass, with a method of a layer.
    """
    name, model, explain = case
    _, size, special, _ = CASES[name]
    cells = size[0] // PATCH, size[1] // PATCH
    tokens = special + cells[0] * cells[1]
    images = pictures(name, 5)
    found = explain.explain_many(images, list(ASKED), [*NAMES, "gradcam"])
    given, blocks, last = embedded(name, model, images)
    assert given.shape[1] == tokens
    with jax.enable_x64(True):
        run = jax.jit(lambda *a: slow(name, blocks, last, model.layers[-1], *a))
        zeros = [jnp.zeros((HEADS, tokens, tokens))] * 2
        for i, x in enumerate(np.float64(given)):
            logits, pull, weights = jax.vjp(
                lambda deltas: run(x, deltas),  # noqa: B023
                zeros,
                has_aux=True,
            )
            own = found["rollout", "attention"].logits[i]
            np.testing.assert_allclose(logits, own, atol=2e-5 * np.abs(own).max())
            weights = np.asarray(weights)
            assert weights.max() > 4 / tokens  # far from uniform
            joined = [(w.mean(0) + np.eye(tokens)) / 2 for w in weights]
            rows = {"rollout": (joined[1] @ joined[0])[0]}
            for k, score in enumerate(ASKED.values()):
                (grads,) = pull(jax.grad(score)(logits))
                grads = np.asarray(grads)
                rows["legrad"] = np.maximum(grads, 0).mean((1, 2)).sum(0)
                rows["gradient_x_attention"] = (grads * weights).mean((1, 2)).sum(0)
                for method, row in rows.items():
                    expected = row[special:].reshape(cells)
                    ours = found[method, "attention"].cams[i, k]
                    scale = np.abs(expected).max()
                    np.testing.assert_allclose(ours, expected, atol=2e-4 * scale)


def test_allowed_taxa_leave_columns_out():
    """The contrast of two taxa is that of all taxa, as the third has no part in it."""
    model, images = built("vit"), pictures("vit", 3)
    allowed = [TREE.lineages[0], TREE.lineages[2]]
    methods = ["legrad", "gradient_x_attention", "gradcam"]
    maps = []
    for some, against in ((None, 2), (allowed, 1)):
        explain = cam.Explainer(model, taxonomy=TREE, allowed_taxa=some)
        asked = [targets.contrast(taxon=0, against=against)]
        maps.append(explain.explain_many(images, asked, methods))
    for key, found in maps[1].items():
        whole = maps[0][key].cams
        scale = np.abs(whole).max()
        np.testing.assert_allclose(found.cams, whole, atol=1e-5 * scale)
    whole, some = (next(iter(found.values())) for found in maps)
    expected = jax.nn.softmax(whole.logits[:, [0, 2]])
    shares = some.rank_probabilities("species")
    np.testing.assert_allclose(shares, expected, atol=1e-6)


def test_what_the_heads_give_is_attention_times_values(case):
    """Recomputed from the pass of the network, which runs as it is. That of DINOv3 is
    turned by its own `_apply_rotary`."""
    name, model, explain = case
    (program,) = explain._programs.values()
    network, attention = program.network, program.network.attention()
    images = jnp.asarray(pictures(name))
    taps = attention.layers
    variables = graph.variables_of(model)
    logits, found = network(
        variables, images, (), taps, [tap.zeros(len(images)) for tap in taps]
    )
    np.testing.assert_array_equal(logits, network(variables, images, ())[0])
    found = [tap.fold(one) for tap, one in zip(taps, found, strict=True)]
    assert len(attention.blocks) == 2 and len(found) == 8
    for place, block in enumerate(attention.blocks):
        query, key, value, mixed = found[4 * place : 4 * place + 4]
        again = jnp.einsum("bnqk,bknc->bqnc", block.weights(query, key), value)
        np.testing.assert_allclose(again, mixed, atol=2e-6 * np.abs(mixed).max())


def test_a_batch_and_many_targets_are_one_pass(case, monkeypatch):
    name, _, explain = case
    passes, real = [], graph.apply_with_deltas
    monkeypatch.setattr(
        graph, "apply_with_deltas", lambda *a: passes.append(1) or real(*a)
    )
    images = pictures(name, count=3)
    together = explain.explain_many(images, np.tile([0, 1, 2], (3, 1)), NAMES)
    assert len(passes) == 1
    for i in range(3):
        alone = explain.explain_many(images[i : i + 1], [2 - i], NAMES)
        for key, one in alone.items():
            scale = np.abs(one.cams).max()
            np.testing.assert_allclose(
                together[key].cams[i, 2 - i], one.cams[0, 0], atol=1e-4 * scale
            )
    rollout = together["rollout", "attention"].cams  # asks for no class
    np.testing.assert_array_equal(rollout[:, 0], rollout[:, 1])


def test_a_patch_that_all_tokens_attend_to_is_the_maximum():
    """Queries of the last block are the marked patch's key; far from the middle."""
    model = built("vit")
    image = np.zeros((1, 64, 96, 3), "float32")
    row, column = 1, 4
    image[:, 16 * row : 16 * row + 16, 16 * column : 16 * column + 16] = 1
    explain = cam.Explainer(model)
    (program,) = explain._programs.values()
    taps = program.network.attention().layers[4:]
    _, (_, key, *_) = program.network(
        graph.variables_of(model), image, (), taps, [tap.zeros(1) for tap in taps]
    )
    marked = key[0, 1 + 6 * row + column]
    block = model.backbone.get_layer("vit_encoder").encoder_layers[-1]
    kernel, bias = block.mha._query_dense.weights
    kernel.assign(np.zeros(kernel.shape))
    bias.assign(30 * (marked - key[0].mean(0)))
    (value_kernel, _) = block.mha._value_dense.weights
    value_kernel.assign(4 * np.asarray(value_kernel))
    for key, one in explain.explain_many(image, np.array([[0, 1]]), NAMES).items():
        # Of two opposite classes one is for the mark.
        pro = one.cams[0, one.cams[0, :, row, column].argmax()]
        assert np.unravel_index(pro.argmax(), pro.shape) == (row, column), key


def test_rollout_is_of_the_tokens_that_the_head_reads():
    """The class token, or the mean of all rows where a head averages the tokens."""
    model = built("vit")
    pooled = hub.ViTImageClassifier(model.backbone, CLASSES, pooling="gap")
    images = pictures("vit", count=1)
    one = cam.Explainer(model)(images, [0], "rollout").cams[0, 0]
    found = cam.Explainer(pooled)(images, [0], "rollout").cams[0, 0]
    assert np.abs(found - one).max() > 1e-4
    explain = cam.Explainer(model)
    (program,) = explain._programs.values()
    attention = program.network.attention()
    taps = attention.layers
    _, arrays = program.network(
        graph.variables_of(model), images, (), taps, [tap.zeros(1) for tap in taps]
    )
    weights = [
        block.weights(arrays[4 * i], arrays[4 * i + 1])
        for i, block in enumerate(attention.blocks)
    ]
    for maps, read in ((one, np.eye(25)[0]), (found, np.ones(25))):
        row = methods.rollout(weights, read)[0, 1:].reshape(4, 6)
        np.testing.assert_allclose(maps, row, atol=1e-6)


def test_a_mixed_network_gives_float32_maps():
    """Its attention is recomputed in float32."""
    model = vit((64, 96), dtype="mixed_bfloat16")
    found = cam.Explainer(model).explain_many(pictures("vit"), [0, 1], NAMES)
    for one in found.values():
        assert one.cams.dtype == np.float32 and np.isfinite(one.cams).all()
        assert np.abs(one.cams).max() > 0


@pytest.mark.parametrize(
    ("name", "reason"), [("swin", "within its window"), ("mit", "groups of tokens")]
)
def test_partial_attention_is_an_error_that_names_other_methods(name, reason):
    explain = cam.Explainer(built(name))
    assert "layercam" in explain.methods and "refinecam" in explain.methods
    assert not set(NAMES) & set(explain.methods)
    for method in NAMES:
        with pytest.raises(UserError, match=f"legrad.*{reason}.*layercam"):
            explain(pictures(name), [0, 1], method)


def test_two_passes_through_a_transformer_have_no_one_attention():
    model = built("vit")
    image = keras.Input((64, 96, 3))
    twice = keras.layers.Add()([model(image), model(image[:, :, ::-1])])
    explain = cam.Explainer(keras.Model(image, twice))
    assert not set(NAMES) & set(explain.methods)
    with pytest.raises(UserError, match="calls one again"):
        explain(pictures("vit"), [0, 1], "rollout")


def test_a_fold_of_the_users_own_hides_no_attention():
    layer = "transformer_block_2:input"
    explain = cam.Explainer(
        built("vit"), layer, reshape=lambda x: x[:, 1:].reshape(-1, 4, 6, WIDTH)
    )
    assert set(NAMES) <= set(explain.methods)


def test_refinecam_of_a_transformer_fuses_depths():
    """Of one grid, the inputs of blocks; of a pyramid, grids that become coarser."""
    found = cam.Explainer(built("vit"))(pictures("vit"), [0, 1], "refinecam")
    assert found.cams.shape == (2, 1, 4, 6) and found.layer == "fused"
    explain = cam.Explainer(built("swin"))
    (program,) = explain._programs.values()
    sizes = [layer.map_size() for layer in program.network.stages()]
    assert sizes == [(8, 12), (4, 6)]
