"""One way of calling: a client, or a view of it with options of its own. The same for tasks and for threads.

A view is its options and a key, as a key for each call means a view for each call. Options never change, so a view
that differs in its key alone shares those it was made of. Calls hold the options and the key and let the view go; the
last view is used again once nobody has it, no attribute was set on it and no weak reference leads to it.
`with_options` reads its arguments where the interpreter has them. A view is a few per cent of a call (`make promises
ARGS=selectors`).
"""

import os
import sys
import types

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_GetItem
from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_REFCNT
from libc.stdint cimport uint8_t

from fastrpc._core.calls.call cimport Scope, current_scope
from fastrpc._core.framing.frame cimport IDEMPOTENT, STREAM_IN, STREAM_OUT
from fastrpc._core.payload.metadata cimport METADATA_OK, check_metadata, encode_metadata
from fastrpc._core.framing.settings cimport FIRST_OWN_NUMBER

from fastrpc.errors import CallError, DeadlineExceededError, EncodeError
from fastrpc.status import Status

cdef extern from "Python.h":
    ctypedef PyObject* (*PyCFunction)(PyObject*, PyObject*)
    ctypedef struct PyMethodDef:
        const char* ml_name
        PyCFunction ml_meth
        int ml_flags
        const char* ml_doc
    int METH_FASTCALL, METH_KEYWORDS
    object PyDescr_NewMethod(PyTypeObject* kind, PyMethodDef* definition)
    void PyType_Modified(PyTypeObject* kind)
    int PyObject_GenericSetAttr(object instance, object name, object value) except -1
    PyObject** PyObject_GET_WEAKREFS_LISTPTR(object instance)
    bint PyIter_Check(object value) noexcept
    bint PyAIter_Check(object value) noexcept

cdef enum:
    # PROTOCOL.md, "Settings": what a server takes until it says otherwise.
    METADATA_FLOOR = 8_192
    # The time that is left travels in microseconds, rounded down; without one the call is not sent.
    LEAST_NS = 1_000

cdef object MethodType = types.MethodType

# As names of arguments are: the very same object where it is written out.
cdef str HASH_KEY = sys.intern("hash_key")

# Raised in a child by each fork; what was used before refuses to be used after.
cdef uint64_t generation = 1


def _forked():
    global generation
    generation += 1


os.register_at_fork(after_in_child=_forked)


cdef uint64_t fork_generation() noexcept:
    """How many forks this process is away from the first one, and 1."""
    return generation


def process_generation():
    """Return how many forks this process is away from the first one, and 1."""
    return generation


cdef class ViewState:
    """What a client and its views share."""

    def __init__(self, resolve):
        self.resolve = resolve
        self.routes = {}

    def routes_of(self, codec):
        """The {method: Route} of a codec; it fills as methods are called."""
        return self.routes.setdefault(codec, {})


