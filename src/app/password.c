#include "app/password.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <termios.h>
#include <unistd.h>

/* One line without its end, byte by byte: what follows belongs to somebody else. */
static int read_line(int fd, char *out, size_t cap, struct text *why)
{
    size_t n = 0;
    char c;
    ssize_t got;
    while ((got = read(fd, &c, 1)) == 1 && c != '\n') {
        if (n + 1 >= cap) {
            text_add(why, "the password is too long");
            return ERR_FULL;
        }
        out[n++] = c;
    }
    if (n && out[n - 1] == '\r')
        n--;
    out[n] = 0;
    if (got < 0)
        text_addf(why, "the password cannot be read: %s", strerror(errno));
    return got < 0 ? ERR_SYS : 0;
}

int password_read(char *out, size_t cap, struct text *why)
{
    return read_line(STDIN_FILENO, out, cap, why);
}

/* ---- the terminal ---- */

static int terminal = -1;
static struct termios saved; /* how the terminal was */

static void restore_and_end(int number)
{
    tcsetattr(terminal, TCSANOW, &saved);
    signal(number, SIG_DFL);
    raise(number);
}

static int ask_once(const char *prompt, char *out, size_t cap, struct text *why)
{
    size_t n = strlen(prompt);
    bool is_shown = write(terminal, prompt, n) == (ssize_t)n;
    int err = read_line(terminal, out, cap, why);
    if (is_shown && write(terminal, "\n", 1) != 1)
        return ERR_SYS;
    return err;
}

static int ask_twice(char *out, size_t cap, struct text *why)
{
    char again[1024];
    int err = ask_once("Password: ", out, cap, why);
    if (!err)
        err = ask_once("Again: ", again, sizeof again < cap ? sizeof again : cap, why);
    if (!err && strcmp(out, again) != 0) {
        text_add(why, "the two passwords differ; try again");
        err = ERR_BAD;
    }
    explicit_bzero(again, sizeof again);
    return err;
}

static int ask_silently(char *out, size_t cap, struct text *why)
{
    struct sigaction act = {.sa_handler = restore_and_end}, old_int, old_term, old_hup;
    sigaction(SIGINT, &act, &old_int);
    sigaction(SIGTERM, &act, &old_term);
    sigaction(SIGHUP, &act, &old_hup);
    struct termios silent = saved;
    silent.c_lflag &= ~(tcflag_t)(ECHO | ECHONL);
    tcsetattr(terminal, TCSAFLUSH, &silent);
    int err = ask_twice(out, cap, why);
    tcsetattr(terminal, TCSANOW, &saved);
    sigaction(SIGINT, &old_int, NULL);
    sigaction(SIGTERM, &old_term, NULL);
    sigaction(SIGHUP, &old_hup, NULL);
    return err;
}

int password_ask(char *out, size_t cap, struct text *why)
{
    terminal = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    if (terminal < 0 || tcgetattr(terminal, &saved) != 0) {
        text_add(why, "there is no terminal to ask for the password; use --password-stdin or --generate");
        if (terminal >= 0)
            close(terminal);
        return ERR_SYS;
    }
    int err = ask_silently(out, cap, why);
    close(terminal);
    return err;
}
