#include "app/state.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/rand.h"
#include "store/store.h"

static int fail(struct text *why, const char *dir, const char *name, const char *what, const char *remedy)
{
    int error = errno;
    text_addf(why, "%s%s%s: %s: %s; %s", dir, name ? "/" : "", name ? name : "", what, strerror(error), remedy);
    return error == EACCES || error == EPERM || error == EROFS ? ERR_DENIED : ERR_SYS;
}

/* ---- opening ---- */

/* Makes the missing parents too, readable for all: only the last one is ours. */
static int make_directory(const char *dir, struct text *why)
{
    char path[4096];
    size_t n = strlen(dir);
    if (n == 0 || n >= sizeof path) {
        text_add(why, "the name of the state directory is too long; name another");
        return ERR_BAD;
    }
    memcpy(path, dir, n + 1);
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        if (mkdir(path, 0755) != 0 && errno != EEXIST)
            return fail(why, path, NULL, "cannot be made", "name another directory with --state, or make it by hand");
        *slash = '/';
    }
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return fail(why, path, NULL, "cannot be made", "name another directory with --state, or make it by hand");
    return 0;
}

/* A file that we make, or what a crash left of one that was being written. */
static bool is_ours(const char *name)
{
    static const char *const names[] = {STATE_CREDENTIAL, STATE_CERT, STATE_KEY, STATE_MRAS, STATE_USERS};
    bool is_temporary = name[0] == '.';
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        size_t n = strlen(names[i]);
        const char *behind = name + is_temporary + n;
        if (strncmp(name + is_temporary, names[i], n) == 0 && (*behind == 0 || *behind == '-' || *behind == '.'))
            return true;
    }
    return false;
}

