"""The benchmark of starts: turns of two checkouts, and its table."""

import pytest

from benchmarks import start


def test_two_checkouts_take_turns(tmp_path, monkeypatch, capsys):
    started = []

    def measured(command, root, cache):
        started.append((command, root, cache.name))
        return float(len(started)), 2.0 * len(started)

    monkeypatch.setattr(start, "measured", measured)
    other = tmp_path / "other"
    start.main(["--case=32x4", f"--against={other}", "--rounds=2"])
    assert [root for _, root, _ in started] == [
        *(start.ROOT, other),
        *(other, start.ROOT),
        *(start.ROOT, other),
        *(other, start.ROOT),
    ]
    assert {cache for *_, cache in started} == {"cache_this", "cache_other"}
    assert "Case(32, 4)" in started[0][0][1]
    shown = capsys.readouterr().out
    assert "| this | warm | 6.50 (5.00 to 8.00) | 13.00 (10.00 to 16.00) |" in shown
    assert "| other | cold | 2.00 (2.00 to 2.00) |" in shown


def test_a_photograph_of_a_run(tmp_path, monkeypatch):
    commands = []
    monkeypatch.setattr(
        start, "measured", lambda command, *_: commands.append(command) or (1.0, 1.0)
    )
    start.main([f"--run={tmp_path}", f"--image={tmp_path / 'a.jpg'}", "--rounds=1"])
    first, *_, second = commands
    assert first == second and "--mode=cam" in first
    assert f"--workdir={tmp_path}" in first
    with pytest.raises(SystemExit):
        start.main([f"--run={tmp_path}"])


def test_a_process_is_measured_and_its_failure_is_shown(tmp_path):
    seconds, used = start.measured(["-c", "sum(range(10**6))"], tmp_path, tmp_path)
    assert 0 < used and 0 < seconds
    with pytest.raises(SystemExit, match="broken"):
        start.measured(["-c", "raise SystemExit('broken')"], tmp_path, tmp_path)
