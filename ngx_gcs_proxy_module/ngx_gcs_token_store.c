
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_gcs_token_zone.h"


/* to be changed with the meaning or the order of the slot's members */
#define NGX_GCS_TOKEN_ZONE_MAGIC  0x67637304


/* at the start of the zone's memory; the slots follow */

typedef struct {
    ngx_uint_t               magic;
    size_t                   slot_size;
    ngx_uint_t               nslots;
    ngx_gcs_token_slot_t     slots[1];
} ngx_gcs_token_zone_t;


static ngx_int_t ngx_gcs_token_zone_init(ngx_shm_zone_t *shm_zone,
    void *data);
static ngx_slab_pool_t *ngx_gcs_token_zone_old(ngx_shm_zone_t *shm_zone);
static void ngx_gcs_token_zone_inherit(ngx_gcs_token_zone_t *zone,
    ngx_slab_pool_t *shpool);
static void ngx_gcs_token_zone_copy(ngx_gcs_token_slot_t *slot,
    ngx_gcs_token_slot_t *old);


static ngx_str_t  ngx_gcs_token_zone_name = ngx_string("gcs_proxy");


ngx_int_t
ngx_gcs_token_store_init(ngx_conf_t *cf, ngx_gcs_token_store_t *store)
{
    ngx_memzero(store, sizeof(ngx_gcs_token_store_t));

    store->log = cf->cycle->log;

    if (ngx_array_init(&store->sources, cf->pool, 4,
                       sizeof(ngx_gcs_source_t *))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_array_init(&store->tokens, cf->pool, 4,
                          sizeof(ngx_gcs_token_t *));
}


ngx_gcs_token_t *
ngx_gcs_token_add(ngx_conf_t *cf, ngx_gcs_token_store_t *store,
    ngx_gcs_source_t *source, ngx_gcs_fetch_conf_t *conf)
{
    u_char             id[NGX_GCS_SHA256_LEN];
    size_t             prefix, size;
    u_char            *text, *buffers;
    ngx_str_t         *file;
    ngx_uint_t         i;
    ngx_gcs_token_t   *token, **tokens;

    prefix = sizeof(NGX_GCS_TOKEN_BEARER) - 1;
    size = prefix + NGX_GCS_TOKEN_MAX;

    if (ngx_gcs_credentials_fingerprint(cf->temp_pool, source->cred, id)
        != NGX_OK)
    {
        return NULL;
    }

    tokens = store->tokens.elts;

    for (i = 0; i < store->tokens.nelts; i++) {
        file = &tokens[i]->source->file;

        /* two files may differ one day */

        if (ngx_memcmp(tokens[i]->id, id, NGX_GCS_SHA256_LEN) == 0
            && file->len == source->file.len
            && ngx_strncmp(file->data, source->file.data, file->len) == 0)
        {
            return tokens[i];
        }
    }

    token = ngx_pcalloc(cf->pool, sizeof(ngx_gcs_token_t));
    if (token == NULL) {
        return NULL;
    }

    /*
     * The workers' copies are allocated here, so that nothing can fail later;
     * they take real memory when they are first written to.
     */

    text = ngx_pnalloc(cf->pool,
                       NGX_GCS_TOKEN_ERROR_MAX + NGX_GCS_TOKEN_WORD_MAX
                       + NGX_GCS_GRANT_ACCOUNT_MAX);
    if (text == NULL) {
        return NULL;
    }

    buffers = ngx_palloc(cf->pool, 2 * size);
    if (buffers == NULL) {
        return NULL;
    }

    ngx_memcpy(buffers, NGX_GCS_TOKEN_BEARER, prefix);
    ngx_memcpy(buffers + size, NGX_GCS_TOKEN_BEARER, prefix);

    tokens = ngx_array_push(&store->tokens);
    if (tokens == NULL) {
        return NULL;
    }

    *tokens = token;

    token->source = source;
    token->conf = conf;
    token->store = store;
    token->error.data = text;
    token->word.data = text + NGX_GCS_TOKEN_ERROR_MAX;
    token->account.data = token->word.data + NGX_GCS_TOKEN_WORD_MAX;
    token->buffers[0] = buffers + prefix;
    token->buffers[1] = buffers + size + prefix;

    ngx_memcpy(token->id, id, NGX_GCS_SHA256_LEN);
    ngx_queue_init(&token->waiters);

    return token;
}


ngx_int_t
ngx_gcs_token_watch(ngx_gcs_token_store_t *store, ngx_gcs_source_t *source)
{
    ngx_gcs_source_t  **watched;

    watched = ngx_array_push(&store->sources);
    if (watched == NULL) {
        return NGX_ERROR;
    }

    *watched = source;

    return NGX_OK;
}


ngx_int_t
ngx_gcs_token_store_zone(ngx_conf_t *cf, ngx_gcs_token_store_t *store,
    void *tag)
{
    size_t       size;
    ngx_uint_t   pages;

    if (store->tokens.nelts == 0) {
        return NGX_OK;
    }

    size = sizeof(ngx_gcs_token_zone_t)
           + store->tokens.nelts * sizeof(ngx_gcs_token_slot_t);

    /* and what the slab allocator needs for itself */

    pages = size / ngx_pagesize + 1;
    size = (pages + 8) * ngx_pagesize + pages * sizeof(ngx_slab_page_t);

    store->shm_zone = ngx_shared_memory_add(cf, &ngx_gcs_token_zone_name,
                                            size, tag);
    if (store->shm_zone == NULL) {
        return NGX_ERROR;
    }

    /* what is in the zone follows from the configuration */

    store->shm_zone->noreuse = 1;
    store->shm_zone->init = ngx_gcs_token_zone_init;
    store->shm_zone->data = store;

    return NGX_OK;
}


static ngx_int_t
ngx_gcs_token_zone_init(ngx_shm_zone_t *shm_zone, void *data)
{
    size_t                  size;
    ngx_uint_t              i, n;
    ngx_slab_pool_t        *shpool, *old;
    ngx_gcs_token_t       **tokens;
    ngx_gcs_token_zone_t   *zone;
    ngx_gcs_token_store_t  *store;

    store = shm_zone->data;
    shpool = (ngx_slab_pool_t *) shm_zone->shm.addr;

    n = store->tokens.nelts;
    size = sizeof(ngx_gcs_token_zone_t) + n * sizeof(ngx_gcs_token_slot_t);

    zone = ngx_slab_calloc(shpool, size);
    if (zone == NULL) {
        return NGX_ERROR;
    }

    zone->magic = NGX_GCS_TOKEN_ZONE_MAGIC;
    zone->slot_size = sizeof(ngx_gcs_token_slot_t);
    zone->nslots = n;

    shpool->data = zone;

    tokens = store->tokens.elts;

    for (i = 0; i < n; i++) {
        tokens[i]->slot = &zone->slots[i];
        zone->slots[i].told = tokens[i]->source->stamp;
        ngx_memcpy(zone->slots[i].id, tokens[i]->id, NGX_GCS_SHA256_LEN);
    }

    old = ngx_gcs_token_zone_old(shm_zone);
    if (old) {
        ngx_gcs_token_zone_inherit(zone, old);
    }

    return NGX_OK;
}


/*
 * nginx hands no old data to the init handler of a "noreuse" zone, but while
 * zones are being initialized ngx_cycle is still the old cycle.
 */

static ngx_slab_pool_t *
ngx_gcs_token_zone_old(ngx_shm_zone_t *shm_zone)
{
    ngx_str_t        *name;
    ngx_uint_t        i;
    ngx_shm_zone_t   *old;
    ngx_list_part_t  *part;

    part = (ngx_list_part_t *) &ngx_cycle->shared_memory.part;
    old = part->elts;

    for (i = 0; /* void */ ; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                return NULL;
            }

            part = part->next;
            old = part->elts;
            i = 0;
        }

        name = &old[i].shm.name;

        if (name->len == shm_zone->shm.name.len
            && ngx_strncmp(name->data, shm_zone->shm.name.data, name->len)
               == 0)
        {
            break;
        }
    }

    return (ngx_slab_pool_t *) old[i].shm.addr;
}


