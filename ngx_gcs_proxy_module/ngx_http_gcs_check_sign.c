
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "ngx_http_gcs.h"


/*
 * A step of "gcs_check": a URL is signed as "gcs_mode presign" would, and
 * asked for as a browser would.  It is good for a minute, and is forgotten as
 * soon as it has been sent.
 */


#define NGX_HTTP_GCS_CHECK_TTL  60


static ngx_int_t ngx_http_gcs_check_sign_begin(ngx_http_gcs_check_run_t *run,
    ngx_pool_t *pool);
static ngx_int_t ngx_http_gcs_check_sign_here(ngx_http_gcs_check_run_t *run,
    ngx_pool_t *pool, ngx_gcs_sign_url_t *url);
static ngx_int_t ngx_http_gcs_check_sign_iam(ngx_http_gcs_check_run_t *run,
    ngx_pool_t *pool, ngx_gcs_sign_url_t *url);
static ngx_int_t ngx_http_gcs_check_sign_wait(ngx_http_gcs_check_run_t *run,
    ngx_gcs_token_t *token);
static void ngx_http_gcs_check_sign_token(ngx_gcs_token_waiter_t *waiter,
    ngx_int_t rc);
static void ngx_http_gcs_check_sign_handler(ngx_gcs_signing_waiter_t *waiter,
    ngx_int_t rc);
static ngx_int_t ngx_http_gcs_check_signed(ngx_http_gcs_check_run_t *run,
    ngx_str_t *url);
static void ngx_http_gcs_check_unsigned(ngx_http_gcs_check_run_t *run,
    ngx_int_t rc, char *word);
static ngx_int_t ngx_http_gcs_check_sign_answer(
    ngx_http_gcs_check_run_t *run, ngx_gcs_response_t *res);


ngx_int_t
ngx_http_gcs_check_sign(ngx_http_gcs_check_run_t *run)
{
    char                  *reason;
    ngx_int_t              rc;
    ngx_pool_t            *pool;
    ngx_http_gcs_signs_e   signs;

    if (!run->authorized) {
        return NGX_OK;
    }

    signs = ngx_http_gcs_signs(run->identity);
    reason = NULL;

    if (run->identity->source.cred == NULL) {
        reason = "who is anonymous cannot sign";

    } else if (signs == NGX_HTTP_GCS_SIGNS_NOT) {
        reason = "a login or a federated identity is no account, and cannot "
                 "sign: \"impersonate\" names one that can";

    } else if (signs == NGX_HTTP_GCS_SIGNS_IAM
               && run->identity->signer == NULL)
    {
        reason = "IAM would have to sign, which no location wants: say "
                 "\"require=sign\" to have it tried";

    } else if (run->object.len == 0) {
        reason = "there is no object to ask for";

        run->report.steps[NGX_GCS_CHECK_SIGN].exempt = run->empty;
    }

    if (reason) {
        ngx_gcs_check_say(&run->report, NGX_GCS_CHECK_SIGN,
                          NGX_GCS_CHECK_SKIPPED, reason);
        return NGX_OK;
    }

    pool = ngx_create_pool(2048, ngx_cycle->log);
    if (pool == NULL) {
        return NGX_ERROR;
    }

    rc = ngx_http_gcs_check_sign_begin(run, pool);

    ngx_destroy_pool(pool);

    return rc;
}


