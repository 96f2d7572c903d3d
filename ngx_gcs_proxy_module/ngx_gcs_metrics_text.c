
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_gcs_metrics.h"


/*
 * Prometheus' text format 0.0.4, and OpenMetrics 1.0, which differs from it in
 * little.
 * (https://prometheus.io/docs/instrumenting/exposition_formats/)
 */


#define NGX_GCS_METRICS_TEXT  4096           /* bytes, at first */


typedef enum {
    NGX_GCS_METRICS_FETCHES = 0,
    NGX_GCS_METRICS_FAILURES,
    NGX_GCS_METRICS_AGE,
    NGX_GCS_METRICS_EXPIRES
} ngx_gcs_metrics_token_e;


static u_char *ngx_gcs_metrics_room(ngx_gcs_metrics_text_t *text, size_t len);
static void ngx_gcs_metrics_head(ngx_gcs_metrics_text_t *text,
    ngx_gcs_metrics_page_t *page, char *name, char *type, char *help);
static void ngx_gcs_metrics_place(ngx_gcs_metrics_text_t *text, char *name,
    ngx_gcs_metrics_requests_t *entry, ngx_uint_t bucket);
static void ngx_gcs_metrics_who(ngx_gcs_metrics_text_t *text, char *name,
    ngx_gcs_metrics_credentials_t *entry);
static void ngx_gcs_metrics_label(ngx_gcs_metrics_text_t *text, char *name,
    char *value);
static void ngx_gcs_metrics_value(ngx_gcs_metrics_text_t *text,
    ngx_atomic_uint_t value);
static void ngx_gcs_metrics_statuses(ngx_gcs_metrics_text_t *text,
    ngx_gcs_metrics_page_t *page);
static void ngx_gcs_metrics_counter(ngx_gcs_metrics_text_t *text,
    ngx_gcs_metrics_page_t *page, ngx_uint_t counter, char *name, char *help);
static void ngx_gcs_metrics_histogram(ngx_gcs_metrics_text_t *text,
    ngx_gcs_metrics_page_t *page);
static void ngx_gcs_metrics_takeovers(ngx_gcs_metrics_text_t *text,
    ngx_gcs_metrics_page_t *page);
static void ngx_gcs_metrics_tokens(ngx_gcs_metrics_text_t *text,
    ngx_gcs_metrics_page_t *page, ngx_gcs_metrics_token_e what, char *name,
    char *help);
static void ngx_gcs_metrics_token_states(ngx_gcs_metrics_text_t *text,
    ngx_gcs_metrics_page_t *page);
static void ngx_gcs_metrics_signatures(ngx_gcs_metrics_text_t *text,
    ngx_gcs_metrics_page_t *page);


/* NULL: memory is, or was, out */

static u_char *
ngx_gcs_metrics_room(ngx_gcs_metrics_text_t *text, size_t len)
{
    size_t   used, size;
    u_char  *p;

    if (text->failed) {
        return NULL;
    }

    if ((size_t) (text->end - text->pos) >= len) {
        return text->pos;
    }

    used = text->pos - text->start;
    size = ngx_max(2 * (used + len), NGX_GCS_METRICS_TEXT);

    p = ngx_pnalloc(text->pool, size);
    if (p == NULL) {
        text->failed = 1;
        return NULL;
    }

    if (used) {
        ngx_memcpy(p, text->start, used);
        (void) ngx_pfree(text->pool, text->start);
    }

    text->start = p;
    text->pos = p + used;
    text->end = p + size;

    return text->pos;
}


void
ngx_gcs_metrics_bytes(ngx_gcs_metrics_text_t *text, u_char *data, size_t len)
{
    u_char  *p;

    p = ngx_gcs_metrics_room(text, len);

    if (p && len) {
        text->pos = ngx_cpymem(p, data, len);
    }
}


void
ngx_gcs_metrics_put(ngx_gcs_metrics_text_t *text, char *string)
{
    ngx_gcs_metrics_bytes(text, (u_char *) string, ngx_strlen(string));
}


