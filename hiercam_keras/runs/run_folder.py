"""Run folders: where a training keeps all that later modes need.

runs/<data name>/<rank[+rank]>/seed<k>/
  config.json    flags, the resolved config, versions, what state the run is in
  split/         train.txt, val.txt, test.txt: one example_id a line
  taxonomy.json
  inputs/        copies of tables that the config names, see `inputs`
  model.keras    when the training has finished
  checkpoints/ log.csv maps/ eval/

That of a network from elsewhere has the file as it came and labels.json, what its
outputs mean; it has no split, and is in runs/<name>/<rank[+rank]>/imported.
"""

import dataclasses
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from absl import logging
from ml_collections import FrozenConfigDict

from hiercam_keras import file_names, workdir
from hiercam_keras.errors import UserError
from hiercam_keras.taxonomy.allowed import AllowedTaxa
from hiercam_keras.taxonomy.translation import OtherTree
from hiercam_keras.taxonomy.tree import Taxonomy

SCHEMA_VERSION = 1
_FINISHED = "finished"
IMPORTED = "imported"  # in place of seed<k>
LEFT_OUT = "left_out.csv"  # rows and pictures of the data that were not used
# What a run folder holds, by whichever mode.
_FOLDERS = ("checkpoints", "split", "tensorboard", "maps", "eval", "cam", "predict")
_FOLDERS += ("localize", "guide", "looks", "search", "export", "inputs")
_FILES = ("model.keras", "log.csv", "curves.png", "taxonomy.json", "labels.json")
BELIEF = "belief.json"  # of --mode=calibrate
_FILES += (LEFT_OUT, BELIEF, "taxonomy_changes.csv")
_ALLOWED = "allowed-"  # begins the name of a folder of results for some taxa
_OTHER_TREE = "taxonomy-"  # likewise, under another taxonomy
ALL = "all"  # in place of ranks: a run with heads at as many as there are


@dataclass(frozen=True)
class Run:
    """One network on disk.

    Attributes:
      path: its folder.
      ranks: of its heads.
      record: content of config.json.
      allowed_taxa: the only taxa that answers may be of; None for all.
      other_tree: the labels in another taxonomy, under which the network is asked; None
        for that of the training.
      common_names: of the images' data, by lineage prefix, in place of those that the
        training had for these taxa.
    """

    path: Path
    ranks: tuple[str, ...]
    record: dict[str, Any]
    allowed_taxa: AllowedTaxa | None = None
    other_tree: OtherTree | None = None
    common_names: Mapping[tuple[str, ...], str] = dataclasses.field(
        default_factory=dict
    )

    @property
    def config(self) -> FrozenConfigDict:
        """The config that the run was trained with."""
        return FrozenConfigDict(self.record["config"])

    @property
    def data_dir(self) -> str | None:
        """`--data_dir` of the training, None for embedded data."""
        return self.record["data_dir"]

    @property
    def data_name(self) -> str:
        """Name of the data set, as in the run folder's path."""
        return self.record["data_name"]

    @property
    def heads(self) -> str:
        """What the network answers for, as a verb phrase."""
        made = "was imported with the rank" if self.imported else "was trained at"
        return f"{made} {'+'.join(self.ranks)}"

    @property
    def imported(self) -> bool:
        """Whether it holds a network from elsewhere, which was not trained here."""
        return self.record.get("imported") is not None

    @property
    def drops_untrained(self) -> bool:
        """Whether its heads leave out taxa without a training image."""
        data = self.record["config"].get("data") or {}
        return data.get("untrained_taxa", "keep") == "drop"

    @property
    def finished(self) -> bool:
        """Whether the training came to its end and left a model."""
        return self.record["state"] == _FINISHED and self.model_path.is_file()

    @property
    def model_path(self) -> Path:
        """The trained model's file."""
        return self.path / "model.keras"

    @property
    def results(self) -> Path:
        """The folder of results: `path`, or one below it for another taxonomy, for
        allowed taxa."""
        path = self.path
        if self.other_tree is not None:
            path /= file_names.file_name(f"{_OTHER_TREE}{self.other_tree.table.name}")
        if self.allowed_taxa is not None:
            path /= file_names.file_name(f"{_ALLOWED}{self.allowed_taxa.name}")
        return path

    def taxonomy(self) -> Taxonomy:
        """The taxonomy of the answers: that of the training, or its allowed part."""
        whole = self.whole_taxonomy()
        if self.allowed_taxa is None:
            return whole
        return self.allowed_taxa.of(whole, quiet=True).taxonomy

    def whole_taxonomy(self) -> Taxonomy:
        """The taxonomy of the network's labels, as it is asked."""
        if self.other_tree is not None:
            return self.named(self.other_tree.labels.taxonomy)
        return self.named(self.trained_taxonomy())

    def trained_taxonomy(self) -> Taxonomy:
        """The taxonomy of the network's labels, as it was trained."""
        return Taxonomy.from_json(workdir.read_json(self.path / "taxonomy.json"))

    def named(self, taxonomy: Taxonomy) -> Taxonomy:
        """A taxonomy with the common names of the images' data."""
        if not self.common_names:
            return taxonomy
        names = {**taxonomy.common_names, **self.common_names}
        return taxonomy.with_common_names(names)

    def finish(self) -> "Run":
        """Records that the training is done."""
        run = replace(self, record={**self.record, "state": _FINISHED})
        workdir.write_json(self.path / "config.json", run.record)
        return run


