
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "ngx_http_gcs.h"


/* the request to Cloud Storage, in the location that "gcs_takeover" names */


static ngx_http_gcs_takeover_t *ngx_http_gcs_takeover_of(
    ngx_http_request_t *r);
static ngx_int_t ngx_http_gcs_takeover_set_header(ngx_http_request_t *r,
    char *name, char *lowcase, ngx_str_t *value);
static ngx_int_t ngx_http_gcs_takeover_private(ngx_http_request_t *r,
    ngx_str_t *value);
static ngx_uint_t ngx_http_gcs_takeover_shared(u_char *p, u_char *last);
static u_char *ngx_http_gcs_takeover_comma(u_char *p, u_char *last);


ngx_uint_t
ngx_http_gcs_takeover_is_of(ngx_http_gcs_ctx_t *ctx)
{
    ngx_http_gcs_takeover_t  *t;

    t = ctx->takeover;

    return t->taken && ctx->addressed
           && t->object.bucket.len == ctx->object.bucket.len
           && t->object.name.len == ctx->object.name.len
           && ngx_memcmp(t->object.bucket.data, ctx->object.bucket.data,
                         t->object.bucket.len)
              == 0
           && ngx_memcmp(t->object.name.data, ctx->object.name.data,
                         t->object.name.len)
              == 0;
}


ngx_int_t
ngx_http_gcs_takeover_signed(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    if (ctx->taken && ctx->takeover->redirect.target.len) {
        return NGX_OK;
    }

    return ngx_http_gcs_refuse(r, ctx, NGX_HTTP_FORBIDDEN, "no_signature",
                               "\"gcs_takeover\" has brought no signature "
                               "of it");
}


/* the log may ask when all is over, and a redirect has cleared the context */

static ngx_http_gcs_takeover_t *
ngx_http_gcs_takeover_of(ngx_http_request_t *r)
{
    ngx_http_gcs_ctx_t  *ctx;

    ctx = ngx_http_gcs_get_ctx(r);

    return ctx ? ctx->takeover : NULL;
}


