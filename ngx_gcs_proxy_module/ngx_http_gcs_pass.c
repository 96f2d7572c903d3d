
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "ngx_http_gcs.h"


static void ngx_http_gcs_cleanup(void *data);
static ngx_uint_t ngx_http_gcs_method_allowed(ngx_http_request_t *r,
    ngx_uint_t presign);
static ngx_int_t ngx_http_gcs_not_allowed(ngx_http_request_t *r);
static void ngx_http_gcs_body_handler(ngx_http_request_t *r);
static void ngx_http_gcs_phase_resume(ngx_http_request_t *r, ngx_int_t rc);
static void ngx_http_gcs_wait_handler(ngx_gcs_token_waiter_t *waiter,
    ngx_int_t rc);
static ngx_int_t ngx_http_gcs_check_headers(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);


ngx_int_t
ngx_http_gcs_handler(ngx_http_request_t *r)
{
    ngx_int_t            rc, presign;
    ngx_http_gcs_ctx_t  *ctx;

    presign = ngx_http_gcs_presigning(r);

    if (presign == NGX_ERROR) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (ngx_http_gcs_cors_takes(r)) {
        return ngx_http_gcs_cors_options(r);
    }

    if (!ngx_http_gcs_method_allowed(r, presign)) {
        return ngx_http_gcs_not_allowed(r);
    }

    ctx = ngx_http_gcs_make_ctx(r);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx->settled = 0;

    rc = ngx_http_gcs_resolve(r, ctx);
    if (rc != NGX_OK) {
        return rc;
    }

    ctx->settled = 1;

    if (ctx->listing) {
        rc = ngx_http_gcs_list_handler(r, ctx);
        if (rc != NGX_OK) {
            return rc;
        }

    } else if (presign && !ngx_http_gcs_list_may_follow(r, ctx)) {
        return ngx_http_gcs_presign(r, ctx);
    }

    rc = ngx_http_gcs_check_headers(r, ctx);
    if (rc != NGX_OK) {
        return rc;
    }

    if (ctx->api) {
        return ngx_http_gcs_api_handler(r, ctx);
    }

    rc = ngx_http_gcs_given_headers(r, ctx);
    if (rc != NGX_OK) {
        return rc;
    }

    if (r == r->main && r->method != NGX_HTTP_PUT) {

        /* GCS has no use for it, and it may be anything */

        rc = ngx_http_discard_request_body(r);
        if (rc != NGX_OK) {
            return rc;
        }

        if (r->request_body == NULL && !r->discard_body
            && (r->headers_in.chunked || r->headers_in.content_length_n > 0))
        {
            /*
             * nginx has discarded a chunked body, or is going to discard one
             * of HTTP/2, or does not discard one of HTTP/3, for which it takes
             * a request whose end has not arrived with its header.  The proxy
             * would wait for it.  This says that it has been read.
             */

            r->request_body = ngx_pcalloc(r->pool,
                                          sizeof(ngx_http_request_body_t));
            if (r->request_body == NULL) {
                return NGX_HTTP_INTERNAL_SERVER_ERROR;
            }
        }
    }

    if (ngx_http_gcs_small_body(r)) {
        rc = ngx_http_read_client_request_body(r, ngx_http_gcs_body_handler);

        return (rc >= NGX_HTTP_SPECIAL_RESPONSE) ? rc : NGX_DONE;
    }

    return ngx_http_gcs_run(r, ctx);
}


static void
ngx_http_gcs_body_handler(ngx_http_request_t *r)
{
    /* it has set one that reads the body */

    r->read_event_handler = ngx_http_block_reading;

    ngx_http_gcs_content_resume(r, NGX_OK);
}


