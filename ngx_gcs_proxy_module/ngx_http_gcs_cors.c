
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "ngx_http_gcs.h"


/*
 * The location that answers the preflights of a URL is the one whose rules
 * apply to what the URL is answered with, by whatever it is answered in the
 * end: the page of an "error_page", the fallback of "try_files".
 */


static void ngx_http_gcs_cors_cleanup(void *data);
static ngx_int_t ngx_http_gcs_cors_remember(ngx_http_request_t *r,
    ngx_uint_t settled);
static ngx_http_gcs_cors_conf_t *ngx_http_gcs_cors_here(ngx_http_request_t *r);
static ngx_int_t ngx_http_gcs_cors_preflight(ngx_http_request_t *r,
    ngx_http_gcs_cors_conf_t *conf);
static ngx_int_t ngx_http_gcs_cors_no_content(ngx_http_request_t *r);


ngx_int_t
ngx_http_gcs_cors_rewrite_handler(ngx_http_request_t *r)
{
    /* "return" may answer right away, by the page of an "error_page" */

    if (r == r->main && ngx_http_gcs_cors_remember(r, 0) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return NGX_DECLINED;
}


ngx_int_t
ngx_http_gcs_cors_preaccess_handler(ngx_http_request_t *r)
{
    ngx_int_t                  rc;
    ngx_http_gcs_cors_conf_t  *conf;

    if (r != r->main) {
        return NGX_DECLINED;
    }

    if (ngx_http_gcs_cors_remember(r, 1) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    conf = ngx_http_gcs_cors_here(r);

    if (conf == NULL || conf->active == NULL
        || r->method != NGX_HTTP_OPTIONS)
    {
        return NGX_DECLINED;
    }

    rc = ngx_http_gcs_cors_preflight(r, conf);

    if (rc == NGX_DECLINED) {
        return NGX_DECLINED;
    }

    ngx_http_finalize_request(r, rc);

    return NGX_DONE;
}


/* what is written for this very location, if it is one with "gcs_pass" */

static ngx_http_gcs_cors_conf_t *
ngx_http_gcs_cors_here(ngx_http_request_t *r)
{
    ngx_http_gcs_cors_conf_t  *conf;

    conf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_cors_module);

    return conf->governs ? conf : NULL;
}


/*
 * Contexts do not survive an internal redirect, a cleanup does.  A location
 * that a rewrite leaves again is forgotten; one that has been settled, or has
 * ended with an error, is the one that answers, unless the page of the error
 * has rules of its own.
 */

static ngx_int_t
ngx_http_gcs_cors_remember(ngx_http_request_t *r, ngx_uint_t settled)
{
    ngx_pool_cleanup_t        *cln;
    ngx_http_gcs_cors_ctx_t   *ctx;
    ngx_http_gcs_cors_conf_t  *conf;

    conf = ngx_http_gcs_cors_here(r);
    ctx = ngx_http_gcs_cors_get_ctx(r);

    if (ctx) {

        if ((ctx->settled || r->error_page || r->err_status)
            && !(conf && conf->ruled))
        {
            ctx->settled = 1;
            return NGX_OK;
        }

        ctx->conf = conf;
        ctx->settled = settled;

        return NGX_OK;
    }

    if (conf == NULL) {
        return NGX_OK;
    }

    cln = ngx_pool_cleanup_add(r->pool, sizeof(ngx_http_gcs_cors_ctx_t));
    if (cln == NULL) {
        return NGX_ERROR;
    }

    cln->handler = ngx_http_gcs_cors_cleanup;

    ctx = cln->data;
    ngx_memzero(ctx, sizeof(ngx_http_gcs_cors_ctx_t));

    ctx->request = r;
    ctx->conf = conf;
    ctx->settled = settled;

    ngx_http_set_ctx(r, ctx, ngx_http_gcs_cors_module);

    return NGX_OK;
}


static void
ngx_http_gcs_cors_cleanup(void *data)
{
    /* nothing: it is here to be found */
}


ngx_http_gcs_cors_ctx_t *
ngx_http_gcs_cors_get_ctx(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t       *cln;
    ngx_http_gcs_cors_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_gcs_cors_module);

    if (ctx || !(r->internal || r->filter_finalize)) {
        return ctx;
    }

    for (cln = r->pool->cleanup; cln; cln = cln->next) {

        if (cln->handler == ngx_http_gcs_cors_cleanup) {

            ctx = cln->data;

            if (ctx->request == r) {
                ngx_http_set_ctx(r, ctx, ngx_http_gcs_cors_module);
                return ctx;
            }
        }
    }

    return NULL;
}


ngx_http_gcs_cors_conf_t *
ngx_http_gcs_cors_in_effect(ngx_http_request_t *r, ngx_uint_t ruled)
{
    ngx_http_gcs_cors_ctx_t   *ctx;
    ngx_http_gcs_cors_conf_t  *conf;

    conf = ngx_http_gcs_cors_here(r);

    if (conf && (conf->ruled || !ruled)) {
        return conf;
    }

    ctx = ngx_http_gcs_cors_get_ctx(r);

    return ctx ? ctx->conf : NULL;
}


