
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_gcs_cors.h"


static ngx_int_t ngx_gcs_cors_join(ngx_pool_t *pool, ngx_array_t *list,
    ngx_uint_t patterns, ngx_str_t *value);
static ngx_uint_t ngx_gcs_cors_is_pattern(ngx_str_t *name);
static ngx_uint_t ngx_gcs_cors_is_any(ngx_str_t *name);
static ngx_gcs_cors_match_e ngx_gcs_cors_origins(ngx_gcs_cors_rule_t *rule,
    ngx_gcs_cors_query_t *query, ngx_gcs_cors_origin_t *origin);
static ngx_uint_t ngx_gcs_cors_method(ngx_gcs_cors_rule_t *rule,
    ngx_str_t *method);
static ngx_uint_t ngx_gcs_cors_headers(ngx_gcs_cors_rule_t *rule,
    ngx_str_t *headers);
static ngx_uint_t ngx_gcs_cors_header(ngx_gcs_cors_rule_t *rule, u_char *data,
    size_t len);


#define ngx_gcs_cors_blank(ch)  ((ch) == ' ' || (ch) == '\t')


ngx_uint_t
ngx_gcs_cors_token(ngx_str_t *text)
{
    u_char  *p, *last;

    p = text->data;
    last = p + text->len;

    for ( /* void */ ; p < last; p++) {

        if ((*p >= '0' && *p <= '9')
            || ((*p | 0x20) >= 'a' && (*p | 0x20) <= 'z'))
        {
            continue;
        }

        if (*p == '\0' || ngx_strchr("!#$%&'*+-.^_`|~", *p) == NULL) {
            return 0;
        }
    }

    return text->len != 0;
}


ngx_uint_t
ngx_gcs_cors_known_method(ngx_str_t *name)
{
    ngx_str_t  *method;

    static ngx_str_t  methods[] = {
        ngx_string("GET"),
        ngx_string("HEAD"),
        ngx_string("PUT"),
        ngx_string("POST"),
        ngx_string("DELETE"),
        ngx_string("OPTIONS"),
        ngx_string("PATCH"),
        ngx_string("*"),
        ngx_null_string
    };

    for (method = methods; method->len; method++) {

        if (method->len == name->len
            && ngx_memcmp(method->data, name->data, name->len) == 0)
        {
            return 1;
        }
    }

    return 0;
}


