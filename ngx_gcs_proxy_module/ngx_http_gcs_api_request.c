
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "ngx_http_gcs.h"


/* what of a client's request goes to GCS */


typedef enum {
    NGX_HTTP_GCS_API_ALWAYS = 0,
    NGX_HTTP_GCS_API_WITH_BODY,
    NGX_HTTP_GCS_API_WITH_BYTES,  /* the body is but the object's */
    NGX_HTTP_GCS_API_NEVER,       /* it is not asked for without it, either */
    NGX_HTTP_GCS_API_ACL,
    NGX_HTTP_GCS_API_DROPPED
} ngx_http_gcs_api_when_e;


typedef struct {
    ngx_str_t                name;   /* a beginning, if it ends with "*" */
    ngx_http_gcs_api_when_e  when;
} ngx_http_gcs_api_name_t;


static ngx_uint_t ngx_http_gcs_api_foreign(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);
static ngx_int_t ngx_http_gcs_api_header(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx, ngx_str_t *name, ngx_str_t *value);
static ngx_http_gcs_api_name_t *ngx_http_gcs_api_known(ngx_str_t *name);
static ngx_int_t ngx_http_gcs_api_give(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx, ngx_str_t *name, ngx_str_t *value);


/* the first that fits counts; what is not here is dropped */

static ngx_http_gcs_api_name_t  ngx_http_gcs_api_names[] = {

    { ngx_string("accept"), NGX_HTTP_GCS_API_ALWAYS },
    { ngx_string("accept-encoding"), NGX_HTTP_GCS_API_ALWAYS },
    { ngx_string("if-match"), NGX_HTTP_GCS_API_ALWAYS },
    { ngx_string("if-modified-since"), NGX_HTTP_GCS_API_ALWAYS },
    { ngx_string("if-none-match"), NGX_HTTP_GCS_API_ALWAYS },
    { ngx_string("if-range"), NGX_HTTP_GCS_API_ALWAYS },
    { ngx_string("if-unmodified-since"), NGX_HTTP_GCS_API_ALWAYS },
    { ngx_string("range"), NGX_HTTP_GCS_API_ALWAYS },
    { ngx_string("x-goog-api-client"), NGX_HTTP_GCS_API_ALWAYS },
    { ngx_string("x-goog-encryption-*"), NGX_HTTP_GCS_API_ALWAYS },
    { ngx_string("x-goog-gcs-idempotency-token"), NGX_HTTP_GCS_API_ALWAYS },
    { ngx_string("x-goog-if-*"), NGX_HTTP_GCS_API_ALWAYS },
    { ngx_string("x-guploader-no-308"), NGX_HTTP_GCS_API_ALWAYS },

    { ngx_string("x-goog-copy-source-*"), NGX_HTTP_GCS_API_WITH_BODY },
    { ngx_string("x-goog-hash"), NGX_HTTP_GCS_API_WITH_BODY },
    { ngx_string("x-upload-content-length"), NGX_HTTP_GCS_API_WITH_BODY },
    { ngx_string("x-upload-content-type"), NGX_HTTP_GCS_API_WITH_BODY },

    { ngx_string("cache-control"), NGX_HTTP_GCS_API_WITH_BYTES },
    { ngx_string("content-disposition"), NGX_HTTP_GCS_API_WITH_BYTES },
    { ngx_string("content-encoding"), NGX_HTTP_GCS_API_WITH_BYTES },
    { ngx_string("content-language"), NGX_HTTP_GCS_API_WITH_BYTES },
    { ngx_string("content-md5"), NGX_HTTP_GCS_API_WITH_BYTES },
    { ngx_string("content-range"), NGX_HTTP_GCS_API_WITH_BYTES },
    { ngx_string("content-type"), NGX_HTTP_GCS_API_WITH_BYTES },
    { ngx_string("x-goog-content-length-range"),
      NGX_HTTP_GCS_API_WITH_BYTES },
    { ngx_string("x-goog-custom-time"), NGX_HTTP_GCS_API_WITH_BYTES },
    { ngx_string("x-goog-meta-*"), NGX_HTTP_GCS_API_WITH_BYTES },
    { ngx_string("x-goog-metadata-directive"), NGX_HTTP_GCS_API_WITH_BYTES },
    { ngx_string("x-goog-resumable"), NGX_HTTP_GCS_API_WITH_BYTES },
    { ngx_string("x-goog-storage-class"), NGX_HTTP_GCS_API_WITH_BYTES },

    /* whose identity it is, and who is billed, is not the client's to say */

    { ngx_string("x-goog-allowed-resources"), NGX_HTTP_GCS_API_DROPPED },
    { ngx_string("x-goog-api-key"), NGX_HTTP_GCS_API_DROPPED },
    { ngx_string("x-goog-authenticated-*"), NGX_HTTP_GCS_API_DROPPED },
    { ngx_string("x-goog-content-sha256"), NGX_HTTP_GCS_API_DROPPED },
    { ngx_string("x-goog-copy-source"), NGX_HTTP_GCS_API_DROPPED },
    { ngx_string("x-goog-custom-audit-*"), NGX_HTTP_GCS_API_DROPPED },
    { ngx_string("x-goog-date"), NGX_HTTP_GCS_API_DROPPED },
    { ngx_string("x-goog-iam-*"), NGX_HTTP_GCS_API_DROPPED },
    { ngx_string("x-goog-iap-*"), NGX_HTTP_GCS_API_DROPPED },
    { ngx_string("x-goog-project-id"), NGX_HTTP_GCS_API_DROPPED },
    { ngx_string("x-goog-request-*"), NGX_HTTP_GCS_API_DROPPED },
    { ngx_string("x-goog-user-project"), NGX_HTTP_GCS_API_DROPPED },

    { ngx_string("x-goog-acl"), NGX_HTTP_GCS_API_ACL },
    { ngx_string("x-goog-grant-*"), NGX_HTTP_GCS_API_ACL },

    /* without it the request would be another one */

    { ngx_string("x-amz-*"), NGX_HTTP_GCS_API_NEVER },
    { ngx_string("x-goog-*"), NGX_HTTP_GCS_API_NEVER },
    { ngx_string("x-http-method"), NGX_HTTP_GCS_API_NEVER },
    { ngx_string("x-http-method-override"), NGX_HTTP_GCS_API_NEVER },
    { ngx_string("x-method-override"), NGX_HTTP_GCS_API_NEVER },

    { ngx_null_string, NGX_HTTP_GCS_API_DROPPED }
};


