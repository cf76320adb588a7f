#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <termios.h>

#include "app/command.h"
#include "fixture.h"
#include "store/store.h"

static char told[65536]; /* what the newest command wrote to standard output */

/* Sends a descriptor to a file for the length of a call. */
static int redirect(int fd, const char *path, int flags)
{
    fflush(NULL);
    int saved = dup(fd), to = open(path, flags, 0600);
    assert_true(saved >= 0 && to >= 0);
    dup2(to, fd);
    close(to);
    return saved;
}

static void restore(int fd, int saved)
{
    fflush(NULL);
    dup2(saved, fd);
    close(saved);
}

/* `causeway user ...` with this standard input; its exit status, its words in `told` and `said`. */
static int user(const char *input, ...)
{
    char *argv[16] = {"user"};
    int argc = 1;
    va_list args;
    va_start(args, input);
    while ((argv[argc] = va_arg(args, char *)))
        argc++;
    va_end(args);
    int in = redirect(STDIN_FILENO, write_file("in", input), O_RDONLY);
    int out = redirect(STDOUT_FILENO, in_folder("out"), O_WRONLY | O_CREAT | O_TRUNC);
    int err = redirect(STDERR_FILENO, in_folder("err"), O_WRONLY | O_CREAT | O_TRUNC);
    int status = user_main(argc, argv);
    restore(STDERR_FILENO, err);
    restore(STDOUT_FILENO, out);
    restore(STDIN_FILENO, in);
    strcpy(told, read_file(in_folder("out")));
    strcpy(said, read_file(in_folder("err")));
    return status;
}

static struct store_user stored(const char *name, const char *realm)
{
    struct store_user u = {0};
    char reason[500];
    struct text t = text_of(reason, sizeof reason);
    int err;
    struct store *s = store_open(in_folder("state/users.db"), &err, &t);
    assert_non_null(s);
    store_get(s, name, realm, &u, &t);
    store_close(s);
    return u;
}

static void assert_password(const char *name, const char *realm, const char *password)
{
    struct store_user kept = stored(name, realm), wanted;
    assert_int_equal(store_user_init(&wanted, name, realm, password, 0), 0);
    assert_memory_equal(kept.md5, wanted.md5, sizeof kept.md5);
    assert_memory_equal(kept.sha256, wanted.sha256, sizeof kept.sha256);
}

static void users_are_added_from_standard_input(void **state)
{
    char *dir = in_folder("state");
    assert_int_equal(user("sesame\nnext", "add", "alice", "--password-stdin", "--state", dir, NULL), EXIT_OK);
    assert_string_equal(said, "added alice in realm causeway\n");
    assert_string_equal(told, "");
    assert_password("alice", "causeway", "sesame");
    dir = in_folder("state");
    assert_int_equal(user("open", "add", "alice", "--password-stdin", "--state", dir, NULL), EXIT_OK);
    assert_string_equal(said, "replaced alice in realm causeway\n");
    assert_password("alice", "causeway", "open");
    dir = in_folder("state");
    assert_int_equal(user("a b:c \r\n", "add", "bob", "--password-stdin", "--realm=r", "--state", dir, NULL), EXIT_OK);
    assert_password("bob", "r", "a b:c ");
}

static void passwords_are_generated(void **state)
{
    assert_int_equal(user("", "add", "alice", "--generate", "--state", in_folder("state"), NULL), EXIT_OK);
    assert_int_equal(strlen(told), 27);
    told[26] = 0;
    assert_password("alice", "causeway", told);
}

static void users_are_listed(void **state)
{
    char *dir = in_folder("state");
    assert_int_equal(user("", "list", "--state", dir, NULL), EXIT_OK);
    assert_string_equal(told, "");
    assert_non_null(strstr(said, "no users in "));
    assert_int_equal(user("", "list", "--json", "--state", in_folder("state"), NULL), EXIT_OK);
    assert_string_equal(told, "[]\n");
    user("p", "add", "alice", "--password-stdin", "--state", in_folder("state"), NULL);
    user("p", "add", "=1+1 \"\u202e", "--password-stdin", "--state", in_folder("state"), NULL);
    user("p", "add", "carol", "--password-stdin", "--realm", "other", "--state", in_folder("state"), NULL);
    assert_int_equal(user("", "disable", "alice", "--state", in_folder("state"), NULL), EXIT_OK);
    assert_string_equal(said, "disabled alice in realm causeway\n");
    assert_int_equal(user("", "list", "--state", in_folder("state"), NULL), EXIT_OK);
    assert_non_null(strstr(told, "  disabled  causeway  alice\n"));
    assert_non_null(strstr(told, "  enabled   causeway  =1+1 \"\\xe2\\x80\\xae\n"));
    assert_non_null(strstr(told, "  enabled   other  carol\n"));
    assert_int_equal(user("", "list", "--realm", "other", "--json", "--state", in_folder("state"), NULL), EXIT_OK);
    assert_non_null(strstr(told, "[{\"name\":\"carol\",\"realm\":\"other\",\"created\":\"2"));
    assert_non_null(strstr(told, "\"enabled\":true}]\n"));
    assert_null(strstr(told, "alice"));
}

