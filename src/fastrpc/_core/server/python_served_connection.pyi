from fastrpc._core.link.contract import Outcomes
from fastrpc._core.link.failure import Failure
from fastrpc._core.server.served_call import ServerCall
from fastrpc._core.server.served_connection import ServedConnection

class PythonServedConnection(ServedConnection):
    """The served calls of one connection, whose outcomes are passed to methods in Python."""

    def answer(self, call: ServerCall, payload: bytes) -> None:
        """Send the result of a call: `payload`, encoded in its codec, and `call.reply_metadata`."""

    def fail(self, call: ServerCall, failure: Failure) -> None:
        """Send the failure of a call."""

    def refuse(self, call: ServerCall, status: int, text: str, is_faulty: bool) -> None:
        """Send the refusal of a call that was not started; the default calls `fail`. A one-way call is dropped.

        Args:
            is_faulty: whether a retry of the same call would fail as well.
        """

    def hold(self, call: ServerCall) -> None:
        """Note that a call is not answered in this turn. Until it is answered, a cancellation has to find it."""

    def release(self, call: ServerCall) -> None:
        """Note the end of a one-way call, which has no answer."""

class PythonOutcomes(Outcomes):
    """Passes the outcome of a call to the Python methods of its connection."""
