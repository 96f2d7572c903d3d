
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_gcs_token_zone.h"


#define NGX_GCS_TOKEN_MARGIN      225000    /* what Google's clients use */
#define NGX_GCS_TOKEN_REJECT      5000
#define NGX_GCS_TOKEN_POSTPONE    500
#define NGX_GCS_TOKEN_BACKOFF     60        /* seconds, the longest */


static ngx_slab_pool_t *ngx_gcs_token_zone_pool(ngx_gcs_token_t *token);
static void ngx_gcs_token_zone_publish(ngx_gcs_token_slot_t *slot);
static void ngx_gcs_token_zone_keep(ngx_gcs_token_t *token);


static ngx_slab_pool_t *
ngx_gcs_token_zone_pool(ngx_gcs_token_t *token)
{
    return (ngx_slab_pool_t *) token->store->shm_zone->shm.addr;
}


static void
ngx_gcs_token_zone_publish(ngx_gcs_token_slot_t *slot)
{
    /* who sees the new version and takes the lock sees all the rest */

    ngx_memory_barrier();

    slot->version++;
}


void
ngx_gcs_token_zone_sync(ngx_gcs_token_t *token)
{
    u_char                *p;
    ngx_slab_pool_t       *shpool;
    ngx_gcs_token_slot_t  *slot;

    slot = token->slot;

    if (slot->version == token->version) {
        return;
    }

    shpool = ngx_gcs_token_zone_pool(token);

    ngx_shmtx_lock(&shpool->mutex);

    if (slot->generation != token->generation && slot->len) {

        /*
         * Nobody uses the other buffer any more, unless the token changes
         * twice in the same turn of the event loop; then the second change
         * is seen in the next turn.
         */

        if (token->copied && token->copied == ngx_current_msec) {
            ngx_shmtx_unlock(&shpool->mutex);
            return;
        }

        p = token->buffers[1];
        token->buffers[1] = token->buffers[0];
        token->buffers[0] = p;

        token->value.data = p;
        token->value.len = slot->len;
        token->generation = slot->generation;
        token->copied = ngx_current_msec;

        ngx_memcpy(p, slot->data, slot->len);
    }

    /* without a token only if a writer was killed half way */

    token->deadline = slot->len ? slot->deadline : 0;
    token->refresh = slot->refresh;
    token->failures = slot->failures;
    token->errors = slot->errors;

    token->error.len = slot->error_len;
    ngx_memcpy(token->error.data, slot->error, slot->error_len);

    token->word.len = slot->word_len;
    ngx_memcpy(token->word.data, slot->word, slot->word_len);

    token->account.len = slot->account_len;
    ngx_memcpy(token->account.data, slot->account, slot->account_len);

    token->version = slot->version;

    ngx_shmtx_unlock(&shpool->mutex);
}


ngx_int_t
ngx_gcs_token_zone_lease(ngx_gcs_token_t *token, ngx_msec_t ttl)
{
    ngx_int_t              rc;
    ngx_slab_pool_t       *shpool;
    ngx_gcs_token_slot_t  *slot;

    slot = token->slot;

    /* most often the answer is known without the lock */

    if (!ngx_gcs_token_passed(slot->lease)) {
        return NGX_AGAIN;
    }

    if (!ngx_gcs_token_passed(slot->retry)) {
        return slot->waiting ? NGX_AGAIN : NGX_DECLINED;
    }

    shpool = ngx_gcs_token_zone_pool(token);

    ngx_shmtx_lock(&shpool->mutex);

    if (!ngx_gcs_token_passed(slot->lease)) {
        rc = NGX_AGAIN;

    } else if (!ngx_gcs_token_passed(slot->retry)) {
        rc = slot->waiting ? NGX_AGAIN : NGX_DECLINED;

    } else if (slot->len
               && !ngx_gcs_token_passed(slot->refresh)
               && !ngx_gcs_token_passed(slot->deadline))
    {
        rc = NGX_DONE;

    } else {
        slot->lease = ngx_current_msec + ttl;
        token->number = ++slot->fetches;
        rc = NGX_OK;
    }

    ngx_shmtx_unlock(&shpool->mutex);

    return rc;
}


void
ngx_gcs_token_zone_renew(ngx_gcs_token_t *token, ngx_msec_t ttl)
{
    ngx_slab_pool_t  *shpool;

    shpool = ngx_gcs_token_zone_pool(token);

    ngx_shmtx_lock(&shpool->mutex);

    if (token->slot->fetches == token->number) {
        token->slot->lease = ngx_current_msec + ttl;
    }

    ngx_shmtx_unlock(&shpool->mutex);
}


void
ngx_gcs_token_zone_release(ngx_gcs_token_t *token)
{
    ngx_slab_pool_t  *shpool;

    shpool = ngx_gcs_token_zone_pool(token);

    ngx_shmtx_lock(&shpool->mutex);

    if (token->slot->fetches == token->number) {
        token->slot->lease = 0;
    }

    ngx_shmtx_unlock(&shpool->mutex);
}


