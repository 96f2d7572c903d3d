
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#ifndef _NGX_GCS_SIGNING_H_INCLUDED_
#define _NGX_GCS_SIGNING_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#if (NGX_THREADS)
#include <ngx_thread_pool.h>
#endif

#include "ngx_gcs_fetch.h"
#include "ngx_gcs_token.h"
#include "ngx_gcs_url_cache.h"
#include "ngx_gcs_wait.h"


/* an account without a key here: IAM signs for it */

typedef struct {
    ngx_gcs_source_t        *source;     /* of a credential that is signing */
    ngx_gcs_token_t         *token;      /* of the one who asks IAM */
    ngx_gcs_fetch_conf_t    *conf;
    ngx_str_t               *name;       /* in log lines */

    ngx_msec_t               failed;     /* in this worker; 0: not lately */
    char                    *word;       /* of that failure, or NULL */
} ngx_gcs_signer_t;


/*
 * What is to be signed; strings are copied.  Either signer is set or key.
 */

typedef struct {
    ngx_gcs_signer_t        *signer;
    ngx_str_t                account;    /* of the signer */
    ngx_gcs_key_t           *key;
    ngx_gcs_url_cache_t     *cache;      /* NULL: none */
    u_char                  *digest;     /* its key; NULL: never shared */
    ngx_str_t                text;       /* see ngx_gcs_sign_url_text() */
    ngx_str_t                unsigned_url;
    time_t                   until;
    ngx_atomic_t            *made;       /* is counted here; or NULL */
    ngx_atomic_t            *failed;     /* likewise */
} ngx_gcs_signing_request_t;


typedef struct ngx_gcs_signing_waiter_s  ngx_gcs_signing_waiter_t;

/*
 * rc: NGX_OK, waiter->url is there until the handler returns; NGX_DECLINED,
 * it could not be signed, which has been logged, waiter->word may say why in
 * a constant word; NGX_AGAIN: the waiter's time is over.
 */
typedef void (*ngx_gcs_signing_handler_pt)(ngx_gcs_signing_waiter_t *waiter,
    ngx_int_t rc);

/* one who waits; lives in the caller's memory, zeroed before first use */

struct ngx_gcs_signing_waiter_s {
    ngx_gcs_wait_t                wait;
    ngx_gcs_signing_handler_pt    handler;
    void                         *data;
    ngx_log_t                    *log;
    ngx_str_t                     url;
    time_t                        until;
    char                         *word;
};


#if (NGX_THREADS)
typedef ngx_thread_pool_t  ngx_gcs_signing_pool_t;
#else
typedef void               ngx_gcs_signing_pool_t;
#endif


/*
 * Signs without keeping the worker from its other work: by IAM, or by a key
 * in a thread of pool.  Several who want the same URL, by its digest, wait
 * for one signature, with a cache also those of other workers.
 *
 * NGX_AGAIN: waiter->handler is called once, from the event loop; handler,
 * data and log are set by the caller.  NGX_DECLINED: it failed, now or a
 * moment ago, waiter->word is set; NGX_ERROR: memory is out.
 */
ngx_int_t ngx_gcs_signing(ngx_gcs_signing_request_t *req,
    ngx_gcs_signing_pool_t *pool, ngx_gcs_signing_waiter_t *waiter,
    ngx_msec_t timeout);

/* forgets the waiter, if it waits; the signature is made all the same */
void ngx_gcs_signing_cancel(ngx_gcs_signing_waiter_t *waiter);

/*
 * The threads that may sign, while the configuration is read; NULL: there are
 * none, or memory is out.
 */
ngx_gcs_signing_pool_t *ngx_gcs_signing_threads(ngx_conf_t *cf);

/* drops what is under way, before the tokens and fetches end */
void ngx_gcs_signing_exit_process(ngx_cycle_t *cycle);


#endif /* _NGX_GCS_SIGNING_H_INCLUDED_ */
