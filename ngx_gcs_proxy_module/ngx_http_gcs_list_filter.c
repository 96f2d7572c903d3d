
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "ngx_http_gcs.h"


/*
 * The answer to a request for a listing: GCS's is read as it arrives, from
 * one request for each page of it, and ours is written to a few buffers that
 * are used again and again.  When there is none, what has arrived stays where
 * it is, and nginx reads no more of it until the client has taken some.
 */


#define NGX_HTTP_GCS_LIST_BUFS      3
#define NGX_HTTP_GCS_LIST_BUFFER    65536

/* in r->buffered; that of the image filter, which has nothing to do here */
#define NGX_HTTP_GCS_LIST_BUFFERED  0x08


static ngx_int_t ngx_http_gcs_list_body_filter(ngx_http_request_t *r,
    ngx_chain_t *in);
static ngx_int_t ngx_http_gcs_list_queue(ngx_http_request_t *r,
    ngx_http_gcs_list_t *list, ngx_chain_t *in);
static ngx_int_t ngx_http_gcs_list_pump(ngx_http_request_t *r,
    ngx_http_gcs_list_t *list);
static ngx_int_t ngx_http_gcs_list_read(ngx_http_request_t *r,
    ngx_http_gcs_list_t *list, ngx_chain_t ***last);
static ngx_int_t ngx_http_gcs_list_buffer(ngx_http_request_t *r,
    ngx_http_gcs_list_t *list);
static ngx_int_t ngx_http_gcs_list_flush(ngx_http_request_t *r,
    ngx_http_gcs_list_t *list, ngx_chain_t ***last);
static ngx_int_t ngx_http_gcs_list_write(ngx_http_request_t *r,
    ngx_http_gcs_list_t *list, ngx_chain_t *out);
static ngx_int_t ngx_http_gcs_list_send(ngx_http_request_t *r,
    ngx_http_gcs_list_t *list, ngx_chain_t *out);
static ngx_uint_t ngx_http_gcs_list_shown(ngx_http_request_t *r,
    ngx_http_gcs_list_t *list);
static ngx_int_t ngx_http_gcs_list_continue(ngx_http_request_t *r,
    ngx_http_gcs_list_t *list, ngx_int_t rc);
static ngx_uint_t ngx_http_gcs_list_enough(ngx_http_request_t *r,
    ngx_http_gcs_list_t *list);
static ngx_int_t ngx_http_gcs_list_next(ngx_http_request_t *r,
    ngx_http_gcs_list_t *list);
static ngx_int_t ngx_http_gcs_list_finish(ngx_http_request_t *r,
    ngx_http_gcs_list_t *list, ngx_str_t *token);


static ngx_http_output_body_filter_pt  ngx_http_next_body_filter;


void
ngx_http_gcs_list_init(void)
{
    ngx_http_next_body_filter = ngx_http_top_body_filter;
    ngx_http_top_body_filter = ngx_http_gcs_list_body_filter;
}


static ngx_int_t
ngx_http_gcs_list_body_filter(ngx_http_request_t *r, ngx_chain_t *in)
{
    ngx_int_t             rc;
    ngx_http_gcs_ctx_t   *ctx;
    ngx_http_gcs_list_t  *list;

    ctx = ngx_http_get_module_ctx(r, ngx_http_gcs_proxy_module);
    list = ctx ? ctx->list : NULL;

    if (list == NULL || !list->active || list->finished
        || (r != r->main && r != list->sr))
    {
        return ngx_http_next_body_filter(r, in);
    }

    if (r == r->main && list->sr && !list->sr->done) {

        /* what a page has left to be read is written in its turn, by itself */

        return ngx_http_gcs_list_send(r, list, in);
    }

    if (ngx_http_gcs_list_queue(r, list, in) != NGX_OK) {
        return NGX_ERROR;
    }

    rc = ngx_http_gcs_list_pump(r, list);

    if (rc == NGX_ERROR || r != r->main) {
        return rc;
    }

    return ngx_http_gcs_list_continue(r, list, rc);
}


/* what has arrived; the end of a page is known by a buffer of its own */

