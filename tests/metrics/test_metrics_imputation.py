"""Fillings, above all ROAD's noisy linear one, and parity with pytorch-grad-cam."""

import importlib.util
import sys
import warnings
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hiercam_keras.metrics.faithfulness import fills, order

REASON = "install requirements-parity.txt to compare with pytorch-grad-cam"
UNUSED = (
    "torchvision",
    "torchvision.transforms",
    "torchvision.transforms.functional",
    "ttach",
    "sklearn",
    "sklearn.decomposition",
)


def dense_fill(image, gone):
    """The same equations, written down one pixel at a time and solved densely."""
    height, width = gone.shape
    pixels = [(y, x) for y in range(height) for x in range(width) if gone[y, x]]
    number = {pixel: i for i, pixel in enumerate(pixels)}
    matrix = np.zeros((len(pixels), len(pixels)))
    right = np.zeros((len(pixels), image.shape[2]))
    for (y, x), i in number.items():
        for ny in range(max(y - 1, 0), min(y + 2, height)):
            for nx in range(max(x - 1, 0), min(x + 2, width)):
                if (ny, nx) == (y, x):
                    continue
                weight = 1 / 6 if ny == y or nx == x else 1 / 12
                matrix[i, i] += weight
                if gone[ny, nx]:
                    matrix[i, number[ny, nx]] -= weight
                else:
                    right[i] += weight * image[ny, nx]
    out = image.astype(float).copy()
    out[gone] = np.linalg.solve(matrix, right)
    return out


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 7), st.integers(2, 7), st.floats(0.1, 0.9), st.integers(0, 999))
def test_imputation_equals_a_dense_solution(height, width, share, seed):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
    gone = rng.random((height, width)) < share
    gone[0, 0] = False
    found = fills.linear_fill(image, gone, noise=0)
    assert found == pytest.approx(dense_fill(image, gone), abs=1e-3)
    assert (found[~gone] == image[~gone]).all()
    # A mean of means is within the range of the known pixels.
    known = image[~gone]
    assert (found >= known.min(0) - 1e-3).all() and (found <= known.max(0) + 1e-3).all()


def test_one_missing_pixel_by_hand():
    image = np.arange(9.0).reshape(3, 3, 1) ** 2
    gone = np.zeros((3, 3), bool)
    gone[1, 1] = True
    edges, corners = 1 + 9 + 25 + 49, 0 + 4 + 36 + 64
    found = fills.linear_fill(image, gone, noise=0)[1, 1, 0]
    assert found == pytest.approx(edges / 6 + corners / 12)
    gone[:] = False
    gone[0, 0] = True  # a corner has three neighbors: weights 1/6, 1/6, 1/12
    found = fills.linear_fill(image, gone, noise=0)[0, 0, 0]
    assert found == pytest.approx((1 / 6 * (1 + 9) + 1 / 12 * 16) / (5 / 12))


def test_all_or_nothing_missing():
    image = np.random.default_rng(0).integers(0, 256, (4, 5, 3)).astype(np.uint8)
    nothing = fills.linear_fill(image, np.zeros((4, 5), bool))
    assert (nothing == image).all()
    everything = fills.linear_fill(image, np.ones((4, 5), bool), noise=0)
    mean = image.mean((0, 1), keepdims=True)
    assert everything == pytest.approx(np.broadcast_to(mean, image.shape), abs=1e-4)
    with pytest.raises(ValueError, match="do not fit"):
        fills.linear_fill(image, np.ones((5, 4), bool))


def test_noise_is_of_the_size_asked_for_and_repeats():
    image = np.full((64, 64, 3), 100, np.uint8)
    gone = np.ones((64, 64), bool)
    gone[0] = False
    found = fills.linear_fill(image, gone, noise=0.02, seed=3)
    assert (found[gone] - 100).std() == pytest.approx(0.02 * 255, rel=0.05)
    assert (found == fills.linear_fill(image, gone, noise=0.02, seed=3)).all()
    assert (found != fills.linear_fill(image, gone, noise=0.02, seed=4)).any()


def test_whole_fillings():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 16, 16, 3)).astype(np.uint8)
    mean = fills.whole_fill(images, "mean")
    assert mean[1, 3, 4] == pytest.approx(images[1].mean((0, 1)), rel=1e-5)
    blur = fills.whole_fill(images, "blur")
    assert blur.std() < 0.5 * images.std()
    assert blur.mean((1, 2)) == pytest.approx(images.mean((1, 2)), abs=8)
    noise = fills.whole_fill(images, "random", seeds=[5, 5])
    assert (noise[0] == noise[1]).all() and noise.min() >= 0 and noise.max() <= 255
    assert noise.std() == pytest.approx(255 / np.sqrt(12), rel=0.1)


@pytest.fixture(scope="module")
def road():
    """(torch, pytorch_grad_cam.metrics.road), or a skip."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch = pytest.importorskip("torch", reason=REASON)
        missing = [n for n in UNUSED if not importlib.util.find_spec(n.split(".")[0])]
        stand_ins = {name: mock.MagicMock() for name in missing}
        with mock.patch.dict(sys.modules, stand_ins):
            return torch, pytest.importorskip(
                "pytorch_grad_cam.metrics.road", reason=REASON
            )


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_same_imputed_picture_as_pytorch_grad_cam(road, share):
    """On the same mask, without noise; theirs is (C, H, W) with 1 for what is kept."""
    torch, module = road
    rng = np.random.default_rng(7)
    image = rng.random((20, 17, 3)).astype(np.float32)
    gone = order.positions(rng.normal(size=(20, 17))) < round(share * 340)
    pixels = torch.tensor(image).permute(2, 0, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # theirs
        kept = torch.tensor(~gone, dtype=torch.float32)
        theirs = module.NoisyLinearImputer(noise=0.0)(pixels, kept)
    ours = fills.linear_fill(image, gone, noise=0)
    assert ours == pytest.approx(theirs.permute(1, 2, 0).numpy(), abs=1e-5)


def test_a_percentile_threshold_takes_all_that_tie(road):
    """Why exact counts: 60 of 100 values are zeros. Asked to remove the 30 least
    relevant, the reference removes all the zeros; its masks are kept = 1."""
    torch, module = road
    heat = np.zeros((10, 10), np.float32)
    heat.reshape(-1)[:40] = np.linspace(0.1, 1, 40)
    masks = []
    remove = module.RemoveLeastRelevantFirst(70, lambda image, kept: masks.append(kept))
    remove(None, torch.tensor(heat))
    assert int((masks[0] == 0).sum()) == 60
    places = order.least_first(order.positions(heat))
    assert (places < 30).sum() == 30 and heat[places < 30].max() == 0
