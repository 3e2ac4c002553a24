"""The command line: parses flags and runs the selected mode.

This is the only module that defines flags. `hiercam_keras.__main__` blocks signals and
then imports it.
"""

import importlib
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags
from ml_collections import ConfigDict, config_flags

from hiercam_keras import config_files, malloc, multihost, runtime, signals
from hiercam_keras.errors import UserError
from hiercam_keras.modes.settings import Settings
from hiercam_keras.modes.usage import MODES, USAGE

FLAGS = flags.FLAGS
_DRAWN, _PHOTOS = "synthetic_birds", "photos"
_DATA = re.compile(r"--?(data_dir|config\.data\.(table|source=(?!synthetic_)))")
_WRONG = (flags.Error, ImportError, OSError, SyntaxError, TypeError, ValueError)
_HELP = """What does a network look at, asked for the species and asked for the family?

{program} --mode=train --rank=family
{program} --mode=compare --ranks=species,family
"""


class _ConfigParser(flags.ArgumentParser):
    """Replaces ml_collections' parser, which accepts only paths."""

    def parse(self, argument: str) -> ConfigDict:
        """The config of `config_files.load`."""
        return config_files.load(argument)


config_flags.DEFINE_config_file(
    "config",
    None,  # `_parse` adds the default, and handles errors in overrides
    "Experiment: a name or a file; --config.train.epochs=3 changes a field of it.",
)
FLAGS["config"].parser = _ConfigParser()
flags.DEFINE_enum("mode", "train", MODES, "What to do.")
flags.DEFINE_list(
    "rank",
    ["family"],
    "Rank that is trained, or whose run is used: order, family, genus, species; "
    "several with commas, or all, name a run that has a head for each.",
)
flags.DEFINE_list(
    "ranks", ["species", "family"], "Ranks that compare sets side by side."
)
flags.DEFINE_string("data_dir", None, "Your images: class folders, or a CSV table.")
flags.DEFINE_string(
    "detections",
    None,
    "Boxes of animals to crop: MegaDetector JSON, COCO JSON or a Camtrap DP package.",
)
flags.DEFINE_string("model", None, "What import takes: a .keras file, or a name.")
flags.DEFINE_string("labels", None, "What its outputs mean: CSV, one row an output.")
flags.DEFINE_string(
    "allowed_taxa",
    None,
    "The only taxa that answers may be of, with all below them: names with commas "
    "between them (quotes around one with a comma), or a table.",
)
flags.DEFINE_string(
    "taxonomy",
    None,
    "Taxonomy under which a finished network is asked: a table of whole names, or "
    "avilist2025.",
)
flags.DEFINE_string("workdir", None, "Run folder; default runs/<data>/<rank>/seed<k>.")
flags.DEFINE_list("runs", [], "Run folders that compare uses instead of --ranks.")
flags.DEFINE_string("out", None, "Where results are written; has a default.")
flags.DEFINE_string("image", None, "Photo, folder or glob: cam, predict, export.")
flags.DEFINE_enum("split", "test", ["train", "val", "test"], "Images of the data set.")
flags.DEFINE_string(
    "target", "predicted", "What a CAM explains: predicted, true, or a taxon's name."
)
flags.DEFINE_string("target_rank", None, "Rank asked for: the run's own, or coarser.")
flags.DEFINE_string(
    "method", None, "CAM method, or recommended; default config.cam.method."
)
flags.DEFINE_bool(
    "search",
    None,
    "cam: which layer and method it should use, by val; plan: the largest batch that "
    "fits, which --no-search leaves out.",
)
flags.DEFINE_string(
    "device", None, "What plan compiles for: tpu:v5e-4, gpu:h100, .., or cpu."
)
flags.DEFINE_string(
    "classes",
    None,
    "Numbers of taxa for plan where no images are: 1486, or family:98,species:1486.",
)
flags.DEFINE_integer(
    "num_images", None, "Number of training images for plan.", lower_bound=1
)
flags.DEFINE_string(
    "prices", None, "Your prices for plan: CSV with chip, price and currency."
)
flags.DEFINE_integer("top_k", 5, "Taxa per rank that predict lists.", lower_bound=1)
flags.DEFINE_integer("num_overlays", None, "Overlays that cam writes; -1: all.")
flags.DEFINE_enum("overlay_format", None, ["jpg", "png"], "Format of the overlays.")
flags.DEFINE_enum(
    "format", "onnx", ["onnx", "web"], "What export writes: a file, or a page with it."
)
flags.DEFINE_string(
    "runtime", None, "ONNX Runtime Web for --format=web; default: fetched with npm."
)
flags.DEFINE_bool(
    "webgpu", False, "The page of --format=web may use the graphics processor."
)
flags.DEFINE_enum(
    "weights_dtype", "float32", ["float32", "float16"], "Of an exported network."
)
flags.DEFINE_bool("resume", False, "Go on with a training that was stopped.")
flags.DEFINE_bool("multihost", False, "This process is one of several; see SCALING.md.")
flags.DEFINE_bool("overwrite", False, "Replace the run that the run folder holds.")
flags.DEFINE_bool("version", False, "Print the versions that a bug report needs.")


