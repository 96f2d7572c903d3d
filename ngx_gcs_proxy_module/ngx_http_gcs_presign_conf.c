
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "ngx_http_gcs.h"


/* "gcs_mode" and "gcs_presign_*" */


/* the longest life of a signed URL, seconds: seven days */
#define NGX_HTTP_GCS_PRESIGN_MAX   604800

/* of one that IAM has signed: a key stays valid so long after its last use */
#define NGX_HTTP_GCS_PRESIGN_IAM   43200

/* bytes of our own cache, some 2000 URLs */
#define NGX_HTTP_GCS_PRESIGN_ZONE  (4 * 1024 * 1024)


static ngx_uint_t ngx_http_gcs_presign_variable(ngx_conf_t *cf);
static char *ngx_http_gcs_presign_check(ngx_conf_t *cf,
    ngx_http_gcs_loc_conf_t *conf);
static char *ngx_http_gcs_presign_zone(ngx_conf_t *cf,
    ngx_http_gcs_main_conf_t *gmcf, ngx_http_gcs_loc_conf_t *conf,
    ngx_uint_t iam);


char *
ngx_http_gcs_mode(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gcs_loc_conf_t *glcf = conf;

    char       *rv;
    ngx_str_t  *value;

    rv = ngx_http_set_complex_value_slot(cf, cmd, conf);
    if (rv != NGX_CONF_OK) {
        return rv;
    }

    value = cf->args->elts;

    if (glcf->mode->lengths == NULL
        && ngx_strcmp(value[1].data, "proxy") != 0
        && ngx_strcmp(value[1].data, "presign") != 0)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid value \"%V\" in \"%V\" directive; it must "
                           "be \"proxy\" or \"presign\"",
                           &value[1], &cmd->name);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


char *
ngx_http_gcs_presign_ttl(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gcs_loc_conf_t *glcf = conf;

    ngx_str_t  *value;

    if (glcf->presign_ttl != NGX_CONF_UNSET) {
        return "is duplicate";
    }

    value = cf->args->elts;

    glcf->presign_ttl = ngx_parse_time(&value[1], 1);

    if (glcf->presign_ttl < 1
        || glcf->presign_ttl > NGX_HTTP_GCS_PRESIGN_MAX)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid value \"%V\" in \"%V\" directive; a "
                           "signed URL lives from 1s to 7d",
                           &value[1], &cmd->name);
        return NGX_CONF_ERROR;
    }

    if (glcf->presign_ttl < 60) {
        ngx_conf_log_error(NGX_LOG_WARN, cf, 0,
                           "\"%V\" is %T seconds, were minutes meant?",
                           &cmd->name, glcf->presign_ttl);
    }

    return NGX_CONF_OK;
}


char *
ngx_http_gcs_presign_window(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gcs_loc_conf_t *glcf = conf;

    ngx_str_t  *value;

    if (glcf->presign_window != NGX_CONF_UNSET) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "off") == 0) {
        glcf->presign_window = 0;
        return NGX_CONF_OK;
    }

    glcf->presign_window = ngx_parse_time(&value[1], 1);

    if (glcf->presign_window < 1) {
        glcf->presign_window = NGX_CONF_UNSET;
        return "invalid value";
    }

    return NGX_CONF_OK;
}


/* "gcs_presign_answer redirect[=CODE] | json" */

