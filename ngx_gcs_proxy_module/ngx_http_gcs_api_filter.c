
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "ngx_http_gcs.h"


static ngx_int_t ngx_http_gcs_api_replace(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);
static void ngx_http_gcs_api_text(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx, ngx_str_t *text);
static ngx_int_t ngx_http_gcs_api_clean(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);
static ngx_uint_t ngx_http_gcs_api_header_is(ngx_str_t *name, ngx_str_t *list);
static ngx_uint_t ngx_http_gcs_api_has_links(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);
static ngx_int_t ngx_http_gcs_api_body_filter(ngx_http_request_t *r,
    ngx_chain_t *in);
static ngx_int_t ngx_http_gcs_api_error_body(ngx_http_request_t *r,
    ngx_http_gcs_api_t *api, ngx_chain_t *in);
static ngx_int_t ngx_http_gcs_api_links_body(ngx_http_request_t *r,
    ngx_http_gcs_api_t *api, ngx_chain_t *in);
static ngx_int_t ngx_http_gcs_api_pieces(ngx_http_request_t *r,
    ngx_http_gcs_api_t *api, ngx_buf_t *buf, ngx_chain_t ***last);
static ngx_buf_t *ngx_http_gcs_api_buf(ngx_http_request_t *r,
    ngx_http_gcs_api_t *api, ngx_chain_t ***last);


static ngx_http_output_body_filter_pt  ngx_http_next_body_filter;


/* of Google's answers: what concerns the connection or the host */

static ngx_str_t  ngx_http_gcs_api_dropped[] = {
    ngx_string("access-control-*"),
    ngx_string("alt-svc"),
    ngx_string("content-security-policy*"),
    ngx_string("keep-alive"),
    ngx_string("proxy-*"),
    ngx_string("server-timing"),
    ngx_string("set-cookie"),
    ngx_string("strict-transport-security"),
    ngx_string("trailer"),
    ngx_string("upgrade"),
    ngx_string("www-authenticate"),
    ngx_null_string
};


void
ngx_http_gcs_api_filter_init(void)
{
    ngx_http_next_body_filter = ngx_http_top_body_filter;
    ngx_http_top_body_filter = ngx_http_gcs_api_body_filter;
}


ngx_int_t
ngx_http_gcs_api_header_filter(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    ngx_http_gcs_api_t       *api;
    ngx_http_gcs_loc_conf_t  *glcf;

    if (r != r->main) {
        return NGX_OK;
    }

    if (r->err_status >= NGX_HTTP_BAD_REQUEST) {

        /* nginx's own page comes next */

        return ngx_http_gcs_api_replace(r, ctx);
    }

    if (ctx == NULL || !ctx->passed || ctx->api == NULL) {
        return NGX_OK;
    }

    if (ngx_http_gcs_api_clean(r, ctx) != NGX_OK) {
        return NGX_ERROR;
    }

    if (r->header_only || !ngx_http_gcs_api_has_links(r, ctx)) {
        return NGX_OK;
    }

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);

    api = ctx->api;
    api->mode = NGX_HTTP_GCS_API_LINKS;
    api->links.prefixes = glcf->api->prefixes;
    api->links.origin = api->origin;

    r->main_filter_need_in_memory = 1;

    ngx_http_clear_content_length(r);
    ngx_http_clear_accept_ranges(r);

    return NGX_OK;
}


/* the page that nginx has for an error becomes what the client understands */

