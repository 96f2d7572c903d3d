
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "ngx_http_gcs.h"


/*
 * A wrapper around the stock upstream of one request to GCS.  It is put on
 * in the balancer's "init" (the extension point of load balancing modules,
 * called once the request is made and before it is sent), and then
 *
 *  - looks at the response header before nginx acts on it,
 *  - repeats the request inside the same upstream: with a fresh token after
 *    401, after a pause where GCS is overloaded, without Range where a part
 *    would be the wrong answer,
 *  - makes nginx answer an error with its own page instead of Google's.
 *
 * A wait is a hold: process_header() returns NGX_AGAIN and the connection
 * is made deaf, so that its timer and the client's abort still end it.  When
 * the wait is over nginx is told that GCS has answered a status upon which it
 * tries "the next upstream", which is the same again.
 */


/*
 * nginx treats a 404 as an answer, not as a failure of the peer: trying the
 * next one after it leaves no mark on the balancer.  What may be asked again
 * has been decided by then, whatever its method.
 */
#define NGX_HTTP_GCS_RETRY      NGX_HTTP_NOT_FOUND
#define NGX_HTTP_GCS_RETRY_FT                                                 \
    (NGX_HTTP_UPSTREAM_FT_HTTP_404|NGX_HTTP_UPSTREAM_FT_NON_IDEMPOTENT)


static ngx_int_t ngx_http_gcs_init_upstream(ngx_conf_t *cf,
    ngx_http_upstream_srv_conf_t *us);
static ngx_int_t ngx_http_gcs_init_peer(ngx_http_request_t *r,
    ngx_http_upstream_srv_conf_t *us);
static void ngx_http_gcs_wrap_peer(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);
static ngx_int_t ngx_http_gcs_get_peer(ngx_peer_connection_t *pc, void *data);
static void ngx_http_gcs_free_peer(ngx_peer_connection_t *pc, void *data,
    ngx_uint_t state);
static ngx_int_t ngx_http_gcs_set_session(ngx_peer_connection_t *pc,
    void *data);
static void ngx_http_gcs_save_session(ngx_peer_connection_t *pc, void *data);
static ngx_int_t ngx_http_gcs_process_header(ngx_http_request_t *r);
static ssize_t ngx_http_gcs_recv(ngx_connection_t *c, u_char *buf,
    size_t size);
static void ngx_http_gcs_release(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);
static ngx_int_t ngx_http_gcs_reinit_request(ngx_http_request_t *r);
static void ngx_http_gcs_finalize_request(ngx_http_request_t *r,
    ngx_int_t rc);


ngx_int_t
ngx_http_gcs_upstream_wrap(ngx_conf_t *cf, ngx_http_upstream_srv_conf_t *us)
{
    ngx_http_gcs_srv_conf_t  *gscf;

    gscf = ngx_http_conf_upstream_srv_conf(us, ngx_http_gcs_proxy_module);

    if (gscf->original_init_upstream) {
        return NGX_OK;
    }

    gscf->original_init_upstream = us->peer.init_upstream
                                   ? us->peer.init_upstream
                                   : ngx_http_upstream_init_round_robin;

    us->peer.init_upstream = ngx_http_gcs_init_upstream;

    return NGX_OK;
}


static ngx_int_t
ngx_http_gcs_init_upstream(ngx_conf_t *cf, ngx_http_upstream_srv_conf_t *us)
{
    ngx_http_gcs_srv_conf_t  *gscf;

    gscf = ngx_http_conf_upstream_srv_conf(us, ngx_http_gcs_proxy_module);

    if (gscf->original_init_upstream(cf, us) != NGX_OK) {
        return NGX_ERROR;
    }

    gscf->original_init_peer = us->peer.init;
    us->peer.init = ngx_http_gcs_init_peer;

    return NGX_OK;
}


