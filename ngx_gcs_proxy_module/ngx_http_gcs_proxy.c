
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "ngx_http_gcs.h"


/*
 * "gcs_pass" configures the stock proxy: it calls the handlers of that
 * module's own directives, as the configuration parser would.  This file must
 * not know the structure behind them, which is private and differs between
 * versions, but for two facts: it begins with ngx_http_upstream_conf_t, and
 * the directive table tells where a simple value lives.
 */


typedef struct {
    char                  *name;
    ngx_http_gcs_unset_e   unset;
    char                  *remedy;
} ngx_http_gcs_refused_t;


typedef struct {
    char                  *name;
    char                  *value;
} ngx_http_gcs_default_t;


static char *ngx_http_gcs_proxy_check(ngx_conf_t *cf,
    ngx_http_gcs_loc_conf_t *conf);
static char *ngx_http_gcs_proxy_check_signature(ngx_conf_t *cf,
    ngx_http_gcs_loc_conf_t *conf);
static char *ngx_http_gcs_proxy_pass(ngx_conf_t *cf,
    ngx_http_gcs_loc_conf_t *conf);
static ngx_uint_t ngx_http_gcs_proxy_direct(ngx_http_gcs_loc_conf_t *conf);
static char *ngx_http_gcs_proxy_headers(ngx_conf_t *cf,
    ngx_http_gcs_loc_conf_t *conf);
static char *ngx_http_gcs_proxy_project(ngx_conf_t *cf,
    ngx_http_gcs_loc_conf_t *conf);


/*
 * What must not be changed beside "gcs_pass": the address, the request, and
 * whom TLS trusts.  Values inherited from an outer level are overridden.
 */

static ngx_http_gcs_refused_t  ngx_http_gcs_refused[] = {

    { "proxy_set_header", NGX_HTTP_GCS_UNSET_PTR,
      "the request to GCS is built from a white list, "
      "use \"gcs_set_header\" for x-goog-* headers" },

    { "proxy_method", NGX_HTTP_GCS_UNSET_PTR, "use \"gcs_methods\"" },

    { "proxy_set_body", NGX_HTTP_GCS_UNSET_STR,
      "no body of nginx's own is sent to GCS" },

    { "proxy_pass_request_headers", NGX_HTTP_GCS_UNSET_FLAG,
      "the request to GCS is built from a white list" },

    { "proxy_pass_request_body", NGX_HTTP_GCS_UNSET_FLAG,
      "whether a body is sent follows from \"gcs_methods\"" },

    { "proxy_ssl_verify", NGX_HTTP_GCS_UNSET_FLAG, "use \"gcs_ssl_verify\"" },

    { "proxy_ssl_trusted_certificate", NGX_HTTP_GCS_UNSET_STR,
      "use \"gcs_ssl_trusted_certificate\"" },

    { "proxy_ssl_name", NGX_HTTP_GCS_UNSET_PTR,
      "use the \"host\" parameter of \"gcs_endpoint\"" },

    { "proxy_ssl_server_name", NGX_HTTP_GCS_UNSET_FLAG,
      "the name is always sent" },

    { "proxy_ssl_verify_depth", NGX_HTTP_GCS_UNSET_UINT,
      "locations with the same \"gcs_endpoint\" share one TLS context" },

    { "proxy_ssl_crl", NGX_HTTP_GCS_UNSET_STR,
      "locations with the same \"gcs_endpoint\" share one TLS context" },

    { "proxy_ssl_ciphers", NGX_HTTP_GCS_UNSET_STR,
      "locations with the same \"gcs_endpoint\" share one TLS context" },

    { "proxy_ssl_protocols", NGX_HTTP_GCS_UNSET_BITS,
      "locations with the same \"gcs_endpoint\" share one TLS context" },

    { "proxy_ssl_conf_command", NGX_HTTP_GCS_UNSET_PTR,
      "locations with the same \"gcs_endpoint\" share one TLS context" },

    { "proxy_ssl_certificate", NGX_HTTP_GCS_UNSET_PTR,
      "GCS is not authenticated to by a client certificate" },

    { "proxy_ssl_certificate_key", NGX_HTTP_GCS_UNSET_PTR,
      "GCS is not authenticated to by a client certificate" },

    { NULL, 0, NULL }
};


