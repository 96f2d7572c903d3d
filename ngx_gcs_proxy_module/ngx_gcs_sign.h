
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#ifndef _NGX_GCS_SIGN_H_INCLUDED_
#define _NGX_GCS_SIGN_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_gcs_crypto.h"


#define NGX_GCS_SIGN_DATE_LEN     (sizeof("YYYYMMDDTHHMMSSZ") - 1)
#define NGX_GCS_SIGN_DAY_LEN      (sizeof("YYYYMMDD") - 1)

/* the longest secret that is signed with, bytes */
#define NGX_GCS_SIGN_SECRET_MAX   256

#define NGX_GCS_SIGN_UNSIGNED     "UNSIGNED-PAYLOAD"

/* the payload of a request without a body: SHA-256 of nothing */
#define NGX_GCS_SIGN_EMPTY                                                    \
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


/*
 * The names by which the signatures of Cloud Storage and of AWS differ; the
 * algorithm is one.
 */

typedef struct {
    ngx_str_t     algorithm;     /* "GOOG4-HMAC-SHA256" */
    ngx_str_t     prefix;        /* of the secret, "GOOG4" */
    ngx_str_t     location;      /* "auto" */
    ngx_str_t     service;       /* "storage" */
    ngx_str_t     terminator;    /* "goog4_request" */
} ngx_gcs_sign_dialect_t;


typedef struct {
    ngx_str_t     method;
    ngx_str_t     path;          /* escaped, as it is sent */
    ngx_str_t     query;         /* canonical, may be empty */
    ngx_array_t  *headers;       /* of ngx_keyval_t, names in lower case */
    ngx_str_t     payload;       /* a hash in hex or "UNSIGNED-PAYLOAD" */
    time_t        now;
} ngx_gcs_sign_request_t;


/* a derived key, good for one day and one dialect; zeros at the beginning */

typedef struct {
    u_char        key[NGX_GCS_SHA256_LEN];
    u_char        day[NGX_GCS_SIGN_DAY_LEN];
} ngx_gcs_sign_key_t;


/* a signed URL that is to be made; all of it is the caller's */

typedef struct {
    ngx_str_t     scheme;        /* "https" or "http", is not signed */
    ngx_str_t     host;          /* of the URL, with a port if any */
    ngx_str_t     signed_host;   /* what the header "Host" is signed with */
    ngx_str_t     path;          /* escaped, with the bucket if it is there */
    ngx_str_t     method;        /* in upper case */
    ngx_array_t  *headers;       /* of ngx_keyval_t, or NULL */
    ngx_array_t  *params;        /* of ngx_keyval_t, not encoded, or NULL */
    ngx_str_t     account;       /* an e-mail or the access ID of a key */
    ngx_str_t     location;      /* of the scope; empty: "auto" */
    time_t        now;
    time_t        expires;       /* seconds after now */

    unsigned      hmac:1;        /* GOOG4-HMAC-SHA256, not -RSA- */
} ngx_gcs_sign_url_t;


/*
 * Writes now as YYYYMMDDTHHMMSSZ, NGX_GCS_SIGN_DATE_LEN bytes; returns the
 * end of the text.
 */
u_char *ngx_gcs_sign_date(time_t now, u_char *buf);

/*
 * Makes the canonical request.  Sorts req->headers in place, fields of the
 * same name stay in their order; their values are trimmed and folded in the
 * text alone.  Returns NGX_DECLINED if the name of a header is not a token in
 * lower case or if a line of the text could be mistaken for another.
 */
ngx_int_t ngx_gcs_sign_canonical(ngx_pool_t *pool, ngx_gcs_sign_request_t *req,
    ngx_str_t *canonical);

/*
 * Makes the canonical query of params, an array of ngx_keyval_t whose names
 * and values are percent-encoded already; sorts them in place.
 */
ngx_int_t ngx_gcs_sign_query(ngx_pool_t *pool, ngx_array_t *params,
    ngx_str_t *query);

/*
 * The key that secret gives for the day of now.  Does nothing if key is that
 * day's already, so a key may be kept beside its secret.  The key is a
 * secret.  Returns NGX_DECLINED if there is no secret or a too long one.
 */
ngx_int_t ngx_gcs_sign_key(ngx_gcs_sign_dialect_t *dialect, ngx_str_t *secret,
    time_t now, ngx_gcs_sign_key_t *key);

/*
 * The value of the header "Authorization" for a request whose date header is
 * among req->headers.  key is of the day of req->now.  Returns NGX_DECLINED
 * as ngx_gcs_sign_canonical() does, or if access_id has no place in a header.
 */
ngx_int_t ngx_gcs_sign_authorization(ngx_pool_t *pool,
    ngx_gcs_sign_dialect_t *dialect, ngx_str_t *access_id,
    ngx_gcs_sign_key_t *key, ngx_gcs_sign_request_t *req,
    ngx_str_t *authorization);

/*
 * The same for Cloud Storage with an HMAC key.  cache belongs to secret and
 * keeps the derived key from one call to the next.
 */
ngx_int_t ngx_gcs_sign_hmac(ngx_pool_t *pool, ngx_str_t *access_id,
    ngx_str_t *secret, ngx_gcs_sign_key_t *cache, ngx_gcs_sign_request_t *req,
    ngx_str_t *authorization);

/*
 * Returns NGX_DECLINED for what gives no URL, or one that might work
 * otherwise than it was meant:
 *
 *   a scheme, a host, a path, a method, an account or a location with a
 *   character that has no place there;
 *   a life of less than a second or of more than seven days;
 *   a header whose value has a line break or another control character, but
 *   for a tab;
 *   the host among the headers, one that is sent hop by hop, that proxies
 *   add or rewrite, or that is another way to prove who asks;
 *   x-goog-content-sha256 twice;
 *   a parameter without a name, one of those that make a signed URL, of
 *   whichever version or dialect, or one that would put a control character
 *   into a header of the response.
 */
ngx_int_t ngx_gcs_sign_url_check(ngx_gcs_sign_url_t *url);

/*
 * Makes text, which is to be signed as it is, and the URL up to where its
 * signature follows.  Names of headers and the hosts may be of any case, the
 * lower one is signed.  Returns NGX_DECLINED as ngx_gcs_sign_url_check() and
 * ngx_gcs_sign_canonical() do.
 */
ngx_int_t ngx_gcs_sign_url_text(ngx_pool_t *pool, ngx_gcs_sign_url_t *url,
    ngx_str_t *text, ngx_str_t *unsigned_url);

/*
 * The URL with its signature, which is given in bytes.  Returns NGX_DECLINED
 * if there is none.
 */
ngx_int_t ngx_gcs_sign_url_append(ngx_pool_t *pool, ngx_str_t *unsigned_url,
    ngx_str_t *signature, ngx_str_t *result);

/* a URL signed with the key of url->account; clears url->hmac */
ngx_int_t ngx_gcs_sign_url_rsa(ngx_pool_t *pool, ngx_gcs_key_t *key,
    ngx_gcs_sign_url_t *url, ngx_str_t *result);

/*
 * The same with the secret of the access ID url->account; sets url->hmac.
 * cache is as in ngx_gcs_sign_hmac(), and may be the same one; it helps if
 * the location is "auto".  Returns NGX_DECLINED for a bad secret, too.
 */
ngx_int_t ngx_gcs_sign_url_hmac(ngx_pool_t *pool, ngx_str_t *secret,
    ngx_gcs_sign_key_t *cache, ngx_gcs_sign_url_t *url, ngx_str_t *result);


#endif /* _NGX_GCS_SIGN_H_INCLUDED_ */
