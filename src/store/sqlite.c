/* The store in an SQLite file: WAL, so that the server reads while a command writes. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/driver.h"

extern const char store_schema[]; /* schema.sql, made a string by the build */

enum { APPLICATION_ID = 1130461043, SCHEMA_VERSION = 1, BUSY_MS = 3000 };

enum query { PUT, REMOVE, ENABLE, GET, GET_BY_HASH, LIST, VERSION, QUERIES };

#define COLUMNS "name, realm, md5, sha256, userhash, created_s, enabled"

static const char *const queries[QUERIES] = {
    [PUT] =
        "INSERT INTO user (" COLUMNS ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (realm, name) DO UPDATE SET "
        "md5 = excluded.md5, sha256 = excluded.sha256, enabled = excluded.enabled",
    [REMOVE] = "DELETE FROM user WHERE name = ?1 AND realm = ?2",
    [ENABLE] = "UPDATE user SET enabled = ?3 WHERE name = ?1 AND realm = ?2",
    [GET] = "SELECT " COLUMNS " FROM user WHERE name = ?1 AND realm = ?2",
    [GET_BY_HASH] = "SELECT " COLUMNS " FROM user WHERE userhash = ?1",
    [LIST] = "SELECT " COLUMNS " FROM user ORDER BY realm, name",
    [VERSION] = "PRAGMA data_version",
};

struct sqlite {
    struct store store;
    sqlite3 *db;
    sqlite3_stmt *statements[QUERIES];
    char *path;
};

/* ---- errors ---- */

static int fault_of(int code, const char **remedy)
{
    static const struct {
        int code, err;
        const char *remedy;
    } faults[] = {
        {SQLITE_BUSY, ERR_AGAIN, "another process holds it; try again"},
        {SQLITE_LOCKED, ERR_AGAIN, "another process holds it; try again"},
        {SQLITE_READONLY, ERR_DENIED,
         "this account may not write it; run as the account that owns the directory, or as root"},
        {SQLITE_PERM, ERR_DENIED,
         "this account may not use it; run as the account that owns the directory, or as root"},
        {SQLITE_CANTOPEN, ERR_SYS, "check the directory, its permissions and that no symbolic link stands in the way"},
        {SQLITE_FULL, ERR_FULL, "make room on the disk and try again"},
        {SQLITE_NOTADB, ERR_BAD, "it is no SQLite file; move it away, or name another state directory"},
        {SQLITE_CORRUPT, ERR_BAD, "it is damaged; restore it from a backup"},
        {SQLITE_CONSTRAINT, ERR_BAD, "it refuses this user"},
        {SQLITE_NOMEM, ERR_NOMEM, "free some memory and try again"},
    };
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
        if (faults[i].code == (code & 0xff)) {
            *remedy = faults[i].remedy;
            return faults[i].err;
        }
    *remedy = "check the disk";
    return ERR_SYS;
}

/* Tells of SQLite's newest error. */
static int fail(struct sqlite *s, struct text *why)
{
    const char *remedy;
    int err = fault_of(sqlite3_errcode(s->db), &remedy);
    text_addf(why, "%s: %s", s->path, sqlite3_errmsg(s->db));
    int error = sqlite3_system_errno(s->db);
    if (err == ERR_SYS && error)
        text_addf(why, " (%s)", strerror(error));
    text_addf(why, ": %s", remedy);
    return err;
}

static int no_such_user(const char *name, const char *realm, struct text *why)
{
    text_add(why, "no user \"");
    text_add_safe(why, span_str(name));
    text_addf(why, "\" in realm \"%s\"; causeway user list shows those there are", realm);
    return ERR_NONE;
}

/* ---- queries ---- */

static sqlite3_stmt *begin_query(struct sqlite *s, enum query q)
{
    sqlite3_reset(s->statements[q]);
    sqlite3_clear_bindings(s->statements[q]);
    return s->statements[q];
}

static void bind_key(sqlite3_stmt *st, const char *name, const char *realm)
{
    sqlite3_bind_text(st, 1, name, -1, SQLITE_STATIC);
    sqlite3_bind_text(st, 2, realm, -1, SQLITE_STATIC);
}

/* Runs a query that gives no rows; ERR_NONE if it changed none. */
static int run(struct sqlite *s, sqlite3_stmt *st, struct text *why)
{
    int err = sqlite3_step(st) == SQLITE_DONE ? 0 : fail(s, why);
    sqlite3_reset(st);
    return err ? err : sqlite3_changes(s->db) ? 0 : ERR_NONE;
}

static int put(struct store *store, const struct store_user *u, struct text *why)
{
    struct sqlite *s = (struct sqlite *)store;
    sqlite3_stmt *st = begin_query(s, PUT);
    bind_key(st, u->name, u->realm);
    sqlite3_bind_blob(st, 3, u->md5, sizeof u->md5, SQLITE_STATIC);
    sqlite3_bind_blob(st, 4, u->sha256, sizeof u->sha256, SQLITE_STATIC);
    sqlite3_bind_blob(st, 5, u->userhash, sizeof u->userhash, SQLITE_STATIC);
    sqlite3_bind_int64(st, 6, u->created_s);
    sqlite3_bind_int(st, 7, u->is_enabled);
    return run(s, st, why);
}