static ngx_int_t
ngx_http_gcs_init_peer(ngx_http_request_t *r, ngx_http_upstream_srv_conf_t *us)
{
    ngx_http_gcs_ctx_t        *ctx;
    ngx_http_upstream_t       *u;
    ngx_http_gcs_srv_conf_t   *gscf;
    ngx_http_core_loc_conf_t  *clcf;

    gscf = ngx_http_conf_upstream_srv_conf(us, ngx_http_gcs_proxy_module);

    if (gscf->original_init_peer(r, us) != NGX_OK) {
        return NGX_ERROR;
    }

    ctx = ngx_http_get_module_ctx(r, ngx_http_gcs_proxy_module);

    if (ctx == NULL || !ctx->passed) {

        /* a user's upstream, asked by a "proxy_pass" of theirs */

        return NGX_OK;
    }

    u = r->upstream;
    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    if (ctx->identity->signature || ctx->api) {

        /* nginx logs it with errors, and it is a key or may have one */

        u->uri = ctx->uri;
    }

    ctx->us = us;
    ngx_http_gcs_wrap_peer(r, ctx);

    if (u->process_header == ngx_http_gcs_process_header) {

        /* again, for a retry */

        return NGX_OK;
    }

    if (ngx_http_gcs_proxied_uri(r, ctx) != NGX_OK) {
        return NGX_ERROR;
    }

    ctx->upstream = u;
    ctx->cacheable = u->cacheable;

    ctx->process_header = u->process_header;
    ctx->reinit_request = u->reinit_request;
    ctx->finalize_request = u->finalize_request;

    u->process_header = ngx_http_gcs_process_header;
    u->reinit_request = ngx_http_gcs_reinit_request;
    u->finalize_request = ngx_http_gcs_finalize_request;

    /*
     * Large objects pass twice as fast without buffers, but a cache, a store
     * and rate limits work with them only.
     */

    if (!u->cacheable && !u->store && !u->conf->limit_rate
        && clcf->limit_rate == NULL && !r->limit_rate_set)
    {
        u->buffering = 0;
    }

    if (ctx->listing) {
        u->buffering = 0;
        ngx_str_set(&u->method, "GET");
    }

    return NGX_OK;
}


static void
ngx_http_gcs_wrap_peer(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    ngx_peer_connection_t  *pc;

    pc = &r->upstream->peer;

    ctx->peer_data = pc->data;
    ctx->get = pc->get;
    ctx->free = pc->free;
    ctx->set_session = pc->set_session;
    ctx->save_session = pc->save_session;

    pc->data = ctx;
    pc->get = ngx_http_gcs_get_peer;
    pc->free = ngx_http_gcs_free_peer;
    pc->set_session = ngx_http_gcs_set_session;
    pc->save_session = ngx_http_gcs_save_session;
}


static ngx_int_t
ngx_http_gcs_get_peer(ngx_peer_connection_t *pc, void *data)
{
    ngx_http_gcs_ctx_t *ctx = data;

    ngx_int_t                   rc;
    ngx_str_t                   token;
    ngx_http_request_t         *r;
    ngx_http_upstream_state_t  *state;

    r = ctx->request;

    if (ctx->pending) {
        rc = ngx_gcs_token_get(ctx->identity->token, &token,
                               &ctx->generation);

        if (rc == NGX_DECLINED) {

            /* not in the cache, and no token will come: GCS is not asked */

            (void) ngx_http_gcs_token_failed(r, ctx, ctx->identity->token,
                                             rc);

            pc->tries = 0;
            return NGX_DECLINED;
        }
    }

    ctx->attempts++;
    ctx->answered = 0;

    if (ctx->retry) {

        /* for the access log: GCS's answer, not what nginx was told */

        state = r->upstream_states->elts;
        state[ctx->attempt].status = ctx->status;
    }

    return ctx->get(pc, ctx->peer_data);
}


static void
ngx_http_gcs_free_peer(ngx_peer_connection_t *pc, void *data, ngx_uint_t state)
{
    ngx_http_gcs_ctx_t *ctx = data;

    ngx_uint_t           safe, rewind;
    ngx_http_request_t  *r;

    r = ctx->request;
    safe = ngx_http_gcs_repeatable(r, ctx);

    ctx->free(pc, ctx->peer_data, state);

    /* once: the new attempt may fail before anything is sent */

    rewind = ctx->rewind;
    ctx->rewind = 0;

    if ((state & NGX_PEER_FAILED) && r->upstream->request_sent && !safe) {

        /*
         * It may have been done: a precondition would fail now, or it would
         * undo another write.  For a kept connection that was closed nginx
         * would add a try.
         */

        pc->tries = 0;
        pc->cached = 0;
    }

    if (!rewind && !(safe && pc->cached && (state & NGX_PEER_FAILED))) {
        return;
    }

    /*
     * Once more, whatever the balancer thinks: for a retry, or because a kept
     * connection was found closed, which says nothing of its peer.  All of it
     * starts afresh: a peer that has been tried would not be given out again.
     * Since nginx 1.29.7 the keepalive module may stand around us, so the
     * outermost init is called, not the one that we stand around.
     */

    pc->data = NULL;

    if (ctx->us->peer.init(r, ctx->us) != NGX_OK) {
        pc->data = data;
        pc->tries = 0;
        return;
    }

    if (pc->tries == 0) {
        pc->tries = 1;
    }
}


