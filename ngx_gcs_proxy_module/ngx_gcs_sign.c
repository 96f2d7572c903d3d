
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include <openssl/crypto.h>

#include "ngx_gcs_sign.h"


/* the longest prefix of a secret, bytes */
#define NGX_GCS_SIGN_PREFIX_MAX  8


static void ngx_gcs_sign_sort(ngx_array_t *pairs, ngx_uint_t values);
static ngx_int_t ngx_gcs_sign_compare(ngx_str_t *one, ngx_str_t *two);
static ngx_int_t ngx_gcs_sign_check(ngx_gcs_sign_request_t *req);
static ngx_uint_t ngx_gcs_sign_line(ngx_str_t *text);
static ngx_uint_t ngx_gcs_sign_name(ngx_str_t *name);
static size_t ngx_gcs_sign_names_len(ngx_array_t *headers);
static u_char *ngx_gcs_sign_names(u_char *p, ngx_array_t *headers);
static u_char *ngx_gcs_sign_fields(u_char *p, ngx_array_t *headers);
static u_char *ngx_gcs_sign_fold(u_char *p, ngx_str_t *value);
static size_t ngx_gcs_sign_scope_len(ngx_gcs_sign_dialect_t *dialect);
static u_char *ngx_gcs_sign_scope(u_char *p, ngx_gcs_sign_dialect_t *dialect,
    u_char *day);
static ngx_int_t ngx_gcs_sign_text(ngx_pool_t *pool,
    ngx_gcs_sign_dialect_t *dialect, ngx_gcs_sign_key_t *key,
    ngx_gcs_sign_request_t *req, ngx_str_t *text);
static u_char *ngx_gcs_sign_copy(u_char *p, ngx_str_t *text);
static u_char *ngx_gcs_sign_number(u_char *p, ngx_uint_t n);


static ngx_gcs_sign_dialect_t  ngx_gcs_sign_storage = {
    ngx_string("GOOG4-HMAC-SHA256"),
    ngx_string("GOOG4"),
    ngx_string("auto"),
    ngx_string("storage"),
    ngx_string("goog4_request")
};


u_char *
ngx_gcs_sign_date(time_t now, u_char *buf)
{
    u_char    *p;
    ngx_tm_t   tm;

    /* no year beyond 9999 comes from it */

    ngx_gmtime(now, &tm);

    p = ngx_gcs_sign_number(buf, tm.ngx_tm_year / 100);
    p = ngx_gcs_sign_number(p, tm.ngx_tm_year % 100);
    p = ngx_gcs_sign_number(p, tm.ngx_tm_mon);
    p = ngx_gcs_sign_number(p, tm.ngx_tm_mday);

    *p++ = 'T';

    p = ngx_gcs_sign_number(p, tm.ngx_tm_hour);
    p = ngx_gcs_sign_number(p, tm.ngx_tm_min);
    p = ngx_gcs_sign_number(p, tm.ngx_tm_sec);

    *p++ = 'Z';

    return p;
}


static u_char *
ngx_gcs_sign_number(u_char *p, ngx_uint_t n)
{
    *p++ = (u_char) ('0' + n / 10);
    *p++ = (u_char) ('0' + n % 10);

    return p;
}


