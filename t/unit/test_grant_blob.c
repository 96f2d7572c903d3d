
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


/* A signature of IAM: what is asked for, and what answers are worth. */


#include "walk.h"

#include "ngx_gcs_explain.h"


#define TEST_TEXT                                                             \
    "GOOG4-RSA-SHA256\n20260102T030405Z\n"                                    \
    "20260102/auto/storage/goog4_request\nabcdef"

/* made by another encoder */
#define TEST_PAYLOAD                                                          \
    "R09PRzQtUlNBLVNIQTI1NgoyMDI2MDEwMlQwMzA0MDVaCjIwMjYwMTAyL2F1dG8vc3Rv"    \
    "cmFnZS9nb29nNF9yZXF1ZXN0CmFiY2RlZg=="

#define TEST_BODY(delegates)                                                  \
    "{\"delegates\":[" delegates "],\"payload\":\"" TEST_PAYLOAD "\"}"

#define TEST_HEADERS  WALK_JSON "Authorization: Bearer hidden-token\n"

#define TEST_ANSWER  "{\"keyId\":\"k\",\"signedBlob\":\"AP8Qa+8/\"}"

#define TEST_ERROR(status, reason, text)                                      \
    "{\"error\":{\"code\":" #status ",\"message\":\"" text "\","              \
    "\"status\":\"S\",\"details\":[{\"@type\":"                               \
    "\"type.googleapis.com/google.rpc.ErrorInfo\","                           \
    "\"reason\":\"" reason "\"}]}}"


static void test_request(void);
static void test_answers(void);
static void test_long_answers(void);
static void test_no_memory(void);
static ngx_gcs_grant_t *test_blob(ngx_pool_t *pool,
    ngx_gcs_credentials_t *cred, const char *account, const char *text);
static ngx_gcs_credentials_t test_signing(ngx_pool_t *pool);


int
main(void)
{
    shim_secret = "hidden";

    files_make_key();

    test_request();
    test_answers();
    test_long_answers();
    test_no_memory();

    test_check(shim_left == 0, "secrets in a pool");

    return test_failures;
}


/* the account that would be impersonated is the one that signs */

static ngx_gcs_credentials_t
test_signing(ngx_pool_t *pool)
{
    json_t                 *json;
    ngx_str_t               err;
    ngx_gcs_credentials_t   cred;

    ngx_memzero(&cred, sizeof(cred));

    cred.signing = 1;

    json = files_json(TEST_IMPERSONATED_KEY);

    test_check(files_parse(pool, json, &cred, &err) == NGX_OK, NULL);

    json_decref(json);

    return cred;
}


static ngx_gcs_grant_t *
test_blob(ngx_pool_t *pool, ngx_gcs_credentials_t *cred, const char *account,
    const char *text)
{
    ngx_str_t  *what;

    static ngx_str_t  token = ngx_string("hidden-token");

    what = ngx_palloc(pool, sizeof(ngx_str_t) * 2);

    if (what == NULL) {
        return NULL;
    }

    what[0].data = (u_char *) account;
    what[0].len = strlen(account);
    what[1].data = (u_char *) text;
    what[1].len = strlen(text);

    return ngx_gcs_grant_blob(pool, cred, &what[0], &token, &what[1]);
}


static void
test_request(void)
{
    ngx_pool_t               *keep, *pool;
    ngx_gcs_grant_t          *grant;
    ngx_gcs_credentials_t     cred;
    ngx_gcs_impersonation_t   signer;

    walk_step_t  steps[] = {
        { WALK_IAM "a%2Bb%2Fc%40x:signBlob", TEST_HEADERS, TEST_BODY(""),
          200, TEST_ANSWER, 0 },
        { NULL, NULL, NULL, 0, NULL, 0 }
    };

    keep = test_pool();
    pool = test_pool();
    cred = test_signing(keep);

    /* whoever asks has a token for IAM, and does not act as the account */

    test_check(test_equal(&cred.scope, NGX_GCS_SCOPE_IAM), NULL);
    test_check(cred.impersonations.nelts == 0, NULL);
    test_check(cred.signer
               && test_equal(&cred.signer->email,
                             "target@demo.iam.gserviceaccount.com"), NULL);

    grant = test_blob(pool, &cred, "a+b/c@x", TEST_TEXT);
    walk(grant, steps, NGX_OK, NULL);

    test_check(grant->error.len == 0 && grant->word == NULL, NULL);
    test_check(grant->blob.len == 6
               && memcmp(grant->blob.data, "\0\377\020\153\357\077", 6) == 0,
               NULL);

    /* who stands in between */

    walk_impersonate(keep, &cred, "s@x", "d@x", "e@x", 3600);
    signer = ((ngx_gcs_impersonation_t *) cred.impersonations.elts)[0];
    cred.impersonations.nelts = 0;
    cred.signer = &signer;

    steps[0].body = TEST_BODY("\"projects/-/serviceAccounts/d@x\","
                              "\"projects/-/serviceAccounts/e@x\"");

    grant = test_blob(pool, &cred, "a+b/c@x", TEST_TEXT);
    walk(grant, steps, NGX_OK, NULL);

    /* an account that signs for itself, in another universe */

    cred.signer = NULL;
    ngx_str_set(&cred.iam_uri, "https://iamcredentials.example.goog");

    steps[0].request = "POST https://iamcredentials.example.goog/v1/projects/"
                       "-/serviceAccounts/me%40x:signBlob";
    steps[0].body = TEST_BODY("");

    grant = test_blob(pool, &cred, "me@x", TEST_TEXT);
    walk(grant, steps, NGX_OK, NULL);

    ngx_destroy_pool(pool);
    ngx_destroy_pool(keep);
}


