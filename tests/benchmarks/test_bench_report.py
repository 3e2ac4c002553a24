"""The benchmarks' arithmetic and tables; nothing here measures a time."""

import json

import pytest

from benchmarks import case, report, run


def test_spread_of_odd_and_even_counts():
    assert report.spread([3.0, 1.0, 9.0]) == (3.0, 1.0, 9.0)
    assert report.spread([4.0, 1.0, 2.0, 9.0]) == (3.0, 1.0, 9.0)


def test_spread_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="at least one"):
        report.spread([])


def test_speedup_is_paired_by_round():
    """A minute in which both are ten times slower changes no ratio."""
    ours, theirs = [1.0, 10.0, 1.0], [2.0, 20.0, 2.0]
    assert report.speedup(ours, theirs) == (2.0, 2.0, 2.0)
    assert report.speedup([2.0, 1.0, 4.0], [2.0, 4.0, 2.0]) == (1.0, 0.5, 4.0)


def test_speedup_leaves_out_rounds_that_one_did_not_finish():
    assert report.speedup([1.0, 1.0, 1.0], [3.0]) == (3.0, 3.0, 3.0)


def test_rates_are_images_a_second():
    assert report.rates([2.0, 4.0, 8.0], 16) == (4.0, 2.0, 8.0)


def _case():
    return {
        "name": "224 px, batch 16",
        "batch": 16,
        "seconds": {
            "train": {
                "hiercam": [1.0, 1.0],
                "keras_jax_stock": [9.0, 9.0],
                "torch_eager": [0.5, 0.5],
            },
            "forward": {
                "hiercam": [0.2, 0.2],
                "torch_eager": [0.3, 0.3],
                "torch_compiled": [0.25, 0.25],
            },
            "maps1": {"hiercam": [0.21, 0.21]},
        },
        "memory": {"hiercam": {"mib": 600.0}, "keras_jax_stock": {"mib": 1000.0}},
        "versions": {"hiercam": {"jax": "1.2"}},
        "failures": {"grad_cam_torch": "ended"},
    }


def _results():
    return {
        "date": "2000-01-01",
        "machine": {
            "cpu": "one",
            "cores": 2,
            "memory_gib": 8.0,
            "transparent_huge_pages": "never",
            "load_average": 0.0,
        },
        "settings": {
            "environment": {"A": "1"},
            "dtype": "float32",
            "rounds": 2,
            "block_seconds": 3.0,
        },
        "cases": [_case()],
        "first_step": {
            "cold": [{"total": 9.0, "import": 2.0, "build": 1.0, "first_call": 6.0}],
            "warm": [],
        },
    }


def test_goals_are_met_missed_or_not_measured():
    goals = {goal.name: goal for goal in report.GOALS}

    def verdict(name):
        goal = goals[name]
        return report.verdict(goal, goal.value(_case()))

    assert verdict("train step, stock Keras/JAX") == "9.00, met"
    assert verdict("train step, PyTorch eager") == "0.50, **missed**"
    assert verdict("train step, Keras/TensorFlow") == "not measured"
    # The best peer counts, not the first one.
    assert verdict("forward, best peer") == "1.25, met"
    assert verdict("forward of 1 picture, best peer") == "not measured"
    assert verdict("peak memory, ours / stock") == "0.60, met"
    assert verdict("cost of 1 map / forward") == "1.05, met"
    assert verdict("train, torch.compile") == "not measured"


def test_a_batch_of_one_picture_has_a_goal_of_its_own():
    one = _case() | {"batch": 1}
    one["seconds"]["forward"]["onnx_runtime"] = [0.19, 0.19]
    goals = {goal.name: goal for goal in report.GOALS}
    single = goals["forward of 1 picture, best peer"]
    assert report.verdict(single, single.value(one)) == "0.95, **missed**"
    assert goals["forward, best peer"].value(one) is None


def test_rounds_on_both_sides_of_a_bound_are_said():
    bound, value = report.GOALS[1], report.Spread
    assert bound.least == 1.6
    assert report.verdict(bound, value(1.7, 1.5, 1.8)) == (
        "1.70 (1.50..1.80), met by the median"
    )
    assert report.verdict(bound, value(1.5, 1.4, 1.7)) == (
        "1.50 (1.40..1.70), **missed** by the median"
    )
    assert report.verdict(bound, value(1.7, 1.6, 1.8)) == "1.70 (1.60..1.80), met"


