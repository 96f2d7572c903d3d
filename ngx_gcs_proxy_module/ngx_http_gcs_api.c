
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "ngx_http_gcs.h"


static ngx_int_t ngx_http_gcs_api_parse(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);
static ngx_int_t ngx_http_gcs_api_path(ngx_http_request_t *r,
    ngx_gcs_api_t *request);
static ngx_int_t ngx_http_gcs_api_origin(ngx_http_request_t *r,
    ngx_http_gcs_api_t *api);
static ngx_gcs_api_method_e ngx_http_gcs_api_method(ngx_http_request_t *r);
static ngx_int_t ngx_http_gcs_api_allowed(ngx_http_request_t *r,
    ngx_gcs_api_t *request);
static ngx_int_t ngx_http_gcs_api_refuse(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx, ngx_int_t rc);
static ngx_uint_t ngx_http_gcs_api_small(ngx_http_request_t *r);
static void ngx_http_gcs_api_body_handler(ngx_http_request_t *r);
static ngx_int_t ngx_http_gcs_api_body(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);
static ngx_int_t ngx_http_gcs_api_head(ngx_http_request_t *r, ngx_str_t *head);
static ngx_int_t ngx_http_gcs_api_rewrite_body(ngx_http_request_t *r,
    ngx_str_t *made);


ngx_int_t
ngx_http_gcs_api_resolve(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    ngx_int_t                 rc;
    ngx_http_gcs_api_t       *api;
    ngx_http_gcs_loc_conf_t  *glcf;

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);

    /* a variable may have asked before a "rewrite" led to here */

    if (ctx->api == NULL || !ctx->api->parsed || ctx->api->conf != glcf->api
        || ctx->api->rewritten == r->valid_unparsed_uri)
    {
        api = ngx_pcalloc(r->pool, sizeof(ngx_http_gcs_api_t));
        if (api == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        api->conf = glcf->api;
        api->rewritten = !r->valid_unparsed_uri;

        ctx->api = api;
        api->rc = ngx_http_gcs_api_parse(r, ctx);
        api->parsed = 1;
    }

    api = ctx->api;

    ctx->object = api->request.object;
    ctx->keyless = (api->request.op & NGX_GCS_API_SESSIONS) != 0;

    rc = api->rc;

    return (rc == NGX_OK) ? NGX_OK : ngx_http_gcs_api_refuse(r, ctx, rc);
}


static ngx_int_t
ngx_http_gcs_api_parse(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    ngx_int_t                 rc;
    ngx_str_t                *value;
    ngx_gcs_api_t            *request;
    ngx_http_gcs_loc_conf_t  *glcf;

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);

    request = &ctx->api->request;

    request->pool = r->pool;
    request->buckets = glcf->buckets;
    request->method = ngx_http_gcs_api_method(r);

    rc = ngx_http_gcs_api_path(r, request);
    if (rc != NGX_OK) {
        return rc;
    }

    rc = ngx_http_gcs_api_origin(r, ctx->api);
    if (rc != NGX_OK) {
        return rc;
    }

    if (glcf->user_project) {

        if (ngx_http_complex_value(r, glcf->user_project, &request->project)
            != NGX_OK)
        {
            return NGX_ERROR;
        }

    } else if (glcf->identity) {
        request->project = glcf->identity->quota_project;
    }

    value = ngx_http_gcs_find_header(&r->headers_in.headers,
                                     "x-goog-copy-source");
    if (value) {
        request->copy_source = *value;
    }

    value = ngx_http_gcs_find_header(&r->headers_in.headers,
                                     "x-goog-resumable");
    if (value) {

        if (value->len != sizeof("start") - 1
            || ngx_strncmp(value->data, "start", value->len) != 0)
        {
            return ngx_gcs_api_refuse(request, NGX_HTTP_BAD_REQUEST,
                                      "invalid_header",
                                      "\"X-Goog-Resumable\" is not \"start\"");
        }

        request->resumable = 1;
    }

    rc = ngx_gcs_api_parse(request);
    if (rc != NGX_OK) {
        return rc;
    }

    return ngx_http_gcs_api_allowed(r, request);
}


/*
 * The path as the client has sent it: "%2F" is no slash there.  The access
 * rules of nginx have seen r->uri, so both must say the same.
 */

