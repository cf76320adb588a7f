/* The effective configuration of `causeway serve`: an immutable value made from conf.def's defaults, a file and flags.
 *
 * A reload builds a new one; nobody changes one that is in use. Strings and lists are owned by the config.
 */
#ifndef APP_CONFIG_H
#define APP_CONFIG_H

#include "app/config_mras.h"
#include "base/addr.h"
#include "base/text.h"

enum { CONFIG_LIST_MAX = 64 };

enum listen_scheme {
    LISTEN_AUTO_UDP = 1,   /* UDP, DTLS told apart */
    LISTEN_AUTO_TCP = 2,   /* TCP, TLS told apart */
    LISTEN_UDP = 4,        /* UDP without DTLS */
    LISTEN_TCP = 8,        /* TCP without TLS */
    LISTEN_TLS = 16,       /* TLS only */
    LISTEN_DTLS = 32,      /* DTLS only */
    LISTEN_PSEUDOTLS = 64, /* TCP, TLS and Microsoft's pseudo-TLS told apart */
};

/* `local` has a port; 0.0.0.0 and [::] stand for all addresses of their family. */
struct config_listen {
    struct addr local;
    unsigned schemes; /* enum listen_scheme, or-ed */
};

/* A relay address of this machine and the address that the world sees (1:1 NAT); equal when there is none. */
struct config_relay {
    struct addr local, advertised; /* port 0; advertised.family ADDR_NONE = same as local */
};

struct config_user {
    char *name, *password;
};

struct config_rule {
    struct prefix prefix;
    bool allow;
    char *where; /* "allow-peer 10.0.0.0/8 (causeway.conf:7)" for events */
};

/* 0 = no limit, everywhere. */
struct config_limits {
    uint64_t allocations, user_allocations, source_allocations;
    uint64_t connections, source_connections; /* client TCP/TLS connections */
    uint64_t user_connects_per_minute;        /* RFC 6062 Connect */
    uint64_t user_bytes_per_s, source_bytes_per_s, total_bytes_per_s;
    uint64_t allocation_permissions, allocation_channels; /* for each allocation */
    uint64_t allocation_connections;        /* RFC 6062 peer connections of an allocation, pending and bound */
    uint64_t unauthenticated_answers_per_s; /* for each source prefix, datagram transports */
};

struct config {
    struct conf *conf; /* the values as they were written, and where */
    char *file;        /* it came from, or NULL */
    struct config_listen listen[CONFIG_LIST_MAX];
    size_t listen_n; /* 0: 3478 on all addresses */
    struct config_relay relay[CONFIG_LIST_MAX];
    size_t relay_n; /* 0: the local address that the client reached */
    uint16_t relay_port_min, relay_port_max;
    char *realm;
    struct config_user *users;
    size_t users_n;
    char *secrets[CONFIG_LIST_MAX]; /* TURN REST shared secrets, newest first */
    size_t secrets_n;
    struct config_rule *rules; /* allow-peer, then deny-peer; no prefix twice */
    size_t rules_n;
    unsigned workers; /* at least 1 */
    char *state;      /* directory: generated credential, certificate, users.db */
    char *cert, *key; /* PEM files, or NULL: self-signed in the state directory */
    bool log_json;
    bool log_debug;
    char *run_as; /* account to become when started as root, or NULL */
    uint32_t lifetime_default_s, lifetime_max_s, nonce_lifetime_s;
    bool is_ms_off, is_ms_only; /* MS-TURN */
    uint32_t ms_version;
    struct addr ms_alternate; /* ADDR_NONE: none */
    uint32_t drain_s;         /* grace time after SIGTERM */
    bool self_test;
    struct config_limits limits;
    struct config_mras mras;
};

/* Defaults, then the file, then the flags. `file` NULL: the one that the flags name with -c, if any. argv[0] is not a
 * flag. NULL with `why` = one or more lines "FILE:LINE: what: why and what to do" (or "--flag: ..."), a line feed
 * behind each. The credential files must be readable and run-as must exist. Not for two threads at a time. */
struct config *config_load(const char *file, int argc, char **argv, struct text *why);
void config_free(struct config *c);
/* The effective configuration in the file's syntax, each value with a comment that says where it came from; secrets
 * masked unless `show_secrets`. */
void config_print(const struct config *c, bool show_secrets, struct text *out);
/* The same as one JSON object: durations in seconds, sizes in bytes. */
void config_print_json(const struct config *c, bool show_secrets, struct text *out);
/* Adds the names of the options, separated by ", ", that differ between the two and cannot be changed by a reload. */
void config_fixed_changes(const struct config *running, const struct config *next, struct text *out);
/* Adds a line for each thing that is allowed but unwise: secrets that others can read, files that a reload could not
 * read, a short secret. */
void config_warnings(const struct config *c, struct text *out);

/* ---- texts about the options ---- */

/* The flags of `causeway serve`. */
void config_help_flags(struct text *out);
/* A file with every option as a comment. */
void config_sample(struct text *out);
/* causeway.conf(5). */
void config_man(struct text *out);

#endif
