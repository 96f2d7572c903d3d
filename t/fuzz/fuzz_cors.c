
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "fuzz.h"

#include <ctype.h>

#include <curl/curl.h>

#include "ngx_gcs_cors.h"


static ngx_str_t fuzz_line(ngx_pool_t *pool, const uint8_t **data,
    size_t *size);
static ngx_uint_t fuzz_origin(ngx_pool_t *pool, ngx_str_t *text,
    ngx_gcs_cors_origin_t *origin);
static void fuzz_url(ngx_pool_t *pool, ngx_gcs_cors_origin_t *origin);
static void fuzz_pattern(ngx_pool_t *pool, ngx_str_t *text,
    ngx_gcs_cors_origin_t *origin);
static void fuzz_rules(ngx_pool_t *pool, ngx_str_t *json, ngx_str_t *text,
    ngx_str_t *method, ngx_str_t *headers);


int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    return 0;
}


/*
 * Lines: a pattern, an origin, a method, names of headers; the rest is a
 * file of rules.
 */

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ngx_str_t               pattern, text, method, headers, json;
    ngx_uint_t              valid;
    ngx_pool_t             *pool;
    ngx_gcs_cors_origin_t   origin;

    pool = test_pool();

    pattern = fuzz_line(pool, &data, &size);
    text = fuzz_line(pool, &data, &size);
    method = fuzz_line(pool, &data, &size);
    headers = fuzz_line(pool, &data, &size);
    json = test_bytes(pool, data, size);

    valid = fuzz_origin(pool, &text, &origin);

    fuzz_pattern(pool, &pattern, valid ? &origin : NULL);
    fuzz_rules(pool, &json, &text, &method, &headers);

    ngx_destroy_pool(pool);

    return 0;
}


static ngx_str_t
fuzz_line(ngx_pool_t *pool, const uint8_t **data, size_t *size)
{
    size_t          len;
    ngx_str_t       line;
    const uint8_t  *end;

    end = *size ? memchr(*data, '\n', *size) : NULL;
    len = end ? (size_t) (end - *data) : *size;

    line = test_bytes(pool, *data, len);

    len += end ? 1 : 0;
    *data += len;
    *size -= len;

    return line;
}


/* what passes can be echoed, and means to others what it means to us */

static ngx_uint_t
fuzz_origin(ngx_pool_t *pool, ngx_str_t *text, ngx_gcs_cors_origin_t *origin)
{
    size_t                  i;
    ngx_gcs_cors_origin_t   again;

    if (ngx_gcs_cors_origin(origin, text) != NULL) {
        return 0;
    }

    fuzz_check(origin->text.len <= text->len);

    for (i = 0; i < text->len; i++) {
        fuzz_check(text->data[i] > 0x20 && text->data[i] < 0x7f);
        fuzz_check(strchr(",;\"'\\@?#%*<>", text->data[i]) == NULL);

        if (i < origin->text.len) {
            fuzz_check(tolower(text->data[i]) == origin->text.data[i]);
        }
    }

    fuzz_check(ngx_gcs_cors_origin(&again, &origin->text) == NULL);
    fuzz_check(again.text.len == origin->text.len);
    fuzz_check(again.host == origin->host);
    fuzz_check(memcmp(again.text.data, origin->text.data, again.text.len)
               == 0);

    if (origin->host == 0) {
        fuzz_check(test_equal(text, "null"));
        return 1;
    }

    fuzz_url(pool, origin);

    return 1;
}


static void
fuzz_url(ngx_pool_t *pool, ngx_gcs_cors_origin_t *origin)
{
    char   *text, *host, *part;
    CURLU  *u;

    text = test_cstr(pool, &origin->text);

    if (strncmp(text, "https://", 8) != 0 && strncmp(text, "http://", 7) != 0)
    {
        return;
    }

    u = curl_url();

    if (curl_url_set(u, CURLUPART_URL, text, 0) == CURLUE_OK) {

        fuzz_check(curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK);

        /* libcurl writes IPv6 addresses in its own way */

        fuzz_check(*host == '['
                   || strncmp(text + origin->host, host, strlen(host)) == 0);

        curl_free(host);

        fuzz_check(curl_url_get(u, CURLUPART_USER, &part, 0)
                   == CURLUE_NO_USER);
        fuzz_check(curl_url_get(u, CURLUPART_QUERY, &part, 0)
                   == CURLUE_NO_QUERY);
        fuzz_check(curl_url_get(u, CURLUPART_FRAGMENT, &part, 0)
                   == CURLUE_NO_FRAGMENT);
        fuzz_check(curl_url_get(u, CURLUPART_PATH, &part, 0) == CURLUE_OK);
        fuzz_check(strcmp(part, "/") == 0);

        curl_free(part);
    }

    curl_url_cleanup(u);
}


