
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "ngx_http_gcs.h"


static ngx_int_t ngx_http_gcs_resolve_object(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);
static ngx_int_t ngx_http_gcs_resolve_identity(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);
static ngx_int_t ngx_http_gcs_resolve_url(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx, ngx_http_complex_value_t *url);
static ngx_int_t ngx_http_gcs_resolve_path(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);
static ngx_int_t ngx_http_gcs_request_path(ngx_http_request_t *r,
    ngx_str_t *path, char **reason);
static void ngx_http_gcs_give_back(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);


ngx_int_t
ngx_http_gcs_resolve(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    ngx_int_t  rc;

    if (ctx->settled) {
        return NGX_OK;
    }

    /* a variable may have had a URL signed before a rewrite */

    ngx_str_null(&ctx->signed_url);

    rc = ngx_http_gcs_resolve_object(r, ctx);
    if (rc != NGX_OK) {
        return rc;
    }

    ctx->taken = ctx->takeover && ngx_http_gcs_takeover_is_of(ctx);

    /* the name of the identity may depend on the object */

    rc = ngx_http_gcs_resolve_identity(r, ctx);

    if (rc == NGX_OK && ctx->identity && ctx->identity->signature) {
        return ngx_http_gcs_takeover_signed(r, ctx);
    }

    return rc;
}


static ngx_int_t
ngx_http_gcs_resolve_object(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    char                     *reason;
    ngx_int_t                 rc;
    ngx_http_gcs_ctx_t       *pctx;
    ngx_http_gcs_loc_conf_t  *glcf;

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);

    ctx->addressed = 0;

    if (r != r->main && r->uri.data == r->parent->uri.data
        && r->loc_conf == r->parent->loc_conf)
    {
        /* a slice or a background update: the same object by definition */

        pctx = ngx_http_get_module_ctx(r->parent, ngx_http_gcs_proxy_module);

        if (pctx && pctx->addressed) {
            ctx->object = pctx->object;
            ctx->uri = pctx->uri;
            ctx->takeover = pctx->takeover;
            ctx->list = pctx->list;
            ctx->listing = pctx->listing;
            ctx->indexed = pctx->indexed;
            ctx->replaced = pctx->replaced;
            ctx->gzip = pctx->gzip;
            ctx->gzip_known = pctx->gzip_known;
            ctx->addressed = 1;

            return NGX_OK;
        }
    }

    if (glcf->api) {
        rc = ngx_http_gcs_api_resolve(r, ctx);

        return (rc == NGX_OK) ? ngx_http_gcs_make_uri(r, ctx) : rc;
    }

    if (glcf->passing) {
        rc = glcf->pass ? ngx_http_gcs_resolve_url(r, ctx, glcf->pass)
                        : ngx_http_gcs_resolve_path(r, ctx);

    } else if (glcf->object) {
        rc = ngx_http_gcs_resolve_url(r, ctx, glcf->object);

    } else {
        return NGX_OK;
    }

    if (rc != NGX_OK) {
        return rc;
    }

    reason = ngx_gcs_object_check(&ctx->object.name);

    if (reason) {
        return ngx_http_gcs_refuse(r, ctx, NGX_HTTP_BAD_REQUEST,
                                   "invalid_object_name", reason);
    }

    if (glcf->passing && glcf->pass == NULL
        && ngx_gcs_object_dot_segment(&ctx->object.name))
    {
        /* of a rewrite, or of a location that does not end in a slash */

        return ngx_http_gcs_refuse(r, ctx, NGX_HTTP_BAD_REQUEST,
                                   "invalid_path",
                                   "\".\" or \"..\" segment in the name");
    }

    if (!ngx_http_gcs_bucket_allowed(glcf, &ctx->object)) {
        return ngx_http_gcs_refuse(r, ctx, NGX_HTTP_FORBIDDEN,
                                   "bucket_not_allowed",
                                   "not allowed by \"gcs_buckets\"");
    }

    if (ngx_http_gcs_absent_index(r, ctx) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx->listing = ngx_http_gcs_list_wanted(r, ctx);

    if (ctx->listing) {
        return ngx_http_gcs_make_uri(r, ctx);
    }

    if (ctx->object.name.len == 0
        || (glcf->pass == NULL && glcf->passing
            && ctx->object.name.len == glcf->target.name.len
            && ctx->object.name.data[ctx->object.name.len - 1] == '/'))
    {
        return ngx_http_gcs_refuse(r, ctx, NGX_HTTP_NOT_FOUND,
                                   "no_object_name", "no object is named");
    }

    return ngx_http_gcs_make_uri(r, ctx);
}


