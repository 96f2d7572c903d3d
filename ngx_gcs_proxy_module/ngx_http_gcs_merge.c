
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "ngx_http_gcs.h"


static char *ngx_http_gcs_merge_place(ngx_conf_t *cf,
    ngx_http_gcs_loc_conf_t *prev, ngx_http_gcs_loc_conf_t *conf,
    ngx_http_core_loc_conf_t *clcf);
static char *ngx_http_gcs_merge_identity(ngx_conf_t *cf,
    ngx_http_gcs_loc_conf_t *conf, ngx_http_core_loc_conf_t *clcf);
static char *ngx_http_gcs_merge_pages(ngx_conf_t *cf,
    ngx_http_gcs_loc_conf_t *prev, ngx_http_gcs_loc_conf_t *conf);
static void ngx_http_gcs_merge_methods(ngx_http_gcs_loc_conf_t *conf);
static char *ngx_http_gcs_merge_buckets(ngx_conf_t *cf,
    ngx_http_gcs_loc_conf_t *conf);
static void ngx_http_gcs_merge_log(ngx_uint_t log_level, ngx_conf_t *cf,
    ngx_http_gcs_loc_conf_t *conf, const char *fmt, va_list args);


char *
ngx_http_gcs_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_http_gcs_loc_conf_t *prev = parent;
    ngx_http_gcs_loc_conf_t *conf = child;

    char                       *rv;
    ngx_http_core_loc_conf_t   *clcf;
    ngx_http_gcs_loc_conf_t   **location;
    ngx_http_gcs_main_conf_t   *gmcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    rv = ngx_http_gcs_merge_place(cf, prev, conf, clcf);
    if (rv != NGX_CONF_OK) {
        return rv;
    }

    ngx_conf_merge_ptr_value(conf->object, prev->object, NULL);
    ngx_conf_merge_ptr_value(conf->auth, prev->auth, NULL);
    ngx_conf_merge_ptr_value(conf->buckets, prev->buckets, NULL);
    ngx_conf_merge_ptr_value(conf->headers, prev->headers, NULL);
    ngx_conf_merge_value(conf->ssl_verify, prev->ssl_verify, 1);
    ngx_conf_merge_str_value(conf->ssl_trusted_certificate,
                             prev->ssl_trusted_certificate, "");
    ngx_conf_merge_uint_value(conf->keepalive, prev->keepalive, 64);
    ngx_conf_merge_bitmask_value(conf->methods, prev->methods,
                                 (NGX_CONF_BITMASK_SET|NGX_HTTP_GCS_READ));
    ngx_conf_merge_msec_value(conf->token_timeout, prev->token_timeout, 10000);
    ngx_conf_merge_value(conf->nosniff, prev->nosniff, 1);
    ngx_conf_merge_value(conf->sandbox, prev->sandbox, NGX_CONF_UNSET);

    if (conf->address == NULL) {
        conf->address = prev->address;
    }

    if (conf->user_project == NULL) {
        conf->user_project = prev->user_project;
        conf->user_project_source = prev->user_project_source;
    }

    if (conf->cache_key.data == NULL) {
        conf->cache_key = prev->cache_key;
    }

    ngx_http_gcs_merge_methods(conf);

    rv = ngx_http_gcs_write_merge(cf, prev, conf);
    if (rv != NGX_CONF_OK) {
        return rv;
    }

    rv = ngx_http_gcs_merge_identity(cf, conf, clcf);
    if (rv != NGX_CONF_OK) {
        return rv;
    }

    rv = ngx_http_gcs_presign_merge(cf, prev, conf);
    if (rv != NGX_CONF_OK) {
        return rv;
    }

    rv = ngx_http_gcs_takeover_merge(cf, prev, conf);
    if (rv != NGX_CONF_OK) {
        return rv;
    }

    rv = ngx_http_gcs_merge_pages(cf, prev, conf);
    if (rv != NGX_CONF_OK) {
        return rv;
    }

    if (!conf->passing) {
        return NGX_CONF_OK;
    }

    rv = ngx_http_gcs_merge_buckets(cf, conf);
    if (rv != NGX_CONF_OK) {
        return rv;
    }

    if (!clcf->noname) {
        gmcf = ngx_http_conf_get_module_main_conf(cf,
                                                  ngx_http_gcs_proxy_module);

        location = ngx_array_push(&gmcf->locations);
        if (location == NULL) {
            return NGX_CONF_ERROR;
        }

        *location = conf;
    }

    return ngx_http_gcs_proxy_merge(cf, conf);
}