static void
fuzz_pattern(ngx_pool_t *pool, ngx_str_t *text, ngx_gcs_cors_origin_t *origin)
{
    char                    *rule, *sent, *dot;
    ngx_gcs_cors_match_e     match;
    ngx_gcs_cors_origin_t    buf;
    ngx_gcs_cors_pattern_t   pattern;

    if (ngx_gcs_cors_pattern(&pattern, text, &buf) != NULL
        || origin == NULL)
    {
        return;
    }

    match = ngx_gcs_cors_match(&pattern, origin);

    fuzz_check((match == NGX_GCS_CORS_ALL) == test_equal(text, "*"));

    if (match != NGX_GCS_CORS_YES) {
        return;
    }

    rule = test_cstr(pool, &buf.text);
    sent = test_cstr(pool, &origin->text);

    if (pattern.kind == NGX_GCS_CORS_EXACT) {
        fuzz_check(strcmp(rule, sent) == 0);
        return;
    }

    /* take the first label away, and they are the same */

    fuzz_check(pattern.kind == NGX_GCS_CORS_LABEL);
    fuzz_check(origin->host == buf.host);

    dot = strchr(sent + origin->host, '.');

    fuzz_check(dot != NULL);
    fuzz_check(dot > sent + origin->host);
    fuzz_check(strncmp(sent, rule, buf.host) == 0);
    fuzz_check(strcmp(dot + 1, rule + buf.host) == 0);
}


static void
fuzz_rules(ngx_pool_t *pool, ngx_str_t *json, ngx_str_t *text,
    ngx_str_t *method, ngx_str_t *headers)
{
    ngx_int_t                rc;
    ngx_str_t                err;
    ngx_uint_t               i, n, found;
    ngx_array_t             *rules;
    ngx_gcs_cors_rule_t     *rule;
    ngx_gcs_cors_query_t     query;
    ngx_gcs_cors_origin_t    origin;
    ngx_gcs_cors_answer_t    answer;
    ngx_gcs_cors_pattern_t  *pattern;

    rules = ngx_array_create(pool, 1, sizeof(ngx_gcs_cors_rule_t));

    rc = ngx_gcs_cors_file(pool, json, rules, &err);

    if (rc != NGX_OK) {
        fuzz_check(rc == NGX_DECLINED && err.len);

        for (i = 0; i < err.len; i++) {
            fuzz_check(err.data[i] >= 0x20 && err.data[i] < 0x7f);
        }

        return;
    }

    rule = rules->elts;

    for (n = 0; n < rules->nelts; n++) {
        fuzz_check(ngx_gcs_cors_complete(pool, &rule[n]) == NGX_OK);
        fuzz_check(rule[n].max_age >= -1);

        for (i = 0; i < rule[n].expose_headers.len; i++) {
            fuzz_check(rule[n].expose_headers.data[i] >= 0x20);
        }
    }

    query.origin = text;
    query.method = method;
    query.headers = headers;
    query.match = NULL;

    ngx_gcs_cors_decide(rules, &query, &answer);

    if (answer.rule == NULL) {
        fuzz_check(answer.refusal != NGX_GCS_CORS_ALLOWED);
        return;
    }

    fuzz_check(answer.any || answer.varies);

    for (i = 0; i < headers->len; i++) {
        fuzz_check(headers->data[i] == ',' || headers->data[i] == ' '
                   || headers->data[i] == '\t'
                   || (isgraph(headers->data[i])
                       && strchr("\"(),/:;<=>?@[\\]{}", headers->data[i])
                          == NULL));
    }

    if (answer.any) {
        return;
    }

    fuzz_check(ngx_gcs_cors_origin(&origin, text) == NULL);

    found = 0;
    pattern = answer.rule->origins->elts;

    for (i = 0; i < answer.rule->origins->nelts; i++) {
        found |= pattern[i].text.len == origin.text.len
                 && memcmp(pattern[i].text.data, origin.text.data,
                           origin.text.len)
                    == 0;
    }

    fuzz_check(found);
}