static void users_are_removed(void **state)
{
    user("p", "add", "alice", "--password-stdin", "--state", in_folder("state"), NULL);
    assert_int_equal(user("", "remove", "alice", "--realm", "r", "--state", in_folder("state"), NULL), EXIT_REFUSED);
    assert_non_null(strstr(said, "no user \"alice\" in realm \"r\""));
    assert_int_equal(user("", "remove", "alice", "--state", in_folder("state"), NULL), EXIT_OK);
    assert_int_equal(user("", "remove", "alice", "--state", in_folder("state"), NULL), EXIT_REFUSED);
    assert_int_equal(user("", "enable", "alice", "--state", in_folder("state"), NULL), EXIT_REFUSED);
}

static void mras_credentials_come_from_the_state_directory(void **state)
{
    assert_int_equal(user("", "mras", "sip:alice@example.org", "--state", in_folder("state"), NULL), EXIT_OK);
    assert_int_equal(strncmp(told, "username: AwAAJAAAAAB", 21), 0);
    assert_non_null(strstr(told, "\nrealm:    causeway\n"));
    char *keys = strdup(read_file(in_folder("state/mras.keys")));
    assert_int_equal(user("", "mras", "a", "--json", "--ttl", "1h", "--state", in_folder("state"), NULL), EXIT_OK);
    assert_non_null(strstr(told, "\"ttl\":3600,"));
    assert_string_equal(read_file(in_folder("state/mras.keys")), keys);
    free(keys);
    assert_int_equal(user("", "mras", "a", "--ttl", "9h", "--state", in_folder("state"), NULL), EXIT_REFUSED);
    assert_non_null(strstr(said, "longer than mras-lifetime"));
    char *path = strdup(write_file("with-secret.conf", "secret = s\n")), *dir = strdup(in_folder("other"));
    assert_int_equal(user("", "mras", "a", "-c", path, "--state", dir, NULL), EXIT_OK);
    assert_int_equal(access(dir, F_OK), -1); /* nothing is kept, so nothing is made */
    free(path);
    free(dir);
}

static void tokens_come_from_the_configuration(void **state)
{
    char *path = write_file("f.conf", "secret = a-long-random-secret\nrealm = r\n");
    assert_int_equal(user("", "token", "alice", "--ttl", "1h", "-c", path, NULL), EXIT_OK);
    assert_int_equal(strncmp(told, "username: ", 10), 0);
    assert_non_null(strstr(told, ":alice\npassword: "));
    path = write_file("f.conf", "secret = a-long-random-secret\n");
    assert_int_equal(user("", "token", "alice", "--json", "-c", path, NULL), EXIT_OK);
    assert_non_null(strstr(told, "\"ttl\":86400"));
    assert_int_equal(user("", "token", "alice", NULL), EXIT_USAGE);
    assert_non_null(strstr(said, "no shared secret"));
    assert_int_equal(user("", "token", "alice", "--secret-file", "/nonexistent", NULL), EXIT_REFUSED);
}

static void the_state_directory_of_the_configuration_counts(void **state)
{
    char *path = write_file("f.conf", "state = state\nrealm = example.org\n");
    assert_int_equal(user("p", "add", "alice", "--password-stdin", "-c", path, NULL), EXIT_OK);
    assert_password("alice", "example.org", "p");
}

static void wrong_usage_is_explained(void **state)
{
    static const struct {
        const char *words[4], *says;
        int status;
    } rows[] = {
        {{NULL}, "a command is missing: add, list", EXIT_USAGE},
        {{"ad", "x"}, "ad: no such command; did you mean add?", EXIT_USAGE},
        {{"add"}, "add: the name of the user is missing", EXIT_USAGE},
        {{"add", "alice", "sesame"}, "A password in a command line can be read by everybody", EXIT_USAGE},
        {{"add", "alice", "--password", "sesame"}, "--password: no such flag; did you mean", EXIT_USAGE},
        {{"add", "alice", "--ttl=1h"}, "--ttl: has no meaning for add", EXIT_USAGE},
        {{"add", "alice", "--generate", "--password-stdin"}, "exclude each other", EXIT_USAGE},
        {{"list", "alice"}, "list: more words than it needs", EXIT_USAGE},
        {{"remove", "alice", "bob"}, "remove: more words than it needs", EXIT_USAGE},
        {{"token", "alice", "--ttl=0"}, "out of range", EXIT_USAGE},
        {{"list", "-c", "/nonexistent"}, "/nonexistent: cannot be read", EXIT_USAGE},
        {{"list", "--realm=a\"b"}, "the realm must be", EXIT_USAGE},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *const *w = rows[i].words;
        int status = user("", w[0], w[1], w[2], w[3], NULL);
        if (status != rows[i].status || !strstr(said, rows[i].says) || !strstr(said, "See: causeway user --help"))
            fail_msg("%s %s gave %d and %s", w[0] ? w[0] : "", w[1] ? w[1] : "", status, said);
    }
}