/* a label knows three escapes only, and JSON wants all that is below space */

void
ngx_gcs_metrics_escape(ngx_gcs_metrics_text_t *text, ngx_str_t *value,
    ngx_uint_t json)
{
    size_t         i;
    u_char         c, *p;

    static u_char  hex[] = "0123456789abcdef";

    p = ngx_gcs_metrics_room(text, 6 * value->len);

    if (p == NULL) {
        return;
    }

    for (i = 0; i < value->len; i++) {
        c = value->data[i];

        if (c == '"' || c == '\\') {
            *p++ = '\\';
            *p++ = c;

        } else if (c == LF) {
            *p++ = '\\';
            *p++ = 'n';

        } else if (json && c < 0x20) {
            p = ngx_cpymem(p, "\\u00", 4);
            *p++ = hex[c >> 4];
            *p++ = hex[c & 0xf];

        } else {
            *p++ = c;
        }
    }

    text->pos = p;
}


void
ngx_gcs_metrics_number(ngx_gcs_metrics_text_t *text, ngx_atomic_uint_t number)
{
    u_char  *p;

    p = ngx_gcs_metrics_room(text, NGX_INT64_LEN);

    if (p) {
        text->pos = ngx_sprintf(p, "%ui", (ngx_uint_t) number);
    }
}


void
ngx_gcs_metrics_seconds(ngx_gcs_metrics_text_t *text, ngx_atomic_uint_t msec)
{
    u_char  digits[4];

    ngx_gcs_metrics_number(text, msec / 1000);

    digits[0] = '.';
    digits[1] = (u_char) ('0' + msec / 100 % 10);
    digits[2] = (u_char) ('0' + msec / 10 % 10);
    digits[3] = (u_char) ('0' + msec % 10);

    ngx_gcs_metrics_bytes(text, digits, 4);
}


ngx_int_t
ngx_gcs_metrics_text(ngx_gcs_metrics_text_t *text, ngx_str_t *out)
{
    if (text->failed) {
        return NGX_ERROR;
    }

    out->data = text->start;
    out->len = text->pos - text->start;

    return NGX_OK;
}


ngx_int_t
ngx_gcs_metrics_prometheus(ngx_pool_t *pool, ngx_gcs_metrics_page_t *page,
    ngx_str_t *out)
{
    ngx_gcs_metrics_text_t  text;

    ngx_memzero(&text, sizeof(ngx_gcs_metrics_text_t));

    text.pool = pool;

    ngx_gcs_metrics_head(&text, page, "gcs_build_info", "gauge",
        "The version of ngx_gcs_proxy_module, always 1.");
    ngx_gcs_metrics_put(&text, "gcs_build_info{version=\"");
    ngx_gcs_metrics_escape(&text, &page->version, 0);
    ngx_gcs_metrics_put(&text, "\"");
    ngx_gcs_metrics_value(&text, 1);

    ngx_gcs_metrics_statuses(&text, page);

    ngx_gcs_metrics_counter(&text, page, NGX_GCS_METRICS_SENT,
        "gcs_sent_bytes_total",
        "Bytes sent to clients, with headers.");

    ngx_gcs_metrics_histogram(&text, page);

    ngx_gcs_metrics_counter(&text, page, NGX_GCS_METRICS_RETRIES,
        "gcs_upstream_retries_total",
        "Requests that Cloud Storage was sent again.");

    ngx_gcs_metrics_takeovers(&text, page);

    ngx_gcs_metrics_tokens(&text, page, NGX_GCS_METRICS_FETCHES,
        "gcs_token_fetches_total",
        "Token fetches that were begun.");

    ngx_gcs_metrics_tokens(&text, page, NGX_GCS_METRICS_FAILURES,
        "gcs_token_fetch_failures_total",
        "Token fetches that failed.");

    ngx_gcs_metrics_tokens(&text, page, NGX_GCS_METRICS_AGE,
        "gcs_token_age_seconds",
        "Time since the token in use was fetched.");

    ngx_gcs_metrics_tokens(&text, page, NGX_GCS_METRICS_EXPIRES,
        "gcs_token_expires_in_seconds",
        "Time until the token in use expires, 0 without a valid one.");

    ngx_gcs_metrics_token_states(&text, page);
    ngx_gcs_metrics_signatures(&text, page);

    if (page->openmetrics) {
        ngx_gcs_metrics_put(&text, "# EOF\n");
    }

    return ngx_gcs_metrics_text(&text, out);
}


