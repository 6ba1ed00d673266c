"""Answers that caches may store, and conditional requests (RFC 9110, sections 8.8 and 13; RFC 9111).

::

    handler ──► ETag, Last-Modified, Cache-Control, Vary ──► If-None-Match, else If-Modified-Since ──► 304, or 200

The handler runs in any case, as only its fields identify the answer. A malformed condition is ignored. Errors, and
answers without `Cache-Control`, are not stored.
"""

import re
import time
from calendar import monthrange, timegm
from email.utils import formatdate

from fastrpc._core.exchange.request_head cimport VERB_GET, VERB_HEAD, VERB_POST
from fastrpc._core.http.messages cimport FORM_NONE

cdef bytes NO_STORE = b"Cache-Control: no-store\r\n"

# TAG: an entity tag, whose text is compared without the mark of a weak tag. TAGS: a list of tags.
cdef object TAG = re.compile(r'(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")')
cdef object TAGS = re.compile(rf'[ \t,]*(?:{TAG.pattern}[ \t]*(?:,[ \t,]*|$))*')

# The fields of a handler that a 304 repeats.
cdef frozenset KEPT = frozenset({"cache-control", "etag", "expires", "vary"})
# The fields about caching, which answers to a GET by Connect may have as well.
cdef frozenset STORING = KEPT | {"last-modified"}

cdef list MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
cdef str DAY = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
cdef str LONG_DAY = "(?:Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday)"
cdef str MONTH = f"(?P<month>{'|'.join(MONTHS)})"
cdef str TIME = r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
# The preferred format of a date, and the two obsolete ones (RFC 9110, section 5.6.7).
cdef tuple DATES = tuple(
    [
        re.compile(form)
        for form in (
            rf"{DAY}, (?P<day>[0-9]{{2}}) {MONTH} (?P<year>[0-9]{{4}}) {TIME} GMT",
            rf"{LONG_DAY}, (?P<day>[0-9]{{2}})-{MONTH}-(?P<year>[0-9]{{2}}) {TIME} GMT",
            rf"{DAY} {MONTH} (?P<day>[0-9]{{2}}| [0-9]) {TIME} (?P<year>[0-9]{{4}})",
        )
    ]
)


cdef bint is_unchanged(RequestHead head, dict fields) except -1:
    cdef list given
    if head.verb != VERB_GET and head.verb != VERB_HEAD:
        return False
    given = head.values("if-none-match")
    if given:
        return _has_tag(", ".join(given), _value_of(fields, "etag"))
    given = head.values("if-modified-since")
    if len(given) != 1:
        return False
    known, changed = parsed_date(given[0]), parsed_date(_value_of(fields, "last-modified"))
    # `min`, as a Last-Modified in the future is sent as the present time.
    return known is not None and changed is not None and min(changed, _present()) <= known


cdef dict kept_fields(dict fields):
    found = {name: line for name, line in fields.items() if name in KEPT}
    if "etag" not in found and "last-modified" in fields:
        # Without an ETag only this field tells the client which of its stored answers is still valid.
        found["last-modified"] = fields["last-modified"]
    return found


cdef int note_fields(HttpTerms terms, HttpService service, dict fields) except -1:
    terms.answer_fields = {**(terms.answer_fields or {}), **fields}
    terms.has_origins = bool(service.origins)
    return 0


cdef int note_stored(HttpTerms terms, HttpService service, dict fields) except -1:
    # Only a GET by Connect has a `payload` here: its message is in the query.
    if not terms.web.is_enveloped and terms.web.payload is not None:
        note_fields(terms, service, {name: line for name, line in fields.items() if name in STORING})
    return 0


cdef bytes described_lines(HttpTerms terms, ServerCall call, RequestHead head):
    cdef dict fields = terms.answer_fields
    cdef bint is_stored = "cache-control" in fields
    cdef list names = [name.strip(" \t") for name in _value_of(fields, "vary").split(",")]
    cdef list own = []
    if terms.origin is not None or is_stored and terms.has_origins:
        own.append("Origin")
    if terms.may_pack or terms.web is not None:
        own.append("Accept-Encoding")
    if terms.form != FORM_NONE:
        own.append("Accept")
    lines = [line for name, line in fields.items() if name not in ("etag", "last-modified", "vary")]
    varies = {name.lower(): name for name in reversed(own + [name for name in names if name])}
    if varies:
        told = "*" if "*" in varies else ", ".join(reversed(varies.values()))
        lines.append(f"Vary: {told}\r\n".encode("latin-1"))
    if "etag" in fields:
        lines.append(_tag_line(fields["etag"], call.compressor != 0 and (terms.may_pack or terms.web is not None)))
    if "last-modified" in fields:
        lines.append(_date_line(fields["last-modified"], _value_of(fields, "last-modified")))
    if not is_stored and head.verb != VERB_POST:
        lines.append(NO_STORE)
    return b"".join(lines)


def _value_of(dict fields, str name):
    """Return the value of a field that a handler has set, or "" if it has not set the field."""
    line = fields.get(name)
    return "" if line is None else line.partition(b": ")[2].removesuffix(b"\r\n").decode("latin-1")


def _tag_line(bytes line, bint is_packed):
    """Return the line of an ETag; it is weak if the answer is compressed, as the bytes differ (RFC 9110, 8.8.1)."""
    name, _, value = line.partition(b": ")
    return b"%b: W/%b" % (name, value) if is_packed and value.startswith(b'"') else line


def _date_line(bytes line, str value):
    """Return the line of Last-Modified, with a future date replaced by the present (RFC 9110, section 8.8.2.1)."""
    changed = parsed_date(value)
    if changed is None or changed <= time.time():
        return line
    return f"Last-Modified: {formatdate(_present(), usegmt=True)}\r\n".encode("ascii")


def _present():
    """Return the previous second: the field Date may lag by a second, and Last-Modified must not be after it."""
    return int(time.time()) - 1


def _has_tag(str given, str own):
    """Return whether the tags `given` by a client contain the answer's `own`, by weak comparison; "*" matches any."""
    if given.strip(" \t") == "*":
        return True
    tag = TAG.fullmatch(own)
    if tag is None or not TAGS.fullmatch(given):
        return False
    return any(found[1] == tag[1] for found in TAG.finditer(given))


def parsed_date(str text not None):
    for form in DATES:
        found = form.fullmatch(text)
        if found is not None:
            return _seconds_of(found, len(found["year"]) == 2)
    return None


def _seconds_of(found, bint is_short):
    """Return the seconds since 1970 of a well-formed date, or None if its day or time does not exist."""
    year, month, day = int(found["year"]), MONTHS.index(found["month"]) + 1, int(found["day"])
    hour, minute, second = int(found["hour"]), int(found["minute"]), int(found["second"])
    if is_short:
        # A year of two digits means the past if it would be more than 50 years ahead.
        this = time.gmtime().tm_year
        year += this - this % 100
        year -= 100 if year > this + 50 else 0
    # Second 60, a leap second, counts as the next second.
    if not (year and 1 <= day <= monthrange(year, month)[1] and hour < 24 and minute < 60 and second <= 60):
        return None
    return timegm((year, month, day, hour, minute, second))
