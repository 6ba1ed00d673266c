"""Services found wherever they are: in the process, on the host, on the local network, beyond."""
