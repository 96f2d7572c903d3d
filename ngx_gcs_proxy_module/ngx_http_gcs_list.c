
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "ngx_http_gcs.h"


/* the request for a listing; see ngx_http_gcs_list_filter.c for the answer */


/* as many as GCS gives at most */
#define NGX_HTTP_GCS_LIST_LIMIT  1000


static ngx_http_gcs_list_t *ngx_http_gcs_list_create(ngx_http_request_t *r);
static void ngx_http_gcs_list_cleanup(void *data);
static void ngx_http_gcs_list_format(ngx_http_request_t *r,
    ngx_http_gcs_list_t *list);
static ngx_uint_t ngx_http_gcs_list_accepts(ngx_str_t *accept, char *type);
static ngx_int_t ngx_http_gcs_list_args(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx, ngx_http_gcs_list_t *list);
static ngx_int_t ngx_http_gcs_list_arg(ngx_http_request_t *r, char *name,
    ngx_str_t *value);
static ngx_int_t ngx_http_gcs_list_prefix(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx, ngx_http_gcs_list_t *list);
static void ngx_http_gcs_list_place(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx, ngx_http_gcs_list_t *list);
static ngx_int_t ngx_http_gcs_list_uri(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx, ngx_http_gcs_list_t *list);
static u_char *ngx_http_gcs_list_param(u_char *p, char *name,
    ngx_str_t *value);


ngx_uint_t
ngx_http_gcs_list_wanted(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    ngx_str_t                *name;
    ngx_http_gcs_loc_conf_t  *glcf;

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);

    name = &ctx->object.name;

    return glcf->passing
           && glcf->autoindex != NGX_HTTP_GCS_AUTOINDEX_OFF
           && r == r->main
           && ctx->takeover == NULL
           && (name->len == 0 || name->data[name->len - 1] == '/');
}


ngx_uint_t
ngx_http_gcs_list_may_follow(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    ngx_http_gcs_loc_conf_t  *glcf;

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);

    return ctx->indexed && r == r->main
           && (r->method & NGX_HTTP_GCS_READ & glcf->allowed)
           && glcf->autoindex != NGX_HTTP_GCS_AUTOINDEX_OFF;
}


ngx_int_t
ngx_http_gcs_list_handler(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    ngx_int_t                 rc;
    ngx_http_gcs_list_t      *list;
    ngx_http_gcs_loc_conf_t  *glcf;

    list = ctx->list;

    if (r != r->main) {

        /* another page of it, or something that has no business here */

        return (list && list->sr == r)
               ? ngx_http_gcs_list_uri(r, ctx, list) : NGX_HTTP_NOT_FOUND;
    }

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);

    if (!(r->method & NGX_HTTP_GCS_READ & glcf->allowed)) {
        return NGX_HTTP_NOT_ALLOWED;
    }

    list = ngx_http_gcs_list_create(r);
    if (list == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx->list = list;

    list->name = ctx->uri;
    list->xml = ngx_http_gcs_hmac(ctx->identity);

    ngx_http_gcs_list_format(r, list);

    rc = ngx_http_gcs_list_args(r, ctx, list);
    if (rc != NGX_OK) {
        return rc;
    }

    rc = ngx_http_gcs_list_prefix(r, ctx, list);
    if (rc != NGX_OK) {
        return rc;
    }

    ngx_http_gcs_list_place(r, ctx, list);

    /* what GCS says of its answer is not true of ours */

    r->disable_not_modified = 1;

    return ngx_http_gcs_list_uri(r, ctx, list);
}


static ngx_http_gcs_list_t *
ngx_http_gcs_list_create(ngx_http_request_t *r)
{
    u_char               *p;
    ngx_pool_cleanup_t   *cln;
    ngx_http_gcs_list_t  *list;

    cln = ngx_pool_cleanup_add(r->pool, sizeof(ngx_http_gcs_list_t));
    p = ngx_pnalloc(r->pool, NGX_GCS_LIST_TOKEN_MAX);

    if (cln == NULL || p == NULL) {
        return NULL;
    }

    list = cln->data;
    ngx_memzero(list, sizeof(ngx_http_gcs_list_t));

    list->token.data = p;
    list->limit = NGX_HTTP_GCS_LIST_LIMIT;
    list->start = ngx_current_msec;

    cln->handler = ngx_http_gcs_list_cleanup;

    return list;
}


static void
ngx_http_gcs_list_cleanup(void *data)
{
    ngx_http_gcs_list_t *list = data;

    if (list->previous) {
        ngx_destroy_pool(list->previous);
    }

    if (list->pool) {
        ngx_destroy_pool(list->pool);
    }
}


/* what the location says, but for one that cannot have use for it */

