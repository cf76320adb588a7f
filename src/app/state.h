/* The state directory: what a server keeps between two starts.
 *
 *   credential        NAME:PASSWORD made at the first start, mode 0600
 *   self-signed.crt, self-signed.key   the certificate of a first start
 *   mras.keys         secrets behind MRAS credentials (app/mras_key), mode 0600
 *   users.db          stored users (store/), with -wal and -shm
 *
 * The directory is Causeway's alone. Started as root, it belongs to the account that the server becomes, and so does
 * every file made in it. Functions that fail return ERR_SYS, ERR_DENIED, ERR_BAD or ERR_NOMEM, and add to `why`,
 * without a line feed, what happened and what to do.
 */
#ifndef APP_STATE_H
#define APP_STATE_H

#include <sys/types.h>

#include "base/text.h"

#define STATE_CREDENTIAL "credential"
#define STATE_CERT       "self-signed.crt"
#define STATE_KEY        "self-signed.key"
#define STATE_MRAS       "mras.keys"
#define STATE_USERS      "users.db"

enum { STATE_PASSWORD_SIZE = 26 }; /* characters of a made password: 130 random bits */

struct state {
    char *dir;
    int fd; /* of the directory */
    uid_t uid;
    gid_t gid; /* who owns what is in it */
};

/* Makes the directory (mode 0700, parents included) if it is missing, and checks that it is safe to use. `account`:
 * what the server becomes, NULL: it stays what it is. */
int state_open(struct state *s, const char *dir, const char *account, struct text *why);
void state_close(struct state *s);
/* The path of a file in it, on the heap; NULL: no memory. */
char *state_path(const struct state *s, const char *name);
/* Replaces a file as a whole or not at all; it is on the disk when this returns. */
int state_write(const struct state *s, const char *name, struct span bytes, mode_t mode, struct text *why);
/* Gives a file in it that somebody else made as root (the certificate) to the owner of the directory. */
int state_adopt(const struct state *s, const char *name, struct text *why);
/* The credential that is kept, or a new one for user "causeway"; `name` and `password` go to the heap. `is_new`: made
 * by this call. */
int state_credential(const struct state *s, char **name, char **password, bool *is_new, struct text *why);

/* A password for people to copy: letters and digits that are not mistaken for each other. */
void state_make_password(char out[STATE_PASSWORD_SIZE + 1]);

#endif
