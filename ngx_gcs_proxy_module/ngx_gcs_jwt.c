
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include <jansson.h>
#include <openssl/crypto.h>

#include "ngx_gcs_crypto.h"
#include "ngx_gcs_jwt.h"


static char *ngx_gcs_jwt_header(ngx_gcs_credentials_t *cred);
static ngx_int_t ngx_gcs_jwt_make(ngx_pool_t *pool,
    ngx_gcs_credentials_t *cred, char *name, ngx_str_t *value,
    ngx_str_t *scope, time_t now, ngx_str_t *jwt);
static char *ngx_gcs_jwt_claims(ngx_gcs_credentials_t *cred, char *name,
    ngx_str_t *value, ngx_str_t *scope, time_t now);
static ngx_int_t ngx_gcs_jwt_sign(ngx_pool_t *pool, ngx_gcs_key_t *key,
    char *header, char *claims, ngx_str_t *jwt);
static u_char *ngx_gcs_jwt_encode(u_char *dst, u_char *src, size_t size);


ngx_int_t
ngx_gcs_jwt_assertion(ngx_pool_t *pool, ngx_gcs_credentials_t *cred,
    ngx_str_t *scope, time_t now, ngx_str_t *jwt)
{
    return ngx_gcs_jwt_make(pool, cred, "aud", &cred->token_uri, scope, now,
                            jwt);
}


ngx_int_t
ngx_gcs_jwt_self_signed(ngx_pool_t *pool, ngx_gcs_credentials_t *cred,
    ngx_str_t *scope, time_t now, ngx_str_t *jwt)
{
    return ngx_gcs_jwt_make(pool, cred, "sub", &cred->client_email, scope, now,
                            jwt);
}


static ngx_int_t
ngx_gcs_jwt_make(ngx_pool_t *pool, ngx_gcs_credentials_t *cred, char *name,
    ngx_str_t *value, ngx_str_t *scope, time_t now, ngx_str_t *jwt)
{
    char       *header, *claims;
    ngx_int_t   rc;

    if (cred->key == NULL) {
        return NGX_ERROR;
    }

    header = ngx_gcs_jwt_header(cred);
    claims = ngx_gcs_jwt_claims(cred, name, value, scope, now);

    if (header == NULL || claims == NULL) {
        rc = NGX_ERROR;

    } else {
        rc = ngx_gcs_jwt_sign(pool, cred->key, header, claims, jwt);
    }

    free(header);
    free(claims);

    return rc;
}


/* both texts come from jansson, hence free() */

static char *
ngx_gcs_jwt_header(ngx_gcs_credentials_t *cred)
{
    char    *text;
    json_t  *json;

    json = json_pack("{s:s, s:s}", "alg", "RS256", "typ", "JWT");
    if (json == NULL) {
        return NULL;
    }

    text = NULL;

    if (cred->private_key_id.len == 0
        || json_object_set_new(json, "kid",
                             json_stringn((char *) cred->private_key_id.data,
                                          cred->private_key_id.len))
           == 0)
    {
        text = json_dumps(json, JSON_COMPACT);
    }

    json_decref(json);

    return text;
}


static char *
ngx_gcs_jwt_claims(ngx_gcs_credentials_t *cred, char *name, ngx_str_t *value,
    ngx_str_t *scope, time_t now)
{
    char    *text;
    json_t  *json;

    json = json_pack("{s:s%, s:s%, s:s%, s:I, s:I}",
                     "iss", cred->client_email.data, cred->client_email.len,
                     "scope", scope->data, scope->len,
                     name, value->data, value->len,
                     "iat", (json_int_t) now,
                     "exp", (json_int_t) now + NGX_GCS_JWT_LIFETIME);
    if (json == NULL) {
        return NULL;
    }

    text = json_dumps(json, JSON_COMPACT);

    json_decref(json);

    return text;
}


static ngx_int_t
ngx_gcs_jwt_sign(ngx_pool_t *pool, ngx_gcs_key_t *key, char *header,
    char *claims, ngx_str_t *jwt)
{
    size_t      len;
    u_char     *p;
    ngx_str_t   sig, text, *secret;

    len = ngx_base64_encoded_length(ngx_strlen(header)) + sizeof(".") - 1
          + ngx_base64_encoded_length(ngx_strlen(claims)) + sizeof(".") - 1
          + ngx_base64_encoded_length(ngx_gcs_crypto_signature_len(key));

    secret = ngx_gcs_crypto_secret(pool, len);
    if (secret == NULL) {
        return NGX_ERROR;
    }

    text.data = secret->data;

    p = ngx_gcs_jwt_encode(text.data, (u_char *) header, ngx_strlen(header));
    *p++ = '.';
    p = ngx_gcs_jwt_encode(p, (u_char *) claims, ngx_strlen(claims));

    text.len = p - text.data;

    if (ngx_gcs_crypto_sign(pool, key, &text, &sig) != NGX_OK) {
        return NGX_ERROR;
    }

    *p++ = '.';
    p = ngx_gcs_jwt_encode(p, sig.data, sig.len);

    OPENSSL_cleanse(sig.data, sig.len);

    jwt->len = p - text.data;
    jwt->data = text.data;

    return NGX_OK;
}


/* base64url without padding; returns the end of the text */

static u_char *
ngx_gcs_jwt_encode(u_char *dst, u_char *src, size_t size)
{
    ngx_str_t  in, out;

    in.len = size;
    in.data = src;

    out.data = dst;

    ngx_encode_base64url(&out, &in);

    return dst + out.len;
}
