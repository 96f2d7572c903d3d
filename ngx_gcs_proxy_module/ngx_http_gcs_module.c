
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "ngx_http_gcs.h"


static ngx_int_t ngx_http_gcs_preconfiguration(ngx_conf_t *cf);
static ngx_int_t ngx_http_gcs_postconfiguration(ngx_conf_t *cf);
static void *ngx_http_gcs_create_main_conf(ngx_conf_t *cf);
static char *ngx_http_gcs_init_main_conf(ngx_conf_t *cf, void *conf);
static void *ngx_http_gcs_create_srv_conf(ngx_conf_t *cf);
static void *ngx_http_gcs_create_loc_conf(ngx_conf_t *cf);
static ngx_int_t ngx_http_gcs_init_module(ngx_cycle_t *cycle);
static ngx_int_t ngx_http_gcs_init_process(ngx_cycle_t *cycle);
static void ngx_http_gcs_exit_process(ngx_cycle_t *cycle);


static ngx_conf_bitmask_t  ngx_http_gcs_methods[] = {
    { ngx_string("GET"), NGX_HTTP_GET },
    { ngx_string("HEAD"), NGX_HTTP_HEAD },
    { ngx_string("PUT"), NGX_HTTP_PUT },
    { ngx_string("DELETE"), NGX_HTTP_DELETE },
    { ngx_null_string, 0 }
};


static ngx_conf_num_bounds_t  ngx_http_gcs_keepalive_bounds = {
    ngx_conf_check_num_bounds, 1, 65535
};


