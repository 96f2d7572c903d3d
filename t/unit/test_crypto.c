
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "shim.h"

#include <openssl/err.h>
#include <openssl/rsa.h>

#include "ngx_gcs_crypto.h"


static void test_keys(void);
static void test_refused(ngx_pool_t *pool, ngx_str_t *pem, const char *want);
static void test_damaged(ngx_pool_t *pool, EVP_PKEY *key);
static void test_sign(void);
static void test_sha256(void);
static void test_no_memory(void);


int
main(void)
{
    test_keys();
    test_sign();
    test_sha256();
    test_no_memory();

    return test_failures;
}


static void
test_keys(void)
{
    char           *err;
    EVP_PKEY       *key, *small, *ec, *pss;
    ngx_str_t       pem, garbage;
    ngx_pool_t     *pool;
    ngx_gcs_key_t  *loaded;

    pool = test_pool();

    key = test_rsa(2048);
    small = test_rsa(768);
    ec = EVP_EC_gen("P-256");
    pss = EVP_PKEY_Q_keygen(NULL, NULL, "RSA-PSS", (size_t) 2048);

    pem = test_pem(pool, key, TEST_PKCS8);
    loaded = ngx_gcs_crypto_load_key(pool, &pem, &err);
    test_check(loaded != NULL
               && EVP_PKEY_eq(EVP_PKEY_CTX_get0_pkey(loaded), key) == 1,
               "PKCS#8");

    pem = test_pem(pool, key, TEST_PKCS1);
    test_check(test_contains(&pem, "BEGIN RSA PRIVATE KEY"), NULL);
    loaded = ngx_gcs_crypto_load_key(pool, &pem, &err);
    test_check(loaded != NULL
               && EVP_PKEY_eq(EVP_PKEY_CTX_get0_pkey(loaded), key) == 1,
               "PKCS#1");

    pem = test_pem(pool, key, TEST_ENCRYPTED);
    test_refused(pool, &pem, "encrypted");

    pem = test_pem(pool, key, TEST_PUBLIC);
    test_refused(pool, &pem, "no valid private key");

    pem = test_pem(pool, small, TEST_PKCS8);
    test_refused(pool, &pem, "too short");

    pem = test_pem(pool, ec, TEST_PKCS8);
    test_refused(pool, &pem, "not an RSA key");

    if (pss) {
        pem = test_pem(pool, pss, TEST_PKCS8);
        test_refused(pool, &pem, "not an RSA key");
    }

    pem = test_pem(pool, key, TEST_PKCS8);
    pem.len /= 2;
    test_refused(pool, &pem, "no valid private key");

    pem = test_text(pool, "");
    test_refused(pool, &pem, "empty");

    pem = test_text(pool, "-----BEGIN PRIVATE KEY-----\n");
    test_refused(pool, &pem, "no valid private key");

    garbage.len = 65537;
    garbage.data = ngx_pcalloc(pool, garbage.len);
    test_refused(pool, &garbage, "too large");

    garbage.len = 65536;
    test_refused(pool, &garbage, "no valid private key");

    test_damaged(pool, key);

    EVP_PKEY_free(key);
    EVP_PKEY_free(small);
    EVP_PKEY_free(ec);
    EVP_PKEY_free(pss);

    ngx_destroy_pool(pool);
}


static void
test_refused(ngx_pool_t *pool, ngx_str_t *pem, const char *want)
{
    char  *err;

    err = NULL;

    test_check(ngx_gcs_crypto_load_key(pool, pem, &err) == NULL, want);
    test_check(err != NULL && strstr(err, want) != NULL, want);
    test_check(ERR_peek_error() == 0, want);
}


/*
 * Flips a bit here and there: OpenSSL can do without some of the numbers in
 * the file, so a key may still be good, but never with another modulus.
 */

