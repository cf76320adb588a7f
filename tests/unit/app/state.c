#include "app/state.h"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>

#include "fixture.h"

enum { NOBODY = 65534 };

static struct state s;

static void open_state(const char *dir, const char *account)
{
    why = text_of(said, sizeof said);
    int err = state_open(&s, dir, account, &why);
    if (err)
        fail_msg("%d %s", err, said);
}

static void assert_refused(const char *dir, const char *account, int wanted, const char *says)
{
    why = text_of(said, sizeof said);
    int err = state_open(&s, dir, account, &why);
    if (err != wanted || !strstr(said, says) || strchr(said, '\n'))
        fail_msg("%d instead of %d: %s", err, wanted, said);
}

static mode_t mode_of(const char *path)
{
    struct stat st;
    assert_int_equal(lstat(path, &st), 0);
    return st.st_mode & 07777;
}

static uid_t owner_of(const char *path)
{
    struct stat st;
    assert_int_equal(lstat(path, &st), 0);
    return st.st_uid;
}

/* ---- the directory ---- */

static void it_is_made_for_its_owner_alone(void **state)
{
    mode_t old = umask(0);
    open_state(in_folder("a/b/state"), NULL);
    umask(old);
    assert_int_equal(mode_of(in_folder("a/b/state")), 0700);
    assert_int_equal(mode_of(in_folder("a/b")), 0755);
    char *path = state_path(&s, STATE_USERS);
    assert_string_equal(path, in_folder("a/b/state/users.db"));
    free(path);
    state_close(&s);
    open_state(in_folder("a/b/state"), NULL); /* and is found again */
    state_close(&s);
}

static void what_is_not_safe_is_refused(void **state)
{
    write_file("file", "");
    assert_refused(in_folder("file"), NULL, ERR_SYS, "check that it is a directory");
    assert_refused(in_folder("file/below"), NULL, ERR_SYS, "cannot be made: Not a directory; name another directory");
    mkdir(in_folder("open"), 0700);
    chmod(in_folder("open"), 0770);
    assert_refused(in_folder("open"), NULL, ERR_DENIED, "others may write it, and so replace what is in it; chmod 700");
    chmod(in_folder("open"), 01777);
    assert_refused(in_folder("open"), NULL, ERR_DENIED, "chmod 700");
    assert_refused(in_folder("new"), "no-such-account", ERR_BAD, "there is no account no-such-account; make it");
    assert_refused("", NULL, ERR_BAD, "name another");
}

static int open_where_root_rules(void)
{
    why = text_of(said, sizeof said);
    int first = state_open(&s, in_folder("roots"), NULL, &why);
    bool is_told = strstr(said, "belongs to another account (0); run as that account, or name another directory");
    why = text_of(said, sizeof said);
    int second = state_open(&s, in_folder("new"), NULL, &why);
    bool is_denied = strstr(said, "cannot be made: Permission denied; name another directory");
    return first != ERR_DENIED ? 1 : !is_told ? 2 : second != ERR_DENIED ? 3 : !is_denied ? 4 : 0;
}

static void it_must_be_ones_own(void **state)
{
    if (geteuid() != 0)
        skip();
    chmod(folder, 0755);
    mkdir(in_folder("roots"), 0755);
    assert_int_equal(as_somebody(open_where_root_rules), 0);
}

static void root_gives_it_to_the_account(void **state)
{
    if (geteuid() != 0 || !getpwnam("nobody"))
        skip();
    open_state(in_folder("new"), "nobody");
    assert_int_equal(s.uid, NOBODY);
    assert_int_equal(state_write(&s, "file", span_str("x"), 0600, &why), 0);
    state_close(&s);
    assert_int_equal(owner_of(in_folder("new")), NOBODY);
    assert_int_equal(owner_of(in_folder("new/file")), NOBODY);
    open_state(in_folder("new"), "nobody"); /* its own, whatever is in it */
    state_close(&s);

    /* one that an earlier start as root, or a crash, has left */
    mkdir(in_folder("old"), 0700);
    fclose(fopen(in_folder("old/credential"), "w"));
    fclose(fopen(in_folder("old/users.db-wal"), "w"));
    fclose(fopen(in_folder("old/.credential.0123abcd"), "w"));
    open_state(in_folder("old"), "nobody");
    state_close(&s);
    assert_int_equal(owner_of(in_folder("old/users.db-wal")), NOBODY);
    assert_int_equal(owner_of(in_folder("old/.credential.0123abcd")), NOBODY);
}

static void root_gives_nothing_else_away(void **state)
{
    if (geteuid() != 0 || !getpwnam("nobody"))
        skip();
    mkdir(in_folder("etc"), 0755);
    fclose(fopen(in_folder("etc/credential"), "w"));
    fclose(fopen(in_folder("etc/shadow"), "w"));
    assert_refused(in_folder("etc"), "nobody", ERR_DENIED,
                   "holds \"shadow\", which is not Causeway's; name an empty directory");
    assert_int_equal(owner_of(in_folder("etc")), 0);
    assert_int_equal(owner_of(in_folder("etc/credential")), 0);

    mkdir(in_folder("linked"), 0755);
    assert_int_equal(symlink(in_folder("etc/shadow"), in_folder("linked/credential")), 0);
    open_state(in_folder("linked"), "nobody");
    state_close(&s);
    assert_int_equal(owner_of(in_folder("etc/shadow")), 0);

    mkdir(in_folder("daemons"), 0755);
    assert_int_equal(chown(in_folder("daemons"), 1, 1), 0);
    assert_refused(in_folder("daemons"), "nobody", ERR_DENIED, "but the server becomes nobody; chown -R nobody");
}

