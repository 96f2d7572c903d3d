
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#ifndef _NGX_GCS_CRYPTO_H_INCLUDED_
#define _NGX_GCS_CRYPTO_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include <openssl/evp.h>


#define NGX_GCS_SHA256_LEN  32


/*
 * A private key, with all that OpenSSL has to look up before it can sign with
 * it: that is done once.
 */

typedef EVP_PKEY_CTX  ngx_gcs_key_t;


/*
 * Loads an RSA private key in PEM, PKCS#8 or PKCS#1, never encrypted.  The
 * key belongs to pool: a cleanup of it frees the key.  Returns NULL and a
 * constant string in *err that says what is wrong and quotes nothing of the
 * key.  No function of this file leaves an entry in OpenSSL's error queue.
 */
ngx_gcs_key_t *ngx_gcs_crypto_load_key(ngx_pool_t *pool, ngx_str_t *pem,
    char **err);

/*
 * Signs text with RSASSA-PKCS1-v1_5 and SHA-256 (RFC 8017, 8.2); sig is
 * allocated from pool.
 */
ngx_int_t ngx_gcs_crypto_sign(ngx_pool_t *pool, ngx_gcs_key_t *key,
    ngx_str_t *text, ngx_str_t *sig);

/* how long a signature by key is, bytes */
size_t ngx_gcs_crypto_signature_len(ngx_gcs_key_t *key);

/*
 * A copy of key that ngx_gcs_crypto_sign_buffer() may use once, and that is
 * freed by EVP_PKEY_CTX_free(); the key itself may go before.  NULL: memory
 * is out.
 */
ngx_gcs_key_t *ngx_gcs_crypto_copy_key(ngx_gcs_key_t *key);

/*
 * Signs into sig->data, which has room for sig->len bytes, enough for any
 * signature by key; sets sig->len.  The one function of this file that may be
 * called from any thread, with a copy of the key.
 */
ngx_int_t ngx_gcs_crypto_sign_buffer(ngx_gcs_key_t *copy, ngx_str_t *text,
    ngx_str_t *sig);

/* SHA-256 of text into NGX_GCS_SHA256_LEN bytes at digest */
ngx_int_t ngx_gcs_crypto_sha256(ngx_str_t *text, u_char *digest);

/* the public half of key as SubjectPublicKeyInfo in DER, from pool */
ngx_int_t ngx_gcs_crypto_public_key(ngx_pool_t *pool, ngx_gcs_key_t *key,
    ngx_str_t *der);

/* HMAC-SHA256 of text under key into NGX_GCS_SHA256_LEN bytes at digest */
ngx_int_t ngx_gcs_crypto_hmac(ngx_str_t *key, ngx_str_t *text, u_char *digest);

/*
 * Frees what is kept from one call to the next; what is needed again is made
 * again.  A handler of a pool's cleanup, data is not used.
 */
void ngx_gcs_crypto_forget(void *data);

/*
 * Memory for a secret of len bytes, which is wiped when the pool goes; NULL
 * if memory is out.
 */
ngx_str_t *ngx_gcs_crypto_secret(ngx_pool_t *pool, size_t len);


#endif /* _NGX_GCS_CRYPTO_H_INCLUDED_ */
