
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


/*
 * Files of every type: as Google's tools write them, and with one member at
 * a time mutilated.  All secrets in them have "hidden" in it, which must
 * appear in no message, and be wiped from all memory.
 */


#include "files.h"

#include <openssl/err.h>

#include "ngx_gcs_crypto.h"


/* what a member may be */

#define TEST_REQUIRED  0x01
#define TEST_OPTIONAL  0x02
#define TEST_ANY       0x04     /* any text, with white space, too */
#define TEST_GOOGLE    0x08     /* a URL */
#define TEST_LOCAL     0x10


typedef struct {
    ngx_uint_t   file;
    const char  *path;
    ngx_uint_t   kind;
} test_member_t;


static test_member_t  members[] = {
    { TEST_SERVICE_ACCOUNT, "type", TEST_REQUIRED|TEST_ANY },
    { TEST_SERVICE_ACCOUNT, "client_email", TEST_REQUIRED },
    { TEST_SERVICE_ACCOUNT, "private_key", TEST_REQUIRED|TEST_ANY },
    { TEST_SERVICE_ACCOUNT, "private_key_id", TEST_OPTIONAL },
    { TEST_SERVICE_ACCOUNT, "project_id", TEST_OPTIONAL },
    { TEST_SERVICE_ACCOUNT, "quota_project_id", TEST_OPTIONAL },
    { TEST_SERVICE_ACCOUNT, "universe_domain", TEST_OPTIONAL },
    { TEST_SERVICE_ACCOUNT, "token_uri", TEST_OPTIONAL|TEST_GOOGLE },

    { TEST_AUTHORIZED_USER, "client_id", TEST_REQUIRED },
    { TEST_AUTHORIZED_USER, "client_secret", TEST_REQUIRED },
    { TEST_AUTHORIZED_USER, "refresh_token", TEST_REQUIRED },
    { TEST_AUTHORIZED_USER, "quota_project_id", TEST_OPTIONAL },
    { TEST_AUTHORIZED_USER, "universe_domain", TEST_OPTIONAL },

    { TEST_EXTERNAL_USER, "client_id", TEST_REQUIRED },
    { TEST_EXTERNAL_USER, "client_secret", TEST_REQUIRED },
    { TEST_EXTERNAL_USER, "refresh_token", TEST_REQUIRED },
    { TEST_EXTERNAL_USER, "token_url", TEST_OPTIONAL|TEST_GOOGLE },
    { TEST_EXTERNAL_USER, "universe_domain", TEST_OPTIONAL },

    { TEST_IMPERSONATED_USER, "service_account_impersonation_url",
      TEST_REQUIRED|TEST_ANY },
    { TEST_IMPERSONATED_USER, "quota_project_id", TEST_OPTIONAL },
    { TEST_IMPERSONATED_USER, "universe_domain", TEST_OPTIONAL },
    { TEST_IMPERSONATED_USER, "source_credentials.type",
      TEST_REQUIRED|TEST_ANY },
    { TEST_IMPERSONATED_USER, "source_credentials.client_id", TEST_REQUIRED },
    { TEST_IMPERSONATED_USER, "source_credentials.client_secret",
      TEST_REQUIRED },
    { TEST_IMPERSONATED_USER, "source_credentials.refresh_token",
      TEST_REQUIRED },
    { TEST_IMPERSONATED_USER, "source_credentials.universe_domain",
      TEST_OPTIONAL },
    { TEST_IMPERSONATED_KEY, "source_credentials.client_email",
      TEST_REQUIRED },
    { TEST_IMPERSONATED_KEY, "source_credentials.private_key",
      TEST_REQUIRED|TEST_ANY },
    { TEST_IMPERSONATED_KEY, "source_credentials.token_uri",
      TEST_OPTIONAL|TEST_GOOGLE },
    { TEST_IMPERSONATED_EXTERNAL, "source_credentials.audience",
      TEST_REQUIRED },
    { TEST_IMPERSONATED_EXTERNAL, "source_credentials.token_url",
      TEST_OPTIONAL|TEST_GOOGLE },

    { TEST_EXTERNAL_FILE, "audience", TEST_REQUIRED },
    { TEST_EXTERNAL_FILE, "subject_token_type", TEST_REQUIRED },
    { TEST_EXTERNAL_FILE, "token_url", TEST_OPTIONAL|TEST_GOOGLE },
    { TEST_EXTERNAL_FILE, "client_id", TEST_OPTIONAL },
    { TEST_EXTERNAL_FILE, "client_secret", TEST_OPTIONAL },
    { TEST_EXTERNAL_FILE, "quota_project_id", TEST_OPTIONAL },
    { TEST_EXTERNAL_FILE, "workforce_pool_user_project", TEST_OPTIONAL },
    { TEST_EXTERNAL_FILE, "service_account_impersonation_url",
      TEST_OPTIONAL|TEST_ANY },
    { TEST_EXTERNAL_FILE, "universe_domain", TEST_OPTIONAL },
    { TEST_EXTERNAL_FILE, "credential_source.format.type",
      TEST_OPTIONAL|TEST_ANY },
    { TEST_EXTERNAL_FILE, "credential_source.format.subject_token_field_name",
      TEST_REQUIRED },

    { TEST_EXTERNAL_URL, "client_id", TEST_OPTIONAL },
    { TEST_EXTERNAL_URL, "client_secret", TEST_REQUIRED },

    { TEST_EXTERNAL_AWS, "credential_source.region_url",
      TEST_OPTIONAL|TEST_LOCAL },
    { TEST_EXTERNAL_AWS, "credential_source.url", TEST_OPTIONAL|TEST_LOCAL },
    { TEST_EXTERNAL_AWS, "credential_source.imdsv2_session_token_url",
      TEST_OPTIONAL|TEST_LOCAL },
    { TEST_EXTERNAL_AWS, "credential_source.regional_cred_verification_url",
      TEST_REQUIRED },

    { 0, NULL, 0 }
};