static int remove_user(struct store *store, const char *name, const char *realm, struct text *why)
{
    struct sqlite *s = (struct sqlite *)store;
    sqlite3_stmt *st = begin_query(s, REMOVE);
    bind_key(st, name, realm);
    int err = run(s, st, why);
    return err == ERR_NONE ? no_such_user(name, realm, why) : err;
}

static int enable(struct store *store, const char *name, const char *realm, bool is_enabled, struct text *why)
{
    struct sqlite *s = (struct sqlite *)store;
    sqlite3_stmt *st = begin_query(s, ENABLE);
    bind_key(st, name, realm);
    sqlite3_bind_int(st, 3, is_enabled);
    int err = run(s, st, why);
    return err == ERR_NONE ? no_such_user(name, realm, why) : err;
}

/* A column of exactly (`is_text`: less than) `size` bytes; somebody else may have written the file. */
static bool take_column(sqlite3_stmt *st, int column, void *out, size_t size, bool is_text)
{
    const void *p = is_text ? (const void *)sqlite3_column_text(st, column) : sqlite3_column_blob(st, column);
    size_t n = (size_t)sqlite3_column_bytes(st, column);
    if (!p || (is_text ? n >= size || memchr(p, 0, n) : n != size))
        return false;
    memcpy(out, p, n);
    return true;
}

static int take_row(struct sqlite *s, sqlite3_stmt *st, struct store_user *u, struct text *why)
{
    *u = (struct store_user){.created_s = sqlite3_column_int64(st, 5), .is_enabled = sqlite3_column_int(st, 6)};
    if (take_column(st, 0, u->name, sizeof u->name, true) && take_column(st, 1, u->realm, sizeof u->realm, true) &&
        take_column(st, 2, u->md5, sizeof u->md5, false) && take_column(st, 3, u->sha256, sizeof u->sha256, false) &&
        take_column(st, 4, u->userhash, sizeof u->userhash, false))
        return 0;
    text_addf(why, "%s: a user in it is malformed; remove the row, or restore the file from a backup", s->path);
    return ERR_BAD;
}

/* The only row of a query, or ERR_NONE. */
static int take_only(struct sqlite *s, sqlite3_stmt *st, struct store_user *out, struct text *why)
{
    int code = sqlite3_step(st);
    int err = code == SQLITE_ROW ? take_row(s, st, out, why) : code == SQLITE_DONE ? ERR_NONE : fail(s, why);
    sqlite3_reset(st);
    return err;
}

static int get(struct store *store, const char *name, const char *realm, struct store_user *out, struct text *why)
{
    struct sqlite *s = (struct sqlite *)store;
    sqlite3_stmt *st = begin_query(s, GET);
    bind_key(st, name, realm);
    int err = take_only(s, st, out, why);
    return err == ERR_NONE ? no_such_user(name, realm, why) : err;
}

static int get_by_hash(struct store *store, const uint8_t userhash[SHA256_SIZE], struct store_user *out,
                       struct text *why)
{
    struct sqlite *s = (struct sqlite *)store;
    sqlite3_stmt *st = begin_query(s, GET_BY_HASH);
    sqlite3_bind_blob(st, 1, userhash, SHA256_SIZE, SQLITE_STATIC);
    int err = take_only(s, st, out, why);
    if (err == ERR_NONE)
        text_add(why, "no user with this hash");
    return err;
}

static int list(struct store *store, int (*each)(void *context, const struct store_user *u), void *context,
                struct text *why)
{
    struct sqlite *s = (struct sqlite *)store;
    sqlite3_stmt *st = begin_query(s, LIST);
    int result = 0, code = SQLITE_DONE;
    while (result == 0 && (code = sqlite3_step(st)) == SQLITE_ROW) {
        struct store_user u;
        result = take_row(s, st, &u, why);
        if (result == 0)
            result = each(context, &u);
    }
    if (result == 0 && code != SQLITE_DONE)
        result = fail(s, why);
    sqlite3_reset(st);
    return result;
}

static int version(struct store *store, uint64_t *out, struct text *why)
{
    struct sqlite *s = (struct sqlite *)store;
    sqlite3_stmt *st = begin_query(s, VERSION);
    int err = sqlite3_step(st) == SQLITE_ROW ? 0 : fail(s, why);
    *out = err ? 0 : (uint64_t)sqlite3_column_int64(st, 0);
    sqlite3_reset(st);
    return err;
}

/* ---- opening ---- */

static void close_store(struct store *store)
{
    struct sqlite *s = (struct sqlite *)store;
    for (size_t i = 0; i < QUERIES; i++)
        sqlite3_finalize(s->statements[i]);
    sqlite3_close(s->db);
    free(s->path);
    free(s);
}

