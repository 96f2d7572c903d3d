
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#ifndef _NGX_GCS_SIGNING_FLIGHT_H_INCLUDED_
#define _NGX_GCS_SIGNING_FLIGHT_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_gcs_signing.h"


/*
 * The inside of signing, for the files ngx_gcs_signing*.c alone: a signature
 * under way in this worker, and those who wait for it.
 */

typedef struct {
    ngx_queue_t                  queue;      /* of all in this worker */
    ngx_queue_t                  waiters;
    ngx_pool_t                  *pool;
    ngx_gcs_signing_request_t    req;        /* a copy, in pool */
    ngx_gcs_signing_pool_t      *threads;
    ngx_msec_t                   started;
    ngx_event_t                  timer;      /* for the next try or look */
    ngx_event_t                  renewal;    /* of the lease */
    unsigned                     leased:1;   /* the right is ours */

    /* by IAM */
    ngx_gcs_token_waiter_t       token;
    ngx_uint_t                   generation; /* of the token sent */
    ngx_uint_t                   tries;
    ngx_pool_t                  *try_pool;
    ngx_gcs_grant_t             *grant;
    ngx_gcs_fetch_t             *fetch;
    unsigned                     rejected:1; /* IAM has refused a token */

    /* by a thread */
    ngx_queue_t                  line;       /* of those without a thread */
    ngx_str_t                    signature;
    ngx_int_t                    rc;
    unsigned                     posted:1;   /* to a thread, or in the line */

    char                        *word;       /* of a failure, or NULL */
} ngx_gcs_signing_t;


/*
 * Begin, in ngx_gcs_signing_blob.c and ngx_gcs_signing_thread.c.  NGX_AGAIN:
 * ends with ngx_gcs_signing_done() or ngx_gcs_signing_failed(); NGX_DECLINED:
 * failed, and logged.
 */
ngx_int_t ngx_gcs_signing_blob(ngx_gcs_signing_t *signing);
ngx_int_t ngx_gcs_signing_thread(ngx_gcs_signing_t *signing);

/* drops what IAM is being asked */
void ngx_gcs_signing_blob_cancel(ngx_gcs_signing_t *signing);

/* tells those who wait, and frees signing */
void ngx_gcs_signing_done(ngx_gcs_signing_t *signing, ngx_str_t *signature);
void ngx_gcs_signing_failed(ngx_gcs_signing_t *signing);

/* logs why there is no signature, and notes it for those who come next */
void ngx_gcs_signing_error(ngx_gcs_signing_t *signing, ngx_str_t *reason,
    char *word);

/* waits, then calls handler with the timer, whose data is a connection */
void ngx_gcs_signing_sleep(ngx_gcs_signing_t *signing,
    ngx_event_handler_pt handler, ngx_msec_t delay);

#define ngx_gcs_signing_of(ev)                                                \
    ((ngx_gcs_signing_t *)                                                    \
         ((u_char *) (ev) - offsetof(ngx_gcs_signing_t, timer)))


#endif /* _NGX_GCS_SIGNING_FLIGHT_H_INCLUDED_ */