static ngx_command_t  ngx_http_gcs_commands[] = {

    { ngx_string("gcs_credentials"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_BLOCK|NGX_CONF_TAKE1,
      ngx_http_gcs_credentials,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("gcs_pass"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_gcs_pass,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("gcs_object"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_gcs_object,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_gcs_loc_conf_t, object),
      NULL },

    { ngx_string("gcs_auth"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_gcs_auth,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_gcs_loc_conf_t, auth),
      NULL },

    { ngx_string("gcs_endpoint"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE12,
      ngx_http_gcs_endpoint,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("gcs_ssl_verify"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_gcs_loc_conf_t, ssl_verify),
      NULL },

    { ngx_string("gcs_ssl_trusted_certificate"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_gcs_loc_conf_t, ssl_trusted_certificate),
      NULL },

    { ngx_string("gcs_keepalive"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_num_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_gcs_loc_conf_t, keepalive),
      &ngx_http_gcs_keepalive_bounds },

    { ngx_string("gcs_methods"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_conf_set_bitmask_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_gcs_loc_conf_t, methods),
      &ngx_http_gcs_methods },

    { ngx_string("gcs_buckets"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_gcs_buckets,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("gcs_user_project"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_gcs_user_project,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("gcs_set_header"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE2,
      ngx_http_gcs_set_header,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("gcs_write_headers"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_gcs_names,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_gcs_loc_conf_t, write_headers),
      &ngx_http_gcs_write_names },

    { ngx_string("gcs_pass_header"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_gcs_names,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_gcs_loc_conf_t, pass_headers),
      &ngx_http_gcs_pass_names },

    { ngx_string("gcs_mode"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_gcs_mode,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_gcs_loc_conf_t, mode),
      NULL },

    { ngx_string("gcs_presign_ttl"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_gcs_presign_ttl,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("gcs_presign_window"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_gcs_presign_window,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("gcs_presign_answer"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_gcs_presign_answer,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("gcs_presign_method"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_gcs_presign_method,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("gcs_presign_query"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE2,
      ngx_http_gcs_presign_pair,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_gcs_loc_conf_t, presign_query),
      NULL },

    { ngx_string("gcs_presign_header"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE2,
      ngx_http_gcs_presign_pair,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_gcs_loc_conf_t, presign_headers),
      NULL },

    { ngx_string("gcs_presign_host"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_gcs_presign_host,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("gcs_presign_cache"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_gcs_presign_cache,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("gcs_takeover"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE12,
      ngx_http_gcs_takeover,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("gcs_takeover_cache"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE123,
      ngx_http_gcs_takeover_cache,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("gcs_takeover_hosts"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_gcs_takeover_hosts,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("gcs_takeover_unsigned"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_gcs_loc_conf_t, takeover_unsigned),
      NULL },

    { ngx_string("gcs_api"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE12,
      ngx_http_gcs_api,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("gcs_status"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS|NGX_CONF_TAKE12,
      ngx_http_gcs_status,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("gcs_check"),
      NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_gcs_check,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("gcs_autoindex"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_enum_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_gcs_loc_conf_t, autoindex),
      &ngx_http_gcs_autoindex_formats },

    { ngx_string("gcs_autoindex_filter"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_gcs_autoindex_filter,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("gcs_autoindex_recursive"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_gcs_loc_conf_t, autoindex_recursive),
      NULL },

    { ngx_string("gcs_autoindex_requests"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_num_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_gcs_loc_conf_t, autoindex_requests),
      NULL },

    { ngx_string("gcs_autoindex_timeout"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_gcs_loc_conf_t, autoindex_timeout),
      NULL },

    { ngx_string("gcs_index"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_gcs_index,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("gcs_not_found"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE12,
      ngx_http_gcs_not_found,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("gcs_token_timeout"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_gcs_loc_conf_t, token_timeout),
      NULL },

    { ngx_string("gcs_nosniff"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_gcs_loc_conf_t, nosniff),
      NULL },

    { ngx_string("gcs_sandbox"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_gcs_loc_conf_t, sandbox),
      NULL },

    /*
     * The stock directive keeps its value in a structure that other modules
     * cannot read.  As this module comes first, nginx asks it first: the
     * value is noted, and the merge calls the stock handler.
     */

    { ngx_string("proxy_cache_key"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_gcs_proxy_cache_key,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_gcs_proxy_module_ctx = {
    ngx_http_gcs_preconfiguration,         /* preconfiguration */
    ngx_http_gcs_postconfiguration,        /* postconfiguration */

    ngx_http_gcs_create_main_conf,         /* create main configuration */
    ngx_http_gcs_init_main_conf,           /* init main configuration */

    ngx_http_gcs_create_srv_conf,          /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_http_gcs_create_loc_conf,          /* create location configuration */
    ngx_http_gcs_merge_loc_conf            /* merge location configuration */
};


ngx_module_t  ngx_http_gcs_proxy_module = {
    NGX_MODULE_V1,
    &ngx_http_gcs_proxy_module_ctx,        /* module context */
    ngx_http_gcs_commands,                 /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    ngx_http_gcs_init_module,              /* init module */
    ngx_http_gcs_init_process,             /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    ngx_http_gcs_exit_process,             /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


static ngx_int_t
ngx_http_gcs_preconfiguration(ngx_conf_t *cf)
{
    return ngx_http_gcs_add_variables(cf);
}


static ngx_int_t
ngx_http_gcs_postconfiguration(ngx_conf_t *cf)
{
    ngx_http_handler_pt        *h;
    ngx_http_gcs_main_conf_t   *gmcf;
    ngx_http_core_main_conf_t  *cmcf;

    gmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_gcs_proxy_module);

    if (ngx_http_gcs_identity_tokens(cf, gmcf) != NGX_OK
        || ngx_http_gcs_status_init(cf, gmcf) != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (!gmcf->enabled) {
        return NGX_OK;
    }

    if (ngx_http_gcs_takeover_init(cf, gmcf) != NGX_OK
        || ngx_http_gcs_written_init(cf, gmcf) != NGX_OK)
    {
        return NGX_ERROR;
    }

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_PRECONTENT_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_http_gcs_precontent_handler;

    if (gmcf->apis) {
        h = ngx_array_push(&cmcf->phases[NGX_HTTP_REWRITE_PHASE].handlers);
        if (h == NULL) {
            return NGX_ERROR;
        }

        *h = ngx_http_gcs_api_rewrite_handler;
    }

    if (!gmcf->cors) {
        return NGX_OK;
    }

    /* this module is an early one, so that limits have been applied before */

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_PREACCESS_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_http_gcs_cors_preaccess_handler;

    return NGX_OK;
}


static void *
ngx_http_gcs_create_main_conf(ngx_conf_t *cf)
{
    ngx_pool_cleanup_t        *cln;
    ngx_http_gcs_main_conf_t  *gmcf;

    gmcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_gcs_main_conf_t));
    if (gmcf == NULL) {
        return NULL;
    }

    /* before the module is unloaded */

    cln = ngx_pool_cleanup_add(cf->pool, 0);
    if (cln == NULL) {
        return NULL;
    }

    cln->handler = ngx_gcs_crypto_forget;

    if (ngx_array_init(&gmcf->identities, cf->pool, 4,
                       sizeof(ngx_http_gcs_identity_t *))
        != NGX_OK
        || ngx_array_init(&gmcf->endpoints, cf->pool, 4,
                          sizeof(ngx_http_gcs_endpoint_t *))
           != NGX_OK
        || ngx_array_init(&gmcf->locations, cf->pool, 4,
                          sizeof(ngx_http_gcs_loc_conf_t *))
           != NGX_OK
        || ngx_array_init(&gmcf->takeovers, cf->pool, 4,
                          sizeof(ngx_http_gcs_takeover_conf_t *))
           != NGX_OK
        || ngx_array_init(&gmcf->checks, cf->pool, 4,
                          sizeof(ngx_http_gcs_check_t *))
           != NGX_OK
        || ngx_array_init(&gmcf->written, cf->pool, 4,
                          sizeof(ngx_gcs_object_t))
           != NGX_OK
        || ngx_gcs_token_store_init(cf, &gmcf->tokens) != NGX_OK
        || ngx_http_gcs_identity_init(cf, gmcf) != NGX_OK)
    {
        return NULL;
    }

    gmcf->slice_range = NGX_ERROR;

    return gmcf;
}


static char *
ngx_http_gcs_init_main_conf(ngx_conf_t *cf, void *conf)
{
    ngx_http_gcs_loc_conf_t  *glcf;

    /* this level is the root of what ngx_http_gcs_proxy_merge() looks at */

    glcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_gcs_proxy_module);

    glcf->loc_conf = ((ngx_http_conf_ctx_t *) cf->ctx)->loc_conf;
    glcf->proxy = ngx_http_conf_get_module_loc_conf(cf, ngx_http_proxy_module);

    if (glcf->cache_key.data) {
        return ngx_http_gcs_proxy_call(cf, glcf, "proxy_cache_key",
                                       &glcf->cache_key, NULL);
    }

    return NGX_CONF_OK;
}


static void *
ngx_http_gcs_create_srv_conf(ngx_conf_t *cf)
{
    return ngx_pcalloc(cf->pool, sizeof(ngx_http_gcs_srv_conf_t));
}


static void *
ngx_http_gcs_create_loc_conf(ngx_conf_t *cf)
{
    ngx_http_gcs_loc_conf_t  *conf;

    conf = ngx_pcalloc(cf->pool, sizeof(ngx_http_gcs_loc_conf_t));
    if (conf == NULL) {
        return NULL;
    }

    /*
     * set by ngx_pcalloc():
     *
     *     conf->pass = NULL;
     *     conf->target = { NULL };
     *     conf->location = { 0, NULL };
     *     conf->file = NULL;
     *     conf->name = { 0, NULL };
     *     conf->identity = NULL;
     *     conf->address = NULL;
     *     conf->universe_address = NULL;
     *     conf->ssl_trusted_certificate = { 0, NULL };
     *     conf->methods = 0;
     *     conf->mode = NULL;
     *     conf->presign_method = { 0, NULL };
     *     conf->url_cache = NULL;
     *     conf->takeover = NULL;
     *     conf->api = NULL;
     *     conf->status_page = NULL;
     *     conf->status = NULL;
     *     conf->check = NULL;
     *     conf->user_project = NULL;
     *     conf->user_project_source = { 0, NULL };
     *     conf->proxy = NULL;
     *     conf->loc_conf = NULL;
     *     conf->parent = NULL;
     *     conf->proxy_handler = NULL;
     *     conf->endpoint = NULL;
     *     conf->cache_key = { 0, NULL };
     *     conf->index = { 0, NULL };
     *     conf->not_found = { 0, NULL };
     *     conf->not_found_status = 0;
     *     conf->passing = 0;
     *     conf->taking = 0;
     *     conf->waiting = 0;
     */

    conf->object = NGX_CONF_UNSET_PTR;
    conf->auth = NGX_CONF_UNSET_PTR;
    conf->ssl_verify = NGX_CONF_UNSET;
    conf->keepalive = NGX_CONF_UNSET_UINT;
    conf->buckets = NGX_CONF_UNSET_PTR;
    conf->headers = NGX_CONF_UNSET_PTR;
    conf->write_headers = NGX_CONF_UNSET_PTR;
    conf->pass_headers = NGX_CONF_UNSET_PTR;
    conf->presign_ttl = NGX_CONF_UNSET;
    conf->presign_window = NGX_CONF_UNSET;
    conf->presign_query = NGX_CONF_UNSET_PTR;
    conf->presign_headers = NGX_CONF_UNSET_PTR;
    conf->presign_host = NGX_CONF_UNSET_PTR;
    conf->presign_answer = NGX_CONF_UNSET_PTR;
    conf->presign_cache = NGX_CONF_UNSET_PTR;
    conf->takeover_hosts = NGX_CONF_UNSET_PTR;
    conf->takeover_unsigned = NGX_CONF_UNSET;
    conf->takeover_cache = NGX_CONF_UNSET_PTR;
    conf->autoindex = NGX_CONF_UNSET_UINT;
    conf->autoindex_recursive = NGX_CONF_UNSET;
    conf->autoindex_filter = NGX_CONF_UNSET_PTR;
    conf->autoindex_requests = NGX_CONF_UNSET;
    conf->autoindex_timeout = NGX_CONF_UNSET_MSEC;
    conf->token_timeout = NGX_CONF_UNSET_MSEC;
    conf->nosniff = NGX_CONF_UNSET;
    conf->sandbox = NGX_CONF_UNSET;

    return conf;
}


/* tells who asks, as an identity may be inherited from far above */

static ngx_int_t
ngx_http_gcs_init_module(ngx_cycle_t *cycle)
{
    ngx_str_t                  *name;
    ngx_uint_t                  i;
    ngx_http_gcs_loc_conf_t   **location;
    ngx_http_gcs_main_conf_t   *gmcf;

    gmcf = ngx_http_cycle_get_module_main_conf(cycle,
                                               ngx_http_gcs_proxy_module);

    if (gmcf == NULL || ngx_test_config) {
        return NGX_OK;
    }

    ngx_http_gcs_identity_notice(cycle->log, gmcf);

    location = gmcf->locations.elts;

    for (i = 0; i < gmcf->locations.nelts; i++) {
        name = location[i]->identity ? &location[i]->identity->name
                                     : &location[i]->auth->value;

        ngx_log_error(NGX_LOG_NOTICE, cycle->log, 0,
                      "location \"%V\" uses gcs credentials \"%V\"",
                      &location[i]->name, name);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_gcs_init_process(ngx_cycle_t *cycle)
{
    ngx_http_gcs_main_conf_t  *gmcf;

    gmcf = ngx_http_cycle_get_module_main_conf(cycle,
                                               ngx_http_gcs_proxy_module);

    if (gmcf == NULL) {
        return NGX_OK;
    }

    if (ngx_gcs_fetch_init_process(cycle) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_gcs_token_init_process(cycle, &gmcf->tokens);
}


static void
ngx_http_gcs_exit_process(ngx_cycle_t *cycle)
{
    ngx_http_gcs_main_conf_t  *gmcf;

    gmcf = ngx_http_cycle_get_module_main_conf(cycle,
                                               ngx_http_gcs_proxy_module);

    if (gmcf) {
        ngx_http_gcs_check_exit_process(gmcf);
        ngx_gcs_signing_exit_process(cycle);
        ngx_gcs_token_exit_process(cycle, &gmcf->tokens);
    }

    ngx_gcs_fetch_exit_process(cycle);
}
