"""The parts of a server that verify credentials and apply policies."""
