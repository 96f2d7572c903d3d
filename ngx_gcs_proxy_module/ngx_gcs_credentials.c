
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include <jansson.h>
#include <openssl/crypto.h>

#include "ngx_gcs_credentials.h"
#include "ngx_gcs_crypto.h"


#define NGX_GCS_UNIVERSE         "googleapis.com"

/* the longest text of an error, bytes */
#define NGX_GCS_CREDENTIALS_ERR  300


typedef struct {
    ngx_pool_t               *pool;
    json_t                   *json;
    ngx_gcs_credentials_t    *cred;
    ngx_str_t                *err;
} ngx_gcs_credentials_ctx_t;


typedef struct {
    ngx_str_t                 name;
    ngx_uint_t                type;
    ngx_int_t               (*parse)(ngx_gcs_credentials_ctx_t *ctx);
    char                     *refusal;   /* if there is no parse */
} ngx_gcs_credentials_type_t;


static ngx_int_t ngx_gcs_credentials_not_json(ngx_gcs_credentials_ctx_t *ctx,
    json_error_t *error);
static ngx_int_t ngx_gcs_credentials_dispatch(ngx_gcs_credentials_ctx_t *ctx);
static ngx_int_t ngx_gcs_credentials_no_type(ngx_gcs_credentials_ctx_t *ctx);
static ngx_int_t ngx_gcs_credentials_service_account(
    ngx_gcs_credentials_ctx_t *ctx);
static ngx_int_t ngx_gcs_credentials_common(ngx_gcs_credentials_ctx_t *ctx);
static ngx_int_t ngx_gcs_credentials_token_uri(
    ngx_gcs_credentials_ctx_t *ctx);
static ngx_int_t ngx_gcs_credentials_key(ngx_gcs_credentials_ctx_t *ctx);
static ngx_int_t ngx_gcs_credentials_copy(ngx_gcs_credentials_ctx_t *ctx,
    char *name, ngx_uint_t required, ngx_str_t *value);
static ngx_int_t ngx_gcs_credentials_peek(ngx_gcs_credentials_ctx_t *ctx,
    char *name, ngx_uint_t required, ngx_str_t *value);
static ngx_uint_t ngx_gcs_credentials_printable(ngx_str_t *value);
static ngx_int_t ngx_gcs_credentials_error(ngx_gcs_credentials_ctx_t *ctx,
    const char *fmt, ...);
static void ngx_gcs_credentials_wipe(json_t *json);
static u_char *ngx_gcs_credentials_field(u_char *p, ngx_str_t *value);


static char  ngx_gcs_credentials_later[] = "is not supported yet";


static ngx_gcs_credentials_type_t  ngx_gcs_credentials_types[] = {

    { ngx_string("service_account"), NGX_GCS_SERVICE_ACCOUNT,
      ngx_gcs_credentials_service_account,
      NULL },

    { ngx_string("authorized_user"), 0, NULL,
      ngx_gcs_credentials_later },

    { ngx_string("impersonated_service_account"), 0, NULL,
      ngx_gcs_credentials_later },

    { ngx_string("external_account"), 0, NULL,
      ngx_gcs_credentials_later },

    { ngx_string("external_account_authorized_user"), 0, NULL,
      ngx_gcs_credentials_later },

    { ngx_string("gdch_service_account"), 0, NULL,
      "belongs to Google Distributed Cloud and gives no access to "
      "Cloud Storage" },

    { ngx_null_string, 0, NULL, NULL }
};