static void
test_answers(void)
{
    ngx_int_t               rc;
    ngx_uint_t              i;
    ngx_pool_t             *pool, *keep;
    ngx_gcs_grant_t        *grant;
    ngx_gcs_request_t       req;
    ngx_gcs_credentials_t   cred;

    static struct {
        ngx_uint_t   status;
        const char  *body;
        ngx_int_t    rc;
        const char  *word;
        const char  *error;
    } answers[] = {
        { 200, TEST_ANSWER, NGX_OK, NULL, NULL },
        { 200, "", NGX_DECLINED, NULL, "without a valid signature" },
        { 200, "{}", NGX_DECLINED, NULL, "without a valid signature" },
        { 200, "[]", NGX_DECLINED, NULL, "without a valid signature" },
        { 200, "<html>", NGX_DECLINED, NULL, "without a valid signature" },
        { 200, "{\"signedBlob\":\"\"}", NGX_DECLINED, NULL, "without" },
        { 200, "{\"signedBlob\":7}", NGX_DECLINED, NULL, "without" },
        { 200, "{\"signedBlob\":null}", NGX_DECLINED, NULL, "without" },
        { 200, "{\"signedBlob\":[\"AAAA\"]}", NGX_DECLINED, NULL, "without" },
        { 200, "{\"signature\":\"AAAA\"}", NGX_DECLINED, NULL, "without" },
        { 200, "{\"signedBlob\":\"A\"}", NGX_DECLINED, NULL, "without" },
        { 200, "{\"signedBlob\":\"AA*A\"}", NGX_DECLINED, NULL, "without" },
        { 200, "{\"signedBlob\":\"====\"}", NGX_DECLINED, NULL, "without" },
        { 200, "{\"signedBlob\":\"AA\\nAA\"}", NGX_DECLINED, NULL, "without" },
        { 200, "{\"signedBlob\":\"AAAA\",\"signedBlob\":\"BBBB\"}",
          NGX_DECLINED, NULL, "without a valid signature" },
        { 200, "{\"signedBlob\":\"\\u0000AAA\"}", NGX_DECLINED, NULL,
          "without a valid signature" },

        { 400, TEST_ERROR(400, "X", "bad payload"), NGX_DECLINED, NULL,
          "bad payload" },
        { 401, TEST_ERROR(401, "ACCESS_TOKEN_EXPIRED", "expired"),
          NGX_DECLINED, NULL, "expired" },
        { 403, TEST_ERROR(403, "IAM_PERMISSION_DENIED", "Permission "
                          "'iam.serviceAccounts.signBlob' denied"),
          NGX_DECLINED, "signing_denied", "serviceAccountTokenCreator" },
        { 403, TEST_ERROR(403, "SERVICE_DISABLED", "not used before"),
          NGX_DECLINED, "api_disabled",
          "enable iamcredentials.googleapis.com" },
        { 403, TEST_ERROR(403, "ACCESS_TOKEN_SCOPE_INSUFFICIENT", "scopes"),
          NGX_DECLINED, "scope_insufficient", "cloud-platform" },
        { 404, TEST_ERROR(404, "X", "Not found; Gaia id not found"),
          NGX_DECLINED, "account_not_found", "e-mail address" },
        { 429, TEST_ERROR(429, "RATE_LIMIT_EXCEEDED", "quota"),
          NGX_BUSY, "quota_exceeded", "tried again" },
        { 408, "", NGX_BUSY, NULL, "408" },
        { 500, "<html>oops", NGX_BUSY, NULL, "500" },
        { 503, "", NGX_BUSY, NULL, "503" },
        { 0, "connection refused", NGX_BUSY, NULL, "connection refused" }
    };

    keep = test_pool();
    cred = test_signing(keep);

    for (i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        pool = test_pool();
        grant = test_blob(pool, &cred, "s@x", TEST_TEXT);

        ngx_memzero(&req, sizeof(req));
        (void) ngx_gcs_grant_request(grant, WALK_NOW, &req);

        rc = walk_answer(grant, answers[i].status, answers[i].body,
                         strlen(answers[i].body), 0);

        test_check(rc == answers[i].rc, answers[i].body);
        test_check(answers[i].error == NULL
                   || test_contains(&grant->error, answers[i].error),
                   answers[i].body);
        test_check((answers[i].word == NULL && grant->word == NULL)
                   || (answers[i].word && grant->word
                       && strcmp(answers[i].word, grant->word) == 0),
                   answers[i].body);

        if (rc == NGX_OK) {
            test_check(grant->error.len == 0, NULL);

        } else {
            test_check(!test_contains(&grant->error, "hidden"), NULL);
            test_check(rc != NGX_BUSY || grant->retry_after == 17, NULL);
        }

        ngx_destroy_pool(pool);
    }

    ngx_destroy_pool(keep);
}