static void
ngx_gcs_metrics_head(ngx_gcs_metrics_text_t *text,
    ngx_gcs_metrics_page_t *page, char *name, char *type, char *help)
{
    size_t      len;
    ngx_uint_t  i;

    len = ngx_strlen(name);

    if (page->openmetrics && ngx_strcmp(type, "counter") == 0) {

        /* there "_total" belongs to the sample, not to the family */

        len -= sizeof("_total") - 1;
    }

    for (i = 0; i < 2; i++) {
        ngx_gcs_metrics_put(text, i ? "# TYPE " : "# HELP ");
        ngx_gcs_metrics_bytes(text, (u_char *) name, len);
        ngx_gcs_metrics_put(text, " ");
        ngx_gcs_metrics_put(text, i ? type : help);
        ngx_gcs_metrics_put(text, "\n");
    }
}


/* the name of a sample, and its labels but for the closing brace */

static void
ngx_gcs_metrics_place(ngx_gcs_metrics_text_t *text, char *name,
    ngx_gcs_metrics_requests_t *entry, ngx_uint_t bucket)
{
    ngx_gcs_metrics_put(text, name);
    ngx_gcs_metrics_put(text, "{server=\"");
    ngx_gcs_metrics_escape(text, &entry->server, 0);
    ngx_gcs_metrics_put(text, "\",location=\"");
    ngx_gcs_metrics_escape(text, &entry->location, 0);

    if (bucket) {
        ngx_gcs_metrics_put(text, "\",bucket=\"");
        ngx_gcs_metrics_escape(text, &entry->bucket, 0);
    }

    ngx_gcs_metrics_put(text, "\"");
}


static void
ngx_gcs_metrics_who(ngx_gcs_metrics_text_t *text, char *name,
    ngx_gcs_metrics_credentials_t *entry)
{
    ngx_gcs_metrics_put(text, name);
    ngx_gcs_metrics_put(text, "{credentials=\"");
    ngx_gcs_metrics_escape(text, &entry->name, 0);
    ngx_gcs_metrics_put(text, "\"");
}


static void
ngx_gcs_metrics_label(ngx_gcs_metrics_text_t *text, char *name, char *value)
{
    ngx_gcs_metrics_put(text, ",");
    ngx_gcs_metrics_put(text, name);
    ngx_gcs_metrics_put(text, "=\"");
    ngx_gcs_metrics_put(text, value);
    ngx_gcs_metrics_put(text, "\"");
}


static void
ngx_gcs_metrics_value(ngx_gcs_metrics_text_t *text, ngx_atomic_uint_t value)
{
    ngx_gcs_metrics_put(text, "} ");
    ngx_gcs_metrics_number(text, value);
    ngx_gcs_metrics_put(text, "\n");
}


/* one sample for each code, so that their sum is all requests */

static void
ngx_gcs_metrics_statuses(ngx_gcs_metrics_text_t *text,
    ngx_gcs_metrics_page_t *page)
{
    ngx_uint_t                   i, n;
    ngx_gcs_metrics_requests_t  *entry;

    ngx_gcs_metrics_head(text, page, "gcs_requests_total", "counter",
        "Requests of clients by status; a class is its other statuses.");

    entry = page->requests.elts;

    for (i = 0; i < page->requests.nelts; i++) {
        for (n = 0; n < NGX_GCS_METRICS_CODES; n++) {
            ngx_gcs_metrics_place(text, "gcs_requests_total", &entry[i], 1);
            ngx_gcs_metrics_label(text, "code", ngx_gcs_metrics_codes[n]);
            ngx_gcs_metrics_value(text,
                       entry[i].row->counters[NGX_GCS_METRICS_CODE + n]);
        }
    }
}