typedef struct {
    ngx_uint_t   kind;          /* all of these */
    ngx_uint_t   not;           /* and none of these */
    const char  *value;         /* NULL: the member is missing */
    const char  *err;           /* "$" is the path; NULL: accepted */
} test_case_t;


static test_case_t  cases[] = {
    { TEST_REQUIRED, 0, NULL, "no member \"$\"" },
    { TEST_REQUIRED, 0, "null", "member \"$\" is not a string" },
    { TEST_REQUIRED, 0, "\"\"", "member \"$\" is empty" },
    { TEST_OPTIONAL, 0, NULL, NULL },
    { TEST_OPTIONAL, 0, "null", NULL },
    { TEST_OPTIONAL, 0, "\"\"", NULL },

    { 0, 0, "7", "member \"$\" is not a string" },
    { 0, 0, "1.5", "member \"$\" is not a string" },
    { 0, 0, "false", "member \"$\" is not a string" },
    { 0, 0, "[]", "member \"$\" is not a string" },
    { 0, 0, "[\"a\"]", "member \"$\" is not a string" },
    { 0, 0, "{}", "member \"$\" is not a string" },
    { 0, 0, "{\"a\":\"hidden\"}", "member \"$\" is not a string" },

    { 0, TEST_ANY, "\" \"", "member \"$\" contains white space" },
    { 0, TEST_ANY, "\" hidden\"", "member \"$\" contains white space" },
    { 0, TEST_ANY, "\"hidden\\n\"", "member \"$\" contains white space" },
    { 0, TEST_ANY, "\"hid den\"", "member \"$\" contains white space" },
    { 0, TEST_ANY, "\"a\\r\\nX: hidden\"", "member \"$\" contains white" },
    { 0, TEST_ANY, "\"\\t\"", "member \"$\" contains white space" },
    { 0, TEST_ANY, "\"hidden\\u007f\"", "member \"$\" contains white" },
    { 0, TEST_ANY, "\"hidden\\u00e9\"", "member \"$\" contains white" },

    { TEST_GOOGLE, 0, "\"https://evil.example/unseen\"",
      "member \"$\" is not an https URL below \"googleapis.com\"; if it is "
      "right, write it as \"" },
    { TEST_GOOGLE, 0, "\"https://googleapis.com.evil.example/\"",
      "member \"$\" is not an https URL below" },
    { TEST_GOOGLE, 0, "\"https://sts.googleapis.com@evil.example/\"",
      "member \"$\" is not an https URL below" },
    { TEST_GOOGLE, 0, "\"http://sts.googleapis.com/v1/token\"",
      "member \"$\" is not an https URL below" },
    { TEST_GOOGLE, 0, "\"http://169.254.169.254/\"",
      "member \"$\" is not an https URL below" },
    { TEST_GOOGLE, 0, "\"unseen\"", "member \"$\" is not an https URL below" },
    { TEST_GOOGLE, 0, "\"http://127.0.0.1:1/a\"", NULL },
    { TEST_GOOGLE, 0, "\"https://sts.europe.rep.googleapis.com/\"", NULL },

    { TEST_LOCAL, 0, "\"https://evil.example/unseen\"",
      "member \"$\" is not a URL at the metadata address" },
    { TEST_LOCAL, 0, "\"https://sts.googleapis.com/\"",
      "member \"$\" is not a URL at the metadata address" },
    { TEST_LOCAL, 0, "\"http://169.254.169.254.evil.example/\"",
      "member \"$\" is not a URL at the metadata address" },
    { TEST_LOCAL, 0, "\"http://169.254.169.254@evil.example/\"",
      "member \"$\" is not a URL at the metadata address" },
    { TEST_LOCAL, 0, "\"http://[fd00:ec2::254]/latest\"", NULL },
    { TEST_LOCAL, 0, "\"http://localhost:1/latest\"", NULL },
    { 0, 0, NULL, NULL }
};


