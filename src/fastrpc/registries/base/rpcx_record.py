"""The record format of Go's rpcx: a key and a value, which are the same in Consul, etcd, ZooKeeper, and Deimos for
Phobos.

::

    <base>/<service>                          the service's name, permanent
    <base>/<service>/<network>@<host>:<port>  URL query: weight=2&group=blue&state=inactive

`group` may occur several times. The label `group` contains all values, separated by commas, such as `blue,green`.
"""

from collections.abc import Mapping
from urllib.parse import parse_qsl, urlencode

from fastrpc.endpoint import GREATEST_WEIGHT, Endpoint
from fastrpc.errors import ConfigError
from fastrpc.networks import place_name
from fastrpc.registries.base.backend import Entry
from fastrpc.registries.base.record import RECORD_BYTES, RecordError, read_texts, to_texts

__all__ = ["KEY_CHARACTERS", "RpcxRecord", "base_path", "read_rpcx_record"]

#: The most characters of a key that messages show.
KEY_CHARACTERS = 200

#: The query parameter of a record that makes clients skip the server.
_INACTIVE = ("state", "inactive")


class RpcxRecord:
    """The record of an endpoint.

    Raises:
        ConfigError: rpcx cannot hold the endpoint.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        address = endpoint.address
        if not address.host or not address.port:
            raise ConfigError(f"{address} cannot be registered for rpcx", hint="register host and port")
        #: The last part of the key.
        self.key = f"{address.scheme}@{place_name(address.host, address.port)}"
        self._texts = to_texts(endpoint)
        if (length := len(self.value(is_inactive=True))) > RECORD_BYTES:
            raise ConfigError(f"{endpoint} has a record of {length} bytes, the limit is {RECORD_BYTES}")

    def value(self, *, is_inactive: bool = False) -> bytes:
        """Return the value of the key; clients skip an inactive server."""
        return _query(self._texts, is_inactive)


def base_path(base: str) -> str:
    """Return a base path in the form of rpcx's store libraries, without a slash at either end.

    Raises:
        ConfigError: the base path is empty.
    """
    if not base.strip("/"):
        raise ConfigError("the option base is empty", hint="rpcx calls it BasePath; write base=rpcx")
    return base.strip("/")


def read_rpcx_record(key: str, value: bytes, *, wire: str = "rpcx") -> Entry | None:
    """Parse the last part of a key and its value; return None for an inactive server.

    Args:
        wire: the protocol of a record that states no protocol.
    """
    network, separator, place = key.partition("@")
    if not separator:
        return key[:KEY_CHARACTERS], RecordError("it is not network@address")
    try:
        if len(value) > RECORD_BYTES:
            raise RecordError(f"it has {len(value)} characters, the limit is {RECORD_BYTES}")
        pairs = parse_qsl(value.decode(), keep_blank_values=True)
        texts = dict(pairs)
        if (_INACTIVE[0], texts.pop(_INACTIVE[0], None)) == _INACTIVE:
            return None
        if "group" in texts:
            texts["group"] = ",".join(group for name, group in pairs if name == "group")
        texts.setdefault("protocols", wire)
        if "weight" in texts:
            texts["weight"] = _weight(texts["weight"])
        return key, read_texts(f"{network}://{place}", texts)
    except (UnicodeDecodeError, ValueError) as error:
        return key, error if isinstance(error, RecordError) else RecordError(str(error))


def _query(texts: Mapping[str, str], is_inactive: bool) -> bytes:
    # `state=inactive` is the mark of an inactive server. Any other `state` is a label.
    left_out = {"group", "state"} if is_inactive else {"group"}
    pairs = [pair for pair in texts.items() if pair[0] not in left_out]
    pairs += [("group", group) for group in texts.get("group", "").split(",") if group]
    if is_inactive:
        pairs.append(_INACTIVE)
    return urlencode(sorted(pairs)).encode()


def _weight(text: str) -> str:
    """Return a weight within our limits. Go accepts any number, and reads an invalid text as 1."""
    try:
        return str(min(max(int(text), 0), GREATEST_WEIGHT))
    except ValueError:
        return "1"
