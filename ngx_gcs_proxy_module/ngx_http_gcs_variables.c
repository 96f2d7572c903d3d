
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "ngx_http_gcs.h"


static ngx_http_gcs_ctx_t *ngx_http_gcs_variable_ctx(ngx_http_request_t *r);
static ngx_int_t ngx_http_gcs_address_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_gcs_mode_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_gcs_signed_url_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_gcs_error_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_gcs_credentials_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_gcs_authorization_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_gcs_token_status_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_gcs_token_expires_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);


/*
 * None may be cached by nginx: a download by slices may outlive a token, and
 * after a redirect another object is meant.
 */

static ngx_http_variable_t  ngx_http_gcs_variables[] = {

    { ngx_string("gcs_bucket"), NULL, ngx_http_gcs_address_variable,
      offsetof(ngx_http_gcs_ctx_t, object.bucket),
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("gcs_object"), NULL, ngx_http_gcs_address_variable,
      offsetof(ngx_http_gcs_ctx_t, object.name),
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("gcs_uri"), NULL, ngx_http_gcs_address_variable,
      offsetof(ngx_http_gcs_ctx_t, uri),
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("gcs_mode"), NULL, ngx_http_gcs_mode_variable, 0,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("gcs_signed_url"), NULL, ngx_http_gcs_signed_url_variable,
      0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("gcs_error"), NULL, ngx_http_gcs_error_variable, 0,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("gcs_credentials"), NULL, ngx_http_gcs_credentials_variable,
      0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("gcs_authorization"), NULL,
      ngx_http_gcs_authorization_variable, 0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("gcs_token_status"), NULL,
      ngx_http_gcs_token_status_variable, 0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("gcs_token_expires"), NULL,
      ngx_http_gcs_token_expires_variable, 0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("gcs_takeover_url"), NULL, ngx_http_gcs_takeover_variable,
      offsetof(ngx_http_gcs_takeover_t, url), NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("gcs_takeover_status"), NULL, ngx_http_gcs_takeover_variable,
      offsetof(ngx_http_gcs_takeover_t, status),
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("gcs_fileuri"), NULL, ngx_http_gcs_fileuri_variable, 0,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    /* for the request to GCS, see ngx_http_gcs_proxy.c */

    { ngx_string("__gcs_authorization"), NULL,
      ngx_http_gcs_authorization_variable, 1, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("__gcs_date"), NULL, ngx_http_gcs_hmac_date_variable, 0,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("__gcs_content_sha256"), NULL,
      ngx_http_gcs_hmac_hash_variable, 0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("__gcs_user_project"), NULL,
      ngx_http_gcs_user_project_variable, 0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("__gcs_client_lines"), NULL,
      ngx_http_gcs_client_lines_variable, 0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("__gcs_accept_encoding"), NULL,
      ngx_http_gcs_accept_encoding_variable, 0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("__gcs_range"), NULL, ngx_http_gcs_range_variable, 0,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("__gcs_if_range"), NULL, ngx_http_gcs_condition_variable,
      NGX_HTTP_GCS_IF_RANGE, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("__gcs_if_match"), NULL, ngx_http_gcs_condition_variable,
      NGX_HTTP_GCS_IF_MATCH, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("__gcs_if_none_match"), NULL,
      ngx_http_gcs_condition_variable,
      NGX_HTTP_GCS_IF_NONE_MATCH, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("__gcs_if_modified_since"), NULL,
      ngx_http_gcs_condition_variable,
      NGX_HTTP_GCS_IF_MODIFIED_SINCE, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("__gcs_if_unmodified_since"), NULL,
      ngx_http_gcs_condition_variable,
      NGX_HTTP_GCS_IF_UNMODIFIED_SINCE, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("__gcs_content_length"), NULL,
      ngx_http_gcs_content_length_variable, 0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("__gcs_given_"), NULL, ngx_http_gcs_given_variable, 0,
      NGX_HTTP_VAR_NOCACHEABLE|NGX_HTTP_VAR_PREFIX, 0 },

    /* likewise, of "gcs_api" */

    { ngx_string("__gcs_api_target"), NULL, ngx_http_gcs_api_target_variable,
      0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("__gcs_api_lines"), NULL, ngx_http_gcs_api_lines_variable,
      0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("__gcs_api_length"), NULL, ngx_http_gcs_api_length_variable,
      0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    /* for a cache */

    { ngx_string("__gcs_conditional"), NULL,
      ngx_http_gcs_conditional_variable, 0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("__gcs_written"), NULL, ngx_http_gcs_written_variable, 0,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    /* for a signed URL of an application, likewise */

    { ngx_string("__gcs_signed_host"), NULL,
      ngx_http_gcs_takeover_signed_variable,
      offsetof(ngx_http_gcs_takeover_t, redirect.host),
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("__gcs_signed_target"), NULL,
      ngx_http_gcs_takeover_signed_variable,
      offsetof(ngx_http_gcs_takeover_t, redirect.target),
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    /* for the request to an application, see ngx_http_gcs_takeover_conf.c */

    { ngx_string("__gcs_takeover_method"), NULL,
      ngx_http_gcs_takeover_method_variable, 0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("__gcs_takeover_range"), NULL,
      ngx_http_gcs_takeover_header_variable,
      offsetof(ngx_http_headers_in_t, range),
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("__gcs_takeover_if_range"), NULL,
      ngx_http_gcs_takeover_header_variable,
      offsetof(ngx_http_headers_in_t, if_range),
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("__gcs_takeover_if_match"), NULL,
      ngx_http_gcs_takeover_header_variable,
      offsetof(ngx_http_headers_in_t, if_match),
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("__gcs_takeover_if_none_match"), NULL,
      ngx_http_gcs_takeover_header_variable,
      offsetof(ngx_http_headers_in_t, if_none_match),
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("__gcs_takeover_if_modified_since"), NULL,
      ngx_http_gcs_takeover_header_variable,
      offsetof(ngx_http_headers_in_t, if_modified_since),
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("__gcs_takeover_if_unmodified_since"), NULL,
      ngx_http_gcs_takeover_header_variable,
      offsetof(ngx_http_headers_in_t, if_unmodified_since),
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

      ngx_http_null_variable
};


ngx_int_t
ngx_http_gcs_add_variables(ngx_conf_t *cf)
{
    ngx_str_t                  name;
    ngx_http_variable_t       *var, *v;
    ngx_http_gcs_main_conf_t  *gmcf;

    for (v = ngx_http_gcs_variables; v->name.len; v++) {
        var = ngx_http_add_variable(cf, &v->name, v->flags);
        if (var == NULL) {
            return NGX_ERROR;
        }

        var->get_handler = v->get_handler;
        var->data = v->data;
    }

    /* nginx may have been built without slices */

    gmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_gcs_proxy_module);

    if (ngx_http_gcs_find_module(cf, "ngx_http_slice_filter_module")) {
        ngx_str_set(&name, "slice_range");

        gmcf->slice_range = ngx_http_get_variable_index(cf, &name);

        if (gmcf->slice_range == NGX_ERROR) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


ngx_str_t
ngx_http_gcs_slice_range(ngx_http_request_t *r)
{
    ngx_str_t                   range;
    ngx_http_gcs_ctx_t         *ctx;
    ngx_http_gcs_loc_conf_t    *glcf;
    ngx_http_gcs_main_conf_t   *gmcf;
    ngx_http_variable_value_t  *v;

    ngx_str_null(&range);

    ctx = ngx_http_get_module_ctx(r, ngx_http_gcs_proxy_module);

    if (ctx && (ctx->listing || ctx->bare)) {
        return range;
    }

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);

    if (glcf->passing && !glcf->sliced) {
        return range;
    }

    gmcf = ngx_http_get_module_main_conf(r, ngx_http_gcs_proxy_module);

    if (gmcf->slice_range == NGX_ERROR) {
        return range;
    }

    v = ngx_http_get_flushed_variable(r, gmcf->slice_range);

    if (v && v->valid && !v->not_found) {
        range.data = v->data;
        range.len = v->len;
    }

    return range;
}


/*
 * The context.  Until a handler of ours has settled it, a rewrite may still
 * change what the request means, so the address is found anew each time.
 */

static ngx_http_gcs_ctx_t *
ngx_http_gcs_variable_ctx(ngx_http_request_t *r)
{
    ngx_http_gcs_ctx_t       *ctx;
    ngx_http_gcs_loc_conf_t  *glcf;

    ctx = ngx_http_get_module_ctx(r, ngx_http_gcs_proxy_module);

    if (ctx && (ctx->settled || ctx->quiet)) {
        return ctx;
    }

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);

    if (!glcf->passing && !glcf->waiting) {

        /* the page of an "error_page", and the log */

        ctx = ngx_http_gcs_get_ctx(r);

        if (ctx || (glcf->object == NULL && glcf->auth == NULL)) {
            return ctx;
        }
    }

    ctx = ngx_http_gcs_make_ctx(r);

    if (ctx) {
        ctx->quiet = 1;
        (void) ngx_http_gcs_resolve(r, ctx);
        ctx->quiet = 0;
    }

    return ctx;
}


static ngx_int_t
ngx_http_gcs_address_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_str_t           *value;
    ngx_http_gcs_ctx_t  *ctx;

    ctx = ngx_http_gcs_variable_ctx(r);

    if (ctx == NULL || !ctx->addressed) {
        v->not_found = 1;
        return NGX_OK;
    }

    value = (ngx_str_t *) ((char *) ctx + data);

    ngx_http_gcs_set_value(v, value);

    return NGX_OK;
}


static ngx_int_t
ngx_http_gcs_mode_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_gcs_ctx_t  *ctx;

    static ngx_str_t  proxy = ngx_string("proxy");
    static ngx_str_t  presign = ngx_string("presign");

    ctx = ngx_http_gcs_get_ctx(r);

    if (ctx == NULL || (!ctx->passed && !ctx->presigned)) {
        v->not_found = 1;
        return NGX_OK;
    }

    ngx_http_gcs_set_value(v, ctx->presigned ? &presign : &proxy);

    return NGX_OK;
}


static ngx_int_t
ngx_http_gcs_signed_url_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_gcs_ctx_t  *ctx;

    ctx = ngx_http_gcs_variable_ctx(r);

    if (ctx == NULL || !ctx->addressed || ctx->identity == NULL
        || ngx_http_gcs_sign_url(r, ctx, NULL) != NGX_OK)
    {
        v->not_found = 1;
        return NGX_OK;
    }

    ngx_http_gcs_set_value(v, &ctx->signed_url);

    return NGX_OK;
}


static ngx_int_t
ngx_http_gcs_error_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_gcs_ctx_t  *ctx;

    ctx = ngx_http_gcs_get_ctx(r);

    if (ctx == NULL || ctx->error.len == 0) {
        v->not_found = 1;
        return NGX_OK;
    }

    ngx_http_gcs_set_value(v, &ctx->error);

    return NGX_OK;
}


