
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include <openssl/crypto.h>

#include "ngx_gcs_credentials_file.h"


/* the longest text of an error, bytes */
#define NGX_GCS_CREDENTIALS_ERR     300

/* the length of an HMAC key's secret */
#define NGX_GCS_CREDENTIALS_SECRET  40


static void ngx_gcs_credentials_wipe_secret(void *data);


ngx_int_t
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
        return ngx_gcs_credentials_error(ctx, "member \"%s%s\" contains white "
                                         "space, a control or a non-ASCII "
                                         "character", ctx->prefix, name);
    }

    value->data = ngx_pnalloc(ctx->pool, text.len + 1);
    if (value->data == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(value->data, text.data, text.len);
    value->data[text.len] = '\0';
    value->len = text.len;

    return NGX_OK;
}


ngx_int_t
ngx_gcs_credentials_copy_secret(ngx_gcs_credentials_ctx_t *ctx, char *name,
    ngx_uint_t required, ngx_str_t *value)
{
    ngx_int_t            rc;
    ngx_pool_cleanup_t  *cln;

    cln = ngx_pool_cleanup_add(ctx->pool, sizeof(ngx_str_t));
    if (cln == NULL) {
        return NGX_ERROR;
    }

    rc = ngx_gcs_credentials_copy(ctx, name, required, value);

    if (rc == NGX_OK) {
        cln->handler = ngx_gcs_credentials_wipe_secret;
        *(ngx_str_t *) cln->data = *value;
    }

    return rc;
}


static void
ngx_gcs_credentials_wipe_secret(void *data)
{
    ngx_str_t  *secret = data;

    OPENSSL_cleanse(secret->data, secret->len);
}


ngx_int_t
ngx_gcs_credentials_peek(ngx_gcs_credentials_ctx_t *ctx, char *name,
    ngx_uint_t required, ngx_str_t *value)
{
    json_t  *member;

    ngx_str_null(value);

    member = json_object_get(ctx->json, name);

    if (member == NULL) {

        if (required) {
            return ngx_gcs_credentials_error(ctx, "no member \"%s%s\"",
                                             ctx->prefix, name);
        }

        return NGX_OK;
    }

    if (json_is_null(member) && !required) {
        return NGX_OK;
    }

    if (!json_is_string(member)) {
        return ngx_gcs_credentials_error(ctx, "member \"%s%s\" is not a "
                                         "string", ctx->prefix, name);
    }

    value->len = json_string_length(member);
    value->data = (u_char *) json_string_value(member);

    if (value->len == 0 && required) {
        return ngx_gcs_credentials_error(ctx, "member \"%s%s\" is empty",
                                         ctx->prefix, name);
    }

    return NGX_OK;
}


ngx_int_t
ngx_gcs_credentials_copy_url(ngx_gcs_credentials_ctx_t *ctx, char *name,
    ngx_uint_t local, char *directive, ngx_str_t *value)
{
    ngx_int_t   rc;
    ngx_str_t  *domain;

    rc = ngx_gcs_credentials_copy(ctx, name, 0, value);

    if (rc != NGX_OK || value->len == 0) {
        return rc;
    }

    if (local) {

        if (ngx_gcs_credentials_url_local(value)) {
            return NGX_OK;
        }

        return ngx_gcs_credentials_error(ctx, "member \"%s%s\" is not a URL "
                                         "at the metadata address "
                                         "169.254.169.254 or at loopback",
                                         ctx->prefix, name);
    }

    domain = &ctx->cred->universe_domain;

    if (ngx_gcs_credentials_url_allowed(value, domain)) {
        return NGX_OK;
    }

    return ngx_gcs_credentials_error(ctx, "member \"%s%s\" is not an "
                                     "https URL below \"%V\"; if it is right, "
                                     "write it as \"%s\"",
                                     ctx->prefix, name, domain, directive);
}


