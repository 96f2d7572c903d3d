
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


/*
 * The way of each kind of credential to its token, request by request.  The
 * ways of a federation are in test_grant_subject.c and test_grant_aws.c.
 */


#include "walk.h"

#include "ngx_gcs_jwt.h"


#define TEST_JWT                                                              \
    "grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer\nassertion=*"

#define TEST_ACCOUNTS                                                         \
    "http://169.254.169.254/computeMetadata/v1/instance/service-accounts/"    \
    "default/"

#define TEST_ENCODED(scope)                                                   \
    "https%3A%2F%2Fwww.googleapis.com%2Fauth%2F" scope

#define TEST_FLAVOR  "Metadata-Flavor: Google\n"


static void test_service_account(void);
static void test_self_signed(void);
static void test_claims(const char *claims);
static void test_users(void);
static void test_rotation(void);
static char *test_long(char *pattern, const char *text);
static void test_metadata(void);
static void test_accounts(void);
static void test_expire_times(void);


static walk_step_t  jwt[] = {
    { "POST https://oauth2.googleapis.com/token", WALK_FORM, TEST_JWT,
      200, WALK_TOKEN("hidden-a"), 0 },
    { NULL, NULL, NULL, 0, NULL, 0 }
};


static walk_step_t  jwt_impersonated[] = {
    { "POST https://oauth2.googleapis.com/token", WALK_FORM, TEST_JWT,
      200, WALK_TOKEN("hidden-a"), 0 },
    { WALK_IAM "a%2Bb%40x:generateAccessToken",
      WALK_JSON "Authorization: Bearer hidden-a\n",
      WALK_IAM_BODY("\"projects/-/serviceAccounts/c@x\","
                    "\"projects/-/serviceAccounts/d@x\"",
                    "\"" NGX_GCS_SCOPE_READ "\",\"s2\"", "3600s"),
      200, WALK_IAM_TOKEN, 0 },
    { NULL, NULL, NULL, 0, NULL, 0 }
};


/* a token in between is for nothing but the next one */

static walk_step_t  jwt_chain[] = {
    { "POST https://oauth2.googleapis.com/token", WALK_FORM, TEST_JWT,
      200, WALK_TOKEN("hidden-a"), 0 },
    { WALK_IAM "a%40x:generateAccessToken",
      WALK_JSON "Authorization: Bearer hidden-a\n",
      WALK_IAM_BODY("", "\"" NGX_GCS_SCOPE_IAM "\"", "3600s"),
      200, "{\"accessToken\":\"hidden-b\"}", 0 },
    { WALK_IAM "b%40x:generateAccessToken",
      WALK_JSON "Authorization: Bearer hidden-b\n",
      WALK_IAM_BODY("", "\"" NGX_GCS_SCOPE_READ "\"", "43200s"),
      200, "{\"accessToken\":\"hidden-c\"}", 0 },
    { NULL, NULL, NULL, 0, NULL, 0 }
};


int
main(void)
{
    shim_secret = "hidden";

    files_make_key();

    test_service_account();
    test_self_signed();
    test_users();
    test_rotation();
    test_metadata();
    test_accounts();
    test_expire_times();

    test_check(shim_left == 0, "secrets in a pool");
    test_check(files_freed == 0, "secrets in a JSON string");

    return test_failures;
}


