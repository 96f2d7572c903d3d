
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "ngx_http_gcs.h"


/*
 * Makes the signed URL of a request, by a key or by IAM, or takes it from the
 * cache.
 */


/* seconds: how long a URL by IAM is the same if nothing is said */
#define NGX_HTTP_GCS_SIGNATURE_WINDOW  300


static ngx_int_t ngx_http_gcs_signature_url(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx, ngx_http_gcs_signs_e signs,
    ngx_gcs_sign_url_t *url);
static ngx_int_t ngx_http_gcs_signature_address(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx, ngx_gcs_sign_url_t *url);
static ngx_int_t ngx_http_gcs_signature_account(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx, ngx_gcs_sign_url_t *url,
    ngx_http_gcs_resume_pt resume);
static ngx_int_t ngx_http_gcs_signature_digest(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx, ngx_gcs_sign_url_t *url, u_char *digest);
static u_char *ngx_http_gcs_signature_add(u_char *p, ngx_str_t *value);
static ngx_int_t ngx_http_gcs_signature_here(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx, ngx_gcs_sign_url_t *url);
static ngx_int_t ngx_http_gcs_signature_wait(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx, ngx_gcs_sign_url_t *url, u_char *digest,
    ngx_http_gcs_resume_pt resume);
static void ngx_http_gcs_signature_handler(ngx_gcs_signing_waiter_t *waiter,
    ngx_int_t rc);
static ngx_int_t ngx_http_gcs_signature_failed(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx, ngx_int_t rc, char *word);
static ngx_int_t ngx_http_gcs_signature_cannot(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx, char *reason);


ngx_http_gcs_signs_e
ngx_http_gcs_signs(ngx_http_gcs_identity_t *identity)
{
    ngx_gcs_credentials_t  *cred;

    cred = identity->source.cred;

    if (cred == NULL) {
        return NGX_HTTP_GCS_SIGNS_NOT;
    }

    if (cred->impersonations.nelts) {
        return NGX_HTTP_GCS_SIGNS_IAM;
    }

    switch (cred->type) {

    case NGX_GCS_SERVICE_ACCOUNT:
    case NGX_GCS_HMAC_KEY:
        return NGX_HTTP_GCS_SIGNS_HERE;

    case NGX_GCS_METADATA_SERVER:
        return NGX_HTTP_GCS_SIGNS_IAM;

    default: /* a login or a federated identity is no account */
        return NGX_HTTP_GCS_SIGNS_NOT;
    }
}


ngx_int_t
ngx_http_gcs_sign_url(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx,
    ngx_http_gcs_resume_pt resume)
{
    u_char                    digest[NGX_GCS_SHA256_LEN];
    ngx_int_t                 rc;
    ngx_gcs_sign_url_t        url;
    ngx_gcs_url_cache_t      *cache;
    ngx_http_gcs_signs_e      signs;
    ngx_http_gcs_loc_conf_t  *glcf;

    if (ctx->signed_url.len) {
        return NGX_OK;
    }

    if (ctx->unsigned_url) {
        return NGX_HTTP_BAD_GATEWAY;
    }

    signs = ngx_http_gcs_signs(ctx->identity);

    if (signs == NGX_HTTP_GCS_SIGNS_NOT) {
        return ngx_http_gcs_signature_cannot(r, ctx, "");
    }

    if (signs == NGX_HTTP_GCS_SIGNS_IAM && ctx->identity->signer == NULL) {
        return ngx_http_gcs_signature_cannot(r, ctx, " by IAM: nothing was "
                   "prepared for it when nginx was started");
    }

    rc = ngx_http_gcs_signature_url(r, ctx, signs, &url);
    if (rc != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_http_gcs_signature_account(r, ctx, &url, resume);
    if (rc != NGX_OK) {
        return rc;
    }

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);

    cache = glcf->url_cache;

    if (cache) {
        rc = ngx_http_gcs_signature_digest(r, ctx, &url, digest);

        if (rc == NGX_OK) {
            rc = ngx_gcs_url_cache_get(cache, digest, r->pool,
                                       &ctx->signed_url, &ctx->signed_until);
        }

        if (rc == NGX_OK) {
            ngx_gcs_metrics_add(ctx->identity->metrics, NGX_GCS_METRICS_HITS,
                                1);
            return NGX_OK;
        }

        if (rc == NGX_ERROR) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        ngx_gcs_metrics_add(ctx->identity->metrics, NGX_GCS_METRICS_MISSES, 1);
    }

    if (signs == NGX_HTTP_GCS_SIGNS_IAM || (resume && !url.hmac)) {
        return ngx_http_gcs_signature_wait(r, ctx, &url,
                                           cache ? digest : NULL, resume);
    }

    rc = ngx_http_gcs_signature_here(r, ctx, &url);

    if (rc == NGX_OK && cache) {
        (void) ngx_gcs_url_cache_set(cache, digest, &ctx->signed_url,
                                     ctx->signed_until);
    }

    return rc;
}


