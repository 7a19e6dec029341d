"""The site's pages as text: whole, self-contained, safe with strangers' text. The browser is in `test_browser.py`."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest

from harness.base.errors import BuildError, ContainerError, OutputsError, SubmissionError, UsageError
from harness.base.structs import write_json
from harness.board.build import check_board, render, write_board
from harness.board.ranking import rank
from harness.board.site.columns import number
from harness.board.site.plots import Axis, pareto, ticks
from harness.labels.quality_report import AcceptanceVerdict, LabelSetQuality, QualityReport
from harness.protocol import Publish
from harness.records.schema import Record, failure_of, make_record
from harness.records.store import keep_protocol, record_folder, write_record
from harness.scoring.attachment_names import STRIP
from tests.board.site.board import HOSTILE, leaderboard, with_circumstances
from tests.board_records import PROTOCOL, on_another_processor, scored

COMMITTED = Path(__file__).resolve().parents[3] / "leaderboard"


class Page(HTMLParser):
    """Ids, and the addresses that a page loads or links to: (tag, attribute, address)."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.addresses: list[tuple[str, str, str]] = []
        self.tags: list[str] = []
        self.handlers: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, text in attrs:
            if name == "id":
                self.ids.append(str(text))
            if name in ("href", "src", "srcset", "data", "action", "poster"):
                self.addresses.append((tag, name, str(text)))
            if name.startswith("on"):
                self.handlers.append(name)
        layers = dict(attrs).get("data-layers")
        if layers:
            self.addresses += [("img", "src", url) for url in json.loads(layers).values() if url]


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Record]]:
    root = tmp_path_factory.mktemp("site")
    records = leaderboard(root)
    write_board(root / "leaderboard")
    return root / "leaderboard", records


def page_of(board: Path, record: Record) -> Path:
    protocol, slug = record.result.protocol, record.result.submission.slug
    return board / "site" / f"{protocol.name}-{protocol.version}" / slug / f"{record.id}.html"


def standings(board: Path) -> str:
    return (board / "site" / PROTOCOL.identity / "standings.js").read_text().strip()


def test_every_record_has_a_page_the_superseded_and_the_withdrawn_too(board: tuple[Path, dict[str, Record]]) -> None:
    root, records = board
    says = {
        "first": ">Ranked</strong>",
        "second": ">Ranked</strong>",
        "superseded": "A newer record of this submission stands",
        "anchor": "Reference row",
        "failed": "exit status 1: no weights",
        "withdrawn": "withdrawn: trained on the test set",
    }
    for name, words in says.items():
        assert words in page_of(root, records[name]).read_text(), name
    ranks = json.loads(re.sub(r"^standings\((.*)\);$", r"\1", standings(root)))
    assert {name: ranks.get(record.id) for name, record in records.items() if record.id in ranks} == {
        "first": [1, 1],
        "second": [2, 2],
        "hostile": [3, 3],
    }
    index = (root / "site" / "index.html").read_text()
    assert "withdrawn: trained on the test set" in index
    assert "failed at stage run" in index


@pytest.mark.parametrize("which", ["made here", "committed"])
def test_links_lead_somewhere_and_nothing_is_loaded_from_elsewhere(
    which: str, board: tuple[Path, dict[str, Record]]
) -> None:
    root = board[0] if which == "made here" else COMMITTED
    files = {path.resolve(): text for path, text in render(root).items()}
    pages = {path: Page(text) for path, text in files.items() if path.suffix == ".html"}
    for path, page in pages.items():
        assert len(page.ids) == len(set(page.ids)), f"{path}: an id stands twice"
        for tag, name, address in page.addresses:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                assert (tag, name) == ("a", "href") or address == "data:,", f"{path} loads {address}"
                assert parts.scheme in ("https", "http", "data"), f"{path} links to {address}"
                continue
            target = (path.parent / parts.path).resolve() if parts.path else path
            assert target in files or target.is_file(), f"{path}: {address} leads nowhere"
            if parts.fragment and "=" not in parts.fragment:
                assert parts.fragment in pages[target].ids, f"{path}: {address}"


def test_names_and_logs_of_strangers_are_text(board: tuple[Path, dict[str, Record]]) -> None:
    root, records = board
    for path in (root / "site").rglob("*.html"):
        page = Page(path.read_text())
        assert page.handlers == [], path
        own = len(
            re.findall(
                rf'<script type="application/json"|<script defer src="[./]*{PROTOCOL.identity}/standings.js"',
                path.read_text(),
            )
        )
        assert page.tags.count("script") == 1 + own
    text = page_of(root, records["first"]).read_text()
    assert "&lt;script&gt;alert(3)" in text
    assert 'href="javascript:' not in text
    assert 'href="https://arxiv.org/abs/1"' in text
    assert "{{ 7 * 7 }}" in page_of(root, records["hostile"]).read_text()
    badge = (root / "site" / PROTOCOL.identity / "evil" / "badge.svg").read_text()
    assert "<script" not in badge
    assert HOSTILE not in badge