static void
test_service_account(void)
{
    ngx_str_t               form;
    ngx_pool_t             *pool, *keep;
    ngx_gcs_grant_t        *grant;
    ngx_gcs_credentials_t   cred;

    keep = test_pool();
    pool = test_pool();
    cred = walk_file(keep, TEST_SERVICE_ACCOUNT);

    walk_to(&cred, jwt, "hidden-a", 3599, "");

    grant = ngx_gcs_grant_create(pool, &cred);
    walk(grant, jwt, NGX_OK, NULL);

    form = walk_requests[0].body;
    form = test_field(pool, &form, "assertion");

    test_jwt_verify(pool, &form, EVP_PKEY_CTX_get0_pkey(cred.key));

    test_claims("{\"iss\":\"reader@demo.iam.gserviceaccount.com\","
                "\"scope\":\"" NGX_GCS_SCOPE_READ "\","
                "\"aud\":\"https://oauth2.googleapis.com/token\","
                "\"iat\":1700000000,\"exp\":1700003600}");

    test_check(walk_requests[0].timeout == 0 && !walk_requests[0].direct,
               NULL);

    /* with impersonation the key's own token is for IAM alone */

    ngx_str_set(&cred.scope, NGX_GCS_SCOPE_READ " s2");
    walk_impersonate(keep, &cred, "a+b@x", "c@x", "d@x", 3600);
    walk_to(&cred, jwt_impersonated, "hidden-target", 1800, "");

    grant = ngx_gcs_grant_create(pool, &cred);
    walk(grant, jwt_impersonated, NGX_OK, NULL);

    test_claims("{\"iss\":\"reader@demo.iam.gserviceaccount.com\","
                "\"scope\":\"" NGX_GCS_SCOPE_IAM "\","
                "\"aud\":\"https://oauth2.googleapis.com/token\","
                "\"iat\":1700000000,\"exp\":1700003600}");

    cred = walk_file(keep, TEST_SERVICE_ACCOUNT);
    walk_impersonate(keep, &cred, "a@x", NULL, NULL, 3600);
    walk_impersonate(keep, &cred, "b@x", NULL, NULL, 43200);
    walk_to(&cred, jwt_chain, "hidden-c", 43200, "");

    ngx_destroy_pool(pool);
    ngx_destroy_pool(keep);
}


/* of the first request of the last walk */

static void
test_claims(const char *claims)
{
    ngx_str_t    form, raw;
    ngx_pool_t  *pool;

    pool = test_pool();

    form = test_field(pool, &walk_requests[0].body, "assertion");

    json_decref(test_jwt_part(pool, &form, 1, &raw));
    test_check(test_equal(&raw, claims), claims);

    ngx_destroy_pool(pool);
}


/* another universe has no endpoint for keys */

static void
test_self_signed(void)
{
    char                    signature[41];
    ngx_str_t               raw, bearer, *header;
    ngx_pool_t             *pool, *keep;
    walk_step_t             steps[2];
    ngx_gcs_grant_t        *grant;
    ngx_gcs_credentials_t   cred;

    keep = test_pool();
    pool = test_pool();
    cred = walk_file(keep, TEST_SERVICE_ACCOUNT);

    ngx_str_null(&cred.token_uri);
    ngx_str_set(&cred.iam_uri, "https://iamcredentials.example.goog");

    ngx_memzero(steps, sizeof(steps));

    grant = ngx_gcs_grant_create(pool, &cred);
    walk(grant, steps, NGX_DONE, "self-signed");

    test_jwt_verify(keep, &grant->token, EVP_PKEY_CTX_get0_pkey(cred.key));
    test_check(grant->lifetime == 3600, NULL);

    json_decref(test_jwt_part(keep, &grant->token, 1, &raw));
    test_check(test_equal(&raw,
                          "{\"iss\":\"reader@demo.iam.gserviceaccount.com\","
                          "\"scope\":\"" NGX_GCS_SCOPE_READ "\","
                          "\"sub\":\"reader@demo.iam.gserviceaccount.com\","
                          "\"iat\":1700000000,\"exp\":1700003600}"), NULL);

    /* it is made without a request, and used in the first one */

    walk_impersonate(keep, &cred, "a@x", NULL, NULL, 3600);

    grant = ngx_gcs_grant_create(pool, &cred);
    ngx_memzero(&walk_requests[0], sizeof(ngx_gcs_request_t));

    test_check(ngx_gcs_grant_request(grant, WALK_NOW, &walk_requests[0])
               == NGX_OK, NULL);
    test_check(test_equal(&walk_requests[0].url,
                          "https://iamcredentials.example.goog/v1/projects/-/"
                          "serviceAccounts/a%40x:generateAccessToken"), NULL);
    test_check(test_equal(&walk_requests[0].body,
                          WALK_IAM_BODY("", "\"" NGX_GCS_SCOPE_READ "\"",
                                        "3600s")), NULL);

    header = walk_requests[0].headers->elts;
    bearer = header[1];
    bearer.data += sizeof("Authorization: Bearer ") - 1;
    bearer.len -= sizeof("Authorization: Bearer ") - 1;

    test_jwt_verify(keep, &bearer, EVP_PKEY_CTX_get0_pkey(cred.key));
    json_decref(test_jwt_part(keep, &bearer, 1, &raw));
    test_check(test_contains(&raw, "\"scope\":\"" NGX_GCS_SCOPE_IAM "\""),
               NULL);

    test_check(walk_answer(grant, 200, WALK_IAM_TOKEN,
                           sizeof(WALK_IAM_TOKEN) - 1, 0) == NGX_OK, NULL);
    test_check(test_equal(&grant->token, "hidden-target"), NULL);

    /* what was signed is gone, too */

    snprintf(signature, sizeof(signature), "%.*s", 40,
             bearer.data + bearer.len - 40);

    shim_secret = signature;
    ngx_destroy_pool(pool);
    shim_secret = "hidden";

    ngx_destroy_pool(keep);
}