static ngx_int_t
ngx_http_gcs_resolve_identity(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    ngx_str_t                  name;
    ngx_http_gcs_loc_conf_t   *glcf;
    ngx_http_gcs_main_conf_t  *gmcf;

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);

    ctx->identity = glcf->identity;

    if (ctx->identity || glcf->auth == NULL) {
        return NGX_OK;
    }

    if (ngx_http_complex_value(r, glcf->auth, &name) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    gmcf = ngx_http_get_module_main_conf(r, ngx_http_gcs_proxy_module);

    ctx->identity = ngx_http_gcs_identity(gmcf, &name);

    if (ctx->identity
        && (ctx->identity->undeclared || ctx->identity->signature))
    {
        /* "default" is there or not as other locations want it */

        ctx->identity = NULL;
    }

    if (ctx->identity == NULL) {

        if (ctx->quiet) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        ngx_str_set(&ctx->error, "unknown_identity");

        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "\"gcs_auth\" yields \"%V\", which no "
                      "\"gcs_credentials\" declares", &name);

        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_gcs_resolve_url(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx,
    ngx_http_complex_value_t *cv)
{
    char       *reason;
    ngx_str_t   url;

    if (ngx_http_complex_value(r, cv, &url) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    reason = ngx_gcs_object_parse_url(&url, &ctx->object);

    if (reason) {
        ctx->object.name = url;

        return ngx_http_gcs_refuse(r, ctx, NGX_HTTP_BAD_REQUEST,
                                   "invalid_object_url", reason);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_gcs_resolve_path(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    char                     *reason;
    u_char                   *p;
    size_t                    len;
    ngx_int_t                 rc;
    ngx_str_t                 path;
    ngx_http_gcs_loc_conf_t  *glcf;

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);

    ctx->object.bucket = glcf->target.bucket;

    rc = ngx_http_gcs_request_path(r, &path, &reason);

    if (rc == NGX_ERROR) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (rc == NGX_DECLINED) {
        ctx->object.name = r->uri;

        return ngx_http_gcs_refuse(r, ctx, NGX_HTTP_BAD_REQUEST,
                                   "invalid_path", reason);
    }

    len = 1;

    if (glcf->location.len) {

        /* what has matched is replaced, and the slash that parts it goes */

        len = glcf->location.len;

        if (path.len < len
            || ngx_filename_cmp(path.data, glcf->location.data, len) != 0)
        {
            ctx->object.name = path;

            return ngx_http_gcs_refuse(r, ctx, NGX_HTTP_BAD_REQUEST,
                       "invalid_path", "the path does not begin as written "
                       "in the location");
        }

        if (path.len > len && path.data[len] == '/'
            && path.data[len - 1] != '/')
        {
            len++;
        }
    }

    path.data += len;
    path.len -= len;

    if (glcf->target.name.len == 0) {
        ctx->object.name = path;
        return NGX_OK;
    }

    p = ngx_pnalloc(r->pool, glcf->target.name.len + path.len);
    if (p == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx->object.name.data = p;
    ctx->object.name.len = glcf->target.name.len + path.len;

    p = ngx_cpymem(p, glcf->target.name.data, glcf->target.name.len);
    ngx_memcpy(p, path.data, path.len);

    return NGX_OK;
}


/*
 * The path that names the object.  The access rules of nginx have seen
 * r->uri, where slashes are merged; the client's own path is taken only if it
 * says the same but for that.  After a rewrite or a redirect there is but
 * r->uri.
 */

static ngx_int_t
ngx_http_gcs_request_path(ngx_http_request_t *r, ngx_str_t *path,
    char **reason)
{
    ngx_int_t   rc;
    ngx_str_t  *raw, *uri;

    raw = &r->unparsed_uri;
    uri = &r->uri;

    if (r != r->main || r->internal || !r->valid_unparsed_uri) {
        *path = *uri;
        return NGX_OK;
    }

    if (raw->len >= uri->len
        && (raw->len == uri->len || raw->data[uri->len] == '?')
        && ngx_memcmp(raw->data, uri->data, uri->len) == 0)
    {
        /* nginx had nothing to decode, to merge or to remove */

        *path = *uri;
        return NGX_OK;
    }

    rc = ngx_gcs_object_decode_path(r->pool, raw, path, reason);

    if (rc != NGX_OK) {
        return rc;
    }

    if ((path->len == uri->len
         && ngx_memcmp(path->data, uri->data, path->len) == 0)
        || ngx_gcs_object_same_path(path, uri))
    {
        return NGX_OK;
    }

    *reason = "the path is not what nginx has made of it";

    return NGX_DECLINED;
}


ngx_uint_t
ngx_http_gcs_bucket_allowed(ngx_http_gcs_loc_conf_t *glcf,
    ngx_gcs_object_t *object)
{
    ngx_uint_t         i, dots;
    ngx_gcs_object_t  *allowed;

    if (glcf->buckets == NULL || (!glcf->passing && glcf->object == NULL)) {
        return 1;
    }

    allowed = glcf->buckets->elts;
    dots = ngx_gcs_object_dot_segment(&object->name);

    for (i = 0; i < glcf->buckets->nelts; i++) {

        if (allowed[i].bucket.len == object->bucket.len
            && ngx_memcmp(allowed[i].bucket.data, object->bucket.data,
                          object->bucket.len)
               == 0
            && (allowed[i].name.len == 0 || !dots)
            && allowed[i].name.len <= object->name.len
            && ngx_memcmp(allowed[i].name.data, object->name.data,
                          allowed[i].name.len)
               == 0)
        {
            return 1;
        }
    }

    return 0;
}


ngx_int_t
ngx_http_gcs_make_uri(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    u_char            *p;
    size_t             len;
    ngx_gcs_object_t  *object;

    object = &ctx->object;

    len = ngx_gcs_escape_path_len(object->name.data, object->name.len);

    p = ngx_pnalloc(r->pool, object->bucket.len + len + 2);
    if (p == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx->uri.data = p;
    ctx->uri.len = object->bucket.len + len + 2;

    *p++ = '/';
    p = ngx_cpymem(p, object->bucket.data, object->bucket.len);
    *p++ = '/';

    if (len == object->name.len) {
        ngx_memcpy(p, object->name.data, len);

    } else {
        (void) ngx_gcs_escape_path(p, object->name.data, object->name.len);
    }

    ctx->addressed = 1;

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "http gcs object: \"%V\"", &ctx->uri);

    return NGX_OK;
}


ngx_int_t
ngx_http_gcs_proxied(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx,
    ngx_http_handler_pt handler)
{
    ngx_int_t                 rc;
    ngx_http_gcs_loc_conf_t  *glcf;

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);

    if (!glcf->direct) {
        return handler(r);
    }

    ctx->lending = 1;
    ctx->lent = r->unparsed_uri;
    ctx->lent_valid = r->valid_unparsed_uri;

    r->unparsed_uri = ctx->uri;
    r->valid_unparsed_uri = 1;

    rc = handler(r);

    /* it has not come so far, or it was but create_request() */

    ngx_http_gcs_give_back(r, ctx);

    return rc;
}


static void
ngx_http_gcs_give_back(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    if (!ctx->lending) {
        return;
    }

    ctx->lending = 0;

    r->unparsed_uri = ctx->lent;

    /* the page of an error may have taken it back */

    r->valid_unparsed_uri = r->valid_unparsed_uri && ctx->lent_valid;
}


ngx_int_t
ngx_http_gcs_proxied_uri(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    ngx_http_upstream_t      *u;
    ngx_http_gcs_loc_conf_t  *glcf;

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);

    if (!glcf->direct) {
        return NGX_OK;
    }

    if (!ctx->lending) {
        ngx_log_error(NGX_LOG_ALERT, r->connection->log, 0,
                      "a proxied request was made too late");
        return NGX_ERROR;
    }

    ngx_http_gcs_give_back(r, ctx);

    u = r->upstream;

    u->ssl = (glcf->endpoint->ssl != NULL);

    if (u->ssl) {
        ngx_str_set(&u->schema, "https://");
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_gcs_refuse(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx,
    ngx_int_t status, char *error, char *reason)
{
    ngx_uint_t  level;

    if (ctx->quiet) {
        return status;
    }

    ctx->error.data = (u_char *) error;
    ctx->error.len = ngx_strlen(error);

    /* the client's doing, but for what the configuration forbids */

    level = (status == NGX_HTTP_FORBIDDEN) ? NGX_LOG_ERR : NGX_LOG_INFO;

    ngx_log_error(level, r->connection->log, 0, "gcs refused bucket \"%V\", "
                  "object \"%V\": %s", &ctx->object.bucket,
                  &ctx->object.name, reason);

    return status;
}
