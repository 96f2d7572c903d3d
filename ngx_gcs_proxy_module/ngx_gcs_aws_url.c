
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_gcs_aws.h"
#include "ngx_gcs_escape.h"
#include "ngx_gcs_sign.h"


#define NGX_GCS_AWS_SCHEME       "https://"
#define NGX_GCS_AWS_REGION_MARK  "{region}"
#define NGX_GCS_AWS_FIPS         "-fips"


static ngx_int_t ngx_gcs_aws_url_text(ngx_pool_t *pool, ngx_str_t *template,
    ngx_str_t *region, ngx_str_t *text);
static ngx_uint_t ngx_gcs_aws_url_mark(u_char *p, u_char *last);
static ngx_int_t ngx_gcs_aws_url_host(ngx_pool_t *pool, ngx_str_t *raw,
    ngx_gcs_aws_url_t *url);
static ngx_int_t ngx_gcs_aws_url_path(ngx_pool_t *pool, ngx_str_t *raw,
    ngx_str_t *path);
static u_char *ngx_gcs_aws_url_segment(u_char *start, u_char *p, u_char *seg,
    size_t len);
static ngx_int_t ngx_gcs_aws_url_query(ngx_pool_t *pool, ngx_str_t *raw,
    ngx_str_t *query);


ngx_int_t
ngx_gcs_aws_url(ngx_pool_t *pool, ngx_str_t *template, ngx_str_t *region,
    ngx_gcs_aws_url_t *url)
{
    u_char     *p, *last;
    ngx_int_t   rc;
    ngx_str_t   host, path, query;

    rc = ngx_gcs_aws_url_text(pool, template, region, &url->text);
    if (rc != NGX_OK) {
        return rc;
    }

    p = url->text.data;
    last = p + url->text.len;

    if (url->text.len < sizeof(NGX_GCS_AWS_SCHEME) - 1
        || ngx_strncasecmp(p, (u_char *) NGX_GCS_AWS_SCHEME,
                           sizeof(NGX_GCS_AWS_SCHEME) - 1)
           != 0)
    {
        return NGX_DECLINED;
    }

    p += sizeof(NGX_GCS_AWS_SCHEME) - 1;

    host.data = p;

    while (p < last && *p != '/' && *p != '?') {
        p++;
    }

    host.len = p - host.data;

    path.data = p;

    while (p < last && *p != '?') {
        p++;
    }

    path.len = p - path.data;

    if (p < last) {
        p++;
    }

    query.data = p;
    query.len = last - p;

    rc = ngx_gcs_aws_url_host(pool, &host, url);
    if (rc != NGX_OK) {
        return rc;
    }

    if (ngx_gcs_aws_url_path(pool, &path, &url->path) != NGX_OK
        || ngx_gcs_aws_url_query(pool, &query, &url->query) != NGX_OK)
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_gcs_aws_url_text(ngx_pool_t *pool, ngx_str_t *template, ngx_str_t *region,
    ngx_str_t *text)
{
    size_t       len;
    u_char      *p, *src, *last;

    if (template->len > NGX_GCS_AWS_URL_MAX || !ngx_gcs_aws_word(template)) {
        return NGX_DECLINED;
    }

    src = template->data;
    last = src + template->len;
    len = 0;

    while (src < last) {

        if (ngx_gcs_aws_url_mark(src, last)) {
            src += sizeof(NGX_GCS_AWS_REGION_MARK) - 1;
            len += region->len;
            continue;
        }

        if (*src == '{' || *src == '}' || *src == '#') {
            return NGX_DECLINED;
        }

        src++;
        len++;
    }

    text->data = ngx_pnalloc(pool, len);
    if (text->data == NULL) {
        return NGX_ERROR;
    }

    p = text->data;
    src = template->data;

    while (src < last) {

        if (ngx_gcs_aws_url_mark(src, last)) {
            src += sizeof(NGX_GCS_AWS_REGION_MARK) - 1;
            p = ngx_cpymem(p, region->data, region->len);
            continue;
        }

        *p++ = *src++;
    }

    text->len = p - text->data;

    return NGX_OK;
}


static ngx_uint_t
ngx_gcs_aws_url_mark(u_char *p, u_char *last)
{
    return (size_t) (last - p) >= sizeof(NGX_GCS_AWS_REGION_MARK) - 1
           && ngx_memcmp(p, NGX_GCS_AWS_REGION_MARK,
                         sizeof(NGX_GCS_AWS_REGION_MARK) - 1)
              == 0;
}


/* the service is the first label: "sts", also of "sts-fips" */

static ngx_int_t
ngx_gcs_aws_url_host(ngx_pool_t *pool, ngx_str_t *raw, ngx_gcs_aws_url_t *url)
{
    u_char      ch, *p, *src, *last;
    ngx_int_t   port;
    ngx_str_t  *service;

    url->host.data = ngx_pnalloc(pool, raw->len);
    if (url->host.data == NULL) {
        return NGX_ERROR;
    }

    service = &url->service;
    service->len = 0;
    service->data = url->host.data;

    p = url->host.data;
    src = raw->data;
    last = src + raw->len;

    for ( /* void */ ; src < last && *src != ':'; src++) {
        ch = ngx_tolower(*src);

        if (ch == '.' && service->len == 0) {
            service->len = p - service->data;
        }

        if ((ch < 'a' || ch > 'z') && (ch < '0' || ch > '9')
            && ch != '-' && ch != '.' && ch != '_')
        {
            return NGX_DECLINED;
        }

        *p++ = ch;
    }

    if (service->len == 0) {
        service->len = p - service->data;
    }

    if (service->len > sizeof(NGX_GCS_AWS_FIPS) - 1
        && ngx_memcmp(service->data + service->len
                      - (sizeof(NGX_GCS_AWS_FIPS) - 1),
                      NGX_GCS_AWS_FIPS, sizeof(NGX_GCS_AWS_FIPS) - 1)
           == 0)
    {
        service->len -= sizeof(NGX_GCS_AWS_FIPS) - 1;
    }

    if (service->len == 0 || service->data[0] == '.') {
        return NGX_DECLINED;
    }

    if (src < last) {
        src++;

        port = ngx_atoi(src, last - src);

        if (port < 1 || port > 65535) {
            return NGX_DECLINED;
        }

        if (port != 443) {
            *p++ = ':';

            while (*src == '0') {
                src++;
            }

            p = ngx_cpymem(p, src, last - src);
        }
    }

    url->host.len = p - url->host.data;

    return NGX_OK;
}


/*
 * As AWS wants it of all services but S3: without dot segments and repeated
 * slashes, and what is escaped in the URL escaped once more.
 */

static ngx_int_t
ngx_gcs_aws_url_path(ngx_pool_t *pool, ngx_str_t *raw, ngx_str_t *path)
{
    u_char     *p, *src, *seg, *last;
    ngx_str_t   plain;

    plain.data = ngx_pnalloc(pool, raw->len + 1);
    if (plain.data == NULL) {
        return NGX_ERROR;
    }

    p = plain.data;
    src = raw->data;
    last = src + raw->len;

    /* raw is empty or begins with a slash */

    while (src < last) {

        seg = ++src;

        while (src < last && *src != '/') {
            src++;
        }

        p = ngx_gcs_aws_url_segment(plain.data, p, seg, src - seg);
    }

    if (p == plain.data || last[-1] == '/') {
        *p++ = '/';
    }

    plain.len = p - plain.data;

    path->data = ngx_pnalloc(pool,
                             ngx_gcs_escape_path_len(plain.data, plain.len));

    if (path->data == NULL) {
        return NGX_ERROR;
    }

    p = ngx_gcs_escape_path(path->data, plain.data, plain.len);
    path->len = p - path->data;

    return NGX_OK;
}


/* appends a segment at p, or takes the one before p back */

static u_char *
ngx_gcs_aws_url_segment(u_char *start, u_char *p, u_char *seg, size_t len)
{
    if (len == 0 || (len == 1 && seg[0] == '.')) {
        return p;
    }

    if (len == 2 && seg[0] == '.' && seg[1] == '.') {

        while (p > start) {
            if (*--p == '/') {
                break;
            }
        }

        return p;
    }

    *p++ = '/';

    return ngx_cpymem(p, seg, len);
}


static ngx_int_t
ngx_gcs_aws_url_query(ngx_pool_t *pool, ngx_str_t *raw, ngx_str_t *query)
{
    u_char        *p, *last;
    ngx_array_t   *params;
    ngx_keyval_t  *param;

    params = ngx_array_create(pool, 4, sizeof(ngx_keyval_t));
    if (params == NULL) {
        return NGX_ERROR;
    }

    p = raw->data;
    last = p + raw->len;

    /* also what follows a "&" at the end, though it is empty */

    while (raw->len) {

        param = ngx_array_push(params);
        if (param == NULL) {
            return NGX_ERROR;
        }

        param->key.data = p;

        while (p < last && *p != '=' && *p != '&') {
            p++;
        }

        param->key.len = p - param->key.data;

        if (p < last && *p == '=') {
            p++;
        }

        param->value.data = p;

        while (p < last && *p != '&') {
            p++;
        }

        param->value.len = p - param->value.data;

        if (p == last) {
            break;
        }

        p++;
    }

    return ngx_gcs_sign_query(pool, params, query);
}