typedef struct {
    ngx_uint_t   file;
    const char  *path;
    const char  *value;
    const char  *err;
} test_odd_t;


static test_odd_t  odd[] = {
    { TEST_IMPERSONATED_USER, "source_credentials", NULL,
      "member \"source_credentials\" is missing" },
    { TEST_IMPERSONATED_USER, "source_credentials", "null",
      "member \"source_credentials\" is not an object" },
    { TEST_IMPERSONATED_USER, "source_credentials", "\"hidden\"",
      "member \"source_credentials\" is not an object" },
    { TEST_IMPERSONATED_USER, "source_credentials", "[]",
      "member \"source_credentials\" is not an object" },
    { TEST_IMPERSONATED_USER, "source_credentials", "{}",
      "no member \"source_credentials.type\"" },
    { TEST_IMPERSONATED_USER, "source_credentials", "{\"web\":{}}",
      "OAuth client file" },
    { TEST_IMPERSONATED_USER, "source_credentials.type", "\"hidd\"",
      "unknown source_credentials.type \"hidd\"" },
    { TEST_IMPERSONATED_USER, "source_credentials.type", "\"a b\"",
      "unknown source_credentials.type, it" },
    { TEST_IMPERSONATED_USER, "source_credentials.type",
      "\"gdch_service_account\"", "Google Distributed Cloud" },
    { TEST_IMPERSONATED_USER, "source_credentials.type",
      "\"impersonated_service_account\"",
      "member \"source_credentials\" is impersonated itself" },
    { TEST_IMPERSONATED_USER, "source_credentials.universe_domain",
      "\"example.com\"", "member \"source_credentials.universe_domain\" is "
      "\"example.com\"" },
    { TEST_IMPERSONATED_USER, "universe_domain", "\"example.com\"",
      "member \"universe_domain\" is \"example.com\"" },

    { TEST_IMPERSONATED_USER, "delegates", NULL, NULL },
    { TEST_IMPERSONATED_USER, "delegates", "null", NULL },
    { TEST_IMPERSONATED_USER, "delegates", "[\"a@b\"]", NULL },
    { TEST_IMPERSONATED_USER, "delegates", "\"a@b\"",
      "member \"delegates\" is not an array" },
    { TEST_IMPERSONATED_USER, "delegates", "{}",
      "member \"delegates\" is not an array" },
    { TEST_IMPERSONATED_USER, "delegates", "[\"a@b\",null]",
      "member \"delegates\" has an item" },
    { TEST_IMPERSONATED_USER, "delegates", "[7]",
      "member \"delegates\" has an item" },
    { TEST_IMPERSONATED_USER, "delegates", "[[\"a@b\"]]",
      "member \"delegates\" has an item" },
    { TEST_IMPERSONATED_USER, "delegates", "[\"\"]",
      "member \"delegates\" has an item" },
    { TEST_IMPERSONATED_USER, "delegates", "[\"a\"]",
      "member \"delegates\" has an item" },
    { TEST_IMPERSONATED_USER, "delegates", "[\"projects/-/serviceAccounts/"
      "\"]", "member \"delegates\" has an item that is not the e-mail" },
    { TEST_IMPERSONATED_USER, "delegates", "[\"projects/x/serviceAccounts/"
      "a@b\"]", "member \"delegates\" has an item" },
    { TEST_IMPERSONATED_USER, "delegates", "[\"a@b \"]",
      "member \"delegates\" has an item" },
    { TEST_IMPERSONATED_USER, "delegates", "[\"projects/-/serviceAccounts/"
      "a@b\\n\"]", "member \"delegates\" has an item" },

    { TEST_SERVICE_ACCOUNT, "client_email", "\"reader\"",
      "member \"client_email\" is not an e-mail address" },
    { TEST_IMPERSONATED_KEY, "source_credentials.client_email", "\"reader\"",
      "member \"source_credentials.client_email\" is not an e-mail" },
    { TEST_IMPERSONATED_KEY, "source_credentials.private_key", "\"hidden\"",
      "member \"source_credentials.private_key\": there is no valid" },
    { TEST_IMPERSONATED_KEY, "source_credentials.private_key",
      "\"hidden\\\\n\"", "member \"source_credentials.private_key\" has" },

    { TEST_EXTERNAL_FILE, "audience", "\"https://iam.googleapis.com/x\"",
      "member \"audience\" does not begin with \"//iam.googleapis.com" },
    { TEST_EXTERNAL_FILE, "audience", "\"//iam.\"",
      "member \"audience\" does not begin with \"//iam.googleapis.com" },
    { TEST_EXTERNAL_FILE, "audience", "\"//ia\"",
      "member \"audience\" does not begin" },
    { TEST_IMPERSONATED_EXTERNAL, "source_credentials.audience", "\"x\"",
      "member \"source_credentials.audience\" does not begin" },
    { TEST_EXTERNAL_FILE, "workforce_pool_user_project", "\"9\\\"\"",
      "member \"workforce_pool_user_project\" is not a project" },
    { TEST_EXTERNAL_FILE, "workforce_pool_user_project", "\"9\\\\\"",
      "member \"workforce_pool_user_project\" is not a project" },
    { TEST_EXTERNAL_FILE, "client_id", "\"1\"",
      "no member \"client_secret\"" },
    { TEST_EXTERNAL_FILE, "service_account_impersonation", "null", NULL },
    { TEST_EXTERNAL_FILE, "service_account_impersonation", "{}", NULL },
    { TEST_EXTERNAL_FILE, "service_account_impersonation", "\"3600\"",
      "member \"service_account_impersonation\" is not an object" },
    { TEST_EXTERNAL_FILE, "service_account_impersonation", "[]",
      "member \"service_account_impersonation\" is not an object" },
    { TEST_EXTERNAL_FILE, "service_account_impersonation", "3600",
      "member \"service_account_impersonation\" is not an object" },
    { TEST_EXTERNAL_FILE,
      "service_account_impersonation.token_lifetime_seconds", "null", NULL },
    { TEST_EXTERNAL_FILE,
      "service_account_impersonation.token_lifetime_seconds", "600", NULL },
    { TEST_EXTERNAL_FILE,
      "service_account_impersonation.token_lifetime_seconds", "43200", NULL },
    { TEST_EXTERNAL_FILE,
      "service_account_impersonation.token_lifetime_seconds", "599",
      "token_lifetime_seconds\" is not a number from 600 to 43200" },
    { TEST_EXTERNAL_FILE,
      "service_account_impersonation.token_lifetime_seconds", "43201",
      "service_account_impersonation.token_lifetime_seconds\" is not" },
    { TEST_EXTERNAL_FILE,
      "service_account_impersonation.token_lifetime_seconds", "-3600",
      "service_account_impersonation.token_lifetime_seconds\" is not" },
    { TEST_EXTERNAL_FILE,
      "service_account_impersonation.token_lifetime_seconds", "\"3600\"",
      "service_account_impersonation.token_lifetime_seconds\" is not" },
    { TEST_EXTERNAL_FILE,
      "service_account_impersonation.token_lifetime_seconds", "3600.5",
      "service_account_impersonation.token_lifetime_seconds\" is not" },

    { TEST_EXTERNAL_FILE, "credential_source", NULL,
      "member \"credential_source\" is missing" },
    { TEST_EXTERNAL_FILE, "credential_source", "null",
      "member \"credential_source\" is not an object" },
    { TEST_EXTERNAL_FILE, "credential_source", "\"hidden\"",
      "member \"credential_source\" is not an object" },
    { TEST_EXTERNAL_FILE, "credential_source", "{}",
      "member \"credential_source\" has none of \"file\", \"url\"" },
    { TEST_EXTERNAL_FILE, "credential_source", "{\"file\":null}",
      "member \"credential_source\" has none of" },
    { TEST_EXTERNAL_FILE, "credential_source", "{\"certificate\":{}}",
      "X.509 certificates is not supported" },
    { TEST_EXTERNAL_FILE, "credential_source.file", "7",
      "member \"credential_source.file\" is not a string" },
    { TEST_EXTERNAL_FILE, "credential_source.file", "\"token\"",
      "member \"credential_source.file\" is not an absolute path" },
    { TEST_EXTERNAL_FILE, "credential_source.file", "\"/a b\"",
      "member \"credential_source.file\" contains" },
    { TEST_EXTERNAL_FILE, "credential_source.format", NULL, NULL },
    { TEST_EXTERNAL_FILE, "credential_source.format", "null", NULL },
    { TEST_EXTERNAL_FILE, "credential_source.format", "{}", NULL },
    { TEST_EXTERNAL_FILE, "credential_source.format", "\"json\"",
      "member \"credential_source.format\" is not an object" },
    { TEST_EXTERNAL_FILE, "credential_source.format", "[]",
      "member \"credential_source.format\" is not an object" },
    { TEST_EXTERNAL_FILE, "credential_source.format.type", "\"xml\"",
      "member \"credential_source.format.type\" is neither \"text\"" },

    { TEST_EXTERNAL_URL, "credential_source.url", "7",
      "member \"credential_source.url\" is not a string" },
    { TEST_EXTERNAL_URL, "credential_source.url", "\"https://evil.example/\"",
      "member \"credential_source.url\" lies neither in Google's domain" },
    { TEST_EXTERNAL_URL, "credential_source.url",
      "\"http://169.254.169.254:80@evil.example/\"",
      "member \"credential_source.url\" lies neither" },
    { TEST_EXTERNAL_URL, "credential_source.url",
      "\"http://sts.googleapis.com/\"",
      "member \"credential_source.url\" lies neither" },
    { TEST_EXTERNAL_URL, "credential_source.url",
      "\"https://a.googleapis.com/b\"", NULL },
    { TEST_EXTERNAL_URL, "credential_source.headers", NULL, NULL },
    { TEST_EXTERNAL_URL, "credential_source.headers", "null", NULL },
    { TEST_EXTERNAL_URL, "credential_source.headers", "{}", NULL },
    { TEST_EXTERNAL_URL, "credential_source.headers",
      "{\"A\":\"hidden value\",\"B\":\"\",\"C\":\"c\"}", NULL },
    { TEST_EXTERNAL_URL, "credential_source.headers", "[]",
      "member \"credential_source.headers\" is not an object" },
    { TEST_EXTERNAL_URL, "credential_source.headers", "{\"\":\"a\"}",
      "member \"credential_source.headers\" has an invalid name" },
    { TEST_EXTERNAL_URL, "credential_source.headers", "{\"A:\":\"a\"}",
      "member \"credential_source.headers\" has an invalid name" },
    { TEST_EXTERNAL_URL, "credential_source.headers", "{\"A\\n\":\"a\"}",
      "member \"credential_source.headers\" has an invalid name" },
    { TEST_EXTERNAL_URL, "credential_source.headers", "{\"A\":1}",
      "member \"credential_source.headers\" has an invalid name, or a value" },
    { TEST_EXTERNAL_URL, "credential_source.headers",
      "{\"A\":\"hidden\\r\\nB: c\"}",
      "member \"credential_source.headers\" has a control" },
    { TEST_EXTERNAL_URL, "credential_source.headers", "{\"A\":\"\\u00e9\"}",
      "member \"credential_source.headers\" has a control" },

    { TEST_EXTERNAL_AWS, "credential_source.environment_id", "\"aws2\"",
      "member \"credential_source.environment_id\" is not \"aws1\"" },
    { TEST_EXTERNAL_AWS, "credential_source.environment_id", "\"aws\"",
      "member \"credential_source.environment_id\" is not \"aws1\"" },
    { TEST_EXTERNAL_AWS, "credential_source.environment_id", "\"\"",
      "member \"credential_source.environment_id\" is empty" },
    { TEST_EXTERNAL_AWS, "credential_source.environment_id", "1",
      "member \"credential_source.environment_id\" is not a string" },
    { TEST_EXTERNAL_AWS, "credential_source.regional_cred_verification_url",
      "\"http://sts.amazonaws.com\"",
      "regional_cred_verification_url\" is not an https URL" },

    { TEST_EXTERNAL_OUTPUT, "credential_source.executable", "\"hidden\"",
      "member \"credential_source.executable\" has no absolute path" },
    { TEST_EXTERNAL_OUTPUT, "credential_source.executable", "{}",
      "member \"credential_source.executable\" has no absolute path as "
      "\"output_file\": nginx runs no programs" },
    { TEST_EXTERNAL_OUTPUT, "credential_source.executable.output_file",
      "\"output\"", "member \"credential_source.executable\" has no" },
    { TEST_EXTERNAL_OUTPUT, "credential_source.executable.output_file", "7",
      "member \"credential_source.executable.output_file\" is not a" },
    { 0, NULL, NULL, NULL }
};


