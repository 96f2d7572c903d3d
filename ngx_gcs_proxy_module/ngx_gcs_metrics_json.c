
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_gcs_metrics.h"


/* by hand: thousands of counters are soon written, and need no tree before */


static void ngx_gcs_metrics_json_string(ngx_gcs_metrics_text_t *text,
    char *name, ngx_str_t *value);
static void ngx_gcs_metrics_json_number(ngx_gcs_metrics_text_t *text,
    char *name, ngx_atomic_uint_t value);
static void ngx_gcs_metrics_json_open(ngx_gcs_metrics_text_t *text,
    char *name);
static void ngx_gcs_metrics_json_close(ngx_gcs_metrics_text_t *text);
static void ngx_gcs_metrics_json_name(ngx_gcs_metrics_text_t *text,
    char *name);
static void ngx_gcs_metrics_json_requests(ngx_gcs_metrics_text_t *text,
    ngx_gcs_metrics_requests_t *entry);
static void ngx_gcs_metrics_json_takeovers(ngx_gcs_metrics_text_t *text,
    ngx_gcs_metrics_requests_t *entry);
static void ngx_gcs_metrics_json_credentials(ngx_gcs_metrics_text_t *text,
    ngx_gcs_metrics_credentials_t *entry);
static void ngx_gcs_metrics_json_token(ngx_gcs_metrics_text_t *text,
    ngx_gcs_metrics_credentials_t *entry);


ngx_int_t
ngx_gcs_metrics_json(ngx_pool_t *pool, ngx_gcs_metrics_page_t *page,
    ngx_str_t *out)
{
    ngx_uint_t               i;
    ngx_gcs_metrics_text_t   text;

    ngx_memzero(&text, sizeof(ngx_gcs_metrics_text_t));

    text.pool = pool;

    ngx_gcs_metrics_put(&text, "{");
    ngx_gcs_metrics_json_string(&text, "version", &page->version);

    ngx_gcs_metrics_put(&text, ",\n\"requests\":[");

    for (i = 0; i < page->requests.nelts; i++) {
        ngx_gcs_metrics_put(&text, i ? ",\n{" : "\n{");
        ngx_gcs_metrics_json_requests(&text,
            (ngx_gcs_metrics_requests_t *) page->requests.elts + i);
    }

    ngx_gcs_metrics_put(&text, "],\n\"takeovers\":[");

    for (i = 0; i < page->takeovers.nelts; i++) {
        ngx_gcs_metrics_put(&text, i ? ",\n{" : "\n{");
        ngx_gcs_metrics_json_takeovers(&text,
            (ngx_gcs_metrics_requests_t *) page->takeovers.elts + i);
    }

    ngx_gcs_metrics_put(&text, "],\n\"credentials\":[");

    for (i = 0; i < page->credentials.nelts; i++) {
        ngx_gcs_metrics_put(&text, i ? ",\n{" : "\n{");
        ngx_gcs_metrics_json_credentials(&text,
            (ngx_gcs_metrics_credentials_t *) page->credentials.elts + i);
    }

    ngx_gcs_metrics_put(&text, "]}\n");

    return ngx_gcs_metrics_text(&text, out);
}


/* a comma, unless it is the first of its object */

static void
ngx_gcs_metrics_json_name(ngx_gcs_metrics_text_t *text, char *name)
{
    if (text->pos > text->start && text->pos[-1] != '{') {
        ngx_gcs_metrics_put(text, ",");
    }

    ngx_gcs_metrics_put(text, "\"");
    ngx_gcs_metrics_put(text, name);
    ngx_gcs_metrics_put(text, "\":");
}


static void
ngx_gcs_metrics_json_string(ngx_gcs_metrics_text_t *text, char *name,
    ngx_str_t *value)
{
    ngx_gcs_metrics_json_name(text, name);
    ngx_gcs_metrics_put(text, "\"");
    ngx_gcs_metrics_escape(text, value, 1);
    ngx_gcs_metrics_put(text, "\"");
}


static void
ngx_gcs_metrics_json_number(ngx_gcs_metrics_text_t *text, char *name,
    ngx_atomic_uint_t value)
{
    ngx_gcs_metrics_json_name(text, name);
    ngx_gcs_metrics_number(text, value);
}


static void
ngx_gcs_metrics_json_open(ngx_gcs_metrics_text_t *text, char *name)
{
    ngx_gcs_metrics_json_name(text, name);
    ngx_gcs_metrics_put(text, "{");
}


static void
ngx_gcs_metrics_json_close(ngx_gcs_metrics_text_t *text)
{
    ngx_gcs_metrics_put(text, "}");
}


