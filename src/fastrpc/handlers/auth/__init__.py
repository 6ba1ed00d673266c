"""Who calls, and what a caller may call: the parts of a server that verify credentials and apply policies."""