ngx_int_t
ngx_gcs_sign_canonical(ngx_pool_t *pool, ngx_gcs_sign_request_t *req,
    ngx_str_t *canonical)
{
    size_t         len;
    u_char        *p;
    ngx_uint_t     i;
    ngx_keyval_t  *header;

    if (ngx_gcs_sign_check(req) != NGX_OK) {
        return NGX_DECLINED;
    }

    ngx_gcs_sign_sort(req->headers, 0);

    len = req->method.len + 1 + req->path.len + 1 + req->query.len + 1
          + 1 + ngx_gcs_sign_names_len(req->headers) + 1 + req->payload.len;

    /* folding makes a value no longer, ":" and "\n" may be one "," */

    header = req->headers->elts;

    for (i = 0; i < req->headers->nelts; i++) {
        len += header[i].key.len + 1 + header[i].value.len + 1;
    }

    canonical->data = ngx_pnalloc(pool, len);
    if (canonical->data == NULL) {
        return NGX_ERROR;
    }

    p = ngx_gcs_sign_copy(canonical->data, &req->method);
    *p++ = '\n';

    p = ngx_gcs_sign_copy(p, &req->path);
    *p++ = '\n';

    p = ngx_gcs_sign_copy(p, &req->query);
    *p++ = '\n';

    p = ngx_gcs_sign_fields(p, req->headers);
    *p++ = '\n';

    p = ngx_gcs_sign_names(p, req->headers);
    *p++ = '\n';

    p = ngx_gcs_sign_copy(p, &req->payload);

    canonical->len = p - canonical->data;

    return NGX_OK;
}


static ngx_int_t
ngx_gcs_sign_check(ngx_gcs_sign_request_t *req)
{
    ngx_uint_t     i;
    ngx_keyval_t  *header;

    if (!ngx_gcs_sign_line(&req->method) || !ngx_gcs_sign_line(&req->path)
        || !ngx_gcs_sign_line(&req->payload))
    {
        return NGX_DECLINED;
    }

    if (req->query.len && !ngx_gcs_sign_line(&req->query)) {
        return NGX_DECLINED;
    }

    header = req->headers->elts;

    for (i = 0; i < req->headers->nelts; i++) {
        if (!ngx_gcs_sign_name(&header[i].key)) {
            return NGX_DECLINED;
        }
    }

    return NGX_OK;
}


/* visible characters; bytes of UTF-8 are none, a path has them escaped */

static ngx_uint_t
ngx_gcs_sign_line(ngx_str_t *text)
{
    size_t  i;

    for (i = 0; i < text->len; i++) {
        if (text->data[i] <= ' ' || text->data[i] >= 0x7f) {
            return 0;
        }
    }

    return text->len != 0;
}


/* a token of RFC 9110, in lower case */

static ngx_uint_t
ngx_gcs_sign_name(ngx_str_t *name)
{
    u_char  ch;
    size_t  i;

    for (i = 0; i < name->len; i++) {
        ch = name->data[i];

        if ((ch >= 'a' && ch <= 'z') || (ch >= '0' && ch <= '9')) {
            continue;
        }

        switch (ch) {

        case '!': case '#': case '$': case '%': case '&': case '\'':
        case '*': case '+': case '-': case '.': case '^': case '_':
        case '`': case '|': case '~':

        /* none of RFC 9110's, but of a vector that Google has published */
        case '/':
            continue;

        default:
            return 0;
        }
    }

    return name->len != 0;
}


/*
 * By name, and by value too if values is set.  By insertion: there are few
 * pairs, and those that compare equal stay in their order.
 */

static void
ngx_gcs_sign_sort(ngx_array_t *pairs, ngx_uint_t values)
{
    ngx_int_t      i, n, rc;
    ngx_keyval_t   moved, *pair;

    pair = pairs->elts;

    for (n = 1; n < (ngx_int_t) pairs->nelts; n++) {

        moved = pair[n];

        for (i = n - 1; i >= 0; i--) {

            rc = ngx_gcs_sign_compare(&pair[i].key, &moved.key);

            if (rc == 0 && values) {
                rc = ngx_gcs_sign_compare(&pair[i].value, &moved.value);
            }

            if (rc <= 0) {
                break;
            }

            pair[i + 1] = pair[i];
        }

        pair[i + 1] = moved;
    }
}


static ngx_int_t
ngx_gcs_sign_compare(ngx_str_t *one, ngx_str_t *two)
{
    size_t     len;
    ngx_int_t  rc;

    len = ngx_min(one->len, two->len);

    rc = len ? ngx_memcmp(one->data, two->data, len) : 0;

    if (rc == 0) {
        rc = (ngx_int_t) one->len - (ngx_int_t) two->len;
    }

    return rc;
}