ngx_int_t
ngx_http_gcs_api_headers(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    ngx_int_t                    rc;
    ngx_str_t                    name;
    ngx_table_elt_t             *h;
    ngx_http_gcs_header_walk_t   at;

    if ((ctx->api->request.needs & (NGX_GCS_API_WRITES|NGX_GCS_API_DELETES))
        && ngx_http_gcs_api_foreign(r, ctx))
    {
        return ngx_gcs_api_refuse(&ctx->api->request, NGX_HTTP_FORBIDDEN,
                   "api_cross_site",
                   "a page of another site has made this request");
    }

    for (h = ngx_http_gcs_header_first(&at, &r->headers_in.headers);
         h;
         h = ngx_http_gcs_header_next(&at))
    {
        if (h->hash == 0) {
            continue;
        }

        name.data = h->lowcase_key;
        name.len = h->key.len;

        rc = ngx_http_gcs_api_header(r, ctx, &name, &h->value);
        if (rc != NGX_OK) {
            return rc;
        }
    }

    if (ctx->api->request.copied.len) {
        ngx_str_set(&name, "x-goog-copy-source");

        return ngx_http_gcs_api_give(r, ctx, &name, &ctx->api->request.copied);
    }

    return NGX_OK;
}


/*
 * A browser sends a POST for any page, with what it has of cookies, and from
 * where it is.  It tells whose page it was; other clients tell nothing.
 */

