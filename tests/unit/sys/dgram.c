#include "sys/dgram.h"

#include "help.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

static struct loop loop;
static struct dgram_batch *batch;

static int setup(void **state)
{
    if (loop_init(&loop) < 0)
        return -1;
    batch = dgram_batch_new(&loop);
    return batch ? 0 : -1;
}

static int teardown(void **state)
{
    dgram_batch_free(batch);
    loop_fini(&loop);
    return 0;
}

/* ---- a dgram under test and what came to it ---- */

enum { KEPT = 4096 };

struct port {
    struct dgram *d; /* in a heap block of its own, so that a touch after free shows */
    size_t got, bytes;
    size_t sizes[KEPT];
    uint8_t firsts[KEPT]; /* the first byte of each */
    bool is_broken;       /* a byte was not as `fill` makes it */
    struct addr from, to;
    bool echoes;
    struct port *forward_to; /* sent on from this port's dgram to forward_at */
    struct addr forward_at;
    int close_after; /* closes and frees itself in the callback of this datagram, counted from 1 */
    int icmps;
    struct dgram_icmp icmp;
};

struct test_dgram {
    struct dgram d;
    struct port *p;
};

static struct port *port_of(struct dgram *d)
{
    return container_of(d, struct test_dgram, d)->p;
}

static void port_close(struct port *p)
{
    if (!p->d)
        return;
    dgram_close(p->d);
    dgram_close(p->d);
    free(container_of(p->d, struct test_dgram, d));
    p->d = NULL;
}

/* Byte i of a datagram whose first byte is `first`. */
static uint8_t fill_byte(uint8_t first, size_t i)
{
    return (uint8_t)(first + i * 7);
}

static void fill(uint8_t *p, size_t n, uint8_t first)
{
    for (size_t i = 0; i < n; i++)
        p[i] = fill_byte(first, i);
}

static void on_receive(struct dgram *d, const struct dgram_in *in)
{
    struct port *p = port_of(d);
    uint8_t first = in->bytes.n ? in->bytes.p[0] : 0;
    for (size_t i = 0; i < in->bytes.n; i++)
        p->is_broken |= in->bytes.p[i] != fill_byte(first, i);
    if (p->got < KEPT) {
        p->sizes[p->got] = in->bytes.n;
        p->firsts[p->got] = first;
    }
    p->got++;
    p->bytes += in->bytes.n;
    p->from = in->from;
    p->to = in->to;
    if (p->echoes)
        dgram_send(d, &in->to, &in->from, span_of(NULL, 0), in->bytes, true, false);
    if (p->forward_to)
        dgram_send(p->forward_to->d, NULL, &p->forward_at, span_take(in->bytes, 4), span_skip(in->bytes, 4), true,
                   false);
    if (p->close_after && p->got == (size_t)p->close_after)
        port_close(p);
}

static void on_icmp(struct dgram *d, const struct dgram_icmp *icmp)
{
    struct port *p = port_of(d);
    p->icmps++;
    p->icmp = *icmp;
    if (p->close_after < 0)
        port_close(p);
}

static const struct dgram_ops ops = {.receive = on_receive, .icmp = on_icmp};
static const struct dgram_ops ops_without_icmp = {.receive = on_receive};

static struct port a, b, c; /* large: not on the stack */

static struct addr port_open(struct port *p, const struct addr *at)
{
    struct test_dgram *t = malloc(sizeof *t);
    *p = (struct port){.d = &t->d};
    t->p = p;
    int fd = sock_udp(at, false, 1 << 20);
    assert_true(fd >= 0);
    assert_int_equal(dgram_open(p->d, fd, batch, &ops), 0);
    return sock_local(fd);
}

static struct addr open_v4(struct port *p)
{
    struct addr any = loopback(0);
    return port_open(p, &any);
}

static void send_copy(struct port *p, const struct addr *to, size_t n, uint8_t first)
{
    static uint8_t buf[DGRAM_PAYLOAD_MAX];
    fill(buf, n, first);
    size_t head = n < 12 ? n / 2 : 12;
    dgram_send(p->d, NULL, to, span_of(buf, head), span_of(buf + head, n - head), false, false);
    memset(buf, 0xee, n); /* it was copied */
}

static void settle(void)
{
    for (int i = 0; i < 5; i++)
        loop_turn(&loop, 5);
}

/* ---- one at a time ---- */