static void
test_users(void)
{
    ngx_pool_t             *keep;
    ngx_gcs_credentials_t   cred;

    walk_step_t  user[] = {
        { "POST https://oauth2.googleapis.com/token", WALK_FORM,
          "grant_type=refresh_token\nrefresh_token=hidden-refresh\n"
          "client_id=1.apps.example\nclient_secret=hidden-client\n",
          200, WALK_TOKEN("hidden-a"), 0 },
        { NULL, NULL, NULL, 0, NULL, 0 },
        { NULL, NULL, NULL, 0, NULL, 0 }
    };

    walk_step_t  impersonated = {
        WALK_IAM "target%40demo.iam.gserviceaccount.com:generateAccessToken",
        WALK_JSON "Authorization: Bearer hidden-a\n",
        WALK_IAM_BODY("", "\"" NGX_GCS_SCOPE_READ "\"", "3600s"),
        200, WALK_IAM_TOKEN, 0
    };

    /* "1:hidden-client" as Base64 */

    walk_step_t  workforce[] = {
        { "POST https://sts.googleapis.com/v1/oauthtoken",
          "Authorization: Basic MTpoaWRkZW4tY2xpZW50\n" WALK_FORM,
          "grant_type=refresh_token\nrefresh_token=hidden-refresh\n",
          200, WALK_TOKEN("hidden-a"), 0 },
        { NULL, NULL, NULL, 0, NULL, 0 }
    };

    keep = test_pool();

    cred = walk_file(keep, TEST_AUTHORIZED_USER);
    walk_to(&cred, user, "hidden-a", 3599, "");

    cred = walk_file(keep, TEST_EXTERNAL_USER);
    walk_to(&cred, workforce, "hidden-a", 3599, "");

    /* scopes that a directive names are asked for, but not twice */

    user[1] = impersonated;

    cred = walk_file(keep, TEST_IMPERSONATED_USER);
    walk_to(&cred, user, "hidden-target", 1800, "");

    cred.scope_set = 1;
    walk_to(&cred, user, "hidden-target", 1800, "");

    user[1].request = NULL;
    user[0].body = "grant_type=refresh_token\nrefresh_token=hidden-refresh\n"
                   "client_id=1.apps.example\nclient_secret=hidden-client\n"
                   "scope=a b\n";

    cred = walk_file(keep, TEST_AUTHORIZED_USER);
    cred.scope_set = 1;
    ngx_str_set(&cred.scope, "a b");
    walk_to(&cred, user, "hidden-a", 3599, "");

    workforce[0].body = "grant_type=refresh_token\n"
                        "refresh_token=hidden-refresh\nscope=a b\n";

    cred = walk_file(keep, TEST_EXTERNAL_USER);
    cred.scope_set = 1;
    ngx_str_set(&cred.scope, "a b");
    walk_to(&cred, workforce, "hidden-a", 3599, "");

    ngx_destroy_pool(keep);
}


/* an answer may replace the refresh token, even one that fails otherwise */

