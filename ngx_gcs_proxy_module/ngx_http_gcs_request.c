
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "ngx_http_gcs.h"


/*
 * The headers of the request to GCS, as variables that only
 * ngx_http_gcs_proxy.c uses.
 */


typedef struct {
    ngx_str_t                    start;      /* of the line */
    ngx_http_get_variable_pt     value;
    uintptr_t                    data;
} ngx_http_gcs_line_t;


#define NGX_HTTP_GCS_LINES       7
#define NGX_HTTP_GCS_CONDITIONS  5           /* of them */


static ngx_int_t ngx_http_gcs_revalidate(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);


/* "If-Range" depends on "Range" */

static ngx_http_gcs_line_t  ngx_http_gcs_lines[NGX_HTTP_GCS_LINES] = {

    { ngx_string(CRLF "Accept-Encoding: "),
      ngx_http_gcs_accept_encoding_variable, 0 },

    { ngx_string(CRLF "Range: "), ngx_http_gcs_range_variable, 0 },

    { ngx_string(CRLF "If-Range: "), ngx_http_gcs_condition_variable,
      NGX_HTTP_GCS_IF_RANGE },

    { ngx_string(CRLF "If-Match: "), ngx_http_gcs_condition_variable,
      NGX_HTTP_GCS_IF_MATCH },

    { ngx_string(CRLF "If-None-Match: "), ngx_http_gcs_condition_variable,
      NGX_HTTP_GCS_IF_NONE_MATCH },

    { ngx_string(CRLF "If-Modified-Since: "), ngx_http_gcs_condition_variable,
      NGX_HTTP_GCS_IF_MODIFIED_SINCE },

    { ngx_string(CRLF "If-Unmodified-Since: "),
      ngx_http_gcs_condition_variable, NGX_HTTP_GCS_IF_UNMODIFIED_SINCE }
};


/*
 * The headers below as lines that follow another one.  None of the values has
 * a line break: nginx refuses it in a client's header, and takes an answer's
 * header up to it.
 */

ngx_int_t
ngx_http_gcs_client_lines_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    u_char                     *p;
    size_t                      len;
    ngx_uint_t                  i, n;
    ngx_http_gcs_ctx_t         *ctx;
    ngx_http_headers_in_t      *in;
    ngx_http_gcs_line_t        *line;
    ngx_http_variable_value_t   value[NGX_HTTP_GCS_LINES];

    v->not_found = 1;

    ctx = ngx_http_get_module_ctx(r, ngx_http_gcs_proxy_module);

    if (ctx && ctx->listing) {
        return NGX_OK;
    }

    in = &r->headers_in;
    line = ngx_http_gcs_lines;
    n = NGX_HTTP_GCS_LINES;

    if ((r->upstream == NULL || !r->upstream->cacheable)
        && in->if_range == NULL
        && in->if_match == NULL
        && in->if_none_match == NULL
        && in->if_modified_since == NULL
        && in->if_unmodified_since == NULL)
    {
        n -= NGX_HTTP_GCS_CONDITIONS;
    }

    ctx = ngx_http_get_module_ctx(r, ngx_http_gcs_proxy_module);

    len = ngx_http_gcs_given_len(ctx);

    for (i = 0; i < n; i++) {

        if (line[i].value(r, &value[i], line[i].data) != NGX_OK) {
            return NGX_ERROR;
        }

        if (value[i].not_found) {
            value[i].len = 0;
        }

        if (value[i].len) {
            len += line[i].start.len + value[i].len;
        }
    }

    if (len == 0) {
        return NGX_OK;
    }

    p = ngx_pnalloc(r->pool, len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    v->data = p;
    v->len = len;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    for (i = 0; i < n; i++) {

        if (value[i].len) {
            p = ngx_cpymem(p, line[i].start.data, line[i].start.len);
            p = ngx_cpymem(p, value[i].data, value[i].len);
        }
    }

    ngx_http_gcs_given_lines(ctx, p);

    return NGX_OK;
}


/*
 * A gzip-stored object is asked for as stored if the client takes it so, or
 * if it goes into a cache, from which nginx decompresses it for others, but
 * for slices, which it cannot.  Else GCS decompresses it, ignoring Range as
 * it must.  (https://cloud.google.com/storage/docs/transcoding)
 */

ngx_int_t
ngx_http_gcs_accept_encoding_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_gcs_ctx_t       *ctx;
    ngx_http_gcs_loc_conf_t  *glcf;

    static ngx_str_t  gzip = ngx_string("gzip");

    v->not_found = 1;

    ctx = ngx_http_get_module_ctx(r, ngx_http_gcs_proxy_module);

    if (ctx == NULL || ctx->listing || r->upstream == NULL) {
        return NGX_OK;
    }

#if (NGX_HTTP_GZIP)

    if (!ctx->gzip_known) {

        /* no for a subrequest, but a slice has the main request's answer */

        ctx->gzip = (ngx_http_gzip_ok(r) == NGX_OK);
        ctx->gzip_known = 1;
    }

