"""Texts for terminals and logs: escape a peer's text, remove secrets from URLs, show errors without a log handler."""

import logging
import re
import traceback
from collections.abc import Iterable, Iterator

__all__ = [
    "LOGGERS",
    "KeepingHandler",
    "OwnLastResort",
    "UnheardErrors",
    "escape_loggers",
    "escape_record",
    "hidden_in",
    "printable",
    "printable_json",
    "without_secrets",
]

#: Every logger of the package.
LOGGERS = (
    "fastrpc",
    "fastrpc.client",
    "fastrpc.server",
    "fastrpc.registry",
    "fastrpc.store",
    "fastrpc.broker",
    "fastrpc.relay",
    "fastrpc.audit",
    "fastrpc.access",
    "fastrpc.grpc",
)

#: Unicode categories that move the cursor, or reorder or hide nearby text: control characters (C0, DEL,
#: C1), format characters (bidi controls, zero-width and tag characters), surrogates, line and paragraph separators.
_ESCAPED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})

#: Letters, marks and symbols that show nothing: Default_Ignorable_Code_Point of Unicode beyond these categories
#: (fillers of Hangul, variation selectors, …), and the blank of Braille. `str.isprintable` is True for most of them.
_BLANK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u2800\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8"
    "\U000e0000-\U000e0fff]"
)


def without_secrets(url: str) -> str:
    """Return a URL, valid or not, without its user and its options, which may hold secrets."""
    place, options, _ = url.partition("?")
    scheme, separator, rest = place.partition("://")
    if not separator:
        scheme, rest = "", place
    _, user, host = rest.rpartition("@")
    return f"{scheme}{separator}{'…@' if user else ''}{host}{'?…' if options else ''}"


_HEADING = "Traceback (most recent call last):\n"


def printable(text: str, *, multiline: bool = False) -> str:
    r"""Return a text with every invisible character escaped: `\x1b`, `\u202e`, `\n`.

    Backslashes are not escaped, so the result is for people, not for parsers.

    Args:
        multiline: keep line feeds and tabs; otherwise the result is one line.
    """
    if _is_shown(text):
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
    r"""Return equivalent JSON, possibly on several lines, with every invisible character escaped: `\u202e`."""
    if _is_shown(text):
        return text
    # Control characters below U+0020 are kept: in JSON they occur only between tokens, as strings escape them.
    return text.translate(
        {
            ord(character): _json_escape(character)
            for character in hidden_in(text)
            if character not in "\n\r\t"
        }
    )


def escape_record(record: logging.LogRecord) -> bool:
    """A log filter that escapes message and traceback, and keeps every record; the message becomes one line."""
    if type(record.msg) is str and not record.args and not record.exc_info and _is_shown(record.msg):
        # Most records return here, including all records of the access log, the busiest log.
        return True
    try:
        message = record.getMessage()
    except Exception:
        # Formatting an argument may raise. The log handler meets the same error and reports it as usual.
        return True
    escaped = printable(message)
    if escaped != message:
        record.msg, record.args = escaped, None
    if record.exc_info and record.exc_info[1] is not None and not record.exc_text:
        chunks = traceback.format_exception(record.exc_info[1])
        text = "".join(chunks).rstrip("\n")
        escaped = printable("".join(_indented(chunks)).rstrip("\n"), multiline=True)
        if escaped != text:
            # A formatter uses this text instead of formatting the exception itself.
            record.exc_text = escaped
    return True


def _indented(chunks: Iterable[str]) -> Iterator[str]:
    """Yield a traceback with indented messages, so that no line of a message looks like a log line.

    A chunk is one of: an entry of the stack; a heading, which starts with a line feed; the last line of an exception
    with its whole message; a line of a note after it.
    """
    is_below_message = False
    for chunk in chunks:
        lines = [f"{line}\n" for line in chunk.removesuffix("\n").split("\n")]
        if chunk.startswith("\n") and len(lines) > 1:
            is_below_message = False
            yield chunk
        elif not is_below_message and chunk.startswith((" ", _HEADING)):
            yield chunk
        else:
            kept = 0 if is_below_message else 1
            yield "".join(lines[:kept] + [f"    {line}" for line in lines[kept:]])
            is_below_message = True


def escape_loggers() -> None:
    """Escape all records of fastrpc's loggers before any handler gets them."""
    for name in LOGGERS:
        logging.getLogger(name).addFilter(escape_record)


class KeepingHandler(logging.Handler):
    """A handler that keeps records to show them later. A record that no other handler gets counts as unread."""


class OwnLastResort(logging.StreamHandler):  # type: ignore[type-arg]  # it is not a generic class at run time
    """The last resort of `logging` in command-line programs: writes records that no handler gets."""


#: The events of warnings that the program's author has to read, such as a setting without effect.
_OF_PROGRAM = frozenset({"any_host", "cors_taken_over", "wrapped_function"})


class UnheardErrors(logging.Handler):
    """Passes errors to Python's last resort, standard error, if no other handler gets them.

    Without any handler Python would show all warnings as well; with a `NullHandler` it would show nothing. Errors must
    be shown, because callers are referred to the log for the reason of a failure. Warnings about the program itself are
    shown, too.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)

    def handle(self, record: logging.LogRecord) -> bool:
        last_resort = logging.lastResort
        if record.levelno < logging.ERROR and getattr(record, "event", None) not in _OF_PROGRAM:
            return False
        if last_resort is None or self._is_heard(record):
            return False
        if record.levelno >= last_resort.level:
            last_resort.handle(record)
        return True

    def _is_heard(self, record: logging.LogRecord) -> bool:
        logger: logging.Logger | None = logging.getLogger(record.name)
        while logger is not None:
            if any(
                handler is not self and not isinstance(handler, KeepingHandler) for handler in logger.handlers
            ):
                return True
            logger = logger.parent if logger.propagate else None
        return False


def hidden_in(text: str) -> set[str]:
    """Return the invisible characters of a text."""
    if _is_shown(text):
        return set()
    from unicodedata import category  # imported here: most programs never need the table

    return {one for one in set(text) if category(one) in _ESCAPED or _BLANK.match(one)}


def _is_shown(text: str) -> bool:
    """Return whether every character of a text is visible. May return False for a visible text."""
    return text.isprintable() and (text.isascii() or _BLANK.search(text) is None)


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[start : start + 4]}" for start in range(0, len(units), 4))
