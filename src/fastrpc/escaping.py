"""Texts of a peer, made safe for a terminal and for a line of a log."""

import unicodedata

__all__ = ["printable"]

#: Categories of Unicode that move the cursor, reorder or hide what stands beside them: control characters (C0, DEL,
#: C1), format characters (bidi controls, zero-width and tag characters), surrogates, line and paragraph separators.
_ESCAPED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def printable(text: str, *, multiline: bool = False) -> str:
    r"""Return a text with every character escaped that is not shown as itself: `\x1b`, `\u202e`, `\n`.

    A backslash stays as it is, so the result is for reading, not for parsing.

    Args:
        multiline: line feeds and tabs stay; without it the result is one line.
    """
    if text.isprintable():
        return text
    kept = "\n\t" if multiline else ""
    escapes = {
        ord(character): character.encode("unicode_escape").decode("ascii")
        for character in set(text)
        if unicodedata.category(character) in _ESCAPED and character not in kept
    }
    return text.translate(escapes)
