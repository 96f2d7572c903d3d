
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


/* the ways from another provider's token, by a file or URL, to Google's */


#include "walk.h"


static void test_federation(void);
static void test_outputs(void);
static void test_subjects(void);


int
main(void)
{
    shim_secret = "hidden";

    files_make_key();

    test_federation();
    test_outputs();
    test_subjects();

    test_check(shim_left == 0, "secrets in a pool");
    test_check(files_freed == 0, "secrets in a JSON string");

    return test_failures;
}


static void
test_federation(void)
{
    ngx_pool_t             *keep;
    ngx_gcs_credentials_t   cred;

    walk_step_t  file[] = {
        { "FILE /run/token", "", "",
          200, "{\"a\":1,\"id_token\":\"hidden-subject+/=\"}", 0 },
        { "POST https://sts.googleapis.com/v1/token", WALK_FORM,
          WALK_STS "scope=" NGX_GCS_SCOPE_IAM "\n" WALK_STS_ACCESS
          "subject_token_type=" NGX_GCS_SUBJECT_TYPE_JWT "\n"
          "subject_token=hidden-subject+/=\n",
          200, WALK_TOKEN("hidden-a"), 0 },
        { WALK_IAM "target%40demo.iam.gserviceaccount.com:"
          "generateAccessToken",
          WALK_JSON "Authorization: Bearer hidden-a\n",
          WALK_IAM_BODY("", "\"" NGX_GCS_SCOPE_READ "\"", "7200s"),
          200, WALK_IAM_TOKEN, 0 },
        { NULL, NULL, NULL, 0, NULL, 0 }
    };

    /* authentication of the client names the project, too */

    walk_step_t  url[] = {
        { "GET http://169.254.169.254/metadata/identity?a=b",
          "Metadata: True\n", "", 200, " \r\n\thidden-subject\n", 0 },
        { "POST https://sts.googleapis.com/v1/token",
          "Authorization: Basic MTpoaWRkZW4tY2xpZW50\n" WALK_FORM,
          WALK_STS "scope=" NGX_GCS_SCOPE_READ "\n" WALK_STS_ACCESS
          "subject_token_type=" NGX_GCS_SUBJECT_TYPE_JWT "\n"
          "subject_token=hidden-subject\n",
          200, WALK_TOKEN("hidden-a"), 0 },
        { NULL, NULL, NULL, 0, NULL, 0 }
    };

    keep = test_pool();

    cred = walk_file(keep, TEST_EXTERNAL_FILE);
    walk_to(&cred, file, "hidden-target", 1800, "");

    cred = walk_file(keep, TEST_EXTERNAL_URL);
    walk_to(&cred, url, "hidden-a", 3599, "");
    test_check(walk_requests[0].direct && !walk_requests[1].direct, "proxy");

    url[1].headers = WALK_FORM;
    url[1].body = WALK_STS "scope=" NGX_GCS_SCOPE_READ "\n" WALK_STS_ACCESS
                  "subject_token_type=" NGX_GCS_SUBJECT_TYPE_JWT "\n"
                  "subject_token=hidden-subject\n"
                  "options={\"userProject\":\"9\"}\n";

    ngx_str_null(&cred.client_id);
    walk_to(&cred, url, "hidden-a", 3599, "");

    /* a URL elsewhere may need a proxy; a token may come without an end */

    url[0].request = "GET https://idp.example/token";
    url[0].headers = "";
    ngx_str_set(&cred.subject.url, "https://idp.example/token");
    cred.subject.headers = NULL;
    walk_to(&cred, url, "hidden-a", 3599, "");
    test_check(!walk_requests[0].direct, "proxy");

    /* the same file in a file around it */

    file[0].answer = "hidden-subject+/=";
    file[2].body = WALK_IAM_BODY("", "\"" NGX_GCS_SCOPE_READ "\"", "3600s");

    cred = walk_file(keep, TEST_IMPERSONATED_EXTERNAL);
    walk_to(&cred, file, "hidden-target", 1800, "");

    ngx_destroy_pool(keep);
}


/* what an executable has written */

