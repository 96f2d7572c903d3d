
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
static char *ngx_http_gcs_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child);
static char *ngx_http_gcs_merge_identity(ngx_conf_t *cf,
    ngx_http_gcs_loc_conf_t *conf, ngx_http_core_loc_conf_t *clcf);
static void ngx_http_gcs_merge_methods(ngx_http_gcs_loc_conf_t *conf);
static char *ngx_http_gcs_merge_buckets(ngx_conf_t *cf,
    ngx_http_gcs_loc_conf_t *conf);
static char *ngx_http_gcs_pass(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_gcs_buckets(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_gcs_set_header(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_gcs_user_project(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static ngx_int_t ngx_http_gcs_folder(ngx_conf_t *cf, ngx_str_t *name);
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
      ngx_http_set_complex_value_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_gcs_loc_conf_t, object),
      NULL },

    { ngx_string("gcs_auth"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_set_complex_value_slot,
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
     * value is noted, and the stock handler is called.
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
    NULL,                                  /* init module */
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

    if (ngx_http_gcs_identity_tokens(cf, gmcf) != NGX_OK) {
        return NGX_ERROR;
    }

    if (!gmcf->enabled) {
        return NGX_OK;
    }

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_PRECONTENT_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_http_gcs_precontent_handler;

    return NGX_OK;
}


static void *
ngx_http_gcs_create_main_conf(ngx_conf_t *cf)
{
    ngx_http_gcs_main_conf_t  *gmcf;

    gmcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_gcs_main_conf_t));
    if (gmcf == NULL) {
        return NULL;
    }

    if (ngx_array_init(&gmcf->identities, cf->pool, 4,
                       sizeof(ngx_http_gcs_identity_t *))
        != NGX_OK
        || ngx_array_init(&gmcf->endpoints, cf->pool, 4,
                          sizeof(ngx_http_gcs_endpoint_t *))
           != NGX_OK
        || ngx_gcs_token_store_init(cf, &gmcf->tokens) != NGX_OK
        || ngx_http_gcs_identity_init(cf, gmcf) != NGX_OK)
    {
        return NULL;
    }

    gmcf->slice_range = NGX_ERROR;

    if (ngx_http_gcs_find_module(cf, "ngx_http_gunzip_filter_module")) {
        gmcf->gunzip = 1;
    }

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
     *     conf->identity = NULL;
     *     conf->address = NULL;
     *     conf->ssl_trusted_certificate = { 0, NULL };
     *     conf->methods = 0;
     *     conf->user_project = NULL;
     *     conf->user_project_source = { 0, NULL };
     *     conf->proxy = NULL;
     *     conf->loc_conf = NULL;
     *     conf->parent = NULL;
     *     conf->proxy_handler = NULL;
     *     conf->endpoint = NULL;
     *     conf->cache_key = { 0, NULL };
     *     conf->passing = 0;
     *     conf->waiting = 0;
     */

    conf->object = NGX_CONF_UNSET_PTR;
    conf->auth = NGX_CONF_UNSET_PTR;
    conf->ssl_verify = NGX_CONF_UNSET;
    conf->keepalive = NGX_CONF_UNSET_UINT;
    conf->buckets = NGX_CONF_UNSET_PTR;
    conf->headers = NGX_CONF_UNSET_PTR;
    conf->token_timeout = NGX_CONF_UNSET_MSEC;
    conf->nosniff = NGX_CONF_UNSET;
    conf->sandbox = NGX_CONF_UNSET;

    return conf;
}


static char *
ngx_http_gcs_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_http_gcs_loc_conf_t *prev = parent;
    ngx_http_gcs_loc_conf_t *conf = child;

    char                      *rv;
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

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
            conf->target = prev->target;
            conf->location = prev->location;
            conf->file = prev->file;
            conf->line = prev->line;
            conf->proxy_handler = prev->proxy_handler;
        }
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
    ngx_conf_merge_value(conf->sandbox, prev->sandbox, 0);

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

    rv = ngx_http_gcs_merge_identity(cf, conf, clcf);
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

    return ngx_http_gcs_proxy_merge(cf, conf);
}


