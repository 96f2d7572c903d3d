
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "ngx_http_gcs.h"


/* origins by a regular expression, or by variables */


static ngx_gcs_cors_match_e ngx_http_gcs_cors_value(ngx_http_request_t *r,
    ngx_str_t *value, ngx_gcs_cors_origin_t *origin);


/*
 * An expression must match the whole of an origin, or "~example\.com" would
 * let "https://example.com.evil.org" pass.
 */

char *
ngx_http_gcs_cors_regex(ngx_conf_t *cf, ngx_str_t *text,
    ngx_http_gcs_cors_custom_t *custom)
{
#if (NGX_PCRE)

    ngx_str_t            whole;
    ngx_uint_t           n;
    ngx_regex_compile_t  rc;
    u_char               errstr[NGX_MAX_CONF_ERRSTR];

    ngx_memzero(&rc, sizeof(ngx_regex_compile_t));

    n = (text->len > 1 && text->data[1] == '*') ? 2 : 1;

    if (text->len == n) {
        return "has an empty regular expression";
    }

    rc.pattern.len = text->len - n;
    rc.pattern.data = text->data + n;
    rc.pool = cf->pool;
    rc.options = (n == 2) ? NGX_REGEX_CASELESS : 0;
    rc.err.len = NGX_MAX_CONF_ERRSTR;
    rc.err.data = errstr;

    /* alone first: ")|(" would be valid between the parentheses only */

    if (ngx_regex_compile(&rc) != NGX_OK) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%V", &rc.err);
        return NGX_CONF_ERROR;
    }

    whole.len = sizeof("\\A(?:)\\z") - 1 + rc.pattern.len;

    whole.data = ngx_pnalloc(cf->pool, whole.len + 1);
    if (whole.data == NULL) {
        return NGX_CONF_ERROR;
    }

    *ngx_sprintf(whole.data, "\\A(?:%V)\\z", &rc.pattern) = '\0';

    rc.pattern = whole;
    rc.err.len = NGX_MAX_CONF_ERRSTR;
    rc.err.data = errstr;

    if (ngx_regex_compile(&rc) != NGX_OK) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%V", &rc.err);
        return NGX_CONF_ERROR;
    }

    custom->regex = rc.regex;

    return NGX_CONF_OK;

#else

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "using regex \"%V\" requires PCRE library", text);

    return NGX_CONF_ERROR;

#endif
}


char *
ngx_http_gcs_cors_variables(ngx_conf_t *cf, ngx_str_t *text,
    ngx_http_gcs_cors_custom_t *custom)
{
    ngx_http_compile_complex_value_t  ccv;

    /* an echo that looks like a check */

    if (ngx_strstr(text->data, "$http_origin")
        || ngx_strstr(text->data, "${http_origin}"))
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"$http_origin\" in \"gcs_cors\" directive would "
                           "let every origin pass; name the origins, or "
                           "write \"*\"");
        return NGX_CONF_ERROR;
    }

    custom->value = ngx_palloc(cf->pool, sizeof(ngx_http_complex_value_t));
    if (custom->value == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

    ccv.cf = cf;
    ccv.value = text;
    ccv.complex_value = custom->value;

    if (ngx_http_compile_complex_value(&ccv) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


ngx_gcs_cors_match_e
ngx_http_gcs_cors_custom(void *data, ngx_gcs_cors_pattern_t *pattern,
    ngx_gcs_cors_origin_t *origin)
{
    ngx_http_request_t *r = data;

    ngx_str_t                    value;
    ngx_http_gcs_cors_custom_t  *custom;

    custom = pattern->data;

#if (NGX_PCRE)

    if (custom->regex) {

        /* "null" must be written as such */

        return (origin->host
                && ngx_regex_exec(custom->regex, &origin->text, NULL, 0) >= 0)
               ? NGX_GCS_CORS_YES : NGX_GCS_CORS_NO;
    }

#endif

    if (ngx_http_complex_value(r, custom->value, &value) != NGX_OK) {
        return NGX_GCS_CORS_NO;
    }

    return ngx_http_gcs_cors_value(r, &value, origin);
}


/* what variables have yielded: origins, separated by spaces or commas */

static ngx_gcs_cors_match_e
ngx_http_gcs_cors_value(ngx_http_request_t *r, ngx_str_t *value,
    ngx_gcs_cors_origin_t *origin)
{
    char                    *err;
    u_char                  *p, *last;
    ngx_str_t                text;
    ngx_gcs_cors_match_e     match, best;
    ngx_gcs_cors_origin_t    buf;
    ngx_gcs_cors_pattern_t   pattern;

    best = NGX_GCS_CORS_NO;

    p = value->data;
    last = p + value->len;

    while (p < last) {

        if (*p == ' ' || *p == ',') {
            p++;
            continue;
        }

        text.data = p;

        while (p < last && *p != ' ' && *p != ',') {
            p++;
        }

        text.len = p - text.data;

        if (text.len == 3 && ngx_strncmp(text.data, "off", 3) == 0) {
            continue;
        }

        err = ngx_gcs_cors_pattern(&pattern, &text, &buf);

        if (err) {

            /* the value may be the client's: it is not shown */

            ngx_log_error(NGX_LOG_WARN, r->connection->log, 0,
                          "variables in \"gcs_cors\" yield an invalid "
                          "origin: %s", err);
            continue;
        }

        match = ngx_gcs_cors_match(&pattern, origin);

        if (match != NGX_GCS_CORS_NO) {
            best = match;
        }

        if (match == NGX_GCS_CORS_YES) {
            break;
        }
    }

    return best;
}
