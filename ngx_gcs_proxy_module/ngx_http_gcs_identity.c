
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "ngx_http_gcs.h"


/* a Google credential file has some 2.3 KiB */
#define NGX_HTTP_GCS_FILE_MAX  65536


/* the block while it is read */

typedef struct {
    ngx_http_gcs_identity_t     *identity;
    ngx_str_t                    file;
    ngx_str_t                    scope;
    ngx_str_t                    token_endpoint;
    ngx_msec_t                   timeout;
    ngx_str_t                    trusted_certificate;
    ngx_str_t                    proxy;
} ngx_http_gcs_block_t;


static char *ngx_http_gcs_credentials_line(ngx_conf_t *cf,
    ngx_command_t *dummy, void *conf);
static char *ngx_http_gcs_credentials_done(ngx_conf_t *cf,
    ngx_http_gcs_block_t *block);
static ngx_int_t ngx_http_gcs_read_file(ngx_conf_t *cf, ngx_str_t *name,
    ngx_str_t *text);
static char *ngx_http_gcs_scope(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_gcs_url(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
static char *ngx_http_gcs_proxy(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


static ngx_command_t  ngx_http_gcs_credentials_commands[] = {

    { ngx_string("file"),
      NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      0,
      offsetof(ngx_http_gcs_block_t, file),
      NULL },

    { ngx_string("scope"),
      NGX_CONF_1MORE,
      ngx_http_gcs_scope,
      0,
      0,
      NULL },

    { ngx_string("token_endpoint"),
      NGX_CONF_TAKE1,
      ngx_http_gcs_url,
      0,
      offsetof(ngx_http_gcs_block_t, token_endpoint),
      NULL },

    { ngx_string("timeout"),
      NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      0,
      offsetof(ngx_http_gcs_block_t, timeout),
      NULL },

    { ngx_string("ssl_trusted_certificate"),
      NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
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


static ngx_str_t  ngx_http_gcs_anonymous = ngx_string("anonymous");


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

    block.identity = ngx_pcalloc(cf->pool, sizeof(ngx_http_gcs_identity_t));
    if (block.identity == NULL) {
        return NGX_CONF_ERROR;
    }

    block.identity->name = value[1];

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

        valid = (cmd->type & NGX_CONF_1MORE) ? cf->args->nelts > 1
                                             : cf->args->nelts == 2;

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
    ngx_int_t                 rc;
    ngx_str_t                 text, err;
    ngx_http_gcs_identity_t  *identity;

    identity = block->identity;

    if (block->file.len == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "no source in \"gcs_credentials\" \"%V\": "
                           "add \"file PATH;\"", &identity->name);
        return NGX_CONF_ERROR;
    }

    identity->scope = block->scope;
    identity->cred.scope = block->scope;
    identity->cred.token_uri = block->token_endpoint;

    if (block->scope.len == 0) {
        ngx_str_set(&identity->cred.scope, NGX_GCS_SCOPE_READ);
    }

    identity->fetch.timeout = (block->timeout == NGX_CONF_UNSET_MSEC)
                              ? 10000 : block->timeout;
    identity->fetch.proxy = block->proxy;

    if (identity->fetch.timeout == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"timeout\" of \"gcs_credentials\" \"%V\" "
                           "must not be zero", &identity->name);
        return NGX_CONF_ERROR;
    }

    if (block->trusted_certificate.len) {

        if (ngx_conf_full_name(cf->cycle, &block->trusted_certificate, 1)
            != NGX_OK)
        {
            return NGX_CONF_ERROR;
        }

        /* libcurl reads it in the workers; whether it exists shows now */

        if (ngx_http_gcs_read_file(cf, &block->trusted_certificate, &text)
            != NGX_OK)
        {
            return NGX_CONF_ERROR;
        }

        identity->fetch.trusted_certificate = block->trusted_certificate;
    }

    if (ngx_conf_full_name(cf->cycle, &block->file, 1) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    if (ngx_http_gcs_read_file(cf, &block->file, &text) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    rc = ngx_gcs_credentials_parse(cf->pool, &text, &identity->cred, &err);

    ngx_explicit_memzero(text.data, text.len);

    if (rc == NGX_DECLINED) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "gcs credentials \"%V\", file \"%V\": %V",
                           &identity->name, &block->file, &err);
    }

    return (rc == NGX_OK) ? NGX_CONF_OK : NGX_CONF_ERROR;
}


/* text belongs to cf->temp_pool, which goes when the file is parsed */

static ngx_int_t
ngx_http_gcs_read_file(ngx_conf_t *cf, ngx_str_t *name, ngx_str_t *text)
{
    off_t       size;
    ssize_t     n;
    ngx_err_t   err;
    ngx_file_t  file;

    ngx_memzero(&file, sizeof(ngx_file_t));
    file.name = *name;
    file.log = cf->log;

    file.fd = ngx_open_file(name->data, NGX_FILE_RDONLY, NGX_FILE_OPEN, 0);

    if (file.fd == NGX_INVALID_FILE) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           ngx_open_file_n " \"%V\" failed", name);
        return NGX_ERROR;
    }

    n = NGX_ERROR;

    if (ngx_fd_info(file.fd, &file.info) == NGX_FILE_ERROR) {
        err = ngx_errno;
        ngx_conf_log_error(NGX_LOG_EMERG, cf, err,
                           ngx_fd_info_n " \"%V\" failed", name);
        goto done;
    }

    size = ngx_file_size(&file.info);

    if (!ngx_is_file(&file.info)) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" is not a regular file", name);
        goto done;
    }

    if (size > NGX_HTTP_GCS_FILE_MAX * 16) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" has %O bytes, too large for a credential "
                           "or a certificate file", name, size);
        goto done;
    }

    text->data = ngx_pnalloc(cf->temp_pool, (size_t) size + 1);
    if (text->data == NULL) {
        goto done;
    }

    n = ngx_read_file(&file, text->data, (size_t) size, 0);

    if (n != (ssize_t) size) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           ngx_read_file_n " \"%V\" returned "
                           "only %z bytes instead of %O", name, n, size);
        n = NGX_ERROR;
        goto done;
    }

    text->len = (size_t) size;

