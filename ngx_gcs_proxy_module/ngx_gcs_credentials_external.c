
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include <jansson.h>

#include "ngx_gcs_credentials_file.h"
#include "ngx_gcs_crypto.h"


/*
 * "external_account": a token of another identity provider is exchanged for
 * one of Google's.  (https://google.aip.dev/auth/4117)
 */


static ngx_int_t ngx_gcs_credentials_hop(ngx_gcs_credentials_ctx_t *ctx);
static ngx_int_t ngx_gcs_credentials_lifetime(ngx_gcs_credentials_ctx_t *ctx,
    time_t *lifetime);
static ngx_int_t ngx_gcs_credentials_source(ngx_gcs_credentials_ctx_t *ctx);
static ngx_int_t ngx_gcs_credentials_source_url(
    ngx_gcs_credentials_ctx_t *ctx);
static ngx_int_t ngx_gcs_credentials_source_aws(
    ngx_gcs_credentials_ctx_t *ctx);
static ngx_int_t ngx_gcs_credentials_source_executable(
    ngx_gcs_credentials_ctx_t *ctx);
static ngx_int_t ngx_gcs_credentials_headers(ngx_gcs_credentials_ctx_t *ctx);
static ngx_int_t ngx_gcs_credentials_format(ngx_gcs_credentials_ctx_t *ctx);


ngx_int_t
ngx_gcs_credentials_external_account(ngx_gcs_credentials_ctx_t *ctx)
{
    ngx_int_t               rc;
    ngx_str_t               type;
    ngx_gcs_credentials_t  *cred;

    cred = ctx->cred;

    rc = ngx_gcs_credentials_common(ctx);

    if (rc != NGX_OK) {
        return rc;
    }

    rc = ngx_gcs_credentials_copy(ctx, "audience", 1, &cred->audience);

    if (rc != NGX_OK) {
        return rc;
    }

    if (cred->audience.len <= sizeof("//iam.") - 1
        || ngx_strncmp(cred->audience.data, "//iam.", sizeof("//iam.") - 1)
           != 0)
    {
        return ngx_gcs_credentials_error(ctx, "member \"%saudience\" does not "
                                         "begin with \"//iam.googleapis.com/"
                                         "projects/NUMBER/\"", ctx->prefix);
    }

    rc = ngx_gcs_credentials_copy(ctx, "subject_token_type", 1, &type);

    if (rc != NGX_OK) {
        return rc;
    }

    /* a directive's source has a type of its own */

    if (cred->subject.type.len == 0) {
        cred->subject.type = type;
    }

    rc = ngx_gcs_credentials_copy(ctx, "client_id", 0, &cred->client_id);

    if (rc != NGX_OK) {
        return rc;
    }

    rc = ngx_gcs_credentials_copy_secret(ctx, "client_secret",
                                         cred->client_id.len != 0,
                                         &cred->client_secret);
    if (rc != NGX_OK) {
        return rc;
    }

    rc = ngx_gcs_credentials_copy(ctx, "workforce_pool_user_project", 0,
                                  &cred->user_project);
    if (rc != NGX_OK) {
        return rc;
    }

    if (cred->user_project.len && !ngx_gcs_aws_word(&cred->user_project)) {
        return ngx_gcs_credentials_error(ctx, "member \"%sworkforce_pool_user_"
                                         "project\" is not a project",
                                         ctx->prefix);
    }

    if (cred->subject.from == NGX_GCS_SUBJECT_NONE) {

        rc = ngx_gcs_credentials_source(ctx);

        if (rc != NGX_OK) {
            return rc;
        }
    }

    return ngx_gcs_credentials_hop(ctx);
}


/* where the exchange happens, and whose token it is to be */

static ngx_int_t
ngx_gcs_credentials_hop(ngx_gcs_credentials_ctx_t *ctx)
{
    ngx_int_t                 rc;
    ngx_str_t                 url;
    ngx_gcs_impersonation_t  *imp;

    if (ctx->cred->sts_uri.len == 0) {

        rc = ngx_gcs_credentials_copy_url(ctx, "token_url", 0, "sts_endpoint",
                                          &ctx->cred->sts_uri);
        if (rc != NGX_OK) {
            return rc;
        }
    }

    rc = ngx_gcs_credentials_peek(ctx, "service_account_impersonation_url", 0,
                                  &url);

    if (rc != NGX_OK || url.len == 0) {
        return rc;
    }

    rc = ngx_gcs_credentials_impersonation(ctx,
                                          "service_account_impersonation_url",
                                          &url, &imp);
    if (rc != NGX_OK) {
        return rc;
    }

    return ngx_gcs_credentials_lifetime(ctx, &imp->lifetime);
}


