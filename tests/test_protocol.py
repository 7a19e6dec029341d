from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from harness.base.errors import UsageError
from harness.base.structs import read_json
from harness.imaging.insertion import Scanner
from harness.phantom.scan import WINDOW_HU
from harness.protocol import (
    Coupled,
    Noise,
    PhantomData,
    Protocol,
    load_protocol,
    protocol_names,
    protocol_path,
)

TEST_SETS = ["mayo-abdomen", "mayo-head", "patient-uldct", "phantom", "phantom-fov", "phantom-hu", "phantom-mini"]
SHIPPED = sorted([*TEST_SETS, *(f"{name}-train" for name in TEST_SETS)])
RECORDS = Path(__file__).resolve().parent.parent / "leaderboard" / "records"
TEXT = protocol_path("phantom-mini").read_text()
DESCRIPTIVE = (", descriptive: true", ", descriptive: false", "")


def load(tmp_path: Path, text: str) -> Protocol:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return load_protocol(str(path))


def test_shipped_protocols_load_under_their_own_names() -> None:
    assert protocol_names() == SHIPPED
    assert [name for name in SHIPPED if load_protocol(name).use == "test"] == TEST_SETS
    for name in SHIPPED:
        assert load_protocol(name).name == name


def test_phantom_is_as_large_as_a_benchmark_must_be() -> None:
    data = load_protocol("phantom").data
    assert isinstance(data, PhantomData)
    assert data.patients >= 6
    assert data.patients * data.slices >= 48
    assert data.size == 512


def test_patient_protocol_is_the_papers() -> None:
    protocol = load_protocol("patient-uldct")
    assert (protocol.rank_by.metric, protocol.purify.strategy) == ("FID", "ipv2")
    assert {metric.features for metric in protocol.metrics} == {"inception", "clip", None}
    assert not protocol.publish.images


