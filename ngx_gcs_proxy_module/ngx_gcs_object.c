
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_gcs_object.h"


#define NGX_GCS_BUCKET_MIN  3
#define NGX_GCS_BUCKET_MAX  222


static ngx_int_t ngx_gcs_object_hex(u_char c);
static ngx_int_t ngx_gcs_object_unescape(u_char *dst, u_char *src,
    size_t size);


char *
ngx_gcs_object_parse_url(ngx_str_t *url, ngx_gcs_object_t *object)
{
    u_char  *p, *last;

    if (url->len < sizeof("gs://") - 1
        || ngx_memcmp(url->data, "gs://", sizeof("gs://") - 1) != 0)
    {
        return "not a \"gs://\" URL";
    }

    p = url->data + sizeof("gs://") - 1;
    last = url->data + url->len;

    object->bucket.data = p;

    while (p < last && *p != '/') {
        p++;
    }

    object->bucket.len = p - object->bucket.data;

    if (object->bucket.len == 0) {
        return "no bucket in \"gs://\" URL";
    }

    if (ngx_gcs_bucket_check(&object->bucket) != NGX_OK) {
        return "invalid bucket name in \"gs://\" URL";
    }

    if (p < last) {
        p++;
    }

    object->name.data = p;
    object->name.len = last - p;

    return NULL;
}


ngx_int_t
ngx_gcs_bucket_check(ngx_str_t *bucket)
{
    u_char      c;
    size_t      i;
    ngx_uint_t  alnum;

    if (bucket->len < NGX_GCS_BUCKET_MIN || bucket->len > NGX_GCS_BUCKET_MAX) {
        return NGX_DECLINED;
    }

    for (i = 0; i < bucket->len; i++) {
        c = bucket->data[i];

        alnum = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');

        if (alnum) {
            continue;
        }

        if (i == 0 || i == bucket->len - 1) {
            return NGX_DECLINED;
        }

        if (c != '-' && c != '_' && c != '.') {
            return NGX_DECLINED;
        }
    }

    return NGX_OK;
}


char *
ngx_gcs_object_check(ngx_str_t *name)
{
    size_t   i, n;
    u_char  *p;

    if (name->len > NGX_GCS_OBJECT_MAX) {
        return "object name is longer than 1024 bytes";
    }

    if ((name->len == 1 && name->data[0] == '.')
        || (name->len == 2 && name->data[0] == '.' && name->data[1] == '.'))
    {
        return "object name is a dot segment";
    }

    for (i = 0; i < name->len; i += n) {

        p = &name->data[i];

        if (*p == '\0' || *p == CR || *p == LF) {
            return "object name contains NUL, CR or LF";
        }

        n = ngx_gcs_object_character(p, name->data + name->len);

        if (n == 0) {
            return "object name is not valid UTF-8";
        }
    }

    return NULL;
}


size_t
ngx_gcs_object_character(u_char *p, u_char *last)
{
    u_char  low, high;
    size_t  i, n;

    if (*p < 0x80) {
        return 1;
    }

    /* the second byte tells overlong forms, surrogates, and what is too big */

    low = 0x80;
    high = 0xbf;

    if (*p >= 0xc2 && *p <= 0xdf) {
        n = 2;

    } else if (*p >= 0xe0 && *p <= 0xef) {
        n = 3;

        if (*p == 0xe0) {
            low = 0xa0;

        } else if (*p == 0xed) {
            high = 0x9f;
        }

    } else if (*p >= 0xf0 && *p <= 0xf4) {
        n = 4;

        if (*p == 0xf0) {
            low = 0x90;

        } else if (*p == 0xf4) {
            high = 0x8f;
        }

    } else {
        return 0;
    }

    if ((size_t) (last - p) < n) {
        return 0;
    }

    if (p[1] < low || p[1] > high) {
        return 0;
    }

    for (i = 2; i < n; i++) {
        if (p[i] < 0x80 || p[i] > 0xbf) {
            return 0;
        }
    }

    return n;
}


ngx_int_t
ngx_gcs_object_decode_path(ngx_pool_t *pool, ngx_str_t *raw, ngx_str_t *path,
    char **reason)
{
    size_t     i, size, escapes;
    u_char    *dst;
    ngx_int_t  n;

    escapes = 0;

    for (i = 0; i < raw->len && raw->data[i] != '?'; i++) {
        if (raw->data[i] == '%') {
            escapes++;
        }
    }

    size = i;

    path->len = size;
    path->data = raw->data;

    if (escapes) {
        dst = ngx_pnalloc(pool, size);
        if (dst == NULL) {
            return NGX_ERROR;
        }

        n = ngx_gcs_object_unescape(dst, raw->data, size);

        if (n == NGX_ERROR) {
            *reason = "malformed escape in path";
            return NGX_DECLINED;
        }

        path->len = n;
        path->data = dst;
    }

    if (ngx_gcs_object_dot_segment(path)) {
        *reason = "\".\" or \"..\" segment in path";
        return NGX_DECLINED;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_gcs_object_unescape(u_char *dst, u_char *src, size_t size)
{
    u_char     *d, *last;
    ngx_int_t   high, low;

    d = dst;
    last = src + size;

    while (src < last) {

        if (*src != '%') {
            *d++ = *src++;
            continue;
        }

        if (last - src < 3) {
            return NGX_ERROR;
        }

        high = ngx_gcs_object_hex(src[1]);
        low = ngx_gcs_object_hex(src[2]);

        if (high == NGX_ERROR || low == NGX_ERROR) {
            return NGX_ERROR;
        }

        *d++ = (u_char) (high << 4 | low);
        src += 3;
    }

    return d - dst;
}


static ngx_int_t
ngx_gcs_object_hex(u_char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }

    c = (u_char) (c | 0x20);

    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }

    return NGX_ERROR;
}


ngx_uint_t
ngx_gcs_object_dot_segment(ngx_str_t *path)
{
    u_char  *p, *last, *segment;

    segment = path->data;
    last = path->data + path->len;

    for (p = segment; /* void */ ; p++) {

        if (p < last && *p != '/') {
            continue;
        }

        if (p - segment == 1 && segment[0] == '.') {
            return 1;
        }

        if (p - segment == 2 && segment[0] == '.' && segment[1] == '.') {
            return 1;
        }

        if (p == last) {
            return 0;
        }

        segment = p + 1;
    }
}


ngx_uint_t
ngx_gcs_object_same_path(ngx_str_t *path, ngx_str_t *uri)
{
    size_t  i, n;

    n = 0;

    for (i = 0; i < path->len; i++) {

        if (path->data[i] == '/' && i > 0 && path->data[i - 1] == '/') {
            continue;
        }

        if (n == uri->len || path->data[i] != uri->data[n]) {
            return 0;
        }

        n++;
    }

    return n == uri->len;
}
