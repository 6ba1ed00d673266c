"""What servers speak: each file is one protocol, told from the others by the first bytes of a connection."""
