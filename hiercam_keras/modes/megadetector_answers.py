"""A network's answers as classifications of a MegaDetector JSON file."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from hiercam_keras import wording, workdir
from hiercam_keras.data import crops, detection_files
from hiercam_keras.data.records import Record
from hiercam_keras.errors import UserError
from hiercam_keras.exchange import megadetector
from hiercam_keras.exchange.megadetector import Taxon
from hiercam_keras.modes import answering, detected
from hiercam_keras.modes.settings import DETECTIONS, Settings
from hiercam_keras.runs.network import Network
from hiercam_keras.runs.run_folder import Run
from hiercam_keras.taxonomy.lineage import OTHER
from hiercam_keras.training.predict import Predictions

Answer = list[tuple[Taxon, float]]


class Answers:
    """Writes the file of --detections with classifications of the animals.

    Args:
      settings: with --out, --rank and --top_k.
      run: of the network.
      config: of the run, with what the command line changes.

    Raises:
      UserError: the images are no crops of detections.
    """

    def __init__(self, settings: Settings, run: Run, config: Any):
        self._settings, self._run, self._config = settings, run, config
        named = config.detections.file
        if not named or (settings.image and not settings.overrides.get(DETECTIONS)):
            raise UserError(
                "--config.predict.format=megadetector adds classifications to the "
                "detections of a file: name it with --detections=FILE.json."
            )

    def write(
        self, found: Predictions, network: Network, records: Sequence[Record]
    ) -> str:
        """Writes the file, and returns a summary for a person."""
        rank, taxa = self._taxa(found, network)
        by_id = {record.example_id: record.detection for record in records}
        answers = {}
        for example_id, taxon in zip(found.example_ids, taxa, strict=True):
            one = by_id[example_id]
            answers[one.file, one.index] = taxon
        place = Path(self._config.detections.file)
        classifier = answering.classifier_of(self._run)
        options = crops.Options.of(self._config.detections)
        now = datetime.now().astimezone()
        info = {
            "classifier": classifier,
            "classification_completion_time": now.strftime("%Y-%m-%d %H:%M:%S"),
            "classifier_metadata": {
                "rank": rank,
                "crop": options.convention,
                "margin": options.margin,
                "detection_threshold": options.threshold,
            },
        }
        document = _classified(self._config, place, answers, info)
        path = Path(self._settings.out or self._run.results / "predict/detections.json")
        workdir.write_json(path, document)
        return (
            f"{wording.count(len(answers), 'detection')} of {place} classified at "
            f"{rank} by {classifier!r}: {path}"
        )

    def _taxa(self, found: Predictions, network: Network) -> tuple[str, list[Answer]]:
        """The rank in words, and for each image the taxa that are named."""
        rank, images = answering.named(
            self._settings,
            self._run,
            self._config,
            network,
            found,
            self._settings.top_k,
        )
        taxonomy = network.taxonomy

        def taxon(one: answering.Named) -> Taxon:
            prefix = taxonomy.prefixes(one.rank)[one.label]
            pairs = zip(taxonomy.ranks, prefix, strict=False)
            lineage = {rank: name for rank, name in pairs if name}  # it may skip ranks
            common = taxonomy.common_name(one.rank, one.label)
            return Taxon(taxonomy.names(one.rank)[one.label], lineage, common)

        answers = [[(taxon(one), one.probability) for one in named] for named in images]
        return rank, [
            [pair for pair in answer if pair[0].name != OTHER] for answer in answers
        ]


def _classified(
    config: Any, place: Path, answers: dict[tuple[str, int], Answer], info: dict
) -> dict[str, Any]:
    """The user's document, or one that is made of detections in another format."""
    found = detected.read(config)
    if found.format == megadetector.FORMAT:
        document = detection_files.document_of(place)
        return megadetector.classify(document, answers, info)
    return megadetector.document_of(found, answers, info)
