
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_gcs_token_zone.h"


#define NGX_GCS_TOKEN_POLL       100        /* for other workers' results */
#define NGX_GCS_TOKEN_IDLE       5000       /* longest sleep of the timer */
#define NGX_GCS_TOKEN_DELAY      50         /* of a worker behind the other */
#define NGX_GCS_TOKEN_PARALLEL   16         /* fetches without a request */
#define NGX_GCS_TOKEN_WATCH      15000      /* between looks at files */
#define NGX_GCS_TOKEN_YOUNG      30000


/* a worker process, from init_process to exit_process */

typedef struct {
    ngx_gcs_token_store_t   *store;         /* NULL: there is nothing to do */
    ngx_event_t              idle;
    ngx_event_t              poll;
    ngx_event_t              wake;          /* is posted */
    ngx_connection_t         dummy;         /* ngx_event_ident() reads it */
    ngx_msec_t               started;
    ngx_msec_t               watched;       /* when files were looked at */
} ngx_gcs_token_worker_t;


static void ngx_gcs_token_timeout(ngx_event_t *ev);
static void ngx_gcs_token_poll_handler(ngx_event_t *ev);
static void ngx_gcs_token_wake(ngx_gcs_token_t *token);
static void ngx_gcs_token_wake_some(ngx_gcs_token_t *token, ngx_int_t rc);
static void ngx_gcs_token_idle_handler(ngx_event_t *ev);
static void ngx_gcs_token_watch_files(ngx_gcs_token_worker_t *worker);
static void ngx_gcs_token_warn_unreadable(ngx_gcs_token_worker_t *worker);
static ngx_msec_t ngx_gcs_token_due(ngx_gcs_token_t *token);


static ngx_gcs_token_worker_t  ngx_gcs_token_worker;


ngx_int_t
ngx_gcs_token_get(ngx_gcs_token_t *token, ngx_str_t *value,
    ngx_uint_t *generation)
{
    ngx_int_t  rc;

    if (ngx_gcs_token_worker.store == NULL) {
        return NGX_DECLINED;
    }

    ngx_gcs_token_zone_sync(token);

    if (!ngx_gcs_token_valid(token)) {
        rc = ngx_gcs_token_fetch(token);

        if (rc != NGX_DONE) {
            return rc;
        }

        /* another worker has stored one since we looked */

        ngx_gcs_token_zone_sync(token);

        if (!ngx_gcs_token_valid(token)) {
            return NGX_AGAIN;
        }

    } else if (ngx_gcs_token_passed(token->refresh)) {
        (void) ngx_gcs_token_fetch(token);
    }

    *value = token->value;
    *generation = token->generation;

    return NGX_OK;
}


void
ngx_gcs_token_fetch_ended(ngx_gcs_token_t *token)
{
    ngx_gcs_token_worker_t  *worker;

    worker = &ngx_gcs_token_worker;

    /*
     * Those who wait are told from an event of its own: this may be the call
     * of one of them.
     */

    if (!ngx_queue_empty(&token->waiters)) {
        ngx_post_event(&worker->wake, &ngx_posted_events);
    }

    if (worker->idle.timer_set) {
        ngx_del_timer(&worker->idle);
        ngx_add_timer(&worker->idle, 1);
    }
}


void
ngx_gcs_token_bearer(ngx_gcs_token_t *token, ngx_str_t *value)
{
    /* the buffers have it in front of the token */

    value->data = token->value.data - (sizeof(NGX_GCS_TOKEN_BEARER) - 1);
    value->len = token->value.len + sizeof(NGX_GCS_TOKEN_BEARER) - 1;
}


void
ngx_gcs_token_wait(ngx_gcs_token_t *token, ngx_gcs_token_waiter_t *waiter,
    ngx_msec_t timeout)
{
    ngx_gcs_token_worker_t  *worker;

    worker = &ngx_gcs_token_worker;

    waiter->token = token;
    waiter->errors = token->errors;

    ngx_gcs_wait(&waiter->wait, &token->waiters, timeout,
                 ngx_gcs_token_timeout,
                 waiter->log ? waiter->log : ngx_cycle->log);

    if (worker->store && !worker->poll.timer_set) {
        ngx_add_timer(&worker->poll, NGX_GCS_TOKEN_POLL);
    }
}


void
ngx_gcs_token_cancel(ngx_gcs_token_waiter_t *waiter)
{
    ngx_gcs_wait_cancel(&waiter->wait);
}


static void
ngx_gcs_token_timeout(ngx_event_t *ev)
{
    ngx_gcs_token_waiter_t  *waiter;

    waiter = (ngx_gcs_token_waiter_t *)
                 ((u_char *) ev - offsetof(ngx_gcs_token_waiter_t,
                                           wait.timer));

    ngx_gcs_token_cancel(waiter);

    waiter->handler(waiter, NGX_AGAIN);
}


