"""Static site: rows and record folders -> pages, each a text under its path in the site's folder.

Pages lie in `<leaderboard>/site` and link to pictures and files of records by `../records`, so that the leaderboard's
folder works as it is: from disk, from any static server, and as the root of GitHub Pages. They load nothing from
elsewhere and hold no date of building.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from harness.base.structs import read_json
from harness.board import exports
from harness.board.ranking import Row, ranking_value
from harness.board.site import columns, compare, facts, plots
from harness.board.tables import Boards
from harness.protocol import Protocol
from harness.records.schema import Record
from harness.records.store import record_folder
from harness.scoring.pictures import REGION_COLOURS

HERE = Path(__file__).resolve().parent
LABEL_REPORT = "labels.json"  # beside protocol.json: `harness labels --report --json` of the protocol


def render_site(leaderboard: Path, boards: Boards, records: Sequence[Record]) -> dict[str, str]:
    """Every file of the site: path below its folder -> text. The same records give the same bytes.

    `records` are all of them, those that a newer one superseded too: each has a page.
    """
    environment = _environment()
    site = {f"static/{path.name}": path.read_text() for path in sorted((HERE / "static").iterdir())}
    rows = {row.record.id: row for _, board in boards for row in board}
    newest: dict[str, Protocol] = {}
    for protocol, _ in boards:
        newest.setdefault(protocol.name, protocol)
    shared = {"newest": newest, "regions": REGION_COLOURS}

    def page(path: str, template: str, **context: Any) -> None:
        root = "../" * path.count("/")
        site[path] = environment.get_template(template).render(root=root, **shared, **context)

    page("index.html", "index.html", boards=boards, older=[one for one, _ in boards if newest[one.name] is not one])
    for protocol, board in boards:
        own = [one for one in records if (one.result.protocol.name, one.result.protocol.version) == _key(protocol)]
        folder = leaderboard / "records" / protocol.identity
        comparison = compare.data(leaderboard, protocol, board)
        page(
            f"{protocol.identity}/index.html",
            "protocol.html",
            protocol=protocol,
            rows=board,
            columns=columns.of_every_metric(protocol, board),
            switch=columns.switch(protocol, board),
            pareto=plots.pareto(protocol, board),
            validity=facts.validity(protocol, board),
            label_report=_label_report(folder / LABEL_REPORT),
            comparable=comparison is not None,
        )
        if comparison is not None:
            page(f"{protocol.identity}/compare.html", "compare.html", protocol=protocol, comparison=comparison)
        noisy = facts.spectra(leaderboard, next((row.record for row in board if _is_input(row)), None))
        for record in own:
            page(
                f"{protocol.identity}/{record.result.submission.slug}/{record.id}.html",
                "record.html",
                **_record_context(leaderboard, protocol, record, rows, records, noisy),
                comparable=comparison is not None,
            )
        for row in board:
            place = f"{protocol.identity}/{row.record.result.submission.slug}"
            if not row.withdrawn:  # what stands now; a failure after a scored record comes later in the rows
                site.setdefault(f"{place}/badge.svg", exports.badge(protocol, row))
            if not row.withdrawn and row.record.result.status == "scored":
                site[f"{place}/model-card.yaml"] = exports.model_card(protocol, row)
    return site


def _record_context(
    leaderboard: Path,
    protocol: Protocol,
    record: Record,
    rows: Mapping[str, Row],
    records: Sequence[Record],
    noisy: facts.Curves,
) -> dict[str, Any]:
    slug = record.result.submission.slug
    history = sorted(
        (one for one in records if one.result.submission.slug == slug),
        key=lambda one: (one.observed.date, one.id),
        reverse=True,
    )
    return {
        "protocol": protocol,
        "record": record,
        "row": rows.get(record.id),
        "rows": rows,
        "history": history,
        "pictures": facts.pictures(leaderboard, protocol, record),
        "extremes": facts.extremes(leaderboard, record),
        "unit": facts.gate_unit(record),
        "kept": facts.ATTACHMENTS,
        "spectra": plots.spectra(facts.spectra(leaderboard, record), noisy),
        "costs": facts.costs(record),
        "commands": facts.commands(protocol, record),
        "folder": record_folder(Path(".."), record).as_posix(),
    }


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,  # names, reasons and logs are strangers' text
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False, "separators": (",", ":")}
    environment.filters |= {
        "number": columns.number,
        "bounds": columns.bounds,
        "arrow": columns.arrow,
        "web": facts.web_address,
        "plain": facts.plain,
        "record_url": facts.record_url,
    }
    environment.globals |= {"board_columns": columns.of_board, "cell": columns.cell, "ranking_value": ranking_value}
    return environment


def _label_report(path: Path) -> Any:
    """The tables of a protocol's label report, where an organiser has put one beside its records."""
    if not path.is_file():
        return ()
    from harness.labels.quality_report import QualityReport
    from harness.labels.report_tables import tables

    return tables(read_json(path, QualityReport))


def _is_input(row: Row) -> bool:
    return row.standing == "anchor" and row.record.result.submission.slug == "anchor-input"


def _key(protocol: Protocol) -> tuple[str, int]:
    return protocol.name, protocol.version
