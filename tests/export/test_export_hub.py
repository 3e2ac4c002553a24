"""Transformers of keras-hub as ONNX files, with the gradient of their maps inside."""

import numpy as np
import pytest

needed = "install requirements-export.txt and jax2onnx to export"
pytest.importorskip("onnxruntime", reason=needed)
pytest.importorskip("jax2onnx", reason=needed)
pytest.importorskip(
    "keras_hub", reason="install requirements-keras-hub.txt to explain its models"
)

from hub_networks import CASES, built, pictures  # noqa: E402

from hiercam_keras.export import graph  # noqa: E402
from hiercam_keras.runs.network import Network  # noqa: E402
from hiercam_keras.taxonomy.lineage import Lineage  # noqa: E402
from hiercam_keras.taxonomy.tree import Taxonomy  # noqa: E402

# Swin's layers hand a mask to one that says that it knows none.
pytestmark = pytest.mark.filterwarnings("ignore:.*destroy the mask information")
ROWS = [("a", "x"), ("a", "y"), ("b", "z")]
TREE = Taxonomy(Lineage(taxa, ("genus", "species")) for taxa in ROWS)


@pytest.mark.parametrize(
    "name",
    ["vit", *(pytest.param(x, marks=pytest.mark.slow) for x in CASES if x != "vit")],
)
def test_a_transformer_has_maps_with_the_gradient_inside(name, tmp_path):
    network = Network(built(name), TREE, ("species",), "", 2)
    made = graph.build(network)
    path = graph.write_onnx(made, tmp_path / "model.onnx")
    photos = pictures(name, count=3) * 255
    parity = graph.compare(network, path, photos.astype(np.float32))
    assert parity.within(), parity
    assert made.has_maps and parity.maps is not None, made.left_out
    assert made.outputs["maps"][1:2] == (2,)
