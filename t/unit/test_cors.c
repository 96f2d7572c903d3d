
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "shim.h"

#include "ngx_gcs_cors.h"


typedef struct {
    const char  *text;
    const char  *origin;        /* as browsers write it; NULL: refused */
} test_origin_t;


typedef struct {
    const char  *pattern;
    const char  *origin;
    ngx_uint_t   match;
} test_match_t;


typedef struct {
    const char  *json;
    const char  *err;
} test_bad_t;


typedef struct {
    const char  *origin;        /* NULL: the header is not there */
    const char  *method;        /* NULL: does not matter */
    const char  *headers;       /* NULL: the header is not there */
    int          rule;          /* -1: refused */
    ngx_uint_t   any;
    ngx_uint_t   varies;
    ngx_uint_t   refusal;
} test_decision_t;


static test_origin_t  origins[] = {
    { "null", "null" },
    { "https://a.example", "https://a.example" },
    { "HTTPS://A.Example", "https://a.example" },
    { "https://a.example:443", "https://a.example" },
    { "http://a.example:80", "http://a.example" },
    { "https://a.example:80", "https://a.example:80" },
    { "http://a.example:443", "http://a.example:443" },
    { "https://a.example:8443", "https://a.example:8443" },
    { "https://a.example:1", "https://a.example:1" },
    { "https://a.example:65535", "https://a.example:65535" },
    { "http://localhost:3000", "http://localhost:3000" },
    { "http://127.0.0.1:3000", "http://127.0.0.1:3000" },
    { "http://[::1]:3000", "http://[::1]:3000" },
    { "http://[2001:DB8::1]", "http://[2001:db8::1]" },
    { "https://xn--mnchen-3ya.example", "https://xn--mnchen-3ya.example" },
    { "https://a_b.example", "https://a_b.example" },
    { "chrome-extension://abcdef", "chrome-extension://abcdef" },
    { "capacitor://localhost", "capacitor://localhost" },

    { "", NULL },
    { "NULL", NULL },
    { "null ", NULL },
    { "*", NULL },
    { "a.example", NULL },
    { "//a.example", NULL },
    { "://a.example", NULL },
    { "1https://a.example", NULL },
    { "https:a.example", NULL },
    { "https:/a.example", NULL },
    { "https://", NULL },
    { "https:///", NULL },
    { "https://a.example/", NULL },
    { "https://a.example/b", NULL },
    { "https://a.example?b", NULL },
    { "https://a.example#b", NULL },
    { "https://a.example\\b", NULL },
    { "https://u@a.example", NULL },
    { "https://u:p@a.example", NULL },
    { "https://a.example:443@evil.example", NULL },
    { "https://a.example.", NULL },
    { "https://a.example.:443", NULL },
    { "https://.a.example", NULL },
    { "https://a..example", NULL },
    { "https://.", NULL },
    { "https://a.example:", NULL },
    { "https://a.example:0", NULL },
    { "https://a.example:0443", NULL },
    { "https://a.example:65536", NULL },
    { "https://a.example:123456", NULL },
    { "https://a.example:44a", NULL },
    { "https://a.example:443:443", NULL },
    { "https://a.example:+443", NULL },
    { "https://a.example ", NULL },
    { " https://a.example", NULL },
    { "https://a.example, https://b.example", NULL },
    { "https://a.example https://b.example", NULL },
    { "https://a\texample", NULL },
    { "https://a.example\x7f", NULL },
    { "https://a.example\x01", NULL },
    { "https://m\xc3\xbcnchen.example", NULL },
    { "https://a%2eexample", NULL },
    { "https://*.example", NULL },
    { "https://256.0.0.1", NULL },
    { "https://1.2.3", NULL },
    { "https://127.0x555", NULL },
    { "https://a.0x", NULL },
    { "https://a.0xg", "https://a.0xg" },
    { "https://0xa.example", "https://0xa.example" },
    { "https://a.1", NULL },
    { "http://[::1", NULL },
    { "http://[]", NULL },
    { "http://[::1]x", NULL },
    { "http://[::1%eth0]", NULL },
    { "http://[fe80::g]", NULL },
    { "http://::1", NULL },
    { NULL, NULL }
};