/* the longest one is of a key of 8192 bits */

static void
test_long_answers(void)
{
    char                   *text, *body;
    ngx_int_t               rc;
    ngx_uint_t              i;
    ngx_pool_t             *pool, *keep;
    ngx_gcs_grant_t        *grant;
    ngx_gcs_request_t       req;
    ngx_gcs_credentials_t   cred;

    static struct {
        size_t     encoded;
        ngx_int_t  rc;
    } lengths[] = {
        { NGX_GCS_GRANT_BLOB_MAX, NGX_OK },
        { NGX_GCS_GRANT_BLOB_MAX + 4, NGX_DECLINED },
        { 1024 * 1024, NGX_DECLINED }
    };

    keep = test_pool();
    cred = test_signing(keep);

    for (i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        pool = test_pool();
        grant = test_blob(pool, &cred, "s@x", TEST_TEXT);

        ngx_memzero(&req, sizeof(req));
        (void) ngx_gcs_grant_request(grant, WALK_NOW, &req);

        text = malloc(lengths[i].encoded + 1);
        memset(text, 'A', lengths[i].encoded);
        text[lengths[i].encoded] = '\0';

        body = test_filled("{\"signedBlob\":\"$\"}", text);

        rc = walk_answer(grant, 200, body, strlen(body), 0);

        test_check(rc == lengths[i].rc, "length");
        test_check(grant->blob.len == (rc == NGX_OK
                                       ? lengths[i].encoded / 4 * 3 : 0),
                   "length");

        free(body);
        free(text);
        ngx_destroy_pool(pool);
    }

    ngx_destroy_pool(keep);
}


static void
test_no_memory(void)
{
    ngx_int_t               rc;
    ngx_uint_t              n;
    ngx_pool_t             *pool, *keep;
    ngx_gcs_grant_t        *grant;
    ngx_gcs_request_t       req;
    ngx_gcs_credentials_t   cred;

    keep = test_pool();
    cred = test_signing(keep);

    for (n = 1; /* void */ ; n++) {
        pool = test_pool();

        shim_allocs = 0;
        shim_fail_at = n;

        rc = NGX_ERROR;
        grant = test_blob(pool, &cred, "s@x", TEST_TEXT);

        ngx_memzero(&req, sizeof(req));

        if (grant
            && ngx_gcs_grant_request(grant, WALK_NOW, &req) == NGX_OK)
        {
            rc = walk_answer(grant, 200, TEST_ANSWER, strlen(TEST_ANSWER), 0);
        }

        shim_fail_at = 0;

        test_check(rc == NGX_OK || grant == NULL || grant->error.len, NULL);

        ngx_destroy_pool(pool);

        if (shim_allocs < n) {
            test_check(rc == NGX_OK, NULL);
            break;
        }

        test_check(rc == NGX_ERROR || rc == NGX_DECLINED, NULL);
    }

    test_check(n > 5, "allocations were made to fail");

    ngx_destroy_pool(keep);
}