static void
ngx_http_gcs_list_format(ngx_http_request_t *r, ngx_http_gcs_list_t *list)
{
    ngx_str_t                *accept;
    ngx_http_gcs_loc_conf_t  *glcf;

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);

    accept = ngx_http_gcs_find_header(&r->headers_in.headers, "accept");

    list->page.format = (glcf->autoindex == NGX_HTTP_GCS_AUTOINDEX_HTML)
                        ? NGX_GCS_LIST_HTML : NGX_GCS_LIST_JSON;

    if (accept) {

        list->jsonl = ngx_http_gcs_list_accepts(accept, "application/jsonl");

        if (list->jsonl
            || ngx_http_gcs_list_accepts(accept, "application/x-ndjson"))
        {
            list->page.format = NGX_GCS_LIST_JSONL;

        } else if (ngx_http_gcs_list_accepts(accept, "application/json")
                   && !ngx_http_gcs_list_accepts(accept, "text/html"))
        {
            list->page.format = NGX_GCS_LIST_JSON;
        }
    }

    /* people turn pages */

    list->whole = (list->page.format != NGX_GCS_LIST_HTML);
}


static ngx_uint_t
ngx_http_gcs_list_accepts(ngx_str_t *accept, char *type)
{
    return ngx_strlcasestrn(accept->data, accept->data + accept->len,
                            (u_char *) type, ngx_strlen(type) - 1)
           != NULL;
}


static ngx_int_t
ngx_http_gcs_list_args(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx,
    ngx_http_gcs_list_t *list)
{
    ngx_int_t  n;
    ngx_str_t  value;

    if (ngx_http_gcs_list_arg(r, "prefix", &list->page.narrow) == NGX_ERROR
        || ngx_http_gcs_list_arg(r, "q", &list->page.filter) == NGX_ERROR
        || ngx_http_gcs_list_arg(r, "token", &value) == NGX_ERROR)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (value.len > NGX_GCS_LIST_TOKEN_MAX
        || list->page.filter.len > NGX_GCS_LIST_QUERY_MAX)
    {
        return ngx_http_gcs_refuse(r, ctx, NGX_HTTP_BAD_REQUEST,
                                   "invalid_argument",
                                   "\"q\" or \"token\" is too long");
    }

    list->token.len = value.len;
    ngx_memcpy(list->token.data, value.data, value.len);

    if (ngx_http_gcs_list_arg(r, "limit", &value) == NGX_ERROR) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (value.len) {
        n = ngx_atoi(value.data, value.len);

        if (n < 1 || n > NGX_HTTP_GCS_LIST_LIMIT) {
            return ngx_http_gcs_refuse(r, ctx, NGX_HTTP_BAD_REQUEST,
                                       "invalid_argument",
                                       "\"limit\" is not 1 to 1000");
        }

        list->limit = n;
        list->page.limit = n;
        list->whole = 0;
    }

    return NGX_OK;
}


/* of the client's query, decoded as a form's; empty if there is none */

static ngx_int_t
ngx_http_gcs_list_arg(ngx_http_request_t *r, char *name, ngx_str_t *value)
{
    u_char     *p;
    ngx_str_t   raw;

    ngx_str_set(value, "");

    if (ngx_http_arg(r, (u_char *) name, ngx_strlen(name), &raw) != NGX_OK
        || raw.len == 0)
    {
        return NGX_OK;
    }

    p = ngx_pnalloc(r->pool, raw.len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    value->data = p;
    value->len = ngx_gcs_unescape(p, raw.data, raw.len, 1) - p;

    return NGX_OK;
}


/*
 * "?prefix=" is put behind the name of the folder: it cannot lead out of it.
 * What is listed must be a name that could be asked for.
 */

static ngx_int_t
ngx_http_gcs_list_prefix(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx,
    ngx_http_gcs_list_t *list)
{
    char                     *reason;
    u_char                   *p;
    ngx_str_t                *folder, *narrow;
    ngx_gcs_object_t          object;
    ngx_http_gcs_loc_conf_t  *glcf;

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);

    folder = &ctx->object.name;
    narrow = &list->page.narrow;

    list->page.bucket = ctx->object.bucket;
    list->page.prefix = *folder;
    list->prefix = *folder;

    if (narrow->len) {
        p = ngx_pnalloc(r->pool, folder->len + narrow->len);
        if (p == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        list->prefix.data = p;
        list->prefix.len = folder->len + narrow->len;

        p = ngx_cpymem(p, folder->data, folder->len);
        ngx_memcpy(p, narrow->data, narrow->len);
    }

    reason = ngx_gcs_object_check(&list->prefix);

    if (reason == NULL && ngx_gcs_object_dot_segment(&list->prefix)) {
        reason = "\".\" or \"..\" segment in the prefix";
    }

    if (reason) {
        return ngx_http_gcs_refuse(r, ctx, NGX_HTTP_BAD_REQUEST,
                                   "invalid_argument", reason);
    }

    object.bucket = ctx->object.bucket;
    object.name = list->prefix;

    if (!ngx_http_gcs_bucket_allowed(glcf, &object)) {
        return ngx_http_gcs_refuse(r, ctx, NGX_HTTP_FORBIDDEN,
                                   "bucket_not_allowed",
                                   "not allowed by \"gcs_buckets\"");
    }

    return NGX_OK;
}


/* where the folder is to the client, if a name behind it leads to an object */

static void
ngx_http_gcs_list_place(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx,
    ngx_http_gcs_list_t *list)
{
    size_t                    len;
    ngx_str_t                *name, path, root;
    ngx_http_gcs_loc_conf_t  *glcf;

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);

    name = &ctx->object.name;

    len = glcf->pass ? name->len : glcf->target.name.len;

    path.data = name->data + len;
    path.len = name->len - len;

    root = r->uri;

    /* a link that begins with two slashes leads to another host */

    if (root.len && root.data[root.len - 1] == '/'
        && (root.len == 1 || root.data[1] != '/')
        && root.len <= NGX_GCS_LIST_BASE_MAX
        && root.len > path.len
        && (path.len == 0
            || ngx_memcmp(root.data + root.len - path.len, path.data, path.len)
               == 0))
    {
        list->page.base = r->uri;
        list->page.path = path;

        root.len -= path.len;
    }

    while (root.len && root.data[root.len - 1] == '/') {
        root.len--;
    }

    while (root.len && root.data[0] == '/') {
        root.data++;
        root.len--;
    }

    if (root.len == 0 || root.len > NGX_GCS_LIST_QUERY_MAX) {
        ngx_str_set(&root, "Files");
    }

    list->page.root = root;
}