/* only the account is taken from it: the host may be any */

static const char  *targets[] = {
    "1https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/"
    "a@b:generateAccessToken",
    "1https://evil.example/a@b:generateAccessToken",
    "1/a@b:generateAccessToken",
    "1a@b:generateAccessToken",
    "0",
    "0:generateAccessToken",
    "0/:generateAccessToken",
    "0https://a@b/:generateAccessToken",
    "0https://x/a@b:generateIdToken",
    "0https://x/a@b:generateAccessToken/",
    "0https://x/a@b:generateAccessToken?x",
    "0https://x/a@b:generateaccesstoken",
    "0https://x/a:generateAccessToken",
    "0https://x/a%40b:generateAccessToken",
    "0https://x/c%40d@b:generateAccessToken",
    "0https://x/c?d@b:generateAccessToken",
    "0https://x/c d@b:generateAccessToken",
    "0https://x/c\nd@b:generateAccessToken",
    "0https://x/\xc3\xa9@b:generateAccessToken",
    NULL
};


static void test_members(void);
static void test_odd(void);
static void test_targets(void);
static void test_one(ngx_uint_t file, const char *path, const char *value,
    const char *err);


int
main(void)
{
    shim_secret = "hidden";

    files_make_key();

    test_members();
    test_odd();
    test_targets();

    test_check(shim_left == 0, "secrets in a pool");
    test_check(files_freed == 0, "secrets in a JSON string");

    return test_failures;
}