/* which location it is, and what of the outer one is in effect there */

static char *
ngx_http_gcs_merge_place(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *prev,
    ngx_http_gcs_loc_conf_t *conf, ngx_http_core_loc_conf_t *clcf)
{
    conf->parent = prev;
    conf->loc_conf = ((ngx_http_conf_ctx_t *) cf->ctx)->loc_conf;
    conf->proxy = ngx_http_conf_get_module_loc_conf(cf, ngx_http_proxy_module);

    conf->waiting = (conf->object != NGX_CONF_UNSET_PTR
                     || conf->auth != NGX_CONF_UNSET_PTR)
                    && clcf->name.data != NULL;

    if (clcf->noname) {

        /* the hidden location of "if" or "limit_except" */

        conf->waiting |= prev->waiting;

        if (prev->passing && clcf->handler == NULL) {
            conf->passing = 1;
            conf->pass = prev->pass;
            conf->api = prev->api;
            conf->target = prev->target;
            conf->location = prev->location;
            conf->file = prev->file;
            conf->line = prev->line;
            conf->proxy_handler = prev->proxy_handler;
            conf->direct = prev->direct;
        }
    }

    ngx_http_gcs_check_inherit(prev, conf, clcf);

    conf->enclosing = prev->passing ? prev->proxy_handler : prev->enclosing;

    if (!conf->passing) {

        if (conf->enclosing && clcf->handler == conf->enclosing) {

            /* it would inherit how GCS is asked */

            return ngx_http_gcs_conf_error(cf, prev,
                       "\"proxy_pass\" cannot be used inside a location with "
                       "\"gcs_pass\"; put location \"%V\" beside it",
                       &clcf->name);
        }

        if (conf->cache_key.data) {
            return ngx_http_gcs_proxy_call(cf, conf, "proxy_cache_key",
                                           &conf->cache_key, NULL);
        }
    }

    return ngx_http_gcs_api_alone(cf, conf);
}


static char *
ngx_http_gcs_merge_identity(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *conf,
    ngx_http_core_loc_conf_t *clcf)
{
    ngx_uint_t                  i;
    ngx_http_gcs_main_conf_t   *gmcf;
    ngx_http_gcs_identity_t   **identity;

    static ngx_str_t  name = ngx_string("default");

    gmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_gcs_proxy_module);

    if (conf->passing || conf->waiting) {
        gmcf->enabled = 1;
    }

    if (conf->auth == NULL && !conf->passing && conf->check == NULL) {
        return NGX_CONF_OK;
    }

    if (conf->auth == NULL
        || (conf->auth->lengths == NULL
            && conf->auth->value.len == name.len
            && ngx_strncmp(conf->auth->value.data, name.data, name.len) == 0))
    {
        conf->identity = ngx_http_gcs_identity_default(cf, gmcf);

        if (conf->identity == NULL) {
            return ngx_http_gcs_conf_error(cf, conf,
                       "location \"%V\" has no \"gcs_auth\" other than "
                       "\"default\", which failed: name a "
                       "\"gcs_credentials\" block, or \"anonymous\" for a "
                       "public bucket", &clcf->name);
        }

    } else if (conf->auth->lengths == NULL) {
        conf->identity = ngx_http_gcs_identity(gmcf, &conf->auth->value);

        if (conf->identity == NULL) {
            return ngx_http_gcs_conf_error(cf, conf,
                       "unknown \"gcs_auth\" name \"%V\": no "
                       "\"gcs_credentials\" block declares it",
                       &conf->auth->value);
        }
    }

    if (!conf->passing || !(conf->methods & NGX_HTTP_GCS_WRITE)) {
        return NGX_CONF_OK;
    }

    identity = gmcf->identities.elts;

    for (i = 0; i < gmcf->identities.nelts; i++) {
        if (conf->identity == NULL || conf->identity == identity[i]) {
            identity[i]->writes = 1;
        }
    }

    return NGX_CONF_OK;
}


/* what is made here, and not by Cloud Storage */

static char *
ngx_http_gcs_merge_pages(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *prev,
    ngx_http_gcs_loc_conf_t *conf)
{
    char  *rv;

    rv = ngx_http_gcs_status_merge(cf, prev, conf);
    if (rv != NGX_CONF_OK) {
        return rv;
    }

    rv = ngx_http_gcs_check_merge(cf, conf);
    if (rv != NGX_CONF_OK) {
        return rv;
    }

    return ngx_http_gcs_absent_merge(cf, prev, conf);
}


