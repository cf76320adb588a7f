#include "sys/sock.h"

#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include "base/err.h"

/* ---- struct addr <-> sockaddr ---- */

socklen_t sock_from_addr(const struct addr *a, struct sockaddr_storage *out)
{
    memset(out, 0, sizeof *out);
    if (a->family == ADDR_V4) {
        struct sockaddr_in *v4 = (struct sockaddr_in *)out;
        v4->sin_family = AF_INET;
        v4->sin_port = htons(a->port);
        memcpy(&v4->sin_addr, a->ip, 4);
        return sizeof *v4;
    }
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(a->port);
    memcpy(&v6->sin6_addr, a->ip, 16);
    return sizeof *v6;
}

struct addr sock_to_addr(const struct sockaddr_storage *ss)
{
    struct addr a = {.family = ADDR_NONE};
    if (ss->ss_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)ss;
        a.family = ADDR_V4;
        a.port = ntohs(v4->sin_port);
        memcpy(a.ip, &v4->sin_addr, 4);
    } else if (ss->ss_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)ss;
        a.family = ADDR_V6;
        a.port = ntohs(v6->sin6_port);
        memcpy(a.ip, &v6->sin6_addr, 16);
    }
    return a;
}

static struct addr name_of(int fd, int (*ask)(int, struct sockaddr *, socklen_t *))
{
    struct sockaddr_storage ss = {.ss_family = AF_UNSPEC};
    socklen_t n = sizeof ss;
    if (ask(fd, (struct sockaddr *)&ss, &n) < 0)
        return (struct addr){.family = ADDR_NONE};
    return sock_to_addr(&ss);
}

struct addr sock_local(int fd)
{
    return name_of(fd, getsockname);
}

struct addr sock_remote(int fd)
{
    return name_of(fd, getpeername);
}

/* ---- opening ---- */

static int set_option(int fd, int level, int name, int value)
{
    return setsockopt(fd, level, name, &value, sizeof value);
}

/* Closes it, keeping errno for the caller's caller. */
static int give_up(int fd)
{
    int why = errno;
    close(fd);
    errno = why;
    return ERR_SYS;
}

static int open_socket(const struct addr *a, int type)
{
    if (a->family == ADDR_NONE) {
        errno = EAFNOSUPPORT;
        return ERR_SYS;
    }
    int fd = socket(a->family == ADDR_V4 ? AF_INET : AF_INET6, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return ERR_SYS;
    if (a->family == ADDR_V6 && set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1) < 0)
        return give_up(fd);
    return fd;
}

static int bind_to(int fd, const struct addr *a)
{
    struct sockaddr_storage ss;
    socklen_t n = sock_from_addr(a, &ss);
    return bind(fd, (struct sockaddr *)&ss, n);
}

static bool is_wildcard(const struct addr *a)
{
    static const uint8_t zeros[16];
    return memcmp(a->ip, zeros, sizeof zeros) == 0;
}

/* Above the administrator's limit (net.core.rmem_max) only root gets it; nobody's buffer is made smaller. */
static void raise_buffer(int fd, int option, int force_option, int bytes)
{
    int now = 0;
    socklen_t n = sizeof now;
    if (getsockopt(fd, SOL_SOCKET, option, &now, &n) == 0 && now / 2 >= bytes) /* the kernel reports the double */
        return;
    if (set_option(fd, SOL_SOCKET, force_option, bytes) < 0)
        set_option(fd, SOL_SOCKET, option, bytes);
}

int sock_udp(const struct addr *local, bool shared, int buffer_bytes)
{
    int fd = open_socket(local, SOCK_DGRAM);
    if (fd < 0)
        return fd;
    if (shared && set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1) < 0)
        return give_up(fd);
    if (buffer_bytes) {
        raise_buffer(fd, SO_RCVBUF, SO_RCVBUFFORCE, buffer_bytes);
        raise_buffer(fd, SO_SNDBUF, SO_SNDBUFFORCE, buffer_bytes);
    }
    bool v4 = local->family == ADDR_V4;
    if (is_wildcard(local) && set_option(fd, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_PKTINFO : IPV6_RECVPKTINFO, 1) < 0)
        return give_up(fd);
    return bind_to(fd, local) < 0 ? give_up(fd) : fd;
}