static void
ngx_gcs_metrics_counter(ngx_gcs_metrics_text_t *text,
    ngx_gcs_metrics_page_t *page, ngx_uint_t counter, char *name, char *help)
{
    ngx_uint_t                   i;
    ngx_gcs_metrics_requests_t  *entry;

    ngx_gcs_metrics_head(text, page, name, "counter", help);

    entry = page->requests.elts;

    for (i = 0; i < page->requests.nelts; i++) {
        ngx_gcs_metrics_place(text, name, &entry[i], 1);
        ngx_gcs_metrics_value(text, entry[i].row->counters[counter]);
    }
}


/* each bucket counts what is in those before it, too */

static void
ngx_gcs_metrics_histogram(ngx_gcs_metrics_text_t *text,
    ngx_gcs_metrics_page_t *page)
{
    char                        *limit, whole[sizeof("60.0")];
    ngx_uint_t                   i, n;
    ngx_atomic_uint_t            sum;
    ngx_gcs_metrics_requests_t  *entry;

    ngx_gcs_metrics_head(text, page, "gcs_upstream_request_duration_seconds",
        "histogram", "Time of each request to Cloud Storage, to its end.");

    entry = page->requests.elts;

    for (i = 0; i < page->requests.nelts; i++) {
        sum = 0;

        for (n = 0; n < NGX_GCS_METRICS_TIMES; n++) {
            sum += entry[i].row->counters[NGX_GCS_METRICS_TIME + n];
            limit = ngx_gcs_metrics_times[n];

            if (page->openmetrics && ngx_strlen(limit) < sizeof("60")
                && ngx_strchr(limit, '.') == NULL)
            {
                /* its numbers are floats, and look like them */

                ngx_memcpy(ngx_cpymem(whole, limit, ngx_strlen(limit)), ".0",
                           sizeof(".0"));
                limit = whole;
            }

            ngx_gcs_metrics_place(text,
                                  "gcs_upstream_request_duration_seconds"
                                  "_bucket", &entry[i], 1);
            ngx_gcs_metrics_label(text, "le", limit);
            ngx_gcs_metrics_value(text, sum);
        }

        ngx_gcs_metrics_place(text,
                              "gcs_upstream_request_duration_seconds_sum",
                              &entry[i], 1);
        ngx_gcs_metrics_put(text, "} ");
        ngx_gcs_metrics_seconds(text,
                                entry[i].row->counters[NGX_GCS_METRICS_MSEC]);
        ngx_gcs_metrics_put(text, "\n");

        ngx_gcs_metrics_place(text,
                              "gcs_upstream_request_duration_seconds_count",
                              &entry[i], 1);
        ngx_gcs_metrics_value(text, sum);
    }
}


static void
ngx_gcs_metrics_takeovers(ngx_gcs_metrics_text_t *text,
    ngx_gcs_metrics_page_t *page)
{
    ngx_uint_t                   i, n;
    ngx_gcs_metrics_requests_t  *entry;

    ngx_gcs_metrics_head(text, page, "gcs_takeovers_total", "counter",
        "Verdicts upon requests in a location with gcs_takeover.");

    entry = page->takeovers.elts;

    for (i = 0; i < page->takeovers.nelts; i++) {
        for (n = 0; n < NGX_GCS_METRICS_VERDICTS; n++) {
            ngx_gcs_metrics_place(text, "gcs_takeovers_total", &entry[i], 0);
            ngx_gcs_metrics_label(text, "verdict",
                                  ngx_gcs_metrics_verdicts[n]);
            ngx_gcs_metrics_value(text,
                       entry[i].row->counters[NGX_GCS_METRICS_VERDICT + n]);
        }
    }
}


