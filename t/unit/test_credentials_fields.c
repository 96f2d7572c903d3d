
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


/* what comes out of credential files of every type, and of directives */


#include "files.h"

#include "ngx_gcs_crypto.h"


static void test_fields(void);
static void test_nested(void);
static void test_universes(void);
static void test_presets(void);
static void test_directives(void);
static void test_no_memory(void);
static ngx_int_t test_preset(ngx_pool_t *pool, ngx_uint_t file,
    ngx_gcs_credentials_t *cred, ngx_str_t *err);


int
main(void)
{
    shim_secret = "hidden";

    files_make_key();

    test_fields();
    test_nested();
    test_universes();
    test_presets();
    test_directives();
    test_no_memory();

    test_check(shim_left == 0, "secrets in a pool");
    test_check(files_freed == 0, "secrets in a JSON string");

    return test_failures;
}


/* what comes out of the files as they are */

static void
test_fields(void)
{
    json_t                   *json;
    ngx_str_t                 err, *header;
    ngx_uint_t                i;
    ngx_pool_t               *pool;
    ngx_gcs_credentials_t     cred[TEST_FILES], *c;
    ngx_gcs_impersonation_t  *imp;

    pool = test_pool();

    ngx_memzero(cred, sizeof(cred));

    for (i = 0; i < TEST_FILES; i++) {
        json = files_json(i);
        test_check(files_parse(pool, json, &cred[i], &err) == NGX_OK,
                   files[i]);
        json_decref(json);

        test_check(test_equal(&cred[i].universe_domain, "googleapis.com"),
                   NULL);
        test_check(test_equal(&cred[i].scope, NGX_GCS_SCOPE_READ), NULL);
        test_check(test_equal(&cred[i].iam_uri,
                              "https://iamcredentials.googleapis.com"), NULL);
        test_check(test_equal(&cred[i].sts_uri,
                              "https://sts.googleapis.com/v1/token"), NULL);
        test_check(test_equal(&cred[i].metadata_host, "169.254.169.254"),
                   NULL);
    }

    c = &cred[TEST_AUTHORIZED_USER];
    test_check(c->type == NGX_GCS_AUTHORIZED_USER, NULL);
    test_check(test_equal(&c->client_id, "1.apps.example"), NULL);
    test_check(test_equal(&c->client_secret, "hidden-client"), NULL);
    test_check(test_equal(&c->refresh_token, "hidden-refresh"), NULL);
    test_check(test_equal(&c->quota_project_id, "billed"), NULL);
    test_check(test_equal(&c->token_uri, NGX_GCS_TOKEN_URI), NULL);
    test_check(c->impersonations.nelts == 0 && c->key == NULL, NULL);

    c = &cred[TEST_EXTERNAL_USER];
    test_check(c->type == NGX_GCS_EXTERNAL_USER, NULL);
    test_check(test_equal(&c->token_uri,
                          "https://sts.googleapis.com/v1/oauthtoken"), NULL);

    c = &cred[TEST_EXTERNAL_FILE];
    imp = c->impersonations.elts;
    test_check(c->type == NGX_GCS_EXTERNAL_ACCOUNT, NULL);
    test_check(test_equal(&c->audience, TEST_AUDIENCE), NULL);
    test_check(c->subject.from == NGX_GCS_SUBJECT_FILE, NULL);
    test_check(test_equal(&c->subject.type, NGX_GCS_SUBJECT_TYPE_JWT), NULL);
    test_check(test_equal(&c->subject.file, "/run/token"), NULL);
    test_check(c->subject.file.data[c->subject.file.len] == '\0', NULL);
    test_check(test_equal(&c->subject.member, "id_token"), NULL);
    test_check(c->impersonations.nelts == 1, NULL);
    test_check(test_equal(&imp->email, "target@demo.iam.gserviceaccount.com"),
               NULL);
    test_check(imp->lifetime == 7200 && imp->delegates == NULL, NULL);

    c = &cred[TEST_EXTERNAL_URL];
    header = c->subject.headers->elts;
    test_check(c->subject.from == NGX_GCS_SUBJECT_URL, NULL);
    test_check(test_equal(&c->subject.url,
                          "http://169.254.169.254/metadata/identity?a=b"),
               NULL);
    test_check(c->subject.headers->nelts == 1, NULL);
    test_check(test_equal(header, "Metadata: True"), NULL);
    test_check(c->subject.member.len == 0, NULL);
    test_check(test_equal(&c->client_secret, "hidden-client"), NULL);
    test_check(test_equal(&c->user_project, "9"), NULL);

    c = &cred[TEST_EXTERNAL_AWS];
    test_check(c->subject.from == NGX_GCS_SUBJECT_AWS, NULL);
    test_check(test_contains(&c->subject.region_url, "availability-zone"),
               NULL);
    test_check(test_contains(&c->subject.url, "security-credentials"), NULL);
    test_check(test_contains(&c->subject.session_url, "/api/token"), NULL);
    test_check(test_contains(&c->subject.verification_url, "{region}"), NULL);

    c = &cred[TEST_EXTERNAL_OUTPUT];
    test_check(c->subject.from == NGX_GCS_SUBJECT_OUTPUT, NULL);
    test_check(test_equal(&c->subject.file, "/run/output"), NULL);
    test_check(c->subject.file.data[c->subject.file.len] == '\0', NULL);

    ngx_destroy_pool(pool);
}


