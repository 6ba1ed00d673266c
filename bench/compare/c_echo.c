/* The yardstick: an echo that does nothing an RPC engine could leave out.
 *
 *   c_echo serve ADDRESS [--spin]
 *   c_echo load ADDRESS --size BYTES --in-flight N --warm SECONDS --seconds SECONDS
 *               [--connections N] [--sample N] [--server PID] [--spin]
 *
 * Compiled with -DTLS it is `c_echo_tls`, the same over OpenSSL: `serve` then takes --cert and --key, `load` takes --ca and one
 * connection.
 *
 * ADDRESS is tcp://IPV4:PORT (port 0: any) or unix:///path. `serve` prints one JSON line with the
 * address it listens on and ends when its standard input closes; `load` prints one JSON line with
 * what it measured.
 *
 * Both sides batch, as a good engine does: the server answers every complete frame of a read with
 * one write, the client sends every frame that became free in a read with one write. The answer to a
 * frame is the same bytes (yardstick.h has its layout). On one connection answers come back in the order of their
 * requests, so the client keeps its frames in a ring: what may be sent is always one stretch of the
 * ring, and the id it expects next is known. It still writes a fresh id into each frame and checks
 * it in each answer.
 */
#include "channel.h"

#include <getopt.h>
#include <signal.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/uio.h>

/* What the first read of a connection takes. */
#define FIRST_BLOCK (16 * 1024)

/* --------------------------------------------------------------------------------------- server */

struct connection {
    struct channel channel;
    bool waits_to_send; /* registered for EPOLLOUT instead of EPOLLIN */

    /* block[sent:ready] are complete frames to send back, block[ready:end] the start of the next one;
     * 0 <= sent <= ready <= end <= capacity. */
    char *block;
    size_t sent, ready, end, capacity;
};

enum progress { BROKEN = -1, BLOCKED = 0, DONE = 1 };

static void watch(int epoll, struct connection *connection, bool for_sending)
{
    if (connection->waits_to_send == for_sending)
        return;
    struct epoll_event event = {.events = for_sending ? EPOLLOUT : EPOLLIN, .data.ptr = connection};
    if (epoll_ctl(epoll, EPOLL_CTL_MOD, connection->channel.descriptor, &event))
        fail("epoll_ctl");
    connection->waits_to_send = for_sending;
}

static enum progress send_answers(struct connection *connection)
{
    while (connection->sent < connection->ready) {
        ssize_t sent = channel_send(&connection->channel, connection->block + connection->sent,
                                    connection->ready - connection->sent);
        if (sent < 0)
            return errno == EAGAIN ? BLOCKED : BROKEN;
        connection->sent += (size_t)sent;
    }
    return DONE;
}

/* Move `ready` behind the last complete frame; return the whole size of the frame that follows. */
static size_t cut_frames(struct connection *connection)
{
    while (connection->end - connection->ready >= sizeof(struct header)) {
        struct header header;
        memcpy(&header, connection->block + connection->ready, sizeof header);
        size_t whole = sizeof header + header.size;
        if (connection->end - connection->ready < whole)
            return whole;
        connection->ready += whole;
    }
    return sizeof(struct header);
}

/* Called with every answer sent: make room for the rest of the next frame, at the start of the block. */
static void make_room(struct connection *connection, size_t next_frame, bool was_filled)
{
    size_t begun = connection->end - connection->ready;
    size_t wanted = connection->capacity;
    if (was_filled && wanted < USUAL_BLOCK)
        wanted *= 2;
    if (next_frame > wanted)
        wanted = 2 * next_frame + FIRST_BLOCK;
    if (begun == 0)
        connection->sent = connection->ready = connection->end = 0;
    if (wanted > connection->capacity) {
        connection->block = must_allocate(realloc(connection->block, wanted));
        connection->capacity = wanted;
    }
    if (connection->capacity - connection->ready < next_frame || connection->end == connection->capacity) {
        memmove(connection->block, connection->block + connection->ready, begun);
        connection->sent = connection->ready = 0;
        connection->end = begun;
    }
}

