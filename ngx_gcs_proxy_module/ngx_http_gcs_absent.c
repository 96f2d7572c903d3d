
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "ngx_http_gcs.h"


/*
 * What is done when GCS has no such object.  A folder, which "gcs_index" has
 * made an object of, may be listed; a name without its slash may be one of a
 * folder, which one entry of a listing tells, and is redirected there; and
 * "gcs_not_found" may have another object.
 *
 * It is the same request in the same location, with another name.  When 404
 * has been read the upstream is held, and as soon as nginx has left it, in an
 * event of its own, it is ended and another one is made.
 */


/* in ctx->absent: what comes next */

typedef enum {
    NGX_HTTP_GCS_ABSENT_NOTHING = 0,
    NGX_HTTP_GCS_ABSENT_LIST,
    NGX_HTTP_GCS_ABSENT_PROBE,
    NGX_HTTP_GCS_ABSENT_REDIRECT,
    NGX_HTTP_GCS_ABSENT_REPLACE
} ngx_http_gcs_absent_e;


static ngx_uint_t ngx_http_gcs_absent_next(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);
static ngx_uint_t ngx_http_gcs_absent_folder(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);
static ngx_int_t ngx_http_gcs_absent_replacement(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx, ngx_gcs_object_t *object);
static ngx_int_t ngx_http_gcs_absent_join(ngx_http_request_t *r,
    ngx_str_t *first, ngx_str_t *second, ngx_str_t *name);
static ngx_int_t ngx_http_gcs_absent_hold(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx, ngx_uint_t next);
static void ngx_http_gcs_absent_wake(ngx_event_t *ev);
static void ngx_http_gcs_absent_leave(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);
static ngx_int_t ngx_http_gcs_absent_go(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);
static ngx_int_t ngx_http_gcs_absent_probe(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);
static ngx_int_t ngx_http_gcs_absent_replace(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);
static ngx_int_t ngx_http_gcs_absent_redirect(ngx_http_request_t *r);


ngx_int_t
ngx_http_gcs_absent_index(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    ngx_str_t                *name;
    ngx_http_gcs_loc_conf_t  *glcf;

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);

    name = &ctx->object.name;

    ctx->indexed = 0;

    if (!glcf->passing || glcf->index.len == 0
        || ctx->takeover
        || !(r->method & NGX_HTTP_GCS_READ)
        || (glcf->presign_method.len
            && !(ngx_http_gcs_presign_bit(&glcf->presign_method)
                 & NGX_HTTP_GCS_READ))
        || (name->len && name->data[name->len - 1] != '/')
        || name->len + glcf->index.len > NGX_GCS_LIST_NAME_MAX)
    {
        return NGX_OK;
    }

    ctx->folder = *name;
    ctx->indexed = 1;

    return ngx_http_gcs_absent_join(r, &ctx->folder, &glcf->index, name);
}


ngx_int_t
ngx_http_gcs_absent(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    ngx_uint_t                next;
    ngx_http_upstream_t      *u;
    ngx_http_gcs_loc_conf_t  *glcf;

    static ngx_str_t  bucket = ngx_string("NoSuchBucket");

    if (ctx->status != NGX_HTTP_NOT_FOUND) {
        return NGX_DECLINED;
    }

    u = r->upstream;
    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);

    if (!r->background
        && (glcf->index.len || glcf->not_found.len
            || glcf->autoindex != NGX_HTTP_GCS_AUTOINDEX_OFF))
    {
        /*
         * A subrequest must not keep for main requests what these have more
         * to do about.  But in the background something is replaced, which
         * would be served forever.
         */

        u->cacheable = 0;
    }

    if (r != r->main
        || !(r->method & NGX_HTTP_GCS_READ)
        || ctx->takeover
        || ctx->listing || ctx->replaced
        || ctx->identity->signature
        || (ctx->error.len == bucket.len
            && ngx_memcmp(ctx->error.data, bucket.data, bucket.len) == 0))
    {
        return NGX_DECLINED;
    }

    if (u->cache_status == NGX_HTTP_CACHE_EXPIRED
        && (u->conf->cache_use_stale & NGX_HTTP_UPSTREAM_FT_HTTP_404))
    {
        /* the cache has the object, and the user wants that */

        return NGX_DECLINED;
    }

    next = ngx_http_gcs_absent_next(r, ctx);

    if (next == NGX_HTTP_GCS_ABSENT_NOTHING) {
        return NGX_DECLINED;
    }

    /* in case there is nothing else after all */

    ctx->absent_uri = ctx->uri;
    ctx->absent_error = ctx->error;
    ctx->absent_details = ctx->details;

    return ngx_http_gcs_absent_hold(r, ctx, next);
}