/* a source's own impersonation comes before that of the file around it */

static void
test_nested(void)
{
    json_t                   *json, *inner;
    ngx_str_t                 err, *delegate;
    ngx_pool_t               *pool;
    ngx_gcs_credentials_t     cred;
    ngx_gcs_impersonation_t  *imp;

    pool = test_pool();

    json = files_json(TEST_IMPERSONATED_EXTERNAL);
    inner = json_object_get(json, "source_credentials");

    files_set(inner, "service_account_impersonation_url",
             json_string("https://x/inner@demo:generateAccessToken"));
    files_set(json, "delegates",
             json_loads("[\"d1@demo\", "
                        "\"projects/-/serviceAccounts/d2@demo\"]", 0, NULL));

    ngx_memzero(&cred, sizeof(cred));

    test_check(files_parse(pool, json, &cred, &err) == NGX_OK, NULL);
    json_decref(json);

    imp = cred.impersonations.elts;

    test_check(cred.type == NGX_GCS_EXTERNAL_ACCOUNT, NULL);
    test_check(cred.impersonations.nelts == 2, NULL);
    test_check(test_equal(&imp[0].email, "inner@demo"), NULL);
    test_check(imp[0].delegates == NULL && imp[0].lifetime == 3600, NULL);
    test_check(test_equal(&imp[1].email,
                          "target@demo.iam.gserviceaccount.com"), NULL);
    test_check(imp[1].delegates->nelts == 2, NULL);

    delegate = imp[1].delegates->elts;
    test_check(test_equal(&delegate[0], "d1@demo"), NULL);
    test_check(test_equal(&delegate[1], "d2@demo"), NULL);

    json = files_json(TEST_IMPERSONATED_KEY);
    ngx_memzero(&cred, sizeof(cred));
    test_check(files_parse(pool, json, &cred, &err) == NGX_OK, NULL);
    json_decref(json);

    test_check(cred.type == NGX_GCS_SERVICE_ACCOUNT && cred.key != NULL, NULL);
    test_check(test_equal(&cred.project_id, "demo"), NULL);
    test_check(cred.quota_project_id.len == 0, NULL);
    test_check(test_equal(&cred.client_email,
                          "reader@demo.iam.gserviceaccount.com"), NULL);

    /* of what both may have, the outer counts */

    json = files_json(TEST_IMPERSONATED_USER);
    files_set(json, "project_id", json_string("outer"));
    ngx_memzero(&cred, sizeof(cred));
    test_check(files_parse(pool, json, &cred, &err) == NGX_OK, NULL);
    test_check(test_equal(&cred.project_id, "outer"), NULL);
    test_check(test_equal(&cred.quota_project_id, "billed"), NULL);

    files_set(json, "quota_project_id", json_string("outer"));
    ngx_memzero(&cred, sizeof(cred));
    test_check(files_parse(pool, json, &cred, &err) == NGX_OK, NULL);
    test_check(test_equal(&cred.quota_project_id, "outer"), NULL);
    json_decref(json);

    ngx_destroy_pool(pool);
}


/* a file must belong to the universe that the configuration names */

