
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "ngx_http_gcs.h"


ngx_conf_enum_t  ngx_http_gcs_autoindex_formats[] = {
    { ngx_string("off"), NGX_HTTP_GCS_AUTOINDEX_OFF },
    { ngx_string("json"), NGX_HTTP_GCS_AUTOINDEX_JSON },
    { ngx_string("html"), NGX_HTTP_GCS_AUTOINDEX_HTML },
    { ngx_null_string, 0 }
};


char *
ngx_http_gcs_autoindex_filter(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
#if (NGX_PCRE)

    ngx_http_gcs_loc_conf_t *glcf = conf;

    ngx_str_t            *value;
    ngx_regex_compile_t   rc;
    u_char                errstr[NGX_MAX_CONF_ERRSTR];

    if (glcf->autoindex_filter != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "off") == 0) {
        glcf->autoindex_filter = NULL;
        return NGX_CONF_OK;
    }

    ngx_memzero(&rc, sizeof(ngx_regex_compile_t));

    rc.pattern = value[1];
    rc.pool = cf->pool;
    rc.err.len = NGX_MAX_CONF_ERRSTR;
    rc.err.data = errstr;

    if (ngx_regex_compile(&rc) != NGX_OK) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%V", &rc.err);
        return NGX_CONF_ERROR;
    }

    glcf->autoindex_filter = rc.regex;

    return NGX_CONF_OK;

#else

    return "requires nginx built with PCRE";

#endif
}


char *
ngx_http_gcs_list_merge(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *prev,
    ngx_http_gcs_loc_conf_t *conf)
{
    ngx_uint_t                 own;
    ngx_http_gcs_main_conf_t  *gmcf;

    own = conf->passing && conf->autoindex != NGX_CONF_UNSET_UINT
          && conf->autoindex != NGX_HTTP_GCS_AUTOINDEX_OFF;

    ngx_conf_merge_uint_value(conf->autoindex, prev->autoindex,
                              NGX_HTTP_GCS_AUTOINDEX_OFF);
    ngx_conf_merge_ptr_value(conf->autoindex_filter, prev->autoindex_filter,
                             NULL);
    ngx_conf_merge_value(conf->autoindex_recursive, prev->autoindex_recursive,
                         0);
    ngx_conf_merge_value(conf->autoindex_requests, prev->autoindex_requests,
                         10000);
    ngx_conf_merge_msec_value(conf->autoindex_timeout,
                              prev->autoindex_timeout, 600000);

    if (!conf->passing || conf->autoindex == NGX_HTTP_GCS_AUTOINDEX_OFF) {
        return NGX_CONF_OK;
    }

    if (conf->identity && conf->identity->signature) {

        if (own) {
            return ngx_http_gcs_conf_error(cf, conf,
                       "\"gcs_autoindex\" cannot be used with \"gcs_auth "
                       "signature\": a signed URL lists nothing");
        }

        conf->autoindex = NGX_HTTP_GCS_AUTOINDEX_OFF;

    } else if (ngx_http_gcs_presign_only(conf)) {

        if (own) {
            return ngx_http_gcs_conf_error(cf, conf,
                       "\"gcs_autoindex\" cannot be used with \"gcs_mode "
                       "presign\": here nothing is asked of GCS");
        }

        conf->autoindex = NGX_HTTP_GCS_AUTOINDEX_OFF;

    } else {
        gmcf = ngx_http_conf_get_module_main_conf(cf,
                                                  ngx_http_gcs_proxy_module);
        gmcf->lists = 1;
    }

    return NGX_CONF_OK;
}