/* also the handler of the posted event */

static void
ngx_gcs_token_poll_handler(ngx_event_t *ev)
{
    ngx_uint_t                i, waiting;
    ngx_gcs_token_t         **tokens;
    ngx_gcs_token_worker_t   *worker;

    worker = &ngx_gcs_token_worker;

    waiting = 0;
    tokens = worker->store->tokens.elts;

    for (i = 0; i < worker->store->tokens.nelts; i++) {

        if (ngx_queue_empty(&tokens[i]->waiters)) {
            continue;
        }

        ngx_gcs_token_wake(tokens[i]);

        if (!ngx_queue_empty(&tokens[i]->waiters)) {
            waiting = 1;
        }
    }

    if (waiting && !worker->poll.timer_set) {
        ngx_add_timer(&worker->poll, NGX_GCS_TOKEN_POLL);
    }
}


static void
ngx_gcs_token_wake(ngx_gcs_token_t *token)
{
    ngx_gcs_token_zone_sync(token);

    if (ngx_gcs_token_valid(token)) {
        ngx_gcs_token_wake_some(token, NGX_OK);
        return;
    }

    ngx_gcs_token_wake_some(token, NGX_DECLINED);

    /* if the one who fetched is gone, this worker takes over */

    if (!ngx_queue_empty(&token->waiters)) {
        (void) ngx_gcs_token_fetch(token);
    }
}


static void
ngx_gcs_token_wake_some(ngx_gcs_token_t *token, ngx_int_t rc)
{
    ngx_queue_t             *q, *next, queue;
    ngx_gcs_token_waiter_t  *waiter;

    /*
     * A handler may cancel any of the waiters and add new ones, so those to
     * be told are set apart first.  A failure is told only to those who were
     * there when it happened.
     */

    ngx_queue_init(&queue);

    for (q = ngx_queue_head(&token->waiters);
         q != ngx_queue_sentinel(&token->waiters);
         q = next)
    {
        next = ngx_queue_next(q);
        waiter = ngx_queue_data(q, ngx_gcs_token_waiter_t, wait.queue);

        if (rc == NGX_OK || waiter->errors != token->errors) {
            ngx_queue_remove(q);
            ngx_queue_insert_tail(&queue, q);
        }
    }

    while (!ngx_queue_empty(&queue)) {
        q = ngx_queue_head(&queue);
        waiter = ngx_queue_data(q, ngx_gcs_token_waiter_t, wait.queue);

        ngx_gcs_token_cancel(waiter);

        waiter->handler(waiter, rc);
    }
}


static void
ngx_gcs_token_idle_handler(ngx_event_t *ev)
{
    ngx_uint_t                i, fetching;
    ngx_msec_t                due, next;
    ngx_gcs_token_t         **tokens;
    ngx_gcs_token_worker_t   *worker;

    if (ngx_exiting) {
        /* the new workers see to it, or nobody any more */
        return;
    }

    worker = &ngx_gcs_token_worker;

    ngx_gcs_token_watch_files(worker);

    next = NGX_GCS_TOKEN_IDLE;
    fetching = 0;
    tokens = worker->store->tokens.elts;

    for (i = 0; i < worker->store->tokens.nelts; i++) {
        if (tokens[i]->grant) {
            fetching++;
        }
    }

    for (i = 0; i < worker->store->tokens.nelts; i++) {

        if (tokens[i]->grant) {
            continue;
        }

        ngx_gcs_token_zone_sync(tokens[i]);

        due = ngx_gcs_token_due(tokens[i]);

        if (!ngx_gcs_token_passed(due)) {
            next = ngx_min(next, due - ngx_current_msec);
            continue;
        }

        if (fetching >= NGX_GCS_TOKEN_PARALLEL) {

            /* the end of a fetch sets the timer anew */

            break;
        }

        if (ngx_gcs_token_fetch(tokens[i]) == NGX_AGAIN) {
            fetching++;
        }
    }

    ngx_add_timer(ev, next);
}


/*
 * A token becomes due when its credential has been replaced.  Every worker
 * reads the file: who fetches after the next replacement, which may be a
 * broken one, must not go back to a credential of long ago.
 */

static void
ngx_gcs_token_watch_files(ngx_gcs_token_worker_t *worker)
{
    ngx_uint_t          i;
    ngx_gcs_token_t   **tokens;
    ngx_gcs_source_t  **sources;

    if (!ngx_gcs_token_passed(worker->watched + NGX_GCS_TOKEN_WATCH)) {
        return;
    }

    worker->watched = ngx_current_msec;

    tokens = worker->store->tokens.elts;

    for (i = 0; i < worker->store->tokens.nelts; i++) {

        if (tokens[i]->grant == NULL) {
            ngx_gcs_token_fetch_source(tokens[i]);
        }

        ngx_gcs_token_zone_check(tokens[i]);
    }

    sources = worker->store->sources.elts;

    for (i = 0; i < worker->store->sources.nelts; i++) {
        ngx_gcs_source_refresh(sources[i], NULL, NULL);
    }
}