@cython.final
cdef class ViewOptions:
    """The options of a client or a view; views of them that have a key of their own and nothing else share them."""

    cdef ViewOptions changed(self, dict options):
        """The same, with those of `options`, which were checked, in place of its own."""
        cdef ViewOptions new = ViewOptions.__new__(ViewOptions)
        new.shared = self.shared
        new.codec = self.codec
        if "codec" in options:
            new.codec = options["codec"] or self.shared.default_codec
        new.routes = self.shared.routes_of(new.codec)
        new.has_timeout = self.has_timeout
        new.timeout_ns = self.timeout_ns
        if "timeout" in options:
            new.has_timeout = True
            seconds = options["timeout"]
            new.timeout_ns = 0 if seconds is None else max(1, int(seconds * 1e9))
        new.metadata = self.metadata
        new.sent_metadata = self.sent_metadata
        if "metadata" in options:
            added = options["metadata"]
            if added is None:
                new.metadata = None
            elif added:
                new.metadata = {**(self.metadata or {}), **added}
            new.sent_metadata = encode_metadata(new.metadata) if new.metadata else None
        new.compressor = options.get("compressor", self.compressor)
        new.priority = options.get("priority", self.priority)
        new.idempotent = options.get("idempotent", self.idempotent)
        new.wait_for_ready = options.get("wait_for_ready", self.wait_for_ready)
        new.fail_mode = options.get("fail_mode", self.fail_mode)
        new.endpoint = options.get("endpoint", self.endpoint)
        new.running = options.get("running", self.running)
        new.needs_runner = new.wait_for_ready or new.fail_mode is not None or new.endpoint is not None
        return new

    cdef uint64_t timeout_of(self, Route route) noexcept:
        """The time of one call, in nanoseconds; 0: no limit."""
        if self.has_timeout:
            return self.timeout_ns
        if route.timeout_ns or route.flags & (STREAM_IN | STREAM_OUT):
            return route.timeout_ns
        return self.shared.default_timeout_ns

    cdef int apply_options(self, PendingCall call, Route route, uint64_t now) except -1:
        """Give a call its options and its deadline; raises when nothing of its time is left."""
        cdef Scope scope
        cdef uint64_t timeout
        call.route = route
        call.is_local = True
        call.flags = route.flags
        if self.idempotent is not None:
            call.flags = (call.flags & ~IDEMPOTENT) | (IDEMPOTENT if self.idempotent else 0)
        call.codec = <uint8_t>route.marshal.codec_id
        call.priority = self.priority
        if call.sent_metadata is None:
            call.sent_metadata = self.sent_metadata
        call.started_ns = now
        call.numbers = self.shared.numbers
        call.message_limit = self.shared.message_limit
        timeout = self.timeout_of(route)
        # Attempts of one call share its deadline, which stands there already.
        if timeout and now + timeout < call.deadline_ns:
            call.deadline_ns = now + timeout
        scope = current_scope()
        if scope is not None:
            call.deadline_ns = min(call.deadline_ns, scope.deadline_ns)
            if scope.attempt_number:
                call.is_inside_retry = True
        if call.deadline_ns < now + LEAST_NS:
            raise DeadlineExceededError(
                f"{route.method}: the deadline has passed; the call was not sent", processed="no"
            )
        return 0

    cdef int copy_options(self, PendingCall call, PendingCall other) noexcept:
        """Give a call the options and the deadline of another one of the same batch."""
        call.route = other.route
        call.is_local = True
        call.flags = other.flags
        call.codec = other.codec
        call.priority = other.priority
        call.sent_metadata = other.sent_metadata
        call.started_ns = other.started_ns
        call.numbers = other.numbers
        call.message_limit = other.message_limit
        call.deadline_ns = other.deadline_ns
        call.is_inside_retry = other.is_inside_retry
        return 0

    cdef bytes pack(self, PendingCall call, bytes payload, Settings peer, bint is_ready):
        """Compress a payload when the view asks for it, the peer takes it and it pays; name its codec as the peer does."""
        cdef uint8_t number
        cdef bytes smaller
        if call.codec >= FIRST_OWN_NUMBER:
            name_codec(call, peer)
        compressor = self.compressor
        if compressor is None or PyBytes_GET_SIZE(payload) <= self.shared.compress_above or not is_ready:
            return payload
        try:
            smaller = peer.compressed(compressor, compressor.wire_id, payload, &number)
        except Exception as error:  # An installed compressor may raise anything.
            raise EncodeError(
                f"the arguments of {call.route.method} cannot be compressed by {compressor.name}: {error!r}"
            ) from error
        if smaller is None:
            return payload
        call.compressor = number
        return smaller


cdef int name_codec(PendingCall call, Settings peer) except -1:
    """Give a call the number by which the peer knows its codec."""
    cdef str name = call.route.marshal.coders.codec
    cdef int number = peer.codec_number(call.codec, name)
    if number < 0:
        raise CallError(
            Status.UNIMPLEMENTED,
            f"{call.route.method}: codec {name!r} is not accepted there, only {', '.join(peer.codecs.values())}",
            processed="no",
        )
    call.codec = <uint8_t>number
    return 0


