
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "ngx_http_gcs.h"


/* digits of a generation, a signed number of 64 bits */
#define NGX_HTTP_GCS_GENERATION_LEN  19


static ngx_uint_t ngx_http_gcs_is_given(ngx_http_request_t *r,
    ngx_http_gcs_loc_conf_t *glcf, ngx_str_t *name);
static ngx_int_t ngx_http_gcs_give(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx, ngx_str_t *name, ngx_str_t *value);
static ngx_keyval_t *ngx_http_gcs_find_given(ngx_http_gcs_ctx_t *ctx,
    ngx_str_t *name);
static ngx_int_t ngx_http_gcs_write_conditions(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);
static ngx_int_t ngx_http_gcs_check_given(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);
static ngx_uint_t ngx_http_gcs_is_generation(ngx_str_t *value);


static ngx_str_t  ngx_http_gcs_if_generation =
    ngx_string("x-goog-if-generation-match");
static ngx_str_t  ngx_http_gcs_if_metageneration =
    ngx_string("x-goog-if-metageneration-match");


/* what GCS says of a request that is the client's fault, with 400 */

static char  *ngx_http_gcs_client_errors[] = {
    "BadDigest",
    "CustomTimeInvalid",
    "EntityTooSmall",
    "ExcessHeaderValues",
    "IncompleteBody",
    "InvalidArgument",
    "InvalidDigest",
    "InvalidStorageClass",
    "InvalidURI",
    "KeyTooLong",
    "MetadataTooLarge",
    NULL
};


