/* The table of subcommands. */
#include <stdio.h>

int main(void) {
    puts("causeway " CAUSEWAY_VERSION);
    return 0;
}