ngx_int_t
ngx_http_gcs_precontent_handler(ngx_http_request_t *r)
{
    ngx_int_t                 rc;
    ngx_str_t                 token;
    ngx_http_gcs_ctx_t       *ctx;
    ngx_http_gcs_loc_conf_t  *glcf;

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);

    if (glcf->passing) {

        /*
         * the content handler looks too, but a hidden location may have
         * another one
         */

        rc = ngx_http_gcs_presigning(r);

        if (rc == NGX_ERROR) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        if (ngx_http_gcs_cors_takes(r)) {
            ngx_http_finalize_request(r, ngx_http_gcs_cors_options(r));
            return NGX_DONE;
        }

        if (!ngx_http_gcs_method_allowed(r, rc)) {
            return ngx_http_gcs_not_allowed(r);
        }

        return NGX_DECLINED;
    }

    if (!glcf->waiting) {
        return NGX_DECLINED;
    }

    ctx = ngx_http_gcs_make_ctx(r);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (ctx->waiter.wait.waiting || ctx->signing.wait.waiting) {
        return NGX_AGAIN;
    }

    rc = ngx_http_gcs_resolve(r, ctx);
    if (rc != NGX_OK) {
        return rc;
    }

    ctx->settled = 1;

    if (glcf->signing) {
        rc = ngx_http_gcs_signature_ready(r, ctx, ngx_http_gcs_phase_resume);

        if (rc == NGX_AGAIN || (glcf->mode && ctx->addressed)) {

            /* "gcs_mode presign" of an object: a token has no use here */

            return rc;
        }
    }

    if (ctx->identity == NULL || ctx->identity->token == NULL) {
        return NGX_DECLINED;
    }

    rc = ngx_gcs_token_get(ctx->identity->token, &token, &ctx->generation);

    if (rc == NGX_OK) {
        return NGX_DECLINED;
    }

    if (rc == NGX_AGAIN) {
        return ngx_http_gcs_wait_token(r, ctx, ctx->identity->token,
                                       ngx_http_gcs_phase_resume);
    }

    return ngx_http_gcs_token_failed(r, ctx, ctx->identity->token, rc);
}


ngx_http_gcs_ctx_t *
ngx_http_gcs_get_ctx(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t  *cln;
    ngx_http_gcs_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_gcs_proxy_module);

    if (ctx == NULL) {

        /*
         * As the realip module does: a redirect, or an error of a filter,
         * may have cleared it.
         */

        for (cln = r->pool->cleanup; cln; cln = cln->next) {

            if (cln->handler == ngx_http_gcs_cleanup
                && ((ngx_http_gcs_ctx_t *) cln->data)->request == r)
            {
                return cln->data;
            }
        }
    }

    return ctx;
}


ngx_http_gcs_ctx_t *
ngx_http_gcs_wrapped_ctx(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t  *cln;
    ngx_http_gcs_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_gcs_proxy_module);

    if (ctx && ctx->request == r && ctx->upstream == r->upstream) {
        return ctx;
    }

    for (cln = r->pool->cleanup; cln; cln = cln->next) {

        if (cln->handler == ngx_http_gcs_cleanup) {
            ctx = cln->data;

            if (ctx->request == r && ctx->upstream == r->upstream) {
                return ctx;
            }
        }
    }

    /* not reached: who wraps an upstream notes it */

    return ngx_http_gcs_get_ctx(r);
}


ngx_http_gcs_ctx_t *
ngx_http_gcs_make_ctx(ngx_http_request_t *r)
{
    ngx_list_part_t          *part;
    ngx_pool_cleanup_t       *cln;
    ngx_http_gcs_ctx_t       *ctx, *earlier;
    ngx_http_gcs_loc_conf_t  *glcf;

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);
    ctx = ngx_http_get_module_ctx(r, ngx_http_gcs_proxy_module);

    if (ctx) {

        if (glcf->status) {

            /* it may have been made before a rewrite */

            ctx->location = glcf->status;
        }

        return ctx;
    }

    /* what was before a redirect: an application may have decided */

    earlier = r->internal ? ngx_http_gcs_get_ctx(r) : NULL;

    cln = ngx_pool_cleanup_add(r->pool, sizeof(ngx_http_gcs_ctx_t));
    if (cln == NULL) {
        return NULL;
    }

    ctx = cln->data;
    ngx_memzero(ctx, sizeof(ngx_http_gcs_ctx_t));

    cln->handler = ngx_http_gcs_cleanup;

    part = r->headers_out.headers.last;

    ctx->request = r;
    ctx->part = part;
    ctx->nelts = part->nelts;
    ctx->takeover = earlier ? earlier->takeover : NULL;

    ctx->location = glcf->status;

    ngx_http_set_ctx(r, ctx, ngx_http_gcs_proxy_module);

    return ctx;
}


static void
ngx_http_gcs_cleanup(void *data)
{
    ngx_http_gcs_ctx_t *ctx = data;

    ngx_gcs_token_cancel(&ctx->waiter);
    ngx_gcs_signing_cancel(&ctx->signing);
    ngx_http_gcs_upstream_stop(ctx);

    if (ctx->takeover) {
        ngx_http_gcs_verdict_cancel(ctx->takeover);
    }
}


