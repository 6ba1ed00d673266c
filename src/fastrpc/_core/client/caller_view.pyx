"""Callers: a client, or a view of it with its own options. The same code serves tasks and threads.

A view consists of its options and a hash key. Programs that give a key with each call make a view for each call, so
views are cheap: options never change, and a view that differs only in its key shares them with its parent; calls hold
the options and the key, not the view; the last view is reused if nothing refers to it and no user has set an attribute
on it; `with_options` reads its arguments in place, from the interpreter's stack. A view costs a few per cent of a call
(`make promises ARGS=selectors`).
"""

import os
import sys
import types

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_Clear, PyErr_ExceptionMatches, PyErr_Occurred
from cpython.object cimport PyObject, PyObject_GenericSetAttr, PyTypeObject
from cpython.ref cimport Py_REFCNT
from libc.stdint cimport uint8_t

from fastrpc._core.loop.turns cimport SLICED_ABOVE
from fastrpc._core.payload.metadata cimport METADATA_OK, check_metadata, encode_metadata
from fastrpc._core.wire.frame cimport STREAM_IN, STREAM_OUT
from fastrpc._core.wire.settings cimport FIRST_OWN_NUMBER

from fastrpc.config_errors import shown_at_program
from fastrpc.errors import CallError, ConfigError, EncodeError
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
    PyObject* borrowed_entry "PyDict_GetItemWithError"(dict entries, object key) noexcept
    object PyObject_Vectorcall(object called, PyObject** values, size_t count, PyObject* names)
    PyObject** PyObject_GET_WEAKREFS_LISTPTR(object instance)
    bint PyIter_Check(object value) noexcept
    ctypedef struct PyAsyncMethods:
        void* am_aiter
    ctypedef struct ObjectType "PyTypeObject":
        PyAsyncMethods* tp_as_async
    ObjectType* type_of "Py_TYPE"(object value) noexcept

cdef enum:
    # The limit of a server until its SETTINGS arrive (PROTOCOL.md, "Settings").
    METADATA_FLOOR = 8_192

cdef object MethodType = types.MethodType

# Interned like argument names in source code, so that a comparison by identity finds it.
cdef str HASH_KEY = sys.intern("hash_key")

# Incremented by each fork in the child: objects used before the fork refuse further use.
cdef uint64_t generation = 1


def _forked():
    global generation
    generation += 1


os.register_at_fork(after_in_child=_forked)


cdef uint64_t fork_generation() noexcept:
    """Return the number of forks between the first process and this one, plus 1."""
    return generation


def process_generation():
    """Return the number of forks between the first process and this one, plus 1."""
    return generation


cdef PyObject* entry_of(dict entries, object key) except? NULL:
    """Return the value of a key, borrowed; NULL if it is missing or cannot be a key of a dict."""
    cdef PyObject* found = borrowed_entry(entries, key)
    if found is NULL and PyErr_Occurred() is not NULL and PyErr_ExceptionMatches(TypeError):
        PyErr_Clear()
    return found


cdef class ViewState:
    """The state that a client and its views share."""

    def __init__(self, resolve):
        self.resolve = resolve
        self.routes = {}

    cdef bint takes_slow_path(self) except -1:
        """Return whether the next call needs the runner even if a connection is open."""
        return self.needs_runner or (self.chain is not None and self.chain.concerns(None))

    def routes_of(self, codec):
        """Return the routes of a codec by method; they are added when methods are called."""
        return self.routes.setdefault(codec, {})


