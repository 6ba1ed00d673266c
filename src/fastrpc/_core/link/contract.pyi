from collections.abc import Collection

from fastrpc._core.calls.call import Call

class Outcomes:
    """Sends the outcomes of calls on their connection."""

class Placing:
    """Long payloads, received into their final memory."""

class Dialect:
    """The texts and numbers that a protocol writes for a call: error texts, details, compressors."""

    def text_for_method(self, call: Call, method: str, services: Collection[str] | None) -> str | None:
        """Return the error text for an unknown method; None: the text of the dispatcher.

        Args:
            services: the services that the peer may learn; None: not any.
        """

    def text_for_codec(self, call: Call) -> str | None:
        """Return the error text for an unsupported codec; None: use the text of the dispatcher."""

    def text_for_compressor(self, call: Call) -> str | None:
        """Return the error text for an unsupported compressor; None: use the text of the dispatcher."""

    def status_of_corrupt(self, call: Call) -> int:
        """Return the status for a request, or a message of its stream, that cannot be decompressed."""

    def details_are_status(self, call: Call) -> bool:
        """Return whether the details of an error are a google.rpc.Status; if not, they have the codec of the call."""

class Forms:
    """Calls of several protocols, or with several kinds of payloads, on one connection."""

class Handling:
    """Requests that are more than one message: forms with files, streams with signs of life, mounted applications."""

class Assembling:
    """Several requests that arrive in parts at the same time, each with a sender to judge."""

class Pushing:
    """One-way calls from the server to its peer."""

class Flow:
    """Streams of messages: each side sends at the pace of its reader."""

class ContractGroups:
    """The groups of the contract that the gate asks about a call."""

    @property
    def dialect(self) -> Dialect:
        """The words of the call's protocol."""

class Goodbye:
    """Announces the end of the connection and its reason to the peer."""

class Backlog:
    """Output that waits in the wire, for credit of the peer or for its turn."""

class Wire:
    """A protocol on one connection: it parses requests and writes outcomes."""

    @property
    def protocol(self) -> str:
        """The name of the protocol."""

    @property
    def takes_values(self) -> bool:
        """Whether payloads are values, not arrays of arguments."""

    @property
    def closes_on_refusal(self) -> bool:
        """Whether a call that is refused as unauthenticated ends the connection."""

    @property
    def outlasts_input(self) -> bool:
        """Whether the connection outlasts the end of the peer's input."""

    @property
    def excludes_http(self) -> bool:
        """Whether no request can begin like HTTP, so that first bytes like HTTP's cause a warning."""

    @property
    def placing(self) -> Placing | None: ...
    @property
    def dialect(self) -> Dialect | None: ...
    @property
    def forms(self) -> Forms | None: ...
    @property
    def assembling(self) -> Assembling | None: ...
    @property
    def pushing(self) -> Pushing | None: ...
    @property
    def flow(self) -> Flow | None: ...
    @property
    def goodbye(self) -> Goodbye | None: ...
    @property
    def backlog(self) -> Backlog | None: ...
