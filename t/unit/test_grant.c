
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "shim.h"

#include "ngx_gcs_grant.h"
#include "ngx_gcs_jwt.h"


#define TEST_BODY                                                             \
    "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer"        \
    "&assertion="

#define test_token(more)                                                      \
    "{\"access_token\":\"ya29.c.t0ken-_~+/=..\",\"token_type\":\"Bearer\""    \
    more "}"


typedef struct {
    const char  *body;
    time_t       lifetime;      /* 0: refused */
} test_lifetime_t;


typedef struct {
    ngx_uint_t   status;
    const char  *body;
    ngx_int_t    rc;
    const char  *error;
} test_error_t;


static test_lifetime_t  lifetimes[] = {
    { test_token(""), 3600 },
    { test_token(",\"expires_in\":3599"), 3599 },
    { test_token(",\"expires_in\":3599.9"), 3599 },
    { test_token(",\"expires_in\":\"3599\""), 3599 },
    { test_token(",\"expires_in\":1"), 1 },
    { test_token(",\"expires_in\":43200"), 43200 },
    { test_token(",\"expires_in\":43201"), 43200 },
    { test_token(",\"expires_in\":99999999999999999999999999"), 43200 },
    { test_token(",\"expires_in\":1e300"), 43200 },
    { test_token(",\"expires_in\":\"99999999999999999999999999\""), 43200 },
    { test_token(",\"unknown\":[null]"), 3600 },
    { test_token(",\"expires_in\":0"), 0 },
    { test_token(",\"expires_in\":-1"), 0 },
    { test_token(",\"expires_in\":-1e300"), 0 },
    { test_token(",\"expires_in\":0.5"), 0 },
    { test_token(",\"expires_in\":\"0\""), 0 },
    { test_token(",\"expires_in\":\"\""), 0 },
    { test_token(",\"expires_in\":\"-1\""), 0 },
    { test_token(",\"expires_in\":\"1h\""), 0 },
    { test_token(",\"expires_in\":\" 1\""), 0 },
    { test_token(",\"expires_in\":null"), 0 },
    { test_token(",\"expires_in\":[]"), 0 },
    { NULL, 0 }
};


