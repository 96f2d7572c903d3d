
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "ngx_http_gcs.h"

#include <jansson.h>


/*
 * Answers with a signed URL instead of the object: whoever has the URL may
 * use it, at Cloud Storage, until it expires.
 * (https://cloud.google.com/storage/docs/access-control/signed-urls)
 */


static ngx_int_t ngx_http_gcs_presign_redirect(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx, ngx_str_t *method);
static ngx_int_t ngx_http_gcs_presign_json(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx, ngx_str_t *method);
static json_t *ngx_http_gcs_presign_object(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx, ngx_str_t *method, ngx_int_t *rc);
static ngx_int_t ngx_http_gcs_presign_cache_control(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx, ngx_str_t *method);


/* the start of a resumable upload, a POST, is a write like PUT */

ngx_uint_t
ngx_http_gcs_presign_bit(ngx_str_t *method)
{
    switch (method->data[0]) {

    case 'G':
        return NGX_HTTP_GET;

    case 'H':
        return NGX_HTTP_HEAD;

    case 'D':
        return NGX_HTTP_DELETE;

    default: /* PUT, POST */
        return NGX_HTTP_PUT;
    }
}


ngx_int_t
ngx_http_gcs_presigning(ngx_http_request_t *r)
{
    ngx_str_t                 mode;
    ngx_http_gcs_loc_conf_t  *glcf;

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);

    if (glcf->mode == NULL) {
        return 0;
    }

    if (ngx_http_complex_value(r, glcf->mode, &mode) != NGX_OK) {
        return NGX_ERROR;
    }

    if (mode.len == 5 && ngx_strncmp(mode.data, "proxy", 5) == 0) {
        return 0;
    }

    if (mode.len == 7 && ngx_strncmp(mode.data, "presign", 7) == 0) {
        return 1;
    }

    ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                  "\"gcs_mode\" yields \"%V\", neither \"proxy\" nor "
                  "\"presign\"", &mode);

    return NGX_ERROR;
}


ngx_uint_t
ngx_http_gcs_presign_allowed(ngx_http_request_t *r)
{
    ngx_http_gcs_loc_conf_t  *glcf;

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);

    if (glcf->presign_method.len == 0) {
        return (r->method & glcf->allowed) != 0;
    }

    /* the request only asks for the URL */

    return (ngx_http_gcs_presign_bit(&glcf->presign_method) & glcf->allowed)
           && (r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD|NGX_HTTP_POST
                            |glcf->allowed));
}


ngx_str_t *
ngx_http_gcs_presign_what(ngx_http_request_t *r)
{
    ngx_http_gcs_loc_conf_t  *glcf;

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);

    return glcf->presign_method.len ? &glcf->presign_method : &r->method_name;
}


ngx_int_t
ngx_http_gcs_presign(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    ngx_int_t                 rc;
    ngx_str_t                *method;
    ngx_http_gcs_loc_conf_t  *glcf;

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    ctx->presigned = 1;

    rc = ngx_http_gcs_sign_url(r, ctx, ngx_http_gcs_content_resume);

    if (rc == NGX_AGAIN) {
        r->main->count++;
        return NGX_DONE;
    }

    if (rc != NGX_OK) {
        return rc;
    }

    method = ngx_http_gcs_presign_what(r);

    if (ngx_http_gcs_presign_cache_control(r, ctx, method) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);

    return glcf->presign_answer->json
           ? ngx_http_gcs_presign_json(r, ctx, method)
           : ngx_http_gcs_presign_redirect(r, ctx, method);
}


ngx_array_t *
ngx_http_gcs_presign_pairs(ngx_http_request_t *r, ngx_array_t *list)
{
    ngx_str_t               value;
    ngx_uint_t              i;
    ngx_array_t            *pairs;
    ngx_keyval_t           *pair;
    ngx_http_gcs_header_t  *h;

    pairs = ngx_array_create(r->pool, list->nelts, sizeof(ngx_keyval_t));
    if (pairs == NULL) {
        return NULL;
    }

    h = list->elts;

    for (i = 0; i < list->nelts; i++) {

        if (ngx_http_complex_value(r, &h[i].value, &value) != NGX_OK) {
            return NULL;
        }

        if (value.len == 0) {
            continue;
        }

        pair = ngx_array_push(pairs);
        if (pair == NULL) {
            return NULL;
        }

        pair->key = h[i].name;
        pair->value = value;
    }

    return pairs;
}