def test_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(UsageError, match=r"no protocol 'phantm'.*phantom-mini"):
        load_protocol("phantm")


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("purify:", "purfy:", "purfy"),
        ("strategy: ipv2", "strategy: ipv3", "ipv3"),
        ("source: phantom", "source: cloud", "cloud"),
        ("metric: RMSE, region: lung", "metric: LPIPS, region: lung", "LPIPS"),
        ("[whole, background, body, lung, table, boundary, nodules]", "[whole, whole]", "differ"),
        ("[whole, background, body, lung, table, boundary, nodules]", "[lung]", "whole"),
        ("name: FID", "name: KID", "differ"),
        ("wall_s: 600", "wall_s: -1", "wall_s"),
        ("size: 256", "size: 32", "64"),
        ("nodule_slices: 1", "nodule_slices: 5", "nodule_slices is 5, more than the 4 slices"),
        ("nodule_slices: 1", "nodule_slices: -1", r"data\.nodule_slices.*0"),
        ("nodule_slices: 1", "window_hu: [1200, -1424]", r"data: window_hu is \[1200.0, -1424.0\]"),
        ("schema: 1", "schema: 2", "schema"),
        ("name: phantom-mini", "name: ../up", "name"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    assert old in TEXT
    with pytest.raises(UsageError, match=complaint) as caught:
        load(tmp_path, TEXT.replace(old, new, 1))
    assert "mine.yaml" in caught.value.message


def test_digest_follows_meaning_not_wording(tmp_path: Path) -> None:
    digest = load(tmp_path, TEXT).digest
    assert load(tmp_path, TEXT.replace("title: Small", "title: Tiny")).digest == digest
    assert load(tmp_path, TEXT.replace("images: true", "images: false")).digest == digest
    assert load(tmp_path, TEXT.replace("seed: 2603", "seed: 1")).digest != digest
    assert load(tmp_path, TEXT.replace("times_input: 1.0", "times_input: 0.9")).digest != digest


@pytest.mark.parametrize("folder", sorted(RECORDS.glob("*")), ids=lambda folder: folder.name)
def test_digest_of_a_protocol_with_records_stands(folder: Path) -> None:
    """Protocols of before a key that came later: what their records state is what is computed now."""
    records = [msgspec.json.decode(path.read_bytes()) for path in folder.glob("*/*/record.json")]
    assert {record["result"]["protocol"]["digest"] for record in records} == {
        read_json(folder / "protocol.json", Protocol).digest
    }


def test_nodule_slices_are_part_of_the_digest(tmp_path: Path) -> None:
    texts = [TEXT.replace("nodule_slices: 1", f"nodule_slices: {count}") for count in range(4)]
    assert len({load(tmp_path, text).digest for text in texts}) == len(texts)


def test_a_descriptive_metric_counts_where_there_is_one(tmp_path: Path) -> None:
    old = "{name: PSNR, metric: psnr"
    shown, said, usual = (load(tmp_path, TEXT.replace(old, f"{old}{more}")) for more in DESCRIPTIVE)
    assert shown.digest != said.digest == usual.digest
    assert shown.data_recipe == usual.data_recipe


def test_the_phantoms_window_counts_where_it_is_another(tmp_path: Path) -> None:
    """Protocols of before it could be chosen keep their digest."""
    before, usual, wide = (
        load(tmp_path, TEXT.replace("nodule_slices: 1", f"nodule_slices: 1{window}"))
        for window in ("", ", window_hu: [-1024, 1200]", ", window_hu: [-1424, 1200]")
    )
    assert usual.digest == before.digest != wide.digest
    assert usual.data_recipe == before.data_recipe != wide.data_recipe
    assert [one.data.window for one in (before, usual, wide) if isinstance(one.data, PhantomData)] == [
        WINDOW_HU,
        (-1024.0, 1200.0),
        (-1424.0, 1200.0),
    ]


def test_a_window_that_nobody_chose_is_in_no_encoding() -> None:
    """Protocols beside records, keys of caches, and settings of kept benchmarks stay what they were."""
    data = PhantomData(patients=1, slices=1)
    assert "window_hu" not in msgspec.to_builtins(data)
    assert b"window_hu" not in msgspec.json.encode(data)
    assert msgspec.json.decode(msgspec.json.encode(data), type=PhantomData) == data
    wide = msgspec.structs.replace(data, window_hu=(-1424.0, 1200.0))
    assert msgspec.to_builtins(wide)["window_hu"] == (-1424.0, 1200.0)


COUPLED = "coupled: {scanner: {photons: 500000, electronic: 4, kernel: sharp}, dose: 0.02}\n"


def test_coupled_noise_counts_in_the_digests_of_protocol_and_data(tmp_path: Path) -> None:
    texts = [TEXT, TEXT + COUPLED, TEXT + COUPLED.replace("0.02", "0.05")]
    loaded = [load(tmp_path, text) for text in texts]
    assert len({one.digest for one in loaded}) == len({one.data_recipe for one in loaded}) == 3
    assert len({one.label_recipe for one in loaded}) == 1
    assert loaded[0].coupled is None
    assert loaded[1].coupled is not None
    assert (loaded[1].coupled.strength, loaded[1].coupled.calibrate) == (0.2, True)


@pytest.mark.parametrize(
    ("known", "lacking"),
    [
        ("", "state data.window_hu and data.pixel_mm"),
        (", window_hu: [-1424, 1200]", "state data.pixel_mm"),
        (", pixel_mm: 0.7", "state data.window_hu"),
        (", pixel_mm: 0.7, window_hu: [-1424, 1200]", None),
    ],
)
def test_coupled_noise_needs_hu_and_mm(tmp_path: Path, known: str, lacking: str | None) -> None:
    data = re.compile("^data: .*$", re.MULTILINE)
    text = data.sub(f"data: {{source: folder, path: mine{known}}}", TEXT) + COUPLED
    if lacking is None:
        assert load(tmp_path, text).coupled is not None
        return
    with pytest.raises(UsageError, match=lacking) as caught:
        load(tmp_path, text)
    assert "mine.yaml" in caught.value.message


def test_what_harness_noise_writes_can_be_pasted_into_coupled() -> None:
    noise = Noise(dose=0.03, scanner=Scanner(photons=4e5, electronic=5, kernel=(1.0, 0.8, 0.3)))
    coupled = msgspec.convert(msgspec.to_builtins(noise), type=Coupled)
    assert (coupled.dose, coupled.scanner) == (noise.dose, noise.scanner)


def test_a_protocol_that_leaves_its_limits_out_is_the_one_that_is_read_back(tmp_path: Path) -> None:
    """Else its second run would find records "under another text" of it."""
    given = load(tmp_path, re.sub(r"^(limits|gate|publish|regions): .*\n", "", TEXT, flags=re.MULTILINE))
    assert msgspec.json.decode(msgspec.json.encode(given), type=Protocol).digest == given.digest


def test_protocol_survives_json() -> None:
    for name in SHIPPED:
        protocol = load_protocol(name)
        assert msgspec.json.decode(msgspec.json.encode(protocol), type=Protocol) == protocol


def test_digests_that_cannot_be_read_are_no_protocol_without_digests(tmp_path: Path) -> None:
    protocol = load(tmp_path, TEXT)
    digests = tmp_path / f"{protocol.identity}.slices.json"
    digests.mkdir()
    with pytest.raises(UsageError, match=r"slices\.json: expected a plain file, found something else"):
        load(tmp_path, TEXT)
    digests.rmdir()
    digests.write_bytes(b'{"name": "\xff"}')
    with pytest.raises(UsageError, match=r"slices\.json: 'utf-8' codec can't decode"):
        load(tmp_path, TEXT)


SCANS = """schema: 1
name: mine
version: 1
title: Mine
anatomy: abdomen
data: {source: scans, path: /nowhere}
purify: {strategy: none}
regions: [whole, soft]
metrics: [{name: RMSE, metric: rmse}]
rank_by: {metric: RMSE, region: soft}
"""


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("anatomy: abdomen", "anatomy: knee", "knee"),
        ("soft]", "soft, lung]", "anatomy abdomen has no region lung: name regions among whole, .*soft"),
        ("soft]", "soft, brain, nodules]", "anatomy abdomen has no region brain, nodules"),
        ("anatomy: abdomen", "anatomy: chest", "anatomy chest has no region soft"),
        ("strategy: none", "strategy: rb", "strategy is rb, but anatomy abdomen has no dark organ"),
        ("purify: {strategy: none}\n", "", "strategy is ipv2, but anatomy abdomen has no dark organ.*strategy: none"),
        ("{source: scans, path: /nowhere}", "{source: phantom, patients: 1, slices: 1}", "show a chest"),
    ],
)
def test_what_an_anatomy_lacks_is_refused(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    assert load(tmp_path, SCANS).anatomy == "abdomen"
    with pytest.raises(UsageError, match=complaint):
        load(tmp_path, SCANS.replace(old, new))


def test_the_phantom_breathes_so_that_it_has_no_label_without_purification(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the phantom breathes between its two scans"):
        load(tmp_path, TEXT.replace("strategy: ipv2", "strategy: none"))


def test_the_chest_is_in_no_digest_and_another_anatomy_is(tmp_path: Path) -> None:
    said = load(tmp_path, TEXT + "anatomy: chest\n")
    assert (said.digest, said.label_recipe) == (load(tmp_path, TEXT).digest, load(tmp_path, TEXT).label_recipe)
    abdomen, head = (load(tmp_path, SCANS.replace("abdomen", anatomy)) for anatomy in ("abdomen", "head"))
    assert abdomen.digest != head.digest
    assert abdomen.label_recipe != head.label_recipe