char *
ngx_http_gcs_presign_answer(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gcs_loc_conf_t *glcf = conf;

    ngx_int_t                       status;
    ngx_str_t                      *value;
    ngx_http_gcs_presign_answer_t  *answer;

    if (glcf->presign_answer != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;

    answer = ngx_pcalloc(cf->pool, sizeof(ngx_http_gcs_presign_answer_t));
    if (answer == NULL) {
        return NGX_CONF_ERROR;
    }

    glcf->presign_answer = answer;

    if (ngx_strcmp(value[1].data, "json") == 0) {
        answer->json = 1;
        return NGX_CONF_OK;
    }

    if (ngx_strcmp(value[1].data, "redirect") == 0) {
        return NGX_CONF_OK;
    }

    if (ngx_strncmp(value[1].data, "redirect=", 9) == 0) {

        status = ngx_atoi(value[1].data + 9, value[1].len - 9);

        if (status == 302 || status == 303 || status == 307) {
            answer->status = status;
            return NGX_CONF_OK;
        }
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid value \"%V\" in \"%V\" directive; it must be "
                       "\"redirect\", \"redirect=302\", \"redirect=303\", "
                       "\"redirect=307\" or \"json\"",
                       &value[1], &cmd->name);

    return NGX_CONF_ERROR;
}


char *
ngx_http_gcs_presign_method(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gcs_loc_conf_t *glcf = conf;

    ngx_str_t  *value, *method;

    static ngx_str_t  methods[] = {
        ngx_string("GET"),
        ngx_string("HEAD"),
        ngx_string("PUT"),
        ngx_string("POST"),
        ngx_string("DELETE"),
        ngx_null_string
    };

    if (glcf->presign_method.len) {
        return "is duplicate";
    }

    value = cf->args->elts;

    for (method = methods; method->len; method++) {
        if (method->len == value[1].len
            && ngx_strncmp(method->data, value[1].data, method->len) == 0)
        {
            glcf->presign_method = *method;
            return NGX_CONF_OK;
        }
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid value \"%V\" in \"%V\" directive; it must be "
                       "\"GET\", \"HEAD\", \"PUT\", \"POST\" or \"DELETE\"",
                       &value[1], &cmd->name);

    return NGX_CONF_ERROR;
}


/* "gcs_presign_query NAME VALUE" and "gcs_presign_header NAME VALUE" */

char *
ngx_http_gcs_presign_pair(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char  *p = conf;

    ngx_str_t     *value;
    ngx_array_t  **list;

    list = (ngx_array_t **) (p + cmd->offset);
    value = cf->args->elts;

    if (!ngx_gcs_aws_word(&value[1])
        || (value[1].len >= sizeof("x-goog-signature") - 1
            && ngx_strncasecmp(value[1].data, (u_char *) "x-goog-signature",
                               value[1].len)
               == 0))
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid name \"%V\" in \"%V\" directive",
                           &value[1], &cmd->name);
        return NGX_CONF_ERROR;
    }

    return ngx_http_gcs_push_header(cf, list);
}


/* "gcs_presign_host path | virtual | URL" */

char *
ngx_http_gcs_presign_host(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gcs_loc_conf_t *glcf = conf;

    size_t                        i;
    u_char                        ch;
    ngx_str_t                    *value;
    ngx_http_gcs_presign_host_t  *host;

    if (glcf->presign_host != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;

    host = ngx_pcalloc(cf->pool, sizeof(ngx_http_gcs_presign_host_t));
    if (host == NULL) {
        return NGX_CONF_ERROR;
    }

    glcf->presign_host = host;

    if (ngx_strcmp(value[1].data, "path") == 0) {
        host->style = NGX_HTTP_GCS_PATH_STYLE;
        return NGX_CONF_OK;
    }

    if (ngx_strcmp(value[1].data, "virtual") == 0) {
        host->style = NGX_HTTP_GCS_VIRTUAL_STYLE;
        return NGX_CONF_OK;
    }

    host->style = NGX_HTTP_GCS_BOUND_STYLE;
    host->host = value[1];

    if (ngx_strncmp(value[1].data, "https://", 8) == 0) {
        host->tls = 1;
        host->host.data += 8;
        host->host.len -= 8;

    } else if (ngx_strncmp(value[1].data, "http://", 7) == 0) {
        host->host.data += 7;
        host->host.len -= 7;

    } else {
        goto invalid;
    }

    if (host->host.len && host->host.data[host->host.len - 1] == '/') {
        host->host.len--;
    }

    if (host->host.len == 0) {
        goto invalid;
    }

    for (i = 0; i < host->host.len; i++) {
        ch = host->host.data[i];

        if (!((ch >= '0' && ch <= '9')
              || ((ch | 0x20) >= 'a' && (ch | 0x20) <= 'z')
              || ch == '-' || ch == '.' || ch == '_' || ch == ':'))
        {
            goto invalid;
        }
    }

    return NGX_CONF_OK;

invalid:

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid value \"%V\" in \"%V\" directive; it must be "
                       "\"path\", \"virtual\" or \"https://HOST\"",
                       &value[1], &cmd->name);

    return NGX_CONF_ERROR;
}


