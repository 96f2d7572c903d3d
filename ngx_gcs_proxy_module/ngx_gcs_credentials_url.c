
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_gcs_credentials.h"


static ngx_int_t ngx_gcs_credentials_url(ngx_str_t *url, ngx_str_t *host,
    ngx_uint_t *https);
static ngx_int_t ngx_gcs_credentials_host(ngx_str_t *host);
static ngx_int_t ngx_gcs_credentials_port(u_char *p, u_char *last);
static ngx_uint_t ngx_gcs_credentials_loopback(ngx_str_t *host);
static ngx_uint_t ngx_gcs_credentials_named(ngx_str_t *host, ngx_str_t *list);


/*
 * Link-local addresses of metadata servers: of Google, AWS and Azure; of
 * Google and of AWS by IPv6; of ECS and EKS for containers.
 */

static ngx_str_t  ngx_gcs_credentials_addresses[] = {
    ngx_string("169.254.169.254"),
    ngx_string("[fd20:ce::254]"),
    ngx_string("[fd00:ec2::254]"),
    ngx_string("169.254.170.2"),
    ngx_string("169.254.170.23"),
    ngx_string("[fd00:ec2::23]"),
    ngx_null_string
};


static ngx_str_t  ngx_gcs_credentials_hosts[] = {
    ngx_string("metadata.google.internal"),
    ngx_string("metadata.google.internal."),
    ngx_null_string
};


ngx_uint_t
ngx_gcs_credentials_url_allowed(ngx_str_t *url, ngx_str_t *domain)
{
    u_char      *p;
    ngx_str_t    host;
    ngx_uint_t   https;

    if (ngx_gcs_credentials_url(url, &host, &https) != NGX_OK) {
        return 0;
    }

    if (ngx_gcs_credentials_loopback(&host)) {
        return 1;
    }

    if (!https || domain->len == 0 || host.len < domain->len) {
        return 0;
    }

    p = host.data + host.len - domain->len;

    if (ngx_strncasecmp(p, domain->data, domain->len) != 0) {
        return 0;
    }

    return p == host.data || p[-1] == '.';
}


ngx_uint_t
ngx_gcs_credentials_url_secure(ngx_str_t *url)
{
    ngx_str_t   host;
    ngx_uint_t  https;

    if (ngx_gcs_credentials_url(url, &host, &https) != NGX_OK) {
        return 0;
    }

    return https || ngx_gcs_credentials_loopback(&host);
}


ngx_uint_t
ngx_gcs_credentials_url_local(ngx_str_t *url)
{
    ngx_str_t   host;
    ngx_uint_t  https;

    if (ngx_gcs_credentials_url(url, &host, &https) != NGX_OK) {
        return 0;
    }

    return ngx_gcs_credentials_loopback(&host)
           || ngx_gcs_credentials_named(&host, ngx_gcs_credentials_addresses);
}


ngx_uint_t
ngx_gcs_credentials_metadata_host(ngx_str_t *name)
{
    u_char      buf[256];
    ngx_str_t   url, host;
    ngx_uint_t  https;

    if (name->len + sizeof("http://") > sizeof(buf)
        || ngx_strlchr(name->data, name->data + name->len, '/')
        || ngx_strlchr(name->data, name->data + name->len, '?'))
    {
        return 0;
    }

    url.data = buf;
    url.len = ngx_sprintf(buf, "http://%V", name) - buf;

    if (ngx_gcs_credentials_url(&url, &host, &https) != NGX_OK) {
        return 0;
    }

    return ngx_gcs_credentials_loopback(&host)
           || ngx_gcs_credentials_named(&host, ngx_gcs_credentials_addresses)
           || ngx_gcs_credentials_named(&host, ngx_gcs_credentials_hosts);
}


static ngx_uint_t
ngx_gcs_credentials_named(ngx_str_t *host, ngx_str_t *list)
{
    for ( /* void */ ; list->len; list++) {
        if (host->len == list->len
            && ngx_strncasecmp(host->data, list->data, host->len) == 0)
        {
            return 1;
        }
    }

    return 0;
}


/*
 * Takes only what every parser of URLs understands alike: libcurl's must
 * not find another host than this one.
 */

