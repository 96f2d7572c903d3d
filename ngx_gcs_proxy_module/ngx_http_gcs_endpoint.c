
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "ngx_http_gcs.h"


static ngx_int_t ngx_http_gcs_endpoint_parse(ngx_conf_t *cf,
    ngx_str_t *url, ngx_http_gcs_address_t *address);
static in_port_t ngx_http_gcs_port(u_char *text, u_char *last);
static ngx_uint_t ngx_http_gcs_host_valid(ngx_str_t *host);
static ngx_uint_t ngx_http_gcs_endpoint_same(ngx_http_gcs_endpoint_t *one,
    ngx_http_gcs_endpoint_t *two);
static ngx_uint_t ngx_http_gcs_endpoint_trust(ngx_http_gcs_endpoint_t *one,
    ngx_http_gcs_endpoint_t *two);
static ngx_int_t ngx_http_gcs_endpoint_default(ngx_conf_t *cf,
    ngx_http_gcs_loc_conf_t *conf, ngx_http_gcs_main_conf_t *gmcf,
    ngx_http_gcs_address_t *address);
static ngx_int_t ngx_http_gcs_endpoint_ssl(ngx_conf_t *cf,
    ngx_http_gcs_loc_conf_t *conf, ngx_http_gcs_endpoint_t *ep);


static ngx_str_t  ngx_http_gcs_default = ngx_string("(default)");

static ngx_http_gcs_address_t  ngx_http_gcs_google = {
    ngx_string("storage.googleapis.com"),
    ngx_string("storage.googleapis.com"),
    ngx_string("storage.googleapis.com"),
    &ngx_http_gcs_default,
    0,
    0,
    1
};


char *
ngx_http_gcs_endpoint(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gcs_loc_conf_t *glcf = conf;

    u_char                  *p;
    ngx_str_t               *value, host;
    ngx_http_gcs_address_t  *address;

    if (glcf->address) {
        return "is duplicate";
    }

    value = cf->args->elts;

    address = ngx_pcalloc(cf->pool, sizeof(ngx_http_gcs_address_t));
    if (address == NULL) {
        return NGX_CONF_ERROR;
    }

    if (ngx_http_gcs_endpoint_parse(cf, &value[1], address) != NGX_OK) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid value \"%V\" in \"%V\" directive; it must "
                           "be \"https://NAME[:PORT]\", without a path",
                           &value[1], &cmd->name);
        return NGX_CONF_ERROR;
    }

    if (cf->args->nelts == 3) {

        if (ngx_strncmp(value[2].data, "host=", 5) != 0) {
            goto invalid;
        }

        host.data = value[2].data + 5;
        host.len = value[2].len - 5;

        address->host = host;
        address->sni = host;

        p = ngx_strlchr(host.data, host.data + host.len, ':');

        if (p) {
            address->sni.len = p - host.data;
        }

        if (!ngx_http_gcs_host_valid(&address->sni)
            || (p && ngx_http_gcs_port(p + 1, host.data + host.len) == 0))
        {
            goto invalid;
        }
    }

    address->file = &cf->conf_file->file.name;
    address->line = cf->conf_file->line;

    glcf->address = address;

    return NGX_CONF_OK;

invalid:

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid parameter \"%V\" in \"%V\" directive; "
                       "it must be \"host=NAME[:PORT]\"",
                       &value[2], &cmd->name);

    return NGX_CONF_ERROR;
}


static ngx_int_t
ngx_http_gcs_endpoint_parse(ngx_conf_t *cf, ngx_str_t *url,
    ngx_http_gcs_address_t *address)
{
    u_char  *p, *last;

    last = url->data + url->len;

    if (url->len > 8 && ngx_strncmp(url->data, "https://", 8) == 0) {
        address->tls = 1;
        address->host.data = url->data + 8;

    } else if (url->len > 7 && ngx_strncmp(url->data, "http://", 7) == 0) {
        address->host.data = url->data + 7;

    } else {
        return NGX_ERROR;
    }

    /* a trailing slash is a habit that does no harm */

    if (last[-1] == '/') {
        last--;
    }

    address->host.len = last - address->host.data;
    address->name = address->host;

    p = ngx_strlchr(address->name.data, last, ':');

    if (p) {
        address->name.len = p - address->name.data;

        address->port = ngx_http_gcs_port(p + 1, last);

        if (address->port == 0) {
            return NGX_ERROR;
        }
    }

    if (!ngx_http_gcs_host_valid(&address->name)) {
        return NGX_ERROR;
    }

    address->sni = address->name;

    return NGX_OK;
}


