"""`fastrpc console`: the command and its options; everything else is in `fastrpc.console`."""
