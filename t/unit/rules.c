
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


/*
 * Decides what it is told to, for comparison with a model: a line of JSON on
 * standard input is a question, one on standard output the answer.
 *
 *     {"pattern": TEXT, "origin": TEXT}      {"valid": ..., "match": ...}
 *     {"file": TEXT, "origin": TEXT, "method": TEXT, "headers": TEXT}
 *                                            {"rule": N, "any": ..., ...}
 */


#include "shim.h"

#include "ngx_gcs_cors.h"


static json_t *rules_answer(ngx_pool_t *pool, json_t *in);
static json_t *rules_match(ngx_pool_t *pool, json_t *in);
static json_t *rules_decide(ngx_pool_t *pool, json_t *in);
static ngx_str_t *rules_text(ngx_pool_t *pool, json_t *in, const char *name);


int
main(void)
{
    return test_asked(rules_answer);
}


static json_t *
rules_answer(ngx_pool_t *pool, json_t *in)
{
    return json_object_get(in, "file") ? rules_decide(pool, in)
                                       : rules_match(pool, in);
}


static json_t *
rules_match(ngx_pool_t *pool, json_t *in)
{
    ngx_uint_t               valid, match;
    ngx_gcs_cors_origin_t    buf, origin;
    ngx_gcs_cors_pattern_t   pattern;

    match = NGX_GCS_CORS_NO;

    valid = ngx_gcs_cors_pattern(&pattern, rules_text(pool, in, "pattern"),
                                 &buf)
            == NULL;

    if (valid
        && ngx_gcs_cors_origin(&origin, rules_text(pool, in, "origin"))
           == NULL)
    {
        match = ngx_gcs_cors_match(&pattern, &origin);
    }

    return json_pack("{s:b, s:b}", "valid", (int) valid,
                     "match", (int) (match != NGX_GCS_CORS_NO));
}


static json_t *
rules_decide(ngx_pool_t *pool, json_t *in)
{
    ngx_int_t               rc;
    ngx_str_t               err;
    ngx_uint_t              i;
    ngx_array_t            *rules;
    ngx_gcs_cors_rule_t    *rule;
    ngx_gcs_cors_query_t    query;
    ngx_gcs_cors_answer_t   answer;

    rules = ngx_array_create(pool, 1, sizeof(ngx_gcs_cors_rule_t));

    rc = ngx_gcs_cors_file(pool, rules_text(pool, in, "file"), rules, &err);

    if (rc != NGX_OK) {
        return json_pack("{s:s%}", "error", err.data, err.len);
    }

    rule = rules->elts;

    for (i = 0; i < rules->nelts; i++) {
        if (ngx_gcs_cors_complete(pool, &rule[i]) != NGX_OK) {
            abort();
        }
    }

    ngx_memzero(&query, sizeof(query));

    query.origin = rules_text(pool, in, "origin");
    query.method = rules_text(pool, in, "method");
    query.headers = rules_text(pool, in, "headers");

    ngx_gcs_cors_decide(rules, &query, &answer);

    return json_pack("{s:i, s:b, s:b, s:i}",
                     "rule", answer.rule ? (int) (answer.rule - rule) : -1,
                     "any", (int) answer.any,
                     "varies", (int) answer.varies,
                     "refusal", (int) answer.refusal);
}


/* NULL: there is none */

static ngx_str_t *
rules_text(ngx_pool_t *pool, json_t *in, const char *name)
{
    json_t     *value;
    ngx_str_t  *text;

    value = json_object_get(in, name);

    if (!json_is_string(value)) {
        return NULL;
    }

    text = ngx_palloc(pool, sizeof(ngx_str_t));

    *text = test_bytes(pool, json_string_value(value),
                       json_string_length(value));

    return text;
}
