"""The benchmark of memory: turns of the variants, and its table."""

import json

import pytest

from benchmarks import memory


@pytest.fixture
def processes(monkeypatch):
    """Workers that answer without work; returns the orders that they got."""
    orders = []

    class Fake:
        def __init__(self, name, case, cache, python):
            self.name = name
            orders.append((name, "start", python))

        def tell(self, task, calls):
            orders.append((self.name, task, calls))
            seconds = 0.6 if self.name == "plain malloc" else 0.4
            found = {"seconds": seconds, "processor": 1.1, "faults": 0.4}
            return found | {"resident": 2048.0, "peak": 3072.0, "malloc": "said."}

        def end(self):
            orders.append((self.name, "end", 0))

    monkeypatch.setattr(memory, "Process", Fake)
    return orders


def test_variants_take_turns_and_long_ones_make_more_steps(processes, tmp_path, capsys):
    flags = ["--rounds=2", "--steps=5", "--few_steps=2", "--torch_python=another"]
    memory.main([*flags, f"--out={tmp_path}"])
    others = [name for name, _, python in processes if python == "another"]
    assert others == [memory.TORCH]
    trained = [name for name, task, calls in processes if task == "train" and calls > 1]
    names = list(memory.VARIANTS)
    assert trained == names + names[1:] + names[:1]
    steps = {name: calls for name, task, calls in processes if task == "train"}
    assert steps[memory.SETTINGS] == steps[memory.TORCH] == 5
    assert steps["notebook"] == 2
    ended = [name for name, task, _ in processes if task == "end"]
    assert sorted(ended) == sorted([*memory.COLD, *names])
    table = capsys.readouterr().out
    row = next(line for line in table.splitlines() if line.startswith("| plain malloc"))
    assert row.startswith("| plain malloc | 0.600 (0.600..0.600) | 1.50 (1.50..1.50) |")
    assert "| 2.00 GiB (5) | 3.00 GiB | 0.6 s | 0.6 s |" in row  # steps with the first
    assert (tmp_path / "memory_224x16.md").read_text() == table
    found = json.loads((tmp_path / "memory_224x16.json").read_text())
    assert found["train"]["notebook"][0]["calls"] == 2


def test_the_cost_of_a_call_is_a_mean():
    found = memory.cost_of(lambda calls: sum(range(300_000 * calls)), 4)
    assert 0 < found["processor"] < 4 * found["seconds"] + 0.01
    assert found["faults"] >= 0


def test_a_worker_s_malloc_is_that_of_its_variant():
    """Every variant but those of today's settings leaves malloc alone."""
    assert memory._set_malloc("") == "malloc is unchanged."
    kinds = {name: variant.malloc for name, variant in memory.VARIANTS.items()}
    assert kinds["launcher"] == kinds["plain malloc"] == kinds[memory.TORCH] == ""
