/* Which of many sockets have lost their peer: one check, without waiting. Bytes and arithmetic, no Python objects. */

#ifndef FASTRPC_HANG_UP_H
#define FASTRPC_HANG_UP_H

#include <poll.h>

/* Linux reports the peer's FIN behind unread bytes only by POLLRDHUP. macOS has no such event: there a reset is noticed
   (POLLHUP, POLLERR), and a FIN when the bytes before it are read. */
#ifdef POLLRDHUP
#define FRPC_PEER_ENDED POLLRDHUP
#else
#define FRPC_PEER_ENDED 0
#endif

/* An error, or a descriptor that is closed: reading would fail. */
#define FRPC_RESET (POLLERR | POLLNVAL)

/* Poll all sockets at once; returns how many have events, or -1. */
static inline int frpc_look_for_ends(struct pollfd *entries, size_t count)
{
    size_t i;
    for (i = 0; i < count; i++)
        entries[i].events = FRPC_PEER_ENDED;
    return poll(entries, (nfds_t)count, 0);
}

#endif
