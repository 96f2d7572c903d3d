
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


#endif /* _NGX_GCS_SIGN_H_INCLUDED_ */