/* "gcs_presign_cache zone=NAME[:SIZE] | off" */

char *
ngx_http_gcs_presign_cache(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gcs_loc_conf_t *glcf = conf;

    ngx_str_t  *value;

    if (glcf->presign_cache != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "off") == 0) {
        glcf->presign_cache = NULL;
        return NGX_CONF_OK;
    }

    glcf->presign_cache = ngx_http_gcs_zone(cf, cmd, &value[1]);

    return glcf->presign_cache ? NGX_CONF_OK : NGX_CONF_ERROR;
}


ngx_gcs_url_cache_t *
ngx_http_gcs_zone(ngx_conf_t *cf, ngx_command_t *cmd, ngx_str_t *value)
{
    u_char     *p;
    ssize_t     size;
    ngx_str_t   name, number;

    if (ngx_strncmp(value->data, "zone=", 5) != 0) {
        goto invalid;
    }

    name.data = value->data + 5;
    name.len = value->len - 5;
    size = 0;

    p = (u_char *) ngx_strchr(name.data, ':');

    if (p) {
        number.data = p + 1;
        number.len = name.data + name.len - number.data;
        name.len = p - name.data;

        size = ngx_parse_size(&number);

        if (size == NGX_ERROR) {
            goto invalid;
        }

        if (size < (ssize_t) ngx_gcs_url_cache_min()) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "zone \"%V\" in \"%V\" directive is too "
                               "small, it must have %uz bytes",
                               &name, &cmd->name, ngx_gcs_url_cache_min());
            return NULL;
        }
    }

    if (name.len == 0) {
        goto invalid;
    }

    return ngx_gcs_url_cache_add(cf, &name, size, &ngx_http_gcs_proxy_module);

invalid:

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid value \"%V\" in \"%V\" directive; it must be "
                       "\"zone=NAME:SIZE\", \"zone=NAME\" or \"off\"",
                       value, &cmd->name);

    return NULL;
}


char *
ngx_http_gcs_presign_merge(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *prev,
    ngx_http_gcs_loc_conf_t *conf)
{
    static ngx_http_gcs_presign_host_t    path;
    static ngx_http_gcs_presign_answer_t  redirect;

    if (conf->mode == NULL) {
        conf->mode = prev->mode;
    }

    ngx_conf_merge_sec_value(conf->presign_ttl, prev->presign_ttl, 900);
    ngx_conf_merge_sec_value(conf->presign_window, prev->presign_window,
                             NGX_CONF_UNSET);
    ngx_conf_merge_str_value(conf->presign_method, prev->presign_method, "");
    ngx_conf_merge_ptr_value(conf->presign_query, prev->presign_query, NULL);
    ngx_conf_merge_ptr_value(conf->presign_headers, prev->presign_headers,
                             NULL);
    ngx_conf_merge_ptr_value(conf->presign_host, prev->presign_host, &path);
    ngx_conf_merge_ptr_value(conf->presign_answer, prev->presign_answer,
                             &redirect);
    ngx_conf_merge_ptr_value(conf->presign_cache, prev->presign_cache,
                             NGX_CONF_UNSET_PTR);

    if (conf->presign_window >= conf->presign_ttl
        && (conf->passing || conf->object))
    {
        return ngx_http_gcs_conf_error(cf, conf,
                   "\"gcs_presign_window\" must be shorter than "
                   "\"gcs_presign_ttl\"");
    }

    if (conf->mode && conf->mode->lengths == NULL
        && ngx_strcmp(conf->mode->value.data, "proxy") == 0)
    {
        return NGX_CONF_OK;
    }

    conf->signing = conf->waiting && !conf->passing && conf->auth
                    && (conf->mode || ngx_http_gcs_presign_variable(cf));

    if (!conf->signing && (!conf->passing || conf->mode == NULL)) {
        return NGX_CONF_OK;
    }

    return ngx_http_gcs_presign_check(cf, conf);
}


/* without TLS, the other way sees to it that the host is this machine */