static ngx_int_t
ngx_http_gcs_api_replace(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    ngx_str_t            text;
    ngx_uint_t           xml;
    ngx_http_gcs_api_t  *api;

    if (ctx == NULL) {
        ctx = ngx_http_gcs_make_ctx(r);
        if (ctx == NULL) {
            return NGX_ERROR;
        }
    }

    if (ctx->api == NULL) {
        ctx->api = ngx_pcalloc(r->pool, sizeof(ngx_http_gcs_api_t));
        if (ctx->api == NULL) {
            return NGX_ERROR;
        }
    }

    api = ctx->api;

    xml = api->parsed ? api->request.xml
                      : ngx_gcs_api_is_xml(&r->unparsed_uri);

    ngx_http_gcs_api_text(r, ctx, &text);

    if (ngx_gcs_api_error(r->pool, xml, r->err_status, &text, &api->error)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    api->mode = NGX_HTTP_GCS_API_ERROR;

    ngx_http_clear_content_length(r);
    ngx_http_clear_accept_ranges(r);
    ngx_http_clear_last_modified(r);
    ngx_http_clear_etag(r);

    r->headers_out.content_length_n = api->error.len;

    if (xml) {
        ngx_str_set(&r->headers_out.content_type,
                    "application/xml; charset=UTF-8");

    } else {
        ngx_str_set(&r->headers_out.content_type,
                    "application/json; charset=UTF-8");
    }

    r->headers_out.content_type_len = r->headers_out.content_type.len;
    r->headers_out.content_type_lowcase = NULL;
    ngx_str_null(&r->headers_out.charset);

    return NGX_OK;
}


static void
ngx_http_gcs_api_text(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx,
    ngx_str_t *text)
{
    ngx_gcs_api_refusal_t  *refusal;

    refusal = &ctx->api->request.refusal;

    if (refusal->text && refusal->status == r->err_status) {
        text->data = (u_char *) refusal->text;
        text->len = ngx_strlen(refusal->text);
        return;
    }

    switch (r->err_status) {

    case NGX_HTTP_UNAUTHORIZED:
        ngx_str_set(text, "who asks is not known to this server");
        break;

    case NGX_HTTP_FORBIDDEN:
        ngx_str_set(text, "not allowed by this server");
        break;

    case NGX_HTTP_REQUEST_ENTITY_TOO_LARGE:
        ngx_str_set(text, "larger than \"client_max_body_size\"");
        break;

    case NGX_HTTP_TOO_MANY_REQUESTS:
        ngx_str_set(text, "too many requests");
        break;

    case NGX_HTTP_BAD_GATEWAY:
    case NGX_HTTP_SERVICE_UNAVAILABLE:
    case NGX_HTTP_GATEWAY_TIME_OUT:
    case NGX_HTTP_INTERNAL_SERVER_ERROR:
        ngx_str_set(text, "cloud storage could not be asked, the cause is in "
                    "the error log");
        break;

    default:
        ngx_str_set(text, "the request cannot be served");
        break;
    }
}


static ngx_int_t
ngx_http_gcs_api_clean(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    ngx_int_t                    rc;
    ngx_str_t                    made;
    ngx_table_elt_t             *h;
    ngx_http_gcs_header_walk_t   at;

    static ngx_str_t  location[] = {
        ngx_string("location"), ngx_null_string
    };

    for (h = ngx_http_gcs_header_from(&at, ctx->part, ctx->nelts);
         h;
         h = ngx_http_gcs_header_next(&at))
    {
        if (h->hash == 0) {
            continue;
        }

        if (ngx_http_gcs_api_header_is(&h->key, ngx_http_gcs_api_dropped)) {
            h->hash = 0;
            continue;
        }

        if (!ngx_http_gcs_api_header_is(&h->key, location)) {
            continue;
        }

        rc = ngx_gcs_api_location(&ctx->api->request, &ctx->api->origin,
                                  &h->value, &made);

        if (rc == NGX_ERROR) {
            return NGX_ERROR;
        }

        if (rc == NGX_OK) {
            h->value = made;
        }
    }

    return NGX_OK;
}


static ngx_uint_t
ngx_http_gcs_api_header_is(ngx_str_t *name, ngx_str_t *list)
{
    size_t  len;

    for ( /* void */ ; list->len; list++) {

        len = list->len;

        if (list->data[len - 1] == '*') {
            len--;

            if (name->len < len) {
                continue;
            }

        } else if (name->len != len) {
            continue;
        }

        if (ngx_strncasecmp(name->data, list->data, len) == 0) {
            return 1;
        }
    }

    return 0;
}


/* JSON of Google's own; an object may be JSON too, which is not changed */

static ngx_uint_t
ngx_http_gcs_api_has_links(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    ngx_str_t  *type;

    type = &r->headers_out.content_type;

    return !ctx->api->request.media
           && (ctx->api->request.op & NGX_GCS_API_JSON_ALL)
           && type->len >= sizeof("application/json") - 1
           && ngx_strncasecmp(type->data, (u_char *) "application/json",
                              sizeof("application/json") - 1)
              == 0
           && (r->headers_out.content_encoding == NULL
               || r->headers_out.content_encoding->value.len == 0);
}


static ngx_int_t
ngx_http_gcs_api_body_filter(ngx_http_request_t *r, ngx_chain_t *in)
{
    ngx_http_gcs_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_gcs_proxy_module);

    if (ctx == NULL || ctx->api == NULL || r != r->main) {
        return ngx_http_next_body_filter(r, in);
    }

    switch (ctx->api->mode) {

    case NGX_HTTP_GCS_API_ERROR:
        return ngx_http_gcs_api_error_body(r, ctx->api, in);

    case NGX_HTTP_GCS_API_LINKS:
        return ngx_http_gcs_api_links_body(r, ctx->api, in);

    default: /* NGX_HTTP_GCS_API_PASS */
        return ngx_http_next_body_filter(r, in);
    }
}


