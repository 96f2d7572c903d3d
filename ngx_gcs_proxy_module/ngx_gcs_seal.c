
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include "ngx_gcs_seal.h"


static ngx_int_t ngx_gcs_seal_run(u_char *key, u_char *nonce, u_char *tag,
    ngx_str_t *from, u_char *to, int encrypt);


ngx_int_t
ngx_gcs_seal(ngx_pool_t *pool, u_char *key, ngx_str_t *text,
    ngx_str_t *sealed)
{
    u_char  *p;

    sealed->len = NGX_GCS_SEAL_NONCE + text->len + NGX_GCS_SEAL_TAG;

    p = ngx_pnalloc(pool, sealed->len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    sealed->data = p;

    if (ngx_gcs_seal_random(p, NGX_GCS_SEAL_NONCE) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_gcs_seal_run(key, p, p + NGX_GCS_SEAL_NONCE + text->len, text,
                            p + NGX_GCS_SEAL_NONCE, 1);
}


ngx_int_t
ngx_gcs_unseal(ngx_pool_t *pool, u_char *key, ngx_str_t *sealed,
    ngx_str_t *text)
{
    u_char     *p;
    ngx_str_t   from;

    if (sealed->len < NGX_GCS_SEAL_NONCE + NGX_GCS_SEAL_TAG) {
        return NGX_DECLINED;
    }

    p = sealed->data;

    from.data = p + NGX_GCS_SEAL_NONCE;
    from.len = sealed->len - NGX_GCS_SEAL_NONCE - NGX_GCS_SEAL_TAG;

    text->len = from.len;

    text->data = ngx_pnalloc(pool, text->len);
    if (text->data == NULL) {
        return NGX_ERROR;
    }

    if (ngx_gcs_seal_run(key, p, from.data + from.len, &from, text->data, 0)
        != NGX_OK)
    {
        return NGX_DECLINED;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_gcs_seal_run(u_char *key, u_char *nonce, u_char *tag, ngx_str_t *from,
    u_char *to, int encrypt)
{
    int              len;
    ngx_int_t        rc;
    EVP_CIPHER_CTX  *ctx;

    ctx = EVP_CIPHER_CTX_new();
    if (ctx == NULL) {
        return NGX_ERROR;
    }

    rc = NGX_ERROR;

    if (EVP_CipherInit_ex(ctx, EVP_aes_256_gcm(), NULL, key, nonce, encrypt)
        != 1
        || EVP_CipherUpdate(ctx, to, &len, from->data, (int) from->len) != 1)
    {
        goto done;
    }

    if (!encrypt
        && EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, NGX_GCS_SEAL_TAG,
                               tag)
           != 1)
    {
        goto done;
    }

    /* writes nothing more in this mode, but compares the tag */

    if (EVP_CipherFinal_ex(ctx, to + len, &len) != 1) {
        goto done;
    }

    if (encrypt
        && EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, NGX_GCS_SEAL_TAG,
                               tag)
           != 1)
    {
        goto done;
    }

    rc = NGX_OK;

done:

    EVP_CIPHER_CTX_free(ctx);
    ERR_clear_error();

    return rc;
}


ngx_int_t
ngx_gcs_seal_random(u_char *buf, size_t len)
{
    if (RAND_bytes(buf, (int) len) == 1) {
        return NGX_OK;
    }

    ERR_clear_error();

    return NGX_ERROR;
}
