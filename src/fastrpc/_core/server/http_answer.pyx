"""The status and header fields that a handler sets for an HTTP answer, and their checks.

Caches may store an answer only if its method is safe and its handler sets `Cache-Control`. Only the caller may store the
answer of a method that is not public, unless the handler's `Cache-Control` names who may.

Behind a gateway a server sends status and fields in an entry of the answer's metadata: a msgpack array of the status,
the fields, and whether to compress the answer.
"""

import re

import msgspec

from fastrpc._core.payload.metadata cimport entry_of

# The HTTP statuses that a handler may set.
cdef frozenset ANSWER_STATUSES = frozenset([*range(200, 300), 301, 302, 303, 307, 308])

# Response fields that only the gateway sets, in lower case, and the prefixes of further such fields.
cdef frozenset GATEWAY_FIELDS = frozenset(
    """allow connection content-encoding content-length content-type date keep-alive retry-after trailer
    transfer-encoding upgrade www-authenticate x-content-type-options x-request-id""".split()
)
cdef tuple GATEWAY_PREFIXES = ("access-control-", "meta-", "sec-")
cdef object FIELD_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
cdef object FIELD_VALUE = re.compile("[\\t -~\x80-\xff]*")

# Fields that only handlers of safe methods may set.
cdef frozenset SAFE_FIELDS = frozenset({"cache-control", "vary"})

# DIRECTIVE: a directive of Cache-Control with its value. SHARING: the directives that state who may store an answer
# (RFC 9111, 5.2.2).
cdef object DIRECTIVE = re.compile(r"""([A-Za-z0-9!#$%&'*+.^_`|~-]+)(?:=(?:"(?:[^"\\]|\\.)*"|[^,]*))?""")
cdef frozenset SHARING = frozenset({"no-store", "private", "public", "s-maxage"})

cdef enum:
    # The longest value of a metadata entry.
    MOST_BYTES = 65_535

TOLD_KEY = b"frpc-http-bin"


cdef dict checked_answer(MethodRoute route, object status, object headers, bint is_forwarded):
    cdef dict fields = {}
    if status is not None and (type(status) is not int or status not in ANSWER_STATUSES):
        raise ValueError(f"status is {status!r}, it must be 200 to 299, 301 to 303, 307 or 308")
    for name, value in {}.items() if headers is None else headers.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"headers has {name!r}: its name and its value must be str")
        known = name.lower()
        if not FIELD_NAME.fullmatch(name) or known in GATEWAY_FIELDS or known.startswith(GATEWAY_PREFIXES):
            raise ValueError(f"headers has {name!r:.100}: the gateway sets this field, or its name is invalid")
        if not FIELD_VALUE.fullmatch(value) or value != value.strip():
            raise ValueError(f"headers: the value of {name} has CR, LF, NUL, spaces around it, or is not Latin-1")
        if known in SAFE_FIELDS and not (route is not None and route.definition.safe):
            method = "this method" if route is None else route.method
            raise ValueError(f"headers has {name!r}, which only safe methods may set: {method} is not safe")
        if known == "cache-control" and not (route.is_public or is_forwarded):
            value = _for_its_caller(value)
        fields[known] = f"{name}: {value}\r\n".encode("latin-1")
    return fields


def _for_its_caller(str value):
    """Return a Cache-Control value with `private`, unless `value` already states who may store the answer."""
    if any(found[1].lower() in SHARING for found in DIRECTIVE.finditer(value)):
        return value
    return f"private, {value}" if value else "private"


cdef list told_with(list told, int status, dict fields, object compress):
    if told is None:
        told = [0, {}, None]
    told[0] = status or told[0]
    for name, line in fields.items():
        told[1][name] = line.decode("latin-1").removesuffix("\r\n").split(": ", 1)
    told[2] = told[2] if compress is None else compress
    return told


cdef bytes told_entry(list told):
    status, fields, compress = told
    value = msgspec.msgpack.encode((status, list(fields.values()), compress))
    if len(value) > MOST_BYTES:
        raise ValueError(f"the fields of the answer by HTTP have {len(value)} bytes, at most {<int>MOST_BYTES} fit")
    return entry_of(TOLD_KEY, value)