static void every_size_both_families(void **state)
{
    static const size_t sizes[] = {0, 1, 2, 28, 1472, 1473, 9000, DGRAM_PAYLOAD_MAX};
    enum { N = sizeof sizes / sizeof *sizes };
    struct addr where[2] = {loopback(0), addr_v6(V6_LOOPBACK, 0)};
    for (int f = 0; f < (has_v6() ? 2 : 1); f++) {
        struct addr from = port_open(&a, &where[f]), to = port_open(&b, &where[f]);
        b.echoes = true;
        for (size_t i = 0; i < N; i++) {
            send_copy(&a, &to, sizes[i], (uint8_t)i);
            run_until(&loop, a.got == i + 1);
            assert_int_equal(b.sizes[i], sizes[i]);
            assert_int_equal(a.sizes[i], sizes[i]);
            assert_true(addr_is_equal(&a.from, &to) && addr_is_equal(&b.from, &from));
            assert_true(addr_is_equal(&b.to, &to));
        }
        assert_false(a.is_broken || b.is_broken);
        port_close(&a);
        port_close(&b);
    }
    assert_int_equal(dgram_lost(batch), 0);
}

/* A client that reached one of our addresses is answered from this one. */
static void wildcard_answers_from_where_it_was_asked(void **state)
{
    struct addr any[2] = {addr_v4(0, 0), addr_v6((uint8_t[16]){0}, 0)};
    struct addr asked[2] = {addr_v4(0x7f000002, 0), addr_v6(V6_LOOPBACK, 0)};
    for (int f = 0; f < (has_v6() ? 2 : 1); f++) {
        struct addr to = port_open(&b, &any[f]), from = asked[f];
        port_open(&a, &from);
        assert_true(b.d->pktinfo);
        assert_false(a.d->pktinfo);
        b.echoes = true;
        asked[f].port = to.port;
        send_copy(&a, &asked[f], 100, 1);
        run_until(&loop, a.got == 1);
        assert_true(addr_is_equal(&b.to, &asked[f]));
        assert_true(addr_is_equal(&a.from, &asked[f]));
        port_close(&a);
        port_close(&b);
    }
}

static void impossible_ones_are_counted(void **state)
{
    struct addr to = open_v4(&a), six = addr_v6(V6_LOOPBACK, 9), zero = loopback(0), all = addr_v4(0xffffffff, 9);
    static uint8_t large[DGRAM_PAYLOAD_MAX + 1];
    dgram_send(a.d, NULL, &six, span_of("x", 1), span_of(NULL, 0), false, false);
    dgram_send(a.d, NULL, &zero, span_of("x", 1), span_of(NULL, 0), false, false);
    dgram_send(a.d, NULL, &to, span_of(NULL, 0), span_of(large, sizeof large), false, false);
    assert_int_equal(dgram_lost(batch), 3);
    dgram_send(a.d, NULL, &all, span_of("x", 1), span_of(NULL, 0), false, false); /* the kernel refuses a broadcast */
    send_copy(&a, &to, 10, 1);
    run_until(&loop, a.got == 1);
    assert_int_equal(dgram_lost(batch), 4);
    port_close(&a);
    dgram_send(&(struct dgram){.src.fd = -1, .batch = batch}, NULL, &to, span_of(NULL, 0), span_of(NULL, 0), false,
               false);
    assert_int_equal(dgram_lost(batch), 5);
}

/* ---- many at once ---- */

/* A plain receiver: no GRO, one datagram a call. The sizes that arrived, in order. */
static size_t plain_receive(int fd, size_t *sizes, size_t max, bool *is_broken)
{
    static uint8_t buf[DGRAM_PAYLOAD_MAX];
    size_t n = 0;
    ssize_t got;
    while (n < max && (got = recv(fd, buf, sizeof buf, MSG_DONTWAIT)) >= 0) {
        for (ssize_t i = 0; i < got; i++)
            *is_broken |= buf[i] != fill_byte((uint8_t)n, (size_t)i);
        sizes[n++] = (size_t)got;
    }
    return n;
}

/* Sizes as they come in life: runs of one size, shorter ends, odd ones between, an empty one. */
static size_t mixed_size(size_t i)
{
    static const size_t sizes[] = {200, 200, 200, 120, 1200, 1200, 1200, 1200, 0, 0, 1200, 1, 1, 2, 200};
    return sizes[i % (sizeof sizes / sizeof *sizes)];
}

