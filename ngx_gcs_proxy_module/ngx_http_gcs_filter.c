
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "ngx_http_gcs.h"


/*
 * A module of its own: it stands after the proxy in nginx's list, so that its
 * merge sees what the proxy's has made, and its header filter runs early.
 */


typedef struct ngx_http_gcs_pass_header_s  ngx_http_gcs_pass_header_t;

struct ngx_http_gcs_pass_header_s {
    ngx_str_t                    name;
    ngx_http_gcs_pass_header_t  *next;       /* of the same length */
};


static void *ngx_http_gcs_filter_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_gcs_filter_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child);
static ngx_int_t ngx_http_gcs_filter_init(ngx_conf_t *cf);
static ngx_int_t ngx_http_gcs_header_filter(ngx_http_request_t *r);
static void ngx_http_gcs_clean_headers(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);
static ngx_uint_t ngx_http_gcs_header_told(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx, ngx_str_t *name);
static ngx_uint_t ngx_http_gcs_header_wanted(ngx_http_request_t *r,
    ngx_str_t *name);
static ngx_uint_t ngx_http_gcs_header_passes(ngx_str_t *name);
static ngx_uint_t ngx_http_gcs_header_is(u_char *name, ngx_str_t *pass);
static void ngx_http_gcs_check_gunzip(ngx_http_request_t *r);
static ngx_uint_t ngx_http_gcs_active_content(ngx_http_request_t *r);
static ngx_uint_t ngx_http_gcs_token_char(u_char ch);


static ngx_http_module_t  ngx_http_gcs_filter_module_ctx = {
    NULL,                                  /* preconfiguration */
    ngx_http_gcs_filter_init,              /* postconfiguration */

    NULL,                                  /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_http_gcs_filter_create_loc_conf,   /* create location configuration */
    ngx_http_gcs_filter_merge_loc_conf     /* merge location configuration */
};


ngx_module_t  ngx_http_gcs_filter_module = {
    NGX_MODULE_V1,
    &ngx_http_gcs_filter_module_ctx,       /* module context */
    NULL,                                  /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    NULL,                                  /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    NULL,                                  /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


static ngx_http_output_header_filter_pt  ngx_http_next_header_filter;


/*
 * What may pass of a response.  All the rest is Google's business (x-goog-*,
 * X-GUploader-UploadID, Alt-Svc, which would send browsers to Google's port
 * on our host) or the bucket's (CORS), or must not come from a store of
 * objects at all (Set-Cookie).  Content-Type and the like have fields of
 * their own in nginx.
 */

static ngx_http_gcs_pass_header_t  ngx_http_gcs_pass_headers[] = {
    { ngx_string("content-type"), NULL },
    { ngx_string("content-length"), NULL },
    { ngx_string("content-range"), NULL },
    { ngx_string("content-encoding"), NULL },
    { ngx_string("content-language"), NULL },
    { ngx_string("content-disposition"), NULL },
    { ngx_string("etag"), NULL },
    { ngx_string("last-modified"), NULL },
    { ngx_string("cache-control"), NULL },
    { ngx_string("expires"), NULL },
    { ngx_string("accept-ranges"), NULL },

    /* of nginx's own answers */
    { ngx_string("allow"), NULL },
    { ngx_string("location"), NULL },
    { ngx_string("retry-after"), NULL },
    { ngx_string("www-authenticate"), NULL },
    { ngx_null_string, NULL }
};


/* the first of each length: most of what is dropped differs in it already */

static ngx_http_gcs_pass_header_t  *ngx_http_gcs_pass_lengths[32];


static void *
ngx_http_gcs_filter_create_loc_conf(ngx_conf_t *cf)
{
    /* nothing: it is here so that nginx calls the merge */

    return ngx_palloc(cf->pool, 1);
}


static char *
ngx_http_gcs_filter_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child)
{
    char                     *rv;
    ngx_http_gcs_loc_conf_t  *conf;

    conf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_gcs_proxy_module);

    rv = ngx_http_gcs_takeover_finish(cf, conf);
    if (rv != NGX_CONF_OK) {
        return rv;
    }

    return ngx_http_gcs_proxy_finish(cf, conf);
}


