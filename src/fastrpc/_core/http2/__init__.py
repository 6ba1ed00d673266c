"""The parts of HTTP/2 (RFC 9113) and HPACK (RFC 7541), sans-IO: header blocks, frames, settings, windows, streams."""
