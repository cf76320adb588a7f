#include <fcntl.h>
#include <sched.h>
#include <sqlite3.h>
#include <sys/mount.h>

#include "fixture.h"

static struct store *open_store(const char *name)
{
    int err = 1;
    struct store *s = store_open(in_folder(name), &err, &why);
    if (!s)
        fail_msg("%d %s", err, said);
    assert_int_equal(err, 0);
    return s;
}

/* Runs SQL behind the store's back. */
static void tamper(const char *name, const char *sql)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(in_folder(name), &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static void assert_refused(const char *path, int wanted, const char *says)
{
    int err = 0;
    why = text_of(said, sizeof said);
    assert_null(store_open(path, &err, &why));
    if (err != wanted || !strstr(said, says) || !strstr(said, path) || strchr(said, '\n'))
        fail_msg("%d instead of %d: %s", err, wanted, said);
}

/* ---- users ---- */

static void users_come_back_as_they_were(void **state)
{
    struct store *s = open_store("users.db");
    struct store_user u = user_named("alice"), got;
    assert_int_equal(store_put(s, &u, &why), 0);
    store_close(s);
    s = open_store("users.db");
    assert_int_equal(store_get(s, "alice", "example.org", &got, &why), 0);
    assert_memory_equal(&got, &u, sizeof u);
    assert_int_equal(store_get_by_hash(s, u.userhash, &got, &why), 0);
    assert_memory_equal(&got, &u, sizeof u);
    assert_string_equal(said, "");
    assert_int_equal(store_get(s, "alice", "example.com", &got, &why), ERR_NONE);
    assert_int_equal(store_get(s, "Alice", "example.org", &got, &why), ERR_NONE);
    assert_int_equal(store_get(s, "", "", &got, &why), ERR_NONE);
    u.userhash[31] ^= 1;
    assert_int_equal(store_get_by_hash(s, u.userhash, &got, &why), ERR_NONE);
    store_close(s);
}

static void adding_again_replaces_the_keys(void **state)
{
    struct store *s = open_store("users.db");
    struct store_user u = user_named("alice"), other, got;
    assert_int_equal(store_put(s, &u, &why), 0);
    assert_int_equal(store_user_init(&other, "alice", "example.org", "new", 1800000000), 0);
    assert_int_equal(store_put(s, &other, &why), 0);
    assert_int_equal(store_get(s, "alice", "example.org", &got, &why), 0);
    assert_memory_equal(got.md5, other.md5, sizeof got.md5);
    assert_memory_equal(got.sha256, other.sha256, sizeof got.sha256);
    assert_int_equal(got.created_s, 1700000000);
    store_close(s);
}

static void users_are_removed_and_disabled(void **state)
{
    struct store *s = open_store("users.db");
    struct store_user u = user_named("alice"), got;
    assert_int_equal(store_put(s, &u, &why), 0);
    assert_int_equal(store_enable(s, "alice", "example.org", false, &why), 0);
    assert_int_equal(store_get(s, "alice", "example.org", &got, &why), 0);
    assert_false(got.is_enabled);
    assert_int_equal(store_enable(s, "alice", "example.org", true, &why), 0);
    assert_int_equal(store_get(s, "alice", "example.org", &got, &why), 0);
    assert_true(got.is_enabled);
    assert_int_equal(store_remove(s, "alice", "elsewhere", &why), ERR_NONE);
    assert_non_null(strstr(said, "no user \"alice\" in realm \"elsewhere\""));
    assert_int_equal(store_remove(s, "alice", "example.org", &why), 0);
    assert_int_equal(store_remove(s, "alice", "example.org", &why), ERR_NONE);
    assert_int_equal(store_enable(s, "alice", "example.org", true, &why), ERR_NONE);
    assert_int_equal(store_get(s, "alice", "example.org", &got, &why), ERR_NONE);
    store_close(s);
}

/* Checklist S21: a name is never more than a name. */
static void hostile_names_are_only_names(void **state)
{
    static const char *const names[] = {
        "%s%n%n", "'",   "\"", ";",  "' OR '1'='1",   "'; DROP TABLE user; --", "x'||(SELECT 1)||'",
        "?1",     "*",   "\\", "a%", "\u202egnp.exe", "../../etc/passwd",       "$(reboot)",
        "=1+1",   "a b",
    };
    enum { NAMES = sizeof names / sizeof names[0] };
    struct store *s = open_store("users.db");
    struct store_user u = user_named("bystander"), got;
    assert_int_equal(store_put(s, &u, &why), 0);
    for (size_t i = 0; i < NAMES; i++) {
        u = user_named(names[i]);
        assert_int_equal(store_get(s, names[i], "example.org", &got, &why), ERR_NONE);
        assert_int_equal(store_put(s, &u, &why), 0);
    }
    for (size_t i = 0; i < NAMES; i++) {
        assert_int_equal(store_get(s, names[i], "example.org", &got, &why), 0);
        assert_string_equal(got.name, names[i]);
        assert_int_equal(store_remove(s, names[i], "example.org", &why), 0);
    }
    assert_int_equal(store_get(s, "bystander", "example.org", &got, &why), 0);
    why = text_of(said, sizeof said);
    assert_int_equal(store_remove(s, "\x1b[2J\n", "example.org", &why), ERR_NONE);
    assert_non_null(strstr(said, "\"\\x1b[2J\\x0a\""));
    store_close(s);
}

struct seen {
    char names[200];
    int stop_after;
};

static int see(void *context, const struct store_user *u)
{
    struct seen *seen = context;
    strcat(strcat(seen->names, u->name), " ");
    return --seen->stop_after == 0 ? 42 : 0;
}

static void users_are_listed_in_order(void **state)
{
    struct store *s = open_store("users.db");
    static const char *const names[] = {"carol", "alice", "bob"};
    struct seen seen = {.stop_after = 100};
    assert_int_equal(store_list(s, see, &seen, &why), 0);
    assert_string_equal(seen.names, "");
    for (int i = 0; i < 3; i++) {
        struct store_user u = user_named(names[i]);
        assert_int_equal(store_put(s, &u, &why), 0);
    }
    struct store_user u;
    store_user_init(&u, "zoe", "another", "p", 0);
    assert_int_equal(store_put(s, &u, &why), 0);
    assert_int_equal(store_list(s, see, &seen, &why), 0);
    assert_string_equal(seen.names, "zoe alice bob carol ");
    seen = (struct seen){.stop_after = 2};
    assert_int_equal(store_list(s, see, &seen, &why), 42);
    assert_string_equal(seen.names, "zoe alice ");
    store_close(s);
}

static void a_change_by_another_is_noticed(void **state)
{
    struct store *server = open_store("users.db"), *command = open_store("users.db");
    uint64_t before, after;
    struct store_user u = user_named("alice");
    assert_int_equal(store_version(server, &before, &why), 0);
    assert_int_equal(store_version(server, &after, &why), 0);
    assert_int_equal(before, after);
    assert_int_equal(store_put(command, &u, &why), 0);
    assert_int_equal(store_version(server, &after, &why), 0);
    assert_int_not_equal(before, after);
    assert_int_equal(store_get(server, "alice", "example.org", &u, &why), 0);
    store_close(command);
    store_close(server);
}

/* ---- the file ---- */

static void the_file_is_for_its_owner_alone(void **state)
{
    mode_t old = umask(0);
    struct store *s = open_store("users.db");
    umask(old);
    struct store_user u = user_named("alice");
    struct stat st;
    assert_int_equal(store_put(s, &u, &why), 0);
    static const char *const names[] = {"users.db", "users.db-wal", "users.db-shm"};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(stat(in_folder(names[i]), &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
    }
    store_close(s);
}

static void as_root_files_go_to_the_owner_of_the_directory(void **state)
{
    if (geteuid() != 0)
        skip();
    struct stat st;
    assert_int_equal(chown(folder, 65534, 65534), 0);
    struct store *s = open_store("users.db");
    struct store_user u = user_named("alice");
    assert_int_equal(store_put(s, &u, &why), 0);
    static const char *const names[] = {"users.db", "users.db-wal", "users.db-shm"};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(stat(in_folder(names[i]), &st), 0);
        assert_int_equal(st.st_uid, 65534);
    }
    store_close(s);
}

static void passwords_are_not_in_the_file(void **state)
{
    struct store *s = open_store("users.db");
    struct store_user u;
    assert_int_equal(store_user_init(&u, "alice", "example.org", "correct horse battery", 0), 0);
    assert_int_equal(store_put(s, &u, &why), 0);
    static const char *const names[] = {"users.db", "users.db-wal"};
    for (int i = 0; i < 2; i++) {
        static char bytes[1 << 20];
        int fd = open(in_folder(names[i]), O_RDONLY);
        assert_true(fd >= 0);
        ssize_t n = read(fd, bytes, sizeof bytes);
        close(fd);
        assert_true(n > 0);
        assert_null(memmem(bytes, (size_t)n, "horse", 5));
    }
    store_close(s);
}

static void what_is_no_store_is_refused(void **state)
{
    FILE *f = fopen(in_folder("text.db"), "w");
    for (int i = 0; i < 1000; i++)
        fputs("This is not a database, and will never be one.\n", f);
    fclose(f);
    assert_refused(in_folder("text.db"), ERR_BAD, "it is no SQLite file; move it away");

    tamper("foreign.db", "CREATE TABLE recipes (name)");
    assert_refused(in_folder("foreign.db"), ERR_BAD, "is the file of another program");

    store_close(open_store("later.db"));
    tamper("later.db", "PRAGMA user_version = 2");
    assert_refused(in_folder("later.db"), ERR_BAD, "has version 2, this causeway knows version 1");

    mkdir(in_folder("folder.db"), 0700);
    assert_refused(in_folder("folder.db"), ERR_SYS, "check the directory");
    assert_refused("/nonexistent/users.db", ERR_SYS, "No such file or directory");
}

static void symbolic_links_are_not_followed(void **state)
{
    store_close(open_store("users.db"));
    assert_int_equal(symlink(in_folder("users.db"), in_folder("link.db")), 0);
    assert_refused(in_folder("link.db"), ERR_SYS, "no symbolic link");
    assert_int_equal(symlink("/nonexistent/target", in_folder("dangling.db")), 0);
    assert_refused(in_folder("dangling.db"), ERR_SYS, "no symbolic link");

    /* but the directory may be reached by one */
    assert_int_equal(symlink(folder, in_folder("way")), 0);
    store_close(open_store("way/users.db"));
}

static void a_lock_held_too_long_is_told(void **state)
{
    struct store *s = open_store("users.db");
    struct store_user u = user_named("alice"), got;
    assert_int_equal(store_put(s, &u, &why), 0);
    sqlite3 *other;
    assert_int_equal(sqlite3_open(in_folder("users.db"), &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(store_put(s, &u, &why), ERR_AGAIN);
    assert_non_null(strstr(said, "database is locked: another process holds it; try again"));
    assert_int_equal(store_get(s, "alice", "example.org", &got, &why), 0); /* readers never wait */
    sqlite3_close(other);
    assert_int_equal(store_put(s, &u, &why), 0);
    store_close(s);
}

static int open_as_somebody(void)
{
    int err = 0;
    struct store *s = store_open(in_folder("users.db"), &err, &why);
    store_close(s);
    bool is_told = strstr(said, "run as the account that owns the directory") || strstr(said, "check the directory");
    return s ? 1 : !is_told ? 2 : err == ERR_DENIED || err == ERR_SYS ? 0 : 3;
}

static void what_may_not_be_written_is_told(void **state)
{
    store_close(open_store("users.db"));
    if (geteuid() != 0) {
        chmod(in_folder("users.db"), 0400);
        assert_int_equal(as_somebody(open_as_somebody), 0);
        return;
    }
    assert_int_equal(as_somebody(open_as_somebody), 0); /* the directory is closed */
    chmod(folder, 0755);
    assert_int_equal(as_somebody(open_as_somebody), 0); /* the file is closed */
    chmod(in_folder("users.db"), 0644);
    assert_int_equal(as_somebody(open_as_somebody), 0); /* it may only be read */
    unlink(in_folder("users.db"));
    assert_int_equal(as_somebody(open_as_somebody), 0); /* it cannot be made */
}

/* In a child with a file system of its own of 256 KiB: 77 if this machine does not allow that. */
static int fill_the_disk(void)
{
    if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
        mount("none", folder, "tmpfs", 0, "size=256k"))
        return 77;
    int err = 0;
    struct store *s = store_open(in_folder("users.db"), &err, &why);
    if (!s)
        return 1;
    for (int i = 0; i < 10000 && !err; i++) {
        char name[300];
        snprintf(name, sizeof name, "%0290d", i);
        struct store_user u;
        store_user_init(&u, name, "example.org", "p", 0);
        err = store_put(s, &u, &why);
    }
    struct store_user got;
    char first[300];
    snprintf(first, sizeof first, "%0290d", 0);
    bool is_whole = store_get(s, first, "example.org", &got, &why) == 0;
    store_close(s);
    bool is_told = strstr(said, "disk is full: make room") != NULL;
    return err != ERR_FULL ? 2 : !is_told ? 3 : !is_whole ? 4 : 0;
}

static void a_full_disk_is_told(void **state)
{
    fflush(NULL);
    pid_t child = fork();
    if (child == 0)
        _exit(fill_the_disk());
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77)
        skip();
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void a_tampered_row_is_refused(void **state)
{
    static const char *const changes[] = {
        "UPDATE user SET name = printf('%.*c', 600, 'x')",
        "UPDATE user SET realm = printf('%.*c', 200, 'x')",
        "UPDATE user SET name = 'a' || char(0) || 'b'",
    };
    struct seen seen;
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        struct store *s = open_store("users.db");
        struct store_user u = user_named("alice");
        assert_int_equal(store_put(s, &u, &why), 0);
        tamper("users.db", changes[i]);
        seen = (struct seen){.stop_after = 100};
        assert_int_equal(store_list(s, see, &seen, &why), ERR_BAD);
        assert_non_null(strstr(said, "a user in it is malformed"));
        store_close(s);
        unlink(in_folder("users.db"));
    }
}

static void two_first_starts_make_one_store(void **state)
{
    for (int round = 0; round < 5; round++) {
        pid_t children[4];
        char name[20];
        snprintf(name, sizeof name, "race%d.db", round);
        fflush(NULL);
        for (int i = 0; i < 4; i++)
            if ((children[i] = fork()) == 0) {
                int err = 0;
                struct store *s = store_open(in_folder(name), &err, &why);
                char user[20];
                snprintf(user, sizeof user, "user%d", i);
                struct store_user u;
                store_user_init(&u, user, "r", "p", 0);
                _exit(!s || store_put(s, &u, &why) ? 1 : 0);
            }
        for (int i = 0; i < 4; i++) {
            int status;
            assert_int_equal(waitpid(children[i], &status, 0), children[i]);
            assert_int_equal(status, 0);
        }
        struct store *s = open_store(name);
        struct seen seen = {.stop_after = 100};
        assert_int_equal(store_list(s, see, &seen, &why), 0);
        assert_string_equal(seen.names, "user0 user1 user2 user3 ");
        store_close(s);
    }
}

#define each(f) cmocka_unit_test_setup_teardown(f, make_folder, remove_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        each(users_come_back_as_they_were),    each(adding_again_replaces_the_keys),
        each(users_are_removed_and_disabled),  each(hostile_names_are_only_names),
        each(users_are_listed_in_order),       each(a_change_by_another_is_noticed),
        each(the_file_is_for_its_owner_alone), each(as_root_files_go_to_the_owner_of_the_directory),
        each(passwords_are_not_in_the_file),   each(what_is_no_store_is_refused),
        each(symbolic_links_are_not_followed), each(a_lock_held_too_long_is_told),
        each(what_may_not_be_written_is_told), each(a_full_disk_is_told),
        each(a_tampered_row_is_refused),       each(two_first_starts_make_one_store),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
