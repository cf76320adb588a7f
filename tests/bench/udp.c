/* Load for a UDP relay: ChannelData from clients to peers, or datagrams of peers to clients, at an offered rate, singly
 * or in bursts.
 *
 *   bench_udp --server 127.0.0.1:3478 --user NAME:PASSWORD --clients 8 --size 200 --burst 1 --rate 100000 --direction
 * up --seconds 2 --pid 1234
 *
 * Every datagram carries its number and a pattern; what arrives is checked and counted. A burst of 8 and more leaves in
 * one system call of the sender, as video does. One line of JSON; exit code 1 when a datagram was corrupt.
 */
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "cpu.h"
#include "session.h"
#include "sys/sock.h"
#include "wire/frame.h"

enum { CLIENTS_MAX = 256, BURST_MAX = 64, SIZE_MAX_BYTES = 1400, CHANNEL = 0x4001, BUFFER = 8 << 20 };

struct client {
    struct session session;
    int peer; /* connected to the relayed address */
};

static struct session_server server;
static struct client clients[CLIENTS_MAX];
static unsigned clients_n = 8, size = 200, burst = 1;
static double rate = 100000, seconds = 2;
static bool is_up = true;
static pid_t pid;
static uint64_t sent, received, corrupt;

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void fail(const char *what)
{
    fprintf(stderr, "bench_udp: %s: %s\n", what, strerror(errno));
    exit(2);
}

static void widen(int fd)
{
    int bytes = BUFFER;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes);
}

static void open_client(struct client *c)
{
    struct sockaddr_storage ss;
    struct addr any = server.addr;
    any.port = 0;
    c->peer = sock_udp(&any, false, BUFFER);
    if (c->peer < 0)
        fail("peer socket");
    struct addr peer = sock_local(c->peer);
    if (session_open(&c->session, &server, true) || session_bind_channel(&c->session, CHANNEL, &peer))
        exit(2);
    socklen_t n = sock_from_addr(&c->session.relayed, &ss);
    if (connect(c->peer, (struct sockaddr *)&ss, n))
        fail("peer connect");
    widen(c->peer);
    widen(c->session.control);
}

/* ---- datagrams ---- */

static void fill(uint8_t *p, uint64_t number)
{
    be64_put(p, number);
    memset(p + 8, (int)(number % 251), size - 8);
}

static bool is_whole(const uint8_t *p, size_t n)
{
    return n == size && p[8] == be64_get(p) % 251 && p[n - 1] == p[8];
}

/* One burst of a client: one system call, cut into datagrams by the kernel where it is more than one. */
static void send_burst(struct client *c)
{
    static uint8_t buf[BURST_MAX * (SIZE_MAX_BYTES + CHANNEL_HEADER)];
    size_t head = is_up ? CHANNEL_HEADER : 0, step = size + head;
    for (unsigned i = 0; i < burst; i++) {
        if (head)
            frame_channel_header(buf + i * step, CHANNEL, size);
        fill(buf + i * step + head, sent + i);
    }
    struct iovec v = {buf, burst * step};
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(sizeof(uint16_t))];
    } control = {0};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
    if (burst > 1) {
        m.msg_control = control.room;
        m.msg_controllen = sizeof control.room;
        struct cmsghdr *x = CMSG_FIRSTHDR(&m);
        *x = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(uint16_t)), .cmsg_level = SOL_UDP, .cmsg_type = UDP_SEGMENT};
        uint16_t segment = (uint16_t)step;
        memcpy(CMSG_DATA(x), &segment, sizeof segment);
    }
    if (sendmsg(is_up ? c->session.control : c->peer, &m, MSG_DONTWAIT) >= 0)
        sent += burst;
}