static void bad_names_and_passwords_are_refused(void **state)
{
    assert_int_equal(user("p", "add", "a:b", "--password-stdin", "--state", in_folder("state"), NULL), EXIT_REFUSED);
    assert_non_null(strstr(said, "a name cannot have a colon"));
    assert_int_equal(user("p", "add", "a\nb", "--password-stdin", "--state", in_folder("state"), NULL), EXIT_REFUSED);
    assert_int_equal(user("", "add", "alice", "--password-stdin", "--state", in_folder("state"), NULL), EXIT_REFUSED);
    assert_non_null(strstr(said, "the password is empty"));
    assert_int_equal(user("a\tb", "add", "alice", "--password-stdin", "--state", in_folder("state"), NULL),
                     EXIT_REFUSED);
    assert_null(strstr(said, "a\tb"));
    char endless[2000];
    memset(endless, 'p', sizeof endless);
    endless[sizeof endless - 1] = 0;
    assert_int_equal(user(endless, "add", "alice", "--password-stdin", "--state", in_folder("state"), NULL),
                     EXIT_REFUSED);
    assert_non_null(strstr(said, "the password is too long"));
    assert_int_equal(stored("alice", "causeway").created_s, 0);
}

/* ---- at a terminal ---- */

/* Runs `add alice` in a child at a terminal of its own; types one answer after each prompt. What it showed is in
 * `told`. */
static int type(const char *first, const char *second)
{
    int terminal;
    struct termios echo;
    char *dir = in_folder("state");
    fflush(NULL);
    pid_t child = forkpty(&terminal, NULL, NULL, NULL);
    assert_true(child >= 0);
    if (child == 0) {
        char *argv[] = {"user", "add", "alice", "--state", dir, NULL};
        alarm(120);
        exit(user_main(5, argv));
    }
    const char *answers[] = {first, second};
    size_t n = 0;
    int answered = 0;
    for (ssize_t got; n < sizeof told - 1 && (got = read(terminal, told + n, sizeof told - 1 - n)) > 0;) {
        n += (size_t)got;
        told[n] = 0;
        bool is_prompt = n > 2 && strcmp(told + n - 2, ": ") == 0;
        if (!is_prompt || answered == 2)
            continue;
        assert_int_equal(tcgetattr(terminal, &echo), 0);
        assert_false(echo.c_lflag & ECHO);
        assert_true(write(terminal, answers[answered], strlen(answers[answered])) > 0);
        answered++;
    }
    told[n] = 0;
    close(terminal);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void at_a_terminal_the_password_is_typed_twice(void **state)
{
    assert_int_equal(type("sesame\n", "sesame\n"), EXIT_OK);
    assert_null(strstr(told, "sesame"));
    assert_non_null(strstr(told, "added alice"));
    assert_password("alice", "causeway", "sesame");
    assert_int_equal(type("other\n", "typo\n"), EXIT_REFUSED);
    assert_non_null(strstr(told, "the two passwords differ; try again"));
    assert_password("alice", "causeway", "sesame");
    assert_int_equal(type("\x03", ""), -SIGINT); /* Ctrl-C */
    assert_password("alice", "causeway", "sesame");
}

static int add_without_terminal(void)
{
    setsid();
    int status = user("p", "add", "alice", "--state", in_folder("state"), NULL);
    return status == EXIT_REFUSED && strstr(said, "there is no terminal to ask for the password; use --password-stdin")
               ? 0
               : 1;
}

static void without_a_terminal_the_ways_are_told(void **state)
{
    if (geteuid() == 0)
        assert_int_equal(chown(folder, 65534, 65534), 0);
    assert_int_equal(as_somebody(add_without_terminal), 0);
}

static void help_teaches(void **state)
{
    char buf[8192];
    struct text t = text_of(buf, sizeof buf);
    user_usage(&t);
    static const char *const all[] = {"usage:", "Examples:", "--password-stdin", "--secret-file", "Exit status:"};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        assert_non_null(strstr(buf, all[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        each(users_are_added_from_standard_input),
        each(passwords_are_generated),
        each(users_are_listed),
        each(users_are_removed),
        each(mras_credentials_come_from_the_state_directory),
        each(tokens_come_from_the_configuration),
        each(the_state_directory_of_the_configuration_counts),
        each(wrong_usage_is_explained),
        each(bad_names_and_passwords_are_refused),
        each(at_a_terminal_the_password_is_typed_twice),
        each(without_a_terminal_the_ways_are_told),
        each(help_teaches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
