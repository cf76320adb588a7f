/* The send half of sys/dgram: the queue, UDP_SEGMENT, and what to do when the kernel refuses. */
#include <errno.h>

#include "sys/dgram_batch.h"
#include "sys/sock.h"

enum { RETRIES = 2 }; /* an ICMP error that is pending makes any send fail once, wherever that goes */

/* ---- from the queue to the kernel's view ---- */

static void *add_control(struct msghdr *m, int level, int type, size_t size)
{
    struct cmsghdr *c = (struct cmsghdr *)((uint8_t *)m->msg_control + m->msg_controllen);
    c->cmsg_level = level;
    c->cmsg_type = type;
    c->cmsg_len = CMSG_LEN(size);
    m->msg_controllen += CMSG_SPACE(size);
    memset(CMSG_DATA(c), 0, size);
    return CMSG_DATA(c);
}

static void add_source(struct msghdr *m, const struct addr *from)
{
    if (from->family == ADDR_V4) {
        struct in_pktinfo *info = add_control(m, IPPROTO_IP, IP_PKTINFO, sizeof *info);
        memcpy(&info->ipi_spec_dst, from->ip, 4);
    } else {
        struct in6_pktinfo *info = add_control(m, IPPROTO_IPV6, IPV6_PKTINFO, sizeof *info);
        memcpy(&info->ipi6_addr, from->ip, 16);
    }
}

static void add_parts(struct dgram_view *v, const struct dgram_out *o)
{
    if (o->head_n)
        v->parts[v->parts_n++] = (struct iovec){(void *)o->head, o->head_n};
    if (o->body.n)
        v->parts[v->parts_n++] = (struct iovec){(void *)o->body.p, o->body.n};
}

/* Adds one message that carries `count` datagrams of the queue from `first` on. */
static void add_message(struct dgram_batch *b, unsigned first, unsigned count)
{
    struct dgram_view *v = &b->out;
    const struct dgram_out *o = &b->queue[first];
    unsigned i = v->n++, parts = v->parts_n;
    struct msghdr *m = &v->messages[i].msg_hdr;
    *m = (struct msghdr){.msg_name = &v->names[i], .msg_control = &v->control[i], .msg_iov = &v->parts[parts]};
    m->msg_namelen = sock_from_addr(&o->to, &v->names[i]);
    if (o->from.family != ADDR_NONE)
        add_source(m, &o->from);
    if (count > 1) {
        uint16_t size = (uint16_t)o->size;
        memcpy(add_control(m, SOL_UDP, UDP_SEGMENT, sizeof size), &size, sizeof size);
    }
    if (m->msg_controllen == 0)
        m->msg_control = NULL;
    for (unsigned k = 0; k < count; k++)
        add_parts(v, o + k);
    m->msg_iovlen = v->parts_n - parts;
    v->first[i] = first;
    v->count[i] = count;
}

/* How many datagrams from `first` on, before `end`, can be the segments of one message: one way, one size, only the
 * last may be shorter. */
static unsigned segments(const struct dgram_batch *b, unsigned first, unsigned end)
{
    const struct dgram_out *o = &b->queue[first];
    size_t total = o->size;
    unsigned n = 1;
    if (o->size == 0 || o->size > o->d->gso_max)
        return 1;
    for (; first + n < end && n < DGRAM_SEGMENTS && o[n - 1].size == o->size; n++) {
        total += o[n].size;
        if (o[n].size == 0 || o[n].size > o->size || total > DGRAM_PAYLOAD_MAX || !addr_is_equal(&o[n].to, &o->to) ||
            !addr_is_equal(&o[n].from, &o->from))
            break;
    }
    return n;
}

/* ---- sending ---- */

static bool is_queue_full(int error)
{
    return error == EAGAIN || error == ENOBUFS || error == ENOMEM;
}

/* Sends messages `from` .. `n`-1 of the view; what has not been sent when it returns begins at the result, with the
 * reason in `error`. */
static unsigned send_some(struct dgram_batch *b, int fd, unsigned from, int *error)
{
    unsigned tries = 0;
    while (from < b->out.n) {
        int sent = sendmmsg(fd, &b->out.messages[from], b->out.n - from, 0);
        if (sent > 0) {
            from += (unsigned)sent;
            tries = 0;
        } else if (is_queue_full(errno) || (errno != EINTR && tries++ == RETRIES)) {
            *error = errno;
            break;
        }
    }
    return from;
}

/* The datagrams of a refused segmented message one by one. If they go, segmenting was the fault, and is not tried again
 * for this size: a link with a smaller MTU, or a device that cannot. */
