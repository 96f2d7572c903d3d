
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_gcs_cors.h"


static u_char *ngx_gcs_cors_scheme(u_char *p, u_char *last);
static char *ngx_gcs_cors_name(u_char **pos, u_char *last);
static char *ngx_gcs_cors_name_end(u_char *start, u_char *p, u_char *label);
static char *ngx_gcs_cors_literal(u_char **pos, u_char *last);
static char *ngx_gcs_cors_port(ngx_gcs_cors_origin_t *origin, u_char *p,
    u_char *last);
static char *ngx_gcs_cors_rest(u_char ch);
static ngx_uint_t ngx_gcs_cors_wildcard(ngx_gcs_cors_pattern_t *pattern,
    ngx_gcs_cors_origin_t *origin);


#define ngx_gcs_cors_same(s1, s2)                                             \
    ((s1)->len == (s2)->len                                                   \
     && ngx_memcmp((s1)->data, (s2)->data, (s1)->len) == 0)


char *
ngx_gcs_cors_origin(ngx_gcs_cors_origin_t *origin, ngx_str_t *text)
{
    char    *err;
    size_t   i;
    u_char  *p, *last;

    static ngx_str_t  null = ngx_string("null");

    origin->text.len = 0;
    origin->text.data = origin->buf;
    origin->host = 0;

    if (text->len == 0) {
        return "it is empty";
    }

    if (text->len > NGX_GCS_CORS_ORIGIN) {
        return "it is too long";
    }

    for (i = 0; i < text->len; i++) {
        origin->buf[i] = ngx_tolower(text->data[i]);
    }

    if (ngx_gcs_cors_same(text, &null)) {
        origin->text.len = text->len;
        return NULL;
    }

    last = origin->buf + text->len;

    p = ngx_gcs_cors_scheme(origin->buf, last);
    if (p == NULL) {
        return "write \"https://HOST\"";
    }

    origin->host = p - origin->buf;

    err = (p < last && *p == '[') ? ngx_gcs_cors_literal(&p, last)
                                  : ngx_gcs_cors_name(&p, last);
    if (err) {
        return err;
    }

    origin->text.len = p - origin->buf;

    if (p == last) {
        return NULL;
    }

    if (*p != ':') {
        return ngx_gcs_cors_rest(*p);
    }

    return ngx_gcs_cors_port(origin, p + 1, last);
}


/* returns what stands behind "://", or NULL */

static u_char *
ngx_gcs_cors_scheme(u_char *p, u_char *last)
{
    u_char  *start;

    for (start = p; p < last; p++) {

        if (*p >= 'a' && *p <= 'z') {
            continue;
        }

        if (p > start
            && ((*p >= '0' && *p <= '9')
                || *p == '+' || *p == '-' || *p == '.'))
        {
            continue;
        }

        break;
    }

    if (p == start || last - p < 3 || ngx_memcmp(p, "://", 3) != 0) {
        return NULL;
    }

    return p + 3;
}


/* a name of labels, or an IPv4 address */

static char *
ngx_gcs_cors_name(u_char **pos, u_char *last)
{
    u_char  *p, *start, *label;

    start = *pos;
    label = start;

    for (p = start; p < last; p++) {

        if (*p == '.') {

            if (p == label) {
                return "a label of the host is empty";
            }

            label = p + 1;
            continue;
        }

        if (!((*p >= 'a' && *p <= 'z') || (*p >= '0' && *p <= '9')
              || *p == '-' || *p == '_'))
        {
            break;
        }
    }

    if (p < last && *p != ':') {
        return ngx_gcs_cors_rest(*p);
    }

    *pos = p;

    return ngx_gcs_cors_name_end(start, p, label);
}


/*
 * Browsers take a name whose last label is a number, also a hexadecimal one,
 * for an address, and send the usual form of it (WHATWG URL, "ends in a
 * number").
 */

static char *
ngx_gcs_cors_name_end(u_char *start, u_char *p, u_char *label)
{
    u_char          buf[sizeof("255.255.255.255")];
    ngx_uint_t      hex;
    struct in_addr  addr;

    if (p == start) {
        return "there is no host";
    }

    if (p == label) {
        return "the host ends with a dot, remove it";
    }

    if (p - start > 253) {
        return "the host is too long";
    }

    if (*label < '0' || *label > '9') {
        return NULL;
    }

    hex = (p - label >= 2 && label[0] == '0' && label[1] == 'x');

    for (label += hex ? 2 : 0; label < p; label++) {
        if ((*label < '0' || *label > '9')
            && !(hex && *label >= 'a' && *label <= 'f'))
        {
            return NULL;
        }
    }

    if ((size_t) (p - start) < sizeof(buf)) {

        ngx_memzero(buf, sizeof(buf));
        ngx_memcpy(buf, start, p - start);

        if (inet_pton(AF_INET, (char *) buf, &addr) == 1) {
            return NULL;
        }
    }

    return "the host is not a valid IPv4 address";
}


/* an IPv6 address in brackets */