static ngx_int_t
ngx_http_gcs_signature_url(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx,
    ngx_http_gcs_signs_e signs, ngx_gcs_sign_url_t *url)
{
    time_t                    window;
    ngx_http_gcs_loc_conf_t  *glcf;

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);

    ngx_memzero(url, sizeof(ngx_gcs_sign_url_t));

    url->method = *ngx_http_gcs_presign_what(r);
    url->hmac = ngx_http_gcs_hmac(ctx->identity);
    url->now = ngx_time();
    url->expires = glcf->presign_ttl;

    window = glcf->presign_window;

    if (window == NGX_CONF_UNSET) {

        /* each call of IAM takes a while, and there is a quota */

        window = (signs == NGX_HTTP_GCS_SIGNS_IAM)
                 ? ngx_min(NGX_HTTP_GCS_SIGNATURE_WINDOW, url->expires / 3)
                 : 0;
    }

    if (window) {

        /* everybody gets the same URL until the window is over */

        url->now -= url->now % window;
    }

    if (glcf->presign_query) {
        url->params = ngx_http_gcs_presign_pairs(r, glcf->presign_query);
        if (url->params == NULL) {
            return NGX_ERROR;
        }
    }

    if (glcf->presign_headers) {
        url->headers = ngx_http_gcs_presign_pairs(r, glcf->presign_headers);
        if (url->headers == NULL) {
            return NGX_ERROR;
        }
    }

    return ngx_http_gcs_signature_address(r, ctx, url);
}


static ngx_int_t
ngx_http_gcs_signature_address(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx,
    ngx_gcs_sign_url_t *url)
{
    u_char                       *p;
    size_t                        bucket;
    ngx_http_gcs_address_t       *address;
    ngx_http_gcs_loc_conf_t      *glcf;
    ngx_http_gcs_presign_host_t  *host;

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);

    host = glcf->presign_host;
    address = ngx_http_gcs_address(glcf);

    url->path = ctx->uri;
    url->host = address->host;

    if (address->tls) {
        ngx_str_set(&url->scheme, "https");

    } else {
        ngx_str_set(&url->scheme, "http");
    }

    if (host->style != NGX_HTTP_GCS_PATH_STYLE) {

        /* without the bucket, which has no character that is escaped */

        bucket = 1 + ctx->object.bucket.len;

        url->path.data += bucket;
        url->path.len -= bucket;
    }

    if (host->style == NGX_HTTP_GCS_VIRTUAL_STYLE) {

        p = ngx_pnalloc(r->pool,
                        ctx->object.bucket.len + 1 + address->host.len);
        if (p == NULL) {
            return NGX_ERROR;
        }

        url->host.data = p;
        url->host.len = ngx_sprintf(p, "%V.%V", &ctx->object.bucket,
                                    &address->host)
                        - p;

    } else if (host->style == NGX_HTTP_GCS_BOUND_STYLE) {
        url->host = host->host;

        if (host->tls) {
            ngx_str_set(&url->scheme, "https");

        } else {
            ngx_str_set(&url->scheme, "http");
        }
    }

    url->signed_host = url->host;

    return NGX_OK;
}


/* whose signature it is; of the metadata server's account, its answer tells */

static ngx_int_t
ngx_http_gcs_signature_account(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx,
    ngx_gcs_sign_url_t *url, ngx_http_gcs_resume_pt resume)
{
    ngx_int_t               rc;
    ngx_str_t               token, *account;
    ngx_uint_t              generation;
    ngx_gcs_token_t        *signer;
    ngx_gcs_credentials_t  *cred;

    cred = ctx->identity->source.cred;

    if (url->hmac) {
        url->account = cred->access_id;
        return NGX_OK;
    }

    if (ngx_http_gcs_signs(ctx->identity) == NGX_HTTP_GCS_SIGNS_HERE) {
        url->account = cred->client_email;
        return NGX_OK;
    }

    cred = ctx->identity->signer->source->cred;

    if (cred->signer) {
        url->account = cred->signer->email;
        return NGX_OK;
    }

    signer = ctx->identity->signer->token;
    account = ngx_gcs_token_account(signer);

    if (account->len == 0) {
        rc = ngx_gcs_token_get(signer, &token, &generation);

        if (rc == NGX_AGAIN && resume == NULL) {
            return ngx_http_gcs_signature_cannot(r, ctx,
                       " before the access phase: IAM signs");
        }

        if (rc == NGX_AGAIN) {
            return ngx_http_gcs_wait_token(r, ctx, signer, resume);
        }

        if (rc != NGX_OK) {
            return ngx_http_gcs_token_failed(r, ctx, signer, rc);
        }

        account = ngx_gcs_token_account(signer);
    }

    if (ngx_strlchr(account->data, account->data + account->len, '@')
        == NULL)
    {
        return ngx_http_gcs_signature_cannot(r, ctx, ": the metadata server "
                   "names no service account; set \"impersonate\" to one");
    }

    url->account = *account;

    return NGX_OK;
}


