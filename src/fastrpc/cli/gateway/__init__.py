"""`fastrpc gateway`: the command, and its options for the OpenAPI document; `fastrpc.gateway` has everything else."""
