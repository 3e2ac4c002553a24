"""A network's answers as observations of the Camtrap DP package of its pictures."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hiercam_keras import wording
from hiercam_keras.cache_folder import cache_folder
from hiercam_keras.data import sources
from hiercam_keras.data.records import Record
from hiercam_keras.data.sources import camtrap_package
from hiercam_keras.errors import UserError
from hiercam_keras.exchange import camtrap_dp_writer
from hiercam_keras.exchange.camtrap_dp_writer import Prediction
from hiercam_keras.modes import answering
from hiercam_keras.modes.settings import Settings
from hiercam_keras.runs.network import Network
from hiercam_keras.runs.run_folder import Run
from hiercam_keras.taxonomy import lineage
from hiercam_keras.training.predict import Predictions


class Answers:
    """Writes the package's observations, those of the network added.

    Args:
      settings: with --out, --rank and the package in --data_dir.
      run: of the network.
      config: of the run, with what the command line changes.

    Raises:
      UserError: the images are not those of a package.
    """

    def __init__(self, settings: Settings, run: Run, config: Any):
        self._settings, self._run, self._config = settings, run, config
        self._place = settings.data_dir or run.data_dir or config.data.get("root", "")
        kind = sources.kind_of(config.data, self._place or None)
        if settings.image or kind != "camtrap_dp":
            raise UserError(
                "--config.predict.format=camtrap_dp adds observations to a Camtrap DP "
                "package: name one with --data_dir=FOLDER, a folder or zip archive "
                "with datapackage.json."
            )

    def write(
        self, found: Predictions, network: Network, records: Sequence[Record]
    ) -> str:
        """Writes the table, and returns a summary for a person."""
        cache = cache_folder(self._config.data.get("cache_dir"))
        package, tables, root, _ = camtrap_package.open_package(self._place, cache)
        media = {one.id: one for one in tables.media}
        by_file = {file: media[one] for one, file in tables.files(root).items()}
        rank, names, probabilities = self._best(found, network)
        by_id = {record.example_id: record for record in records}
        predictions = []
        for number, example_id in enumerate(found.example_ids):
            detection = by_id[example_id].detection
            file = example_id if detection is None else example_id.rpartition("#")[0]
            predictions.append(
                Prediction(
                    by_file[file],
                    tables.event(by_file[file]),
                    names[number],
                    probabilities[number],
                    None if detection is None else detection.box,
                    0 if detection is None else detection.index,
                )
            )
        path = Path(
            self._settings.out or self._run.results / "predict/observations.csv"
        )
        classifier = answering.classifier_of(self._run)
        kept = camtrap_dp_writer.write(
            path, package, predictions, classifier, datetime.now(UTC)
        )
        unnamed = answering.unnamed(len(names) - sum(map(bool, names)))
        return (
            f"{wording.count(len(predictions), 'observation')} at {rank}{unnamed} by "
            f"{classifier!r} added to the {kept} of {package.place.path}: {path}"
        )

    def _best(
        self, found: Predictions, network: Network
    ) -> tuple[str, list[str], list[float | None]]:
        """The rank in words, and of each image the name with its probability.

        An image with no believed name has the name "" and no probability.
        """
        rank, images = answering.named(
            self._settings, self._run, self._config, network, found
        )
        names, probabilities = [], []
        for named in images:
            best = named[0] if named else None
            own = network.taxonomy.names(best.rank)[best.label] if best else ""
            names.append(lineage.named(own) if own else "")
            probabilities.append(best.probability if best else None)
        return rank, names, probabilities