def extend(run: Run, epochs: int) -> Run:
    """Records that a training goes on to more epochs than it was begun for.

    The former numbers stay in the record, as `epochs_before`: under a schedule the
    result is another one than that of a single training.
    """
    config = {**run.record["config"]}
    before = config["train"]["epochs"]
    config["train"] = {**config["train"], "epochs": epochs}
    record = {
        **run.record,
        "state": "training",
        "config": config,
        "epochs_before": [*run.record.get("epochs_before", ()), before],
    }
    workdir.write_json(run.path / "config.json", record)
    # Thresholds of the former weights would promise what the new ones may not keep.
    for path in (run.path, *_special(run.path)):
        (path / BELIEF).unlink(missing_ok=True)
    return replace(run, record=record)


def clear(path: Path) -> None:
    """Removes the files of a run; other files in its folder are kept."""
    for name in _FOLDERS:
        shutil.rmtree(path / name, ignore_errors=True)
    for folder in _special(path):
        shutil.rmtree(folder, ignore_errors=True)
    for name in (*_FILES, "config.json"):
        (path / name).unlink(missing_ok=True)


def _special(path: Path) -> list[Path]:
    """Folders of results for some taxa, or under another taxonomy."""
    found = [*path.glob(f"{_OTHER_TREE}*"), *path.glob(f"{_OTHER_TREE}*/{_ALLOWED}*")]
    return [one for one in (*path.glob(f"{_ALLOWED}*"), *found) if one.is_dir()]


def keep_left_out(folder: Path, table: Path | None) -> None:
    """Copies the table of what was left out of the data into a run folder."""
    if table is not None and table.is_file():
        workdir.write_text(folder / LEFT_OUT, table.read_text(encoding="utf-8"))


def data_folder(runs_dir: str, data_name: str) -> Path:
    """Where all runs on a data set are; the name becomes one folder, as it may hold a
    slash."""
    return Path(runs_dir) / file_names.file_name(data_name)


def path_for(runs_dir: str, data_name: str, ranks: tuple[str, ...], seed: int) -> Path:
    """Default folder of the run of these ranks, without --workdir."""
    ranks_name = file_names.joined_name(ranks, "+")
    return data_folder(runs_dir, data_name) / ranks_name / f"seed{seed}"


def create(path: Path, record: dict[str, Any], taxonomy: Taxonomy) -> Run:
    """Makes the folder of a new run and writes its record.

    Args:
      path: the run folder.
      record: `ranks`, `config`, `data_dir`, `data_name`, `flags`, `versions`, and
        `imported` of a network from elsewhere.
      taxonomy: of the network's labels.
    """
    workdir.make_dir(path)
    state = _FINISHED if record.get("imported") else "training"
    record = {"schema_version": SCHEMA_VERSION, "state": state, **record}
    workdir.write_json(path / "taxonomy.json", taxonomy.to_json())
    workdir.write_json(path / "config.json", record)
    return Run(path, tuple(record["ranks"]), record)


def read(path: str | Path) -> Run:
    """Reads a run folder; a UserError says what is missing."""
    path = Path(path)
    if not (path / "config.json").is_file():
        raise UserError(
            f"{file_names.in_full(path)} holds no run (config.json is missing). Train "
            f"one with `--mode=train --workdir={path}`, or name another folder."
        )
    record = workdir.read_json(path / "config.json")
    if record.get("schema_version") != SCHEMA_VERSION:
        raise UserError(
            f"{path / 'config.json'} has schema_version "
            f"{record.get('schema_version')!r}, expected {SCHEMA_VERSION}: the run was "
            "made by another version of this program. Train it again."
        )
    return Run(path, tuple(record["ranks"]), record)


def labels_path(folder: Path) -> Path:
    """The file in the run folder of an imported network: what its outputs mean."""
    return folder / "labels.json"


def read_finished(path: str | Path) -> Run:
    """Reads a run folder that has a model; a UserError says how to get one."""
    run = read(path)
    if not run.finished and run.imported:
        raise UserError(
            f"{run.model_path} is missing: the network was imported, and its file is "
            "gone. Import it again with --mode=import --overwrite."
        )
    if not run.finished:
        raise UserError(
            f"{path} holds a run without a finished model: its training was stopped. "
            "Go on with `--mode=train --resume` and the same flags."
        )
    return run