static char *
ngx_http_gcs_merge_identity(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *conf,
    ngx_http_core_loc_conf_t *clcf)
{
    ngx_uint_t                  i;
    ngx_http_gcs_main_conf_t   *gmcf;
    ngx_http_gcs_identity_t   **identity;

    gmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_gcs_proxy_module);

    if (conf->passing || conf->waiting) {
        gmcf->enabled = 1;
    }

    if (conf->auth == NULL) {

        if (conf->passing) {
            return ngx_http_gcs_conf_error(cf, conf,
                       "no \"gcs_auth\" is in effect for \"gcs_pass\" in "
                       "location \"%V\": name a \"gcs_credentials\" block, "
                       "or \"anonymous\" for a public bucket; application "
                       "default credentials are not supported yet",
                       &clcf->name);
        }

        return NGX_CONF_OK;
    }

    if (conf->auth->lengths == NULL) {
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

    /* least privilege: only who is asked to write gets the wider scope */

    identity = gmcf->identities.elts;

    for (i = 0; i < gmcf->identities.nelts; i++) {
        if ((conf->identity == NULL || conf->identity == identity[i])
            && identity[i]->scope.len == 0)
        {
            ngx_str_set(&identity[i]->cred.scope, NGX_GCS_SCOPE_WRITE);
        }
    }

    return NGX_CONF_OK;
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
}


/* what "gcs_pass" names without variables must be on the list, if any */

static char *
ngx_http_gcs_merge_buckets(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *conf)
{
    ngx_uint_t         i;
    ngx_gcs_object_t  *bucket;

    if (conf->pass) {

        if (conf->buckets == NULL) {
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
    va_list    args;
    ngx_str_t  text;
    u_char     buf[NGX_MAX_CONF_ERRSTR];

    va_start(args, fmt);
    text.len = ngx_vslprintf(buf, buf + NGX_MAX_CONF_ERRSTR, fmt, args) - buf;
    va_end(args);

    text.data = buf;

    if (conf->file) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0, "%V in %V:%ui",
                      &text, conf->file, conf->line);

    } else {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0, "%V", &text);
    }

    return NGX_CONF_ERROR;
}