ngx_int_t
ngx_gcs_credentials_impersonation(ngx_gcs_credentials_ctx_t *ctx, char *name,
    ngx_str_t *url, ngx_gcs_impersonation_t **impersonation)
{
    u_char                   *p, *last;
    ngx_str_t                 email;
    ngx_gcs_impersonation_t  *imp;

    static ngx_str_t  method = ngx_string(":generateAccessToken");

    email.len = 0;
    email.data = url->data;

    if (url->len > method.len) {
        last = url->data + url->len - method.len;

        if (ngx_memcmp(last, method.data, method.len) == 0) {

            for (p = last; p > url->data && p[-1] != '/'; p--) {
                /* void */
            }

            email.data = p;
            email.len = last - p;
        }
    }

    if (email.len == 0
        || ngx_strlchr(email.data, email.data + email.len, '@') == NULL
        || !ngx_gcs_credentials_printable(&email)
        || ngx_strlchr(email.data, email.data + email.len, '%') != NULL
        || ngx_strlchr(email.data, email.data + email.len, '?') != NULL)
    {
        return ngx_gcs_credentials_error(ctx, "member \"%s%s\" does not end "
                                         "with \"/EMAIL:generateAccessToken\"",
                                         ctx->prefix, name);
    }

    imp = ngx_array_push(&ctx->cred->impersonations);
    if (imp == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(imp, sizeof(ngx_gcs_impersonation_t));

    imp->email.data = ngx_pstrdup(ctx->pool, &email);
    if (imp->email.data == NULL) {
        return NGX_ERROR;
    }

    imp->email.len = email.len;
    imp->lifetime = 3600;

    *impersonation = imp;

    return NGX_OK;
}


ngx_uint_t
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


ngx_int_t
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


void
ngx_gcs_credentials_wipe(json_t *json)
{
    void    *iter;
    size_t   i;

    if (json_is_string(json)) {
        OPENSSL_cleanse((char *) json_string_value(json),
                        json_string_length(json));
        return;
    }

    if (json_is_array(json)) {

        for (i = 0; i < json_array_size(json); i++) {
            ngx_gcs_credentials_wipe(json_array_get(json, i));
        }

        return;
    }

    for (iter = json_object_iter(json);
         iter;
         iter = json_object_iter_next(json, iter))
    {
        ngx_gcs_credentials_wipe(json_object_iter_value(iter));
    }
}


ngx_int_t
ngx_gcs_credentials_secret(ngx_pool_t *pool, ngx_str_t *text,
    ngx_str_t *secret)
{
    u_char              *p, *last;
    size_t               i;
    ngx_pool_cleanup_t  *cln;

    p = text->data;
    last = text->data + text->len;

    while (p < last && *p <= ' ') {
        p++;
    }

    while (last > p && last[-1] <= ' ') {
        last--;
    }

    if (last - p != NGX_GCS_CREDENTIALS_SECRET) {
        return NGX_DECLINED;
    }

    for (i = 0; i < NGX_GCS_CREDENTIALS_SECRET; i++) {
        if (!((p[i] >= 'a' && p[i] <= 'z') || (p[i] >= 'A' && p[i] <= 'Z')
              || (p[i] >= '0' && p[i] <= '9') || p[i] == '+' || p[i] == '/'
              || p[i] == '='))
        {
            return NGX_DECLINED;
        }
    }

    cln = ngx_pool_cleanup_add(pool, sizeof(ngx_str_t));
    if (cln == NULL) {
        return NGX_ERROR;
    }

    secret->data = ngx_pnalloc(pool, NGX_GCS_CREDENTIALS_SECRET);
    if (secret->data == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(secret->data, p, NGX_GCS_CREDENTIALS_SECRET);
    secret->len = NGX_GCS_CREDENTIALS_SECRET;

    cln->handler = ngx_gcs_credentials_wipe_secret;
    *(ngx_str_t *) cln->data = *secret;

    return NGX_OK;
}
