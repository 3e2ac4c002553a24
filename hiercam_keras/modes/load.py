"""What several modes begin with: the images of a config, and those of a run."""

import functools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging
from ml_collections import ConfigDict, FrozenConfigDict

from hiercam_keras import multihost, wording
from hiercam_keras.cam import recommended
from hiercam_keras.data import geometry, loader, sources, splits
from hiercam_keras.data.loader import Batch
from hiercam_keras.data.records import Record
from hiercam_keras.errors import UserError
from hiercam_keras.modes import (
    detected,
    imported,
    kept_ranks,
    taxonomies,
    unseen,
)
from hiercam_keras.modes.data_names import with_names
from hiercam_keras.modes.settings import Settings
from hiercam_keras.progress import progress
from hiercam_keras.runs import inputs
from hiercam_keras.runs import truth as truths
from hiercam_keras.runs.run_folder import Run
from hiercam_keras.runs.truth import Trained, Truth
from hiercam_keras.taxonomy import homonyms
from hiercam_keras.taxonomy.lineage import Lineage
from hiercam_keras.taxonomy.partial import LabelSpace
from hiercam_keras.taxonomy.tree import Taxonomy


def load_source(
    config: Any,
    data_dir: str | None,
    unlabelled: bool = False,
    ranks: Sequence[str] = (),
) -> Any:
    """The images of a config, readable ones only; makes embedded data if missing.

    With `config.data.taxonomy` they have lineages of that table, at `ranks` if given.
    With `unlabelled` those without a lineage, too, of packages, archives and exports.
    With `config.detections` the images are crops of animals, see `data.crops`.
    """
    with multihost.primary_first("data"):
        found = detected.read(config)  # before the images, which may take a while
        source = sources.load(
            config.data, data_dir or None, name=config.name, unlabelled=unlabelled
        )
        source = taxonomies.of_source(source, config, ranks)
        return detected.of_source(source, config, found)


def taxonomy_of(source: Any, config: Any) -> Taxonomy:
    """The tree of all images of a source; names that occur twice are reported.

    Raises:
      UserError: a name is in two places of the tree that can only be an error; see
        `taxonomy.homonyms`.
    """
    taxonomy = Taxonomy((one.lineage for one in source.records), source.taxonomy)
    taxonomy = taxonomy.with_common_names(source.common_names)
    choice = config.data.get("homonyms", "error")
    report = homonyms.check(taxonomy, choice, str(source.root))
    if report:
        logging.warning("%s", report)
    return taxonomy