static ngx_uint_t
ngx_http_gcs_method_allowed(ngx_http_request_t *r, ngx_uint_t presign)
{
    ngx_http_gcs_loc_conf_t  *glcf;

    if (presign) {
        return ngx_http_gcs_presign_allowed(r);
    }

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);

    /* an API has methods of its own for what is done */

    return glcf->api || (r->method & glcf->allowed) != 0;
}


static ngx_int_t
ngx_http_gcs_not_allowed(ngx_http_request_t *r)
{
    ngx_http_gcs_ctx_t  *ctx;

    ctx = ngx_http_gcs_make_ctx(r);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_str_set(&ctx->error, "method_not_allowed");

    if (ngx_http_gcs_add_allow(r) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return NGX_HTTP_NOT_ALLOWED;
}


ngx_int_t
ngx_http_gcs_add_allow(ngx_http_request_t *r)
{
    ngx_http_gcs_loc_conf_t  *glcf;

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);

    return ngx_http_gcs_add_header(r, "Allow", &glcf->allow) ? NGX_OK
                                                             : NGX_ERROR;
}


ngx_int_t
ngx_http_gcs_run(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    ngx_int_t                 rc;
    ngx_str_t                 token;
    ngx_http_gcs_loc_conf_t  *glcf;

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);

    /*
     * A cached object must be served whether there is a token or not, and
     * whether it is cached only the proxy finds out: then a request without
     * a token waits in the wrapper around the upstream.  A write is not
     * cached, and its body can be sent once: it waits here, unread.
     */

    if (ctx->identity->token && !ctx->keyless
        && (ctx->listing || !glcf->proxy->cache
            || !(r->method & NGX_HTTP_GCS_READ)))
    {

        rc = ngx_gcs_token_get(ctx->identity->token, &token,
                               &ctx->generation);

        if (rc == NGX_AGAIN) {
            rc = ngx_http_gcs_wait_token(r, ctx, ctx->identity->token,
                                         ngx_http_gcs_content_resume);

            if (rc != NGX_AGAIN) {
                return rc;
            }

            r->main->count++;
            return NGX_DONE;
        }

        if (rc != NGX_OK) {
            return ngx_http_gcs_token_failed(r, ctx, ctx->identity->token,
                                             rc);
        }
    }

    /* of an application that has redirected to here */

    r->headers_out.override_charset = NULL;
    ngx_str_null(&r->headers_out.charset);
    ngx_str_null(&r->headers_out.content_type);

    ctx->passed = 1;

    return (ctx->listing || ctx->indexed || ctx->replaced)
           ? ngx_http_gcs_list_run(r, ctx)
           : ngx_http_gcs_proxied(r, ctx, glcf->proxy_handler);
}


void
ngx_http_gcs_content_resume(ngx_http_request_t *r, ngx_int_t rc)
{
    ngx_http_gcs_ctx_t  *ctx;

    if (rc == NGX_OK) {
        ctx = ngx_http_get_module_ctx(r, ngx_http_gcs_proxy_module);

        rc = ctx->presigned ? ngx_http_gcs_presign(r, ctx)
                            : ngx_http_gcs_run(r, ctx);
    }

    ngx_http_finalize_request(r, rc);
}


static void
ngx_http_gcs_phase_resume(ngx_http_request_t *r, ngx_int_t rc)
{
    if (rc == NGX_OK) {
        r->write_event_handler = ngx_http_core_run_phases;
        ngx_http_core_run_phases(r);

    } else {
        ngx_http_finalize_request(r, rc);
    }
}


ngx_int_t
ngx_http_gcs_wait_token(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx,
    ngx_gcs_token_t *token, ngx_http_gcs_resume_pt resume)
{
    ngx_int_t                 rc;
    ngx_http_gcs_loc_conf_t  *glcf;

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);

    if (glcf->token_timeout == 0) {
        return ngx_http_gcs_token_failed(r, ctx, token, NGX_AGAIN);
    }

    rc = ngx_http_gcs_suspend(r, ctx, resume);
    if (rc != NGX_OK) {
        return rc;
    }

    ctx->waiter.handler = ngx_http_gcs_wait_handler;
    ctx->waiter.data = ctx;
    ctx->waiter.log = r->connection->log;

    ngx_gcs_token_wait(token, &ctx->waiter, glcf->token_timeout);

    return NGX_AGAIN;
}


