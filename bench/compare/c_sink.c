/* The yardstick of streams: one side sends frames as fast as the socket takes them, the other counts them.
 *
 *   c_sink serve ADDRESS
 *   c_sink load ADDRESS --size BYTES --warm SECONDS --seconds SECONDS [--receive] [--server PID]
 *
 * ADDRESS is tcp://IPV4:PORT (port 0: any) or unix:///path. `serve` prints one JSON line with the
 * address it listens on and ends when its standard input closes; `load` prints one JSON line with
 * what it measured.
 *
 * The client's first frame is its order: the size of the payloads, and in `reserved` who sends them.
 * Frames are numbered from 0 and checked by their number and size. A client that sends closes its
 * half when the window is over, and the server answers with a frame whose id is the number of frames
 * it received: that answer ends the measurement, so frames that lie in buffers count with the time
 * they take. A client that receives closes the connection.
 *
 * The sender numbers as many frames as fit its block anew and sends them with one write; the
 * receiver reads into one block and looks at each frame once it is whole.
 */
#include "yardstick.h"

#include <getopt.h>
#include <signal.h>
#include <sys/epoll.h>

enum sender { CLIENT_SENDS = 0, SERVER_SENDS = 1 };

enum progress { BROKEN = -1, BLOCKED = 0, DONE = 1, ENDED = 2 };

/* ---------------------------------------------------------------------------------- both halves */

/* The sending half: block[sent:size] are frames to send, the last of them numbered `next` - 1. */
struct source {
    char *block;
    size_t frame_size, size, sent;
    uint64_t next;
};

/* The receiving half: block[begin:end] is received and not yet read. */
struct drain {
    char *block;
    size_t payload_size, capacity, begin, end;
    uint64_t received;
};

static struct source open_source(size_t payload_size)
{
    struct source source = {.frame_size = sizeof(struct header) + payload_size};
    size_t frames = USUAL_BLOCK / source.frame_size;
    source.size = source.sent = (frames ? frames : 1) * source.frame_size;
    source.block = must_allocate(malloc(source.size));
    memset(source.block, 'x', source.size);
    return source;
}

/* Send what is left of the block, or a new one; with MSG_DONTWAIT as much of it as the socket takes. */
static enum progress send_block(struct source *source, int descriptor, int flags)
{
    if (source->sent == source->size) {
        struct header header = {.size = (uint32_t)(source->frame_size - sizeof header)};
        for (size_t offset = 0; offset < source->size; offset += source->frame_size) {
            header.id = source->next++;
            memcpy(source->block + offset, &header, sizeof header);
        }
        source->sent = 0;
    }
    while (source->sent < source->size) {
        ssize_t sent = send(descriptor, source->block + source->sent, source->size - source->sent,
                            flags | MSG_NOSIGNAL);
        if (sent < 0)
            return errno == EAGAIN ? BLOCKED : BROKEN;
        source->sent += (size_t)sent;
    }
    return DONE;
}

static struct drain open_drain(size_t payload_size)
{
    size_t frame_size = sizeof(struct header) + payload_size;
    struct drain drain = {.payload_size = payload_size};
    drain.capacity = 4 * frame_size > USUAL_BLOCK ? 4 * frame_size : USUAL_BLOCK;
    drain.block = must_allocate(malloc(drain.capacity));
    return drain;
}

/* Receive once and count the whole frames. */
static enum progress receive_block(struct drain *drain, int descriptor, int flags)
{
    ssize_t received = recv(descriptor, drain->block + drain->end, drain->capacity - drain->end, flags);
    if (received == 0)
        return drain->begin == drain->end ? ENDED : BROKEN;
    if (received < 0)
        return errno == EAGAIN ? BLOCKED : BROKEN;
    drain->end += (size_t)received;
    size_t frame_size = sizeof(struct header) + drain->payload_size;
    for (; drain->end - drain->begin >= frame_size; drain->begin += frame_size) {
        struct header header;
        memcpy(&header, drain->block + drain->begin, sizeof header);
        if (header.size != drain->payload_size || header.id != drain->received++) {
            errno = EBADMSG;
            return BROKEN;
        }
    }
    if (drain->begin == drain->end) {
        drain->begin = drain->end = 0;
    } else if (drain->capacity - drain->end < frame_size) {
        memmove(drain->block, drain->block + drain->begin, drain->end - drain->begin);
        drain->end -= drain->begin;
        drain->begin = 0;
    }
    return DONE;
}

