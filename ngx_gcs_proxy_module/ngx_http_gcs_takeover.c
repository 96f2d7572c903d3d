
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "ngx_http_gcs.h"


/*
 * The request to the application: the stock proxy makes and sends it, and a
 * wrapper looks at the header of the answer before nginx acts on it.  To take
 * over is then to pretend that the answer has "X-Accel-Redirect: @NAME", so
 * that nginx itself ends the one and begins the other.
 *
 * The wrapper is put on when the proxy's handler has returned: an answer needs
 * a turn of the event loop at least, and an upstream that is only known at run
 * time has nowhere else to be wrapped.
 */


static ngx_int_t ngx_http_gcs_takeover_handler(ngx_http_request_t *r);
static ngx_int_t ngx_http_gcs_takeover_begin(ngx_http_request_t *r,
    ngx_http_gcs_takeover_t *t);
static char *ngx_http_gcs_takeover_path(ngx_http_request_t *r);
static ngx_int_t ngx_http_gcs_takeover_go(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);
static ngx_int_t ngx_http_gcs_takeover_ask(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);
static ngx_int_t ngx_http_gcs_takeover_process_header(ngx_http_request_t *r);
static ngx_int_t ngx_http_gcs_takeover_reinit_request(ngx_http_request_t *r);
static void ngx_http_gcs_takeover_finalize_request(ngx_http_request_t *r,
    ngx_int_t rc);


char *
ngx_http_gcs_takeover_finish(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *conf)
{
    ngx_http_core_loc_conf_t  *clcf;

    if (conf->takeover == NULL) {
        return NGX_CONF_OK;
    }

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (!clcf->noname) {
        conf->takeover->handler = clcf->handler;
    }

    /*
     * What the application says to one client is not for the next.  It is
     * switched off here, so that a location inside inherits what is set.
     */

    conf->proxy->cache = 0;

    /* "if" and "limit_except" may have a handler of their own */

    if (clcf->handler == conf->takeover->handler) {
        clcf->handler = ngx_http_gcs_takeover_handler;
    }

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_gcs_takeover_handler(ngx_http_request_t *r)
{
    ngx_int_t                 rc;
    ngx_http_gcs_ctx_t       *ctx;
    ngx_http_gcs_takeover_t  *t;
    ngx_http_gcs_loc_conf_t  *glcf;

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);

    if (r != r->main || !(r->method & NGX_HTTP_GCS_READ)
        || r->headers_in.content_length_n > 0 || r->headers_in.chunked)
    {
        /* what a body does to a question nobody knows but the application */

        return glcf->takeover->handler(r);
    }

    ctx = ngx_http_gcs_make_ctx(r);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    t = ngx_pcalloc(r->pool, sizeof(ngx_http_gcs_takeover_t));
    if (t == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    t->conf = glcf->takeover;
    ctx->takeover = t;

    if (glcf->takeover_cache && glcf->takeover_cache->cache) {
        t->verdicts = glcf->takeover_cache;
    }

    rc = ngx_http_gcs_takeover_begin(r, t);

    if (rc == NGX_DECLINED) {
        return t->conf->handler(r);
    }

    if (rc != NGX_OK) {
        return rc;
    }

    rc = ngx_http_gcs_takeover_go(r, ctx);

    if (rc == NGX_AGAIN) {
        r->main->count++;
        return NGX_DONE;
    }

    return rc;
}


/* NGX_AGAIN: ngx_http_gcs_takeover_resume() will be called; else a result */

static ngx_int_t
ngx_http_gcs_takeover_go(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    ngx_int_t                 rc;
    ngx_http_gcs_takeover_t  *t;

    t = ctx->takeover;

    rc = t->verdicts ? ngx_http_gcs_verdict_look(r, ctx) : NGX_DECLINED;

    if (rc == NGX_DECLINED) {
        return ngx_http_gcs_takeover_ask(r, ctx);
    }

    if (rc == NGX_OK) {
        (void) ngx_http_named_location(r, &t->conf->accel.value);
        return NGX_DONE;
    }

    return rc;
}


void
ngx_http_gcs_takeover_resume(ngx_http_request_t *r, ngx_int_t rc)
{
    ngx_http_gcs_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_gcs_proxy_module);

    rc = ngx_http_gcs_takeover_go(r, ctx);

    if (rc != NGX_AGAIN) {
        ngx_http_finalize_request(r, rc);
    }
}


/*
 * NGX_DECLINED: nothing will be taken, as VALUE names no object that may be
 * served; the application gets the request as it came.
 */

