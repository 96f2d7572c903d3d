
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#ifndef _NGX_GCS_SEAL_H_INCLUDED_
#define _NGX_GCS_SEAL_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


/* AES-256 in Galois/counter mode (NIST SP 800-38D), bytes */
#define NGX_GCS_SEAL_KEY    32
#define NGX_GCS_SEAL_NONCE  12
#define NGX_GCS_SEAL_TAG    16


/*
 * Text that lies where others might read it or write over it: sealed under a
 * key of NGX_GCS_SEAL_KEY bytes, with a nonce of its own in front of it and a
 * tag behind.  sealed is allocated from pool.  NGX_ERROR: memory is out, or
 * there is no randomness.
 */
ngx_int_t ngx_gcs_seal(ngx_pool_t *pool, u_char *key, ngx_str_t *text,
    ngx_str_t *sealed);

/*
 * Takes it apart again; text is allocated from pool.  NGX_DECLINED: it was
 * sealed under another key, or has been changed.
 */
ngx_int_t ngx_gcs_unseal(ngx_pool_t *pool, u_char *key, ngx_str_t *sealed,
    ngx_str_t *text);

/* len random bytes, fit for a key.  NGX_ERROR: there are none */
ngx_int_t ngx_gcs_seal_random(u_char *buf, size_t len);


#endif /* _NGX_GCS_SEAL_H_INCLUDED_ */