/* of all that enters the signature, and of who makes it */

static ngx_int_t
ngx_http_gcs_signature_digest(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx,
    ngx_gcs_sign_url_t *url, u_char *digest)
{
    size_t        len;
    u_char       *p;
    ngx_str_t     text, number, none, *value;
    ngx_uint_t    i, n, params, headers;
    ngx_array_t  *pairs[2];
    ngx_str_t    *fields[] = {
        &ctx->identity->name, &ctx->identity->source.cred->private_key_id,
        &url->account, &url->method, &url->scheme, &url->host, &url->path,
        &number, NULL
    };

    time_t        times[2];

    times[0] = url->now;
    times[1] = url->expires;

    number.data = (u_char *) times;
    number.len = sizeof(times);

    ngx_str_null(&none);

    pairs[0] = url->params;
    pairs[1] = url->headers;

    params = url->params ? url->params->nelts * 2 : 0;
    headers = url->headers ? url->headers->nelts * 2 : 0;

    len = (8 + params + headers + 2) * sizeof(size_t);

    for (i = 0; fields[i]; i++) {
        len += fields[i]->len;
    }

    for (n = 0; n < 2; n++) {
        value = pairs[n] ? pairs[n]->elts : NULL;

        for (i = 0; value && i < pairs[n]->nelts * 2; i++) {
            len += value[i].len;
        }
    }

    text.data = ngx_pnalloc(r->pool, len);
    if (text.data == NULL) {
        return NGX_ERROR;
    }

    p = text.data;

    for (i = 0; fields[i]; i++) {
        p = ngx_http_gcs_signature_add(p, fields[i]);
    }

    for (n = 0; n < 2; n++) {
        value = pairs[n] ? pairs[n]->elts : NULL;

        for (i = 0; value && i < pairs[n]->nelts * 2; i++) {
            p = ngx_http_gcs_signature_add(p, &value[i]);
        }

        /* no name is empty */

        p = ngx_http_gcs_signature_add(p, &none);
    }

    text.len = p - text.data;

    return ngx_gcs_crypto_sha256(&text, digest);
}


static u_char *
ngx_http_gcs_signature_add(u_char *p, ngx_str_t *value)
{
    p = ngx_cpymem(p, &value->len, sizeof(size_t));

    return ngx_cpymem(p, value->data, value->len);
}


/* at once: by an HMAC key, or where nothing is waited for */

static ngx_int_t
ngx_http_gcs_signature_here(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx,
    ngx_gcs_sign_url_t *url)
{
    ngx_int_t               rc;
    ngx_gcs_credentials_t  *cred;

    cred = ctx->identity->source.cred;

    if (url->hmac) {
        ngx_http_gcs_hmac_renew(ctx->identity);

        rc = ngx_gcs_sign_url_hmac(r->pool, &cred->secret,
                                   &ctx->identity->key, url,
                                   &ctx->signed_url);

    } else {
        rc = ngx_gcs_sign_url_rsa(r->pool, cred->key, url, &ctx->signed_url);
    }

    ngx_gcs_metrics_add(ctx->identity->metrics, rc == NGX_OK
                        ? NGX_GCS_METRICS_BY_KEY : NGX_GCS_METRICS_UNSIGNED,
                        1);

    if (rc == NGX_OK) {
        ctx->signed_until = url->now + url->expires;
        return NGX_OK;
    }

    ngx_str_null(&ctx->signed_url);

    return ngx_http_gcs_signature_cannot(r, ctx, rc == NGX_DECLINED ?
               ": a header or query parameter has an invalid value" : "");
}