cdef class CallerView:
    """The options of calls, and what they do to one."""

    def _share(self, ViewState state not None, str codec not None):
        """Become the front of a state, with no options of its own."""
        cdef ViewOptions none = ViewOptions.__new__(ViewOptions)
        none.shared = state
        state.default_codec = codec
        self.options = none.changed({"codec": codec})

    cdef CallerView view_with(self, dict options):
        """A view of this one; what is left out is inherited."""
        cdef CallerView view
        options = self.options.shared.check(options)
        view = self.new_view()
        view.options = self.options.changed(options)
        view.hash_key = options.get("hash_key", self.hash_key)
        return view

    cdef CallerView new_view(self):
        """A view that is to be given its options: the last one again, if nobody has it any more.

        A new one each time costs 540 instructions more (`make guard`, raw echo with a view each), 3.5 % of a call.
        """
        cdef ViewState state = self.options.shared
        cdef CallerView view = state.last_view
        cdef type kind = type(self)
        cdef tuple nothing = ()
        # The state's reference and ours. What others wrote on it, or remember it by, is not for whoever comes next.
        if (
            view is not None
            and Py_REFCNT(view) == 2
            and type(view) is kind
            and not view.was_written
            and PyObject_GET_WEAKREFS_LISTPTR(view)[0] is NULL
        ):
            return view
        # As `type(self).__new__`, and in less time. A class of the user's may make of it what it likes.
        view = <CallerView?>(<PyTypeObject*>kind).tp_new(kind, <PyObject*>nothing, NULL)
        view.is_view = True
        if kind is state.kind:
            state.last_view = view
        return view

    def __setattr__(self, name, value):
        self.was_written = True
        PyObject_GenericSetAttr(self, name, value)

    def _set_options(self, dict options not None):
        """Take options over that were checked."""
        self.options = self.options.changed(options)

    @property
    def _is_view(self):
        return self.is_view

    @property
    def _options(self):
        return self.options

    @property
    def codec(self):
        return self.options.codec

    @property
    def metadata(self):
        return self.options.metadata

    @property
    def compressor(self):
        return self.options.compressor

    @property
    def priority(self):
        return self.options.priority

    @property
    def idempotent(self):
        return self.options.idempotent

    @property
    def wait_for_ready(self):
        return self.options.wait_for_ready

    @property
    def fail_mode(self):
        return self.options.fail_mode

    @property
    def endpoint(self):
        return self.options.endpoint

    def _seconds_for(self, method):
        """Return how many seconds a call of a method has, or None."""
        cdef uint64_t timeout = self.options.timeout_of(self.route_of(method))
        return timeout / 1e9 if timeout else None

    cdef Route route_of(self, object method):
        cdef ViewOptions options = self.options
        cdef PyObject* found
        if type(method) is MethodType:
            method = method.__func__
        found = PyDict_GetItem(options.routes, method)
        if found is not NULL:
            return <Route>found
        route = options.shared.resolve(method, options.codec)
        options.routes[method] = route
        return <Route>route


cdef object with_options(CallerView self, PyObject** values, Py_ssize_t count, PyObject* names):
    """`CallerView.with_options`, without the dict that `**options` makes: a key for each call is a view for each call.

    A method with `**options` costs 650 instructions more (`make guard`, raw echo with a view each), 4 % of the 15,400 of a
    call on both sides; as a function of Cython's own, which `inspect` reads by itself, 1,340.

    The interpreter holds all of it for the length of the call, and saw that `self` is a CallerView.
    """
    cdef CallerView view
    cdef Py_ssize_t i
    if count:
        raise TypeError(f"with_options() takes options by name, {count} came without")
    options = () if names is NULL else <tuple>names
    if len(options) == 1 and options[0] is HASH_KEY and is_key(<object>values[0]):
        view = self.new_view()
        view.options = self.options
        view.hash_key = <object>values[0]
        return view
    return self.view_with({options[i]: <object>values[i] for i in range(len(options))})


cdef inline bint is_key(object key) noexcept:
    """Whether it needs no further check; a class derived from one of these may be anything."""
    return type(key) is str or type(key) is int or type(key) is bytes