static test_match_t  matches[] = {
    { "*", "https://a.example", NGX_GCS_CORS_ALL },
    { "*", "null", NGX_GCS_CORS_ALL },
    { "null", "null", NGX_GCS_CORS_YES },
    { "https://null", "null", NGX_GCS_CORS_NO },
    { "https://a.example", "https://a.example", NGX_GCS_CORS_YES },
    { "HTTPS://A.EXAMPLE:443", "https://a.example", NGX_GCS_CORS_YES },
    { "https://a.example", "https://A.example:443", NGX_GCS_CORS_YES },
    { "https://a.example", "http://a.example", NGX_GCS_CORS_NO },
    { "https://a.example", "https://a.example:444", NGX_GCS_CORS_NO },
    { "https://a.example:444", "https://a.example", NGX_GCS_CORS_NO },
    { "https://a.example", "https://a.example.evil", NGX_GCS_CORS_NO },
    { "https://a.example", "https://evila.example", NGX_GCS_CORS_NO },
    { "https://a.example", "https://b.a.example", NGX_GCS_CORS_NO },
    { "https://a.example", "https://aXexample", NGX_GCS_CORS_NO },
    { "https://a.example", "null", NGX_GCS_CORS_NO },

    { "https://*.e.x", "https://a.e.x", NGX_GCS_CORS_YES },
    { "https://*.E.x:443", "https://A.e.x", NGX_GCS_CORS_YES },
    { "https://*.e.x", "https://xn--mnchen-3ya.e.x", NGX_GCS_CORS_YES },
    { "https://*.e.x:8443", "https://a.e.x:8443", NGX_GCS_CORS_YES },
    { "https://*.e.x:8443", "https://a.e.x", NGX_GCS_CORS_NO },
    { "https://*.e.x", "https://a.e.x:8443", NGX_GCS_CORS_NO },
    { "https://*.e.x", "https://e.x", NGX_GCS_CORS_NO },
    { "https://*.e.x", "https://a.b.e.x", NGX_GCS_CORS_NO },
    { "https://*.e.x", "https://ae.x", NGX_GCS_CORS_NO },
    { "https://*.e.x", "https://abe.x", NGX_GCS_CORS_NO },
    { "https://*.e.x", "http://a.e.x", NGX_GCS_CORS_NO },
    { "https://*.e.x", "https://a.e.x.evil", NGX_GCS_CORS_NO },
    { "https://*.e.x", "https://a.fe.x", NGX_GCS_CORS_NO },
    { "https://*.e.x", "null", NGX_GCS_CORS_NO },
    { "a://*.e.x", "https://a.e.x", NGX_GCS_CORS_NO },
    { "http://*.localhost:3000", "http://a.localhost:3000",
      NGX_GCS_CORS_YES },
    { NULL, NULL, 0 }
};


static const char  *patterns[] = {
    "",
    "**",
    "https://*",
    "https://*.",
    "https://*example.com",
    "https://a*.example.com",
    "https://a.*.com",
    "https://*.*.com",
    "https://*.example.*",
    "https://*.example.com/",
    "https://*.example.com:*",
    "https://*.m\xc3\xbcnchen.example",
    "https://*.0.0.1",
    "*.example.com",
    "*://a.example",
    "http*://a.example",
    NULL
};


