"""The table of how cleanly parts are exchanged."""

import numpy as np

from benchmarks import exchanged_parts
from hiercam_keras.birds import DatasetSettings, bird_at, exchange
from hiercam_keras.birds.interventions import HOWS, PARTS


def test_columns_are_shares_of_the_exchanged_pictures():
    bird = bird_at(DatasetSettings(), 30, 5, size=64)
    found = exchanged_parts.measured(bird)
    assert found.shape == (len(PARTS), len(HOWS), 4)
    before = bird.draw()
    after = exchange(bird, "legs", "sibling")
    differ, cut, hides, shade = found[PARTS.index("legs"), HOWS.index("sibling")]
    changed = (after.image != before.image).any(axis=-1)
    assert differ == 100 * changed.sum() / 64**2
    new = after.parts == 5
    assert cut == 100 * (1 - new[4:60, 4:60].sum() / new.sum())
    assert hides == 0 <= shade  # legs are behind everything
    wing = found[PARTS.index("wing")]
    assert (wing[:2, 1:] == 0).all()  # another pattern within the same outline
    assert np.isnan(wing[2, 1:3]).all() and wing[2, 3] > 5  # removed: its shade stays
    patch = found[PARTS.index("patch"), HOWS.index("sibling")]
    assert 0 < patch[2] < 30


def test_where_no_taxon_has_another_form_there_is_no_number(capsys):
    bird = bird_at(DatasetSettings(species=1), 3, 0, size=64)
    found = exchanged_parts.measured(bird)
    assert np.isnan(found[PARTS.index("patch"), HOWS.index("sibling")]).all()
    exchanged_parts.main(["--birds=2", "--size=64"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == list(exchanged_parts.HEADER)
    assert len(lines) == 2 + len(PARTS) * len(HOWS)