ngx_int_t
ngx_gcs_credentials_parse(ngx_pool_t *pool, ngx_str_t *json,
    ngx_gcs_credentials_t *cred, ngx_str_t *err)
{
    ngx_int_t                   rc;
    json_error_t                error;
    ngx_gcs_credentials_ctx_t   ctx;

    ctx.pool = pool;
    ctx.cred = cred;
    ctx.err = err;

    if (json->len == 0) {
        return ngx_gcs_credentials_error(&ctx, "the file is empty");
    }

    ctx.json = json_loadb((char *) json->data, json->len,
                          JSON_REJECT_DUPLICATES, &error);

    if (ctx.json == NULL) {
        return ngx_gcs_credentials_not_json(&ctx, &error);
    }

    rc = ngx_gcs_credentials_dispatch(&ctx);

    ngx_gcs_credentials_wipe(ctx.json);
    json_decref(ctx.json);

    return rc;
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

        if (name.len != type->name.len
            || ngx_memcmp(name.data, type->name.data, name.len) != 0)
        {
            continue;
        }

        if (type->parse == NULL) {
            return ngx_gcs_credentials_error(ctx, "type \"%V\" %s", &name,
                                             type->refusal);
        }

        ctx->cred->type = type->type;

        return type->parse(ctx);
    }

    /* the longest valid name has 32 bytes */

    if (name.len > 40 || !ngx_gcs_credentials_printable(&name)) {
        return ngx_gcs_credentials_error(ctx, "unknown type, it must be "
                                         "\"service_account\"");
    }

    return ngx_gcs_credentials_error(ctx, "unknown type \"%V\", it must be "
                                     "\"service_account\"", &name);
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

    return ngx_gcs_credentials_error(ctx, "no member \"type\", it must be "
                                     "\"service_account\"");
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

    if (cred->universe_domain.len != sizeof(NGX_GCS_UNIVERSE) - 1
        || ngx_memcmp(cred->universe_domain.data, NGX_GCS_UNIVERSE,
                      sizeof(NGX_GCS_UNIVERSE) - 1)
           != 0)
    {
        /* it has no token endpoint: it takes self-signed tokens only */

        return ngx_gcs_credentials_error(ctx, "member \"universe_domain\" is "
                                         "not \"" NGX_GCS_UNIVERSE "\", other "
                                         "universes are not supported yet");
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
        return ngx_gcs_credentials_error(ctx, "member \"client_email\" is not "
                                         "an e-mail address");
    }

    rc = ngx_gcs_credentials_copy(ctx, "private_key_id", 0,
                                  &cred->private_key_id);
    if (rc != NGX_OK) {
        return rc;
    }

    rc = ngx_gcs_credentials_token_uri(ctx);

    if (rc != NGX_OK) {
        return rc;
    }

    if (cred->scope.len == 0) {
        ngx_str_set(&cred->scope, NGX_GCS_SCOPE_READ);
    }

    return ngx_gcs_credentials_key(ctx);
}


/* what a file of any type may have */