static test_bad_t  bad[] = {
    { "", "it is not valid JSON, see line 1" },
    { "[", "it is not valid JSON, see line 1" },
    { "[]]", "it is not valid JSON" },
    { "null", "it is not valid JSON" },
    { "[[]]", "\"cors[0]\" is not an object" },
    { "{}", "it is not a list of rules" },
    { "{\"cors\": {}}", "it is not a list of rules" },
    { "{\"rules\": []}", "it is not a list of rules" },
    { "{\"cors\": [], \"x\": 1}", "it is not a list of rules" },
    { "[1]", "\"cors[0]\" is not an object" },
    { "[{}]", "\"cors[0].origin\" is missing" },
    { "[{\"origin\": \"*\"}]", "\"cors[0].origin\" is not a list" },
    { "[{\"origin\": []}]", "\"cors[0].origin\" is empty" },
    { "[{\"origin\": [7]}]", "\"cors[0].origin[0]\": it is not a string" },
    { "[{\"origin\": [\"*\"]}]", "\"cors[0].method\" is missing" },
    { "[{\"origin\": [\"*\", \"x\"]}]", "\"cors[0].origin[1]\": write" },
    { "[{\"origin\": [\"https://a.b/\"]}]", "\"cors[0].origin[0]\": an "
      "origin has no path" },
    { "[{\"origin\": [\"https://*.a.b\"]}]", "\"cors[0].origin[0]\": Cloud "
      "Storage knows \"*\" only as a whole; use \"gcs_cors\"" },
    { "[{\"origin\": [\"*\"], \"method\": []}]",
      "\"cors[0].method\" is empty" },
    { "[{\"origin\": [\"*\"], \"method\": [\"*\"]},"
      " {\"origin\": [\"*\"], \"method\": [\"get\"]}]",
      "\"cors[1].method[0]\": it must be \"GET\"" },
    { "[{\"origin\": [\"*\"], \"method\": [\"GET\", \"TRACE\"]}]",
      "\"cors[0].method[1]\": it must be" },
    { "[{\"origin\": [\"*\"], \"method\": [\"GET\"], \"methods\": []}]",
      "\"cors[0].methods\" is unknown; a rule has" },
    { "[{\"a\\nb\": 1}]", "\"cors[0]\" has an unknown member" },
    { "[{\"origin\": [], \"origin\": []}]", "it is not valid JSON" },
    { "[{\"origin\": [\"*\"], \"method\": [\"GET\"],"
      "  \"responseHeader\": \"Content-Type\"}]",
      "\"cors[0].responseHeader\" is not a list" },
    { "[{\"origin\": [\"*\"], \"method\": [\"GET\"],"
      "  \"responseHeader\": [\"A\", \"B\\r\\nC\"]}]",
      "\"cors[0].responseHeader[1]\": it is not the name of a header" },
    { "[{\"origin\": [\"*\"], \"method\": [\"GET\"],"
      "  \"responseHeader\": [\"\"]}]",
      "\"cors[0].responseHeader[0]\": it is not the name of a header" },
    { "[{\"origin\": [\"*\"], \"method\": [\"GET\"],"
      "  \"maxAgeSeconds\": \"60\"}]",
      "\"cors[0].maxAgeSeconds\" is not a number of seconds" },
    { "[{\"origin\": [\"*\"], \"method\": [\"GET\"],"
      "  \"maxAgeSeconds\": -1}]",
      "\"cors[0].maxAgeSeconds\" is not a number of seconds" },
    { "[{\"origin\": [\"*\"], \"method\": [\"GET\"],"
      "  \"maxAgeSeconds\": 1.5}]",
      "\"cors[0].maxAgeSeconds\" is not a number of seconds" },
    { NULL, NULL }
};


/* three rules: by origin, by wildcard methods and headers, for everybody */

static const char  document[] =
    "[{\"origin\": [\"https://a.example\", \"null\"],"
    "  \"method\": [\"GET\", \"PUT\"],"
    "  \"responseHeader\": [\"Content-Type\", \"x-goog-meta-*\"],"
    "  \"maxAgeSeconds\": 60},"
    " {\"origin\": [\"https://b.example\"], \"method\": [\"*\"],"
    "  \"responseHeader\": [\"*\"]},"
    " {\"origin\": [\"*\"], \"method\": [\"HEAD\"]}]";


static test_decision_t  decisions[] = {
    { "https://a.example", "GET", NULL, 0, 0, 1, 0 },
    { "https://a.example", "PUT", NULL, 0, 0, 1, 0 },
    { "https://a.example", NULL, NULL, 0, 0, 1, 0 },
    { "null", "GET", NULL, 0, 0, 1, 0 },
    { "https://b.example", "FOO", NULL, 1, 0, 1, 0 },
    { "https://b.example", "F O", NULL, -1, 0, 0, NGX_GCS_CORS_NO_METHOD },

    /* the first rule does not allow it, the last one does */
    { "https://a.example", "HEAD", NULL, 2, 1, 1, 0 },
    { "https://c.example", "HEAD", NULL, 2, 1, 1, 0 },
    { NULL, "HEAD", NULL, 2, 1, 1, 0 },
    { "no origin", "HEAD", NULL, 2, 1, 1, 0 },

    { "https://a.example", "get", NULL, -1, 0, 1, NGX_GCS_CORS_NO_METHOD },
    { "https://a.example", "", NULL, -1, 0, 0, NGX_GCS_CORS_NO_METHOD },
    { "https://c.example", "GET", NULL, -1, 0, 1, NGX_GCS_CORS_NO_METHOD },
    { NULL, "GET", NULL, -1, 0, 1, NGX_GCS_CORS_NO_METHOD },

    { "https://a.example", "GET", "", 0, 0, 1, 0 },
    { "https://a.example", "GET", " , ,", 0, 0, 1, 0 },
    { "https://a.example", "GET", "content-type", 0, 0, 1, 0 },
    { "https://a.example", "GET", "CONTENT-TYPE,x-goog-meta-a , "
      "X-Goog-Meta-", 0, 0, 1, 0 },
    { "https://a.example", "GET", "range", -1, 0, 1,
      NGX_GCS_CORS_NO_HEADER },
    { "https://a.example", "GET", "content-type, range", -1, 0, 1,
      NGX_GCS_CORS_NO_HEADER },
    { "https://a.example", "GET", "content-typ", -1, 0, 1,
      NGX_GCS_CORS_NO_HEADER },
    { "https://a.example", "GET", "content-type-2", -1, 0, 1,
      NGX_GCS_CORS_NO_HEADER },
    { "https://a.example", "GET", "x-goog-meta", -1, 0, 1,
      NGX_GCS_CORS_NO_HEADER },
    { "https://a.example", "GET", "content-type content-type", -1, 0, 1,
      NGX_GCS_CORS_NO_HEADER },
    { "https://b.example", "GET", "anything, x", 1, 0, 1, 0 },
    { "https://b.example", "GET", "any\"thing", -1, 0, 1,
      NGX_GCS_CORS_NO_HEADER },
    { "https://c.example", "HEAD", "x", -1, 0, 1, NGX_GCS_CORS_NO_HEADER },
    { "https://c.example", "HEAD", "", 2, 1, 1, 0 },
    { NULL, NULL, NULL, 0, 0, 0, 0 }
};


