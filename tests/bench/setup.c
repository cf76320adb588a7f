/* How fast sessions are set up: allocate with its 401, permission, a peer that dials, ConnectionAttempt, bind, first
 * byte; then all is closed.
 *
 *   bench_setup --server 127.0.0.1:3478 --user NAME:PASSWORD --threads 32 --seconds 2 --pid 1234
 *
 * One line of JSON. Exit code 1 when a session failed.
 */
#include <getopt.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "cpu.h"
#include "session.h"

enum { THREADS_MAX = 256, SAMPLES_MAX = 1 << 18, FAILURES_MAX = 1000 };

static struct session_server server;
static unsigned threads = 32;
static double seconds = 2;
static pid_t pid;
static _Atomic unsigned done, failed;
static _Atomic bool is_over;
static uint32_t samples_us[SAMPLES_MAX];

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Ends a connection with a reset, so that the generator does not run out of ports in TIME_WAIT. */
static void drop(int fd)
{
    struct linger now = {1, 0};
    if (fd < 0)
        return;
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(fd);
}

static int one_session(void)
{
    struct session s;
    int near = -1, far = -1;
    char byte = 'x';
    struct addr peer = server.addr;
    int err = session_open(&s, &server, false) || session_permit(&s, &peer) || session_attempt(&s, &near, &far) ||
              send(far, &byte, 1, MSG_NOSIGNAL) != 1 || recv(near, &byte, 1, 0) != 1;
    drop(near);
    drop(far);
    drop(s.control);
    return err;
}

static void *worker(void *arg)
{
    while (!atomic_load(&is_over)) {
        double start = now_s();
        if (one_session()) {
            if (atomic_fetch_add(&failed, 1) >= FAILURES_MAX)
                atomic_store(&is_over, true);
            continue;
        }
        unsigned i = atomic_fetch_add(&done, 1);
        if (i < SAMPLES_MAX)
            samples_us[i] = (uint32_t)((now_s() - start) * 1e6);
    }
    return NULL;
}

static int by_time(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void run(void)
{
    pthread_t list[THREADS_MAX];
    double start = now_s(), cpu = cpu_seconds(pid);
    for (unsigned i = 0; i < threads; i++)
        if (pthread_create(&list[i], NULL, worker, NULL))
            exit(2);
    struct timespec t = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    nanosleep(&t, NULL);
    unsigned n = done;
    double took = now_s() - start;
    cpu = cpu_seconds(pid) - cpu;
    is_over = true;
    for (unsigned i = 0; i < threads; i++)
        pthread_join(list[i], NULL);
    unsigned kept = n < SAMPLES_MAX ? n : SAMPLES_MAX;
    qsort(samples_us, kept, sizeof *samples_us, by_time);
    printf("{\"sessions\":%u,\"failed\":%u,\"sessions_per_s\":%.0f,\"relay_cpu_s_per_1000\":%.4f,\"p50_us\":%u,\"p99_"
           "us\":%u}\n",
           n, failed, n / took, n ? cpu / n * 1000 : 0, kept ? samples_us[kept / 2] : 0,
           kept ? samples_us[kept * 99 / 100] : 0);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"server", 1, 0, 's'},  {"user", 1, 0, 'u'}, {"threads", 1, 0, 't'},
                                            {"seconds", 1, 0, 'd'}, {"pid", 1, 0, 'p'},  {0}};
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (c == 's')
            addr_parse_with_port(optarg, &server.addr);
        if (c == 'u')
            server.user = strtok(optarg, ":"), server.password = strtok(NULL, "");
        if (c == 't')
            threads = (unsigned)atoi(optarg);
        if (c == 'd')
            seconds = atof(optarg);
        if (c == 'p')
            pid = (pid_t)atoi(optarg);
    }
    if (!server.addr.family || !server.user || !server.password || !threads || threads > THREADS_MAX) {
        fprintf(stderr,
                "usage: bench_setup --server ADDR:PORT --user NAME:PASSWORD [--threads N] [--seconds S] [--pid PID]\n");
        return 2;
    }
    run();
    return failed != 0;
}
