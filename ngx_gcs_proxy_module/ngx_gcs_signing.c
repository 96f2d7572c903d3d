
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_gcs_sign.h"
#include "ngx_gcs_signing_flight.h"


#define NGX_GCS_SIGNING_FOLLOW    25        /* looks at others' results, ms */
#define NGX_GCS_SIGNING_BACKOFF   1000      /* ms */


static ngx_gcs_signing_t *ngx_gcs_signing_find(u_char *digest);
static ngx_gcs_signing_t *ngx_gcs_signing_create(
    ngx_gcs_signing_request_t *req);
static ngx_int_t ngx_gcs_signing_copy(ngx_gcs_signing_t *signing,
    ngx_gcs_signing_request_t *req);
static void ngx_gcs_signing_free(ngx_gcs_signing_t *signing);
static ngx_int_t ngx_gcs_signing_begin(ngx_gcs_signing_t *signing);
static void ngx_gcs_signing_renew(ngx_event_t *ev);
static void ngx_gcs_signing_timer(ngx_event_t *ev,
    ngx_event_handler_pt handler, ngx_msec_t delay);
static void ngx_gcs_signing_follow(ngx_event_t *ev);
static void ngx_gcs_signing_wait(ngx_gcs_signing_t *signing,
    ngx_gcs_signing_waiter_t *waiter, ngx_msec_t timeout);
static void ngx_gcs_signing_timeout(ngx_event_t *ev);
static void ngx_gcs_signing_wake(ngx_gcs_signing_t *signing, ngx_int_t rc,
    ngx_str_t *url);


static ngx_queue_t  ngx_gcs_signings = {
    &ngx_gcs_signings, &ngx_gcs_signings
};

/* ngx_event_ident() reads it */
static ngx_connection_t  ngx_gcs_signing_connection;


ngx_int_t
ngx_gcs_signing(ngx_gcs_signing_request_t *req,
    ngx_gcs_signing_pool_t *pool, ngx_gcs_signing_waiter_t *waiter,
    ngx_msec_t timeout)
{
    ngx_int_t           rc;
    ngx_gcs_signer_t   *signer;
    ngx_gcs_signing_t  *signing;

    waiter->word = NULL;

    signing = req->digest ? ngx_gcs_signing_find(req->digest) : NULL;

    if (signing) {
        ngx_gcs_signing_wait(signing, waiter, timeout);
        return NGX_AGAIN;
    }

    signer = req->signer;

    if (signer && signer->failed
        && ngx_current_msec - signer->failed < NGX_GCS_SIGNING_BACKOFF)
    {
        waiter->word = signer->word;
        return NGX_DECLINED;
    }

    signing = ngx_gcs_signing_create(req);
    if (signing == NULL) {
        return NGX_ERROR;
    }

    signing->threads = pool;

    rc = ngx_gcs_signing_begin(signing);

    if (rc == NGX_AGAIN) {
        ngx_gcs_signing_wait(signing, waiter, timeout);
        return NGX_AGAIN;
    }

    waiter->word = signing->word;

    ngx_gcs_signing_failed(signing);

    return NGX_DECLINED;
}


static ngx_gcs_signing_t *
ngx_gcs_signing_find(u_char *digest)
{
    ngx_queue_t        *q;
    ngx_gcs_signing_t  *signing;

    for (q = ngx_queue_head(&ngx_gcs_signings);
         q != ngx_queue_sentinel(&ngx_gcs_signings);
         q = ngx_queue_next(q))
    {
        signing = ngx_queue_data(q, ngx_gcs_signing_t, queue);

        if (signing->req.digest
            && ngx_memcmp(signing->req.digest, digest, NGX_GCS_SHA256_LEN)
               == 0)
        {
            return signing;
        }
    }

    return NULL;
}


static ngx_gcs_signing_t *
ngx_gcs_signing_create(ngx_gcs_signing_request_t *req)
{
    ngx_pool_t         *pool;
    ngx_gcs_signing_t  *signing;

    pool = ngx_create_pool(2048, ngx_cycle->log);
    if (pool == NULL) {
        return NULL;
    }

    signing = ngx_pcalloc(pool, sizeof(ngx_gcs_signing_t));

    if (signing) {
        signing->pool = pool;
    }

    if (signing == NULL || ngx_gcs_signing_copy(signing, req) != NGX_OK) {
        ngx_destroy_pool(pool);
        return NULL;
    }

    signing->started = ngx_current_msec;

    ngx_queue_init(&signing->waiters);
    ngx_queue_insert_tail(&ngx_gcs_signings, &signing->queue);

    return signing;
}


