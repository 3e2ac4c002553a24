"""The table of benchmarks.vit, from seconds that a person made up."""

from benchmarks import vit
from benchmarks.case import VITS, Case, targets


def test_ratios_are_taken_inside_rounds():
    """Our forward pass slows down by half in the second round, and so do the maps."""
    seconds = {
        "forward": {vit.OURS: [1.0, 1.5, 1.0], vit.THEIRS: [2.0, 1.5, 1.0]},
        "maps1": {vit.OURS: [1.1, 1.65, 1.3]},
        "cam1": {vit.OURS: [1.2, 1.5, 1.5], vit.THEIRS: [3.6, 6.0, 3.0]},
        "legrad1": {vit.OURS: [2.0, 3.0, 2.0]},
    }
    rows = vit.table(seconds).splitlines()
    assert (
        "| raw maps, 1 target / forward pass, ours | at most 1.3 | 1.10 (1.10..1.30) |"
        in rows
    )
    assert (
        "| LeGrad, raw maps, 1 target / forward pass, ours |  | 2.00 (2.00..2.00) |"
        in rows
    )
    (speedup,) = (row for row in rows if "at least 2.0" in row)
    assert speedup.endswith("| 3.00 (2.00..4.00) |")


def test_the_default_is_a_vit_b_16_at_batch_16():
    flags = vit.parse([])
    assert (flags.vit, flags.size, flags.batch) == ("base", 224, 16)
    assert VITS["base"] == (12, 12, 768)
    assert targets(Case(224, 16), 1).shape == (16, 1)