int sock_listen(const struct addr *local, bool shared, int backlog)
{
    int fd = open_socket(local, SOCK_STREAM);
    if (fd < 0)
        return fd;
    if (set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1) < 0 ||
        (shared && set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1) < 0) || bind_to(fd, local) < 0 ||
        listen(fd, backlog) < 0)
        return give_up(fd);
    return fd;
}

/* SO_REUSEPORT comes after listen(): the port is refused if another listener has it, yet dialling sockets may join. */
int sock_listen_relay(const struct addr *local, int backlog)
{
    int fd = sock_listen(local, false, backlog);
    if (fd < 0)
        return fd;
    return set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1) < 0 ? give_up(fd) : fd;
}

static int bind_dialling(int fd, const struct addr *local, bool reuse_port)
{
    if (reuse_port &&
        (set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1) < 0 || set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1) < 0))
        return -1;
    if (local->port == 0)
        set_option(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1); /* chosen by connect(): ports serve several peers */
    return bind_to(fd, local);
}

int sock_dial(const struct addr *local, const struct addr *peer, bool reuse_port)
{
    struct sockaddr_storage ss;
    int fd = open_socket(peer, SOCK_STREAM);
    if (fd < 0)
        return fd;
    if (local && local->family != ADDR_NONE && bind_dialling(fd, local, reuse_port) < 0)
        return give_up(fd);
    socklen_t n = sock_from_addr(peer, &ss);
    if (connect(fd, (struct sockaddr *)&ss, n) < 0 && errno != EINPROGRESS)
        return give_up(fd);
    return fd;
}

/* Errors that belong to the connection just taken from the queue, not to the listener: accept(2), "Error handling". */
static bool is_accept_retry(int why)
{
    switch (why) {
    case EINTR:
    case ECONNABORTED:
    case ENETDOWN:
    case EPROTO:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH: return true;
    default: return false;
    }
}

int sock_accept(int listener, struct addr *peer)
{
    for (;;) {
        struct sockaddr_storage ss = {.ss_family = AF_UNSPEC};
        socklen_t n = sizeof ss;
        int fd = accept4(listener, (struct sockaddr *)&ss, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            *peer = sock_to_addr(&ss);
            return fd;
        }
        if (errno == EAGAIN)
            return ERR_AGAIN;
        if (!is_accept_retry(errno))
            return ERR_SYS;
    }
}

/* ---- small things ---- */

int sock_error(int fd)
{
    int why = 0;
    socklen_t n = sizeof why;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &why, &n) < 0 ? errno : why;
}

void sock_nodelay(int fd)
{
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
}

void sock_abort(int fd)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(fd);
}

void sock_low_water(int fd, int bytes)
{
    set_option(fd, SOL_SOCKET, SO_RCVLOWAT, bytes);
}

static bool has_addr(const struct addr *list, int n, const struct addr *a)
{
    for (int i = 0; i < n; i++)
        if (addr_is_equal(&list[i], a))
            return true;
    return false;
}

static struct addr interface_addr(const struct ifaddrs *i)
{
    struct sockaddr_storage ss = {.ss_family = AF_UNSPEC};
    if (!i->ifa_addr || !(i->ifa_flags & IFF_UP))
        return (struct addr){.family = ADDR_NONE};
    if (i->ifa_addr->sa_family == AF_INET)
        memcpy(&ss, i->ifa_addr, sizeof(struct sockaddr_in));
    else if (i->ifa_addr->sa_family == AF_INET6)
        memcpy(&ss, i->ifa_addr, sizeof(struct sockaddr_in6));
    return sock_to_addr(&ss);
}

int sock_own_addresses(struct addr *out, int max)
{
    struct ifaddrs *all;
    if (getifaddrs(&all) < 0)
        return 0;
    int n = 0;
    for (const struct ifaddrs *i = all; i && n < max; i = i->ifa_next) {
        struct addr a = interface_addr(i);
        if (a.family != ADDR_NONE && !has_addr(out, n, &a))
            out[n++] = a;
    }
    freeifaddrs(all);
    return n;
}

struct addr sock_route_source(const struct addr *peer)
{
    struct addr source = {.family = ADDR_NONE};
    struct sockaddr_storage ss;
    int fd = open_socket(peer, SOCK_DGRAM);
    if (fd < 0)
        return source;
    socklen_t n = sock_from_addr(peer, &ss);
    if (connect(fd, (struct sockaddr *)&ss, n) == 0)
        source = sock_local(fd);
    source.port = 0;
    close(fd);
    return source;
}
