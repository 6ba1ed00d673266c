"""Calls to a watch of requests (`fastrpc.server.watching.RequestWatch`), which is None in most servers."""


cdef inline int watch_begin(object watch, object head) except -1:
    if watch is not None:
        watch.begin(head)
    return 0


cdef inline int watch_status(object watch, int status) except -1:
    if watch is not None:
        watch.note(status)
    return 0


cdef inline int watch_end(object watch) except -1:
    if watch is not None:
        watch.end()
    return 0


cdef inline int watch_refusal(object watch, int status) except -1:
    if watch is not None:
        watch.refuse(status)
    return 0


cdef inline int watch_cut(object watch) except -1:
    if watch is not None:
        watch.cut()
    return 0