static ngx_int_t
ngx_gcs_credentials_common(ngx_gcs_credentials_ctx_t *ctx)
{
    ngx_int_t               rc;
    ngx_gcs_credentials_t  *cred;

    cred = ctx->cred;

    rc = ngx_gcs_credentials_copy(ctx, "project_id", 0, &cred->project_id);

    if (rc != NGX_OK) {
        return rc;
    }

    rc = ngx_gcs_credentials_copy(ctx, "quota_project_id", 0,
                                  &cred->quota_project_id);
    if (rc != NGX_OK) {
        return rc;
    }

    rc = ngx_gcs_credentials_copy(ctx, "universe_domain", 0,
                                  &cred->universe_domain);
    if (rc != NGX_OK) {
        return rc;
    }

    if (cred->universe_domain.len == 0) {
        ngx_str_set(&cred->universe_domain, NGX_GCS_UNIVERSE);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_gcs_credentials_token_uri(ngx_gcs_credentials_ctx_t *ctx)
{
    ngx_int_t  rc;
    ngx_str_t  uri;

    if (ctx->cred->token_uri.len) {
        return NGX_OK;
    }

    rc = ngx_gcs_credentials_copy(ctx, "token_uri", 0, &uri);

    if (rc != NGX_OK) {
        return rc;
    }

    if (uri.len == 0) {
        ngx_str_set(&ctx->cred->token_uri, NGX_GCS_TOKEN_URI);
        return NGX_OK;
    }

    if (!ngx_gcs_credentials_url_allowed(&uri, &ctx->cred->universe_domain)) {
        return ngx_gcs_credentials_error(ctx, "member \"token_uri\" is not an "
                                         "https URL below \"%V\"",
                                         &ctx->cred->universe_domain);
    }

    ctx->cred->token_uri = uri;

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
        return ngx_gcs_credentials_error(ctx, "member \"private_key\" has "
                                         "\"\\n\" as two characters instead "
                                         "of line breaks: the file was "
                                         "escaped twice");
    }

    ctx->cred->key = ngx_gcs_crypto_load_key(ctx->pool, &pem, &reason);

    if (ctx->cred->key == NULL) {
        return ngx_gcs_credentials_error(ctx, "member \"private_key\": %s",
                                         reason);
    }

    return NGX_OK;
}


/*
 * Copies a member that will enter a request or a log line, so without white
 * space and control characters; an absent or null one is an empty string.
 */

static ngx_int_t
ngx_gcs_credentials_copy(ngx_gcs_credentials_ctx_t *ctx, char *name,
    ngx_uint_t required, ngx_str_t *value)
{
    ngx_int_t  rc;
    ngx_str_t  text;

    rc = ngx_gcs_credentials_peek(ctx, name, required, &text);

    if (rc != NGX_OK) {
        return rc;
    }

    ngx_str_null(value);

    if (text.len == 0) {
        return NGX_OK;
    }

    if (!ngx_gcs_credentials_printable(&text)) {
        return ngx_gcs_credentials_error(ctx, "member \"%s\" contains white "
                                         "space, a control or a non-ASCII "
                                         "character", name);
    }

    value->data = ngx_pnalloc(ctx->pool, text.len);
    if (value->data == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(value->data, text.data, text.len);
    value->len = text.len;

    return NGX_OK;
}


/* as above, but value points into the JSON and may be any text */

static ngx_int_t
ngx_gcs_credentials_peek(ngx_gcs_credentials_ctx_t *ctx, char *name,
    ngx_uint_t required, ngx_str_t *value)
{
    json_t  *member;

    ngx_str_null(value);

    member = json_object_get(ctx->json, name);

    if (member == NULL) {

        if (required) {
            return ngx_gcs_credentials_error(ctx, "no member \"%s\"", name);
        }

        return NGX_OK;
    }

    if (json_is_null(member) && !required) {
        return NGX_OK;
    }

    if (!json_is_string(member)) {
        return ngx_gcs_credentials_error(ctx, "member \"%s\" is not a string",
                                         name);
    }

    value->len = json_string_length(member);
    value->data = (u_char *) json_string_value(member);

    if (value->len == 0 && required) {
        return ngx_gcs_credentials_error(ctx, "member \"%s\" is empty", name);
    }

    return NGX_OK;
}


static ngx_uint_t
ngx_gcs_credentials_printable(ngx_str_t *value)
{
    size_t  i;

    for (i = 0; i < value->len; i++) {
        if (value->data[i] <= ' ' || value->data[i] >= 0x7f) {
            return 0;
        }
    }

    return 1;
}


static ngx_int_t
ngx_gcs_credentials_error(ngx_gcs_credentials_ctx_t *ctx, const char *fmt,
    ...)
{
    u_char   *p;
    va_list   args;

    p = ngx_pnalloc(ctx->pool, NGX_GCS_CREDENTIALS_ERR);
    if (p == NULL) {
        return NGX_ERROR;
    }

    ctx->err->data = p;

    va_start(args, fmt);
    p = ngx_vslprintf(p, p + NGX_GCS_CREDENTIALS_ERR, fmt, args);
    va_end(args);

    ctx->err->len = p - ctx->err->data;

    return NGX_DECLINED;
}


/* the secrets of every type are strings at the top */

static void
ngx_gcs_credentials_wipe(json_t *json)
{
    void    *iter;
    json_t  *member;

    iter = json_object_iter(json);

    while (iter) {
        member = json_object_iter_value(iter);

        if (json_is_string(member)) {
            OPENSSL_cleanse((char *) json_string_value(member),
                            json_string_length(member));
        }

        iter = json_object_iter_next(json, iter);
    }
}


/* each field after its length, so that no two lists of fields look alike */

ngx_int_t
ngx_gcs_credentials_fingerprint(ngx_pool_t *pool, ngx_gcs_credentials_t *cred,
    u_char *digest)
{
    size_t       len;
    u_char      *p;
    ngx_str_t    der, text, type;
    ngx_uint_t   i;
    ngx_str_t   *fields[6];

    ngx_str_null(&der);

    if (cred->key != NULL
        && ngx_gcs_crypto_public_key(pool, cred->key, &der) != NGX_OK)
    {
        return NGX_ERROR;
    }

    type.len = sizeof(ngx_uint_t);
    type.data = (u_char *) &cred->type;

    fields[0] = &type;
    fields[1] = &cred->client_email;
    fields[2] = &cred->private_key_id;
    fields[3] = &der;
    fields[4] = &cred->scope;
    fields[5] = &cred->token_uri;

    len = 0;

    for (i = 0; i < 6; i++) {
        len += sizeof(size_t) + fields[i]->len;
    }

    p = ngx_pnalloc(pool, len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    text.len = len;
    text.data = p;

    for (i = 0; i < 6; i++) {
        p = ngx_gcs_credentials_field(p, fields[i]);
    }

    return ngx_gcs_crypto_sha256(&text, digest);
}


static u_char *
ngx_gcs_credentials_field(u_char *p, ngx_str_t *value)
{
    p = ngx_cpymem(p, &value->len, sizeof(size_t));

    if (value->len == 0) {
        return p;
    }

    return ngx_cpymem(p, value->data, value->len);
}
