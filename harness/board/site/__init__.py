"""Static site: rows and record folders -> pages, each a text under its path in the site's folder.

Pages lie in `<leaderboard>/site` and link to files of records by `../records` and `../attachments`, so that the
leaderboard's folder works as it is: from disk and from any static server. They load nothing from elsewhere and hold no
date of building. A page says what its text follows from, so that it is rendered only when that changed.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2

from harness.base.digests import digest_file
from harness.base.structs import read_json
from harness.base.text import visible
from harness.board import exports, made_of
from harness.board.ranking import AGAINST, Row, ranking_value
from harness.board.site import columns, compare, facts, further, plots
from harness.board.site.shelf import LINKED, Shelf
from harness.board.tables import Boards, processors
from harness.board.words import lesion_gate, names_in, organ, ranked_by, reference_of, table_of
from harness.protocol import Protocol
from harness.records.agreement import HARDWARE, STATED, processor_of
from harness.records.attachments import attachments
from harness.records.schema import Record
from harness.records.store import record_folder
from harness.scoring.attachment_names import PREVIEW, STRIP
from harness.scoring.lesions import ALL
from harness.scoring.pictures import colours_of
from harness.scoring.values import Table
from harness.submission.manifest import NOISY_INPUT

HERE = Path(__file__).resolve().parent
LABEL_REPORT = "labels.json"  # beside protocol.json: `harness labels --report --json` of the protocol
FRONT_ROWS = 50  # of each standing on the front page; a protocol's own page has all


class Page(NamedTuple):
    """A file of the site: the digest of all that its text follows from ("" where that is not known), and its text."""

    made_of: str
    write: Callable[[], str]

    def text(self) -> str:
        """Its text, in which no name or reason of a stranger turns the writing direction or hides."""
        return visible(self.write())


class _Context(NamedTuple):
    """What the pages of a protocol's records share."""

    leaderboard: Path
    shelf: Shelf
    read: tuple[str, ...]  # where attachments are published
    newest: Mapping[str, Protocol]
    rows: Mapping[str, Row]  # by record id
    history: Mapping[str, Sequence[Record]]  # by slug, newest first
    protocol: Protocol
    protocol_digest: str  # of all that it says
    comparable: frozenset[str]  # ids
    noisy: Record | None


def site_pages(
    leaderboard: Path, boards: Boards, records: Sequence[Record], shelf: Shelf, read: tuple[str, ...]
) -> dict[str, Page]:
    """Every file of the site: path below its folder -> page. The same records and shelf give the same bytes.

    `records` are all of them, those that a newer one superseded too: each has a page.
    """
    site = {f"static/{path.name}": Page("", path.read_text) for path in sorted((HERE / "static").iterdir())}
    newest: dict[str, Protocol] = {}
    for protocol, _ in boards:
        newest.setdefault(protocol.name, protocol)
    history: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda one: (one.observed.date, one.id), reverse=True):
        history.setdefault(record.result.submission.slug, []).append(record)
    own: dict[tuple[str, int], list[Record]] = {}
    for record in records:
        own.setdefault((record.result.protocol.name, record.result.protocol.version), []).append(record)
    older = [one for one, _ in boards if newest[one.name] is not one]
    front = [(protocol, _front(rows), len(rows)) for protocol, rows in boards]
    made_of_boards = {protocol.identity: made_of.of_board(protocol, rows) for protocol, rows in boards}
    every = made_of.digest(list(made_of_boards.items()))
    site["index.html"] = Page(
        every, functools.partial(_render, "index.html", "index.html", newest, boards=front, older=older)
    )
    rows = {row.record.id: row for _, board in boards for row in board}
    for protocol, board in boards:
        context = _Context(
            leaderboard=leaderboard,
            shelf=shelf,
            read=read,
            newest=newest,
            rows=rows,
            history=history,
            protocol=protocol,
            protocol_digest=made_of.digest(protocol),
            comparable=frozenset(row.record.id for row in compare.compared(protocol, board)),
            noisy=next((row.record for row in board if _is_input(row)), None),
        )
        site |= _protocol_pages(context, board, made_of_boards[protocol.identity])
        for record in own.get((protocol.name, protocol.version), ()):
            site |= _record_pages(context, record)
        site |= _exports(context, board)
    return site


