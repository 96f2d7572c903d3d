
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "ngx_http_gcs.h"


/*
 * What is cached of an object must not be served once the object has been
 * written.  The key of a cache does not tell which entries there are of one
 * object (slices, kinds of clients, locations with keys of their own), and one
 * may be on its way into the cache while the object is written.  So nothing is
 * removed, but every key contains a number which grows with each write: what
 * was cached before, or was asked for before, is not found any more, and goes
 * when the cache makes room.
 *
 * The numbers are in shared memory, one for all objects whose names have the
 * same hash: nothing is allocated, nothing is ever forgotten, and there is no
 * lock.  They do not survive a restart, what is cached on disk does; so the
 * key also contains when the memory was made.
 */


#define NGX_HTTP_GCS_WRITTEN_SLOTS  1048576


typedef struct {
    uint64_t                     made;       /* milliseconds */
    ngx_atomic_t                 numbers[NGX_HTTP_GCS_WRITTEN_SLOTS];
} ngx_http_gcs_written_t;


static ngx_int_t ngx_http_gcs_written_init_zone(ngx_shm_zone_t *shm_zone,
    void *data);
static ngx_atomic_t *ngx_http_gcs_written_number(
    ngx_http_gcs_main_conf_t *gmcf, ngx_http_gcs_ctx_t *ctx, ngx_str_t *uri);
static ngx_uint_t ngx_http_gcs_written_here(ngx_http_gcs_main_conf_t *gmcf,
    ngx_gcs_object_t *object);


void
ngx_http_gcs_written_cache(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *conf)
{
    ngx_http_gcs_main_conf_t  *gmcf;

    if (conf->proxy->cache) {
        gmcf = ngx_http_conf_get_module_main_conf(cf,
                                                  ngx_http_gcs_proxy_module);
        gmcf->caches = 1;
    }
}


ngx_int_t
ngx_http_gcs_written_init(ngx_conf_t *cf, ngx_http_gcs_main_conf_t *gmcf)
{
    ngx_shm_zone_t  *shm_zone;

    /* the number is of the memory's layout */

    static ngx_str_t  name = ngx_string("gcs_written_1");

    if (gmcf->written.nelts == 0 || !gmcf->caches) {
        return NGX_OK;
    }

    /* and what the slab allocator needs */

    shm_zone = ngx_shared_memory_add(cf, &name,
                                     sizeof(ngx_http_gcs_written_t)
                                     + 64 * ngx_pagesize,
                                     &ngx_http_gcs_proxy_module);
    if (shm_zone == NULL) {
        return NGX_ERROR;
    }

    shm_zone->init = ngx_http_gcs_written_init_zone;
    shm_zone->data = gmcf;

    gmcf->written_zone = shm_zone;

    return NGX_OK;
}


/* a reload keeps the zone */

static ngx_int_t
ngx_http_gcs_written_init_zone(ngx_shm_zone_t *shm_zone, void *data)
{
    ngx_time_t              *tp;
    ngx_slab_pool_t         *shpool;
    ngx_http_gcs_written_t  *written;

    if (data) {
        return NGX_OK;
    }

    shpool = (ngx_slab_pool_t *) shm_zone->shm.addr;

    /* any numbers will do: memory that is not written to is not used */

    written = ngx_slab_alloc(shpool, sizeof(ngx_http_gcs_written_t));
    if (written == NULL) {
        return NGX_ERROR;
    }

    tp = ngx_timeofday();

    written->made = (uint64_t) tp->sec * 1000 + tp->msec;

    shpool->data = written;

    return NGX_OK;
}