ngx_uint_t
ngx_http_gcs_presign_only(ngx_http_gcs_loc_conf_t *conf)
{
    return conf->mode
           && conf->mode->lengths == NULL
           && ngx_strcmp(conf->mode->value.data, "presign") == 0
           && ngx_http_gcs_address(conf)->tls;
}


/* whether "$gcs_signed_url" is used somewhere; a page of SSI is not known */

static ngx_uint_t
ngx_http_gcs_presign_variable(ngx_conf_t *cf)
{
    ngx_uint_t                  i;
    ngx_http_variable_t        *v;
    ngx_http_core_main_conf_t  *cmcf;

    static ngx_str_t  name = ngx_string("gcs_signed_url");

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    v = cmcf->variables.elts;

    for (i = 0; i < cmcf->variables.nelts; i++) {
        if (v[i].name.len == name.len
            && ngx_strncmp(v[i].name.data, name.data, name.len) == 0)
        {
            return 1;
        }
    }

    return 0;
}


/* of a location where URLs may be signed */

static char *
ngx_http_gcs_presign_check(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *conf)
{
    ngx_uint_t                  i, iam;
    ngx_http_gcs_main_conf_t   *gmcf;
    ngx_http_gcs_identity_t   **identity;

    gmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_gcs_proxy_module);

    if (conf->passing && conf->mode->lengths == NULL) {

        if (conf->identity
            && ngx_http_gcs_signs(conf->identity) == NGX_HTTP_GCS_SIGNS_NOT)
        {
            return ngx_http_gcs_conf_error(cf, conf,
                       "gcs credentials \"%V\" cannot sign URLs: \"gcs_mode "
                       "presign\" needs a service account; name one by "
                       "\"impersonate\"", &conf->identity->name);
        }

        if (conf->presign_method.len
            && !(ngx_http_gcs_presign_bit(&conf->presign_method)
                 & conf->allowed))
        {
            return ngx_http_gcs_conf_error(cf, conf,
                       "\"gcs_presign_method\" \"%V\" is not in "
                       "\"gcs_methods\"; \"POST\" needs \"PUT\" there",
                       &conf->presign_method);
        }
    }

    iam = 0;
    identity = gmcf->identities.elts;

    for (i = 0; i < gmcf->identities.nelts; i++) {

        if (conf->identity && conf->identity != identity[i]) {
            continue;
        }

        identity[i]->presigns = 1;

        if (ngx_http_gcs_signs(identity[i]) == NGX_HTTP_GCS_SIGNS_IAM) {
            iam = 1;
        }
    }

    if (iam && conf->presign_ttl > NGX_HTTP_GCS_PRESIGN_IAM) {
        ngx_http_gcs_conf_warn(cf, conf,
            "\"gcs_presign_ttl\" is more than 12 hours, but a URL that IAM "
            "has signed may be void after that: its keys change");
    }

    if (ngx_http_gcs_address_merge(cf, conf) != NGX_CONF_OK) {
        return NGX_CONF_ERROR;
    }

    return ngx_http_gcs_presign_zone(cf, gmcf, conf, iam);
}


/* the cache, if the same URL may be asked for again */

static char *
ngx_http_gcs_presign_zone(ngx_conf_t *cf, ngx_http_gcs_main_conf_t *gmcf,
    ngx_http_gcs_loc_conf_t *conf, ngx_uint_t iam)
{
    ngx_str_t  name;

    if (!iam && (conf->presign_window == NGX_CONF_UNSET
                 || conf->presign_window == 0))
    {
        return NGX_CONF_OK;
    }

    if (conf->presign_cache != NGX_CONF_UNSET_PTR) {
        conf->url_cache = conf->presign_cache;
        return NGX_CONF_OK;
    }

    if (gmcf->url_cache == NULL) {
        ngx_str_set(&name, "gcs_presign");

        gmcf->url_cache = ngx_gcs_url_cache_add(cf, &name,
                                                NGX_HTTP_GCS_PRESIGN_ZONE,
                                                &ngx_http_gcs_proxy_module);
        if (gmcf->url_cache == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    conf->url_cache = gmcf->url_cache;

    return NGX_CONF_OK;
}