static ngx_int_t
ngx_http_gcs_list_queue(ngx_http_request_t *r, ngx_http_gcs_list_t *list,
    ngx_chain_t *in)
{
    ngx_buf_t    *b;
    ngx_chain_t  *cl, **last;

    last = &list->in;

    while (*last) {
        last = &(*last)->next;
    }

    for ( /* void */ ; in; in = in->next) {

        b = in->buf;

        if (r == r->main ? b->last_buf : (b->last_in_chain && b->sync)) {
            list->ended = 1;
            list->last |= (r == r->main);
        }

        if (ngx_buf_special(b) || ngx_buf_size(b) == 0) {
            continue;
        }

        if (!ngx_buf_in_memory(b)) {
            ngx_log_error(NGX_LOG_ALERT, r->connection->log, 0,
                          "a listing is not in memory");
            return NGX_ERROR;
        }

        cl = ngx_alloc_chain_link(r->main->pool);
        if (cl == NULL) {
            return NGX_ERROR;
        }

        cl->buf = b;
        cl->next = NULL;
        *last = cl;
        last = &cl->next;
    }

    return NGX_OK;
}


/* reads and writes until nothing is left, or no buffer is free */

static ngx_int_t
ngx_http_gcs_list_pump(ngx_http_request_t *r, ngx_http_gcs_list_t *list)
{
    ngx_int_t     rc;
    ngx_chain_t  *out, **last;

    for ( ;; ) {
        out = NULL;
        last = &out;

        if (ngx_http_gcs_list_read(r, list, &last) == NGX_ERROR
            || ngx_http_gcs_list_flush(r, list, &last) != NGX_OK)
        {
            return NGX_ERROR;
        }

        rc = ngx_http_gcs_list_write(r, list, out);

        if (rc == NGX_ERROR) {
            return NGX_ERROR;
        }

        if (list->in == NULL) {

            /*
             * A filter that writes buffers of its own lets go of ours when it
             * is called for the same request again: not for another page.
             */

            if (list->busy) {
                r->buffered |= NGX_HTTP_GCS_LIST_BUFFERED;

            } else {
                r->buffered &= ~NGX_HTTP_GCS_LIST_BUFFERED;
            }

            return rc;
        }

        if (list->free == NULL) {
            r->buffered |= NGX_HTTP_GCS_LIST_BUFFERED;
            return NGX_AGAIN;
        }
    }
}


/* NGX_AGAIN: no buffer is free */

static ngx_int_t
ngx_http_gcs_list_read(ngx_http_request_t *r, ngx_http_gcs_list_t *list,
    ngx_chain_t ***last)
{
    u_char       *p;
    ngx_int_t     rc;
    ngx_buf_t    *b;
    ngx_chain_t  *cl;

    while (list->in) {

        if (list->pending) {

            rc = ngx_http_gcs_list_buffer(r, list);
            if (rc != NGX_OK) {
                return rc;
            }

            p = ngx_gcs_list_item(&list->page, &list->entry, list->buf->last,
                                  list->buf->end);

            if (p == NULL) {

                if (ngx_http_gcs_list_flush(r, list, last) != NGX_OK) {
                    return NGX_ERROR;
                }

                continue;
            }

            list->buf->last = p;
            list->pending = 0;
        }

        b = list->in->buf;

        rc = ngx_gcs_list_parse(&list->parser, &b->pos, b->last, &list->entry);

        if (rc == NGX_OK) {
            list->pending = ngx_http_gcs_list_shown(r, list);
            continue;
        }

        if (rc == NGX_ERROR) {
            ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                          "page %ui of the gcs listing of \"gs://%V/%V\" "
                          "cannot be read: %s, the answer ends here",
                          list->pages, &list->page.bucket, &list->prefix,
                          list->parser.reason);
            return NGX_ERROR;
        }

        cl = list->in;
        list->in = cl->next;
        ngx_free_chain(r->main->pool, cl);
    }

    return NGX_OK;
}


/* makes list->buf one to write to; the first has the head of the page */

static ngx_int_t
ngx_http_gcs_list_buffer(ngx_http_request_t *r, ngx_http_gcs_list_t *list)
{
    u_char       *p;
    ngx_buf_t    *b;
    ngx_chain_t  *cl;

    if (list->buf) {
        return NGX_OK;
    }

    if (list->free) {
        cl = list->free;
        list->free = cl->next;
        b = cl->buf;
        ngx_free_chain(r->main->pool, cl);

    } else if (list->bufs < NGX_HTTP_GCS_LIST_BUFS) {

        b = ngx_create_temp_buf(r->main->pool, NGX_HTTP_GCS_LIST_BUFFER);
        if (b == NULL) {
            return NGX_ERROR;
        }

        b->tag = (ngx_buf_tag_t) &ngx_http_gcs_proxy_module;
        list->bufs++;

    } else {
        return NGX_AGAIN;
    }

    b->flush = 0;
    b->last_buf = 0;

    list->buf = b;

    if (!list->begun) {

        p = ngx_gcs_list_head(&list->page, b->last, b->end);
        if (p == NULL) {
            return NGX_ERROR;
        }

        b->last = p;
        list->begun = 1;
    }

    return NGX_OK;
}


