#include "link.h"

#include <stdlib.h>
#include <unistd.h>

#include "session.h"
#include "sys/sock.h"

enum { AT_ONCE = 64, HELLO_BYTES = 8, HELLO_MARK = 0x62656e63 };

/* An end that is not part of a flow yet: dialling, or accepted and its hello not arrived. */
struct visitor {
    struct source src;
    unsigned flow; /* of a near end */
};

static struct {
    struct loop *loop;
    const struct link_ops *ops;
    struct addr through;
    struct source listener;
    unsigned count, dialled, opened;
    int *near; /* descriptors of the flows whose far end is not known yet */
} link_;

static void fail(const char *why)
{
    link_.ops->failed(why);
}

static void visitor_new(int fd, unsigned flow, void (*ready)(struct source *s, uint32_t events), uint32_t wait_for)
{
    struct visitor *v = calloc(1, sizeof *v);
    *v = (struct visitor){.src = {.fd = fd, .ready = ready}, .flow = flow};
    sock_nodelay(fd);
    if (loop_add(link_.loop, &v->src, wait_for) < 0)
        fail("epoll refuses");
}

/* Returns its descriptor. */
static int visitor_free(struct visitor *v)
{
    int fd = v->src.fd;
    loop_del(link_.loop, &v->src);
    free(v);
    return fd;
}

static void say_hello(struct source *src, uint32_t events)
{
    struct visitor *v = container_of(src, struct visitor, src);
    uint8_t hello[HELLO_BYTES];
    be32_put(hello, HELLO_MARK);
    be32_put(hello + 4, v->flow);
    int fd = visitor_free(v);
    if (sock_error(fd) || send(fd, hello, sizeof hello, 0) != sizeof hello)
        fail("the relay does not take the connection");
}

static void dial_more(void)
{
    for (; link_.dialled < link_.count && link_.dialled < link_.opened + AT_ONCE; link_.dialled++) {
        int fd = sock_dial(NULL, &link_.through, false);
        if (fd < 0) {
            fail("cannot dial");
            return;
        }
        link_.near[link_.dialled] = fd;
        visitor_new(fd, link_.dialled, say_hello, EPOLLOUT);
    }
}

static void hear_hello(struct source *src, uint32_t events)
{
    uint8_t hello[HELLO_BYTES];
    int fd = visitor_free(container_of(src, struct visitor, src));
    ssize_t n = recv(fd, hello, sizeof hello, 0);
    unsigned flow = n == sizeof hello ? be32_get(hello + 4) : link_.count;
    if (flow >= link_.dialled || be32_get(hello) != HELLO_MARK) {
        fail("the relay lost or changed the first bytes");
        close(fd);
        return;
    }
    link_.opened++;
    link_.ops->opened(flow, link_.near[flow], fd);
    dial_more();
}

static void accept_all(struct source *listener, uint32_t events)
{
    struct addr peer;
    for (int fd; (fd = sock_accept(listener->fd, &peer)) >= 0;)
        visitor_new(fd, 0, hear_hello, EPOLLIN);
}

void link_open(struct loop *l, const struct addr *through, const struct addr *far, unsigned count,
               const struct link_ops *ops)
{
    link_.loop = l;
    link_.ops = ops;
    link_.through = *through;
    link_.count = count;
    link_.near = calloc(count, sizeof *link_.near);
    link_.listener = (struct source){.fd = sock_listen(far, false, 4096), .ready = accept_all};
    if (link_.listener.fd >= 0)
        session_widen(link_.listener.fd, FAR_BUFFER);
    if (link_.listener.fd < 0 || loop_add(l, &link_.listener, EPOLLIN) < 0)
        fail("cannot listen at the far end");
    else
        dial_more();
}
