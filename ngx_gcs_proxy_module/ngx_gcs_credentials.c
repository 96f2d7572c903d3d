
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include <jansson.h>

#include "ngx_gcs_credentials_file.h"
#include "ngx_gcs_crypto.h"


#define NGX_GCS_CREDENTIALS_TYPES                                             \
    "\"service_account\", \"authorized_user\", "                              \
    "\"impersonated_service_account\", \"external_account\" or "              \
    "\"external_account_authorized_user\""

/* how a delegate may be written */
#define NGX_GCS_CREDENTIALS_ACCOUNT  "projects/-/serviceAccounts/"


typedef struct {
    ngx_str_t                 name;
    ngx_uint_t                type;
    ngx_int_t               (*parse)(ngx_gcs_credentials_ctx_t *ctx);
} ngx_gcs_credentials_type_t;


static ngx_int_t ngx_gcs_credentials_not_json(ngx_gcs_credentials_ctx_t *ctx,
    json_error_t *error);
static ngx_int_t ngx_gcs_credentials_dispatch(ngx_gcs_credentials_ctx_t *ctx);
static ngx_int_t ngx_gcs_credentials_no_type(ngx_gcs_credentials_ctx_t *ctx);
static ngx_int_t ngx_gcs_credentials_service_account(
    ngx_gcs_credentials_ctx_t *ctx);
static ngx_int_t ngx_gcs_credentials_authorized_user(
    ngx_gcs_credentials_ctx_t *ctx);
static ngx_int_t ngx_gcs_credentials_external_user(
    ngx_gcs_credentials_ctx_t *ctx);
static ngx_int_t ngx_gcs_credentials_impersonated(
    ngx_gcs_credentials_ctx_t *ctx);
static ngx_int_t ngx_gcs_credentials_delegates(ngx_gcs_credentials_ctx_t *ctx,
    ngx_gcs_impersonation_t *imp);
static ngx_int_t ngx_gcs_credentials_gdch(ngx_gcs_credentials_ctx_t *ctx);
static ngx_int_t ngx_gcs_credentials_key(ngx_gcs_credentials_ctx_t *ctx);


static ngx_gcs_credentials_type_t  ngx_gcs_credentials_types[] = {

    { ngx_string("service_account"), NGX_GCS_SERVICE_ACCOUNT,
      ngx_gcs_credentials_service_account },

    { ngx_string("authorized_user"), NGX_GCS_AUTHORIZED_USER,
      ngx_gcs_credentials_authorized_user },

    { ngx_string("impersonated_service_account"), 0,
      ngx_gcs_credentials_impersonated },

    { ngx_string("external_account"), NGX_GCS_EXTERNAL_ACCOUNT,
      ngx_gcs_credentials_external_account },

    { ngx_string("external_account_authorized_user"), NGX_GCS_EXTERNAL_USER,
      ngx_gcs_credentials_external_user },

    { ngx_string("gdch_service_account"), 0,
      ngx_gcs_credentials_gdch },

    { ngx_null_string, 0, NULL }
};


