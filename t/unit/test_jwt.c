
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "shim.h"

#include <jansson.h>

#include "ngx_gcs_jwt.h"


static void test_assertion(void);
static void test_self_signed(void);
static void test_no_kid(void);
static void test_odd_text(void);
static void test_no_memory(void);
static ngx_gcs_credentials_t test_credentials(void);


static EVP_PKEY       *key;
static ngx_gcs_key_t  *prepared;
static ngx_str_t       scope = ngx_string("c d");


int
main(void)
{
    ngx_pool_t  *pool;

    pool = test_pool();
    key = test_rsa(2048);
    prepared = test_prepared(pool, key);

    test_assertion();
    test_self_signed();
    test_no_kid();
    test_odd_text();
    test_no_memory();

    EVP_PKEY_free(key);
    ngx_destroy_pool(pool);

    return test_failures;
}


static void
test_assertion(void)
{
    json_t                 *json;
    ngx_str_t               jwt, raw;
    ngx_pool_t             *pool;
    ngx_gcs_credentials_t   cred;

    pool = test_pool();
    cred = test_credentials();

    test_check(ngx_gcs_jwt_assertion(pool, &cred, &scope, 1700000000, &jwt)
               == NGX_OK, NULL);

    test_check(!test_contains(&jwt, "="), "no padding");
    test_jwt_verify(pool, &jwt, key);

    json = test_jwt_part(pool, &jwt, 0, &raw);
    test_check(test_equal(&raw, "{\"alg\":\"RS256\",\"typ\":\"JWT\","
                                "\"kid\":\"k-1\"}"), NULL);
    json_decref(json);

    json = test_jwt_part(pool, &jwt, 1, &raw);
    test_check(json_object_size(json) == 5, NULL);
    test_check(test_equal(&raw, "{\"iss\":\"reader@x.iam.example\","
                                "\"scope\":\"c d\","
                                "\"aud\":\"https://localhost/token\","
                                "\"iat\":1700000000,\"exp\":1700003600}"),
               NULL);
    json_decref(json);

    ngx_destroy_pool(pool);
}


/* AIP-4111: a subject instead of an audience */

static void
test_self_signed(void)
{
    json_t                 *json;
    ngx_str_t               jwt, raw;
    ngx_pool_t             *pool;
    ngx_gcs_credentials_t   cred;

    pool = test_pool();
    cred = test_credentials();

    test_check(ngx_gcs_jwt_self_signed(pool, &cred, &scope, 1700000000, &jwt)
               == NGX_OK, NULL);

    test_jwt_verify(pool, &jwt, key);

    json = test_jwt_part(pool, &jwt, 0, &raw);
    test_check(test_equal(&raw, "{\"alg\":\"RS256\",\"typ\":\"JWT\","
                                "\"kid\":\"k-1\"}"), NULL);
    json_decref(json);

    json = test_jwt_part(pool, &jwt, 1, &raw);
    test_check(json_object_size(json) == 5, NULL);
    test_check(test_equal(&raw, "{\"iss\":\"reader@x.iam.example\","
                                "\"scope\":\"c d\","
                                "\"sub\":\"reader@x.iam.example\","
                                "\"iat\":1700000000,\"exp\":1700003600}"),
               NULL);
    json_decref(json);

    ngx_destroy_pool(pool);
}


static void
test_no_kid(void)
{
    json_t                 *json;
    ngx_str_t               jwt, raw;
    ngx_pool_t             *pool;
    ngx_gcs_credentials_t   cred;

    pool = test_pool();
    cred = test_credentials();

    ngx_str_null(&cred.private_key_id);

    test_check(ngx_gcs_jwt_assertion(pool, &cred, &scope, 1, &jwt)
               == NGX_OK, NULL);
    test_jwt_verify(pool, &jwt, key);

    json = test_jwt_part(pool, &jwt, 0, &raw);
    test_check(test_equal(&raw, "{\"alg\":\"RS256\",\"typ\":\"JWT\"}"), NULL);
    json_decref(json);

    ngx_destroy_pool(pool);
}


/* quotes cannot add a claim, and what is no text is no claim */

static void
test_odd_text(void)
{
    json_t                 *json;
    ngx_str_t               jwt, raw;
    ngx_pool_t             *pool;
    ngx_gcs_credentials_t   cred;

    pool = test_pool();
    cred = test_credentials();

    ngx_str_set(&cred.client_email, "a\",\"sub\":\"b\\");

    test_check(ngx_gcs_jwt_assertion(pool, &cred, &scope, 1, &jwt)
               == NGX_OK, NULL);

    json = test_jwt_part(pool, &jwt, 1, &raw);
    test_check(json_object_size(json) == 5, NULL);
    test_check(strcmp(json_string_value(json_object_get(json, "iss")),
                      "a\",\"sub\":\"b\\") == 0, NULL);
    json_decref(json);

    ngx_str_set(&cred.client_email, "\xff");
    test_check(ngx_gcs_jwt_assertion(pool, &cred, &scope, 1, &jwt)
               == NGX_ERROR, NULL);

    cred = test_credentials();
    ngx_str_set(&cred.private_key_id, "\xff");
    test_check(ngx_gcs_jwt_assertion(pool, &cred, &scope, 1, &jwt)
               == NGX_ERROR, NULL);

    cred = test_credentials();
    cred.key = NULL;
    test_check(ngx_gcs_jwt_assertion(pool, &cred, &scope, 1, &jwt)
               == NGX_ERROR, NULL);

    ngx_destroy_pool(pool);
}


static void
test_no_memory(void)
{
    ngx_int_t               rc;
    ngx_str_t               jwt;
    ngx_uint_t              n;
    ngx_pool_t             *pool;
    ngx_gcs_credentials_t   cred;

    cred = test_credentials();

    for (n = 1; /* void */ ; n++) {
        pool = test_pool();

        shim_allocs = 0;
        shim_fail_at = n;

        rc = (n & 1)
             ? ngx_gcs_jwt_assertion(pool, &cred, &scope, 1, &jwt)
             : ngx_gcs_jwt_self_signed(pool, &cred, &scope, 1, &jwt);

        shim_fail_at = 0;

        ngx_destroy_pool(pool);

        if (shim_allocs < n) {
            test_check(rc == NGX_OK, NULL);
            break;
        }

        test_check(rc == NGX_ERROR, "no memory");
    }

    test_check(n > 2, "allocations were made to fail");
}


static ngx_gcs_credentials_t
test_credentials(void)
{
    ngx_gcs_credentials_t  cred;

    ngx_memzero(&cred, sizeof(cred));

    ngx_str_set(&cred.client_email, "reader@x.iam.example");
    ngx_str_set(&cred.private_key_id, "k-1");
    ngx_str_set(&cred.scope, "a b");
    ngx_str_set(&cred.token_uri, "https://localhost/token");
    cred.key = prepared;

    return cred;
}
