"""The compiled base of `Client`: its verbs, and the plain path of a call.

::

    client.call(Arith.mul, 6, 7)        Caller.call        makes a AwaitedCall: a coroutine object, nothing is sent yet
    await …                             AwaitedCall.begin   with a connection at hand: encodes and sends at once
                                        CallerState.runner otherwise

The runner (`fastrpc.client`) is a Python coroutine that the call delegates to: no connection yet, interceptors, a selector,
a retry.
"""

from fastrpc._core.client.awaited_batch cimport new_batch
from fastrpc._core.client.caller_view cimport VERB_CALL, VERB_NOTIFY, VERB_REQUEST, argument_tuples_of


cdef class Caller(CallerView):
    """The compiled part of Client: the verbs whose every call counts."""

    @property
    def _state(self):
        """The state that the client and its views share."""
        return self.options.shared

    cdef AwaitedCall new_call(self, object method, tuple args, dict kwargs, int verb):
        cdef AwaitedCall call = AwaitedCall.__new__(AwaitedCall)
        call.route = self.route_of(method)
        call.options = self.options
        call.hash_key = self.hash_key
        call.args = args
        call.kwargs = kwargs
        call.verb = verb
        return call

    # The verbs

    def call(self, method, /, *args, **kwargs):
        """Call a method and return its answer.

        Give the method as `Arith.mul`, which types arguments and result, or by its full name, `"arith.mul"`. It may
        take as many seconds as `with_options(timeout=)`, the method or `Timeouts.call` says, the first that is set.
        It returns a coroutine: nothing is sent before it is awaited.

        Raises:
            TypeError: arguments do not fit the method's signature; nothing was sent.
            CallError: the server refused, or the handler failed.
            DeadlineExceededError: the time was over, here or there.
            UnavailableError: no answer can be had now; `retryable` and `processed` say what that means.
            EncodeError: an argument cannot be encoded, or is too large.
            DecodeError: the answer does not fit the method's annotation.
            RuntimeError: the client belongs to another loop, or to the process before a fork.
        """
        return self.new_call(method, args, kwargs, VERB_CALL)

    def request(self, method, /, *args, **kwargs):
        """Call a method and return its answer with metadata, endpoint, attempts and seconds.

        Otherwise as `call`, errors included.
        """
        return self.new_call(method, args, kwargs, VERB_REQUEST)

    def notify(self, method, /, *args, **kwargs):
        """Call a method without an answer; done when the bytes are handed over.

        The caller does not learn whether the handler ran or failed; errors on this side are raised as for `call`.
        """
        return self.new_call(method, args, kwargs, VERB_NOTIFY)

    def call_many(self, method, arguments, /, *, bint return_exceptions=False, **unknown):
        """Call a method once for each tuple of arguments: one write, one wake-up, answers in order.

        Without `return_exceptions` the first error is raised after all calls ended; with it errors stand in
        the list. The time of one `call` is there for all of them together.
        """
        cdef list given = argument_tuples_of(arguments, unknown)
        cdef AwaitedCall batch = new_batch(given, return_exceptions)
        batch.route = self.route_of(method)
        batch.options = self.options
        batch.hash_key = self.hash_key
        return batch