static const struct store_driver driver = {
    .close = close_store,
    .put = put,
    .remove = remove_user,
    .enable = enable,
    .get = get,
    .get_by_hash = get_by_hash,
    .list = list,
    .version = version,
};

static int exec(struct sqlite *s, const char *sql, struct text *why)
{
    return sqlite3_exec(s->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : fail(s, why);
}

/* The number that a query gives. */
static int ask(struct sqlite *s, const char *sql, int64_t *out, struct text *why)
{
    sqlite3_stmt *st = NULL;
    int err = 0;
    if (sqlite3_prepare_v2(s->db, sql, -1, &st, NULL) != SQLITE_OK || sqlite3_step(st) != SQLITE_ROW)
        err = fail(s, why);
    else
        *out = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    return err;
}

/* Inside a transaction: makes the tables of an empty file, refuses those of others. */
static int check_schema(struct sqlite *s, struct text *why)
{
    int64_t tables = 0, application = 0, found = 0;
    int err = ask(s, "SELECT count(*) FROM sqlite_schema", &tables, why);
    if (!err && tables == 0)
        err = exec(s, store_schema, why);
    if (!err)
        err = ask(s, "PRAGMA application_id", &application, why);
    if (!err)
        err = ask(s, "PRAGMA user_version", &found, why);
    if (err || (application == APPLICATION_ID && found == SCHEMA_VERSION))
        return err;
    if (application != APPLICATION_ID)
        text_addf(why, "%s: is the file of another program; move it away, or name another state directory", s->path);
    else
        text_addf(why, "%s: has version %lld, this causeway knows version %d; use the causeway that made it", s->path,
                  (long long)found, SCHEMA_VERSION);
    return ERR_BAD;
}

static int prepare(struct sqlite *s, struct text *why)
{
    for (size_t i = 0; i < QUERIES; i++)
        if (sqlite3_prepare_v3(s->db, queries[i], -1, SQLITE_PREPARE_PERSISTENT, &s->statements[i], NULL) != SQLITE_OK)
            return fail(s, why);
    return 0;
}

static int open_database(struct sqlite *s, struct text *why)
{
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW;
    if (sqlite3_open_v2(s->path, &s->db, flags, NULL) != SQLITE_OK)
        return fail(s, why);
    sqlite3_busy_timeout(s->db, BUSY_MS);
    if (sqlite3_db_readonly(s->db, "main") == 1) {
        const char *remedy;
        int err = fault_of(SQLITE_READONLY, &remedy);
        text_addf(why, "%s: %s", s->path, remedy);
        return err;
    }
    int err = exec(s, "PRAGMA trusted_schema = OFF; PRAGMA journal_mode = WAL; BEGIN IMMEDIATE", why);
    if (!err)
        err = check_schema(s, why);
    if (!err)
        err = exec(s, "COMMIT", why);
    return err ? err : prepare(s, why);
}

/* A new file gets the mode and owner it shall have before anything is in it; SQLite gives both to its -wal and -shm. */
static int make_file(const char *path, const char *dir, struct text *why)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0 && errno == EEXIST)
        return 0;
    struct stat st;
    int err = fd < 0 || stat(dir, &st) != 0 || (geteuid() == 0 && fchown(fd, st.st_uid, st.st_gid) != 0) ? ERR_SYS : 0;
    if (err)
        text_addf(why, "%s: cannot be made: %s; check the directory and its permissions", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return err;
}

/* The path with its directory resolved, so that NOFOLLOW is about the file itself. */
static char *resolve(const char *path, char dir[PATH_MAX])
{
    char *copy1 = strdup(path), *copy2 = strdup(path), *resolved = NULL;
    if (copy1 && copy2 && realpath(dirname(copy1), dir) && asprintf(&resolved, "%s/%s", dir, basename(copy2)) < 0)
        resolved = NULL;
    free(copy1);
    free(copy2);
    return resolved;
}

/* SQLite does not wait for a lock when it turns a file to WAL: first starts at the same time must not meet there. */
static int lock_folder(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0 && flock(fd, LOCK_EX) == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return ERR_SYS;
}

static int open_locked(struct sqlite *s, const char *dir, struct text *why)
{
    int lock = lock_folder(dir);
    if (lock < 0) {
        text_addf(why, "%s: cannot be locked: %s; check the directory and its permissions", dir, strerror(errno));
        return ERR_SYS;
    }
    int err = make_file(s->path, dir, why);
    if (!err)
        err = open_database(s, why);
    close(lock);
    return err;
}

struct store *sqlite_open(const char *path, int *err, struct text *why)
{
    char dir[PATH_MAX];
    struct sqlite *s = calloc(1, sizeof *s);
    if (!s) {
        *err = ERR_NOMEM;
        return NULL;
    }
    s->store.driver = &driver;
    s->path = resolve(path, dir);
    *err = s->path ? open_locked(s, dir, why) : ERR_SYS;
    if (!s->path)
        text_addf(why, "%s: %s; check the directory and its permissions", path, strerror(errno));
    if (!*err)
        return &s->store;
    close_store(&s->store);
    return NULL;
}
