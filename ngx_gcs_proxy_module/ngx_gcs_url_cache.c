
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_gcs_url_cache.h"


#define NGX_GCS_URL_CACHE_MAGIC  0x67637501
#define NGX_GCS_URL_CACHE_WAYS   8

/* milliseconds: how much the clocks of two workers may differ, and more */
#define NGX_GCS_URL_CACHE_DRIFT  1000


#define ngx_gcs_url_cache_entries(cache)                                      \
    ((ngx_gcs_url_cache_entry_t *)                                            \
         ((ngx_gcs_url_cache_table_t *) (cache)->table + 1))

#define ngx_gcs_url_cache_tick(cache)                                         \
    (++((ngx_gcs_url_cache_table_t *) (cache)->table)->tick)


/* what is looked through is apart from the URLs, so it stays together */

typedef struct {
    u_char                        key[NGX_GCS_SHA256_LEN];
    ngx_uint_t                    used;      /* the tick of the last use */
    ngx_msec_t                    lease;     /* somebody signs until */
    ngx_msec_t                    failed;    /* when it could not be signed */
    time_t                        until;
    uint32_t                      check;
    uint32_t                      len;       /* 0: no URL */
} ngx_gcs_url_cache_entry_t;


/* at the start of the memory; the entries follow, then the URLs */

typedef struct {
    ngx_uint_t                    magic;
    ngx_uint_t                    nsets;     /* read once by each process */
    ngx_uint_t                    tick;
} ngx_gcs_url_cache_table_t;


static ngx_int_t ngx_gcs_url_cache_init(ngx_shm_zone_t *shm_zone, void *data);
static ngx_slab_pool_t *ngx_gcs_url_cache_lock(ngx_gcs_url_cache_t *cache);
static ngx_gcs_url_cache_entry_t *ngx_gcs_url_cache_find(
    ngx_gcs_url_cache_t *cache, u_char *key);
static ngx_gcs_url_cache_entry_t *ngx_gcs_url_cache_make(
    ngx_gcs_url_cache_t *cache, u_char *key);
static ngx_gcs_url_cache_entry_t *ngx_gcs_url_cache_set_of(
    ngx_gcs_url_cache_t *cache, u_char *key);
static uint32_t ngx_gcs_url_cache_check(u_char *url, uint32_t len,
    time_t until);
static ngx_uint_t ngx_gcs_url_cache_valid(ngx_gcs_url_cache_entry_t *entry);
static ngx_uint_t ngx_gcs_url_cache_busy(ngx_gcs_url_cache_entry_t *entry);
static u_char *ngx_gcs_url_cache_url(ngx_gcs_url_cache_t *cache,
    ngx_gcs_url_cache_entry_t *entry);


ngx_gcs_url_cache_t *
ngx_gcs_url_cache_add(ngx_conf_t *cf, ngx_str_t *name, size_t size, void *tag)
{
    ngx_shm_zone_t       *shm_zone;
    ngx_gcs_url_cache_t  *cache;

    shm_zone = ngx_shared_memory_add(cf, name, size, tag);
    if (shm_zone == NULL) {
        return NULL;
    }

    if (shm_zone->data) {
        return shm_zone->data;
    }

    cache = ngx_pcalloc(cf->pool, sizeof(ngx_gcs_url_cache_t));
    if (cache == NULL) {
        return NULL;
    }

    cache->shm_zone = shm_zone;

    shm_zone->init = ngx_gcs_url_cache_init;
    shm_zone->data = cache;

    return cache;
}


size_t
ngx_gcs_url_cache_min(void)
{
    /* a page of URLs at least, and what the slab allocator needs */

    return 16 * ngx_pagesize;
}


/* a reload keeps the zone, and what is in it */

