
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "shim.h"

#include "ngx_gcs_seal.h"


static u_char  key[NGX_GCS_SEAL_KEY];
static u_char  other[NGX_GCS_SEAL_KEY];


static void test_round_trips(void);
static void test_every_change_is_seen(void);
static void test_nothing_repeats(void);
static void test_memory_runs_out(void);


int
main(void)
{
    test_check(ngx_gcs_seal_random(key, sizeof(key)) == NGX_OK, NULL);
    test_check(ngx_gcs_seal_random(other, sizeof(other)) == NGX_OK, NULL);
    test_check(memcmp(key, other, sizeof(key)) != 0, NULL);

    test_round_trips();
    test_every_change_is_seen();
    test_nothing_repeats();
    test_memory_runs_out();

    return test_failures;
}


static void
test_round_trips(void)
{
    size_t       len;
    u_char       data[2000];
    ngx_str_t    text, sealed, out;
    ngx_pool_t  *pool;

    memset(data, 'x', sizeof(data));

    for (len = 0; len <= sizeof(data); len += (len < 40) ? 1 : 245) {
        pool = test_pool();
        text = test_bytes(pool, data, len);

        test_check(ngx_gcs_seal(pool, key, &text, &sealed) == NGX_OK, NULL);
        test_check(sealed.len == NGX_GCS_SEAL_NONCE + len + NGX_GCS_SEAL_TAG,
                   NULL);

        test_check(ngx_gcs_unseal(pool, key, &sealed, &out) == NGX_OK, NULL);
        test_check(out.len == len && memcmp(out.data, data, len) == 0, NULL);

        test_check(ngx_gcs_unseal(pool, other, &sealed, &out) == NGX_DECLINED,
                   NULL);

        ngx_destroy_pool(pool);
    }
}


static void
test_every_change_is_seen(void)
{
    size_t       i;
    ngx_str_t    text, sealed, out, cut;
    ngx_pool_t  *pool;

    pool = test_pool();
    text = test_text(pool, "Lhttps://storage.googleapis.com/bucket/object");

    test_check(ngx_gcs_seal(pool, key, &text, &sealed) == NGX_OK, NULL);

    for (i = 0; i < sealed.len * 8; i++) {
        sealed.data[i / 8] ^= 1 << (i % 8);

        test_check(ngx_gcs_unseal(pool, key, &sealed, &out) == NGX_DECLINED,
                   NULL);

        sealed.data[i / 8] ^= 1 << (i % 8);
    }

    for (i = 0; i < sealed.len; i++) {
        cut = test_bytes(pool, sealed.data, i);

        test_check(ngx_gcs_unseal(pool, key, &cut, &out) == NGX_DECLINED,
                   NULL);
    }

    test_check(ngx_gcs_unseal(pool, key, &sealed, &out) == NGX_OK, NULL);
    test_check(test_equal(&out, "Lhttps://storage.googleapis.com/bucket/"
                                "object"), NULL);

    ngx_destroy_pool(pool);
}


static void
test_nothing_repeats(void)
{
    ngx_str_t    text, one, two;
    ngx_pool_t  *pool;

    pool = test_pool();
    text = test_text(pool, "the same text under the same key");

    test_check(ngx_gcs_seal(pool, key, &text, &one) == NGX_OK, NULL);
    test_check(ngx_gcs_seal(pool, key, &text, &two) == NGX_OK, NULL);

    test_check(memcmp(one.data, two.data, NGX_GCS_SEAL_NONCE) != 0, NULL);
    test_check(memcmp(one.data + NGX_GCS_SEAL_NONCE,
                      two.data + NGX_GCS_SEAL_NONCE, text.len)
               != 0, NULL);
    test_check(!test_contains(&one, "same"), NULL);

    ngx_destroy_pool(pool);
}


static void
test_memory_runs_out(void)
{
    ngx_str_t    text, sealed, out;
    ngx_pool_t  *pool;

    pool = test_pool();
    text = test_text(pool, "text");

    shim_allocs = 0;
    shim_fail_at = 1;
    test_check(ngx_gcs_seal(pool, key, &text, &sealed) == NGX_ERROR, NULL);
    shim_fail_at = 0;

    test_check(ngx_gcs_seal(pool, key, &text, &sealed) == NGX_OK, NULL);

    shim_allocs = 0;
    shim_fail_at = 1;
    test_check(ngx_gcs_unseal(pool, key, &sealed, &out) == NGX_ERROR, NULL);
    shim_fail_at = 0;

    ngx_destroy_pool(pool);
}
