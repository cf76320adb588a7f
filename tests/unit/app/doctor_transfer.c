/* The transfer check over socket pairs whose other end loses, stops or closes on purpose. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "app/doctor_transfer.h"
#include "sys/loop.h"

enum { TOTAL = 1 << 20, PATIENCE_MS = 20000, SHORT_MS = 200 };

static struct link from, to;
static struct transfer f;

static int connect_links(void **state)
{
    (void)state;
    int fds[2];
    signal(SIGPIPE, SIG_IGN);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    link_of_fd(&from, fds[0]);
    link_of_fd(&to, fds[1]);
    transfer_init(&f, &from, &to, TOTAL);
    return 0;
}

static int close_links(void **state)
{
    (void)state;
    link_close(&from);
    link_close(&to);
    return 0;
}

static const char *told(int err)
{
    static char buf[200];
    struct text t = text_of(buf, sizeof buf);
    transfer_tell(&f, err, &t);
    return buf;
}

static void pattern_is_addressable(void **state)
{
    (void)state;
    uint8_t whole[100], part[100];
    transfer_pattern(7, 1000, whole, sizeof whole);
    for (size_t at = 0; at < sizeof whole; at++) {
        transfer_pattern(7, 1000 + at, part, sizeof whole - at);
        assert_memory_equal(part, whole + at, sizeof whole - at);
    }
    transfer_pattern(8, 1000, part, sizeof part);
    assert_memory_not_equal(part, whole, sizeof part);
}

static void all_arrives(void **state)
{
    (void)state;
    assert_int_equal(transfer_run(&f, PATIENCE_MS, UINT64_MAX), 0);
    assert_int_equal(f.received, TOTAL);
    assert_true(transfer_speed(&f) > 0);
    link_half_close(&from);
    assert_int_equal(transfer_end(&f, PATIENCE_MS), 0);
}

/* Writes a piece of the pattern behind the transfer's back. */
static void write_piece(uint64_t at, size_t n)
{
    uint8_t *buf = malloc(n);
    transfer_pattern(f.seed, at, buf, n);
    assert_int_equal(link_send(&from, span_of(buf, n), loop_clock_ms() + PATIENCE_MS), 0);
    free(buf);
}

static void hole_is_measured(void **state)
{
    (void)state;
    write_piece(0, 1001);
    write_piece(70004, 5000);
    f.sent = TOTAL;
    assert_int_equal(transfer_run(&f, PATIENCE_MS, UINT64_MAX), ERR_BAD);
    assert_int_equal(f.received, 1001);
    assert_int_equal(f.missing, 70004 - 1001);
    assert_string_equal(told(ERR_BAD), "69003 bytes are missing behind byte 1001");
}

static void wrong_bytes(void **state)
{
    (void)state;
    write_piece(0, 10);
    assert_int_equal(write(from.fd, "this was never sent by this transfer, at no position", 50), 50);
    f.sent = TOTAL;
    f.total = 60;
    assert_int_equal(transfer_run(&f, PATIENCE_MS, UINT64_MAX), ERR_BAD);
    assert_string_equal(told(ERR_BAD), "wrong bytes from byte 10 on");
}

static void nothing_more_comes(void **state)
{
    (void)state;
    write_piece(0, 100);
    f.sent = f.total = 200;
    assert_int_equal(transfer_run(&f, SHORT_MS, UINT64_MAX), ERR_AGAIN);
    assert_string_equal(told(ERR_AGAIN), "nothing more came after 100 of 200 bytes");
}

static void ended_early(void **state)
{
    (void)state;
    write_piece(0, 100);
    f.sent = f.total = 200;
    link_half_close(&from);
    assert_int_equal(transfer_run(&f, PATIENCE_MS, UINT64_MAX), ERR_CLOSED);
    assert_string_equal(told(ERR_CLOSED), "the connection ended after 100 of 200 bytes");
}

static void receiver_is_gone(void **state)
{
    (void)state;
    close(to.fd);
    to.fd = open("/dev/null", O_RDONLY);
    assert_int_equal(transfer_push(&f, SHORT_MS), ERR_SYS);
    assert_true(from.is_broken);
}

/* When the time is up, what was sent must still arrive. */
static void time_is_up(void **state)
{
    (void)state;
    f.total = UINT64_MAX;
    assert_int_equal(transfer_run(&f, PATIENCE_MS, loop_clock_ms() + SHORT_MS), 0);
    assert_true(f.received > 0);
    assert_int_equal(f.received, f.sent);
    assert_int_equal(f.total, f.sent);
}

static void push_until_full(void **state)
{
    (void)state;
    f.total = UINT64_MAX;
    assert_int_equal(transfer_push(&f, SHORT_MS), 0);
    assert_true(f.sent > 0);
    f.total = f.sent;
    link_close(&from);
    assert_int_equal(transfer_run(&f, PATIENCE_MS, UINT64_MAX), 0);
}

static void more_than_all(void **state)
{
    (void)state;
    f.total = 10;
    assert_int_equal(transfer_run(&f, PATIENCE_MS, UINT64_MAX), 0);
    write_piece(10, 1);
    assert_int_equal(transfer_end(&f, SHORT_MS), ERR_BAD);
}

static void no_end(void **state)
{
    (void)state;
    f.total = 10;
    assert_int_equal(transfer_run(&f, PATIENCE_MS, UINT64_MAX), 0);
    assert_int_equal(transfer_end(&f, SHORT_MS), ERR_AGAIN);
}

#define PAIR(f) cmocka_unit_test_setup_teardown(f, connect_links, close_links)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pattern_is_addressable),
        PAIR(all_arrives),
        PAIR(hole_is_measured),
        PAIR(wrong_bytes),
        PAIR(nothing_more_comes),
        PAIR(ended_early),
        PAIR(receiver_is_gone),
        PAIR(time_is_up),
        PAIR(push_until_full),
        PAIR(more_than_all),
        PAIR(no_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
