
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include <openssl/crypto.h>

#include "ngx_gcs_escape.h"
#include "ngx_gcs_sign.h"


#define NGX_GCS_SIGN_URL_SIGNATURE  "&X-Goog-Signature="

/* how many parameters make a signed URL, beside the signature */
#define NGX_GCS_SIGN_URL_PARAMS     5


/* what is made of an ngx_gcs_sign_url_t on the way */

typedef struct {
    ngx_str_t     algorithm;
    ngx_str_t     credential;    /* ACCOUNT/SCOPE */
    ngx_str_t     scope;         /* the end of the credential */
    ngx_str_t     names;         /* of the signed headers */
    ngx_str_t     payload;
    ngx_str_t     query;
    ngx_array_t   headers;       /* sorted, names in lower case */
    u_char        date[NGX_GCS_SIGN_DATE_LEN];
} ngx_gcs_sign_url_ctx_t;


static ngx_int_t ngx_gcs_sign_url_scope(ngx_pool_t *pool,
    ngx_gcs_sign_url_t *url, ngx_gcs_sign_url_ctx_t *ctx);
static ngx_int_t ngx_gcs_sign_url_headers(ngx_pool_t *pool,
    ngx_gcs_sign_url_t *url, ngx_gcs_sign_url_ctx_t *ctx);
static void ngx_gcs_sign_url_insert(ngx_array_t *headers,
    ngx_keyval_t *added);
static ngx_int_t ngx_gcs_sign_url_compare(ngx_str_t *one, ngx_str_t *two);
static ngx_int_t ngx_gcs_sign_url_query(ngx_pool_t *pool,
    ngx_gcs_sign_url_t *url, ngx_gcs_sign_url_ctx_t *ctx);
static ngx_int_t ngx_gcs_sign_url_digest(ngx_pool_t *pool,
    ngx_gcs_sign_url_t *url, ngx_gcs_sign_url_ctx_t *ctx, u_char *digest);
static ngx_int_t ngx_gcs_sign_url_write(ngx_pool_t *pool,
    ngx_gcs_sign_url_t *url, ngx_gcs_sign_url_ctx_t *ctx, ngx_str_t *result);
static u_char *ngx_gcs_sign_url_lower(u_char *p, ngx_str_t *text);


static ngx_str_t  ngx_gcs_sign_url_auto = ngx_string("auto");

static ngx_str_t  ngx_gcs_sign_url_payload =
    ngx_string("x-goog-content-sha256");


ngx_int_t
ngx_gcs_sign_url_text(ngx_pool_t *pool, ngx_gcs_sign_url_t *url,
    ngx_str_t *text, ngx_str_t *unsigned_url)
{
    size_t                   len;
    u_char                  *p;
    ngx_int_t                rc;
    ngx_gcs_sign_url_ctx_t   ctx;
    u_char                   digest[NGX_GCS_SHA256_LEN];

    if (ngx_gcs_sign_url_check(url) != NGX_OK) {
        return NGX_DECLINED;
    }

    if (url->hmac) {
        ngx_str_set(&ctx.algorithm, "GOOG4-HMAC-SHA256");

    } else {
        ngx_str_set(&ctx.algorithm, "GOOG4-RSA-SHA256");
    }

    if (ngx_gcs_sign_url_scope(pool, url, &ctx) != NGX_OK
        || ngx_gcs_sign_url_headers(pool, url, &ctx) != NGX_OK
        || ngx_gcs_sign_url_query(pool, url, &ctx) != NGX_OK)
    {
        return NGX_ERROR;
    }

    rc = ngx_gcs_sign_url_digest(pool, url, &ctx, digest);
    if (rc != NGX_OK) {
        return rc;
    }

    len = ctx.algorithm.len + 1 + NGX_GCS_SIGN_DATE_LEN + 1
          + ctx.scope.len + 1 + NGX_GCS_SHA256_LEN * 2;

    text->data = ngx_pnalloc(pool, len);
    if (text->data == NULL) {
        return NGX_ERROR;
    }

    p = ngx_cpymem(text->data, ctx.algorithm.data, ctx.algorithm.len);
    *p++ = '\n';

    p = ngx_cpymem(p, ctx.date, NGX_GCS_SIGN_DATE_LEN);
    *p++ = '\n';

    p = ngx_cpymem(p, ctx.scope.data, ctx.scope.len);
    *p++ = '\n';

    p = ngx_hex_dump(p, digest, NGX_GCS_SHA256_LEN);

    text->len = p - text->data;

    return ngx_gcs_sign_url_write(pool, url, &ctx, unsigned_url);
}


