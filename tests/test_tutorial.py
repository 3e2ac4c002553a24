"""docs/tutorial.ipynb: whole, without outputs, and it runs."""

import os
import pathlib
import subprocess
import sys

import pytest

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")

ROOT = pathlib.Path(__file__).parent.parent
NOTEBOOK = ROOT / "docs" / "tutorial.ipynb"


@pytest.fixture
def notebook():
    return nbformat.read(NOTEBOOK, as_version=4)


def test_it_is_short_and_stripped(notebook):
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(notebook.cells) <= 17 and len(code) >= 6
    for cell in code:
        assert cell.outputs == [] and cell.execution_count is None
        compile(cell.source, "cell", "exec")
    assert NOTEBOOK.stat().st_size < 20_000


def test_it_names_modes_and_fields_that_exist(notebook):
    import importlib
    import re

    from hiercam_keras.modes.usage import MODES

    text = "\n".join(cell.source for cell in notebook.cells)
    assert set(re.findall(r"--mode=(\w+)", text)) <= set(MODES)
    config = importlib.import_module("configs.synthetic_birds").get_config()
    for path in re.findall(r"--config\.([\w.]+)=", text):
        node = config
        for part in path.split("."):
            assert part in node, path
            node = node[part]


def test_the_first_cell_finds_or_clones_the_repository(notebook, tmp_path):
    """In a folder without a copy it clones one, with one above it goes there; and no
    child process takes a whole GPU."""
    (first, *_) = (cell for cell in notebook.cells if cell.cell_type == "code")
    origin, elsewhere = tmp_path / "origin", tmp_path / "elsewhere"
    (origin / "docs").mkdir(parents=True)
    elsewhere.mkdir()
    (origin / "main.py").write_text("print('main')")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(origin)]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "one"]):
        subprocess.run([*git, *words], check=True)
    script = tmp_path / "cell.py"
    script.write_text(
        f"{first.source}\nDATA = []\nprogram('--x')\nprint(os.getcwd(), "
        "os.environ['XLA_PYTHON_CLIENT_PREALLOCATE'])"
    )

    def run(folder, repository=""):
        return subprocess.run(
            [sys.executable, str(script)],
            cwd=folder,
            env={**os.environ, "HIERCAM_REPOSITORY": repository, "TUTORIAL_DIR": "t"},
            capture_output=True,
            text=True,
        )

    assert run(origin / "docs").stdout.split() == ["main", str(origin), "false"]
    cloned = run(elsewhere, str(origin))
    assert cloned.stdout.split() == ["main", str(elsewhere / "copy"), "false"]
    assert "set REPOSITORY" in run(tmp_path).stderr


@pytest.mark.slow
def test_it_runs(notebook, tmp_path, monkeypatch):
    """Every cell, in a kernel of its own; a cell that fails is told with its error."""
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    monkeypatch.setenv("TUTORIAL_DIR", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))

    client = nbclient.NotebookClient(
        notebook,
        timeout=1800,
        kernel_name="python3",
        resources={"metadata": {"path": str(ROOT)}},
    )
    client.execute()
    pictures = [
        output
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if "image/png" in output.get("data", {})
    ]
    assert len(pictures) == 4
    said = "".join(
        output.text
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if output.output_type == "stream"
    )
    assert "report:" in said and "steps to" in said
    assert (tmp_path / "compare" / "index.html").is_file()
