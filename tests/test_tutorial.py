"""docs/tutorial.ipynb: whole, without outputs, and it runs where it says it does."""

import json
import os
import pathlib
import re
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
    assert len(notebook.cells) <= 20 and len(code) >= 8
    for cell in code:
        assert cell.outputs == [] and cell.execution_count is None
        compile(cell.source, "cell", "exec")
        assert max(map(len, cell.source.splitlines())) <= 88
    assert NOTEBOOK.stat().st_size < 20_000


def test_it_has_one_line_of_installation_and_one_import(notebook):
    text = "\n".join(cell.source for cell in notebook.cells)
    (line,) = re.findall(r"^ +(pip install .*)$", text, re.MULTILINE)
    assert line == "pip install . ipykernel"
    code = [c.source for c in notebook.cells if c.cell_type == "code"]
    assert re.findall(r"hiercam_keras.*", "\n".join(code)) == ["hiercam_keras as hc"]


def test_it_names_modes_fields_and_functions_that_exist(notebook):
    import hiercam_keras as hc
    from hiercam_keras.modes.usage import MODES

    text = "\n".join(cell.source for cell in notebook.cells)
    assert set(re.findall(r"--mode=(\w+)", text)) <= set(MODES)
    used = set(re.findall(r"\bhc\.(\w+)", text))
    assert {"load_config", "train", "evaluate", "compare", "overlay"} <= used
    assert used <= set(hc.__all__)
    config = hc.load_config("synthetic_birds")
    for path in re.findall(r"^config\.([\w.]+) =", text, re.MULTILINE):
        node = config
        for part in path.split("."):
            assert part in node, path
            node = node[part]


@pytest.mark.slow
def test_it_runs_after_one_line_of_installation(notebook, tmp_path):
    """In a fresh virtual environment, in a folder without the repository."""
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", str(ROOT), "ipykernel"]
    subprocess.run(install, check=True)
    # A kernel of that environment, which finds no copy of the repository.
    kernel = tmp_path / "share" / "kernels" / "fresh"
    kernel.mkdir(parents=True)
    launch = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    about = {"argv": launch, "display_name": "fresh", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(about))
    (tmp_path / "work").mkdir()
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "XLA_FLAGS")}
    script = (
        "import sys, nbformat, nbclient\n"
        "notebook = nbformat.read(sys.argv[1], as_version=4)\n"
        "client = nbclient.NotebookClient(notebook, timeout=3600, kernel_name='fresh',"
        " resources={'metadata': {'path': sys.argv[2]}})\n"
        "client.execute()\n"
        "nbformat.write(notebook, sys.argv[3])\n"
    )
    assert nbclient  # runs in a process of its own, which sees the kernel's folder
    done = tmp_path / "done.ipynb"
    subprocess.run(
        [sys.executable, "-c", script, NOTEBOOK, tmp_path / "work", done],
        env={**env, "JUPYTER_PATH": str(tmp_path / "share"), "TUTORIAL_DIR": "t"},
        check=True,
    )
    outputs = [
        output
        for cell in nbformat.read(done, as_version=4).cells
        if cell.cell_type == "code"
        for output in cell.outputs
    ]
    pictures = [one for one in outputs if "image/png" in one.get("data", {})]
    assert len(pictures) == 5
    said = "".join(one.text for one in outputs if one.output_type == "stream")
    assert "step to the family" in said and "similarity of the two maps" in said
    assert "lift on part_family" in said
    assert (tmp_path / "work" / "t" / "photo.png").is_file()
