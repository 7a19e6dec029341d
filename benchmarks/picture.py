"""Draw the README's picture: slices of `phantom` as noisy input, output of total variation, purified label and truth.

    python benchmarks/picture.py [--slices p02-s03 p03-s03] [--into docs/phantom.png]

`harness run submissions/tv` has to come first: the picture shows its outputs.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from harness.base.slices import read_grey, write_grey
from harness.dataset.load import load_data
from harness.imaging.montage import lung_window, montage
from harness.labels.label_set import build_labels
from harness.protocol import load_protocol
from harness.records.store import read_records
from harness.run.cache import cached_outputs

SIDE = 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", nargs="+", default=["p02-s03", "p03-s03"])
    parser.add_argument("--into", type=Path, default=Path("docs/phantom.png"))
    options = parser.parse_args()
    protocol = load_protocol("phantom")
    dataset = load_data(protocol)
    labels = build_labels(dataset, protocol.purify)
    (record,) = (
        one
        for one in read_records(Path("leaderboard"))
        if one.result.protocol.digest == protocol.digest and one.result.submission.slug == "tv"
    )
    outputs = cached_outputs(dataset, str(record.result.outputs))
    if outputs is None:
        parser.error("the cache has no outputs of submissions/tv: harness run submissions/tv makes them")
    cases = {case.name: case for case in dataset.cases}
    rows = [
        [Path(cases[name].lq), outputs[name], labels.path(name), Path(str(cases[name].truth))]
        for name in options.slices
    ]
    tiles = [[lung_window(read_grey(path), window_hu=dataset.window_hu) for path in row] for row in rows]
    write_grey(options.into, montage(tiles, side=SIDE))


if __name__ == "__main__":
    main()