/* The white list of request headers.  What has an empty value is not sent. */

static ngx_http_gcs_default_t  ngx_http_gcs_request_headers[] = {
    { "Connection", "" },
    { "Authorization", "$__gcs_authorization" },
    { NULL, NULL }
};


/*
 * What the client may ask for.  The variables know what a cache, a slice or a
 * retry needs; a stock proxy_set_header of the same name with the client's own
 * value would undo that: a cached 206 is then served to everybody.
 */

static ngx_http_gcs_default_t  ngx_http_gcs_client_headers[] = {
    { "Accept-Encoding", "$__gcs_accept_encoding" },
    { "Range", "$__gcs_range" },
    { "If-Range", "$__gcs_if_range" },
    { "If-Match", "$__gcs_if_match" },
    { "If-None-Match", "$__gcs_if_none_match" },
    { "If-Modified-Since", "$__gcs_if_modified_since" },
    { "If-Unmodified-Since", "$__gcs_if_unmodified_since" },
    { "User-Agent", NGX_HTTP_GCS_USER_AGENT },
    { NULL, NULL }
};


/*
 * The same in one: most of them are empty most of the time, and nginx takes
 * its time to find that out of each.  The variable is empty too or adds the
 * lines.  HTTP/2 has no lines.
 */

static ngx_http_gcs_default_t  ngx_http_gcs_client_lines[] = {
    { "Accept-Encoding", "" },
    { "Range", "" },
    { "If-Range", "" },
    { "If-Match", "" },
    { "If-None-Match", "" },
    { "If-Modified-Since", "" },
    { "If-Unmodified-Since", "" },
    { "User-Agent", NGX_HTTP_GCS_USER_AGENT "$__gcs_client_lines" },
    { NULL, NULL }
};


static ngx_http_gcs_default_t  ngx_http_gcs_read_headers[] = {
    { "Content-Length", "" },
    { "Transfer-Encoding", "" },
    { NULL, NULL }
};


static ngx_http_gcs_default_t  ngx_http_gcs_write_headers[] = {
    { "Content-Length", "$__gcs_content_length" },
    { NULL, NULL }
};


static ngx_http_gcs_default_t  ngx_http_gcs_hmac_signed[] = {
    { "x-goog-date", "$__gcs_date" },
    { "x-goog-content-sha256", "$__gcs_content_sha256" },
    { NULL, NULL }
};


char *
ngx_http_gcs_proxy_merge(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *conf)
{
    char                      *rv;
    ngx_command_t             *cmd;
    ngx_http_core_loc_conf_t  *clcf;

    cmd = ngx_http_gcs_proxy_command("proxy_connect_timeout");

    if (cmd == NULL
        || cmd->offset != offsetof(ngx_http_upstream_conf_t, connect_timeout))
    {
        return ngx_http_gcs_conf_error(cf, conf,
                   "the proxy module of this nginx is laid out in a way that "
                   "\"gcs_pass\" does not know; rebuild the module for it");
    }

    rv = ngx_http_gcs_proxy_check(cf, conf);
    if (rv != NGX_CONF_OK) {
        return rv;
    }

    if (ngx_http_gcs_presign_only(conf)) {

        /* nothing is asked of GCS from here, so its name is not looked up */

        clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
        clcf->handler = ngx_http_gcs_handler;

        return NGX_CONF_OK;
    }

    if (conf->proxy_handler) {

        /* the hidden location of "if" or "limit_except" inherits the rest */

        conf->endpoint = conf->parent->endpoint;

        return NGX_CONF_OK;
    }

    conf->endpoint = ngx_http_gcs_endpoint_get(cf, conf);
    if (conf->endpoint == NULL) {
        return NGX_CONF_ERROR;
    }

    rv = ngx_http_gcs_proxy_pass(cf, conf);
    if (rv != NGX_CONF_OK) {
        return rv;
    }

    rv = ngx_http_gcs_proxy_headers(cf, conf);
    if (rv != NGX_CONF_OK) {
        return rv;
    }

    return ngx_http_gcs_proxy_defaults(cf, conf);
}


