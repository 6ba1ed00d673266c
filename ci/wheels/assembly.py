"""A wheel put together: the files of a wheel without compiled modules, these modules, tags and a bill of materials."""

import base64
import hashlib
import json
import zipfile
from collections.abc import Mapping
from datetime import UTC, datetime
from email.parser import HeaderParser
from pathlib import Path

__all__ = ["assemble"]


def assemble(base: Path, modules: Mapping[str, Path], tag: str, epoch: int, folder: Path) -> Path:
    """Write a wheel and return its path; the same input gives the same bytes.

    Args:
        base: a wheel without compiled modules.
        modules: compiled modules by their path in the wheel.
        epoch: the time of every file, in seconds.
    """
    files: dict[str, bytes] = {}
    with zipfile.ZipFile(base) as archive:
        for name in archive.namelist():
            if not name.endswith(("/", "/RECORD", "/WHEEL")):
                files[name] = archive.read(name)
    (metadata,) = (name for name in files if name.endswith(".dist-info/METADATA"))
    info = metadata.removesuffix("METADATA")
    files |= {name: path.read_bytes() for name, path in modules.items()}
    files[f"{info}WHEEL"] = (
        f"Wheel-Version: 1.0\nGenerator: ci.wheels\nRoot-Is-Purelib: false\nTag: {tag}\n".encode()
    )
    files[f"{info}sboms/fastrpc.cdx.json"] = bill_of_materials(files[metadata].decode(), epoch)
    record = "".join(f"{name},sha256={_digest(files[name])},{len(files[name])}\n" for name in sorted(files))
    files[f"{info}RECORD"] = f"{record}{info}RECORD,,\n".encode()
    path = folder / f"{info.removesuffix('.dist-info/')}-{tag}.whl"
    _write(path, files, epoch)
    return path


def bill_of_materials(metadata: str, epoch: int) -> bytes:
    """Return the CycloneDX document of a wheel: the package, its licence, and its requirements. It bundles nothing."""
    fields = HeaderParser().parsestr(metadata)
    name, version = fields["Name"], fields["Version"]
    reference = f"pkg:pypi/{name}@{version}"
    required = [each for each in fields.get_all("Requires-Dist", []) if "extra ==" not in each]
    component = {
        "type": "library",
        "bom-ref": reference,
        "name": name,
        "version": version,
        "purl": reference,
        "licenses": [{"license": {"id": fields["License-Expression"]}}],
        "properties": [{"name": "fastrpc:requires", "value": each} for each in required],
    }
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"timestamp": datetime.fromtimestamp(epoch, UTC).isoformat(), "component": component},
        "components": [],
    }
    return json.dumps(document, indent=1).encode() + b"\n"


def _write(path: Path, files: Mapping[str, bytes], epoch: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    time = datetime.fromtimestamp(epoch, UTC).timetuple()[:6]
    # Metadata are last, so that a reader finds them without reading all.
    names = sorted(files, key=lambda name: (".dist-info/" in name, name.endswith("/RECORD"), name))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in names:
            entry = zipfile.ZipInfo(name, time)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3
            entry.external_attr = (0o100755 if name.endswith(".so") else 0o100644) << 16
            archive.writestr(entry, files[name], compresslevel=9)


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