def _protocol_pages(context: _Context, board: Sequence[Row], of_board: str) -> dict[str, Page]:
    """A protocol's board and, where rows can be compared, the page that compares two."""
    protocol = context.protocol
    report = context.leaderboard / "records" / protocol.identity / LABEL_REPORT
    own = made_of.digest(
        [
            of_board,
            _linked(context),
            digest_file(report) if report.is_file() else None,
        ]
    )

    def text() -> str:
        return _render(
            "protocol.html",
            f"{protocol.identity}/index.html",
            context.newest,
            protocol=protocol,
            rows=board,
            columns=columns.of_every_metric(protocol, board),
            processors=processors(board),
            switch=columns.switch(protocol, board),
            pareto=plots.pareto(protocol, board),
            validity=facts.validity(protocol, board),
            label_report=_label_report(report),
            comparable=bool(context.comparable),
        )

    def compare_text() -> str:
        name, comparison = f"{protocol.identity}/compare.html", compare.overview(protocol, board)
        return _render("compare.html", name, context.newest, protocol=protocol, comparison=comparison)

    site = {
        f"{protocol.identity}/index.html": Page(own, text),
        f"{protocol.identity}/standings.js": Page("", lambda: _standings(board)),
    }
    if context.comparable:
        site[f"{protocol.identity}/compare.html"] = Page(own, compare_text)
    return site


def _linked(context: _Context) -> list[tuple[str, str]]:
    """The protocols that every page links to."""
    return [(one.identity, name) for name, one in context.newest.items()]


def _record_pages(context: _Context, record: Record) -> dict[str, Page]:
    """A record's page, and its numbers for the page that compares two."""
    protocol, row = context.protocol, context.rows.get(record.id)
    files = context.shelf.files(protocol, record)
    history = context.history[record.result.submission.slug]
    standings = [_standing(context.rows.get(one.id)) for one in history]
    own = made_of.digest((*_made_of(context, record), files, standings))
    name = facts.record_url(record)

    def text() -> str:
        spectra = facts.spectra(context.leaderboard, record)
        noisy = facts.spectra(context.leaderboard, context.noisy)
        pictures = facts.pictures(context.leaderboard, protocol, record)
        shown = [name for one in (pictures.slices if pictures else ()) for name in one.files.values()]
        return _render(
            "record.html",
            name,
            context.newest,
            protocol=protocol,
            record=record,
            row=row,
            history=list(zip(history, standings, strict=True)),
            tables_against=_against(protocol, record),
            further=further.of_record(protocol, record),
            comparable=record.id in context.comparable,
            pictures=pictures,
            viewable=bool(shown) and all(name in files for name in shown),
            folder=record_folder(Path(), record).as_posix(),
            files=files,
            absent=_absent(context, record, files),
            read=context.read,
            extremes=facts.extremes(context.leaderboard, record),
            unit=facts.gate_unit(record),
            linkable=LINKED,
            spectra=plots.spectra(spectra, noisy),
            costs=facts.costs(record),
            commands=facts.commands(protocol, record),
            unrepeatable=facts.unrepeatable(context.leaderboard, protocol, record),
        )

    site = {name: Page(own, text)}
    if record.id in context.comparable:
        site[f"{protocol.identity}/compare/{record.id}.js"] = Page(
            made_of.digest((made_of.of_record(record), context.protocol_digest, files)),
            lambda: compare.script(context.leaderboard, protocol, record, files),
        )
    return site


def _made_of(context: _Context, record: Record) -> list[Any]:
    """What a record's page follows from beside its files and how its submission's records stand."""
    row = context.rows.get(record.id)
    history = context.history[record.result.submission.slug]
    return [
        made_of.of_record(record),
        # no rank: a new row shifts those
        row and (row.standing, row.reason, row.signed_by, row.withdrawn, row.lesions),
        context.protocol_digest,
        context.read,
        facts.unrepeatable(context.leaderboard, context.protocol, record),
        _linked(context),
        record.id in context.comparable,
        context.noisy and (context.noisy.id, context.noisy.observed.files),
        [(one.id, one.observed.date, one.result.submission.version) for one in history],
    ]