static enum progress receive_and_answer(struct connection *connection)
{
    for (int read = 0; read < STEPS_PER_TURN || channel_holds(&connection->channel); read++) {
        size_t room = connection->capacity - connection->end;
        ssize_t received = channel_receive(&connection->channel, connection->block + connection->end, room);
        if (received == 0)
            return BROKEN;
        if (received < 0)
            return errno == EAGAIN ? DONE : BROKEN;
        connection->end += (size_t)received;
        size_t next_frame = cut_frames(connection);
        if (next_frame > LARGEST_FRAME)
            return BROKEN;
        enum progress progress = send_answers(connection);
        if (progress != DONE)
            return progress;
        make_room(connection, next_frame, (size_t)received == room);
        if ((size_t)received < room)
            return DONE;
    }
    return DONE;
}

static enum progress serve_connection(struct connection *connection)
{
    if (connection->waits_to_send) {
        enum progress progress = send_answers(connection);
        if (progress != DONE)
            return progress;
        make_room(connection, cut_frames(connection), false);
    }
    return receive_and_answer(connection);
}

static void accept_connection(int epoll, int listener, struct certificates *certificates)
{
    int descriptor = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (descriptor < 0)
        return;
    send_at_once(descriptor);
    struct connection *connection = must_allocate(calloc(1, sizeof *connection));
    open_channel(&connection->channel, descriptor, certificates, true);
    connection->capacity = FIRST_BLOCK;
    connection->block = must_allocate(malloc(connection->capacity));
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event))
        fail("epoll_ctl");
}

static void close_connection(struct connection *connection)
{
    close_channel(&connection->channel);
    free(connection->block);
    free(connection);
}

static int serve(const char *text, bool spin, struct certificates certificates)
{
    static char listener_mark, input_mark; /* told from connections by their addresses */
    int listener = open_listener(text), epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &listener_mark}, events[256];
    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event))
        fail("epoll");
    event.data.ptr = &input_mark;
    epoll_ctl(epoll, EPOLL_CTL_ADD, STDIN_FILENO, &event); /* refused for a file: then only signals end us */
    for (;;) {
        int count = epoll_wait(epoll, events, 256, spin ? 0 : -1);
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr == &input_mark)
                return 0;
            if (events[i].data.ptr == &listener_mark) {
                accept_connection(epoll, listener, &certificates);
                continue;
            }
            struct connection *connection = events[i].data.ptr;
            enum progress progress = serve_connection(connection);
            if (progress == BROKEN)
                close_connection(connection);
            else
                watch(epoll, connection, progress == BLOCKED);
        }
    }
}

/* --------------------------------------------------------------------------------------- client */

struct options {
    size_t payload_size, in_flight, sample, connections;
    double warm_seconds, seconds;
    pid_t server;
    bool spin;
    struct certificates certificates;
};

struct load {
    struct options options;
    struct channel channel;

    /* The ring: `in_flight` frames side by side, sent over and over. Byte counts never wrap. */
    char *ring;
    size_t frame_size, ring_size;
    uint64_t bytes_sent, bytes_allowed;
    uint64_t *started; /* per frame of the ring: when it became free to send, ns */

    uint64_t answered; /* since the start; also the id of the next answer */

    /* Received and not yet read: in[begin:end]. */
    char *in;
    size_t begin, end, capacity;

    uint32_t *latencies; /* sampled, ns */
    size_t sampled, latency_capacity;
};

static char *slot_of(struct load *load, uint64_t id)
{
    return load->ring + (id % load->options.in_flight) * load->frame_size;
}

static void open_load(struct load *load, const char *text)
{
    open_channel(&load->channel, open_connection(text), &load->options.certificates, false);
    load->frame_size = sizeof(struct header) + load->options.payload_size;
    load->ring_size = load->frame_size * load->options.in_flight;
    load->ring = must_allocate(malloc(load->ring_size));
    load->started = must_allocate(calloc(load->options.in_flight, sizeof *load->started));
    load->capacity = 4 * load->frame_size > USUAL_BLOCK ? 4 * load->frame_size : USUAL_BLOCK;
    load->in = must_allocate(malloc(load->capacity));
    load->latency_capacity = 1 << 20;
    load->latencies = must_allocate(malloc(load->latency_capacity * sizeof *load->latencies));
    for (uint64_t id = 0; id < load->options.in_flight; id++) {
        struct header header = {.size = (uint32_t)load->options.payload_size, .id = id};
        memcpy(slot_of(load, id), &header, sizeof header);
        memset(slot_of(load, id) + sizeof header, 'a' + (int)(id % 26), load->options.payload_size);
        load->started[id] = nanoseconds_of(CLOCK_MONOTONIC);
    }
    load->bytes_allowed = load->ring_size;
}