static test_error_t  errors[] = {

    /* 200 without a token that can be used */

    { 200, "", NGX_DECLINED, "without a JSON object" },
    { 200, "<html>log in</html>", NGX_DECLINED, "without a JSON object" },
    { 200, "[]", NGX_DECLINED, "without a JSON object" },
    { 200, "{\"access_token\":\"hidden", NGX_DECLINED, "JSON object" },
    { 200, "{}", NGX_DECLINED, "without an access token" },
    { 200, "{\"access_token\":\"\"}", NGX_DECLINED, "without an access" },
    { 200, "{\"access_token\":7}", NGX_DECLINED, "without an access" },
    { 200, "{\"id_token\":\"hidden\"}", NGX_DECLINED, "scopes" },
    { 200, "{\"access_token\":\"hidden\\r\\nX: y\"}", NGX_DECLINED,
      "invalid" },
    { 200, "{\"access_token\":\"hidden\\n\"}", NGX_DECLINED, "invalid" },
    { 200, "{\"access_token\":\"hid den\"}", NGX_DECLINED, "invalid" },
    { 200, "{\"access_token\":\"hidden\\u00e9\"}", NGX_DECLINED, "invalid" },
    { 200, "{\"access_token\":\"hidden,\"}", NGX_DECLINED, "invalid" },
    { 200, "{\"access_token\":\"hidden\\u0000\"}", NGX_DECLINED,
      "JSON object" },
    { 200, "{\"access_token\":\"hidden\",\"access_token\":\"hidden2\"}",
      NGX_DECLINED, "JSON object" },
    { 200, "{\"access_token\":\"hidden\",\"token_type\":\"mac\"}",
      NGX_DECLINED, "Bearer" },
    { 200, "{\"error\":\"invalid_grant\",\"access_token\":\"hidden\"}",
      NGX_DECLINED, "answered 200 \"invalid_grant\"" },
    { 200, "{\"error\":\"server_error\"}", NGX_BUSY, "server_error" },

    /* RFC 6749 */

    { 400, "{\"error\":\"invalid_grant\","
           "\"error_description\":\"Invalid JWT Signature.\"}",
      NGX_DECLINED, "token endpoint answered 400 \"invalid_grant\": "
      "\"Invalid JWT Signature.\"" },
    { 401, "{\"error\":\"invalid_client\"}", NGX_DECLINED,
      "token endpoint answered 401 \"invalid_client\"; the OAuth client" },
    { 400, "{\"error_description\":\"Bad Request\"}", NGX_DECLINED,
      "token endpoint answered 400 \"Bad Request\"" },
    { 400, "{\"error\":\"internal_failure\"}", NGX_BUSY, "internal_failure" },
    { 400, "{\"error\":\"x\",\"error_description\":"
           "\"temporarily_unavailable\"}", NGX_BUSY, "temporarily" },
    { 400, "{\"error\":\"server_errors\"}", NGX_DECLINED, "server_errors" },

    /* Google's APIs */

    { 403, "{\"error\":{\"code\":403,\"message\":\"Permission denied.\","
           "\"status\":\"PERMISSION_DENIED\"}}", NGX_DECLINED,
      "answered 403 \"PERMISSION_DENIED\": \"Permission denied.\"" },
    { 503, "{\"error\":{\"message\":\"Try later.\"}}", NGX_BUSY,
      "answered 503 \"Try later.\"" },

    /* neither */

    { 400, "", NGX_DECLINED, "token endpoint answered 400 without a reason" },
    { 302, "", NGX_DECLINED, "answered 302 without a reason" },
    { 404, "<h1>hidden</h1>", NGX_DECLINED, "answered 404 without a reason" },
    { 400, "[{\"error\":\"x\"}]", NGX_DECLINED, "without a reason" },
    { 400, "{\"error\":7,\"error_description\":[]}", NGX_DECLINED,
      "without a reason" },
    { 400, "{\"error\":{\"message\":7}}", NGX_DECLINED, "without a reason" },
    { 400, "{\"error\":\"\"}", NGX_DECLINED, "answered 400 \"\"" },
    { 201, test_token(""), NGX_DECLINED, "answered 201 without a reason" },
    { 408, "", NGX_BUSY, "408" },
    { 429, "", NGX_BUSY, "429" },
    { 500, "", NGX_BUSY, "500" },
    { 502, "<html>hidden</html>", NGX_BUSY, "502" },
    { 503, "", NGX_BUSY, "503" },
    { 504, "", NGX_BUSY, "504" },
    { 599, "", NGX_BUSY, "599" },
    { 600, "", NGX_DECLINED, "600" },

    /* what a stranger may write */

    { 400, "{\"error\":\"a\\nb\\r\\u0001\\u007f\\u00e9\"}", NGX_DECLINED,
      "answered 400 \"a?b?????\"" },
    { 400, "{\"error\":\"a\\\"b\"}", NGX_DECLINED, "\"a'b\"" },
    { 400, "{\"error\":\"bad token ya29.hidden, sorry\"}", NGX_DECLINED,
      "\"bad token ..., sorry\"" },
    { 400, "{\"error\":\"x\",\"error_description\":\"'eyJhidden.b.c'\"}",
      NGX_DECLINED, "\"x\": \"'...'\"" },
    { 400, "{\"error\":\"x\",\"error_description\":\"access_token=ya29.hid"
           "den, [ya29.hidden] {ya29.hidden}\"}", NGX_DECLINED,
      "\"x\": \"access_token=..., [...] {...}\"" },
    { 400, "{\"error\":\"GOCSPX-hidden|eyJhidden*ya29.hidden\"}",
      NGX_DECLINED, "\"...|...*...\"" },
    { 400, "{\"error\":\"see https://iamcredentials.googleapis.com/a?b=c\"}",
      NGX_DECLINED, "\"see https://iamcredentials.googleapis.com/a?b=c\"" },
    { 0, NULL, 0, NULL }
};


static void test_request(void);
static void test_lifetimes(void);
static void test_errors(void);
static void test_lengths(void);
static void test_no_memory(void);
static ngx_int_t test_answer(ngx_gcs_grant_t *grant, ngx_uint_t status,
    ngx_str_t body);


static EVP_PKEY               *key;
static ngx_gcs_credentials_t   cred;