ngx_int_t
ngx_gcs_credentials_parse(ngx_pool_t *pool, ngx_str_t *json,
    ngx_gcs_credentials_t *cred, ngx_str_t *err)
{
    ngx_int_t                   rc;
    json_error_t                error;
    ngx_gcs_credentials_ctx_t   ctx;

    ctx.pool = pool;
    ctx.prefix = "";
    ctx.cred = cred;
    ctx.err = err;

    if (json->len == 0) {
        return ngx_gcs_credentials_error(&ctx, "the file is empty");
    }

    if (ngx_array_init(&cred->impersonations, pool, 2,
                       sizeof(ngx_gcs_impersonation_t))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    ctx.json = json_loadb((char *) json->data, json->len,
                          JSON_REJECT_DUPLICATES, &error);

    if (ctx.json == NULL) {
        return ngx_gcs_credentials_not_json(&ctx, &error);
    }

    rc = ngx_gcs_credentials_dispatch(&ctx);

    ngx_gcs_credentials_wipe(ctx.json);
    json_decref(ctx.json);

    if (rc != NGX_OK) {
        return rc;
    }

    if (cred->subject.from != NGX_GCS_SUBJECT_NONE
        && cred->type != NGX_GCS_EXTERNAL_ACCOUNT)
    {
        return ngx_gcs_credentials_error(&ctx, "\"subject_token\" applies to "
                                         "type \"external_account\" only");
    }

    return ngx_gcs_credentials_complete(pool, cred, err);
}


/* jansson's own text quotes what it has read last: that may be the key */

static ngx_int_t
ngx_gcs_credentials_not_json(ngx_gcs_credentials_ctx_t *ctx,
    json_error_t *error)
{
    char  *what;

    switch (json_error_code(error)) {

    case json_error_out_of_memory:
        return NGX_ERROR;

    case json_error_duplicate_key:
        what = "duplicate member";
        break;

    case json_error_premature_end_of_input:
        what = "unexpected end";
        break;

    case json_error_end_of_input_expected:
        what = "text after the end of the object";
        break;

    case json_error_invalid_utf8:
        what = "invalid UTF-8";
        break;

    case json_error_null_character:
    case json_error_null_byte_in_key:
        what = "NUL character";
        break;

    default:
        what = "syntax error";
        break;
    }

    return ngx_gcs_credentials_error(ctx,
                                  "not valid JSON: %s in line %d, column %d",
                                  what, error->line, error->column);
}


static ngx_int_t
ngx_gcs_credentials_dispatch(ngx_gcs_credentials_ctx_t *ctx)
{
    ngx_int_t                    rc;
    ngx_str_t                    name;
    ngx_gcs_credentials_type_t  *type;

    if (!json_is_object(ctx->json)) {
        return ngx_gcs_credentials_error(ctx, "not a JSON object");
    }

    if (json_object_get(ctx->json, "type") == NULL) {
        return ngx_gcs_credentials_no_type(ctx);
    }

    rc = ngx_gcs_credentials_peek(ctx, "type", 1, &name);

    if (rc != NGX_OK) {
        return rc;
    }

    for (type = ngx_gcs_credentials_types; type->name.len; type++) {

        if (name.len == type->name.len
            && ngx_memcmp(name.data, type->name.data, name.len) == 0)
        {
            ctx->cred->type = type->type;

            return type->parse(ctx);
        }
    }

    /* the longest valid name has 32 bytes */

    if (name.len > 40 || !ngx_gcs_credentials_printable(&name)) {
        return ngx_gcs_credentials_error(ctx, "unknown %stype, it must be "
                                         NGX_GCS_CREDENTIALS_TYPES,
                                         ctx->prefix);
    }

    return ngx_gcs_credentials_error(ctx, "unknown %stype \"%V\", it must be "
                                     NGX_GCS_CREDENTIALS_TYPES,
                                     ctx->prefix, &name);
}


static ngx_int_t
ngx_gcs_credentials_no_type(ngx_gcs_credentials_ctx_t *ctx)
{
    if (json_object_get(ctx->json, "installed") != NULL
        || json_object_get(ctx->json, "web") != NULL)
    {
        return ngx_gcs_credentials_error(ctx, "this is an OAuth client file, "
                                         "not a credential: the key file of "
                                         "a service account is needed");
    }

    return ngx_gcs_credentials_error(ctx, "no member \"%stype\", it must be "
                                     NGX_GCS_CREDENTIALS_TYPES, ctx->prefix);
}


static ngx_int_t
ngx_gcs_credentials_service_account(ngx_gcs_credentials_ctx_t *ctx)
{
    ngx_int_t               rc;
    ngx_gcs_credentials_t  *cred;

    cred = ctx->cred;

    rc = ngx_gcs_credentials_common(ctx);

    if (rc != NGX_OK) {
        return rc;
    }

    rc = ngx_gcs_credentials_copy(ctx, "client_email", 1,
                                  &cred->client_email);
    if (rc != NGX_OK) {
        return rc;
    }

    if (ngx_strlchr(cred->client_email.data,
                    cred->client_email.data + cred->client_email.len, '@')
        == NULL)
    {
        return ngx_gcs_credentials_error(ctx, "member \"%sclient_email\" is "
                                         "not an e-mail address",
                                         ctx->prefix);
    }

    rc = ngx_gcs_credentials_copy(ctx, "private_key_id", 0,
                                  &cred->private_key_id);
    if (rc != NGX_OK) {
        return rc;
    }

    if (cred->token_uri.len == 0 && ngx_gcs_credentials_google(cred)) {

        rc = ngx_gcs_credentials_copy_url(ctx, "token_uri", 0,
                                          "token_endpoint", &cred->token_uri);
        if (rc != NGX_OK) {
            return rc;
        }
    }

    return ngx_gcs_credentials_key(ctx);
}


static ngx_int_t
ngx_gcs_credentials_authorized_user(ngx_gcs_credentials_ctx_t *ctx)
{
    ngx_int_t               rc;
    ngx_gcs_credentials_t  *cred;

    cred = ctx->cred;

    rc = ngx_gcs_credentials_common(ctx);

    if (rc != NGX_OK) {
        return rc;
    }

    rc = ngx_gcs_credentials_copy(ctx, "client_id", 1, &cred->client_id);

    if (rc != NGX_OK) {
        return rc;
    }

    rc = ngx_gcs_credentials_copy_secret(ctx, "client_secret", 1,
                                         &cred->client_secret);
    if (rc != NGX_OK) {
        return rc;
    }

    /* "token_uri" is Google's, whatever the file says: as in its clients */

    return ngx_gcs_credentials_copy_secret(ctx, "refresh_token", 1,
                                           &cred->refresh_token);
}


/* of a workforce pool: as above, but the endpoint is that of the STS */

static ngx_int_t
ngx_gcs_credentials_external_user(ngx_gcs_credentials_ctx_t *ctx)
{
    ngx_int_t               rc;
    ngx_gcs_credentials_t  *cred;

    cred = ctx->cred;

    rc = ngx_gcs_credentials_authorized_user(ctx);

    if (rc != NGX_OK || cred->token_uri.len) {
        return rc;
    }

    return ngx_gcs_credentials_copy_url(ctx, "token_url", 0, "token_endpoint",
                                        &cred->token_uri);
}


static ngx_int_t
ngx_gcs_credentials_impersonated(ngx_gcs_credentials_ctx_t *ctx)
{
    ngx_int_t                   rc;
    ngx_str_t                   url;
    ngx_gcs_impersonation_t    *imp;
    ngx_gcs_credentials_ctx_t   source;

    if (ctx->prefix[0]) {
        return ngx_gcs_credentials_error(ctx, "member \"source_credentials\" "
                                         "is impersonated itself, name the "
                                         "accounts between as \"delegates\"");
    }

    rc = ngx_gcs_credentials_peek(ctx, "service_account_impersonation_url", 1,
                                  &url);
    if (rc != NGX_OK) {
        return rc;
    }

    rc = ngx_gcs_credentials_common(ctx);

    if (rc != NGX_OK) {
        return rc;
    }

    source = *ctx;
    source.prefix = "source_credentials.";
    source.json = json_object_get(ctx->json, "source_credentials");

    if (!json_is_object(source.json)) {
        return ngx_gcs_credentials_error(ctx, "member \"source_credentials\" "
                                         "is %s", source.json ?
                                         "not an object" : "missing");
    }

    rc = ngx_gcs_credentials_dispatch(&source);

    if (rc != NGX_OK) {
        return rc;
    }

    rc = ngx_gcs_credentials_impersonation(ctx,
                                          "service_account_impersonation_url",
                                          &url, &imp);
    if (rc != NGX_OK) {
        return rc;
    }

    return ngx_gcs_credentials_delegates(ctx, imp);
}


/* plain e-mails or full names of accounts */

static ngx_int_t
ngx_gcs_credentials_delegates(ngx_gcs_credentials_ctx_t *ctx,
    ngx_gcs_impersonation_t *imp)
{
    size_t      i, len;
    json_t     *list;
    ngx_str_t  *delegate, name;

    list = json_object_get(ctx->json, "delegates");

    if (list == NULL || json_is_null(list)) {
        return NGX_OK;
    }

    if (!json_is_array(list)) {
        return ngx_gcs_credentials_error(ctx, "member \"delegates\" is not "
                                         "an array");
    }

    imp->delegates = ngx_array_create(ctx->pool, 2, sizeof(ngx_str_t));
    if (imp->delegates == NULL) {
        return NGX_ERROR;
    }

    len = sizeof(NGX_GCS_CREDENTIALS_ACCOUNT) - 1;

    for (i = 0; i < json_array_size(list); i++) {

        name.len = json_string_length(json_array_get(list, i));
        name.data = (u_char *) json_string_value(json_array_get(list, i));

        if (name.len > len
            && ngx_memcmp(name.data, NGX_GCS_CREDENTIALS_ACCOUNT, len) == 0)
        {
            name.data += len;
            name.len -= len;
        }

        if (name.len == 0
            || !ngx_gcs_credentials_printable(&name)
            || ngx_strlchr(name.data, name.data + name.len, '@') == NULL
            || ngx_strlchr(name.data, name.data + name.len, '/') != NULL)
        {
            return ngx_gcs_credentials_error(ctx, "member \"delegates\" has "
                                             "an item that is not the e-mail "
                                             "address of an account");
        }

        delegate = ngx_array_push(imp->delegates);
        if (delegate == NULL) {
            return NGX_ERROR;
        }

        delegate->len = name.len;
        delegate->data = ngx_pstrdup(ctx->pool, &name);

        if (delegate->data == NULL) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_gcs_credentials_gdch(ngx_gcs_credentials_ctx_t *ctx)
{
    return ngx_gcs_credentials_error(ctx, "type \"gdch_service_account\" "
                                     "belongs to Google Distributed Cloud and "
                                     "gives no access to Cloud Storage");
}


/* what a file of any type may have */

ngx_int_t
ngx_gcs_credentials_common(ngx_gcs_credentials_ctx_t *ctx)
{
    ngx_int_t               rc;
    ngx_str_t               value, universe;
    ngx_gcs_credentials_t  *cred;

    cred = ctx->cred;

    rc = ngx_gcs_credentials_copy(ctx, "project_id", 0, &value);

    if (rc != NGX_OK) {
        return rc;
    }

    /* of a credential within another one the outer one's counts */

    if (cred->project_id.len == 0) {
        cred->project_id = value;
    }

    rc = ngx_gcs_credentials_copy(ctx, "quota_project_id", 0, &value);

    if (rc != NGX_OK) {
        return rc;
    }

    if (cred->quota_project_id.len == 0) {
        cred->quota_project_id = value;
    }

    rc = ngx_gcs_credentials_copy(ctx, "universe_domain", 0, &universe);

    if (rc != NGX_OK) {
        return rc;
    }

    if (cred->universe_domain.len == 0) {
        ngx_str_set(&cred->universe_domain, NGX_GCS_UNIVERSE);
    }

    if (universe.len == 0) {

        if (ctx->prefix[0]) {
            return NGX_OK;
        }

        ngx_str_set(&universe, NGX_GCS_UNIVERSE);
    }

    /* a file must not choose by itself whose endpoints are trusted */

    if (universe.len != cred->universe_domain.len
        || ngx_memcmp(universe.data, cred->universe_domain.data, universe.len)
           != 0)
    {
        return ngx_gcs_credentials_error(ctx, "member \"%suniverse_domain\" "
                                         "is \"%V\", the configured "
                                         "\"universe_domain\" is \"%V\"",
                                         ctx->prefix, &universe,
                                         &cred->universe_domain);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_gcs_credentials_key(ngx_gcs_credentials_ctx_t *ctx)
{
    char       *reason;
    ngx_int_t   rc;
    ngx_str_t   pem;

    rc = ngx_gcs_credentials_peek(ctx, "private_key", 1, &pem);

    if (rc != NGX_OK) {
        return rc;
    }

    /* PEM has no backslash, and jansson ends every string with a NUL */

    if (ngx_strstr(pem.data, "\\n") != NULL) {
        return ngx_gcs_credentials_error(ctx, "member \"%sprivate_key\" has "
                                         "\"\\n\" as two characters instead "
                                         "of line breaks: the file was "
                                         "escaped twice", ctx->prefix);
    }

    ctx->cred->key = ngx_gcs_crypto_load_key(ctx->pool, &pem, &reason);

    if (ctx->cred->key == NULL) {
        return ngx_gcs_credentials_error(ctx, "member \"%sprivate_key\": %s",
                                         ctx->prefix, reason);
    }

    return NGX_OK;
}
