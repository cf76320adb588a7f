#include "core/sipt.h"

#include <stdlib.h>

#include "base/digest.h"
#include "base/heap.h"
#include "base/list.h"
#include "base/map.h"
#include "base/pool.h"

/* The states of RFC 3261 figure 8 are: answer_n == 0 Trying, is_final false Proceeding, true Completed; a Terminated
 * one does not exist. */
struct txn_server {
    struct map_node node;
    uint8_t key[SHA256_SIZE];
    struct heap_node timer; /* J */
    uint8_t *answer;        /* the newest, or NULL */
    size_t answer_n;
    bool is_reliable, is_final;
};

struct sipt {
    struct pool pool;
    struct map by_key;
    struct heap timers;
    size_t transactions_max, bytes_max, bytes;
};

struct sipt *sipt_new(size_t transactions, size_t bytes)
{
    struct sipt *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->transactions_max = transactions;
    s->bytes_max = bytes;
    pool_init(&s->pool, sizeof(struct txn_server));
    heap_init(&s->timers);
    if (map_init(&s->by_key, MAP_KEY_OFFSET(struct txn_server, node, key), SHA256_SIZE)) {
        free(s);
        return NULL;
    }
    return s;
}

static void drop_answer(struct sipt *s, struct txn_server *t)
{
    s->bytes -= t->answer_n;
    free(t->answer);
    t->answer = NULL;
    t->answer_n = 0;
}

static void end(struct sipt *s, struct txn_server *t)
{
    drop_answer(s, t);
    heap_del(&s->timers, &t->timer);
    map_del(&s->by_key, &t->node);
    pool_free(&s->pool, t);
}

void sipt_free(struct sipt *s)
{
    if (!s)
        return;
    for (struct map_node *n; (n = map_any(&s->by_key));)
        end(s, container_of(n, struct txn_server, node));
    map_fini(&s->by_key);
    heap_fini(&s->timers);
    pool_fini(&s->pool);
    free(s);
}

size_t sipt_count(const struct sipt *s)
{
    return s->by_key.count;
}

/* ---- matching ---- */

enum { PARTS_MAX = 8 };

/* A list of texts that cannot be mistaken for another: each behind its length. */
struct parts {
    struct span list[2 * PARTS_MAX];
    uint8_t sizes[PARTS_MAX][4];
    size_t n;
};

static void part_add(struct parts *p, struct span s)
{
    must(p->n < PARTS_MAX);
    be32_put(p->sizes[p->n], (uint32_t)s.n);
    p->list[2 * p->n] = span_of(p->sizes[p->n], 4);
    p->list[2 * p->n + 1] = s;
    p->n++;
}

static struct span tag_of(const struct sip_msg *m, enum sip_header id)
{
    struct sip_name name;
    struct span tag = {0};
    if (sip_name_parse(sip_value(m, id), &name) == 0)
        sip_param(name.params, "tag", &tag);
    return tag;
}

/* RFC 3261 s.17.2.3: branch, sent-by and method; of senders from before it, whose branches are not unique, what stands
 * for it. Host names have no case. */
static int make_key(const struct sip_msg *m, uint8_t key[SHA256_SIZE])
{
    struct parts p = {.n = 0};
    struct span rest = sip_value(m, SIP_VIA), element = {0};
    struct sip_via via;
    if (!sip_list_next(&rest, &element) || sip_via_parse(element, &via))
        return ERR_BAD;
    uint8_t sent_by[256];
    size_t n = via.sent_by.n < sizeof sent_by ? via.sent_by.n : sizeof sent_by;
    for (size_t i = 0; i < n; i++)
        sent_by[i] = via.sent_by.p[i] >= 'A' && via.sent_by.p[i] <= 'Z' ? via.sent_by.p[i] | 0x20 : via.sent_by.p[i];
    part_add(&p, m->method_name);
    part_add(&p, span_of(sent_by, n));
    part_add(&p, via.branch);
    if (!via.has_cookie) {
        part_add(&p, m->uri);
        part_add(&p, tag_of(m, SIP_TO));
        part_add(&p, tag_of(m, SIP_FROM));
        part_add(&p, sip_value(m, SIP_CALL_ID));
        part_add(&p, sip_value(m, SIP_CSEQ));
    }
    return digest_sha256(p.list, 2 * p.n, key);
}

enum sipt_step sipt_request(struct sipt *s, const struct sip_msg *m, bool is_reliable, uint64_t now_ms, uint64_t *id,
                            struct span *answer)
{
    uint8_t key[SHA256_SIZE];
    *id = 0;
    *answer = (struct span){0};
    if (m->method == SIP_ACK)
        return SIPT_ACK;
    sipt_tick(s, now_ms);
    if (make_key(m, key))
        return SIPT_FULL;
    struct map_node *known = map_get(&s->by_key, key);
    if (known) {
        struct txn_server *t = container_of(known, struct txn_server, node);
        *answer = span_of(t->answer, t->answer_n);
        return t->answer ? SIPT_REPEAT : SIPT_WAIT;
    }
    struct txn_server *t = sipt_count(s) < s->transactions_max ? pool_new(&s->pool) : NULL;
    if (!t)
        return SIPT_FULL;
    memcpy(t->key, key, sizeof key);
    t->is_reliable = is_reliable;
    map_put(&s->by_key, &t->node);
    *id = pool_handle(&s->pool, t);
    return SIPT_NEW;
}

/* ---- answering ---- */

static int keep_answer(struct sipt *s, struct txn_server *t, struct span message)
{
    drop_answer(s, t);
    if (message.n > s->bytes_max - s->bytes)
        return ERR_FULL;
    t->answer = malloc(message.n ? message.n : 1);
    if (!t->answer)
        return ERR_NOMEM;
    memcpy(t->answer, message.p, message.n);
    t->answer_n = message.n;
    s->bytes += message.n;
    return 0;
}

int sipt_respond(struct sipt *s, uint64_t id, int status, struct span message, uint64_t now_ms)
{
    struct txn_server *t = pool_get(&s->pool, id);
    if (!t || t->is_final)
        return ERR_NONE;
    t->is_final = status >= 200;
    if (t->is_reliable) {
        if (t->is_final)
            end(s, t);
        return 0;
    }
    int err = keep_answer(s, t, message);
    if (t->is_final && heap_set(&s->timers, &t->timer, now_ms + SIPT_J_MS)) {
        end(s, t);
        err = ERR_NOMEM;
    }
    return err;
}

void sipt_end(struct sipt *s, uint64_t id)
{
    struct txn_server *t = pool_get(&s->pool, id);
    if (t)
        end(s, t);
}

/* ---- time ---- */

uint64_t sipt_deadline(const struct sipt *s)
{
    return heap_deadline(&s->timers);
}

void sipt_tick(struct sipt *s, uint64_t now_ms)
{
    while (heap_deadline(&s->timers) <= now_ms)
        end(s, container_of(heap_first(&s->timers), struct txn_server, timer));
}
