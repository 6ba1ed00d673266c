"""`fastrpc console`: the command and its options; `fastrpc.console` has all else."""