void
ngx_gcs_token_zone_success(ngx_gcs_token_t *token, ngx_str_t *value,
    ngx_msec_t lifetime)
{
    ngx_int_t              jitter;
    ngx_msec_t             margin;
    ngx_slab_pool_t       *shpool;
    ngx_gcs_token_slot_t  *slot;

    slot = token->slot;

    /*
     * Ahead of the expiry by a quarter of a short life; by 10% more or less,
     * so that many tokens fetched at the start are not due at once for ever.
     */

    margin = ngx_min(NGX_GCS_TOKEN_MARGIN, lifetime / 4);
    jitter = ngx_random() % 201 - 100;
    margin += (ngx_msec_int_t) margin * jitter / 1000;

    shpool = ngx_gcs_token_zone_pool(token);

    ngx_shmtx_lock(&shpool->mutex);

    /* should this process be killed here, there is no half of a token */

    slot->len = 0;

    ngx_memory_barrier();

    ngx_memcpy(slot->data, value->data, value->len);

    slot->fetched = ngx_current_msec;
    slot->deadline = ngx_current_msec + lifetime;
    slot->refresh = slot->deadline - margin;
    slot->expires = ngx_time() + (time_t) (lifetime / 1000);
    slot->failures = 0;
    slot->error_len = 0;
    slot->word_len = 0;
    slot->retry = 0;
    slot->waiting = 0;
    slot->generation++;

    /* what it was fetched with, also for the next configuration */

    slot->file = token->source->stamp;
    slot->subject = token->subject;

    ngx_gcs_token_zone_keep(token);

    slot->account_len = ngx_min(token->grant->account.len,
                                NGX_GCS_GRANT_ACCOUNT_MAX);
    ngx_memcpy(slot->account, token->grant->account.data, slot->account_len);

    if (slot->fetches == token->number) {
        slot->lease = 0;
    }

    ngx_memory_barrier();

    slot->len = value->len;

    ngx_gcs_token_zone_publish(slot);

    ngx_shmtx_unlock(&shpool->mutex);
}


void
ngx_gcs_token_zone_failure(ngx_gcs_token_t *token, ngx_str_t *error,
    char *word, time_t retry_after)
{
    time_t                 delay;
    ngx_slab_pool_t       *shpool;
    ngx_gcs_token_slot_t  *slot;

    slot = token->slot;
    shpool = ngx_gcs_token_zone_pool(token);

    ngx_shmtx_lock(&shpool->mutex);

    if (slot->fetches != token->number) {
        ngx_shmtx_unlock(&shpool->mutex);
        return;
    }

    slot->errors++;
    slot->failures++;
    slot->waiting = 0;

    if (token->grant && token->grant->refresh_token.len) {
        ngx_gcs_token_zone_keep(token);
    }

    /* 1, 2, 4 ... seconds */

    delay = slot->failures > 6 ? NGX_GCS_TOKEN_BACKOFF
                               : (time_t) 1 << (slot->failures - 1);

    delay = ngx_max(delay, retry_after);
    delay = ngx_min(delay, NGX_GCS_TOKEN_BACKOFF);

    slot->retry = ngx_current_msec + (ngx_msec_t) delay * 1000;
    slot->lease = 0;

    slot->error_len = ngx_min(error->len, NGX_GCS_TOKEN_ERROR_MAX);
    ngx_memcpy(slot->error, error->data, slot->error_len);

    slot->word_len = word ? ngx_min(ngx_strlen(word), NGX_GCS_TOKEN_WORD_MAX)
                          : 0;
    ngx_memcpy(slot->word, word, slot->word_len);

    ngx_gcs_token_zone_publish(slot);

    ngx_shmtx_unlock(&shpool->mutex);
}


/* with the lock held: what the next fetch begins with */

static void
ngx_gcs_token_zone_keep(ngx_gcs_token_t *token)
{
    ngx_str_t             *value;
    ngx_gcs_token_slot_t  *slot;

    slot = token->slot;
    value = &token->grant->refresh_token;

    slot->refresh_len = ngx_min(value->len, NGX_GCS_GRANT_REFRESH_MAX);

    if (slot->refresh_len) {
        ngx_memcpy(slot->refresh_token, value->data, slot->refresh_len);
    }

    ngx_memcpy(slot->id, token->id, NGX_GCS_SHA256_LEN);
}


ngx_uint_t
ngx_gcs_token_zone_told(void *data, ngx_gcs_stamp_t *stamp)
{
    ngx_gcs_token_t  *token = data;

    ngx_uint_t             first;
    ngx_slab_pool_t       *shpool;
    ngx_gcs_token_slot_t  *slot;

    slot = token->slot;
    shpool = ngx_gcs_token_zone_pool(token);

    ngx_shmtx_lock(&shpool->mutex);

    first = ngx_gcs_source_changed(&slot->told, stamp);
    slot->told = *stamp;

    ngx_shmtx_unlock(&shpool->mutex);

    return first;
}


