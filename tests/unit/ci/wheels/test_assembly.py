"""Wheels assembled from a wheel without modules and modules of one CPython."""

import base64
import hashlib
import json
import zipfile
from pathlib import Path

import pytest

from ci.wheels.assembly import assemble

METADATA = """Metadata-Version: 2.4
Name: fastrpc
Version: 0.1.0
License-Expression: Apache-2.0
Requires-Dist: msgspec>=0.19
Requires-Dist: typer>=0.12; extra == "cli"

Text of the README.
"""
TAG = "cp313-cp313-manylinux_2_28_aarch64"
MODULE = "fastrpc/_core/base/one.cpython-313-aarch64-linux-gnu.so"
EPOCH = 1_760_000_000


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "fastrpc-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("fastrpc/__init__.py", "")
        archive.writestr("fastrpc-0.1.0.dist-info/METADATA", METADATA)
        archive.writestr("fastrpc-0.1.0.dist-info/WHEEL", "Root-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("fastrpc-0.1.0.dist-info/RECORD", "fastrpc/__init__.py,,\n")
    return path


def assembled(base: Path, folder: Path) -> zipfile.ZipFile:
    module = base.with_name("one.so")
    module.write_bytes(b"compiled")
    return zipfile.ZipFile(assemble(base, {MODULE: module}, TAG, EPOCH, folder))


def test_a_wheel_states_its_platform(base: Path, tmp_path: Path) -> None:
    with assembled(base, tmp_path / "dist") as wheel:
        assert Path(str(wheel.filename)).name == f"fastrpc-0.1.0-{TAG}.whl"
        said = wheel.read("fastrpc-0.1.0.dist-info/WHEEL").decode()
        assert f"Root-Is-Purelib: false\nTag: {TAG}\n" in said
        assert wheel.read(MODULE) == b"compiled"
        assert wheel.getinfo(MODULE).external_attr >> 16 == 0o100755


def test_the_record_has_each_file_once_with_its_digest(base: Path, tmp_path: Path) -> None:
    with assembled(base, tmp_path / "dist") as wheel:
        lines = wheel.read("fastrpc-0.1.0.dist-info/RECORD").decode().splitlines()
        recorded = {name: (digest, size) for name, digest, size in (line.split(",") for line in lines)}
        assert recorded.keys() == set(wheel.namelist())
        assert len(lines) == len(recorded)
        assert recorded.pop("fastrpc-0.1.0.dist-info/RECORD") == ("", "")
        for name, (digest, size) in recorded.items():
            content = wheel.read(name)
            expected = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
            assert (digest, int(size)) == (f"sha256={expected}", len(content))


def test_a_wheel_built_twice_is_equal(base: Path, tmp_path: Path) -> None:
    names = []
    for folder in ("one", "two"):
        with assembled(base, tmp_path / folder) as wheel:
            names.append(Path(str(wheel.filename)))
    assert names[0].read_bytes() == names[1].read_bytes()


def test_the_bill_of_materials_names_requirements_without_extras(base: Path, tmp_path: Path) -> None:
    with assembled(base, tmp_path / "dist") as wheel:
        bill = json.loads(wheel.read("fastrpc-0.1.0.dist-info/sboms/fastrpc.cdx.json"))
    component = bill["metadata"]["component"]
    assert (bill["bomFormat"], component["purl"]) == ("CycloneDX", "pkg:pypi/fastrpc@0.1.0")
    assert component["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    assert [each["value"] for each in component["properties"]] == ["msgspec>=0.19"]