/* the one place where the time is read: the date and the scope are of it */

static ngx_int_t
ngx_gcs_sign_url_scope(ngx_pool_t *pool, ngx_gcs_sign_url_t *url,
    ngx_gcs_sign_url_ctx_t *ctx)
{
    size_t      len;
    u_char     *p;
    ngx_str_t  *location;

    ngx_gcs_sign_date(url->now, ctx->date);

    location = url->location.len ? &url->location : &ngx_gcs_sign_url_auto;

    len = url->account.len + 1 + NGX_GCS_SIGN_DAY_LEN + 1 + location->len
          + sizeof("/storage/goog4_request") - 1;

    ctx->credential.data = ngx_pnalloc(pool, len);
    if (ctx->credential.data == NULL) {
        return NGX_ERROR;
    }

    p = ngx_cpymem(ctx->credential.data, url->account.data, url->account.len);
    *p++ = '/';

    ctx->scope.data = p;

    p = ngx_cpymem(p, ctx->date, NGX_GCS_SIGN_DAY_LEN);
    *p++ = '/';
    p = ngx_cpymem(p, location->data, location->len);
    p = ngx_cpymem(p, "/storage/goog4_request",
                   sizeof("/storage/goog4_request") - 1);

    ctx->credential.len = p - ctx->credential.data;
    ctx->scope.len = p - ctx->scope.data;

    return NGX_OK;
}


/* copies them: what is sorted and in lower case is not the caller's */

