
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_gcs_token_zone.h"


#define NGX_GCS_TOKEN_STEPS      16
#define NGX_GCS_TOKEN_LIFETIME   604800     /* seconds, a longer is cut */


static ngx_int_t ngx_gcs_token_fetch_step(ngx_gcs_token_t *token);
static void ngx_gcs_token_fetch_file(ngx_gcs_token_t *token,
    ngx_str_t *file, ngx_gcs_response_t *res);
static void ngx_gcs_token_fetch_wipe(void *data);
static void ngx_gcs_token_fetch_handler(void *data, ngx_int_t rc,
    ngx_gcs_response_t *res, ngx_str_t *err);
static ngx_int_t ngx_gcs_token_fetch_answer(ngx_gcs_token_t *token,
    ngx_gcs_response_t *res);
static ngx_int_t ngx_gcs_token_fetch_done(ngx_gcs_token_t *token);
static void ngx_gcs_token_fetch_failed(ngx_gcs_token_t *token, ngx_int_t rc,
    ngx_str_t *err, time_t retry_after);
static ngx_uint_t ngx_gcs_token_fetch_postpone(ngx_gcs_token_t *token,
    ngx_int_t rc, ngx_str_t *error);
static void ngx_gcs_token_fetch_end(ngx_gcs_token_t *token);


ngx_int_t
ngx_gcs_token_fetch(ngx_gcs_token_t *token)
{
    ngx_int_t  rc;
    ngx_str_t  err;

    if (token->grant) {
        return NGX_AGAIN;
    }

    rc = ngx_gcs_token_zone_lease(token, token->conf->timeout + 1000);

    if (rc != NGX_OK) {
        return rc;
    }

    ngx_log_debug2(NGX_LOG_DEBUG_EVENT, ngx_cycle->log, 0,
                   "gcs token fetch: \"%V\" #%ui",
                   &token->source->name, token->number);

    token->steps = 0;

    token->pool = ngx_create_pool(4096, ngx_cycle->log);

    if (token->pool) {
        ngx_gcs_token_fetch_source(token);

        ngx_gcs_source_stamp(&token->source->cred->subject.file,
                             &token->subject);

        token->grant = ngx_gcs_grant_create(token->pool, token->source->cred);
    }

    if (token->grant == NULL) {
        ngx_str_set(&err, "no memory");
        ngx_gcs_token_fetch_failed(token, NGX_ERROR, &err, 0);
        return NGX_DECLINED;
    }

    token->grant->account = token->account;

    if (ngx_gcs_token_zone_refresh_token(token) != NGX_OK) {
        ngx_str_set(&err, "no memory");
        ngx_gcs_token_fetch_failed(token, NGX_ERROR, &err, 0);
        return NGX_DECLINED;
    }

    return ngx_gcs_token_fetch_step(token);
}


void
ngx_gcs_token_fetch_source(ngx_gcs_token_t *token)
{
    ngx_uint_t   version;
    ngx_pool_t  *pool;

    version = token->source->version;

    ngx_gcs_source_refresh(token->source, ngx_gcs_token_zone_told, token);

    if (token->source->version == version) {
        return;
    }

    pool = ngx_create_pool(4096, ngx_cycle->log);
    if (pool == NULL) {
        return;
    }

    (void) ngx_gcs_credentials_fingerprint(pool, token->source->cred,
                                           token->id);

    ngx_destroy_pool(pool);
}


/* returns as ngx_gcs_token_fetch() */