static void
ngx_gcs_metrics_tokens(ngx_gcs_metrics_text_t *text,
    ngx_gcs_metrics_page_t *page, ngx_gcs_metrics_token_e what, char *name,
    char *help)
{
    time_t                          value;
    ngx_uint_t                      i;
    ngx_gcs_metrics_credentials_t  *entry;

    ngx_gcs_metrics_head(text, page, name,
                         what < NGX_GCS_METRICS_AGE ? "counter" : "gauge",
                         help);

    entry = page->credentials.elts;

    for (i = 0; i < page->credentials.nelts; i++) {

        if (entry[i].state == NULL) {
            continue;
        }

        switch (what) {

        case NGX_GCS_METRICS_FETCHES:
            value = entry[i].fetches;
            break;

        case NGX_GCS_METRICS_FAILURES:
            value = entry[i].failures;
            break;

        case NGX_GCS_METRICS_AGE:
            value = entry[i].age;
            break;

        default: /* NGX_GCS_METRICS_EXPIRES */
            value = ngx_max(entry[i].expires, 0);
            break;
        }

        if (value == -1) {
            continue;
        }

        ngx_gcs_metrics_who(text, name, &entry[i]);
        ngx_gcs_metrics_value(text, value);
    }
}


static void
ngx_gcs_metrics_token_states(ngx_gcs_metrics_text_t *text,
    ngx_gcs_metrics_page_t *page)
{
    char                           *state;
    ngx_uint_t                      i, n;
    ngx_gcs_metrics_credentials_t  *entry;

    ngx_gcs_metrics_head(text, page, "gcs_token_state", "gauge",
        "1 for the state that the token is in, 0 for the others.");

    entry = page->credentials.elts;

    for (i = 0; i < page->credentials.nelts; i++) {

        if (entry[i].state == NULL) {
            continue;
        }

        for (n = 0; n < 4; n++) {
            state = ngx_gcs_metrics_states[n];

            ngx_gcs_metrics_who(text, "gcs_token_state", &entry[i]);
            ngx_gcs_metrics_label(text, "state", state);
            ngx_gcs_metrics_value(text,
                       ngx_strlen(state) == entry[i].state->len
                       && ngx_strncmp(state, entry[i].state->data,
                                      entry[i].state->len)
                          == 0);
        }
    }
}


static void
ngx_gcs_metrics_signatures(ngx_gcs_metrics_text_t *text,
    ngx_gcs_metrics_page_t *page)
{
    char                           *name;
    ngx_uint_t                      i, n;
    ngx_gcs_metrics_credentials_t  *entry;

    static struct {
        char        *name;
        char        *help;
        char        *label;
        char        *value;
        ngx_uint_t   counter;
    }  metrics[] = {

        { "gcs_signatures_total", "Signed URLs that were made.",
          "by", "key", NGX_GCS_METRICS_BY_KEY },

        { "gcs_signatures_total", NULL,
          "by", "iam", NGX_GCS_METRICS_BY_IAM },

        { "gcs_signature_failures_total",
          "Signed URLs that could not be made.",
          NULL, NULL, NGX_GCS_METRICS_UNSIGNED },

        { "gcs_presign_cache_requests_total",
          "Signed URLs that were looked for in a cache.",
          "result", "hit", NGX_GCS_METRICS_HITS },

        { "gcs_presign_cache_requests_total", NULL,
          "result", "miss", NGX_GCS_METRICS_MISSES }
    };

    entry = page->credentials.elts;

    for (n = 0; n < sizeof(metrics) / sizeof(metrics[0]); n++) {
        name = metrics[n].name;

        if (metrics[n].help) {
            ngx_gcs_metrics_head(text, page, name, "counter",
                                 metrics[n].help);
        }

        for (i = 0; i < page->credentials.nelts; i++) {

            if (entry[i].row == NULL) {
                continue;
            }

            ngx_gcs_metrics_who(text, name, &entry[i]);

            if (metrics[n].label) {
                ngx_gcs_metrics_label(text, metrics[n].label,
                                      metrics[n].value);
            }

            ngx_gcs_metrics_value(text,
                                  entry[i].row->counters[metrics[n].counter]);
        }
    }
}