# Its first lines are what `inspect.signature` reads.
cdef const char* with_options_text = b"""with_options($self, /, **options)
--

Return a light view of this client whose calls differ in what is given here.

What is left out is inherited, None means none; views chain and can be kept. Metadata is merged.

Args:
    timeout: seconds for one call.
    metadata: text values, or bytes under keys that end in `-bin`.
    codec, compressor: by name.
    priority: 0 normal, 1 sheddable, 2 high; not yet: anything but 0 is refused.
    idempotent: whether the server may run the call twice.
    wait_for_ready: wait, deadline running, while no server can be reached.
    fail_mode: what follows a failed attempt, by name or as an object; a SyncClient refuses `"failbackup"`.
    hash_key: calls with the same key go to the same endpoint, if the selector looks at keys.
    endpoint: the one to call, and no other.
"""

cdef PyMethodDef with_options_method = [
    "with_options", <PyCFunction><void*>with_options, METH_FASTCALL | METH_KEYWORDS, with_options_text
]
(<dict>(<PyTypeObject*>CallerView).tp_dict)["with_options"] = PyDescr_NewMethod(
    <PyTypeObject*>CallerView, &with_options_method
)
PyType_Modified(<PyTypeObject*>CallerView)


cdef int count_start(PendingCall call, bytes payload) noexcept:
    """Count a call that goes out now."""
    call.route.counters.started()
    call.route.counters.moved(0, PyBytes_GET_SIZE(payload))
    call.route.totals.started(call.attempt_number != 0, PyBytes_GET_SIZE(payload))
    call.is_counted = True
    return 0


cdef object unknown_of_batch(dict unknown):
    """The error of a batch that was given an argument which `call_many` does not have."""
    name = next(iter(unknown))
    return TypeError(
        f"call_many() has no argument {name!r} (it has return_exceptions; an option of calls is given as "
        f"client.with_options({name}=…).call_many(…), arguments of a call in its tuple)"
    )


cdef list argument_tuples_of(object given, dict unknown):
    """The argument tuples of a batch, which may come from any iterable; each one a tuple or a list."""
    cdef list found
    cdef Py_ssize_t i
    if unknown:
        raise unknown_of_batch(unknown)
    if not hasattr(given, "__iter__"):
        raise TypeError(
            f"call_many() takes a list with a tuple of arguments for each call, not {given!r}: write [(1, 2), (3, 4)]"
        )
    found = list(given)
    for i in range(len(found)):
        one = found[i]
        if type(one) is tuple:
            continue
        if not isinstance(one, (tuple, list)):
            # Taken apart, a text would be a tuple of characters.
            raise TypeError(
                f"call_many() takes a tuple of arguments for each call; item {i} is of type {type(one).__name__}: "
                f"write (value,) for one argument"
            )
        found[i] = tuple(one)
    return found


cdef tuple checked_item(list argument_tuples, Py_ssize_t index):
    """The arguments of one call of a batch."""
    if argument_tuples is None or not 0 <= index < len(argument_tuples):
        raise IndexError(f"the batch has no call {index}")
    return <tuple>argument_tuples[index]


cdef bint over_floor(bytes metadata) except -1:
    """Whether metadata is more than every server takes before it has said how much it takes."""
    return metadata is not None and check_metadata(
        PyBytes_AS_STRING(metadata), PyBytes_GET_SIZE(metadata), METADATA_FLOOR
    ) != METADATA_OK


cdef bint is_iterator(object value) noexcept:
    return PyIter_Check(value) or PyAIter_Check(value)


cdef bint holds_iterator(tuple args, dict kwargs) noexcept:
    """Whether one of the arguments of a method known by its name gives messages: no codec takes an iterator as a value."""
    for value in args:
        if is_iterator(value):
            return True
    if kwargs:
        for value in kwargs.values():
            if is_iterator(value):
                return True
    return False


def split_iterator(tuple args not None, dict kwargs):
    """Return the arguments of a method known by its name without the iterator among them, and that or None."""
    cdef Py_ssize_t at
    for at in range(len(args)):
        if is_iterator(args[at]):
            return args[:at] + args[at + 1:], dict(kwargs or {}), args[at]
    for name, value in (kwargs or {}).items():
        if is_iterator(value):
            return args, {key: kept for key, kept in kwargs.items() if key != name}, value
    return args, dict(kwargs or {}), None