static ngx_uint_t
ngx_http_gcs_absent_next(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    ngx_gcs_object_t          object;
    ngx_http_gcs_loc_conf_t  *glcf;

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);

    if (ctx->indexed && glcf->autoindex != NGX_HTTP_GCS_AUTOINDEX_OFF) {
        return NGX_HTTP_GCS_ABSENT_LIST;
    }

    if (!ctx->probed && ngx_http_gcs_absent_folder(r, ctx)) {
        return NGX_HTTP_GCS_ABSENT_PROBE;
    }

    if (ngx_http_gcs_absent_replacement(r, ctx, &object) == NGX_OK) {
        return NGX_HTTP_GCS_ABSENT_REPLACE;
    }

    return NGX_HTTP_GCS_ABSENT_NOTHING;
}


/*
 * Whether the path of the client and a slash would be the one of a folder of
 * that name.  A path that begins with two slashes would be another host's in
 * a relative "Location", and one that the client has not sent is nobody's
 * business.
 */

static ngx_uint_t
ngx_http_gcs_absent_folder(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    u_char                   *p;
    ngx_str_t                 path, *name, *uri;
    ngx_http_gcs_loc_conf_t  *glcf;

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);

    uri = &r->uri;
    name = &ctx->object.name;

    if ((glcf->index.len == 0
         && glcf->autoindex == NGX_HTTP_GCS_AUTOINDEX_OFF)
        || ctx->indexed
        || glcf->http2
        || r->internal
        || name->len == 0 || name->data[name->len - 1] == '/'
        || uri->len < 2 || uri->data[1] == '/')
    {
        return 0;
    }

    path = *name;

    if (glcf->pass) {

        /* how its value is made of the path is not known, but to the user */

        for (p = name->data + name->len; p > name->data; p--) {
            if (p[-1] == '/') {
                break;
            }
        }

        path.data = p;
        path.len = name->data + name->len - p;

    } else {
        path.data += glcf->target.name.len;
        path.len -= glcf->target.name.len;
    }

    return path.len
           && path.len < uri->len
           && ngx_memcmp(uri->data + uri->len - path.len, path.data, path.len)
              == 0;
}


static ngx_int_t
ngx_http_gcs_absent_replacement(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx,
    ngx_gcs_object_t *object)
{
    ngx_int_t                 rc;
    ngx_str_t                 prefix;
    ngx_http_gcs_loc_conf_t  *glcf;

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);

    if (glcf->not_found.len == 0) {
        return NGX_DECLINED;
    }

    ngx_str_set(&prefix, "");

    if (glcf->pass == NULL) {
        prefix = glcf->target.name;
    }

    object->bucket = ctx->object.bucket;

    rc = ngx_http_gcs_absent_join(r, &prefix, &glcf->not_found, &object->name);

    if (rc != NGX_OK) {
        return NGX_ERROR;
    }

    return (object->name.len <= NGX_GCS_LIST_NAME_MAX
            && ngx_http_gcs_bucket_allowed(glcf, object))
           ? NGX_OK : NGX_DECLINED;
}


static ngx_int_t
ngx_http_gcs_absent_join(ngx_http_request_t *r, ngx_str_t *first,
    ngx_str_t *second, ngx_str_t *name)
{
    u_char  *p;
    size_t   len;

    len = first->len + second->len;

    p = ngx_pnalloc(r->pool, len);
    if (p == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_memcpy(p + first->len, second->data, second->len);

    if (first->len) {
        ngx_memcpy(p, first->data, first->len);
    }

    name->data = p;
    name->len = len;

    return NGX_OK;
}


ngx_int_t
ngx_http_gcs_absent_probed(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    char       *entry;
    ngx_buf_t  *b;
    ngx_uint_t  found, next;

    b = &r->upstream->buffer;

    /* neither can be in a name: it would be escaped */

    entry = ngx_http_gcs_hmac(ctx->identity) ? "<Contents>" : "\"items\"";

    found = (ctx->status == NGX_HTTP_OK
             && ngx_strlcasestrn(b->pos, b->last, (u_char *) entry,
                                 ngx_strlen(entry) - 1)
                != NULL);

    ctx->probing = 0;
    ctx->probed = 1;
    ctx->listing = 0;

    ctx->uri = ctx->absent_uri;
    ctx->error = ctx->absent_error;
    ctx->details = ctx->absent_details;
    ctx->status = NGX_HTTP_NOT_FOUND;

    next = found ? NGX_HTTP_GCS_ABSENT_REDIRECT
                 : ngx_http_gcs_absent_next(r, ctx);

    if (next == NGX_HTTP_GCS_ABSENT_NOTHING) {
        return ngx_http_gcs_fail(r, ctx, NGX_HTTP_NOT_FOUND);
    }

    return ngx_http_gcs_absent_hold(r, ctx, next);
}


static ngx_int_t
ngx_http_gcs_absent_hold(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx,
    ngx_uint_t next)
{
    ctx->absent = next;

    ctx->timer.handler = ngx_http_gcs_absent_wake;
    ctx->timer.data = ctx;
    ctx->timer.log = r->connection->log;

    ngx_post_event(&ctx->timer, &ngx_posted_events);

    return ngx_http_gcs_hold(r, ctx);
}


static void
ngx_http_gcs_absent_wake(ngx_event_t *ev)
{
    ngx_http_gcs_ctx_t *ctx = ev->data;

    ngx_int_t            rc;
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    r = ctx->request;
    c = r->connection;

    ngx_http_set_log_request(c->log, r);

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, c->log, 0,
                   "http gcs absent: %ui, \"%V\"", ctx->absent, &ctx->uri);

    ngx_http_gcs_absent_leave(r, ctx);

    rc = ngx_http_gcs_absent_go(r, ctx);

    ngx_http_finalize_request(r, rc);

    ngx_http_run_posted_requests(c);
}