static void
test_universes(void)
{
    json_t                 *json;
    ngx_int_t               rc;
    ngx_str_t               err;
    ngx_uint_t              i, j;
    ngx_pool_t             *pool;
    ngx_gcs_credentials_t   cred;

    static struct {
        const char  *file;          /* NULL: not said */
        const char  *conf;
        ngx_int_t    rc;
    } cases[] = {
        { NULL, "", NGX_OK },
        { "googleapis.com", "", NGX_OK },
        { "apis.example.goog", "", NGX_DECLINED },
        { NULL, "googleapis.com", NGX_OK },
        { "googleapis.com", "googleapis.com", NGX_OK },
        { "apis.example.goog", "googleapis.com", NGX_DECLINED },
        { NULL, "apis.example.goog", NGX_DECLINED },
        { "googleapis.com", "apis.example.goog", NGX_DECLINED },
        { "apis.example.goo", "apis.example.goog", NGX_DECLINED },
        { "apis.example.googl", "apis.example.goog", NGX_DECLINED },
        { "apis.example.goog", "apis.example.goog", NGX_OK }
    };

    for (i = 0; i < TEST_FILES; i++) {

        for (j = 0; j < sizeof(cases) / sizeof(cases[0]); j++) {
            pool = test_pool();
            json = files_json(i);

            files_set(json, "universe_domain",
                      cases[j].file ? json_string(cases[j].file) : NULL);

            /* these are checked on their own in another test */

            files_set(json, "token_url", NULL);
            files_set(json, "token_uri", NULL);

            if (json_object_get(json, "source_credentials")) {
                files_set(json, "source_credentials.universe_domain", NULL);
                files_set(json, "source_credentials.token_url", NULL);
                files_set(json, "source_credentials.token_uri", NULL);
            }

            ngx_memzero(&cred, sizeof(cred));
            cred.universe_domain = test_text(pool, cases[j].conf);

            rc = files_parse(pool, json, &cred, &err);

            test_check(rc == cases[j].rc, files[i]);

            if (rc != NGX_OK) {
                test_check(test_contains(&err, "universe_domain"), files[i]);

            } else if (cases[j].conf[0] == 'a') {
                test_check(test_equal(&cred.iam_uri, "https://iamcredentials."
                                      "apis.example.goog"), files[i]);
                test_check(test_equal(&cred.sts_uri, "https://sts."
                                      "apis.example.goog/v1/token"), files[i]);
                test_check(!ngx_gcs_credentials_google(&cred), files[i]);

                /* no endpoint for keys there, so they sign tokens */

                test_check((cred.token_uri.len == 0)
                           == (cred.type == NGX_GCS_SERVICE_ACCOUNT
                               || cred.type == NGX_GCS_EXTERNAL_ACCOUNT),
                           files[i]);

                if (cred.type == NGX_GCS_EXTERNAL_USER) {
                    test_check(test_equal(&cred.token_uri, "https://sts.apis."
                                          "example.goog/v1/oauthtoken"),
                               files[i]);
                }

            } else {
                test_check(ngx_gcs_credentials_google(&cred), files[i]);
            }

            json_decref(json);
            ngx_destroy_pool(pool);
        }
    }
}


/* what a directive says wins over the file */

static void
test_presets(void)
{
    ngx_str_t                 err;
    ngx_uint_t                i;
    ngx_pool_t               *pool;
    ngx_gcs_credentials_t     cred;
    ngx_gcs_impersonation_t   imp, *last;

    for (i = 0; i < TEST_FILES; i++) {
        pool = test_pool();

        ngx_memzero(&cred, sizeof(cred));
        ngx_str_set(&cred.token_uri, "https://private.example/token");
        ngx_str_set(&cred.sts_uri, "https://private.example/sts");
        ngx_str_set(&cred.iam_uri, "https://private.example/iam");
        ngx_str_set(&cred.metadata_host, "127.0.0.1:1");
        ngx_str_set(&cred.scope, "scope-a scope-b");

        test_check(test_preset(pool, i, &cred, &err) == NGX_OK, files[i]);

        test_check(test_equal(&cred.token_uri,
                              "https://private.example/token"), files[i]);
        test_check(test_equal(&cred.sts_uri, "https://private.example/sts"),
                   files[i]);
        test_check(test_equal(&cred.iam_uri, "https://private.example/iam"),
                   files[i]);
        test_check(test_equal(&cred.metadata_host, "127.0.0.1:1"), files[i]);
        test_check(test_equal(&cred.scope, "scope-a scope-b"), files[i]);

        /* another source of the subject token, for a federation only */

        ngx_memzero(&cred, sizeof(cred));
        cred.subject.from = NGX_GCS_SUBJECT_FILE;
        ngx_str_set(&cred.subject.type, "urn:x");
        ngx_str_set(&cred.subject.file, "/run/other");

        if (test_preset(pool, i, &cred, &err) == NGX_OK) {
            test_check(cred.type == NGX_GCS_EXTERNAL_ACCOUNT, files[i]);
            test_check(cred.subject.from == NGX_GCS_SUBJECT_FILE, files[i]);
            test_check(test_equal(&cred.subject.type, "urn:x"), files[i]);
            test_check(test_equal(&cred.subject.file, "/run/other"), files[i]);
            test_check(cred.subject.url.len == 0
                       && cred.subject.member.len == 0, files[i]);

        } else {
            test_check(cred.type != NGX_GCS_EXTERNAL_ACCOUNT, files[i]);
            test_check(test_contains(&err, "\"subject_token\" applies to "
                                     "type \"external_account\" only"),
                       files[i]);
        }

        /* impersonation after all of the file's, with a lifetime */

        ngx_memzero(&cred, sizeof(cred));
        ngx_memzero(&imp, sizeof(imp));
        ngx_str_set(&imp.email, "last@demo");
        imp.lifetime = 3600;
        cred.impersonate = &imp;
        cred.lifetime = 1800;

        test_check(test_preset(pool, i, &cred, &err) == NGX_OK, files[i]);

        last = cred.impersonations.elts;
        last += cred.impersonations.nelts - 1;

        test_check(test_equal(&last->email, "last@demo"), files[i]);
        test_check(last->lifetime == 1800 && imp.lifetime == 3600, files[i]);

        ngx_memzero(&cred, sizeof(cred));
        cred.lifetime = 1800;

        if (test_preset(pool, i, &cred, &err) == NGX_OK) {
            last = cred.impersonations.elts;
            test_check(cred.impersonations.nelts == 1, files[i]);
            test_check(last->lifetime == 1800, files[i]);

        } else {
            test_check(cred.impersonations.nelts == 0, files[i]);
            test_check(test_contains(&err, "\"token_lifetime\" applies to "
                                     "tokens by impersonation only"),
                       files[i]);
        }

        ngx_destroy_pool(pool);
    }
}


