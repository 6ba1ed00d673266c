"""A service that runs as a manifest of `deploy/` says, at free ports of this machine."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from ci.wheels.dockerfile import Dockerfile
from tests.support.admin_pages import Answer, fetch
from tests.support.program import Finished, Program
from tests.support.source_tree import ROOT

__all__ = ["DEPLOY", "Deployed", "deployed"]

DEPLOY = ROOT / "deploy"


class Deployed:
    """A running service.

    Args:
        moved: paths in manifests, and their replacements here.
    """

    def __init__(self, program: Program, folder: Path, moved: Mapping[str, str]) -> None:
        self.program = program
        self.folder = folder
        self._moved = moved

    def here(self, text: str) -> str:
        """Return a text of a manifest with the ports and paths of this machine."""
        return _moved(text, self._moved)

    def probe(self, port: int | str, path: str, **headers: str) -> Answer:
        """Ask as the kubelet, or Prometheus, does: with the address of the pod as the Host."""
        return fetch(int(self.here(str(port))), path, Host=f"10.1.2.3:{port}", **headers)

    def run(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run a command of a manifest next to its program, as `docker exec` does."""
        return subprocess.run(
            _command(command, self._moved),
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    @property
    def environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("FASTRPC_")}
        return inherited | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}

    def stop(self) -> Finished:
        """Stop it as Docker and the kubelet do."""
        self.program.signal(signal.SIGTERM)
        return self.program.wait()


@contextmanager
def deployed(
    command: Sequence[str], environment: Mapping[str, str], folder: Path, moved: Mapping[str, str]
) -> Iterator[Deployed]:
    """Run a command of a manifest with its environment, in a folder with the files of the image."""
    copied = Dockerfile(DEPLOY / "docker" / "Dockerfile").all("COPY")
    for rest in copied:
        source, destination = rest.split()
        assert destination == "."
        shutil.copy(ROOT / source, folder)
    here = {name: _moved(value, moved) for name, value in environment.items()}
    program, *arguments = command
    assert program == "fastrpc"
    with Program(["-m", "fastrpc", *(_moved(one, moved) for one in arguments)], folder, here) as running:
        yield Deployed(running, folder, moved)


def _command(command: Sequence[str], moved: Mapping[str, str]) -> list[str]:
    first, *rest = command
    programs = {"fastrpc": [sys.executable, "-m", "fastrpc"], "python": [sys.executable]}
    return [*programs[first], *(_moved(one, moved) for one in rest)]


def _moved(text: str, moved: Mapping[str, str]) -> str:
    for before, after in moved.items():
        text = text.replace(before, after)
    return text