static ngx_int_t
ngx_http_gcs_takeover_begin(ngx_http_request_t *r, ngx_http_gcs_takeover_t *t)
{
    char       *reason;
    ngx_str_t   url;

    if (t->conf->value == NULL) {
        t->asking = 1;
        return NGX_OK;
    }

    if (ngx_http_complex_value(r, t->conf->value, &url) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_str_set(&t->status, "passed");

    if (url.len == 0) {
        return NGX_DECLINED;
    }

    reason = ngx_gcs_object_parse_url(&url, &t->object);

    if (reason == NULL) {
        reason = ngx_gcs_object_check(&t->object.name);
    }

    if (reason == NULL && t->object.name.len == 0) {
        reason = "no object is named";
    }

    if (reason == NULL) {
        reason = ngx_http_gcs_takeover_path(r);
    }

    if (reason == NULL
        && !ngx_http_gcs_bucket_allowed(t->conf->target, &t->object))
    {
        reason = "not allowed by \"gcs_buckets\"";
    }

    if (reason) {
        ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                      "gcs takeover: object \"%V\" is not served: %s",
                      &url, reason);
        return NGX_DECLINED;
    }

    ngx_str_null(&t->status);

    t->url = url;
    t->oracle = 1;
    t->asking = 1;

    return NGX_OK;
}


/*
 * nginx has chosen the location by r->uri, where segments are resolved and
 * slashes merged, but the application may be sent the client's own path, as
 * "proxy_pass" says.  To it that may be another of its pages, whose answer is
 * evidence of nothing.  NULL: both say the same.
 */

static char *
ngx_http_gcs_takeover_path(ngx_http_request_t *r)
{
    char       *reason;
    u_char     *p, *last;
    ngx_str_t   path;

    if (ngx_gcs_object_decode_path(r->pool, &r->unparsed_uri, &path, &reason)
        != NGX_OK)
    {
        return "the path can be read in more than one way";
    }

    /* after a rewrite or a redirect it is another one, by configuration */

    if (r->valid_unparsed_uri
        && (path.len != r->uri.len
            || ngx_memcmp(path.data, r->uri.data, path.len) != 0))
    {
        return "the path is not what nginx has made of it";
    }

    /* an escaped slash is one to some, and a letter to others */

    last = r->unparsed_uri.data + r->unparsed_uri.len;

    for (p = r->unparsed_uri.data; p < last && *p != '?'; p++) {

        if (*p == '\\'
            || (*p == '/' && last - p > 1 && p[1] == '/')
            || (*p == '%' && last - p > 2
                && ((p[1] == '2' && (p[2] | 0x20) == 'f')
                    || (p[1] == '5' && (p[2] | 0x20) == 'c'))))
        {
            return "an escaped or doubled slash in the path";
        }
    }

    return NULL;
}


static ngx_int_t
ngx_http_gcs_takeover_ask(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    ngx_int_t                 rc;
    ngx_http_upstream_t      *u;
    ngx_http_gcs_takeover_t  *t;

    t = ctx->takeover;

    rc = t->conf->handler(r);

    if (rc != NGX_DONE
        || ngx_http_get_module_ctx(r, ngx_http_gcs_proxy_module) != ctx
        || r->upstream == NULL)
    {
        /* it has failed at once, and an "error_page" may have taken it away */

        t->asking = 0;
        ngx_http_gcs_verdict_end(t, 1);

        return rc;
    }

    u = r->upstream;

    ctx->upstream = u;

    t->process_header = u->process_header;
    t->reinit_request = u->reinit_request;
    t->finalize_request = u->finalize_request;

    u->process_header = ngx_http_gcs_takeover_process_header;
    u->reinit_request = ngx_http_gcs_takeover_reinit_request;
    u->finalize_request = ngx_http_gcs_takeover_finalize_request;

    return NGX_DONE;
}


static ngx_int_t
ngx_http_gcs_takeover_process_header(ngx_http_request_t *r)
{
    ngx_log_t                *log;
    ngx_int_t                 rc;
    ngx_uint_t                level;
    ngx_http_gcs_ctx_t       *ctx;
    ngx_http_gcs_takeover_t  *t;

    ctx = ngx_http_get_module_ctx(r, ngx_http_gcs_proxy_module);
    t = ctx->takeover;

    /*
     * nginx 1.23 and later warn of a header that is there twice, and print it:
     * here it may be a signed URL.
     */

    log = r->connection->log;
    level = log->log_level;
    log->log_level = ngx_min(level, NGX_LOG_ERR);

    rc = ngx_http_gcs_stock(r, &t->process_header, t->process_header);

    log->log_level = level;

    if (rc != NGX_OK) {
        return rc;
    }

    return ngx_http_gcs_takeover_judge(r, ctx);
}