static void
test_rotation(void)
{
    char                   *body, text[1100];
    ngx_str_t               value;
    ngx_uint_t              i;
    ngx_pool_t             *pool, *keep;
    ngx_gcs_grant_t        *grant;
    ngx_gcs_credentials_t   cred;

    static struct {
        const char  *json;
        const char  *want;
    } tokens[] = {
        { "\"hidden-new\"", "hidden-new" },
        { "\"$\"", "$" },
        { "\"$a\"", "hidden-old" },
        { "\"\"", "hidden-old" },
        { "\"hidden new\"", "hidden-old" },
        { "\"hidden\\n\"", "hidden-old" },
        { "\"hidden\\u00e9\"", "hidden-old" },
        { "7", "hidden-old" },
        { "null", "hidden-old" }
    };

    keep = test_pool();
    cred = walk_file(keep, TEST_EXTERNAL_USER);

    /* the longest one */

    memset(text, 'h', 1024);
    text[1024] = '\0';

    for (i = 0; i < sizeof(tokens) / sizeof(tokens[0]); i++) {
        pool = test_pool();
        grant = ngx_gcs_grant_create(pool, &cred);

        ngx_str_set(&grant->refresh_token, "hidden-old");
        ngx_memzero(walk_requests, sizeof(walk_requests));

        (void) ngx_gcs_grant_request(grant, 1, &walk_requests[0]);

        value = walk_requests[0].body;
        test_check(test_contains(&value, "&refresh_token=hidden-old"), NULL);

        body = test_filled("{\"access_token\":\"hidden-a\","
                           "\"refresh_token\":$}", tokens[i].json);
        body = test_long(body, text);

        test_check(walk_answer(grant, 200, body, strlen(body), 0) == NGX_OK,
                   tokens[i].json);
        free(body);

        test_check(test_equal(&grant->refresh_token,
                              tokens[i].want[0] == '$' ? text
                                                       : tokens[i].want),
                   tokens[i].json);

        ngx_destroy_pool(pool);
    }

    ngx_destroy_pool(keep);
}


/* text for "$" in what is freed */

static char *
test_long(char *pattern, const char *text)
{
    char  *filled;

    filled = test_filled(pattern, text);

    free(pattern);

    return filled;
}


static void
test_metadata(void)
{
    ngx_str_t               err;
    ngx_pool_t             *pool, *keep;
    ngx_gcs_grant_t        *grant;
    ngx_gcs_credentials_t   cred;

    walk_step_t  metadata[] = {
        { "GET " TEST_ACCOUNTS "token?scopes=" TEST_ENCODED("devstorage.read_"
          "only"), TEST_FLAVOR, "", 200, WALK_TOKEN("hidden-a"), 1 },
        { "GET " TEST_ACCOUNTS "email", TEST_FLAVOR, "",
          200, "node@demo.iam.gserviceaccount.com\n", 1 },
        { NULL, NULL, NULL, 0, NULL, 0 }
    };

    walk_step_t  impersonated[] = {
        { "GET " TEST_ACCOUNTS "token?scopes=" TEST_ENCODED("iam"),
          TEST_FLAVOR, "", 200, WALK_TOKEN("hidden-a"), 1 },
        { WALK_IAM "a%40x:generateAccessToken",
          WALK_JSON "Authorization: Bearer hidden-a\n",
          WALK_IAM_BODY("", "\"" NGX_GCS_SCOPE_READ "\"", "600s"),
          200, "{\"accessToken\":\"hidden-target\"}", 0 },
        { NULL, NULL, NULL, 0, NULL, 0 }
    };

    keep = test_pool();
    pool = test_pool();

    ngx_memzero(&cred, sizeof(cred));
    cred.type = NGX_GCS_METADATA_SERVER;

    test_check(ngx_gcs_credentials_complete(keep, &cred, &err) == NGX_OK,
               NULL);

    walk_to(&cred, metadata, "hidden-a", 3599,
            "node@demo.iam.gserviceaccount.com");

    test_check(walk_requests[0].direct && walk_requests[1].direct, "proxy");
    test_check(walk_requests[0].timeout == 5000, NULL);

    /* the name is asked for once only */

    grant = ngx_gcs_grant_create(pool, &cred);
    ngx_str_set(&grant->account, "known@x");
    metadata[1].request = NULL;
    walk(grant, metadata, NGX_OK, NULL);
    test_check(test_equal(&grant->account, "known@x"), NULL);
    test_check(test_equal(&grant->token, "hidden-a"), NULL);

    /* scopes are separated by commas here, and the host may be another */

    ngx_str_set(&cred.scope, "a b c");
    ngx_str_set(&cred.metadata_host, "127.0.0.1:8080");

    metadata[0].request = "GET http://127.0.0.1:8080/computeMetadata/v1/"
                          "instance/service-accounts/default/token"
                          "?scopes=a%2Cb%2Cc";

    grant = ngx_gcs_grant_create(pool, &cred);
    ngx_str_set(&grant->account, "known@x");
    walk(grant, metadata, NGX_OK, NULL);

    /* something else listens there: not even an error is believed */

    metadata[0].metadata = 0;

    grant = ngx_gcs_grant_create(pool, &cred);
    walk(grant, metadata, NGX_DECLINED, NULL);
    test_check(test_contains(&grant->error, "metadata server did not answer "
                             "with \"Metadata-Flavor: Google\""), NULL);
    test_check(grant->token.len == 0, NULL);

    ngx_memzero(&cred, sizeof(cred));
    cred.type = NGX_GCS_METADATA_SERVER;
    (void) ngx_gcs_credentials_complete(keep, &cred, &err);
    walk_impersonate(keep, &cred, "a@x", NULL, NULL, 600);
    walk_to(&cred, impersonated, "hidden-target", 600, "");

    ngx_destroy_pool(pool);
    ngx_destroy_pool(keep);
}


