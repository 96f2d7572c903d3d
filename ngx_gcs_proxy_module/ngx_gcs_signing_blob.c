
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_gcs_signing_flight.h"


/* Asks IAM Credentials for the signature, with the signer's token. */


#define NGX_GCS_SIGNING_TRIES   3
#define NGX_GCS_SIGNING_DELAY   100         /* ms, before the second try */


static void ngx_gcs_signing_blob_token(ngx_gcs_token_waiter_t *waiter,
    ngx_int_t rc);
static ngx_int_t ngx_gcs_signing_blob_no_token(ngx_gcs_signing_t *signing);
static ngx_int_t ngx_gcs_signing_blob_send(ngx_gcs_signing_t *signing,
    ngx_str_t *token);
static ngx_int_t ngx_gcs_signing_blob_error(ngx_gcs_signing_t *signing,
    char *text);
static void ngx_gcs_signing_blob_handler(void *data, ngx_int_t rc,
    ngx_gcs_response_t *res, ngx_str_t *err);
static ngx_int_t ngx_gcs_signing_blob_refused(ngx_gcs_signing_t *signing,
    ngx_int_t rc, ngx_uint_t status);
static void ngx_gcs_signing_blob_again(ngx_event_t *ev);


ngx_int_t
ngx_gcs_signing_blob(ngx_gcs_signing_t *signing)
{
    ngx_int_t          rc;
    ngx_str_t          token;
    ngx_gcs_signer_t  *signer;

    signer = signing->req.signer;

    rc = ngx_gcs_token_get(signer->token, &token, &signing->generation);

    if (rc == NGX_OK) {
        return ngx_gcs_signing_blob_send(signing, &token);
    }

    if (rc == NGX_AGAIN) {
        signing->token.handler = ngx_gcs_signing_blob_token;
        signing->token.data = signing;
        signing->token.log = ngx_cycle->log;

        ngx_gcs_token_wait(signer->token, &signing->token,
                           signer->conf->timeout);
        return NGX_AGAIN;
    }

    return ngx_gcs_signing_blob_no_token(signing);
}


static void
ngx_gcs_signing_blob_token(ngx_gcs_token_waiter_t *waiter, ngx_int_t rc)
{
    ngx_gcs_signing_t  *signing;

    signing = waiter->data;

    rc = (rc == NGX_OK) ? ngx_gcs_signing_blob(signing)
                        : ngx_gcs_signing_blob_no_token(signing);

    if (rc != NGX_AGAIN) {
        ngx_gcs_signing_failed(signing);
    }
}


/* the token's word is the worker's copy: only a constant one is kept */

static ngx_int_t
ngx_gcs_signing_blob_no_token(ngx_gcs_signing_t *signing)
{
    ngx_str_t  *reason;

    reason = ngx_gcs_token_error(signing->req.signer->token, NULL);

    ngx_gcs_signing_error(signing, reason, "token_unavailable");

    return NGX_DECLINED;
}


static ngx_int_t
ngx_gcs_signing_blob_send(ngx_gcs_signing_t *signing, ngx_str_t *token)
{
    ngx_gcs_signer_t           *signer;
    ngx_gcs_request_t           req;
    ngx_gcs_signing_request_t  *what;

    what = &signing->req;
    signer = what->signer;

    ngx_memzero(&req, sizeof(ngx_gcs_request_t));

    signing->tries++;

    signing->try_pool = ngx_create_pool(4096, ngx_cycle->log);
    if (signing->try_pool == NULL) {
        return ngx_gcs_signing_blob_error(signing, "no memory");
    }

    signing->grant = ngx_gcs_grant_blob(signing->try_pool,
                                        signer->source->cred, &what->account,
                                        token, &what->text);

    if (signing->grant == NULL
        || ngx_gcs_grant_request(signing->grant, ngx_time(), &req) != NGX_OK)
    {
        return ngx_gcs_signing_blob_error(signing, "no memory");
    }

    signing->fetch = ngx_gcs_fetch(&req, signer->conf,
                                   ngx_gcs_signing_blob_handler, signing);

    if (signing->fetch == NULL) {
        return ngx_gcs_signing_blob_error(signing,
                                          "the request could not be sent");
    }

    return NGX_AGAIN;
}


static ngx_int_t
ngx_gcs_signing_blob_error(ngx_gcs_signing_t *signing, char *text)
{
    ngx_str_t  reason;

    reason.len = ngx_strlen(text);
    reason.data = (u_char *) text;

    ngx_gcs_signing_error(signing, &reason, NULL);

    return NGX_DECLINED;
}


static void
ngx_gcs_signing_blob_handler(void *data, ngx_int_t rc,
    ngx_gcs_response_t *res, ngx_str_t *err)
{
    ngx_gcs_signing_t  *signing = data;

    ngx_gcs_response_t  none;

    signing->fetch = NULL;

    if (rc != NGX_OK) {
        ngx_memzero(&none, sizeof(ngx_gcs_response_t));

        none.body = *err;
        res = &none;
    }

    rc = ngx_gcs_grant_response(signing->grant, res);

    if (rc == NGX_OK) {
        ngx_gcs_signing_done(signing, &signing->grant->blob);
        return;
    }

    if (ngx_gcs_signing_blob_refused(signing, rc, res->status) != NGX_AGAIN) {
        ngx_gcs_signing_failed(signing);
    }
}


static ngx_int_t
ngx_gcs_signing_blob_refused(ngx_gcs_signing_t *signing, ngx_int_t rc,
    ngx_uint_t status)
{
    ngx_msec_t         delay;
    ngx_gcs_grant_t   *grant;
    ngx_gcs_signer_t  *signer;

    grant = signing->grant;
    signer = signing->req.signer;

    if (status == 401 && !signing->rejected
        && ngx_gcs_token_reject(signer->token, signing->generation) == NGX_OK)
    {
        signing->rejected = 1;
        ngx_gcs_signing_blob_cancel(signing);

        return ngx_gcs_signing_blob(signing);
    }

    delay = NGX_GCS_SIGNING_DELAY << (2 * (signing->tries - 1));

    /* those who wait will not do so for long */

    if (rc == NGX_BUSY && signing->tries < NGX_GCS_SIGNING_TRIES
        && grant->retry_after <= 2)
    {
        delay = ngx_max(delay, (ngx_msec_t) grant->retry_after * 1000);

        ngx_gcs_signing_blob_cancel(signing);
        ngx_gcs_signing_sleep(signing, ngx_gcs_signing_blob_again, delay);

        return NGX_AGAIN;
    }

    ngx_gcs_signing_error(signing, &grant->error, grant->word);

    return NGX_DECLINED;
}


static void
ngx_gcs_signing_blob_again(ngx_event_t *ev)
{
    ngx_gcs_signing_t  *signing;

    signing = ngx_gcs_signing_of(ev);

    if (ngx_gcs_signing_blob(signing) != NGX_AGAIN) {
        ngx_gcs_signing_failed(signing);
    }
}


void
ngx_gcs_signing_blob_cancel(ngx_gcs_signing_t *signing)
{
    ngx_gcs_token_cancel(&signing->token);

    if (signing->fetch) {
        ngx_gcs_fetch_cancel(signing->fetch);
        signing->fetch = NULL;
    }

    /* with the copies of the token */

    if (signing->try_pool) {
        ngx_destroy_pool(signing->try_pool);
        signing->try_pool = NULL;
        signing->grant = NULL;
    }
}
