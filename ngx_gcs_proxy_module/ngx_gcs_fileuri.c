
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_gcs_fileuri.h"
#include "ngx_gcs_unescape.h"


#define ngx_gcs_fileuri_begins(text, with)                                    \
    ((text)->len >= sizeof(with) - 1                                          \
     && ngx_memcmp((text)->data, with, sizeof(with) - 1) == 0)


static char *ngx_gcs_fileuri_find(ngx_str_t *query, ngx_str_t *value);
static ngx_uint_t ngx_gcs_fileuri_named(u_char *p, u_char *last);
static char *ngx_gcs_fileuri_decode(ngx_str_t *value);
static size_t ngx_gcs_fileuri_high(ngx_str_t *text);
static ngx_int_t ngx_gcs_fileuri_base64(ngx_str_t *text);
static ngx_int_t ngx_gcs_fileuri_digit(u_char ch);
static char *ngx_gcs_fileuri_split(ngx_str_t *uri, ngx_gcs_object_t *object);


static ngx_str_t  ngx_gcs_fileuri_name = ngx_string("fileuri");


ngx_int_t
ngx_gcs_fileuri(ngx_pool_t *pool, ngx_str_t *query, ngx_gcs_object_t *object,
    char **reason)
{
    char       *err;
    u_char     *p;
    ngx_str_t   value;

    err = ngx_gcs_fileuri_find(query, &value);

    if (err) {
        *reason = err;
        return NGX_DECLINED;
    }

    p = ngx_pnalloc(pool, value.len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    /* Django's only pass */

    value.len = ngx_gcs_unescape(p, value.data, value.len, 1) - p;
    value.data = p;

    err = ngx_gcs_fileuri_decode(&value);

    if (err == NULL) {
        err = ngx_gcs_fileuri_split(&value, object);
    }

    if (err) {
        *reason = err;
        return NGX_DECLINED;
    }

    return NGX_OK;
}


static char *
ngx_gcs_fileuri_find(ngx_str_t *query, ngx_str_t *value)
{
    u_char      *p, *end, *last, *equal;
    ngx_uint_t   found;

    if (query->len > NGX_GCS_FILEURI_MAX) {
        return "the query is too long";
    }

    last = query->data + query->len;

    for (p = query->data; p < last; p++) {
        if (*p <= ' ' || *p >= 0x7f || *p == '#') {
            return "a character in the query that has no place there";
        }
    }

    found = 0;

    for (p = query->data; p < last; p = end + 1) {

        end = ngx_strlchr(p, last, '&');

        if (end == NULL) {
            end = last;
        }

        equal = ngx_strlchr(p, end, '=');

        if (equal == NULL) {
            equal = end;
        }

        if (!ngx_gcs_fileuri_named(p, equal)) {
            continue;
        }

        found++;

        p = (equal < end) ? equal + 1 : end;

        value->data = p;
        value->len = end - p;
    }

    if (found > 1) {
        return "more than one \"fileuri\"";
    }

    if (found == 0 || value->len == 0) {
        return "no \"fileuri\"";
    }

    return NULL;
}


/* it may be escaped, too, to be seen by Django alone */

static ngx_uint_t
ngx_gcs_fileuri_named(u_char *p, u_char *last)
{
    u_char  *end, name[3 * (sizeof("fileuri") - 1)];

    if ((size_t) (last - p) > sizeof(name)) {
        return 0;
    }

    end = ngx_gcs_unescape(name, p, last - p, 1);

    return (size_t) (end - name) == ngx_gcs_fileuri_name.len
           && ngx_memcmp(name, ngx_gcs_fileuri_name.data,
                         ngx_gcs_fileuri_name.len)
              == 0;
}


static char *
ngx_gcs_fileuri_decode(ngx_str_t *value)
{
    size_t  high;

    if (ngx_gcs_fileuri_begins(value, "gs")) {

        /*
         * Whatever follows, as base64 it begins with the byte 82, or is too
         * short: either is an error in any Python, after which the text is
         * unquoted.
         */

        high = ngx_gcs_fileuri_high(value);

        value->len = ngx_gcs_unescape(value->data, value->data, value->len, 0)
                     - value->data;

        /*
         * A character, one byte of which was escaped once and another twice,
         * is valid here, but Python has replaced its parts before they met.
         */

        if (high && ngx_gcs_fileuri_high(value) != high) {
            return "characters escaped once and others escaped twice";
        }

        return NULL;
    }

    if (ngx_gcs_fileuri_begins(value, "Z3M6Ly")) {

        if (ngx_gcs_fileuri_base64(value) != NGX_OK) {
            return "not strictly base64 of the alphabet of URLs";
        }

        return NULL;
    }

    return "neither \"gs://\" nor base64 of it";
}


static size_t
ngx_gcs_fileuri_high(ngx_str_t *text)
{
    size_t  i, n;

    n = 0;

    for (i = 0; i < text->len; i++) {
        if (text->data[i] >= 0x80) {
            n++;
        }
    }

    return n;
}


/*
 * Decodes in place.  nginx's own decoder stops at the first "=", and takes
 * what has no padding, which is an error in Python.
 */

static ngx_int_t
ngx_gcs_fileuri_base64(ngx_str_t *text)
{
    u_char      *dst;
    size_t       i, len;
    uint32_t     bits;
    ngx_int_t    digit;
    ngx_uint_t   n;

    len = text->len;

    if (len % 4 != 0) {
        return NGX_DECLINED;
    }

    while (len && text->len - len < 2 && text->data[len - 1] == '=') {
        len--;
    }

    n = 0;
    bits = 0;
    dst = text->data;

    for (i = 0; i < len; i++) {
        digit = ngx_gcs_fileuri_digit(text->data[i]);

        if (digit == NGX_ERROR) {
            return NGX_DECLINED;
        }

        bits = bits << 6 | (uint32_t) digit;
        n += 6;

        if (n >= 8) {
            n -= 8;
            *dst++ = (u_char) (bits >> n);
            bits &= (1U << n) - 1;
        }
    }

    if (bits) {
        return NGX_DECLINED;
    }

    text->len = dst - text->data;

    return NGX_OK;
}


static ngx_int_t
ngx_gcs_fileuri_digit(u_char ch)
{
    if (ch >= 'A' && ch <= 'Z') {
        return ch - 'A';
    }

    if (ch >= 'a' && ch <= 'z') {
        return ch - 'a' + 26;
    }

    if (ch >= '0' && ch <= '9') {
        return ch - '0' + 52;
    }

    if (ch == '-') {
        return 62;
    }

    return (ch == '_') ? 63 : NGX_ERROR;
}


static char *
ngx_gcs_fileuri_split(ngx_str_t *uri, ngx_gcs_object_t *object)
{
    char    *err;
    size_t   i;

    for (i = 0; i < uri->len; i++) {

        switch (uri->data[i]) {

        case '?':
            return "\"?\" in the URI";

        case '\t':
        case CR:
        case LF:
            return "a tab or a line break in the URI";
        }
    }

    err = ngx_gcs_object_parse_url(uri, object);

    if (err) {
        return err;
    }

    while (object->name.len && object->name.data[0] == '/') {
        object->name.data++;
        object->name.len--;
    }

    if (object->name.len == 0) {
        return "no object in the URI";
    }

    return ngx_gcs_object_check(&object->name);
}