def find(
    runs_dir: str,
    wanted: Sequence[tuple[str, ...]],
    seed: int,
    data_name: str | None = None,
) -> list[Run]:
    """Finds one run for each wanted set of ranks, all trained on the same data.

    For a set of ranks it is the run with just these heads, else a multi-rank run that
    has them. Without a data name it is the data set that was trained on last.

    Args:
      runs_dir: parent of the run folders.
      wanted: sets of ranks; ("all",) is the run with the most heads, two at least.
      seed: seed of the runs.
      data_name: of the data set, None for any; imported networks are found by their
        name alone.

    Raises:
      UserError: there is none; the message lists the runs that there are.
    """
    present = list_runs(runs_dir)
    by_data: dict[str, list[Run]] = {}
    for run in present:
        named = data_name == run.data_name
        if named if run.imported else _is_of(run, seed) and (named or not data_name):
            by_data.setdefault(run.data_name, []).append(run)
    found = []
    for runs in by_data.values():
        chosen = [_best(runs, ranks) for ranks in wanted]
        if all(chosen):
            latest = max(
                run.path.joinpath("config.json").stat().st_mtime for run in chosen
            )
            found.append((latest, chosen))
    if found:
        found.sort(key=lambda pair: pair[0])
        runs = found[-1][1]
        if len(found) > 1:
            logging.info(
                "using %s, the last trained of %d data sets with such runs (also: %s). "
                "--workdir, --data_dir or --config choose another",
                _paths(runs),
                len(found),
                "; ".join(_paths(other) for _, other in found[:-1]),
            )
        return [read_finished(run.path) for run in runs]
    on = f" on {data_name}" if data_name else ""
    asked = " and ".join("+".join(ranks) for ranks in wanted)
    names = ", ".join(str(run.path) for run in present) or "none"
    runs = [run for run in present if data_name in (None, run.data_name)]
    runs = [run for run in runs if not run.imported]
    raise UserError(
        f"found no model trained at {asked} with seed {seed}{on} under "
        f"{file_names.in_full(runs_dir)}. "
        f"Runs there: {names}. {_remedy(runs, wanted, seed)}"
    )


def _is_of(run: Run, seed: int) -> bool:
    return run.path.name == f"seed{seed}"


def _remedy(runs: list[Run], wanted: Sequence[tuple[str, ...]], seed: int) -> str:
    """What to do where not all wanted runs are there, by the data of those that are."""
    if not runs:
        return f"{_training(wanted[0])}, or name a run with --workdir."
    # The data that were trained on last, as without a name they would be taken.
    last = max(runs, key=lambda run: (run.path / "config.json").stat().st_mtime)
    known = last.taxonomy().ranks
    unknown = [rank for rank in dict.fromkeys(sum(wanted, ())) if rank not in known]
    if [rank for rank in unknown if rank != ALL]:
        return (
            f"The ranks of {last.data_name} are {', '.join(known)}: name those with "
            "--rank (--ranks for compare), or other data with --data_dir or --config."
        )
    own = [run for run in runs if run.data_name == last.data_name and _is_of(run, seed)]
    missing = [ranks for ranks in wanted if not _best(own, ranks)]
    return f"{_training((missing or wanted)[0], last)}, or name a run with --workdir."


def _training(ranks: tuple[str, ...], like: Run | None = None) -> str:
    """The command of a training, on the data of another run where there is one."""
    command = f"--mode=train --rank={','.join(ranks)}"
    if like is None or not like.data_dir:
        return f"Train one with `{command}`"
    return (
        f"Train one with `{command} --data_dir={shlex.quote(like.data_dir)}` and the "
        f"other flags of {like.path}"
    )


def _paths(runs: Sequence[Run]) -> str:
    return ", ".join(dict.fromkeys(str(run.path) for run in runs))


def _best(runs: list[Run], ranks: tuple[str, ...]) -> Run | None:
    if ranks == (ALL,):
        several = [run for run in runs if len(run.ranks) > 1]
        return max(several, key=lambda run: len(run.ranks), default=None)
    exact = [run for run in runs if run.ranks == ranks]
    wider = [run for run in runs if set(ranks) <= set(run.ranks) and run.finished]
    return next(iter(exact + wider), None)


def list_runs(runs_dir: str | Path) -> list[Run]:
    """All readable runs below `runs_dir`, by path."""
    runs = []
    found = [*Path(runs_dir).glob("*/*/seed*/config.json")]
    found += Path(runs_dir).glob(f"*/*/{IMPORTED}/config.json")
    for path in sorted(found):
        try:
            runs.append(read(path.parent))
        except UserError:
            continue  # of another version, or damaged: `read` raises if it is asked for
    return runs