/* with repeated names, thus never too short */

static size_t
ngx_gcs_sign_names_len(ngx_array_t *headers)
{
    size_t         len;
    ngx_uint_t     i;
    ngx_keyval_t  *header;

    len = 0;
    header = headers->elts;

    for (i = 0; i < headers->nelts; i++) {
        len += header[i].key.len + 1;
    }

    return len;
}


static u_char *
ngx_gcs_sign_names(u_char *p, ngx_array_t *headers)
{
    ngx_uint_t     i;
    ngx_keyval_t  *header;

    header = headers->elts;

    for (i = 0; i < headers->nelts; i++) {

        if (i) {
            if (ngx_gcs_sign_compare(&header[i - 1].key, &header[i].key)
                == 0)
            {
                continue;
            }

            *p++ = ';';
        }

        p = ngx_gcs_sign_copy(p, &header[i].key);
    }

    return p;
}


/* a line for each name; values of a repeated one are joined by a comma */

static u_char *
ngx_gcs_sign_fields(u_char *p, ngx_array_t *headers)
{
    ngx_uint_t     i;
    ngx_keyval_t  *header;

    header = headers->elts;

    for (i = 0; i < headers->nelts; i++) {

        if (i == 0
            || ngx_gcs_sign_compare(&header[i - 1].key, &header[i].key) != 0)
        {
            if (i) {
                *p++ = '\n';
            }

            p = ngx_gcs_sign_copy(p, &header[i].key);
            *p++ = ':';

        } else {
            *p++ = ',';
        }

        p = ngx_gcs_sign_fold(p, &header[i].value);
    }

    if (i) {
        *p++ = '\n';
    }

    return p;
}


/* drops white space at both ends, and leaves one blank for a run of it */

static u_char *
ngx_gcs_sign_fold(u_char *p, ngx_str_t *value)
{
    u_char      ch;
    size_t      i;
    ngx_uint_t  begun, blank;

    begun = 0;
    blank = 0;

    for (i = 0; i < value->len; i++) {
        ch = value->data[i];

        if (ch == ' ' || (ch >= '\t' && ch <= '\r')) {
            blank = begun;
            continue;
        }

        if (blank) {
            *p++ = ' ';
            blank = 0;
        }

        *p++ = ch;
        begun = 1;
    }

    return p;
}


ngx_int_t
ngx_gcs_sign_query(ngx_pool_t *pool, ngx_array_t *params, ngx_str_t *query)
{
    size_t         len;
    u_char        *p;
    ngx_uint_t     i;
    ngx_keyval_t  *param;

    ngx_gcs_sign_sort(params, 1);

    len = 0;
    param = params->elts;

    for (i = 0; i < params->nelts; i++) {
        len += param[i].key.len + 1 + param[i].value.len + 1;
    }

    query->data = ngx_pnalloc(pool, len);
    if (query->data == NULL) {
        return NGX_ERROR;
    }

    p = query->data;

    for (i = 0; i < params->nelts; i++) {

        if (i) {
            *p++ = '&';
        }

        p = ngx_gcs_sign_copy(p, &param[i].key);
        *p++ = '=';
        p = ngx_gcs_sign_copy(p, &param[i].value);
    }

    query->len = p - query->data;

    return NGX_OK;
}