/* --------------------------------------------------------------------------------------- server */

struct connection {
    int descriptor;

    /* order[0:ordered] is received; once it is whole, one of the halves is open. */
    char order[sizeof(struct header)];
    size_t ordered;
    struct source source;
    struct drain drain;
};

static enum progress receive_order(int epoll, struct connection *connection)
{
    ssize_t received = recv(connection->descriptor, connection->order + connection->ordered,
                            sizeof connection->order - connection->ordered, MSG_DONTWAIT);
    if (received <= 0)
        return received < 0 && errno == EAGAIN ? BLOCKED : BROKEN;
    connection->ordered += (size_t)received;
    if (connection->ordered < sizeof connection->order)
        return BLOCKED;
    struct header order;
    memcpy(&order, connection->order, sizeof order);
    if (order.size > LARGEST_FRAME - sizeof order || order.reserved > SERVER_SENDS)
        return BROKEN;
    if (order.reserved == CLIENT_SENDS) {
        connection->drain = open_drain(order.size);
        return DONE;
    }
    connection->source = open_source(order.size);
    struct epoll_event event = {.events = EPOLLOUT, .data.ptr = connection};
    if (epoll_ctl(epoll, EPOLL_CTL_MOD, connection->descriptor, &event))
        fail("epoll_ctl");
    return DONE;
}

/* The client has ended: tell it how much arrived. */
static enum progress answer(struct connection *connection)
{
    struct header header = {.id = connection->drain.received};
    ssize_t sent = send(connection->descriptor, &header, sizeof header, MSG_DONTWAIT | MSG_NOSIGNAL);
    return sent == (ssize_t)sizeof header ? ENDED : BROKEN;
}

/* Return BLOCKED or DONE while the connection goes on. */
static enum progress serve_connection(int epoll, struct connection *connection)
{
    enum progress progress = DONE;
    if (connection->ordered < sizeof connection->order)
        progress = receive_order(epoll, connection);
    for (int step = 0; step < STEPS_PER_TURN && progress == DONE; step++) {
        if (connection->source.block)
            progress = send_block(&connection->source, connection->descriptor, MSG_DONTWAIT);
        else
            progress = receive_block(&connection->drain, connection->descriptor, MSG_DONTWAIT);
    }
    return progress == ENDED ? answer(connection) : progress;
}

static void accept_connection(int epoll, int listener)
{
    int descriptor = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (descriptor < 0)
        return;
    send_at_once(descriptor);
    struct connection *connection = must_allocate(calloc(1, sizeof *connection));
    connection->descriptor = descriptor;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event))
        fail("epoll_ctl");
}

static void close_connection(struct connection *connection)
{
    close(connection->descriptor);
    free(connection->source.block);
    free(connection->drain.block);
    free(connection);
}

static int serve(const char *text)
{
    static char listener_mark, input_mark; /* told from connections by their addresses */
    int listener = open_listener(text), epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &listener_mark}, events[256];
    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event))
        fail("epoll");
    event.data.ptr = &input_mark;
    epoll_ctl(epoll, EPOLL_CTL_ADD, STDIN_FILENO, &event); /* refused for a file: then only signals end us */
    for (;;) {
        int count = epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr == &input_mark)
                return 0;
            if (events[i].data.ptr == &listener_mark) {
                accept_connection(epoll, listener);
                continue;
            }
            enum progress progress = serve_connection(epoll, events[i].data.ptr);
            if (progress == BROKEN || progress == ENDED)
                close_connection(events[i].data.ptr);
        }
    }
}

/* --------------------------------------------------------------------------------------- client */

