
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "ngx_http_gcs.h"


/* upstreams that stand in no configuration file */


static ngx_int_t ngx_http_gcs_upstream_ctx(ngx_conf_t *cf,
    ngx_http_upstream_srv_conf_t *us, ngx_http_conf_ctx_t *ctx);
static ngx_int_t ngx_http_gcs_upstream_server(ngx_conf_t *cf,
    ngx_http_gcs_loc_conf_t *conf, ngx_http_gcs_endpoint_t *ep,
    ngx_http_upstream_srv_conf_t *us, ngx_http_conf_ctx_t *ctx);
static ngx_int_t ngx_http_gcs_upstream_call(ngx_conf_t *cf,
    ngx_http_conf_ctx_t *ctx, char *name, ngx_str_t *args, ngx_uint_t n);
#if (nginx_version >= 1027003)
static ngx_uint_t ngx_http_gcs_has_resolver(ngx_http_gcs_loc_conf_t *conf);
static ngx_int_t ngx_http_gcs_upstream_resolve(ngx_conf_t *cf,
    ngx_http_conf_ctx_t *ctx, ngx_http_upstream_srv_conf_t *us,
    ngx_str_t *url);
#endif
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
    ngx_url_t                      u;
    ngx_uint_t                     flags;
    ngx_http_conf_ctx_t            ctx;
    ngx_http_gcs_main_conf_t      *gmcf;
    ngx_http_upstream_srv_conf_t  *us;

    gmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_gcs_proxy_module);

    ngx_memzero(&u, sizeof(ngx_url_t));

    /*
     * A name that no user's upstream has, and a short one: nginx looks for it
     * anew at each request, letter by letter
     */

    u.host.data = ngx_pnalloc(cf->pool, sizeof("gcs|") - 1 + NGX_INT_T_LEN);
    if (u.host.data == NULL) {
        return NULL;
    }

    u.host.len = ngx_sprintf(u.host.data, "gcs|%ui", gmcf->endpoints.nelts)
                 - u.host.data;
    u.no_resolve = 1;
    u.no_port = 1;

    flags = NGX_HTTP_UPSTREAM_CREATE
            |NGX_HTTP_UPSTREAM_WEIGHT
            |NGX_HTTP_UPSTREAM_MAX_CONNS
            |NGX_HTTP_UPSTREAM_MAX_FAILS
            |NGX_HTTP_UPSTREAM_FAIL_TIMEOUT
            |NGX_HTTP_UPSTREAM_DOWN
            |NGX_HTTP_UPSTREAM_BACKUP;

#ifdef NGX_HTTP_UPSTREAM_MODIFY
    flags |= NGX_HTTP_UPSTREAM_MODIFY;
