/* The load generator of all HTTP peers, and the least that a server of HTTP can do.
 *
 *   c_http load ADDRESS --path PATH --expect TEXT --connections N --warm SECONDS --seconds SECONDS
 *               [--body TEXT] [--sample N] [--server PID]
 *   c_http serve ADDRESS --answer TEXT
 *
 * ADDRESS is tcp://IPV4:PORT (port 0: any). `load` keeps one request in flight on each connection: POST with a body in JSON, or GET
 * without. Each answer has to be a 200 with a Content-Length; the first one of each connection has to be the expected text. `serve`
 * answers every request with the same text. Both print JSON as `c_echo` does.
 */
#include "yardstick.h"

#include <getopt.h>
#include <strings.h>
#include <sys/epoll.h>

#define BLOCK (64 * 1024)
#define EVENTS 256

/* One connection of either side; block[0:received] is the start of a message. */
struct connection {
    int descriptor;
    bool is_checked;
    uint64_t started, calls;
    size_t received;
    char block[BLOCK];
};

struct message {
    size_t head_size, body_size;
};

/* Return whether block[from:received] begins with a whole message. */
static bool is_whole(const struct connection *connection, size_t from, struct message *message)
{
    const char *data = connection->block + from, *line;
    size_t size = connection->received - from;
    const char *end = memmem(data, size, "\r\n\r\n", 4);
    if (!end)
        return false;
    message->head_size = (size_t)(end - data) + 4;
    message->body_size = 0;
    for (line = memchr(data, '\n', size); line && line < end; line = memchr(line, '\n', (size_t)(end + 2 - line))) {
        line++;
        if (!strncasecmp(line, "content-length:", 15))
            message->body_size = strtoul(line + 15, NULL, 10);
    }
    return size >= message->head_size + message->body_size;
}

static struct connection *watched(int epoll, int descriptor)
{
    struct connection *connection = must_allocate(calloc(1, sizeof *connection));
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
    connection->descriptor = descriptor;
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event))
        fail("epoll_ctl");
    return connection;
}

/* Return how much came, 0 for nothing yet; negative at the end. */
static ssize_t receive(struct connection *connection)
{
    ssize_t received =
        recv(connection->descriptor, connection->block + connection->received, BLOCK - connection->received, MSG_DONTWAIT);
    if (received < 0 && errno == EAGAIN)
        return 0;
    if (received > 0)
        connection->received += (size_t)received;
    return received > 0 ? received : -1;
}

/* Messages are far smaller than a socket's buffer, and the peer reads each before it sends another. */
static bool send_all(const struct connection *connection, const char *data, size_t size)
{
    return send(connection->descriptor, data, size, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)size;
}

/* --------------------------------------------------------------------------------------- server */

static bool answer_requests(struct connection *connection, const char *answer, size_t answer_size)
{
    struct message request;
    size_t at = 0;
    if (receive(connection) < 0)
        return false;
    while (is_whole(connection, at, &request)) {
        at += request.head_size + request.body_size;
        if (!send_all(connection, answer, answer_size))
            return false;
    }
    connection->received -= at;
    memmove(connection->block, connection->block + at, connection->received);
    return connection->received < BLOCK;
}

static int serve(const char *address, const char *text)
{
    static char listener_mark, input_mark; /* told from connections by their addresses */
    char answer[BLOCK];
    int answer_size = snprintf(answer, sizeof answer,
                               "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s", strlen(text), text);
    int listener = open_listener(address), epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &listener_mark}, events[EVENTS];
    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event))
        fail("epoll");
    event.data.ptr = &input_mark;
    epoll_ctl(epoll, EPOLL_CTL_ADD, STDIN_FILENO, &event); /* refused for a file: then only signals end us */
    for (;;) {
        int count = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr == &input_mark)
                return 0;
            if (events[i].data.ptr == &listener_mark) {
                int descriptor = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
                if (descriptor >= 0) {
                    send_at_once(descriptor);
                    watched(epoll, descriptor);
                }
                continue;
            }
            struct connection *connection = events[i].data.ptr;
            if (!answer_requests(connection, answer, (size_t)answer_size)) {
                close(connection->descriptor);
                free(connection);
            }
        }
    }
}

/* --------------------------------------------------------------------------------------- client */

struct options {
    const char *path, *body, *expected;
    size_t connections, sample;
    double warm_seconds, seconds;
    pid_t server;
};

struct load {
    struct options options;
    char request[BLOCK];
    size_t request_size;
    uint64_t answered;
    uint32_t *latencies; /* sampled, ns */
    size_t sampled, latency_capacity;
};