static ngx_int_t
ngx_http_gcs_signature_wait(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx,
    ngx_gcs_sign_url_t *url, u_char *digest, ngx_http_gcs_resume_pt resume)
{
    ngx_int_t                   rc;
    ngx_atomic_t               *counters;
    ngx_http_gcs_loc_conf_t    *glcf;
    ngx_http_gcs_main_conf_t   *gmcf;
    ngx_gcs_signing_request_t   req;

    gmcf = ngx_http_get_module_main_conf(r, ngx_http_gcs_proxy_module);

    if (ctx->identity->signer == NULL && gmcf->threads == NULL) {
        return ngx_http_gcs_signature_here(r, ctx, url);
    }

    if (resume == NULL) {
        return ngx_http_gcs_signature_cannot(r, ctx,
                   " before the access phase: IAM signs");
    }

    ngx_memzero(&req, sizeof(ngx_gcs_signing_request_t));

    rc = ngx_gcs_sign_url_text(r->pool, url, &req.text, &req.unsigned_url);

    if (rc != NGX_OK) {
        return ngx_http_gcs_signature_cannot(r, ctx, rc == NGX_DECLINED ?
                   ": a header or query parameter has an invalid value" : "");
    }

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);

    req.cache = glcf->url_cache;
    req.digest = digest;
    req.until = url->now + url->expires;

    if (ctx->identity->signer) {
        req.signer = ctx->identity->signer;
        req.account = url->account;

    } else {
        req.key = ctx->identity->source.cred->key;
    }

    if (ctx->identity->metrics) {
        counters = ctx->identity->metrics->counters;
        req.made = &counters[req.signer ? NGX_GCS_METRICS_BY_IAM
                                        : NGX_GCS_METRICS_BY_KEY];
        req.failed = &counters[NGX_GCS_METRICS_UNSIGNED];
    }

    ctx->signing.handler = ngx_http_gcs_signature_handler;
    ctx->signing.data = ctx;
    ctx->signing.log = r->connection->log;

    rc = ngx_gcs_signing(&req, gmcf->threads, &ctx->signing,
                         glcf->token_timeout);

    if (rc != NGX_AGAIN) {
        return ngx_http_gcs_signature_failed(r, ctx, rc, ctx->signing.word);
    }

    /* only now: a request that goes on at once keeps its event handlers */

    rc = ngx_http_gcs_suspend(r, ctx, resume);

    if (rc != NGX_OK) {
        ngx_gcs_signing_cancel(&ctx->signing);
        return rc;
    }

    return NGX_AGAIN;
}


static void
ngx_http_gcs_signature_handler(ngx_gcs_signing_waiter_t *waiter, ngx_int_t rc)
{
    ngx_http_request_t  *r;
    ngx_http_gcs_ctx_t  *ctx;

    ctx = waiter->data;
    r = ctx->request;

    ngx_http_set_log_request(r->connection->log, r);

    if (rc == NGX_OK) {
        ctx->signed_url.data = ngx_pstrdup(r->pool, &waiter->url);

        if (ctx->signed_url.data == NULL) {
            rc = NGX_HTTP_INTERNAL_SERVER_ERROR;

        } else {
            ctx->signed_url.len = waiter->url.len;
            ctx->signed_until = waiter->until;
        }

    } else {
        rc = ngx_http_gcs_signature_failed(r, ctx, rc, waiter->word);
    }

    ngx_http_gcs_wake(ctx, ctx->optional ? NGX_OK : rc);
}


/* the cause has been logged where it is known */

static ngx_int_t
ngx_http_gcs_signature_failed(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx,
    ngx_int_t rc, char *word)
{
    ngx_http_gcs_loc_conf_t  *glcf;

    ctx->unsigned_url = 1;

    if (rc == NGX_AGAIN) {
        glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);

        ngx_str_set(&ctx->error, "signature_timeout");

        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "no signed URL of gcs credentials \"%V\" within %M ms",
                      &ctx->identity->name, glcf->token_timeout);

        return NGX_HTTP_GATEWAY_TIME_OUT;
    }

    if (word) {
        ctx->error.data = (u_char *) word;
        ctx->error.len = ngx_strlen(word);

    } else {
        ngx_str_set(&ctx->error, "signature_unavailable");
    }

    ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                  "no signed URL of gcs credentials \"%V\": %V",
                  &ctx->identity->name, &ctx->error);

    return NGX_HTTP_BAD_GATEWAY;
}


static ngx_int_t
ngx_http_gcs_signature_cannot(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx,
    char *reason)
{
    ngx_str_set(&ctx->error, "cannot_sign");

    ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                  "gcs credentials \"%V\" cannot sign URLs%s",
                  &ctx->identity->name, reason);

    return NGX_HTTP_INTERNAL_SERVER_ERROR;
}


ngx_int_t
ngx_http_gcs_signature_ready(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx,
    ngx_http_gcs_resume_pt resume)
{
    ngx_int_t  rc;

    if (!ctx->addressed || ctx->identity == NULL
        || ngx_http_gcs_signs(ctx->identity) == NGX_HTTP_GCS_SIGNS_NOT)
    {
        return NGX_DECLINED;
    }

    ctx->optional = 1;

    rc = ngx_http_gcs_sign_url(r, ctx, resume);

    if (rc != NGX_OK && rc != NGX_AGAIN) {
        ctx->unsigned_url = 1;
    }

    if (rc == NGX_AGAIN) {
        return NGX_AGAIN;
    }

    ctx->optional = 0;

    return NGX_DECLINED;
}
