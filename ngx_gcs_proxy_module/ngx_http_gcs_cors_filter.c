
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "ngx_http_gcs.h"


/*
 * Nothing of this reaches a cache of nginx: what is stored there is what
 * Cloud Storage has sent, and this is added to each answer on its way out.
 */


static ngx_int_t ngx_http_gcs_cors_header_filter(ngx_http_request_t *r);
static void ngx_http_gcs_cors_strip(ngx_http_request_t *r, char *name,
    size_t len, ngx_uint_t prefix);
static ngx_int_t ngx_http_gcs_cors_replace(ngx_http_request_t *r, char *name,
    ngx_str_t *value);
static ngx_int_t ngx_http_gcs_cors_respond(ngx_http_request_t *r,
    ngx_http_gcs_cors_conf_t *conf);
static ngx_int_t ngx_http_gcs_cors_respond_preflight(ngx_http_request_t *r,
    ngx_http_gcs_cors_request_t *in, ngx_gcs_cors_rule_t *rule);
static ngx_int_t ngx_http_gcs_cors_vary(ngx_http_request_t *r,
    ngx_str_t *names, ngx_uint_t n);
static ngx_table_elt_t *ngx_http_gcs_cors_missing(ngx_http_request_t *r,
    ngx_str_t *name, ngx_uint_t *missing);
static ngx_uint_t ngx_http_gcs_cors_listed(ngx_str_t *list, ngx_str_t *name);
static ngx_int_t ngx_http_gcs_cors_header(ngx_http_request_t *r, char *name,
    ngx_str_t *value);


static ngx_http_output_header_filter_pt  ngx_http_next_header_filter;


void
ngx_http_gcs_cors_filter_init(void)
{
    ngx_http_next_header_filter = ngx_http_top_header_filter;
    ngx_http_top_header_filter = ngx_http_gcs_cors_header_filter;
}


