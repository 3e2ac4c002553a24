"""Names that one of our files uses of another are there.

Python looks them up when they are used, and linters do not follow imports: a function
that moves leaves a benchmark or a test of its old place behind.
"""

import ast
import functools
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
ROOMS = ("hiercam_keras", "benchmarks", "tests")
IMPORT = re.compile(
    r"^\s*from ((?:hiercam_keras|benchmarks)[\w.]*) import (?:\(([^)]*)\)|(.*))$", re.M
)


@functools.cache
def _words(path):
    return frozenset(re.findall(r"\w+", path.read_text(encoding="utf-8")))


def _modules(text):
    """(alias, path) of our modules that a source imports from their packages."""
    for package, several, one in IMPORT.findall(text):
        for part in re.sub("#.*", "", several or one).split(","):
            name, _, alias = part.strip().partition(" as ")
            path = ROOT / package.replace(".", "/") / f"{name}.py"
            if name and path.is_file():
                yield alias or name, path


def missing(text):
    """Attributes of our modules in a source that are in no line of the module."""
    found = []
    for alias, path in _modules(text):
        used = set(re.findall(rf"\b{alias}\.([a-zA-Z]\w*)", text)) - _words(path)
        if not used:
            continue
        nodes = list(ast.walk(ast.parse(text)))
        if any(
            (isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store))
            and one.id == alias
            or (isinstance(one, ast.arg) and one.arg == alias)
            for one in nodes
        ):  # also the name of a variable
            continue
        found += [
            f"{one.lineno}: {alias}.{one.attr}"
            for one in nodes
            if isinstance(one, ast.Attribute)
            and isinstance(one.value, ast.Name)
            and one.value.id == alias
            and one.attr in used
        ]
    return found


def test_a_name_that_has_moved_is_found():
    source = "from hiercam_keras.modes import (\n    train,\n    plan as p,  # b\n)\n"
    assert missing(f"{source}train.run()\np.run()\n'train.nothing'\n") == []
    assert missing(f"{source}train.run()\np.walk()\n") == ["6: p.walk"]
    assert missing(f"{source}def f(p):\n    p.walk()\n") == []


def test_names_of_our_modules_are_there():
    wrong = [
        f"{path.relative_to(ROOT)}:{one}"
        for room in ROOMS
        for path in sorted((ROOT / room).rglob("*.py"))
        for one in missing(path.read_text(encoding="utf-8"))
    ]
    assert wrong == []