ngx_int_t
ngx_gcs_sign_key(ngx_gcs_sign_dialect_t *dialect, ngx_str_t *secret,
    time_t now, ngx_gcs_sign_key_t *key)
{
    u_char      *p, date[NGX_GCS_SIGN_DATE_LEN];
    ngx_int_t    rc;
    ngx_str_t    chain, step, *steps[3];
    ngx_uint_t   i;
    u_char       buf[NGX_GCS_SIGN_PREFIX_MAX + NGX_GCS_SIGN_SECRET_MAX];

    if (secret->len == 0 || secret->len > NGX_GCS_SIGN_SECRET_MAX
        || dialect->prefix.len > NGX_GCS_SIGN_PREFIX_MAX)
    {
        return NGX_DECLINED;
    }

    ngx_gcs_sign_date(now, date);

    if (ngx_memcmp(key->day, date, NGX_GCS_SIGN_DAY_LEN) == 0) {
        return NGX_OK;
    }

    /* a key that is half made is nobody's */

    ngx_memzero(key->day, NGX_GCS_SIGN_DAY_LEN);

    p = ngx_gcs_sign_copy(buf, &dialect->prefix);
    p = ngx_gcs_sign_copy(p, secret);

    chain.len = p - buf;
    chain.data = buf;

    step.len = NGX_GCS_SIGN_DAY_LEN;
    step.data = date;

    rc = ngx_gcs_crypto_hmac(&chain, &step, key->key);

    OPENSSL_cleanse(buf, sizeof(buf));

    chain.len = NGX_GCS_SHA256_LEN;
    chain.data = key->key;

    steps[0] = &dialect->location;
    steps[1] = &dialect->service;
    steps[2] = &dialect->terminator;

    for (i = 0; i < 3 && rc == NGX_OK; i++) {
        rc = ngx_gcs_crypto_hmac(&chain, steps[i], buf);
        ngx_memcpy(key->key, buf, NGX_GCS_SHA256_LEN);
    }

    OPENSSL_cleanse(buf, NGX_GCS_SHA256_LEN);

    if (rc == NGX_OK) {
        ngx_memcpy(key->day, date, NGX_GCS_SIGN_DAY_LEN);
    }

    return rc;
}


ngx_int_t
ngx_gcs_sign_authorization(ngx_pool_t *pool, ngx_gcs_sign_dialect_t *dialect,
    ngx_str_t *access_id, ngx_gcs_sign_key_t *key,
    ngx_gcs_sign_request_t *req, ngx_str_t *authorization)
{
    size_t      len;
    u_char     *p;
    ngx_int_t   rc;
    ngx_str_t   text, chain;
    u_char      digest[NGX_GCS_SHA256_LEN];

    if (!ngx_gcs_sign_line(access_id)
        || ngx_strlchr(access_id->data, access_id->data + access_id->len, ',')
           != NULL)
    {
        return NGX_DECLINED;
    }

    rc = ngx_gcs_sign_text(pool, dialect, key, req, &text);
    if (rc != NGX_OK) {
        return rc;
    }

    chain.len = NGX_GCS_SHA256_LEN;
    chain.data = key->key;

    if (ngx_gcs_crypto_hmac(&chain, &text, digest) != NGX_OK) {
        return NGX_ERROR;
    }

    len = dialect->algorithm.len + sizeof(" Credential=") - 1
          + access_id->len + sizeof("/") - 1
          + ngx_gcs_sign_scope_len(dialect) + sizeof(", SignedHeaders=") - 1
          + ngx_gcs_sign_names_len(req->headers) + sizeof(", Signature=") - 1
          + NGX_GCS_SHA256_LEN * 2;

    authorization->data = ngx_pnalloc(pool, len);
    if (authorization->data == NULL) {
        return NGX_ERROR;
    }

    p = ngx_gcs_sign_copy(authorization->data, &dialect->algorithm);
    p = ngx_cpymem(p, " Credential=", sizeof(" Credential=") - 1);
    p = ngx_gcs_sign_copy(p, access_id);
    *p++ = '/';
    p = ngx_gcs_sign_scope(p, dialect, key->day);
    p = ngx_cpymem(p, ", SignedHeaders=", sizeof(", SignedHeaders=") - 1);
    p = ngx_gcs_sign_names(p, req->headers);
    p = ngx_cpymem(p, ", Signature=", sizeof(", Signature=") - 1);
    p = ngx_hex_dump(p, digest, NGX_GCS_SHA256_LEN);

    authorization->len = p - authorization->data;

    return NGX_OK;
}