static void send_singly(struct dgram_batch *b, struct dgram *d, unsigned first, unsigned count, int error)
{
    unsigned gone = 0;
    for (unsigned i = first; i < first + count; i++) {
        int ignored;
        b->out.n = b->out.parts_n = 0;
        add_message(b, i, 1);
        gone += send_some(b, d->src.fd, 0, &ignored);
    }
    b->lost += count - gone;
    if (gone)
        d->gso_max = error == EIO ? 0 : (uint16_t)(b->queue[first].size - 1);
}

static void lose_from(struct dgram_batch *b, unsigned message)
{
    for (; message < b->out.n; message++)
        b->lost += b->out.count[message];
}

/* The kernel's own report of this tells the MTU, but not the port. */
static void note_refusal(struct dgram *d, const struct dgram_out *o, int error)
{
    d->batch->lost++;
    if (error == EMSGSIZE && o->dont_fragment)
        d->too_big = o->to;
}

/* Builds and sends one view's worth of a run (one socket, one DF) of the queue. The index of the first that it did not
 * deal with. */
static unsigned send_view(struct dgram_batch *b, struct dgram *d, unsigned first, unsigned end)
{
    b->out.n = b->out.parts_n = 0;
    for (unsigned n; first < end && b->out.n < DGRAM_MESSAGES; first += n) {
        n = segments(b, first, end);
        add_message(b, first, n);
    }
    for (unsigned at = 0;;) {
        int error = 0;
        at = send_some(b, d->src.fd, at, &error);
        if (at == b->out.n)
            return first;
        if (is_queue_full(error)) {
            lose_from(b, at);
            return first;
        }
        unsigned refused = b->out.first[at], count = b->out.count[at];
        if (count > 1) {
            send_singly(b, d, refused, count, error); /* overwrites the view: what is behind is built anew */
            return refused + count;
        }
        note_refusal(d, &b->queue[refused], error);
        at++;
    }
}

static void set_dont_fragment(const struct dgram *d, bool on)
{
    int value;
    if (d->local.family == ADDR_V4) {
        value = on ? IP_PMTUDISC_DO : IP_PMTUDISC_DONT;
        setsockopt(d->src.fd, IPPROTO_IP, IP_MTU_DISCOVER, &value, sizeof value);
    } else {
        value = on;
        setsockopt(d->src.fd, IPPROTO_IPV6, IPV6_DONTFRAG, &value, sizeof value);
    }
}

static unsigned run_end(const struct dgram_batch *b, unsigned first)
{
    const struct dgram_out *o = &b->queue[first];
    unsigned end = first + 1;
    while (end < b->queued && b->queue[end].d == o->d && b->queue[end].dont_fragment == o->dont_fragment)
        end++;
    return end;
}

void dgram_flush(struct dgram_batch *b)
{
    for (unsigned at = 0; at < b->queued;) {
        unsigned end = run_end(b, at);
        struct dgram *d = b->queue[at].d;
        bool dont_fragment = b->queue[at].dont_fragment;
        if (dont_fragment)
            set_dont_fragment(d, true);
        while (at < end)
            at = send_view(b, d, at, end);
        if (dont_fragment)
            set_dont_fragment(d, false);
    }
    b->queued = 0;
    b->copied = 0;
    loop_later_stop(&b->flush);
}

void dgram_send(struct dgram *d, const struct addr *from, const struct addr *to, struct span head, struct span body,
                bool keep, bool dont_fragment)
{
    struct dgram_batch *b = d->batch;
    size_t size = head.n + body.n;
    must(head.n <= DGRAM_HEAD_MAX);
    if (d->src.fd < 0 || size > DGRAM_PAYLOAD_MAX || to->family != d->local.family || to->port == 0) {
        b->lost++;
        return;
    }
    if (b->queued == DGRAM_QUEUE || (!keep && body.n > DGRAM_COPIES - b->copied))
        dgram_flush(b);
    if (!keep && body.n) {
        memcpy(b->copies + b->copied, body.p, body.n);
        body.p = b->copies + b->copied;
        b->copied += body.n;
    }
    struct dgram_out *o = &b->queue[b->queued++];
    o->d = d;
    o->from = d->pktinfo && from && from->family == to->family ? *from : (struct addr){.family = ADDR_NONE};
    o->to = *to;
    o->body = body;
    o->size = size;
    o->dont_fragment = dont_fragment;
    o->head_n = (uint8_t)head.n;
    if (head.n)
        memcpy(o->head, head.p, head.n);
    if (!b->receiving)
        loop_later(b->loop, &b->flush);
}