@cython.final
cdef class ViewOptions:
    """The options of a client or a view; views that differ only in their key share them."""

    cdef ViewOptions changed(self, dict options):
        """Return a copy with the given, already checked options replaced."""
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
        new.prefer = options.get("prefer", self.prefer)
        if new.endpoint is not None and new.prefer is not None:
            raise ConfigError("endpoint and prefer are given, and a call goes to one endpoint", hint="leave one of them out")
        new.running = options.get("running", self.running)
        new.needs_runner = (
            new.wait_for_ready or new.fail_mode is not None or new.endpoint is not None or new.prefer is not None
        )
        return new

    cdef uint64_t timeout_of(self, MethodRoute route) noexcept:
        """Return the timeout of one call in nanoseconds; 0 means no limit."""
        if self.has_timeout:
            return self.timeout_ns
        if route.timeout_ns or route.flags & (STREAM_IN | STREAM_OUT):
            return route.timeout_ns
        return self.shared.default_timeout_ns

    cdef bint packs_later(self, bytes payload, WireSettings peer, bint is_ready) except -1:
        """Return whether a payload is so long that it has to be compressed in slices."""
        compressor = self.compressor
        return (
            compressor is not None
            and PyBytes_GET_SIZE(payload) > max(self.shared.compress_above, <Py_ssize_t>SLICED_ABOVE)
            and is_ready
            and peer.compressor_number(compressor.wire_id, compressor.name) >= 0
        )

    cdef bint needs_settings(self, MethodRoute route, bytes metadata) except -1:
        """Return whether a call waits for the peer's SETTINGS; `metadata` is the call's, None: the options' metadata.

        Before SETTINGS the compressor, the number of an installed codec and the peer's limit of metadata are unknown.
        """
        if metadata is None:
            metadata = self.sent_metadata
        return (
            self.compressor is not None
            or route.marshal.codec_id >= FIRST_OWN_NUMBER
            or (
                metadata is not None
                and check_metadata(PyBytes_AS_STRING(metadata), PyBytes_GET_SIZE(metadata), METADATA_FLOOR) != METADATA_OK
            )
        )

    # The payload of a request in the form that its peer accepts

    cdef bytes pack(self, Call call, bytes payload, WireSettings peer, bint is_ready):
        """Set the peer's number of the codec; compress if the options ask for it, the peer accepts it and it helps."""
        cdef uint8_t number = 0
        cdef bytes smaller
        if call.codec >= FIRST_OWN_NUMBER:
            _name_codec(self, call, peer)
        compressor = self.compressor
        if compressor is None or PyBytes_GET_SIZE(payload) <= self.shared.compress_above or not is_ready:
            return payload
        try:
            smaller = peer.compressed(compressor, compressor.wire_id, payload, &number)
        except Exception as error:  # An installed compressor may raise anything.
            raise self.unpackable(call.route, error) from error
        if smaller is None:
            return payload
        call.compressor = number
        return smaller

    cdef bytes pack_for_stream(self, Call call, bytes payload, WireSettings peer, bint is_ready):
        """Encode the arguments of a stream. Messages may be compressed only if the REQUEST is, so short ones are, too."""
        cdef int number
        payload = self.pack(call, payload, peer, is_ready)
        compressor = self.compressor
        if compressor is None or call.compressor or not is_ready:
            return payload
        number = peer.compressor_number(compressor.wire_id, compressor.name)
        if number < 0:
            return payload
        call.compressor = <uint8_t>number
        return bytes(compressor.compress(payload))

    cdef int take_packed(self, Call call, WireSettings peer, bint is_smaller) except -1:
        """Set the peer's number of the codec and, if the payload is compressed, of the compressor."""
        compressor = self.compressor
        if call.codec >= FIRST_OWN_NUMBER:
            _name_codec(self, call, peer)
        if is_smaller:
            call.compressor = <uint8_t>peer.compressor_number(compressor.wire_id, compressor.name)
        return 0

    cdef object unpackable(self, MethodRoute route, object error):
        """Return the error of arguments that cannot be compressed."""
        return EncodeError(f"the arguments of {route.method} cannot be compressed by {self.compressor.name}: {error!r}")