static in_port_t
ngx_http_gcs_port(u_char *text, u_char *last)
{
    ngx_int_t  port;

    port = ngx_atoi(text, last - text);

    return (port < 1 || port > 65535) ? 0 : (in_port_t) port;
}


static ngx_uint_t
ngx_http_gcs_host_valid(ngx_str_t *host)
{
    u_char  ch;
    size_t  i;

    for (i = 0; i < host->len; i++) {
        ch = host->data[i];

        if (!(ch == '.' || ch == '-' || ch == '_' || (ch >= '0' && ch <= '9')
              || ((ch | 0x20) >= 'a' && (ch | 0x20) <= 'z')))
        {
            return 0;
        }
    }

    return host->len != 0;
}


/* a token of another universe is of no use to Google, and not for it */

static ngx_int_t
ngx_http_gcs_endpoint_default(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *conf,
    ngx_http_gcs_main_conf_t *gmcf, ngx_http_gcs_address_t *address)
{
    ngx_uint_t                  i;
    ngx_gcs_credentials_t      *cred;
    ngx_http_gcs_identity_t   **identity;

    *address = ngx_http_gcs_google;

    if (conf->identity) {
        cred = conf->identity->source.cred;

        if (cred == NULL || ngx_gcs_credentials_google(cred)) {
            return NGX_OK;
        }

        address->name.len = sizeof("storage.") - 1 + cred->universe_domain.len;
        address->name.data = ngx_pnalloc(cf->pool, address->name.len);

        if (address->name.data == NULL) {
            return NGX_ERROR;
        }

        ngx_sprintf(address->name.data, "storage.%V", &cred->universe_domain);

        address->host = address->name;
        address->sni = address->name;

        return NGX_OK;
    }

    identity = gmcf->identities.elts;

    for (i = 0; i < gmcf->identities.nelts; i++) {
        cred = identity[i]->source.cred;

        if (cred && !ngx_gcs_credentials_google(cred)) {
            (void) ngx_http_gcs_conf_error(cf, conf,
                       "\"gcs_auth\" with variables requires "
                       "\"gcs_endpoint\", as \"gcs_credentials\" \"%V\" "
                       "belongs to another universe", &identity[i]->name);
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


ngx_http_gcs_address_t *
ngx_http_gcs_address(ngx_http_gcs_loc_conf_t *conf)
{
    if (conf->endpoint) {
        return &conf->endpoint->address;
    }

    if (conf->address) {
        return conf->address;
    }

    return conf->universe_address ? conf->universe_address
                                  : &ngx_http_gcs_google;
}


char *
ngx_http_gcs_address_merge(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *conf)
{
    ngx_http_gcs_main_conf_t  *gmcf;

    if (conf->address) {
        return NGX_CONF_OK;
    }

    gmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_gcs_proxy_module);

    conf->universe_address = ngx_palloc(cf->pool,
                                        sizeof(ngx_http_gcs_address_t));

    if (conf->universe_address == NULL
        || ngx_http_gcs_endpoint_default(cf, conf, gmcf,
                                         conf->universe_address)
           != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


ngx_http_gcs_endpoint_t *
ngx_http_gcs_endpoint_get(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *conf)
{
    ngx_uint_t                      i;
    ngx_http_gcs_address_t         *other;
    ngx_http_gcs_endpoint_t        *ep, **epp;
    ngx_http_gcs_srv_conf_t        *gscf;
    ngx_http_gcs_main_conf_t       *gmcf;
    ngx_http_upstream_srv_conf_t   *us;

    gmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_gcs_proxy_module);

    ep = ngx_pcalloc(cf->pool, sizeof(ngx_http_gcs_endpoint_t));
    if (ep == NULL) {
        return NULL;
    }

    if (conf->address) {
        ep->address = *conf->address;

    } else if (ngx_http_gcs_endpoint_default(cf, conf, gmcf, &ep->address)
               != NGX_OK)
    {
        return NULL;
    }

    ep->keepalive = conf->keepalive;

    if (ep->address.tls) {
        ep->verify = conf->ssl_verify;
        ep->ca = conf->ssl_trusted_certificate;
    }

    epp = gmcf->endpoints.elts;

    for (i = 0; i < gmcf->endpoints.nelts; i++) {
        if (ngx_http_gcs_endpoint_same(epp[i], ep)) {
            return epp[i];
        }
    }

    us = ngx_http_gcs_upstream_find(cf, ep);

    if (us == NULL) {
        us = ngx_http_gcs_upstream_create(cf, conf, ep);
        if (us == NULL) {
            return NULL;
        }
    }

    ep->upstream = us->host;

    if (!ep->address.tls && !ngx_http_gcs_upstream_local(us)) {
        (void) ngx_http_gcs_conf_error(cf, conf,
                   "\"gcs_endpoint\" \"http://%V\" is not a loopback address: "
                   "a token must not travel in clear text, use https",
                   &ep->address.name);
        return NULL;
    }

    if (ep->address.tls && ngx_http_gcs_endpoint_ssl(cf, conf, ep) != NGX_OK) {
        return NULL;
    }

    gscf = ngx_http_conf_upstream_srv_conf(us, ngx_http_gcs_proxy_module);

    if (gscf->endpoint && !ngx_http_gcs_endpoint_trust(gscf->endpoint, ep)) {
        other = &gscf->endpoint->address;

        (void) ngx_http_gcs_conf_error(cf, conf,
                   "upstream \"%V\" is used by another \"gcs_endpoint\" in "
                   "%V:%ui with a different scheme, host, verification or CA "
                   "file, but it keeps one set of connections: write an "
                   "\"upstream\" for each",
                   &us->host, other->file, other->line);
        return NULL;
    }

    gscf->endpoint = ep;

    if (ngx_http_gcs_upstream_wrap(cf, us) != NGX_OK) {
        return NULL;
    }

    epp = ngx_array_push(&gmcf->endpoints);
    if (epp == NULL) {
        return NULL;
    }

    *epp = ep;

    return ep;
}


static ngx_uint_t
ngx_http_gcs_endpoint_same(ngx_http_gcs_endpoint_t *one,
    ngx_http_gcs_endpoint_t *two)
{
    ngx_http_gcs_address_t  *a, *b;

    a = &one->address;
    b = &two->address;

    return a->port == b->port
           && a->name.len == b->name.len
           && ngx_strncasecmp(a->name.data, b->name.data, a->name.len) == 0
           && one->keepalive == two->keepalive
           && ngx_http_gcs_endpoint_trust(one, two);
}


/* whether a connection made for one may be used for the other */

static ngx_uint_t
ngx_http_gcs_endpoint_trust(ngx_http_gcs_endpoint_t *one,
    ngx_http_gcs_endpoint_t *two)
{
    ngx_http_gcs_address_t  *a, *b;

    a = &one->address;
    b = &two->address;

    return a->tls == b->tls
           && a->host.len == b->host.len
           && ngx_strncasecmp(a->host.data, b->host.data, a->host.len) == 0
           && one->verify == two->verify
           && one->ca.len == two->ca.len
           && ngx_strncmp(one->ca.data, two->ca.data, one->ca.len) == 0;
}


static ngx_int_t
ngx_http_gcs_endpoint_ssl(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *conf,
    ngx_http_gcs_endpoint_t *ep)
{
    ngx_str_t            ciphers;
    ngx_pool_cleanup_t  *cln;

    ep->ssl = ngx_pcalloc(cf->pool, sizeof(ngx_ssl_t));
    if (ep->ssl == NULL) {
        return NGX_ERROR;
    }

    ep->ssl->log = cf->log;

    if (ngx_ssl_create(ep->ssl, NGX_SSL_TLSv1_2|NGX_SSL_TLSv1_3, NULL)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    cln = ngx_pool_cleanup_add(cf->pool, 0);
    if (cln == NULL) {
        ngx_ssl_cleanup_ctx(ep->ssl);
        return NGX_ERROR;
    }

    cln->handler = ngx_ssl_cleanup_ctx;
    cln->data = ep->ssl;

    ngx_str_set(&ciphers, "DEFAULT");

    if (ngx_ssl_ciphers(cf, ep->ssl, &ciphers, 0) != NGX_OK) {
        return NGX_ERROR;
    }

    if (ep->verify && ep->ca.len) {

        if (ngx_ssl_trusted_certificate(cf, ep->ssl, &ep->ca, 100) != NGX_OK) {
            return NGX_ERROR;
        }

    } else if (ep->verify) {

        /* the certificates that the system trusts, as libcurl does */

        if (SSL_CTX_set_default_verify_paths(ep->ssl->ctx) == 0) {
            (void) ngx_http_gcs_conf_error(cf, conf,
                       "the system's trusted certificates cannot be used; "
                       "set \"gcs_ssl_trusted_certificate\"");
            return NGX_ERROR;
        }
    }

    return ngx_ssl_client_session_cache(cf, ep->ssl, 1);
}
