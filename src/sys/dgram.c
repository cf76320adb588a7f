/* The receiving half of sys/dgram, and opening and closing. */
#include "sys/dgram.h"

#include <errno.h>
#include <linux/errqueue.h>
#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>
#include <stdlib.h>
#include <unistd.h>

#include "sys/dgram_batch.h"
#include "sys/sock.h"

enum {
    TURN_ROUNDS = 4,  /* receive calls of one socket before others get their turn */
    TURN_ERRORS = 64, /* ICMP errors likewise */
    PENDING_ERRORS = 8,
    ERROR_CONTROL = 512,
};

/* ---- receiving ---- */

/* What the kernel says beside a datagram. */
struct beside {
    struct addr to;
    size_t segment; /* GRO: bytes of each datagram in the buffer; 0: it is one */
};

static struct beside read_control(const struct dgram *d, struct msghdr *m)
{
    struct beside out = {.to = d->local};
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
        const uint8_t *data = CMSG_DATA(c);
        if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO) {
            int size;
            memcpy(&size, data, sizeof size);
            out.segment = (size_t)size;
        } else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
            memcpy(out.to.ip, data + offsetof(struct in_pktinfo, ipi_addr), 4);
        } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
            memcpy(out.to.ip, data + offsetof(struct in6_pktinfo, ipi6_addr), 16);
        }
    }
    return out;
}

/* Hands out the datagrams of one buffer. False: the dgram was closed. */
static bool deliver(struct dgram *d, struct mmsghdr *message)
{
    struct dgram_batch *b = d->batch;
    struct beside beside = read_control(d, &message->msg_hdr);
    struct span left = span_of(message->msg_hdr.msg_iov->iov_base, message->msg_len);
    struct dgram_in in = {.from = sock_to_addr(message->msg_hdr.msg_name), .to = beside.to};
    do { /* once for an empty datagram, too */
        in.bytes = beside.segment ? span_take(left, beside.segment) : left;
        left = span_skip(left, in.bytes.n);
        d->ops->receive(d, &in);
        if (b->receiving != d)
            return false;
    } while (left.n);
    return true;
}

static void lay_out_slots(struct dgram_batch *b)
{
    struct dgram_view *v = &b->in;
    for (unsigned i = 0; i < DGRAM_SLOTS; i++) {
        v->parts[i] = (struct iovec){b->arena + (size_t)i * DGRAM_SLOT_STEP, DGRAM_SLOT_BYTES};
        v->messages[i].msg_hdr = (struct msghdr){.msg_name = &v->names[i],
                                                 .msg_namelen = sizeof v->names[i],
                                                 .msg_iov = &v->parts[i],
                                                 .msg_iovlen = 1,
                                                 .msg_control = &v->control[i],
                                                 .msg_controllen = sizeof v->control[i]};
    }
}

/* Fills the slots; the count. An ICMP error that is pending fails the call once and hides no datagram. */
static unsigned fill_slots(struct dgram *d)
{
    lay_out_slots(d->batch);
    for (int tries = 0; tries < PENDING_ERRORS; tries++) {
        int n = recvmmsg(d->src.fd, d->batch->in.messages, DGRAM_SLOTS, MSG_DONTWAIT, NULL);
        if (n >= 0)
            return (unsigned)n;
        if (errno == EAGAIN)
            return 0;
    }
    return 0;
}

/* Receives until nothing is there or others should have their turn. The queue goes out before a slot is used again:
 * what is queued may lie in it. */
static void receive_all(struct dgram *d)
{
    struct dgram_batch *b = d->batch;
    unsigned n = DGRAM_SLOTS;
    for (int round = 0; round < TURN_ROUNDS && n == DGRAM_SLOTS && b->receiving == d; round++) {
        n = fill_slots(d);
        for (unsigned i = 0; i < n && deliver(d, &b->in.messages[i]); i++)
            ;
        dgram_flush(b);
    }
}

/* ---- ICMP ---- */

/* Too big for the first link: no ICMP message comes, but the sender should learn the same. The first report for each
 * such datagram counts, those of our repeated tries do not. */
static bool read_local_error(struct dgram *d, const struct sock_extended_err *e, struct dgram_icmp *out)
{
    if (e->ee_errno != EMSGSIZE || !addr_is_same_ip(&d->too_big, &out->peer))
        return false;
    out->peer = d->too_big;
    out->type = out->v6 ? ICMP6_PACKET_TOO_BIG : ICMP_DEST_UNREACH;
    out->code = out->v6 ? 0 : ICMP_FRAG_NEEDED;
    d->too_big.family = ADDR_NONE;
    return true;
}