ngx_command_t *
ngx_http_gcs_proxy_command(char *name)
{
    ngx_command_t  *cmd;

    for (cmd = ngx_http_proxy_module.commands; cmd->name.len; cmd++) {
        if (ngx_strcmp(cmd->name.data, name) == 0) {
            return cmd;
        }
    }

    return NULL;
}


void *
ngx_http_gcs_proxy_value(ngx_http_upstream_conf_t *conf, char *name)
{
    ngx_command_t  *cmd;

    cmd = ngx_http_gcs_proxy_command(name);

    return cmd ? (char *) conf + cmd->offset : NULL;
}


/* whether the user has set the value of the directive at this very level */

ngx_uint_t
ngx_http_gcs_proxy_is_set(ngx_http_upstream_conf_t *conf, char *name,
    ngx_http_gcs_unset_e unset)
{
    void  *p;

    p = ngx_http_gcs_proxy_value(conf, name);

    if (p == NULL) {
        return 0;
    }

    switch (unset) {

    case NGX_HTTP_GCS_UNSET_PTR:
        return *(void **) p != NGX_CONF_UNSET_PTR && *(void **) p != NULL;

    case NGX_HTTP_GCS_UNSET_STR:
        return ((ngx_str_t *) p)->data != NULL;

    case NGX_HTTP_GCS_UNSET_FLAG:
        return *(ngx_flag_t *) p != NGX_CONF_UNSET;

    case NGX_HTTP_GCS_UNSET_UINT:
        return *(ngx_uint_t *) p != NGX_CONF_UNSET_UINT;

    default: /* NGX_HTTP_GCS_UNSET_BITS */
        return *(ngx_uint_t *) p != 0;
    }
}


char *
ngx_http_gcs_proxy_call(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *conf,
    char *name, ngx_str_t *arg1, ngx_str_t *arg2)
{
    char           *rv;
    ngx_str_t      *value;
    ngx_array_t    *args, *save;
    ngx_command_t  *cmd;

    cmd = ngx_http_gcs_proxy_command(name);

    if (cmd == NULL) {
        return ngx_http_gcs_conf_error(cf, conf,
                   "\"gcs_pass\" requires \"%s\", unknown to this nginx",
                   name);
    }

    args = ngx_array_create(cf->pool, 3, sizeof(ngx_str_t));
    if (args == NULL) {
        return NGX_CONF_ERROR;
    }

    value = ngx_array_push_n(args, arg2 ? 3 : 2);
    if (value == NULL) {
        return NGX_CONF_ERROR;
    }

    value[0] = cmd->name;
    value[1] = *arg1;

    if (arg2) {
        value[2] = *arg2;
    }

    save = cf->args;
    cf->args = args;

    rv = cmd->set(cf, cmd, conf->proxy);

    cf->args = save;

    if (rv == NGX_CONF_OK || rv == NGX_CONF_ERROR) {
        return rv;
    }

    return ngx_http_gcs_conf_error(cf, conf,
               "\"gcs_pass\" is incompatible with \"%s\" "
               "in the same location: it %s", name, rv);
}


static char *
ngx_http_gcs_proxy_check(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *conf)
{
    ngx_http_gcs_refused_t  *refused;

    for (refused = ngx_http_gcs_refused; refused->name; refused++) {

        if (ngx_http_gcs_proxy_is_set(conf->proxy, refused->name,
                                      refused->unset))
        {
            return ngx_http_gcs_conf_error(cf, conf,
                       "\"%s\" cannot be used in a location with "
                       "\"gcs_pass\": %s", refused->name, refused->remedy);
        }
    }

    if (conf->identity && conf->identity->signature) {
        return ngx_http_gcs_proxy_check_signature(cf, conf);
    }

    return NGX_CONF_OK;
}


/* the request must be what was signed, and who may ask is known to GCS only */

