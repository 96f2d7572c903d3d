
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "ngx_http_gcs.h"


static ngx_int_t ngx_http_gcs_cors_postconfiguration(ngx_conf_t *cf);
static void *ngx_http_gcs_cors_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_gcs_cors_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child);
static ngx_int_t ngx_http_gcs_cors_defaults(ngx_conf_t *cf,
    ngx_http_gcs_cors_conf_t *conf, ngx_http_gcs_loc_conf_t *glcf);
static ngx_array_t *ngx_http_gcs_cors_list(ngx_conf_t *cf, ngx_str_t *names);
static char *ngx_http_gcs_cors_activate(ngx_conf_t *cf,
    ngx_http_gcs_cors_conf_t *conf, ngx_http_gcs_loc_conf_t *glcf);
static char *ngx_http_gcs_cors_check(ngx_conf_t *cf,
    ngx_http_gcs_loc_conf_t *glcf, ngx_gcs_cors_rule_t *rule);
static ngx_int_t ngx_http_gcs_cors_allow(ngx_conf_t *cf,
    ngx_http_gcs_loc_conf_t *glcf);


static ngx_conf_enum_t  ngx_http_gcs_cors_policies[] = {
    { ngx_string("off"), 0 },
    { ngx_string("same-origin"), 1 },
    { ngx_string("same-site"), 2 },
    { ngx_string("cross-origin"), 3 },
    { ngx_null_string, 0 }
};