/* Send what may be sent; return whether the socket took all of it. */
static bool send_requests(struct load *load)
{
    while (load->bytes_sent < load->bytes_allowed) {
        size_t offset = load->bytes_sent % load->ring_size;
        size_t waiting = load->bytes_allowed - load->bytes_sent;
        size_t first = waiting < load->ring_size - offset ? waiting : load->ring_size - offset;
#ifdef TLS
        ssize_t sent = channel_send(&load->channel, load->ring + offset, first);
#else
        struct iovec parts[2] = {{load->ring + offset, first}, {load->ring, waiting - first}};
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = waiting > first ? 2 : 1};
        ssize_t sent = sendmsg(load->channel.descriptor, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
#endif
        if (sent < 0 && errno != EAGAIN)
            fail("sendmsg");
        if (sent < 0)
            return false;
        load->bytes_sent += (uint64_t)sent;
    }
    return true;
}

/* Receive what is there, waiting for at least one byte unless the socket may be written again first. */
static void receive_answers(struct load *load, bool all_sent)
{
    if (load->begin == load->end) {
        load->begin = load->end = 0;
    } else if (load->capacity - load->end < load->frame_size) {
        memmove(load->in, load->in + load->begin, load->end - load->begin);
        load->end -= load->begin;
        load->begin = 0;
    }
    for (;;) {
#ifdef TLS
        ssize_t received = channel_receive(&load->channel, load->in + load->end, load->capacity - load->end);
#else
        /* Sleeps in recv(2), which costs one system call less than poll(2). */
        int flags = all_sent && !load->options.spin ? 0 : MSG_DONTWAIT;
        ssize_t received = recv(load->channel.descriptor, load->in + load->end, load->capacity - load->end, flags);
#endif
        if (received > 0) {
            load->end += (size_t)received;
            return;
        }
        if (received == 0 || errno != EAGAIN)
            fail("recv");
        if (all_sent && load->options.spin)
            continue;
        if (!(channel_wait(&load->channel, all_sent ? POLLIN : POLLIN | POLLOUT) & POLLIN))
            return;
    }
}

static void sample_latency(struct load *load, uint64_t elapsed)
{
    if (load->sampled == load->latency_capacity) {
        load->latency_capacity *= 2;
        load->latencies = must_allocate(realloc(load->latencies, load->latency_capacity * sizeof *load->latencies));
    }
    load->latencies[load->sampled++] = elapsed > UINT32_MAX ? UINT32_MAX : (uint32_t)elapsed;
}

/* Check each whole answer and free its frame for the next request. */
static void read_answers(struct load *load, uint64_t now)
{
    while (load->end - load->begin >= load->frame_size) {
        char *answer = load->in + load->begin, *slot = slot_of(load, load->answered);
        size_t checked = load->answered < load->options.in_flight ? load->frame_size : sizeof(struct header);
        if (memcmp(answer, slot, checked)) {
            errno = EBADMSG;
            fail("answer");
        }
        uint64_t *started = &load->started[load->answered % load->options.in_flight];
        if (load->answered % load->options.sample == 0)
            sample_latency(load, now - *started);
        *started = now;
        uint64_t next = load->answered + load->options.in_flight;
        memcpy(slot + offsetof(struct header, id), &next, sizeof next);
        load->begin += load->frame_size;
        load->bytes_allowed += load->frame_size;
        load->answered++;
    }
}

static int compare_latencies(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return (a > b) - (a < b);
}

static double percentile(const struct load *load, double share)
{
    return load->sampled ? load->latencies[(size_t)((double)(load->sampled - 1) * share + 0.5)] * 1e-9 : 0;
}

