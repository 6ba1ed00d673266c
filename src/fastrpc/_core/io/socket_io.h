/* System calls on a blocking client's socket, for a thread that gave up the GIL: bytes and arithmetic, no Python
   objects. Nothing here waits but frpc_wait and what is built on it, and that never beyond its deadline. */

#ifndef FASTRPC_SOCKET_IO_H
#define FASTRPC_SOCKET_IO_H

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/wire.h"

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0 /* macOS: the interpreter ignores SIGPIPE */
#endif

/* Results in place of bytes; an error of the system is -errno, far above these. */
#define FRPC_TIMED_OUT (-100001)
#define FRPC_INTERRUPTED (-100002)
#define FRPC_WRITABLE (-100003)

#define FRPC_FOREVER UINT64_MAX

/* Looks at a socket between two at the clock. */
#define FRPC_LOOKS 8

/* Wait until the socket is ready; return the events of poll, or one of the values above. */
static inline int frpc_wait(int descriptor, short events, uint64_t due_ns)
{
    struct pollfd entry = {descriptor, events, 0};
    uint64_t now, left;
    int timeout = -1, ready;
    if (due_ns != FRPC_FOREVER) {
        now = frpc_now_ns();
        /* Rounded up: poll must not return before the deadline only to be called again for the rest. */
        left = due_ns > now ? (due_ns - now + 999999) / 1000000 : 0;
        timeout = left > INT_MAX ? INT_MAX : (int)left;
    }
    ready = poll(&entry, 1, timeout);
    if (ready > 0)
        return entry.revents;
    if (ready == 0)
        return FRPC_TIMED_OUT;
    return errno == EINTR ? FRPC_INTERRUPTED : -errno;
}

/* The result of one receive without waiting: bytes, 0 at the end of the stream, -EAGAIN if there are none. */
static inline ssize_t frpc_receive_now(int descriptor, char *place, size_t room)
{
    ssize_t received;
    do
        received = recv(descriptor, place, room, MSG_DONTWAIT);
    while (received < 0 && errno == EINTR);
    if (received >= 0)
        return received;
    return errno == EWOULDBLOCK ? -EAGAIN : -errno;
}

/* Check a few times in a row for bytes; -EAGAIN if none arrived meanwhile. */
static inline ssize_t frpc_receive_soon(int descriptor, char *place, size_t room, int looks)
{
    ssize_t came;
    do
        came = frpc_receive_now(descriptor, place, room);
    while (came == -EAGAIN && --looks > 0);
    return came;
}

/* Receive until the deadline: once, or, to `fill`, until the room is used up. With `push` it also returns as soon as
 * the socket accepts bytes. For `spin_ns` it polls again and again before it sleeps. */
static inline ssize_t frpc_receive(
    int descriptor, char *place, size_t room, int fill, int push, uint64_t due_ns, uint64_t spin_ns)
{
    size_t received = 0;
    ssize_t came;
    int ready;
    uint64_t spin_until = 0;
    int looks = 0;
    /* Sleeping first saves a system call in the common case, in which the answer takes longer than the return to this
     * line. */
    int is_asleep = !spin_ns;
    for (;;) {
        if (is_asleep) {
            ready = frpc_wait(descriptor, push ? POLLIN | POLLOUT : POLLIN, due_ns);
            if (ready < 0)
                return received ? (ssize_t)received : ready;
            if (!(ready & ~POLLOUT))
                return received ? (ssize_t)received : FRPC_WRITABLE;
        }
        came = frpc_receive_now(descriptor, place + received, room - received);
        if (came > 0) {
            received += (size_t)came;
            if (!fill || received == room)
                return (ssize_t)received;
            is_asleep = 0;
            spin_ns = 0;
        } else if (came == 0 || came != -EAGAIN) {
            /* The end, or an error, shows itself again to the next call. */
            return received ? (ssize_t)received : came;
        } else if (!spin_ns) {
            is_asleep = 1;
        } else if (!(looks++ % FRPC_LOOKS)) {
            if (!spin_until)
                spin_until = frpc_now_ns() + spin_ns;
            else
                is_asleep = frpc_now_ns() >= spin_until;
        }
    }
}

/* The same for one piece, as `sendmsg` is dearer. */
static inline ssize_t frpc_send_bytes(int descriptor, const char *data, size_t size)
{
    ssize_t sent;
    do
        sent = send(descriptor, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent >= 0)
        return sent;
    return errno == EWOULDBLOCK ? -EAGAIN : -errno;
}

/* Send what the system takes without waiting; -EAGAIN when it takes nothing. */
static inline ssize_t frpc_send_now(int descriptor, struct iovec *parts, int count)
{
    struct msghdr message = {0};
    ssize_t sent;
    message.msg_iov = parts;
    message.msg_iovlen = count;
    do
        sent = sendmsg(descriptor, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent >= 0)
        return sent;
    return errno == EWOULDBLOCK ? -EAGAIN : -errno;
}

#endif