ngx_int_t
ngx_gcs_token_zone_refresh_token(ngx_gcs_token_t *token)
{
    ngx_str_t             *value;
    ngx_slab_pool_t       *shpool;
    ngx_gcs_token_slot_t  *slot;

    slot = token->slot;

    if (slot->refresh_len == 0) {
        return NGX_OK;
    }

    value = ngx_gcs_crypto_secret(token->pool, NGX_GCS_GRANT_REFRESH_MAX);
    if (value == NULL) {
        return NGX_ERROR;
    }

    shpool = ngx_gcs_token_zone_pool(token);

    ngx_shmtx_lock(&shpool->mutex);

    /* a file that has been replaced has brought its own */

    if (ngx_memcmp(slot->id, token->id, NGX_GCS_SHA256_LEN) == 0) {
        token->grant->refresh_token.data = value->data;
        token->grant->refresh_token.len = slot->refresh_len;

        ngx_memcpy(value->data, slot->refresh_token, slot->refresh_len);
    }

    ngx_shmtx_unlock(&shpool->mutex);

    return NGX_OK;
}


ngx_uint_t
ngx_gcs_token_zone_postpone(ngx_gcs_token_t *token)
{
    ngx_uint_t             first;
    ngx_slab_pool_t       *shpool;
    ngx_gcs_token_slot_t  *slot;

    slot = token->slot;
    shpool = ngx_gcs_token_zone_pool(token);
    first = 0;

    ngx_shmtx_lock(&shpool->mutex);

    if (slot->fetches == token->number) {
        first = !slot->waiting;

        slot->waiting = 1;
        slot->retry = ngx_current_msec + NGX_GCS_TOKEN_POSTPONE;
        slot->lease = 0;
    }

    ngx_shmtx_unlock(&shpool->mutex);

    return first;
}


void
ngx_gcs_token_zone_check(ngx_gcs_token_t *token)
{
    ngx_gcs_stamp_t        file, subject;
    ngx_slab_pool_t       *shpool;
    ngx_gcs_token_slot_t  *slot;

    slot = token->slot;

    if (slot->len == 0) {
        return;
    }

    ngx_gcs_source_stamp(&token->source->file, &file);
    ngx_gcs_source_stamp(&token->source->cred->subject.file, &subject);

    /* a file that is missing is perhaps just being replaced */

    if ((file.ino == 0 || !ngx_gcs_source_changed(&slot->file, &file))
        && (subject.ino == 0
            || !ngx_gcs_source_changed(&slot->subject, &subject)))
    {
        return;
    }

    shpool = ngx_gcs_token_zone_pool(token);

    ngx_shmtx_lock(&shpool->mutex);

    slot->refresh = ngx_current_msec;

    ngx_gcs_token_zone_publish(slot);

    ngx_shmtx_unlock(&shpool->mutex);
}


ngx_int_t
ngx_gcs_token_reject(ngx_gcs_token_t *token, ngx_uint_t generation)
{
    ngx_int_t              rc;
    ngx_slab_pool_t       *shpool;
    ngx_gcs_token_slot_t  *slot;

    slot = token->slot;

    shpool = ngx_gcs_token_zone_pool(token);
    rc = NGX_OK;

    ngx_shmtx_lock(&shpool->mutex);

    if (slot->generation != generation || slot->rejected == generation) {

        /* there is a newer one, or somebody else came first */

        goto done;
    }

    if (slot->rejected
        && slot->rejected + 1 == generation
        && !ngx_gcs_token_passed(slot->fetched + NGX_GCS_TOKEN_REJECT))
    {
        /* it was fetched because of a rejection: that did not help */

        rc = NGX_DECLINED;
        goto done;
    }

    slot->rejected = generation;
    slot->deadline = ngx_current_msec;
    slot->refresh = ngx_current_msec;
    slot->expires = 0;

    ngx_gcs_token_zone_publish(slot);

done:

    ngx_shmtx_unlock(&shpool->mutex);

    return rc;
}


void
ngx_gcs_token_state(ngx_gcs_token_t *token, ngx_gcs_token_state_t *state)
{
    ngx_slab_pool_t       *shpool;
    ngx_gcs_token_slot_t  *slot;

    ngx_memzero(state, sizeof(ngx_gcs_token_state_t));

    slot = token->slot;

    shpool = ngx_gcs_token_zone_pool(token);

    ngx_shmtx_lock(&shpool->mutex);

    if (slot->len && !ngx_gcs_token_passed(slot->deadline)) {
        state->expires = slot->expires;
        state->age = (time_t) ((ngx_current_msec - slot->fetched) / 1000);
    }

    state->generation = slot->generation;
    state->fetches = slot->fetches;
    state->failures = slot->failures;
    state->errors = slot->errors;
    state->fetching = !ngx_gcs_token_passed(slot->lease);
    state->backoff = !state->fetching && !ngx_gcs_token_passed(slot->retry);

    ngx_shmtx_unlock(&shpool->mutex);
}