static ngx_int_t
ngx_http_gcs_credentials_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_gcs_ctx_t  *ctx;

    ctx = ngx_http_gcs_variable_ctx(r);

    if (ctx == NULL || ctx->identity == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    ngx_http_gcs_set_value(v, &ctx->identity->name);

    return NGX_OK;
}


/*
 * "Bearer TOKEN".  The value is a copy: the worker's own changes when the
 * token is refreshed, and a log may take it later.  With data set it is for
 * "gcs_pass" itself: then a value is there only while it runs, so that a
 * location which inherits the header sends nothing.
 */

static ngx_int_t
ngx_http_gcs_authorization_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    u_char              *p;
    ngx_int_t            rc;
    ngx_str_t            token;
    ngx_http_gcs_ctx_t  *ctx;

    ctx = ngx_http_gcs_variable_ctx(r);

    v->not_found = 1;

    if (ctx == NULL || ctx->identity == NULL
        || (data && (!ctx->passed || ctx->keyless)))
    {
        return NGX_OK;
    }

    if (ctx->identity->token == NULL) {

        /* a signature is of one request, only our own can be signed */

        if (data && ngx_http_gcs_hmac(ctx->identity)) {
            return ngx_http_gcs_hmac_authorization(r, ctx, v);
        }

        return NGX_OK;
    }

    rc = ngx_gcs_token_get(ctx->identity->token, &token, &ctx->generation);

    ctx->pending = 0;

    if (rc != NGX_OK) {

        if (!data) {
            return NGX_OK;
        }

        /*
         * The object was not in the cache.  GCS answers 401 to this, and the
         * wrapper around the upstream waits for the token.
         */

        ctx->pending = 1;
        ngx_str_set(&token, NGX_GCS_TOKEN_BEARER "pending");
        ngx_http_gcs_set_value(v, &token);

        return NGX_OK;
    }

    if (data) {

        /* the proxy takes length and text in one turn: no copy is needed */

        ngx_gcs_token_bearer(ctx->identity->token, &token);
        ngx_http_gcs_set_value(v, &token);

        return NGX_OK;
    }

    p = ngx_pnalloc(r->pool, sizeof("Bearer ") - 1 + token.len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    v->data = p;
    v->len = sizeof("Bearer ") - 1 + token.len;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    p = ngx_cpymem(p, "Bearer ", sizeof("Bearer ") - 1);
    ngx_memcpy(p, token.data, token.len);

    return NGX_OK;
}


