
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "ngx_http_gcs.h"


/*
 * An HMAC key: each request is signed, nothing is fetched.  The headers that
 * carry the signature are variables, which only ngx_http_gcs_proxy.c uses.
 * (https://cloud.google.com/storage/docs/authentication/signatures)
 */


static ngx_int_t ngx_http_gcs_hmac_sign(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);
static ngx_int_t ngx_http_gcs_hmac_headers(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx, ngx_array_t *headers);
static ngx_int_t ngx_http_gcs_hmac_add(ngx_array_t *headers, ngx_str_t *name,
    ngx_str_t *value);


ngx_uint_t
ngx_http_gcs_hmac(ngx_http_gcs_identity_t *identity)
{
    return identity->source.cred
           && identity->source.cred->type == NGX_GCS_HMAC_KEY;
}


/*
 * nginx asks for the value twice, for its length and its text, and may ask
 * again for a retry much later.
 */

ngx_int_t
ngx_http_gcs_hmac_authorization(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx, ngx_http_variable_value_t *v)
{
    if ((ctx->signature.len == 0 || ctx->signed_at != ngx_time())
        && ngx_http_gcs_hmac_sign(r, ctx) != NGX_OK)
    {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "the request could not be signed by gcs credentials "
                      "\"%V\"", &ctx->identity->name);
        return NGX_ERROR;
    }

    ngx_http_gcs_set_value(v, &ctx->signature);

    return NGX_OK;
}


