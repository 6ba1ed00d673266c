"""The golden files hold what the reference writes, and PROTOCOL.md shows them."""

import re

import pytest

from tests.support.golden import FOLDER, GOLDEN, golden_bytes, golden_text, read_golden
from tests.support.wire_frames import Header, SettingsFrame, Skipped, decode_body
from tests.support.wire_layout import HEADER, Kind
from tests.support.wire_parser import Preface

PROTOCOL = FOLDER.parent.parent / "PROTOCOL.md"


@pytest.mark.parametrize("name", GOLDEN)
def test_file_equals_the_output_of_the_reference(name: str) -> None:
    assert (FOLDER / f"{name}.hex").read_text(encoding="utf-8") == golden_text(name)


@pytest.mark.parametrize("name", GOLDEN)
def test_file_reads_back_as_its_frame(name: str) -> None:
    raw, frame = read_golden(name), GOLDEN[name][1]
    assert raw == golden_bytes(name)
    if not isinstance(frame, Preface | Skipped):
        assert decode_body(Header.decode(raw), raw[HEADER.size :]) == frame


def test_the_folder_holds_no_other_files() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == set(GOLDEN)


def test_every_kind_of_frame_has_a_file() -> None:
    kinds = {raw[4] for raw in map(golden_bytes, GOLDEN) if not raw.startswith(b"\xf5FRP")}
    assert kinds == set(Kind)
    assert any(isinstance(frame, SettingsFrame) and frame.ack for _, frame in GOLDEN.values())


def test_protocol_page_shows_the_same_bytes() -> None:
    rows = re.findall(r"^\| `(\w+)` \| .* \| `([0-9a-f]+)` \|$", PROTOCOL.read_text("utf-8"), re.MULTILINE)
    assert {name: bytes.fromhex(raw) for name, raw in rows} == {name: golden_bytes(name) for name in GOLDEN}
