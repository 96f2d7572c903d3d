
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#ifndef _NGX_GCS_GRANT_H_INCLUDED_
#define _NGX_GCS_GRANT_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_gcs_aws.h"
#include "ngx_gcs_credentials.h"


/* a token is never larger, bytes; a federated one has up to 12 KiB */
#define NGX_GCS_GRANT_TOKEN_MAX  16384

/* the longest text of an error, and name of an account, bytes */
#define NGX_GCS_GRANT_ERROR_MAX    512
#define NGX_GCS_GRANT_ACCOUNT_MAX  255

/* a refresh token is never larger, bytes */
#define NGX_GCS_GRANT_REFRESH_MAX  1024

/* nor is a signature in Base64: that of a key of 4096 bits has 684 bytes */
#define NGX_GCS_GRANT_BLOB_MAX     1368


/*
 * The way from a credential to an access token, as a state machine without
 * I/O: the next request out, its response in, until there is a token.
 */


/* a request by HTTP, or for the content of a file */

typedef struct {
    ngx_str_t       method;      /* "GET", "POST", "PUT"; of a file empty */
    ngx_str_t       url;         /* of a file: its path, ends with '\0' */
    ngx_array_t    *headers;     /* of ngx_str_t, "Name: value"; or NULL */
    ngx_str_t       body;
    ngx_msec_t      timeout;     /* if shorter than that of the conf, or 0 */
    size_t          limit;       /* no more of the body is read; or 0 */
    char          **wanted;      /* headers, a list up to NULL; or NULL */
    unsigned        direct:1;    /* never by a proxy */
    unsigned        fresh:1;     /* by a new connection */
} ngx_gcs_request_t;


typedef struct {
    ngx_uint_t      status;      /* of HTTP; 200 for a file; 0: no answer */
    time_t          retry_after; /* seconds; 0 if not said */
    ngx_str_t       body;        /* without an answer: why, for a log line */
    ngx_str_t      *headers;     /* values of those wanted; or NULL */
    unsigned        metadata:1;  /* it has "Metadata-Flavor: Google" */
} ngx_gcs_response_t;


typedef struct ngx_gcs_grant_step_s  ngx_gcs_grant_step_t;

typedef struct {
    ngx_pool_t              *pool;
    ngx_gcs_credentials_t   *cred;
    ngx_gcs_grant_step_t    *step;       /* what is to be asked next */
    time_t                   now;        /* of the request */
    ngx_uint_t               hop;        /* the next impersonation */
    ngx_str_t                held;       /* while the account is asked */
    time_t                   held_lifetime;

    /* of a federation, while it is under way */
    ngx_str_t                subject_token;
    ngx_str_t                session;    /* of AWS's metadata service */
    ngx_str_t                region;
    ngx_str_t                role;
    ngx_str_t                web_identity_token;
    ngx_str_t                container_token;
    ngx_gcs_aws_keys_t       keys;
    unsigned                 sessionless:1;

    ngx_str_t                blob;       /* to be signed; its signature */

    /* the result */
    ngx_str_t                token;
    time_t                   lifetime;   /* seconds */
    ngx_str_t                account;    /* see ngx_gcs_grant_create() */
    ngx_str_t                refresh_token;     /* likewise */

    /* of a failure: a text for the log, never with a secret */
    ngx_str_t                error;
    char                    *word;       /* the same in a word, constant */
    time_t                   retry_after;  /* seconds; 0 if not said */
} ngx_gcs_grant_t;


/*
 * Begins the exchange.  All memory comes from pool, secrets in it are wiped
 * with it; cred must outlive the grant.  The metadata server is asked for the
 * name of its account, unless the caller sets grant->account, because it
 * knows it already.  grant->refresh_token is that which an earlier answer has
 * put in the place of the credential's own; the caller sets it, and keeps
 * what it is in the end, also after a failure.  Returns NULL if memory is
 * out.
 */
ngx_gcs_grant_t *ngx_gcs_grant_create(ngx_pool_t *pool,
    ngx_gcs_credentials_t *cred);

/*
 * Begins to ask IAM Credentials for a signature of text by account, with
 * token; cred is a credential that is signing, and may name delegates.  Goes
 * on as below; in the end grant->blob is the signature, RSASSA-PKCS1-v1_5
 * with SHA-256, in bytes.  cred, account and text must outlive the grant.
 * (https://cloud.google.com/iam/docs/reference/credentials/rest/v1/
 * projects.serviceAccounts/signBlob)
 */
ngx_gcs_grant_t *ngx_gcs_grant_blob(ngx_pool_t *pool,
    ngx_gcs_credentials_t *cred, ngx_str_t *account, ngx_str_t *token,
    ngx_str_t *text);

/*
 * Fills req, zeroed by the caller, with the request to send now; now is
 * seconds since the epoch.  Returns NGX_OK; NGX_DONE, grant->token is there
 * without a request; or NGX_ERROR and grant->error.
 */
ngx_int_t ngx_gcs_grant_request(ngx_gcs_grant_t *grant, time_t now,
    ngx_gcs_request_t *req);

/* whether who did not answer may come late, and is worth waiting for */
ngx_uint_t ngx_gcs_grant_patient(ngx_gcs_grant_t *grant);

/*
 * Takes the response.  NGX_OK: grant->token and grant->lifetime are there.
 * NGX_AGAIN: call ngx_gcs_grant_request() for the next step.  NGX_BUSY: a
 * passing failure (no answer, 408, 429, 5xx, or such a word in the answer),
 * worth another try.  NGX_DECLINED: refused, another try will not help until
 * the credential changes.  NGX_ERROR: memory is out.  All but the first two
 * leave grant->error and grant->word.
 */
ngx_int_t ngx_gcs_grant_response(ngx_gcs_grant_t *grant,
    ngx_gcs_response_t *res);


#endif /* _NGX_GCS_GRANT_H_INCLUDED_ */