def test_cases_are_columns():
    results = _results()
    results["cases"].append(_case() | {"name": "one picture", "batch": 1})
    del results["cases"][1]["seconds"]["train"]
    table = report.speed_table(results).splitlines()
    assert table[0] == (
        "| task | peer | 224 px, batch 16: img/s | ours / peer "
        "| one picture: img/s | ours / peer |"
    )
    assert (
        "| train step | PyTorch, eager | 32.0 (32.0..32.0) | 0.50 (0.50..0.50) |  |  |"
        in table
    )
    assert (
        "| forward pass | hiercam_keras | 80.0 (80.0..80.0) | 1 | 5.0 (5.0..5.0) | 1 |"
        in table
    )


def test_nobody_trains_with_one_picture():
    assert "train" in run.tasks_of("hiercam", case.Case(224, 2))
    assert run.tasks_of("keras_jax_stock", case.Case(224, 1)) == ("forward",)
    assert run.tasks_of("onnx_runtime", case.Case(224, 1)) == ("forward",)


def test_page_tells_figures_settings_and_what_is_missing(tmp_path):
    report.write(_results(), tmp_path)
    page = (tmp_path / "results.md").read_text()
    for wanted in (
        "| train step | Keras/JAX, stock layers | 1.8 (1.8..1.8) | 9.00 (9.00..9.00) |",
        "| raw maps, 1 target / forward pass, ours | 1.050 (1.050..1.050) |",
        "224 px, batch 16: pytorch-grad-cam is missing: ended",
        "jax 1.2",
        "| cold | first call | 6.0 (6.0..6.0) |",
    ):
        assert wanted in page
    assert json.loads((tmp_path / "results.json").read_text()) == _results()
    assert len(list(tmp_path.iterdir())) == 2


def test_results_of_several_runs_become_one():
    first, second = _results(), _results()
    del first["first_step"]
    second["cases"][0]["name"] = "128 px, batch 32"
    merged = report.merge([first, second])
    assert [c["name"] for c in merged["cases"]] == [
        "224 px, batch 16",
        "128 px, batch 32",
    ]
    assert merged["first_step"] == second["first_step"]
    assert len(first["cases"]) == 1


def test_every_peer_names_tasks_that_exist_and_has_a_label():
    for peer in run.PEERS:
        assert run.tasks_of(peer, case.Case())
        assert peer in report.LABELS
    ours = {
        *run.tasks_of("hiercam", case.Case()),
        *run.tasks_of("hiercam_vit", case.Case()),
    }
    assert ours == set(case.TASKS)


def test_flags_become_cases():
    flags = run.parse(["--cases=32x2,64x4", "--data=arrays", "--dtype=bfloat16"])
    assert [(c.size, c.batch, c.dtype) for c in flags.cases] == [
        (32, 2, "bfloat16"),
        (64, 4, "bfloat16"),
    ]
    assert "keras_tensorflow" not in flags.peers


def test_a_peer_with_a_python_of_its_own():
    flags = run.parse(["--python_of=hiercam=/no/such/python", "--python=/no/other"])
    assert flags.python_of == {"hiercam": "/no/such/python"}
    # Packages of another Python cannot be looked for here.
    assert run.installed(list(run.PEERS), flags) == list(run.PEERS)


def test_versions_that_differ_name_their_peers(tmp_path):
    results = _results()
    results["cases"][0]["versions"]["keras_jax_stock"] = {"jax": "1.1", "numpy": "2.0"}
    report.write(results, tmp_path)
    wanted = "jax 1.2 (hiercam_keras), jax 1.1 (Keras/JAX, stock layers), numpy 2.0."
    assert wanted in (tmp_path / "results.md").read_text()


@pytest.mark.parametrize(
    "flag",
    ["--cases=32", "--peers=nobody", "--tasks=sleep", "--python_of=nobody=python3"],
)
def test_wrong_flags_end_with_a_message(flag, capsys):
    with pytest.raises(SystemExit):
        run.parse([flag])
    assert flag.split("=")[1] in capsys.readouterr().err


def test_every_worker_gets_the_same_settings(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--of=the_shell")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    found = case.environment("cpu", "cache")
    settings = case.launch_settings("cpu")
    assert settings.items() <= found.items()
    assert found["XLA_FLAGS"] == "--xla_cpu_prefer_vector_width=512"


def test_a_gpu_has_goals_of_its_own():
    results = _results()
    results["settings"]["device"] = "gpu"
    one = results["cases"][0]
    one["seconds"]["train"] = {"hiercam": [0.01, 0.02], "torch_compiled": [0.02, 0.02]}
    table = report.goals_table(results)
    # 16 images in 0.015 s by the median of the two rates, 1,600 and 800.
    wanted = "| train, img/s | at least 2500 | 1200.00 (800.00..1600.00), **missed** |"
    assert wanted in table
    assert "| train, torch.compile | at least 1 | 1.50 (1.00..2.00), met |" in table
    assert "stock" not in table
