
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_gcs_credentials.h"
#include "ngx_gcs_redirect.h"


static ngx_uint_t ngx_gcs_redirect_name(ngx_str_t *host);
static ngx_uint_t ngx_gcs_redirect_address(ngx_str_t *host);
static ngx_uint_t ngx_gcs_redirect_ends(ngx_str_t *text, ngx_str_t *end);


static ngx_str_t  ngx_gcs_redirect_universe = ngx_string(NGX_GCS_UNIVERSE);
static ngx_str_t  ngx_gcs_redirect_service = ngx_string("storage.");
static ngx_str_t  ngx_gcs_redirect_dot = ngx_string(".");


char *
ngx_gcs_redirect_host(ngx_str_t *text, ngx_gcs_redirect_host_t *host)
{
    size_t      i;
    u_char     *p;
    ngx_str_t   authority;

    ngx_memzero(host, sizeof(ngx_gcs_redirect_host_t));

    authority = *text;

    p = ngx_strlchr(text->data, text->data + text->len, '=');

    if (p) {
        authority.len = p - text->data;

        host->style = NGX_GCS_REDIRECT_BOUND;
        host->bucket.data = p + 1;
        host->bucket.len = text->len - authority.len - 1;

        if (ngx_gcs_bucket_check(&host->bucket) != NGX_OK) {
            return "invalid bucket name";
        }
    }

    if (authority.len > 1 && authority.data[0] == '*'
        && authority.data[1] == '.')
    {
        if (host->style == NGX_GCS_REDIRECT_BOUND) {
            return "a host that stands for any bucket has none of its own";
        }

        host->style = NGX_GCS_REDIRECT_VIRTUAL;
        authority.data += 2;
        authority.len -= 2;
    }

    if (ngx_gcs_redirect_authority(&authority, &host->host, &host->port)
        != NGX_OK)
    {
        return "invalid host, \"HOST[:PORT]\", \"*.HOST[:PORT]\" or "
               "\"HOST[:PORT]=BUCKET\" is expected";
    }

    for (i = 0; i < host->host.len; i++) {
        host->host.data[i] = ngx_tolower(host->host.data[i]);
    }

    return NULL;
}


ngx_int_t
ngx_gcs_redirect_authority(ngx_str_t *authority, ngx_str_t *host,
    in_port_t *port)
{
    u_char     *p, *last;
    ngx_int_t   n;

    last = authority->data + authority->len;

    p = authority->data;

    if (p < last && *p == '[') {
        p = ngx_strlchr(p, last, ']');

        if (p == NULL) {
            return NGX_DECLINED;
        }
    }

    p = ngx_strlchr(p, last, ':');

    host->data = authority->data;
    host->len = (p ? p : last) - authority->data;

    if (!ngx_gcs_redirect_name(host) && !ngx_gcs_redirect_address(host)) {
        return NGX_DECLINED;
    }

    *port = 0;

    if (p == NULL) {
        return NGX_OK;
    }

    p++;

    /* in one spelling only: no zeros before it */

    if (p == last || *p == '0') {
        return NGX_DECLINED;
    }

    n = ngx_atoi(p, last - p);

    if (n == NGX_ERROR || n > 65535) {
        return NGX_DECLINED;
    }

    *port = (in_port_t) n;

    return NGX_OK;
}


/* letters, digits, "-" and "_" between single dots */

static ngx_uint_t
ngx_gcs_redirect_name(ngx_str_t *host)
{
    u_char  ch, last;
    size_t  i;

    last = '.';

    for (i = 0; i < host->len; i++) {
        ch = ngx_tolower(host->data[i]);

        if (ch == '.') {
            if (last == '.') {
                return 0;
            }

        } else if ((ch < 'a' || ch > 'z') && (ch < '0' || ch > '9')
                   && ch != '-' && ch != '_')
        {
            return 0;
        }

        last = ch;
    }

    return last != '.';
}


/* an address of IPv6 is only compared, so what is in it does not matter */

static ngx_uint_t
ngx_gcs_redirect_address(ngx_str_t *host)
{
    u_char  ch;
    size_t  i;

    if (host->len < sizeof("[::]") - 1 || host->data[0] != '['
        || host->data[host->len - 1] != ']')
    {
        return 0;
    }

    for (i = 1; i < host->len - 1; i++) {
        ch = ngx_tolower(host->data[i]);

        if ((ch < '0' || ch > ':') && (ch < 'a' || ch > 'f') && ch != '.') {

            /* ":" follows "9" */

            return 0;
        }
    }

    return 1;
}


ngx_int_t
ngx_gcs_redirect_match(ngx_gcs_redirect_conf_t *conf, ngx_str_t *host,
    in_port_t port, ngx_gcs_redirect_t *redirect)
{
    ngx_str_t                 rest, *bucket;
    in_port_t                 standard;
    ngx_uint_t                i;
    ngx_gcs_redirect_host_t  *hosts;

    rest = *host;
    bucket = &redirect->object.bucket;

    if (port == 0
        && ngx_gcs_redirect_ends(&rest, conf->universe.len
                                        ? &conf->universe
                                        : &ngx_gcs_redirect_universe)
        && ngx_gcs_redirect_ends(&rest, &ngx_gcs_redirect_service))
    {
        if (rest.len == 0) {
            redirect->style = NGX_GCS_REDIRECT_PATH;
            return NGX_OK;
        }

        if (ngx_gcs_redirect_ends(&rest, &ngx_gcs_redirect_dot)) {
            redirect->style = NGX_GCS_REDIRECT_VIRTUAL;
            *bucket = rest;
            return NGX_OK;
        }
    }

    if (conf->hosts == NULL) {
        return NGX_DECLINED;
    }

    standard = redirect->https ? 443 : 80;
    hosts = conf->hosts->elts;

    for (i = 0; i < conf->hosts->nelts; i++) {

        if (hosts[i].port != port
            && (port != 0 || hosts[i].port != standard))
        {
            continue;
        }

        rest = *host;

        if (!ngx_gcs_redirect_ends(&rest, &hosts[i].host)) {
            continue;
        }

        if (hosts[i].style == NGX_GCS_REDIRECT_VIRTUAL) {

            if (!ngx_gcs_redirect_ends(&rest, &ngx_gcs_redirect_dot)) {
                continue;
            }

            *bucket = rest;

        } else {

            if (rest.len) {
                continue;
            }

            *bucket = hosts[i].bucket;
        }

        redirect->style = hosts[i].style;

        return NGX_OK;
    }

    return NGX_DECLINED;
}


/* takes end from text, if text ends so */

static ngx_uint_t
ngx_gcs_redirect_ends(ngx_str_t *text, ngx_str_t *end)
{
    if (text->len < end->len
        || ngx_memcmp(text->data + text->len - end->len, end->data, end->len)
           != 0)
    {
        return 0;
    }

    text->len -= end->len;

    return 1;
}