static ngx_int_t
ngx_http_gcs_token_status_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_gcs_ctx_t     *ctx;
    ngx_gcs_token_state_t   state;

    ctx = ngx_http_gcs_variable_ctx(r);

    if (ctx == NULL || ctx->identity == NULL || ctx->identity->token == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    ngx_gcs_token_state(ctx->identity->token, &state);

    ngx_http_gcs_set_value(v, ngx_http_gcs_token_word(&state));

    return NGX_OK;
}


ngx_str_t *
ngx_http_gcs_token_word(ngx_gcs_token_state_t *state)
{
    static ngx_str_t  valid = ngx_string("valid");
    static ngx_str_t  fetching = ngx_string("fetching");
    static ngx_str_t  failed = ngx_string("failed");
    static ngx_str_t  none = ngx_string("none");

    return state->expires ? &valid
           : state->backoff ? &failed
           : state->fetching ? &fetching : &none;
}


/* the time when the token expires, seconds since the epoch */

static ngx_int_t
ngx_http_gcs_token_expires_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    u_char                 *p;
    ngx_http_gcs_ctx_t     *ctx;
    ngx_gcs_token_state_t   state;

    ctx = ngx_http_gcs_variable_ctx(r);

    v->not_found = 1;

    if (ctx == NULL || ctx->identity == NULL || ctx->identity->token == NULL) {
        return NGX_OK;
    }

    ngx_gcs_token_state(ctx->identity->token, &state);

    if (state.expires == 0) {
        return NGX_OK;
    }

    p = ngx_pnalloc(r->pool, NGX_TIME_T_LEN);
    if (p == NULL) {
        return NGX_ERROR;
    }

    v->data = p;
    v->len = ngx_sprintf(p, "%T", state.expires) - p;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    return NGX_OK;
}


void
ngx_http_gcs_set_value(ngx_http_variable_value_t *v, ngx_str_t *value)
{
    v->data = value->data;
    v->len = value->len;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;
}