static char *
ngx_http_gcs_pass(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gcs_loc_conf_t *glcf = conf;

    char                              *err;
    ngx_str_t                         *value;
    ngx_http_core_loc_conf_t          *clcf;
    ngx_http_compile_complex_value_t   ccv;

    if (glcf->passing) {
        return "is duplicate";
    }

    value = cf->args->elts;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    glcf->passing = 1;
    glcf->file = &cf->conf_file->file.name;
    glcf->line = cf->conf_file->line;

    if (!clcf->named
#if (NGX_PCRE)
        && clcf->regex == NULL
#endif
       )
    {
        glcf->location = clcf->name;
    }

    if (ngx_http_script_variables_count(&value[1])) {

        glcf->pass = ngx_palloc(cf->pool, sizeof(ngx_http_complex_value_t));
        if (glcf->pass == NULL) {
            return NGX_CONF_ERROR;
        }

        ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

        ccv.cf = cf;
        ccv.value = &value[1];
        ccv.complex_value = glcf->pass;

        if (ngx_http_compile_complex_value(&ccv) != NGX_OK) {
            return NGX_CONF_ERROR;
        }

        return NGX_CONF_OK;
    }

    err = ngx_gcs_object_parse_url(&value[1], &glcf->target);

    if (err == NULL) {
        err = ngx_gcs_object_check(&glcf->target.name);
    }

    if (err) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid value \"%V\" in \"%V\" directive: %s; "
                           "it must be \"gs://BUCKET[/PREFIX]\"",
                           &value[1], &cmd->name, err);
        return NGX_CONF_ERROR;
    }

    /* nothing is left of the URI in an exact location: PREFIX is the name */

    if (!clcf->exact_match
        && ngx_http_gcs_folder(cf, &glcf->target.name) != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_gcs_buckets(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gcs_loc_conf_t *glcf = conf;

    u_char            *p;
    ngx_str_t         *value;
    ngx_uint_t         i;
    ngx_gcs_object_t  *bucket;

    if (glcf->buckets != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;

    glcf->buckets = ngx_array_create(cf->pool, cf->args->nelts - 1,
                                     sizeof(ngx_gcs_object_t));
    if (glcf->buckets == NULL) {
        return NGX_CONF_ERROR;
    }

    for (i = 1; i < cf->args->nelts; i++) {

        bucket = ngx_array_push(glcf->buckets);
        if (bucket == NULL) {
            return NGX_CONF_ERROR;
        }

        bucket->bucket = value[i];
        ngx_str_null(&bucket->name);

        p = ngx_strlchr(value[i].data, value[i].data + value[i].len, '/');

        if (p) {
            bucket->bucket.len = p - value[i].data;
            bucket->name.data = p + 1;
            bucket->name.len = value[i].len - bucket->bucket.len - 1;
        }

        if (ngx_gcs_bucket_check(&bucket->bucket) != NGX_OK
            || ngx_gcs_object_check(&bucket->name) != NULL)
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid bucket \"%V\" in \"%V\" directive; "
                               "it must be \"NAME[/PREFIX]\"",
                               &value[i], &cmd->name);
            return NGX_CONF_ERROR;
        }

        if (ngx_http_gcs_folder(cf, &bucket->name) != NGX_OK) {
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_gcs_set_header(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gcs_loc_conf_t *glcf = conf;

    u_char                             ch;
    size_t                             i;
    ngx_str_t                         *value;
    ngx_http_gcs_header_t             *h;
    ngx_http_compile_complex_value_t   ccv;

    value = cf->args->elts;

    if (value[1].len <= sizeof("x-goog-") - 1
        || ngx_strncasecmp(value[1].data, (u_char *) "x-goog-",
                           sizeof("x-goog-") - 1)
           != 0)
    {
        goto invalid;
    }

    for (i = 0; i < value[1].len; i++) {
        ch = value[1].data[i];

        if (!(ch == '-' || (ch >= '0' && ch <= '9')
              || ((ch | 0x20) >= 'a' && (ch | 0x20) <= 'z')))
        {
            goto invalid;
        }
    }

    if (glcf->headers == NGX_CONF_UNSET_PTR) {
        glcf->headers = ngx_array_create(cf->pool, 4,
                                         sizeof(ngx_http_gcs_header_t));
        if (glcf->headers == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    h = ngx_array_push(glcf->headers);
    if (h == NULL) {
        return NGX_CONF_ERROR;
    }

    h->name = value[1];
    h->source = value[2];

    ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

    ccv.cf = cf;
    ccv.value = &value[2];
    ccv.complex_value = &h->value;

    if (ngx_http_compile_complex_value(&ccv) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;

invalid:

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid header name \"%V\" in \"%V\" directive; "
                       "only \"x-goog-NAME\" can be set",
                       &value[1], &cmd->name);

    return NGX_CONF_ERROR;
}


static char *
ngx_http_gcs_user_project(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gcs_loc_conf_t *glcf = conf;

    ngx_str_t                         *value;
    ngx_http_compile_complex_value_t   ccv;

    if (glcf->user_project) {
        return "is duplicate";
    }

    value = cf->args->elts;

    glcf->user_project_source = value[1];

    glcf->user_project = ngx_palloc(cf->pool,
                                    sizeof(ngx_http_complex_value_t));
    if (glcf->user_project == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

    ccv.cf = cf;
    ccv.value = &value[1];
    ccv.complex_value = glcf->user_project;

    if (ngx_http_compile_complex_value(&ccv) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


/* a prefix always names a folder: "p" and "p/" mean the same */

static ngx_int_t
ngx_http_gcs_folder(ngx_conf_t *cf, ngx_str_t *name)
{
    u_char  *p;

    if (name->len == 0 || name->data[name->len - 1] == '/') {
        return NGX_OK;
    }

    p = ngx_pnalloc(cf->pool, name->len + 1);
    if (p == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(p, name->data, name->len);
    p[name->len] = '/';

    name->len++;
    name->data = p;

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
        ngx_gcs_token_exit_process(cycle, &gmcf->tokens);
    }

    ngx_gcs_fetch_exit_process(cycle);
}