done:

    if (ngx_close_file(file.fd) == NGX_FILE_ERROR) {
        ngx_log_error(NGX_LOG_ALERT, cf->log, ngx_errno,
                      ngx_close_file_n " \"%V\" failed", name);
    }

    return (n == NGX_ERROR) ? NGX_ERROR : NGX_OK;
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
            || ngx_strlchr(value[i].data, value[i].data + value[i].len, ' '))
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


ngx_http_gcs_identity_t *
ngx_http_gcs_identity(ngx_http_gcs_main_conf_t *gmcf, ngx_str_t *name)
{
    ngx_uint_t                  i;
    ngx_http_gcs_identity_t   **identity;

    identity = gmcf->identities.elts;

    for (i = 0; i < gmcf->identities.nelts; i++) {

        if (identity[i]->name.len == name->len
            && ngx_strncmp(identity[i]->name.data, name->data, name->len) == 0)
        {
            return identity[i];
        }
    }

    return NULL;
}


ngx_int_t
ngx_http_gcs_identity_init(ngx_conf_t *cf, ngx_http_gcs_main_conf_t *gmcf)
{
    ngx_http_gcs_identity_t  **identity;

    identity = ngx_array_push(&gmcf->identities);
    if (identity == NULL) {
        return NGX_ERROR;
    }

    *identity = ngx_pcalloc(cf->pool, sizeof(ngx_http_gcs_identity_t));
    if (*identity == NULL) {
        return NGX_ERROR;
    }

    (*identity)->name = ngx_http_gcs_anonymous;

    return NGX_OK;
}


ngx_int_t
ngx_http_gcs_identity_tokens(ngx_conf_t *cf, ngx_http_gcs_main_conf_t *gmcf)
{
    ngx_uint_t                  i;
    ngx_http_gcs_identity_t   **identity;

    identity = gmcf->identities.elts;

    /* the first one is "anonymous" */

    for (i = 1; i < gmcf->identities.nelts; i++) {

        identity[i]->token = ngx_gcs_token_add(cf, &gmcf->tokens,
                                               &identity[i]->name,
                                               &identity[i]->cred,
                                               &identity[i]->fetch);
        if (identity[i]->token == NULL) {
            return NGX_ERROR;
        }
    }

    return ngx_gcs_token_store_zone(cf, &gmcf->tokens,
                                    &ngx_http_gcs_proxy_module);
}