static void
ngx_http_gcs_merge_methods(ngx_http_gcs_loc_conf_t *conf)
{
    ngx_uint_t  m;

    static ngx_str_t  allow[] = {
        ngx_null_string,
        ngx_string("GET"),
        ngx_string("HEAD"),
        ngx_string("GET, HEAD"),
        ngx_string("PUT"),
        ngx_string("GET, PUT"),
        ngx_string("HEAD, PUT"),
        ngx_string("GET, HEAD, PUT"),
        ngx_string("DELETE"),
        ngx_string("GET, DELETE"),
        ngx_string("HEAD, DELETE"),
        ngx_string("GET, HEAD, DELETE"),
        ngx_string("PUT, DELETE"),
        ngx_string("GET, PUT, DELETE"),
        ngx_string("HEAD, PUT, DELETE"),
        ngx_string("GET, HEAD, PUT, DELETE")
    };

    m = ((conf->methods & NGX_HTTP_GET) ? 1 : 0)
        + ((conf->methods & NGX_HTTP_HEAD) ? 2 : 0)
        + ((conf->methods & NGX_HTTP_PUT) ? 4 : 0)
        + ((conf->methods & NGX_HTTP_DELETE) ? 8 : 0);

    conf->allow = allow[m];

    /* without NGX_CONF_BITMASK_SET, which is equal to NGX_HTTP_UNKNOWN */

    conf->allowed = conf->methods & (NGX_HTTP_GCS_READ|NGX_HTTP_GCS_WRITE);
}


/* what "gcs_pass" names without variables must be on the list, if any */

static char *
ngx_http_gcs_merge_buckets(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *conf)
{
    ngx_uint_t         i;
    ngx_gcs_object_t  *bucket;

    if (conf->api) {
        return ngx_http_gcs_api_merge(cf, conf);
    }

    if (conf->pass) {

        if (conf->buckets == NULL
            && !(conf->identity && conf->identity->signature))
        {
            return ngx_http_gcs_conf_error(cf, conf,
                       "\"gcs_pass\" with variables requires \"gcs_buckets\", "
                       "the list of buckets that may be asked for");
        }

        return NGX_CONF_OK;
    }

    if (conf->buckets == NULL) {
        return NGX_CONF_OK;
    }

    bucket = conf->buckets->elts;

    for (i = 0; i < conf->buckets->nelts; i++) {

        if (bucket[i].bucket.len == conf->target.bucket.len
            && ngx_strncmp(bucket[i].bucket.data, conf->target.bucket.data,
                           bucket[i].bucket.len)
               == 0)
        {
            return NGX_CONF_OK;
        }
    }

    return ngx_http_gcs_conf_error(cf, conf,
               "bucket \"%V\" of \"gcs_pass\" is not in \"gcs_buckets\"",
               &conf->target.bucket);
}


char *
ngx_http_gcs_conf_error(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *conf,
    const char *fmt, ...)
{
    va_list  args;

    va_start(args, fmt);
    ngx_http_gcs_merge_log(NGX_LOG_EMERG, cf, conf, fmt, args);
    va_end(args);

    return NGX_CONF_ERROR;
}


void
ngx_http_gcs_conf_warn(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *conf,
    const char *fmt, ...)
{
    va_list  args;

    va_start(args, fmt);
    ngx_http_gcs_merge_log(NGX_LOG_WARN, cf, conf, fmt, args);
    va_end(args);
}


static void
ngx_http_gcs_merge_log(ngx_uint_t log_level, ngx_conf_t *cf,
    ngx_http_gcs_loc_conf_t *conf, const char *fmt, va_list args)
{
    ngx_str_t                 text;
    ngx_http_gcs_loc_conf_t  *level;
    u_char                    buf[NGX_MAX_CONF_ERRSTR];

    text.len = ngx_vslprintf(buf, buf + NGX_MAX_CONF_ERRSTR, fmt, args) - buf;
    text.data = buf;

    /* what is inherited stands at an outer level, and is known by its line */

    for (level = conf; level && level->file == NULL; level = level->parent) {
        /* void */
    }

    if (level) {
        ngx_log_error(log_level, cf->log, 0, "%V in %V:%ui",
                      &text, level->file, level->line);

    } else {
        ngx_log_error(log_level, cf->log, 0, "%V", &text);
    }
}