static void
ngx_http_gcs_wait_handler(ngx_gcs_token_waiter_t *waiter, ngx_int_t rc)
{
    ngx_http_request_t  *r;
    ngx_http_gcs_ctx_t  *ctx;

    ctx = waiter->data;
    r = ctx->request;

    ngx_http_set_log_request(r->connection->log, r);

    if (rc != NGX_OK) {
        rc = ngx_http_gcs_token_failed(r, ctx, waiter->token, rc);

        if (ctx->optional) {
            ctx->unsigned_url = 1;
            rc = NGX_OK;
        }
    }

    ngx_http_gcs_wake(ctx, rc);
}


ngx_int_t
ngx_http_gcs_suspend(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx,
    ngx_http_gcs_resume_pt resume)
{
    ctx->resume = resume;

    return ngx_http_gcs_watch(r, "waiting for a gcs token");
}


ngx_int_t
ngx_http_gcs_watch(ngx_http_request_t *r, char *action)
{
    if (r == r->main) {

        /* sees a client that goes away meanwhile, or has gone already */

        if (r->connection->read->ready) {
            ngx_post_event(r->connection->read, &ngx_posted_events);

        } else if (ngx_handle_read_event(r->connection->read, 0) != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        if (!r->discard_body) {
            r->read_event_handler = ngx_http_test_reading;
        }
    }

    r->write_event_handler = ngx_http_request_empty_handler;
    r->connection->log->action = action;

    return NGX_OK;
}


void
ngx_http_gcs_unwatch(ngx_http_request_t *r)
{
    if (r == r->main && r->read_event_handler == ngx_http_test_reading) {
        r->read_event_handler = ngx_http_block_reading;
    }
}


void
ngx_http_gcs_wake(ngx_http_gcs_ctx_t *ctx, ngx_int_t rc)
{
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    r = ctx->request;
    c = r->connection;

    ngx_http_set_log_request(c->log, r);

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, c->log, 0, "http gcs wake: %i", rc);

    if (ngx_http_get_module_ctx(r, ngx_http_gcs_proxy_module) != ctx) {

        /* its client has left, and "post_action" has taken it elsewhere */

        return;
    }

    ngx_http_gcs_unwatch(r);

    ctx->resume(r, rc);

    ngx_http_run_posted_requests(c);
}


ngx_int_t
ngx_http_gcs_token_failed(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx,
    ngx_gcs_token_t *token, ngx_int_t rc)
{
    ngx_str_t                 word, *reason;
    ngx_http_gcs_loc_conf_t  *glcf;

    if (rc == NGX_AGAIN) {
        glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);

        ngx_str_set(&ctx->error, "token_timeout");

        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "no token of gcs credentials \"%V\" within %M ms",
                      &ctx->identity->name, glcf->token_timeout);

        return NGX_HTTP_GATEWAY_TIME_OUT;
    }

    reason = ngx_gcs_token_error(token, &word);

    /* the worker's copy of the word changes with the next failure */

    ngx_str_set(&ctx->error, "token_unavailable");

    if (word.len) {
        ctx->error.data = ngx_pstrdup(r->pool, &word);
        ctx->error.len = ctx->error.data ? word.len : 0;
    }

    ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                  "no token of gcs credentials \"%V\": %V",
                  &ctx->identity->name, reason);

    return NGX_HTTP_BAD_GATEWAY;
}


/* a header value made of variables must not end its line */

static ngx_int_t
ngx_http_gcs_check_headers(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    size_t                     j;
    ngx_str_t                  value;
    ngx_uint_t                 i, n;
    ngx_http_gcs_header_t     *h;
    ngx_http_complex_value_t  *cv;
    ngx_http_gcs_loc_conf_t   *glcf;

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);

    h = glcf->headers ? glcf->headers->elts : NULL;
    n = glcf->headers ? glcf->headers->nelts : 0;

    for (i = 0; i <= n; i++) {

        cv = (i < n) ? &h[i].value : glcf->user_project;

        if (cv == NULL || cv->lengths == NULL) {
            continue;
        }

        if (ngx_http_complex_value(r, cv, &value) != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        for (j = 0; j < value.len; j++) {
            if (value.data[j] == CR || value.data[j] == LF
                || value.data[j] == '\0')
            {
                return ngx_http_gcs_refuse(r, ctx, NGX_HTTP_BAD_REQUEST,
                           "invalid_header",
                           "a line break in the value of a request header");
            }
        }
    }

    return NGX_OK;
}