ngx_int_t
ngx_http_gcs_given_headers(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    ngx_str_t                    name;
    ngx_table_elt_t             *h;
    ngx_http_gcs_loc_conf_t     *glcf;
    ngx_http_gcs_header_walk_t   at;

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);

    ctx->given = NULL;

    if (ctx->identity->signature) {

        /* the request must be what the application has signed */

        return NGX_OK;
    }

    for (h = ngx_http_gcs_header_first(&at, &r->headers_in.headers);
         h;
         h = ngx_http_gcs_header_next(&at))
    {
        name.data = h->lowcase_key;
        name.len = h->key.len;

        if (h->hash && ngx_http_gcs_is_given(r, glcf, &name)
            && ngx_http_gcs_give(r, ctx, &name, &h->value) != NGX_OK)
        {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    if (!(r->method & NGX_HTTP_GCS_READ)) {
        return ngx_http_gcs_write_conditions(r, ctx);
    }

    return ctx->given ? ngx_http_gcs_check_given(r, ctx) : NGX_OK;
}


/* what "gcs_set_header" sets is not the client's to change */

static ngx_uint_t
ngx_http_gcs_is_given(ngx_http_request_t *r, ngx_http_gcs_loc_conf_t *glcf,
    ngx_str_t *name)
{
    static ngx_str_t  hash = ngx_string("x-goog-hash");
    static ngx_str_t  md5 = ngx_string("content-md5");

    if ((name->len == ngx_http_gcs_if_generation.len
         && ngx_memcmp(name->data, ngx_http_gcs_if_generation.data, name->len)
            == 0)
        || (name->len == ngx_http_gcs_if_metageneration.len
            && ngx_memcmp(name->data, ngx_http_gcs_if_metageneration.data,
                          name->len)
               == 0))
    {
        /*
         * Of the subrequests only slices are parts of what is asked for.  And
         * not everybody may go past a cache, only who can know a generation.
         */

        if ((r->method & NGX_HTTP_GCS_READ)
            && glcf->proxy->cache && !glcf->telling)
        {
            return 0;
        }

        return !ngx_http_gcs_is_set(glcf, name)
               && (r == r->main || !(r->method & NGX_HTTP_GCS_READ)
                   || ngx_http_gcs_slice_range(r).len);
    }

    if (r->method != NGX_HTTP_PUT) {
        return 0;
    }

    if ((name->len == hash.len
         && ngx_memcmp(name->data, hash.data, hash.len) == 0)
        || (name->len == md5.len
            && ngx_memcmp(name->data, md5.data, md5.len) == 0)
        || ngx_http_gcs_name_listed(glcf->write_headers, name))
    {
        return !ngx_http_gcs_is_set(glcf, name);
    }

    return 0;
}


ngx_uint_t
ngx_http_gcs_is_set(ngx_http_gcs_loc_conf_t *glcf, ngx_str_t *name)
{
    ngx_uint_t              i;
    ngx_http_gcs_header_t  *h;

    if (glcf->headers == NULL) {
        return 0;
    }

    h = glcf->headers->elts;

    for (i = 0; i < glcf->headers->nelts; i++) {

        if (h[i].lowcase.len == name->len
            && ngx_memcmp(h[i].lowcase.data, name->data, name->len) == 0)
        {
            return 1;
        }
    }

    return 0;
}


/* several of one name are one list, also for a signature */

static ngx_int_t
ngx_http_gcs_give(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx,
    ngx_str_t *name, ngx_str_t *value)
{
    u_char        *p;
    size_t         len;
    ngx_keyval_t  *h;

    if (value->len == 0) {
        return NGX_OK;
    }

    if (ctx->given == NULL) {
        ctx->given = ngx_array_create(r->pool, 4, sizeof(ngx_keyval_t));
        if (ctx->given == NULL) {
            return NGX_ERROR;
        }
    }

    h = ngx_http_gcs_find_given(ctx, name);

    if (h) {
        len = h->value.len + sizeof(",") - 1 + value->len;

        p = ngx_pnalloc(r->pool, len);
        if (p == NULL) {
            return NGX_ERROR;
        }

        ngx_sprintf(p, "%V,%V", &h->value, value);

        h->value.data = p;
        h->value.len = len;

        return NGX_OK;
    }

    h = ngx_array_push(ctx->given);
    if (h == NULL) {
        return NGX_ERROR;
    }

    h->key = *name;
    h->value = *value;

    return NGX_OK;
}


static ngx_keyval_t *
ngx_http_gcs_find_given(ngx_http_gcs_ctx_t *ctx, ngx_str_t *name)
{
    ngx_uint_t     i;
    ngx_keyval_t  *h;

    h = ctx->given->elts;

    for (i = 0; i < ctx->given->nelts; i++) {

        if (h[i].key.len == name->len
            && ngx_memcmp(h[i].key.data, name->data, name->len) == 0)
        {
            return &h[i];
        }
    }

    return NULL;
}


/*
 * GCS heeds the conditions of HTTP on reads only.  A write for which they were
 * dropped would overwrite what the client has not seen.  One of them can be
 * said in terms of generations: that there is no object.
 * (https://cloud.google.com/storage/docs/request-preconditions)
 */

static ngx_int_t
ngx_http_gcs_write_conditions(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    ngx_str_t                *value;
    ngx_http_headers_in_t    *in;
    ngx_http_gcs_loc_conf_t  *glcf;

    static ngx_str_t  none = ngx_string("0");

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);
    in = &r->headers_in;

    if (in->if_match || in->if_unmodified_since
        || (in->if_none_match
            && (in->if_none_match->value.len != 1
                || in->if_none_match->value.data[0] != '*'
#if (nginx_version >= 1023000)
                || in->if_none_match->next
#endif
               )))
    {
        return ngx_http_gcs_refuse(r, ctx, NGX_HTTP_BAD_REQUEST,
                   "unsupported_condition",
                   "a write with a condition that gcs does not heed, "
                   "it needs \"x-goog-if-generation-match\"");
    }

    value = ngx_http_gcs_find_header(&in->headers, "content-range");

    if (value) {
        return ngx_http_gcs_refuse(r, ctx, NGX_HTTP_BAD_REQUEST,
                   "partial_write",
                   "a write of a part, which would replace the whole object");
    }

    if (in->if_none_match
        && !ngx_http_gcs_is_set(glcf, &ngx_http_gcs_if_generation)
        && ngx_http_gcs_give(r, ctx, &ngx_http_gcs_if_generation, &none)
           != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ctx->given ? ngx_http_gcs_check_given(r, ctx) : NGX_OK;
}


static ngx_int_t
ngx_http_gcs_check_given(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    size_t         j;
    ngx_uint_t     i;
    ngx_keyval_t  *h;

    h = ctx->given->elts;

    for (i = 0; i < ctx->given->nelts; i++) {

        for (j = 0; j < h[i].value.len; j++) {

            if ((h[i].value.data[j] < 0x20 && h[i].value.data[j] != '\t')
                || h[i].value.data[j] == 0x7f)
            {
                return ngx_http_gcs_refuse(r, ctx, NGX_HTTP_BAD_REQUEST,
                           "invalid_header",
                           "a control character in a request header");
            }
        }
    }

    h = ngx_http_gcs_find_given(ctx, &ngx_http_gcs_if_generation);

    if (h && !ngx_http_gcs_is_generation(&h->value)) {
        goto invalid;
    }

    ctx->generation_known = (h != NULL);

    h = ngx_http_gcs_find_given(ctx, &ngx_http_gcs_if_metageneration);

    if (h && !ngx_http_gcs_is_generation(&h->value)) {
        goto invalid;
    }

    return NGX_OK;

invalid:

    return ngx_http_gcs_refuse(r, ctx, NGX_HTTP_BAD_REQUEST,
               "invalid_condition",
               "a generation that is no number, or two of them");
}


static ngx_uint_t
ngx_http_gcs_is_generation(ngx_str_t *value)
{
    size_t  i;

    if (value->len > NGX_HTTP_GCS_GENERATION_LEN) {
        return 0;
    }

    for (i = 0; i < value->len; i++) {
        if (value->data[i] < '0' || value->data[i] > '9') {
            return 0;
        }
    }

    return 1;
}


size_t
ngx_http_gcs_given_len(ngx_http_gcs_ctx_t *ctx)
{
    size_t         len;
    ngx_uint_t     i;
    ngx_keyval_t  *h;

    if (ctx == NULL || ctx->given == NULL) {
        return 0;
    }

    len = 0;
    h = ctx->given->elts;

    for (i = 0; i < ctx->given->nelts; i++) {
        len += sizeof(CRLF) - 1 + h[i].key.len + sizeof(": ") - 1
               + h[i].value.len;
    }

    return len;
}


u_char *
ngx_http_gcs_given_lines(ngx_http_gcs_ctx_t *ctx, u_char *p)
{
    ngx_uint_t     i;
    ngx_keyval_t  *h;

    if (ctx == NULL || ctx->given == NULL) {
        return p;
    }

    h = ctx->given->elts;

    for (i = 0; i < ctx->given->nelts; i++) {
        p = ngx_sprintf(p, CRLF "%V: %V", &h[i].key, &h[i].value);
    }

    return p;
}


/* "$__gcs_given_NAME" */

ngx_int_t
ngx_http_gcs_given_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_str_t *name = (ngx_str_t *) data;

    size_t               j, len;
    u_char               ch, *p;
    ngx_uint_t           i;
    ngx_keyval_t        *h;
    ngx_http_gcs_ctx_t  *ctx;

    v->not_found = 1;

    ctx = ngx_http_get_module_ctx(r, ngx_http_gcs_proxy_module);

    if (ctx == NULL || !ctx->passed || ctx->given == NULL) {
        return NGX_OK;
    }

    p = name->data + sizeof("__gcs_given_") - 1;
    len = name->len - (sizeof("__gcs_given_") - 1);

    h = ctx->given->elts;

    for (i = 0; i < ctx->given->nelts; i++) {

        if (h[i].key.len != len) {
            continue;
        }

        for (j = 0; j < len; j++) {
            ch = h[i].key.data[j];

            if (p[j] != (ch == '-' ? '_' : ch)) {
                break;
            }
        }

        if (j == len) {
            ngx_http_gcs_set_value(v, &h[i].value);
            break;
        }
    }

    return NGX_OK;
}