static ngx_int_t
ngx_http_gcs_api_path(ngx_http_request_t *r, ngx_gcs_api_t *request)
{
    char       *reason;
    u_char     *p;
    ngx_int_t   rc;
    ngx_str_t   path;

    request->path = r->unparsed_uri;

    p = ngx_strlchr(r->unparsed_uri.data,
                    r->unparsed_uri.data + r->unparsed_uri.len, '?');

    if (p) {
        request->path.len = p - request->path.data;
        request->args.data = p + 1;
        request->args.len = r->unparsed_uri.len - request->path.len - 1;
    }

    request->xml = ngx_gcs_api_is_xml(&request->path);

    if (r != r->main || r->internal || !r->valid_unparsed_uri) {
        return ngx_gcs_api_refuse(request, NGX_HTTP_FORBIDDEN, "invalid_path",
                   "\"gcs_api\" needs the address that the client has sent, "
                   "not a rewritten one");
    }

    rc = ngx_gcs_object_decode_path(r->pool, &r->unparsed_uri, &path, &reason);

    if (rc == NGX_DECLINED) {
        return ngx_gcs_api_refuse(request, NGX_HTTP_BAD_REQUEST,
                                  "invalid_path", reason);
    }

    if (rc != NGX_OK) {
        return NGX_ERROR;
    }

    if ((path.len == r->uri.len
         && ngx_memcmp(path.data, r->uri.data, path.len) == 0)
        || ngx_gcs_object_same_path(&path, &r->uri))
    {
        return NGX_OK;
    }

    return ngx_gcs_api_refuse(request, NGX_HTTP_BAD_REQUEST, "invalid_path",
                              "the path is not what nginx has made of it");
}


/* where the client finds us: links and sessions lead there */

static ngx_int_t
ngx_http_gcs_api_origin(ngx_http_request_t *r, ngx_http_gcs_api_t *api)
{
    u_char                   *p;
    ngx_str_t                 value, *host;
    ngx_http_gcs_loc_conf_t  *glcf;

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);

    if (glcf->api->origin) {

        if (ngx_http_complex_value(r, glcf->api->origin, &value) != NGX_OK) {
            return NGX_ERROR;
        }

    } else {
        host = r->headers_in.host ? &r->headers_in.host->value
                                  : &r->headers_in.server;

        value.data = ngx_pnalloc(r->pool, sizeof("https://") - 1 + host->len);
        if (value.data == NULL) {
            return NGX_ERROR;
        }

        value.len = ngx_sprintf(value.data, "%s://%V",
                                r->connection->ssl ? "https" : "http", host)
                    - value.data;
    }

    if (!ngx_http_gcs_api_origin_valid(&value)) {
        return ngx_gcs_api_refuse(&api->request, NGX_HTTP_BAD_REQUEST,
                   "invalid_host", "no host, or none that links can name");
    }

    p = ngx_pnalloc(r->pool, value.len + 1);
    if (p == NULL) {
        return NGX_ERROR;
    }

    api->origin.data = p;
    api->origin.len = value.len + 1;

    p = ngx_cpymem(p, value.data, value.len);
    *p = '/';

    return NGX_OK;
}


static ngx_gcs_api_method_e
ngx_http_gcs_api_method(ngx_http_request_t *r)
{
    switch (r->method) {

    case NGX_HTTP_GET:
        return NGX_GCS_API_M_GET;

    case NGX_HTTP_HEAD:
        return NGX_GCS_API_M_HEAD;

    case NGX_HTTP_POST:
        return NGX_GCS_API_M_POST;

    case NGX_HTTP_PUT:
        return NGX_GCS_API_M_PUT;

    case NGX_HTTP_PATCH:
        return NGX_GCS_API_M_PATCH;

    case NGX_HTTP_DELETE:
        return NGX_GCS_API_M_DELETE;

    default:
        return NGX_GCS_API_M_OTHER;
    }
}


/* "gcs_methods" speaks of what is done, however the client puts it */

static ngx_int_t
ngx_http_gcs_api_allowed(ngx_http_request_t *r, ngx_gcs_api_t *request)
{
    ngx_uint_t                needed;
    ngx_http_gcs_loc_conf_t  *glcf;

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);

    needed = 0;

    if (request->needs & NGX_GCS_API_READS) {
        needed |= (r->method == NGX_HTTP_HEAD) ? NGX_HTTP_HEAD : NGX_HTTP_GET;
    }

    if (request->needs & NGX_GCS_API_WRITES) {
        needed |= NGX_HTTP_PUT;
    }

    if (request->needs & NGX_GCS_API_DELETES) {
        needed |= NGX_HTTP_DELETE;
    }

    if ((glcf->allowed & needed) == needed) {
        return NGX_OK;
    }

    if (needed & ~glcf->allowed & NGX_HTTP_PUT) {
        return ngx_gcs_api_refuse(request, NGX_HTTP_FORBIDDEN,
                   "method_not_allowed",
                   "writing is not allowed, \"gcs_methods\" does not name "
                   "\"PUT\"");
    }

    if (needed & ~glcf->allowed & NGX_HTTP_DELETE) {
        return ngx_gcs_api_refuse(request, NGX_HTTP_FORBIDDEN,
                   "method_not_allowed",
                   "deleting is not allowed, \"gcs_methods\" does not name "
                   "\"DELETE\"");
    }

    return ngx_gcs_api_refuse(request, NGX_HTTP_FORBIDDEN,
               "method_not_allowed",
               "reading is not allowed, \"gcs_methods\" does not name it");
}