static void print_load(struct load *load, struct reading first, struct reading last)
{
    qsort(load->latencies, load->sampled, sizeof *load->latencies, compare_latencies);
    struct percentiles latency = {percentile(load, 0.5), percentile(load, 0.99), percentile(load, 0.999), load->sampled};
    print_measurement(first, last, latency);
}

/* Take a reading where the window begins and print where it ends; return whether it has ended. On a busy machine no
 * call may have been timed by then: the window lasts until one has. */
static bool is_over(struct window *window, struct load *load, uint64_t now)
{
    if (now >= window->until && load->sampled) {
        print_load(load, window->first, take_reading(now, load->answered, load->options.server));
        return true;
    }
    if (is_warm(window, now)) {
        begin_window(window, take_reading(now, load->answered, load->options.server));
        load->sampled = 0;
    }
    return false;
}

static int run_load(const char *address, struct options options)
{
    struct load load = {.options = options};
    open_load(&load, address);
    struct window window = open_window(options.warm_seconds, options.seconds);
    for (;;) {
        receive_answers(&load, send_requests(&load));
        uint64_t now = nanoseconds_of(CLOCK_MONOTONIC);
        read_answers(&load, now);
        if (is_over(&window, &load, now))
            return 0;
    }
}

/* ----------------------------------------------------------------- client with many connections */

/* One of the connections that take turns. The id of a frame is the time it was sent, so an answer brings along
 * when its call began. */
struct line {
    int descriptor;
    size_t unsent;   /* frames to send in this turn */
    char *in;        /* room for all calls in flight; in[0:received] is the start of a frame */
    size_t received;
};

struct spread {
    struct load load;
    int epoll;
    struct line *lines;
    size_t next;                         /* the line whose turn it is */
    struct line **touched;               /* lines with frames to send */
    size_t touched_count;
    char *frames;                        /* as many as are in flight, ready but for their ids */
};

static void give_turn(struct spread *spread)
{
    struct line *line = &spread->lines[spread->next];
    spread->next = (spread->next + 1) % spread->load.options.connections;
    if (line->unsent++ == 0)
        spread->touched[spread->touched_count++] = line;
}

static void open_spread(struct spread *spread, const char *text)
{
    struct options *options = &spread->load.options;
    spread->epoll = epoll_create1(EPOLL_CLOEXEC);
    spread->load.frame_size = sizeof(struct header) + options->payload_size;
    spread->load.latency_capacity = 1 << 20;
    spread->load.latencies = must_allocate(malloc(spread->load.latency_capacity * sizeof *spread->load.latencies));
    spread->lines = must_allocate(calloc(options->connections, sizeof *spread->lines));
    spread->touched = must_allocate(calloc(options->connections, sizeof *spread->touched));
    spread->frames = must_allocate(malloc(options->in_flight * spread->load.frame_size));
    memset(spread->frames, 'x', options->in_flight * spread->load.frame_size);
    for (size_t i = 0; i < options->connections; i++) {
        struct line *line = &spread->lines[i];
        line->descriptor = open_connection(text);
        line->in = must_allocate(malloc(options->in_flight * spread->load.frame_size));
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = line};
        if (epoll_ctl(spread->epoll, EPOLL_CTL_ADD, line->descriptor, &event))
            fail("epoll_ctl");
    }
    for (size_t i = 0; i < options->in_flight; i++)
        give_turn(spread);
}

/* One write for all frames of a line; what is in flight is far less than a socket takes. */
static void send_lines(struct spread *spread)
{
    size_t frame_size = spread->load.frame_size;
    struct header header = {.size = (uint32_t)spread->load.options.payload_size,
                            .id = nanoseconds_of(CLOCK_MONOTONIC)};
    for (size_t i = 0; i < spread->touched_count; i++) {
        struct line *line = spread->touched[i];
        size_t size = line->unsent * frame_size;
        for (size_t offset = 0; offset < size; offset += frame_size)
            memcpy(spread->frames + offset, &header, sizeof header);
        if (send(line->descriptor, spread->frames, size, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)size)
            fail("send");
        line->unsent = 0;
    }
    spread->touched_count = 0;
}

