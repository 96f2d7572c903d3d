
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "ngx_http_gcs.h"


/* "https://" and the host of a request, as it is told to clients */
#define NGX_HTTP_GCS_ORIGIN_MAX  300


static char *ngx_http_gcs_api_store(ngx_conf_t *cf,
    ngx_http_gcs_loc_conf_t *conf);
static ngx_int_t ngx_http_gcs_api_endpoint(ngx_conf_t *cf,
    ngx_http_gcs_loc_conf_t *conf);


char *
ngx_http_gcs_api(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gcs_loc_conf_t *glcf = conf;

    ngx_str_t                 *value;
    ngx_http_gcs_api_conf_t   *api;
    ngx_http_core_loc_conf_t  *clcf;

    if (glcf->api) {
        return "is duplicate";
    }

    if (glcf->passing) {
        return "cannot be used beside \"gcs_pass\"";
    }

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "off") == 0 && cf->args->nelts == 2) {
        return NGX_CONF_OK;
    }

    if (ngx_strcmp(value[1].data, "on") != 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid value \"%V\" in \"%V\" directive, "
                           "it must be \"on\" or \"off\"",
                           &value[1], &cmd->name);
        return NGX_CONF_ERROR;
    }

    api = ngx_pcalloc(cf->pool, sizeof(ngx_http_gcs_api_conf_t));
    if (api == NULL) {
        return NGX_CONF_ERROR;
    }

    if (cf->args->nelts == 3) {

        if (ngx_http_script_variables_count(&value[2]) == 0
            && !ngx_http_gcs_api_origin_valid(&value[2]))
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid value \"%V\" in \"%V\" directive, "
                               "it must be \"https://HOST\"",
                               &value[2], &cmd->name);
            return NGX_CONF_ERROR;
        }

        api->origin = ngx_http_gcs_compile(cf, &value[2]);
        if (api->origin == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    glcf->api = api;
    glcf->passing = 1;
    glcf->name = clcf->name;
    glcf->file = &cf->conf_file->file.name;
    glcf->line = cf->conf_file->line;

    return NGX_CONF_OK;
}


ngx_uint_t
ngx_http_gcs_api_origin_valid(ngx_str_t *origin)
{
    u_char  ch;
    size_t  i;

    if (origin->len > NGX_HTTP_GCS_ORIGIN_MAX) {
        return 0;
    }

    if (origin->len > sizeof("https://") - 1
        && ngx_strncmp(origin->data, "https://", sizeof("https://") - 1) == 0)
    {
        i = sizeof("https://") - 1;

    } else if (origin->len > sizeof("http://") - 1
               && ngx_strncmp(origin->data, "http://", sizeof("http://") - 1)
                  == 0)
    {
        i = sizeof("http://") - 1;

    } else {
        return 0;
    }

    /* it goes into headers and into JSON */

    for ( /* void */ ; i < origin->len; i++) {
        ch = origin->data[i];

        if (!((ch >= '0' && ch <= '9')
              || ((ch | 0x20) >= 'a' && (ch | 0x20) <= 'z')
              || (ch && ngx_strchr("-._:[]", ch))))
        {
            return 0;
        }
    }

    return 1;
}


char *
ngx_http_gcs_api_alone(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *conf)
{
    char  *name;

    if (conf->api == NULL) {
        return NGX_CONF_OK;
    }

    name = NULL;

    if (conf->autoindex != NGX_CONF_UNSET_UINT
        && conf->autoindex != NGX_HTTP_GCS_AUTOINDEX_OFF)
    {
        name = "gcs_autoindex";

    } else if (conf->index.len) {
        name = "gcs_index";

    } else if (conf->not_found.len) {
        name = "gcs_not_found";
    }

    if (name) {
        return ngx_http_gcs_conf_error(cf, conf,
                   "\"%s\" cannot be used with \"gcs_api\": Google's own "
                   "answers are for its clients", name);
    }

    conf->autoindex = NGX_HTTP_GCS_AUTOINDEX_OFF;
    ngx_str_set(&conf->index, "");
    ngx_str_set(&conf->not_found, "");

    return NGX_CONF_OK;
}