struct options {
    size_t payload_size;
    double warm_seconds, seconds;
    pid_t server;
    bool receives;
};

static void print_stream(struct reading first, struct reading last)
{
    print_measurement(first, last, (struct percentiles){0}); /* messages have no answers to time */
}

static int run_receiver(int descriptor, const struct options *options)
{
    struct drain drain = open_drain(options->payload_size);
    struct window window = open_window(options->warm_seconds, options->seconds);
    for (;;) {
        if (receive_block(&drain, descriptor, 0) != DONE)
            fail("recv");
        uint64_t now = nanoseconds_of(CLOCK_MONOTONIC);
        if (is_warm(&window, now))
            begin_window(&window, take_reading(now, drain.received, options->server));
        if (now >= window.until && drain.received > window.first.completed) {
            print_stream(window.first, take_reading(now, drain.received, options->server));
            return 0;
        }
    }
}

/* End the stream and wait until the server has received all of it. */
static void finish(int descriptor, const struct source *source)
{
    struct header answer;
    if (shutdown(descriptor, SHUT_WR))
        fail("shutdown");
    if (recv(descriptor, &answer, sizeof answer, MSG_WAITALL) != (ssize_t)sizeof answer || answer.id != source->next) {
        errno = EBADMSG;
        fail("answer");
    }
}

static int run_sender(int descriptor, const struct options *options)
{
    struct source source = open_source(options->payload_size);
    struct window window = open_window(options->warm_seconds, options->seconds);
    for (;;) {
        if (send_block(&source, descriptor, 0) != DONE)
            fail("send");
        uint64_t now = nanoseconds_of(CLOCK_MONOTONIC);
        if (is_warm(&window, now))
            begin_window(&window, take_reading(now, source.next, options->server));
        if (now >= window.until && source.next > window.first.completed) {
            finish(descriptor, &source);
            now = nanoseconds_of(CLOCK_MONOTONIC);
            print_stream(window.first, take_reading(now, source.next, options->server));
            return 0;
        }
    }
}

static int run_load(const char *text, const struct options *options)
{
    int descriptor = open_connection(text);
    struct header order = {
        .size = (uint32_t)options->payload_size,
        .reserved = options->receives ? SERVER_SENDS : CLIENT_SENDS,
    };
    if (send(descriptor, &order, sizeof order, MSG_NOSIGNAL) != (ssize_t)sizeof order)
        fail("send");
    return options->receives ? run_receiver(descriptor, options) : run_sender(descriptor, options);
}

/* ----------------------------------------------------------------------------------- command line */

static struct options parse_options(int count, char **arguments)
{
    static const struct option names[] = {
        {"size", required_argument, NULL, 's'},   {"warm", required_argument, NULL, 'w'},
        {"seconds", required_argument, NULL, 't'}, {"server", required_argument, NULL, 'p'},
        {"receive", no_argument, NULL, 'r'},       {0},
    };
    struct options options = {.payload_size = 32, .seconds = 1};
    for (int name; (name = getopt_long(count, arguments, "", names, NULL)) != -1;) {
        switch (name) {
        case 's': options.payload_size = strtoul(optarg, NULL, 10); break;
        case 'w': options.warm_seconds = strtod(optarg, NULL); break;
        case 't': options.seconds = strtod(optarg, NULL); break;
        case 'p': options.server = (pid_t)strtol(optarg, NULL, 10); break;
        case 'r': options.receives = true; break;
        default: exit(2);
        }
    }
    if (options.payload_size > LARGEST_FRAME - sizeof(struct header))
        fail("options");
    return options;
}

int main(int count, char **arguments)
{
    signal(SIGPIPE, SIG_IGN);
    bool serves = count == 3 && !strcmp(arguments[1], "serve");
    if (!serves && (count < 3 || strcmp(arguments[1], "load"))) {
        fprintf(stderr, "usage: c_sink serve|load ADDRESS [options]; see the top of its source\n");
        return 2;
    }
    if (serves)
        return serve(arguments[2]);
    struct options options = parse_options(count - 2, arguments + 2);
    return run_load(arguments[2], &options);
}