static void
test_outputs(void)
{
    ngx_uint_t              i;
    ngx_pool_t             *pool, *keep;
    ngx_gcs_grant_t        *grant;
    ngx_gcs_credentials_t   cred;

#define TEST_OUTPUT(success, expires, more)                                   \
    "{\"version\":1,\"success\":" success ",\"expiration_time\":" expires     \
    "," more "}"
#define TEST_JWT_OUTPUT                                                       \
    "\"token_type\":\"urn:ietf:params:oauth:token-type:id_token\","           \
    "\"id_token\":\"hidden-subject\""
#define TEST_SAML_OUTPUT                                                      \
    "\"token_type\":\"urn:ietf:params:oauth:token-type:saml2\","              \
    "\"id_token\":\"wrong\",\"saml_response\":\"hidden-subject\""

    static struct {
        const char  *body;
        const char  *err;
    } outputs[] = {
        { TEST_OUTPUT("true", "1700000001", TEST_JWT_OUTPUT), NULL },
        { TEST_OUTPUT("true", "1700000001", TEST_SAML_OUTPUT), NULL },
        { TEST_OUTPUT("true", "1e300", "\"id_token\":\"hidden-subject\""),
          NULL },
        { TEST_OUTPUT("true", "1700000000", TEST_JWT_OUTPUT), "has expired" },
        { TEST_OUTPUT("true", "-1", TEST_JWT_OUTPUT), "has expired" },
        { TEST_OUTPUT("true", "\"1700000001\"", TEST_JWT_OUTPUT),
          "has expired" },
        { TEST_OUTPUT("true", "null", TEST_JWT_OUTPUT), "has expired" },
        { TEST_OUTPUT("false", "1700000001", TEST_JWT_OUTPUT),
          "the executable has failed" },
        { TEST_OUTPUT("\"true\"", "1700000001", TEST_JWT_OUTPUT),
          "the executable has failed" },
        { TEST_OUTPUT("true", "1700000001", "\"token_type\":7"),
          "is not in the expected member" },
        { TEST_OUTPUT("true", "1700000001", "\"id_token\":\"\""),
          "is not in the expected member" },
        { TEST_OUTPUT("true", "1700000001", "\"saml_response\":\"hidden\""),
          "is not in the expected member" },
        { "{\"version\":2,\"success\":true}", "is not the output of version" },
        { "{\"version\":1}", "is not the output of version" },
        { "{\"version\":\"1\",\"success\":true}", "is not the output of" },
        { "{}", "is not the output of version 1 of an executable" },
        { "[]", "is not the output of version 1" },
        { "<hidden", "is not the output of version 1" },
        { "", "is not the output of version 1" }
    };

    keep = test_pool();
    cred = walk_file(keep, TEST_EXTERNAL_OUTPUT);

    for (i = 0; i < sizeof(outputs) / sizeof(outputs[0]); i++) {
        pool = test_pool();
        grant = ngx_gcs_grant_create(pool, &cred);

        ngx_memzero(&walk_requests[0], sizeof(ngx_gcs_request_t));
        test_check(ngx_gcs_grant_request(grant, WALK_NOW, &walk_requests[0])
                   == NGX_OK, NULL);
        test_check(test_equal(&walk_requests[0].url, "/run/output")
                   && walk_requests[0].method.len == 0, NULL);

        test_check(walk_answer(grant, 200, outputs[i].body,
                               strlen(outputs[i].body), 0)
                   == (outputs[i].err ? NGX_DECLINED : NGX_AGAIN),
                   outputs[i].body);

        if (outputs[i].err) {
            test_check(test_contains(&grant->error, outputs[i].err),
                       outputs[i].body);
            test_check(test_contains(&grant->error, "subject token"), NULL);
            test_check(!test_contains(&grant->error, "hidden"), NULL);
            test_check(strcmp(grant->word, "invalid_subject_token") == 0,
                       NULL);

        } else {
            test_check(test_equal(&grant->subject_token, "hidden-subject"),
                       outputs[i].body);
        }

        ngx_destroy_pool(pool);
    }

    ngx_destroy_pool(keep);
}


/* answers without a subject token */

static void
test_subjects(void)
{
    ngx_int_t               rc;
    ngx_uint_t              i, j;
    ngx_pool_t             *pool, *keep;
    ngx_gcs_grant_t        *grant;
    ngx_gcs_credentials_t   cred[2];

    static struct {
        ngx_uint_t   status;
        const char  *body;
        ngx_int_t    text;          /* as it is, and from a member */
        ngx_int_t    member;
    } answers[] = {
        { 200, "", NGX_DECLINED, NGX_DECLINED },
        { 200, " \n\t ", NGX_DECLINED, NGX_DECLINED },
        { 200, "<hidden", NGX_AGAIN, NGX_DECLINED },
        { 200, "{\"id_token\":\"<hidden\"", NGX_AGAIN, NGX_DECLINED },
        { 200, "{\"id_token\":\"hidden\"}", NGX_AGAIN, NGX_AGAIN },
        { 200, "{\"id_token\":\"\"}", NGX_AGAIN, NGX_DECLINED },
        { 200, "{\"id_token\":7}", NGX_AGAIN, NGX_DECLINED },
        { 200, "{\"id_token\":[\"hidden\"]}", NGX_AGAIN, NGX_DECLINED },
        { 200, "{\"other\":\"hidden\"}", NGX_AGAIN, NGX_DECLINED },
        { 200, "[\"id_token\"]", NGX_AGAIN, NGX_DECLINED },
        { 404, "<hidden", NGX_DECLINED, NGX_DECLINED },
        { 400, "{\"error\":\"hidd\"}", NGX_DECLINED, NGX_DECLINED },
        { 503, "", NGX_BUSY, NGX_BUSY },
        { 0, "cannot open", NGX_BUSY, NGX_BUSY }
    };

    keep = test_pool();
    cred[0] = walk_file(keep, TEST_EXTERNAL_URL);
    cred[1] = walk_file(keep, TEST_EXTERNAL_FILE);

    for (i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {

        for (j = 0; j < 2; j++) {
            pool = test_pool();
            grant = ngx_gcs_grant_create(pool, &cred[j]);

            ngx_memzero(&walk_requests[0], sizeof(ngx_gcs_request_t));
            (void) ngx_gcs_grant_request(grant, WALK_NOW, &walk_requests[0]);

            rc = walk_answer(grant, answers[i].status, answers[i].body,
                             strlen(answers[i].body), 0);

            test_check(rc == (j ? answers[i].member : answers[i].text),
                       answers[i].body);

            if (rc != NGX_AGAIN) {
                test_check(test_contains(&grant->error, "subject token"),
                           answers[i].body);
                test_check(!test_contains(&grant->error, "hidden"), NULL);
                test_check(grant->word && strcmp(grant->word,
                                                 "invalid_subject_token")
                                          == 0, answers[i].body);
            }

            ngx_destroy_pool(pool);
        }
    }

    ngx_destroy_pool(keep);
}