static ngx_int_t
ngx_http_gcs_presign_redirect(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx,
    ngx_str_t *method)
{
    ngx_table_elt_t          *h;
    ngx_http_gcs_loc_conf_t  *glcf;

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);

    ngx_http_clear_location(r);

    h = ngx_http_gcs_add_header(r, "Location", &ctx->signed_url);
    if (h == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    r->headers_out.location = h;

    if (glcf->presign_answer->status) {
        return glcf->presign_answer->status;
    }

    /* 307 keeps the method of a request that has another one than GET */

    return (ngx_http_gcs_presign_bit(method) & NGX_HTTP_GCS_READ)
           ? NGX_HTTP_SEE_OTHER : NGX_HTTP_TEMPORARY_REDIRECT;
}


static ngx_int_t
ngx_http_gcs_presign_json(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx,
    ngx_str_t *method)
{
    char                      *text;
    json_t                    *json;
    ngx_int_t                  rc;
    ngx_str_t                  body;
    ngx_http_complex_value_t   cv;

    static ngx_str_t  type = ngx_string("application/json");

    rc = NGX_HTTP_INTERNAL_SERVER_ERROR;

    json = ngx_http_gcs_presign_object(r, ctx, method, &rc);
    text = json ? json_dumps(json, JSON_COMPACT) : NULL;

    json_decref(json);

    if (text == NULL) {
        return rc;
    }

    body.len = ngx_strlen(text);
    body.data = ngx_pnalloc(r->pool, body.len);

    if (body.data) {
        ngx_memcpy(body.data, text, body.len);
    }

    free(text);

    if (body.data == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_memzero(&cv, sizeof(ngx_http_complex_value_t));
    cv.value = body;

    return ngx_http_send_response(r, NGX_HTTP_OK, &type, &cv);
}


/*
 * headers: what the one who uses the URL must send.  NULL, and rc, if there is
 * one that JSON cannot tell.
 */

static json_t *
ngx_http_gcs_presign_object(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx,
    ngx_str_t *method, ngx_int_t *rc)
{
    json_t                   *headers, *value;
    ngx_uint_t                i;
    ngx_array_t              *pairs;
    ngx_keyval_t             *pair;
    ngx_http_gcs_loc_conf_t  *glcf;

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);

    headers = json_object();

    if (glcf->presign_headers) {
        pairs = ngx_http_gcs_presign_pairs(r, glcf->presign_headers);

        if (pairs == NULL) {
            json_decref(headers);
            return NULL;
        }

        pair = pairs->elts;

        for (i = 0; i < pairs->nelts; i++) {

            value = json_stringn((char *) pair[i].value.data,
                                 pair[i].value.len);
            if (value == NULL) {
                *rc = ngx_http_gcs_refuse(r, ctx, NGX_HTTP_BAD_REQUEST,
                          "invalid_header", "the value of a header to send "
                          "is not valid UTF-8");
            }

            /* a name is an argument of a directive: it ends with '\0' */

            if (json_object_set_new(headers, (char *) pair[i].key.data, value)
                != 0)
            {
                json_decref(headers);
                return NULL;
            }
        }
    }

    return json_pack("{s:s%, s:s%, s:o, s:I}",
                     "url", ctx->signed_url.data, ctx->signed_url.len,
                     "method", method->data, method->len,
                     "headers", headers,
                     "expires", (json_int_t) ctx->signed_until);
}


/*
 * Who keeps the answer must not use the URL after it has expired, nor begin
 * to use it in its last moments: a tenth of its life is left, a minute at
 * most.  A URL that writes is for once.
 */

static ngx_int_t
ngx_http_gcs_presign_cache_control(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx, ngx_str_t *method)
{
    u_char                   *p;
    time_t                    age;
    ngx_str_t                 value;
    ngx_http_gcs_loc_conf_t  *glcf;

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);

    age = ctx->signed_until - ngx_time()
          - ngx_min(60, glcf->presign_ttl / 10);

    if (age <= 0 || !(ngx_http_gcs_presign_bit(method) & NGX_HTTP_GCS_READ)) {
        ngx_str_set(&value, "no-store");

    } else {
        p = ngx_pnalloc(r->pool, sizeof("private, max-age=") + NGX_TIME_T_LEN);
        if (p == NULL) {
            return NGX_ERROR;
        }

        value.data = p;
        value.len = ngx_sprintf(p, "private, max-age=%T", age) - p;
    }

    return ngx_http_gcs_add_header(r, "Cache-Control", &value) ? NGX_OK
                                                               : NGX_ERROR;
}
