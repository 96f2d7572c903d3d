
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "ngx_gcs_crypto.h"


/* no RSA key in PEM is ever that large, bytes */
#define NGX_GCS_CRYPTO_PEM_MAX   65536

/* shorter keys are no keys any more, bits */
#define NGX_GCS_CRYPTO_KEY_MIN   1024


static EVP_PKEY *ngx_gcs_crypto_read_key(ngx_str_t *pem, char **err);
static int ngx_gcs_crypto_password(char *buf, int size, int rwflag, void *u);
static void ngx_gcs_crypto_free_key(void *data);
static ngx_gcs_key_t *ngx_gcs_crypto_prepare_key(EVP_PKEY *pkey, char **err);
static char *ngx_gcs_crypto_check_key(ngx_pool_t *pool, ngx_gcs_key_t *key);
static ngx_int_t ngx_gcs_crypto_verify(EVP_PKEY *key, ngx_str_t *text,
    ngx_str_t *sig);
static EVP_MAC_CTX *ngx_gcs_crypto_hmac_ctx(void);
static void ngx_gcs_crypto_wipe(void *data);


/*
 * Finding an algorithm and making a context for it takes OpenSSL 3 longer
 * than to use them for a text as short as here: each process keeps its own.
 */

static struct {
    EVP_MD        *md;
    EVP_MD_CTX    *md_ctx;
    EVP_MAC_CTX   *mac_ctx;      /* prepared with the key, if it is known */
    ngx_uint_t     known;
    u_char         key[NGX_GCS_SHA256_LEN];
}  ngx_gcs_crypto_kept;


ngx_gcs_key_t *
ngx_gcs_crypto_load_key(ngx_pool_t *pool, ngx_str_t *pem, char **err)
{
    EVP_PKEY            *pkey;
    ngx_gcs_key_t       *key;
    ngx_pool_cleanup_t  *cln;

    /* first, so that there is no key that nobody frees */

    cln = ngx_pool_cleanup_add(pool, 0);
    if (cln == NULL) {
        *err = "no memory";
        return NULL;
    }

    pkey = ngx_gcs_crypto_read_key(pem, err);
    ERR_clear_error();

    if (pkey == NULL) {
        return NULL;
    }

    key = ngx_gcs_crypto_prepare_key(pkey, err);

    EVP_PKEY_free(pkey);

    if (key) {
        cln->handler = ngx_gcs_crypto_free_key;
        cln->data = key;

        *err = ngx_gcs_crypto_check_key(pool, key);
    }

    ERR_clear_error();

    return *err ? NULL : key;
}


static EVP_PKEY *
ngx_gcs_crypto_read_key(ngx_str_t *pem, char **err)
{
    BIO         *bio;
    EVP_PKEY    *key;
    ngx_uint_t   encrypted;

    if (pem->len == 0) {
        *err = "the key is empty";
        return NULL;
    }

    if (pem->len > NGX_GCS_CRYPTO_PEM_MAX) {
        *err = "the key is too large";
        return NULL;
    }

    bio = BIO_new_mem_buf(pem->data, (int) pem->len);
    if (bio == NULL) {
        *err = "no memory";
        return NULL;
    }

    encrypted = 0;

    key = PEM_read_bio_PrivateKey(bio, NULL, ngx_gcs_crypto_password,
                                  &encrypted);
    BIO_free(bio);

    if (key == NULL) {
        *err = encrypted ? "the key is encrypted"
                         : "there is no valid private key in PEM";
    }

    return key;
}


/* keeps OpenSSL from asking for a password at the terminal */

static int
ngx_gcs_crypto_password(char *buf, int size, int rwflag, void *u)
{
    ngx_uint_t  *encrypted = u;

    *encrypted = 1;

    return -1;
}


static void
ngx_gcs_crypto_free_key(void *data)
{
    EVP_PKEY_CTX_free(data);
}


/* holds a reference of pkey */

static ngx_gcs_key_t *
ngx_gcs_crypto_prepare_key(EVP_PKEY *pkey, char **err)
{
    ngx_gcs_key_t  *key;

    if (EVP_PKEY_base_id(pkey) != EVP_PKEY_RSA) {
        *err = "the key is not an RSA key";
        return NULL;
    }

    if (EVP_PKEY_bits(pkey) < NGX_GCS_CRYPTO_KEY_MIN) {
        *err = "the key is too short";
        return NULL;
    }

    *err = "no memory";

    key = EVP_PKEY_CTX_new(pkey, NULL);

    if (key
        && (EVP_PKEY_sign_init(key) <= 0
            || EVP_PKEY_CTX_set_rsa_padding(key, RSA_PKCS1_PADDING) <= 0
            || EVP_PKEY_CTX_set_signature_md(key, EVP_sha256()) <= 0))
    {
        EVP_PKEY_CTX_free(key);
        return NULL;
    }

    return key;
}