@dataclass(frozen=True)
class RunData:
    """A run with its images: what eval, predict, cam and compare work on.

    Attributes:
      run: the run.
      config: of the run, with what the command line changes.
      taxonomy: of the network's labels.
      source: the images; None for photographs by name.
      split: of the images.
    """

    run: Run
    config: Any
    taxonomy: Taxonomy
    source: Any
    split: splits.Split

    @property
    def data_name(self) -> str:
        """Name of the images' data set."""
        return self.source.name if self.run.imported else self.run.data_name

    @property
    def finest(self) -> str:
        """The finest rank of the network's heads."""
        return max(self.run.ranks, key=self.taxonomy.ranks.index)

    @property
    def score(self) -> str:
        """The score that `config.cam.score` names, as in a `Question`."""
        return "own" if self.config.cam.score == "auto" else self.config.cam.score

    @functools.cached_property
    def truth(self) -> Taxonomy | Truth:
        """What gives the true labels of lineages: the taxonomy where it has all taxa of
        the images, else a Truth, with -1 where the network does not know a taxon."""
        if self.run.imported:
            return Truth(self.taxonomy)
        asked = self.run.allowed_taxa is not None or self.run.other_tree is not None
        some = self.run.drops_untrained or asked
        # Those of a coarser taxon may be of one that the network's tree lacks.
        some |= any(one.lineage and one.lineage.is_partial for one in self._records)
        return Trained(self.taxonomy) if some else self.taxonomy

    @property
    def _records(self) -> Sequence[Record]:
        return () if self.source is None else self.source.records

    @property
    def why_lacking(self) -> str:
        """Why the labels lack the taxon of an image, before `of`."""
        if self.run.allowed_taxa is not None:
            return truths.NOT_ALLOWED
        return truths.UNKNOWN if self.run.imported else truths.UNTRAINED

    @property
    def may_lack_taxa(self) -> bool:
        """Whether images may be of taxa that the network does not know."""
        return isinstance(self.truth, Truth)

    def labels(self, records: Sequence[Record], rank: str) -> np.ndarray:
        """True labels at `rank`: int32 (N,), see `truth`."""
        return self.truth.labels([record.lineage for record in records], rank)

    def common_name(self, lineage: Lineage | None, rank: str | None = None) -> str:
        """Common name of the taxon of an image at `rank`; "" if it has none.

        Args:
          lineage: of the image.
          rank: of its lineage; None for the finest.
        """
        if lineage is None:
            return ""
        names = {} if self.source is None else self.source.common_names
        rank = rank or lineage.finest
        found = names.get(lineage.prefix(rank), "")
        if found or rank not in self.truth.ranks:
            return found
        label = self.truth.label(lineage, rank)
        return self.taxonomy.common_name(rank, label) if label >= 0 else ""

    def unknown(
        self, records: Sequence[Record], ranks: Sequence[str]
    ) -> dict[str, Counter[str]]:
        """What the network does not know, see `Truth.unknown`."""
        if isinstance(self.truth, Truth):
            return self.truth.unknown(records, ranks)
        return {rank: Counter() for rank in ranks}

    def unanswerable(
        self,
        records: Sequence[Record],
        ranks: Sequence[str],
        what: str = "picture",
        then: str = "are not counted at that rank",
    ) -> str:
        """A sentence on images about which the network cannot be right; "" without.

        `then` says what becomes of those of taxa that the network does not know.
        """
        if self.may_lack_taxa:
            lost = self.unknown(records, ranks)
            return truths.sentence(lost, len(records), what, self.why_lacking, then)
        train = self.training_records()
        return unseen.of_split(train, records, ranks, self.taxonomy, what)

    def check_known(self, split: str, ranks: Sequence[str]) -> None:
        """A UserError where the network knows no image of a split at any rank."""
        records = self.records(split)
        if any((self.labels(records, rank) >= 0).any() for rank in ranks):
            return
        lineage = records[0].lineage
        rank = ranks[-1]
        raise UserError(
            f"the network of {self.run.path} knows the taxon of none of "
            f"{wording.count(len(records), 'image')} at any rank. Its ranks are "
            f"{', '.join(self.taxonomy.ranks)}, and a {rank} is "
            f"{self.taxonomy.names(rank)[0]!r}; the images have "
            f"{', '.join(lineage.ranks)}, and {lineage.path!r}. Modes "
            "predict and cam need no known taxa."
        )

    def training_records(self) -> list[Record] | None:
        """The images of the training that are there; None where they are unknown."""
        if self.run.imported:
            return None
        return self.split.select(self.source.records, "train")[0]

    def training_labels(self, rank: str) -> np.ndarray | None:
        """Labels of the images of the training, without those of taxa that are not
        allowed; None where the images are unknown."""
        train = self.training_records()
        if train is None:
            return None
        labels = self.labels(train, rank)
        return labels[labels >= 0]

    def in_words(self, split: str) -> str:
        """`the test split`, or `all images` where none were kept apart."""
        whole = self.run.imported and not (self.split.train or self.split.val)
        return "all images" if whole else f"the {split} split"

    def has_images(self, split: str) -> bool:
        """Whether any image of train, val or test is there."""
        return bool(self.split.select(self.source.records, split)[0])

    def records(self, split: str) -> list[Record]:
        """The records of train, val or test, in the order of the split's list."""
        if self.run.imported and split == "train":
            raise UserError(
                f"{self.run.path} holds an imported network: which images it was "
                "trained on is not known, so there is no train split. Leave "
                "--split=train out."
            )
        found, missing = self.split.select(self.source.records, split)
        if not found and not missing and self.run.imported:
            raise UserError(
                f"the {split} split is empty: without --config.data.fractions all "
                f"images are test for the imported network of {self.run.path}."
            )
        if not found and not missing:
            raise UserError(
                f"the {split} split of {self.run.path} is empty: config.data.fractions "
                f"were {tuple(self.config.data.fractions)} at its training."
            )
        if not found:
            raise UserError(
                f"none of the {len(missing)} {split} images of {self.run.path} are in "
                f"{self.source.root}. Point --data_dir at the images of the training."
            )
        if missing:
            logging.warning(
                "of the %s split of %s, %s cannot be found any more, the first is %s",
                split,
                self.run.path,
                wording.count(len(missing), "image"),
                missing[0],
            )
        return found

    def loader(self, split: str, batch_size: int | None = None) -> loader.Loader:
        """A loader of the split without augmentation, labels at every rank."""
        return make_loader(
            self.records(split),
            self.truth,
            self.config,
            batch_size=batch_size,
            once=True,
            shard=multihost.part(),
        )

    def batches(
        self,
        records: Sequence[Record],
        name: str = "",
        batch_size: int | None = None,
        layout: geometry.Layout = "classification",
    ) -> Iterator[tuple[Batch, np.ndarray]]:
        """Batches of some records, each record once, and the rows that are no padding.

        Args:
          records: of the images.
          name: of the progress bar; "" for none.
          batch_size: default `cam.batch_size`, or the number of records if that is
            smaller.
          layout: see `data.geometry`.
        """
        batch_size = batch_size or min(self.config.cam.batch_size, len(records))
        with make_loader(
            records,
            self.truth,
            self.config,
            batch_size=batch_size,
            once=True,
            layout=layout,
        ) as fed:
            batches = fed.epoch(0)
            if name:
                batches = progress(batches, len(records), name, count=_shown)
            for batch in batches:
                rows = np.flatnonzero(batch.mask)
                if rows.size:
                    yield batch, rows


def _shown(batch: Batch) -> int:
    return batch.mask.sum()


