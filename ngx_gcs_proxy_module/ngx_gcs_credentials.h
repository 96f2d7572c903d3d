
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#ifndef _NGX_GCS_CREDENTIALS_H_INCLUDED_
#define _NGX_GCS_CREDENTIALS_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include <openssl/evp.h>

#include "ngx_gcs_aws.h"
#include "ngx_gcs_crypto.h"


#define NGX_GCS_SCOPE_READ                                                    \
    "https://www.googleapis.com/auth/devstorage.read_only"
#define NGX_GCS_SCOPE_WRITE                                                   \
    "https://www.googleapis.com/auth/devstorage.read_write"

/* the least that IAM Credentials takes of a token that asks for another */
#define NGX_GCS_SCOPE_IAM                                                     \
    "https://www.googleapis.com/auth/iam"

#define NGX_GCS_UNIVERSE   "googleapis.com"

#define NGX_GCS_TOKEN_URI  "https://oauth2.googleapis.com/token"

#define NGX_GCS_METADATA_HOST  "169.254.169.254"

/* subject tokens, RFC 8693, section 3, and Google's own */
#define NGX_GCS_SUBJECT_TYPE_JWT                                              \
    "urn:ietf:params:oauth:token-type:jwt"
#define NGX_GCS_SUBJECT_TYPE_AWS                                              \
    "urn:ietf:params:aws:token-type:aws4_request"


typedef enum {
    NGX_GCS_SERVICE_ACCOUNT = 0,
    NGX_GCS_AUTHORIZED_USER,       /* a refresh token, by Google's OAuth */
    NGX_GCS_EXTERNAL_USER,         /* a refresh token, by Google's STS */
    NGX_GCS_EXTERNAL_ACCOUNT,
    NGX_GCS_METADATA_SERVER,
    NGX_GCS_HMAC_KEY
} ngx_gcs_credentials_type_e;


/* where the token comes from that another identity provider has issued */

typedef enum {
    NGX_GCS_SUBJECT_NONE = 0,
    NGX_GCS_SUBJECT_FILE,
    NGX_GCS_SUBJECT_URL,
    NGX_GCS_SUBJECT_AWS,
    NGX_GCS_SUBJECT_OUTPUT         /* a file that an executable writes */
} ngx_gcs_subject_e;


typedef struct {
    ngx_uint_t     from;           /* ngx_gcs_subject_e */
    ngx_str_t      type;           /* an URN */
    ngx_str_t      file;           /* a path, ends with '\0' */
    ngx_str_t      url;            /* of a token; of AWS's keys */
    ngx_array_t   *headers;        /* of ngx_str_t, "Name: value"; or NULL */
    ngx_str_t      member;         /* of a JSON object; empty: plain text */

    /* AWS; an empty URL is not asked */
    ngx_str_t      session_url;    /* of IMDSv2's session token */
    ngx_str_t      region_url;
    ngx_str_t      verification_url;
} ngx_gcs_subject_t;


/* what AWS tells programs by the environment; empty: not set */

typedef struct {
    ngx_gcs_aws_keys_t   keys;
    ngx_str_t            region;
    ngx_str_t            role_arn;
    ngx_str_t            role_session_name;
    ngx_str_t            web_identity_token_file;  /* ends with '\0' */
    ngx_str_t            sts_url;
    ngx_str_t            container_url;
    ngx_str_t            container_token;
    ngx_str_t            container_token_file;     /* ends with '\0' */
    ngx_str_t            metadata_url;             /* without a path */
} ngx_gcs_aws_environment_t;


/* from the token of one account to that of another */

typedef struct {
    ngx_str_t      email;
    ngx_array_t   *delegates;      /* of ngx_str_t, e-mails; or NULL */
    time_t         lifetime;       /* seconds */
} ngx_gcs_impersonation_t;


/*
 * What a credential is, whatever file or directive it came from.  What a
 * directive says stands in the second part before the file is read, and wins
 * over the file.
 *
 * One that is signing yields the token that IAM is asked with to sign for the
 * last account of its chain, not the token of that account.  This account,
 * with its delegates, is the signer then; without an impersonation it is the
 * credential's own, and the signer is NULL.
 */