static bool read_error(struct dgram *d, struct msghdr *m, struct dgram_icmp *out)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
        struct sock_extended_err e;
        bool v6 = c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR;
        if (!v6 && !(c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR))
            continue;
        memcpy(&e, CMSG_DATA(c), sizeof e);
        *out = (struct dgram_icmp){
            .peer = sock_to_addr(m->msg_name), .type = e.ee_type, .code = e.ee_code, .data = e.ee_info, .v6 = v6};
        if (e.ee_origin == SO_EE_ORIGIN_LOCAL)
            return read_local_error(d, &e, out);
        return e.ee_origin == SO_EE_ORIGIN_ICMP || e.ee_origin == SO_EE_ORIGIN_ICMP6;
    }
    return false;
}

/* Takes one error from the queue. 0; ERR_AGAIN: none left. `is_icmp`: it is one to report. */
static int take_error(struct dgram *d, struct dgram_icmp *out, bool *is_icmp)
{
    struct sockaddr_storage name = {.ss_family = AF_UNSPEC};
    _Alignas(struct cmsghdr) uint8_t control[ERROR_CONTROL];
    struct msghdr m = {
        .msg_name = &name, .msg_namelen = sizeof name, .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t n = recvmsg(d->src.fd, &m, MSG_ERRQUEUE | MSG_DONTWAIT);
    if (n < 0)
        return errno == EINTR ? 0 : ERR_AGAIN;
    *is_icmp = read_error(d, &m, out);
    return 0;
}

static void receive_errors(struct dgram *d)
{
    struct dgram_batch *b = d->batch;
    for (int i = 0; i < TURN_ERRORS && b->receiving == d; i++) {
        struct dgram_icmp icmp;
        bool is_icmp = false;
        if (take_error(d, &icmp, &is_icmp) < 0) {
            sock_error(d->src.fd); /* takes away what is left of it, or epoll would report it for ever */
            return;
        }
        if (is_icmp && d->ops->icmp)
            d->ops->icmp(d, &icmp);
    }
}

static void dgram_ready(struct source *s, uint32_t events)
{
    struct dgram *d = container_of(s, struct dgram, src);
    struct dgram_batch *b = d->batch;
    b->receiving = d;
    if (events & EPOLLERR)
        receive_errors(d);
    if (b->receiving == d)
        receive_all(d);
    b->receiving = NULL;
    dgram_flush(b);
}

/* ---- life ---- */

static void flush_later(struct later *l)
{
    dgram_flush(container_of(l, struct dgram_batch, flush));
}

struct dgram_batch *dgram_batch_new(struct loop *l)
{
    struct dgram_batch *b = calloc(1, sizeof *b);
    if (!b)
        return NULL;
    b->loop = l;
    later_init(&b->flush, flush_later);
    b->arena = malloc((size_t)DGRAM_SLOTS * DGRAM_SLOT_STEP);
    b->copies = malloc(DGRAM_COPIES);
    if (b->arena && b->copies)
        return b;
    dgram_batch_free(b);
    return NULL;
}

void dgram_batch_free(struct dgram_batch *b)
{
    if (!b)
        return;
    loop_later_stop(&b->flush);
    free(b->arena);
    free(b->copies);
    free(b);
}

static void set_option(int fd, int level, int name, int value)
{
    setsockopt(fd, level, name, &value, sizeof value);
}

static bool has_option(int fd, int level, int name)
{
    int value;
    socklen_t n = sizeof value;
    return getsockopt(fd, level, name, &value, &n) == 0;
}

/* What the kernel may lack; datagrams flow without it. */
static void set_up_socket(struct dgram *d)
{
    int fd = d->src.fd;
    bool v4 = d->local.family == ADDR_V4;
    set_option(fd, SOL_UDP, UDP_GRO, 1);
    d->gso_max = has_option(fd, SOL_UDP, UDP_SEGMENT) ? UINT16_MAX : 0;
    if (v4)
        set_option(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT);
    if (d->ops->icmp)
        set_option(fd, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_RECVERR : IPV6_RECVERR, 1);
}

int dgram_open(struct dgram *d, int fd, struct dgram_batch *batch, const struct dgram_ops *ops)
{
    static const uint8_t wildcard[16];
    *d = (struct dgram){.src = {.fd = fd, .ready = dgram_ready}, .batch = batch, .ops = ops, .local = sock_local(fd)};
    d->pktinfo = memcmp(d->local.ip, wildcard, sizeof wildcard) == 0;
    set_up_socket(d);
    if (loop_add(batch->loop, &d->src, EPOLLIN) == 0)
        return 0;
    int why = errno;
    close(fd);
    d->src.fd = -1;
    errno = why;
    return ERR_SYS;
}

void dgram_close(struct dgram *d)
{
    if (d->src.fd < 0)
        return;
    dgram_flush(d->batch);
    if (d->batch->receiving == d)
        d->batch->receiving = NULL;
    loop_del(d->batch->loop, &d->src);
    close(d->src.fd);
    d->src.fd = -1;
}

uint64_t dgram_lost(const struct dgram_batch *b)
{
    return b->lost;
}
