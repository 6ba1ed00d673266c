"""The few elements of SVG that the plots need; small files that follow the reader's light or dark mode.

The usual library embeds each letter as a path and fixed colours: ten times the size, and unreadable in one of the
modes. Here colours are classes of a style sheet with a rule for dark mode, and text is text.
"""

from collections.abc import Sequence
from xml.sax.saxutils import escape, quoteattr

__all__ = ["Drawing"]

FONT = "12px system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"

#: Class: (property, colour on light, colour on dark). They differ in lightness too, for colour-blind readers.
COLOURS = {
    "paper": ("fill", "#ffffff", "#0d1117"),
    "ink": ("fill", "#1f2328", "#e6edf3"),
    "faint-ink": ("fill", "#59636e", "#9198a1"),
    "grid": ("stroke", "#d1d9e0", "#3d444d"),
    "bar-ours": ("fill", "#0969da", "#4493f8"),
    "bar-limit": ("fill", "#818b98", "#656c76"),
    "bar-base": ("fill", "#bc4c00", "#db6d28"),
    "bar-other": ("fill", "#d4a72c", "#9e6a03"),
    "line-ours": ("stroke", "#0969da", "#4493f8"),
    "line-limit": ("stroke", "#818b98", "#8b949e"),
    "line-base": ("stroke", "#bc4c00", "#db6d28"),
    "line-other": ("stroke", "#9a6700", "#d29922"),
}

#: Lines differ without colour as well.
DASHES = {"line-limit": "6 4", "line-base": "2 3"}


class Drawing:
    """A picture of a fixed size, in user units from the top left corner."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self._width = width
        self._height = height
        self._title = title
        self._elements: list[str] = []

    def text(
        self, place: tuple[float, float], text: str, style: str = "ink", *, anchor: str = "start"
    ) -> None:
        """Write a text whose start, middle or end is at a place on its base line."""
        x, y = place
        self._elements.append(
            f'<text x="{x:g}" y="{y:g}" class="{style}" text-anchor="{anchor}">{escape(text)}</text>'
        )

    def heading(self, place: tuple[float, float], text: str) -> None:
        """Write a text in bold."""
        x, y = place
        self._elements.append(f'<text x="{x:g}" y="{y:g}" class="ink heading">{escape(text)}</text>')

    def turned_text(self, place: tuple[float, float], text: str, style: str = "faint-ink") -> None:
        """Write a text from bottom to top, its middle at a place."""
        x, y = place
        self._elements.append(
            f'<text transform="translate({x:g} {y:g}) rotate(-90)" class="{style}" '
            f'text-anchor="middle">{escape(text)}</text>'
        )

    def bar(self, place: tuple[float, float], size: tuple[float, float], style: str) -> None:
        """Fill a rectangle from its top left corner."""
        (x, y), (width, height) = place, size
        self._elements.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="2" class="{style}"/>'
        )

    def line(self, points: Sequence[tuple[float, float]], style: str) -> None:
        """Draw a line through points."""
        path = " ".join(f"{x:g},{y:g}" for x, y in points)
        self._elements.append(f'<polyline points="{path}" class="{style}"/>')

    def dot(self, place: tuple[float, float], style: str) -> None:
        """Mark a place; the style is a line's."""
        x, y = place
        self._elements.append(f'<circle cx="{x:g}" cy="{y:g}" r="1.5" class="{style} dot"/>')

    def render(self) -> str:
        """Return the file's text."""
        size = f'width="{self._width}" height="{self._height}" viewBox="0 0 {self._width} {self._height}"'
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label={quoteattr(self._title)}>',
                f"<title>{escape(self._title)}</title>",
                f"<style>\n{_style_sheet()}\n</style>",
                f'<rect width="{self._width}" height="{self._height}" rx="6" class="paper"/>',
                *self._elements,
                "</svg>\n",
            ]
        )


def _style_sheet() -> str:
    dashes = [f".{style} {{ stroke-dasharray: {dash}; }}" for style, dash in DASHES.items()]
    return "\n".join(
        [
            f"text {{ font: {FONT}; }}",
            ".heading { font-weight: 600; font-size: 14px; }",
            "polyline { fill: none; stroke-width: 2; }",
            "polyline.grid { stroke-width: 1; }",
            *dashes,
            ".dot { fill: none; stroke-width: 3; stroke-dasharray: none; }",
            *(f".{style} {{ {kind}: {light}; }}" for style, (kind, light, _) in COLOURS.items()),
            "@media (prefers-color-scheme: dark) {",
            *(f"  .{style} {{ {kind}: {dark}; }}" for style, (kind, _, dark) in COLOURS.items()),
            "}",
        ]
    )