static void
test_members(void)
{
    char           *err;
    test_case_t    *c;
    test_member_t  *m;

    for (m = members; m->path; m++) {

        for (c = cases; c->value || c->err || c->kind; c++) {

            if ((m->kind & c->kind) != c->kind || (m->kind & c->not)) {
                continue;
            }

            err = c->err ? test_filled(c->err, m->path) : NULL;

            test_one(m->file, m->path, c->value, err);

            free(err);
        }
    }
}


static void
test_odd(void)
{
    test_odd_t  *t;

    for (t = odd; t->path; t++) {
        test_one(t->file, t->path, t->value, t->err);
    }
}


static void
test_targets(void)
{
    char         *text;
    json_t       *value;
    ngx_uint_t    i;

    for (i = 0; targets[i]; i++) {
        value = json_string(targets[i] + 1);
        text = json_dumps(value, JSON_ENCODE_ANY);

        test_one(TEST_IMPERSONATED_USER, "service_account_impersonation_url",
                 text,
                 targets[i][0] == '1' ? NULL
                 : targets[i][1] ? "member \"service_account_impersonation_"
                 "url\" does not end with \"/EMAIL:generateAccessToken\""
                 : "is empty");

        test_one(TEST_EXTERNAL_FILE, "service_account_impersonation_url",
                 text,
                 targets[i][0] == '1' || targets[i][1] == '\0' ? NULL
                 : "does not end with \"/EMAIL:generateAccessToken\"");

        free(text);
        json_decref(value);
    }
}