static ngx_uint_t
ngx_http_gcs_api_foreign(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    u_char     *p, *last;
    ngx_str_t  *value, ours;

    value = ngx_http_gcs_find_header(&r->headers_in.headers,
                                     "sec-fetch-site");

    if (value && !ngx_gcs_api_is(value, "same-origin")
        && !ngx_gcs_api_is(value, "none"))
    {
        return 1;
    }

    value = ngx_http_gcs_find_header(&r->headers_in.headers, "origin");

    if (value == NULL) {
        return 0;
    }

    /* the scheme is not compared, TLS may end in front of us */

    last = value->data + value->len;
    p = ngx_strlchr(value->data, last, '/');

    ours = ctx->api->origin;

    while (*ours.data++ != '/') {
        /* void */
    }

    ours.len = ctx->api->origin.len - (ours.data - ctx->api->origin.data);

    /* "/HOST" and "/HOST/" */

    return p == NULL || (size_t) (last - p) != ours.len
           || ngx_strncasecmp(p + 1, ours.data, ours.len - 1) != 0;
}


static ngx_int_t
ngx_http_gcs_api_header(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx,
    ngx_str_t *name, ngx_str_t *value)
{
    size_t                    i;
    ngx_gcs_api_t            *request;
    ngx_http_gcs_loc_conf_t  *glcf;
    ngx_http_gcs_api_name_t  *known;

    request = &ctx->api->request;
    known = ngx_http_gcs_api_known(name);

    switch (known->when) {

    case NGX_HTTP_GCS_API_DROPPED:
        return NGX_OK;

    case NGX_HTTP_GCS_API_NEVER:
        return ngx_gcs_api_refuse(request, NGX_HTTP_FORBIDDEN,
                   "api_not_supported",
                   "a request header that \"gcs_api\" does not know");

    case NGX_HTTP_GCS_API_ACL:
        return ngx_gcs_api_refuse(request, NGX_HTTP_FORBIDDEN, "api_acl",
                   "who may read an object is not set through \"gcs_api\"");

    case NGX_HTTP_GCS_API_WITH_BODY:

        if (request->body == NGX_GCS_API_NONE) {
            return NGX_OK;
        }

        break;

    case NGX_HTTP_GCS_API_WITH_BYTES:

        if (request->body != NGX_GCS_API_STREAM) {
            return NGX_OK;
        }

        break;

    default: /* NGX_HTTP_GCS_API_ALWAYS */

        if (!request->media
            && name->len == sizeof("accept-encoding") - 1
            && ngx_memcmp(name->data, "accept-encoding", name->len) == 0)
        {
            /* links are looked for in it */

            return NGX_OK;
        }

        break;
    }

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);

    if (ngx_http_gcs_is_set(glcf, name)) {
        return NGX_OK;
    }

    for (i = 0; i < value->len; i++) {

        if ((value->data[i] < 0x20 && value->data[i] != '\t')
            || value->data[i] == 0x7f)
        {
            return ngx_gcs_api_refuse(request, NGX_HTTP_BAD_REQUEST,
                       "invalid_header",
                       "a control character in a request header");
        }
    }

    return ngx_http_gcs_api_give(r, ctx, name, value);
}


static ngx_http_gcs_api_name_t *
ngx_http_gcs_api_known(ngx_str_t *name)
{
    size_t                    len;
    ngx_http_gcs_api_name_t  *known;

    for (known = ngx_http_gcs_api_names; known->name.len; known++) {

        len = known->name.len;

        if (known->name.data[len - 1] == '*') {
            len--;

            if (name->len <= len) {
                continue;
            }

        } else if (name->len != len) {
            continue;
        }

        if (ngx_memcmp(known->name.data, name->data, len) == 0) {
            break;
        }
    }

    return known;
}


static ngx_int_t
ngx_http_gcs_api_give(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx,
    ngx_str_t *name, ngx_str_t *value)
{
    ngx_keyval_t  *h;

    if (ctx->given == NULL) {
        ctx->given = ngx_array_create(r->pool, 8, sizeof(ngx_keyval_t));
        if (ctx->given == NULL) {
            return NGX_ERROR;
        }
    }

    h = ngx_array_push(ctx->given);
    if (h == NULL) {
        return NGX_ERROR;
    }

    h->key = *name;
    h->value = *value;

    return NGX_OK;
}