def drawn(records: Sequence[Record], count: int, seed: int) -> list[Record]:
    """`count` records drawn by the seed, in their order; all if it is below 0."""
    if not 0 <= count < len(records):
        return list(records)
    rng = np.random.default_rng(seed)
    return [records[i] for i in np.sort(rng.permutation(len(records))[:count])]


def config_of(settings: Settings, run: Run) -> Any:
    """The config of a run, with what this command line changes.

    It names the run's copies of tables (`runs.inputs`), and of --method=recommended the
    method and the layer.
    """
    if run.imported:
        return _with_method(imported.config_of(settings, run))
    config = settings.config_of(run.record["config"])
    places = filter(None, (settings.data_dir, run.data_dir, config.data.get("root")))
    config = inputs.restored(config, run.path, settings.overrides, places)
    return _with_method(config)


def _with_method(config: Any) -> Any:
    cam = config.cam
    found = recommended.resolved(cam.method, cam.layer, config.model.backbone)
    if found == (cam.method, cam.layer):
        return config
    changed = ConfigDict(config.to_dict())
    changed.cam.method, changed.cam.layer = found
    return FrozenConfigDict(changed)


def open_run(
    settings: Settings, run: Run, like: RunData | None = None, read: Any = None
) -> RunData:
    """Opens a run's images with the split that it froze; new files stay out of it.

    Those of an imported network are what the command line names, or those of `like`.
    `read` replaces `load_images`, for the images of a trained run.
    """
    config = config_of(settings, run)
    if run.imported and like is not None:
        run = with_names(run, like.source)
        return RunData(run, config, run.taxonomy(), like.source, like.split)
    if run.imported:
        imported.check_images(settings, run)
        source = taxonomies.of_run(load_source(config, settings.data_dir), run)
        split = imported.split_of(settings, config, source.records)
        run = with_names(run, source)
        return RunData(run, config, run.taxonomy(), source, split)
    source = (read or load_images)(settings.data_dir, run, config)
    detected.warn_of_changes(source, config, run.record)
    split = detected.split_of(splits.load(run.path / "split"), source.records)
    new = split.unknown(source.records)
    if new:
        logging.info(
            "left out: %s added since the training of %s, the first is %s",
            wording.count(len(new), "image"),
            run.path,
            new[0],
        )
    run = with_names(run, source)
    return RunData(run, config, run.taxonomy(), source, split)


def load_for(run: Run, config: Any, data_dir: str | None) -> Any:
    """Images with lineages in the taxonomy under which a trained run is asked."""
    ranks = run.trained_taxonomy().ranks
    read = functools.partial(load_source, data_dir=data_dir, ranks=ranks)
    source = kept_ranks.with_ranks(read(config), config, data_dir, ranks, read)
    return taxonomies.of_run(source, run)


def load_images(data_dir: str | None, run: Run, config: Any) -> Any:
    """The images of `data_dir`, else those where the run was trained.

    Raises:
      UserError: they cannot be read; if their folder is gone, the message says so, as
        it is not of this command line.
    """
    if data_dir:
        return load_for(run, config, data_dir)
    try:
        return load_for(run, config, run.data_dir)
    except UserError as error:
        place = run.data_dir or config.data.get("root", "")
        if not place or "://" in place or Path(place).expanduser().exists():
            raise
        raise UserError(
            f"{run.path} was trained on the images of {place}, which is not there any "
            "more. If they were moved or renamed, give their place: --data_dir=..."
        ) from error


def with_fields(data_config: Any, **fields: Any) -> ConfigDict:
    """The config's `data` with other values."""
    return ConfigDict({**data_config.to_dict(), **fields})


def make_loader(
    records: Sequence[Record],
    taxonomy: Taxonomy | Truth,
    config: Any,
    *,
    training: bool = False,
    batch_size: int | None = None,
    ranks: Sequence[str] | None = None,
    once: bool = False,
    layout: geometry.Layout = "classification",
    shard: tuple[int, int] = (0, 1),
    spaces: Mapping[str, LabelSpace] | None = None,
) -> loader.Loader:
    """A loader with the taxonomy's labels at `ranks`, all by default.

    With `once` nothing is kept in memory or on disk for a second epoch. `shard` is this
    process's part of every batch, see `data.loader.make_loader`. With `spaces` labels
    are those of these ranks and coarser ones.
    """
    lineages = [record.lineage for record in records]
    labels = {
        rank: spaces[rank].labels(lineages, taxonomy)
        if spaces
        else np.asarray(taxonomy.labels(lineages, rank), np.int32)
        for rank in ranks or taxonomy.ranks
    }
    data = config.data
    if batch_size:
        data = with_fields(data, batch_size=batch_size)
    if once:
        data = with_fields(data, cache_mb=0, disk_cache="")
    return loader.make_loader(
        records,
        labels,
        data,
        augment_config=config.augment if training else None,
        seed=config.seed,
        training=training,
        class_weights=config.train.get("class_weights", "none") if training else "none",
        layout=layout,
        shard=shard,
        spaces=spaces,
    )