static ngx_int_t
test_preset(ngx_pool_t *pool, ngx_uint_t file, ngx_gcs_credentials_t *cred,
    ngx_str_t *err)
{
    json_t     *json;
    ngx_int_t   rc;

    json = files_json(file);

    rc = files_parse(pool, json, cred, err);

    json_decref(json);

    return rc;
}


/* without a file */

static void
test_directives(void)
{
    ngx_int_t                 rc;
    ngx_str_t                 err;
    ngx_uint_t                n;
    ngx_pool_t               *pool;
    ngx_gcs_credentials_t     cred;
    ngx_gcs_impersonation_t   imp, *last;

    for (n = 1; /* void */ ; n++) {
        pool = test_pool();

        ngx_memzero(&cred, sizeof(cred));
        ngx_memzero(&imp, sizeof(imp));

        cred.type = NGX_GCS_METADATA_SERVER;
        ngx_str_set(&imp.email, "target@demo");
        imp.lifetime = 3600;
        cred.impersonate = &imp;

        shim_allocs = 0;
        shim_fail_at = n;

        rc = ngx_gcs_credentials_complete(pool, &cred, &err);

        shim_fail_at = 0;

        if (shim_allocs < n) {
            break;
        }

        test_check(rc == NGX_ERROR, "no memory");

        ngx_destroy_pool(pool);
    }

    last = cred.impersonations.elts;

    test_check(rc == NGX_OK && n > 3, NULL);
    test_check(test_equal(&cred.metadata_host, "169.254.169.254"), NULL);
    test_check(test_equal(&cred.scope, NGX_GCS_SCOPE_READ), NULL);
    test_check(cred.impersonations.nelts == 1, NULL);
    test_check(test_equal(&last->email, "target@demo"), NULL);

    ngx_destroy_pool(pool);
    pool = test_pool();

    ngx_memzero(&cred, sizeof(cred));
    cred.type = NGX_GCS_HMAC_KEY;
    cred.lifetime = 600;

    test_check(ngx_gcs_credentials_complete(pool, &cred, &err)
               == NGX_DECLINED, NULL);
    test_check(test_contains(&err, "\"token_lifetime\""), NULL);

    ngx_destroy_pool(pool);
}


static void
test_no_memory(void)
{
    u_char                  digest[NGX_GCS_SHA256_LEN];
    json_t                 *json;
    ngx_int_t               rc;
    ngx_str_t               err;
    ngx_uint_t              i, n;
    ngx_pool_t             *pool;
    ngx_gcs_credentials_t   cred;

    for (i = 0; i < TEST_FILES; i++) {
        json = files_json(i);

        if (json_object_get(json, "delegates")) {
            files_set(json, "delegates",
                     json_loads("[\"a@b\",\"c@d\",\"e@f\"]", 0, NULL));
        }

        for (n = 1; /* void */ ; n++) {
            pool = test_pool();
            ngx_memzero(&cred, sizeof(cred));

            shim_allocs = 0;
            shim_fail_at = n;

            rc = files_parse(pool, json, &cred, &err);

            if (rc == NGX_OK) {
                rc = ngx_gcs_credentials_fingerprint(pool, &cred, digest);
            }

            shim_fail_at = 0;

            ngx_destroy_pool(pool);

            if (shim_allocs < n) {
                test_check(rc == NGX_OK, files[i]);
                break;
            }

            test_check(rc == NGX_ERROR || rc == NGX_DECLINED, files[i]);
        }

        test_check(n > 5, "allocations were made to fail");

        json_decref(json);
    }
}
