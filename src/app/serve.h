/* `causeway serve`: the command line of the server, what it says at its start, and its self-test. */
#ifndef APP_SERVE_H
#define APP_SERVE_H

/* argv[0] is "serve". 0 after an orderly stop, 1 when it could not serve, 2 for a wrong configuration. */
int serve_main(int argc, char **argv);

#endif
