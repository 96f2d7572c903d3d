
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#ifndef _NGX_GCS_TOKEN_ZONE_H_INCLUDED_
#define _NGX_GCS_TOKEN_ZONE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_gcs_crypto.h"
#include "ngx_gcs_token.h"


/* the text of a failure, and its word, are cut to so many bytes */
#define NGX_GCS_TOKEN_ERROR_MAX  NGX_GCS_GRANT_ERROR_MAX
#define NGX_GCS_TOKEN_WORD_MAX   32


/*
 * The inside of the token store, for the files ngx_gcs_token*.c alone: what
 * all workers know of a token, and what one of them has copied.
 *
 * Points in time are ngx_current_msec, which all processes of the machine
 * share and no change of the wall clock touches; 0 is long past.
 */


/* true from the millisecond t on */
#define ngx_gcs_token_passed(t)                                               \
    ((ngx_msec_int_t) ((t) - ngx_current_msec) <= 0)


/* of the worker's copy */
#define ngx_gcs_token_valid(token)                                            \
    ((token)->value.len && !ngx_gcs_token_passed((token)->deadline))


/* written with the lock of the zone held; version is written last */

typedef struct {
    ngx_atomic_t             version;       /* of all up to error */
    ngx_atomic_t             lease;         /* a fetch is under way until */
    ngx_atomic_t             retry;         /* failed: no fetch until */

    u_char                   id[NGX_GCS_SHA256_LEN];

    ngx_uint_t               generation;
    ngx_msec_t               fetched;       /* since when it is there */
    ngx_msec_t               deadline;      /* valid until */
    ngx_msec_t               refresh;       /* due from */
    time_t                   expires;       /* wall clock, only to show */

    ngx_uint_t               rejected;      /* last generation refused */
    ngx_uint_t               fetches;       /* number of the latest one */
    ngx_uint_t               failures;      /* since the last success */
    ngx_uint_t               errors;        /* all failures */
    ngx_uint_t               waiting;       /* for a metadata server to come */

    ngx_gcs_stamp_t          told;          /* the log knows of this file */
    ngx_gcs_stamp_t          file;          /* what it was fetched with */
    ngx_gcs_stamp_t          subject;

    size_t                   error_len;
    size_t                   word_len;
    size_t                   account_len;
    size_t                   refresh_len;
    size_t                   len;           /* 0: no token */
    u_char                   error[NGX_GCS_TOKEN_ERROR_MAX];
    u_char                   word[NGX_GCS_TOKEN_WORD_MAX];
    u_char                   account[NGX_GCS_GRANT_ACCOUNT_MAX];
    u_char                   refresh_token[NGX_GCS_GRANT_REFRESH_MAX];
    u_char                   data[NGX_GCS_TOKEN_MAX];
} ngx_gcs_token_slot_t;


struct ngx_gcs_token_s {
    ngx_gcs_source_t        *source;
    ngx_gcs_fetch_conf_t    *conf;
    ngx_gcs_token_store_t   *store;
    ngx_gcs_token_slot_t    *slot;
    u_char                   id[NGX_GCS_SHA256_LEN];

    /* the worker's copy of the slot, as of version */
    ngx_atomic_uint_t        version;
    ngx_uint_t               generation;
    ngx_msec_t               deadline;
    ngx_msec_t               refresh;
    ngx_uint_t               failures;
    ngx_uint_t               errors;
    ngx_str_t                error;
    ngx_str_t                word;
    ngx_str_t                account;
    ngx_str_t                value;
    ngx_msec_t               copied;        /* when value has changed */
    u_char                  *buffers[2];    /* value is in the first */

    /* the worker's fetch, if grant is set */
    ngx_pool_t              *pool;
    ngx_gcs_grant_t         *grant;
    ngx_gcs_fetch_t         *fetch;
    ngx_uint_t               number;        /* see slot->fetches */
    ngx_uint_t               steps;
    ngx_msec_t               sent;
    ngx_gcs_stamp_t          subject;       /* before it was begun */

    ngx_queue_t              waiters;
};


/* makes the worker's copy current; locks only if there is something new */
void ngx_gcs_token_zone_sync(ngx_gcs_token_t *token);

/*
 * Asks for the right to fetch, for ttl milliseconds.  NGX_OK: granted.
 * NGX_AGAIN: someone else fetches.  NGX_DECLINED: failed lately.  NGX_DONE:
 * there is no need, the slot has a token that is not due.
 */
ngx_int_t ngx_gcs_token_zone_lease(ngx_gcs_token_t *token, ngx_msec_t ttl);

/* prolongs the right; gives it back without a result */
void ngx_gcs_token_zone_renew(ngx_gcs_token_t *token, ngx_msec_t ttl);
void ngx_gcs_token_zone_release(ngx_gcs_token_t *token);

/* stores a token that lives lifetime milliseconds from now on */
void ngx_gcs_token_zone_success(ngx_gcs_token_t *token, ngx_str_t *value,
    ngx_msec_t lifetime);

/*
 * Stores a failure and prolongs the back-off, to retry_after seconds at
 * least.  Ignored if someone else has taken over the fetch meanwhile.
 */
void ngx_gcs_token_zone_failure(ngx_gcs_token_t *token, ngx_str_t *error,
    char *word, time_t retry_after);

/*
 * The same for a failure that is expected for a while: those who wait go on
 * waiting, and it is tried again soon.  True if it is the first one.
 */
ngx_uint_t ngx_gcs_token_zone_postpone(ngx_gcs_token_t *token);

/*
 * Makes the token due if the files that it was fetched with have been
 * replaced since.
 */
void ngx_gcs_token_zone_check(ngx_gcs_token_t *token);

/*
 * Begins a fetch, in ngx_gcs_token_fetch.c.  NGX_AGAIN: one is under way,
 * here or in another worker.  NGX_DECLINED: it failed, now or lately.
 * NGX_DONE: it is not needed.
 */
ngx_int_t ngx_gcs_token_fetch(ngx_gcs_token_t *token);

/* makes the worker's credential current, while it does not fetch */
void ngx_gcs_token_fetch_source(ngx_gcs_token_t *token);

/* stops this worker's fetch so that another worker may go on at once */
void ngx_gcs_token_fetch_cancel(ngx_gcs_token_t *token);

/*
 * Whether it is for this worker to tell the log of the credential's file with
 * that stamp: the first one that asks.  data is the token.
 */
ngx_uint_t ngx_gcs_token_zone_told(void *data, ngx_gcs_stamp_t *stamp);

/*
 * Gives the grant the refresh token that an earlier fetch with the same
 * credential has got.  NGX_ERROR: no memory.
 */
ngx_int_t ngx_gcs_token_zone_refresh_token(ngx_gcs_token_t *token);

/* called at the end of every fetch that was begun, in ngx_gcs_token.c */
void ngx_gcs_token_fetch_ended(ngx_gcs_token_t *token);

/* whether this worker has been started only a short while ago */
ngx_uint_t ngx_gcs_token_young(void);


#endif /* _NGX_GCS_TOKEN_ZONE_H_INCLUDED_ */