void
ngx_http_gcs_cors_read(ngx_http_request_t *r, ngx_http_gcs_cors_request_t *in)
{
    size_t                       len;
    u_char                      *name;
    ngx_table_elt_t             *h;
    ngx_http_gcs_header_walk_t   at;

    ngx_memzero(in, sizeof(ngx_http_gcs_cors_request_t));

    for (h = ngx_http_gcs_header_first(&at, &r->headers_in.headers);
         h;
         h = ngx_http_gcs_header_next(&at))
    {
        if (h->hash == 0) {
            continue;
        }

        if (ngx_http_gcs_header_named(h, "origin", sizeof("origin") - 1)) {
            in->origin = h->value;
            in->origins++;
            continue;
        }

        name = h->key.data;
        len = h->key.len;

        if (len <= sizeof("access-control-request-") - 1
            || ngx_strncasecmp(name, (u_char *) "access-control-request-",
                               sizeof("access-control-request-") - 1)
               != 0)
        {
            continue;
        }

        name += sizeof("access-control-request-") - 1;
        len -= sizeof("access-control-request-") - 1;

        if (len == 6
            && ngx_strncasecmp(name, (u_char *) "method", len) == 0)
        {
            in->method = h->value;
            in->methods++;

        } else if (len == 7
                   && ngx_strncasecmp(name, (u_char *) "headers", len) == 0)
        {
            in->headers = h->value;
            in->lists++;

        } else if (len == sizeof("private-network") - 1
                   && ngx_strncasecmp(name, (u_char *) "private-network", len)
                      == 0
                   && h->value.len == 4
                   && ngx_memcmp(h->value.data, "true", 4) == 0)
        {
            in->private_network = 1;
        }
    }
}


/* NGX_DECLINED: it is no preflight */

static ngx_int_t
ngx_http_gcs_cors_preflight(ngx_http_request_t *r,
    ngx_http_gcs_cors_conf_t *conf)
{
    ngx_http_gcs_ctx_t           *ctx;
    ngx_http_gcs_cors_ctx_t      *cctx;
    ngx_gcs_cors_answer_t         answer;
    ngx_http_gcs_cors_request_t   in;

    ngx_http_gcs_cors_read(r, &in);

    if (in.origins == 0 || in.methods == 0) {
        return NGX_DECLINED;
    }

    ngx_http_gcs_cors_decide(r, conf, &in, 1, &answer);

    cctx = ngx_http_gcs_cors_get_ctx(r);
    cctx->preflight = 1;

    if (answer.rule == NULL) {

        ctx = ngx_http_gcs_make_ctx(r);
        if (ctx == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        switch (answer.refusal) {

        case NGX_GCS_CORS_NO_METHOD:
            ngx_str_set(&ctx->error, "cors_method_not_allowed");
            break;

        case NGX_GCS_CORS_NO_HEADER:
            ngx_str_set(&ctx->error, "cors_header_not_allowed");
            break;

        default: /* NGX_GCS_CORS_NO_ORIGIN */
            ngx_str_set(&ctx->error, "cors_origin_not_allowed");
        }

        ngx_log_debug1(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                       "http gcs cors refused: %V", &ctx->error);
    }

    return ngx_http_gcs_cors_no_content(r);
}


void
ngx_http_gcs_cors_decide(ngx_http_request_t *r,
    ngx_http_gcs_cors_conf_t *conf, ngx_http_gcs_cors_request_t *in,
    ngx_uint_t preflight, ngx_gcs_cors_answer_t *answer)
{
    ngx_gcs_cors_query_t  query;

    /* no browser sends a line twice, and neither of two can be trusted */

    static ngx_str_t  invalid = ngx_string("\"");

    ngx_memzero(&query, sizeof(ngx_gcs_cors_query_t));

    query.match = ngx_http_gcs_cors_custom;
    query.data = r;

    if (in->origins) {
        query.origin = (in->origins == 1) ? &in->origin : &invalid;
    }

    if (preflight) {
        query.method = (in->methods == 1) ? &in->method : &invalid;

        if (in->lists) {
            query.headers = (in->lists == 1) ? &in->headers : &invalid;
        }

    } else if (r->headers_out.status != NGX_HTTP_NOT_ALLOWED) {
        query.method = &r->method_name;
    }

    ngx_gcs_cors_decide(conf->active, &query, answer);
}


ngx_uint_t
ngx_http_gcs_cors_takes(ngx_http_request_t *r)
{
    ngx_http_gcs_cors_conf_t  *conf;

    if (r->method != NGX_HTTP_OPTIONS || r != r->main) {
        return 0;
    }

    conf = ngx_http_gcs_cors_here(r);

    return conf && conf->active;
}


ngx_int_t
ngx_http_gcs_cors_options(ngx_http_request_t *r)
{
    if (ngx_http_gcs_add_allow(r) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_gcs_cors_no_content(r);
}


static ngx_int_t
ngx_http_gcs_cors_no_content(ngx_http_request_t *r)
{
    ngx_int_t  rc;

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    r->headers_out.status = NGX_HTTP_NO_CONTENT;
    r->header_only = 1;

    return ngx_http_send_header(r);
}