static ngx_int_t
ngx_gcs_token_fetch_step(ngx_gcs_token_t *token)
{
    ngx_int_t           rc;
    ngx_str_t           err;
    ngx_gcs_request_t   req;
    ngx_gcs_response_t  res;

    while (token->steps++ < NGX_GCS_TOKEN_STEPS) {

        ngx_memzero(&req, sizeof(ngx_gcs_request_t));

        token->sent = ngx_current_msec;

        rc = ngx_gcs_grant_request(token->grant, ngx_time(), &req);

        if (rc == NGX_DONE) {
            return ngx_gcs_token_fetch_done(token);
        }

        if (rc != NGX_OK) {
            ngx_gcs_token_fetch_failed(token, rc, &token->grant->error, 0);
            return NGX_DECLINED;
        }

        if (req.method.len) {
            token->fetch = ngx_gcs_fetch(&req, token->conf,
                                         ngx_gcs_token_fetch_handler, token);
            if (token->fetch) {
                return NGX_AGAIN;
            }

            ngx_str_set(&err, "the request could not be sent");
            ngx_gcs_token_fetch_failed(token, NGX_ERROR, &err, 0);
            return NGX_DECLINED;
        }

        ngx_gcs_token_fetch_file(token, &req.url, &res);

        rc = ngx_gcs_token_fetch_answer(token, &res);

        if (rc != NGX_OK) {
            return rc;
        }
    }

    ngx_str_set(&err, "too many steps");
    ngx_gcs_token_fetch_failed(token, NGX_ERROR, &err, 0);

    return NGX_DECLINED;
}


/* a token on disk, projected there by the kubelet for one */

static void
ngx_gcs_token_fetch_file(ngx_gcs_token_t *token, ngx_str_t *file,
    ngx_gcs_response_t *res)
{
    ngx_int_t            rc;
    ngx_str_t            err, *text;
    ngx_pool_cleanup_t  *cln;

    ngx_memzero(res, sizeof(ngx_gcs_response_t));

    ngx_str_set(&err, "no memory");

    cln = ngx_pool_cleanup_add(token->pool, sizeof(ngx_str_t));

    if (cln == NULL) {
        res->body = err;
        return;
    }

    text = cln->data;

    rc = ngx_gcs_source_read(token->pool, file, NGX_GCS_SOURCE_MAX, text,
                             &err);

    if (rc != NGX_OK) {
        res->body = err;
        return;
    }

    cln->handler = ngx_gcs_token_fetch_wipe;

    res->status = 200;
    res->body = *text;
}


static void
ngx_gcs_token_fetch_wipe(void *data)
{
    ngx_str_t  *secret = data;

    ngx_explicit_memzero(secret->data, secret->len);
}


static void
ngx_gcs_token_fetch_handler(void *data, ngx_int_t rc,
    ngx_gcs_response_t *res, ngx_str_t *err)
{
    ngx_gcs_token_t  *token = data;

    ngx_gcs_response_t  none;

    token->fetch = NULL;

    if (rc != NGX_OK) {
        ngx_memzero(&none, sizeof(ngx_gcs_response_t));

        none.body = *err;
        res = &none;
    }

    if (ngx_gcs_token_fetch_answer(token, res) == NGX_OK) {
        (void) ngx_gcs_token_fetch_step(token);
    }
}


/* NGX_OK: there is another step; else as ngx_gcs_token_fetch() */

static ngx_int_t
ngx_gcs_token_fetch_answer(ngx_gcs_token_t *token, ngx_gcs_response_t *res)
{
    ngx_int_t         rc;
    ngx_gcs_grant_t  *grant;

    grant = token->grant;

    rc = ngx_gcs_grant_response(grant, res);

    switch (rc) {

    case NGX_OK:
        return ngx_gcs_token_fetch_done(token);

    case NGX_AGAIN:
        ngx_gcs_token_zone_renew(token, token->conf->timeout + 1000);
        return NGX_OK;

    default: /* NGX_BUSY, NGX_DECLINED, NGX_ERROR */
        ngx_gcs_token_fetch_failed(token, rc, &grant->error,
                                   grant->retry_after);
        return NGX_DECLINED;
    }
}


/* the grant has seen to it that token and lifetime are within bounds */

