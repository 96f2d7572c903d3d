
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_gcs_sign.h"


#define NGX_GCS_SIGN_URL_EXPIRES  (7 * 86400)

#define ngx_gcs_sign_url_hex(c)                                               \
    (((c) >= '0' && (c) <= '9') || ((c) >= 'A' && (c) <= 'F'))


static ngx_uint_t ngx_gcs_sign_url_host(ngx_str_t *host);
static ngx_uint_t ngx_gcs_sign_url_path(ngx_str_t *path);
static ngx_uint_t ngx_gcs_sign_url_method(ngx_str_t *method);
static ngx_uint_t ngx_gcs_sign_url_word(ngx_str_t *word);
static ngx_uint_t ngx_gcs_sign_url_value(ngx_str_t *value);
static ngx_int_t ngx_gcs_sign_url_check_headers(ngx_array_t *headers);
static ngx_int_t ngx_gcs_sign_url_check_params(ngx_array_t *params);
static ngx_uint_t ngx_gcs_sign_url_listed(ngx_str_t *name, ngx_str_t *list);


static ngx_str_t  ngx_gcs_sign_url_response = ngx_string("response-");


static ngx_str_t  ngx_gcs_sign_url_hash[] = {
    ngx_string("x-goog-content-sha256"),
    ngx_null_string
};


/* names that must not be signed; one that ends with "-" is a prefix */

static ngx_str_t  ngx_gcs_sign_url_unsafe[] = {
    ngx_string("accept-encoding"),    /* Google's front end rewrites it */
    ngx_string("authorization"),
    ngx_string("connection"),
    ngx_string("expect"),
    ngx_string("forwarded"),
    ngx_string("host"),
    ngx_string("http2-settings"),
    ngx_string("keep-alive"),
    ngx_string("proxy-"),
    ngx_string("te"),
    ngx_string("traceparent"),
    ngx_string("tracestate"),
    ngx_string("trailer"),
    ngx_string("transfer-encoding"),
    ngx_string("upgrade"),
    ngx_string("user-agent"),
    ngx_string("via"),
    ngx_string("x-amz-"),             /* never together with x-goog-* */
    ngx_string("x-cloud-trace-context"),
    ngx_string("x-forwarded-"),
    ngx_null_string
};


/* parameters that make a signed URL: of V4, of V2, of S3's two dialects */

static ngx_str_t  ngx_gcs_sign_url_reserved[] = {
    ngx_string("x-goog-algorithm"),
    ngx_string("x-goog-credential"),
    ngx_string("x-goog-date"),
    ngx_string("x-goog-expires"),
    ngx_string("x-goog-signature"),
    ngx_string("x-goog-signedheaders"),
    ngx_string("googleaccessid"),
    ngx_string("expires"),
    ngx_string("signature"),
    ngx_string("awsaccesskeyid"),
    ngx_string("x-amz-"),
    ngx_null_string
};


ngx_int_t
ngx_gcs_sign_url_check(ngx_gcs_sign_url_t *url)
{
    if ((url->scheme.len != 4 && url->scheme.len != 5)
        || ngx_strncmp(url->scheme.data, "https", url->scheme.len) != 0)
    {
        return NGX_DECLINED;
    }

    if (!ngx_gcs_sign_url_host(&url->host)
        || !ngx_gcs_sign_url_host(&url->signed_host)
        || !ngx_gcs_sign_url_path(&url->path)
        || !ngx_gcs_sign_url_method(&url->method)
        || !ngx_gcs_sign_url_word(&url->account))
    {
        return NGX_DECLINED;
    }

    if (url->location.len && !ngx_gcs_sign_url_word(&url->location)) {
        return NGX_DECLINED;
    }

    if (url->expires < 1 || url->expires > NGX_GCS_SIGN_URL_EXPIRES) {
        return NGX_DECLINED;
    }

    if (url->headers
        && ngx_gcs_sign_url_check_headers(url->headers) != NGX_OK)
    {
        return NGX_DECLINED;
    }

    if (url->params) {
        return ngx_gcs_sign_url_check_params(url->params);
    }

    return NGX_OK;
}


/* nothing that ends a host or is something else than a host, such as "@" */

