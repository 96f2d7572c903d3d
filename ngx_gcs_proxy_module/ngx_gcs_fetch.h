
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#ifndef _NGX_GCS_FETCH_H_INCLUDED_
#define _NGX_GCS_FETCH_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_gcs_grant.h"


/* an answer of a token endpoint is never larger, bytes */
#define NGX_GCS_FETCH_MAX_BODY  65536


/* how to reach an endpoint; strings end with '\0', "" is "not set" */

typedef struct {
    ngx_msec_t    timeout;              /* of the whole exchange */
    ngx_str_t     trusted_certificate;  /* CA file; system bundle if empty */
    ngx_str_t     proxy;                /* URL; none if empty */
    ngx_str_t     connect;              /* "HOST:PORT" or "unix:PATH" in the
                                           place of the URL's; or empty */
    unsigned      insecure:1;           /* any certificate will do */
} ngx_gcs_fetch_conf_t;


typedef struct ngx_gcs_fetch_s  ngx_gcs_fetch_t;

/*
 * rc is NGX_OK when there is an HTTP answer, whatever its status.  On
 * NGX_ERROR err says why, in words fit for a log line.  res and err live
 * until the handler returns.  Starting or cancelling fetches in the handler
 * is allowed.
 */
typedef void (*ngx_gcs_fetch_handler_pt)(void *data, ngx_int_t rc,
    ngx_gcs_response_t *res, ngx_str_t *err);


/*
 * One HTTP client per worker: a libcurl multi handle on nginx's event loop,
 * created when first used and never in the master or a helper process.
 */

/*
 * Sends req and calls handler exactly once, never before this function has
 * returned, unless the fetch is cancelled.  req, conf and their strings are
 * copied or must live in a pool that outlives the fetch: conf and req are
 * copied by libcurl, so they may go as soon as the call returns.  Returns
 * NULL if the fetch cannot be started: then the handler is never called and
 * the cause has been logged.
 */
ngx_gcs_fetch_t *ngx_gcs_fetch(ngx_gcs_request_t *req,
    ngx_gcs_fetch_conf_t *conf, ngx_gcs_fetch_handler_pt handler, void *data);

/* drops the fetch; the handler will not be called; never waits for DNS */
void ngx_gcs_fetch_cancel(ngx_gcs_fetch_t *fetch);

/* from init_process and exit_process; harmless in every kind of process */
ngx_int_t ngx_gcs_fetch_init_process(ngx_cycle_t *cycle);
void ngx_gcs_fetch_exit_process(ngx_cycle_t *cycle);


#endif /* _NGX_GCS_FETCH_H_INCLUDED_ */
