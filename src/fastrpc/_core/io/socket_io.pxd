"""System calls on a blocking client's socket, as inline C; see `socket_io.h`."""

from libc.stdint cimport uint64_t

cdef extern from "<sys/uio.h>" nogil:
    struct iovec:
        void* iov_base
        size_t iov_len

cdef extern from "io/socket_io.h" nogil:
    const int TIMED_OUT "FRPC_TIMED_OUT"
    const int INTERRUPTED "FRPC_INTERRUPTED"
    const int WRITABLE "FRPC_WRITABLE"
    const int POLLIN
    const int POLLOUT
    int wait_until "frpc_wait"(int descriptor, short events, uint64_t due_ns) noexcept
    Py_ssize_t receive_now "frpc_receive_now"(int descriptor, char* place, size_t room) noexcept
    Py_ssize_t receive_until "frpc_receive"(
        int descriptor, char* place, size_t room, bint fill, bint push, uint64_t due_ns, uint64_t spin_ns
    ) noexcept
    Py_ssize_t receive_soon "frpc_receive_soon"(int descriptor, char* place, size_t room, int looks) noexcept
    Py_ssize_t send_bytes "frpc_send_bytes"(int descriptor, const char* data, size_t size) noexcept
    Py_ssize_t send_now "frpc_send_now"(int descriptor, iovec* parts, int count) noexcept