static void
ngx_gcs_metrics_json_requests(ngx_gcs_metrics_text_t *text,
    ngx_gcs_metrics_requests_t *entry)
{
    char               *name;
    ngx_uint_t          i;
    ngx_atomic_t       *counters;
    ngx_atomic_uint_t   n, classes[6], codes[NGX_GCS_METRICS_CODES],
                        times[NGX_GCS_METRICS_TIMES];

    counters = entry->row->counters;
    n = 0;

    ngx_memzero(classes, sizeof(classes));

    for (i = 0; i < NGX_GCS_METRICS_CODES; i++) {
        codes[i] = counters[NGX_GCS_METRICS_CODE + i];
        n += codes[i];
        classes[ngx_gcs_metrics_codes[i][0] - '0'] += codes[i];
    }

    ngx_gcs_metrics_json_string(text, "server", &entry->server);
    ngx_gcs_metrics_json_string(text, "location", &entry->location);
    ngx_gcs_metrics_json_string(text, "bucket", &entry->bucket);
    ngx_gcs_metrics_json_number(text, "requests", n);

    ngx_gcs_metrics_json_open(text, "statuses");

    for (i = 0; i < NGX_GCS_METRICS_CODES; i++) {
        name = ngx_gcs_metrics_codes[i];
        n = (i < 6) ? classes[i] : codes[i];

        /* the classes always, of the others what there was */

        if (n || (i && i < 6)) {
            ngx_gcs_metrics_json_number(text, name, n);
        }
    }

    ngx_gcs_metrics_json_close(text);

    ngx_gcs_metrics_json_number(text, "sent_bytes",
                                counters[NGX_GCS_METRICS_SENT]);

    ngx_gcs_metrics_json_open(text, "upstream");

    n = 0;

    for (i = 0; i < NGX_GCS_METRICS_TIMES; i++) {
        times[i] = counters[NGX_GCS_METRICS_TIME + i];
        n += times[i];
    }

    ngx_gcs_metrics_json_number(text, "requests", n);
    ngx_gcs_metrics_json_number(text, "retries",
                                counters[NGX_GCS_METRICS_RETRIES]);
    ngx_gcs_metrics_json_name(text, "seconds");
    ngx_gcs_metrics_seconds(text, counters[NGX_GCS_METRICS_MSEC]);

    ngx_gcs_metrics_json_open(text, "histogram");

    for (i = 0, n = 0; i < NGX_GCS_METRICS_TIMES; i++) {
        n += times[i];
        ngx_gcs_metrics_json_number(text, ngx_gcs_metrics_times[i], n);
    }

    ngx_gcs_metrics_put(text, "}}}");
}


static void
ngx_gcs_metrics_json_takeovers(ngx_gcs_metrics_text_t *text,
    ngx_gcs_metrics_requests_t *entry)
{
    ngx_uint_t  i;

    ngx_gcs_metrics_json_string(text, "server", &entry->server);
    ngx_gcs_metrics_json_string(text, "location", &entry->location);

    ngx_gcs_metrics_json_open(text, "verdicts");

    for (i = 0; i < NGX_GCS_METRICS_VERDICTS; i++) {
        ngx_gcs_metrics_json_number(text, ngx_gcs_metrics_verdicts[i],
                     entry->row->counters[NGX_GCS_METRICS_VERDICT + i]);
    }

    ngx_gcs_metrics_put(text, "}}");
}


static void
ngx_gcs_metrics_json_credentials(ngx_gcs_metrics_text_t *text,
    ngx_gcs_metrics_credentials_t *entry)
{
    ngx_atomic_t  *counters;

    ngx_gcs_metrics_json_string(text, "credentials", &entry->name);

    if (entry->state) {
        ngx_gcs_metrics_json_token(text, entry);
    }

    if (entry->row) {
        counters = entry->row->counters;

        ngx_gcs_metrics_json_open(text, "signatures");
        ngx_gcs_metrics_json_number(text, "key",
                                    counters[NGX_GCS_METRICS_BY_KEY]);
        ngx_gcs_metrics_json_number(text, "iam",
                                    counters[NGX_GCS_METRICS_BY_IAM]);
        ngx_gcs_metrics_json_number(text, "failures",
                                    counters[NGX_GCS_METRICS_UNSIGNED]);
        ngx_gcs_metrics_json_close(text);

        ngx_gcs_metrics_json_open(text, "presign_cache");
        ngx_gcs_metrics_json_number(text, "hits",
                                    counters[NGX_GCS_METRICS_HITS]);
        ngx_gcs_metrics_json_number(text, "misses",
                                    counters[NGX_GCS_METRICS_MISSES]);
        ngx_gcs_metrics_json_close(text);
    }

    ngx_gcs_metrics_json_close(text);
}


static void
ngx_gcs_metrics_json_token(ngx_gcs_metrics_text_t *text,
    ngx_gcs_metrics_credentials_t *entry)
{
    ngx_gcs_metrics_json_open(text, "token");
    ngx_gcs_metrics_json_string(text, "state", entry->state);
    ngx_gcs_metrics_json_number(text, "fetches", entry->fetches);
    ngx_gcs_metrics_json_number(text, "failures", entry->failures);

    if (entry->age != -1) {
        ngx_gcs_metrics_json_number(text, "age", entry->age);
    }

    ngx_gcs_metrics_json_number(text, "expires_in",
                                ngx_max(entry->expires, 0));
    ngx_gcs_metrics_json_close(text);
}
