
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "ngx_http_gcs.h"


static ngx_int_t ngx_http_gcs_error_complete(ngx_http_request_t *r);
static void ngx_http_gcs_parse_error(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx, ngx_str_t *details);
static ngx_int_t ngx_http_gcs_error_element(ngx_http_request_t *r,
    ngx_str_t *body, char *open, char *close, size_t max, ngx_str_t *value);
static void ngx_http_gcs_add_remedy(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);
static ngx_int_t ngx_http_gcs_copy_header(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx, char *name);
static ngx_uint_t ngx_http_gcs_status_bit(ngx_uint_t status);
static ngx_int_t ngx_http_gcs_intercept(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx, ngx_int_t status);


/*
 * What GCS answers to a read keeps its meaning; of the rest the client can
 * neither see nor mend the cause, and must not read Google's words about it.
 * (https://cloud.google.com/storage/docs/xml-api/reference-status)
 */

ngx_int_t
ngx_http_gcs_map_status(ngx_uint_t status)
{
    switch (status) {

    case NGX_HTTP_FORBIDDEN:
    case NGX_HTTP_NOT_FOUND:
    case NGX_HTTP_PRECONDITION_FAILED:
    case NGX_HTTP_RANGE_NOT_SATISFIABLE:
        return status;

    case NGX_HTTP_TOO_MANY_REQUESTS:
    case NGX_HTTP_SERVICE_UNAVAILABLE:
        return NGX_HTTP_SERVICE_UNAVAILABLE;

    default:
        return NGX_HTTP_BAD_GATEWAY;
    }
}


ngx_int_t
ngx_http_gcs_read_error(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    ngx_int_t             rc;
    ngx_http_upstream_t  *u;

    u = r->upstream;

    rc = ngx_http_gcs_error_complete(r);

    if (rc == NGX_AGAIN && u->buffer.last != u->buffer.end) {
        return NGX_AGAIN;
    }

    ngx_str_null(&ctx->details);
    ngx_http_gcs_parse_error(r, ctx, &ctx->details);

    if (rc == NGX_OK) {
        u->keepalive = !u->headers_in.connection_close;
    }

    return NGX_OK;
}


/*
 * NGX_OK: all of the body is in the buffer, or there is none, and nothing
 * comes after it.  NGX_AGAIN: not yet.  NGX_DECLINED: it cannot be told.
 */

static ngx_int_t
ngx_http_gcs_error_complete(ngx_http_request_t *r)
{
    off_t                     size;
    ngx_http_upstream_t      *u;
    ngx_http_gcs_loc_conf_t  *glcf;

    u = r->upstream;
    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);

    if (glcf->http2) {

        /* the buffer holds frames */

        return NGX_DECLINED;
    }

    size = u->buffer.last - u->buffer.pos;

    /*
     * The stock code knows that there is no body, but does not tell when the
     * connection is to be closed.  HEAD may have been sent as GET.
     */

    if (u->keepalive
        || ngx_strncmp(u->request_bufs->buf->start, "HEAD ", 5) == 0)
    {
        return (size == 0) ? NGX_OK : NGX_DECLINED;
    }

    if (u->headers_in.chunked) {

        if (size >= 5
            && ngx_memcmp(u->buffer.last - 5, "0" CRLF CRLF, 5) == 0
            && (size == 5 || u->buffer.last[-6] == LF))
        {
            return NGX_OK;
        }

        return NGX_AGAIN;
    }

    if (u->headers_in.content_length_n < 0) {
        return NGX_DECLINED;
    }

    if (size < u->headers_in.content_length_n) {
        return NGX_AGAIN;
    }

    return (size == u->headers_in.content_length_n) ? NGX_OK : NGX_DECLINED;
}


/*
 * <Error><Code>NoSuchKey</Code><Message>...</Message><Details>...</Details>
 * </Error>, or anything else: then the status stands for the code.
 * (https://cloud.google.com/storage/docs/xml-api/reference-status)
 */

static void
ngx_http_gcs_parse_error(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx,
    ngx_str_t *details)
{
    size_t       i;
    u_char       ch, *p;
    ngx_str_t    body, code;
    ngx_buf_t   *b;

    b = &r->upstream->buffer;

    body.data = b->pos;
    body.len = b->last - b->pos;

    if (ngx_http_gcs_error_element(r, &body, "<Code>", "</Code>", 64, &code)
        == NGX_OK)
    {
        for (i = 0; i < code.len; i++) {
            ch = code.data[i];

            if (!((ch >= '0' && ch <= '9')
                  || ((ch | 0x20) >= 'a' && (ch | 0x20) <= 'z')))
            {
                break;
            }
        }

        if (code.len && i == code.len) {
            ctx->error = code;

            if (ngx_http_gcs_error_element(r, &body, "<Details>",
                                           "</Details>", 512, details)
                != NGX_OK)
            {
                (void) ngx_http_gcs_error_element(r, &body, "<Message>",
                                                  "</Message>", 512, details);
            }

            return;
        }
    }

    /* the JSON API, which is asked for listings */

    (void) ngx_http_gcs_error_element(r, &body, "\"message\": \"", "\"", 512,
                                      details);

    p = ngx_pnalloc(r->pool, sizeof("http_") - 1 + NGX_INT_T_LEN);
    if (p == NULL) {
        return;
    }

    ctx->error.data = p;
    ctx->error.len = ngx_sprintf(p, "http_%ui", ctx->status) - p;
}


