
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "ngx_http_gcs.h"


/* "gcs_credentials NAME { ... }" */


/* where a credential may come from: one of them */

#define NGX_HTTP_GCS_FILE         0x01
#define NGX_HTTP_GCS_DEFAULT      0x02
#define NGX_HTTP_GCS_METADATA     0x04
#define NGX_HTTP_GCS_FEDERATION   0x08
#define NGX_HTTP_GCS_HMAC         0x10


static char *ngx_http_gcs_credentials_line(ngx_conf_t *cf,
    ngx_command_t *dummy, void *conf);
static char *ngx_http_gcs_credentials_done(ngx_conf_t *cf,
    ngx_http_gcs_block_t *block);
static char *ngx_http_gcs_credentials_options(ngx_conf_t *cf,
    ngx_http_gcs_block_t *block);
static char *ngx_http_gcs_credentials_hmac(ngx_conf_t *cf,
    ngx_http_gcs_block_t *block);
static char *ngx_http_gcs_credentials_fetch(ngx_conf_t *cf,
    ngx_http_gcs_block_t *block);


/* names that have a meaning of their own in "gcs_auth" */

static ngx_str_t  ngx_http_gcs_reserved[] = {
    ngx_string("anonymous"),
    ngx_string("default"),
    ngx_string("signature"),
    ngx_null_string
};


char *
ngx_http_gcs_credentials(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gcs_main_conf_t *gmcf = conf;

    char                      *rv;
    ngx_str_t                 *value, *name;
    ngx_conf_t                 save;
    ngx_http_gcs_block_t       block;
    ngx_http_gcs_identity_t  **identity;

    value = cf->args->elts;

    for (name = ngx_http_gcs_reserved; name->len; name++) {
        if (value[1].len == name->len
            && ngx_strncmp(value[1].data, name->data, name->len) == 0)
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "the name \"%V\" is built in, "
                               "choose another for \"%V\"",
                               name, &cmd->name);
            return NGX_CONF_ERROR;
        }
    }

    if (value[1].len == 0
        || ngx_strlchr(value[1].data, value[1].data + value[1].len, '$')
        || ngx_http_gcs_identity(gmcf, &value[1]))
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid or duplicate name \"%V\" in \"%V\"",
                           &value[1], &cmd->name);
        return NGX_CONF_ERROR;
    }

    ngx_memzero(&block, sizeof(ngx_http_gcs_block_t));
    block.timeout = NGX_CONF_UNSET_MSEC;
    block.token_lifetime = NGX_CONF_UNSET;
    block.gmcf = gmcf;

    block.identity = ngx_http_gcs_identity_create(cf, gmcf, &value[1]);
    if (block.identity == NULL) {
        return NGX_CONF_ERROR;
    }

    save = *cf;
    cf->handler = ngx_http_gcs_credentials_line;
    cf->handler_conf = (void *) &block;

    rv = ngx_conf_parse(cf, NULL);

    *cf = save;

    if (rv != NGX_CONF_OK) {
        return rv;
    }

    rv = ngx_http_gcs_credentials_done(cf, &block);
    if (rv != NGX_CONF_OK) {
        return rv;
    }

    identity = ngx_array_push(&gmcf->identities);
    if (identity == NULL) {
        return NGX_CONF_ERROR;
    }

    *identity = block.identity;

    return NGX_CONF_OK;
}


/* one directive of the block */

static char *
ngx_http_gcs_credentials_line(ngx_conf_t *cf, ngx_command_t *dummy,
    void *conf)
{
    char           *rv;
    ngx_str_t      *value;
    ngx_uint_t      valid;
    ngx_command_t  *cmd;

    value = cf->args->elts;

    for (cmd = ngx_http_gcs_credentials_commands; cmd->name.len; cmd++) {

        if (cmd->name.len != value[0].len
            || ngx_strncmp(cmd->name.data, value[0].data, value[0].len) != 0)
        {
            continue;
        }

        /* the bits of nginx's own table: 1 << number of arguments */

        valid = (cmd->type & NGX_CONF_1MORE)
                ? cf->args->nelts > 1
                : cf->args->nelts <= NGX_CONF_MAX_ARGS
                  && (cmd->type & ((ngx_uint_t) NGX_CONF_NOARGS
                                   << (cf->args->nelts - 1)))
                     != 0;

        if (!valid) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid number of arguments in "
                               "\"%V\" directive", &value[0]);
            return NGX_CONF_ERROR;
        }

        rv = cmd->set(cf, cmd, conf);

        if (rv == NGX_CONF_OK || rv == NGX_CONF_ERROR) {
            return rv;
        }

        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "\"%V\" directive %s",
                           &value[0], rv);

        return NGX_CONF_ERROR;
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "unknown directive \"%V\" in \"gcs_credentials\"",
                       &value[0]);

    return NGX_CONF_ERROR;
}