static ngx_int_t
ngx_http_gcs_hmac_sign(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    u_char                   *p;
    ngx_gcs_credentials_t    *cred;
    ngx_gcs_sign_request_t    req;
    ngx_http_gcs_identity_t  *identity;

    identity = ctx->identity;
    cred = identity->source.cred;

    ngx_memzero(&req, sizeof(ngx_gcs_sign_request_t));

    /* with a cache the proxy asks for the whole object where HEAD is */

    req.method = r->upstream->method.len ? r->upstream->method
                                         : r->method_name;
    req.path = ctx->uri;

    if (ctx->listing) {

        /* an object's name has no plain "?" */

        p = ngx_strlchr(req.path.data, req.path.data + req.path.len, '?');

        req.query.data = p + 1;
        req.query.len = req.path.data + req.path.len - req.query.data;
        req.path.len = p - req.path.data;
    }

    req.now = ngx_time();

    ngx_str_set(&req.payload, NGX_GCS_SIGN_UNSIGNED);

    req.headers = ngx_array_create(r->pool, 8, sizeof(ngx_keyval_t));
    if (req.headers == NULL) {
        return NGX_ERROR;
    }

    ctx->signed_at = req.now;

    if (ngx_http_gcs_hmac_headers(r, ctx, req.headers) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_http_gcs_hmac_renew(identity);

    return ngx_gcs_sign_hmac(r->pool, &cred->access_id, &cred->secret,
                             &identity->key, &req, &ctx->signature);
}


void
ngx_http_gcs_hmac_renew(ngx_http_gcs_identity_t *identity)
{
    if (identity->key_version == identity->source.version) {
        return;
    }

    /* the key's file has been replaced, or this is the first time */

    ngx_memzero(&identity->key, sizeof(ngx_gcs_sign_key_t));
    identity->key_version = identity->source.version;
}


/* what must be signed: the host, and every x-goog-* header that is sent */

static ngx_int_t
ngx_http_gcs_hmac_headers(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx,
    ngx_array_t *headers)
{
    u_char                   *date;
    ngx_str_t                 value;
    ngx_uint_t                i;
    ngx_keyval_t             *given;
    ngx_http_gcs_header_t    *h;
    ngx_http_gcs_loc_conf_t  *glcf;

    static ngx_str_t  host = ngx_string("host");
    static ngx_str_t  hash = ngx_string("x-goog-content-sha256");
    static ngx_str_t  time = ngx_string("x-goog-date");
    static ngx_str_t  project = ngx_string("x-goog-user-project");
    static ngx_str_t  unsigned_payload = ngx_string(NGX_GCS_SIGN_UNSIGNED);

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);

    date = ngx_pnalloc(r->pool, NGX_GCS_SIGN_DATE_LEN);
    if (date == NULL) {
        return NGX_ERROR;
    }

    value.data = date;
    value.len = ngx_gcs_sign_date(ctx->signed_at, date) - date;

    if (ngx_http_gcs_hmac_add(headers, &host, &glcf->endpoint->address.host)
        != NGX_OK
        || ngx_http_gcs_hmac_add(headers, &hash, &unsigned_payload) != NGX_OK
        || ngx_http_gcs_hmac_add(headers, &time, &value) != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (ngx_http_gcs_user_project_value(r, ctx, &value) != NGX_OK
        || ngx_http_gcs_hmac_add(headers, &project, &value) != NGX_OK)
    {
        return NGX_ERROR;
    }

    given = ctx->given ? ctx->given->elts : NULL;

    for (i = 0; given && i < ctx->given->nelts; i++) {

        if (ngx_strncmp(given[i].key.data, "x-goog-", sizeof("x-goog-") - 1)
            == 0
            && ngx_http_gcs_hmac_add(headers, &given[i].key, &given[i].value)
               != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    if (glcf->headers == NULL) {
        return NGX_OK;
    }

    h = glcf->headers->elts;

    for (i = 0; i < glcf->headers->nelts; i++) {

        if (ngx_http_complex_value(r, &h[i].value, &value) != NGX_OK
            || ngx_http_gcs_hmac_add(headers, &h[i].lowcase, &value)
               != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


/* headers with an empty value are not sent */

static ngx_int_t
ngx_http_gcs_hmac_add(ngx_array_t *headers, ngx_str_t *name,
    ngx_str_t *value)
{
    ngx_keyval_t  *h;

    if (value->len == 0) {
        return NGX_OK;
    }

    h = ngx_array_push(headers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    h->key = *name;
    h->value = *value;

    return NGX_OK;
}


ngx_int_t
ngx_http_gcs_hmac_date_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    u_char              *p;
    ngx_str_t            date;
    ngx_http_gcs_ctx_t  *ctx;

    v->not_found = 1;

    ctx = ngx_http_get_module_ctx(r, ngx_http_gcs_proxy_module);

    if (ctx == NULL || !ctx->passed || !ngx_http_gcs_hmac(ctx->identity)) {
        return NGX_OK;
    }

    p = ngx_pnalloc(r->pool, NGX_GCS_SIGN_DATE_LEN);
    if (p == NULL) {
        return NGX_ERROR;
    }

    /* that of the signature, which is made in the same turn */

    date.data = p;
    date.len = ngx_gcs_sign_date(ngx_time(), p) - p;

    ngx_http_gcs_set_value(v, &date);

    return NGX_OK;
}


ngx_int_t
ngx_http_gcs_hmac_hash_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_gcs_ctx_t  *ctx;

    static ngx_str_t  hash = ngx_string(NGX_GCS_SIGN_UNSIGNED);

    v->not_found = 1;

    ctx = ngx_http_get_module_ctx(r, ngx_http_gcs_proxy_module);

    if (ctx && ctx->passed && ngx_http_gcs_hmac(ctx->identity)) {
        ngx_http_gcs_set_value(v, &hash);
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_gcs_user_project_value(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx, ngx_str_t *value)
{
    ngx_http_gcs_loc_conf_t  *glcf;

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);

    if (glcf->user_project) {
        return ngx_http_complex_value(r, glcf->user_project, value);
    }

    *value = ctx->identity->quota_project;

    return NGX_OK;
}


ngx_int_t
ngx_http_gcs_user_project_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_gcs_ctx_t  *ctx;

    v->not_found = 1;

    ctx = ngx_http_get_module_ctx(r, ngx_http_gcs_proxy_module);

    if (ctx && ctx->passed && ctx->identity->quota_project.len) {
        ngx_http_gcs_set_value(v, &ctx->identity->quota_project);
    }

    return NGX_OK;
}