static void
test_origins(void)
{
    char                   *err;
    ngx_str_t               text;
    ngx_pool_t             *pool;
    test_origin_t          *t;
    ngx_gcs_cors_origin_t   origin, again;

    pool = test_pool();

    for (t = origins; t->text; t++) {
        text = test_text(pool, t->text);
        err = ngx_gcs_cors_origin(&origin, &text);

        if (t->origin == NULL) {
            test_check(err != NULL, t->text);
            continue;
        }

        test_check(err == NULL, t->text);
        test_check(test_equal(&origin.text, t->origin), t->text);

        /* what is normal stays as it is */

        test_check(ngx_gcs_cors_origin(&again, &origin.text) == NULL,
                   t->text);
        test_check(test_equal(&again.text, t->origin), t->text);
    }

    ngx_destroy_pool(pool);
}


static void
test_long_origins(void)
{
    size_t                  n;
    u_char                  buf[1024];
    ngx_str_t               text;
    ngx_pool_t             *pool;
    ngx_gcs_cors_origin_t   origin;
    ngx_gcs_cors_pattern_t  pattern;

    pool = test_pool();

    for (n = 1; n < 600; n++) {
        memcpy(buf, "https://", 8);
        memset(buf + 8, 'a', n);
        text = test_bytes(pool, buf, 8 + n);

        test_check((ngx_gcs_cors_origin(&origin, &text) == NULL)
                   == (n <= 253), "a long host");

        memcpy(buf, "https://*.", 10);
        memset(buf + 10, 'a', n);
        text = test_bytes(pool, buf, 10 + n);

        test_check((ngx_gcs_cors_pattern(&pattern, &text, &origin) == NULL)
                   == (n <= 253), "a long host after a wildcard");

        memset(buf, 'a', n);
        memcpy(buf + n, "://b", 4);
        text = test_bytes(pool, buf, n + 4);

        test_check((ngx_gcs_cors_origin(&origin, &text) == NULL)
                   == (n + 4 <= NGX_GCS_CORS_ORIGIN), "a long scheme");
    }

    text = test_bytes(pool, "https://a.example\0.evil", 23);
    test_check(ngx_gcs_cors_origin(&origin, &text) != NULL, "NUL");

    text = test_bytes(pool, "http://[::1\0]", 13);
    test_check(ngx_gcs_cors_origin(&origin, &text) != NULL, "NUL");

    ngx_destroy_pool(pool);
}


