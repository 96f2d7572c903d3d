
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "ngx_http_gcs.h"


/* the directives inside of "gcs_credentials" */


static char *ngx_http_gcs_flag(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_gcs_string(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_gcs_metadata_server(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_gcs_hmac_key(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_gcs_impersonate(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static ngx_uint_t ngx_http_gcs_scope_token(ngx_str_t *value);
static char *ngx_http_gcs_scope(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_gcs_url(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
static char *ngx_http_gcs_proxy(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


ngx_command_t  ngx_http_gcs_credentials_commands[] = {

    { ngx_string("file"),
      NGX_CONF_TAKE1,
      ngx_http_gcs_string,
      0,
      offsetof(ngx_http_gcs_block_t, file),
      NULL },

    { ngx_string("application_default"),
      NGX_CONF_NOARGS,
      ngx_http_gcs_flag,
      0,
      offsetof(ngx_http_gcs_block_t, application_default),
      NULL },

    { ngx_string("metadata_server"),
      NGX_CONF_NOARGS|NGX_CONF_TAKE1,
      ngx_http_gcs_metadata_server,
      0,
      0,
      NULL },

    { ngx_string("workload_identity_pool"),
      NGX_CONF_TAKE1,
      ngx_http_gcs_string,
      0,
      offsetof(ngx_http_gcs_block_t, pool),
      NULL },

    { ngx_string("workload_identity_provider"),
      NGX_CONF_TAKE1,
      ngx_http_gcs_string,
      0,
      offsetof(ngx_http_gcs_block_t, provider),
      NULL },

    { ngx_string("project_number"),
      NGX_CONF_TAKE1,
      ngx_http_gcs_string,
      0,
      offsetof(ngx_http_gcs_block_t, project_number),
      NULL },

    { ngx_string("project_id"),
      NGX_CONF_TAKE1,
      ngx_http_gcs_string,
      0,
      offsetof(ngx_http_gcs_block_t, project_id),
      NULL },

    { ngx_string("service_account"),
      NGX_CONF_TAKE1,
      ngx_http_gcs_string,
      0,
      offsetof(ngx_http_gcs_block_t, service_account),
      NULL },

    { ngx_string("subject_token"),
      NGX_CONF_TAKE1,
      ngx_http_gcs_string,
      0,
      offsetof(ngx_http_gcs_block_t, subject_token),
      NULL },

    { ngx_string("subject_token_type"),
      NGX_CONF_TAKE1,
      ngx_http_gcs_string,
      0,
      offsetof(ngx_http_gcs_block_t, subject_token_type),
      NULL },

    { ngx_string("subject_token_header"),
      NGX_CONF_TAKE2,
      ngx_http_gcs_subject_header,
      0,
      0,
      NULL },

    { ngx_string("hmac_key"),
      NGX_CONF_TAKE2,
      ngx_http_gcs_hmac_key,
      0,
      0,
      NULL },

    { ngx_string("impersonate"),
      NGX_CONF_1MORE,
      ngx_http_gcs_impersonate,
      0,
      0,
      NULL },

    { ngx_string("scope"),
      NGX_CONF_1MORE,
      ngx_http_gcs_scope,
      0,
      0,
      NULL },

    { ngx_string("token_lifetime"),
      NGX_CONF_TAKE1,
      ngx_conf_set_sec_slot,
      0,
      offsetof(ngx_http_gcs_block_t, token_lifetime),
      NULL },

    { ngx_string("universe_domain"),
      NGX_CONF_TAKE1,
      ngx_http_gcs_string,
      0,
      offsetof(ngx_http_gcs_block_t, universe_domain),
      NULL },

    { ngx_string("quota_project"),
      NGX_CONF_TAKE1,
      ngx_http_gcs_string,
      0,
      offsetof(ngx_http_gcs_block_t, quota_project),
      NULL },

    { ngx_string("token_endpoint"),
      NGX_CONF_TAKE1,
      ngx_http_gcs_url,
      0,
      offsetof(ngx_http_gcs_block_t, token_endpoint),
      NULL },

    { ngx_string("sts_endpoint"),
      NGX_CONF_TAKE1,
      ngx_http_gcs_url,
      0,
      offsetof(ngx_http_gcs_block_t, sts_endpoint),
      NULL },

    { ngx_string("iam_endpoint"),
      NGX_CONF_TAKE1,
      ngx_http_gcs_url,
      0,
      offsetof(ngx_http_gcs_block_t, iam_endpoint),
      NULL },

    { ngx_string("timeout"),
      NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      0,
      offsetof(ngx_http_gcs_block_t, timeout),
      NULL },

    { ngx_string("ssl_trusted_certificate"),
      NGX_CONF_TAKE1,
      ngx_http_gcs_string,
      0,
      offsetof(ngx_http_gcs_block_t, trusted_certificate),
      NULL },

    { ngx_string("proxy"),
      NGX_CONF_TAKE1,
      ngx_http_gcs_proxy,
      0,
      0,
      NULL },

      ngx_null_command
};


static char *
ngx_http_gcs_flag(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char  *p = conf;

    ngx_uint_t  *flag;

    flag = (ngx_uint_t *) (p + cmd->offset);

    if (*flag) {
        return "is duplicate";
    }

    *flag = 1;

    return NGX_CONF_OK;
}


/* like ngx_conf_set_str_slot(), but an empty value is a mistake */

static char *
ngx_http_gcs_string(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char  *p = conf;

    ngx_str_t  *field, *value;

    field = (ngx_str_t *) (p + cmd->offset);
    value = cf->args->elts;

    if (field->data) {
        return "is duplicate";
    }

    if (value[1].len == 0) {
        return "has an empty value";
    }

    *field = value[1];

    return NGX_CONF_OK;
}


static char *
ngx_http_gcs_metadata_server(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gcs_block_t *block = conf;

    ngx_str_t  *value, *host;

    if (block->metadata_server) {
        return "is duplicate";
    }

    block->metadata_server = 1;

    value = cf->args->elts;
    host = &block->identity->source.preset.metadata_host;

    if (cf->args->nelts == 1) {
        return ngx_http_gcs_environment_metadata(cf, host);
    }

    if (!ngx_gcs_credentials_metadata_host(&value[1])) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid host \"%V\" in \"%V\" directive; tokens "
                           "come from it without TLS, so it must be "
                           "\"169.254.169.254\", \"metadata.google.internal\""
                           " or a loopback address", &value[1], &cmd->name);
        return NGX_CONF_ERROR;
    }

    *host = value[1];

    return NGX_CONF_OK;
}


/* "hmac_key ACCESS_ID SECRET_FILE" */

static char *
ngx_http_gcs_hmac_key(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gcs_block_t *block = conf;

    u_char                 *p;
    ngx_str_t              *value;
    ngx_gcs_credentials_t  *preset;

    value = cf->args->elts;
    preset = &block->identity->source.preset;

    if (preset->access_id.len) {
        return "is duplicate";
    }

    for (p = value[1].data; p < value[1].data + value[1].len; p++) {
        if ((*p >= 'A' && *p <= 'Z') || (*p >= 'a' && *p <= 'z')
            || (*p >= '0' && *p <= '9'))
        {
            continue;
        }

        break;
    }

    if (value[1].len == 0 || p != value[1].data + value[1].len) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid access ID \"%V\" in \"%V\" directive",
                           &value[1], &cmd->name);
        return NGX_CONF_ERROR;
    }

    preset->access_id = value[1];
    block->hmac_file = value[2];

    return NGX_CONF_OK;
}


/* "impersonate EMAIL [DELEGATE ...]" */

static char *
ngx_http_gcs_impersonate(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gcs_block_t *block = conf;

    ngx_str_t                *value, *delegate;
    ngx_uint_t                i;
    ngx_gcs_impersonation_t  *imp;

    if (block->identity->source.preset.impersonate) {
        return "is duplicate";
    }

    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {
        if (!ngx_http_gcs_email_valid(&value[i])) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid account \"%V\" in \"%V\" directive; "
                               "an e-mail address is needed",
                               &value[i], &cmd->name);
            return NGX_CONF_ERROR;
        }
    }

    imp = ngx_pcalloc(cf->pool, sizeof(ngx_gcs_impersonation_t));
    if (imp == NULL) {
        return NGX_CONF_ERROR;
    }

    imp->email = value[1];
    imp->lifetime = 3600;

    if (cf->args->nelts > 2) {
        imp->delegates = ngx_array_create(cf->pool, cf->args->nelts - 2,
                                          sizeof(ngx_str_t));
        if (imp->delegates == NULL) {
            return NGX_CONF_ERROR;
        }

        for (i = 2; i < cf->args->nelts; i++) {
            delegate = ngx_array_push(imp->delegates);
            *delegate = value[i];
        }
    }

    block->identity->source.preset.impersonate = imp;

    return NGX_CONF_OK;
}


/* RFC 6749, 3.3; it is told by JSON, too, which has no other bytes */

static ngx_uint_t
ngx_http_gcs_scope_token(ngx_str_t *value)
{
    u_char  *p, *last;

    last = value->data + value->len;

    for (p = value->data; p < last; p++) {
        if (*p <= ' ' || *p == '"' || *p == '\\' || *p >= 0x7f) {
            return 0;
        }
    }

    return 1;
}


/* "scope URL ...": joined by single spaces, as the grant sends them */

static char *
ngx_http_gcs_scope(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gcs_block_t *block = conf;

    size_t       len;
    u_char      *p;
    ngx_str_t   *value;
    ngx_uint_t   i;

    if (block->scope.len) {
        return "is duplicate";
    }

    value = cf->args->elts;
    len = 0;

    for (i = 1; i < cf->args->nelts; i++) {
        len += value[i].len + 1;

        if (value[i].len < sizeof("https://") - 1
            || ngx_strncmp(value[i].data, "https://", sizeof("https://") - 1)
               != 0
            || !ngx_http_gcs_scope_token(&value[i]))
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid scope \"%V\"; a scope is a URL such "
                               "as \"" NGX_GCS_SCOPE_READ "\"", &value[i]);
            return NGX_CONF_ERROR;
        }
    }

    p = ngx_pnalloc(cf->pool, len);
    if (p == NULL) {
        return NGX_CONF_ERROR;
    }

    block->scope.data = p;
    block->scope.len = len - 1;

    for (i = 1; i < cf->args->nelts; i++) {
        p = ngx_cpymem(p, value[i].data, value[i].len);
        *p++ = ' ';
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_gcs_url(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char  *p = conf;

    ngx_str_t  *field, *value;

    field = (ngx_str_t *) (p + cmd->offset);

    if (field->data) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (!ngx_gcs_credentials_url_secure(&value[1])) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid URL \"%V\" in \"%V\" directive; it must "
                           "be https, or http to a loopback address",
                           &value[1], &cmd->name);
        return NGX_CONF_ERROR;
    }

    *field = value[1];

    return NGX_CONF_OK;
}


/* "proxy URL | off": the environment of nginx is never asked */

static char *
ngx_http_gcs_proxy(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gcs_block_t *block = conf;

    ngx_str_t  *value;

    if (block->proxy.data) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "off") == 0) {
        ngx_str_set(&block->proxy, "");
        return NGX_CONF_OK;
    }

    if ((ngx_strncmp(value[1].data, "http://", 7) != 0 || value[1].len == 7)
        && (ngx_strncmp(value[1].data, "https://", 8) != 0
            || value[1].len == 8))
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid value \"%V\" in \"%V\" directive; it "
                           "must be \"http://HOST:PORT\", "
                           "\"https://HOST:PORT\" or \"off\"",
                           &value[1], &cmd->name);
        return NGX_CONF_ERROR;
    }

    block->proxy = value[1];

    return NGX_CONF_OK;
}
