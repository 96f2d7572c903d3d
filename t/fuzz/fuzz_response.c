
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "fuzz.h"

#include "ngx_gcs_grant.h"


static void fuzz_token(ngx_gcs_grant_t *grant);
static void fuzz_error(ngx_gcs_grant_t *grant);


int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    return 0;
}


/* the first line of the input is the status, as a number; then the body */

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    u_char                  *p;
    ngx_int_t                rc;
    ngx_str_t                text;
    ngx_pool_t              *pool;
    ngx_gcs_grant_t         *grant;
    ngx_gcs_response_t       res;
    ngx_gcs_credentials_t    cred;

    if (size < 4) {
        return 0;
    }

    pool = test_pool();
    text = test_bytes(pool, data, size);
    p = text.data;

    ngx_memzero(&cred, sizeof(cred));

    res.status = (p[0] - '0') % 10 * 100 + (p[1] - '0') % 10 * 10
                 + (p[2] - '0') % 10;
    res.retry_after = 0;
    res.body = test_bytes(pool, p + 4, size - 4);

    grant = ngx_gcs_grant_create(pool, &cred);

    rc = ngx_gcs_grant_response(grant, &res);

    switch (rc) {

    case NGX_OK:
        fuzz_check(res.status == 200);
        fuzz_token(grant);
        break;

    case NGX_BUSY:
    case NGX_DECLINED:
        fuzz_check(grant->token.len == 0);
        fuzz_error(grant);
        break;

    default:
        fuzz_check(0);
    }

    ngx_destroy_pool(pool);

    return 0;
}


static void
fuzz_token(ngx_gcs_grant_t *grant)
{
    size_t  i;

    fuzz_check(grant->token.len > 0 && grant->token.len <= 16384);
    fuzz_check(grant->lifetime > 0 && grant->lifetime <= 43200);
    fuzz_check(grant->error.len == 0);

    for (i = 0; i < grant->token.len; i++) {
        fuzz_check(memchr("ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                          "abcdefghijklmnopqrstuvwxyz"
                          "0123456789-._~+/=", grant->token.data[i], 69)
                   != NULL);
    }
}


static void
fuzz_error(ngx_gcs_grant_t *grant)
{
    size_t  i;

    fuzz_check(grant->error.len > 0 && grant->error.len <= 300);

    for (i = 0; i < grant->error.len; i++) {
        fuzz_check(grant->error.data[i] >= ' ' && grant->error.data[i] < 0x7f);
    }

    fuzz_check(!test_contains(&grant->error, "\"ya29."));
    fuzz_check(!test_contains(&grant->error, " ya29."));
}
