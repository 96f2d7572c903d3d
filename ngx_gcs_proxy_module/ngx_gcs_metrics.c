
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_gcs_crypto.h"
#include "ngx_gcs_metrics.h"
#include "ngx_gcs_object.h"


/* to be changed with the meaning or the order of the counters */
#define NGX_GCS_METRICS_MAGIC  0x67637601

#define NGX_GCS_METRICS_ROWS   128           /* a table has no less */


static ngx_atomic_uint_t ngx_gcs_metrics_key(ngx_uint_t kind, ngx_str_t *a,
    ngx_str_t *b);
static ngx_gcs_metrics_row_t *ngx_gcs_metrics_find(
    ngx_gcs_metrics_table_t *table, ngx_atomic_uint_t key, ngx_uint_t *made);
static void ngx_gcs_metrics_describe(ngx_gcs_metrics_row_t *row,
    ngx_atomic_uint_t owner, ngx_str_t *name);


char  *ngx_gcs_metrics_codes[NGX_GCS_METRICS_CODES] = {
    "000", "1xx", "2xx", "3xx", "4xx", "5xx",
    "200", "206", "304", "403", "404", "412", "416", "429",
    "502", "503", "504"
};

char  *ngx_gcs_metrics_times[NGX_GCS_METRICS_TIMES] = {
    "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5",
    "1", "2.5", "5", "10", "30", "60", "+Inf"
};

char  *ngx_gcs_metrics_verdicts[NGX_GCS_METRICS_VERDICTS] = {
    "redirect", "accel", "oracle", "cached", "denied", "passed"
};

char  *ngx_gcs_metrics_states[] = {
    "valid", "fetching", "failed", "none"
};

/* the same as the names above */
static ngx_uint_t  ngx_gcs_metrics_statuses[] = {
    0, 100, 200, 300, 400, 500,
    200, 206, 304, 403, 404, 412, 416, 429,
    502, 503, 504
};

static ngx_msec_t  ngx_gcs_metrics_limits[NGX_GCS_METRICS_TIMES - 1] = {
    5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000
};


ngx_uint_t
ngx_gcs_metrics_rows(ngx_uint_t used)
{
    ngx_uint_t  n;

    /* half of them stay free, so that what is sought is soon found */

    for (n = NGX_GCS_METRICS_ROWS; n < 2 * used; n *= 2) {
        /* void */
    }

    return n;
}


size_t
ngx_gcs_metrics_size(ngx_uint_t nrows)
{
    return offsetof(ngx_gcs_metrics_table_t, rows)
           + nrows * sizeof(ngx_gcs_metrics_row_t);
}


void
ngx_gcs_metrics_init(ngx_gcs_metrics_table_t *table, ngx_uint_t nrows)
{
    table->magic = NGX_GCS_METRICS_MAGIC;
    table->row_size = sizeof(ngx_gcs_metrics_row_t);
    table->nrows = nrows;
}


ngx_uint_t
ngx_gcs_metrics_check(ngx_gcs_metrics_table_t *table)
{
    return table->magic == NGX_GCS_METRICS_MAGIC
           && table->row_size == sizeof(ngx_gcs_metrics_row_t)
           && table->nrows >= NGX_GCS_METRICS_ROWS
           && (table->nrows & (table->nrows - 1)) == 0;
}


ngx_uint_t
ngx_gcs_metrics_used(ngx_gcs_metrics_table_t *table)
{
    ngx_uint_t  i, n;

    n = 0;

    for (i = 0; i < table->nrows; i++) {
        if (table->rows[i].key) {
            n++;
        }
    }

    return n;
}


/* a part of a digest, never 0, which stands for a failure */

static ngx_atomic_uint_t
ngx_gcs_metrics_key(ngx_uint_t kind, ngx_str_t *a, ngx_str_t *b)
{
    u_char             buf[1 + 2 * NGX_GCS_SHA256_LEN];
    ngx_str_t          text;
    ngx_atomic_uint_t  key;

    ngx_memzero(buf, sizeof(buf));

    buf[0] = (u_char) kind;

    if (ngx_gcs_crypto_sha256(a, buf + 1) != NGX_OK) {
        return 0;
    }

    if (b && ngx_gcs_crypto_sha256(b, buf + 1 + NGX_GCS_SHA256_LEN)
             != NGX_OK)
    {
        return 0;
    }

    text.data = buf;
    text.len = sizeof(buf);

    if (ngx_gcs_crypto_sha256(&text, buf) != NGX_OK) {
        return 0;
    }

    ngx_memcpy(&key, buf, sizeof(ngx_atomic_uint_t));

    return key ? key : 1;
}


/*
 * A row that is not there is claimed, and *made tells of it; if made is NULL
 * it is not.  NULL: it is not there, or the table is full.
 */

static ngx_gcs_metrics_row_t *
ngx_gcs_metrics_find(ngx_gcs_metrics_table_t *table, ngx_atomic_uint_t key,
    ngx_uint_t *made)
{
    ngx_uint_t              i, n;
    ngx_gcs_metrics_row_t  *row;

    if (key == 0) {
        return NULL;
    }

    if (made) {
        *made = 0;
    }

    i = (ngx_uint_t) key & (table->nrows - 1);

    for (n = 0; n < table->nrows; n++) {
        row = &table->rows[i];

        if (row->key == 0) {

            if (made == NULL) {
                return NULL;
            }

            *made = ngx_atomic_cmp_set(&row->key, 0, key);
        }

        /* another process may have been faster, perhaps for the same key */

        if (row->key == key) {
            return row;
        }

        i = (i + 1) & (table->nrows - 1);
    }

    return NULL;
}


