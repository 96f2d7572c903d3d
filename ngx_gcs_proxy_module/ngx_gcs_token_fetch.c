
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_gcs_token_zone.h"


#define NGX_GCS_TOKEN_STEPS      8
#define NGX_GCS_TOKEN_LIFETIME   604800     /* seconds, a longer is cut */


static ngx_int_t ngx_gcs_token_fetch_step(ngx_gcs_token_t *token);
static void ngx_gcs_token_fetch_handler(void *data, ngx_int_t rc,
    ngx_gcs_response_t *res, ngx_str_t *err);
static void ngx_gcs_token_fetch_done(ngx_gcs_token_t *token);
static void ngx_gcs_token_fetch_failed(ngx_gcs_token_t *token,
    ngx_str_t *err, time_t retry_after);
static void ngx_gcs_token_fetch_end(ngx_gcs_token_t *token);


ngx_int_t
ngx_gcs_token_fetch(ngx_gcs_token_t *token)
{
    ngx_int_t   rc;
    ngx_str_t   err;

    if (token->grant) {
        return NGX_AGAIN;
    }

    rc = ngx_gcs_token_zone_lease(token, token->conf->timeout + 1000);

    if (rc != NGX_OK) {
        return rc;
    }

    ngx_log_debug2(NGX_LOG_DEBUG_EVENT, ngx_cycle->log, 0,
                   "gcs token fetch: \"%V\" #%ui",
                   &token->name, token->number);

    token->steps = 0;

    token->pool = ngx_create_pool(4096, ngx_cycle->log);

    if (token->pool) {
        token->grant = ngx_gcs_grant_create(token->pool, token->cred);
    }

    if (token->grant == NULL) {
        ngx_str_set(&err, "no memory");
        ngx_gcs_token_fetch_failed(token, &err, 0);
        return NGX_DECLINED;
    }

    if (ngx_gcs_token_fetch_step(token) != NGX_OK) {
        return NGX_DECLINED;
    }

    return NGX_AGAIN;
}


static ngx_int_t
ngx_gcs_token_fetch_step(ngx_gcs_token_t *token)
{
    ngx_str_t          err;
    ngx_gcs_request_t  req;

    ngx_memzero(&req, sizeof(ngx_gcs_request_t));

    if (token->steps++ == NGX_GCS_TOKEN_STEPS) {
        ngx_str_set(&err, "too many steps");
        goto failed;
    }

    if (ngx_gcs_grant_request(token->grant, ngx_time(), &req) != NGX_OK) {
        err = token->grant->error;
        goto failed;
    }

    token->sent = ngx_current_msec;
    token->fetch = ngx_gcs_fetch(&req, token->conf,
                                 ngx_gcs_token_fetch_handler, token);

    if (token->fetch == NULL) {
        ngx_str_set(&err, "the request could not be sent");
        goto failed;
    }

    return NGX_OK;

failed:

    ngx_gcs_token_fetch_failed(token, &err, 0);

    return NGX_ERROR;
}


static void
ngx_gcs_token_fetch_handler(void *data, ngx_int_t rc,
    ngx_gcs_response_t *res, ngx_str_t *err)
{
    ngx_gcs_token_t  *token = data;

    ngx_gcs_grant_t  *grant;

    token->fetch = NULL;

    if (rc != NGX_OK) {
        ngx_gcs_token_fetch_failed(token, err, 0);
        return;
    }

    grant = token->grant;

    switch (ngx_gcs_grant_response(grant, res)) {

    case NGX_OK:
        ngx_gcs_token_fetch_done(token);
        return;

    case NGX_AGAIN:
        ngx_gcs_token_zone_renew(token, token->conf->timeout + 1000);
        (void) ngx_gcs_token_fetch_step(token);
        return;

    default: /* NGX_BUSY, NGX_DECLINED, NGX_ERROR */
        ngx_gcs_token_fetch_failed(token, &grant->error, grant->retry_after);
        return;
    }
}


static void
ngx_gcs_token_fetch_done(ngx_gcs_token_t *token)
{
    ngx_str_t         err;
    ngx_msec_t        lifetime, spent;
    ngx_gcs_grant_t  *grant;

    grant = token->grant;

    if (grant->token.len == 0
        || grant->token.len > NGX_GCS_TOKEN_MAX
        || grant->lifetime <= 0)
    {
        ngx_str_set(&err, "the token is empty, too long or expired");
        ngx_gcs_token_fetch_failed(token, &err, 0);
        return;
    }

    /* the endpoint began to count at some time after the request was sent */

    lifetime = (ngx_msec_t) ngx_min(grant->lifetime, NGX_GCS_TOKEN_LIFETIME)
               * 1000;
    spent = ngx_current_msec - token->sent;
    lifetime -= ngx_min(spent, lifetime / 2);

    ngx_gcs_token_zone_success(token, &grant->token, lifetime);

    ngx_log_error(NGX_LOG_INFO, ngx_cycle->log, 0,
                  "gcs credentials \"%V\": token refreshed, expires in %M s",
                  &token->name, lifetime / 1000);

    ngx_gcs_token_fetch_end(token);
}


static void
ngx_gcs_token_fetch_failed(ngx_gcs_token_t *token, ngx_str_t *err,
    time_t retry_after)
{
    size_t       i;
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

    ngx_gcs_token_zone_failure(token, &error, retry_after);
    ngx_gcs_token_zone_sync(token);

    level = ngx_gcs_token_valid(token) ? NGX_LOG_WARN : NGX_LOG_ERR;

    ngx_log_error(level, ngx_cycle->log, 0,
                  "gcs credentials \"%V\": token could not be fetched: %V",
                  &token->name, &error);

    ngx_gcs_token_fetch_end(token);
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