#endif

    us = ngx_http_upstream_add(cf, &u, flags);
    if (us == NULL) {
        return NULL;
    }

    if (ngx_http_gcs_upstream_ctx(cf, us, &ctx) != NGX_OK
        || ngx_http_gcs_upstream_server(cf, conf, ep, us, &ctx) != NGX_OK
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
    ngx_http_gcs_endpoint_t *ep, ngx_http_upstream_srv_conf_t *us,
    ngx_http_conf_ctx_t *ctx)
{
    ngx_url_t                    u;
    ngx_http_upstream_server_t  *server;

    ngx_memzero(&u, sizeof(ngx_url_t));

    u.url = ep->address.name;

    if (ep->address.port) {

        /* NAME:PORT as written, which "host=" may have replaced */

        u.url.len++;

        while (u.url.data[u.url.len] >= '0' && u.url.data[u.url.len] <= '9') {
            u.url.len++;
        }
    }

#if (nginx_version >= 1027003)

    if (ep->address.tls
        && ngx_inet_addr(ep->address.name.data, ep->address.name.len)
           == INADDR_NONE
        && ngx_http_gcs_has_resolver(conf)
        && ngx_http_gcs_find_module(cf, "ngx_http_upstream_zone_module"))
    {
        return ngx_http_gcs_upstream_resolve(cf, ctx, us, &u.url);
    }

#endif

    us->servers = ngx_array_create(cf->pool, 1,
                                   sizeof(ngx_http_upstream_server_t));
    if (us->servers == NULL) {
        return NGX_ERROR;
    }

    server = ngx_array_push(us->servers);
    if (server == NULL) {
        return NGX_ERROR;
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
    ngx_str_t  args[2];

    ngx_str_set(&args[0], "keepalive");

    args[1].data = ngx_pcalloc(cf->pool, NGX_INT_T_LEN + 1);
    if (args[1].data == NULL) {
        return NGX_ERROR;
    }

    args[1].len = ngx_sprintf(args[1].data, "%ui", keepalive) - args[1].data;

    return ngx_http_gcs_upstream_call(cf, ctx,
                                      "ngx_http_upstream_keepalive_module",
                                      args, 2);
}


/*
 * Calls a directive of the upstream block as if it were written there.  NGX_OK
 * also when nginx was built without the module: then it is correct, but slow.
 */

static ngx_int_t
ngx_http_gcs_upstream_call(ngx_conf_t *cf, ngx_http_conf_ctx_t *ctx,
    char *name, ngx_str_t *args, ngx_uint_t n)
{
    char           *rv;
    ngx_str_t      *value;
    ngx_conf_t      save;
    ngx_array_t    *array;
    ngx_module_t   *module;
    ngx_command_t  *cmd;

    module = ngx_http_gcs_find_module(cf, name);

    if (module == NULL) {
        return NGX_OK;
    }

    for (cmd = module->commands; cmd->name.len; cmd++) {
        if (cmd->name.len == args[0].len
            && ngx_strncmp(cmd->name.data, args[0].data, args[0].len) == 0)
        {
            goto found;
        }
    }

    return NGX_OK;

found:

    array = ngx_array_create(cf->pool, n, sizeof(ngx_str_t));
    if (array == NULL) {
        return NGX_ERROR;
    }

    value = ngx_array_push_n(array, n);
    if (value == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(value, args, n * sizeof(ngx_str_t));

    save = *cf;

    cf->ctx = ctx;
    cf->args = array;

    rv = cmd->set(cf, cmd, ctx->srv_conf[module->ctx_index]);

    *cf = save;

    return (rv == NGX_CONF_OK) ? NGX_OK : NGX_ERROR;
}


#if (nginx_version >= 1027003)

/* whether "resolver" is set in http{}, where upstreams look for it */

static ngx_uint_t
ngx_http_gcs_has_resolver(ngx_http_gcs_loc_conf_t *conf)
{
    ngx_http_core_loc_conf_t  *clcf;
    ngx_http_gcs_loc_conf_t   *level;

    for (level = conf; level->parent; level = level->parent) { /* void */ }

    clcf = level->loc_conf[ngx_http_core_module.ctx_index];

    return clcf->resolver && clcf->resolver->connections.nelts;
}


/* "zone" and "server NAME resolve": the addresses are followed at run time */

static ngx_int_t
ngx_http_gcs_upstream_resolve(ngx_conf_t *cf, ngx_http_conf_ctx_t *ctx,
    ngx_http_upstream_srv_conf_t *us, ngx_str_t *url)
{
    u_char     *p;
    ngx_str_t   args[4];

    us->servers = ngx_array_create(cf->pool, 1,
                                   sizeof(ngx_http_upstream_server_t));
    if (us->servers == NULL) {
        return NGX_ERROR;
    }

    ngx_str_set(&args[0], "zone");
    args[1] = us->host;
    ngx_str_set(&args[2], "256k");

    if (ngx_http_gcs_upstream_call(cf, ctx, "ngx_http_upstream_zone_module",
                                   args, 3)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    p = ngx_pnalloc(cf->pool, url->len + sizeof(":443"));
    if (p == NULL) {
        return NGX_ERROR;
    }

    ngx_str_set(&args[0], "server");

    args[1].data = p;
    p = ngx_cpymem(p, url->data, url->len);

    if (ngx_strlchr(url->data, url->data + url->len, ':') == NULL) {
        p = ngx_cpymem(p, ":443", sizeof(":443") - 1);
    }

    *p = '\0';
    args[1].len = p - args[1].data;

    ngx_str_set(&args[2], "resolve");
    ngx_str_set(&args[3], "max_fails=0");

    return ngx_http_gcs_upstream_call(cf, ctx, "ngx_http_upstream_module",
                                      args, 4);
}

#endif


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
