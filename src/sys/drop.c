#include "sys/drop.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

unsigned long drop_raise_files(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit))
        return 0;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    getrlimit(RLIMIT_NOFILE, &limit);
    return limit.rlim_cur;
}

static const struct passwd *account_find(const char *account, struct text *why)
{
    const struct passwd *p = getpwnam(account);
    if (!p)
        text_addf(why, "run-as: there is no account \"%s\": create it (useradd --system %s) or name another", account,
                  account);
    return p;
}

void drop_harden(void)
{
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    prctl(PR_SET_DUMPABLE, 0);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

int drop_to(const char *account, struct text *why)
{
    const struct passwd *p = account_find(account, why);
    if (!p)
        return ERR_NONE;
    if (initgroups(account, p->pw_gid) || setresgid(p->pw_gid, p->pw_gid, p->pw_gid) ||
        setresuid(p->pw_uid, p->pw_uid, p->pw_uid)) {
        text_addf(why, "run-as: cannot become \"%s\": %s", account, strerror(errno));
        return ERR_SYS;
    }
    must(p->pw_uid == 0 || setuid(0) != 0);
    drop_harden();
    return 0;
}