/* the string to sign; an outdated key would make a signature of no use */

static ngx_int_t
ngx_gcs_sign_text(ngx_pool_t *pool, ngx_gcs_sign_dialect_t *dialect,
    ngx_gcs_sign_key_t *key, ngx_gcs_sign_request_t *req, ngx_str_t *text)
{
    size_t      len;
    u_char     *p, date[NGX_GCS_SIGN_DATE_LEN];
    ngx_int_t   rc;
    ngx_str_t   canonical;
    u_char      digest[NGX_GCS_SHA256_LEN];

    ngx_gcs_sign_date(req->now, date);

    if (ngx_memcmp(key->day, date, NGX_GCS_SIGN_DAY_LEN) != 0) {
        return NGX_ERROR;
    }

    rc = ngx_gcs_sign_canonical(pool, req, &canonical);
    if (rc != NGX_OK) {
        return rc;
    }

    rc = ngx_gcs_crypto_sha256(&canonical, digest);

    /* it may hold a session token */

    OPENSSL_cleanse(canonical.data, canonical.len);

    if (rc != NGX_OK) {
        return rc;
    }

    len = dialect->algorithm.len + 1 + NGX_GCS_SIGN_DATE_LEN + 1
          + ngx_gcs_sign_scope_len(dialect) + 1 + NGX_GCS_SHA256_LEN * 2;

    text->data = ngx_pnalloc(pool, len);
    if (text->data == NULL) {
        return NGX_ERROR;
    }

    p = ngx_gcs_sign_copy(text->data, &dialect->algorithm);
    *p++ = '\n';

    p = ngx_cpymem(p, date, NGX_GCS_SIGN_DATE_LEN);
    *p++ = '\n';

    p = ngx_gcs_sign_scope(p, dialect, key->day);
    *p++ = '\n';

    p = ngx_hex_dump(p, digest, NGX_GCS_SHA256_LEN);

    text->len = p - text->data;

    return NGX_OK;
}


static size_t
ngx_gcs_sign_scope_len(ngx_gcs_sign_dialect_t *dialect)
{
    return NGX_GCS_SIGN_DAY_LEN + 1 + dialect->location.len + 1
           + dialect->service.len + 1 + dialect->terminator.len;
}


static u_char *
ngx_gcs_sign_scope(u_char *p, ngx_gcs_sign_dialect_t *dialect, u_char *day)
{
    p = ngx_cpymem(p, day, NGX_GCS_SIGN_DAY_LEN);
    *p++ = '/';
    p = ngx_gcs_sign_copy(p, &dialect->location);
    *p++ = '/';
    p = ngx_gcs_sign_copy(p, &dialect->service);
    *p++ = '/';
    p = ngx_gcs_sign_copy(p, &dialect->terminator);

    return p;
}


static u_char *
ngx_gcs_sign_copy(u_char *p, ngx_str_t *text)
{
    /* an empty text may have no data */

    return text->len ? ngx_cpymem(p, text->data, text->len) : p;
}


ngx_int_t
ngx_gcs_sign_hmac(ngx_pool_t *pool, ngx_str_t *access_id, ngx_str_t *secret,
    ngx_gcs_sign_key_t *cache, ngx_gcs_sign_request_t *req,
    ngx_str_t *authorization)
{
    ngx_int_t  rc;

    rc = ngx_gcs_sign_key(&ngx_gcs_sign_storage, secret, req->now, cache);
    if (rc != NGX_OK) {
        return rc;
    }

    return ngx_gcs_sign_authorization(pool, &ngx_gcs_sign_storage, access_id,
                                      cache, req, authorization);
}
