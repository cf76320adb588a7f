#include "cpu.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

double cpu_seconds(pid_t pid)
{
    char path[64], line[1024];
    unsigned long user, kernel;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *f = fopen(path, "r");
    if (!f)
        return -1;
    char *got = fgets(line, sizeof line, f);
    fclose(f);
    const char *rest = got ? strrchr(line, ')') : NULL; /* the name may contain anything */
    if (!rest || sscanf(rest, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &kernel) != 2)
        return -1;
    return (double)(user + kernel) / (double)sysconf(_SC_CLK_TCK);
}
