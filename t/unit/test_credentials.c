
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "shim.h"

#include <jansson.h>
#include <openssl/err.h>

#include "ngx_gcs_credentials.h"
#include "ngx_gcs_crypto.h"


typedef struct {
    const char  *member;
    const char  *value;         /* JSON; NULL: the member is left out */
    const char  *err;           /* NULL: accepted */
} test_member_t;


typedef struct {
    const char  *text;
    const char  *err;
} test_file_t;


static test_member_t  members[] = {
    { "unknown", "{\"a\":[1,2,null]}", NULL },
    { "project_id", NULL, NULL },
    { "project_id", "null", NULL },
    { "private_key_id", NULL, NULL },
    { "private_key_id", "\"\"", NULL },
    { "universe_domain", NULL, NULL },
    { "universe_domain", "\"\"", NULL },
    { "quota_project_id", "\"billed-project\"", NULL },
    { "token_uri", NULL, NULL },
    { "token_uri", "\"https://www.googleapis.com/oauth2/v4/token\"", NULL },
    { "token_uri", "\"http://127.0.0.1:8080/token\"", NULL },

    { "type", NULL, "no member \"type\"" },
    { "type", "1", "member \"type\" is not a string" },
    { "type", "null", "member \"type\" is not a string" },
    { "type", "\"\"", "member \"type\" is empty" },
    { "type", "\"Service_Account\"", "unknown type \"Service_Account\", it "
      "must be \"service_account\", \"authorized_user\", \"impersonated_"
      "service_account\", \"external_account\" or \"external_account_"
      "authorized_user\"" },
    { "type", "\"service_accounts\"", "unknown type" },
    { "type", "\"a\\nb\"", "unknown type, it" },
    { "type", "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"",
      "unknown type, it" },
    { "type", "\"authorized_user\"", "no member \"client_secret\"" },
    { "type", "\"impersonated_service_account\"",
      "no member \"service_account_impersonation_url\"" },
    { "type", "\"external_account\"", "no member \"audience\"" },
    { "type", "\"external_account_authorized_user\"",
      "no member \"client_secret\"" },
    { "type", "\"gdch_service_account\"", "Google Distributed Cloud" },

    { "client_email", NULL, "no member \"client_email\"" },
    { "client_email", "\"\"", "member \"client_email\" is empty" },
    { "client_email", "null", "member \"client_email\" is not a string" },
    { "client_email", "[]", "member \"client_email\" is not a string" },
    { "client_email", "\"reader\"", "not an e-mail address" },
    { "client_email", "\"a@b\\r\\nX: y\"",
      "member \"client_email\" contains" },
    { "client_email", "\"a@b c\"", "member \"client_email\" contains" },
    { "client_email", "\"a@b\\u007f\"", "member \"client_email\" contains" },
    { "client_email", "\"a@\\u00e9\"", "member \"client_email\" contains" },
    { "private_key_id", "5", "member \"private_key_id\" is not a string" },
    { "private_key_id", "\"a\\u0001\"", "member \"private_key_id\" contains" },
    { "project_id", "\"a\\nb\"", "member \"project_id\" contains" },
    { "quota_project_id", "\"a\\rb\"",
      "member \"quota_project_id\" contains" },
    { "quota_project_id", "true",
      "member \"quota_project_id\" is not a string" },

    { "universe_domain", "\"example.com\"", "member "
      "\"universe_domain\" is \"example.com\", the configured \"universe_"
      "domain\" is \"googleapis.com\"" },
    { "universe_domain", "\"googleapis.com.\"", "is \"googleapis.com.\"" },
    { "universe_domain", "\"googleapis.org\"", "is \"googleapis.org\"" },
    { "universe_domain", "{}", "member \"universe_domain\" is not a string" },

    { "token_uri", "\"https://example.com/token\"",
      "member \"token_uri\" is not an https URL below \"googleapis.com\"" },
    { "token_uri", "\"http://oauth2.googleapis.com/token\"", "not an https" },
    { "token_uri", "\"https://oauth2.googleapis.com@example.com/\"",
      "not an https" },
    { "token_uri", "\"https://a.googleapis.com/\\n\"",
      "member \"token_uri\" contains" },

    { "private_key", NULL, "no member \"private_key\"" },
    { "private_key", "7", "member \"private_key\" is not a string" },
    { "private_key", "\"\"", "member \"private_key\" is empty" },
    { "private_key", "\"xyz\"",
      "member \"private_key\": there is no valid private key" },
    { "private_key", "\"-----BEGIN PRIVATE KEY-----\\\\nMIIE\\\\n\"",
      "escaped twice" },
    { NULL, NULL, NULL }
};