static ngx_int_t
ngx_gcs_credentials_lifetime(ngx_gcs_credentials_ctx_t *ctx, time_t *lifetime)
{
    json_t      *object, *value;
    json_int_t   n;

    object = json_object_get(ctx->json, "service_account_impersonation");

    if (object && !json_is_null(object) && !json_is_object(object)) {
        return ngx_gcs_credentials_error(ctx, "member \"%sservice_account_"
                                         "impersonation\" is not an object",
                                         ctx->prefix);
    }

    value = json_object_get(object, "token_lifetime_seconds");

    if (value == NULL || json_is_null(value)) {
        return NGX_OK;
    }

    n = json_integer_value(value);

    if (n < 600 || n > 43200) {
        return ngx_gcs_credentials_error(ctx, "member \"%s"
                                         "service_account_impersonation."
                                         "token_lifetime_seconds\" is not a "
                                         "number from 600 to 43200",
                                         ctx->prefix);
    }

    *lifetime = (time_t) n;

    return NGX_OK;
}


static ngx_int_t
ngx_gcs_credentials_source(ngx_gcs_credentials_ctx_t *ctx)
{
    ngx_int_t                   rc;
    ngx_gcs_subject_t          *subject;
    ngx_gcs_credentials_ctx_t   source;

    source = *ctx;
    source.prefix = "credential_source.";
    source.json = json_object_get(ctx->json, "credential_source");

    if (!json_is_object(source.json)) {
        return ngx_gcs_credentials_error(ctx, "member \"%scredential_source\" "
                                         "is %s", ctx->prefix, source.json ?
                                         "not an object" : "missing");
    }

    if (json_object_get(source.json, "certificate")) {
        return ngx_gcs_credentials_error(ctx, "member \"credential_source."
                                         "certificate\": federation by X.509 "
                                         "certificates is not supported, use "
                                         "a provider of type OIDC or AWS");
    }

    if (json_object_get(source.json, "environment_id")) {
        return ngx_gcs_credentials_source_aws(&source);
    }

    if (json_object_get(source.json, "executable")) {
        return ngx_gcs_credentials_source_executable(&source);
    }

    subject = &ctx->cred->subject;

    rc = ngx_gcs_credentials_copy(&source, "file", 0, &subject->file);

    if (rc != NGX_OK) {
        return rc;
    }

    if (subject->file.len) {

        if (subject->file.data[0] != '/') {
            return ngx_gcs_credentials_error(ctx, "member \"credential_source"
                                             ".file\" is not an absolute "
                                             "path");
        }

        subject->from = NGX_GCS_SUBJECT_FILE;

        return ngx_gcs_credentials_format(&source);
    }

    return ngx_gcs_credentials_source_url(&source);
}


static ngx_int_t
ngx_gcs_credentials_source_url(ngx_gcs_credentials_ctx_t *ctx)
{
    ngx_int_t           rc;
    ngx_gcs_subject_t  *subject;

    subject = &ctx->cred->subject;

    rc = ngx_gcs_credentials_copy(ctx, "url", 0, &subject->url);

    if (rc != NGX_OK) {
        return rc;
    }

    if (subject->url.len == 0) {
        return ngx_gcs_credentials_error(ctx, "member \"credential_source\" "
                                         "has none of \"file\", \"url\", "
                                         "\"environment_id\" and "
                                         "\"executable\"");
    }

    if (!ngx_gcs_credentials_url_local(&subject->url)
        && !ngx_gcs_credentials_url_allowed(&subject->url,
                                            &ctx->cred->universe_domain))
    {
        return ngx_gcs_credentials_error(ctx, "member \"credential_source.url"
                                         "\" lies neither in Google's domain "
                                         "nor at a metadata address; if it "
                                         "is right, write it as "
                                         "\"subject_token url:URL\"");
    }

    subject->from = NGX_GCS_SUBJECT_URL;

    rc = ngx_gcs_credentials_headers(ctx);

    if (rc != NGX_OK) {
        return rc;
    }

    return ngx_gcs_credentials_format(ctx);
}


static ngx_int_t
ngx_gcs_credentials_source_aws(ngx_gcs_credentials_ctx_t *ctx)
{
    ngx_int_t           rc;
    ngx_str_t           version, https;
    ngx_gcs_subject_t  *subject;

    subject = &ctx->cred->subject;

    rc = ngx_gcs_credentials_peek(ctx, "environment_id", 1, &version);

    if (rc != NGX_OK) {
        return rc;
    }

    if (version.len != 4 || ngx_memcmp(version.data, "aws1", 4) != 0) {
        return ngx_gcs_credentials_error(ctx, "member \"credential_source."
                                         "environment_id\" is not \"aws1\"");
    }

    subject->from = NGX_GCS_SUBJECT_AWS;

    rc = ngx_gcs_credentials_copy_url(ctx, "region_url", 1, NULL,
                                      &subject->region_url);
    if (rc != NGX_OK) {
        return rc;
    }

    rc = ngx_gcs_credentials_copy_url(ctx, "url", 1, NULL, &subject->url);

    if (rc != NGX_OK) {
        return rc;
    }

    rc = ngx_gcs_credentials_copy_url(ctx, "imdsv2_session_token_url", 1,
                                      NULL, &subject->session_url);
    if (rc != NGX_OK) {
        return rc;
    }

    rc = ngx_gcs_credentials_copy(ctx, "regional_cred_verification_url", 1,
                                  &subject->verification_url);
    if (rc != NGX_OK) {
        return rc;
    }

    ngx_str_set(&https, "https://");

    if (ngx_strncmp(subject->verification_url.data, https.data, https.len)
        != 0)
    {
        return ngx_gcs_credentials_error(ctx, "member \"credential_source."
                                         "regional_cred_verification_url\" "
                                         "is not an https URL");
    }

    return NGX_OK;
}