int
main(void)
{
    ngx_pool_t  *pool;

    pool = test_pool();
    key = test_rsa(2048);

    ngx_str_set(&cred.client_email, "reader@x.iam.example");
    ngx_str_set(&cred.private_key_id, "k-1");
    ngx_str_set(&cred.scope, "a b");
    ngx_str_set(&cred.token_uri, "https://localhost/token");
    cred.key = test_prepared(pool, key);

    test_request();
    test_lifetimes();
    test_errors();
    test_lengths();
    test_no_memory();

    EVP_PKEY_free(key);
    ngx_destroy_pool(pool);

    return test_failures;
}


static void
test_request(void)
{
    ngx_str_t           jwt, *header;
    ngx_pool_t         *pool;
    ngx_gcs_grant_t    *grant;
    ngx_gcs_request_t   req;

    pool = test_pool();

    ngx_memzero(&req, sizeof(req));

    grant = ngx_gcs_grant_create(pool, &cred);
    test_check(ngx_gcs_grant_request(grant, 1700000000, &req) == NGX_OK, NULL);

    test_check(test_equal(&req.method, "POST"), NULL);
    test_check(test_equal(&req.url, "https://localhost/token"), NULL);
    test_check(req.headers->nelts == 1, NULL);

    header = req.headers->elts;
    test_check(test_equal(header, "Content-Type: "
                                  "application/x-www-form-urlencoded"), NULL);

    /* PKCS#1 v1.5 signs the same text to the same bytes */

    (void) ngx_gcs_jwt_assertion(pool, &cred, &cred.scope, 1700000000, &jwt);

    test_check(req.body.len == sizeof(TEST_BODY) - 1 + jwt.len, NULL);
    test_check(memcmp(req.body.data, TEST_BODY, sizeof(TEST_BODY) - 1) == 0,
               NULL);
    test_check(memcmp(req.body.data + sizeof(TEST_BODY) - 1, jwt.data,
                      jwt.len) == 0, NULL);

    test_check(grant->error.len == 0, NULL);

    /* and again after a passing failure */

    test_check(test_answer(grant, 503, test_text(pool, "")) == NGX_BUSY, NULL);
    ngx_memzero(&req, sizeof(req));
    test_check(ngx_gcs_grant_request(grant, 1700000001, &req) == NGX_OK, NULL);
    test_check(grant->error.len == 0, NULL);
    test_check(test_answer(grant, 200, test_text(pool, test_token("")))
               == NGX_OK, NULL);

    ngx_destroy_pool(pool);
}


static void
test_lifetimes(void)
{
    ngx_int_t         rc;
    ngx_pool_t       *pool;
    ngx_gcs_grant_t  *grant;
    test_lifetime_t  *t;

    pool = test_pool();

    for (t = lifetimes; t->body; t++) {
        grant = ngx_gcs_grant_create(pool, &cred);

        rc = test_answer(grant, 200, test_text(pool, t->body));

        if (t->lifetime == 0) {
            test_check(rc == NGX_DECLINED, t->body);
            test_check(test_contains(&grant->error, "expires_in"), t->body);
            test_check(grant->token.len == 0, t->body);
            continue;
        }

        test_check(rc == NGX_OK, t->body);
        test_check(test_equal(&grant->token, "ya29.c.t0ken-_~+/=.."), t->body);
        test_check(grant->lifetime == t->lifetime, t->body);
        test_check(grant->error.len == 0 && grant->retry_after == 0, t->body);
    }

    grant = ngx_gcs_grant_create(pool, &cred);
    rc = test_answer(grant, 200,
                     test_text(pool, "{\"access_token\":\"a\","
                                     "\"token_type\":\"bEARER\"}"));
    test_check(rc == NGX_OK, "case of the type");

    ngx_destroy_pool(pool);
}


static void
test_errors(void)
{
    ngx_int_t         rc;
    ngx_pool_t       *pool;
    test_error_t     *t;
    ngx_gcs_grant_t  *grant;

    pool = test_pool();

    for (t = errors; t->body; t++) {
        grant = ngx_gcs_grant_create(pool, &cred);

        rc = test_answer(grant, t->status, test_text(pool, t->body));

        test_check(rc == t->rc, t->body);
        test_check(test_contains(&grant->error, t->error), t->body);
        test_check(!test_contains(&grant->error, "hidden"), t->body);
        test_check(grant->token.len == 0 && grant->lifetime == 0, t->body);
        test_check(grant->retry_after == 17, t->body);
    }

    ngx_destroy_pool(pool);
}