static void
test_patterns(void)
{
    ngx_str_t               text;
    ngx_pool_t             *pool;
    const char            **p;
    test_match_t           *t;
    ngx_gcs_cors_origin_t   buf, origin;
    ngx_gcs_cors_pattern_t  pattern;

    pool = test_pool();

    for (t = matches; t->pattern; t++) {
        text = test_text(pool, t->pattern);
        test_check(ngx_gcs_cors_pattern(&pattern, &text, &buf) == NULL,
                   t->pattern);

        text = test_text(pool, t->origin);
        test_check(ngx_gcs_cors_origin(&origin, &text) == NULL, t->origin);

        test_check(ngx_gcs_cors_match(&pattern, &origin) == t->match,
                   t->origin);
    }

    for (p = patterns; *p; p++) {
        text = test_text(pool, *p);
        test_check(ngx_gcs_cors_pattern(&pattern, &text, &buf) != NULL, *p);
    }

    /* the module's own kinds let nothing pass by themselves */

    pattern.kind = NGX_GCS_CORS_CUSTOM;
    test_check(ngx_gcs_cors_match(&pattern, &origin) == NGX_GCS_CORS_NO,
               NULL);

    ngx_destroy_pool(pool);
}


static ngx_int_t
test_load(ngx_pool_t *pool, const char *json, ngx_array_t **rules,
    ngx_str_t *err)
{
    ngx_int_t             rc;
    ngx_str_t             text;
    ngx_uint_t            i;
    ngx_gcs_cors_rule_t  *rule;

    ngx_str_null(err);

    text.data = (u_char *) json;
    text.len = strlen(json);

    *rules = ngx_array_create(pool, 1, sizeof(ngx_gcs_cors_rule_t));
    if (*rules == NULL) {
        return NGX_ERROR;
    }

    rc = ngx_gcs_cors_file(pool, &text, *rules, err);
    if (rc != NGX_OK) {
        return rc;
    }

    rule = (*rules)->elts;

    for (i = 0; i < (*rules)->nelts; i++) {
        if (rule[i].max_age == -1) {
            rule[i].max_age = 3600;
        }

        if (ngx_gcs_cors_complete(pool, &rule[i]) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static void
test_files(void)
{
    ngx_str_t             err;
    ngx_pool_t           *pool;
    test_bad_t           *t;
    ngx_array_t          *rules;
    ngx_gcs_cors_rule_t  *rule;

    pool = test_pool();

    for (t = bad; t->json; t++) {
        test_check(test_load(pool, t->json, &rules, &err) == NGX_DECLINED,
                   t->json);
        test_check(test_contains(&err, t->err), t->json);
    }

    test_check(test_load(pool, "[]", &rules, &err) == NGX_OK, "[]");
    test_check(rules->nelts == 0, "[]");

    test_check(test_load(pool, document, &rules, &err) == NGX_OK, NULL);
    test_check(rules->nelts == 3, NULL);

    rule = rules->elts;

    test_check(test_equal(&rule[0].allow_methods, "GET, PUT"), NULL);
    test_check(test_equal(&rule[0].expose_headers, "Content-Type"), NULL);
    test_check(test_equal(&rule[0].age, "60"), NULL);
    test_check(rule[0].any_header && !rule[0].any_method
               && !rule[0].any_origin, NULL);

    test_check(rule[1].any_header && rule[1].any_method
               && !rule[1].any_origin, NULL);
    test_check(test_equal(&rule[1].expose_headers, "*"), NULL);
    test_check(test_equal(&rule[1].age, "3600"), NULL);

    test_check(!rule[2].any_header && !rule[2].any_method
               && rule[2].any_origin, NULL);
    test_check(rule[2].allow_headers.len == 0, NULL);
    test_check(rule[2].expose_headers.len == 0, NULL);

    /* credentials and wildcards */

    rule[0].credentials = 1;
    rule[1].credentials = 1;
    rule[2].credentials = 1;

    test_check(ngx_gcs_cors_conflict(&rule[0]) == NULL, NULL);
    test_check(strcmp(ngx_gcs_cors_conflict(&rule[1]), "expose") == 0, NULL);
    test_check(strcmp(ngx_gcs_cors_conflict(&rule[2]), "origin") == 0, NULL);

    rule[2].credentials = 0;
    test_check(ngx_gcs_cors_conflict(&rule[2]) == NULL, NULL);

    ngx_destroy_pool(pool);
}


static void
test_decisions(void)
{
    ngx_str_t               err, origin, method, headers;
    ngx_pool_t             *pool;
    ngx_array_t            *rules;
    test_decision_t        *t;
    ngx_gcs_cors_rule_t    *rule;
    ngx_gcs_cors_query_t    query;
    ngx_gcs_cors_answer_t   answer;

    pool = test_pool();

    test_check(test_load(pool, document, &rules, &err) == NGX_OK, NULL);
    rule = rules->elts;

    ngx_memzero(&query, sizeof(query));

    for (t = decisions; t->origin || t->method; t++) {

        origin = test_text(pool, t->origin ? t->origin : "");
        method = test_text(pool, t->method ? t->method : "");
        headers = test_text(pool, t->headers ? t->headers : "");

        query.origin = t->origin ? &origin : NULL;
        query.method = t->method ? &method : NULL;
        query.headers = t->headers ? &headers : NULL;

        shim_allocs = 0;

        ngx_gcs_cors_decide(rules, &query, &answer);

        test_check(shim_allocs == 0, "takes no memory");
        test_check(answer.rule == (t->rule < 0 ? NULL : &rule[t->rule]),
                   t->origin);
        test_check(answer.any == t->any, t->origin);
        test_check(answer.varies == t->varies, t->origin);
        test_check(answer.refusal == t->refusal, t->origin);
    }

    /* a "*" that has slipped through lets nobody in with credentials */

    rule[2].credentials = 1;
    origin = test_text(pool, "https://c.example");
    method = test_text(pool, "HEAD");
    query.origin = &origin;
    query.method = &method;
    query.headers = NULL;

    ngx_gcs_cors_decide(rules, &query, &answer);

    test_check(answer.rule == NULL, NULL);

    ngx_destroy_pool(pool);
}


/* what a variable has yielded stands for a pattern of the caller's */

static ngx_gcs_cors_match_e
test_custom(void *data, ngx_gcs_cors_pattern_t *pattern,
    ngx_gcs_cors_origin_t *origin)
{
    test_check(pattern->kind == NGX_GCS_CORS_CUSTOM, NULL);
    test_check(test_equal(&origin->text, "https://a.example"), NULL);

    return *(ngx_gcs_cors_match_e *) data;
}


static void
test_custom_patterns(void)
{
    ngx_str_t                err, text;
    ngx_pool_t              *pool;
    ngx_array_t             *rules;
    ngx_gcs_cors_rule_t     *rule;
    ngx_gcs_cors_match_e     match;
    ngx_gcs_cors_query_t     query;
    ngx_gcs_cors_answer_t    answer;
    ngx_gcs_cors_pattern_t  *pattern;

    pool = test_pool();

    test_check(test_load(pool, "[{\"origin\": [\"https://x\"],"
                         "\"method\": [\"GET\"]}]", &rules, &err)
               == NGX_OK, NULL);

    rule = rules->elts;
    pattern = rule->origins->elts;
    pattern->kind = NGX_GCS_CORS_CUSTOM;

    ngx_memzero(&query, sizeof(query));
    query.match = test_custom;
    query.data = &match;
    query.origin = &text;

    text = test_text(pool, "HTTPS://A.example:443");

    match = NGX_GCS_CORS_NO;
    ngx_gcs_cors_decide(rules, &query, &answer);
    test_check(answer.rule == NULL && answer.varies, NULL);

    match = NGX_GCS_CORS_YES;
    ngx_gcs_cors_decide(rules, &query, &answer);
    test_check(answer.rule == rule && !answer.any && answer.varies, NULL);

    match = NGX_GCS_CORS_ALL;
    ngx_gcs_cors_decide(rules, &query, &answer);
    test_check(answer.rule == rule && answer.any && answer.varies, NULL);

    rule->credentials = 1;
    ngx_gcs_cors_decide(rules, &query, &answer);
    test_check(answer.rule == NULL, NULL);

    /* what is no origin is not shown to it */

    rule->credentials = 0;
    text = test_text(pool, "https://a.example/");
    ngx_gcs_cors_decide(rules, &query, &answer);
    test_check(answer.rule == NULL, NULL);

    ngx_destroy_pool(pool);
}


static void
test_no_memory(void)
{
    ngx_int_t     rc;
    ngx_str_t     err;
    ngx_uint_t    n;
    ngx_pool_t   *pool;
    ngx_array_t  *rules;

    for (n = 1; n < 100; n++) {
        pool = test_pool();

        shim_allocs = 0;
        shim_fail_at = n;
        rc = test_load(pool, document, &rules, &err);
        shim_fail_at = 0;

        ngx_destroy_pool(pool);

        if (shim_allocs < n) {
            test_check(rc == NGX_OK, NULL);
            break;
        }

        test_check(rc == NGX_ERROR, "no memory");
    }

    test_check(n > 10 && n < 100, "allocations were made to fail");
}


int
main(void)
{
    test_origins();
    test_long_origins();
    test_patterns();
    test_files();
    test_decisions();
    test_custom_patterns();
    test_no_memory();

    return test_failures;
}
