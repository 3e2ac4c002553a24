"""Mixup and CutMix: shares, determinism, labels of every rank."""

import numpy as np
import pytest
from ml_collections import ConfigDict

from hiercam_keras.errors import UserError
from hiercam_keras.training import mixing

FAMILY, SPECIES = np.array([0, 1, 1, 0, 1, 0]), np.array([0, 2, 3, 1, 2, 0])
LABELS = {"family": mixing.one_hot(FAMILY, 2), "species": mixing.one_hot(SPECIES, 4)}
# Image i is i everywhere except in its first channel, which holds the position.
IMAGES = np.broadcast_to(10 * np.arange(6)[:, None, None, None], (6, 12, 12, 3)).astype(
    np.uint8
)


def options(mixup=0.0, cutmix=0.0):
    return ConfigDict({"mixup": mixup, "cutmix": cutmix})


def test_mixup_mixes_pictures_and_all_labels_by_one_share():
    weights = {"family": np.arange(6.0)}
    images, labels, mixed = mixing.mix(
        IMAGES, LABELS, options(mixup=1.0), (1, 3), weights
    )
    assert images.dtype == np.uint8
    first = np.random.default_rng((mixing._STREAM, 1, 3))
    first.integers(1)
    share = first.beta(1.0, 1.0)
    other = first.permutation(6)
    assert 0.05 < share < 0.95
    expected = share * IMAGES + (1 - share) * IMAGES[other]
    assert np.abs(images - expected).max() <= 0.5 + 1e-3
    want = share * weights["family"] + (1 - share) * weights["family"][other]
    np.testing.assert_allclose(mixed["family"], want, rtol=1e-6)
    for rank, values in LABELS.items():
        want = share * values + (1 - share) * values[other]
        np.testing.assert_allclose(labels[rank], want, rtol=1e-6)


def test_the_share_of_cutmix_is_what_is_left_of_the_picture():
    for batch in range(20):
        images, labels, _ = mixing.mix(IMAGES, LABELS, options(cutmix=1.0), (batch, 0))
        for i in range(6):
            kept = np.mean(images[i, :, :, 0] == IMAGES[i, 0, 0, 0])
            partner = set(np.unique(images[i])) - {10 * i}
            if not partner:
                continue
            j = partner.pop() // 10
            want = kept * LABELS["species"][i] + (1 - kept) * LABELS["species"][j]
            np.testing.assert_allclose(labels["species"][i], want, atol=1e-6)
            np.testing.assert_allclose(labels["family"][i].sum(), 1, rtol=1e-6)


def test_draws_repeat_and_differ():
    both = options(mixup=0.4, cutmix=1.0)
    keys = [(0, 0), (0, 1), (1, 0), (1, 1)]
    one = [mixing.mix(IMAGES, LABELS, both, key)[0] for key in keys]
    two = [mixing.mix(IMAGES, LABELS, both, key)[0] for key in keys]
    np.testing.assert_array_equal(one, two)
    assert len({image.tobytes() for image in one}) == 4


def test_labels_of_both_ranks_stay_on_one_path():
    """The family's share is the sum of its species' shares."""
    _, labels, _ = mixing.mix(IMAGES, LABELS, options(mixup=1.0), (3, 0))
    members = np.array([[1, 0], [1, 0], [0, 1], [0, 1]])
    np.testing.assert_allclose(labels["species"] @ members, labels["family"], rtol=1e-6)


def test_off_changes_nothing():
    images, labels, weights = mixing.mix(IMAGES, LABELS, options(), (0, 0))
    assert images is IMAGES and labels == LABELS and weights is None
    with pytest.raises(UserError, match=r"config\.train\.mixup is -1"):
        mixing.check(options(mixup=-1.0))
