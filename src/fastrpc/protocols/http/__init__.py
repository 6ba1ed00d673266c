"""HTTP/1.1 on the server side: detection, the gateway, what is at fixed paths."""
