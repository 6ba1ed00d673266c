/* A flood of connections from addresses of this machine, and the least that a server can do against one.
 *
 *   connection_flood flood PORT SOURCE COUNT RATE   connects RATE times a second, whether or not connections end, from
 *                                                   COUNT addresses in turn, of which SOURCE is the first
 *   connection_flood refuse                         accepts at a free port, which it prints, and resets each connection
 *
 * Both end with their standard input. `flood` then prints the numbers of its connections and the seconds, as JSON.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define EVENTS 256
/* Connections that may wait for their end; beyond it the oldest one is given up. More than a server's backlog. */
#define MOST_OPEN 4096
#define MOST_FILES 65536
#define TICK_NS 500000
#define MOST_AT_ONCE 64

static const struct linger at_once = {1, 0};

static void fail(const char *name)
{
    perror(name);
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int has_ended(void)
{
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    return poll(&input, 1, 0) > 0;
}

static struct sockaddr_in place(const char *host, int port)
{
    struct sockaddr_in found = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (inet_pton(AF_INET, host, &found.sin_addr) != 1)
        fail("address");
    return found;
}

/* ---------------------------------------------------------------------------------------- flood */

static struct {
    struct sockaddr_in server, source;
    uint32_t first_source, sources;
    int epoll;
    uint64_t made, ended, given_up, failed;
    /* The open ones by age; number_of[descriptor] is that of the connection that has it now, 0 for none. */
    struct {
        int descriptor;
        uint64_t number;
    } line[MOST_OPEN];
    uint64_t first, last;
    uint64_t number_of[MOST_FILES];
} flood;

static void end(int descriptor)
{
    flood.number_of[descriptor] = 0;
    close(descriptor);
}

/* Make room in the line: drop entries of connections that ended, and give up the oldest one if all are open. */
static void make_room(void)
{
    while (flood.first < flood.last) {
        int descriptor = flood.line[flood.first % MOST_OPEN].descriptor;
        int is_open = flood.number_of[descriptor] == flood.line[flood.first % MOST_OPEN].number;
        if (is_open && flood.last - flood.first < MOST_OPEN)
            return;
        flood.first++;
        if (is_open) {
            setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
            end(descriptor);
            flood.given_up++;
        }
    }
}

static void connect_one(void)
{
    int yes = 1, descriptor = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP};
    flood.made++;
    if (descriptor < 0 || descriptor >= MOST_FILES)
        fail("socket");
    setsockopt(descriptor, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof yes);
    flood.source.sin_addr.s_addr = htonl(flood.first_source + (uint32_t)(flood.made % flood.sources));
    if (bind(descriptor, (struct sockaddr *)&flood.source, sizeof flood.source) ||
        (connect(descriptor, (struct sockaddr *)&flood.server, sizeof flood.server) && errno != EINPROGRESS)) {
        flood.failed++;
        close(descriptor);
        return;
    }
    event.data.fd = descriptor;
    if (epoll_ctl(flood.epoll, EPOLL_CTL_ADD, descriptor, &event))
        fail("epoll_ctl");
    make_room();
    flood.line[flood.last % MOST_OPEN].descriptor = descriptor;
    flood.line[flood.last++ % MOST_OPEN].number = flood.made;
    flood.number_of[descriptor] = flood.made;
}

static void take_ends(void)
{
    struct epoll_event events[EVENTS];
    int count;
    do {
        count = epoll_wait(flood.epoll, events, EVENTS, 0);
        for (int i = 0; i < count; i++) {
            flood.ended++;
            end(events[i].data.fd);
        }
    } while (count == EVENTS);
}

static int run_flood(int port, const char *source, int sources, double rate)
{
    struct rlimit files = {MOST_FILES, MOST_FILES};
    struct timespec tick = {0, TICK_NS};
    uint64_t began = now_ns(), tick_began = began;
    if (setrlimit(RLIMIT_NOFILE, &files)) {
        getrlimit(RLIMIT_NOFILE, &files);
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    flood.server = place("127.0.0.1", port);
    flood.source = place(source, 0);
    flood.first_source = ntohl(flood.source.sin_addr.s_addr);
    flood.sources = (uint32_t)sources;
    flood.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (flood.epoll < 0)
        fail("epoll_create1");
    while (!has_ended()) {
        double due = (double)(now_ns() - began) / 1e9 * rate;
        /* After a stall it goes on at its rate: a burst would not be one of so many a second. */
        if (due - (double)flood.made > rate / 10) {
            began += (uint64_t)((due - (double)flood.made) / rate * 1e9);
            due = (double)flood.made;
        }
        for (int at_once_left = MOST_AT_ONCE; at_once_left && (double)flood.made < due; at_once_left--)
            connect_one();
        nanosleep(&tick, NULL);
        take_ends();
    }
    printf("{\"made\": %llu, \"ended\": %llu, \"given_up\": %llu, \"failed\": %llu, \"seconds\": %.6f}\n",
           (unsigned long long)flood.made, (unsigned long long)flood.ended, (unsigned long long)flood.given_up,
           (unsigned long long)flood.failed, (double)(now_ns() - tick_began) / 1e9);
    return 0;
}

/* --------------------------------------------------------------------------------------- server */

static int refuse(void)
{
    struct sockaddr_in own = place("127.0.0.1", 0);
    socklen_t size = sizeof own;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct pollfd files[2] = {{.fd = listener, .events = POLLIN}, {.fd = STDIN_FILENO, .events = POLLIN}};
    if (listener < 0 || bind(listener, (struct sockaddr *)&own, size) || listen(listener, 1024) ||
        getsockname(listener, (struct sockaddr *)&own, &size))
        fail("listen");
    printf("%d\n", ntohs(own.sin_port));
    fflush(stdout);
    while (poll(files, 2, -1) > 0 && !files[1].revents) {
        for (int i = 0; i < MOST_AT_ONCE; i++) {
            int connection = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
            if (connection < 0)
                break;
            setsockopt(connection, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
            close(connection);
        }
    }
    return 0;
}

int main(int count, char **arguments)
{
    if (count == 6 && !strcmp(arguments[1], "flood") && atoi(arguments[4]) > 0)
        return run_flood(atoi(arguments[2]), arguments[3], atoi(arguments[4]), atof(arguments[5]));
    if (count == 2 && !strcmp(arguments[1], "refuse"))
        return refuse();
    fprintf(stderr, "connection_flood flood PORT SOURCE COUNT RATE | refuse\n");
    return 2;
}