static ngx_int_t
ngx_http_gcs_check_sign_begin(ngx_http_gcs_check_run_t *run, ngx_pool_t *pool)
{
    ngx_keyval_t              *param;
    ngx_gcs_sign_url_t         url;
    ngx_http_gcs_address_t    *address;
    ngx_http_gcs_check_ask_t   ask;

    ngx_memzero(&ask, sizeof(ngx_http_gcs_check_ask_t));

    if (ngx_http_gcs_check_ask_object(run, pool, &ask) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_memzero(&url, sizeof(ngx_gcs_sign_url_t));

    address = ngx_http_gcs_address(run->check->conf);

    ngx_str_set(&url.method, "GET");

    if (address->tls) {
        ngx_str_set(&url.scheme, "https");

    } else {
        ngx_str_set(&url.scheme, "http");
    }

    url.host = address->host;
    url.signed_host = address->host;
    url.path = ask.path;
    url.now = ngx_time();
    url.expires = NGX_HTTP_GCS_CHECK_TTL;

    if (run->user_project.len) {
        url.params = ngx_array_create(pool, 1, sizeof(ngx_keyval_t));
        if (url.params == NULL) {
            return NGX_ERROR;
        }

        param = ngx_array_push(url.params);
        if (param == NULL) {
            return NGX_ERROR;
        }

        ngx_str_set(&param->key, "userProject");
        param->value = run->user_project;
    }

    if (ngx_http_gcs_signs(run->identity) == NGX_HTTP_GCS_SIGNS_HERE) {
        return ngx_http_gcs_check_sign_here(run, pool, &url);
    }

    return ngx_http_gcs_check_sign_iam(run, pool, &url);
}


static ngx_int_t
ngx_http_gcs_check_sign_here(ngx_http_gcs_check_run_t *run, ngx_pool_t *pool,
    ngx_gcs_sign_url_t *url)
{
    ngx_int_t               rc;
    ngx_str_t               result;
    ngx_gcs_credentials_t  *cred;

    cred = run->identity->source.cred;

    if (ngx_http_gcs_hmac(run->identity)) {
        ngx_http_gcs_hmac_renew(run->identity);

        url->account = cred->access_id;

        rc = ngx_gcs_sign_url_hmac(pool, &cred->secret, &run->identity->key,
                                   url, &result);

    } else {
        url->account = cred->client_email;

        rc = ngx_gcs_sign_url_rsa(pool, cred->key, url, &result);
    }

    if (rc != NGX_OK) {
        ngx_http_gcs_check_unsigned(run, rc, NULL);
        return NGX_OK;
    }

    rc = ngx_http_gcs_check_signed(run, &result);

    ngx_explicit_memzero(result.data, result.len);

    return rc;
}


static ngx_int_t
ngx_http_gcs_check_sign_iam(ngx_http_gcs_check_run_t *run, ngx_pool_t *pool,
    ngx_gcs_sign_url_t *url)
{
    ngx_int_t                   rc;
    ngx_str_t                   value;
    ngx_msec_t                  left;
    ngx_uint_t                  generation;
    ngx_gcs_signer_t           *signer;
    ngx_gcs_credentials_t      *cred;
    ngx_gcs_signing_request_t   req;

    signer = run->identity->signer;
    cred = signer->source->cred;

    rc = ngx_gcs_token_get(signer->token, &value, &generation);

    if (rc == NGX_AGAIN) {
        return ngx_http_gcs_check_sign_wait(run, signer->token);
    }

    if (rc != NGX_OK) {
        ngx_http_gcs_check_token_failed(run, signer->token,
                                        NGX_GCS_CHECK_SIGN, rc);
        return NGX_OK;
    }

    url->account = cred->signer ? cred->signer->email
                                : *ngx_gcs_token_account(signer->token);

    ngx_memzero(&req, sizeof(ngx_gcs_signing_request_t));

    rc = ngx_gcs_sign_url_text(pool, url, &req.text, &req.unsigned_url);

    if (rc != NGX_OK) {
        ngx_http_gcs_check_unsigned(run, rc, NULL);
        return NGX_OK;
    }

    req.signer = signer;
    req.account = url->account;
    req.until = url->now + url->expires;

    run->signing.handler = ngx_http_gcs_check_sign_handler;
    run->signing.data = run;
    run->signing.log = ngx_cycle->log;

    left = ngx_http_gcs_check_left(run, NGX_HTTP_GCS_CHECK_STEP);

    rc = left ? ngx_gcs_signing(&req, NULL, &run->signing, left)
              : NGX_DECLINED;

    if (rc == NGX_AGAIN) {

        /* the requests that wait for the run keep a worker, not the run */

        run->signing.wait.timer.cancelable = 1;

        return NGX_AGAIN;
    }

    if (rc == NGX_DECLINED) {
        ngx_http_gcs_check_unsigned(run, rc, run->signing.word);
        return NGX_OK;
    }

    return NGX_ERROR;
}


static ngx_int_t
ngx_http_gcs_check_sign_wait(ngx_http_gcs_check_run_t *run,
    ngx_gcs_token_t *token)
{
    ngx_msec_t  left;

    left = ngx_http_gcs_check_left(run, run->check->conf->token_timeout);

    if (left == 0) {
        ngx_http_gcs_check_token_failed(run, token, NGX_GCS_CHECK_SIGN,
                                        NGX_AGAIN);
        return NGX_OK;
    }

    ngx_http_gcs_check_token_wait(run, token, ngx_http_gcs_check_sign_token,
                                  left);

    return NGX_AGAIN;
}


static void
ngx_http_gcs_check_sign_token(ngx_gcs_token_waiter_t *waiter, ngx_int_t rc)
{
    ngx_http_gcs_check_run_t  *run;

    run = waiter->data;

    ngx_http_gcs_check_time(run, NGX_GCS_CHECK_SIGN);

    if (rc == NGX_OK) {

        /* from its beginning, with the token */

        ngx_http_gcs_check_go(run);
        return;
    }

    ngx_http_gcs_check_token_failed(run, waiter->token, NGX_GCS_CHECK_SIGN,
                                    rc);

    ngx_http_gcs_check_resume(run, NGX_OK);
}


static void
ngx_http_gcs_check_sign_handler(ngx_gcs_signing_waiter_t *waiter, ngx_int_t rc)
{
    ngx_http_gcs_check_run_t  *run;

    run = waiter->data;

    ngx_http_gcs_check_time(run, NGX_GCS_CHECK_SIGN);

    if (rc == NGX_OK) {
        ngx_http_gcs_check_resume(run,
                                  ngx_http_gcs_check_signed(run,
                                                            &waiter->url));
        return;
    }

    ngx_http_gcs_check_unsigned(run, rc, waiter->word);

    ngx_http_gcs_check_resume(run, NGX_OK);
}


static ngx_int_t
ngx_http_gcs_check_signed(ngx_http_gcs_check_run_t *run, ngx_str_t *url)
{
    ngx_http_gcs_check_ask_t  ask;

    ngx_memzero(&ask, sizeof(ngx_http_gcs_check_ask_t));

    ask.method = "GET";
    ask.url = *url;
    ask.range = (run->size != 0);
    ask.limit = 32768;
    ask.stranger = 1;

    return ngx_http_gcs_check_ask(run, NGX_GCS_CHECK_SIGN, &ask,
                                  ngx_http_gcs_check_sign_answer);
}


/* the log has the words of IAM, here is only the one of ours */

static void
ngx_http_gcs_check_unsigned(ngx_http_gcs_check_run_t *run, ngx_int_t rc,
    char *word)
{
    ngx_gcs_check_refusal_t  refusal;

    ngx_memzero(&refusal, sizeof(ngx_gcs_check_refusal_t));

    if (word) {
        refusal.code.data = (u_char *) word;
        refusal.code.len = ngx_strlen(word);
        refusal.text = refusal.code;

    } else {
        ngx_str_set(&refusal.text, "the signature was not made");
    }

    ngx_gcs_check_say(&run->report, NGX_GCS_CHECK_SIGN, NGX_GCS_CHECK_FAILED,
                      rc == NGX_AGAIN ? "IAM did not sign a URL in time"
                                      : "a URL could not be signed");
    ngx_gcs_check_explain(&run->report, NGX_GCS_CHECK_SIGN, &refusal);
}


static ngx_int_t
ngx_http_gcs_check_sign_answer(ngx_http_gcs_check_run_t *run,
    ngx_gcs_response_t *res)
{
    if (res->status == NGX_HTTP_OK
        || res->status == NGX_HTTP_PARTIAL_CONTENT
        || res->status == NGX_HTTP_RANGE_NOT_SATISFIABLE)
    {
        ngx_gcs_check_say(&run->report, NGX_GCS_CHECK_SIGN, NGX_GCS_CHECK_OK,
                          "a URL was signed by %s, and it works",
                          ngx_http_gcs_signs(run->identity)
                          == NGX_HTTP_GCS_SIGNS_HERE ? "the key" : "IAM");
        return NGX_OK;
    }

    return ngx_http_gcs_check_refused(run, NGX_GCS_CHECK_SIGN, res,
                                      "a URL was signed, but does not work");
}