char *
ngx_http_gcs_api_merge(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *conf)
{
    ngx_http_gcs_main_conf_t  *gmcf;

    if (conf->buckets == NULL) {
        return ngx_http_gcs_conf_error(cf, conf,
                   "\"gcs_api\" requires \"gcs_buckets\", the list of "
                   "buckets that may be asked for");
    }

    if (conf->mode) {
        return ngx_http_gcs_conf_error(cf, conf,
                   "\"gcs_mode\" cannot be used with \"gcs_api\": its clients "
                   "do not follow redirects");
    }

    if (conf->identity
        && (conf->identity->signature || ngx_http_gcs_hmac(conf->identity)))
    {
        return ngx_http_gcs_conf_error(cf, conf,
                   "gcs credentials \"%V\" cannot be used with \"gcs_api\", "
                   "which needs a token", &conf->identity->name);
    }

    if (ngx_http_gcs_proxy_http2(conf)) {
        return ngx_http_gcs_conf_error(cf, conf,
                   "\"proxy_http_version 2\" cannot be used with "
                   "\"gcs_api\"");
    }

    gmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_gcs_proxy_module);
    gmcf->apis = 1;

    return ngx_http_gcs_api_store(cf, conf);
}


/*
 * Nothing is kept here of what clients are answered, also if an outer level
 * says so: who writes would not see it.  And Google's errors are for them.
 */

static char *
ngx_http_gcs_api_store(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *conf)
{
    if (conf->proxy->cache != NGX_CONF_UNSET && conf->proxy->cache) {
        return ngx_http_gcs_conf_error(cf, conf,
                   "\"proxy_cache\" cannot be used with \"gcs_api\"");
    }

    if (conf->proxy->store != NGX_CONF_UNSET && conf->proxy->store) {
        return ngx_http_gcs_conf_error(cf, conf,
                   "\"proxy_store\" cannot be used with \"gcs_api\"");
    }

    conf->proxy->cache = 0;
    conf->proxy->store = 0;
    conf->proxy->intercept_errors = 0;

    return NGX_CONF_OK;
}


char *
ngx_http_gcs_api_proxy(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *conf)
{
    char        *rv;
    ngx_uint_t   i;

    /* what else the client may say is in the last one, as lines */

    static ngx_str_t  headers[] = {
        ngx_string("Content-Length"), ngx_string("$__gcs_api_length"),
        ngx_string("User-Agent"), ngx_string("$__gcs_api_lines"),
        ngx_null_string
    };

    for (i = 0; headers[i].len; i += 2) {

        rv = ngx_http_gcs_proxy_call(cf, conf, "proxy_set_header",
                                     &headers[i], &headers[i + 1]);
        if (rv != NGX_CONF_OK) {
            return rv;
        }
    }

    return (ngx_http_gcs_api_endpoint(cf, conf) == NGX_OK) ? NGX_CONF_OK
                                                           : NGX_CONF_ERROR;
}


/* where the answers of the endpoint may lead */

static ngx_int_t
ngx_http_gcs_api_endpoint(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *conf)
{
    ngx_str_t   *prefix, *host;
    ngx_uint_t   i;

    static char  *schemes[] = { "https", "http", NULL };

    prefix = conf->api->prefixes;

    ngx_str_set(prefix, "https://storage.googleapis.com/");
    prefix++;

    ngx_str_set(prefix, "https://www.googleapis.com/");
    prefix++;

    host = &conf->endpoint->address.host;

    for (i = 0; schemes[i]; i++) {

        prefix->data = ngx_pnalloc(cf->pool, host->len
                                             + sizeof("https:///") - 1);
        if (prefix->data == NULL) {
            return NGX_ERROR;
        }

        prefix->len = ngx_sprintf(prefix->data, "%s://%V/", schemes[i], host)
                      - prefix->data;
        prefix++;
    }

    ngx_str_null(prefix);

    return NGX_OK;
}