cdef int _name_codec(ViewOptions options, Call call, WireSettings peer) except -1:
    """Set the number of the codec as the peer numbers it."""
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
    """A client, or a view of it with its own options."""

    def _share(self, ViewState state not None, str codec not None):
        """Attach to a state, without options."""
        cdef ViewOptions none = ViewOptions.__new__(ViewOptions)
        none.shared = state
        state.default_codec = codec
        self.options = none.changed({"codec": codec})

    cdef CallerView view_with(self, dict options):
        """Return a view of this caller; options left out are inherited."""
        cdef CallerView view
        try:
            options = self.options.shared.check(options)
            changed = self.options.changed(options)
        except (ConfigError, TypeError) as error:
            raise shown_at_program(error)
        view = self.new_view()
        view.options = changed
        view.hash_key = options.get("hash_key", self.hash_key)
        return view

    cdef CallerView new_view(self):
        """Return a view whose options are not set yet: the last view if it is unused, otherwise a new one.

        A new view for each call would cost 540 more instructions (`make guard`, raw echo with a view each), 3.5 % of a call.
        """
        cdef ViewState state = self.options.shared
        cdef CallerView view = state.last_view
        cdef type kind = type(self)
        cdef tuple nothing = ()
        # Two references: the state's and this one. A view with attributes or weak references is not reused.
        if (
            view is not None
            and Py_REFCNT(view) == 2
            and type(view) is kind
            and not view.was_written
            and PyObject_GET_WEAKREFS_LISTPTR(view)[0] is NULL
        ):
            return view
        # Faster than `type(self).__new__`. A derived class may define its own `__new__`.
        view = <CallerView?>(<PyTypeObject*>kind).tp_new(kind, <PyObject*>nothing, NULL)
        view.is_view = True
        if kind is state.kind:
            state.last_view = view
        return view

    def __setattr__(self, name, value):
        self.was_written = True
        PyObject_GenericSetAttr(self, name, value)

    def _set_options(self, dict options not None):
        """Set options that were checked."""
        self.options = self.options.changed(options)

    @property
    def _is_view(self):
        return self.is_view

    @property
    def _options(self):
        return self.options

    @property
    def _state(self):
        return self.options.shared

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
        """Return the timeout of a call of a method in seconds, or None."""
        cdef uint64_t timeout = self.options.timeout_of(self.route_of(method))
        return timeout / 1e9 if timeout else None

    cdef MethodRoute route_of(self, object method):
        cdef ViewOptions options = self.options
        cdef PyObject* found
        if type(method) is MethodType:
            method = method.__func__
        found = entry_of(options.routes, method)
        if found is not NULL:
            return <MethodRoute>found
        route = options.shared.resolve(method, options.codec)
        options.routes[method] = route
        return <MethodRoute>route


cdef object with_options(CallerView self, PyObject** values, Py_ssize_t count, PyObject* names):
    """`CallerView.with_options` by vectorcall, without the dict of `**options`: a key for each call means a view for each.

    A method with `**options` costs 650 more instructions (`make guard`, raw echo with a view each), 4 % of the 15,400 of a
    call on both sides. A Cython function that `inspect` can read by itself costs 1,340 more.

    The interpreter holds all arguments during the call, and has checked that `self` is a CallerView.
    """
    cdef CallerView view
    cdef Py_ssize_t i
    if count:
        raise TypeError(f"with_options() takes options by name only, {count} are positional")
    options = () if names is NULL else <tuple>names
    if len(options) == 1 and options[0] is HASH_KEY and is_key(<object>values[0]):
        view = self.new_view()
        view.options = self.options
        view.hash_key = <object>values[0]
        return view
    return self.view_with({options[i]: <object>values[i] for i in range(len(options))})


cdef inline bint is_key(object key) noexcept:
    """Return whether an option needs no further check: its type is exactly one of these, not a subclass."""
    return type(key) is str or type(key) is int or type(key) is bytes


# `inspect.signature` reads the first lines.
cdef const char* with_options_text = b"""with_options($self, /, **options)
--

Return a light view of this client with other options for its calls.

Options left out are inherited, None removes one; views chain and can be kept. Metadata is merged.

Args:
    timeout: seconds for one call.
    metadata: text values, or bytes under keys that end in `-bin`.
    codec, compressor: by name.
    priority: 0 normal; 1 sheddable, refused first by a busy server; 2 high, first among its client's calls.
    idempotent: whether the server may run the call twice.
    wait_for_ready: wait within the deadline while no server is reachable.
    fail_mode: the rule for failed attempts, by name or as an object; a SyncClient refuses `"failbackup"`.
    hash_key: calls with the same key use the same endpoint, if the selector uses keys.
    endpoint: the only endpoint to call.
    prefer: the endpoint to call while it is listed and sound, such as `reply.endpoint`.
"""