#endif

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);

    if (ctx->gzip
        || (r->upstream->cacheable && glcf->gunzip && !glcf->sliced))
    {
        ngx_http_gcs_set_value(v, &gzip);
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_gcs_range_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_str_t            range;
    ngx_http_gcs_ctx_t  *ctx;

    v->not_found = 1;

    ctx = ngx_http_get_module_ctx(r, ngx_http_gcs_proxy_module);

    if (ctx == NULL || ctx->listing || ctx->bare) {
        return NGX_OK;
    }

    range = ngx_http_gcs_slice_range(r);

    if (range.len && !ctx->no_range) {
        ngx_http_gcs_set_value(v, &range);
        return NGX_OK;
    }

    ctx->ranged = 0;

    if (r != r->main
        || !(r->method & NGX_HTTP_GCS_READ)
        || ctx->no_range
        || (r->upstream && r->upstream->cacheable)
        || r->headers_in.range == NULL)
    {
        return NGX_OK;
    }

    ctx->ranged = 1;

    ngx_http_gcs_set_value(v, &r->headers_in.range->value);

    return NGX_OK;
}


/*
 * The client's conditions.  What goes into a cache is asked for without them
 * but for nginx's own revalidation, and a subrequest has none.
 */

ngx_int_t
ngx_http_gcs_condition_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_table_elt_t      *h;
    ngx_http_gcs_ctx_t   *ctx;
    ngx_http_upstream_t  *u;

    u = r->upstream;

    v->not_found = 1;

    ctx = ngx_http_get_module_ctx(r, ngx_http_gcs_proxy_module);

    if (ctx == NULL || ctx->listing || u == NULL) {
        return NGX_OK;
    }

    if (u->cacheable) {
        return ngx_http_gcs_revalidate(r, v, data);
    }

    if (r != r->main || ctx->bare || !(r->method & NGX_HTTP_GCS_READ)) {
        return NGX_OK;
    }

    switch (data) {

    case NGX_HTTP_GCS_IF_RANGE:
        h = ctx->ranged ? r->headers_in.if_range : NULL;
        break;

    case NGX_HTTP_GCS_IF_MATCH:
        h = r->headers_in.if_match;
        break;

    case NGX_HTTP_GCS_IF_NONE_MATCH:
        h = r->headers_in.if_none_match;
        break;

    case NGX_HTTP_GCS_IF_MODIFIED_SINCE:
        h = r->headers_in.if_modified_since;
        break;

    default: /* NGX_HTTP_GCS_IF_UNMODIFIED_SINCE */
        h = r->headers_in.if_unmodified_since;
        break;
    }

    if (h) {
        ngx_http_gcs_set_value(v, &h->value);
    }

    return NGX_OK;
}


/* as the stock $upstream_cache_etag and $upstream_cache_last_modified */

static ngx_int_t
ngx_http_gcs_revalidate(ngx_http_request_t *r, ngx_http_variable_value_t *v,
    uintptr_t data)
{
    u_char     *p;
    ngx_str_t   time;

    if (!r->upstream->conf->cache_revalidate
        || r->upstream->cache_status != NGX_HTTP_CACHE_EXPIRED
        || r->cache == NULL)
    {
        return NGX_OK;
    }

    if (data == NGX_HTTP_GCS_IF_NONE_MATCH && r->cache->etag.len) {
        ngx_http_gcs_set_value(v, &r->cache->etag);
        return NGX_OK;
    }

    if (data != NGX_HTTP_GCS_IF_MODIFIED_SINCE
        || r->cache->last_modified == -1)
    {
        return NGX_OK;
    }

    p = ngx_pnalloc(r->pool, sizeof("Mon, 28 Sep 1970 06:00:00 GMT") - 1);
    if (p == NULL) {
        return NGX_ERROR;
    }

    time.data = p;
    time.len = ngx_http_time(p, r->cache->last_modified) - p;

    ngx_http_gcs_set_value(v, &time);

    return NGX_OK;
}


/*
 * A body of unknown length goes in chunks, by a header of the stock proxy's;
 * what nginx keeps as its length is how much of it has come.  No body at all
 * is an empty object, and GCS wants to be told.
 */

ngx_int_t
ngx_http_gcs_content_length_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    off_t    size;
    u_char  *p;

    size = r->headers_in.content_length_n;

    if (r->method != NGX_HTTP_PUT
        || (r->headers_in.chunked && r->reading_body))
    {
        v->not_found = 1;
        return NGX_OK;
    }

    p = ngx_pnalloc(r->pool, NGX_OFF_T_LEN);
    if (p == NULL) {
        return NGX_ERROR;
    }

    v->data = p;
    v->len = ngx_sprintf(p, "%O", ngx_max(size, 0)) - p;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    return NGX_OK;
}