static void write_request(struct load *load, const char *address)
{
    const struct options *options = &load->options;
    const char *host = address + strlen("tcp://");
    int size;
    if (options->body)
        size = snprintf(load->request, sizeof load->request,
                        "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                        options->path, host, strlen(options->body), options->body);
    else
        size = snprintf(load->request, sizeof load->request, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", options->path, host);
    if (size < 0 || (size_t)size >= sizeof load->request)
        fail("request");
    load->request_size = (size_t)size;
}

static void call(struct load *load, struct connection *connection, uint64_t now)
{
    connection->started = now;
    if (!send_all(connection, load->request, load->request_size))
        fail("send");
}

static _Noreturn void fail_with(struct connection *connection)
{
    fprintf(stderr, "answer: %.*s\n", (int)(connection->received < 2000 ? connection->received : 2000), connection->block);
    exit(1);
}

/* Servers differ in white space outside of texts. */
static void check_body(struct load *load, struct connection *connection, struct message answer)
{
    const char *body = connection->block + answer.head_size, *expected = load->options.expected;
    bool is_in_text = false;
    for (size_t at = 0; at < answer.body_size; at++) {
        if (!is_in_text && (body[at] == ' ' || body[at] == '\n'))
            continue;
        is_in_text ^= body[at] == '"';
        if (body[at] != *expected++)
            fail_with(connection);
    }
    if (*expected)
        fail_with(connection);
    connection->is_checked = true;
}

static void sample_latency(struct load *load, uint64_t elapsed)
{
    if (load->sampled == load->latency_capacity) {
        load->latency_capacity = load->latency_capacity ? 2 * load->latency_capacity : 1 << 16;
        load->latencies = must_allocate(realloc(load->latencies, load->latency_capacity * sizeof *load->latencies));
    }
    load->latencies[load->sampled++] = elapsed > UINT32_MAX ? UINT32_MAX : (uint32_t)elapsed;
}

static void receive_answer(struct load *load, struct connection *connection)
{
    struct message answer;
    ssize_t received = receive(connection);
    if (received < 0)
        fail("recv");
    if (received == 0 || !is_whole(connection, 0, &answer))
        return;
    if (memcmp(connection->block, "HTTP/1.1 200 ", 13) || answer.head_size + answer.body_size != connection->received)
        fail_with(connection);
    if (!connection->is_checked)
        check_body(load, connection, answer);
    uint64_t now = nanoseconds_of(CLOCK_MONOTONIC);
    if (connection->calls++ % load->options.sample == 0)
        sample_latency(load, now - connection->started);
    load->answered++;
    connection->received = 0;
    call(load, connection, now);
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

/* Take a reading where the window begins and print where it ends; return whether it has ended. On a busy machine no
 * call may have been timed by then: the window lasts until one has. */
static bool is_over(struct window *window, struct load *load, uint64_t now)
{
    if (now >= window->until && load->sampled) {
        struct reading last = take_reading(now, load->answered, load->options.server);
        qsort(load->latencies, load->sampled, sizeof *load->latencies, compare_latencies);
        struct percentiles latency = {percentile(load, 0.5), percentile(load, 0.99), percentile(load, 0.999), load->sampled};
        print_measurement(window->first, last, latency);
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
    static struct load load;
    struct epoll_event events[EVENTS];
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0)
        fail("epoll");
    load.options = options;
    write_request(&load, address);
    for (size_t i = 0; i < options.connections; i++) {
        struct connection *connection = watched(epoll, open_connection(address));
        /* Connections time different ones of their calls, so that samples spread over the window. */
        connection->calls = i;
        call(&load, connection, nanoseconds_of(CLOCK_MONOTONIC));
    }
    struct window window = open_window(options.warm_seconds, options.seconds);
    for (;;) {
        int count = epoll_wait(epoll, events, EVENTS, 15000);
        if (count == 0)
            errno = ETIMEDOUT;
        if (count <= 0)
            fail("no answer");
        for (int i = 0; i < count; i++)
            receive_answer(&load, events[i].data.ptr);
        if (is_over(&window, &load, nanoseconds_of(CLOCK_MONOTONIC)))
            return 0;
    }
}

static _Noreturn void explain(void)
{
    fputs("usage: c_http serve ADDRESS --answer TEXT\n"
          "       c_http load ADDRESS --path PATH --expect TEXT --connections N --warm SECONDS --seconds SECONDS\n"
          "                   [--body TEXT] [--sample N] [--server PID]\n",
          stderr);
    exit(2);
}

int main(int count, char **arguments)
{
    static const struct option names[] = {
        {"path", required_argument, NULL, 'p'},    {"body", required_argument, NULL, 'b'},
        {"expect", required_argument, NULL, 'e'},  {"answer", required_argument, NULL, 'e'},
        {"connections", required_argument, NULL, 'n'}, {"sample", required_argument, NULL, 'a'},
        {"warm", required_argument, NULL, 'w'},    {"seconds", required_argument, NULL, 'd'},
        {"server", required_argument, NULL, 'c'},  {NULL, 0, NULL, 0},
    };
    struct options options = {.sample = 1};
    int option;
    if (count < 3)
        explain();
    while ((option = getopt_long(count - 2, arguments + 2, "", names, NULL)) != -1) {
        switch (option) {
        case 'p': options.path = optarg; break;
        case 'b': options.body = optarg; break;
        case 'e': options.expected = optarg; break;
        case 'n': options.connections = strtoul(optarg, NULL, 10); break;
        case 'a': options.sample = strtoul(optarg, NULL, 10); break;
        case 'w': options.warm_seconds = strtod(optarg, NULL); break;
        case 'd': options.seconds = strtod(optarg, NULL); break;
        case 'c': options.server = (pid_t)strtol(optarg, NULL, 10); break;
        default: explain();
        }
    }
    if (!strcmp(arguments[1], "serve") && options.expected)
        return serve(arguments[2], options.expected);
    if (strcmp(arguments[1], "load") || !options.path || !options.expected || !options.connections || !options.sample
        || options.seconds <= 0 || strncmp(arguments[2], "tcp://", 6))
        explain();
    return run_load(arguments[2], options);
}