static ngx_int_t
ngx_gcs_credentials_url(ngx_str_t *url, ngx_str_t *host, ngx_uint_t *https)
{
    u_char  *p, *last;

    last = url->data + url->len;

    for (p = url->data; p < last; p++) {
        if (*p <= ' ' || *p >= 0x7f || *p == '#' || *p == '\\') {
            return NGX_DECLINED;
        }
    }

    if (url->len > sizeof("https://") - 1
        && ngx_strncasecmp(url->data, (u_char *) "https://",
                           sizeof("https://") - 1)
           == 0)
    {
        *https = 1;
        p = url->data + sizeof("https://") - 1;

    } else if (url->len > sizeof("http://") - 1
               && ngx_strncasecmp(url->data, (u_char *) "http://",
                                  sizeof("http://") - 1)
                  == 0)
    {
        *https = 0;
        p = url->data + sizeof("http://") - 1;

    } else {
        return NGX_DECLINED;
    }

    host->data = p;

    if (*p == '[') {

        while (p < last && *p != ']') {
            p++;
        }

        if (p == last) {
            return NGX_DECLINED;
        }

        p++;

    } else {

        while (p < last && *p != ':' && *p != '/' && *p != '?') {
            p++;
        }
    }

    host->len = p - host->data;

    if (ngx_gcs_credentials_host(host) != NGX_OK) {
        return NGX_DECLINED;
    }

    return ngx_gcs_credentials_port(p, last);
}


/* an "@" in the authority is refused here, or as a character of the port */

static ngx_int_t
ngx_gcs_credentials_host(ngx_str_t *host)
{
    u_char      c, ch;
    size_t      i;
    ngx_uint_t  ipv6;

    if (host->len == 0) {
        return NGX_DECLINED;
    }

    ipv6 = (host->data[0] == '[');

    if (ipv6 && host->len < sizeof("[::]") - 1) {
        return NGX_DECLINED;
    }

    for (i = ipv6; i < host->len - ipv6; i++) {
        ch = host->data[i];
        c = (u_char) (ch | 0x20);

        if ((ch >= '0' && ch <= '9') || ch == '.') {
            continue;
        }

        if (ipv6) {
            if ((c >= 'a' && c <= 'f') || ch == ':') {
                continue;
            }

        } else {
            if ((c >= 'a' && c <= 'z') || ch == '-' || ch == '_') {
                continue;
            }
        }

        return NGX_DECLINED;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_gcs_credentials_port(u_char *p, u_char *last)
{
    u_char     *port;
    ngx_int_t   n;

    if (p == last || *p == '/' || *p == '?') {
        return NGX_OK;
    }

    if (*p != ':') {
        return NGX_DECLINED;
    }

    port = ++p;

    while (p < last && *p != '/' && *p != '?') {
        p++;
    }

    n = ngx_atoi(port, p - port);

    return (n > 0 && n <= 65535) ? NGX_OK : NGX_DECLINED;
}


/* 127.0.0.0/8 in four plain decimal numbers: "127.1" is for no one */

static ngx_uint_t
ngx_gcs_credentials_loopback(ngx_str_t *host)
{
    size_t       len;
    u_char      *p, *dot, *last;
    ngx_int_t    n;
    ngx_uint_t   i;

    if (host->len == sizeof("localhost") - 1
        && ngx_strncasecmp(host->data, (u_char *) "localhost", host->len) == 0)
    {
        return 1;
    }

    if (host->len == sizeof("[::1]") - 1
        && ngx_memcmp(host->data, "[::1]", host->len) == 0)
    {
        return 1;
    }

    p = host->data;
    last = host->data + host->len;

    for (i = 0; /* void */ ; i++) {

        dot = p;

        while (dot < last && *dot != '.') {
            dot++;
        }

        len = dot - p;

        if (len == 0 || len > 3 || (len > 1 && *p == '0')) {
            return 0;
        }

        n = ngx_atoi(p, len);

        if (n == NGX_ERROR || n > 255 || (i == 0 && n != 127)) {
            return 0;
        }

        if (i == 3) {
            return dot == last;
        }

        if (dot == last) {
            return 0;
        }

        p = dot + 1;
    }
}
