"""A client of TLS 1.3 that updates its keys again and again: records that bring no data.

Python's `ssl` cannot ask for that, so this uses the library below it.
"""

import ctypes
import ctypes.util
import socket

__all__ = ["key_updates"]

_BIO_PENDING = 10


def _library() -> tuple[ctypes.CDLL, ctypes.CDLL]:
    tls = ctypes.CDLL(ctypes.util.find_library("ssl"))
    crypto = ctypes.CDLL(ctypes.util.find_library("crypto"))
    for name in ("TLS_client_method", "SSL_CTX_new", "SSL_new"):
        getattr(tls, name).restype = ctypes.c_void_p
    for name in ("BIO_new", "BIO_s_mem"):
        getattr(crypto, name).restype = ctypes.c_void_p
    tls.SSL_CTX_new.argtypes = tls.SSL_new.argtypes = [ctypes.c_void_p]
    tls.SSL_set_fd.argtypes = tls.SSL_key_update.argtypes = [ctypes.c_void_p, ctypes.c_int]
    tls.SSL_connect.argtypes = tls.SSL_do_handshake.argtypes = [ctypes.c_void_p]
    tls.SSL_write.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]
    tls.SSL_set_alpn_protos.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint]
    tls.SSL_set0_wbio.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    crypto.BIO_new.argtypes = [ctypes.c_void_p]
    crypto.BIO_ctrl.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_void_p]
    crypto.BIO_read.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]
    return tls, crypto


def key_updates(connection: socket.socket, first: bytes, count: int) -> bytes:
    """Shake hands on a blocking socket and send the first bytes; return so many updates of keys, ready to be sent."""
    tls, crypto = _library()
    session = tls.SSL_new(tls.SSL_CTX_new(tls.TLS_client_method()))
    name = b"fastrpc/1"
    tls.SSL_set_alpn_protos(session, bytes([len(name)]) + name, len(name) + 1)
    tls.SSL_set_fd(session, connection.fileno())
    if tls.SSL_connect(session) != 1:
        raise ConnectionError("the handshake failed")
    if tls.SSL_write(session, first, len(first)) != len(first):
        raise ConnectionError("nothing can be sent")
    kept = crypto.BIO_new(crypto.BIO_s_mem())
    tls.SSL_set0_wbio(session, kept)
    for _ in range(count):
        if tls.SSL_key_update(session, 0) != 1 or tls.SSL_do_handshake(session) != 1:
            raise ConnectionError("the keys cannot be updated")
    size = crypto.BIO_ctrl(kept, _BIO_PENDING, 0, None)
    data = ctypes.create_string_buffer(size)
    crypto.BIO_read(kept, data, size)
    return data.raw
