
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_gcs_redirect.h"
#include "ngx_gcs_unescape.h"


static ngx_uint_t ngx_gcs_redirect_skip(ngx_str_t *text, char *prefix);
static ngx_int_t ngx_gcs_redirect_read(ngx_pool_t *pool,
    ngx_gcs_redirect_conf_t *conf, ngx_str_t *text,
    ngx_gcs_redirect_t *redirect, char **reason);
static ngx_int_t ngx_gcs_redirect_server(ngx_pool_t *pool,
    ngx_gcs_redirect_conf_t *conf, ngx_str_t *authority,
    ngx_gcs_redirect_t *redirect, char **reason);
static ngx_int_t ngx_gcs_redirect_object(ngx_pool_t *pool, ngx_str_t *path,
    ngx_gcs_redirect_t *redirect, char **reason);
static ngx_uint_t ngx_gcs_redirect_json(ngx_str_t *path);
static ngx_uint_t ngx_gcs_redirect_target(ngx_str_t *target);


ngx_int_t
ngx_gcs_redirect_location(ngx_pool_t *pool, ngx_gcs_redirect_conf_t *conf,
    ngx_str_t *value, ngx_gcs_redirect_t *redirect, char **reason)
{
    ngx_str_t  text;

    ngx_memzero(redirect, sizeof(ngx_gcs_redirect_t));

    text = *value;

    if (ngx_gcs_redirect_skip(&text, "https://")) {
        redirect->https = 1;

    } else if (!ngx_gcs_redirect_skip(&text, "http://")) {
        *reason = "not an absolute URL of HTTP";
        return NGX_DECLINED;
    }

    return ngx_gcs_redirect_read(pool, conf, &text, redirect, reason);
}


ngx_int_t
ngx_gcs_redirect_accel(ngx_pool_t *pool, ngx_gcs_redirect_conf_t *conf,
    ngx_str_t *value, ngx_gcs_redirect_t *redirect, char **reason)
{
    ngx_str_t  text;

    ngx_memzero(redirect, sizeof(ngx_gcs_redirect_t));

    text = *value;

    if (!ngx_gcs_redirect_skip(&text, "/file_download/")) {
        *reason = "not of Label Studio's form";
        return NGX_DECLINED;
    }

    if (ngx_gcs_redirect_skip(&text, "https/")) {
        redirect->https = 1;

    } else if (!ngx_gcs_redirect_skip(&text, "http/")) {
        *reason = "not a URL of HTTP";
        return NGX_DECLINED;
    }

    return ngx_gcs_redirect_read(pool, conf, &text, redirect, reason);
}


static ngx_uint_t
ngx_gcs_redirect_skip(ngx_str_t *text, char *prefix)
{
    size_t  len;

    len = ngx_strlen(prefix);

    if (text->len < len
        || ngx_strncasecmp(text->data, (u_char *) prefix, len) != 0)
    {
        return 0;
    }

    text->data += len;
    text->len -= len;

    return 1;
}


/* text begins with the authority */

static ngx_int_t
ngx_gcs_redirect_read(ngx_pool_t *pool, ngx_gcs_redirect_conf_t *conf,
    ngx_str_t *text, ngx_gcs_redirect_t *redirect, char **reason)
{
    u_char     *p, *last;
    ngx_int_t   rc;
    ngx_str_t   authority, path, query;

    if (text->len > NGX_GCS_REDIRECT_MAX) {
        *reason = "too long";
        return NGX_DECLINED;
    }

    last = text->data + text->len;
    p = ngx_strlchr(text->data, last, '/');

    if (p == NULL) {
        *reason = "no path";
        return NGX_DECLINED;
    }

    authority.data = text->data;
    authority.len = p - text->data;

    redirect->target.data = p;
    redirect->target.len = last - p;

    if (!ngx_gcs_redirect_target(&redirect->target)) {
        *reason = "a character or an escape that has no place in a URL";
        return NGX_DECLINED;
    }

    rc = ngx_gcs_redirect_server(pool, conf, &authority, redirect, reason);

    if (rc != NGX_OK) {
        return rc;
    }

    path.data = p;

    p = ngx_strlchr(p, last, '?');

    path.len = (p ? p : last) - path.data;

    query.data = p ? p + 1 : last;
    query.len = last - query.data;

    rc = ngx_gcs_redirect_object(pool, &path, redirect, reason);

    if (rc != NGX_OK) {
        return rc;
    }

    return ngx_gcs_redirect_query(pool, &query, redirect, reason);
}