static ngx_int_t
ngx_http_gcs_list_uri(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx,
    ngx_http_gcs_list_t *list)
{
    u_char                   *p;
    size_t                    len;
    ngx_str_t                *bucket, slash;
    ngx_http_gcs_loc_conf_t  *glcf;

    static char  json[] = "fields=items(name,size,updated,contentType,"
                          "generation,md5Hash),prefixes,nextPageToken";

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);

    bucket = &list->page.bucket;

    ngx_str_null(&slash);

    if (!glcf->autoindex_recursive) {
        ngx_str_set(&slash, "/");
    }

    len = sizeof("/storage/v1/b//o?continuation-token=&delimiter=%2F&"
                 "list-type=2&max-keys=1000&prefix=") + sizeof(json)
          + bucket->len
          + ngx_gcs_escape_query_len(list->token.data, list->token.len)
          + ngx_gcs_escape_query_len(list->prefix.data, list->prefix.len);

    p = ngx_pnalloc(r->pool, len);
    if (p == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx->uri.data = p;

    /* the parameters of XML are sorted, as they are signed */

    if (list->xml) {
        p = ngx_sprintf(p, "/%V?", bucket);
        p = ngx_http_gcs_list_param(p, "continuation-token=", &list->token);
        p = ngx_http_gcs_list_param(p, "delimiter=", &slash);
        p = ngx_sprintf(p, "list-type=2&max-keys=%ui", list->limit);
        *p++ = '&';
        p = ngx_http_gcs_list_param(p, "prefix=", &list->prefix);
        p -= (p[-1] == '&');

    } else {
        p = ngx_sprintf(p, "/storage/v1/b/%V/o?", bucket);
        p = ngx_http_gcs_list_param(p, "pageToken=", &list->token);
        p = ngx_http_gcs_list_param(p, "delimiter=", &slash);
        p = ngx_http_gcs_list_param(p, "prefix=", &list->prefix);
        p = ngx_sprintf(p, "maxResults=%ui&%s", list->limit, json);
    }

    ctx->uri.len = p - ctx->uri.data;

    ngx_gcs_list_init(&list->parser, list->xml);

    list->ended = 0;
    list->pages++;

    return NGX_OK;
}


/* a parameter and "&", if there is a value */

static u_char *
ngx_http_gcs_list_param(u_char *p, char *name, ngx_str_t *value)
{
    if (value->len == 0) {
        return p;
    }

    p = ngx_cpymem(p, name, ngx_strlen(name));
    p = ngx_gcs_escape_query(p, value->data, value->len);
    *p++ = '&';

    return p;
}


/*
 * Runs the stock proxy, but without a cache or a store that would name it as
 * another object.  It reads these flags before it returns, and not again, as
 * there is no request body to wait for.  For a listing HEAD is asked as GET,
 * whose header it is; see ngx_http_gcs_init_peer() for a retry.
 */

ngx_int_t
ngx_http_gcs_list_run(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    ngx_int_t                  rc;
    ngx_str_t                  method;
    ngx_flag_t                 store;
    ngx_flag_t                 cache;
    ngx_http_upstream_conf_t  *ucf;
    ngx_http_gcs_loc_conf_t   *glcf;

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);

    ucf = glcf->proxy;

    cache = ucf->cache;
    store = ucf->store;
    method = r->method_name;

    ucf->store = 0;

    if (ctx->listing || (ctx->replaced && glcf->cache_key.data)) {

        /* or, with a path in the key, one copy for each that is missing */

        ucf->cache = 0;
    }

    if (ctx->listing) {
        ngx_str_set(&r->method_name, "GET");
    }

    rc = ngx_http_gcs_proxied(r, ctx, glcf->proxy_handler);

    ucf->cache = cache;
    ucf->store = store;
    r->method_name = method;

    return rc;
}