static test_file_t  files[] = {
    { "", "the file is empty" },
    { "hidden-word", "not valid JSON: syntax error in line 1, column " },
    { "{\n  \"a\": 1,\n  hidden-word\n}", "syntax error in line 3, column " },
    { "{\"private_key\": \"hidden-word", "in line 1, column " },
    { "{\"private_key\": \"hidden-word\"", "unexpected end in line 1" },
    { "{\"type\":\"a\",\"type\":\"hidden-word\"}", "duplicate member" },
    { "{\"a\":1}{", "text after the end" },
    { "{\"a\":\"\xff\"}", "invalid UTF-8" },
    { "{\"a\":\"\\u0000\"}", "NUL character" },
    { "[]", "not a JSON object" },
    { "[\"hidden-word\"]", "not a JSON object" },
    { "\"hidden-word\"", "not valid JSON" },
    { "{}", "no member \"type\", it must be \"service_account\"" },
    { "{\"installed\":{\"client_secret\":\"hidden-word\"}}",
      "OAuth client file" },
    { "{\"web\":{}}", "OAuth client file" },
    { NULL, NULL }
};


static void test_whole(void);
static void test_members(void);
static ngx_str_t test_changed(ngx_pool_t *pool, ngx_str_t *file,
    const char *member, json_t *value);
static void test_keys(void);
static void test_files(void);
static void test_no_memory(void);


static EVP_PKEY  *key;


int
main(void)
{
    key = test_rsa(2048);

    test_whole();
    test_members();
    test_keys();
    test_files();
    test_no_memory();

    EVP_PKEY_free(key);

    return test_failures;
}


static void
test_whole(void)
{
    ngx_str_t               file, err, domain;
    ngx_pool_t             *pool, *keep;
    ngx_gcs_credentials_t   cred;

    pool = test_pool();
    keep = test_pool();

    file = test_key_file(keep, key);
    ngx_memzero(&cred, sizeof(cred));

    test_check(ngx_gcs_credentials_parse(pool, &file, &cred, &err) == NGX_OK,
               NULL);

    /* nothing may point into the file */

    ngx_destroy_pool(keep);

    test_check(cred.type == NGX_GCS_SERVICE_ACCOUNT, NULL);
    test_check(test_equal(&cred.client_email,
                          "reader@demo-project.iam.gserviceaccount.com"),
               NULL);
    test_check(test_equal(&cred.private_key_id, "0123456789abcdef"), NULL);
    test_check(test_equal(&cred.project_id, "demo-project"), NULL);
    test_check(cred.quota_project_id.len == 0, NULL);
    test_check(test_equal(&cred.universe_domain, "googleapis.com"), NULL);
    test_check(test_equal(&cred.token_uri, NGX_GCS_TOKEN_URI), NULL);
    test_check(test_equal(&cred.scope, NGX_GCS_SCOPE_READ), NULL);
    test_check(EVP_PKEY_eq(EVP_PKEY_CTX_get0_pkey(cred.key), key) == 1, NULL);

    ngx_str_null(&domain);
    test_check(!ngx_gcs_credentials_url_allowed(&cred.token_uri, &domain),
               "no domain");

    ngx_destroy_pool(pool);
}


static void
test_members(void)
{
    json_t                 *value;
    ngx_int_t               rc;
    ngx_str_t               file, changed, err;
    ngx_pool_t             *pool;
    test_member_t          *t;
    ngx_gcs_credentials_t   cred;

    pool = test_pool();
    file = test_key_file(pool, key);

    for (t = members; t->member; t++) {
        value = NULL;

        if (t->value) {
            value = json_loads(t->value, JSON_DECODE_ANY, NULL);
            test_check(value != NULL, t->value);
        }

        changed = test_changed(pool, &file, t->member, value);

        ngx_memzero(&cred, sizeof(cred));
        ngx_str_null(&err);

        rc = ngx_gcs_credentials_parse(pool, &changed, &cred, &err);

        if (t->err == NULL) {
            test_check(rc == NGX_OK, t->member);
            test_check(cred.token_uri.len && cred.universe_domain.len,
                       t->member);
            continue;
        }

        test_check(rc == NGX_DECLINED, t->err);
        test_check(test_contains(&err, t->err), t->err);
        test_check(ERR_peek_error() == 0, t->err);
    }

    ngx_destroy_pool(pool);
}


/* value is taken over; NULL removes the member */