/* puts what has been written at the end of the chain */

static ngx_int_t
ngx_http_gcs_list_flush(ngx_http_request_t *r, ngx_http_gcs_list_t *list,
    ngx_chain_t ***last)
{
    ngx_chain_t  *cl;

    if (list->buf == NULL) {
        return NGX_OK;
    }

    if (list->buf->last == list->buf->pos && !list->buf->last_buf) {

        /* an entry that finds no room in an empty buffer: there is none */

        return list->pending ? NGX_ERROR : NGX_OK;
    }

    cl = ngx_alloc_chain_link(r->main->pool);
    if (cl == NULL) {
        return NGX_ERROR;
    }

    cl->buf = list->buf;
    cl->buf->flush = 1;
    cl->next = NULL;

    **last = cl;
    *last = &cl->next;

    list->buf = NULL;

    return NGX_OK;
}


static ngx_int_t
ngx_http_gcs_list_write(ngx_http_request_t *r, ngx_http_gcs_list_t *list,
    ngx_chain_t *out)
{
    ngx_int_t  rc;

    rc = ngx_http_gcs_list_send(r, list, out);

    ngx_chain_update_chains(r->main->pool, &list->free, &list->busy, &out,
                            (ngx_buf_tag_t) &ngx_http_gcs_proxy_module);

    return rc;
}


/*
 * What nginx allocates to send it may outlive the page: HTTP/2 takes the pool
 * of the request whose turn it is for that of the main request, which is true
 * of all subrequests but a page.
 */

static ngx_int_t
ngx_http_gcs_list_send(ngx_http_request_t *r, ngx_http_gcs_list_t *list,
    ngx_chain_t *out)
{
    ngx_int_t            rc;
    ngx_pool_t          *pool;
    ngx_http_request_t  *sr;

    sr = list->sr;

    if (sr == NULL) {
        return ngx_http_next_body_filter(r, out);
    }

    pool = sr->pool;
    sr->pool = r->main->pool;

    rc = ngx_http_next_body_filter(r, out);

    sr->pool = pool;

    return rc;
}


static ngx_uint_t
ngx_http_gcs_list_shown(ngx_http_request_t *r, ngx_http_gcs_list_t *list)
{
    ngx_str_t                *name;
#if (NGX_PCRE)
    ngx_http_gcs_loc_conf_t  *glcf;
#endif

    name = &list->entry.name;

    if (name->len < list->prefix.len
        || ngx_memcmp(name->data, list->prefix.data, list->prefix.len) != 0)
    {
        /* whatever the token was, this is not to be told */

        if (!list->foreign) {
            list->foreign = 1;

            ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                          "gcs listed names outside of \"gs://%V/%V\", "
                          "they are left out", &list->page.bucket,
                          &list->prefix);
        }

        return 0;
    }

    if (name->len == list->page.prefix.len) {

        /* an empty object that makes others see a folder */

        return 0;
    }

    if (!ngx_gcs_list_matches(name, list->page.prefix.len,
                              &list->page.filter))
    {
        return 0;
    }

#if (NGX_PCRE)

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);

    if (glcf->autoindex_filter && !list->entry.folder
        && ngx_regex_exec((ngx_regex_t *) glcf->autoindex_filter, name,
                          NULL, 0)
           < 0)
    {
        return 0;
    }

#endif

    return 1;
}


/* the main request goes on when a page has ended: with another, or the end */