ngx_int_t
ngx_http_gcs_api_target_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_gcs_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_gcs_proxy_module);

    if (ctx == NULL || !ctx->passed || ctx->api == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    ngx_http_gcs_set_value(v, &ctx->api->request.target);

    return NGX_OK;
}


/* "User-Agent" and all the other headers, as lines that follow it */

ngx_int_t
ngx_http_gcs_api_lines_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    size_t               i, len;
    u_char              *p;
    ngx_str_t           *agent, *type;
    ngx_http_gcs_ctx_t  *ctx;

    static ngx_str_t  own = ngx_string(NGX_HTTP_GCS_USER_AGENT);

    ctx = ngx_http_get_module_ctx(r, ngx_http_gcs_proxy_module);

    if (ctx == NULL || !ctx->passed || ctx->api == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    agent = r->headers_in.user_agent ? &r->headers_in.user_agent->value : &own;
    agent = agent->len ? agent : &own;

    for (i = 0; i < agent->len; i++) {

        if ((agent->data[i] < 0x20 && agent->data[i] != '\t')
            || agent->data[i] == 0x7f)
        {
            agent = &own;
            break;
        }
    }

    type = &ctx->api->type;

    len = agent->len + ngx_http_gcs_given_len(ctx);

    if (type->len) {
        len += sizeof(CRLF "Content-Type: ") - 1 + type->len;
    }

    p = ngx_pnalloc(r->pool, len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    v->data = p;
    v->len = len;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    p = ngx_cpymem(p, agent->data, agent->len);

    if (type->len) {
        p = ngx_sprintf(p, CRLF "Content-Type: %V", type);
    }

    ngx_http_gcs_given_lines(ctx, p);

    return NGX_OK;
}


/* as with every write: no body at all has a length too */

ngx_int_t
ngx_http_gcs_api_length_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    u_char              *p;
    ngx_http_gcs_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_gcs_proxy_module);

    v->not_found = 1;

    if (ctx == NULL || ctx->api == NULL
        || ctx->api->request.body == NGX_GCS_API_NONE
        || (r->headers_in.chunked && r->reading_body))
    {
        return NGX_OK;
    }

    p = ngx_pnalloc(r->pool, NGX_OFF_T_LEN);
    if (p == NULL) {
        return NGX_ERROR;
    }

    v->data = p;
    v->len = ngx_sprintf(p, "%O", ngx_max(r->headers_in.content_length_n, 0))
             - p;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    return NGX_OK;
}


ngx_int_t
ngx_http_gcs_api_limit_body(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    void                      **loc_conf;
    ngx_http_core_loc_conf_t   *clcf, *limited;

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    if (clcf->client_max_body_size
        && clcf->client_max_body_size <= NGX_GCS_API_METADATA_MAX)
    {
        return NGX_OK;
    }

    loc_conf = ngx_palloc(r->pool, ngx_http_max_module * sizeof(void *));
    limited = ngx_palloc(r->pool, sizeof(ngx_http_core_loc_conf_t));

    if (loc_conf == NULL || limited == NULL) {
        return NGX_ERROR;
    }

    *limited = *clcf;
    limited->client_max_body_size = NGX_GCS_API_METADATA_MAX;

    ngx_memcpy(loc_conf, r->loc_conf, ngx_http_max_module * sizeof(void *));

    loc_conf[ngx_http_core_module.ctx_index] = limited;

    ctx->api->loc_conf = r->loc_conf;
    r->loc_conf = loc_conf;

    return NGX_OK;
}


ngx_int_t
ngx_http_gcs_api_moved(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    ngx_int_t         rc;
    ngx_str_t         uri;
    ngx_gcs_object_t  object;

    ngx_str_null(&ctx->moved);

    if (ctx->api->request.op != NGX_GCS_API_MOVE) {
        return NGX_OK;
    }

    uri = ctx->uri;
    object = ctx->object;

    ctx->object = ctx->api->request.source;

    rc = ngx_http_gcs_make_uri(r, ctx);

    ctx->moved = ctx->uri;

    ctx->uri = uri;
    ctx->object = object;

    return rc;
}
