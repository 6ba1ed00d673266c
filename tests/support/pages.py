"""Pages of documents whose blocks are run as printed. These are the rules of a page:

- A block whose first line is `# name.py`, or a name with another ending, is a file in the folder of the page.
- A `sh` block is run by bash in that folder. All blocks of a page run in one shell, in their order, and the last
  command of each ends with 0. Nothing that looks like a mistake may reach standard error.
- A `text` block right after a `sh` block is its output; `…` stands for parts that differ from run to run, and for any
  number of lines where it has a line to itself.
- A `console` block, with `$` before each command, is not run: it needs a network, root or a terminal.

Ports of 127.0.0.1 are replaced by free ones.
"""

import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import SCALE
from tests.support.ports import ports_instead
from tests.support.program import Program
from tests.support.warm_process import WarmProcess, launcher

__all__ = ["BASH", "Block", "Page", "Ran", "blocks_of", "file_name"]

BASH = shutil.which("bash")

#: Longer than any page takes.
PAGE_SECONDS = 120.0

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE_NAME = re.compile(r"# (\w[\w.-]*\.\w+)\n")
_PORT = re.compile(r"(?:(?<=127\.0\.0\.1:)|(?<=relay://localhost:)|(?<=\.localhost:))[1-9]\d+")

# Stands between the output of two blocks, with the code that the first one ended with.
_END = re.compile(r"\x1e(\d+)\x1e\n?")


@dataclass(frozen=True, slots=True)
class Block:
    """One block of a page."""

    language: str
    text: str


@dataclass(frozen=True, slots=True)
class Ran:
    """One `sh` block, its output and its expected output."""

    block: Block
    code: int
    output: str
    expected: str | None

    def __str__(self) -> str:
        expected = "" if self.expected is None else f"\nthe page says\n{self.expected}"
        return f"{self.block.text}\nended with {self.code} and printed\n{self.output}{expected}"

    def is_as_printed(self) -> bool:
        """Whether it ended with 0 and printed the text of the page."""
        if self.expected is None:
            return self.code == 0
        lines = (re.escape(line).replace("…", "[^\n]*") + "\n" for line in self.expected.splitlines())
        pattern = "".join("(?:[^\n]*\n)*?" if line == "[^\n]*\n" else line for line in lines)
        printed = "".join(f"{line.rstrip()}\n" for line in self.output.splitlines())
        return self.code == 0 and re.fullmatch(pattern, printed) is not None


def blocks_of(text: str) -> list[Block]:
    """Return the blocks of a page in their order."""
    return [Block(language, body) for language, body in _BLOCK.findall(text)]


def file_name(block: Block) -> str | None:
    """Return the name of the file in a block; None for other blocks."""
    match = None if block.language in {"sh", "text", "console"} else _FILE_NAME.match(block.text)
    return match and match[1]


class Page:
    """A folder with the files of a page, at ports that are free."""

    def __init__(self, text: str, folder: Path) -> None:
        self._folder = folder
        self._ports = ports_instead(set(_PORT.findall(text)))
        self.blocks = blocks_of(self._placed(text))
        for block in self.blocks:
            if name := file_name(block):
                (folder / name).write_text(block.text, encoding="utf-8")
        # The shell finds this Python and the package under test. A dozen pages start fifty programs, and most of their
        # time would go into imports.
        python, self._inherited = sys.executable, []
        if WarmProcess.IS_POSSIBLE and SCALE <= 1:
            python, descriptor = launcher()
            self._inherited = [descriptor]
        # Under sanitizers only Python gets their runtime: other programs hang with it.
        preload = os.environ.get("LD_PRELOAD", "")
        (folder / "bin").mkdir()
        for name, options in (("python", ""), ("fastrpc", "-m fastrpc")):
            command = folder / "bin" / name
            command.write_text(
                f'#!/bin/sh\nLD_PRELOAD="{preload}" exec {python} {options} "$@"\n', encoding="utf-8"
            )
            command.chmod(0o755)

    def run(self) -> tuple[list[Ran], str]:
        """Run the `sh` blocks; return the outcome of each, and the text on standard error."""
        shell = [index for index, block in enumerate(self.blocks) if block.language == "sh"]
        script = "".join(f"{self.blocks[index].text}\nprintf '\\x1e%s\\x1e\\n' $?\n" for index in shell)
        # A page may leave its servers running; whoever reads it ends them with the terminal.
        script += "for job in $(jobs -p); do kill $job 2> /dev/null; done; wait\n"
        (self._folder / "page.sh").write_text(script, encoding="utf-8")
        start = f"import os; os.execv({BASH!r}, ['bash', 'page.sh'])"
        path = f"{self._folder / 'bin'}:/usr/bin:/bin"
        with Program(
            ["-c", start],
            self._folder,
            {"PATH": path, "LD_PRELOAD": ""},
            is_anew=True,
            inherited=self._inherited,
        ) as program:
            ended = program.wait(PAGE_SECONDS)
        parts = _END.split(ended.output)
        assert len(parts) == 2 * len(shell) + 1, ended
        return [
            Ran(self.blocks[index], int(code), output, self._expected(index + 1))
            for index, output, code in zip(shell, parts[::2], parts[1::2], strict=False)
        ], ended.errors

    def _expected(self, index: int) -> str | None:
        following = self.blocks[index] if index < len(self.blocks) else None
        return following.text if following is not None and following.language == "text" else None

    def _placed(self, text: str) -> str:
        return _PORT.sub(lambda match: self._ports[match[0]], text)
