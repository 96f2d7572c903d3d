
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#ifndef _NGX_GCS_CREDENTIALS_H_INCLUDED_
#define _NGX_GCS_CREDENTIALS_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include <openssl/evp.h>


#define NGX_GCS_SCOPE_READ                                                    \
    "https://www.googleapis.com/auth/devstorage.read_only"
#define NGX_GCS_SCOPE_WRITE                                                   \
    "https://www.googleapis.com/auth/devstorage.read_write"

#define NGX_GCS_TOKEN_URI  "https://oauth2.googleapis.com/token"


typedef enum {
    NGX_GCS_SERVICE_ACCOUNT = 0
} ngx_gcs_credentials_type_e;


/* what a credential is, whatever file or directive it came from */

typedef struct {
    ngx_uint_t   type;             /* ngx_gcs_credentials_type_e */
    ngx_str_t    client_email;
    ngx_str_t    private_key_id;   /* may be empty */
    ngx_str_t    project_id;       /* may be empty, only shown */
    ngx_str_t    quota_project_id; /* may be empty, never sent by itself */
    ngx_str_t    universe_domain;  /* "googleapis.com" if not said */
    ngx_str_t    token_uri;        /* where the grant goes */
    ngx_str_t    scope;            /* separated by single spaces */
    EVP_PKEY    *key;              /* belongs to the pool of the parse */
} ngx_gcs_credentials_t;


/*
 * Reads a Google credential file, json, into cred.  cred->token_uri and
 * cred->scope win over the file when they are set before the call: so a
 * directive overrides the file, and only then may the token endpoint lie
 * outside Google's domain.  Strings are copied to pool, the key is freed
 * with it.  Returns NGX_OK; NGX_DECLINED and a text in *err (from pool) that
 * names the member and the reason, never a secret; NGX_ERROR if memory is
 * out.  json itself is not kept; wiping it is the caller's business.
 */
ngx_int_t ngx_gcs_credentials_parse(ngx_pool_t *pool, ngx_str_t *json,
    ngx_gcs_credentials_t *cred, ngx_str_t *err);

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
 * A fingerprint of all that decides which token the credential yields (type,
 * account, key id and key, scope, endpoint) into NGX_GCS_SHA256_LEN bytes at
 * digest.  Credentials with equal fingerprints share one token.
 */
ngx_int_t ngx_gcs_credentials_fingerprint(ngx_pool_t *pool,
    ngx_gcs_credentials_t *cred, u_char *digest);


#endif /* _NGX_GCS_CREDENTIALS_H_INCLUDED_ */