static void segments_arrive_as_they_were_queued(void **state)
{
    enum { CHUNK = 60 }; /* what a receive buffer of the usual size holds */
    static size_t sizes[CHUNK + 1];
    struct addr any = loopback(0);
    bool is_broken = false;
    int fd = sock_udp(&any, false, 0);
    struct addr to = sock_local(fd);
    open_v4(&a);
    for (size_t round = 0; round < 15; round++) {
        for (size_t i = 0; i < CHUNK; i++)
            send_copy(&a, &to, mixed_size(round + i), (uint8_t)i);
        dgram_flush(batch);
        assert_int_equal(plain_receive(fd, sizes, CHUNK + 1, &is_broken), CHUNK);
        for (size_t i = 0; i < CHUNK; i++)
            assert_int_equal(sizes[i], mixed_size(round + i));
    }
    assert_false(is_broken);
    assert_int_equal(a.d->gso_max, UINT16_MAX); /* nothing was refused */
    assert_int_equal(dgram_lost(batch), 0);
    port_close(&a);
    close(fd);
}

/* The bytes that the kernel hands over in one buffer, and the segment size it tells: 0 if there is none. */
static size_t gro_segment(int fd, size_t *total)
{
    static uint8_t buf[1 << 16];
    _Alignas(struct cmsghdr) uint8_t control[256];
    struct iovec v = {buf, sizeof buf};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    ssize_t n = recvmsg(fd, &m, MSG_DONTWAIT);
    int size = 0;
    *total = n > 0 ? (size_t)n : 0;
    for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); h; h = CMSG_NXTHDR(&m, h))
        if (h->cmsg_type == UDP_GRO)
            memcpy(&size, CMSG_DATA(h), sizeof size);
    return (size_t)size;
}

/* On loopback a segmented message reaches a GRO socket in one piece: so we can see that it was one. */
static void one_size_one_way_leaves_as_one_message(void **state)
{
    struct addr any = loopback(0);
    int fd = sock_udp(&any, false, 1 << 20), on = 1;
    setsockopt(fd, SOL_UDP, UDP_GRO, &on, sizeof on);
    struct addr to = sock_local(fd);
    open_v4(&a);
    size_t total;
    for (size_t i = 0; i < 70; i++)
        send_copy(&a, &to, i == 69 ? 50 : 300, (uint8_t)i);
    dgram_flush(batch);
    assert_int_equal(gro_segment(fd, &total), 300);
    assert_int_equal(total, 64 * 300);
    assert_int_equal(gro_segment(fd, &total), 300);
    assert_int_equal(total, 5 * 300 + 50);
    for (size_t i = 0; i < 300; i++) /* more than the queue holds: it leaves by itself */
        send_copy(&a, &to, 20, (uint8_t)i);
    dgram_flush(batch);
    for (size_t left = 300; left; left -= total / 20) {
        assert_int_equal(gro_segment(fd, &total), 20);
        assert_int_equal(total, 20 * (left > 64 ? 64 : left));
    }
    for (size_t i = 0; i < 3; i++)
        send_copy(&a, &to, 30000, 1);
    dgram_flush(batch);
    assert_int_equal(gro_segment(fd, &total), 30000);
    assert_int_equal(total, 60000); /* a third would not fit into one message */
    assert_int_equal(gro_segment(fd, &total), 0);
    assert_int_equal(total, 30000);
    port_close(&a);
    close(fd);
}

static void different_ways_are_not_merged(void **state)
{
    struct addr any = loopback(0), to[2];
    int fds[2] = {sock_udp(&any, false, 0), sock_udp(&any, false, 0)};
    static size_t sizes[8];
    bool is_broken = false;
    open_v4(&a);
    for (int i = 0; i < 2; i++)
        to[i] = sock_local(fds[i]);
    for (int i = 0; i < 8; i++)
        send_copy(&a, &to[i & 1], 100, (uint8_t)(i / 2));
    dgram_flush(batch);
    assert_int_equal(plain_receive(fds[0], sizes, 8, &is_broken), 4);
    assert_int_equal(plain_receive(fds[1], sizes, 8, &is_broken), 4);
    assert_false(is_broken);
    port_close(&a);
    close(fds[0]);
    close(fds[1]);
}