static int for_each_file(const struct state *s, int (*each)(const struct state *s, const char *name, struct text *why),
                         struct text *why)
{
    int fd = openat(s->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    if (!d) {
        if (fd >= 0)
            close(fd);
        return fail(why, s->dir, NULL, "cannot be read", "check its permissions");
    }
    int err = 0;
    for (struct dirent *e; !err && (e = readdir(d));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            err = each(s, e->d_name, why);
    closedir(d);
    return err;
}

static int check_ours(const struct state *s, const char *name, struct text *why)
{
    if (is_ours(name))
        return 0;
    text_addf(why, "%s: holds \"", s->dir);
    text_add_safe(why, span_str(name));
    text_add(why,
             "\", which is not Causeway's; name an empty directory, or give it to the account that the server becomes");
    return ERR_DENIED;
}

static int adopt_file(const struct state *s, const char *name, struct text *why)
{
    if (fchownat(s->fd, name, s->uid, s->gid, AT_SYMLINK_NOFOLLOW) != 0)
        return fail(why, s->dir, name, "cannot be given to its account", "check the file system");
    return 0;
}

/* Root gives its directory to the account, but only one that has nothing else in it: nobody gets /etc. */
static int adopt_directory(const struct state *s, struct text *why)
{
    int err = for_each_file(s, check_ours, why);
    if (err)
        return err;
    if (fchown(s->fd, s->uid, s->gid) != 0)
        return fail(why, s->dir, NULL, "cannot be given to its account", "check the file system");
    return for_each_file(s, adopt_file, why);
}

static int check_directory(struct state *s, const struct passwd *account, struct text *why)
{
    struct stat st;
    if (fstat(s->fd, &st) != 0)
        return fail(why, s->dir, NULL, "cannot be looked at", "check the file system");
    if (st.st_mode & 0022) {
        text_addf(why, "%s: others may write it, and so replace what is in it; chmod 700 %s", s->dir, s->dir);
        return ERR_DENIED;
    }
    s->uid = st.st_uid;
    s->gid = st.st_gid;
    if (geteuid() != 0 && st.st_uid != geteuid()) {
        text_addf(why,
                  "%s: belongs to another account (%u); run as that account, or name another directory with --state",
                  s->dir, st.st_uid);
        return ERR_DENIED;
    }
    if (geteuid() != 0 || !account || st.st_uid == account->pw_uid)
        return 0;
    if (st.st_uid != 0) {
        text_addf(why, "%s: belongs to account %u, but the server becomes %s; chown -R %s %s, or set run-as", s->dir,
                  st.st_uid, account->pw_name, account->pw_name, s->dir);
        return ERR_DENIED;
    }
    s->uid = account->pw_uid;
    s->gid = account->pw_gid;
    return adopt_directory(s, why);
}

int state_open(struct state *s, const char *dir, const char *account, struct text *why)
{
    *s = (struct state){.fd = -1};
    const struct passwd *pw = account ? getpwnam(account) : NULL;
    if (account && !pw) {
        text_addf(why, "there is no account %s; make it (useradd --system %s), or set run-as", account, account);
        return ERR_BAD;
    }
    int err = make_directory(dir, why);
    if (err)
        return err;
    s->dir = strdup(dir);
    s->fd = s->dir ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (!s->dir)
        err = ERR_NOMEM;
    else if (s->fd < 0)
        err = fail(why, dir, NULL, "cannot be opened", "check that it is a directory, and its permissions");
    else
        err = check_directory(s, pw, why);
    if (err)
        state_close(s);
    return err;
}

void state_close(struct state *s)
{
    if (s->fd >= 0)
        close(s->fd);
    free(s->dir);
    *s = (struct state){.fd = -1};
}

char *state_path(const struct state *s, const char *name)
{
    char *path;
    return asprintf(&path, "%s/%s", s->dir, name) < 0 ? NULL : path;
}

int state_adopt(const struct state *s, const char *name, struct text *why)
{
    return geteuid() == 0 ? adopt_file(s, name, why) : 0;
}

/* ---- files ---- */

static int write_all(int fd, struct span bytes)
{
    while (bytes.n) {
        ssize_t n = write(fd, bytes.p, bytes.n);
        if (n < 0 && errno != EINTR)
            return ERR_SYS;
        bytes = span_skip(bytes, n > 0 ? (size_t)n : 0);
    }
    return 0;
}

static int write_temporary(const struct state *s, const char *name, struct span bytes, mode_t mode)
{
    int fd = openat(s->fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
    if (fd < 0)
        return ERR_SYS;
    bool is_given = geteuid() != 0 || fchown(fd, s->uid, s->gid) == 0;
    int err = is_given && write_all(fd, bytes) == 0 && fsync(fd) == 0 ? 0 : ERR_SYS;
    int error = errno;
    close(fd);
    errno = error;
    return err;
}

int state_write(const struct state *s, const char *name, struct span bytes, mode_t mode, struct text *why)
{
    char temporary[80];
    snprintf(temporary, sizeof temporary, ".%.40s.%08x", name, (unsigned)rand_u32());
    if (write_temporary(s, temporary, bytes, mode) == 0 && renameat(s->fd, temporary, s->fd, name) == 0 &&
        fsync(s->fd) == 0)
        return 0;
    int error = errno;
    unlinkat(s->fd, temporary, 0);
    errno = error;
    return fail(why, s->dir, name, "cannot be written",
                "check the room on the disk and the permissions of the directory");
}

/* ---- the generated credential ---- */

void state_make_password(char out[STATE_PASSWORD_SIZE + 1])
{
    static const char letters[32] = "abcdefghijkmnpqrstuvwxyz23456789"; /* without l, o, 0, 1 */
    uint8_t bytes[STATE_PASSWORD_SIZE];
    rand_bytes(bytes, sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i++)
        out[i] = letters[bytes[i] % sizeof letters];
    out[STATE_PASSWORD_SIZE] = 0;
    explicit_bzero(bytes, sizeof bytes);
}

/* One line "NAME:PASSWORD". */
static int parse_credential(const struct state *s, char *line, char **name, char **password, struct text *why)
{
    line[strcspn(line, "\n")] = 0;
    char *colon = strchr(line, ':');
    if (colon)
        *colon++ = 0;
    if (!colon || store_name_fault(span_str(line)) || store_password_fault(span_str(colon))) {
        text_addf(why, "%s/%s: is not a line NAME:PASSWORD; remove the file, and a new one will be made", s->dir,
                  STATE_CREDENTIAL);
        return ERR_BAD;
    }
    *name = strdup(line);
    *password = strdup(colon);
    if (*name && *password)
        return 0;
    free(*name);
    free(*password);
    return ERR_NOMEM;
}

static int read_credential(const struct state *s, char *line, size_t cap)
{
    int fd = openat(s->fd, STATE_CREDENTIAL, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return errno == ENOENT ? ERR_NONE : ERR_SYS;
    ssize_t n = read(fd, line, cap - 1);
    int error = errno;
    close(fd);
    errno = error;
    if (n < 0)
        return ERR_SYS;
    line[n] = 0;
    return 0;
}

static int make_credential(const struct state *s, char *line, size_t cap, struct text *why)
{
    char password[STATE_PASSWORD_SIZE + 1];
    struct text t = text_of(line, cap);
    state_make_password(password);
    text_addf(&t, "causeway:%s\n", password);
    explicit_bzero(password, sizeof password);
    return state_write(s, STATE_CREDENTIAL, span_of(line, t.n), 0600, why);
}

int state_credential(const struct state *s, char **name, char **password, bool *is_new, struct text *why)
{
    char line[STORE_NAME_MAX + STORE_PASSWORD_MAX + 3];
    *name = *password = NULL;
    int err = read_credential(s, line, sizeof line);
    *is_new = err == ERR_NONE;
    if (*is_new)
        err = make_credential(s, line, sizeof line, why);
    else if (err)
        err = fail(why, s->dir, STATE_CREDENTIAL, "cannot be read", "check its permissions");
    if (!err)
        err = parse_credential(s, line, name, password, why);
    explicit_bzero(line, sizeof line);
    return err;
}