static ngx_int_t
ngx_http_gcs_error_element(ngx_http_request_t *r, ngx_str_t *body, char *open,
    char *close, size_t max, ngx_str_t *value)
{
    u_char  *p, *q, *last;
    size_t   i;

    last = body->data + body->len;

    p = ngx_strlcasestrn(body->data, last, (u_char *) open,
                         ngx_strlen(open) - 1);
    if (p == NULL) {
        return NGX_DECLINED;
    }

    p += ngx_strlen(open);

    q = ngx_strlcasestrn(p, last, (u_char *) close, ngx_strlen(close) - 1);
    if (q == NULL) {
        return NGX_DECLINED;
    }

    value->len = ngx_min((size_t) (q - p), max);

    value->data = ngx_pnalloc(r->pool, value->len);
    if (value->data == NULL) {
        return NGX_ERROR;
    }

    /* for a log line */

    for (i = 0; i < value->len; i++) {
        value->data[i] = (p[i] < 0x20 || p[i] == 0x7f) ? ' ' : p[i];
    }

    return NGX_OK;
}


ngx_str_t *
ngx_http_gcs_find_header(ngx_list_t *headers, char *name)
{
    size_t                       len;
    ngx_table_elt_t             *h;
    ngx_http_gcs_header_walk_t   at;

    len = ngx_strlen(name);

    for (h = ngx_http_gcs_header_first(&at, headers);
         h;
         h = ngx_http_gcs_header_next(&at))
    {
        if (h->hash && ngx_http_gcs_header_named(h, name, len)) {
            return &h->value;
        }
    }

    return NULL;
}


