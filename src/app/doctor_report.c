#include <inttypes.h>

#include "app/doctor_run.h"

static const struct {
    const char *word, *json, *colour;
} results[] = {
    [DOCTOR_OK] = {"ok", "ok", "\033[32m"},
    [DOCTOR_WARN] = {"WARN", "warn", "\033[33m"},
    [DOCTOR_FAIL] = {"FAIL", "fail", "\033[31m"},
    [DOCTOR_SKIPPED] = {"skip", "skipped", "\033[2m"},
};

enum { INDENT = 37, COLUMNS = 120 };

/* Adds text from column `indent` on, broken between words at COLUMNS. */
static void add_wrapped(struct text *out, const char *s, size_t indent)
{
    size_t at = indent;
    while (*s) {
        size_t word = strcspn(s, " ");
        bool is_first = at == indent;
        if (!is_first && at + 1 + word > COLUMNS) {
            text_addf(out, "\n%*s", (int)indent, "");
            at = indent;
        } else if (!is_first) {
            text_add(out, " ");
            at++;
        }
        text_add_span(out, span_of(s, word));
        at += word;
        s += word + strspn(s + word, " ");
    }
    text_add(out, "\n");
}

void doctor_row_print(const struct doctor_row *row, bool colour, struct text *out)
{
    text_addf(out, "  %s%-4s%s  %-28s ", colour ? results[row->result].colour : "", results[row->result].word,
              colour ? "\033[0m" : "", row->title);
    add_wrapped(out, row->fact, INDENT);
    if (row->remedy[0]) {
        text_addf(out, "%*s", INDENT, "-> ");
        add_wrapped(out, row->remedy, INDENT);
    }
}

/* The titles of all rows from `first` on that were skipped for the same reason. */
static void add_same_reason(const struct doctor_report *r, size_t first, struct text *out)
{
    const char *reason = r->rows[first].fact;
    for (size_t i = first; i < r->n; i++)
        if (r->rows[i].result == DOCTOR_SKIPPED && strcmp(r->rows[i].fact, reason) == 0)
            text_addf(out, "%s%s", i == first ? "" : ", ", r->rows[i].title);
}

static bool is_first_of_reason(const struct doctor_report *r, size_t at)
{
    for (size_t i = 0; i < at; i++)
        if (r->rows[i].result == DOCTOR_SKIPPED && strcmp(r->rows[i].fact, r->rows[at].fact) == 0)
            return false;
    return r->rows[at].result == DOCTOR_SKIPPED;
}

void doctor_skipped_print(const struct doctor_report *r, bool colour, struct text *out)
{
    char buf[DOCTOR_ROWS_MAX * 32];
    for (size_t i = 0; i < r->n; i++) {
        if (!is_first_of_reason(r, i))
            continue;
        struct text line = text_of(buf, sizeof buf);
        text_addf(&line, "%s: ", r->rows[i].fact);
        add_same_reason(r, i, &line);
        text_addf(out, "  %sskip%s  ", colour ? results[DOCTOR_SKIPPED].colour : "", colour ? "\033[0m" : "");
        add_wrapped(out, buf, 8);
    }
}

static unsigned count(const struct doctor_report *r, enum doctor_result result)
{
    unsigned n = 0;
    for (size_t i = 0; i < r->n; i++)
        n += r->rows[i].result == result;
    return n;
}

void doctor_verdict(const struct doctor_report *r, struct text *out)
{
    unsigned failed = count(r, DOCTOR_FAIL), warned = count(r, DOCTOR_WARN);
    if (r->exit == DOCTOR_EXIT_UNREACHABLE)
        text_add(out, "The server cannot be reached.");
    else if (failed)
        text_addf(out, "%u of %zu checks failed.", failed, r->n - count(r, DOCTOR_SKIPPED));
    else
        text_addf(out, "All %zu checks passed.", r->n - count(r, DOCTOR_SKIPPED));
    if (warned)
        text_addf(out, " %u warning%s.", warned, warned == 1 ? "" : "s");
    if (count(r, DOCTOR_SKIPPED))
        text_addf(out, " %u skipped.", count(r, DOCTOR_SKIPPED));
    text_addf(out, " (%.1f s)", (double)r->took_ms / 1000);
}

static void add_row(struct json *j, const struct doctor_row *row)
{
    json_object(j, NULL);
    json_text(j, "check", span_str(row->id));
    json_text(j, "title", span_str(row->title));
    json_text(j, "result", span_str(results[row->result].json));
    json_text(j, "fact", span_str(row->fact));
    if (row->remedy[0])
        json_text(j, "remedy", span_str(row->remedy));
    for (unsigned i = 0; i < row->numbers_n; i++)
        json_double(j, row->numbers[i].key, row->numbers[i].value);
    json_object_end(j);
}

void doctor_to_json(const struct doctor_report *r, const struct doctor_target *target, struct text *out)
{
    static const char *const verdicts[] = {"ok", "failed", "usage", "unreachable"};
    char buf[160];
    struct text verdict = text_of(buf, sizeof buf);
    struct json j = json_of(out);
    doctor_verdict(r, &verdict);
    json_object(&j, NULL);
    json_text(&j, "host", span_str(target->uri.host));
    json_u64(&j, "port", target->uri.port);
    json_text(&j, "verdict", span_str(verdicts[r->exit]));
    json_text(&j, "summary", span_str(buf));
    json_u64(&j, "exit_code", r->exit);
    json_u64(&j, "took_ms", r->took_ms);
    json_array(&j, "checks");
    for (size_t i = 0; i < r->n; i++)
        add_row(&j, &r->rows[i]);
    json_array_end(&j);
    json_object_end(&j);
}

void doctor_list_checks(struct text *out)
{
    for (size_t i = 0; i < doctor_checks_n; i++)
        text_addf(out, "  %-16s %s\n", doctor_checks[i].id, doctor_checks[i].title);
}
