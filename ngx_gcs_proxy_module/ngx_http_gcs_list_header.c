
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "ngx_http_gcs.h"


/* what GCS has answered to a request for a listing, and our header for it */


ngx_uint_t
ngx_http_gcs_list_expected(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    char        *name;
    ngx_str_t   *type;
    ngx_list_t  *headers;

    headers = &r->upstream->headers_in.headers;

    name = ctx->list->xml ? "/xml" : "/json";
    type = ngx_http_gcs_find_header(headers, "content-type");

    if (ctx->status == NGX_HTTP_OK
        && ngx_http_gcs_find_header(headers, "content-encoding") == NULL
        && type
        && ngx_strlcasestrn(type->data, type->data + type->len,
                            (u_char *) name, ngx_strlen(name) - 1))
    {
        return 1;
    }

    ngx_str_set(&ctx->error, "invalid_listing");
    ngx_str_set(&ctx->details, "the answer is not a listing");

    return 0;
}


ngx_int_t
ngx_http_gcs_list_status(ngx_http_gcs_ctx_t *ctx)
{
    ngx_http_gcs_list_t  *list;

    list = ctx->list;

    if (ctx->status == NGX_HTTP_BAD_REQUEST
        && list->pages == 1 && list->token.len)
    {
        /* the client's token, which may be anything */

        return NGX_HTTP_BAD_REQUEST;
    }

    return ngx_http_gcs_map_status(ctx->status);
}


ngx_int_t
ngx_http_gcs_list_header(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    ngx_http_gcs_list_t  *list;

    static ngx_str_t  accept = ngx_string("Accept");
    static ngx_str_t  policy = ngx_string("default-src 'none'; "
                                          "style-src 'unsafe-inline'; "
                                          "form-action 'self'; "
                                          "base-uri 'none'; "
                                          "frame-ancestors 'self'");

    list = ctx->list;

    /* the client's status may be another: of an "error_page" that lists */

    if (r->upstream == NULL || r->upstream->headers_in.status_n != NGX_HTTP_OK)
    {
        if (r == r->main) {
            return NGX_OK;
        }

        /* there is no place for it in the midst of a listing */

        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "page %ui of the gcs listing of \"gs://%V/%V\" failed "
                      "with status %ui, the answer ends here", list->pages,
                      &list->page.bucket, &list->prefix,
                      r->headers_out.status);

        return NGX_ERROR;
    }

    ngx_http_clear_content_length(r);
    ngx_http_clear_accept_ranges(r);
    ngx_http_clear_last_modified(r);
    ngx_http_clear_etag(r);

    r->allow_ranges = 0;
    r->filter_need_in_memory = 1;

    r->headers_out.content_type_lowcase = NULL;
    ngx_str_null(&r->headers_out.charset);

    switch (list->page.format) {

    case NGX_GCS_LIST_HTML:
        ngx_str_set(&r->headers_out.content_type, "text/html");
        ngx_str_set(&r->headers_out.charset, "utf-8");
        break;

    case NGX_GCS_LIST_JSONL:

        if (list->jsonl) {
            ngx_str_set(&r->headers_out.content_type, "application/jsonl");
            break;
        }

        ngx_str_set(&r->headers_out.content_type, "application/x-ndjson");
        break;

    default: /* NGX_GCS_LIST_JSON */
        ngx_str_set(&r->headers_out.content_type, "application/json");
    }

    r->headers_out.content_type_len = r->headers_out.content_type.len;

    list->active = 1;

    if (r != r->main) {
        return NGX_OK;
    }

    if (list->page.format == NGX_GCS_LIST_HTML
        && ngx_http_gcs_add_header(r, "Content-Security-Policy", &policy)
           == NULL)
    {
        return NGX_ERROR;
    }

    return ngx_http_gcs_add_header(r, "Vary", &accept) ? NGX_OK : NGX_ERROR;
}
