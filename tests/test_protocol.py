from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from harness.base.errors import UsageError
from harness.base.structs import read_json
from harness.phantom.scan import WINDOW_HU
from harness.protocol import PHANTOM_WINDOW_HU, PhantomData, Protocol, load_protocol, protocol_names, protocol_path

SHIPPED = ["patient-uldct", "phantom", "phantom-fov", "phantom-mini"]
RECORDS = Path(__file__).resolve().parent.parent / "leaderboard" / "records"
TEXT = protocol_path("phantom-mini").read_text()


def load(tmp_path: Path, text: str) -> Protocol:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return load_protocol(str(path))


def test_shipped_protocols_load_under_their_own_names() -> None:
    assert protocol_names() == SHIPPED
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
        ("metric: KID, region: whole", "metric: LPIPS, region: whole", "LPIPS"),
        ("[whole, background, body, lung, table, boundary, nodules]", "[whole, whole]", "differ"),
        ("[whole, background, body, lung, table, boundary, nodules]", "[lung]", "whole"),
        ("name: FID", "name: KID", "differ"),
        ("wall_s: 600", "wall_s: -1", "wall_s"),
        ("size: 256", "size: 32", "64"),
        ("nodule_slices: 1", "nodule_slices: 5", "nodule_slices is 5, more than the 4 slices"),
        ("nodule_slices: 1", "nodule_slices: -1", r"0.*data\.nodule_slices"),
        ("nodule_slices: 1", "window_hu: [1200, -1424]", r"window_hu is \[1200.0, -1424.0\].*data"),
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


def test_the_phantoms_window_counts_where_it_is_another(tmp_path: Path) -> None:
    """Protocols of before it could be chosen keep their digest."""
    usual, wide = (
        load(tmp_path, TEXT.replace("nodule_slices: 1", f"nodule_slices: 1, window_hu: [{low}, 1200]")).digest
        for low in (-1024, -1424)
    )
    assert usual == load(tmp_path, TEXT).digest
    assert wide != usual
    assert PHANTOM_WINDOW_HU == WINDOW_HU


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
    with pytest.raises(UsageError, match=r"slices\.json: expected a plain file of digests, found something else"):
        load(tmp_path, TEXT)
    digests.rmdir()
    digests.write_bytes(b'{"name": "\xff"}')
    with pytest.raises(UsageError, match=r"slices\.json: 'utf-8' codec can't decode"):
        load(tmp_path, TEXT)
