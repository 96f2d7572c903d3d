
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#ifndef _NGX_GCS_URL_CACHE_H_INCLUDED_
#define _NGX_GCS_URL_CACHE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_gcs_crypto.h"


/* a longer URL is not kept, bytes */
#define NGX_GCS_URL_CACHE_URL_MAX   1976

/* how long a right to sign lasts unless it is renewed, milliseconds */
#define NGX_GCS_URL_CACHE_LEASE     3000

/* what a URL takes of a zone's size, bytes */
#define NGX_GCS_URL_CACHE_ENTRY     2048


/*
 * Signed URLs in shared memory, for all workers.  A zone is a table of
 * entries in sets of eight, and of a set the one goes first that was used
 * last longest ago: nothing is allocated or linked, so a worker that is
 * killed half way, or a byte gone astray, costs an entry and no more.
 */

typedef struct {
    ngx_shm_zone_t    *shm_zone;
    void              *table;     /* NULL: there is none */
    ngx_uint_t         nsets;
} ngx_gcs_url_cache_t;


/*
 * The cache of that name, added if it is new; size is in bytes.  size 0:
 * there must be one of that name already.  tag is the caller's module.  NULL:
 * the fault has been logged.
 */
ngx_gcs_url_cache_t *ngx_gcs_url_cache_add(ngx_conf_t *cf, ngx_str_t *name,
    size_t size, void *tag);

/* the least size of a zone, bytes */
size_t ngx_gcs_url_cache_min(void);

/*
 * key is a digest of NGX_GCS_SHA256_LEN bytes of all that enters the URL.
 * NGX_OK: url, allocated from pool, is valid until *until, seconds since the
 * epoch; NGX_DECLINED: it is not there; NGX_ERROR: memory is out.
 */
ngx_int_t ngx_gcs_url_cache_get(ngx_gcs_url_cache_t *cache, u_char *key,
    ngx_pool_t *pool, ngx_str_t *url, time_t *until);

/*
 * Asks for the right to sign that URL, for a while.  NGX_OK:
 * granted; it ends with set() or release().  NGX_AGAIN: another worker signs
 * it.  NGX_DONE: it is there now.  NGX_DECLINED: another worker has failed
 * since the time since, of ngx_current_msec.
 */
ngx_int_t ngx_gcs_url_cache_lease(ngx_gcs_url_cache_t *cache, u_char *key,
    ngx_msec_t since);

/* prolongs the right, from now on */
void ngx_gcs_url_cache_renew(ngx_gcs_url_cache_t *cache, u_char *key);

/* gives the right back; with failed set those who wait for it have failed */
void ngx_gcs_url_cache_release(ngx_gcs_url_cache_t *cache, u_char *key,
    ngx_uint_t failed);

/* keeps the URL; NGX_DECLINED: it is too long, or there is no room */
ngx_int_t ngx_gcs_url_cache_set(ngx_gcs_url_cache_t *cache, u_char *key,
    ngx_str_t *url, time_t until);


#endif /* _NGX_GCS_URL_CACHE_H_INCLUDED_ */
