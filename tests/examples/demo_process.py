"""The output of the demonstration, and the commands of fastrpc that it runs as separate processes."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

__all__ = ["Process", "check", "command", "say"]


def say(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)


def check(fact: bool, text: str) -> None:
    """Print the fact that was shown; end the program if the fact is false."""
    if not fact:
        raise SystemExit(f"  FAILED  {text}")
    say(f"  ok  {text}")


def command(*arguments: str) -> list[str]:
    """Return a command line of fastrpc; in a shell it is `fastrpc registry` and so on."""
    return [sys.executable, "-m", "fastrpc", *arguments]


class Process:
    """A command of fastrpc that runs until it is stopped, and prints its addresses as JSON."""

    def __init__(self, *arguments: str, folder: Path | None = None, log_level: str = "error") -> None:
        path = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]))
        self._process = subprocess.Popen(
            command(*arguments, "--json", "--log-level", log_level),
            cwd=folder,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": path},
        )

    def wait_started(self, key: str) -> str:
        """Return where it serves, once it does."""
        assert self._process.stdout is not None
        where: str = json.loads(self._process.stdout.readline())[key][0]
        return where

    @property
    def has_ended(self) -> bool:
        """Whether it has come to its end by itself."""
        return self._process.poll() is not None

    def kill(self) -> None:
        """End it as a crash would: no goodbye to anybody."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """Ask it to drain; returns its exit code."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(20)

    def close(self) -> None:
        """End the process, even after an error."""
        self.kill()
        assert self._process.stdout is not None
        self._process.stdout.close()
