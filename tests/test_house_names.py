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


IMPORTED = re.compile(r"^\s*(?:from [\w.]+ )?import (?:\(([^)]*)\)|(.*))$", re.M)
DEFINED = re.compile(r"^[ \t]*(?:async def|def|class) (\w+)", re.M)
ASSIGNED = re.compile(r"^(\w[\w, =]*)(?::[^=\n]*)?=", re.M)


@functools.cache
def _defined(path):
    """What a module defines or imports; a method, too, as if it were a function."""
    text = path.read_text(encoding="utf-8")
    found = set(DEFINED.findall(text))
    for names in ASSIGNED.findall(text):
        found |= set(re.findall(r"\w+", names))
    for several, one in IMPORTED.findall(text):
        found |= set(re.findall(r"\w+", re.sub("#.*", "", several or one)))
    return found


def _modules(text):
    """(alias, path) of our modules that a source imports from their packages."""
    for package, several, one in IMPORT.findall(text):
        for part in re.sub("#.*", "", several or one).split(","):
            name, _, alias = part.strip().partition(" as ")
            path = ROOT / package.replace(".", "/") / f"{name}.py"
            if name and path.is_file():
                yield alias or name, path


def missing(text):
    """Attributes of our modules in a source that the modules do not define."""
    found = []
    for alias, path in _modules(text):
        used = set(re.findall(rf"\b{alias}\.([a-zA-Z]\w*)", text)) - _defined(path)
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


def test_a_word_of_a_docstring_is_no_name():
    """`train` is a word of map_settings, which imported the module once."""
    source = "def f():\n    from hiercam_keras.experiments import map_settings, runs\n"
    assert missing(f"{source}    map_settings.train.build()\n") == [
        "3: map_settings.train"
    ]
    assert missing(f"{source}    map_settings.build()\n") == []


def test_names_of_our_modules_are_there():
    wrong = [
        f"{path.relative_to(ROOT)}:{one}"
        for room in ROOMS
        for path in sorted((ROOT / room).rglob("*.py"))
        for one in missing(path.read_text(encoding="utf-8"))
    ]
    assert wrong == []