@pytest.mark.parametrize("publish", [Publish(logs=False), Publish(images=False)])
def test_what_a_protocol_does_not_publish_is_on_no_page(tmp_path: Path, publish: Publish) -> None:
    """Also of records that were made while it still did: `publish` is no part of a protocol's digest."""
    records = leaderboard(tmp_path)
    board = tmp_path / "leaderboard"
    keep_protocol(board, msgspec.structs.replace(PROTOCOL, publish=publish))
    write_board(board)
    site = {path: path.read_text() for path in (board / "site").rglob("*.html")}
    text = page_of(board, records["first"]).read_text()
    assert ("epoch 1" in text) == publish.logs
    assert any(".webp" in page or "preview.png" in page for page in site.values()) == publish.images
    assert ("publishes no images" in text) != publish.images


@pytest.mark.parametrize(
    ("error", "device"),
    [(BuildError, "none: nothing ran"), (ContainerError, "not recorded"), (OutputsError, "not recorded")],
)
def test_a_container_that_failed_did_run(error: type[SubmissionError], device: str, tmp_path: Path) -> None:
    records = leaderboard(tmp_path)
    board = tmp_path / "leaderboard"
    result, failure = records["failed"].result, failure_of(error("it stopped"))
    submission = msgspec.structs.replace(result.submission, slug="stopped")
    result = msgspec.structs.replace(result, submission=submission, device=None, failure=failure)
    record = make_record(result, records["failed"].observed)
    write_record(board, record, {})
    write_board(board)
    assert f"<dt>device</dt><dd>{device}</dd>" in page_of(board, record).read_text()


def test_a_title_with_backticks_is_plain_text(tmp_path: Path) -> None:
    records = leaderboard(tmp_path)
    board = tmp_path / "leaderboard"
    protocol = msgspec.structs.replace(PROTOCOL, title="For `harness check`")
    keep_protocol(board, protocol)
    write_board(board)
    for path in (board / "site" / "index.html", page_of(board, records["first"]).parent.parent / "index.html"):
        assert "For harness check" in path.read_text()
        assert "`" not in path.read_text()


def test_an_old_record_says_that_it_holds_no_slices() -> None:
    path = next(COMMITTED.glob("records/phantom-1/tv/*/record.json")).parent
    page = render(COMMITTED)[COMMITTED / "site" / "phantom-1" / "tv" / f"{path.name}.html"]
    assert "older than the slice viewer" in page
    assert f"harness store pull {path.name}" in page  # its preview is not in version control
    assert 'class="viewer"' not in page
    assert "of this older record also covers the last digits of its values" in page
    assert "<dt>content</dt>" not in page


def test_pages_say_where_values_were_computed_and_what_the_same_means(tmp_path: Path) -> None:
    one = scored("one", 1.0)
    other = on_another_processor(one, 5e-7, slug="other")
    keep_protocol(tmp_path, PROTOCOL)
    for record in (one, other):
        write_record(tmp_path, record, {})
    write_board(tmp_path)
    site = tmp_path / "site" / PROTOCOL.identity
    page = (site / "other" / f"{other.id}.html").read_text()
    for said in (
        "<dt>scored on</dt><dd>Other CPU, x86-64-v3, threads: torch 64, numba 64</dd>",
        "<dt>environment</dt><dd>numpy 2.0</dd>",
        f"<dt>content</dt><dd><code>{other.content}</code></dd>",
        "on any machine, and the same values within 1e-4 of the value",
    ):
        assert said in page
    found = "an unknown processor (1 of 2 rows); Other CPU, x86-64-v3, threads: torch 64, numba 64 (1 of 2 rows)"
    for path in (site / "index.html", tmp_path / "README.md"):
        assert f"Scored on: {found}." in path.read_text()
    rows = json.loads((tmp_path / "leaderboard.json").read_text())["protocols"][0]["rows"]
    assert {row["record"]: (row["rank"], row["content"]) for row in rows} == {
        record.id: (1, record.content) for record in (one, other)
    }
    assert rows[-1]["scored_on"]["level"] == "x86-64-v3"


def test_the_same_records_give_the_same_bytes_wherever_they_lie(tmp_path: Path) -> None:
    leaderboard(tmp_path)
    here = tmp_path / "leaderboard"
    first = {path.relative_to(here): text for path, text in render(here).items()}
    there = here.rename(tmp_path / "elsewhere")
    assert {path.relative_to(there): text for path, text in render(there).items()} == first
    assert not any(str(tmp_path) in text for text in first.values())