static ngx_int_t
ngx_gcs_url_cache_init(ngx_shm_zone_t *shm_zone, void *data)
{
    ngx_gcs_url_cache_t *old = data;

    size_t                      size, set;
    ngx_slab_pool_t            *shpool;
    ngx_gcs_url_cache_t        *cache;
    ngx_gcs_url_cache_table_t  *table;

    cache = shm_zone->data;
    shpool = (ngx_slab_pool_t *) shm_zone->shm.addr;

    set = NGX_GCS_URL_CACHE_WAYS
          * (sizeof(ngx_gcs_url_cache_entry_t) + NGX_GCS_URL_CACHE_URL_MAX);

    if (old || shm_zone->shm.exists) {

        /*
         * It may be of another version of this module, or may have been
         * written over: then there is none.
         */

        table = shpool->data;

        if (table && table->magic == NGX_GCS_URL_CACHE_MAGIC
            && (u_char *) table > (u_char *) shpool
            && table->nsets <= (shm_zone->shm.size
                                - ((u_char *) table - (u_char *) shpool)
                                - sizeof(ngx_gcs_url_cache_table_t))
                               / set)
        {
            cache->table = table;
            cache->nsets = table->nsets;
        }

        return NGX_OK;
    }

    /* what the slab allocator has left, all in one piece */

    size = shpool->pfree * ngx_pagesize;

    table = ngx_slab_calloc(shpool, size);
    if (table == NULL) {
        return NGX_ERROR;
    }

    shpool->data = table;

    table->magic = NGX_GCS_URL_CACHE_MAGIC;
    table->nsets = (size - sizeof(ngx_gcs_url_cache_table_t)) / set;

    cache->table = table;
    cache->nsets = table->nsets;

    return NGX_OK;
}


