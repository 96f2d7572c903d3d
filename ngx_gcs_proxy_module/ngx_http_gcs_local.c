
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "ngx_http_gcs.h"


static ngx_uint_t ngx_http_gcs_local_passed_on(ngx_http_request_t *r);
static ngx_uint_t ngx_http_gcs_local_text(ngx_str_t *text);
static ngx_uint_t ngx_http_gcs_local_address(struct sockaddr *sa);
static ngx_uint_t ngx_http_gcs_local_inet(in_addr_t addr);
#if (NGX_HAVE_INET6)
static ngx_uint_t ngx_http_gcs_local_inet6(struct in6_addr *addr);
#endif


/*
 * Neither the address of the peer is enough nor the one that the realip module
 * has put in its place: behind a proxy on this machine the former is always
 * local, and the latter is what a header says, which a client may have made
 * up.  So both must be local.  A proxy that is not known to nginx leaves its
 * trace in a header, most often.
 */

ngx_uint_t
ngx_http_gcs_local(ngx_http_request_t *r)
{
    ngx_str_t                   text;
    ngx_uint_t                  key;
    ngx_connection_t           *c;
    ngx_http_variable_value_t  *v;

    static ngx_str_t  name = ngx_string("realip_remote_addr");

    c = r->connection;

    if (!ngx_http_gcs_local_address(c->sockaddr)) {
        return 0;
    }

    /* a balancer tells whom it speaks for, or that it does not know */

    if (r->main->http_connection->addr_conf->proxy_protocol
        && (c->proxy_protocol == NULL
            || !ngx_http_gcs_local_text(&c->proxy_protocol->src_addr)))
    {
        return 0;
    }

    /* only an nginx with the realip module knows the variable */

    key = ngx_hash_key(name.data, name.len);
    v = ngx_http_get_variable(r, &name, key);

    if (v == NULL) {
        return 0;
    }

    if (!v->not_found) {
        text.len = v->len;
        text.data = v->data;

        if (!ngx_http_gcs_local_text(&text)) {
            return 0;
        }
    }

    return !ngx_http_gcs_local_passed_on(r);
}


/* each proxy has its own way to tell of the client, or of what it asked for */

static ngx_uint_t
ngx_http_gcs_local_passed_on(ngx_http_request_t *r)
{
    size_t                       len;
    ngx_uint_t                   i;
    ngx_table_elt_t             *h;
    ngx_http_gcs_header_walk_t   at;

    static char    *headers[] = {
        "X-Real-IP", "Forwarded", "Via", "X-Client-IP",
        "X-Cluster-Client-IP", "True-Client-IP", "CF-Connecting-IP", NULL
    };
    static u_char   prefix[] = "X-Forwarded-";

    for (i = 0; headers[i]; i++) {
        if (ngx_http_gcs_find_header(&r->headers_in.headers, headers[i])) {
            return 1;
        }
    }

    len = sizeof(prefix) - 1;

    for (h = ngx_http_gcs_header_first(&at, &r->headers_in.headers);
         h;
         h = ngx_http_gcs_header_next(&at))
    {
        if (h->key.len >= len
            && ngx_strncasecmp(h->key.data, prefix, len) == 0)
        {
            return 1;
        }
    }

    return 0;
}


/* an address as a variable has it */

static ngx_uint_t
ngx_http_gcs_local_text(ngx_str_t *text)
{
    in_addr_t         addr;
#if (NGX_HAVE_INET6)
    struct in6_addr   addr6;
#endif

    if (text->len == 5 && ngx_strncmp(text->data, "unix:", 5) == 0) {
        return 1;
    }

    addr = ngx_inet_addr(text->data, text->len);

    if (addr != INADDR_NONE) {
        return ngx_http_gcs_local_inet(addr);
    }

#if (NGX_HAVE_INET6)
    if (ngx_inet6_addr(text->data, text->len, addr6.s6_addr) == NGX_OK) {
        return ngx_http_gcs_local_inet6(&addr6);
    }
#endif

    return 0;
}


static ngx_uint_t
ngx_http_gcs_local_address(struct sockaddr *sa)
{
    switch (sa->sa_family) {

    case AF_INET:
        return ngx_http_gcs_local_inet(
                               ((struct sockaddr_in *) sa)->sin_addr.s_addr);

#if (NGX_HAVE_INET6)
    case AF_INET6:
        return ngx_http_gcs_local_inet6(
                                    &((struct sockaddr_in6 *) sa)->sin6_addr);
#endif

#if (NGX_HAVE_UNIX_DOMAIN)
    case AF_UNIX:
        return 1;
#endif

    default:
        return 0;
    }
}


static ngx_uint_t
ngx_http_gcs_local_inet(in_addr_t addr)
{
    return (ntohl(addr) >> 24) == 127;
}


#if (NGX_HAVE_INET6)

static ngx_uint_t
ngx_http_gcs_local_inet6(struct in6_addr *addr)
{
    if (IN6_IS_ADDR_V4MAPPED(addr)) {
        return addr->s6_addr[12] == 127;
    }

    return IN6_IS_ADDR_LOOPBACK(addr);
}

#endif
