
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "ngx_http_gcs.h"


/* what is done about an answer of GCS, see ngx_http_gcs_upstream.c */


#define NGX_HTTP_GCS_ATTEMPTS   3       /* requests for one answer */
#define NGX_HTTP_GCS_PAUSE      200     /* milliseconds, then doubled */
#define NGX_HTTP_GCS_PAUSE_MAX  2000    /* of Retry-After, milliseconds */


static ngx_int_t ngx_http_gcs_judge_range(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);
static ngx_uint_t ngx_http_gcs_is_gzip(ngx_http_request_t *r);
static ngx_uint_t ngx_http_gcs_is_uncacheable(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);
static ngx_int_t ngx_http_gcs_unauthorized(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);
static ngx_uint_t ngx_http_gcs_may_retry(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);
static ngx_msec_t ngx_http_gcs_pause(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);
static void ngx_http_gcs_token_wake(ngx_gcs_token_waiter_t *waiter,
    ngx_int_t rc);
static void ngx_http_gcs_timer_wake(ngx_event_t *ev);


ngx_int_t
ngx_http_gcs_judge(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    ngx_uint_t            status;
    ngx_http_upstream_t  *u;

    u = r->upstream;
    status = u->headers_in.status_n;

    ctx->status = status;

    if (!(r->method & NGX_HTTP_GCS_READ)) {
        ngx_http_gcs_written_answer(r, ctx);
    }

    if (ctx->api) {
        return ngx_http_gcs_api_judge(r, ctx);
    }

    if (ctx->probing) {
        ctx->step = NGX_HTTP_GCS_BODY;

        return ngx_http_gcs_judge_error(r, ctx);
    }

    if (ctx->listing && status >= NGX_HTTP_OK
        && (status < NGX_HTTP_SPECIAL_RESPONSE
            || status == NGX_HTTP_NOT_MODIFIED)
        && !ngx_http_gcs_list_expected(r, ctx))
    {
        return ngx_http_gcs_fail(r, ctx, NGX_HTTP_BAD_GATEWAY);
    }

    if (status == NGX_HTTP_PARTIAL_CONTENT) {
        return ngx_http_gcs_judge_range(r, ctx);
    }

    if (status == NGX_HTTP_OK && ngx_http_gcs_is_uncacheable(r, ctx)) {

        /*
         * For the cache it was asked for without the client's Range and
         * conditions, and in vain: nginx would ignore them now.  It is asked
         * for as without a cache.
         */

        ctx->cacheable = 0;

        return ngx_http_gcs_retry(r, ctx);
    }

    if ((status >= NGX_HTTP_OK && status < NGX_HTTP_SPECIAL_RESPONSE)
        || status == NGX_HTTP_NOT_MODIFIED)
    {
        return NGX_OK;
    }

    ctx->step = NGX_HTTP_GCS_BODY;

    return ngx_http_gcs_judge_error(r, ctx);
}


/* whether the cache does not take it, and the client wants but a part */

static ngx_uint_t
ngx_http_gcs_is_uncacheable(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    ngx_http_upstream_t  *u;

    u = r->upstream;

    if (!ctx->cacheable || r != r->main || r->cache == NULL || ctx->bare
        || (r->headers_in.range == NULL
            && r->headers_in.if_match == NULL
            && r->headers_in.if_none_match == NULL
            && r->headers_in.if_modified_since == NULL
            && r->headers_in.if_unmodified_since == NULL)
        || ngx_http_gcs_slice_range(r).len)
    {
        return 0;
    }

#if (nginx_version >= 1023000)

    if (u->headers_in.no_cache || u->headers_in.expired) {
        return 1;
    }

#endif

    return !u->cacheable
           || (r->cache->valid_sec == 0
               && ngx_http_file_cache_valid(u->conf->cache_valid,
                                            NGX_HTTP_OK)
                  == 0);
}


/*
 * Two parts that are the wrong answer, so that the whole object is asked for:
 *
 *  - of another version than the client's If-Range names (RFC 9110, 13.1.5);
 *    whether GCS heeds that header is not documented;
 *
 *  - of a compressed object, for a client that does not take gzip and so has
 *    not been told of as one; but not if the object must not be transformed.
 */