static ngx_int_t
ngx_http_gcs_filter_init(ngx_conf_t *cf)
{
    ngx_http_gcs_main_conf_t    *gmcf;
    ngx_http_gcs_pass_header_t  *pass, **first;

    gmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_gcs_proxy_module);

    if (!gmcf->enabled) {
        return NGX_OK;
    }

    ngx_memzero(ngx_http_gcs_pass_lengths, sizeof(ngx_http_gcs_pass_lengths));

    for (pass = ngx_http_gcs_pass_headers; pass->name.len; pass++) {
        first = &ngx_http_gcs_pass_lengths[pass->name.len];
        pass->next = *first;
        *first = pass;
    }

    ngx_http_next_header_filter = ngx_http_top_header_filter;
    ngx_http_top_header_filter = ngx_http_gcs_header_filter;

    if (gmcf->lists) {
        ngx_http_gcs_list_init();
    }

    if (gmcf->apis) {
        ngx_http_gcs_api_filter_init();
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_gcs_header_filter(ngx_http_request_t *r)
{
    ngx_flag_t                sandbox;
    ngx_http_gcs_ctx_t       *ctx;
    ngx_http_gcs_loc_conf_t  *glcf;

    static ngx_str_t  nosniff = ngx_string("nosniff");
    static ngx_str_t  contained = ngx_string("sandbox");

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);

    if (!glcf->passing) {
        return ngx_http_next_header_filter(r);
    }

    ctx = ngx_http_get_module_ctx(r, ngx_http_gcs_proxy_module);

    if (glcf->api) {

        if (ngx_http_gcs_api_header_filter(r, ctx) != NGX_OK) {
            return NGX_ERROR;
        }

    } else if (ctx && ctx->passed) {
        ngx_http_gcs_clean_headers(r, ctx);

        if (ctx->list == NULL) {
            ngx_http_gcs_check_gunzip(r);

        } else if (ngx_http_gcs_list_header(r, ctx) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    if (r == r->main) {

        if (glcf->nosniff
            && ngx_http_gcs_add_header(r, "X-Content-Type-Options", &nosniff)
               == NULL)
        {
            return NGX_ERROR;
        }

        /* on the application's own origin, or as it is said */

        sandbox = (glcf->sandbox == NGX_CONF_UNSET)
                  ? (glcf->api || (ctx && ctx->taken)) : glcf->sandbox;

        if (sandbox && !(ctx && ctx->list) && ngx_http_gcs_active_content(r)
            && ngx_http_gcs_add_header(r, "Content-Security-Policy",
                                       &contained)
               == NULL)
        {
            return NGX_ERROR;
        }
    }

    return ngx_http_next_header_filter(r);
}


static void
ngx_http_gcs_clean_headers(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    ngx_uint_t                   told, wanted;
    ngx_table_elt_t             *h;
    ngx_http_gcs_loc_conf_t     *glcf;
    ngx_http_gcs_header_walk_t   at;

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);

    /* what neither can be need not be looked for among each header */

    told = r->internal && r == r->main;
    wanted = glcf->pass_headers || !(r->method & NGX_HTTP_GCS_READ);

    /* what stood there before the proxy ran is not GCS's, ... */

    for (h = ngx_http_gcs_header_from(&at, ctx->part, ctx->nelts);
         h;
         h = ngx_http_gcs_header_next(&at))
    {
        if (h->hash == 0) {
            continue;
        }

        if (ngx_http_gcs_header_passes(&h->key)) {

            if (told && ngx_http_gcs_header_told(r, ctx, &h->key)) {
                /* ... but an application's, which comes before GCS's */

                h->hash = 0;
            }

            continue;
        }

        if (!wanted || !ngx_http_gcs_header_wanted(r, &h->key)) {
            h->hash = 0;
        }

#if (NGX_HTTP_GZIP)

        if (h->value.len == 4
            && ngx_http_gcs_header_named(h, "x-goog-stored-content-encoding",
                                 sizeof("x-goog-stored-content-encoding") - 1)
            && ngx_strncasecmp(h->value.data, (u_char *) "gzip", 4) == 0)
        {
            /* decompressed by GCS, or not: it is "Vary: Accept-Encoding" */

            r->gzip_vary = 1;
        }

#endif
    }
}


/*
 * Whether an application that has sent the request here, by an
 * "X-Accel-Redirect", has told what it wants in that header.
 */

static ngx_uint_t
ngx_http_gcs_header_told(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx,
    ngx_str_t *name)
{
    ngx_uint_t        i, n;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    for (part = &r->headers_out.headers.part; part; part = part->next) {

        h = part->elts;
        n = (part == ctx->part) ? ctx->nelts : part->nelts;

        for (i = 0; i < n; i++) {
            if (h[i].hash && h[i].key.len == name->len
                && ngx_strncasecmp(h[i].key.data, name->data, name->len) == 0)
            {
                return 1;
            }
        }

        if (part == ctx->part) {
            break;
        }
    }

    return 0;
}


/*
 * What "gcs_pass_header" lets pass.  A write is always told its generation: it
 * is the condition of the next one.
 */

static ngx_uint_t
ngx_http_gcs_header_wanted(ngx_http_request_t *r, ngx_str_t *name)
{
    ngx_http_gcs_loc_conf_t  *glcf;

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gcs_proxy_module);

    if (ngx_http_gcs_name_listed(glcf->pass_headers, name)) {
        return 1;
    }

    return !(r->method & NGX_HTTP_GCS_READ)
           && name->len == sizeof("x-goog-generation") - 1
           && ngx_strncasecmp(name->data, (u_char *) "x-goog-generation",
                              name->len)
              == 0;
}


