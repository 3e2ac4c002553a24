"""The README's files and commands exist."""

import pathlib
import re

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
    source = (ROOT / "hiercam_keras" / "cli.py").read_text()
    flags = set(re.findall(r"flags\.DEFINE_\w+\(\s*\"(\w+)\"", source))
    named = {
        name
        for page in (ROOT / "README.md", ROOT / "docs" / "USAGE.md")
        for name in re.findall(r"[ `]--(\w+)=", page.read_text("utf-8"))
    }
    assert {"mode", "rank", "data_dir"} <= named
    assert named <= flags
