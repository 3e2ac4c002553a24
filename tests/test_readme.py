"""Files, commands, flags and fields that the README and the docs name exist."""

import importlib
import pathlib
import re

from hiercam_keras.modes import usage

ROOT = pathlib.Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]


def test_every_linked_file_is_there():
    links = [
        (page, target)
        for page in PAGES
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8"))
        if "://" not in target
    ]
    assert len(links) > 5
    assert [(p.name, t) for p, t in links if not (p.parent / t).exists()] == []


def test_every_make_target_that_is_named_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    named = {
        name
        for page in PAGES
        for name in re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text("utf-8"), re.M)
    }
    assert {"demo", "test"} <= named
    assert named <= targets


def test_every_flag_that_is_named_exists():
    """Of cli.py and of commands of their own; and those of other programs: the
    builder of the tables, SLURM, gcloud."""
    source = (ROOT / "hiercam_keras" / "cli.py").read_text()
    flags = set(re.findall(r"flags\.DEFINE_\w+\(\s*\"(\w+)\"", source)) | {"config"}
    for path in (*ROOT.glob("benchmarks/**/*.py"), *ROOT.glob("hiercam_keras/**/*.py")):
        found = re.findall(r"add\w*\(\s*\"--([\w-]+)\"", path.read_text("utf-8"))
        flags |= set(found)
    flags |= {"manual_dir", "file_format", "nodes", "requeue", "signal"}
    flags |= {"cpus-per-task", "gpus-per-node", "ntasks-per-node", "worker", "command"}
    named = {
        (name, page.name)
        for page in PAGES
        for name in re.findall(r"(?:^|[ `])--([\w-]+)=", page.read_text("utf-8"), re.M)
    }
    assert {"mode", "rank", "data_dir"} <= {name for name, _ in named}
    assert {(name, page) for name, page in named if name not in flags} == set()


def test_every_mode_that_is_named_exists():
    named = {
        (name, page.name)
        for page in PAGES
        for name in re.findall(r"--mode=(\w+)", page.read_text("utf-8"))
    }
    assert {name for name, _ in named} >= {"train", "cam", "compare"}
    assert {(name, page) for name, page in named if name not in usage.MODES} == set()


def test_every_field_of_the_config_that_is_named_exists():
    configs = [
        importlib.import_module(f"configs.{name}").get_config()
        for name in ("default", "synthetic_birds")
    ]

    def known(field):
        return any(_has(config, field) for config in configs)

    named = {
        (field, page.name)
        for page in PAGES
        for field in re.findall(
            r"\bconfig\.([a-z_]+(?:\.[a-z_0-9]+)+|[a-z_]+(?==))",
            page.read_text("utf-8"),
        )
    }
    assert len(named) > 100
    named -= {("x", "USAGE.md")}  # any field
    assert {(field, page) for field, page in named if not known(field)} == set()


def _has(config, field):
    for name in field.split("."):
        if not hasattr(config, "get") or name not in config:
            return False
        config = config[name]
    return True


def test_every_file_that_is_named_is_written_or_there():
    """Tables, figures and modules in code spans: some source has their name."""
    sources = "\n".join(
        path.read_text("utf-8")
        for folder in ("hiercam_keras", "configs", "benchmarks", "tests")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".html", ".js")
    )
    files = {
        path.name
        for folder in ("hiercam_keras", "docs", "benchmarks", "tests")
        for path in (ROOT / folder).rglob("*")
    }
    files |= {path.name for path in ROOT.iterdir()}
    named = {
        (name, page.name)
        for page in PAGES
        for name in re.findall(
            r"`(?:[\w*<>{}./-]*/)?([\w-]+\.(?:csv|json|png|html|txt|npz|py))`",
            page.read_text("utf-8"),
        )
    }
    assert len(named) > 100
    lost = {(n, page) for n, page in named if n not in sources and n not in files}
    assert lost == set()