/* rc as of the functions of ngx_gcs_api.h */

static ngx_int_t
ngx_http_gcs_api_refuse(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx,
    ngx_int_t rc)
{
    ngx_gcs_api_refusal_t  *refusal;

    if (rc != NGX_DECLINED) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    refusal = &ctx->api->request.refusal;

    return ngx_http_gcs_refuse(r, ctx, refusal->status, refusal->error,
                               refusal->text);
}


ngx_int_t
ngx_http_gcs_api_handler(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    ngx_int_t            rc;
    ngx_http_gcs_api_t  *api;

    api = ctx->api;

    if (ctx->identity->signature || ngx_http_gcs_hmac(ctx->identity)) {

        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "gcs credentials \"%V\" cannot be used with "
                      "\"gcs_api\", which needs a token",
                      &ctx->identity->name);

        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_http_gcs_api_headers(r, ctx);
    if (rc != NGX_OK) {
        return ngx_http_gcs_api_refuse(r, ctx, rc);
    }

    if (ngx_http_gcs_api_moved(r, ctx) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    switch (api->request.body) {

    case NGX_GCS_API_NONE:

        rc = ngx_http_discard_request_body(r);
        if (rc != NGX_OK) {
            return rc;
        }

        return ngx_http_gcs_run(r, ctx);

    case NGX_GCS_API_STREAM:

        if (ctx->keyless || !ngx_http_gcs_api_small(r)) {
            return ngx_http_gcs_run(r, ctx);
        }

        break;

    case NGX_GCS_API_METADATA:

        if (r->headers_in.content_length_n > NGX_GCS_API_METADATA_MAX) {
            rc = ngx_gcs_api_refuse(&api->request,
                                    NGX_HTTP_REQUEST_ENTITY_TOO_LARGE,
                                    "metadata_too_large",
                                    "metadata of more than 64 KiB");
            return ngx_http_gcs_api_refuse(r, ctx, rc);
        }

        if (ngx_http_gcs_api_limit_body(r, ctx) != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        break;

    default: /* NGX_GCS_API_MULTIPART */
        break;
    }

    rc = ngx_http_read_client_request_body(r, ngx_http_gcs_api_body_handler);

    return (rc >= NGX_HTTP_SPECIAL_RESPONSE) ? rc : NGX_DONE;
}


/* such a body is read first, so that it can be sent with another token */

static ngx_uint_t
ngx_http_gcs_api_small(ngx_http_request_t *r)
{
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    return !r->headers_in.chunked
           && r->headers_in.content_length_n
              <= (off_t) clcf->client_body_buffer_size;
}


static void
ngx_http_gcs_api_body_handler(ngx_http_request_t *r)
{
    ngx_int_t            rc;
    ngx_http_gcs_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_gcs_proxy_module);

    /* it has set one that reads the body */

    r->read_event_handler = ngx_http_block_reading;

    if (ctx->api->loc_conf) {
        r->loc_conf = ctx->api->loc_conf;
        ctx->api->loc_conf = NULL;
    }

    rc = NGX_OK;

    if (ctx->api->request.body != NGX_GCS_API_STREAM) {
        rc = ngx_http_gcs_api_body(r, ctx);

        if (rc != NGX_OK) {
            rc = ngx_http_gcs_api_refuse(r, ctx, rc);
        }
    }

    ngx_http_gcs_content_resume(r, rc);
}


/* nothing is asked of GCS before the body has been understood */

static ngx_int_t
ngx_http_gcs_api_body(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    ngx_int_t            rc;
    ngx_str_t            head, made, none;
    ngx_table_elt_t     *type;
    ngx_http_gcs_api_t  *api;

    api = ctx->api;

    rc = ngx_http_gcs_api_head(r, &head);
    if (rc != NGX_OK) {
        return rc;
    }

    if (api->request.body == NGX_GCS_API_METADATA) {
        rc = ngx_gcs_api_metadata(&api->request, &head, &made);

        if (rc == NGX_OK && made.len) {
            ngx_str_set(&api->type, "application/json; charset=UTF-8");
        }

    } else {
        ngx_str_null(&none);
        type = r->headers_in.content_type;

        rc = ngx_gcs_api_multipart(&api->request, type ? &type->value : &none,
                                   &head, &made, &api->type);
    }

    if (rc != NGX_OK) {
        return rc;
    }

    ctx->object = api->request.object;

    if (ngx_http_gcs_make_uri(r, ctx) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_http_gcs_api_rewrite_body(r, &made);
}


/* the beginning of the body, from memory and from a temporary file */

static ngx_int_t
ngx_http_gcs_api_head(ngx_http_request_t *r, ngx_str_t *head)
{
    off_t         size;
    size_t        n, max;
    u_char       *p;
    ssize_t       len;
    ngx_buf_t    *b;
    ngx_chain_t  *cl;

    ngx_str_null(head);

    if (r->request_body == NULL || r->request_body->bufs == NULL) {
        return NGX_OK;
    }

    size = 0;

    for (cl = r->request_body->bufs; cl; cl = cl->next) {
        size += ngx_buf_size(cl->buf);
    }

    /* as it was counted, a body in chunks has no length of its own */

    r->headers_in.content_length_n = size;

    max = (size_t) ngx_min(size, NGX_GCS_API_HEAD_MAX);

    p = ngx_pnalloc(r->pool, max + 1);
    if (p == NULL) {
        return NGX_ERROR;
    }

    head->data = p;
    head->len = max;

    for (cl = r->request_body->bufs; cl && max; cl = cl->next) {
        b = cl->buf;
        n = (size_t) ngx_min(ngx_buf_size(b), (off_t) max);

        if (ngx_buf_in_memory(b)) {
            ngx_memcpy(p, b->pos, n);

        } else {
            len = ngx_read_file(b->file, p, n, b->file_pos);

            if (len != (ssize_t) n) {
                return NGX_ERROR;
            }
        }

        p += n;
        max -= n;
    }

    return NGX_OK;
}


/*
 * Puts what was made in the place of what was read, which is as long: the
 * buffers stay as they are, also for another attempt.
 */

static ngx_int_t
ngx_http_gcs_api_rewrite_body(ngx_http_request_t *r, ngx_str_t *made)
{
    size_t        n, rest;
    u_char       *p;
    ssize_t       len;
    ngx_buf_t    *b;
    ngx_chain_t  *cl;

    p = made->data;
    rest = made->len;

    for (cl = r->request_body ? r->request_body->bufs : NULL;
         cl && rest;
         cl = cl->next)
    {
        b = cl->buf;
        n = (size_t) ngx_min(ngx_buf_size(b), (off_t) rest);

        /* of a buffer that has been written to a file only the file counts */

        if (ngx_buf_in_memory(b)) {
            ngx_memcpy(b->pos, p, n);
        }

        if (b->in_file) {
            len = ngx_write_file(b->file, p, n, b->file_pos);

            if (len != (ssize_t) n) {
                return NGX_ERROR;
            }
        }

        p += n;
        rest -= n;
    }

    return rest ? NGX_ERROR : NGX_OK;
}


ngx_int_t
ngx_http_gcs_api_rewrite_handler(ngx_http_request_t *r)
{
    ngx_http_gcs_loc_conf_t  *glcf;

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);

    if (glcf->api
        && ngx_gcs_api_mask(r->pool, &r->request_line) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return NGX_DECLINED;
}


/*
 * Whatever Google answers is for the client, who knows what to do about it,
 * but for what it says of our token.
 */

ngx_int_t
ngx_http_gcs_api_judge(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    u_char  *p;

    if (ctx->status == NGX_HTTP_UNAUTHORIZED) {
        ctx->step = NGX_HTTP_GCS_BODY;

        return ngx_http_gcs_judge_error(r, ctx);
    }

    if (ctx->status >= NGX_HTTP_BAD_REQUEST) {

        p = ngx_pnalloc(r->pool, sizeof("http_") - 1 + NGX_INT_T_LEN);
        if (p == NULL) {
            return NGX_ERROR;
        }

        ctx->error.data = p;
        ctx->error.len = ngx_sprintf(p, "http_%ui", ctx->status) - p;
    }

    return NGX_OK;
}