static void
test_lengths(void)
{
    size_t            i, len;
    u_char           *p;
    ngx_str_t         body;
    ngx_pool_t       *pool;
    ngx_gcs_grant_t  *grant;

    pool = test_pool();
    grant = ngx_gcs_grant_create(pool, &cred);

    /* the longest token, and one byte more */

    for (len = 16384; len <= 16385; len++) {
        body.data = ngx_pcalloc(pool, len + 64);

        p = ngx_cpymem(body.data, "{\"access_token\":\"", 17);
        memset(p, 'a', len);
        p = ngx_cpymem(p + len, "\"}", 2);
        body.len = p - body.data;

        test_check(test_answer(grant, 200, body)
                   == (len == 16384 ? NGX_OK : NGX_DECLINED), NULL);
    }

    /* texts of all lengths, of words of all lengths, with a remedy or not */

    for (len = 0; len < 700; len++) {

        for (i = 0; i < 3; i++) {
            body.data = ngx_pcalloc(pool, 2 * len + 64);

            p = ngx_cpymem(body.data, "{\"error\":\"", 10);
            memset(p, i == 0 ? 'a' : ' ', len);
            p = ngx_cpymem(p + len, "\",\"error_description\":\"", 23);
            memset(p, i == 1 ? 'b' : ',', len);
            p = ngx_cpymem(p + len, "\"}", 2);
            body.len = p - body.data;

            test_check(test_answer(grant, 400, body) == NGX_DECLINED, NULL);
            test_check(grant->error.len <= 400, NULL);
            test_check(grant->error.data[grant->error.len - 1] == '"', NULL);
            test_check(grant->word == NULL, NULL);

            if (i == 2) {
                test_check(test_answer(grant, 429, body) == NGX_BUSY, NULL);
                test_check(test_contains(&grant->error, "; too many requests "
                                         "in this project; it is tried again"),
                           NULL);
                test_check(grant->error.len <= NGX_GCS_GRANT_ERROR_MAX, NULL);
            }

            if (i < 2 && len > 64) {
                test_check(!test_contains(&grant->error, "aaa"), NULL);
                test_check(!test_contains(&grant->error, "bbb"), NULL);
            }
        }
    }

    ngx_destroy_pool(pool);
}


static void
test_no_memory(void)
{
    ngx_int_t           rc;
    ngx_uint_t          n;
    ngx_pool_t         *pool;
    ngx_gcs_grant_t    *grant;
    ngx_gcs_request_t   req;
    ngx_str_t           ok = ngx_string(test_token(""));
    ngx_str_t           bad = ngx_string("{\"error\":\"x\"}");

    for (n = 1; /* void */ ; n++) {
        pool = test_pool();

        shim_allocs = 0;
        shim_fail_at = n;

        rc = NGX_ERROR;
        grant = ngx_gcs_grant_create(pool, &cred);

        ngx_memzero(&req, sizeof(req));

        if (grant) {
            rc = ngx_gcs_grant_request(grant, 1, &req);
        }

        if (rc == NGX_OK) {
            rc = test_answer(grant, 400, bad);

            if (rc == NGX_DECLINED) {
                rc = test_answer(grant, 200, ok);
            }
        }

        shim_fail_at = 0;

        if (rc != NGX_OK && grant) {
            test_check(grant->error.len != 0, NULL);
        }

        ngx_destroy_pool(pool);

        if (shim_allocs < n) {
            test_check(rc == NGX_OK, NULL);
            break;
        }

        test_check(rc == NGX_ERROR, "no memory");
    }

    test_check(n > 8, "allocations were made to fail");
}


static ngx_int_t
test_answer(ngx_gcs_grant_t *grant, ngx_uint_t status, ngx_str_t body)
{
    ngx_gcs_response_t  res;

    ngx_memzero(&res, sizeof(res));

    res.status = status;
    res.retry_after = 17;
    res.body = body;

    return ngx_gcs_grant_response(grant, &res);
}
