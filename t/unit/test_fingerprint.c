
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


/* equal fingerprints share a token, so all that decides on it is in them */


#include "files.h"

#include "ngx_gcs_crypto.h"


typedef struct {
    const char  *name;
    size_t       offset;
    ngx_uint_t   differs;
} test_field_t;


#define test_string(name, differs)                                            \
    { #name, offsetof(ngx_gcs_credentials_t, name), differs }


static test_field_t  fields[] = {
    test_string(client_email, 1),
    test_string(private_key_id, 1),
    test_string(client_id, 1),
    test_string(client_secret, 1),
    test_string(refresh_token, 1),
    test_string(audience, 1),
    test_string(user_project, 1),
    test_string(token_uri, 1),
    test_string(sts_uri, 1),
    test_string(iam_uri, 1),
    test_string(metadata_host, 1),
    test_string(scope, 1),
    test_string(subject.type, 1),
    test_string(subject.file, 1),
    test_string(subject.url, 1),
    test_string(subject.member, 1),
    test_string(subject.session_url, 1),
    test_string(subject.region_url, 1),
    test_string(subject.verification_url, 1),

    /* none of these has a say in what the token is */

    test_string(project_id, 0),
    test_string(quota_project_id, 0),
    { NULL, 0, 0 }
};


#define test_variable(name, differs)                                          \
    { #name, offsetof(ngx_gcs_aws_environment_t, name), differs }


static test_field_t  variables[] = {
    test_variable(keys.access_key_id, 1),
    test_variable(keys.session_token, 1),
    test_variable(region, 1),
    test_variable(role_arn, 1),
    test_variable(web_identity_token_file, 1),
    test_variable(container_url, 1),
    { NULL, 0, 0 }
};


static void test_strings(void);
static void test_numbers(void);
static void test_lists(void);
static void test_environment(void);
static void test_boundaries(void);
static void test_same_files(void);
static void test_no_memory(void);
static void test_differs(ngx_gcs_credentials_t *a, ngx_gcs_credentials_t *b,
    ngx_uint_t differs, const char *what);
static ngx_gcs_credentials_t test_credentials(ngx_pool_t *pool);
static ngx_array_t *test_list(ngx_pool_t *pool, const char *a, const char *b);
static void test_hop(ngx_gcs_credentials_t *cred, const char *email,
    ngx_array_t *delegates, time_t lifetime);


int
main(void)
{
    files_make_key();

    test_strings();
    test_numbers();
    test_lists();
    test_environment();
    test_boundaries();
    test_same_files();
    test_no_memory();

    return test_failures;
}


static void
test_strings(void)
{
    ngx_str_t              *value;
    ngx_pool_t             *pool;
    test_field_t           *t;
    ngx_gcs_credentials_t   cred, other;

    pool = test_pool();

    for (t = fields; t->name; t++) {
        cred = test_credentials(pool);
        other = test_credentials(pool);

        test_differs(&cred, &other, 0, t->name);

        value = (ngx_str_t *) ((u_char *) &other + t->offset);

        ngx_str_set(value, "another");
        test_differs(&cred, &other, t->differs, t->name);

        ngx_str_null(value);
        test_differs(&cred, &other, t->differs, t->name);
    }

    ngx_destroy_pool(pool);
}


static void
test_numbers(void)
{
    EVP_PKEY               *key, *another;
    ngx_pool_t             *pool;
    ngx_gcs_credentials_t   cred, other;

    pool = test_pool();

    cred = test_credentials(pool);

    other = cred;
    other.type = NGX_GCS_AUTHORIZED_USER;
    test_differs(&cred, &other, 1, "type");

    other = cred;
    other.subject.from = NGX_GCS_SUBJECT_OUTPUT;
    test_differs(&cred, &other, 1, "subject.from");

    other = cred;
    other.patient = 1;
    test_differs(&cred, &other, 0, "patient");

    /* a scope is asked for by a refresh token only if it is configured */

    other = cred;
    other.scope_set = 1;
    test_differs(&cred, &other, 0, "scope_set");

    cred.type = NGX_GCS_AUTHORIZED_USER;
    other.type = NGX_GCS_AUTHORIZED_USER;
    test_differs(&cred, &other, 1, "scope_set");

    cred.type = NGX_GCS_EXTERNAL_USER;
    other.type = NGX_GCS_EXTERNAL_USER;
    test_differs(&cred, &other, 1, "scope_set");

    test_hop(&cred, "a@x", NULL, 3600);
    other.impersonations = cred.impersonations;
    test_differs(&cred, &other, 0, "scope_set");

    key = test_rsa(1024);
    cred = test_credentials(pool);
    other = cred;
    other.key = test_prepared(pool, key);
    test_differs(&cred, &other, 1, "no key");

    cred.key = test_prepared(pool, key);
    test_differs(&cred, &other, 0, "the same key");

    another = test_rsa(1024);
    other.key = test_prepared(pool, another);
    test_differs(&cred, &other, 1, "another key");

    EVP_PKEY_free(another);
    EVP_PKEY_free(key);

    ngx_destroy_pool(pool);
}


static void
test_lists(void)
{
    ngx_pool_t             *pool;
    ngx_gcs_credentials_t   cred, other;

    pool = test_pool();

    cred = test_credentials(pool);
    other = test_credentials(pool);

    cred.subject.headers = test_list(pool, "A: b", "C: d");
    test_differs(&cred, &other, 1, "headers");
    other.subject.headers = test_list(pool, "A: b", NULL);
    test_differs(&cred, &other, 1, "headers");
    other.subject.headers = test_list(pool, "C: d", "A: b");
    test_differs(&cred, &other, 1, "headers");
    other.subject.headers = test_list(pool, "A: b", "C: d");
    test_differs(&cred, &other, 0, "headers");

    /* impersonation: who, by whom, how long, in which order */

    test_hop(&cred, "a@x", NULL, 3600);
    test_differs(&cred, &other, 1, "impersonation");
    test_hop(&other, "b@x", NULL, 3600);
    test_differs(&cred, &other, 1, "impersonation");

    other.impersonations = test_credentials(pool).impersonations;
    test_hop(&other, "a@x", NULL, 3600);
    test_differs(&cred, &other, 0, "impersonation");

    test_hop(&cred, "b@x", NULL, 3600);
    test_differs(&cred, &other, 1, "impersonation");
    test_hop(&other, "b@x", NULL, 1800);
    test_differs(&cred, &other, 1, "lifetime");

    cred = test_credentials(pool);
    other = test_credentials(pool);
    test_hop(&cred, "a@x", test_list(pool, "b@x", NULL), 3600);
    test_hop(&other, "a@x", NULL, 3600);
    test_differs(&cred, &other, 1, "delegates");

    other = test_credentials(pool);
    test_hop(&other, "a@x", test_list(pool, NULL, NULL), 3600);
    test_differs(&cred, &other, 1, "delegates");

    cred = test_credentials(pool);
    test_hop(&cred, "a@x", NULL, 3600);
    test_differs(&cred, &other, 0, "no delegates");

    cred = test_credentials(pool);
    other = test_credentials(pool);
    test_hop(&cred, "a@x", test_list(pool, "b@x", "c@x"), 3600);
    test_hop(&other, "a@x", test_list(pool, "c@x", "b@x"), 3600);
    test_differs(&cred, &other, 1, "order of delegates");

    cred = test_credentials(pool);
    other = test_credentials(pool);
    test_hop(&cred, "a@x", NULL, 3600);
    test_hop(&cred, "b@x", NULL, 3600);
    test_hop(&other, "b@x", NULL, 3600);
    test_hop(&other, "a@x", NULL, 3600);
    test_differs(&cred, &other, 1, "order of accounts");

    ngx_destroy_pool(pool);
}


static void
test_environment(void)
{
    ngx_str_t                  *value;
    ngx_pool_t                 *pool;
    test_field_t               *t;
    ngx_gcs_credentials_t       cred, other;
    ngx_gcs_aws_environment_t   aws, another;

    pool = test_pool();

    for (t = variables; t->name; t++) {
        ngx_memzero(&aws, sizeof(aws));
        ngx_memzero(&another, sizeof(another));

        cred = test_credentials(pool);
        other = test_credentials(pool);
        cred.aws = &aws;
        other.aws = &another;

        value = (ngx_str_t *) ((u_char *) &another + t->offset);
        ngx_str_set(value, "another");

        /* it is nothing to other sources of a subject token */

        test_differs(&cred, &other, 0, t->name);

        cred.subject.from = NGX_GCS_SUBJECT_AWS;
        other.subject.from = NGX_GCS_SUBJECT_AWS;

        test_differs(&cred, &other, t->differs, t->name);
    }

    ngx_destroy_pool(pool);
}


/* a byte moved from each field to the next */

static void
test_boundaries(void)
{
    ngx_str_t              *a, *b;
    ngx_pool_t             *pool;
    test_field_t           *t;
    ngx_gcs_credentials_t   cred, other;

    pool = test_pool();

    for (t = fields; t[1].differs; t++) {
        cred = test_credentials(pool);
        other = test_credentials(pool);

        a = (ngx_str_t *) ((u_char *) &cred + t[0].offset);
        b = (ngx_str_t *) ((u_char *) &cred + t[1].offset);
        ngx_str_set(a, "ab");
        ngx_str_set(b, "c");

        a = (ngx_str_t *) ((u_char *) &other + t[0].offset);
        b = (ngx_str_t *) ((u_char *) &other + t[1].offset);
        ngx_str_set(a, "a");
        ngx_str_set(b, "bc");

        test_differs(&cred, &other, 1, t->name);
    }

    ngx_destroy_pool(pool);
}


/* reading the same file twice gives one token, two files give two */

static void
test_same_files(void)
{
    json_t                 *json;
    ngx_str_t               err;
    ngx_uint_t              i, j;
    ngx_pool_t             *pool;
    ngx_gcs_credentials_t   cred[TEST_FILES], again[TEST_FILES];

    pool = test_pool();

    ngx_memzero(cred, sizeof(cred));
    ngx_memzero(again, sizeof(again));

    for (i = 0; i < TEST_FILES; i++) {
        json = files_json(i);

        (void) files_parse(pool, json, &cred[i], &err);
        (void) files_parse(pool, json, &again[i], &err);

        json_decref(json);
    }

    for (i = 0; i < TEST_FILES; i++) {
        for (j = 0; j < TEST_FILES; j++) {
            test_differs(&cred[i], &again[j], i != j, files[i]);
        }
    }

    ngx_destroy_pool(pool);
}


static void
test_no_memory(void)
{
    u_char                  digest[NGX_GCS_SHA256_LEN];
    ngx_int_t               rc;
    ngx_uint_t              n;
    ngx_pool_t             *pool, *keep;
    ngx_gcs_credentials_t   cred;

    keep = test_pool();
    cred = test_credentials(keep);

    for (n = 0; n < 40; n++) {
        test_hop(&cred, "a@x", test_list(keep, "b@x", "c@x"), 3600);
    }

    for (n = 1; /* void */ ; n++) {
        pool = test_pool();

        shim_allocs = 0;
        shim_fail_at = n;

        rc = ngx_gcs_credentials_fingerprint(pool, &cred, digest);

        shim_fail_at = 0;

        ngx_destroy_pool(pool);

        if (shim_allocs < n) {
            test_check(rc == NGX_OK, NULL);
            break;
        }

        test_check(rc == NGX_ERROR, "no memory");
    }

    test_check(n > 3, "allocations were made to fail");

    ngx_destroy_pool(keep);
}


static void
test_differs(ngx_gcs_credentials_t *a, ngx_gcs_credentials_t *b,
    ngx_uint_t differs, const char *what)
{
    u_char       one[NGX_GCS_SHA256_LEN], two[NGX_GCS_SHA256_LEN];
    ngx_pool_t  *pool;

    pool = test_pool();

    test_check(ngx_gcs_credentials_fingerprint(pool, a, one) == NGX_OK, what);
    test_check(ngx_gcs_credentials_fingerprint(pool, b, two) == NGX_OK, what);
    test_check((memcmp(one, two, NGX_GCS_SHA256_LEN) != 0) == differs, what);

    ngx_destroy_pool(pool);
}


/* every string is there, and is its own name */

static ngx_gcs_credentials_t
test_credentials(ngx_pool_t *pool)
{
    ngx_str_t              *value;
    test_field_t           *t;
    ngx_gcs_credentials_t   cred;

    ngx_memzero(&cred, sizeof(cred));

    cred.type = NGX_GCS_EXTERNAL_ACCOUNT;
    cred.subject.from = NGX_GCS_SUBJECT_FILE;

    for (t = fields; t->name; t++) {
        value = (ngx_str_t *) ((u_char *) &cred + t->offset);
        value->len = strlen(t->name);
        value->data = (u_char *) t->name;
    }

    if (ngx_array_init(&cred.impersonations, pool, 1,
                       sizeof(ngx_gcs_impersonation_t))
        != NGX_OK)
    {
        abort();
    }

    return cred;
}


static ngx_array_t *
test_list(ngx_pool_t *pool, const char *a, const char *b)
{
    ngx_str_t    *item;
    ngx_array_t  *list;

    list = ngx_array_create(pool, 1, sizeof(ngx_str_t));

    if (a) {
        item = ngx_array_push(list);
        *item = test_text(pool, a);
    }

    if (b) {
        item = ngx_array_push(list);
        *item = test_text(pool, b);
    }

    return list;
}


static void
test_hop(ngx_gcs_credentials_t *cred, const char *email,
    ngx_array_t *delegates, time_t lifetime)
{
    ngx_gcs_impersonation_t  *imp;

    imp = ngx_array_push(&cred->impersonations);

    imp->email = test_text(cred->impersonations.pool, email);
    imp->delegates = delegates;
    imp->lifetime = lifetime;
}
