
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "ngx_http_gcs.h"


/* upstreams that stand in no configuration file */


static ngx_int_t ngx_http_gcs_upstream_ctx(ngx_conf_t *cf,
    ngx_http_upstream_srv_conf_t *us, ngx_http_conf_ctx_t *ctx);
static ngx_int_t ngx_http_gcs_upstream_server(ngx_conf_t *cf,
    ngx_http_gcs_loc_conf_t *conf, ngx_http_gcs_endpoint_t *ep,
    ngx_http_upstream_srv_conf_t *us);
static ngx_int_t ngx_http_gcs_upstream_keepalive(ngx_conf_t *cf,
    ngx_http_conf_ctx_t *ctx, ngx_uint_t keepalive);


ngx_http_upstream_srv_conf_t *
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


ngx_http_upstream_srv_conf_t *
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


ngx_uint_t
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
