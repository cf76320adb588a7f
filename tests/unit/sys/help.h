/* What the tests of sys/ share: cmocka, running a loop until something holds, socket pairs on loopback. */
#ifndef UNIT_SYS_HELP_H
#define UNIT_SYS_HELP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <unistd.h>

#include "sys/loop.h"
#include "sys/sock.h"

enum { PATIENCE_MS = 60000 }; /* a limit for broken code only */

/* Turns the loop until `condition` holds; fails the test when it never does. */
#define run_until(l, condition)                            \
    do {                                                   \
        uint64_t give_up_ = loop_clock_ms() + PATIENCE_MS; \
        while (!(condition)) {                             \
            assert_true(loop_clock_ms() < give_up_);       \
            loop_turn(l, 100);                             \
        }                                                  \
    } while (0)

static const uint8_t V6_LOOPBACK[16] = {[15] = 1};

static inline struct addr loopback(uint16_t port)
{
    return addr_v4(0x7f000001, port);
}

/* Machines without IPv6 exist; what needs it is left out there. */
static inline bool has_v6(void)
{
    struct addr any = addr_v6(V6_LOOPBACK, 0);
    int fd = sock_udp(&any, false, 0);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

/* A connected pair over TCP: fds[0] dialled, fds[1] accepted. */
static inline void tcp_pair(int fds[2])
{
    struct addr any = loopback(0), peer;
    int listener = sock_listen(&any, false, 8);
    assert_true(listener >= 0);
    struct addr at = sock_local(listener);
    fds[0] = sock_dial(NULL, &at, false);
    assert_true(fds[0] >= 0);
    uint64_t give_up = loop_clock_ms() + PATIENCE_MS;
    while ((fds[1] = sock_accept(listener, &peer)) == ERR_AGAIN)
        assert_true(loop_clock_ms() < give_up);
    assert_true(fds[1] >= 0);
    close(listener);
}

/* The byte at a place of a long test stream: a lost, doubled or moved byte shows. */
static inline uint8_t pattern(size_t at)
{
    return (uint8_t)(at ^ at >> 8 ^ at >> 16);
}

#endif
