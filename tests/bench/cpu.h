/* What processes have cost so far. */
#ifndef BENCH_CPU_H
#define BENCH_CPU_H

#include <sys/types.h>

/* User and system seconds of a process with all its threads, from /proc/PID/stat (a tick is 10 ms); negative when there
 * is no such process. */
double cpu_seconds(pid_t pid);

#endif
