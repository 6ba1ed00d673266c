"""Standard output and standard error: lines of styled parts, and drawings of rich.

Nothing that is printed here can control the terminal: control characters in texts of a peer are escaped. rich is loaded
only for a terminal or a frame.
"""

import os
import sys
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from fastrpc.escaping import printable

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment
    from rich.text import Text

__all__ = ["Part", "StyledOutput", "rich_text", "shown", "stderr", "stdout"]

#: A part of a line: its text, or its text and its style.
Part = str | tuple[str, str]

#: The space between two columns of a table.
_GAP = "   "

#: Environment variables with which rich styles output to a file or a pipe, too.
_STYLED_ANYWHERE = ("FORCE_COLOR", "TTY_COMPATIBLE")


class StyledOutput:
    """Prints on standard output, or on standard error."""

    def __init__(self, *, is_error: bool = False) -> None:
        self._is_error = is_error

    def print(self, *parts: Part, style: str = "") -> None:
        """Print the parts one after the other, and end the line."""
        if self.is_styled:
            self.console.print(rich_text(*parts, style=style))
            return
        file = sys.stderr if self._is_error else sys.stdout
        if file is not None:
            text = "".join(map(_text_of, parts))
            file.write(printable(text.expandtabs(), multiline=True) + "\n")
            file.flush()

    def draw(self, drawing: "RenderableType", *, is_folded: bool = False) -> None:
        """Print a frame or a highlighted text; in a frame, long lines are folded, not cut."""
        self.console.print(drawing, soft_wrap=not is_folded)

    def table(self, rows: Iterable[Sequence[Sequence[Part]]]) -> None:
        """Print rows of cells in columns. A terminal may fold cells; a file or a pipe gets one line per row."""
        if self.is_styled:
            from rich.table import Table

            table = Table.grid(padding=(0, len(_GAP)))
            for row in rows:
                table.add_row(*(rich_text(*cell) for cell in row))
            self.draw(table)
            return
        texts = [["".join(map(_text_of, cell)) for cell in row] for row in rows]
        widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
        for line in texts:
            cells = (text.ljust(width) for text, width in zip(line, widths, strict=True))
            self.print(_GAP.join(cells).rstrip())

    @property
    def is_styled(self) -> bool:
        """Whether rich writes styles to this output."""
        file = sys.stderr if self._is_error else sys.stdout
        return any(name in os.environ for name in _STYLED_ANYWHERE) or (file is not None and file.isatty())

    @cached_property
    def console(self) -> "Console":
        """The console of rich."""
        return _escaping_console(is_error=self._is_error)


def _text_of(part: Part) -> str:
    return part if isinstance(part, str) else part[0]


def _escaping_console(*, is_error: bool) -> "Console":
    from rich.console import Console
    from rich.segment import Segment

    class EscapingConsole(Console):
        """A console that escapes control characters and interprets no markup."""

        def render(
            self, renderable: "RenderableType", options: "ConsoleOptions | None" = None
        ) -> "Iterable[Segment]":
            for segment in super().render(renderable, options):
                if segment.control:  # from rich: moves the cursor for a progress bar
                    yield segment
                else:
                    yield Segment(printable(segment.text, multiline=True), segment.style)

    return EscapingConsole(stderr=is_error, markup=False, emoji=False, highlight=False, soft_wrap=True)


#: For answers and tables.
stdout = StyledOutput()
#: For messages.
stderr = StyledOutput(is_error=True)


def shown(text: str, style: str = "") -> tuple[str, str]:
    """Return a text of a peer as a part of a line."""
    return printable(text), style


def rich_text(*parts: Part, style: str = "") -> "Text":
    """Return the parts as a text of rich."""
    from rich.text import Text

    return Text.assemble(*parts, style=style)
