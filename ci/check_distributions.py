"""Check the distributions before they are published: a source distribution and wheels, named on the command line."""

import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

# Seven tenths of a wheel are 184 compiled modules, each with a frame of about 30,000 bytes: 15 of them came with
# requests of HTTP on streams of HTTP/2, and 5 with the parts that a connection and the gate hold. The 128 modules of
# Python for messages (five backends, a service, subscribers, pages) are a thirtieth; the console and its page are
# 120,000 bytes. Both limits leave a few percent: a limit that the next mend exceeds says nothing.
WHEEL_BYTES = 7_700_000
INSTALLED_BYTES = 20_600_000


def check_wheel(path: Path) -> list[str]:
    """Return the faults of a wheel: in its size, its contents, the dependencies of its libraries."""
    faults = []
    if path.stat().st_size > WHEEL_BYTES:
        faults.append(f"{path.name} has {path.stat().st_size:,} bytes, the limit is {WHEEL_BYTES:,}")
    with zipfile.ZipFile(path) as wheel:
        names = wheel.namelist()
        installed = sum(entry.file_size for entry in wheel.infolist())
        if installed > INSTALLED_BYTES:
            faults.append(f"{path.name} unpacks to {installed:,} bytes, the limit is {INSTALLED_BYTES:,}")
        foreign = [name for name in names if name.endswith((".c", ".h", ".pyx", ".pxd"))]
        if foreign:
            faults.append(f"{path.name} carries sources: {', '.join(foreign)}")
        faults += [f"{path.name} carries {name}" for name in names if is_foreign(name)]
        compiled = {name.partition(".")[0] for name in names if name.endswith(".so")}
        sources = Path("src/fastrpc/_core").rglob("*.pyx")
        modules = {file.relative_to("src").with_suffix("").as_posix() for file in sources}
        faults += [f"{path.name} lacks the compiled module {name}" for name in sorted(modules - compiled)]
        plain = [file for kind in ("*.py", "*.pyi") for file in Path("src/fastrpc").rglob(kind)]
        wanted = [file.relative_to("src").as_posix() for file in plain]
        faults += [f"{path.name} lacks {name}" for name in wanted if name not in names]
        shown = [file.relative_to("src").as_posix() for file in Path("src/fastrpc").rglob("site/*")]
        faults += [f"{path.name} lacks the page {name}" for name in shown if name not in names]
        with tempfile.TemporaryDirectory() as folder:
            for name in names:
                if name.endswith(".so") and sys.platform == "linux":
                    faults += check_library(Path(wheel.extract(name, folder)), name)
    return faults


def is_foreign(name: str) -> bool:
    """Return whether a file of a wheel belongs neither to the package, nor to its libraries or its metadata."""
    return not re.match(r"fastrpc(?:\.libs|-[^/]+\.dist-info)?/", name)


def check_library(path: Path, name: str) -> list[str]:
    """Return the faults of a compiled module, such as unstripped symbols."""
    sections = subprocess.run(
        ["readelf", "--sections", "--wide", path], capture_output=True, text=True, check=True
    )
    return [f"{name} has a section {kind}" for kind in (".debug_info", ".symtab") if kind in sections.stdout]


def check_source(path: Path) -> list[str]:
    """Return the errors of a source distribution: it must have all sources, and no generated file."""
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = [
        file.as_posix()
        for file in Path("src/fastrpc").rglob("*")
        if file.suffix in {".py", ".pyx", ".pxd", ".pyi", ".h", ".html", ".js", ".css"}
        or file.name == "py.typed"
    ]
    faults = [f"{path.name} lacks {name}" for name in sorted({*wanted, "LICENSE", "setup.py"} - names)]
    unwanted = [
        name for name in names if name.endswith((".c", ".so")) or name.startswith("src/fastrpc_harness")
    ]
    faults += [f"{path.name} carries {name}" for name in sorted(unwanted)]
    return faults


def main() -> None:
    faults = []
    for path in map(Path, sys.argv[1:]):
        faults += check_wheel(path) if path.suffix == ".whl" else check_source(path)
        print(f"wheel: {path.name}: {path.stat().st_size:,} bytes")
    if faults:
        raise SystemExit("\n".join(faults))


if __name__ == "__main__":
    main()