static ngx_str_t
test_changed(ngx_pool_t *pool, ngx_str_t *file, const char *member,
    json_t *value)
{
    char       *text;
    json_t     *json;
    ngx_str_t   changed;

    json = json_loadb((char *) file->data, file->len, 0, NULL);

    if (value) {
        json_object_set_new(json, member, value);

    } else {
        json_object_del(json, member);
    }

    text = json_dumps(json, 0);
    changed = test_text(pool, text);

    free(text);
    json_decref(json);

    return changed;
}


static void
test_keys(void)
{
    json_t                 *value;
    EVP_PKEY               *ec, *small;
    ngx_str_t               file, changed, pem, err;
    ngx_uint_t              i;
    ngx_pool_t             *pool;
    ngx_gcs_credentials_t   cred;

    struct {
        EVP_PKEY           *key;
        test_pem_e          form;
        const char         *err;
    } cases[5];

    pool = test_pool();
    file = test_key_file(pool, key);

    ec = EVP_EC_gen("P-256");
    small = test_rsa(512);

    cases[0].key = key;
    cases[0].form = TEST_PKCS1;
    cases[0].err = NULL;

    cases[1].key = key;
    cases[1].form = TEST_ENCRYPTED;
    cases[1].err = "member \"private_key\": the key is encrypted";

    cases[2].key = key;
    cases[2].form = TEST_PUBLIC;
    cases[2].err = "no valid private key";

    cases[3].key = ec;
    cases[3].form = TEST_PKCS8;
    cases[3].err = "member \"private_key\": the key is not an RSA key";

    cases[4].key = small;
    cases[4].form = TEST_PKCS8;
    cases[4].err = "member \"private_key\": the key is too short";

    for (i = 0; i < 5; i++) {
        pem = test_pem(pool, cases[i].key, cases[i].form);
        value = json_stringn((char *) pem.data, pem.len);
        changed = test_changed(pool, &file, "private_key", value);

        ngx_memzero(&cred, sizeof(cred));
        ngx_str_null(&err);

        if (cases[i].err == NULL) {
            test_check(ngx_gcs_credentials_parse(pool, &changed, &cred, &err)
                       == NGX_OK, NULL);
            continue;
        }

        test_check(ngx_gcs_credentials_parse(pool, &changed, &cred, &err)
                   == NGX_DECLINED, cases[i].err);
        test_check(test_contains(&err, cases[i].err), cases[i].err);
    }

    EVP_PKEY_free(ec);
    EVP_PKEY_free(small);

    ngx_destroy_pool(pool);
}


/* no error repeats what is in the file: it could be the key */

static void
test_files(void)
{
    ngx_str_t               file, err;
    ngx_pool_t             *pool;
    test_file_t            *t;
    ngx_gcs_credentials_t   cred;

    pool = test_pool();

    for (t = files; t->text; t++) {
        file = test_text(pool, t->text);
        ngx_memzero(&cred, sizeof(cred));
        ngx_str_null(&err);

        test_check(ngx_gcs_credentials_parse(pool, &file, &cred, &err)
                   == NGX_DECLINED, t->text);
        test_check(test_contains(&err, t->err), t->text);
        test_check(!test_contains(&err, "hidden-word"), t->text);
    }

    ngx_destroy_pool(pool);
}


static void
test_no_memory(void)
{
    u_char                  digest[NGX_GCS_SHA256_LEN];
    ngx_int_t               rc;
    ngx_str_t               file, err;
    ngx_uint_t              n;
    ngx_pool_t             *pool, *keep;
    ngx_gcs_credentials_t   cred;

    keep = test_pool();
    file = test_key_file(keep, key);

    for (n = 1; /* void */ ; n++) {
        pool = test_pool();
        ngx_memzero(&cred, sizeof(cred));

        shim_allocs = 0;
        shim_fail_at = n;

        rc = ngx_gcs_credentials_parse(pool, &file, &cred, &err);

        if (rc == NGX_OK) {
            rc = ngx_gcs_credentials_fingerprint(pool, &cred, digest);
        }

        shim_fail_at = 0;

        ngx_destroy_pool(pool);

        if (shim_allocs < n) {
            test_check(rc == NGX_OK, NULL);
            break;
        }

        test_check(rc == NGX_ERROR || rc == NGX_DECLINED, "no memory");
    }

    test_check(n > 8, "allocations were made to fail");

    /* the text of an error needs memory, too */

    file = test_text(keep, "[]");
    shim_allocs = 0;
    shim_fail_at = 1;
    rc = ngx_gcs_credentials_parse(keep, &file, &cred, &err);
    shim_fail_at = 0;
    test_check(rc == NGX_ERROR, NULL);

    ngx_destroy_pool(keep);
}