/* A socket without checksums refuses UDP_SEGMENT: the datagrams go all the same, and it is not tried again. */
static void refused_segmenting_falls_back(void **state)
{
    static size_t sizes[200];
    struct addr any = loopback(0);
    bool is_broken = false;
    int fd = sock_udp(&any, false, 1 << 20), on = 1;
    struct addr to = sock_local(fd);
    open_v4(&a);
    setsockopt(a.d->src.fd, SOL_SOCKET, SO_NO_CHECK, &on, sizeof on);
    for (size_t i = 0; i < 150; i++)
        send_copy(&a, &to, i < 100 ? 400 : 500, (uint8_t)i);
    dgram_flush(batch);
    assert_int_equal(plain_receive(fd, sizes, 200, &is_broken), 150);
    assert_false(is_broken);
    assert_int_equal(a.d->gso_max, 399);
    assert_int_equal(dgram_lost(batch), 0);
    port_close(&a);
    close(fd);
}

/* A run of datagrams that nobody can send says nothing about segmenting. */
static void unsendable_run_does_not_switch_segmenting_off(void **state)
{
    struct addr all = addr_v4(0xffffffff, 9);
    open_v4(&a);
    for (size_t i = 0; i < 10; i++)
        send_copy(&a, &all, 400, 1);
    dgram_flush(batch);
    assert_int_equal(dgram_lost(batch), 10);
    assert_int_equal(a.d->gso_max, UINT16_MAX);
    port_close(&a);
}

/* The relay's path: received with GRO, forwarded with a new head and the body where it lies, by another socket. */
static void forwarded_in_bulk(void **state)
{
    open_v4(&a);
    struct addr middle = open_v4(&b), end = open_v4(&c);
    b.forward_to = &a;
    b.forward_at = end;
    enum { N = 3000 };
    for (size_t sent = 0; sent < N;) {
        for (int i = 0; i < 100; i++, sent++)
            send_copy(&a, &middle, 4 + sent % 900, (uint8_t)sent);
        run_until(&loop, c.got == sent);
    }
    assert_false(b.is_broken || c.is_broken);
    for (size_t i = 0; i < N; i++) {
        assert_int_equal(c.sizes[i], 4 + i % 900);
        assert_int_equal(c.firsts[i], (uint8_t)i);
    }
    port_close(&a);
    port_close(&b);
    port_close(&c);
}

static void copy_space_is_bounded(void **state)
{
    struct addr to = open_v4(&a);
    for (size_t i = 0; i < 12; i++) /* together far more than the space for copies */
        send_copy(&a, &to, 60000, (uint8_t)i);
    run_until(&loop, a.got == 12);
    assert_false(a.is_broken);
    port_close(&a);
}

/* A socket that never runs dry must not starve another one. */
static void fair_to_others(void **state)
{
    struct addr any = loopback(0);
    struct addr busy = open_v4(&a), quiet = open_v4(&b);
    int fd = sock_udp(&any, false, 0);
    struct sockaddr_storage ss;
    socklen_t n = sock_from_addr(&busy, &ss);
    for (int i = 0; i < 400; i++) /* different sizes: the kernel merges none */
        sendto(fd, "xxxxxxxxxx", (size_t)(1 + i % 2), 0, (struct sockaddr *)&ss, n);
    n = sock_from_addr(&quiet, &ss);
    sendto(fd, "y", 1, 0, (struct sockaddr *)&ss, n);
    loop_turn(&loop, PATIENCE_MS);
    assert_int_equal(b.got, 1);
    assert_in_range(a.got, 1, 128);
    run_until(&loop, a.got == 400);
    port_close(&a);
    port_close(&b);
    close(fd);
}

/* ---- closing ---- */

static void closing_flushes(void **state)
{
    open_v4(&a);
    struct addr to = open_v4(&b);
    send_copy(&a, &to, 10, 1);
    port_close(&a);
    run_until(&loop, b.got == 1);
    port_close(&b);
}

static void closing_inside_receive(void **state)
{
    struct addr to = open_v4(&a);
    open_v4(&b);
    a.echoes = true;
    a.close_after = 3;
    for (int i = 0; i < 8; i++)
        send_copy(&b, &to, 100, (uint8_t)i); /* some in one buffer */
    send_copy(&b, &to, 7, 8);
    run_until(&loop, !a.d);
    settle();
    assert_int_equal(a.got, 3);
    assert_int_equal(b.got, 3); /* what it had queued has left */
    port_close(&b);
}

/* ---- ICMP ---- */

