
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#ifndef _NGX_GCS_METRICS_H_INCLUDED_
#define _NGX_GCS_METRICS_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


/* of a location: what comes later is counted as NGX_GCS_METRICS_OTHER */
#define NGX_GCS_METRICS_BUCKETS  64

/* no name of a bucket, which has no parentheses */
#define NGX_GCS_METRICS_OTHER    "(other)"

/* the longest name of a bucket has 222 bytes */
#define NGX_GCS_METRICS_NAME     224

/* statuses that are counted by themselves, others by their class, and none */
#define NGX_GCS_METRICS_CODES    17

/* limits of the histogram, and infinity */
#define NGX_GCS_METRICS_TIMES    14


/* the counters of a bucket in a location */

typedef enum {
    NGX_GCS_METRICS_CODE = 0,     /* the first of NGX_GCS_METRICS_CODES */
    NGX_GCS_METRICS_TIME = NGX_GCS_METRICS_CODES,  /* likewise */
    NGX_GCS_METRICS_MSEC = NGX_GCS_METRICS_TIME + NGX_GCS_METRICS_TIMES,
    NGX_GCS_METRICS_SENT,
    NGX_GCS_METRICS_RETRIES,
    NGX_GCS_METRICS_COUNTERS
} ngx_gcs_metrics_request_e;

/* of a location itself */

typedef enum {
    NGX_GCS_METRICS_VERDICT = 0,  /* the first of NGX_GCS_METRICS_VERDICTS */
    NGX_GCS_METRICS_VERDICTS = 6,
    NGX_GCS_METRICS_USED = NGX_GCS_METRICS_VERDICTS  /* buckets it has */
} ngx_gcs_metrics_location_e;

/* of a credential */

typedef enum {
    NGX_GCS_METRICS_BY_KEY = 0,
    NGX_GCS_METRICS_BY_IAM,
    NGX_GCS_METRICS_UNSIGNED,
    NGX_GCS_METRICS_HITS,
    NGX_GCS_METRICS_MISSES
} ngx_gcs_metrics_credentials_e;


/* what kind of thing a key stands for */

typedef enum {
    NGX_GCS_METRICS_LOCATION = 'l',
    NGX_GCS_METRICS_CREDENTIALS = 'c'
} ngx_gcs_metrics_kind_e;


/*
 * Counters in shared memory.  A table has a fixed number of rows, each found
 * by a digest of the names that it counts for.  Whoever needs one that is not
 * there claims a free row by writing the digest in one atomic step, so there
 * is no lock, and a process that is killed at any moment leaves nothing half
 * done that the next one would not complete.  Rows are never freed.
 */

typedef struct {
    ngx_atomic_t                key;         /* 0: free */
    ngx_atomic_t                owner;       /* the key of the location */
    ngx_atomic_t                ready;       /* length of name, and 1 */
    u_char                      name[NGX_GCS_METRICS_NAME];
    ngx_atomic_t                counters[NGX_GCS_METRICS_COUNTERS];
} ngx_gcs_metrics_row_t;


typedef struct {
    ngx_uint_t                  magic;
    size_t                      row_size;
    ngx_uint_t                  nrows;       /* a power of two */
    ngx_gcs_metrics_row_t       rows[1];
} ngx_gcs_metrics_table_t;


#define ngx_gcs_metrics_add(row, counter, n)                                  \
    if (row) {                                                                \
        (void) ngx_atomic_fetch_add(&(row)->counters[counter],                \
                                    (ngx_atomic_int_t) (n));                  \
    }


/* how many rows a table should have that will use so many */
ngx_uint_t ngx_gcs_metrics_rows(ngx_uint_t used);

/* bytes of a table with so many rows */
size_t ngx_gcs_metrics_size(ngx_uint_t nrows);

/* makes a table in zeroed memory of that size */
void ngx_gcs_metrics_init(ngx_gcs_metrics_table_t *table, ngx_uint_t nrows);

/* whether what may be of another version of this module is such a table */
ngx_uint_t ngx_gcs_metrics_check(ngx_gcs_metrics_table_t *table);

/* how many rows are taken */
ngx_uint_t ngx_gcs_metrics_used(ngx_gcs_metrics_table_t *table);

/*
 * The row of what has these two names, b may be NULL; made if it is not there.
 * NULL: the table is full.
 */
ngx_gcs_metrics_row_t *ngx_gcs_metrics_row(ngx_gcs_metrics_table_t *table,
    ngx_gcs_metrics_kind_e kind, ngx_str_t *a, ngx_str_t *b);

