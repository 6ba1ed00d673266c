"""What reads and writes sockets: the session of an event loop, direct system calls."""