void
ngx_http_gcs_written(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    ngx_uint_t                 i;
    ngx_atomic_t              *number;
    ngx_http_gcs_main_conf_t  *gmcf;

    gmcf = ngx_http_get_module_main_conf(r, ngx_http_gcs_proxy_module);

    for (i = 0; i < 2; i++) {

        number = ngx_http_gcs_written_number(gmcf, ctx, i ? &ctx->moved
                                                          : &ctx->uri);
        if (number == NULL) {
            continue;
        }

        ngx_log_debug1(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                       "http gcs written: \"%V\"", i ? &ctx->moved
                                                     : &ctx->uri);

        (void) ngx_atomic_fetch_add(number, 1);
    }
}


/*
 * A refusal of the request as such has changed nothing.  404 and 412 tell that
 * somebody else has: who asks again must not be told the old state.
 */

void
ngx_http_gcs_written_answer(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx)
{
    ctx->answered = 1;

    switch (ctx->status) {

    case NGX_HTTP_BAD_REQUEST:
    case NGX_HTTP_UNAUTHORIZED:
    case NGX_HTTP_FORBIDDEN:
    case NGX_HTTP_REQUEST_ENTITY_TOO_LARGE:
    case NGX_HTTP_TOO_MANY_REQUESTS:
        return;

    default:
        ngx_http_gcs_written(r, ctx);
    }
}


ngx_int_t
ngx_http_gcs_written_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    u_char                    *p;
    ngx_atomic_t              *number;
    ngx_http_gcs_ctx_t        *ctx;
    ngx_http_gcs_written_t    *written;
    ngx_http_gcs_main_conf_t  *gmcf;

    v->not_found = 1;

    gmcf = ngx_http_get_module_main_conf(r, ngx_http_gcs_proxy_module);
    ctx = ngx_http_get_module_ctx(r, ngx_http_gcs_proxy_module);

    if (gmcf->written_zone == NULL || ctx == NULL || !ctx->addressed
        || !ngx_http_gcs_written_here(gmcf, &ctx->object))
    {
        return NGX_OK;
    }

    number = ngx_http_gcs_written_number(gmcf, ctx, &ctx->uri);

    if (number == NULL) {
        return NGX_OK;
    }

    written = ((ngx_slab_pool_t *) gmcf->written_zone->shm.addr)->data;

    p = ngx_pnalloc(r->pool, sizeof(" w=") - 1 + 2 * 16 + sizeof(".") - 1);
    if (p == NULL) {
        return NGX_ERROR;
    }

    v->data = p;
    v->len = ngx_sprintf(p, " w=%uxL.%uxL", written->made, (uint64_t) *number)
             - p;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    return NGX_OK;
}


static ngx_atomic_t *
ngx_http_gcs_written_number(ngx_http_gcs_main_conf_t *gmcf,
    ngx_http_gcs_ctx_t *ctx, ngx_str_t *uri)
{
    uint32_t                 hash;
    ngx_slab_pool_t         *shpool;
    ngx_http_gcs_written_t  *written;

    if (gmcf->written_zone == NULL || !ctx->addressed || uri->len == 0) {
        return NULL;
    }

    shpool = (ngx_slab_pool_t *) gmcf->written_zone->shm.addr;
    written = shpool->data;

    hash = ngx_murmur_hash2(uri->data, uri->len);

    return &written->numbers[hash % NGX_HTTP_GCS_WRITTEN_SLOTS];
}


/* whether some location may write the object */

static ngx_uint_t
ngx_http_gcs_written_here(ngx_http_gcs_main_conf_t *gmcf,
    ngx_gcs_object_t *object)
{
    ngx_uint_t         i;
    ngx_gcs_object_t  *place;

    place = gmcf->written.elts;

    for (i = 0; i < gmcf->written.nelts; i++) {

        if (place[i].bucket.len == object->bucket.len
            && place[i].name.len <= object->name.len
            && ngx_memcmp(place[i].bucket.data, object->bucket.data,
                          object->bucket.len)
               == 0
            && ngx_memcmp(place[i].name.data, object->name.data,
                          place[i].name.len)
               == 0)
        {
            return 1;
        }
    }

    return 0;
}