static struct addr closed_port(const struct addr *any)
{
    int fd = sock_udp(any, false, 0);
    struct addr at = sock_local(fd);
    close(fd);
    return at;
}

static void port_unreachable_is_reported_once(void **state)
{
    struct addr where[2] = {loopback(0), addr_v6(V6_LOOPBACK, 0)};
    for (int f = 0; f < (has_v6() ? 2 : 1); f++) {
        struct addr closed = closed_port(&where[f]);
        port_open(&a, &where[f]);
        send_copy(&a, &closed, 100, 1);
        run_until(&loop, a.icmps == 1);
        assert_true(addr_is_equal(&a.icmp.peer, &closed));
        assert_int_equal(a.icmp.v6, f == 1);
        assert_int_equal(a.icmp.type, f ? 1 : 3);
        assert_int_equal(a.icmp.code, f ? 4 : 3);
        uint64_t before = loop_clock_ms();
        loop_turn(&loop, 30);
        assert_true(loop_clock_ms() >= before + 29); /* and does not go on being ready */
        assert_int_equal(a.icmps, 1);
        port_close(&a);
    }
}

/* Errors that are pending must neither hide what comes in nor stop what goes out. */
static void errors_stop_nothing(void **state)
{
    struct addr any = loopback(0), closed = closed_port(&any), from = open_v4(&a), to = open_v4(&b);
    enum { N = 120 };
    for (int i = 0; i < N; i++) {
        send_copy(&a, &closed, 50, 1);
        if (i & 1)
            dgram_flush(batch); /* the error is there before the next one leaves */
        send_copy(&a, &to, 60, 2);
        send_copy(&b, &from, 70, 3);
    }
    run_until(&loop, b.got == N && a.got == N && a.icmps > 0);
    settle();
    assert_int_equal(dgram_lost(batch), 0);
    assert_false(a.is_broken || b.is_broken);
    assert_true(a.icmps <= N);
    port_close(&a);
    port_close(&b);
}

static void nobody_asks_for_icmp(void **state)
{
    struct addr any = loopback(0), closed = closed_port(&any);
    struct test_dgram t = {.p = &a};
    a = (struct port){.d = NULL};
    assert_int_equal(dgram_open(&t.d, sock_udp(&any, false, 0), batch, &ops_without_icmp), 0);
    struct addr self = t.d.local;
    for (int i = 0; i < 3; i++) {
        dgram_send(&t.d, NULL, &closed, span_of("x", 1), span_of(NULL, 0), false, false);
        dgram_send(&t.d, NULL, &self, span_of("y", 1), span_of(NULL, 0), false, false);
        settle();
    }
    assert_int_equal(a.got, 3);
    assert_int_equal(a.icmps, 0);
    dgram_close(&t.d);
}

static void closing_inside_icmp(void **state)
{
    struct addr any = loopback(0), closed = closed_port(&any);
    open_v4(&a);
    a.close_after = -1;
    send_copy(&a, &closed, 10, 1);
    send_copy(&a, &closed, 11, 1);
    run_until(&loop, !a.d);
    settle();
    assert_int_equal(a.icmps, 1);
}

/* ---- DF and MTU, in a network namespace whose loopback has an Ethernet's MTU ---- */

static void bring_up_loopback(int mtu)
{
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct ifreq r = {.ifr_name = "lo", .ifr_mtu = mtu};
    assert_int_equal(ioctl(fd, SIOCSIFMTU, &r), 0);
    r.ifr_flags = IFF_UP | IFF_LOOPBACK | IFF_RUNNING;
    assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &r), 0);
    close(fd);
}

static int mtu_discover(const struct port *p)
{
    int value = -1;
    socklen_t n = sizeof value;
    getsockopt(p->d->src.fd, IPPROTO_IP, IP_MTU_DISCOVER, &value, &n);
    return value;
}