static void
ngx_gcs_token_zone_inherit(ngx_gcs_token_zone_t *zone,
    ngx_slab_pool_t *shpool)
{
    ngx_uint_t             i, n;
    ngx_gcs_token_slot_t  *slot, *old;
    ngx_gcs_token_zone_t  *from;

    /*
     * A worker that was killed with the lock held would stop the master
     * here for ever: in this case there is simply nothing to inherit.
     */

    for (i = 0; !ngx_shmtx_trylock(&shpool->mutex); i++) {
        if (i == 100) {
            return;
        }

        ngx_msleep(1);
    }

    from = shpool->data;

    /* the old zone may be of another version of this module */

    if (from == NULL
        || from->magic != zone->magic
        || from->slot_size != zone->slot_size)
    {
        goto done;
    }

    for (i = 0; i < zone->nslots; i++) {
        slot = &zone->slots[i];

        for (n = 0; n < from->nslots; n++) {
            old = &from->slots[n];

            if (ngx_memcmp(slot->id, old->id, NGX_GCS_SHA256_LEN) == 0) {
                ngx_gcs_token_zone_copy(slot, old);
                break;
            }
        }
    }

done:

    ngx_shmtx_unlock(&shpool->mutex);
}


static void
ngx_gcs_token_zone_copy(ngx_gcs_token_slot_t *slot,
    ngx_gcs_token_slot_t *old)
{
    /*
     * Neither the lease, its holder works for the old zone, nor the back-off:
     * one reloads to have another try.
     */

    slot->generation = old->generation;
    slot->rejected = old->rejected;
    slot->fetched = old->fetched;
    slot->fetches = old->fetches;
    slot->errors = old->errors;
    slot->file = old->file;
    slot->subject = old->subject;
    slot->account_len = old->account_len;
    slot->refresh_len = old->refresh_len;

    ngx_memcpy(slot->account, old->account, old->account_len);
    ngx_memcpy(slot->refresh_token, old->refresh_token, old->refresh_len);

    if (old->len == 0 || ngx_gcs_token_passed(old->deadline)) {
        return;
    }

    slot->deadline = old->deadline;
    slot->refresh = old->refresh;
    slot->expires = old->expires;
    slot->len = old->len;

    ngx_memcpy(slot->data, old->data, old->len);

    /* no process reads it yet */

    slot->version++;
}
