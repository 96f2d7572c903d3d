
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "ngx_http_gcs.h"


static ngx_int_t ngx_http_gcs_endpoint_parse(ngx_conf_t *cf,
    ngx_str_t *url, ngx_http_gcs_address_t *address);
static ngx_uint_t ngx_http_gcs_host_valid(ngx_str_t *host);
static ngx_uint_t ngx_http_gcs_endpoint_same(ngx_http_gcs_endpoint_t *one,
    ngx_http_gcs_endpoint_t *two);
static ngx_http_upstream_srv_conf_t *ngx_http_gcs_upstream_find(
    ngx_conf_t *cf, ngx_http_gcs_endpoint_t *ep);
static ngx_http_upstream_srv_conf_t *ngx_http_gcs_upstream_create(
    ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *conf,
    ngx_http_gcs_endpoint_t *ep);
static ngx_int_t ngx_http_gcs_upstream_ctx(ngx_conf_t *cf,
    ngx_http_upstream_srv_conf_t *us, ngx_http_conf_ctx_t *ctx);
static ngx_int_t ngx_http_gcs_upstream_server(ngx_conf_t *cf,
    ngx_http_gcs_loc_conf_t *conf, ngx_http_gcs_endpoint_t *ep,
    ngx_http_upstream_srv_conf_t *us);
static ngx_int_t ngx_http_gcs_upstream_keepalive(ngx_conf_t *cf,
    ngx_http_conf_ctx_t *ctx, ngx_uint_t keepalive);
static ngx_uint_t ngx_http_gcs_upstream_local(
    ngx_http_upstream_srv_conf_t *us);
static ngx_int_t ngx_http_gcs_endpoint_ssl(ngx_conf_t *cf,
    ngx_http_gcs_loc_conf_t *conf, ngx_http_gcs_endpoint_t *ep);


static ngx_http_gcs_address_t  ngx_http_gcs_google = {
    ngx_string("storage.googleapis.com"),
    ngx_string("storage.googleapis.com"),
    ngx_string("storage.googleapis.com"),
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
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid parameter \"%V\"", &value[2]);
            return NGX_CONF_ERROR;
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
            || (p && ngx_atoi(p + 1, host.data + host.len - p - 1) < 1))
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid host in parameter \"%V\"", &value[2]);
            return NGX_CONF_ERROR;
        }
    }

    glcf->address = address;

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_gcs_endpoint_parse(ngx_conf_t *cf, ngx_str_t *url,
    ngx_http_gcs_address_t *address)
{
    u_char     *p, *last;
    ngx_int_t   port;

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

        port = ngx_atoi(p + 1, last - p - 1);

        if (port < 1 || port > 65535) {
            return NGX_ERROR;
        }

        address->port = (in_port_t) port;
    }

    if (!ngx_http_gcs_host_valid(&address->name)) {
        return NGX_ERROR;
    }

    address->sni = address->name;

    return NGX_OK;
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


ngx_http_gcs_endpoint_t *
ngx_http_gcs_endpoint_get(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *conf)
{
    ngx_uint_t                      i;
    ngx_http_gcs_endpoint_t        *ep, **epp;
    ngx_http_gcs_main_conf_t       *gmcf;
    ngx_http_upstream_srv_conf_t   *us;

    gmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_gcs_proxy_module);

    ep = ngx_pcalloc(cf->pool, sizeof(ngx_http_gcs_endpoint_t));
    if (ep == NULL) {
        return NULL;
    }

    ep->address = conf->address ? *conf->address : ngx_http_gcs_google;
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

    return a->tls == b->tls
           && a->port == b->port
           && a->name.len == b->name.len
           && ngx_strncasecmp(a->name.data, b->name.data, a->name.len) == 0
           && a->host.len == b->host.len
           && ngx_strncasecmp(a->host.data, b->host.data, a->host.len) == 0
           && one->verify == two->verify
           && one->keepalive == two->keepalive
           && one->ca.len == two->ca.len
           && ngx_strncmp(one->ca.data, two->ca.data, one->ca.len) == 0;
}


/* the user's own upstream of that name; ours have a "|" in their names */