static void receive_all(void)
{
    enum { BATCH = 64 };
    static uint8_t buf[BATCH][SIZE_MAX_BYTES + 64];
    static struct iovec v[BATCH];
    static struct mmsghdr m[BATCH];
    for (unsigned i = 0; i < clients_n; i++) {
        int fd = is_up ? clients[i].peer : clients[i].session.control;
        for (;;) {
            for (int k = 0; k < BATCH; k++) {
                v[k] = (struct iovec){buf[k], sizeof buf[k]};
                m[k] = (struct mmsghdr){.msg_hdr = {.msg_iov = &v[k], .msg_iovlen = 1}};
            }
            int n = recvmmsg(fd, m, BATCH, MSG_DONTWAIT, NULL);
            for (int k = 0; k < n; k++) {
                size_t head = is_up ? 0 : CHANNEL_HEADER;
                received++;
                corrupt += m[k].msg_len < head || !is_whole(buf[k] + head, m[k].msg_len - head);
            }
            if (n < BATCH)
                break;
        }
    }
}

/* Offers the rate evenly: as many bursts as are due, then what has arrived is read. */
static void run(void)
{
    double start = now_s(), cpu = cpu_seconds(pid), now;
    for (unsigned next = 0; (now = now_s()) < start + seconds; next++) {
        if ((double)sent < (now - start) * rate)
            send_burst(&clients[next % clients_n]);
        if ((double)sent >= (now - start) * rate || next % 32 == 0)
            receive_all();
    }
    double took = now - start;
    struct timespec pause = {0, 200 * 1000 * 1000};
    nanosleep(&pause, NULL);
    receive_all();
    cpu = cpu_seconds(pid) - cpu;
    printf(
        "{\"sent\":%llu,\"received\":%llu,\"corrupt\":%llu,\"sent_per_s\":%.0f,\"received_per_s\":%.0f,\"loss\":%.4f,"
        "\"relay_cpu_s_per_million\":%.3f,\"packets_per_cpu_s\":%.0f}\n",
        (unsigned long long)sent, (unsigned long long)received, (unsigned long long)corrupt, (double)sent / took,
        (double)received / took, sent ? 1 - (double)received / (double)sent : 0,
        received ? cpu / (double)received * 1e6 : 0, cpu > 0 ? (double)received / cpu : 0);
}

static const struct option options[] = {
    {"server", 1, 0, 's'}, {"user", 1, 0, 'u'},    {"clients", 1, 0, 'n'},   {"size", 1, 0, 'z'}, {"burst", 1, 0, 'b'},
    {"rate", 1, 0, 'r'},   {"seconds", 1, 0, 'd'}, {"direction", 1, 0, 'w'}, {"pid", 1, 0, 'p'},  {0}};

static void set_option(int name, char *value)
{
    switch (name) {
    case 's': addr_parse_with_port(value, &server.addr); break;
    case 'u':
        server.user = strtok(value, ":");
        server.password = strtok(NULL, "");
        break;
    case 'n': clients_n = (unsigned)atoi(value); break;
    case 'z': size = (unsigned)atoi(value); break;
    case 'b': burst = (unsigned)atoi(value); break;
    case 'r': rate = atof(value); break;
    case 'd': seconds = atof(value); break;
    case 'w': is_up = strcmp(value, "down") != 0; break;
    case 'p': pid = (pid_t)atoi(value); break;
    }
}

int main(int argc, char **argv)
{
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;)
        set_option(c, optarg);
    if (!server.addr.family || !server.user || !server.password || clients_n < 1 || clients_n > CLIENTS_MAX ||
        size < 16 || size > SIZE_MAX_BYTES || burst < 1 || burst > BURST_MAX) {
        fprintf(stderr, "usage: bench_udp --server ADDR:PORT --user NAME:PASSWORD [--clients N] [--size BYTES] "
                        "[--burst N] [--rate PER_S]\n"
                        "                 [--direction up|down] [--seconds S] [--pid PID]\n");
        return 2;
    }
    for (unsigned i = 0; i < clients_n; i++)
        open_client(&clients[i]);
    run();
    return corrupt != 0;
}
