"""Pages that may send a request, and the fields that tell browsers so: CORS, https://fetch.spec.whatwg.org/#cors-protocol.

Cookies are no credentials here, so no page acts with what its user's browser knows; but a server without
authentication would do what any page asks. A request of a page from elsewhere is refused, whatever its method.
"""

from fastrpc._core.http1.head cimport FIELD_ORIGIN, FIELD_SEC_FETCH_SITE, VERB_OPTIONS, is_text

cdef enum:
    # Seconds for which a browser keeps the answer to a preflight.
    KEPT_SECONDS = 600
    # The most bytes of field names that are echoed.
    MOST_NAMES = 1024

cdef frozenset NAME_BYTES = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_., ")


cdef bint takes_page(HttpService service, RequestHead head, list origin) except -1:
    cdef Py_ssize_t size = 0
    cdef const char* data = head.field_data(FIELD_ORIGIN, &size)
    cdef bytes found
    if data is not NULL:
        found = data[:size]
        if head._noted[<int>FIELD_ORIGIN].count > 1:
            return False
        if not service.is_own_origin(head, found):
            if found.lower() not in service.origins:
                return False
            origin.append(found)
            return True
    data = head.field_data(FIELD_SEC_FETCH_SITE, &size)
    return data is NULL or not is_text(data, size, b"cross-site")


cdef bint is_preflight(RequestHead head) except -1:
    return head.verb == VERB_OPTIONS and len(head.values("access-control-request-method")) > 0


cdef bytes preflight_lines(RequestHead head, bytes origin):
    cdef bytes names = ",".join(head.values("access-control-request-headers")).encode("latin-1")
    if len(names) > MOST_NAMES or not NAME_BYTES.issuperset(names):
        names = b""
    return (
        b"Access-Control-Allow-Origin: %b\r\nVary: Origin, Access-Control-Request-Headers\r\n"
        b"Access-Control-Allow-Methods: GET, HEAD, POST\r\nAccess-Control-Allow-Headers: %b\r\n"
        b"Access-Control-Max-Age: %d\r\n"
    ) % (origin, names, KEPT_SECONDS)


cdef bytes shared_lines(bytes origin, bytes metadata_fields):
    cdef list names = [b"Retry-After", b"X-Request-Id"]
    for line in metadata_fields.split(b"\r\n"):
        if line:
            names.append(line.partition(b":")[0])
    return b"Access-Control-Allow-Origin: %b\r\nVary: Origin\r\nAccess-Control-Expose-Headers: %b\r\n" % (
        origin, b", ".join(names)
    )