static ngx_http_upstream_srv_conf_t *
ngx_http_gcs_upstream_find(ngx_conf_t *cf, ngx_http_gcs_endpoint_t *ep)
{
    ngx_uint_t                       i;
    ngx_http_upstream_srv_conf_t   **uscfp;
    ngx_http_upstream_main_conf_t   *umcf;

    if (ep->address.port) {
        return NULL;
    }

    umcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_upstream_module);
    uscfp = umcf->upstreams.elts;

    for (i = 0; i < umcf->upstreams.nelts; i++) {

        if ((uscfp[i]->flags & NGX_HTTP_UPSTREAM_CREATE)
            && uscfp[i]->host.len == ep->address.name.len
            && ngx_strncasecmp(uscfp[i]->host.data, ep->address.name.data,
                               ep->address.name.len)
               == 0)
        {
            return uscfp[i];
        }
    }

    return NULL;
}


/*
 * Makes what "upstream NAME { server ...; keepalive N; }" would: so that
 * connections are kept on every nginx version, with nothing of it in the
 * user's configuration.
 */

static ngx_http_upstream_srv_conf_t *
ngx_http_gcs_upstream_create(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *conf,
    ngx_http_gcs_endpoint_t *ep)
{
    u_char                        *p;
    size_t                         len;
    ngx_url_t                      u;
    ngx_http_conf_ctx_t            ctx;
    ngx_http_gcs_main_conf_t      *gmcf;
    ngx_http_upstream_srv_conf_t  *us;

    gmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_gcs_proxy_module);

    ngx_memzero(&u, sizeof(ngx_url_t));

    len = ep->address.name.len + sizeof("gcs||") - 1 + NGX_INT_T_LEN;

    p = ngx_pnalloc(cf->pool, len);
    if (p == NULL) {
        return NULL;
    }

    u.host.data = p;
    p = ngx_sprintf(p, "gcs|%V|%ui", &ep->address.name,
                    gmcf->endpoints.nelts);
    u.host.len = p - u.host.data;
    u.no_resolve = 1;
    u.no_port = 1;

    us = ngx_http_upstream_add(cf, &u, NGX_HTTP_UPSTREAM_CREATE
                                       |NGX_HTTP_UPSTREAM_WEIGHT
                                       |NGX_HTTP_UPSTREAM_MAX_CONNS
                                       |NGX_HTTP_UPSTREAM_MAX_FAILS
                                       |NGX_HTTP_UPSTREAM_FAIL_TIMEOUT
                                       |NGX_HTTP_UPSTREAM_DOWN
                                       |NGX_HTTP_UPSTREAM_BACKUP);
    if (us == NULL) {
        return NULL;
    }

    if (ngx_http_gcs_upstream_ctx(cf, us, &ctx) != NGX_OK
        || ngx_http_gcs_upstream_server(cf, conf, ep, us) != NGX_OK
        || ngx_http_gcs_upstream_keepalive(cf, &ctx, ep->keepalive) != NGX_OK)
    {
        return NULL;
    }

    return us;
}


static ngx_int_t
ngx_http_gcs_upstream_ctx(ngx_conf_t *cf, ngx_http_upstream_srv_conf_t *us,
    ngx_http_conf_ctx_t *ctx)
{
    void               *mconf;
    size_t              size;
    ngx_uint_t          m;
    ngx_http_module_t  *module;

    size = sizeof(void *) * ngx_http_max_module;

    ctx->main_conf = ((ngx_http_conf_ctx_t *) cf->ctx)->main_conf;

    ctx->srv_conf = ngx_pcalloc(cf->pool, size);
    if (ctx->srv_conf == NULL) {
        return NGX_ERROR;
    }

    ctx->loc_conf = ngx_pcalloc(cf->pool, size);
    if (ctx->loc_conf == NULL) {
        return NGX_ERROR;
    }

    for (m = 0; cf->cycle->modules[m]; m++) {

        if (cf->cycle->modules[m]->type != NGX_HTTP_MODULE) {
            continue;
        }

        module = cf->cycle->modules[m]->ctx;

        if (module->create_srv_conf) {
            mconf = module->create_srv_conf(cf);
            if (mconf == NULL) {
                return NGX_ERROR;
            }

            ctx->srv_conf[cf->cycle->modules[m]->ctx_index] = mconf;
        }

        if (module->create_loc_conf) {
            mconf = module->create_loc_conf(cf);
            if (mconf == NULL) {
                return NGX_ERROR;
            }

            ctx->loc_conf[cf->cycle->modules[m]->ctx_index] = mconf;
        }
    }

    ctx->srv_conf[ngx_http_upstream_module.ctx_index] = us;
    us->srv_conf = ctx->srv_conf;

    return NGX_OK;
}