static ngx_int_t
ngx_gcs_redirect_server(ngx_pool_t *pool, ngx_gcs_redirect_conf_t *conf,
    ngx_str_t *authority, ngx_gcs_redirect_t *redirect, char **reason)
{
    size_t      i;
    u_char     *p;
    in_port_t   port, standard;
    ngx_str_t   host;

    if (ngx_gcs_redirect_authority(authority, &host, &port) != NGX_OK) {
        *reason = "not a host, with a port or without";
        return NGX_DECLINED;
    }

    standard = redirect->https ? 443 : 80;

    if (port == standard) {
        authority->len = host.len;
        port = 0;
    }

    p = ngx_pnalloc(pool, authority->len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < authority->len; i++) {
        p[i] = ngx_tolower(authority->data[i]);
    }

    redirect->host.data = p;
    redirect->host.len = authority->len;

    host.data = p;

    if (ngx_gcs_redirect_match(conf, &host, port, redirect) != NGX_OK) {
        *reason = "not a host of Cloud Storage";
        return NGX_DECLINED;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_gcs_redirect_object(ngx_pool_t *pool, ngx_str_t *path,
    ngx_gcs_redirect_t *redirect, char **reason)
{
    char       *err;
    u_char     *p, *last;
    ngx_int_t   rc;
    ngx_str_t   raw;

    p = path->data + 1;
    last = path->data + path->len;

    if (redirect->style == NGX_GCS_REDIRECT_PATH) {

        if (ngx_gcs_redirect_json(path)) {
            *reason = "a path of the JSON API";
            return NGX_DECLINED;
        }

        redirect->object.bucket.data = p;

        p = ngx_strlchr(p, last, '/');

        if (p == NULL) {
            *reason = "no object in the path";
            return NGX_DECLINED;
        }

        redirect->object.bucket.len = p - redirect->object.bucket.data;
        p++;
    }

    /* nobody escapes what may be in a bucket's name, so "%" is refused here */

    if (ngx_gcs_bucket_check(&redirect->object.bucket) != NGX_OK) {
        *reason = "invalid bucket name";
        return NGX_DECLINED;
    }

    raw.data = p;
    raw.len = last - p;

    if (raw.len == 0) {
        *reason = "no object in the path";
        return NGX_DECLINED;
    }

    rc = ngx_gcs_object_decode_path(pool, &raw, &redirect->object.name,
                                    reason);
    if (rc != NGX_OK) {
        return rc;
    }

    err = ngx_gcs_object_check(&redirect->object.name);

    if (err) {
        *reason = err;
        return NGX_DECLINED;
    }

    return NGX_OK;
}


/* the JSON API lives on the same host, before any bucket of these names */

static ngx_uint_t
ngx_gcs_redirect_json(ngx_str_t *path)
{
    ngx_str_t    text;
    ngx_uint_t   i;
    static char  *paths[] = {
        "/storage/v", "/download/storage/", "/upload/storage/",
        "/batch/storage/"
    };

    for (i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        text = *path;

        if (ngx_gcs_redirect_skip(&text, paths[i])) {
            return 1;
        }
    }

    return 0;
}


/* whether path and query are of RFC 3986, 3.3 and 3.4, without a fragment */

static ngx_uint_t
ngx_gcs_redirect_target(ngx_str_t *target)
{
    u_char  ch, *p, *last;

    last = target->data + target->len;

    for (p = target->data; p < last; p++) {
        ch = *p;

        if (ch <= ' ' || ch >= 0x7f) {
            return 0;
        }

        switch (ch) {

        case '"': case '#': case '<': case '>': case '[': case '\\':
        case ']': case '^': case '`': case '{': case '|': case '}':
            return 0;

        case '%':
            if (!ngx_gcs_unescape_at(p, last)) {
                return 0;
            }
        }
    }

    return 1;
}