static ngx_int_t
ngx_gcs_signing_copy(ngx_gcs_signing_t *signing,
    ngx_gcs_signing_request_t *req)
{
    ngx_gcs_signing_request_t  *copy;

    copy = &signing->req;
    *copy = *req;

    copy->key = NULL;

    if (req->digest) {
        copy->digest = ngx_palloc(signing->pool, NGX_GCS_SHA256_LEN);
        if (copy->digest == NULL) {
            return NGX_ERROR;
        }

        ngx_memcpy(copy->digest, req->digest, NGX_GCS_SHA256_LEN);
    }

    copy->text.data = ngx_pstrdup(signing->pool, &req->text);
    copy->unsigned_url.data = ngx_pstrdup(signing->pool, &req->unsigned_url);

    if (copy->text.data == NULL || copy->unsigned_url.data == NULL) {
        return NGX_ERROR;
    }

    if (req->account.len) {
        copy->account.data = ngx_pstrdup(signing->pool, &req->account);
        if (copy->account.data == NULL) {
            return NGX_ERROR;
        }
    }

    /* last, as it is not of the pool; the file may be replaced meanwhile */

    if (req->key) {
        copy->key = ngx_gcs_crypto_copy_key(req->key);
        if (copy->key == NULL) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static void
ngx_gcs_signing_free(ngx_gcs_signing_t *signing)
{
    ngx_queue_remove(&signing->queue);

    if (signing->timer.timer_set) {
        ngx_del_timer(&signing->timer);
    }

    if (signing->renewal.timer_set) {
        ngx_del_timer(&signing->renewal);
    }

    ngx_gcs_signing_blob_cancel(signing);

    if (signing->req.key) {
        EVP_PKEY_CTX_free(signing->req.key);
    }

    ngx_destroy_pool(signing->pool);
}


/* returns as ngx_gcs_signing_blob() */

static ngx_int_t
ngx_gcs_signing_begin(ngx_gcs_signing_t *signing)
{
    ngx_int_t                   rc;
    ngx_gcs_signing_request_t  *req;

    req = &signing->req;

    if (req->cache && req->digest) {
        rc = ngx_gcs_url_cache_lease(req->cache, req->digest,
                                     signing->started);

        if (rc == NGX_DECLINED) {

            /* another worker has failed, and has logged it */

            return NGX_DECLINED;
        }

        if (rc != NGX_OK) {
            ngx_gcs_signing_sleep(signing, ngx_gcs_signing_follow,
                                  rc == NGX_DONE ? 1
                                                 : NGX_GCS_SIGNING_FOLLOW);
            return NGX_AGAIN;
        }

        signing->leased = 1;

        ngx_gcs_signing_timer(&signing->renewal, ngx_gcs_signing_renew,
                              NGX_GCS_URL_CACHE_LEASE / 3);
    }

    return req->signer ? ngx_gcs_signing_blob(signing)
                       : ngx_gcs_signing_thread(signing);
}


/* a worker that has died does not do it any more */

static void
ngx_gcs_signing_renew(ngx_event_t *ev)
{
    ngx_gcs_signing_t  *signing;

    signing = (ngx_gcs_signing_t *)
                  ((u_char *) ev - offsetof(ngx_gcs_signing_t, renewal));

    ngx_gcs_url_cache_renew(signing->req.cache, signing->req.digest);

    ngx_gcs_signing_timer(ev, ngx_gcs_signing_renew,
                          NGX_GCS_URL_CACHE_LEASE / 3);
}


/* another worker signs: has it done so, or is it gone? */

static void
ngx_gcs_signing_follow(ngx_event_t *ev)
{
    ngx_str_t                   url;
    ngx_gcs_signing_t          *signing;
    ngx_gcs_signing_request_t  *req;

    signing = ngx_gcs_signing_of(ev);
    req = &signing->req;

    if (ngx_queue_empty(&signing->waiters)) {

        /* they have gone */

        ngx_gcs_signing_failed(signing);
        return;
    }

    if (ngx_gcs_url_cache_get(req->cache, req->digest, signing->pool, &url,
                              &req->until)
        == NGX_OK)
    {
        ngx_gcs_signing_wake(signing, NGX_OK, &url);
        return;
    }

    if (ngx_gcs_signing_begin(signing) != NGX_AGAIN) {
        ngx_gcs_signing_failed(signing);
    }
}


void
ngx_gcs_signing_sleep(ngx_gcs_signing_t *signing,
    ngx_event_handler_pt handler, ngx_msec_t delay)
{
    ngx_gcs_signing_timer(&signing->timer, handler, delay);
}


static void
ngx_gcs_signing_timer(ngx_event_t *ev, ngx_event_handler_pt handler,
    ngx_msec_t delay)
{
    ngx_gcs_signing_connection.fd = (ngx_socket_t) -1;

    ev->data = &ngx_gcs_signing_connection;
    ev->handler = handler;
    ev->log = ngx_cycle->log;
    ev->cancelable = 1;

    ngx_add_timer(ev, delay);
}


void
ngx_gcs_signing_done(ngx_gcs_signing_t *signing, ngx_str_t *signature)
{
    ngx_int_t                   rc;
    ngx_str_t                   url, error;
    ngx_gcs_signing_request_t  *req;

    req = &signing->req;

    rc = ngx_gcs_sign_url_append(signing->pool, &req->unsigned_url, signature,
                                 &url);
    if (rc != NGX_OK) {
        ngx_str_set(&error, "no memory");
        ngx_gcs_signing_error(signing, &error, NULL);
        ngx_gcs_signing_failed(signing);
        return;
    }

    if (req->made) {
        (void) ngx_atomic_fetch_add(req->made, 1);
    }

    if (req->signer) {
        req->signer->failed = 0;
    }

    if (req->cache && req->digest) {
        (void) ngx_gcs_url_cache_set(req->cache, req->digest, &url,
                                     req->until);
    }

    ngx_gcs_signing_wake(signing, NGX_OK, &url);
}


void
ngx_gcs_signing_failed(ngx_gcs_signing_t *signing)
{
    if (signing->leased) {
        ngx_gcs_url_cache_release(signing->req.cache, signing->req.digest,
                                  1);
    }

    ngx_gcs_signing_wake(signing, NGX_DECLINED, NULL);
}


void
ngx_gcs_signing_error(ngx_gcs_signing_t *signing, ngx_str_t *reason,
    char *word)
{
    size_t             i;
    u_char             text[NGX_GCS_GRANT_ERROR_MAX];
    ngx_str_t          error;
    ngx_gcs_signer_t  *signer;

    signing->word = word;
    signer = signing->req.signer;

    if (signing->req.failed) {
        (void) ngx_atomic_fetch_add(signing->req.failed, 1);
    }

    if (signer == NULL) {
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                      "a URL could not be signed: %V", reason);
        return;
    }

    signer->failed = ngx_current_msec ? ngx_current_msec : 1;
    signer->word = word;

    /* some of the words are IAM's */

    error.len = ngx_min(reason->len, NGX_GCS_GRANT_ERROR_MAX);
    error.data = text;

    for (i = 0; i < error.len; i++) {
        text[i] = (reason->data[i] < 0x20 || reason->data[i] == 0x7f)
                  ? ' ' : reason->data[i];
    }

    ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                  "gcs credentials \"%V\": a URL could not be signed: %V",
                  signer->name, &error);
}