static ngx_int_t
ngx_gcs_token_fetch_done(ngx_gcs_token_t *token)
{
    ngx_msec_t        lifetime, spent;
    ngx_gcs_grant_t  *grant;

    grant = token->grant;

    /* the endpoint began to count at some time after the request was sent */

    lifetime = (ngx_msec_t) ngx_min(grant->lifetime, NGX_GCS_TOKEN_LIFETIME)
               * 1000;
    spent = ngx_current_msec - token->sent;
    lifetime -= ngx_min(spent, lifetime / 2);

    ngx_gcs_token_zone_success(token, &grant->token, lifetime);

    if (grant->account.len) {
        ngx_log_error(NGX_LOG_INFO, ngx_cycle->log, 0,
                      "gcs credentials \"%V\": token of \"%V\" refreshed, "
                      "expires in %M s",
                      &token->source->name, &grant->account, lifetime / 1000);

    } else {
        ngx_log_error(NGX_LOG_INFO, ngx_cycle->log, 0,
                      "gcs credentials \"%V\": token refreshed, "
                      "expires in %M s",
                      &token->source->name, lifetime / 1000);
    }

    ngx_gcs_token_fetch_end(token);

    return NGX_DONE;
}


static void
ngx_gcs_token_fetch_failed(ngx_gcs_token_t *token, ngx_int_t rc,
    ngx_str_t *err, time_t retry_after)
{
    size_t       i;
    char        *word;
    u_char       text[NGX_GCS_TOKEN_ERROR_MAX];
    ngx_str_t    error;
    ngx_uint_t   level;

    error.len = ngx_min(err->len, NGX_GCS_TOKEN_ERROR_MAX);
    error.data = text;

    /* some of the words are the endpoint's */

    for (i = 0; i < error.len; i++) {
        text[i] = (err->data[i] < 0x20 || err->data[i] == 0x7f)
                  ? ' ' : err->data[i];
    }

    if (error.len == 0) {
        ngx_str_set(&error, "no memory");
    }

    if (ngx_gcs_token_fetch_postpone(token, rc, &error)) {
        return;
    }

    word = token->grant ? token->grant->word : NULL;

    ngx_gcs_token_zone_failure(token, &error, word, retry_after);
    ngx_gcs_token_zone_sync(token);

    level = ngx_gcs_token_valid(token) ? NGX_LOG_WARN : NGX_LOG_ERR;

    ngx_log_error(level, ngx_cycle->log, 0,
                  "gcs credentials \"%V\": token could not be fetched: %V",
                  &token->source->name, &error);

    ngx_gcs_token_fetch_end(token);
}


/*
 * The metadata server of GKE answers only some seconds after the start of a
 * pod.
 */

static ngx_uint_t
ngx_gcs_token_fetch_postpone(ngx_gcs_token_t *token, ngx_int_t rc,
    ngx_str_t *error)
{
    if (rc != NGX_BUSY
        || token->slot->generation
        || token->grant == NULL
        || !ngx_gcs_grant_patient(token->grant)
        || !ngx_gcs_token_young())
    {
        return 0;
    }

    if (ngx_gcs_token_zone_postpone(token)) {
        ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                      "gcs credentials \"%V\": the metadata server is not "
                      "ready, waiting for it: %V",
                      &token->source->name, error);
    }

    ngx_gcs_token_fetch_end(token);

    return 1;
}


void
ngx_gcs_token_fetch_cancel(ngx_gcs_token_t *token)
{
    if (token->grant == NULL) {
        return;
    }

    if (token->fetch) {
        ngx_gcs_fetch_cancel(token->fetch);
        token->fetch = NULL;
    }

    ngx_gcs_token_zone_release(token);
    ngx_gcs_token_fetch_end(token);
}


static void
ngx_gcs_token_fetch_end(ngx_gcs_token_t *token)
{
    /* the grant has left cleanups that wipe its secrets */

    if (token->pool) {
        ngx_destroy_pool(token->pool);
    }

    token->pool = NULL;
    token->grant = NULL;

    ngx_gcs_token_fetch_ended(token);
}