static ngx_int_t
ngx_http_gcs_set_session(ngx_peer_connection_t *pc, void *data)
{
    ngx_http_gcs_ctx_t *ctx = data;

    return ctx->set_session(pc, ctx->peer_data);
}


static void
ngx_http_gcs_save_session(ngx_peer_connection_t *pc, void *data)
{
    ngx_http_gcs_ctx_t *ctx = data;

    ctx->save_session(pc, ctx->peer_data);
}


static ngx_int_t
ngx_http_gcs_process_header(ngx_http_request_t *r)
{
    ngx_int_t            rc;
    ngx_uint_t           version;
    ngx_http_gcs_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_gcs_proxy_module);

    if (!r->cached) {

        switch (ctx->step) {

        case NGX_HTTP_GCS_BODY:
            return ngx_http_gcs_judge_error(r, ctx);

        case NGX_HTTP_GCS_HOLD:
            return NGX_AGAIN;

        case NGX_HTTP_GCS_RESUME:
            ngx_http_gcs_release(r, ctx);

            if (ctx->result == 0) {
                return ngx_http_gcs_retry(r, ctx);
            }

            return ngx_http_gcs_fail(r, ctx, ctx->result);

        default: /* NGX_HTTP_GCS_HEADER */
            break;
        }
    }

    version = r->http_version;

    rc = ngx_http_gcs_stock(r, &ctx->process_header, ctx->process_header);

    if (r->http_version != version) {

        /*
         * What is not HTTP the stock code takes for HTTP/0.9, and answers the
         * client in kind
         */

        r->http_version = version;
        rc = NGX_HTTP_UPSTREAM_INVALID_HEADER;
    }

    if (rc == NGX_OK && ctx->taken
        && ngx_http_gcs_takeover_answer(r, ctx) != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (rc != NGX_OK || r->cached) {
        return rc;
    }

    return ngx_http_gcs_judge(r, ctx);
}


ngx_int_t
ngx_http_gcs_stock(ngx_http_request_t *r, ngx_http_handler_pt *process_header,
    ngx_http_handler_pt handler)
{
    ngx_int_t             rc;
    ngx_http_handler_pt   ours;
    ngx_http_upstream_t  *u;

    u = r->upstream;
    ours = u->process_header;

    u->process_header = *process_header;

    rc = handler(r);

    *process_header = u->process_header;
    u->process_header = ours;

    return rc;
}


ngx_int_t
ngx_http_gcs_hold(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    ngx_connection_t     *c;
    ngx_http_upstream_t  *u;

    u = r->upstream;
    c = u->peer.connection;

    ctx->step = NGX_HTTP_GCS_HOLD;
    ctx->recv = c->recv;
    c->recv = ngx_http_gcs_recv;

    /* a full buffer would be taken for a header that is too large */

    u->buffer.pos = u->buffer.start;
    u->buffer.last = u->buffer.start;

    return NGX_AGAIN;
}


static ssize_t
ngx_http_gcs_recv(ngx_connection_t *c, u_char *buf, size_t size)
{
    ngx_http_gcs_ctx_t  *ctx;
    ngx_http_request_t  *r;

    r = c->data;
    ctx = ngx_http_get_module_ctx(r, ngx_http_gcs_proxy_module);

    if (ctx->step == NGX_HTTP_GCS_RESUME && size) {
        *buf = LF;
        return 1;
    }

    c->read->ready = 0;

    return NGX_AGAIN;
}


/*
 * Ends a hold, however it ends, while the connection is still the request's:
 * a keepalive cache must not get a deaf one.
 */

static void
ngx_http_gcs_release(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    ngx_http_gcs_upstream_stop(ctx);

    ctx->step = NGX_HTTP_GCS_HEADER;

    if (ctx->recv) {
        if (r->upstream->peer.connection) {
            r->upstream->peer.connection->recv = ctx->recv;

            /* whatever came meanwhile was not read: a keepalive cache looks */

            r->upstream->peer.connection->read->ready = 1;
        }

        ctx->recv = NULL;
    }
}


void
ngx_http_gcs_upstream_stop(ngx_http_gcs_ctx_t *ctx)
{
    ngx_gcs_token_cancel(&ctx->waiter);

    if (ctx->timer.timer_set) {
        ngx_del_timer(&ctx->timer);
    }

    if (ctx->timer.posted) {
        ngx_delete_posted_event(&ctx->timer);
    }
}