static ngx_int_t
ngx_http_gcs_judge_range(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    ngx_str_t             *validator;
    ngx_table_elt_t       *h;
    ngx_http_upstream_t   *u;

    u = r->upstream;
    h = r->headers_in.if_range;

    if (!ctx->ranged) {
        return NGX_OK;
    }

    if (!ctx->gzip && ngx_http_gcs_is_gzip(r)) {
        ctx->no_range = 1;

        return ngx_http_gcs_retry(r, ctx);
    }

    if (h == NULL) {
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


static ngx_uint_t
ngx_http_gcs_is_gzip(ngx_http_request_t *r)
{
    ngx_str_t  *encoding, *cc;

    encoding = ngx_http_gcs_find_header(&r->upstream->headers_in.headers,
                                     "content-encoding");

    if (encoding == NULL || encoding->len != 4
        || ngx_strncasecmp(encoding->data, (u_char *) "gzip", 4) != 0)
    {
        return 0;
    }

    cc = ngx_http_gcs_find_header(&r->upstream->headers_in.headers,
                                     "cache-control");

    return cc == NULL
           || ngx_strlcasestrn(cc->data, cc->data + cc->len,
                               (u_char *) "no-transform",
                               sizeof("no-transform") - 2)
              == NULL;
}


/* an error: what it says is read to the end, so that its connection is kept */

ngx_int_t
ngx_http_gcs_judge_error(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    ngx_int_t    rc;
    ngx_str_t   *range;
    ngx_msec_t   pause;

    rc = ngx_http_gcs_read_error(r, ctx);

    if (rc == NGX_AGAIN) {
        return NGX_AGAIN;
    }

    ctx->step = NGX_HTTP_GCS_HEADER;

    if (ctx->probing
        && !(ctx->status == NGX_HTTP_UNAUTHORIZED && ctx->identity->token)
        && ctx->status != NGX_HTTP_REQUEST_TIME_OUT
        && ctx->status != NGX_HTTP_TOO_MANY_REQUESTS
        && ctx->status < NGX_HTTP_INTERNAL_SERVER_ERROR)
    {
        return ngx_http_gcs_absent_probed(r, ctx);
    }

    if (ctx->status == NGX_HTTP_RANGE_NOT_SATISFIABLE
        && ctx->ranged && r->headers_in.if_range)
    {
        /*
         * The object may have been replaced by a shorter one.  GCS does not
         * tell the version here; the whole is never wrong.
         */

        ctx->no_range = 1;

        return ngx_http_gcs_retry(r, ctx);
    }

    if (ctx->status == NGX_HTTP_RANGE_NOT_SATISFIABLE
        && !ctx->no_range && r == r->main
        && ngx_http_gcs_slice_range(r).len)
    {
        range = ngx_http_gcs_find_header(&r->upstream->headers_in.headers,
                                     "content-range");

        if (range && range->len == sizeof("bytes */0") - 1
            && ngx_strncmp(range->data, "bytes */0", range->len) == 0)
        {
            /* an empty object has no slices, but it is there */

            ctx->no_range = 1;

            return ngx_http_gcs_retry(r, ctx);
        }
    }

    if (ctx->status == NGX_HTTP_UNAUTHORIZED
        || (ctx->pending && ctx->status == NGX_HTTP_FORBIDDEN))
    {
        return ngx_http_gcs_unauthorized(r, ctx);
    }

    if ((ctx->status == NGX_HTTP_REQUEST_TIME_OUT
         || ctx->status == NGX_HTTP_TOO_MANY_REQUESTS
         || ctx->status >= NGX_HTTP_INTERNAL_SERVER_ERROR)
        && ngx_http_gcs_may_retry(r, ctx)
        && ngx_http_gcs_repeatable(r, ctx))
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

    if (ctx->list) {
        return ngx_http_gcs_fail(r, ctx, ngx_http_gcs_list_status(ctx));
    }

    rc = ngx_http_gcs_absent(r, ctx);

    if (rc != NGX_DECLINED) {
        return rc;
    }

    return ngx_http_gcs_fail(r, ctx,
                             (r->method & NGX_HTTP_GCS_READ)
                             ? ngx_http_gcs_map_status(ctx->status)
                             : ngx_http_gcs_write_status(ctx));
}


static ngx_int_t
ngx_http_gcs_unauthorized(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    ngx_int_t                 rc;
    ngx_str_t                 value;
    ngx_gcs_token_t          *token;
    ngx_http_gcs_loc_conf_t  *glcf;

    token = ctx->identity->token;

    if (token == NULL && ctx->listing) {

        /* so the JSON API says what is 403 of the XML API: nobody may */

        return ngx_http_gcs_fail(r, ctx, NGX_HTTP_FORBIDDEN);
    }

    if (token == NULL || ctx->reauthorized || ctx->keyless
        || (!ctx->pending
            && ngx_gcs_token_reject(token, ctx->generation) != NGX_OK)
        || r->request_body_no_buffering)
    {
        /* in the last case the body is gone, but others get a new token */

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

    ctx->result = ngx_http_gcs_token_failed(r, ctx, token, rc);

    return ngx_http_gcs_fail(r, ctx, ctx->result);
}


/* as the user's proxy_next_upstream and its tries allow; the pause its time */

static ngx_uint_t
ngx_http_gcs_may_retry(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    ngx_uint_t                 tries;
    ngx_http_upstream_conf_t  *ucf;

    ucf = r->upstream->conf;

    if (r->request_body_no_buffering
        || (ucf->next_upstream & NGX_HTTP_UPSTREAM_FT_OFF))
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

    value = ngx_http_gcs_find_header(&r->upstream->headers_in.headers,
                                     "retry-after");

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


static void
ngx_http_gcs_token_wake(ngx_gcs_token_waiter_t *waiter, ngx_int_t rc)
{
    ngx_uint_t           result;
    ngx_http_request_t  *r;
    ngx_http_gcs_ctx_t  *ctx;

    ctx = waiter->data;
    r = ctx->request;

    ngx_http_set_log_request(r->connection->log, r);

    result = 0;

    if (rc != NGX_OK) {
        result = ngx_http_gcs_token_failed(r, ctx, waiter->token, rc);
    }

    ngx_http_gcs_resume(ctx, result);
}


static void
ngx_http_gcs_timer_wake(ngx_event_t *ev)
{
    ngx_http_gcs_ctx_t *ctx = ev->data;

    ngx_http_set_log_request(ctx->request->connection->log, ctx->request);

    ngx_http_gcs_resume(ctx, 0);
}
