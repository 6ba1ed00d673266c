/* What the yardsticks in C share: frames, addresses, clocks, the window that counts.
 *
 * A frame is
 *
 *     0        4        8                16
 *     | size   | 0      | id             | payload: size bytes |      little-endian
 */
#ifndef YARDSTICK_H
#define YARDSTICK_H

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

struct header {
    uint32_t size;
    uint32_t reserved;
    uint64_t id;
};

/* One read takes up to this much, like the receive buffer of a good engine; grown for larger frames. */
#define USUAL_BLOCK (256 * 1024)
/* Reads or writes of one connection before the others get their turn. */
#define STEPS_PER_TURN 16
#define LARGEST_FRAME (256u * 1024 * 1024)

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, errno ? strerror(errno) : "invalid");
    exit(1);
}

static void *must_allocate(void *block)
{
    if (!block)
        fail("memory");
    return block;
}

/* ------------------------------------------------------------------------------------ addresses */

struct address {
    union {
        struct sockaddr any;
        struct sockaddr_in tcp;
        struct sockaddr_un local;
    };
    socklen_t size;
};

static struct address parse_address(const char *text)
{
    struct address address = {0};
    if (!strncmp(text, "unix://", 7) && strlen(text + 7) < sizeof address.local.sun_path) {
        address.local.sun_family = AF_UNIX;
        strcpy(address.local.sun_path, text + 7);
        address.size = sizeof address.local;
        return address;
    }
    char host[64];
    unsigned port;
    if (sscanf(text, "tcp://%63[0-9.]:%u", host, &port) != 2 || port > 65535
        || inet_pton(AF_INET, host, &address.tcp.sin_addr) != 1)
        fail(text);
    address.tcp.sin_family = AF_INET;
    address.tcp.sin_port = htons((uint16_t)port);
    address.size = sizeof address.tcp;
    return address;
}

static void print_ready(int listener, const char *given)
{
    struct address bound = {.size = sizeof bound.local};
    if (getsockname(listener, &bound.any, &bound.size))
        fail("getsockname");
    if (bound.any.sa_family == AF_UNIX) {
        printf("{\"address\": \"%s\", \"processes\": [%d]}\n", given, getpid());
    } else {
        char host[INET_ADDRSTRLEN];
        inet_ntop(AF_INET, &bound.tcp.sin_addr, host, sizeof host);
        printf("{\"address\": \"tcp://%s:%d\", \"processes\": [%d]}\n", host, ntohs(bound.tcp.sin_port), getpid());
    }
    fflush(stdout);
}

static int open_listener(const char *text)
{
    struct address address = parse_address(text);
    int on = 1, listener = socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0)
        fail("socket");
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, &address.any, address.size) || listen(listener, SOMAXCONN))
        fail(text);
    print_ready(listener, text);
    return listener;
}

static void send_at_once(int descriptor)
{
    int on = 1;
    setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* fails on unix sockets: not needed */
}

static int open_connection(const char *text)
{
    struct address address = parse_address(text);
    int descriptor = socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (descriptor < 0 || connect(descriptor, &address.any, address.size))
        fail(text);
    send_at_once(descriptor);
    return descriptor;
}

/* ---------------------------------------------------------------------- the window that counts */

static uint64_t nanoseconds_of(clockid_t clock)
{
    struct timespec time;
    if (clock_gettime(clock, &time))
        fail("clock_gettime");
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* What a window is measured by: taken at its start and at its end. */
struct reading {
    uint64_t now, completed, client_cpu, server_cpu;
};

static struct reading take_reading(uint64_t now, uint64_t completed, pid_t server)
{
    struct reading reading = {.now = now, .completed = completed};
    clockid_t server_clock;
    reading.client_cpu = nanoseconds_of(CLOCK_PROCESS_CPUTIME_ID);
    if (server && !clock_getcpuclockid(server, &server_clock))
        reading.server_cpu = nanoseconds_of(server_clock);
    return reading;
}

/* Warm-up, then the time that counts. */
struct window {
    uint64_t warm_until, until, nanoseconds;
    struct reading first;
};

static struct window open_window(double warm_seconds, double seconds)
{
    uint64_t now = nanoseconds_of(CLOCK_MONOTONIC);
    return (struct window){
        .warm_until = now + (uint64_t)(warm_seconds * 1e9),
        .until = UINT64_MAX,
        .nanoseconds = (uint64_t)(seconds * 1e9),
    };
}

/* Return whether the warm-up is over and the first reading still to be taken. */
static bool is_warm(const struct window *window, uint64_t now)
{
    return !window->first.now && now >= window->warm_until;
}

static void begin_window(struct window *window, struct reading first)
{
    window->first = first;
    window->until = first.now + window->nanoseconds;
}

struct percentiles {
    double p50, p99, p999;
    size_t samples;
};

/* The cipher that the connection agreed to; empty without TLS. */
static const char *negotiated_cipher = "";

static void print_measurement(struct reading first, struct reading last, struct percentiles latency)
{
    printf("{\"calls\": %llu, \"seconds\": %.9f, \"client_cpu_seconds\": %.9f, \"server_cpu_seconds\": %.9f, "
           "\"p50_seconds\": %.9f, \"p99_seconds\": %.9f, \"p999_seconds\": %.9f, \"samples\": %zu, \"cipher\": \"%s\"}\n",
           (unsigned long long)(last.completed - first.completed), (double)(last.now - first.now) * 1e-9,
           (double)(last.client_cpu - first.client_cpu) * 1e-9, (double)(last.server_cpu - first.server_cpu) * 1e-9,
           latency.p50, latency.p99, latency.p999, latency.samples, negotiated_cipher);
}

#endif
