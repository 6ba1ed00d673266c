/* One connection of the yardstick: a socket, or with -DTLS the socket below OpenSSL.
 *
 * Both have the meaning of recv(2) and send(2) with MSG_DONTWAIT. With TLS a record is a system call, as in every program
 * that gives a socket to OpenSSL. OpenSSL takes cipher suites from its configuration (OPENSSL_CONF).
 */
#ifndef CHANNEL_H
#define CHANNEL_H

#include "yardstick.h"

#include <fcntl.h>
#include <poll.h>

#ifndef TLS

struct channel {
    int descriptor;
};

struct certificates {
    const char *cert, *key, *ca;
};

static void open_channel(struct channel *channel, int descriptor, struct certificates *certificates, bool is_server)
{
    (void)certificates, (void)is_server;
    channel->descriptor = descriptor;
}

static inline ssize_t channel_receive(struct channel *channel, char *place, size_t room)
{
    return recv(channel->descriptor, place, room, MSG_DONTWAIT);
}

static inline ssize_t channel_send(struct channel *channel, const char *data, size_t size)
{
    return send(channel->descriptor, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static inline bool channel_holds(struct channel *channel)
{
    (void)channel;
    return false;
}

static void close_channel(struct channel *channel)
{
    close(channel->descriptor);
}

#else

#include <openssl/err.h>
#include <openssl/ssl.h>

struct channel {
    int descriptor;
    SSL *ssl;
};

struct certificates {
    const char *cert, *key, *ca;
    SSL_CTX *context;
};

static _Noreturn void fail_tls(const char *what)
{
    fprintf(stderr, "%s: %s: ", program_invocation_short_name, what);
    ERR_print_errors_fp(stderr);
    exit(1);
}

static SSL_CTX *context_for(const struct certificates *certificates, bool is_server)
{
    SSL_CTX *context = SSL_CTX_new(is_server ? TLS_server_method() : TLS_client_method());
    if (!context || !SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION))
        fail_tls("context");
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_num_tickets(context, 0);
    if (is_server) {
        if (SSL_CTX_use_certificate_chain_file(context, certificates->cert) != 1
            || SSL_CTX_use_PrivateKey_file(context, certificates->key, SSL_FILETYPE_PEM) != 1)
            fail_tls("certificate");
    } else {
        if (SSL_CTX_load_verify_locations(context, certificates->ca, NULL) != 1)
            fail_tls("authority");
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    }
    return context;
}

static void open_channel(struct channel *channel, int descriptor, struct certificates *certificates, bool is_server)
{
    if (!certificates->context)
        certificates->context = context_for(certificates, is_server);
    channel->descriptor = descriptor;
    channel->ssl = SSL_new(certificates->context);
    if (!channel->ssl || !SSL_set_fd(channel->ssl, descriptor))
        fail_tls("ssl");
    if ((is_server ? SSL_accept(channel->ssl) : SSL_connect(channel->ssl)) != 1)
        fail_tls("handshake");
    if (!is_server)
        negotiated_cipher = SSL_get_cipher_name(channel->ssl);
    fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK);
}

static ssize_t channel_error(struct channel *channel, int result)
{
    switch (SSL_get_error(channel->ssl, result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        errno = EAGAIN;
        return -1;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    default:
        errno = ECONNRESET;
        return -1;
    }
}

/* Fill the room, as recv(2) does: a call of OpenSSL returns at most one record. */
static ssize_t channel_receive(struct channel *channel, char *place, size_t room)
{
    size_t filled = 0;
    while (filled < room) {
        int came = SSL_read(channel->ssl, place + filled, (int)(room - filled));
        if (came <= 0) {
            ssize_t error = channel_error(channel, came);
            return filled ? (ssize_t)filled : error;
        }
        filled += (size_t)came;
    }
    return (ssize_t)filled;
}

static ssize_t channel_send(struct channel *channel, const char *data, size_t size)
{
    int sent = SSL_write(channel->ssl, data, (int)size);
    return sent > 0 ? sent : channel_error(channel, sent);
}

/* Whether OpenSSL holds bytes that epoll does not report. */
static bool channel_holds(struct channel *channel)
{
    return SSL_has_pending(channel->ssl);
}

static void close_channel(struct channel *channel)
{
    SSL_free(channel->ssl);
    close(channel->descriptor);
}

#endif

/* Wait until there is something to receive, or to send as well. */
static inline short channel_wait(struct channel *channel, short events)
{
    struct pollfd either = {.fd = channel->descriptor, .events = events};
    poll(&either, 1, -1);
    return either.revents;
}

#endif
