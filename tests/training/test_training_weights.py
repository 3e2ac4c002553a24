"""Class weights reach the loss."""

import numpy as np
import pytest

from hiercam_keras.training import fit


class Weighted:
    """A loader with the weights `by_rank` of the losses."""

    def __init__(self, loader, by_rank):
        self._loader, self._by_rank = loader, by_rank

    def __getattr__(self, name):
        return getattr(self._loader, name)

    def epoch(self, number=0, start_step=0):
        for batch in self._loader.epoch(number, start_step):
            weights = {
                rank: np.float32(table)[batch.labels[rank]]
                for rank, table in self._by_rank.items()
            }
            yield batch._replace(weights=weights)


@pytest.mark.parametrize("ranks", [("family",), ("family", "species")])
def test_the_loss_is_the_weighted_mean(make_model, loaders, config, ranks):
    tables = {"family": [0.5, 2.0], "species": [0.25, 1.0, 3.0]}
    training = Weighted(loaders[0], tables)
    model, counts = make_model(ranks, dropout=0.0)
    fit.compile_model(model, counts, config.train, 4)
    images, labels, weights = next(
        fit._training_batches(training, counts, 0, config.train)
    )
    logits = model(images, training=False)
    expected = 0.0
    for rank in ranks:
        z = np.asarray(logits[rank] if len(ranks) > 1 else logits, np.float64)
        y = labels[rank] if len(ranks) > 1 else labels
        w = weights[rank] if len(ranks) > 1 else weights
        np.testing.assert_allclose(w, np.float32(tables[rank])[y])
        top = z.max(axis=1)
        losses = np.log(np.exp(z - top[:, None]).sum(1)) + top - z[np.arange(len(y)), y]
        expected += (w * losses).mean()
    found = model.test_on_batch(images, labels, weights, return_dict=True)["loss"]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