static void
test_damaged(ngx_pool_t *pool, EVP_PKEY *key)
{
    int             len;
    BIO            *bio;
    char           *err;
    long            n;
    size_t          i;
    u_char         *der, *p;
    ngx_str_t       pem;
    ngx_gcs_key_t  *loaded;
    u_char          b64[8192];

    der = NULL;

    len = i2d_PrivateKey(key, &der);

    for (i = 40; i < (size_t) len; i += 61) {
        der[i] ^= 0x40;

        bio = BIO_new(BIO_s_mem());
        n = EVP_EncodeBlock(b64, der, len);

        BIO_printf(bio, "-----BEGIN RSA PRIVATE KEY-----\n");

        for (p = b64; n > 0; p += 64, n -= 64) {
            BIO_write(bio, p, (int) ngx_min(n, 64));
            BIO_printf(bio, "\n");
        }

        BIO_printf(bio, "-----END RSA PRIVATE KEY-----\n");

        n = BIO_get_mem_data(bio, &p);
        pem = test_bytes(pool, p, n);
        BIO_free(bio);

        loaded = ngx_gcs_crypto_load_key(pool, &pem, &err);

        test_check(loaded == NULL || i > 11 + 257, "a damaged modulus");
        test_check(ERR_peek_error() == 0, NULL);

        der[i] ^= 0x40;
    }

    OPENSSL_free(der);
}


static void
test_sign(void)
{
    EVP_PKEY       *key;
    ngx_str_t       text, sig;
    EVP_MD_CTX     *md;
    ngx_pool_t     *pool;
    ngx_gcs_key_t  *loaded, *copy;

    pool = test_pool();
    key = test_rsa(2048);
    loaded = test_prepared(pool, key);

    text = test_text(pool, "header.claims");

    test_check(ngx_gcs_crypto_sign(pool, loaded, &text, &sig) == NGX_OK, NULL);
    test_check(sig.len == 256, NULL);

    md = EVP_MD_CTX_new();

    EVP_DigestVerifyInit(md, NULL, EVP_sha256(), NULL, key);
    test_check(EVP_DigestVerify(md, sig.data, sig.len, text.data, text.len)
               == 1, "verified by OpenSSL");

    EVP_MD_CTX_free(md);

    /* an error on the way leaves no trace for nginx to stumble over */

    copy = ngx_gcs_crypto_copy_key(loaded);
    sig.len = 255;
    test_check(ngx_gcs_crypto_sign_buffer(copy, &text, &sig) == NGX_ERROR,
               "no room");
    test_check(ERR_peek_error() == 0, NULL);
    EVP_PKEY_CTX_free(copy);

    EVP_PKEY_free(key);
    ngx_destroy_pool(pool);
}


static void
test_sha256(void)
{
    u_char              digest[NGX_GCS_SHA256_LEN];
    ngx_str_t           text;
    ngx_pool_t         *pool;
    static const char   want[] =
        "\xba\x78\x16\xbf\x8f\x01\xcf\xea\x41\x41\x40\xde\x5d\xae\x22\x23"
        "\xb0\x03\x61\xa3\x96\x17\x7a\x9c\xb4\x10\xff\x61\xf2\x00\x15\xad";

    pool = test_pool();

    text = test_text(pool, "abc");

    test_check(ngx_gcs_crypto_sha256(&text, digest) == NGX_OK, NULL);
    test_check(memcmp(digest, want, NGX_GCS_SHA256_LEN) == 0, "FIPS 180");

    ngx_destroy_pool(pool);
}


static void
test_no_memory(void)
{
    char           *err;
    EVP_PKEY       *key;
    ngx_str_t       pem, der;
    ngx_uint_t      n;
    ngx_pool_t     *pool, *keep;
    ngx_gcs_key_t  *loaded;

    keep = test_pool();
    key = test_rsa(2048);
    pem = test_pem(keep, key, TEST_PKCS8);

    for (n = 1; /* void */ ; n++) {
        pool = test_pool();

        shim_allocs = 0;
        shim_fail_at = n;

        err = NULL;
        loaded = ngx_gcs_crypto_load_key(pool, &pem, &err);

        shim_fail_at = 0;

        test_check((loaded == NULL) == (err != NULL), NULL);

        ngx_destroy_pool(pool);

        if (shim_allocs < n) {
            break;
        }

        test_check(loaded == NULL, "no memory");
    }

    test_check(n > 2, "allocations were made to fail");

    loaded = test_prepared(keep, key);

    pool = test_pool();
    shim_allocs = 0;
    shim_fail_at = 1;
    test_check(ngx_gcs_crypto_public_key(pool, loaded, &der) == NGX_ERROR,
               NULL);
    shim_fail_at = 0;
    ngx_destroy_pool(pool);

    EVP_PKEY_free(key);
    ngx_destroy_pool(keep);
}
