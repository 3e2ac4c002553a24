"""What the choice of --search loses on test, over several trainings; docs/SEARCH.md.

    for seed in 0 1 2; do
      python main.py --mode=train --rank=species --config.seed=$seed \\
          --config.data.split_seed=0
      python main.py --mode=cam --search --config.search.report=test \\
          --workdir=runs/synthetic_birds/species/seed$seed
    done
    python -m benchmarks.search_regret \\
        runs/synthetic_birds/species/seed?/search/val/species

With the same test images for all seeds (`data.split_seed`), species and seeds are
resampled, see `evaluation.ranking.regret`.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from hiercam_keras import tables, wording, workdir
from hiercam_keras.errors import UserError
from hiercam_keras.evaluation import ranking, table
from hiercam_keras.evaluation.ranking import Estimate

HEADER = ("run", "choice", "best on test", "loss", "gain over the run's own")


def main(folders: Sequence[str]) -> str:
    """A table with a row for each search, and one for all of them together."""
    rows, found, chosen, among = [], [], [], []
    measures = set()
    for folder in map(Path, folders):
        about = workdir.read_json(folder / "search.json")
        if "test" not in about:
            raise UserError(
                f"{folder} was not measured on test: search with "
                "--config.search.report=test."
            )
        measures.add(about["measure"])
        found.append(table.load(folder / "report_test.npz"))
        chosen.append(about["chosen"]["name"])
        among.append(found[-1].questions)
        gain = about["test"]["gain"]
        rows.append(
            [
                about["run"],
                chosen[-1],
                about["test"]["best"]["name"],
                _words(about["test"]["regret"]),
                _words(gain) if gain else "",
            ]
        )
    if len(measures) > 1:
        raise UserError(f"the searches are by {' and '.join(sorted(measures))}")
    lost = ranking.regret(found, measures.pop(), chosen, among)
    rows.append(["all", "", "", _words(vars(lost)), ""])
    return tables.format_table(HEADER, rows)


def _words(values: dict[str, float | None]) -> str:
    one = Estimate(**{k: float("nan") if v is None else v for k, v in values.items()})
    interval = wording.interval(one.low, one.high)
    count = f"n = {one.n} in {wording.count(one.groups, 'group')}"
    return f"{wording.number(one.value)}{interval}, {count}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folders", nargs="+", help="folders of search.json")
    print(main(parser.parse_args().folders))