static ngx_int_t
ngx_http_gcs_cors_header_filter(ngx_http_request_t *r)
{
    ngx_http_gcs_cors_conf_t  *conf;

    if (r != r->main) {
        return ngx_http_next_header_filter(r);
    }

    conf = ngx_http_gcs_cors_in_effect(r, 1);

    if (conf && conf->active) {

        ngx_http_gcs_cors_strip(r, "Access-Control-",
                                sizeof("Access-Control-") - 1, 1);

        if (ngx_http_gcs_cors_respond(r, conf) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    conf = ngx_http_gcs_cors_in_effect(r, 0);

    if (conf && conf->policy
        && ngx_http_gcs_cors_replace(r, "Cross-Origin-Resource-Policy",
                                     ngx_http_gcs_cors_policy(conf->policy))
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (conf && conf->timing.len
        && ngx_http_gcs_cors_replace(r, "Timing-Allow-Origin", &conf->timing)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_next_header_filter(r);
}


/*
 * Removes headers by their name, or by how it begins: those of "add_header",
 * of the server of an error's page, and ours if the filter runs again.
 */

static void
ngx_http_gcs_cors_strip(ngx_http_request_t *r, char *name, size_t len,
    ngx_uint_t prefix)
{
    ngx_table_elt_t             *h;
    ngx_http_gcs_header_walk_t   at;

    for (h = ngx_http_gcs_header_first(&at, &r->headers_out.headers);
         h;
         h = ngx_http_gcs_header_next(&at))
    {
        if (h->hash
            && (h->key.len == len || (prefix && h->key.len > len))
            && ngx_strncasecmp(h->key.data, (u_char *) name, len) == 0)
        {
            h->hash = 0;
        }
    }
}


static ngx_int_t
ngx_http_gcs_cors_replace(ngx_http_request_t *r, char *name, ngx_str_t *value)
{
    ngx_http_gcs_cors_strip(r, name, ngx_strlen(name), 0);

    return ngx_http_gcs_cors_header(r, name, value);
}


static ngx_int_t
ngx_http_gcs_cors_respond(ngx_http_request_t *r,
    ngx_http_gcs_cors_conf_t *conf)
{
    ngx_uint_t                    n, preflight;
    ngx_gcs_cors_rule_t          *rule;
    ngx_gcs_cors_answer_t         answer;
    ngx_http_gcs_cors_ctx_t      *ctx;
    ngx_http_gcs_cors_request_t   in;

    static ngx_str_t  any = ngx_string("*");
    static ngx_str_t  yes = ngx_string("true");

    /* what the answer depends upon; a preflight, upon all of it */

    static ngx_str_t  vary[] = {
        ngx_string("Origin"),
        ngx_string("Access-Control-Request-Method"),
        ngx_string("Access-Control-Request-Headers"),
        ngx_string("Access-Control-Request-Private-Network")
    };

    ngx_http_gcs_cors_read(r, &in);

    ctx = ngx_http_gcs_cors_get_ctx(r);
    preflight = ctx && ctx->preflight;

    ngx_http_gcs_cors_decide(r, conf, &in, preflight, &answer);

    rule = answer.rule;

    n = answer.varies;

    if (preflight) {
        n = conf->asked_private ? 4 : 3;
    }

    if (ngx_http_gcs_cors_vary(r, vary, n) != NGX_OK) {
        return NGX_ERROR;
    }

    if (rule == NULL) {
        return NGX_OK;
    }

    if (ngx_http_gcs_cors_header(r, "Access-Control-Allow-Origin",
                                 answer.any ? &any : &in.origin)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (rule->credentials
        && ngx_http_gcs_cors_header(r, "Access-Control-Allow-Credentials",
                                    &yes)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (preflight) {
        return ngx_http_gcs_cors_respond_preflight(r, &in, rule);
    }

    if (rule->expose_headers.len == 0) {
        return NGX_OK;
    }

    return ngx_http_gcs_cors_header(r, "Access-Control-Expose-Headers",
                                    &rule->expose_headers);
}


static ngx_int_t
ngx_http_gcs_cors_respond_preflight(ngx_http_request_t *r,
    ngx_http_gcs_cors_request_t *in, ngx_gcs_cors_rule_t *rule)
{
    ngx_str_t  *headers;

    static ngx_str_t  yes = ngx_string("true");

    if (ngx_http_gcs_cors_header(r, "Access-Control-Allow-Methods",
                                 rule->any_method ? &in->method
                                                  : &rule->allow_methods)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    /*
     * What a wildcard allows is named, since "*" is not one for browsers
     * when there are credentials, and never stands for "Authorization".
     */

    headers = rule->any_header ? &in->headers : &rule->allow_headers;

    if (headers->len
        && ngx_http_gcs_cors_header(r, "Access-Control-Allow-Headers", headers)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (in->private_network && rule->private_network
        && ngx_http_gcs_cors_header(r, "Access-Control-Allow-Private-Network",
                                    &yes)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_gcs_cors_header(r, "Access-Control-Max-Age", &rule->age);
}


/* adds what is missing, to a line that is there already if possible */

static ngx_int_t
ngx_http_gcs_cors_vary(ngx_http_request_t *r, ngx_str_t *names, ngx_uint_t n)
{
    size_t            len;
    u_char           *p;
    ngx_str_t         value;
    ngx_uint_t        i, missing;
    ngx_table_elt_t  *h;

    len = 0;
    h = NULL;

    for (i = 0; i < n; i++) {
        h = ngx_http_gcs_cors_missing(r, &names[i], &missing);

        if (missing) {
            len += names[i].len + 2;
        }
    }

    if (len == 0) {
        return NGX_OK;
    }

    if (h) {
        len += h->value.len;
    }

    p = ngx_pnalloc(r->pool, len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    value.data = p;

    if (h) {
        p = ngx_cpymem(p, h->value.data, h->value.len);
    }

    for (i = 0; i < n; i++) {

        (void) ngx_http_gcs_cors_missing(r, &names[i], &missing);

        if (!missing) {
            continue;
        }

        if (p != value.data) {
            p = ngx_cpymem(p, ", ", 2);
        }

        p = ngx_cpymem(p, names[i].data, names[i].len);
    }

    value.len = p - value.data;

    if (h) {
        h->value = value;
        return NGX_OK;
    }

    return ngx_http_gcs_cors_header(r, "Vary", &value);
}


/* the first line of "Vary", or NULL; and whether the name is in none */

static ngx_table_elt_t *
ngx_http_gcs_cors_missing(ngx_http_request_t *r, ngx_str_t *name,
    ngx_uint_t *missing)
{
    ngx_table_elt_t             *h, *vary;
    ngx_http_gcs_header_walk_t   at;

    vary = NULL;
    *missing = 1;

    for (h = ngx_http_gcs_header_first(&at, &r->headers_out.headers);
         h;
         h = ngx_http_gcs_header_next(&at))
    {
        if (h->hash == 0
            || !ngx_http_gcs_header_named(h, "Vary", sizeof("Vary") - 1))
        {
            continue;
        }

        if (vary == NULL) {
            vary = h;
        }

        if (ngx_http_gcs_cors_listed(&h->value, name)) {
            *missing = 0;
        }
    }

    return vary;
}


/* whether the list has the name, or "*" */

static ngx_uint_t
ngx_http_gcs_cors_listed(ngx_str_t *list, ngx_str_t *name)
{
    size_t   len;
    u_char  *p, *last, *start;

    p = list->data;
    last = p + list->len;

    while (p < last) {

        if (*p == ' ' || *p == '\t' || *p == ',') {
            p++;
            continue;
        }

        for (start = p; p < last && *p != ',' && *p != ' ' && *p != '\t';
             p++)
        {
            /* void */
        }

        len = p - start;

        if ((len == 1 && *start == '*')
            || (len == name->len
                && ngx_strncasecmp(start, name->data, len) == 0))
        {
            return 1;
        }
    }

    return 0;
}


static ngx_int_t
ngx_http_gcs_cors_header(ngx_http_request_t *r, char *name, ngx_str_t *value)
{
    return ngx_http_gcs_add_header(r, name, value) ? NGX_OK : NGX_ERROR;
}
