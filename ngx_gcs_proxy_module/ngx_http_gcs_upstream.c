
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


#define NGX_HTTP_GCS_ATTEMPTS   3       /* requests for one answer */
#define NGX_HTTP_GCS_PAUSE      200     /* milliseconds, then doubled */
#define NGX_HTTP_GCS_PAUSE_MAX  2000    /* of Retry-After, milliseconds */

/*
 * nginx treats a 404 as an answer, not as a failure of the peer: trying the
 * next one after it leaves no mark on the balancer
 */
#define NGX_HTTP_GCS_RETRY      NGX_HTTP_NOT_FOUND
#define NGX_HTTP_GCS_RETRY_FT   NGX_HTTP_UPSTREAM_FT_HTTP_404


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
static ngx_int_t ngx_http_gcs_judge(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);
static ngx_int_t ngx_http_gcs_judge_range(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);
static ngx_int_t ngx_http_gcs_judge_error(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);
static ngx_int_t ngx_http_gcs_unauthorized(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);
static ngx_uint_t ngx_http_gcs_may_retry(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);
static ngx_msec_t ngx_http_gcs_pause(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);
static ngx_int_t ngx_http_gcs_hold(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);
static ssize_t ngx_http_gcs_recv(ngx_connection_t *c, u_char *buf,
    size_t size);
static void ngx_http_gcs_release(ngx_http_gcs_ctx_t *ctx,
    ngx_connection_t *c);
static void ngx_http_gcs_resume(ngx_http_gcs_ctx_t *ctx, ngx_uint_t result);
static void ngx_http_gcs_token_wake(ngx_gcs_token_waiter_t *waiter,
    ngx_int_t rc);
static void ngx_http_gcs_timer_wake(ngx_event_t *ev);
static ngx_int_t ngx_http_gcs_retry(ngx_http_request_t *r,
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

    ctx->us = us;
    ngx_http_gcs_wrap_peer(r, ctx);

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

    ngx_int_t            rc;
    ngx_str_t            token;
    ngx_http_request_t  *r;

    r = ctx->request;

    if (ctx->pending) {
        rc = ngx_gcs_token_get(ctx->identity->token, &token,
                               &ctx->generation);

        if (rc == NGX_DECLINED) {

            /* not in the cache, and no token will come: GCS is not asked */

            (void) ngx_http_gcs_token_failed(r, ctx, rc);

            pc->tries = 0;
            return NGX_DECLINED;
        }
    }

    ctx->attempts++;

    return ctx->get(pc, ctx->peer_data);
}


static void
ngx_http_gcs_free_peer(ngx_peer_connection_t *pc, void *data, ngx_uint_t state)
{
    ngx_http_gcs_ctx_t *ctx = data;

    ngx_http_request_t       *r;
    ngx_http_gcs_srv_conf_t  *gscf;

    r = ctx->request;

    ngx_http_gcs_release(ctx, pc->connection);

    ctx->free(pc, ctx->peer_data, state);

    if (!ctx->retry) {
        return;
    }

    /*
     * Once more, whatever the balancer thinks: it starts afresh, as a single
     * peer or one that has been tried would not be given out again.
     */

    gscf = ngx_http_conf_upstream_srv_conf(ctx->us, ngx_http_gcs_proxy_module);

    pc->data = NULL;

    if (gscf->original_init_peer(r, ctx->us) != NGX_OK) {
        pc->data = ctx;
        pc->tries = 0;
        return;
    }

    ngx_http_gcs_wrap_peer(r, ctx);

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
    ngx_int_t             rc;
    ngx_http_gcs_ctx_t   *ctx;
    ngx_http_upstream_t  *u;

    u = r->upstream;
    ctx = ngx_http_get_module_ctx(r, ngx_http_gcs_proxy_module);

    if (!r->cached) {

        switch (ctx->step) {

        case NGX_HTTP_GCS_BODY:
            return ngx_http_gcs_judge_error(r, ctx);

        case NGX_HTTP_GCS_HOLD:
            return NGX_AGAIN;

        case NGX_HTTP_GCS_RESUME:
            ctx->step = NGX_HTTP_GCS_HEADER;

            if (ctx->result == 0) {
                return ngx_http_gcs_retry(r, ctx);
            }

            return ngx_http_gcs_fail(r, ctx, ctx->result);

        default: /* NGX_HTTP_GCS_HEADER */
            break;
        }
    }

    u->process_header = ctx->process_header;

    rc = u->process_header(r);

    /* the stock code moves on to its next handler after the status line */

    ctx->process_header = u->process_header;
    u->process_header = ngx_http_gcs_process_header;

    if (rc != NGX_OK || r->cached) {
        return rc;
    }

    return ngx_http_gcs_judge(r, ctx);
}


static ngx_int_t
ngx_http_gcs_judge(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    ngx_uint_t            status;
    ngx_http_upstream_t  *u;

    u = r->upstream;
    status = u->headers_in.status_n;

    ctx->status = status;

    if (status == NGX_HTTP_PARTIAL_CONTENT) {
        return ngx_http_gcs_judge_range(r, ctx);
    }

    if ((status >= NGX_HTTP_OK && status < NGX_HTTP_SPECIAL_RESPONSE)
        || status == NGX_HTTP_NOT_MODIFIED)
    {
        return NGX_OK;
    }

    ctx->step = NGX_HTTP_GCS_BODY;

    return ngx_http_gcs_judge_error(r, ctx);
}


