"""The papers' tables, at their settings on a GPU, or a short version that a CPU runs in an hour.

python benchmarks/papers.py hap --data CIFAR_FOLDER --resnet32 FILE --resnet56 FILE [--quick] [--json FILE]
python benchmarks/papers.py amp-hasa --data CIFAR_FOLDER --resnet20 FILE [--resnet56 FILE] [...]
python benchmarks/papers.py snows --data CIFAR_FOLDER --resnet20 FILE [--resnet32 FILE] [--resnet56 FILE] [...]
python benchmarks/papers.py camp-hive --data CIFAR_FOLDER --resnet20 FILE [--quick] [--json FILE]
python benchmarks/papers.py camp-hive-channels --data CIFAR_FOLDER --resnet20 FILE [--quick] [--json FILE]
python benchmarks/papers.py camp-hive-memory [--json FILE]
"""

from __future__ import annotations

from pathlib import Path

import papers_amp
import papers_camp
import papers_camp_channels
import papers_camp_memory
import papers_hap
import papers_snows
from record import arguments, finish

PAPERS = {
    "amp-hasa": papers_amp.rows,
    "camp-hive": papers_camp.rows,
    "camp-hive-channels": papers_camp_channels.rows,
    "camp-hive-memory": papers_camp_memory.rows,
    "hap": papers_hap.rows,
    "snows": papers_snows.rows,
}


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("paper", choices=PAPERS)
    parser.add_argument("--data", type=Path, help="CIFAR-10 as class folders")
    for network in ("resnet20", "resnet32", "resnet56"):
        parser.add_argument(f"--{network}", type=Path, help="trained weights")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="amp-hasa, camp-hive, hap")
    parser.add_argument("--jobs", type=int, default=1, help="amp-hasa, camp-hive, hap: rows at a time")
    parser.add_argument("--threads", type=int, default=1, help="amp-hasa: of torch, in each job")
    parser.add_argument("--epochs", type=int, default=2, help="amp-hasa: of the rows with fine-tuning")
    parser.add_argument("--batch-size", type=int, default=papers_hap.BATCH, help="hap: of training")
    asked = parser.parse_args()
    if asked.data is None and asked.paper != "camp-hive-memory":
        parser.error(f"{asked.paper} needs --data")
    rows, shows = PAPERS[asked.paper](asked)
    finish(f"papers: {asked.paper}", rows, shows, asked.json)


if __name__ == "__main__":
    main()
