"""Parity with pytorch-grad-cam: the same network in PyTorch, with the same weights.

Runs where requirements-parity.txt is installed. Nothing is shared but the weights:
the forward pass, the gradients and the methods are PyTorch's and pytorch-grad-cam's.
"""

import importlib.util
import sys
import warnings
from unittest import mock

import numpy as np
import pytest

from hiercam_keras import cam
from hiercam_keras.cam import profiles

REASON = "install requirements-parity.txt to compare with pytorch-grad-cam"
# What pytorch-grad-cam imports and none of the methods here calls. Its torchvision
# would bring CUDA along, so it is installed without its dependencies.
UNUSED = (
    "torchvision",
    "torchvision.transforms",
    "torchvision.transforms.functional",
    "ttach",
    "sklearn",
    "sklearn.decomposition",
)
NAMES = {
    "gradcam": "GradCAM",
    "gradcam++": "GradCAMPlusPlus",
    "hirescam": "HiResCAM",
    "layercam": "LayerCAM",
    "xgradcam": "XGradCAM",
    "gradcam_elementwise": "GradCAMElementWise",
    "eigencam": "EigenCAM",
}
LABELS = [0, 3, 6, 2, 2]


@pytest.fixture(scope="module")
def reference():
    """(torch, pytorch_grad_cam), or a skip; what warns in them is theirs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch = pytest.importorskip("torch", reason=REASON)
        stand_ins = {name: mock.MagicMock() for name in UNUSED if not _is_there(name)}
        with mock.patch.dict(sys.modules, stand_ins):
            package = pytest.importorskip("pytorch_grad_cam", reason=REASON)
        return torch, package


def _is_there(name):
    return importlib.util.find_spec(name.partition(".")[0]) is not None


@pytest.fixture(scope="module")
def twin(reference, small_model):
    """The small model of conftest.py in PyTorch."""
    torch, _ = reference
    nn = torch.nn
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2),
        nn.SiLU(),
        nn.Conv2d(4, 6, 2),
        nn.SiLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 7),
    )
    arrays = small_model.get_weights()
    values = [w.transpose(3, 2, 0, 1) if w.ndim == 4 else w.T for w in arrays]
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), values, strict=True):
            parameter.copy_(torch.tensor(value.copy()))
    return model.eval()


@pytest.fixture(scope="module")
def theirs(reference, twin, images):
    """Maps (B, H, W) of pytorch-grad-cam by method, at the layer with this index."""
    torch, package = reference
    pixels = torch.tensor(images.astype(np.float32) / 127.5 - 1).permute(0, 3, 1, 2)

    def run(method, index):
        kind = getattr(package, NAMES[method])
        target = package.utils.model_targets.ClassifierOutputTarget
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            explain = kind(model=twin, target_layers=[twin[index]])
            return explain(
                input_tensor=pixels, targets=[target(label) for label in LABELS]
            )

    return run


@pytest.fixture(scope="module")
def ours(small_model, images):
    explain = cam.Explainer(small_model, ["first_activation", "top_activation"])
    return explain.explain_many(images, LABELS, tuple(NAMES))


def test_same_logits(reference, twin, small_model, images):
    torch, _ = reference
    pixels = torch.tensor(images.astype(np.float32) / 127.5 - 1).permute(0, 3, 1, 2)
    with torch.no_grad():
        logits = twin(pixels).numpy()
    expected = np.asarray(small_model(images.astype(np.float32)))
    np.testing.assert_allclose(logits, expected, atol=1e-4)


@pytest.mark.parametrize(
    "layer,index", [("first_activation", 1), ("top_activation", 3)]
)
@pytest.mark.parametrize("method", NAMES)
def test_same_maps_after_their_postprocessing(
    theirs, ours, twin, reference, images, method, layer, index
):
    torch, _ = reference
    expected = theirs(method, index)
    cams = ours[method, layer].cams[:, 0]
    found = profiles.postprocess(cams, images.shape[1:3], "pytorch_grad_cam")
    difference = np.abs(found - expected).max((1, 2))
    if method == "eigencam":
        # The sign of a singular vector is arbitrary.
        turned = profiles.postprocess(-cams, images.shape[1:3], "pytorch_grad_cam")
        difference = np.minimum(difference, np.abs(turned - expected).max((1, 2)))
    if method == "xgradcam":
        pixels = torch.tensor(images.astype(np.float32) / 127.5 - 1)
        with torch.no_grad():
            activations = twin[: index + 1](pixels.permute(0, 3, 1, 2)).numpy()
        # Where a channel's sum crosses zero the two epsilons differ by design.
        sums = np.abs(activations.sum((2, 3))).min(1)
        assert (sums > 1e-3).any()
        difference = difference[sums > 1e-3]
    assert expected.max() > 0.9
    assert difference.max() <= 1e-4
