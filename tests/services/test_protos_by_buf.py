"""Contracts of .proto files, whose schema comes back: buf's rules of the wire, both ways."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import pytest

from fastrpc.rpc.protobuf.text import proto_text
from tests.services.test_schemas_by_buf import BUF, buf
from tests.support.proto_contracts import FILES, FOLDER, read, whole_package

pytestmark = pytest.mark.skipif(BUF is None, reason="buf is not installed; `make services` installs it")

#: Changes that buf finds between a file and the one that comes back, with the reason: each is a row of the guide.
APART = {
    "required": "no field of a message is required in proto3",
    "changed default value": "proto3 writes no default: the class has it",
    'enum value "0" on enum': "an enum of proto3 has a zero",
    "reserved": "the number of a group, which the class lacks, is reserved",
}


def common_folder() -> Path:
    found = importlib.util.find_spec("google.api")
    assert found is not None
    return Path(next(iter(found.submodule_search_locations or ()))).parents[1]


def both(folder: Path, source: Path, names: Sequence[str]) -> tuple[Path, Path]:
    """Write two modules of buf: some files, and those files as they come back."""
    old, new = folder / "old", folder / "new"
    for place in (old, new):
        place.mkdir()
        (place / "buf.yaml").write_text("version: v2\nbreaking:\n  use: [WIRE]\n")
    for name in names:
        contract = read(source / name, [source])
        text = proto_text(whole_package(contract))
        for place, content in ((old, (source / name).read_text()), (new, text)):
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_text(content)
    return old, new


def changes(old: Path, new: Path) -> list[str]:
    """Return the changes that break programs with the old files."""
    built = buf(new, "build")
    assert (built.returncode, built.stderr) == (0, "")
    found = buf(new, "breaking", "--against", str(old))
    assert found.returncode in {0, 100}, found.stderr
    return [line for line in found.stdout.splitlines() if line]


def test_common_files_come_back(tmp_path: Path) -> None:
    source = common_folder()
    names = sorted(str(path.relative_to(source)) for path in source.glob("google/**/*.proto"))
    assert len(names) >= 63
    old, new = both(tmp_path, source, names)
    assert changes(old, new) == changes(new, old) == []


def test_files_of_every_construct_come_back(tmp_path: Path) -> None:
    shared = [str(path.relative_to(FOLDER)) for path in FOLDER.glob("shared/*.proto")]
    old, new = both(tmp_path, FOLDER, [*FILES, *shared])
    for place in (old, new):
        # The package googleapis-common-protos has it.
        (place / "google" / "type").mkdir(parents=True)
        (place / "google" / "type" / "money.proto").write_bytes(
            (common_folder() / "google" / "type" / "money.proto").read_bytes()
        )
    found = changes(old, new) + changes(new, old)
    told = [line for line in found if not any(mark in line for mark in APART)]
    assert told == []
    assert all(any(mark in line for line in found) for mark in APART)