ngx_int_t
ngx_gcs_url_cache_get(ngx_gcs_url_cache_t *cache, u_char *key,
    ngx_pool_t *pool, ngx_str_t *url, time_t *until)
{
    uint32_t                    len;
    ngx_slab_pool_t            *shpool;
    ngx_gcs_url_cache_entry_t  *entry;
    static u_char               copy[NGX_GCS_URL_CACHE_URL_MAX];

    shpool = ngx_gcs_url_cache_lock(cache);
    if (shpool == NULL) {
        return NGX_DECLINED;
    }

    len = 0;

    entry = ngx_gcs_url_cache_find(cache, key);

    if (entry && ngx_gcs_url_cache_valid(entry)) {
        entry->used = ngx_gcs_url_cache_tick(cache);

        len = entry->len;
        *until = entry->until;

        ngx_memcpy(copy, ngx_gcs_url_cache_url(cache, entry), len);

        if (entry->check != ngx_gcs_url_cache_check(copy, len, *until)) {
            entry->len = 0;
            len = 0;
        }
    }

    ngx_shmtx_unlock(&shpool->mutex);

    if (len == 0) {
        return NGX_DECLINED;
    }

    url->len = len;

    url->data = ngx_pnalloc(pool, len);
    if (url->data == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(url->data, copy, len);

    return NGX_OK;
}


ngx_int_t
ngx_gcs_url_cache_lease(ngx_gcs_url_cache_t *cache, u_char *key,
    ngx_msec_t since)
{
    ngx_int_t                   rc;
    ngx_slab_pool_t            *shpool;
    ngx_gcs_url_cache_entry_t  *entry;

    shpool = ngx_gcs_url_cache_lock(cache);
    if (shpool == NULL) {
        return NGX_OK;
    }

    rc = NGX_OK;

    entry = ngx_gcs_url_cache_find(cache, key);

    if (entry == NULL) {
        entry = ngx_gcs_url_cache_make(cache, key);

        if (entry) {
            entry->lease = ngx_current_msec + NGX_GCS_URL_CACHE_LEASE;
        }

        goto done;
    }

    if (ngx_gcs_url_cache_valid(entry)) {
        rc = NGX_DONE;

    } else if (ngx_gcs_url_cache_busy(entry)) {
        rc = NGX_AGAIN;

    } else if (entry->failed
               && (ngx_msec_int_t) (entry->failed - since) >= 0
               && (ngx_msec_int_t) (entry->failed - ngx_current_msec)
                  < NGX_GCS_URL_CACHE_DRIFT)
    {

        rc = NGX_DECLINED;

    } else {
        entry->lease = ngx_current_msec + NGX_GCS_URL_CACHE_LEASE;
        entry->failed = 0;
    }

done:

    ngx_shmtx_unlock(&shpool->mutex);

    return rc;
}


void
ngx_gcs_url_cache_renew(ngx_gcs_url_cache_t *cache, u_char *key)
{
    ngx_slab_pool_t            *shpool;
    ngx_gcs_url_cache_entry_t  *entry;

    shpool = ngx_gcs_url_cache_lock(cache);
    if (shpool == NULL) {
        return;
    }

    entry = ngx_gcs_url_cache_find(cache, key);

    if (entry && ngx_gcs_url_cache_busy(entry)) {
        entry->lease = ngx_current_msec + NGX_GCS_URL_CACHE_LEASE;
    }

    ngx_shmtx_unlock(&shpool->mutex);
}


void
ngx_gcs_url_cache_release(ngx_gcs_url_cache_t *cache, u_char *key,
    ngx_uint_t failed)
{
    ngx_slab_pool_t            *shpool;
    ngx_gcs_url_cache_entry_t  *entry;

    shpool = ngx_gcs_url_cache_lock(cache);
    if (shpool == NULL) {
        return;
    }

    entry = ngx_gcs_url_cache_find(cache, key);

    if (entry) {
        entry->lease = 0;
        entry->failed = failed ? ngx_current_msec : 0;
    }

    ngx_shmtx_unlock(&shpool->mutex);
}


ngx_int_t
ngx_gcs_url_cache_set(ngx_gcs_url_cache_t *cache, u_char *key, ngx_str_t *url,
    time_t until)
{
    uint32_t                    check;
    ngx_int_t                   rc;
    ngx_slab_pool_t            *shpool;
    ngx_gcs_url_cache_entry_t  *entry;

    rc = NGX_DECLINED;
    check = 0;

    if (url->len <= NGX_GCS_URL_CACHE_URL_MAX) {
        check = ngx_gcs_url_cache_check(url->data, url->len, until);
    }

    shpool = ngx_gcs_url_cache_lock(cache);
    if (shpool == NULL) {
        return NGX_DECLINED;
    }

    entry = ngx_gcs_url_cache_find(cache, key);

    if (entry == NULL) {
        entry = ngx_gcs_url_cache_make(cache, key);
    }

    if (entry) {
        entry->lease = 0;
        entry->failed = 0;
        entry->len = 0;

        if (url->len <= NGX_GCS_URL_CACHE_URL_MAX) {

            /* should this process be killed here, there is no URL */

            ngx_memory_barrier();

            ngx_memcpy(ngx_gcs_url_cache_url(cache, entry), url->data,
                       url->len);

            entry->until = until;
            entry->check = check;

            ngx_memory_barrier();

            entry->len = url->len;
            rc = NGX_OK;
        }
    }

    ngx_shmtx_unlock(&shpool->mutex);

    return rc;
}


/* NULL, and nothing is locked, if there is no table */

static ngx_slab_pool_t *
ngx_gcs_url_cache_lock(ngx_gcs_url_cache_t *cache)
{
    ngx_slab_pool_t  *shpool;

    if (cache->nsets == 0) {
        return NULL;
    }

    shpool = (ngx_slab_pool_t *) cache->shm_zone->shm.addr;

    ngx_shmtx_lock(&shpool->mutex);

    return shpool;
}


static ngx_gcs_url_cache_entry_t *
ngx_gcs_url_cache_find(ngx_gcs_url_cache_t *cache, u_char *key)
{
    ngx_uint_t                  i;
    ngx_gcs_url_cache_entry_t  *entry;

    entry = ngx_gcs_url_cache_set_of(cache, key);

    for (i = 0; i < NGX_GCS_URL_CACHE_WAYS; i++) {
        if (ngx_memcmp(entry[i].key, key, NGX_GCS_SHA256_LEN) == 0) {
            return &entry[i];
        }
    }

    return NULL;
}


/* NULL: all of the set are being signed */

static ngx_gcs_url_cache_entry_t *
ngx_gcs_url_cache_make(ngx_gcs_url_cache_t *cache, u_char *key)
{
    ngx_uint_t                  i;
    ngx_gcs_url_cache_entry_t  *entry, *oldest;

    entry = ngx_gcs_url_cache_set_of(cache, key);
    oldest = NULL;

    for (i = 0; i < NGX_GCS_URL_CACHE_WAYS; i++) {

        if (ngx_gcs_url_cache_busy(&entry[i])) {
            continue;
        }

        if (oldest == NULL
            || (ngx_int_t) (entry[i].used - oldest->used) < 0)
        {
            oldest = &entry[i];
        }
    }

    if (oldest) {
        ngx_memzero(oldest, sizeof(ngx_gcs_url_cache_entry_t));
        ngx_memcpy(oldest->key, key, NGX_GCS_SHA256_LEN);

        oldest->used = ngx_gcs_url_cache_tick(cache);
    }

    return oldest;
}


static ngx_gcs_url_cache_entry_t *
ngx_gcs_url_cache_set_of(ngx_gcs_url_cache_t *cache, u_char *key)
{
    uint32_t  hash;

    ngx_memcpy(&hash, key, sizeof(uint32_t));

    return ngx_gcs_url_cache_entries(cache)
           + hash % cache->nsets * NGX_GCS_URL_CACHE_WAYS;
}


/* against accidents, not against a forger: words at a time, as it is fast */

static uint32_t
ngx_gcs_url_cache_check(u_char *url, uint32_t len, time_t until)
{
    size_t    i;
    uint64_t  sum, word;

    sum = (uint64_t) until ^ ((uint64_t) len << 40);

    /* the factor is that of Knuth's multiplicative hash, the golden ratio */

    for (i = 0; i + sizeof(uint64_t) <= len; i += sizeof(uint64_t)) {
        ngx_memcpy(&word, url + i, sizeof(uint64_t));

        sum = (sum ^ word) * 0x9e3779b97f4a7c15ULL;
        sum ^= sum >> 32;
    }

    word = 0;
    ngx_memcpy(&word, url + i, len - i);

    sum = (sum ^ word) * 0x9e3779b97f4a7c15ULL;

    return (uint32_t) (sum >> 32);
}


static ngx_uint_t
ngx_gcs_url_cache_valid(ngx_gcs_url_cache_entry_t *entry)
{
    return entry->len
           && entry->len <= NGX_GCS_URL_CACHE_URL_MAX
           && entry->until > ngx_time();
}


static ngx_uint_t
ngx_gcs_url_cache_busy(ngx_gcs_url_cache_entry_t *entry)
{
    ngx_msec_int_t  left;

    left = (ngx_msec_int_t) (entry->lease - ngx_current_msec);

    /* what has gone astray makes nobody wait for ever */

    return entry->lease && left > 0
           && left <= NGX_GCS_URL_CACHE_LEASE + NGX_GCS_URL_CACHE_DRIFT;
}


static u_char *
ngx_gcs_url_cache_url(ngx_gcs_url_cache_t *cache,
    ngx_gcs_url_cache_entry_t *entry)
{
    u_char                     *urls;
    ngx_gcs_url_cache_entry_t  *entries;

    entries = ngx_gcs_url_cache_entries(cache);
    urls = (u_char *) (entries + cache->nsets * NGX_GCS_URL_CACHE_WAYS);

    return urls + (entry - entries) * NGX_GCS_URL_CACHE_URL_MAX;
}