static char *
ngx_http_gcs_proxy_check_signature(ngx_conf_t *cf,
    ngx_http_gcs_loc_conf_t *conf)
{
    char                     *name;
    ngx_http_gcs_loc_conf_t  *level;

    name = NULL;

    if (conf->methods & NGX_HTTP_GCS_WRITE) {
        name = "gcs_methods PUT DELETE";

    } else if (conf->headers) {
        name = "gcs_set_header";

    } else if (conf->user_project) {
        name = "gcs_user_project";

    } else if (conf->mode) {
        name = "gcs_mode";
    }

    for (level = conf; level && name == NULL; level = level->parent) {

        if (level->proxy->cache != NGX_CONF_UNSET) {
            name = level->proxy->cache ? "proxy_cache" : NULL;
            break;
        }
    }

    if (name == NULL) {
        return NGX_CONF_OK;
    }

    return ngx_http_gcs_conf_error(cf, conf,
               "\"%s\" cannot be used with \"gcs_auth signature\": a signed "
               "URL is fetched as it is, and only GCS knows whether its "
               "signature is right", name);
}


static char *
ngx_http_gcs_proxy_pass(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *conf)
{
    char                      *rv;
    u_char                    *p;
    ngx_str_t                  url, uri;
    ngx_http_core_loc_conf_t  *clcf;

    if (conf->identity && conf->identity->signature) {
        ngx_str_set(&uri, "$__gcs_signed_target");

    } else if (conf->api) {
        ngx_str_set(&uri, "$__gcs_api_target");

    } else {
        conf->direct = ngx_http_gcs_proxy_direct(conf);
        ngx_str_set(&uri, "$gcs_uri");
    }

    if (conf->direct) {
        ngx_str_null(&uri);
    }

    url.len = sizeof("https://") - 1 + conf->endpoint->upstream.len + uri.len;

    p = ngx_pnalloc(cf->pool, url.len + 1);
    if (p == NULL) {
        return NGX_CONF_ERROR;
    }

    url.data = p;

    /* for "https" without a variable it would make a TLS context of its own */

    p = ngx_sprintf(p, "%s://%V%V",
                    conf->endpoint->address.tls && !conf->direct ? "https"
                                                                 : "http",
                    &conf->endpoint->upstream, &uri);
    *p = '\0';
    url.len = p - url.data;

    rv = ngx_http_gcs_proxy_call(cf, conf, "proxy_pass", &url, NULL);
    if (rv != NGX_CONF_OK) {
        return rv;
    }

    /* proxy_pass has installed its content handler: ours first, then it */

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    conf->proxy_handler = clcf->handler;
    clcf->handler = ngx_http_gcs_handler;

    return NGX_CONF_OK;
}


/*
 * Whether the request is made as soon as the content handler runs, neither
 * after its body nor after a look into the cache, and of nothing that may want
 * to know the client's URI; see ngx_http_gcs_proxied().
 */

static ngx_uint_t
ngx_http_gcs_proxy_direct(ngx_http_gcs_loc_conf_t *conf)
{
    ngx_http_gcs_loc_conf_t  *level;

    if (conf->identity == NULL || conf->headers || conf->user_project
        || (conf->methods & NGX_HTTP_GCS_WRITE))
    {
        return 0;
    }

    for (level = conf; level; level = level->parent) {

        if (level->proxy->cache != NGX_CONF_UNSET) {
            return !level->proxy->cache;
        }
    }

    return 1;
}