/*
 * A part that belongs to another version than the client's If-Range names:
 * whether GCS heeds that header is not documented.  Then the whole object is
 * the right answer (RFC 9110, 13.1.5), and it is asked for.
 */

static ngx_int_t
ngx_http_gcs_judge_range(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    ngx_str_t             *validator;
    ngx_table_elt_t       *h;
    ngx_http_upstream_t   *u;

    u = r->upstream;
    h = r->headers_in.if_range;

    if (!ctx->ranged || h == NULL) {
        return NGX_OK;
    }

    if (h->value.len && h->value.data[h->value.len - 1] == '"') {
        validator = u->headers_in.etag ? &u->headers_in.etag->value : NULL;

    } else {
        validator = u->headers_in.last_modified
                    ? &u->headers_in.last_modified->value : NULL;
    }

    if (validator
        && validator->len == h->value.len
        && ngx_memcmp(validator->data, h->value.data, h->value.len) == 0
        && !(h->value.len > 1 && h->value.data[0] == 'W'
             && h->value.data[1] == '/'))
    {
        return NGX_OK;
    }

    ngx_log_debug0(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "http gcs if-range does not match, asking without range");

    ctx->no_range = 1;

    return ngx_http_gcs_retry(r, ctx);
}


/* an error: what it says is read to the end, so that its connection is kept */

static ngx_int_t
ngx_http_gcs_judge_error(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    ngx_int_t    rc;
    ngx_msec_t   pause;

    rc = ngx_http_gcs_read_error(r, ctx);

    if (rc == NGX_AGAIN) {
        return NGX_AGAIN;
    }

    ctx->step = NGX_HTTP_GCS_HEADER;

    if (ctx->status == NGX_HTTP_UNAUTHORIZED
        || (ctx->pending && ctx->status == NGX_HTTP_FORBIDDEN))
    {
        return ngx_http_gcs_unauthorized(r, ctx);
    }

    if ((ctx->status == NGX_HTTP_REQUEST_TIME_OUT
         || ctx->status == NGX_HTTP_TOO_MANY_REQUESTS
         || ctx->status >= NGX_HTTP_INTERNAL_SERVER_ERROR)
        && ngx_http_gcs_may_retry(r, ctx)
        && (r->method & NGX_HTTP_GCS_READ))
    {
        pause = ngx_http_gcs_pause(r, ctx);

        if (pause) {
            ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                          "gcs responded %ui \"%V\", trying again in %M ms",
                          ctx->status, &ctx->error, pause);

            ctx->timer.handler = ngx_http_gcs_timer_wake;
            ctx->timer.data = ctx;
            ctx->timer.log = r->connection->log;

            ngx_add_timer(&ctx->timer, pause);

            return ngx_http_gcs_hold(r, ctx);
        }
    }

    return ngx_http_gcs_fail(r, ctx, ngx_http_gcs_map_status(ctx->status));
}


static ngx_int_t
ngx_http_gcs_unauthorized(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    ngx_int_t                 rc;
    ngx_str_t                 value;
    ngx_gcs_token_t          *token;
    ngx_http_gcs_loc_conf_t  *glcf;

    token = ctx->identity->token;

    if (token == NULL || ctx->reauthorized
        || r->request_body_no_buffering
        || (!ctx->pending
            && ngx_gcs_token_reject(token, ctx->generation) != NGX_OK))
    {
        return ngx_http_gcs_fail(r, ctx, NGX_HTTP_BAD_GATEWAY);
    }

    ctx->reauthorized = !ctx->pending;

    rc = ngx_gcs_token_get(token, &value, &ctx->generation);

    if (rc == NGX_OK) {
        return ngx_http_gcs_retry(r, ctx);
    }

    if (rc == NGX_AGAIN) {
        glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);

        ctx->waiter.handler = ngx_http_gcs_token_wake;
        ctx->waiter.data = ctx;
        ctx->waiter.log = r->connection->log;

        ngx_gcs_token_wait(token, &ctx->waiter, glcf->token_timeout);

        return ngx_http_gcs_hold(r, ctx);
    }

    ctx->result = ngx_http_gcs_token_failed(r, ctx, rc);

    return ngx_http_gcs_fail(r, ctx, ctx->result);
}


/* as the directives proxy_next_upstream* of the user allow */

static ngx_uint_t
ngx_http_gcs_may_retry(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    ngx_msec_t                 timeout;
    ngx_uint_t                 tries;
    ngx_http_upstream_conf_t  *ucf;

    ucf = r->upstream->conf;

    if (r->request_body_no_buffering
        || (ucf->next_upstream & NGX_HTTP_UPSTREAM_FT_OFF))
    {
        return 0;
    }

    timeout = ucf->next_upstream_timeout;

    if (timeout
        && ngx_current_msec - r->upstream->peer.start_time >= timeout)
    {
        return 0;
    }

    tries = ucf->next_upstream_tries;

    if (tries == 0 || tries > NGX_HTTP_GCS_ATTEMPTS) {
        tries = NGX_HTTP_GCS_ATTEMPTS;
    }

    return ctx->attempts < tries;
}