static ngx_int_t
ngx_gcs_sign_url_headers(ngx_pool_t *pool, ngx_gcs_sign_url_t *url,
    ngx_gcs_sign_url_ctx_t *ctx)
{
    size_t         len;
    u_char        *p;
    ngx_uint_t     i, n;
    ngx_keyval_t  *header, added;

    n = url->headers ? url->headers->nelts : 0;
    header = n ? url->headers->elts : NULL;

    if (ngx_array_init(&ctx->headers, pool, n + 1, sizeof(ngx_keyval_t))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    /* each name twice, once for the list of them */

    len = url->signed_host.len + sizeof("host") - 1;

    for (i = 0; i < n; i++) {
        len += (header[i].key.len) * 2 + 1;
    }

    p = ngx_pnalloc(pool, len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    ngx_str_set(&ctx->payload, NGX_GCS_SIGN_UNSIGNED);

    ngx_str_set(&added.key, "host");
    added.value.len = url->signed_host.len;
    added.value.data = p;
    p = ngx_gcs_sign_url_lower(p, &url->signed_host);

    ngx_gcs_sign_url_insert(&ctx->headers, &added);

    for (i = 0; i < n; i++) {
        added.key.len = header[i].key.len;
        added.key.data = p;
        added.value = header[i].value;
        p = ngx_gcs_sign_url_lower(p, &header[i].key);

        ngx_gcs_sign_url_insert(&ctx->headers, &added);

        if (ngx_gcs_sign_url_compare(&added.key, &ngx_gcs_sign_url_payload)
            == 0)
        {
            ctx->payload = added.value;
        }
    }

    ctx->names.data = p;
    header = ctx->headers.elts;

    for (i = 0; i <= n; i++) {

        if (i) {
            if (ngx_gcs_sign_url_compare(&header[i - 1].key, &header[i].key)
                == 0)
            {
                continue;
            }

            *p++ = ';';
        }

        p = ngx_cpymem(p, header[i].key.data, header[i].key.len);
    }

    ctx->names.len = p - ctx->names.data;

    return NGX_OK;
}


/* behind those of the same name; there is room for it */

static void
ngx_gcs_sign_url_insert(ngx_array_t *headers, ngx_keyval_t *added)
{
    ngx_uint_t     i;
    ngx_keyval_t  *header;

    header = headers->elts;

    for (i = headers->nelts++; i > 0; i--) {

        if (ngx_gcs_sign_url_compare(&header[i - 1].key, &added->key) <= 0) {
            break;
        }

        header[i] = header[i - 1];
    }

    header[i] = *added;
}


static ngx_int_t
ngx_gcs_sign_url_compare(ngx_str_t *one, ngx_str_t *two)
{
    ngx_int_t  rc;

    rc = ngx_memcmp(one->data, two->data, ngx_min(one->len, two->len));

    if (rc == 0) {
        rc = (ngx_int_t) one->len - (ngx_int_t) two->len;
    }

    return rc;
}


/* ngx_gcs_sign_query() sorts what is encoded here */

static ngx_int_t
ngx_gcs_sign_url_query(ngx_pool_t *pool, ngx_gcs_sign_url_t *url,
    ngx_gcs_sign_url_ctx_t *ctx)
{
    size_t         len;
    u_char        *p, *last, expires[sizeof("604800") - 1];
    ngx_str_t     *text;
    ngx_uint_t     i, n;
    ngx_array_t    params;
    ngx_keyval_t  *param;

    n = url->params ? url->params->nelts : 0;

    if (ngx_array_init(&params, pool, n + NGX_GCS_SIGN_URL_PARAMS,
                       sizeof(ngx_keyval_t))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    param = params.elts;
    params.nelts = n + NGX_GCS_SIGN_URL_PARAMS;

    ngx_str_set(&param[0].key, "X-Goog-Algorithm");
    param[0].value = ctx->algorithm;

    ngx_str_set(&param[1].key, "X-Goog-Credential");
    param[1].value = ctx->credential;

    ngx_str_set(&param[2].key, "X-Goog-Date");
    param[2].value.len = NGX_GCS_SIGN_DATE_LEN;
    param[2].value.data = ctx->date;

    last = ngx_sprintf(expires, "%T", url->expires);

    ngx_str_set(&param[3].key, "X-Goog-Expires");
    param[3].value.len = last - expires;
    param[3].value.data = expires;

    ngx_str_set(&param[4].key, "X-Goog-SignedHeaders");
    param[4].value = ctx->names;

    if (n) {
        ngx_memcpy(&param[NGX_GCS_SIGN_URL_PARAMS], url->params->elts,
                   n * sizeof(ngx_keyval_t));
    }

    len = 0;

    for (i = 0; i < params.nelts; i++) {
        len += param[i].key.len + param[i].value.len;
    }

    /* as if all were escaped: to find out takes as long as to do it */

    p = ngx_pnalloc(pool, len * (sizeof("%XX") - 1));
    if (p == NULL) {
        return NGX_ERROR;
    }

    /* a name and its value are two texts, one behind the other */

    text = params.elts;

    for (i = 0; i < params.nelts * 2; i++) {
        last = ngx_gcs_escape_query(p, text[i].data, text[i].len);
        text[i].data = p;
        text[i].len = last - p;
        p = last;
    }

    return ngx_gcs_sign_query(pool, &params, &ctx->query);
}


static ngx_int_t
ngx_gcs_sign_url_digest(ngx_pool_t *pool, ngx_gcs_sign_url_t *url,
    ngx_gcs_sign_url_ctx_t *ctx, u_char *digest)
{
    ngx_int_t                rc;
    ngx_str_t                canonical;
    ngx_gcs_sign_request_t   req;

    req.method = url->method;
    req.path = url->path;
    req.query = ctx->query;
    req.headers = &ctx->headers;
    req.payload = ctx->payload;
    req.now = url->now;

    rc = ngx_gcs_sign_canonical(pool, &req, &canonical);
    if (rc != NGX_OK) {
        return rc;
    }

    rc = ngx_gcs_crypto_sha256(&canonical, digest);

    /* it may hold the key that an object is encrypted with */

    OPENSSL_cleanse(canonical.data, canonical.len);

    return rc;
}


static ngx_int_t
ngx_gcs_sign_url_write(ngx_pool_t *pool, ngx_gcs_sign_url_t *url,
    ngx_gcs_sign_url_ctx_t *ctx, ngx_str_t *result)
{
    size_t   len;
    u_char  *p;

    len = url->scheme.len + sizeof("://") - 1 + url->host.len
          + url->path.len + 1 + ctx->query.len;

    p = ngx_pnalloc(pool, len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    result->len = len;
    result->data = p;

    p = ngx_cpymem(p, url->scheme.data, url->scheme.len);
    p = ngx_cpymem(p, "://", sizeof("://") - 1);
    p = ngx_gcs_sign_url_lower(p, &url->host);
    p = ngx_cpymem(p, url->path.data, url->path.len);
    *p++ = '?';
    ngx_memcpy(p, ctx->query.data, ctx->query.len);

    return NGX_OK;
}


static u_char *
ngx_gcs_sign_url_lower(u_char *p, ngx_str_t *text)
{
    size_t  i;

    for (i = 0; i < text->len; i++) {
        *p++ = ngx_tolower(text->data[i]);
    }

    return p;
}


ngx_int_t
ngx_gcs_sign_url_append(ngx_pool_t *pool, ngx_str_t *unsigned_url,
    ngx_str_t *signature, ngx_str_t *result)
{
    size_t   len;
    u_char  *p, *data;

    if (signature->len == 0) {
        return NGX_DECLINED;
    }

    len = unsigned_url->len + sizeof(NGX_GCS_SIGN_URL_SIGNATURE) - 1
          + signature->len * 2;

    data = ngx_pnalloc(pool, len);
    if (data == NULL) {
        return NGX_ERROR;
    }

    p = ngx_cpymem(data, unsigned_url->data, unsigned_url->len);
    p = ngx_cpymem(p, NGX_GCS_SIGN_URL_SIGNATURE,
                   sizeof(NGX_GCS_SIGN_URL_SIGNATURE) - 1);
    ngx_hex_dump(p, signature->data, signature->len);

    /* last, it may be one of the arguments */

    result->len = len;
    result->data = data;

    return NGX_OK;
}


ngx_int_t
ngx_gcs_sign_url_rsa(ngx_pool_t *pool, ngx_gcs_key_t *key,
    ngx_gcs_sign_url_t *url, ngx_str_t *result)
{
    ngx_int_t  rc;
    ngx_str_t  text, unsigned_url, signature;

    url->hmac = 0;

    rc = ngx_gcs_sign_url_text(pool, url, &text, &unsigned_url);
    if (rc != NGX_OK) {
        return rc;
    }

    if (ngx_gcs_crypto_sign(pool, key, &text, &signature) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_gcs_sign_url_append(pool, &unsigned_url, &signature, result);
}


ngx_int_t
ngx_gcs_sign_url_hmac(ngx_pool_t *pool, ngx_str_t *secret,
    ngx_gcs_sign_key_t *cache, ngx_gcs_sign_url_t *url, ngx_str_t *result)
{
    u_char                   digest[NGX_GCS_SHA256_LEN];
    ngx_int_t                rc;
    ngx_str_t                text, unsigned_url, chain, signature;
    ngx_gcs_sign_key_t       other, *key;
    ngx_gcs_sign_dialect_t   dialect;

    url->hmac = 1;

    rc = ngx_gcs_sign_url_text(pool, url, &text, &unsigned_url);
    if (rc != NGX_OK) {
        return rc;
    }

    ngx_str_set(&dialect.algorithm, "GOOG4-HMAC-SHA256");
    ngx_str_set(&dialect.prefix, "GOOG4");
    ngx_str_set(&dialect.service, "storage");
    ngx_str_set(&dialect.terminator, "goog4_request");

    /* a key is of its location, too, which the cache does not tell */

    if (url->location.len == 0
        || ngx_gcs_sign_url_compare(&url->location, &ngx_gcs_sign_url_auto)
           == 0)
    {
        dialect.location = ngx_gcs_sign_url_auto;
        key = cache;

    } else {
        dialect.location = url->location;
        ngx_memzero(&other, sizeof(ngx_gcs_sign_key_t));
        key = &other;
    }

    rc = ngx_gcs_sign_key(&dialect, secret, url->now, key);

    if (rc == NGX_OK) {
        chain.len = NGX_GCS_SHA256_LEN;
        chain.data = key->key;

        rc = ngx_gcs_crypto_hmac(&chain, &text, digest);
    }

    if (key == &other) {
        OPENSSL_cleanse(&other, sizeof(ngx_gcs_sign_key_t));
    }

    if (rc != NGX_OK) {
        return rc;
    }

    signature.len = NGX_GCS_SHA256_LEN;
    signature.data = digest;

    return ngx_gcs_sign_url_append(pool, &unsigned_url, &signature, result);
}
