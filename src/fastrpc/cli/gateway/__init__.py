"""`fastrpc gateway`: the command, and its options for the OpenAPI document; the rest is in `fastrpc.gateway`."""