static char *
ngx_http_gcs_proxy_headers(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *conf)
{
    char                      *rv;
    ngx_str_t                  name, value;
    ngx_uint_t                 i;
    ngx_http_gcs_header_t     *h;
    ngx_http_gcs_default_t    *d, *lists[5], **list;
    ngx_http_gcs_main_conf_t  *gmcf;

    gmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_gcs_proxy_module);

    lists[0] = ngx_http_gcs_request_headers;
    lists[1] = (conf->methods & NGX_HTTP_GCS_WRITE)
               ? ngx_http_gcs_write_headers : ngx_http_gcs_read_headers;
    lists[2] = ngx_http_gcs_proxy_http2(conf) ? ngx_http_gcs_client_headers
                                              : ngx_http_gcs_client_lines;
    lists[3] = NULL;
    lists[4] = NULL;

    if (conf->api) {
        lists[1] = NULL;
    }

    if (conf->identity ? ngx_http_gcs_hmac(conf->identity) : gmcf->hmac) {
        lists[3] = ngx_http_gcs_hmac_signed;
    }

    for (list = lists; *list; list++) {
        for (d = *list; d->name; d++) {
            name.data = (u_char *) d->name;
            name.len = ngx_strlen(d->name);
            value.data = (u_char *) d->value;
            value.len = ngx_strlen(d->value);

            rv = ngx_http_gcs_proxy_call(cf, conf, "proxy_set_header", &name,
                                         &value);
            if (rv != NGX_CONF_OK) {
                return rv;
            }
        }
    }

    if (ngx_http_gcs_proxy_http2(conf)) {
        rv = ngx_http_gcs_write_http2(cf, conf);
        if (rv != NGX_CONF_OK) {
            return rv;
        }
    }

    ngx_str_set(&name, "Host");

    if (conf->identity && conf->identity->signature) {
        ngx_str_set(&value, "$__gcs_signed_host");

    } else {
        value = conf->endpoint->address.host;
    }

    rv = ngx_http_gcs_proxy_call(cf, conf, "proxy_set_header", &name, &value);
    if (rv != NGX_CONF_OK) {
        return rv;
    }

    rv = ngx_http_gcs_proxy_project(cf, conf);
    if (rv != NGX_CONF_OK) {
        return rv;
    }

    if (conf->api) {
        rv = ngx_http_gcs_api_proxy(cf, conf);
        if (rv != NGX_CONF_OK) {
            return rv;
        }
    }

    if (conf->headers == NULL) {
        return NGX_CONF_OK;
    }

    h = conf->headers->elts;

    for (i = 0; i < conf->headers->nelts; i++) {
        rv = ngx_http_gcs_proxy_call(cf, conf, "proxy_set_header", &h[i].name,
                                     &h[i].source);
        if (rv != NGX_CONF_OK) {
            return rv;
        }
    }

    return NGX_CONF_OK;
}


/* who is billed: the location's word comes before that of the identity */

static char *
ngx_http_gcs_proxy_project(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *conf)
{
    ngx_str_t                  name, value;
    ngx_http_gcs_main_conf_t  *gmcf;

    gmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_gcs_proxy_module);

    if (conf->user_project) {
        value = conf->user_project_source;

    } else if (conf->identity) {
        value = conf->identity->quota_project;

    } else if (gmcf->quota_projects) {
        ngx_str_set(&value, "$__gcs_user_project");

    } else {
        return NGX_CONF_OK;
    }

    if (value.len == 0) {
        return NGX_CONF_OK;
    }

    ngx_str_set(&name, "x-goog-user-project");

    return ngx_http_gcs_proxy_call(cf, conf, "proxy_set_header", &name,
                                   &value);
}


char *
ngx_http_gcs_proxy_finish(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *conf)
{
    ngx_flag_t                *gunzip;
    ngx_module_t              *module;
    ngx_http_complex_value_t  *name;
    ngx_http_core_loc_conf_t  *clcf;

    if (!conf->passing || ngx_http_gcs_presign_only(conf)) {
        return NGX_CONF_OK;
    }

    ngx_http_gcs_written_cache(cf, conf);

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (clcf->handler == conf->proxy_handler) {

        /* the proxy module has put it into a limit_except block */

        clcf->handler = ngx_http_gcs_handler;
    }

    conf->http2 = ngx_http_gcs_proxy_http2(conf);

    module = ngx_http_gcs_find_module(cf, "ngx_http_gunzip_filter_module");

    if (module) {
        gunzip = ngx_http_gcs_module_value(conf, module, "gunzip");
        conf->gunzip = (gunzip && *gunzip);
    }

    if (clcf->noname) {
        conf->sliced = conf->parent->sliced;
    }

    /* a client that does not take gzip gets the object all the same */

    clcf->gzip_vary = 1;

    if (conf->endpoint->ssl == NULL) {
        return NGX_CONF_OK;
    }

    name = ngx_pcalloc(cf->pool, sizeof(ngx_http_complex_value_t));
    if (name == NULL) {
        return NGX_CONF_ERROR;
    }

    name->value = conf->endpoint->address.sni;

    conf->proxy->ssl = conf->endpoint->ssl;
    conf->proxy->ssl_verify = conf->endpoint->verify;
    conf->proxy->ssl_server_name = 1;
    conf->proxy->ssl_name = name;

    return NGX_CONF_OK;
}
