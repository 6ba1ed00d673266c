"""Copies of an earlier build whose sources are gone: they would be installed, and may shadow newer modules."""

from pathlib import Path

from setuptools.command.build_py import build_py

__all__ = ["CopyModules", "remove_leftovers"]


class CopyModules(build_py):
    """Copies the modules in Python, into a folder without leftovers."""

    def run(self) -> None:
        if not self.editable_mode:
            remove_leftovers(Path(self.build_lib), Path("src"))
        super().run()


def remove_leftovers(built: Path, sources: Path) -> None:
    """Remove the files of a build that no longer have a source, and the folders that are empty then."""
    for path in sorted(built.rglob("*"), reverse=True):
        source = sources / path.relative_to(built)
        if path.is_dir():
            if not any(path.iterdir()):
                path.rmdir()
        elif path.suffix == ".so":
            # The module that Cython writes itself has no source.
            name = source.name.partition(".")[0]
            if name != "_shared" and not source.with_name(f"{name}.pyx").exists():
                path.unlink()
        elif not source.exists():
            path.unlink()