/* several processes may do so at once: they write the same */

static void
ngx_gcs_metrics_describe(ngx_gcs_metrics_row_t *row, ngx_atomic_uint_t owner,
    ngx_str_t *name)
{
    if (row->ready) {
        return;
    }

    row->owner = owner;
    ngx_memcpy(row->name, name->data, name->len);

    ngx_memory_barrier();

    row->ready = name->len + 1;
}


ngx_gcs_metrics_row_t *
ngx_gcs_metrics_row(ngx_gcs_metrics_table_t *table,
    ngx_gcs_metrics_kind_e kind, ngx_str_t *a, ngx_str_t *b)
{
    ngx_str_t               none;
    ngx_uint_t              made;
    ngx_gcs_metrics_row_t  *row;

    row = ngx_gcs_metrics_find(table, ngx_gcs_metrics_key(kind, a, b), &made);

    if (row) {
        ngx_str_set(&none, "");
        ngx_gcs_metrics_describe(row, row->key, &none);
    }

    return row;
}


ngx_gcs_metrics_row_t *
ngx_gcs_metrics_bucket(ngx_gcs_metrics_table_t *table,
    ngx_gcs_metrics_row_t *location, ngx_str_t *bucket)
{
    ngx_str_t               owner, name;
    ngx_uint_t              made;
    ngx_atomic_t           *used;
    ngx_atomic_uint_t       key;
    ngx_gcs_metrics_row_t  *row;

    used = &location->counters[NGX_GCS_METRICS_USED];

    owner.data = (u_char *) &location->key;
    owner.len = sizeof(ngx_atomic_uint_t);

    name = *bucket;

    key = ngx_gcs_metrics_key('b', &owner, &name);
    row = ngx_gcs_metrics_find(table, key, NULL);

    if (row == NULL) {

        if (name.len > NGX_GCS_METRICS_NAME
            || (name.len && *used >= NGX_GCS_METRICS_BUCKETS))
        {
            ngx_str_set(&name, NGX_GCS_METRICS_OTHER);
            key = ngx_gcs_metrics_key('b', &owner, &name);
        }

        row = ngx_gcs_metrics_find(table, key, &made);

        if (row == NULL) {
            return NULL;
        }

        if (made && name.data == bucket->data && name.len) {
            (void) ngx_atomic_fetch_add(used, 1);
        }
    }

    ngx_gcs_metrics_describe(row, location->key, &name);

    return row;
}


void
ngx_gcs_metrics_inherit(ngx_gcs_metrics_table_t *table,
    ngx_gcs_metrics_row_t *row, ngx_gcs_metrics_table_t *from)
{
    ngx_str_t               name;
    ngx_uint_t              i, n, made;
    ngx_gcs_metrics_row_t  *old, *copy;

    for (i = 0; i < from->nrows; i++) {
        old = &from->rows[i];

        if (old->owner != row->key || old->ready == 0) {
            continue;
        }

        copy = ngx_gcs_metrics_find(table, old->key, &made);

        if (copy == NULL) {
            return;
        }

        name.data = old->name;
        name.len = old->ready - 1;

        ngx_gcs_metrics_describe(copy, old->owner, &name);

        for (n = 0; n < NGX_GCS_METRICS_COUNTERS; n++) {
            copy->counters[n] = old->counters[n];
        }
    }
}


ngx_uint_t
ngx_gcs_metrics_code(ngx_uint_t status)
{
    ngx_uint_t  i;

    for (i = 6; i < NGX_GCS_METRICS_CODES; i++) {
        if (ngx_gcs_metrics_statuses[i] == status) {
            return NGX_GCS_METRICS_CODE + i;
        }
    }

    return NGX_GCS_METRICS_CODE + (status < 600 ? status / 100 : 0);
}


ngx_int_t
ngx_gcs_metrics_verdict(ngx_str_t *word)
{
    ngx_uint_t  i;

    for (i = 0; i < NGX_GCS_METRICS_VERDICTS; i++) {

        if (ngx_strlen(ngx_gcs_metrics_verdicts[i]) == word->len
            && ngx_strncmp(ngx_gcs_metrics_verdicts[i], word->data, word->len)
               == 0)
        {
            return NGX_GCS_METRICS_VERDICT + i;
        }
    }

    return NGX_ERROR;
}


void
ngx_gcs_metrics_time(ngx_gcs_metrics_row_t *row, ngx_msec_t msec)
{
    ngx_uint_t  i;

    for (i = 0; i < NGX_GCS_METRICS_TIMES - 1; i++) {
        if (msec <= ngx_gcs_metrics_limits[i]) {
            break;
        }
    }

    ngx_gcs_metrics_add(row, NGX_GCS_METRICS_TIME + i, 1);
    ngx_gcs_metrics_add(row, NGX_GCS_METRICS_MSEC, msec);
}


ngx_str_t
ngx_gcs_metrics_clean(ngx_pool_t *pool, ngx_str_t *text)
{
    size_t      n;
    u_char     *p, *src, *last;
    ngx_str_t   clean;

    ngx_str_null(&clean);

    p = ngx_pnalloc(pool, 3 * text->len + 1);
    if (p == NULL) {
        return clean;
    }

    clean.data = p;

    src = text->data;
    last = src + text->len;

    while (src < last) {
        n = ngx_gcs_object_character(src, last);

        if (n == 0) {
            p = ngx_cpymem(p, "\xef\xbf\xbd", 3);
            src++;

        } else {
            p = ngx_cpymem(p, src, n);
            src += n;
        }
    }

    clean.len = p - clean.data;

    return clean;
}
