"""Reading and writing sockets: the session of an event loop, direct system calls."""
