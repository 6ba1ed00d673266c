"""HTTP/1.1 on the server side: detection, the gateway, the fixed paths."""