/* nginx runs no programs; what one has written may be read */

static ngx_int_t
ngx_gcs_credentials_source_executable(ngx_gcs_credentials_ctx_t *ctx)
{
    ngx_int_t                   rc;
    ngx_gcs_subject_t          *subject;
    ngx_gcs_credentials_ctx_t   executable;

    subject = &ctx->cred->subject;

    executable = *ctx;
    executable.prefix = "credential_source.executable.";
    executable.json = json_object_get(ctx->json, "executable");

    rc = ngx_gcs_credentials_copy(&executable, "output_file", 0,
                                  &subject->file);
    if (rc != NGX_OK) {
        return rc;
    }

    if (subject->file.len == 0 || subject->file.data[0] != '/') {
        return ngx_gcs_credentials_error(ctx, "member \"credential_source."
                                         "executable\" has no absolute path "
                                         "as \"output_file\": nginx runs no "
                                         "programs, but reads what an agent "
                                         "writes there");
    }

    subject->from = NGX_GCS_SUBJECT_OUTPUT;

    return NGX_OK;
}


static ngx_int_t
ngx_gcs_credentials_headers(ngx_gcs_credentials_ctx_t *ctx)
{
    void        *iter;
    size_t       i, len;
    u_char       ch, *p;
    json_t      *headers, *value;
    ngx_str_t   *header, *secret;
    const char  *name, *text;

    headers = json_object_get(ctx->json, "headers");

    if (headers == NULL || json_is_null(headers)) {
        return NGX_OK;
    }

    if (!json_is_object(headers)) {
        return ngx_gcs_credentials_error(ctx, "member \"credential_source."
                                         "headers\" is not an object");
    }

    ctx->cred->subject.headers = ngx_array_create(ctx->pool, 2,
                                                  sizeof(ngx_str_t));
    if (ctx->cred->subject.headers == NULL) {
        return NGX_ERROR;
    }

    for (iter = json_object_iter(headers);
         iter;
         iter = json_object_iter_next(headers, iter))
    {
        name = json_object_iter_key(iter);
        value = json_object_iter_value(iter);
        text = json_string_value(value);

        for (i = 0; name[i]; i++) {
            ch = (u_char) name[i];

            if (ch <= ' ' || ch >= 0x7f || ch == ':') {
                break;
            }
        }

        if (i == 0 || name[i] || text == NULL) {
            return ngx_gcs_credentials_error(ctx, "member \"credential_source"
                                             ".headers\" has an invalid name, "
                                             "or a value that is not a "
                                             "string");
        }

        len = json_string_length(value);

        for (i = 0; i < len; i++) {
            ch = (u_char) text[i];

            if (ch < ' ' || ch >= 0x7f) {
                return ngx_gcs_credentials_error(ctx, "member \"credential_"
                                                 "source.headers\" has a "
                                                 "control or non-ASCII "
                                                 "character in a value");
            }
        }

        header = ngx_array_push(ctx->cred->subject.headers);
        if (header == NULL) {
            return NGX_ERROR;
        }

        secret = ngx_gcs_crypto_secret(ctx->pool, ngx_strlen(name)
                                                  + sizeof(": ") - 1 + len);
        if (secret == NULL) {
            return NGX_ERROR;
        }

        *header = *secret;

        p = ngx_cpymem(header->data, name, ngx_strlen(name));
        *p++ = ':';
        *p++ = ' ';
        ngx_memcpy(p, text, len);
    }

    return NGX_OK;
}


/* "format": text, or a member of a JSON object */

static ngx_int_t
ngx_gcs_credentials_format(ngx_gcs_credentials_ctx_t *ctx)
{
    ngx_int_t                   rc;
    ngx_str_t                   type;
    ngx_gcs_credentials_ctx_t   format;

    format = *ctx;
    format.prefix = "credential_source.format.";
    format.json = json_object_get(ctx->json, "format");

    if (format.json == NULL || json_is_null(format.json)) {
        return NGX_OK;
    }

    if (!json_is_object(format.json)) {
        return ngx_gcs_credentials_error(ctx, "member \"credential_source."
                                         "format\" is not an object");
    }

    rc = ngx_gcs_credentials_peek(&format, "type", 0, &type);

    if (rc != NGX_OK) {
        return rc;
    }

    if (type.len == 0
        || (type.len == 4 && ngx_memcmp(type.data, "text", 4) == 0))
    {
        return NGX_OK;
    }

    if (type.len != 4 || ngx_memcmp(type.data, "json", 4) != 0) {
        return ngx_gcs_credentials_error(ctx, "member \"credential_source."
                                         "format.type\" is neither \"text\" "
                                         "nor \"json\"");
    }

    return ngx_gcs_credentials_copy(&format, "subject_token_field_name", 1,
                                    &ctx->cred->subject.member);
}