/*
 * A cache knows nothing of generations: a read with a condition on them goes
 * to GCS, and its answer is not kept.
 */

ngx_int_t
ngx_http_gcs_conditional_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_gcs_ctx_t  *ctx;

    static ngx_str_t  yes = ngx_string("1");

    v->not_found = 1;

    ctx = ngx_http_get_module_ctx(r, ngx_http_gcs_proxy_module);

    if (ctx && ctx->passed && ctx->given) {
        ngx_http_gcs_set_value(v, &yes);
    }

    return NGX_OK;
}


ngx_uint_t
ngx_http_gcs_small_body(ngx_http_request_t *r)
{
    ngx_http_gcs_loc_conf_t   *glcf;
    ngx_http_core_loc_conf_t  *clcf;

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);
    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    return r == r->main
           && r->method == NGX_HTTP_PUT
           && !glcf->proxy->request_buffering
           && r->request_body == NULL
           && r->headers_in.content_length_n > 0
           && r->headers_in.content_length_n
              <= (off_t) clcf->client_body_buffer_size;
}


/*
 * A DELETE of one generation: another one of the same name survives it,
 * however often it is asked for.  A PUT that is repeated might overwrite what
 * somebody else has written meanwhile, or be told that its condition fails
 * because it has succeeded.
 */

ngx_uint_t
ngx_http_gcs_repeatable(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    return (r->method & NGX_HTTP_GCS_READ)
           || (r->method == NGX_HTTP_DELETE && ctx->generation_known);
}


ngx_int_t
ngx_http_gcs_write_status(ngx_http_gcs_ctx_t *ctx)
{
    char  **error;

    switch (ctx->status) {

    case NGX_HTTP_CONFLICT:
    case NGX_HTTP_REQUEST_ENTITY_TOO_LARGE:
    case NGX_HTTP_TOO_MANY_REQUESTS:
        return ctx->status;

    case NGX_HTTP_BAD_REQUEST:

        if (ctx->error.len == sizeof("EntityTooLarge") - 1
            && ngx_strncmp(ctx->error.data, "EntityTooLarge", ctx->error.len)
               == 0)
        {
            return NGX_HTTP_REQUEST_ENTITY_TOO_LARGE;
        }

        for (error = ngx_http_gcs_client_errors; *error; error++) {

            if (ctx->error.len == ngx_strlen(*error)
                && ngx_strncmp(ctx->error.data, *error, ctx->error.len) == 0)
            {
                return NGX_HTTP_BAD_REQUEST;
            }
        }

        return NGX_HTTP_BAD_GATEWAY;

    case NGX_HTTP_RANGE_NOT_SATISFIABLE:
        return NGX_HTTP_BAD_GATEWAY;

    default:
        return ngx_http_gcs_map_status(ctx->status);
    }
}