static char *
ngx_gcs_cors_literal(u_char **pos, u_char *last)
{
    u_char           *p, *end;
    u_char            buf[INET6_ADDRSTRLEN];
    struct in6_addr   addr;

    p = *pos + 1;
    end = ngx_strlchr(p, last, ']');

    if (end && (size_t) (end - p) < sizeof(buf)) {

        ngx_memzero(buf, sizeof(buf));
        ngx_memcpy(buf, p, end - p);

        /* inet_pton() would not see what follows a NUL */

        if (ngx_strlen(buf) == (size_t) (end - p)
            && inet_pton(AF_INET6, (char *) buf, &addr) == 1)
        {
            *pos = end + 1;
            return NULL;
        }
    }

    return "the host is not a valid IPv6 address";
}


static char *
ngx_gcs_cors_port(ngx_gcs_cors_origin_t *origin, u_char *p, u_char *last)
{
    u_char      *q;
    ngx_uint_t   port;

    port = 0;

    for (q = p; q < last && *q >= '0' && *q <= '9' && q - p < 5; q++) {
        port = port * 10 + (*q - '0');
    }

    if (q < last && !(*q >= '0' && *q <= '9')) {
        return ngx_gcs_cors_rest(*q);
    }

    if (q == p || q < last || *p == '0' || port > 65535) {
        return "the port is not valid";
    }

    if ((port == 80 && ngx_strncmp(origin->buf, "http://", 7) == 0)
        || (port == 443 && ngx_strncmp(origin->buf, "https://", 8) == 0))
    {
        return NULL;
    }

    origin->text.len = last - origin->buf;

    return NULL;
}


/* what it must be that stands where the origin should end */

static char *
ngx_gcs_cors_rest(u_char ch)
{
    if (ch >= 0x80) {
        return "write an international name in punycode, \"xn--...\"";
    }

    switch (ch) {

    case '/':
    case '?':
    case '#':
        return "an origin has no path, remove what follows the host";

    case '@':
        return "an origin has no user name";

    case '*':
        return "a wildcard stands for the first label of a host, as in "
               "\"https://*.example.com\"";

    default:
        return "a character in it cannot be in a host";
    }
}


char *
ngx_gcs_cors_pattern(ngx_gcs_cors_pattern_t *pattern, ngx_str_t *text,
    ngx_gcs_cors_origin_t *buf)
{
    char       *err;
    size_t      n;
    u_char     *p, *last;
    ngx_str_t   rest;
    u_char      name[NGX_GCS_CORS_ORIGIN];

    ngx_memzero(pattern, sizeof(ngx_gcs_cors_pattern_t));

    if (text->len == 1 && text->data[0] == '*') {
        pattern->kind = NGX_GCS_CORS_ANY;
        return NULL;
    }

    rest = *text;
    last = text->data + text->len;

    for (p = text->data; p < last && *p != '*'; p++) { /* void */ }

    n = p - text->data;

    if (last - p > 2 && p[1] == '.' && text->len <= NGX_GCS_CORS_ORIGIN
        && n > 3 && ngx_strncmp(p - 3, "://", 3) == 0)
    {
        pattern->kind = NGX_GCS_CORS_LABEL;

        ngx_memcpy(name, text->data, n);
        ngx_memcpy(name + n, p + 2, last - p - 2);

        rest.len = text->len - 2;
        rest.data = name;
    }

    err = ngx_gcs_cors_origin(buf, &rest);
    if (err) {
        return err;
    }

    pattern->text = buf->text;
    pattern->host = buf->host;

    return NULL;
}


ngx_gcs_cors_match_e
ngx_gcs_cors_match(ngx_gcs_cors_pattern_t *pattern,
    ngx_gcs_cors_origin_t *origin)
{
    switch (pattern->kind) {

    case NGX_GCS_CORS_ANY:
        return NGX_GCS_CORS_ALL;

    case NGX_GCS_CORS_EXACT:
        return ngx_gcs_cors_same(&pattern->text, &origin->text)
               ? NGX_GCS_CORS_YES : NGX_GCS_CORS_NO;

    case NGX_GCS_CORS_LABEL:
        return ngx_gcs_cors_wildcard(pattern, origin)
               ? NGX_GCS_CORS_YES : NGX_GCS_CORS_NO;

    default: /* NGX_GCS_CORS_CUSTOM */
        return NGX_GCS_CORS_NO;
    }
}


/* one label, and neither less nor more, stands where the "*" did */

static ngx_uint_t
ngx_gcs_cors_wildcard(ngx_gcs_cors_pattern_t *pattern,
    ngx_gcs_cors_origin_t *origin)
{
    u_char  *p, *dot;
    size_t   tail;

    if (origin->host != pattern->host
        || ngx_memcmp(origin->text.data, pattern->text.data, pattern->host)
           != 0)
    {
        return 0;
    }

    tail = pattern->text.len - pattern->host;

    /* at least a letter and the dot more */

    if (origin->text.len < pattern->text.len + 2) {
        return 0;
    }

    dot = origin->text.data + origin->text.len - tail - 1;

    if (*dot != '.'
        || ngx_memcmp(dot + 1, pattern->text.data + pattern->host, tail) != 0)
    {
        return 0;
    }

    for (p = origin->text.data + origin->host; p < dot; p++) {
        if (*p == '.' || *p == '[' || *p == ':') {
            return 0;
        }
    }

    return 1;
}