ngx_uint_t
ngx_gcs_token_young(void)
{
    return !ngx_gcs_token_passed(ngx_gcs_token_worker.started
                                 + NGX_GCS_TOKEN_YOUNG);
}


/* when this worker is to refresh the token if nobody else does */

static ngx_msec_t
ngx_gcs_token_due(ngx_gcs_token_t *token)
{
    ngx_msec_t             due;
    ngx_gcs_token_slot_t  *slot;

    slot = token->slot;

    due = ngx_gcs_token_valid(token) ? token->refresh
                                     : ngx_gcs_token_worker.started;

    if ((ngx_msec_int_t) (slot->retry - due) > 0) {
        due = slot->retry;
    }

    if ((ngx_msec_int_t) (slot->lease - due) > 0) {
        due = slot->lease;
    }

    return due + (ngx_worker % 16) * NGX_GCS_TOKEN_DELAY;
}


ngx_str_t *
ngx_gcs_token_account(ngx_gcs_token_t *token)
{
    if (token->slot) {
        ngx_gcs_token_zone_sync(token);
    }

    return &token->account;
}


ngx_str_t *
ngx_gcs_token_error(ngx_gcs_token_t *token, ngx_str_t *word)
{
    if (token->slot) {
        ngx_gcs_token_zone_sync(token);
    }

    if (word) {
        *word = token->word;
    }

    return &token->error;
}


ngx_int_t
ngx_gcs_token_init_process(ngx_cycle_t *cycle, ngx_gcs_token_store_t *store)
{
    ngx_gcs_token_worker_t  *worker;

    worker = &ngx_gcs_token_worker;

    ngx_memzero(worker, sizeof(ngx_gcs_token_worker_t));

    /* cache manager and cache loader come here, too */

    if (ngx_process != NGX_PROCESS_WORKER && ngx_process != NGX_PROCESS_SINGLE)
    {
        return NGX_OK;
    }

    if (store->tokens.nelts == 0 && store->sources.nelts == 0) {
        return NGX_OK;
    }

    worker->store = store;
    worker->started = ngx_current_msec;
    worker->watched = ngx_current_msec;
    worker->dummy.fd = (ngx_socket_t) -1;

    worker->idle.handler = ngx_gcs_token_idle_handler;
    worker->idle.data = &worker->dummy;
    worker->idle.log = cycle->log;
    worker->idle.cancelable = 1;

    worker->poll.handler = ngx_gcs_token_poll_handler;
    worker->poll.data = &worker->dummy;
    worker->poll.log = cycle->log;
    worker->poll.cancelable = 1;

    worker->wake.handler = ngx_gcs_token_poll_handler;
    worker->wake.data = &worker->dummy;
    worker->wake.log = cycle->log;

    ngx_add_timer(&worker->idle, 1);

    if (ngx_worker == 0) {
        ngx_gcs_token_warn_unreadable(worker);
    }

    return NGX_OK;
}


/* the master, which reads the files first, may have more rights */

static void
ngx_gcs_token_warn_unreadable(ngx_gcs_token_worker_t *worker)
{
    ngx_uint_t          i, n, ntokens;
    ngx_gcs_token_t   **tokens;
    ngx_gcs_source_t   *source, **sources;

    tokens = worker->store->tokens.elts;
    ntokens = worker->store->tokens.nelts;
    sources = worker->store->sources.elts;

    n = ntokens + worker->store->sources.nelts;

    for (i = 0; i < n; i++) {
        source = (i < ntokens) ? tokens[i]->source : sources[i - ntokens];

        if (source->file.len && access((char *) source->file.data, R_OK) != 0)
        {
            ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                          "gcs credentials \"%V\": file \"%V\" cannot be "
                          "read by worker processes; when it has been "
                          "replaced, reload nginx",
                          &source->name, &source->file);
        }
    }
}


void
ngx_gcs_token_exit_process(ngx_cycle_t *cycle, ngx_gcs_token_store_t *store)
{
    ngx_uint_t                i;
    ngx_gcs_token_t         **tokens;
    ngx_gcs_token_worker_t   *worker;

    worker = &ngx_gcs_token_worker;

    if (worker->store == NULL) {
        return;
    }

    tokens = worker->store->tokens.elts;

    for (i = 0; i < worker->store->tokens.nelts; i++) {

        /* another worker may go on at once */

        ngx_gcs_token_fetch_cancel(tokens[i]);
    }

    worker->store = NULL;

    if (worker->idle.timer_set) {
        ngx_del_timer(&worker->idle);
    }

    if (worker->poll.timer_set) {
        ngx_del_timer(&worker->poll);
    }

    if (worker->wake.posted) {
        ngx_delete_posted_event(&worker->wake);
    }
}