static void dont_fragment_is_obeyed_and_reported(void)
{
    static uint8_t large[3000];
    fill(large, sizeof large, 9);
    struct span body = span_of(large, sizeof large), none = span_of(NULL, 0);
    open_v4(&a);
    struct addr to = open_v4(&b);
    assert_int_equal(mtu_discover(&a), IP_PMTUDISC_DONT);
    dgram_send(a.d, NULL, &to, none, span_take(body, 1000), false, true);
    dgram_send(a.d, NULL, &to, none, body, false, true);
    dgram_send(a.d, NULL, &to, none, body, false, false); /* this one may be cut up on its way */
    dgram_send(a.d, NULL, &to, none, span_take(body, 1001), false, true);
    run_until(&loop, b.got == 3 && a.icmps == 1);
    assert_int_equal(b.sizes[0], 1000);
    assert_int_equal(b.sizes[1], 3000);
    assert_int_equal(b.sizes[2], 1001);
    assert_int_equal(dgram_lost(batch), 1);
    assert_int_equal(a.icmp.type, 3);
    assert_int_equal(a.icmp.code, 4);
    assert_int_equal(a.icmp.data, 1500);
    assert_true(addr_is_equal(&a.icmp.peer, &to));
    assert_int_equal(mtu_discover(&a), IP_PMTUDISC_DONT);
    port_close(&a);
    port_close(&b);
}

static void dont_fragment_v6(void)
{
    static uint8_t large[3000];
    struct addr any = addr_v6(V6_LOOPBACK, 0);
    struct span body = span_of(large, sizeof large), none = span_of(NULL, 0);
    uint64_t lost = dgram_lost(batch);
    if (!has_v6())
        return;
    port_open(&a, &any);
    struct addr to = port_open(&b, &any);
    dgram_send(a.d, NULL, &to, none, body, false, true);
    dgram_send(a.d, NULL, &to, none, body, false, false);
    run_until(&loop, b.got == 1 && a.icmps == 1);
    assert_int_equal(dgram_lost(batch), lost + 1);
    assert_int_equal(a.icmp.type, 2);
    assert_int_equal(a.icmp.code, 0);
    assert_int_equal(a.icmp.data, 1500);
    port_close(&a);
    port_close(&b);
}

static void segments_larger_than_the_mtu_go_singly(void)
{
    uint64_t lost = dgram_lost(batch);
    open_v4(&a);
    struct addr to = open_v4(&b);
    for (int i = 0; i < 20; i++)
        send_copy(&a, &to, i < 10 ? 2000 : 1400, (uint8_t)i);
    run_until(&loop, b.got == 20);
    assert_int_equal(a.d->gso_max, 1999); /* 1400 was still merged */
    assert_false(b.is_broken);
    assert_int_equal(dgram_lost(batch), lost);
    port_close(&a);
    port_close(&b);
}

enum { CHILD_CANNOT = 77 };

static void mtu_rules(void **state)
{
    pid_t child = fork();
    if (child == 0) {
        if (unshare(CLONE_NEWNET) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
            _exit(CHILD_CANNOT);
        bring_up_loopback(1500);
        dont_fragment_is_obeyed_and_reported();
        dont_fragment_v6();
        segments_larger_than_the_mtu_go_singly();
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == CHILD_CANNOT)
        return; /* no right to make a namespace here */
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void open_of_a_bad_descriptor(void **state)
{
    struct dgram d;
    int file = open("/dev/null", 0);
    assert_int_equal(dgram_open(&d, file, batch, &ops), ERR_SYS); /* epoll takes no such thing */
    assert_int_equal(d.src.fd, -1);
    assert_int_equal(fcntl(file, F_GETFD), -1); /* and it is closed */
    dgram_close(&d);
}

#define DGRAM_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        DGRAM_TEST(every_size_both_families),
        DGRAM_TEST(wildcard_answers_from_where_it_was_asked),
        DGRAM_TEST(impossible_ones_are_counted),
        DGRAM_TEST(segments_arrive_as_they_were_queued),
        DGRAM_TEST(one_size_one_way_leaves_as_one_message),
        DGRAM_TEST(different_ways_are_not_merged),
        DGRAM_TEST(refused_segmenting_falls_back),
        DGRAM_TEST(unsendable_run_does_not_switch_segmenting_off),
        DGRAM_TEST(forwarded_in_bulk),
        DGRAM_TEST(copy_space_is_bounded),
        DGRAM_TEST(fair_to_others),
        DGRAM_TEST(closing_flushes),
        DGRAM_TEST(closing_inside_receive),
        DGRAM_TEST(port_unreachable_is_reported_once),
        DGRAM_TEST(errors_stop_nothing),
        DGRAM_TEST(nobody_asks_for_icmp),
        DGRAM_TEST(closing_inside_icmp),
        DGRAM_TEST(mtu_rules),
        DGRAM_TEST(open_of_a_bad_descriptor),
    };
    return cmocka_run_group_tests_name("dgram", tests, NULL, NULL);
}
