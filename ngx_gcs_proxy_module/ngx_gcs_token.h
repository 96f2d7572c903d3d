
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#ifndef _NGX_GCS_TOKEN_H_INCLUDED_
#define _NGX_GCS_TOKEN_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_gcs_fetch.h"
#include "ngx_gcs_source.h"
#include "ngx_gcs_wait.h"


/* a token is never larger, bytes; a federated one has up to 12 KiB */
#define NGX_GCS_TOKEN_MAX  NGX_GCS_GRANT_TOKEN_MAX


#define NGX_GCS_TOKEN_BEARER  "Bearer "


typedef struct ngx_gcs_token_s  ngx_gcs_token_t;


/*
 * All tokens of a configuration: created while the configuration is read,
 * used by the workers.  The tokens themselves are in shared memory, a slot
 * for each credential: one worker fetches, all workers use.
 */

typedef struct {
    ngx_array_t        tokens;      /* of ngx_gcs_token_t * */
    ngx_array_t        sources;     /* of ngx_gcs_source_t *, without one */
    ngx_shm_zone_t    *shm_zone;
    ngx_log_t         *log;         /* of the cycle */
} ngx_gcs_token_store_t;


typedef struct ngx_gcs_token_waiter_s  ngx_gcs_token_waiter_t;

/*
 * rc: NGX_OK, ngx_gcs_token_get() has a token now; NGX_DECLINED, the fetch
 * failed; NGX_AGAIN, the waiter's time is over.
 */
typedef void (*ngx_gcs_token_handler_pt)(ngx_gcs_token_waiter_t *waiter,
    ngx_int_t rc);

/* one who waits; lives in the caller's memory, zeroed before first use */

struct ngx_gcs_token_waiter_s {
    ngx_gcs_wait_t              wait;
    ngx_gcs_token_t            *token;
    ngx_gcs_token_handler_pt    handler;
    void                       *data;
    ngx_log_t                  *log;
    ngx_uint_t                  errors;     /* failures known at the start */
};


/* what is known of a token, for variables and status pages */

typedef struct {
    time_t            expires;      /* seconds since the epoch; 0: no token */
    ngx_uint_t        generation;   /* 0: there never was one */
    ngx_uint_t        fetches;      /* begun, by all workers */
    ngx_uint_t        failures;     /* since the last success */
    ngx_uint_t        errors;       /* all failures */
    time_t            age;          /* of the token, seconds */
    unsigned          fetching:1;
    unsigned          backoff:1;    /* failed, and not yet time to try */
} ngx_gcs_token_state_t;


/* prepares an empty store in memory of cf->pool */
ngx_int_t ngx_gcs_token_store_init(ngx_conf_t *cf,
    ngx_gcs_token_store_t *store);

/*
 * Adds the credential of source, which has been loaded, or finds the token
 * that it shares with an equal one from the same file already added.  source
 * and conf must live as long as the configuration.  NULL if memory is out.
 */
ngx_gcs_token_t *ngx_gcs_token_add(ngx_conf_t *cf,
    ngx_gcs_token_store_t *store, ngx_gcs_source_t *source,
    ngx_gcs_fetch_conf_t *conf);

/*
 * Has the file of a credential watched that needs no token; for one that
 * does, ngx_gcs_token_add() sees to it.
 */
ngx_int_t ngx_gcs_token_watch(ngx_gcs_token_store_t *store,
    ngx_gcs_source_t *source);

/*
 * Creates the shared zone, large enough for all slots, when all tokens have
 * been added; none when there is no token.  tag is the caller's module.  A
 * reload takes over the tokens whose credential is still the same.
 */
ngx_int_t ngx_gcs_token_store_zone(ngx_conf_t *cf,
    ngx_gcs_token_store_t *store, void *tag);

/* begins to prefetch (worker 0) and to refresh; stops it */
ngx_int_t ngx_gcs_token_init_process(ngx_cycle_t *cycle,
    ngx_gcs_token_store_t *store);
void ngx_gcs_token_exit_process(ngx_cycle_t *cycle,
    ngx_gcs_token_store_t *store);

/*
 * NGX_OK: value is a valid token (without "Bearer "), *generation its
 * number; value points to memory of the worker that stays as it is until
 * control returns to the event loop.  Starts a refresh in the background when
 * one is due.  NGX_AGAIN: there is none, a fetch is under way (or was just
 * started): wait.  NGX_DECLINED: there is none, the last fetch failed and it
 * is not yet time for another: do not wait.  Never blocks.
 */
ngx_int_t ngx_gcs_token_get(ngx_gcs_token_t *token, ngx_str_t *value,
    ngx_uint_t *generation);

/*
 * After NGX_OK, in the same turn of the event loop: the value of a header
 * Authorization, "Bearer " and the token, in the worker's memory as well.
 */
void ngx_gcs_token_bearer(ngx_gcs_token_t *token, ngx_str_t *value);

/*
 * After NGX_AGAIN: waiter->handler is called once, from the event loop, when
 * there is a token or an error or after timeout milliseconds.  handler, data
 * and log are set by the caller.  The wait keeps a worker from a graceful
 * exit until it ends.
 */
void ngx_gcs_token_wait(ngx_gcs_token_t *token,
    ngx_gcs_token_waiter_t *waiter, ngx_msec_t timeout);

/* forgets the waiter, if it waits; its handler will not be called */
void ngx_gcs_token_cancel(ngx_gcs_token_waiter_t *waiter);

/*
 * The storage service refused the token of this generation (401): if it is
 * still the current one, it counts as expired from now on for every worker.
 * Not more than one rejection a few seconds after a fetch is heeded, so that
 * an endpoint that refuses every token does not cause a fetch per request:
 * NGX_OK, get and wait for a new one; NGX_DECLINED, not heeded, give up.
 */
ngx_int_t ngx_gcs_token_reject(ngx_gcs_token_t *token, ngx_uint_t generation);

/*
 * The account whose token it is, as the metadata server names it; empty if it
 * is not known, or not asked for.  It stays as it is until control returns to
 * the event loop.
 */
ngx_str_t *ngx_gcs_token_account(ngx_gcs_token_t *token);

/* fills state; needs no lock held by the caller */
void ngx_gcs_token_state(ngx_gcs_token_t *token,
    ngx_gcs_token_state_t *state);

/*
 * The last failure's text for a log line, and in *word, if word is not NULL,
 * its word for "$gcs_error"; both may be empty.  They stay as they are until
 * control returns to the event loop.
 */
ngx_str_t *ngx_gcs_token_error(ngx_gcs_token_t *token, ngx_str_t *word);


#endif /* _NGX_GCS_TOKEN_H_INCLUDED_ */
