
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "ngx_http_gcs.h"


/* the directives of CORS but "gcs_cors" itself */


char *
ngx_http_gcs_cors_file(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gcs_cors_conf_t *ccf = conf;

    ngx_int_t             rc;
    ngx_str_t            *value, file, text, err;
    ngx_uint_t            i;
    ngx_gcs_cors_rule_t  *rule;

    if (ccf->file) {
        return "is duplicate";
    }

    if (ccf->off || ccf->rules != NGX_CONF_UNSET_PTR) {
        return "cannot be used with \"gcs_cors\"";
    }

    value = cf->args->elts;
    file = value[1];

    if (ngx_conf_full_name(cf->cycle, &file, 1) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    ccf->file = 1;

    ccf->rules = ngx_array_create(cf->pool, 2, sizeof(ngx_gcs_cors_rule_t));
    if (ccf->rules == NULL) {
        return NGX_CONF_ERROR;
    }

    rc = ngx_gcs_source_read(cf->pool, &file, NGX_GCS_SOURCE_MAX, &text, &err);

    if (rc == NGX_OK) {
        rc = ngx_gcs_cors_file(cf->pool, &text, ccf->rules, &err);
    }

    if (rc == NGX_DECLINED) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid file \"%V\" in \"gcs_cors_file\" "
                           "directive: %V", &file, &err);
        return NGX_CONF_ERROR;
    }

    if (rc != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    rule = ccf->rules->elts;

    for (i = 0; i < ccf->rules->nelts; i++) {
        rule[i].credentials = NGX_CONF_UNSET_UINT;
        rule[i].private_network = NGX_CONF_UNSET_UINT;
    }

    return NGX_CONF_OK;
}


/* "gcs_cors_methods", "gcs_cors_headers", "gcs_cors_expose" */

char *
ngx_http_gcs_cors_names(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char  *p = conf;

    ngx_int_t      rc;
    ngx_str_t     *value;
    ngx_uint_t     i, methods;
    ngx_array_t  **list;

    list = (ngx_array_t **) (p + cmd->offset);

    if (*list != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    *list = ngx_array_create(cf->pool, cf->args->nelts - 1,
                             sizeof(ngx_str_t));
    if (*list == NULL) {
        return NGX_CONF_ERROR;
    }

    value = cf->args->elts;

    methods = (cmd->offset == offsetof(ngx_http_gcs_cors_conf_t, methods));

    if (!methods && cf->args->nelts == 2
        && ngx_strcmp(value[1].data, "off") == 0)
    {
        return NGX_CONF_OK;
    }

    for (i = 1; i < cf->args->nelts; i++) {

        rc = ngx_http_gcs_cors_add(*list, &value[i], methods);

        if (rc == NGX_DECLINED) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid name \"%V\" in \"%V\" directive; it "
                               "takes names of %s, separated by spaces",
                               &value[i], &cmd->name,
                               methods ? "methods, in capitals" : "headers");
            return NGX_CONF_ERROR;
        }

        if (rc != NGX_OK) {
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


/* "gcs_timing_origin ORIGIN ... | * | off" */

char *
ngx_http_gcs_timing_origin(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gcs_cors_conf_t *ccf = conf;

    char                    *err;
    u_char                  *p;
    size_t                   len;
    ngx_str_t               *value;
    ngx_uint_t               i;
    ngx_gcs_cors_origin_t    buf;
    ngx_gcs_cors_pattern_t   pattern;

    if (ccf->timing.data) {
        return "is duplicate";
    }

    value = cf->args->elts;

    len = 0;

    for (i = 1; i < cf->args->nelts; i++) {
        len += value[i].len + 2;
    }

    p = ngx_pnalloc(cf->pool, len);
    if (p == NULL) {
        return NGX_CONF_ERROR;
    }

    ccf->timing.data = p;

    if (cf->args->nelts == 2
        && (ngx_strcmp(value[1].data, "off") == 0
            || ngx_strcmp(value[1].data, "*") == 0))
    {
        ccf->timing.len = (value[1].data[0] == '*') ? 1 : 0;
        *p = '*';

        return NGX_CONF_OK;
    }

    for (i = 1; i < cf->args->nelts; i++) {

        err = ngx_gcs_cors_pattern(&pattern, &value[i], &buf);

        if (err == NULL && pattern.kind != NGX_GCS_CORS_EXACT) {
            err = "only whole origins can be listed";
        }

        if (err) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid origin \"%V\" in "
                               "\"gcs_timing_origin\" directive: %s",
                               &value[i], err);
            return NGX_CONF_ERROR;
        }

        if (i > 1) {
            p = ngx_cpymem(p, ", ", 2);
        }

        p = ngx_cpymem(p, pattern.text.data, pattern.text.len);
    }

    ccf->timing.len = p - ccf->timing.data;

    return NGX_CONF_OK;
}