/*
 * A handler may cancel any of the waiters and begin to sign anew, so signing
 * is no longer to be found while they are told.
 */

static void
ngx_gcs_signing_wake(ngx_gcs_signing_t *signing, ngx_int_t rc, ngx_str_t *url)
{
    ngx_queue_t               *q;
    ngx_gcs_signing_waiter_t  *waiter;

    signing->req.digest = NULL;

    while (!ngx_queue_empty(&signing->waiters)) {
        q = ngx_queue_head(&signing->waiters);
        waiter = ngx_queue_data(q, ngx_gcs_signing_waiter_t, wait.queue);

        ngx_gcs_signing_cancel(waiter);

        waiter->word = signing->word;

        if (rc == NGX_OK) {
            waiter->url = *url;
            waiter->until = signing->req.until;
        }

        waiter->handler(waiter, rc);
    }

    ngx_gcs_signing_free(signing);
}


static void
ngx_gcs_signing_wait(ngx_gcs_signing_t *signing,
    ngx_gcs_signing_waiter_t *waiter, ngx_msec_t timeout)
{
    ngx_gcs_wait(&waiter->wait, &signing->waiters, timeout,
                 ngx_gcs_signing_timeout, waiter->log);
}


void
ngx_gcs_signing_cancel(ngx_gcs_signing_waiter_t *waiter)
{
    ngx_gcs_wait_cancel(&waiter->wait);
}


static void
ngx_gcs_signing_timeout(ngx_event_t *ev)
{
    ngx_gcs_signing_waiter_t  *waiter;

    waiter = (ngx_gcs_signing_waiter_t *)
                 ((u_char *) ev - offsetof(ngx_gcs_signing_waiter_t,
                                           wait.timer));

    ngx_gcs_signing_cancel(waiter);

    waiter->handler(waiter, NGX_AGAIN);
}


void
ngx_gcs_signing_exit_process(ngx_cycle_t *cycle)
{
    ngx_queue_t        *q;
    ngx_gcs_signing_t  *signing;

    while (!ngx_queue_empty(&ngx_gcs_signings)) {
        q = ngx_queue_head(&ngx_gcs_signings);
        signing = ngx_queue_data(q, ngx_gcs_signing_t, queue);

        if (signing->leased) {
            ngx_gcs_url_cache_release(signing->req.cache,
                                      signing->req.digest, 0);
        }

        if (signing->posted) {

            /* a thread may still use it */

            if (signing->renewal.timer_set) {
                ngx_del_timer(&signing->renewal);
            }

            ngx_queue_remove(q);
            continue;
        }

        ngx_gcs_signing_free(signing);
    }
}