def _against(protocol: Protocol, record: Record) -> list[tuple[str, Table]]:
    """A record's values against label and truth; what ranks comes first."""
    references = sorted(("label", "truth"), key=lambda one: one != protocol.rank_by.reference)
    return [(one, table_of(record, one)) for one in references]


def _absent(context: _Context, record: Record, files: Mapping[str, str]) -> list[str]:
    """What a record keeps in the store, and what of it the site could show but does not have."""
    folder = record_folder(context.leaderboard, record)
    known = attachments(record, folder, images=context.protocol.publish.images)
    return [one.name for one in known if one.name not in files]


def _exports(context: _Context, board: Sequence[Row]) -> dict[str, Page]:
    """Badges and model cards of what stands now; a failure after a scored record comes later in the rows."""
    site: dict[str, Page] = {}
    protocol = context.protocol
    for row in board:
        if row.withdrawn:
            continue
        place = f"{protocol.identity}/{row.record.result.submission.slug}"
        site.setdefault(f"{place}/badge.svg", Page("", functools.partial(exports.badge, protocol, row)))
        if row.record.result.status == "scored":
            site[f"{place}/model-card.yaml"] = Page(
                made_of.digest((made_of.of_record(row.record), context.protocol_digest)),
                functools.partial(exports.model_card, protocol, row),
            )
    return site


def _front(rows: Sequence[Row]) -> list[Row]:
    """The rows that the front page has room for: the first of each standing."""
    counts: dict[str, int] = {}
    shown = []
    for row in rows:
        counts[row.standing] = counts.get(row.standing, 0) + 1
        if counts[row.standing] <= FRONT_ROWS:
            shown.append(row)
    return shown


def _standing(row: Row | None) -> str:
    """Where a record stands, in a few words; of a ranked one without its rank, which a page's script fills in."""
    if row is None:
        return "superseded"
    return "ranked" if row.rank else row.reason


def _standings(rows: Sequence[Row]) -> str:
    """The script that tells a protocol's pages the ranks: record id -> [rank, tier].

    A page itself holds none, so that a new row does not change the pages of the rows behind it.
    """
    ranks = {row.record.id: [row.rank, row.tier] for row in rows if row.rank}
    return f"standings({json.dumps(ranks, separators=(',', ':'))});\n"


# ------------------------------------------------------------------------------------------------ templates
def _render(template: str, name: str, newest: Mapping[str, Protocol], **values: Any) -> str:
    root = "../" * name.count("/")
    return _environment().get_template(template).render(root=root, newest=newest, **values)


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,  # names, reasons and logs are strangers' text
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # characters as they are, not as escapes, which a browser would undo behind `Page.text`
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False, "separators": (",", ":"), "ensure_ascii": False}
    environment.filters |= {
        "number": columns.number,
        "bounds": columns.bounds,
        "arrow": columns.arrow,
        "web": facts.web_address,
        "plain": facts.plain,
        "record_url": facts.record_url,
        "processor": processor_of,
    }
    environment.globals |= {"ranking_columns": columns.of_ranking, "cell": columns.cell, "lesions": columns.lesions}
    environment.globals |= {
        "ranking_value": ranking_value,
        "ranked_by": ranked_by,
        "lesion_gate": lesion_gate,
        "names_in": names_in,
    }
    environment.globals |= {
        "AGAINST": AGAINST,
        "reference_of": reference_of,
        "colours_of": colours_of,
        "organ": organ,
        "ALL": ALL,
    }
    environment.globals |= {"STRIP": STRIP, "PREVIEW": PREVIEW, "HARDWARE": HARDWARE, "STATED": STATED}
    return environment


def _label_report(path: Path) -> Any:
    """The tables of a protocol's label report, where an organiser has put one beside its records."""
    if not path.is_file():
        return ()
    from harness.labels.quality_report import QualityReport
    from harness.labels.report_tables import tables

    return tables(read_json(path, QualityReport))


def _is_input(row: Row) -> bool:
    return row.standing == "anchor" and row.record.result.submission.slug == NOISY_INPUT