static char *
ngx_http_gcs_credentials_done(ngx_conf_t *cf, ngx_http_gcs_block_t *block)
{
    char                     *rv;
    ngx_uint_t                from;
    ngx_gcs_credentials_t    *preset;
    ngx_http_gcs_identity_t  *identity;

    identity = block->identity;
    preset = &identity->source.preset;

    from = (block->file.len ? NGX_HTTP_GCS_FILE : 0)
           + (block->application_default ? NGX_HTTP_GCS_DEFAULT : 0)
           + (block->metadata_server ? NGX_HTTP_GCS_METADATA : 0)
           + ((block->pool.len || block->provider.len
               || block->project_number.len || block->service_account.len
               || (block->subject_token.len && block->file.len == 0))
              ? NGX_HTTP_GCS_FEDERATION : 0)
           + (preset->access_id.len ? NGX_HTTP_GCS_HMAC : 0);

    if (from == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "no source in \"gcs_credentials\" \"%V\": "
                           "add \"file PATH;\", \"application_default;\", "
                           "\"metadata_server;\", \"workload_identity_pool "
                           "ID;\" or \"hmac_key ID FILE;\"", &identity->name);
        return NGX_CONF_ERROR;
    }

    if (from & (from - 1)) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "more than one source in \"gcs_credentials\" "
                           "\"%V\"", &identity->name);
        return NGX_CONF_ERROR;
    }

    rv = ngx_http_gcs_credentials_options(cf, block);
    if (rv != NGX_CONF_OK) {
        return rv;
    }

    rv = ngx_http_gcs_credentials_fetch(cf, block);
    if (rv != NGX_CONF_OK) {
        return rv;
    }

    rv = ngx_http_gcs_subject(cf, block);
    if (rv != NGX_CONF_OK) {
        return rv;
    }

    switch (from) {

    case NGX_HTTP_GCS_FILE:
        identity->source.file = block->file;
        break;

    case NGX_HTTP_GCS_DEFAULT:
        return ngx_http_gcs_identity_search(cf, block->gmcf, identity);

    case NGX_HTTP_GCS_METADATA:
        preset->type = NGX_GCS_METADATA_SERVER;
        preset->patient = 1;
        break;

    case NGX_HTTP_GCS_FEDERATION:
        rv = ngx_http_gcs_federation(cf, block);
        if (rv != NGX_CONF_OK) {
            return rv;
        }

        break;

    default: /* NGX_HTTP_GCS_HMAC */
        rv = ngx_http_gcs_credentials_hmac(cf, block);
        if (rv != NGX_CONF_OK) {
            return rv;
        }
    }

    return ngx_http_gcs_identity_load(cf, block->gmcf, identity);
}


/* what may be said of a credential from wherever */

static char *
ngx_http_gcs_credentials_options(ngx_conf_t *cf, ngx_http_gcs_block_t *block)
{
    ngx_gcs_credentials_t    *preset;
    ngx_http_gcs_identity_t  *identity;

    identity = block->identity;
    preset = &identity->source.preset;

    if (block->token_lifetime != NGX_CONF_UNSET
        && (block->token_lifetime < 600 || block->token_lifetime > 43200))
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"token_lifetime\" of \"gcs_credentials\" \"%V\" "
                           "must be from 10m to 12h", &identity->name);
        return NGX_CONF_ERROR;
    }

    preset->lifetime = (block->token_lifetime == NGX_CONF_UNSET)
                       ? 0 : block->token_lifetime;
    preset->token_uri = block->token_endpoint;
    preset->sts_uri = block->sts_endpoint;
    preset->iam_uri = block->iam_endpoint;
    preset->universe_domain = block->universe_domain;
    preset->scope = block->scope;
    preset->scope_set = (block->scope.len != 0);

    if (block->quota_project.len) {

        if (!ngx_gcs_aws_word(&block->quota_project)
            || ngx_strlchr(block->quota_project.data,
                           block->quota_project.data
                           + block->quota_project.len, '$'))
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid \"quota_project\" \"%V\" in "
                               "\"gcs_credentials\" \"%V\"; the ID of a "
                               "project is needed",
                               &block->quota_project, &identity->name);
            return NGX_CONF_ERROR;
        }

        identity->quota_project = block->quota_project;
        block->gmcf->quota_projects = 1;
    }

    return NGX_CONF_OK;
}


/* a signature of each request: there is no token to speak of */

static char *
ngx_http_gcs_credentials_hmac(ngx_conf_t *cf, ngx_http_gcs_block_t *block)
{
    char                   *name;
    ngx_gcs_credentials_t  *preset;

    preset = &block->identity->source.preset;

    name = block->scope.len ? "scope"
           : preset->impersonate ? "impersonate"
           : preset->lifetime ? "token_lifetime"
           : block->token_endpoint.len ? "token_endpoint"
           : block->sts_endpoint.len ? "sts_endpoint"
           : block->iam_endpoint.len ? "iam_endpoint"
           : NULL;

    if (name) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%s\" cannot be used with \"hmac_key\" in "
                           "\"gcs_credentials\" \"%V\": no token is fetched",
                           name, &block->identity->name);
        return NGX_CONF_ERROR;
    }

    preset->type = NGX_GCS_HMAC_KEY;
    block->gmcf->hmac = 1;
    block->identity->source.file = block->hmac_file;

    return NGX_CONF_OK;
}


static char *
ngx_http_gcs_credentials_fetch(ngx_conf_t *cf, ngx_http_gcs_block_t *block)
{
    ngx_str_t                 text, err;
    ngx_http_gcs_identity_t  *identity;

    identity = block->identity;

    identity->fetch.timeout = (block->timeout == NGX_CONF_UNSET_MSEC)
                              ? 10000 : block->timeout;
    identity->fetch.proxy = block->proxy;

    if (identity->fetch.timeout == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"timeout\" of \"gcs_credentials\" \"%V\" "
                           "must not be zero", &identity->name);
        return NGX_CONF_ERROR;
    }

    if (block->trusted_certificate.len == 0) {
        return NGX_CONF_OK;
    }

    if (ngx_conf_full_name(cf->cycle, &block->trusted_certificate, 1)
        != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    /* libcurl reads it in the workers; whether it exists shows now */

    if (ngx_gcs_source_read(cf->temp_pool, &block->trusted_certificate,
                            NGX_GCS_SOURCE_MAX * 16, &text, &err)
        != NGX_OK)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%V", &err);
        return NGX_CONF_ERROR;
    }

    identity->fetch.trusted_certificate = block->trusted_certificate;

    return NGX_CONF_OK;
}
