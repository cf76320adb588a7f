#include "sys/sock.h"

#include "help.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/resource.h>

#include "base/err.h"

static int option(int fd, int level, int name)
{
    int value = -1;
    socklen_t n = sizeof value;
    assert_int_equal(getsockopt(fd, level, name, &value, &n), 0);
    return value;
}

static void wait_for(int fd, short events)
{
    struct pollfd p = {.fd = fd, .events = events};
    assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
}

static void assert_flags(int fd)
{
    assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

static void addr_and_sockaddr(void **state)
{
    struct sockaddr_storage ss;
    struct addr v4 = addr_v4(0xc0000201, 3478), v6 = addr_v6(V6_LOOPBACK, 5349), back;
    assert_int_equal(sock_from_addr(&v4, &ss), sizeof(struct sockaddr_in));
    assert_int_equal(ss.ss_family, AF_INET);
    back = sock_to_addr(&ss);
    assert_true(addr_is_equal(&back, &v4));
    assert_int_equal(sock_from_addr(&v6, &ss), sizeof(struct sockaddr_in6));
    back = sock_to_addr(&ss);
    assert_true(addr_is_equal(&back, &v6));
    ss.ss_family = AF_UNIX;
    assert_int_equal(sock_to_addr(&ss).family, ADDR_NONE);
    assert_int_equal(sock_local(-1).family, ADDR_NONE);
}

static void udp_exclusive_and_shared(void **state)
{
    struct addr any = loopback(0);
    int one = sock_udp(&any, false, 0);
    assert_true(one >= 0);
    assert_flags(one);
    struct addr at = sock_local(one);
    assert_int_equal(sock_udp(&at, false, 0), ERR_SYS);
    assert_int_equal(errno, EADDRINUSE);
    assert_int_equal(sock_udp(&at, true, 0), ERR_SYS); /* sharing takes both */
    close(one);
    int two[2] = {sock_udp(&at, true, 0), sock_udp(&at, true, 0)};
    assert_true(two[0] >= 0 && two[1] >= 0);
    close(two[0]);
    close(two[1]);
}

static void udp_buffers_and_packet_info(void **state)
{
    struct addr any = loopback(0), wild = addr_v4(0, 0), wild6 = addr_v6((uint8_t[16]){0}, 0);
    int plain = sock_udp(&any, false, 0), large = sock_udp(&wild, false, 1 << 17);
    assert_true(plain >= 0 && large >= 0);
    assert_int_equal(option(plain, IPPROTO_IP, IP_PKTINFO), 0);
    assert_int_equal(option(large, IPPROTO_IP, IP_PKTINFO), 1);
    assert_true(option(large, SOL_SOCKET, SO_RCVBUF) >= 1 << 17);
    int usual = option(plain, SOL_SOCKET, SO_RCVBUF);
    close(plain);
    close(large);
    plain = sock_udp(&any, false, 1);
    assert_int_equal(option(plain, SOL_SOCKET, SO_RCVBUF), usual); /* never made smaller */
    close(plain);
    if (!has_v6())
        return;
    int six = sock_udp(&wild6, false, 0);
    assert_int_equal(option(six, IPPROTO_IPV6, IPV6_RECVPKTINFO), 1);
    assert_int_equal(option(six, IPPROTO_IPV6, IPV6_V6ONLY), 1);
    close(six);
}

static void listen_accept_both_families(void **state)
{
    struct addr where[2] = {loopback(0), addr_v6(V6_LOOPBACK, 0)};
    for (int i = 0; i < (has_v6() ? 2 : 1); i++) {
        struct addr peer;
        int listener = sock_listen(&where[i], false, 4);
        assert_true(listener >= 0);
        assert_flags(listener);
        assert_int_equal(sock_accept(listener, &peer), ERR_AGAIN);
        struct addr at = sock_local(listener);
        int dialled = sock_dial(NULL, &at, false);
        assert_true(dialled >= 0);
        assert_flags(dialled);
        wait_for(listener, POLLIN);
        int accepted = sock_accept(listener, &peer);
        assert_true(accepted >= 0);
        assert_flags(accepted);
        struct addr from = sock_local(dialled), to = sock_remote(accepted);
        assert_true(addr_is_equal(&peer, &from) && addr_is_equal(&to, &from));
        wait_for(dialled, POLLOUT);
        assert_int_equal(sock_error(dialled), 0);
        sock_nodelay(dialled);
        assert_int_equal(option(dialled, IPPROTO_TCP, TCP_NODELAY), 1);
        close(accepted);
        close(dialled);
        close(listener);
    }
}

static void dial_refused_and_impossible(void **state)
{
    struct addr any = loopback(0), none = {.family = ADDR_NONE}, foreign = addr_v4(0xc0000201, 0);
    int listener = sock_listen(&any, false, 1);
    struct addr at = sock_local(listener);
    close(listener);
    int fd = sock_dial(NULL, &at, false); /* loopback may refuse at once */
    if (fd >= 0) {
        wait_for(fd, POLLOUT);
        assert_int_equal(sock_error(fd), ECONNREFUSED);
        assert_int_equal(sock_error(fd), 0); /* told once */
        close(fd);
    } else {
        assert_int_equal(errno, ECONNREFUSED);
    }
    assert_int_equal(sock_dial(NULL, &none, false), ERR_SYS);
    assert_int_equal(sock_dial(&foreign, &at, false), ERR_SYS); /* not an address of this machine */
    assert_int_equal(errno, EADDRNOTAVAIL);
}

/* RFC 6062 s.5.2: connections leave from the port on which the relay listens. */
static void dial_from_the_relayed_port(void **state)
{
    struct addr any = loopback(0), peer;
    int relay = sock_listen_relay(&any, 4);
    assert_true(relay >= 0);
    struct addr at = sock_local(relay);
    assert_int_equal(sock_listen_relay(&at, 4), ERR_SYS); /* the port is ours alone */
    assert_int_equal(errno, EADDRINUSE);
    assert_int_equal(sock_dial(&at, &at, false), ERR_SYS);
    int first = sock_listen(&any, false, 4), second = sock_listen(&any, false, 4);
    struct addr to[2] = {sock_local(first), sock_local(second)};
    int out[2] = {sock_dial(&at, &to[0], true), sock_dial(&at, &to[1], true)};
    assert_true(out[0] >= 0 && out[1] >= 0);
    wait_for(first, POLLIN);
    int in = sock_accept(first, &peer);
    assert_true(addr_is_equal(&peer, &at));
    close(in);
    int incoming = sock_dial(NULL, &at, false); /* the relay still accepts */
    wait_for(relay, POLLIN);
    in = sock_accept(relay, &peer);
    assert_true(in >= 0);
    assert_int_equal(sock_dial(&at, &to[1], true), ERR_SYS); /* the same pair of addresses twice */
    assert_int_equal(errno, EADDRNOTAVAIL);
    int all[] = {in, incoming, out[0], out[1], first, second, relay};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        close(all[i]);
    relay = sock_listen_relay(&at, 4); /* free again, though connections from it are closing */
    assert_true(relay >= 0);
    close(relay);
}

static void abort_resets(void **state)
{
    int fds[2];
    char byte;
    tcp_pair(fds);
    sock_abort(fds[0]);
    wait_for(fds[1], POLLIN);
    assert_int_equal(recv(fds[1], &byte, 1, 0), -1);
    assert_int_equal(errno, ECONNRESET);
    close(fds[1]);
}

static void low_water_keeps_quiet(void **state)
{
    int fds[2];
    struct pollfd p;
    tcp_pair(fds);
    assert_int_equal(send(fds[0], "abc", 3, 0), 3);
    wait_for(fds[1], POLLIN);
    sock_low_water(fds[1], 4);
    p = (struct pollfd){.fd = fds[1], .events = POLLIN};
    assert_int_equal(poll(&p, 1, 0), 0);
    assert_int_equal(send(fds[0], "d", 1, 0), 1);
    wait_for(fds[1], POLLIN);
    close(fds[0]);
    close(fds[1]);
}

/* Out of descriptors: an error, and the connection is still there when there is room again. */
static void accept_without_descriptors(void **state)
{
    struct addr any = loopback(0), peer;
    int listener = sock_listen(&any, false, 4);
    struct addr at = sock_local(listener);
    int dialled = sock_dial(NULL, &at, false);
    wait_for(listener, POLLIN);
    struct rlimit before, none;
    getrlimit(RLIMIT_NOFILE, &before);
    none = before;
    none.rlim_cur = 0;
    setrlimit(RLIMIT_NOFILE, &none);
    int fd = sock_accept(listener, &peer), why = errno;
    int udp = sock_udp(&any, false, 0);
    setrlimit(RLIMIT_NOFILE, &before);
    assert_int_equal(fd, ERR_SYS);
    assert_int_equal(why, EMFILE);
    assert_int_equal(udp, ERR_SYS);
    fd = sock_accept(listener, &peer);
    assert_true(fd >= 0);
    close(fd);
    close(dialled);
    close(listener);
}

static void own_addresses(void **state)
{
    struct addr all[64], one = loopback(0), source;
    int n = sock_own_addresses(all, 64);
    bool has_loopback = false;
    assert_in_range(n, 1, 64);
    for (int i = 0; i < n; i++) {
        assert_int_equal(all[i].port, 0);
        has_loopback |= addr_is_equal(&all[i], &one);
        for (int k = 0; k < i; k++)
            assert_false(addr_is_equal(&all[i], &all[k]));
    }
    assert_true(has_loopback);
    assert_int_equal(sock_own_addresses(all, 1), 1);
    struct addr towards = loopback(9), nowhere = {.family = ADDR_NONE};
    source = sock_route_source(&towards);
    assert_true(addr_is_equal(&source, &one));
    assert_int_equal(sock_route_source(&nowhere).family, ADDR_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addr_and_sockaddr),
        cmocka_unit_test(udp_exclusive_and_shared),
        cmocka_unit_test(udp_buffers_and_packet_info),
        cmocka_unit_test(listen_accept_both_families),
        cmocka_unit_test(dial_refused_and_impossible),
        cmocka_unit_test(dial_from_the_relayed_port),
        cmocka_unit_test(abort_resets),
        cmocka_unit_test(low_water_keeps_quiet),
        cmocka_unit_test(accept_without_descriptors),
        cmocka_unit_test(own_addresses),
    };
    return cmocka_run_group_tests_name("sock", tests, NULL, NULL);
}