/* ---- files ---- */

static void files_are_replaced_as_a_whole(void **state)
{
    open_state(in_folder("state"), NULL);
    assert_int_equal(state_write(&s, "file", span_str("first"), 0640, &why), 0);
    int reader = open(in_folder("state/file"), O_RDONLY);
    assert_int_equal(state_write(&s, "file", span_str("second"), 0600, &why), 0);
    char old[10] = "";
    assert_int_equal(read(reader, old, sizeof old), 5); /* who reads sees one or the other */
    close(reader);
    assert_string_equal(old, "first");
    assert_string_equal(read_file(in_folder("state/file")), "second");
    assert_int_equal(mode_of(in_folder("state/file")), 0600);

    mkdir(in_folder("state/folder"), 0700);
    assert_int_equal(state_write(&s, "folder", span_str("x"), 0600, &why), ERR_SYS);
    assert_non_null(strstr(said, "state/folder: cannot be written: Is a directory; check the room"));
    char command[200];
    snprintf(command, sizeof command, "ls -A %s | tr '\\n' ' '", in_folder("state"));
    FILE *ls = popen(command, "r");
    assert_non_null(fgets(command, sizeof command, ls));
    pclose(ls);
    assert_string_equal(command, "file folder "); /* nothing temporary is left */
    state_close(&s);
}

static void a_link_is_replaced_not_followed(void **state)
{
    open_state(in_folder("state"), NULL);
    write_file("victim", "precious");
    assert_int_equal(symlink(in_folder("victim"), in_folder("state/file")), 0);
    assert_int_equal(state_write(&s, "file", span_str("x"), 0600, &why), 0);
    assert_string_equal(read_file(in_folder("victim")), "precious");
    state_close(&s);
}

/* ---- the credential ---- */

static void a_credential_is_made_once(void **state)
{
    char *name, *password, *again_name, *again;
    bool is_new;
    open_state(in_folder("state"), NULL);
    assert_int_equal(state_credential(&s, &name, &password, &is_new, &why), 0);
    assert_true(is_new);
    assert_string_equal(name, "causeway");
    assert_int_equal(strlen(password), STATE_PASSWORD_SIZE);
    assert_int_equal(strspn(password, "abcdefghijkmnpqrstuvwxyz23456789"), STATE_PASSWORD_SIZE);
    assert_int_equal(mode_of(in_folder("state/credential")), 0600);
    assert_int_equal(state_credential(&s, &again_name, &again, &is_new, &why), 0);
    assert_false(is_new);
    assert_string_equal(again, password);
    free(name);
    free(password);
    free(again_name);
    free(again);
    state_close(&s);
}

static void a_broken_credential_is_refused(void **state)
{
    static const char *const broken[] = {"", "\n", "name", "name:", ":password", "na\x01me:password", "\xff:x"};
    char *name, *password;
    bool is_new;
    open_state(in_folder("state"), NULL);
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        write_file("state/credential", broken[i]);
        why = text_of(said, sizeof said);
        assert_int_equal(state_credential(&s, &name, &password, &is_new, &why), ERR_BAD);
        assert_null(name);
        assert_non_null(strstr(said, "credential: is not a line NAME:PASSWORD; remove the file"));
    }
    write_file("state/credential", "somebody:a pass:word\nmore\n");
    assert_int_equal(state_credential(&s, &name, &password, &is_new, &why), 0);
    assert_string_equal(name, "somebody");
    assert_string_equal(password, "a pass:word");
    free(name);
    free(password);

    unlink(in_folder("state/credential"));
    assert_int_equal(symlink("/etc/passwd", in_folder("state/credential")), 0);
    why = text_of(said, sizeof said);
    assert_int_equal(state_credential(&s, &name, &password, &is_new, &why), ERR_SYS);
    assert_non_null(strstr(said, "credential: cannot be read"));
    state_close(&s);
}

static void passwords_differ(void **state)
{
    char all[200][STATE_PASSWORD_SIZE + 1];
    unsigned count[128] = {0};
    for (int i = 0; i < 200; i++) {
        state_make_password(all[i]);
        for (int k = 0; k < i; k++)
            assert_string_not_equal(all[i], all[k]);
        for (const char *p = all[i]; *p; p++)
            count[(unsigned char)*p]++;
    }
    for (int c = 'a'; c <= 'z'; c++) /* 162 expected of each letter */
        if (c != 'l' && c != 'o')
            assert_in_range(count[c], 60, 300);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        each(it_is_made_for_its_owner_alone),
        each(what_is_not_safe_is_refused),
        each(it_must_be_ones_own),
        each(root_gives_it_to_the_account),
        each(root_gives_nothing_else_away),
        each(files_are_replaced_as_a_whole),
        each(a_link_is_replaced_not_followed),
        each(a_credential_is_made_once),
        each(a_broken_credential_is_refused),
        each(passwords_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
