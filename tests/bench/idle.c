/* What idle sessions cost: opens N of them, says how many failed meanwhile, and holds them until its standard input
 * ends.
 *
 *   bench_idle --server 127.0.0.1:3478 --user NAME:PASSWORD --sessions 2000 --kind tcp|udp
 *
 * tcp: an RFC 6062 allocation with one bound connection; udp: a UDP allocation with one permission. The caller reads
 * the server's memory meanwhile.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "session.h"

enum { FAILURES_MAX = 5 };

static int open_one(const struct session_server *server, bool udp)
{
    struct session s;
    int near, far;
    struct addr peer = server->addr;
    if (session_open(&s, server, udp) || session_permit(&s, &peer))
        return -1;
    return udp ? 0 : session_attempt(&s, &near, &far);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"server", 1, 0, 's'}, {"user", 1, 0, 'u'}, {"sessions", 1, 0, 'n'}, {"kind", 1, 0, 'k'}, {0}};
    struct session_server server = {0};
    unsigned sessions = 1000;
    bool udp = false;
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (c == 's')
            addr_parse_with_port(optarg, &server.addr);
        if (c == 'u')
            server.user = strtok(optarg, ":"), server.password = strtok(NULL, "");
        if (c == 'n')
            sessions = (unsigned)atoi(optarg);
        if (c == 'k')
            udp = strcmp(optarg, "udp") == 0;
    }
    if (!server.addr.family || !server.user || !server.password) {
        fprintf(stderr, "usage: bench_idle --server ADDR:PORT --user NAME:PASSWORD [--sessions N] [--kind tcp|udp]\n");
        return 2;
    }
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) == 0) {
        r.rlim_cur = r.rlim_max;
        setrlimit(RLIMIT_NOFILE, &r);
    }
    unsigned failed = 0;
    for (unsigned open = 0; open < sessions;) {
        if (open_one(&server, udp) == 0)
            open++;
        else if (++failed > FAILURES_MAX)
            return 1;
    }
    printf("%u failed\n", failed);
    fflush(stdout);
    char c;
    while (read(STDIN_FILENO, &c, 1) > 0)
        ;
    return 0;
}
