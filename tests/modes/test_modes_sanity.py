"""Sanity checks of --mode=cam: tables of maps whose model was made random."""

import json

import numpy as np
import pytest
import tiny_birds

from hiercam_keras import tables
from hiercam_keras.cam import Explainer, store
from hiercam_keras.errors import UserError
from hiercam_keras.metrics.sanity import similarity


def run(trained, **fields):
    fields = {f"sanity.{name}": value for name, value in fields.items()}
    said = tiny_birds.run("cam", trained.config, rank=("family",), fields=fields)
    return said, store.open(said.rsplit(" ", 1)[1])


def test_a_row_for_each_layer_from_the_output_down(trained):
    said, maps = run(trained, order="cascading", images=5)
    rows = tables.read_csv(maps.folder / "sanity_cascading.csv")
    about = json.loads((maps.folder / "sanity_cascading.json").read_text())
    assert about["images"] == 5 and len(about["rows"]) == len(rows["mean"])
    signed = [row for row in about["rows"] if row["measure"] == "spearman_signed"]
    # Three convolutions with normalizations, the head, and the trained model before.
    assert [row["stage"] for row in signed] == list(range(8))
    assert signed[0]["layer"] == "" and signed[0]["mean"] == pytest.approx(1)
    assert "conv1" in signed[-1]["layer"] and signed[-1]["mean"] < 0.99
    assert {row["count"] for row in signed} <= set(range(6))
    assert f"cascading randomization down to {signed[-1]['layer']}" in said


def test_random_models_are_asked_what_the_trained_one_answered(trained, monkeypatch):
    """One stage of all pictures: what it is asked, and the figure made of its maps."""
    made, inner = [], Explainer.__call__

    def spy(explain, images, asked, method, **options):
        found = inner(explain, images, asked, method, **options)
        made.append((asked, method, found.cams[:, 0]))
        return found

    monkeypatch.setattr(Explainer, "__call__", spy)
    _, maps = run(trained, order="independent", images=-1, layers=("conv2",))
    ((asked, method, cams),) = made
    entries = [maps.get(example_id) for example_id in maps.example_ids]
    assert asked.taxon == [int(entry.label[0]) for entry in entries]
    assert (asked.rank, method) == ("family", "gradcam")
    values = similarity(np.stack([entry.cam[0] for entry in entries]), cams)
    rows = tables.read_csv(maps.folder / "sanity_independent.csv")
    assert rows["stage"] == ["0"] * 3 + ["1"] * 3
    for row, name in enumerate(("spearman", "spearman_signed", "ssim"), 3):
        assert rows["measure"][row] == name
        mean = float(rows["mean"][row] or "nan")
        expected = np.nanmean(values[name]) if int(rows["count"][row]) else np.nan
        assert mean == pytest.approx(expected, abs=1e-5, nan_ok=True), name


def test_wrong_choices_are_told(trained):
    with pytest.raises(UserError, match="sanity.order='random', expected one of casc"):
        run(trained, order="random")
    with pytest.raises(UserError, match="sanity.kind='zeros', expected one of shuff"):
        run(trained, order="cascading", kind="zeros")
    with pytest.raises(UserError, match="has no weights of its own"):
        run(trained, order="cascading", layers=("last_activation",))
    with pytest.raises(UserError, match="sanity.images=0 leaves no picture"):
        run(trained, order="cascading", images=0)