static ngx_uint_t
ngx_http_gcs_header_passes(ngx_str_t *name)
{
    ngx_http_gcs_pass_header_t  *pass;

    if (name->len > 31) {
        return 0;
    }

    for (pass = ngx_http_gcs_pass_lengths[name->len]; pass; pass = pass->next)
    {
        if (ngx_http_gcs_header_is(name->data, &pass->name)) {
            return 1;
        }
    }

    return 0;
}


/*
 * A comparison without regard to case, right for the list above, which has but
 * lower-case letters and "-", and no name shorter than four.  Four of them are
 * taken at a time, the last ones perhaps twice: it is done for each header of
 * each answer.
 */

static ngx_uint_t
ngx_http_gcs_header_is(u_char *name, ngx_str_t *pass)
{
    size_t    i, last;
    uint32_t  a, b;

    last = pass->len - 4;

    for (i = 0; /* void */ ; i = ngx_min(i + 4, last)) {

        ngx_memcpy(&a, name + i, 4);
        ngx_memcpy(&b, pass->data + i, 4);

        if ((a | 0x20202020) != b) {
            return 0;
        }

        if (i == last) {
            return 1;
        }
    }
}


/*
 * nginx's own decompression, where "gunzip" is on, must not touch a part of a
 * compressed object, neither a 206 nor a slice, nor an object that must not
 * be transformed.  As GCS does with the latter, the bytes go as they are
 * stored.
 */

static void
ngx_http_gcs_check_gunzip(ngx_http_request_t *r)
{
#if (NGX_HTTP_GZIP)

    ngx_str_t  *cc;

    if (r->headers_out.content_encoding == NULL) {
        return;
    }

    cc = ngx_http_gcs_find_header(&r->headers_out.headers, "cache-control");

    if (r->headers_out.status == NGX_HTTP_PARTIAL_CONTENT
        || (cc && ngx_strlcasestrn(cc->data, cc->data + cc->len,
                                   (u_char *) "no-transform",
                                   sizeof("no-transform") - 2))
        || ngx_http_gcs_slice_range(r).len)
    {
        r->gzip_tested = 1;
        r->gzip_ok = 1;
    }

#endif
}


/*
 * What a browser would run in the origin of the site: HTML, SVG and XML, and
 * archives of them.  A type that is not written as it should be browsers read
 * in ways of their own, of a list the last, so that counts as well.
 * (https://mimesniff.spec.whatwg.org, https://fetch.spec.whatwg.org, "extract
 * a MIME type")
 */

static ngx_uint_t
ngx_http_gcs_active_content(ngx_http_request_t *r)
{
    u_char      *p, *slash, *last;
    size_t       len;
    ngx_str_t   *type, *charset;
    ngx_uint_t   i;

    static ngx_str_t  active[] = {
        ngx_string("text/html"),
        ngx_string("text/xsl"),
        ngx_string("multipart/"),
        ngx_string("message/"),
        ngx_string("application/x-mimearchive"),
        ngx_null_string
    };

    type = &r->headers_out.content_type;
    charset = &r->headers_out.charset;

    if (type->len == 0) {
        return 0;
    }

    slash = NULL;
    last = type->data + type->len;

    for (p = type->data; p < last; p++) {

        if (*p == '/' && slash == NULL) {
            slash = p;

        } else if (!ngx_http_gcs_token_char(*p)) {
            break;
        }
    }

    if (slash == NULL || slash == type->data || slash + 1 == p
        || (p < last && *p != ';' && *p != ' ' && *p != '\t')
        || ngx_strlchr(p, last, ',')
        || (charset->len
            && ngx_strlchr(charset->data, charset->data + charset->len, ',')))
    {
        return 1;
    }

    for (i = 0; active[i].len; i++) {

        len = active[i].len;

        if (((size_t) (p - type->data) == len
             || ((size_t) (p - type->data) > len
                 && active[i].data[len - 1] == '/'))
            && ngx_strncasecmp(type->data, active[i].data, len) == 0)
        {
            return 1;
        }
    }

    /* text/xml, application/xml, image/svg+xml, application/xhtml+xml ... */

    return p - slash > 3
           && ngx_strncasecmp(p - 3, (u_char *) "xml", 3) == 0
           && (p[-4] == '/' || p[-4] == '+');
}


/* RFC 9110, 5.6.2 */

static ngx_uint_t
ngx_http_gcs_token_char(u_char ch)
{
    return (ch >= '0' && ch <= '9')
           || ((ch | 0x20) >= 'a' && (ch | 0x20) <= 'z')
           || (ch != '\0' && ngx_strchr("!#$%&'*+-.^_`|~", ch) != NULL);
}


ngx_table_elt_t *
ngx_http_gcs_add_header(ngx_http_request_t *r, char *name, ngx_str_t *value)
{
    ngx_table_elt_t  *h;

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NULL;
    }

    h->hash = 1;
    h->key.data = (u_char *) name;
    h->key.len = ngx_strlen(name);
    h->value = *value;
    h->lowcase_key = NULL;
#if (nginx_version >= 1023000)
    h->next = NULL;
#endif

    return h;
}
