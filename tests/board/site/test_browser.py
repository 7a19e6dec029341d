"""The site in a real browser, from disk: sorting, filtering, the viewer, differences, accessibility, no error.

Debian's chromium (`apt-get install chromium`, 50 s) driven by playwright; skipped where either is absent.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from harness.base.files import write_text
from harness.board.build import render, write_board
from harness.board.site.columns import number
from harness.records.attachments import attachment
from harness.records.schema import Record
from harness.records.store import keep_protocol, read_record, record_folder, write_record
from harness.scoring.values import Value
from harness.statistics import Replicates, paired_difference
from tests.board.further_records import GATED, with_further
from tests.board.site.board import leaderboard
from tests.board_records import PROTOCOL, on_another_processor, scored
from tests.picture_set import CASES

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: apt-get install chromium")

COMMITTED = Path(__file__).resolve().parents[3] / "leaderboard"
PHONE = {"width": 400, "height": 800}
DESK = {"width": 1280, "height": 900}


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Record]]:
    root = tmp_path_factory.mktemp("browser")
    made = leaderboard(root)
    write_board(root / "leaderboard")
    return root / "leaderboard" / "site", made


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        # root, as in CI, cannot have chromium's own sandbox; the pages are our own
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


class Tab:
    """A page that remembers what went wrong in it."""

    def __init__(self, browser: Any, **options: Any) -> None:
        self.page = browser.new_context(**{"viewport": DESK, **options}).new_page()
        self.wrong: list[str] = []
        self.page.on("console", lambda message: self.wrong.append(message.text))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("requestfailed", lambda request: self.wrong.append(f"failed: {request.url}"))
        self.page.on("request", lambda request: self._only_files(request.url))
        self.page.on("dialog", lambda dialog: self.wrong.append(f"dialog: {dialog.message}"))

    def _only_files(self, url: str) -> None:
        if not url.startswith(("file:", "data:")):
            self.wrong.append(f"request to {url}")


@pytest.fixture
def tab(browser: Any) -> Iterator[Tab]:
    opened = Tab(browser)
    yield opened
    assert opened.wrong == []
    opened.page.context.close()


def address(site: Path, name: str) -> str:
    return (site / PROTOCOL.identity / name).as_uri()


def record_page(site: Path, record: Record) -> str:
    return address(site, f"{record.result.submission.slug}/{record.id}.html")


def kinds(site: Path, made: dict[str, Record]) -> dict[str, str]:
    """Every kind of page."""
    pages = {
        name: record_page(site, made[name])
        for name in ("first", "superseded", "hostile", "failed", "withdrawn", "anchor")
    }
    return {
        "index": (site / "index.html").as_uri(),
        "protocol": address(site, "index.html"),
        "compare": address(site, "compare.html"),
        **pages,
    }


def names(page: Any, group: str = "ranked") -> list[str]:
    rows = page.locator(f"tbody[data-group={group}] tr:not(.group):visible th a")
    return [str(text) for text in rows.all_inner_texts()]


# ------------------------------------------------------------------------------------------------ every page
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_kind_of_page_is_accessible(browser: Any, records: tuple[Path, dict[str, Record]], scheme: str) -> None:
    tab = Tab(browser, color_scheme=scheme)
    for name, url in kinds(*records).items():
        tab.page.goto(url)
        found = axe.Axe().run(tab.page, options={"preload": False})  # it would fetch style sheets, which pages forbid
        assert found.violations_count == 0, f"{name}, {scheme}: {found.generate_report()}"
    assert tab.wrong == []
    tab.page.context.close()


def test_a_phone_scrolls_no_page_sideways(browser: Any, records: tuple[Path, dict[str, Record]]) -> None:
    tab = Tab(browser, viewport=PHONE)
    for name, url in kinds(*records).items():
        tab.page.goto(url)
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], name
    tab.page.context.close()


def test_the_committed_records_give_pages_without_an_error(tab: Tab, tmp_path: Path) -> None:
    for path, text in render(COMMITTED).items():
        write_text(tmp_path / path.relative_to(COMMITTED), text)
    for name in ("records", "attachments"):  # whoever has run a submission has attachments, and the pages show them
        (tmp_path / name).symlink_to(COMMITTED / name)
    newest = next(path for path in (tmp_path / "site").glob("phantom-*/tv/*.html"))
    for path in (tmp_path / "site" / "index.html", *(tmp_path / "site").glob("phantom-*/*.html"), newest):
        tab.page.goto(path.as_uri())
        tab.page.wait_for_load_state("networkidle")
        assert tab.page.locator("h1").count() == 1


def test_the_leaderboards_folder_leads_to_the_site(tab: Tab, records: tuple[Path, dict[str, Record]]) -> None:
    tab.page.goto((records[0].parent / "index.html").as_uri())
    tab.page.wait_for_url("**/site/index.html")
    tab.page.get_by_role("link", name="ALPHA").first.click()
    assert "Rank 1" in tab.page.locator(".verdict").inner_text()
    tab.page.get_by_role("link", name="compare with another submission").click()
    assert tab.page.locator("#compare [name=a] option:checked").inner_text().startswith("ALPHA")


# ------------------------------------------------------------------------------------------------ tables
def test_a_click_sorts_within_groups_and_a_second_one_turns_it(
    tab: Tab, records: tuple[Path, dict[str, Record]]
) -> None:
    tab.page.goto((records[0] / "index.html").as_uri())
    assert names(tab.page)[:2] == ["ALPHA", "BETA"]
    head = tab.page.locator("th[data-metric=KID]")
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"  # lower is better: the best comes first
    assert names(tab.page)[:2] == ["ALPHA", "BETA"]
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert names(tab.page)[-2:] == ["BETA", "ALPHA"]
    assert names(tab.page, "anchor") == ["ANCHOR-INPUT"]


def test_the_keyboard_sorts(tab: Tab, records: tuple[Path, dict[str, Record]]) -> None:
    tab.page.goto((records[0] / "index.html").as_uri())
    tab.page.get_by_role("button", name="Submission").focus()
    tab.page.keyboard.press("Enter")
    tab.page.keyboard.press("Space")
    assert names(tab.page)[:2] == ["BETA", "ALPHA"]


def test_filters_hide_rows_and_say_how_many_are_left(tab: Tab, records: tuple[Path, dict[str, Record]]) -> None:
    tab.page.goto((records[0] / "index.html").as_uri())
    tab.page.get_by_label("Filter").fill("bet")
    assert names(tab.page) == ["BETA"]
    assert tab.page.locator(".count").inner_text() == "1 row"
    assert not tab.page.locator("tbody[data-group=anchor]").is_visible()
    tab.page.get_by_label("Filter").fill("")
    tab.page.get_by_label("not ranked").uncheck()
    assert not tab.page.get_by_text("withdrawn: trained on the test set").is_visible()
    assert tab.page.locator("tbody[data-group=anchor]").is_visible()


def test_another_region_and_reference_show_their_values(tab: Tab, records: tuple[Path, dict[str, Record]]) -> None:
    site, made = records
    tab.page.goto(address(site, "index.html"))
    row = tab.page.locator("tr", has_text="ALPHA").first
    column = 3  # rank, tier, submission, then KID
    result = made["first"].result
    assert row.locator("td, th").nth(column).inner_text() == number(result.metrics["KID"]["whole"].value)
    control(tab.page, "region").select_option("lung")
    control(tab.page, "reference").select_option("truth")
    assert result.truth is not None
    assert row.locator("td, th").nth(column).inner_text() == number(result.truth["KID"]["lung"].value)
    assert not tab.page.locator("th[data-metric=SSIM]").is_visible()  # the lung has no SSIM here


# ------------------------------------------------------------------------------------------------ viewer
def control(root: Any, name: str) -> Any:
    return root.locator(f"[name={name}]")


def stage_pixels(viewer: Any) -> NDArray[np.float64]:
    """What the stage shows, as grey, without its rim: where it lies between pixels the page shines through there."""
    shot = Image.open(io.BytesIO(viewer.locator(".stage").screenshot())).convert("L")
    return np.asarray(shot, np.float64)[2:-2, 2:-2]


def open_viewer(tab: Tab, site: Path, record: Record) -> Any:
    tab.page.goto(record_page(site, record))
    viewer = tab.page.locator(".viewer").first
    viewer.scroll_into_view_if_needed()
    tab.page.wait_for_function(
        "[...document.querySelector('.viewer').querySelectorAll('img.over')].every(i => i.naturalWidth)"
    )
    return viewer


def test_the_wipe_shows_more_of_one_slice_and_less_of_the_other(
    tab: Tab, records: tuple[Path, dict[str, Record]]
) -> None:
    viewer = open_viewer(tab, records[0], records[1]["first"])
    wipe = control(viewer, "wipe")
    roughness = {}
    for place in ("0", "50", "100"):
        wipe.fill(place)
        roughness[place] = np.abs(np.diff(stage_pixels(viewer), axis=0)).mean()
    assert roughness["0"] < roughness["50"] < roughness["100"]  # the input, left of the wipe, is the noisier one
    wipe.focus()
    tab.page.keyboard.press("ArrowLeft")
    assert wipe.input_value() == "99"


def test_window_and_level_change_what_is_seen(tab: Tab, records: tuple[Path, dict[str, Record]]) -> None:
    """Body is grey 130 of 255, about 110 HU: far up in a lung window, in the middle of one at its own level."""
    viewer = open_viewer(tab, records[0], records[1]["first"])
    control(viewer, "wipe").fill("0")
    body = (slice(90, 120), slice(200, 300))
    control(viewer, "level").fill("110")
    control(viewer, "width").fill("2000")
    assert stage_pixels(viewer)[body].mean() == pytest.approx(128, abs=10)
    assert control(viewer, "preset").input_value() == "own"
    control(viewer, "level").fill("-600")
    assert stage_pixels(viewer)[body].mean() > 200


def test_the_difference_of_equal_pictures_is_middle_grey(tab: Tab, records: tuple[Path, dict[str, Record]]) -> None:
    viewer = open_viewer(tab, records[0], records[1]["first"])
    control(viewer, "mode").select_option("difference")
    tab.page.wait_for_timeout(200)
    noise = stage_pixels(viewer).std()
    control(viewer, "first").select_option("output")
    tab.page.wait_for_timeout(200)
    same = stage_pixels(viewer)
    assert same.mean() == pytest.approx(127, abs=6)
    assert same.std() < 3 < noise


def test_regions_lie_over_the_slice_only_when_asked(tab: Tab, records: tuple[Path, dict[str, Record]]) -> None:
    viewer = open_viewer(tab, records[0], records[1]["first"])
    assert not viewer.locator(".overlay").is_visible()
    control(viewer, "regions").check()
    assert viewer.locator(".overlay").is_visible()
    assert viewer.locator(".legend").get_by_text("lung").is_visible()


def test_slices_are_loaded_on_demand(tab: Tab, records: tuple[Path, dict[str, Record]]) -> None:
    loaded: list[str] = []
    tab.page.on("request", lambda request: loaded.append(request.url.rsplit("/", 1)[-1]))
    folder = record_folder(records[0].parent, records[1]["first"])
    best = {attachment(read_record(folder), folder, f"best-{kind}.webp").file for kind in ("input", "output")}
    open_viewer(tab, records[0], records[1]["first"])
    assert not best & set(loaded)
    tab.page.locator("summary", has_text="best").click()
    tab.page.locator(".viewer").nth(2).scroll_into_view_if_needed()
    tab.page.wait_for_function("document.querySelectorAll('.viewer')[2].querySelector('.over').naturalWidth > 0")
    assert best <= set(loaded)


# ------------------------------------------------------------------------------------------------ compare
def test_differences_are_those_of_the_statistics_module(tab: Tab, records: tuple[Path, dict[str, Record]]) -> None:
    site, made = records
    first, second = made["first"], made["second"]
    tab.page.goto(f"{address(site, 'compare.html')}#a={first.id}&b={second.id}")
    shown = tab.page.locator("#differences tr", has_text="KID").first.locator("td").first.inner_text().split("\n")

    def of(value: Value) -> Replicates:
        return Replicates(value=value.value, n=value.n, without=value.without)

    expected = paired_difference(of(first.result.metrics["KID"]["whole"]), of(second.result.metrics["KID"]["whole"]))
    assert expected.low is not None
    assert expected.high is not None
    assert shown == [f"◀ {number(expected.value)}", f"[{number(expected.low, 3)}, {number(expected.high, 3)}]"]


def test_equal_outputs_do_not_differ_whatever_machine_scored_them(tab: Tab, tmp_path: Path) -> None:
    """The last digits differ alike for all patients, which a paired difference would take for certain."""
    one = scored("one", 1.0)
    other = on_another_processor(one, 5e-7, slug="other")
    claims = on_another_processor(one, 1.0, slug="claims")  # the outputs, not the values: the difference is shown
    keep_protocol(tmp_path, PROTOCOL)
    for record in (one, other, claims):
        write_record(tmp_path, record, {})
    write_board(tmp_path)
    for b, expected in ((other, 0.0), (claims, -1.0)):
        tab.page.goto("about:blank")
        tab.page.goto(f"{address(tmp_path / 'site', 'compare.html')}#a={one.id}&b={b.id}")
        cell = tab.page.locator("#differences tr", has_text="KID").first.locator("td").first
        assert number(expected) in cell.inner_text().split("\n")[0]


def test_the_numbers_of_a_row_are_loaded_when_it_is_chosen(tab: Tab, records: tuple[Path, dict[str, Record]]) -> None:
    site, made = records
    loaded: list[str] = []
    tab.page.on("request", lambda request: loaded.append(request.url.rsplit("/", 1)[-1]))
    tab.page.goto(f"{address(site, 'compare.html')}#a={made['first'].id}&b={made['second'].id}")
    tab.page.locator("#differences tbody tr").first.wait_for()
    scripts = {name for name in loaded if name.endswith(".js")}
    assert scripts == {"site.js", f"{made['first'].id}.js", f"{made['second'].id}.js"}
    control(tab.page, "b").select_option(label="ANCHOR-INPUT 1")
    tab.page.wait_for_url(f"**#a={made['first'].id}&b={made['anchor'].id}")
    assert f"{made['anchor'].id}.js" in loaded


def test_slices_that_differ_most_come_first_with_their_pictures(
    tab: Tab, records: tuple[Path, dict[str, Record]]
) -> None:
    site, made = records
    tab.page.goto(f"{address(site, 'compare.html')}#a={made['first'].id}&b={made['second'].id}")
    tab.page.locator("#most tbody tr").first.wait_for()
    found = tab.page.locator("#most tbody tr th").all_inner_texts()
    # errors differ by 2 * (index % 3): by 4 in the third and the sixth slice, not at all in the first and the fourth
    assert set(found[:2]) == {CASES[2], CASES[5]}
    assert set(found[2:]) == {CASES[1], CASES[4]}
    tab.page.locator("#pair").scroll_into_view_if_needed()
    tab.page.wait_for_function("document.querySelector('#pair .over')?.naturalWidth > 0")
    control(tab.page, "reference").select_option("truth")
    assert tab.page.locator("#differences tbody tr").count() >= 2


# ------------------------------------------------------------------------------------------------ lesions
@pytest.fixture(scope="module")
def gated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Record]]:
    board = tmp_path_factory.mktemp("gated")
    keep_protocol(board, GATED)
    made = {"keeps": with_further("sharp", 30.0), "loses": with_further("blur", 20.0, lost=0.5)}
    for record in made.values():
        write_record(board, record, {})
    write_board(board)
    return board / "site", made


def test_pages_with_lesions_are_accessible_and_fit_a_phone(browser: Any, gated: tuple[Path, dict[str, Record]]) -> None:
    site, made = gated
    of_protocol = site / GATED.identity
    pages = [site / "index.html", of_protocol / "index.html", of_protocol / "compare.html"]
    pages += [of_protocol / one.result.submission.slug / f"{one.id}.html" for one in made.values()]
    tab = Tab(browser, viewport=PHONE)
    for path in pages:
        tab.page.goto(path.as_uri())
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], path
        found = axe.Axe().run(tab.page, options={"preload": False})
        assert found.violations_count == 0, f"{path}: {found.generate_report()}"
    assert tab.wrong == []
    tab.page.context.close()


def test_lesions_sort_and_every_reference_shows_its_values(tab: Tab, gated: tuple[Path, dict[str, Record]]) -> None:
    tab.page.goto((gated[0] / GATED.identity / "index.html").as_uri())
    assert names(tab.page) == ["SHARP", "BLUR"]
    assert tab.page.locator("th.by").inner_text().startswith("RMSE")
    first = tab.page.locator("tr", has_text="SHARP").first.locator("td, th").nth(3)
    shown = {}
    for reference in ("truth", "label", "coupled"):
        control(tab.page, "reference").select_option(reference)
        shown[reference] = first.inner_text()
    assert shown == {"truth": "30.00", "label": "35.00", "coupled": "31.00"}
    button = tab.page.get_by_role("button", name="Lesions")
    button.click()
    assert names(tab.page) == ["SHARP", "BLUR"]
    button.click()
    assert names(tab.page) == ["BLUR", "SHARP"]


def test_lesions_of_two_are_compared(tab: Tab, gated: tuple[Path, dict[str, Record]]) -> None:
    tab.page.goto((gated[0] / GATED.identity / "compare.html").as_uri())
    row = tab.page.locator("#lesion-differences tbody tr").first
    assert row.locator("th").inner_text() == "d' (Hotelling) ↑"
    assert row.locator("td").first.inner_text().startswith("◀ 1.000")  # the smallest lesion: lost twice the mean