void
ngx_http_gcs_resume(ngx_http_gcs_ctx_t *ctx, ngx_uint_t result)
{
    ngx_connection_t     *c;
    ngx_http_request_t   *r;
    ngx_http_upstream_t  *u;

    r = ctx->request;
    c = r->connection;
    u = r->upstream;

    ctx->result = result;
    ctx->step = NGX_HTTP_GCS_RESUME;

    /* ngx_http_upstream_process_header() */

    u->read_event_handler(r, u);

    ngx_http_run_posted_requests(c);
}


/* makes nginx try the next upstream, when process_header() has returned */

ngx_int_t
ngx_http_gcs_retry(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    ngx_http_upstream_t       *u;
    ngx_http_upstream_conf_t  *ucf;

    u = r->upstream;

    ucf = ngx_palloc(r->pool, sizeof(ngx_http_upstream_conf_t));
    if (ucf == NULL) {
        return NGX_ERROR;
    }

    *ucf = *u->conf;
    ucf->next_upstream |= NGX_HTTP_GCS_RETRY_FT;
    ucf->next_upstream_timeout = 0;

    ctx->conf = u->conf;
    u->conf = ucf;

    ctx->retry = 1;
    ctx->rewind = 1;
    ctx->attempt = r->upstream_states->nelts - 1;
    ngx_str_null(&ctx->error);

    u->headers_in.status_n = NGX_HTTP_GCS_RETRY;
    u->peer.tries = 2;

    return NGX_OK;
}


static ngx_int_t
ngx_http_gcs_reinit_request(ngx_http_request_t *r)
{
    ngx_int_t             rc;
    ngx_http_gcs_ctx_t   *ctx;
    ngx_http_upstream_t  *u;

    u = r->upstream;
    ctx = ngx_http_get_module_ctx(r, ngx_http_gcs_proxy_module);

    /* a hold that a timeout has ended: that connection is closed */

    ctx->recv = NULL;
    ngx_http_gcs_release(r, ctx);

    ngx_http_gcs_restore_conf(r, ctx);

    if (ctx->header) {

        /* not this answer is sent, but a stale one from the cache */

        ctx->header->hash = 0;
        ctx->header = NULL;
    }

    rc = ngx_http_gcs_stock(r, &ctx->process_header, ctx->reinit_request);

    if (rc != NGX_OK || !ctx->retry) {
        return rc;
    }

    ctx->retry = 0;
    u->conf = ctx->conf;

    /* what the error has said of caching is not said of the object */

    u->cacheable = ctx->cacheable;

    if (r->cache) {
        r->cache->valid_sec = 0;
        r->cache->updating_sec = 0;
        r->cache->error_sec = 0;
    }

    /* with a fresh token, with or without Range */

    u->request_bufs = r->request_body ? r->request_body->bufs : NULL;

    rc = ngx_http_gcs_proxied(r, ctx, u->create_request);

    if (ctx->identity->signature || ctx->api) {
        u->uri = ctx->uri;
    }

    return rc;
}


static void
ngx_http_gcs_finalize_request(ngx_http_request_t *r, ngx_int_t rc)
{
    ngx_http_gcs_ctx_t  *ctx;

    ctx = ngx_http_gcs_wrapped_ctx(r);

    ngx_http_gcs_release(r, ctx);
    ngx_http_gcs_restore_conf(r, ctx);
    ngx_http_gcs_status_upstream(r, ctx);

    if (ctx->attempts && !ctx->answered
        && !(r->method & NGX_HTTP_GCS_READ))
    {
        /* GCS may have done it all the same */

        ngx_http_gcs_written(r, ctx);
    }

    if (ctx->error.len == 0) {

        /* nginx has logged the cause */

        if (rc == NGX_HTTP_BAD_GATEWAY) {
            ngx_str_set(&ctx->error, "upstream_error");

        } else if (rc == NGX_HTTP_GATEWAY_TIME_OUT) {
            ngx_str_set(&ctx->error, "upstream_timeout");
        }
    }

    if (r != r->main && r->upstream->header_sent
        && (rc == NGX_ERROR || rc >= NGX_HTTP_SPECIAL_RESPONSE)
        && (ctx->listing || ngx_http_gcs_slice_range(r).len))
    {
        /*
         * A slice, or a page, that was cut off: nginx would go on with the
         * next one, and the client would not see the gap.
         */

        r->connection->error = 1;
    }

    ctx->finalize_request(r, rc);
}