def test_a_stale_page_and_a_leftover_fail_the_check(tmp_path: Path) -> None:
    records = leaderboard(tmp_path)
    board = tmp_path / "leaderboard"
    write_board(board)
    check_board(board)
    leftover = board / "site" / "old.html"
    leftover.write_text("old")
    with pytest.raises(UsageError, match=r"old\.html"):
        check_board(board)
    assert write_board(board).removed == ()
    assert leftover.is_file()
    assert write_board(board, tidy=True).removed == (leftover,)
    check_board(board)
    page_of(board, records["first"]).write_text("altered")
    with pytest.raises(UsageError, match=records["first"].id):
        check_board(board)


def test_a_label_report_beside_the_records_is_shown(tmp_path: Path) -> None:
    leaderboard(tmp_path)
    board = tmp_path / "leaderboard"
    gate = AcceptanceVerdict(
        low=0.4, high=0.7, meaning="noise gone", n=12, mean=0.81, least=0.5, most=0.9, within=0.25, passed=False
    )
    report = QualityReport(
        strategy="ipv2",
        slices=12,
        patients=3,
        denoisers=(),
        labels=(LabelSetQuality(weak="cnn", gates={"noise cut": gate}, rankings={}),),
        truth=None,
    )
    page = board / "site" / PROTOCOL.identity / "index.html"
    assert "There is no label report for these records" in render(board)[page]
    path = board / "records" / PROTOCOL.identity / "labels.json"
    write_json(path, report)
    text = render(board)[page]
    assert "noise cut" in text
    assert "FAIL 0.810 (0.500 to 0.900); 25%" in text
    path.write_text("{}")
    with pytest.raises(UsageError, match=r"labels\.json"):
        render(board)


def test_fields_that_newer_harnesses_observe_are_shown(board: tuple[Path, dict[str, Record]]) -> None:
    text = page_of(board[0], board[1]["first"]).read_text()
    for name, shown in (("per slice", "0.5 s"), ("running it", "2 s"), ("peak memory", "250 MB")):
        assert f"<dt>{name}</dt><dd>{shown}</dd>" in text


def test_empty_leaderboard_has_a_site(tmp_path: Path) -> None:
    write_board(tmp_path)
    assert "harness run" in (tmp_path / "site" / "index.html").read_text()


def test_pictures_are_linked_where_they_lie(board: tuple[Path, dict[str, Record]]) -> None:
    root, records = board
    page = page_of(root, records["second"])
    shown = [address for tag, _, address in Page(page.read_text()).addresses if tag == "img" and ".webp" in address]
    folder = record_folder(root, records["second"]).resolve()
    assert len(shown) > 6
    strip, *others = (page.parent / address for address in shown)
    assert strip.resolve() == folder / STRIP
    assert {address.resolve().parent for address in others} == {root / "attachments"}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.000"),
        (114.0, "114.0"),
        (-0.5, "−0.5000"),
        (3.176e-05, "3.176×10⁻⁵"),
        (12345.6, "12346"),
        (1e4, "10000"),
    ],
)
def test_numbers_line_up(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("axis", "marks"),
    [
        (Axis(low=0, high=10, start=0, end=1), [0, 2, 4, 6, 8, 10]),
        (Axis(low=0.02, high=0.3, start=0, end=1, log=True), [0.02, 0.05, 0.1, 0.2]),
        (Axis(low=1e-3, high=1e4, start=0, end=1, log=True), [1e-3, 1e-2, 0.1, 1, 10, 100, 1e3, 1e4]),
    ],
)
def test_ticks_are_round_numbers_within(axis: Axis, marks: list[float]) -> None:
    assert ticks(axis) == pytest.approx(marks)


def test_a_board_of_one_record_has_nothing_to_compare(tmp_path: Path) -> None:
    keep_protocol(tmp_path, PROTOCOL)
    write_record(tmp_path, scored("tv", 1.0), {})
    write_board(tmp_path)
    assert not (tmp_path / "site" / PROTOCOL.identity / "compare.html").exists()


def test_a_plot_of_many_rows_names_the_best_only() -> None:
    rows = rank([with_circumstances(scored(f"s{at:02}", 1.0 + at), seconds=0.1 + at) for at in range(60)], PROTOCOL)
    plot = str(pareto(PROTOCOL, rows))
    assert plot.count('class="dot ranked"') == 60
    assert plot.count('class="name') == 40
    assert ">S39<" in plot
    assert ">S40<" not in plot


def test_the_front_page_shows_the_first_rows_and_leads_to_all(tmp_path: Path) -> None:
    keep_protocol(tmp_path, PROTOCOL)
    for at in range(53):
        write_record(tmp_path, scored(f"s{at:02}", 1.0 + at), {})
    write_board(tmp_path)
    front, own = (tmp_path / "site" / name / "index.html" for name in ("", PROTOCOL.identity))
    assert front.read_text().count("data-scored") == 50
    assert "All 53 rows" in front.read_text()
    assert own.read_text().count(" data-scored") == 53
