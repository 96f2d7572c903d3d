
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "fuzz.h"

#include <openssl/err.h>

#include "ngx_gcs_credentials.h"
#include "ngx_gcs_crypto.h"


static ngx_str_t fuzz_file(ngx_pool_t *pool, const uint8_t *data, size_t size);
static void fuzz_credentials(ngx_pool_t *pool, ngx_gcs_credentials_t *cred);
static void fuzz_field(ngx_str_t *value);


/* the key as it stands in a JSON string: with \n as two characters */
static char    pem[4096];
static size_t  pem_len;


int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    size_t       i;
    EVP_PKEY    *key;
    ngx_str_t    text;
    ngx_pool_t  *pool;

    pool = test_pool();

    /* short, to be fast */

    key = test_rsa(1024);
    text = test_pem(pool, key, TEST_PKCS8);
    EVP_PKEY_free(key);

    for (i = 0; i < text.len; i++) {

        if (text.data[i] == '\n') {
            pem[pem_len++] = '\\';
            pem[pem_len++] = 'n';

        } else {
            pem[pem_len++] = text.data[i];
        }
    }

    ngx_destroy_pool(pool);

    return 0;
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ngx_int_t                rc;
    ngx_str_t                file, err;
    ngx_pool_t              *pool;
    ngx_gcs_credentials_t    cred;

    pool = test_pool();
    file = fuzz_file(pool, data, size);

    ngx_memzero(&cred, sizeof(cred));
    ngx_str_null(&err);

    rc = ngx_gcs_credentials_parse(pool, &file, &cred, &err);

    fuzz_check(rc == NGX_OK || rc == NGX_DECLINED);
    fuzz_check(ERR_peek_error() == 0);

    if (rc == NGX_OK) {
        fuzz_credentials(pool, &cred);

    } else {
        fuzz_check(err.len > 0 && err.len <= 300);
        fuzz_check(!test_contains(&err, "PRIVATE KEY"));
        fuzz_field(&err);
    }

    ngx_destroy_pool(pool);

    return 0;
}


/* replaces the first "$KEY" by a key made for this run */

static ngx_str_t
fuzz_file(ngx_pool_t *pool, const uint8_t *data, size_t size)
{
    u_char         *p;
    size_t          head;
    ngx_str_t       file;
    const uint8_t  *mark;

    mark = size ? memmem(data, size, "$KEY", 4) : NULL;

    if (mark == NULL) {
        return test_bytes(pool, data, size);
    }

    head = mark - data;

    file.len = size - 4 + pem_len;
    file.data = ngx_pnalloc(pool, file.len);

    p = ngx_cpymem(file.data, data, head);
    p = ngx_cpymem(p, pem, pem_len);
    ngx_memcpy(p, mark + 4, size - head - 4);

    return file;
}


static void
fuzz_credentials(ngx_pool_t *pool, ngx_gcs_credentials_t *cred)
{
    u_char  digest[NGX_GCS_SHA256_LEN];

    fuzz_check(cred->type == NGX_GCS_SERVICE_ACCOUNT);
    fuzz_check(cred->key != NULL);
    fuzz_check(test_contains(&cred->client_email, "@"));
    fuzz_check(test_equal(&cred->universe_domain, "googleapis.com"));
    fuzz_check(test_equal(&cred->scope, NGX_GCS_SCOPE_READ));
    fuzz_check(ngx_gcs_credentials_url_allowed(&cred->token_uri,
                                               &cred->universe_domain));

    fuzz_field(&cred->client_email);
    fuzz_field(&cred->private_key_id);
    fuzz_field(&cred->project_id);
    fuzz_field(&cred->quota_project_id);
    fuzz_field(&cred->token_uri);

    fuzz_check(ngx_gcs_credentials_fingerprint(pool, cred, digest) == NGX_OK);
}


static void
fuzz_field(ngx_str_t *value)
{
    size_t  i;

    for (i = 0; i < value->len; i++) {
        fuzz_check(value->data[i] >= ' ' && value->data[i] < 0x7f);
    }
}