static ngx_int_t
ngx_http_gcs_upstream_server(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *conf,
    ngx_http_gcs_endpoint_t *ep, ngx_http_upstream_srv_conf_t *us)
{
    ngx_url_t                    u;
    ngx_http_upstream_server_t  *server;

    us->servers = ngx_array_create(cf->pool, 1,
                                   sizeof(ngx_http_upstream_server_t));
    if (us->servers == NULL) {
        return NGX_ERROR;
    }

    server = ngx_array_push(us->servers);
    if (server == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(&u, sizeof(ngx_url_t));

    u.url = ep->address.port ? ep->address.host : ep->address.name;

    if (ep->address.port) {

        /* NAME:PORT as written, which "host=" may have replaced */

        u.url.data = ep->address.name.data;
        u.url.len = ep->address.name.len + 1;

        while (u.url.data[u.url.len] >= '0' && u.url.data[u.url.len] <= '9') {
            u.url.len++;
        }
    }

    u.default_port = ep->address.tls ? 443 : 80;

    if (ngx_parse_url(cf->pool, &u) != NGX_OK) {
        (void) ngx_http_gcs_conf_error(cf, conf,
                   "%s \"%V\" of \"gcs_endpoint\"; nginx resolves it at start",
                   u.err ? u.err : "cannot resolve", &u.url);
        return NGX_ERROR;
    }

    ngx_memzero(server, sizeof(ngx_http_upstream_server_t));

    server->name = u.url;
    server->addrs = u.addrs;
    server->naddrs = u.naddrs;
    server->weight = 1;
    server->fail_timeout = 10;

    /* max_fails is 0: GCS has no dead servers, only bad moments */

    return NGX_OK;
}


static ngx_int_t
ngx_http_gcs_upstream_keepalive(ngx_conf_t *cf, ngx_http_conf_ctx_t *ctx,
    ngx_uint_t keepalive)
{
    char           *rv;
    void           *conf;
    ngx_str_t      *value;
    ngx_conf_t      save;
    ngx_module_t   *module;
    ngx_command_t  *cmd;

    module = ngx_http_gcs_find_module(cf,
                                      "ngx_http_upstream_keepalive_module");

    if (module == NULL) {

        /* nginx built without it: correct, but slow */

        return NGX_OK;
    }

    for (cmd = module->commands; cmd->name.len; cmd++) {
        if (ngx_strcmp(cmd->name.data, "keepalive") == 0) {
            break;
        }
    }

    if (cmd->name.len == 0) {
        return NGX_OK;
    }

    save = *cf;

    cf->ctx = ctx;
    cf->args = ngx_array_create(cf->pool, 2, sizeof(ngx_str_t));
    if (cf->args == NULL) {
        *cf = save;
        return NGX_ERROR;
    }

    value = ngx_array_push_n(cf->args, 2);
    if (value == NULL) {
        *cf = save;
        return NGX_ERROR;
    }

    value[0] = cmd->name;

    value[1].data = ngx_pcalloc(cf->pool, NGX_INT_T_LEN + 1);
    if (value[1].data == NULL) {
        *cf = save;
        return NGX_ERROR;
    }

    value[1].len = ngx_sprintf(value[1].data, "%ui", keepalive)
                   - value[1].data;

    conf = ctx->srv_conf[module->ctx_index];

    rv = cmd->set(cf, cmd, conf);

    *cf = save;

    return (rv == NGX_CONF_OK) ? NGX_OK : NGX_ERROR;
}


/* whether all addresses of the upstream are on this machine */

static ngx_uint_t
ngx_http_gcs_upstream_local(ngx_http_upstream_srv_conf_t *us)
{
    ngx_uint_t                   i, n;
    struct sockaddr             *sa;
    ngx_http_upstream_server_t  *server;

    server = us->servers->elts;

    for (i = 0; i < us->servers->nelts; i++) {

        if (server[i].naddrs == 0) {
            return 0;
        }

        for (n = 0; n < server[i].naddrs; n++) {
            sa = server[i].addrs[n].sockaddr;

            switch (sa->sa_family) {

            case AF_UNIX:
                break;

            case AF_INET:
                if ((ntohl(((struct sockaddr_in *) sa)->sin_addr.s_addr) >> 24)
                    != 127)
                {
                    return 0;
                }

                break;

#if (NGX_HAVE_INET6)
            case AF_INET6:
                if (!IN6_IS_ADDR_LOOPBACK(
                         &((struct sockaddr_in6 *) sa)->sin6_addr))
                {
                    return 0;
                }

                break;
#endif

            default:
                return 0;
            }
        }
    }

    return 1;
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