def program() -> str:
    """The command that started this process, for messages."""
    script = Path(sys.argv[0])
    if script.name == "__main__.py":
        return "python -m hiercam_keras"
    return f"python {script.name}" if script.suffix == ".py" else script.name


def default_config(argv: Sequence[str]) -> str | None:
    """The default experiment: that for photographs if a flag names a data set.

    Args:
      argv: a command line.

    Returns:
      Name of the experiment; None if --config is given.
    """
    if any(arg.split("=")[0] in ("--config", "-config") for arg in argv):
        return None
    return _PHOTOS if any(map(_DATA.match, argv)) else _DRAWN


def _parse(argv: list[str]) -> list[str]:
    """Parses the flags; prints help, versions or a one-line error, and exits."""
    if {"--help", "-h", "-help", "--helpshort", "help"} & set(argv[1:]):
        print(_HELP.format(program=program()), FLAGS.module_help(__name__), sep="\n")
        sys.exit(0)
    # absl knows --nosearch alone.
    argv = ["--nosearch" if arg == "--no-search" else arg for arg in argv]
    if default := default_config(argv):
        argv = [argv[0], f"--config={default}", *argv[1:]]
    try:
        rest = FLAGS(argv)
    except (AttributeError, KeyError) as error:
        words = " ".join(re.sub(r"""[\\'"]+n?\\?""", " ", str(error)).split())
        words = words.replace(" Did", ". Did").replace(" ?", "?")
        words += "" if words.endswith("?") else "."
        place = config_files.folder() / "default.py"
        _fail(f"the config has no field {words} {place} and sections/ list all fields.")
    except _WRONG as error:
        _fail(f"{' '.join(str(error).split())} (--help lists the flags)")
    if len(rest) > 1:
        _fail(
            f"{rest[1]!r} is no flag. Flags look like --mode=train, and a value with "
            "blanks needs quotes; see --help."
        )
    if FLAGS.version:
        print(*(" ".join(pair) for pair in runtime.versions().items()), sep="\n")
        sys.exit(0)
    return rest


def _fail(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)
    multihost.leave(1)


def _main(_: list[str]) -> None:
    """Runs the mode and prints its final message."""
    try:
        runtime.prepare_process()
        if FLAGS.multihost:
            multihost.join(FLAGS.mode)
        signals.advise(USAGE[FLAGS.mode].after_stop)
        settings = Settings.from_flags(FLAGS, default_config(sys.argv) is None)
        _begin_training(settings)
        with signals.at_once(), runtime.imports():
            mode = importlib.import_module(settings.module)
        settings.use_modules()
        with multihost.as_one():
            said = mode.run(settings)
        signals.ignore()  # the work is done
        if multihost.is_primary():
            print(said, flush=True)
    except UserError as error:
        _fail(str(error))
    except BrokenPipeError:  # the reader of stdout has closed it; the work is done
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _begin_training(settings: Settings) -> None:
    if settings.mode == "train" and not FLAGS.multihost:
        from hiercam_keras import first_touch  # imports NumPy, which --help does not

        first_touch.begin(*settings.of_training())


def run() -> None:
    """Runs the program with sys.argv; does not return after a stop."""
    malloc.keep_memory()  # before there are threads
    with signals.orderly():
        app.run(_main, flags_parser=_parse)