static void receive_line(struct spread *spread, struct line *line, uint64_t now)
{
    struct load *load = &spread->load;
    size_t capacity = load->options.in_flight * load->frame_size, begin = 0;
    ssize_t received = recv(line->descriptor, line->in + line->received, capacity - line->received, MSG_DONTWAIT);
    if (received <= 0)
        fail("recv");
    line->received += (size_t)received;
    for (; line->received - begin >= load->frame_size; begin += load->frame_size) {
        struct header header;
        memcpy(&header, line->in + begin, sizeof header);
        if (header.size != load->options.payload_size
            || memcmp(line->in + begin + sizeof header, spread->frames + sizeof header, header.size)) {
            errno = EBADMSG;
            fail("answer");
        }
        if (load->answered++ % load->options.sample == 0)
            sample_latency(load, now - header.id);
        give_turn(spread);
    }
    line->received -= begin;
    memmove(line->in, line->in + begin, line->received);
}

static int run_spread_load(const char *address, struct options options)
{
    struct spread spread = {.load.options = options};
    open_spread(&spread, address);
    struct window window = open_window(options.warm_seconds, options.seconds);
    struct epoll_event events[256];
    for (;;) {
        send_lines(&spread);
        int count = epoll_wait(spread.epoll, events, 256, options.spin ? 0 : -1);
        uint64_t now = nanoseconds_of(CLOCK_MONOTONIC);
        for (int i = 0; i < count; i++)
            receive_line(&spread, events[i].data.ptr, now);
        if (is_over(&window, &spread.load, now))
            return 0;
    }
}

/* ----------------------------------------------------------------------------------- command line */

static struct options parse_options(int count, char **arguments)
{
    static const struct option names[] = {
        {"size", required_argument, NULL, 's'},    {"in-flight", required_argument, NULL, 'n'},
        {"warm", required_argument, NULL, 'w'},    {"seconds", required_argument, NULL, 't'},
        {"sample", required_argument, NULL, 'e'},  {"server", required_argument, NULL, 'p'},
        {"spin", no_argument, NULL, 'i'},          {"connections", required_argument, NULL, 'c'},
        {"cert", required_argument, NULL, 'C'},    {"key", required_argument, NULL, 'K'},
        {"ca", required_argument, NULL, 'A'},
        {0},
    };
    struct options options = {.payload_size = 32, .in_flight = 1, .sample = 1, .connections = 1, .seconds = 1};
    for (int name; (name = getopt_long(count, arguments, "", names, NULL)) != -1;) {
        switch (name) {
        case 's': options.payload_size = strtoul(optarg, NULL, 10); break;
        case 'n': options.in_flight = strtoul(optarg, NULL, 10); break;
        case 'w': options.warm_seconds = strtod(optarg, NULL); break;
        case 't': options.seconds = strtod(optarg, NULL); break;
        case 'e': options.sample = strtoul(optarg, NULL, 10); break;
        case 'p': options.server = (pid_t)strtol(optarg, NULL, 10); break;
        case 'i': options.spin = true; break;
        case 'C': options.certificates.cert = optarg; break;
        case 'K': options.certificates.key = optarg; break;
        case 'A': options.certificates.ca = optarg; break;
        case 'c': options.connections = strtoul(optarg, NULL, 10); break;
        default: exit(2);
        }
    }
    if (!options.in_flight || !options.sample || !options.connections || options.payload_size > LARGEST_FRAME - sizeof(struct header))
        fail("options");
    return options;
}

int main(int count, char **arguments)
{
    signal(SIGPIPE, SIG_IGN);
    bool serves = count >= 3 && !strcmp(arguments[1], "serve");
    if (!serves && (count < 3 || strcmp(arguments[1], "load"))) {
        fprintf(stderr, "usage: c_echo serve|load ADDRESS [options]; see the top of its source\n");
        return 2;
    }
    struct options options = parse_options(count - 2, arguments + 2);
    if (serves)
        return serve(arguments[2], options.spin, options.certificates);
    return options.connections > 1 ? run_spread_load(arguments[2], options) : run_load(arguments[2], options);
}