static ngx_command_t  ngx_http_gcs_cors_commands[] = {

    { ngx_string("gcs_cors"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_gcs_cors,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("gcs_cors_file"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_gcs_cors_file,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("gcs_cors_methods"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_gcs_cors_names,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_gcs_cors_conf_t, methods),
      NULL },

    { ngx_string("gcs_cors_headers"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_gcs_cors_names,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_gcs_cors_conf_t, headers),
      NULL },

    { ngx_string("gcs_cors_expose"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_gcs_cors_names,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_gcs_cors_conf_t, expose),
      NULL },

    { ngx_string("gcs_cors_max_age"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_sec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_gcs_cors_conf_t, max_age),
      NULL },

    { ngx_string("gcs_cors_credentials"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_gcs_cors_conf_t, credentials),
      NULL },

    { ngx_string("gcs_cors_private_network"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_gcs_cors_conf_t, private_network),
      NULL },

    { ngx_string("gcs_resource_policy"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_enum_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_gcs_cors_conf_t, policy),
      &ngx_http_gcs_cors_policies },

    { ngx_string("gcs_timing_origin"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_gcs_timing_origin,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_gcs_cors_module_ctx = {
    NULL,                                  /* preconfiguration */
    ngx_http_gcs_cors_postconfiguration,   /* postconfiguration */

    NULL,                                  /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_http_gcs_cors_create_loc_conf,     /* create location configuration */
    ngx_http_gcs_cors_merge_loc_conf       /* merge location configuration */
};


ngx_module_t  ngx_http_gcs_cors_module = {
    NGX_MODULE_V1,
    &ngx_http_gcs_cors_module_ctx,         /* module context */
    ngx_http_gcs_cors_commands,            /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    NULL,                                  /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    NULL,                                  /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


/* the conditions make a preflight, and "Range" but in its simplest form */

static ngx_str_t  ngx_http_gcs_cors_headers[] = {
    ngx_string("Range"),
    ngx_string("If-Range"),
    ngx_string("If-Match"),
    ngx_string("If-None-Match"),
    ngx_string("If-Modified-Since"),
    ngx_string("If-Unmodified-Since"),
    ngx_null_string
};


static ngx_str_t  ngx_http_gcs_cors_exposed[] = {
    ngx_string("Content-Length"),
    ngx_string("Content-Range"),
    ngx_string("Content-Type"),
    ngx_string("Content-Disposition"),
    ngx_string("ETag"),
    ngx_string("Last-Modified"),
    ngx_string("Accept-Ranges"),
    ngx_null_string
};


static ngx_int_t
ngx_http_gcs_cors_postconfiguration(ngx_conf_t *cf)
{
    ngx_http_handler_pt        *h;
    ngx_http_gcs_main_conf_t   *gmcf;
    ngx_http_core_main_conf_t  *cmcf;

    gmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_gcs_proxy_module);

    if (!gmcf->cors) {
        return NGX_OK;
    }

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    /* what is added late runs early: before "return" */

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_REWRITE_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_http_gcs_cors_rewrite_handler;

    ngx_http_gcs_cors_filter_init();

    return NGX_OK;
}


static void *
ngx_http_gcs_cors_create_loc_conf(ngx_conf_t *cf)
{
    ngx_http_gcs_cors_conf_t  *conf;

    conf = ngx_pcalloc(cf->pool, sizeof(ngx_http_gcs_cors_conf_t));
    if (conf == NULL) {
        return NULL;
    }

    /*
     * set by ngx_pcalloc():
     *
     *     conf->timing = { 0, NULL };
     *     conf->active = NULL;
     *     conf->off = 0;
     *     conf->file = 0;
     *     conf->ruled = 0;
     *     conf->governs = 0;
     *     conf->asked_private = 0;
     */

    conf->rules = NGX_CONF_UNSET_PTR;
    conf->methods = NGX_CONF_UNSET_PTR;
    conf->headers = NGX_CONF_UNSET_PTR;
    conf->expose = NGX_CONF_UNSET_PTR;
    conf->max_age = NGX_CONF_UNSET;
    conf->credentials = NGX_CONF_UNSET;
    conf->private_network = NGX_CONF_UNSET;
    conf->policy = NGX_CONF_UNSET_UINT;

    return conf;
}


static char *
ngx_http_gcs_cors_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_http_gcs_cors_conf_t *prev = parent;
    ngx_http_gcs_cors_conf_t *conf = child;

    ngx_http_gcs_loc_conf_t   *glcf;
    ngx_http_gcs_main_conf_t  *gmcf;

    if (conf->rules == NGX_CONF_UNSET_PTR) {
        conf->file = prev->file;
        conf->off = prev->off;
    }

    ngx_conf_merge_ptr_value(conf->rules, prev->rules, NULL);
    ngx_conf_merge_ptr_value(conf->methods, prev->methods, NULL);
    ngx_conf_merge_ptr_value(conf->headers, prev->headers, NULL);
    ngx_conf_merge_ptr_value(conf->expose, prev->expose, NULL);
    ngx_conf_merge_sec_value(conf->max_age, prev->max_age, 3600);
    ngx_conf_merge_value(conf->credentials, prev->credentials, 0);
    ngx_conf_merge_value(conf->private_network, prev->private_network, 0);
    ngx_conf_merge_uint_value(conf->policy, prev->policy, 0);
    ngx_conf_merge_str_value(conf->timing, prev->timing, "");

    glcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_gcs_proxy_module);

    if (!glcf->passing) {
        return NGX_CONF_OK;
    }

    conf->ruled = conf->off || conf->rules;
    conf->governs = conf->ruled || conf->policy || conf->timing.len;

    if (conf->governs) {
        gmcf = ngx_http_conf_get_module_main_conf(cf,
                                                  ngx_http_gcs_proxy_module);
        gmcf->cors = 1;
    }

    if (conf->rules == NULL || conf->rules->nelts == 0) {
        return NGX_CONF_OK;
    }

    return ngx_http_gcs_cors_activate(cf, conf, glcf);
}


/* the rules as they are used here, and what browsers think of them */

static char *
ngx_http_gcs_cors_activate(ngx_conf_t *cf, ngx_http_gcs_cors_conf_t *conf,
    ngx_http_gcs_loc_conf_t *glcf)
{
    char                      *rv;
    ngx_uint_t                 i;
    ngx_gcs_cors_rule_t       *rule, *made;
    ngx_http_gcs_cors_conf_t   rest;

    rest = *conf;

    if (ngx_http_gcs_cors_defaults(cf, &rest, glcf) != NGX_OK
        || ngx_http_gcs_cors_allow(cf, glcf) != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    conf->active = ngx_array_create(cf->pool, conf->rules->nelts,
                                    sizeof(ngx_gcs_cors_rule_t));
    if (conf->active == NULL) {
        return NGX_CONF_ERROR;
    }

    rule = conf->rules->elts;

    for (i = 0; i < conf->rules->nelts; i++) {

        made = ngx_array_push(conf->active);
        if (made == NULL) {
            return NGX_CONF_ERROR;
        }

        *made = rule[i];

        if (made->methods == NULL) {
            made->methods = rest.methods;
        }

        if (made->headers == NULL) {
            made->headers = rest.headers;
        }

        if (made->expose == NULL) {
            made->expose = rest.expose;
        }

        if (made->max_age == -1) {
            made->max_age = rest.max_age;
        }

        if (made->credentials == NGX_CONF_UNSET_UINT) {
            made->credentials = rest.credentials;
        }

        if (made->private_network == NGX_CONF_UNSET_UINT) {
            made->private_network = rest.private_network;
        }

        conf->asked_private |= made->private_network ? 1 : 0;

        if (ngx_gcs_cors_complete(cf->pool, made) != NGX_OK) {
            return NGX_CONF_ERROR;
        }

        rv = ngx_http_gcs_cors_check(cf, glcf, made);
        if (rv != NGX_CONF_OK) {
            return rv;
        }
    }

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_gcs_cors_defaults(ngx_conf_t *cf, ngx_http_gcs_cors_conf_t *conf,
    ngx_http_gcs_loc_conf_t *glcf)
{
    ngx_str_t   names[8], *name;
    ngx_uint_t  methods;

    static struct {
        ngx_str_t   name;
        ngx_uint_t  method;
    }  *m, table[] = {
        { ngx_string("GET"), NGX_HTTP_GET },
        { ngx_string("HEAD"), NGX_HTTP_HEAD },
        { ngx_string("PUT"), NGX_HTTP_PUT },
        { ngx_string("POST"), NGX_HTTP_POST },
        { ngx_string("DELETE"), NGX_HTTP_DELETE },
        { ngx_null_string, 0 }
    };

    if (conf->methods == NULL) {

        methods = glcf->allowed;

        if (glcf->presign_method.len) {

            /* by which a signed URL may be asked for */

            methods |= NGX_HTTP_GET|NGX_HTTP_HEAD|NGX_HTTP_POST;
        }

        name = names;

        for (m = table; m->name.len; m++) {
            if (methods & m->method) {
                *name++ = m->name;
            }
        }

        ngx_str_null(name);

        conf->methods = ngx_http_gcs_cors_list(cf, names);
    }

    if (conf->headers == NULL) {
        conf->headers = ngx_http_gcs_cors_list(cf, ngx_http_gcs_cors_headers);
    }

    if (conf->expose == NULL) {
        conf->expose = ngx_http_gcs_cors_list(cf, ngx_http_gcs_cors_exposed);
    }

    return (conf->methods && conf->headers && conf->expose) ? NGX_OK
                                                            : NGX_ERROR;
}


static ngx_array_t *
ngx_http_gcs_cors_list(ngx_conf_t *cf, ngx_str_t *names)
{
    ngx_str_t    *name;
    ngx_array_t  *list;

    list = ngx_array_create(cf->pool, 8, sizeof(ngx_str_t));
    if (list == NULL) {
        return NULL;
    }

    for ( /* void */ ; names->len; names++) {

        name = ngx_array_push(list);
        if (name == NULL) {
            return NULL;
        }

        *name = *names;
    }

    return list;
}


static char *
ngx_http_gcs_cors_check(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *glcf,
    ngx_gcs_cors_rule_t *rule)
{
    char                    *what;
    ngx_uint_t               i;
    ngx_gcs_cors_pattern_t  *pattern;

    what = ngx_gcs_cors_conflict(rule);

    if (what && what[0] == 'o') {
        return ngx_http_gcs_conf_error(cf, glcf,
                   "\"gcs_cors_credentials\" cannot be used with the origin "
                   "\"*\", browsers refuse it; name the origins");
    }

    if (what) {
        return ngx_http_gcs_conf_error(cf, glcf,
                   "\"gcs_cors_credentials\" cannot be used with \"*\" in "
                   "\"gcs_cors_expose\" or \"responseHeader\", browsers take "
                   "it for the name of a header; name the headers");
    }

    if (!rule->credentials) {
        return NGX_CONF_OK;
    }

    pattern = rule->origins->elts;

    for (i = 0; i < rule->origins->nelts; i++) {

        if (pattern[i].kind == NGX_GCS_CORS_EXACT && pattern[i].host == 0) {
            return ngx_http_gcs_conf_error(cf, glcf,
                       "\"gcs_cors_credentials\" cannot be used with the "
                       "origin \"null\", which every page can give itself; "
                       "name the origins");
        }
    }

    return NGX_CONF_OK;
}


/* the value of "Allow" for 204 and 405 */

static ngx_int_t
ngx_http_gcs_cors_allow(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *glcf)
{
    u_char  *p;

    p = ngx_pnalloc(cf->pool, glcf->allow.len + sizeof(", OPTIONS") - 1);
    if (p == NULL) {
        return NGX_ERROR;
    }

    ngx_sprintf(p, "%V, OPTIONS", &glcf->allow);

    glcf->allow.data = p;
    glcf->allow.len += sizeof(", OPTIONS") - 1;

    return NGX_OK;
}


ngx_str_t *
ngx_http_gcs_cors_policy(ngx_uint_t policy)
{
    return &ngx_http_gcs_cors_policies[policy].name;
}