static ngx_int_t
ngx_http_gcs_api_error_body(ngx_http_request_t *r, ngx_http_gcs_api_t *api,
    ngx_chain_t *in)
{
    ngx_buf_t    *b;
    ngx_chain_t  *cl, out;

    for (cl = in; cl; cl = cl->next) {
        cl->buf->pos = cl->buf->last;
        cl->buf->file_pos = cl->buf->file_last;
    }

    if (in == NULL || api->sent) {
        return ngx_http_next_body_filter(r, NULL);
    }

    b = ngx_calloc_buf(r->pool);
    if (b == NULL) {
        return NGX_ERROR;
    }

    b->pos = api->error.data;
    b->last = b->pos + api->error.len;
    b->memory = 1;
    b->last_buf = 1;
    b->last_in_chain = 1;

    out.buf = b;
    out.next = NULL;

    api->sent = 1;

    return ngx_http_next_body_filter(r, &out);
}


/*
 * As the sub filter does: pieces of a buffer are sent from where they are, and
 * the buffer is free when the last of them is.
 */

static ngx_int_t
ngx_http_gcs_api_links_body(ngx_http_request_t *r, ngx_http_gcs_api_t *api,
    ngx_chain_t *in)
{
    ngx_int_t     rc;
    ngx_buf_t    *b;
    ngx_chain_t  *cl, *out, **last;

    out = NULL;
    last = &out;

    for (cl = in; cl; cl = cl->next) {

        if (ngx_http_gcs_api_pieces(r, api, cl->buf, &last) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    *last = NULL;

    if (out == NULL && api->busy == NULL && in) {
        return NGX_OK;
    }

    rc = ngx_http_next_body_filter(r, out);

    for (last = &api->busy; *last; last = &(*last)->next) {
        /* void */
    }

    *last = out;

    while (api->busy) {

        cl = api->busy;
        b = cl->buf;

        if (ngx_buf_size(b) != 0) {
            break;
        }

        if (b->shadow) {
            b->shadow->pos = b->shadow->last;
        }

        api->busy = cl->next;
        cl->next = api->free;
        api->free = cl;
    }

    return rc;
}


static ngx_int_t
ngx_http_gcs_api_pieces(ngx_http_request_t *r, ngx_http_gcs_api_t *api,
    ngx_buf_t *buf, ngx_chain_t ***last)
{
    u_char      *pos;
    ngx_int_t    rc;
    ngx_str_t    text;
    ngx_buf_t   *b, *piece;

    pos = buf->pos;
    piece = NULL;

    for ( ;; ) {

        rc = ngx_gcs_api_links(&api->links, &pos, buf->last, &text);

        if (rc == NGX_AGAIN) {
            break;
        }

        if (rc == NGX_DONE && text.data != api->origin.data) {
            text.data = ngx_pstrdup(r->pool, &text);
            if (text.data == NULL) {
                return NGX_ERROR;
            }
        }

        b = ngx_http_gcs_api_buf(r, api, last);
        if (b == NULL) {
            return NGX_ERROR;
        }

        b->pos = text.data;
        b->last = text.data + text.len;
        b->memory = 1;

        piece = b;
    }

    if (piece == NULL
        && !(buf->flush || buf->sync || buf->last_buf || buf->last_in_chain))
    {
        /* it has but the beginning of a link, which has been copied */

        buf->pos = buf->last;
        return NGX_OK;
    }

    if (piece == NULL) {
        piece = ngx_http_gcs_api_buf(r, api, last);
        if (piece == NULL) {
            return NGX_ERROR;
        }

        piece->sync = !buf->flush && !buf->last_buf;
    }

    piece->flush = buf->flush;
    piece->recycled = buf->recycled;
    piece->last_buf = buf->last_buf;
    piece->last_in_chain = buf->last_in_chain;
    piece->shadow = buf;

    return NGX_OK;
}


static ngx_buf_t *
ngx_http_gcs_api_buf(ngx_http_request_t *r, ngx_http_gcs_api_t *api,
    ngx_chain_t ***last)
{
    ngx_buf_t    *b;
    ngx_chain_t  *cl;

    cl = ngx_chain_get_free_buf(r->pool, &api->free);
    if (cl == NULL) {
        return NULL;
    }

    b = cl->buf;
    ngx_memzero(b, sizeof(ngx_buf_t));

    b->tag = (ngx_buf_tag_t) &ngx_http_gcs_filter_module;

    **last = cl;
    *last = &cl->next;

    return b;
}
