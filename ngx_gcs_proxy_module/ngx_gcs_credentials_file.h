
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#ifndef _NGX_GCS_CREDENTIALS_FILE_H_INCLUDED_
#define _NGX_GCS_CREDENTIALS_FILE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include <jansson.h>

#include "ngx_gcs_credentials.h"


/*
 * The reading of a credential file, for the files ngx_gcs_credentials*.c
 * alone.  All but the last function return NGX_OK, or NGX_DECLINED with a
 * text in *ctx->err, or NGX_ERROR if memory is out.
 */


typedef struct {
    ngx_pool_t               *pool;
    json_t                   *json;     /* the object being read */
    char                     *prefix;   /* of its members in messages, or "" */
    ngx_gcs_credentials_t    *cred;
    ngx_str_t                *err;
} ngx_gcs_credentials_ctx_t;


/*
 * Copies a member that will enter a request or a log line, so without white
 * space and control characters; an absent or null one is an empty string.
 * The copy ends with '\0', which is not counted.
 */
ngx_int_t ngx_gcs_credentials_copy(ngx_gcs_credentials_ctx_t *ctx, char *name,
    ngx_uint_t required, ngx_str_t *value);

/* the same for a secret: the copy is wiped when the pool goes */
ngx_int_t ngx_gcs_credentials_copy_secret(ngx_gcs_credentials_ctx_t *ctx,
    char *name, ngx_uint_t required, ngx_str_t *value);

/* the same, but value points into the JSON and may be any text */
ngx_int_t ngx_gcs_credentials_peek(ngx_gcs_credentials_ctx_t *ctx,
    char *name, ngx_uint_t required, ngx_str_t *value);

/*
 * Copies a member that is a URL, and that must lie in the universe's domain
 * or at loopback; with local set, at a metadata server instead.  directive
 * is what lifts the restriction, or NULL.
 */
ngx_int_t ngx_gcs_credentials_copy_url(ngx_gcs_credentials_ctx_t *ctx,
    char *name, ngx_uint_t local, char *directive, ngx_str_t *value);

/* what a file of any type may have, in ngx_gcs_credentials.c */
ngx_int_t ngx_gcs_credentials_common(ngx_gcs_credentials_ctx_t *ctx);

/* "external_account", in ngx_gcs_credentials_external.c */
ngx_int_t ngx_gcs_credentials_external_account(
    ngx_gcs_credentials_ctx_t *ctx);

/*
 * Adds the account that an URL of IAM Credentials for "generateAccessToken"
 * names, the member name.  Only the account is taken from it: where the
 * token is sent does not depend on the file.
 */
ngx_int_t ngx_gcs_credentials_impersonation(ngx_gcs_credentials_ctx_t *ctx,
    char *name, ngx_str_t *url, ngx_gcs_impersonation_t **impersonation);

/* notes the text, cut to a few hundred bytes; returns NGX_DECLINED */
ngx_int_t ngx_gcs_credentials_error(ngx_gcs_credentials_ctx_t *ctx,
    const char *fmt, ...);

/* whether it is ASCII without white space and control characters */
ngx_uint_t ngx_gcs_credentials_printable(ngx_str_t *value);

/* overwrites all strings in it */
void ngx_gcs_credentials_wipe(json_t *json);


#endif /* _NGX_GCS_CREDENTIALS_FILE_H_INCLUDED_ */
