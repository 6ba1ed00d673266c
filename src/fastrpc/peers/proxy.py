"""The object that `bind` returns: the methods of a service class as attributes of a caller."""

from typing import Any

from fastrpc.config_errors import shown_at_program
from fastrpc.errors import ConfigError
from fastrpc.rpc.definition import MethodDefinition
from fastrpc.rpc.service import service_definition

__all__ = ["Proxy"]


class Proxy:
    """The methods of a service as attributes, bound to a client."""

    def __init__(self, client: Any, contract: Any) -> None:
        self.__dict__["_methods"] = {
            definition.attribute: definition for definition in service_definition(contract).methods.values()
        }
        self.__dict__["_client"] = client

    def __getattr__(self, name: str) -> Any:
        definition: MethodDefinition | None = self.__dict__["_methods"].get(name)
        if definition is None:
            raise AttributeError(
                f"no remote method {name!r}; there are {', '.join(self.__dict__['_methods'])}"
            )
        client, function = self.__dict__["_client"], definition.function
        verb = client.stream if definition.signature.has_stream_result else client.call

        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                return verb(function, *args, **kwargs)
            except ConfigError as error:
                raise shown_at_program(error)  # noqa: B904 (the same error)

        call.__name__ = name
        self.__dict__[name] = call
        return call