/* milliseconds to wait; 0: longer than a client should be kept */

static ngx_msec_t
ngx_http_gcs_pause(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    ngx_int_t    seconds;
    ngx_msec_t   pause, timeout;
    ngx_str_t   *value;

    pause = NGX_HTTP_GCS_PAUSE << (ctx->attempts - 1);

    /* half of it by chance, so that clients do not come back together */

    pause = pause / 2 + (ngx_msec_t) ngx_random() % pause;

    value = ngx_http_gcs_upstream_header(r, "retry-after");

    if (value) {
        seconds = ngx_atoi(value->data, value->len);

        if (seconds == NGX_ERROR || seconds * 1000 > NGX_HTTP_GCS_PAUSE_MAX) {
            return 0;
        }

        pause += seconds * 1000;
    }

    timeout = r->upstream->conf->next_upstream_timeout;

    if (timeout
        && ngx_current_msec - r->upstream->peer.start_time + pause >= timeout)
    {
        return 0;
    }

    return pause;
}


static ngx_int_t
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


/* ends a hold, however it ends */

static void
ngx_http_gcs_release(ngx_http_gcs_ctx_t *ctx, ngx_connection_t *c)
{
    ngx_http_gcs_upstream_stop(ctx);

    if (ctx->recv) {

        if (c) {
            c->recv = ctx->recv;
        }

        ctx->recv = NULL;
        ctx->step = NGX_HTTP_GCS_HEADER;
    }
}


void
ngx_http_gcs_upstream_stop(ngx_http_gcs_ctx_t *ctx)
{
    ngx_gcs_token_cancel(&ctx->waiter);

    if (ctx->timer.timer_set) {
        ngx_del_timer(&ctx->timer);
    }
}


static void
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


static void
ngx_http_gcs_token_wake(ngx_gcs_token_waiter_t *waiter, ngx_int_t rc)
{
    ngx_uint_t           result;
    ngx_http_request_t  *r;
    ngx_http_gcs_ctx_t  *ctx;

    ctx = waiter->data;
    r = ctx->request;

    ngx_http_set_log_request(r->connection->log, r);

    result = (rc == NGX_OK) ? 0 : ngx_http_gcs_token_failed(r, ctx, rc);

    ngx_http_gcs_resume(ctx, result);
}


static void
ngx_http_gcs_timer_wake(ngx_event_t *ev)
{
    ngx_http_gcs_ctx_t *ctx = ev->data;

    ngx_http_set_log_request(ctx->request->connection->log, ctx->request);

    ngx_http_gcs_resume(ctx, 0);
}


/* makes nginx try the next upstream, when process_header() has returned */

static ngx_int_t
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

    u->conf = ucf;

    ctx->retry = 1;
    ngx_str_null(&ctx->error);

    u->headers_in.status_n = NGX_HTTP_GCS_RETRY;
    u->peer.tries = 2;

    return NGX_OK;
}


static ngx_int_t
ngx_http_gcs_reinit_request(ngx_http_request_t *r)
{
    ngx_int_t                   rc;
    ngx_http_gcs_ctx_t         *ctx;
    ngx_http_upstream_t        *u;
    ngx_http_upstream_state_t  *state;

    u = r->upstream;
    ctx = ngx_http_get_module_ctx(r, ngx_http_gcs_proxy_module);

    ngx_http_gcs_restore_conf(r, ctx);

    if (ctx->header) {

        /* not this answer is sent, but a stale one from the cache */

        ctx->header->hash = 0;
        ctx->header = NULL;
    }

    rc = ctx->reinit_request(r);

    ctx->process_header = u->process_header;
    u->process_header = ngx_http_gcs_process_header;
    ctx->step = NGX_HTTP_GCS_HEADER;

    if (rc != NGX_OK || !ctx->retry) {
        return rc;
    }

    ctx->retry = 0;

    /* for the access log: what GCS has answered, not what nginx was told */

    if (r->upstream_states->nelts > 1) {
        state = r->upstream_states->elts;
        state[r->upstream_states->nelts - 2].status = ctx->status;
    }

    /* with a fresh token, with or without Range */

    u->request_bufs = r->request_body ? r->request_body->bufs : NULL;

    return u->create_request(r);
}


static void
ngx_http_gcs_finalize_request(ngx_http_request_t *r, ngx_int_t rc)
{
    ngx_http_gcs_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_gcs_proxy_module);

    ngx_http_gcs_restore_conf(r, ctx);

    if (ctx->error.len == 0) {

        /* nginx has logged the cause */

        if (rc == NGX_HTTP_BAD_GATEWAY) {
            ngx_str_set(&ctx->error, "upstream_error");

        } else if (rc == NGX_HTTP_GATEWAY_TIME_OUT) {
            ngx_str_set(&ctx->error, "upstream_timeout");
        }
    }

    ctx->finalize_request(r, rc);
}