typedef struct {
    ngx_uint_t                   type;   /* ngx_gcs_credentials_type_e */

    ngx_str_t                    client_email;
    ngx_str_t                    private_key_id;   /* may be empty */
    ngx_gcs_key_t               *key;    /* belongs to the pool */

    ngx_str_t                    client_id;
    ngx_str_t                    client_secret;
    ngx_str_t                    refresh_token;

    ngx_str_t                    audience;
    ngx_str_t                    user_project;     /* of a workforce pool */

    ngx_str_t                    access_id;        /* of an HMAC key */
    ngx_str_t                    secret;

    ngx_str_t                    project_id;       /* only shown */
    ngx_str_t                    quota_project_id; /* never sent by itself */
    ngx_array_t                  impersonations;   /* in their order */

    /* endpoints; those that are empty get their defaults */
    ngx_str_t                    token_uri;        /* OAuth */
    ngx_str_t                    sts_uri;
    ngx_str_t                    iam_uri;          /* without a path */
    ngx_str_t                    metadata_host;

    ngx_str_t                    universe_domain;
    ngx_str_t                    scope;  /* separated by single spaces */
    ngx_gcs_subject_t            subject;
    ngx_gcs_impersonation_t     *impersonate;      /* or NULL */
    ngx_gcs_impersonation_t     *signer;           /* see signing; or NULL */
    time_t                       lifetime;  /* of the token, 0: not said */
    ngx_gcs_aws_environment_t   *aws;              /* or NULL */
    unsigned                     scope_set:1;      /* by a directive */
    unsigned                     patient:1;  /* metadata server: may be late */
    unsigned                     signing:1;  /* asks IAM for signatures */
} ngx_gcs_credentials_t;


/*
 * Reads a Google credential file, json, into cred, whose second part is set
 * or zero; a URL that stands there may lie outside Google's domain, one in
 * the file may not.  Strings are copied to pool, the key is freed with it.
 * Returns NGX_OK; NGX_DECLINED and a text in *err (from pool) that names the
 * member and the reason, never a secret; NGX_ERROR if memory is out.  json
 * itself is not kept; wiping it is the caller's business.
 */
ngx_int_t ngx_gcs_credentials_parse(ngx_pool_t *pool, ngx_str_t *json,
    ngx_gcs_credentials_t *cred, ngx_str_t *err);

/*
 * Fills what is still empty with defaults and checks the rest, for those
 * that are not read from a file.  Returns as above.
 */
ngx_int_t ngx_gcs_credentials_complete(ngx_pool_t *pool,
    ngx_gcs_credentials_t *cred, ngx_str_t *err);

/*
 * Reads the secret of an HMAC key: 40 characters of Base64, perhaps with
 * white space around.  NGX_DECLINED: text is something else.  (Cloud Storage,
 * "HMAC keys")
 */
ngx_int_t ngx_gcs_credentials_secret(ngx_pool_t *pool, ngx_str_t *text,
    ngx_str_t *secret);

/* whether the credential belongs to the universe "googleapis.com" */
ngx_uint_t ngx_gcs_credentials_google(ngx_gcs_credentials_t *cred);

/*
 * Tells whether a URL named inside a credential file may be sent a secret:
 * https at domain or at a host below it, or http or https at loopback
 * (127.0.0.0/8, [::1], localhost).  Anything with user information, a
 * fragment, white space or a control character may not.
 */
ngx_uint_t ngx_gcs_credentials_url_allowed(ngx_str_t *url, ngx_str_t *domain);

/*
 * Tells whether a URL written in the configuration may be sent a secret:
 * https anywhere, http only at loopback.
 */
ngx_uint_t ngx_gcs_credentials_url_secure(ngx_str_t *url);

/*
 * Tells whether a URL lies at a metadata server of this machine: the
 * addresses of AWS, Azure and Google, which no router forwards, or loopback.
 */
ngx_uint_t ngx_gcs_credentials_url_local(ngx_str_t *url);

/* the same for "HOST[:PORT]", which may be Google's name for it, too */
ngx_uint_t ngx_gcs_credentials_metadata_host(ngx_str_t *host);

/*
 * A fingerprint of all that decides which token the credential yields into
 * NGX_GCS_SHA256_LEN bytes at digest.  Credentials with equal fingerprints
 * share one token.
 */
ngx_int_t ngx_gcs_credentials_fingerprint(ngx_pool_t *pool,
    ngx_gcs_credentials_t *cred, u_char *digest);


#endif /* _NGX_GCS_CREDENTIALS_H_INCLUDED_ */
