"""What a build leaves out of the build before."""

from pathlib import Path

from ci.compiling.leftovers import remove_leftovers


def made(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / "fastrpc" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_modules_whose_sources_are_gone_are_removed(tmp_path: Path) -> None:
    sources, built = tmp_path / "src", tmp_path / "lib"
    made(sources, "__init__.py", "gauges.py", "x/page.js", "y/frame.pyx", "y/_shared.c")
    kept = {
        "__init__.py",
        "gauges.py",
        "x/page.js",
        "y/frame.cpython-311.so",
        "y/_shared.cpython-311.so",
    }
    made(
        built,
        *kept,
        "gauges/__init__.py",
        "gauges/old.py",
        "old.py",
        "x/old.js",
        "y/old.cpython-311.so",
    )
    remove_leftovers(built, sources)
    left = {str(path.relative_to(built / "fastrpc")) for path in built.rglob("*") if path.is_file()}
    assert left == kept
    assert not (built / "fastrpc" / "gauges").exists()


def test_a_first_build_has_no_leftovers(tmp_path: Path) -> None:
    remove_leftovers(tmp_path / "lib", tmp_path / "src")
    assert not (tmp_path / "lib").exists()