ngx_int_t
ngx_http_gcs_takeover_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_str_t                *value;
    ngx_http_gcs_takeover_t  *t;

    t = ngx_http_gcs_takeover_of(r);

    v->not_found = 1;

    if (t == NULL || (!t->taken
                      && data == offsetof(ngx_http_gcs_takeover_t, url)))
    {
        return NGX_OK;
    }

    value = (ngx_str_t *) ((char *) t + data);

    if (value->len) {
        ngx_http_gcs_set_value(v, value);
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_gcs_takeover_signed_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_gcs_ctx_t  *ctx;

    v->not_found = 1;

    ctx = ngx_http_get_module_ctx(r, ngx_http_gcs_proxy_module);

    if (ctx && ctx->passed && ctx->taken) {
        ngx_http_gcs_set_value(v, (ngx_str_t *)
                                      ((char *) ctx->takeover + data));
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_gcs_takeover_answer(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    ngx_str_t                 value;
    ngx_http_gcs_takeover_t  *t;

    t = ctx->takeover;

    if (ngx_http_gcs_takeover_private(r, &value) != NGX_OK
        || ngx_http_gcs_takeover_set_header(r, "Cache-Control",
                                            "cache-control", &value)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (t->disposition.len
        && ngx_http_gcs_takeover_set_header(r, "Content-Disposition",
                                            "content-disposition",
                                            &t->disposition)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (t->type.len
        && ngx_http_gcs_takeover_set_header(r, "Content-Type",
                                            "content-type", &t->type)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


/*
 * Sets the header of GCS's answer before nginx copies it to its own: others of
 * that name get one that the filter drops.
 */

static ngx_int_t
ngx_http_gcs_takeover_set_header(ngx_http_request_t *r, char *name,
    char *lowcase, ngx_str_t *value)
{
    size_t                       len;
    ngx_uint_t                   done;
    ngx_table_elt_t             *h;
    ngx_http_gcs_header_walk_t   at;

    len = ngx_strlen(name);
    done = 0;

    for (h = ngx_http_gcs_header_first(&at, &r->upstream->headers_in.headers);
         h;
         h = ngx_http_gcs_header_next(&at))
    {
        if (!ngx_http_gcs_header_named(h, name, len)) {
            continue;
        }

        if (done) {
            ngx_str_set(&h->key, "x-goog-dropped");
            h->lowcase_key = h->key.data;
            h->hash = ngx_hash_key(h->key.data, h->key.len);
            continue;
        }

        h->value = *value;
        done = 1;
    }

    if (done) {
        return NGX_OK;
    }

    h = ngx_list_push(&r->upstream->headers_in.headers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    h->key.data = (u_char *) name;
    h->key.len = len;
    h->lowcase_key = (u_char *) lowcase;
    h->hash = ngx_hash_key((u_char *) lowcase, len);
    h->value = *value;
#if (nginx_version >= 1023000)
    h->next = NULL;
#endif

    return NGX_OK;
}


/*
 * The application has decided for one client, so no cache between may give
 * the object to another; how long the client itself keeps it is the object's
 * own matter (RFC 9111, 5.2.2).
 */

static ngx_int_t
ngx_http_gcs_takeover_private(ngx_http_request_t *r, ngx_str_t *value)
{
    u_char                      *p, *q, *last;
    size_t                       len;
    ngx_table_elt_t             *h;
    ngx_http_gcs_header_walk_t   at;

    len = sizeof("private") - 1;
    value->data = NULL;

again:

    /* once to count, once to copy */

    p = value->data;

    if (p) {
        p = ngx_cpymem(p, "private", sizeof("private") - 1);
    }

    for (h = ngx_http_gcs_header_first(&at, &r->upstream->headers_in.headers);
         h;
         h = ngx_http_gcs_header_next(&at))
    {
        if (!ngx_http_gcs_header_named(h, "cache-control",
                                       sizeof("cache-control") - 1))
        {
            continue;
        }

        q = h->value.data;

        for ( ;; ) {
            last = ngx_http_gcs_takeover_comma(q, h->value.data
                                                  + h->value.len);

            if (!ngx_http_gcs_takeover_shared(q, last)) {

                while (*q == ' ' || *q == '\t') {
                    q++;
                }

                if (p) {
                    *p++ = ',';
                    *p++ = ' ';
                    p = ngx_cpymem(p, q, last - q);

                } else {
                    len += 2 + last - q;
                }
            }

            if (last == h->value.data + h->value.len) {
                break;
            }

            q = last + 1;
        }
    }

    if (p) {
        return NGX_OK;
    }

    value->len = len;
    value->data = ngx_pnalloc(r->pool, len);

    if (value->data == NULL) {
        return NGX_ERROR;
    }

    goto again;
}


/* whether the directive is about shared caches, or there is none */

static ngx_uint_t
ngx_http_gcs_takeover_shared(u_char *p, u_char *last)
{
    u_char      *end;
    size_t       len;
    ngx_uint_t   i;

    static ngx_str_t  names[] = {
        ngx_string(""),
        ngx_string("public"),
        ngx_string("private"),
        ngx_string("s-maxage"),
        ngx_string("proxy-revalidate")
    };

    while (p < last && (*p == ' ' || *p == '\t')) {
        p++;
    }

    for (end = p;
         end < last && *end != '=' && *end != ' ' && *end != '\t';
         end++)
    {
        /* void */
    }

    len = end - p;

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (names[i].len == len
            && ngx_strncasecmp(names[i].data, p, len) == 0)
        {
            return 1;
        }
    }

    return 0;
}


/* the next comma outside of quotes, or last */

static u_char *
ngx_http_gcs_takeover_comma(u_char *p, u_char *last)
{
    ngx_uint_t  quoted;

    quoted = 0;

    for ( /* void */ ; p < last; p++) {

        if (*p == '"') {
            quoted = !quoted;

        } else if (*p == '\\' && quoted && p + 1 < last) {
            p++;

        } else if (*p == ',' && !quoted) {
            break;
        }
    }

    return p;
}