/* one member of the file changed; err NULL: it is accepted */

static void
test_one(ngx_uint_t file, const char *path, const char *value,
    const char *err)
{
    u_char                  digest[NGX_GCS_SHA256_LEN];
    size_t                  i;
    json_t                 *json;
    ngx_int_t               rc;
    ngx_str_t               text;
    ngx_pool_t             *pool;
    ngx_gcs_credentials_t   cred;

    pool = test_pool();
    json = files_json(file);

    files_set(json, path,
             value ? json_loads(value, JSON_DECODE_ANY, NULL) : NULL);

    ngx_memzero(&cred, sizeof(cred));
    ngx_str_null(&text);

    rc = files_parse(pool, json, &cred, &text);

    if (err == NULL) {
        test_check(rc == NGX_OK, path);

        test_check(ngx_gcs_credentials_fingerprint(pool, &cred, digest)
                   == NGX_OK, path);

    } else {
        test_check(rc == NGX_DECLINED, err);
        test_check(test_contains(&text, err), err);

        if (!test_contains(&text, err)) {
            fprintf(stderr, "  got: %.*s\n", (int) text.len, text.data);
        }

        test_check(text.len <= 300, err);
        test_check(!test_contains(&text, "hidden"), err);
        test_check(!test_contains(&text, "unseen"), err);

        for (i = 0; i < text.len; i++) {
            test_check(text.data[i] >= ' ' && text.data[i] < 0x7f, err);
        }
    }

    test_check(ERR_peek_error() == 0, path);

    json_decref(json);
    ngx_destroy_pool(pool);
}