/* nothing fails without the name of the account */

static void
test_accounts(void)
{
    char                    name[300];
    ngx_str_t               err;
    ngx_uint_t              i;
    ngx_pool_t             *pool, *keep;
    ngx_gcs_grant_t        *grant;
    ngx_gcs_credentials_t   cred;

    static struct {
        ngx_uint_t   status;
        const char  *body;
        ngx_uint_t   metadata;
        const char  *account;
    } answers[] = {
        { 200, " a@b \n", 1, "a@b" },
        { 200, "default", 1, "default" },
        { 200, "a@b", 0, "" },
        { 200, "", 1, "" },
        { 200, "\n", 1, "" },
        { 200, "a@b c@d", 1, "" },
        { 200, "a@b\r\nX: y", 1, "" },
        { 200, "\"a@b\"", 1, "" },
        { 200, "\xff", 1, "" },
        { 404, "a@b", 1, "" },
        { 500, "a@b", 1, "" },
        { 0, "timed out", 0, "" }
    };

    keep = test_pool();

    ngx_memzero(&cred, sizeof(cred));
    cred.type = NGX_GCS_METADATA_SERVER;
    (void) ngx_gcs_credentials_complete(keep, &cred, &err);

    memset(name, 'a', sizeof(name));

    for (i = 0; i < sizeof(answers) / sizeof(answers[0]) + 2; i++) {
        pool = test_pool();
        grant = ngx_gcs_grant_create(pool, &cred);

        ngx_memzero(walk_requests, sizeof(walk_requests));

        (void) ngx_gcs_grant_request(grant, 1, &walk_requests[0]);
        test_check(walk_answer(grant, 200, WALK_TOKEN("hidden-a"),
                               sizeof(WALK_TOKEN("hidden-a")) - 1, 1)
                   == NGX_AGAIN, NULL);

        test_check(ngx_gcs_grant_request(grant, 1, &walk_requests[1])
                   == NGX_OK, NULL);

        if (i < sizeof(answers) / sizeof(answers[0])) {
            test_check(walk_answer(grant, answers[i].status, answers[i].body,
                                   strlen(answers[i].body),
                                   answers[i].metadata) == NGX_OK,
                       answers[i].body);
            test_check(test_equal(&grant->account, answers[i].account),
                       answers[i].body);

        } else {
            /* the longest name, and one byte more */

            test_check(walk_answer(grant, 200, name, 255 + (i & 1), 1)
                       == NGX_OK, NULL);
            test_check(grant->account.len == ((i & 1) ? 0 : 255), NULL);
        }

        test_check(test_equal(&grant->token, "hidden-a"), NULL);
        test_check(grant->lifetime == 3599 && grant->error.len == 0, NULL);

        ngx_destroy_pool(pool);
    }

    ngx_destroy_pool(keep);
}


