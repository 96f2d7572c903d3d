
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "shim.h"

#include <jansson.h>
#include <openssl/pem.h>


int  test_failures;


void
test_result(int ok, const char *cond, const char *what, const char *file,
    int line)
{
    if (ok) {
        return;
    }

    test_failures = 1;

    fprintf(stderr, "%s:%d: failed: %s [%s]\n", file, line, cond,
            what ? what : "");
}


ngx_pool_t *
test_pool(void)
{
    ngx_pool_t  *pool;

    pool = ngx_create_pool(4096, NULL);
    if (pool == NULL) {
        abort();
    }

    return pool;
}


ngx_str_t
test_bytes(ngx_pool_t *pool, const void *data, size_t len)
{
    ngx_str_t  str;

    str.len = len;
    str.data = ngx_pnalloc(pool, len);

    if (str.data == NULL) {
        abort();
    }

    ngx_memcpy(str.data, data, len);

    return str;
}


ngx_str_t
test_text(ngx_pool_t *pool, const char *text)
{
    return test_bytes(pool, text, strlen(text));
}


ngx_uint_t
test_equal(ngx_str_t *str, const char *text)
{
    return str->len == strlen(text)
           && ngx_memcmp(str->data, text, str->len) == 0;
}


ngx_uint_t
test_contains(ngx_str_t *str, const char *text)
{
    return memmem(str->data, str->len, text, strlen(text)) != NULL;
}


char *
test_cstr(ngx_pool_t *pool, ngx_str_t *str)
{
    char  *p;

    p = ngx_pnalloc(pool, str->len + 1);
    if (p == NULL) {
        abort();
    }

    ngx_memcpy(p, str->data, str->len);
    p[str->len] = '\0';

    return p;
}


EVP_PKEY *
test_rsa(int bits)
{
    EVP_PKEY  *key;

    key = EVP_RSA_gen(bits);
    if (key == NULL) {
        abort();
    }

    return key;
}


ngx_str_t
test_pem(ngx_pool_t *pool, EVP_PKEY *key, test_pem_e form)
{
    int         rc;
    BIO        *bio;
    char       *data;
    long        len;
    ngx_str_t   pem;

    bio = BIO_new(BIO_s_mem());

    switch (form) {

    case TEST_PKCS8:
        rc = PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL);
        break;

    case TEST_PKCS1:
        rc = PEM_write_bio_PrivateKey_traditional(bio, key, NULL, NULL, 0,
                                                  NULL, NULL);
        break;

    case TEST_ENCRYPTED:
        rc = PEM_write_bio_PrivateKey(bio, key, EVP_aes_256_cbc(),
                                      (u_char *) "secret", 6, NULL, NULL);
        break;

    default: /* TEST_PUBLIC */
        rc = PEM_write_bio_PUBKEY(bio, key);
    }

    if (rc != 1) {
        abort();
    }

    len = BIO_get_mem_data(bio, &data);
    pem = test_bytes(pool, data, len);

    BIO_free(bio);

    return pem;
}


ngx_str_t
test_key_file(ngx_pool_t *pool, EVP_PKEY *key)
{
    char       *text;
    json_t     *json;
    ngx_str_t   pem, file;

    pem = test_pem(pool, key, TEST_PKCS8);

    json = json_pack("{s:s, s:s, s:s, s:s%, s:s, s:s, s:s, s:s}",
                     "type", "service_account",
                     "project_id", "demo-project",
                     "private_key_id", "0123456789abcdef",
                     "private_key", pem.data, pem.len,
                     "client_email",
                     "reader@demo-project.iam.gserviceaccount.com",
                     "client_id", "100000000000000000001",
                     "token_uri", "https://oauth2.googleapis.com/token",
                     "universe_domain", "googleapis.com");

    text = json_dumps(json, JSON_INDENT(2));
    file = test_text(pool, text);

    free(text);
    json_decref(json);

    return file;
}
