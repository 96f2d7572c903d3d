
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#ifndef _NGX_GCS_GRANT_H_INCLUDED_
#define _NGX_GCS_GRANT_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_gcs_credentials.h"


/* a token is never larger, bytes; a federated one has up to 12 KiB */
#define NGX_GCS_GRANT_TOKEN_MAX  16384


/*
 * The way from a credential to an access token, as a state machine without
 * I/O: the next request out, its response in, until there is a token.
 */


typedef struct {
    ngx_str_t       method;      /* "GET", "POST", "PUT" */
    ngx_str_t       url;
    ngx_array_t    *headers;     /* of ngx_str_t, "Name: value"; or NULL */
    ngx_str_t       body;
} ngx_gcs_request_t;


typedef struct {
    ngx_uint_t      status;      /* of HTTP */
    time_t          retry_after; /* seconds; 0 if not said */
    ngx_str_t       body;
} ngx_gcs_response_t;


typedef struct {
    ngx_pool_t              *pool;
    ngx_gcs_credentials_t   *cred;
    ngx_uint_t               state;

    /* the result */
    ngx_str_t                token;
    time_t                   lifetime;   /* seconds */

    /* of a failure: a text for the log, never with a secret */
    ngx_str_t                error;
    time_t                   retry_after;  /* seconds; 0 if not said */
} ngx_gcs_grant_t;


/*
 * Begins the exchange.  All memory comes from pool; cred must outlive the
 * grant.  Returns NULL if memory is out.
 */
ngx_gcs_grant_t *ngx_gcs_grant_create(ngx_pool_t *pool,
    ngx_gcs_credentials_t *cred);

/*
 * Fills req with the request to send now; now is seconds since the epoch.
 * Returns NGX_OK, or NGX_ERROR and grant->error.
 */
ngx_int_t ngx_gcs_grant_request(ngx_gcs_grant_t *grant, time_t now,
    ngx_gcs_request_t *req);

/*
 * Takes the response.  NGX_OK: grant->token and grant->lifetime are there.
 * NGX_AGAIN: call ngx_gcs_grant_request() for the next step.  NGX_BUSY: a
 * passing failure (408, 429, 5xx, or such a word in the answer), worth
 * another try.  NGX_DECLINED: refused, another try will not help until the
 * credential changes.  NGX_ERROR: memory is out.  All but the first two
 * leave grant->error.
 */
ngx_int_t ngx_gcs_grant_response(ngx_gcs_grant_t *grant,
    ngx_gcs_response_t *res);


#endif /* _NGX_GCS_GRANT_H_INCLUDED_ */