static char *
ngx_gcs_crypto_check_key(ngx_pool_t *pool, ngx_gcs_key_t *key)
{
    ngx_str_t         sig;
    static ngx_str_t  text = ngx_string("ngx_gcs_proxy_module");

    /*
     * A key with a damaged number parses well but signs badly; a trial is a
     * hundred times cheaper than EVP_PKEY_check() and its tests of primality.
     */

    if (ngx_gcs_crypto_sign(pool, key, &text, &sig) != NGX_OK
        || ngx_gcs_crypto_verify(EVP_PKEY_CTX_get0_pkey(key), &text, &sig)
           != NGX_OK)
    {
        return "the key is damaged, it makes no valid signature";
    }

    return NULL;
}


ngx_int_t
ngx_gcs_crypto_sign(ngx_pool_t *pool, ngx_gcs_key_t *key, ngx_str_t *text,
    ngx_str_t *sig)
{
    ngx_int_t       rc;
    ngx_gcs_key_t  *copy;

    sig->len = ngx_gcs_crypto_signature_len(key);

    sig->data = ngx_pnalloc(pool, sig->len);
    if (sig->data == NULL) {
        return NGX_ERROR;
    }

    copy = ngx_gcs_crypto_copy_key(key);
    if (copy == NULL) {
        return NGX_ERROR;
    }

    rc = ngx_gcs_crypto_sign_buffer(copy, text, sig);

    EVP_PKEY_CTX_free(copy);

    return rc;
}


size_t
ngx_gcs_crypto_signature_len(ngx_gcs_key_t *key)
{
    return EVP_PKEY_size(EVP_PKEY_CTX_get0_pkey(key));
}


ngx_gcs_key_t *
ngx_gcs_crypto_copy_key(ngx_gcs_key_t *key)
{
    ngx_gcs_key_t  *copy;

    copy = EVP_PKEY_CTX_dup(key);

    if (copy == NULL) {
        ERR_clear_error();
    }

    return copy;
}


ngx_int_t
ngx_gcs_crypto_sign_buffer(ngx_gcs_key_t *copy, ngx_str_t *text,
    ngx_str_t *sig)
{
    u_char  digest[NGX_GCS_SHA256_LEN];

    if (EVP_Digest(text->data, text->len, digest, NULL, EVP_sha256(), NULL)
        == 1
        && EVP_PKEY_sign(copy, sig->data, &sig->len, digest,
                         NGX_GCS_SHA256_LEN)
           == 1)
    {
        return NGX_OK;
    }

    ERR_clear_error();

    return NGX_ERROR;
}


static ngx_int_t
ngx_gcs_crypto_verify(EVP_PKEY *key, ngx_str_t *text, ngx_str_t *sig)
{
    ngx_int_t      rc;
    EVP_MD_CTX    *md;
    EVP_PKEY_CTX  *ctx;

    rc = NGX_ERROR;

    md = EVP_MD_CTX_new();
    if (md == NULL) {
        goto done;
    }

    if (EVP_DigestVerifyInit(md, &ctx, EVP_sha256(), NULL, key) <= 0
        || EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING) <= 0
        || EVP_DigestVerify(md, sig->data, sig->len, text->data, text->len)
           != 1)
    {
        goto done;
    }

    rc = NGX_OK;

done:

    EVP_MD_CTX_free(md);
    ERR_clear_error();

    return rc;
}


ngx_int_t
ngx_gcs_crypto_sha256(ngx_str_t *text, u_char *digest)
{
    EVP_MD_CTX  *ctx;

    if (ngx_gcs_crypto_kept.md == NULL) {
        ngx_gcs_crypto_kept.md = EVP_MD_fetch(NULL, "SHA256", NULL);
    }

    if (ngx_gcs_crypto_kept.md_ctx == NULL) {
        ngx_gcs_crypto_kept.md_ctx = EVP_MD_CTX_new();
    }

    ctx = ngx_gcs_crypto_kept.md_ctx;

    if (ctx
        && ngx_gcs_crypto_kept.md
        && EVP_DigestInit_ex2(ctx, ngx_gcs_crypto_kept.md, NULL) == 1
        && EVP_DigestUpdate(ctx, text->data, text->len) == 1
        && EVP_DigestFinal_ex(ctx, digest, NULL) == 1)
    {
        return NGX_OK;
    }

    ERR_clear_error();

    return NGX_ERROR;
}


