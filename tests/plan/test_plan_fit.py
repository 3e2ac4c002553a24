"""What fits, the largest batch, bounds of time, and what is printed of them."""

import dataclasses
import json

import pytest

from hiercam_keras.errors import UserError
from hiercam_keras.plan import estimate, figures, fit, table
from hiercam_keras.plan.devices import device
from hiercam_keras.plan.figures import Compiled

GIB = 2**30


def compiled(batch, total, device_count=1, repeated=0, work=3e9, **fields):
    """A train step of `total` GiB, of which 1 GiB does not grow."""
    given = {"argument": GIB, "output": GIB, "alias": GIB, "code": 0}
    return Compiled(
        "train",
        batch,
        device_count,
        sizes={"weights": GIB // 4, "optimizer": GIB // 2, "input": GIB // 4},
        memory={**given, "temp": int((total - 1) * GIB)},
        flops=work * batch / device_count,
        repeated=repeated,
        **fields,
    )


def refused(batch, needed, count=1):
    message = f"RESOURCE_EXHAUSTED: total ({needed}G) exceeds available HBM (15.75G)"
    return Compiled(
        "train",
        batch,
        count,
        sizes={"weights": GIB // 2, "optimizer": GIB // 4, "input": GIB // 4},
        **figures.of_refusal(message),
    )


def test_the_figures_of_a_refusal_are_those_of_the_compiler():
    found = figures.of_refusal(
        "RESOURCE_EXHAUSTED: Allocation (size=1) would exceed memory.\nTotal memory "
        "required at compile time (26.92G) exceeds available HBM (15.75G)."
    )
    assert found["needed"] == int(26.92 * GIB)
    assert found["available"] == int(15.75 * GIB)
    found = figures.of_refusal("Ran out of memory in hbm. Used 512.5M of 15.48G hbm.")
    assert found["needed"] == int(512.5 * 2**20)
    assert "needed" not in figures.of_refusal("RESOURCE_EXHAUSTED: no idea")


def test_a_gpu_program_fits_if_it_is_below_what_jax_takes():
    card = device("gpu:h100")
    limit = 0.75 * 84942979072 / GIB
    assert fit.verdict(compiled(8, limit - 0.1), card) == fit.FITS
    assert fit.verdict(compiled(8, limit + 0.1), card) == fit.TOO_LARGE
    assert fit.verdict(compiled(8, 1.5), device("cpu")) == fit.UNKNOWN
    assert fit.verdict(compiled(8, 1.5), device("cpu"), 2 * GIB) == fit.FITS


def test_repeated_work_is_a_fit_by_recomputing_on_a_tpu():
    chips = device("tpu:v5e-4")
    plain, other = compiled(256, 3), compiled(2048, 14, repeated=90, work=3.24e9)
    assert fit.verdict(plain, chips) == fit.FITS
    assert fit.verdict(other, chips) == fit.RECOMPUTES
    assert fit.extra_work(other, [plain, other]) == pytest.approx(0.08)
    assert fit.extra_work(other, [other]) is None
    assert fit.verdict(refused(4096, 26.9), chips) == fit.TOO_LARGE


def test_the_largest_batch_of_a_gpu_is_found_by_three_compilations():
    """1 GiB and 10 MiB an image at first, which becomes 8 MiB."""
    card, tried = device("gpu:h100"), []

    def compile_batch(batch):
        tried.append(batch)
        return compiled(batch, 1 + batch * 8 / 1024)

    first = compiled(32, 1 + 32 * 10 / 1024)
    found, every = fit.largest_batch(first, card, compile_batch, 10**6)
    assert len(every) == 3 and [one.batch for one in every] == [32, *tried]
    exact = int((0.75 * 84942979072 / GIB - 1) * 1024 / 8)
    assert 0.93 * exact <= found.fits <= exact
    assert found.line == pytest.approx(exact, rel=0.02)
    assert not found.too_large and not found.recomputes
    assert all(batch % 32 == 0 for batch in tried)


def test_no_batch_is_larger_than_the_training():
    """By the line 1,000 images take 102 GiB of 105.75."""

    def compile_batch(batch):
        assert batch == 1000 // 32 * 32
        return compiled(batch, 60)

    found, every = fit.largest_batch(
        compiled(32, 1 + 3), device("gpu:h200"), compile_batch, 1000
    )
    assert (found.fits, len(every), found.line) == (992, 2, 1000)


def test_no_other_batch_is_compiled_if_all_images_leave_half_of_the_memory():
    """By the line 1,000 images take 52.3 or 55.4 GiB of 105.75."""

    def compile_batch(batch):
        tried.append(batch)
        return compiled(batch, 50)

    for total, expected in ((2.4, []), (2.5, [992])):
        tried = []
        first = compiled(32, total)
        found, _ = fit.largest_batch(first, device("gpu:h200"), compile_batch, 1000)
        assert tried == expected and found.line == 1000
        said = table.text(
            dataclasses.replace(plan_of("gpu:h200", first), largest=found)
        )
        assert "1000, all of which would fit at once" in said
        assert ("by the line" in said) == (not expected)


def test_a_tpu_that_refuses_gives_a_point_of_the_line():
    def compile_batch(batch):
        assert batch / 4 % 128 == 0
        total = 1 + batch / 4 * 40 / 1024
        return refused(batch, total, 4) if total > 15.75 else compiled(batch, total, 4)

    first = compiled(64, 1 + 16 * 2 / 1024, 4)  # far below the slope of the others
    found, every = fit.largest_batch(first, device("tpu:v5e-4"), compile_batch, 10**6)
    assert found.tried == tuple(one.batch for one in every) == (64, 3072, 1024)
    assert (found.fits, found.too_large) == (1024, 3072)
    assert found.line == pytest.approx(14.75 * 1024 / 40 * 4, abs=2)


def test_half_of_a_batch_that_recomputes_is_tried():
    def compile_batch(batch):
        return compiled(batch, 1 + batch / 200)

    first = compiled(4096, 15, repeated=20)
    found, every = fit.largest_batch(first, device("tpu:v5e-1"), compile_batch, 10**6)
    assert [one.batch for one in every][:2] == [4096, 2048]
    assert found.recomputes == 4096 and found.fits >= 2048


@pytest.mark.parametrize("name", ["gpu:l4", "tpu:v5e-1"])
def test_no_batch_is_tried_if_the_weights_alone_are_too_large(name):
    """20 GiB of weights, of 16.5 or 15.75."""
    first = dataclasses.replace(compiled(32, 22), sizes={"weights": 20 * GIB})

    def compile_batch(batch):
        raise AssertionError(f"{batch} was compiled")

    found, every = fit.largest_batch(first, device(name), compile_batch, 1000)
    assert (found.fits, found.too_large, found.line, len(every)) == (0, 32, 0, 1)
    plan = dataclasses.replace(plan_of(name, first), largest=found)
    assert "32 do not fit; the weights and the optimizer alone" in table.text(plan)


def test_a_batch_is_halved_after_a_refusal_without_figures():
    tried = []

    def compile_batch(batch):
        tried.append(batch)
        return compiled(batch, 5)

    first = dataclasses.replace(refused(512, 30), needed=0, available=0)
    found, _ = fit.largest_batch(first, device("tpu:v5e-1"), compile_batch, 1000)
    assert tried[0] == 256 and found.fits >= 256
    said = table.text(plan_of("tpu:v5e-1", first))
    assert "Time: not estimated, as the batch does not fit." in said


def test_the_batch_that_fills_the_lanes():
    assert fit.unpadded(compiled(64, 2, 4), device("tpu:v5e-4")) == 512
    assert fit.unpadded(compiled(1024, 2, 8), device("tpu:v6e-8")) == 1024


def worked(**fields):
    return compiled(
        256,
        3,
        flops_of_products={"bf16 default": 197e9, "f32 default": 197e8},
        moved=819 * 10**6,
        **fields,
    )


def test_bounds_are_bytes_and_flops_by_the_data_sheet():
    found = estimate.bounds(worked(), device("tpu:v5e-1"))
    assert found.memory == pytest.approx(1e-3)
    assert found.compute == pytest.approx(1.1e-3)
    assert (found.step, found.name, found.links) == (found.compute, "compute", 0)
    sent = worked(collectives={"all-reduce f32": (3, 4 * 10**8)})
    found = estimate.bounds(sent, device("tpu:v5e-4"))
    assert found.links == pytest.approx(1.5 * 4e8 / 200e9)
    assert estimate.bounds(worked(), device("cpu")).step == 0


@pytest.mark.parametrize(
    ("chip", "name", "passes"),
    [
        ("tpu:v5e-1", "bf16 default", 1),
        ("tpu:v5e-1", "f32 default", 1),
        ("tpu:v5e-1", "f32 high", 3),
        ("tpu:v5e-1", "bf16xf32 highest", 6),
        ("gpu:a100", "f16 default", 1),
        ("gpu:a100", "f32 default", 2),
        ("gpu:a100", "f32 highest", 16),
    ],
)
def test_products_take_longer_by_precision(chip, name, passes):
    assert estimate.passes(name, device(chip).chip) == pytest.approx(passes)


def test_prices_are_those_of_a_table(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("chip,price,currency\nH100,2.5,EUR\n")
    prices = estimate.read_prices(path)
    eight = device("gpu:h100-8")
    step = compiled(256, 3, moved=int(3.6 * eight.chip.bandwidth), launched=1000)
    cost = estimate.cost(step, 1000, eight, prices)
    guess = estimate.SLOWEST + 1000 * estimate.LAUNCH / 3.6
    assert cost.hours == pytest.approx((1.0, guess))
    assert cost.money == pytest.approx((20.0, 20.0 * guess))
    assert cost.currency == "EUR"
    assert estimate.cost(step, 1000, device("gpu:l4"), prices).money is None
    assert estimate.cost(step, 1000, device("cpu"), prices) is None
    for text in ("chip,price\nh100,3\n", "chip,price,currency\nh100,cheap,USD\n"):
        path.write_text(text)
        with pytest.raises(UserError, match="mine.csv"):
            estimate.read_prices(path)


def test_our_own_table_has_every_chip():
    named = {one.chip.name for one in map(device, fit_names())}
    assert named <= estimate.read_prices().keys()


def fit_names():
    return ["tpu:v5e-4", "tpu:v5p-8", "tpu:v6e-8"] + [
        f"gpu:{name}" for name in ("h100", "h200", "a100", "l4")
    ]


def plan_of(name, train, **fields):
    chips = device(name)
    return table.Plan(
        device=chips,
        memory=fit.room(chips),
        programs={"train": train},
        others=[],
        largest=None,
        cost=estimate.cost(train, 100, chips, estimate.read_prices()),
        epochs=2,
        images=1000,
        source="a test",
        dtype="mixed_bfloat16",
        **fields,
    )


def test_the_text_says_what_fits_and_that_nothing_ran():
    said = table.text(plan_of("tpu:v5e-1", worked()))
    assert "train with 256 images fits." in said
    assert "Nothing was run" in said and "Guesses" in said and "Bounds" in said
    assert "91 % in bf16 default" in said.replace("90.9", "91")
    said = table.text(plan_of("tpu:v5e-1", refused(4096, 26.92)))
    assert "DOES NOT FIT: 26.92 of 15.75 GiB" in said
    said = table.text(plan_of("tpu:v5e-1", worked(repeated=12)))
    assert "fits ONLY BY RECOMPUTING (12 instructions" in said
    said = table.text(plan_of("gpu:l4", compiled(256, 40)))
    assert "DOES NOT FIT: 40.00 of" in said and "75 % of the card" in said


def test_the_processor_time_of_compilations_is_shown_where_it_is_known():
    def rows(**fields):
        lines = table.text(plan_of("tpu:v5e-1", worked(**fields))).splitlines()
        return [line for line in lines if line.startswith("of processor time")]

    assert rows(seconds=99.0) == []
    (row,) = rows(seconds=99.0, processor=60.4)
    assert row.split()[-1] == "60.4"


def test_the_plan_is_written_as_json():
    train = worked(collectives={"all-reduce f32": (3, 5)})
    plan = plan_of("tpu:v5e-4", train)
    said = table.plan_json(plan, {"train": estimate.bounds(train, plan.device)})
    again = json.loads(json.dumps(said))
    assert again["ran"] is False
    assert again["programs"]["train"]["verdict"] == fit.FITS
    fields = Compiled.__dataclass_fields__
    value = {k: v for k, v in again["programs"]["train"].items() if k in fields}
    assert Compiled.from_json(value) == train