ngx_int_t
ngx_gcs_cors_complete(ngx_pool_t *pool, ngx_gcs_cors_rule_t *rule)
{
    u_char                  *p;
    ngx_str_t               *name;
    ngx_uint_t               i;
    ngx_gcs_cors_pattern_t  *pattern;

    rule->any_origin = 0;
    rule->any_method = 0;
    rule->any_header = 0;

    pattern = rule->origins->elts;

    for (i = 0; i < rule->origins->nelts; i++) {
        rule->any_origin |= pattern[i].kind == NGX_GCS_CORS_ANY;
    }

    name = rule->methods->elts;

    for (i = 0; i < rule->methods->nelts; i++) {
        rule->any_method |= ngx_gcs_cors_is_any(&name[i]);
    }

    name = rule->headers->elts;

    for (i = 0; i < rule->headers->nelts; i++) {
        rule->any_header |= ngx_gcs_cors_is_pattern(&name[i]);
    }

    if (ngx_gcs_cors_join(pool, rule->methods, 1, &rule->allow_methods)
        != NGX_OK
        || ngx_gcs_cors_join(pool, rule->headers, 1, &rule->allow_headers)
           != NGX_OK
        || ngx_gcs_cors_join(pool, rule->expose, 0, &rule->expose_headers)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    p = ngx_pnalloc(pool, NGX_TIME_T_LEN);
    if (p == NULL) {
        return NGX_ERROR;
    }

    rule->age.data = p;
    rule->age.len = ngx_sprintf(p, "%T", rule->max_age) - p;

    return NGX_OK;
}


/* "A, B"; what ends with "*" but is not just that only if patterns is set */

static ngx_int_t
ngx_gcs_cors_join(ngx_pool_t *pool, ngx_array_t *list, ngx_uint_t patterns,
    ngx_str_t *value)
{
    size_t       len;
    u_char      *p;
    ngx_str_t   *name;
    ngx_uint_t   i;

    ngx_str_null(value);

    len = 0;
    name = list->elts;

    for (i = 0; i < list->nelts; i++) {
        len += name[i].len + 2;
    }

    if (len == 0) {
        return NGX_OK;
    }

    p = ngx_pnalloc(pool, len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    value->data = p;

    for (i = 0; i < list->nelts; i++) {

        if (!patterns && ngx_gcs_cors_is_pattern(&name[i])
            && !ngx_gcs_cors_is_any(&name[i]))
        {
            continue;
        }

        if (p != value->data) {
            p = ngx_cpymem(p, ", ", 2);
        }

        p = ngx_cpymem(p, name[i].data, name[i].len);
    }

    value->len = p - value->data;

    return NGX_OK;
}


static ngx_uint_t
ngx_gcs_cors_is_pattern(ngx_str_t *name)
{
    return name->len && name->data[name->len - 1] == '*';
}


static ngx_uint_t
ngx_gcs_cors_is_any(ngx_str_t *name)
{
    return name->len == 1 && name->data[0] == '*';
}


char *
ngx_gcs_cors_conflict(ngx_gcs_cors_rule_t *rule)
{
    ngx_str_t   *name;
    ngx_uint_t   i;

    if (!rule->credentials) {
        return NULL;
    }

    if (rule->any_origin) {
        return "origin";
    }

    name = rule->expose->elts;

    for (i = 0; i < rule->expose->nelts; i++) {
        if (ngx_gcs_cors_is_any(&name[i])) {
            return "expose";
        }
    }

    return NULL;
}


void
ngx_gcs_cors_decide(ngx_array_t *rules, ngx_gcs_cors_query_t *query,
    ngx_gcs_cors_answer_t *answer)
{
    ngx_uint_t              i, method;
    ngx_gcs_cors_rule_t    *rule;
    ngx_gcs_cors_match_e    match;
    ngx_gcs_cors_origin_t   buf, *origin;

    answer->rule = NULL;
    answer->any = 0;
    answer->varies = 0;
    answer->refusal = NGX_GCS_CORS_NO_ORIGIN;

    origin = NULL;

    if (query->origin && ngx_gcs_cors_origin(&buf, query->origin) == NULL) {
        origin = &buf;
    }

    rule = rules->elts;

    for (i = 0; i < rules->nelts; i++) {

        method = ngx_gcs_cors_method(&rule[i], query->method);
        match = ngx_gcs_cors_origins(&rule[i], query, origin);

        if (method && !rule[i].any_origin) {

            /* with another origin the same request may end otherwise */

            answer->varies = 1;
        }

        if (match == NGX_GCS_CORS_NO) {
            continue;
        }

        if (!method) {
            answer->refusal = ngx_max(answer->refusal, NGX_GCS_CORS_NO_METHOD);
            continue;
        }

        if (query->headers
            && !ngx_gcs_cors_headers(&rule[i], query->headers))
        {
            answer->refusal = NGX_GCS_CORS_NO_HEADER;
            continue;
        }

        answer->rule = &rule[i];
        answer->any = (match == NGX_GCS_CORS_ALL);
        answer->refusal = NGX_GCS_CORS_ALLOWED;

        return;
    }
}


/* origin: NULL if there is none, or what was sent is not one */

static ngx_gcs_cors_match_e
ngx_gcs_cors_origins(ngx_gcs_cors_rule_t *rule, ngx_gcs_cors_query_t *query,
    ngx_gcs_cors_origin_t *origin)
{
    ngx_uint_t               i;
    ngx_gcs_cors_match_e     match;
    ngx_gcs_cors_pattern_t  *pattern;

    if (rule->any_origin) {
        return rule->credentials ? NGX_GCS_CORS_NO : NGX_GCS_CORS_ALL;
    }

    if (origin == NULL) {
        return NGX_GCS_CORS_NO;
    }

    pattern = rule->origins->elts;

    for (i = 0; i < rule->origins->nelts; i++) {

        match = (pattern[i].kind == NGX_GCS_CORS_CUSTOM)
                ? query->match(query->data, &pattern[i], origin)
                : ngx_gcs_cors_match(&pattern[i], origin);

        if (match == NGX_GCS_CORS_ALL && rule->credentials) {

            /* a variable's "*": it must not open what needs a login */

            continue;
        }

        if (match != NGX_GCS_CORS_NO) {
            return match;
        }
    }

    return NGX_GCS_CORS_NO;
}


static ngx_uint_t
ngx_gcs_cors_method(ngx_gcs_cors_rule_t *rule, ngx_str_t *method)
{
    ngx_str_t   *name;
    ngx_uint_t   i;

    if (method == NULL) {
        return 1;
    }

    if (rule->any_method) {
        return ngx_gcs_cors_token(method);
    }

    name = rule->methods->elts;

    for (i = 0; i < rule->methods->nelts; i++) {

        /* names of methods are case-sensitive */

        if (name[i].len == method->len
            && ngx_memcmp(name[i].data, method->data, method->len) == 0)
        {
            return 1;
        }
    }

    return 0;
}


/* "A, B": empty elements are allowed, as in every list of HTTP */

static ngx_uint_t
ngx_gcs_cors_headers(ngx_gcs_cors_rule_t *rule, ngx_str_t *headers)
{
    u_char  *p, *last, *start, *end;

    p = headers->data;
    last = p + headers->len;

    while (p < last) {

        if (*p == ',' || ngx_gcs_cors_blank(*p)) {
            p++;
            continue;
        }

        for (start = p; p < last && *p != ','; p++) { /* void */ }

        for (end = p; ngx_gcs_cors_blank(end[-1]); end--) { /* void */ }

        if (!ngx_gcs_cors_header(rule, start, end - start)) {
            return 0;
        }
    }

    return 1;
}


static ngx_uint_t
ngx_gcs_cors_header(ngx_gcs_cors_rule_t *rule, u_char *data, size_t len)
{
    ngx_str_t    asked, *name;
    ngx_uint_t   i;

    asked.len = len;
    asked.data = data;

    if (!ngx_gcs_cors_token(&asked)) {
        return 0;
    }

    name = rule->headers->elts;

    for (i = 0; i < rule->headers->nelts; i++) {

        if (ngx_gcs_cors_is_pattern(&name[i])) {

            if (len >= name[i].len - 1
                && ngx_strncasecmp(name[i].data, data, name[i].len - 1) == 0)
            {
                return 1;
            }

        } else if (name[i].len == len
                   && ngx_strncasecmp(name[i].data, data, len) == 0)
        {
            return 1;
        }
    }

    return 0;
}