cdef PyMethodDef with_options_method = [
    "with_options", <PyCFunction><void*>with_options, METH_FASTCALL | METH_KEYWORDS, with_options_text
]
(<dict>(<PyTypeObject*>CallerView).tp_dict)["with_options"] = PyDescr_NewMethod(
    <PyTypeObject*>CallerView, &with_options_method
)
PyType_Modified(<PyTypeObject*>CallerView)


cdef class ServiceCalls:
    """The verb `call` of a client of many services: each method is called by the client of its service.

    A derived class has `_call_of(method)`, which returns that verb for a method that `_calls` does not have.
    """


cdef object call_by_method(ServiceCalls self, PyObject** values, Py_ssize_t count, PyObject* names):
    """`ServiceCalls.call` by vectorcall: arguments are passed on in place. In Python it took 15 % of a call's rate."""
    cdef dict calls = self._calls
    cdef PyObject* found = NULL
    if not count:
        raise TypeError("call() takes the method as its first argument, by position")
    if calls is not None:
        found = entry_of(calls, <object>values[0])
    call = self._call_of(<object>values[0]) if found is NULL else <object>found
    return PyObject_Vectorcall(call, values, count, names)


cdef const char* call_text = b"""call($self, method, /, *args, **kwargs)
--

Call a method and return its answer, as `call` of the client of its service does.
"""

cdef PyMethodDef call_method = [
    "call", <PyCFunction><void*>call_by_method, METH_FASTCALL | METH_KEYWORDS, call_text
]
(<dict>(<PyTypeObject*>ServiceCalls).tp_dict)["call"] = PyDescr_NewMethod(<PyTypeObject*>ServiceCalls, &call_method)
PyType_Modified(<PyTypeObject*>ServiceCalls)


cdef object unknown_of_batch(dict unknown):
    """Return the error for an argument that `call_many` does not have."""
    name = next(iter(unknown))
    return TypeError(
        f"call_many() has no argument {name!r} (it has return_exceptions; an option of calls is given as "
        f"client.with_options({name}=…).call_many(…), arguments of a call in its tuple)"
    )


cdef list argument_tuples_of(object given, dict unknown):
    """Return the argument tuples of a batch from any iterable; each item is a tuple or a list."""
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
            # A text is iterable, too: it would become a tuple of characters.
            raise TypeError(
                f"call_many() takes a tuple of arguments for each call; item {i} is of type {type(one).__name__}: "
                f"write (value,) for one argument"
            )
        found[i] = tuple(one)
    return found


cdef bint is_iterator(object value) noexcept:
    cdef PyAsyncMethods* methods = type_of(value).tp_as_async
    # An asynchronous iterable counts too. Another iterable does not: it may be a value, such as a list.
    return PyIter_Check(value) or methods is not NULL and methods.am_aiter is not NULL


cdef bint holds_iterator(tuple args, dict kwargs) noexcept:
    """Return whether an argument of a method known by name is an iterator of messages, which no codec encodes."""
    for value in args:
        if is_iterator(value):
            return True
    if kwargs:
        for value in kwargs.values():
            if is_iterator(value):
                return True
    return False


def split_iterator(tuple args not None, dict kwargs):
    """Return the arguments of a method known by its name without the iterator among them, and the iterator or None."""
    cdef Py_ssize_t at
    for at in range(len(args)):
        if is_iterator(args[at]):
            return args[:at] + args[at + 1:], dict(kwargs or {}), args[at]
    for name, value in (kwargs or {}).items():
        if is_iterator(value):
            return args, {key: kept for key, kept in kwargs.items() if key != name}, value
    return args, dict(kwargs or {}), None


def add_entry(CallerView view not None, bytes entry not None):
    cdef ViewOptions options = view.options.changed({})
    options.sent_metadata = (options.sent_metadata or b"") + entry
    view.options = options
