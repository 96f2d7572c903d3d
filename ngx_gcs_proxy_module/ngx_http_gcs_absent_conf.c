
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "ngx_http_gcs.h"


static char *ngx_http_gcs_absent_name(ngx_str_t *value, ngx_str_t *name);


char *
ngx_http_gcs_index(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gcs_loc_conf_t *glcf = conf;

    ngx_str_t  *value;

    if (glcf->index.data) {
        return "is duplicate";
    }

    value = cf->args->elts;

    return ngx_http_gcs_absent_name(&value[1], &glcf->index);
}


char *
ngx_http_gcs_not_found(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gcs_loc_conf_t *glcf = conf;

    ngx_int_t   status;
    ngx_str_t  *value;

    if (glcf->not_found.data) {
        return "is duplicate";
    }

    value = cf->args->elts;
    status = NGX_HTTP_NOT_FOUND;

    if (cf->args->nelts == 3) {

        status = (value[2].data[0] == '=')
                 ? ngx_atoi(value[2].data + 1, value[2].len - 1) : NGX_ERROR;

        if (status != NGX_HTTP_OK && (status < 400 || status > 599)) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "\"%V\" is neither \"=200\" nor \"=400\" to "
                               "\"=599\"", &value[2]);
            return NGX_CONF_ERROR;
        }
    }

    glcf->not_found_status = status;

    return ngx_http_gcs_absent_name(&value[1], &glcf->not_found);
}


/* a name to be put behind a folder's; "off" is an empty one */

static char *
ngx_http_gcs_absent_name(ngx_str_t *value, ngx_str_t *name)
{
    if (ngx_strcmp(value->data, "off") == 0) {
        ngx_str_set(name, "");
        return NGX_CONF_OK;
    }

    if (value->len == 0
        || value->data[0] == '/' || value->data[value->len - 1] == '/'
        || ngx_strlchr(value->data, value->data + value->len, '$')
        || ngx_gcs_object_check(value) != NULL
        || ngx_gcs_object_dot_segment(value))
    {
        return "must be the name of an object, without variables and "
               "without a slash at its beginning or end";
    }

    *name = *value;

    return NGX_CONF_OK;
}


char *
ngx_http_gcs_absent_merge(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *prev,
    ngx_http_gcs_loc_conf_t *conf)
{
    char        *rv, *name, *reason;
    ngx_uint_t   index, not_found;

    rv = ngx_http_gcs_list_merge(cf, prev, conf);
    if (rv != NGX_CONF_OK) {
        return rv;
    }

    index = (conf->index.len != 0);
    not_found = (conf->not_found.len != 0);

    ngx_conf_merge_str_value(conf->index, prev->index, "");

    if (conf->not_found.data == NULL) {
        conf->not_found_status = prev->not_found_status;
    }

    ngx_conf_merge_str_value(conf->not_found, prev->not_found, "");

    if (!conf->passing) {
        return NGX_CONF_OK;
    }

    name = NULL;
    reason = NULL;

    if (conf->identity && conf->identity->signature) {
        name = index ? "gcs_index" : not_found ? "gcs_not_found" : NULL;
        reason = "\"gcs_auth signature\": a signed URL is of one object";

        ngx_str_set(&conf->index, "");
        ngx_str_set(&conf->not_found, "");

    } else if (ngx_http_gcs_presign_only(conf)) {
        name = not_found ? "gcs_not_found" : NULL;
        reason = "\"gcs_mode presign\": here nothing is asked of GCS";

        ngx_str_set(&conf->not_found, "");
    }

    if (name) {
        return ngx_http_gcs_conf_error(cf, conf,
                                       "\"%s\" cannot be used with %s", name,
                                       reason);
    }

    return NGX_CONF_OK;
}