static ngx_int_t
ngx_http_gcs_list_continue(ngx_http_request_t *r, ngx_http_gcs_list_t *list,
    ngx_int_t rc)
{
    ngx_str_t  token;

    if (!list->last || list->in) {
        return rc;
    }

    if (!list->ended || !ngx_gcs_list_done(&list->parser)) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "page %ui of the gcs listing of \"gs://%V/%V\" is not "
                      "complete, the answer ends here", list->pages,
                      &list->page.bucket, &list->prefix);
        return NGX_ERROR;
    }

    token = ngx_gcs_list_token(&list->parser);

    if (token.len == 0 || !list->whole || ngx_http_gcs_list_enough(r, list)) {
        return ngx_http_gcs_list_finish(r, list, &token);
    }

    if (r->buffered) {
        return rc;
    }

    if (token.len == list->token.len
        && ngx_memcmp(token.data, list->token.data, token.len) == 0)
    {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "the gcs listing of \"gs://%V/%V\" goes round in "
                      "circles, the answer ends here", &list->page.bucket,
                      &list->prefix);
        return NGX_ERROR;
    }

    ngx_memcpy(list->token.data, token.data, token.len);
    list->token.len = token.len;

    return (ngx_http_gcs_list_next(r, list) == NGX_OK) ? rc : NGX_ERROR;
}


/* where the operator wants it to end: the client gets the token instead */

static ngx_uint_t
ngx_http_gcs_list_enough(ngx_http_request_t *r, ngx_http_gcs_list_t *list)
{
    ngx_http_gcs_loc_conf_t  *glcf;

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);

    return (glcf->autoindex_requests
            && list->pages >= (ngx_uint_t) glcf->autoindex_requests)
           || (glcf->autoindex_timeout
               && ngx_current_msec - list->start >= glcf->autoindex_timeout);
}


/*
 * A subrequest is allocated from the pool of its parent and uses it, too: a
 * million objects are a thousand pages.  So the parent has another pool for a
 * moment, and that goes when the page after it has been written.  Variables
 * that the subrequest evaluates are in that pool, and must not be the
 * parent's.
 */

static ngx_int_t
ngx_http_gcs_list_next(ngx_http_request_t *r, ngx_http_gcs_list_t *list)
{
    size_t                      size;
    ngx_int_t                   rc;
    ngx_pool_t                 *pool;
    ngx_http_request_t         *sr;
    ngx_http_variable_value_t  *variables;
    ngx_http_core_main_conf_t  *cmcf;

    if (list->previous) {
        ngx_destroy_pool(list->previous);
    }

    list->previous = list->pool;

    list->pool = ngx_create_pool(NGX_DEFAULT_POOL_SIZE, r->connection->log);
    if (list->pool == NULL) {
        return NGX_ERROR;
    }

    cmcf = ngx_http_get_module_main_conf(r, ngx_http_core_module);

    size = cmcf->variables.nelts * sizeof(ngx_http_variable_value_t);

    variables = ngx_palloc(list->pool, ngx_max(size, 1));
    if (variables == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(variables, r->variables, size);

    pool = r->pool;
    r->pool = list->pool;

    rc = ngx_http_subrequest(r, &r->uri, &r->args, &sr, NULL,
                             NGX_HTTP_SUBREQUEST_CLONE);

    r->pool = pool;

    if (rc != NGX_OK) {
        return NGX_ERROR;
    }

    sr->variables = variables;

    /* an error must not bring another page into the listing */

    sr->error_page = 1;

    list->sr = sr;

    /* or nginx takes us for ready: a page may not be among the postponed */

    r->buffered |= NGX_HTTP_GCS_LIST_BUFFERED;

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "http gcs listing, page %ui", list->pages + 1);

    return NGX_OK;
}


static ngx_int_t
ngx_http_gcs_list_finish(ngx_http_request_t *r, ngx_http_gcs_list_t *list,
    ngx_str_t *token)
{
    u_char       *p;
    ngx_int_t     rc;
    ngx_chain_t  *out, **last;

    rc = ngx_http_gcs_list_buffer(r, list);

    if (rc == NGX_AGAIN) {
        r->buffered |= NGX_HTTP_GCS_LIST_BUFFERED;
        return NGX_AGAIN;
    }

    if (rc == NGX_ERROR) {
        return NGX_ERROR;
    }

    p = ngx_gcs_list_tail(&list->page, token, list->buf->last, list->buf->end);
    if (p == NULL) {
        return NGX_ERROR;
    }

    list->buf->last = p;
    list->finished = 1;

    r->buffered &= ~NGX_HTTP_GCS_LIST_BUFFERED;

    if (p == list->buf->pos) {

        /* lines end without a word, and an empty buffer is not to be sent */

        return ngx_http_send_special(r, NGX_HTTP_LAST);
    }

    list->buf->last_buf = 1;

    out = NULL;
    last = &out;

    if (ngx_http_gcs_list_flush(r, list, &last) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_http_gcs_list_write(r, list, out);
}
