"""What does a network look at, asked for the species and asked for the family?

python main.py --mode=train --rank=family
python main.py --mode=compare --ranks=species,family
"""

from hiercam_keras import signals

if __name__ == "__main__":
    signals.hold()  # until `orderly` below; they wait while the imports go on

import importlib
import os
import re
import sys

from absl import app, flags
from ml_collections import config_flags

from hiercam_keras import multihost, runtime
from hiercam_keras.errors import UserError
from hiercam_keras.modes.settings import Settings
from hiercam_keras.modes.usage import MODES, USAGE

FLAGS = flags.FLAGS
_HERE = os.path.dirname(os.path.abspath(__file__))
_DEFAULT_CONFIG = os.path.join(_HERE, "configs", "synthetic_birds.py")
_WRONG = (flags.Error, ImportError, OSError, SyntaxError, TypeError, ValueError)

config_flags.DEFINE_config_file(
    "config",
    None,  # `_parse` adds the default, so that errors in overrides are met there
    "Experiment file; --config.train.epochs=3 changes a field of it.",
)
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
flags.DEFINE_string("data_dir", None, "Folder of class folders in iNat naming.")
flags.DEFINE_string("model", None, "What import takes: a .keras file, or a name.")
flags.DEFINE_string("labels", None, "What its outputs mean: CSV, one row an output.")
flags.DEFINE_string("workdir", None, "Run folder; default runs/<data>/<rank>/seed<k>.")
flags.DEFINE_list("runs", [], "Run folders that compare uses instead of --ranks.")
flags.DEFINE_string("out", None, "Where results are written; has a default.")
flags.DEFINE_string("image", None, "Photo, folder or glob, for cam and predict.")
flags.DEFINE_enum("split", "test", ["train", "val", "test"], "Images of the data set.")
flags.DEFINE_string(
    "target", "predicted", "What a CAM explains: predicted, true, or a taxon's name."
)
flags.DEFINE_string("target_rank", None, "Rank asked for: the run's own, or coarser.")
flags.DEFINE_string("method", None, "CAM method; default config.cam.method.")
flags.DEFINE_integer("top_k", 5, "Taxa per rank that predict lists.", lower_bound=1)
flags.DEFINE_integer("num_overlays", None, "Overlays that cam writes; -1: all.")
flags.DEFINE_enum("overlay_format", None, ["jpg", "png"], "Format of the overlays.")
flags.DEFINE_bool("resume", False, "Go on with a training that was stopped.")
flags.DEFINE_bool("multihost", False, "This process is one of several; see SCALING.md.")
flags.DEFINE_bool("overwrite", False, "Replace the run that the run folder holds.")
flags.DEFINE_bool("version", False, "Print the versions that a bug report needs.")


def _parse(argv: list[str]) -> list[str]:
    """Parses the flags; a wrong one is one line, help is ours and no error."""
    if {"--help", "-h", "-help", "--helpshort", "help"} & set(argv[1:]):
        print(__doc__.strip(), "\n", FLAGS.main_module_help(), sep="\n")
        sys.exit(0)
    if not any(arg.split("=")[0] in ("--config", "-config") for arg in argv):
        argv = [argv[0], f"--config={_DEFAULT_CONFIG}", *argv[1:]]
    try:
        rest = FLAGS(argv)
        FLAGS.config.to_dict()  # a config file that cannot be read shows only now
    except (AttributeError, KeyError) as error:
        words = " ".join(re.sub(r"""[\\'"]+n?\\?""", " ", str(error)).split())
        words = words.replace(" Did", ". Did").replace(" ?", "?")
        words += "" if words.endswith("?") else "."
        _fail(f"the config has no field {words} configs/default.py lists all fields.")
    except _WRONG as error:
        words = " ".join(str(error).rpartition("failure to load:")[2].split())
        _fail(f"{words} (--help lists the flags)")
    if len(rest) > 1:
        _fail(f"{rest[1]!r} is no flag. Flags look like --mode=train; see --help.")
    if FLAGS.version:
        print(*(" ".join(pair) for pair in runtime.versions().items()), sep="\n")
        sys.exit(0)
    return rest


def _fail(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)
    multihost.leave(1)


def main(_: list[str]) -> None:
    """Runs the mode and prints what it has to say at the end."""
    try:
        runtime.prepare_process()
        if FLAGS.multihost:
            multihost.join(FLAGS.mode)
        signals.advise(USAGE[FLAGS.mode].after_stop)
        settings = Settings.from_flags(FLAGS, _DEFAULT_CONFIG)
        mode = importlib.import_module(settings.module)
        settings.use_modules()
        with multihost.as_one():
            said = mode.run(settings)
        signals.ignore()  # all is done
        if multihost.is_primary():
            print(said, flush=True)
    except UserError as error:
        _fail(str(error))
    except BrokenPipeError:  # who read our words is gone, and the work is done
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    runtime.relaunch_with_fast_malloc()
    with signals.orderly():
        app.run(main, flags_parser=_parse)