ngx_int_t
ngx_http_gcs_fail(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx,
    ngx_int_t status)
{
    ngx_uint_t                 level;
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    level = NGX_LOG_ERR;

    if (status == NGX_HTTP_BAD_REQUEST
        || status == NGX_HTTP_CONFLICT
        || status == NGX_HTTP_PRECONDITION_FAILED
        || status == NGX_HTTP_REQUEST_ENTITY_TOO_LARGE
        || status == NGX_HTTP_RANGE_NOT_SATISFIABLE
        || (status == NGX_HTTP_NOT_FOUND && !clcf->log_not_found))
    {
        level = NGX_LOG_INFO;
    }

    if (ctx->result == 0) {

        /* else the token's failure has been logged */

        ngx_http_gcs_add_remedy(r, ctx);

        ngx_log_error(level, r->connection->log, 0,
                      "gcs responded %ui \"%V\" to gcs credentials \"%V\" "
                      "for \"gs:/%V\": %V",
                      ctx->status, &ctx->error, &ctx->identity->name,
                      ctx->list ? &ctx->list->name : &ctx->uri,
                      &ctx->details);
    }

    if (status == NGX_HTTP_RANGE_NOT_SATISFIABLE
        && ngx_http_gcs_copy_header(r, ctx, "Content-Range") != NGX_OK)
    {
        return NGX_ERROR;
    }

    if ((status == NGX_HTTP_SERVICE_UNAVAILABLE
         || status == NGX_HTTP_TOO_MANY_REQUESTS)
        && ngx_http_gcs_copy_header(r, ctx, "Retry-After") != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_gcs_intercept(r, ctx, status);
}


/* what can be done by the one who reads the log, if it is known */

static void
ngx_http_gcs_add_remedy(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    u_char             *p, *error, *text;
    size_t              len;
    ngx_uint_t          where;
    ngx_gcs_explain_t  *explain;

    p = ngx_pnalloc(r->pool, ctx->error.len + 1 + ctx->details.len + 1);
    if (p == NULL) {
        return;
    }

    error = p;
    p = ngx_cpymem(p, ctx->error.data, ctx->error.len);
    *p++ = '\0';

    text = p;
    *ngx_cpymem(p, ctx->details.data, ctx->details.len) = '\0';

    where = ctx->identity->signature ? NGX_GCS_EXPLAIN_SIGNED
                                     : NGX_GCS_EXPLAIN_STORAGE;

    explain = ngx_gcs_explain(where, ctx->status, (char *) error,
                              (char *) text);
    if (explain == NULL) {
        return;
    }

    len = ctx->details.len + sizeof("; ") - 1 + ngx_strlen(explain->remedy);

    p = ngx_pnalloc(r->pool, len);
    if (p == NULL) {
        return;
    }

    ngx_sprintf(p, "%V; %s", &ctx->details, explain->remedy);

    ctx->details.data = p;
    ctx->details.len = len;
}


static ngx_int_t
ngx_http_gcs_copy_header(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx,
    char *name)
{
    ngx_str_t  *value;

    value = ngx_http_gcs_find_header(&r->upstream->headers_in.headers, name);

    if (value == NULL) {
        return NGX_OK;
    }

    ctx->header = ngx_http_gcs_add_header(r, name, value);

    return ctx->header ? NGX_OK : NGX_ERROR;
}


/*
 * nginx replaces an upstream's error by its own page only where an
 * "error_page" names the status, and looks that up in the configuration of
 * the location.  So the request gets a copy of it where an entry does, until
 * ngx_http_gcs_restore_conf() puts the real one back, before the page is
 * chosen.  This way "error_page", negative caching (proxy_cache_valid 404),
 * proxy_cache_use_stale and subrequests work as with every upstream.
 */

static ngx_int_t
ngx_http_gcs_intercept(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx,
    ngx_int_t status)
{
    void                      **loc_conf;
    ngx_array_t                *pages;
    ngx_http_err_page_t        *page;
    ngx_http_upstream_t        *u;
    ngx_http_core_loc_conf_t   *clcf;
    ngx_http_upstream_conf_t   *ucf;

    u = r->upstream;

    loc_conf = ngx_palloc(r->pool, sizeof(void *) * ngx_http_max_module);
    clcf = ngx_palloc(r->pool, sizeof(ngx_http_core_loc_conf_t));
    ucf = ngx_palloc(r->pool, sizeof(ngx_http_upstream_conf_t));
    pages = ngx_array_create(r->pool, 1, sizeof(ngx_http_err_page_t));

    if (loc_conf == NULL || clcf == NULL || ucf == NULL || pages == NULL) {
        return NGX_ERROR;
    }

    page = ngx_array_push(pages);
    if (page == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(page, sizeof(ngx_http_err_page_t));
    page->status = status;

    *clcf = *(ngx_http_core_loc_conf_t *)
                     ngx_http_get_module_loc_conf(r, ngx_http_core_module);
    clcf->error_pages = pages;

    ngx_memcpy(loc_conf, r->loc_conf, sizeof(void *) * ngx_http_max_module);
    loc_conf[ngx_http_core_module.ctx_index] = clcf;

    ctx->loc_conf = r->loc_conf;
    ctx->error_conf = loc_conf;
    r->loc_conf = loc_conf;

    *ucf = *u->conf;
    ucf->intercept_errors = 1;
    ucf->intercept_404 = 0;

    /* proxy_cache_use_stale may name GCS's answer, or what we make of it */

    if (ucf->cache_use_stale & ngx_http_gcs_status_bit(ctx->status)) {
        ucf->cache_use_stale |= ngx_http_gcs_status_bit(status);
    }

    u->conf = ucf;
    u->headers_in.status_n = status;

    return NGX_OK;
}


static ngx_uint_t
ngx_http_gcs_status_bit(ngx_uint_t status)
{
    switch (status) {

    case NGX_HTTP_FORBIDDEN:
        return NGX_HTTP_UPSTREAM_FT_HTTP_403;

    case NGX_HTTP_NOT_FOUND:
        return NGX_HTTP_UPSTREAM_FT_HTTP_404;

    case NGX_HTTP_TOO_MANY_REQUESTS:
        return NGX_HTTP_UPSTREAM_FT_HTTP_429;

    case NGX_HTTP_INTERNAL_SERVER_ERROR:
        return NGX_HTTP_UPSTREAM_FT_HTTP_500;

    case NGX_HTTP_BAD_GATEWAY:
        return NGX_HTTP_UPSTREAM_FT_HTTP_502;

    case NGX_HTTP_SERVICE_UNAVAILABLE:
        return NGX_HTTP_UPSTREAM_FT_HTTP_503;

    case NGX_HTTP_GATEWAY_TIME_OUT:
        return NGX_HTTP_UPSTREAM_FT_HTTP_504;

    default:
        return 0;
    }
}


void
ngx_http_gcs_restore_conf(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    if (ctx->loc_conf) {

        /* if it has not gone elsewhere meanwhile */

        if (r->loc_conf == ctx->error_conf) {
            r->loc_conf = ctx->loc_conf;
        }

        ctx->loc_conf = NULL;
    }
}