/* as ngx_http_upstream_create() does before it makes another one */

static void
ngx_http_gcs_absent_leave(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    ngx_http_upstream_t  *u;

    u = r->upstream;

    if (u->cleanup) {
        r->main->count++;
        (*u->cleanup)(r);
    }

    r->cache = NULL;

    ctx->step = NGX_HTTP_GCS_HEADER;
    ctx->attempts = 0;
    ctx->status = 0;
    ctx->result = 0;
    ctx->no_range = 0;
    ctx->ranged = 0;
    ctx->header = NULL;

    ngx_str_null(&ctx->error);
    ngx_str_null(&ctx->details);

    /* of the other name */

    ngx_str_null(&ctx->signature);
}


static ngx_int_t
ngx_http_gcs_absent_go(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    ngx_int_t  rc;

    switch (ctx->absent) {

    case NGX_HTTP_GCS_ABSENT_LIST:

        ctx->indexed = 0;
        ctx->listing = 1;
        ctx->object.name = ctx->folder;

        rc = ngx_http_gcs_make_uri(r, ctx);

        if (rc == NGX_OK) {
            rc = ngx_http_gcs_list_handler(r, ctx);
        }

        break;

    case NGX_HTTP_GCS_ABSENT_PROBE:
        rc = ngx_http_gcs_absent_probe(r, ctx);
        break;

    case NGX_HTTP_GCS_ABSENT_REDIRECT:
        rc = ngx_http_gcs_absent_redirect(r);
        break;

    default: /* NGX_HTTP_GCS_ABSENT_REPLACE */
        rc = ngx_http_gcs_absent_replace(r, ctx);
    }

    return (rc == NGX_OK) ? ngx_http_gcs_run(r, ctx) : rc;
}


static ngx_int_t
ngx_http_gcs_absent_probe(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    u_char     *p;
    size_t      len;
    ngx_str_t  *bucket, *name;

    static char  json[] = "&maxResults=1&fields=items(generation)";

    name = &ctx->object.name;
    bucket = &ctx->object.bucket;

    len = sizeof("/storage/v1/b//o?list-type=2&max-keys=1&prefix=%2F")
          + sizeof(json) + bucket->len
          + ngx_gcs_escape_query_len(name->data, name->len);

    p = ngx_pnalloc(r->pool, len);
    if (p == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx->uri.data = p;

    if (ngx_http_gcs_hmac(ctx->identity)) {
        p = ngx_sprintf(p, "/%V?list-type=2&max-keys=1&prefix=", bucket);
        p = ngx_gcs_escape_query(p, name->data, name->len);
        p = ngx_cpymem(p, "%2F", 3);

    } else {
        p = ngx_sprintf(p, "/storage/v1/b/%V/o?prefix=", bucket);
        p = ngx_gcs_escape_query(p, name->data, name->len);
        p = ngx_sprintf(p, "%%2F%s", json);
    }

    ctx->uri.len = p - ctx->uri.data;

    ctx->probing = 1;
    ctx->listing = 1;

    return NGX_OK;
}


static ngx_int_t
ngx_http_gcs_absent_replace(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    ngx_gcs_object_t          object;
    ngx_http_gcs_loc_conf_t  *glcf;

    if (ngx_http_gcs_absent_replacement(r, ctx, &object) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);

    ctx->object = object;
    ctx->indexed = 0;
    ctx->replaced = 1;

    if (glcf->not_found_status != NGX_HTTP_OK) {

        /* as with an "error_page"; a part or 304 would be of no use to it */

        r->err_status = glcf->not_found_status;
        ctx->bare = 1;
    }

    return ngx_http_gcs_make_uri(r, ctx);
}


/* as the static module does */

static ngx_int_t
ngx_http_gcs_absent_redirect(ngx_http_request_t *r)
{
    u_char     *p;
    size_t      len;
    ngx_str_t   location, *uri;

    uri = &r->uri;

    len = ngx_gcs_escape_path_len(uri->data, uri->len) + sizeof("/?") - 1
          + r->args.len;

    p = ngx_pnalloc(r->pool, len);
    if (p == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    location.data = p;

    p = ngx_gcs_escape_path(p, uri->data, uri->len);
    *p++ = '/';

    if (r->args.len) {
        *p++ = '?';
        p = ngx_cpymem(p, r->args.data, r->args.len);
    }

    location.len = p - location.data;

    ngx_http_clear_location(r);

    r->headers_out.location = ngx_http_gcs_add_header(r, "Location",
                                                      &location);
    if (r->headers_out.location == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return NGX_HTTP_MOVED_PERMANENTLY;
}