/* the next upstream is tried */

static ngx_int_t
ngx_http_gcs_takeover_reinit_request(ngx_http_request_t *r)
{
    ngx_http_gcs_ctx_t       *ctx;
    ngx_http_gcs_takeover_t  *t;

    ctx = ngx_http_get_module_ctx(r, ngx_http_gcs_proxy_module);
    t = ctx->takeover;

    return ngx_http_gcs_stock(r, &t->process_header, t->reinit_request);
}


static void
ngx_http_gcs_takeover_finalize_request(ngx_http_request_t *r, ngx_int_t rc)
{
    ngx_http_gcs_ctx_t       *ctx;
    ngx_http_gcs_takeover_t  *t;

    ctx = ngx_http_gcs_wrapped_ctx(r);
    t = ctx->takeover;

    t->asking = 0;

    /* without an answer each asks for itself, but if only its client left */

    ngx_http_gcs_verdict_end(t, rc != NGX_HTTP_CLIENT_CLOSED_REQUEST
                                && rc != NGX_DONE);

    t->finalize_request(r, rc);
}


/* HEAD is asked for as GET: applications do not sign for it, or refuse it */

ngx_int_t
ngx_http_gcs_takeover_method_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_gcs_ctx_t  *ctx;

    static ngx_str_t  get = ngx_string("GET");

    ctx = ngx_http_get_module_ctx(r, ngx_http_gcs_proxy_module);

    ngx_http_gcs_set_value(v, (ctx && ctx->takeover && ctx->takeover->asking)
                              ? &get : &r->method_name);

    return NGX_OK;
}


/*
 * Conditions are about the object, not about the application's redirect.  So
 * is a range, but a redirect does not heed it, and an application that sends
 * the bytes itself is to know.  An oracle is asked for as little as there is.
 */

ngx_int_t
ngx_http_gcs_takeover_header_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_table_elt_t     *h;
    ngx_http_gcs_ctx_t  *ctx;

    static ngx_str_t  first = ngx_string("bytes=0-0");

    ctx = ngx_http_get_module_ctx(r, ngx_http_gcs_proxy_module);

    v->not_found = 1;

    if (ctx && ctx->takeover && ctx->takeover->asking) {

        if (ctx->takeover->oracle) {

            if (data == offsetof(ngx_http_headers_in_t, range)) {
                ngx_http_gcs_set_value(v, &first);
            }

            return NGX_OK;
        }

        if (data != offsetof(ngx_http_headers_in_t, range)
            && data != offsetof(ngx_http_headers_in_t, if_range))
        {
            return NGX_OK;
        }
    }

    h = *(ngx_table_elt_t **) ((char *) &r->headers_in + data);

    if (h) {
        ngx_http_gcs_set_value(v, &h->value);
    }

    return NGX_OK;
}


/*
 * The application is sent the client's own query or what nginx has made of
 * it, as its "proxy_pass" says; there is a value only where both are the same.
 */

ngx_int_t
ngx_http_gcs_fileuri_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    char              *reason;
    u_char            *p, *last;
    ngx_int_t          rc;
    ngx_str_t          query;
    ngx_gcs_object_t   object;

    v->not_found = 1;

    last = r->unparsed_uri.data + r->unparsed_uri.len;

    p = ngx_strlchr(r->unparsed_uri.data, last, '?');

    if (p == NULL || r != r->main) {
        return NGX_OK;
    }

    query.data = p + 1;
    query.len = last - query.data;

    if (query.len != r->args.len
        || ngx_memcmp(query.data, r->args.data, query.len) != 0)
    {
        ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                      "gcs takeover: no object in the query: "
                      "it is not the client's own");
        return NGX_OK;
    }

    rc = ngx_gcs_fileuri(r->pool, &query, &object, &reason);

    if (rc == NGX_ERROR) {
        return NGX_ERROR;
    }

    if (rc == NGX_DECLINED) {
        ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                      "gcs takeover: no object in the query: %s", reason);
        return NGX_OK;
    }

    v->len = sizeof("gs://") - 1 + object.bucket.len + 1 + object.name.len;

    v->data = ngx_pnalloc(r->pool, v->len);
    if (v->data == NULL) {
        return NGX_ERROR;
    }

    ngx_sprintf(v->data, "gs://%V/%V", &object.bucket, &object.name);

    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    return NGX_OK;
}