static ngx_uint_t
ngx_gcs_sign_url_host(ngx_str_t *host)
{
    u_char  ch;
    size_t  i;

    for (i = 0; i < host->len; i++) {
        ch = ngx_tolower(host->data[i]);

        if ((ch >= 'a' && ch <= 'z') || (ch >= '0' && ch <= '9')) {
            continue;
        }

        switch (ch) {

        case '-': case '.': case '_': case ':': case '[': case ']':
            continue;

        default:
            return 0;
        }
    }

    return host->len != 0;
}


/* just what ngx_gcs_escape_path() writes: any other text has two meanings */

static ngx_uint_t
ngx_gcs_sign_url_path(ngx_str_t *path)
{
    u_char  ch, *p, *last;

    if (path->len == 0 || path->data[0] != '/') {
        return 0;
    }

    last = path->data + path->len;

    for (p = path->data; p < last; p++) {
        ch = *p;

        if ((ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z')
            || (ch >= '-' && ch <= '9') || ch == '_' || ch == '~')
        {
            /* from "-" to "9" there are ".", "/" and the digits */
            continue;
        }

        if (ch != '%' || last - p < 3
            || !ngx_gcs_sign_url_hex(p[1]) || !ngx_gcs_sign_url_hex(p[2]))
        {
            return 0;
        }

        p += 2;
    }

    return 1;
}


static ngx_uint_t
ngx_gcs_sign_url_method(ngx_str_t *method)
{
    size_t  i;

    for (i = 0; i < method->len; i++) {
        if (method->data[i] < 'A' || method->data[i] > 'Z') {
            return 0;
        }
    }

    return method->len != 0;
}


/* a part of the credential, whose parts are divided by "/" */

static ngx_uint_t
ngx_gcs_sign_url_word(ngx_str_t *word)
{
    u_char  ch;
    size_t  i;

    for (i = 0; i < word->len; i++) {
        ch = word->data[i];

        if (ch <= ' ' || ch >= 0x7f || ch == '/') {
            return 0;
        }
    }

    return word->len != 0;
}


/* what a field of a request or of a response may hold */

static ngx_uint_t
ngx_gcs_sign_url_value(ngx_str_t *value)
{
    u_char  ch;
    size_t  i;

    for (i = 0; i < value->len; i++) {
        ch = value->data[i];

        if ((ch < ' ' && ch != '\t') || ch == 0x7f) {
            return 0;
        }
    }

    return 1;
}


/* ngx_gcs_sign_canonical() sees to it that the names are tokens */

static ngx_int_t
ngx_gcs_sign_url_check_headers(ngx_array_t *headers)
{
    ngx_uint_t     i, hashes;
    ngx_keyval_t  *header;

    hashes = 0;
    header = headers->elts;

    for (i = 0; i < headers->nelts; i++) {

        if (ngx_gcs_sign_url_listed(&header[i].key, ngx_gcs_sign_url_unsafe)
            || !ngx_gcs_sign_url_value(&header[i].value))
        {
            return NGX_DECLINED;
        }

        hashes += ngx_gcs_sign_url_listed(&header[i].key,
                                          ngx_gcs_sign_url_hash);
    }

    return hashes > 1 ? NGX_DECLINED : NGX_OK;
}


static ngx_int_t
ngx_gcs_sign_url_check_params(ngx_array_t *params)
{
    ngx_str_t     *name;
    ngx_uint_t     i;
    ngx_keyval_t  *param;

    param = params->elts;

    for (i = 0; i < params->nelts; i++) {
        name = &param[i].key;

        if (name->len == 0
            || ngx_gcs_sign_url_listed(name, ngx_gcs_sign_url_reserved))
        {
            return NGX_DECLINED;
        }

        /* its value becomes a header of the response */

        if (name->len > ngx_gcs_sign_url_response.len
            && ngx_strncasecmp(name->data, ngx_gcs_sign_url_response.data,
                               ngx_gcs_sign_url_response.len)
               == 0
            && !ngx_gcs_sign_url_value(&param[i].value))
        {
            return NGX_DECLINED;
        }
    }

    return NGX_OK;
}


static ngx_uint_t
ngx_gcs_sign_url_listed(ngx_str_t *name, ngx_str_t *list)
{
    for ( /* void */ ; list->len; list++) {

        if (name->len != list->len
            && (name->len < list->len || list->data[list->len - 1] != '-'))
        {
            continue;
        }

        if (ngx_strncasecmp(name->data, list->data, list->len) == 0) {
            return 1;
        }
    }

    return 0;
}
