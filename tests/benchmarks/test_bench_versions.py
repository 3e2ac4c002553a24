"""The benchmark of releases: environments, turns, and its table."""

import json
import sys

import pytest

from benchmarks import versions
from benchmarks.report import Spread


def test_an_environment_gets_the_requirements_but_for_tensorflow_with_its_jax():
    text = """# what it needs
keras>=3.14,<4
jax>=0.8.1,<0.13
jaxlib>=0.8.1,<0.13
tensorflow-cpu>=2.20; sys_platform == "linux"
tensorflow-datasets>=4.9.10,<5
numpy>=2.0,<3  # arrays
"""
    wanted = versions.requirements(text, "0.10.2")
    assert wanted == [
        "keras>=3.14,<4",
        "numpy>=2.0,<3",
        "jax==0.10.2",
        "jaxlib==0.10.2",
    ]


def test_an_environment_is_built_once(tmp_path, monkeypatch):
    ran = []
    monkeypatch.setattr(
        versions.subprocess, "run", lambda args, check: ran.append(args)
    )
    (tmp_path / "python3.13-jax0.10.2").mkdir()
    for _ in range(2):
        inside = versions.build("/opt/python3.13", "0.10.2", tmp_path)
    assert inside == str(tmp_path / "python3.13-jax0.10.2" / "bin" / "python")
    assert [args[0] for args in ran] == ["/opt/python3.13", inside]
    assert "jax==0.10.2" in ran[1]


def test_an_interpreter_without_jax_is_refused(tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho No module named jax >&2; exit 1\n")
    python.chmod(0o755)
    with pytest.raises(SystemExit, match="expected a Python with jax: No module"):
        versions.describe(str(python))


@pytest.fixture
def environments(monkeypatch):
    """Workers that answer without work, by a second for each letter of their name."""
    orders = []

    class Fake:
        def __init__(self, name, case, python, cache):
            self.python, self.cache = python, cache

        def tell(self, do, task, calls=0, warm=False):
            orders.append((do, self.python, task, calls, self.cache))
            return {"seconds": float(len(self.python)), "call": 2.0, "first_call": 9.0}

        def end(self):
            orders.append(("end", self.python, "", 0, self.cache))

    def describe(python):
        return versions.Environment(f"jax {python}", python)

    monkeypatch.setattr(versions, "Peer", Fake)
    monkeypatch.setattr(versions, "describe", describe)
    return orders


def test_environments_take_turns_with_caches_of_their_own(
    environments, tmp_path, capsys
):
    flags = ["--environments=a,bb", "--tasks=train,maps7", "--rounds=2"]
    versions.main([*flags, "--block_seconds=6", f"--out={tmp_path}"])
    timed = [(python, task, calls) for do, python, task, calls, _ in environments]
    turns = [
        ("a", "train", 3),
        ("a", "maps7", 3),
        ("bb", "train", 3),
        ("bb", "maps7", 3),
    ]
    assert timed[4:12] == turns + turns[2:] + turns[:2]
    assert len({cache for *_, cache in environments}) == 2
    assert [do for do, *_ in environments][-2:] == ["end", "end"]
    table = capsys.readouterr().out
    assert "| train step | jax a | 1.000 (1.000..1.000) | 1.00 " in table
    assert (
        "| jax bb | 2.000 (2.000..2.000) | 2.00 (2.00..2.00) | slower by 100 % |"
        in table
    )
    found = json.loads((tmp_path / "versions.json").read_text())
    assert found["cases"][0]["first_call"]["train"]["jax bb"]["first_call"] == 9.0


def test_the_same_release_twice_is_refused(environments, tmp_path):
    with pytest.raises(SystemExit, match="expected environments that differ"):
        versions.main(["--environments=a,a", f"--out={tmp_path}"])


def test_a_median_alone_does_not_make_a_release_slower():
    assert versions.verdict(Spread(1.05, 1.01, 1.2)) == ""
    assert versions.verdict(Spread(1.3, 1.1, 1.5)) == "slower by 30 %"
    assert versions.verdict(Spread(1.3, 0.9, 1.5)) == "slower by 30 % by the median"


def test_this_interpreter_is_described_by_its_versions():
    found = versions.describe(sys.executable)
    assert found.name.startswith(f"Python {sys.version_info.major}.")
    assert "jax" in found.name