ngx_int_t
ngx_gcs_crypto_public_key(ngx_pool_t *pool, ngx_gcs_key_t *key,
    ngx_str_t *der)
{
    int      len;
    u_char  *p;

    p = NULL;

    len = i2d_PUBKEY(EVP_PKEY_CTX_get0_pkey(key), &p);
    ERR_clear_error();

    if (len <= 0) {
        return NGX_ERROR;
    }

    der->data = ngx_pnalloc(pool, len);

    if (der->data == NULL) {
        OPENSSL_free(p);
        return NGX_ERROR;
    }

    ngx_memcpy(der->data, p, len);
    der->len = len;

    OPENSSL_free(p);

    return NGX_OK;
}


/* a key signs many texts, one after the other: it is prepared but once */

ngx_int_t
ngx_gcs_crypto_hmac(ngx_str_t *key, ngx_str_t *text, u_char *digest)
{
    u_char       *data;
    size_t        len;
    EVP_MAC_CTX  *ctx;

    if (ngx_gcs_crypto_kept.mac_ctx == NULL) {
        ngx_gcs_crypto_kept.mac_ctx = ngx_gcs_crypto_hmac_ctx();
    }

    ctx = ngx_gcs_crypto_kept.mac_ctx;

    data = key->len ? key->data : (u_char *) "";
    len = key->len;

    if (ngx_gcs_crypto_kept.known
        && len == NGX_GCS_SHA256_LEN
        && CRYPTO_memcmp(data, ngx_gcs_crypto_kept.key, len) == 0)
    {
        /* stands for the key of the last time */

        data = NULL;
        len = 0;
    }

    ngx_gcs_crypto_kept.known = 0;

    if (ctx
        && EVP_MAC_init(ctx, data, len, NULL) == 1
        && EVP_MAC_update(ctx, text->data, text->len) == 1
        && EVP_MAC_final(ctx, digest, &len, NGX_GCS_SHA256_LEN) == 1)
    {
        if (key->len == NGX_GCS_SHA256_LEN) {
            ngx_memcpy(ngx_gcs_crypto_kept.key, key->data, key->len);
            ngx_gcs_crypto_kept.known = 1;
        }

        return NGX_OK;
    }

    ERR_clear_error();

    return NGX_ERROR;
}


static EVP_MAC_CTX *
ngx_gcs_crypto_hmac_ctx(void)
{
    EVP_MAC      *mac;
    OSSL_PARAM    params[2];
    EVP_MAC_CTX  *ctx;

    mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    ctx = EVP_MAC_CTX_new(mac);

    EVP_MAC_free(mac);

    params[0] = OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST,
                                                 "SHA256", 0);
    params[1] = OSSL_PARAM_construct_end();

    if (ctx && EVP_MAC_CTX_set_params(ctx, params) != 1) {
        EVP_MAC_CTX_free(ctx);
        ctx = NULL;
    }

    return ctx;
}


ngx_str_t *
ngx_gcs_crypto_secret(ngx_pool_t *pool, size_t len)
{
    ngx_str_t           *secret;
    ngx_pool_cleanup_t  *cln;

    cln = ngx_pool_cleanup_add(pool, sizeof(ngx_str_t));
    if (cln == NULL) {
        return NULL;
    }

    secret = cln->data;

    secret->data = ngx_pnalloc(pool, len);
    if (secret->data == NULL) {
        return NULL;
    }

    secret->len = len;

    cln->handler = ngx_gcs_crypto_wipe;

    return secret;
}


static void
ngx_gcs_crypto_wipe(void *data)
{
    ngx_str_t  *secret = data;

    OPENSSL_cleanse(secret->data, secret->len);
}


void
ngx_gcs_crypto_forget(void *data)
{
    EVP_MD_free(ngx_gcs_crypto_kept.md);
    EVP_MD_CTX_free(ngx_gcs_crypto_kept.md_ctx);
    EVP_MAC_CTX_free(ngx_gcs_crypto_kept.mac_ctx);

    OPENSSL_cleanse(&ngx_gcs_crypto_kept, sizeof(ngx_gcs_crypto_kept));
}
