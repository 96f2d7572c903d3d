
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#ifndef _NGX_GCS_JWT_H_INCLUDED_
#define _NGX_GCS_JWT_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_gcs_credentials.h"


/* Google accepts no assertion that lives longer, seconds */
#define NGX_GCS_JWT_LIFETIME  3600


/*
 * Makes the assertion of the JWT-bearer grant (RFC 7523; RS256, RFC 7518
 * 3.3): issued at now (seconds since the epoch), valid for an hour, for the
 * audience cred->token_uri and the scopes, separated by spaces.  jwt is
 * allocated from pool; it is a secret.
 */
ngx_int_t ngx_gcs_jwt_assertion(ngx_pool_t *pool, ngx_gcs_credentials_t *cred,
    ngx_str_t *scope, time_t now, ngx_str_t *jwt);

/*
 * The same as a token by itself, for APIs instead of a token endpoint: with
 * the account as subject, and without an audience.
 * (https://google.aip.dev/auth/4111)
 */
ngx_int_t ngx_gcs_jwt_self_signed(ngx_pool_t *pool,
    ngx_gcs_credentials_t *cred, ngx_str_t *scope, time_t now,
    ngx_str_t *jwt);


#endif /* _NGX_GCS_JWT_H_INCLUDED_ */
