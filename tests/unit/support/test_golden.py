"""The golden files hold the bytes of the reference, and PROTOCOL.md shows them."""

import re

from tests.support.golden import FOLDER, GOLDEN, golden_bytes, golden_text, read_golden
from tests.support.wire_frames import Header, SettingsFrame, Skipped, decode_body
from tests.support.wire_layout import HEADER, Kind
from tests.support.wire_parser import Preface

PROTOCOL = FOLDER.parent.parent / "PROTOCOL.md"


def test_files_equal_the_output_of_the_reference() -> None:
    found = {name: (FOLDER / f"{name}.hex").read_text(encoding="utf-8") for name in GOLDEN}
    assert found == {name: golden_text(name) for name in GOLDEN}


def test_files_read_back_as_their_frames() -> None:
    for name, (_, frame) in GOLDEN.items():
        raw = read_golden(name)
        assert raw == golden_bytes(name), name
        if not isinstance(frame, Preface | Skipped):
            assert decode_body(Header.decode(raw), raw[HEADER.size :]) == frame, name


def test_the_folder_holds_no_other_frames() -> None:
    assert {path.stem for path in FOLDER.glob("*.hex")} == set(GOLDEN)


def test_every_kind_of_frame_has_a_file() -> None:
    kinds = {raw[4] for raw in map(golden_bytes, GOLDEN) if not raw.startswith(b"\xf5FRP")}
    assert kinds == set(Kind)
    assert any(isinstance(frame, SettingsFrame) and frame.ack for _, frame in GOLDEN.values())


def test_protocol_page_shows_the_same_bytes() -> None:
    rows = re.findall(r"^\| `(\w+)` \| .* \| `([0-9a-f]+)` \|$", PROTOCOL.read_text("utf-8"), re.MULTILINE)
    assert {name: bytes.fromhex(raw) for name, raw in rows} == {name: golden_bytes(name) for name in GOLDEN}
