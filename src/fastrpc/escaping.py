"""Texts of a peer, made safe for a terminal and for a line of a log."""

import logging
import traceback

__all__ = ["LOGGERS", "escape_loggers", "escape_record", "hidden_in", "printable", "printable_json"]

#: Every logger of the package.
LOGGERS = (
    "fastrpc",
    "fastrpc.client",
    "fastrpc.server",
    "fastrpc.registry",
    "fastrpc.audit",
    "fastrpc.access",
)

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
    return text.translate(
        {
            ord(character): character.encode("unicode_escape").decode("ascii")
            for character in hidden_in(text)
            if character not in kept
        }
    )


def printable_json(text: str) -> str:
    r"""Return JSON, which may be on several lines, that means the same and shows every character: `\u202e`."""
    if text.isprintable():
        return text
    # JSON has escaped the control characters below U+0020 in its strings: those that are left separate its tokens.
    return text.translate(
        {
            ord(character): _json_escape(character)
            for character in hidden_in(text)
            if character not in "\n\r\t"
        }
    )


def escape_record(record: logging.LogRecord) -> bool:
    """Escape message and traceback of a log record, the message to one line; a filter that lets every record pass."""
    try:
        message = record.getMessage()
    except Exception:
        # The text of an argument may fail. The handler finds that out as well, and reports it as it does everywhere.
        return True
    escaped = printable(message)
    if escaped != message:
        record.msg, record.args = escaped, None
    if record.exc_info and record.exc_info[1] is not None and not record.exc_text:
        text = "".join(traceback.format_exception(record.exc_info[1])).rstrip("\n")
        escaped = printable(text, multiline=True)
        if escaped != text:
            # What a formatter finds here it takes in place of its own.
            record.exc_text = escaped
    return True


def escape_loggers() -> None:
    """Let no record of fastrpc carry a text of a peer unescaped to any handler."""
    for name in LOGGERS:
        logging.getLogger(name).addFilter(escape_record)


def hidden_in(text: str) -> set[str]:
    """Return the characters of a text that are not shown as themselves."""
    if text.isprintable():
        return set()
    from unicodedata import category  # a table that most programs never need

    return {character for character in set(text) if category(character) in _ESCAPED}


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[start : start + 4]}" for start in range(0, len(units), 4))