/*
 * The row of a bucket in a location, whose own row is location.  Those that
 * are too many share one; the one of no name does not count.  NULL: the table
 * is full.
 */
ngx_gcs_metrics_row_t *ngx_gcs_metrics_bucket(ngx_gcs_metrics_table_t *table,
    ngx_gcs_metrics_row_t *location, ngx_str_t *bucket);

/* copies the row, and those that it owns, from one table to another */
void ngx_gcs_metrics_inherit(ngx_gcs_metrics_table_t *table,
    ngx_gcs_metrics_row_t *row, ngx_gcs_metrics_table_t *from);

/* the counter of an HTTP status */
ngx_uint_t ngx_gcs_metrics_code(ngx_uint_t status);

/* the counter of a value of "$gcs_takeover_status"; NGX_ERROR: it is none */
ngx_int_t ngx_gcs_metrics_verdict(ngx_str_t *word);

/* one exchange with Cloud Storage, which has taken so many milliseconds */
void ngx_gcs_metrics_time(ngx_gcs_metrics_row_t *row, ngx_msec_t msec);

/*
 * A copy of text that every reader takes: what is not UTF-8 becomes U+FFFD.
 * data of the result is NULL if memory is out.
 */
ngx_str_t ngx_gcs_metrics_clean(ngx_pool_t *pool, ngx_str_t *text);


/* what is shown */

typedef struct {
    ngx_str_t                   server;
    ngx_str_t                   location;
    ngx_str_t                   bucket;      /* not of a takeover */
    ngx_gcs_metrics_row_t      *row;
} ngx_gcs_metrics_requests_t;


typedef struct {
    ngx_str_t                   name;
    ngx_gcs_metrics_row_t      *row;         /* NULL: it signs no URLs */
    ngx_str_t                  *state;       /* NULL: it has no token */
    ngx_uint_t                  fetches;
    ngx_uint_t                  failures;
    time_t                      age;         /* -1: there is no token */
    time_t                      expires;     /* seconds from now; likewise */
} ngx_gcs_metrics_credentials_t;


typedef struct {
    ngx_str_t                   version;
    ngx_array_t                 requests;    /* ..._requests_t */
    ngx_array_t                 takeovers;   /* likewise */
    ngx_array_t                 credentials; /* ..._credentials_t */
    unsigned                    openmetrics:1;
} ngx_gcs_metrics_page_t;


typedef struct {
    ngx_pool_t                 *pool;
    u_char                     *start;
    u_char                     *pos;
    u_char                     *end;
    unsigned                    failed:1;    /* memory is out */
} ngx_gcs_metrics_text_t;


/* names of counters, in ngx_gcs_metrics.c */
extern char  *ngx_gcs_metrics_codes[NGX_GCS_METRICS_CODES];
extern char  *ngx_gcs_metrics_times[NGX_GCS_METRICS_TIMES];
extern char  *ngx_gcs_metrics_verdicts[NGX_GCS_METRICS_VERDICTS];
extern char  *ngx_gcs_metrics_states[4];

/*
 * Add to a text that grows: a C string, bytes, a string with what would end it
 * escaped, a number, and milliseconds as seconds.
 */
void ngx_gcs_metrics_put(ngx_gcs_metrics_text_t *text, char *string);
void ngx_gcs_metrics_bytes(ngx_gcs_metrics_text_t *text, u_char *data,
    size_t len);
void ngx_gcs_metrics_escape(ngx_gcs_metrics_text_t *text, ngx_str_t *value,
    ngx_uint_t json);
void ngx_gcs_metrics_number(ngx_gcs_metrics_text_t *text,
    ngx_atomic_uint_t number);
void ngx_gcs_metrics_seconds(ngx_gcs_metrics_text_t *text,
    ngx_atomic_uint_t msec);

/* NGX_ERROR: memory was out; else *out is all that was added */
ngx_int_t ngx_gcs_metrics_text(ngx_gcs_metrics_text_t *text, ngx_str_t *out);

/*
 * The page as JSON, and in Prometheus' text format or in that of OpenMetrics,
 * from pool.  NGX_ERROR: memory is out.
 */
ngx_int_t ngx_gcs_metrics_json(ngx_pool_t *pool, ngx_gcs_metrics_page_t *page,
    ngx_str_t *out);
ngx_int_t ngx_gcs_metrics_prometheus(ngx_pool_t *pool,
    ngx_gcs_metrics_page_t *page, ngx_str_t *out);


#endif /* _NGX_GCS_METRICS_H_INCLUDED_ */