/* the clock of this machine is 2023-11-14T22:13:20Z */

static void
test_expire_times(void)
{
    char                    body[256];
    ngx_uint_t              i;
    ngx_pool_t             *pool, *keep;
    ngx_gcs_grant_t        *grant;
    ngx_gcs_credentials_t   cred;

    static struct {
        const char  *json;
        time_t       lifetime;      /* 3600 is what was asked for */
    } times[] = {
        { "\"2023-11-14T22:13:21Z\"", 1 },
        { "\"2023-11-14T22:14:20Z\"", 60 },
        { "\"2023-11-14T22:14:20.999999999Z\"", 60 },
        { "\"2023-11-14T22:14:20.Z\"", 60 },
        { "\"2023-11-14T23:14:20+01:00\"", 60 },
        { "\"2023-11-14T23:14:20.5+01:00\"", 60 },
        { "\"2023-11-14T17:44:20-04:30\"", 60 },
        { "\"2023-11-15T00:00:20+01:46\"", 60 },
        { "\"2023-11-14T23:13:19Z\"", 3599 },
        { "\"2023-11-14T23:13:20Z\"", 3600 },
        { "\"2023-11-14T23:13:21Z\"", 3600 },
        { "\"2033-11-14T23:13:21Z\"", 3600 },
        { "\"9999-12-31T23:59:59Z\"", 3600 },
        { "\"2023-11-14T22:13:20Z\"", 3600 },
        { "\"2023-11-14T22:13:19Z\"", 3600 },
        { "\"1970-01-01T00:00:00Z\"", 3600 },
        { "\"1969-12-31T23:59:59Z\"", 3600 },
        { "\"0000-00-00T00:00:00Z\"", 3600 },
        { "\"2023-13-14T22:14:20Z\"", 3600 },
        { "\"2023-00-14T22:14:20Z\"", 3600 },
        { "\"2023-11-14T22:14:20\"", 3600 },
        { "\"2023-11-14T22:14:20z\"", 3600 },
        { "\"2023-11-14T22:14:20ZZ\"", 3600 },
        { "\"2023-11-14T22:14:20 Z\"", 3600 },
        { "\"2023-11-14T22:14:20+1\"", 3600 },
        { "\"2023-11-14T22:14:20*01:00\"", 3600 },
        { "\"2023-11-14T22:14:20+01:00Z\"", 3600 },
        { "\"2023-11-14 22:14:20Z\"", 3600 },
        { "\"2023-11-14\"", 3600 },
        { "\"1700000060\"", 3600 },
        { "\"\"", 3600 },
        { "\"-\"", 3600 },
        { "1700000060", 3600 },
        { "null", 3600 },
        { "{}", 3600 }
    };

    keep = test_pool();
    cred = walk_file(keep, TEST_IMPERSONATED_KEY);

    for (i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        pool = test_pool();
        grant = ngx_gcs_grant_create(pool, &cred);

        ngx_memzero(walk_requests, sizeof(walk_requests));

        (void) ngx_gcs_grant_request(grant, WALK_NOW, &walk_requests[0]);
        (void) walk_answer(grant, 200, WALK_TOKEN("hidden-a"),
                           sizeof(WALK_TOKEN("hidden-a")) - 1, 0);
        (void) ngx_gcs_grant_request(grant, WALK_NOW, &walk_requests[1]);

        snprintf(body, sizeof(body), "{\"expireTime\":%s,"
                 "\"accessToken\":\"hidden-target\"}", times[i].json);

        test_check(walk_answer(grant, 200, body, strlen(body), 0) == NGX_OK,
                   times[i].json);
        test_check(grant->lifetime == times[i].lifetime, times[i].json);

        ngx_destroy_pool(pool);
    }

    ngx_destroy_pool(keep);
}
